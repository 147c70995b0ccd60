//! Pulls: 11 and 361. From memory at once, from files by `cold`, or parked until there is something.
//!
//! Order of the checks as in Java's `PullMessageProcessor`; statuses and limits as in `getMessage`.

use crate::app::{Broker, Host};
use crate::cold::{self, GroupKey};
use crate::handlers::{Outcome, Request};
use crate::own_reads::{self, ReadFor};
use crate::parked;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::subscriptions::{GroupSubscriptions, SubscriptionFilter, check_kind, is_tag_type};
use crate::topics::PERM_READ;
use crate::traffic::Traffic;
use crate::wanted::{Scan, Wanted};
use base::ids::ConnId;
use base::time::MonoNs;
use shard::Cx;
use std::hash::BuildHasher;
use std::sync::Arc;
use store::Store;
use store::layout::consume_queue::CqEntry;
use store::queues::QueueNo;
use store::read::{Piece, ReadLimits, ReadStatus, Selection, classify, select};
use wire::codes::{MQ_VERSION_5_5_0, request, response};
use wire::frame::SerializeType;
use wire::ids::{PhyOffset, QueueId};
use wire::reply::{FrameHead, FrameWriter};
use wire::req::client::{PullMessageRequestHeader, PullMessageResponseHeader};
use wire::sys_flag;
use wire::tags::TagFilter;

const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";
/// Broker id of a master.
const MASTER_ID: i64 = 0;
/// Broker id that a group pulls from when it is far behind, by default.
const FIRST_SLAVE_ID: i64 = 1;
/// Longest time a pull is held, whatever it asks for.
const WAIT_MS_MAX: u64 = 300_000;

/// Who gets the answer to a pull.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reader {
    /// A client, and its number of the request.
    Client { conn: ConnId, opaque: i32 },
    /// The broker itself.
    Own(ReadFor),
}

/// A checked pull, as it is parked.
pub(crate) struct Pull {
    pub(crate) reader: Reader,
    pub(crate) queue: QueueNo,
    pub(crate) queue_id: QueueId,
    /// Offset asked for.
    pub(crate) offset: i64,
    /// Entries before this one were looked at and did not match.
    pub(crate) seen: i64,
    pub(crate) count_max: usize,
    pub(crate) wanted: Wanted,
    pub(crate) topic_sys_flag: i32,
    pub(crate) wait_ms: u64,
    pub(crate) next_broker: NextBroker,
    /// The consumer group, for the sake of others that read from files.
    pub(crate) group: GroupKey,
    /// When it came.
    pub(crate) begun: MonoNs,
}

/// Where a client is to pull next: from this broker id, or from another when it is far behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NextBroker {
    near: i64,
    far: i64,
    /// Messages further behind the end of their log than this count as being on disk only.
    memory_bytes: u64,
}

impl NextBroker {
    /// As Java's master: 0, unless slaves may be read (`slaveReadEnable`); then as the group is set.
    pub(crate) fn new(broker: &Broker, group: &[u8]) -> NextBroker {
        let memory_bytes = broker.settings.memory_bytes;
        if !broker.settings.config.reading.slave_read_enable {
            return NextBroker { near: MASTER_ID, far: MASTER_ID, memory_bytes };
        }
        match broker.meta.groups.get(group) {
            Some(group) => NextBroker {
                near: group.broker_id,
                far: group.which_broker_when_consume_slowly,
                memory_bytes,
            },
            // It is being made, with Java's defaults.
            None => NextBroker { near: MASTER_ID, far: FIRST_SLAVE_ID, memory_bytes },
        }
    }

    fn is_far(self, store: &Store, phy: PhyOffset) -> bool {
        let end = store.stream(phy.stream()).appended();
        end.saturating_sub(phy.position()) > self.memory_bytes
    }

    fn id(self, store: &Store, selection: &Selection) -> i64 {
        let is_one = self.near == self.far;
        match selection.last {
            Some(last) if !is_one && self.is_far(store, last) => self.far,
            Some(_) | None => self.near,
        }
    }
}

impl Pull {
    /// The connection that it came by.
    pub(crate) fn conn(&self) -> Option<ConnId> {
        match self.reader {
            Reader::Client { conn, .. } => Some(conn),
            Reader::Own(_) => None,
        }
    }

    /// Whether the client has not taken what it was sent before.
    pub(crate) fn is_full<H: Host>(&self, cx: &Cx<'_, H>) -> bool {
        self.conn().is_some_and(|conn| cx.is_full(conn))
    }
}

