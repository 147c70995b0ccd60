//! Consumer groups: 200, 225, 201, 207, 352, and creation on first use. Java: AdminBrokerProcessor.

use crate::app::{Broker, Host};
use crate::groups::{GROUPS_MAX, default_group};
use crate::handlers::meta::change::{Change, publish};
use crate::handlers::meta::topic_rules::{GROUP_BYTES_MAX, is_group_name};
use crate::handlers::meta::{Meta, concluded, success_bytes, unreadable};
use crate::handlers::{Outcome, Request};
use crate::refusal::Refusal;
use crate::scatter::Then;
use shard::Cx;
use std::sync::Arc;
use store::queues::QUEUE_ID_MAX;
use wire::body::broker::{
    SubscriptionGroupConfig, SubscriptionGroupList, SubscriptionGroupWrapper,
};
use wire::codes::response;
use wire::json;
use wire::reply::FrameWriter;
use wire::req::client::{
    DeleteSubscriptionGroupRequestHeader, GetSubscriptionGroupConfigRequestHeader,
};

/// A group that is used: the one that exists, or a new one if the rules allow it.
pub(crate) fn find_or_make(
    meta: &Meta,
    name: &str,
    changes: &mut Vec<Change>,
) -> Option<Arc<SubscriptionGroupConfig>> {
    if let Some(group) = meta.groups.get(name.as_bytes()) {
        return Some(Arc::clone(group));
    }
    if !meta.auto_create_group || !is_group_name(name) {
        return None;
    }
    if meta.groups.len() >= GROUPS_MAX {
        tracing::warn!("group {name} is not made: the broker has {GROUPS_MAX} groups, the limit");
        return None;
    }
    tracing::info!("group {name} is made on first use");
    let group = Arc::new(default_group(name));
    changes.push(Change::Group(Arc::clone(&group)));
    Some(group)
}

/// A shard saw a group for the first time.
pub(crate) fn on_wanted<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, name: &[u8]) {
    let mut changes = Vec::new();
    let name = String::from_utf8_lossy(name);
    find_or_make(&broker.meta, &name, &mut changes);
    publish(broker, cx, changes, Then::Nothing);
}

fn check(config: &SubscriptionGroupConfig) -> Result<(), Refusal> {
    let bad = |remark: String| Err(Refusal::new(response::INVALID_PARAMETER, remark));
    let name = &config.group_name;
    if !is_group_name(name) {
        return bad(format!(
            "groupName {name:?} is not 1 to {GROUP_BYTES_MAX} characters of ^[%|a-zA-Z0-9_-]+$"
        ));
    }
    let (queues, times) = (config.retry_queue_nums, config.retry_max_times);
    if !(0..=QUEUE_ID_MAX).contains(&queues) {
        return bad(format!("retryQueueNums is {queues}, allowed is 0 to {QUEUE_ID_MAX}"));
    }
    if times < -1 {
        return bad(format!("retryMaxTimes is {times}, allowed is -1 and more"));
    }
    Ok(())
}

/// Creates or replaces a group.
pub(crate) fn on_create<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let read = json::from_slice::<SubscriptionGroupConfig>(request.frame.body);
    let read = read.map_err(|error| unreadable(&error));
    concluded(read.and_then(|config| create(broker, cx, request, vec![config])))
}

/// Creates or replaces several groups.
pub(crate) fn on_create_list<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let read = json::from_slice::<SubscriptionGroupList>(request.frame.body);
    let read = read.map_err(|error| unreadable(&error));
    concluded(read.and_then(|list| create(broker, cx, request, list.group_config_list)))
}

fn create<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
    list: Vec<SubscriptionGroupConfig>,
) -> Result<Outcome, Refusal> {
    list.iter().try_for_each(check)?;
    let groups = &broker.meta.groups;
    let new = list.iter().filter(|config| groups.get(config.group_name.as_bytes()).is_none());
    let count = groups.len() + new.count();
    if count > GROUPS_MAX {
        let remark = format!("the broker would have {count} groups, the limit is {GROUPS_MAX}");
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    let mut changes = Vec::new();
    for config in list {
        let config = config.with_5x_defaults();
        let known = groups.get(config.group_name.as_bytes());
        if known.is_none_or(|known| **known != config) {
            tracing::info!("group {}: set by {}", config.group_name, request.peer.address);
            changes.push(Change::Group(Arc::new(config)));
        }
    }
    let then = Then::Reply { conn: request.conn, bytes: success_bytes(request, |_| {}) };
    publish(broker, cx, changes, then);
    Ok(Outcome::Done)
}

/// Deletes a group, with its offsets when asked to.
pub(crate) fn on_delete<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match DeleteSubscriptionGroupRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let name = header.group_name.to_cow();
    tracing::info!("group {name}: deleted by {}", request.peer.address);
    let group = Arc::from(name.as_bytes());
    let drops_offsets = header.drops_offsets();
    let then = Then::Reply { conn: request.conn, bytes: success_bytes(request, |_| {}) };
    publish(broker, cx, vec![Change::GroupRemoved { group, drops_offsets }], then);
    Outcome::Done
}

/// One group; asking for it is a use, too.
pub(crate) fn on_get<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match GetSubscriptionGroupConfigRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let name = header.group.to_cow();
    let mut changes = Vec::new();
    let Some(group) = find_or_make(&broker.meta, &name, &mut changes) else {
        let remark = "No group in this broker";
        return Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark).into();
    };
    let mut body = Vec::new();
    json::write_default(&mut body, &*group);
    if changes.is_empty() {
        request.reply(cx, |_| {}, &body);
    } else {
        let then = Then::Reply { conn: request.conn, bytes: success_with(request, &body) };
        publish(broker, cx, changes, then);
    }
    Outcome::Done
}

/// The frame of a successful answer with a body, for later; empty for a oneway request.
fn success_with(request: &Request<'_>, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !request.header.is_oneway() {
        let head = request.head(response::SUCCESS);
        let mut writer = FrameWriter::begin(&mut bytes, head).body();
        writer.bytes().extend_from_slice(body);
        writer.finish();
    }
    bytes
}

/// All groups, or a part of them when the request says which.
pub(crate) fn on_list<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let (from, count) = super::topic::part(request, "groupSeq", "maxGroupNum");
    let (version, forbidden) = {
        let home = broker.meta.home();
        (home.groups_version, home.forbidden.clone())
    };
    let groups = broker.meta.groups.sorted();
    let chosen = groups.iter().skip(from).take(count);
    let body = SubscriptionGroupWrapper {
        data_version: version,
        forbidden_table: Some(forbidden),
        subscription_group_table: chosen
            .map(|group| (group.group_name.clone(), (***group).clone()))
            .collect(),
    };
    let total = i64::try_from(groups.len()).unwrap_or(i64::MAX);
    let mut bytes = Vec::new();
    json::write_default(&mut bytes, &body);
    request.reply(cx, |writer| writer.field_i64("totalGroupNum", total), &bytes);
    Outcome::Done
}
