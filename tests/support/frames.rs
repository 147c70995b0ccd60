//! Request frames as clients encode them, for tests and benches of the data path.
#![allow(dead_code, reason = "each binary uses its part")]

use wire::batch::{BatchItem, encode_item};
use wire::codes::{MQ_VERSION_5_5_0, request};
use wire::req::client::{PullMessageRequestHeader, UpdateConsumerOffsetRequestHeader};
use wire::req::send::SendRequest;
use wire::{FrameHead, FrameWriter, SerializeType, Text, props, sys_flag};

/// The consumer group of all these frames.
pub(crate) const GROUP: &str = "G_frames";

/// A frame from its head, its fields and its body.
pub(crate) fn frame(
    serialize: SerializeType,
    code: i32,
    opaque: i32,
    fields: impl FnOnce(&mut FrameWriter<'_>),
    body: &[u8],
) -> Vec<u8> {
    let head = FrameHead { serialize, code, opaque, flag: 0, version: MQ_VERSION_5_5_0 };
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::begin(&mut bytes, head);
    fields(&mut writer);
    let mut writer = writer.body();
    writer.bytes().extend_from_slice(body);
    writer.finish();
    bytes
}

/// The properties that a Java client gives a message, with a tag when there is one.
pub(crate) fn properties(tag: Option<&str>) -> Vec<u8> {
    let mut text = Vec::new();
    props::append(&mut text, props::UNIQ_KEY, b"7F00000100002A139A55000000000001");
    props::append(&mut text, props::WAIT, b"true");
    if let Some(tag) = tag {
        props::append(&mut text, props::TAGS, tag.as_bytes());
    }
    text
}

fn send_header<'a>(topic: &'a str, queue_id: i32, properties: &'a [u8]) -> SendRequest<'a> {
    SendRequest {
        producer_group: Some(Text::plain(b"P_frames")),
        topic: Text::plain(topic.as_bytes()),
        default_topic: Some(Text::plain(b"TBW102")),
        default_topic_queue_nums: Some(4),
        queue_id,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_001,
        flag: 0,
        properties: Some(Text::plain(properties)),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        max_reconsume_times: None,
        batch: Some(false),
        broker_name: Some(Text::plain(b"broker-a")),
    }
}

/// SEND_MESSAGE_V2 with a body of so many bytes.
pub(crate) fn send(
    serialize: SerializeType,
    (topic, queue_id): (&str, i32),
    opaque: i32,
    body_bytes: usize,
) -> Vec<u8> {
    let properties = properties(None);
    let header = send_header(topic, queue_id, &properties);
    let body = vec![b'x'; body_bytes];
    frame(serialize, request::SEND_MESSAGE_V2, opaque, |w| header.encode_v2(w), &body)
}

/// The body of a batch of `count` messages.
pub(crate) fn batch_body(count: usize, body_bytes: usize) -> Vec<u8> {
    let (mut body, properties) = (Vec::new(), properties(Some("TagA")));
    let text = vec![b'x'; body_bytes];
    for _ in 0..count {
        encode_item(&mut body, &BatchItem { flag: 0, body: &text, properties: &properties });
    }
    body
}

/// SEND_BATCH_MESSAGE with `count` messages.
pub(crate) fn batch(
    serialize: SerializeType,
    (topic, queue_id): (&str, i32),
    opaque: i32,
    (count, body_bytes): (usize, usize),
) -> Vec<u8> {
    let properties = properties(None);
    let header = SendRequest { batch: Some(true), ..send_header(topic, queue_id, &properties) };
    let body = batch_body(count, body_bytes);
    frame(serialize, request::SEND_BATCH_MESSAGE, opaque, |w| header.encode_v2(w), &body)
}

/// PULL_MESSAGE of everything from `offset` on, 32 messages at most, held for `wait_ms`.
pub(crate) fn pull(
    serialize: SerializeType,
    (topic, queue_id): (&str, i32),
    opaque: i32,
    offset: i64,
    wait_ms: i64,
) -> Vec<u8> {
    let suspend = if wait_ms > 0 { sys_flag::PULL_SUSPEND } else { 0 };
    let header = PullMessageRequestHeader {
        consumer_group: Text::plain(GROUP.as_bytes()),
        topic: Text::plain(topic.as_bytes()),
        queue_id,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: sys_flag::PULL_SUBSCRIPTION | suspend,
        commit_offset: 0,
        suspend_timeout_millis: wait_ms,
        subscription: Some(Text::plain(b"*")),
        sub_version: 1,
        expression_type: Some(Text::plain(b"TAG")),
        max_msg_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
        broker_name: Some(Text::plain(b"broker-a")),
    };
    frame(serialize, request::PULL_MESSAGE, opaque, |w| header.encode(w), &[])
}

/// UPDATE_CONSUMER_OFFSET.
pub(crate) fn commit(
    serialize: SerializeType,
    (topic, queue_id): (&str, i32),
    opaque: i32,
    offset: i64,
) -> Vec<u8> {
    let header = UpdateConsumerOffsetRequestHeader {
        consumer_group: Text::plain(GROUP.as_bytes()),
        topic: Text::plain(topic.as_bytes()),
        queue_id,
        commit_offset: offset,
    };
    frame(serialize, request::UPDATE_CONSUMER_OFFSET, opaque, |w| header.encode(w), &[])
}
