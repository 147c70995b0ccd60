//! Stores that the Java broker wrote (`golden/store`) open in place: every message at its place, and the store goes on.
//!
//! What a reader must find was recorded from Java's own recovery of the same directories.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{
    Connection, Consumer, Message, NewTopic, Options, Producer, Pull, PullStatus, Received,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use support::java::{self, JavaBroker};
use support::{Data, Server, Setting, golden};
use wire::codes::response;

const TIMEOUT: Duration = Duration::from_secs(20);
/// Messages that are added to each queue that is written.
const ADDED: i64 = 30;
/// Their key.
const KEY: &str = "added";

/// A recorded store, unpacked.
struct Recorded {
    name: String,
    data: Data,
    setting: Setting,
    expected: Value,
}

impl Recorded {
    fn unpack(name: &str) -> Recorded {
        let data = golden::unpack(name);
        let config = fs::read_to_string(golden::file(&format!("{name}.conf"))).unwrap();
        // A slave's store is opened by a master: replication has tests of its own.
        let of_store = |line: &&str| {
            let key = line.split('=').next().unwrap();
            ["mappedFileSizeCommitLog", "mappedFileSizeConsumeQueue"].contains(&key)
                || key.starts_with("max")
        };
        let lines: Vec<&str> = config.lines().filter(of_store).collect();
        let expected = golden::read_json(&format!("{name}.expect.json.gz"));
        let setting = Setting { shards: 1, config: lines.join("\n") + "\n" };
        Recorded { name: name.to_owned(), data, setting, expected }
    }

    fn start(&self) -> Server {
        Server::start(self.data.path(), &self.setting)
    }

    fn java(&self) -> &Value {
        &self.expected["javaAfterRecovery"]
    }

    /// Queues that consumers of a 4.x broker can ask for: "topic/queue" and what they hold.
    fn queues(&self) -> Vec<(String, i32, &Value)> {
        let queues = self.java()["queues"].as_object().unwrap();
        let topics = self.topics();
        let mut list = Vec::new();
        for (name, queue) in queues {
            let (topic, id) = name.rsplit_once('/').unwrap();
            // Queues of 5.x that have another form: inner batches, and queues without a topic.
            let is_other = topic.starts_with("%LMQ%") || topic == "GoldBcq";
            if !is_other && topics.contains(&topic.to_owned()) {
                list.push((topic.to_owned(), id.parse().unwrap(), queue));
            }
        }
        assert!(list.len() >= 4, "{}: {} queues", self.name, list.len());
        list
    }

    fn topics(&self) -> Vec<String> {
        let text = self.expected["configText"]["topics.json"].as_str().unwrap();
        // Names stand before a brace, each in a line of its own.
        let lines = text.lines().filter_map(|line| line.trim().strip_suffix("\":{"));
        lines.filter_map(|line| line.strip_prefix('"')).map(str::to_owned).collect()
    }

    /// Messages by their place in the log.
    fn messages(&self) -> BTreeMap<i64, &Value> {
        let list = self.java()["messages"].as_array().unwrap();
        list.iter().map(|message| (message["phyOffset"].as_i64().unwrap(), message)).collect()
    }
}

fn properties(text: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8(text.to_vec()).unwrap();
    let pairs = text.split('\u{2}').filter_map(|part| part.split_once('\u{1}'));
    pairs.filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// Compares a message with Java's record of it.
fn compare(message: &Received, expected: &Value, context: &str) {
    let number = |key: &str| expected[key].as_i64().unwrap();
    let pairs = [
        (message.physical_offset, "phyOffset"),
        (i64::from(message.queue_id), "queueId"),
        (message.queue_offset, "queueOffset"),
        (i64::from(message.flag), "flag"),
        (i64::from(message.sys_flag), "sysFlag"),
        (message.born_timestamp, "bornTimestamp"),
        (message.store_timestamp, "storeTimestamp"),
        (i64::from(message.reconsume_times), "reconsumeTimes"),
        (message.prepared_transaction_offset, "preparedTransactionOffset"),
        (i64::try_from(message.body.len()).unwrap(), "bodyLen"),
        (i64::from(crc32fast::hash(&message.body) & 0x7FFF_FFFF), "bodyCrcComputed"),
    ];
    for (value, key) in pairs {
        assert_eq!(value, number(key), "{context}: {key}");
    }
    assert_eq!(message.topic, expected["topic"].as_str().unwrap(), "{context}");
    assert_eq!(message.born_host.to_string(), expected["bornHost"].as_str().unwrap(), "{context}");
    let texts = expected["properties"].as_object().unwrap().iter();
    let texts = texts.map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned()));
    assert_eq!(properties(&message.properties), texts.collect(), "{context}");
}

