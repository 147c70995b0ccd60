//! One queue's index: offsets, and the newest entries in memory.
//!
//! Entries below `persisted` are in the queue's files; the newest ones are also here, the others only there. An
//! entry goes to the files no earlier than the log is durable behind it. Java counterpart: ConsumeQueue.

use crate::layout::checkpoint::queue_digest;
use crate::layout::consume_queue::{CqEntry, ENTRY_BYTES};
use crate::layout::consume_queue_ext::bit_in_byte;
use crate::layout::index::topic_hash;
use crate::op::Extended;
use buf::prefetch::prefetch;
use std::collections::VecDeque;
use std::sync::Arc;
use wire::ids::{PhyOffset, QueueId, StreamId};

/// Persisted entries kept in memory for consumers that are a little behind.
pub const TAIL_ENTRIES_KEPT: usize = 4096;

/// What was appended to a queue since the process began, for statistics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Appends {
    /// Messages.
    pub messages: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Appends, each of one message or a batch.
    pub calls: u64,
}

/// A queue of a topic. Aligned, so that it lies in as few lines of the cache as it can.
#[repr(align(64))]
pub struct ConsumeQueue {
    /// Topic name.
    pub topic: Arc<[u8]>,
    /// Number of the queue.
    pub id: QueueId,
    /// Stream its new messages go to.
    pub stream: StreamId,
    /// Hash of the topic as keys in the index begin with it.
    pub(crate) topic_hash: i32,
    min: i64,
    next: i64,
    visible: i64,
    persisted: i64,
    tail: VecDeque<CqEntry>,
    /// Store times of the newest messages, unpersisted ones at least, and bytes of their bit maps; when the files want to
    /// know them.
    times: Option<VecDeque<(i64, u16)>>,
    /// Those bit maps.
    maps: VecDeque<u8>,
    /// Where the record of `min` lies, when known.
    min_phy: Option<PhyOffset>,
    pub(crate) appends: Appends,
    /// Set while the queue is in the engine's list of queues with unpersisted entries.
    pub(crate) dirty: bool,
    /// Set while the queue is in the engine's list of queues with news for readers.
    pub(crate) announced: bool,
}

impl ConsumeQueue {
    /// A queue whose files hold the entries `[min, next)`.
    pub fn new(
        topic: Arc<[u8]>,
        id: QueueId,
        stream: StreamId,
        min: i64,
        next: i64,
    ) -> ConsumeQueue {
        assert!(0 <= min && min <= next, "offsets {min} to {next} of a queue");
        ConsumeQueue {
            topic_hash: topic_hash(&topic),
            topic,
            id,
            stream,
            min,
            next,
            visible: next,
            persisted: next,
            tail: VecDeque::new(),
            times: None,
            maps: VecDeque::new(),
            min_phy: None,
            appends: Appends::default(),
            dirty: false,
            announced: false,
        }
    }

    /// What was appended since the process began; begins anew when the queue is removed.
    pub fn appends(&self) -> Appends {
        self.appends
    }

    /// First offset that can be read.
    pub fn min(&self) -> i64 {
        self.min
    }

    /// Where the record of `min` lies, when known.
    pub fn min_place(&self) -> Option<PhyOffset> {
        self.min_phy
    }

    /// Offset of the next message.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Readers see offsets below.
    pub fn visible(&self) -> i64 {
        self.visible
    }

    /// Entries below are in the files.
    pub fn persisted(&self) -> i64 {
        self.persisted
    }

    /// The queue's part in `Checkpoint::queues` when its files hold the entries below `offset`; 0 when they hold none.
    pub fn digest_at(&self, offset: i64) -> u64 {
        if offset > 0 { queue_digest(&self.topic, self.id.0, offset) } else { 0 }
    }

    /// Offset of the first entry in memory.
    pub fn tail_start(&self) -> i64 {
        self.next - i64::try_from(self.tail.len()).expect("entries in memory")
    }

    /// Keeps store times from now on.
    pub fn keep_times(&mut self) {
        let unpersisted = usize::try_from(self.next - self.persisted).expect("entries in memory");
        self.times.get_or_insert_with(|| std::iter::repeat_n((0, 0), unpersisted).collect());
    }

    /// What `count` unpersisted entries from `first` on have beyond themselves; nothing when it is not kept.
    pub fn extended(&self, first: i64, count: i64) -> Extended {
        let Some(times) = &self.times else { return Extended::default() };
        let begin = self.next - i64::try_from(times.len()).expect("entries in memory");
        let skip = usize::try_from(first - begin).expect("kept until persisted");
        let before = times.iter().take(skip).map(|(_, bytes)| usize::from(*bytes)).sum();
        let asked = times.iter().skip(skip).take(usize::try_from(count).unwrap_or(0));
        let (times, map_bytes): (Vec<i64>, Vec<u16>) = asked.copied().unzip();
        let bytes = map_bytes.iter().map(|bytes| usize::from(*bytes)).sum();
        let maps = self.maps.iter().skip(before).take(bytes).copied().collect();
        Extended { times, map_bytes, maps }
    }

