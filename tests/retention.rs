//! Old segments go when their time has come, and a full disk costs nothing but sends: seen by clients, on real files.
//!
//! The full disks are small tmpfs mounts, which need root.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{Consumer, Error, Message, Producer, Pull, PullStatus};
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use support::{Data, Server, Setting, SmallDisk};
use wire::codes::{request, response};
use wire::ids::{PhyOffset, StreamId};
use wire::message::MAGIC_BLANK;
use wire::req::client::BoundaryType;

const TIMEOUT: Duration = Duration::from_secs(20);
const QUEUES: i32 = 8;
const HOURS: &str = "0;1;2;3;4;5;6;7;8;9;10;11;12;13;14;15;16;17;18;19;20;21;22;23";

fn setting(shards: u16, lines: &str) -> Setting {
    let config = format!(
        "mappedFileSizeCommitLog=1048576\nmappedFileSizeConsumeQueue=2000\nmaxHashSlotNum=100\nmaxIndexNum=500\n{lines}"
    );
    Setting { shards, config }
}

/// What was acknowledged, per queue: the id of the message at each offset.
#[derive(Default)]
struct Ledger(Vec<Vec<u64>>);

impl Ledger {
    fn new() -> Ledger {
        Ledger((0..QUEUES).map(|_| Vec::new()).collect())
    }

    fn count(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
}

fn body(id: u64) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.resize(1000 + usize::try_from(id % 3000).unwrap(), 7);
    body
}

/// Sends `count` messages, or until one is refused; the refusal.
fn send(server: &Server, topic: &str, ledger: &mut Ledger, count: usize) -> Option<Error> {
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    for _ in 0..count {
        let id = ledger.count() as u64;
        let queue = i32::try_from(id % 8).unwrap();
        match producer.send(&Message::new(topic, body(id)), queue) {
            Ok(sent) => {
                let queue = &mut ledger.0[usize::try_from(queue).unwrap()];
                assert_eq!(sent.queue_offset, i64::try_from(queue.len()).unwrap());
                queue.push(id);
            }
            Err(error) => return Some(error),
        }
    }
    None
}

/// Reads every queue from its first offset; everything acknowledged from there on is there, unchanged.
fn check(server: &Server, topic: &str, ledger: &Ledger) -> Vec<i64> {
    let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "C");
    let read = |consumer: &mut Consumer, queue: usize| {
        let id = i32::try_from(queue).unwrap();
        let first = consumer.connection().min_offset(topic, id).unwrap();
        let end = consumer.connection().max_offset(topic, id).unwrap();
        let expected = &ledger.0[queue];
        assert_eq!(end, i64::try_from(expected.len()).unwrap(), "queue {queue}");
        let mut offset = first;
        while offset < end {
            let pulled = consumer.pull(&Pull::new(topic, id, offset)).unwrap();
            if pulled.status == PullStatus::OffsetMoved && pulled.next_offset > offset {
                // More was deleted meanwhile.
                offset = pulled.next_offset;
                continue;
            }
            assert_eq!(
                pulled.status,
                PullStatus::Found,
                "queue {queue} at {offset} of {first}..{end}"
            );
            for message in &pulled.messages {
                assert_eq!(message.queue_offset, offset);
                let id = expected[usize::try_from(offset).unwrap()];
                assert_eq!(message.body, body(id), "queue {queue} at {offset}");
                offset += 1;
            }
        }
        first
    };
    (0..ledger.0.len()).map(|queue| read(&mut consumer, queue)).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut list: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    list.retain(|path| path.file_name().unwrap().len() == 20);
    list.sort();
    list
}

