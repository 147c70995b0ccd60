//! Replies of request-reply: 324 and 325 go to the producer that asked as 326, and to the log (`storeReplyMessageEnable`).
//!
//! The requester is named by a property of the reply, its client id; it must be on line as a producer on this broker. What
//! the replier is told is whether the requester took it. Java: ReplyMessageProcessor.

use crate::app::{Broker, Host};
use crate::handlers::meta::concluded;
use crate::handlers::meta::relay::{self, Ask, RelayFor, Said};
use crate::handlers::send::{self, choose_queue};
use crate::handlers::{Outcome, Request};
use crate::look::Look;
use crate::mail::BrokerMail;
use crate::put::{self, ClientAnswer, OwnMessage, PutFor, Replied};
use crate::refusal::Refusal;
use base::ids::ShardId;
use shard::Cx;
use wire::codes::{request, response};
use wire::ids::QueueId;
use wire::props::{self, Props};
use wire::req::control::ReplyMessageRequestHeader;
use wire::req::send::SendRequest;
use wire::sys_flag::{COMPRESSED, COMPRESSION_TYPE_MASK};
use wire::text::Text;

/// A reply on its way to whoever asked.
pub(crate) struct Pushing {
    answer: Replied,
    client_id: String,
    /// What is stored then; `None`: nothing.
    message: Option<Box<OwnMessage>>,
}

impl Pushing {
    /// What it takes in memory until the requester has answered.
    pub(crate) fn bytes(&self) -> usize {
        let message = self.message.as_ref().map_or(0, |message| message.bytes());
        size_of::<Pushing>() + self.client_id.len() + message
    }
}

/// 324, 325.
pub(crate) fn on_reply<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let outcome = concluded(begin(broker, cx, request));
    if let Outcome::Refuse(refusal) = &outcome {
        send::refuse(&broker.settings, cx, request, refusal);
        return Outcome::Done;
    }
    outcome
}

fn begin<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Result<Outcome, Refusal> {
    if broker.stopping {
        return Err(Refusal::stopping());
    }
    let sent = SendRequest::decode(request.header.code, &request.header.fields)?;
    let topic = sent.topic.to_cow();
    send::check_internal(topic.as_bytes())?;
    let Some(entry) = broker.topics.get(topic.as_bytes()) else {
        let frame = request.frame.bytes.to_vec();
        let (conn, peer) = (request.conn, request.peer);
        cx.mail(ShardId::META, BrokerMail::EnsureTopic { conn, peer, frame });
        return Ok(Outcome::Done);
    };
    send::check_permission(&broker.settings, entry)?;
    let queue_id = choose_queue(entry, &sent, request, cx.now.mono.0)?;
    let mut properties = Vec::new();
    if let Some(text) = &sent.properties {
        text.write_to(&mut properties);
    }
    send::check_message(&broker.settings, request, topic.as_bytes(), &properties)?;
    let config = &broker.settings.config;
    let region = config.region_id.as_bytes();
    props::set(&mut properties, props::MSG_REGION, region);
    let trace_on: &[u8] = if config.trace_on { b"true" } else { b"false" };
    props::set(&mut properties, props::TRACE_ON, trace_on);
    // Whoever reads it would unpack what is none: pushed all the same, not stored, as by 5.5.0.
    let has_inner_num = Look::at(&properties).has_inner_num;
    let is_stored = config.relaying.store_reply_message_enable && !has_inner_num;
    let message = is_stored.then(|| {
        Box::new(OwnMessage {
            topic: topic.as_bytes().to_vec(),
            queue_id,
            flag: sent.flag,
            sys_flag: stored_flag(sent.sys_flag),
            born_timestamp: sent.born_timestamp,
            born_host: request.peer.address,
            reconsume_times: sent.reconsume_times.unwrap_or(0),
            prepared_transaction_offset: 0,
            body: request.frame.body.to_vec(),
            properties: properties.clone(),
            is_due: true,
            creates: None,
        })
    });
    push(broker, cx, request, &sent, (queue_id, properties, message));
    Ok(Outcome::Done)
}

