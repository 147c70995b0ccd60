//! Every interleaving of sleepers and senders that the memory model allows, walked through by loom: nobody is left asleep.
//!
//! Loom reports a thread that waits for a wake-up nobody will send as a deadlock. The mail ring is modelled by the two
//! atomics of crate `rtrb` that matter here (the producer's position, stored with release and loaded with acquire), the
//! kernel's ring by loom's `Notify`: a wake-up that comes first is kept, several are one, and some come for no reason.

use super::{Doorbell, Word};
use crate::host::{Job, work_off};
use loom::sync::Notify;
use loom::sync::atomic::{AtomicI32, AtomicUsize};
use std::cell::Cell;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Word for AtomicI32 {
    fn with(value: RawFd) -> Self {
        AtomicI32::new(value)
    }

    fn swap(&self, value: RawFd, order: Ordering) -> RawFd {
        self.swap(value, order)
    }
}

/// Sabotage: a word without acquire, or without release, or without either.
struct Weak<const ACQUIRES: bool, const RELEASES: bool>(AtomicI32);

impl<const ACQUIRES: bool, const RELEASES: bool> Word for Weak<ACQUIRES, RELEASES> {
    fn with(value: RawFd) -> Self {
        Weak(AtomicI32::new(value))
    }

    fn swap(&self, value: RawFd, _: Ordering) -> RawFd {
        let order = match (ACQUIRES, RELEASES) {
            (true, true) => Ordering::AcqRel,
            (true, false) => Ordering::Acquire,
            (false, true) => Ordering::Release,
            (false, false) => Ordering::Relaxed,
        };
        self.0.swap(value, order)
    }
}

/// What a shard does wrong, if anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Right,
    SleepsWithoutSecondLook,
    RingsBeforeItSends,
}

struct Shard<W> {
    bell: Doorbell<W>,
    /// The ring it sleeps in.
    ring: Notify,
    /// Per peer: mails that the peer has put into this shard's inbox.
    sent: Vec<AtomicUsize>,
}

/// The shards of one broker; a shard's number is its ring's descriptor.
struct Shards<W> {
    shards: Vec<Shard<W>>,
    order: Order,
}

impl<W: Word> Shards<W> {
    fn new(count: usize, order: Order) -> Self {
        let shard = || Shard {
            bell: Doorbell::new(),
            ring: Notify::new(),
            sent: (0..count).map(|_| AtomicUsize::new(0)).collect(),
        };
        Shards { shards: (0..count).map(|_| shard()).collect(), order }
    }

    /// One mail, as `Mesh::send` and `Mesh::flush` do it.
    fn send(&self, from: usize, to: usize, count: usize) {
        let peer = &self.shards[to];
        if self.order != Order::RingsBeforeItSends {
            peer.sent[from].store(count, Ordering::Release);
        }
        if let Some(ring) = peer.bell.ring() {
            self.shards[usize::try_from(ring).unwrap()].ring.notify();
        }
        if self.order == Order::RingsBeforeItSends {
            peer.sent[from].store(count, Ordering::Release);
        }
    }

    /// Turns of shard `me` until it has received `expected` mails, asleep whenever it may be.
    fn receive(&self, me: usize, expected: usize) {
        let shard = &self.shards[me];
        let sent = || shard.sent.iter().map(|sent| sent.load(Ordering::Acquire)).sum::<usize>();
        loop {
            let received = sent();
            if received == expected {
                return;
            }
            let looks = self.order != Order::SleepsWithoutSecondLook;
            let has_mail = || looks && sent() != received;
            if shard.bell.announce(RawFd::try_from(me).unwrap(), has_mail) {
                shard.ring.wait();
            }
            shard.bell.withdraw();
        }
    }
}

/// Each entry: a shard, the shards it sends one mail each, and the number of mails it waits for.
type Plan = &'static [(usize, &'static [usize], usize)];

const ONE_MAIL: Plan = &[(0, &[1], 0), (1, &[], 1)];
const BOTH_DIRECTIONS: Plan = &[(0, &[1], 1), (1, &[0], 1)];
const TWO_MAILS: Plan = &[(0, &[1, 1], 0), (1, &[], 2)];
const TWO_SENDERS: Plan = &[(0, &[2], 0), (1, &[2], 0), (2, &[], 2)];
const IN_A_CIRCLE: Plan = &[(0, &[1], 1), (1, &[2], 1), (2, &[0], 1)];

