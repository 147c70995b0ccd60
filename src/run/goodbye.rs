//! What an operator is told about a stop: that it began and what it waits for, and in the end how long each part took.
//!
//! On stdout, where the boot line was, and in the log.

use crate::logging;
use shard::server::{Ending, Stopper};
use std::sync::Mutex;
use std::time::Instant;

/// When the signal came.
static BEGAN: Mutex<Option<Instant>> = Mutex::new(None);

/// Has the process stop, then says so.
pub(super) fn begin(signal: i32, stopper: &Stopper) {
    *BEGAN.lock().expect("nobody panics while holding it") = Some(Instant::now());
    stopper.stop();
    let name = signal_hook::low_level::signal_name(signal).unwrap_or("signal");
    say(&format!(
        "ringmq: {name}: stopping in order: new work is refused, open work is ended, data goes to disk. A second \
         signal ends the process at once; the next start then recovers"
    ));
}

/// What to say of the data.
pub(super) fn outcome(ending: &Ending) -> &'static str {
    match ending {
        Ending::Clean(_) => "everything is on disk",
        Ending::Hasty => "not everything was on disk in time, the next start recovers",
        Ending::Failed(_) => "it failed",
    }
}

/// Says how long the stop took.
pub(super) fn tell(outcome: &str, stopper: &Stopper) {
    let began = *BEGAN.lock().expect("nobody panics while holding it");
    let Some(began) = began else { return };
    let parts: Vec<String> = stopper.waited().iter().map(ToString::to_string).collect();
    let (total, parts) = (began.elapsed().as_millis(), parts.join(", "));
    say(&format!("ringmq: stopped after {total} ms ({parts}); {outcome}"));
}

fn say(line: &str) {
    tracing::info!("{line}");
    logging::show(std::io::stdout(), line);
}
