//! Answers that need a part of every shard: the metadata shard asks all of them, itself too, and puts them together.
//!
//! Every question makes the shards hand over their changed offsets first, so that the table at home is up to date then.

use crate::app::{Broker, Host};
use crate::handlers::meta::dump::{self, Dump};
use crate::handlers::meta::runtime::{RuntimeInfo, RuntimePart};
use crate::handlers::meta::times::{self, TimeOf, TimeWish};
use crate::handlers::meta::{MetaMail, stats};
use crate::handlers::{Outcome, Request};
use crate::mail::BrokerMail;
use crate::offsets;
use crate::refusal::Refusal;
use crate::traffic::StatPart;
use base::ids::{ConnId, ShardId};
use shard::Cx;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use store::consume_queue::ConsumeQueue;
use wire::body::broker::{ConsumeOffset, TopicOffset, TopicStatsTable};
use wire::body::{ByQueue, MessageQueue};
use wire::codes::response;
use wire::ids::QueueId;
use wire::json;
use wire::reply::{FrameHead, FrameWriter};
use wire::req::client::GetTopicStatsInfoRequestHeader;

/// A consumer group and a topic.
pub type Pair = (Arc<[u8]>, Arc<[u8]>);

/// What the metadata shard wants to know.
#[derive(Clone)]
pub enum Question {
    /// That the shard has handed over its offsets.
    Offsets,
    /// The state of a topic's queues.
    TopicStats(Arc<[u8]>),
    /// How far groups are in topics.
    Progress {
        /// Groups and topics.
        pairs: Arc<[Pair]>,
        /// Count the queues for producers, not those for consumers.
        for_writing: bool,
    },
    /// Store times in a topic's queues as a group sees them.
    Spans(Pair),
    /// A statistic.
    Stat {
        /// Its name.
        name: Arc<str>,
        /// What it is of.
        key: Arc<[u8]>,
    },
    /// Figures for runtime information.
    Runtime,
}

/// How far a group is in a queue.
pub struct Progress {
    /// Number of the pair in the question.
    pub(crate) pair: usize,
    /// The queue.
    pub(crate) queue: i32,
    /// Where the group and the queue are.
    pub(crate) offset: ConsumeOffset,
}

/// Store times in a queue, ms; -1 where there is no message.
pub struct Spans {
    /// The queue.
    pub(crate) queue: i32,
    /// Of the first message, the last one, the last one consumed, and the next one.
    pub(crate) times: [i64; 4],
}

/// One shard's part.
pub enum Answer {
    /// The offsets are handed over.
    Offsets,
    /// Queues that have or had messages, and messages stored per second.
    TopicStats(Vec<(i32, TopicOffset)>, f64),
    /// The shard's queues of the topics, and messages consumed per second for each pair.
    Progress(Vec<Progress>, Vec<f64>),
    /// The shard's queues.
    Spans(Vec<Spans>),
    /// A part of the statistic, if something was counted.
    Stat(Option<StatPart>),
    /// The shard's figures.
    Runtime(Box<RuntimePart>),
}

impl Answer {
    /// Takes a time that was looked for in files; `row` as the wish for it said.
    pub(crate) fn set_time(&mut self, row: usize, time: i64) {
        match self {
            Answer::TopicStats(rows, _) => {
                if let Some((_, offset)) = rows.get_mut(row) {
                    offset.last_update_timestamp = time;
                }
            }
            Answer::Progress(rows, _) => {
                if let Some(progress) = rows.get_mut(row) {
                    progress.offset.last_timestamp = time;
                }
            }
            Answer::Spans(rows) => {
                let spans = rows.get_mut(row / 4);
                if let Some(place) = spans.and_then(|spans| spans.times.get_mut(row % 4)) {
                    *place = time;
                }
            }
            Answer::Runtime(part) => part.earliest_ms = Some(time),
            Answer::Offsets | Answer::Stat(_) => unreachable!("they lack no times"),
        }
    }
}

