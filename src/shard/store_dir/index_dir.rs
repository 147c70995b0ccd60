//! A stream's index at start: its files opened, and what they miss read from the log, or left for later when it is much.

use super::StorePaths;
use super::log_reader::LogReader;
use super::progress::Progress;
use crate::index_files::{StreamIndex, Trust};
use std::{fmt, io};
use store::index::{IndexEntry, IndexKeys, is_indexed};
use store::layout::checkpoint::Checkpoint;
use store::layout::index::topic_hash;
use store::recovery::{Proof, ScanRange, scan_by};
use wire::ids::{PhyOffset, StreamId};
use wire::message::MessageView;

/// More log than this is not read before the broker serves.
const AT_START_BYTES: u64 = 64 << 20;

/// What recovery knows of a stream when its log is whole again.
pub(super) struct IndexStart<'s> {
    pub(super) paths: &'s StorePaths,
    pub(super) stream: StreamId,
    pub(super) checkpoint: &'s Checkpoint,
    /// The last process stopped in order.
    pub(super) clean: bool,
    /// The machine has gone on since the last process.
    pub(super) same_boot: bool,
    /// First position of the log.
    pub(super) start: u64,
    /// Where the log ends.
    pub(super) end: u64,
    /// New messages are to be indexed; otherwise what is there is only read.
    pub(super) is_on: bool,
}

/// An opened index.
pub(super) struct OpenIndex {
    pub(super) index: StreamIndex,
    /// Entries may be added.
    pub(super) is_on: bool,
    /// From there on records of the log are not in it; they are read while the broker runs.
    pub(super) behind: Option<u64>,
}

/// Opens the index and completes it, or says where it ends. `None`, after a warning: it cannot be used in this run. Nor on a disk whose files
/// cannot be mapped.
pub(super) fn open(start: &IndexStart<'_>) -> Option<OpenIndex> {
    if !start.paths.disk.can_map() {
        return None;
    }
    let place = start.paths.index_place(start.stream);
    let dir = place.dir.clone();
    match StreamIndex::open(place, start.trust(), start.end) {
        Ok(index) => Some(start.complete(index)),
        Err(error) => {
            tracing::warn!(
                "{}: the index cannot be opened ({error}); messages are not found by key until a start can",
                dir.display()
            );
            None
        }
    }
}

impl IndexStart<'_> {
    fn trust(&self) -> Trust {
        if self.clean {
            Trust::All
        } else if self.same_boot {
            Trust::Written
        } else if self.checkpoint.dispatched.is_none() {
            Trust::Until(self.checkpoint.index_timestamp)
        } else {
            Trust::Below(self.checkpoint.indexed.unwrap_or(0))
        }
    }

    fn complete(&self, mut index: StreamIndex) -> OpenIndex {
        let last = index.last_phy().and_then(PhyOffset::from_wire);
        let is_lost = last.map_or(0, |phy| phy.0 + 1) < self.checkpoint.index_end;
        let known = self.checkpoint.indexed.filter(|_| !is_lost);
        let from = known.unwrap_or(0).max(last.map_or(0, PhyOffset::position));
        let from = from.clamp(self.start.min(self.end), self.end);
        let durable = if is_lost { Some(from) } else { self.checkpoint.indexed };
        index.set_durable(self.checkpoint, durable);
        if !self.is_on {
            return OpenIndex { index, is_on: false, behind: None };
        }
        if is_lost {
            tracing::warn!(
                "stream {}: index files are missing; the log is read from {from} on to index it again",
                self.stream.0
            );
        }
        if self.end - from > AT_START_BYTES {
            let from = self.record_at(from);
            return OpenIndex { index, is_on: true, behind: Some(from) };
        }
        let is_on = from == self.end || self.read_log(&mut index, from);
        OpenIndex { index, is_on, behind: None }
    }

    /// The position, or where a record is sure to begin before it when what the index said of it was wrong.
    fn record_at(&self, position: u64) -> u64 {
        let mut place = [0; 8];
        let read = LogReader::new(self.paths, self.stream, None).read(position + 28, &mut place);
        let own = PhyOffset::new(self.stream, position);
        let begins = read.is_ok_and(|read| read == 8) && u64::from_be_bytes(place) == own.0;
        if begins { position } else { position - position % self.paths.segment_bytes }
    }

    /// Indexes the log from a position on. False: the disk does not take the entries.
    fn read_log(&self, index: &mut StreamIndex, from: u64) -> bool {
        let size = self.paths.segment_bytes;
        let (mut at, mut records) = (from, 0);
        while at < self.end {
            let IndexedLog { end: stopped_at, records: seen, result } = self.scan_from(index, at);
            records += seen;
            if let Err(error) = result {
                tracing::warn!(
                    "stream {}: indexing the log from {from} on failed ({error}); newer messages are not found by key \
                     until a start succeeds",
                    self.stream.0
                );
                return false;
            }
            if stopped_at >= self.end {
                break;
            }
            // What the index said of the log's places was wrong, or the log is damaged here: it goes on with a file.
            let base = stopped_at - stopped_at % size;
            let next = if seen == 0 && at == from && base < at { base } else { base + size };
            tracing::warn!(
                "stream {}: no record of the log begins at {stopped_at}; indexing goes on at {next}",
                self.stream.0
            );
            at = next.max(self.start);
        }
        tracing::info!(
            "stream {}: {records} records indexed from {from} to {}",
            self.stream.0,
            self.end
        );
        true
    }

    fn scan_from(&self, index: &mut StreamIndex, from: u64) -> IndexedLog {
        let progress = Progress::new(self.stream, from, self.end);
        index_log(self.paths, index, (from, self.end), Some(progress))
    }
}

