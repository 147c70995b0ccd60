//! The engine: a shard's streams and queues together, from append to what readers see.

mod indexing;
mod upkeep;

use crate::consume_queue::ConsumeQueue;
use crate::index::{IndexEntry, IndexKeys, WaitingIndex, is_indexed};
use crate::layout::checkpoint::Checkpoint;
use crate::layout::consume_queue::CqEntry;
use crate::op::{OpTag, QueueTrim, QueueWrite, StoreOp};
use crate::persist::{Marks, Round, RoundStep};
use crate::queues::{QueueNo, Queues};
use crate::retention::{DiskFull, Retention, RetentionConfig, Why};
use crate::stream::{NoPlace, Stream};
use base::time::{MonoNs, Now};
use buf::prefetch::prefetch;
use std::collections::VecDeque;
use std::fmt;
use upkeep::Trim;
pub use upkeep::UpkeepStep;
use wire::ids::{PhyOffset, QueueOffset, StreamId};
use wire::message::{NewMessage, Place};

/// Errors that pass: `ENOSPC`, `EDQUOT`, and `ENFILE` and `EMFILE`, as clients come and go.
const NO_ROOM: [i32; 4] = [28, 122, 23, 24];
/// Pause after a file could not be written for want of room.
const ROOM_RETRY_NS: u64 = 1_000_000_000;

/// Settings of an engine.
#[derive(Clone, Copy, Debug)]
pub struct StoreConfig {
    /// Pause between two rounds of writing queue entries to their files, ns.
    pub queue_flush_interval_ns: u64,
    /// Pause between two checkpoints, ns.
    pub checkpoint_interval_ns: u64,
    /// When old segments go; `None`: never, and the disk is not looked at.
    pub retention: Option<RetentionConfig>,
    /// Messages are indexed by their keys (`messageIndexEnable`).
    pub index: bool,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            queue_flush_interval_ns: 1_000_000_000,
            checkpoint_interval_ns: 10_000_000_000,
            retention: None,
            index: true,
        }
    }
}

/// Why a message was not stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendError {
    /// The device is behind by a whole window, or the next segment is being made: try again after a completion.
    Behind,
    /// The disk is full, or fuller than it may be: try again when there is room.
    DiskFull(Option<DiskFull>),
    /// The message can never fit.
    TooLarge {
        /// Bytes of the record or batch.
        bytes: u64,
        /// Most that fit a segment and the window.
        bytes_max: u64,
    },
    /// The store stopped after a failed write or sync, or is being closed.
    Stopped,
}

/// A stored message or batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Offset of the first message in its queue.
    pub first: QueueOffset,
    /// Stream and position behind the last byte: it counts when `acknowledged` of the stream is there.
    pub stream: StreamId,
    /// See `stream`.
    pub end: u64,
}

/// A write or sync that failed; the store accepts nothing afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Stream whose operation failed.
    pub stream: StreamId,
    /// `errno`.
    pub error: i32,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = std::io::Error::from_raw_os_error(self.error);
        write!(f, "stream {}: {error}", self.stream.0)
    }
}

struct Hidden {
    end: u64,
    queue: QueueNo,
    next: i64,
}

/// A checkpoint may lag this far behind the flushed frontier while a stream is busy.
const ENDS_APART_BYTES: u64 = 64 << 10;

struct StreamState {
    stream: Stream,
    /// Messages that readers may not see yet, in log order.
    hidden: VecDeque<Hidden>,
    /// Ends of some records that are not known to be durable, and their store times, in log order, `ENDS_APART_BYTES` apart or
    /// more.
    ends: VecDeque<(u64, i64)>,
    /// A record's end at or below the flushed frontier, which itself may lie inside a record.
    durable_end: u64,
    /// When that record was stored, or an earlier one, ms.
    durable_time: i64,
    /// `durable_time` when the round began.
    mark_time: i64,
    /// Sum of `queue_digest` over the stream's queues, as far as they are in the files.
    persisted: u64,
    index: WaitingIndex,
    /// The newest one that is on the disk.
    checkpoint: Checkpoint,
    /// One that is on its way there.
    next_checkpoint: Option<Checkpoint>,
    /// Store time of the newest message, ms.
    last_timestamp: i64,
    /// Messages appended since the start.
    messages: u64,
}

