//! The store engine: appends, with the planning of one turn per 32 messages and a device that is always ready.

use crate::frames;
use crate::harness::{Case, Operations, counted};
use base::time::{MonoNs, Now, WallMs};
use buf::window::{Window, WindowIdentity};
use shard::offline;
use std::hint::black_box;
use store::index::IndexKeys;
use store::layout::checkpoint::Checkpoint;
use store::op::StoreOp;
use store::queues::{QueueNo, Queues};
use store::segments::Segments;
use store::stream::{FlushMode, Stream, StreamConfig, SyncBy};
use store::{Store, StoreConfig};
use wire::batch::BatchItems;
use wire::java_hash::tag_code;
use wire::{NewMessage, QueueId, StreamId};

const SEGMENT_BYTES: u64 = 1 << 30;
const WINDOW_BYTES: usize = 16 << 20;
/// Messages of a turn, and its length.
const TURN_MESSAGES: u64 = 32;
const TURN_NS: u64 = 40_000;

/// What `frames::properties` has.
const KEYS: IndexKeys<'static> =
    IndexKeys { unique: b"7F00000100002A139A55000000000001", keys: b"", tags: b"TagA" };

pub(crate) fn cases() -> Vec<Case> {
    vec![
        counted("append/1KiB", || append(1024, FlushMode::Async)),
        counted("append/128B", || append(128, FlushMode::Async)),
        counted("append/128B-sync", || append(128, FlushMode::Sync)),
        counted("append/batch-of-32x128B", append_batch),
    ]
}

/// An empty store of one stream, whose window is memory that nobody else sees.
pub(crate) fn store(flush: FlushMode) -> Store {
    let identity = WindowIdentity { store_id: 1, boot_id: 1, stream: 0 };
    let window = Window::anonymous(WINDOW_BYTES, identity, 0).unwrap();
    let config = StreamConfig {
        stream: StreamId(0),
        segment_bytes: SEGMENT_BYTES,
        flush,
        sync_by: SyncBy::Flush,
        flush_interval_ns: 500_000_000,
        write_batch_bytes: 256 << 10,
        read_uncommitted: false,
    };
    let stream = Stream::new(config, window, Segments::new(SEGMENT_BYTES, &[], 0), 0);
    let streams = vec![(stream, Checkpoint::default())];
    Store::new(StoreConfig::default(), streams, Queues::default())
}

/// The start of every bench's time.
pub(crate) fn start() -> Now {
    Now { wall: WallMs(1_700_000_000_000), mono: MonoNs(1_000_000_000) }
}

/// The next turn.
pub(crate) fn later(now: Now) -> Now {
    Now { wall: now.wall, mono: MonoNs(now.mono.0 + TURN_NS) }
}

struct Bench {
    store: Store,
    queue: QueueNo,
    now: Now,
    ops: Vec<StoreOp>,
}

impl Bench {
    fn new(flush: FlushMode) -> Bench {
        let mut store = store(flush);
        let queue = store.find_or_create(b"BenchTopic", QueueId(0), StreamId(0));
        let mut bench = Bench { store, queue, now: start(), ops: Vec::new() };
        bench.end_turn();
        bench
    }

    fn end_turn(&mut self) {
        self.now = later(self.now);
        self.store.plan(self.now, &mut self.ops);
        for op in self.ops.drain(..) {
            offline::complete(&mut self.store, &op);
        }
        while self.store.plan_queues(self.now.mono).is_some() {
            self.store.on_queues(None, self.now.mono);
        }
    }
}

fn message<'m>(body: &'m [u8], properties: &'m [u8]) -> NewMessage<'m> {
    let host = std::net::SocketAddr::from(([127, 0, 0, 1], 10911));
    NewMessage {
        queue_id: QueueId(0),
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_001,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        topic: b"BenchTopic",
        properties,
    }
}

fn append(body_bytes: usize, flush: FlushMode) -> Operations {
    let mut bench = Bench::new(flush);
    let (body, properties) = (vec![b'x'; body_bytes], frames::properties(Some("TagA")));
    let mut appended = 0u64;
    Box::new(move |count| {
        for _ in 0..count {
            let message = message(black_box(&body), &properties);
            let len = message.encoded_len();
            let mut batch = bench.store.begin(bench.queue, len, bench.now).unwrap();
            batch.push_indexed(&message, tag_code(b"TagA"), &KEYS);
            black_box(batch.finish());
            appended += 1;
            if appended.is_multiple_of(TURN_MESSAGES) {
                bench.end_turn();
            }
        }
    })
}

fn append_batch() -> Operations {
    let mut bench = Bench::new(FlushMode::Async);
    let body = frames::batch_body(32, 128);
    Box::new(move |count| {
        for _ in 0..count {
            let items = || BatchItems::new(black_box(&body)).map(Result::unwrap);
            let total = items().map(|i| message(i.body, i.properties).encoded_len()).sum();
            let mut batch = bench.store.begin(bench.queue, total, bench.now).unwrap();
            for item in items() {
                let message = message(item.body, item.properties);
                batch.push_indexed(&message, tag_code(b"TagA"), &KEYS);
            }
            black_box(batch.finish());
            bench.end_turn();
        }
    })
}
