//! Engines over a simulated disk: sends, turns, completions and background jobs, one small step after the other.
//!
//! Writes and syncs complete late and in any order; the background does one job at a time, in order, and the engine
//! hears of it in a later step. The death of the process is looked at between two steps, and within a job.

use super::disk::SimDisk;
use super::life::{Windows, windows};
use super::random::Random;
use crate::io_map::{DerivedFiles, run_step};
use crate::queue_files::queue_dir;
use crate::retention;
use crate::store_dir::deleted::{self, Deletion};
use crate::store_dir::{OpenStore, StorePaths, create_segment};
use base::time::{MonoNs, Now, WallMs};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use store::layout::segment;
use store::op::{OpTag, StoreOp};
use store::queues::{StoppedQueues, stream_of};
use store::retention::DiskLook;
use store::{AppendError, QueueStep, Store, UpkeepStep};
use wire::ids::{QueueId, StreamId};
use wire::message::{MessageView, NewMessage};

/// Topics of the load; one is long enough to lie in two sectors often.
pub(crate) const TOPICS: [&[u8]; 3] = [
    b"A",
    b"TopicTest",
    b"a-topic-whose-name-is-so-long-that-it-often-lies-in-two-sectors-of-a-disk",
];

/// What was sent. Topic, body and properties follow from `number`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Unlike that of any other message of the whole history.
    pub(crate) number: u64,
    /// Number of the queue.
    pub(crate) queue: QueueId,
    /// Offset in its queue.
    pub(crate) offset: i64,
    /// How often its topic had been deleted before.
    pub(crate) generation: u32,
    /// Its record in the stream, and behind it.
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Sent {
    pub(crate) fn topic(&self) -> &'static [u8] {
        // Half of the messages go to one topic, so that its queues grow long.
        let topic = Random::new(self.number).below(2 * TOPICS.len());
        TOPICS.get(topic).copied().unwrap_or(TOPICS[0])
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        let mut random = Random::new(self.number ^ 1 << 40);
        let len = match random.below(8) {
            0 | 5 | 6 => random.below(40),
            1 => 3000 + random.below(3500),
            2 => 490 + random.below(40),
            // Often the same, so that a record may end where one of a former life ended.
            3 | 4 => random.pick(&[100, 600]),
            _ => 1 + random.below(900),
        };
        if random.chance(10) {
            return vec![0; len];
        }
        let mut body = Vec::with_capacity(len + 8);
        while body.len() < len {
            body.extend_from_slice(&random.next().to_be_bytes());
        }
        body.truncate(len);
        body
    }

    pub(crate) fn properties(&self) -> Vec<u8> {
        let mut random = Random::new(self.number ^ 1 << 41);
        let mut properties = match random.below(6) {
            0 => return Vec::new(),
            1 => format!("a\x01{}\x02", "x".repeat(random.below(1600))),
            2 => format!("TAGS\x01{}\x02", random.below(5)),
            _ => "KEYS\x01k\x02WAIT\x01true\x02".to_string(),
        };
        properties.push_str(&format!("n\x01{}\x02", self.number));
        properties.into_bytes()
    }
}

/// How often each topic was deleted.
#[derive(Clone, Default, Debug)]
pub(crate) struct Generations {
    /// That was asked for.
    asked: HashMap<&'static [u8], u32>,
    /// That was noted durably, per stream.
    gone: HashMap<(&'static [u8], u16), u32>,
}

impl Generations {
    pub(crate) fn asked(&self, topic: &[u8]) -> u32 {
        self.asked.get(topic).copied().unwrap_or(0)
    }

    /// Messages of earlier generations never come back.
    pub(crate) fn gone(&self, topic: &[u8], stream: StreamId) -> u32 {
        self.gone.get(&(topic, stream.0)).copied().unwrap_or(0)
    }

    /// With what was gone at an earlier moment.
    pub(crate) fn gone_as(&self, earlier: &Generations) -> Generations {
        Generations { asked: self.asked.clone(), gone: earlier.gone.clone() }
    }
}

/// Everything sent to each stream, in log order, over all lives.
pub(crate) type History = Vec<Vec<Sent>>;

/// What counted when.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// Events of the disk before it.
    pub(crate) events: usize,
    /// Per stream: what was acknowledged.
    pub(crate) acknowledged: Vec<u64>,
    /// Per stream: what was said to be durable.
    pub(crate) flushed: Vec<u64>,
    /// Per stream: what was sent.
    pub(crate) appended: Vec<u64>,
    /// Per stream: what was deleted because of its age, or is about to be.
    pub(crate) deleted: Vec<u64>,
    /// Deletions of topics that were asked for.
    pub(crate) generations: Generations,
}

