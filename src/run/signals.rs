//! SIGTERM and SIGINT: the first one stops in order, the second one ends the process at once.

use super::goodbye;
use crate::logging;
use shard::server::Stopper;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator;
use std::io;

/// Exit status after a second signal: 128 + SIGINT, as shells report it.
const EXIT_IMPATIENT: i32 = 130;

/// Signals that were claimed and are not acted on yet.
pub(super) struct Signals(iterator::Signals);

impl Signals {
    /// From now on the signals no longer end the process by themselves.
    pub(super) fn catch() -> io::Result<Signals> {
        iterator::Signals::new([SIGINT, SIGTERM]).map(Signals)
    }

    /// Acts on them, also on one that came before.
    pub(super) fn stop_on_signal(self, stopper: Stopper) {
        let Signals(mut signals) = self;
        let act = move || {
            let mut seen = signals.forever();
            if let Some(signal) = seen.next() {
                goodbye::begin(signal, &stopper);
            }
            if seen.next().is_some() {
                let line = "ringmq: second signal, ending at once; the next start recovers";
                logging::show(io::stderr(), line);
                std::process::exit(EXIT_IMPATIENT);
            }
        };
        let spawned = std::thread::Builder::new().name("signals".into()).spawn(act);
        spawned.expect("a thread at start-up");
    }
}