/// Makes files look as if they were written long ago.
fn age(files: &[PathBuf]) {
    let old = SystemTime::now() - Duration::from_secs(1000 * 3600);
    for path in files {
        let file = File::options().write(true).open(path).unwrap();
        file.set_times(FileTimes::new().set_modified(old)).unwrap();
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} within 30 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn old_segments_go_at_their_hour_with_the_queue_files_that_name_them() {
    for shards in [1, 2] {
        let data = Data::new();
        let lines = format!("deleteWhen={HOURS}\nfileReservedTime=2\ncleanResourceInterval=200\n");
        let setting = setting(shards, &lines);
        let server = Server::start(data.path(), &setting);
        let topic = server.topic();
        let mut ledger = Ledger::new();
        assert!(send(&server, topic, &mut ledger, 4000).is_none());
        let logs = [data.store().join("commitlog"), data.store().join("streams/1")];
        let mut old: Vec<PathBuf> = Vec::new();
        for dir in logs.iter().filter(|dir| dir.exists()) {
            let mut list = segments(dir);
            // The newest three stay young: the one that is written, the one ahead, and one before.
            list.truncate(list.len().saturating_sub(3));
            old.extend(list);
        }
        assert!(old.len() >= 3, "{} old segments", old.len());
        let index = data.store().join("index");
        let oldest = || fs::read_dir(&index).ok()?.map(|entry| entry.unwrap().path()).min();
        wait_for("messages are indexed", || oldest().is_some());
        let oldest = oldest().unwrap();
        // Only what a checkpoint has passed is deleted; that comes within 10 s.
        age(&old);
        wait_for("the old segments are deleted", || old.iter().all(|path| !path.exists()));
        let young = |dir: &PathBuf| !dir.exists() || segments(dir).len() >= 2;
        assert!(logs.iter().all(young), "what is young stays");
        let first_queue = data.store().join("consumequeue").join(topic).join("0");
        wait_for("the queue's first file is deleted", || {
            !first_queue.join("00000000000000000000").exists()
        });
        wait_for("the oldest index file is deleted", || !oldest.exists());
        let mut before = check(&server, topic, &ledger);
        wait_for("the queues begin where the log does", || {
            std::thread::sleep(Duration::from_millis(300));
            let last = std::mem::replace(&mut before, check(&server, topic, &ledger));
            last == before
        });
        assert!(before.iter().all(|first| *first > 100), "{before:?}");
        // A consumer that was further behind is told where the queue begins.
        let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "C");
        let pulled = consumer.pull(&Pull::new(topic, 0, 0)).unwrap();
        assert_eq!((pulled.status, pulled.next_offset), (PullStatus::OffsetMoved, before[0]));
        drop(consumer);
        server.kill();
        let server = Server::start(data.path(), &setting);
        assert_eq!(check(&server, topic, &ledger), before);
        assert!(send(&server, topic, &mut ledger, 100).is_none());
        assert!(server.stop().success());
        let server = Server::start(data.path(), &setting);
        assert_eq!(check(&server, topic, &ledger), before);
        drop(server);
    }
}

const YEARS_10_MS: i64 = 10 * 365 * 24 * 3600 * 1000;

/// Moves the store times of the records in these segments by ten years; their last change, too.
fn from_the_future(segments: &[PathBuf]) {
    for path in segments {
        let mut bytes = fs::read(path).unwrap();
        let word =
            |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut at = 0;
        while at + 64 < bytes.len() && ![0, MAGIC_BLANK].contains(&word(&bytes, at + 4)) {
            let time = i64::from_be_bytes(bytes[at + 56..at + 64].try_into().unwrap());
            bytes[at + 56..at + 64].copy_from_slice(&(time + YEARS_10_MS).to_be_bytes());
            at += usize::try_from(word(&bytes, at)).unwrap();
        }
        assert!(at > 0, "{}", path.display());
        fs::write(path, bytes).unwrap();
        let future = SystemTime::now() + Duration::from_millis(YEARS_10_MS.cast_unsigned());
        let file = File::options().write(true).open(path).unwrap();
        file.set_times(FileTimes::new().set_modified(future)).unwrap();
    }
}

