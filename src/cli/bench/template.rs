//! A send request that is encoded once; each message copies it and patches what differs.
//!
//! All patched places have a fixed width: the opaque has ten digits (or four bytes), the born time 13 digits, the
//! unique key 32 hex digits. The opaque names the slot of the request on its connection.

use std::rc::Rc;
use wire::codes::{MQ_VERSION_5_5_0, request};
use wire::req::send::SendRequest;
use wire::{FrameHead, FrameWriter, SerializeType, Text, props, sys_flag};

/// The opaque of slot 0. With slots below 2^16 all opaques have ten digits.
pub(super) const OPAQUE_FIRST: i32 = 1_000_000_000;
/// Where a binary header has its opaque: two words, code, language, version before it.
const BINARY_OPAQUE_AT: usize = 8 + 2 + 1 + 2;
/// Stands for the born time while the places are searched.
const BORN_MARK: i64 = 1_111_222_233_334;
/// Stands for the unique key.
const UNIQUE_MARK: &[u8; 32] = b"0123456789ABCDEF0123456789ABCDEF";
/// Stands for the time of delivery.
const DUE_MARK: &[u8; 13] = b"2222333344445";
/// Tags of messages to filter; one of them for each class.
const TAG_MARK: &[u8; 5] = b"tag-#";
/// As above, a property of text.
const REGION_MARK: &[u8; 8] = b"region-#";
/// As above, a property that is a number: 1, the class, and two digits that change more slowly.
const PRICE_MARK: &[u8; 4] = b"1#%%";
/// Messages to filter belong to so many classes, in turn within each queue.
const CLASSES: u64 = 10;
/// Group that the messages are sent by.
pub(super) const PRODUCER_GROUP: &[u8] = b"BenchProducer";
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
    /// What the broker is to do with them.
    pub(super) kind: Kind,
}

/// What a broker is to do with the messages of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Store them.
    Plain,
    /// Deliver them after the delay of this level.
    Level(u32),
    /// Deliver them so many milliseconds after they were born, to the millisecond.
    Timed(i64),
    /// Keep them until their transaction ends.
    Half,
    /// Store them; they have properties by which they can be filtered, the same for so many in a row, one for each queue.
    Filterable(u64),
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
    patch: Patch,
}

/// Further places to patch.
#[derive(Clone, Copy, Debug)]
enum Patch {
    None,
    /// The time of delivery, so long after the born time.
    Due {
        at: usize,
        delay_ms: i64,
    },
    /// The properties to filter by.
    Class {
        tag_at: usize,
        region_at: usize,
        price_at: usize,
        queues: u64,
    },
}

impl Patch {
    fn find(bytes: &[u8], kind: Kind) -> Patch {
        match kind {
            Kind::Plain | Kind::Level(_) | Kind::Half => Patch::None,
            Kind::Timed(delay_ms) => Patch::Due { at: find(bytes, DUE_MARK), delay_ms },
            Kind::Filterable(queues) => Patch::Class {
                tag_at: find(bytes, TAG_MARK) + TAG_MARK.len() - 1,
                region_at: find(bytes, REGION_MARK) + REGION_MARK.len() - 1,
                price_at: find(bytes, PRICE_MARK) + 1,
                queues,
            },
        }
    }

    fn apply(self, frame: &mut [u8], born_ms: i64, counter: u64) {
        match self {
            Patch::None => {}
            Patch::Due { at, delay_ms } => put_digits(&mut frame[at..at + 13], born_ms + delay_ms),
            Patch::Class { tag_at, region_at, price_at, queues } => {
                let in_queue = counter / queues;
                let digit = |number: u64| i64::try_from(number).expect("below a hundred");
                let class = digit(in_queue % CLASSES);
                for at in [tag_at, region_at, price_at] {
                    put_digits(&mut frame[at..=at], class);
                }
                let rest = digit(in_queue / CLASSES % 100);
                put_digits(&mut frame[price_at + 1..price_at + 3], rest);
            }
        }
    }
}

