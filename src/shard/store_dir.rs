//! The store directory at start and end: lock, identity, windows, recovery, the `abort` marker.
//!
//! Order of a start: lock, identity, `abort`, segments, window of a dead process written back, scan, tail cleaned,
//! new window. The scan begins at the checkpoint; what lies behind the end of the log is zeroed, so that
//! nothing stale is ever found there again.

use crate::boot::{SegmentFiles, ShardStore};
use crate::disk::{self, Access, Disk, LocalDisk};
use crate::index_files::{IndexPlace, ShardIndex};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::delay::DelayLevels;
use store::layout::identity::{self, Identity};
use store::layout::index::IndexLimits;
use store::layout::segment;
use store::queues::{Queues, StoppedQueues};
use store::retention::RetentionConfig;
use store::stream::{FlushMode, SyncBy};
use store::{Store, StoreConfig};
use stream_dir::StoreQueues;
use wire::ids::StreamId;

mod damaged_queues;
pub mod deleted;
mod device;
mod foreign;
pub(crate) mod index_dir;
mod left_windows;
mod log_reader;
pub(crate) mod progress;
mod queue_table;
mod rebuilt;
pub mod segment_sizes;
mod stream_dir;
mod window;

/// A sync at the start that takes longer is worth a line in the log.
const SLOW_SYNC: Duration = Duration::from_secs(2);
/// File in the log directory of a store with more than one stream.
pub(crate) const SEVERAL_STREAMS: &str = "ringmq-store-with-several-streams";

/// What the operator asked for.
#[derive(Clone, Debug)]
pub struct StoreDirConfig {
    /// `storePathRootDir`.
    pub root: PathBuf,
    /// `storePathCommitLog`.
    pub commit_log: PathBuf,
    /// `mappedFileSizeCommitLog`, for new stores.
    pub segment_bytes: u64,
    /// `mappedFileSizeConsumeQueue`, a multiple of 20.
    pub queue_file_bytes: u64,
    /// `mappedFileSizeConsumeQueueExt` where `enableConsumeQueueExt` is set.
    pub queue_ext_bytes: Option<u64>,
    /// Streams of a new store.
    pub streams: u16,
    /// Number of shards that will serve them.
    pub shards: usize,
    /// `logWindowBytes` per stream.
    pub window_bytes: usize,
    /// Where windows live, `/dev/shm`.
    pub window_dir: PathBuf,
    /// `flushDiskType`.
    pub flush: FlushMode,
    /// `logSyncMethod`; `None` chooses by what the device says of itself.
    pub sync_by: Option<SyncBy>,
    /// `flushIntervalCommitLog` in ns.
    pub flush_interval_ns: u64,
    /// Consumers may read unflushed messages with SYNC_FLUSH.
    pub read_uncommitted: bool,
    /// `messageDelayLevel`, for queue entries that are made again.
    pub delay_levels: DelayLevels,
    /// When old segments go; `None`: never.
    pub retention: Option<RetentionConfig>,
    /// `messageIndexEnable`.
    pub index: bool,
    /// `maxHashSlotNum` and `maxIndexNum`.
    pub index_limits: IndexLimits,
}

/// Paths and sizes of an open store, and the disk they are on.
pub struct StorePaths {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    pub(crate) root: PathBuf,
    commit_log: PathBuf,
    /// Directory of the queue files.
    pub consume_queue: PathBuf,
    /// Size of a queue file in bytes.
    pub queue_file_bytes: u64,
    /// Size of a file of extended entries in bytes, where they are written.
    pub queue_ext_bytes: Option<u64>,
    /// Size of a segment in bytes.
    pub segment_bytes: u64,
    /// Sizes of an index file.
    pub index_limits: IndexLimits,
}

impl StorePaths {
    /// Paths for tests of single files.
    #[cfg(test)]
    pub(crate) fn for_test(root: &Path, consume_queue: &Path, queue_file_bytes: u64) -> StorePaths {
        StorePaths {
            disk: Arc::new(LocalDisk),
            root: root.to_path_buf(),
            commit_log: root.join("commitlog"),
            consume_queue: consume_queue.to_path_buf(),
            queue_file_bytes,
            queue_ext_bytes: None,
            segment_bytes: 64 << 10,
            index_limits: IndexLimits { slots: 50, items: 300 },
        }
    }

    /// Directory of a stream's segments.
    pub fn log_dir(&self, stream: StreamId) -> PathBuf {
        match stream.0 {
            0 => self.commit_log.clone(),
            n => self.root.join("streams").join(n.to_string()),
        }
    }

    /// A stream's checkpoint file.
    pub fn checkpoint(&self, stream: StreamId) -> PathBuf {
        match stream.0 {
            0 => self.root.join("checkpoint"),
            n => self.root.join("streams").join(format!("{n}.checkpoint")),
        }
    }

    /// Where a stream's index lies.
    fn index_place(&self, stream: StreamId) -> IndexPlace {
        let dir = match stream.0 {
            0 => self.root.join("index"),
            n => self.root.join("streams").join(format!("{n}.index")),
        };
        IndexPlace { dir, cut_dir: self.cut_dir(), stream, limits: self.index_limits }
    }

    /// Directory of the JSON tables.
    pub fn config_dir(&self) -> PathBuf {
        self.root.join("config")
    }

    /// Where segments behind the end of the log are kept.
    fn cut_dir(&self) -> PathBuf {
        self.root.join("cut")
    }

    fn abort(&self) -> PathBuf {
        self.root.join("abort")
    }
}

/// Why a store does not open: a path and what is wrong with it.
#[derive(Debug)]
pub struct StoreError {
    path: PathBuf,
    problem: String,
}

impl StoreError {
    pub(crate) fn new(path: impl Into<PathBuf>, problem: impl Into<String>) -> StoreError {
        StoreError { path: path.into(), problem: problem.into() }
    }

