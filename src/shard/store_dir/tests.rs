//! The store directory against damage that a start meets: a checkpoint inside a record, a hole before later files.

use super::*;
use base::time::WallMs;
use store::layout::checkpoint::Checkpoint;
use wire::ids::{PhyOffset, QueueId, QueueOffset};
use wire::message::{NewMessage, Place};

const SEGMENT: u64 = 64 << 10;
const WINDOW: usize = 256 << 10;

fn config(dir: &Path) -> StoreDirConfig {
    let windows = dir.join("windows");
    fs::create_dir_all(&windows).unwrap();
    StoreDirConfig {
        root: dir.to_path_buf(),
        commit_log: dir.join("commitlog"),
        segment_bytes: SEGMENT,
        queue_file_bytes: 2000,
        streams: 1,
        shards: 1,
        window_bytes: WINDOW,
        window_dir: windows,
        flush: FlushMode::Sync,
        flush_interval_ns: 1,
        read_uncommitted: false,
    }
}

fn record(position: u64, offset: i64, body: &[u8]) -> Vec<u8> {
    let host = "127.0.0.1:10911".parse().unwrap();
    let message = NewMessage {
        queue_id: QueueId(0),
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        topic: b"T",
        properties: b"KEYS\x01k\x02",
    };
    let mut bytes = vec![0; message.encoded_len()];
    let phy_offset = PhyOffset::new(StreamId(0), position);
    let store_timestamp = WallMs(9);
    message.encode(
        &mut bytes,
        Place { queue_offset: QueueOffset(offset), phy_offset, store_timestamp },
    );
    bytes
}

/// A store of a process that died: 10 KB records in two segments. Returns where the records begin.
fn written(dir: &Path) -> Vec<u64> {
    let config = config(dir);
    drop(open(&config).unwrap());
    let mut log = Vec::new();
    let mut starts = Vec::new();
    for offset in 0..8 {
        let segment = usize::try_from(SEGMENT).unwrap();
        let at = log.len() as u64;
        let next = record(at, offset, &[7; 10_000]);
        if log.len() % segment + next.len() + 8 > segment {
            let rest = segment - log.len() % segment;
            let from = log.len();
            log.resize(from + rest, 0);
            wire::message::encode_blank(&mut log[from..]);
        }
        let at = log.len() as u64;
        starts.push(at);
        log.extend(record(at, offset, &[7; 10_000]));
    }
    log.resize(2 * usize::try_from(SEGMENT).unwrap(), 0);
    for (base, bytes) in [0, SEGMENT].iter().zip(log.chunks(usize::try_from(SEGMENT).unwrap())) {
        fs::write(config.commit_log.join(segment::name(*base)), bytes).unwrap();
    }
    // The memory of the process is gone, too.
    fs::remove_dir_all(&config.window_dir).unwrap();
    assert!(starts[7] > SEGMENT);
    starts
}

fn offsets(dir: &Path) -> i64 {
    let mut opened = open(&config(dir)).unwrap();
    let parts = opened.take_shards();
    let queues = parts[0].store.queues();
    let no = queues.find(b"T", QueueId(0)).expect("the queue is found in the log");
    queues.get(no).next()
}

#[test]
fn a_checkpoint_inside_a_record_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let starts = written(dir.path());
    for inside in [starts[3] + 4096, starts[7] + 4096] {
        let checkpoint = Checkpoint { dispatched: Some(inside), ..Checkpoint::default() };
        fs::write(dir.path().join("checkpoint"), checkpoint.encode()).unwrap();
        assert_eq!(offsets(dir.path()), 8, "a checkpoint at {inside}");
    }
}

#[test]
fn damage_before_later_records_is_refused_and_nothing_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let starts = written(dir.path());
    let first = dir.path().join("commitlog").join(segment::name(0));
    let file = OpenOptions::new().write(true).open(&first).unwrap();
    file.write_all_at(&[0; 64], starts[2]).unwrap();
    let error = open(&config(dir.path())).err().expect("the store is refused").to_string();
    assert!(error.contains("valid records begin here"), "{error}");
    assert!(dir.path().join("commitlog").join(segment::name(SEGMENT)).exists());
}
