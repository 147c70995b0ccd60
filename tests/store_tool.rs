//! `ringmq store` as an operator meets it: Java's recorded stores, damaged ones, ours with several streams, one in use.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{Connection, Consumer, Message, Options, Producer, Pull, PullStatus};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::{Data, Server, Setting, SmallDisk, golden};

const RINGMQ: &str = env!("CARGO_BIN_EXE_ringmq");
const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Severity and kind of what is worse than a note.
    fn findings(&self) -> BTreeSet<(String, String)> {
        let value = self.json();
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
        let list = value["findings"].as_array().unwrap().iter();
        let pairs = list.map(|finding| (text(finding, "severity"), text(finding, "kind")));
        pairs.filter(|(severity, _)| severity != "note").collect()
    }
}

fn run(arguments: &[&str]) -> Ran {
    let output = Command::new(RINGMQ).arg("store").args(arguments).output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a command on a recorded store.
fn on(data: &Data, name: &str, command: &str, more: &[&str]) -> Ran {
    let (store, config) = (data.store(), golden::file(&format!("{name}.conf")));
    let mut arguments = vec![command, store.to_str().unwrap(), "-c", config.to_str().unwrap()];
    arguments.extend(more);
    run(&arguments)
}

/// Every file below a directory with its content.
fn content(dir: &Path, out: &mut Vec<(PathBuf, Vec<u8>)>) {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            content(&path, out);
        } else if fs::metadata(&path).unwrap().len() < 1 << 20 {
            let bytes = fs::read(&path).unwrap();
            out.push((path, bytes));
        }
    }
}

fn snapshot(data: &Data) -> Vec<(PathBuf, Vec<u8>)> {
    let mut out = Vec::new();
    content(&data.store(), &mut out);
    out
}