fn connect(broker: SocketAddr) -> Connection {
    let options = Options { timeout: TIMEOUT, ..Options::default() };
    Connection::connect_with(broker, options).unwrap()
}

/// Reads all of a queue from its first offset.
fn read(consumer: &mut Consumer, topic: &str, queue: i32) -> Vec<Received> {
    let mut offset = consumer.connection().min_offset(topic, queue).unwrap();
    let mut list = Vec::new();
    loop {
        let pulled = consumer.pull(&Pull::new(topic, queue, offset)).unwrap();
        let goes_on = match pulled.status {
            PullStatus::Found => true,
            // What cannot be read is skipped.
            PullStatus::RetryImmediately => pulled.next_offset > offset,
            PullStatus::NotFound | PullStatus::OffsetMoved => false,
        };
        if !goes_on {
            return list;
        }
        offset = pulled.next_offset;
        list.extend(pulled.messages);
    }
}

/// Every message Java serves is served, at its queue offset, unchanged; behind them come `added` of ours.
///
/// What waited in the store is delivered meanwhile. `others`: a Java broker has run since, which asks about open transactions.
fn check_queues(recorded: &Recorded, broker: SocketAddr, added: i64, others: bool) {
    let mut consumer = Consumer::new(connect(broker), "G_reader");
    let messages = recorded.messages();
    for (topic, id, queue) in recorded.queues() {
        let context = format!("{} {topic}/{id}", recorded.name);
        let (min, max) = (queue["min"].as_i64().unwrap(), queue["max"].as_i64().unwrap());
        let extra = if is_written(&topic) { added } else { 0 };
        let admin = consumer.connection();
        let found = admin.max_offset(&topic, id).unwrap();
        let units = queue["units"].as_array().unwrap();
        let first = admin.min_offset(&topic, id).unwrap();
        if !units.is_empty() {
            assert_eq!(first, min, "{context}");
        }
        let served = read(&mut consumer, &topic, id);
        // More may have come since.
        assert!(served.len() >= usize::try_from(found - first).unwrap(), "{context}");
        let waited = served.iter().skip(units.len()).filter(|message| has_waited(message)).count();
        let found = first + i64::try_from(served.len() - waited).unwrap();
        assert!(found == max + extra || others && found > max + extra, "{context}: {found}");
        for (message, unit) in served.iter().zip(units) {
            let phy = unit[1].as_i64().unwrap();
            assert_eq!(message.queue_offset, unit[0].as_i64().unwrap(), "{context}");
            compare(message, messages[&phy], &context);
        }
        let behind = served.iter().skip(units.len());
        let ours: Vec<&Received> =
            behind.filter(|m| m.property("KEYS").is_some_and(|keys| keys == KEY)).collect();
        assert_eq!(ours.len(), usize::try_from(extra).unwrap(), "{context}");
        for (number, message) in (0..).zip(ours) {
            assert_eq!(message.body, body(&topic, id, number), "{context}");
        }
    }
}

/// Whether the message was in another topic before.
fn has_waited(message: &Received) -> bool {
    message.property("REAL_TOPIC").is_some()
}

/// What waited in the store when it was handed over has been delivered: it was due long ago.
fn check_waited(recorded: &Recorded, broker: SocketAddr) {
    let mut consumer = Consumer::new(connect(broker), "G_reader");
    for key in ["delay-18", "timer-far"] {
        let of_key = |m: &&Value| m["properties"]["KEYS"] == key;
        let Some(waiting) = recorded.java()["messages"].as_array().unwrap().iter().find(of_key)
        else {
            continue;
        };
        let text = |name: &str| waiting["properties"][name].as_str().unwrap();
        let served = read(&mut consumer, text("REAL_TOPIC"), text("REAL_QID").parse().unwrap());
        let found = served.iter().filter(|m| m.property("UNIQ_KEY").unwrap() == text("UNIQ_KEY"));
        let lens: Vec<usize> = found.map(|message| message.body.len()).collect();
        let len = usize::try_from(waiting["bodyLen"].as_u64().unwrap()).unwrap();
        assert!(!lens.is_empty() && lens.iter().all(|l| *l == len), "{}: {key}", recorded.name);
    }
}

