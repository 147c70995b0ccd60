//! Index items against records: items lie in log order, so a cursor over the index files runs beside the walk of the log.
//!
//! Each item's hash must be one of its record's keys, and the chains of a file's slots must be what its items give.
//! Memory: a buffer and the slots of one file.

use super::Trouble;
use super::place::{Place, StreamPlace, index_files};
use super::report::{Finding, Severity};
use super::walk::read_full;
use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use store::index::{IndexKeys, is_indexed};
use store::layout::index::{
    HEADER_BYTES, ITEM_BYTES, IndexHeader, IndexItem, IndexLimits, SLOT_BYTES, topic_hash,
};
use wire::ids::{PhyOffset, StreamId};
use wire::message::MessageView;

/// Items read at a time.
const HELD_ITEMS: usize = 3200;
/// Bytes of slots compared at a time.
const SLOTS_CHUNK: usize = 1 << 20;

/// A file that is being read.
struct OpenFile {
    path: PathBuf,
    file: File,
    header: IndexHeader,
    is_last: bool,
    next_item: u32,
    held: VecDeque<IndexItem>,
    /// The newest item of each slot so far.
    slots: Vec<u32>,
    broken_chains: u64,
}

/// The index of one stream.
pub(super) struct Items {
    stream: StreamId,
    dir: PathBuf,
    limits: Option<IndexLimits>,
    files: VecDeque<(PathBuf, u64)>,
    open: Option<OpenFile>,
    is_there: bool,
    is_live: bool,
    is_abort: bool,
    log_start: u64,
    /// Records behind this have no items yet to be expected: first and count of those that lack some.
    missing: Option<(u64, u64)>,
    missing_before: Option<(u64, u64)>,
    first_begin: Option<u64>,
    found: Vec<Finding>,
    items: u64,
    wrong: u64,
    trouble: Option<Trouble>,
    hashes: Vec<u32>,
}

impl Items {
    pub(super) fn new(place: &Place, stream: &StreamPlace) -> Result<Items, Trouble> {
        let limits = place.index_limits;
        let dir = stream.index_dir.clone();
        let files = index_files(&dir)?;
        let files: VecDeque<(PathBuf, u64)> =
            files.into_iter().map(|(name, bytes)| (dir.join(name), bytes)).collect();
        let mut items = Items {
            stream: stream.stream,
            limits,
            is_there: !files.is_empty(),
            files,
            dir,
            open: None,
            is_live: place.user.is_some(),
            is_abort: place.is_abort,
            log_start: stream.start(),
            missing: None,
            missing_before: None,
            first_begin: None,
            found: Vec::new(),
            items: 0,
            wrong: 0,
            trouble: None,
            hashes: Vec::new(),
        };
        if items.is_there && limits.is_none() {
            let text = "the sizes of the index files are not known, so they are not checked";
            items.note("index-sizes-unknown", text, "name the broker's properties file with -c");
            items.is_there = false;
        } else if !items.is_there {
            items.note("index-absent", "there is no index; the next start makes it", "");
        }
        Ok(items)
    }

    fn note(&mut self, kind: &'static str, text: &str, advice: &str) {
        self.found.push(Finding::new(Severity::Note, kind, &self.dir, text).advice(advice));
    }

    /// A record of the log, in order.
    pub(super) fn record(&mut self, view: &MessageView<'_>, position: u64) {
        if self.is_there && self.trouble.is_none() {
            self.trouble = self.compare(view, position).err();
        }
    }

