//! Index files: which records have a key, by the key's hash (store.md 4). Java counterpart: IndexFile, IndexHeader.
//!
//! Map, all numbers big-endian:
//!
//! | from | content |
//! |---|---|
//! | 0 | header of 40 bytes: `i64` store time of the first and of the last record, ms; `i64` physical offset of the first and of the last record; `i32` slots in use; `i32` number of the next item |
//! | 40 | `slots` slots of 4 bytes: the newest item whose hash falls there, 0 for none |
//! | 40 + 4 `slots` | `items` items of 20 bytes, of which number 0 is never used: `i32` hash, `i64` physical offset, `i32` seconds after the file's first record, `i32` the item before in the same slot |
//!
//! A file is named by the local time of its creation; names in order are files in order. The number of slots and items
//! is not in the file: its size has to tell.

use wire::java_hash::java_hash_onto;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 40;
/// Bytes of a slot.
pub const SLOT_BYTES: usize = 4;
/// Bytes of an item.
pub const ITEM_BYTES: usize = 20;
/// Characters of a file's name: year to millisecond.
pub const NAME_DIGITS: usize = 17;

/// How many slots and items an index file has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexLimits {
    /// `maxHashSlotNum`, at least 1.
    pub slots: u32,
    /// `maxIndexNum`, at least 2: item 0 is not used.
    pub items: u32,
}

impl IndexLimits {
    /// Size of a file in bytes; below 2 GiB, as `BrokerConfig` checks.
    pub fn file_bytes(&self) -> usize {
        self.item_at(self.items)
    }

    /// Where the slot of a hash is.
    pub fn slot_at(&self, hash: u32) -> usize {
        HEADER_BYTES + usize_of(hash % self.slots) * SLOT_BYTES
    }

    /// Where an item is.
    pub fn item_at(&self, number: u32) -> usize {
        HEADER_BYTES + usize_of(self.slots) * SLOT_BYTES + usize_of(number) * ITEM_BYTES
    }
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).expect("32 bits fit")
}

/// The hash of a key in items: Java's of `topic#key`, without its sign.
pub fn key_hash(java: i32) -> u32 {
    // Java's `abs` leaves the smallest number negative, which then counts as 0.
    java.unsigned_abs() & 0x7FFF_FFFF
}

/// Java's hash of `topic#`, with which the keys of the topic begin.
pub fn topic_hash(topic: &[u8]) -> i32 {
    java_hash_onto(java_hash_onto(0, topic), b"#")
}

/// What a file's header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IndexHeader {
    /// Store time of the first record, ms; a new file has the last one of the file before.
    pub begin_timestamp: i64,
    /// Store time of the last record, ms.
    pub end_timestamp: i64,
    /// Physical offset of the first record; a new file has the last one of the file before.
    pub begin_phy: i64,
    /// Physical offset of the last record.
    pub end_phy: i64,
    /// Slots in use.
    pub slots_used: u32,
    /// Number of the next item; 1 in an empty file.
    pub next_item: u32,
}

impl IndexHeader {
    /// Header of the file that follows one with this header (or is the first).
    pub fn following(before: Option<&IndexHeader>) -> IndexHeader {
        let (time, phy) = before.map_or((0, 0), |h| (h.end_timestamp, h.end_phy));
        IndexHeader {
            begin_timestamp: time,
            end_timestamp: time,
            begin_phy: phy,
            end_phy: phy,
            slots_used: 0,
            next_item: 1,
        }
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let words = [self.begin_timestamp, self.end_timestamp, self.begin_phy, self.end_phy];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_be_bytes());
        }
        bytes[32..36].copy_from_slice(&self.slots_used.to_be_bytes());
        bytes[36..].copy_from_slice(&self.next_item.to_be_bytes());
        bytes
    }

    /// Reads a header; `None` for numbers that no file with these limits has.
    pub fn decode(bytes: &[u8; HEADER_BYTES], limits: IndexLimits) -> Option<IndexHeader> {
        let (words, counts) = bytes.split_at(32);
        let mut words =
            words.as_chunks::<8>().0.iter().map(|b| i64::from_be_bytes(*b)).filter(|w| *w >= 0);
        let mut counts = counts.as_chunks::<4>().0.iter().map(|b| i32::from_be_bytes(*b));
        let begin_timestamp = words.next()?;
        let end_timestamp = words.next()?;
        let begin_phy = words.next()?;
        let end_phy = words.next()?;
        let slots_used = u32::try_from(counts.next()?).ok().filter(|n| *n <= limits.slots)?;
        // Java writes the count of an empty file only when it closes it.
        let next_item = u32::try_from(counts.next()?).ok().filter(|n| *n <= limits.items)?.max(1);
        let header = IndexHeader {
            begin_timestamp,
            end_timestamp,
            begin_phy,
            end_phy,
            slots_used,
            next_item,
        };
        (begin_phy <= end_phy).then_some(header)
    }

    /// Whether a record with this store time may be in the file's range, or the range in the one asked for.
    pub fn overlaps(&self, begin: i64, end: i64) -> bool {
        begin <= self.end_timestamp && end >= self.begin_timestamp && begin <= end
    }
}

/// An item of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexItem {
    /// See `key_hash`.
    pub hash: u32,
    /// Physical offset of the record.
    pub phy: i64,
    /// Store time of the record in whole seconds after the file's `begin_timestamp`.
    pub seconds: i32,
    /// The item before in the same slot; 0 for none.
    pub before: u32,
}

