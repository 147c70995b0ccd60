//! What a pull answers beside its messages: how many there are, where to go on, and which broker to ask next.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{Consumer, Error, Message, Producer, Pull, PullStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{Data, Server, Setting, rounds};
use wire::body::broker::{ConsumeStats, SubscriptionGroupConfig};
use wire::codes::{request, response};
use wire::req::client::{GetConsumeStatsRequestHeader, PullMessageRequestHeader};
use wire::sys_flag;
use wire::text::Text;

const TIMEOUT: Duration = Duration::from_secs(20);
const GROUP: &str = "G_slow";

fn start(data: &Data, config: &str) -> Server {
    let server = Server::start(data.path(), &Setting { shards: 1, config: config.to_owned() });
    let group = SubscriptionGroupConfig {
        group_name: GROUP.to_owned(),
        broker_id: 3,
        which_broker_when_consume_slowly: 7,
        ..SubscriptionGroupConfig::default()
    };
    let mut body = Vec::new();
    wire::json::write_default(&mut body, &group);
    let mut connection = server.connect(TIMEOUT).unwrap();
    let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
    connection.call_ok(code, |_| {}, &body).unwrap();
    server
}

fn send(server: &Server, topic: &str, count: usize) {
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    for _ in 0..count {
        producer.send(&Message::new(topic, vec![7; 100]).tag("A"), 0).unwrap();
    }
}

fn update(server: &Server, lines: &str) {
    let mut connection = server.connect(TIMEOUT).unwrap();
    connection.call_ok(request::UPDATE_BROKER_CONFIG, |_| {}, lines.as_bytes()).unwrap();
}

fn consumer(server: &Server, group: &str) -> Consumer {
    Consumer::new(server.connect(TIMEOUT).unwrap(), group)
}

/// Kind of answer, number of messages, where to go on, suggested broker.
fn pull(server: &Server, group: &str, pull: &Pull<'_>) -> (PullStatus, usize, i64, i64) {
    let found = consumer(server, group).pull(pull).unwrap();
    (found.status, found.messages.len(), found.next_offset, found.suggested_broker_id)
}

#[test]
fn a_reader_that_is_far_behind_is_told_to_pull_from_another_broker() {
    let data = Data::new();
    let server = start(&data, "");
    let topic = server.topic();
    send(&server, topic, 40);
    let from = |offset| Pull::new(topic, 0, offset);
    let found = |offset| pull(&server, GROUP, &from(offset));
    assert_eq!(found(0), (PullStatus::Found, 32, 32, 0), "slaves are not read by default");
    update(&server, "slaveReadEnable=true\n");
    assert_eq!(found(0), (PullStatus::Found, 32, 32, 3));
    assert_eq!(pull(&server, "G_new", &from(0)), (PullStatus::Found, 32, 32, 0));
    // No memory at all: every message lies behind what memory holds.
    update(&server, "accessMessageInMemoryMaxRatio=0\n");
    assert_eq!(found(0), (PullStatus::Found, 8, 8, 7), "the limits are those of old messages, too");
    assert_eq!(found(39), (PullStatus::Found, 1, 40, 7));
    assert_eq!(pull(&server, "G_new", &from(0)), (PullStatus::Found, 8, 8, 1));
    let nothing = from(0).tags("B");
    assert_eq!(pull(&server, GROUP, &nothing), (PullStatus::RetryImmediately, 0, 40, 7));
    // Where no entry is looked at, nothing says that the reader is slow.
    assert_eq!(found(40), (PullStatus::NotFound, 0, 40, 3));
    assert_eq!(found(50), (PullStatus::OffsetMoved, 0, 40, 3));
    assert_eq!(pull(&server, GROUP, &Pull::new(topic, 1, 5)), (PullStatus::OffsetMoved, 0, 0, 3));
    update(&server, "slaveReadEnable=false\n");
    assert_eq!(found(0), (PullStatus::Found, 8, 8, 0));
    update(&server, "accessMessageInMemoryMaxRatio=40\n");
    assert_eq!(found(0), (PullStatus::Found, 32, 32, 0));
    assert!(server.stop().success());
}

