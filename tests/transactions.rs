//! Transactions: halves, their ends, questions to producers, and what a stop or a kill leaves of them.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{
    Consumer, Error, HalfPlace, Message, Producer, Pull, Received, TransactionCheck, TransactionEnd,
};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};
use support::{Data, Server, Setting, golden};
use wire::codes::{request, response};
use wire::req::client::ResumeCheckHalfMessageRequestHeader;
use wire::text::Text;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Long enough for a round of checks or two.
const ROUNDS: Duration = Duration::from_millis(1500);
const GROUP: &str = "P_transactions";
const HALVES: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
const OPERATIONS: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
const GIVEN_UP: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Rounds come fast, and questions after half a second.
const FAST: &str = "transactionCheckInterval=300\ntransactionTimeOut=500\n";
/// Nobody is asked.
const NEVER: &str = "transactionCheckInterval=3600000\n";

fn start(data: &Data, shards: u16, config: &str) -> Server {
    Server::start(data.path(), &Setting { shards, config: config.to_owned() })
}

/// A producer that its group does not know of.
fn silent(server: &Server) -> Producer {
    Producer::new(server.connect(TIMEOUT).unwrap(), GROUP)
}

/// A member of the group.
fn member(server: &Server, id: &str) -> Producer {
    let mut producer = silent(server);
    producer.connection().heartbeat_producer(id, GROUP).unwrap();
    producer
}

fn half(topic: &str, body: &str) -> Message {
    Message::new(topic, body).tag("A").keys(body).half(GROUP)
}

fn send(producer: &mut Producer, topic: &str, body: &str, queue: i32) -> HalfPlace {
    HalfPlace::of(&producer.send(&half(topic, body), queue).unwrap()).unwrap()
}

fn all(server: &Server, topic: &str, queue: i32) -> Vec<Received> {
    let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "C_transactions");
    consumer.pull_all(topic, queue, 0).unwrap()
}

/// Waits for `count` messages in a queue; there must not be more.
fn wait(server: &Server, topic: &str, queue: i32, count: usize) -> Vec<Received> {
    let until = Instant::now() + TIMEOUT;
    loop {
        let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "C_transactions");
        // A topic that the broker makes itself comes with its first message.
        let found = match consumer.pull(&Pull::new(topic, queue, 0)) {
            Err(error) if error.refused_code() == Some(response::TOPIC_NOT_EXIST) => Vec::new(),
            Err(error) => panic!("{topic}: {error}"),
            Ok(_) => consumer.pull_all(topic, queue, 0).unwrap(),
        };
        assert!(found.len() <= count, "{} messages, not {count}", found.len());
        if found.len() == count {
            return found;
        }
        assert!(Instant::now() < until, "{} of {count} messages of {topic}", found.len());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn bodies(messages: &[Received]) -> Vec<String> {
    messages.iter().map(|m| String::from_utf8(m.body.clone()).unwrap()).collect()
}

fn keys(message: &Received) -> BTreeSet<String> {
    let pairs = wire::Props::new(&message.properties);
    pairs.iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect()
}

fn nothing_comes(producer: &mut Producer) {
    match producer.take_check(ROUNDS) {
        Err(Error::Io(_)) => {}
        Err(error) => panic!("{error}"),
        Ok(check) => panic!("asked about {:?}", bodies(&[check.message])),
    }
}

#[test]
fn a_commit_shows_the_message_and_a_rollback_drops_it() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards, NEVER);
        let topic = server.topic();
        let mut producer = silent(&server);
        let mut places = Vec::new();
        for number in 0..8 {
            let sent = producer.send(&half(topic, &format!("{number}")), number).unwrap();
            assert_eq!((sent.queue_id, sent.queue_offset), (number, i64::from(number)));
            assert!(sent.transaction_id.is_some());
            places.push(HalfPlace::of(&sent).unwrap());
        }
        for queue in 0..8 {
            assert!(all(&server, topic, queue).is_empty(), "a half is not shown");
        }
        for (number, place) in (0..).zip(&places) {
            let end =
                if number % 2 == 0 { TransactionEnd::Commit } else { TransactionEnd::Rollback };
            // Each twice, as a client may that tries again; the second does nothing.
            producer.end_transaction(*place, end, false).unwrap();
            producer.end_transaction(*place, end, false).unwrap();
            producer.end_transaction(*place, TransactionEnd::Commit, false).unwrap();
        }
        for (queue, place) in (0..).zip(&places) {
            let count = if queue % 2 == 0 { 1 } else { 0 };
            for message in wait(&server, topic, queue, count) {
                assert_eq!(message.body, format!("{queue}").into_bytes());
                assert_eq!((message.sys_flag, message.queue_offset), (8, 0));
                assert_eq!(message.prepared_transaction_offset, place.physical_offset);
            }
        }
        let halves = wait(&server, HALVES, 0, 8);
        assert!(halves.iter().all(|m| m.sys_flag == 0 && m.queue_id == 0));
        let mut named: Vec<i64> = Vec::new();
        for record in all(&server, OPERATIONS, 0) {
            assert_eq!(record.property("TAGS").as_deref(), Some("d"));
            let text = String::from_utf8(record.body).unwrap();
            assert_eq!(text.contains(','), text.ends_with(','), "{text}");
            named.extend(text.split_terminator(',').map(|half| half.parse::<i64>().unwrap()));
        }
        named.sort_unstable();
        assert_eq!(named, (0..8).collect::<Vec<i64>>());
        assert!(server.stop().success());
    }
}

