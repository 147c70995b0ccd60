//! The same requests leave the same files: a Java broker and ours are told the same, one after the other, and what they wrote is
//! compared byte by byte. Left out are times, ports, and what follows from them.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{Connection, ConsumerMember, Message, NewTopic, Options, Producer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;
use support::java::{self, JavaBroker};
use support::{Data, Random, Server, Setting};
use wire::body::client::MessageModel;
use wire::java_hash::java_string_hash;

const TIMEOUT: Duration = Duration::from_secs(20);
const CONFIG: &str = "mappedFileSizeCommitLog=65536\nmappedFileSizeConsumeQueue=2000\nmaxMessageSize=20000\nmaxHashSlotNum=100\n\
                      maxIndexNum=300\nmessageDelayLevel=1h 2h\ntransactionCheckInterval=3600000\ntransactionTimeOut=3600000\nautoCreateTopicEnable=true\ndiskMaxUsedSpaceRatio=95\n";
/// Bytes of a record's beginning that vary: its size and place with its properties, when and from which port it came, when and where
/// it was stored.
const RECORD_VARIES: [Range<usize>; 6] = [0..4, 28..36, 40..48, 52..56, 56..64, 68..72];
const RECORD_MAGIC: [u8; 4] = *b"\xDA\xA3\x20\xA7";
const FILLER_MAGIC: [u8; 4] = *b"\xCB\xD4\x31\x94";
/// Properties in which 4.9.7 is not like 5.5.0, nor like ours: it keeps no WAIT, gives the messages of a batch the CLUSTER, and adds none
/// of the others.
const OF_OTHER_VERSIONS: [&str; 5] =
    ["MSG_REGION", "TRACE_ON", "WAIT", "CLUSTER", "__transactionId__"];
const INDEX_ITEMS_AT: usize = 40 + 4 * 100;

fn send_all(address: SocketAddr, seed: u64) {
    let options = Options { timeout: TIMEOUT, ..Options::default() };
    let mut connection = Connection::connect_with(address, options).unwrap();
    for (name, queues) in [("SameA", 4), ("SameB", 2)] {
        connection.create_topic(&NewTopic::new(name, queues)).unwrap();
    }
    let mut random = Random::new(seed);
    let mut producer = Producer::new(connection, "P_same");
    for number in 0..700 {
        let (topic, queues) = *random.pick(&[("SameA", 4), ("SameA", 4), ("SameB", 2)]);
        let queue = i32::try_from(random.index(queues)).unwrap();
        let size = *random.pick(&[1, 30, 300, 3000]);
        let size = 1 + random.index(size);
        let unique = |part: u32| format!("7F000001{number:012}{part:012}");
        let message = |part: u32, random: &mut Random| {
            let message = Message::new(topic, random.bytes(size)).with("UNIQ_KEY", &unique(part));
            match random.below(6) {
                0 => message.tag("TagA"),
                1 => message.tag("TagB").keys("one two  three"),
                2 => message.keys(&format!("k{}", number % 17)).with("own", "värde"),
                3 => message.with("WAIT", "false").tag("TagC"),
                _ => message,
            }
        };
        match random.below(12) {
            0 => {
                let batch: Vec<Message> = (0..3).map(|part| message(part, &mut random)).collect();
                producer.send_batch(&batch, queue).unwrap();
            }
            1 => {
                let level = *random.pick(&["1", "2", "9"]);
                producer.send(&message(0, &mut random).with("DELAY", level), queue).unwrap();
            }
            2 => {
                let half = message(0, &mut random).half("P_same");
                producer.send(&half, queue).unwrap();
            }
            3 => {
                let mut flagged = message(0, &mut random);
                flagged.flag = 0x0102_0304;
                producer.send(&flagged, queue).unwrap();
            }
            _ => {
                producer.send(&message(0, &mut random), queue).unwrap();
            }
        }
    }
    let connection = producer.connection();
    let member = ConsumerMember {
        client_id: "127.0.0.1@same",
        group: "G_same",
        topic: "SameA",
        tags: "TagA || TagB",
        model: MessageModel::Clustering,
    };
    connection.heartbeat_consumer(&member).unwrap();
    for (topic, queue, offset) in [("SameA", 0, 7), ("SameA", 3, 11), ("SameB", 1, 5)] {
        connection.update_consumer_offset("G_same", topic, queue, offset).unwrap();
    }
}

/// Every file below a directory, by its path from there, but for files of zeros, which are made ahead.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(
                files(&path).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)),
            );
        } else {
            let bytes = fs::read(&path).unwrap();
            if bytes.iter().any(|byte| *byte != 0) {
                found.insert(name, bytes);
            }
        }
    }
    found
}