impl StreamState {
    /// Remembers where a record ends.
    fn note_end(&mut self, end: u64) {
        if self.ends.back().is_none_or(|(last, _)| end - last >= ENDS_APART_BYTES) {
            self.ends.push_back((end, self.last_timestamp));
        }
    }

    /// The oldest segment, when all of it is durable with its queue entries and it is not the one that is written.
    fn deletable(&self) -> Option<(StreamId, u64)> {
        let (first, size) =
            (self.stream.segments().first()?, self.stream.segments().segment_bytes());
        let dispatched = self.checkpoint.dispatched.filter(|at| *at >= first + size);
        dispatched.map(|_| (self.stream.id(), first))
    }

    fn waits_for_checkpoint(&self) -> bool {
        let size = self.stream.segments().segment_bytes();
        let first = self.stream.segments().first();
        self.deletable().is_none()
            && first.is_some_and(|first| first + size <= self.stream.flushed())
    }

    /// A position up to which the log is durable, where a record ends: a later start begins its scan there.
    fn durable_end(&mut self) -> u64 {
        let flushed = self.stream.flushed();
        while let Some(found) = self.ends.pop_front_if(|(end, _)| *end <= flushed) {
            (self.durable_end, self.durable_time) = found;
        }
        if flushed == self.stream.appended() {
            (self.durable_end, self.durable_time) = (flushed, self.last_timestamp);
        }
        self.durable_end
    }
}

/// A shard's part of the store.
pub struct Store {
    config: StoreConfig,
    streams: Vec<StreamState>,
    queues: Queues,
    news: Vec<QueueNo>,
    dirty: Vec<QueueNo>,
    round: Round,
    next_checkpoint_at: MonoNs,
    checkpoint_wanted: bool,
    /// Queue entries were written behind the last checkpoint.
    checkpoint_lags: bool,
    /// The disk had no room for queue entries or a checkpoint.
    lacks_room: bool,
    /// The last checkpoint may not be on the disk.
    checkpoint_lost: bool,
    retention: Option<Retention>,
    /// A segment whose time has come.
    doomed: Option<(StreamId, u64, Why)>,
    trim: Trim,
    /// The index files failed in this round.
    index_failed: bool,
    /// What the index files did not take waits for another round.
    index_late: bool,
    /// Steps for the index since the last one of a round.
    index_steps: u32,
    failure: Option<Failure>,
    closing: bool,
}

impl Store {
    /// An engine over recovered streams and queues. `queues` with unpersisted entries are written soon.
    pub fn new(config: StoreConfig, streams: Vec<(Stream, Checkpoint)>, queues: Queues) -> Store {
        let mut store = Store {
            config,
            streams: streams
                .into_iter()
                .map(|(stream, checkpoint)| StreamState {
                    hidden: VecDeque::new(),
                    ends: VecDeque::new(),
                    durable_end: stream.flushed(),
                    durable_time: checkpoint.log_timestamp,
                    mark_time: checkpoint.log_timestamp,
                    persisted: queues.digest(stream.id()),
                    index: WaitingIndex::new(stream.id(), config.index),
                    stream,
                    checkpoint,
                    next_checkpoint: None,
                    last_timestamp: checkpoint.log_timestamp,
                    messages: 0,
                })
                .collect(),
            queues,
            news: Vec::new(),
            dirty: Vec::new(),
            round: Round::default(),
            next_checkpoint_at: MonoNs(0),
            checkpoint_wanted: false,
            checkpoint_lags: false,
            lacks_room: false,
            checkpoint_lost: false,
            retention: config.retention.map(Retention::new),
            doomed: None,
            trim: Trim::default(),
            index_failed: false,
            index_late: false,
            index_steps: 0,
            failure: None,
            closing: false,
        };
        let unpersisted: Vec<QueueNo> =
            store.queues.iter().filter(|(_, q)| q.has_unpersisted()).map(|(no, _)| no).collect();
        for no in unpersisted {
            store.mark_dirty(no);
        }
        store
    }

