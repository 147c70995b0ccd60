//! Reads that need files: pulls far behind, looking up store times, records by their place. Each is a small state machine that the
//! loop feeds with what it read; none blocks a turn.
//!
//! Entries of queue files, which have no checksums, are looked at once, as they come (`sound`).
//! Log bytes come in blocks that all pulls share (`blocks`), entries of a queue in runs that its next pulls use (`runs`).
//! Limits: so many jobs in flight per shard, and so many bytes per group (`coldReadBytesPerGroup`); the others wait in line,
//! where groups take turns (`line`), as they do at the device. So many blocks loading; bytes kept.

mod blocks;
mod line;
mod runs;
mod sound;

use crate::app::{Broker, Host, TimerKind, timer_key};
use crate::fetch::{self, Fetch};
use crate::handlers::entries::Listing;
use crate::handlers::offset::Search;
use crate::handlers::pull::{
    Pull, answer, come_again, from_memory, limits, note_sent, refuse_pull,
};
use crate::refusal::Refusal;
use crate::wanted::Scan;
use base::time::MonoNs;
#[cfg(test)]
pub(crate) use blocks::tests::store as test_store;
use blocks::{BLOCK_BYTES, BlockAt, Blocks};
pub(crate) use line::GroupKey;
use line::Line;
use runs::Runs;
use shard::Cx;
use sound::Told;
use std::sync::Arc;
use store::Store;
use store::layout::consume_queue::{CqEntry, ENTRY_BYTES};
use store::queues::QueueNo;
use store::read::{
    Look, Piece, ReadLimits, ReadStatus, SCAN_ENTRIES_MAX, Selection, classify, select,
};
use wire::codes::response;
use wire::message::MessageView;

/// Cold jobs in flight on a shard.
const IN_FLIGHT_MAX: usize = 64;
/// Cold jobs in line on a shard, and as many of one group as there are places left; more are told to come again.
const WAITING_MAX: usize = 65_536;
/// Blocks that one answer waits for, unless its first record alone has more; what lies in others is for the next pull.
const BLOCKS_MAX: usize = 16;
/// Records that one pull looks at when their contents decide.
const SIFTED: ReadLimits = ReadLimits { count_max: SCAN_ENTRIES_MAX, bytes_max: 1 << 20 };
/// Jobs of the line that begin in one turn: each copies 256 KiB at most.
const BEGUN_MAX: usize = 16;
/// Bytes read to learn a record's store time.
const HEAD_BYTES: usize = 96;
/// Remark when the disk does not give what was asked of it.
const READ_FAILED: &str =
    "stage read: the disk failed to read old messages; the broker's log says why";
/// Blocks and runs that were not used for this long are given back.
const IDLE_MS: u64 = 10_000;

/// Bit of a token: the read fills a block, whose slot is below.
const TOKEN_BLOCK: u64 = 1 << 63;

/// What a read is for.
enum Job {
    Pull(Pull),
    Search(Search),
    Fetch(Fetch),
    Listing(Listing),
}

enum Stage {
    /// Queue entries were asked for, from an offset on, in an epoch of the runs.
    Index { first: i64, epoch: u64 },
    /// Blocks are being loaded.
    Blocks(Choice),
    /// The head of a record was asked for.
    Head,
    /// What a `Fetch` asks for, which knows it itself.
    Fetch,
}

/// The records of an answer, and the pinned blocks that hold them.
struct Choice {
    pieces: Vec<Piece>,
    selection: Selection,
    /// The offset behind the first piece.
    behind: i64,
    blocks: Vec<BlockAt>,
    missing: usize,
}

/// What searches are, that belong to no consumer group.
const SEARCHES: GroupKey = GroupKey(0);
/// What reads of messages by key or place are.
pub(crate) const FETCHES: GroupKey = GroupKey(1);
/// What the broker's own reads are: no client's may keep a timed message waiting.
pub(crate) const OWN: GroupKey = GroupKey(2);
/// What reads of halves are, for producers that end their transactions.
pub(crate) const ENDS: GroupKey = GroupKey(3);

