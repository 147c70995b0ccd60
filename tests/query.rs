//! Messages by key, unique key, tag, time and place, asked of a real broker through every kind of end a process can have.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{Connection, Message, Producer, Received, Reply, SendResult};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;
use support::{Data, Server, Setting};
use wire::body::control::QueryConsumeQueueResponseBody;
use wire::codes::{request, response};
use wire::req::client::{QueryMessageRequestHeader, ViewMessageRequestHeader};
use wire::req::control::QueryConsumeQueueRequestHeader;
use wire::{MessageId, Text, json};

const TIMEOUT: Duration = Duration::from_secs(20);
/// Longer than it takes until entries are in the files.
const IN_FILES: Duration = Duration::from_millis(2500);
const MESSAGES: usize = 400;
/// Messages with the same key.
const GROUP: usize = 8;

fn setting(shards: u16, flush: &str) -> Setting {
    // Small enough for several index files and log segments; most of the log has to be read from the disk.
    let config = format!(
        "mappedFileSizeCommitLog=1048576\nlogWindowBytes=1048576\nmaxMessageSize=262144\nflushDiskType={flush}\n\
         maxHashSlotNum=100\nmaxIndexNum=300\n"
    );
    Setting { shards, config }
}

fn unique(at: usize) -> String {
    format!("7F000001000051AF{at:016X}")
}

fn message(topic: &str, at: usize) -> Message {
    let size = if at.is_multiple_of(10) { 20_000 } else { 3_000 };
    let body = vec![u8::try_from(at % 251).unwrap(); size];
    let keys = format!("key{at} group{}", at / GROUP);
    Message::new(topic, body)
        .tag(&format!("tag{}", at % 5))
        .keys(&keys)
        .with("UNIQ_KEY", &unique(at))
}

/// Sends messages `from..to`; their answers.
fn send(server: &Server, topic: &str, from: usize, to: usize) -> Vec<SendResult> {
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "G_query");
    let queue = |at: usize| i32::try_from(at % 8).unwrap();
    (from..to).map(|at| producer.send(&message(topic, at), queue(at)).unwrap()).collect()
}

struct Query<'q> {
    key: &'q str,
    is_unique: bool,
    index_type: Option<&'q str>,
    times: (i64, i64),
    count_max: i32,
}

