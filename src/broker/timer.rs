//! Messages with a time of delivery: they wait in the timer topic until they are stored under their own. Java: `TimerMessageStore`.
//!
//! The shard that owns the timer topic's queue reads it, puts each message into the index of its slot (a second, by
//! default), and loads a slot a moment before its messages are due, each at its own millisecond. What comes too late for
//! its slot is delivered without the index. `timercheck` says which slots and which messages of the queue are done, so a
//! delivery is repeated after a crash, never left out. A delivery that fails is tried again.
//!
//! Limits: bytes of messages that are read ahead, deliveries in flight, units that wait to be written.

mod due;
mod files;
mod slots;

use crate::app::{Broker, Host, TimerKind, timer_key};
use crate::detour::TIMER_TOPIC;
use crate::mail::{BrokerDone, BrokerMail, shard_of};
use crate::own_reads::{self, Found, ReadFor};
use crate::put::{self, OwnMessage, PutFor, PutResult};
use crate::settings::Settings;
use base::ids::ShardId;
use base::time::{MonoNs, WallMs};
use base::wheel::TimerId;
pub(crate) use due::Source;
use due::{Ready, due_message, due_ms};
use files::TimerFiles;
pub use files::{LastCheck, TimerBoot};
use shard::Cx;
use slots::{LEAD_MS, Loaded, SLOTS_MAX, fetch, load_slots, on_slot};
pub(crate) use slots::{TimerFetch, on_fetched, on_not_fetched};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use store::layout::timer::{TimerCheck, Unit};
use store::queues::QueueNo;
use store::timer::{Timed, TimerConfig, TimerIndex, TimerWrites};
use wire::codes::response;
use wire::ids::{PhyOffset, QueueId, StreamId};
use wire::java_hash::java_bytes_hash;
use wire::message::MessageView;
use wire::props::{self, Props};

/// Bytes of messages that are in memory before they are due.
const READY_BYTES_MAX: usize = 8 << 20;
/// Deliveries in flight.
const IN_FLIGHT_MAX: usize = 512;
/// Bytes of units that wait to be written before the period is over.
const UNITS_BYTES_MAX: usize = 4 << 20;
/// Slots of seven days of seconds, less a minute.
const ROLL_WINDOW_MAX: i64 = 7 * 86_400 - 60;
/// Pause after something has failed, ms.
const PAUSE_MS: u64 = 500;
/// Pause before the logs are looked at again that a checkpoint waits for.
const SETTLE_MS: u64 = 100;
/// The clock may be set: nobody waits longer than this without a look at it.
const LOOK_MS: i64 = 1000;
/// Period of looking for timer log files whose messages have left the log, ms.
const CLEAN_MS: u64 = 60_000;
/// Slots further back than this are not looked for at a start.
const OLDEST_MS: i64 = 7 * 86_400_000;
/// What Java writes for a message that never was in a slot.
const NEVER_ENQUEUED: i64 = i64::MAX;

/// Reads the timer's files. Errors name the file.
pub(crate) fn load(settings: &Settings) -> Result<Option<TimerBoot>, String> {
    if !settings.config.timer.wheel_enable {
        return Ok(None);
    }
    let config = index_config(settings);
    files(settings).load(config).map(Some)
}

fn index_config(settings: &Settings) -> TimerConfig {
    let config = &settings.config.timer;
    // As Java: what makes no sense is as far as its wheel reaches.
    let is_window = (2..=ROLL_WINDOW_MAX).contains(&config.roll_window_slots);
    TimerConfig {
        precision_ms: config.precision_ms,
        roll_window_slots: if is_window { config.roll_window_slots } else { ROLL_WINDOW_MAX },
        file_bytes: config.log_file_bytes,
    }
}

fn files(settings: &Settings) -> TimerFiles {
    TimerFiles::new(&settings.config.store_path_root_dir, &index_config(settings))
}

/// How far the timer was at a moment. A power cut takes from a log what is not flushed: nothing of that may be done then.
struct Told {
    since: MonoNs,
    check: TimerCheck,
    /// What streams have to be flushed to first.
    unflushed: BTreeMap<StreamId, u64>,
}

