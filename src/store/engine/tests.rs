//! The engine on a disk of bytes: what is acknowledged is found again after any crash, in order, at its offset.
//!
//! The driver below executes operations late and out of order; a crash keeps the completed writes and a random
//! part of those in flight (blocks may be torn at sectors). With SYNC_FLUSH everything acknowledged must be there.

use super::*;
use crate::index::IndexQuery;
use crate::layout::checkpoint::queue_digest;
use crate::layout::consume_queue::{CqEntry, ENTRY_BYTES};
use crate::op::Trimmed;
use crate::recovery::{ScanRange, scan};
use crate::sample::message;
use crate::segments::Segments;
use crate::stream::{FlushMode, StreamConfig, SyncBy};
use base::time::WallMs;
use buf::window::{Window, WindowIdentity};
use std::collections::HashMap;
use wire::ids::QueueId;

const SEGMENT: u64 = 256 << 10;
const RING: usize = 128 << 10;
const SECTOR: usize = 512;

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }
}

struct Write {
    tag: OpTag,
    position: u64,
    bytes: Vec<u8>,
    durable: bool,
}

impl Write {
    /// A cache never puts older bytes over newer ones.
    fn superseded_by(&mut self, newer: &Write) {
        let ends = |w: &Write| w.position + w.bytes.len() as u64;
        let (from, to) = (self.position.max(newer.position), ends(self).min(ends(newer)));
        if from < to {
            let range = |w: &Write| {
                let at = |position: u64| usize::try_from(position - w.position).unwrap();
                at(from)..at(to)
            };
            let (old, new) = (range(self), range(newer));
            self.bytes[old].copy_from_slice(&newer.bytes[new]);
        }
    }
}

/// A sync covers the writes that were complete when it began.
struct Sync {
    tag: OpTag,
    covers: usize,
}

/// A disk with a volatile cache, and writes in flight.
struct World {
    store: Store,
    disk: Vec<u8>,
    /// Complete, not durable, in order of completion.
    cached: Vec<Write>,
    in_flight: Vec<Write>,
    syncs: Vec<Sync>,
    files: HashMap<(Vec<u8>, i32), Vec<u8>>,
    checkpoint: Checkpoint,
    dispatched: u64,
    /// What the index files took, and how far the last checkpoint says they are complete.
    index: Vec<IndexEntry>,
    indexed: u64,
    now: Now,
    random: Random,
}

fn identity() -> WindowIdentity {
    WindowIdentity { store_id: 1, boot_id: 1, stream: 0 }
}

fn config(flush: FlushMode, sync_by: SyncBy) -> StreamConfig {
    StreamConfig {
        stream: StreamId(0),
        segment_bytes: SEGMENT,
        flush,
        sync_by,
        flush_interval_ns: 1_000_000,
        write_batch_bytes: 16 << 10,
        read_uncommitted: false,
    }
}

impl World {
    /// Odd seeds have a device that is written through.
    fn new(flush: FlushMode, seed: u64) -> World {
        let sync_by = if seed.is_multiple_of(2) { SyncBy::Flush } else { SyncBy::WriteThrough };
        let window = Window::anonymous(RING, identity(), 0).unwrap();
        let stream = Stream::new(config(flush, sync_by), window, Segments::new(SEGMENT, &[], 0), 0);
        let config = StoreConfig {
            queue_flush_interval_ns: 0,
            checkpoint_interval_ns: 0,
            retention: None,
            index: true,
        };
        let mut world = World {
            store: Store::new(config, vec![(stream, Checkpoint::default())], Queues::default()),
            disk: Vec::new(),
            cached: Vec::new(),
            in_flight: Vec::new(),
            syncs: Vec::new(),
            files: HashMap::new(),
            checkpoint: Checkpoint::default(),
            dispatched: 0,
            index: Vec::new(),
            indexed: 0,
            now: Now { wall: WallMs(1000), mono: MonoNs(1) },
            random: Random(seed | 1),
        };
        // The first segment, as a start makes it.
        world.plan();
        world
    }

    fn append(&mut self, topic: &[u8], body: &[u8]) -> Result<Appended, AppendError> {
        let queue = self.store.find_or_create(topic, QueueId(0), StreamId(0));
        let message = message(topic, body, b"KEYS\x01k\x02");
        let mut batch = self.store.begin(queue, message.encoded_len(), self.now)?;
        batch.push(&message, 0);
        Ok(batch.finish())
    }

