//! Entries of a queue (321), for tools that look into it. Java: `AdminBrokerProcessor.queryConsumeQueue`.
//!
//! The metadata shard adds what it knows of the group that is asked for, the shard of the queue reads the entries.
//! Limits: entries of an answer.

use crate::app::{Broker, Host};
use crate::cold;
use crate::handlers::{Outcome, Request};
use crate::mail::BrokerMail;
use crate::refusal::Refusal;
use base::ids::ConnId;
use shard::Cx;
use store::layout::consume_queue::CqEntry;
use store::layout::consume_queue_ext::is_address;
use store::queues::QueueNo;
use wire::body::control::{ConsumeQueueData, QueryConsumeQueueResponseBody};
use wire::codes::response;
use wire::ids::QueueId;
use wire::json;
use wire::reply::{FrameHead, FrameWriter};
use wire::req::control::QueryConsumeQueueRequestHeader;

/// Entries of an answer; who wants more asks again from the next one on.
const ENTRIES_MAX: i32 = 10_000;

/// What a client asks for.
pub struct EntriesAsk {
    conn: ConnId,
    head: FrameHead,
    topic: String,
    queue: QueueId,
    index: i64,
    count: i32,
    body: QueryConsumeQueueResponseBody,
}

/// An answer in the making, on the shard of the queue.
pub(crate) struct Listing {
    ask: Box<EntriesAsk>,
    pub(crate) queue: QueueNo,
    /// The entry that comes next.
    pub(crate) next: i64,
    /// The first one that is not wanted.
    pub(crate) end: i64,
}

/// 321, on the metadata shard.
pub(crate) fn on_query<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match QueryConsumeQueueRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    if request.header.is_oneway() {
        return Outcome::Done;
    }
    let topic = header.topic.to_cow().into_owned();
    let queue = QueueId(header.queue_id);
    if queue.0 < 0 {
        return missing(&topic, queue).into();
    }
    let mut body = QueryConsumeQueueResponseBody::default();
    if let Some(group) = header.consumer_group {
        let group = group.to_cow();
        let home = broker.meta.home();
        let found = home.clients.group(&group);
        let wanted = found.and_then(|found| found.subscriptions.get(&topic)).cloned();
        body.filter_data = Some(match wanted {
            Some(_) => home.filters.text(&topic, &group),
            None => format!("{group}@{topic} is not online!"),
        });
        body.subscription_data = wanted;
    }
    let to = broker.owner(topic.as_bytes(), queue);
    let (conn, head) = (request.conn, request.head(response::SUCCESS));
    let (index, count) = (header.index, header.count.min(ENTRIES_MAX));
    let ask = EntriesAsk { conn, head, topic, queue, index, count, body };
    cx.mail(to, BrokerMail::Entries(Box::new(ask)));
    Outcome::Done
}

fn missing(topic: &str, queue: QueueId) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, format!("{}@{topic} is not exist!", queue.0))
}

/// The same on the shard of the queue.
pub(crate) fn on_mail<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, mut ask: Box<EntriesAsk>) {
    let store = cx.store();
    let Some(no) = store.queues().find(ask.topic.as_bytes(), ask.queue) else {
        let refusal = missing(&ask.topic, ask.queue);
        refuse(cx, &ask, &refusal);
        return;
    };
    let queue = store.queue(no);
    let (min, visible) = (queue.min(), queue.visible());
    ask.body.min_queue_index = min;
    ask.body.max_queue_index = visible;
    if !(min..visible).contains(&ask.index) {
        // As Java: no body, and a remark beside success.
        let mut writer = FrameWriter::begin(cx.output(ask.conn), ask.head);
        writer
            .remark(&format!("Index {} of {}@{} is not exist!", ask.index, ask.queue.0, ask.topic));
        writer.finish();
        return;
    }
    let (next, end) = (ask.index, ask.index.saturating_add(i64::from(ask.count)).min(visible));
    cold::begin_listing(broker, cx, Listing { ask, queue: no, next, end });
}

fn refuse<H: Host>(cx: &mut Cx<'_, H>, ask: &EntriesAsk, refusal: &Refusal) {
    let head = FrameHead { code: refusal.code, ..ask.head };
    let mut writer = FrameWriter::begin(cx.output(ask.conn), head);
    writer.remark(&refusal.remark);
    writer.finish();
}

impl Listing {
    /// Takes the entries that come next.
    pub(crate) fn take(&mut self, entries: impl Iterator<Item = CqEntry>) {
        let room = usize::try_from(self.end - self.next).unwrap_or(0);
        for entry in entries.take(room) {
            let address = Some(entry.tags_code).filter(|code| is_address(*code));
            self.ask.body.queue_data.push(ConsumeQueueData {
                physic_offset: entry.phy.to_wire(),
                physic_size: i32::try_from(entry.size).unwrap_or(i32::MAX),
                tags_code: entry.tags_code,
                msg: address.map(|at| format!("the tags code is in the extension, at {at}")),
                ..ConsumeQueueData::default()
            });
            self.next += 1;
        }
    }

    /// Answers.
    pub(crate) fn finish<H: Host>(self, cx: &mut Cx<'_, H>) {
        if cx.is_full(self.ask.conn) {
            let why = "stage received: the connection does not take the answers it has asked for";
            self.refuse(cx, why);
            return;
        }
        let mut body = Vec::new();
        json::write_default(&mut body, &self.ask.body);
        let mut writer = FrameWriter::begin(cx.output(self.ask.conn), self.ask.head).body();
        writer.bytes().extend_from_slice(&body);
        writer.finish();
    }

    /// Answers that the entries cannot be read.
    pub(crate) fn refuse<H: Host>(&self, cx: &mut Cx<'_, H>, why: &str) {
        refuse(cx, &self.ask, &Refusal::new(response::SYSTEM_ERROR, why.to_owned()));
    }
}
