//! Messages whose time comes later: delay levels, and retries of what could not be consumed.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{Consumer, Message, Producer, Pull, PullStatus, Received, SendStatus};
use std::time::{Duration, Instant};
use support::{Data, Server, Setting};
use wire::body::KvTable;
use wire::codes::{request, response};
use wire::json;
use wire::req::client::{ConsumerSendMsgBackRequestHeader, RecallMessageRequestHeader};
use wire::req::control::ViewBrokerStatsDataRequestHeader;
use wire::text::Text;

const TIMEOUT: Duration = Duration::from_secs(20);
const GROUP: &str = "G_later";
const RETRY: &str = "%RETRY%G_later";
const DEAD: &str = "%DLQ%G_later";
const RINGMQ: &str = env!("CARGO_BIN_EXE_ringmq");
/// Bytes of a unit of the timer log.
const UNIT_BYTES: usize = 52;

fn start(data: &Data, shards: u16, config: &str) -> Server {
    Server::start(data.path(), &Setting { shards, config: config.to_owned() })
}

fn producer(server: &Server) -> Producer {
    Producer::new(server.connect(TIMEOUT).unwrap(), "P_later")
}

fn consumer(server: &Server) -> Consumer {
    Consumer::new(server.connect(TIMEOUT).unwrap(), GROUP)
}

/// Waits for the messages of a queue from an offset on until there are `count`.
fn receive(server: &Server, topic: &str, queue: i32, offset: i64, count: usize) -> Vec<Received> {
    let mut consumer = consumer(server);
    let (mut found, mut next) = (Vec::new(), offset);
    let until = Instant::now() + TIMEOUT;
    while found.len() < count {
        assert!(Instant::now() < until, "{} of {count} messages of {topic}", found.len());
        let pull = Pull::new(topic, queue, next).suspend(Duration::from_secs(1));
        match consumer.pull(&pull) {
            Ok(pulled) => {
                next = pulled.next_offset;
                found.extend(pulled.messages);
            }
            // The topic is made by the first message that comes to it.
            Err(error) if error.refused_code() == Some(response::TOPIC_NOT_EXIST) => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => panic!("{topic}: {error}"),
        }
    }
    found
}

fn send_back(server: &Server, message: &Received, level: i32, times: Option<i32>) {
    let header = ConsumerSendMsgBackRequestHeader {
        offset: message.physical_offset,
        group: Text::plain(GROUP.as_bytes()),
        delay_level: level,
        origin_msg_id: None,
        origin_topic: None,
        unit_mode: false,
        max_reconsume_times: times,
        broker_name: None,
    };
    let mut connection = server.connect(TIMEOUT).unwrap();
    connection
        .call_ok(request::CONSUMER_SEND_MSG_BACK, |writer| header.encode(writer), &[])
        .unwrap();
}

fn wall_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn delayed(topic: &str, body: &[u8], level: i32) -> Message {
    Message::new(topic, body.to_vec()).tag("A").with("DELAY", &level.to_string())
}

#[test]
fn a_delayed_message_comes_when_it_is_due_as_it_was_sent() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards, "messageDelayLevel=1s 2s\n");
        let topic = server.topic();
        let mut producer = producer(&server);
        let begun = wall_ms();
        for queue in 0..4 {
            producer.send(&delayed(topic, format!("{queue}").as_bytes(), 1), queue).unwrap();
            // A level beyond the last one is the last one.
            producer.send(&delayed(topic, b"late", 7), queue).unwrap();
        }
        for queue in 0..4 {
            let found = receive(&server, topic, queue, 0, 2);
            assert_eq!(found[0].body, format!("{queue}").into_bytes());
            assert_eq!(found[1].body, b"late");
            assert_eq!(found[0].property("TAGS").as_deref(), Some("A"));
            let late = found[0].store_timestamp - begun;
            assert!(late >= 1000, "{late} ms after the first send, {shards} shards");
            assert_eq!(found[0].property("REAL_TOPIC").as_deref(), Some(topic));
            assert_eq!(found[1].property("DELAY").as_deref(), Some("2"));
        }
        assert!(server.stop().success());
    }
}

