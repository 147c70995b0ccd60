//! What a store directory holds, found without changing it: kind, sizes, streams, their segments, who uses it.
//!
//! Sizes come from the identity file, else from the broker's properties file, else from the files themselves.

use super::Trouble;
use base::props;
use rustix::process::{Flock, FlockType, fcntl_getlk};
use shard::disk::LocalDisk;
use shard::store_dir::deleted::Deleted;
use shard::store_dir::{self, segment_sizes};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use store::delay::DelayLevels;
use store::layout::checkpoint::Checkpoint;
use store::layout::consume_queue::ENTRY_BYTES;
use store::layout::identity::{self, Identity};
use store::layout::index::{self, IndexLimits};
use store::layout::segment;
use store::queues::QUEUE_ID_MAX;
use wire::ids::{QueueId, StreamId};

/// Java's and our sizes where nothing says otherwise.
const SEGMENT_BYTES: u64 = 1 << 30;
const QUEUE_FILE_BYTES: u64 = 6_000_000;
const INDEX_LIMITS: IndexLimits = IndexLimits { slots: 5_000_000, items: 20_000_000 };
/// Where a broker keeps its log windows.
const WINDOW_DIR: &str = "/dev/shm";

/// A file that is named by the position it begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) base: u64,
    pub(super) bytes: u64,
}

/// One log and what belongs to it.
#[derive(Debug)]
pub(super) struct StreamPlace {
    pub(super) stream: StreamId,
    pub(super) dir: PathBuf,
    pub(super) checkpoint: PathBuf,
    pub(super) index_dir: PathBuf,
    /// Segments, ascending.
    pub(super) segments: Vec<Piece>,
    /// Names in the directory that are no segments.
    pub(super) strangers: Vec<String>,
}

impl StreamPlace {
    pub(super) fn path(&self, base: u64) -> PathBuf {
        self.dir.join(segment::name(base))
    }

    /// First position of the log.
    pub(super) fn start(&self) -> u64 {
        self.segments.first().map_or(0, |piece| piece.base)
    }

    /// Bytes in its segment files.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|piece| piece.bytes).sum()
    }

    /// The size that a start takes its segments to have.
    fn usual_bytes(&self, configured: u64) -> Result<u64, Trouble> {
        let files: Vec<(u64, u64)> = self.segments.iter().map(|s| (s.base, s.bytes)).collect();
        segment_sizes::segment_bytes(&LocalDisk, &self.dir, &files, configured)
            .map_err(|e| Trouble::io(&self.dir, e))
    }

    /// `None`: there is no checkpoint. With its size.
    pub(super) fn read_checkpoint(&self) -> Result<Option<(Checkpoint, u64)>, Trouble> {
        match fs::read(&self.checkpoint) {
            Ok(bytes) => Ok(Some((Checkpoint::decode(&bytes), bytes.len() as u64))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Trouble::io(&self.checkpoint, e)),
        }
    }
}

/// A store directory.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) root: PathBuf,
    pub(super) consume_queue: PathBuf,
    /// `None`: Java's, or ours before its first start.
    pub(super) identity: Option<Identity>,
    pub(super) segment_bytes: u64,
    pub(super) queue_file_bytes: u64,
    /// `None`: nothing says what sizes the index files have.
    pub(super) index_limits: Option<IndexLimits>,
    pub(super) delay_levels: DelayLevels,
    pub(super) streams: Vec<StreamPlace>,
    /// The last process did not stop in order, or runs.
    pub(super) is_abort: bool,
    /// Process that uses the store.
    pub(super) user: Option<i32>,
    /// Log windows of this store that are still in shared memory.
    pub(super) windows: Vec<PathBuf>,
}

/// What the operator says about a store.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// `storePathRootDir`.
    pub(super) root: PathBuf,
    /// Properties file of its broker.
    pub(super) config_file: Option<PathBuf>,
}

/// Keys of the properties file that matter here.
#[derive(Default)]
struct Settings(BTreeMap<String, String>);

impl Settings {
    fn read(path: Option<&Path>) -> Result<Settings, Trouble> {
        let Some(path) = path else { return Ok(Settings::default()) };
        let bytes = fs::read(path).map_err(|e| Trouble::io(path, e))?;
        let parsed = props::parse(&bytes).map_err(|e| Trouble::new(path, e.to_string()))?;
        let pairs = parsed.entries.into_iter().map(|e| (e.key, e.value.trim().to_owned()));
        Ok(Settings(pairs.collect()))
    }

