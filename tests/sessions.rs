//! Clients that come and go, seen from others: who is silent is dropped and the group hears of it, who closes is dropped
//! at once, a queue's lock outlives its holder by 60 s at most.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{Connection, ConsumerMember, Error};
use std::time::{Duration, Instant};
use support::{Data, Server, Setting, rounds};
use wire::body::MessageQueue;
use wire::body::client::{LockBatchRequest, LockBatchResponse, MessageModel};
use wire::codes::{request, response};
use wire::json;

const TIMEOUT: Duration = Duration::from_secs(20);
const GROUP: &str = "G_sessions";

fn start(data: &Data, shards: u16, config: &str) -> Server {
    Server::start(data.path(), &Setting { shards, config: config.to_owned() })
}

fn member(client_id: &'static str, topic: &'static str) -> ConsumerMember<'static> {
    ConsumerMember { client_id, group: GROUP, topic, tags: "*", model: MessageModel::Clustering }
}

fn ids(connection: &mut Connection) -> Vec<String> {
    let mut list = connection.consumer_ids(GROUP).unwrap();
    list.sort();
    list
}

/// Waits until the broker closes the connection; what it says before does not matter.
fn is_closed(connection: &mut Connection, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    loop {
        match connection.receive(deadline.saturating_duration_since(Instant::now())) {
            Ok(_) => {}
            Err(error) => return !error.is_timeout(),
        }
    }
}

fn is_told(connection: &mut Connection, within: Duration) -> bool {
    let told = connection.take_request(within);
    let is_it = |code| code == request::NOTIFY_CONSUMER_IDS_CHANGED;
    told.is_ok_and(|told| {
        is_it(told.code()) && told.field("consumerGroup").as_deref() == Some(GROUP)
    })
}

/// Takes what was said before.
fn drain(connection: &mut Connection) {
    while connection.take_request(Duration::from_millis(300)).is_ok() {}
}

#[test]
fn a_client_without_a_sign_of_life_is_dropped_and_its_group_hears_of_it() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards, "channelExpiredTimeout=1500\n");
        let topic = server.topic();
        let mut alive = server.connect(TIMEOUT).unwrap();
        let mut silent = server.connect(TIMEOUT).unwrap();
        let mut producer = server.connect(TIMEOUT).unwrap();
        // Lives on another shard than most others, where there are two.
        let mut more: Vec<Connection> = (0..4).map(|_| server.connect(TIMEOUT).unwrap()).collect();
        alive.heartbeat_consumer(&member("alive", topic)).unwrap();
        silent.heartbeat_consumer(&member("silent", topic)).unwrap();
        producer.heartbeat_producer("producer", "P_sessions").unwrap();
        for connection in &mut more {
            connection.heartbeat_producer("more", "P_sessions").unwrap();
        }
        assert_eq!(ids(&mut alive), ["alive", "silent"]);
        drain(&mut alive);
        let began = Instant::now();
        let mut was_told = false;
        while !was_told && began.elapsed() < Duration::from_secs(10) {
            alive.heartbeat_consumer(&member("alive", topic)).unwrap();
            was_told = is_told(&mut alive, Duration::from_millis(300));
        }
        assert!(was_told, "the others hear that one is gone");
        assert!(began.elapsed() > Duration::from_millis(500), "not before its time");
        assert_eq!(ids(&mut alive), ["alive"], "and it is, who speaks stays");
        for connection in more.iter_mut().chain([&mut silent, &mut producer]) {
            assert!(is_closed(connection, Duration::from_secs(5)), "its connection is closed");
        }
        let mut tool = server.connect(TIMEOUT).unwrap();
        let field = |writer: &mut wire::FrameWriter<'_>| {
            writer.field_str("producerGroup", b"P_sessions");
        };
        let reply = tool.call(request::GET_PRODUCER_CONNECTION_LIST, field, &[]).unwrap();
        assert_ne!(reply.code(), response::SUCCESS, "producers are dropped as consumers are");
        assert!(server.stop().success());
    }
}

#[test]
fn a_client_that_closes_is_dropped_at_once() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards, "");
        let topic = server.topic();
        let mut stays = server.connect(TIMEOUT).unwrap();
        stays.heartbeat_consumer(&member("stays", topic)).unwrap();
        for round in 0..6 {
            let mut leaves = server.connect(TIMEOUT).unwrap();
            leaves.heartbeat_consumer(&member("leaves", topic)).unwrap();
            drain(&mut stays);
            assert_eq!(ids(&mut stays), ["leaves", "stays"]);
            let began = Instant::now();
            drop(leaves);
            assert!(is_told(&mut stays, Duration::from_secs(5)), "round {round}");
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
            assert_eq!(ids(&mut stays), ["stays"]);
        }
        assert!(server.stop().success());
    }
}

fn lock(connection: &mut Connection, client_id: &str, queue: &MessageQueue) -> bool {
    let mut body = Vec::new();
    let ask = LockBatchRequest {
        client_id: client_id.to_owned(),
        consumer_group: GROUP.to_owned(),
        mq_set: vec![queue.clone()],
        only_this_broker: None,
    };
    json::write_default(&mut body, &ask);
    let reply = connection.call_ok(request::LOCK_BATCH_MQ, |_| {}, &body).unwrap();
    let held: LockBatchResponse = json::from_slice(reply.body()).unwrap();
    held.lock_ok_mq_set.as_slice() == std::slice::from_ref(queue)
}

/// Java's lease is 60 s, and cannot be set: the whole of it is waited for in the long form only.
#[test]
fn the_lock_of_a_client_that_died_is_free_after_its_lease() {
    let data = Data::new();
    let server = start(&data, 1, "");
    let queue =
        MessageQueue { broker_name: "broker-a".into(), queue_id: 0, topic: server.topic().into() };
    let mut dies = server.connect(TIMEOUT).unwrap();
    let mut other = server.connect(TIMEOUT).unwrap();
    let began = Instant::now();
    assert!(lock(&mut dies, "dies", &queue));
    assert!(lock(&mut dies, "dies", &queue), "its holder renews it");
    drop(dies);
    assert!(!lock(&mut other, "other", &queue), "the queue may still be worked on");
    if rounds("RINGMQ_LOCK_S", 0, 70) == 0 {
        return;
    }
    while !lock(&mut other, "other", &queue) {
        assert!(began.elapsed() < Duration::from_secs(75), "the lease does not end");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(began.elapsed() >= Duration::from_secs(60), "{:?}", began.elapsed());
    let error: Result<(), Error> = other.unregister("other", None, Some(GROUP));
    error.unwrap();
    assert!(server.stop().success());
}
