//! Delay levels: messages wait in the schedule topic, a queue per level, until they are stored under their own topic.
//!
//! The shard that owns the queue of a level reads ahead of what is due, sets one timer for its first message, and counts
//! as delivered what lies before the first message that is not stored yet. A delivery that fails is tried again, and those
//! behind it wait: none is skipped. The counts go to `delayOffset.json` one period late, unless the broker stops: by then
//! the delivered messages are on the disk, whatever `flushDiskType` says. Java: `ScheduleMessageService`.
//!
//! Limits: bytes read ahead and deliveries in flight per level.

use crate::app::{Broker, Host, TimerKind, timer_key};
use crate::detour::is_destination;
use crate::own_reads::{self, Found, ReadFor};
use crate::put::{self, OwnMessage, PutFor, PutResult};
use base::time::{MonoNs, WallMs};
use base::wheel::TimerId;
use shard::Cx;
use std::collections::VecDeque;
use store::delay::SCHEDULE_TOPIC;
use store::queues::QueueNo;
use wire::codes::response;
use wire::ids::QueueId;
use wire::message::MessageView;
use wire::props::{self, Props};

/// Bytes of messages of one level that are read before they are due.
const AHEAD_BYTES_MAX: usize = 1 << 20;
/// Deliveries of one level that are on their way.
const IN_FLIGHT_MAX: usize = 512;
/// The first pause after a delivery or a read that failed, ms; then twice as long each time.
const PAUSE_MS: u64 = 100;
/// The longest pause, ms.
const PAUSE_MS_MAX: u64 = 10_000;
/// The clock may be set: nobody waits longer than this without a look at it.
const LOOK_MS: i64 = 1000;

/// A message that is not due, or not on its way yet.
struct Ahead {
    offset: i64,
    due: WallMs,
    message: Box<OwnMessage>,
    bytes: usize,
}

/// A delivery.
struct Delivery {
    offset: i64,
    is_stored: bool,
    /// It has failed, and is tried again.
    again: Option<Box<OwnMessage>>,
}

/// A level on the shard that owns its queue.
struct Level {
    level: u32,
    queue: QueueNo,
    /// Where to read on.
    next: i64,
    is_reading: bool,
    ahead: VecDeque<Ahead>,
    ahead_bytes: usize,
    in_flight: VecDeque<Delivery>,
    /// Everything before it is stored under its own topic.
    delivered: i64,
    /// `delivered` as it was handed over last, and at the time before.
    told: i64,
    last_told: i64,
    has_failed: bool,
    /// Nothing is tried before this, after a failure.
    pause: Option<MonoNs>,
    pause_ms: u64,
    timer: Option<(MonoNs, TimerId)>,
}

/// The levels of this shard.
#[derive(Default)]
pub(crate) struct Delays {
    levels: Vec<Level>,
}

impl Delays {
    fn get(&mut self, level: u32) -> &mut Level {
        let found = self.levels.iter_mut().find(|l| l.level == level);
        found.expect("a level is asked for on its own shard")
    }

    /// Levels whose count has changed, and the count; `last`: up to this moment.
    pub(crate) fn take_changed(&mut self, last: bool) -> Vec<(i32, i64)> {
        let mut changed = Vec::new();
        for level in &mut self.levels {
            let count = if last { level.delivered } else { level.last_told };
            level.last_told = level.delivered;
            if count != level.told {
                level.told = count;
                changed.push((i32::try_from(level.level).expect("a small number"), count));
            }
        }
        changed
    }
}

impl Level {
    fn new(level: u32, queue: QueueNo, offset: i64) -> Level {
        Level {
            level,
            queue,
            next: offset,
            is_reading: false,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            in_flight: VecDeque::new(),
            delivered: offset,
            told: offset,
            last_told: offset,
            has_failed: false,
            pause: None,
            pause_ms: PAUSE_MS,
            timer: None,
        }
    }