fn pairs(list: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn javas_stores_are_clean_but_for_what_a_kill_left() {
    for name in golden::names() {
        let data = golden::unpack(&name);
        let before = snapshot(&data);
        let checked = on(&data, &name, "check", &["--json"]);
        // Only in this one queues and index lag behind the log.
        let left = if name == "v497-tiny-killed" {
            pairs(&[("warning", "entry-missing"), ("warning", "index-missing")])
        } else {
            BTreeSet::new()
        };
        assert_eq!(checked.findings(), left, "{name}: {checked:?}");
        assert_eq!(checked.code, i32::from(!left.is_empty()), "{name}");
        let expected = golden::read_json(&format!("{name}.expect.json.gz"));
        let messages = expected["javaAfterRecovery"]["messages"].as_array().unwrap().len() as u64;
        assert_eq!(checked.json()["streams"][0]["records"], messages, "{name}");
        assert_eq!(on(&data, &name, "check", &["--fast"]).code, checked.code, "{name}");
        let info = on(&data, &name, "info", &["--json"]).json();
        assert_eq!(info["kind"], "Java");
        assert_eq!(info["clean"], !data.store().join("abort").exists(), "{name}");
        assert!(before == snapshot(&data), "{name}: nothing was changed");
    }
}

/// What a check says of a damage.
fn named(name: &str, variant: &str) -> BTreeSet<(String, String)> {
    let torn = [
        ("warning", "behind-the-end"),
        ("warning", "entry-without-record"),
        ("warning", "index-behind-log"),
    ];
    let hole = [("error", "damage"), ("error", "entry-without-record"), ("error", "index-wrong")];
    match (name, variant) {
        (_, "torn-half" | "torn-body-bit") => pairs(&torn),
        (_, "hole-in-the-middle") => pairs(&hole),
        (_, "queues-lost") => pairs(&[("error", "queues-lost")]),
        // The bit is one of the tag's; in the other store it is in a property that nothing derives from.
        ("v497-small-killed", "torn-props-bit") => pairs(&[("error", "entry-tags")]),
        (_, "torn-props-bit") => BTreeSet::new(),
        (_, other) => panic!("a damage that is not known: {other}"),
    }
}

fn setting(name: &str) -> Setting {
    let config = fs::read_to_string(golden::file(&format!("{name}.conf"))).unwrap();
    let of_store = |line: &&str| line.starts_with("mappedFile") || line.starts_with("max");
    let lines: Vec<&str> = config.lines().filter(of_store).collect();
    Setting { shards: 1, config: lines.join("\n") + "\n" }
}

/// The units of queue files are those that Java's recovery has of the same store.
fn check_units(data: &Data, recovered: &Value, context: &str) {
    for (queue, value) in recovered["queues"].as_object().unwrap() {
        for unit in value["units"].as_array().into_iter().flatten() {
            let number = |at: usize| unit[at].as_i64().unwrap();
            let at = usize::try_from(number(0)).unwrap() * 20;
            let file = data.store().join("consumequeue").join(queue).join("00000000000000000000");
            let bytes = fs::read(&file).unwrap();
            let mut expected = number(1).to_be_bytes().to_vec();
            expected.extend(i32::try_from(number(2)).unwrap().to_be_bytes());
            expected.extend(number(3).to_be_bytes());
            assert_eq!(bytes[at..at + 20], expected, "{context} {queue} {}", number(0));
        }
    }
}

#[test]
fn damage_is_named_and_repaired_and_the_store_starts() {
    for name in ["v497-small-killed", "v550-burst-killed"] {
        let variants = golden::read_json(&format!("{name}.damage.json.gz"));
        for (variant, damaged) in variants["variants"].as_object().unwrap() {
            let context = format!("{name} {variant}");
            let data = golden::unpack(name);
            golden::damage(&data, damaged);
            let wrong = named(name, variant);
            let checked = on(&data, name, "check", &["--json"]);
            assert_eq!(checked.findings(), wrong, "{context}: {checked:?}");
            assert_eq!(checked.code, i32::from(!wrong.is_empty()), "{context}");
            let before = snapshot(&data);
            let dry = on(&data, name, "repair", &[]);
            assert_eq!(dry.code, i32::from(!wrong.is_empty()), "{context}: {dry:?}");
            assert!(before == snapshot(&data), "{context}: a dry run changes nothing");
            if variant == "hole-in-the-middle" {
                let left = on(&data, name, "repair", &["--apply"]);
                assert_eq!(left.code, 1, "{context}: {left:?}");
                assert!(left.out.contains("--step-over") && left.out.contains("--cut-at"));
                assert!(on(&data, name, "check", &["--json"]).findings() == wrong, "{context}");
            }
            let how: &[&str] = match variant.as_str() {
                "hole-in-the-middle" => &["--apply", "--step-over"],
                _ => &["--apply"],
            };
            let repaired = on(&data, name, "repair", how);
            assert_eq!(repaired.code, 0, "{context}: {repaired:?}");
            assert_eq!(on(&data, name, "check", &[]).code, 0, "{context}");
            if variant == "queues-lost" {
                check_units(&data, &damaged["javaAfterRecovery"], &context);
            }
            let server = Server::start(data.path(), &setting(name));
            assert!(server.stop().success(), "{context}");
            let after = on(&data, name, "check", &["--json"]);
            assert_eq!(after.findings(), BTreeSet::new(), "{context}: {after:?}");
        }
    }
}

#[test]
fn a_cut_ends_the_log_and_keeps_what_followed() {
    let name = "v497-small-clean";
    let data = golden::unpack(name);
    let lines = on(&data, name, "dump", &["--json"]).out;
    let records: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let records: Vec<&Value> =
        records.iter().filter(|record| record["topic"].is_string()).collect();
    let cut_at = records[records.len() / 2]["position"].as_u64().unwrap();
    let inside = (cut_at + 1).to_string();
    let refused = on(&data, name, "repair", &["--cut-at", &inside, "--apply"]);
    assert!(refused.code == 2 && refused.err.contains("between two records"), "{refused:?}");
    let log = fs::read(data.store().join("commitlog/00000000000000524288")).unwrap();
    let base = cut_at - cut_at % 131_072;
    let begun = fs::read(data.store().join(format!("commitlog/{base:020}"))).unwrap();
    let cut = on(&data, name, "repair", &["--cut-at", &cut_at.to_string(), "--apply"]);
    assert_eq!(cut.code, 0, "{cut:?}");
    let checked = on(&data, name, "check", &["--json"]).json();
    assert_eq!(checked["streams"][0]["end"], cut_at);
    assert_eq!(checked["streams"][0]["records"], (records.len() / 2) as u64);
    let kept = data.store().join("cut/commitlog-00000000000000524288");
    assert_eq!(fs::read(kept).unwrap(), log);
    let from = cut_at - base;
    let kept = format!("cut/commitlog-{base:020}-bytes-{from}-to-131072");
    assert_eq!(fs::read(data.store().join(kept)).unwrap(), begun[usize::try_from(from).unwrap()..]);
    let ends = fs::read(data.store().join(format!("commitlog/{base:020}"))).unwrap();
    assert_eq!(ends[..usize::try_from(from).unwrap()], begun[..usize::try_from(from).unwrap()]);
    assert!(ends[usize::try_from(from).unwrap()..].iter().all(|byte| *byte == 0));
    let server = Server::start(data.path(), &setting(name));
    assert!(server.stop().success());
}

#[test]
fn a_missing_segment_is_named_and_stepped_over() {
    let name = "v497-small-clean";
    let data = golden::unpack(name);
    fs::remove_file(data.store().join("commitlog/00000000000000262144")).unwrap();
    let refused = Server::start_refused(data.path(), &setting(name));
    assert!(refused.contains("ringmq store repair"), "{refused}");
    let checked = on(&data, name, "check", &["--json"]);
    assert!(checked.findings().contains(&("error".to_owned(), "segment-missing".to_owned())));
    let repaired = on(&data, name, "repair", &["--step-over", "--apply"]);
    assert_eq!(repaired.code, 0, "{repaired:?}");
    let server = Server::start(data.path(), &setting(name));
    assert!(server.stop().success());
}

#[test]
fn messages_are_found_and_exported() {
    let name = "v550-small-clean";
    let data = golden::unpack(name);
    let expected = golden::read_json(&format!("{name}.expect.json.gz"));
    let messages = expected["javaAfterRecovery"]["messages"].as_array().unwrap();
    let out = data.path().join("all.jsonl");
    let exported = on(&data, name, "export", &["--out", out.to_str().unwrap()]);
    assert_eq!(exported.code, 0, "{exported:?}");
    let text = fs::read_to_string(&out).unwrap();
    assert_eq!(text.lines().count(), messages.len());
    for (line, message) in text.lines().zip(messages) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["physicalOffset"], message["phyOffset"]);
        assert_eq!(line["topic"], message["topic"]);
        assert_eq!(line["queueOffset"], message["queueOffset"]);
        assert_eq!(line["bodyBytes"], message["bodyLen"]);
    }
    let again = on(&data, name, "export", &["--out", out.to_str().unwrap()]);
    assert_eq!(again.code, 2, "an existing file is not replaced: {again:?}");
    let count = |more: &[&str]| {
        let ran = on(&data, name, "grep", more);
        assert_eq!(ran.code, i32::from(ran.out.is_empty()), "{more:?}: {ran:?}");
        ran.out.lines().count()
    };
    let with = |key: &str, value: &str| {
        messages.iter().filter(|message| message["properties"][key] == value).count()
    };
    assert_eq!(count(&["--tag", "TagA"]), with("TAGS", "TagA"));
    let key = messages.iter().find_map(|m| m["properties"]["UNIQ_KEY"].as_str()).unwrap();
    assert!(count(&["--key", key]) >= 1);
    assert_eq!(count(&["--topic", "no such topic"]), 0);
    assert_eq!(count(&["--topic", "GoldA", "--limit", "3"]), 3);
    let first = messages[0]["storeTimestamp"].as_i64().unwrap();
    let wanted = messages.iter().filter(|m| m["storeTimestamp"].as_i64().unwrap() <= first + 900);
    assert_eq!(count(&["--until", &(first + 900).to_string()]), wanted.count());
    let second = messages[1]["phyOffset"].to_string();
    let dumped = on(&data, name, "dump", &["--from", &second, "--limit", "1"]);
    assert!(dumped.out.starts_with(&format!("{second} +")), "{dumped:?}");
}

