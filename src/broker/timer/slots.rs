//! Slots of the timer whose time has come: their units are read from the timer log, their messages from the log.
//!
//! Units that take messages back are looked at before the others of their slot. What cannot be read now is tried again.

use super::due::{Source, due_message, due_ms, rolled_message};
use super::{PAUSE_MS, Timer, go_on, write};
use crate::app::{Broker, Host};
use crate::cold;
use crate::detour::TIMER_TOPIC;
use crate::fetch::Fetch;
use crate::mail::FoundRecord;
use shard::Cx;
use std::collections::{HashSet, VecDeque};
use std::io;
use store::layout::timer::{MAGIC_ROLL, Unit};
use wire::ids::PhyOffset;
use wire::message::MessageView;
use wire::props::{self, Props};

/// A slot is loaded so long before it begins.
pub(super) const LEAD_MS: i64 = 300;
/// Slots that are loaded at a time.
pub(super) const SLOTS_MAX: usize = 4;
/// Messages, and bytes of messages, that are read at a time.
const FETCH_MAX: usize = 256;
const FETCH_BYTES_MAX: usize = 2 << 20;
/// Empty slots that one turn steps over.
const STEPS_MAX: usize = 100_000;

/// A slot whose messages are on their way.
pub(super) struct Loaded {
    pub(super) slot_ms: i64,
    /// Its units are being read.
    pub(super) is_reading: bool,
    /// Units that are to be fetched: first those that take others back.
    pub(super) units: VecDeque<Unit>,
    /// Messages that are not delivered.
    pub(super) open: usize,
    /// Keys of messages that were taken back.
    pub(super) recalled: HashSet<Vec<u8>>,
}

/// A fetch for a slot.
pub(crate) struct TimerFetch {
    slot_ms: i64,
    units: Vec<Unit>,
}

pub(super) fn load_slots<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
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
pub(super) fn on_slot<H: Host>(
    timer: &mut Timer,
    cx: &mut Cx<'_, H>,
    (slot_ms, last): (i64, i64),
    result: io::Result<VecDeque<Unit>>,
) {
    match result {
        Ok(units) => {
            let slot = timer.slot(slot_ms).expect("it is read once");
            slot.is_reading = false;
            slot.open = units.len();
            slot.units = units;
        }
        Err(error) => {
            tracing::error!("timer: messages of {slot_ms} cannot be read: {error}; trying again");
            timer.pause = Some(cx.now.mono.plus_ms(PAUSE_MS));
            timer.unread = Some((slot_ms, last));
        }
    }
}

/// Reads messages of the first slot that has some, as long as there is room for them.
pub(super) fn fetch<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let Some(timer) = &mut broker.timer else { return };
    if !timer.may_fetch() {
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
    // A damaged unit may name anything; this shard has the stream of the timer topic's queue.
    let stream = cx.store().queue(timer.queue).stream;
    let place =
        |unit: &Unit| PhyOffset::from_wire(unit.phy).filter(|place| place.stream() == stream);
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
    // Records that are in memory come before `fetch` is left.
    if !timer.is_going_on {
        go_on(broker, cx);
    }
}

/// A message of a slot is in memory now.
fn take_due(timer: &mut Timer, slot_ms: i64, unit: &Unit, view: &MessageView<'_>) {
    let source = Source::Slot(slot_ms);
    let properties = Props::new(view.properties());
    let own_ms = properties.get_i64(props::TIMER_OUT_MS).map(|ms| timer.index.floor(ms));
    let is_rolled = unit.magic & MAGIC_ROLL != 0;
    if view.topic() != TIMER_TOPIC || !is_rolled && own_ms != Some(slot_ms) {
        // The unit outlived its message: a power cut has taken that, and another one lies in its place. Or it is damaged.
        tracing::warn!(
            "timer: the unit of {slot_ms} names the message at {}, which is none of it: topic {:?}, time {}; nothing is \
             delivered for it",
            unit.phy,
            String::from_utf8_lossy(view.topic()),
            own_ms.map_or("none".to_owned(), |ms| ms.to_string())
        );
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
    match due_message(view, unit.write_ms) {
        Some(message) => timer.push_ready(due_ms, source, message),
        None => timer.end(source),
    }
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
    if !timer.is_going_on {
        go_on(broker, cx);
    }
}
