//! Messages whose time of delivery is known: where they come from, when they are due, and how they are stored then.

use crate::detour::is_destination;
use crate::look::Look;
use crate::put::OwnMessage;
use store::queues::QUEUE_ID_MAX;
use wire::ids::QueueId;
use wire::message::MessageView;
use wire::props::{self, Props};

/// Where a message comes from that is to be delivered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Source {
    /// From the slot of this time.
    Slot(i64),
    /// From the timer topic, at this offset, without a slot.
    Loose(i64),
}

/// A message in memory.
pub(super) struct Ready {
    pub(super) due_ms: i64,
    /// Messages of the same time keep their order.
    pub(super) number: u64,
    pub(super) source: Source,
    pub(super) message: Box<OwnMessage>,
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

/// The millisecond that the client has asked for, which its slot does not tell.
pub(super) fn due_ms(view: &MessageView<'_>, slot_ms: i64, precision_ms: i64) -> i64 {
    let (first, last) = (slot_ms + 1, slot_ms + precision_ms);
    let is_rolled = Props::new(view.properties()).get(props::TIMER_ROLL_TIMES).is_some();
    let asked = Look::wish_of(view.properties());
    let is_absolute = asked.is_some_and(|wish| wish.is_absolute());
    // When a rolled message came is not known any more.
    let known = asked.filter(|_| is_absolute || !is_rolled);
    known.and_then(|wish| wish.due(view.store_timestamp())).unwrap_or(last).clamp(first, last)
}

/// The message as it was sent; none when it names no topic that it may go to. As with Java its properties keep the names of the real topic and queue.
pub(super) fn due_message(view: &MessageView<'_>, enqueue_ms: i64) -> Option<Box<OwnMessage>> {
    let properties = Props::new(view.properties());
    let topic = properties.get(props::REAL_TOPIC).unwrap_or_default().to_vec();
    if !is_destination(&topic) {
        tracing::error!(
            "timer: the message at {} belongs to topic {:?} and is dropped",
            view.phy_offset().to_wire(),
            String::from_utf8_lossy(&topic)
        );
        return None;
    }
    let queue = properties.get_i64(props::REAL_QUEUE_ID).and_then(|id| i32::try_from(id).ok());
    let queue_id = QueueId(queue.unwrap_or(0).clamp(0, QUEUE_ID_MAX));
    let mut message = OwnMessage { topic, queue_id, is_due: true, ..OwnMessage::like(view) };
    props::remove(&mut message.properties, props::TIMER_ENQUEUE_MS);
    props::append_i64(&mut message.properties, props::TIMER_ENQUEUE_MS, enqueue_ms);
    Some(Box::new(message))
}

/// The message as it is stored again to wait on.
pub(super) fn rolled_message(view: &MessageView<'_>, enqueue_ms: i64) -> OwnMessage {
    let times = Props::new(view.properties()).get_i64(props::TIMER_ROLL_TIMES).unwrap_or(0);
    let mut message = OwnMessage { is_due: true, ..OwnMessage::like(view) };
    for key in [props::TIMER_ENQUEUE_MS, props::TIMER_ROLL_TIMES] {
        props::remove(&mut message.properties, key);
    }
    props::append_i64(&mut message.properties, props::TIMER_ENQUEUE_MS, enqueue_ms);
    props::append_i64(&mut message.properties, props::TIMER_ROLL_TIMES, times.saturating_add(1));
    message
}
