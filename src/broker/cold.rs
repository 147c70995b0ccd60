//! Reads that need files: pulls far behind, looking up store times, records by their place. Each is a small state machine that the
//! loop feeds with what it read; none blocks a turn.
//!
//! Limits: so many in flight per shard, the others wait in line; so many bytes per read.

use crate::app::{Broker, Host};
use crate::fetch::{self, Fetch};
use crate::handlers::offset::Search;
use crate::handlers::pull::{Pull, answer, come_again, memory_limits};
use shard::Cx;
use std::collections::VecDeque;
use store::Store;
use store::layout::consume_queue::{CqEntry, ENTRY_BYTES};
use store::read::{Piece, ReadStatus, SCAN_ENTRIES_MAX, Selection, classify, select};
use wire::ids::PhyOffset;
use wire::message::MessageView;

/// Cold reads in flight on a shard.
const IN_FLIGHT_MAX: usize = 64;
/// Cold reads in line on a shard; more are told to come again.
const WAITING_MAX: usize = 65_536;
/// Bytes of log in one read, unless one record is larger.
const SPAN_BYTES_MAX: u64 = 1 << 20;
/// Records nearer than this are read together: other queues' bytes between them cost less than another read.
const GAP_BYTES_MAX: u64 = 64 << 10;
/// Bytes read to learn a record's store time.
const HEAD_BYTES: usize = 96;

/// What a read is for.
enum Job {
    Pull(Pull),
    Search(Search),
    Fetch(Fetch),
}

enum Stage {
    /// Queue entries were asked for.
    Index,
    /// Log bytes were asked for, in one or several parts.
    Log(LogStage),
    /// The head of a record was asked for.
    Head,
    /// What a `Fetch` asks for, which knows it itself.
    Fetch,
}

/// Records of a pull that are being read.
struct LogStage {
    pieces: Vec<Piece>,
    selection: Selection,
    parts: Vec<Part>,
    missing: usize,
}

/// Records that one read brings.
struct Part {
    /// Indices of its pieces.
    pieces: std::ops::Range<usize>,
    bytes: Vec<u8>,
}

/// Bits of a token above the slot number: which part of it.
const PART_SHIFT: u32 = 32;

struct Cold {
    job: Job,
    stage: Stage,
}

/// Cold reads of a shard.
#[derive(Default)]
pub(crate) struct ColdPulls {
    slots: Vec<Option<Cold>>,
    free: Vec<u64>,
    waiting: VecDeque<Job>,
}

impl ColdPulls {
    fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn insert(&mut self, cold: Cold) -> u64 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u64 - 1
        });
        self.slots[slot(at)] = Some(cold);
        at
    }

    /// Keeps what one of several reads brought; true while others are missing.
    fn note_part(&mut self, token: u64, part: u64, bytes: &[u8]) -> bool {
        let cold = self.slots[slot(token)].as_mut().expect("a read belongs to something");
        let Stage::Log(stage) = &mut cold.stage else { return false };
        stage.parts[slot(part)].bytes = bytes.to_vec();
        stage.missing -= 1;
        stage.missing > 0
    }

    fn take(&mut self, token: u64) -> Cold {
        self.free.push(token);
        self.slots[slot(token)].take().expect("a read completes once")
    }
}

fn slot(token: u64) -> usize {
    usize::try_from(token).expect("a slot number")
}

/// Begins a pull from files, or puts it in line.
pub(crate) fn begin<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, pull: Pull) {
    enqueue(broker, cx, Job::Pull(pull));
}

/// Begins a search, or puts it in line.
pub(crate) fn begin_search<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, search: Search) {
    enqueue(broker, cx, Job::Search(search));
}

/// Begins to read records by their places, or puts it in line.
pub(crate) fn begin_fetch<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, fetch: Fetch) {
    enqueue(broker, cx, Job::Fetch(fetch));
}

/// Keeps it until what it asks for next is there; the token to ask with.
pub(crate) fn park_fetch(broker: &mut Broker, fetch: Fetch) -> u64 {
    broker.cold.insert(Cold { job: Job::Fetch(fetch), stage: Stage::Fetch })
}

fn enqueue<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, job: Job) {
    if broker.cold.in_flight() < IN_FLIGHT_MAX {
        run(broker, cx, job);
    } else if broker.cold.waiting.len() < WAITING_MAX {
        broker.cold.waiting.push_back(job);
    } else {
        match job {
            Job::Pull(pull) => {
                come_again(cx, &pull);
            }
            Job::Search(search) => search.refuse(cx, &too_many()),
            Job::Fetch(fetch) => fetch::refuse(cx, fetch, &too_many()),
        }
    }
}

fn too_many() -> String {
    format!("stage received: {WAITING_MAX} reads of old messages are waiting, the limit")
}