impl Job {
    /// The group that it is counted for.
    fn group(&self) -> GroupKey {
        match self {
            Job::Pull(pull) => pull.group,
            Job::Search(_) | Job::Listing(_) => SEARCHES,
            Job::Fetch(fetch) => fetch.group(),
        }
    }
}

struct Cold {
    job: Job,
    stage: Stage,
    /// Counted for its group.
    bytes: u64,
}

impl Cold {
    /// A job that does not know yet, or not exactly, how much it reads: it counts for a block.
    fn new(job: Job, stage: Stage) -> Cold {
        Cold { job, stage, bytes: BLOCK_BYTES }
    }
}

/// Cold reads of a shard.
#[derive(Default)]
pub(crate) struct ColdPulls {
    slots: Vec<Option<Cold>>,
    free: Vec<u64>,
    /// Jobs, and since when they wait.
    line: Line<(MonoNs, Job)>,
    blocks: Blocks,
    runs: Runs,
    scratch: Vec<u8>,
    /// When something was read last, while the timer that clears runs.
    used_at: Option<MonoNs>,
    told: Told,
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
        self.line.begin(cold.job.group(), cold.bytes);
        self.slots[slot(at)] = Some(cold);
        at
    }

    fn take(&mut self, token: u64) -> Cold {
        self.free.push(token);
        let cold = self.slots[slot(token)].take().expect("a read completes once");
        self.line.end(cold.job.group(), cold.bytes);
        cold
    }

    /// The job waits for these blocks, and counts for those that are read.
    fn wait_for(&mut self, token: u64, choice: Choice) {
        let cold = self.slots[slot(token)].as_mut().expect("a job in flight");
        let bytes = BLOCK_BYTES * choice.missing.max(1) as u64;
        let (group, before) = (cold.job.group(), std::mem::replace(&mut cold.bytes, bytes));
        cold.stage = Stage::Blocks(choice);
        self.line.begin(group, bytes);
        self.line.end(group, before);
    }

    /// A topic is deleted: its queues' entries mean nothing any more.
    pub(crate) fn forget_entries(&mut self) {
        self.runs.clear();
    }

    /// Whether another job may begin.
    fn has_room(&self) -> bool {
        self.in_flight() < IN_FLIGHT_MAX && self.blocks.room() > 0
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

/// Begins to list entries of a queue.
pub(crate) fn begin_listing<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, listing: Listing) {
    enqueue(broker, cx, Job::Listing(listing));
}

/// Keeps it until what it asks for next is there; the token to ask with.
pub(crate) fn park_fetch(broker: &mut Broker, fetch: Fetch) -> u64 {
    broker.cold.insert(Cold::new(Job::Fetch(fetch), Stage::Fetch))
}

fn enqueue<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, job: Job) {
    note_use(broker, cx);
    let (group, budget) = (job.group(), budget(broker));
    if broker.cold.has_room() && broker.cold.line.may_begin(group, budget) {
        run(broker, cx, job);
        return;
    }
    match broker.cold.line.push_within(group, (cx.now.mono, job), WAITING_MAX) {
        Ok(()) => {}
        Err((_, Job::Pull(pull))) => come_again(cx, &pull),
        Err((_, Job::Search(search))) => search.refuse(broker, cx, &too_many()),
        Err((_, Job::Fetch(fetch))) => fetch::refuse(broker, cx, fetch, &too_many()),
        Err((_, Job::Listing(listing))) => listing.refuse(cx, &too_many()),
    }
}

/// A pull that has waited for its turn longer than it may; its client asks again, behind those that came meanwhile.
fn is_too_old<H: Host>(broker: &Broker, cx: &Cx<'_, H>, since: MonoNs, job: &Job) -> bool {
    let overload = &broker.settings.config.overload;
    let limit_ms = if overload.fast_failure_enable { overload.pull_wait_ms } else { u64::MAX };
    matches!(job, Job::Pull(pull) if pull.conn().is_some()) && since.plus_ms(limit_ms) < cx.now.mono
}

