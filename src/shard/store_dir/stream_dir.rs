//! One stream of the store directory: from its files and a dead process's window to a stream ready to append.

use super::damaged_queues;
use super::deleted::{Deleted, Deletion, without_deleted};
use super::foreign;
use super::index_dir::{self, IndexStart, OpenIndex};
use super::log_reader::LogReader;
use super::progress::Progress;
use super::queue_table::KnownQueues;
use super::rebuilt::Rebuilt;
use super::segment_sizes::LogDir;
use super::{
    LastStop, Recovered, StoreDirConfig, StoreError, StorePaths, create_segment, open_segment,
};
use crate::boot::SegmentFiles;
use crate::disk::{
    Access, Disk, make_durable_dirs, move_file, read_file, read_full_at, replace_file,
    write_full_at,
};
use crate::queue_files::{cut_entries, queue_dir};
use buf::BLOCK_BYTES;
use buf::window::WindowIdentity;
use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use store::consume_queue::ConsumeQueue;
use store::layout::checkpoint::Checkpoint;
use store::layout::consume_queue::CqEntry;
use store::layout::identity::Identity;
use store::layout::segment;
use store::queues::{QUEUE_ID_MAX, stream_of};
use store::recovery::{Proof, RECORD_BYTES_MAX, ScanEnd, ScanRange, scan_by};
use store::segments::Segments;
use store::stream::{FlushMode, Stream, StreamConfig, SyncBy};
use wire::ids::{PhyOffset, QueueId, StreamId};
use wire::message::{Probe, probe};

/// With ASYNC_FLUSH whole blocks are written once this much waits.
const WRITE_BATCH_BYTES: u64 = 256 << 10;
/// Windows of log that can be written and not yet durable: 2 GiB with windows of 64 MiB.
const UNSYNCED_WINDOWS: u64 = 32;
/// Bytes of log that a process with these settings may have written behind what is durable.
pub(super) fn unsynced_bytes(config: &StoreDirConfig) -> u64 {
    let window = config.window_bytes as u64;
    match config.flush {
        FlushMode::Sync => window,
        FlushMode::Async => UNSYNCED_WINDOWS * window,
    }
}

/// Where a record says its offset in its queue and its place in the log (store.md 2.2).
const RECORD_PLACES: std::ops::Range<usize> = 20..36;
/// Behind the end of the log at most this much can be left from writes of a process that died.
const DIRTY_BYTES_MAX: u64 = 2 << 30;

pub(super) struct OpenStream {
    pub(super) stream: Stream,
    pub(super) checkpoint: Checkpoint,
    pub(super) files: Vec<SegmentFiles>,
    pub(super) queues: Vec<ConsumeQueue>,
    /// `None`: it could not be opened.
    pub(super) index: Option<OpenIndex>,
    /// Topics whose deletion the next start has to know.
    pub(super) deleted: Vec<Deletion>,
    pub(super) scanned: Recovered,
}

/// A stream as its queue files and a scan of its log say.
struct Scanned {
    end: ScanEnd,
    queues: Vec<ConsumeQueue>,
    /// Messages that are missing from queues, and queues that miss files.
    gaps: u64,
    /// `Checkpoint::queues` of the files, up to where the scan began.
    files: u64,
}

/// A queue directory: topic and number.
pub(super) type QueueName = (Vec<u8>, QueueId);

/// The queues of a store before its streams are opened.
pub(super) struct StoreQueues {
    /// Those that have a directory.
    pub(super) names: Vec<QueueName>,
    /// How the last stop left them.
    pub(super) known: Option<KnownQueues>,
}

/// Every queue that has a directory.
pub(super) fn queue_dirs(paths: &StorePaths) -> Result<Vec<QueueName>, StoreError> {
    let root = &paths.consume_queue;
    let mut found = Vec::new();
    for topic in list(&*paths.disk, root)? {
        for queue in list(&*paths.disk, &root.join(&topic))? {
            if let Some(id) = queue.parse().ok().filter(|id| (0..=QUEUE_ID_MAX).contains(id)) {
                found.push((topic.clone().into_bytes(), QueueId(id)));
            }
        }
    }
    Ok(found)
}

