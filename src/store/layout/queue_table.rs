//! The table of all queues that an orderly stop leaves for the next start (`<store>/ringmq.queues`): their offsets, and stamps of
//! the files and directories that the offsets were true of. The format is ours; Java knows no such file.
//!
//! Map, big-endian: 0 magic, 8 version, 12 CRC-32 of all bytes from 16 on, 16 store id, 32 bytes of a queue file, 40 stamp of the
//! directory of all queues, 48 number of streams (2 bytes), 50 number of topics (4 bytes). Per stream 12 bytes: CRC-32 of the checkpoint
//! file, start of its log. Per topic: length of its name (2 bytes), name, stamp of its directory, number of queues (4 bytes), and per
//! queue 60 bytes: number, first offset, next offset, physical offset of the first record or all ones, stamp of the directory, start,
//! stamp and size of the last file.

use crate::queues::QUEUE_ID_MAX;
use std::sync::Arc;
use wire::ids::{PhyOffset, QueueId};

/// Name of the file in the store directory.
pub const FILE_NAME: &str = "ringmq.queues";

const MAGIC: u64 = 0x5249_4e47_4d51_5154; // "RINGMQQT"
const VERSION: u32 = 1;
const SUMMED_AT: usize = 16;
const CRC_AT: usize = 12;
const NO_PLACE: u64 = u64::MAX;
const STREAM_BYTES: usize = 12;
const TOPIC_BYTES_MIN: usize = 14;
const QUEUE_BYTES: usize = 60;

/// Content of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueTable {
    /// Identity of the store.
    pub store_id: u128,
    /// Size of a queue file in bytes.
    pub queue_file_bytes: u64,
    /// When the directory of all queues was last changed, as the file system says, ns.
    pub changed_ns: i64,
    /// The streams, by number.
    pub streams: Vec<StreamMark>,
    /// Topics that have queues.
    pub topics: Vec<TopicRow>,
}

/// The state of a stream that the table was made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamMark {
    /// CRC-32 of the checkpoint file.
    pub checkpoint_crc: u32,
    /// First position of the log.
    pub start: u64,
}

impl StreamMark {
    /// Of a stream whose checkpoint file has these bytes.
    pub fn new(checkpoint: &[u8], start: u64) -> StreamMark {
        StreamMark { checkpoint_crc: crc32fast::hash(checkpoint), start }
    }
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicRow {
    /// Its name.
    pub topic: Arc<[u8]>,
    /// When its directory was last changed, ns.
    pub changed_ns: i64,
    /// Its queues.
    pub queues: Vec<QueueRow>,
}

/// A queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueRow {
    /// Its number.
    pub id: QueueId,
    /// First offset that can be read.
    pub min: i64,
    /// Offset of the next message.
    pub next: i64,
    /// Where the record of `min` lies, when known.
    pub place: Option<PhyOffset>,
    /// When its directory was last changed, ns.
    pub changed_ns: i64,
    /// Start of its last file in bytes.
    pub last_file: u64,
    /// When that file was last changed, ns.
    pub last_changed_ns: i64,
    /// Size of that file in bytes.
    pub last_bytes: u64,
}

impl QueueTable {
    /// The file's bytes. Names have fewer than 65,536 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_be_bytes());
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend([0; SUMMED_AT - CRC_AT]);
        bytes.extend(self.store_id.to_be_bytes());
        bytes.extend(self.queue_file_bytes.to_be_bytes());
        bytes.extend(self.changed_ns.to_be_bytes());
        let streams = u16::try_from(self.streams.len()).expect("a store has fewer streams");
        bytes.extend(streams.to_be_bytes());
        bytes.extend(count(self.topics.len()));
        for stream in &self.streams {
            bytes.extend(stream.checkpoint_crc.to_be_bytes());
            bytes.extend(stream.start.to_be_bytes());
        }
        for row in &self.topics {
            let len = u16::try_from(row.topic.len()).expect("the name of a directory");
            bytes.extend(len.to_be_bytes());
            bytes.extend_from_slice(&row.topic);
            bytes.extend(row.changed_ns.to_be_bytes());
            bytes.extend(count(row.queues.len()));
            row.queues.iter().for_each(|queue| queue.encode(&mut bytes));
        }
        let crc = crc32fast::hash(bytes.get(SUMMED_AT..).expect("written above"));
        bytes[CRC_AT..SUMMED_AT].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads the file's bytes; `None`: of another version, or not as they were written.
    pub fn decode(bytes: &[u8]) -> Option<QueueTable> {
        let crc = crc32fast::hash(bytes.get(SUMMED_AT..)?);
        let mut rest = Bytes(bytes);
        let head = (u64::from_be_bytes(rest.take()?), u32::from_be_bytes(rest.take()?));
        if head != (MAGIC, VERSION) || u32::from_be_bytes(rest.take()?) != crc {
            return None;
        }
        let store_id = u128::from_be_bytes(rest.take()?);
        let queue_file_bytes = u64::from_be_bytes(rest.take()?);
        let changed_ns = i64::from_be_bytes(rest.take()?);
        let stream_count = usize::from(u16::from_be_bytes(rest.take()?));
        let topic_count = usize::try_from(u32::from_be_bytes(rest.take()?)).ok()?;
        let mut streams = Vec::with_capacity(stream_count.min(rest.0.len() / STREAM_BYTES));
        for _ in 0..stream_count {
            let checkpoint_crc = u32::from_be_bytes(rest.take()?);
            let start = u64::from_be_bytes(rest.take()?);
            streams.push(StreamMark { checkpoint_crc, start });
        }
        let mut topics = Vec::with_capacity(topic_count.min(rest.0.len() / TOPIC_BYTES_MIN));
        for _ in 0..topic_count {
            topics.push(TopicRow::decode(&mut rest)?);
        }
        let table = QueueTable { store_id, queue_file_bytes, changed_ns, streams, topics };
        rest.0.is_empty().then_some(table)
    }
}

