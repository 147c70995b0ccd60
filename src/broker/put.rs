//! Messages that the broker itself stores: sent back ones, delayed ones whose time has come, ends of transactions.
//!
//! They go to the shard that owns the queue. It stores them, making the topic first if it is to be made, waits until they
//! are as safe as an acknowledged message, and tells the shard that asked. A message that waits for room in the log
//! window keeps those behind it waiting. Limits: bytes that wait on a shard.

use crate::app::{Broker, Host, TimerKind, timer_key};
use crate::detour::Detour;
use crate::handlers::meta::change::{Change, publish};
use crate::handlers::meta::topic;
use crate::handlers::meta::topic_rules::{DERIVED_TOPIC_BYTES_MAX, has_legal_characters};
use crate::handlers::reply_head;
use crate::handlers::send::append_refusal;
use crate::look::Look;
use crate::mail::BrokerMail;
use crate::refusal::Refusal;
use crate::scatter::Then;
use crate::settings::Settings;
use crate::topics::{Topic, TopicTable};
use crate::transactions::{self, HALF_TOPIC, Putting};
use base::ids::{ConnId, ShardId};
use base::time::WallMs;
use shard::Cx;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use store::AppendError;
use wire::body::register::TopicConfig;
use wire::codes::response;
use wire::ids::{PhyOffset, QueueId};
use wire::message::{MessageView, NewMessage};
use wire::msg_id::MessageId;
use wire::props::PROPERTIES_BYTES_MAX;
use wire::reply::{FrameWriter, patch_refusal};
use wire::req::send_form::SentMessage;

/// Bytes of messages that wait for room in the log on one shard.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Pause before the log is asked again.
const WAITING_MS: u64 = 1;

/// A message as the broker makes it.
pub struct OwnMessage {
    /// Topic.
    pub topic: Vec<u8>,
    /// Queue of the topic.
    pub queue_id: QueueId,
    /// The user's flag.
    pub flag: i32,
    /// System flag.
    pub sys_flag: i32,
    /// The producer's time stamp, ms.
    pub born_timestamp: i64,
    /// Address of the producer.
    pub born_host: SocketAddr,
    /// How often consumption was tried.
    pub reconsume_times: i32,
    /// Physical offset of the half message that this one commits; 0 otherwise.
    pub prepared_transaction_offset: i64,
    /// The body.
    pub body: Vec<u8>,
    /// Properties text.
    pub properties: Vec<u8>,
    /// Its delay has passed, or is not to be looked at.
    pub is_due: bool,
    /// What the topic is to be when it does not exist. `None`: the queue is used whether or not it does.
    pub creates: Option<Arc<TopicConfig>>,
}

impl OwnMessage {
    /// A stored message, to be stored again.
    pub(crate) fn like(view: &MessageView<'_>) -> OwnMessage {
        OwnMessage {
            topic: view.topic().to_vec(),
            queue_id: view.queue_id(),
            flag: view.flag(),
            sys_flag: view.sys_flag(),
            born_timestamp: view.born_timestamp(),
            born_host: view.born_host(),
            reconsume_times: view.reconsume_times(),
            prepared_transaction_offset: 0,
            body: view.body().to_vec(),
            properties: view.properties().to_vec(),
            is_due: false,
            creates: None,
        }
    }

    pub(crate) fn as_new(&self, store_host: SocketAddr) -> NewMessage<'_> {
        NewMessage {
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: &self.body,
            topic: &self.topic,
            properties: &self.properties,
        }
    }

    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<OwnMessage>() + self.body.len() + self.properties.len() + self.topic.len()
    }
}

/// Where a message was stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Place in the log.
    pub phy: PhyOffset,
    /// Position behind it in the log of its stream.
    pub end: u64,
    /// Index in its queue.
    pub queue_offset: i64,
    /// It is in the log, but was not durable within `syncFlushTimeout`.
    pub is_late: bool,
}

/// A message that was not stored, and why.
pub struct NotStored {
    /// Why.
    pub refusal: Refusal,
    /// The message.
    pub message: Box<OwnMessage>,
}

/// What became of a message.
pub type PutResult = Result<Stored, NotStored>;

