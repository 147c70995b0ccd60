//! Bodies and properties of generated requests, and what is wrong with them.

use super::forms::Body;
use super::sequence::{Make, unique_key};
use serde_json::{Value, json};
use wire::batch::{BatchItem, encode_item};

/// A body with so many faults at most.
pub(crate) fn make(make: &mut Make<'_>, body: Body, faults: usize) -> Vec<u8> {
    match body {
        Body::None => Vec::new(),
        Body::Message => message(make, faults),
        Body::Batch => batch(make, faults),
        Body::Heartbeat => spoil(make, heartbeat, faults),
        Body::Locks => spoil(make, locks, faults),
        Body::GroupConfig => spoil(make, group_config, faults),
        Body::ClientCheck => spoil(make, client_check, faults),
        Body::TopicList => spoil(make, topic_list, faults),
        Body::GroupList => spoil(make, group_list, faults),
        Body::Settings => settings(make),
        Body::Registration => spoil(make, registration, faults),
        Body::DataVersion => spoil(make, data_version, faults),
    }
}

fn message(make: &mut Make<'_>, faults: usize) -> Vec<u8> {
    if faults > 0 {
        let length = *make.random.pick(&[0, 0, 4 * 1024 * 1024, 4 * 1024 * 1024 + 1, 5_000_000]);
        return vec![b'x'; length];
    }
    let number = make.random.below(1000);
    let mut body = format!("message {number} ").into_bytes();
    body.resize(body.len() + make.random.index(200), b'.');
    body
}

/// The properties of a message, now and then odd ones.
pub(crate) fn properties(make: &mut Make<'_>) -> String {
    let mut text = String::new();
    let mut add = |name: &str, value: &str| {
        text.push_str(&format!("{name}\u{1}{value}\u{2}"));
    };
    if !make.random.once_in(4) {
        let number = make.random.below(4);
        add("UNIQ_KEY", &unique_key(number));
    }
    if !make.random.once_in(4) {
        let value = *make.random.pick(&["true", "false", "x"]);
        add("WAIT", value);
    }
    for _ in 0..make.random.below(4) {
        let usual = if make.is_plain { &PROPERTIES[..4] } else { PROPERTIES };
        let (name, values) = *make.random.pick(usual);
        let value = *make.random.pick(values);
        add(name, value);
    }
    match make.random.below(if make.is_plain { 1 } else { 24 }) {
        0 if make.is_plain => {}
        0 => text.push_str("no separator"),
        1 => text.push('\u{2}'),
        2 => text.push_str("\u{1}nameless\u{2}"),
        3 => text.push_str("a\u{1}b\u{1}c\u{2}"),
        4 => {
            text.pop();
        }
        5 => {
            text.push_str(&format!("long\u{1}{}\u{2}", "y".repeat(32_700 + make.random.index(70))))
        }
        _ => {}
    }
    text
}

/// Names of properties and what they are set to. What is delayed comes after the test only.
const PROPERTIES: &[(&str, &[&str])] = &[
    ("TAGS", &["TagA", "TagA", "TagB", "", "Tag C", "é", "TagA||TagB"]),
    ("KEYS", &["K1", "K1 K2", "K2", " ", "", "ключ"]),
    ("a", &["1", "10", "x", ""]),
    ("b", &["2", "2.5", "true"]),
    ("DELAY", &["1", "3", "18", "19", "0", "-1", "x", ""]),
    ("TIMER_DELAY_SEC", &["3600", "0", "-1", "x", "99999999"]),
    ("TIMER_DELAY_MS", &["3600000", "x", "-5"]),
    ("TIMER_DELIVER_MS", &["4000000000000", "x", "-1", "9223372036854775807"]),
    ("TRAN_MSG", &["true", "true", "false", "x"]),
    ("PGROUP", &["P", ""]),
    ("RETRY_TOPIC", &["some"]),
    ("REAL_TOPIC", &["some"]),
    ("REAL_QID", &["0", "x"]),
    ("MIN_OFFSET", &["7"]),
    ("ORIGIN_MESSAGE_ID", &["abc"]),
    ("RECONSUME_TIME", &["1", "x"]),
    ("MAX_RECONSUME_TIMES", &["1", "x", "-1"]),
    ("MSG_REGION", &["r"]),
    ("TRACE_ON", &["false"]),
    ("CLUSTER", &["c", "DefaultCluster"]),
    ("INSTANCE_ID", &["i"]),
    ("__SHARDINGKEY", &["s"]),
    ("INNER_NUM", &["2"]),
    ("MSG_TYPE", &["reply"]),
    ("CORRELATION_ID", &["c1"]),
    ("REPLY_TO_CLIENT", &["nobody", ""]),
    ("TTL", &["3000", "x"]),
    ("__TRANSACTION_CHECK_TIMES", &["3", "x"]),
    ("CHECK_IMMUNITY_TIME_IN_SECONDS", &["5", "x"]),
];