/// What has arrived.
pub(crate) enum Gathered {
    /// The request is carried out when the offsets are up to date.
    Dump(Dump),
    TopicStats {
        topic: Arc<[u8]>,
        queues: BTreeMap<i32, TopicOffset>,
        per_second: f64,
    },
    Progress(stats::Gathering),
    Spans {
        topic: Arc<[u8]>,
        queues: BTreeMap<i32, [i64; 4]>,
    },
    Stat {
        name: Arc<str>,
        key: Arc<[u8]>,
        sum: Option<StatPart>,
    },
    Runtime {
        told: Box<RuntimeInfo>,
        sum: Box<RuntimePart>,
    },
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

/// 202: the state of a topic's queues.
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
    let gathered = Gathered::TopicStats { topic: Arc::clone(&topic), queues, per_second: 0.0 };
    ask(broker, cx, request, gathered, &Question::TopicStats(topic));
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

/// On each shard: its part, when it is complete.
pub(crate) fn on_ask<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    to: ShardId,
    ticket: u64,
    question: &Question,
) {
    offsets::hand_over(broker, cx, false);
    let (answer, wishes) = match question {
        Question::Offsets => (Answer::Offsets, Vec::new()),
        Question::TopicStats(topic) => topic_stats(broker, cx, topic),
        Question::Progress { pairs, for_writing } => progress(broker, cx, pairs, *for_writing),
        Question::Spans((group, topic)) => spans(broker, cx, group, topic),
        Question::Stat { name, key } => {
            broker.traffic.absorb(cx.store());
            let cluster = broker.settings.config.broker_cluster_name.as_bytes();
            (Answer::Stat(broker.traffic.part(name, key, cluster)), Vec::new())
        }
        Question::Runtime => {
            let (part, wishes) = RuntimePart::here(broker, cx);
            (Answer::Runtime(Box::new(part)), wishes)
        }
    };
    times::fill(broker, cx, to, ticket, (answer, wishes));
}

fn topic_stats<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    topic: &[u8],
) -> (Answer, Vec<TimeWish>) {
    broker.traffic.absorb(cx.store());
    let (mut rows, mut wishes) = (Vec::new(), Vec::new());
    for (no, queue) in cx.store().queues().iter().filter(|(_, queue)| *queue.topic == *topic) {
        let (min_offset, max_offset) = (queue.min(), queue.visible());
        if max_offset > min_offset {
            wishes.push(TimeWish { row: rows.len(), of: TimeOf::Message(no, max_offset - 1) });
        }
        rows.push((queue.id.0, TopicOffset { last_update_timestamp: 0, max_offset, min_offset }));
    }
    (Answer::TopicStats(rows, broker.traffic.put_rate(topic)), wishes)
}

fn progress<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    pairs: &[Pair],
    for_writing: bool,
) -> (Answer, Vec<TimeWish>) {
    broker.traffic.absorb(cx.store());
    let (mut rows, mut wishes, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for (pair, (group, topic)) in pairs.iter().enumerate() {
        rates.push(broker.traffic.get_rate(topic, group));
        let count = broker.topics.get(topic).map_or(0, |topic| match for_writing {
            true => topic.config.write_queue_nums,
            false => topic.config.read_queue_nums,
        });
        for queue in 0..count {
            if !broker.is_mine(topic, QueueId(queue)) {
                continue;
            }
            let consumed = broker.offsets.get(topic, group, QueueId(queue)).unwrap_or(0).max(0);
            let found = cx.store().queues().find(topic, QueueId(queue));
            if let Some(no) = found.filter(|_| consumed > 0) {
                wishes.push(TimeWish { row: rows.len(), of: TimeOf::Message(no, consumed - 1) });
            }
            let broker_offset = found.map_or(0, |no| cx.store().queue(no).visible());
            let offset = ConsumeOffset {
                broker_offset,
                consumer_offset: consumed,
                last_timestamp: 0,
                pull_offset: Some(consumed),
            };
            rows.push(Progress { pair, queue, offset });
        }
    }
    (Answer::Progress(rows, rates), wishes)
}

fn spans<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    group: &[u8],
    topic: &[u8],
) -> (Answer, Vec<TimeWish>) {
    let (mut rows, mut wishes) = (Vec::new(), Vec::new());
    let count = broker.topics.get(topic).map_or(0, |topic| topic.config.write_queue_nums);
    for queue in
        (0..count).filter(|queue| broker.is_mine(topic, QueueId(*queue))).collect::<Vec<_>>()
    {
        let row = rows.len() * 4;
        rows.push(Spans { queue, times: [-1; 4] });
        let Some(no) = cx.store().queues().find(topic, QueueId(queue)) else { continue };
        let consumed = broker.offsets.get(topic, group, QueueId(queue)).unwrap_or(0).max(0);
        let place: &ConsumeQueue = cx.store().queue(no);
        let (min, end) = (place.min(), place.visible());
        let wanted = [min, end - 1, if consumed > 0 { consumed - 1 } else { min }, consumed];
        for (which, offset) in wanted.into_iter().enumerate() {
            if (min..end).contains(&offset) {
                wishes.push(TimeWish { row: row + which, of: TimeOf::Message(no, offset) });
            }
        }
    }
    (Answer::Spans(rows), wishes)
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
    gather.gathered.take(answer);
    gather.missing -= 1;
    if gather.missing == 0 {
        let gather = gathers.open.remove(&ticket).expect("found above");
        finish(broker, cx, gather);
    }
}