    /// Gives the last entry a map of so many bytes with these bits, unless extended entries are not wanted; what lies outside of
    /// it is left out.
    pub fn set_bit_map(&mut self, map_bytes: u16, bits: impl Iterator<Item = u32>) {
        let last = self.times.as_mut().and_then(|times| times.back_mut());
        let Some((_, bytes)) = last.filter(|(_, bytes)| *bytes == 0) else { return };
        *bytes = map_bytes;
        let begin = self.maps.len();
        self.maps.resize(begin + usize::from(map_bytes), 0);
        for bit in bits {
            let at = usize::try_from(bit / 8).ok().and_then(|at| begin.checked_add(at));
            if let Some(byte) = at.and_then(|at| self.maps.get_mut(at)) {
                *byte |= bit_in_byte(bit);
            }
        }
    }

    /// Adds the entry of the next message, stored at `time_ms`.
    pub fn push_at(&mut self, entry: CqEntry, time_ms: i64) {
        if let Some(times) = &mut self.times {
            times.push_back((time_ms, 0));
        }
        self.push_entry(entry);
    }

    /// Adds the entry of the next message, whose time nobody wants to know.
    pub fn push(&mut self, entry: CqEntry) {
        self.push_at(entry, 0);
    }

    fn push_entry(&mut self, entry: CqEntry) {
        if self.min == self.next && !entry.is_filler() {
            self.min_phy = Some(entry.phy);
        }
        self.tail.push_back(entry);
        self.next += 1;
    }

    /// Asks for the memory of the last entry; the next one mostly goes to the same line of the cache, or the one behind it.
    #[inline]
    pub(crate) fn prefetch_end(&self) {
        if let Some(last) = self.tail.back() {
            prefetch(last);
        }
    }

    /// Shows readers everything below `offset`.
    pub fn show(&mut self, offset: i64) {
        assert!(offset <= self.next, "only what was appended is shown");
        self.visible = self.visible.max(offset);
    }

    /// The entry at `offset`, `None` when only the files have it.
    pub fn entry(&self, offset: i64) -> Option<CqEntry> {
        let at = usize::try_from(offset.checked_sub(self.tail_start())?).ok()?;
        self.tail.get(at).copied()
    }

