//! The content of one simulated file: as readers see it, as it certainly survives, and what lies between.

use super::random::Random;
use std::sync::Arc;

/// What a device writes whole or not at all.
pub(crate) const SECTOR: usize = 512;

#[derive(Clone, Debug)]
pub(super) enum Change {
    Size(usize),
    Write {
        id: u64,
        at: usize,
        bytes: Arc<[u8]>,
        /// Sectors that cannot land any more, because newer bytes are durable; empty: none.
        stale: Vec<bool>,
        complete: bool,
    },
}

/// A file: as readers see it, as it certainly survives, and what lies between.
#[derive(Clone, Default, Debug)]
pub(super) struct Content {
    pub(super) live: Arc<Vec<u8>>,
    pub(super) durable: Arc<Vec<u8>>,
    pub(super) pending: Vec<Change>,
    /// Buffered writes that a failed sync gave up: the page cache takes them for written, so no later sync does it.
    given_up: Vec<Change>,
    /// Syncs under way: the ids of the direct writes they cover, and how many of the other changes.
    syncs: Vec<(u64, Vec<u64>)>,
}

/// Buffered writes have no id of their own.
pub(super) const BUFFERED: u64 = u64::MAX;

pub(super) fn put(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if to.len() < at + bytes.len() {
        to.resize(at + bytes.len(), 0);
    }
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(super) fn resize(to: &mut Arc<Vec<u8>>, bytes: usize) {
    if to.len() != bytes {
        Arc::make_mut(to).resize(bytes, 0);
    }
}

impl Content {
    /// A direct write begins; it is of whole sectors.
    pub(super) fn submit(&mut self, id: u64, at: usize, bytes: &Arc<[u8]>) {
        let bytes = Arc::clone(bytes);
        self.pending.push(Change::Write { id, at, bytes, stale: Vec::new(), complete: false });
    }

    /// A buffered write. What reaches the disk are the sectors of the page cache that it changed.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        put(Arc::make_mut(&mut self.live), at, bytes);
        let from = at / SECTOR * SECTOR;
        let to = (at + bytes.len()).next_multiple_of(SECTOR).min(self.live.len());
        let bytes = Arc::from(&self.live[from..to]);
        self.pending.push(Change::Write {
            id: BUFFERED,
            at: from,
            bytes,
            stale: Vec::new(),
            complete: true,
        });
    }

    pub(super) fn set_bytes(&mut self, bytes: usize) {
        if self.live.len() != bytes {
            resize(&mut self.live, bytes);
            self.pending.push(Change::Size(bytes));
        }
    }

    pub(super) fn find(&mut self, wanted: u64) -> Option<usize> {
        self.pending.iter().position(|c| matches!(c, Change::Write { id, .. } if *id == wanted))
    }

    pub(super) fn complete(&mut self, id: u64, durable: bool) {
        let index = self.find(id).expect("a write completes once");
        if let Change::Write { at, bytes, complete, .. } = &mut self.pending[index] {
            *complete = true;
            put(Arc::make_mut(&mut self.live), *at, bytes);
        }
        if durable {
            self.settle(index);
        }
    }

    /// The change becomes durable: what was there before it can no longer land on top.
    pub(super) fn settle(&mut self, index: usize) {
        match self.pending.remove(index) {
            Change::Size(bytes) => resize(&mut self.durable, bytes),
            Change::Write { at, bytes, stale, .. } => {
                // With its sectors a durable write makes the size durable that they need.
                land(Arc::make_mut(&mut self.durable), at, &bytes, |s| {
                    !stale.get(s).copied().unwrap_or(false)
                });
                for older in self.given_up.iter_mut().chain(&mut self.pending[..index]) {
                    outdate(older, at, bytes.len());
                }
            }
        }
    }

    pub(super) fn sync(&mut self) {
        let waits = |c: &Change| matches!(c, Change::Write { complete: false, .. });
        if self.given_up.is_empty() && !self.pending.iter().any(waits) {
            self.pending.clear();
            self.durable = Arc::clone(&self.live);
            return;
        }
        while let Some(index) = self.pending.iter().position(|c| !waits(c)) {
            self.settle(index);
        }
    }

    /// A sync has failed, as Linux does it: the next one succeeds, and what this one was to write is not written.
    pub(super) fn give_up(&mut self) {
        let buffered = |c: &Change| matches!(c, Change::Write { id, .. } if *id == BUFFERED);
        let (given_up, kept) = std::mem::take(&mut self.pending).into_iter().partition(buffered);
        self.pending = kept;
        self.given_up.extend::<Vec<Change>>(given_up);
    }

    pub(super) fn begin_sync(&mut self, sync: u64) {
        let complete = self.pending.iter().filter_map(|c| match c {
            Change::Write { id, complete: true, .. } => Some(*id),
            Change::Write { .. } | Change::Size(_) => None,
        });
        let covers = complete.collect();
        self.syncs.push((sync, covers));
    }

    pub(super) fn end_sync(&mut self, sync: u64) {
        let index = self.syncs.iter().position(|(id, _)| *id == sync).expect("a sync ends once");
        for id in self.syncs.swap_remove(index).1 {
            if let Some(index) = self.find(id) {
                self.settle(index);
            }
        }
    }

    /// What a power cut leaves.
    pub(super) fn cut(&self, random: &mut Random, luck: usize) -> Content {
        let mut left = Arc::clone(&self.durable);
        let changes = self.given_up.iter().chain(&self.pending);
        let sizes = changes.filter(|c| self.grows(c)).count();
        let mut sizes = random.below(sizes + 1);
        for change in self.given_up.iter().chain(&self.pending) {
            let grows = self.grows(change);
            if grows && sizes > 0 {
                sizes -= 1;
                match change {
                    Change::Size(bytes) => resize(&mut left, *bytes),
                    Change::Write { at, bytes, .. } => {
                        let len = left.len().max(at + bytes.len());
                        resize(&mut left, len);
                    }
                }
            }
            let Change::Write { at, bytes, stale, .. } = change else { continue };
            let whole = random.chance(50).then(|| random.chance(luck));
            let room = left.len().saturating_sub(*at).min(bytes.len());
            if whole == Some(false) || room == 0 {
                continue;
            }
            land(Arc::make_mut(&mut left), *at, &bytes[..room], |s| {
                whole.unwrap_or_else(|| random.chance(luck))
                    && !stale.get(s).copied().unwrap_or(false)
            });
        }
        Content { live: Arc::clone(&left), durable: left, ..Content::default() }
    }

    pub(super) fn grows(&self, change: &Change) -> bool {
        match change {
            Change::Size(_) => true,
            Change::Write { at, bytes, .. } => at + bytes.len() > self.durable.len(),
        }
    }

    /// What the death of the process leaves: of writes in flight, some sectors reached the device.
    pub(super) fn orphan(&self, random: &mut Random, luck: usize) -> Content {
        let mut left = Content { syncs: Vec::new(), ..self.clone() };
        for change in &mut left.pending {
            let Change::Write { at, bytes, stale, complete, .. } = change else { continue };
            if *complete {
                continue;
            }
            *complete = true;
            let whole = random.chance(50).then(|| random.chance(luck));
            let sectors = bytes.len().div_ceil(SECTOR);
            let lost = |_| !whole.unwrap_or_else(|| random.chance(luck));
            *stale = (0..sectors).map(lost).collect();
            land(Arc::make_mut(&mut left.live), *at, bytes, |s| !stale[s]);
        }
        left
    }
}

/// Puts the chosen sectors of a write into place.
pub(super) fn land(
    to: &mut Vec<u8>,
    at: usize,
    bytes: &[u8],
    mut lands: impl FnMut(usize) -> bool,
) {
    for (sector, piece) in bytes.chunks(SECTOR).enumerate() {
        if lands(sector) {
            put(to, at + sector * SECTOR, piece);
        }
    }
}

/// Marks the sectors of an older change that lie in `[at, at + len)`, which is durable now.
pub(super) fn outdate(older: &mut Change, from: usize, len: usize) {
    let Change::Write { at, bytes, stale, .. } = older else { return };
    if *at >= from + len || from >= *at + bytes.len() {
        return;
    }
    stale.resize(bytes.len().div_ceil(SECTOR), false);
    for (s, stale) in stale.iter_mut().enumerate() {
        let start = *at + s * SECTOR;
        *stale |= start < from + len && from < start + SECTOR;
    }
}
