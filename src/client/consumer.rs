//! Pulling. Java: `PullAPIWrapper`, `DefaultMQPullConsumerImpl`, without offset stores: the caller names offsets.

use crate::connection::{Connection, Reply, text};
use crate::error::Error;
use std::net::SocketAddr;
use std::time::Duration;
use wire::codes::{request, response};
use wire::req::client::{PullMessageRequestHeader, PullMessageResponseHeader};
use wire::{MessageView, Props, sys_flag};

/// Most messages a pull asks for, as Java's push consumer.
const MESSAGES_MAX: i32 = 32;

/// What to pull.
#[derive(Clone, Copy, Debug)]
pub struct Pull<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue.
    pub queue_id: i32,
    /// First index wanted.
    pub offset: i64,
    /// Most messages wanted.
    pub messages_max: i32,
    /// Offset to store for the group on the way.
    pub commit_offset: Option<i64>,
    /// How long the broker may wait for a message; none: it answers at once.
    pub suspend: Option<Duration>,
    /// Expression sent along. Without one the broker takes the subscription of the group's heartbeats.
    pub subscription: Option<&'a str>,
    /// `TAG` or `SQL92`; none means TAG.
    pub expression_type: Option<&'a str>,
    /// Version of the subscription.
    pub sub_version: i64,
    /// Further bits of the request's system flag, see `wire::sys_flag`.
    pub extra_flags: i32,
}

impl<'a> Pull<'a> {
    /// At most 32 messages with any tag, answered at once.
    pub fn new(topic: &'a str, queue_id: i32, offset: i64) -> Pull<'a> {
        Pull {
            topic,
            queue_id,
            offset,
            messages_max: MESSAGES_MAX,
            commit_offset: None,
            suspend: None,
            subscription: Some("*"),
            expression_type: None,
            sub_version: 0,
            extra_flags: 0,
        }
    }

    /// Lets the broker hold the request.
    pub fn suspend(mut self, longest: Duration) -> Pull<'a> {
        self.suspend = Some(longest);
        self
    }

    /// Asks for some tags only.
    pub fn tags(mut self, expression: &'a str) -> Pull<'a> {
        self.subscription = Some(expression);
        self
    }

    fn sys_flag(&self) -> i32 {
        let mut bits = self.extra_flags;
        if self.commit_offset.is_some() {
            bits |= sys_flag::PULL_COMMIT_OFFSET;
        }
        if self.suspend.is_some() {
            bits |= sys_flag::PULL_SUSPEND;
        }
        if self.subscription.is_some() {
            bits |= sys_flag::PULL_SUBSCRIPTION;
        }
        bits
    }
}

/// What kind of answer a pull got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PullStatus {
    /// Messages (code 0).
    Found,
    /// Nothing there yet (code 19).
    NotFound,
    /// Nothing that matches; go on at the next offset at once (code 20).
    RetryImmediately,
    /// The offset is outside the queue; go on at the next offset (code 21).
    OffsetMoved,
}

/// The answer to a pull.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// Its kind.
    pub status: PullStatus,
    /// Index to continue from.
    pub next_offset: i64,
    /// First index of the queue.
    pub min_offset: i64,
    /// One past the last index of the queue.
    pub max_offset: i64,
    /// Broker id to pull from next.
    pub suggested_broker_id: i64,
    /// The messages.
    pub messages: Vec<Received>,
}

/// A stored message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// Topic.
    pub topic: String,
    /// Queue.
    pub queue_id: i32,
    /// Index in the queue.
    pub queue_offset: i64,
    /// Place in the log.
    pub physical_offset: i64,
    /// The user's flag.
    pub flag: i32,
    /// System flag, see `wire::sys_flag`.
    pub sys_flag: i32,
    /// The producer's time stamp in milliseconds since 1970.
    pub born_timestamp: i64,
    /// Address of the producer.
    pub born_host: SocketAddr,
    /// The broker's time stamp in milliseconds since 1970.
    pub store_timestamp: i64,
    /// Address of the broker.
    pub store_host: SocketAddr,
    /// How often consumption was tried.
    pub reconsume_times: i32,
    /// Offset of the half message of a transaction.
    pub prepared_transaction_offset: i64,
    /// The body as stored, perhaps compressed.
    pub body: Vec<u8>,
    /// Properties text.
    pub properties: Vec<u8>,
}

impl Received {
    /// Reads one stored message at the start of `bytes`; the second value is its size. Its body CRC must be right.
    pub fn decode(bytes: &[u8]) -> Result<(Received, usize), Error> {
        let (view, size) = MessageView::parse(bytes).map_err(Error::protocol)?;
        if !view.check_body_crc() {
            let (queue, offset) = (view.queue_id().0, view.queue_offset().0);
            return Err(Error::Protocol(format!(
                "the body CRC of message {offset} of queue {queue} is wrong"
            )));
        }
        let received = Received {
            topic: String::from_utf8_lossy(view.topic()).into_owned(),
            queue_id: view.queue_id().0,
            queue_offset: view.queue_offset().0,
            physical_offset: view.phy_offset().to_wire(),
            flag: view.flag(),
            sys_flag: view.sys_flag(),
            born_timestamp: view.born_timestamp(),
            born_host: view.born_host(),
            store_timestamp: view.store_timestamp().0,
            store_host: view.store_host(),
            reconsume_times: view.reconsume_times(),
            prepared_transaction_offset: view.prepared_transaction_offset(),
            body: view.body().to_vec(),
            properties: view.properties().to_vec(),
        };
        Ok((received, size))
    }

