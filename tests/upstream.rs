//! Bugs that users of the Java broker have reported, each as a test named by its number in apache/rocketmq.
//!
//! Seen by clients, on real files. `tests/README.md` lists all of them, also those that are tested beside the code.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{Connection, Consumer, Message, Producer, Pull, PullStatus};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use store::layout::checkpoint::Checkpoint;
use support::{Data, Server, Setting};
use wire::codes::{request, response};

const TIMEOUT: Duration = Duration::from_secs(20);
const SEGMENT_BYTES: usize = 1 << 20;
/// 100 entries.
const QUEUE_FILE_BYTES: u64 = 2000;

fn setting(lines: &str) -> Setting {
    let config = format!(
        "mappedFileSizeCommitLog={SEGMENT_BYTES}\nmappedFileSizeConsumeQueue={QUEUE_FILE_BYTES}\n{lines}\n"
    );
    Setting { shards: 1, config }
}

fn body(at: usize, len: usize) -> Vec<u8> {
    format!("{at:08}").into_bytes().into_iter().chain(std::iter::repeat_n(b'x', len)).collect()
}

/// Sends messages `from..to` to queue 0; each is acknowledged at its offset.
fn send(server: &Server, from: usize, to: usize, len: usize) {
    let topic = server.topic();
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    for at in from..to {
        let message = Message::new(topic, body(at, len)).keys(&format!("k{at}"));
        let sent = producer.send(&message, 0).unwrap();
        assert_eq!(sent.queue_offset, i64::try_from(at).unwrap());
    }
}

/// Queue 0 holds messages `0..count`, each at its offset.
fn check(server: &Server, count: usize, len: usize) {
    let topic = server.topic();
    let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "C");
    let end = i64::try_from(count).unwrap();
    assert_eq!(consumer.connection().min_offset(topic, 0).unwrap(), 0);
    assert_eq!(consumer.connection().max_offset(topic, 0).unwrap(), end);
    let mut offset = 0;
    while offset < end {
        let pulled = consumer.pull(&Pull::new(topic, 0, offset)).unwrap();
        assert_eq!(pulled.status, PullStatus::Found, "at {offset} of {end}");
        for message in &pulled.messages {
            assert_eq!(message.queue_offset, offset);
            assert!(message.body == body(usize::try_from(offset).unwrap(), len), "at {offset}");
            offset += 1;
        }
    }
}