fn int(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())).unwrap()
}

fn long(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Numbers of the header, slots, items.
type Index = ([usize; 4], Vec<u8>, Vec<[usize; 3]>);

/// The records of a log, and which one lies where.
#[derive(Default)]
struct Log {
    /// All bytes before the properties but what varies, then the properties: each broker has them in an order of its own.
    records: Vec<(Vec<u8>, BTreeSet<String>)>,
    /// Record by place.
    numbers: BTreeMap<i64, usize>,
    sizes: Vec<usize>,
}

impl Log {
    fn read(data: &Data) -> Log {
        let mut log = Log::default();
        let segments = files(&data.store().join("commitlog"));
        for (name, bytes) in &segments {
            let base: i64 = name.parse().unwrap();
            let mut at = 0;
            while at + 8 <= bytes.len() && bytes[at + 4..at + 8] == RECORD_MAGIC {
                log.add(base + i64::try_from(at).unwrap(), &bytes[at..at + int(bytes, at)]);
                at += int(bytes, at);
            }
            // What fills a segment up says how much it fills, and nothing follows.
            let last = Some(name) == segments.keys().last();
            let filler = &bytes[at..];
            let is_filler = int(filler, 0) == filler.len() && filler[4..8] == FILLER_MAGIC;
            assert!(is_filler || last, "{name} at {at}");
            assert!(filler[if last { 0 } else { 8 }..].iter().all(|byte| *byte == 0), "{name}");
        }
        log
    }

    fn add(&mut self, place: i64, record: &[u8]) {
        assert_eq!(long(record, 28), place);
        let mut bytes = record.to_vec();
        for range in RECORD_VARIES {
            bytes[range].fill(0);
        }
        let topic_at = 88 + int(&bytes, 84);
        let properties_at = topic_at + 1 + usize::from(bytes[topic_at]);
        let properties = bytes.split_off(properties_at + 2);
        let properties = properties.split(|byte| *byte == 2).filter(|text| !text.is_empty());
        let properties = properties.map(|text| String::from_utf8(text.to_vec()).unwrap());
        bytes.truncate(properties_at);
        self.numbers.insert(place, self.records.len());
        self.records.push((bytes, properties.collect()));
        self.sizes.push(record.len());
    }

    /// Which record lies there.
    fn number(&self, place: i64) -> usize {
        *self.numbers.get(&place).unwrap_or_else(|| panic!("no record begins at {place}"))
    }

    /// Queue entries by number of record and tags code; those of delayed messages have the time when they are due instead.
    fn entries(&self, name: &str, bytes: &[u8]) -> Vec<(usize, i64)> {
        let used = bytes.chunks_exact(20).take_while(|entry| int(entry, 8) > 0);
        let seen = used.map(|entry| {
            let number = self.number(long(entry, 0));
            assert_eq!(int(entry, 8), self.sizes[number], "{name}");
            let code = long(entry, 12);
            (number, if name.starts_with("SCHEDULE_TOPIC_XXXX") { 0 } else { code })
        });
        seen.collect()
    }

    /// An index file but for its times: slots and items in use, the slots themselves, and the items by hash, number of record, and
    /// the item before.
    fn index(&self, bytes: &[u8]) -> Index {
        let count = int(bytes, 36);
        let ends = [16, 24].map(|at| self.number(long(bytes, at)));
        let items = bytes[INDEX_ITEMS_AT..].chunks_exact(20).take(count).skip(1);
        let items = items.map(|item| [int(item, 0), self.number(long(item, 4)), int(item, 16)]);
        let slots = bytes[40..INDEX_ITEMS_AT].to_vec();
        ([ends[0], ends[1], int(bytes, 32), count], slots, items.collect())
    }
}

/// A table without its version, whose time is another one.
fn table(data: &Data, name: &str) -> Value {
    let bytes = fs::read(data.store().join("config").join(name)).unwrap();
    let mut table: Value = wire::json::from_slice(&bytes).unwrap();
    table.as_object_mut().unwrap().remove("dataVersion");
    table
}

/// Everything that the first one has is in the second one.
fn has_all(theirs: &Value, mine: &Value, path: &str) {
    if let (Value::Object(theirs), Value::Object(mine)) = (theirs, mine) {
        for (key, theirs) in theirs {
            let path = format!("{path}/{key}");
            has_all(theirs, mine.get(key).unwrap_or_else(|| panic!("{path} is missing")), &path);
        }
    } else {
        assert_eq!(theirs, mine, "{path}");
    }
}

fn compare_index(version: java::Version, stores: [&Data; 2], logs: &[Log; 2]) {
    let [theirs, mine] = stores.map(|data| files(&data.store().join("index")));
    assert!(theirs.len() > 3);
    let all = |log: &Log, files: &BTreeMap<String, Vec<u8>>| -> Vec<_> {
        files.values().map(|bytes| log.index(bytes)).collect()
    };
    let (theirs, mine) = (all(&logs[0], &theirs), all(&logs[1], &mine));
    if version == java::Version::V550 {
        assert_eq!(theirs, mine);
        return;
    }
    // 4.9.7 does not index tags: its items are ours without those.
    let hash = |topic: &str, tag: &str| {
        let code = java_string_hash(&format!("{topic}#T#{tag}"));
        usize::try_from(code.unsigned_abs()).unwrap()
    };
    let tags = ["TagA", "TagB", "TagC"];
    let topics = ["SameA", "SameB", "SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC"];
    let of_tags: Vec<usize> =
        topics.iter().flat_map(|topic| tags.map(|tag| hash(topic, tag))).collect();
    let items = |files: Vec<Index>| -> Vec<[usize; 2]> {
        let items = files.into_iter().flat_map(|(_, _, items)| items);
        let items = items.map(|[hash, record, _]| [hash, record]);
        items.filter(|[hash, _]| !of_tags.contains(hash)).collect()
    };
    assert_eq!(items(theirs), items(mine));
}

fn compare_with(version: java::Version, seed: u64) {
    let (java, ours) = (Data::new(), Data::new());
    fs::create_dir_all(java.store()).unwrap();
    let broker = JavaBroker::start(&java.store(), version, CONFIG);
    send_all(broker.address, seed);
    broker.stop();
    let config = format!("{CONFIG}brokerClusterName=GoldCluster\nlogStreams=1\n");
    let server = Server::start(ours.path(), &Setting { shards: 1, config });
    send_all(server.broker, seed);
    assert!(server.stop().success());
    let stores = [&java, &ours];
    let logs = stores.map(Log::read);
    assert!(logs[0].records.len() > 700);
    for (number, (theirs, mine)) in logs[0].records.iter().zip(&logs[1].records).enumerate() {
        let differs = theirs.0.iter().zip(&mine.0).position(|(theirs, mine)| theirs != mine);
        assert_eq!((differs, theirs.0.len()), (None, mine.0.len()), "record {number}");
        let is_compared = |text: &&String| {
            let name = text.split('\x01').next().unwrap();
            version == java::Version::V550 || !OF_OTHER_VERSIONS.contains(&name)
        };
        let compared = |texts: &BTreeSet<String>| -> Vec<String> {
            texts.iter().filter(is_compared).cloned().collect()
        };
        assert_eq!(compared(&theirs.1), compared(&mine.1), "properties of record {number}");
    }
    assert_eq!(logs[0].records.len(), logs[1].records.len());
    let [theirs, mine] = stores.map(|data| files(&data.store().join("consumequeue")));
    assert!(
        theirs.len() > 8 && theirs.keys().eq(mine.keys()),
        "{:?} {:?}",
        theirs.keys(),
        mine.keys()
    );
    for ((name, theirs), mine) in theirs.iter().zip(mine.values()) {
        assert_eq!(theirs.len(), mine.len(), "{name}");
        assert_eq!(logs[0].entries(name, theirs), logs[1].entries(name, mine), "{name}");
    }
    compare_index(version, stores, &logs);
    for name in ["topics.json", "subscriptionGroup.json"] {
        let [theirs, mine] = stores.map(|data| table(data, name));
        has_all(&theirs, &mine, name);
        if version == java::Version::V550 {
            has_all(&mine, &theirs, name);
        }
    }
    // Beside the offsets 5.5.0 writes what follows from them, and nobody reads that.
    let [theirs, mine] = stores.map(|data| table(data, "consumerOffset.json"));
    let row = |table: &Value, topic: &str| table["offsetTable"][format!("{topic}@G_same")].clone();
    for topic in ["SameA", "SameB"] {
        assert_eq!(row(&theirs, topic), row(&mine, topic), "{theirs} {mine}");
        assert!(row(&mine, topic).is_object());
    }
}

#[test]
fn the_same_requests_leave_the_same_files_as_with_java() {
    if !java::is_available() {
        println!("no Java brokers: tests/java/run.sh --prepare fetches them");
        return;
    }
    let seed = Random::seed("same_files");
    compare_with(java::Version::V497, seed);
    compare_with(java::Version::V550, seed);
}
