//! The segment files of a stream: which exist, and how far the newest are filled with zeros ahead of the log.
//!
//! Zeros are written ahead at a bounded rate, so that synced writes meet written extents (a write into merely
//! allocated ones costs a journal commit). They go into the next file while the log is in this one: zeros in the
//! same file would change its extents, and every synced write would have to wait for that to be committed. A log
//! that outruns the zeros simply writes into allocated extents.

use crate::writes::BLOCK;
use base::time::MonoNs;
use std::collections::VecDeque;

/// The next file gets its zeros once the log has filled this part of the current one.
const NEXT_AFTER_PART: u64 = 8;
/// Bytes per write of zeros.
pub const ZERO_CHUNK_BYTES: u64 = 512 << 10; // what the reactor takes in one write
/// Pause between two such writes: 256 MB/s at most.
const ZERO_PAUSE_NS: u64 = 2_000_000;

const _: () = assert!(ZERO_CHUNK_BYTES.is_multiple_of(BLOCK));

/// One file of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Stream position of its first byte.
    pub base: u64,
    /// The file exists at full size and its name is durable.
    pub ready: bool,
    /// Stream position up to which the file holds written blocks (records or zeros).
    zeroed: u64,
}

/// The files of a stream, oldest first, contiguous.
pub struct Segments {
    segment_bytes: u64,
    list: VecDeque<Segment>,
    zeroing: Option<(u64, u64)>,
    next_zero_at: MonoNs,
    zero_sequence: u64,
    /// After the disk had no room for a file: not before then again.
    retry_at: MonoNs,
    /// The disk had no room for a file that is still wanted.
    lacks_room: bool,
}

/// Pause before a file is asked for again that the disk had no room for.
const RETRY_NS: u64 = 1_000_000_000;

/// A write of zeros to submit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZeroWrite {
    /// Start of the segment.
    pub base: u64,
    /// Stream position of the first zero.
    pub position: u64,
    /// Bytes.
    pub len: u64,
    /// Number for the tag.
    pub sequence: u64,
}

impl Segments {
    /// The files found on disk, by start position; `zeroed`: the newest is written (or zero) up to there.
    pub fn new(segment_bytes: u64, bases: &[u64], zeroed: u64) -> Segments {
        let segment = |base: &u64| {
            let zeroed = zeroed.clamp(*base, *base + segment_bytes);
            Segment { base: *base, ready: true, zeroed }
        };
        let list = bases.iter().map(segment).collect();
        let segments = Segments {
            segment_bytes,
            list,
            zeroing: None,
            next_zero_at: MonoNs(0),
            zero_sequence: 0,
            retry_at: MonoNs(0),
            lacks_room: false,
        };
        segments.check_invariants();
        segments
    }

    /// Start position of the oldest file, `None` when there is none.
    pub fn first(&self) -> Option<u64> {
        self.list.front().map(|s| s.base)
    }

    /// Start of the segment that holds `position`.
    pub fn base_of(&self, position: u64) -> u64 {
        position - position % self.segment_bytes
    }

    /// The next file to create so that the log at `position` has its segment and one ahead.
    pub fn wanted(&mut self, position: u64, now: MonoNs) -> Option<u64> {
        if self.retry_at == MonoNs(u64::MAX) {
            self.retry_at = MonoNs(now.0 + RETRY_NS);
        }
        // One at a time: a file never exists before the one in front of it.
        if now < self.retry_at || self.list.back().is_some_and(|s| !s.ready) {
            return None;
        }
        let last = self.base_of(position) + self.segment_bytes;
        let next = self.list.back().map_or(self.base_of(position), |s| s.base + self.segment_bytes);
        if next > last {
            return None;
        }
        self.list.push_back(Segment { base: next, ready: false, zeroed: next });
        Some(next)
    }

    /// A requested file exists.
    pub fn created(&mut self, base: u64) {
        let segment = self.list.iter_mut().find(|s| s.base == base);
        segment.expect("only requested segments are created").ready = true;
        self.lacks_room = false;
    }

