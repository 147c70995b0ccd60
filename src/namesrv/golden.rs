//! Recordings of Java 4.9.7 and 5.5.0 brokers, clients and tools, served here: answers equal the recorded bytes.
//!
//! Kept differences, made equal before the comparison: version 5.5.0 is reported, and told as 5.5.0 tells it.

use crate::sample::{at_ms, conn, seed, serve};
use crate::server::NameServer;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use wire::body::register::RegisterBrokerBody;
use wire::body::route::{BrokerData, ClusterInfo, TopicRouteData};
use wire::body::{Table, TopicList};
use wire::frame::split;
use wire::{Frame, Header, SerializeType, json};

struct Line {
    note: Value,
    bytes: Vec<u8>,
}

impl Line {
    fn number(&self, key: &str) -> i64 {
        self.note[key].as_i64().unwrap_or(-1)
    }

    fn conn(&self) -> base::ids::ConnId {
        conn(u32::try_from(self.number("conn")).unwrap())
    }

    fn is_request(&self) -> bool {
        !self.bytes.is_empty() && self.note["dir"] == "c2s"
    }

    fn request_code(&self) -> i64 {
        self.note["req_code"].as_i64().unwrap_or(self.number("code"))
    }

    fn frame(&self) -> Frame<'_> {
        split(&self.bytes).unwrap().unwrap().0
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

fn base64(text: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut out, mut bits, mut used) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let six = digits.iter().position(|digit| *digit == byte).unwrap();
        bits = bits << 6 | u32::try_from(six).unwrap();
        used += 6;
        if used >= 8 {
            used -= 8;
            out.push(u8::try_from(bits >> used).unwrap());
            bits &= (1 << used) - 1;
        }
    }
    out
}

/// What went to and from the name server.
fn lines(path: &Path) -> Vec<Line> {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let notes = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let to_namesrv = |note: &Value| matches!(note["link"].as_str(), Some("cn" | "bn" | "sn"));
    let notes =
        notes.filter(to_namesrv).filter(|note| note["code"].is_i64() || note["event"] == "close");
    notes
        .map(|note| {
            let bytes = note["frame_b64"].as_str().map(base64).unwrap_or_default();
            Line { note, bytes }
        })
        .collect()
}

/// The recorded answer to each request, by position of the request.
fn answers(lines: &[Line]) -> BTreeMap<usize, &Line> {
    let mut open = BTreeMap::new();
    let mut found = BTreeMap::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| !line.bytes.is_empty()) {
        let key = (line.number("conn"), line.number("opaque"));
        if line.is_request() {
            open.insert(key, at);
        } else if let Some(request) = open.remove(&key) {
            found.insert(request, line);
        }
    }
    found
}

