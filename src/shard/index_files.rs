//! The index files of a shard's streams: `<store>/index/` for stream 0, `<store>/streams/<n>.index/` for the others.
//!
//! Used on the shard's background thread only, since a mapped file may wait for the disk. Entries are added in log
//! order and only of records that are durable. A sync runs beside, on a thread of its own: segments must not wait for
//! it. Java counterpart: IndexService.

use crate::store_dir::StorePaths;
use crate::store_dir::index_dir::{IndexLogError, IndexedLog, index_log};
use base::time::MonoNs;
use open_file::OpenFile;
use reactor::clock;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use store::index::{IndexEntry, IndexHits, IndexQuery};
use store::layout::checkpoint::Checkpoint;
use store::layout::index::{self, IndexHeader, IndexItem, IndexLimits, LocalTime};
use wire::ids::{PhyOffset, StreamId};

mod load;
mod open_file;

pub(crate) use load::Trust;

/// Pause between two syncs of a file that is being filled.
const SYNC_INTERVAL_NS: u64 = 60_000_000_000;
/// Entries whose slots are fetched together.
const FETCHED_ENTRIES: usize = 64;
/// Pause between two warnings that a stream's index cannot be written.
const WARNING_INTERVAL_NS: u64 = 60_000_000_000;
/// Pause before a part of the log that cannot be read is tried again; it doubles each time, up to the second one.
const UNREADABLE_PAUSE_NS: u64 = 1_000_000_000;
const UNREADABLE_PAUSE_NS_MAX: u64 = 60_000_000_000;
/// Items that one query looks at per file, some 0.1 s of the background thread when they are in memory: a key that more
/// records have is followed no further back.
const STEPS_MAX: u32 = 200_000;

/// Where a stream's index lies.
#[derive(Clone, Debug)]
pub(crate) struct IndexPlace {
    /// Directory of the files.
    pub(crate) dir: PathBuf,
    /// Where files are moved to that cannot be used.
    pub(crate) cut_dir: PathBuf,
    /// The stream.
    pub(crate) stream: StreamId,
    /// Sizes of the files.
    pub(crate) limits: IndexLimits,
}

/// A file that is full.
struct Sealed {
    name: String,
    header: IndexHeader,
}

/// What of an index is durable, as the checkpoint says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Durable {
    indexed: Option<u64>,
    index_end: u64,
    /// Store time of the last record in the newest full file that is durable, ms.
    timestamp: i64,
}

/// A sync that runs beside.
struct Sync {
    thread: JoinHandle<io::Result<()>>,
    then: Durable,
}

/// The index files of one stream.
pub struct StreamIndex {
    place: IndexPlace,
    /// Oldest first.
    sealed: Vec<Sealed>,
    newest: Option<OpenFile>,
    /// Full files that are not durable.
    unsynced: Vec<Arc<File>>,
    /// The newest file has changed since the last sync began.
    changed: bool,
    durable: Durable,
    sync: Option<Sync>,
    next_sync_at: MonoNs,
    /// After a failed sync nothing more is known to be durable.
    sync_failed: bool,
    next_warning_at: MonoNs,
    /// When it may be said again that records were left out.
    next_behind_at: MonoNs,
    unreadable: Option<Unreadable>,
}

/// A place of the log that cannot be read for the index.
struct Unreadable {
    at: u64,
    retry_at: MonoNs,
    pause_ns: u64,
}

impl StreamIndex {
    /// The stream.
    pub fn stream(&self) -> StreamId {
        self.place.stream
    }

    fn header(&self) -> Option<&IndexHeader> {
        let newest = self.newest.as_ref().map(|file| &file.header);
        newest.or_else(|| self.sealed.last().map(|file| &file.header))
    }

    /// Physical offset of the last entry's record; `None` when there is no entry.
    pub(crate) fn last_phy(&self) -> Option<i64> {
        let newest = self.newest.as_ref().and_then(OpenFile::last_phy);
        newest.or_else(|| self.sealed.last().map(|file| file.header.end_phy))
    }

