//! Resetting a group's offsets: 222. Java: `AdminBrokerProcessor.resetOffset`, `Broker2Client.resetOffset`.
//!
//! The shards that own the queues find the offsets. Then the broker sets them itself and each queue's next pull is told to
//! go there (`useServerSideResetOffset`, for clients of any age), or the members of the group are told by 220 to do it. All
//! queues of the topic are reset, or none. Limit: the resets that are open.

use crate::app::{Broker, Host};
use crate::cold;
use crate::handlers::meta::ask_client::{tell_all, too_old};
use crate::handlers::meta::change::{Change, publish};
use crate::handlers::meta::{MetaMail, concluded};
use crate::handlers::offset::{self, Goal};
use crate::handlers::{Outcome, Request, reply_head};
use crate::mail::BrokerMail;
use crate::refusal::Refusal;
use crate::scatter::Then;
use base::ids::{ConnId, ShardId};
use hashbrown::HashMap;
use shard::Cx;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::body::control::{QueueOffset, ResetOffsetBody, ResetOffsetBodyForC};
use wire::body::{ByQueue, MessageQueue};
use wire::codes::{Language, request, response};
use wire::ids::QueueId;
use wire::json;
use wire::reply::FrameWriter;
use wire::req::control::ResetOffsetRequestHeader;
use wire::text::Text;

/// Resets whose offsets are being looked for.
const OPEN_MAX: usize = 64;

/// Where in a queue a group is to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seek {
    /// At the first message that is not older, in ms since 1970.
    Time(i64),
    /// At the end.
    End,
    /// At an offset, which must be one of the queue's.
    At(i64),
}

/// What the owner of a queue has found.
pub struct Sought {
    /// The reset.
    pub(crate) ticket: u64,
    /// The queue.
    pub(crate) queue: i32,
    /// Where the group is to go on; the error says why nowhere.
    pub(crate) offset: Result<i64, String>,
    /// Where it is.
    pub(crate) consumed: Option<i64>,
}

/// A question to the owner of a queue.
pub struct SeekMail {
    /// The reset.
    pub(crate) ticket: u64,
    /// Topic.
    pub(crate) topic: Arc<[u8]>,
    /// Consumer group.
    pub(crate) group: Arc<[u8]>,
    /// The queue.
    pub(crate) queue: i32,
    /// What is wanted.
    pub(crate) seek: Seek,
}

/// Who does it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Broker,
    Clients { is_force: bool, is_cpp: bool },
}

struct Reset {
    conn: ConnId,
    opaque: i32,
    is_oneway: bool,
    topic: Arc<[u8]>,
    group: Arc<[u8]>,
    timestamp: i64,
    way: Way,
    missing: usize,
    found: BTreeMap<i32, (i64, Option<i64>)>,
    failed: Option<String>,
}

/// Resets whose offsets are being looked for.
#[derive(Default)]
pub(crate) struct Resets {
    open: HashMap<u64, Reset>,
    next: u64,
}

/// 222.
pub(crate) fn on_reset<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    concluded(begin(broker, cx, request))
}

fn begin<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Result<Outcome, Refusal> {
    let header = ResetOffsetRequestHeader::decode(&request.header.fields)?;
    let (topic, group) = (header.topic.to_cow(), header.group.to_cow());
    let by_broker = broker.settings.config.relaying.use_server_side_reset_offset;
    let Some(found) = broker.topics.get(topic.as_bytes()) else {
        let remark = match by_broker {
            true => format!("Topic {topic} does not exist"),
            false => {
                format!(
                    "[reset-offset] reset offset failed, no topic in this broker. topic={topic}"
                )
            }
        };
        return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark));
    };
    let config = Arc::clone(&found.config);
    if by_broker && broker.meta.groups.get(group.as_bytes()).is_none() {
        let remark = format!("Group {group} does not exist");
        return Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    let is_cpp = request.header.language == Language::Cpp;
    let (way, queues) = if by_broker {
        (Way::Broker, config.read_queue_nums)
    } else {
        (Way::Clients { is_force: header.is_force, is_cpp }, config.write_queue_nums)
    };
    let time = if header.timestamp < 0 { Seek::End } else { Seek::Time(header.timestamp) };
    let one = header.queue_id.filter(|queue| by_broker && *queue >= 0);
    let wanted: Vec<(i32, Seek)> = match one {
        Some(queue) if !(0..queues).contains(&queue) => {
            let remark =
                format!("queueId {queue} of topic {topic} does not exist, it has {queues}");
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        }
        Some(queue) => vec![(queue, header.offset.filter(|at| *at != -1).map_or(time, Seek::At))],
        None => (0..queues).map(|queue| (queue, time)).collect(),
    };
    tracing::info!(
        "offsets of group {group} in topic {topic} are to be reset ({wanted:?}), asked for by {}",
        request.peer.address
    );
    let reset = Reset {
        conn: request.conn,
        opaque: request.header.opaque,
        is_oneway: request.header.is_oneway(),
        topic: Arc::from(topic.as_bytes()),
        group: Arc::from(group.as_bytes()),
        timestamp: header.timestamp,
        way,
        missing: wanted.len(),
        found: BTreeMap::new(),
        failed: wanted.is_empty().then(|| "No queues to reset.".to_owned()),
    };
    search(broker, cx, reset, wanted)
}

