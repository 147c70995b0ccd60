//! Everything against recordings of Java 4.9.7 and 5.5.0 in `tests/golden/wire`: frames split and decode to what the
//! recorder saw, and what we write back equals the recorded bytes.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::batch::{BatchItems, encode_item};
use crate::body::broker::{
    ConsumerOffsetWrapper, DelayOffsetWrapper, SubscriptionGroupConfig, SubscriptionGroupWrapper,
    TopicStatsTable,
};
use crate::body::client::{
    CheckClientConfig, ConsumerIdList, HeartbeatData, LockBatchRequest, LockBatchResponse,
};
use crate::body::register::{RegisterBrokerBody, TopicConfigSerializeWrapper};
use crate::body::route::{ClusterInfo, TopicRouteData};
use crate::body::{DataVersion, KvTable, TopicList};
use crate::codes::{MQ_VERSION_4_9_4, MQ_VERSION_5_5_0};
use crate::frame::{Frame, SerializeType, split};
use crate::header::{Fields, Header};
use crate::ids::PhyOffset;
use crate::json;
use crate::message::{MessageView, Probe, body_crc, probe};
use crate::reply::{FrameHead, FrameWriter};
use crate::req::client::{PullMessageResponseHeader, QueryMessageResponseHeader};
use crate::req::namesrv::RegisterBrokerRequestHeader;
use crate::req::send::{SendMessageResponseHeader, SendReply, SendRequest};
use crate::req::{FieldError, client, namesrv};

/// A recorded frame and what the recorder said about it.
struct Recorded {
    file: String,
    note: Value,
    bytes: Vec<u8>,
    /// Version of the broker in the recording.
    is_5x: bool,
}

impl Recorded {
    fn frame(&self) -> Frame<'_> {
        let (frame, used) = split(&self.bytes).unwrap().unwrap();
        assert_eq!(used, self.bytes.len(), "{}", self.place());
        frame
    }

    fn place(&self) -> String {
        format!("{} seq {}", self.file, self.note["seq"])
    }

    /// Code of the request this is or answers.
    fn request_code(&self) -> i64 {
        self.note["req_code"].as_i64().or(self.note["code"].as_i64()).unwrap()
    }

    fn is_answer(&self) -> bool {
        self.note["flag"].as_i64().unwrap() & 1 != 0
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/wire")
}

fn files(below: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "gz") {
            out.push(path);
        }
    }
}

fn unzip(path: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_end(&mut out).unwrap();
    out
}

fn base64(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut bits, mut used) = (0_u32, 0);
    for byte in text.bytes().filter(|&byte| byte != b'=') {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => panic!("{byte} is not base64"),
        };
        bits = bits << 6 | u32::from(six);
        used += 6;
        if used >= 8 {
            used -= 8;
            let [.., byte] = (bits >> used).to_be_bytes();
            out.push(byte);
            bits &= (1 << used) - 1;
        }
    }
    out
}

