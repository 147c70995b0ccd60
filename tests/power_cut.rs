//! A device that stops: the store on an ext4 of its own, on a loop device whose backing file is frozen, and cut there.
//!
//! What was acknowledged with SYNC_FLUSH before the cut is there after it, also when the file system had to replay its
//! journal; a device that hangs for seconds loses nothing and ends nothing. Needs root for the mounts. What power cuts
//! do to single sectors is the business of the crash images in `shard`. `RINGMQ_CUTS` is the number of cuts.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{Consumer, Message, Producer, Pull, PullStatus, SendStatus};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::device::Device;
use support::{Data, Random, Server, Setting, rounds};

const QUEUES: usize = 8;
const WRITERS: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(30);

/// A message and when its acknowledgement came.
struct Acknowledged {
    id: u64,
    queue: usize,
    offset: i64,
    at: Instant,
}

fn body(id: u64) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.resize(100 + usize::try_from(id % 20_000).unwrap(), 9);
    body
}

fn write(server: &Server, topic: &str, ids: &AtomicU64, stop: &AtomicBool) -> Vec<Acknowledged> {
    let mut list = Vec::new();
    let Ok(connection) = server.connect(TIMEOUT) else { return list };
    let mut producer = Producer::new(connection, "G_cut");
    while !stop.load(Ordering::Relaxed) {
        let id = ids.fetch_add(1, Ordering::Relaxed);
        let queue = usize::try_from(id).unwrap() % QUEUES;
        let sent = producer.send(&Message::new(topic, body(id)), i32::try_from(queue).unwrap());
        match sent {
            Ok(sent) if sent.status == SendStatus::Ok => {
                let (offset, at) = (sent.queue_offset, Instant::now());
                list.push(Acknowledged { id, queue, offset, at });
            }
            // In time it was not on the disk: nothing is promised.
            Ok(_) => {}
            Err(client::Error::Refused { .. }) => {}
            Err(_) => break,
        }
    }
    list
}

/// Reads every queue; the ids by queue and offset.
fn read(server: &Server, topic: &str) -> Vec<Vec<u64>> {
    let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "G_cut_reader");
    let mut queue = |queue: i32| {
        let mut ids = Vec::new();
        loop {
            let offset = i64::try_from(ids.len()).unwrap();
            let pulled = consumer.pull(&Pull::new(topic, queue, offset)).unwrap();
            if pulled.status != PullStatus::Found {
                assert_eq!(offset, pulled.max_offset, "queue {queue}: {:?}", pulled.status);
                return ids;
            }
            for message in pulled.messages {
                let id = u64::from_be_bytes(message.body[..8].try_into().unwrap());
                assert!(message.body == body(id), "queue {queue}: the body of {id}");
                ids.push(id);
            }
        }
    };
    (0..i32::try_from(QUEUES).unwrap()).map(&mut queue).collect()
}

fn check(server: &Server, topic: &str, owed: &[Acknowledged]) {
    let stored = read(server, topic);
    for message in owed {
        let there = stored[message.queue].get(usize::try_from(message.offset).unwrap());
        assert_eq!(there, Some(&message.id), "queue {} at {}", message.queue, message.offset);
    }
}

/// Load for a while, with `accident` in the middle of it.
fn load(
    server: &Server,
    ids: &AtomicU64,
    random: &mut Random,
    accident: impl FnOnce(),
) -> Vec<Acknowledged> {
    let topic = server.topic();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        let writer = || scope.spawn(move || write(server, topic, ids, stop));
        let writers: Vec<_> = (0..WRITERS).map(|_| writer()).collect();
        std::thread::sleep(Duration::from_millis(100 + random.below(900)));
        accident();
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    })
}

fn setting(shards: u16) -> Setting {
    let lines = "flushDiskType=SYNC_FLUSH\nmappedFileSizeCommitLog=8388608\nmappedFileSizeConsumeQueue=20000\n\
                 maxHashSlotNum=1000\nmaxIndexNum=5000\nsyncFlushTimeout=1000\ncleanFileForciblyEnable=false\n";
    Setting { shards, config: lines.to_string() }
}

