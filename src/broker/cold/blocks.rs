//! Blocks of log files that were read, shared by all pulls that are behind: consumers of neighbouring queues, and the
//! next pulls of the same one, find in memory what one read brought.
//!
//! Invariants: a block holds bytes that the device had when it was read, so that they never change; a block that
//! someone waits for or is about to copy from is pinned and stays. Limits: bytes of blocks that are kept, blocks that
//! are pinned, loads in flight. Groups that wait for loads take turns.

use crate::cold::line::{GroupKey, Line};
use hashbrown::HashMap;
use store::Store;
use wire::ids::{PhyOffset, StreamId};

/// Bytes of a block, less at the end of a segment or of what is written.
pub(crate) const BLOCK_BYTES: u64 = 512 << 10;
/// Bytes of blocks kept on a shard, unless more are pinned.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// Blocks pinned on a shard: 64 MiB. A job that needs more than are left gets those of its first record.
const PINNED_MAX: usize = 128;
/// Blocks loading on a shard, so that sends find the device's queue short.
const LOADS_MAX: usize = 6;

/// Where a block lies: the position of its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct BlockAt {
    pub(crate) stream: StreamId,
    pub(crate) base: u64,
}

/// A read to start.
pub(crate) struct Load {
    pub(crate) slot: u32,
    pub(crate) phy: PhyOffset,
    pub(crate) buffer: Vec<u8>,
}

struct Block {
    at: BlockAt,
    bytes: Vec<u8>,
    /// Bytes it will have; loading while `bytes` has fewer.
    wanted: usize,
    loading: bool,
    /// Its read has not begun.
    in_line: bool,
    pins: u32,
    used: u64,
    /// Tokens of jobs to tell.
    waiting: Vec<u64>,
    /// Tokens of jobs that came while it was read and want more than that read brings: it is read once more for them.
    late: Vec<u64>,
    /// For whom, and how much of it there was for the last of them.
    again: (Vec<GroupKey>, usize),
}

/// The blocks of a shard.
#[derive(Default)]
pub(crate) struct Blocks {
    slots: Vec<Option<Block>>,
    free: Vec<u32>,
    by_place: HashMap<BlockAt, u32>,
    spare: Vec<Vec<u8>>,
    bytes: usize,
    pinned: usize,
    loads: usize,
    /// Loads to start; a block that several groups wait for is in each one's line.
    queued: Line<(u32, BlockAt)>,
    clock: u64,
}

/// Blocks that hold `[start, end)` of a stream; all in one segment, as records are.
pub(crate) fn places(
    store: &Store,
    stream: StreamId,
    start: u64,
    end: u64,
) -> impl Iterator<Item = BlockAt> {
    let segment = store.stream(stream).segments().base_of(start);
    let first = segment + (start - segment) / BLOCK_BYTES * BLOCK_BYTES;
    let count = (end - first).div_ceil(BLOCK_BYTES);
    (0..count).map(move |n| BlockAt { stream, base: first + n * BLOCK_BYTES })
}

/// Bytes of the block that the device has.
fn readable(store: &Store, at: BlockAt) -> usize {
    let stream = store.stream(at.stream);
    let segments = stream.segments();
    let segment_end = segments.base_of(at.base) + segments.segment_bytes();
    let end = (at.base + BLOCK_BYTES).min(segment_end).min(stream.written());
    usize::try_from(end.saturating_sub(at.base)).expect("at most a block")
}

impl Blocks {
    /// Blocks that may still be pinned.
    pub(crate) fn room(&self) -> usize {
        PINNED_MAX.saturating_sub(self.pinned)
    }

    /// Pins the block and has it loaded up to `end` if it is not there; true when the job `token` of the group has to wait
    /// for it.
    pub(crate) fn pin(
        &mut self,
        store: &Store,
        at: BlockAt,
        end: u64,
        (group, token): (GroupKey, u64),
    ) -> bool {
        let slot = self.find_or_add(store, at, end, group);
        let clock = self.tick();
        let readable = readable(store, at);
        let block = self.block(slot);
        block.pins += 1;
        block.used = clock;
        if block.loading && at.base + (block.wanted as u64) < end && block.wanted < readable {
            block.late.push(token);
            if !block.again.0.contains(&group) {
                block.again.0.push(group);
            }
            block.again.1 = readable;
        } else if block.loading {
            block.waiting.push(token);
        }
        let (is_first, is_loading) = (block.pins == 1, block.loading);
        self.pinned += usize::from(is_first);
        is_loading
    }