    /// When the next look is worth it.
    fn due(&self, wall: WallMs, mono: MonoNs) -> Option<MonoNs> {
        if self.pause.is_some() {
            return self.pause;
        }
        let head = self.ahead.front()?;
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return None;
        }
        let wait = (head.due.0 - wall.0).clamp(0, LOOK_MS);
        Some(mono.plus_ms(u64::try_from(wait).unwrap_or(0)))
    }

    fn begin_pause(&mut self, now: MonoNs) {
        self.pause = Some(now.plus_ms(self.pause_ms));
        self.pause_ms = (self.pause_ms * 2).min(PAUSE_MS_MAX);
    }

    fn take(&mut self, found: &Found, delay_ms: i64, now: WallMs) {
        for view in found.views() {
            let offset = view.queue_offset().0;
            let stored = view.store_timestamp().0;
            // A clock that was set back does not make anybody wait longer than the level says.
            let latest = now.0.saturating_add(delay_ms);
            let due = WallMs(stored.saturating_add(delay_ms).min(latest));
            let bytes = view.bytes().len();
            self.ahead_bytes += bytes;
            let message = Box::new(due_message(&view));
            self.ahead.push_back(Ahead { offset, due, message, bytes });
        }
        self.next = found.next.max(found.min);
        if self.ahead.is_empty() && self.in_flight.is_empty() {
            self.delivered = self.delivered.max(self.next);
        }
    }

    fn delivery(&mut self, offset: i64) -> &mut Delivery {
        let at = self.in_flight.binary_search_by_key(&offset, |delivery| delivery.offset);
        &mut self.in_flight[at.expect("a delivery ends once")]
    }

    fn end_delivery(&mut self, offset: i64) {
        self.delivery(offset).is_stored = true;
        while let Some(delivery) = self.in_flight.pop_front_if(|delivery| delivery.is_stored) {
            self.delivered = delivery.offset + 1;
        }
    }
}

/// The message as it was sent. Like Java's, its properties keep the level and the names of the real topic and queue.
fn due_message(view: &MessageView<'_>) -> OwnMessage {
    let properties = Props::new(view.properties());
    let topic = properties.get(props::REAL_TOPIC).unwrap_or_default().to_vec();
    let queue = properties.get_i64(props::REAL_QUEUE_ID).and_then(|id| i32::try_from(id).ok());
    let queue_id = QueueId(queue.unwrap_or(0).clamp(0, store::queues::QUEUE_ID_MAX));
    OwnMessage { topic, queue_id, is_due: true, ..OwnMessage::like(view) }
}

/// Begins with the levels of this shard.
pub(crate) fn start<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let count = broker.settings.delay_levels.count();
    for level in 1..=count {
        let id = QueueId(level - 1);
        if !broker.is_mine(SCHEDULE_TOPIC, id) {
            continue;
        }
        let stream = broker.stream_of(SCHEDULE_TOPIC, id);
        let store = cx.store();
        let no = store.find_or_create(SCHEDULE_TOPIC, id, stream);
        let queue = store.queue(no);
        let offset = broker.delay_offsets.get(&level).copied().unwrap_or(0);
        let offset = offset.clamp(queue.min(), queue.visible().max(queue.min()));
        let level = u32::try_from(level).expect("counted from 1");
        broker.delays.levels.push(Level::new(level, no, offset));
        go_on(broker, cx, level);
    }
}

/// Delivers what is due, reads on, and sets the timer.
fn go_on<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, number: u32) {
    if broker.stopping {
        return;
    }
    deliver(broker, cx, number);
    let level = broker.delays.get(number);
    if !level.is_reading && level.ahead_bytes < AHEAD_BYTES_MAX && level.pause.is_none() {
        level.is_reading = true;
        let (queue, next) = (level.queue, level.next);
        own_reads::read(broker, cx, queue, next, ReadFor::Delay(number));
    }
    let level = broker.delays.get(number);
    let due = level.due(cx.now.wall, cx.now.mono);
    if level.timer.map(|(at, _)| at) == due {
        return;
    }
    if let Some((_, timer)) = level.timer.take() {
        cx.cancel_timer(timer);
    }
    let key = timer_key(TimerKind::Delay, u64::from(number));
    level.timer = due.map(|at| (at, cx.set_timer(at, key)));
}

