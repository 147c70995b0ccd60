//! Queues of the broker in which messages wait instead of their own: in the schedule topic for the delay of a level, in
//! the timer topic for a time of their own, in the half topic for the end of a transaction.
//!
//! The message keeps the name of its topic and the number of its queue in two properties. Java: `HookUtils`,
//! `TransactionalMessageBridge`.

use crate::look::Look;
use crate::look::TimerWish;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::transactions;
use base::time::WallMs;
use store::delay::SCHEDULE_TOPIC;
use store::queues::{HALF_TOPIC, OPERATION_TOPIC};
use wire::codes::response;
use wire::ids::QueueId;
use wire::props::{self, Props};
use wire::sys_flag::{TRANSACTION_COMMIT, TRANSACTION_MASK};

/// Where a message waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Detour {
    /// In the queue of a delay level, above 0 and at most the last one there is or any number beyond.
    Delay(i64),
    /// In the timer topic; until the end of the slot that begins at this time, ms since 1970.
    Timer(i64),
    /// Until its transaction ends. Only what a client sends takes this one, see `Look::is_half`.
    Half,
}

/// Room for `TIMER_ENQUEUE_MS`, `TIMER_DEQUEUE_MS` and `TIMER_ROLL_TIMES`.
const TIMER_GROWS_BYTES: usize = 128;
/// Topic of messages with a time of delivery; it has one queue.
pub(crate) const TIMER_TOPIC: &[u8] = b"rmq_sys_wheel_timer";

/// Whether what has waited may be stored in a topic: in none of those in which messages wait or that tell of them.
/// Clients cannot write to these; a store from elsewhere may name them.
pub(crate) fn is_destination(topic: &[u8]) -> bool {
    !topic.is_empty()
        && ![SCHEDULE_TOPIC, TIMER_TOPIC, HALF_TOPIC, OPERATION_TOPIC].contains(&topic)
}

impl Detour {
    /// The detour of a message that comes at `now`, if it takes one. Errors: a time of delivery that cannot be.
    pub(crate) fn of(
        look: &Look,
        sys_flag: i32,
        settings: &Settings,
        now: WallMs,
    ) -> Result<Option<Detour>, Refusal> {
        if !matches!(sys_flag & TRANSACTION_MASK, 0 | TRANSACTION_COMMIT) {
            return Ok(None);
        }
        match (look.delay_level, look.timer) {
            (Some(level), _) => Ok(Some(Detour::Delay(level))),
            (None, Some(wish)) => timer(look, wish, settings, now),
            (None, None) => Ok(None),
        }
    }

    /// The topic it waits in.
    pub(crate) fn topic(self) -> &'static [u8] {
        match self {
            Detour::Delay(_) => SCHEDULE_TOPIC,
            Detour::Timer(_) => TIMER_TOPIC,
            Detour::Half => HALF_TOPIC,
        }
    }

    /// The queue it waits in.
    pub(crate) fn queue_id(self, settings: &Settings) -> QueueId {
        match self {
            Detour::Delay(level) => {
                let level = i32::try_from(level).unwrap_or(i32::MAX);
                QueueId(level.min(settings.delay_levels.count()) - 1)
            }
            Detour::Timer(_) => QueueId(0),
            Detour::Half => transactions::QUEUE,
        }
    }

    /// Bytes of properties that a message gets on its way: what has no room for them could not be delivered.
    pub(crate) fn grows_bytes(self) -> usize {
        match self {
            Detour::Timer(_) => TIMER_GROWS_BYTES,
            Detour::Delay(_) | Detour::Half => 0,
        }
    }

    /// Notes in the properties where the message belongs.
    pub(crate) fn note(
        self,
        settings: &Settings,
        properties: &mut Vec<u8>,
        topic: &[u8],
        queue_id: QueueId,
    ) {
        match self {
            Detour::Delay(level) => {
                for key in [props::TIMER_DELIVER_MS, props::TIMER_DELAY_SEC, props::TIMER_DELAY_MS]
                {
                    props::remove(properties, key);
                }
                let last = i64::from(settings.delay_levels.count());
                if level > last {
                    props::remove(properties, props::DELAY);
                    props::append_i64(properties, props::DELAY, last);
                }
            }
            Detour::Timer(slot_ms) => {
                props::remove(properties, props::TIMER_OUT_MS);
                props::append_i64(properties, props::TIMER_OUT_MS, slot_ms);
            }
            Detour::Half => {
                // Only the broker says that a half continues another one.
                props::remove(properties, props::TRANSACTION_PREPARED_QUEUE_OFFSET);
                let key = Props::new(properties).get(props::UNIQ_KEY).unwrap_or_default();
                let key = key.to_vec();
                props::set(properties, props::TRANSACTION_ID, &key);
            }
        }
        for key in [props::REAL_TOPIC, props::REAL_QUEUE_ID] {
            props::remove(properties, key);
        }
        props::append(properties, props::REAL_TOPIC, topic);
        props::append_i64(properties, props::REAL_QUEUE_ID, i64::from(queue_id.0));
    }
}

/// As Java's hook does: what is due already is a plain message, a time is brought to the grid of the slots.
fn timer(
    look: &Look,
    wish: TimerWish,
    settings: &Settings,
    now: WallMs,
) -> Result<Option<Detour>, Refusal> {
    let config = &settings.config.timer;
    if !config.wheel_enable {
        let remark = "accurate timer message is not enabled, timerWheelEnable is false";
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    let illegal = |why: String| {
        let limit = config.max_delay_s;
        let remark = format!(
            "timer message illegal, the delay time should not be bigger than the max delay {limit}s: {why}"
        );
        Err(Refusal::new(response::MESSAGE_ILLEGAL, remark))
    };
    let Some(due) = wish.due(now) else {
        return illegal(format!("{wish:?} is no time"));
    };
    if due <= now.0 {
        return match look.is_recall {
            true => illegal("what is to be recalled was due already".to_owned()),
            false => Ok(None),
        };
    }
    let delay_ms = due - now.0;
    if delay_ms > config.max_delay_s.saturating_mul(1000) {
        return illegal(format!("the message asks for {delay_ms} ms"));
    }
    let precision = config.precision_ms;
    let slot_ms = if due % precision == 0 { due - precision } else { due / precision * precision };
    Ok(Some(Detour::Timer(slot_ms)))
}