fn is_written(topic: &str) -> bool {
    topic == "GoldA" || topic.starts_with("T_long_")
}

fn body(topic: &str, queue: i32, number: i64) -> Vec<u8> {
    let mut body = format!("{topic}/{queue} number {number} ").into_bytes();
    body.resize(3000, b'.');
    body
}

/// Adds messages to some queues, which have `from` of ours already.
fn write(recorded: &Recorded, broker: SocketAddr, from: i64) {
    let mut producer = Producer::new(connect(broker), "P_writer");
    for (topic, id, queue) in recorded.queues() {
        if !is_written(&topic) {
            continue;
        }
        let max = queue["max"].as_i64().unwrap();
        for number in from..from + ADDED {
            let message = Message::new(&topic, body(&topic, id, number)).tag("TagR").keys(KEY);
            assert!(producer.send(&message, id).unwrap().queue_offset >= max + number);
        }
    }
}

/// The queue files hold the units that Java's hold, also those that were made again.
fn check_files(recorded: &Recorded) {
    let root = recorded.data.store().join("consumequeue");
    for (topic, id, queue) in recorded.queues() {
        for unit in queue["units"].as_array().unwrap() {
            let number = |at: usize| unit[at].as_i64().unwrap();
            let at = u64::try_from(number(0)).unwrap() * 20;
            let dir = root.join(&topic).join(id.to_string());
            let mut files: Vec<PathBuf> =
                fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            let start = |path: &PathBuf| -> u64 {
                path.file_name().unwrap().to_str().unwrap().parse().unwrap()
            };
            let file = files.iter().rfind(|path| start(path) <= at).unwrap();
            let bytes = fs::read(file).unwrap();
            let from = usize::try_from(at - start(file)).unwrap();
            let mut expected = number(1).to_be_bytes().to_vec();
            expected.extend(i32::try_from(number(2)).unwrap().to_be_bytes());
            expected.extend(number(3).to_be_bytes());
            assert_eq!(
                bytes[from..from + 20],
                expected,
                "{} {topic}/{id} unit {}",
                recorded.name,
                number(0)
            );
        }
    }
}

fn check_consumer_offsets(recorded: &Recorded, server: &Server) {
    let text = recorded.expected["configText"]["consumerOffset.json"].as_str().unwrap_or_default();
    let mut connection = server.connect(TIMEOUT).unwrap();
    let (mut key, mut count) = (None, 0);
    let table = text.split("\"offsetTable\"").nth(1).unwrap_or_default();
    let table = table.split("\"pullOffsetTable\"").next().unwrap_or_default();
    // One entry per name, then `queue:offset` pairs; fastjson leaves the queues unquoted.
    for part in table.split([',', '{', '}', '\n', '\t']).filter(|part| !part.is_empty()) {
        if let Some(name) = part.strip_prefix('"').and_then(|p| p.strip_suffix("\":")) {
            key = name.split_once('@').map(|(t, g)| (t.to_owned(), g.to_owned()));
        } else if let (Some((topic, group)), Some((queue, offset))) = (&key, part.split_once(':')) {
            let (queue, offset) = (queue.parse().unwrap(), offset.parse().unwrap());
            let found = connection.consumer_offset(group, topic, queue).unwrap();
            assert_eq!(found, Some(offset), "{} {topic}@{group} {queue}", recorded.name);
            count += 1;
        }
    }
    let wanted = usize::from(recorded.name.contains("small") || recorded.name.contains("tiny"));
    assert!(count >= wanted, "{}: {count} consumer offsets", recorded.name);
}

fn open_and_go_on(name: &str) {
    let recorded = Recorded::unpack(name);
    let server = recorded.start();
    check_queues(&recorded, server.broker, 0, false);
    check_consumer_offsets(&recorded, &server);
    write(&recorded, server.broker, 0);
    check_queues(&recorded, server.broker, ADDED, false);
    server.kill();
    let server = recorded.start();
    check_queues(&recorded, server.broker, ADDED, false);
    assert!(server.stop().success());
    check_files(&recorded);
    let server = recorded.start();
    check_queues(&recorded, server.broker, ADDED, false);
    check_waited(&recorded, server.broker);
}