/// A pull.
pub(crate) fn on_pull<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match PullMessageRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Outcome::Refuse(error.into()),
    };
    let topic = header.topic.to_cow();
    let queue_id = QueueId(header.queue_id);
    if !broker.is_mine(topic.as_bytes(), queue_id) && header.queue_id >= 0 {
        return Outcome::Forward(broker.owner(topic.as_bytes(), queue_id));
    }
    let checked = check(broker, request, &header, topic.as_bytes());
    let (wanted, topic_sys_flag) = match checked {
        Ok(checked) => checked,
        Err(refusal) => {
            refuse(cx, request, &refusal);
            return Outcome::Done;
        }
    };
    let group = header.consumer_group.to_cow();
    let reset = broker.offsets.take_reset(topic.as_bytes(), group.as_bytes(), queue_id);
    let reset = reset.filter(|_| broker.settings.config.relaying.use_server_side_reset_offset);
    if header.sys_flag & sys_flag::PULL_COMMIT_OFFSET != 0 && reset.is_none() {
        broker.offsets.commit(topic.as_bytes(), group.as_bytes(), queue_id, header.commit_offset);
    }
    let stream = broker.stream_of(topic.as_bytes(), queue_id);
    let queue = cx.store().find_or_create(topic.as_bytes(), queue_id, stream);
    let next_broker = NextBroker::new(broker, group.as_bytes());
    let name = group;
    let group = GroupKey(broker.group_hash.hash_one(name.as_bytes()));
    let suspend = header.sys_flag & sys_flag::PULL_SUSPEND != 0;
    let config = &broker.settings.config;
    let wait_ms = if config.long_polling_enable {
        u64::try_from(header.suspend_timeout_millis).unwrap_or(0).min(WAIT_MS_MAX)
    } else {
        config.short_polling_time_ms
    };
    let count_max = usize::try_from(header.max_msg_nums).unwrap_or(0).max(1);
    let pull = Pull {
        reader: Reader::Client { conn: request.conn, opaque: request.header.opaque },
        queue,
        queue_id,
        offset: header.queue_offset,
        seen: header.queue_offset,
        count_max: count_max.min(config.reading.max_transfer_count_in_memory as usize),
        wanted,
        topic_sys_flag,
        wait_ms,
        next_broker,
        group,
        begun: cx.now.mono,
    };
    match reset {
        Some(to) => {
            let selection = Selection::outside(ReadStatus::OffsetReset, to);
            answer(cx, &pull, selection, &[], from_memory);
        }
        None => {
            let found = broker.traffic.found();
            attempt(broker, cx, pull, suspend);
            broker.traffic.note_pull(found, group, name.as_bytes());
        }
    }
    Outcome::Done
}

type Checked = (Wanted, i32);

fn check(
    broker: &mut Broker,
    request: &Request<'_>,
    header: &PullMessageRequestHeader<'_>,
    topic: &[u8],
) -> Result<Checked, Refusal> {
    let config = &broker.settings.config;
    let forbidden = |what: &str| {
        let remark =
            format!("the broker[{}] pulling message is forbidden{what}", config.broker_ip1);
        Refusal::new(response::NO_PERMISSION, remark)
    };
    if config.broker_permission & PERM_READ.unsigned_abs() == 0 {
        return Err(forbidden(""));
    }
    if request.header.code == request::LITE_PULL_MESSAGE && !config.lite_pull_message_enable {
        return Err(forbidden(": litePullMessageEnable is false"));
    }
    let group = header.consumer_group.to_cow();
    match broker.meta.group_may_consume(group.as_bytes()) {
        None => {
            let remark = format!("subscription group [{group}] does not exist, {FAQ}");
            return Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        }
        Some(false) => {
            let remark = format!("subscription group no permission, {group}");
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        Some(true) => {}
    }
    let name = String::from_utf8_lossy(topic);
    let Some(entry) = broker.topics.get(topic) else {
        let remark = format!("topic[{name}] not exist, apply first please! {FAQ}");
        return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark));
    };
    if entry.config.perm & PERM_READ == 0 {
        let remark = format!("the topic[{name}] pulling message is forbidden");
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    entry.check_queue_type()?;
    if !(0..entry.config.read_queue_nums).contains(&header.queue_id) {
        let remark = format!(
            "queueId[{}] is illegal, topic:[{name}] topicConfig.readQueueNums:[{}] consumer:[/{}]",
            header.queue_id, entry.config.read_queue_nums, request.peer.address
        );
        return Err(Refusal::new(response::INVALID_PARAMETER, remark));
    }
    let topic_sys_flag = entry.config.topic_sys_flag;
    Ok((find_wanted(broker, header, group.as_bytes(), topic)?, topic_sys_flag))
}

