//! Decoding of the frequent requests and encoding of their answers.

use crate::frames;
use crate::harness::{Case, Operations, counted};
use std::hint::black_box;
use wire::batch::BatchItems;
use wire::codes::{MQ_VERSION_5_5_0, response};
use wire::frame::split;
use wire::req::client::{PullMessageRequestHeader, PullMessageResponseHeader};
use wire::req::send::{SendReply, SendRequest};
use wire::req::send_scan;
use wire::{FrameHead, FrameWriter, Header, MessageId, PhyOffset, SerializeType, StreamId};

const TOPIC: (&str, i32) = ("BenchTopic", 3);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        counted("codec/send-json-1KiB", || decode_send(SerializeType::Json)),
        counted("codec/send-rocketmq-1KiB", || decode_send(SerializeType::Rocketmq)),
        counted("codec/send-scan-json-1KiB", scan_send),
        counted("codec/pull-json", || decode_pull(SerializeType::Json)),
        counted("codec/pull-rocketmq", || decode_pull(SerializeType::Rocketmq)),
        counted("codec/batch-split-of-32", split_batch),
        counted("codec/send-reply", encode_send_reply),
        counted("codec/pull-reply", encode_pull_reply),
    ]
}

fn decode_send(serialize: SerializeType) -> Operations {
    let bytes = frames::send(serialize, TOPIC, 1_000_000_007, 1024);
    Box::new(move |count| {
        for _ in 0..count {
            let (frame, _) = split(black_box(&bytes)).unwrap().unwrap();
            let header = Header::decode(&frame).unwrap();
            black_box(SendRequest::decode(header.code, &header.fields).unwrap());
        }
    })
}

/// What the broker does with a send in the form of Java's clients: one pass, properties included.
fn scan_send() -> Operations {
    let bytes = frames::send(SerializeType::Json, TOPIC, 1_000_000_007, 1024);
    let mut properties = Vec::new();
    Box::new(move |count| {
        for _ in 0..count {
            let (frame, _) = split(black_box(&bytes)).unwrap().unwrap();
            black_box(send_scan::scan(&frame, &mut properties).unwrap());
        }
    })
}

fn decode_pull(serialize: SerializeType) -> Operations {
    let bytes = frames::pull(serialize, TOPIC, 1_000_000_007, 123_456, 15_000);
    Box::new(move |count| {
        for _ in 0..count {
            let (frame, _) = split(black_box(&bytes)).unwrap().unwrap();
            let header = Header::decode(&frame).unwrap();
            black_box(PullMessageRequestHeader::decode(&header.fields).unwrap());
        }
    })
}

fn split_batch() -> Operations {
    let body = frames::batch_body(32, 128);
    Box::new(move |count| {
        for _ in 0..count {
            for item in BatchItems::new(black_box(&body)) {
                black_box(item.unwrap());
            }
        }
    })
}

fn head() -> FrameHead {
    FrameHead {
        serialize: SerializeType::Json,
        code: response::SUCCESS,
        opaque: 1_000_000_007,
        flag: 1,
        version: MQ_VERSION_5_5_0,
    }
}

fn encode_send_reply() -> Operations {
    let mut out = Vec::with_capacity(1 << 12);
    let host = "127.0.0.1:10911".parse().unwrap();
    let id = MessageId { host, phy: PhyOffset::new(StreamId(0), 123_456_789) };
    let reply = SendReply {
        queue_id: 3,
        queue_offset: 123_456,
        transaction_id: Some(b"7F00000100002A139A55000000000001"),
        trace_on: true,
        region: b"DefaultRegion",
        recall_handle: None,
    };
    Box::new(move |count| {
        for _ in 0..count {
            out.clear();
            let mut writer = FrameWriter::begin(&mut out, head());
            black_box(&reply).encode(&mut writer, std::iter::once(id));
            writer.finish();
            black_box(&out);
        }
    })
}

fn encode_pull_reply() -> Operations {
    let mut out = Vec::with_capacity(1 << 12);
    let header = PullMessageResponseHeader {
        suggest_which_broker_id: 0,
        group_sys_flag: Some(0),
        next_begin_offset: 123_488,
        max_offset: 123_500,
        min_offset: 0,
        topic_sys_flag: Some(0),
        forbidden_type: None,
        offset_delta: None,
    };
    Box::new(move |count| {
        for _ in 0..count {
            out.clear();
            let mut writer = FrameWriter::begin(&mut out, head());
            black_box(&header).encode(&mut writer);
            writer.remark("FOUND");
            writer.finish();
            black_box(&out);
        }
    })
}