/// The store as Java leaves it when it is killed after the clock went back: its checkpoint speaks of the time before, most
/// queue entries and the index are missing.
fn as_killed_java_leaves_it(store: &Path, now_ms: i64) {
    let mut checkpoint = [0; 4096];
    for at in [0, 8, 16] {
        checkpoint[at..at + 8].copy_from_slice(&(now_ms + 2 * YEARS_10_MS).to_be_bytes());
    }
    fs::write(store.join("checkpoint"), checkpoint).unwrap();
    fs::write(store.join("abort"), "4711").unwrap();
    for file in ["ringmq.store", "ringmq.queues"] {
        let _ = fs::remove_file(store.join(file));
    }
    fs::remove_dir_all(store.join("index")).unwrap();
    for topic in fs::read_dir(store.join("consumequeue")).unwrap() {
        for queue in fs::read_dir(topic.unwrap().path()).unwrap() {
            let files = segments(&queue.unwrap().path());
            let mut first = fs::read(&files[0]).unwrap();
            first[100..].fill(0);
            fs::write(&files[0], first).unwrap();
            files[1..].iter().for_each(|path| fs::remove_file(path).unwrap());
        }
    }
}

/// A message of each of both times is found by its key.
fn check_keys(server: &Server, keys: &[&str]) {
    let mut connection = server.connect(TIMEOUT).unwrap();
    for key in keys {
        wait_for("the message is found by its key", || {
            let header = support::key_query("TopicKeyed", key);
            let reply = connection.call(request::QUERY_MESSAGE, |w| header.encode(w), &[]).unwrap();
            reply.code() == response::SUCCESS
        });
    }
}

/// A search by time answers with an offset of the queue, whatever order the times have.
fn check_times(server: &Server, topic: &str, ledger: &Ledger, now_ms: i64) {
    let mut connection = server.connect(TIMEOUT).unwrap();
    let end = i64::try_from(ledger.0[0].len()).unwrap();
    for time in [0, now_ms, now_ms + YEARS_10_MS / 2, now_ms + 2 * YEARS_10_MS] {
        for boundary in [BoundaryType::Lower, BoundaryType::Upper] {
            let found = connection.search_offset(topic, 0, time, boundary).unwrap();
            assert!((0..=end).contains(&found), "{found} of {end}");
            assert!(time > 0 || found == 0, "{found}");
        }
    }
    assert!(connection.earliest_store_time(topic, 0).unwrap() > now_ms);
}

#[test]
fn a_clock_that_went_back_loses_nothing_and_deletes_nothing_early() {
    let data = Data::new();
    let lines = format!(
        "deleteWhen={HOURS}\nfileReservedTime=2\ncleanResourceInterval=200\nlogStreams=1\nflushDiskType=SYNC_FLUSH\n"
    );
    let setting = setting(1, &lines);
    let server = Server::start(data.path(), &setting);
    let topic = server.topic();
    let mut ledger = Ledger::new();
    let keyed = |server: &Server, key: &str| {
        let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
        producer.send(&Message::new("TopicKeyed", body(1)).keys(key), 0).unwrap();
    };
    keyed(&server, "before");
    assert!(send(&server, topic, &mut ledger, 1500).is_none());
    keyed(&server, "after");
    assert!(server.stop().success());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now_ms = i64::try_from(now.as_millis()).unwrap();
    let log = data.store().join("commitlog");
    let old = segments(&log)[..2].to_vec();
    from_the_future(&old);
    for round in 0..4 {
        // Stopped in order, killed, killed as Java, stopped again.
        if round == 2 {
            as_killed_java_leaves_it(&data.store(), now_ms);
        }
        let server = Server::start(data.path(), &setting);
        let firsts = check(&server, topic, &ledger);
        assert!(firsts.iter().all(|first| *first == 0), "round {round}: {firsts:?}");
        check_keys(&server, &["before", "after"]);
        check_times(&server, topic, &ledger, now_ms);
        assert!(send(&server, topic, &mut ledger, 50).is_none());
        check(&server, topic, &ledger);
        assert!(old.iter().all(|path| path.exists()), "round {round}: nobody is so old");
        if round == 0 || round == 1 {
            server.kill();
        } else {
            assert!(server.stop().success(), "round {round}");
        }
    }
    // When the clock is right again, so is their age.
    let server = Server::start(data.path(), &setting);
    age(&old);
    wait_for("the old segments are deleted", || old.iter().all(|path| !path.exists()));
    let firsts = check(&server, topic, &ledger);
    assert!(firsts.iter().any(|first| *first > 0), "{firsts:?}");
}

