//! A timer wheel: set, cancel and fire in constant time, no allocation once its slab has grown.
//!
//! One level of slots; a deadline beyond one revolution stays in its slot and is passed over until its time.

use crate::time::MonoNs;

const SLOT_BITS: u32 = 23; // 8.4 ms
const SLOTS: usize = 4096; // one revolution: 34 s
const NONE: u32 = u32::MAX;

/// A timer that was set; stale once it fired or was cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerId {
    slot: u32,
    generation: u32,
}

struct Entry<K> {
    deadline: MonoNs,
    key: Option<K>,
    generation: u32,
    next: u32,
    previous: u32,
}

/// Timers with keys of type `K`. Precision is one slot (8.4 ms), never early.
pub struct Wheel<K> {
    heads: Vec<u32>,
    entries: Vec<Entry<K>>,
    free: Vec<u32>,
    tick: u64,
    count: usize,
    /// No timer is due before this; looked up anew only when it has passed.
    earliest: MonoNs,
}

impl<K: Copy> Wheel<K> {
    /// An empty wheel that starts at `now`.
    pub fn new(now: MonoNs) -> Wheel<K> {
        Wheel {
            heads: vec![NONE; SLOTS],
            entries: Vec::new(),
            free: Vec::new(),
            tick: now.0 >> SLOT_BITS,
            count: 0,
            earliest: MonoNs(u64::MAX),
        }
    }

    /// Timers that are set.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sets a timer; a deadline in the past fires at the next `fire`.
    pub fn set(&mut self, deadline: MonoNs, key: K) -> TimerId {
        let at = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry {
                deadline,
                key: None,
                generation: 0,
                next: NONE,
                previous: NONE,
            });
            u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 timers")
        });
        let head = self.head(deadline);
        let next = self.heads[head];
        let entry = &mut self.entries[at as usize];
        entry.deadline = deadline;
        entry.key = Some(key);
        entry.next = next;
        entry.previous = NONE;
        let generation = entry.generation;
        if next != NONE {
            self.entries[next as usize].previous = at;
        }
        self.heads[head] = at;
        self.count += 1;
        self.earliest = self.earliest.min(deadline);
        TimerId { slot: at, generation }
    }

    /// Cancels a timer; false when it has fired or was cancelled before.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        let live = self
            .entries
            .get(timer.slot as usize)
            .is_some_and(|e| e.generation == timer.generation && e.key.is_some());
        if live {
            self.remove(timer.slot);
        }
        live
    }

    /// Appends the keys of all timers due at `now` to `due`.
    pub fn fire(&mut self, now: MonoNs, due: &mut Vec<K>) {
        if now < self.earliest {
            return;
        }
        let target = now.0 >> SLOT_BITS;
        let steps = (target.saturating_sub(self.tick) + 1).min(SLOTS as u64);
        for step in 0..steps {
            if self.count == 0 {
                break;
            }
            let mut at = self.heads[slot_of(self.tick + step)];
            while at != NONE {
                let entry = &self.entries[at as usize];
                let next = entry.next;
                if entry.deadline <= now {
                    due.extend(entry.key);
                    self.remove(at);
                }
                at = next;
            }
        }
        self.tick = self.tick.max(target);
        self.earliest = self.look_for_earliest();
    }

    /// A time not after the earliest deadline, at which `fire` should run next; `None` when no timer is set.
    pub fn next_fire(&self) -> Option<MonoNs> {
        (self.count > 0).then_some(self.earliest)
    }

    fn look_for_earliest(&self) -> MonoNs {
        if self.count == 0 {
            return MonoNs(u64::MAX);
        }
        for step in 0..SLOTS as u64 {
            let mut at = self.heads[slot_of(self.tick + step)];
            let mut earliest: Option<MonoNs> = None;
            let end = (self.tick + step + 1) << SLOT_BITS;
            while at != NONE {
                let entry = &self.entries[at as usize];
                if entry.deadline.0 < end {
                    earliest = Some(earliest.map_or(entry.deadline, |e| e.min(entry.deadline)));
                }
                at = entry.next;
            }
            if let Some(earliest) = earliest {
                return earliest;
            }
        }
        MonoNs((self.tick + SLOTS as u64) << SLOT_BITS)
    }

    fn head(&self, deadline: MonoNs) -> usize {
        slot_of((deadline.0 >> SLOT_BITS).max(self.tick))
    }

    fn remove(&mut self, at: u32) {
        let entry = &mut self.entries[at as usize];
        let (next, previous) = (entry.next, entry.previous);
        let deadline = entry.deadline;
        entry.key = None;
        entry.generation = entry.generation.wrapping_add(1);
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if previous == NONE {
            // The slot was chosen by the tick of that time; the head that points here is the right one.
            let by_deadline = slot_of(deadline.0 >> SLOT_BITS);
            let head = if self.heads[by_deadline] == at {
                by_deadline
            } else {
                let found = self.heads.iter().position(|h| *h == at);
                found.expect("a first entry has a head")
            };
            self.heads[head] = next;
        } else {
            self.entries[previous as usize].next = next;
        }
        self.free.push(at);
        self.count -= 1;
    }
}

fn slot_of(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).expect("below the number of slots")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> MonoNs {
        MonoNs(0).plus_ms(n)
    }

    #[test]
    fn timers_fire_once_in_their_time_and_not_when_cancelled() {
        let mut wheel = Wheel::new(ms(0));
        wheel.set(ms(20), 'a');
        let b = wheel.set(ms(20), 'b');
        wheel.set(ms(100_000), 'c');
        wheel.set(ms(0), 'd');
        assert!(wheel.cancel(b));
        assert!(!wheel.cancel(b));
        let mut due = Vec::new();
        wheel.fire(ms(1), &mut due);
        assert_eq!(due, ['d']);
        assert_eq!(wheel.next_fire(), Some(ms(20)));
        wheel.fire(ms(19), &mut due);
        assert_eq!(due.len(), 1);
        wheel.fire(ms(21), &mut due);
        assert_eq!(due, ['d', 'a']);
        wheel.fire(ms(99_999), &mut due);
        assert_eq!(due.len(), 2);
        wheel.fire(ms(100_010), &mut due);
        assert_eq!(due, ['d', 'a', 'c']);
        assert!(wheel.is_empty());
        assert_eq!(wheel.next_fire(), None);
    }

    #[test]
    fn a_slot_is_reused_and_old_ids_stay_stale() {
        let mut wheel = Wheel::new(ms(0));
        let old = wheel.set(ms(5), 1);
        wheel.cancel(old);
        wheel.set(ms(6), 2);
        assert!(!wheel.cancel(old));
        assert_eq!(wheel.len(), 1);
    }
}