/// Refuses what is too old, with Java's words and the limit.
fn refuse_old<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, since: MonoNs, job: Job) {
    let Job::Pull(pull) = job else { return };
    let age_ms = cx.now.mono.since(since) / 1_000_000;
    let remark = format!(
        "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: {age_ms}ms, size of queue: \
         {}; stage read: the disk is behind, waitTimeMillsInPullQueue = {}",
        broker.cold.line.len(),
        broker.settings.config.overload.pull_wait_ms
    );
    refuse_pull(cx, &pull, &Refusal::new(response::SYSTEM_BUSY, remark));
}

fn read_failed() -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, READ_FAILED)
}

/// Bytes that a group may have in flight.
fn budget(broker: &Broker) -> u64 {
    broker.settings.config.reading.cold_read_bytes_per_group
}

fn too_many() -> String {
    format!("stage received: {WAITING_MAX} reads of old messages are waiting, the limit")
}

fn next_in_line<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let budget = budget(broker);
    let mut begun = 0;
    while broker.cold.line.len() > 0 && broker.cold.has_room() {
        if begun == BEGUN_MAX {
            // They found all they need in memory: others have their turn first.
            cx.set_timer(cx.now.mono, timer_key(TimerKind::ColdLine, 0));
            break;
        }
        let Some((since, job)) = broker.cold.line.pop(budget) else { break };
        begun += 1;
        if is_too_old(broker, cx, since, &job) {
            refuse_old(broker, cx, since, job);
        } else {
            run(broker, cx, job);
        }
    }
    load_blocks(broker, cx);
}

/// Goes on with the line of jobs.
pub(crate) fn on_line<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    next_in_line(broker, cx);
}

fn run<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, job: Job) {
    match job {
        Job::Pull(pull) => run_pull(broker, cx, pull),
        Job::Search(search) => run_search(broker, cx, search),
        Job::Fetch(fetch) => fetch::run(broker, cx, fetch),
        Job::Listing(listing) => run_listing(broker, cx, listing),
    }
    load_blocks(broker, cx);
}

/// Memory is kept while it is used; a timer looks whether it still is.
fn note_use<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    if broker.cold.used_at.replace(cx.now.mono).is_none() {
        cx.set_timer(cx.now.mono.plus_ms(IDLE_MS), timer_key(TimerKind::Cold, 0));
    }
}

/// See `note_use`.
pub(crate) fn on_timer<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let cold = &mut broker.cold;
    let Some(used_at) = cold.used_at else { return };
    let idle = cold.in_flight() == 0 && used_at.plus_ms(IDLE_MS) <= cx.now.mono;
    if idle && cold.blocks.clear() {
        cold.runs.clear();
        cold.scratch = Vec::new();
        cold.used_at = None;
    } else {
        cx.set_timer(cx.now.mono.plus_ms(IDLE_MS), timer_key(TimerKind::Cold, 0));
    }
}

// ---- pulls ----

fn run_pull<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, pull: Pull) {
    let queue = cx.store().queue(pull.queue);
    if let Err(selection) = classify(queue, pull.offset) {
        answer(cx, &pull, selection, &[], from_memory);
        return;
    }
    let test = pull.wanted.test().map(Arc::clone);
    // Entries in memory know nothing of bit maps.
    let in_files = queue.persisted().min(queue.visible());
    let tail_start = queue.tail_start().max(if test.is_some() { in_files } else { 0 });
    if pull.offset >= tail_start {
        let entries: Vec<CqEntry> =
            queue.visible_from(pull.offset).take(SCAN_ENTRIES_MAX).collect();
        choose(broker, cx, pull, &entries);
        return;
    }
    let run = broker.cold.runs.from(pull.queue, pull.offset);
    if !run.is_empty() && test.is_none() {
        let entries = run.to_vec();
        choose(broker, cx, pull, &entries);
        return;
    }
    let (first, topic, id) = (pull.offset, queue.topic.clone(), pull.queue_id);
    let count = usize::try_from(tail_start - first).unwrap_or(SCAN_ENTRIES_MAX);
    let stage = Stage::Index { first, epoch: broker.cold.runs.epoch() };
    let token = broker.cold.insert(Cold::new(Job::Pull(pull), stage));
    cx.read_queue((&topic, id), first, count.min(SCAN_ENTRIES_MAX), test, token);
}