    /// The disk has no room for a requested file: it is asked for again in a while.
    pub fn refused(&mut self, base: u64) {
        self.list.retain(|s| s.base != base || s.ready);
        self.retry_at = MonoNs(u64::MAX);
        self.lacks_room = true;
    }

    /// Whether the disk had no room for the file that is wanted next.
    pub fn lacks_room(&self) -> bool {
        self.lacks_room
    }

    /// When a file is asked for again that the disk had no room for; `None` also while it is being made: that may take long on
    /// a full disk, and a time in the past would keep the loop spinning.
    pub fn retry_at(&self) -> Option<MonoNs> {
        let is_asked_for = self.list.back().is_some_and(|s| !s.ready);
        let waits = self.lacks_room && !is_asked_for && self.retry_at < MonoNs(u64::MAX);
        waits.then_some(self.retry_at)
    }

    /// Whether the file that holds `position` exists: only then may records be placed there.
    pub fn has(&self, position: u64) -> bool {
        let base = self.base_of(position);
        self.list.iter().rev().any(|s| s.base == base && s.ready)
    }

    /// Forgets the oldest file, which is about to be deleted; returns its start.
    pub fn drop_first(&mut self) -> u64 {
        assert!(self.list.len() > 1, "the file that is written stays");
        let first = self.list.pop_front().expect("checked above");
        assert!(first.ready, "an old file exists");
        first.base
    }

    /// Size of a file in bytes.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Whether a write to `[position, end)` may be submitted: the file exists and no zeros are on their way there.
    pub fn admits(&self, position: u64, end: u64) -> bool {
        let base = self.base_of(position);
        let ready = self.list.iter().rev().any(|s| s.base == base && s.ready);
        let collides = self.zeroing.is_some_and(|(start, stop)| position < stop && start < end);
        ready && !collides
    }

    /// Whether the whole file that holds `position` was written or filled with zeros.
    pub fn is_filled(&self, position: u64) -> bool {
        let base = self.base_of(position);
        let segment = self.list.iter().rev().find(|s| s.base == base);
        segment.is_some_and(|s| s.zeroed == base + self.segment_bytes)
    }

    /// Notes that blocks up to `end` are being written.
    pub fn wrote(&mut self, end: u64) {
        let base = self.base_of(end - 1);
        let segment = self.list.iter_mut().rev().find(|s| s.base == base);
        let segment = segment.expect("a write goes into a known segment");
        segment.zeroed = segment.zeroed.max(end.next_multiple_of(BLOCK));
    }

    /// The next write of zeros, when one is due for a log that ends at `appended`.
    pub fn plan_zeros(&mut self, appended: u64, now: MonoNs) -> Option<ZeroWrite> {
        if self.zeroing.is_some() {
            return None;
        }
        let from = appended.next_multiple_of(BLOCK);
        let target = self.zero_target(from);
        let size = self.segment_bytes;
        let segment = self.list.iter_mut().find(|s| {
            s.ready && s.base + size > from && s.base < target && s.zeroed < s.base + size
        })?;
        let position = segment.zeroed.max(from);
        let end = (position + ZERO_CHUNK_BYTES).min(segment.base + size);
        if position >= target || position >= end {
            return None;
        }
        if now < self.next_zero_at {
            return None;
        }
        self.next_zero_at = MonoNs(now.0 + ZERO_PAUSE_NS);
        self.zeroing = Some((position, end));
        let sequence = self.zero_sequence;
        self.zero_sequence += 1;
        Some(ZeroWrite { base: segment.base, position, len: end - position, sequence })
    }

    /// Zeros are wanted up to here: the end of the current file, and of the next one once this one is filling.
    fn zero_target(&self, from: u64) -> u64 {
        let base = self.base_of(from);
        let filling = from - base > self.segment_bytes / NEXT_AFTER_PART;
        base + self.segment_bytes * if filling { 2 } else { 1 }
    }

    /// Whether some zeros are missing ahead of a log that ends at `appended`.
    pub fn wants_zeros(&self, appended: u64) -> bool {
        let from = appended.next_multiple_of(BLOCK);
        let target = self.zero_target(from);
        self.list.iter().any(|s| {
            let end = s.base + self.segment_bytes;
            s.ready && end > from && s.base < target && s.zeroed.max(from) < end.min(target)
        })
    }