impl Gathered {
    fn take(&mut self, answer: Answer) {
        match (answer, self) {
            (Answer::Offsets, Gathered::Dump(_)) => {}
            (Answer::TopicStats(part, rate), Gathered::TopicStats { queues, per_second, .. }) => {
                queues.extend(part);
                *per_second += rate;
            }
            (Answer::TopicStats(part, _), Gathered::Dump(dump)) => dump.take_queues(&part),
            (Answer::Progress(part, rates), Gathered::Progress(gathering)) => {
                gathering.take(part, &rates);
            }
            (Answer::Spans(part), Gathered::Spans { queues, .. }) => {
                queues.extend(part.into_iter().map(|spans| (spans.queue, spans.times)));
            }
            (Answer::Stat(part), Gathered::Stat { sum, .. }) => {
                if let Some(part) = part {
                    sum.get_or_insert_default().add(&part);
                }
            }
            (Answer::Runtime(part), Gathered::Runtime { sum, .. }) => sum.add(*part),
            (
                Answer::Offsets
                | Answer::TopicStats(..)
                | Answer::Progress(..)
                | Answer::Spans(_)
                | Answer::Stat(_)
                | Answer::Runtime(_),
                _,
            ) => unreachable!("an answer fits its question"),
        }
    }
}

fn finish<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, gather: Gather) {
    let (conn, head) = (gather.conn, gather.head);
    let queue = |broker: &Broker, topic: &[u8], queue_id| MessageQueue {
        broker_name: broker.settings.config.broker_name.clone(),
        queue_id,
        topic: String::from_utf8_lossy(topic).into_owned(),
    };
    let mut body = Vec::new();
    match gather.gathered {
        Gathered::Dump(dump) => {
            dump::carry_out(broker, cx, &dump);
            return;
        }
        Gathered::TopicStats { topic, queues, per_second } => {
            let rows = queues.into_iter().map(|(id, offset)| (queue(broker, &topic, id), offset));
            let offset_table = ByQueue(rows.collect());
            let table = TopicStatsTable { offset_table, topic_put_tps: Some(per_second) };
            json::write_object_keys(&mut body, &table);
        }
        Gathered::Progress(gathering) => gathering.write(broker, &mut body),
        Gathered::Spans { topic, queues } => {
            let queue = |id| queue(broker, &topic, id);
            json::write_default(&mut body, &stats::time_spans(queues, queue, cx.now.wall.0));
        }
        Gathered::Stat { name, key, sum } => match sum {
            Some(sum) => json::write_default(&mut body, &sum.told()),
            None => {
                let key = String::from_utf8_lossy(&key);
                let remark = format!("The stats <{name}> <{key}> not exist");
                refuse(cx, conn, head, &remark);
                return;
            }
        },
        Gathered::Runtime { told, sum } => told.write(broker, cx.now.mono, *sum, &mut body),
    }
    let Some(head) = head else { return };
    let mut writer = FrameWriter::begin(cx.output(conn), head).body();
    writer.bytes().extend_from_slice(&body);
    writer.finish();
}

fn refuse<H: Host>(cx: &mut Cx<'_, H>, conn: ConnId, head: Option<FrameHead>, remark: &str) {
    let Some(head) = head else { return };
    let head = FrameHead { code: response::SYSTEM_ERROR, ..head };
    let mut writer = FrameWriter::begin(cx.output(conn), head);
    writer.remark(remark);
    writer.finish();
}