/// Chooses records from entries, then answers, when their blocks are there, or waits for them.
fn choose<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, pull: Pull, entries: &[CqEntry]) {
    let mut pieces = Vec::new();
    let store = cx.store();
    // A pull skips at once what has left the log, as Java's does.
    let gone = entries.iter().take_while(|entry| is_gone(store, entry)).count();
    let first = pull.offset + i64::try_from(gone).expect("entries in memory");
    let rest = entries.iter().skip(gone).copied();
    let limits = limits(&broker.settings, store, &pull);
    let is_sifted = pull.wanted.needs_records();
    let limits = move |entry: &CqEntry| if is_sifted { SIFTED } else { limits(entry) };
    let look = |entry: &CqEntry| pull.wanted.look_at_entry(entry);
    let mut selection = select(rest, first, limits, look, &mut pieces);
    if gone > 0 && gone == entries.len() {
        selection = Selection::outside(ReadStatus::MessageWasRemoving, first);
    }
    if selection.status != ReadStatus::Found {
        answer(cx, &pull, selection, &[], from_memory);
        return;
    }
    let is_first = |entry: &CqEntry| pieces.first().is_some_and(|piece| piece.phy == entry.phy);
    let passed = entries.iter().position(is_first).unwrap_or(gone);
    let behind = pull.offset + i64::try_from(passed).expect("entries in memory") + 1;
    let group = pull.group;
    // What its group has left, so that many pulls of one do not ask for many blocks each.
    let left = budget(broker).saturating_sub(broker.cold.line.bytes(group)) / BLOCK_BYTES;
    let blocks_max = usize::try_from(left).unwrap_or(BLOCKS_MAX).min(BLOCKS_MAX);
    let token = broker.cold.insert(Cold::new(Job::Pull(pull), Stage::Head));
    let choice = Choice { pieces, selection, behind, blocks: Vec::new(), missing: 0 };
    let choice = pin(&mut broker.cold.blocks, store, choice, blocks_max, (group, token));
    let ready = choice.missing == 0;
    broker.cold.wait_for(token, choice);
    if ready {
        finish_pull(broker, cx, token);
    }
}

/// Whether the entry names a message that is in the log no more.
fn is_gone(store: &Store, entry: &CqEntry) -> bool {
    entry.is_filler() || entry.phy.position() < store.stream(entry.phy.stream()).start()
}

/// Pins the blocks of all pieces that are not in memory.
fn pin(
    blocks: &mut Blocks,
    store: &Store,
    mut choice: Choice,
    blocks_max: usize,
    waiter: (GroupKey, u64),
) -> Choice {
    let blocks_max = blocks_max.min(blocks.room());
    for piece in &choice.pieces {
        if store.tail(piece.phy, piece.size as usize).is_some() {
            continue;
        }
        // The first record always goes, whatever it needs.
        if !choice.blocks.is_empty() && choice.blocks.len() >= blocks_max {
            break;
        }
        let (start, end) = (piece.phy.position(), piece.phy.position() + u64::from(piece.size));
        for at in blocks::places(store, piece.phy.stream(), start, end) {
            // Pieces come in the order of the log.
            if choice.blocks.last() != Some(&at) {
                choice.blocks.push(at);
            }
        }
    }
    let last = choice.pieces.last().map_or(0, |p| p.phy.position() + u64::from(p.size));
    for at in &choice.blocks {
        let segments = store.stream(at.stream).segments();
        let segment_end = segments.base_of(at.base) + segments.segment_bytes();
        let end = last.min(at.base + BLOCK_BYTES).min(segment_end);
        choice.missing += usize::from(blocks.pin(store, *at, end, waiter));
    }
    if let Some(at) = choice.blocks.last() {
        blocks.read_ahead(store, *at, waiter.0);
    }
    choice
}

fn load_blocks<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    while let Some(load) = broker.cold.blocks.next_load() {
        cx.read_log(load.phy, load.buffer, TOKEN_BLOCK | u64::from(load.slot));
    }
}

