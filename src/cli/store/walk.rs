//! A walk over one log that does not end at damage: records, fillers, what is damaged between them, and the end.
//!
//! What counts as a record is recovery's judgement. Behind damage the log goes on at the next record that names its own
//! position; without one, that was the end. Memory: one chunk of the file.

use super::place::{Piece, Place, StreamPlace};
use super::progress::Watch;
use rustix::fs::{Advice, SeekFrom, fadvise, seek};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;
use store::layout::segment;
use store::recovery::{Proof, RECORD_BYTES_MAX, ScanEnd, ScanRange, scan_by};
use wire::ids::{PhyOffset, StreamId};
use wire::message::{MessageView, Probe, probe};

/// Bytes read at a time while looking for the next record.
const CHUNK_BYTES: usize = 4 << 20;
/// How often, and how long after each other, a damaged place is looked at beside a running broker.
const LOOKS_MAX: u32 = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Bytes of a magic number that both record versions share.
const MAGIC_HEAD: [u8; 3] = [0xDA, 0xA3, 0x20];

/// What a walk meets.
pub(super) enum Step<'s> {
    /// A record.
    Record {
        /// The record.
        view: &'s MessageView<'s>,
        /// Where it lies.
        position: u64,
        /// Its bytes.
        size: u32,
    },
    /// The rest of a segment, unused.
    Filler {
        /// Where it begins.
        position: u64,
        /// Its bytes.
        size: u64,
    },
    /// No record begins at `from`, but one does at `to`.
    Damage {
        /// First damaged position.
        from: u64,
        /// Where the log goes on.
        to: u64,
        /// What is wrong at `from`.
        why: &'s str,
    },
}

/// How a walk ended.
#[derive(Clone, Debug, Default)]
pub(super) struct WalkEnd {
    /// Behind the last record or filler.
    pub(super) end: u64,
    /// What stands there.
    pub(super) why: String,
    /// First and last but one of the bytes behind the end that are not zero.
    pub(super) used_behind: Option<(u64, u64)>,
    /// Behind the end lies a whole record of another place: where, and the place it names.
    pub(super) stale: Option<(u64, u64)>,
}

/// One log and the part of it that is walked.
pub(super) struct Walk<'w> {
    pub(super) stream: StreamId,
    pub(super) dir: &'w Path,
    pub(super) segments: &'w [Piece],
    pub(super) segment_bytes: u64,
    pub(super) proof: Proof,
    /// Position to begin at, perhaps inside a record.
    pub(super) from: u64,
    /// Records at or behind it are not wanted.
    pub(super) to: u64,
    /// A broker is using the store: what looks damaged may be on its way to the disk.
    pub(super) is_live: bool,
    pub(super) watch: &'w Watch,
}

/// What the search behind an end has found.
#[derive(Default)]
struct Found {
    next: Option<u64>,
    used: Option<(u64, u64)>,
    stale: Option<(u64, u64)>,
}

