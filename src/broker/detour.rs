//! Queues of the broker in which messages wait instead of their own: delayed ones in the schedule topic.
//!
//! The message keeps the name of its topic and the number of its queue in two properties. Java: `HookUtils`,
//! `TransactionalMessageBridge`.

use crate::look::Look;
use crate::settings::Settings;
use store::delay::SCHEDULE_TOPIC;
use wire::ids::QueueId;
use wire::props;
use wire::sys_flag::{TRANSACTION_COMMIT, TRANSACTION_MASK};

/// Where a message waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Detour {
    /// In the queue of a delay level, above 0 and at most the last one there is or any number beyond.
    Delay(i64),
}

impl Detour {
    /// The detour of a message, if it takes one.
    pub(crate) fn of(look: &Look, sys_flag: i32) -> Option<Detour> {
        let is_plain = matches!(sys_flag & TRANSACTION_MASK, 0 | TRANSACTION_COMMIT);
        look.delay_level.filter(|_| is_plain).map(Detour::Delay)
    }

    /// The topic it waits in.
    pub(crate) fn topic(self) -> &'static [u8] {
        match self {
            Detour::Delay(_) => SCHEDULE_TOPIC,
        }
    }

    /// The queue it waits in.
    pub(crate) fn queue_id(self, settings: &Settings) -> QueueId {
        match self {
            Detour::Delay(level) => {
                let level = i32::try_from(level).unwrap_or(i32::MAX);
                QueueId(level.min(settings.delay_levels.count()) - 1)
            }
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
        }
        for key in [props::REAL_TOPIC, props::REAL_QUEUE_ID] {
            props::remove(properties, key);
        }
        props::append(properties, props::REAL_TOPIC, topic);
        props::append_i64(properties, props::REAL_QUEUE_ID, i64::from(queue_id.0));
    }
}