#[test]
fn what_was_acknowledged_survives_the_cut_of_its_device() {
    let mut random = Random::new(Random::seed("power_cut"));
    let data = Data::new();
    let Some(mut device) = Device::new(&data) else { return };
    let (ids, copy) = (AtomicU64::new(0), data.path().join("cut.img"));
    let shards = 1 + u16::try_from(random.below(2)).unwrap();
    let mut owed: Vec<Acknowledged> = Vec::new();
    let mut server = Server::start(data.path(), &setting(shards));
    for number in 0..rounds("RINGMQ_CUTS", 3, 30) {
        let mut cut_at = Instant::now();
        let mut sent = load(&server, &ids, &mut random, || {
            device.freeze();
            device.copy(&copy);
            cut_at = Instant::now();
            device.thaw();
            server.kill_now();
        });
        server.kill();
        sent.retain(|message| message.at < cut_at);
        owed.extend(sent);
        data.remove_windows();
        device.go_back_to(&copy);
        eprintln!("cut {number}: {} messages are owed", owed.len());
        server = Server::start(data.path(), &setting(shards));
        check(&server, server.topic(), &owed);
        // Others may have their offsets by now.
        owed.retain(|message| message.at < cut_at);
    }
    assert!(server.stop().success());
    assert!(!owed.is_empty(), "something was acknowledged");
}

#[test]
fn a_device_that_hangs_for_seconds_ends_nothing() {
    let mut random = Random::new(7);
    let data = Data::new();
    let Some(device) = Device::new(&data) else { return };
    let ids = AtomicU64::new(0);
    let server = Server::start(data.path(), &setting(1));
    let mut owed = Vec::new();
    let mut hung = (Instant::now(), Instant::now());
    owed.extend(load(&server, &ids, &mut random, || {
        device.freeze();
        let from = Instant::now();
        std::thread::sleep(Duration::from_secs(5));
        hung = (from, Instant::now());
        device.thaw();
        std::thread::sleep(Duration::from_secs(1));
    }));
    assert!(owed.iter().any(|message| message.at > hung.1), "it goes on when the device does");
    check(&server, server.topic(), &owed);
    assert!(server.stop().success());
    let server = Server::start(data.path(), &setting(1));
    check(&server, server.topic(), &owed);
    assert!(server.stop().success());
}

/// A delivery to the queue, whose log is on the device alone, while that hangs: the checkpoint is as it was until it goes on.
fn checkpoint_waits(data: &Data, device: &Device, setting: &Setting, queue: i32) {
    let namesrv = "127.0.0.1:1".parse().unwrap();
    let server = Server::start_broker(data.path(), setting, namesrv);
    let topic = server.topic();
    let file = data.path().join("root/config/timercheck");
    let checkpoint = || {
        let bytes = std::fs::read(&file).unwrap_or_default();
        bytes.get(16..24).map_or(0, |bytes| i64::from_be_bytes(bytes.try_into().unwrap()))
    };
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "G");
    let mut deliver = |offset: i64| {
        let message = Message::new(topic, &b"x"[..]).with("TIMER_DELAY_MS", "200");
        producer.send(&message, queue).unwrap();
        let pull = Pull::new(topic, queue, offset).suspend(TIMEOUT);
        assert_eq!(consumer.pull(&pull).unwrap().status, PullStatus::Found);
    };
    let wait_for = |offset: i64| {
        let deadline = Instant::now() + TIMEOUT;
        while checkpoint() < offset {
            assert!(Instant::now() < deadline, "the log is flushed");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    deliver(0);
    wait_for(1);
    device.freeze();
    deliver(1);
    std::thread::sleep(Duration::from_secs(2));
    let stood = checkpoint();
    device.thaw();
    assert_eq!(stood, 1, "what was delivered is not on the disk");
    wait_for(2);
    assert!(server.stop().success());
}

/// The root of the store beside the device.
fn checkpoint_setting(data: &Data, shards: u16, more: &str) -> Setting {
    let root = data.path().join("root");
    let config = format!(
        "storePathRootDir={}\nflushIntervalCommitLog=50\ntimerFlushIntervalMs=20\n{more}",
        root.display()
    );
    Setting { shards, config }
}

#[test]
fn the_timers_checkpoint_waits_for_a_log_whose_disk_hangs() {
    let data = Data::new();
    let Some(device) = Device::new(&data) else { return };
    let log = format!("storePathCommitLog={}\n", data.store().join("commitlog").display());
    checkpoint_waits(&data, &device, &checkpoint_setting(&data, 1, &log), 0);
}

#[test]
fn the_timers_checkpoint_waits_for_another_shards_log_whose_disk_hangs() {
    let data = Data::new();
    let Some(device) = Device::new(&data) else { return };
    // The other log on the device; the timer's own queue and queue 0 of the topic are in the first one, which is not.
    let (log, streams) = (data.store().join("other"), data.path().join("root/streams"));
    std::fs::create_dir(&log).unwrap();
    std::fs::create_dir_all(&streams).unwrap();
    std::os::unix::fs::symlink(&log, streams.join("1")).unwrap();
    checkpoint_waits(&data, &device, &checkpoint_setting(&data, 2, ""), 1);
    assert!(std::fs::read_dir(&log).unwrap().count() > 0, "the log was there");
}
