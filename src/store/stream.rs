//! One log stream: appends into the window, plans writes and syncs, and keeps the frontiers.
//!
//! Frontiers, as stream positions, in this order: `flushed <= written <= appended`. With ASYNC_FLUSH and a
//! crash-safe window a message counts as soon as it is appended; without such a window when it is written; with
//! SYNC_FLUSH when it is flushed. Java counterpart: CommitLog with its flush services.

use crate::layout::segment::BLANK_BYTES;
use crate::op::{OpKind, OpTag, StoreOp};
use crate::segments::Segments;
use crate::writes::{BLOCK, PlannedWrite, Urgency, Writes};
use base::time::{MonoNs, Now};
use buf::window::Window;
use wire::ids::{PhyOffset, StreamId};
use wire::message;

/// When a message counts as stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlushMode {
    /// Acknowledge before the device is durable (ASYNC_FLUSH).
    Async,
    /// Acknowledge when durable (SYNC_FLUSH).
    Sync,
}

/// How written bytes become durable with SYNC_FLUSH.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncBy {
    /// Each write waits for the device (`RWF_DSYNC`): for devices that need no separate flush.
    WriteThrough,
    /// An fdatasync behind the writes, one in flight, for everything written when it begins.
    Flush,
}

/// Settings of a stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamConfig {
    /// Number in offsets and paths.
    pub stream: StreamId,
    /// Size of a segment file in bytes, a multiple of 4096.
    pub segment_bytes: u64,
    /// See `FlushMode`.
    pub flush: FlushMode,
    /// See `SyncBy`.
    pub sync_by: SyncBy,
    /// Longest time a message stays unsynced with ASYNC_FLUSH, ns.
    pub flush_interval_ns: u64,
    /// With ASYNC_FLUSH, whole blocks are written once this many bytes wait.
    pub write_batch_bytes: u64,
    /// Readers may pass `flushed` with SYNC_FLUSH, as Java's did before 5.x.
    pub read_uncommitted: bool,
}

/// Why a record has no place now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoPlace {
    /// The window is full of bytes that the device does not have yet, or the next segment is still being made.
    Behind,
    /// The disk has no room for the next segment. What is acknowledged always has a file to go to.
    DiskFull,
}

struct SyncInFlight {
    up_to: u64,
    remaining: u32,
}

/// A stream. See the module.
pub struct Stream {
    config: StreamConfig,
    window: Window,
    segments: Segments,
    writes: Writes,
    appended: u64,
    flushed: u64,
    window_start: u64,
    /// Of what was appended since the device last had everything: no record is longer.
    longest: u64,
    /// An append waits until the device has everything below; what is smaller may find a place meanwhile.
    awaited: u64,
    flush_wanted: u64,
    next_flush_at: MonoNs,
    sync: Option<SyncInFlight>,
    next_sync: u64,
}

impl Stream {
    /// A stream whose log ends at `end` on the device; the window holds what lies in the block of `end`.
    pub fn new(config: StreamConfig, window: Window, segments: Segments, end: u64) -> Stream {
        let ring_bytes = window.bytes() as u64;
        assert!(config.segment_bytes > 0, "a segment has a size");
        Stream {
            config,
            writes: Writes::new(end, config.segment_bytes, ring_bytes),
            window,
            segments,
            appended: end,
            flushed: end,
            window_start: end - end % BLOCK,
            longest: 0,
            awaited: end,
            flush_wanted: end,
            next_flush_at: MonoNs(0),
            sync: None,
            next_sync: 0,
        }
    }

    /// Number of the stream.
    pub fn id(&self) -> StreamId {
        self.config.stream
    }

    /// Behind the last record in the window.
    pub fn appended(&self) -> u64 {
        self.appended
    }

    /// The device has everything below.
    pub fn written(&self) -> u64 {
        self.writes.written()
    }

    /// Durable below.
    pub fn flushed(&self) -> u64 {
        self.flushed
    }

    /// Replies for messages that end at or below may be sent (replication not counted).
    pub fn acknowledged(&self) -> u64 {
        match self.config.flush {
            FlushMode::Sync => self.flushed,
            FlushMode::Async if self.window.is_crash_safe() => self.appended,
            FlushMode::Async => self.written(),
        }
    }

    /// Consumers may read records that end at or below.
    pub fn visible(&self) -> u64 {
        match self.config.flush {
            FlushMode::Sync if !self.config.read_uncommitted => self.flushed,
            FlushMode::Sync | FlushMode::Async => self.appended,
        }
    }

    /// Oldest position that has a file.
    pub fn start(&self) -> u64 {
        self.segments.first().unwrap_or(self.appended)
    }

    /// The window, to register its memory.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Segment files.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// Largest record or batch in bytes: it leaves room for a filler and itself in the window.
    pub fn record_bytes_max(&self) -> u64 {
        let window = self.window.bytes() as u64;
        (self.config.segment_bytes - BLANK_BYTES).min(window / 2 - BLOCK)
    }