#[test]
fn what_waits_survives_stop_and_kill_and_comes_in_order() {
    let data = Data::new();
    let config = "messageDelayLevel=3s\n";
    let server = start(&data, 2, config);
    let topic = server.topic();
    let mut sender = producer(&server);
    for number in 0..500_u32 {
        sender.send(&delayed(topic, &number.to_be_bytes(), 1), 0).unwrap();
    }
    server.kill();
    let server = start(&data, 2, config);
    let found = receive(&server, topic, 0, 0, 500);
    let numbers: Vec<u32> =
        found.iter().map(|m| u32::from_be_bytes(m.body.as_slice().try_into().unwrap())).collect();
    assert!(numbers.is_sorted() && numbers.len() == 500);
    assert!(server.stop().success());
    // What was delivered is not delivered again after an orderly stop.
    let server = start(&data, 2, config);
    std::thread::sleep(Duration::from_millis(500));
    let pulled = consumer(&server).pull(&Pull::new(topic, 0, 500)).unwrap();
    assert_eq!(pulled.status, PullStatus::NotFound, "{} messages more", pulled.messages.len());
    assert!(server.stop().success());
}

/// Four came back, two of them died: as the consumer said, that of a topic and an owner it did not name.
fn check_statistics(server: &Server, topic: &str) {
    let mut tool = server.connect(TIMEOUT).unwrap();
    let mut sum = |name: &str, key: &str| -> Option<i64> {
        let header = ViewBrokerStatsDataRequestHeader {
            stats_name: Text::plain(name.as_bytes()),
            stats_key: Text::plain(key.as_bytes()),
        };
        let code = request::VIEW_BROKER_STATS_DATA;
        let reply = tool.call(code, |writer| header.encode(writer), &[]).unwrap();
        let told: Option<serde_json::Value> = serde_json::from_slice(reply.body()).ok();
        told.and_then(|told| told["statsMinute"]["sum"].as_i64())
    };
    let dead = format!("null@null@{GROUP}@SEND_BACK_TO_DLQ");
    assert!(sum("SNDBCK2DLQ_TIMES", &dead).is_some(), "it is known at once");
    let until = Instant::now() + TIMEOUT;
    while sum("SNDBCK2DLQ_TIMES", &dead) != Some(2) {
        assert!(Instant::now() < until, "a sample every 10 s");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(sum("SNDBCK_PUT_NUMS", &format!("{topic}@{GROUP}")), Some(4));
}

#[test]
fn what_could_not_be_consumed_comes_again_and_at_last_is_a_dead_letter() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards, "messageDelayLevel=1s 1s 1s 1s\n");
        let topic = server.topic();
        producer(&server).send(&Message::new(topic, b"hard".to_vec()).tag("A"), 3).unwrap();
        let first = receive(&server, topic, 3, 0, 1).remove(0);
        send_back(&server, &first, 1, None);
        let again = receive(&server, RETRY, 0, 0, 1).remove(0);
        assert_eq!(again.reconsume_times, 1);
        assert_eq!(again.body, b"hard");
        assert_eq!(again.born_timestamp, first.born_timestamp);
        assert_eq!(again.property("RETRY_TOPIC").as_deref(), Some(topic));
        let id = again.property("ORIGIN_MESSAGE_ID").unwrap();
        // The broker chooses: the third level and the tries so far.
        send_back(&server, &again, 0, None);
        let third = receive(&server, RETRY, 0, 1, 1).remove(0);
        assert_eq!(third.reconsume_times, 2);
        assert_eq!(third.property("DELAY").as_deref(), Some("4"));
        assert_eq!(third.property("ORIGIN_MESSAGE_ID"), Some(id.clone()));
        send_back(&server, &third, 1, Some(2));
        let dead = receive(&server, DEAD, 0, 0, 1).remove(0);
        assert_eq!((dead.reconsume_times, dead.body.as_slice()), (3, &b"hard"[..]));
        assert_eq!(dead.property("ORIGIN_MESSAGE_ID"), Some(id));
        send_back(&server, &first, -1, None);
        assert_eq!(receive(&server, DEAD, 0, 1, 1).len(), 1, "a negative level gives up at once");
        check_statistics(&server, topic);
        assert!(server.stop().success());
    }
}

#[test]
fn a_consumer_that_sends_to_its_retry_topic_itself() {
    let data = Data::new();
    let server = start(&data, 2, "messageDelayLevel=1s\n");
    let mut producer = producer(&server);
    let mut message = Message::new(RETRY, b"mine".to_vec());
    message = message.with("RETRY_TOPIC", "T").with("DELAY", "1");
    message.reconsume_times = 2;
    message.max_reconsume_times = Some(3);
    producer.send(&message, 0).unwrap();
    assert_eq!(receive(&server, RETRY, 0, 0, 1)[0].reconsume_times, 2);
    message.reconsume_times = 4;
    producer.send(&message, 0).unwrap();
    let dead = receive(&server, DEAD, 0, 0, 1).remove(0);
    assert_eq!((dead.reconsume_times, dead.property("DELAY").as_deref()), (4, Some("-1")));
    assert!(server.stop().success());
}