/// What shards tell each other about such messages.
pub enum PutMail {
    /// To the owner of its queue.
    Store {
        /// The message.
        message: Box<OwnMessage>,
        /// Who asked.
        from: ShardId,
        /// The number that shard knows it by.
        ticket: u64,
    },
    /// To the metadata shard: its topic is to be made first.
    Make {
        /// The message.
        message: Box<OwnMessage>,
        /// Who asked.
        from: ShardId,
        /// The number that shard knows it by.
        ticket: u64,
    },
    /// To the shard that asked.
    Done {
        /// Its number.
        ticket: u64,
        /// What became of it.
        result: PutResult,
    },
}

/// What a client is told of a message that the broker stored for it.
#[derive(Clone)]
pub(crate) enum ClientAnswer {
    /// Success, without fields.
    Plain { conn: ConnId, opaque: i32 },
    /// As to a send: queue, and unique key.
    Sent { conn: ConnId, opaque: i32, queue_id: i32, key: Vec<u8> },
    /// As to a recall: the unique key of the message that was taken back.
    Recalled { conn: ConnId, opaque: i32, unique_key: String },
    /// To a reply: whether the requester took it.
    Replied(Replied),
    /// Nothing.
    Nothing,
}

/// The answer to a reply of request-reply.
#[derive(Clone)]
pub(crate) struct Replied {
    pub(crate) conn: ConnId,
    pub(crate) opaque: i32,
    pub(crate) is_oneway: bool,
    pub(crate) queue_id: i32,
    /// Why the requester did not take it.
    pub(crate) problem: Option<String>,
}

impl Replied {
    /// Writes the answer; with the place of the reply when it was stored.
    pub(crate) fn write<H: Host>(
        &self,
        settings: &Settings,
        cx: &mut Cx<'_, H>,
        stored: Option<Stored>,
    ) {
        if self.is_oneway {
            return;
        }
        let code = match self.problem {
            None => response::SUCCESS,
            Some(_) => response::SYSTEM_ERROR,
        };
        let mut writer = FrameWriter::begin(cx.output(self.conn), reply_head(code, self.opaque));
        writer.field_bool("TRACE_ON", settings.config.trace_on);
        writer.field_str("MSG_REGION", settings.config.region_id.as_bytes());
        // Clients cannot do without when they are told that all is well.
        if stored.is_some() || self.problem.is_none() {
            writer.field_i32("queueId", self.queue_id);
            match stored {
                Some(stored) => {
                    let id = MessageId { host: settings.store_host, phy: stored.phy };
                    writer.field_msg_ids("msgId", std::iter::once(id));
                }
                None => writer.field_str("msgId", b"0"),
            }
            writer.field_i64("queueOffset", stored.map_or(0, |stored| stored.queue_offset));
        }
        if let Some(problem) = &self.problem {
            writer.remark(problem);
        }
        writer.finish();
    }
}

impl ClientAnswer {
    /// Success without fields, or nothing to a request that wants no answer.
    pub(crate) fn plain(conn: ConnId, opaque: i32, is_oneway: bool) -> ClientAnswer {
        if is_oneway { ClientAnswer::Nothing } else { ClientAnswer::Plain { conn, opaque } }
    }

    /// The message is not stored.
    pub(crate) fn refuse<H: Host>(&self, cx: &mut Cx<'_, H>, refusal: &Refusal) {
        let (conn, opaque) = match self {
            ClientAnswer::Plain { conn, opaque }
            | ClientAnswer::Sent { conn, opaque, .. }
            | ClientAnswer::Recalled { conn, opaque, .. } => (*conn, *opaque),
            ClientAnswer::Replied(replied) if replied.is_oneway => return,
            ClientAnswer::Replied(replied) => (replied.conn, replied.opaque),
            ClientAnswer::Nothing => return,
        };
        let head = reply_head(refusal.code, opaque);
        let mut writer = FrameWriter::begin(cx.output(conn), head);
        writer.remark(&refusal.remark);
        writer.finish();
    }

    /// Success without fields.
    pub(crate) fn succeed_plainly<H: Host>(&self, cx: &mut Cx<'_, H>) {
        match self {
            ClientAnswer::Plain { conn, opaque }
            | ClientAnswer::Sent { conn, opaque, .. }
            | ClientAnswer::Recalled { conn, opaque, .. } => {
                let head = reply_head(response::SUCCESS, *opaque);
                FrameWriter::begin(cx.output(*conn), head).finish();
            }
            ClientAnswer::Replied(replied) if replied.is_oneway => {}
            ClientAnswer::Replied(replied) => {
                let head = reply_head(response::SUCCESS, replied.opaque);
                FrameWriter::begin(cx.output(replied.conn), head).finish();
            }
            ClientAnswer::Nothing => {}
        }
    }