    /// What the checkpoint said; `lost` when the files end before that.
    pub(crate) fn set_durable(&mut self, checkpoint: &Checkpoint, indexed: Option<u64>) {
        self.durable = Durable {
            indexed,
            index_end: self.last_phy().map_or(0, after).min(checkpoint.index_end),
            timestamp: checkpoint.index_timestamp,
        };
    }

    // ---- writing ----

    /// Adds entries in log order; those that are there already are left out. Errors: the disk; the same entries may
    /// come again.
    pub fn append(&mut self, entries: &[IndexEntry]) -> io::Result<()> {
        let known = self.known(entries)?;
        for chunk in entries.get(known..).unwrap_or_default().chunks(FETCHED_ENTRIES) {
            if let Some(newest) = &self.newest {
                newest.fetch_slots(chunk);
            }
            for entry in chunk {
                if self.newest.as_ref().is_none_or(OpenFile::is_full) {
                    self.roll()?;
                }
                self.changed = true;
                self.newest.as_mut().expect("rolled when there was none").put(entry)?;
            }
        }
        Ok(())
    }

    /// As `append`, but an error is a line in the log (once a minute) and false.
    fn try_append(&mut self, entries: &[IndexEntry]) -> bool {
        let Err(error) = self.append(entries) else { return true };
        self.warn_unwritable(&error);
        false
    }

    fn warn_unwritable(&mut self, error: &io::Error) {
        let now = clock::mono();
        if now >= self.next_warning_at {
            self.next_warning_at = MonoNs(now.0 + WARNING_INTERVAL_NS);
            tracing::warn!(
                "{}: the index cannot be written ({error}); it is tried again every second",
                self.place.dir.display()
            );
        }
    }

    fn warn_behind(&mut self, from: u64, now: MonoNs) {
        if now >= self.next_behind_at && self.unreadable.is_none() {
            self.next_behind_at = MonoNs(now.0 + WARNING_INTERVAL_NS);
            tracing::warn!(
                "stream {}: the index is behind; the log is read from {from} on, and until \
                 then queries by key miss newer messages",
                self.place.stream.0
            );
        }
    }

    /// The log cannot be read at this place. Said once; it is tried again less and less often.
    fn note_unreadable(&mut self, at: u64, error: &io::Error, now: MonoNs) {
        let before = self.unreadable.take().filter(|bad| bad.at == at);
        if before.is_none() {
            tracing::warn!(
                "stream {}: the log cannot be read at {at} ({error}); until it can, queries by key miss newer messages",
                self.place.stream.0
            );
        }
        let pause_ns = before.map_or(UNREADABLE_PAUSE_NS, |bad| bad.pause_ns * 2);
        let pause_ns = pause_ns.min(UNREADABLE_PAUSE_NS_MAX);
        self.unreadable = Some(Unreadable { at, retry_at: MonoNs(now.0 + pause_ns), pause_ns });
    }

    /// How many of the first entries are in the files: those of older records, and of the last record as many as it has.
    fn known(&self, entries: &[IndexEntry]) -> io::Result<usize> {
        let Some(last) = self.last_phy() else { return Ok(0) };
        let older = entries.iter().take_while(|e| e.phy.to_wire() < last).count();
        let same = entries.iter().skip(older).take_while(|e| e.phy.to_wire() == last).count();
        if same == 0 {
            return Ok(older);
        }
        let newest = self.newest.as_ref();
        let mut there = newest.map_or(0, |file| file.items_of_last(last));
        // The record's first items may be the last ones of the file before.
        let whole = newest.is_none_or(|file| there + 1 == file.header.next_item as usize);
        if let Some(sealed) = self.sealed.last().filter(|_| whole) {
            there += self.items_of_last(sealed, last)?;
        }
        Ok(older + same.min(there))
    }

