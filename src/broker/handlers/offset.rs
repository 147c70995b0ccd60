//! Offsets: query and update of consumer offsets (14, 15), ends of queues (30, 31), search by time (29, 32).

use crate::app::{Broker, Host};
use crate::cold;
use crate::handlers::meta::MetaMail;
use crate::handlers::meta::reset::Sought;
use crate::handlers::{Outcome, Request};
use crate::mail::BrokerMail;
use crate::refusal::Refusal;
use base::ids::ShardId;
use shard::Cx;
use store::Store;
use store::layout::consume_queue::CqEntry;
use store::queues::QueueNo;
use wire::codes::response;
use wire::ids::{PhyOffset, QueueId};
use wire::reply::{FrameHead, FrameWriter};
use wire::req::client::{
    BoundaryType, GetEarliestMsgStoretimeRequestHeader, GetEarliestMsgStoretimeResponseHeader,
    GetMaxOffsetRequestHeader, GetMinOffsetRequestHeader, OffsetResponseHeader,
    QueryConsumerOffsetRequestHeader, SearchOffsetRequestHeader, UpdateConsumerOffsetRequestHeader,
};

/// Decodes a header or answers with the field that is wrong.
macro_rules! decode {
    ($header:ident, $request:expr) => {
        match $header::decode(&$request.header.fields) {
            Ok(header) => header,
            Err(error) => return Outcome::Refuse(error.into()),
        }
    };
}

/// Forwards a request for another shard's queue.
macro_rules! at_owner {
    ($broker:expr, $topic:expr, $queue:expr) => {
        if $queue.0 >= 0 && !$broker.is_mine($topic.as_bytes(), $queue) {
            return Outcome::Forward($broker.owner($topic.as_bytes(), $queue));
        }
    };
}

/// 15: stores a group's offset.
pub(crate) fn on_update<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = decode!(UpdateConsumerOffsetRequestHeader, request);
    let (topic, queue) = (header.topic.to_cow(), QueueId(header.queue_id));
    at_owner!(broker, topic, queue);
    if broker.stopping && !broker.owes_offsets {
        return Refusal::stopping().into();
    }
    let group = header.consumer_group.to_cow();
    if broker.meta.group_may_consume(group.as_bytes()).is_none() {
        let remark = format!("Group {group} not exist!");
        return Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark).into();
    }
    let Some(entry) = broker.topics.get(topic.as_bytes()) else {
        let remark = format!("Topic {topic} not exist!");
        return Refusal::new(response::TOPIC_NOT_EXIST, remark).into();
    };
    if !entry.has_queue(queue) {
        let remark = format!("queueId {} of topic {topic} does not exist", queue.0);
        return Refusal::new(response::INVALID_PARAMETER, remark).into();
    }
    let keeps_resets = broker.settings.config.relaying.use_server_side_reset_offset;
    if keeps_resets && broker.offsets.is_reset(topic.as_bytes(), group.as_bytes(), queue) {
        // The client does not know yet where it is to go on.
        request.reply(cx, |writer| writer.remark("Offset has been previously reset"), &[]);
        return Outcome::Done;
    }
    broker.offsets.commit(topic.as_bytes(), group.as_bytes(), queue, header.commit_offset);
    request.reply(cx, |writer| writer.fields(), &[]);
    Outcome::Done
}

/// 14: a group's offset; a new group of a queue that still has its beginning starts there.
pub(crate) fn on_query<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = decode!(QueryConsumerOffsetRequestHeader, request);
    let (topic, queue) = (header.topic.to_cow(), QueueId(header.queue_id));
    at_owner!(broker, topic, queue);
    let group = header.consumer_group.to_cow();
    let stored = broker.offsets.get(topic.as_bytes(), group.as_bytes(), queue);
    let offset = match stored {
        Some(offset) => offset,
        None if header.set_zero_if_not_found == Some(false) => {
            let remark = "Not found, do not set to zero, maybe this group boot first";
            return not_found(cx, request, remark);
        }
        None if starts_at_zero(cx, topic.as_bytes(), queue) => 0,
        None => {
            let remark = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first";
            return not_found(cx, request, remark);
        }
    };
    request.reply(cx, |writer| OffsetResponseHeader { offset }.encode(writer), &[]);
    Outcome::Done
}