/// Header and body as 5.5.0 would have written them, in JSON.
fn as_5_5_0(frame: &Frame<'_>) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut header = text(frame.header);
    if frame.serialize == SerializeType::Rocketmq {
        let decoded = Header::decode(frame).unwrap();
        assert!(decoded.fields.is_empty() && decoded.remark.is_none());
        header = format!(
            r#"{{"code":{},"extFields":{{}},"flag":1,"language":"JAVA","opaque":{},"serializeTypeCurrentRPC":"JSON","version":513}}"#,
            decoded.code, decoded.opaque
        );
    }
    let header = header.replace(r#""version":407}"#, r#""version":513}"#).replace(
        "http://rocketmq.apache.org/docs/faq/",
        "https://rocketmq.apache.org/docs/bestPractice/06FAQ",
    );
    let cluster = r#""cluster":"GoldCluster"}"#;
    let body =
        text(frame.body).replace(cluster, r#""cluster":"GoldCluster","enableActingMaster":false}"#);
    (header, body)
}

fn compare(got: &[u8], recorded: &Line, place: &str) {
    let (frame, used) = split(got).unwrap().unwrap_or_else(|| panic!("{place}: no answer"));
    assert_eq!(used, got.len(), "{place}");
    let got = (
        String::from_utf8_lossy(frame.header).into_owned(),
        String::from_utf8_lossy(frame.body).into_owned(),
    );
    assert_eq!(got, as_5_5_0(&recorded.frame()), "{place}");
}

fn name_server() -> NameServer {
    NameServer::new(seed(tempfile::tempdir().unwrap().path(), &[]))
}

/// Serves every request of a file; returns how many answers were equal.
fn replay(server: &mut NameServer, path: &Path) -> usize {
    let lines = lines(path);
    let answers = answers(&lines);
    let mut equal = 0;
    for (at, line) in lines.iter().enumerate() {
        if line.note["event"] == "close" {
            server.routes.note_closed(line.conn());
            server.routes.drop_closed();
        }
        if !line.is_request() {
            continue;
        }
        let place = format!("{} seq {}", path.display(), line.note["seq"]);
        let recorded = answers.get(&at);
        let body = recorded.map(|line| line.frame().body.to_vec()).unwrap_or_default();
        if line.request_code() == 103 && body == b"{\"table\":{}}" {
            // The recorded name server had had settings of order topics.
            server.kv.put("ORDER_TOPIC_CONFIG", "k", "v").unwrap();
            server.kv.delete("ORDER_TOPIC_CONFIG", "k");
        }
        if line.request_code() == 103
            && line.note["link"] == "sn"
            && recorded.is_some_and(|line| line.note["header"].get("masterAddr").is_none())
        {
            // The master was killed just before.
            server.routes.note_closed(conn(0));
            server.routes.drop_closed();
        }
        let got = serve(server, at_ms(0), line.conn(), &line.bytes);
        let is_java_null = line.request_code() == 105
            && recorded.is_some_and(|line| line.note["remark"].to_string().contains("topic: null"));
        match recorded {
            _ if is_java_null => {
                let reply = crate::sample::Reply::parse(&got);
                assert_eq!(reply.code, 1, "{place}");
                assert_eq!(reply.remark, "the custom field <topic> is null", "{place}");
            }
            Some(recorded) => {
                compare(&got, recorded, &place);
                equal += 1;
            }
            None if line.number("flag") & 3 != 0 => assert!(got.is_empty(), "{place}"),
            // 4.9.7 is silent on unknown codes.
            None => assert_eq!(crate::sample::Reply::parse(&got).code, 3, "{place}"),
        }
    }
    equal
}

#[test]
fn registrations_of_both_lines_are_answered_as_recorded() {
    for (file, count) in [
        ("broker-497/registration", 5),
        ("broker-497/registration-forceRegister-false", 7),
        ("broker-497/registration-rocketmq", 1),
        ("broker-550/registration", 5),
        ("broker-550/registration-forceRegister-false", 18),
        ("broker-550/registration-rocketmq", 1),
    ] {
        let path = golden().join("wire").join(format!("{file}.jsonl.gz"));
        let equal = replay(&mut name_server(), &path);
        assert!(equal >= count, "{file}: {equal} answers");
    }
}

/// The first registration of a recording, sent by connection 0.
fn register_recorded(server: &mut NameServer, version: &str) {
    let path = golden().join(format!("wire/broker-{version}/registration.jsonl.gz"));
    let lines = lines(&path);
    let first = lines.iter().find(|line| line.is_request()).unwrap();
    let got = serve(server, at_ms(0), conn(0), &first.bytes);
    assert_eq!(crate::sample::Reply::parse(&got).code, 0);
}

#[test]
fn a_slave_that_comes_and_goes_is_answered_as_recorded() {
    for (version, count) in [("497", 7), ("550", 15)] {
        let mut server = name_server();
        register_recorded(&mut server, version);
        let path = golden().join(format!("namesrv/ha-{version}.jsonl.gz"));
        let equal = replay(&mut server, &path);
        assert!(equal >= count, "{version}: {equal} answers");
    }
}

#[test]
fn hand_made_requests_are_answered_as_recorded() {
    for version in ["497", "550"] {
        let mut server = name_server();
        register_recorded(&mut server, version);
        let path = golden().join(format!("namesrv/raw-{version}.jsonl.gz"));
        let equal = replay(&mut server, &path);
        assert!(equal >= 12, "{version}: {equal} answers");
    }
}

#[test]
fn tools_are_answered_as_recorded() {
    for version in ["497", "550"] {
        let mut server = name_server();
        let lines = lines(&golden().join(format!("namesrv/admin-{version}.jsonl.gz")));
        let answers = answers(&lines);
        let mut codes = std::collections::BTreeSet::new();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.is_request()) {
            let Some(recorded) = answers.get(&at) else { continue };
            let place = format!("{version} {}", line.note["command"]);
            let fields = recorded.note["header"].as_object();
            let count = fields.and_then(|f| f.get("wipeTopicCount").or(f.get("addTopicCount")));
            if let Some(count) = count.and_then(|count| count.as_str()?.parse().ok()) {
                with_topics(&mut server, (0..count).map(|number| format!("T{number}")).collect());
            }
            if line.request_code() == 206 {
                let wanted: TopicList = json::from_slice(recorded.frame().body).unwrap();
                with_topics(&mut server, wanted.topic_list.clone());
                let got = serve(&mut server, at_ms(0), line.conn(), &line.bytes);
                let got = crate::sample::Reply::parse(&got);
                let mut sorted = wanted.topic_list;
                sorted.sort();
                let got: TopicList = json::from_slice(got.body.as_bytes()).unwrap();
                assert_eq!(got.topic_list, sorted, "{place}");
                continue;
            }
            let got = serve(&mut server, at_ms(0), line.conn(), &line.bytes);
            codes.insert(line.request_code());
            if recorded.number("code") == 16 {
                let got = crate::sample::Reply::parse(&got);
                assert_eq!(got.code, 16, "{place}");
                assert!(got.remark.starts_with("Can not update config in black list."), "{place}");
            } else {
                compare(&got, recorded, &place);
            }
        }
        assert_eq!(codes, [100, 101, 102, 205, 216, 318, 327].into(), "{version}");
    }
}