fn search<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    reset: Reset,
    wanted: Vec<(i32, Seek)>,
) -> Result<Outcome, Refusal> {
    let resets = &mut broker.meta.home().resets;
    if resets.open.len() >= OPEN_MAX {
        let remark = format!("{OPEN_MAX} resets of offsets are going on, the limit");
        return Err(Refusal::new(response::SYSTEM_BUSY, remark));
    }
    if wanted.is_empty() {
        finish(broker, cx, reset);
        return Ok(Outcome::Done);
    }
    let ticket = resets.next;
    resets.next += 1;
    let (topic, group) = (Arc::clone(&reset.topic), Arc::clone(&reset.group));
    resets.open.insert(ticket, reset);
    for (queue, seek) in wanted {
        let to = broker.owner(&topic, QueueId(queue));
        let (topic, group) = (Arc::clone(&topic), Arc::clone(&group));
        let seek = SeekMail { ticket, topic, group, queue, seek };
        cx.mail(to, BrokerMail::Meta(MetaMail::Seek(seek)));
    }
    Ok(Outcome::Done)
}

/// On the shard of a queue: finds the offset.
pub(crate) fn on_seek<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, mail: &SeekMail) {
    let id = QueueId(mail.queue);
    let consumed = broker.offsets.get(&mail.topic, &mail.group, id);
    let found = cx.store().queues().find(&mail.topic, id);
    let tell = |cx: &mut Cx<'_, H>, offset| {
        let sought = Sought { ticket: mail.ticket, queue: mail.queue, offset, consumed };
        cx.mail(ShardId::META, BrokerMail::Meta(MetaMail::Sought(sought)));
    };
    let (min, max) = found.map_or((0, 0), |no| {
        let queue = cx.store().queue(no);
        (queue.min(), queue.visible())
    });
    match (mail.seek, found) {
        (Seek::End, _) | (Seek::Time(_), None) => tell(cx, Ok(max)),
        (Seek::At(offset), _) if offset < min || offset > max + 1 => {
            let why = format!("Target offset {offset} not in consume queue range [{min}-{max}]");
            tell(cx, Err(why));
        }
        (Seek::At(offset), _) => tell(cx, Ok(offset)),
        (Seek::Time(timestamp), Some(no)) => {
            let goal = Goal::Offset { timestamp, upper: false };
            let sought = (mail.ticket, mail.queue, consumed);
            let search = offset::search_for_reset(cx.store(), no, goal, sought);
            cold::begin_search(broker, cx, search);
        }
    }
}

/// On the metadata shard: one queue's offset.
pub(crate) fn on_sought<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, sought: Sought) {
    let open = &mut broker.meta.home().resets.open;
    let Some(reset) = open.get_mut(&sought.ticket) else { return };
    match sought.offset {
        Ok(offset) => {
            reset.found.insert(sought.queue, (offset, sought.consumed));
        }
        Err(why) => reset.failed = Some(why),
    }
    reset.missing -= 1;
    if reset.missing == 0 {
        let reset = open.remove(&sought.ticket).expect("found above");
        finish(broker, cx, reset);
    }
}

fn finish<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, reset: Reset) {
    let bytes = match (&reset.failed, reset.way) {
        (Some(why), _) => {
            Err(Refusal::new(response::SYSTEM_ERROR, why.clone())).map(|()| Vec::new())
        }
        (None, Way::Broker) => {
            by_broker(broker, cx, &reset);
            return;
        }
        (None, Way::Clients { is_force, is_cpp }) => {
            by_clients(broker, cx, &reset, is_force, is_cpp)
        }
    };
    if reset.is_oneway {
        return;
    }
    match bytes {
        Ok(bytes) => cx.output(reset.conn).extend_from_slice(&bytes),
        Err(refusal) => {
            let head = reply_head(refusal.code, reset.opaque);
            let mut writer = FrameWriter::begin(cx.output(reset.conn), head);
            writer.remark(&refusal.remark);
            writer.finish();
        }
    }
}