fn not_found<H: Host>(cx: &mut Cx<'_, H>, request: &Request<'_>, remark: &str) -> Outcome {
    let mut writer =
        FrameWriter::begin(cx.output(request.conn), request.head(response::QUERY_NOT_FOUND));
    writer.fields();
    writer.remark(remark);
    writer.finish();
    Outcome::Done
}

/// Java: the queue begins at 0 and its first message is not far behind the end of the log (it is "in memory").
fn starts_at_zero<H: Host>(cx: &mut Cx<'_, H>, topic: &[u8], id: QueueId) -> bool {
    let store = cx.store();
    let Some(no) = store.queues().find(topic, id) else { return true };
    let queue = store.queue(no);
    if queue.min() > 0 {
        return false;
    }
    match queue.entry(0) {
        Some(entry) => store.tail(entry.phy, entry.size as usize).is_some() || queue.next() == 0,
        None => queue.next() == 0,
    }
}

/// 30: the end of a queue.
pub(crate) fn on_max<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = decode!(GetMaxOffsetRequestHeader, request);
    let (topic, queue) = (header.topic.to_cow(), QueueId(header.queue_id));
    at_owner!(broker, topic, queue);
    let store = cx.store();
    let found = store.queues().find(topic.as_bytes(), queue);
    let offset = found.map_or(0, |no| {
        let queue = store.queue(no);
        if header.committed { queue.visible() } else { queue.next() }
    });
    request.reply(cx, |writer| OffsetResponseHeader { offset }.encode(writer), &[]);
    Outcome::Done
}

/// 31: the beginning of a queue.
pub(crate) fn on_min<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = decode!(GetMinOffsetRequestHeader, request);
    let (topic, queue) = (header.topic.to_cow(), QueueId(header.queue_id));
    at_owner!(broker, topic, queue);
    let store = cx.store();
    let offset = store.queues().find(topic.as_bytes(), queue).map_or(0, |no| store.queue(no).min());
    request.reply(
        cx,
        |writer| {
            OffsetResponseHeader { offset }.encode(writer);
            writer.remark("");
        },
        &[],
    );
    Outcome::Done
}

/// 29: the offset of a time.
pub(crate) fn on_search<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = decode!(SearchOffsetRequestHeader, request);
    let (topic, queue) = (header.topic.to_cow(), QueueId(header.queue_id));
    at_owner!(broker, topic, queue);
    let goal = Goal::Offset {
        timestamp: header.timestamp,
        upper: matches!(header.boundary_type, Some(BoundaryType::Upper)),
    };
    start(broker, cx, request, topic.as_bytes(), queue, goal);
    Outcome::Done
}

/// 32: the store time of a queue's first message.
pub(crate) fn on_earliest<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = decode!(GetEarliestMsgStoretimeRequestHeader, request);
    let (topic, queue) = (header.topic.to_cow(), QueueId(header.queue_id));
    at_owner!(broker, topic, queue);
    start(broker, cx, request, topic.as_bytes(), queue, Goal::Earliest);
    Outcome::Done
}

fn start<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
    topic: &[u8],
    id: QueueId,
    goal: Goal,
) {
    let Some(queue) = cx.store().queues().find(topic, id) else {
        match goal {
            Goal::Earliest => reply_time(cx, request.conn, request.head(response::SUCCESS), -1),
            Goal::Offset { .. } => {
                reply_offset(cx, request.conn, request.head(response::SUCCESS), 0);
            }
            Goal::At(_) | Goal::Place(_) => unreachable!("clients do not ask for it"),
        }
        return;
    };
    let (min, end) = (cx.store().queue(queue).min(), cx.store().queue(queue).visible());
    let who = Searcher::Client { conn: request.conn, head: request.head(response::SUCCESS) };
    let search = Search { who, queue, goal, low: min, high: end, probed: None, found: None };
    cold::begin_search(broker, cx, search);
}

