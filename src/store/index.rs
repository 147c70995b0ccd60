//! The index by key, up to its files: which keys a message has, and the entries that are not in the files yet.
//!
//! An entry waits here until the log is durable behind its record, is then handed out in batches of whole records, and
//! stays findable until its batch is in the files. When the files cannot take them for so long that too many wait, the
//! following records are left out, and read from the log when the files have caught up. Java counterpart: IndexService.

use crate::layout::index::key_hash;
use std::collections::VecDeque;
use std::ops::Range;
use wire::ids::{PhyOffset, StreamId};
use wire::java_hash::java_hash_onto;
use wire::props::{self, Props};
use wire::sys_flag::{TRANSACTION_MASK, TRANSACTION_ROLLBACK};

/// Entries that are handed out at a time, but for the rest of the last record: copying them takes some 10 µs of a turn.
const BATCH_ENTRIES: usize = 4096;
/// Entries that may wait, 20 bytes each.
const WAITING_MAX: usize = 2 << 20;
/// Log that is read at a time for records that were left out.
const READ_BYTES: u64 = 16 << 20;
/// New entries are taken again when no more durable log than this is left to read.
const NEARLY_READ_BYTES: u64 = 64 << 20;
/// Hashes that are compared without a look at each.
const SEARCH_CHUNK: usize = 256;

/// What a message is indexed by; empty where it has nothing of a kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct IndexKeys<'a> {
    /// `UNIQ_KEY`.
    pub unique: &'a [u8],
    /// `KEYS`: several, separated by blanks.
    pub keys: &'a [u8],
    /// `TAGS`; its key in the index begins with `T#`.
    pub tags: &'a [u8],
}

impl<'a> IndexKeys<'a> {
    /// Finds them in a properties text.
    pub fn of(properties: &'a [u8]) -> IndexKeys<'a> {
        let mut found = IndexKeys::default();
        for (key, value) in Props::new(properties).iter() {
            if key == props::UNIQ_KEY.as_bytes() {
                found.unique = value;
            } else if key == props::KEYS.as_bytes() {
                found.keys = value;
            } else if key == props::TAGS.as_bytes() {
                found.tags = value;
            }
        }
        found
    }

    /// Hands each key's hash to `each`, in the order of Java 5.5.0. `topic_hash` is that of `topic#`.
    #[inline]
    pub fn hashes(&self, topic_hash: i32, mut each: impl FnMut(u32)) {
        let mut put = |start: i32, key: &[u8]| each(key_hash(java_hash_onto(start, key)));
        if !self.unique.is_empty() {
            put(topic_hash, self.unique);
        }
        if !self.keys.is_empty() {
            let keys = self.keys.split(|byte| *byte == b' ');
            keys.filter(|key| !key.is_empty()).for_each(|key| put(topic_hash, key));
        }
        if !self.tags.is_empty() {
            put(java_hash_onto(topic_hash, b"T#"), self.tags);
        }
    }
}

/// Whether records with this `sysFlag` are indexed: rolled-back ones are not.
pub fn is_indexed(sys_flag: i32) -> bool {
    sys_flag & TRANSACTION_MASK != TRANSACTION_ROLLBACK
}

/// A key of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexEntry {
    /// See `layout::index::key_hash`.
    pub hash: u32,
    /// Place of the record.
    pub phy: PhyOffset,
    /// Store time of the record, ms.
    pub timestamp: i64,
}

/// What is looked for in an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexQuery {
    /// Hash of the key. Other keys may have it, too.
    pub hash: u32,
    /// Earliest store time, ms.
    pub begin: i64,
    /// Latest store time, ms.
    pub end: i64,
    /// Most places that are wanted: the newest.
    pub count_max: usize,
}

/// What an index has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IndexHits {
    /// Store time of the newest record in the index, ms; 0 when it is empty.
    pub last_timestamp: i64,
    /// Physical offset of that record.
    pub last_phy: i64,
    /// Places, newest first.
    pub places: Vec<PhyOffset>,
}

