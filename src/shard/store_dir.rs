//! The store directory at start and end: lock, identity, windows, recovery, the `abort` marker.
//!
//! Order of a start: lock, identity, segments, window of a dead process written back, scan, tail cleaned, new
//! window, `abort`. The scan begins at the checkpoint; what lies behind the end of the log is zeroed, so that
//! nothing stale is ever found there again.

use crate::boot::{SegmentFiles, ShardStore};
use crate::index_files::{IndexPlace, ShardIndex};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::layout::identity::{self, Identity};
use store::layout::index::IndexLimits;
use store::layout::segment;
use store::queues::Queues;
use store::stream::{FlushMode, SyncBy};
use store::{Store, StoreConfig};
use wire::ids::StreamId;

mod device;
mod index_dir;
mod stream_dir;

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
    /// `messageIndexEnable`.
    pub index: bool,
    /// `maxHashSlotNum` and `maxIndexNum`.
    pub index_limits: IndexLimits,
}

/// Paths and sizes of an open store.
#[derive(Debug)]
pub struct StorePaths {
    root: PathBuf,
    commit_log: PathBuf,
    /// Directory of the queue files.
    pub consume_queue: PathBuf,
    /// Size of a queue file in bytes.
    pub queue_file_bytes: u64,
    /// Size of a segment in bytes.
    pub segment_bytes: u64,
    /// Sizes of an index file.
    pub index_limits: IndexLimits,
}

impl StorePaths {
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
    _lock: File,
}