/// How many messages are found by a key.
fn found(connection: &mut Connection, topic: &str, key: &str) -> usize {
    let header = support::key_query(topic, key);
    let reply = connection.call(request::QUERY_MESSAGE, |w| header.encode(w), &[]).unwrap();
    match reply.code() {
        response::SUCCESS => client::Received::decode_all(reply.body()).unwrap().len(),
        code => {
            assert_eq!(code, response::QUERY_NOT_FOUND);
            0
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut list: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    list.retain(|path| path.file_name().unwrap().len() == 20);
    list.sort();
    list
}

fn queue_dir(data: &Data) -> PathBuf {
    data.store().join("consumequeue/TestTopic/0")
}

/// Log position up to which the checkpoint says that queue entries are durable.
fn dispatched(data: &Data) -> u64 {
    let bytes = fs::read(data.store().join("checkpoint")).unwrap_or_default();
    Checkpoint::decode(&bytes).dispatched.unwrap_or(0)
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} within 30 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Kills the server; the machine's memory goes with it.
fn cut_power(server: Server, data: &Data) {
    server.kill();
    data.remove_windows();
}

#[test]
fn upstream_467_a_damaged_end_is_cut_and_what_follows_is_neither_missed_nor_misplaced() {
    let data = Data::new();
    let setting = setting("flushDiskType=SYNC_FLUSH");
    let server = Server::start(data.path(), &setting);
    send(&server, 0, 50, 100);
    cut_power(server, &data);
    let log = data.store().join("commitlog/00000000000000000000");
    let bytes = fs::read(&log).unwrap();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    // The beginning of another record: its length and magic stand there, its body was never written.
    let torn: Vec<u8> = bytes[..40].to_vec();
    let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
    file.write_all_at(&torn, end as u64).unwrap();
    let server = Server::start(data.path(), &setting);
    check(&server, 50, 100);
    send(&server, 50, 100, 100);
    server.kill();
    let server = Server::start(data.path(), &setting);
    check(&server, 100, 100);
}

#[test]
fn upstream_1434_messages_of_an_earlier_segment_without_queue_entries_are_not_missed() {
    let data = Data::new();
    let setting = setting("flushDiskType=SYNC_FLUSH");
    let server = Server::start(data.path(), &setting);
    send(&server, 0, 300, 10_000);
    assert!(files(&data.store().join("commitlog")).len() > 2);
    wait_for("queue entries are written", || !files(&queue_dir(&data)).is_empty());
    cut_power(server, &data);
    // Nothing of the queue files had reached the disk, nor a checkpoint.
    for path in files(&queue_dir(&data)) {
        fs::write(path, b"").unwrap();
    }
    let _ = fs::remove_file(data.store().join("checkpoint"));
    let server = Server::start(data.path(), &setting);
    check(&server, 300, 10_000);
    let topic = server.topic();
    let mut connection = server.connect(TIMEOUT).unwrap();
    assert!((0..300).all(|at| found(&mut connection, topic, &format!("k{at}")) == 1));
}

#[test]
fn upstream_1560_queue_files_of_another_size_are_refused_by_name_and_not_misread() {
    let data = Data::new();
    let server = Server::start(data.path(), &setting(""));
    send(&server, 0, 250, 100);
    assert!(server.stop().success());
    for other in [200, 20_000] {
        let config =
            format!("mappedFileSizeCommitLog=1048576\nmappedFileSizeConsumeQueue={other}\n");
        let said = Server::start_refused(data.path(), &Setting { shards: 1, config });
        let file = queue_dir(&data).join("00000000000000000000").display().to_string();
        assert!(said.contains(&file) && said.contains("mappedFileSizeConsumeQueue=2000"), "{said}");
    }
    // Another size of segments is no harm: a store knows its own.
    let config = "mappedFileSizeCommitLog=4194304\nmappedFileSizeConsumeQueue=2000\n";
    let server = Server::start(data.path(), &Setting { shards: 1, config: config.to_owned() });
    check(&server, 250, 100);
    send(&server, 250, 300, 100);
    check(&server, 300, 100);
}

#[test]
fn upstream_2141_a_log_that_lacks_a_file_in_the_middle_is_refused_by_name() {
    let data = Data::new();
    let setting = setting("");
    let server = Server::start(data.path(), &setting);
    send(&server, 0, 300, 10_000);
    assert!(server.stop().success());
    let segments = files(&data.store().join("commitlog"));
    assert!(segments.len() > 2);
    let aside = data.path().join("aside");
    fs::rename(&segments[1], &aside).unwrap();
    let said = Server::start_refused(data.path(), &setting);
    let missing = segments[1].file_name().unwrap().to_str().unwrap();
    assert!(said.contains(missing) && said.contains("missing"), "{said}");
    fs::rename(&aside, &segments[1]).unwrap();
    let server = Server::start(data.path(), &setting);
    check(&server, 300, 10_000);
}

#[test]
fn upstream_5088_what_is_acknowledged_is_never_in_private_memory_only() {
    let data = Data::new();
    let setting = setting("transientStorePoolEnable=true\nflushIntervalCommitLog=100000");
    let server = Server::start(data.path(), &setting);
    assert!(
        server.log_tail().contains("transientStorePoolEnable"),
        "that it has no effect is said"
    );
    send(&server, 0, 100, 1000);
    server.kill();
    let server = Server::start(data.path(), &setting);
    check(&server, 100, 1000);
}

#[test]
fn upstream_7087_consumer_offsets_stay_when_light_queues_are_switched_on() {
    let data = Data::new();
    let server = Server::start(data.path(), &setting(""));
    send(&server, 0, 10, 10);
    let topic = server.topic();
    let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "C");
    consumer.commit(topic, 0, 7).unwrap();
    assert!(server.stop().success());
    for lines in ["enableLmq=true\nenableMultiDispatch=true", ""] {
        let server = Server::start(data.path(), &setting(lines));
        let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "C");
        assert_eq!(consumer.committed(topic, 0).unwrap(), Some(7));
        assert!(server.stop().success());
        assert!(!data.store().join("config/lmqConsumerOffset.json").exists());
    }
}