/// A search for the sake of a reset: its number, the queue's, and how far the group is.
pub(crate) fn search_for_reset(
    store: &Store,
    queue: QueueNo,
    goal: Goal,
    (ticket, id, consumed): (u64, i32, Option<i64>),
) -> Search {
    let (low, high) = (store.queue(queue).min(), store.queue(queue).visible());
    let who = Searcher::Reset { ticket, id, consumed };
    Search { who, queue, goal, low, high, probed: None, found: None }
}

/// A search for the sake of a table of store times, which knows it by these numbers.
pub(crate) fn search_for_time(queue: QueueNo, goal: Goal, ticket: u64, row: usize) -> Search {
    let who = Searcher::Times { ticket, row };
    Search { who, queue, goal, low: 0, high: 0, probed: None, found: None }
}

fn reply_offset<H: Host>(
    cx: &mut Cx<'_, H>,
    conn: base::ids::ConnId,
    head: FrameHead,
    offset: i64,
) {
    let mut writer = FrameWriter::begin(cx.output(conn), head);
    OffsetResponseHeader { offset }.encode(&mut writer);
    writer.finish();
}

fn reply_time<H: Host>(
    cx: &mut Cx<'_, H>,
    conn: base::ids::ConnId,
    head: FrameHead,
    timestamp: i64,
) {
    let mut writer = FrameWriter::begin(cx.output(conn), head);
    GetEarliestMsgStoretimeResponseHeader { timestamp }.encode(&mut writer);
    writer.finish();
}

/// What a search is to find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Goal {
    /// LOWER: the first offset whose message is not older; UPPER: the last one whose message is not newer.
    Offset { timestamp: i64, upper: bool },
    /// The store time of the first message.
    Earliest,
    /// The store time of the message at this offset.
    At(i64),
    /// The store time of the record at this place, in whatever queue.
    Place(PhyOffset),
}

/// Who wants to know.
#[derive(Clone, Copy)]
pub(crate) enum Searcher {
    /// A client.
    Client { conn: base::ids::ConnId, head: FrameHead },
    /// A reset of offsets.
    Reset { ticket: u64, id: i32, consumed: Option<i64> },
    /// A table of store times.
    Times { ticket: u64, row: usize },
}

/// A search that asks for store times one after the other; store times do not fall along a queue.
pub(crate) struct Search {
    who: Searcher,
    pub(crate) queue: QueueNo,
    goal: Goal,
    /// Messages below are before the boundary.
    low: i64,
    /// Messages from here on are behind it.
    high: i64,
    probed: Option<i64>,
    found: Option<i64>,
}

impl Search {
    /// The record whose place is known already, as an entry that names its head.
    pub(crate) fn place(&mut self) -> Option<CqEntry> {
        match self.goal {
            Goal::Place(phy) if self.found.is_none() => {
                self.probed = Some(0);
                Some(CqEntry { phy, size: u32::MAX, tags_code: 0 })
            }
            Goal::Place(_) | Goal::Offset { .. } | Goal::Earliest | Goal::At(_) => None,
        }
    }

    /// Whether it looks at a place, in whatever queue.
    pub(crate) fn is_of_place(&self) -> bool {
        matches!(self.goal, Goal::Place(_))
    }

    /// The offset whose store time is wanted next; `None` when the answer is known.
    pub(crate) fn probe(&mut self, min: i64, end: i64) -> Option<i64> {
        if let Goal::At(offset) = self.goal {
            let is_there = self.found.is_none() && (min..end).contains(&offset);
            self.probed = is_there.then_some(offset);
            return self.probed;
        }
        self.low = self.low.max(min).min(end);
        self.high = self.high.min(end);
        let next = match self.goal {
            Goal::At(_) | Goal::Place(_) => None,
            Goal::Earliest => (self.found.is_none() && self.low < end).then_some(self.low),
            Goal::Offset { .. } => {
                (self.low < self.high).then(|| self.low + (self.high - self.low) / 2)
            }
        };
        self.probed = next;
        next
    }