    fn plan(&mut self) {
        self.plan_log();
        self.plan_queues();
        self.store.check_invariants();
    }

    fn plan_log(&mut self) {
        self.now = Now { wall: WallMs(self.now.wall.0 + 1), mono: self.now.mono.plus_ms(1) };
        let mut ops = Vec::new();
        self.store.plan(self.now, &mut ops);
        for op in ops {
            self.start(op);
        }
    }

    /// The next step but those for the index, which succeed.
    fn next_step(&mut self, now: MonoNs) -> Option<QueueStep> {
        loop {
            match self.store.plan_queues(now) {
                Some(QueueStep::Index(..)) => self.store.on_queues(None, now),
                step => return step,
            }
        }
    }

    fn plan_queues(&mut self) {
        if let Some(step) = self.store.plan_queues(self.now.mono) {
            match step {
                QueueStep::Write(writes) => {
                    for write in writes {
                        let at = usize::try_from(write.first).unwrap() * ENTRY_BYTES;
                        let key = (write.topic.to_vec(), write.queue.0);
                        let file = self.files.entry(key).or_default();
                        file.resize(file.len().max(at + write.bytes.len()), 0);
                        file[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
                    }
                }
                QueueStep::Trim { .. } | QueueStep::IndexLog { .. } => {
                    unreachable!("nothing is deleted")
                }
                QueueStep::Index(stream, entries) => {
                    let durable = self.store.stream(stream).flushed();
                    assert!(entries.iter().all(|e| e.phy.position() < durable));
                    if self.random.below(3) == 0 {
                        self.store.on_index_failed();
                    } else {
                        self.index.extend(entries);
                    }
                }
                QueueStep::Checkpoint(list) => {
                    self.checkpoint = list[0].1;
                    self.dispatched = self.checkpoint.dispatched.unwrap();
                    self.indexed = self.checkpoint.indexed.unwrap();
                }
            }
            self.store.on_queues(None, MonoNs(0));
        }
    }

    fn start(&mut self, op: StoreOp) {
        let window = |store: &Store, position, len| {
            store.stream(StreamId(0)).window().slice(position, len).to_vec()
        };
        match op {
            StoreOp::CreateSegment { stream, base } => {
                let end = usize::try_from(base + SEGMENT).unwrap();
                self.disk.resize(self.disk.len().max(end), 0);
                self.store.on_segment(stream, base, None);
            }
            StoreOp::WriteLog { position, len, durable, tag, .. } => {
                let bytes = window(&self.store, position, len);
                self.in_flight.push(Write { tag, position, bytes, durable });
            }
            StoreOp::WritePartial { position, len, durable, tag, .. } => {
                let mut bytes = window(&self.store, position, len);
                bytes.resize(4096, 0);
                self.in_flight.push(Write { tag, position, bytes, durable });
            }
            StoreOp::ZeroLog { position, len, tag, .. } => {
                self.in_flight.push(Write { tag, position, bytes: vec![0; len], durable: false });
            }
            StoreOp::SyncLog { tag, .. } => {
                self.syncs.push(Sync { tag, covers: self.cached.len() });
            }
        }
    }

    fn complete_one(&mut self) {
        let syncs = !self.syncs.is_empty() && self.random.below(3) == 0;
        if self.in_flight.is_empty() || syncs {
            self.complete_sync();
            return;
        }
        let at = self.random.below(self.in_flight.len());
        let write = self.in_flight.swap_remove(at);
        let tag = write.tag;
        if write.durable {
            put(&mut self.disk, write.position, &write.bytes);
            self.cached.iter_mut().for_each(|older| older.superseded_by(&write));
        } else {
            self.cached.push(write);
        }
        self.store.on_done(tag, None);
    }

    fn complete_sync(&mut self) {
        let Some(sync) = self.syncs.pop() else { return };
        for write in self.cached.drain(..sync.covers) {
            put(&mut self.disk, write.position, &write.bytes);
        }
        for other in &mut self.syncs {
            other.covers = other.covers.saturating_sub(sync.covers);
        }
        self.store.on_done(sync.tag, None);
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.plan();
            self.complete_one();
        }
    }

