//! The machine's own pauses: how long a thread that has a CPU for itself is kept from it.
//!
//! Interrupts, kernel threads, other programs and, on a virtual machine, its host take a CPU away for a while. What
//! arrives in the meantime waits, whichever broker it is for. The method is that of jHiccup: a thread looks at the clock
//! again and again. Such a CPU is always busy; from one that sleeps between messages a host may take less.

use crate::metric::Metric;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// How long each CPU is watched.
const WATCH: Duration = Duration::from_secs(2);
/// Shorter gaps between two looks at the clock are the loop itself.
const GAP_NS_MIN: u64 = 5_000;

/// Waits that something would have had which arrives at any moment, on the worst of these CPUs. Nothing else may run.
/// None when one of them could not be watched: what it had would be missing.
pub(crate) fn measure(cpus: &[usize]) -> BTreeMap<String, f64> {
    let watched: Option<Vec<Vec<u64>>> = thread::scope(|scope| {
        let watchers: Vec<_> = cpus.iter().map(|&cpu| scope.spawn(move || watch(cpu))).collect();
        watchers.into_iter().map(|watcher| watcher.join().ok().flatten()).collect()
    });
    let Some(watched) = watched else {
        eprintln!(
            "one of the CPUs {cpus:?} cannot be watched: what the machine alone does is left out"
        );
        return BTreeMap::new();
    };
    let worst = |part: f64| {
        let waits = watched.iter().map(|gaps| wait_ns(gaps, WATCH, part) as f64 / 1000.0);
        waits.fold(0.0, f64::max)
    };
    BTreeMap::from([
        (Metric::PauseP99Us.key(), worst(0.01)),
        (Metric::PauseP999Us.key(), worst(0.001)),
    ])
}

/// Gaps between two looks at the clock, ns; none at all when the thread cannot have that CPU.
fn watch(cpu: usize) -> Option<Vec<u64>> {
    if !core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
        return None;
    }
    let begin = Instant::now();
    let (mut last, mut gaps) = (Duration::ZERO, Vec::new());
    while last < WATCH {
        let now = begin.elapsed();
        let gap = now.saturating_sub(last).as_nanos();
        let gap_ns = u64::try_from(gap).unwrap_or(u64::MAX);
        if gap_ns >= GAP_NS_MIN {
            gaps.push(gap_ns);
        }
        last = now;
    }
    Some(gaps)
}

/// The wait that this part of all arrivals exceeds, when they come evenly over the time: who comes `t` after the
/// begin of a gap waits for the rest of it.
fn wait_ns(gaps: &[u64], over: Duration, part: f64) -> u64 {
    let allowed_ns = over.as_nanos() as f64 * part;
    let beyond_ns =
        |wait: u64| -> f64 { gaps.iter().map(|gap| gap.saturating_sub(wait) as f64).sum() };
    let (mut low, mut high) = (0, gaps.iter().copied().max().unwrap_or(0));
    while low < high {
        let middle = low + (high - low) / 2;
        match beyond_ns(middle) > allowed_ns {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_wait_for_the_rest_of_a_gap() {
        let second = Duration::from_secs(1);
        // 10 ms of one second: 1 % comes within the gap, 0.1 % in its first ms, with 9 ms or more to go.
        assert_eq!(wait_ns(&[10_000_000], second, 0.001), 9_000_000);
        assert_eq!(wait_ns(&[10_000_000], second, 0.01), 0);
        // Ten gaps of 1 ms: 0.1 ms of each.
        assert_eq!(wait_ns(&[1_000_000; 10], second, 0.001), 900_000);
        assert_eq!(wait_ns(&[], second, 0.001), 0);
    }

    #[test]
    fn a_cpu_is_watched() {
        let cpu = reactor::affinity::allowed_cpus()[0];
        let began = Instant::now();
        let gaps = watch(cpu).unwrap();
        let took = began.elapsed();
        assert!(took >= WATCH);
        // No machine is free of interrupts; together the gaps are no longer than the look.
        assert!(!gaps.is_empty() && gaps.iter().all(|gap| *gap >= GAP_NS_MIN));
        assert!(Duration::from_nanos(gaps.iter().sum()) <= took);
    }

    #[test]
    fn the_pauses_of_a_cpu_that_cannot_be_watched_are_unknown() {
        let cpu = reactor::affinity::allowed_cpus()[0];
        assert_eq!(measure(&[cpu]).len(), 2);
        assert!(measure(&[cpu, 1023]).is_empty());
    }
}