    /// Reads stored messages back to back.
    pub fn decode_all(mut bytes: &[u8]) -> Result<Vec<Received>, Error> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let (message, size) = Received::decode(bytes)?;
            messages.push(message);
            bytes = &bytes[size..];
        }
        Ok(messages)
    }

    /// The text of a property.
    pub fn property(&self, key: &str) -> Option<String> {
        let value = Props::new(&self.properties).get(key)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

/// Pulls over one connection.
#[derive(Debug)]
pub struct Consumer {
    connection: Connection,
    group: String,
}

impl Consumer {
    /// A consumer of a group. It does not join the group: see `Connection::heartbeat_consumer`.
    pub fn new(connection: Connection, group: &str) -> Consumer {
        Consumer { connection, group: group.to_owned() }
    }

    /// The connection below.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Pulls and waits, also as long as the broker may hold the request.
    pub fn pull(&mut self, pull: &Pull<'_>) -> Result<Pulled, Error> {
        let timeout = self.connection.options().timeout;
        let opaque = self.submit(pull)?;
        self.connection.set_timeout(timeout + pull.suspend.unwrap_or_default());
        let result = self.result(opaque);
        self.connection.set_timeout(timeout);
        result
    }

    /// Pulls without waiting; the opaque is for `result`.
    pub fn submit(&mut self, pull: &Pull<'_>) -> Result<i32, Error> {
        let suspend_ms = pull.suspend.unwrap_or_default().as_millis();
        let header = PullMessageRequestHeader {
            consumer_group: text(&self.group),
            topic: text(pull.topic),
            queue_id: pull.queue_id,
            queue_offset: pull.offset,
            max_msg_nums: pull.messages_max,
            sys_flag: pull.sys_flag(),
            commit_offset: pull.commit_offset.unwrap_or(0),
            suspend_timeout_millis: i64::try_from(suspend_ms).unwrap_or(i64::MAX),
            subscription: pull.subscription.map(text),
            sub_version: pull.sub_version,
            expression_type: pull.expression_type.map(text),
            max_msg_bytes: None,
            request_source: None,
            proxy_forward_client_id: None,
            broker_name: None,
        };
        self.connection.submit(request::PULL_MESSAGE, |w| header.encode(w), &[])
    }

    /// Waits for the answer to a submitted pull.
    pub fn result(&mut self, opaque: i32) -> Result<Pulled, Error> {
        pulled(&self.connection.wait(opaque)?)
    }

    /// All messages of a queue from `offset` to its present end.
    pub fn pull_all(
        &mut self,
        topic: &str,
        queue_id: i32,
        offset: i64,
    ) -> Result<Vec<Received>, Error> {
        let mut next = offset;
        let mut messages = Vec::new();
        loop {
            let mut answer = self.pull(&Pull::new(topic, queue_id, next))?;
            messages.append(&mut answer.messages);
            let goes_on = answer.next_offset > next && answer.next_offset < answer.max_offset;
            if answer.status == PullStatus::NotFound || !goes_on {
                return Ok(messages);
            }
            next = answer.next_offset;
        }
    }

    /// What the group has consumed of a queue; `None` when nothing is stored.
    pub fn committed(&mut self, topic: &str, queue_id: i32) -> Result<Option<i64>, Error> {
        self.connection.consumer_offset(&self.group, topic, queue_id)
    }

    /// Stores the next index the group will consume.
    pub fn commit(&mut self, topic: &str, queue_id: i32, offset: i64) -> Result<(), Error> {
        self.connection.update_consumer_offset(&self.group, topic, queue_id, offset)
    }
}

fn pulled(reply: &Reply) -> Result<Pulled, Error> {
    let status = match reply.code() {
        response::SUCCESS => PullStatus::Found,
        response::PULL_NOT_FOUND => PullStatus::NotFound,
        response::PULL_RETRY_IMMEDIATELY => PullStatus::RetryImmediately,
        response::PULL_OFFSET_MOVED => PullStatus::OffsetMoved,
        _ => return Err(reply.refusal()),
    };
    let header =
        PullMessageResponseHeader::decode(&reply.header().fields).map_err(Error::protocol)?;
    Ok(Pulled {
        status,
        next_offset: header.next_begin_offset,
        min_offset: header.min_offset,
        max_offset: header.max_offset,
        suggested_broker_id: header.suggest_which_broker_id,
        messages: Received::decode_all(reply.body())?,
    })
}