/// Every recorded frame that its recorder could decode; hand-made ones only when asked for.
fn recorded(with_hand_made: bool) -> Vec<Recorded> {
    let mut paths = Vec::new();
    files(&root(), &mut paths);
    let mut frames = Vec::new();
    for path in paths {
        let file = path.strip_prefix(root()).unwrap().display().to_string();
        if !file.contains(".jsonl") || (!with_hand_made && file.contains("raw-frames")) {
            continue;
        }
        for line in String::from_utf8(unzip(&path)).unwrap().lines() {
            let note: Value = serde_json::from_str(line).unwrap();
            if let (Some(text), true) = (note["frame_b64"].as_str(), note["code"].is_i64()) {
                let bytes = base64(text);
                frames.push(Recorded {
                    is_5x: file.contains("-550/"),
                    file: file.clone(),
                    note,
                    bytes,
                });
            }
        }
    }
    assert!(frames.len() > 1000, "{} frames", frames.len());
    frames
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn pairs(fields: Fields<'_>) -> Vec<(String, String)> {
    fields.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

#[test]
fn every_send_of_a_java_client_is_scanned_in_one_pass() {
    let (mut sends, mut scanned) = (0, 0);
    for one in recorded(false) {
        let frame = one.frame();
        let agrees = crate::req::send_scan::tests::agrees(&frame);
        let is_send = matches!(one.note["code"].as_i64(), Some(310 | 320));
        let is_plain = !frame.header.windows(11).any(|text| text == b"\"Signature\"");
        if is_send && frame.serialize == SerializeType::Json && is_plain {
            sends += 1;
            scanned += u32::from(agrees);
        }
    }
    assert!(sends > 50 && scanned == sends, "{scanned} of {sends}");
}

#[test]
fn every_frame_decodes_to_what_the_recorder_saw() {
    for one in recorded(true) {
        let frame = one.frame();
        let header = Header::decode(&frame).unwrap();
        let (note, place) = (&one.note, one.place());
        assert_eq!(Some(i64::from(header.code)), note["code"].as_i64(), "{place}");
        assert_eq!(Some(i64::from(header.opaque)), note["opaque"].as_i64(), "{place}");
        assert_eq!(Some(i64::from(header.flag)), note["flag"].as_i64(), "{place}");
        assert_eq!(
            header.version,
            i32::try_from(note["version"].as_i64().unwrap_or(0)).unwrap(),
            "{place}"
        );
        let remark = header.remark.map(|remark| remark.to_string());
        assert_eq!(remark.as_deref(), note["remark"].as_str(), "{place}");
        let body_bytes = note["body_len"].as_u64().map(|bytes| usize::try_from(bytes).unwrap());
        assert_eq!(body_bytes.unwrap_or(0), frame.body.len(), "{place}");
        let mut seen = pairs(header.fields);
        let members = note["header"].as_object();
        let mut expected: Vec<_> = members
            .into_iter()
            .flatten()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| {
                (key.clone(), value.as_str().map_or(value.to_string(), str::to_owned))
            })
            .collect();
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected, "{place}");
    }
}

#[test]
fn every_java_frame_is_written_back_byte_for_byte() {
    for one in recorded(false) {
        let frame = one.frame();
        let header = Header::decode(&frame).unwrap();
        let mut out = Vec::new();
        let mut writer = FrameWriter::begin(
            &mut out,
            FrameHead {
                serialize: frame.serialize,
                code: header.code,
                opaque: header.opaque,
                flag: header.flag,
                version: header.version,
            },
        );
        if let Some(remark) = header.remark {
            writer.remark(&remark.to_cow());
        }
        if show(frame.header).contains("\"extFields\":{") {
            writer.fields();
        }
        for (key, value) in pairs(header.fields) {
            writer.field_str(&key, value.as_bytes());
        }
        let mut body = writer.body();
        body.bytes().extend_from_slice(frame.body);
        body.finish();
        assert!(out == one.bytes, "{}\n{}\n{}", one.place(), show(&out), show(&one.bytes));
    }
}

