//! Whole tables and what is read from them: 43, 45, 308, 314, 328, 343, 345, and 317 on its first half of the way. Java:
//! AdminBrokerProcessor.
//!
//! Consumer offsets change on the shards that own the queues: a request that needs all of them is carried out when every shard
//! has handed over what changed.

use crate::app::{Broker, Host};
use crate::handlers::meta::change::{Change, publish};
use crate::handlers::meta::gather::{self, Gathered, Question};
use crate::handlers::meta::{concluded, stats, success_bytes};
use crate::handlers::{Outcome, Request};
use crate::refusal::Refusal;
use crate::scatter::Then;
use base::ids::ConnId;
use serde::Serialize;
use shard::{Cx, Peer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::body::broker::{ConsumerOffsetWrapper, DelayOffsetWrapper, TopicOffset};
use wire::body::control::{
    ProducerInfo, ProducerTableInfo, QueryCorrectionOffsetBody, QuerySubscriptionResponseBody,
};
use wire::body::{Table, TopicList};
use wire::codes::response;
use wire::frame::FRAME_BYTES_MAX;
use wire::header::Header;
use wire::json;
use wire::req::control::{
    CloneGroupOffsetRequestHeader, QueryCorrectionOffsetHeader,
    QuerySubscriptionByConsumerRequestHeader, QueryTopicsByConsumerRequestHeader,
};

/// Room in a frame for its header.
const HEADER_BYTES: usize = 4096;

/// What is carried out when the offsets are up to date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Offsets,
    Delays,
    Topics,
    Clone,
    Correction,
    BrokerStats,
}

/// A request that waits for the offsets.
pub(crate) struct Dump {
    what: What,
    conn: ConnId,
    peer: Peer,
    frame: Vec<u8>,
    /// First offset by queue, where it was asked for.
    min_offsets: BTreeMap<i32, i64>,
}

impl Dump {
    /// Takes what a shard says of the topic's queues.
    pub(crate) fn take_queues(&mut self, part: &[(i32, TopicOffset)]) {
        self.min_offsets.extend(part.iter().map(|(queue, state)| (*queue, state.min_offset)));
    }
}

fn wait<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
    what: What,
    question: &Question,
) -> Outcome {
    let dump = Dump {
        what,
        conn: request.conn,
        peer: request.peer,
        frame: request.frame.bytes.to_vec(),
        min_offsets: BTreeMap::new(),
    };
    gather::ask(broker, cx, request, Gathered::Dump(dump), question);
    Outcome::Done
}

/// All shards have handed over their offsets.
pub(crate) fn carry_out<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, dump: &Dump) {
    let Ok(Some((frame, _))) = wire::frame::split(&dump.frame) else { return };
    let Ok(header) = Header::decode(&frame) else { return };
    let request = Request { conn: dump.conn, peer: dump.peer, header, frame: &frame };
    let outcome = match dump.what {
        What::Offsets => all_offsets(broker, cx, &request),
        What::Delays => all_delays(broker, cx, &request),
        What::Topics => topics_of_group(broker, cx, &request),
        What::Clone => clone(broker, cx, &request),
        What::Correction => correction(broker, cx, &request, &dump.min_offsets),
        What::BrokerStats => stats::on_broker_consume_stats(broker, cx, &request),
    };
    if let Outcome::Refuse(refusal) = outcome {
        request.refuse(cx, &refusal);
    }
}

fn answer<H: Host, T: Serialize>(cx: &mut Cx<'_, H>, request: &Request<'_>, body: &T) -> Outcome {
    let mut bytes = Vec::new();
    json::write_default(&mut bytes, body);
    if bytes.len() + HEADER_BYTES > FRAME_BYTES_MAX {
        let remark = format!(
            "the answer has {} bytes, a frame takes {FRAME_BYTES_MAX}",
            bytes.len() + HEADER_BYTES
        );
        return Refusal::new(response::SYSTEM_ERROR, remark).into();
    }
    request.reply(cx, |_| {}, &bytes);
    Outcome::Done
}

/// 43: every consumer offset.
pub(crate) fn on_all_offsets<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    wait(broker, cx, request, What::Offsets, &Question::Offsets)
}

fn all_offsets<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, request: &Request<'_>) -> Outcome {
    let offsets = &broker.meta.home().offsets;
    let mut topics: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (group, topic) in offsets.pairs() {
        topics.entry(group).or_default().push(topic);
    }
    let mut table: Vec<(String, BTreeMap<i32, i64>)> = offsets
        .snapshot()
        .iter()
        .map(|(key, queues)| (String::from_utf8_lossy(key).into_owned(), (**queues).clone()))
        .collect();
    table.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let body = ConsumerOffsetWrapper {
        data_version: Some(offsets.version),
        group_topic_map: Some(topics.into_iter().collect()),
        offset_table: Table(table),
        pull_offset_table: Some(Table::default()),
    };
    answer(cx, request, &body)
}

/// 45: how far each delay level is.
pub(crate) fn on_all_delays<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    wait(broker, cx, request, What::Delays, &Question::Offsets)
}

fn all_delays<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, request: &Request<'_>) -> Outcome {
    let delays = &broker.meta.home().delays;
    let body = DelayOffsetWrapper {
        data_version: Some(delays.data_version.unwrap_or_default()),
        offset_table: delays.offset_table.clone(),
    };
    answer(cx, request, &body)
}

/// 343: topics that a group has offsets of.
pub(crate) fn on_topics_of_group<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    wait(broker, cx, request, What::Topics, &Question::Offsets)
}

