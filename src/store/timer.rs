//! The timer's index: which messages of the timer topic wait for which time. Java: `TimerWheel`, `TimerLog`, `doEnqueue`.
//!
//! A unit per message goes to a log; the wheel knows the last unit of each time, and each unit the one before it. What
//! was added is in memory until it is handed out to be written. Memory holds the slots that have messages, 56 bytes each,
//! at most `WHEEL_SLOTS`, and units that are not written yet.

use crate::layout::timer::{
    BLANK_BYTES, MAGIC_DEFAULT, MAGIC_DELETE, MAGIC_ROLL, NOWHERE, SLOT_BYTES, Slot, UNIT_BYTES,
    Unit, WHEEL_SLOTS, blank, is_blank,
};
use std::collections::{BTreeSet, HashMap};

/// What the index needs to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerConfig {
    /// Grid of the slots, ms.
    pub precision_ms: i64,
    /// Messages further ahead than so many slots are stored again on the way.
    pub roll_window_slots: i64,
    /// Size of a file of the timer log, bytes; at least a unit and a blank.
    pub file_bytes: u64,
}

/// A message that is to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timed {
    /// Its slot's time, ms since 1970.
    pub slot_ms: i64,
    /// It takes another one back.
    pub is_recall: bool,
    /// Place in the log.
    pub phy: i64,
    /// Size, bytes.
    pub size: i32,
    /// Java's hash of its topic's name.
    pub topic_hash: i32,
}

/// What is to be written, in this order: units, slots.
#[derive(Debug, Default)]
pub struct TimerWrites {
    /// Where the bytes belong in the timer log.
    pub position: u64,
    /// Units and blanks.
    pub units: Vec<u8>,
    /// Slots by their place in the wheel.
    pub slots: Vec<(u64, [u8; SLOT_BYTES])>,
}

/// See the module.
#[derive(Clone)]
pub struct TimerIndex {
    config: TimerConfig,
    slots: HashMap<u64, Slot, foldhash::fast::RandomState>,
    dirty: BTreeSet<u64>,
    /// End of the timer log.
    end: u64,
    /// Units that are not handed out yet.
    units: Vec<u8>,
    /// Slots that are done: their memory is given back when they are written.
    passed: Vec<i64>,
}

impl TimerIndex {
    /// The index of a store: its wheel's bytes, and where its timer log ends.
    pub fn new(config: TimerConfig, wheel: &[u8], end: u64) -> TimerIndex {
        let slots = wheel.chunks_exact(SLOT_BYTES).zip(0_u64..);
        let slots = slots.filter_map(|(bytes, at)| Some((at, Slot::decode(bytes)?)));
        TimerIndex {
            config,
            slots: slots.collect(),
            dirty: BTreeSet::new(),
            end,
            units: Vec::new(),
            passed: Vec::new(),
        }
    }

    fn place(&self, time: i64) -> u64 {
        time.unsigned_abs() % WHEEL_SLOTS
    }

    /// Messages of a time, ms since 1970.
    pub fn slot(&self, slot_ms: i64) -> Option<&Slot> {
        let time = slot_ms / self.config.precision_ms;
        self.slots.get(&self.place(time)).filter(|slot| slot.time == time)
    }

    /// A time on the grid.
    pub fn floor(&self, ms: i64) -> i64 {
        ms / self.config.precision_ms * self.config.precision_ms
    }

    /// Adds a message that comes at `now_ms`; the unit that it got.
    pub fn add(&mut self, message: &Timed, now_ms: i64) -> Unit {
        let write_ms = self.floor(now_ms);
        let window_ms = self.config.roll_window_slots * self.config.precision_ms;
        let (mut magic, mut slot_ms) = (MAGIC_DEFAULT, message.slot_ms);
        let beyond_ms = slot_ms - write_ms - window_ms;
        if beyond_ms >= 0 {
            magic |= MAGIC_ROLL;
            // Enough time has to be left for the next roll.
            let half_ms = self.config.roll_window_slots / 2 * self.config.precision_ms;
            slot_ms = write_ms + if beyond_ms < window_ms / 3 { half_ms } else { window_ms };
        }
        if message.is_recall {
            magic |= MAGIC_DELETE;
        }
        let unit = Unit {
            previous: self.slot(slot_ms).map_or(NOWHERE, |slot| slot.last),
            magic,
            write_ms,
            delay_ms: i32::try_from(slot_ms - write_ms).unwrap_or(i32::MAX),
            phy: message.phy,
            size: message.size,
            topic_hash: message.topic_hash,
        };
        let place = self.append(&unit);
        let more = if message.is_recall { -1 } else { 1 };
        self.set_last(slot_ms, place, more);
        unit
    }