/// What the timer's shard and those that own the other streams tell each other.
pub enum TimerMail {
    /// To the owner of a stream: how far is its log flushed?
    Ask {
        /// The timer's shard.
        from: ShardId,
        /// The stream.
        stream: StreamId,
    },
    /// To the timer's shard.
    Flushed {
        /// The stream.
        stream: StreamId,
        /// Its log is flushed to here.
        end: u64,
    },
}

/// The timer of the broker, on one shard.
pub(crate) struct Timer {
    files: Arc<TimerFiles>,
    index: TimerIndex,
    precision_ms: i64,
    queue: QueueNo,
    /// Where to read on in the queue.
    next: i64,
    is_reading: bool,
    /// Messages of the queue that are delivered without a slot, and are not stored yet: what `units_before` was at each.
    loose: BTreeMap<i64, u64>,
    /// Messages that have a unit which the checkpoint did not know.
    known: HashSet<i64>,
    /// Where the units of `known` begin in the timer log.
    known_from: u64,
    /// All of `known` are before this one in the queue.
    known_until: i64,
    /// Slots before this time are done.
    read_ms: i64,
    /// The next slot to load.
    load_ms: i64,
    slots: VecDeque<Loaded>,
    is_fetching: bool,
    /// `go_on` runs: what ends within it is seen by it.
    is_going_on: bool,
    ready: BinaryHeap<Reverse<Ready>>,
    ready_bytes: usize,
    number: u64,
    in_flight: usize,
    failed: Vec<(Source, Box<OwnMessage>)>,
    pause: Option<MonoNs>,
    flush_at: Option<MonoNs>,
    /// What the next checkpoint says.
    told: Option<Told>,
    /// Behind the last message that was delivered to each stream whose log is not known to be flushed to there.
    delivered: BTreeMap<StreamId, u64>,
    /// What the main thread writes when the whole store is on the disk.
    last: LastCheck,
    /// A job writes the files.
    is_writing: bool,
    is_failing: bool,
    /// A slot whose units could not be read.
    unread: Option<(i64, i64)>,
    /// When files that nobody needs are looked for next.
    clean_at: MonoNs,
    version: [i64; 3],
    timer: Option<(MonoNs, TimerId)>,
}

impl Timer {
    fn new(boot: TimerBoot, settings: &Settings, queue: QueueNo, next: i64, now: WallMs) -> Timer {
        let precision_ms = settings.config.timer.precision_ms;
        let mut index = boot.index;
        // As Java: whatever the checkpoint says, or does not say because it was never written.
        let oldest = if index.is_empty() { now.0 } else { now.0 - OLDEST_MS };
        let read_ms = index.floor(boot.check.read_ms.max(oldest));
        index.pass_before(read_ms);
        Timer {
            files: Arc::new(files(settings)),
            index,
            precision_ms,
            queue,
            next,
            is_reading: false,
            loose: BTreeMap::new(),
            known: boot.known.into_iter().collect(),
            known_from: u64::try_from(boot.check.log_flushed).unwrap_or(0),
            known_until: next,
            read_ms,
            load_ms: read_ms,
            slots: VecDeque::new(),
            is_fetching: false,
            is_going_on: false,
            ready: BinaryHeap::new(),
            ready_bytes: 0,
            number: 0,
            in_flight: 0,
            failed: Vec::new(),
            pause: None,
            flush_at: None,
            told: None,
            delivered: BTreeMap::new(),
            last: boot.last,
            is_writing: false,
            is_failing: false,
            unread: None,
            clean_at: MonoNs(0),
            version: boot.check.version,
            timer: None,
        }
    }

    /// Messages that are taken from the queue from now on have their units in the timer log from here on, or none.
    fn units_before(&self) -> u64 {
        if self.known.is_empty() { self.index.end() } else { self.known_from }
    }