fn next_in_line<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    while broker.cold.in_flight() < IN_FLIGHT_MAX {
        let Some(job) = broker.cold.waiting.pop_front() else { return };
        run(broker, cx, job);
    }
}

fn run<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, job: Job) {
    match job {
        Job::Pull(pull) => run_pull(broker, cx, pull),
        Job::Search(search) => run_search(broker, cx, search),
        Job::Fetch(fetch) => fetch::run(broker, cx, fetch),
    }
}

// ---- pulls ----

fn run_pull<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, pull: Pull) {
    let queue = cx.store().queue(pull.queue);
    if let Err(selection) = classify(queue, pull.offset) {
        answer(cx, &pull, selection, &[], &[]);
        return;
    }
    if pull.offset >= queue.tail_start() {
        let entries: Vec<CqEntry> =
            queue.visible_from(pull.offset).take(SCAN_ENTRIES_MAX).collect();
        choose(broker, cx, pull, &entries);
        return;
    }
    let (first, topic, id) = (pull.offset, queue.topic.clone(), pull.queue_id);
    let count = usize::try_from(queue.tail_start() - first).unwrap_or(SCAN_ENTRIES_MAX);
    let token = broker.cold.insert(Cold { job: Job::Pull(pull), stage: Stage::Index });
    cx.read_queue(&topic, id, first, count.min(SCAN_ENTRIES_MAX), token);
}

/// Chooses records from entries, then answers from memory or reads the log.
fn choose<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, pull: Pull, entries: &[CqEntry]) {
    let mut pieces = Vec::new();
    let limits = memory_limits(broker, &pull);
    let choose = |limits, pieces: &mut Vec<Piece>| {
        let entries = entries.iter().copied();
        select(entries, pull.offset, limits, |tags| pull.matches(tags), pieces)
    };
    let selection = choose(limits, &mut pieces);
    if selection.status != ReadStatus::Found {
        answer(cx, &pull, selection, &[], &[]);
        return;
    }
    let first = pieces[0];
    if cx.store().tail(first.phy, first.size as usize).is_some() {
        answer(cx, &pull, selection, &pieces, &[]);
        return;
    }
    let parts = divide(cx.store(), &pieces);
    let reads: Vec<(PhyOffset, usize)> = parts.iter().map(|part| span(&pieces, part)).collect();
    let missing = parts.len();
    let stage = Stage::Log(LogStage { pieces, selection, parts, missing });
    let token = broker.cold.insert(Cold { job: Job::Pull(pull), stage });
    for ((phy, len), part) in reads.into_iter().zip(0u64..) {
        cx.read_log(phy, len, part << PART_SHIFT | token);
    }
}

/// Groups neighbouring records into reads. A read stays in one segment.
fn divide(store: &Store, pieces: &[Piece]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let base = |piece: &Piece| {
        let segments = store.stream(piece.phy.stream()).segments();
        (piece.phy.stream(), segments.base_of(piece.phy.position()))
    };
    for (at, piece) in pieces.iter().enumerate() {
        let joins = parts.last().is_some_and(|part| {
            let (first, last) = (pieces[part.pieces.start], pieces[part.pieces.end - 1]);
            let last_end = last.phy.position() + u64::from(last.size);
            let end = piece.phy.position() + u64::from(piece.size);
            base(&first) == base(piece)
                && (last_end..=last_end + GAP_BYTES_MAX).contains(&piece.phy.position())
                && end - first.phy.position() <= SPAN_BYTES_MAX
        });
        match parts.last_mut().filter(|_| joins) {
            Some(part) => part.pieces.end = at + 1,
            None => parts.push(Part { pieces: at..at + 1, bytes: Vec::new() }),
        }
    }
    parts
}

fn span(pieces: &[Piece], part: &Part) -> (PhyOffset, usize) {
    let (first, last) = (pieces[part.pieces.start], pieces[part.pieces.end - 1]);
    let len = last.phy.position() + u64::from(last.size) - first.phy.position();
    (first.phy, usize::try_from(len).expect("one record or a bounded span"))
}

