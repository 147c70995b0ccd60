//! Routes and clusters, as a name server tells them. Java: `TopicRouteData`, `ClusterInfo`, `BrokerMemberGroup`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::body::{Table, lenient_number, or_default};
use crate::codes::MQ_VERSION_4_9_4;
use crate::json;

/// `BrokerData`: the addresses of one broker group.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerData {
    /// Address by broker id; 0 is the master.
    #[serde(deserialize_with = "or_default")]
    pub broker_addrs: BTreeMap<i64, String>,
    /// Broker name.
    pub broker_name: String,
    /// Cluster.
    pub cluster: String,
    /// A slave may act as master (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_acting_master: Option<bool>,
    /// Zone (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<String>,
}

/// `QueueData`: what one broker group has of a topic.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueData {
    /// Broker name.
    pub broker_name: String,
    /// Permission bits.
    #[serde(deserialize_with = "lenient_number")]
    pub perm: i32,
    /// Queues to read.
    #[serde(deserialize_with = "lenient_number")]
    pub read_queue_nums: i32,
    /// Unit bits.
    #[serde(deserialize_with = "lenient_number")]
    pub topic_sys_flag: i32,
    /// Queues to write.
    #[serde(deserialize_with = "lenient_number")]
    pub write_queue_nums: i32,
}

/// `TopicRouteData`: the answer to 105, and the body of 217.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicRouteData {
    /// Broker groups that have the topic.
    #[serde(deserialize_with = "or_default")]
    pub broker_datas: Vec<BrokerData>,
    /// Filter servers by broker address; a feature no version has any more.
    #[serde(deserialize_with = "or_default")]
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// `broker:queues;...` of an order topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<String>,
    /// What each group has of the topic.
    #[serde(deserialize_with = "or_default")]
    pub queue_datas: Vec<QueueData>,
    /// Static topics (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_queue_mapping_by_broker: Option<serde_json::Value>,
}

impl TopicRouteData {
    /// Appends the route in the form this client reads: strict from 4.9.4 on or when asked for, the dialect before.
    pub fn write_for(&self, out: &mut Vec<u8>, client_version: i32, accept_standard_json: bool) {
        if client_version >= MQ_VERSION_4_9_4 || accept_standard_json {
            json::write_strict(out, self);
        } else {
            json::write_default(out, self);
        }
    }
}

/// `ClusterInfo`: the answer to 106, in fastjson's default mode.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterInfo {
    /// Groups by broker name.
    #[serde(deserialize_with = "or_default")]
    pub broker_addr_table: Table<BrokerData>,
    /// Broker names by cluster.
    #[serde(deserialize_with = "or_default")]
    pub cluster_addr_table: Table<Vec<String>>,
}

/// `BrokerMemberGroup`: one broker group.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerMemberGroup {
    /// Address by broker id.
    #[serde(deserialize_with = "or_default")]
    pub broker_addrs: BTreeMap<i64, String>,
    /// Broker name.
    pub broker_name: String,
    /// Cluster.
    pub cluster: String,
}

/// `GetBrokerMemberGroupResponseBody`: the answer to 901.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerMemberGroupAnswer {
    /// The group.
    pub broker_member_group: BrokerMemberGroup,
}