/// Where the process may die: windows as they were, and the events between which they were so.
pub(crate) struct Death {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) windows: Windows,
    pub(crate) moment: Moment,
}

enum Job {
    Segment(StreamId, u64),
    Queues(QueueStep),
    Upkeep(UpkeepStep),
    /// Note that a topic was deleted, for the so-manieth time, and remove these queues of it.
    Remove(&'static [u8], u32, Vec<QueueId>, Vec<Deletion>),
}

/// A write or sync on the ring.
struct Flying {
    tag: OpTag,
    path: PathBuf,
    id: u64,
    kind: Flight,
}

enum Flight {
    Write { durable: bool, window: Option<(u64, Vec<u8>)> },
    Sync,
}

struct Part {
    store: Store,
    files: DerivedFiles,
    jobs: VecDeque<Job>,
    flying: Vec<Flying>,
}

/// How an operation on the ring ends.
pub(crate) type RingFault = Box<dyn FnMut(&mut Random) -> Option<i32>>;

/// See the module.
pub(crate) struct Machine {
    disk: SimDisk,
    parts: Vec<Part>,
    paths: Arc<StorePaths>,
    streams: u16,
    now: Now,
    pub(crate) random: Random,
    pub(crate) history: History,
    pub(crate) moments: Vec<Moment>,
    pub(crate) deaths: Vec<Death>,
    next_number: u64,
    deleted: Vec<u64>,
    pub(crate) generations: Generations,
    /// In percent of the steps.
    pub(crate) deletions: usize,
    ops: Vec<StoreOp>,
    window_dir: PathBuf,
    /// Syncs take very long, while writes go on.
    slow_syncs: bool,
    /// Chooses which operations on the ring fail.
    pub(crate) ring_fault: Option<RingFault>,
    /// Whether faults are about, so that an engine may stop.
    pub(crate) may_fail: bool,
}

impl Machine {
    pub(crate) fn new(
        disk: SimDisk,
        open: &mut OpenStore,
        history: History,
        window_dir: PathBuf,
        (life, mut random): (u64, Random),
    ) -> Machine {
        let slow_syncs = random.chance(20);
        let paths = Arc::clone(&open.paths);
        let part = |shard: crate::boot::ShardStore| Part {
            store: shard.store,
            files: DerivedFiles::new(&paths, shard.index),
            jobs: VecDeque::new(),
            flying: Vec::new(),
        };
        let parts = open.take_shards().into_iter().map(part).collect();
        let mut machine = Machine {
            disk,
            parts,
            streams: open.identity.streams,
            paths,
            now: Now { wall: WallMs(1_700_000_000_000), mono: MonoNs(1) },
            random,
            history,
            moments: Vec::new(),
            deaths: Vec::new(),
            // No life uses a number of another one, also not of a message that was lost.
            next_number: (life + 1) << 32,
            deleted: Vec::new(),
            generations: Generations::default(),
            deletions: 0,
            ops: Vec::new(),
            window_dir,
            slow_syncs,
            ring_fault: None,
            may_fail: false,
        };
        machine.deleted = (0..machine.streams).map(|s| machine.stream(s).start()).collect();
        machine.moments.push(machine.moment());
        machine
    }

    fn stream(&self, id: u16) -> &store::stream::Stream {
        self.parts[usize::from(id) % self.parts.len()].store.stream(StreamId(id))
    }

    pub(crate) fn moment(&self) -> Moment {
        let each = |get: &dyn Fn(&store::stream::Stream) -> u64| {
            (0..self.streams).map(|s| get(self.stream(s))).collect()
        };
        Moment {
            events: self.disk.events(),
            acknowledged: each(&|s| s.acknowledged()),
            flushed: each(&|s| s.flushed()),
            appended: each(&|s| s.appended()),
            deleted: self.deleted.clone(),
            generations: self.generations.clone(),
        }
    }

    /// After a turn of a shard: what its streams acknowledge now counts.
    fn note(&mut self, part: usize) {
        let mut moment = self.moment();
        let before = self.moments.last().expect("noted at the start");
        for s in (0..usize::from(self.streams)).filter(|s| s % self.parts.len() != part) {
            moment.acknowledged[s] = before.acknowledged[s];
            moment.flushed[s] = before.flushed[s];
        }
        self.moments.push(moment);
    }