    /// The message is stored. Who is told that it is not durable in time is decided as in Java: who sent it or sent it
    /// back, or gave a half another chance; not who took a message back, nor who replied.
    fn succeed<H: Host>(&self, settings: &Settings, cx: &mut Cx<'_, H>, stored: Stored) {
        match self {
            ClientAnswer::Plain { .. } if stored.is_late => {
                let remark = format!("FLUSH_DISK_TIMEOUT: {}", late_remark(settings));
                self.refuse(cx, &Refusal::new(response::SYSTEM_ERROR, remark));
            }
            ClientAnswer::Plain { .. } | ClientAnswer::Nothing => self.succeed_plainly(cx),
            ClientAnswer::Sent { conn, opaque, queue_id, key } => {
                let (opaque, queue_id, phy) = (*opaque, *queue_id, stored.phy);
                let queue_offset = stored.queue_offset;
                let sent = SentMessage { opaque, queue_id, queue_offset, key, phy };
                let out = cx.output(*conn);
                let at = out.len();
                settings.send_reply.encode(out, &sent);
                if stored.is_late {
                    let code = response::FLUSH_DISK_TIMEOUT;
                    patch_refusal(out, at, code, &late_remark(settings));
                }
            }
            ClientAnswer::Recalled { conn, opaque, unique_key } => {
                let head = reply_head(response::SUCCESS, *opaque);
                let mut writer = FrameWriter::begin(cx.output(*conn), head);
                writer.field_str("msgId", unique_key.as_bytes());
                writer.field_str("MSG_REGION", settings.config.region_id.as_bytes());
                writer.finish();
            }
            ClientAnswer::Replied(replied) => replied.write(settings, cx, Some(stored)),
        }
    }
}

/// Who waits on this shard for a message to be stored.
pub(crate) enum PutFor {
    /// A client.
    Client(ClientAnswer),
    /// A delay level; with the message's offset in its queue.
    Delay { level: u32, offset: i64 },
    /// The timer.
    Timer(crate::timer::Source),
    /// Transactions.
    Transaction(Putting),
}

/// What a client is told of a message that is not durable in time; as to a plain send.
fn late_remark(settings: &Settings) -> String {
    let limit_ms = settings.config.sync_flush_timeout_ms;
    format!("stage flushed: not durable within syncFlushTimeout = {limit_ms} ms")
}

struct Storing {
    from: ShardId,
    ticket: u64,
    stored: Stored,
}

/// A message that waits for room in the log.
struct Waiting {
    message: Box<OwnMessage>,
    from: ShardId,
    ticket: u64,
}

/// The broker's own messages on one shard: those it asked for, and those it stores.
#[derive(Default)]
pub(crate) struct Puts {
    next: u64,
    asked: HashMap<u64, PutFor>,
    storing: HashMap<u64, Storing>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
}

impl Puts {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The half that a message continues, as this shard has asked for it.
    fn continued(&self, is_mine: bool, ticket: u64) -> Option<i64> {
        match self.asked.get(&ticket).filter(|_| is_mine)? {
            PutFor::Transaction(Putting::Again { half, .. }) => Some(*half),
            PutFor::Transaction(_)
            | PutFor::Client(_)
            | PutFor::Delay { .. }
            | PutFor::Timer(_) => None,
        }
    }
}

/// Stores a message; `who` hears of it in a later call.
pub(crate) fn put<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    mut message: Box<OwnMessage>,
    who: PutFor,
) {
    let ticket = broker.puts.number();
    broker.puts.asked.insert(ticket, who);
    if !message.is_due {
        message.is_due = true;
        if let Err(refusal) = take_detour(broker, &mut message, cx.now.wall) {
            tell(cx, broker.me, ticket, Err(NotStored { refusal, message }));
            return;
        }
    }
    let (from, to) = (broker.me, broker.owner(&message.topic, message.queue_id));
    if to == from {
        store(broker, cx, Waiting { message, from, ticket });
    } else {
        cx.mail(to, BrokerMail::Put(PutMail::Store { message, from, ticket }));
    }
}