    fn number(&self, key: &str, min: u64) -> Result<Option<u64>, Trouble> {
        let Some(text) = self.0.get(key) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| *number >= min);
        let bad = || Trouble::new(key, format!("{text:?} is no number of at least {min}"));
        number.ok_or_else(bad).map(Some)
    }

    fn index_limits(&self) -> Result<Option<IndexLimits>, Trouble> {
        let slots = self.number("maxHashSlotNum", 1)?;
        let items = self.number("maxIndexNum", 2)?;
        if slots.is_none() && items.is_none() {
            return Ok(None);
        }
        let of = |number: Option<u64>, normal| number.map_or(Ok(normal), u32::try_from);
        match (of(slots, INDEX_LIMITS.slots), of(items, INDEX_LIMITS.items)) {
            (Ok(slots), Ok(items)) => Ok(Some(IndexLimits { slots, items })),
            (_, _) => Err(Trouble::new("maxIndexNum", "too large for an index file")),
        }
    }

    fn delay_levels(&self) -> Result<DelayLevels, Trouble> {
        let Some(text) = self.0.get("messageDelayLevel") else { return Ok(DelayLevels::default()) };
        DelayLevels::parse(text).map_err(|why| Trouble::new("messageDelayLevel", why))
    }
}

impl Place {
    /// Looks at the directory. Errors: it holds no store, or a kind that cannot be read here.
    pub(super) fn find(told: &Told) -> Result<Place, Trouble> {
        let root = told.root.clone();
        if !root.is_dir() {
            return Err(Trouble::new(&root, "there is no such directory"));
        }
        let settings = Settings::read(told.config_file.as_deref())?;
        let commit_log = commit_log_dir(&root, &settings)?;
        let consume_queue = root.join("consumequeue");
        if let Some(path) = store_dir::rocksdb_file(&LocalDisk, &root) {
            return Err(Trouble::new(&path, store_dir::ROCKSDB));
        }
        let identity = read_identity(&root)?;
        if identity.is_none() && !commit_log.is_dir() {
            let text = "no store is here: it has neither commitlog/ nor ringmq.store";
            return Err(Trouble::new(&root, text));
        }
        let count = identity.map_or(1, |identity| identity.streams);
        let streams = (0..count).map(|number| stream(&root, &commit_log, number));
        let streams: Vec<StreamPlace> = streams.collect::<Result<_, _>>()?;
        let told_bytes = settings.number("mappedFileSizeCommitLog", 1)?;
        let segment_bytes = match (&identity, streams.first()) {
            (Some(identity), _) => identity.segment_bytes,
            (None, Some(stream)) => stream.usual_bytes(told_bytes.unwrap_or(SEGMENT_BYTES))?,
            (None, None) => SEGMENT_BYTES,
        };
        let mut place = Place {
            is_abort: root.join("abort").exists(),
            user: user(&root.join("lock"))?,
            windows: windows(identity.as_ref()),
            delay_levels: settings.delay_levels()?,
            queue_file_bytes: 0,
            index_limits: None,
            segment_bytes,
            root,
            consume_queue,
            identity,
            streams,
        };
        place.queue_file_bytes = match settings.number("mappedFileSizeConsumeQueue", 1)? {
            Some(bytes) => bytes.next_multiple_of(ENTRY_BYTES as u64),
            None => place.usual_queue_file_bytes()?,
        };
        place.index_limits = match settings.index_limits()? {
            Some(limits) => Some(limits),
            None => place.usual_index_limits()?,
        };
        Ok(place)
    }

    /// Every queue that has a directory, in order.
    pub(super) fn queues(&self) -> Result<Vec<(String, QueueId)>, Trouble> {
        let mut found = Vec::new();
        for topic in list(&self.consume_queue)? {
            for queue in list(&self.consume_queue.join(&topic))? {
                if let Some(id) = queue.parse().ok().filter(|id| (0..=QUEUE_ID_MAX).contains(id)) {
                    found.push((topic.clone(), QueueId(id)));
                }
            }
        }
        Ok(found)
    }

    /// Deletions of topics that a start would know in this stream: none where Java has had the store since.
    pub(super) fn deleted(&self, stream: &StreamPlace) -> Result<Deleted, Trouble> {
        let checkpoint = stream.read_checkpoint()?;
        if checkpoint.is_some_and(|(checkpoint, _)| checkpoint.dispatched.is_none()) {
            return Ok(Deleted::default());
        }
        Deleted::load(&LocalDisk, &self.root, stream.stream).map_err(|e| Trouble::io(&self.root, e))
    }

    pub(super) fn queue_dir(&self, topic: &str, id: QueueId) -> PathBuf {
        self.consume_queue.join(topic).join(id.0.to_string())
    }

    /// Where repairs keep what they cut.
    pub(super) fn cut_dir(&self) -> PathBuf {
        self.root.join("cut")
    }

