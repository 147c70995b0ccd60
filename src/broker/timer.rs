//! Messages with a time of delivery: they wait in the timer topic until they are stored under their own. Java: `TimerMessageStore`.
//!
//! The shard that owns the timer topic's queue reads it, puts each message into the index of its slot (a second, by
//! default), and loads a slot a moment before its messages are due, each at its own millisecond. What comes too late for
//! its slot is delivered without the index. `timercheck` says which slots and which messages of the queue are done, so a
//! delivery is repeated after a crash, never left out. A delivery that fails is tried again.
//!
//! Limits: bytes of messages that are read ahead, deliveries in flight, units that wait to be written.

mod files;

use crate::app::{Broker, Host, TimerKind, timer_key};
use crate::cold;
use crate::detour::TIMER_TOPIC;
use crate::fetch::Fetch;
use crate::look::Look;
use crate::mail::{BrokerDone, FoundRecord};
use crate::own_reads::{self, Found, ReadFor};
use crate::put::{self, OwnMessage, PutFor, PutResult};
use crate::settings::Settings;
use base::time::{MonoNs, WallMs};
use base::wheel::TimerId;
pub use files::TimerBoot;
use files::TimerFiles;
use shard::Cx;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use store::layout::timer::{MAGIC_DELETE, MAGIC_ROLL, TimerCheck, Unit};
use store::queues::{QUEUE_ID_MAX, QueueNo};
use store::timer::{Timed, TimerConfig, TimerIndex, TimerWrites};
use wire::codes::response;
use wire::ids::{PhyOffset, QueueId};
use wire::java_hash::java_bytes_hash;
use wire::message::MessageView;
use wire::props::{self, Props};

/// A slot is loaded so long before it begins.
const LEAD_MS: i64 = 300;
/// Slots that are loaded at a time.
const SLOTS_MAX: usize = 4;
/// Bytes of messages that are in memory before they are due.
const READY_BYTES_MAX: usize = 8 << 20;
/// Messages, and bytes of messages, that are read at a time.
const FETCH_MAX: usize = 256;
const FETCH_BYTES_MAX: usize = 2 << 20;
/// Deliveries in flight.
const IN_FLIGHT_MAX: usize = 512;
/// Bytes of units that wait to be written before the period is over.
const UNITS_BYTES_MAX: usize = 4 << 20;
/// Pause after something has failed, ms.
const PAUSE_MS: u64 = 500;
/// The clock may be set: nobody waits longer than this without a look at it.
const LOOK_MS: i64 = 1000;
/// Period of looking for timer log files whose messages have left the log, ms.
const CLEAN_MS: u64 = 60_000;
/// Slots further back than this are not looked for at a start.
const OLDEST_MS: i64 = 7 * 86_400_000;
/// Empty slots that one turn steps over.
const STEPS_MAX: usize = 100_000;
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
    TimerConfig {
        precision_ms: config.precision_ms,
        roll_window_slots: config.roll_window_slots,
        file_bytes: config.log_file_bytes,
    }
}

fn files(settings: &Settings) -> TimerFiles {
    TimerFiles::new(&settings.config.store_path_root_dir, &index_config(settings))
}

/// Where a message comes from that is to be delivered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Source {
    /// From the slot of this time.
    Slot(i64),
    /// From the timer topic, at this offset, without a slot.
    Loose(i64),
}

/// A message in memory.
struct Ready {
    due_ms: i64,
    /// Messages of the same time keep their order.
    number: u64,
    source: Source,
    message: Box<OwnMessage>,
}

impl Ready {
    fn key(&self) -> (i64, u64) {
        (self.due_ms, self.number)
    }
}