fn batch(make: &mut Make<'_>, faults: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let count = 1 + make.random.below(4);
    for number in 0..count {
        let properties = properties(make).into_bytes();
        let text = format!("inner {number}");
        let flag = i32::try_from(make.random.below(3)).expect("small");
        // Lengths of properties are of 16 bits.
        let properties = if properties.len() > 32_000 { &properties[..100] } else { &properties };
        encode_item(&mut body, &BatchItem { flag, body: text.as_bytes(), properties });
    }
    if faults == 0 {
        return body;
    }
    match make.random.below(6) {
        0 => body.truncate(make.random.index(body.len())),
        1 => body.extend_from_slice(&[0; 7]),
        2 => body.clear(),
        3 => {
            let at = make.random.index(body.len());
            body[at] ^= 0xFF;
        }
        // The length of the first body.
        4 => body[16..20].copy_from_slice(&[0xFF; 4]),
        _ => body[16..20].copy_from_slice(&[0; 4]),
    }
    body
}

fn subscription(make: &mut Make<'_>) -> Value {
    let expression = *make.random.pick(&["*", "*", "TagA", "TagA||TagB", "a > 5", ""]);
    let is_sql = expression == "a > 5";
    let kind =
        *make.random.pick(if is_sql { &["SQL92", "SQL92", "TAG"] } else { &["TAG", "TAG", "TAG"] });
    let tags: Vec<&str> =
        if expression.starts_with("Tag") { expression.split("||").collect() } else { Vec::new() };
    let codes: Vec<i32> = tags.iter().map(|tag| wire::java_hash::java_string_hash(tag)).collect();
    json!({
        "classFilterMode": make.random.once_in(20), "codeSet": codes, "expressionType": kind, "subString": expression,
        "subVersion": make.random.below(8), "tagsSet": tags, "topic": make.topic(),
    })
}

fn heartbeat(make: &mut Make<'_>) -> Value {
    let mut consumers = Vec::new();
    for _ in 0..make.random.below(3) {
        let count = make.random.below(3);
        let mut subscriptions: Vec<Value> = (0..count).map(|_| subscription(make)).collect();
        subscriptions.dedup_by(|a, b| a["topic"] == b["topic"]);
        consumers.push(json!({
            "groupName": make.group(),
            "consumeType": make.random.pick(&["CONSUME_PASSIVELY", "CONSUME_PASSIVELY", "CONSUME_ACTIVELY"]),
            "messageModel": make.random.pick(&["CLUSTERING", "CLUSTERING", "BROADCASTING"]),
            "consumeFromWhere": make.random.pick(&["CONSUME_FROM_LAST_OFFSET", "CONSUME_FROM_FIRST_OFFSET"]),
            "subscriptionDataSet": subscriptions, "unitMode": make.random.once_in(8),
        }));
    }
    consumers.dedup_by(|a: &mut Value, b| a["groupName"] == b["groupName"]);
    let producers: Vec<Value> =
        (0..make.random.below(2)).map(|_| json!({ "groupName": make.own("P1") })).collect();
    json!({
        "clientID": make.client(), "consumerDataSet": consumers, "producerDataSet": producers,
        "heartbeatFingerprint": 0, "withoutSub": false,
    })
}

fn locks(make: &mut Make<'_>) -> Value {
    let mut queues = Vec::new();
    for _ in 0..make.random.below(4) {
        let queue = *make.random.pick(&[0, 0, 1, 2, 3, 100, -1]);
        let broker = *make.random.pick(&["broker-a", "broker-a", "broker-b"]);
        queues.push(json!({ "topic": make.topic(), "brokerName": broker, "queueId": queue }));
    }
    json!({
        "consumerGroup": make.group(), "clientId": make.client(), "mqSet": queues, "onlyThisBroker": false,
    })
}

fn group_config(make: &mut Make<'_>) -> Value {
    let mut config = json!({ "groupName": make.group() });
    let map = config.as_object_mut().expect("just made");
    let more = [
        ("consumeEnable", json!(!make.random.once_in(3))),
        ("consumeFromMinEnable", json!(true)),
        ("consumeBroadcastEnable", json!(!make.random.once_in(3))),
        ("consumeMessageOrderly", json!(make.random.once_in(3))),
        ("retryQueueNums", json!(make.random.pick(&[1, 1, 1, 1, 0, 4, 4, -1]))),
        ("retryMaxTimes", json!(make.random.pick(&[16, 0, 2, -1]))),
        ("brokerId", json!(0)),
        ("whichBrokerWhenConsumeSlowly", json!(make.random.pick(&[1, 0]))),
        ("notifyConsumerIdsChangedEnable", json!(true)),
        ("groupSysFlag", json!(make.random.pick(&[0, 1]))),
        ("consumeTimeoutMinute", json!(15)),
        ("attributes", json!({})),
        ("groupRetryPolicy", json!({ "type": "CUSTOMIZED" })),
    ];
    for (name, value) in more {
        if make.random.once_in(2) {
            map.insert(name.to_owned(), value);
        }
    }
    if make.random.once_in(20) {
        map.insert("attributes".to_owned(), json!({ "+a": "b" }));
    }
    config
}

fn data_version(make: &mut Make<'_>) -> Value {
    json!({
        "counter": make.random.pick(&[1, 1, 2]), "stateVersion": 0, "timestamp": make.random.pick(&[1_700_000_000_000_i64, 1]),
    })
}