#[test]
fn old_messages_and_waiting_pulls_carry_the_suggestion() {
    let data = Data::new();
    let config = "slaveReadEnable=true\naccessMessageInMemoryMaxRatio=0\n";
    let server = start(&data, config);
    let topic = server.topic();
    send(&server, topic, 20);
    assert!(server.stop().success());
    // From the files, as nothing is in memory after a start.
    let server = start(&data, config);
    let found = pull(&server, GROUP, &Pull::new(topic, 0, 5));
    assert_eq!(found, (PullStatus::Found, 8, 13, 7));
    let mut waiting = consumer(&server, GROUP);
    let waits = std::thread::spawn(move || {
        let pull = Pull::new("TestTopic", 0, 20).suspend(TIMEOUT);
        waiting.pull(&pull).unwrap()
    });
    std::thread::sleep(Duration::from_millis(200));
    send(&server, topic, 1);
    let found = waits.join().unwrap();
    assert_eq!((found.status, found.suggested_broker_id), (PullStatus::Found, 7));
    assert!(server.stop().success());
}

/// Messages in each queue, of 3 KB: a queue has some pieces of every block of the log.
const OLD: i64 = 1500;

#[test]
fn a_group_that_reads_old_messages_with_many_connections_does_not_keep_others_waiting() {
    const CONNECTIONS: usize = 8;
    const PULLS: usize = 100;
    let data = Data::new();
    let server = start(&data, "");
    let topic = server.topic();
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    for _ in 0..OLD {
        let batch: Vec<i32> = (0..8).collect();
        for queue in batch {
            producer.send(&Message::new(topic, vec![7; 3000]), queue).unwrap();
        }
    }
    assert!(server.stop().success());
    // Nothing is in memory after a start.
    let server = start(&data, "coldReadBytesPerGroup=2M\n");
    let answers = Arc::new(AtomicUsize::new(0));
    let greedy: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let mut connection = server.connect(TIMEOUT).unwrap();
            let asked: Vec<i32> = (0..PULLS)
                .map(|n| {
                    let offset = i64::try_from(n * 1471).unwrap() % (OLD - 32);
                    let queue = i32::try_from(number).unwrap();
                    let code = request::PULL_MESSAGE;
                    let header = pull_header(topic, "G_greedy", queue, offset);
                    connection.submit(code, |writer| header.encode(writer), &[]).unwrap()
                })
                .collect();
            let answers = Arc::clone(&answers);
            std::thread::spawn(move || {
                for opaque in asked {
                    connection.wait(opaque).unwrap();
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let found = pull(&server, GROUP, &Pull::new(topic, 3, 700));
    let before = answers.load(Ordering::Relaxed);
    assert_eq!((found.0, found.2), (PullStatus::Found, 700 + i64::try_from(found.1).unwrap()));
    greedy.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(answers.load(Ordering::Relaxed), CONNECTIONS * PULLS, "all are answered");
    println!("{before} answers of {} came before", CONNECTIONS * PULLS);
    assert!(before < CONNECTIONS * PULLS / 2, "{before} answers came before");
    assert!(server.stop().success());
}

fn pull_header<'a>(
    topic: &'a str,
    group: &'a str,
    queue_id: i32,
    queue_offset: i64,
) -> PullMessageRequestHeader<'a> {
    PullMessageRequestHeader {
        consumer_group: Text::plain(group.as_bytes()),
        topic: Text::plain(topic.as_bytes()),
        queue_id,
        queue_offset,
        max_msg_nums: 32,
        sys_flag: sys_flag::PULL_SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_millis: 0,
        subscription: Some(Text::plain(b"*")),
        sub_version: 0,
        max_msg_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
        broker_name: None,
        expression_type: None,
    }
}

/// CPU time of the broker for 300 pulls of 32 old messages each, from an offset on.
fn cost_of_pulls(server: &Server, topic: &str, first: i64) -> Duration {
    let mut consumer = consumer(server, GROUP);
    let used = server.cpu_time();
    for number in 0..300 {
        let pulled = consumer.pull(&Pull::new(topic, 0, first + number * 32)).unwrap();
        assert_eq!(pulled.messages.len(), 32, "at {}", first + number * 32);
    }
    server.cpu_time() - used
}

/// CPU time of the broker for 300 looks at the progress of the group, which has consumed this far.
fn cost_of_progress(server: &Server, topic: &str, consumed: i64, lag: i64) -> Duration {
    let mut connection = server.connect(TIMEOUT).unwrap();
    connection.update_consumer_offset(GROUP, topic, 0, consumed).unwrap();
    let header = GetConsumeStatsRequestHeader {
        consumer_group: Text::plain(GROUP.as_bytes()),
        topic: Some(Text::plain(topic.as_bytes())),
    };
    let used = server.cpu_time();
    for _ in 0..300 {
        let code = request::GET_CONSUME_STATS;
        let reply = connection.call_ok(code, |w| header.encode(w), &[]).unwrap();
        let stats: ConsumeStats = wire::json::from_slice(reply.body()).unwrap();
        let (_, offset) = &stats.offset_table.0[0];
        assert_eq!(offset.broker_offset - offset.consumer_offset, lag);
    }
    server.cpu_time() - used
}

/// Queue entries are found by their offset, nothing is kept in memory for what was not consumed: a pull and a look at the
/// progress cost the same near the end of a queue and far behind it.
#[test]
fn what_a_group_costs_does_not_depend_on_how_far_behind_it_is() {
    let count = i64::try_from(rounds("RINGMQ_MESSAGES", 200_000, 5_000_000)).unwrap();
    let data = Data::new();
    let server = start(&data, "");
    let topic = server.topic();
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    let batch: Vec<Message> = (0..1000).map(|_| Message::new(topic, vec![7; 10])).collect();
    for _ in 0..count / 1000 {
        producer.send_batch(&batch, 0).unwrap();
    }
    drop(producer);
    assert!(server.stop().success());
    // After a start nothing is in memory, near or far.
    let server = start(&data, "");
    let (near, far) = (count - 10_000, 0);
    let pulls = [far, near].map(|first| cost_of_pulls(&server, topic, first));
    let memory = server.private_bytes();
    let looks =
        [0, near].map(|consumed| cost_of_progress(&server, topic, consumed, count - consumed));
    let grown = server.private_bytes().saturating_sub(memory);
    eprintln!("lag of {count} and 10000: pulls {pulls:?}, looks {looks:?}, {} KiB", grown >> 10);
    for [far, near] in [pulls, looks] {
        let limit = near * 2 + Duration::from_millis(100);
        assert!(far < limit, "{far:?} far behind, {near:?} near the end");
    }
    assert!(grown < 16 << 20, "{grown} bytes for a look");
    assert!(server.stop().success());
}

#[test]
fn an_old_message_that_is_waited_for_too_long_is_refused_with_the_age() {
    let data = Data::new();
    let server = start(&data, "");
    let topic = server.topic();
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    let batch: Vec<Message> = (0..100).map(|_| Message::new(topic, vec![7; 1000])).collect();
    for _ in 0..100 {
        producer.send_batch(&batch, 0).unwrap();
    }
    drop(producer);
    assert!(server.stop().success());
    let server = start(&data, "waitTimeMillsInPullQueue=1\ncoldReadBytesPerGroup=524288\n");
    let mut consumer = consumer(&server, GROUP);
    let (mut found, mut refused) = (0, 0);
    for _ in 0..20 {
        let pull = |n: i64| Pull::new(topic, 0, n * 97 % 9900);
        let asked: Vec<i32> = (0..20).map(|n| consumer.submit(&pull(n)).unwrap()).collect();
        for opaque in asked {
            match consumer.result(opaque) {
                Ok(pulled) => found += pulled.messages.len(),
                Err(Error::Refused { code: response::SYSTEM_BUSY, remark }) => {
                    let java = "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: ";
                    assert!(remark.starts_with(java), "{remark}");
                    assert!(remark.ends_with("waitTimeMillsInPullQueue = 1"), "{remark}");
                    refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        if refused > 0 && found > 0 {
            break;
        }
    }
    eprintln!("{found} messages, {refused} pulls refused");
    assert!(found > 0 && refused > 0, "{found} messages, {refused} pulls refused");
    assert!(server.stop().success());
}