impl<'q> Query<'q> {
    fn key(key: &'q str) -> Query<'q> {
        let times = (0, i64::MAX);
        Query { key, is_unique: false, index_type: None, times, count_max: 32 }
    }

    fn ask(&self, connection: &mut Connection, topic: &str) -> Reply {
        let text = |text: &'q str| Text::plain(text.as_bytes());
        let header = QueryMessageRequestHeader {
            max_num: self.count_max,
            begin_timestamp: self.times.0,
            end_timestamp: self.times.1,
            unique_key_query: Some(text(if self.is_unique { "true" } else { "false" })),
            index_type: self.index_type.map(text),
            ..support::key_query(topic, self.key)
        };
        connection.call(request::QUERY_MESSAGE, |writer| header.encode(writer), &[]).unwrap()
    }
}

fn found(reply: &Reply) -> Vec<Received> {
    match reply.code() {
        response::SUCCESS => Received::decode_all(reply.body()).unwrap(),
        code => {
            assert_eq!((code, reply.body().len()), (response::QUERY_NOT_FOUND, 0));
            Vec::new()
        }
    }
}

fn numbers(messages: &[Received]) -> Vec<usize> {
    let number = |message: &Received| {
        let unique = message.property("UNIQ_KEY").unwrap();
        usize::from_str_radix(&unique[16..], 16).unwrap()
    };
    messages.iter().map(number).collect()
}

fn place(sent: &SendResult) -> i64 {
    MessageId::parse(sent.msg_id.as_bytes()).unwrap().phy.to_wire()
}

fn view(connection: &mut Connection, offset: i64) -> Reply {
    let header = ViewMessageRequestHeader { offset };
    connection.call(request::VIEW_MESSAGE_BY_ID, |writer| header.encode(writer), &[]).unwrap()
}

/// Asks for every message in every way.
fn check(server: &Server, topic: &str, sent: &[SendResult], what: &str) {
    let mut connection = server.connect(TIMEOUT).unwrap();
    let connection = &mut connection;
    for (at, result) in sent.iter().enumerate() {
        let unique = unique(at);
        let query = Query { is_unique: true, index_type: Some("U"), ..Query::key(&unique) };
        let messages = found(&query.ask(connection, topic));
        assert_eq!(numbers(&messages), [at], "{what}: the unique key of {at}");
        assert_eq!(messages[0].physical_offset, place(result), "{what}: {at}");
        let key = format!("key{at}");
        let messages = found(&Query::key(&key).ask(connection, topic));
        assert_eq!(numbers(&messages), [at], "{what}: the key of {at}");
        let viewed = view(connection, place(result)).success().unwrap();
        let (viewed, size) = Received::decode(viewed.body()).unwrap();
        assert_eq!(viewed, messages[0], "{what}: {size} bytes at the place of {at}");
    }
    for group in 0..sent.len() / GROUP {
        let key = format!("group{group}");
        let reply = Query { index_type: Some("K"), ..Query::key(&key) }.ask(connection, topic);
        let mut members = numbers(&found(&reply));
        members.sort_unstable();
        let expected: Vec<usize> = (group * GROUP..(group + 1) * GROUP).collect();
        assert_eq!(members, expected, "{what}: a key of several messages");
    }
    check_tags(connection, topic, sent, what);
    check_nothing(connection, topic, what);
}

fn check_tags(connection: &mut Connection, topic: &str, sent: &[SendResult], what: &str) {
    let query = Query { index_type: Some("T"), count_max: 7, ..Query::key("tag3") };
    let reply = query.ask(connection, topic);
    let mut newest = numbers(&found(&reply));
    newest.sort_unstable();
    let mut expected: Vec<usize> = (0..sent.len()).filter(|at| at % 5 == 3).collect();
    let expected = expected.split_off(expected.len() - 7);
    assert_eq!(newest, expected, "{what}: the newest messages with a tag");
    assert!(reply.field("indexLastUpdateTimestamp").unwrap().parse::<i64>().unwrap() > 0);
    let last: Vec<i64> = sent.iter().map(place).collect();
    let told: i64 = reply.field("indexLastUpdatePhyoffset").unwrap().parse().unwrap();
    assert!(last.contains(&told), "{what}: the index ends at {told}");
}

/// What is not there is answered as Java does, byte for byte.
fn check_nothing(connection: &mut Connection, topic: &str, what: &str) {
    let reply = Query::key("no-such-key").ask(connection, topic);
    let expected = format!(
        "{{\"code\":22,\"extFields\":{{\"indexLastUpdatePhyoffset\":\"0\",\"indexLastUpdateTimestamp\":\"0\"}},\"flag\":1,\
         \"language\":\"JAVA\",\"opaque\":{},\"remark\":\"can not find message, maybe time range not correct\",\
         \"serializeTypeCurrentRPC\":\"JSON\",\"version\":513}}",
        reply.opaque()
    );
    assert_eq!(&reply.bytes()[8..], expected.as_bytes(), "{what}");
    for times in [(0, 1000), (i64::MAX - 1, i64::MAX)] {
        assert!(found(&Query { times, ..Query::key("key1") }.ask(connection, topic)).is_empty());
    }
    for count_max in [0, -1] {
        let query = Query { count_max, ..Query::key("key1") };
        assert!(found(&query.ask(connection, topic)).is_empty());
    }
    for offset in [-1, 7, 8_388_607, 1 << 47, 1 << 60, i64::MAX] {
        let reply = view(connection, offset);
        assert_eq!(reply.code(), response::SYSTEM_ERROR, "{what}");
        assert_eq!(reply.remark(), format!("can not find message by the offset, {offset}"));
    }
}

#[test]
fn messages_are_found_at_once_and_after_every_kind_of_end() {
    for (shards, flush) in [(1, "ASYNC_FLUSH"), (2, "SYNC_FLUSH")] {
        let (data, setting) = (Data::new(), setting(shards, flush));
        let server = Server::start(data.path(), &setting);
        let topic = server.topic();
        let mut sent = send(&server, topic, 0, MESSAGES);
        check(&server, topic, &sent, "at once");
        std::thread::sleep(IN_FILES);
        check(&server, topic, &sent, "from the files");
        sent.extend(send(&server, topic, MESSAGES, MESSAGES + 40));
        assert!(server.stop().success());
        let server = Server::start(data.path(), &setting);
        check(&server, topic, &sent, "after a stop");
        sent.extend(send(&server, topic, MESSAGES + 40, MESSAGES + 80));
        server.kill();
        let server = Server::start(data.path(), &setting);
        check(&server, topic, &sent, "after a kill");
        sent.extend(send(&server, topic, MESSAGES + 80, MESSAGES + 120));
        if flush == "SYNC_FLUSH" {
            server.kill();
            data.remove_windows();
            damage_index(&data, shards);
            let server = Server::start(data.path(), &setting);
            check(&server, topic, &sent, "after a power cut");
            assert!(server.stop().success());
        } else {
            assert!(server.stop().success());
        }
        remove_index(&data, shards);
        let server = Server::start(data.path(), &setting);
        check(&server, topic, &sent, "without its files");
        assert!(server.stop().success());
    }
}

fn index_dirs(data: &Data, shards: u16) -> Vec<PathBuf> {
    let dirs = [data.store().join("index"), data.store().join("streams/1.index")];
    dirs.into_iter().take(usize::from(shards)).collect()
}

/// The slots of the newest file are what a power cut may make of them.
fn damage_index(data: &Data, shards: u16) {
    for dir in index_dirs(data, shards) {
        let newest = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
        let file = fs::File::options().write(true).open(newest).unwrap();
        file.write_all_at(&[0; 200], 40).unwrap();
    }
}

fn remove_index(data: &Data, shards: u16) {
    for dir in index_dirs(data, shards) {
        assert!(fs::read_dir(&dir).unwrap().count() > 1, "{}", dir.display());
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn an_index_that_is_off_costs_nothing_and_is_made_when_it_is_on_again() {
    let data = Data::new();
    let on = setting(1, "ASYNC_FLUSH");
    let off = Setting { config: format!("{}messageIndexEnable=false\n", on.config), ..on.clone() };
    let server = Server::start(data.path(), &on);
    let topic = server.topic();
    let mut sent = send(&server, topic, 0, 40);
    assert!(server.stop().success());
    let server = Server::start(data.path(), &off);
    sent.extend(send(&server, topic, 40, 80));
    let mut connection = server.connect(TIMEOUT).unwrap();
    let old = Query::key("key3").ask(&mut connection, topic);
    assert_eq!(numbers(&found(&old)), [3], "what was indexed before");
    assert!(found(&Query::key("key47").ask(&mut connection, topic)).is_empty());
    server.kill();
    let server = Server::start(data.path(), &on);
    check(&server, topic, &sent, "on again");
    assert!(server.stop().success());
}

#[test]
fn many_queries_at_once_are_all_answered() {
    let data = Data::new();
    let server = Server::start(data.path(), &setting(2, "ASYNC_FLUSH"));
    let topic = server.topic();
    send(&server, topic, 0, 40);
    let mut connection = server.connect(TIMEOUT).unwrap();
    let mut asked = HashMap::new();
    for at in 0..200usize {
        let key = format!("key{}", at % 50);
        let header = support::key_query(topic, &key);
        let code = request::QUERY_MESSAGE;
        asked
            .insert(connection.submit(code, |writer| header.encode(writer), &[]).unwrap(), at % 50);
    }
    for (opaque, at) in asked {
        let reply = connection.wait(opaque).unwrap();
        let expected: &[usize] = if at < 40 { &[at] } else { &[] };
        assert_eq!(numbers(&found(&reply)), expected);
    }
}

fn list(server: &Server, queue: i32, index: i64, count: i32, group: Option<&str>) -> Reply {
    let mut tool = server.connect(TIMEOUT).unwrap();
    let header = QueryConsumeQueueRequestHeader {
        topic: Text::plain(server.topic().as_bytes()),
        queue_id: queue,
        index,
        count,
        consumer_group: group.map(|group| Text::plain(group.as_bytes())),
    };
    tool.call(request::QUERY_CONSUME_QUEUE, |writer| header.encode(writer), &[]).unwrap()
}

#[test]
fn entries_of_a_queue_are_listed_from_memory_and_from_files() {
    let data = Data::new();
    let setting = setting(2, "ASYNC_FLUSH");
    let server = Server::start(data.path(), &setting);
    let sent = send(&server, server.topic(), 0, MESSAGES);
    let of_queue: Vec<&SendResult> = sent.iter().skip(3).step_by(8).collect();
    let check = |server: &Server| {
        let reply = list(server, 3, 10, 20, Some("G_away"));
        assert_eq!(reply.code(), response::SUCCESS);
        let body: QueryConsumeQueueResponseBody = json::from_slice(reply.body()).unwrap();
        assert_eq!((body.min_queue_index, body.max_queue_index), (0, 50));
        assert_eq!(body.filter_data.as_deref(), Some("G_away@TestTopic is not online!"));
        let places = body.queue_data.iter().map(|entry| entry.physic_offset);
        let expected = of_queue.iter().skip(10).take(20).map(|sent| place(sent));
        assert!(places.eq(expected));
        assert!(body.queue_data.iter().all(|entry| entry.physic_size > 3000));
        let tag =
            |at: usize| i64::from(wire::java_hash::java_bytes_hash(format!("tag{at}").as_bytes()));
        let tags: Vec<i64> = body.queue_data.iter().map(|entry| entry.tags_code).collect();
        assert_eq!(tags[..2], [tag(83 % 5), tag(91 % 5)]);
        let reply = list(server, 3, 45, 100, None);
        let body: QueryConsumeQueueResponseBody = json::from_slice(reply.body()).unwrap();
        assert_eq!((body.queue_data.len(), body.filter_data), (5, None));
    };
    check(&server);
    assert!(server.stop().success());
    let server = Server::start(data.path(), &setting);
    check(&server);
    let reply = list(&server, 3, 50, 1, None);
    assert_eq!((reply.code(), reply.body().len()), (response::SUCCESS, 0));
    assert_eq!(reply.remark(), "Index 50 of 3@TestTopic is not exist!");
    for queue in [-1, 99] {
        let reply = list(&server, queue, 0, 1, None);
        assert_eq!(reply.code(), response::SYSTEM_ERROR);
        assert_eq!(reply.remark(), format!("{queue}@TestTopic is not exist!"));
    }
    assert!(server.stop().success());
}
