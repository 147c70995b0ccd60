//! Names, system topics and inheritance as the Java broker 5.5.0 was recorded.

use super::*;
use crate::settings::test_settings;
use std::sync::Arc;

#[test]
fn names_are_judged_with_javas_remarks() {
    let remark = |name: &str| check_topic_name(name).unwrap_err().remark.into_owned();
    assert_eq!(remark(" "), "The specified topic is blank.");
    assert_eq!(
        remark("bad topic!"),
        "The specified topic: bad topic!, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
    );
    let long = "x".repeat(128);
    assert!(remark(&long).contains("is longer than topic max length 127"));
    assert!(check_topic_name(&long[1..]).is_ok());
    assert!(check_topic_name(&format!("%RETRY%{long}")).is_ok());
    assert!(check_topic_name(&format!("%RETRY%{}", "x".repeat(249))).is_err());
    assert_eq!(check_topic_name("a/b").unwrap_err().code, response::INVALID_PARAMETER);
    assert!(is_group_name(&"g".repeat(120)) && !is_group_name(&"g".repeat(121)));
    assert!(!is_group_name("") && !is_group_name("a@b"));
}

#[test]
fn the_built_in_topics_are_those_of_the_recorded_broker() {
    let settings = test_settings(&[
        ("brokerClusterName", "GoldCluster"),
        ("brokerName", "broker-a"),
        ("defaultTopicQueueNums", "4"),
    ]);
    let mut found: Vec<(String, i32, i32)> = built_in(&settings)
        .into_iter()
        .map(|topic| (topic.topic_name, topic.write_queue_nums, topic.perm))
        .collect();
    found.sort_unstable();
    // golden/store/v550-small-clean without the topics its clients made.
    let recorded = [
        ("BenchmarkTest", 1024, 6),
        ("GoldCluster", 16, 7),
        ("GoldCluster_REPLY_TOPIC", 1, 6),
        ("OFFSET_MOVED_EVENT", 1, 6),
        ("RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC", 1, 6),
        ("RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC", 1, 6),
        ("RMQ_SYS_TRANS_HALF_TOPIC", 1, 6),
        ("RMQ_SYS_TRANS_OP_HALF_TOPIC", 1, 6),
        ("SCHEDULE_TOPIC_XXXX", 18, 6),
        ("SELF_TEST_TOPIC", 1, 6),
        ("TBW102", 4, 7),
        ("broker-a", 1, 7),
        ("rmq_sys_REVIVE_LOG_GoldCluster", 8, 6),
        ("rmq_sys_SYNC_BROKER_MEMBER_broker-a", 1, 1),
        ("rmq_sys_wheel_timer", 1, 6),
    ];
    let recorded: Vec<_> =
        recorded.iter().map(|(name, queues, perm)| ((*name).to_owned(), *queues, *perm)).collect();
    assert_eq!(found, recorded);
    let system = SystemTopics::new(&settings);
    for name in ["SCHEDULE_TOPIC_XXXX", "broker-a", "GoldCluster", "rmq_sys_anything", "TBW102"] {
        assert!(system.contains(name), "{name}");
    }
    assert!(!system.contains("MyTopic"));
    let refusal = system.check_not_system("SCHEDULE_TOPIC_XXXX").unwrap_err();
    assert_eq!(refusal.code, 29);
    assert_eq!(refusal.remark, "The topic[SCHEDULE_TOPIC_XXXX] is conflict with system topic.");
}

fn table(settings: &Settings) -> TopicTable {
    let mut table = TopicTable::default();
    for config in built_in(settings) {
        table.set(Arc::new(config));
    }
    table
}

fn first<'a>(topic: &'a str, default_topic: &'a str, queues: Option<i32>) -> FirstSend<'a> {
    FirstSend { topic, default_topic, queues, is_unit: false }
}