#[test]
fn records_have_the_properties_of_the_recorded_ones() {
    let recorded = golden::read_json("v550-small-clean.expect.json.gz");
    let recorded = recorded["javaAfterRecovery"]["messages"].as_array().unwrap();
    let names = |topic: &str, sys_flag: i64| -> BTreeSet<String> {
        let is_it = |m: &&serde_json::Value| {
            m["topic"] == topic
                && m["sysFlag"] == sys_flag
                && m["properties"].get("KEYS").is_none_or(|key| key == "tx-c-0")
        };
        let found = recorded.iter().find(is_it).unwrap();
        found["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let data = Data::new();
    let server = start(&data, 1, NEVER);
    let topic = server.topic();
    let mut producer = silent(&server);
    let sent = producer.send(&half(topic, "x").with("WAIT", "true"), 3).unwrap();
    let place = HalfPlace::of(&sent).unwrap();
    producer.end_transaction(place, TransactionEnd::Commit, false).unwrap();
    let committed = wait(&server, topic, 3, 1).remove(0);
    assert_eq!(keys(&committed), names("GoldA", 8));
    let half = wait(&server, HALVES, 0, 1).remove(0);
    assert_eq!(keys(&half), names(HALVES, 0));
    assert_eq!(half.property("REAL_TOPIC").as_deref(), Some(topic));
    assert_eq!(half.property("REAL_QID").as_deref(), Some("3"));
    assert_eq!(half.property("__transactionId__"), half.property("UNIQ_KEY"));
    let operation = wait(&server, OPERATIONS, 0, 1).remove(0);
    assert_eq!(keys(&operation), names(OPERATIONS, 0));
    assert_eq!(operation.body, b"0", "one number stands alone, for readers of 4.9");
    assert!(server.stop().success());
}

#[test]
fn an_end_that_does_not_fit_its_half_is_refused_with_the_reason() {
    let data = Data::new();
    let server = start(&data, 2, NEVER);
    let topic = server.topic();
    let mut producer = silent(&server);
    let place = send(&mut producer, topic, "x", 0);
    let refused = |group: &str, place: HalfPlace| {
        let mut other = Producer::new(server.connect(TIMEOUT).unwrap(), group);
        let error = other.end_transaction(place, TransactionEnd::Commit, false).unwrap_err();
        assert_eq!(error.refused_code(), Some(response::SYSTEM_ERROR), "{error}");
        error.to_string()
    };
    assert!(refused("P_other", place).contains("The producer group wrong"));
    let odd = HalfPlace { queue_offset: 1, ..place };
    assert!(refused(GROUP, odd).contains("The transaction state table offset wrong"));
    for physical_offset in [place.physical_offset + 1, -1, 1 << 40, i64::MAX] {
        let odd = HalfPlace { physical_offset, ..place };
        assert!(refused(GROUP, odd).contains("Find prepared transaction message failed"));
    }
    // A message that is no half.
    let plain = Message::new(topic, "plain").with("PGROUP", GROUP);
    let plain = HalfPlace::of(&producer.send(&plain, 0).unwrap()).unwrap();
    assert!(refused(GROUP, plain).contains("Find prepared transaction message failed"));
    assert_eq!(bodies(&all(&server, topic, 0)), ["plain"]);
    producer.end_transaction(place, TransactionEnd::Commit, false).unwrap();
    assert_eq!(bodies(&wait(&server, topic, 0, 2)), ["plain", "x"]);
    assert!(server.stop().success());
}

#[test]
fn halves_are_refused_where_they_cannot_be() {
    let data = Data::new();
    let server = start(&data, 1, "rejectTransactionMessage=true\n");
    let topic = server.topic();
    let error = silent(&server).send(&half(topic, "x"), 0).unwrap_err();
    assert_eq!(error.refused_code(), Some(response::NO_PERMISSION), "{error}");
    let batch = [half(topic, "a"), half(topic, "b")];
    let error = silent(&server).send_batch(&batch, 0).unwrap_err();
    assert_eq!(error.refused_code(), Some(response::MESSAGE_ILLEGAL), "{error}");
    assert!(server.stop().success());
}

fn expect_check(producer: &mut Producer, body: &str, times: &str) -> TransactionCheck {
    let check = producer.take_check(TIMEOUT).unwrap();
    assert_eq!(bodies(std::slice::from_ref(&check.message)), [body]);
    assert_eq!(check.message.property("TRANSACTION_CHECK_TIMES").as_deref(), Some(times));
    check
}

#[test]
fn upstream_3440_a_producer_that_does_not_know_is_asked_until_it_does() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards, FAST);
        let topic = server.topic();
        let mut producer = member(&server, "a");
        let began = Instant::now();
        let place = send(&mut producer, topic, "x", 5);
        producer.end_transaction_oneway(place, TransactionEnd::Unknown, false).unwrap();
        let check = expect_check(&mut producer, "x", "1");
        assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
        assert_eq!((check.message.topic.as_str(), check.message.queue_id), (topic, 5));
        assert!(check.half.queue_offset > place.queue_offset);
        assert_eq!(check.message.physical_offset, check.half.physical_offset);
        assert_eq!(check.message.queue_offset, check.half.queue_offset);
        let key = check.message.property("UNIQ_KEY");
        assert_eq!(
            (check.request.field("msgId"), check.request.field("transactionId")),
            (key.clone(), key)
        );
        assert_eq!(check.request.field("topic").as_deref(), Some(HALVES));
        let id = check.request.field("offsetMsgId").unwrap();
        let id: wire::msg_id::MessageId = id.parse().unwrap();
        assert_eq!(id.phy.to_wire(), check.half.physical_offset);
        producer.end_transaction_oneway(check.half, TransactionEnd::Unknown, true).unwrap();
        let check = expect_check(&mut producer, "x", "2");
        producer.end_transaction_oneway(check.half, TransactionEnd::Commit, true).unwrap();
        let message = wait(&server, topic, 5, 1).remove(0);
        assert_eq!(message.prepared_transaction_offset, check.half.physical_offset);
        // What the producer says now, by whatever place, is too late.
        producer.end_transaction(place, TransactionEnd::Commit, false).unwrap();
        producer.end_transaction(check.half, TransactionEnd::Commit, true).unwrap();
        nothing_comes(&mut producer);
        wait(&server, topic, 5, 1);
        assert!(server.stop().success());
    }
}

