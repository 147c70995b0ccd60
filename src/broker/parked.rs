//! The waiting room of pulls that found nothing: parked by queue, woken by the append, answered at their time, dropped
//! with their connection.
//!
//! Limits: per shard and per connection; beyond them a pull is answered at once, as if it had not asked to wait.

use crate::app::{Broker, Host, TimerKind, timer_key};
use crate::cold::GroupKey;
use crate::handlers::pull::{Pull, answer_timeout, come_again, wake};
use base::ids::ConnId;
use base::wheel::TimerId;
use hashbrown::HashMap;
use shard::Cx;
use store::queues::QueueNo;

/// Parked pulls of a shard.
const PARKED_MAX: usize = 262_144;
/// Parked pulls of one connection.
const PARKED_PER_CONN_MAX: u32 = 16_384;

struct Slot {
    pull: Option<Pull>,
    timer: Option<TimerId>,
    generation: u32,
    /// Index in the list of its queue.
    place: u32,
    /// Neighbours in the list of its connection.
    before: u32,
    after: u32,
}

/// No slot.
const NONE: u32 = u32::MAX;

/// The pulls of a connection.
struct OfConn {
    first: u32,
    count: u32,
}

/// Pulls that wait. See the module.
#[derive(Default)]
pub(crate) struct ParkedPulls {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_queue: Vec<Vec<u32>>,
    by_conn: HashMap<ConnId, OfConn, foldhash::fast::RandomState>,
    count: usize,
    scratch: Vec<u32>,
}

impl ParkedPulls {
    /// Whether this pull may wait. The broker's own are few.
    pub(crate) fn has_room(&self, pull: &Pull) -> bool {
        let Some(conn) = pull.conn() else { return true };
        let own = self.by_conn.get(&conn).map_or(0, |of_conn| of_conn.count);
        self.count < PARKED_MAX && own < PARKED_PER_CONN_MAX
    }

    fn insert(&mut self, pull: Pull) -> (u32, u32) {
        let (conn, queue) = (pull.conn(), pull.queue);
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                pull: None,
                timer: None,
                generation: 0,
                place: 0,
                before: NONE,
                after: NONE,
            });
            u32::try_from(self.slots.len() - 1).expect("bounded by PARKED_MAX")
        });
        let slot = &mut self.slots[at as usize];
        slot.pull = Some(pull);
        slot.generation = slot.generation.wrapping_add(1) & 0x00FF_FFFF;
        let generation = slot.generation;
        if self.by_queue.len() <= queue.0 as usize {
            self.by_queue.resize_with(queue.0 as usize + 1, Vec::new);
        }
        self.link(at, queue);
        if let Some(conn) = conn {
            self.join_conn(at, conn);
        }
        self.count += 1;
        (at, generation)
    }

    fn take(&mut self, at: u32) -> Option<(Pull, Option<TimerId>)> {
        let slot = self.slots.get_mut(at as usize)?;
        let pull = slot.pull.take()?;
        let timer = slot.timer.take();
        self.free.push(at);
        self.count -= 1;
        if let Some(conn) = pull.conn() {
            self.leave_conn(at, conn);
        }
        Some((pull, timer))
    }

    fn join_conn(&mut self, at: u32, conn: ConnId) {
        let of_conn = self.by_conn.entry(conn).or_insert(OfConn { first: NONE, count: 0 });
        let after = std::mem::replace(&mut of_conn.first, at);
        of_conn.count += 1;
        let slot = &mut self.slots[at as usize];
        (slot.before, slot.after) = (NONE, after);
        if let Some(next) = self.slots.get_mut(after as usize) {
            next.before = at;
        }
    }

    fn leave_conn(&mut self, at: u32, conn: ConnId) {
        let Slot { before, after, .. } = self.slots[at as usize];
        if let Some(next) = self.slots.get_mut(after as usize) {
            next.before = before;
        }
        if let Some(previous) = self.slots.get_mut(before as usize) {
            previous.after = after;
        }
        let of_conn = self.by_conn.get_mut(&conn).expect("a parked pull is in its list");
        of_conn.count -= 1;
        if of_conn.first == at {
            of_conn.first = after;
        }
        if of_conn.count == 0 {
            self.by_conn.remove(&conn);
        }
    }

    fn link(&mut self, at: u32, queue: QueueNo) {
        let list = &mut self.by_queue[queue.0 as usize];
        self.slots[at as usize].place = u32::try_from(list.len()).expect("bounded by PARKED_MAX");
        list.push(at);
    }

    fn unlink(&mut self, at: u32, queue: QueueNo) {
        let list = &mut self.by_queue[queue.0 as usize];
        let place = self.slots[at as usize].place;
        assert_eq!(list.swap_remove(place as usize), at, "a slot knows its place");
        if let Some(moved) = list.get(place as usize) {
            self.slots[*moved as usize].place = place;
        }
    }
}