fn topics_of_group<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match QueryTopicsByConsumerRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let group = header.group.to_cow();
    let topics: BTreeSet<String> = broker.meta.home().offsets.topics_of(group.as_bytes()).collect();
    let body = TopicList {
        broker_addr: Some(broker.settings.store_host.to_string()),
        topic_list: topics.into_iter().collect(),
    };
    answer(cx, request, &body)
}

/// 345: what a group on line wants of a topic.
pub(crate) fn on_subscription<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match QuerySubscriptionByConsumerRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let group = header.group.to_cow().into_owned();
    let topic = header.topic.map(|topic| topic.to_cow().into_owned());
    let found = broker.meta.home().clients.group(&group);
    let wanted =
        found.zip(topic.as_ref()).and_then(|(found, topic)| found.subscriptions.get(topic));
    let subscription_data = wanted.cloned();
    answer(cx, request, &QuerySubscriptionResponseBody { group, subscription_data, topic })
}

/// 328: producers on line.
pub(crate) fn on_producers<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let now = cx.now;
    let mut data: Vec<(String, Vec<ProducerInfo>)> = Vec::new();
    for (group, members) in broker.meta.home().clients.producer_groups() {
        let info = |member: &crate::clients::Member| {
            let silent_ms = i64::try_from(now.mono.since(member.last) / 1_000_000).unwrap_or(0);
            ProducerInfo {
                client_id: member.client.id.to_string(),
                language: member.client.language.name().to_owned(),
                last_update_timestamp: now.wall.0 - silent_ms,
                remote_ip: format!("/{}", member.client.address),
                version: member.client.version,
            }
        };
        data.push((group.to_string(), members.iter().map(info).collect()));
    }
    data.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    answer(cx, request, &ProducerTableInfo { data: Table(data) })
}

/// 317: how far all groups are.
pub(crate) fn on_broker_stats<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    wait(broker, cx, request, What::BrokerStats, &Question::Offsets)
}

/// 314: a group gets the offsets of another.
pub(crate) fn on_clone<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    wait(broker, cx, request, What::Clone, &Question::Offsets)
}

fn clone<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, request: &Request<'_>) -> Outcome {
    concluded(clone_offsets(broker, cx, request))
}

fn clone_offsets<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Result<Outcome, Refusal> {
    let header = CloneGroupOffsetRequestHeader::decode(&request.header.fields)?;
    let (from, to) = (header.src_group.to_cow(), header.dest_group.to_cow());
    if broker.meta.group_may_consume(to.as_bytes()).is_none() {
        let remark = format!("destGroup {to} does not exist");
        return Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    let named = header.topic.map(|topic| topic.to_cow().into_owned()).unwrap_or_default();
    let home = broker.meta.home();
    let mut topics: BTreeSet<String> = home.offsets.topics_of(from.as_bytes()).collect();
    if !named.trim().is_empty() {
        topics.retain(|topic| *topic == named);
    }
    if !header.offline
        && let Some(found) = home.clients.group(&from)
        && !found.subscriptions.is_empty()
    {
        topics.retain(|topic| found.subscriptions.contains_key(topic));
    }
    let group: Arc<[u8]> = Arc::from(to.as_bytes());
    let mut changes = Vec::new();
    for topic in topics.iter().filter(|topic| broker.topics.get(topic.as_bytes()).is_some()) {
        let home = broker.meta.home.as_ref().expect("requests of this family run at home");
        let offsets = home.offsets.queues_of(topic.as_bytes(), from.as_bytes());
        let offsets: Vec<(i32, i64)> = offsets.into_iter().flatten().collect();
        changes.push(Change::Offsets {
            topic: Arc::from(topic.as_bytes()),
            group: Arc::clone(&group),
            offsets: offsets.into(),
            is_reset: false,
        });
    }
    tracing::info!(
        "group {to} gets the offsets of {from} in {} topics, asked for by {}",
        changes.len(),
        request.peer.address
    );
    let then = Then::Reply { conn: request.conn, bytes: success_bytes(request, |_| {}) };
    publish(broker, cx, changes, then);
    Ok(Outcome::Done)
}

/// 308: where all groups but some are in a topic, per queue the least; the largest number where that is further than a
/// certain group.
pub(crate) fn on_correction<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match QueryCorrectionOffsetHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let topic = Arc::from(header.topic.to_cow().as_bytes());
    wait(broker, cx, request, What::Correction, &Question::TopicStats(topic))
}

fn correction<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
    min_offsets: &BTreeMap<i32, i64>,
) -> Outcome {
    let header = match QueryCorrectionOffsetHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let topic = header.topic.to_cow();
    let compared = header.compare_group.to_cow();
    let filtered = header.filter_groups.map(|groups| groups.to_cow()).unwrap_or_default();
    let filtered: Vec<&str> = filtered.split(',').collect();
    let offsets = &broker.meta.home().offsets;
    let mut least: BTreeMap<i32, i64> = BTreeMap::new();
    for group in offsets.groups_of(&topic).filter(|group| !filtered.contains(&group.as_str())) {
        let queues = offsets.queues_of(topic.as_bytes(), group.as_bytes());
        for (queue, offset) in queues.into_iter().flatten() {
            if offset >= min_offsets.get(&queue).copied().unwrap_or(0) {
                let known = least.entry(queue).or_insert(offset);
                *known = offset.min(*known);
            }
        }
    }
    let own = offsets.queues_of(topic.as_bytes(), compared.as_bytes());
    for (queue, offset) in own.into_iter().flatten() {
        if let Some(known) = least.get_mut(&queue).filter(|known| **known > offset) {
            *known = i64::MAX;
        }
    }
    answer(cx, request, &QueryCorrectionOffsetBody { correction_offsets: least })
}