#[test]
fn sending_back_is_refused_with_the_reason() {
    let data = Data::new();
    let server = start(&data, 1, "autoCreateSubscriptionGroup=false\n");
    let header = ConsumerSendMsgBackRequestHeader {
        offset: 1 << 40,
        group: Text::plain(b"G_nobody"),
        delay_level: 0,
        origin_msg_id: None,
        origin_topic: None,
        unit_mode: false,
        max_reconsume_times: None,
        broker_name: None,
    };
    let mut connection = server.connect(TIMEOUT).unwrap();
    let code = request::CONSUMER_SEND_MSG_BACK;
    let reply = connection.call(code, |writer| header.encode(writer), &[]).unwrap();
    assert_eq!(reply.code(), response::SUBSCRIPTION_GROUP_NOT_EXIST, "{}", reply.remark());
    let group = Text::plain(b"TOOLS_CONSUMER");
    let header = ConsumerSendMsgBackRequestHeader { group, ..header };
    let reply = connection.call(code, |writer| header.encode(writer), &[]).unwrap();
    assert_eq!(reply.code(), response::SYSTEM_ERROR);
    assert_eq!(reply.remark(), format!("look message by offset failed, {}", 1_u64 << 40));
    assert!(server.stop().success());
}

#[test]
fn what_is_not_durable_in_time_is_told_about_retries_as_about_other_messages() {
    let data = Data::new();
    let config = "flushDiskType=SYNC_FLUSH\nsyncFlushTimeout=1\n";
    let server = start(&data, 1, config);
    let topic = server.topic();
    let mut producer = producer(&server);
    // So much that hardly a disk has it within a millisecond.
    let large = vec![b'x'; 3_900_000];
    let until = Instant::now() + TIMEOUT;
    for to in [topic, RETRY] {
        loop {
            let ahead = producer.submit(&Message::new(topic, large.clone()), 1).unwrap();
            let sent = producer.send(&Message::new(to, large.clone()), 0).unwrap();
            producer.result(ahead).unwrap();
            assert_eq!(sent.msg_id.len(), 32, "what there is to say of it is said");
            if sent.status == SendStatus::FlushDiskTimeout {
                break;
            }
            assert!(Instant::now() < until, "never late to {to}");
        }
    }
    let message = receive(&server, topic, 0, 0, 1).remove(0);
    let header = ConsumerSendMsgBackRequestHeader {
        offset: message.physical_offset,
        group: Text::plain(GROUP.as_bytes()),
        delay_level: 0,
        origin_msg_id: None,
        origin_topic: None,
        unit_mode: false,
        max_reconsume_times: None,
        broker_name: None,
    };
    let code = request::CONSUMER_SEND_MSG_BACK;
    loop {
        let ahead = producer.submit(&Message::new(topic, large.clone()), 1).unwrap();
        let connection = producer.connection();
        let reply = connection.call(code, |writer| header.encode(writer), &[]).unwrap();
        producer.result(ahead).unwrap();
        if reply.code() != response::SUCCESS {
            assert_eq!(reply.code(), response::SYSTEM_ERROR, "{}", reply.remark());
            assert!(reply.remark().starts_with("FLUSH_DISK_TIMEOUT"), "{}", reply.remark());
            break;
        }
        assert!(Instant::now() < until, "never late to be sent back");
    }
    assert!(server.stop().success());
}

#[test]
fn levels_beyond_the_limit_are_refused_with_it() {
    let levels = |config: String| {
        let data = Data::new();
        Server::start_refused(data.path(), &Setting { shards: 1, config })
    };
    let log = levels(format!("messageDelayLevel={}\n", "1s ".repeat(1025)));
    assert!(log.contains("messageDelayLevel has 1025 levels, 1 to 1024 are possible"), "{log}");
    let log = levels("messageDelayLevel=1s 5x\n".to_owned());
    assert!(log.contains("messageDelayLevel has the part \"5x\", which is no delay"), "{log}");
}

/// A message with a property of time, and when it is due.
fn timed(topic: &str, key: &str, value: i64) -> Message {
    Message::new(topic, b"timed".to_vec()).tag("A").with(key, &value.to_string())
}

