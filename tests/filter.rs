//! Filters by SQL92 expressions and tags, as consumers meet them: from memory, from files, while they wait, with
//! subscriptions of heartbeats and of pulls; and what is refused, with Java's codes and words.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{Consumer, Error, Message, Producer, Pull, PullStatus};
use std::time::{Duration, Instant};
use support::{Data, Server, Setting};
use wire::body::client::{CheckClientConfig, ConsumerData, HeartbeatData, SubscriptionData};
use wire::codes::request;
use wire::sys_flag;

const TIMEOUT: Duration = Duration::from_secs(20);
const ENABLED: &str = "enablePropertyFilter=true\n";

fn start(data: &Data, shards: u16, config: &str) -> Server {
    Server::start(data.path(), &Setting { shards, config: config.to_owned() })
}

fn consumer(server: &Server, group: &str) -> Consumer {
    Consumer::new(server.connect(TIMEOUT).unwrap(), group)
}

/// A message with its number; every seventh has none.
fn message(topic: &str, number: usize) -> Message {
    let message = Message::new(topic, vec![7; 300]).tag(["A", "B"][number % 2]);
    let message = message.with("name", &format!("it's {}", number % 10));
    match number % 7 {
        0 => message,
        _ => message.with("number", &number.to_string()),
    }
}

fn send(server: &Server, topic: &str, queue: i32, numbers: std::ops::Range<usize>) {
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    for number in numbers {
        producer.send(&message(topic, number), queue).unwrap();
    }
}

fn subscription(topic: &str, kind: &str, text: &str, version: i64) -> SubscriptionData {
    SubscriptionData {
        topic: topic.to_owned(),
        expression_type: Some(kind.to_owned()),
        sub_string: text.to_owned(),
        sub_version: version,
        ..SubscriptionData::default()
    }
}

fn beat(server: &Server, group: &str, subscription: SubscriptionData) -> Consumer {
    let mut consumer = consumer(server, group);
    beat_again(&mut consumer, group, subscription);
    consumer
}

fn beat_again(consumer: &mut Consumer, group: &str, subscription: SubscriptionData) {
    let data = ConsumerData {
        group_name: group.to_owned(),
        subscription_data_set: vec![subscription],
        ..ConsumerData::default()
    };
    let data = HeartbeatData {
        client_id: "C".to_owned(),
        consumer_data_set: vec![data],
        ..HeartbeatData::default()
    };
    consumer.connection().heartbeat(&data).unwrap();
}

/// A pull that takes the subscription of the heartbeats.
fn by_heartbeat(topic: &str, offset: i64) -> Pull<'_> {
    Pull { subscription: None, sub_version: 7, ..Pull::new(topic, 0, offset) }
}

fn by_header<'a>(topic: &'a str, text: &'a str, offset: i64) -> Pull<'a> {
    Pull { subscription: Some(text), expression_type: Some("SQL92"), ..Pull::new(topic, 0, offset) }
}

/// Offsets of all that is found, and how many answers that took.
fn pull_all<'a>(consumer: &mut Consumer, pull: impl Fn(i64) -> Pull<'a>) -> (Vec<i64>, usize) {
    let (mut found, mut next, mut answers) = (Vec::new(), 0, 0);
    loop {
        let answer = consumer.pull(&pull(next)).unwrap();
        if answer.status == PullStatus::NotFound {
            return (found, answers);
        }
        assert!(answer.next_offset > next, "it goes on: {answer:?}");
        assert_eq!(answer.status == PullStatus::Found, !answer.messages.is_empty());
        found.extend(answer.messages.iter().map(|message| message.queue_offset));
        next = answer.next_offset;
        answers += 1;
    }
}

fn refusal(answer: Result<impl std::fmt::Debug, Error>) -> (i32, String) {
    match answer.unwrap_err() {
        Error::Refused { code, remark, .. } => (code, remark),
        other @ (Error::Io(_) | Error::Protocol(_)) => panic!("{other}"),
    }
}