impl IndexHits {
    /// The hits as bytes, big-endian numbers of 8 bytes: they come back the way that bytes of files do.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + self.places.len() * 8);
        bytes.extend_from_slice(&self.last_timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.last_phy.to_be_bytes());
        for place in &self.places {
            bytes.extend_from_slice(&place.0.to_be_bytes());
        }
        bytes
    }

    /// Reads what `encode` made; missing bytes are no hits.
    pub fn decode(bytes: &[u8]) -> IndexHits {
        let mut words = bytes.as_chunks::<8>().0.iter();
        let mut number = || words.next().map_or(0, |b| i64::from_be_bytes(*b));
        let (last_timestamp, last_phy) = (number(), number());
        let places = words.map(|b| PhyOffset(u64::from_be_bytes(*b))).collect();
        IndexHits { last_timestamp, last_phy, places }
    }

    /// Adds another index's hits; its last record counts when it is newer. Places are newest first, each once.
    pub fn merge(&mut self, other: IndexHits) {
        if (other.last_timestamp, other.last_phy) > (self.last_timestamp, self.last_phy) {
            (self.last_timestamp, self.last_phy) = (other.last_timestamp, other.last_phy);
        }
        self.places.extend(other.places);
        self.places.sort_unstable_by(|a, b| b.cmp(a));
        self.places.dedup();
    }
}

/// Entries of a stream that are not in its index files, in log order.
pub struct WaitingIndex {
    stream: StreamId,
    is_on: bool,
    hashes: VecDeque<u32>,
    /// Place and store time of each entry's record.
    records: VecDeque<(PhyOffset, i64)>,
    /// Entries of the batch that was handed out.
    handed_out: usize,
    gap: Option<Gap>,
    /// A gap has ended and nobody was told.
    has_caught_up: bool,
}

/// Records that were left out.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// Place of the first one that is not in the files.
    from: u64,
    /// Records from here on wait in memory again; `None`: nothing is taken.
    to: Option<u64>,
}

/// What brings the files on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IndexStep {
    /// Entries to add; `done` follows.
    Add(Vec<IndexEntry>),
    /// Records of the log to read and add; `was_read` follows.
    Read {
        /// A record begins there.
        from: u64,
        /// Above `from`; a record that begins before it is read whole.
        to: u64,
    },
}

impl WaitingIndex {
    /// An empty one; it takes nothing when `is_on` is false.
    pub fn new(stream: StreamId, is_on: bool) -> WaitingIndex {
        WaitingIndex {
            stream,
            is_on,
            hashes: VecDeque::new(),
            records: VecDeque::new(),
            handed_out: 0,
            gap: None,
            has_caught_up: false,
        }
    }

    /// Takes nothing from now on.
    pub fn switch_off(&mut self) {
        *self = WaitingIndex::new(self.stream, false);
    }

    /// Adds a record's keys.
    #[inline]
    pub fn push(&mut self, keys: &IndexKeys<'_>, topic_hash: i32, phy: PhyOffset, timestamp: i64) {
        if !self.is_on || self.gap.is_some_and(|gap| gap.to.is_none()) {
            return;
        }
        if self.hashes.len() >= WAITING_MAX {
            self.leave_out(phy.position());
            return;
        }
        let before = self.hashes.len();
        keys.hashes(topic_hash, |hash| self.hashes.push_back(hash));
        for _ in before..self.hashes.len() {
            self.records.push_back((phy, timestamp));
        }
    }

    fn leave_out(&mut self, position: u64) {
        match &mut self.gap {
            None => self.gap = Some(Gap { from: position, to: None }),
            // What waits lies behind the gap: it is read from the log, too.
            Some(gap) => {
                gap.to = None;
                self.hashes.clear();
                self.records.clear();
            }
        }
    }

    /// Whether records were left out that are not in the files yet.
    pub fn is_behind(&self) -> bool {
        self.gap.is_some()
    }

    /// The records from `position` on, where one begins, are not in the files: they are read from the log. Before the first
    /// `push`.
    pub fn begin_behind(&mut self, position: u64) {
        if self.is_on {
            self.gap = Some(Gap { from: position, to: None });
        }
    }

    /// What the files get next, of records below `durable`; `None`: nothing. `log`: its start and end.
    pub fn next_step(&mut self, durable: u64, log: Range<u64>) -> Option<IndexStep> {
        // Old segments may go before they were read.
        self.was_read(log.start);
        let Some(gap) = &mut self.gap else { return self.hand_out(durable).map(IndexStep::Add) };
        if gap.to.is_none() {
            if !self.records.is_empty() {
                return self.hand_out(durable).map(IndexStep::Add);
            }
            if durable.saturating_sub(gap.from) <= NEARLY_READ_BYTES {
                gap.to = Some(log.end);
            }
        }
        let end = gap.to.unwrap_or(durable).min(durable);
        let (from, to) = (gap.from, end.min(gap.from + READ_BYTES));
        (from < to).then_some(IndexStep::Read { from, to })
    }