    /// The store time of what `probe` named.
    pub(crate) fn tell(&mut self, time: i64) {
        let at = self.probed.take().expect("a time answers a probe");
        match self.goal {
            Goal::Earliest | Goal::At(_) | Goal::Place(_) => self.found = Some(time),
            Goal::Offset { timestamp, upper } => {
                let before = if upper { time <= timestamp } else { time < timestamp };
                if before {
                    self.low = at + 1;
                } else {
                    self.high = at;
                }
            }
        }
    }

    /// What `probe` named has no record any more: it was stored before everything else, nobody knows when.
    pub(crate) fn tell_gone(&mut self) {
        let is_time = !matches!(self.goal, Goal::Offset { .. });
        self.tell(if is_time { -1 } else { i64::MIN });
    }

    /// Answers.
    pub(crate) fn finish<H: Host>(self, broker: &mut Broker, cx: &mut Cx<'_, H>) {
        let (value, is_time) = match self.goal {
            Goal::Earliest | Goal::At(_) | Goal::Place(_) => (self.found.unwrap_or(-1), true),
            Goal::Offset { upper: false, .. } => (self.low, false),
            Goal::Offset { upper: true, .. } => {
                ((self.low - 1).max(cx.store().queue(self.queue).min()), false)
            }
        };
        match self.who {
            Searcher::Client { conn, head } if is_time => reply_time(cx, conn, head, value),
            Searcher::Client { conn, head } => reply_offset(cx, conn, head, value),
            Searcher::Reset { .. } | Searcher::Times { .. } => {
                self.tell_home(broker, cx, Ok(value))
            }
        }
    }

    /// Answers that it cannot be found out.
    pub(crate) fn refuse<H: Host>(self, broker: &mut Broker, cx: &mut Cx<'_, H>, why: &str) {
        let Searcher::Client { conn, head } = self.who else {
            self.tell_home(broker, cx, Err(why.to_owned()));
            return;
        };
        let head = FrameHead { code: response::SYSTEM_ERROR, ..head };
        let mut writer = FrameWriter::begin(cx.output(conn), head);
        writer.remark(why);
        writer.finish();
    }

    fn tell_home<H: Host>(
        self,
        broker: &mut Broker,
        cx: &mut Cx<'_, H>,
        found: Result<i64, String>,
    ) {
        match self.who {
            Searcher::Client { .. } => unreachable!("a client is answered"),
            Searcher::Reset { ticket, id, consumed } => {
                let sought = Sought { ticket, queue: id, offset: found, consumed };
                cx.mail(ShardId::META, BrokerMail::Meta(MetaMail::Sought(sought)));
            }
            Searcher::Times { ticket, row } => {
                crate::handlers::meta::times::on_time(broker, cx, ticket, row, found.ok());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::ids::{ConnId, ShardId};
    use wire::frame::SerializeType;

    /// The low end after searching a queue whose message `i` was stored at `times[i]`.
    fn search(times: &[i64], timestamp: i64, upper: bool) -> i64 {
        let end = i64::try_from(times.len()).unwrap();
        let head =
            FrameHead { serialize: SerializeType::Json, code: 0, opaque: 0, flag: 1, version: 0 };
        let conn = ConnId { shard: ShardId(0), slot: 0, generation: 0 };
        let mut search = Search {
            who: Searcher::Client { conn, head },
            queue: QueueNo(0),
            goal: Goal::Offset { timestamp, upper },
            low: 0,
            high: end,
            probed: None,
            found: None,
        };
        while let Some(at) = search.probe(0, end) {
            search.tell(times[usize::try_from(at).unwrap()]);
        }
        search.low
    }

    #[test]
    fn lower_is_the_first_message_not_older_and_upper_ends_behind_the_last_not_newer() {
        let times = [10, 20, 20, 20, 30];
        assert_eq!(search(&times, 20, false), 1);
        assert_eq!(search(&times, 20, true), 4);
        assert_eq!(search(&times, 5, false), 0);
        assert_eq!(search(&times, 31, false), 5);
        assert_eq!(search(&times, 25, false), 4);
        assert_eq!(search(&[], 25, false), 0);
    }
}
