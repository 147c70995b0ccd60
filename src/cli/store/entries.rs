//! Queue entries against records: a cursor per queue runs over its files while the log is walked.
//!
//! Each record looks at the entry of its offset; entries that the cursor passes on the way belong to no record. A topic
//! that was deleted and made again begins anew: what was wrong with the older messages' entries then counts no more.
//! Memory: one small buffer and a few runs of findings per queue.

use super::Trouble;
use super::place::{Piece, Place, StreamPlace, pieces};
use super::report::{Finding, Severity};
use super::walk::read_full;
use rustix::fs::{SeekFrom, seek};
use shard::store_dir::deleted::Deleted;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::PathBuf;
use store::layout::consume_queue::{CqEntry, ENTRY_BYTES};
use store::layout::segment;
use store::queues::QUEUE_ID_MAX;
use wire::ids::{PhyOffset, QueueId, StreamId};
use wire::message::MessageView;
use wire::sys_flag::{INNER_BATCH, is_consumable};

/// Queues by topic and number, and the offset behind their last record.
pub(super) type BadQueues = BTreeMap<(Vec<u8>, i32), i64>;

/// Entries that a cursor holds.
const HELD_ENTRIES: u64 = 200;
/// Runs of findings kept per queue.
const RUNS_MAX: usize = 200;
/// Topic of the records that repairs put into holes of the log.
pub(super) const HOLE_TOPIC: &[u8] = b"RINGMQ_HOLE";
/// Queues of this kind hold entries of other queues' records.
const LMQ: &str = "%LMQ%";
/// Tags codes below name a place in `consumequeue_ext`.
const EXT_CODE_MAX: i64 = i32::MIN as i64 - 1;

/// What is wrong with entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrong {
    /// A record has no entry.
    Missing,
    /// The entry of a record names another place.
    Elsewhere,
    /// Its size differs from the record's.
    Size,
    /// Its tags code differs from the record's.
    Tags,
    /// An entry names no record of the queue.
    Nothing,
    /// The log has no record of these offsets.
    Skipped,
}

/// Neighbours with the same problem.
#[derive(Clone, Debug)]
struct Run {
    wrong: Wrong,
    first: i64,
    last: i64,
    /// Place of the first record, or the one that the first entry names.
    phy: PhyOffset,
}

/// A queue's files, read forwards.
struct Cursor {
    dir: PathBuf,
    files: Vec<Piece>,
    file_bytes: u64,
    held_from: u64,
    held: Vec<u8>,
}

impl Cursor {
    fn open(dir: PathBuf, file_bytes: u64) -> Result<Cursor, Trouble> {
        let (files, _) = pieces(&dir)?;
        Ok(Cursor { dir, files, file_bytes, held_from: 0, held: Vec::new() })
    }

    fn first(&self) -> u64 {
        self.files.first().map_or(0, |piece| piece.base / ENTRY_BYTES as u64)
    }

    fn end(&self) -> u64 {
        self.files.last().map_or(0, |piece| (piece.base + piece.bytes) / ENTRY_BYTES as u64)
    }

    /// The entry of an offset; `None` where there is none.
    fn entry(&mut self, offset: u64) -> Result<Option<CqEntry>, Trouble> {
        let per_entry = ENTRY_BYTES as u64;
        let held_to = self.held_from + self.held.len() as u64 / per_entry;
        if !(self.held_from..held_to).contains(&offset) {
            let at = offset * per_entry;
            let file = self.files.iter().rfind(|piece| piece.base <= at);
            let Some(piece) = file.filter(|piece| at < piece.base + piece.bytes) else {
                return Ok(None);
            };
            let room = (piece.base + piece.bytes - at).min(HELD_ENTRIES * per_entry);
            self.held.resize(usize::try_from(room).unwrap_or(0), 0);
            let path = self.dir.join(segment::name(piece.base));
            let read = File::open(&path)
                .and_then(|file| read_full(&file, &mut self.held, at - piece.base))
                .map_err(|e| Trouble::io(&path, e))?;
            self.held.truncate(read);
            self.held_from = offset;
        }
        let at = usize::try_from((offset - self.held_from) * per_entry).unwrap_or(usize::MAX);
        Ok(self.held.get(at..).and_then(CqEntry::decode))
    }