    fn compare(&mut self, view: &MessageView<'_>, position: u64) -> Result<(), Trouble> {
        let phy = PhyOffset::new(self.stream, position).to_wire();
        let (mut all, mut wanted) = (Vec::new(), 0);
        if is_indexed(view.sys_flag()) {
            let keys = IndexKeys::of(view.properties());
            let topic = topic_hash(view.topic());
            keys.hashes(topic, |hash| all.push(hash));
            // 4.9 has no entries for tags.
            wanted = all.len() - usize::from(!keys.tags.is_empty());
        }
        let mut held = std::mem::take(&mut self.hashes);
        held.clear();
        while let Some(item) = self.peek()? {
            if item.phy > phy {
                break;
            }
            self.take();
            let is_known = item.phy == phy && all.contains(&item.hash);
            if is_known {
                held.push(item.hash);
            } else if item.phy >= PhyOffset::new(self.stream, self.log_start).to_wire() {
                self.wrong += 1;
            }
        }
        let lacks = all.iter().take(wanted).any(|hash| !held.contains(hash));
        self.hashes = held;
        if lacks {
            match &mut self.missing {
                Some((_, count)) => *count += 1,
                none => *none = Some((position, 1)),
            }
        } else if wanted > 0
            && let Some((first, count)) = self.missing.take()
        {
            let before = self.missing_before.get_or_insert((first, 0));
            before.1 += count;
        }
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<IndexItem>, Trouble> {
        loop {
            let Some(limits) = self.limits else { return Ok(None) };
            if let Some(open) = &mut self.open {
                if open.held.is_empty() {
                    open.fill(limits)?;
                }
                if let Some(item) = open.held.front() {
                    return Ok(Some(*item));
                }
            }
            if let Some(done) = self.open.take() {
                self.judge(&done, limits)?;
            }
            let Some((path, bytes)) = self.files.pop_front() else { return Ok(None) };
            self.open = self.open_file(path, bytes, limits)?;
        }
    }

    fn take(&mut self) {
        let Some(limits) = self.limits else { return };
        if let Some(open) = &mut self.open
            && let Some(item) = open.held.pop_front()
        {
            self.items += 1;
            let number = open.next_item - u32::try_from(open.held.len()).unwrap_or(0) - 1;
            let at = usize::try_from(item.hash % limits.slots).unwrap_or(0);
            if let Some(newest) = open.slots.get_mut(at) {
                open.broken_chains += u64::from(item.before != *newest);
                *newest = number;
            }
        }
    }

    fn open_file(
        &mut self,
        path: PathBuf,
        bytes: u64,
        limits: IndexLimits,
    ) -> Result<Option<OpenFile>, Trouble> {
        let want = limits.file_bytes() as u64;
        if bytes != want {
            let text = format!("the index file has {bytes} bytes, it should have {want}");
            self.found.push(Finding::new(Severity::Error, "index-size", path, text));
            return Ok(None);
        }
        let file = File::open(&path).map_err(|e| Trouble::io(&path, e))?;
        let mut head = [0; HEADER_BYTES];
        read_full(&file, &mut head, 0).map_err(|e| Trouble::io(&path, e))?;
        let Some(header) = IndexHeader::decode(&head, limits) else {
            let text = "the header of the index file has impossible numbers";
            self.found.push(Finding::new(Severity::Error, "index-header", path, text).at(0));
            return Ok(None);
        };
        if header.next_item > 1 && self.first_begin.is_none() {
            self.first_begin = u64::try_from(header.begin_phy).ok();
        }
        let slots = vec![0; usize::try_from(limits.slots).unwrap_or(0)];
        let is_last = self.files.is_empty();
        let held = VecDeque::new();
        Ok(Some(OpenFile {
            path,
            file,
            header,
            is_last,
            next_item: 1,
            held,
            slots,
            broken_chains: 0,
        }))
    }

    /// A file has been read to its end.
    fn judge(&mut self, done: &OpenFile, limits: IndexLimits) -> Result<(), Trouble> {
        if self.is_live && done.is_last {
            return Ok(());
        }
        let (used, differing) = done.compare_slots(limits)?;
        // Slots and header of the newest file may lag behind its items when a broker is killed.
        let is_left = done.is_last && self.is_abort;
        let severity = if is_left { Severity::Warning } else { Severity::Error };
        if done.broken_chains + differing > 0 {
            let text = format!(
                "{} items and {differing} slots do not make the chains that the items' hashes give",
                done.broken_chains
            );
            self.found.push(Finding::new(severity, "index-chains", &done.path, text));
        }
        if used != done.header.slots_used {
            let text = format!(
                "the header counts {} slots in use, there are {used}",
                done.header.slots_used
            );
            self.found.push(Finding::new(severity, "index-slot-count", &done.path, text).at(32));
        }
        Ok(())
    }

    /// The log has ended at `end`: what was found.
    pub(super) fn finish(mut self, end: u64) -> Result<Vec<Finding>, Trouble> {
        let end = PhyOffset::new(self.stream, end).to_wire();
        let mut behind = 0u64;
        while self.trouble.is_none() && self.is_there {
            match self.peek()? {
                Some(item) if item.phy >= end => behind += 1,
                Some(_) => self.wrong += 1,
                None => break,
            }
            self.take();
        }
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        let severity = if self.is_abort { Severity::Warning } else { Severity::Error };
        let mut add = |severity, kind, text: String| {
            self.found.push(Finding::new(severity, kind, &self.dir, text));
        };
        if self.wrong > 0 {
            let text =
                format!("{} of {} items name no record with such a key", self.wrong, self.items);
            add(Severity::Error, "index-wrong", text);
        }
        if behind > 0 && !self.is_live {
            add(
                severity,
                "index-behind-log",
                format!("{behind} items name places behind the end of the log"),
            );
        }
        if let Some((first, count)) = self.missing_before {
            let text = format!(
                "{count} records from {first} on lack items, though later ones have theirs"
            );
            // The index may have been switched on, or files of it removed, while the log was there.
            let begin = self.first_begin.unwrap_or(0);
            let severity = if first < begin { Severity::Note } else { Severity::Error };
            add(severity, "index-missing", text);
        }
        if let Some((first, count)) = self.missing.filter(|_| !self.is_live) {
            let text = format!("the last {count} records with keys, from {first} on, lack items");
            add(severity, "index-missing", text);
        }
        Ok(self.found)
    }
}

impl OpenFile {
    fn fill(&mut self, limits: IndexLimits) -> Result<(), Trouble> {
        let left = self.header.next_item.saturating_sub(self.next_item);
        let count = usize::try_from(left).unwrap_or(0).min(HELD_ITEMS);
        if count == 0 {
            return Ok(());
        }
        let mut bytes = vec![0; count * ITEM_BYTES];
        let at = limits.item_at(self.next_item) as u64;
        read_full(&self.file, &mut bytes, at).map_err(|e| Trouble::io(&self.path, e))?;
        let items = bytes.as_chunks::<ITEM_BYTES>().0.iter();
        self.held.extend(items.map(IndexItem::decode));
        self.next_item += u32::try_from(count).unwrap_or(0);
        Ok(())
    }

    /// Slots in use, and slots that differ from what the items give.
    fn compare_slots(&self, limits: IndexLimits) -> Result<(u32, u64), Trouble> {
        let (mut used, mut differing) = (0, 0);
        let mut at = HEADER_BYTES as u64;
        let end = limits.item_at(0) as u64;
        let mut expected = self.slots.iter();
        let mut chunk = vec![0; SLOTS_CHUNK];
        while at < end {
            let room = usize::try_from(end - at).unwrap_or(usize::MAX).min(SLOTS_CHUNK);
            let Some(part) = chunk.get_mut(..room) else { break };
            read_full(&self.file, part, at).map_err(|e| Trouble::io(&self.path, e))?;
            for slot in part.as_chunks::<SLOT_BYTES>().0 {
                let slot = u32::from_be_bytes(*slot);
                used += u32::from(slot != 0);
                differing += u64::from(expected.next() != Some(&slot));
            }
            at += room as u64;
        }
        Ok((used, differing))
    }
}