#[test]
fn an_end_under_the_first_place_counts_after_a_question() {
    let data = Data::new();
    let server = start(&data, 1, FAST);
    let topic = server.topic();
    let mut producer = member(&server, "a");
    let place = send(&mut producer, topic, "x", 0);
    expect_check(&mut producer, "x", "1");
    producer.end_transaction(place, TransactionEnd::Commit, false).unwrap();
    // A question may have been on its way; its answer is too late.
    while let Ok(check) = producer.take_check(ROUNDS) {
        producer.end_transaction(check.half, TransactionEnd::Commit, true).unwrap();
    }
    wait(&server, topic, 0, 1);
    assert!(server.stop().success());
}

#[test]
fn another_member_is_asked_when_the_producer_is_gone() {
    let data = Data::new();
    let server = start(&data, 2, FAST);
    let topic = server.topic();
    let mut gone = member(&server, "a");
    send(&mut gone, topic, "x", 0);
    drop(gone);
    let mut other = member(&server, "b");
    let check = expect_check(&mut other, "x", "1");
    other.end_transaction(check.half, TransactionEnd::Rollback, true).unwrap();
    nothing_comes(&mut other);
    assert!(all(&server, topic, 0).is_empty());
    assert!(server.stop().success());
}

fn resume(server: &Server, message_id: &str) -> client::Reply {
    let header = ResumeCheckHalfMessageRequestHeader { msg_id: Text::plain(message_id.as_bytes()) };
    let mut connection = server.connect(TIMEOUT).unwrap();
    connection.call(request::RESUME_CHECK_HALF_MESSAGE, |w| header.encode(w), &[]).unwrap()
}