#[test]
fn a_java_store_opens_in_place_and_goes_on() {
    let names = golden::names();
    assert!(names.len() > 10, "{names:?}");
    // Most of the time is waiting for registrations and stops.
    std::thread::scope(|scope| {
        for part in names.chunks(names.len().div_ceil(4)) {
            scope.spawn(move || part.iter().for_each(|name| open_and_go_on(name)));
        }
    });
}

/// Their entries name records of another topic, from which they could not be made again.
#[test]
fn the_light_queues_of_a_killed_java_broker_stay() {
    for lacks_checkpoint in [false, true] {
        let recorded = Recorded::unpack("v550-special-clean");
        let store = recorded.data.store();
        fs::write(store.join("abort"), "4711").unwrap();
        if lacks_checkpoint {
            fs::write(store.join("checkpoint"), [0; 4096]).unwrap();
        }
        let files = ["one", "two"].map(|name| {
            let path = store.join(format!("consumequeue/%LMQ%{name}/0/00000000000000000000"));
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        });
        // Of a record that the kill took.
        let (path, before) = &files[1];
        let mut bytes = before.clone();
        let lost = [&120_000_u64.to_be_bytes()[..], &bytes[8..20]].concat();
        bytes[100..120].copy_from_slice(&lost);
        fs::write(path, bytes).unwrap();
        let check = |when: &str| {
            for (path, bytes) in &files {
                let context = format!("{when}, checkpoint lost: {lacks_checkpoint}");
                assert!(fs::read(path).unwrap() == *bytes, "{context}: {}", path.display());
            }
        };
        let server = recorded.start();
        check("after the start");
        write(&recorded, server.broker, 0);
        server.kill();
        let server = recorded.start();
        check("after our own crash");
        check_queues(&recorded, server.broker, ADDED, false);
        assert!(server.stop().success());
        check("after the stop");
    }
}

/// A queue file of ours beside Java's batch consume queue would keep Java from starting.
#[test]
fn topics_with_queues_of_another_type_are_refused_and_left_as_they_are() {
    const OURS: &str = "Turned";
    let recorded = Recorded::unpack("v550-special-clean");
    let refused = |server: &Server, topic: &str, queue: i32| {
        let mut producer = Producer::new(connect(server.broker), "P");
        let sent = producer.send(&Message::new(topic, body(topic, queue, 0)), queue).unwrap_err();
        let mut consumer = Consumer::new(connect(server.broker), "C");
        let pulled = consumer.pull(&Pull::new(topic, queue, 0)).unwrap_err();
        for error in [sent, pulled] {
            assert_eq!(error.refused_code(), Some(response::NO_PERMISSION), "{error}");
            assert!(error.to_string().contains("queue.type=BatchCQ"), "{error}");
        }
        assert!(!recorded.data.store().join("consumequeue").join(topic).exists(), "{topic}");
    };
    let server = recorded.start();
    (0..2).for_each(|queue| refused(&server, "GoldBcq", queue));
    let new = NewTopic { attributes: Some("+queue.type=BatchCQ"), ..NewTopic::new("New", 1) };
    assert!(connect(server.broker).create_topic(&new).is_err());
    // A delayed message whose topic has become such a one.
    server.topic_named(OURS);
    let delayed = Message::new(OURS, body(OURS, 0, 0)).with("DELAY", "2");
    Producer::new(connect(server.broker), "P").send(&delayed, 0).unwrap();
    assert!(server.stop().success());
    let path = recorded.data.store().join("config/topics.json");
    let mut table: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    table["topicConfigTable"][OURS]["attributes"]["queue.type"] = "BatchCQ".into();
    fs::write(&path, table.to_string()).unwrap();
    let server = recorded.start();
    let until = Instant::now() + TIMEOUT;
    let is_said = |line: &str| line.contains("is dropped") && line.contains(OURS);
    while !fs::read_to_string(recorded.data.path().join("log")).unwrap().lines().any(is_said) {
        assert!(Instant::now() < until, "the delayed message is looked at");
        std::thread::sleep(Duration::from_millis(100));
    }
    refused(&server, OURS, 0);
    assert!(server.stop().success());
    refused(&recorded.start(), "GoldBcq", 0);
}