    fn usual_queue_file_bytes(&self) -> Result<u64, Trouble> {
        const LOOKED_AT_MAX: usize = 64;
        let mut sizes = Vec::new();
        for (topic, id) in self.queues()?.iter().take(LOOKED_AT_MAX) {
            sizes.extend(pieces(&self.queue_dir(topic, *id))?.0.iter().map(|piece| piece.bytes));
        }
        let usual = most_common(sizes.into_iter());
        let usual = usual.filter(|bytes| *bytes > 0 && bytes.is_multiple_of(ENTRY_BYTES as u64));
        Ok(usual.unwrap_or(QUEUE_FILE_BYTES))
    }

    fn usual_index_limits(&self) -> Result<Option<IndexLimits>, Trouble> {
        let normal = INDEX_LIMITS.file_bytes() as u64;
        let mut sizes = Vec::new();
        for stream in &self.streams {
            sizes.extend(index_files(&stream.index_dir)?.into_iter().map(|(_, bytes)| bytes));
        }
        Ok(sizes.iter().all(|bytes| *bytes == normal).then_some(INDEX_LIMITS))
    }
}

fn commit_log_dir(root: &Path, settings: &Settings) -> Result<PathBuf, Trouble> {
    match settings.0.get("storePathCommitLog") {
        None => Ok(root.join("commitlog")),
        Some(text) if text.contains(',') => {
            Err(Trouble::new("storePathCommitLog", "several directories are not read here"))
        }
        Some(text) => Ok(PathBuf::from(text)),
    }
}

fn read_identity(root: &Path) -> Result<Option<Identity>, Trouble> {
    let path = root.join(identity::FILE_NAME);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let found = Identity::decode(&text).map_err(|e| Trouble::new(&path, e.to_string()))?;
            if found.segment_bytes == 0 {
                return Err(Trouble::new(&path, "segmentBytes = 0 is not valid"));
            }
            Ok(Some(found))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Trouble::io(&path, e)),
    }
}

fn stream(root: &Path, commit_log: &Path, number: u16) -> Result<StreamPlace, Trouble> {
    let streams = root.join("streams");
    let (dir, checkpoint, index_dir) = match number {
        0 => (commit_log.to_path_buf(), root.join("checkpoint"), root.join("index")),
        n => (
            streams.join(n.to_string()),
            streams.join(format!("{n}.checkpoint")),
            streams.join(format!("{n}.index")),
        ),
    };
    let (segments, strangers) = pieces(&dir)?;
    Ok(StreamPlace { stream: StreamId(number), dir, checkpoint, index_dir, segments, strangers })
}

/// Files of a directory that are named by their position, ascending, and other names.
pub(super) fn pieces(dir: &Path) -> Result<(Vec<Piece>, Vec<String>), Trouble> {
    let (mut found, mut strangers) = (Vec::new(), Vec::new());
    for name in list(dir)? {
        let path = dir.join(&name);
        match segment::parse_name(&name) {
            Some(base) => {
                let bytes = fs::metadata(&path).map_err(|e| Trouble::io(&path, e))?.len();
                found.push(Piece { base, bytes });
            }
            None => strangers.push(name),
        }
    }
    found.sort_unstable_by_key(|piece| piece.base);
    Ok((found, strangers))
}

/// Names and sizes of index files, oldest first.
pub(super) fn index_files(dir: &Path) -> Result<Vec<(String, u64)>, Trouble> {
    let names = list(dir)?.into_iter().filter(|name| index::parse_name(name).is_some());
    let size = |name: String| {
        let path = dir.join(&name);
        let bytes = fs::metadata(&path).map_err(|e| Trouble::io(&path, e))?.len();
        Ok((name, bytes))
    };
    names.map(size).collect()
}

/// Names in a directory, in order; none when it is missing.
pub(super) fn list(dir: &Path) -> Result<Vec<String>, Trouble> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(Trouble::io(dir, e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| Trouble::io(dir, e))?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

fn most_common(sizes: impl Iterator<Item = u64>) -> Option<u64> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    sizes.for_each(|size| *counts.entry(size).or_default() += 1);
    counts.into_iter().max_by_key(|(size, count)| (*count, *size)).map(|(size, _)| size)
}

/// The process that holds the lock of Java's and our brokers; looking takes no lock.
fn user(lock: &Path) -> Result<Option<i32>, Trouble> {
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Trouble::io(lock, e)),
    };
    // A write lock is asked about, since any lock of another process would stop it.
    let wanted = Flock::from(FlockType::WriteLock);
    let held = fcntl_getlk(&file, &wanted).map_err(|e| Trouble::io(lock, e.into()))?;
    Ok(held.map(|held| held.pid.map_or(0, |pid| pid.as_raw_nonzero().get())))
}

fn windows(identity: Option<&Identity>) -> Vec<PathBuf> {
    let Some(identity) = identity else { return Vec::new() };
    let name = |n| Path::new(WINDOW_DIR).join(format!("ringmq-{:032x}-{n}", identity.store_id));
    (0..identity.streams).map(name).filter(|path| path.exists()).collect()
}