    /// Whether as much waits, below `durable`, as is handed out at a time.
    pub fn has_batch(&self, durable: u64) -> bool {
        let last = self.records.get(BATCH_ENTRIES - 1);
        let is_read = self.gap.is_some_and(|gap| gap.to.is_some());
        !is_read && last.is_some_and(|(phy, _)| phy.position() < durable)
    }

    /// As `hand_out`, but nothing behind records that were left out.
    pub fn hand_out_before_gap(&mut self, durable: u64) -> Option<Vec<IndexEntry>> {
        let is_before = self.gap.is_none_or(|gap| gap.to.is_none());
        if is_before { self.hand_out(durable) } else { None }
    }

    /// The files have the records below `position`, or the log has them no more.
    pub fn was_read(&mut self, position: u64) {
        let Some(gap) = &mut self.gap else { return };
        gap.from = gap.from.max(position);
        if gap.to.is_some_and(|to| gap.from >= to) {
            self.gap = None;
            self.has_caught_up = true;
        }
    }

    /// Whether what was left out is in the files, or gone from the log, since the last call.
    pub fn take_caught_up(&mut self) -> bool {
        std::mem::take(&mut self.has_caught_up)
    }

    /// The next entries for the files, of records below `durable`; `None` when there is none. `done` follows.
    pub fn hand_out(&mut self, durable: u64) -> Option<Vec<IndexEntry>> {
        assert_eq!(self.handed_out, 0, "one batch at a time");
        let mut count = 0;
        let mut last = None;
        for (phy, _) in &self.records {
            let more = phy.position() < durable && (count < BATCH_ENTRIES || last == Some(*phy));
            if !more {
                break;
            }
            last = Some(*phy);
            count += 1;
        }
        self.handed_out = count;
        let entry = |(hash, (phy, timestamp)): (&u32, &(PhyOffset, i64))| IndexEntry {
            hash: *hash,
            phy: *phy,
            timestamp: *timestamp,
        };
        (count > 0).then(|| self.hashes.iter().zip(&self.records).take(count).map(entry).collect())
    }

    /// The batch that was handed out is in the files, or has to be handed out again.
    pub fn done(&mut self, is_in_files: bool) {
        let count = std::mem::take(&mut self.handed_out);
        if is_in_files {
            self.hashes.drain(..count);
            self.records.drain(..count);
        }
    }

    /// Whether a batch is on its way.
    pub fn is_handed_out(&self) -> bool {
        self.handed_out > 0
    }

    /// The files have the entries of all records below this position, which is at most `durable`; `None` when nothing is
    /// indexed.
    pub fn complete_to(&self, durable: u64) -> Option<u64> {
        let waiting = self.records.front().map(|(phy, _)| phy.position());
        let left_out = self.gap.map(|gap| gap.from);
        let first = waiting.into_iter().chain(left_out).min();
        self.is_on.then(|| first.map_or(durable, |first| first.min(durable)))
    }