    fn items_of_last(&self, sealed: &Sealed, phy: i64) -> io::Result<usize> {
        let file = File::open(self.place.dir.join(&sealed.name))?;
        let mut count = 0;
        for number in (1..sealed.header.next_item).rev() {
            let at = self.place.limits.item_at(number);
            if IndexItem::decode(&file.bytes(at)?).phy != phy {
                break;
            }
            count += 1;
        }
        Ok(count)
    }

    /// Begins a new file.
    fn roll(&mut self) -> io::Result<()> {
        let before = self.header().copied();
        let name = self.new_name();
        let made = OpenFile::create(&self.place.dir, name, self.place.limits, before.as_ref())?;
        if let Some(full) = self.newest.replace(made) {
            self.unsynced.push(full.file);
            self.sealed.push(Sealed { name: full.name, header: full.header });
        }
        Ok(())
    }

    /// The local time as a name, or the next one behind the newest file's.
    fn new_name(&self) -> String {
        let now = jiff::Zoned::now();
        let date = [now.month(), now.day(), now.hour(), now.minute(), now.second()];
        let [month, day, hour, minute, second] = date.map(|n| u16::from(n.unsigned_abs()));
        let fields = [now.year().unsigned_abs(), month, day, hour, minute, second];
        let name = index::name(LocalTime { fields, millis: now.millisecond().unsigned_abs() });
        let newest = self.newest.as_ref().map(|file| &file.name);
        let newest = newest.or_else(|| self.sealed.last().map(|file| &file.name));
        match newest.and_then(|newest| index::parse_name(newest)) {
            Some(newest) if index::parse_name(&name) <= Some(newest) => {
                format!("{:0digits$}", newest + 1, digits = index::NAME_DIGITS)
            }
            Some(_) | None => name,
        }
    }

    // ---- durability ----

    /// Puts into a checkpoint what of the index is durable; its `indexed` is what the files have been given. Now and
    /// then a sync begins, which the next one tells of. With `now` everything is synced before.
    pub fn seal(&mut self, checkpoint: &mut Checkpoint, now: bool) {
        self.end_sync(now);
        let given = Durable {
            indexed: checkpoint.indexed,
            index_end: self.last_phy().map_or(0, after),
            timestamp: self
                .sealed
                .last()
                .map_or(self.durable.timestamp, |f| f.header.end_timestamp),
        };
        let unsynced = self.changed || !self.unsynced.is_empty();
        if now && unsynced && !self.sync_failed {
            let result = self.sync_all();
            self.note_sync(result, given);
        } else if !unsynced && self.sync.is_none() && !self.sync_failed {
            self.durable = given;
        } else {
            self.begin_sync(given);
        }
        checkpoint.indexed = self.durable.indexed;
        checkpoint.index_end = self.durable.index_end;
        checkpoint.index_timestamp = self.durable.timestamp;
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.changed = false;
        std::mem::take(&mut self.unsynced).iter().try_for_each(|file| file.sync_data())?;
        self.newest.as_ref().map_or(Ok(()), OpenFile::sync)
    }

    fn begin_sync(&mut self, given: Durable) {
        let at = clock::mono();
        let due = at >= self.next_sync_at || !self.unsynced.is_empty();
        if self.sync.is_some() || self.sync_failed || !due {
            return;
        }
        self.next_sync_at = MonoNs(at.0 + SYNC_INTERVAL_NS);
        let mut files = std::mem::take(&mut self.unsynced);
        files.extend(self.newest.as_ref().map(|file| Arc::clone(&file.file)));
        self.changed = false;
        // Linux counts pages that were changed through a mapping among the file's.
        let sync = move || files.iter().try_for_each(|file| file.sync_data());
        match std::thread::Builder::new().name("index-sync".to_string()).spawn(sync) {
            Ok(thread) => self.sync = Some(Sync { thread, then: given }),
            Err(error) => self.note_sync(Err(error), given),
        }
    }