    /// The next offset behind an empty one that may have an entry: what a file never had written is jumped over.
    fn behind_empty(&self, offset: u64) -> u64 {
        let is_fresh = self.held_from == offset && self.held.iter().all(|byte| *byte == 0);
        let at = offset * ENTRY_BYTES as u64;
        let file = self.files.iter().rfind(|piece| piece.base <= at).filter(|_| is_fresh);
        let Some(piece) = file.filter(|piece| at < piece.base + piece.bytes) else {
            return offset + 1;
        };
        let data = File::open(self.dir.join(segment::name(piece.base)))
            .ok()
            .map(|file| seek(&file, SeekFrom::Data(at - piece.base)));
        let next = match data {
            Some(Ok(data)) => piece.base + data,
            Some(Err(rustix::io::Errno::NXIO)) => piece.base + piece.bytes,
            // A file system without holes.
            Some(Err(_)) | None => at,
        };
        (next / ENTRY_BYTES as u64).max(offset + 1)
    }

    /// File and byte of an offset's entry.
    fn place(&self, offset: i64) -> (PathBuf, u64) {
        let at = u64::try_from(offset).unwrap_or(0).saturating_mul(ENTRY_BYTES as u64);
        let base = match self.files.iter().rfind(|piece| piece.base <= at) {
            Some(piece) if at < piece.base + piece.bytes => piece.base,
            Some(_) | None => at - at % self.file_bytes.max(1),
        };
        (self.dir.join(segment::name(base)), at - base)
    }
}

struct Queue {
    cursor: Cursor,
    has_dir: bool,
    /// First offset that the cursor has not passed.
    passed: u64,
    /// Offset behind the last record.
    next: i64,
    runs: Vec<Run>,
    more: u64,
}

impl Queue {
    /// Beside a running broker entries may have come since the cursor passed: these miss no more.
    fn look_again(&mut self) -> Result<(), Trouble> {
        self.cursor.held.clear();
        let mut left = Vec::new();
        for run in std::mem::take(&mut self.runs) {
            let mut stays = run.wrong != Wrong::Missing;
            let mut offset = run.first;
            while !stays && offset <= run.last {
                let at = u64::try_from(offset).unwrap_or(0);
                stays = self.cursor.entry(at)?.is_none();
                offset += 1;
            }
            if stays {
                left.push(run);
            }
        }
        self.runs = left;
        Ok(())
    }

    /// Offset behind the last record, also when it has expired.
    fn behind(&self) -> i64 {
        let mut nothing = self.runs.iter().filter(|run| run.wrong == Wrong::Nothing);
        if self.next >= 0 { self.next } else { nothing.next().map_or(0, |run| run.first) }
    }

    fn wrong(&mut self, wrong: Wrong, offset: i64, phy: PhyOffset) {
        if let Some(run) = self.runs.last_mut()
            && run.wrong == wrong
            && run.last.checked_add(1) == Some(offset)
        {
            run.last = offset;
        } else if self.runs.len() < RUNS_MAX {
            self.runs.push(Run { wrong, first: offset, last: offset, phy });
        } else {
            self.more += 1;
        }
    }
}

/// What is known of a log when its walk has ended.
pub(super) struct LogState {
    /// The last process did not stop in order: what is missing at a queue's end is put right by the next start.
    pub(super) is_abort: bool,
    /// Records are missing from the log, so their offsets are, too.
    pub(super) is_damaged: bool,
    /// A broker is using the store: the ends of its files move.
    pub(super) is_live: bool,
}

/// The queues of one stream.
pub(super) struct Entries<'p> {
    place: &'p Place,
    stream: StreamId,
    log_start: u64,
    queues: HashMap<(Vec<u8>, i32), Queue>,
    /// Queue directories are there at all.
    has_queues: bool,
    deleted: Deleted,
    has_hole_records: bool,
    records: u64,
    trouble: Option<Trouble>,
}

