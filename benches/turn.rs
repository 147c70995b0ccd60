//! Whole turns of a broker on a shard without a ring: from received frames to encoded answers.
//!
//! What is left out is the kernel's part and the copy of answers into a send buffer.

use crate::append::{later, start, store};
use crate::bare::{BareBroker, configuration};
use crate::frames;
use crate::harness::{Case, Operations, counted};
use base::ids::{ConnId, ShardId};
use base::time::Now;
use broker::settings::Settings;
use shard::ListenerTag;
use shard::offline::OfflineShard;
use std::hint::black_box;
use std::sync::Arc;
use store::stream::FlushMode;
use wire::codes::{request, response};
use wire::frame::split;
use wire::{Header, SerializeType};

const TOPIC: &str = "BenchTopic";
const QUEUES: i32 = 8;
/// Messages of a turn with many.
const TURN_MESSAGES: usize = 32;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        counted("turn/send-json-1KiB-32-per-turn", || sends(SerializeType::Json, 1024, 32)),
        counted("turn/send-json-1KiB-1-per-turn", || sends(SerializeType::Json, 1024, 1)),
        counted("turn/send-rocketmq-1KiB-32-per-turn", || sends(SerializeType::Rocketmq, 1024, 32)),
        counted("turn/send-sync-128B-32-per-turn", sends_synced),
        counted("turn/send-batch-of-32x128B", batches),
        counted("turn/pull-32x1KiB", pulls),
        counted("turn/commit-offset", commits),
        counted("turn/wake-park-append-wake", wakes),
    ]
}

struct Bench {
    shard: OfflineShard<BareBroker>,
    conn: ConnId,
    now: Now,
    output: Vec<u8>,
}

impl Bench {
    fn new(flush: FlushMode) -> Bench {
        let directory = std::env::temp_dir().join("ringmq-bench-has-no-such-directory");
        let settings = Settings::new(configuration(&[]), 1).unwrap();
        let tables = broker::load_tables(&directory, &settings).unwrap();
        let app = BareBroker::new(Arc::new(settings), ShardId::META, 1, &tables);
        let mut shard = OfflineShard::new(app, store(flush), start());
        let conn = shard.open(ListenerTag(1), "127.0.0.1:40000".parse().unwrap());
        let mut bench = Bench { shard, conn, now: start(), output: Vec::new() };
        bench.create_topic();
        bench
    }

    fn create_topic(&mut self) {
        let fields = |writer: &mut wire::FrameWriter<'_>| {
            writer.field_str("topic", TOPIC.as_bytes());
            writer.field_str("defaultTopic", b"TBW102");
            writer.field_i32("readQueueNums", QUEUES);
            writer.field_i32("writeQueueNums", QUEUES);
            writer.field_i32("perm", 6);
            writer.field_str("topicFilterType", b"SINGLE_TAG");
            writer.field_i32("topicSysFlag", 0);
            writer.field_bool("order", false);
        };
        let code = request::UPDATE_AND_CREATE_TOPIC;
        let frame = frames::frame(SerializeType::Json, code, 1, fields, &[]);
        assert_eq!(self.turn(&frame), 1, "the topic is created");
    }

    /// One turn; the number of answers, which are all successes.
    fn turn(&mut self, frames: &[u8]) -> usize {
        self.run(frames);
        let (mut rest, mut answers) = (self.output.as_slice(), 0);
        while let Some((frame, used)) = split(rest).unwrap() {
            let header = Header::decode(&frame).unwrap();
            assert_eq!(header.code, response::SUCCESS, "{:?}", header.remark);
            rest = &rest[used..];
            answers += 1;
        }
        answers
    }

    /// As `turn`, without a look at the answers.
    fn run(&mut self, frames: &[u8]) {
        self.now = later(self.now);
        self.shard.turn(self.now, self.conn, frames);
        self.shard.take_output(self.conn, &mut self.output);
        black_box(&self.output);
    }
}

/// Per message.
fn sends(serialize: SerializeType, body_bytes: usize, per_turn: usize) -> Operations {
    sends_with(FlushMode::Async, serialize, body_bytes, per_turn)
}

fn sends_synced() -> Operations {
    sends_with(FlushMode::Sync, SerializeType::Json, 128, TURN_MESSAGES)
}

fn sends_with(
    flush: FlushMode,
    serialize: SerializeType,
    body_bytes: usize,
    per_turn: usize,
) -> Operations {
    let mut bench = Bench::new(flush);
    let mut turn = Vec::new();
    for opaque in (1_000_000_000..).take(per_turn) {
        let queue = (TOPIC, opaque % QUEUES);
        turn.extend(frames::send(serialize, queue, opaque, body_bytes));
    }
    assert_eq!(bench.turn(&turn), per_turn, "every send is answered");
    let mut owed = 0;
    Box::new(move |count| {
        owed += count;
        while owed >= per_turn as u64 {
            bench.run(&turn);
            owed -= per_turn as u64;
        }
    })
}

/// Per batch.
fn batches() -> Operations {
    let mut bench = Bench::new(FlushMode::Async);
    let frame = frames::batch(SerializeType::Json, (TOPIC, 0), 7, (TURN_MESSAGES, 128));
    assert_eq!(bench.turn(&frame), 1, "a batch is answered");
    Box::new(move |count| {
        for _ in 0..count {
            bench.run(&frame);
        }
    })
}

/// Per pull of 32 messages of 1 KiB out of memory.
fn pulls() -> Operations {
    let mut bench = Bench::new(FlushMode::Async);
    let send = frames::send(SerializeType::Json, (TOPIC, 0), 7, 1024);
    for _ in 0..1024 {
        assert_eq!(bench.turn(&send), 1);
    }
    let pull = frames::pull(SerializeType::Json, (TOPIC, 0), 7, 512, 0);
    assert_eq!(bench.turn(&pull), 1, "a pull finds messages");
    assert!(bench.output.len() > TURN_MESSAGES * 1024, "it finds {TURN_MESSAGES} of them");
    Box::new(move |count| {
        for _ in 0..count {
            bench.run(&pull);
        }
    })
}

/// Per commit.
fn commits() -> Operations {
    let mut bench = Bench::new(FlushMode::Async);
    let frames: Vec<Vec<u8>> =
        (0..64).map(|offset| frames::commit(SerializeType::Json, (TOPIC, 0), 7, offset)).collect();
    assert_eq!(bench.turn(&frames[0]), 1, "a commit is answered");
    let mut at = 0;
    Box::new(move |count| {
        for _ in 0..count {
            bench.run(&frames[at % frames.len()]);
            at += 1;
        }
    })
}

/// Per message: a pull is parked at the end of the queue, a send comes, the pull is answered.
fn wakes() -> Operations {
    let mut bench = Bench::new(FlushMode::Async);
    let send = frames::send(SerializeType::Json, (TOPIC, 0), 7, 128);
    let mut offset = 0;
    let mut wake = move |check: bool| {
        let pull = frames::pull(SerializeType::Json, (TOPIC, 0), 8, offset, 15_000);
        if check {
            assert_eq!(bench.turn(&pull), 0, "the pull waits");
            assert_eq!(bench.turn(&send), 2, "the send and the pull are answered");
        } else {
            bench.run(&pull);
            bench.run(&send);
        }
        offset += 1;
    };
    wake(false);
    wake(true);
    Box::new(move |count| {
        for _ in 0..count {
            wake(false);
        }
    })
}