    /// Takes the result of a sync that has ended; `wait` waits for the end.
    fn end_sync(&mut self, wait: bool) {
        if let Some(sync) = self.sync.take_if(|sync| wait || sync.thread.is_finished()) {
            let result = sync.thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
            self.note_sync(result, sync.then);
        }
    }

    fn note_sync(&mut self, result: io::Result<()>, then: Durable) {
        match result {
            Ok(()) => self.durable = then,
            Err(error) => {
                self.sync_failed = true;
                tracing::warn!(
                    "{}: making the index durable failed ({error}); after a power cut what follows is read from the log again",
                    self.place.dir.display()
                );
            }
        }
    }

    // ---- retention ----

    /// Removes full files whose records all lie below `position` of the stream; returns how many.
    pub fn remove_below(&mut self, position: u64) -> io::Result<usize> {
        let limit = PhyOffset::new(self.place.stream, position).to_wire();
        let mut count = 0;
        while let Some(oldest) = self.sealed.first().filter(|file| file.header.end_phy < limit) {
            fs::remove_file(self.place.dir.join(&oldest.name))?;
            self.sealed.remove(0);
            count += 1;
        }
        Ok(count)
    }

    // ---- reading ----

    /// Looks a key up, newest file first, as Java does. A file that cannot be read is left out, with a warning.
    pub fn search(&self, query: &IndexQuery) -> IndexHits {
        let mut hits = IndexHits::default();
        if let Some(header) = self.header() {
            (hits.last_timestamp, hits.last_phy) = (header.end_timestamp, header.end_phy);
        }
        let newest = self.newest.as_ref();
        if let Some(file) = newest
            && let Err(error) = self.follow(file, &file.header, query, &mut hits.places)
        {
            self.warn_unreadable(&file.name, &error);
        }
        let older = newest.is_some_and(|file| file.header.begin_timestamp < query.begin);
        for sealed in self.sealed.iter().rev().filter(|_| !older) {
            if hits.places.len() >= query.count_max {
                break;
            }
            let result = match sealed.header.overlaps(query.begin, query.end) {
                true => File::open(self.place.dir.join(&sealed.name))
                    .and_then(|file| self.follow(&file, &sealed.header, query, &mut hits.places)),
                false => Ok(()),
            };
            if let Err(error) = result {
                self.warn_unreadable(&sealed.name, &error);
            }
            if sealed.header.begin_timestamp < query.begin {
                break;
            }
        }
        hits
    }

    fn warn_unreadable(&self, name: &str, error: &io::Error) {
        tracing::warn!("{}: a query cannot read it: {error}", self.place.dir.join(name).display());
    }

    /// Follows the items of a slot, newest first.
    fn follow(
        &self,
        file: &impl ReadIndex,
        header: &IndexHeader,
        query: &IndexQuery,
        places: &mut Vec<PhyOffset>,
    ) -> io::Result<()> {
        if !header.overlaps(query.begin, query.end) {
            return Ok(());
        }
        let limits = self.place.limits;
        let mut number = u32::from_be_bytes(file.bytes(limits.slot_at(query.hash))?);
        let mut next = header.next_item;
        for _ in 0..STEPS_MAX {
            // Each names an older one, or the file is damaged.
            if number == 0 || number >= next || places.len() >= query.count_max {
                return Ok(());
            }
            let item = IndexItem::decode(&file.bytes(limits.item_at(number))?);
            let time = header.begin_timestamp.saturating_add(i64::from(item.seconds) * 1000);
            let place = PhyOffset::from_wire(item.phy);
            let place = place.filter(|place| place.stream() == self.place.stream);
            if item.hash == query.hash && (query.begin..=query.end).contains(&time) {
                places.extend(place);
            }
            if item.seconds < 0 || time < query.begin {
                return Ok(());
            }
            (next, number) = (number, item.before);
        }
        tracing::warn!("a query by key gave up after {STEPS_MAX} items with the hash of its key");
        Ok(())
    }
}