    /// One random step.
    pub(crate) fn step(&mut self) {
        let part = self.random.below(self.parts.len());
        if self.random.chance(self.deletions) {
            let topic = self.random.pick(&TOPICS);
            self.delete_topic(topic);
        }
        match self.random.below(10) {
            0..=2 => self.send(),
            3..=5 => self.turn(part),
            6..=7 => self.complete(part),
            _ => self.work(part),
        }
        assert!(
            self.may_fail || self.parts.iter().all(|p| p.store.failure().is_none()),
            "the engine fails by itself"
        );
    }

    /// Deletes a topic as the broker does: files in the background, behind what is under way, queues at once.
    pub(crate) fn delete_topic(&mut self, topic: &'static [u8]) {
        *self.generations.asked.entry(topic).or_default() += 1;
        let generation = self.generations.asked(topic);
        for part in &mut self.parts {
            let queues = part.store.queues().iter().filter(|(_, q)| *q.topic == *topic);
            let (ids, mut streams): (Vec<QueueId>, Vec<StreamId>) =
                queues.map(|(_, q)| (q.id, q.stream)).unzip();
            streams.dedup();
            let note = |stream| {
                let end = part.store.stream(stream).appended();
                Deletion { topic: topic.to_vec(), stream, end }
            };
            let notes = streams.into_iter().map(note).collect();
            if !ids.is_empty() {
                part.jobs.push_back(Job::Remove(topic, generation, ids, notes));
            }
            part.store.remove_topic(topic);
        }
    }

    fn send(&mut self) {
        let count = if self.random.chance(25) { 2 + self.random.below(6) } else { 1 };
        let queue = QueueId(i32::from(self.random.chance(25)));
        let mut batch: Vec<Sent> = Vec::new();
        while batch.len() < count {
            let number = self.next_number;
            let mut sent = Sent { number, queue, offset: 0, generation: 0, start: 0, end: 0 };
            sent.generation = self.generations.asked(sent.topic());
            self.next_number += 1;
            // A batch has one topic.
            if batch.first().is_none_or(|first| first.topic() == sent.topic()) {
                batch.push(sent);
            }
        }
        let topic = batch[0].topic();
        let stream = stream_of(topic, queue, self.streams);
        let part = usize::from(stream.0) % self.parts.len();
        let store = &mut self.parts[part].store;
        let number = store.find_or_create(topic, queue, stream);
        let content: Vec<_> = batch.iter().map(|sent| (sent.body(), sent.properties())).collect();
        let messages: Vec<NewMessage<'_>> =
            content.iter().map(|(body, p)| message(topic, queue, body, p)).collect();
        let total = messages.iter().map(NewMessage::encoded_len).sum();
        let mut writer = match store.begin(number, total, self.now) {
            Ok(writer) => writer,
            Err(
                AppendError::Behind
                | AppendError::DiskFull(_)
                | AppendError::TooLarge { .. }
                | AppendError::Stopped,
            ) => return,
        };
        for (sent, message) in batch.iter_mut().zip(&messages) {
            let tags = wire::java_hash::tags_code(message.properties);
            let phy = writer.push(message, tags);
            // Extended entries of several lengths.
            let map_bytes = u16::try_from(phy.position() / 32 % 3 * 7).expect("14 at most");
            writer.set_bit_map(map_bytes, [3, 9].into_iter());
            sent.start = phy.position();
            sent.end = phy.position() + message.encoded_len() as u64;
        }
        let appended = writer.finish();
        for (offset, sent) in (appended.first.0..).zip(&mut batch) {
            sent.offset = offset;
        }
        self.history[usize::from(stream.0)].extend(batch);
    }

    /// A turn of a shard: plans, submits, releases replies.
    pub(crate) fn turn(&mut self, part: usize) {
        let ms = self.random.pick(&[0, 1, 3, 50, 700, 12_000]);
        self.now = Now {
            wall: WallMs(self.now.wall.0 + i64::try_from(ms).expect("short")),
            mono: self.now.mono.plus_ms(ms),
        };
        let mut ops = std::mem::take(&mut self.ops);
        self.parts[part].store.plan(self.now, &mut ops);
        for op in ops.drain(..) {
            self.submit(part, op);
        }
        self.ops = ops;
        let Part { store, jobs, .. } = &mut self.parts[part];
        let asked = jobs.iter().any(|job| matches!(job, Job::Queues(_)));
        if !asked && let Some(step) = store.plan_queues(self.now.mono) {
            jobs.push_back(Job::Queues(step));
        }
        while let Some(step) = store.plan_upkeep(self.now.mono) {
            if let UpkeepStep::DeleteSegment { stream, base, .. } = &step {
                self.deleted[usize::from(stream.0)] = base + self.paths.segment_bytes;
            }
            jobs.push_back(Job::Upkeep(step));
        }
        store.check_invariants();
        self.read_back(part);
        // A shard whose store has failed sends no reply any more.
        if self.parts[part].store.failure().is_none() {
            self.note(part);
        }
    }