/// Answers with what memory and the pinned blocks hold; what cannot be read (any more) is left for the next pull to skip.
fn finish_pull<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, token: u64) {
    let cold = broker.cold.take(token);
    let (Job::Pull(pull), Stage::Blocks(mut choice)) = (cold.job, cold.stage) else {
        unreachable!("only pulls wait for blocks")
    };
    let ColdPulls { blocks, scratch, .. } = &mut broker.cold;
    if pull.is_full(cx) {
        come_again(cx, &pull);
    } else if let Some((count, selection)) = check(cx.store(), blocks, scratch, &pull, &choice) {
        choice.pieces.truncate(count);
        let mut selection = selection;
        if pull.wanted.needs_records() && count > 0 {
            let store = cx.store();
            let limits = limits(&broker.settings, store, &pull);
            let found = |piece: &Piece, scan: &mut Scan<'_>| {
                let record = record(store, blocks, scratch, piece)?;
                let (view, _) = MessageView::parse(record).ok()?;
                Some((view.queue_offset().0, scan.look_at_record(record)))
            };
            selection = sift(&pull, &mut choice.pieces, selection, limits, found);
        }
        let pieces = choice.pieces.as_slice();
        let ms = cx.now.mono.since(pull.begun) / 1_000_000;
        note_sent(&mut broker.traffic, &pull, pieces, ms);
        answer(cx, &pull, selection, pieces, |store, piece, out| {
            let record = record(store, blocks, scratch, piece);
            out.extend_from_slice(record.expect("checked in this turn"));
        });
    } else {
        let (phy, queue) = (choice.pieces[0].phy, cx.store().queue(pull.queue));
        tracing::warn!(
            "topic {}, queue {}: the message at {} of stream {} cannot be read",
            String::from_utf8_lossy(&queue.topic),
            queue.id.0,
            phy.position(),
            phy.stream().0
        );
        refuse_pull(cx, &pull, &read_failed());
    }
    for at in &choice.blocks {
        blocks.unpin(*at);
    }
}

/// Keeps what an expression wants of records that are all there, within the limits of an answer.
fn sift(
    pull: &Pull,
    pieces: &mut Vec<Piece>,
    mut selection: Selection,
    limits: impl Fn(&CqEntry) -> ReadLimits,
    mut found: impl FnMut(&Piece, &mut Scan<'_>) -> Option<(i64, Look)>,
) -> Selection {
    let mut scan = Scan::new(&pull.wanted);
    let (mut kept, mut bytes, mut next) = (0, 0usize, pull.offset);
    for at in 0..pieces.len() {
        let piece = pieces[at];
        let size = piece.size as usize;
        let entry = CqEntry { phy: piece.phy, size: piece.size, tags_code: 0 };
        let limits = limits(&entry);
        let is_over = kept >= limits.count_max || bytes.saturating_add(size) > limits.bytes_max;
        let (offset, look) = found(&piece, &mut scan).expect("checked in this turn");
        if kept > 0 && is_over || look == Look::Later {
            selection.next = next;
            break;
        }
        next = offset + 1;
        selection.last = Some(piece.phy);
        if look == Look::Take {
            pieces[kept] = piece;
            (kept, bytes) = (kept + 1, bytes + size);
        }
    }
    pieces.truncate(kept);
    if kept == 0 {
        selection.status = ReadStatus::NoMatchedMessage;
    }
    selection
}

/// The bytes of a record from the window or from blocks.
fn record<'b>(
    store: &'b Store,
    blocks: &'b Blocks,
    scratch: &'b mut Vec<u8>,
    piece: &Piece,
) -> Option<&'b [u8]> {
    let (phy, len) = (piece.phy, piece.size as usize);
    store.tail(phy, len).or_else(|| blocks.bytes(store, phy, len, scratch))
}

