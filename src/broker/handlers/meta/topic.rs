//! Topics: creation on first use, 17, 18, 215, 21, 351, 305, 300. Java: AdminBrokerProcessor, TopicConfigManager.

use crate::app::{Broker, Host};
use crate::handlers::meta::change::{Change, publish};
use crate::handlers::meta::clean::NotNoted;
use crate::handlers::meta::topic_rules::{
    self, AttributeChange, FAQ, FirstSend, RETRY_PREFIX, TOPICS_MAX,
};
use crate::handlers::meta::{concluded, group, success_bytes, unreadable};
use crate::handlers::{Outcome, Request};
use crate::refusal::Refusal;
use crate::scatter::Then;
use base::ids::ConnId;
use serde::Serialize;
use shard::{Cx, Peer};
use std::collections::BTreeSet;
use std::sync::Arc;
use wire::body::register::{TopicConfig, TopicConfigList, TopicConfigSerializeWrapper};
use wire::body::{DataVersion, Table, TopicList};
use wire::codes::response;
use wire::header::Header;
use wire::json;
use wire::req::client::{
    CreateTopicRequestHeader, DeleteTopicRequestHeader, GetTopicConfigRequestHeader,
};
use wire::req::send::SendRequest;

/// A send to a topic that does not exist: creates it by Java's rules and lets the request go on, or refuses.
pub(crate) fn ensure<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    conn: ConnId,
    peer: Peer,
    frame: Vec<u8>,
) {
    let mut changes = Vec::new();
    let refusal = {
        let Ok(Some((view, _))) = wire::frame::split(&frame) else { return };
        let Ok(header) = Header::decode(&view) else { return };
        let request = Request { conn, peer, header, frame: &view };
        match made_by_send(broker, &request, &mut changes) {
            Ok(()) => None,
            Err(refusal) => {
                let settings = Arc::clone(&broker.settings);
                crate::handlers::send::refuse(&settings, cx, &request, &refusal);
                Some(refusal)
            }
        }
    };
    let then = match refusal {
        None => Then::Redispatch { conn, peer, frame },
        Some(_) => Then::Nothing,
    };
    publish(broker, cx, changes, then);
}

fn made_by_send(
    broker: &Broker,
    request: &Request<'_>,
    changes: &mut Vec<Change>,
) -> Result<(), Refusal> {
    let send = SendRequest::decode(request.header.code, &request.header.fields)?;
    let name = send.topic.to_cow();
    if broker.topics.get(name.as_bytes()).is_some() {
        return Ok(());
    }
    topic_rules::check_topic_name(&name)?;
    if let Some(group) = name.strip_prefix(RETRY_PREFIX)
        && group::find_or_make(&broker.meta, group, changes).is_none()
    {
        let remark = format!("subscription group not exist, {group} {FAQ}");
        return Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    let default_topic = send.default_topic.map(|text| text.to_cow()).unwrap_or_default();
    let first = FirstSend {
        topic: &name,
        default_topic: &default_topic,
        queues: send.default_topic_queue_nums,
        is_unit: send.unit_mode == Some(true),
    };
    let config = topic_rules::inherit(&broker.topics, &broker.settings, &first)?;
    check_room(broker, 1)?;
    tracing::info!(
        "topic {name}: made by a send from {} with {} queues, after {default_topic}",
        request.peer.address,
        config.write_queue_nums
    );
    changes.push(Change::Topic(Arc::new(config)));
    Ok(())
}

/// Refuses more topics than the limit.
pub(crate) fn check_room(broker: &Broker, more: usize) -> Result<(), Refusal> {
    let count = broker.topics.len() + more;
    if count > TOPICS_MAX {
        let remark = format!("the broker would have {count} topics, the limit is {TOPICS_MAX}");
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    Ok(())
}

/// Creates or changes a topic.
pub(crate) fn on_create<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    concluded(create(broker, cx, request))
}

fn create<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Result<Outcome, Refusal> {
    let header = CreateTopicRequestHeader::decode(&request.header.fields)?;
    let attributes = header.attributes.map(|text| text.to_cow()).unwrap_or_default();
    let filter = header.topic_filter_type.map(|text| text.to_cow()).unwrap_or_default();
    let wish = TopicConfig {
        attributes: None,
        order: header.order,
        perm: header.perm,
        read_queue_nums: header.read_queue_nums,
        topic_filter_type: topic_rules::filter_type(&filter),
        topic_name: header.topic.to_cow().into_owned(),
        topic_sys_flag: header.topic_sys_flag.unwrap_or(0),
        write_queue_nums: header.write_queue_nums,
    };
    let changes = topic_rules::parse_attributes(&attributes)?;
    let config = settled_config(broker, wish, &changes)?;
    set_topics(broker, cx, request, vec![config])
}

/// Creates or changes several topics: all, or none when one of them cannot be.
pub(crate) fn on_create_list<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let list: TopicConfigList = match json::from_slice(request.frame.body) {
        Ok(list) => list,
        Err(error) => return unreadable(&error).into(),
    };
    let mut configs = Vec::new();
    for mut wish in list.topic_config_list {
        let changes = listed_attributes(wish.attributes.take());
        let config = changes.and_then(|changes| settled_config(broker, wish, &changes));
        match config {
            Ok(config) => configs.push(config),
            Err(refusal) => return refusal.into(),
        }
    }
    concluded(set_topics(broker, cx, request, configs))
}