/// Decodes the typed header of a request; `None` for codes without one here.
fn typed(code: i64, fields: &Fields<'_>) -> Option<Result<(), FieldError>> {
    let done = |result: Result<(), FieldError>| Some(result);
    match code {
        10 | 310 | 320 => {
            let code = i32::try_from(code).unwrap();
            done(SendRequest::decode(code, fields).map(drop))
        }
        11 | 361 => done(client::PullMessageRequestHeader::decode(fields).map(drop)),
        12 => done(client::QueryMessageRequestHeader::decode(fields).map(drop)),
        14 => done(client::QueryConsumerOffsetRequestHeader::decode(fields).map(drop)),
        15 => done(client::UpdateConsumerOffsetRequestHeader::decode(fields).map(drop)),
        17 => done(client::CreateTopicRequestHeader::decode(fields).map(drop)),
        29 => done(client::SearchOffsetRequestHeader::decode(fields).map(drop)),
        30 => done(client::GetMaxOffsetRequestHeader::decode(fields).map(drop)),
        31 => done(client::GetMinOffsetRequestHeader::decode(fields).map(drop)),
        32 => done(client::GetEarliestMsgStoretimeRequestHeader::decode(fields).map(drop)),
        33 => done(client::ViewMessageRequestHeader::decode(fields).map(drop)),
        35 => done(client::UnregisterClientRequestHeader::decode(fields).map(drop)),
        38 => done(client::GetConsumerListByGroupRequestHeader::decode(fields).map(drop)),
        40 => done(client::NotifyConsumerIdsChangedRequestHeader::decode(fields).map(drop)),
        103 => done(namesrv::RegisterBrokerRequestHeader::decode(fields).map(drop)),
        104 => done(namesrv::UnRegisterBrokerRequestHeader::decode(fields).map(drop)),
        105 => done(namesrv::GetRouteInfoRequestHeader::decode(fields).map(drop)),
        202 => done(client::GetTopicStatsInfoRequestHeader::decode(fields).map(drop)),
        322 => done(namesrv::QueryDataVersionRequestHeader::decode(fields).map(drop)),
        351 => done(client::GetTopicConfigRequestHeader::decode(fields).map(drop)),
        _ => None,
    }
}

#[test]
fn typed_request_headers_decode() {
    let mut codes = std::collections::BTreeSet::new();
    for one in recorded(false).iter().filter(|one| !one.is_answer()) {
        let frame = one.frame();
        let header = Header::decode(&frame).unwrap();
        if let Some(result) = typed(one.request_code(), &header.fields) {
            codes.insert(one.request_code());
            assert_eq!(result, Ok(()), "{}", one.place());
        }
    }
    assert_eq!(codes.len(), 22, "{codes:?}");
}

/// The header of `one` with its fields written by `write`.
fn rewritten(one: &Recorded, write: impl FnOnce(&mut FrameWriter<'_>)) -> Vec<u8> {
    let frame = one.frame();
    let header = Header::decode(&frame).unwrap();
    let mut out = Vec::new();
    let mut writer = FrameWriter::begin(
        &mut out,
        FrameHead {
            serialize: frame.serialize,
            code: header.code,
            opaque: header.opaque,
            flag: header.flag,
            version: header.version,
        },
    );
    if let Some(remark) = header.remark {
        writer.remark(&remark.to_cow());
    }
    write(&mut writer);
    let mut body = writer.body();
    body.bytes().extend_from_slice(frame.body);
    body.finish();
    out
}

#[test]
fn typed_answers_of_5_5_0_are_written_in_javas_order() {
    let (mut sends, mut pulls, mut queries) = (0, 0, 0);
    // Java's binary encoder writes the typed fields in another order, which means nothing to readers.
    for one in recorded(true).iter().filter(|one| one.is_5x && one.is_answer()) {
        let frame = one.frame();
        if frame.serialize == SerializeType::Rocketmq {
            continue;
        }
        let fields = Header::decode(&frame).unwrap().fields;
        let rewritten = match one.request_code() {
            10 | 310 | 320 if fields.get("msgId").is_some() => {
                sends += 1;
                let sent = SendMessageResponseHeader::decode(&fields).unwrap();
                let plain = |text: crate::Text<'_>| text.to_string().into_bytes();
                let ids = plain(sent.msg_id);
                let ids =
                    ids.split(|&byte| byte == b',').map(|id| crate::MessageId::parse(id).unwrap());
                let (transaction, region, handle) = (
                    sent.transaction_id.map(plain),
                    sent.msg_region.map(plain),
                    sent.recall_handle.map(plain),
                );
                let reply = SendReply {
                    queue_id: sent.queue_id,
                    queue_offset: sent.queue_offset,
                    transaction_id: transaction.as_deref(),
                    trace_on: sent.trace_on.unwrap(),
                    region: &region.unwrap(),
                    recall_handle: handle.as_deref(),
                };
                rewritten(one, |writer| reply.encode(writer, ids))
            }
            11 | 361 if fields.get("maxOffset").is_some() => {
                pulls += 1;
                let pulled = PullMessageResponseHeader::decode(&fields).unwrap();
                rewritten(one, |writer| pulled.encode(writer))
            }
            12 => {
                queries += 1;
                let found = QueryMessageResponseHeader::decode(&fields).unwrap();
                rewritten(one, |writer| found.encode(writer))
            }
            _ => continue,
        };
        assert!(
            rewritten == one.bytes,
            "{}\n{}\n{}",
            one.place(),
            show(&rewritten),
            show(&one.bytes)
        );
    }
    assert!(sends > 50 && pulls > 30, "{sends} sends, {pulls} pulls");
    assert!(queries > 4, "{queries} queries");
}

/// Reads every message in `bytes` and writes it back; returns how many.
fn messages_come_back(bytes: &[u8], place: &str) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        let (view, size) = MessageView::parse(&bytes[at..]).unwrap();
        assert!(view.check_body_crc(), "{place} at {at}");
        let message = view.to_new();
        message.check_limits().unwrap();
        let mut out = vec![0; message.encoded_len()];
        message.encode(&mut out, view.place());
        assert!(out == bytes[at..at + size], "{place} at {at}");
        at += size;
        count += 1;
    }
    count
}

