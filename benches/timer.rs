//! The timer wheel, with 10,000 other timers in it.

use crate::harness::{Case, Operations, counted};
use base::time::MonoNs;
use base::wheel::Wheel;
use std::hint::black_box;

const OTHERS: u64 = 10_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![counted("timer/set-and-cancel", set_and_cancel), counted("timer/set-and-fire", fire)]
}

fn wheel() -> Wheel<u64> {
    let mut wheel = Wheel::new(MonoNs(0));
    for key in 0..OTHERS {
        wheel.set(MonoNs(0).plus_ms(20_000_000 + key), key);
    }
    wheel
}

fn set_and_cancel() -> Operations {
    let (mut wheel, mut turn) = (wheel(), 0);
    Box::new(move |count| {
        for _ in 0..count {
            turn += 1;
            let timer = wheel.set(MonoNs(turn * 1_000).plus_ms(15_000), black_box(turn));
            black_box(wheel.cancel(timer));
        }
    })
}

/// One timer is set per millisecond, which fires 15 s later; then one of those set before is due.
fn fire() -> Operations {
    let (mut wheel, mut at, mut due) = (wheel(), MonoNs(0), Vec::new());
    Box::new(move |count| {
        for _ in 0..count {
            at = MonoNs(at.0 + 1_000_000);
            wheel.set(at.plus_ms(15_000), black_box(at.0));
            wheel.fire(at, &mut due);
            black_box(&due);
            due.clear();
        }
    })
}