#[test]
fn a_topic_made_by_a_send_takes_after_its_default_topic() {
    let settings = test_settings(&[("brokerName", "broker-a")]);
    let mut topics = table(&settings);
    let made = inherit(&topics, &settings, &first("T", "TBW102", Some(4))).unwrap();
    assert_eq!((made.read_queue_nums, made.write_queue_nums, made.perm), (4, 4, 6));
    let made = inherit(&topics, &settings, &first("T", "TBW102", Some(100))).unwrap();
    assert_eq!(made.write_queue_nums, 8, "no more than the default topic has");
    let made = inherit(&topics, &settings, &first("T", "broker-a", None)).unwrap();
    assert_eq!(made.write_queue_nums, 1, "any topic with the inherit bit will do");
    let refusal = inherit(&topics, &settings, &first("T", "SELF_TEST_TOPIC", Some(4))).unwrap_err();
    assert_eq!(refusal.code, response::TOPIC_NOT_EXIST);
    assert!(refusal.remark.starts_with("topic[T] not exist, apply first please!\nSee https://"));
    let refusal = inherit(&topics, &settings, &first("T", "TBW102", Some(0))).unwrap_err();
    assert!(refusal.remark.contains("defaultTopicQueueNums is 0"), "{}", refusal.remark);
    let made = inherit(&topics, &settings, &first("%RETRY%G", "nothing", None)).unwrap();
    assert_eq!((made.write_queue_nums, made.perm), (1, 6));
    let unit = FirstSend { is_unit: true, ..first("%RETRY%G", "TBW102", Some(4)) };
    let made = inherit(&topics, &settings, &unit).unwrap();
    assert_eq!((made.write_queue_nums, made.perm), (4, 6), "as any other topic, when one can");
    assert_eq!(made.topic_sys_flag, SYS_FLAG_UNIT_SUB);
    // A stored TBW102 does not help when automatic creation is off.
    topics.set(Arc::new(topic(AUTO_CREATE_TOPIC, 8, 7)));
    let off = test_settings(&[("autoCreateTopicEnable", "false")]);
    assert!(inherit(&topics, &off, &first("T", "TBW102", Some(4))).is_err());
}

#[test]
fn attributes_are_added_and_removed_by_sign() {
    let changes = parse_attributes("+message.type=FIFO,+reserve.time=5").unwrap();
    let made = alter_attributes(None, &changes).unwrap();
    assert_eq!(made.get("message.type").map(String::as_str), Some("FIFO"));
    let later = parse_attributes("-reserve.time,+message.type=NORMAL").unwrap();
    let changed = alter_attributes(Some(&made), &later).unwrap();
    assert_eq!(changed.0, [("message.type".to_owned(), "NORMAL".to_owned())]);
    assert!(alter_attributes(None, &parse_attributes("").unwrap()).unwrap().0.is_empty());
    for (old, text) in [
        (None, "-message.type"),
        (None, "+message.type=WRONG"),
        (None, "+queue.type=BatchCQ"),
        (None, "+cleanup.policy=COMPACTION"),
        (None, "+unknown=1"),
        (None, "+reserve.time=soon"),
        (None, "+message.type=MIXED"),
        (Some(&made), "+queue.type=SimpleCQ"),
        (Some(&made), "-cleanup.policy"),
    ] {
        assert!(alter_attributes(old, &parse_attributes(text).unwrap()).is_err(), "{text}");
    }
    let other = Table(vec![("queue.type".to_owned(), "BatchCQ".to_owned())]);
    let changes = parse_attributes("-queue.type").unwrap();
    assert!(alter_attributes(Some(&other), &changes).is_err(), "as by Java");
    for text in ["message.type=FIFO", "+message.type", "+a=1,+a=2", &"+".repeat(5000)] {
        assert!(parse_attributes(text).is_err(), "{text}");
    }
}

#[test]
fn an_administrator_cannot_ask_for_the_impossible() {
    let good = topic("T", 8, 6);
    assert!(check_config(&good).is_ok());
    for (bad, field) in [
        (TopicConfig { read_queue_nums: -1, ..good.clone() }, "readQueueNums is -1"),
        (TopicConfig { write_queue_nums: 65_536, ..good.clone() }, "allowed is 0 to 65535"),
        (TopicConfig { perm: 8, ..good.clone() }, "perm is 8"),
    ] {
        let remark = check_config(&bad).unwrap_err().remark;
        assert!(remark.contains(field), "{remark}");
    }
}
