//! Sending. Java: `DefaultMQProducerImpl` without retries and route changes: the caller names the queue.

use crate::admin::wall_ms;
use crate::connection::{Connection, Reply, text};
use crate::consumer::Received;
use crate::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wire::batch::{BatchItem, encode_item};
use wire::codes::{request, response};
use wire::props;
use wire::req::client::{CheckTransactionStateRequestHeader, EndTransactionRequestHeader};
use wire::req::send::{SendMessageResponseHeader, SendRequest};
use wire::sys_flag;

/// A message to send.
#[derive(Clone, Debug)]
pub struct Message {
    /// Topic.
    pub topic: String,
    /// Body; brokers refuse an empty one.
    pub body: Vec<u8>,
    /// Properties text, see `wire::props`.
    pub properties: Vec<u8>,
    /// The user's flag.
    pub flag: i32,
    /// System flag, see `wire::sys_flag`.
    pub sys_flag: i32,
    /// How often consumption was tried, in a retry that a consumer sends itself.
    pub reconsume_times: i32,
    /// Tries until the dead letter queue, in such a retry.
    pub max_reconsume_times: Option<i32>,
}

impl Message {
    /// A message without properties.
    pub fn new(topic: &str, body: impl Into<Vec<u8>>) -> Message {
        Message {
            topic: topic.to_owned(),
            body: body.into(),
            properties: Vec::new(),
            flag: 0,
            sys_flag: 0,
            reconsume_times: 0,
            max_reconsume_times: None,
        }
    }

    /// Sets a property; names with a meaning of their own are in `wire::props`.
    pub fn with(mut self, key: &str, value: &str) -> Message {
        props::set(&mut self.properties, key, value.as_bytes());
        self
    }

    /// Sets the tag.
    pub fn tag(self, tag: &str) -> Message {
        self.with(props::TAGS, tag)
    }

    /// Sets the index keys, separated by blanks.
    pub fn keys(self, keys: &str) -> Message {
        self.with(props::KEYS, keys)
    }

    /// Makes it the half message of a transaction of a producer group.
    pub fn half(mut self, group: &str) -> Message {
        self.sys_flag |= sys_flag::TRANSACTION_PREPARED;
        self.with(props::TRANSACTION_PREPARED, "true").with(props::PRODUCER_GROUP, group)
    }

    /// The properties with a unique key, which every Java client adds.
    fn with_unique_key(&self) -> Vec<u8> {
        let mut properties = self.properties.clone();
        if wire::Props::new(&properties).get(props::UNIQ_KEY).is_none() {
            props::append(&mut properties, props::UNIQ_KEY, unique_key().as_bytes());
        }
        properties
    }
}

/// How durable a stored message is, as the broker reports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendStatus {
    /// As the broker's configuration asks.
    Ok,
    /// Stored, but not flushed in time (code 10).
    FlushDiskTimeout,
    /// Stored, but not on a slave in time (code 12).
    FlushSlaveTimeout,
    /// Stored, but there is no slave (code 11).
    SlaveNotAvailable,
}

/// Answer to a send that stored its messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SendResult {
    /// How durable they are.
    pub status: SendStatus,
    /// `offsetMsgId`; of a batch all of them, joined by commas.
    pub msg_id: String,
    /// Queue.
    pub queue_id: i32,
    /// Index in the queue; of a batch the first.
    pub queue_offset: i64,
    /// Unique key, when the broker names it.
    pub transaction_id: Option<String>,
}

/// How a transaction ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionEnd {
    /// Its message goes to its topic.
    Commit,
    /// Its message is dropped.
    Rollback,
    /// Not known yet; Java brokers do not answer this.
    Unknown,
}

/// Where the half message of a transaction lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HalfPlace {
    /// Index in the half queue.
    pub queue_offset: i64,
    /// Place in the log.
    pub physical_offset: i64,
}