fn find_wanted(
    broker: &mut Broker,
    header: &PullMessageRequestHeader<'_>,
    group: &[u8],
    topic: &[u8],
) -> Result<Wanted, Refusal> {
    if header.sys_flag & sys_flag::PULL_CLASS_FILTER != 0 {
        return Err(not_filtered("a class: there are no filter servers"));
    }
    if header.sys_flag & sys_flag::PULL_SUBSCRIPTION != 0 {
        return parse_wanted(broker, header, group, topic);
    }
    if !broker.meta.has_consumers(group) {
        let remark = format!("the consumer's group info not exist{FAQ}");
        return Err(Refusal::new(response::SUBSCRIPTION_NOT_EXIST, remark));
    }
    let Some(subscription) = broker.meta.subscription(group, topic) else {
        let remark = format!("the consumer's subscription not exist{FAQ}");
        return Err(Refusal::new(response::SUBSCRIPTION_NOT_EXIST, remark));
    };
    if subscription.version < header.sub_version {
        let remark = "the consumer's subscription not latest";
        return Err(Refusal::new(response::SUBSCRIPTION_NOT_LATEST, remark));
    }
    match &subscription.filter {
        SubscriptionFilter::Tags(filter) => Ok(Wanted::tags(filter)),
        SubscriptionFilter::Class => Err(not_filtered("a class: there are no filter servers")),
        SubscriptionFilter::Sql { compiled: None, .. } => {
            let remark =
                "The broker's consumer filter data is not exist!Your expression may be wrong!";
            Err(Refusal::new(response::FILTER_DATA_NOT_EXIST, remark))
        }
        SubscriptionFilter::Sql { kind, .. } if !broker.settings.config.enable_property_filter => {
            Err(not_filtered(kind))
        }
        SubscriptionFilter::Sql { compiled: Some(filter), text, .. } => {
            let test = broker.bit_maps.test(topic, group, text);
            Ok(Wanted::sql(filter, topic, retried(broker, group)).with_test(test))
        }
    }
}

fn not_filtered(kind: &str) -> Refusal {
    let remark = format!("The broker does not support consumer to filter message by {kind}");
    Refusal::new(response::SYSTEM_ERROR, remark)
}

/// What filters retries of a group, if anything does.
fn retried<'b>(broker: &'b Broker, group: &[u8]) -> Option<&'b Arc<GroupSubscriptions>> {
    let filters_retries = broker.settings.config.filter_support_retry;
    broker.meta.subscriptions_of(group).filter(|_| filters_retries)
}

/// The subscription that a pull brings itself.
fn parse_wanted(
    broker: &mut Broker,
    header: &PullMessageRequestHeader<'_>,
    group: &[u8],
    topic: &[u8],
) -> Result<Wanted, Refusal> {
    let failed = |why: &str| {
        let remark = format!("parse the consumer's subscription failed: {why}");
        Refusal::new(response::SUBSCRIPTION_PARSE_FAILED, remark)
    };
    let kind = header.expression_type.map(|kind| kind.to_cow());
    let text = header.subscription.map(|text| text.to_cow()).unwrap_or_default();
    if is_tag_type(kind.as_deref()) {
        let filter = TagFilter::parse(&text).map_err(|error| failed(&error.to_string()))?;
        return Ok(if filter.all { Wanted::Everything } else { Wanted::Tags(Arc::new(filter)) });
    }
    let kind = kind.unwrap_or_default();
    if !broker.settings.config.enable_property_filter {
        return Err(not_filtered(&kind));
    }
    check_kind(&kind, &text).map_err(|why| failed(&why))?;
    let filter = broker.expressions.get(&text).map_err(|error| failed(&error.to_string()))?;
    Ok(Wanted::sql(&filter, topic, retried(broker, group)))
}

fn refuse<H: Host>(cx: &mut Cx<'_, H>, request: &Request<'_>, refusal: &Refusal) {
    let mut writer = FrameWriter::begin(cx.output(request.conn), request.head(refusal.code));
    writer.fields();
    writer.remark(&refusal.remark);
    writer.finish();
}

/// Answers, parks, or begins a cold read.
pub(crate) fn attempt<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, pull: Pull, suspend: bool) {
    match classify(cx.store().queue(pull.queue), pull.offset) {
        Err(selection) => {
            broker.traffic.missed();
            let is_empty = code_of(selection.status, pull.offset) == response::PULL_NOT_FOUND;
            let waits = is_empty && suspend && pull.wait_ms > 0;
            if waits && broker.stopping && pull.conn().is_some() {
                // Told that there is nothing, a client would ask again at once.
                refuse_pull(cx, &pull, &Refusal::stopping());
            } else if waits && broker.parked.has_room(&pull) {
                parked::park(broker, cx, pull);
            } else {
                answer(cx, &pull, selection, &[], from_memory);
            }
        }
        Ok(()) => match hot(broker, cx, &pull) {
            Some(selection) => {
                let pieces = std::mem::take(&mut broker.pieces);
                note_sent(&mut broker.traffic, &pull, &pieces, 0);
                answer(cx, &pull, selection, &pieces, from_memory);
                broker.pieces = pieces;
            }
            None => cold::begin(broker, cx, pull),
        },
    }
}