    /// What the checkpoint may say now. A start reads the queue from its offset on, and knows which messages have units
    /// already from those behind its end of the log: both are of the same moment.
    fn check(&mut self, now: WallMs) -> TimerCheck {
        let first = self.loose.first_key_value().map(|(offset, end)| (*offset, *end));
        let (queue_offset, end) = first.unwrap_or((self.next, self.units_before()));
        let [state, _, counter] = self.version;
        self.version = [state, now.0, counter.wrapping_add(1)];
        TimerCheck {
            read_ms: self.read_ms,
            log_flushed: i64::try_from(end).unwrap_or(i64::MAX),
            queue_offset,
            master_queue_offset: queue_offset,
            version: self.version,
        }
    }

    /// The files are to be written at this time, or before.
    fn flush_by(&mut self, at: MonoNs) {
        self.flush_at = Some(self.flush_at.map_or(at, |other| other.min(at)));
    }

    fn push_ready(&mut self, due_ms: i64, source: Source, message: Box<OwnMessage>) {
        self.ready_bytes += message.body.len() + message.properties.len();
        self.number += 1;
        self.ready.push(Reverse(Ready { due_ms, number: self.number, source, message }));
    }

    fn slot(&mut self, slot_ms: i64) -> Option<&mut Loaded> {
        self.slots.iter_mut().find(|slot| slot.slot_ms == slot_ms)
    }

    /// A message is stored, or never will be.
    fn end(&mut self, source: Source) {
        match source {
            Source::Slot(slot_ms) => {
                let slot = self.slot(slot_ms).expect("a slot is there until its messages are");
                slot.open -= 1;
            }
            Source::Loose(offset) => {
                self.loose.remove(&offset);
            }
        }
    }

    /// Takes the done slots off.
    fn pass_slots(&mut self, now: WallMs) {
        let is_done = |slot: &mut Loaded| {
            !slot.is_reading && slot.units.is_empty() && slot.open == 0 && slot.slot_ms <= now.0
        };
        while let Some(slot) = self.slots.pop_front_if(is_done) {
            self.read_ms = slot.slot_ms + self.precision_ms;
            self.index.pass(slot.slot_ms);
        }
        if self.slots.is_empty() {
            self.read_ms = self.read_ms.max(self.load_ms);
        }
    }

    /// Whether messages of a slot may be read now.
    fn may_fetch(&self) -> bool {
        !self.is_fetching && self.ready_bytes < READY_BYTES_MAX && self.pause.is_none()
    }

    /// When the next look is worth it.
    fn due(&self, now: WallMs, mono: MonoNs) -> Option<MonoNs> {
        let at = |ms: i64| {
            let wait = (ms - now.0).clamp(0, LOOK_MS);
            mono.plus_ms(u64::try_from(wait).unwrap_or(0))
        };
        let has_room = self.in_flight < IN_FLIGHT_MAX && self.pause.is_none();
        let head = self.ready.peek().filter(|_| has_room).map(|Reverse(ready)| at(ready.due_ms));
        let may_load = !self.index.is_empty()
            && self.slots.len() < SLOTS_MAX
            && !self.is_writing
            && self.pause.is_none();
        let load = may_load.then(|| at(self.load_ms - LEAD_MS));
        let pass = self.slots.front().filter(|slot| slot.slot_ms > now.0);
        let pass = pass.map(|slot| at(slot.slot_ms));
        let flush = self.flush_at.filter(|_| !self.is_writing && self.pause.is_none());
        let more = self.may_fetch() && self.slots.iter().any(|slot| !slot.units.is_empty());
        let more = more.then_some(mono);
        [head, load, pass, flush, more, self.pause].into_iter().flatten().min()
    }
}

/// Where the timer is, for runtime information.
pub(crate) struct TimerStand {
    /// How long ago the oldest slot was due that is not done, s.
    pub(crate) behind_s: i64,
    /// Messages of the timer topic that have no slot yet.
    pub(crate) queue_behind: i64,
    /// Messages in slots, as Java counts them.
    pub(crate) waiting: i64,
}

/// See `TimerStand`; on the shard that has the timer.
pub(crate) fn stand<H: Host>(broker: &Broker, cx: &mut Cx<'_, H>) -> Option<TimerStand> {
    let timer = broker.timer.as_ref()?;
    let is_at_rest = timer.index.is_empty() && timer.slots.is_empty();
    let behind_ms = if is_at_rest { 0 } else { cx.now.wall.0 - timer.read_ms };
    let end = cx.store().queue(timer.queue).visible();
    Some(TimerStand {
        behind_s: behind_ms.max(0) / 1000,
        queue_behind: (end - timer.next).max(0),
        waiting: timer.index.count().max(0),
    })
}

