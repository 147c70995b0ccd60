//! The only place where store operations and ring operations are both known.

use crate::boot::SegmentFiles;
use crate::cx::QueueRead;
use crate::disk::{DiskFile, replace_file};
use crate::index_files::ShardIndex;
use crate::queue_files::{QueueFiles, read_entries};
use crate::retention;
use crate::store_dir::{StorePaths, create_segment};
use base::time::MonoNs;
use reactor::host::Background;
use reactor::{FileId, Reactor, WriteFrom, WriteMode, clock};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use store::index::IndexQuery;
use store::layout::checkpoint::Checkpoint;
use store::op::{OpTag, StoreOp, Trimmed};
use store::retention::{DiskLook, Why};
use store::{QueueStep, Store, UpkeepStep};
use wire::ids::{PhyOffset, StreamId};

/// Answers of the background thread.
pub(crate) enum JobDone<D> {
    App(D),
    Segment { stream: StreamId, base: u64, result: io::Result<(File, File)> },
    Trimmed { files: Box<DerivedFiles>, trimmed: Vec<Trimmed> },
    Look(io::Result<DiskLook>),
    Deleted { stream: StreamId, base: u64, why: Why, result: io::Result<Option<Box<dyn DiskFile>>> },
    Done,
    Derived { files: Box<DerivedFiles>, result: io::Result<()> },
    IndexQuery { files: Box<DerivedFiles>, token: u64, hits: Vec<u8> },
    QueueRead { token: u64, result: io::Result<Vec<u8>> },
}

/// What a job did to the index.
pub(crate) struct IndexDone {
    /// It has not taken its entries.
    pub(crate) failed: bool,
    /// A part of the log was indexed up to there.
    pub(crate) read_to: Option<(StreamId, u64)>,
}

/// Files that follow from the log. They travel with the job that uses them.
pub(crate) struct DerivedFiles {
    pub(crate) queues: QueueFiles,
    pub(crate) index: ShardIndex,
    /// The last job's entries were not taken by the index.
    index_failed: bool,
    /// A part of the log was indexed up to there.
    indexed_to: Option<(StreamId, u64)>,
}

impl DerivedFiles {
    pub(crate) fn new(paths: &StorePaths, index: ShardIndex) -> DerivedFiles {
        let disk = Arc::clone(&paths.disk);
        let queues = QueueFiles::new(disk, paths.consume_queue.clone(), paths.queue_file_bytes);
        let queues = match paths.queue_ext_bytes {
            Some(bytes) => queues.with_extended(bytes),
            None => queues,
        };
        DerivedFiles { queues, index, index_failed: false, indexed_to: None }
    }
}

struct OpenSegment {
    stream: StreamId,
    base: u64,
    /// For direct writes; only the newest segments have it.
    direct: Option<FileId>,
    /// For buffered reads.
    read: FileId,
}

/// Files and windows of the shard's streams, and where their operations go.
pub(crate) struct IoMap {
    segments: Vec<OpenSegment>,
    windows: Vec<(StreamId, usize)>,
    /// `None` while a job has them.
    derived: Option<Box<DerivedFiles>>,
    /// Queries by key that wait for the files.
    queries: VecDeque<(IndexQuery, u64)>,
    /// A query gets the files before the next write to them.
    is_query_next: bool,
    paths: Arc<StorePaths>,
    ops: Vec<StoreOp>,
}

impl IoMap {
    pub(crate) fn new(
        reactor: &mut Reactor,
        store: &Store,
        files: Vec<SegmentFiles>,
        index: ShardIndex,
        paths: Arc<StorePaths>,
    ) -> IoMap {
        let mut windows = Vec::new();
        for stream in store.streams() {
            let (window, pinned) = reactor.add_window(stream.window().memory());
            if !pinned {
                tracing::warn!(
                    "the log window of stream {} cannot be pinned; writes cost more. Raise the locked-memory limit \
                     (`ulimit -l`, LimitMEMLOCK=) above {} bytes",
                    stream.id().0,
                    stream.window().bytes()
                );
            }
            windows.push((stream.id(), window));
        }
        let segments = files
            .into_iter()
            .map(|f| OpenSegment {
                stream: f.stream,
                base: f.base,
                direct: f.direct.map(|file| reactor.open_file(file)),
                read: reactor.open_file(f.read),
            })
            .collect();
        let derived = Some(Box::new(DerivedFiles::new(&paths, index)));
        let (queries, is_query_next) = (VecDeque::new(), false);
        IoMap { segments, windows, derived, queries, is_query_next, paths, ops: Vec::new() }
    }

