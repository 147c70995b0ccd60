//! Mail between the shards of a broker, and answers of its background jobs.

use crate::handlers::meta::clean::NotNoted;
use base::ids::{ConnId, ShardId};
use shard::Peer;
use std::sync::Arc;
use store::index::IndexQuery;
use wire::body::register::TopicConfig;
use wire::ids::PhyOffset;

/// A broadcast that waits for every shard's receipt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ScatterId(pub u64);

/// What shards tell each other.
pub enum BrokerMail {
    /// A request for the receiver, which answers `conn` itself.
    Request {
        /// Who asked.
        conn: ConnId,
        /// Where from.
        peer: Peer,
        /// The whole frame.
        frame: Vec<u8>,
        /// The connection's shard counts it until it is handled.
        counted: bool,
    },
    /// To the metadata shard: a send to a topic that does not exist yet. It is created if the rules allow it, then
    /// the request goes on at the queue's shard.
    EnsureTopic {
        /// Who asked.
        conn: ConnId,
        /// Where from.
        peer: Peer,
        /// The whole frame.
        frame: Vec<u8>,
    },
    /// From the metadata shard: this is the topic now.
    Topic {
        /// The new configuration.
        config: Arc<TopicConfig>,
        /// Receipt wanted.
        scatter: ScatterId,
    },
    /// From the metadata shard: the topic is gone.
    TopicRemoved {
        /// Its name.
        topic: Arc<[u8]>,
        /// For the answer.
        not_noted: NotNoted,
        /// Receipt wanted.
        scatter: ScatterId,
    },
    /// Receipt of a broadcast.
    Receipt(ScatterId),
    /// A connection that had taken part in membership has ended; to the metadata shard.
    ConnClosed(ConnId),
    /// Consumer offsets that changed since the last such mail; to the metadata shard.
    Offsets {
        /// `topic@group`, queue, offset.
        changed: Vec<(Arc<[u8]>, i32, i64)>,
        /// Delay level, and how far it is.
        delays: Vec<(i32, i64)>,
        /// The sender is stopping: there is no more.
        last: bool,
    },
    /// A query by key.
    Query(QueryMail),
    /// A query for entries of a queue of the receiver.
    Entries(Box<crate::handlers::entries::EntriesAsk>),
    /// A message of the broker's own.
    Put(crate::put::PutMail),
    /// About transactions.
    Transactions(crate::transactions::TransactionMail),
    /// What the broker has read of a queue.
    OwnRead(crate::own_reads::OwnRead),
    /// How far what the timer has delivered is on the disk.
    Timer(crate::timer::TimerMail),
    /// What the metadata families add.
    Meta(crate::handlers::meta::MetaMail),
}

/// What shards tell each other about a query by key.
pub enum QueryMail {
    /// What does the receiver have?
    Ask {
        /// The sender's number of the query.
        ticket: u64,
        /// What is looked for.
        query: IndexQuery,
    },
    /// What the sender has.
    Part {
        /// Number of the query.
        ticket: u64,
        /// What was found.
        part: QueryPart,
    },
}

/// What one shard, or several, have for a query by key.
#[derive(Default)]
pub struct QueryPart {
    /// Store time of the newest record in the index, ms.
    pub last_timestamp: i64,
    /// Physical offset of that record.
    pub last_phy: i64,
    /// The index has the key, whether or not a record is still there.
    pub is_hit: bool,
    /// The records.
    pub records: Vec<FoundRecord>,
}

impl QueryPart {
    /// Adds another shard's part.
    pub fn merge(&mut self, other: QueryPart) {
        let last = (self.last_timestamp, self.last_phy);
        (self.last_timestamp, self.last_phy) = last.max((other.last_timestamp, other.last_phy));
        self.is_hit |= other.is_hit;
        self.records.extend(other.records);
    }
}

/// A record that was found.
pub struct FoundRecord {
    /// Where it lies.
    pub place: PhyOffset,
    /// Its store time, ms.
    pub timestamp: i64,
    /// The whole record.
    pub bytes: Vec<u8>,
}

/// Answers of background jobs.
pub enum BrokerDone {
    /// A table was written (or not: the text says why).
    TableWritten {
        /// File name, for the log.
        name: &'static str,
        /// Outcome.
        result: std::io::Result<()>,
    },
    /// The address of a name server.
    Resolved {
        /// Index of the name server.
        server: usize,
        /// Outcome.
        result: std::io::Result<std::net::SocketAddr>,
    },
    /// Frames that waited for the jobs before.
    Reply {
        /// Where they go.
        conn: ConnId,
        /// The frames.
        bytes: Vec<u8>,
    },
    /// A receipt that waited for the jobs before.
    Receipt {
        /// Who wants it.
        to: ShardId,
        /// Of what.
        scatter: ScatterId,
    },
    /// The timer's files were written.
    TimerWritten(crate::timer::TimerWritten),
    /// The file systems under the store.
    Disk(Box<crate::handlers::meta::disk::Disk>),
    /// Nothing to do with the answer.
    Nothing,
}

/// The shard that serves a stream.
pub fn shard_of(stream: wire::ids::StreamId, shards: usize) -> ShardId {
    ShardId(u16::try_from(usize::from(stream.0) % shards).expect("less than the number of shards"))
}