    /// Makes room for `len` bytes that must lie in one segment and returns their position.
    ///
    /// Rolls to the next segment (blank record, zeros) when they do not fit. Errors: see `NoPlace`; while the device is
    /// behind the caller waits for a completion.
    pub fn reserve(&mut self, len: u64) -> Result<u64, NoPlace> {
        assert!(len > 0 && len + BLANK_BYTES <= self.config.segment_bytes, "checked by the caller");
        let used = self.appended % self.config.segment_bytes;
        let left = self.config.segment_bytes - used;
        let filler = if len + BLANK_BYTES > left { left } else { 0 };
        let ring = self.window.bytes() as u64;
        if self.appended + filler + len > self.readable_from() + ring {
            self.awaited = self.appended;
            return Err(NoPlace::Behind);
        }
        if !self.segments.has(self.appended + filler) {
            let full = self.segments.lacks_room();
            return Err(if full { NoPlace::DiskFull } else { NoPlace::Behind });
        }
        if filler > 0 {
            let filler = usize::try_from(filler).expect("less than the window");
            let rest = self.window.slice_mut(self.appended, filler);
            rest.fill(0);
            message::encode_blank(rest);
            self.appended += filler as u64;
        }
        self.longest = self.longest.max(len);
        Ok(self.appended)
    }

    /// The window holds everything from here on. With SYNC_FLUSH that is what is not durable yet, so that recovery knows
    /// how far behind the durable log a record may lie, and readers find in memory what has just become visible.
    fn needed_from(&self) -> u64 {
        match self.config.flush {
            FlushMode::Sync => self.writes.needed_from().min(self.flushed - self.flushed % BLOCK),
            FlushMode::Async => self.writes.needed_from(),
        }
    }

    /// The window keeps everything from here on, so that a record is whole in it until it is whole on the device: what began
    /// below and is not written to its end would be nowhere for readers.
    fn readable_from(&self) -> u64 {
        self.needed_from().min(self.writes.written().saturating_sub(self.longest))
    }

    /// The window's bytes for a record that `reserve` placed at `position`.
    pub fn record_mut(&mut self, position: u64, len: usize) -> &mut [u8] {
        assert!(position >= self.appended, "what is appended is not changed");
        self.window.slice_mut(position, len)
    }

    /// The record up to `end` is complete.
    pub fn commit(&mut self, end: u64) {
        assert!(end > self.appended, "an append moves the frontier");
        self.appended = end;
    }

    /// Bytes of the log from memory, `None` when the window no longer (or not yet) has them.
    pub fn tail(&self, position: u64, len: usize) -> Option<&[u8]> {
        let end = position + len as u64;
        let kept = self.appended.saturating_sub(self.window.bytes() as u64);
        let held = position >= kept.max(self.window_start) && end <= self.appended;
        held.then(|| self.window.slice(position, len))
    }

    /// End of turn: notes the frontier for a later process, then plans creation, writes, syncs and zeros.
    pub fn plan(&mut self, now: Now, ops: &mut Vec<StoreOp>) {
        self.window.set_appended(self.appended);
        while let Some(base) = self.segments.wanted(self.appended, now.mono) {
            ops.push(StoreOp::CreateSegment { stream: self.config.stream, base });
        }
        self.plan_flush(now.mono);
        while let Some(write) = self.writes.peek(self.appended, self.urgency()) {
            if !self.plan_write(write, ops) {
                break;
            }
        }
        self.plan_sync(ops);
        // Zeros are for synced writes, which must not meet unwritten extents; they double what the disk writes.
        if self.config.flush == FlushMode::Sync
            && let Some(zeros) = self.segments.plan_zeros(self.appended, now.mono)
        {
            let tag = OpTag::new(OpKind::Zero, self.config.stream, zeros.sequence);
            let len = usize::try_from(zeros.len).expect("a chunk");
            ops.push(StoreOp::ZeroLog { base: zeros.base, position: zeros.position, len, tag });
        }
    }

    /// When `plan` wants to be called again without a completion; `None`: not before the next append.
    pub fn next_deadline(&self) -> Option<MonoNs> {
        // While a flush is under way its completions wake the loop; a time in the past would keep it spinning.
        let unflushed = self.appended > self.flushed
            && self.flush_wanted <= self.flushed
            && self.config.flush == FlushMode::Async;
        let zeros = !self.segments.is_zeroing() && self.zeros_missing();
        let flush_at = unflushed.then_some(self.next_flush_at);
        let zero_at = zeros.then(|| self.segments.next_zero_at());
        let segment_at = self.segments.retry_at();
        [flush_at, zero_at, segment_at].into_iter().flatten().min()
    }

    fn zeros_missing(&self) -> bool {
        self.config.flush == FlushMode::Sync && self.segments.wants_zeros(self.appended)
    }

    fn urgency(&self) -> Urgency {
        let eager = match self.config.flush {
            FlushMode::Sync => true,
            FlushMode::Async => {
                !self.window.is_crash_safe()
                    || self.awaited.max(self.flush_wanted) > self.writes.written()
            }
        };
        if eager { Urgency::Now } else { Urgency::Batch(self.config.write_batch_bytes) }
    }