/// Why a part of the log could not be indexed.
#[derive(Debug)]
pub(crate) enum IndexLogError {
    /// The log cannot be read.
    Log(io::Error),
    /// The index does not take the entries.
    Index(io::Error),
}

impl fmt::Display for IndexLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IndexLogError::Log(error) => write!(f, "the log cannot be read: {error}"),
            IndexLogError::Index(error) => write!(f, "the index cannot be written: {error}"),
        }
    }
}

/// How far a part of the log was indexed.
pub(crate) struct IndexedLog {
    /// Behind the last record that the index has, or where the log ends or is damaged.
    pub(crate) end: u64,
    /// Records of the part.
    pub(crate) records: u64,
    /// What kept it from going on.
    pub(crate) result: Result<(), IndexLogError>,
}

/// Indexes a part of the log up to its end or damage.
pub(crate) fn index_log(
    paths: &StorePaths,
    index: &mut StreamIndex,
    (from, limit): (u64, u64),
    progress: Option<Progress>,
) -> IndexedLog {
    let (stream, segment_bytes) = (index.stream(), paths.segment_bytes);
    let range = ScanRange { stream, segment_bytes, from, limit };
    let mut reader = LogReader::new(paths, stream, progress);
    let mut read = |position: u64, buffer: &mut [u8]| reader.read(position, buffer);
    let mut result = Ok(());
    let (mut entries, mut records, mut end) = (Vec::new(), 0, from);
    // Where the log ends is known by now.
    let scanned = scan_by(Proof::Crc, range, &mut read, &mut |view, position, size| {
        if result.is_err() {
            return;
        }
        entries_of(view, PhyOffset::new(stream, position), &mut entries);
        result = index.append(&entries);
        if result.is_ok() {
            records += 1;
            end = position + u64::from(size);
        }
    });
    match (result, scanned) {
        (Err(error), _) => IndexedLog { end, records, result: Err(IndexLogError::Index(error)) },
        (Ok(()), Err(error)) => IndexedLog { end, records, result: Err(IndexLogError::Log(error)) },
        (Ok(()), Ok(scanned)) => IndexedLog { end: scanned.end, records, result: Ok(()) },
    }
}

/// The entries of a record; `out` is cleared first.
fn entries_of(view: &MessageView<'_>, phy: PhyOffset, out: &mut Vec<IndexEntry>) {
    out.clear();
    if !is_indexed(view.sys_flag()) {
        return;
    }
    let timestamp = view.store_timestamp().0;
    let keys = IndexKeys::of(view.properties());
    keys.hashes(topic_hash(view.topic()), |hash| out.push(IndexEntry { hash, phy, timestamp }));
}