#[test]
fn a_damaged_java_store_loses_what_java_loses_or_is_refused() {
    for name in ["v497-small-killed", "v550-burst-killed"] {
        let variants = golden::read_json(&format!("{name}.damage.json.gz"));
        for (variant, damaged) in variants["variants"].as_object().unwrap() {
            let recorded = Recorded::unpack(name);
            golden::damage(&recorded.data, damaged);
            let has_hole = variant == "hole-in-the-middle";
            if has_hole && name == "v550-burst-killed" {
                // 5.5.0 drops what follows. We leave that to the operator.
                let text = Server::start_refused(recorded.data.path(), &recorded.setting);
                assert!(text.contains("valid records begin here"), "{name}: {text}");
                assert!(text.contains("No record was changed"), "{name}: {text}");
                continue;
            }
            let server = recorded.start();
            let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "G_reader");
            for (topic, id, _) in recorded.queues() {
                let context = format!("{name} {variant} {topic}/{id}");
                let java = &damaged["javaAfterRecovery"]["queues"][format!("{topic}/{id}")];
                let max = java["max"].as_i64().unwrap();
                let mut served = read(&mut consumer, &topic, id);
                served.retain(|message| message.queue_offset < max || !has_waited(message));
                let found = served.last().map_or(max, |message| message.queue_offset + 1);
                assert_eq!(found, max, "{context}");
                // 4.9.7's checkpoint vouches for what lies before the hole: it is not looked at, and one message is gone.
                let lost = u64::from(has_hole && topic == "GoldC" && id == hole_queue(&recorded));
                let expected = java["unitCount"].as_u64().unwrap() - lost;
                assert_eq!(served.len() as u64, expected, "{context}");
            }
            write_behind(&recorded, &server, &damaged["javaAfterRecovery"]["queues"]);
        }
    }
}

/// Spoils a queue file of 400 bytes and returns what it holds then.
fn give_bytes(file: &Path, count: usize) -> Vec<u8> {
    let mut bytes = fs::read(file).unwrap();
    assert_eq!(bytes.len(), 400, "{}", file.display());
    bytes.resize(count, 7);
    fs::write(file, &bytes).unwrap();
    bytes
}

#[test]
fn a_queue_file_that_lost_its_size_is_made_again_when_the_others_have_theirs() {
    let names = ["v497-tiny-clean", "v550-tiny-clean", "v497-tiny-killed", "v550-tiny-killed"];
    for (name, bytes) in names.into_iter().flat_map(|name| [(name, 60), (name, 500)]) {
        let recorded = Recorded::unpack(name);
        let store = recorded.data.store();
        let dir = store.join("consumequeue/GoldA/0");
        let file = |base: u64| dir.join(format!("{base:020}"));
        let kept =
            |name: &str| fs::read(store.join("cut/consumequeue/GoldA/0").join(name)).unwrap();
        let spoiled = give_bytes(&file(0), bytes);
        let server = recorded.start();
        check_queues(&recorded, server.broker, 0, false);
        write(&recorded, server.broker, 0);
        check_queues(&recorded, server.broker, ADDED, false);
        assert!(server.stop().success(), "{name}");
        check_files(&recorded);
        assert_eq!(kept("00000000000000000000"), spoiled, "{name}: {bytes}");
        // Now it is ours, and there is a later file.
        assert!(file(400).exists(), "{name}");
        let spoiled = give_bytes(&file(0), bytes);
        assert!(store.join("ringmq.queues").exists(), "{name}: the stop has noted the queues");
        let server = recorded.start();
        check_queues(&recorded, server.broker, ADDED, false);
        assert!(server.stop().success(), "{name}");
        check_files(&recorded);
        assert_eq!(kept("00000000000000000000.1"), spoiled, "{name}: {bytes}");
        recorded.start().kill();
        let spoiled = give_bytes(&file(0), bytes);
        let server = recorded.start();
        check_queues(&recorded, server.broker, ADDED, false);
        assert!(server.stop().success(), "{name}");
        check_files(&recorded);
        assert_eq!(kept("00000000000000000000.2"), spoiled, "{name}: {bytes}, after a kill");
    }
}

/// Queue of the message at 460,242, which the damage of `v497-small-killed` zeroes.
fn hole_queue(recorded: &Recorded) -> i32 {
    let message = recorded.messages()[&460_242];
    assert_eq!(message["topic"], "GoldC");
    i32::try_from(message["queueId"].as_i64().unwrap()).unwrap()
}

