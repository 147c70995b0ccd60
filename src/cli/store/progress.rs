//! How far a long scan is, on standard error, and whether the operator wants it to go on.
//!
//! On a terminal one line is rewritten several times a second, else there is a line every 5 s; nothing for short scans.

use signal_hook::consts::SIGINT;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TERMINAL_MS: u64 = 200;
const FILE_MS: u64 = 5_000;

/// Shared by the threads of a scan.
pub(super) struct Watch {
    stopped: Arc<AtomicBool>,
    enough: AtomicBool,
    begin: Instant,
    done: AtomicU64,
    all: AtomicU64,
    next_ms: AtomicU64,
    is_terminal: bool,
}

impl Watch {
    /// From now on an interrupt ends the scan in order.
    pub(super) fn new() -> Watch {
        let stopped = Arc::new(AtomicBool::new(false));
        // Without the handler an interrupt ends the process, which is no harm either: nothing is half done for long.
        let _ = signal_hook::flag::register(SIGINT, Arc::clone(&stopped));
        let is_terminal = io::stderr().is_terminal();
        Watch {
            stopped,
            enough: AtomicBool::new(false),
            begin: Instant::now(),
            done: AtomicU64::new(0),
            all: AtomicU64::new(0),
            next_ms: AtomicU64::new(if is_terminal { TERMINAL_MS * 2 } else { FILE_MS }),
            is_terminal,
        }
    }

    /// So much more will be read.
    pub(super) fn expect(&self, bytes: u64) {
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Nothing more is wanted of this scan.
    pub(super) fn enough(&self) {
        self.enough.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_enough(&self) -> bool {
        self.enough.load(Ordering::Relaxed)
    }

    /// So many bytes are about to be read. Error: the operator has interrupted.
    pub(super) fn go_on(&self, bytes: usize) -> io::Result<()> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let done = self.done.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        let elapsed = self.begin.elapsed();
        let now_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let next = self.next_ms.load(Ordering::Relaxed);
        let step = if self.is_terminal { TERMINAL_MS } else { FILE_MS };
        if now_ms >= next {
            let swapped = self.next_ms.compare_exchange(
                next,
                now_ms + step,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if swapped.is_ok() {
                self.show(done, elapsed);
            }
        }
        Ok(())
    }

    fn show(&self, done: u64, elapsed: Duration) {
        let line = line(done, self.all.load(Ordering::Relaxed), elapsed);
        let mut out = io::stderr().lock();
        // Nobody may be reading.
        let _ = if self.is_terminal {
            write!(out, "\r\x1b[K{line}").and_then(|()| out.flush())
        } else {
            writeln!(out, "{line}")
        };
    }

    /// Takes the line from the terminal.
    pub(super) fn finish(&self) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(done: u64, all: u64, elapsed: Duration) -> String {
    let all = all.max(1);
    let done = done.min(all);
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let per_s = u128::from(done) * 1000 / u128::from(ms);
    let left_s = u128::from(all - done) / per_s.max(1);
    format!(
        "{} of {} MiB, {} %, {} MiB/s, {}:{:02} left",
        done >> 20,
        all >> 20,
        u128::from(done) * 100 / u128::from(all),
        per_s >> 20,
        left_s / 60,
        left_s % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_bytes_share_speed_and_rest() {
        let text = line(256 << 20, 1 << 30, Duration::from_secs(2));
        assert_eq!(text, "256 of 1024 MiB, 25 %, 128 MiB/s, 0:06 left");
        assert_eq!(line(0, 0, Duration::ZERO), "0 of 0 MiB, 0 %, 0 MiB/s, 0:01 left");
    }
}