fn refused(error: Option<Error>) -> String {
    let error = error.expect("a send is refused in the end");
    assert_eq!(error.refused_code(), Some(response::SERVICE_NOT_AVAILABLE), "{error}");
    error.to_string()
}

#[test]
fn a_full_disk_refuses_sends_keeps_what_it_has_and_recovers() {
    for flush in ["ASYNC_FLUSH", "SYNC_FLUSH"] {
        let data = Data::new();
        let Some(disk) = SmallDisk::mount(&data.store(), 24) else { return };
        // The disk is looked at once, at the start: what follows meets the end of the disk itself.
        let looking = |interval_ms: u32| {
            let lines = format!("flushDiskType={flush}\ncleanResourceInterval={interval_ms}\n");
            setting(1, &lines)
        };
        let server = Server::start(data.path(), &looking(100_000_000));
        let topic = server.topic();
        let mut ledger = Ledger::new();
        assert!(send(&server, topic, &mut ledger, 500).is_none());
        let ballast = data.store().join("ballast");
        fill(&ballast);
        let text = refused(send(&server, topic, &mut ledger, 100_000));
        assert!(text.contains("disk is full"), "{text}");
        check(&server, topic, &ledger);
        server.kill();
        // The next start finds the same full disk.
        let setting = looking(200);
        let server = Server::start(data.path(), &setting);
        check(&server, topic, &ledger);
        fs::remove_file(&ballast).unwrap();
        wait_for("sends are accepted again", || send(&server, topic, &mut ledger, 1).is_none());
        assert!(send(&server, topic, &mut ledger, 500).is_none());
        check(&server, topic, &ledger);
        assert!(server.stop().success());
        let server = Server::start(data.path(), &setting);
        check(&server, topic, &ledger);
        drop(server);
        drop(disk);
    }
}

#[test]
fn upstream_9249_a_message_that_cannot_be_delivered_when_it_is_due_is_delivered_later() {
    let data = Data::new();
    let Some(disk) = SmallDisk::mount(&data.store(), 24) else { return };
    let setting = setting(1, "cleanResourceInterval=200\nmessageDelayLevel=8s\n");
    let server = Server::start(data.path(), &setting);
    let topic = server.topic();
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    let begun = Instant::now();
    let count = 40;
    for number in 0..count {
        let delayed = Message::new("later", body(number)).with("DELAY", "1");
        producer.send(&delayed, 0).unwrap();
        let timed = Message::new("later", body(number)).with("TIMER_DELAY_MS", "8000");
        producer.send(&timed, 1).unwrap();
    }
    let ballast = data.store().join("ballast");
    fill(&ballast);
    let mut ledger = Ledger::new();
    refused(send(&server, topic, &mut ledger, 100_000));
    assert!(begun.elapsed() < Duration::from_secs(8), "too slow to see anything");
    std::thread::sleep(Duration::from_secs(10).saturating_sub(begun.elapsed()));
    let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "C");
    for queue in [0, 1] {
        assert_eq!(consumer.connection().max_offset("later", queue).unwrap(), 0);
    }
    fs::remove_file(&ballast).unwrap();
    for queue in [0, 1] {
        let mut found = Vec::new();
        wait_for("what is overdue is delivered", || {
            let next = i64::try_from(found.len()).unwrap();
            let pull = Pull::new("later", queue, next).suspend(Duration::from_secs(1));
            found.extend(consumer.pull(&pull).unwrap().messages);
            found.len() as u64 >= count
        });
        let mut bodies: Vec<Vec<u8>> = found.into_iter().map(|message| message.body).collect();
        if queue == 1 {
            // Times of their own: those of a millisecond may change places when they are tried again.
            bodies.sort_unstable();
        }
        assert!(bodies.into_iter().eq((0..count).map(body)), "queue {queue}");
    }
    check(&server, topic, &ledger);
    drop(server);
    drop(disk);
}