/// The store goes on where the damage ended it.
fn write_behind(recorded: &Recorded, server: &Server, java: &Value) {
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P_writer");
    for (topic, id, _) in recorded.queues().iter().filter(|(topic, ..)| is_written(topic)) {
        let max = java[format!("{topic}/{id}")]["max"].as_i64().unwrap();
        let sent = producer.send(&Message::new(topic, body(topic, *id, 0)), *id).unwrap();
        assert_eq!(sent.queue_offset, max);
    }
}

/// Ours, then Java's, then ours again, each reading everything and adding to it.
fn hand_over(name: &str, version: java::Version) {
    let recorded = Recorded::unpack(name);
    let server = recorded.start();
    write(&recorded, server.broker, 0);
    check_queues(&recorded, server.broker, ADDED, false);
    assert!(server.stop().success());
    let broker = JavaBroker::start(&recorded.data.store(), version, &recorded.setting.config);
    check_queues(&recorded, broker.address, ADDED, true);
    write(&recorded, broker.address, ADDED);
    check_queues(&recorded, broker.address, 2 * ADDED, true);
    broker.stop();
    let server = recorded.start();
    check_queues(&recorded, server.broker, 2 * ADDED, true);
    write(&recorded, server.broker, 2 * ADDED);
    assert!(server.stop().success());
    // A killed Java broker after us, and a killed broker of ours before it.
    let broker = JavaBroker::start(&recorded.data.store(), version, &recorded.setting.config);
    check_queues(&recorded, broker.address, 3 * ADDED, true);
    write(&recorded, broker.address, 3 * ADDED);
    broker.kill();
    let server = recorded.start();
    check_queues(&recorded, server.broker, 4 * ADDED, true);
    server.kill();
    let server = recorded.start();
    check_queues(&recorded, server.broker, 4 * ADDED, true);
}

#[test]
fn java_goes_on_in_a_store_that_we_wrote() {
    if !java::is_available() {
        println!("no Java brokers: tests/java/run.sh --prepare fetches them");
        return;
    }
    use java::Version::{V497, V550};
    let cases = [
        ("v497-small-clean", V497),
        ("v497-tiny-killed", V497),
        ("v550-small-clean", V550),
        ("v550-burst-killed", V550),
        // An upgrade on the way.
        ("v497-default-clean", V550),
    ];
    std::thread::scope(|scope| {
        for part in cases.chunks(2) {
            scope.spawn(move || part.iter().for_each(|(name, version)| hand_over(name, *version)));
        }
    });
}

// ---- extended queue entries ----

/// Sends `count` messages to queue 0, tags A, B, A, B.
fn send_tagged(address: SocketAddr, from: i64, count: i64) {
    let options = Options { timeout: TIMEOUT, ..Options::default() };
    let mut producer = Producer::new(Connection::connect_with(address, options).unwrap(), "P");
    for offset in from..from + count {
        let tag = if offset % 2 == 0 { "A" } else { "B" };
        let sent = producer.send(&Message::new("Extended", vec![7; 100]).tag(tag), 0).unwrap();
        assert_eq!(sent.queue_offset, offset);
    }
}

/// Offsets of the messages that a pull for these tags brings, from `offset` on.
fn tagged(address: SocketAddr, tags: &str, mut offset: i64) -> Vec<i64> {
    let options = Options { timeout: TIMEOUT, ..Options::default() };
    let mut consumer = Consumer::new(Connection::connect_with(address, options).unwrap(), "C");
    let end = consumer.connection().max_offset("Extended", 0).unwrap();
    let mut found = Vec::new();
    while offset < end {
        let pulled = consumer.pull(&Pull::new("Extended", 0, offset).tags(tags)).unwrap();
        assert!(pulled.next_offset > offset, "{:?} at {offset} of {end}", pulled.status);
        offset = pulled.next_offset;
        found.extend(pulled.messages.iter().map(|message| message.queue_offset));
    }
    found
}

fn check_tagged(address: SocketAddr, count: i64) {
    let every = |first: usize| (0..count).skip(first).step_by(2).collect::<Vec<i64>>();
    assert_eq!(tagged(address, "A", 0), every(0));
    assert_eq!(tagged(address, "B", 0), every(1));
    assert_eq!(tagged(address, "B", 301), every(1)[150..]);
    assert_eq!(tagged(address, "A||B", 0).len(), usize::try_from(count).unwrap());
    assert!(tagged(address, "C", 0).is_empty());
}