    fn io<'p>(path: &'p Path, doing: &'p str) -> impl FnOnce(io::Error) -> StoreError + 'p {
        move |error| StoreError::new(path, format!("{doing} failed: {error}"))
    }
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

impl std::error::Error for StoreError {}

/// An open store, divided among the shards.
pub struct OpenStore {
    /// One part per shard.
    pub shards: Vec<ShardStore>,
    /// Identity, for messages and window names.
    pub identity: Identity,
    /// Paths, for the tables beside the log.
    pub paths: Arc<StorePaths>,
    /// The last process did not stop in order: its tables may lack what it did last.
    pub is_after_crash: bool,
    /// What was read of the log to recover it.
    pub recovered: Recovered,
    _lock: Option<File>,
}

/// What a start read of the logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// Messages.
    pub messages: u64,
    /// Bytes up to where the logs end.
    pub bytes: u64,
}

/// Opens (or makes) the store and recovers it.
pub fn open(config: &StoreDirConfig) -> Result<OpenStore, StoreError> {
    open_on(Arc::new(LocalDisk), config)
}

/// As `open`, on any disk.
pub fn open_on(disk: Arc<dyn Disk>, config: &StoreDirConfig) -> Result<OpenStore, StoreError> {
    for dir in [&config.root, &config.commit_log, &config.root.join("config")] {
        disk::make_durable_dirs(&*disk, dir)
            .map_err(StoreError::io(dir, "making the directory"))?;
    }
    let lock = lock_store(&*disk, &config.root)?;
    check_queue_root(&*disk, &config.root)?;
    let identity = load_identity(&*disk, config)?;
    let paths = Arc::new(StorePaths {
        disk: Arc::clone(&disk),
        root: config.root.clone(),
        commit_log: config.commit_log.clone(),
        consume_queue: config.root.join("consumequeue"),
        queue_file_bytes: config.queue_file_bytes,
        queue_ext_bytes: config.queue_ext_bytes,
        segment_bytes: identity.segment_bytes,
        index_limits: config.index_limits,
    });
    if identity.streams > 1 {
        make_stream_dirs(&*disk, config)?;
    }
    let sync_by = config.sync_by.unwrap_or_else(|| device::sync_by(&config.commit_log));
    if disk.can_map() {
        left_windows::remove(&config.window_dir, identity.store_id);
    }
    if config.flush == FlushMode::Sync {
        tracing::info!("synced writes: {}", device::describe(sync_by));
    }
    let config = &StoreDirConfig { sync_by: Some(sync_by), ..config.clone() };
    let last = last_stop(&*disk, &paths.abort())
        .map_err(StoreError::io(&paths.abort(), "reading the marker"))?;
    let queues = begin(&paths, &identity, config, last)?;
    let opened: Vec<Result<stream_dir::OpenStream, StoreError>> = std::thread::scope(|scope| {
        let open = |stream| {
            let (paths, queues) = (&paths, &queues);
            let open =
                move || stream_dir::open(config, &identity, paths, StreamId(stream), queues, last);
            let name = format!("recovery-{stream}");
            let thread = std::thread::Builder::new().name(name).spawn_scoped(scope, open);
            thread.expect("a thread at start-up")
        };
        let threads: Vec<_> = (0..identity.streams).map(open).collect();
        let join = |t: std::thread::ScopedJoinHandle<'_, _>| t.join().expect("recovery panicked");
        threads.into_iter().map(join).collect()
    });
    let mut parts: Vec<Vec<stream_dir::OpenStream>> =
        (0..config.shards).map(|_| Vec::new()).collect();
    let mut left = Vec::new();
    let mut recovered = Recovered::default();
    for (at, stream) in opened.into_iter().enumerate() {
        let mut stream = stream?;
        left.append(&mut stream.deleted);
        recovered.messages += stream.scanned.messages;
        recovered.bytes += stream.scanned.bytes;
        parts[at % config.shards].push(stream);
    }
    deleted::rewrite(&paths, left).map_err(StoreError::io(&paths.root, "noting deleted topics"))?;
    if last != LastStop::Orderly {
        // What a dead process did is in the page cache only, names too, and recovery has built on it.
        sync_places(&paths, identity.streams)?;
        mark_running(&*disk, &paths.abort(), config)
            .map_err(StoreError::io(&paths.abort(), "writing the marker"))?;
    }
    let settings = StoreConfig { retention: config.retention, ..StoreConfig::default() };
    let shards = parts.into_iter().map(|part| shard_store(part, &paths, settings)).collect();
    let is_after_crash = last != LastStop::Orderly;
    Ok(OpenStore { shards, identity, paths, is_after_crash, recovered, _lock: lock })
}

/// The place of the streams behind the first, and what keeps Java out: it refuses a log directory with a file whose name is no number.
fn make_stream_dirs(disk: &dyn Disk, config: &StoreDirConfig) -> Result<(), StoreError> {
    let dir = config.root.join("streams");
    disk::make_durable_dirs(disk, &dir).map_err(StoreError::io(&dir, "making the directory"))?;
    let stop = config.commit_log.join(SEVERAL_STREAMS);
    disk.open(&stop, Access::Create)
        .and_then(|_| disk.sync_dir(&config.commit_log))
        .map_err(StoreError::io(&stop, "writing"))
}

/// The queues there are. After an orderly stop takes over what it has noted of them and leaves the marker; no later start may
/// believe those notes.
fn begin(
    paths: &StorePaths,
    identity: &Identity,
    config: &StoreDirConfig,
    last: LastStop,
) -> Result<StoreQueues, StoreError> {
    let known = (last == LastStop::Orderly).then(|| queue_table::load(paths, identity)).flatten();
    if last == LastStop::Orderly {
        mark_running(&*paths.disk, &paths.abort(), config)
            .map_err(StoreError::io(&paths.abort(), "writing the marker"))?;
    }
    queue_table::remove(paths).map_err(StoreError::io(&paths.root, "removing ringmq.queues"))?;
    Ok(match known {
        Some(known) => StoreQueues { names: known.names(), known: Some(known) },
        None => StoreQueues { names: stream_dir::queue_dirs(paths)?, known: None },
    })
}

