//! Identifiers that must not be mixed: shards, connections. Each is a newtype, converted in one place.

use std::fmt;

/// Index of a shard: one pinned thread with one ring. Dense from 0; shard 0 is the metadata writer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard that alone writes metadata (topics, groups).
    pub const META: ShardId = ShardId(0);

    /// The shard as an index into per-shard tables.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {}", self.0)
    }
}

/// A connection, valid across shards and after its end: `generation` tells a reused slot apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ConnId {
    /// Shard whose ring owns the socket.
    pub shard: ShardId,
    /// Slot in that shard's connection table.
    pub slot: u32,
    /// Counts the uses of the slot.
    pub generation: u32,
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.shard.0, self.slot, self.generation)
    }
}