    /// End of turn: carries out what the store plans.
    pub(crate) fn drive<D: Send + 'static>(
        &mut self,
        now: base::time::Now,
        store: &mut Store,
        reactor: &mut Reactor,
        background: &Background<JobDone<D>>,
    ) {
        let mut ops = std::mem::take(&mut self.ops);
        store.plan(now, &mut ops);
        for op in ops.drain(..) {
            self.carry_out(op, store, reactor, background);
        }
        self.ops = ops;
        self.drive_queues(now.mono, store, background);
        while let Some(step) = store.plan_upkeep(now.mono) {
            let paths = Arc::clone(&self.paths);
            background.submit(match step {
                UpkeepStep::Look { oldest } => {
                    Box::new(move || JobDone::Look(retention::look(&paths, &oldest)))
                }
                UpkeepStep::DeleteSegment { stream, base, why } => Box::new(move || {
                    let result = retention::delete_segment(&paths, stream, base);
                    JobDone::Deleted { stream, base, why, result }
                }),
            });
        }
    }

    /// A segment has no name any more: nothing reads it from now on, and its blocks are given back step by step.
    pub(crate) fn forget_segment<D: Send + 'static>(
        &mut self,
        reactor: &mut Reactor,
        background: &Background<JobDone<D>>,
        (stream, base): (StreamId, u64),
        file: Option<Box<dyn DiskFile>>,
    ) {
        let gone = |s: &OpenSegment| s.stream == stream && s.base == base;
        for segment in self.segments.iter().filter(|s| gone(s)) {
            reactor.drop_file(segment.read);
            if let Some(direct) = segment.direct {
                reactor.drop_file(direct);
            }
        }
        self.segments.retain(|s| !gone(s));
        let Some(file) = file else { return };
        background.submit(Box::new(move || {
            retention::shrink(&*file);
            JobDone::Done
        }));
    }

    fn drive_queues<D: Send + 'static>(
        &mut self,
        now: MonoNs,
        store: &mut Store,
        background: &Background<JobDone<D>>,
    ) {
        if std::mem::take(&mut self.is_query_next) {
            self.start_query(background);
        }
        if self.derived.is_none() {
            return;
        }
        let Some(step) = store.plan_queues(now) else {
            self.start_query(background);
            return;
        };
        let mut files = self.derived.take().expect("checked above");
        self.is_query_next = true;
        let paths = Arc::clone(&self.paths);
        if let QueueStep::Trim { queues, starts } = step {
            background.submit(Box::new(move || {
                let trimmed = retention::trim(&mut files, &queues, &starts);
                JobDone::Trimmed { files, trimmed }
            }));
            return;
        }
        background.submit(Box::new(move || {
            let result = run_step(&mut files, &paths, step);
            JobDone::Derived { files, result }
        }));
    }

    /// Whether a job has the derived files.
    pub(crate) fn files_are_out(&self) -> bool {
        self.derived.is_none()
    }

    /// The background gave the derived files back.
    pub(crate) fn derived_done(&mut self, mut files: Box<DerivedFiles>) -> IndexDone {
        let failed = std::mem::take(&mut files.index_failed);
        let read_to = files.indexed_to.take();
        self.derived = Some(files);
        IndexDone { failed, read_to }
    }

    fn carry_out<D: Send + 'static>(
        &mut self,
        op: StoreOp,
        store: &Store,
        reactor: &mut Reactor,
        background: &Background<JobDone<D>>,
    ) {
        match op {
            StoreOp::CreateSegment { stream, base } => {
                let paths = Arc::clone(&self.paths);
                background.submit(Box::new(move || {
                    let (dir, bytes) = (paths.log_dir(stream), paths.segment_bytes);
                    let result = create_segment(&*paths.disk, &dir, base, bytes);
                    JobDone::Segment { stream, base, result }
                }));
            }
            StoreOp::WriteLog { base, position, len, durable, fresh, tag } => {
                let mode = WriteMode { durable, by_worker: fresh };
                let window = self.window(tag.stream());
                let from = WriteFrom::Window { window, position, len };
                let file = self.direct(tag.stream(), base);
                reactor.write(file, from, position - base, mode, tag.0);
            }
            StoreOp::WritePartial { base, position, len, durable, fresh, tag } => {
                let mode = WriteMode { durable, by_worker: fresh };
                assert!(reactor.has_scratch(), "one partial block per stream is in flight");
                let bytes = store.stream(tag.stream()).window().slice(position, len);
                let file = self.direct(tag.stream(), base);
                reactor.write(file, WriteFrom::Copy(bytes), position - base, mode, tag.0);
            }
            StoreOp::ZeroLog { base, position, len, tag } => {
                let file = self.direct(tag.stream(), base);
                let mode = WriteMode { durable: false, by_worker: true };
                reactor.write(file, WriteFrom::Zeros(len), position - base, mode, tag.0);
            }
            StoreOp::SyncLog { base, tag } => {
                let file = self.direct(tag.stream(), base);
                reactor.sync(file, tag.0);
            }
        }
    }

    /// A segment file was made. Segments of the stream that end at or below `flushed` are only read from now on.
    pub(crate) fn add_segment(
        &mut self,
        reactor: &mut Reactor,
        (stream, base): (StreamId, u64),
        files: (File, File),
        flushed: u64,
    ) {
        let size = self.paths.segment_bytes;
        let sealed = |s: &&mut OpenSegment| s.stream == stream && s.base + size <= flushed;
        for segment in self.segments.iter_mut().filter(sealed) {
            if let Some(direct) = segment.direct.take() {
                reactor.drop_file(direct);
            }
        }
        let (direct, read) = (reactor.open_file(files.0), reactor.open_file(files.1));
        self.segments.push(OpenSegment { stream, base, direct: Some(direct), read });
    }

    fn window(&self, stream: StreamId) -> usize {
        let found = self.windows.iter().find(|(id, _)| *id == stream);
        found.expect("every stream of the shard has a window").1
    }

    fn direct(&self, stream: StreamId, base: u64) -> FileId {
        let found = self.segments.iter().rev().find(|s| s.stream == stream && s.base == base);
        found.and_then(|s| s.direct).expect("a segment that is written has a direct file")
    }

    /// Starts a read of as many log bytes as `buffer` has, or the segment. Error: no file holds them, the buffer is empty.
    pub(crate) fn read_log(
        &mut self,
        reactor: &mut Reactor,
        phy: PhyOffset,
        mut buffer: Vec<u8>,
        token: u64,
    ) -> Result<(), Vec<u8>> {
        let position = phy.position();
        let base = position - position % self.paths.segment_bytes;
        let found = self.segments.iter().find(|s| s.stream == phy.stream() && s.base == base);
        let Some(segment) = found else {
            buffer.clear();
            return Err(buffer);
        };
        let room = base + self.paths.segment_bytes - position;
        buffer.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        reactor.read(segment.read, buffer, position - base, token);
        Ok(())
    }

    /// Starts a read of queue entries.
    pub(crate) fn read_queue<D: Send + 'static>(
        &self,
        background: &Background<JobDone<D>>,
        read: QueueRead,
    ) {
        let paths = Arc::clone(&self.paths);
        background.submit(Box::new(move || {
            let QueueRead { topic, queue, first, count, test, token } = read;
            let result = read_entries(&paths, (&topic, queue), first, count, test.as_deref());
            JobDone::QueueRead { token, result }
        }));
    }

    /// Starts a search in the index files, now or once they are back; what comes back are encoded `IndexHits`.
    pub(crate) fn query_index<D: Send + 'static>(
        &mut self,
        background: &Background<JobDone<D>>,
        query: IndexQuery,
        token: u64,
    ) {
        self.queries.push_back((query, token));
        self.start_query(background);
    }

    fn start_query<D: Send + 'static>(&mut self, background: &Background<JobDone<D>>) {
        let Some(files) = self.derived.take() else { return };
        let Some((query, token)) = self.queries.pop_front() else {
            self.derived = Some(files);
            return;
        };
        background.submit(Box::new(move || {
            let hits = files.index.search(&query).encode();
            JobDone::IndexQuery { files, token, hits }
        }));
    }

    pub(crate) fn tag_of(event_tag: u64) -> OpTag {
        OpTag(event_tag)
    }
}