/// Makes all of the store durable. Its directories may be on devices of their own; where they are not, all but the first
/// have nothing left to do.
fn sync_places(paths: &StorePaths, streams: u16) -> Result<(), StoreError> {
    let began = Instant::now();
    let logs = (0..streams).map(|stream| paths.log_dir(StreamId(stream)));
    for dir in [paths.root.clone(), paths.consume_queue.clone()].into_iter().chain(logs) {
        match paths.disk.sync_file_system(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io(&dir, "syncing")(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    if began.elapsed() > SLOW_SYNC {
        tracing::warn!(
            "making what the last process wrote durable took {} s: others write to the disk of the store, too",
            began.elapsed().as_secs()
        );
    }
    Ok(())
}

fn shard_store(
    streams: Vec<stream_dir::OpenStream>,
    paths: &Arc<StorePaths>,
    settings: StoreConfig,
) -> ShardStore {
    let mut files: Vec<SegmentFiles> = Vec::new();
    let mut queues = Queues::default();
    if paths.queue_ext_bytes.is_some() {
        queues.keep_times();
    }
    let mut list = Vec::new();
    let mut indexes = Vec::new();
    let (mut unindexed, mut behind) = (Vec::new(), Vec::new());
    for opened in streams {
        match &opened.index {
            Some(index) if index.is_on => {
                behind.extend(index.behind.map(|from| (opened.stream.id(), from)));
            }
            Some(_) | None => unindexed.push(opened.stream.id()),
        }
        indexes.extend(opened.index.map(|opened| opened.index));
        files.extend(opened.files);
        for queue in opened.queues {
            queues.insert(queue);
        }
        list.push((opened.stream, opened.checkpoint));
    }
    let mut store = Store::new(settings, list, queues);
    unindexed.into_iter().for_each(|stream| store.switch_off_index(stream));
    behind.into_iter().for_each(|(stream, from)| store.begin_index_behind(stream, from));
    let index = ShardIndex::new(indexes);
    ShardStore { store, files, index, paths: Arc::clone(paths) }
}

/// How the last process that had the store ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LastStop {
    /// It said so.
    Orderly,
    /// It left its marker. It may have written so many bytes of log behind what was durable, where the marker says it.
    Sudden { unsynced_bytes: Option<u64> },
}

/// The marker's line with the bytes; Java, whose marker has the process id alone, reads none of it.
const UNSYNCED: &str = "unsynced=";

fn last_stop(disk: &dyn Disk, path: &Path) -> io::Result<LastStop> {
    match disk::read_file(disk, path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let value = text.lines().find_map(|line| line.strip_prefix(UNSYNCED));
            Ok(LastStop::Sudden { unsynced_bytes: value.and_then(|v| v.trim().parse().ok()) })
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(LastStop::Orderly),
        Err(e) => Err(e),
    }
}

/// Leaves the marker, with what it says where the disk has room. Only that it exists must be.
///
/// Durable before anything is changed: a crash that took the marker would pass for an orderly stop. After a sudden one
/// the old marker stays until the log is recovered, as it speaks of that log.
fn mark_running(disk: &dyn Disk, path: &Path, config: &StoreDirConfig) -> io::Result<()> {
    let pid = std::process::id();
    let text = format!("{pid}\n{UNSYNCED}{}\n", stream_dir::unsynced_bytes(config));
    match disk::replace_file(disk, path, text.as_bytes()) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)) => {
            let marker = disk.open(path, Access::Create)?;
            marker.set_bytes(0)?;
            marker.sync_all()?;
            disk.sync_dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?)
        }
        done => done,
    }
}

impl OpenStore {
    /// Takes the shards' parts; what stays keeps the lock.
    pub fn take_shards(&mut self) -> Vec<ShardStore> {
        std::mem::take(&mut self.shards)
    }

    /// After every shard has closed its part: the next start need not scan, nor read the queues where their bounds are
    /// given.
    pub fn mark_clean(&self, queues: Option<&[StoppedQueues]>) -> io::Result<()> {
        if let Some(queues) = queues
            && let Err(error) = queue_table::save(&self.paths, &self.identity, queues)
        {
            tracing::warn!("noting the queues for the next start: {error}");
        }
        self.paths.disk.remove_file(&self.paths.abort())?;
        self.paths.disk.sync_dir(&self.paths.root)
    }
}

fn lock_store(disk: &dyn Disk, root: &Path) -> Result<Option<File>, StoreError> {
    let path = root.join("lock");
    disk.lock(&path).map_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock {
            let text = "another broker (RingMQ or Java) is using this store; stop it first";
            return StoreError::new(&path, text);
        }
        StoreError::io(&path, "opening the lock")(error)
    })
}

/// What cannot be read of Java's: queues in RocksDB.
pub const ROCKSDB: &str = "the queues are in RocksDB (storeType=defaultRocksDB), which is not read here. Nothing was changed";

/// The file of RocksDB where queue files would be, if Java has its queues there. A topic of that name has a directory.
pub fn rocksdb_file(disk: &dyn Disk, root: &Path) -> Option<PathBuf> {
    Some(root.join("consumequeue").join("CURRENT")).filter(|path| is_plain_file(disk, path))
}

fn is_plain_file(disk: &dyn Disk, path: &Path) -> bool {
    disk.list(path).is_err_and(|error| error.kind() == io::ErrorKind::NotADirectory)
}

