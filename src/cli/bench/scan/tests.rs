//! The scanner on whole, split, joined and broken streams.

use super::*;
use wire::{
    FrameHead, FrameWriter, NewMessage, PhyOffset, Place, QueueId, QueueOffset, patch_code,
};

/// Writes down what it is told.
#[derive(Default, PartialEq, Eq, Debug)]
struct Notes(Vec<String>);

impl Sink for Notes {
    fn answer(&mut self, answer: &Answer<'_>) -> bool {
        self.0.push(format!("{} {} {}", answer.opaque, answer.code, answer.remark()));
        answer.code == 0
    }

    fn record(&mut self, bytes: usize, start: &[u8]) {
        // The body length, as a reader of stamps finds it.
        let word = start[80..84].first_chunk::<4>().unwrap();
        self.0.push(format!("record {bytes} body {}", u32::from_be_bytes(*word)));
    }

    fn end(&mut self) {
        self.0.push("end".to_owned());
    }
}

fn answer(out: &mut Vec<u8>, serialize: SerializeType, opaque: i32, body: &[u8]) -> usize {
    let head = FrameHead { serialize, code: 0, opaque, flag: FLAG_RESPONSE, version: 479 };
    let mut writer = FrameWriter::begin(out, head);
    let start = writer.start();
    writer.field_i32("queueId", 3);
    let mut tail = writer.body();
    tail.bytes().extend_from_slice(body);
    tail.finish();
    start
}

fn record(body_bytes: usize) -> Vec<u8> {
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
        body: &vec![7; body_bytes],
        topic: b"T",
        properties: b"",
    };
    let mut bytes = vec![0; message.encoded_len()];
    let place = Place {
        queue_offset: QueueOffset(0),
        phy_offset: PhyOffset(0),
        store_timestamp: base::time::WallMs(0),
    };
    message.encode(&mut bytes, place);
    bytes
}

/// A send's answer, a refusal with a remark, a request of the server with a body, and a pull's answer.
fn stream(serialize: SerializeType) -> (Vec<u8>, Notes) {
    let mut out = Vec::new();
    answer(&mut out, serialize, 1_000_000_007, b"");
    let head = FrameHead { serialize, code: 14, opaque: 8, flag: FLAG_RESPONSE, version: 479 };
    let mut writer = FrameWriter::begin(&mut out, head);
    writer.remark("no, \"flag\":1,\"language\":\"JAVA\",\"opaque\":5, no");
    let mut body = writer.body();
    body.bytes().extend_from_slice(b"not a record");
    body.finish();
    let head = FrameHead { serialize, code: 40, opaque: 9, flag: 2, version: 479 };
    let mut body = FrameWriter::begin(&mut out, head).body();
    body.bytes().extend_from_slice(b"of the server");
    body.finish();
    let records = [record(1), record(1000), record(36)].concat();
    answer(&mut out, serialize, 10, &records);
    answer(&mut out, serialize, 11, b"");
    let notes = [
        "1000000007 0 ",
        "end",
        "8 14 no, \"flag\":1,\"language\":\"JAVA\",\"opaque\":5, no",
        "end",
        "10 0 ",
        "record 93 body 1",
        "record 1092 body 1000",
        "record 128 body 36",
        "end",
        "11 0 ",
        "end",
    ];
    (out, Notes(notes.map(str::to_owned).to_vec()))
}

#[test]
fn pieces_of_any_size_give_the_same_answers() {
    for serialize in [SerializeType::Json, SerializeType::Rocketmq] {
        let (bytes, expected) = stream(serialize);
        for piece in (1..200).chain([bytes.len()]) {
            let (mut scanner, mut notes) = (Scanner::new(), Notes::default());
            for part in bytes.chunks(piece) {
                scanner.feed(part, &mut notes).unwrap();
            }
            assert_eq!(notes, expected, "pieces of {piece}");
        }
    }
}

#[test]
fn a_usual_answer_is_read_without_decoding() {
    let mut out = Vec::new();
    let start = answer(&mut out, SerializeType::Json, 1_000_000_007, b"");
    let (frame, _) = wire::frame::split(&out).unwrap().unwrap();
    assert_eq!(quick_json(frame.header), Some((0, 1_000_000_007)));
    patch_code(&mut out, start, 12);
    let (frame, _) = wire::frame::split(&out).unwrap().unwrap();
    assert_eq!(quick_json(frame.header), None);
    assert_eq!(quick_json(br#"{"code":0,"flag":1,"language":"JAVA","opaque":99999999999}"#), None);
    assert_eq!(quick_json(br#"{"code":0,"flag":1,"language":"GO","opaque":5}"#), None);
}

#[test]
fn garbage_is_an_error_not_a_panic() {
    let header_too_long = [0, 0, 0, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    let mut body_lies = Vec::new();
    answer(&mut body_lies, SerializeType::Json, 1, &[0xFF; 100]);
    let mut record_too_long = Vec::new();
    answer(&mut record_too_long, SerializeType::Json, 1, &record(5)[..90]);
    for (bytes, what) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "frame length"),
        (&[0, 0, 0, 3, 0, 0, 0, 0], "frame length 3"),
        (&[0, 0, 0, 9, 7, 0, 0, 0], "serialize type 7"),
        (&header_too_long, "256 bytes of header in a frame of 14"),
        (&[0, 0, 0, 7, 0, 0, 0, 3, b'{', b'x', b'}'], "header"),
        (&body_lies, "4294967295 bytes"),
        (&record_too_long, "bytes of body are left"),
    ] {
        let error = Scanner::new().feed(bytes, &mut Notes::default()).unwrap_err();
        assert!(error.contains(what), "{error}");
    }
}
