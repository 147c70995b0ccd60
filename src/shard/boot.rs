//! What a shard is started with.

use crate::index_files::ShardIndex;
use crate::stalled::StallLimits;
use crate::store_dir::StorePaths;
use base::ids::ShardId;
use reactor::ReactorConfig;
use reactor::affinity::Cpu;
use std::fs::File;
use std::net::TcpListener;
use std::sync::Arc;
use store::Store;
use wire::ids::StreamId;

use crate::app::ListenerTag;

/// Open files of a segment.
pub struct SegmentFiles {
    /// Stream of the segment.
    pub stream: StreamId,
    /// Start position.
    pub base: u64,
    /// For direct writes; only where writing goes on.
    pub direct: Option<File>,
    /// For buffered reads.
    pub read: File,
}

/// A shard's part of an opened store.
pub struct ShardStore {
    /// The engine.
    pub store: Store,
    /// Its segment files.
    pub files: Vec<SegmentFiles>,
    /// Its streams' indexes.
    pub index: ShardIndex,
    /// Where everything lies.
    pub paths: Arc<StorePaths>,
}

/// Settings of the loop.
#[derive(Clone, Copy, Debug)]
pub struct ShardConfig {
    /// Sizes of the ring and its buffers.
    pub reactor: ReactorConfig,
    /// A connection without traffic for this long is closed; 0: never.
    pub idle_connection_ms: u64,
    /// A synced message that is not durable after this long is answered FLUSH_DISK_TIMEOUT.
    pub sync_flush_timeout_ms: u64,
    /// How much waits for the log window, and how long.
    pub stall: StallLimits,
    /// Work that comes at shorter intervals than this is waited for awake, ns.
    pub spin_ns: u64,
}

/// Everything one shard's thread gets.
pub struct ShardSeed {
    /// Number of the shard.
    pub id: ShardId,
    /// CPU it is pinned to.
    pub cpu: Cpu,
    /// Its listeners, already bound.
    pub listeners: Vec<(TcpListener, ListenerTag)>,
    /// Its part of the store, where a broker runs.
    pub store: Option<ShardStore>,
    /// Settings.
    pub config: ShardConfig,
}
