//! Lives of a store: it is opened, used, cut off, and what is left is recovered and compared with what was owed.
//!
//! From one life many images are built: of power cuts at any event, also during recovery, and of deaths of the
//! process between any two steps and within background jobs. One of them is the start of the next life.

use super::check::check;
use super::disk::{Fault, Operation, SimDisk, State, is_log};
use super::machine::{Death, Generations, History, Machine, Moment, TOPICS};
use super::random::Random;
use crate::store_dir::deleted;
use crate::store_dir::{OpenStore, SEVERAL_STREAMS, StoreDirConfig, open_on};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use store::delay::DelayLevels;
use store::layout::index::IndexLimits;
use store::layout::segment;
use store::retention::RetentionConfig;
use store::stream::{FlushMode, SyncBy};
use wire::ids::StreamId;

/// What is broken on purpose, to see it found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sabotage {
    /// What is written counts as acknowledged.
    AckBeforeFlush,
    /// The directory of a new segment is not synced.
    NoSyncOfLogDir,
    /// Checkpoints do not wait for the queue files.
    NoSyncOfQueues,
    /// What is noted of a deleted topic is not synced.
    NoSyncOfDeletions,
    /// What lies behind the end of the log is left there.
    NoZeroing,
}

/// How a store is set up, from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) streams: u16,
    pub(crate) shards: usize,
    pub(crate) segment_bytes: u64,
    pub(crate) queue_file_bytes: u64,
    pub(crate) window_bytes: usize,
    pub(crate) flush: FlushMode,
    pub(crate) sync_by: SyncBy,
    /// Old segments are deleted.
    pub(crate) deletes: bool,
    /// Topics are deleted, in so many percent of the steps.
    pub(crate) deletions: usize,
    /// Size of the files of extended queue entries, where they are written.
    pub(crate) queue_ext_bytes: Option<u64>,
    pub(crate) sabotage: Option<Sabotage>,
}

/// Segments may go when a look says that the disk is 80 percent full.
const RETENTION: RetentionConfig = RetentionConfig {
    reserved_ms: 1,
    hours: 0,
    used_max_percent: 75,
    forcibly_percent: 85,
    warning_percent: 95,
    forcibly_enabled: true,
    interval_ns: 1_000_000_000,
    pause_ns: 1_000_000,
    batch_max: 2,
};

impl Setup {
    pub(crate) fn random(seed: u64) -> Setup {
        let mut random = Random::new(seed ^ 0x5e70);
        let streams = random.pick(&[1, 1, 2, 3]);
        Setup {
            seed,
            streams,
            shards: random.pick(&[1, usize::from(streams.min(2))]),
            segment_bytes: random.pick(&[16 << 10, 16 << 10, 32 << 10, 64 << 10]),
            // The larger ones have entries that lie in two sectors.
            queue_file_bytes: random.pick(&[400, 4000]),
            window_bytes: random.pick(&[32 << 10, 64 << 10]),
            flush: random.pick(&[FlushMode::Sync, FlushMode::Sync, FlushMode::Async]),
            sync_by: random.pick(&[SyncBy::Flush, SyncBy::WriteThrough]),
            deletes: random.chance(50),
            deletions: random.pick(&[0, 0, 0, 1, 3]),
            queue_ext_bytes: random.pick(&[None, None, Some(130), Some(4000)]),
            sabotage: None,
        }
    }

    fn config(&self, window_dir: &Path) -> StoreDirConfig {
        StoreDirConfig {
            root: PathBuf::from("/data/store"),
            commit_log: PathBuf::from("/data/store/commitlog"),
            segment_bytes: self.segment_bytes,
            queue_file_bytes: self.queue_file_bytes,
            queue_ext_bytes: self.queue_ext_bytes,
            streams: self.streams,
            shards: self.shards,
            window_bytes: self.window_bytes,
            window_dir: window_dir.to_path_buf(),
            flush: self.flush,
            sync_by: Some(self.sync_by),
            flush_interval_ns: 2_000_000,
            read_uncommitted: false,
            delay_levels: DelayLevels::default(),
            // Its files are mapped, which no simulated disk is; they have crash tests of their own.
            index: false,
            index_limits: IndexLimits { slots: 50, items: 300 },
            retention: self.deletes.then_some(RETENTION),
        }
    }