    /// Has the block behind `at` loaded when this looks like reading on and on.
    pub(crate) fn read_ahead(&mut self, store: &Store, at: BlockAt, group: GroupKey) {
        let before = at.base.checked_sub(BLOCK_BYTES).map(|base| BlockAt { base, ..at });
        let next = BlockAt { base: at.base + BLOCK_BYTES, ..at };
        let sequential = before.is_some_and(|before| self.by_place.contains_key(&before));
        let useful = readable(store, next) == usize::try_from(BLOCK_BYTES).expect("a block");
        if sequential && useful && self.loads + self.queued.len() < LOADS_MAX {
            self.find_or_add(store, next, next.base, group);
        }
    }

    fn find_or_add(&mut self, store: &Store, at: BlockAt, end: u64, group: GroupKey) -> u32 {
        let slot = match self.by_place.get(&at).copied() {
            Some(slot) => slot,
            None => self.add(at),
        };
        let readable = readable(store, at);
        let block = self.block(slot);
        // What was the end of the log when it was read may have grown since. A pinned block's bytes are being copied
        // from, but what they hold stays what it was.
        let has = at.base + block.bytes.len() as u64;
        if !block.loading && (has < end || block.wanted == 0) {
            block.loading = true;
            block.in_line = true;
        }
        if block.in_line {
            block.wanted = readable;
            // Its own group may be far from its turn.
            self.queued.push(group, (slot, at));
        }
        slot
    }

