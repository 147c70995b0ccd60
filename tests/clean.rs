//! What an operator has made and deleted, and what comes of topics that were: requests 329, 306, 316 and starts, on real files.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{Consumer, Message, NewTopic, Producer, Pull, PullStatus};
use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};
use support::{Data, Server, Setting};
use wire::body::broker::ConsumerOffsetWrapper;
use wire::codes::{request, response};
use wire::json;

const TIMEOUT: Duration = Duration::from_secs(20);

fn setting(shards: u16) -> Setting {
    let config = "mappedFileSizeCommitLog=1048576\nmappedFileSizeConsumeQueue=2000\nmaxHashSlotNum=100\n\
                  maxIndexNum=500\nfileReservedTime=2\ndeleteFileBatchMax=100\ndeleteCommitLogFilesInterval=10\nmessageDelayLevel=1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s\n";
    // No hour of the day deletes anything while the test runs: it is half a day away.
    let hour = (hour_utc() + 12) % 24;
    Setting { shards, config: format!("{config}deleteWhen={hour:02}\n") }
}

/// The hour of the day in UTC; half a day away from it is half a day away from any nearby zone's, too.
fn hour_utc() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_secs() / 3600 % 24
}

fn ask(server: &Server, code: i32) {
    let reply = server.connect(TIMEOUT).unwrap().call(code, |_| {}, &[]).unwrap();
    assert_eq!((reply.code(), reply.remark().as_str()), (response::SUCCESS, ""));
    let header = reply.header();
    assert!(header.fields.is_empty() && reply.body().is_empty(), "as Java answers");
}

/// Sends a message of the last delay level and waits until it comes: there are more levels than the table has queues for them.
fn send_delayed(server: &Server, offset: i64) {
    let topic = server.topic();
    let mut connection = server.connect(TIMEOUT).unwrap();
    connection.create_topic(&NewTopic::new("Later", 1)).unwrap();
    let mut producer = Producer::new(connection, "P");
    producer.send(&Message::new("Later", topic.as_bytes()).with("DELAY", "20"), 0).unwrap();
    wait_for("the delayed message", || offsets(server, "Later", 0).1 == offset + 1);
}

/// Sends `count` messages of 2 KiB to each queue.
fn send(server: &Server, topic: &str, queues: i32, count: i64) {
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    for number in 0..count {
        for queue in 0..queues {
            let message = Message::new(topic, vec![u8::try_from(number % 256).unwrap(); 2000]);
            producer.send(&message, queue).unwrap();
        }
    }
}

fn offsets(server: &Server, topic: &str, queue: i32) -> (i64, i64) {
    let mut connection = server.connect(TIMEOUT).unwrap();
    (connection.min_offset(topic, queue).unwrap(), connection.max_offset(topic, queue).unwrap())
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} within 30 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn queue_files(data: &Data, topic: &str) -> PathBuf {
    data.store().join("consumequeue").join(topic)
}

/// Copies a directory with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn segments(data: &Data) -> Vec<PathBuf> {
    let dirs = [data.store().join("commitlog"), data.store().join("streams/1")];
    let mut found = Vec::new();
    for dir in dirs.iter().filter(|dir| dir.exists()) {
        let mut list: Vec<PathBuf> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        list.retain(|path| path.file_name().unwrap().len() == 20);
        list.sort();
        // The newest stay young: the one that is written, the one ahead.
        list.truncate(list.len().saturating_sub(2));
        found.extend(list);
    }
    found
}

/// Makes files look as if they were written long ago.
fn age(files: &[PathBuf]) {
    let old = SystemTime::now() - Duration::from_secs(1000 * 3600);
    for path in files {
        let file = File::options().write(true).open(path).unwrap();
        file.set_times(FileTimes::new().set_modified(old)).unwrap();
    }
}

