//! Clients: 34, 35, 38, 46, 203, 204, and the notice 40. Java: ClientManageProcessor, ConsumerManageProcessor.

use crate::app::{Broker, Host};
use crate::clients::{Beat, Client, Member};
use crate::handlers::meta::change::{Change, publish};
use crate::handlers::meta::{
    concluded, group, relay, success_bytes, topic, topic_rules, unreadable,
};
use crate::handlers::{Outcome, Request};
use crate::refusal::Refusal;
use crate::scatter::Then;
use crate::subscriptions::{GroupSubscriptions, compile, is_tag_type};
use crate::tables::TableFile;
use base::ids::ConnId;
use base::time::Now;
use serde::Serialize;
use shard::Cx;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::body::broker::SubscriptionGroupConfig;
use wire::body::client::{
    CheckClientConfig, ConsumeFromWhere, ConsumeType, ConsumerData, ConsumerIdList, HeartbeatData,
    MessageModel, SubscriptionData,
};
use wire::body::register::TopicConfig;
use wire::codes::{request, response};
use wire::json;
use wire::reply::FrameWriter;
use wire::req::client::NotifyConsumerIdsChangedRequestHeader;
use wire::text::Text;

/// Expressions that changed are written after this time, as Java's broker writes them periodically.
const FILTERS_GATHER_MS: u64 = 10_000;

/// A heartbeat: memberships, subscriptions, producers.
pub(crate) fn on_heartbeat<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let data: HeartbeatData = match json::from_slice(request.frame.body) {
        Ok(data) => data,
        Err(error) => return unreadable(&error).into(),
    };
    let mut beating = Beating {
        conn: request.conn,
        client: Client {
            id: Arc::from(data.client_id.as_str()),
            language: request.header.language,
            version: request.header.version,
            address: request.peer.address,
        },
        beat: Beat {
            fingerprint: data.heartbeat_fingerprint.unwrap_or(0),
            without_sub: data.without_sub == Some(true),
        },
        changes: Vec::new(),
        is_sub_changed: data.heartbeat_fingerprint.unwrap_or(0) == 0,
    };
    let taken = beating.take_all(broker, cx, &data);
    let bytes = match taken {
        Ok(()) => success_bytes(request, |writer| {
            writer.field_bool("IS_SUPPORT_HEART_BEAT_V2", true);
            writer.field_bool("IS_SUB_CHANGE", beating.is_sub_changed);
        }),
        Err(problem) => {
            tracing::warn!(
                "heartbeat of {} from {}: {problem}",
                data.client_id,
                request.peer.address
            );
            refusal_bytes(request, &problem)
        }
    };
    publish(broker, cx, beating.changes, Then::Reply { conn: request.conn, bytes });
    Outcome::Done
}

fn refusal_bytes(request: &Request<'_>, problem: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !request.header.is_oneway() {
        let mut writer = FrameWriter::begin(&mut bytes, request.head(response::SYSTEM_ERROR));
        writer.remark(problem);
        writer.finish();
    }
    bytes
}

/// One heartbeat on its way through the tables.
struct Beating {
    conn: ConnId,
    client: Client,
    beat: Beat,
    changes: Vec<Change>,
    is_sub_changed: bool,
}

impl Beating {
    fn take_all<H: Host>(
        &mut self,
        broker: &mut Broker,
        cx: &mut Cx<'_, H>,
        data: &HeartbeatData,
    ) -> Result<(), String> {
        for consumer in &data.consumer_data_set {
            self.take_consumer(broker, cx, consumer)?;
        }
        let clients = &mut broker.meta.home().clients;
        for producer in &data.producer_data_set {
            clients.beat_producer(self.conn, &self.client, &producer.group_name, cx.now.mono)?;
        }
        Ok(())
    }

    /// Makes the retry topic of a group. The last heartbeat of any member says whether it is an order topic, as in Java.
    fn keep_retry_topic(
        &mut self,
        broker: &Broker,
        data: &ConsumerData,
        group: &SubscriptionGroupConfig,
    ) {
        let is_order_topic =
            |name: &str| broker.topics.get(name.as_bytes()).is_some_and(|topic| topic.config.order);
        let order = data.subscription_data_set.iter().any(|wish| is_order_topic(&wish.topic));
        let name = &group.group_name;
        let mut retry = topic_rules::retry_topic(name, group.retry_queue_nums, data.unit_mode);
        let known = broker.topics.get(retry.topic_name.as_bytes());
        if let Some(known) = known {
            if known.config.order != order {
                let config = TopicConfig { order, ..(*known.config).clone() };
                self.changes.push(Change::Topic(Arc::new(config)));
            }
            return;
        }
        retry.order = order;
        match topic::check_room(broker, 1) {
            Ok(()) => self.changes.push(Change::Topic(Arc::new(retry))),
            Err(refusal) => tracing::warn!("{}: {}", retry.topic_name, refusal.remark),
        }
    }

