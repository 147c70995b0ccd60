//! The only place where store operations and ring operations are both known.

use crate::boot::SegmentFiles;
use crate::disk::{DiskFile, replace_file};
use crate::queue_files::{QueueFiles, read_entries};
use crate::retention;
use crate::store_dir::{StorePaths, create_segment};
use base::time::MonoNs;
use reactor::host::Background;
use reactor::{FileId, Reactor, WriteFrom, WriteMode};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use store::layout::checkpoint::Checkpoint;
use store::op::{OpTag, StoreOp, Trimmed};
use store::retention::{DiskLook, Why};
use store::{QueueStep, Store, UpkeepStep};
use wire::ids::{PhyOffset, QueueId, StreamId};

/// Answers of the background thread.
pub(crate) enum JobDone<D> {
    App(D),
    Segment { stream: StreamId, base: u64, result: io::Result<(File, File)> },
    Queues { files: Box<QueueFiles>, result: io::Result<()> },
    Trimmed { files: Box<QueueFiles>, trimmed: Vec<Trimmed> },
    Look(io::Result<DiskLook>),
    Deleted { stream: StreamId, base: u64, why: Why, result: io::Result<Box<dyn DiskFile>> },
    Done,
    QueueRead { token: u64, result: io::Result<Vec<u8>> },
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
    queue_files: Option<Box<QueueFiles>>,
    paths: Arc<StorePaths>,
    ops: Vec<StoreOp>,
}

impl IoMap {
    pub(crate) fn new(
        reactor: &mut Reactor,
        store: &Store,
        files: Vec<SegmentFiles>,
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
        let disk = Arc::clone(&paths.disk);
        let queue_files =
            QueueFiles::new(disk, paths.consume_queue.clone(), paths.queue_file_bytes);
        let queue_files = Some(Box::new(queue_files));
        IoMap { segments, windows, queue_files, paths, ops: Vec::new() }
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
        file: Box<dyn DiskFile>,
    ) {
        let gone = |s: &OpenSegment| s.stream == stream && s.base == base;
        for segment in self.segments.iter().filter(|s| gone(s)) {
            reactor.drop_file(segment.read);
            if let Some(direct) = segment.direct {
                reactor.drop_file(direct);
            }
        }
        self.segments.retain(|s| !gone(s));
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
        if self.queue_files.is_none() {
            return;
        }
        let Some(step) = store.plan_queues(now) else { return };
        let mut files = self.queue_files.take().expect("checked above");
        let paths = Arc::clone(&self.paths);
        if let QueueStep::Trim(trims) = step {
            background.submit(Box::new(move || {
                let trimmed = retention::trim(&mut files, &trims);
                JobDone::Trimmed { files, trimmed }
            }));
            return;
        }
        background.submit(Box::new(move || {
            let result = run_step(&mut files, &paths, step);
            JobDone::Queues { files, result }
        }));
    }

    /// The background gave the queue files back.
    pub(crate) fn queues_done(&mut self, files: Box<QueueFiles>) {
        self.queue_files = Some(files);
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
        topic: Vec<u8>,
        queue: QueueId,
        range: (i64, usize),
        token: u64,
    ) {
        let paths = Arc::clone(&self.paths);
        background.submit(Box::new(move || {
            let (first, count) = range;
            let result = read_entries(&paths, &topic, queue, first, count);
            JobDone::QueueRead { token, result }
        }));
    }

    /// Deletes a topic's queue files after what is being written to them.
    pub(crate) fn tag_of(event_tag: u64) -> OpTag {
        OpTag(event_tag)
    }
}

pub(crate) fn run_step(
    files: &mut QueueFiles,
    paths: &StorePaths,
    step: QueueStep,
) -> io::Result<()> {
    match step {
        QueueStep::Write(writes) => writes.iter().try_for_each(|write| files.write(write)),
        QueueStep::Checkpoint(checkpoints) => {
            // Whatever the reason: what a failed sync has lost is not there for another try.
            files.sync().map_err(io::Error::other)?;
            checkpoints.iter().try_for_each(|(stream, c)| write_checkpoint(paths, *stream, c))
        }
        QueueStep::Trim(_) => unreachable!("answered with what was found"),
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
