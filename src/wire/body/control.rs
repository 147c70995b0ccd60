//! Answers about clients, offsets and statistics. Java: `ResetOffsetBody`, `GetConsumerStatusBody`, `ProducerTableInfo`,
//! `BrokerStatsData`, `ConsumeStatsList`, `QueryCorrectionOffsetBody`, `QueryConsumeTimeSpanBody`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::body::broker::ConsumeStats;
use crate::body::client::SubscriptionData;
use crate::body::{ByQueue, MessageQueue, Table, lenient_number, or_default};

/// `ResetOffsetBody`: body of 220, answer to 222. Write it with `json::write_object_keys`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetBody {
    /// New offset by queue.
    #[serde(deserialize_with = "or_default")]
    pub offset_table: ByQueue<i64>,
}

/// `ResetOffsetBodyForC`: body of 220 when a C++ tool asked.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetBodyForC {
    /// New offsets.
    #[serde(deserialize_with = "or_default")]
    pub offset_table: Vec<QueueOffset>,
}

/// `MessageQueueForC`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueOffset {
    /// Broker name.
    pub broker_name: String,
    /// New offset.
    #[serde(deserialize_with = "lenient_number")]
    pub offset: i64,
    /// Queue.
    #[serde(deserialize_with = "lenient_number")]
    pub queue_id: i32,
    /// Topic.
    pub topic: String,
}

/// `GetConsumerStatusBody`: answers to 221 and 223. Write it with `json::write_object_keys`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetConsumerStatusBody {
    /// What each client said, by its id; in answers to 223.
    #[serde(deserialize_with = "or_default")]
    pub consumer_table: Table<ByQueue<i64>>,
    /// How far a client is in its queues; in answers to 221.
    #[serde(deserialize_with = "or_default")]
    pub message_queue_table: ByQueue<i64>,
}

/// `ProducerTableInfo`: the answer to 328.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerTableInfo {
    /// Producers by group.
    #[serde(deserialize_with = "or_default")]
    pub data: Table<Vec<ProducerInfo>>,
}

/// `ProducerInfo`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerInfo {
    /// Client id.
    pub client_id: String,
    /// Java's name of the language.
    pub language: String,
    /// Last heartbeat, in milliseconds since 1970.
    #[serde(deserialize_with = "lenient_number")]
    pub last_update_timestamp: i64,
    /// Address as Java prints it: `/ip:port`.
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    /// `MQVersion` ordinal.
    #[serde(deserialize_with = "lenient_number")]
    pub version: i32,
}

/// `BrokerStatsItem`: a statistic over some time.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerStatsItem {
    /// Sum per call.
    pub avgpt: f64,
    /// Sum.
    #[serde(deserialize_with = "lenient_number")]
    pub sum: i64,
    /// Sum per second.
    pub tps: f64,
}

/// `BrokerStatsData`: the answer to 315.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerStatsData {
    /// The last 24 hours.
    pub stats_day: BrokerStatsItem,
    /// The last hour.
    pub stats_hour: BrokerStatsItem,
    /// The last minute.
    pub stats_minute: BrokerStatsItem,
}

/// `ConsumeStatsList`: the answer to 317. Write it with `json::write_object_keys`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeStatsList {
    /// Address of the broker.
    pub broker_addr: String,
    /// Per group: its name, and its progress in each topic.
    #[serde(deserialize_with = "or_default")]
    pub consume_stats_list: Vec<Table<Vec<ConsumeStats>>>,
    /// Messages that wait for a group, over all.
    #[serde(deserialize_with = "lenient_number")]
    pub total_diff: i64,
    /// Messages that are pulled and not consumed, over all (5.x).
    #[serde(deserialize_with = "lenient_number")]
    pub total_inflight_diff: i64,
}

/// `QueryCorrectionOffsetBody`: the answer to 308.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryCorrectionOffsetBody {
    /// Offset by queue.
    #[serde(deserialize_with = "or_default")]
    pub correction_offsets: BTreeMap<i32, i64>,
}

/// `QueryConsumeQueueResponseBody`: the answer to 321.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryConsumeQueueResponseBody {
    /// What filters the group's messages, or why nothing does; absent when no group was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_data: Option<String>,
    /// End of the queue.
    #[serde(deserialize_with = "lenient_number")]
    pub max_queue_index: i64,
    /// Its first entry.
    #[serde(deserialize_with = "lenient_number")]
    pub min_queue_index: i64,
    /// Entries.
    #[serde(deserialize_with = "or_default")]
    pub queue_data: Vec<ConsumeQueueData>,
    /// What the group wants of the topic; absent when it is not on line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
}

/// `ConsumeQueueData`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeQueueData {
    /// Whether the group's expression matches, by the entry's bit map.
    pub eval: bool,
    /// What there is to say of the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
    /// Place of the record in the log.
    #[serde(deserialize_with = "lenient_number")]
    pub physic_offset: i64,
    /// Its size, bytes.
    #[serde(deserialize_with = "lenient_number")]
    pub physic_size: i32,
    /// Hash of its tag.
    #[serde(deserialize_with = "lenient_number")]
    pub tags_code: i64,
}

/// `QuerySubscriptionResponseBody`: the answer to 345 (5.x).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QuerySubscriptionResponseBody {
    /// Consumer group.
    pub group: String,
    /// What it wants; absent when it does not want the topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
    /// Topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

/// `QueryConsumeTimeSpanBody`: the answer to 303.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryConsumeTimeSpanBody {
    /// Per queue.
    #[serde(deserialize_with = "or_default")]
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

/// `QueueTimeSpan`: store times in a queue, in milliseconds since 1970; -1 where there is no message.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueTimeSpan {
    /// Of the last consumed message.
    #[serde(deserialize_with = "lenient_number")]
    pub consume_time_stamp: i64,
    /// How long ago the next message was stored; 0 when all are consumed.
    #[serde(deserialize_with = "lenient_number")]
    pub delay_time: i64,
    /// Of the last message.
    #[serde(deserialize_with = "lenient_number")]
    pub max_time_stamp: i64,
    /// The queue.
    pub message_queue: MessageQueue,
    /// Of the first message.
    #[serde(deserialize_with = "lenient_number")]
    pub min_time_stamp: i64,
}