#[test]
fn after_the_last_question_it_waits_for_an_operator() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards, &format!("{FAST}transactionCheckMax=2\n"));
        let topic = server.topic();
        let mut producer = member(&server, "a");
        send(&mut producer, topic, "x", 1);
        expect_check(&mut producer, "x", "1");
        expect_check(&mut producer, "x", "2");
        let given_up = wait(&server, GIVEN_UP, 0, 1).remove(0);
        assert_eq!(given_up.property("TRANSACTION_CHECK_TIMES").as_deref(), Some("2"));
        assert_eq!(given_up.property("REAL_TOPIC").as_deref(), Some(topic));
        nothing_comes(&mut producer);
        let phy = wire::ids::PhyOffset::from_wire(given_up.physical_offset).unwrap();
        let id = wire::msg_id::MessageId { host: given_up.store_host, phy }.to_string();
        assert_eq!(resume(&server, &id).code(), response::SUCCESS);
        let check = expect_check(&mut producer, "x", "1");
        producer.end_transaction(check.half, TransactionEnd::Commit, true).unwrap();
        let message = wait(&server, topic, 1, 1).remove(0);
        assert_eq!(message.body, b"x");
        // What is no such message is not taken.
        let phy = wire::ids::PhyOffset::from_wire(message.physical_offset).unwrap();
        let id = wire::msg_id::MessageId { host: message.store_host, phy }.to_string();
        for id in [id.as_str(), "x", "7F000001000051AF0000FFFFFFFFFFFF"] {
            let reply = resume(&server, id);
            assert_eq!(reply.code(), response::SYSTEM_ERROR, "{}", reply.remark());
            assert!(reply.remark().contains("cannot be checked again"), "{}", reply.remark());
        }
        assert!(server.stop().success());
    }
}

#[test]
fn a_delay_counts_from_the_commit() {
    let data = Data::new();
    let server = start(&data, 2, "messageDelayLevel=1s\n");
    let topic = server.topic();
    let mut producer = silent(&server);
    let sent = producer.send(&half(topic, "x").with("DELAY", "1"), 2).unwrap();
    let halves = wait(&server, HALVES, 0, 1);
    assert_eq!(halves[0].property("DELAY").as_deref(), Some("1"));
    std::thread::sleep(Duration::from_millis(1200));
    let began = Instant::now();
    let place = HalfPlace::of(&sent).unwrap();
    producer.end_transaction(place, TransactionEnd::Commit, false).unwrap();
    let message = wait(&server, topic, 2, 1).remove(0);
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    assert_eq!((message.body.as_slice(), message.sys_flag), (&b"x"[..], 8));
    assert!(server.stop().success());
}

