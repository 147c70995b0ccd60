//! Which scheduling slice a shard asks for: a short one while it sleeps often, a long one while it runs on and on.
//!
//! Since Linux 6.12 a waking thread preempts the running one at once only if its slice is the shorter of the two. A
//! shard that wakes for a request wants that against everything else on its core; a shard that is never idle owes it
//! to the kernel's workers that complete its writes. Measured in `decisions/2026-11-21-two-slices.md`.

use base::time::MonoNs;
use reactor::sys::{Slice, set_slice};

/// Without sleep for so long, a shard counts as busy.
const BUSY_NS: u64 = 1_000_000;

/// The slice the scheduler knows of this thread.
pub(crate) struct SliceChoice {
    current: Slice,
    awake_since: MonoNs,
}

impl SliceChoice {
    /// The thread has asked for a short slice.
    pub(crate) fn new() -> SliceChoice {
        SliceChoice { current: Slice::Short, awake_since: MonoNs(0) }
    }

    /// The thread has slept.
    pub(crate) fn woke(&mut self, now: MonoNs) {
        self.awake_since = now;
    }

    /// The thread goes on without sleep.
    #[inline]
    pub(crate) fn goes_on(&mut self, now: MonoNs) {
        if self.current == Slice::Short && now.since(self.awake_since) >= BUSY_NS {
            self.ask(Slice::Long);
        }
    }

    /// The thread is about to sleep.
    pub(crate) fn sleeps(&mut self) {
        if self.current == Slice::Long {
            self.ask(Slice::Short);
        }
    }

    fn ask(&mut self, slice: Slice) {
        self.current = slice;
        // A kernel that refuses was noted at the start.
        let _ = set_slice(slice);
    }
}