/// How many of the chosen records are there and what they seem, and where the next pull goes on. `None`: the first one is in
/// the log, but its block could not be read.
fn check(
    store: &Store,
    blocks: &Blocks,
    scratch: &mut Vec<u8>,
    pull: &Pull,
    choice: &Choice,
) -> Option<(usize, Selection)> {
    let status = ReadStatus::MessageWasRemoving;
    let mut behind = pull.offset;
    for (count, piece) in choice.pieces.iter().enumerate() {
        let bytes = record(store, blocks, scratch, piece);
        let stream = store.stream(piece.phy.stream());
        let end = piece.phy.position() + u64::from(piece.size);
        // A record that is not in the window is whole on the device; what ends behind that is none.
        let is_there = stream.start() <= piece.phy.position() && end <= stream.written();
        if count == 0 && bytes.is_none() && is_there {
            return None;
        }
        let offset = bytes.and_then(|bytes| {
            let (view, size) = MessageView::parse(bytes).ok()?;
            let is_it = view.phy_offset() == piece.phy && size == bytes.len();
            is_it.then(|| view.queue_offset().0)
        });
        match offset {
            Some(offset) => behind = offset + 1,
            // Deleted, or no record any more.
            None if count == 0 => {
                let next = choice.behind;
                return Some((0, Selection { status, next, ..choice.selection }));
            }
            // The next pull begins behind the last record of this answer.
            None => return Some((count, Selection { next: behind, ..choice.selection })),
        }
    }
    Some((choice.pieces.len(), choice.selection))
}

// ---- searches ----

fn run_search<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, mut search: Search) {
    if let Some(entry) = search.place()
        && !look_at(cx, &mut search, entry)
    {
        read_head(broker, cx, search, entry);
        return;
    }
    if search.is_of_place() {
        // It has no queue.
        search.finish(broker, cx);
        return;
    }
    loop {
        let queue = cx.store().queue(search.queue);
        let Some(offset) = search.probe(queue.min(), queue.visible()) else {
            search.finish(broker, cx);
            return;
        };
        let Some(entry) = queue.entry(offset) else {
            let (topic, id) = (queue.topic.clone(), queue.id);
            let stage = Stage::Index { first: offset, epoch: broker.cold.runs.epoch() };
            let token = broker.cold.insert(Cold::new(Job::Search(search), stage));
            cx.read_queue((&topic, id), offset, 1, None, token);
            return;
        };
        if !look_at(cx, &mut search, entry) {
            read_head(broker, cx, search, entry);
            return;
        }
    }
}

fn read_head<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, search: Search, entry: CqEntry) {
    let cold = Cold::new(Job::Search(search), Stage::Head);
    let token = broker.cold.insert(cold);
    cx.read_log(entry.phy, vec![0; HEAD_BYTES], token);
}

/// Tells the search the store time of a record in memory; false when it is not there.
fn look_at<H: Host>(cx: &mut Cx<'_, H>, search: &mut Search, entry: CqEntry) -> bool {
    if is_gone(cx.store(), &entry) {
        search.tell_gone();
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

// ---- lists of entries ----

fn run_listing<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, mut listing: Listing) {
    let queue = cx.store().queue(listing.queue);
    let (first, tail_start) = (listing.next, queue.tail_start());
    if first >= tail_start {
        listing.take(queue.visible_from(first));
    }
    // A queue that was deleted meanwhile has no more.
    if listing.next >= listing.end || first >= tail_start {
        listing.finish(cx);
        return;
    }
    let (topic, id) = (queue.topic.clone(), queue.id);
    let count = usize::try_from(tail_start.min(listing.end) - first).unwrap_or(SCAN_ENTRIES_MAX);
    let stage = Stage::Index { first, epoch: broker.cold.runs.epoch() };
    let token = broker.cold.insert(Cold::new(Job::Listing(listing), stage));
    cx.read_queue((&topic, id), first, count.min(SCAN_ENTRIES_MAX), None, token);
}

// ---- completions ----

/// What `Cx::read_log` or `Cx::read_queue` brought.
pub(crate) fn on_read<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    token: u64,
    result: Result<Vec<u8>, i32>,
) {
    let failed = result.is_err();
    let bytes = result.unwrap_or_else(|error| {
        let error = std::io::Error::from_raw_os_error(error);
        tracing::warn!("reading old messages failed: {error}");
        Vec::new()
    });
    if token & TOKEN_BLOCK != 0 {
        let slot = u32::try_from(token & !TOKEN_BLOCK).expect("a slot number");
        for token in broker.cold.blocks.loaded(slot, bytes) {
            block_is_there(broker, cx, token);
        }
    } else if failed {
        on_job_failed(broker, cx, token);
    } else {
        on_job_read(broker, cx, token, &bytes);
    }
    next_in_line(broker, cx);
}

