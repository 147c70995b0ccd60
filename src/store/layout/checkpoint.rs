//! The checkpoint file: Java's 4096 bytes (store.md 5.4), with our log positions where Java keeps zeros.
//!
//! Map, big-endian: 0 store time of the last durable record, 8 of the last record whose queue entry is durable,
//! 16 of the index, 24 and 32 Java's replication positions (kept as found). Ours, from 512: magic, the three
//! times again, `dispatched` (queue entries of all records below it are durable), `log end` of an orderly stop or
//! 0, CRC-32 of bytes 512 to 559; `indexed` (index entries of all records below it are durable), one more than the
//! physical offset of the last of them or 0, CRC-32 of bytes 512 to 559 and these two; `queues`, CRC-32 of
//! bytes 512 to 559 and this one, or zeros. When Java has written the file
//! since, its times differ from our copies and our part counts for nothing.

/// Size of the file.
pub const FILE_BYTES: usize = 4096;
const OURS_AT: usize = 512;
const OURS_BYTES: usize = 56;
const INDEX_AT: usize = OURS_AT + OURS_BYTES;
const QUEUES_AT: usize = INDEX_AT + 24;
const MAGIC: u64 = 0x5249_4e47_4d51_4350; // "RINGMQCP"

/// Content of a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checkpoint {
    /// Store time of the last durable record, ms.
    pub log_timestamp: i64,
    /// Store time of the last record with a durable queue entry, ms.
    pub queue_timestamp: i64,
    /// Store time of the last durable index item, ms.
    pub index_timestamp: i64,
    /// Java's replication fields, kept as found.
    pub replication: [i64; 2],
    /// Queue entries of all records below this stream position are durable. `None`: not known, Java's rules apply.
    pub dispatched: Option<u64>,
    /// End of the log at an orderly stop.
    pub clean_end: Option<u64>,
    /// Index entries of all records below this stream position are durable. `None`: not known.
    pub indexed: Option<u64>,
    /// One more than the physical offset of the last durable index entry; 0 without one. An index that ends before has
    /// lost files.
    pub index_end: u64,
    /// Sum of `queue_digest` over the stream's queues with messages below `dispatched`. When files hold something else, some were
    /// lost.
    pub queues: Option<u64>,
}

/// A queue's part in `Checkpoint::queues`: its name and the offset of its next message.
pub fn queue_digest(topic: &[u8], queue: i32, next: i64) -> u64 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&queue.to_be_bytes());
    crc.update(&next.to_be_bytes());
    crc.update(topic);
    // Odd, so that the sum counts the queues, too.
    u64::from(crc.finalize()) << 1 | 1
}