    /// The queues.
    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// A queue.
    pub fn queue(&self, no: QueueNo) -> &ConsumeQueue {
        self.queues.get(no)
    }

    /// The queue's number, made empty if it is new; `stream` is where its messages go.
    pub fn find_or_create(
        &mut self,
        topic: &[u8],
        id: wire::ids::QueueId,
        stream: StreamId,
    ) -> QueueNo {
        self.queues.find_or_create(topic, id, stream)
    }

    /// Forgets a deleted topic's queues, and asks for a checkpoint: until then a crash would find them again.
    pub fn remove_topic(&mut self, topic: &[u8]) {
        for queue in self.queues.of_topic(topic) {
            self.note_persisted(queue, 0);
        }
        self.queues.remove_topic(topic);
        self.checkpoint_wanted = true;
    }

    /// Forgets queues that nobody uses and whose records have left the log; their numbers begin anew.
    pub fn remove_queues(&mut self, queues: &[QueueNo]) {
        for no in queues {
            self.note_persisted(*no, 0);
            self.queues.remove(*no);
        }
        self.checkpoint_wanted |= !queues.is_empty();
    }

    /// The queue's files hold the entries below `offset`, or there is no such queue any more: 0.
    fn note_persisted(&mut self, no: QueueNo, offset: i64) {
        let queue = self.queues.get(no);
        let before = queue.digest_at(queue.persisted());
        let now = queue.digest_at(offset);
        let state = self.state_mut(queue.stream);
        state.persisted = state.persisted.wrapping_sub(before).wrapping_add(now);
    }

    /// A stream of this shard.
    pub fn stream(&self, id: StreamId) -> &Stream {
        &self.state(id).stream
    }

    /// Whether a stream is this shard's.
    pub fn has_stream(&self, id: StreamId) -> bool {
        self.streams().any(|stream| stream.id() == id)
    }

