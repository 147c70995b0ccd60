//! Start-up scan of a stream: from a known position, record by record, to the end of what is provable.
//!
//! A record counts when magic, lengths and body CRC are right and it names its own position, so a stale record
//! that a truncation left behind never comes back. Topic and properties, which no CRC covers, must not have the zeros
//! of a sector that was never written. Nothing else tells such a sector from properties that are zeros there, so a
//! send of more than `TEXT_ZEROS_MAX` in a row is refused: no text is that, and a record that is acknowledged never looks
//! torn. Java stores them; a log that Java wrote last is therefore read as Java reads it, `Proof::Crc`.
//! The reader is injected; this module does no I/O.

use wire::ids::{PhyOffset, StreamId};
use wire::message::{MessageView, Probe, declared_size, probe};

/// Bytes read at a time: they stay in a core's own cache from the copy out of the page cache to the look at each record.
const CHUNK_BYTES: usize = 256 << 10;
/// What a device writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// Most zero bytes in a row that properties may have: with the lower byte of their length in front and the separator behind
/// them they never fill a sector.
pub const TEXT_ZEROS_MAX: usize = SECTOR_BYTES - 2;
/// No record has more bytes than this: the frame limit bounds what a client can send.
pub const RECORD_BYTES_MAX: usize = 32 << 20;

/// Fewest bytes of a record: those of fixed length, and one each of body and topic.
const RECORD_BYTES_MIN: u64 = 93;

/// How many offsets a queue can have skipped between two of its records so many bytes apart: those of messages that were
/// lost with the log in between. A larger step, in a field that no CRC covers, is damage.
pub fn skipped_max(bytes: u64) -> u64 {
    bytes / RECORD_BYTES_MIN
}

/// Where a scan runs.
#[derive(Clone, Copy, Debug)]
pub struct ScanRange {
    /// Stream, whose number the records' own offsets carry.
    pub stream: StreamId,
    /// Segment size in bytes.
    pub segment_bytes: u64,
    /// First position, the start of a record or of a segment.
    pub from: u64,
    /// End of the last segment file.
    pub limit: u64,
}

/// How a scan ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanEnd {
    /// Behind the last provable record (or filler).
    pub end: u64,
    /// Records seen.
    pub records: u64,
    /// Store time of the last record, ms; 0 when there was none.
    pub last_timestamp: i64,
    /// What stood at `end`, for the log.
    pub why: String,
}

/// Fills `buffer` with the bytes at a stream position, all inside one segment. Short only at the end of a file.
pub type ReadLog<'r> = dyn FnMut(u64, &mut [u8]) -> std::io::Result<usize> + 'r;

struct Cursor<'r, 'f> {
    read: &'f mut ReadLog<'r>,
    range: ScanRange,
    buffer: Vec<u8>,
    start: u64,
    filled: usize,
}

impl Cursor<'_, '_> {
    /// At least `want` bytes at `position`, or as many as the segment has.
    fn bytes(&mut self, position: u64, want: usize) -> std::io::Result<&[u8]> {
        let segment_end = position - position % self.range.segment_bytes + self.range.segment_bytes;
        let left = usize::try_from(segment_end - position).unwrap_or(usize::MAX);
        let want = want.min(left);
        let held =
            self.start <= position && position + want as u64 <= self.start + self.filled as u64;
        if !held {
            let size = want.max(CHUNK_BYTES.min(left));
            self.buffer.resize(size, 0);
            self.filled = (self.read)(position, &mut self.buffer)?;
            self.start = position;
        }
        let at = usize::try_from(position - self.start).unwrap_or(usize::MAX);
        Ok(self.buffer.get(at..self.filled).unwrap_or_default())
    }
}

/// What a record must show before it counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// Everything that can be checked.
    Whole,
    /// As Java: magic, lengths, its own position and the body's CRC.
    Crc,
    /// Magic, lengths and its own position; a damaged body passes.
    Lengths,
}