    /// The zeros in flight have arrived.
    pub fn zeroed(&mut self) {
        let (_, end) = self.zeroing.take().expect("zeros were in flight");
        self.wrote(end);
    }

    /// Whether `plan_zeros` may answer later without another append.
    pub fn next_zero_at(&self) -> MonoNs {
        self.next_zero_at
    }

    /// Whether zeros are being written now.
    pub fn is_zeroing(&self) -> bool {
        self.zeroing.is_some()
    }

    /// What must hold after every step.
    pub fn check_invariants(&self) {
        for (a, b) in self.list.iter().zip(self.list.iter().skip(1)) {
            assert_eq!(a.base + self.segment_bytes, b.base, "segments are contiguous");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 20;

    #[test]
    fn the_log_has_its_segment_and_one_ahead() {
        let mut s = Segments::new(SIZE, &[], 0);
        assert_eq!(s.wanted(0, MonoNs(0)), Some(0));
        assert_eq!(s.wanted(0, MonoNs(0)), None, "one at a time");
        assert!(!s.admits(0, 4096));
        s.created(0);
        assert!(s.admits(0, 4096));
        assert_eq!(s.wanted(0, MonoNs(0)), Some(SIZE));
        assert_eq!(s.wanted(0, MonoNs(0)), None);
        s.created(SIZE);
        assert_eq!(s.wanted(SIZE, MonoNs(0)), Some(2 * SIZE));
        s.check_invariants();
    }

    #[test]
    fn a_file_without_room_is_asked_for_again_later() {
        let mut s = Segments::new(SIZE, &[0], 0);
        assert_eq!(s.wanted(0, MonoNs(5)), Some(SIZE));
        s.refused(SIZE);
        assert_eq!(s.wanted(0, MonoNs(6)), None);
        assert!(s.admits(0, 4096), "the log goes on in its file");
        assert_eq!(s.retry_at(), Some(MonoNs(6 + RETRY_NS)));
        assert_eq!(s.wanted(0, MonoNs(7 + RETRY_NS)), Some(SIZE));
        assert_eq!(s.retry_at(), None, "its end wakes the loop");
        s.refused(SIZE);
        assert_eq!(s.wanted(0, MonoNs(8 + RETRY_NS)), None);
        assert_eq!(s.retry_at(), Some(MonoNs(8 + 2 * RETRY_NS)));
    }

    #[test]
    fn zeros_go_ahead_of_the_log_and_hold_writes_that_would_meet_them() {
        let mut s = Segments::new(SIZE, &[0], 0);
        let zeros = s.plan_zeros(100, MonoNs(0)).unwrap();
        assert_eq!((zeros.position, zeros.len), (4096, ZERO_CHUNK_BYTES));
        assert_eq!(s.plan_zeros(100, MonoNs(0)), None, "one at a time");
        assert!(s.admits(0, 4096));
        assert!(!s.admits(0, 8192));
        s.zeroed();
        assert!(s.admits(0, 8192));
        assert_eq!(s.plan_zeros(100, MonoNs(1)), None, "at a bounded rate");
        let zeros = s.plan_zeros(100, MonoNs(0).plus_ms(10)).unwrap();
        assert_eq!(zeros.position + zeros.len, SIZE, "up to the end of the segment");
    }

    #[test]
    fn the_next_segment_gets_its_zeros_when_this_one_is_filling() {
        let mut s = Segments::new(SIZE, &[0, SIZE], SIZE);
        assert!(!s.wants_zeros(4096));
        assert_eq!(s.plan_zeros(4096, MonoNs(0)), None);
        let zeros = s.plan_zeros(SIZE / 4, MonoNs(0)).unwrap();
        assert_eq!((zeros.base, zeros.position), (SIZE, SIZE));
    }

    #[test]
    fn a_log_that_outruns_the_zeros_leaves_them_behind() {
        let mut s = Segments::new(SIZE, &[0], 0);
        s.wrote(8 * 4096);
        let zeros = s.plan_zeros(8 * 4096 + 1, MonoNs(0)).unwrap();
        assert_eq!(zeros.position, 9 * 4096);
    }
}
