//! Typed headers: both encodings there and back, defaults, and errors that name the field.

use super::client::{
    BoundaryType, DeleteSubscriptionGroupRequestHeader, GetMaxOffsetRequestHeader,
    PullMessageRequestHeader, PullMessageResponseHeader, SearchOffsetRequestHeader,
};
use super::namesrv::RegisterBrokerRequestHeader;
use super::send::{SendReply, SendRequest};
use super::*;
use crate::frame::{SerializeType, split};
use crate::header::{Fields, Header};
use crate::reply::{FrameHead, FrameWriter};

/// A frame with what `write` puts into it.
fn frame(serialize: SerializeType, write: impl FnOnce(&mut FrameWriter<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let head = FrameHead { serialize, code: 0, opaque: 1, flag: 1, version: 513 };
    let mut writer = FrameWriter::begin(&mut out, head);
    write(&mut writer);
    writer.finish();
    out
}

/// Runs `check` on the fields of a JSON header with this `extFields` text.
fn with_fields<T>(ext_fields: &str, check: impl FnOnce(&Fields<'_>) -> T) -> T {
    let header = format!("{{\"extFields\":{ext_fields}}}");
    let mut bytes = u32::try_from(header.len() + 4).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(&u32::try_from(header.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(header.as_bytes());
    let (frame, _) = split(&bytes).unwrap().unwrap();
    check(&Header::decode(&frame).unwrap().fields)
}

#[test]
fn send_requests_come_back_in_both_forms_and_encodings() {
    let request = SendRequest {
        producer_group: Some(Text::plain(b"PG")),
        topic: Text::plain("主题".as_bytes()),
        default_topic: None,
        default_topic_queue_nums: Some(4),
        queue_id: -1,
        sys_flag: 0x301,
        born_timestamp: 1_795_243_237_903,
        flag: i32::MIN,
        properties: Some(Text::plain(b"KEYS\x01\"k\"\x02")),
        reconsume_times: Some(0),
        unit_mode: None,
        max_reconsume_times: None,
        batch: Some(true),
        broker_name: None,
    };
    for serialize in [SerializeType::Json, SerializeType::Rocketmq] {
        for code in [10, 310] {
            let bytes = frame(serialize, |writer| match code {
                10 => request.encode_v1(writer),
                _ => request.encode_v2(writer),
            });
            let (frame, _) = split(&bytes).unwrap().unwrap();
            let header = Header::decode(&frame).unwrap();
            let read = SendRequest::decode(code, &header.fields).unwrap();
            assert_eq!(format!("{read:?}"), format!("{request:?}"));
        }
    }
}

#[test]
fn a_pull_request_needs_only_what_java_needs() {
    let least = r#"{"consumerGroup":"G","topic":"T","queueId":"3","queueOffset":7,"maxMsgNums":"32","sysFlag":"2"}"#;
    with_fields(least, |fields| {
        let header = PullMessageRequestHeader::decode(fields).unwrap();
        assert_eq!((header.queue_id, header.queue_offset, header.sub_version), (3, 7, 0));
        assert!(header.consumer_group.eq_str("G") && header.subscription.is_none());
    });
}

#[test]
fn a_missing_or_bad_field_is_named() {
    let error = with_fields(r#"{"topic":"T","queueId":"abc"}"#, |fields| {
        PullMessageRequestHeader::decode(fields).unwrap_err()
    });
    assert_eq!(
        error.to_string(),
        "the field queueId of PullMessageRequestHeader is not an int: \"abc\""
    );
    let error = with_fields(r#"{"queueId":"1","topic":null}"#, |fields| {
        PullMessageRequestHeader::decode(fields).unwrap_err()
    });
    assert_eq!(error.to_string(), "the custom field <consumerGroup> is null");
    let long = format!("{{\"e\":\"{}\"}}", "9".repeat(500));
    let error = with_fields(&long, |fields| SendRequest::decode(310, fields).unwrap_err());
    assert_eq!(error.header, "SendMessageRequestHeaderV2");
    assert!(error.to_string().len() < 200);
}

#[test]
fn defaults_and_odd_types() {
    with_fields(r#"{"topic":"T","queueId":0,"timestamp":"-1","boundaryType":"upper"}"#, |fields| {
        let search = SearchOffsetRequestHeader::decode(fields).unwrap();
        assert_eq!(search.boundary_type, Some(BoundaryType::Upper));
        assert!(GetMaxOffsetRequestHeader::decode(fields).unwrap().committed);
    });
    for name in ["cleanOffset", "removeOffset"] {
        with_fields(&format!("{{\"groupName\":\"G\",\"{name}\":true}}"), |fields| {
            assert!(DeleteSubscriptionGroupRequestHeader::decode(fields).unwrap().drops_offsets());
        });
    }
    let register = r#"{"brokerName":"b","brokerAddr":"a","clusterName":"c","haServerAddr":"h","brokerId":"0"}"#;
    with_fields(register, |fields| {
        let header = RegisterBrokerRequestHeader::decode(fields).unwrap();
        assert_eq!((header.compressed, header.body_crc32), (false, 0));
        assert_eq!(header.heartbeat_timeout_millis, None);
    });
}

#[test]
fn answers_equal_javas_bytes() {
    let bytes = frame(SerializeType::Json, |writer| {
        let reply = SendReply {
            queue_id: 2,
            queue_offset: 5,
            transaction_id: Some(b"7F00"),
            trace_on: true,
            region: b"DefaultRegion",
            recall_handle: None,
        };
        let id = "7F000001000051AF00000000000007AB".parse().unwrap();
        reply.encode(writer, std::iter::once(id));
    });
    let text = String::from_utf8(bytes[8..].to_vec()).unwrap();
    assert!(
        text.starts_with(r#"{"code":0,"extFields":{"queueId":"2","transactionId":"7F00","msgId":"7F000001000051AF00000000000007AB","TRACE_ON":"true","MSG_REGION":"DefaultRegion","queueOffset":"5"},"#),
        "{text}"
    );
    let bytes = frame(SerializeType::Json, |writer| {
        let reply = PullMessageResponseHeader {
            suggest_which_broker_id: 0,
            group_sys_flag: Some(0),
            next_begin_offset: 3,
            max_offset: 3,
            min_offset: 0,
            topic_sys_flag: Some(0),
            forbidden_type: None,
            offset_delta: None,
        };
        reply.encode(writer);
    });
    let text = String::from_utf8(bytes[8..].to_vec()).unwrap();
    assert!(
        text.starts_with(r#"{"code":0,"extFields":{"suggestWhichBrokerId":"0","groupSysFlag":"0","nextBeginOffset":"3","maxOffset":"3","minOffset":"0","topicSysFlag":"0"},"#),
        "{text}"
    );
}