impl PartialEq for Ready {
    fn eq(&self, other: &Ready) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Ready {}

impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Ready) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ready {
    fn cmp(&self, other: &Ready) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// A slot whose messages are on their way.
struct Loaded {
    slot_ms: i64,
    /// Its units are being read.
    is_reading: bool,
    /// Units that are to be fetched: first those that take others back.
    units: VecDeque<Unit>,
    /// Messages that are not delivered.
    open: usize,
    /// Keys of messages that were taken back.
    recalled: HashSet<Vec<u8>>,
}

/// A fetch for a slot.
pub(crate) struct TimerFetch {
    slot_ms: i64,
    units: Vec<Unit>,
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
    /// Messages of the queue that are delivered without a slot, and are not stored yet.
    loose: BTreeSet<i64>,
    /// Messages that have a unit which the checkpoint did not know.
    known: HashSet<i64>,
    /// Slots before this time are done.
    read_ms: i64,
    /// The next slot to load.
    load_ms: i64,
    slots: VecDeque<Loaded>,
    is_fetching: bool,
    ready: BinaryHeap<Reverse<Ready>>,
    ready_bytes: usize,
    number: u64,
    in_flight: usize,
    failed: Vec<(Source, Box<OwnMessage>)>,
    pause: Option<MonoNs>,
    flush_at: Option<MonoNs>,
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
    fn new(boot: &TimerBoot, settings: &Settings, queue: QueueNo, next: i64, now: WallMs) -> Timer {
        let precision_ms = settings.config.timer.precision_ms;
        let index = boot.index.clone();
        // As Java: whatever the checkpoint says, or does not say because it was never written.
        let oldest = if index.is_empty() { now.0 } else { now.0 - OLDEST_MS };
        let read_ms = index.floor(boot.check.read_ms.max(oldest));
        Timer {
            files: Arc::new(files(settings)),
            index,
            precision_ms,
            queue,
            next,
            is_reading: false,
            loose: BTreeSet::new(),
            known: boot.known.iter().copied().collect(),
            read_ms,
            load_ms: read_ms,
            slots: VecDeque::new(),
            is_fetching: false,
            ready: BinaryHeap::new(),
            ready_bytes: 0,
            number: 0,
            in_flight: 0,
            failed: Vec::new(),
            pause: None,
            flush_at: None,
            is_writing: false,
            is_failing: false,
            unread: None,
            clean_at: MonoNs(0),
            version: boot.check.version,
            timer: None,
        }
    }

    /// What the checkpoint may say now.
    fn check(&mut self, now: WallMs) -> TimerCheck {
        let queue_offset = self.loose.first().copied().unwrap_or(self.next);
        let [state, _, counter] = self.version;
        self.version = [state, now.0, counter.wrapping_add(1)];
        TimerCheck {
            read_ms: self.read_ms,
            log_flushed: i64::try_from(self.index.end()).unwrap_or(i64::MAX),
            queue_offset,
            master_queue_offset: queue_offset,
            version: self.version,
        }
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
        }
        if self.slots.is_empty() {
            self.read_ms = self.read_ms.max(self.load_ms);
        }
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
        [head, load, pass, flush, self.pause].into_iter().flatten().min()
    }
}

/// Begins on the shard that owns the timer topic's queue.
pub(crate) fn start<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let Some(boot) = broker.timer_boot.take() else { return };
    let id = QueueId(0);
    let stream = broker.stream_of(TIMER_TOPIC, id);
    let store = cx.store();
    let no = store.find_or_create(TIMER_TOPIC, id, stream);
    let queue = store.queue(no);
    let next = boot.check.queue_offset.min(boot.check.master_queue_offset);
    let next = next.clamp(queue.min(), queue.visible().max(queue.min()));
    let timer = Timer::new(&boot, &broker.settings, no, next, cx.now.wall);
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
    load_slots(broker, cx);
    fetch(broker, cx);
    deliver(broker, cx);
    read(broker, cx);
    flush_if_due(broker, cx);
    let Some(timer) = &mut broker.timer else { return };
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
            for view in found.views() {
                take(timer, &view, cx.now.wall);
            }
            timer.next = timer.next.max(found.next).max(found.min);
            let period = broker.settings.config.timer.flush_interval_ms;
            if !found.records.is_empty() {
                timer.flush_at.get_or_insert(cx.now.mono.plus_ms(period));
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
        let message = Box::new(due_message(view, NEVER_ENQUEUED));
        timer.loose.insert(offset);
        timer.push_ready(due_ms, Source::Loose(offset), message);
    }
}

/// The millisecond that the client has asked for, which its slot does not tell.
fn due_ms(view: &MessageView<'_>, slot_ms: i64, precision_ms: i64) -> i64 {
    let (first, last) = (slot_ms + 1, slot_ms + precision_ms);
    let is_rolled = Props::new(view.properties()).get(props::TIMER_ROLL_TIMES).is_some();
    let asked = Look::wish_of(view.properties());
    let is_absolute = asked.is_some_and(|wish| wish.is_absolute());
    // When a rolled message came is not known any more.
    let known = asked.filter(|_| is_absolute || !is_rolled);
    known.and_then(|wish| wish.due(view.store_timestamp())).unwrap_or(last).clamp(first, last)
}