/// Writes a file until the disk is full.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = File::create(path).unwrap();
    let zeros = vec![1; 64 << 10];
    while file.write_all(&zeros).is_ok() {}
}

#[test]
fn above_the_warning_level_sends_are_refused_and_old_segments_are_given_up() {
    let data = Data::new();
    let Some(disk) = SmallDisk::mount(&data.store(), 40) else { return };
    let setting = setting(1, "cleanResourceInterval=200\ndeleteCommitLogFilesInterval=10\n");
    let server = Server::start(data.path(), &setting);
    let topic = server.topic();
    let mut ledger = Ledger::new();
    assert!(send(&server, topic, &mut ledger, 5000).is_none());
    let ballast = data.store().join("ballast");
    fs::write(&ballast, vec![1; 23 << 20]).unwrap();
    let log = data.store().join("commitlog");
    let count = segments(&log).len();
    // A checkpoint lets the first segments go; they make room, and sends go on.
    wait_for("segments are given up", || segments(&log).len() < count);
    wait_for("sends are accepted", || send(&server, topic, &mut ledger, 1).is_none());
    let first = check(&server, topic, &ledger);
    assert!(first.iter().all(|first| *first > 0), "{first:?}");
    let mut text = None;
    let mut number = 0;
    wait_for("sends are refused", || {
        // What is given up is taken again, until there is nothing left to give.
        number += 1;
        fill(&data.store().join(format!("ballast{number}")));
        text = send(&server, topic, &mut ledger, 1);
        text.is_some()
    });
    let text = refused(text);
    assert!(text.contains("disk"), "{text}");
    drop(server);
    drop(disk);
}

#[test]
fn what_cannot_be_read_is_an_error_and_not_the_end_of_a_queue() {
    let data = Data::new();
    let setting = setting(1, "");
    let server = Server::start(data.path(), &setting);
    let topic = server.topic();
    let mut ledger = Ledger::new();
    assert!(send(&server, topic, &mut ledger, 800).is_none());
    assert!(server.stop().success());
    // Nothing is in memory now. The file is missing; then there is a directory, which opens, but does not read.
    let server = Server::start(data.path(), &setting);
    let file = data.store().join("consumequeue").join(topic).join("0/00000000000000000000");
    let aside = data.path().join("aside");
    let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "C");
    let mut is_refused = || {
        let error = consumer.pull(&Pull::new(topic, 0, 0)).unwrap_err();
        assert_eq!(error.refused_code(), Some(response::SYSTEM_ERROR), "{error}");
        assert!(error.to_string().contains("stage read"), "{error}");
    };
    fs::rename(&file, &aside).unwrap();
    is_refused();
    fs::create_dir(&file).unwrap();
    is_refused();
    fs::remove_dir(&file).unwrap();
    fs::rename(&aside, &file).unwrap();
    check(&server, topic, &ledger);
    drop(consumer);
    assert!(server.stop().success());
}

/// Changes place and size of an entry in the first file of queue 0.
fn damage(
    data: &Data,
    topic: &str,
    offset: u64,
    change: impl FnOnce(PhyOffset, u32) -> (PhyOffset, u32),
) {
    let path = data.store().join("consumequeue").join(topic).join("0/00000000000000000000");
    let file = File::options().read(true).write(true).open(path).unwrap();
    let (mut place, mut size) = ([0; 8], [0; 4]);
    file.read_exact_at(&mut place, offset * 20).unwrap();
    file.read_exact_at(&mut size, offset * 20 + 8).unwrap();
    let place = PhyOffset::from_wire(i64::from_be_bytes(place)).unwrap();
    let (place, size) = change(place, u32::from_be_bytes(size));
    file.write_all_at(&place.to_wire().to_be_bytes(), offset * 20).unwrap();
    file.write_all_at(&size.to_be_bytes(), offset * 20 + 8).unwrap();
}

