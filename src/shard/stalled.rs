//! Frames held back while the log window is full: so many, so many bytes, so long; and what is left is shared.
//!
//! A connection may hold as much as nobody holds: one alone gets half of the room, n get 1/(n + 1) each, and as much is
//! left for the next one. A flood so is refused while the sends of others wait their turn. Java counterpart:
//! `BrokerFastFailure` and the queue of the send threads.

use crate::app::Peer;
use base::ids::ConnId;
use base::time::MonoNs;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::fmt;

/// Most bytes of frames held back by a shard.
const BYTES_MAX: usize = 64 << 20;
/// A wait without limit, ms: a day.
const FOREVER_MS: u64 = 86_400_000;

/// How much a shard holds back, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct StallLimits {
    /// Frames (`sendThreadPoolQueueCapacity`).
    pub requests_max: usize,
    /// ms (`osPageCacheBusyTimeOutMills`); `None`: until there is room (`brokerFastFailureEnable` is false).
    pub wait_ms: Option<u64>,
}

impl Default for StallLimits {
    /// Java's.
    fn default() -> StallLimits {
        StallLimits { requests_max: 10_000, wait_ms: Some(1_000) }
    }
}

impl StallLimits {
    pub(crate) fn deadline(&self, now: MonoNs) -> MonoNs {
        now.plus_ms(self.wait_ms.unwrap_or(FOREVER_MS))
    }
}

/// A frame held back.
pub(crate) struct Stalled {
    pub(crate) conn: ConnId,
    pub(crate) peer: Peer,
    pub(crate) frame: Vec<u8>,
    pub(crate) deadline: MonoNs,
    /// When it was received.
    pub(crate) since: MonoNs,
}

/// A number of frames, and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Amount {
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
}

impl Amount {
    fn add(&mut self, bytes: usize) {
        self.requests += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, bytes: usize) {
        self.requests -= 1;
        self.bytes -= bytes;
    }
}

/// Why a frame is not held back (any longer) while the log window is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    /// It has waited as long as it may, ms.
    Waited(u64),
    /// Its connection holds so much, and this is what all may hold.
    Share(Amount),
}

/// As text: the limit, its value, the age of the queue, and the stage that is behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRoom {
    pub(crate) why: Why,
    /// Age of the refused frame, or of the oldest that waits, ms.
    pub(crate) age_ms: u64,
    /// What waits, without the refused frame.
    pub(crate) waiting: Amount,
    pub(crate) requests_max: usize,
    pub(crate) window_bytes: usize,
    /// Size of the next log file, when the disk has no room for it.
    pub(crate) missing_file: Option<u64>,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Amount { requests, bytes } = self.waiting;
        let (busy, age_ms) = match self.why {
            Why::Waited(_) => ("[PCBUSY_CLEAN_QUEUE]broker busy", self.age_ms),
            Why::Share(_) => ("[OVERLOAD]system busy", self.age_ms),
        };
        write!(
            f,
            "{busy}, start flow control for a while, period in queue: {age_ms}ms, size of queue: {requests}; stage \
             appended: the log window (logWindowBytes = {}) ",
            self.window_bytes
        )?;
        match self.why {
            Why::Waited(ms) => write!(f, "had no room for osPageCacheBusyTimeOutMills = {ms}; ")?,
            Why::Share(own) => write!(
                f,
                "is full, and {requests} requests with {bytes} bytes wait for it, {} with {} of this connection, which \
                 may hold as much as is free of sendThreadPoolQueueCapacity = {} and {BYTES_MAX} bytes; ",
                own.requests, own.bytes, self.requests_max
            )?,
        }
        match self.missing_file {
            Some(bytes) => write!(f, "the disk has no room for a log file of {bytes} bytes"),
            None => write!(f, "stage written: the disk is behind"),
        }
    }
}

/// Frames held back, oldest first.
#[derive(Default)]
pub(crate) struct StalledFrames {
    list: VecDeque<Stalled>,
    held: Amount,
    by_conn: HashMap<ConnId, Amount>,
    /// Set while the loop offers a held-back frame again.
    retry: Option<Retry>,
}

/// The offer of a held-back frame.
#[derive(Clone, Copy)]
pub(crate) struct Retry {
    /// When it was received.
    pub(crate) since: MonoNs,
    /// It is the last offer.
    pub(crate) is_last: bool,
    /// It has to wait on.
    is_refused: bool,
}

impl StalledFrames {
    /// Number of frames.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Frames and bytes.
    pub(crate) fn held(&self) -> Amount {
        self.held
    }

    /// The oldest one.
    pub(crate) fn front(&self) -> Option<&Stalled> {
        self.list.front()
    }

    /// Whether a connection may hold one more of so many bytes. Error: what it holds.
    pub(crate) fn admit(
        &self,
        conn: ConnId,
        bytes: usize,
        limits: &StallLimits,
    ) -> Result<(), Amount> {
        let own = self.by_conn.get(&conn).copied().unwrap_or_default();
        let free_requests = limits.requests_max.saturating_sub(self.held.requests);
        let free_bytes = BYTES_MAX.saturating_sub(self.held.bytes);
        let fits = own.requests < free_requests && own.bytes + bytes <= free_bytes;
        if fits { Ok(()) } else { Err(own) }
    }

