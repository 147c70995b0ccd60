//! The table on a simulated disk, from a stop to the next start, and against the file system of this machine.

use super::super::{OpenStore, StoreDirConfig, open_on};
use super::*;
use crate::crash::disk::{Operation, SimDisk};
use crate::crash::machine::Machine;
use crate::crash::random::Random;
use crate::disk::{Access, Disk, LocalDisk};
use crate::queue_files::QueueFiles;
use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::delay::DelayLevels;
use store::layout::consume_queue::CqEntry;
use store::layout::index::IndexLimits;
use store::op::{Extended, QueueWrite};
use store::stream::{FlushMode, SyncBy};
use wire::ids::{PhyOffset, QueueId};

const FILE_BYTES: u64 = 400;
const ROOT: &str = "/data/store";

fn config(window_dir: &Path, streams: u16) -> StoreDirConfig {
    StoreDirConfig {
        root: PathBuf::from(ROOT),
        commit_log: PathBuf::from(ROOT).join("commitlog"),
        segment_bytes: 64 << 10,
        queue_file_bytes: FILE_BYTES,
        queue_ext_bytes: None,
        streams,
        shards: 1,
        window_bytes: 64 << 10,
        window_dir: window_dir.to_path_buf(),
        flush: FlushMode::Async,
        sync_by: Some(SyncBy::Flush),
        flush_interval_ns: 2_000_000,
        read_uncommitted: false,
        delay_levels: DelayLevels::default(),
        retention: None,
        index: false,
        index_limits: IndexLimits { slots: 50, items: 300 },
    }
}

type Bounds = Vec<(Vec<u8>, i32, i64, i64)>;

fn bounds(open: &OpenStore) -> Bounds {
    let queues = open.shards.iter().flat_map(|shard| shard.store.queues().iter());
    let of = |queue: &ConsumeQueue| (queue.topic.to_vec(), queue.id.0, queue.min(), queue.next());
    let mut all: Vec<_> = queues.map(|(_, queue)| of(queue)).filter(|queue| queue.3 > 0).collect();
    all.sort_unstable();
    all
}

/// Runs a store for some time and stops it in order.
fn run_and_stop(disk: &SimDisk, config: &StoreDirConfig, seed: u64) -> Bounds {
    let mut open = open_on(Arc::new(disk.clone()), config).unwrap();
    let history = vec![Vec::new(); usize::from(config.streams)];
    let random = Random::new(seed);
    let dir = config.window_dir.clone();
    let mut machine = Machine::new(disk.clone(), &mut open, history, dir, (seed, random));
    (0..400).for_each(|_| machine.step());
    machine.close();
    let queues = machine.stopped_queues();
    open.mark_clean(queues.as_deref()).unwrap();
    let all = queues.unwrap().into_iter().flat_map(|shard| shard.queues);
    let mut all: Bounds = all.map(|q| (q.topic.to_vec(), q.id.0, q.min, q.next)).collect();
    all.sort_unstable();
    assert!(all.len() > 3, "{all:?}");
    all
}

/// Starts, and counts how often a queue file was opened for that.
fn start(disk: &SimDisk, config: &StoreDirConfig) -> (Bounds, usize) {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    disk.set_faults(Some(Box::new(move |operation, path, _| {
        if operation == Operation::Open && path.starts_with("/data/store/consumequeue") {
            count.fetch_add(1, Ordering::Relaxed);
        }
        None
    })));
    let open = open_on(Arc::new(disk.clone()), config).unwrap();
    disk.set_faults(None);
    (bounds(&open), opened.load(Ordering::Relaxed))
}

#[test]
fn a_start_after_an_orderly_stop_opens_no_queue_file_and_a_later_one_after_a_crash_all() {
    for streams in [1, 3] {
        let windows = tempfile::tempdir().unwrap();
        let config = config(windows.path(), streams);
        let disk = SimDisk::empty();
        let stopped = run_and_stop(&disk, &config, u64::from(streams));
        assert!(disk.stamp(&config.root.join(FILE_NAME)).is_ok());
        assert_eq!(start(&disk, &config), (stopped.clone(), 0));
        assert!(disk.stamp(&config.root.join(FILE_NAME)).is_err(), "nobody believes it again");
        // That process died.
        let (found, opened) = start(&disk, &config);
        assert_eq!(found, stopped);
        assert!(opened >= stopped.len());
    }
}

#[test]
fn a_table_that_came_back_after_a_crash_is_not_believed() {
    let windows = tempfile::tempdir().unwrap();
    let config = config(windows.path(), 1);
    let disk = SimDisk::empty();
    run_and_stop(&disk, &config, 1);
    let path = config.root.join(FILE_NAME);
    let table = read_file(&disk, &path).unwrap();
    start(&disk, &config);
    replace_file(&disk, &path, &table).unwrap();
    assert!(start(&disk, &config).1 > 0, "the abort file is there");
    // Nor one from an earlier stop.
    fs::read_dir(windows.path()).unwrap().for_each(|e| fs::remove_file(e.unwrap().path()).unwrap());
    let stopped = run_and_stop(&disk, &config, 2);
    replace_file(&disk, &path, &table).unwrap();
    let (found, opened) = start(&disk, &config);
    assert_eq!(found, stopped);
    assert!(opened > 0);
}

/// A store of this machine with two queues, as an orderly stop has left it.
struct Stopped {
    dir: tempfile::TempDir,
    paths: StorePaths,
    identity: Identity,
    queues: Vec<StoppedQueues>,
}