#[test]
fn upstream_7233_checkpoints_advance_also_when_no_sender_waits_for_the_disk() {
    let data = Data::new();
    let setting = setting("flushDiskType=SYNC_FLUSH");
    let server = Server::start(data.path(), &setting);
    let topic = server.topic();
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    for at in 0..300 {
        let message = Message::new(topic, body(at, 10_000)).with("WAIT", "false");
        producer.send(&message, 0).unwrap();
    }
    wait_for("the checkpoint has passed two segments", || {
        dispatched(&data) > 2 * SEGMENT_BYTES as u64
    });
    cut_power(server, &data);
    let from = dispatched(&data);
    fs::write(data.path().join("log"), b"").unwrap();
    let server = Server::start(data.path(), &setting);
    let scanned = format!("scanned from {from}");
    assert!(server.log_tail().contains(&scanned), "{scanned}: {}", server.log_tail());
    check(&server, 300, 10_000);
}

#[test]
fn upstream_7355_queue_files_that_were_deleted_are_made_again() {
    for kills in [true, false] {
        for gone in ["last", "first", "middle", "all", "directory"] {
            let data = Data::new();
            let setting = setting("");
            let server = Server::start(data.path(), &setting);
            send(&server, 0, 350, 100);
            wait_for("queue entries are written", || files(&queue_dir(&data)).len() == 4);
            if kills {
                server.kill();
            } else {
                assert!(server.stop().success());
            }
            let queue = queue_dir(&data);
            let list = files(&queue);
            match gone {
                "last" => fs::remove_file(&list[3]).unwrap(),
                "first" => fs::remove_file(&list[0]).unwrap(),
                "middle" => fs::remove_file(&list[1]).unwrap(),
                "all" => list.iter().for_each(|path| fs::remove_file(path).unwrap()),
                _ => fs::remove_dir_all(&queue).unwrap(),
            }
            eprintln!("killed {kills}, {gone} gone");
            // Also when the process that makes them dies.
            Server::start(data.path(), &setting).kill();
            data.remove_windows();
            let server = Server::start(data.path(), &setting);
            check(&server, 350, 100);
            send(&server, 350, 400, 100);
            assert!(server.stop().success());
            fs::write(data.path().join("log"), b"").unwrap();
            let server = Server::start(data.path(), &setting);
            check(&server, 400, 100);
            let log = server.log_tail();
            assert!(!log.contains("reading the whole log"), "once is enough: {log}");
        }
    }
}

/// The log behind the checkpoint says nothing of such a queue.
#[test]
fn upstream_7355_also_after_a_crash_and_of_queues_that_were_idle_since_the_checkpoint() {
    for gone in ["last", "directory"] {
        let data = Data::new();
        let setting = setting("");
        let server = Server::start(data.path(), &setting);
        send(&server, 0, 350, 100);
        wait_for("a checkpoint behind all", || dispatched(&data) > 350 * 100);
        let message = Message::new(server.topic(), body(0, 100));
        let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
        producer.send(&message, 1).unwrap();
        cut_power(server, &data);
        let queue = queue_dir(&data);
        match gone {
            "last" => fs::remove_file(files(&queue).last().unwrap()).unwrap(),
            _ => fs::remove_dir_all(&queue).unwrap(),
        }
        let server = Server::start(data.path(), &setting);
        check(&server, 350, 100);
        send(&server, 350, 360, 100);
        check(&server, 360, 100);
    }
}

