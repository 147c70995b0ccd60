//! What one look over a message's properties finds: what it is indexed by, and what the broker has to do with it.

use crate::settings::Settings;
use base::time::WallMs;
use store::delay::SCHEDULE_TOPIC;
use store::index::IndexKeys;
use wire::java_hash::tag_code;
use wire::props::Props;

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
    /// A property whose feature is not there.
    pub(crate) unsupported: Option<&'static str>,
}

impl Look {
    /// Looks at a properties text.
    pub(crate) fn at(properties: &[u8]) -> Look {
        let mut look = Look::default();
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
                b"TIMER_DELAY_SEC" | b"TIMER_DELAY_MS" | b"TIMER_DELIVER_MS" => {
                    look.unsupported = Some("TIMER_* (timed delivery)");
                }
                b"TRAN_MSG" => look.is_half = value.eq_ignore_ascii_case(b"true"),
                _ => {}
            }
        }
        look
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