fn send(server: &Server, count: usize) {
    let options = Options { timeout: TIMEOUT, ..Options::default() };
    let connection = Connection::connect_with(server.broker, options).unwrap();
    let mut producer = Producer::new(connection, "P_tool");
    for number in 0..count {
        let queue = i32::try_from(number % 4).unwrap();
        let message = Message::new("TopicTool", vec![7; 2000]).tag("T").keys("K");
        producer.send(&message, queue).unwrap();
    }
}

#[test]
fn our_store_with_two_streams_in_use_and_stopped() {
    let data = Data::new();
    let config = "mappedFileSizeCommitLog=131072\nmappedFileSizeConsumeQueue=2000\nlogStreams=2\n";
    let setting = Setting { shards: 2, config: config.to_owned() };
    let server = Server::start(data.path(), &setting);
    send(&server, 400);
    let store = data.store();
    let store = store.to_str().unwrap();
    let live = run(&["check", store, "--json"]);
    assert_eq!(live.findings(), BTreeSet::new(), "{live:?}");
    assert!(live.json()["inUseBy"].as_i64().is_some(), "{live:?}");
    for more in [&[][..], &["--apply"]] {
        let refused = run(&[&["repair", store], more].concat());
        assert!(refused.code == 2 && refused.err.contains("stop it first"), "{refused:?}");
    }
    send(&server, 4);
    assert!(server.stop().success());
    let checked = run(&["check", store, "--json"]);
    assert_eq!(checked.findings(), BTreeSet::new(), "{checked:?}");
    let records = |stream: usize| checked.json()["streams"][stream]["records"].as_u64().unwrap();
    assert_eq!(records(0) + records(1), 404);
    let info = run(&["info", store]);
    assert!(info.out.contains("2 streams") && info.out.contains("stopped in order"), "{info:?}");
    // An entry that names another record, and one that is gone.
    let file = data.store().join("consumequeue/TopicTool/1/00000000000000000000");
    let mut bytes = fs::read(&file).unwrap();
    bytes[20..40].fill(0);
    bytes[107] ^= 0x40;
    fs::write(&file, bytes).unwrap();
    let damaged = run(&["check", store, "--json"]);
    let expected = pairs(&[("error", "entry-missing"), ("error", "entry-elsewhere")]);
    assert_eq!(damaged.findings(), expected, "{damaged:?}");
    let repaired = run(&["repair", store, "--apply"]);
    assert_eq!(repaired.code, 0, "{repaired:?}");
    assert_eq!(
        run(&["grep", store, "--topic", "TopicTool", "--queue", "1"]).out.lines().count(),
        101
    );
    let server = Server::start(data.path(), &setting);
    send(&server, 4);
    assert!(server.stop().success());
}