    /// A group that neither exists nor may be made is passed over, as in 5.x.
    fn take_consumer<H: Host>(
        &mut self,
        broker: &mut Broker,
        cx: &mut Cx<'_, H>,
        data: &ConsumerData,
    ) -> Result<(), String> {
        let name = &data.group_name;
        let Some(config) = group::find_or_make(&broker.meta, name, &mut self.changes) else {
            return Ok(());
        };
        self.keep_retry_topic(broker, data, &config);
        let clients = &mut broker.meta.home().clients;
        let effect =
            clients.beat_consumer(self.conn, &self.client, data, self.beat, cx.now.mono)?;
        self.is_sub_changed |= effect.is_sub_changed;
        if effect.is_snapshot_changed {
            self.changes.push(snapshot(broker, name, cx.now));
        }
        if effect.is_membership_changed {
            tracing::info!(
                "group {name}: client {} is on line or wants other topics",
                self.client.id
            );
            if config.notify_consumer_ids_changed_enable {
                notify(broker, cx, name);
            }
        }
        Ok(())
    }
}

/// A group's subscriptions as they are now.
fn snapshot(broker: &mut Broker, name: &str, now: Now) -> Change {
    let before = broker.meta.subscriptions.group(name.as_bytes()).map(Arc::clone);
    let home = broker.meta.home();
    let found = home.clients.group(name);
    let is_other = match found {
        Some(group) => home.filters.register(name, group.subscriptions.values(), now.wall),
        None => home.filters.unregister(name, now.wall),
    };
    if is_other {
        home.writes.touch(TableFile::Filters, now.mono.plus_ms(FILTERS_GATHER_MS));
    }
    let snapshot = found.map(|group| {
        Arc::new(GroupSubscriptions::new(group.subscriptions.values(), before.as_deref()))
    });
    let filters = home.filters.take_changes();
    Change::Subscriptions { group: Arc::from(name.as_bytes()), snapshot, filters }
}

/// Tells the members of a group that their number has changed.
fn notify<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, name: &str) {
    if !broker.settings.config.notify_consumer_ids_changed_enable {
        return;
    }
    let home = broker.meta.home();
    let Some(found) = home.clients.group(name) else { return };
    if found.message_model == MessageModel::Broadcasting {
        return;
    }
    let conns: Vec<ConnId> = found.members.iter().map(|member| member.conn).collect();
    let header =
        NotifyConsumerIdsChangedRequestHeader { consumer_group: Text::plain(name.as_bytes()) };
    for conn in conns {
        let code = request::NOTIFY_CONSUMER_IDS_CHANGED;
        relay::send_oneway(home, cx, conn, code, |writer| header.encode(writer), &[]);
    }
}

/// A member has gone: the others are told, or the group is off line.
fn after_leave<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, name: &str) -> Vec<Change> {
    let config = broker.meta.groups.get(name.as_bytes());
    let tells = config.is_none_or(|config| config.notify_consumer_ids_changed_enable);
    if broker.meta.home().clients.group(name).is_none() {
        return vec![snapshot(broker, name, cx.now)];
    }
    if tells {
        notify(broker, cx, name);
    }
    Vec::new()
}

/// A client leaves a consumer group, a producer group or both.
pub(crate) fn on_unregister<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let field = |key: &str| request.header.fields.get(key).map(|text| text.to_cow());
    let mut changes = Vec::new();
    let clients = &mut broker.meta.home().clients;
    if let Some(name) = field("producerGroup") {
        clients.leave_producer(request.conn, &name);
    }
    if let Some(name) = field("consumerGroup")
        && clients.leave_consumer(request.conn, &name)
    {
        let client = field("clientID").unwrap_or_default();
        tracing::info!("group {name}: client {client} has left");
        changes = after_leave(broker, cx, &name);
    }
    let bytes = success_bytes(request, |writer| writer.fields());
    publish(broker, cx, changes, Then::Reply { conn: request.conn, bytes });
    Outcome::Done
}

/// A connection has ended, on whatever shard; this is the metadata shard.
pub(crate) fn on_conn_closed<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, conn: ConnId) {
    relay::on_conn_closed(broker, cx, conn);
    let left = broker.meta.home().clients.drop_conn(conn);
    let mut changes = Vec::new();
    for name in left {
        tracing::info!("group {name}: connection {conn} of a member has ended");
        changes.extend(after_leave(broker, cx, &name));
    }
    if !changes.is_empty() {
        publish(broker, cx, changes, Then::Nothing);
    }
}

