//! Mail between the shards of a broker, and answers of its background jobs.

use base::ids::{ConnId, ShardId};
use shard::Peer;
use std::sync::Arc;
use wire::body::register::TopicConfig;

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
        /// The sender is stopping: there is no more.
        last: bool,
    },
    /// What the metadata families add.
    Meta(crate::handlers::meta::MetaMail),
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
    /// Nothing to do with the answer.
    Nothing,
}

/// The shard that serves a stream.
pub fn shard_of(stream: wire::ids::StreamId, shards: usize) -> ShardId {
    ShardId(u16::try_from(usize::from(stream.0) % shards).expect("less than the number of shards"))
}