/// A message with a delay waits in another queue, as a client's does.
fn take_detour(broker: &Broker, message: &mut OwnMessage, now: WallMs) -> Result<(), Refusal> {
    let look = Look::at(&message.properties);
    let detour = Detour::of(&look, message.sys_flag, &broker.settings, now)?;
    let Some(detour) = detour else { return Ok(()) };
    let (topic, queue_id) = (std::mem::take(&mut message.topic), message.queue_id);
    detour.note(&broker.settings, &mut message.properties, &topic, queue_id);
    message.topic = detour.topic().to_vec();
    message.queue_id = detour.queue_id(&broker.settings);
    Ok(())
}

/// Mail about such messages.
pub(crate) fn on_mail<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, mail: PutMail) {
    match mail {
        PutMail::Store { message, from, ticket } => {
            store(broker, cx, Waiting { message, from, ticket });
        }
        PutMail::Make { message, from, ticket } => make_topic(broker, cx, message, from, ticket),
        PutMail::Done { ticket, result } => finish(broker, cx, ticket, result),
    }
}

/// Makes the topic of a message at home, then sends the message on to its queue.
fn make_topic<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    mut message: Box<OwnMessage>,
    from: ShardId,
    ticket: u64,
) {
    let mut changes = Vec::new();
    if let Some(config) = message.creates.take()
        && broker.topics.get(config.topic_name.as_bytes()).is_none()
    {
        if let Err(refusal) = topic::check_room(broker, 1) {
            tell(cx, from, ticket, Err(NotStored { refusal, message }));
            return;
        }
        tracing::info!(
            "topic {}: made for the broker's own messages with {} queues",
            config.topic_name,
            config.write_queue_nums
        );
        changes.push(Change::Topic(config));
    }
    let to = broker.owner(&message.topic, message.queue_id);
    let mail = BrokerMail::Put(PutMail::Store { message, from, ticket });
    publish(broker, cx, changes, Then::Mail { to, mail: Box::new(mail) });
}

fn store<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, waiting: Waiting) {
    if let Err(refusal) = check_topic(&broker.topics, &waiting.message.topic) {
        let Waiting { message, from, ticket } = waiting;
        tell(cx, from, ticket, Err(NotStored { refusal, message }));
        return;
    }
    if let Some(config) = &waiting.message.creates
        && broker.topics.get(config.topic_name.as_bytes()).is_none()
    {
        let Waiting { message, from, ticket } = waiting;
        cx.mail(ShardId::META, BrokerMail::Put(PutMail::Make { message, from, ticket }));
        return;
    }
    if !broker.puts.waiting.is_empty() {
        wait(broker, cx, waiting);
    } else if let Some(waiting) = append(broker, cx, waiting) {
        wait(broker, cx, waiting);
        arm(cx);
    }
}

fn arm<H: Host>(cx: &mut Cx<'_, H>) {
    cx.set_timer(cx.now.mono.plus_ms(WAITING_MS), timer_key(TimerKind::Put, 0));
}

fn wait<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, waiting: Waiting) {
    let bytes = waiting.message.bytes();
    let held = broker.puts.waiting_bytes;
    if held + bytes > WAITING_BYTES_MAX {
        let remark = format!(
            "stage appended: {held} bytes of the broker's own messages wait for room in the log, the limit is \
             {WAITING_BYTES_MAX}"
        );
        let refusal = Refusal::new(response::SYSTEM_BUSY, remark);
        let Waiting { message, from, ticket } = waiting;
        tell(cx, from, ticket, Err(NotStored { refusal, message }));
        return;
    }
    broker.puts.waiting_bytes += bytes;
    broker.puts.waiting.push_back(waiting);
}

/// The log may have room again.
pub(crate) fn on_timer<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    while let Some(next) = broker.puts.waiting.pop_front() {
        let bytes = next.message.bytes();
        if let Some(next) = append(broker, cx, next) {
            broker.puts.waiting.push_front(next);
            arm(cx);
            return;
        }
        broker.puts.waiting_bytes -= bytes;
    }
}