impl TopicRow {
    fn decode(rest: &mut Bytes<'_>) -> Option<TopicRow> {
        let len = usize::from(u16::from_be_bytes(rest.take()?));
        let topic = Arc::from(rest.take_slice(len)?);
        let changed_ns = i64::from_be_bytes(rest.take()?);
        let queue_count = usize::try_from(u32::from_be_bytes(rest.take()?)).ok()?;
        let mut queues = Vec::with_capacity(queue_count.min(rest.0.len() / QUEUE_BYTES));
        for _ in 0..queue_count {
            queues.push(QueueRow::decode(rest)?);
        }
        Some(TopicRow { topic, changed_ns, queues })
    }
}

impl QueueRow {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.id.0.to_be_bytes());
        bytes.extend(self.min.to_be_bytes());
        bytes.extend(self.next.to_be_bytes());
        bytes.extend(self.place.map_or(NO_PLACE, |place| place.0).to_be_bytes());
        bytes.extend(self.changed_ns.to_be_bytes());
        bytes.extend(self.last_file.to_be_bytes());
        bytes.extend(self.last_changed_ns.to_be_bytes());
        bytes.extend(self.last_bytes.to_be_bytes());
    }

    fn decode(rest: &mut Bytes<'_>) -> Option<QueueRow> {
        let id = QueueId(i32::from_be_bytes(rest.take()?));
        let (min, next) = (i64::from_be_bytes(rest.take()?), i64::from_be_bytes(rest.take()?));
        let place = Some(u64::from_be_bytes(rest.take()?)).filter(|place| *place != NO_PLACE);
        let row = QueueRow {
            id,
            min,
            next,
            place: place.map(PhyOffset),
            changed_ns: i64::from_be_bytes(rest.take()?),
            last_file: u64::from_be_bytes(rest.take()?),
            last_changed_ns: i64::from_be_bytes(rest.take()?),
            last_bytes: u64::from_be_bytes(rest.take()?),
        };
        let is_sane = (0..=QUEUE_ID_MAX).contains(&id.0) && 0 <= min && min <= next;
        is_sane.then_some(row)
    }
}

fn count(number: usize) -> [u8; 4] {
    u32::try_from(number).expect("fewer than 2^32 of them").to_be_bytes()
}

/// What is left to read.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn take_slice(&mut self, len: usize) -> Option<&'b [u8]> {
        let (first, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> QueueTable {
        let queue = QueueRow {
            id: QueueId(3),
            min: 5,
            next: 9,
            place: Some(PhyOffset(77)),
            changed_ns: 11,
            last_file: 200,
            last_changed_ns: 12,
            last_bytes: 6_000_000,
        };
        let queues = vec![queue, QueueRow { id: QueueId(4), place: None, ..queue }];
        QueueTable {
            store_id: 1 << 100 | 7,
            queue_file_bytes: 6_000_000,
            changed_ns: 10,
            streams: vec![StreamMark { checkpoint_crc: 9, start: 1 << 30 }; 2],
            topics: vec![TopicRow { topic: Arc::from(&b"T"[..]), changed_ns: 4, queues }],
        }
    }

    #[test]
    fn a_table_comes_back_and_no_part_of_it_counts_after_a_bit_flipped() {
        let bytes = sample().encode();
        assert_eq!(bytes.len(), 54 + 2 * STREAM_BYTES + TOPIC_BYTES_MIN + 1 + 2 * QUEUE_BYTES);
        assert_eq!(QueueTable::decode(&bytes), Some(sample()));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(QueueTable::decode(&flipped), None, "byte {at}");
            assert_eq!(QueueTable::decode(&bytes[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn counts_that_nothing_stands_behind_and_offsets_that_cannot_be_are_refused() {
        let refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = sample().encode();
            change(&mut bytes);
            let crc = crc32fast::hash(&bytes[SUMMED_AT..]);
            bytes[CRC_AT..SUMMED_AT].copy_from_slice(&crc.to_be_bytes());
            QueueTable::decode(&bytes).is_none()
        };
        assert!(!refused(&|_| ()));
        assert!(refused(&|bytes| bytes[50..54].fill(0xff)), "topics");
        assert!(refused(&|bytes| bytes.push(0)), "a rest");
        let queue = 54 + 2 * STREAM_BYTES + TOPIC_BYTES_MIN + 1;
        assert!(refused(&|bytes| bytes[queue] = 0xff), "a negative number");
        assert!(refused(&|bytes| bytes[queue + 4] = 1), "first behind next");
    }
}
