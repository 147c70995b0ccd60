//! The doorbell of a shard: who is about to sleep hangs out its ring's descriptor; who has mail for it takes it and wakes it.
//!
//! The sleeper changes the bell and then looks for mail; the sender puts mail into the inbox and then changes the bell.
//! Every change is a swap with acquire and release, so all of them stand in one order, and each knows what came before
//! the one in front of it: if the sender was first, the sleeper's second look finds the mail; if the sleeper was, the
//! sender finds the descriptor. Nobody sleeps with mail that nobody tells it of. A plain store in place of a swap
//! would need a sequentially consistent fence on both sides, and on x86-64 would be no cheaper.
//!
//! The tests walk through all interleavings that the memory model allows (loom): this code, on loom's atomics.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};

/// Where the bell hangs.
pub(crate) trait Word {
    fn with(value: RawFd) -> Self;
    fn swap(&self, value: RawFd, order: Ordering) -> RawFd;
}

impl Word for AtomicI32 {
    fn with(value: RawFd) -> Self {
        AtomicI32::new(value)
    }

    fn swap(&self, value: RawFd, order: Ordering) -> RawFd {
        self.swap(value, order)
    }
}

/// Nobody sleeps here.
const AWAKE: RawFd = -1;

/// One shard's bell, on cache lines of its own: peers change it in every turn in which they have mail.
#[repr(align(128))]
pub(crate) struct Doorbell<W = AtomicI32> {
    sleeper: W,
}

impl<W: Word> Doorbell<W> {
    pub(crate) fn new() -> Self {
        Doorbell { sleeper: W::with(AWAKE) }
    }

    /// Announces that the owner is about to sleep in `ring_fd`, and looks for mail once more. False when there is some:
    /// then the announcement is taken back, and the owner must not sleep.
    pub(crate) fn announce(&self, ring_fd: RawFd, has_mail: impl FnOnce() -> bool) -> bool {
        self.sleeper.swap(ring_fd, Ordering::AcqRel);
        if has_mail() {
            self.withdraw();
            return false;
        }
        true
    }

    /// Takes the announcement back: the owner is awake.
    pub(crate) fn withdraw(&self) {
        self.sleeper.swap(AWAKE, Ordering::AcqRel);
    }

    /// Rings, after mail was put into the owner's inbox. The ring to wake, when the owner sleeps or is about to: one caller
    /// only gets it.
    pub(crate) fn ring(&self) -> Option<RawFd> {
        let sleeper = self.sleeper.swap(AWAKE, Ordering::AcqRel);
        (sleeper != AWAKE).then_some(sleeper)
    }
}

#[cfg(test)]
mod tests;
