//! What the engine asks of its driver. Completions come back with the operation's tag and an error number.

use crate::queues::QueueNo;
use std::sync::Arc;
use wire::ids::{PhyOffset, QueueId, StreamId};

/// Names an operation of a stream: kind in the top byte, stream in the next two, a sequence number below.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OpTag(pub u64);

/// Kinds of operations that complete with an `OpTag`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpKind {
    /// A write of log bytes.
    Write,
    /// A write of zeros ahead of the log.
    Zero,
    /// A sync of a segment.
    Sync,
}

const SEQUENCE_BITS: u32 = 40;

impl OpTag {
    /// Tag of operation `sequence` of `stream`.
    pub fn new(kind: OpKind, stream: StreamId, sequence: u64) -> OpTag {
        let kind = match kind {
            OpKind::Write => 1u64,
            OpKind::Zero => 2,
            OpKind::Sync => 3,
        };
        let sequence = sequence & ((1 << SEQUENCE_BITS) - 1);
        OpTag(kind << 56 | u64::from(stream.0) << SEQUENCE_BITS | sequence)
    }

    /// Kind of the operation; `None` for tags that the engine did not make.
    pub fn kind(self) -> Option<OpKind> {
        match self.0 >> 56 {
            1 => Some(OpKind::Write),
            2 => Some(OpKind::Zero),
            3 => Some(OpKind::Sync),
            _ => None,
        }
    }

    /// Stream of the operation.
    pub fn stream(self) -> StreamId {
        let [_, high, low, ..] = self.0.to_be_bytes();
        StreamId(u16::from_be_bytes([high, low]))
    }

    /// Sequence number inside kind and stream.
    pub fn sequence(self) -> u64 {
        self.0 & ((1 << SEQUENCE_BITS) - 1)
    }
}

/// An operation for the driver. Positions are stream positions; `base` is the start of the segment.
#[derive(Debug)]
pub enum StoreOp {
    /// Make the segment file at its full size, its name durable; answered by `Store::on_segment`.
    CreateSegment { stream: StreamId, base: u64 },
    /// Write whole blocks from the window. `fresh`: the segment is not full of zeros, so that the write may have to wait
    /// for the file system.
    WriteLog { base: u64, position: u64, len: usize, durable: bool, fresh: bool, tag: OpTag },
    /// Write the block at `position`, of which `len` bytes are filled: from a copy, zeros behind.
    WritePartial { base: u64, position: u64, len: usize, durable: bool, fresh: bool, tag: OpTag },
    /// Write zeros.
    ZeroLog { base: u64, position: u64, len: usize, tag: OpTag },
    /// Make completed writes of the segment durable.
    SyncLog { base: u64, tag: OpTag },
}

/// Entries of one queue for its files.
#[derive(Debug)]
pub struct QueueWrite {
    /// Topic of the queue.
    pub topic: Arc<[u8]>,
    /// Number of the queue.
    pub queue: QueueId,
    /// Queue offset of the first entry.
    pub first: i64,
    /// Encoded entries.
    pub bytes: Vec<u8>,
    /// What their extended entries say; empty where there are none.
    pub extended: Extended,
}

/// What extended entries say beyond the entries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Extended {
    /// The messages' store times, ms.
    pub times: Vec<i64>,
    /// Bytes of each one's bit map.
    pub map_bytes: Vec<u16>,
    /// The bit maps, one behind the other.
    pub maps: Vec<u8>,
}

/// A queue whose oldest entries may point below the start of the log.
#[derive(Debug)]
pub struct QueueTrim {
    /// The queue.
    pub no: QueueNo,
    /// Topic of the queue.
    pub topic: Arc<[u8]>,
    /// Number of the queue.
    pub queue: QueueId,
    /// First and next offset that its files hold.
    pub held: (i64, i64),
    /// Stream, and where its log begins now.
    pub start: PhyOffset,
}

/// How far a queue was trimmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trimmed {
    /// The queue.
    pub no: QueueNo,
    /// First offset whose record is in the log; the next offset of the files when there is none.
    pub min: i64,
    /// Where that record lies.
    pub phy: Option<PhyOffset>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_keeps_its_parts() {
        let tag = OpTag::new(OpKind::Zero, StreamId(513), 12345);
        assert_eq!(
            (tag.kind(), tag.stream(), tag.sequence()),
            (Some(OpKind::Zero), StreamId(513), 12345)
        );
        assert_eq!(OpTag(0).kind(), None);
    }
}
