//! How a process of shards ends: orderly on request, at once after a failure.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use store::queues::StoppedQueues;

/// Shared by the shards and the main thread; touched at start, at the end, and once per turn (one relaxed load).
#[derive(Default)]
pub(crate) struct StopFlag {
    stop: AtomicBool,
    clean: Mutex<Vec<Option<StoppedQueues>>>,
    failure: Mutex<Option<String>>,
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

    pub(crate) fn is_raised(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().expect("no shard panics while it holds this").clone()
    }
}