#[test]
fn what_a_killed_broker_has_in_its_window_is_not_given_up_silently() {
    let data = Data::new();
    let config = "mappedFileSizeCommitLog=131072\nlogStreams=1\n".to_owned();
    let setting = Setting { shards: 1, config };
    let server = Server::start(data.path(), &setting);
    send(&server, 50);
    server.kill();
    let store = data.store();
    let store = store.to_str().unwrap();
    let info = run(&["info", store]);
    assert!(info.out.contains("its log window is there"), "{info:?}");
    let refused = run(&["repair", store, "--apply"]);
    assert!(refused.code == 2 && refused.err.contains("--drop-window"), "{refused:?}");
    let dropped = run(&["repair", store, "--apply", "--drop-window"]);
    assert_eq!(dropped.code, 0, "{dropped:?}");
    let server = Server::start(data.path(), &setting);
    send(&server, 4);
    assert!(server.stop().success());
    assert_eq!(run(&["check", store, "--json"]).findings(), BTreeSet::new());
}

/// Bodies of a queue, with their offsets.
fn read(server: &Server, topic: &str, queue: i32) -> Vec<(i64, Vec<u8>)> {
    let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "G_tool");
    let mut offset = consumer.connection().min_offset(topic, queue).unwrap();
    let mut list = Vec::new();
    loop {
        let pulled = consumer.pull(&Pull::new(topic, queue, offset)).unwrap();
        match pulled.status {
            PullStatus::Found => {}
            PullStatus::RetryImmediately if pulled.next_offset > offset => {}
            PullStatus::RetryImmediately | PullStatus::NotFound | PullStatus::OffsetMoved => {
                return list;
            }
        }
        offset = pulled.next_offset;
        list.extend(pulled.messages.into_iter().map(|m| (m.queue_offset, m.body.to_vec())));
    }
}