/// Names in a directory; none when there is no directory, or a plain file has its name.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, StoreError> {
    match disk.list(dir) {
        Ok(names) => Ok(names),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(e) => Err(StoreError::io(dir, "reading the directory")(e)),
    }
}

/// Start positions of the segment files in a directory, ascending.
pub(super) fn segment_bases(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, StoreError> {
    let names = list(disk, dir)?;
    let mut bases: Vec<u64> = names.iter().filter_map(|n| segment::parse_name(n)).collect();
    bases.sort_unstable();
    Ok(bases)
}

pub(super) struct Opening<'o> {
    pub(super) config: &'o StoreDirConfig,
    pub(super) paths: &'o StorePaths,
    pub(super) disk: &'o dyn Disk,
    pub(super) stream: StreamId,
    pub(super) dir: PathBuf,
    pub(super) window_path: PathBuf,
    pub(super) window_identity: WindowIdentity,
    pub(super) bases: Vec<u64>,
    pub(super) clean: bool,
    /// Log that the last process may have written behind what was durable.
    pub(super) unsynced_bytes: Option<u64>,
    /// Java wrote the checkpoint, and so perhaps the log, since we did.
    pub(super) foreign: bool,
    /// The window of a process that died on this boot of the machine was there.
    pub(super) window_found: bool,
    pub(super) deleted: Deleted,
    /// How the last stop left the queues.
    pub(super) known: Option<&'o KnownQueues>,
    /// Queue files that are made again.
    pub(super) damaged_queues: Vec<PathBuf>,
    /// What was read of the log so far.
    scanned: Cell<Recovered>,
}

pub(super) fn open(
    config: &StoreDirConfig,
    identity: &Identity,
    paths: &StorePaths,
    stream: StreamId,
    queues: &StoreQueues,
    last: LastStop,
) -> Result<OpenStream, StoreError> {
    let dir = paths.log_dir(stream);
    let disk = &*paths.disk;
    let (clean, unsynced_bytes) = match last {
        LastStop::Orderly => (true, None),
        LastStop::Sudden { unsynced_bytes } => (false, unsynced_bytes),
    };
    make_durable_dirs(disk, &dir).map_err(StoreError::io(&dir, "making the directory"))?;
    let name = format!("ringmq-{:032x}-{}", identity.store_id, stream.0);
    let mut opening = Opening {
        config,
        paths,
        disk,
        stream,
        window_path: config.window_dir.join(name),
        window_identity: WindowIdentity {
            store_id: identity.store_id,
            boot_id: super::boot_id()?,
            stream: u64::from(stream.0),
        },
        bases: segment_bases(disk, &dir)?,
        dir,
        clean,
        unsynced_bytes,
        foreign: false,
        window_found: false,
        deleted: Deleted::load(disk, &paths.root, stream)
            .map_err(StoreError::io(&paths.root, "reading which topics were deleted"))?,
        known: queues.known.as_ref(),
        damaged_queues: Vec::new(),
        scanned: Cell::default(),
    };
    opening.check_segments()?;
    opening.await_old_writes()?;
    let checkpoint = opening.checkpoint()?;
    opening.foreign = checkpoint.is_some_and(|found| found.dispatched.is_none());
    opening.write_back_window(checkpoint.and_then(|known| known.dispatched))?;
    let is_lost = checkpoint.is_none() && !opening.bases.is_empty();
    let checkpoint = checkpoint.unwrap_or_default();
    let mine = |(topic, id): &&QueueName| stream_of(topic, *id, identity.streams) == stream;
    if opening.foreign {
        opening.deleted.clear();
    }
    let mut names: Vec<&QueueName> = queues.names.iter().filter(mine).collect();
    if queues.known.is_none() {
        names = without_deleted(&opening, names)?;
        let from = checkpoint.dispatched.unwrap_or(u64::MAX);
        opening.damaged_queues = damaged_queues::damaged(&opening, &names, from)?;
    }
    let (end, queues, left) = opening.recover(&checkpoint, &names)?;
    let is_other = is_lost || checkpoint.clean_end.unwrap_or(0) != end.end;
    if !clean || opening.foreign || is_other {
        // Java leaves old bytes behind the end of its log, and entries of records that it lost. Where the log does not
        // end as a checkpoint says, it was damaged since.
        opening.clean_tail(end.end)?;
        opening.cut_queues(&queues)?;
        opening.sync_segments(checkpoint.dispatched.unwrap_or(0), end.end)?;
    }
    let index = opening.index(&checkpoint, end.end);
    opening.finish(end, left, queues, index)
}