    /// Entries in memory from `offset` on that readers may see.
    pub fn visible_from(&self, offset: i64) -> impl Iterator<Item = CqEntry> + '_ {
        let skip = usize::try_from(offset - self.tail_start()).unwrap_or(usize::MAX);
        let count = usize::try_from(self.visible - offset).unwrap_or(0);
        self.tail.iter().skip(skip).take(count).copied()
    }

    /// Encodes unpersisted entries whose records end at or below `durable` into `out`, about `bytes_max` at most;
    /// returns the first offset and the number of entries. Call `set_persisted` when they are written.
    pub fn encode_unpersisted(
        &self,
        durable: u64,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> (i64, i64) {
        let skip =
            usize::try_from(self.persisted - self.tail_start()).expect("kept until persisted");
        let waiting = self.tail.len() - skip;
        out.reserve(bytes_max.min(waiting * ENTRY_BYTES) + ENTRY_BYTES);
        let mut count = 0;
        for entry in self.tail.iter().skip(skip).take_while(|e| e.is_filler() || e.end() <= durable)
        {
            if out.len() >= bytes_max {
                break;
            }
            out.extend_from_slice(&entry.encode());
            count += 1;
        }
        (self.persisted, count)
    }

    /// Entries below `offset` are in the files; the oldest ones leave memory.
    pub fn set_persisted(&mut self, offset: i64) {
        assert!(self.persisted <= offset && offset <= self.next, "files hold what was appended");
        self.persisted = offset;
        if let Some(times) = &mut self.times {
            let unpersisted = usize::try_from(self.next - offset).expect("in memory");
            let gone = times.drain(..times.len().saturating_sub(unpersisted));
            let map_bytes = gone.map(|(_, bytes)| usize::from(bytes)).sum::<usize>();
            self.maps.drain(..map_bytes);
        }
        let persisted_kept = usize::try_from(offset - self.tail_start()).expect("in memory");
        let surplus = persisted_kept.saturating_sub(TAIL_ENTRIES_KEPT);
        self.tail.drain(..surplus);
        if self.tail.capacity() > 8 * TAIL_ENTRIES_KEPT && self.tail.len() < TAIL_ENTRIES_KEPT {
            self.tail.shrink_to(TAIL_ENTRIES_KEPT);
        }
    }

    /// Whether the first entries may belong to records below `start`, where the queue's log begins now.
    pub fn may_begin_below(&self, start: PhyOffset) -> bool {
        let known = self.min_phy.is_some_and(|phy| phy.stream() == start.stream());
        self.min < self.next && !(known && self.min_phy >= Some(start))
    }

    /// The queue begins at `min` now, whose record lies at `phy`. What is older is no longer read.
    pub fn advance_min(&mut self, min: i64, phy: Option<PhyOffset>) {
        assert!(min <= self.persisted, "only what is in the files is forgotten");
        if min >= self.min {
            self.min = min;
            self.min_phy = phy.or_else(|| self.entry(min).map(|entry| entry.phy));
        }
    }

    /// Whether some entries are not in the files.
    pub fn has_unpersisted(&self) -> bool {
        self.persisted < self.next
    }

    /// What must hold after every step.
    pub fn check_invariants(&self) {
        assert!(self.min <= self.visible && self.visible <= self.next);
        assert!(self.tail_start() <= self.persisted && self.persisted <= self.next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> ConsumeQueue {
        ConsumeQueue::new(Arc::from(&b"T"[..]), QueueId(0), StreamId(0), 0, 0)
    }

    fn entry(at: u64) -> CqEntry {
        CqEntry { phy: PhyOffset(at * 100), size: 100, tags_code: 0 }
    }

    #[test]
    fn readers_see_what_was_shown() {
        let mut q = queue();
        q.push(entry(0));
        q.push(entry(1));
        assert_eq!(q.visible_from(0).count(), 0);
        q.show(1);
        assert_eq!(q.visible_from(0).collect::<Vec<_>>(), [entry(0)]);
        assert_eq!(q.entry(1), Some(entry(1)));
        q.check_invariants();
    }

    #[test]
    fn only_entries_of_durable_records_go_to_the_files() {
        let mut q = queue();
        for i in 0..3 {
            q.push(entry(i));
        }
        let mut bytes = Vec::new();
        assert_eq!(q.encode_unpersisted(250, 1000, &mut bytes), (0, 2));
        assert_eq!(bytes.len(), 40);
        q.set_persisted(2);
        assert!(q.has_unpersisted());
        bytes.clear();
        assert_eq!(q.encode_unpersisted(300, 1000, &mut bytes), (2, 1));
        q.check_invariants();
    }

    #[test]
    fn times_are_kept_until_their_entries_are_in_the_files() {
        let mut q = queue();
        q.push(entry(0));
        assert_eq!(q.extended(0, 1), Extended::default());
        q.keep_times();
        for i in 1..5 {
            q.push_at(entry(i), i64::try_from(i).unwrap() * 10);
        }
        assert_eq!(q.extended(0, 3).times, [0, 10, 20]);
        q.set_persisted(2);
        q.keep_times();
        assert_eq!(q.extended(2, 9).times, [20, 30, 40]);
    }

    #[test]
    fn bit_maps_are_kept_with_their_entries() {
        let mut q = queue();
        q.push(entry(0));
        q.set_bit_map(2, [1].into_iter());
        assert_eq!(q.extended(0, 1), Extended::default(), "nobody wants them");
        q.keep_times();
        for i in 1..5 {
            q.push_at(entry(i), 10);
            if i != 3 {
                let bit = u32::try_from(i).unwrap();
                q.set_bit_map(2, [bit, bit + 8, 16].into_iter());
            }
        }
        let found = q.extended(1, 3);
        assert_eq!((found.map_bytes, found.maps), (vec![2, 2, 0], vec![2, 2, 4, 4]));
        q.set_persisted(2);
        let found = q.extended(3, 2);
        assert_eq!((found.map_bytes, found.maps), (vec![0, 2], vec![16, 16]));
        q.set_persisted(5);
        assert!(q.maps.is_empty());
    }

    #[test]
    fn a_filler_does_not_hold_the_entries_behind_it() {
        let mut q = queue();
        q.push(CqEntry::FILLER);
        q.push(entry(1));
        let mut bytes = Vec::new();
        assert_eq!(q.encode_unpersisted(200, 1000, &mut bytes), (0, 2));
    }

    #[test]
    fn a_queue_follows_the_start_of_the_log() {
        let mut q = queue();
        assert!(!q.may_begin_below(PhyOffset(1000)), "an empty queue has nothing to lose");
        for i in 1..4 {
            q.push(entry(i));
        }
        q.show(3);
        q.set_persisted(3);
        assert!(!q.may_begin_below(PhyOffset(100)));
        assert!(q.may_begin_below(PhyOffset(200)));
        q.advance_min(1, None);
        assert!(!q.may_begin_below(PhyOffset(200)));
        q.advance_min(3, None);
        assert_eq!((q.min(), q.next()), (3, 3), "a queue without messages keeps its offset");
        q.push(entry(9));
        assert!(!q.may_begin_below(PhyOffset(900)));
        q.check_invariants();
    }

    #[test]
    fn old_entries_leave_memory_once_they_are_in_the_files() {
        let mut q = queue();
        let count = TAIL_ENTRIES_KEPT as u64 + 10;
        for i in 0..count {
            q.push(entry(i));
        }
        q.set_persisted(q.next());
        assert_eq!(q.tail_start(), 10);
        assert_eq!(q.entry(9), None);
        assert_eq!(q.entry(10), Some(entry(10)));
        q.check_invariants();
    }
}