/// Begins on the shard that owns the timer topic's queue.
pub(crate) fn start<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let Some(boot) = broker.timer_boot.take() else { return };
    let id = QueueId(0);
    let stream = broker.stream_of(TIMER_TOPIC, id);
    let now = cx.now.wall;
    let store = cx.store();
    let no = store.find_or_create(TIMER_TOPIC, id, stream);
    let queue = store.queue(no);
    let next = boot.check.queue_offset.min(boot.check.master_queue_offset);
    let known_until = queue.visible();
    let next = next.clamp(queue.min(), known_until.max(queue.min()));
    let mut timer = Timer::new(boot, &broker.settings, no, next, now);
    // A power cut has taken the messages of units behind the end of the log: others come to lie there.
    let log = store.stream(stream);
    timer.known_until = known_until;
    timer.known.retain(|phy| {
        let place = PhyOffset::from_wire(*phy).filter(|place| place.stream() == stream);
        place.is_some_and(|place| place.position() < log.appended())
    });
    if !timer.index.is_empty() {
        tracing::info!(
            "timer: {} messages wait, slots from {} on, messages of the queue from {next} on",
            timer.index.count(),
            timer.read_ms
        );
    }
    broker.timer = Some(Box::new(timer));
    go_on(broker, cx);
}

fn go_on<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    if broker.stopping {
        return;
    }
    let Some(timer) = &mut broker.timer else { return };
    timer.is_going_on = true;
    load_slots(broker, cx);
    fetch(broker, cx);
    deliver(broker, cx);
    read(broker, cx);
    flush_if_due(broker, cx);
    let Some(timer) = &mut broker.timer else { return };
    timer.is_going_on = false;
    timer.pass_slots(cx.now.wall);
    let due = timer.due(cx.now.wall, cx.now.mono);
    if timer.timer.map(|(at, _)| at) == due {
        return;
    }
    if let Some((_, id)) = timer.timer.take() {
        cx.cancel_timer(id);
    }
    timer.timer = due.map(|at| (at, cx.set_timer(at, timer_key(TimerKind::Timer, 0))));
}

// ---- the queue ----

fn read<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let Some(timer) = &mut broker.timer else { return };
    let has_room = timer.ready_bytes < READY_BYTES_MAX
        && timer.index.waiting_bytes() < 2 * UNITS_BYTES_MAX
        && timer.pause.is_none();
    if timer.is_reading || !has_room {
        return;
    }
    timer.is_reading = true;
    let (queue, next) = (timer.queue, timer.next);
    own_reads::read(broker, cx, queue, next, ReadFor::Timer);
}

/// What was read of the timer topic.
pub(crate) fn on_read<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    found: Result<Found, String>,
) {
    let Some(timer) = &mut broker.timer else { return };
    timer.is_reading = false;
    match found {
        Ok(found) => {
            if timer.index.is_empty() && timer.slots.is_empty() {
                // Nothing waited: no slot in between has to be looked at.
                timer.load_ms = timer.load_ms.max(timer.index.floor(cx.now.wall.0));
            }
            let mut messages = 0;
            for view in found.views() {
                take(timer, &view, cx.now.wall);
                messages += 1;
            }
            timer.next = timer.next.max(found.next).max(found.min);
            if timer.next >= timer.known_until {
                // What is left was read by an earlier process, or lies no more in the queue.
                timer.known.clear();
            }
            let period = broker.settings.config.timer.flush_interval_ms;
            if !found.records.is_empty() {
                timer.flush_by(cx.now.mono.plus_ms(period));
                broker.traffic.timed(messages);
            }
        }
        Err(why) => {
            tracing::warn!("timer: {why}; trying again");
            timer.pause = Some(cx.now.mono.plus_ms(PAUSE_MS));
        }
    }
    go_on(broker, cx);
}

