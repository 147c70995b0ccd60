//! Delay levels (`messageDelayLevel`), and what they mean for the queue entries of the schedule topic. Java: ScheduleMessageService.

use wire::message::MessageView;
use wire::props::Props;

/// Topic of delayed messages; queue n holds level n + 1.
pub const SCHEDULE_TOPIC: &[u8] = b"SCHEDULE_TOPIC_XXXX";
/// Property with the level.
const DELAY: &str = "DELAY";
/// Most levels: each is a queue.
const LEVELS_MAX: usize = 1024;
/// What Java takes for a level without a delay, ms.
const MISSING_MS: i64 = 1000;

/// Delays of levels 1, 2, … in ms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DelayLevels(Vec<i64>);

impl Default for DelayLevels {
    fn default() -> Self {
        DelayLevels::parse("1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h")
            .expect("Java's default is valid")
    }
}

impl DelayLevels {
    /// Reads delays separated by blanks: a number and one of s, m, h, d. Error: what is wrong, as the end of a sentence that
    /// begins with the key.
    pub fn parse(text: &str) -> Result<DelayLevels, String> {
        let delay = |part: &str| {
            let unit_ms = match part.as_bytes().last()? {
                b's' => 1000,
                b'm' => 60_000,
                b'h' => 3_600_000,
                b'd' => 86_400_000,
                _ => return None,
            };
            let number: i64 = part.get(..part.len() - 1)?.parse().ok().filter(|n| *n >= 0)?;
            number.checked_mul(unit_ms)
        };
        let parts = text.split_ascii_whitespace();
        let levels: Vec<i64> = parts
            .map(|part| delay(part).ok_or_else(|| no_delay(part)))
            .collect::<Result<_, _>>()?;
        match levels.len() {
            1..=LEVELS_MAX => Ok(DelayLevels(levels)),
            count => Err(format!("has {count} levels, 1 to {LEVELS_MAX} are possible")),
        }
    }

    /// Number of levels, which is the last one.
    pub fn count(&self) -> i32 {
        i32::try_from(self.0.len()).unwrap_or(i32::MAX)
    }

    /// Delay of a level above 0; those above the last one count as the last.
    pub fn delay_ms(&self, level: i64) -> i64 {
        let last = i64::try_from(self.0.len()).unwrap_or(i64::MAX);
        let at = usize::try_from(level.min(last) - 1).ok();
        at.and_then(|at| self.0.get(at)).copied().unwrap_or(MISSING_MS)
    }

    /// The code in the queue entry of a stored record: in the schedule topic the time of delivery, else the hash of its tags.
    pub fn tags_code(&self, view: &MessageView<'_>) -> i64 {
        if view.topic() == SCHEDULE_TOPIC
            && let Some(level) = level(view.properties())
        {
            return view.store_timestamp().0.saturating_add(self.delay_ms(level));
        }
        wire::java_hash::tags_code(view.properties())
    }
}

fn no_delay(part: &str) -> String {
    format!("has the part {part:?}, which is no delay: a number and one of s, m, h, d")
}

fn level(properties: &[u8]) -> Option<i64> {
    Props::new(properties).get_i64(DELAY).filter(|level| *level > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javas_levels() {
        let levels = DelayLevels::default();
        assert_eq!(levels.delay_ms(1), 1000);
        assert_eq!(levels.delay_ms(5), 60_000);
        assert_eq!(levels.delay_ms(18), 7_200_000);
        assert_eq!(levels.delay_ms(99), 7_200_000, "as the last one");
        assert_eq!(DelayLevels::parse("2d"), Ok(DelayLevels(vec![172_800_000])));
        let error = |text: &str| DelayLevels::parse(text).unwrap_err();
        let end = "which is no delay: a number and one of s, m, h, d";
        assert_eq!(error("1s 5x"), format!("has the part \"5x\", {end}"));
        assert_eq!(error("1s s"), format!("has the part \"s\", {end}"));
        assert!(DelayLevels::parse(&"1s ".repeat(LEVELS_MAX)).is_ok());
        let many = error(&"1s ".repeat(LEVELS_MAX + 1));
        assert_eq!(many, "has 1025 levels, 1 to 1024 are possible");
        assert_eq!(error(" "), "has 0 levels, 1 to 1024 are possible");
    }
}