    fn writes_through(&self) -> bool {
        self.config.flush == FlushMode::Sync && self.config.sync_by == SyncBy::WriteThrough
    }

    fn plan_flush(&mut self, now: MonoNs) {
        if self.config.flush == FlushMode::Sync {
            return;
        }
        let idle = self.flushed == self.appended;
        if idle {
            self.next_flush_at = MonoNs(now.0 + self.config.flush_interval_ns);
        } else if now >= self.next_flush_at && self.flush_wanted <= self.flushed {
            self.flush_wanted = self.appended;
            self.next_flush_at = MonoNs(now.0 + self.config.flush_interval_ns);
        }
    }

    fn plan_write(&mut self, write: PlannedWrite, ops: &mut Vec<StoreOp>) -> bool {
        let end = write.position + write.len;
        if !self.segments.admits(write.position, end) {
            return false;
        }
        let fresh = !self.segments.is_filled(write.position);
        self.writes.take(write);
        self.segments.wrote(end);
        let tag = OpTag::new(OpKind::Write, self.config.stream, write.sequence);
        let durable = self.writes_through();
        let len = usize::try_from(write.len).expect("at most a write");
        let (base, position) = (self.segments.base_of(write.position), write.position);
        ops.push(if write.partial {
            StoreOp::WritePartial { base, position, len, durable, fresh, tag }
        } else {
            StoreOp::WriteLog { base, position, len, durable, fresh, tag }
        });
        true
    }

    fn plan_sync(&mut self, ops: &mut Vec<StoreOp>) {
        let written = self.writes.written();
        let due = match self.config.flush {
            FlushMode::Sync => !self.writes_through() && written > self.flushed,
            FlushMode::Async => self.flush_wanted > self.flushed && written >= self.flush_wanted,
        };
        if self.sync.is_some() || !due {
            return;
        }
        let mut remaining = 0;
        let mut base = self.segments.base_of(self.flushed);
        while base < written {
            let tag = OpTag::new(OpKind::Sync, self.config.stream, self.next_sync);
            ops.push(StoreOp::SyncLog { base, tag });
            self.next_sync += 1;
            remaining += 1;
            base += self.config.segment_bytes;
        }
        self.sync = Some(SyncInFlight { up_to: written, remaining });
    }

    /// A requested segment file exists.
    pub fn on_segment(&mut self, base: u64) {
        assert!(base.is_multiple_of(self.config.segment_bytes), "a segment begins where one ends");
        self.segments.created(base);
    }

    /// The disk has no room for a requested segment file; sends wait once the log needs it.
    pub fn on_no_room(&mut self, base: u64) {
        self.segments.refused(base);
    }

    /// The oldest segment is deleted.
    pub fn drop_first(&mut self, base: u64) {
        assert!(base + self.config.segment_bytes <= self.flushed, "what is not durable stays");
        assert_eq!(self.segments.drop_first(), base, "segments go in order");
    }

    /// An operation of this stream has succeeded.
    pub fn on_done(&mut self, tag: OpTag) {
        match tag.kind().expect("the engine made this tag") {
            OpKind::Write => {
                self.writes.complete(tag.sequence());
                let written = self.writes.written();
                self.window.set_written(written);
                if written == self.appended {
                    self.longest = 0;
                }
                if self.writes_through() {
                    self.flushed = self.writes.written();
                }
            }
            OpKind::Zero => self.segments.zeroed(),
            OpKind::Sync => {
                let sync = self.sync.as_mut().expect("a sync was in flight");
                sync.remaining -= 1;
                if sync.remaining == 0 {
                    self.flushed = sync.up_to;
                    self.sync = None;
                }
            }
        }
        self.check_invariants();
    }

    /// Asks for everything appended to be written and durable as soon as possible (orderly stop).
    pub fn flush_now(&mut self) {
        self.flush_wanted = self.appended;
    }

    /// Whether nothing is in flight and everything appended is durable.
    pub fn is_settled(&self) -> bool {
        self.flushed == self.appended && self.writes.is_quiet() && self.sync.is_none()
    }

    /// Whether zeros are on their way (the file must not be closed yet).
    pub fn is_zeroing(&self) -> bool {
        self.segments.is_zeroing()
    }

    /// The position as an offset for wire and disk.
    pub fn phy(&self, position: u64) -> PhyOffset {
        PhyOffset::new(self.config.stream, position)
    }

    /// What must hold after every step.
    pub fn check_invariants(&self) {
        assert!(self.flushed <= self.writes.written(), "durable bytes are written");
        assert!(self.writes.written() <= self.appended, "written bytes were appended");
        assert!(self.appended - self.needed_from() <= self.window.bytes() as u64);
        assert!(self.awaited <= self.appended, "who waits for a place waits for what was appended");
    }
}

#[cfg(test)]
mod tests;
