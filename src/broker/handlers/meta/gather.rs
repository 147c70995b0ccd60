//! Answers that need a part of every shard: the metadata shard asks all of them, itself too, and puts them together.

use crate::app::{Broker, Host};
use crate::handlers::meta::MetaMail;
use crate::handlers::meta::runtime::RuntimeInfo;
use crate::handlers::{Outcome, Request};
use crate::mail::BrokerMail;
use crate::refusal::Refusal;
use base::ids::{ConnId, ShardId};
use shard::Cx;
use shard::stages::Stages;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use store::Store;
use store::consume_queue::ConsumeQueue;
use wire::body::broker::{ConsumeOffset, ConsumeStats, TopicOffset, TopicStatsTable};
use wire::body::{ByQueue, MessageQueue};
use wire::codes::response;
use wire::ids::QueueId;
use wire::json;
use wire::message::MessageView;
use wire::reply::{FrameHead, FrameWriter};
use wire::req::client::{GetConsumeStatsRequestHeader, GetTopicStatsInfoRequestHeader};

/// What the metadata shard wants to know.
#[derive(Clone)]
pub enum Question {
    /// The state of a topic's queues.
    TopicStats(Arc<[u8]>),
    /// How far a group is in these topics.
    ConsumeStats {
        /// The group.
        group: Arc<[u8]>,
        /// The topics.
        topics: Arc<[Arc<[u8]>]>,
    },
    /// How long requests take to each stage.
    Stages,
}

/// One shard's part.
pub enum Answer {
    /// Queues that have or had messages.
    TopicStats(Vec<(i32, TopicOffset)>),
    /// The shard's queues of the topics.
    ConsumeStats(Vec<(Arc<[u8]>, i32, ConsumeOffset)>),
    /// The shard's histograms.
    Stages(Box<Stages>),
}

/// What has arrived.
pub(crate) enum Gathered {
    TopicStats { topic: Arc<[u8]>, queues: BTreeMap<i32, TopicOffset> },
    ConsumeStats(BTreeMap<(Arc<[u8]>, i32), ConsumeOffset>),
    Stages { told: Box<RuntimeInfo>, stages: Box<Stages> },
}

struct Gather {
    missing: usize,
    conn: ConnId,
    /// `None` for a oneway request.
    head: Option<FrameHead>,
    gathered: Gathered,
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
    let queues = (0..count).map(|queue| (queue, TopicOffset::default())).collect();
    let gathered = Gathered::TopicStats { topic: Arc::clone(&topic), queues };
    ask(broker, cx, request, gathered, &Question::TopicStats(topic));
    Outcome::Done
}

/// 208: how far a group is, in one topic or in all it has offsets or subscriptions for.
pub(crate) fn on_consume_stats<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match GetConsumeStatsRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let group = header.consumer_group.to_cow();
    let named = header.topic.map(|topic| topic.to_cow().into_owned()).unwrap_or_default();
    let home = broker.meta.home();
    let mut names = BTreeSet::new();
    if named.is_empty() {
        names.extend(home.offsets.topics_of(group.as_bytes()));
        let member = home.clients.group(&group);
        names.extend(member.iter().flat_map(|g| g.subscriptions.keys().map(|t| t.to_string())));
    } else {
        names.insert(named);
    }
    let known = names.iter().filter(|name| broker.topics.get(name.as_bytes()).is_some());
    let topics: Arc<[Arc<[u8]>]> = known.map(|name| Arc::from(name.as_bytes())).collect();
    let question = Question::ConsumeStats { group: Arc::from(group.as_bytes()), topics };
    ask(broker, cx, request, Gathered::ConsumeStats(BTreeMap::new()), &question);
    Outcome::Done
}

/// Asks all shards; the last answer completes the reply.
pub(crate) fn ask<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
    gathered: Gathered,
    question: &Question,
) {
    let missing = broker.shards;
    let gathers = &mut broker.meta.home().gathers;
    let ticket = gathers.next;
    gathers.next += 1;
    let head = (!request.header.is_oneway()).then(|| request.head(response::SUCCESS));
    gathers.open.insert(ticket, Gather { missing, conn: request.conn, head, gathered });
    for shard in 0..missing {
        let to = ShardId(u16::try_from(shard).expect("fewer than 65536 shards"));
        let question = question.clone();
        cx.mail(to, BrokerMail::Meta(MetaMail::Ask { ticket, question }));
    }
}

