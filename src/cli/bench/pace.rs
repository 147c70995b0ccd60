//! When messages of an open loop are due, and the time that is measured.
//!
//! A message that starts late keeps its intended time, so its wait is part of its latency: a stalled broker is
//! charged for every message that should have been sent meanwhile (no coordinated omission).

use base::time::MonoNs;
use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;

/// Intended send times at a constant rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    start: MonoNs,
    rate: u64,
    issued: u64,
}

impl Pace {
    /// `rate` messages per second from `start` on.
    pub(super) fn new(start: MonoNs, rate: u64) -> Pace {
        assert!(rate > 0, "checked by the arguments");
        Pace { start, rate, issued: 0 }
    }

    /// Intended time of the next message.
    pub(super) fn next(&self) -> MonoNs {
        // Whole seconds apart: the product would overflow after 18 thousand million messages.
        let (seconds, rest) = (self.issued / self.rate, self.issued % self.rate);
        let part_ns = u128::from(rest) * u128::from(SECOND_NS) / u128::from(self.rate);
        let part_ns = u64::try_from(part_ns).expect("below one second");
        MonoNs(self.start.0 + seconds * SECOND_NS + part_ns)
    }

    /// Intended time of the next message if it is due by `now`.
    pub(super) fn due(&self, now: MonoNs) -> Option<MonoNs> {
        Some(self.next()).filter(|&next| next <= now)
    }

    /// The next message was started.
    pub(super) fn issue(&mut self) {
        self.issued += 1;
    }
}

/// The measured time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Window {
    /// Load starts here.
    pub(super) begin: MonoNs,
    /// Measuring starts here.
    pub(super) start: MonoNs,
    /// Measuring and load end here.
    pub(super) end: MonoNs,
}

impl Window {
    /// A window whose load begins at `begin`.
    pub(super) fn new(begin: MonoNs, warmup: Duration, duration: Duration) -> Window {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).expect("at most a day");
        let start = MonoNs(begin.0 + ns(warmup));
        Window { begin, start, end: MonoNs(start.0 + ns(duration)) }
    }

    /// Whether an instant is measured.
    pub(super) fn contains(&self, at: MonoNs) -> bool {
        self.start <= at && at < self.end
    }

    /// Measured seconds up to `now`.
    pub(super) fn seconds(&self, now: MonoNs) -> f64 {
        now.min(self.end).since(self.start) as f64 / SECOND_NS as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Issues all that is due at each of the clock's readings and returns the intended times.
    fn run(pace: &mut Pace, clock: &[u64]) -> Vec<u64> {
        let mut intended = Vec::new();
        for &now in clock {
            while let Some(due) = pace.due(MonoNs(now)) {
                intended.push(due.0);
                pace.issue();
            }
        }
        intended
    }

    #[test]
    fn a_stall_is_caught_up_with_the_times_that_were_intended() {
        let mut pace = Pace::new(MonoNs(50), 4);
        let quarter = SECOND_NS / 4;
        let times = run(&mut pace, &[49, 50, 60, 50 + quarter, 50 + 4 * quarter]);
        assert_eq!(times, [0, 1, 2, 3, 4].map(|n| 50 + n * quarter));
        assert_eq!(pace.due(MonoNs(50 + 5 * quarter - 1)), None);
    }

    #[test]
    fn rates_that_do_not_divide_a_second_do_not_drift() {
        let mut pace = Pace::new(MonoNs(0), 3);
        pace.issued = 3_000_000_000;
        assert_eq!(pace.next().0, SECOND_NS * 1_000_000_000);
        pace.issue();
        assert_eq!(pace.next().0 % SECOND_NS, 333_333_333);
    }

    #[test]
    fn the_window_ends_before_its_last_instant() {
        let window = Window::new(MonoNs(10), Duration::from_nanos(5), Duration::from_nanos(20));
        assert!(!window.contains(MonoNs(14)) && window.contains(MonoNs(15)));
        assert!(window.contains(MonoNs(34)) && !window.contains(MonoNs(35)));
        assert_eq!(window.seconds(MonoNs(1000)), 20e-9);
    }
}