#[test]
fn an_operator_has_old_segments_and_expired_queues_deleted_at_any_hour() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = Server::start(data.path(), &setting(shards));
        let topic = server.topic();
        server.topic_named("Other");
        send_delayed(&server, 0);
        send(&server, topic, 8, 130);
        // Enough that all of the other topic is old, whether or not the segments ahead are there yet.
        send(&server, "Other", 8, 400);
        let old = segments(&data);
        assert!(old.len() >= 3, "{} old segments", old.len());
        age(&old);
        // Only what a checkpoint has passed can go, and that comes within 10 s, as do 20 rounds of cleaning.
        std::thread::sleep(Duration::from_secs(11));
        assert!(old.iter().all(|path| path.exists()), "it is not the hour");
        wait_for("the old segments are deleted", || {
            // Each time for 20 rounds; a slow disk may take longer to pass them.
            ask(&server, request::DELETE_EXPIRED_COMMITLOG);
            old.iter().all(|path| !path.exists())
        });
        wait_for("the queues have expired", || {
            (0..8).all(|q| offsets(&server, topic, q) == (130, 130))
        });
        // Four of the queues are not used any more.
        let mut connection = server.connect(TIMEOUT).unwrap();
        connection.create_topic(&NewTopic::new(topic, 4)).unwrap();
        ask(&server, request::CLEAN_EXPIRED_CONSUMEQUEUE);
        let dir = queue_files(&data, topic);
        wait_for("unused queues are gone", || (4..8).all(|q| !dir.join(q.to_string()).exists()));
        send_delayed(&server, 1);
        for queue in 0..4 {
            let left = fs::read_dir(dir.join(queue.to_string())).unwrap().count();
            assert_eq!(
                (left, offsets(&server, topic, queue)),
                (1, (130, 130)),
                "it keeps its place"
            );
        }
        send(&server, topic, 4, 1);
        assert_eq!(offsets(&server, topic, 0), (130, 131));
        // The topic grows again, at once and after a start.
        connection.create_topic(&NewTopic::new(topic, 6)).unwrap();
        send(&server, topic, 6, 1);
        let mut consumer = Consumer::new(connection, "C");
        for queue in 4..6 {
            assert_eq!(offsets(&server, topic, queue), (0, 1), "queue {queue} begins anew");
            let pulled = consumer.pull(&Pull::new(topic, queue, 0)).unwrap();
            assert_eq!((pulled.status, pulled.messages.len()), (PullStatus::Found, 1));
        }
        drop(consumer);
        assert!(server.stop().success());
        let server = Server::start(data.path(), &setting(shards));
        assert_eq!(offsets(&server, topic, 3), (130, 132));
        server.connect(TIMEOUT).unwrap().create_topic(&NewTopic::new(topic, 8)).unwrap();
        send(&server, topic, 8, 1);
        assert_eq!(offsets(&server, topic, 4), (0, 2));
        assert_eq!(offsets(&server, topic, 7), (0, 1), "a queue that was gone begins anew");
        drop(server);
    }
}

/// Deletes a topic as if its files could not be removed: they are there again afterwards.
fn delete_badly(server: &Server, data: &Data, topic: &str) {
    let (dir, kept) = (queue_files(data, topic), data.path().join("kept").join(topic));
    wait_for("queue files are there", || fs::read_dir(&dir).is_ok_and(|list| list.count() == 8));
    // Written by the next round and synced by the next checkpoint.
    std::thread::sleep(Duration::from_millis(2500));
    copy(&dir, &kept);
    server.connect(TIMEOUT).unwrap().delete_topic(topic).unwrap();
    wait_for("the files are removed", || (0..8).all(|q| !dir.join(q.to_string()).exists()));
    let _ = fs::remove_dir(&dir);
    fs::rename(&kept, &dir).unwrap();
}

#[test]
fn what_a_deleted_topic_has_left_goes_when_asked() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = Server::start(data.path(), &setting(shards));
        let topic = server.topic();
        send(&server, topic, 8, 3);
        delete_badly(&server, &data, topic);
        server.topic_named("Live");
        send(&server, "Live", 8, 2);
        let live = queue_files(&data, "Live").join("7");
        wait_for("queue files are there", || live.exists());
        for code in [request::CLEAN_UNUSED_TOPIC, request::CLEAN_EXPIRED_CONSUMEQUEUE] {
            copy(&live, &queue_files(&data, "Dead").join("3"));
            ask(&server, code);
            let dirs = ["Dead", topic].map(|topic| queue_files(&data, topic));
            let is_empty = |dir: &PathBuf| (0..8).all(|q| !dir.join(q.to_string()).exists());
            wait_for("files of no queue are gone", || dirs.iter().all(is_empty));
        }
        assert_eq!(offsets(&server, "Live", 7), (0, 2));
        assert!(server.stop().success());
        let server = Server::start(data.path(), &setting(shards));
        assert_eq!(offsets(&server, "Live", 7), (0, 2));
        drop(server);
    }
}

