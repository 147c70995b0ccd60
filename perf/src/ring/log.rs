//! The log of the bare ring: window, pre-zeroed segments, pipelined direct writes, and a sync now and then.
//!
//! Frontiers are positions of an endless log; position p lies in segment `p / size % count`. The planner is the
//! broker's (`store::writes`), so both write the same sizes at the same moments.

use super::{Ack, SyncBy};
use base::time::MonoNs;
use buf::region::Region;
use buf::window::{Window, WindowIdentity};
use reactor::{FileId, Reactor, WriteFrom, WriteMode};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use store::writes::{BLOCK, Urgency, Writes};

/// As the broker's: with ASYNC_FLUSH whole blocks are written once this many bytes wait.
const WRITE_BATCH_BYTES: u64 = 256 << 10;
/// As the broker's `flushIntervalCommitLog`.
const FLUSH_INTERVAL_MS: u64 = 500;
/// Zeros written at once before the start.
const ZERO_BYTES: usize = 1 << 20;
/// Tag of syncs; writes have their sequence number.
const TAG_SYNC: u64 = u64::MAX;

/// What a log is made of.
pub(super) struct LogPlan<'a> {
    pub(super) dir: &'a Path,
    pub(super) window_bytes: usize,
    pub(super) segment_bytes: u64,
    pub(super) segments: u16,
    pub(super) ack: Ack,
    pub(super) sync_by: SyncBy,
}

/// The log.
pub(super) struct Log {
    window: Window,
    window_index: usize,
    files: Vec<FileId>,
    paths: Vec<PathBuf>,
    segment_bytes: u64,
    writes: Writes,
    ack: Ack,
    sync_by: SyncBy,
    appended: u64,
    flushed: u64,
    flush_wanted: u64,
    flush_at: MonoNs,
    syncs: usize,
    sync_up_to: u64,
}

impl Log {
    /// Makes the segments, fills them with zeros, and registers the window.
    pub(super) fn create(plan: &LogPlan<'_>, reactor: &mut Reactor) -> Result<Log, String> {
        fs::create_dir_all(plan.dir).map_err(|e| format!("{}: {e}", plan.dir.display()))?;
        let (mut files, mut paths) = (Vec::new(), Vec::new());
        for number in 0..plan.segments {
            let path = plan.dir.join(format!("segment-{number:02}"));
            let file = zeroed(&path, plan.segment_bytes)
                .map_err(|e| format!("{}: {e}", path.display()))?;
            files.push(reactor.open_file(file));
            paths.push(path);
        }
        let identity =
            WindowIdentity { store_id: u128::from(std::process::id()), boot_id: 0, stream: 0 };
        let shared = PathBuf::from(format!("/dev/shm/ringmq-perf-{}", std::process::id()));
        let window = Window::create(&shared, plan.window_bytes, identity, 0)
            .map_err(|e| format!("{}: {e}", shared.display()))?;
        let (window_index, is_pinned) = reactor.add_window(window.memory());
        if !is_pinned {
            eprintln!("the window could not be pinned (ulimit -l): writes are unregistered");
        }
        Ok(Log {
            writes: Writes::new(0, plan.segment_bytes, plan.window_bytes as u64),
            window,
            window_index,
            files,
            paths,
            segment_bytes: plan.segment_bytes,
            ack: plan.ack,
            sync_by: plan.sync_by,
            appended: 0,
            flushed: 0,
            flush_wanted: 0,
            flush_at: MonoNs(0),
            syncs: 0,
            sync_up_to: 0,
        })
    }

    /// Appends `bytes`, and as many more as make `len`; tells where they end, or `None` when the window is full.
    pub(super) fn append(&mut self, bytes: &[u8], len: usize) -> Option<u64> {
        let end = self.appended + len as u64;
        if end > self.writes.needed_from() + self.window.bytes() as u64 {
            return None;
        }
        self.window.slice_mut(self.appended, len)[..bytes.len()].copy_from_slice(bytes);
        self.appended = end;
        Some(end)
    }

    /// Whether the window has room for a few requests.
    pub(super) fn has_room(&self) -> bool {
        self.appended - self.writes.needed_from() < self.window.bytes() as u64 / 2
    }

    /// What ends at or below may be answered.
    pub(super) fn acknowledged(&self) -> u64 {
        match self.ack {
            Ack::Append => self.appended,
            Ack::Synced if self.sync_by == SyncBy::Fdatasync => self.flushed,
            Ack::Written | Ack::Synced => self.writes.written(),
        }
    }