    /// The streams of this shard.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter().map(|s| &s.stream)
    }

    /// Messages appended to a stream since the start.
    pub fn messages(&self, id: StreamId) -> u64 {
        self.state(id).messages
    }

    /// The failure that stopped the store.
    pub fn failure(&self) -> Option<Failure> {
        self.failure
    }

    fn state(&self, id: StreamId) -> &StreamState {
        let found = self.streams.iter().find(|s| s.stream.id() == id);
        found.expect("a stream is asked of the shard that serves it")
    }

    fn state_mut(&mut self, id: StreamId) -> &mut StreamState {
        let found = self.streams.iter_mut().find(|s| s.stream.id() == id);
        found.expect("a stream is asked of the shard that serves it")
    }

    // ---- append ----

    /// Asks for the memory of a queue that is appended to soon.
    #[inline]
    pub fn prefetch(&self, queue: QueueNo) {
        prefetch(self.queues.get(queue));
    }

    /// As `prefetch`, which was called before, for what an append to it changes besides.
    #[inline]
    pub fn prefetch_end(&self, queue: QueueNo) {
        self.queues.get(queue).prefetch_end();
    }

    /// Begins an append of records with `total` bytes together, which stay in one segment.
    pub fn begin(
        &mut self,
        queue: QueueNo,
        total: usize,
        now: Now,
    ) -> Result<Batch<'_>, AppendError> {
        if self.failure.is_some() || self.closing {
            return Err(AppendError::Stopped);
        }
        if let Some(why) = self.disk_full() {
            return Err(AppendError::DiskFull(why));
        }
        let found = self.queues.get(queue);
        found.prefetch_end();
        let stream = found.stream;
        let state = self.state_mut(stream);
        let bytes = total as u64;
        let bytes_max = state.stream.record_bytes_max();
        if bytes > bytes_max {
            return Err(AppendError::TooLarge { bytes, bytes_max });
        }
        let start = state.stream.reserve(bytes).map_err(|no_place| match no_place {
            NoPlace::Behind => AppendError::Behind,
            NoPlace::DiskFull => AppendError::DiskFull(None),
        })?;
        let first = self.queues.get(queue).next();
        Ok(Batch { store: self, queue, stream, now, first, cursor: start, end: start + bytes })
    }

    /// Why appends are refused for want of room, with the ratio when that is the reason.
    fn disk_full(&self) -> Option<Option<DiskFull>> {
        if self.lacks_room {
            return Some(None);
        }
        self.retention.as_ref().and_then(Retention::disk_full).map(Some)
    }

    // ---- reading ----

    /// Bytes of a record from memory.
    pub fn tail(&self, phy: PhyOffset, len: usize) -> Option<&[u8]> {
        self.stream(phy.stream()).tail(phy.position(), len)
    }

    /// Queues with news for readers since the last call; `out` is cleared first.
    pub fn take_news(&mut self, out: &mut Vec<QueueNo>) {
        out.clear();
        std::mem::swap(out, &mut self.news);
        for no in out.iter() {
            self.queues.get_mut(*no).announced = false;
        }
    }

    /// Whether `take_news` has something.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    fn announce(&mut self, no: QueueNo) {
        let queue = self.queues.get_mut(no);
        if !queue.announced {
            queue.announced = true;
            self.news.push(no);
        }
    }

    fn mark_dirty(&mut self, no: QueueNo) {
        let queue = self.queues.get_mut(no);
        if !queue.dirty {
            queue.dirty = true;
            self.dirty.push(no);
        }
    }

    fn show_hidden(&mut self, id: StreamId) {
        loop {
            let state = self.state_mut(id);
            let visible = state.stream.visible();
            let Some(hidden) = state.hidden.pop_front_if(|h| h.end <= visible) else { return };
            let queue = self.queues.get_mut(hidden.queue);
            // A deleted topic's queue began anew, and its number is not used again.
            if hidden.next <= queue.next() {
                queue.show(hidden.next);
                self.announce(hidden.queue);
            }
        }
    }

    // ---- driving ----

    /// End of turn: what the device should do now.
    pub fn plan(&mut self, now: Now, ops: &mut Vec<StoreOp>) {
        if self.failure.is_some() {
            return;
        }
        for state in &mut self.streams {
            state.stream.plan(now, ops);
        }
    }

    /// When `plan` or `plan_queues` wants to be called again; `None`: after the next append or completion. `files_are_out`: a job has
    /// the queue files, and its end wakes the shard; `plan_queues` is not called before.
    pub fn next_deadline(&self, files_are_out: bool) -> Option<MonoNs> {
        let streams = self.streams.iter().filter_map(|s| s.stream.next_deadline()).min();
        let retention = self.retention.as_ref().and_then(Retention::next_at);
        let queues = if files_are_out { None } else { self.next_queues_at() };
        [streams, queues, retention].into_iter().flatten().min()
    }

    fn next_queues_at(&self) -> Option<MonoNs> {
        let waiting = !self.dirty.is_empty() || self.index_late || self.is_index_behind();
        // A trim that is out wakes the shard when it comes back; nothing else is planned before.
        let resting = self.round.is_resting() && !self.trim.in_flight;
        let queues = (waiting && resting).then(|| self.round.next_at());
        let lags = self.checkpoint_lags && resting;
        let checkpoint = lags.then(|| self.next_checkpoint_at.max(self.round.next_at()));
        let trim = self.trim.is_due(&self.round).then_some(MonoNs(0));
        [queues, checkpoint, trim].into_iter().flatten().min()
    }

    /// A requested segment exists, or could not be made.
    pub fn on_segment(&mut self, stream: StreamId, base: u64, error: Option<i32>) {
        match error {
            None => self.state_mut(stream).stream.on_segment(base),
            Some(error) if NO_ROOM.contains(&error) => {
                self.state_mut(stream).stream.on_no_room(base);
            }
            Some(error) => self.fail(Failure { stream, error }),
        }
    }

    /// An operation has completed.
    pub fn on_done(&mut self, tag: OpTag, error: Option<i32>) {
        let stream = tag.stream();
        if let Some(error) = error {
            self.fail(Failure { stream, error });
        }
        if self.failure.is_some() {
            return;
        }
        self.state_mut(stream).stream.on_done(tag);
        self.show_hidden(stream);
    }

    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    // ---- queue files ----

    /// The next batch of queue entries for the background to write, or a checkpoint, when one is due.
    pub fn plan_queues(&mut self, now: MonoNs) -> Option<QueueStep> {
        if self.failure.is_some() || self.trim.in_flight {
            return None;
        }
        if self.trim.is_due(&self.round)
            && let Some(queues) = self.next_trim()
        {
            self.trim.in_flight = true;
            let start = |s: &StreamState| s.stream.phy(s.stream.start());
            return Some(QueueStep::Trim {
                queues,
                starts: self.streams.iter().map(start).collect(),
            });
        }
        let settled = || self.streams.iter().all(|s| s.stream.is_settled());
        let work = !self.dirty.is_empty()
            || self.index_late
            || self.is_index_behind()
            || self.checkpoint_wanted && settled()
            || self.checkpoint_lags && now >= self.next_checkpoint_at
            || self.closing && !self.is_closed();
        if work && self.round.may_begin(now, self.closing && !self.lacks_room) {
            let marks = self.durable_ends();
            for state in &mut self.streams {
                state.mark_time = state.durable_time;
            }
            let dirty = std::mem::take(&mut self.dirty);
            for no in &dirty {
                self.queues.get_mut(*no).dirty = false;
            }
            self.round.begin(dirty, marks);
        }
        if let Some(step) = self.plan_index_aside() {
            return Some(step);
        }
        let mut later = Vec::new();
        let step = self.round.step(&self.queues, &mut later);
        for no in later {
            // A deleted topic's queue has nothing to write any more.
            if self.queues.get(no).has_unpersisted() {
                self.mark_dirty(no);
            }
        }
        match step? {
            RoundStep::Write(writes) => Some(QueueStep::Write(writes)),
            RoundStep::Complete(marks) => match self.plan_index(&marks) {
                Some(step) => {
                    self.round.hold(marks);
                    Some(step)
                }
                None => self.complete_round(marks, now),
            },
        }
    }

    fn complete_round(&mut self, marks: Marks, now: MonoNs) -> Option<QueueStep> {
        self.index_late = std::mem::take(&mut self.index_failed);
        let settled = self.streams.iter().all(|s| s.stream.is_settled());
        let is_news = |(id, at): &(StreamId, u64)| {
            let state = self.state(*id);
            let known = &state.checkpoint;
            known.dispatched != Some(*at) || known.queues != Some(state.persisted)
        };
        let moved = self.checkpoint_lost || marks.iter().any(is_news);
        let checkpoint = if self.closing {
            settled
        } else {
            moved && (self.checkpoint_wanted || now >= self.next_checkpoint_at)
        };
        let next_at = self.round.next_after(now, self.config.queue_flush_interval_ns);
        self.round.end(checkpoint, next_at);
        if !moved {
            self.checkpoint_wanted = false;
        }
        self.checkpoint_lags = moved && !checkpoint;
        if !checkpoint {
            return None;
        }
        self.next_checkpoint_at = MonoNs(now.0 + self.config.checkpoint_interval_ns);
        self.checkpoint_wanted = false;
        self.checkpoint_lost = false;
        Some(QueueStep::Checkpoint(self.checkpoints(&marks)))
    }

    fn checkpoints(&mut self, marks: &[(StreamId, u64)]) -> Vec<(StreamId, Checkpoint)> {
        let closing = self.closing;
        let mut list = Vec::new();
        for (id, flushed) in marks {
            let state = self.state_mut(*id);
            let time = state.mark_time;
            let settled =
                closing && state.stream.is_settled() && state.stream.flushed() == *flushed;
            let next = Checkpoint {
                log_timestamp: time,
                queue_timestamp: time,
                dispatched: Some(*flushed),
                clean_end: settled.then_some(*flushed),
                queues: Some(state.persisted),
                indexed: state.index.complete_to(*flushed).or(state.checkpoint.indexed),
                ..state.checkpoint
            };
            state.next_checkpoint = Some(next);
            list.push((*id, next));
        }
        list
    }

    /// What `plan_queues` asked for (but a trim) is done. Without room it is tried again later; nothing is accepted
    /// until then, so that memory does not fill with entries.
    pub fn on_queues(&mut self, error: Option<i32>, now: MonoNs) {
        if error.is_some_and(|error| NO_ROOM.contains(&error)) {
            self.lacks_room = true;
            self.checkpoint_wanted = true;
            self.checkpoint_lost = true;
            for state in &mut self.streams {
                state.next_checkpoint = None;
            }
            for no in self.round.give_up(MonoNs(now.0 + ROOM_RETRY_NS)) {
                self.mark_dirty(no);
            }
            return;
        }
        if let Some(error) = error {
            let stream = self.streams.first().map_or(StreamId(0), |s| s.stream.id());
            self.fail(Failure { stream, error });
            return;
        }
        self.lacks_room = false;
        for state in &mut self.streams {
            if state.index.is_handed_out() {
                state.index.done(true);
            }
            if let Some(written) = state.next_checkpoint.take() {
                state.checkpoint = written;
            }
        }
        for (no, offset) in self.round.done() {
            let queue = self.queues.get(no);
            // The topic may have been deleted meanwhile: then the queue began anew.
            if queue.persisted() <= offset && offset <= queue.next() {
                self.note_persisted(no, offset);
                self.queues.get_mut(no).set_persisted(offset);
            }
            if self.queues.get(no).has_unpersisted() {
                self.round.again(no);
            }
        }
    }

    // ---- closing ----

    /// Refuses appends from now on and asks for everything to become durable.
    pub fn close(&mut self) {
        self.closing = true;
        for state in &mut self.streams {
            state.stream.flush_now();
        }
    }

    /// Whether everything is durable, with its queue entries and a checkpoint that says so.
    pub fn is_closed(&self) -> bool {
        let settled = self.streams.iter().all(|s| {
            s.stream.is_settled()
                && !s.stream.is_zeroing()
                && s.checkpoint.clean_end.unwrap_or(0) == s.stream.flushed()
        });
        self.failure.is_some() || (settled && self.dirty.is_empty() && self.round.is_resting())
    }

    /// Up to where the log of each stream is durable.
    fn durable_ends(&mut self) -> Marks {
        self.streams.iter_mut().map(|s| (s.stream.id(), s.durable_end())).collect()
    }

    /// What must hold after every step.
    pub fn check_invariants(&self) {
        for state in &self.streams {
            state.stream.check_invariants();
        }
        for (_, queue) in self.queues.iter() {
            queue.check_invariants();
        }
    }
}