/// This shard's part.
pub(crate) fn answer<H: Host>(
    broker: &mut Broker,
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
        Question::ConsumeStats { group, topics } => {
            let mut list = Vec::new();
            for topic in topics.iter() {
                let count = broker.topics.get(topic).map_or(0, |t| t.config.read_queue_nums);
                let mine = (0..count).filter(|id| broker.is_mine(topic, QueueId(*id)));
                for id in mine.collect::<Vec<i32>>() {
                    let consumed = broker.offsets.get(topic, group, QueueId(id)).unwrap_or(0);
                    list.push((Arc::clone(topic), id, progress(cx.store(), topic, id, consumed)));
                }
            }
            Answer::ConsumeStats(list)
        }
        Question::Stages => Answer::Stages(Box::new(cx.stages().clone())),
    }
}

fn progress(store: &Store, topic: &[u8], id: i32, consumed: i64) -> ConsumeOffset {
    let queue = store.queues().find(topic, QueueId(id)).map(|no| store.queue(no));
    let last = queue.and_then(|q| store_time(store, q, consumed.checked_sub(1)?));
    ConsumeOffset {
        broker_offset: queue.map_or(0, ConsumeQueue::visible),
        consumer_offset: consumed,
        last_timestamp: last.unwrap_or(0),
        pull_offset: Some(consumed),
    }
}

/// The store time of a message, as long as its record is in memory.
fn store_time(store: &Store, queue: &ConsumeQueue, offset: i64) -> Option<i64> {
    let entry = queue.entry(offset)?;
    let bytes = store.tail(entry.phy, usize::try_from(entry.size).ok()?)?;
    let (view, _) = MessageView::parse(bytes).ok()?;
    Some(view.store_timestamp().0)
}

fn state(store: &Store, queue: &ConsumeQueue) -> TopicOffset {
    let last = queue.visible().checked_sub(1).and_then(|last| store_time(store, queue, last));
    TopicOffset {
        last_update_timestamp: last.unwrap_or(0),
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
    match (answer, &mut gather.gathered) {
        (Answer::TopicStats(part), Gathered::TopicStats { queues, .. }) => queues.extend(part),
        (Answer::ConsumeStats(part), Gathered::ConsumeStats(queues)) => {
            queues.extend(part.into_iter().map(|(topic, id, offset)| ((topic, id), offset)));
        }
        (Answer::Stages(part), Gathered::Stages { stages, .. }) => stages.merge(&part),
        (Answer::TopicStats(_), _) | (Answer::ConsumeStats(_), _) | (Answer::Stages(_), _) => {
            unreachable!("an answer fits its question")
        }
    }
    gather.missing -= 1;
    if gather.missing > 0 {
        return;
    }
    let gather = gathers.open.remove(&ticket).expect("found above");
    let Some(head) = gather.head else { return };
    let broker_name = &broker.settings.config.broker_name;
    let queue = |topic: &[u8], queue_id| MessageQueue {
        broker_name: broker_name.clone(),
        queue_id,
        topic: String::from_utf8_lossy(topic).into_owned(),
    };
    let mut writer = FrameWriter::begin(cx.output(gather.conn), head).body();
    match gather.gathered {
        Gathered::TopicStats { topic, queues } => {
            let rows = queues.into_iter().map(|(id, offset)| (queue(&topic, id), offset));
            let offset_table = ByQueue(rows.collect());
            let table = TopicStatsTable { offset_table, topic_put_tps: Some(0.0) };
            json::write_object_keys(writer.bytes(), &table);
        }
        Gathered::ConsumeStats(queues) => {
            let rows = queues.into_iter().map(|((topic, id), offset)| (queue(&topic, id), offset));
            let table = ConsumeStats { consume_tps: 0.0, offset_table: ByQueue(rows.collect()) };
            json::write_object_keys(writer.bytes(), &table);
        }
        Gathered::Stages { told, stages } => told.write(&stages, writer.bytes()),
    }
    writer.finish();
}