impl Opening<'_> {
    pub(super) fn path(&self, base: u64) -> PathBuf {
        self.dir.join(segment::name(base))
    }

    fn log_dir(&self) -> LogDir<'_> {
        LogDir {
            disk: self.disk,
            root: &self.paths.root,
            dir: &self.dir,
            stream: self.stream,
            segment_bytes: self.paths.segment_bytes,
        }
    }

    /// The command that an operator can give.
    fn repair(&self, options: &str) -> String {
        self.log_dir().repair(options)
    }

    fn check_segments(&mut self) -> Result<(), StoreError> {
        if let Some(last) = self.log_dir().unfinished(&self.bases)? {
            let path = self.path(last);
            if self.bases.len() == 1 && last > 0 {
                // Its name is all that says where the log is.
                let file = self.disk.open(&path, Access::Write);
                let size = self.paths.segment_bytes;
                file.and_then(|file| file.allocate(size).and_then(|()| file.sync_all()))
                    .map_err(StoreError::io(&path, "giving an unfinished segment its size"))?;
            } else {
                self.disk
                    .remove_file(&path)
                    .map_err(StoreError::io(&path, "removing an unfinished segment"))?;
                self.bases.pop();
            }
        }
        self.log_dir().check(&self.bases)
    }

    /// Waits for direct writes that a killed process left in the device's queue: landing later, they would put old
    /// bytes or zeros over new records. Allocating what is allocated changes nothing, but waits for them.
    fn await_old_writes(&self) -> Result<(), StoreError> {
        if self.clean {
            return Ok(());
        }
        for base in self.bases.iter().rev().take(3) {
            let path = self.path(*base);
            let file = self.disk.open(&path, Access::Write);
            let file = file.map_err(StoreError::io(&path, "opening"))?;
            if let Err(error) = file.allocate(self.paths.segment_bytes) {
                tracing::warn!(
                    "{}: waiting for writes of the last process: {error}",
                    path.display()
                );
            }
            // The size that the last process gave it, before a later segment's name makes this one's durable.
            file.sync_all().map_err(StoreError::io(&path, "syncing"))?;
        }
        Ok(())
    }

    /// `None`: the store has none yet.
    fn checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        let path = self.paths.checkpoint(self.stream);
        match read_file(self.disk, &path) {
            Ok(bytes) => Ok(Some(Checkpoint::decode(&bytes))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::io(&path, "reading")(e)),
        }
    }

    /// Whether the directory of queue files is gone; the one of deleted topics' queues stays, empty.
    fn lacks_queues(&self) -> Result<bool, StoreError> {
        let dir = &self.paths.consume_queue;
        match self.disk.list(dir) {
            Ok(_) => Ok(false),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(e) => Err(StoreError::io(dir, "reading the directory")(e)),
        }
    }

    /// Clears entries that belong to no record of the log.
    fn cut_queues(&self, queues: &[ConsumeQueue]) -> Result<(), StoreError> {
        for queue in queues {
            let dir = queue_dir(&self.paths.consume_queue, &queue.topic, queue.id)
                .map_err(StoreError::io(&self.paths.consume_queue, "naming a queue"))?;
            match cut_entries(self.disk, &dir, self.paths.queue_file_bytes, queue.next()) {
                Ok(false) => {}
                Ok(true) => tracing::warn!(
                    "{}: entries from {} on belong to no record of the log; cleared",
                    dir.display(),
                    queue.next()
                ),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(StoreError::io(&dir, "clearing entries")(e)),
            }
        }
        Ok(())
    }

    fn index(&self, checkpoint: &Checkpoint, end: u64) -> Option<OpenIndex> {
        index_dir::open(&IndexStart {
            paths: self.paths,
            stream: self.stream,
            checkpoint,
            clean: self.clean,
            same_boot: self.window_found,
            start: self.bases.first().copied().unwrap_or(0),
            end,
            is_on: self.config.index,
        })
    }

    fn limit(&self) -> u64 {
        self.bases.last().map_or(0, |last| last + self.paths.segment_bytes)
    }

    /// Scans from the checkpoint; when that contradicts the queue files, from the first segment. Also returns the checkpoint as it is
    /// then: what the engine believes of the files must not be more than what the next start would.
    fn recover(
        &self,
        checkpoint: &Checkpoint,
        names: &[&QueueName],
    ) -> Result<(ScanEnd, Vec<ConsumeQueue>, Checkpoint), StoreError> {
        let first = self.bases.first().copied().unwrap_or(0);
        let start = match checkpoint.dispatched {
            None => foreign::scan_start(self, checkpoint, names)?,
            // Without any queue file the checkpoint's word for them means nothing.
            Some(_) if self.lacks_queues()? => None,
            known => known,
        };
        let known = start.filter(|at| (first..=self.limit()).contains(at));
        if let Some(from) = known {
            let Scanned { end, queues, gaps, files } = self.scan_from(from, names)?;
            // What was deleted behind the checkpoint is missing rightly.
            let known = checkpoint.queues.filter(|_| !self.deleted.is_any_from(from));
            if gaps == 0 && known.is_none_or(|sum| sum == files) {
                self.refuse_to_cut(&end, checkpoint)?;
                return Ok((end, queues, *checkpoint));
            }
            tracing::warn!(
                "stream {}: queue files or entries below the checkpoint are missing; reading the whole log",
                self.stream.0
            );
        }
        let Scanned { end, queues, .. } = self.scan_from(first, names)?;
        self.refuse_to_cut(&end, checkpoint)?;
        let durable = known.filter(|_| checkpoint.dispatched.is_some());
        if let Some(durable) = durable.filter(|durable| end.end < *durable) {
            let path = self.path(end.end - end.end % self.paths.segment_bytes);
            let text = format!(
                "the log was durable up to {durable}, but is damaged at {} ({}). No record was changed. Restore the file \
                 from a copy, or go on without: {} loses what follows, {} only the damaged place",
                end.end,
                end.why,
                self.repair(&format!("--cut-at {} --apply", end.end)),
                self.repair("--step-over --apply")
            );
            return Err(StoreError::new(path, text));
        }
        let left = self.forget_dispatched(checkpoint, first)?;
        damaged_queues::mend(self, checkpoint)?;
        damaged_queues::fill_holes(self, &queues)?;
        Ok((end, queues, left))
    }

    /// The checkpoint's word for the queue files was wrong, and they are written anew: a process that dies meanwhile must
    /// not leave it to the next start.
    fn forget_dispatched(
        &self,
        checkpoint: &Checkpoint,
        first: u64,
    ) -> Result<Checkpoint, StoreError> {
        if checkpoint.dispatched.is_none_or(|known| known <= first) {
            return Ok(*checkpoint);
        }
        let path = self.paths.checkpoint(self.stream);
        let none =
            Checkpoint { dispatched: Some(first), clean_end: None, queues: None, ..*checkpoint };
        replace_file(self.disk, &path, &none.encode()).map_err(StoreError::io(&path, "writing"))?;
        Ok(none)
    }

    fn scan_from(&self, from: u64, names: &[&QueueName]) -> Result<Scanned, StoreError> {
        let mut rebuilt = Rebuilt::load(self, from, names)?;
        let files = rebuilt.digest();
        let range = ScanRange {
            stream: self.stream,
            segment_bytes: self.paths.segment_bytes,
            from,
            limit: self.limit(),
        };
        let progress = Progress::new(self.stream, from, self.limit());
        let mut reader = LogReader::new(self.paths, self.stream, Some(progress));
        let mut read = |position: u64, buffer: &mut [u8]| reader.read(position, buffer);
        let end = scan_by(self.proof(), range, &mut read, &mut |view, position, size| {
            rebuilt.add(view, PhyOffset::new(self.stream, position), size);
        });
        let end = end.map_err(StoreError::io(&self.dir, "reading the log"))?;
        tracing::info!(
            "stream {}: {} records scanned from {from}; the log ends at {} ({})",
            self.stream.0,
            end.records,
            end.end,
            end.why
        );
        self.scanned.set(Recovered {
            messages: self.scanned.get().messages + end.records,
            bytes: self.scanned.get().bytes + end.end.saturating_sub(from),
        });
        let (queues, gaps) = rebuilt.finish(end.end)?;
        Ok(Scanned { end, queues, gaps, files })
    }

    /// What a record must show: more than Java asks for, unless it was Java that stopped last.
    fn proof(&self) -> Proof {
        match self.unsynced_bytes {
            None if self.foreign => Proof::Crc,
            Some(_) | None => Proof::Whole,
        }
    }

    /// Whether the record at an entry's place is the one with this offset in its queue, as far as it is still there.
    pub(super) fn names_record(&self, entry: &CqEntry, offset: u64) -> io::Result<bool> {
        let position = entry.phy.position();
        let base = position - position % self.paths.segment_bytes;
        let path = self.paths.log_dir(entry.phy.stream()).join(segment::name(base));
        let file = match self.disk.open(&path, Access::Read) {
            Ok(file) => file,
            // Expired, or in a stream that never was.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(entry.phy.stream() == self.stream);
            }
            Err(e) => return Err(e),
        };
        let mut head = [0; RECORD_PLACES.end];
        let read = read_full_at(&*file, &mut head, position - base)?;
        let places = [offset.to_be_bytes(), entry.phy.0.to_be_bytes()].concat();
        Ok(head[..read].get(RECORD_PLACES) == Some(&places))
    }

    /// Valid records far behind the end mean damage, not a torn tail: nothing is cut without the operator's word.
    ///
    /// Our writes that no sync has followed yet reach a window beyond what is durable without a hole, with ASYNC_FLUSH all
    /// that one flush interval and one sync take. A record nearer than that may be the lucky half of a power cut; it
    /// is set aside, not deleted. What Java wrote is left to the operator.
    fn refuse_to_cut(&self, end: &ScanEnd, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let size = self.paths.segment_bytes;
        let unsynced = match checkpoint.dispatched {
            None if self.foreign => 0,
            // The settings may be others now than when the log was written.
            None => UNSYNCED_WINDOWS * self.config.window_bytes as u64,
            Some(_) => self.unsynced_bytes.unwrap_or_else(|| unsynced_bytes(self.config)),
        };
        let far = |base: &&u64| **base > end.end - end.end % size && **base - end.end > unsynced;
        for base in self.bases.iter().filter(far) {
            let path = self.path(*base);
            let mut head = vec![0; 4];
            let file = self.disk.open(&path, Access::Read);
            let file = file.map_err(StoreError::io(&path, "opening"))?;
            read_full_at(&*file, &mut head, 0).map_err(StoreError::io(&path, "reading"))?;
            let bytes = wire::message::declared_size(&head)
                .filter(|s| *s as u64 <= size.min(RECORD_BYTES_MAX as u64));
            head.resize(bytes.unwrap_or(0), 0);
            read_full_at(&*file, &mut head, 0).map_err(StoreError::io(&path, "reading"))?;
            let fits = bytes.is_some();
            let place = PhyOffset::new(self.stream, *base);
            if fits && matches!(probe(&head, place), Probe::Message { .. }) {
                let text = format!(
                    "valid records begin here, but the log before is damaged at {} ({}). No record was changed. \
                     Restore the file {} from a copy, or go on without: {} loses only the damaged place, {} this and \
                     later files, too",
                    end.end,
                    end.why,
                    segment::name(end.end - end.end % size),
                    self.repair("--step-over --apply"),
                    self.repair(&format!("--cut-at {} --apply", end.end))
                );
                return Err(StoreError::new(path, text));
            }
        }
        Ok(())
    }

    /// Removes a segment behind the end of the log; one that holds something is kept in the store's `cut` directory.
    fn set_aside(&self, base: u64) -> Result<(), StoreError> {
        let path = self.path(base);
        let mut head = vec![0; BLOCK_BYTES];
        let file = self.disk.open(&path, Access::Read);
        let file = file.map_err(StoreError::io(&path, "opening"))?;
        read_full_at(&*file, &mut head, 0).map_err(StoreError::io(&path, "reading"))?;
        if head.iter().all(|b| *b == 0) {
            return self.disk.remove_file(&path).map_err(StoreError::io(&path, "removing"));
        }
        let name = format!("stream-{}-{}", self.stream.0, segment::name(base));
        let kept = self.free_in_cut(Path::new(&name))?;
        tracing::warn!(
            "stream {}: the log ends before {}; what a power cut left there is kept as {}",
            self.stream.0,
            path.display(),
            kept.display()
        );
        move_file(self.disk, &path, &kept)
            .map_err(StoreError::io(&path, "moving it out of the log"))
    }

    /// This path below the store's `cut` directory, or that with a number: what an earlier cut has kept stays.
    pub(super) fn free_in_cut(&self, below: &Path) -> Result<PathBuf, StoreError> {
        let wanted = self.paths.cut_dir().join(below);
        let dir = wanted.parent().expect("a file has a directory");
        make_durable_dirs(self.disk, dir).map_err(StoreError::io(dir, "making the directory"))?;
        let name = wanted.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let names = list(self.disk, dir)?;
        let is_free = |name: &String| !names.contains(name);
        let numbered = (1u32..).map(|n| format!("{name}.{n}"));
        let name = std::iter::once(name.clone()).chain(numbered).find(is_free);
        Ok(dir.join(name.expect("numbers do not end")))
    }

    /// Zeroes what lies behind the end of the log and removes later files.
    fn clean_tail(&mut self, end: u64) -> Result<(), StoreError> {
        let size = self.paths.segment_bytes;
        let base = end - end % size;
        while let Some(last) =
            self.bases.last().copied().filter(|last| *last > base || *last == end)
        {
            if last == end && self.bases.len() == 1 {
                // Retention has taken all before it: its name is all that says where the log is.
                break;
            }
            self.set_aside(last)?;
            self.bases.pop();
        }
        if !self.bases.contains(&base) {
            return Ok(());
        }
        let path = self.path(base);
        let zero = || -> io::Result<()> {
            let file = self.disk.open(&path, Access::Write)?;
            let stop = (end + DIRTY_BYTES_MAX).min(base + size) - base;
            let mut at = end - base;
            let mut buffer = vec![0; 1 << 20];
            // What was never written reads as zeros, and reading it takes as long as if it had been.
            file.read_nothing_ahead();
            while let Some(from) = file.next_data(at)?.filter(|from| *from < stop) {
                at = from;
                // To the end of a page: one that was read in part would count as data.
                let chunk = buffer.len() as u64 - at % buffer.len() as u64;
                let len = usize::try_from((stop - at).min(chunk)).expect("a chunk");
                let read = read_full_at(&*file, &mut buffer[..len], at)?;
                if buffer[..read].iter().any(|b| *b != 0) {
                    buffer[..read].fill(0);
                    write_full_at(&*file, &buffer[..read], at)?;
                }
                if read < len {
                    break;
                }
                at += len as u64;
            }
            file.sync_data()
        };
        zero().map_err(StoreError::io(&path, "zeroing what lies behind the log"))
    }

    /// What the scan found may still be in the device's cache only; from here on it counts as flushed.
    fn sync_segments(&self, from: u64, end: u64) -> Result<(), StoreError> {
        let size = self.paths.segment_bytes;
        let touched = |base: &&u64| **base + size > from && **base <= end;
        for base in self.bases.iter().filter(touched) {
            let path = self.path(*base);
            let file = self.disk.open(&path, Access::Read);
            let file = file.map_err(StoreError::io(&path, "opening"))?;
            file.sync_data().map_err(StoreError::io(&path, "syncing"))?;
        }
        Ok(())
    }

    fn finish(
        mut self,
        end: ScanEnd,
        mut checkpoint: Checkpoint,
        queues: Vec<ConsumeQueue>,
        index: Option<OpenIndex>,
    ) -> Result<OpenStream, StoreError> {
        checkpoint.clean_end = None;
        checkpoint.log_timestamp = checkpoint.log_timestamp.max(end.last_timestamp);
        let end = end.end;
        let size = self.paths.segment_bytes;
        let base = end - end % size;
        if !self.bases.contains(&base) {
            let path = self.path(base);
            create_segment(self.disk, &self.dir, base, size)
                .map_err(StoreError::io(&path, "making the segment"))?;
            self.bases.push(base);
        }
        let mut window = self.new_window(end)?;
        let mut files = Vec::new();
        for at in &self.bases {
            let path = self.path(*at);
            let (direct, read) =
                open_segment(self.disk, &path).map_err(StoreError::io(&path, "opening"))?;
            if *at == base {
                let start = end - end % BLOCK_BYTES as u64;
                let len = usize::try_from(end - start).expect("less than a block");
                self.disk
                    .open(&path, Access::Read)
                    .and_then(|f| read_full_at(&*f, window.slice_mut(start, len), start - base))
                    .map_err(StoreError::io(&path, "reading"))?;
            }
            let direct = (*at >= base).then_some(direct);
            files.push(SegmentFiles { stream: self.stream, base: *at, direct, read });
        }
        let config = StreamConfig {
            stream: self.stream,
            segment_bytes: size,
            flush: self.config.flush,
            sync_by: self.config.sync_by.unwrap_or(SyncBy::Flush),
            flush_interval_ns: self.config.flush_interval_ns,
            write_batch_bytes: WRITE_BATCH_BYTES.min(window.bytes() as u64 / 4),
            read_uncommitted: self.config.read_uncommitted,
        };
        let zeroed = end.next_multiple_of(BLOCK_BYTES as u64);
        let segments = Segments::new(size, &self.bases, zeroed);
        let stream = Stream::new(config, window, segments, end);
        let log = self.bases.first().copied().unwrap_or(end)..end;
        let deleted = self.deleted.left(self.stream, log);
        let scanned = self.scanned.get();
        Ok(OpenStream { stream, checkpoint, files, queues, index, deleted, scanned })
    }
}

/// Whether the first block of the file is zeros, or missing.
pub(super) fn begins_empty(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    let mut head = [0; BLOCK_BYTES];
    let read = read_full_at(&*disk.open(path, Access::Read)?, &mut head, 0)?;
    Ok(head[..read].iter().all(|b| *b == 0))
}
