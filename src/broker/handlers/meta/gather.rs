//! Answers that need a part of every shard: the metadata shard asks all of them, itself too, and puts them together.

use crate::app::{Broker, Host};
use crate::handlers::meta::MetaMail;
use crate::handlers::{Outcome, Request};
use crate::mail::BrokerMail;
use crate::refusal::Refusal;
use base::ids::{ConnId, ShardId};
use shard::Cx;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use store::Store;
use store::consume_queue::ConsumeQueue;
use wire::body::broker::{TopicOffset, TopicStatsTable};
use wire::body::{ByQueue, MessageQueue};
use wire::codes::response;
use wire::json;
use wire::message::MessageView;
use wire::reply::{FrameHead, FrameWriter};
use wire::req::client::GetTopicStatsInfoRequestHeader;

/// What the metadata shard wants to know.
#[derive(Clone)]
pub enum Question {
    /// The state of a topic's queues.
    TopicStats(Arc<[u8]>),
}

/// One shard's part.
pub enum Answer {
    /// Queues that have or had messages.
    TopicStats(Vec<(i32, TopicOffset)>),
}

struct Gather {
    missing: usize,
    conn: ConnId,
    /// `None` for a oneway request.
    head: Option<FrameHead>,
    topic: Arc<[u8]>,
    queues: BTreeMap<i32, TopicOffset>,
}

/// Questions that wait for answers.
#[derive(Default)]
pub(crate) struct Gathers {
    open: HashMap<u64, Gather>,
    next: u64,
}

/// The state of a topic's queues.
pub(crate) fn on_topic_stats<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match GetTopicStatsInfoRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let name = header.topic.to_cow();
    let Some(topic) = broker.topics.get(name.as_bytes()) else {
        let remark = format!("topic[{name}] not exist");
        return Refusal::new(response::TOPIC_NOT_EXIST, remark).into();
    };
    let count = topic.config.write_queue_nums.max(topic.config.read_queue_nums);
    let topic: Arc<[u8]> = Arc::from(name.as_bytes());
    let shards = broker.shards;
    let gathers = &mut broker.meta.home().gathers;
    let ticket = gathers.next;
    gathers.next += 1;
    let head = (!request.header.is_oneway()).then(|| request.head(response::SUCCESS));
    let queues = (0..count).map(|queue| (queue, TopicOffset::default())).collect();
    let gather =
        Gather { missing: shards, conn: request.conn, head, topic: Arc::clone(&topic), queues };
    gathers.open.insert(ticket, gather);
    for shard in 0..shards {
        let to = ShardId(u16::try_from(shard).expect("fewer than 65536 shards"));
        let question = Question::TopicStats(Arc::clone(&topic));
        cx.mail(to, BrokerMail::Meta(MetaMail::Ask { ticket, question }));
    }
    Outcome::Done
}

/// This shard's part.
pub(crate) fn answer<H: Host>(
    _broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    question: &Question,
) -> Answer {
    match question {
        Question::TopicStats(topic) => {
            let store = cx.store();
            let queues = store.queues().iter().map(|(_, queue)| queue);
            let mine = queues.filter(|queue| *queue.topic == **topic);
            Answer::TopicStats(mine.map(|queue| (queue.id.0, state(store, queue))).collect())
        }
    }
}

/// The store time of the last message is known as long as its record is in memory.
fn state(store: &Store, queue: &ConsumeQueue) -> TopicOffset {
    let last = queue.visible().checked_sub(1).and_then(|last| queue.entry(last));
    let time = last.and_then(|entry| {
        let bytes = store.tail(entry.phy, usize::try_from(entry.size).ok()?)?;
        let (view, _) = MessageView::parse(bytes).ok()?;
        Some(view.store_timestamp().0)
    });
    TopicOffset {
        last_update_timestamp: time.unwrap_or(0),
        max_offset: queue.visible(),
        min_offset: queue.min(),
    }
}

/// A shard has answered; the last answer completes the reply.
pub(crate) fn on_answer<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    ticket: u64,
    answer: Answer,
) {
    let gathers = &mut broker.meta.home().gathers;
    let Some(gather) = gathers.open.get_mut(&ticket) else { return };
    match answer {
        Answer::TopicStats(queues) => gather.queues.extend(queues),
    }
    gather.missing -= 1;
    if gather.missing > 0 {
        return;
    }
    let gather = gathers.open.remove(&ticket).expect("found above");
    let Some(head) = gather.head else { return };
    let topic = String::from_utf8_lossy(&gather.topic).into_owned();
    let broker_name = &broker.settings.config.broker_name;
    let queue = |(queue_id, offset)| {
        let broker_name = broker_name.clone();
        (MessageQueue { broker_name, queue_id, topic: topic.clone() }, offset)
    };
    let table = TopicStatsTable {
        offset_table: ByQueue(gather.queues.into_iter().map(queue).collect()),
        topic_put_tps: Some(0.0),
    };
    let mut writer = FrameWriter::begin(cx.output(gather.conn), head).body();
    json::write_object_keys(writer.bytes(), &table);
    writer.finish();
}