fn check_queue_root(disk: &dyn Disk, root: &Path) -> Result<(), StoreError> {
    let queues = root.join("consumequeue");
    if is_plain_file(disk, &queues) {
        let text = "is no directory, but the queues' files belong there; move it away. Nothing was changed";
        return Err(StoreError::new(queues, text));
    }
    rocksdb_file(disk, root).map_or(Ok(()), |path| Err(StoreError::new(path, ROCKSDB)))
}

fn load_identity(disk: &dyn Disk, config: &StoreDirConfig) -> Result<Identity, StoreError> {
    let path = config.root.join(identity::FILE_NAME);
    match disk::read_file(disk, &path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let found =
                Identity::decode(&text).map_err(|e| StoreError::new(&path, e.to_string()))?;
            if found.segment_bytes != config.segment_bytes {
                tracing::warn!(
                    "this store has segments of {} bytes; mappedFileSizeCommitLog={} is not used",
                    found.segment_bytes,
                    config.segment_bytes
                );
            }
            return Ok(found);
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(StoreError::io(&path, "reading")(e)),
    }
    refuse_streams_without_identity(disk, config, &path)?;
    let bases = stream_dir::segment_bases(disk, &config.commit_log)?;
    // The identity is written only to a store whose segments are right: a size that one damaged file gave would stay.
    let segment_bytes = segment_sizes::of_new(disk, config, &bases)?;
    let streams = if bases.is_empty() { config.streams.clamp(1, identity::STREAMS_MAX) } else { 1 };
    let identity = Identity { store_id: random_id()?, streams, segment_bytes };
    disk::replace_file(disk, &path, identity.encode().as_bytes())
        .map_err(StoreError::io(&path, "writing the identity"))?;
    Ok(identity)
}

/// A store without identity has one stream; one that had several would lose all but the first, and give offsets twice.
fn refuse_streams_without_identity(
    disk: &dyn Disk,
    config: &StoreDirConfig,
    identity: &Path,
) -> Result<(), StoreError> {
    let names = stream_dir::list(disk, &config.commit_log)?;
    let streams = config.root.join("streams");
    if !names.iter().any(|name| name == SEVERAL_STREAMS) && !has_segments(disk, &streams)? {
        return Ok(());
    }
    let text = format!(
        "it is missing, and this store has several streams ({}); put the file back from a copy of the store",
        streams.display()
    );
    Err(StoreError::new(identity, text))
}

/// Whether a stream beside the first one has a segment.
fn has_segments(disk: &dyn Disk, streams: &Path) -> Result<bool, StoreError> {
    for name in stream_dir::list(disk, streams)? {
        let is_stream = name.parse::<u16>().is_ok();
        if is_stream && !stream_dir::segment_bases(disk, &streams.join(name))?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn random_id() -> Result<u128, StoreError> {
    let path = Path::new("/proc/sys/kernel/random/uuid");
    read_uuid(path)
}

/// The id of this boot of the kernel.
pub(crate) fn boot_id() -> Result<u128, StoreError> {
    read_uuid(Path::new("/proc/sys/kernel/random/boot_id"))
}

fn read_uuid(path: &Path) -> Result<u128, StoreError> {
    let text = fs::read_to_string(path).map_err(StoreError::io(path, "reading"))?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).map_err(|_| StoreError::new(path, "holds no UUID"))
}

/// Replaces a file of this machine so that a crash leaves the old or the new content.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    disk::replace_file(&LocalDisk, path, bytes)
}

/// Makes a segment file at its full size and opens it for direct writes and buffered reads.
pub(crate) fn create_segment(
    disk: &dyn Disk,
    dir: &Path,
    base: u64,
    bytes: u64,
) -> io::Result<(File, File)> {
    disk::make_durable_dirs(disk, dir)?;
    let path = dir.join(segment::name(base));
    let file = disk.open(&path, Access::CreateNew)?;
    let made = file.allocate(bytes).and_then(|()| file.sync_all()).and_then(|()| {
        disk.sync_dir(dir)?;
        open_segment(disk, &path)
    });
    if made.is_err() {
        // Nothing is in it: the next try makes it again.
        disk.remove_file(&path)?;
    }
    made
}