/// What the flag of a stored reply says: how to read its body, and nothing else. Java's says nothing.
fn stored_flag(sent: i32) -> i32 {
    let is_compressed = sent & COMPRESSED != 0;
    if is_compressed { sent & (COMPRESSED | COMPRESSION_TYPE_MASK) } else { 0 }
}

type Made = (QueueId, Vec<u8>, Option<Box<OwnMessage>>);

/// Finds the requester and sends it the reply.
fn push<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
    sent: &SendRequest<'_>,
    (queue_id, mut properties, message): Made,
) {
    let to = Props::new(&properties).get(props::REPLY_TO_CLIENT).unwrap_or_default();
    let client_id = String::from_utf8_lossy(to).into_owned();
    let (conn, opaque) = (request.conn, request.header.opaque);
    let is_oneway = request.header.is_oneway();
    let mut answer = Replied { conn, opaque, is_oneway, queue_id: queue_id.0, problem: None };
    if client_id.is_empty() {
        let key = props::REPLY_TO_CLIENT;
        answer.problem = Some(format!("reply message properties[{key}] is null"));
        return store(broker, cx, answer, message);
    }
    let Some(requester) = broker.meta.home().clients.find_producer(&client_id) else {
        let problem = format!("push reply message fail, channel of <{client_id}> not found.");
        tracing::warn!("{problem}");
        answer.problem = Some(problem);
        return store(broker, cx, answer, message);
    };
    let now = cx.now.wall.0;
    props::set(&mut properties, props::PUSH_REPLY_TIME, now.to_string().as_bytes());
    let born_host = request.peer.address.to_string();
    let store_host = broker.settings.store_host.to_string();
    let header = ReplyMessageRequestHeader {
        producer_group: sent.producer_group,
        topic: sent.topic,
        default_topic: sent.default_topic,
        default_topic_queue_nums: sent.default_topic_queue_nums,
        queue_id: sent.queue_id,
        sys_flag: sent.sys_flag,
        born_timestamp: sent.born_timestamp,
        flag: sent.flag,
        properties: Some(Text::plain(&properties)),
        reconsume_times: sent.reconsume_times,
        unit_mode: sent.unit_mode,
        born_host: Text::plain(born_host.as_bytes()),
        store_host: Text::plain(store_host.as_bytes()),
        store_timestamp: now,
    };
    let pushing = Pushing { answer, client_id, message };
    let ask = Ask {
        conn: requester,
        code: request::PUSH_REPLY_MESSAGE_TO_CLIENT,
        wait_ms: relay::ANSWER_MS,
        what: RelayFor::Reply(Box::new(pushing)),
    };
    relay::ask(broker, cx, ask, |writer| header.encode(writer), request.frame.body);
}

/// The requester took the reply, or did not.
pub(crate) fn on_pushed<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    pushing: Pushing,
    said: Said<'_>,
) {
    let Pushing { mut answer, client_id, message } = pushing;
    let why = match said {
        Ok(said) if said.header.code == response::SUCCESS => None,
        Ok(said) => {
            let remark = said.header.remark.map(|text| text.to_cow()).unwrap_or_default();
            Some(format!("it answered with code {}: {remark}", said.header.code))
        }
        Err(why) => Some(why.to_string()),
    };
    if let Some(why) = why {
        let problem = format!("push reply message to {client_id}fail. ({why})");
        tracing::warn!("{problem}");
        answer.problem = Some(problem);
    }
    store(broker, cx, answer, message);
}

/// Stores the reply if it is to be stored, and answers.
fn store<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    answer: Replied,
    message: Option<Box<OwnMessage>>,
) {
    match message {
        Some(message) => {
            put::put(broker, cx, message, PutFor::Client(ClientAnswer::Replied(answer)));
        }
        None => answer.write(&broker.settings, cx, None),
    }
}