fn registration(make: &mut Make<'_>) -> Value {
    let mut table = json!({});
    let topics = table.as_object_mut().expect("just made");
    for _ in 0..make.random.below(3) {
        let topic = make.topic();
        let config = json!({
            "topicName": topic, "readQueueNums": make.random.pick(&[4, 1, 8]), "writeQueueNums": make.random.pick(&[4, 2]),
            "perm": make.random.pick(&[6, 4, 7]), "topicFilterType": "SINGLE_TAG", "topicSysFlag": make.random.pick(&[0, 1, 2]),
            "order": make.random.once_in(3),
        });
        topics.insert(topic, config);
    }
    json!({
        "topicConfigSerializeWrapper": { "dataVersion": data_version(make), "topicConfigTable": table },
        "filterServerList": [],
    })
}

fn client_check(make: &mut Make<'_>) -> Value {
    json!({
        "clientId": make.client(), "group": make.group(), "namespace": "", "subscriptionData": subscription(make),
    })
}

fn topic_list(make: &mut Make<'_>) -> Value {
    let mut topics = Vec::new();
    for _ in 0..make.random.below(3) {
        // No topic is so already.
        let flag = 1000 + make.random.below(1_000_000);
        topics.push(json!({
            "topicName": make.topic(), "readQueueNums": make.random.pick(&[4, 1, 0]), "writeQueueNums": make.random.pick(&[4, 1]),
            "perm": make.random.pick(&[6, 4, 9]), "topicFilterType": "SINGLE_TAG", "topicSysFlag": flag, "order": false,
            "attributes": {},
        }));
    }
    json!({ "topicConfigList": topics })
}

fn group_list(make: &mut Make<'_>) -> Value {
    let groups: Vec<Value> = (0..make.random.below(3)).map(|_| group_config(make)).collect();
    json!({ "groupConfigList": groups })
}

/// Keys that nothing depends on, and lines that are none.
fn settings(make: &mut Make<'_>) -> Vec<u8> {
    let lines: &[&str] = &[
        "",
        "=",
        "noSuchKey=1",
        "brokerTopicEnable=true",
        "flushDelayOffsetInterval=10001",
        "flushDelayOffsetInterval=x",
        "brokerConfigPath=/tmp/x",
        "# a comment",
        "configBlackList=a",
        "rocketmqHome=/tmp",
        "notKeyValue",
    ];
    let count = make.random.below(3);
    let text: Vec<&str> = (0..count).map(|_| *make.random.pick(lines)).collect();
    text.join("\n").into_bytes()
}

/// JSON with faults, as bytes.
fn spoil(make: &mut Make<'_>, value: fn(&mut Make<'_>) -> Value, faults: usize) -> Vec<u8> {
    let mut value = value(make);
    if faults == 0 {
        return value.to_string().into_bytes();
    }
    if make.random.once_in(2) {
        for _ in 0..faults {
            spoil_member(make, &mut value);
        }
        return value.to_string().into_bytes();
    }
    let mut bytes = value.to_string().into_bytes();
    match make.random.below(9) {
        0 => bytes.clear(),
        1 => bytes.truncate(make.random.index(bytes.len())),
        2 => bytes = b"{}".to_vec(),
        3 => bytes = b"[]".to_vec(),
        4 => bytes = b"null".to_vec(),
        5 => bytes = b"\"text\"".to_vec(),
        6 => bytes = b"5".to_vec(),
        7 => bytes.extend_from_slice(b"}"),
        _ => {
            let at = make.random.index(bytes.len());
            bytes[at] = *make.random.pick(b"\xFF\"{}[],:0x ");
        }
    }
    bytes
}

/// Leaves a member out, or gives it another type, at some depth.
fn spoil_member(make: &mut Make<'_>, value: &mut Value) {
    let is_branch = |value: &Value| matches!(value, Value::Object(_) | Value::Array(_));
    let goes_deeper = !make.random.once_in(3);
    match value {
        Value::Object(map) if !map.is_empty() => {
            let names: Vec<String> = map.keys().cloned().collect();
            let name = make.random.pick(&names).clone();
            if goes_deeper && is_branch(&map[&name]) {
                spoil_member(make, &mut map[&name]);
            } else if make.random.once_in(2) {
                map.remove(&name);
            } else {
                map.insert(name, odd(make));
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let place = make.random.index(list.len());
            if goes_deeper && is_branch(&list[place]) {
                spoil_member(make, &mut list[place]);
            } else {
                list[place] = odd(make);
            }
        }
        Value::Object(_)
        | Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_) => *value = odd(make),
    }
}

fn odd(make: &mut Make<'_>) -> Value {
    match make.random.below(11) {
        0 => Value::Null,
        1 => json!(""),
        2 => json!("text"),
        3 => json!(-1),
        4 => json!(99_999_999_999_i64),
        5 => json!(1.5),
        6 => json!(true),
        7 => json!({}),
        8 => json!([]),
        9 => json!("17"),
        _ => json!({ "x": [1, null] }),
    }
}