/// Answers with the records that were read; what cannot be read (any more) is left for the next pull to skip.
fn finish_pull<H: Host>(cx: &mut Cx<'_, H>, pull: &Pull, stage: &LogStage) {
    if cx.is_full(pull.conn) {
        come_again(cx, pull);
        return;
    }
    let mut records: Vec<&[u8]> = Vec::with_capacity(stage.pieces.len());
    'parts: for part in &stage.parts {
        let start = stage.pieces[part.pieces.start].phy.position();
        for piece in &stage.pieces[part.pieces.clone()] {
            let at = usize::try_from(piece.phy.position() - start).unwrap_or(usize::MAX);
            let end = at.saturating_add(piece.size as usize);
            let whole = part.bytes.get(at..end).filter(|r| {
                MessageView::parse(r).is_ok_and(|(view, _)| view.phy_offset() == piece.phy)
            });
            let Some(record) = whole else { break 'parts };
            records.push(record);
        }
    }
    let Some(last) = records.last() else {
        let status = ReadStatus::MessageWasRemoving;
        answer(cx, pull, Selection { status, next: pull.offset + 1 }, &[], &[]);
        return;
    };
    let mut selection = stage.selection;
    if records.len() < stage.pieces.len() {
        // The next pull begins behind the last record of this answer.
        let offset = MessageView::parse(last).map(|(view, _)| view.queue_offset().0);
        selection.next = offset.map_or(selection.next, |offset| offset + 1);
    }
    answer(cx, pull, selection, &[], &records);
}

// ---- searches ----

fn run_search<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, mut search: Search) {
    loop {
        let queue = cx.store().queue(search.queue);
        let Some(offset) = search.probe(queue.min(), queue.visible()) else {
            search.finish(cx);
            return;
        };
        let Some(entry) = queue.entry(offset) else {
            let (topic, id) = (queue.topic.clone(), queue.id);
            let stage = Stage::Index;
            let token = broker.cold.insert(Cold { job: Job::Search(search), stage });
            cx.read_queue(&topic, id, offset, 1, token);
            return;
        };
        if !look_at(broker, cx, &mut search, entry) {
            let phy = entry.phy;
            let cold = Cold { job: Job::Search(search), stage: Stage::Head };
            let token = broker.cold.insert(cold);
            cx.read_log(phy, HEAD_BYTES, token);
            return;
        }
    }
}

/// Tells the search the store time of a record in memory; false when it is not there.
fn look_at<H: Host>(
    _broker: &Broker,
    cx: &mut Cx<'_, H>,
    search: &mut Search,
    entry: CqEntry,
) -> bool {
    if entry.is_filler() {
        search.tell(i64::MIN);
        return true;
    }
    let Some(head) = cx.store().tail(entry.phy, HEAD_BYTES.min(entry.size as usize)) else {
        return false;
    };
    search.tell(store_time(head));
    true
}

/// Store time in a record's head: behind the born host, whose length a flag tells.
fn store_time(head: &[u8]) -> i64 {
    let word = |at: usize| {
        let bytes = head.get(at..at + 8).and_then(|b| <[u8; 8]>::try_from(b).ok());
        bytes.map(i64::from_be_bytes)
    };
    let flag = head.get(36..40).and_then(|b| <[u8; 4]>::try_from(b).ok());
    let flag = flag.map_or(0, i32::from_be_bytes);
    let at = if flag & wire::sys_flag::BORN_HOST_V6 != 0 { 68 } else { 56 };
    word(at).unwrap_or(0)
}

// ---- completions ----

/// What `Cx::read_log` or `Cx::read_queue` brought.
pub(crate) fn on_read<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    token: u64,
    result: Result<&[u8], i32>,
) {
    let (part, token) = (token >> PART_SHIFT, token & ((1 << PART_SHIFT) - 1));
    let bytes = result.unwrap_or_else(|error| {
        let error = std::io::Error::from_raw_os_error(error);
        tracing::warn!("reading old messages failed: {error}");
        &[]
    });
    if broker.cold.note_part(token, part, bytes) {
        return;
    }
    let cold = broker.cold.take(token);
    match (cold.job, cold.stage) {
        (Job::Pull(pull), Stage::Index) => {
            let entries: Vec<CqEntry> = decode(bytes);
            choose(broker, cx, pull, &entries);
        }
        (Job::Pull(pull), Stage::Log(stage)) => finish_pull(cx, &pull, &stage),
        (Job::Search(mut search), Stage::Index) => match decode(bytes).first().copied() {
            Some(entry) if look_at(broker, cx, &mut search, entry) => {
                run_search(broker, cx, search);
            }
            Some(entry) => {
                let cold = Cold { job: Job::Search(search), stage: Stage::Head };
                let token = broker.cold.insert(cold);
                cx.read_log(entry.phy, HEAD_BYTES, token);
            }
            None => search.refuse(cx, "the queue's index cannot be read"),
        },
        (Job::Search(mut search), _) => {
            search.tell(store_time(bytes));
            run_search(broker, cx, search);
        }
        (Job::Fetch(fetch), _) => fetch::on_read(broker, cx, fetch, bytes),
        (Job::Pull(_), Stage::Head | Stage::Fetch) => unreachable!("a pull reads no heads"),
    }
    next_in_line(broker, cx);
}

fn decode(bytes: &[u8]) -> Vec<CqEntry> {
    bytes.chunks_exact(ENTRY_BYTES).map_while(CqEntry::decode).collect()
}