#[test]
fn a_deleted_topic_never_comes_back() {
    for (shards, killed, queues_lost) in
        [(1, false, false), (1, true, false), (1, true, true), (2, true, false), (2, false, true)]
    {
        let what = format!("{shards} shards, killed: {killed}, queues lost: {queues_lost}");
        let data = Data::new();
        let server = Server::start(data.path(), &setting(shards));
        let topic = server.topic();
        server.topic_named("Again");
        send(&server, topic, 8, 3);
        send(&server, "Again", 8, 5);
        delete_badly(&server, &data, topic);
        server.connect(TIMEOUT).unwrap().delete_topic("Again").unwrap();
        server.topic_named("Again");
        send(&server, "Again", 8, 2);
        // The tables are written.
        std::thread::sleep(Duration::from_millis(500));
        if killed {
            server.kill();
        } else {
            assert!(server.stop().success());
        }
        if queues_lost {
            fs::remove_dir_all(data.store().join("consumequeue")).unwrap();
        }
        let server = Server::start(data.path(), &setting(shards));
        server.topic_named(topic);
        for queue in 0..8 {
            assert_eq!(offsets(&server, topic, queue), (0, 0), "{what}");
            assert_eq!(offsets(&server, "Again", queue), (0, 2), "{what}");
        }
        send(&server, topic, 8, 1);
        server.kill();
        let server = Server::start(data.path(), &setting(shards));
        let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "C");
        for queue in 0..8 {
            assert_eq!(offsets(&server, topic, queue), (0, 1), "{what}");
            let pulled = consumer.pull(&Pull::new("Again", queue, 0)).unwrap();
            assert_eq!((pulled.status, pulled.messages.len()), (PullStatus::Found, 2), "{what}");
        }
        drop(server);
    }
}

#[test]
fn a_deletion_that_was_answered_survives_a_kill() {
    for shards in [1, 2] {
        let data = Data::new();
        let mut server = Server::start(data.path(), &setting(shards));
        for round in 0..5 {
            let topic = server.topic();
            send(&server, topic, 8, 3);
            let mut connection = server.connect(TIMEOUT).unwrap();
            connection.delete_topic(topic).unwrap();
            server.kill();
            server = Server::start(data.path(), &setting(shards));
            server.topic_named(topic);
            for queue in 0..8 {
                assert_eq!(
                    offsets(&server, topic, queue),
                    (0, 0),
                    "{shards} shards, round {round}"
                );
            }
        }
        assert!(server.stop().success());
    }
}

#[test]
fn a_deletion_that_cannot_be_noted_is_answered_with_the_reason() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = Server::start(data.path(), &setting(shards));
        server.topic_named("Other");
        send(&server, "Other", 8, 1);
        let name = "ringmq.deleted";
        fs::create_dir(data.store().join(name)).unwrap();
        let mut connection = server.connect(TIMEOUT).unwrap();
        // Each has messages in one queue, of whichever shard.
        for queue in 0..8 {
            let topic = format!("Topic{queue}");
            connection.create_topic(&NewTopic::new(&topic, 8)).unwrap();
            let mut producer = Producer::new(connection, "P");
            producer.send(&Message::new(&topic, b"lost".to_vec()), queue).unwrap();
            connection = server.connect(TIMEOUT).unwrap();
            let error = connection.delete_topic(&topic).unwrap_err();
            assert_eq!(error.refused_code(), Some(response::SYSTEM_ERROR), "{error}");
            let text = error.to_string();
            assert!(text.contains(name) && text.contains("it may come back"), "{text}");
        }
        fs::remove_dir(data.store().join(name)).unwrap();
        connection.delete_topic("Other").unwrap();
        assert!(server.stop().success());
    }
}