#[test]
fn pulled_messages_are_written_back_byte_for_byte() {
    let mut count = 0;
    for one in recorded(true) {
        let is_found = one.is_answer() && one.note["code"] == 0;
        if is_found && matches!(one.request_code(), 11 | 12 | 33 | 361) {
            count += messages_come_back(one.frame().body, &one.place());
        }
    }
    assert!(count > 50, "{count} messages");
}

#[test]
fn commit_logs_are_walked_and_written_back_byte_for_byte() {
    let mut paths = Vec::new();
    files(&root().join("commitlog"), &mut paths);
    let (mut messages, mut blanks, mut long_topics) = (0, 0, 0);
    for path in paths {
        let log = unzip(&path);
        let name = path.file_stem().unwrap().to_str().unwrap();
        let start: u64 = name.rsplit('-').next().unwrap().parse().unwrap();
        let mut at = 0;
        loop {
            let here = PhyOffset(start + u64::try_from(at).unwrap());
            match probe(&log[at..], here) {
                Probe::Message { size } => {
                    messages += messages_come_back(&log[at..at + size], name);
                    let (view, _) = MessageView::parse(&log[at..]).unwrap();
                    assert_eq!(view.phy_offset(), here);
                    long_topics += usize::from(view.topic().len() > 127);
                    at += size;
                }
                Probe::Blank { size } => {
                    assert_eq!(at + size, log.len(), "{name}");
                    blanks += 1;
                    break;
                }
                Probe::Bad(_) => {
                    assert!(log[at..].iter().all(|&byte| byte == 0), "{name} at {at}");
                    break;
                }
            }
        }
    }
    assert!(messages > 400 && blanks >= 2 && long_topics > 0, "{messages} {blanks} {long_topics}");
}

#[test]
fn batch_bodies_are_written_back_byte_for_byte() {
    let mut count = 0;
    for one in recorded(false).iter().filter(|one| !one.is_answer() && one.request_code() == 320) {
        let frame = one.frame();
        let mut out = Vec::new();
        for item in BatchItems::new(frame.body) {
            encode_item(&mut out, &item.unwrap());
            count += 1;
        }
        assert!(out == frame.body, "{}", one.place());
    }
    assert!(count > 10, "{count} items");
}

/// Reads a body as `T` and writes it back with `write`.
fn body_comes_back<T: Serialize + DeserializeOwned>(
    one: &Recorded,
    write: impl FnOnce(&mut Vec<u8>, &T),
) {
    let frame = one.frame();
    let value: T =
        json::from_slice(frame.body).unwrap_or_else(|error| panic!("{} {error}", one.place()));
    let mut out = Vec::new();
    write(&mut out, &value);
    assert!(out == frame.body, "{}\n{}\n{}", one.place(), show(&out), show(frame.body));
}