    /// A message that is still in the window reads as it was sent.
    fn read_back(&mut self, part: usize) {
        let stream = self.random.below(usize::from(self.streams));
        let sent = &self.history[stream];
        if stream % self.parts.len() != part || sent.is_empty() {
            return;
        }
        let at = self.random.below(sent.len().min(20)) + sent.len() - sent.len().min(20);
        if sent[at].generation != self.generations.asked(sent[at].topic()) {
            return;
        }
        let store = &self.parts[part].store;
        let number = store.queues().find(sent[at].topic(), sent[at].queue).expect("it was sent to");
        let queue = store.queue(number);
        assert!(queue.visible() <= queue.next() && sent[at].offset < queue.next());
        let Some(entry) = queue.entry(sent[at].offset) else { return };
        if let Some(bytes) = store.tail(entry.phy, entry.size as usize) {
            let (view, _) = MessageView::parse(bytes).expect("a record in the window is whole");
            assert_eq!((view.topic(), view.body()), (sent[at].topic(), &*sent[at].body()));
        }
    }

    fn submit(&mut self, part: usize, op: StoreOp) {
        let part = &mut self.parts[part];
        let (paths, disk) = (&self.paths, &self.disk);
        let path = |stream, base| paths.log_dir(stream).join(segment::name(base));
        let store = &part.store;
        let window = |position, len, tag: OpTag| -> Vec<u8> {
            store.stream(tag.stream()).window().slice(position, len).to_vec()
        };
        let mut write = |base, position: u64, bytes: Vec<u8>, durable, tag: OpTag, whole: bool| {
            let path = path(tag.stream(), base);
            // The device reads the window when it likes: it must not change until the write is done.
            let window = whole.then(|| (position, bytes.clone()));
            let id = disk.submit(&path, position - base, bytes);
            part.flying.push(Flying { tag, path, id, kind: Flight::Write { durable, window } });
        };
        match op {
            StoreOp::CreateSegment { stream, base } => {
                part.jobs.push_back(Job::Segment(stream, base));
            }
            StoreOp::WriteLog { base, position, len, durable, tag, .. } => {
                write(base, position, window(position, len, tag), durable, tag, true);
            }
            StoreOp::WritePartial { base, position, len, durable, tag, .. } => {
                let mut bytes = window(position, len, tag);
                bytes.resize(4096, 0);
                write(base, position, bytes, durable, tag, false);
            }
            StoreOp::ZeroLog { base, position, len, tag } => {
                write(base, position, vec![0; len], false, tag, false);
            }
            StoreOp::SyncLog { base, tag } => {
                let path = path(tag.stream(), base);
                let id = disk.begin_sync(&path);
                part.flying.push(Flying { tag, path, id, kind: Flight::Sync });
            }
        }
    }

    /// Something on the ring completes.
    pub(crate) fn complete(&mut self, part: usize) {
        let error = self.ring_fault.as_mut().and_then(|fault| fault(&mut self.random));
        let part = &mut self.parts[part];
        if part.flying.is_empty() {
            return;
        }
        let chosen = self.random.below(part.flying.len());
        let is_sync = matches!(part.flying[chosen].kind, Flight::Sync);
        if is_sync && self.slow_syncs && !self.random.chance(5) {
            return;
        }
        let done = part.flying.swap_remove(chosen);
        if error.is_none() {
            match done.kind {
                Flight::Write { durable, window } => {
                    if let Some((position, bytes)) = window {
                        let stream = part.store.stream(done.tag.stream());
                        let now = stream.window().slice(position, bytes.len());
                        assert!(now == bytes, "the window changed under a write at {position}");
                    }
                    self.disk.complete(&done.path, done.id, durable);
                }
                Flight::Sync => self.disk.end_sync(&done.path, done.id),
            }
        }
        part.store.on_done(done.tag, error);
    }

