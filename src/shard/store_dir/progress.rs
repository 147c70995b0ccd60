//! Progress of recovery, as lines of the log and on stdout.

use std::time::{Duration, Instant};
use wire::ids::StreamId;

/// A line every second while a long scan runs.
pub(crate) struct Progress {
    stream: StreamId,
    from: u64,
    limit: u64,
    next: Instant,
}

impl Progress {
    #[allow(clippy::disallowed_methods)] // Start-up has no turn whose time could be used.
    pub(super) fn new(stream: StreamId, from: u64, limit: u64) -> Progress {
        Progress { stream, from, limit, next: Instant::now() + Duration::from_secs(1) }
    }

    #[allow(clippy::disallowed_methods)] // As above.
    pub(super) fn at(&mut self, position: u64) {
        let now = Instant::now();
        if now >= self.next {
            self.next = now + Duration::from_secs(1);
            let (done, all) = (position - self.from, (self.limit - self.from).max(1));
            tracing::info!(
                target: "progress",
                "stream {}: recovering, {} of at most {} MiB read ({} %)",
                self.stream.0,
                done >> 20,
                all >> 20,
                done * 100 / all
            );
        }
    }
}