impl Stopped {
    fn new() -> Stopped {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("consumequeue");
        let paths = StorePaths::for_test(dir.path(), &root, FILE_BYTES);
        let identity = Identity { store_id: 7, streams: 1, segment_bytes: paths.segment_bytes };
        let topic: Arc<[u8]> = Arc::from(&b"T"[..]);
        let mut files = QueueFiles::new(Arc::new(LocalDisk), root, FILE_BYTES);
        let mut queues = Vec::new();
        // The second one ends with its file.
        for (queue, count) in [(0, 27u64), (1, 20)] {
            let queue = QueueId(queue);
            let entry = |i| CqEntry { phy: PhyOffset(i * 100), size: 100, tags_code: 0 };
            let bytes = (0..count).flat_map(|i| entry(i).encode()).collect();
            let topic = Arc::clone(&topic);
            let write = QueueWrite { topic, queue, first: 0, bytes, extended: Extended::default() };
            files.write(&write).unwrap();
            let next = i64::try_from(count).unwrap();
            queues.push(StoppedQueue {
                topic: write.topic,
                id: queue,
                min: 2,
                next,
                place: Some(PhyOffset(200)),
            });
        }
        let checkpoint = Checkpoint {
            dispatched: Some(2700),
            clean_end: Some(2700),
            queues: Some(1),
            ..Checkpoint::default()
        };
        fs::write(paths.checkpoint(StreamId(0)), checkpoint.encode()).unwrap();
        let queues = vec![StoppedQueues { starts: vec![(StreamId(0), 0)], queues }];
        let stopped = Stopped { dir, paths, identity, queues };
        stopped.save();
        stopped
    }

    fn save(&self) {
        save(&self.paths, &self.identity, &self.queues).unwrap();
    }

    fn is_believed(&self) -> bool {
        load(&self.paths, &self.identity).is_some()
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }
}

#[test]
fn what_was_noted_comes_back() {
    let stopped = Stopped::new();
    let known = load(&stopped.paths, &stopped.identity).unwrap();
    assert!(known.are_of(StreamId(0), 2700) && !known.are_of(StreamId(0), 2600));
    assert_eq!(known.names(), [(b"T".to_vec(), QueueId(0)), (b"T".to_vec(), QueueId(1))]);
    let queues: Vec<_> = known
        .of_stream(StreamId(0))
        .map(|queue| (queue.id.0, queue.min(), queue.next(), queue.min_place()))
        .collect();
    let place = Some(PhyOffset(200));
    assert_eq!(queues, [(0, 2, 27, place), (1, 2, 20, place)]);
    remove(&stopped.paths).unwrap();
    assert!(!stopped.is_believed());
}

#[test]
fn it_is_not_believed_when_anything_was_changed() {
    let last = "consumequeue/T/0/00000000000000000400";
    type Change = fn(&Stopped);
    let changes: [(&str, Change); 9] = [
        ("a topic came", |s| fs::create_dir(s.path("consumequeue/New")).unwrap()),
        ("a queue went", |s| fs::remove_dir_all(s.path("consumequeue/T/1")).unwrap()),
        ("a file went", |s| {
            fs::remove_file(s.path("consumequeue/T/0/00000000000000000000")).unwrap();
        }),
        ("a file came", |s| {
            fs::write(s.path("consumequeue/T/1/00000000000000000400"), b"").unwrap();
        }),
        ("another checkpoint", |s| fs::write(s.path("checkpoint"), [1; 4096]).unwrap()),
        ("a segment went", |s| {
            fs::create_dir(s.path("commitlog")).unwrap();
            fs::write(s.path("commitlog/00000000000000065536"), b"").unwrap();
        }),
        ("a byte of the table", |s| {
            let file = fs::OpenOptions::new().write(true).open(s.path(FILE_NAME)).unwrap();
            file.write_all_at(&[0xff], 60).unwrap();
        }),
        ("a file shrank", |s| {
            let path = s.path("consumequeue/T/1/00000000000000000000");
            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(40).unwrap();
        }),
        ("no table", |s| fs::remove_file(s.path(FILE_NAME)).unwrap()),
    ];
    for (what, change) in changes {
        let stopped = Stopped::new();
        assert!(stopped.is_believed(), "before: {what}");
        // Longer than the steps in which file systems count time.
        std::thread::sleep(std::time::Duration::from_millis(20));
        change(&stopped);
        assert!(!stopped.is_believed(), "{what}");
    }
    let stopped = Stopped::new();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let file = LocalDisk.open(&stopped.path(last), Access::Write).unwrap();
    file.write_at(&[1], 0).unwrap();
    assert!(!stopped.is_believed(), "somebody wrote into the last file");
    stopped.save();
    assert!(stopped.is_believed());
    let other = Identity { store_id: 8, ..stopped.identity };
    assert!(load(&stopped.paths, &other).is_none(), "another store's");
}

#[test]
fn directories_of_deleted_topics_that_are_left_are_for_a_start_that_reads_all() {
    let stopped = Stopped::new();
    fs::create_dir_all(stopped.path("consumequeue/Gone/0")).unwrap();
    remove(&stopped.paths).unwrap();
    stopped.save();
    assert!(stopped.is_believed(), "no deletion is noted: nobody's directory");
    remove(&stopped.paths).unwrap();
    let (topic, stream) = (b"Gone".to_vec(), StreamId(0));
    deleted::note(
        &LocalDisk,
        stopped.dir.path(),
        &[deleted::Deletion { topic, stream, end: 2700 }],
        &[],
    )
    .unwrap();
    stopped.save();
    assert!(!stopped.is_believed());
    fs::remove_dir_all(stopped.path("consumequeue/Gone")).unwrap();
    stopped.save();
    assert!(stopped.is_believed());
}