/// What cannot be read now is neither missing nor skipped: the client hears of an error and comes again.
fn on_job_failed<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, token: u64) {
    match broker.cold.take(token).job {
        Job::Pull(pull) => fail_pull(cx, &pull),
        Job::Search(search) => search.refuse(broker, cx, READ_FAILED),
        Job::Fetch(fetch) => fetch::refuse(broker, cx, fetch, READ_FAILED),
        Job::Listing(listing) => listing.refuse(cx, READ_FAILED),
    }
}

/// The entries of a pull's queue are not there, unless they were deleted meanwhile.
fn fail_pull<H: Host>(cx: &mut Cx<'_, H>, pull: &Pull) {
    let queue = cx.store().queue(pull.queue);
    match classify(queue, pull.offset) {
        Err(selection) => answer(cx, pull, selection, &[], from_memory),
        Ok(()) => {
            tracing::warn!(
                "topic {}, queue {}: the file with the entry of offset {} is missing or damaged; a start of the broker \
                 makes it again from the log",
                String::from_utf8_lossy(&queue.topic),
                queue.id.0,
                pull.offset
            );
            refuse_pull(cx, pull, &read_failed());
        }
    }
}

fn block_is_there<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, token: u64) {
    let cold = broker.cold.slots[slot(token)].as_mut().expect("a waiting job stays");
    let Stage::Blocks(choice) = &mut cold.stage else { unreachable!("it waits for blocks") };
    choice.missing -= 1;
    if choice.missing == 0 {
        finish_pull(broker, cx, token);
    }
}

fn on_job_read<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, token: u64, bytes: &[u8]) {
    let cold = broker.cold.take(token);
    match (cold.job, cold.stage) {
        (Job::Pull(pull), Stage::Index { first, epoch }) => {
            let entries = sound_entries(broker, cx, pull.queue, first, bytes);
            if entries.is_empty() {
                fail_pull(cx, &pull);
                return;
            }
            if pull.wanted.test().is_none() {
                broker.cold.runs.keep(epoch, pull.queue, first, entries.iter().copied());
            }
            choose(broker, cx, pull, &entries);
        }
        (Job::Search(mut search), Stage::Index { first, .. }) => {
            match sound_entries(broker, cx, search.queue, first, bytes).first().copied() {
                Some(entry) if look_at(cx, &mut search, entry) => run_search(broker, cx, search),
                Some(entry) => read_head(broker, cx, search, entry),
                None => search.refuse(broker, cx, "the queue's index cannot be read"),
            }
        }
        (Job::Search(mut search), Stage::Head) => {
            search.tell(store_time(bytes));
            run_search(broker, cx, search);
        }
        (Job::Listing(mut listing), Stage::Index { .. }) => {
            let first = listing.next;
            // Whoever lists entries wants to see what is there, nonsense included.
            listing.take(decode(bytes));
            if listing.next == first {
                listing.refuse(cx, READ_FAILED);
            } else {
                run_listing(broker, cx, listing);
            }
        }
        (Job::Fetch(fetch), Stage::Fetch) => fetch::on_read(broker, cx, fetch, bytes),
        (Job::Pull(_), Stage::Head | Stage::Fetch)
        | (Job::Search(_), Stage::Fetch)
        | (Job::Listing(_), Stage::Head | Stage::Fetch)
        | (Job::Fetch(_), Stage::Index { .. } | Stage::Head)
        | (_, Stage::Blocks(_)) => {
            unreachable!("each job waits in its own stages, and blocks have tokens of their own")
        }
    }
}

/// Entries that a queue's file has from `first` on; those that name nonsense became fillers.
fn sound_entries<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    queue: QueueNo,
    first: i64,
    bytes: &[u8],
) -> Vec<CqEntry> {
    let mut entries: Vec<CqEntry> = decode(bytes).collect();
    let now = cx.now.mono;
    sound::clear(cx.store(), queue, first, &mut entries, (&mut broker.cold.told, now));
    entries
}

fn decode(bytes: &[u8]) -> impl Iterator<Item = CqEntry> {
    bytes.chunks_exact(ENTRY_BYTES).map_while(CqEntry::decode)
}