/// Walks the log and hands every provable record to `on_record` (view, position, size). Errors are read errors.
pub fn scan(
    range: ScanRange,
    read: &mut ReadLog<'_>,
    on_record: &mut dyn FnMut(&MessageView<'_>, u64, u32),
) -> std::io::Result<ScanEnd> {
    scan_by(Proof::Whole, range, read, on_record)
}

/// As `scan`, with a choice of what a record must show.
pub fn scan_by(
    proof: Proof,
    range: ScanRange,
    read: &mut ReadLog<'_>,
    on_record: &mut dyn FnMut(&MessageView<'_>, u64, u32),
) -> std::io::Result<ScanEnd> {
    let mut cursor = Cursor { read, range, buffer: Vec::new(), start: 0, filled: 0 };
    let mut end = ScanEnd { end: range.from, records: 0, last_timestamp: 0, why: String::new() };
    loop {
        let position = end.end;
        if position >= range.limit {
            let empty = range.limit == range.from;
            end.why =
                if empty { "there is no more" } else { "the last segment is full" }.to_string();
            return Ok(end);
        }
        let left = range.segment_bytes - position % range.segment_bytes;
        let Some(size) = record_size(&mut cursor, position, left)? else {
            end.why = "no record begins there".to_string();
            return Ok(end);
        };
        let place = PhyOffset::new(range.stream, position);
        let before = usize::try_from(position % SECTOR_BYTES as u64).unwrap_or(0);
        let sectors_end = (before + size).next_multiple_of(SECTOR_BYTES) - before;
        let bytes = cursor.bytes(position, sectors_end)?;
        let record = &bytes[..size.min(bytes.len())];
        match proven(proof, record, place) {
            Ok((view, _)) if proof == Proof::Whole && has_hole(bytes, before, &view) => {
                end.why = "a part of the record was never written".to_string();
                return Ok(end);
            }
            Ok((view, size)) => {
                on_record(&view, position, u32::try_from(size).unwrap_or(u32::MAX));
                end.records += 1;
                end.last_timestamp = view.store_timestamp().0;
                end.end += size as u64;
            }
            Err(Probe::Blank { size }) if size as u64 == left => end.end += left,
            Err(Probe::Blank { size }) => {
                end.why = format!("a filler of {size} bytes where {left} are left of the segment");
                return Ok(end);
            }
            Err(Probe::Bad(error)) => {
                end.why = error.to_string();
                return Ok(end);
            }
            Err(Probe::Message { .. }) => unreachable!("what is proven is no error"),
        }
    }
}

/// A record with its size, when it shows what it must; otherwise what stands there.
fn proven(proof: Proof, bytes: &[u8], place: PhyOffset) -> Result<(MessageView<'_>, usize), Probe> {
    match MessageView::parse(bytes) {
        Ok((view, size))
            if view.phy_offset() == place && (proof == Proof::Lengths || view.check_body_crc()) =>
        {
            Ok((view, size))
        }
        Ok(_) | Err(_) => Err(probe(bytes, place)),
    }
}

/// Size of what begins at `position`; `None` when it cannot be a record or filler.
fn record_size(
    cursor: &mut Cursor<'_, '_>,
    position: u64,
    left: u64,
) -> std::io::Result<Option<usize>> {
    let head = cursor.bytes(position, 8)?;
    let size = declared_size(head).filter(|size| *size >= 8 && *size as u64 <= left);
    Ok(size.filter(|size| *size as u64 == left || *size <= RECORD_BYTES_MAX).map(|size| {
        // A filler needs only its two words.
        if size as u64 == left && size > RECORD_BYTES_MAX { 8 } else { size }
    }))
}

/// Whether a sector of the record's topic or properties never reached the disk: it is all zeros, also where the next
/// record would be. The body has its CRC, and lengths that are missing do not add up.
///
/// `bytes`: the record and what follows, to the end of its last sector; `before`: bytes of its first sector in front of it.
fn has_hole(bytes: &[u8], before: usize, view: &MessageView<'_>) -> bool {
    let size = view.bytes().len();
    let properties = size - view.properties().len();
    let topic = properties.saturating_sub(2 + view.topic().len());
    let texts = [(topic, topic + view.topic().len()), (properties, size)];
    // The first sector holds the record's magic; those before the topic do not matter.
    let skipped = (before + topic) / SECTOR_BYTES * SECTOR_BYTES;
    let mut sector = skipped.max(SECTOR_BYTES).saturating_sub(before);
    while sector < size {
        let end = (sector + SECTOR_BYTES).min(bytes.len());
        let is_text = texts.iter().any(|(from, to)| *from.max(&sector) < *to.min(&end));
        if is_text && bytes.get(sector..end).is_some_and(|b| b.iter().all(|b| *b == 0)) {
            return true;
        }
        sector += SECTOR_BYTES;
    }
    false
}

#[cfg(test)]
mod tests;