    fn append(&mut self, unit: &Unit) -> i64 {
        let file_bytes = self.config.file_bytes;
        let rest = file_bytes - self.end % file_bytes;
        if rest < (UNIT_BYTES + BLANK_BYTES) as u64 {
            let bytes = blank(u32::try_from(rest).expect("less than a unit and a blank"));
            self.units.extend_from_slice(&bytes);
            let padding = usize::try_from(rest).expect("as above") - BLANK_BYTES;
            self.units.resize(self.units.len() + padding, 0);
            self.end += rest;
        }
        let place = i64::try_from(self.end).expect("a log of less than 8 EiB");
        self.units.extend_from_slice(&unit.encode());
        self.end += UNIT_BYTES as u64;
        place
    }

    fn set_last(&mut self, slot_ms: i64, last: i64, more: i32) {
        let time = slot_ms / self.config.precision_ms;
        let at = self.place(time);
        let empty = Slot { time, first: last, last, count: 0, magic: 0 };
        let slot = self.slots.entry(at).or_insert(empty);
        if slot.time != time {
            *slot = empty;
        }
        slot.last = last;
        slot.count = slot.count.saturating_add(more);
        self.dirty.insert(at);
    }

    /// Takes a unit that was found in the log at a start: its slot has to reach it.
    pub fn revise(&mut self, place: u64, unit: &Unit) {
        let last = i64::try_from(place).unwrap_or(i64::MAX);
        if self.slot(unit.slot_ms()).is_none_or(|slot| slot.last < last) {
            let more = if unit.magic & MAGIC_DELETE == 0 { 1 } else { -1 };
            self.set_last(unit.slot_ms(), last, more);
        }
    }

    /// Forgets slots that reach behind the end of the log: they were written for units that are lost, and have to be made
    /// again from those that are there. Whether there were any.
    pub fn forget_behind_end(&mut self) -> bool {
        let end = i64::try_from(self.end).unwrap_or(i64::MAX);
        let lost: Vec<u64> =
            self.slots.iter().filter(|(_, slot)| slot.last >= end).map(|(at, _)| *at).collect();
        for at in &lost {
            self.slots.remove(at);
            self.dirty.insert(*at);
        }
        !lost.is_empty()
    }

    /// The slot that got a unit last.
    pub fn newest(&self) -> Option<&Slot> {
        self.slots.values().max_by_key(|slot| slot.last)
    }

    /// The largest time of a slot, in the unit in which slots have it.
    pub fn last_time(&self) -> Option<i64> {
        self.slots.values().map(|slot| slot.time).max()
    }

    /// Forgets all slots, those of the file included.
    pub fn clear(&mut self) {
        self.dirty.extend(self.slots.drain().map(|(at, _)| at));
    }

    /// End of the timer log, what is not written included.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes of units that are not handed out yet.
    pub fn waiting_bytes(&self) -> usize {
        self.units.len()
    }

    /// A slot is done: it is not asked for again.
    pub fn pass(&mut self, slot_ms: i64) {
        self.passed.push(slot_ms / self.config.precision_ms);
    }

    /// All slots before this time are done; a wheel that was in use for long has little else.
    pub fn pass_before(&mut self, done_ms: i64) {
        let first = done_ms / self.config.precision_ms;
        self.slots.retain(|_, slot| slot.time >= first);
        self.slots.shrink_to_fit();
    }

    /// Hands out what is to be written. The memory of slots that are done is given back, their places in the file stay as
    /// they are.
    pub fn take_writes(&mut self) -> TimerWrites {
        let units = std::mem::take(&mut self.units);
        let position = self.end - units.len() as u64;
        let dirty = std::mem::take(&mut self.dirty);
        let bytes = |at: &u64| self.slots.get(at).map_or([0; SLOT_BYTES], Slot::encode);
        let slots = dirty.iter().map(|at| (*at, bytes(at))).collect();
        for time in std::mem::take(&mut self.passed) {
            let at = self.place(time);
            if self.slots.get(&at).is_some_and(|slot| slot.time == time) {
                self.slots.remove(&at);
            }
        }
        TimerWrites { position, units, slots }
    }