/// Ends what was silent for too long.
pub(crate) fn expire<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let timeout_ms = broker.settings.config.housekeeping.channel_expired_timeout_ms;
    let expired = broker.meta.home().clients.expire(cx.now.mono, timeout_ms);
    for conn in expired.conns {
        tracing::warn!("connection {conn}: no heartbeat for {timeout_ms} ms; closed");
        cx.close(conn);
    }
    let mut changes = Vec::new();
    for name in expired.groups {
        changes.extend(after_leave(broker, cx, &name));
    }
    if !changes.is_empty() {
        publish(broker, cx, changes, Then::Nothing);
    }
}

/// The client ids of a group's members.
pub(crate) fn on_consumer_list<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let name = match request.header.fields.get("consumerGroup") {
        Some(name) => name.to_cow(),
        None => {
            let remark = "the custom field <consumerGroup> is null";
            return Refusal::new(response::SYSTEM_ERROR, remark).into();
        }
    };
    let Some(found) = broker.meta.home().clients.group(&name) else {
        let remark = format!("no consumer for this group, {name}");
        return Refusal::new(response::SYSTEM_ERROR, remark).into();
    };
    let consumer_id_list = found.members.iter().map(|m| m.client.id.to_string()).collect();
    let mut body = Vec::new();
    json::write_default(&mut body, &ConsumerIdList { consumer_id_list });
    request.reply(cx, |writer| writer.fields(), &body);
    Outcome::Done
}

/// Whether the broker can evaluate a client's filter.
pub(crate) fn on_check_client<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    concluded(check_client(broker, request).map(|()| {
        request.succeed(cx);
        Outcome::Done
    }))
}

fn check_client(broker: &Broker, request: &Request<'_>) -> Result<(), Refusal> {
    let ask: CheckClientConfig =
        json::from_slice(request.frame.body).map_err(|error| unreadable(&error))?;
    let Some(sub) = ask.subscription_data else { return Ok(()) };
    if is_tag_type(sub.expression_type.as_deref()) {
        return Ok(());
    }
    let kind = sub.expression_type.unwrap_or_default();
    if !broker.settings.config.enable_property_filter {
        let remark = format!("The broker does not support consumer to filter message by {kind}");
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    let compiled = compile(&kind, &sub.sub_string);
    let failed = |why: String| Refusal::new(response::SUBSCRIPTION_PARSE_FAILED, why);
    compiled.map(|_| ()).map_err(failed)
}

/// `Connection`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionBody {
    client_addr: String,
    client_id: String,
    language: &'static str,
    version: i32,
}

/// `ConsumerConnection`: the answer to 203.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConsumerConnectionBody<'a> {
    connection_set: Vec<ConnectionBody>,
    consume_from_where: ConsumeFromWhere,
    consume_type: ConsumeType,
    message_model: MessageModel,
    subscription_table: &'a BTreeMap<String, SubscriptionData>,
}

/// `ProducerConnection`: the answer to 204.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProducerConnectionBody {
    connection_set: Vec<ConnectionBody>,
}

fn connections(members: &[Member]) -> Vec<ConnectionBody> {
    let body = |member: &Member| ConnectionBody {
        client_addr: member.client.address.to_string(),
        client_id: member.client.id.to_string(),
        language: member.client.language.name(),
        version: member.client.version,
    };
    members.iter().map(body).collect()
}

/// The members of a consumer group, with what the group wants.
pub(crate) fn on_consumer_connections<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let name = request.header.fields.get("consumerGroup").map(|text| text.to_cow());
    let name = name.unwrap_or_default();
    let Some(found) = broker.meta.home().clients.group(&name) else {
        let remark = format!("the consumer group[{name}] not online");
        return Refusal::new(response::CONSUMER_NOT_ONLINE, remark).into();
    };
    let mut body = Vec::new();
    json::write_default(
        &mut body,
        &ConsumerConnectionBody {
            connection_set: connections(&found.members),
            consume_from_where: found.consume_from_where,
            consume_type: found.consume_type,
            message_model: found.message_model,
            subscription_table: &found.subscriptions,
        },
    );
    request.reply(cx, |_| {}, &body);
    Outcome::Done
}

/// The members of a producer group.
pub(crate) fn on_producer_connections<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let name = request.header.fields.get("producerGroup").map(|text| text.to_cow());
    let name = name.unwrap_or_default();
    let Some(members) = broker.meta.home().clients.producers(&name) else {
        let remark = format!("the producer group[{name}] not exist");
        return Refusal::new(response::SYSTEM_ERROR, remark).into();
    };
    let mut body = Vec::new();
    json::write_default(
        &mut body,
        &ProducerConnectionBody { connection_set: connections(members) },
    );
    request.reply(cx, |_| {}, &body);
    Outcome::Done
}