impl Checkpoint {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; FILE_BYTES];
        let times = [self.log_timestamp, self.queue_timestamp, self.index_timestamp];
        for (at, value) in times.iter().chain(&self.replication).enumerate() {
            put(&mut bytes, at * 8, &value.to_be_bytes());
        }
        if let Some(dispatched) = self.dispatched {
            put(&mut bytes, OURS_AT, &MAGIC.to_be_bytes());
            for (at, value) in times.iter().enumerate() {
                put(&mut bytes, OURS_AT + 8 + at * 8, &value.to_be_bytes());
            }
            put(&mut bytes, OURS_AT + 32, &dispatched.to_be_bytes());
            put(&mut bytes, OURS_AT + 40, &self.clean_end.unwrap_or(0).to_be_bytes());
            let crc = crc32fast::hash(bytes.get(OURS_AT..OURS_AT + 48).expect("inside the file"));
            put(&mut bytes, OURS_AT + 48, &u64::from(crc).to_be_bytes());
            if let Some(indexed) = self.indexed {
                put(&mut bytes, INDEX_AT, &indexed.to_be_bytes());
                put(&mut bytes, INDEX_AT + 8, &self.index_end.to_be_bytes());
                let crc = index_crc(&bytes).expect("inside the file");
                put(&mut bytes, INDEX_AT + 16, &u64::from(crc).to_be_bytes());
            }
            if let Some(queues) = self.queues {
                put(&mut bytes, QUEUES_AT, &queues.to_be_bytes());
                let crc = queues_crc(&bytes).expect("inside the file");
                put(&mut bytes, QUEUES_AT + 8, &u64::from(crc).to_be_bytes());
            }
        }
        bytes
    }

    /// Reads a checkpoint; missing bytes count as zero, as in Java.
    pub fn decode(bytes: &[u8]) -> Checkpoint {
        let word = |at: usize| {
            let eight = bytes.get(at..at + 8).and_then(|b| <[u8; 8]>::try_from(b).ok());
            i64::from_be_bytes(eight.unwrap_or_default())
        };
        let mut checkpoint = Checkpoint {
            log_timestamp: word(0),
            queue_timestamp: word(8),
            index_timestamp: word(16),
            replication: [word(24), word(32)],
            dispatched: None,
            clean_end: None,
            indexed: None,
            index_end: 0,
            queues: None,
        };
        let ours = bytes.get(OURS_AT..OURS_AT + OURS_BYTES);
        let crc = ours.and_then(|b| b.get(..48)).map(|b| i64::from(crc32fast::hash(b)));
        let proven = word(OURS_AT) == i64::from_be_bytes(MAGIC.to_be_bytes())
            && crc == Some(word(OURS_AT + 48))
            && [8, 16, 24]
                .iter()
                .zip([0, 8, 16])
                .all(|(ours, java)| word(OURS_AT + ours) == word(java));
        if proven {
            checkpoint.dispatched = u64::try_from(word(OURS_AT + 32)).ok();
            checkpoint.clean_end = u64::try_from(word(OURS_AT + 40)).ok().filter(|end| *end > 0);
        }
        if proven && index_crc(bytes).map(i64::from) == Some(word(INDEX_AT + 16)) {
            checkpoint.indexed = u64::try_from(word(INDEX_AT)).ok();
            checkpoint.index_end = u64::try_from(word(INDEX_AT + 8)).unwrap_or(0);
        }
        if proven && queues_crc(bytes).map(i64::from) == Some(word(QUEUES_AT + 8)) {
            checkpoint.queues = Some(u64::from_be_bytes(word(QUEUES_AT).to_be_bytes()));
        }
        checkpoint
    }
}

fn index_crc(bytes: &[u8]) -> Option<u32> {
    let mut crc = crc32fast::Hasher::new();
    crc.update(bytes.get(OURS_AT..OURS_AT + 48)?);
    crc.update(bytes.get(INDEX_AT..INDEX_AT + 16)?);
    Some(crc.finalize())
}

fn queues_crc(bytes: &[u8]) -> Option<u32> {
    let mut crc = crc32fast::Hasher::new();
    crc.update(bytes.get(OURS_AT..OURS_AT + 48)?);
    crc.update(bytes.get(QUEUES_AT..QUEUES_AT + 8)?);
    Some(crc.finalize())
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        Checkpoint {
            log_timestamp: 5,
            queue_timestamp: 4,
            index_timestamp: 3,
            replication: [9, 8],
            dispatched: Some(77),
            clean_end: Some(100),
            indexed: Some(70),
            index_end: 61,
            queues: Some(51),
        }
    }

    #[test]
    fn a_checkpoint_comes_back() {
        let bytes = sample().encode();
        assert_eq!(bytes.len(), FILE_BYTES);
        assert_eq!(Checkpoint::decode(&bytes), sample());
        assert_eq!(Checkpoint::decode(&[]), Checkpoint::default());
    }

    #[test]
    fn our_part_counts_for_nothing_after_java_wrote_or_a_bit_flipped() {
        let mut bytes = sample().encode();
        bytes[7] = 6;
        assert_eq!(Checkpoint::decode(&bytes).dispatched, None);
        let mut bytes = sample().encode();
        bytes[OURS_AT + 39] ^= 1;
        assert_eq!(Checkpoint::decode(&bytes).dispatched, None);
        assert_eq!(Checkpoint::decode(&bytes).log_timestamp, 5);
        let mut bytes = sample().encode();
        bytes[INDEX_AT + 7] ^= 1;
        let damaged = Checkpoint::decode(&bytes);
        assert_eq!((damaged.indexed, damaged.dispatched), (None, Some(77)));
        let mut bytes = sample().encode();
        bytes[QUEUES_AT + 7] ^= 1;
        let damaged = Checkpoint::decode(&bytes);
        assert_eq!(
            (damaged.queues, damaged.indexed, damaged.dispatched),
            (None, Some(70), Some(77))
        );
    }

    #[test]
    fn what_an_older_release_wrote_says_nothing_of_index_and_queues() {
        let before = Checkpoint { indexed: None, index_end: 0, queues: None, ..sample() };
        assert_eq!(Checkpoint::decode(&before.encode()), before);
    }
}