/// Appends a message; gives it back when the log has no room for it now.
fn append<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, waiting: Waiting) -> Option<Waiting> {
    let Waiting { message, from, ticket } = waiting;
    if message.properties.len() > PROPERTIES_BYTES_MAX {
        let remark = format!(
            "the properties have {} bytes, the limit is {PROPERTIES_BYTES_MAX}",
            message.properties.len()
        );
        let refusal = Refusal::new(response::MESSAGE_ILLEGAL, remark);
        tell(cx, from, ticket, Err(NotStored { refusal, message }));
        return None;
    }
    let stream = broker.stream_of(&message.topic, message.queue_id);
    let queue = cx.store().find_or_create(&message.topic, message.queue_id, stream);
    let new = message.as_new(broker.settings.store_host);
    let now = cx.now;
    let mut batch = match cx.store().begin(queue, new.encoded_len(), now) {
        Ok(batch) => batch,
        Err(AppendError::Behind) => return Some(Waiting { message, from, ticket }),
        Err(error) => {
            let refusal = append_refusal(error);
            tell(cx, from, ticket, Err(NotStored { refusal, message }));
            return None;
        }
    };
    let look = Look::at(&message.properties);
    let tags_code = look.tags_code(&broker.settings, &message.topic, now.wall);
    let phy = batch.push_indexed(&new, tags_code, &look.index_keys(&message.properties));
    broker.bit_maps.note(&mut batch, &message.topic, &message.properties);
    let appended = batch.finish();
    let (end, queue_offset) = (appended.end, appended.first.0);
    let stored = Stored { phy, end, queue_offset, is_late: false };
    let number = broker.puts.number();
    broker.puts.storing.insert(number, Storing { from, ticket, stored });
    cx.when_stored(appended, number);
    if message.topic == HALF_TOPIC && message.queue_id == transactions::QUEUE {
        let half = broker.puts.continued(from == broker.me, ticket);
        transactions::on_appended(broker, cx, stored, &message, half);
    }
    None
}

/// The name may come from a message, or from a table that somebody has edited: a queue's directory is called after it.
fn check_topic(topics: &TopicTable, topic: &[u8]) -> Result<(), Refusal> {
    if let Some(Err(refusal)) = topics.get(topic).map(Topic::check_queue_type) {
        return Err(Refusal { code: response::MESSAGE_ILLEGAL, ..refusal });
    }
    let name = String::from_utf8_lossy(topic);
    if !name.is_empty() && name.len() <= DERIVED_TOPIC_BYTES_MAX && has_legal_characters(&name) {
        return Ok(());
    }
    let remark = format!(
        "the message is illegal: topic {name:?} has {} bytes, allowed are 1 to {DERIVED_TOPIC_BYTES_MAX} of \
         ^[%|a-zA-Z0-9_-]+$",
        name.len()
    );
    Err(Refusal::new(response::MESSAGE_ILLEGAL, remark))
}

/// A message is stored. One that is not durable in time is there all the same: it will be, or the store stops.
pub(crate) fn on_stored<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    number: u64,
    in_time: bool,
) {
    let Some(storing) = broker.puts.storing.remove(&number) else { return };
    let stored = Stored { is_late: !in_time, ..storing.stored };
    tell(cx, storing.from, storing.ticket, Ok(stored));
}

/// By mail also to this shard: whoever asked hears of it after it has ended its own work.
fn tell<H: Host>(cx: &mut Cx<'_, H>, to: ShardId, ticket: u64, result: PutResult) {
    cx.mail(to, BrokerMail::Put(PutMail::Done { ticket, result }));
}

fn finish<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, ticket: u64, result: PutResult) {
    match broker.puts.asked.remove(&ticket).expect("a message is asked for once, and ends once") {
        PutFor::Client(answer) => match result {
            Ok(stored) => answer.succeed(&broker.settings, cx, stored),
            // What counts is that the requester has it.
            Err(failed) if let ClientAnswer::Replied(replied) = &answer => {
                tracing::warn!("a reply is not stored: {}", failed.refusal.remark);
                replied.write(&broker.settings, cx, None);
            }
            Err(failed) => answer.refuse(cx, &failed.refusal),
        },
        PutFor::Timer(source) => crate::timer::on_put(broker, cx, source, result),
        PutFor::Delay { level, offset } => {
            crate::delay::on_put(broker, cx, level, offset, result);
        }
        PutFor::Transaction(what) => transactions::on_put(broker, cx, what, result),
    }
}