impl HalfPlace {
    /// The place that the answer to a send names. Errors: a message id that is none.
    pub fn of(sent: &SendResult) -> Result<HalfPlace, Error> {
        let id: wire::msg_id::MessageId = sent.msg_id.parse().map_err(Error::protocol)?;
        let physical_offset = id.phy.to_wire();
        Ok(HalfPlace { queue_offset: sent.queue_offset, physical_offset })
    }
}

/// A broker's question about a transaction (code 39).
#[derive(Clone, Debug)]
pub struct TransactionCheck {
    /// The half message.
    pub half: HalfPlace,
    /// The message under its own topic.
    pub message: Received,
    /// The request as it came.
    pub request: Reply,
}

/// Sends over one connection.
#[derive(Debug)]
pub struct Producer {
    connection: Connection,
    group: String,
}

impl Producer {
    /// A producer of a group.
    pub fn new(connection: Connection, group: &str) -> Producer {
        Producer { connection, group: group.to_owned() }
    }

    /// The connection below.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Sends one message to a queue (negative: the broker chooses) and waits.
    pub fn send(&mut self, message: &Message, queue_id: i32) -> Result<SendResult, Error> {
        let opaque = self.submit(message, queue_id)?;
        self.result(opaque)
    }

    /// Sends without waiting; the opaque is for `result`.
    pub fn submit(&mut self, message: &Message, queue_id: i32) -> Result<i32, Error> {
        let properties = message.with_unique_key();
        let header = header(&self.group, message, queue_id, &properties, false)?;
        let code = request::SEND_MESSAGE_V2;
        self.connection.submit(code, |w| header.encode_v2(w), &message.body)
    }

    /// Waits for the answer to a submitted send.
    pub fn result(&mut self, opaque: i32) -> Result<SendResult, Error> {
        send_result(&self.connection.wait(opaque)?)
    }

    /// Sends one message that the broker does not answer.
    pub fn send_oneway(&mut self, message: &Message, queue_id: i32) -> Result<(), Error> {
        let properties = message.with_unique_key();
        let header = header(&self.group, message, queue_id, &properties, false)?;
        let code = request::SEND_MESSAGE_V2;
        self.connection.oneway(code, |w| header.encode_v2(w), &message.body)
    }

    /// Ends a transaction (code 37) and waits for the answer; `was_asked`: it answers a question of the broker.
    pub fn end_transaction(
        &mut self,
        half: HalfPlace,
        end: TransactionEnd,
        was_asked: bool,
    ) -> Result<(), Error> {
        let header = end_header(&self.group, half, end, was_asked);
        let code = request::END_TRANSACTION;
        self.connection.call_ok(code, |w| header.encode(w), &[]).map(drop)
    }

    /// As `end_transaction`, without an answer, as Java clients do.
    pub fn end_transaction_oneway(
        &mut self,
        half: HalfPlace,
        end: TransactionEnd,
        was_asked: bool,
    ) -> Result<(), Error> {
        let header = end_header(&self.group, half, end, was_asked);
        self.connection.oneway(request::END_TRANSACTION, |w| header.encode(w), &[])
    }