/// Answers every question as `ends` says until none comes any more; how often each body was asked about.
fn answer_all(
    producer: &mut Producer,
    ends: impl Fn(&str) -> TransactionEnd,
) -> BTreeMap<String, usize> {
    let mut asked = BTreeMap::new();
    while let Ok(check) = producer.take_check(Duration::from_secs(2)) {
        let body = String::from_utf8(check.message.body).unwrap();
        producer.end_transaction_oneway(check.half, ends(&body), true).unwrap();
        *asked.entry(body).or_default() += 1;
    }
    asked
}

/// Waits until the stored offsets of both queues are their ends.
fn offsets_are_at_the_ends(server: &Server) {
    let mut connection = server.connect(TIMEOUT).unwrap();
    let until = Instant::now() + TIMEOUT;
    for topic in [HALVES, OPERATIONS] {
        let end = connection.max_offset(topic, 0).unwrap();
        loop {
            let known = connection.consumer_offset("CID_RMQ_SYS_TRANS", topic, 0).unwrap();
            if known == Some(end) {
                break;
            }
            assert!(Instant::now() < until, "{topic} is at {known:?}, its end is {end}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_kill_at_any_point_loses_no_commit_and_shows_no_rollback() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards, FAST);
        let topic = server.topic();
        let mut sender = silent(&server);
        for number in 0..300 {
            let place = send(&mut sender, topic, &format!("{number:03}"), 0);
            match number % 3 {
                0 => sender.end_transaction(place, TransactionEnd::Commit, false).unwrap(),
                1 => sender.end_transaction(place, TransactionEnd::Rollback, false).unwrap(),
                _ => {}
            }
        }
        // Questions are under way, too.
        let mut asked = member(&server, "a");
        asked.take_check(TIMEOUT).unwrap();
        server.kill();
        let server = start(&data, shards, FAST);
        let topic = server.topic();
        let mut producer = member(&server, "a");
        let asked = answer_all(&mut producer, |_| TransactionEnd::Commit);
        let open: BTreeSet<String> = (0..300)
            .filter(|number| number % 3 == 2)
            .map(|number| format!("{number:03}"))
            .collect();
        assert_eq!(asked.keys().cloned().collect::<BTreeSet<_>>(), open, "{shards} shards");
        let found = wait(&server, topic, 0, 200);
        let mut shown = bodies(&found);
        shown.sort();
        let expected: Vec<String> = (0..300)
            .filter(|number| number % 3 != 1)
            .map(|number| format!("{number:03}"))
            .collect();
        assert_eq!(shown, expected);
        assert!(server.stop().success());
        let server = start(&data, shards, FAST);
        let mut producer = member(&server, "a");
        send(&mut producer, topic, "last", 1);
        let asked = answer_all(&mut producer, |_| TransactionEnd::Rollback);
        assert_eq!(asked.keys().map(String::as_str).collect::<Vec<_>>(), ["last"]);
        // Nothing of it is read at the next start.
        offsets_are_at_the_ends(&server);
        assert!(server.stop().success());
    }
}

#[test]
fn ends_right_after_a_start_find_their_halves() {
    let data = Data::new();
    let server = start(&data, 2, NEVER);
    let topic = server.topic();
    let mut producer = silent(&server);
    let places: Vec<HalfPlace> =
        (0..200).map(|number| send(&mut producer, topic, &format!("{number}"), 0)).collect();
    for place in places.iter().step_by(2) {
        producer.end_transaction(*place, TransactionEnd::Commit, false).unwrap();
    }
    server.kill();
    let server = start(&data, 2, NEVER);
    // The kill may have come before the table of topics was written.
    let topic = server.topic();
    let mut producer = silent(&server);
    for place in &places {
        producer.end_transaction(*place, TransactionEnd::Commit, false).unwrap();
    }
    let mut shown = bodies(&wait(&server, topic, 0, 200));
    shown.sort();
    shown.dedup();
    assert_eq!(shown.len(), 200, "each came once");
    assert!(server.stop().success());
}

#[test]
fn upstream_8311_nobody_is_given_up_without_having_been_asked() {
    let data = Data::new();
    let server = start(&data, 1, &format!("{FAST}transactionCheckMax=1\n"));
    let topic = server.topic();
    let mut sender = silent(&server);
    // Nobody is there to be asked for several rounds; another one is immune for longer.
    send(&mut sender, topic, "alone", 0);
    let immune = half(topic, "immune").with("CHECK_IMMUNITY_TIME_IN_SECONDS", "4");
    let began = Instant::now();
    let late = HalfPlace::of(&sender.send(&immune, 0).unwrap()).unwrap();
    std::thread::sleep(ROUNDS);
    let mut producer = member(&server, "a");
    let check = expect_check(&mut producer, "alone", "1");
    producer.end_transaction(check.half, TransactionEnd::Rollback, true).unwrap();
    let check = expect_check(&mut producer, "immune", "1");
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    // Without a question its time is over, as in 5.x.
    let error = producer.end_transaction(late, TransactionEnd::Commit, false).unwrap_err();
    assert_eq!(error.refused_code(), Some(response::ILLEGAL_OPERATION), "{error}");
    producer.end_transaction(check.half, TransactionEnd::Commit, true).unwrap();
    assert_eq!(bodies(&wait(&server, topic, 0, 1)), ["immune"]);
    assert!(server.stop().success());
}

#[test]
fn upstream_1375_a_compressed_half_stays_as_it_is() {
    let data = Data::new();
    let server = start(&data, 1, FAST);
    let topic = server.topic();
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::default());
    packer.write_all(&[b'x'; 5000]).unwrap();
    let packed = packer.finish().unwrap();
    let mut producer = member(&server, "a");
    let mut message = Message::new(topic, packed.clone()).half(GROUP);
    message.sys_flag |= 0x301;
    producer.send(&message, 0).unwrap();
    for times in ["1", "2"] {
        let check = producer.take_check(TIMEOUT).unwrap();
        assert_eq!((check.message.sys_flag, &check.message.body), (0x301, &packed));
        let told = check.message.property("TRANSACTION_CHECK_TIMES");
        assert_eq!(told.as_deref(), Some(times));
        if times == "2" {
            producer.end_transaction(check.half, TransactionEnd::Commit, true).unwrap();
        }
    }
    let message = wait(&server, topic, 0, 1).remove(0);
    assert_eq!((message.sys_flag, message.body), (0x309, packed));
    assert!(server.stop().success());
}

#[test]
fn upstream_9500_odd_halves_do_not_hold_up_the_others() {
    let data = Data::new();
    let server = start(&data, 2, FAST);
    let topic = server.topic();
    let mut producer = member(&server, "a");
    let no_group = Message::new(topic, "no group").with("TRAN_MSG", "true");
    let odd_numbers = half(topic, "odd numbers")
        .with("TRANSACTION_CHECK_TIMES", "x")
        .with("CHECK_IMMUNITY_TIME_IN_SECONDS", "soon")
        .with("TRAN_PREPARED_QUEUE_OFFSET", "99999999999999999999");
    let odd_group = Message::new(topic, "odd group").half("\u{fffd}\u{0}");
    for message in [no_group, odd_numbers, odd_group, half(topic, "good")] {
        producer.send(&message, 0).unwrap();
    }
    let mut asked = BTreeSet::new();
    while asked.len() < 2 {
        let check = producer.take_check(TIMEOUT).unwrap();
        producer.end_transaction(check.half, TransactionEnd::Commit, true).unwrap();
        asked.extend(bodies(&[check.message]));
    }
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), ["good", "odd numbers"]);
    wait(&server, topic, 0, 2);
    // A client cannot say that its half continues another one.
    let place = send(&mut producer, topic, "victim", 1);
    let claim = place.queue_offset.to_string();
    let claims = half(topic, "claims").with("TRAN_PREPARED_QUEUE_OFFSET", &claim);
    let claims = HalfPlace::of(&producer.send(&claims, 2).unwrap()).unwrap();
    producer.end_transaction(claims, TransactionEnd::Rollback, false).unwrap();
    server.kill();
    let server = start(&data, 2, FAST);
    let topic = server.topic();
    let mut producer = member(&server, "a");
    let mut check = producer.take_check(TIMEOUT).unwrap();
    while check.message.body != b"victim" {
        check = producer.take_check(TIMEOUT).unwrap();
    }
    producer.end_transaction(check.half, TransactionEnd::Commit, true).unwrap();
    wait(&server, topic, 1, 1);
    assert!(server.stop().success());
}

