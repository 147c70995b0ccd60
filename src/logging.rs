//! Log lines: in Java's pattern to rolled files, or short to a terminal.
//!
//! A line is formatted where it is written and handed to one writer thread through a bounded queue. When the queue is
//! full the line is dropped and counted: a slow disk under the log never holds up a shard. `RINGMQ_LOG` filters by
//! level and target, like `info,store=debug`. Limits: [`QUEUE_LINES`], [`FILE_BYTES_MAX`], [`FILES_KEPT`].

mod files;
mod line;
mod panics;

use files::{RolledFile, Sink};
pub(crate) use line::civil;
use line::{Console, LineLayer, Style};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, TrySendError, channel,
    sync_channel,
};
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;

/// Lines that may wait for the writer.
const QUEUE_LINES: usize = 8192;
/// A file that has so many bytes is rolled.
const FILE_BYTES_MAX: u64 = 128 << 20;
/// Rolled files kept per log.
const FILES_KEPT: u32 = 20;
/// How long a line may take at a stop: nobody may read the pipe that is stderr; a file's disk may be slow.
const STDERR_PATIENCE: Duration = Duration::from_millis(500);
const FILE_PATIENCE: Duration = Duration::from_secs(5);
/// How long all of them may take, and how often is looked.
const WAIT_MAX: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);
/// Environment variable with the filter.
const FILTER: &str = "RINGMQ_LOG";

/// What the writer is told.
enum Message {
    /// A whole line with its end, for the sink with that index.
    Line(usize, String),
    /// Everything before it is with the kernel when this is given up.
    Flush(Sender<()>),
    Stop,
}

