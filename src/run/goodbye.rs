//! What an operator is told about a stop: that it began and what it waits for, and in the end how long each part took.
//!
//! On stdout, where the boot line was, and in the log.

use shard::server::{Ending, Stopper};
use std::io::Write;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

/// How long an output may take for a line.
const SAY: Duration = Duration::from_millis(500);

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
    show(std::io::stdout(), line);
}

/// Whoever started it may have closed its output, or does not read it: that is no reason not to stop. Another thread may
/// wait there for ever, and hold the output's lock.
pub(super) fn show(mut out: impl Write + Send + 'static, line: &str) {
    let (said, is_said) = mpsc::channel();
    let text = format!("{line}\n");
    std::thread::spawn(move || {
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        let _ = said.send(());
    });
    let _ = is_said.recv_timeout(SAY);
}