/// Puts a message of the queue into its slot, or among those that are delivered without one.
fn take(timer: &mut Timer, view: &MessageView<'_>, now: WallMs) {
    let properties = Props::new(view.properties());
    let offset = view.queue_offset().0;
    let Some(slot_ms) = properties.get_i64(props::TIMER_OUT_MS) else {
        tracing::error!(
            "timer: the message at offset {offset} has no {} and is dropped",
            props::TIMER_OUT_MS
        );
        return;
    };
    let phy = view.phy_offset().to_wire();
    if timer.known.remove(&phy) {
        return;
    }
    let recalled = properties.get(props::TIMER_DEL_UNIQKEY);
    let slot_ms = timer.index.floor(slot_ms);
    if slot_ms >= timer.load_ms {
        let topic = properties.get(props::REAL_TOPIC).unwrap_or_default();
        let message = Timed {
            slot_ms,
            is_recall: recalled.is_some(),
            phy,
            size: i32::try_from(view.bytes().len()).unwrap_or(i32::MAX),
            topic_hash: java_bytes_hash(topic),
        };
        timer.index.add(&message, now.0);
    } else if let Some(key) = recalled {
        // Whatever is not delivered by now.
        if let Some(slot) = timer.slot(slot_ms) {
            slot.recalled.insert(key.to_vec());
        }
    } else {
        let due_ms = due_ms(view, slot_ms, timer.precision_ms);
        if let Some(message) = due_message(view, NEVER_ENQUEUED) {
            timer.loose.insert(offset, timer.units_before());
            timer.push_ready(due_ms, Source::Loose(offset), message);
        }
    }
}

// ---- deliveries ----

fn deliver<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let now = cx.now.wall;
    loop {
        let Some(timer) = &mut broker.timer else { return };
        if timer.pause.is_some() || timer.in_flight >= IN_FLIGHT_MAX {
            return;
        }
        if let Some((source, message)) = timer.failed.pop() {
            timer.in_flight += 1;
            put::put(broker, cx, message, PutFor::Timer(source));
            continue;
        }
        if timer.ready.peek().is_none_or(|Reverse(ready)| ready.due_ms > now.0) {
            return;
        }
        let Some(Reverse(ready)) = timer.ready.pop() else { return };
        let Ready { source, mut message, .. } = ready;
        timer.ready_bytes -= message.body.len() + message.properties.len();
        if is_recalled(timer, source, &message) {
            timer.end(source);
            continue;
        }
        props::remove(&mut message.properties, props::TIMER_DEQUEUE_MS);
        props::append_i64(&mut message.properties, props::TIMER_DEQUEUE_MS, now.0);
        timer.in_flight += 1;
        put::put(broker, cx, message, PutFor::Timer(source));
    }
}

/// Whether the message was taken back: by its unique key, or by its topic and that, as the configuration of its broker was.
fn is_recalled(timer: &mut Timer, source: Source, message: &OwnMessage) -> bool {
    let Source::Slot(slot_ms) = source else { return false };
    let Some(slot) = timer.slot(slot_ms).filter(|slot| !slot.recalled.is_empty()) else {
        return false;
    };
    let Some(key) = Props::new(&message.properties).get(props::UNIQ_KEY) else { return false };
    slot.recalled.contains(key)
        || slot.recalled.contains([&message.topic, &b"+"[..], key].concat().as_slice())
}

/// What became of a delivery.
pub(crate) fn on_put<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    source: Source,
    result: PutResult,
) {
    let Some(timer) = &mut broker.timer else { return };
    timer.in_flight -= 1;
    let period = broker.settings.config.timer.flush_interval_ms;
    timer.flush_at.get_or_insert(cx.now.mono.plus_ms(period));
    match result {
        Ok(stored) => {
            timer.end(source);
            let end = timer.delivered.entry(stored.phy.stream()).or_default();
            *end = stored.end.max(*end);
            broker.traffic.delivered();
        }
        Err(failed) if failed.refusal.code == response::MESSAGE_ILLEGAL => {
            tracing::error!(
                "timer: a message cannot be stored and is dropped: {}",
                failed.refusal.remark
            );
            timer.end(source);
        }
        Err(failed) => {
            if timer.pause.is_none() {
                tracing::warn!(
                    "timer: a message cannot be delivered now: {}; trying again",
                    failed.refusal.remark
                );
            }
            timer.pause = Some(cx.now.mono.plus_ms(PAUSE_MS));
            timer.failed.push((source, failed.message));
        }
    }
    if broker.stopping {
        crate::delay::settle(broker, cx);
    } else {
        go_on(broker, cx);
    }
}