/// Parks a pull until news or its time; the caller has asked `has_room`.
pub(crate) fn park<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, pull: Pull) {
    let wait_ms = pull.wait_ms;
    let (at, generation) = broker.parked.insert(pull);
    let key = timer_key(TimerKind::Parked, u64::from(generation) << 32 | u64::from(at));
    let timer = cx.set_timer(cx.now.mono.plus_ms(wait_ms), key);
    broker.parked.slots[at as usize].timer = Some(timer);
}

/// A parked pull's time is up.
pub(crate) fn on_timer<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, value: u64) {
    let at = u32::try_from(value & u64::from(u32::MAX)).expect("masked");
    let generation = u32::try_from(value >> 32).unwrap_or(0);
    let current = broker.parked.slots.get(at as usize).map(|s| s.generation);
    if current != Some(generation) {
        return;
    }
    if let Some((pull, _)) = broker.parked.take(at) {
        broker.parked.unlink(at, pull.queue);
        answer_timeout(broker, cx, pull);
    }
}

/// These queues have more: their parked pulls look again, those that find nothing for them stay.
pub(crate) fn on_news<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, queues: &[QueueNo]) {
    for queue in queues {
        let Some(list) = broker.parked.by_queue.get_mut(queue.0 as usize) else { continue };
        if list.is_empty() {
            continue;
        }
        let mut waiting = std::mem::take(&mut broker.parked.scratch);
        waiting.clear();
        std::mem::swap(&mut waiting, list);
        for at in waiting.drain(..) {
            let Some(mut pull) = broker.parked.slots[at as usize].pull.take() else { continue };
            if wake(broker, cx, &mut pull) {
                broker.parked.slots[at as usize].pull = Some(pull);
                if let Some((_, Some(timer))) = broker.parked.take(at) {
                    cx.cancel_timer(timer);
                }
            } else {
                broker.parked.slots[at as usize].pull = Some(pull);
                broker.parked.link(at, *queue);
            }
        }
        broker.parked.scratch = waiting;
    }
}

/// A group goes on elsewhere in a queue: its pulls that wait there are told to come again.
pub(crate) fn send_away<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    queue: QueueNo,
    group: GroupKey,
) {
    let Some(list) = broker.parked.by_queue.get(queue.0 as usize) else { return };
    let is_it = |at: &u32| {
        let pull = broker.parked.slots[*at as usize].pull.as_ref();
        pull.is_some_and(|pull| pull.group == group && pull.conn().is_some())
    };
    for at in list.iter().copied().filter(is_it).collect::<Vec<u32>>() {
        if let Some((pull, timer)) = broker.parked.take(at) {
            broker.parked.unlink(at, pull.queue);
            if let Some(timer) = timer {
                cx.cancel_timer(timer);
            }
            come_again(cx, &pull);
        }
    }
}

/// A connection has ended: nobody waits for its pulls any more.
pub(crate) fn on_conn_closed<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, conn: ConnId) {
    while let Some(of_conn) = broker.parked.by_conn.get(&conn) {
        let at = of_conn.first;
        let (pull, timer) = broker.parked.take(at).expect("a pull in a list is parked");
        broker.parked.unlink(at, pull.queue);
        if let Some(timer) = timer {
            cx.cancel_timer(timer);
        }
    }
}

/// The broker stops: whoever waits is answered, and asks another broker.
pub(crate) fn on_stop<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    for at in 0..broker.parked.slots.len() {
        let at = u32::try_from(at).expect("bounded by PARKED_MAX");
        if let Some((pull, timer)) = broker.parked.take(at) {
            broker.parked.unlink(at, pull.queue);
            if let Some(timer) = timer {
                cx.cancel_timer(timer);
            }
            answer_timeout(broker, cx, pull);
        }
    }
}