/// All executions of `plan`, or those with at most so many preemptions. Their number.
fn walk<W: Word + Send + Sync + 'static>(
    plan: Plan,
    order: Order,
    preemptions: Option<usize>,
) -> usize {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    let executions = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&executions);
    model.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        let shards = Arc::new(Shards::<W>::new(plan.len(), order));
        let run = |(me, to, expected): (usize, &'static [usize], usize)| {
            let shards = Arc::clone(&shards);
            move || {
                for (at, to) in to.iter().enumerate() {
                    shards.send(me, *to, at + 1);
                }
                shards.receive(me, expected);
            }
        };
        let (first, others) = plan.split_first().unwrap();
        let others: Vec<_> = others.iter().map(|part| loom::thread::spawn(run(*part))).collect();
        run(*first)();
        for other in others {
            other.join().unwrap();
        }
    });
    executions.load(Ordering::Relaxed)
}

/// Whether loom finds an execution of `check` in which a thread sleeps for ever.
fn leaves_somebody_asleep(check: impl FnOnce()) -> bool {
    let Err(panic) = catch_unwind(AssertUnwindSafe(check)) else { return false };
    let message = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(message.starts_with("deadlock"), "another failure: {message}");
    true
}

#[test]
fn two_shards_and_one_mail() {
    assert!(walk::<AtomicI32>(ONE_MAIL, Order::Right, None) > 10);
}

#[test]
fn two_shards_and_two_mails() {
    assert!(walk::<AtomicI32>(TWO_MAILS, Order::Right, None) > 1000);
}

#[test]
fn two_shards_that_send_each_other() {
    assert!(walk::<AtomicI32>(BOTH_DIRECTIONS, Order::Right, None) > 100);
}

#[test]
fn two_senders_and_a_sleeper() {
    // All of them are 241,986 and take half a minute.
    assert!(walk::<AtomicI32>(TWO_SENDERS, Order::Right, Some(4)) > 1000);
}

#[test]
fn three_shards_in_a_circle() {
    assert!(walk::<AtomicI32>(IN_A_CIRCLE, Order::Right, Some(3)) > 1000);
}

#[test]
fn a_weaker_word_is_found() {
    let right = || walk::<Weak<true, true>>(ONE_MAIL, Order::Right, None);
    assert!(right() > 10, "the same without sabotage");
    let weaker: [fn() -> usize; 3] = [
        || walk::<Weak<false, true>>(ONE_MAIL, Order::Right, None),
        || walk::<Weak<true, false>>(ONE_MAIL, Order::Right, None),
        || walk::<Weak<false, false>>(ONE_MAIL, Order::Right, None),
    ];
    for check in weaker {
        assert!(leaves_somebody_asleep(|| {
            check();
        }));
    }
}

#[test]
fn sleep_without_a_second_look_is_found() {
    assert!(leaves_somebody_asleep(|| {
        walk::<AtomicI32>(ONE_MAIL, Order::SleepsWithoutSecondLook, None);
    }));
}

#[test]
fn a_bell_rung_before_the_mail_is_there_is_found() {
    assert!(leaves_somebody_asleep(|| {
        walk::<AtomicI32>(ONE_MAIL, Order::RingsBeforeItSends, None);
    }));
}

/// Two jobs on the thread beside a shard; the shard sleeps until it has both results.
fn walk_jobs(signals_first: bool) {
    loom::model(move || {
        // Loom's own channel has a look into it that loom does not see as an access.
        let results = Arc::new(loom::sync::Mutex::new(Vec::new()));
        let done = Arc::clone(&results);
        let eventfd = Arc::new(Notify::new());
        let waker = Arc::clone(&eventfd);
        let beside = loom::thread::spawn(move || {
            let jobs = [41, 42].map(|number| -> Job<u32> { Box::new(move || number) });
            let send = |result| done.lock().unwrap().push(result);
            if signals_first {
                let held = Cell::new(None);
                let signal = |result| {
                    held.set(Some(result));
                    waker.notify();
                    true
                };
                work_off(jobs, signal, || send(held.take().unwrap()));
            } else {
                let report = |result| {
                    send(result);
                    true
                };
                work_off(jobs, report, || waker.notify());
            }
        });
        loop {
            let got = results.lock().unwrap().clone();
            if got == [41, 42] {
                break;
            }
            assert!(got.is_empty() || got == [41], "in order");
            eventfd.wait();
        }
        beside.join().unwrap();
    });
}

#[test]
fn a_shard_hears_of_each_job_that_is_done() {
    walk_jobs(false);
}

#[test]
fn a_signal_in_front_of_the_result_is_found() {
    assert!(leaves_somebody_asleep(|| walk_jobs(true)));
}