/// One more, so that 0 can mean none.
fn after(phy: i64) -> u64 {
    phy.unsigned_abs() + 1
}

/// Bytes of an index file.
trait ReadIndex {
    fn bytes<const N: usize>(&self, at: usize) -> io::Result<[u8; N]>;
}

impl ReadIndex for OpenFile {
    fn bytes<const N: usize>(&self, at: usize) -> io::Result<[u8; N]> {
        Ok(OpenFile::bytes(self, at))
    }
}

impl ReadIndex for File {
    fn bytes<const N: usize>(&self, at: usize) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact_at(&mut bytes, at as u64)?;
        Ok(bytes)
    }
}

/// The indexes of a shard's streams; those that could not be opened are missing.
#[derive(Default)]
pub struct ShardIndex {
    streams: Vec<StreamIndex>,
}

impl ShardIndex {
    /// The indexes of these streams.
    pub fn new(streams: Vec<StreamIndex>) -> ShardIndex {
        ShardIndex { streams }
    }

    /// The index of a stream.
    pub fn stream_mut(&mut self, stream: StreamId) -> Option<&mut StreamIndex> {
        self.streams.iter_mut().find(|index| index.stream() == stream)
    }

    /// The log begins at these places now: files that are all below go. What cannot go now goes later.
    pub(crate) fn follow_log(&mut self, starts: impl Iterator<Item = PhyOffset>) {
        for start in starts {
            let Some(index) = self.stream_mut(start.stream()) else { continue };
            match index.remove_below(start.position()) {
                Ok(0) => {}
                Ok(count) => {
                    tracing::info!("{}: {count} old files deleted", index.place.dir.display());
                }
                Err(error) => {
                    let dir = index.place.dir.display();
                    tracing::warn!("{dir}: an old file cannot be deleted: {error}");
                }
            }
        }
    }

    /// Adds entries to a stream's index; false when the disk does not take them now.
    pub(crate) fn append(&mut self, stream: StreamId, entries: &[IndexEntry]) -> bool {
        self.stream_mut(stream).is_none_or(|index| index.try_append(entries))
    }

    /// Adds the records of a part of the log, which were left out while the disk was slow or before the start; where the next part
    /// begins, `None` when the disk does not give or take them now.
    pub(crate) fn append_log(
        &mut self,
        paths: &StorePaths,
        (stream, from, to): (StreamId, u64, u64),
        now: MonoNs,
    ) -> Option<u64> {
        let Some(index) = self.stream_mut(stream) else { return Some(to) };
        if index.unreadable.as_ref().is_some_and(|bad| bad.at == from && now < bad.retry_at) {
            return None;
        }
        index.warn_behind(from, now);
        let IndexedLog { end, result, .. } = index_log(paths, index, (from, to), None);
        match result {
            Err(IndexLogError::Index(error)) => {
                index.warn_unwritable(&error);
                return None;
            }
            Err(IndexLogError::Log(error)) if end == from => {
                index.note_unreadable(from, &error, now);
                return None;
            }
            // What could be read of it is in the index; the next part begins with what cannot.
            Err(IndexLogError::Log(_)) | Ok(()) => index.unreadable = None,
        }
        if end > from {
            return Some(end);
        }
        let next = (from - from % paths.segment_bytes + paths.segment_bytes).min(to);
        tracing::warn!(
            "stream {}: no record begins at {from}; indexing goes on at {next}",
            stream.0
        );
        Some(next)
    }

    /// Looks a key up in all streams.
    pub(crate) fn search(&self, query: &IndexQuery) -> IndexHits {
        let mut hits = IndexHits::default();
        self.streams.iter().for_each(|index| hits.merge(index.search(query)));
        hits
    }
}

#[cfg(test)]
mod tests;