/// Checks the body of a frame whose shape is known; says whether it is.
fn check_body(one: &Recorded) -> bool {
    match (one.request_code(), one.is_answer()) {
        (21, true) => body_comes_back::<TopicConfigSerializeWrapper>(one, json::write_default),
        (34, false) => body_comes_back::<HeartbeatData>(one, json::write_default),
        (38, true) => body_comes_back::<ConsumerIdList>(one, json::write_default),
        (41 | 42, false) => body_comes_back::<LockBatchRequest>(one, json::write_default),
        (41, true) => body_comes_back::<LockBatchResponse>(one, json::write_default),
        (43, true) => body_comes_back::<ConsumerOffsetWrapper>(one, json::write_default),
        (45, true) => body_comes_back::<DelayOffsetWrapper>(one, json::write_default),
        (46, false) => body_comes_back::<CheckClientConfig>(one, json::write_default),
        (103, false) => body_comes_back::<RegisterBrokerBody>(one, json::write_default),
        (103 | 219, true) => body_comes_back::<KvTable>(one, json::write_default),
        (105, true) => body_comes_back::<TopicRouteData>(one, |out, route| {
            // The hand-made request of version 317 gets the dialect, all recorded clients are newer than 4.9.4.
            let is_strict = !show(one.frame().body).contains("{0:");
            route.write_for(out, MQ_VERSION_4_9_4 - i32::from(!is_strict), false);
        }),
        (106, true) => body_comes_back::<ClusterInfo>(one, json::write_default),
        (200, false) => body_comes_back::<SubscriptionGroupConfig>(one, json::write_default),
        (201, true) => body_comes_back::<SubscriptionGroupWrapper>(one, json::write_default),
        (202, true) => body_comes_back::<TopicStatsTable>(one, json::write_object_keys),
        (206 | 224 | 305, true) => body_comes_back::<TopicList>(one, json::write_default),
        (322, _) => body_comes_back::<DataVersion>(one, json::write_default),
        _ => return false,
    }
    true
}

#[test]
fn bodies_are_written_back_byte_for_byte() {
    let mut shapes = std::collections::BTreeSet::new();
    let hand_made_clients_do_not_write_as_java =
        |one: &Recorded| one.file.contains("raw-frames") && !one.is_answer();
    for one in recorded(true) {
        if one.frame().body.is_empty() || hand_made_clients_do_not_write_as_java(&one) {
            continue;
        }
        if check_body(&one) {
            shapes.insert((one.is_5x, one.request_code(), one.is_answer()));
        }
    }
    assert!(shapes.len() > 30, "{shapes:?}");
}

#[test]
fn registrations_carry_the_crc_of_their_body() {
    let mut count = 0;
    for one in recorded(false).iter().filter(|one| !one.is_answer() && one.request_code() == 103) {
        let frame = one.frame();
        let header = Header::decode(&frame).unwrap();
        let fields = RegisterBrokerRequestHeader::decode(&header.fields).unwrap();
        assert_eq!(u32::try_from(fields.body_crc32), Ok(body_crc(frame.body)), "{}", one.place());
        let body =
            RegisterBrokerBody::decode(frame.body, fields.compressed, header.version).unwrap();
        assert!(!body.topic_config_serialize_wrapper.topic_config_table.0.is_empty());
        let mut compressed = Vec::new();
        body.encode_compressed(&mut compressed, MQ_VERSION_5_5_0);
        let again = RegisterBrokerBody::decode(&compressed, true, MQ_VERSION_5_5_0).unwrap();
        assert_eq!(
            again.topic_config_serialize_wrapper.topic_config_table.0.len(),
            body.topic_config_serialize_wrapper.topic_config_table.0.len()
        );
        count += 1;
    }
    assert!(count > 10, "{count} registrations");
}

#[test]
fn binary_and_json_headers_are_both_recorded() {
    let frames = recorded(false);
    let binary =
        frames.iter().filter(|one| one.frame().serialize == SerializeType::Rocketmq).count();
    assert!(binary > 100 && frames.len() - binary > 500, "{binary} of {}", frames.len());
}