/// The message as it was sent. As with Java its properties keep the names of the real topic and queue.
fn due_message(view: &MessageView<'_>, enqueue_ms: i64) -> OwnMessage {
    let properties = Props::new(view.properties());
    let topic = properties.get(props::REAL_TOPIC).unwrap_or_default().to_vec();
    let queue = properties.get_i64(props::REAL_QUEUE_ID).and_then(|id| i32::try_from(id).ok());
    let queue_id = QueueId(queue.unwrap_or(0).clamp(0, QUEUE_ID_MAX));
    let mut message = OwnMessage { topic, queue_id, is_due: true, ..OwnMessage::like(view) };
    props::remove(&mut message.properties, props::TIMER_ENQUEUE_MS);
    props::append_i64(&mut message.properties, props::TIMER_ENQUEUE_MS, enqueue_ms);
    message
}

/// The message as it is stored again to wait on.
fn rolled_message(view: &MessageView<'_>, enqueue_ms: i64) -> OwnMessage {
    let times = Props::new(view.properties()).get_i64(props::TIMER_ROLL_TIMES).unwrap_or(0);
    let mut message = OwnMessage { is_due: true, ..OwnMessage::like(view) };
    for key in [props::TIMER_ENQUEUE_MS, props::TIMER_ROLL_TIMES] {
        props::remove(&mut message.properties, key);
    }
    props::append_i64(&mut message.properties, props::TIMER_ENQUEUE_MS, enqueue_ms);
    props::append_i64(&mut message.properties, props::TIMER_ROLL_TIMES, times.saturating_add(1));
    message
}

// ---- slots ----

fn load_slots<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let Some(timer) = &mut broker.timer else { return };
    if timer.pause.is_none()
        && !timer.is_writing
        && let Some(slot) = timer.unread.take()
    {
        write(timer, cx, None, Some(slot));
        return;
    }
    let until = cx.now.wall.0 + LEAD_MS;
    for _ in 0..STEPS_MAX {
        let is_free = timer.slots.len() < SLOTS_MAX && timer.pause.is_none() && !timer.is_writing;
        if !is_free || timer.load_ms > until || timer.index.is_empty() {
            return;
        }
        let slot_ms = timer.load_ms;
        timer.load_ms += timer.precision_ms;
        let Some(slot) = timer.index.slot(slot_ms) else { continue };
        let last = slot.last;
        timer.slots.push_back(Loaded {
            slot_ms,
            is_reading: true,
            units: VecDeque::new(),
            open: 0,
            recalled: HashSet::new(),
        });
        // The units come to the files first.
        write(timer, cx, None, Some((slot_ms, last)));
        return;
    }
}

/// The units of a slot were read, or could not be.
fn on_slot<H: Host>(
    timer: &mut Timer,
    cx: &mut Cx<'_, H>,
    (slot_ms, last): (i64, i64),
    result: io::Result<Vec<Unit>>,
) {
    match result {
        Ok(units) => {
            let slot = timer.slot(slot_ms).expect("it is read once");
            slot.is_reading = false;
            let is_recall = |unit: &Unit| unit.magic & (MAGIC_DELETE | MAGIC_ROLL) == MAGIC_DELETE;
            slot.open = units.len();
            let (recalls, others): (Vec<_>, Vec<_>) = units.into_iter().partition(is_recall);
            slot.units.extend(recalls.into_iter().chain(others));
        }
        Err(error) => {
            tracing::error!("timer: messages of {slot_ms} cannot be read: {error}; trying again");
            timer.pause = Some(cx.now.mono.plus_ms(PAUSE_MS));
            timer.unread = Some((slot_ms, last));
        }
    }
}

/// Reads messages of the first slot that has some, as long as there is room for them.
fn fetch<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let Some(timer) = &mut broker.timer else { return };
    if timer.is_fetching || timer.ready_bytes >= READY_BYTES_MAX || timer.pause.is_some() {
        return;
    }
    let Some(slot) = timer.slots.iter_mut().find(|slot| !slot.units.is_empty()) else { return };
    let (mut units, mut bytes) = (Vec::new(), 0);
    while units.len() < FETCH_MAX {
        // What a fetch has no room for counts as gone: a large message is fetched alone.
        let room = FETCH_BYTES_MAX.saturating_sub(bytes);
        let fits = |unit: &mut Unit| {
            units.is_empty() || usize::try_from(unit.size).is_ok_and(|size| size <= room)
        };
        let Some(unit) = slot.units.pop_front_if(fits) else { break };
        bytes += usize::try_from(unit.size).unwrap_or(0);
        units.push(unit);
    }
    let streams = broker.settings.streams;
    let place =
        |unit: &Unit| PhyOffset::from_wire(unit.phy).filter(|place| place.stream().0 < streams);
    let places = units.iter().rev().filter_map(place).collect();
    timer.is_fetching = true;
    let fetch = TimerFetch { slot_ms: slot.slot_ms, units };
    cold::begin_fetch(broker, cx, Fetch::timer(fetch, places));
}