#[test]
fn topics_that_nobody_knows_keep_their_messages_until_an_operator_says_otherwise() {
    let data = Data::new();
    let server = Server::start(data.path(), &setting(2));
    let topic = server.topic();
    server.topic_named("Lost");
    send(&server, topic, 8, 3);
    send(&server, "Lost", 8, 3);
    assert!(server.stop().success());
    for name in ["topics.json", "topics.json.bak"] {
        let _ = fs::remove_file(data.store().join("config").join(name));
    }
    let server = Server::start(data.path(), &setting(2));
    server.topic_named(topic);
    assert_eq!(offsets(&server, topic, 5), (0, 3), "as with Java");
    ask(&server, request::CLEAN_UNUSED_TOPIC);
    let lost = queue_files(&data, "Lost");
    wait_for("the queues are gone", || (0..8).all(|q| !lost.join(q.to_string()).exists()));
    assert_eq!(offsets(&server, topic, 5), (0, 3));
    server.kill();
    let server = Server::start(data.path(), &setting(2));
    server.topic_named("Lost");
    assert_eq!(offsets(&server, "Lost", 5), (0, 0));
    assert_eq!(offsets(&server, topic, 5), (0, 3));
    drop(server);
}

#[test]
fn a_topic_that_was_made_is_there_after_a_kill() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = Server::start(data.path(), &setting(shards));
        let mut connection = server.connect(TIMEOUT).unwrap();
        // By an administrator, and by the first send.
        connection.create_topic(&NewTopic::new("T_made", 4)).unwrap();
        let mut producer = Producer::new(connection, "P");
        producer.send(&Message::new("T_sent", b"first".to_vec()), 0).unwrap();
        server.kill_now();
        drop(server);
        let server = Server::start(data.path(), &setting(shards));
        let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "G");
        let found = consumer.pull(&Pull::new("T_sent", 0, 0)).unwrap();
        assert_eq!((found.status, found.messages.len()), (PullStatus::Found, 1));
        let found = consumer.pull(&Pull::new("T_made", 3, 0)).unwrap();
        assert_eq!(found.status, PullStatus::NotFound);
        assert!(server.stop().success());
    }
}

#[test]
fn a_new_store_that_stops_without_a_message_has_nothing_to_warn_of() {
    let data = Data::new();
    let setting = Setting { shards: 2, config: String::new() };
    for start in ["first", "second"] {
        let server = Server::start(data.path(), &setting);
        assert!(server.stop().success());
        let log = fs::read_to_string(data.path().join("log")).unwrap();
        // Windows in shared memory may be what another test's end has left.
        let warnings = log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
        let own: Vec<&str> = warnings.filter(|line| !line.contains("/dev/shm/")).collect();
        assert!(own.is_empty(), "the {start} start: {own:?}");
    }
}

/// The offsets of a group, as the broker's table has them.
fn group_offsets(server: &Server, topic: &str, group: &str) -> Option<BTreeMap<i32, i64>> {
    let mut connection = server.connect(TIMEOUT).unwrap();
    let reply = connection.call_ok(request::GET_ALL_CONSUMER_OFFSET, |_| {}, &[]).unwrap();
    let offsets: ConsumerOffsetWrapper = json::from_slice(reply.body()).unwrap();
    offsets.offset_table.get(&format!("{topic}@{group}")).cloned()
}

/// Commits offset 3 of every queue, and waits until the table has them.
fn commit(server: &Server, data: &Data, topic: &str, group: &str) {
    let mut connection = server.connect(TIMEOUT).unwrap();
    for queue in 0..8 {
        connection.update_consumer_offset(group, topic, queue, 3).unwrap();
    }
    let file = data.store().join("config/consumerOffset.json");
    let key = format!("{topic}@{group}");
    let is_written = || fs::read_to_string(&file).is_ok_and(|text| text.contains(&key));
    wait_for("offsets are written", is_written);
}

fn offsets_setting(shards: u16) -> Setting {
    let usual = setting(shards);
    Setting { shards, config: usual.config + "flushConsumerOffsetInterval=100\n" }
}

