//! Frames as the Java broker writes them, byte for byte.

use super::*;
use crate::frame::split;
use crate::header::Header;
use crate::ids::PhyOffset;

fn head(serialize: SerializeType) -> FrameHead {
    FrameHead { serialize, code: 0, opaque: 24, flag: 1, version: 513 }
}

fn id(phy: u64) -> MessageId {
    MessageId { host: "127.0.0.1:20911".parse().unwrap(), phy: PhyOffset(phy) }
}

#[test]
fn a_send_answer_equals_javas_bytes() {
    let mut out = b"before".to_vec();
    let mut writer = FrameWriter::begin(&mut out, head(SerializeType::Json));
    writer.field_i32("queueId", 0);
    writer.field_str("transactionId", b"7F000001109C4E0E2F2A686E0584000C");
    writer.field_msg_ids("msgId", [id(0x7AB), id(0x865)].into_iter());
    writer.field_bool("TRACE_ON", true);
    writer.field_i64("queueOffset", 2);
    assert_eq!(writer.start(), 6);
    writer.finish();
    let (frame, used) = split(&out[6..]).unwrap().unwrap();
    assert_eq!(used, out.len() - 6);
    assert_eq!(
        std::str::from_utf8(frame.header).unwrap(),
        r#"{"code":0,"extFields":{"queueId":"0","transactionId":"7F000001109C4E0E2F2A686E0584000C","msgId":"7F000001000051AF00000000000007AB,7F000001000051AF0000000000000865","TRACE_ON":"true","queueOffset":"2"},"flag":1,"language":"JAVA","opaque":24,"serializeTypeCurrentRPC":"JSON","version":513}"#
    );
}

#[test]
fn a_remark_may_come_before_between_or_after_the_fields() {
    for serialize in [SerializeType::Json, SerializeType::Rocketmq] {
        let mut frames = Vec::new();
        for when in 0..3 {
            let mut out = Vec::new();
            let mut writer = FrameWriter::begin(&mut out, head(serialize));
            for step in 0..3 {
                if step == when {
                    writer.remark("No \"way\"\nout");
                }
                if step < 2 {
                    writer.field_i32(["a", "b"][step], 1);
                }
            }
            let mut body = writer.body();
            body.bytes().extend_from_slice(b"the body");
            body.finish();
            frames.push(out);
        }
        assert_eq!(frames[0], frames[1]);
        assert_eq!(frames[0], frames[2]);
        let (frame, _) = split(&frames[0]).unwrap().unwrap();
        assert_eq!(frame.body, b"the body");
        let header = Header::decode(&frame).unwrap();
        assert_eq!(header.remark.unwrap().to_string(), "No \"way\"\nout");
        assert_eq!(header.fields.iter().count(), 2);
        assert_eq!((header.opaque, header.version, header.flag), (24, 513, 1));
    }
}

#[test]
fn empty_fields_are_written_only_when_asked_for() {
    let mut out = Vec::new();
    FrameWriter::begin(&mut out, head(SerializeType::Json)).finish();
    assert!(!out.windows(9).any(|part| part == b"extFields"));
    out.clear();
    let mut writer = FrameWriter::begin(&mut out, head(SerializeType::Json));
    writer.fields();
    writer.remark("");
    writer.finish();
    assert_eq!(
        std::str::from_utf8(&out[8..]).unwrap(),
        r#"{"code":0,"extFields":{},"flag":1,"language":"JAVA","opaque":24,"remark":"","serializeTypeCurrentRPC":"JSON","version":513}"#
    );
}

#[test]
fn the_code_of_a_finished_frame_can_be_replaced() {
    for serialize in [SerializeType::Json, SerializeType::Rocketmq] {
        let mut out = b"x".to_vec();
        let mut writer = FrameWriter::begin(&mut out, head(serialize));
        writer.field_i32("queueId", 3);
        let mut body = writer.body();
        body.bytes().extend_from_slice(b"body");
        body.finish();
        let before = out.len();
        for code in [10, 0, -1000, 12] {
            let length = out.len();
            let grown = patch_code(&mut out, 1, code);
            assert_eq!(out.len().cast_signed(), length.cast_signed() + grown);
            let (frame, used) = split(&out[1..]).unwrap().unwrap();
            assert_eq!((used, frame.body), (out.len() - 1, &b"body"[..]));
            let header = Header::decode(&frame).unwrap();
            assert_eq!(header.code, code);
            assert_eq!(header.fields.get("queueId").unwrap().parse_i32(), Ok(3));
        }
        patch_code(&mut out, 1, 0);
        assert_eq!(out.len(), before);
    }
}

#[test]
fn a_finished_answer_can_turn_into_a_refusal_with_a_remark() {
    let mut out = b"x".to_vec();
    let mut writer = FrameWriter::begin(&mut out, head(SerializeType::Json));
    writer.field_str("region", b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    writer.finish();
    patch_refusal(&mut out, 1, 10, "waited \"5\" ms");
    let (frame, used) = split(&out[1..]).unwrap().unwrap();
    assert_eq!((used, frame.body), (out.len() - 1, &b""[..]));
    let header = Header::decode(&frame).unwrap();
    assert_eq!((header.code, header.version), (10, 513));
    assert_eq!(header.remark.unwrap().to_cow(), "waited \"5\" ms");
}