    /// Takes back what could not be written; it was the last that was handed out.
    pub fn give_back(&mut self, writes: TimerWrites) {
        let mut units = writes.units;
        units.append(&mut self.units);
        self.units = units;
        self.dirty.extend(writes.slots.iter().map(|(at, _)| at));
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Messages that wait, by the count of their slots.
    pub fn count(&self) -> i64 {
        self.slots.values().map(|slot| i64::from(slot.count)).sum()
    }
}

/// Walks the units in the bytes of a file from `at` on: place in the file and unit. Returns where they end, and whether a
/// blank is there.
pub fn units(bytes: &[u8], at: usize, mut found: impl FnMut(usize, Unit)) -> (usize, bool) {
    let mut at = at;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        if is_blank(rest) {
            return (at, true);
        }
        let Some(unit) = rest.get(..UNIT_BYTES).and_then(Unit::decode) else { return (at, false) };
        found(at, unit);
        at += UNIT_BYTES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: TimerConfig =
        TimerConfig { precision_ms: 1000, roll_window_slots: 172_800, file_bytes: 52 * 4 + 20 };

    fn timed(slot_ms: i64, phy: i64) -> Timed {
        Timed { slot_ms, is_recall: false, phy, size: 100, topic_hash: 7 }
    }

    fn chain(index: &TimerIndex, log: &[u8], slot_ms: i64) -> Vec<i64> {
        let mut at = index.slot(slot_ms).map_or(NOWHERE, |slot| slot.last);
        let mut found = Vec::new();
        while let Ok(place) = usize::try_from(at) {
            let unit = Unit::decode(&log[place..place + UNIT_BYTES]).unwrap();
            found.push(unit.phy);
            at = unit.previous;
        }
        found.reverse();
        found
    }

    #[test]
    fn messages_of_a_time_are_a_chain_in_the_log() {
        let mut index = TimerIndex::new(CONFIG, &[], 0);
        let (first, second) = (1_795_244_348_000, 1_795_244_349_000);
        for phy in 0..9 {
            let slot_ms = if phy % 2 == 0 { first } else { second };
            index.add(&timed(slot_ms, phy), 1_795_244_340_123);
        }
        let writes = index.take_writes();
        assert_eq!(writes.position, 0);
        assert_eq!(writes.units.len() as u64, index.end());
        assert_eq!(index.end(), 2 * CONFIG.file_bytes + 52, "four units and a blank in a file");
        assert_eq!(chain(&index, &writes.units, first), [0, 2, 4, 6, 8]);
        assert_eq!(chain(&index, &writes.units, second), [1, 3, 5, 7]);
        assert_eq!(index.slot(first).unwrap().count, 5);
        // The same wheel from its file.
        let mut wheel = vec![0; usize::try_from(WHEEL_SLOTS).unwrap() * SLOT_BYTES];
        for (at, bytes) in &writes.slots {
            let at = usize::try_from(*at).unwrap() * SLOT_BYTES;
            wheel[at..at + SLOT_BYTES].copy_from_slice(bytes);
        }
        let again = TimerIndex::new(CONFIG, &wheel, index.end());
        assert_eq!(chain(&again, &writes.units, first), [0, 2, 4, 6, 8]);
        assert_eq!(again.count(), 9);
        let mut seen = 0;
        assert_eq!(units(&writes.units, 0, |_, _| seen += 1), (208, true));
        assert_eq!(seen, 4);
    }

    #[test]
    fn far_messages_wait_on_the_way_and_a_lost_wheel_is_made_again_from_the_log() {
        let mut index = TimerIndex::new(CONFIG, &[], 0);
        let now = 1_795_244_340_000;
        let day = 86_400_000;
        let far = index.add(&timed(now + 5 * day, 1), now);
        assert_eq!((far.slot_ms(), far.magic), (now + 2 * day, MAGIC_DEFAULT | MAGIC_ROLL));
        let near = index.add(&timed(now + 2 * day + 5000, 2), now);
        assert_eq!((near.slot_ms(), near.magic), (now + day, MAGIC_DEFAULT | MAGIC_ROLL));
        let recall = Timed { is_recall: true, ..timed(now + day, 3) };
        index.add(&recall, now);
        assert_eq!(index.slot(now + day).unwrap().count, 0);
        let log = index.take_writes().units;
        let mut again = TimerIndex::new(CONFIG, &[], index.end());
        units(&log, 0, |at, unit| again.revise(at as u64, &unit));
        assert_eq!(chain(&again, &log, now + day), [2, 3]);
        assert_eq!(again.slot(now + day), index.slot(now + day));
        assert!(!again.forget_behind_end());
        assert!(again.slot(now + day).is_some());
        let mut short = TimerIndex { end: 60, ..again.clone() };
        assert!(short.forget_behind_end());
        assert!(short.slot(now + day).is_none());
    }
}