#[test]
fn a_half_that_waits_moves_on_when_many_have_come_since() {
    let data = Data::new();
    let server = start(&data, 1, FAST);
    let topic = server.topic();
    let mut producer = silent(&server);
    let immune = half(topic, "immune").with("CHECK_IMMUNITY_TIME_IN_SECONDS", "600");
    let first = HalfPlace::of(&producer.send(&immune, 0).unwrap()).unwrap();
    for number in 0..1100 {
        let place = send(&mut producer, topic, &format!("{number}"), 1);
        producer.end_transaction_oneway(place, TransactionEnd::Rollback, false).unwrap();
    }
    // On a slow machine others may be asked about before their end is heard, and move on, too.
    let until = Instant::now() + TIMEOUT;
    let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "C_transactions");
    let again = loop {
        let moved = consumer.pull_all(HALVES, 0, 0).unwrap().into_iter().skip(1101);
        let place = |half: &Received| half.property("TRAN_PREPARED_QUEUE_OFFSET");
        if let Some(half) = moved.into_iter().find(|half| place(half).as_deref() == Some("0")) {
            break half;
        }
        assert!(Instant::now() < until, "it moves on");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(again.property("TRANSACTION_CHECK_TIMES"), None);
    // A kill does not make two of it, and its producer, which knows the first place only, still ends it.
    server.kill();
    let server = start(&data, 1, FAST);
    let topic = server.topic();
    let mut producer = silent(&server);
    producer.end_transaction(first, TransactionEnd::Commit, false).unwrap();
    producer.end_transaction(first, TransactionEnd::Commit, false).unwrap();
    assert_eq!(bodies(&wait(&server, topic, 0, 1)), ["immune"]);
    assert!(server.stop().success());
}