const COUNT: usize = 3000;

#[test]
fn exactly_what_an_expression_matches_is_found_in_memory_and_in_files() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards, ENABLED);
        let topic = server.topic();
        send(&server, topic, 0, 0..COUNT);
        let with_number = |number: &usize| !number.is_multiple_of(7);
        let cases: [(&str, Vec<usize>); 5] = [
            ("number >= 2990", (2990..COUNT).filter(with_number).collect()),
            ("number BETWEEN 100 AND 110 AND TAGS = 'B'", vec![101, 103, 107, 109]),
            ("number IS NULL", (0..COUNT).filter(|number| number.is_multiple_of(7)).collect()),
            ("name = 'it''s 3' AND number < 40", vec![3, 13, 23, 33]),
            // Nothing is matched by what cannot be compared.
            ("name > 1 OR number > 0", Vec::new()),
        ];
        let check = |server: &Server| {
            for (text, expected) in &cases {
                let expected: Vec<i64> =
                    expected.iter().map(|number| i64::try_from(*number).unwrap()).collect();
                let subscription = subscription(topic, "SQL92", text, 7);
                let mut consumer = beat(server, "G", subscription);
                let (found, answers) = pull_all(&mut consumer, |next| by_heartbeat(topic, next));
                assert_eq!(found, expected, "{text}");
                assert!(answers < 60 + expected.len() / 8 + 2, "{text}: {answers} answers");
                let (found, _) = pull_all(&mut consumer, |next| by_header(topic, text, next));
                assert_eq!(found, expected, "{text}, in the header");
                consumer.connection().unregister("C", None, Some("G")).unwrap();
            }
        };
        check(&server);
        assert!(server.stop().success());
        // Nothing is in memory after a start.
        let server = start(&data, shards, ENABLED);
        check(&server);
        // Some is.
        send(&server, topic, 0, COUNT..COUNT + 1);
        check_one_more(&server, topic);
        assert!(server.stop().success());
    }
}

fn check_one_more(server: &Server, topic: &str) {
    let mut consumer = consumer(server, "G");
    let text = format!("number = {COUNT} OR number = {}", COUNT - 1);
    let (found, _) = pull_all(&mut consumer, |next| by_header(topic, &text, next));
    assert_eq!(found, [2999, 3000]);
}

#[test]
fn a_waiting_pull_wakes_for_what_it_wants_only() {
    let data = Data::new();
    let server = start(&data, 1, ENABLED);
    let topic = server.topic();
    let mut waiting = beat(&server, "G", subscription(topic, "SQL92", "number > 5", 7));
    let waits = std::thread::spawn(move || {
        let began = Instant::now();
        let pull = by_heartbeat("TestTopic", 0).suspend(TIMEOUT);
        (waiting.pull(&pull).unwrap(), began.elapsed())
    });
    std::thread::sleep(Duration::from_millis(200));
    send(&server, topic, 0, 0..5);
    std::thread::sleep(Duration::from_millis(400));
    assert!(!waits.is_finished(), "nothing that it wants is there");
    send(&server, topic, 0, 8..9);
    let (found, waited) = waits.join().unwrap();
    let offsets: Vec<i64> = found.messages.iter().map(|message| message.queue_offset).collect();
    assert_eq!((found.status, offsets, found.next_offset), (PullStatus::Found, vec![5], 6));
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    assert!(server.stop().success());
}