/// Work for the background thread.
#[derive(Debug)]
pub enum QueueStep {
    /// Delete index files before the starts of the streams, find where these queues begin now and delete what lies before;
    /// answered by `Store::on_trimmed`.
    Trim {
        /// Perhaps none.
        queues: Vec<QueueTrim>,
        /// Start of each stream.
        starts: Vec<PhyOffset>,
    },
    /// Write these entries to their queues' files.
    Write(Vec<QueueWrite>),
    /// Add these entries to the stream's index files.
    Index(StreamId, Vec<IndexEntry>),
    /// Add the records of this part of the log to the stream's index files; answered by `Store::on_index_read`, too.
    IndexLog {
        /// Its stream.
        stream: StreamId,
        /// A record begins there.
        from: u64,
        /// A record that begins before it is read whole.
        to: u64,
    },
    /// Make all queue files written so far durable, then write these checkpoints. Their `indexed` is what the index files
    /// have been given; the one that is written says what of it is durable.
    Checkpoint(Vec<(StreamId, Checkpoint)>),
}

/// Records that are appended together. Once pushed to, it must be finished.
pub struct Batch<'s> {
    store: &'s mut Store,
    queue: QueueNo,
    stream: StreamId,
    now: Now,
    first: i64,
    cursor: u64,
    end: u64,
}

