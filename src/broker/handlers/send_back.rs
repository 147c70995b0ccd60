//! Consumption that failed: messages sent back (36), and what consumers themselves send to a retry topic.
//!
//! The message goes to the group's retry topic, with a delay, or after too many tries to its dead letter topic; both are
//! made when they are needed. Java: `AbstractSendMessageProcessor.consumerSendMsgBack`, `SendMessageProcessor.handleRetryAndDLQ`.

use crate::app::{Broker, Host};
use crate::cold;
use crate::fetch::Fetch;
use crate::handlers::meta::topic_rules::{DLQ_PREFIX, FAQ, RETRY_PREFIX, own_topic, retry_topic};
use crate::handlers::{Outcome, Request};
use crate::mail::{FoundRecord, shard_of};
use crate::put::{self, ClientAnswer, OwnMessage, PutFor};
use crate::refusal::Refusal;
use crate::topics::{PERM_READ, PERM_WRITE};
use base::ids::ConnId;
use shard::Cx;
use std::sync::Arc;
use wire::body::broker::SubscriptionGroupConfig;
use wire::codes::{MQ_VERSION_3_4_9, response};
use wire::ids::{PhyOffset, QueueId};
use wire::message::MessageView;
use wire::msg_id::MessageId;
use wire::props::{self, Props};
use wire::req::client::ConsumerSendMsgBackRequestHeader;
use wire::req::send::SendRequest;
use wire::text::Text;

/// Level of the first retry when the broker chooses; each one later is a level higher.
const FIRST_RETRY_LEVEL: i64 = 3;

/// What a consumer wants of a message that it could not consume.
pub(crate) struct Wish {
    conn: ConnId,
    opaque: i32,
    is_oneway: bool,
    group: String,
    /// Whose the consumer is and where it has the message from, as it says; for statistics.
    owner: String,
    origin_topic: String,
    delay_level: i64,
    /// Tries until the dead letter queue.
    times_max: i32,
    retry_queues: i32,
    unit_mode: bool,
    /// Chooses the queue.
    random: u64,
    offset: i64,
}

impl Wish {
    /// Whether there were enough tries.
    fn is_dead(&self, view: &MessageView<'_>) -> bool {
        view.reconsume_times() >= self.times_max || self.delay_level < 0
    }
}

/// 36: a message comes back.
pub(crate) fn on_send_back<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    match begin(broker, cx, request) {
        Ok(outcome) => outcome,
        Err(refusal) => refusal.into(),
    }
}

fn begin<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Result<Outcome, Refusal> {
    let header = ConsumerSendMsgBackRequestHeader::decode(&request.header.fields)?;
    let name = header.group.to_cow();
    let group = group(broker, &name)?;
    let permission = i32::try_from(broker.settings.config.broker_permission).unwrap_or(0);
    if permission & PERM_WRITE == 0 {
        let ip = &broker.settings.config.broker_ip1;
        let remark = format!("the broker[{ip}] sending message is forbidden");
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    if group.retry_queue_nums <= 0 {
        request.succeed(cx);
        return Ok(Outcome::Done);
    }
    check_writable(broker, &format!("{RETRY_PREFIX}{name}"))?;
    let place = PhyOffset::from_wire(header.offset);
    let place = place.filter(|place| place.stream().0 < broker.settings.streams);
    let Some(place) = place else { return Err(no_message(header.offset)) };
    let owner = shard_of(place.stream(), broker.shards);
    if owner != broker.me {
        return Ok(Outcome::Forward(owner));
    }
    let wish = Wish {
        conn: request.conn,
        opaque: request.header.opaque,
        is_oneway: request.header.is_oneway(),
        group: name.into_owned(),
        owner: told(request.header.fields.get("Owner")),
        origin_topic: told(header.origin_topic),
        delay_level: i64::from(header.delay_level),
        times_max: times_max(request, header.max_reconsume_times, &group),
        retry_queues: group.retry_queue_nums,
        unit_mode: header.unit_mode,
        random: cx.now.mono.0,
        offset: header.offset,
    };
    cold::begin_fetch(broker, cx, Fetch::send_back(wish, place));
    Ok(Outcome::Done)
}

/// As Java writes what may be missing.
fn told(text: Option<Text<'_>>) -> String {
    text.map_or_else(|| "null".to_owned(), |text| text.to_cow().into_owned())
}

/// The group, or the default that it is made with on first use.
fn group(broker: &Broker, name: &str) -> Result<Arc<SubscriptionGroupConfig>, Refusal> {
    let known = broker.meta.group(name);
    known.ok_or_else(|| {
        let remark = format!("subscription group not exist, {name} {FAQ}");
        Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
    })
}

/// Clients before 3.4.9 do not say how often they try.
fn times_max(request: &Request<'_>, told: Option<i32>, group: &SubscriptionGroupConfig) -> i32 {
    told.filter(|_| request.header.version >= MQ_VERSION_3_4_9).unwrap_or(group.retry_max_times)
}

fn check_writable(broker: &Broker, topic: &str) -> Result<(), Refusal> {
    match broker.topics.get(topic.as_bytes()) {
        Some(found) if found.config.perm & PERM_WRITE == 0 => {
            let remark = format!("the topic[{topic}] sending message is forbidden");
            Err(Refusal::new(response::NO_PERMISSION, remark))
        }
        Some(_) | None => Ok(()),
    }
}

fn no_message(offset: i64) -> Refusal {
    let remark = format!("look message by offset failed, {offset}");
    Refusal::new(response::SYSTEM_ERROR, remark)
}

/// The message was read, or is not there.
pub(crate) fn on_found<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    wish: Wish,
    record: Option<&FoundRecord>,
) {
    let answer = ClientAnswer::plain(wish.conn, wish.opaque, wish.is_oneway);
    let view = record.and_then(|record| MessageView::parse(&record.bytes).ok());
    let Some((view, _)) = view else {
        answer.refuse(cx, &no_message(wish.offset));
        return;
    };
    let message = Box::new(retry(&wish, &view));
    let topic = Props::new(view.properties()).get(props::RETRY_TOPIC).unwrap_or(view.topic());
    broker.traffic.sent_back(topic, &wish.group);
    if wish.is_dead(&view) {
        broker.traffic.died(&wish.owner, &wish.origin_topic, &wish.group);
    }
    put::put(broker, cx, message, PutFor::Client(answer));
}