#[test]
fn what_cannot_be_filtered_is_refused_in_javas_words() {
    let data = Data::new();
    let server = start(&data, 1, "");
    let topic = server.topic();
    let disabled =
        (1, "The broker does not support consumer to filter message by SQL92".to_owned());
    let sql = |text: &str, version| subscription(topic, "SQL92", text, version);
    let mut one = beat(&server, "G", sql("number > 5", 7));
    assert_eq!(refusal(one.pull(&by_heartbeat(topic, 0))), disabled);
    assert_eq!(refusal(one.pull(&by_header(topic, "number > 5", 0))), disabled);
    assert_eq!(refusal(check(&server, sql("number > 5", 7))), disabled);
    let mut admin = server.connect(TIMEOUT).unwrap();
    admin.call_ok(request::UPDATE_BROKER_CONFIG, |_| {}, ENABLED.as_bytes()).unwrap();
    check(&server, sql("number > 5", 7)).unwrap();
    assert_eq!(one.pull(&by_heartbeat(topic, 0)).unwrap().status, PullStatus::NotFound);
    let (code, remark) = refusal(check(&server, sql("a > AND", 7)));
    assert_eq!(code, 23);
    let begin = "org.apache.rocketmq.filter.parser.ParseException: Encountered \" \"AND\" \"AND \"\" at line 1, column 5.\n";
    assert!(remark.starts_with(begin), "{remark}");
    let (code, remark) = refusal(one.pull(&by_header(topic, "a > AND", 0)));
    assert_eq!(code, 23);
    assert!(remark.starts_with("parse the consumer's subscription failed: org.apache"), "{remark}");
    let later = Pull { sub_version: 8, ..by_heartbeat(topic, 0) };
    let not_latest = (25, "the consumer's subscription not latest".to_owned());
    assert_eq!(refusal(one.pull(&later)), not_latest);
    // An expression that is none is told when its consumer pulls; a newer one counts.
    let not_there = "The broker's consumer filter data is not exist!Your expression may be wrong!";
    for (text, kind, version) in [("a >", "SQL92", 8), ("", "SQL92", 9), ("a > 1", "XPATH", 10)] {
        beat_again(&mut one, "G", subscription(topic, kind, text, version));
        assert_eq!(refusal(one.pull(&by_heartbeat(topic, 0))), (27, not_there.to_owned()));
    }
    beat_again(&mut one, "G", sql("a > 1", 9));
    assert_eq!(refusal(one.pull(&by_heartbeat(topic, 0))).0, 27, "an older one does not");
    beat_again(&mut one, "G", sql("a > 1", 11));
    assert_eq!(one.pull(&by_heartbeat(topic, 0)).unwrap().status, PullStatus::NotFound);
    let class =
        SubscriptionData { class_filter_mode: true, ..subscription(topic, "TAG", "x.Y", 12) };
    beat_again(&mut one, "G", class);
    let by_class = "The broker does not support consumer to filter message by a class: there are no filter servers";
    assert_eq!(refusal(one.pull(&by_heartbeat(topic, 0))), (1, by_class.to_owned()));
    let flag = Pull { extra_flags: sys_flag::PULL_CLASS_FILTER, ..Pull::new(topic, 0, 0) };
    assert_eq!(refusal(one.pull(&flag)), (1, by_class.to_owned()));
    assert!(server.stop().success());
}

/// Request 46.
fn check(server: &Server, subscription: SubscriptionData) -> Result<client::Reply, Error> {
    let body = CheckClientConfig {
        client_id: "C".to_owned(),
        group: "G".to_owned(),
        namespace: None,
        subscription_data: Some(subscription),
    };
    let mut bytes = Vec::new();
    wire::json::write_default(&mut bytes, &body);
    let mut connection = server.connect(TIMEOUT).unwrap();
    connection.call_ok(request::CHECK_CLIENT_CONFIG, |_| {}, &bytes)
}