    /// Entries that match, of records that begin below `visible`.
    pub fn search(&self, query: &IndexQuery, visible: u64) -> IndexHits {
        let mut hits = IndexHits::default();
        let shown = self.records.partition_point(|(phy, _)| phy.position() < visible);
        if let Some((phy, timestamp)) = shown.checked_sub(1).and_then(|at| self.records.get(at)) {
            (hits.last_timestamp, hits.last_phy) = (*timestamp, phy.to_wire());
        }
        let mut found = |at: usize| {
            let (phy, timestamp) = self.records[at];
            if at < shown && (query.begin..=query.end).contains(&timestamp) {
                hits.places.push(phy);
            }
        };
        let (front, back) = self.hashes.as_slices();
        for (start, hashes) in [(0, front), (front.len(), back)] {
            for (chunk, number) in hashes.chunks(SEARCH_CHUNK).zip(0..) {
                // Without an early end, so that several are compared at once.
                if !chunk.iter().fold(false, |any, hash| any | (*hash == query.hash)) {
                    continue;
                }
                let start = start + number * SEARCH_CHUNK;
                let same = chunk.iter().zip(start..).filter(|(hash, _)| **hash == query.hash);
                same.for_each(|(_, at)| found(at));
            }
        }
        hits.places.reverse();
        hits.places.dedup();
        hits.places.truncate(query.count_max);
        hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::index::topic_hash;
    use wire::java_hash::java_string_hash;

    fn hash(key: &str) -> u32 {
        key_hash(java_string_hash(key))
    }

    fn waiting() -> WaitingIndex {
        WaitingIndex::new(StreamId(0), true)
    }

    fn push(index: &mut WaitingIndex, properties: &[u8], position: u64, timestamp: i64) {
        let keys = IndexKeys::of(properties);
        index.push(&keys, topic_hash(b"T"), PhyOffset(position), timestamp);
    }

    fn query(key: &str) -> IndexQuery {
        IndexQuery { hash: hash(key), begin: 0, end: i64::MAX, count_max: 64 }
    }

    fn found(index: &WaitingIndex, query: &IndexQuery, visible: u64) -> Vec<u64> {
        index.search(query, visible).places.iter().map(|phy| phy.0).collect()
    }

    #[test]
    fn unique_key_keys_and_tag_in_this_order() {
        let mut index = waiting();
        push(&mut index, b"TAGS\x01A\x02KEYS\x01a  b \x02UNIQ_KEY\x01u\x02x\x01y\x02", 0, 9);
        let entries = index.hand_out(1).unwrap();
        let hashes: Vec<u32> = entries.iter().map(|e| e.hash).collect();
        assert_eq!(hashes, [hash("T#u"), hash("T#a"), hash("T#b"), hash("T#T#A")]);
        assert!(entries.iter().all(|e| e.phy == PhyOffset(0) && e.timestamp == 9));
    }

    #[test]
    fn entries_leave_in_order_once_the_log_is_durable() {
        let mut index = waiting();
        push(&mut index, b"KEYS\x01a b", 0, 1);
        push(&mut index, b"KEYS\x01c", 100, 2);
        assert_eq!(index.hand_out(0), None);
        assert_eq!(index.hand_out(100).unwrap().len(), 2);
        assert_eq!(index.complete_to(150), Some(0));
        index.done(false);
        assert_eq!(
            index.hand_out(100).unwrap().len(),
            2,
            "what the files did not take comes again"
        );
        index.done(true);
        assert_eq!(index.complete_to(150), Some(100));
        assert_eq!(index.hand_out(200).unwrap().len(), 1);
        index.done(true);
        assert_eq!(index.complete_to(150), Some(150));
    }

    #[test]
    fn a_batch_ends_with_a_record() {
        let mut index = waiting();
        let many = format!("KEYS\x01{}", "k ".repeat(BATCH_ENTRIES + 10));
        push(&mut index, many.as_bytes(), 0, 1);
        push(&mut index, b"KEYS\x01c", 100, 2);
        assert_eq!(index.hand_out(200).unwrap().len(), BATCH_ENTRIES + 10);
    }

    #[test]
    fn what_was_left_out_is_read_from_the_log_before_newer_entries_are_added() {
        let mut index = waiting();
        let many = format!("KEYS\x01{}", "k ".repeat(WAITING_MAX));
        push(&mut index, many.as_bytes(), 0, 1);
        push(&mut index, b"KEYS\x01a", 100, 2);
        push(&mut index, b"KEYS\x01b", 200, 3);
        assert!(index.is_behind());
        assert_eq!(index.complete_to(300), Some(0));
        let Some(IndexStep::Add(first)) = index.next_step(300, 0..300) else {
            panic!("what waits")
        };
        assert_eq!(first.len(), WAITING_MAX);
        index.done(true);
        assert_eq!(index.complete_to(300), Some(100), "of the others no entry is in memory");
        // From here on they are taken again, but wait for those that are read.
        assert_eq!(index.next_step(250, 0..300), Some(IndexStep::Read { from: 100, to: 250 }));
        push(&mut index, b"KEYS\x01c", 300, 4);
        index.was_read(200);
        assert!(!index.take_caught_up(), "there is more");
        assert_eq!(index.next_step(400, 0..400), Some(IndexStep::Read { from: 200, to: 300 }));
        index.was_read(300);
        assert!(index.take_caught_up() && !index.take_caught_up());
        let Some(IndexStep::Add(rest)) = index.next_step(400, 0..400) else { panic!("the newest") };
        assert_eq!(rest.iter().map(|e| e.phy.0).collect::<Vec<u64>>(), [300]);
    }

    #[test]
    fn a_long_gap_is_read_step_by_step_and_may_grow_meanwhile() {
        let mut index = waiting();
        index.leave_out(0);
        let end = NEARLY_READ_BYTES + 5;
        assert_eq!(index.next_step(end, 0..end), Some(IndexStep::Read { from: 0, to: READ_BYTES }));
        push(&mut index, b"KEYS\x01c", end, 4);
        assert_eq!(index.records.len(), 0, "too far behind to take more");
        index.was_read(READ_BYTES);
        index.next_step(end, 0..end);
        push(&mut index, b"KEYS\x01c", end, 4);
        assert_eq!(index.records.len(), 1);
        index.leave_out(end + 7);
        assert_eq!((index.records.len(), index.complete_to(end + 9)), (0, Some(READ_BYTES)));
        index.was_read(end);
        assert!(!index.take_caught_up(), "the gap has no end now");
        index.next_step(end, 0..end);
        push(&mut index, b"KEYS\x01c", end, 4);
        // Retention takes all of the gap.
        assert!(matches!(index.next_step(end + 9, end..end + 9), Some(IndexStep::Add(_))));
        assert!(index.take_caught_up());
    }

    #[test]
    fn what_waits_is_found_newest_first_by_time_and_when_it_is_visible() {
        let mut index = waiting();
        for (position, timestamp) in (0..2000).zip(0..) {
            let key = if position % 500 == 7 { "KEYS\x01hot hot" } else { "KEYS\x01cold" };
            push(&mut index, key.as_bytes(), position * 100, timestamp);
        }
        assert_eq!(found(&index, &query("T#hot"), u64::MAX), [150_700, 100_700, 50_700, 700]);
        assert_eq!(found(&index, &query("T#hot"), 100_700), [50_700, 700]);
        let some = IndexQuery { begin: 507, end: 1007, ..query("T#hot") };
        assert_eq!(found(&index, &some, u64::MAX), [100_700, 50_700]);
        let one = IndexQuery { count_max: 1, ..query("T#hot") };
        assert_eq!(found(&index, &one, u64::MAX), [150_700]);
        assert!(found(&index, &query("T#none"), u64::MAX).is_empty());
        let last = index.search(&query("T#none"), 1000);
        assert_eq!((last.last_timestamp, last.last_phy), (9, 900));
        index.hand_out(100_000);
        assert_eq!(found(&index, &query("T#hot"), u64::MAX).len(), 4, "also while it is written");
    }

    #[test]
    fn too_many_entries_are_left_out_and_known_to_be() {
        let mut index = waiting();
        let many = format!("KEYS\x01{}", "k ".repeat(10_000));
        let records = WAITING_MAX as u64 / 10_000 + 1;
        for at in 0..=records {
            push(&mut index, many.as_bytes(), at, 1);
        }
        push(&mut index, b"KEYS\x01late", records + 1, 1);
        assert!(found(&index, &query("T#late"), u64::MAX).is_empty());
        while index.hand_out(u64::MAX).is_some() {
            index.done(true);
        }
        assert_eq!(index.complete_to(u64::MAX), Some(records));
    }

    #[test]
    fn one_that_is_off_takes_nothing() {
        let mut index = WaitingIndex::new(StreamId(0), false);
        push(&mut index, b"KEYS\x01a", 0, 1);
        assert_eq!((index.hand_out(1), index.complete_to(1)), (None, None));
    }

    #[test]
    fn hits_come_back_and_merge() {
        let mut hits = IndexHits { last_timestamp: 5, last_phy: 6, places: vec![PhyOffset(6)] };
        assert_eq!(IndexHits::decode(&hits.encode()), hits);
        assert_eq!(IndexHits::decode(&[]), IndexHits::default());
        let places = vec![PhyOffset(9), PhyOffset(6), PhyOffset(1)];
        hits.merge(IndexHits { last_timestamp: 4, last_phy: 9, places });
        assert_eq!((hits.last_timestamp, hits.last_phy), (5, 6));
        assert_eq!(hits.places, [PhyOffset(9), PhyOffset(6), PhyOffset(1)]);
    }
}