fn begins_at_zero(server: &Server, topic: &str, group: &str) {
    let mut connection = server.connect(TIMEOUT).unwrap();
    for queue in 0..8 {
        let offset = connection.consumer_offset(group, topic, queue).unwrap();
        assert!(matches!(offset, None | Some(0)), "queue {queue} goes on at {offset:?}");
    }
}

#[test]
fn offsets_go_with_their_topic_also_across_a_kill() {
    for shards in [1, 2] {
        let data = Data::new();
        let mut server = Server::start(data.path(), &offsets_setting(shards));
        for _ in 0..3 {
            let topic = server.topic();
            server.topic_named("Stays");
            send(&server, topic, 8, 3);
            commit(&server, &data, topic, "G_gone");
            commit(&server, &data, "Stays", "G_gone");
            server.connect(TIMEOUT).unwrap().delete_topic(topic).unwrap();
            assert_eq!(group_offsets(&server, topic, "G_gone"), None);
            server.kill();
            server = Server::start(data.path(), &offsets_setting(shards));
            assert_eq!(group_offsets(&server, topic, "G_gone"), None);
            server.topic_named(topic);
            // Made anew, it has as many messages as were read of the old one: none is left out.
            send(&server, topic, 8, 3);
            begins_at_zero(&server, topic, "G_gone");
            let kept = group_offsets(&server, "Stays", "G_gone").unwrap();
            assert!(kept.len() == 8 && kept.values().all(|offset| *offset == 3), "{kept:?}");
            server.connect(TIMEOUT).unwrap().delete_topic(topic).unwrap();
        }
        assert!(server.stop().success());
    }
}

#[test]
fn offsets_go_with_their_group_when_asked() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = Server::start(data.path(), &offsets_setting(shards));
        let topic = server.topic();
        send(&server, topic, 8, 3);
        for group in ["G_kept", "G_gone", "G_other"] {
            commit(&server, &data, topic, group);
        }
        let mut tool = server.connect(TIMEOUT).unwrap();
        for (group, is_clean) in [("G_kept", b"false".as_slice()), ("G_gone", b"true")] {
            let fields = |writer: &mut wire::FrameWriter<'_>| {
                writer.field_str("groupName", group.as_bytes());
                writer.field_str("cleanOffset", is_clean);
            };
            tool.call_ok(request::DELETE_SUBSCRIPTIONGROUP, fields, &[]).unwrap();
        }
        server.kill();
        let server = Server::start(data.path(), &offsets_setting(shards));
        assert_eq!(group_offsets(&server, topic, "G_gone"), None);
        begins_at_zero(&server, topic, "G_gone");
        for group in ["G_kept", "G_other"] {
            let mut connection = server.connect(TIMEOUT).unwrap();
            assert_eq!(connection.consumer_offset(group, topic, 3).unwrap(), Some(3), "{group}");
        }
        assert!(server.stop().success());
    }
}

#[test]
fn offsets_of_topics_that_nobody_knows_stay_until_an_operator_says_otherwise() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = Server::start(data.path(), &offsets_setting(shards));
        let topic = server.topic();
        server.topic_named("Lost");
        for name in [topic, "Lost"] {
            send(&server, name, 8, 3);
            commit(&server, &data, name, "G");
        }
        assert!(server.stop().success());
        for name in ["topics.json", "topics.json.bak"] {
            let _ = fs::remove_file(data.store().join("config").join(name));
        }
        let server = Server::start(data.path(), &offsets_setting(shards));
        server.topic_named(topic);
        assert!(group_offsets(&server, "Lost", "G").is_some(), "as with Java");
        ask(&server, request::CLEAN_UNUSED_TOPIC);
        assert_eq!(group_offsets(&server, "Lost", "G"), None);
        assert_eq!(group_offsets(&server, topic, "G").unwrap().len(), 8);
        server.topic_named("Lost");
        send(&server, "Lost", 8, 3);
        begins_at_zero(&server, "Lost", "G");
        assert!(server.stop().success());
        let server = Server::start(data.path(), &offsets_setting(shards));
        begins_at_zero(&server, "Lost", "G");
        assert!(server.stop().success());
    }
}