/// Every shard takes the offsets of its queues; then the tool is answered.
fn by_broker<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, reset: &Reset) {
    let offsets: Vec<(i32, i64)> =
        reset.found.iter().map(|(queue, (offset, _))| (*queue, *offset)).collect();
    let bytes = match reset.is_oneway {
        true => Vec::new(),
        false => success(broker, reset, &offsets),
    };
    let change = Change::Offsets {
        topic: Arc::clone(&reset.topic),
        group: Arc::clone(&reset.group),
        offsets: offsets.into(),
        is_reset: true,
    };
    publish(broker, cx, vec![change], Then::Reply { conn: reset.conn, bytes });
}

fn queue_of(broker: &Broker, topic: &[u8], queue_id: i32) -> MessageQueue {
    MessageQueue {
        broker_name: broker.settings.config.broker_name.clone(),
        queue_id,
        topic: String::from_utf8_lossy(topic).into_owned(),
    }
}

fn table(broker: &Broker, reset: &Reset, offsets: &[(i32, i64)]) -> ByQueue<i64> {
    let queue = |id: i32| queue_of(broker, &reset.topic, id);
    ByQueue(offsets.iter().map(|(id, offset)| (queue(*id), *offset)).collect())
}

fn success(broker: &Broker, reset: &Reset, offsets: &[(i32, i64)]) -> Vec<u8> {
    let body = ResetOffsetBody { offset_table: table(broker, reset, offsets) };
    let mut bytes = Vec::new();
    let head = reply_head(response::SUCCESS, reset.opaque);
    let mut writer = FrameWriter::begin(&mut bytes, head).body();
    json::write_object_keys(writer.bytes(), &body);
    writer.finish();
    bytes
}

/// The members of the group are told where to go on.
fn by_clients<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    reset: &Reset,
    is_force: bool,
    is_cpp: bool,
) -> Result<Vec<u8>, Refusal> {
    let (topic, group) =
        (String::from_utf8_lossy(&reset.topic), String::from_utf8_lossy(&reset.group));
    let mut offsets = Vec::new();
    for (queue, (offset, consumed)) in &reset.found {
        let Some(consumed) = *consumed else {
            let remark = format!("THe consumer group <{group}> not exist");
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        };
        offsets.push((*queue, if is_force || *offset < consumed { *offset } else { consumed }));
    }
    let Some(found) = broker.meta.home().clients.group(&group) else {
        let remark = format!(
            "Consumer not online, so can not reset offset, Group: {group} Topic: {topic} Timestamp: {}",
            reset.timestamp
        );
        return Err(Refusal::new(response::CONSUMER_NOT_ONLINE, remark));
    };
    too_old(found.members.iter())?;
    let conns: Vec<ConnId> = found.members.iter().map(|member| member.conn).collect();
    let body = body_for_clients(broker, reset, &offsets, is_cpp);
    let header = ResetOffsetRequestHeader {
        topic: Text::plain(topic.as_bytes()),
        group: Text::plain(group.as_bytes()),
        timestamp: reset.timestamp,
        is_force,
        queue_id: None,
        offset: None,
    };
    let code = request::RESET_CONSUMER_CLIENT_OFFSET;
    tell_all(broker, cx, &conns, code, |writer| header.encode(writer), &body);
    Ok(success(broker, reset, &offsets))
}

/// Clients written in C++ read a list, all others a table.
fn body_for_clients(
    broker: &Broker,
    reset: &Reset,
    offsets: &[(i32, i64)],
    is_cpp: bool,
) -> Vec<u8> {
    let table = table(broker, reset, offsets);
    let mut body = Vec::new();
    if !is_cpp {
        json::write_object_keys(&mut body, &ResetOffsetBody { offset_table: table });
        return body;
    }
    let row = |(queue, offset): (MessageQueue, i64)| QueueOffset {
        broker_name: queue.broker_name,
        offset,
        queue_id: queue.queue_id,
        topic: queue.topic,
    };
    let offset_table = table.0.into_iter().map(row).collect();
    json::write_default(&mut body, &ResetOffsetBodyForC { offset_table });
    body
}