    /// Holds a frame, behind all others.
    pub(crate) fn push(&mut self, stalled: Stalled) {
        self.count(&stalled);
        self.list.push_back(stalled);
    }

    fn count(&mut self, stalled: &Stalled) {
        self.held.add(stalled.frame.len());
        self.by_conn.entry(stalled.conn).or_default().add(stalled.frame.len());
    }

    /// Takes the oldest one, to offer it again; `end_retry` follows.
    pub(crate) fn begin_retry(&mut self, now: MonoNs) -> Option<Stalled> {
        let stalled = self.pop()?;
        let is_last = now >= stalled.deadline;
        self.retry = Some(Retry { since: stalled.since, is_last, is_refused: false });
        Some(stalled)
    }

    /// The offer that is under way.
    pub(crate) fn retry(&self) -> Option<Retry> {
        self.retry
    }

    /// The frame that is offered has to wait on; whether one is.
    pub(crate) fn hold_again(&mut self) -> bool {
        self.retry.as_mut().map(|retry| retry.is_refused = true).is_some()
    }

    /// The offer is over: a frame that has to wait on is held where it was, as it is. Whether that is so.
    pub(crate) fn end_retry(&mut self, stalled: Stalled) -> bool {
        let is_refused = self.retry.take().is_some_and(|retry| retry.is_refused);
        if is_refused {
            self.count(&stalled);
            self.list.push_front(stalled);
        }
        is_refused
    }

    fn pop(&mut self) -> Option<Stalled> {
        let stalled = self.list.pop_front()?;
        self.held.remove(stalled.frame.len());
        let own = self.by_conn.get_mut(&stalled.conn).expect("counted when it was held");
        own.remove(stalled.frame.len());
        if own.requests == 0 {
            self.by_conn.remove(&stalled.conn);
        }
        Some(stalled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::ids::ShardId;

    fn conn(slot: u32) -> ConnId {
        ConnId { shard: ShardId(0), slot, generation: 1 }
    }

    fn hold(frames: &mut StalledFrames, slot: u32, bytes: usize, limits: &StallLimits) -> bool {
        let conn = conn(slot);
        let fits = frames.admit(conn, bytes, limits).is_ok();
        if fits {
            let peer = Peer { listener: None, address: "127.0.0.1:1".parse().unwrap() };
            let (deadline, since) = (MonoNs(0), MonoNs(0));
            frames.push(Stalled { conn, peer, frame: vec![0; bytes], deadline, since });
        }
        fits
    }

    #[test]
    fn what_one_connection_cannot_take_is_there_for_others() {
        let limits = StallLimits { requests_max: 100, wait_ms: None };
        let mut frames = StalledFrames::default();
        let mut fill =
            |slot, bytes| (0..1000).take_while(|_| hold(&mut frames, slot, bytes, &limits)).count();
        assert_eq!((fill(1, 10), fill(2, 10), fill(3, 10)), (50, 25, 13), "requests");
        while frames.pop().is_some() {}
        assert_eq!((frames.held(), frames.by_conn.len()), (Amount::default(), 0));
        let mut fill =
            |slot, bytes| (0..1000).take_while(|_| hold(&mut frames, slot, bytes, &limits)).count();
        assert_eq!((fill(1, 4 << 20), fill(2, 4 << 20), fill(3, 4 << 20)), (8, 4, 2), "bytes");
    }

    #[test]
    fn a_refusal_names_the_stage_the_limit_its_value_and_the_age_of_the_queue() {
        let waiting = Amount { requests: 7, bytes: 4567 };
        let waited = NoRoom {
            why: Why::Waited(1000),
            age_ms: 1003,
            waiting,
            requests_max: 10_000,
            window_bytes: 4096,
            missing_file: None,
        };
        let text = waited.to_string();
        let java = "[PCBUSY_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: 1003ms, size of \
                    queue: 7; stage appended";
        assert!(text.starts_with(java), "{text}");
        assert!(text.contains("logWindowBytes = 4096") && text.contains("Mills = 1000"), "{text}");
        assert!(text.ends_with("stage written: the disk is behind"), "{text}");
        let own = Amount { requests: 3, bytes: 30 };
        let many = NoRoom { why: Why::Share(own), missing_file: Some(1 << 30), ..waited };
        let text = many.to_string();
        assert!(
            text.starts_with("[OVERLOAD]system busy, start flow control for a while"),
            "{text}"
        );
        assert!(
            text.contains("7 requests with 4567 bytes wait for it, 3 with 30 of this"),
            "{text}"
        );
        assert!(text.contains("sendThreadPoolQueueCapacity = 10000 and 67108864 bytes"), "{text}");
        assert!(text.contains("no room for a log file of 1073741824 bytes"), "{text}");
    }
}