    fn add(&mut self, at: BlockAt) -> u32 {
        self.make_room();
        let block = Block {
            at,
            bytes: Vec::new(),
            wanted: 0,
            loading: false,
            in_line: false,
            pins: 0,
            used: self.tick(),
            waiting: Vec::new(),
            late: Vec::new(),
            again: (Vec::new(), 0),
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("bounded by bytes")
        });
        self.slots[slot as usize] = Some(block);
        self.by_place.insert(at, slot);
        slot
    }

    fn make_room(&mut self) {
        while self.bytes + usize::try_from(BLOCK_BYTES).expect("a block") > KEPT_BYTES_MAX {
            let unused = |slot: &(usize, &Option<Block>)| {
                slot.1.as_ref().is_some_and(|block| block.pins == 0 && !block.loading)
            };
            let used =
                |slot: &(usize, &Option<Block>)| slot.1.as_ref().map_or(0, |block| block.used);
            let oldest = self.slots.iter().enumerate().filter(unused).min_by_key(used);
            let Some((at, _)) = oldest else { return };
            self.remove(u32::try_from(at).expect("bounded by bytes"));
        }
    }

    fn remove(&mut self, slot: u32) {
        let block = self.slots[slot as usize].take().expect("a slot in use");
        assert!(block.pins == 0 && !block.loading, "a block in use stays");
        self.by_place.remove(&block.at);
        self.free.push(slot);
        self.bytes -= block.bytes.capacity();
        if self.spare.len() < LOADS_MAX {
            self.spare.push(block.bytes);
        }
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn block(&mut self, slot: u32) -> &mut Block {
        self.slots[slot as usize].as_mut().expect("a slot in use")
    }

    /// The next read to start; then `loaded` is called.
    pub(crate) fn next_load(&mut self) -> Option<Load> {
        if self.loads >= LOADS_MAX {
            return None;
        }
        let slot = loop {
            let (slot, at) = self.queued.pop(u64::MAX)?;
            let block = self.slots[slot as usize].as_mut();
            if let Some(block) = block.filter(|block| block.at == at && block.in_line) {
                block.in_line = false;
                break slot;
            }
        };
        self.loads += 1;
        let mut buffer = self.spare.pop().unwrap_or_default();
        let block = self.block(slot);
        // Reads fill whole buffers: stale bytes of an earlier use are never taken for the log's.
        buffer.resize(block.wanted.max(1), 0);
        let phy = PhyOffset::new(block.at.stream, block.at.base);
        Some(Load { slot, phy, buffer })
    }

    /// A read is done; an empty buffer says that it failed. Returns the jobs that waited.
    pub(crate) fn loaded(&mut self, slot: u32, bytes: Vec<u8>) -> Vec<u64> {
        self.loads -= 1;
        let before = self.block(slot).bytes.capacity();
        self.bytes = self.bytes - before + bytes.capacity();
        let block = self.block(slot);
        block.loading = false;
        let old = std::mem::replace(&mut block.bytes, bytes);
        if block.bytes.is_empty() {
            block.wanted = 0;
        }
        let waiting = std::mem::take(&mut block.waiting);
        if !block.late.is_empty() {
            block.waiting = std::mem::take(&mut block.late);
            block.loading = true;
            block.in_line = true;
            let ((groups, wanted), at) = (std::mem::take(&mut block.again), block.at);
            block.wanted = wanted;
            groups.into_iter().for_each(|group| self.queued.push(group, (slot, at)));
        }
        if old.capacity() > 0 && self.spare.len() < LOADS_MAX {
            self.spare.push(old);
        }
        waiting
    }

    /// A job no longer needs the block.
    pub(crate) fn unpin(&mut self, at: BlockAt) {
        let slot = *self.by_place.get(&at).expect("a pinned block stays");
        let block = self.block(slot);
        block.pins -= 1;
        if block.pins == 0 {
            self.pinned -= 1;
            self.make_room();
        }
    }

    /// Bytes `[start, start + len)` of a stream: from one block, or put together in `scratch`. `None` when some are missing.
    pub(crate) fn bytes<'b>(
        &'b self,
        store: &Store,
        phy: PhyOffset,
        len: usize,
        scratch: &'b mut Vec<u8>,
    ) -> Option<&'b [u8]> {
        let (start, end) = (phy.position(), phy.position() + len as u64);
        let mut places = places(store, phy.stream(), start, end);
        let first = places.next()?;
        let slice = |at: BlockAt| {
            let block = self.slots[*self.by_place.get(&at)? as usize].as_ref()?;
            let from = usize::try_from(start.max(at.base) - at.base).ok()?;
            let to = usize::try_from(end.min(at.base + BLOCK_BYTES) - at.base).ok()?;
            block.bytes.get(from..to)
        };
        let Some(second) = places.next() else { return slice(first) };
        scratch.clear();
        scratch.extend_from_slice(slice(first)?);
        for at in std::iter::once(second).chain(places) {
            scratch.extend_from_slice(slice(at)?);
        }
        Some(scratch)
    }

    /// Gives everything back that is not in use; true when nothing is left.
    pub(crate) fn clear(&mut self) -> bool {
        self.spare.clear();
        for slot in 0..u32::try_from(self.slots.len()).expect("bounded by bytes") {
            let block = self.slots[slot as usize].as_ref();
            if block.is_some_and(|block| block.pins == 0 && !block.loading) {
                self.remove(slot);
            }
        }
        self.spare.clear();
        self.by_place.is_empty()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use buf::window::{Window, WindowIdentity};
    use store::layout::checkpoint::Checkpoint;
    use store::queues::Queues;
    use store::segments::Segments;
    use store::stream::{FlushMode, Stream, StreamConfig, SyncBy};
    use store::{Store, StoreConfig};

    const A: GroupKey = GroupKey(1);
    const B: GroupKey = GroupKey(2);
    pub(crate) const SEGMENT: u64 = 3 * BLOCK_BYTES + 4096;

    /// A store whose device has everything below `written`.
    pub(crate) fn store(written: u64) -> Store {
        let identity = WindowIdentity { store_id: 1, boot_id: 1, stream: 0 };
        let config = StreamConfig {
            stream: StreamId(0),
            segment_bytes: SEGMENT,
            flush: FlushMode::Async,
            sync_by: SyncBy::Flush,
            flush_interval_ns: 1,
            write_batch_bytes: 4096,
            read_uncommitted: false,
        };
        let bases: Vec<u64> = (0..=written / SEGMENT).map(|n| n * SEGMENT).collect();
        let window = Window::anonymous(1 << 20, identity, written).unwrap();
        let stream = Stream::new(config, window, Segments::new(SEGMENT, &bases, 0), written);
        let list = vec![(stream, Checkpoint::default())];
        Store::new(StoreConfig::default(), list, Queues::default())
    }

    fn at(base: u64) -> BlockAt {
        BlockAt { stream: StreamId(0), base }
    }

    /// Carries out a load: byte `n` of the log is `n / 1000`.
    fn load(blocks: &mut Blocks) -> (u64, usize, Vec<u64>) {
        let load = blocks.next_load().expect("something to load");
        let base = load.phy.position();
        let len = load.buffer.len();
        let bytes = (base..base + len as u64).map(|n| (n / 1000).to_le_bytes()[0]).collect();
        (base, len, blocks.loaded(load.slot, bytes))
    }

    #[test]
    fn a_block_is_read_once_for_all_that_wait() {
        let (store, mut blocks) = (store(10 * SEGMENT), Blocks::default());
        assert!(blocks.pin(&store, at(0), 100, (A, 7)));
        assert!(blocks.pin(&store, at(0), 200, (A, 8)));
        assert_eq!(load(&mut blocks), (0, 512 << 10, vec![7, 8]));
        assert!(blocks.next_load().is_none());
        assert!(!blocks.pin(&store, at(0), 300, (A, 9)), "it is there");
        let mut scratch = Vec::new();
        let bytes = blocks.bytes(&store, PhyOffset(5999), 2, &mut scratch);
        assert_eq!(bytes, Some(&[5, 6][..]));
    }

    #[test]
    fn a_record_may_cross_blocks_but_not_the_segment() {
        let (store, mut blocks) = (store(10 * SEGMENT), Blocks::default());
        let (start, end) = (BLOCK_BYTES - 10, 2 * BLOCK_BYTES + 10);
        let needed: Vec<BlockAt> = places(&store, StreamId(0), start, end).collect();
        assert_eq!(needed, [at(0), at(BLOCK_BYTES), at(2 * BLOCK_BYTES)]);
        let mut scratch = Vec::new();
        let len = usize::try_from(end - start).unwrap();
        for place in &needed {
            assert!(blocks.bytes(&store, PhyOffset(start), len, &mut scratch).is_none());
            blocks.pin(&store, *place, end.min(place.base + BLOCK_BYTES), (A, 1));
            load(&mut blocks);
        }
        let bytes = blocks.bytes(&store, PhyOffset(start), len, &mut scratch).unwrap();
        let expected = (start..end).map(|n| (n / 1000).to_le_bytes()[0]);
        assert!(bytes.iter().copied().eq(expected));
        let last = 3 * BLOCK_BYTES;
        blocks.pin(&store, at(last), last + 4096, (A, 1));
        assert_eq!(load(&mut blocks).1, 4096, "the segment ends there");
        let next: Vec<BlockAt> = places(&store, StreamId(0), SEGMENT + 5, SEGMENT + 9).collect();
        assert_eq!(next, [at(SEGMENT)], "blocks begin with their segment");
    }

    #[test]
    fn the_end_of_the_log_is_read_again_when_it_has_grown() {
        let (small, mut blocks) = (store(10_000), Blocks::default());
        blocks.pin(&small, at(0), 9_000, (A, 1));
        assert_eq!(load(&mut blocks).1, 10_000);
        assert!(!blocks.pin(&small, at(0), 10_000, (A, 1)));
        let grown = store(20_000);
        assert!(blocks.pin(&grown, at(0), 15_000, (A, 2)));
        assert_eq!(load(&mut blocks), (0, 20_000, vec![2]));
    }

    #[test]
    fn who_comes_while_the_end_of_the_log_is_read_gets_what_was_written_meanwhile() {
        let (small, mut blocks) = (store(10_000), Blocks::default());
        assert!(blocks.pin(&small, at(0), 9_000, (A, 1)));
        let early = blocks.next_load().unwrap();
        let grown = store(20_000);
        assert!(blocks.pin(&grown, at(0), 9_500, (A, 2)));
        assert!(blocks.pin(&grown, at(0), 15_000, (B, 3)));
        assert!(blocks.pin(&grown, at(0), 25_000, (A, 4)), "its end is in memory only");
        assert!(blocks.pin(&grown, at(0), 15_000, (B, 6)));
        let others = [1, 2].map(|n| at(n * SEGMENT));
        let far = store(3 * SEGMENT);
        others.iter().for_each(|other| assert!(blocks.pin(&far, *other, other.base, (A, 5))));
        assert_eq!(blocks.loaded(early.slot, early.buffer), [1, 2]);
        assert_eq!(blocks.queued.len(), others.len() + 2, "once for each group");
        assert_eq!(load(&mut blocks).0, SEGMENT);
        assert_eq!(load(&mut blocks), (0, 20_000, vec![3, 4, 6]), "in the line of each group");
        assert_eq!(load(&mut blocks).0, 2 * SEGMENT);
        assert!(!blocks.pin(&grown, at(0), 20_000, (A, 5)));
        assert!(blocks.next_load().is_none());
    }

    #[test]
    fn who_waits_in_line_gets_what_is_written_when_the_last_of_them_comes() {
        let (small, mut blocks) = (store(10_000), Blocks::default());
        assert!(blocks.pin(&small, at(0), 9_000, (A, 1)));
        assert!(blocks.pin(&store(20_000), at(0), 15_000, (B, 2)));
        assert_eq!(load(&mut blocks), (0, 20_000, vec![1, 2]));
    }

    #[test]
    fn reading_on_loads_the_next_block_ahead() {
        let (store, mut blocks) = (store(10 * SEGMENT), Blocks::default());
        blocks.pin(&store, at(0), 1, (A, 1));
        blocks.read_ahead(&store, at(0), A);
        load(&mut blocks);
        assert!(blocks.next_load().is_none(), "one read is no sequence");
        blocks.pin(&store, at(BLOCK_BYTES), BLOCK_BYTES + 1, (A, 1));
        blocks.read_ahead(&store, at(BLOCK_BYTES), A);
        assert_eq!(load(&mut blocks).0, BLOCK_BYTES);
        assert_eq!(load(&mut blocks), (2 * BLOCK_BYTES, 512 << 10, vec![]));
    }

    #[test]
    fn memory_is_bounded_and_pinned_blocks_stay() {
        let (store, mut blocks) = (store(200 * SEGMENT), Blocks::default());
        blocks.pin(&store, at(0), 1, (A, 1));
        load(&mut blocks);
        for n in 1..200 {
            blocks.pin(&store, at(n * SEGMENT), n * SEGMENT + 1, (A, 1));
            load(&mut blocks);
            blocks.unpin(at(n * SEGMENT));
        }
        assert!(blocks.bytes <= KEPT_BYTES_MAX, "{} bytes", blocks.bytes);
        assert_eq!(blocks.room(), PINNED_MAX - 1);
        for n in 1..200 {
            blocks.pin(&store, at(n * SEGMENT), n * SEGMENT + 1, (A, 1));
            while blocks.loads + blocks.queued.len() > 0 {
                load(&mut blocks);
            }
        }
        assert_eq!(blocks.room(), 0);
        for n in 1..200 {
            blocks.unpin(at(n * SEGMENT));
        }
        assert!(blocks.bytes <= KEPT_BYTES_MAX, "{} bytes when none is pinned", blocks.bytes);
        assert_eq!(blocks.room(), PINNED_MAX - 1);
        assert!(!blocks.pin(&store, at(0), 1, (A, 1)), "pinned all the time");
        blocks.unpin(at(0));
        assert!(!blocks.clear(), "still pinned once");
        blocks.unpin(at(0));
        assert!(blocks.clear());
        assert_eq!(blocks.bytes, 0);
    }

    #[test]
    fn groups_take_turns_at_the_device() {
        let (store, mut blocks) = (store(200 * SEGMENT), Blocks::default());
        let place = |n: u64| at(n * SEGMENT);
        (0..50).for_each(|n| assert!(blocks.pin(&store, place(n), n * SEGMENT + 1, (A, n))));
        assert!(blocks.pin(&store, place(60), 60 * SEGMENT + 1, (B, 60)));
        assert!(blocks.pin(&store, place(49), 49 * SEGMENT + 1, (B, 99)));
        let mut order = Vec::new();
        for _ in 0..51 {
            let (base, _, told) = load(&mut blocks);
            order.push(base / SEGMENT);
            assert_eq!(
                told,
                if base == 49 * SEGMENT { vec![49, 99] } else { vec![base / SEGMENT] }
            );
        }
        assert_eq!(order[..5], [0, 60, 1, 49, 2], "also what another group wanted first");
        assert!(blocks.next_load().is_none(), "each is read once");
    }

    #[test]
    fn a_failed_read_is_tried_again_by_the_next_pull() {
        let (store, mut blocks) = (store(10 * SEGMENT), Blocks::default());
        blocks.pin(&store, at(0), 100, (A, 7));
        let slot = blocks.next_load().unwrap().slot;
        assert_eq!(blocks.loaded(slot, Vec::new()), [7]);
        blocks.unpin(at(0));
        assert!(blocks.pin(&store, at(0), 100, (A, 8)));
    }
}
