//! How a process of shards ends: orderly on request, at once after a failure.

use base::ids::ShardId;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use store::queues::StoppedQueues;

/// Something that an orderly stop waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waited {
    /// What, for people.
    pub what: &'static str,
    /// How long after the stop was asked for it was there, ms; `None`: it was given up.
    pub took_ms: Option<u64>,
}

impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.took_ms {
            Some(ms) => write!(f, "{} {ms} ms", self.what),
            None => write!(f, "{} given up", self.what),
        }
    }
}

impl Waited {
    /// The longest of two waits for the same thing.
    fn join(&mut self, other: Waited) {
        self.took_ms = match (self.took_ms, other.took_ms) {
            (Some(own), Some(others)) => Some(own.max(others)),
            (None, _) | (_, None) => None,
        };
    }
}

/// Shared by the shards and the main thread; touched at start, at the end, and once per turn (one relaxed load).
#[derive(Default)]
pub(crate) struct StopFlag {
    stop: AtomicBool,
    clean: Mutex<Vec<Option<StoppedQueues>>>,
    failure: Mutex<Option<String>>,
    waited: Mutex<Vec<Waited>>,
    wakers: Mutex<Vec<OwnedFd>>,
}

impl StopFlag {
    /// Adds a shard's eventfd to those that are signalled.
    pub(crate) fn add_waker(&self, waker: OwnedFd) {
        self.wakers.lock().expect("no shard panics while it holds this").push(waker);
    }

    /// Asks all shards to stop.
    pub(crate) fn raise(&self) {
        self.stop.store(true, Ordering::SeqCst);
        for waker in self.wakers.lock().expect("no shard panics while it holds this").iter() {
            reactor::sys::event_signal(waker.as_raw_fd());
        }
    }

    /// Asks all shards to stop because this one cannot go on.
    pub(crate) fn fail(&self, why: String) {
        self.failure.lock().expect("no shard panics while it holds this").get_or_insert(why);
        self.raise();
    }

    /// A shard has ended with its part of the store durable and marked so; with its queues, where their bounds are certain.
    pub(crate) fn note_clean(&self, queues: Option<StoppedQueues>) {
        self.clean.lock().expect("no shard panics while it holds this").push(queues);
    }

    /// What the shards that ended so have said; once.
    pub(crate) fn take_clean(&self) -> Vec<Option<StoppedQueues>> {
        std::mem::take(&mut *self.clean.lock().expect("no shard panics while it holds this"))
    }

    /// A shard has ended; what it waited for.
    pub(crate) fn note_waited(&self, me: ShardId, parts: &[Waited]) {
        let mut all = self.waited.lock().expect("no shard panics while it holds this");
        for part in parts {
            tracing::debug!("{me}: stopped waiting: {part}");
            match all.iter_mut().find(|other| other.what == part.what) {
                Some(other) => other.join(*part),
                None => all.push(*part),
            }
        }
    }

    /// What the shards waited for, the longest wait of each.
    pub(crate) fn waited(&self) -> Vec<Waited> {
        self.waited.lock().expect("no shard panics while it holds this").clone()
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().expect("no shard panics while it holds this").clone()
    }
}