    pub(super) fn log_path(&self, open: &OpenStore, stream: u16, position: u64) -> PathBuf {
        let base = position - position % self.segment_bytes;
        open.paths.log_dir(StreamId(stream)).join(segment::name(base))
    }
}

/// Windows as a dead process left them: names and bytes.
pub(crate) type Windows = Vec<(String, Vec<u8>)>;

/// Directories for windows, in shared memory.
pub(crate) struct Scratch {
    dir: tempfile::TempDir,
    count: u64,
}

impl Scratch {
    pub(crate) fn new() -> Scratch {
        let shm = Path::new("/dev/shm");
        let place = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
        Scratch { dir: tempfile::tempdir_in(place).expect("a directory"), count: 0 }
    }

    pub(crate) fn fresh(&mut self, windows: &Windows) -> PathBuf {
        self.count += 1;
        let dir = self.dir.path().join(self.count.to_string());
        std::fs::create_dir(&dir).expect("a directory");
        for (name, bytes) in windows {
            std::fs::write(dir.join(name), bytes).expect("a window");
        }
        dir
    }
}

/// What a start must find.
#[derive(Clone, Debug)]
pub(crate) struct Owed {
    /// Per stream: the log reaches at least so far.
    pub(crate) least: Vec<u64>,
    /// Per stream: nothing was appended behind.
    pub(crate) most: Vec<u64>,
    /// Per stream: nothing from here on was deleted.
    pub(crate) deleted: Vec<u64>,
    /// No more deletions of topics were asked for.
    pub(crate) generations: Generations,
}

/// A start to verify.
pub(crate) struct Start {
    pub(crate) state: State,
    pub(crate) windows: Windows,
    pub(crate) owed: Owed,
    /// Durable whatever happens next.
    flushed: Vec<u64>,
    is_power_cut: bool,
    what: String,
}

/// Failures of the background's and the start's operations: from the `after`th on, `times` of them.
fn failing(
    random: &mut Random,
) -> impl FnMut(Operation, &Path, usize) -> Option<Fault> + Send + 'static {
    let error = random.pick(&[libc::EIO, libc::ENOSPC]);
    let (mut after, mut times) = (random.below(300), random.below(4));
    let mut random = Random::new(random.next());
    let short = random.chance(50);
    move |operation, _, _| {
        let has_room = matches!(operation, Operation::Read | Operation::SyncDir);
        if after > 0 {
            after -= 1;
        } else if times > 0 && !(error == libc::ENOSPC && has_room) {
            times -= 1;
            return Some(Fault::Fails(error));
        }
        (short && random.chance(30)).then_some(Fault::Short)
    }
}

/// A life and what is looked at in it.
pub(crate) struct Lives {
    pub(crate) setup: Setup,
    scratch: Scratch,
    random: Random,
    history: History,
    /// Images recovered so far.
    pub(crate) images: u64,
}

/// Images of power cuts per life, and at each chosen event.
const CUTS: usize = 14;
const IMAGES_PER_CUT: usize = 2;

impl Lives {
    pub(crate) fn new(setup: Setup) -> Lives {
        let history = vec![Vec::new(); usize::from(setup.streams)];
        let random = Random::new(setup.seed);
        Lives { setup, scratch: Scratch::new(), random, history, images: 0 }
    }

