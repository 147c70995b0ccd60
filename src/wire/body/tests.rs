//! Bodies as the Java programs and other clients write them.

use super::broker::{SubscriptionGroupConfig, TopicOffset, TopicStatsTable};
use super::client::{ConsumeFromWhere, ConsumeType, HeartbeatData, LockBatchRequest, MessageModel};
use super::register::{INFLATED_BYTES_MAX, RegisterBrokerBody, TopicConfig};
use super::route::{BrokerData, TopicRouteData};
use super::*;
use crate::codes::{MQ_VERSION_4_9_7, MQ_VERSION_5_5_0};

#[test]
fn a_cpp_heartbeat_reads() {
    let text =
        br#"{"clientID":"10.0.0.5@1","consumerDataSet":[{"consumeFromWhere":4,"consumeType":1,
        "groupName":"G","messageModel":1,"subscriptionDataSet":[{"codeSet":null,"subString":"*",
        "subVersion":"1700000000000","tagsSet":[],"topic":"T"},{"codeSet":["2598919","-5"],
        "subString":"TagA||x","tagsSet":["TagA","x"],"topic":"U"}]}],"producerDataSet":null}"#;
    let heartbeat: HeartbeatData = decode(text).unwrap();
    let group = &heartbeat.consumer_data_set[0];
    assert_eq!(group.consume_from_where, ConsumeFromWhere::FirstOffset);
    assert_eq!(group.consume_type, ConsumeType::Passively);
    assert_eq!(group.message_model, MessageModel::Clustering);
    assert_eq!(group.subscription_data_set[0].sub_version, 1_700_000_000_000);
    assert_eq!(group.subscription_data_set[1].code_set, [2_598_919, -5]);
    assert!(heartbeat.producer_data_set.is_empty());
}

#[test]
fn message_models_in_every_spelling() {
    for (text, expected) in [
        ("\"BroadCasting\"", MessageModel::Broadcasting),
        ("0", MessageModel::Broadcasting),
        ("\"Clustering\"", MessageModel::Clustering),
        ("1", MessageModel::Clustering),
        ("null", MessageModel::Clustering),
        ("\"?\"", MessageModel::Clustering),
    ] {
        let text = format!("{{\"consumerDataSet\":[{{\"messageModel\":{text}}}]}}");
        let heartbeat: HeartbeatData = decode(text.as_bytes()).unwrap();
        assert_eq!(heartbeat.consumer_data_set[0].message_model, expected, "{text}");
    }
}