impl<'p> Entries<'p> {
    pub(super) fn new(place: &'p Place, stream: &StreamPlace) -> Entries<'p> {
        Entries {
            place,
            stream: stream.stream,
            log_start: stream.start(),
            queues: HashMap::new(),
            has_queues: place.consume_queue.is_dir(),
            deleted: place.deleted(stream).unwrap_or_default(),
            has_hole_records: false,
            records: 0,
            trouble: None,
        }
    }

    /// Whether the record went with its topic.
    pub(super) fn is_deleted(&self, view: &MessageView<'_>, position: u64) -> bool {
        self.deleted.covers(view.topic(), position)
    }

    /// A record of the log, in order.
    pub(super) fn record(&mut self, view: &MessageView<'_>, position: u64, size: u32) {
        self.has_hole_records |= view.topic() == HOLE_TOPIC;
        let id = view.queue_id();
        let queued = is_consumable(view.sys_flag()) && view.sys_flag() & INNER_BATCH == 0;
        if !queued || !(0..=QUEUE_ID_MAX).contains(&id.0) || view.queue_offset().0 < 0 {
            return;
        }
        self.records += 1;
        if self.is_deleted(view, position) {
            return;
        }
        if self.has_queues && self.trouble.is_none() {
            self.trouble = self.compare(view, position, size).err();
        }
    }

    fn compare(&mut self, view: &MessageView<'_>, position: u64, size: u32) -> Result<(), Trouble> {
        let phy = PhyOffset::new(self.stream, position);
        let offset = view.queue_offset().0;
        let (stream, log_start) = (self.stream, self.log_start);
        let place = self.place;
        let key = (view.topic().to_vec(), view.queue_id().0);
        let queue = match self.queues.entry(key) {
            std::collections::hash_map::Entry::Occupied(held) => held.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => {
                let topic = String::from_utf8_lossy(view.topic()).into_owned();
                free.insert(open(place, &topic, view.queue_id())?)
            }
        };
        if offset < queue.next {
            queue.runs.clear();
            queue.more = 0;
            queue.next = -1;
            queue.passed = u64::try_from(offset).unwrap_or(0);
        }
        if queue.next >= 0 && offset > queue.next {
            let (first, last) = (queue.next, offset - 1);
            queue.runs.push(Run { wrong: Wrong::Skipped, first, last, phy });
        }
        pass(queue, u64::try_from(offset).unwrap_or(0), stream, log_start)?;
        queue.next = offset.saturating_add(1);
        let Ok(at) = u64::try_from(offset) else { return Ok(()) };
        queue.passed = at + 1;
        match queue.cursor.entry(at)? {
            None => queue.wrong(Wrong::Missing, offset, phy),
            Some(entry) if entry.is_filler() && phy.0 != 0 => {
                queue.wrong(Wrong::Missing, offset, phy);
            }
            Some(entry) if entry.phy != phy => queue.wrong(Wrong::Elsewhere, offset, phy),
            Some(entry) if entry.size != size => queue.wrong(Wrong::Size, offset, phy),
            Some(entry)
                if entry.tags_code > EXT_CODE_MAX
                    && entry.tags_code != place.delay_levels.tags_code(view) =>
            {
                queue.wrong(Wrong::Tags, offset, phy);
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// The log is walked: its findings, and the queues whose files have to be made again.
    pub(super) fn finish(mut self, state: &LogState) -> Result<(Vec<Finding>, BadQueues), Trouble> {
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        let mut bad = BadQueues::new();
        if !self.has_queues {
            let text =
                format!("the queue files are missing; the log has {} messages", self.records);
            let finding =
                Finding::new(Severity::Error, "queues-lost", &self.place.consume_queue, text)
                    .advice("the next start makes them; so does ringmq store repair");
            // A new broker makes them with its first round.
            let is_lost = self.records > 0 && !state.is_live;
            let found = if is_lost { vec![finding] } else { Vec::new() };
            return Ok((found, bad));
        }
        for (topic, id) in self.place.queues()? {
            let key = (topic.as_bytes().to_vec(), id.0);
            if !self.queues.contains_key(&key) && !topic.starts_with(LMQ) {
                let queue = open(self.place, &topic, id)?;
                self.queues.insert(key, queue);
            }
        }
        let mut found = Vec::new();
        let mut without_dir = 0;
        for (key, mut queue) in self.queues {
            let end = queue.cursor.end();
            if !queue.has_dir {
                // A deleted topic's messages stay in the log until it expires.
                without_dir += 1;
                if !is_topic(self.place, &key.0)? || is_batch_topic(self.place, &key.0) {
                    continue;
                }
            }
            pass(&mut queue, end, self.stream, self.log_start)?;
            let holes = state.is_damaged || self.has_hole_records;
            if state.is_live {
                queue.look_again()?;
            }
            let findings = judge(&queue, state, holes);
            if findings.iter().any(|finding| finding.severity != Severity::Note) {
                bad.insert(key, queue.behind());
            }
            found.extend(findings);
        }
        if without_dir > 0 {
            let text = format!("{without_dir} queues of messages in the log have no files");
            found.push(Finding::new(
                Severity::Note,
                "queues-without-files",
                &self.place.consume_queue,
                text,
            ));
        }
        Ok((found, bad))
    }
}

/// Whether the topic's queues have Java's other form (queue.type=BatchCQ).
fn is_batch_topic(place: &Place, topic: &[u8]) -> bool {
    place.root.join("batchconsumequeue").join(&*String::from_utf8_lossy(topic)).is_dir()
}

/// Whether the broker knows the topic; without a table every topic counts.
fn is_topic(place: &Place, topic: &[u8]) -> Result<bool, Trouble> {
    let path = place.root.join("config").join("topics.json");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(Trouble::io(&path, e)),
    };
    let Ok(value) = wire::json::from_slice::<serde_json::Value>(&text) else { return Ok(true) };
    let name = String::from_utf8_lossy(topic);
    Ok(value.get("topicConfigTable").is_none_or(|table| table.get(&*name).is_some()))
}

fn open(place: &Place, topic: &str, id: QueueId) -> Result<Queue, Trouble> {
    let dir = place.queue_dir(topic, id);
    let has_dir = dir.is_dir();
    let cursor = Cursor::open(dir, place.queue_file_bytes)?;
    let passed = cursor.first();
    Ok(Queue { cursor, has_dir, passed, next: -1, runs: Vec::new(), more: 0 })
}

/// Moves the cursor on to `offset`: entries on the way name no record of this queue, unless it has expired or lies in
/// another stream.
fn pass(queue: &mut Queue, offset: u64, stream: StreamId, log_start: u64) -> Result<(), Trouble> {
    let end = offset.min(queue.cursor.end());
    while queue.passed < end {
        let at = queue.passed;
        queue.passed += 1;
        let Some(entry) = queue.cursor.entry(at)? else {
            queue.passed = queue.cursor.behind_empty(at).min(end);
            continue;
        };
        let is_ours = entry.phy.stream() == stream && entry.phy.position() >= log_start;
        if !entry.is_filler() && is_ours {
            queue.wrong(Wrong::Nothing, i64::try_from(at).unwrap_or(i64::MAX), entry.phy);
        }
    }
    Ok(())
}

fn judge(queue: &Queue, state: &LogState, has_holes: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    for run in &queue.runs {
        let is_end = run.last.saturating_add(1) >= queue.next;
        if state.is_live && is_end {
            continue;
        }
        let mended = state.is_abort && is_end;
        let many = run.last - run.first + 1;
        let (first, phy) = (run.first, run.phy.position());
        let (severity, kind, text) = match run.wrong {
            Wrong::Missing => {
                let severity = if mended { Severity::Warning } else { Severity::Error };
                let text = format!(
                    "no entry for {many} records from queue offset {first} on (the first lies at {phy})"
                );
                (severity, "entry-missing", text)
            }
            Wrong::Nothing => {
                let severity = if mended { Severity::Warning } else { Severity::Error };
                let text = format!(
                    "{many} entries from queue offset {first} on name no record (the first one names {phy})"
                );
                (severity, "entry-without-record", text)
            }
            Wrong::Elsewhere => {
                let text = format!(
                    "{many} entries from queue offset {first} on do not name their records (the first lies at {phy})"
                );
                (Severity::Error, "entry-elsewhere", text)
            }
            Wrong::Size => {
                let text =
                    format!("{many} entries from queue offset {first} on have a wrong record size");
                (Severity::Error, "entry-size", text)
            }
            Wrong::Tags => {
                let text =
                    format!("{many} entries from queue offset {first} on have a wrong tags code");
                (Severity::Error, "entry-tags", text)
            }
            Wrong::Skipped => {
                let severity = if has_holes { Severity::Note } else { Severity::Error };
                let text = format!("the log has no record of {many} queue offsets from {first} on");
                (severity, "offsets-skipped", text)
            }
        };
        let (path, byte) = queue.cursor.place(first);
        let mut finding = Finding::new(severity, kind, path, text).at(byte);
        if run.wrong == Wrong::Skipped && severity == Severity::Error {
            finding = finding.advice("these messages are lost; consumers step over them");
        }
        found.push(finding);
    }
    if queue.more > 0 {
        let text = format!("{} more entries are wrong", queue.more);
        found.push(Finding::new(Severity::Error, "entry-more", &queue.cursor.dir, text));
    }
    found
}