impl Batch<'_> {
    /// Encodes the next message. The lengths of all add up to the total given to `begin`.
    pub fn push(&mut self, message: &NewMessage<'_>, tags_code: i64) -> PhyOffset {
        self.push_indexed(message, tags_code, &IndexKeys::of(message.properties))
    }

    /// As `push`, for callers that know the keys in the message's properties.
    pub fn push_indexed(
        &mut self,
        message: &NewMessage<'_>,
        tags_code: i64,
        keys: &IndexKeys<'_>,
    ) -> PhyOffset {
        let len = message.encoded_len();
        assert!(self.cursor + len as u64 <= self.end, "a batch is as long as announced");
        let phy = PhyOffset::new(self.stream, self.cursor);
        let queue = self.store.queues.get(self.queue);
        let (offset, topic_hash) = (queue.next(), queue.topic_hash);
        let place = Place {
            queue_offset: QueueOffset(offset),
            phy_offset: phy,
            store_timestamp: self.now.wall,
        };
        let state = self.store.state_mut(self.stream);
        message.encode(state.stream.record_mut(self.cursor, len), place);
        if is_indexed(message.sys_flag) {
            state.index.push(keys, topic_hash, phy, self.now.wall.0);
        }
        self.cursor += len as u64;
        let size = u32::try_from(len).expect("bounded by the segment");
        let entry = CqEntry { phy, size, tags_code };
        let queue = self.store.queues.get_mut(self.queue);
        queue.push_at(entry, self.now.wall.0);
        queue.appends.messages += 1;
        queue.appends.bytes += len as u64;
        phy
    }

    /// Gives the queue entry of the last record a bit map; see `ConsumeQueue::set_bit_map`.
    pub fn set_bit_map(&mut self, map_bytes: u16, bits: impl Iterator<Item = u32>) {
        self.store.queues.get_mut(self.queue).set_bit_map(map_bytes, bits);
    }

    /// Makes the records part of the log.
    pub fn finish(self) -> Appended {
        assert_eq!(self.cursor, self.end, "a batch is as long as announced");
        let queue = self.store.queues.get_mut(self.queue);
        queue.appends.calls += 1;
        let next = queue.next();
        let timestamp = self.now.wall.0;
        let count = (next - self.first).unsigned_abs();
        let state = self.store.state_mut(self.stream);
        state.messages += count;
        state.stream.commit(self.end);
        state.last_timestamp = timestamp;
        state.note_end(self.end);
        let shown = state.stream.visible() >= self.end;
        if !shown {
            state.hidden.push_back(Hidden { end: self.end, queue: self.queue, next });
        }
        self.store.mark_dirty(self.queue);
        if shown {
            self.store.queues.get_mut(self.queue).show(next);
            self.store.announce(self.queue);
        }
        Appended { first: QueueOffset(self.first), stream: self.stream, end: self.end }
    }
}

#[cfg(test)]
mod tests;