#[test]
fn a_store_of_java_with_open_halves_goes_on() {
    let data = golden::unpack("v550-tiny-clean");
    let config = std::fs::read_to_string(golden::file("v550-tiny-clean.conf")).unwrap();
    let sizes = config.lines().filter(|line| line.starts_with("mappedFileSize"));
    let mut config: String = sizes.map(|line| format!("{line}\n")).collect();
    config += &format!("{FAST}fileReservedTime=1000000\n");
    let server = start(&data, 1, &config);
    let connection = server.connect(TIMEOUT).unwrap();
    let mut producer = Producer::new(connection, "PG_storetx");
    producer.connection().heartbeat_producer("a", "PG_storetx").unwrap();
    let (mut open, mut before) = (BTreeSet::new(), 0);
    for queue in 0..4 {
        before += all(&server, "GoldA", queue).len();
    }
    while let Ok(check) = producer.take_check(Duration::from_secs(2)) {
        let key = check.message.property("KEYS").unwrap();
        let end = match key.starts_with("tx-r") {
            true => TransactionEnd::Rollback,
            false => TransactionEnd::Commit,
        };
        producer.end_transaction(check.half, end, true).unwrap();
        assert!(open.insert(key.clone()), "{key} twice");
    }
    assert!(open.contains("tx-u-0"), "{open:?}");
    let shown = open.iter().filter(|key| !key.starts_with("tx-r")).count();
    let after: usize = (0..4).map(|queue| all(&server, "GoldA", queue).len()).sum();
    assert_eq!(after, before + shown);
    assert!(server.stop().success());
}