/// Messages were read; those that have left the log are not among them.
pub(crate) fn on_fetched<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    fetch: TimerFetch,
    records: &[FoundRecord],
) {
    let Some(timer) = &mut broker.timer else { return };
    timer.is_fetching = false;
    let mut records = records.iter().peekable();
    let source = Source::Slot(fetch.slot_ms);
    for unit in &fetch.units {
        let record = records.next_if(|record| record.place.to_wire() == unit.phy);
        let view = record.and_then(|record| MessageView::parse(&record.bytes).ok());
        let Some((view, _)) = view else {
            tracing::warn!("timer: the message at {} has left the log before its time", unit.phy);
            timer.end(source);
            continue;
        };
        take_due(timer, fetch.slot_ms, unit, &view);
    }
    go_on(broker, cx);
}

/// A message of a slot is in memory now.
fn take_due(timer: &mut Timer, slot_ms: i64, unit: &Unit, view: &MessageView<'_>) {
    let source = Source::Slot(slot_ms);
    let properties = Props::new(view.properties());
    let own_ms = properties.get_i64(props::TIMER_OUT_MS).map(|ms| timer.index.floor(ms));
    let is_rolled = unit.magic & MAGIC_ROLL != 0;
    if view.topic() != TIMER_TOPIC || !is_rolled && own_ms != Some(slot_ms) {
        // The unit outlived its message: a power cut has taken that, and another one lies in its place.
        timer.end(source);
        return;
    }
    if is_rolled {
        let message = Box::new(rolled_message(view, unit.write_ms));
        timer.push_ready(slot_ms, source, message);
        return;
    }
    if let Some(key) = properties.get(props::TIMER_DEL_UNIQKEY) {
        let slot = timer.slot(slot_ms).expect("its messages are read");
        slot.recalled.insert(key.to_vec());
        timer.end(source);
        return;
    }
    let due_ms = due_ms(view, slot_ms, timer.precision_ms);
    let message = Box::new(due_message(view, unit.write_ms));
    timer.push_ready(due_ms, source, message);
}

/// Nothing can be read now: the same again later.
pub(crate) fn on_not_fetched<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    fetch: TimerFetch,
    why: &str,
) {
    let Some(timer) = &mut broker.timer else { return };
    tracing::warn!("timer: {why}; trying again");
    timer.is_fetching = false;
    timer.pause = Some(cx.now.mono.plus_ms(PAUSE_MS));
    let slot = timer.slot(fetch.slot_ms).expect("its messages are read");
    for unit in fetch.units.into_iter().rev() {
        slot.units.push_front(unit);
    }
    go_on(broker, cx);
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
        if is_recalled(timer, source, &message) || message.topic.is_empty() {
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
        Ok(_) => timer.end(source),
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

/// Whether no delivery is on its way.
pub(crate) fn is_idle(broker: &Broker) -> bool {
    broker.timer.as_ref().is_none_or(|timer| timer.in_flight == 0)
}

// ---- files ----

fn flush_if_due<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let Some(timer) = &broker.timer else { return };
    let is_due = timer.flush_at.is_some_and(|at| at <= cx.now.mono)
        || timer.index.waiting_bytes() >= UNITS_BYTES_MAX;
    if is_due && !timer.is_writing && timer.pause.is_none() {
        flush(broker, cx);
    }
}

/// Writes what was added and how far everything is.
pub(crate) fn flush<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let Some(timer) = &mut broker.timer else { return };
    if timer.flush_at.take().is_none() {
        return;
    }
    timer.pass_slots(cx.now.wall);
    let check = timer.check(cx.now.wall);
    write(timer, cx, Some(check), None);
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
    let start = cleaning(timer, cx).filter(|_| check.is_some());
    let (files, writes) = (Arc::clone(&timer.files), timer.index.take_writes(timer.read_ms));
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
    units: Option<io::Result<Vec<Unit>>>,
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
        timer.flush_at.get_or_insert(cx.now.mono);
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
    go_on(broker, cx);
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