fn deliver<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, number: u32) {
    try_again(broker, cx, number);
    loop {
        let level = broker.delays.get(number);
        let is_free = level.pause.is_none() && level.in_flight.len() < IN_FLIGHT_MAX;
        let due = |ahead: &mut Ahead| is_free && ahead.due <= cx.now.wall;
        let Some(ahead) = level.ahead.pop_front_if(due) else { return };
        level.ahead_bytes -= ahead.bytes;
        let offset = ahead.offset;
        level.in_flight.push_back(Delivery { offset, is_stored: false, again: None });
        if !is_destination(&ahead.message.topic) {
            let topic = String::from_utf8_lossy(&ahead.message.topic).into_owned();
            tracing::error!(
                "delay level {number}: the message at offset {offset} belongs to topic {topic:?} and is dropped"
            );
            level.end_delivery(offset);
            continue;
        }
        put::put(broker, cx, ahead.message, PutFor::Delay { level: number, offset });
    }
}

/// What has failed comes before the rest.
fn try_again<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, number: u32) {
    let level = broker.delays.get(number);
    if level.pause.is_some() || !level.has_failed {
        return;
    }
    level.has_failed = false;
    let failed = level.in_flight.iter_mut();
    let failed = failed.filter_map(|delivery| Some((delivery.offset, delivery.again.take()?)));
    for (offset, message) in failed.collect::<Vec<_>>() {
        put::put(broker, cx, message, PutFor::Delay { level: number, offset });
    }
}

/// What was read of a level's queue.
pub(crate) fn on_read<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    number: u32,
    found: Result<Found, String>,
) {
    let delay_ms = broker.settings.delay_levels.delay_ms(i64::from(number));
    let level = broker.delays.get(number);
    level.is_reading = false;
    match found {
        Ok(found) => level.take(&found, delay_ms, cx.now.wall),
        Err(why) => {
            tracing::warn!("delay level {number}: {why}; trying again");
            level.begin_pause(cx.now.mono);
        }
    }
    go_on(broker, cx, number);
}

/// What became of a delivery.
pub(crate) fn on_put<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    number: u32,
    offset: i64,
    result: PutResult,
) {
    let level = broker.delays.get(number);
    match result {
        Ok(_) => {
            level.pause_ms = PAUSE_MS;
            level.end_delivery(offset);
        }
        Err(failed) if failed.refusal.code == response::MESSAGE_ILLEGAL => {
            tracing::error!(
                "delay level {number}: the message at offset {offset} cannot be stored and is dropped: {}",
                failed.refusal.remark
            );
            level.end_delivery(offset);
        }
        Err(failed) => {
            if level.pause.is_none() {
                tracing::warn!(
                    "delay level {number}: the message at offset {offset} cannot be delivered now: {}; trying again",
                    failed.refusal.remark
                );
                level.begin_pause(cx.now.mono);
            }
            level.has_failed = true;
            level.delivery(offset).again = Some(failed.message);
        }
    }
    if broker.stopping {
        settle(broker, cx);
    } else {
        go_on(broker, cx, number);
    }
}

/// The shard stops: its last offsets are handed over when what is on its way has arrived.
pub(crate) fn settle<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let is_on_its_way = |delivery: &Delivery| !delivery.is_stored && delivery.again.is_none();
    let mut levels = broker.delays.levels.iter();
    let is_idle = !levels.any(|level| level.in_flight.iter().any(is_on_its_way));
    let is_idle = is_idle && crate::timer::is_idle(broker) && broker.transactions.is_settled();
    if is_idle && broker.owes_offsets {
        broker.owes_offsets = false;
        crate::timer::flush_last(broker, cx);
        crate::offsets::hand_over(broker, cx, true);
    }
}

/// A level's time has come.
pub(crate) fn on_timer<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, value: u64) {
    let number = u32::try_from(value).expect("the number of a level");
    let level = broker.delays.get(number);
    level.timer = None;
    if level.pause.is_some_and(|until| until <= cx.now.mono) {
        level.pause = None;
    }
    go_on(broker, cx, number);
}