    /// Starts what is due.
    pub(super) fn plan(&mut self, now: MonoNs, reactor: &mut Reactor) {
        self.window.set_appended(self.appended);
        if self.ack != Ack::Synced {
            self.want_flush(now);
        }
        let is_eager = self.ack != Ack::Append || self.flush_wanted > self.writes.written();
        let urgency = if is_eager { Urgency::Now } else { Urgency::Batch(WRITE_BATCH_BYTES) };
        while let Some(write) = self.writes.peek(self.appended, urgency) {
            if write.partial && !reactor.has_scratch() {
                return;
            }
            self.writes.take(write);
            let len = usize::try_from(write.len).expect("at most a write");
            let from = if write.partial {
                WriteFrom::Copy(self.window.slice(write.position, len))
            } else {
                WriteFrom::Window { window: self.window_index, position: write.position, len }
            };
            let at = write.position % self.segment_bytes;
            let is_synced = self.writes_through();
            let mode = WriteMode { durable: is_synced, by_worker: false };
            reactor.write(self.file(write.position), from, at, mode, write.sequence);
        }
        self.plan_sync(reactor);
    }

    fn writes_through(&self) -> bool {
        self.ack == Ack::Synced && self.sync_by == SyncBy::Dsync
    }

    /// Every half second what was appended is to become durable.
    fn want_flush(&mut self, now: MonoNs) {
        if self.flushed == self.appended {
            self.flush_at = now.plus_ms(FLUSH_INTERVAL_MS);
        } else if now >= self.flush_at && self.flush_wanted <= self.flushed {
            self.flush_wanted = self.appended;
            self.flush_at = now.plus_ms(FLUSH_INTERVAL_MS);
        }
    }

    fn plan_sync(&mut self, reactor: &mut Reactor) {
        let written = self.writes.written();
        let is_due = match self.ack {
            Ack::Synced => !self.writes_through() && written > self.flushed,
            Ack::Append | Ack::Written => {
                self.flush_wanted > self.flushed && written >= self.flush_wanted
            }
        };
        if !is_due || self.syncs > 0 {
            return;
        }
        let size = self.segment_bytes;
        let (first, last) = (self.flushed / size, (written - 1) / size);
        let first = first.max((last + 1).saturating_sub(self.files.len() as u64));
        for segment in first..=last {
            reactor.sync(self.file(segment * size), TAG_SYNC);
            self.syncs += 1;
        }
        self.sync_up_to = written;
    }

    /// When `plan` has something to do without any other event.
    pub(super) fn next_deadline(&self) -> Option<MonoNs> {
        let waits = self.ack != Ack::Synced && self.appended > self.flushed;
        (waits && self.flush_wanted <= self.flushed).then_some(self.flush_at)
    }

    /// A write has completed.
    pub(super) fn wrote(&mut self, tag: u64) {
        self.writes.complete(tag);
        self.window.set_written(self.writes.written());
    }

    /// A sync has completed.
    pub(super) fn synced(&mut self) {
        self.syncs -= 1;
        if self.syncs == 0 {
            self.flushed = self.sync_up_to;
        }
    }

    fn file(&self, position: u64) -> FileId {
        let segment = position / self.segment_bytes % self.files.len() as u64;
        self.files[usize::try_from(segment).expect("few segments")]
    }

    /// Removes the window and the segments.
    pub(super) fn remove(&self) -> Result<(), String> {
        self.window.unlink().map_err(|e| format!("removing the window: {e}"))?;
        let removed = self.paths.iter().try_for_each(fs::remove_file);
        removed.map_err(|e| format!("removing a segment: {e}"))
    }
}

/// A file of written zeros, open for direct writes.
fn zeroed(path: &Path, bytes: u64) -> std::io::Result<fs::File> {
    const DIRECT: i32 = {
        let bits = rustix::fs::OFlags::DIRECT.bits();
        assert!(bits <= i32::MAX.unsigned_abs());
        bits.cast_signed()
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).custom_flags(DIRECT);
    let file = options.open(path)?;
    let zeros = Region::new(ZERO_BYTES)?;
    let mut at = 0;
    while at < bytes {
        file.write_all_at(zeros.slice(0, ZERO_BYTES), at)?;
        at += ZERO_BYTES as u64;
    }
    file.sync_all()?;
    Ok(file)
}

const _: () = assert!(ZERO_BYTES as u64 >= BLOCK);