/// Opens (or makes) the store and recovers it.
pub fn open(config: &StoreDirConfig) -> Result<OpenStore, StoreError> {
    for dir in [&config.root, &config.commit_log, &config.root.join("config")] {
        fs::create_dir_all(dir).map_err(StoreError::io(dir, "making the directory"))?;
    }
    let lock = lock_store(&config.root)?;
    let identity = load_identity(config)?;
    let paths = Arc::new(StorePaths {
        root: config.root.clone(),
        commit_log: config.commit_log.clone(),
        consume_queue: config.root.join("consumequeue"),
        queue_file_bytes: config.queue_file_bytes,
        segment_bytes: identity.segment_bytes,
        index_limits: config.index_limits,
    });
    if identity.streams > 1 {
        let dir = config.root.join("streams");
        fs::create_dir_all(&dir).map_err(StoreError::io(&dir, "making the directory"))?;
    }
    let sync_by = config.sync_by.unwrap_or_else(|| device::sync_by(&config.commit_log));
    if config.flush == FlushMode::Sync {
        tracing::info!("synced writes: {}", device::describe(sync_by));
    }
    let config = &StoreDirConfig { sync_by: Some(sync_by), ..config.clone() };
    let clean = !paths.abort().exists();
    let queues = stream_dir::queue_dirs(&paths)?;
    let opened: Vec<Result<stream_dir::OpenStream, StoreError>> = std::thread::scope(|scope| {
        let open = |stream| {
            let (paths, queues) = (&paths, &queues);
            let open =
                move || stream_dir::open(config, &identity, paths, StreamId(stream), queues, clean);
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
    for (at, stream) in opened.into_iter().enumerate() {
        parts[at % config.shards].push(stream?);
    }
    let pid = std::process::id().to_string();
    // Durable before the first message: a power cut that took the marker would pass for an orderly stop.
    replace_file(&paths.abort(), pid.as_bytes())
        .map_err(StoreError::io(&paths.abort(), "writing the marker"))?;
    let shards = parts.into_iter().map(|part| shard_store(part, &paths)).collect();
    Ok(OpenStore { shards, identity, paths, _lock: lock })
}

fn shard_store(streams: Vec<stream_dir::OpenStream>, paths: &Arc<StorePaths>) -> ShardStore {
    let mut files: Vec<SegmentFiles> = Vec::new();
    let mut queues = Queues::default();
    let mut list = Vec::new();
    let mut indexes = Vec::new();
    let mut unindexed = Vec::new();
    for opened in streams {
        if !opened.index.as_ref().is_some_and(|index| index.is_complete) {
            unindexed.push(opened.stream.id());
        }
        indexes.extend(opened.index.map(|opened| opened.index));
        files.extend(opened.files);
        for queue in opened.queues {
            queues.insert(queue);
        }
        list.push((opened.stream, opened.checkpoint));
    }
    let mut store = Store::new(StoreConfig::default(), list, queues);
    unindexed.into_iter().for_each(|stream| store.switch_off_index(stream));
    let index = ShardIndex::new(indexes);
    ShardStore { store, files, index, paths: Arc::clone(paths) }
}

impl OpenStore {
    /// Takes the shards' parts; what stays keeps the lock.
    pub fn take_shards(&mut self) -> Vec<ShardStore> {
        std::mem::take(&mut self.shards)
    }

    /// After every shard has closed its part: the next start need not scan.
    pub fn mark_clean(&self) -> io::Result<()> {
        fs::remove_file(self.paths.abort())?;
        File::open(&self.paths.root)?.sync_all()
    }
}

/// Java locks the first byte with a POSIX lock; so do we, and each refuses the other's store.
fn lock_store(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(StoreError::io(&path, "opening the lock"))?;
    let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::fcntl_lock(&file, exclusive).map_err(|_| {
        StoreError::new(&path, "another broker (RingMQ or Java) is using this store; stop it first")
    })?;
    file.write_all(b"lock").map_err(StoreError::io(&path, "writing the lock"))?;
    Ok(file)
}

fn load_identity(config: &StoreDirConfig) -> Result<Identity, StoreError> {
    let path = config.root.join(identity::FILE_NAME);
    match fs::read_to_string(&path) {
        Ok(text) => {
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
    let bases = stream_dir::segment_bases(&config.commit_log)?;
    let segment_bytes = match bases.first() {
        None => config.segment_bytes,
        Some(first) => {
            let file = config.commit_log.join(segment::name(*first));
            fs::metadata(&file).map_err(StoreError::io(&file, "reading"))?.len()
        }
    };
    let streams = if bases.is_empty() { config.streams.clamp(1, identity::STREAMS_MAX) } else { 1 };
    let identity = Identity { store_id: random_id()?, streams, segment_bytes };
    replace_file(&path, identity.encode().as_bytes())
        .map_err(StoreError::io(&path, "writing the identity"))?;
    if streams > 1 {
        // Java refuses a log directory with a file whose name is no number: it could not read this store.
        let stop = config.commit_log.join("ringmq-store-with-several-streams");
        fs::write(&stop, "").map_err(StoreError::io(&stop, "writing"))?;
    }
    Ok(identity)
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

/// Replaces a file so that a crash leaves the old or the new content: temporary file, sync, rename, sync.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_os_string();
    name.push(".tmp");
    let temporary = dir.join(name);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

/// Makes a segment file at its full size and opens it for direct writes and buffered reads.
pub(crate) fn create_segment(dir: &Path, base: u64, bytes: u64) -> io::Result<(File, File)> {
    fs::create_dir_all(dir)?;
    let path = dir.join(segment::name(base));
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    let flags = rustix::fs::FallocateFlags::empty();
    if let Err(error) = rustix::fs::fallocate(&file, flags, 0, bytes) {
        fs::remove_file(&path)?;
        return Err(error.into());
    }
    file.sync_all()?;
    File::open(dir)?.sync_all()?;
    drop(file);
    open_segment(&path)
}

/// Opens a segment file for direct writes and buffered reads.
pub(crate) fn open_segment(path: &Path) -> io::Result<(File, File)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let direct = match options.clone().custom_flags(libc::O_DIRECT).open(path) {
        Ok(file) => file,
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            tracing::warn!(
                "{}: this file system knows no direct I/O; log writes go through the page cache",
                path.display()
            );
            options.open(path)?
        }
        Err(e) => return Err(e),
    };
    Ok((direct, File::open(path)?))
}

/// Reads as much of `buffer` as the file has at `at`.
pub(crate) fn read_full_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 64 << 10;

    fn config(root: &Path) -> StoreDirConfig {
        StoreDirConfig {
            root: root.to_path_buf(),
            commit_log: root.join("commitlog"),
            segment_bytes: SEGMENT,
            queue_file_bytes: 200,
            streams: 1,
            shards: 1,
            window_bytes: 1 << 20,
            window_dir: root.to_path_buf(),
            flush: FlushMode::Sync,
            sync_by: None,
            flush_interval_ns: 500_000_000,
            read_uncommitted: false,
            index: true,
            index_limits: IndexLimits { slots: 50, items: 300 },
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

    #[test]
    fn a_later_segment_with_a_large_first_record_is_not_cut_away() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(&config(dir.path())).unwrap());
        let host = "127.0.0.1:10911".parse().unwrap();
        let message = wire::message::NewMessage {
            queue_id: wire::ids::QueueId(0),
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &[7; 6000],
            topic: b"T",
            properties: b"a\x01b\x02",
        };
        let mut bytes = vec![0; message.encoded_len()];
        let place = wire::message::Place {
            queue_offset: wire::ids::QueueOffset(0),
            phy_offset: wire::ids::PhyOffset::new(StreamId(0), SEGMENT),
            store_timestamp: base::time::WallMs(9),
        };
        message.encode(&mut bytes, place);
        bytes.resize(usize::try_from(SEGMENT).unwrap(), 0);
        let later = dir.path().join("commitlog").join(segment::name(SEGMENT));
        fs::write(&later, &bytes).unwrap();
        let far = StoreDirConfig { window_bytes: 16 << 10, ..config(dir.path()) };
        let refused = open(&far).err().expect("the log before is damaged");
        assert!(refused.to_string().contains("damaged"), "{refused}");
        assert_eq!(fs::read(&later).unwrap(), bytes);
        // Within a window of the end it is what a power cut leaves: the start goes on and keeps a copy.
        open(&config(dir.path())).unwrap();
        let kept = dir.path().join("cut").join(format!("stream-0-{}", segment::name(SEGMENT)));
        assert_eq!(fs::read(kept).unwrap(), bytes);
    }
}