/// Nothing can be read now.
pub(crate) fn refuse<H: Host>(cx: &mut Cx<'_, H>, wish: &Wish, why: &str) {
    let answer = ClientAnswer::plain(wish.conn, wish.opaque, wish.is_oneway);
    answer.refuse(cx, &Refusal::new(response::SYSTEM_ERROR, why.to_owned()));
}

fn retry(wish: &Wish, view: &MessageView<'_>) -> OwnMessage {
    let mut message = OwnMessage::like(view);
    let texts = &mut message.properties;
    let has = |key| Props::new(view.properties()).get(key).is_some();
    if !has(props::RETRY_TOPIC) {
        props::append(texts, props::RETRY_TOPIC, view.topic());
    }
    props::set(texts, props::WAIT, b"false");
    if !has(props::ORIGIN_MESSAGE_ID) {
        let mut id = Vec::new();
        MessageId { host: view.store_host(), phy: view.phy_offset() }.write_to(&mut id);
        props::append(texts, props::ORIGIN_MESSAGE_ID, &id);
    }
    let is_dead = wish.is_dead(view);
    let level = match wish.delay_level {
        _ if is_dead => 0,
        0 => FIRST_RETRY_LEVEL + i64::from(view.reconsume_times()),
        level => level,
    };
    props::remove(texts, props::DELAY);
    props::append_i64(texts, props::DELAY, level);
    message.reconsume_times = view.reconsume_times().saturating_add(1);
    if is_dead {
        to_dead_letters(&mut message, &wish.group);
    } else {
        let config = retry_topic(&wish.group, wish.retry_queues, wish.unit_mode);
        let chosen = wish.random >> 7 ^ u64::from(wish.opaque.unsigned_abs());
        let chosen = chosen % u64::from(config.write_queue_nums.unsigned_abs());
        message.queue_id = QueueId(i32::try_from(chosen).expect("below a queue count"));
        message.topic = config.topic_name.clone().into_bytes();
        message.creates = Some(Arc::new(config));
    }
    message
}

fn to_dead_letters(message: &mut OwnMessage, group: &str) {
    let topic = format!("{DLQ_PREFIX}{group}");
    message.creates = Some(Arc::new(own_topic(&topic, 1, PERM_READ | PERM_WRITE)));
    message.topic = topic.into_bytes();
    message.queue_id = QueueId(0);
}

/// A consumer sends to its retry topic itself. On the metadata shard, which knows who holds queues in order: the messages
/// of such a group are dead letters at once. `properties` are complete.
pub(crate) fn on_retry_send<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
    send: &SendRequest<'_>,
    place: (&[u8], QueueId),
    properties: &[u8],
) -> Result<Outcome, Refusal> {
    let (topic, queue_id) = place;
    let name = String::from_utf8_lossy(topic);
    let name = name.strip_prefix(RETRY_PREFIX).unwrap_or_default();
    let group = group(broker, name)?;
    let tries = send.reconsume_times.unwrap_or(0);
    let is_ordered = broker.meta.home().locks.holds_any(name, cx.now.mono);
    let is_dead = tries > times_max(request, send.max_reconsume_times, &group) || is_ordered;
    let mut message = OwnMessage {
        topic: topic.to_vec(),
        queue_id,
        flag: send.flag,
        sys_flag: send.sys_flag,
        born_timestamp: send.born_timestamp,
        born_host: request.peer.address,
        reconsume_times: tries,
        prepared_transaction_offset: 0,
        body: request.frame.body.to_vec(),
        properties: properties.to_vec(),
        is_due: false,
        creates: None,
    };
    if is_dead {
        props::set(&mut message.properties, props::DELAY, b"-1");
        to_dead_letters(&mut message, name);
    }
    let key = Props::new(properties).get(props::UNIQ_KEY).unwrap_or_default().to_vec();
    let (conn, opaque) = (request.conn, request.header.opaque);
    let answer = match request.header.is_oneway() {
        true => ClientAnswer::plain(conn, opaque, true),
        false => ClientAnswer::Sent { conn, opaque, queue_id: message.queue_id.0, key },
    };
    put::put(broker, cx, Box::new(message), PutFor::Client(answer));
    Ok(Outcome::Done)
}

/// Whether a send goes to a retry topic.
pub(crate) fn is_retry(topic: &[u8]) -> bool {
    topic.starts_with(RETRY_PREFIX.as_bytes())
}