impl<'w> Walk<'w> {
    /// The whole of a log.
    pub(super) fn all(place: &Place, stream: &'w StreamPlace, watch: &'w Watch) -> Walk<'w> {
        Walk {
            stream: stream.stream,
            dir: &stream.dir,
            segments: &stream.segments,
            segment_bytes: place.segment_bytes,
            proof: Proof::Whole,
            from: stream.start(),
            to: u64::MAX,
            is_live: place.user.is_some(),
            watch,
        }
    }

    /// Walks. Errors: of reading, and `Interrupted` when the operator has had enough.
    pub(super) fn run(&self, each: &mut dyn FnMut(Step<'_>)) -> io::Result<WalkEnd> {
        let first = self.segments.first().map_or(0, |piece| piece.base);
        let mut at = self.from.max(first);
        let mut looks = 0;
        loop {
            let end = self.scan_from(at, each)?;
            looks = if end.end > at { 0 } else { looks };
            if end.end >= self.to || self.watch.has_enough() {
                return Ok(WalkEnd { end: end.end, why: end.why, ..WalkEnd::default() });
            }
            let found = self.search(end.end)?;
            let Some(next) = found.next else {
                let (used_behind, stale) = (found.used, found.stale);
                return Ok(WalkEnd { end: end.end, why: end.why, used_behind, stale });
            };
            if self.is_live && looks < LOOKS_MAX {
                looks += 1;
                at = end.end;
                std::thread::sleep(LOOK_AGAIN);
                continue;
            }
            each(Step::Damage { from: end.end, to: next, why: &end.why });
            at = next;
        }
    }

    /// Records and fillers up to the next damage.
    fn scan_from(&self, from: u64, each: &mut dyn FnMut(Step<'_>)) -> io::Result<ScanEnd> {
        let size = self.segment_bytes;
        let last = self.segments.last().map_or(0, |piece| piece.base + size);
        let limit = last.min(self.to.saturating_add(1));
        let range = ScanRange { stream: self.stream, segment_bytes: size, from, limit };
        let mut open: Option<(u64, File)> = None;
        let mut read = |position: u64, buffer: &mut [u8]| {
            self.watch.go_on(buffer.len())?;
            let base = position - position % size;
            if open.as_ref().is_none_or(|(held, _)| *held != base) {
                open = self.open(base)?.map(|file| (base, file));
            }
            match &open {
                Some((_, file)) => read_full(file, buffer, position - base),
                None => Ok(0),
            }
        };
        let mut expected = from;
        let each = &mut *each;
        let filler = |expected: u64, next: u64, each: &mut dyn FnMut(Step<'_>)| {
            let boundary = expected.next_multiple_of(size);
            if expected < next && expected < boundary {
                each(Step::Filler { position: expected, size: boundary - expected });
            }
        };
        let end = scan_by(self.proof, range, &mut read, &mut |view, position, bytes| {
            filler(expected, position, each);
            expected = position + u64::from(bytes);
            if position < self.to && !self.watch.has_enough() {
                each(Step::Record { view, position, size: bytes });
            }
        })?;
        filler(expected, end.end.min(self.to), each);
        Ok(end)
    }

    fn open(&self, base: u64) -> io::Result<Option<File>> {
        match File::open(self.dir.join(segment::name(base))) {
            Ok(file) => {
                // A hint: a file system that does not take it is read all the same.
                let _ = fadvise(&file, 0, None, Advice::Sequential);
                Ok(Some(file))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What lies behind an end: bytes that are not zero, and the next record of this log.
    fn search(&self, end: u64) -> io::Result<Found> {
        let mut found = Found::default();
        for piece in self.segments.iter().filter(|piece| piece.base + piece.bytes > end) {
            let Some(file) = self.open(piece.base)? else { continue };
            let mut at = end.max(piece.base) - piece.base;
            while at < piece.bytes && found.next.is_none() {
                at = match seek(&file, SeekFrom::Data(at)) {
                    Ok(data) => data,
                    Err(rustix::io::Errno::NXIO) => break,
                    // A file system without holes.
                    Err(_) => at,
                };
                at = self.search_chunk(&file, *piece, at, end, &mut found)?;
            }
            if found.next.is_some() {
                break;
            }
        }
        Ok(found)
    }

    /// Searches a chunk from byte `at` of a file on; returns where the next one begins.
    fn search_chunk(
        &self,
        file: &File,
        piece: Piece,
        at: u64,
        end: u64,
        found: &mut Found,
    ) -> io::Result<u64> {
        let mut chunk = vec![0; CHUNK_BYTES];
        self.watch.go_on(chunk.len())?;
        let read = read_full(file, &mut chunk, at)?;
        chunk.truncate(read);
        if let (Some(first), Some(last)) =
            (chunk.iter().position(|b| *b != 0), chunk.iter().rposition(|b| *b != 0))
        {
            let start = piece.base + at;
            let from = found.used.map_or(start + first as u64, |(from, _)| from);
            found.used = Some((from, start + last as u64));
            for place in chunk.windows(4).enumerate().filter_map(|(n, window)| {
                let is_magic = window.starts_with(&MAGIC_HEAD) && matches!(window[3], 0xA7 | 0xAB);
                is_magic.then_some(at + n as u64)
            }) {
                let Some(begin) = place.checked_sub(4).filter(|b| piece.base + b > end) else {
                    continue;
                };
                self.look(file, piece, begin, found)?;
                if found.next.is_some() {
                    break;
                }
            }
        }
        // A magic number may lie across two chunks.
        let overlap = if read == CHUNK_BYTES { 3 } else { 0 };
        Ok(at + read.max(1) as u64 - overlap)
    }

    /// Whether a record of this log begins at byte `begin` of a file.
    fn look(&self, file: &File, piece: Piece, begin: u64, found: &mut Found) -> io::Result<()> {
        let mut bytes = vec![0; 4];
        read_full(file, &mut bytes, begin)?;
        let size = wire::message::declared_size(&bytes).filter(|size| *size <= RECORD_BYTES_MAX);
        let Some(size) = size else { return Ok(()) };
        bytes.resize(size, 0);
        let read = read_full(file, &mut bytes, begin)?;
        bytes.truncate(read);
        let position = piece.base + begin;
        if matches!(probe(&bytes, PhyOffset::new(self.stream, position)), Probe::Message { .. }) {
            found.next = Some(position);
        } else if found.stale.is_none()
            && let Ok((view, _)) = MessageView::parse(&bytes)
            && view.check_body_crc()
        {
            found.stale = Some((position, view.phy_offset().0));
        }
        Ok(())
    }
}

/// Reads as much of `buffer` as the file has at `at`.
pub(super) fn read_full(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