#[test]
fn retried_messages_are_filtered_by_their_topics_expression() {
    let data = Data::new();
    let server = start(&data, 1, &format!("{ENABLED}filterSupportRetry=true\n"));
    let topic = server.topic();
    let retry = "%RETRY%G";
    let mut one = consumer(&server, "G");
    let both = ConsumerData {
        group_name: "G".to_owned(),
        subscription_data_set: vec![
            subscription(topic, "SQL92", "number > 5", 7),
            subscription(retry, "SQL92", "number > 0", 7),
        ],
        ..ConsumerData::default()
    };
    let data = HeartbeatData {
        client_id: "C".to_owned(),
        consumer_data_set: vec![both],
        ..HeartbeatData::default()
    };
    one.connection().heartbeat(&data).unwrap();
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    for (number, from) in [(4, topic), (6, topic), (7, "Other"), (4, "Other")] {
        let message = Message::new(retry, vec![1]).with("number", &number.to_string());
        producer.send(&message.with("RETRY_TOPIC", from), 0).unwrap();
    }
    let offsets = |consumer: &mut Consumer| pull_all(consumer, |next| by_heartbeat(retry, next)).0;
    assert_eq!(offsets(&mut one), [1, 2, 3], "a topic without an expression is not filtered");
    let mut admin = server.connect(TIMEOUT).unwrap();
    let off = b"filterSupportRetry=false\n";
    admin.call_ok(request::UPDATE_BROKER_CONFIG, |_| {}, off).unwrap();
    assert_eq!(offsets(&mut one), [0, 1, 2, 3]);
    assert!(server.stop().success());
}

