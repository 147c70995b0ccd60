//! A send request that is encoded once; each message copies it and patches what differs.
//!
//! All patched places have a fixed width: the opaque has ten digits (or four bytes), the born time 13 digits, the
//! unique key 32 hex digits. The opaque names the slot of the request on its connection.

use std::rc::Rc;
use wire::codes::{MQ_VERSION_5_5_0, request};
use wire::req::send::SendRequest;
use wire::{FrameHead, FrameWriter, SerializeType, Text, props};

/// The opaque of slot 0. With slots below 2^16 all opaques have ten digits.
pub(super) const OPAQUE_FIRST: i32 = 1_000_000_000;
/// Where a binary header has its opaque: two words, code, language, version before it.
const BINARY_OPAQUE_AT: usize = 8 + 2 + 1 + 2;
/// Stands for the born time while the places are searched.
const BORN_MARK: i64 = 1_111_222_233_334;
/// Stands for the unique key.
const UNIQUE_MARK: &[u8; 32] = b"0123456789ABCDEF0123456789ABCDEF";
/// Hex digits of the counter at the end of the unique key.
const COUNTER_DIGITS: usize = 16;
/// What bodies consist of.
const BODY_BYTE: u8 = b'x';

/// What the messages of a run have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape<'a> {
    /// Encoding of the header.
    pub(super) serialize: SerializeType,
    /// Topic.
    pub(super) topic: &'a str,
    /// Tells this run from others; in unique keys and stamps.
    pub(super) run_id: u64,
}

/// One encoded request and the places to patch. Templates of one run share the body: with tens of thousands of
/// queues the load generator would otherwise measure its own cache.
#[derive(Clone, Debug)]
pub(super) struct Template {
    head: Vec<u8>,
    body: Rc<[u8]>,
    serialize: SerializeType,
    opaque_at: usize,
    born_at: usize,
    counter_at: usize,
}

/// The body of all messages of a run.
pub(super) fn body(bytes: usize) -> Rc<[u8]> {
    vec![BODY_BYTE; bytes].into()
}

impl Template {
    /// The request for one queue; `body` is what `body` made for the shape's size.
    pub(super) fn new(shape: &Shape<'_>, queue_id: i32, shared: &Rc<[u8]>) -> Template {
        let mut properties = Vec::new();
        props::append(&mut properties, props::UNIQ_KEY, UNIQUE_MARK);
        props::append(&mut properties, props::WAIT, b"true");
        let header = SendRequest {
            producer_group: Some(Text::plain(b"BenchProducer")),
            topic: Text::plain(shape.topic.as_bytes()),
            default_topic: Some(Text::plain(b"TBW102")),
            default_topic_queue_nums: Some(4),
            queue_id,
            sys_flag: 0,
            born_timestamp: BORN_MARK,
            flag: 0,
            properties: Some(Text::plain(&properties)),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(false),
            broker_name: None,
        };
        let head = FrameHead {
            serialize: shape.serialize,
            code: request::SEND_MESSAGE_V2,
            opaque: OPAQUE_FIRST,
            flag: 0,
            version: MQ_VERSION_5_5_0,
        };
        let mut bytes = Vec::new();
        let mut writer = FrameWriter::begin(&mut bytes, head);
        header.encode_v2(&mut writer);
        let mut body = writer.body();
        let body_at = body.bytes().len();
        body.bytes().extend_from_slice(shared);
        body.finish();
        bytes.truncate(body_at);
        let opaque_at = match shape.serialize {
            SerializeType::Json => find(&bytes, OPAQUE_FIRST.to_string().as_bytes()),
            SerializeType::Rocketmq => BINARY_OPAQUE_AT,
        };
        let born_at = find(&bytes, BORN_MARK.to_string().as_bytes());
        let unique_at = find(&bytes, UNIQUE_MARK);
        let counter_at = unique_at + UNIQUE_MARK.len() - COUNTER_DIGITS;
        put_hex(&mut bytes[unique_at..counter_at], shape.run_id);
        let (head, body, serialize) = (bytes, Rc::clone(shared), shape.serialize);
        Template { head, body, serialize, opaque_at, born_at, counter_at }
    }