/// Whether no delivery and no write of its files is on its way.
pub(crate) fn is_idle(broker: &Broker) -> bool {
    broker.timer.as_ref().is_none_or(|timer| timer.in_flight == 0 && !timer.is_writing)
}

// ---- files ----

fn flush_if_due<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let period_ms = broker.settings.config.timer.flush_interval_ms;
    let Some(timer) = &mut broker.timer else { return };
    let is_due = timer.flush_at.is_some_and(|at| at <= cx.now.mono)
        || timer.index.waiting_bytes() >= UNITS_BYTES_MAX;
    if !is_due || timer.is_writing || timer.pause.is_some() || timer.flush_at.take().is_none() {
        return;
    }
    let now = cx.now.mono;
    let again_at = timer.told.as_ref().map(|told| told.since.plus_ms(period_ms));
    let again_at = again_at.filter(|at| now < *at);
    // Once the period is over, the logs are asked again and again.
    let again_at = again_at.or_else(|| (!is_flushed(broker, cx)).then(|| now.plus_ms(SETTLE_MS)));
    let Some(timer) = &mut broker.timer else { return };
    if again_at.is_some() {
        timer.flush_at = again_at;
        if timer.index.waiting_bytes() > 0 {
            write(timer, cx, None, None);
        }
        return;
    }
    flush(timer, cx, period_ms);
}

/// Whether logs are flushed as far as what is told needs it. Owners of other streams are asked; what they say comes by mail.
fn is_flushed<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) -> bool {
    let (me, shards) = (broker.me, broker.shards);
    let Some(timer) = &mut broker.timer else { return true };
    let Some(told) = &mut timer.told else { return true };
    let delivered = &mut timer.delivered;
    told.unflushed.retain(|stream, end| {
        let owner = shard_of(*stream, shards);
        if owner != me {
            let ask = TimerMail::Ask { from: me, stream: *stream };
            cx.mail(owner, BrokerMail::Timer(ask));
            return true;
        }
        let flushed = cx.store().stream(*stream).flushed();
        delivered.retain(|other, end| other != stream || flushed < *end);
        flushed < *end
    });
    told.unflushed.is_empty()
}

/// Mail about the timer.
pub(crate) fn on_mail<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, mail: TimerMail) {
    match mail {
        TimerMail::Ask { from, stream } => {
            let end = cx.store().stream(stream).flushed();
            cx.mail(from, BrokerMail::Timer(TimerMail::Flushed { stream, end }));
        }
        TimerMail::Flushed { stream, end: flushed } => {
            let Some(timer) = &mut broker.timer else { return };
            timer.delivered.retain(|other, end| *other != stream || flushed < *end);
            let Some(told) = &mut timer.told else { return };
            told.unflushed.retain(|other, end| *other != stream || flushed < *end);
            if told.unflushed.is_empty() && timer.flush_at.is_some() {
                timer.flush_by(cx.now.mono);
                go_on(broker, cx);
            }
        }
    }
}

/// Writes what was added and what was told before, which the logs bear out now. Then tells how far everything is.
fn flush<H: Host>(timer: &mut Timer, cx: &mut Cx<'_, H>, period_ms: u64) {
    timer.pass_slots(cx.now.wall);
    let check = timer.check(cx.now.wall);
    let since = cx.now.mono;
    if timer.told.as_ref().is_none_or(|told| !told.check.is_as_far_as(&check)) {
        timer.flush_at = Some(since.plus_ms(period_ms));
    }
    // Messages of the timer's queue count, too: others would come to lie where their units point to.
    let mut unflushed = timer.delivered.clone();
    let store = cx.store();
    let log = store.stream(store.queue(timer.queue).stream);
    unflushed.insert(log.id(), log.appended());
    let told = timer.told.replace(Told { since, check, unflushed });
    write(timer, cx, told.map(|told| told.check), None);
}

