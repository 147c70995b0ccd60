//! Requests of tools and of every client's start: routes, topics, offsets, groups. Java: `MQClientAPIImpl`.

use crate::connection::{Connection, Reply, text};
use crate::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};
use wire::body::client::{
    ConsumeFromWhere, ConsumeType, ConsumerData, ConsumerIdList, HeartbeatData, MessageModel,
    ProducerData, SubscriptionData,
};
use wire::body::route::{ClusterInfo, TopicRouteData};
use wire::codes::{request, response};
use wire::json;
use wire::req::client::{
    BoundaryType, CreateTopicRequestHeader, DeleteTopicRequestHeader,
    GetConsumerListByGroupRequestHeader, GetEarliestMsgStoretimeRequestHeader,
    GetEarliestMsgStoretimeResponseHeader, GetMaxOffsetRequestHeader, GetMinOffsetRequestHeader,
    OffsetResponseHeader, QueryConsumerOffsetRequestHeader, SearchOffsetRequestHeader,
    UnregisterClientRequestHeader, UpdateConsumerOffsetRequestHeader,
};
use wire::req::namesrv::GetRouteInfoRequestHeader;

/// A topic to create or change.
#[derive(Clone, Copy, Debug)]
pub struct NewTopic<'a> {
    /// Its name.
    pub name: &'a str,
    /// Queues to read.
    pub read_queues: i32,
    /// Queues to write.
    pub write_queues: i32,
    /// Permission bits: 4 read, 2 write.
    pub perm: i32,
    /// Order topic.
    pub is_ordered: bool,
    /// `+key=value,-key` (5.x).
    pub attributes: Option<&'a str>,
}

impl<'a> NewTopic<'a> {
    /// A readable and writable topic with as many queues on both sides.
    pub fn new(name: &'a str, queues: i32) -> NewTopic<'a> {
        NewTopic {
            name,
            read_queues: queues,
            write_queues: queues,
            perm: 6,
            is_ordered: false,
            attributes: None,
        }
    }
}

/// A consumer as a heartbeat announces it.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerMember<'a> {
    /// Client id, unique per process.
    pub client_id: &'a str,
    /// Consumer group.
    pub group: &'a str,
    /// Topic it wants.
    pub topic: &'a str,
    /// `*` or `a || b`.
    pub tags: &'a str,
    /// Who gets a message.
    pub model: MessageModel,
}

impl ConsumerMember<'_> {
    /// The heartbeat of this consumer alone; `version` is that of the subscription, later ones replace earlier ones.
    pub fn heartbeat(&self, version: i64) -> HeartbeatData {
        let tags_set: Vec<String> = if self.tags == "*" {
            Vec::new()
        } else {
            wire::tags::tags(self.tags).map(str::to_owned).collect()
        };
        let code_set = tags_set.iter().map(|tag| wire::java_hash::java_string_hash(tag)).collect();
        let subscription = SubscriptionData {
            code_set,
            expression_type: Some("TAG".to_owned()),
            sub_string: self.tags.to_owned(),
            sub_version: version,
            tags_set,
            topic: self.topic.to_owned(),
            ..SubscriptionData::default()
        };
        let consumer = ConsumerData {
            consume_from_where: ConsumeFromWhere::FirstOffset,
            consume_type: ConsumeType::Passively,
            group_name: self.group.to_owned(),
            message_model: self.model,
            subscription_data_set: vec![subscription],
            unit_mode: false,
        };
        HeartbeatData {
            client_id: self.client_id.to_owned(),
            consumer_data_set: vec![consumer],
            ..HeartbeatData::default()
        }
    }
}

/// Topics, routes and clusters.
impl Connection {
    /// Where a topic lives (code 105, name server). `None` when the name server does not know it.
    pub fn route(&mut self, topic: &str) -> Result<Option<TopicRouteData>, Error> {
        let code = request::GET_ROUTEINFO_BY_TOPIC;
        let header =
            GetRouteInfoRequestHeader { topic: text(topic), accept_standard_json_only: Some(true) };
        let reply = self.call(code, |w| header.encode(w), &[])?;
        if reply.code() == response::TOPIC_NOT_EXIST {
            return Ok(None);
        }
        let reply = reply.success()?;
        json::from_slice(reply.body()).map(Some).map_err(Error::protocol)
    }

    /// All brokers (code 106, name server).
    pub fn cluster_info(&mut self) -> Result<ClusterInfo, Error> {
        let reply = self.call_ok(request::GET_BROKER_CLUSTER_INFO, |_| {}, &[])?;
        json::from_slice(reply.body()).map_err(Error::protocol)
    }

    /// Creates or changes a topic (code 17, broker).
    pub fn create_topic(&mut self, topic: &NewTopic<'_>) -> Result<(), Error> {
        let header = CreateTopicRequestHeader {
            topic: text(topic.name),
            default_topic: Some(text("TBW102")),
            read_queue_nums: topic.read_queues,
            write_queue_nums: topic.write_queues,
            perm: topic.perm,
            topic_filter_type: Some(text("SINGLE_TAG")),
            topic_sys_flag: Some(0),
            order: topic.is_ordered,
            attributes: topic.attributes.map(text),
            force: None,
        };
        self.call_ok(request::UPDATE_AND_CREATE_TOPIC, |w| header.encode(w), &[]).map(drop)
    }

    /// Deletes a topic from a broker (code 215).
    pub fn delete_topic(&mut self, topic: &str) -> Result<(), Error> {
        let header = DeleteTopicRequestHeader { topic: text(topic) };
        self.call_ok(request::DELETE_TOPIC_IN_BROKER, |w| header.encode(w), &[]).map(drop)
    }
}