impl IndexItem {
    /// The item's bytes.
    pub fn encode(&self) -> [u8; ITEM_BYTES] {
        let mut bytes = [0; ITEM_BYTES];
        bytes[..4].copy_from_slice(&self.hash.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.phy.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[16..].copy_from_slice(&self.before.to_be_bytes());
        bytes
    }

    /// Reads an item, whatever it holds.
    pub fn decode(bytes: &[u8; ITEM_BYTES]) -> IndexItem {
        let [a, b, c, d, phy @ .., e, f, g, h, i, j, k, l] = *bytes;
        let phy: [u8; 8] = phy;
        IndexItem {
            hash: u32::from_be_bytes([a, b, c, d]),
            phy: i64::from_be_bytes(phy),
            seconds: i32::from_be_bytes([e, f, g, h]),
            before: u32::from_be_bytes([i, j, k, l]),
        }
    }
}

/// Whole seconds from a file's first record to this one, as an item has them.
pub fn seconds_after(begin_timestamp: i64, timestamp: i64) -> i32 {
    if begin_timestamp <= 0 {
        return 0;
    }
    let seconds = timestamp.saturating_sub(begin_timestamp) / 1000;
    i32::try_from(seconds.max(0)).unwrap_or(i32::MAX)
}

/// A point in local time, as a file is named by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LocalTime {
    /// Year, month (1 to 12), day, hour, minute, second.
    pub fields: [u16; 6],
    /// Millisecond.
    pub millis: u16,
}

/// File name of an index file made at this time.
pub fn name(time: LocalTime) -> String {
    let [year, month, day, hour, minute, second] = time.fields;
    let millis = time.millis;
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}{millis:03}")
}

/// The number that a name is; `None` for names that are not 17 digits. Files in order of their numbers are in order.
pub fn parse_name(name: &str) -> Option<u64> {
    let digits = name.len() == NAME_DIGITS && name.bytes().all(|b| b.is_ascii_digit());
    if digits { name.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::java_hash::java_string_hash;

    const LIMITS: IndexLimits = IndexLimits { slots: 5_000_000, items: 20_000_000 };

    #[test]
    fn a_file_has_javas_size_and_places() {
        assert_eq!(LIMITS.file_bytes(), 420_000_040);
        assert_eq!(LIMITS.slot_at(0), 40);
        assert_eq!(LIMITS.slot_at(5_000_001), 44);
        assert_eq!(LIMITS.item_at(1), 20_000_060);
    }

    #[test]
    fn a_hash_has_no_sign() {
        assert_eq!(key_hash(7), 7);
        assert_eq!(key_hash(-7), 7);
        assert_eq!(key_hash(i32::MIN), 0);
        assert_eq!(topic_hash(b"T"), java_string_hash("T#"));
    }

    #[test]
    fn a_header_and_an_item_come_back() {
        let header = IndexHeader {
            begin_timestamp: 1,
            end_timestamp: 2,
            begin_phy: 3,
            end_phy: 4,
            slots_used: 5,
            next_item: 6,
        };
        assert_eq!(IndexHeader::decode(&header.encode(), LIMITS), Some(header));
        let empty = IndexHeader::decode(&[0; HEADER_BYTES], LIMITS).unwrap();
        assert_eq!(empty, IndexHeader::following(None));
        let item = IndexItem { hash: 0x0102_0304, phy: 1 << 40, seconds: 9, before: 8 };
        assert_eq!(item.encode()[..5], [1, 2, 3, 4, 0]);
        assert_eq!(IndexItem::decode(&item.encode()), item);
    }

    #[test]
    fn numbers_that_no_file_has_are_no_header() {
        let good = IndexHeader { end_phy: 4, next_item: 2, ..IndexHeader::default() };
        let bad = [
            IndexHeader { end_phy: -1, ..good },
            IndexHeader { begin_phy: 5, ..good },
            IndexHeader { begin_timestamp: -1, ..good },
            IndexHeader { slots_used: 5_000_001, ..good },
            IndexHeader { next_item: 20_000_001, ..good },
        ];
        for header in bad {
            assert_eq!(IndexHeader::decode(&header.encode(), LIMITS), None, "{header:?}");
        }
    }

    #[test]
    fn seconds_are_javas() {
        assert_eq!(seconds_after(0, 5_000), 0);
        assert_eq!(seconds_after(1_000, 3_999), 2);
        assert_eq!(seconds_after(5_000, 1_000), 0);
        assert_eq!(seconds_after(1, i64::MAX), i32::MAX);
    }

    #[test]
    fn ranges_overlap_as_javas_do() {
        let header = IndexHeader { begin_timestamp: 10, end_timestamp: 20, ..Default::default() };
        for (begin, end, expected) in
            [(0, 9, false), (0, 10, true), (12, 13, true), (20, 99, true), (21, 99, false)]
        {
            assert_eq!(header.overlaps(begin, end), expected, "{begin} to {end}");
        }
        assert!(header.overlaps(0, i64::MAX));
    }

    #[test]
    fn a_name_is_a_time() {
        let time = LocalTime { fields: [2026, 1, 2, 3, 4, 5], millis: 6 };
        assert_eq!(name(time), "20260102030405006");
        assert_eq!(parse_name("20260102030405006"), Some(20_260_102_030_405_006));
        assert_eq!(parse_name("2026010203040500"), None);
        assert_eq!(parse_name("2026010203040500x"), None);
    }
}