/// In a body the sign of a change is part of the key.
fn listed_attributes(table: Option<Table<String>>) -> Result<Vec<AttributeChange>, Refusal> {
    let change =
        |(key, value): (String, String)| match (key.strip_prefix('+'), key.strip_prefix('-')) {
            (Some(key), _) => Ok((key.to_owned(), Some(value))),
            (None, Some(key)) => Ok((key.to_owned(), None)),
            (None, None) => {
                let remark = format!("attribute {key:?} begins with neither + nor -");
                Err(Refusal::new(response::SYSTEM_ERROR, remark))
            }
        };
    table.unwrap_or_default().0.into_iter().map(change).collect()
}

fn settled_config(
    broker: &mut Broker,
    mut wish: TopicConfig,
    changes: &[AttributeChange],
) -> Result<TopicConfig, Refusal> {
    topic_rules::check_topic_name(&wish.topic_name)?;
    broker.meta.home().system.check_not_system(&wish.topic_name)?;
    topic_rules::check_config(&wish)?;
    let known = broker.topics.get(wish.topic_name.as_bytes());
    let none = Table::default();
    let old = known.map(|topic| topic.config.attributes.as_ref().unwrap_or(&none));
    wish.attributes = Some(topic_rules::alter_attributes(old, changes)?);
    Ok(wish)
}

fn set_topics<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
    configs: Vec<TopicConfig>,
) -> Result<Outcome, Refusal> {
    let mut changes = Vec::new();
    let mut new = 0;
    for config in configs {
        let known = broker.topics.get(config.topic_name.as_bytes());
        if known.is_some_and(|topic| *topic.config == config) {
            continue;
        }
        new += usize::from(known.is_none());
        tracing::info!(
            "topic {}: set by {} to {} read and {} write queues, perm {}",
            config.topic_name,
            request.peer.address,
            config.read_queue_nums,
            config.write_queue_nums,
            config.perm
        );
        changes.push(Change::Topic(Arc::new(config)));
    }
    check_room(broker, new)?;
    let then = Then::Reply { conn: request.conn, bytes: success_bytes(request, |_| {}) };
    publish(broker, cx, changes, then);
    Ok(Outcome::Done)
}

/// Deletes a topic with its queues and offsets. One that does not exist is deleted already.
pub(crate) fn on_delete<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match DeleteTopicRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let name = header.topic.to_cow();
    if name.trim().is_empty() {
        let remark = "The specified topic is blank.";
        return Refusal::new(response::INVALID_PARAMETER, remark).into();
    }
    if let Err(refusal) = broker.meta.home().system.check_not_system(&name) {
        return refusal.into();
    }
    let mut changes = Vec::new();
    let not_noted = NotNoted::default();
    if broker.topics.get(name.as_bytes()).is_some() {
        tracing::info!("topic {name}: deleted by {}", request.peer.address);
        let topic = Arc::from(name.as_bytes());
        changes.push(Change::TopicRemoved { topic, not_noted: Arc::clone(&not_noted) });
    }
    let bytes = success_bytes(request, |_| {});
    let then = Then::ReplyAfterJobs { conn: request.conn, bytes, not_noted };
    publish(broker, cx, changes, then);
    Outcome::Done
}