/// Counts what a pull brings a client, and the milliseconds that it took from when there was something for it.
pub(crate) fn note_sent(traffic: &mut Traffic, pull: &Pull, pieces: &[Piece], ms: u64) {
    if pieces.is_empty() {
        traffic.missed();
    } else if pull.conn().is_some() {
        let bytes = pieces.iter().map(|piece| u64::from(piece.size)).sum();
        traffic.got(pull.queue, pull.group, (pieces.len() as u64, bytes), ms);
    }
}

/// Chooses from memory into `broker.pieces`; `None` when files are needed.
fn hot<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, pull: &Pull) -> Option<Selection> {
    let store = cx.store();
    let queue = store.queue(pull.queue);
    if pull.offset < queue.tail_start() {
        return None;
    }
    let limits = limits(&broker.settings, store, pull);
    let pieces = &mut broker.pieces;
    let entries = queue.visible_from(pull.offset);
    let mut scan = Scan::new(&pull.wanted);
    let look = |entry: &CqEntry| scan.look(store, entry);
    let selection = select(entries, pull.offset, limits, look, pieces);
    if scan.is_cold && selection.next == pull.offset {
        return None;
    }
    let held = pieces.first().is_none_or(|p| store.tail(p.phy, p.size as usize).is_some());
    held.then_some(selection)
}

/// Limits of a pull for each message: fewer when it is further behind than the machine's memory is taken to hold.
pub(crate) fn limits<'s>(
    settings: &Settings,
    store: &'s Store,
    pull: &Pull,
) -> impl Fn(&CqEntry) -> ReadLimits + use<'s> {
    let config = &settings.config.reading;
    let limits = |count: u32, bytes: u32| match pull.reader {
        Reader::Client { .. } => ReadLimits {
            count_max: pull.count_max.min(count as usize).max(1),
            bytes_max: bytes as usize,
        },
        Reader::Own(_) => own_reads::LIMITS,
    };
    let in_memory =
        limits(config.max_transfer_count_in_memory, config.max_transfer_bytes_in_memory);
    let on_disk = limits(config.max_transfer_count_in_disk, config.max_transfer_bytes_in_disk);
    let next_broker = pull.next_broker;
    move |entry| {
        let is_far = !entry.is_filler() && next_broker.is_far(store, entry.phy);
        if is_far { on_disk } else { in_memory }
    }
}

/// A parked pull's queue has more. True when the pull was answered; otherwise it notes what it has seen.
pub(crate) fn wake<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, pull: &mut Pull) -> bool {
    let store = cx.store();
    let queue = store.queue(pull.queue);
    if queue.visible() <= pull.seen || pull.seen < queue.min() {
        let outside = classify(queue, pull.offset).err();
        let moved = outside.filter(|s| code_of(s.status, pull.offset) != response::PULL_NOT_FOUND);
        if let Some(selection) = moved {
            answer(cx, pull, selection, &[], from_memory);
            return true;
        }
        return false;
    }
    let limits = limits(&broker.settings, store, pull);
    let entries = queue.visible_from(pull.seen);
    let pieces = &mut broker.pieces;
    let mut scan = Scan::new(&pull.wanted);
    let look = |entry: &CqEntry| scan.look(store, entry);
    let selection = select(entries, pull.seen, limits, look, pieces);
    if selection.status != ReadStatus::Found {
        if selection.next < queue.visible() {
            // Too many entries for one look, or they have left memory: the client asks again behind them.
            let status = ReadStatus::NoMatchedMessage;
            answer(cx, pull, Selection { status, ..selection }, &[], from_memory);
            return true;
        }
        pull.seen = selection.next;
        return false;
    }
    let held = pieces.first().is_none_or(|p| store.tail(p.phy, p.size as usize).is_some());
    if !held {
        let status = ReadStatus::NoMatchedMessage;
        answer(cx, pull, Selection { status, next: pull.seen, ..selection }, &[], from_memory);
        return true;
    }
    if pull.is_full(cx) {
        come_again(cx, pull);
        return true;
    }
    let pieces = std::mem::take(&mut broker.pieces);
    note_sent(&mut broker.traffic, pull, &pieces, 0);
    answer(cx, pull, selection, &pieces, from_memory);
    broker.pieces = pieces;
    true
}