#[test]
fn expressions_are_kept_for_java_in_its_table() {
    let data = Data::new();
    let read = || {
        let text = std::fs::read(data.store().join("config/consumerFilter.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        json["filterDataByTopic"]["TestTopic"]["groupFilterData"]["G"].clone()
    };
    let server = start(&data, 2, ENABLED);
    let topic = server.topic();
    let mut one = beat(&server, "G", subscription(topic, "SQL92", "number > 5", 7));
    assert_eq!(one.pull(&by_heartbeat(topic, 0)).unwrap().status, PullStatus::NotFound);
    assert!(server.stop().success());
    let written = read();
    assert_eq!(
        (&written["expression"], &written["clientVersion"]),
        (&"number > 5".into(), &7.into())
    );
    assert_eq!(written["bloomFilterData"]["bitPos"].as_array().unwrap().len(), 3);
    let server = start(&data, 2, "filterDataCleanTimeSpan=1\n");
    std::thread::sleep(Duration::from_secs(11));
    assert!(server.stop().success());
    assert!(read().is_null(), "nobody wanted it for long");
}

/// Changes what the broker has kept of groups with expressions.
fn edit_filters(data: &Data, edit: impl FnOnce(&mut serde_json::Value)) -> serde_json::Value {
    let path = data.store().join("config/consumerFilter.json");
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut json["filterDataByTopic"]["TestTopic"]["groupFilterData"]);
    std::fs::write(&path, serde_json::to_vec(&json).unwrap()).unwrap();
    json["filterDataByTopic"]["TestTopic"]["groupFilterData"].take()
}

/// The bit maps of a queue's messages, and where in the file of extended entries each begins.
fn bit_maps(data: &Data) -> Vec<(usize, Vec<u8>)> {
    let path = data.store().join("consumequeue_ext/TestTopic/0/00000000000000000000");
    let bytes = std::fs::read(path).unwrap();
    let (mut at, mut maps) = (0, Vec::new());
    let number = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    while number(at) != 0 {
        let map = &bytes[at + 20..at + number(at)];
        assert_eq!(number(at + 18), map.len());
        maps.push((at + 20, map.to_vec()));
        at += number(at);
    }
    maps
}

const MAPS: &str = "enableConsumeQueueExt=true\nenableCalcFilterBitMap=true\n";

/// Stores messages: ten before two groups are known, others, some in a batch, one that was delayed.
fn fill_with_maps(data: &Data, shards: u16, wanted: [(&str, &str); 2]) {
    let server = start(data, shards, &format!("{ENABLED}{MAPS}messageDelayLevel=1s\n"));
    let topic = server.topic();
    send(&server, topic, 0, 0..10);
    for (group, text) in wanted {
        beat(&server, group, subscription(topic, "SQL92", text, 7));
    }
    std::thread::sleep(Duration::from_millis(20));
    send(&server, topic, 0, 10..29);
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    producer.send_batch(&[message(topic, 29), message(topic, 30)], 0).unwrap();
    producer.send(&message(topic, 31).with("DELAY", "1"), 0).unwrap();
    let last = Pull::new(topic, 0, 31).suspend(TIMEOUT);
    assert_eq!(consumer(&server, "any").pull(&last).unwrap().status, PullStatus::Found);
    assert!(server.stop().success());
}

#[test]
fn bits_of_expressions_are_kept_with_messages_and_spare_a_look_at_what_they_exclude() {
    for shards in [1, 2] {
        let data = Data::new();
        let wanted = [("G", "number > 15"), ("H", "number < 25")];
        fill_with_maps(&data, shards, wanted);
        let filters = edit_filters(&data, |_| {});
        let wants = [|number: usize| number > 15, |number: usize| number < 25];
        let maps = bit_maps(&data);
        assert_eq!(maps.len(), 32);
        for (number, (_, map)) in maps.iter().enumerate() {
            let mut expected = vec![0; if number < 10 { 0 } else { 14 }];
            for ((group, _), wants) in wanted.iter().zip(wants) {
                if number < 10 || number % 7 == 0 || !wants(number) {
                    continue;
                }
                for bit in filters[group]["bloomFilterData"]["bitPos"].as_array().unwrap() {
                    let bit = usize::try_from(bit.as_u64().unwrap()).unwrap();
                    expected[bit / 8] |= 1 << (bit % 8);
                }
            }
            assert_eq!(*map, expected, "message {number}");
        }
        // Bits that are lost: that is never a reason to leave out what may be older than the group.
        let path = data.store().join("consumequeue_ext/TestTopic/0/00000000000000000000");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[maps[20].0..][..14].fill(0);
        std::fs::write(&path, bytes).unwrap();
        let with_number = |number: &i64| number % 7 != 0;
        let of_g: Vec<i64> = (16..32).filter(with_number).collect();
        let of_h: Vec<i64> = (1..25).filter(with_number).collect();
        let find = |group: &str, text: &str, version: i64| {
            let server = start(&data, shards, &format!("{ENABLED}{MAPS}"));
            let topic = server.topic();
            let mut one = beat(&server, group, subscription(topic, "SQL92", text, version));
            let found = pull_all(&mut one, |next| by_heartbeat(topic, next)).0;
            let by_header = pull_all(&mut one, |next| by_header(topic, text, next)).0;
            assert!(server.stop().success());
            (found, by_header)
        };
        assert_eq!(find("G", wanted[0].1, 7), (of_g.clone(), of_g.clone()));
        assert_eq!(find("H", wanted[1].1, 7), (of_h.clone(), of_h.clone()));
        // With a group that is old enough, they decide; without its heartbeat, or when it wants something else, they do not.
        edit_filters(&data, |groups| {
            groups["G"]["bornTime"] = 1.into();
            groups["H"]["bornTime"] = 1.into();
        });
        let others = |all: &[i64]| all.iter().copied().filter(|n| *n != 20).collect::<Vec<_>>();
        assert_eq!(find("G", wanted[0].1, 7), (others(&of_g), of_g.clone()));
        assert_eq!(find("H", wanted[1].1, 7), (others(&of_h), of_h.clone()));
        assert_eq!(find("G", "number >= 16", 8).0, of_g);
        // After a crash nobody knows what the table lacks: the bits of before decide nothing any more.
        start(&data, shards, &format!("{ENABLED}{MAPS}")).kill();
        assert!(start(&data, shards, &format!("{ENABLED}{MAPS}")).stop().success());
        assert_eq!(find("H", wanted[1].1, 7).0, of_h);
        assert_eq!(bit_maps(&data)[20].1, [0; 14], "they are still there");
    }
}