    /// What `Checkpoint::queues` says of the files' entries of records below the checkpoint.
    fn digest_below_checkpoint(&self) -> u64 {
        let part = |((topic, queue), file): (&(Vec<u8>, i32), &Vec<u8>)| {
            let entries = file.chunks(ENTRY_BYTES).map(|e| CqEntry::decode(e).unwrap());
            let below = entries.filter(|entry| entry.phy.position() < self.dispatched).count();
            if below == 0 { 0 } else { queue_digest(topic, *queue, i64::try_from(below).unwrap()) }
        };
        self.files.iter().map(part).fold(0, u64::wrapping_add)
    }

    /// The disk a power cut could leave: some sectors of what was cached or in flight.
    fn crash(&mut self) -> Vec<u8> {
        let mut disk = self.disk.clone();
        for write in self.cached.iter().chain(&self.in_flight) {
            for (i, sector) in write.bytes.chunks(SECTOR).enumerate() {
                if self.random.below(2) == 0 {
                    put(&mut disk, write.position + (i * SECTOR) as u64, sector);
                }
            }
        }
        disk
    }
}

fn put(disk: &mut [u8], position: u64, bytes: &[u8]) {
    let at = usize::try_from(position).unwrap();
    disk[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Topic, queue offset and body of a recovered record.
type Found = (Vec<u8>, i64, Vec<u8>);

/// Every record the disk proves, and the end.
fn recover(disk: &[u8]) -> (Vec<Found>, u64) {
    recover_from(disk, 0)
}

/// The same for a scan that begins at a checkpoint.
fn recover_from(disk: &[u8], from: u64) -> (Vec<Found>, u64) {
    let mut found = Vec::new();
    let range =
        ScanRange { stream: StreamId(0), segment_bytes: SEGMENT, from, limit: disk.len() as u64 };
    let end = scan(
        range,
        &mut |position, buffer| {
            let at = usize::try_from(position).unwrap();
            let len = buffer.len().min(disk.len() - at);
            buffer[..len].copy_from_slice(&disk[at..at + len]);
            Ok(len)
        },
        &mut |view, _, _| {
            assert_eq!(view.properties(), b"KEYS\x01k\x02", "a recovered record is whole");
            found.push((view.topic().to_vec(), view.queue_offset().0, view.body().to_vec()));
        },
    )
    .unwrap();
    (found, end.end)
}

#[test]
fn with_sync_flush_every_crash_keeps_what_was_acknowledged() {
    for seed in 1..150u64 {
        let mut world = World::new(FlushMode::Sync, seed * 7919);
        let mut sent = Vec::new();
        let steps = 20 + world.random.below(300);
        for i in 0..steps {
            let body = vec![u8::try_from(i % 251).unwrap() | 1; 1 + world.random.below(9000)];
            let topic: &[u8] = if world.random.below(2) == 0 { b"A" } else { b"B" };
            match world.append(topic, &body) {
                Ok(appended) => sent.push((topic.to_vec(), appended, body)),
                Err(AppendError::Behind) => {}
                Err(other) => panic!("{other:?}"),
            }
            if world.random.below(3) == 0 {
                world.plan();
            }
            for _ in 0..world.random.below(3) {
                world.complete_one();
            }
        }
        let acknowledged = world.store.stream(StreamId(0)).acknowledged();
        let (found, end) = recover(&world.crash());
        let owed = sent.iter().map(|(_, a, _)| a.end).filter(|end| *end <= acknowledged).max();
        assert!(Some(end) >= owed, "seed {seed}: the log ends at {end}, {owed:?} is owed");
        let wanted = sent.iter().filter(|(_, a, _)| a.end <= end);
        let wanted: Vec<_> = wanted.map(|(t, a, b)| (t.clone(), a.first.0, b.clone())).collect();
        assert_eq!(found, wanted, "seed {seed}");
    }
}

#[test]
fn the_index_gets_every_record_once_and_the_checkpoint_knows_how_far() {
    for seed in 1..100u64 {
        let flush = if seed % 2 == 0 { FlushMode::Sync } else { FlushMode::Async };
        let mut world = World::new(flush, seed * 7919);
        let mut sent = Vec::new();
        for _ in 0..20 + world.random.below(300) {
            let body = vec![1; 1 + world.random.below(20_000)];
            if let Ok(appended) = world.append(b"A", &body) {
                sent.push(appended.end);
            }
            world.plan();
            let complete = sent.iter().filter(|end| **end <= world.indexed).count();
            assert!(world.index.len() >= complete, "seed {seed}: below {}", world.indexed);
            for _ in 0..world.random.below(4) {
                world.complete_one();
            }
        }
        world.settle();
        assert_eq!(world.index.len(), sent.len(), "seed {seed}");
        assert!(world.index.is_sorted_by(|a, b| a.phy < b.phy));
        let query = IndexQuery { hash: world.index[0].hash, begin: 0, end: i64::MAX, count_max: 9 };
        assert!(world.store.search_index(&query).places.is_empty(), "all of them are in the files");
        world.append(b"A", b"x").unwrap();
        let found = world.store.search_index(&query).places.len();
        assert_eq!(found, usize::from(flush == FlushMode::Async), "when readers may see it");
    }
}

#[test]
fn a_scan_from_the_checkpoint_finds_the_end_that_a_scan_of_the_whole_log_finds() {
    for seed in 1..150u64 {
        let flush = if seed % 2 == 0 { FlushMode::Sync } else { FlushMode::Async };
        let mut world = World::new(flush, seed * 7919);
        let mut moved = 0;
        for _ in 0..20 + world.random.below(300) {
            // Larger than a block, so that the frontier of whole blocks often lies inside a message.
            let body = vec![1; 1 + world.random.below(20_000)];
            let _ = world.append(b"A", &body);
            let before = world.dispatched;
            world.plan();
            moved += u32::from(world.dispatched > before);
            for _ in 0..world.random.below(4) {
                world.complete_one();
            }
        }
        let disk = world.crash();
        let (records, end) = recover(&disk);
        let (newest, same) = recover_from(&disk, world.dispatched);
        assert_eq!(same, end, "seed {seed}: a scan from {}", world.dispatched);
        assert!(records.ends_with(&newest), "seed {seed}");
        assert!(moved > 0, "seed {seed}: checkpoints move while messages arrive");
    }
}

#[test]
fn a_checkpoint_says_of_times_and_queues_what_a_crash_leaves() {
    for seed in 1..150u64 {
        let flush = if seed % 2 == 0 { FlushMode::Sync } else { FlushMode::Async };
        let mut world = World::new(flush, seed * 7919);
        let mut times = Vec::new();
        for _ in 0..20 + world.random.below(300) {
            let topic = [b"A", b"B", b"C"][world.random.below(3)];
            let body = vec![1; 1 + world.random.below(20_000)];
            if let Ok(appended) = world.append(topic, &body) {
                times.push((appended.end, world.now.wall.0));
            }
            world.plan();
            let durable = times.iter().rev().find(|(end, _)| *end <= world.dispatched);
            let newest = durable.map_or(0, |(_, time)| *time);
            assert!(
                world.checkpoint.log_timestamp <= newest,
                "seed {seed}: not of what may be lost"
            );
            assert!(world.checkpoint.queue_timestamp <= newest, "seed {seed}");
            assert_eq!(world.checkpoint.queues.unwrap_or(0), world.digest_below_checkpoint());
            for _ in 0..world.random.below(4) {
                world.complete_one();
            }
        }
        world.settle();
        world.store.remove_topic(b"B");
        world.files.retain(|(topic, _), _| topic != b"B");
        world.settle();
        assert_eq!(world.checkpoint.log_timestamp, times.last().unwrap().1, "seed {seed}");
        assert_eq!(world.checkpoint.queues, Some(world.digest_below_checkpoint()), "seed {seed}");
    }
}

#[test]
fn consumers_see_flushed_messages_only_with_sync_flush() {
    let mut world = World::new(FlushMode::Sync, 1);
    world.append(b"A", b"x").unwrap();
    let no = world.store.queues().find(b"A", QueueId(0)).unwrap();
    assert_eq!((world.store.queue(no).visible(), world.store.has_news()), (0, false));
    world.settle();
    assert_eq!(world.store.queue(no).visible(), 1);
    let mut news = Vec::new();
    world.store.take_news(&mut news);
    assert_eq!(news, [no]);

    let mut world = World::new(FlushMode::Async, 1);
    world.append(b"A", b"x").unwrap();
    let no = world.store.queues().find(b"A", QueueId(0)).unwrap();
    assert_eq!((world.store.queue(no).visible(), world.store.has_news()), (1, true));
}

#[test]
fn upstream_8239_consumers_never_see_what_is_not_flushed() {
    for seed in 1..150u64 {
        let mut world = World::new(FlushMode::Sync, seed * 7919);
        let mut ends = Vec::new();
        let mut seen = 0;
        for _ in 0..20 + world.random.below(200) {
            let body = vec![1; 1 + world.random.below(9000)];
            ends.extend(world.append(b"A", &body).ok().map(|appended| appended.end));
            if world.random.below(3) == 0 {
                world.plan();
            }
            for _ in 0..world.random.below(3) {
                world.complete_one();
            }
            // What a consumer may read now, and then say that it has consumed.
            let no = world.store.find_or_create(b"A", QueueId(0), StreamId(0));
            let visible = usize::try_from(world.store.queue(no).visible()).unwrap();
            let flushed = world.store.stream(StreamId(0)).flushed();
            assert!(ends[..visible].iter().all(|end| *end <= flushed), "seed {seed}");
            seen = seen.max(visible);
        }
        let (found, _) = recover(&world.crash());
        assert!(
            found.len() >= seen,
            "seed {seed}: offset {seen} was shown, {} is next",
            found.len()
        );
        assert!(seen > 0, "seed {seed}");
    }
}

#[test]
fn an_orderly_close_leaves_everything_on_the_disk_and_in_the_queue_files() {
    for flush in [FlushMode::Sync, FlushMode::Async] {
        let mut world = World::new(flush, 3);
        for i in 0..500u32 {
            while world.append(b"A", &[7; 1000]) == Err(AppendError::Behind) {
                world.plan();
                world.complete_one();
            }
            if i.is_multiple_of(50) {
                world.plan();
            }
        }
        world.store.close();
        assert_eq!(world.append(b"A", b"late"), Err(AppendError::Stopped));
        world.settle();
        assert!(world.store.is_closed());
        assert_eq!(recover(&world.disk).0.len(), 500);
        let file = &world.files[&(b"A".to_vec(), 0)];
        assert_eq!(file.len(), 500 * ENTRY_BYTES);
        let last = CqEntry::decode(&file[499 * ENTRY_BYTES..]).unwrap();
        assert_eq!(last.end(), world.store.stream(StreamId(0)).flushed());
    }
}

#[test]
fn a_failed_write_stops_the_store() {
    let mut world = World::new(FlushMode::Sync, 5);
    let appended = world.append(b"A", b"x").unwrap();
    world.plan();
    world.plan();
    let is_write = |w: &Write| w.tag.kind() == Some(crate::op::OpKind::Write);
    let at = world.in_flight.iter().position(is_write).unwrap();
    let write = world.in_flight.swap_remove(at);
    world.store.on_done(write.tag, Some(5));
    assert_eq!(world.store.failure(), Some(Failure { stream: StreamId(0), error: 5 }));
    assert!(world.store.stream(StreamId(0)).acknowledged() < appended.end);
    assert_eq!(world.append(b"A", b"y"), Err(AppendError::Stopped));
}

#[test]
fn a_full_window_refuses_until_the_device_catches_up() {
    let mut world = World::new(FlushMode::Async, 5);
    let body = vec![1; 10_000];
    let mut count = 0;
    while world.append(b"A", &body).is_ok() {
        count += 1;
    }
    assert!(count >= 10, "the window holds at least {count} messages");
    assert_eq!(world.append(b"A", &body), Err(AppendError::Behind));
    world.settle();
    world.append(b"A", &body).unwrap();
    let bytes_max = world.store.stream(StreamId(0)).record_bytes_max();
    let huge = vec![1; usize::try_from(bytes_max).unwrap()];
    assert!(matches!(world.append(b"A", &huge), Err(AppendError::TooLarge { .. })));
}

#[test]
fn a_disk_without_room_for_queue_entries_refuses_sends_until_it_has() {
    let mut world = World::new(FlushMode::Async, 2);
    world.append(b"A", b"one").unwrap();
    for _ in 0..8 {
        world.plan_log();
        world.complete_one();
    }
    let step = world.next_step(MonoNs(1)).expect("an entry to write");
    assert!(matches!(step, QueueStep::Write(_)));
    world.store.on_queues(Some(28), MonoNs(1));
    assert_eq!(world.append(b"A", b"two"), Err(AppendError::DiskFull(None)));
    assert_eq!(world.store.failure(), None);
    assert!(world.next_step(MonoNs(2)).is_none(), "a pause first");
    let later = MonoNs(2_000_000_000);
    assert!(matches!(world.next_step(later), Some(QueueStep::Write(_))), "the same again");
    world.store.on_queues(None, later);
    assert!(world.append(b"A", b"two").is_ok());
    // A checkpoint without room comes again, too.
    assert!(matches!(world.next_step(later), Some(QueueStep::Checkpoint(_))));
    world.store.on_queues(Some(122), later);
    assert_eq!(world.append(b"A", b"three"), Err(AppendError::DiskFull(None)));
    let mut now = later;
    while world.append(b"A", b"three").is_err() {
        now = now.plus_ms(1000);
        assert!(now < later.plus_ms(5000), "it recovers");
        if world.store.plan_queues(now).is_some() {
            world.store.on_queues(None, now);
        }
    }
}

/// Messages of 1,000 keys each, which are durable then.
fn send_keys(world: &mut World, count: usize) {
    let properties = [b"KEYS\x01".as_slice(), "k ".repeat(1000).as_bytes(), b"\x02"].concat();
    let queue = world.store.find_or_create(b"A", QueueId(0), StreamId(0));
    let message = message(b"A", b"many keys", &properties);
    for _ in 0..count {
        let begun = world.store.begin(queue, message.encoded_len(), world.now);
        let mut batch = begun.unwrap();
        batch.push(&message, 0);
        batch.finish();
    }
    for _ in 0..100 {
        world.plan_log();
        world.complete_one();
    }
}

#[test]
fn the_index_does_not_end_a_pause_for_want_of_room() {
    let mut world = World::new(FlushMode::Async, 2);
    send_keys(&mut world, 5);
    let now = world.now.mono;
    assert!(matches!(world.next_step(now), Some(QueueStep::Write(_))));
    send_keys(&mut world, 5);
    world.store.on_queues(Some(28), now);
    assert!(world.store.plan_queues(now).is_none(), "a pause first");
    assert_eq!(world.append(b"A", b"two"), Err(AppendError::DiskFull(None)));
    let later = now.plus_ms(1000);
    assert!(matches!(world.next_step(later), Some(QueueStep::Write(_))), "the same again");
    world.store.on_queues(None, later);
    assert!(world.append(b"A", b"two").is_ok());
}

#[test]
fn the_index_does_not_wait_for_the_next_round_of_the_queues() {
    let mut world = World::new(FlushMode::Async, 2);
    world.store.config.queue_flush_interval_ns = 1 << 50;
    world.append(b"A", b"one").unwrap();
    world.settle();
    assert!(world.store.next_deadline(false) > Some(MonoNs(1 << 50)), "a long pause");
    send_keys(&mut world, 4);
    assert!(world.store.plan_queues(world.now.mono).is_none(), "few wait for the round");
    send_keys(&mut world, 1);
    let step = world.store.plan_queues(world.now.mono);
    assert!(matches!(step, Some(QueueStep::Index(_, entries)) if entries.len() >= 4096));
    world.store.on_queues(None, world.now.mono);
    assert!(world.store.plan_queues(world.now.mono).is_none(), "the round is still to come");
    let later = world.now.mono.plus_ms(1 << 31);
    let step = world.next_step(later);
    assert!(matches!(step, Some(QueueStep::Write(_))), "{step:?}");
}

#[test]
fn while_a_job_has_the_queue_files_only_what_does_not_need_them_has_a_deadline() {
    let mut world = World::new(FlushMode::Async, 2);
    world.append(b"A", b"one").unwrap();
    let flush = world.store.stream(StreamId(0)).next_deadline().expect("it is not durable");
    let entries = world.store.next_deadline(false).expect("its entry is in no file");
    assert!(entries < flush);
    assert_eq!(world.store.next_deadline(true), Some(flush), "a time in the past never ends");
}

#[test]
fn a_topic_deleted_before_its_messages_are_durable_costs_nothing() {
    let mut world = World::new(FlushMode::Sync, 2);
    world.append(b"A", b"one").unwrap();
    world.plan();
    world.store.remove_topic(b"A");
    world.append(b"B", b"two").unwrap();
    world.settle();
    let queue = world.store.find_or_create(b"B", QueueId(0), StreamId(0));
    assert_eq!(world.store.queue(queue).visible(), 1);
    let queue = world.store.find_or_create(b"A", QueueId(0), StreamId(0));
    assert_eq!(world.store.queue(queue).next(), 0);
}

#[test]
fn with_sync_flush_the_window_keeps_what_is_not_durable() {
    let mut world = World::new(FlushMode::Sync, 2);
    let body = [7; 1000];
    let mut appended = 0;
    for _ in 0..1000 {
        match world.append(b"A", &body) {
            Ok(done) => appended = done.end,
            Err(error) => assert_eq!(error, AppendError::Behind),
        }
        world.plan_log();
        if !world.in_flight.is_empty() {
            let write = world.in_flight.remove(0);
            let tag = write.tag;
            world.cached.push(write);
            world.store.on_done(tag, None);
        }
    }
    let stream = world.store.stream(StreamId(0));
    assert!(stream.written() > 0 && stream.flushed() == 0, "no sync has completed");
    assert!(appended <= RING as u64, "{appended} bytes are neither durable nor in memory");
}

#[test]
fn deleting_the_oldest_segment_moves_the_beginning_of_its_queues() {
    use crate::retention::{DiskLook, RetentionConfig, Why};
    let mut world = World::new(FlushMode::Async, 2);
    let config = RetentionConfig {
        reserved_ms: 0,
        hours: 0,
        used_max_percent: 75,
        forcibly_percent: 85,
        warning_percent: 90,
        forcibly_enabled: true,
        interval_ns: 1_000_000_000,
        pause_ns: 0,
        batch_max: 10,
    };
    world.store.retention = Some(Retention::new(config));
    let look = |oldest| DiskLook { log_percent: 95, queue_percent: 1, hour: 0, oldest };
    let step = world.store.plan_upkeep(MonoNs(0));
    assert_eq!(step, Some(UpkeepStep::Look { oldest: vec![] }), "nothing can be spared");
    world.store.on_look(Some(&look(None)), world.now);
    let refused = world.append(b"A", b"x").unwrap_err();
    assert!(matches!(refused, AppendError::DiskFull(Some(full)) if full.used_percent == 95));
    world.store.retention = Some(Retention::new(config));
    while world.store.stream(StreamId(0)).flushed() < SEGMENT + 4096 || world.dispatched < SEGMENT {
        let _ = world.append(b"A", &[7; 1000]);
        world.plan();
        world.complete_one();
    }
    let Some(UpkeepStep::Look { oldest }) = world.store.plan_upkeep(world.now.mono) else {
        panic!("a look is due")
    };
    assert_eq!(oldest, [(StreamId(0), 0)]);
    world.store.on_look(Some(&look(Some((StreamId(0), 0, WallMs(0))))), world.now);
    let step = world.store.plan_upkeep(world.now.mono);
    let (stream, base, why) = (StreamId(0), 0, Why::Forced);
    assert_eq!(step, Some(UpkeepStep::DeleteSegment { stream, base, why }));
    world.store.on_deleted(stream, base, true, world.now.mono);
    assert_eq!(world.store.stream(stream).start(), SEGMENT);
    let trims = loop {
        match world.store.plan_queues(world.now.mono.plus_ms(60_000)) {
            Some(QueueStep::Trim { queues, .. }) => break queues,
            Some(QueueStep::Write(_) | QueueStep::Index(..) | QueueStep::Checkpoint(_)) => {
                world.store.on_queues(None, world.now.mono);
            }
            Some(QueueStep::IndexLog { .. }) => unreachable!("nothing was left out"),
            None => panic!("the queue is trimmed"),
        }
    };
    assert_eq!((trims[0].held.0, trims[0].start), (0, PhyOffset(SEGMENT)));
    let (no, min) = (trims[0].no, 5);
    let phy = Some(PhyOffset(SEGMENT));
    world.store.on_trimmed(&[Trimmed { no, min, phy }]);
    assert_eq!(world.store.queue(no).min(), 5);
    world.store.check_invariants();
}