/// Each of these entries has the address of a unit with its message's tags code and a store time of this minute.
fn check_units(data: &Data, offsets: std::ops::Range<usize>) {
    let whole = |dir: &str| -> Vec<u8> {
        let dir = data.store().join(dir).join("Extended/0");
        let mut names: Vec<PathBuf> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        names.iter().flat_map(|path| fs::read(path).unwrap()).collect()
    };
    let (entries, units) = (whole("consumequeue"), whole("consumequeue_ext"));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let number = |bytes: &[u8]| i64::from_be_bytes(bytes.try_into().unwrap());
    for offset in offsets {
        let address = number(&entries[offset * 20 + 12..][..8]);
        let unit = &units[usize::try_from(address.abs_diff(i64::MIN)).unwrap()..][..20];
        let code = i64::from(b'A') + i64::try_from(offset % 2).unwrap();
        assert_eq!((&unit[..2], number(&unit[2..10])), (&[0, 20][..], code), "entry {offset}");
        let age = now.abs_diff(u128::try_from(number(&unit[10..18])).unwrap());
        assert!(age < 60_000 && unit[18..] == [0, 0], "entry {offset} is {age} ms old");
    }
}

/// A store whose queue entries have their tags codes in `consumequeue_ext` is read, goes on, and is handed back.
fn extended(version: java::Version) {
    let data = Data::new();
    fs::create_dir_all(data.store()).unwrap();
    let config = "enableConsumeQueueExt=true\nmappedFileSizeConsumeQueueExt=2000\nmappedFileSizeConsumeQueue=4000\n\
                  mappedFileSizeCommitLog=1048576\nmaxHashSlotNum=100\nmaxIndexNum=500\nautoCreateTopicEnable=true\n\
                  diskMaxUsedSpaceRatio=95\n";
    let setting = Setting { shards: 1, config: format!("{config}brokerClusterName=GoldCluster\n") };
    let broker = JavaBroker::start(&data.store(), version, config);
    let mut connection = Connection::connect(broker.address).unwrap();
    connection.create_topic(&client::NewTopic::new("Extended", 1)).unwrap();
    drop(connection);
    send_tagged(broker.address, 0, 500);
    check_tagged(broker.address, 500);
    broker.stop();
    let ext = data.store().join("consumequeue_ext/Extended/0");
    let files = fs::read_dir(&ext).unwrap().count();
    assert!(files >= 5, "{files} files with extended entries");
    // Without the key ours reads what is there and writes plain entries.
    let plain = Setting { shards: 1, config: setting.config.replace("Ext=true", "Ext=false") };
    let server = Server::start(data.path(), &plain);
    check_tagged(server.broker, 500);
    send_tagged(server.broker, 500, 50);
    assert!(server.stop().success());
    assert_eq!(fs::read_dir(&ext).unwrap().count(), files);
    let server = Server::start(data.path(), &setting);
    check_tagged(server.broker, 550);
    send_tagged(server.broker, 550, 50);
    // In the files after the next round.
    std::thread::sleep(Duration::from_millis(1500));
    server.kill();
    let server = Server::start(data.path(), &setting);
    check_tagged(server.broker, 600);
    assert!(server.stop().success());
    check_units(&data, 550..600);
    let broker = JavaBroker::start(&data.store(), version, config);
    check_tagged(broker.address, 600);
    send_tagged(broker.address, 600, 100);
    broker.kill();
    let server = Server::start(data.path(), &setting);
    check_tagged(server.broker, 700);
    assert!(server.stop().success());
    // Without the files every message may have the tags, and clients sort them out.
    fs::remove_dir_all(ext.parent().unwrap()).unwrap();
    let server = Server::start(data.path(), &setting);
    let found = tagged(server.broker, "A", 0);
    assert!(found.len() >= 600 && found.iter().filter(|offset| **offset % 2 == 0).count() == 350);
    server.connect(TIMEOUT).unwrap().delete_topic("Extended").unwrap();
    assert!(server.stop().success());
}

#[test]
fn extended_queue_entries_of_java_are_read() {
    if !java::is_available() {
        println!("no Java brokers: tests/java/run.sh --prepare fetches them");
        return;
    }
    [java::Version::V497, java::Version::V550].into_iter().for_each(extended);
}
