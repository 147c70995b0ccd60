//! More than the disk takes: what is refused, with which words, and that others go on. The store lies on a device that
//! the test stops. Needs root for the mounts.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{Connection, Error, Message, Producer};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::device::Device;
use support::{Data, Server, Setting};
use wire::codes::response;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Messages of the flood, and the bytes of each: far more than the window and its waiting room hold.
const FLOOD: usize = 3000;
const BYTES: usize = 4096;
const REQUESTS_MAX: usize = 1000;

fn start(data: &Data, config: &str) -> Server {
    let usual = "mappedFileSizeCommitLog=33554432\nlogWindowBytes=2M\nmaxMessageSize=65536\ncleanFileForciblyEnable=false\n";
    Server::start(data.path(), &Setting { shards: 1, config: format!("{usual}{config}") })
}

/// Sends one message after the other, each when the one before was answered, until told to stop.
fn plain_sends(
    address: SocketAddr,
    topic: &str,
    stop: &AtomicBool,
) -> Result<(usize, Duration), Error> {
    let mut connection = Connection::connect(address)?;
    connection.set_timeout(TIMEOUT);
    let mut producer = Producer::new(connection, "P_plain");
    let (mut sent, mut slowest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        producer.send(&Message::new(topic, &b"plain"[..]), 1)?;
        slowest = slowest.max(began.elapsed());
        sent += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok((sent, slowest))
}

/// Sends without waiting for answers.
fn flood(producer: &mut Producer, topic: &str, count: usize) -> Vec<i32> {
    let message = Message::new(topic, vec![b'f'; BYTES]);
    (0..count).map(|_| producer.submit(&message, 0).unwrap()).collect()
}

/// How many were taken, and the refusals.
fn answers(producer: &mut Producer, flood: Vec<i32>) -> (usize, Vec<String>) {
    let (mut taken, mut refusals) = (0, Vec::new());
    for opaque in flood {
        match producer.result(opaque) {
            Ok(_) => taken += 1,
            Err(Error::Refused { code, remark }) => {
                assert_eq!(code, response::SYSTEM_BUSY, "{remark}");
                refusals.push(remark);
            }
            Err(other) => panic!("{other}"),
        }
    }
    (taken, refusals)
}

/// The number behind `period in queue: `, as Java writes it.
fn age_ms(remark: &str) -> u64 {
    let (_, rest) = remark.split_once("period in queue: ").expect(remark);
    rest.split_once("ms, size of queue: ").expect(remark).0.parse().unwrap()
}

#[test]
fn a_flood_is_refused_with_the_limit_while_the_sends_of_others_go_on() {
    let data = Data::new();
    let Some(device) = Device::new(&data) else { return };
    let server = start(&data, &format!("sendThreadPoolQueueCapacity={REQUESTS_MAX}\n"));
    let topic = server.topic();
    let stop = AtomicBool::new(false);
    let mut flooding = Producer::new(server.connect(TIMEOUT).unwrap(), "P_flood");
    let (plain, flooded) = std::thread::scope(|scope| {
        let plain = scope.spawn(|| plain_sends(server.broker, topic, &stop));
        std::thread::sleep(Duration::from_millis(300));
        device.freeze();
        let flooded = flood(&mut flooding, topic, FLOOD);
        std::thread::sleep(Duration::from_millis(150));
        // One that was there before, and two that find the flood.
        let late = || scope.spawn(|| plain_sends(server.broker, topic, &stop));
        let late = [late(), late()];
        std::thread::sleep(Duration::from_millis(250));
        device.thaw();
        let flooded = answers(&mut flooding, flooded);
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        for late in late {
            let (sent, _) = late.join().unwrap().expect("who comes later is not refused");
            assert!(sent > 0);
        }
        (plain.join().unwrap(), flooded)
    });
    let (sent, slowest) = plain.expect("nobody else is refused");
    let (taken, refusals) = flooded;
    eprintln!(
        "overload: {taken} of {FLOOD} taken; {sent} plain sends, slowest {slowest:?}; {:?}",
        refusals.first()
    );
    assert!(!refusals.is_empty(), "the flood is refused");
    assert!(taken >= REQUESTS_MAX / 2, "what has room is taken: {taken}");
    for remark in &refusals {
        let java = "[OVERLOAD]system busy, start flow control for a while, period in queue: ";
        assert!(remark.starts_with(java), "{remark}");
        assert!(remark.contains("sendThreadPoolQueueCapacity = 1000"), "{remark}");
        assert!(remark.contains("logWindowBytes = 2097152"), "{remark}");
        assert!(age_ms(remark) < 5_000, "{remark}");
    }
    assert!(refusals.iter().any(|remark| age_ms(remark) > 0), "the age of the queue is told");
    assert!(slowest < Duration::from_millis(1500), "{slowest:?}");
    let mut connection = server.connect(TIMEOUT).unwrap();
    let stored = usize::try_from(connection.max_offset(topic, 0).unwrap()).unwrap();
    assert_eq!(stored, taken, "what was refused is not there, what was taken is");
    assert!(server.stop().success());
}

#[test]
fn a_send_that_waited_too_long_is_refused_with_its_age() {
    for (config, limit_ms) in [("", 1000), ("osPageCacheBusyTimeOutMills=300\n", 300)] {
        let data = Data::new();
        let Some(device) = Device::new(&data) else { return };
        let server = start(&data, config);
        let topic = server.topic();
        let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
        device.freeze();
        let sent = flood(&mut producer, topic, 1500);
        std::thread::sleep(Duration::from_millis(limit_ms + 700));
        device.thaw();
        let (taken, refusals) = answers(&mut producer, sent);
        eprintln!("overload: {taken} of 1500 taken; {:?}", refusals.last());
        assert!(!refusals.is_empty(), "they do not wait for ever");
        for remark in &refusals {
            let java = "[PCBUSY_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: ";
            assert!(remark.starts_with(java), "{remark}");
            assert!(
                remark.contains(&format!("osPageCacheBusyTimeOutMills = {limit_ms}")),
                "{remark}"
            );
            assert!((limit_ms..limit_ms + 2000).contains(&age_ms(remark)), "{remark}");
        }
        let mut connection = server.connect(TIMEOUT).unwrap();
        assert_eq!(usize::try_from(connection.max_offset(topic, 0).unwrap()).unwrap(), taken);
        assert!(server.stop().success());
    }
}

/// `brokerFastFailureEnable=false`: they wait for ever.
#[test]
fn without_fast_failure_everything_waits_for_the_disk() {
    let data = Data::new();
    let Some(device) = Device::new(&data) else { return };
    let server = start(&data, "brokerFastFailureEnable=false\n");
    let topic = server.topic();
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    device.freeze();
    let sent = flood(&mut producer, topic, 1500);
    std::thread::sleep(Duration::from_millis(2500));
    device.thaw();
    let (taken, refusals) = answers(&mut producer, sent);
    assert_eq!((taken, refusals), (1500, Vec::<String>::new()));
    assert!(server.stop().success());
}