#[test]
fn queue_entries_that_name_nonsense_are_passed_over_and_the_rest_is_read() {
    let data = Data::new();
    let setting = setting(1, "");
    let server = Server::start(data.path(), &setting);
    let topic = server.topic();
    let mut ledger = Ledger::new();
    assert!(send(&server, topic, &mut ledger, 800).is_none());
    assert!(server.stop().success());
    let foreign = |place: PhyOffset, size| (PhyOffset::new(StreamId(9), place.position()), size);
    damage(&data, topic, 10, foreign);
    damage(&data, topic, 11, foreign);
    damage(&data, topic, 20, |_, size| (PhyOffset((1 << 20) - 100), size));
    damage(&data, topic, 30, |place, _| (place, 0x7FFF_FF00));
    damage(&data, topic, 40, |_, size| (PhyOffset(1 << 29), size));
    damage(&data, topic, 50, foreign);
    damage(&data, topic, 60, |place, size| (place, size + 1));
    let bad = [10, 11, 20, 30, 40, 50, 60];
    // Nothing is in memory now.
    let server = Server::start(data.path(), &setting);
    let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "C");
    for first in [0, 10, 20, 30, 40, 50, 60, 61] {
        let (mut offset, mut got) = (first, Vec::new());
        while offset < 100 {
            let pulled = consumer.pull(&Pull::new(topic, 0, offset)).unwrap();
            assert!(
                matches!(pulled.status, PullStatus::Found | PullStatus::RetryImmediately),
                "{:?} at {offset}",
                pulled.status
            );
            for message in &pulled.messages {
                let id = ledger.0[0][usize::try_from(message.queue_offset).unwrap()];
                assert_eq!(message.body, body(id));
                got.push(message.queue_offset);
            }
            assert!(pulled.next_offset > offset, "the consumer is led on from {offset}");
            offset = pulled.next_offset;
        }
        let good: Vec<i64> = (first..100).filter(|offset| !bad.contains(offset)).collect();
        assert_eq!(got, good, "from {first}");
    }
    let connection = consumer.connection();
    let far = 1i64 << 50;
    assert_eq!(connection.search_offset(topic, 0, far, BoundaryType::Lower).unwrap(), 100);
    drop(consumer);
    assert!(server.stop().success());
    let log = fs::read_to_string(data.path().join("log")).unwrap();
    let is_said =
        |line: &str| ["WARN", topic, "queue 0", "offset 10"].iter().all(|part| line.contains(part));
    assert_eq!(log.lines().filter(|line| is_said(line)).count(), 1, "once in a while");
}

#[test]
fn a_filter_goes_on_behind_the_entry_that_names_no_record() {
    let data = Data::new();
    let setting = setting(1, "");
    let server = Server::start(data.path(), &setting);
    let topic = server.topic();
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    for number in 0..60 {
        let tag = if [30, 31].contains(&number) { "Wanted" } else { "Other" };
        producer.send(&Message::new(topic, body(number)).tag(tag), 0).unwrap();
    }
    drop(producer);
    assert!(server.stop().success());
    damage(&data, topic, 30, |place, size| (PhyOffset(place.0 + 8), size));
    let server = Server::start(data.path(), &setting);
    let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "C");
    let mut pull = |offset| {
        let pulled = consumer.pull(&Pull::new(topic, 0, offset).tags("Wanted")).unwrap();
        let found: Vec<i64> = pulled.messages.iter().map(|m| m.queue_offset).collect();
        (pulled.status, found, pulled.next_offset)
    };
    assert_eq!(pull(0), (PullStatus::RetryImmediately, vec![], 31));
    assert_eq!(pull(31).1, [31]);
    drop(consumer);
    assert!(server.stop().success());
}