    /// The background does its next job.
    pub(crate) fn work(&mut self, part: usize) {
        let death = self.random.chance(20).then(|| self.die_here());
        let part = &mut self.parts[part];
        let Some(job) = part.jobs.pop_front() else { return };
        match job {
            Job::Segment(stream, base) => {
                let dir = self.paths.log_dir(stream);
                let made = create_segment(&*self.paths.disk, &dir, base, self.paths.segment_bytes);
                part.store.on_segment(stream, base, made.err().map(errno));
            }
            Job::Upkeep(UpkeepStep::Look { oldest }) => {
                let look = DiskLook {
                    log_percent: self.random.pick(&[10, 80, 88]),
                    queue_percent: 10,
                    hour: 0,
                    oldest: (!oldest.is_empty()).then(|| {
                        let (stream, base) = self.random.pick(&oldest);
                        (stream, base, WallMs(0))
                    }),
                };
                part.store.on_look(Some(&look), self.now);
            }
            Job::Upkeep(UpkeepStep::DeleteSegment { stream, base, .. }) => {
                let done = retention::delete_segment(&self.paths, stream, base);
                // Its blocks are given back at once.
                let _ = done.as_ref().map(|file| file.as_ref().map(|file| file.set_bytes(0)));
                part.store.on_deleted(stream, base, done.is_ok(), self.now.mono);
            }
            Job::Remove(topic, generation, ids, notes) => {
                let noted = deleted::note(&*self.paths.disk, &self.paths.root, &notes, &[]);
                if noted.is_ok() {
                    let gone = notes.iter().map(|note| ((topic, note.stream.0), generation));
                    self.generations.gone.extend(gone);
                }
                for id in ids {
                    let dir = queue_dir(&self.paths.consume_queue, topic, id).expect("a name");
                    // There may be none yet.
                    let _ = self.paths.disk.remove_dir_all(&dir);
                }
            }
            Job::Queues(QueueStep::Trim { queues, starts }) => {
                let trimmed = retention::trim(&mut part.files, &queues, &starts);
                part.store.on_trimmed(&trimmed);
            }
            Job::Queues(step) => {
                let done = run_step(&mut part.files, &self.paths, step);
                part.store.on_queues(done.err().map(errno), self.now.mono);
            }
        }
        if let Some(death) = death {
            self.deaths.push(Death { to: self.disk.events(), ..death });
        }
    }

    /// The windows as the death of the process would leave them now.
    pub(crate) fn die_here(&self) -> Death {
        let windows = windows(&self.window_dir);
        let events = self.disk.events();
        let mut moment = self.moments.last().expect("noted at the start").clone();
        moment.appended = self.moment().appended;
        moment.generations.clone_from(&self.generations);
        Death { from: events, to: events, windows, moment }
    }

    /// Steps until everything sent is durable, or a part has failed; panics when that does not come.
    pub(crate) fn settle(&mut self, mut done: impl FnMut(&Store) -> bool) {
        for _ in 0..20_000 {
            let ready = |p: &Part, done: &mut dyn FnMut(&Store) -> bool| {
                p.flying.is_empty() && p.jobs.is_empty() && done(&p.store)
            };
            if self.parts.iter().all(|p| ready(p, &mut done) || p.store.failure().is_some()) {
                return;
            }
            for part in 0..self.parts.len() {
                self.turn(part);
                self.complete(part);
                self.work(part);
            }
        }
        panic!("the store hangs");
    }

    /// An orderly stop up to the marker.
    pub(crate) fn close(&mut self) {
        for part in &mut self.parts {
            part.store.close();
        }
        self.settle(Store::is_closed);
        let death = self.die_here();
        self.deaths.push(death);
        for stream in self.parts.iter().flat_map(|part| part.store.streams()) {
            stream.window().unlink().expect("a window has a name");
        }
        let death = self.die_here();
        self.deaths.push(death);
    }

    /// The queues of all parts after `close`.
    pub(crate) fn stopped_queues(&self) -> Option<Vec<StoppedQueues>> {
        self.parts.iter().map(|part| part.store.stopped_queues()).collect()
    }
}

fn errno(error: std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// A message from and to this machine.
pub(crate) fn message<'m>(
    topic: &'m [u8],
    queue: QueueId,
    body: &'m [u8],
    properties: &'m [u8],
) -> NewMessage<'m> {
    let host = "127.0.0.1:10911".parse().expect("an address");
    NewMessage {
        queue_id: queue,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        topic,
        properties,
    }
}