    /// Three lives.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let none = vec![0; usize::from(self.setup.streams)];
        let mut start = Start {
            state: SimDisk::empty().state(),
            windows: Vec::new(),
            owed: Owed {
                least: none.clone(),
                most: none.clone(),
                deleted: none.clone(),
                generations: Generations::default(),
            },
            flushed: none,
            is_power_cut: true,
            what: "the beginning".to_string(),
        };
        for life in 0..3 {
            if self.setup.sabotage.is_none() && self.random.chance(20) {
                // The operator has changed the settings.
                self.setup.flush = self.random.pick(&[FlushMode::Sync, FlushMode::Async]);
                self.setup.window_bytes = self.random.pick(&[32 << 10, 64 << 10]);
                self.setup.shards = self.random.pick(&[1, usize::from(self.setup.streams.min(2))]);
            }
            let before = start.what.clone();
            start = self.live(life, start).map_err(|e| {
                format!("seed {}: life {life}, after {before}: {e}", self.setup.seed)
            })?;
        }
        Ok(())
    }

    /// Lives in which operations fail; each ends with the death of the process or a power cut.
    pub(crate) fn run_with_faults(&mut self) -> Result<(), String> {
        let none = vec![0; usize::from(self.setup.streams)];
        let mut owed = Owed {
            least: none.clone(),
            most: none.clone(),
            deleted: none,
            generations: Generations::default(),
        };
        let (mut state, mut windows) = (SimDisk::empty().state(), Vec::new());
        let mut before = String::new();
        for life in 0..4 {
            let dir = self.scratch.fresh(&windows);
            let disk = SimDisk::new(state);
            let ended = self.live_with_faults(life, &disk, &dir, &owed);
            let (moment, end) = ended.map_err(|e| {
                let (seed, now) = (self.setup.seed, disk.failed());
                format!("seed {seed}: faulty life {life}: {e}; before: {before}; now: {now}")
            })?;
            before = disk.failed();
            std::fs::remove_dir_all(&dir).expect("our own directory");
            self.images += 1;
            owed = owed_to(&moment, &moment);
            if self.random.chance(50) {
                state = disk.state().process_death(&mut self.random);
                windows = end;
                before.push_str("; the process died");
            } else {
                owed.least = moment.flushed;
                state = disk.state().power_cut(&mut self.random);
                windows = Vec::new();
            }
        }
        Ok(())
    }

    fn live_with_faults(
        &mut self,
        life: u64,
        disk: &SimDisk,
        dir: &Path,
        owed: &Owed,
    ) -> Result<(Moment, Windows), String> {
        let config = self.setup.config(dir);
        disk.set_faults(Some(Box::new(failing(&mut self.random))));
        let mut open = match open_on(Arc::new(disk.clone()), &config) {
            Ok(open) => open,
            Err(_) => {
                disk.set_faults(None);
                open_on(Arc::new(disk.clone()), &config).map_err(|e| e.to_string())?
            }
        };
        disk.set_faults(None);
        let ends = check(&self.setup, &open, &disk.state(), &self.history, owed)?;
        for (list, end) in self.history.iter_mut().zip(&ends) {
            list.truncate(list.partition_point(|sent| sent.end <= *end));
        }
        disk.set_faults(Some(Box::new(failing(&mut self.random))));
        let history = std::mem::take(&mut self.history);
        let random = Random::new(self.random.next());
        let mut machine =
            Machine::new(disk.clone(), &mut open, history, dir.to_path_buf(), (life, random));
        self.resume(&mut machine, &owed.generations);
        if self.random.chance(30) {
            let mut after = self.random.below(200);
            let error = self.random.pick(&[libc::EIO, libc::ENOSPC]);
            machine.ring_fault = Some(Box::new(move |_| {
                after = after.saturating_sub(1);
                (after == 0).then_some(error)
            }));
        }
        machine.may_fail = true;
        for _ in 0..30 + self.random.below(350) {
            machine.step();
        }
        machine.settle(|store| store.streams().all(|s| s.is_settled() || s.appended() == 0));
        disk.set_faults(None);
        let last = machine.moments.last().expect("noted").clone();
        let Moment { acknowledged, flushed, .. } = last;
        let moment = Moment { acknowledged, flushed, ..machine.moment() };
        let windows = machine.die_here().windows;
        self.history.clone_from(&machine.history);
        Ok((moment, windows))
    }

    /// Breaks what is to be broken.
    fn sabotage(&self, disk: &SimDisk) {
        let lies = |lies: fn(Operation, &Path) -> bool| {
            disk.set_faults(Some(Box::new(move |operation, path, _| {
                lies(operation, path).then_some(Fault::Lies)
            })));
        };
        match self.setup.sabotage {
            None | Some(Sabotage::AckBeforeFlush) => {}
            Some(Sabotage::NoSyncOfLogDir) => {
                lies(|operation, path| operation == Operation::SyncDir && is_log(path));
            }
            Some(Sabotage::NoSyncOfQueues) => lies(|operation, path| {
                operation == Operation::Sync && path.starts_with("/data/store/consumequeue")
            }),
            Some(Sabotage::NoSyncOfDeletions) => lies(|operation, path| {
                operation == Operation::Sync && path.ends_with(deleted::FILE_NAME)
            }),
            Some(Sabotage::NoZeroing) => {
                lies(|operation, path| operation == Operation::Write && is_log(path));
            }
        }
    }

    /// Opens the store. The process may die while it starts, too: returns the windows of some moment.
    fn open(
        &mut self,
        disk: &SimDisk,
        dir: &Path,
    ) -> Result<(OpenStore, Option<(usize, Windows)>), String> {
        let dying = Arc::new(Mutex::new(None));
        if self.setup.sabotage.is_none() {
            let (mut after, dir) = (self.random.below(80), dir.to_path_buf());
            let seen = Arc::clone(&dying);
            disk.set_faults(Some(Box::new(move |_, _, events| {
                after = after.wrapping_sub(1);
                if after == 0 {
                    *seen.lock().expect("no thread panics with it") = Some((events, windows(&dir)));
                }
                None
            })));
        } else {
            self.sabotage(disk);
        }
        let open = open_on(Arc::new(disk.clone()), &self.setup.config(dir));
        let open = open.map_err(|e| e.to_string())?;
        if self.setup.sabotage.is_none() {
            disk.set_faults(None);
        }
        let dying = dying.lock().expect("no thread panics with it").take();
        Ok((open, dying))
    }

    /// Goes on with what former lives deleted; topics that may be back are deleted again.
    fn resume(&self, machine: &mut Machine, generations: &Generations) {
        machine.deletions = self.setup.deletions;
        machine.generations.clone_from(generations);
        machine.moments = vec![machine.moment()];
        for topic in TOPICS {
            let mut newest = HashMap::new();
            for sent in machine.history.iter().flatten().filter(|sent| sent.topic() == topic) {
                newest.insert(sent.queue.0, sent.generation);
            }
            let now = generations.asked(topic);
            if newest.values().any(|newest| *newest < now) {
                machine.delete_topic(topic);
            }
        }
    }

    /// One life; returns the start of the next.
    fn live(&mut self, life: u64, mut start: Start) -> Result<Start, String> {
        let dir = self.scratch.fresh(&start.windows);
        let disk = SimDisk::new(start.state.clone());
        let (mut open, dying) = self.open(&disk, &dir)?;
        let ends = check(&self.setup, &open, &disk.state(), &self.history, &start.owed)?;
        for (list, end) in self.history.iter_mut().zip(&ends) {
            list.truncate(list.partition_point(|sent| sent.end <= *end));
        }
        for (flushed, end) in start.flushed.iter_mut().zip(&ends) {
            // It may have been inside a message that did not survive.
            *flushed = (*flushed).min(*end);
        }
        let recovered = disk.events();
        let bounded = |at: &[u64]| at.iter().zip(&ends).map(|(at, end)| *at.min(end)).collect();
        let moment = Moment {
            events: 0,
            acknowledged: bounded(&start.owed.least),
            flushed: start.flushed.clone(),
            appended: ends.clone(),
            deleted: start.owed.deleted.clone(),
            generations: start.owed.generations.clone(),
        };
        let dying = dying.map(|(at, windows)| Death { from: at, to: at, windows, moment });
        let history = self.history.clone();
        let random = Random::new(self.random.next());
        let mut machine =
            Machine::new(disk.clone(), &mut open, history, dir.clone(), (life, random));
        self.resume(&mut machine, &start.owed.generations);
        for _ in 0..30 + self.random.below(350) {
            machine.step();
            if self.random.chance(2) {
                let death = machine.die_here();
                machine.deaths.push(death);
            }
        }
        machine.deaths.extend(dying);
        if self.random.chance(25) {
            machine.close();
            let queues = machine.stopped_queues();
            open.mark_clean(queues.as_deref()).map_err(|e| e.to_string())?;
        }
        // What the last steps did is not acknowledged.
        let last = machine.moments.last().expect("noted at the start").clone();
        machine.moments.push(Moment {
            acknowledged: last.acknowledged,
            flushed: last.flushed,
            ..machine.moment()
        });
        let starts = self.images(&disk, &machine, &start, recovered);
        self.history.clone_from(&machine.history);
        let chosen = self.random.below(starts.len());
        drop((machine, open));
        std::fs::remove_dir_all(&dir).expect("our own directory");
        let mut next = None;
        for (at, start) in starts.into_iter().enumerate() {
            self.verify(&start).map_err(|e| format!("{}: {e}", start.what))?;
            if at == chosen {
                next = Some(start);
            }
        }
        Ok(next.expect("one was chosen"))
    }

    /// Images of this life.
    fn images(
        &mut self,
        disk: &SimDisk,
        machine: &Machine,
        start: &Start,
        recovered: usize,
    ) -> Vec<Start> {
        let mut points: Vec<(usize, Option<&Death>)> = Vec::new();
        for _ in 0..CUTS {
            // Some during recovery, which is short.
            let until = if self.random.chance(10) { recovered } else { disk.events() };
            points.push((self.random.below(until + 1), None));
        }
        for death in &machine.deaths {
            let within = self.random.below(death.to - death.from + 1);
            points.push((death.from + within, Some(death)));
        }
        points.sort_by_key(|(events, _)| *events);
        let events: Vec<usize> = points.iter().map(|(events, _)| *events).collect();
        let mut starts = Vec::new();
        disk.at(&events, |which, state| {
            let (events, death) = points[which];
            let moments = &machine.moments;
            if let Some(death) = death {
                starts.push(Start {
                    state: state.process_death(&mut self.random),
                    windows: death.windows.clone(),
                    owed: owed_to(&death.moment, &death.moment),
                    flushed: death.moment.flushed.clone(),
                    is_power_cut: false,
                    what: format!("the death of the process at event {events}"),
                });
                return;
            }
            for _ in 0..IMAGES_PER_CUT {
                let owed = self.owed_by_cut(moments, events, start, recovered);
                starts.push(Start {
                    state: state.power_cut(&mut self.random),
                    windows: Vec::new(),
                    flushed: owed.least.clone(),
                    owed,
                    is_power_cut: true,
                    what: format!("a power cut at event {events}"),
                });
            }
        });
        starts
    }

    fn owed_by_cut(
        &self,
        moments: &[Moment],
        events: usize,
        start: &Start,
        recovered: usize,
    ) -> Owed {
        let after = moments.partition_point(|m| m.events < events);
        let most = moments.get(after).or(moments.last()).expect("noted at the start");
        if events < recovered {
            return Owed {
                least: start.flushed.clone(),
                most: most.appended.clone(),
                deleted: start.owed.deleted.clone(),
                generations: start.owed.generations.clone(),
            };
        }
        let before = moments.partition_point(|m| m.events <= events).saturating_sub(1);
        let before = &moments[before];
        let acknowledged = match self.setup.flush {
            FlushMode::Sync if self.setup.sabotage == Some(Sabotage::AckBeforeFlush) => {
                &before.appended
            }
            FlushMode::Sync => &before.acknowledged,
            FlushMode::Async => &before.flushed,
        };
        let each = acknowledged.iter().zip(&before.flushed);
        let least = each.map(|(acknowledged, flushed)| *acknowledged.max(flushed)).collect();
        Owed {
            least,
            most: most.appended.clone(),
            deleted: most.deleted.clone(),
            generations: most.generations.gone_as(&before.generations),
        }
    }

    /// Recovers what is left and compares; sometimes that is cut off too and done again.
    pub(crate) fn verify(&mut self, start: &Start) -> Result<(), String> {
        let (disk, ends) = self.recover(&start.state, &start.windows, &start.owed)?;
        if !self.random.chance(25) {
            return Ok(());
        }
        let events = self.random.below(disk.events() + 1);
        let events = if self.random.chance(40) { disk.events() } else { events };
        let mut image = None;
        disk.at(&[events], |_, state| image = Some(state.power_cut(&mut self.random)));
        let image = image.expect("visited once");
        // Once a start has finished, or when all it found was durable, the next one finds the same.
        let same = start.is_power_cut || events == disk.events();
        let least = if same { ends.clone() } else { start.flushed.clone() };
        let (most, deleted) = (start.owed.most.clone(), start.owed.deleted.clone());
        let generations = start.owed.generations.clone();
        let owed = Owed { least, most, deleted, generations };
        let again = |e: String| format!("recovery cut at event {events}: {e}");
        let (_, second) = self.recover(&image, &Vec::new(), &owed).map_err(again)?;
        if same && second != ends {
            return Err(again(format!("the logs end at {second:?}, before at {ends:?}")));
        }
        Ok(())
    }

    /// Whatever is left, Java must not take a store with several streams for its own.
    fn check_marker(&self, state: &State) -> Result<(), String> {
        let log = Path::new("/data/store/commitlog");
        let first = state.content(&log.join(segment::name(0)));
        let has_records = first.is_some_and(|bytes| bytes.iter().any(|b| *b != 0));
        let marked = state.content(&log.join(SEVERAL_STREAMS)).is_some();
        if self.setup.streams > 1 && has_records && !marked && self.setup.sabotage.is_none() {
            return Err("nothing says that the store has several streams".to_string());
        }
        Ok(())
    }

    fn recover(
        &mut self,
        state: &State,
        windows: &Windows,
        owed: &Owed,
    ) -> Result<(SimDisk, Vec<u64>), String> {
        self.images += 1;
        self.check_marker(state)?;
        let disk = SimDisk::new(state.clone());
        if self.setup.sabotage == Some(Sabotage::NoZeroing) {
            self.sabotage(&disk);
        }
        let dir = self.scratch.fresh(windows);
        let mut config = self.setup.config(&dir);
        if self.setup.sabotage.is_none() && self.random.chance(15) {
            config.flush = self.random.pick(&[FlushMode::Sync, FlushMode::Async]);
        }
        let open = open_on(Arc::new(disk.clone()), &config).map_err(|e| e.to_string())?;
        let ends = check(&self.setup, &open, &disk.state(), &self.history, owed)?;
        drop(open);
        std::fs::remove_dir_all(&dir).expect("our own directory");
        Ok((disk, ends))
    }
}

/// The windows in a directory, as the death of the process would leave them now.
pub(crate) fn windows(dir: &Path) -> Windows {
    let window = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().expect("our own name");
        // It may be replaced at this moment.
        Some((name, std::fs::read(entry.path()).ok()?))
    };
    let entries = std::fs::read_dir(dir).expect("windows are there");
    entries.filter_map(|entry| window(entry.expect("as above"))).collect()
}

fn owed_to(least: &Moment, most: &Moment) -> Owed {
    Owed {
        least: least.acknowledged.clone(),
        most: most.appended.clone(),
        deleted: most.deleted.clone(),
        generations: most.generations.clone(),
    }
}