/// Offsets of queues and of consumer groups.
impl Connection {
    /// One past the last index of a queue (code 30).
    pub fn max_offset(&mut self, topic: &str, queue_id: i32) -> Result<i64, Error> {
        let header = GetMaxOffsetRequestHeader { topic: text(topic), queue_id, committed: true };
        offset(&self.call_ok(request::GET_MAX_OFFSET, |w| header.encode(w), &[])?)
    }

    /// First index of a queue (code 31).
    pub fn min_offset(&mut self, topic: &str, queue_id: i32) -> Result<i64, Error> {
        let header = GetMinOffsetRequestHeader { topic: text(topic), queue_id };
        offset(&self.call_ok(request::GET_MIN_OFFSET, |w| header.encode(w), &[])?)
    }

    /// Index of the message stored at a time, in milliseconds since 1970 (code 29).
    pub fn search_offset(
        &mut self,
        topic: &str,
        queue_id: i32,
        timestamp: i64,
        boundary_type: BoundaryType,
    ) -> Result<i64, Error> {
        let boundary_type = Some(boundary_type);
        let header =
            SearchOffsetRequestHeader { topic: text(topic), queue_id, timestamp, boundary_type };
        offset(&self.call_ok(request::SEARCH_OFFSET_BY_TIMESTAMP, |w| header.encode(w), &[])?)
    }

    /// Store time of the first message in milliseconds since 1970, -1 when there is none (code 32).
    pub fn earliest_store_time(&mut self, topic: &str, queue_id: i32) -> Result<i64, Error> {
        let header = GetEarliestMsgStoretimeRequestHeader { topic: text(topic), queue_id };
        let reply = self.call_ok(request::GET_EARLIEST_MSG_STORETIME, |w| header.encode(w), &[])?;
        GetEarliestMsgStoretimeResponseHeader::decode(&reply.header().fields)
            .map(|header| header.timestamp)
            .map_err(Error::protocol)
    }

    /// What a group has consumed of a queue (code 14); `None` when nothing is stored.
    pub fn consumer_offset(
        &mut self,
        group: &str,
        topic: &str,
        queue_id: i32,
    ) -> Result<Option<i64>, Error> {
        let header = QueryConsumerOffsetRequestHeader {
            consumer_group: text(group),
            topic: text(topic),
            queue_id,
            set_zero_if_not_found: None,
        };
        let reply = self.call(request::QUERY_CONSUMER_OFFSET, |w| header.encode(w), &[])?;
        if reply.code() == response::QUERY_NOT_FOUND {
            return Ok(None);
        }
        offset(&reply.success()?).map(Some)
    }

    /// Stores the next index a group will consume and waits for the answer (code 15).
    pub fn update_consumer_offset(
        &mut self,
        group: &str,
        topic: &str,
        queue_id: i32,
        commit_offset: i64,
    ) -> Result<(), Error> {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: text(group),
            topic: text(topic),
            queue_id,
            commit_offset,
        };
        self.call_ok(request::UPDATE_CONSUMER_OFFSET, |w| header.encode(w), &[]).map(drop)
    }

    /// Like `update_consumer_offset`, without an answer, as clients do on their timer.
    pub fn update_consumer_offset_oneway(
        &mut self,
        group: &str,
        topic: &str,
        queue_id: i32,
        commit_offset: i64,
    ) -> Result<(), Error> {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: text(group),
            topic: text(topic),
            queue_id,
            commit_offset,
        };
        self.oneway(request::UPDATE_CONSUMER_OFFSET, |w| header.encode(w), &[])
    }
}

/// Membership of groups.
impl Connection {
    /// Announces the groups of a client (code 34).
    pub fn heartbeat(&mut self, data: &HeartbeatData) -> Result<Reply, Error> {
        let mut bytes = Vec::new();
        json::write_default(&mut bytes, data);
        self.call_ok(request::HEART_BEAT, |_| {}, &bytes)
    }

    /// Announces one producer group.
    pub fn heartbeat_producer(&mut self, client_id: &str, group: &str) -> Result<Reply, Error> {
        let group_name = group.to_owned();
        self.heartbeat(&HeartbeatData {
            client_id: client_id.to_owned(),
            producer_data_set: vec![ProducerData { group_name }],
            ..HeartbeatData::default()
        })
    }

    /// Announces one consumer; its subscription is new as of now.
    pub fn heartbeat_consumer(&mut self, member: &ConsumerMember<'_>) -> Result<Reply, Error> {
        self.heartbeat(&member.heartbeat(wall_ms()))
    }

    /// Leaves groups (code 35).
    pub fn unregister(
        &mut self,
        client_id: &str,
        producer_group: Option<&str>,
        consumer_group: Option<&str>,
    ) -> Result<(), Error> {
        let header = UnregisterClientRequestHeader {
            client_id: text(client_id),
            producer_group: producer_group.map(text),
            consumer_group: consumer_group.map(text),
        };
        self.call_ok(request::UNREGISTER_CLIENT, |w| header.encode(w), &[]).map(drop)
    }

    /// Client ids of a group (code 38); refused with 1 when it has none.
    pub fn consumer_ids(&mut self, group: &str) -> Result<Vec<String>, Error> {
        let header = GetConsumerListByGroupRequestHeader { consumer_group: text(group) };
        let code = request::GET_CONSUMER_LIST_BY_GROUP;
        let reply = self.call_ok(code, |w| header.encode(w), &[])?;
        let list: ConsumerIdList = json::from_slice(reply.body()).map_err(Error::protocol)?;
        Ok(list.consumer_id_list)
    }
}

fn offset(reply: &Reply) -> Result<i64, Error> {
    let header = OffsetResponseHeader::decode(&reply.header().fields);
    header.map(|header| header.offset).map_err(Error::protocol)
}

/// Milliseconds since 1970.
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