#[test]
fn a_body_of_another_shape_is_refused_with_the_reason() {
    let error = decode::<LockBatchRequest>(br#"{"mqSet":[{"queueId":"abc"}]}"#).unwrap_err();
    assert!(error.to_string().contains("\"abc\" is not a number of this type"), "{error}");
    assert!(decode::<HeartbeatData>(b"7").is_err());
    assert!(decode::<HeartbeatData>(b"").is_err());
    let huge = br#"{"mqSet":[{"queueId":2147483648}]}"#;
    assert!(decode::<LockBatchRequest>(huge).is_err());
}

#[test]
fn queues_as_keys_come_back() {
    let queue = MessageQueue { broker_name: "b\"".into(), queue_id: 1, topic: "主题".into() };
    let offset = TopicOffset { last_update_timestamp: 5, max_offset: 6, min_offset: 0 };
    let table =
        TopicStatsTable { offset_table: ByQueue(vec![(queue, offset)]), topic_put_tps: Some(0.0) };
    let mut out = Vec::new();
    json::write_object_keys(&mut out, &table);
    assert_eq!(
        std::str::from_utf8(&out).unwrap(),
        r#"{"offsetTable":{{"brokerName":"b\"","queueId":1,"topic":"主题"}:{"lastUpdateTimestamp":5,"maxOffset":6,"minOffset":0}},"topicPutTps":0.0}"#
    );
    assert_eq!(decode::<TopicStatsTable>(&out).unwrap(), table);
}

fn registration() -> RegisterBrokerBody {
    let topic = TopicConfig {
        attributes: Some([("message.type".to_owned(), "FIFO".to_owned())].into_iter().collect()),
        topic_name: "T".into(),
        perm: 4,
        ..TopicConfig::default()
    };
    let mut body = RegisterBrokerBody::default();
    body.topic_config_serialize_wrapper.data_version.counter = 3;
    body.topic_config_serialize_wrapper.topic_config_table.0.push(("T".into(), topic));
    body
}

#[test]
fn registrations_come_back_in_every_form() {
    let body = registration();
    let mut plain = Vec::new();
    body.encode(&mut plain);
    assert_eq!(RegisterBrokerBody::decode(&plain, false, MQ_VERSION_5_5_0).unwrap(), body);
    for version in [MQ_VERSION_4_9_7, MQ_VERSION_5_5_0] {
        let mut compressed = Vec::new();
        body.encode_compressed(&mut compressed, version);
        let read = RegisterBrokerBody::decode(&compressed, true, version).unwrap();
        let (read, sent) =
            (read.topic_config_serialize_wrapper, &body.topic_config_serialize_wrapper);
        assert_eq!(read.data_version, sent.data_version);
        assert_eq!(read.topic_config_table, sent.topic_config_table);
        for end in 0..compressed.len() - 4 {
            assert!(RegisterBrokerBody::decode(&compressed[..end.max(1)], true, version).is_err());
        }
    }
    let mut wrapper = Vec::new();
    json::write_default(&mut wrapper, &body.topic_config_serialize_wrapper);
    assert_eq!(RegisterBrokerBody::decode(&wrapper, false, 36).unwrap(), body);
    let empty = RegisterBrokerBody::decode(b"", true, MQ_VERSION_5_5_0).unwrap();
    assert_eq!(empty, RegisterBrokerBody::default());
}

#[test]
fn a_registration_that_inflates_without_end_is_refused() {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    let zeros = vec![0; 1 << 20];
    for _ in 0..(INFLATED_BYTES_MAX >> 20) + 16 {
        encoder.write_all(&zeros).unwrap();
    }
    // Its end is missing: who reads past the limit finds damage instead.
    let mut bomb = encoder.finish().unwrap();
    bomb.truncate(bomb.len() - 16);
    let error = RegisterBrokerBody::decode(&bomb, true, MQ_VERSION_5_5_0).unwrap_err();
    assert!(error.to_string().contains("above the limit of 67108864 bytes"), "{error}");
}

#[test]
fn routes_are_strict_for_new_clients_only() {
    let route = TopicRouteData {
        broker_datas: vec![BrokerData {
            broker_addrs: [(0, "1.1.1.1:1".to_owned())].into_iter().collect(),
            broker_name: "名".into(),
            cluster: "c".into(),
            ..BrokerData::default()
        }],
        ..TopicRouteData::default()
    };
    for (version, standard, expected) in [
        (317, false, r#"{"brokerAddrs":{0:"1.1.1.1:1"},"brokerName":"名","#),
        (400, true, r#"{"brokerAddrs":{"0":"1.1.1.1:1"},"brokerName":"\u540D","#),
        (401, false, r#"{"brokerAddrs":{"0":"1.1.1.1:1"},"brokerName":"\u540D","#),
    ] {
        let mut out = Vec::new();
        route.write_for(&mut out, version, standard);
        let text = String::from_utf8(out.clone()).unwrap();
        assert!(text.contains(expected), "{text}");
        assert_eq!(decode::<TopicRouteData>(&out).unwrap(), route);
    }
}

#[test]
fn groups_have_javas_defaults() {
    let group: SubscriptionGroupConfig =
        decode(br#"{"groupName":"G","retryMaxTimes":"3"}"#).unwrap();
    assert_eq!((group.retry_max_times, group.retry_queue_nums), (3, 1));
    assert!(group.consume_enable && group.notify_consumer_ids_changed_enable);
    let mut out = Vec::new();
    json::write_default(&mut out, &group.with_5x_defaults());
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"G","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":3,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}"#
    );
}