/// A log with one message that a checkpoint has passed and two behind it, of which the first is damaged: the second is
/// whole, at its place, and behind the end of the log. Queue and index entries of both are on the disk.
fn truncated(data: &Data, setting: &Setting) -> Server {
    let server = Server::start(data.path(), setting);
    send(&server, 0, 1, 1000);
    wait_for("a checkpoint", || dispatched(data) > 0);
    let begin = dispatched(data);
    send(&server, 1, 3, 1000);
    // Queue and index entries are written once a second, checkpoints every ten seconds.
    std::thread::sleep(Duration::from_millis(2500));
    cut_power(server, data);
    assert_eq!(dispatched(data), begin, "the checkpoint is from before");
    let entries = fs::read(queue_dir(data).join("00000000000000000000")).unwrap();
    assert!(entries[40..60].iter().any(|b| *b != 0), "the entry of the last one is there");
    let log = data.store().join("commitlog/00000000000000000000");
    let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
    file.write_all_at(b"???", begin + 500).unwrap();
    let server = Server::start(data.path(), setting);
    check(&server, 1, 1000);
    server
}

#[test]
fn upstream_10666_a_record_behind_the_cut_never_comes_back() {
    let data = Data::new();
    let setting = setting("flushDiskType=SYNC_FLUSH");
    let server = truncated(&data, &setting);
    // As long as what was cut: the old third record now follows it without a gap.
    send(&server, 1, 2, 1000);
    cut_power(server, &data);
    let server = Server::start(data.path(), &setting);
    check(&server, 2, 1000);
}

#[test]
fn upstream_7480_what_is_derived_from_the_log_is_cut_with_it() {
    let data = Data::new();
    let setting = setting("flushDiskType=SYNC_FLUSH");
    let server = truncated(&data, &setting);
    let topic = server.topic();
    let mut connection = server.connect(TIMEOUT).unwrap();
    let by_key = |connection: &mut Connection| {
        [0, 1, 2].map(|at| found(connection, topic, &format!("k{at}")))
    };
    assert_eq!(by_key(&mut connection), [1, 0, 0]);
    send(&server, 1, 2, 2000);
    assert_eq!(by_key(&mut connection), [1, 1, 0]);
    assert!(server.stop().success());
    let server = Server::start(data.path(), &setting);
    let mut connection = server.connect(TIMEOUT).unwrap();
    assert_eq!(by_key(&mut connection), [1, 1, 0]);
    assert_eq!(connection.max_offset(topic, 0).unwrap(), 2);
}

#[test]
fn upstream_7689_offsets_go_on_behind_the_whole_log_however_soon_a_send_comes() {
    for keeps_queues in [true, false] {
        let data = Data::new();
        let setting = setting("");
        let server = Server::start(data.path(), &setting);
        send(&server, 0, 250, 100);
        server.kill();
        if !keeps_queues {
            let _ = fs::remove_dir_all(data.store().join("consumequeue"));
        }
        let server = Server::start(data.path(), &setting);
        send(&server, 250, 260, 100);
        server.kill();
        let server = Server::start(data.path(), &setting);
        check(&server, 260, 100);
    }
}

#[test]
fn upstream_10108_an_empty_last_queue_file_does_not_stop_a_start() {
    for emptied in [true, false] {
        let data = Data::new();
        let setting = setting("flushDiskType=SYNC_FLUSH");
        let server = Server::start(data.path(), &setting);
        send(&server, 0, 150, 100);
        wait_for("queue entries are written", || files(&queue_dir(&data)).len() == 2);
        cut_power(server, &data);
        let list = files(&queue_dir(&data));
        if emptied {
            fs::write(&list[1], b"").unwrap();
        } else {
            // One that was made for messages which the log has lost.
            let next = queue_dir(&data).join(format!("{:020}", 2 * QUEUE_FILE_BYTES));
            fs::write(next, vec![0; usize::try_from(QUEUE_FILE_BYTES).unwrap()]).unwrap();
        }
        let server = Server::start(data.path(), &setting);
        check(&server, 150, 100);
        send(&server, 150, 250, 100);
        check(&server, 250, 100);
    }
}
