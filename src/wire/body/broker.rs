//! Tables of a broker: subscription groups, offsets, topic statistics. Java: `SubscriptionGroupWrapper`,
//! `ConsumerOffsetSerializeWrapper`, `DelayOffsetSerializeWrapper`, `TopicStatsTable`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::body::{ByQueue, DataVersion, Table, lenient_bool, lenient_number, or_default};

/// `SubscriptionGroupConfig`: body of 200, answer to 352.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupConfig {
    /// Attributes (5.x); no key is defined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Table<String>>,
    /// Broker id to suggest for pulls.
    #[serde(deserialize_with = "lenient_number")]
    pub broker_id: i64,
    /// Broadcasting is allowed.
    #[serde(deserialize_with = "lenient_bool")]
    pub consume_broadcast_enable: bool,
    /// Consuming is allowed.
    #[serde(deserialize_with = "lenient_bool")]
    pub consume_enable: bool,
    /// Unused by brokers.
    #[serde(deserialize_with = "lenient_bool")]
    pub consume_from_min_enable: bool,
    /// Ordered consumption (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consume_message_orderly: Option<bool>,
    /// Consume timeout in minutes (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consume_timeout_minute: Option<i32>,
    /// The group.
    #[serde(deserialize_with = "or_default")]
    pub group_name: String,
    /// Retry policy (5.x), kept as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_retry_policy: Option<Value>,
    /// Unit bits (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_sys_flag: Option<i32>,
    /// Members are told when the membership changes.
    #[serde(deserialize_with = "lenient_bool")]
    pub notify_consumer_ids_changed_enable: bool,
    /// Tries until the dead letter queue.
    #[serde(deserialize_with = "lenient_number")]
    pub retry_max_times: i32,
    /// Queues of the retry topic.
    #[serde(deserialize_with = "lenient_number")]
    pub retry_queue_nums: i32,
    /// Subscriptions set by an administrator (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<Vec<Value>>,
    /// Broker id to suggest for slow consumers.
    #[serde(deserialize_with = "lenient_number")]
    pub which_broker_when_consume_slowly: i64,
}

/// Java's defaults, without the members of 5.x.
impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        SubscriptionGroupConfig {
            attributes: None,
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: None,
            consume_timeout_minute: None,
            group_name: String::new(),
            group_retry_policy: None,
            group_sys_flag: None,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

impl SubscriptionGroupConfig {
    /// Fills in what 5.5.0 writes for members it was not told.
    pub fn with_5x_defaults(mut self) -> Self {
        self.attributes.get_or_insert_default();
        self.consume_message_orderly.get_or_insert(false);
        self.consume_timeout_minute.get_or_insert(15);
        self.group_retry_policy.get_or_insert_with(|| serde_json::json!({"type": "CUSTOMIZED"}));
        self.group_sys_flag.get_or_insert(0);
        self
    }
}

/// `SubscriptionGroupWrapper`: the answer to 201.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupWrapper {
    /// Version of the table.
    #[serde(deserialize_with = "or_default")]
    pub data_version: DataVersion,
    /// Topics a group may not read (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forbidden_table: Option<Table<Table<i32>>>,
    /// Groups by name.
    #[serde(deserialize_with = "or_default")]
    pub subscription_group_table: Table<SubscriptionGroupConfig>,
}

/// `SubscriptionGroupList`: the body of 225 (5.x).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupList {
    /// The groups.
    #[serde(deserialize_with = "or_default")]
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

/// `ConsumerOffsetSerializeWrapper`: the answer to 43.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerOffsetWrapper {
    /// Version of the table (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_version: Option<DataVersion>,
    /// Topics of each group, derived from the table (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_topic_map: Option<Table<Vec<String>>>,
    /// Next offset by queue, by `topic@group`.
    #[serde(deserialize_with = "or_default")]
    pub offset_table: Table<BTreeMap<i32, i64>>,
    /// Offsets pulls have reached, by `topic@group` (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_offset_table: Option<Table<BTreeMap<i32, i64>>>,
}

/// `DelayOffsetSerializeWrapper`: the answer to 45.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DelayOffsetWrapper {
    /// Version of the table (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_version: Option<DataVersion>,
    /// Next offset by delay level.
    #[serde(deserialize_with = "or_default")]
    pub offset_table: BTreeMap<i32, i64>,
}

/// `TopicOffset`: the state of one queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicOffset {
    /// Store time of the last message in milliseconds since 1970; 0 without messages.
    #[serde(deserialize_with = "lenient_number")]
    pub last_update_timestamp: i64,
    /// End of the queue: one past its last index.
    #[serde(deserialize_with = "lenient_number")]
    pub max_offset: i64,
    /// First index.
    #[serde(deserialize_with = "lenient_number")]
    pub min_offset: i64,
}

/// `OffsetWrapper`: how far a group is in one queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeOffset {
    /// End of the queue.
    #[serde(deserialize_with = "lenient_number")]
    pub broker_offset: i64,
    /// Next index to consume.
    #[serde(deserialize_with = "lenient_number")]
    pub consumer_offset: i64,
    /// Store time of the last consumed message in milliseconds since 1970; 0 when it is not known.
    #[serde(deserialize_with = "lenient_number")]
    pub last_timestamp: i64,
    /// Next index to pull (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_offset: Option<i64>,
}

/// `ConsumeStats`: the answer to 208. Write it with `json::write_object_keys`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeStats {
    /// Messages consumed per second.
    pub consume_tps: f64,
    /// Progress by queue.
    #[serde(deserialize_with = "or_default")]
    pub offset_table: ByQueue<ConsumeOffset>,
}

/// `TopicStatsTable`: the answer to 202. Write it with `json::write_object_keys`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicStatsTable {
    /// State by queue.
    #[serde(deserialize_with = "or_default")]
    pub offset_table: ByQueue<TopicOffset>,
    /// Messages put per second (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_put_tps: Option<f64>,
}