/// Which part of a table a request asks for: 5.x's tools fetch large tables in parts.
pub(crate) fn part(request: &Request<'_>, from: &str, count: &str) -> (usize, usize) {
    let number = |key: &str| {
        let value = request.header.fields.get(key)?.parse_i32().ok()?;
        usize::try_from(value).ok()
    };
    (number(from).unwrap_or(0), number(count).filter(|&n| n > 0).unwrap_or(usize::MAX))
}

/// All topics, or a part of them when the request says which.
pub(crate) fn on_list<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let (from, count) = part(request, "topicSeq", "maxTopicNum");
    let data_version = broker.meta.home().topics_version;
    let topics = sorted(broker);
    let chosen = topics.iter().skip(from).take(count);
    let body = wrapper(data_version, chosen.map(|config| (**config).clone()));
    let total = i64::try_from(topics.len()).unwrap_or(i64::MAX);
    let mut bytes = Vec::new();
    json::write_default(&mut bytes, &body);
    request.reply(cx, |writer| writer.field_i64("totalTopicNum", total), &bytes);
    Outcome::Done
}

/// Every topic, sorted by name.
pub(crate) fn sorted(broker: &Broker) -> Vec<Arc<TopicConfig>> {
    let mut list: Vec<_> = broker.topics.iter().map(|topic| Arc::clone(&topic.config)).collect();
    list.sort_unstable_by(|a, b| a.topic_name.cmp(&b.topic_name));
    list
}

/// The table as 5.5.0 writes it; there are no static topics.
pub(crate) fn wrapper(
    data_version: DataVersion,
    topics: impl Iterator<Item = TopicConfig>,
) -> TopicConfigSerializeWrapper {
    let mapping = DataVersion { state_version: Some(0), ..DataVersion::default() };
    TopicConfigSerializeWrapper {
        data_version,
        mapping_data_version: Some(mapping),
        topic_config_table: topics.map(|config| (config.topic_name.clone(), config)).collect(),
        topic_queue_mapping_detail_map: Some(Table::default()),
        topic_queue_mapping_info_map: Some(Table::default()),
    }
}

/// One topic.
pub(crate) fn on_get<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match GetTopicConfigRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let name = header.topic.to_cow();
    let Some(topic) = broker.topics.get(name.as_bytes()) else {
        let remark = format!("No topic in this broker. topic: {name}");
        return Refusal::new(response::TOPIC_NOT_EXIST, remark).into();
    };
    let mut body = Vec::new();
    json::write_default(&mut body, &*topic.config);
    request.reply(cx, |_| {}, &body);
    Outcome::Done
}

/// The topics that belong to the broker.
pub(crate) fn on_system_list<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let topic_list = broker.meta.home().system.list();
    let mut body = Vec::new();
    json::write_default(&mut body, &TopicList { broker_addr: None, topic_list });
    request.reply(cx, |_| {}, &body);
    Outcome::Done
}

/// `GroupList`: the answer to 300.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupList {
    group_list: BTreeSet<String>,
}

/// The groups that consume a topic: on line, or with offsets.
pub(crate) fn on_consumed_by<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let topic = request.header.fields.get("topic").map(|text| text.to_cow()).unwrap_or_default();
    let home = broker.meta.home();
    let on_line = home.clients.groups();
    let on_line = on_line.filter(|(_, group)| group.subscriptions.contains_key(&*topic));
    let mut group_list: BTreeSet<String> = on_line.map(|(name, _)| name.to_string()).collect();
    group_list.extend(home.offsets.groups_of(&topic));
    let mut body = Vec::new();
    json::write_default(&mut body, &GroupList { group_list });
    request.reply(cx, |_| {}, &body);
    Outcome::Done
}