#[test]
fn a_store_gets_more_streams_and_fewer() {
    let name = "v497-small-clean";
    let data = golden::unpack(name);
    let queues = [("GoldA", 0), ("GoldA", 3), ("GoldB", 1), ("GoldC", 2)];
    let all = |server: &Server| queues.map(|(topic, queue)| read(server, topic, queue));
    let server = Server::start(data.path(), &setting(name));
    let before = all(&server);
    assert!(before.iter().all(|list| list.len() > 20), "{before:?}");
    assert!(server.stop().success());
    let records = on(&data, name, "check", &["--json"]).json()["streams"][0]["records"].clone();
    let files = snapshot(&data);
    let dry = on(&data, name, "layout", &["--streams", "3"]);
    assert!(dry.code == 1 && dry.out.contains("nothing was changed"), "{dry:?}");
    assert!(files == snapshot(&data), "a dry run changes nothing");
    for streams in [3usize, 1, 2] {
        let done = on(&data, name, "layout", &["--streams", &streams.to_string(), "--apply"]);
        assert_eq!(done.code, 0, "{done:?}");
        let checked = on(&data, name, "check", &["--json"]);
        assert_eq!(checked.findings(), BTreeSet::new(), "{streams}: {checked:?}");
        let list = checked.json()["streams"].as_array().unwrap().clone();
        assert_eq!(list.len(), streams);
        let sum: u64 = list.iter().map(|stream| stream["records"].as_u64().unwrap()).sum();
        assert_eq!(records, sum);
        let server = Server::start(data.path(), &Setting { shards: 2, ..setting(name) });
        assert!(all(&server) == before, "{streams} streams");
        assert!(server.stop().success());
        let again = on(&data, name, "layout", &["--streams", &streams.to_string()]);
        assert!(again.code == 2 && again.err.contains("already"), "{again:?}");
    }
    assert!(data.store().join("cut/before-layout-3/commitlog").is_dir());
}