/// The shard stops and no delivery is on its way: the last units. The last checkpoint, which is exact, has to wait until
/// all shards have what was delivered on the disk: `LastCheck::write`.
pub(crate) fn flush_last<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let Some(timer) = &mut broker.timer else { return };
    if timer.flush_at.take().is_none() {
        return;
    }
    timer.pass_slots(cx.now.wall);
    let check = timer.check(cx.now.wall);
    timer.is_writing = true;
    let (files, writes) = (Arc::clone(&timer.files), timer.index.take_writes());
    let last = timer.last.clone();
    cx.job(Box::new(move || {
        let result = files.write(&writes, None);
        if result.is_ok() {
            last.set(check);
        }
        let writes = if result.is_err() { Some(writes) } else { None };
        H::done(BrokerDone::TimerWritten(TimerWritten { result, writes, slot: None, units: None }))
    }));
}

/// Writes what was added, then the checkpoint or the units of a slot are read. One such job at a time: what fails comes
/// before what follows.
fn write<H: Host>(
    timer: &mut Timer,
    cx: &mut Cx<'_, H>,
    check: Option<TimerCheck>,
    slot: Option<(i64, i64)>,
) {
    timer.is_writing = true;
    let start = check.and_then(|_| cleaning(timer, cx));
    let (files, writes) = (Arc::clone(&timer.files), timer.index.take_writes());
    cx.job(Box::new(move || {
        let mut result = files.write(&writes, check.as_ref());
        if let (Ok(()), Some(start)) = (&result, start) {
            result = files.clean(start);
        }
        let units = match (&result, slot) {
            (Ok(()), Some((_, last))) => Some(files.chain(last)),
            (Err(_), _) | (Ok(()), None) => None,
        };
        let writes = if result.is_err() { Some(writes) } else { None };
        H::done(BrokerDone::TimerWritten(TimerWritten { result, writes, slot, units }))
    }));
}

/// Where the log of the timer topic begins, once a minute.
fn cleaning<H: Host>(timer: &mut Timer, cx: &mut Cx<'_, H>) -> Option<i64> {
    if timer.clean_at > cx.now.mono {
        return None;
    }
    timer.clean_at = cx.now.mono.plus_ms(CLEAN_MS);
    let store = cx.store();
    let stream = store.stream(store.queue(timer.queue).stream);
    Some(PhyOffset::new(stream.id(), stream.start()).to_wire())
}

/// What became of a write.
pub struct TimerWritten {
    result: io::Result<()>,
    /// What was not written.
    writes: Option<TimerWrites>,
    /// Whose units were to be read: its time, and its last unit's place.
    slot: Option<(i64, i64)>,
    units: Option<io::Result<VecDeque<Unit>>>,
}

/// The files were written, or could not be.
pub(crate) fn on_written<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, written: TimerWritten) {
    let Some(timer) = &mut broker.timer else { return };
    timer.is_writing = false;
    if let Err(error) = &written.result {
        if !timer.is_failing {
            tracing::error!("timer: its files cannot be written: {error}; trying again");
        }
        timer.pause = Some(cx.now.mono.plus_ms(PAUSE_MS));
        timer.flush_by(cx.now.mono);
        timer.unread = timer.unread.or(written.slot);
    } else if timer.is_failing {
        tracing::info!("timer: its files are written again");
    }
    timer.is_failing = written.result.is_err();
    if let Some(writes) = written.writes {
        timer.index.give_back(writes);
    }
    if let (Some(slot), Some(units)) = (written.slot, written.units) {
        on_slot(timer, cx, slot, units);
    }
    if broker.stopping {
        crate::delay::settle(broker, cx);
    } else {
        go_on(broker, cx);
    }
}

/// The timer's time has come.
pub(crate) fn on_timer<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let Some(timer) = &mut broker.timer else { return };
    timer.timer = None;
    if timer.pause.is_some_and(|until| until <= cx.now.mono) {
        timer.pause = None;
    }
    go_on(broker, cx);
}