pub(crate) fn run_step(
    files: &mut DerivedFiles,
    paths: &StorePaths,
    step: QueueStep,
) -> io::Result<()> {
    let DerivedFiles { queues, index, index_failed, indexed_to } = files;
    match step {
        QueueStep::Write(writes) => writes.iter().try_for_each(|write| queues.write(write)),
        QueueStep::Index(stream, entries) => {
            *index_failed = !index.append(stream, &entries);
            Ok(())
        }
        QueueStep::IndexLog { stream, from, to } => {
            let read_to = index.append_log(paths, (stream, from, to), clock::mono());
            *index_failed = read_to.is_none();
            *indexed_to = read_to.map(|position| (stream, position));
            Ok(())
        }
        QueueStep::Checkpoint(checkpoints) => {
            // Whatever the reason: what a failed sync has lost is not there for another try.
            queues.sync().map_err(io::Error::other)?;
            checkpoints.into_iter().try_for_each(|(stream, mut checkpoint)| {
                if let Some(index) = index.stream_mut(stream) {
                    let is_last = checkpoint.clean_end.is_some();
                    index.seal(&mut checkpoint, is_last);
                }
                write_checkpoint(paths, stream, &checkpoint)
            })
        }
        QueueStep::Trim { .. } => unreachable!("answered with what was found"),
    }
}

fn write_checkpoint(
    paths: &StorePaths,
    stream: StreamId,
    checkpoint: &Checkpoint,
) -> io::Result<()> {
    let path: PathBuf = paths.checkpoint(stream);
    replace_file(&*paths.disk, &path, &checkpoint.encode())
}