/// Where log lines are put by the threads that write them.
#[derive(Clone)]
struct Queue {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

impl Queue {
    fn put(&self, sink: usize, line: String) {
        if self.sender.try_send(Message::Line(sink, line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was put is written, for `patience` at most.
    fn settle(&self, patience: Duration) {
        let (done, is_done) = channel();
        if self.sender.try_send(Message::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(patience);
        }
    }
}

/// Keeps the writer alive; dropping it writes what waits, unless nobody takes it. Lines logged later are lost.
pub(crate) struct Guard {
    sender: SyncSender<Message>,
    /// Says when the writer has ended: it gives the other side up.
    ended: Receiver<()>,
    /// Lines that it has written.
    written: Arc<AtomicU64>,
    /// It is left behind when it writes no line for so long.
    patience: Duration,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let end = Instant::now() + WAIT_MAX;
        let (mut written, mut since) = (self.written.load(Ordering::Relaxed), Instant::now());
        let mut is_told = false;
        while since.elapsed() < self.patience && Instant::now() < end {
            // The writer may have ended before only by a panic, of which stderr has the message.
            is_told = is_told
                || !matches!(self.sender.try_send(Message::Stop), Err(TrySendError::Full(_)));
            if self.ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            let now_written = self.written.load(Ordering::Relaxed);
            if now_written != written {
                (written, since) = (now_written, Instant::now());
            }
        }
    }
}

/// Sends log lines of `process` into files in `directory`, which is created. Errors: it cannot be.
pub(crate) fn to_files(
    process: &'static str,
    directory: &Path,
    zone_minutes: i32,
) -> io::Result<Guard> {
    let names: &[&str] = match process {
        "broker" => &["broker", "store"],
        _ => &[process],
    };
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    for name in names {
        sinks.push(Box::new(RolledFile::open(directory, name, FILE_BYTES_MAX, FILES_KEPT)?));
    }
    let (guard, queue) = start_writer(sinks, QUEUE_LINES, FILE_PATIENCE)?;
    panics::install(Some(queue.clone()));
    install(LineLayer {
        queue,
        style: Style::Java { zone_minutes },
        own_store_log: names.len() > 1,
        console: Some(to_stdout()),
    });
    Ok(guard)
}

/// Sends log lines to stderr: short ones to a terminal, Java's pattern otherwise.
pub(crate) fn to_stderr(zone_minutes: i32) -> Option<Guard> {
    let style =
        if io::stderr().is_terminal() { Style::Short } else { Style::Java { zone_minutes } };
    // Without a thread there are no log lines, but the process itself needs none to run.
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(io::stderr())];
    let (guard, queue) = start_writer(sinks, QUEUE_LINES, STDERR_PATIENCE).ok()?;
    panics::install(None);
    install(LineLayer { queue, style, own_store_log: false, console: None });
    Some(guard)
}

/// Lines that do not only go to the log, until nobody takes one.
fn to_stdout() -> Console {
    let is_taken = AtomicBool::new(true);
    Box::new(move |line| {
        if is_taken.load(Ordering::Relaxed) && !show(io::stdout(), line) {
            is_taken.store(false, Ordering::Relaxed);
        }
    })
}

/// Writes a line with its end. Whoever started the process may have closed its output, or does not read it, and another thread
/// may wait there for ever and hold the output's lock: that holds nobody up for longer than `STDERR_PATIENCE`. Returns whether it was
/// shorter.
pub(crate) fn show(mut out: impl Write + Send + 'static, line: &str) -> bool {
    let (said, is_said) = channel::<()>();
    let text = format!("{line}\n");
    let write = move || {
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        drop(said);
    };
    let thread = std::thread::Builder::new().name("show".to_owned()).spawn(write);
    thread.is_ok() && is_said.recv_timeout(STDERR_PATIENCE) == Err(RecvTimeoutError::Disconnected)
}

fn install(layer: LineLayer) {
    let text = std::env::var(FILTER).unwrap_or_default();
    let filter =
        if text.is_empty() { Ok(EnvFilter::new("info")) } else { EnvFilter::try_new(&text) };
    let filter = filter.unwrap_or_else(|error| {
        eprintln!("warning: {FILTER} = {text:?} is not a filter: {error}");
        EnvFilter::new("info")
    });
    let subscriber = tracing_subscriber::registry().with(filter).with(layer);
    // A second installation can only come from a test; the first one stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

fn start_writer(
    sinks: Vec<Box<dyn Sink>>,
    lines: usize,
    patience: Duration,
) -> io::Result<(Guard, Queue)> {
    let (sender, receiver) = sync_channel(lines);
    let (lost, written) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let queue = Queue { sender: sender.clone(), lost: Arc::clone(&lost) };
    let (ends, ended) = channel::<()>();
    let guard = Guard { sender, ended, written: Arc::clone(&written), patience };
    let writer = std::thread::Builder::new().name("log".to_owned());
    writer.spawn(move || {
        write_all(&receiver, sinks, &lost, &written);
        drop(ends);
    })?;
    Ok((guard, queue))
}

/// Writes until told to stop; flushes whenever nothing waits.
fn write_all(
    receiver: &Receiver<Message>,
    mut sinks: Vec<Box<dyn Sink>>,
    lost: &AtomicU64,
    written: &AtomicU64,
) {
    loop {
        let message = match receiver.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                report_lost(&mut sinks, lost);
                flush(&mut sinks);
                let Ok(message) = receiver.recv() else { break };
                message
            }
        };
        let (index, line) = match message {
            Message::Line(index, line) => (index, line),
            Message::Flush(done) => {
                flush(&mut sinks);
                drop(done);
                continue;
            }
            Message::Stop => break,
        };
        let result = sinks.get_mut(index).map(|sink| sink.write_line(line.as_bytes()));
        if !matches!(result, Some(Ok(()))) {
            lost.fetch_add(1, Ordering::Relaxed);
        }
        written.fetch_add(1, Ordering::Relaxed);
    }
    report_lost(&mut sinks, lost);
    flush(&mut sinks);
}

fn report_lost(sinks: &mut [Box<dyn Sink>], lost: &AtomicU64) {
    let count = lost.swap(0, Ordering::Relaxed);
    let Some(sink) = sinks.first_mut().filter(|_| count > 0) else { return };
    let line =
        format!("{count} log lines were lost: they came faster than they could be written\n");
    if sink.write_line(line.as_bytes()).is_err() {
        lost.fetch_add(count, Ordering::Relaxed);
    }
}

fn flush(sinks: &mut [Box<dyn Sink>]) {
    for sink in sinks {
        // What a full disk does not take now is tried again with the next line.
        let _ = sink.flush_lines();
    }
}

impl Sink for io::Stderr {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        self.write_all(line)
    }

    fn flush_lines(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
