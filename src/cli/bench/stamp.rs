//! What the bodies of a run begin with when their receipt is measured: the run, a time, and the number of the message.
//!
//! The time is the one from which a latency counts: when a message was to be sent, or when it is to be delivered.

use super::pace::Window;
use super::tally::Latency;
use base::time::MonoNs;
use reactor::clock;

/// The run, the time and the number, eight bytes each.
pub(super) const STAMP_BYTES: usize = 24;
const MS_NS: i64 = 1_000_000;
/// Numbers from here on are not told apart: the set of those that came has this many bits at most.
const NUMBER_MAX: u64 = 1 << 32;

/// A stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    /// Tells the messages of this run from others.
    pub(super) run: u64,
    /// The time.
    pub(super) time: MonoNs,
    /// Number of the message in its run, from 0.
    pub(super) number: u64,
}

impl Stamp {
    /// As it lies in the body.
    pub(super) fn bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        let words = [self.run, self.time.0, self.number];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// Reads the begin of a body; `None` when it is too short.
    pub(super) fn read(body: &[u8]) -> Option<Stamp> {
        let word = |at: usize| Some(u64::from_be_bytes(*body.get(at..)?.first_chunk::<8>()?));
        Some(Stamp { run: word(0)?, time: MonoNs(word(8)?), number: word(16)? })
    }
}

/// The stamps of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamped {
    /// The run.
    pub(super) run: u64,
    /// When messages are to be delivered, after they were sent; 0: at once, and the time is that of the intended send.
    pub(super) delay_ms: u64,
}

/// The wall clock as this thread's clock tells it, for a run in which nobody sets it.
#[derive(Clone, Copy, Debug)]
pub(super) struct WallClock {
    ahead_ns: i64,
}

impl WallClock {
    /// Compares both clocks.
    pub(super) fn read() -> WallClock {
        let before = clock::mono();
        let wall_us = clock::wall_us();
        let middle = MonoNs(before.0.midpoint(clock::mono().0));
        WallClock::new(wall_us, middle)
    }

    /// The wall clock showed `wall_us`, microseconds since 1970, at `mono`.
    pub(super) fn new(wall_us: i64, mono: MonoNs) -> WallClock {
        WallClock { ahead_ns: wall_us * 1000 - signed(mono.0) }
    }

    /// Milliseconds since 1970, rounded down as every time stamp is.
    pub(super) fn ms(self, at: MonoNs) -> i64 {
        (signed(at.0) + self.ahead_ns) / MS_NS
    }

    /// When the wall clock begins to show this time.
    pub(super) fn mono(self, ms: i64) -> MonoNs {
        MonoNs(u64::try_from(ms * MS_NS - self.ahead_ns).unwrap_or(0))
    }
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).expect("a machine runs for less than 292 years")
}

/// Messages that came, told apart by their stamps.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    /// Different messages of the run.
    pub(super) total: u64,
    /// Messages that had come before.
    pub(super) duplicates: u64,
    /// Messages that came before their time, and the longest time before it in nanoseconds.
    pub(super) early: (u64, u64),
    /// From the time of the stamp to the receipt, of messages sent within the window.
    pub(super) latency: Latency,
    seen: Vec<u64>,
}

impl Arrivals {
    /// Nothing came yet.
    pub(super) fn new() -> Arrivals {
        let latency = Latency::new();
        Arrivals { total: 0, duplicates: 0, early: (0, 0), latency, seen: Vec::new() }
    }

    /// A body came. False: its message is of another run, or came before.
    pub(super) fn came(&mut self, body: &[u8], of: Stamped, window: Window, now: MonoNs) -> bool {
        let Some(stamp) = Stamp::read(body).filter(|stamp| stamp.run == of.run) else {
            return false;
        };
        if !self.is_new(stamp.number) {
            self.duplicates += 1;
            return false;
        }
        self.total += 1;
        let early_ns = stamp.time.since(now);
        if early_ns > 0 {
            self.early = (self.early.0 + 1, self.early.1.max(early_ns));
        }
        let sent = MonoNs(stamp.time.0.saturating_sub(of.delay_ms.saturating_mul(1_000_000)));
        if window.contains(sent) {
            self.latency.record(stamp.time, now);
        }
        true
    }

    fn is_new(&mut self, number: u64) -> bool {
        if number >= NUMBER_MAX {
            return true;
        }
        let at = usize::try_from(number / 64).expect("below the limit");
        if self.seen.len() <= at {
            self.seen.resize((at + 1).next_power_of_two(), 0);
        }
        let (word, bit) = (&mut self.seen[at], 1 << (number % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_stamp_comes_back() {
        let stamp = Stamp { run: 7, time: MonoNs(u64::MAX), number: 9 };
        assert_eq!(Stamp::read(&stamp.bytes()), Some(stamp));
        assert_eq!(Stamp::read(&[&stamp.bytes()[..], b"xx"].concat()), Some(stamp));
        assert_eq!(Stamp::read(&stamp.bytes()[..23]), None);
    }

    #[test]
    fn a_millisecond_of_the_wall_clock_begins_where_it_is_first_shown() {
        let wall = WallClock::new(1_700_000_000_000_400, MonoNs(5 * MS));
        assert_eq!(wall.ms(MonoNs(5 * MS)), 1_700_000_000_000);
        let next = wall.mono(1_700_000_000_001);
        assert_eq!(next, MonoNs(5 * MS + 600_000));
        assert_eq!(
            (wall.ms(MonoNs(next.0 - 1)), wall.ms(next)),
            (1_700_000_000_000, 1_700_000_000_001)
        );
        let now = clock::now();
        assert!((WallClock::read().ms(now.mono) - now.wall.0).abs() < 1000);
    }

    #[test]
    fn what_comes_twice_or_too_soon_is_told() {
        let window = Window::new(MonoNs(0), Duration::from_millis(10), Duration::from_millis(100));
        let of = Stamped { run: 3, delay_ms: 1000 };
        let mut arrivals = Arrivals::new();
        let mut came = |run: u64, due_ms: u64, number: u64, now_ms: u64| {
            let stamp = Stamp { run, time: MonoNs(due_ms * MS), number };
            arrivals.came(&stamp.bytes(), of, window, MonoNs(now_ms * MS))
        };
        assert!(came(3, 1005, 0, 1009), "sent while warming up");
        assert!(came(3, 1010, 1, 1013));
        assert!(!came(3, 1010, 1, 1014), "a second time");
        assert!(!came(4, 1010, 2, 1014), "of another run");
        assert!(came(3, 1020, 700, 1018));
        assert_eq!((arrivals.total, arrivals.duplicates, arrivals.early), (3, 1, (1, 2 * MS)));
        assert_eq!(arrivals.latency.count(), 2);
        assert!((2_990.0..3_010.0).contains(&arrivals.latency.max_us()));
    }
}