#[test]
fn deleted_topics_stay_deleted_in_another_layout() {
    let name = "v497-small-clean";
    let data = golden::unpack(name);
    let server = Server::start(data.path(), &setting(name));
    let before = read(&server, "GoldB", 1);
    server.connect(TIMEOUT).unwrap().delete_topic("GoldA").unwrap();
    assert!(server.stop().success());
    let records = |data: &Data| -> u64 {
        let checked = on(data, name, "check", &["--json"]);
        assert_eq!(checked.findings(), BTreeSet::new(), "{checked:?}");
        let list = checked.json()["streams"].as_array().unwrap().clone();
        list.iter().map(|stream| stream["records"].as_u64().unwrap()).sum()
    };
    let all = records(&data);
    assert!(!data.store().join("consumequeue/GoldA").exists());
    let done = on(&data, name, "layout", &["--streams", "2", "--apply"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(!data.store().join("consumequeue/GoldA").exists(), "its messages are back");
    assert!(records(&data) + 20 < all);
    let server = Server::start(data.path(), &setting(name));
    assert_eq!(read(&server, "GoldB", 1), before);
    assert!(server.stop().success());
}

#[test]
fn a_store_with_a_directory_on_another_device_keeps_its_layout() {
    let name = "v497-small-clean";
    let data = golden::unpack(name);
    let index = data.store().join("index");
    let copy = data.path().join("index");
    let copied = |from: &Path, to: &Path| {
        let cp = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status();
        assert!(cp.unwrap().success());
    };
    fs::create_dir(&copy).unwrap();
    copied(&index, &copy);
    let Some(_disk) = SmallDisk::mount(&index, 24) else { return };
    copied(&copy, &index);
    let before = snapshot(&data);
    let refused = on(&data, name, "layout", &["--streams", "3", "--apply"]);
    assert!(refused.code == 2 && refused.err.contains("index is on another device"), "{refused:?}");
    assert!(before == snapshot(&data), "nothing was changed");
}

#[test]
fn a_layout_command_that_was_killed_is_run_again() {
    let name = "v497-small-clean";
    let data = golden::unpack(name);
    let records = |checked: &Ran| -> u64 {
        let value = checked.json();
        let streams = value["streams"].as_array().unwrap().iter();
        streams.map(|stream| stream["records"].as_u64().unwrap()).sum()
    };
    let all = records(&on(&data, name, "check", &["--json"]));
    for round in 0..12u16 {
        let streams = (2 + round % 2).to_string();
        let (store, config) = (data.store(), golden::file(&format!("{name}.conf")));
        let mut command = Command::new(RINGMQ);
        command.args(["store", "layout"]).arg(store).arg("-c").arg(config);
        let mut child = command.args(["--apply", "--streams", &streams]).spawn().unwrap();
        // From the beginning of the copy to behind the end of the command.
        std::thread::sleep(Duration::from_millis(10 * u64::from(round)));
        let _ = child.kill();
        child.wait().unwrap();
        on(&data, name, "layout", &["--apply", "--streams", &streams]);
        let checked = on(&data, name, "check", &["--json"]);
        assert_eq!(checked.findings(), BTreeSet::new(), "{round}: {checked:?}");
        assert_eq!(checked.json()["streams"].as_array().unwrap().len().to_string(), streams);
        assert_eq!(records(&checked), all, "{round}");
    }
}

/// Two of these fit into a segment of 131,072 bytes: zeros end it.
const LARGE_BYTES: usize = 50_000;
const SMALL_SEGMENTS: &str = "mappedFileSizeCommitLog=131072\nlogStreams=1\n";

/// A store of `count` large messages as a Java broker leaves it, without an identity; the messages of queue 0.
fn large(count: usize) -> (Data, Setting, Vec<(i64, Vec<u8>)>) {
    let data = Data::new();
    let setting = Setting { shards: 1, config: SMALL_SEGMENTS.to_owned() };
    let server = Server::start(data.path(), &setting);
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P_tool");
    for number in 0..count {
        let message = Message::new("TopicTool", vec![u8::try_from(number).unwrap(); LARGE_BYTES]);
        producer.send(&message, 0).unwrap();
    }
    let sent = read(&server, "TopicTool", 0);
    assert_eq!(sent.len(), count);
    assert!(server.stop().success());
    fs::remove_file(data.store().join("ringmq.store")).unwrap();
    // And without segments that were made ahead.
    for entry in fs::read_dir(data.store().join("commitlog")).unwrap() {
        let path = entry.unwrap().path();
        let number: usize = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        if number / 131_072 >= count.div_ceil(2) {
            fs::remove_file(path).unwrap();
        }
    }
    (data, setting, sent)
}

fn shorten(path: &Path, bytes: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

#[test]
fn a_short_first_segment_does_not_make_the_others_look_wrong() {
    // Of three segments and of two; a size that segments can have and one that they cannot.
    for (count, bytes) in [(6, 126_976), (6, 110_000), (4, 126_976), (4, 110_000)] {
        let context = format!("{count} messages, {bytes} bytes");
        let (data, setting, sent) = large(count);
        let first = data.store().join("commitlog/00000000000000000000");
        shorten(&first, bytes);
        let refused = Server::start_refused(data.path(), &setting);
        let named = format!("{}: the segment has {bytes} bytes", first.display());
        assert!(refused.contains(&named) && refused.contains("131072"), "{context}: {refused}");
        assert!(refused.contains("`ringmq store repair"), "{context}: {refused}");
        assert!(!data.store().join("ringmq.store").exists(), "{context}: the size is not settled");
        let repaired = run(&["repair", data.store().to_str().unwrap(), "--apply"]);
        assert_eq!(repaired.code, 0, "{context}: {repaired:?}");
        assert_eq!(repaired.out.matches("its size").count(), 1, "{context}: {repaired:?}");
        let server = Server::start(data.path(), &setting);
        assert_eq!(read(&server, "TopicTool", 0), sent, "{context}");
        assert!(server.stop().success(), "{context}");
    }
}

#[test]
fn a_single_segment_that_is_none_is_refused_and_one_of_another_size_is_opened() {
    for bytes in [0, 110_000, 65_536] {
        let (data, setting, sent) = large(2);
        let first = data.store().join("commitlog/00000000000000000000");
        shorten(&first, bytes);
        let refused = Server::start_refused(data.path(), &setting);
        let named = format!("{}: the only log file has {bytes} bytes", first.display());
        assert!(refused.contains(&named) && refused.contains("131072"), "{bytes}: {refused}");
        assert!(refused.contains("`ringmq store repair"), "{bytes}: {refused}");
        let (store, config) = (data.store(), data.path().join("broker.conf"));
        let which = [store.to_str().unwrap(), "-c", config.to_str().unwrap()];
        let repaired = run(&[&["repair"][..], &which, &["--apply"]].concat());
        assert_eq!(repaired.code, 0, "{bytes}: {repaired:?}");
        let server = Server::start(data.path(), &setting);
        let whole = usize::try_from(bytes).unwrap() / LARGE_BYTES;
        assert_eq!(read(&server, "TopicTool", 0), sent[..whole], "{bytes}");
        assert!(server.stop().success(), "{bytes}");
    }
    let (data, setting, sent) = large(2);
    let config = setting.config.replace("131072", "262144");
    let server = Server::start(data.path(), &Setting { shards: 1, config });
    assert_eq!(read(&server, "TopicTool", 0), sent);
    assert!(server.stop().success());
}

type Spoil = fn(&mut Vec<u8>);

#[test]
fn each_kind_of_damage_has_its_name_and_is_repaired() {
    let name = "v497-small-clean";
    let item = |number: usize| 40 + 4 * 2000 + 20 * number;
    assert_eq!(item(5), 8140);
    let queue = "consumequeue/GoldA/0/00000000000000000000";
    let index = "index/20261121063207890";
    let cases: [(&str, Spoil, &[&str]); 9] = [
        (queue, |bytes| bytes[51] ^= 1, &["entry-size"]),
        (queue, |bytes| bytes[19] ^= 1, &["entry-tags"]),
        (queue, |bytes| bytes[20..60].fill(0), &["entry-missing"]),
        (queue, |bytes| bytes.truncate(19_980), &["queue-file-size"]),
        (index, |bytes| bytes[8143] ^= 1, &["index-wrong", "index-missing", "index-chains"]),
        (index, |bytes| bytes[35] ^= 1, &["index-slot-count"]),
        (index, |bytes| bytes.truncate(1000), &["index-size", "index-missing"]),
        ("commitlog/00000000000000524288", |bytes| bytes.truncate(100_000), &["segment-size"]),
        ("checkpoint", |bytes| bytes[1] = 1, &["checkpoint-time"]),
    ];
    for (file, spoil, kinds) in cases {
        let data = golden::unpack(name);
        let path = data.store().join(file);
        let mut bytes = fs::read(&path).unwrap();
        spoil(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let checked = on(&data, name, "check", &["--json"]);
        let expected: Vec<(&str, &str)> = kinds.iter().map(|kind| ("error", *kind)).collect();
        assert_eq!(checked.findings(), pairs(&expected), "{file}: {checked:?}");
        let repaired = on(&data, name, "repair", &["--apply"]);
        assert_eq!(repaired.code, 0, "{kinds:?}: {repaired:?}");
        let server = Server::start(data.path(), &setting(name));
        assert!(server.stop().success(), "{kinds:?}");
        assert_eq!(on(&data, name, "check", &["--json"]).findings(), BTreeSet::new(), "{kinds:?}");
    }
}

#[test]
fn a_stale_record_behind_the_end_is_told() {
    let name = "v550-tiny-clean";
    let data = golden::unpack(name);
    let end = on(&data, name, "check", &["--json"]).json()["streams"][0]["end"].as_u64().unwrap();
    let segment = 65_536;
    let file = |base: u64| data.store().join("commitlog").join(format!("{base:020}"));
    let first = fs::read(file(0)).unwrap();
    let size = usize::try_from(u32::from_be_bytes(first[..4].try_into().unwrap())).unwrap();
    let last = file(end - end % segment);
    let mut bytes = fs::read(&last).unwrap();
    let at = usize::try_from(end % segment).unwrap();
    bytes[at..at + size].copy_from_slice(&first[..size]);
    fs::write(&last, bytes).unwrap();
    let checked = on(&data, name, "check", &["--json"]);
    assert_eq!(checked.findings(), pairs(&[("error", "behind-the-end")]), "{checked:?}");
    assert!(checked.out.contains("the record belongs to another place"), "{checked:?}");
    assert_eq!(on(&data, name, "repair", &["--apply"]).code, 0);
    assert_eq!(on(&data, name, "check", &[]).code, 0);
}

#[test]
fn help_and_what_is_no_store() {
    for command in ["info", "check", "dump", "grep", "export", "repair", "layout"] {
        let help = run(&[command, "--help"]);
        assert!(help.code == 0 && help.out.contains("--configFile"), "{help:?}");
    }
    assert!(run(&["repair", "--help"]).out.contains("--cut-at"));
    let data = Data::new();
    for dir in [data.path().to_str().unwrap(), "/no/such/directory"] {
        let ran = run(&["check", dir]);
        assert!(ran.code == 2 && ran.err.contains(dir), "{ran:?}");
    }
    assert_eq!(run(&["grep", "x", "--since", "yesterday"]).code, 1);
}