/// Opens a segment file for direct writes and buffered reads.
pub(crate) fn open_segment(disk: &dyn Disk, path: &Path) -> io::Result<(File, File)> {
    Ok((disk.ring_file(path, true)?, disk.ring_file(path, false)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;
    use store::layout::checkpoint;
    use store::layout::consume_queue::CqEntry;

    const SEGMENT: u64 = 64 << 10;

    fn config(root: &Path) -> StoreDirConfig {
        StoreDirConfig {
            root: root.to_path_buf(),
            commit_log: root.join("commitlog"),
            segment_bytes: SEGMENT,
            queue_file_bytes: 200,
            queue_ext_bytes: None,
            streams: 1,
            shards: 1,
            window_bytes: 1 << 20,
            window_dir: root.to_path_buf(),
            flush: FlushMode::Sync,
            sync_by: None,
            flush_interval_ns: 500_000_000,
            read_uncommitted: false,
            delay_levels: DelayLevels::default(),
            retention: None,
            index: true,
            index_limits: IndexLimits { slots: 50, items: 300 },
        }
    }

    /// The engine of a store of one shard works on its queue files until it has nothing to do.
    fn settle(opened: &mut OpenStore) {
        use store::QueueStep::{Checkpoint, Index, IndexLog, Trim, Write};
        let paths = Arc::clone(&opened.paths);
        let mut store = opened.take_shards().remove(0).store;
        let root = paths.consume_queue.clone();
        let mut files = crate::queue_files::QueueFiles::new(Arc::new(LocalDisk), root, 200);
        for second in 1..100 {
            let now = base::time::MonoNs(second * 1_000_000_000);
            match store.plan_queues(now) {
                None => continue,
                Some(Write(writes)) => writes.iter().for_each(|write| files.write(write).unwrap()),
                Some(Checkpoint(list)) => {
                    files.sync().unwrap();
                    let write = |(id, new): (StreamId, checkpoint::Checkpoint)| {
                        fs::write(paths.checkpoint(id), new.encode()).unwrap();
                    };
                    list.into_iter().for_each(write);
                }
                Some(Index(..)) => {}
                Some(Trim { .. } | IndexLog { .. }) => unreachable!("nothing is deleted"),
            }
            store.on_queues(None, now);
        }
    }

    fn write_checkpoint(root: &Path, dispatched: u64, queues: Option<u64>) {
        let known = checkpoint::Checkpoint {
            log_timestamp: 9,
            queue_timestamp: 9,
            dispatched: Some(dispatched),
            clean_end: Some(dispatched),
            queues,
            ..Default::default()
        };
        fs::write(root.join("checkpoint"), known.encode()).unwrap();
    }

    #[test]
    fn a_start_that_made_the_queues_again_writes_a_checkpoint_without_new_messages() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("commitlog");
        fs::create_dir_all(&log).unwrap();
        let mut bytes = record(0);
        let end = bytes.len() as u64;
        bytes.resize(usize::try_from(SEGMENT).unwrap(), 0);
        fs::write(log.join(segment::name(0)), &bytes).unwrap();
        // The queue that it knows has lost its files.
        write_checkpoint(dir.path(), end, Some(checkpoint::queue_digest(b"T", 0, 1)));
        let on_disk = || {
            let bytes = fs::read(dir.path().join("checkpoint")).unwrap();
            checkpoint::Checkpoint::decode(&bytes).dispatched
        };
        let mut opened = open(&config(dir.path())).unwrap();
        assert_eq!(on_disk(), Some(0), "until the queue is there again");
        settle(&mut opened);
        assert_eq!(on_disk(), Some(end));
    }

    /// An entry of zeros would be the end of the queue, for us and for Java.
    #[test]
    fn a_queue_file_that_is_made_again_has_no_hole_before_its_first_message() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("commitlog");
        fs::create_dir_all(&log).unwrap();
        // Messages 0 to 7 have expired with the first segment.
        let mut bytes = message(SEGMENT, 8);
        let size = bytes.len() as u64;
        bytes.extend(message(SEGMENT + size, 9));
        let end = SEGMENT + 2 * size;
        bytes.resize(usize::try_from(SEGMENT).unwrap(), 0);
        fs::write(log.join(segment::name(SEGMENT)), &bytes).unwrap();
        let queues = dir.path().join("consumequeue");
        let file = queues.join("T/0").join(segment::name(0));
        let whole = queues.join("U/0").join(segment::name(0));
        for path in [&file, &whole] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        fs::write(whole, [0; 200]).unwrap();
        let entry =
            |n: u64| CqEntry { phy: wire::ids::PhyOffset(n * 100), size: 100, tags_code: 0 };
        for kept in [3, 0] {
            let mut short: Vec<u8> = (0..kept).flat_map(|n| entry(n).encode()).collect();
            if kept == 0 {
                // Of the right size, but without its beginning.
                short = vec![0; 200];
            }
            fs::write(&file, &short).unwrap();
            write_checkpoint(dir.path(), end, Some(1));
            settle(&mut open(&config(dir.path())).unwrap());
            let bytes = fs::read(&file).unwrap();
            let sizes = bytes.chunks(20).map(|entry| CqEntry::decode(entry).unwrap().size);
            assert!(sizes.into_iter().all(|size| size > 0), "{kept}: {bytes:?}");
            let dir = file.parent().unwrap();
            let test = &|_: &CqEntry, _| Ok(true);
            let held = crate::queue_files::extent(&LocalDisk, dir, 200, u64::MAX, test).unwrap();
            assert_eq!(held.1, 10, "{kept}");
        }
    }

    #[test]
    fn a_segment_that_was_being_made_does_not_stop_the_start() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(&config(dir.path())).unwrap());
        let unfinished = dir.path().join("commitlog").join(segment::name(SEGMENT));
        fs::write(&unfinished, vec![0; 8192]).unwrap();
        open(&config(dir.path())).unwrap();
        assert!(!unfinished.exists());
    }

    fn record(position: u64) -> Vec<u8> {
        message(position, 0)
    }

    fn new_message(properties: &[u8]) -> wire::message::NewMessage<'_> {
        crate::crash::machine::message(b"T", wire::ids::QueueId(0), &[7; 6000], properties)
    }

    fn message(position: u64, offset: i64) -> Vec<u8> {
        record_with(position, offset, b"a\x01b\x02")
    }

    fn record_with(position: u64, offset: i64, properties: &[u8]) -> Vec<u8> {
        let message = new_message(properties);
        let mut bytes = vec![0; message.encoded_len()];
        let place = wire::message::Place {
            queue_offset: wire::ids::QueueOffset(offset),
            phy_offset: wire::ids::PhyOffset::new(StreamId(0), position),
            store_timestamp: base::time::WallMs(9),
        };
        message.encode(&mut bytes, place);
        bytes
    }

    #[test]
    fn a_window_that_was_being_made_does_not_overwrite_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let end = |open: OpenStore| open.shards[0].store.stream(StreamId(0)).appended();
        drop(open(&config(dir.path())).unwrap());
        let bytes = record(0);
        let log = fs::OpenOptions::new()
            .write(true)
            .open(dir.path().join("commitlog").join(segment::name(0)))
            .unwrap();
        log.write_all_at(&bytes, 0).unwrap();
        assert_eq!(end(open(&config(dir.path())).unwrap()), bytes.len() as u64);
        let names = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path());
        let is_window = |p: &PathBuf| p.to_str().unwrap().contains("/ringmq-");
        let window = names.into_iter().find(is_window).unwrap();
        let ring = fs::metadata(&window).unwrap().len() - 4096;
        let zeros = vec![0; usize::try_from(ring).unwrap()];
        let window = fs::OpenOptions::new().write(true).open(window).unwrap();
        window.write_all_at(&zeros, 4096).unwrap();
        assert_eq!(end(open(&config(dir.path())).unwrap()), bytes.len() as u64);
    }

    /// A power cut between removing the last segment and making it again would move the log back to 0.
    #[test]
    fn the_only_segment_of_an_empty_log_stays_where_it_is() {
        use std::os::unix::fs::MetadataExt;
        for bytes in [SEGMENT, 0] {
            let dir = tempfile::tempdir().unwrap();
            drop(open(&config(dir.path())).unwrap());
            let names = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path());
            let is_window = |p: &PathBuf| p.to_str().unwrap().contains("/ringmq-");
            fs::remove_file(names.into_iter().find(is_window).unwrap()).unwrap();
            let log = dir.path().join("commitlog");
            fs::remove_file(log.join(segment::name(0))).unwrap();
            // Retention has deleted what was before, and another one was made ahead.
            for (base, bytes) in [(3 * SEGMENT, SEGMENT), (4 * SEGMENT, bytes)] {
                let file = fs::File::create(log.join(segment::name(base))).unwrap();
                file.set_len(bytes).unwrap();
            }
            if bytes == 0 {
                fs::remove_file(log.join(segment::name(3 * SEGMENT))).unwrap();
            }
            let first = if bytes == 0 { 4 * SEGMENT } else { 3 * SEGMENT };
            let inode = || fs::metadata(log.join(segment::name(first))).unwrap().ino();
            let before = inode();
            let open = open(&config(dir.path())).unwrap();
            assert_eq!(open.shards[0].store.stream(StreamId(0)).appended(), first);
            assert_eq!(inode(), before, "not removed and made again");
            assert_eq!(fs::metadata(log.join(segment::name(first))).unwrap().len(), SEGMENT);
        }
    }

    /// Messages of one queue with these offsets, one after the other; the bounds and length of the queue that is found.
    fn queue_of(offsets: &[i64]) -> (i64, i64, usize) {
        let dir = tempfile::tempdir().unwrap();
        let size = SEGMENT * 4;
        let config = StoreDirConfig { segment_bytes: size, ..config(dir.path()) };
        drop(open(&config).unwrap());
        let log = dir.path().join("commitlog").join(segment::name(0));
        let log = fs::OpenOptions::new().write(true).open(log).unwrap();
        let mut at = 0;
        for offset in offsets {
            let bytes = message(at, *offset);
            log.write_all_at(&bytes, at).unwrap();
            at += bytes.len() as u64;
        }
        let open = open(&config).unwrap();
        let store = &open.shards[0].store;
        let queue = store.queues().find(b"T", wire::ids::QueueId(0)).unwrap();
        let queue = store.queue(queue);
        let entries = queue.visible_from(queue.min()).filter(|entry| !entry.is_filler());
        (queue.min(), queue.next(), entries.count())
    }

    #[test]
    fn an_offset_that_no_other_record_confirms_does_not_change_its_queue() {
        assert_eq!(queue_of(&[0, 1, 2, 3]), (0, 4, 4));
        assert_eq!(queue_of(&[0, 1, 1 << 40 | 2, 3]), (0, 4, 3), "a bit was added");
        assert_eq!(queue_of(&[4, 5, 2, 7]), (4, 8, 3), "a bit was taken");
        assert_eq!(queue_of(&[0, 1, 2, 0, 1]), (0, 2, 2), "the topic was made again");
        assert_eq!(
            queue_of(&[5, 6, 2, 3, 4]),
            (2, 5, 3),
            "the same, and its first messages are lost"
        );
        assert_eq!(queue_of(&[0, 9000, 9001]), (0, 9002, 3), "many were lost");
        assert_eq!(queue_of(&[0, 1, 9000]), (0, 9001, 3), "and one is left behind them");
    }

    #[test]
    fn what_another_broker_wrote_is_not_overwritten_from_memory() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(&config(dir.path())).unwrap());
        let log = dir.path().join("commitlog").join(segment::name(0));
        let log = fs::OpenOptions::new().read(true).write(true).open(log).unwrap();
        let first = record(0);
        log.write_all_at(&first, 0).unwrap();
        let mut opened = open(&config(dir.path())).unwrap();
        // Our process has two messages in its window; the disk has neither when it dies.
        let end = first.len() as u64;
        let store = &mut opened.shards[0].store;
        let queue = store.find_or_create(b"T", wire::ids::QueueId(0), StreamId(0));
        let now = base::time::Now { wall: base::time::WallMs(5), mono: base::time::MonoNs(9) };
        for _ in 0..2 {
            let mut batch =
                store.begin(queue, new_message(b"a\x01b\x02").encoded_len(), now).unwrap();
            batch.push(&new_message(b"a\x01b\x02"), 0);
            batch.finish();
        }
        assert_eq!(store.stream(StreamId(0)).appended(), 3 * end);
        store.plan(now, &mut Vec::new());
        drop(opened);
        // Java goes on where the disk ends.
        let theirs = message(end, 1);
        log.write_all_at(&theirs, end).unwrap();
        let opened = open(&config(dir.path())).unwrap();
        let stream = opened.shards[0].store.stream(StreamId(0));
        assert_eq!(stream.appended(), end + theirs.len() as u64);
        let mut on_disk = vec![0; theirs.len()];
        log.read_exact_at(&mut on_disk, end).unwrap();
        assert_eq!(on_disk, theirs);
        let kept = fs::read_dir(dir.path().join("cut")).unwrap().map(|e| e.unwrap().file_name());
        let kept: Vec<String> = kept.map(|name| name.into_string().unwrap()).collect();
        assert_eq!(kept, [format!("stream-0-{}-window", segment::name(end))]);
    }

    #[test]
    fn a_store_of_several_streams_without_identity_is_not_opened_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let several = StoreDirConfig { streams: 2, ..config(dir.path()) };
        drop(open(&several).unwrap());
        let path = dir.path().join(identity::FILE_NAME);
        let text = fs::read(&path).unwrap();
        let marker = several.commit_log.join(SEVERAL_STREAMS);
        let segments = dir.path().join("streams/1");
        fs::create_dir_all(&segments).unwrap();
        fs::write(segments.join(segment::name(0)), vec![0; 65536]).unwrap();
        fs::remove_file(&path).unwrap();
        for lost in [None, Some(&marker)] {
            lost.into_iter().for_each(|file| fs::remove_file(file).unwrap());
            let error = open(&several).err().expect("messages would be lost").to_string();
            assert!(error.contains("ringmq.store") && error.contains("streams"), "{error}");
            assert!(!path.exists());
        }
        fs::write(&path, text).unwrap();
        assert_eq!(open(&several).unwrap().identity.streams, 2);
    }

    #[test]
    fn zeros_in_the_properties_of_a_message_end_no_log_that_java_left() {
        let with = |marker: &str| {
            let dir = tempfile::tempdir().unwrap();
            let zeros = record_with(0, 0, &[0; 2000]);
            let next = record(zeros.len() as u64);
            let mut bytes = [zeros, next].concat();
            let end = bytes.len() as u64;
            bytes.resize(usize::try_from(SEGMENT).unwrap(), 0);
            let log = dir.path().join("commitlog");
            fs::create_dir_all(&log).unwrap();
            fs::write(log.join(segment::name(0)), bytes).unwrap();
            fs::write(dir.path().join("checkpoint"), [0; 4096]).unwrap();
            fs::write(dir.path().join("abort"), marker).unwrap();
            let opened = open(&config(dir.path())).unwrap();
            (opened.shards[0].store.stream(StreamId(0)).appended(), end)
        };
        let (appended, end) = with("4711");
        assert_eq!(appended, end, "Java has no proof but the CRC of the body");
        let (appended, _) = with("4711\nunsynced=4096\n");
        assert_eq!(appended, 0, "we refuse such a message, so this is a torn one");
    }

    #[test]
    fn the_queue_goes_on_behind_two_million_messages_that_were_lost_with_their_segment() {
        let segment: u64 = 256 << 20;
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("commitlog");
        fs::create_dir_all(&log).unwrap();
        let files = [0, segment].map(|base| {
            let file = File::create(log.join(segment::name(base))).unwrap();
            file.set_len(segment).unwrap();
            file
        });
        let first = record_with(0, 0, b"");
        let at = first.len() as u64;
        let left = u32::try_from(segment - at).unwrap();
        files[0].write_all_at(&first, 0).unwrap();
        let filler = [left.to_be_bytes(), wire::message::MAGIC_BLANK.to_be_bytes()].concat();
        files[0].write_all_at(&filler, at).unwrap();
        files[1].write_all_at(&record_with(segment, 2_000_000, b""), 0).unwrap();
        files[1].write_all_at(&record_with(segment + at, 2_000_001, b""), at).unwrap();
        fs::write(dir.path().join("abort"), "1\nunsynced=0\n").unwrap();
        let config = StoreDirConfig { segment_bytes: segment, index: false, ..config(dir.path()) };
        let opened = open(&config).unwrap();
        let queues = opened.shards[0].store.queues();
        let queue = queues.get(queues.find(b"T", wire::ids::QueueId(0)).unwrap());
        assert_eq!((queue.min(), queue.next()), (0, 2_000_002));
    }

    /// A store whose process died with one message in its window that the disk has not seen. Where that message ends.
    fn dies_with_a_message(config: &StoreDirConfig) -> u64 {
        let mut opened = open(config).unwrap();
        let store = &mut opened.shards[0].store;
        let now = base::time::Now { mono: base::time::MonoNs(1), wall: base::time::WallMs(1) };
        let id = wire::ids::QueueId(0);
        let queue = store.find_or_create(b"T", id, StreamId(0));
        let message = crate::crash::machine::message(b"T", id, &[9; 500], b"a\x01b\x02");
        let mut batch = store.begin(queue, message.encoded_len(), now).unwrap();
        batch.push(&message, 0);
        batch.finish();
        store.plan(now, &mut Vec::new());
        store.stream(StreamId(0)).appended()
    }

    #[test]
    fn a_window_from_before_another_broker_had_the_store_is_not_written_over_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let end = |open: OpenStore| open.shards[0].store.stream(StreamId(0)).appended();
        let appended = dies_with_a_message(&config);
        assert!(appended > 500);
        assert_eq!(
            end(open(&config).unwrap()),
            appended,
            "nobody else was there: it is written back"
        );

        let dir = tempfile::tempdir().unwrap();
        let config = self::config(dir.path());
        dies_with_a_message(&config);
        // Java finds an empty log, writes a message of its own, and is killed. Its checkpoint has nothing of ours.
        let log = config.commit_log.join(segment::name(0));
        let bytes = record(0);
        let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        fs::write(dir.path().join("checkpoint"), [1; 4096]).unwrap();
        assert_eq!(end(open(&config).unwrap()), bytes.len() as u64);
        assert_eq!(fs::read(&log).unwrap()[..bytes.len()], bytes);
    }

    #[test]
    fn a_plain_file_among_the_queues_is_no_queue() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        dies_with_a_message(&config);
        let queues = dir.path().join("consumequeue");
        fs::create_dir_all(queues.join("CURRENT/0")).unwrap();
        fs::write(queues.join("notes.txt"), "to be looked at").unwrap();
        let opened = open(&config).unwrap();
        let of_topic = |topic| opened.shards[0].store.queues().find(topic, wire::ids::QueueId(0));
        assert!(of_topic(b"T").is_some() && of_topic(b"CURRENT").is_some());
        assert!(of_topic(b"notes.txt").is_none());
        assert_eq!(fs::read(queues.join("notes.txt")).unwrap(), b"to be looked at");
    }

    #[test]
    fn queues_in_rocksdb_are_refused_and_the_store_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let queues = dir.path().join("consumequeue");
        fs::create_dir_all(&queues).unwrap();
        fs::write(queues.join("CURRENT"), "MANIFEST-000004\n").unwrap();
        let error = open(&config(dir.path())).err().expect("we cannot read it").to_string();
        assert!(error.contains("RocksDB") && error.contains("consumequeue/CURRENT"), "{error}");
        fs::remove_dir_all(&queues).unwrap();
        fs::write(&queues, "to be looked at").unwrap();
        let error = open(&config(dir.path())).err().expect("no queue can be there").to_string();
        assert!(error.contains("consumequeue: is no directory"), "{error}");
        assert!(!dir.path().join("abort").exists(), "Java would take it for a crash");
        assert!(!dir.path().join(identity::FILE_NAME).exists());
    }

    #[test]
    fn a_segment_of_another_name_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(&config(dir.path())).unwrap());
        let log = dir.path().join("commitlog");
        let mut bytes = record(0);
        bytes.resize(usize::try_from(SEGMENT).unwrap(), 0);
        fs::write(log.join(segment::name(0)), bytes).unwrap();
        let wrong = log.join(segment::name(4096));
        fs::rename(log.join(segment::name(0)), &wrong).unwrap();
        let error =
            open(&config(dir.path())).err().expect("it is no place of a segment").to_string();
        assert!(error.contains(wrong.to_str().unwrap()), "{error}");
        assert!(error.contains("no segment of 65536 bytes begins there"), "{error}");
    }

    /// Retention deletes what was last written long ago.
    #[test]
    fn a_start_after_a_kill_does_not_make_old_segments_young() {
        let dir = tempfile::tempdir().unwrap();
        let size = usize::try_from(SEGMENT).unwrap();
        let log = dir.path().join("commitlog");
        fs::create_dir_all(&log).unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let paths: Vec<PathBuf> = (0..4).map(|n| log.join(segment::name(n * SEGMENT))).collect();
        for (base, path) in (0..).step_by(size).zip(&paths) {
            let mut bytes = record(base);
            let left = size - bytes.len();
            bytes.extend(u32::try_from(left).unwrap().to_be_bytes());
            bytes.extend(wire::message::MAGIC_BLANK.to_be_bytes());
            bytes.resize(size, 0);
            fs::write(path, bytes).unwrap();
            File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
        }
        for (who, marker) in [("Java", "4711"), ("ours", "1\nunsynced=0\n")] {
            fs::write(dir.path().join("abort"), marker).unwrap();
            let opened = open(&config(dir.path())).unwrap();
            assert_eq!(opened.shards[0].store.stream(StreamId(0)).appended(), 4 * SEGMENT);
            for path in &paths {
                let modified = fs::metadata(path).unwrap().modified().unwrap();
                assert_eq!(modified, old, "{who}: {}", path.display());
            }
        }
    }

    #[test]
    fn what_is_cut_from_a_log_on_another_device_is_kept() {
        let (dir, other) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let commit_log = other.path().join("log");
        let config = StoreDirConfig { commit_log: commit_log.clone(), ..config(dir.path()) };
        drop(open(&config).unwrap());
        let mut bytes = record(SEGMENT);
        bytes.resize(usize::try_from(SEGMENT).unwrap(), 0);
        let later = commit_log.join(segment::name(SEGMENT));
        fs::write(&later, &bytes).unwrap();
        drop(open(&config).unwrap());
        let kept = dir.path().join("cut").join(format!("stream-0-{}", segment::name(SEGMENT)));
        assert_eq!(fs::read(&kept).unwrap(), bytes);
        assert!(!later.exists());
        // Another one of that name does not take its place.
        let other = vec![3; bytes.len()];
        fs::write(&later, &other).unwrap();
        drop(open(&config).unwrap());
        assert_eq!(fs::read(&kept).unwrap(), bytes);
        assert_eq!(fs::read(kept.with_extension("1")).unwrap(), other);
    }

    #[test]
    fn a_later_segment_with_a_large_first_record_is_not_cut_away() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(&config(dir.path())).unwrap());
        let mut bytes = record(3 * SEGMENT);
        let size = usize::try_from(SEGMENT).unwrap();
        bytes.resize(size, 0);
        let file = |base| dir.path().join("commitlog").join(segment::name(base));
        fs::write(file(SEGMENT), vec![0; size]).unwrap();
        fs::write(file(2 * SEGMENT), vec![0; size]).unwrap();
        let later = file(3 * SEGMENT);
        fs::write(&later, &bytes).unwrap();
        let far = StoreDirConfig { window_bytes: 4 << 10, ..config(dir.path()) };
        let refused = open(&far).err().expect("the log before is damaged");
        assert!(refused.to_string().contains("damaged"), "{refused}");
        assert_eq!(fs::read(&later).unwrap(), bytes);
        // Within some windows of the end it is what a power cut leaves: the start goes on and keeps a copy.
        open(&config(dir.path())).unwrap();
        let kept = dir.path().join("cut").join(format!("stream-0-{}", segment::name(3 * SEGMENT)));
        assert_eq!(fs::read(kept).unwrap(), bytes);
    }
}
