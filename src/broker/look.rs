//! What one look over a message's properties finds: what it is indexed by, and what the broker has to do with it.

use crate::settings::Settings;
use base::time::WallMs;
use store::delay::SCHEDULE_TOPIC;
use store::index::IndexKeys;
use wire::java_hash::tag_code;
use wire::props::{self, Props};

/// Findings; ranges are of values in the properties that were looked at.
#[derive(Clone, Copy, Default)]
pub(crate) struct Look {
    /// Hash of TAGS.
    tag_hash: i64,
    /// Range of the unique key's value.
    pub(crate) unique_key: Option<(usize, usize)>,
    /// Ranges of the values of KEYS and TAGS; empty without.
    keys: (usize, usize),
    tags: (usize, usize),
    /// `WAIT` is false.
    pub(crate) no_wait: bool,
    /// A broker property is there already and has to be replaced.
    pub(crate) replace: bool,
    /// DELAY, above 0.
    pub(crate) delay_level: Option<i64>,
    /// The message is half of a transaction.
    pub(crate) is_half: bool,
    /// Time of delivery.
    pub(crate) timer: Option<TimerWish>,
    /// It asks for another message not to be delivered.
    pub(crate) is_recall: bool,
    /// It says how many messages are in its body.
    pub(crate) has_inner_num: bool,
}

/// When a message is to be delivered; of several properties the first of these counts. A value that is no number is `None`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimerWish {
    /// So many seconds after it came.
    DelaySec(Option<i64>),
    /// So many milliseconds after it came.
    DelayMs(Option<i64>),
    /// At this time, ms since 1970.
    DeliverMs(Option<i64>),
}

impl TimerWish {
    fn first(self, other: Option<TimerWish>) -> Option<TimerWish> {
        Some(other.map_or(self, |other| other.min_by_kind(self)))
    }

    fn min_by_kind(self, other: TimerWish) -> TimerWish {
        let kind = |wish: TimerWish| match wish {
            TimerWish::DelaySec(_) => 0,
            TimerWish::DelayMs(_) => 1,
            TimerWish::DeliverMs(_) => 2,
        };
        if kind(other) <= kind(self) { other } else { self }
    }

    /// Whether it is a time, not a delay.
    pub(crate) fn is_absolute(self) -> bool {
        matches!(self, TimerWish::DeliverMs(_))
    }

    /// The time of delivery of a message that comes at `now`, ms since 1970; `None` when there is no such time.
    pub(crate) fn due(self, now: WallMs) -> Option<i64> {
        match self {
            TimerWish::DelaySec(seconds) => now.0.checked_add(seconds?.checked_mul(1000)?),
            TimerWish::DelayMs(ms) => now.0.checked_add(ms?),
            TimerWish::DeliverMs(ms) => ms,
        }
    }
}

impl Look {
    /// Looks at a properties text.
    pub(crate) fn at(properties: &[u8]) -> Look {
        let mut look = Look::default();
        let mut is_timed = false;
        let range = |value: &[u8]| {
            let at = value.as_ptr().addr() - properties.as_ptr().addr();
            (at, at + value.len())
        };
        for (key, value) in Props::new(properties).iter() {
            match key {
                b"TAGS" => (look.tag_hash, look.tags) = (tag_code(value), range(value)),
                b"UNIQ_KEY" => look.unique_key = Some(range(value)),
                b"KEYS" => look.keys = range(value),
                b"WAIT" => look.no_wait = value.eq_ignore_ascii_case(b"false"),
                b"MSG_REGION" | b"TRACE_ON" | b"CLUSTER" | b"POP_CK" => look.replace = true,
                b"DELAY" => look.delay_level = number(value).filter(|level| *level > 0),
                b"TIMER_DELAY_SEC" => look.wish(TimerWish::DelaySec(number(value))),
                b"TIMER_DELAY_MS" => look.wish(TimerWish::DelayMs(number(value))),
                b"TIMER_DELIVER_MS" => look.wish(TimerWish::DeliverMs(number(value))),
                b"TIMER_OUT_MS" => is_timed = true,
                b"TIMER_DEL_UNIQKEY" => look.is_recall = true,
                b"INNER_NUM" => look.has_inner_num = true,
                b"TRAN_MSG" => look.is_half = value.eq_ignore_ascii_case(b"true"),
                _ => {}
            }
        }
        if is_timed {
            // It was delivered already.
            look.timer = None;
        }
        look
    }

    fn wish(&mut self, wish: TimerWish) {
        self.timer = wish.first(self.timer);
    }

    /// When a message was to be delivered, also if it has been on the way.
    pub(crate) fn wish_of(properties: &[u8]) -> Option<TimerWish> {
        let mut look = Look::default();
        let properties = Props::new(properties);
        let value = |key| properties.get(key).map(number);
        if let Some(seconds) = value(props::TIMER_DELAY_SEC) {
            look.wish(TimerWish::DelaySec(seconds));
        }
        if let Some(ms) = value(props::TIMER_DELAY_MS) {
            look.wish(TimerWish::DelayMs(ms));
        }
        if let Some(ms) = value(props::TIMER_DELIVER_MS) {
            look.wish(TimerWish::DeliverMs(ms));
        }
        look.timer
    }

    /// What the message is indexed by; `properties` are those that were looked at.
    pub(crate) fn index_keys<'p>(&self, properties: &'p [u8]) -> IndexKeys<'p> {
        let value = |(start, end): (usize, usize)| properties.get(start..end).unwrap_or_default();
        let unique = value(self.unique_key.unwrap_or_default());
        IndexKeys { unique, keys: value(self.keys), tags: value(self.tags) }
    }

    /// The code in the queue entry of a message that is stored now: in the schedule topic the time of its delivery.
    pub(crate) fn tags_code(&self, settings: &Settings, topic: &[u8], now: WallMs) -> i64 {
        match self.delay_level {
            Some(level) if topic == SCHEDULE_TOPIC => {
                now.0.saturating_add(settings.delay_levels.delay_ms(level))
            }
            Some(_) | None => self.tag_hash,
        }
    }
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