/// How late each message was, ms; none comes early.
fn lateness(found: &[Received], due_ms: i64) -> i64 {
    let late = found[0].store_timestamp - due_ms;
    assert!((0..1000).contains(&late), "{late} ms late");
    assert_eq!(found[0].property("TAGS").as_deref(), Some("A"));
    late
}

#[test]
fn a_message_with_a_time_of_its_own_comes_at_its_millisecond() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards, "");
        let topic = server.topic();
        let mut producer = producer(&server);
        let begun = wall_ms();
        let at = begun + 2345;
        producer.send(&timed(topic, "TIMER_DELIVER_MS", at), 0).unwrap();
        producer.send(&timed(topic, "TIMER_DELAY_MS", 1700), 1).unwrap();
        producer.send(&timed(topic, "TIMER_DELAY_SEC", 3), 2).unwrap();
        producer.send(&timed(topic, "TIMER_DELIVER_MS", begun - 5), 3).unwrap();
        // Seconds count before the time.
        let both = timed(topic, "TIMER_DELIVER_MS", at + 60_000).with("TIMER_DELAY_SEC", "1");
        producer.send(&both, 4).unwrap();
        let sent = wall_ms();
        assert!(receive(&server, topic, 3, 0, 1)[0].store_timestamp <= sent, "due already");
        lateness(&receive(&server, topic, 4, 0, 1), begun + 1000);
        lateness(&receive(&server, topic, 1, 0, 1), begun + 1700);
        lateness(&receive(&server, topic, 0, 0, 1), at);
        let last = receive(&server, topic, 2, 0, 1);
        lateness(&last, begun + 3000);
        assert_eq!(last[0].property("REAL_TOPIC").as_deref(), Some(topic));
        assert!(last[0].property("TIMER_ENQUEUE_MS").is_some());
        assert!(server.stop().success());
    }
}

/// What runtime information tells of the timer: seconds behind, messages without a slot, messages in slots; and how many
/// it takes in a second.
fn timer_figures(server: &Server) -> ([i64; 3], f64) {
    let mut tool = server.connect(TIMEOUT).unwrap();
    let reply = tool.call_ok(request::GET_BROKER_RUNTIME_INFO, |_| {}, &[]).unwrap();
    let info: KvTable = json::from_slice(reply.body()).unwrap();
    let taken: f64 = info.table.get("timerEnqueueTps").unwrap().parse().unwrap();
    let delivered: f64 = info.table.get("timerDequeueTps").unwrap().parse().unwrap();
    assert!(taken >= delivered && delivered >= 0.0, "{taken} {delivered}");
    let figures = ["timerReadBehind", "timerOffsetBehind", "timerCongestNum"]
        .map(|key| info.table.get(key).unwrap().parse().unwrap());
    (figures, taken)
}