    /// Bytes of each request.
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Appends a request. `counter` makes its unique key, `born_ms` is in milliseconds since 1970.
    pub(super) fn append(&self, out: &mut Vec<u8>, slot: u32, born_ms: i64, counter: u64) {
        let start = out.len();
        out.extend_from_slice(&self.head);
        let frame = &mut out[start..];
        let opaque = OPAQUE_FIRST + i32::try_from(slot).expect("slots are few");
        match self.serialize {
            SerializeType::Json => {
                put_digits(&mut frame[self.opaque_at..self.opaque_at + 10], i64::from(opaque));
            }
            SerializeType::Rocketmq => {
                frame[self.opaque_at..self.opaque_at + 4].copy_from_slice(&opaque.to_be_bytes());
            }
        }
        put_digits(&mut frame[self.born_at..self.born_at + 13], born_ms);
        put_hex(&mut frame[self.counter_at..self.counter_at + COUNTER_DIGITS], counter);
        out.extend_from_slice(&self.body);
    }

    /// Writes a stamp at the start of the body of the request that was appended last.
    pub(super) fn stamp(&self, out: &mut [u8], stamp: &[u8]) {
        let body_at = out.len() - self.body.len();
        out[body_at..body_at + stamp.len()].copy_from_slice(stamp);
    }
}

/// The only place of `mark`.
fn find(bytes: &[u8], mark: &[u8]) -> usize {
    let mut places = bytes.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark);
    let (at, _) = places.next().expect("the mark was just written");
    assert!(places.next().is_none(), "the mark is in no other part of the request");
    at
}

/// Fills `out` with the last decimal digits of a number that is not negative.
fn put_digits(out: &mut [u8], mut value: i64) {
    for digit in out.iter_mut().rev() {
        let units = u8::try_from(value % 10).expect("not negative");
        *digit = b'0' + units;
        value /= 10;
    }
}

/// Fills `out` with the last hex digits of a number.
fn put_hex(out: &mut [u8], value: u64) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let bytes = value.to_be_bytes();
    for (pair, byte) in out.chunks_exact_mut(2).rev().zip(bytes.iter().rev()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{Header, Props};

    fn check(serialize: SerializeType) {
        // The topic looks like the marks, which only one place may.
        let shape = Shape { serialize, topic: "T-100000000", run_id: 0xABC };
        let template = Template::new(&shape, 5, &body(40));
        let mut out = b"before".to_vec();
        template.append(&mut out, 0, 1_700_000_000_001, 1);
        template.append(&mut out, 65_535, 1_700_000_000_999, 0xFEDC_BA98_7654_3210);
        template.stamp(&mut out, b"STAMP");
        let mut rest = &out[6..];
        for (opaque, born, counter) in [
            (OPAQUE_FIRST, 1_700_000_000_001, "0000000000000001"),
            (OPAQUE_FIRST + 65_535, 1_700_000_000_999, "FEDCBA9876543210"),
        ] {
            let (frame, used) = wire::frame::split(rest).unwrap().unwrap();
            assert_eq!(used, template.len());
            let header = Header::decode(&frame).unwrap();
            assert_eq!((header.code, header.opaque), (request::SEND_MESSAGE_V2, opaque));
            let send = SendRequest::decode(header.code, &header.fields).unwrap();
            assert_eq!((send.queue_id, send.born_timestamp), (5, born));
            let properties = send.properties.unwrap().to_cow().into_owned();
            let unique = Props::new(properties.as_bytes()).get("UNIQ_KEY").unwrap();
            assert_eq!(unique, format!("0000000000000ABC{counter}").as_bytes());
            assert_eq!(frame.body.len(), 40);
            assert_eq!(frame.body.starts_with(b"STAMPxxx"), opaque != OPAQUE_FIRST);
            rest = &rest[used..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn every_patch_lands_in_its_field() {
        check(SerializeType::Json);
        check(SerializeType::Rocketmq);
    }
}