    /// The broker's next question about a transaction; other requests of the broker are dropped.
    pub fn take_check(&mut self, timeout: Duration) -> Result<TransactionCheck, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let request = self.connection.take_request(left)?;
            if request.code() != request::CHECK_TRANSACTION_STATE {
                continue;
            }
            let fields = request.header().fields;
            let header =
                CheckTransactionStateRequestHeader::decode(&fields).map_err(Error::protocol)?;
            let half = HalfPlace {
                queue_offset: header.tran_state_table_offset,
                physical_offset: header.commit_log_offset,
            };
            let (message, _) = Received::decode(request.body())?;
            return Ok(TransactionCheck { half, message, request });
        }
    }

    /// Sends messages of one topic as a batch (code 320); they get consecutive indexes.
    pub fn send_batch(&mut self, messages: &[Message], queue_id: i32) -> Result<SendResult, Error> {
        let Some(first) = messages.first() else {
            return Err(Error::Protocol("a batch needs a message".to_owned()));
        };
        if let Some(other) = messages.iter().find(|message| message.topic != first.topic) {
            let topics = format!("{} and {}", first.topic, other.topic);
            return Err(Error::Protocol(format!("a batch has one topic, not {topics}")));
        }
        let mut body = Vec::new();
        for message in messages {
            let properties = message.with_unique_key();
            check_properties(&properties)?;
            let item =
                BatchItem { flag: message.flag, body: &message.body, properties: &properties };
            encode_item(&mut body, &item);
        }
        let header = header(&self.group, first, queue_id, b"", true)?;
        let code = request::SEND_BATCH_MESSAGE;
        let opaque = self.connection.submit(code, |w| header.encode_v2(w), &body)?;
        self.result(opaque)
    }
}

fn header<'a>(
    group: &'a str,
    message: &'a Message,
    queue_id: i32,
    properties: &'a [u8],
    is_batch: bool,
) -> Result<SendRequest<'a>, Error> {
    check_properties(properties)?;
    Ok(SendRequest {
        producer_group: Some(text(group)),
        topic: text(&message.topic),
        default_topic: Some(text("TBW102")),
        default_topic_queue_nums: Some(4),
        queue_id,
        sys_flag: message.sys_flag,
        born_timestamp: wall_ms(),
        flag: message.flag,
        properties: Some(wire::Text::plain(properties)),
        reconsume_times: Some(message.reconsume_times),
        unit_mode: Some(false),
        max_reconsume_times: message.max_reconsume_times,
        batch: Some(is_batch),
        broker_name: None,
    })
}

fn end_header(
    group: &str,
    half: HalfPlace,
    end: TransactionEnd,
    was_asked: bool,
) -> EndTransactionRequestHeader<'_> {
    EndTransactionRequestHeader {
        producer_group: text(group),
        tran_state_table_offset: half.queue_offset,
        commit_log_offset: half.physical_offset,
        commit_or_rollback: match end {
            TransactionEnd::Commit => sys_flag::TRANSACTION_COMMIT,
            TransactionEnd::Rollback => sys_flag::TRANSACTION_ROLLBACK,
            TransactionEnd::Unknown => 0,
        },
        from_transaction_check: was_asked,
        msg_id: None,
        transaction_id: None,
    }
}

fn check_properties(properties: &[u8]) -> Result<(), Error> {
    if properties.len() > props::PROPERTIES_BYTES_MAX {
        let (bytes, limit) = (properties.len(), props::PROPERTIES_BYTES_MAX);
        return Err(Error::Protocol(format!("properties of {bytes} bytes, the limit is {limit}")));
    }
    Ok(())
}

fn send_result(reply: &Reply) -> Result<SendResult, Error> {
    let status = match reply.code() {
        response::SUCCESS => SendStatus::Ok,
        response::FLUSH_DISK_TIMEOUT => SendStatus::FlushDiskTimeout,
        response::FLUSH_SLAVE_TIMEOUT => SendStatus::FlushSlaveTimeout,
        response::SLAVE_NOT_AVAILABLE => SendStatus::SlaveNotAvailable,
        _ => return Err(reply.refusal()),
    };
    let header =
        SendMessageResponseHeader::decode(&reply.header().fields).map_err(Error::protocol)?;
    Ok(SendResult {
        status,
        msg_id: header.msg_id.to_cow().into_owned(),
        queue_id: header.queue_id,
        queue_offset: header.queue_offset,
        transaction_id: header.transaction_id.map(|id| id.to_cow().into_owned()),
    })
}

/// 32 hex digits, unlike those of any other message of this machine: time, process and counter.
fn unique_key() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed) & 0xFFFF_FFFF;
    format!("{:016X}{:08X}{count:08X}", wall_ms(), std::process::id())
}