/// Answers an error of ours: the client keeps its offset and asks again in a while.
pub(crate) fn refuse_pull<H: Host>(cx: &mut Cx<'_, H>, pull: &Pull, refusal: &Refusal) {
    let (conn, opaque) = match pull.reader {
        Reader::Client { conn, opaque } => (conn, opaque),
        Reader::Own(who) => return own_reads::fail(cx, who, &refusal.remark),
    };
    let head = crate::handlers::reply_head(refusal.code, opaque);
    let mut writer = FrameWriter::begin(cx.output(conn), head);
    writer.remark(&refusal.remark);
    writer.finish();
}

/// The client does not read what it was sent: it gets no messages now, and is told to ask again.
pub(crate) fn come_again<H: Host>(cx: &mut Cx<'_, H>, pull: &Pull) {
    let selection = Selection::outside(ReadStatus::MessageWasRemoving, pull.offset);
    answer(cx, pull, selection, &[], from_memory);
}

/// A parked pull's time is up: nothing for it came.
pub(crate) fn answer_timeout<H: Host>(_broker: &mut Broker, cx: &mut Cx<'_, H>, pull: Pull) {
    let queue = cx.store().queue(pull.queue);
    let selection = match classify(queue, pull.offset) {
        Err(selection) => selection,
        Ok(()) => Selection::outside(ReadStatus::NoMatchedMessage, pull.seen),
    };
    answer(cx, &pull, selection, &[], from_memory);
}

/// Java's mapping of a read status to a response code.
fn code_of(status: ReadStatus, offset: i64) -> i32 {
    match status {
        ReadStatus::Found => response::SUCCESS,
        ReadStatus::MessageWasRemoving | ReadStatus::NoMatchedMessage => {
            response::PULL_RETRY_IMMEDIATELY
        }
        ReadStatus::NoMatchedLogicQueue | ReadStatus::NoMessageInQueue if offset != 0 => {
            response::PULL_OFFSET_MOVED
        }
        ReadStatus::NoMatchedLogicQueue
        | ReadStatus::NoMessageInQueue
        | ReadStatus::OffsetFoundNull
        | ReadStatus::OffsetOverflowOne => response::PULL_NOT_FOUND,
        ReadStatus::OffsetOverflowBadly | ReadStatus::OffsetTooSmall | ReadStatus::OffsetReset => {
            response::PULL_OFFSET_MOVED
        }
    }
}

/// Appends a record that memory holds.
pub(crate) fn from_memory(store: &Store, piece: &Piece, out: &mut Vec<u8>) {
    let record = store.tail(piece.phy, piece.size as usize);
    out.extend_from_slice(record.expect("chosen in this turn, from memory"));
}

/// Writes the answer with the records that `copy` appends.
pub(crate) fn answer<H: Host>(
    cx: &mut Cx<'_, H>,
    pull: &Pull,
    selection: Selection,
    pieces: &[Piece],
    mut copy: impl FnMut(&Store, &Piece, &mut Vec<u8>),
) {
    let (conn, opaque) = match pull.reader {
        Reader::Client { conn, opaque } => (conn, opaque),
        Reader::Own(who) => {
            own_reads::answer(cx, who, pull.queue, &selection, pieces, copy);
            return;
        }
    };
    let store = cx.store();
    let queue = store.queue(pull.queue);
    let header = PullMessageResponseHeader {
        suggest_which_broker_id: pull.next_broker.id(store, &selection),
        group_sys_flag: Some(0),
        next_begin_offset: selection.next,
        max_offset: queue.visible(),
        min_offset: queue.min(),
        topic_sys_flag: Some(pull.topic_sys_flag),
        forbidden_type: None,
        offset_delta: None,
    };
    let head = FrameHead {
        serialize: SerializeType::Json,
        code: code_of(selection.status, pull.offset),
        opaque,
        flag: crate::handlers::FLAG_RESPONSE,
        version: MQ_VERSION_5_5_0,
    };
    let total: usize = pieces.iter().map(|p| p.size as usize).sum();
    let (out, store) = cx.output_and_store(conn);
    out.reserve(total + 512);
    let mut writer = FrameWriter::begin(out, head);
    header.encode(&mut writer);
    writer.remark(selection.status.name());
    if selection.status != ReadStatus::Found {
        writer.finish();
        return;
    }
    let mut body = writer.body();
    for piece in pieces {
        copy(store, piece, body.bytes());
    }
    body.finish();
}
