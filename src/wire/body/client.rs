//! What clients tell and ask a broker: heartbeats, locks, member lists, filter checks.
//!
//! Heartbeats are read leniently: C++ sends ordinals and numbers as text, Go its own spellings. Sets are lists here.

use serde::{Deserialize, Serialize};

use crate::body::{MessageQueue, lenient_bool, lenient_number, lenient_numbers, or_default};

java_enum! {
    /// How a consumer gets its messages. Java: `ConsumeType`.
    ConsumeType {
        /// Pull consumer.
        Actively = "CONSUME_ACTIVELY",
        /// Push consumer.
        Passively = "CONSUME_PASSIVELY",
        /// Pop consumer (5.x).
        Pop = "CONSUME_POP",
    }
}

java_enum! {
    /// Who gets a message. Java: `MessageModel`, which declares them the other way round.
    MessageModel {
        /// One member of the group; the default.
        Clustering = "CLUSTERING",
        /// Every member.
        Broadcasting = "BROADCASTING",
    }
}

java_enum! {
    /// Where a new group starts. Java: `ConsumeFromWhere`.
    ConsumeFromWhere {
        /// At the end.
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// At the end, at the start when the group boots first (deprecated).
        LastOffsetAndFromMin = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// At the start (deprecated).
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        /// At the end (deprecated).
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        /// At the start.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At a time.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

/// `SubscriptionData`: what a group wants of a topic.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionData {
    /// A legacy bit.
    #[serde(deserialize_with = "lenient_bool")]
    pub class_filter_mode: bool,
    /// Hashes of the tags.
    #[serde(deserialize_with = "lenient_numbers")]
    pub code_set: Vec<i32>,
    /// TAG when absent, or SQL92.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression_type: Option<String>,
    /// The expression.
    #[serde(deserialize_with = "or_default")]
    pub sub_string: String,
    /// Milliseconds since 1970 when the client made it; a larger one replaces a smaller one.
    #[serde(deserialize_with = "lenient_number")]
    pub sub_version: i64,
    /// The tags.
    #[serde(deserialize_with = "or_default")]
    pub tags_set: Vec<String>,
    /// The topic.
    #[serde(deserialize_with = "or_default")]
    pub topic: String,
}

/// `ConsumerData`: one consumer group of a client.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerData {
    /// Where a new group starts.
    pub consume_from_where: ConsumeFromWhere,
    /// How it gets messages.
    pub consume_type: ConsumeType,
    /// The group.
    #[serde(deserialize_with = "or_default")]
    pub group_name: String,
    /// Who gets a message.
    #[serde(deserialize_with = "message_model")]
    pub message_model: MessageModel,
    /// Subscriptions.
    #[serde(deserialize_with = "or_default")]
    pub subscription_data_set: Vec<SubscriptionData>,
    /// Unit mode.
    #[serde(deserialize_with = "lenient_bool")]
    pub unit_mode: bool,
}

/// Java declares BROADCASTING first, yet CLUSTERING is what an unknown text must mean.
fn message_model<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<MessageModel, D::Error> {
    let text = crate::body::lenient_text(deserializer)?;
    let is_broadcast = text == "0" || text.eq_ignore_ascii_case(MessageModel::Broadcasting.name());
    Ok(if is_broadcast { MessageModel::Broadcasting } else { MessageModel::Clustering })
}

/// `ProducerData`: one producer group of a client.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerData {
    /// The group.
    #[serde(deserialize_with = "or_default")]
    pub group_name: String,
}

/// `HeartbeatData`: the body of 34.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HeartbeatData {
    /// Client id.
    #[serde(rename = "clientID", deserialize_with = "or_default")]
    pub client_id: String,
    /// Consumer groups.
    #[serde(deserialize_with = "or_default")]
    pub consumer_data_set: Vec<ConsumerData>,
    /// Hash of the subscriptions (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_fingerprint: Option<i32>,
    /// Producer groups.
    #[serde(deserialize_with = "or_default")]
    pub producer_data_set: Vec<ProducerData>,
    /// Subscriptions are left out: the fingerprint says they did not change (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_sub: Option<bool>,
}

/// `GetConsumerListByGroupResponseBody`: the answer to 38.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerIdList {
    /// Client ids of the members.
    #[serde(deserialize_with = "or_default")]
    pub consumer_id_list: Vec<String>,
}

/// `LockBatchRequestBody` and `UnlockBatchRequestBody`: the bodies of 41 and 42.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LockBatchRequest {
    /// Client id.
    #[serde(deserialize_with = "or_default")]
    pub client_id: String,
    /// Consumer group.
    #[serde(deserialize_with = "or_default")]
    pub consumer_group: String,
    /// Queues.
    #[serde(deserialize_with = "or_default")]
    pub mq_set: Vec<MessageQueue>,
    /// Do not ask the other brokers of the group (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_this_broker: Option<bool>,
}

/// `LockBatchResponseBody`: the answer to 41.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LockBatchResponse {
    /// Queues the client holds.
    #[serde(rename = "lockOKMQSet", deserialize_with = "or_default")]
    pub lock_ok_mq_set: Vec<MessageQueue>,
}

/// `CheckClientRequestBody`: the body of 46.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CheckClientConfig {
    /// Client id.
    #[serde(deserialize_with = "or_default")]
    pub client_id: String,
    /// Consumer group.
    #[serde(deserialize_with = "or_default")]
    pub group: String,
    /// Namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The subscription to check; its absence is an error of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
}
