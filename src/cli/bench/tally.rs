//! What a load counts: requests in flight, latencies, messages, refusals.

use super::pace::Window;
use super::scan::Answer;
use super::template::OPAQUE_FIRST;
use base::time::MonoNs;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// Longest latency that is told apart from longer ones, in nanoseconds: one hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// Latencies in nanoseconds with three digits.
#[derive(Clone, Debug)]
pub(super) struct Latency(Histogram<u64>);

impl Latency {
    /// No latency yet.
    pub(super) fn new() -> Latency {
        Latency(Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are in order"))
    }

    /// Counts the time from `intended` to `now`.
    pub(super) fn record(&mut self, intended: MonoNs, now: MonoNs) {
        self.0.saturating_record(now.since(intended));
    }

    /// Latencies counted.
    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that a part of all does not exceed, in microseconds.
    pub(super) fn quantile_us(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// The longest latency in microseconds.
    pub(super) fn max_us(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }
}

/// Refusals by response code, with the first remark of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(BTreeMap<i32, (u64, String)>);

impl Refusals {
    /// Counts an answer that is no success.
    pub(super) fn count(&mut self, answer: &Answer<'_>) {
        let (count, _) = self.0.entry(answer.code).or_insert_with(|| (0, answer.remark()));
        *count += 1;
    }

    /// Code, count and first remark.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i32, u64, &str)> {
        self.0.iter().map(|(code, (count, remark))| (*code, *count, remark.as_str()))
    }
}

/// Requests in flight on one connection; the opaque of a request names its slot.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    intended: Vec<Option<MonoNs>>,
    free: Vec<u32>,
}

impl Slots {
    /// Room for `count` requests.
    pub(super) fn new(count: u32) -> Slots {
        let size = usize::try_from(count).expect("usize has at least 32 bits");
        // The lowest slots are used first: they stay in the cache.
        Slots { intended: vec![None; size], free: (0..count).rev().collect() }
    }

    /// Starts a request; `None` when as many as allowed are in flight.
    pub(super) fn start(&mut self, intended: MonoNs) -> Option<u32> {
        let slot = self.free.pop()?;
        self.intended[index(slot)] = Some(intended);
        Some(slot)
    }

    /// Ends the request with this opaque and tells its intended time; `None` when there is no such request.
    pub(super) fn finish(&mut self, opaque: i32) -> Option<MonoNs> {
        let slot = u32::try_from(opaque.checked_sub(OPAQUE_FIRST)?).ok()?;
        let intended = self.intended.get_mut(index(slot))?.take()?;
        self.free.push(slot);
        Some(intended)
    }

    /// Requests in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.intended.len() - self.free.len()
    }

    /// Whether another request may start.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }
}

fn index(slot: u32) -> usize {
    usize::try_from(slot).expect("usize has at least 32 bits")
}

/// Sends and their answers.
#[derive(Clone, Debug)]
pub(super) struct SendTally {
    /// What is measured.
    pub(super) window: Window,
    /// From the intended time to the answer, of good sends intended within the window.
    pub(super) latency: Latency,
    /// Good answers within the window.
    pub(super) stored: u64,
    /// Good answers of the whole run.
    pub(super) stored_total: u64,
    /// All refusals of the run.
    pub(super) refusals: Refusals,
    /// Requests without an answer when the run ended.
    pub(super) unanswered: u64,
    /// Answers of the whole run, and their bytes.
    pub(super) answers: (u64, u64),
    /// Longest time a request within the window started later than intended, in nanoseconds.
    pub(super) late_max_ns: u64,
}

impl SendTally {
    /// Nothing counted.
    pub(super) fn new(window: Window) -> SendTally {
        SendTally {
            window,
            latency: Latency::new(),
            stored: 0,
            stored_total: 0,
            refusals: Refusals::default(),
            unanswered: 0,
            answers: (0, 0),
            late_max_ns: 0,
        }
    }

    /// A request was put out.
    pub(super) fn started(&mut self, intended: MonoNs, now: MonoNs) {
        if self.window.contains(intended) {
            self.late_max_ns = self.late_max_ns.max(now.since(intended));
        }
    }

    /// A good answer arrived.
    pub(super) fn stored(&mut self, intended: MonoNs, now: MonoNs) {
        self.stored_total += 1;
        if self.window.contains(now) {
            self.stored += 1;
        }
        if self.window.contains(intended) {
            self.latency.record(intended, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn slots_come_back_once() {
        let mut slots = Slots::new(2);
        assert_eq!(slots.start(MonoNs(5)), Some(0));
        assert_eq!(slots.start(MonoNs(6)), Some(1));
        assert_eq!((slots.start(MonoNs(7)), slots.in_flight()), (None, 2));
        assert_eq!(slots.finish(OPAQUE_FIRST + 1), Some(MonoNs(6)));
        for opaque in [OPAQUE_FIRST + 1, OPAQUE_FIRST + 2, OPAQUE_FIRST - 1, i32::MIN] {
            assert_eq!(slots.finish(opaque), None, "{opaque}");
        }
        assert_eq!(slots.start(MonoNs(8)), Some(1));
    }

    #[test]
    fn latency_counts_from_the_intended_time_and_only_within_the_window() {
        let ms = |n: u64| MonoNs(n * 1_000_000);
        let window = Window::new(ms(0), Duration::from_millis(100), Duration::from_millis(100));
        let mut tally = SendTally::new(window);
        // Warm-up; then a broker that stalls for 50 ms: three sends wait for it, answered at once afterwards.
        tally.stored(ms(50), ms(60));
        for intended in [110, 120, 130] {
            tally.started(ms(intended), ms(160));
            tally.stored(ms(intended), ms(161));
        }
        // Intended within, answered after the end: a latency, but no throughput.
        tally.stored(ms(199), ms(205));
        assert_eq!((tally.latency.count(), tally.stored, tally.stored_total), (4, 3, 5));
        let max_us = tally.latency.max_us();
        assert!((51_000.0..51_100.0).contains(&max_us), "{max_us}");
        let median_us = tally.latency.quantile_us(0.5);
        assert!((30_900.0..31_100.0).contains(&median_us), "{median_us}");
        assert_eq!(tally.late_max_ns, 50_000_000);
    }
}
