//! Offsets: query and update of consumer offsets (14, 15), ends of queues (30, 31), search by time (29, 32).

use crate::app::{Broker, Host};
use crate::cold;
use crate::handlers::{Outcome, Request};
use crate::refusal::Refusal;
use shard::Cx;
use store::queues::QueueNo;
use wire::codes::response;
use wire::ids::QueueId;
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
        }
        return;
    };
    let (min, end) = (cx.store().queue(queue).min(), cx.store().queue(queue).visible());
    let search = Search {
        conn: request.conn,
        head: request.head(response::SUCCESS),
        queue,
        goal,
        low: min,
        high: end,
        probed: None,
        found: None,
    };
    cold::begin_search(broker, cx, search);
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
}

/// A search that asks for store times one after the other; store times do not fall along a queue.
pub(crate) struct Search {
    conn: base::ids::ConnId,
    head: FrameHead,
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
    /// The offset whose store time is wanted next; `None` when the answer is known.
    pub(crate) fn probe(&mut self, min: i64, end: i64) -> Option<i64> {
        self.low = self.low.max(min).min(end);
        self.high = self.high.min(end);
        let next = match self.goal {
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
            Goal::Earliest => self.found = Some(time),
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

    /// Answers.
    pub(crate) fn finish<H: Host>(self, cx: &mut Cx<'_, H>) {
        let min = cx.store().queue(self.queue).min();
        match self.goal {
            Goal::Earliest => reply_time(cx, self.conn, self.head, self.found.unwrap_or(-1)),
            Goal::Offset { upper: false, .. } => reply_offset(cx, self.conn, self.head, self.low),
            Goal::Offset { upper: true, .. } => {
                reply_offset(cx, self.conn, self.head, (self.low - 1).max(min));
            }
        }
    }

    /// Answers that it cannot be found out.
    pub(crate) fn refuse<H: Host>(self, cx: &mut Cx<'_, H>, why: &str) {
        let head = FrameHead { code: response::SYSTEM_ERROR, ..self.head };
        let mut writer = FrameWriter::begin(cx.output(self.conn), head);
        writer.remark(why);
        writer.finish();
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
        let mut search = Search {
            conn: ConnId { shard: ShardId(0), slot: 0, generation: 0 },
            head,
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