/// A name server whose only broker has these topics.
fn with_topics(server: &mut NameServer, topics: Vec<String>) {
    server.routes = Default::default();
    if topics.is_empty() {
        return;
    }
    let topics: Vec<_> = topics.iter().map(String::as_str).collect();
    let mut content = Vec::new();
    crate::sample::body(1, &topics).encode(&mut content);
    let fields = crate::sample::process_fields("broker-a", "0", "127.0.0.1:20911");
    crate::sample::ask(server, 103, &fields, &content);
}

/// Registers what a recorded answer tells of brokers.
fn register_as_told(server: &mut NameServer, brokers: &[BrokerData], topics: &RegisterBrokerBody) {
    let mut content = Vec::new();
    topics.encode(&mut content);
    for broker in brokers {
        for (id, address) in &broker.broker_addrs {
            let id = id.to_string();
            let mut fields = crate::sample::process_fields(&broker.broker_name, &id, address);
            fields[3].1 = &broker.cluster;
            let reply = crate::sample::ask(server, 103, &fields, &content);
            assert_eq!(reply.code, 0, "{}", reply.remark);
        }
    }
}

fn recordings(below: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            recordings(&path, out);
        } else if path.to_string_lossy().ends_with(".jsonl.gz") {
            out.push(path);
        }
    }
}

#[test]
fn routes_and_clusters_are_told_as_recorded() {
    let mut paths = Vec::new();
    recordings(&golden().join("wire"), &mut paths);
    let mut counts = BTreeMap::new();
    for path in paths {
        let lines = lines(&path);
        let answers = answers(&lines);
        for (at, answer) in answers.iter().filter(|(_, answer)| answer.number("code") == 0) {
            let (request, body) = (&lines[*at], answer.frame().body);
            let mut topics = crate::sample::body(1, &["TBW102", "SELF_TEST_TOPIC"]);
            let brokers = match answer.request_code() {
                105 => {
                    let route: TopicRouteData = json::from_slice(body).unwrap();
                    let header = Header::decode(&request.frame()).unwrap().fields.get("topic");
                    let name = header.unwrap().to_string();
                    let mut told = crate::sample::body(1, &[&name]);
                    let table = &mut told.topic_config_serialize_wrapper.topic_config_table;
                    let [queues] = route.queue_datas.as_slice() else { panic!("one broker") };
                    let config = &mut table.0[0].1;
                    config.perm = queues.perm;
                    config.read_queue_nums = queues.read_queue_nums;
                    config.write_queue_nums = queues.write_queue_nums;
                    config.topic_sys_flag = queues.topic_sys_flag;
                    let table = std::mem::replace(table, Table(Vec::new()));
                    let all = &mut topics.topic_config_serialize_wrapper.topic_config_table.0;
                    all.retain(|(other, _)| *other != name);
                    all.extend(table.0);
                    all.push(("Other".to_owned(), all[0].1.clone()));
                    route.broker_datas
                }
                106 => {
                    let info: ClusterInfo = json::from_slice(body).unwrap();
                    info.broker_addr_table.0.into_iter().map(|(_, broker)| broker).collect()
                }
                _ => continue,
            };
            let mut server = name_server();
            register_as_told(&mut server, &brokers, &topics);
            let got = serve(&mut server, at_ms(0), conn(1), &request.bytes);
            let place = format!("{} seq {}", path.display(), request.note["seq"]);
            let (frame, _) = split(&got).unwrap().unwrap();
            let (_, wanted) = as_5_5_0(&answer.frame());
            assert_eq!(String::from_utf8_lossy(frame.body), wanted, "{place}");
            *counts.entry(answer.request_code()).or_insert(0) += 1;
        }
    }
    assert!(counts[&105] > 50 && counts[&106] > 10, "{counts:?}");
}