/// Waits until so many messages are in slots, and none is on its way there.
fn wait_until_wheel_has(server: &Server, messages: i64) {
    let until = Instant::now() + TIMEOUT;
    while timer_figures(server).0 != [0, 0, messages] {
        assert!(Instant::now() < until, "{:?}", timer_figures(server));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_timer_tells_how_many_messages_wait() {
    let data = Data::new();
    let server = start(&data, 2, "");
    assert_eq!(timer_figures(&server), ([0, 0, 0], 0.0));
    // The average is one of more than a second then.
    std::thread::sleep(Duration::from_millis(1100));
    let mut producer = producer(&server);
    let at = wall_ms() + 1_000_000;
    for number in 0..5 {
        producer.send(&timed(server.topic(), "TIMER_DELIVER_MS", at + number), 0).unwrap();
    }
    wait_until_wheel_has(&server, 5);
    let (_, taken) = timer_figures(&server);
    assert!(taken > 0.0 && taken <= 5.0, "{taken} of 5 messages in a second");
    assert!(server.stop().success());
}

#[test]
fn times_that_cannot_be_are_refused() {
    let data = Data::new();
    let server = start(&data, 1, "timerMaxDelaySec=60\n");
    let topic = server.topic();
    let mut producer = producer(&server);
    for bad in [timed(topic, "TIMER_DELAY_SEC", 61), timed(topic, "TIMER_DELAY_MS", 60_001)] {
        let error = producer.send(&bad, 0).unwrap_err();
        assert_eq!(error.refused_code(), Some(response::MESSAGE_ILLEGAL), "{error}");
    }
    let bad = Message::new(topic, b"x".to_vec()).with("TIMER_DELIVER_MS", "tomorrow");
    assert_eq!(producer.send(&bad, 0).unwrap_err().refused_code(), Some(response::MESSAGE_ILLEGAL));
    assert!(server.stop().success());
    let server = start(&data, 1, "timerWheelEnable=false\n");
    let error = Producer::new(server.connect(TIMEOUT).unwrap(), "P")
        .send(&timed(topic, "TIMER_DELAY_SEC", 5), 0);
    let error = error.unwrap_err();
    assert_eq!(error.refused_code(), Some(response::SYSTEM_ERROR), "{error}");
    assert!(error.to_string().contains("timerWheelEnable is false"), "{error}");
    assert!(server.stop().success());
}

#[test]
fn nobody_writes_to_the_timer_topic_but_the_broker() {
    let data = Data::new();
    let server = start(&data, 2, "");
    let mut producer = producer(&server);
    for topic in ["a/b", "RMQ_SYS_TRANS_HALF_TOPIC"] {
        let forged = Message::new("rmq_sys_wheel_timer", b"x".to_vec())
            .with("TIMER_OUT_MS", "1")
            .with("REAL_TOPIC", topic)
            .with("REAL_QID", "1");
        let error = producer.send(&forged, 0).unwrap_err();
        assert_eq!(error.refused_code(), Some(response::NO_PERMISSION), "{error}");
    }
    assert!(server.stop().success());
}

#[test]
fn odd_groups_of_an_edited_table_cost_nobody_else_anything() {
    let data = Data::new();
    let server = start(&data, 2, "");
    let topic = server.topic();
    producer(&server).send(&Message::new(topic, b"x".to_vec()), 0).unwrap();
    assert!(server.stop().success());
    let path = data.store().join("config/subscriptionGroup.json");
    let mut table: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let groups = table["subscriptionGroupTable"].as_object_mut().unwrap();
    for name in ["odd/name", "G_many"] {
        let group = serde_json::json!({
            "groupName": name, "consumeEnable": true, "retryQueueNums": 100_000, "retryMaxTimes": 16,
        });
        groups.insert(name.to_owned(), group);
    }
    std::fs::write(&path, serde_json::to_vec(&table).unwrap()).unwrap();
    let server = start(&data, 2, "");
    let found = receive(&server, topic, 0, 0, 1);
    let mut connection = server.connect(TIMEOUT).unwrap();
    let mut send_back = |group: &str, level: i32| {
        let header = ConsumerSendMsgBackRequestHeader {
            offset: found[0].physical_offset,
            group: Text::plain(group.as_bytes()),
            delay_level: level,
            origin_msg_id: None,
            origin_topic: None,
            unit_mode: false,
            max_reconsume_times: Some(16),
            broker_name: None,
        };
        let code = request::CONSUMER_SEND_MSG_BACK;
        connection.call(code, |writer| header.encode(writer), &[]).unwrap()
    };
    let reply = send_back("odd/name", -1);
    assert_eq!(reply.code(), response::MESSAGE_ILLEGAL, "{}", reply.remark());
    assert!(reply.remark().contains("%DLQ%odd/name"), "{}", reply.remark());
    for _ in 0..10 {
        let reply = send_back("G_many", 1);
        assert_eq!(reply.code(), response::SUCCESS, "{}", reply.remark());
    }
    assert!(server.stop().success());
    let server = start(&data, 2, "");
    assert!(server.stop().success());
}

#[test]
fn timed_messages_survive_stop_and_kill_and_lost_timer_files() {
    for lose in [false, true] {
        let data = Data::new();
        let server = start(&data, 2, "timerFlushIntervalMs=100\nflushIntervalCommitLog=50\n");
        let topic = server.topic();
        let mut sender = producer(&server);
        let at = wall_ms() + 5000;
        for number in 0..300 {
            let message = timed(topic, "TIMER_DELIVER_MS", at + number % 7 * 300);
            sender.send(&message.keys(&number.to_string()), 0).unwrap();
        }
        std::thread::sleep(Duration::from_millis(500));
        server.kill();
        if lose {
            std::fs::remove_file(data.store().join("timerwheel")).unwrap();
            std::fs::remove_file(data.store().join("config/timercheck")).unwrap();
        }
        let server = start(&data, 2, "");
        assert!(server.stop().success());
        let server = start(&data, 2, "");
        let found = receive(&server, topic, 0, 0, 300);
        let mut keys: Vec<i64> =
            found.iter().map(|m| m.property("KEYS").unwrap().parse().unwrap()).collect();
        for (message, key) in found.iter().zip(&keys) {
            assert!(message.store_timestamp >= at + key % 7 * 300, "message {key} came early");
        }
        keys.sort_unstable();
        assert!(keys.iter().copied().eq(0..300), "each once: {keys:?}");
        // Those that are delivered stay so.
        std::thread::sleep(Duration::from_millis(1500));
        assert!(server.stop().success());
        let server = start(&data, 2, "");
        std::thread::sleep(Duration::from_millis(1500));
        let pulled = consumer(&server).pull(&Pull::new(topic, 0, 300)).unwrap();
        assert_eq!(pulled.status, PullStatus::NotFound, "{} messages more", pulled.messages.len());
        assert!(server.stop().success());
    }
}

#[test]
fn timed_messages_wait_on_when_the_store_gets_another_number_of_streams() {
    let data = Data::new();
    let sent = 14;
    for (round, streams) in [1, 3, 1, 2].into_iter().enumerate() {
        if round > 0 {
            let mut layout = std::process::Command::new(RINGMQ);
            layout.args(["store", "layout", "--apply", "--streams", &streams.to_string()]);
            let done = layout.arg(data.store()).output().unwrap();
            assert!(done.status.success(), "{streams}: {done:?}");
        }
        let server = start(&data, 1, "logStreams=1\n");
        let topic = server.topic();
        let offset = i64::try_from(round).unwrap() * sent;
        if round > 0 {
            let found = receive(&server, topic, 0, offset - sent, sent.try_into().unwrap());
            let mut keys: Vec<String> = found.iter().map(|m| m.property("KEYS").unwrap()).collect();
            keys.sort_unstable();
            let expected: Vec<String> = (0..sent).map(|n| format!("{round}-{n:02}")).collect();
            assert_eq!(keys, expected, "{streams} streams");
        }
        let at = wall_ms() + 6000;
        let mut producer = producer(&server);
        for number in 0..sent {
            let message = timed(topic, "TIMER_DELIVER_MS", at + number % 3 * 300);
            let key = format!("{}-{number:02}", round + 1);
            producer.send(&message.keys(&key), 0).unwrap();
            // So that places differ from one layout to the other.
            producer.send(&Message::new("Between", vec![1; 500]), 1).unwrap();
        }
        wait_until_wheel_has(&server, sent);
        assert!(server.stop().success());
    }
}

/// Changes the unit of this number in the timer log.
fn damage_unit(data: &Data, number: usize, change: impl FnOnce(&mut [u8])) {
    let path = data.store().join("timerlog/00000000000000000000");
    let mut log = std::fs::read(&path).unwrap();
    change(&mut log[number * UNIT_BYTES..][..UNIT_BYTES]);
    std::fs::write(&path, log).unwrap();
}

#[test]
fn a_unit_that_names_another_shards_stream_costs_its_message_only() {
    let data = Data::new();
    let server = start(&data, 2, "");
    let topic = server.topic();
    let mut sender = producer(&server);
    let at = wall_ms() + 4000;
    for number in 0..3 {
        let message = timed(topic, "TIMER_DELIVER_MS", at).keys(&number.to_string());
        sender.send(&message, 0).unwrap();
    }
    wait_until_wheel_has(&server, 3);
    assert!(server.stop().success());
    // The lowest bit of the stream in the place of the message.
    damage_unit(&data, 1, |unit| unit[29] ^= 1);
    let server = start(&data, 2, "");
    let found = receive(&server, topic, 0, 0, 2);
    let keys: Vec<String> = found.iter().map(|m| m.property("KEYS").unwrap()).collect();
    assert_eq!(keys, ["0", "2"]);
    assert!(server.stop().success());
}

#[test]
fn what_follows_a_message_that_came_late_for_its_slot_comes_once() {
    let data = Data::new();
    let config = "timerFlushIntervalMs=100\ntimerPrecisionMs=4000\n";
    let server = start(&data, 2, config);
    let topic = server.topic();
    let mut sender = producer(&server);
    let mut send = |key: &str, at: i64| {
        let message = timed(topic, "TIMER_DELIVER_MS", at).keys(key);
        sender.send(&message, 0).unwrap();
    };
    // With a message that waits slots are loaded as time goes on.
    send("far", wall_ms() + 600_000);
    wait_until_wheel_has(&server, 1);
    // The slot of this time is loaded when it has begun.
    let slot = 4000;
    let rest = u64::try_from(slot - wall_ms() % slot).unwrap();
    std::thread::sleep(Duration::from_millis(rest + 200));
    let begun = wall_ms() / slot * slot;
    send("late", begun + 3999);
    let at = begun + 7000;
    send("B", at);
    send("C", at);
    wait_until_wheel_has(&server, 3);
    assert!(server.stop().success());
    assert!(wall_ms() < begun + 3999, "it was delivered before the stop");
    // Twice: what a start has found is known to the next one, too.
    let server = start(&data, 2, config);
    assert!(server.stop().success());
    let server = start(&data, 2, config);
    let mut keys: Vec<String> = Vec::new();
    for message in receive(&server, topic, 0, 0, 3) {
        keys.push(message.property("KEYS").unwrap());
    }
    assert_eq!(keys, ["late", "B", "C"]);
    std::thread::sleep(Duration::from_millis(1500));
    let pulled = consumer(&server).pull(&Pull::new(topic, 0, 3)).unwrap();
    assert_eq!(pulled.status, PullStatus::NotFound, "{} messages more", pulled.messages.len());
    assert!(server.stop().success());
}

/// How far the timer has come in its queue, as its checkpoint says.
fn checkpoint(data: &Data) -> i64 {
    let bytes = std::fs::read(data.store().join("config/timercheck")).unwrap_or_default();
    bytes.get(16..24).map_or(0, |bytes| i64::from_be_bytes(bytes.try_into().unwrap()))
}

#[test]
fn the_timers_checkpoint_waits_for_the_disk_and_no_longer() {
    let data = Data::new();
    let config = "timerFlushIntervalMs=20\nflushIntervalCommitLog=10000\n";
    let server = start(&data, 2, config);
    let topic = server.topic();
    let mut sender = producer(&server);
    // To logs of both shards.
    let begun = Instant::now();
    for queue in 0..4 {
        sender.send(&timed(topic, "TIMER_DELAY_MS", 200), queue).unwrap();
    }
    for queue in 0..4 {
        receive(&server, topic, queue, 0, 1);
    }
    std::thread::sleep(Duration::from_millis(500));
    let stood = checkpoint(&data);
    assert!(begun.elapsed() < Duration::from_secs(8), "the machine is too slow for this test");
    assert!(stood < 4, "a power cut could take what was delivered from the log");
    while checkpoint(&data) < 4 {
        assert!(begun.elapsed() < Duration::from_secs(17), "the logs are flushed");
        std::thread::sleep(Duration::from_millis(50));
    }
    sender.send(&timed(topic, "TIMER_DELAY_MS", 200), 0).unwrap();
    receive(&server, topic, 0, 1, 1);
    assert!(server.stop().success());
    assert_eq!(checkpoint(&data), 5, "an orderly stop leaves it exact");
    let server = start(&data, 2, config);
    std::thread::sleep(Duration::from_millis(1000));
    let pulled = consumer(&server).pull(&Pull::new(topic, 0, 2)).unwrap();
    assert_eq!(pulled.status, PullStatus::NotFound, "{} messages more", pulled.messages.len());
    assert!(server.stop().success());
}

#[test]
fn a_wheel_that_was_full_once_takes_no_memory_for_slots_that_are_done() {
    let private_bytes = |is_full: bool| {
        let data = Data::new();
        if is_full {
            // All slots of two weeks, long ago, of messages whose units are gone.
            let slots = 2 * 7 * 86_400;
            let mut wheel = Vec::with_capacity(slots * 32);
            for second in 0..slots {
                let time = i64::try_from(1_500_000_000 / slots * slots + second).unwrap();
                wheel.extend(time.to_be_bytes());
                wheel.extend([0xFF; 16]);
                wheel.extend([0, 0, 0, 1, 0, 0, 0, 0]);
            }
            std::fs::create_dir_all(data.store()).unwrap();
            std::fs::write(data.store().join("timerwheel"), wheel).unwrap();
        }
        let server = start(&data, 1, "");
        server.topic();
        let bytes = server.private_bytes();
        assert!(server.stop().success());
        bytes
    };
    let (empty, full) = (private_bytes(false), private_bytes(true));
    assert!(full < empty + (20 << 20), "{full} bytes, without it {empty}");
}

#[test]
fn a_unit_that_names_a_message_of_another_time_is_told_about() {
    let data = Data::new();
    let server = start(&data, 2, "");
    let topic = server.topic();
    let mut sender = producer(&server);
    let at = wall_ms() / 1000 * 1000 + 4500;
    for (key, at) in [("gone", at), ("kept", at), ("later", at + 2000)] {
        sender.send(&timed(topic, "TIMER_DELIVER_MS", at).keys(key), 0).unwrap();
    }
    wait_until_wheel_has(&server, 3);
    assert!(server.stop().success());
    // The place of its message becomes that of the last one.
    let mut place = [0; 8];
    damage_unit(&data, 2, |unit| place.copy_from_slice(&unit[28..36]));
    damage_unit(&data, 0, |unit| unit[28..36].copy_from_slice(&place));
    let server = start(&data, 2, "");
    let found = receive(&server, topic, 0, 0, 2);
    let keys: Vec<String> = found.iter().map(|m| m.property("KEYS").unwrap()).collect();
    assert_eq!(keys, ["kept", "later"]);
    let log = server.log_tail();
    let (slot_ms, other_ms) = (at / 1000 * 1000, at / 1000 * 1000 + 2000);
    let place = i64::from_be_bytes(place);
    let said = format!(
        "timer: the unit of {slot_ms} names the message at {place}, which is none of it: topic \
         \"rmq_sys_wheel_timer\", time {other_ms}; nothing is delivered for it"
    );
    assert!(log.contains(&said), "{log}");
    assert!(server.stop().success());
}

#[test]
fn another_precision_is_refused_while_messages_wait() {
    let data = Data::new();
    let server = start(&data, 2, "");
    let message = timed(server.topic(), "TIMER_DELAY_SEC", 4);
    producer(&server).send(&message, 0).unwrap();
    wait_until_wheel_has(&server, 1);
    let topic = server.topic();
    assert!(server.stop().success());
    let config = "timerPrecisionMs=500\n";
    let setting = Setting { shards: 2, config: config.to_owned() };
    let log = Server::start_refused(data.path(), &setting);
    assert!(log.contains("timerPrecisionMs = 500, but messages wait in"), "{log}");
    let server = start(&data, 2, "");
    receive(&server, topic, 0, 0, 1);
    assert!(server.stop().success());
    let server = start(&data, 2, config);
    producer(&server).send(&timed(topic, "TIMER_DELAY_SEC", 2), 0).unwrap();
    assert_eq!(receive(&server, topic, 0, 0, 2).len(), 2);
    assert!(server.stop().success());
}

#[test]
fn a_timed_message_can_be_taken_back() {
    let data = Data::new();
    let server = start(&data, 2, "recallMessageEnable=true\n");
    let topic = server.topic();
    let mut producer = producer(&server);
    let at = wall_ms() + 3000;
    let message = timed(topic, "TIMER_DELIVER_MS", at);
    let opaque = producer.submit(&message.clone().keys("gone"), 0).unwrap();
    let reply = producer.connection().wait(opaque).unwrap();
    let handle = reply.field("recallHandle").unwrap();
    producer.send(&message.keys("kept"), 0).unwrap();
    let header = RecallMessageRequestHeader {
        producer_group: None,
        topic: Text::plain(topic.as_bytes()),
        recall_handle: Text::plain(handle.as_bytes()),
        broker_name: None,
    };
    let mut connection = server.connect(TIMEOUT).unwrap();
    let code = request::RECALL_MESSAGE;
    let recalled = connection.call_ok(code, |writer| header.encode(writer), &[]).unwrap();
    assert_eq!(recalled.field("msgId"), reply.field("transactionId"));
    let bad = RecallMessageRequestHeader { recall_handle: Text::plain(b"djEg"), ..header };
    let refused = connection.call(code, |writer| bad.encode(writer), &[]).unwrap();
    assert_eq!((refused.code(), refused.remark().as_str()), (604, "recall handle is invalid"));
    let found = receive(&server, topic, 0, 0, 1);
    assert_eq!(found[0].property("KEYS").as_deref(), Some("kept"));
    std::thread::sleep(Duration::from_millis(1500));
    let pulled = consumer(&server).pull(&Pull::new(topic, 0, 1)).unwrap();
    assert_eq!(pulled.status, PullStatus::NotFound);
    assert!(server.stop().success());
}

#[test]
fn large_messages_of_one_time_all_come() {
    let data = Data::new();
    let server = start(&data, 1, "maxMessageSize=16000000\n");
    let topic = server.topic();
    let mut producer = producer(&server);
    let at = wall_ms() + 2500;
    // Together they are more than one read of the broker takes.
    for bytes in [1_000_000, 15_000_000] {
        let message = timed(topic, "TIMER_DELIVER_MS", at);
        producer.send(&Message { body: vec![7; bytes], ..message }, 0).unwrap();
    }
    let found = receive(&server, topic, 0, 0, 2);
    let lens: Vec<usize> = found.iter().map(|message| message.body.len()).collect();
    assert_eq!(lens, [1_000_000, 15_000_000]);
    assert!(server.stop().success());
}
