//! The text of a log line: Java's `yyyy-MM-dd HH:mm:ss LEVEL thread - message`, or a short form for a terminal.
//!
//! A message may carry text from a client; control characters are escaped so that nobody can forge a line.

use super::Queue;
use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Form of a line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Style {
    /// Java's pattern, in a time zone so many minutes east of Greenwich.
    Java {
        /// May be negative.
        zone_minutes: i32,
    },
    /// Level and message.
    Short,
}

/// Formats events and hands them to the writer.
pub(super) struct LineLayer {
    pub(super) queue: Queue,
    pub(super) style: Style,
    /// Whether the store has a log of its own, at index 1.
    pub(super) own_store_log: bool,
    /// Where messages of `PROGRESS` go beside the log.
    pub(super) console: Option<Console>,
}

/// Takes a line without its end.
pub(super) type Console = Box<dyn Fn(&str) + Send + Sync>;

/// Target of events that whoever starts the process by hand wants to see while it takes long.
const PROGRESS: &str = "progress";

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let of_store = metadata.target().split("::").next() == Some("store");
        let sink = usize::from(self.own_store_log && of_store);
        let thread = std::thread::current();
        let mut line = head(self.style, *metadata.level(), thread.name().unwrap_or("?"), unix_s());
        let message_at = line.len();
        let mut message = Message { text: &mut line, first: true };
        event.record(&mut message);
        if let Some(console) = self.console.as_ref().filter(|_| metadata.target() == PROGRESS) {
            console(line.get(message_at..).unwrap_or_default());
        }
        line.push('\n');
        self.queue.put(sink, line);
    }
}

fn unix_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Everything before the message.
pub(super) fn head(style: Style, level: Level, thread: &str, unix_s: i64) -> String {
    match style {
        Style::Short if level == Level::INFO => String::new(),
        Style::Short => format!("{level}: "),
        Style::Java { zone_minutes } => {
            let local_s = unix_s.saturating_add(i64::from(zone_minutes) * 60);
            let (year, month, day) = civil(local_s.div_euclid(86_400));
            let s = local_s.rem_euclid(86_400);
            let (hour, minute, second) = (s / 3600, s / 60 % 60, s % 60);
            format!(
                "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} {level} {thread} - "
            )
        }
    }
}

/// The date of a day counted from 1970-01-01. Years are taken to begin in March, so that the leap day is their last.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097;
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

struct Message<'a> {
    text: &'a mut String,
    first: bool,
}

impl Visit for Message<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if !self.first {
            self.text.push(' ');
        }
        self.first = false;
        let mut escaped = Escaped(self.text);
        let written = match field.name() {
            "message" => write!(escaped, "{value:?}"),
            name => write!(escaped, "{name}={value:?}"),
        };
        // Writing to a string fails only when a value's own formatting does; the line then ends there.
        let _ = written;
    }
}

/// Writes control characters as escapes.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            if letter.is_control() {
                self.0.extend(letter.escape_default());
            } else {
                self.0.push(letter);
            }
        }
        Ok(())
    }
}