/// The properties of a message, with marks where they are patched.
fn properties(kind: Kind) -> Vec<u8> {
    let mut texts = Vec::new();
    props::append(&mut texts, props::UNIQ_KEY, UNIQUE_MARK);
    props::append(&mut texts, props::WAIT, b"true");
    match kind {
        Kind::Plain => {}
        Kind::Level(level) => props::append_i64(&mut texts, props::DELAY, i64::from(level)),
        Kind::Timed(_) => props::append(&mut texts, props::TIMER_DELIVER_MS, DUE_MARK),
        Kind::Half => {
            props::append(&mut texts, props::TRANSACTION_PREPARED, b"true");
            props::append(&mut texts, props::PRODUCER_GROUP, PRODUCER_GROUP);
        }
        Kind::Filterable(_) => {
            props::append(&mut texts, props::TAGS, TAG_MARK);
            props::append(&mut texts, "price", PRICE_MARK);
            props::append(&mut texts, "region", REGION_MARK);
            props::append(&mut texts, "kind", b"order-created");
        }
    }
    texts
}

/// The body of all messages of a run.
pub(super) fn body(bytes: usize) -> Rc<[u8]> {
    vec![BODY_BYTE; bytes].into()
}

impl Template {
    /// The request for one queue; `body` is what `body` made for the shape's size.
    pub(super) fn new(shape: &Shape<'_>, queue_id: i32, shared: &Rc<[u8]>) -> Template {
        let properties = properties(shape.kind);
        let header = SendRequest {
            producer_group: Some(Text::plain(PRODUCER_GROUP)),
            topic: Text::plain(shape.topic.as_bytes()),
            default_topic: Some(Text::plain(b"TBW102")),
            default_topic_queue_nums: Some(4),
            queue_id,
            sys_flag: if shape.kind == Kind::Half { sys_flag::TRANSACTION_PREPARED } else { 0 },
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
        let patch = Patch::find(&bytes, shape.kind);
        let (head, body, serialize) = (bytes, Rc::clone(shared), shape.serialize);
        Template { head, body, serialize, opaque_at, born_at, counter_at, patch }
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
        self.patch.apply(frame, born_ms, counter);
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
        let shape = Shape { serialize, topic: "T-100000000", run_id: 0xABC, kind: Kind::Plain };
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

    /// `sysFlag` and properties of the message with this number, born at 1,700,000,000,001.
    fn sent(kind: Kind, counter: u64) -> (i32, String) {
        let serialize = SerializeType::Json;
        let shape = Shape { serialize, topic: "T", run_id: 1, kind };
        let mut out = Vec::new();
        Template::new(&shape, 0, &body(4)).append(&mut out, 0, 1_700_000_000_001, counter);
        let (frame, _) = wire::frame::split(&out).unwrap().unwrap();
        let header = Header::decode(&frame).unwrap();
        let send = SendRequest::decode(header.code, &header.fields).unwrap();
        (send.sys_flag, send.properties.unwrap().to_cow().into_owned())
    }

    fn property(kind: Kind, counter: u64, key: &str) -> String {
        let (_, properties) = sent(kind, counter);
        let value = Props::new(properties.as_bytes()).get(key).unwrap_or_default();
        String::from_utf8(value.to_vec()).unwrap()
    }

    #[test]
    fn each_kind_has_the_properties_that_brokers_look_for() {
        assert_eq!(property(Kind::Level(3), 0, "DELAY"), "3");
        assert_eq!(property(Kind::Timed(999), 0, "TIMER_DELIVER_MS"), "1700000001000");
        assert_eq!(property(Kind::Half, 0, "TRAN_MSG"), "true");
        assert_eq!(property(Kind::Half, 0, "PGROUP"), "BenchProducer");
        let flags = [Kind::Plain, Kind::Half].map(|kind| sent(kind, 0).0);
        assert_eq!(flags, [0, sys_flag::TRANSACTION_PREPARED]);
    }

    #[test]
    fn one_of_ten_messages_of_each_queue_has_a_class() {
        let kind = Kind::Filterable(8);
        let classes: Vec<String> =
            [0, 7, 8, 79, 80, 81].map(|counter| property(kind, counter, "TAGS")).into();
        assert_eq!(classes, ["tag-0", "tag-0", "tag-1", "tag-9", "tag-0", "tag-0"]);
        assert_eq!(property(kind, 8 * 4321, "price"), "1132");
        assert_eq!(property(kind, 8 * 4321, "region"), "region-1");
        assert_eq!(property(kind, 8 * 4321, "kind"), "order-created");
    }
}
