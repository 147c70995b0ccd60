//! The bare ring: frames in over TCP, their bytes into a log by group-committed direct writes, a frame out.
//!
//! It is the limit of RingMQ's design on a machine: the broker's reactor, window, write planner and pre-zeroed
//! segments without any of RocketMQ. Requests are not looked into beyond their length; replies are one constant
//! frame. One thread, one ring, one log that starts over when its segments are full. Java counterpart: none.

mod conns;
mod log;

use base::time::MonoNs;
use clap::{Args, ValueEnum};
use conns::Conns;
use log::{Log, LogPlan};
use reactor::sys::{self, Slice};
use reactor::{Event, Reactor, ReactorConfig, clock};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Without sleep for so long, the thread counts as busy.
const BUSY_NS: u64 = 1_000_000;
/// Longest sleep, so that a signal that came before it is not missed for long.
const SLEEP_NS_MAX: u64 = 100_000_000;

/// When a request is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Ack {
    /// When its bytes are in the window in shared memory, as with ASYNC_FLUSH
    Append,
    /// When the device has them
    Written,
    /// When they are durable, as with SYNC_FLUSH
    Synced,
}

/// How written bytes become durable with `--ack synced`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum SyncBy {
    /// Each write waits for the device (RWF_DSYNC)
    Dsync,
    /// An fdatasync behind the writes, one in flight
    Fdatasync,
}

/// Arguments of `perf ring`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RingArgs {
    /// Port on 127.0.0.1
    #[arg(long)]
    port: u16,
    /// Directory of the log, emptied of old segments
    #[arg(long)]
    dir: PathBuf,
    /// When a request is answered
    #[arg(long, value_enum, default_value_t = Ack::Append)]
    ack: Ack,
    /// How synced writes are synced
    #[arg(long, value_enum, default_value_t = SyncBy::Fdatasync)]
    sync_by: SyncBy,
    /// Bytes to store of each frame, from its end; 0: all after the length
    #[arg(long, default_value_t = 0)]
    store_bytes: usize,
    /// Bytes of each reply, its length word included
    #[arg(long, default_value_t = 302, value_parser = clap::value_parser!(u32).range(4..=65_536))]
    reply_bytes: u32,
    /// A gap in the work that is usually shorter is spun through, as the broker's shards do; 0: always sleep
    #[arg(long, default_value_t = 25_000, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    spin_ns: u64,
    /// CPU to run on
    #[arg(long)]
    cpu: Option<usize>,
    /// Window in MiB
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(16..=4096))]
    window_mib: u16,
    /// Size of each segment in MiB
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=2047))]
    segment_mib: u16,
    /// Segments; the log starts over behind the last
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    segments: u16,
}

/// Runs until SIGTERM or SIGINT, then prints what was stored as one line of JSON.
pub(crate) fn run(args: &RingArgs) -> Result<(), String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|e| e.to_string())?;
    }
    if let Some(id) = args.cpu
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        return Err(format!("--cpu {id}: this process may not run there"));
    }
    // Refused only by old kernels; then synced writes look slower, for the broker as well.
    let _ = sys::set_slice(Slice::Short);
    sys::raise_open_files().map_err(|e| format!("open files: {e}"))?;
    let mut ring = Ring::new(args)?;
    println!("the bare ring listens on 127.0.0.1:{}", args.port);
    while !stop.load(Ordering::Relaxed) {
        ring.turn();
    }
    let (requests, bytes) = ring.stored;
    println!("{}", serde_json::json!({ "requests": requests, "stored_bytes": bytes }));
    ring.log.remove()
}

struct Ring {
    reactor: Reactor,
    conns: Conns,
    log: Log,
    ack: Ack,
    store_bytes: usize,
    stored: (u64, u64),
    events: Vec<Event>,
    idle_since: Option<MonoNs>,
    idle_gap_ns: u64,
    spin_ns: u64,
    slice: Slice,
    awake_since: MonoNs,
}

impl Ring {
    fn new(args: &RingArgs) -> Result<Ring, String> {
        let config = ReactorConfig {
            entries: 1024,
            receive_buffers: 1024,
            receive_buffer_bytes: 16 * 1024,
            sockets_max: 4096,
            scratch_blocks: 64,
        };
        let mut reactor = Reactor::new(config).map_err(|e| e.to_string())?;
        let plan = LogPlan {
            dir: &args.dir,
            window_bytes: usize::from(args.window_mib) << 20,
            segment_bytes: u64::from(args.segment_mib) << 20,
            segments: args.segments,
            ack: args.ack,
            sync_by: args.sync_by,
        };
        let log = Log::create(&plan, &mut reactor)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
        let listener = sys::listen(address, false).map_err(|e| format!("{address}: {e}"))?;
        reactor.listen(listener, 0);
        let reply_bytes = usize::try_from(args.reply_bytes).expect("usize has at least 32 bits");
        Ok(Ring {
            reactor,
            conns: Conns::new(reply_bytes),
            log,
            ack: args.ack,
            store_bytes: args.store_bytes,
            stored: (0, 0),
            events: Vec::new(),
            idle_since: None,
            idle_gap_ns: u64::MAX / 8,
            spin_ns: args.spin_ns,
            slice: Slice::Short,
            awake_since: MonoNs(0),
        })
    }

    /// Takes all completions, stores, writes, answers; sleeps when there was nothing to do.
    fn turn(&mut self) {
        let now = clock::mono();
        let mut events = std::mem::take(&mut self.events);
        self.reactor.turn(now, &mut events);
        let is_busy = !events.is_empty();
        for event in events.drain(..) {
            self.on_event(event);
        }
        self.events = events;
        while self.log.has_room()
            && let Some(at) = self.conns.next_stalled()
        {
            self.store(at, &[]);
        }
        self.log.plan(now, &mut self.reactor);
        self.conns.release(self.log.acknowledged());
        self.conns.flush(&mut self.reactor);
        if is_busy || self.reactor.has_work() {
            if let Some(since) = self.idle_since.take() {
                let gap = now.since(since).min(self.spin_ns * 8);
                self.idle_gap_ns = (self.idle_gap_ns * 3 + gap) / 4;
            }
            if now.since(self.awake_since) >= BUSY_NS {
                self.ask(Slice::Long);
            }
        } else {
            self.rest(now);
        }
    }

    /// Spins while work is likely to come soon, as the broker does, and sleeps otherwise.
    fn rest(&mut self, now: MonoNs) {
        let since = *self.idle_since.get_or_insert(now);
        if self.idle_gap_ns < self.spin_ns && now.since(since) < self.spin_ns * 2 {
            std::hint::spin_loop();
            return;
        }
        let latest = MonoNs(now.0 + SLEEP_NS_MAX);
        let until = self.log.next_deadline().unwrap_or(latest).min(latest);
        if until <= now {
            return;
        }
        self.reactor.set_timer(until);
        if self.reactor.has_work() {
            return;
        }
        self.ask(Slice::Short);
        self.reactor.wait();
        self.awake_since = clock::mono();
    }

    /// As the broker's shards do: a short slice to wake with, a long one for a thread that goes on and on.
    fn ask(&mut self, slice: Slice) {
        if self.slice != slice {
            self.slice = slice;
            let _ = sys::set_slice(slice);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Accepted { socket, .. } => {
                self.conns.open(socket);
                self.reactor.start_receive(socket);
            }
            Event::Received { socket, buffer, len } => {
                if let Some(at) = self.conns.of(socket) {
                    // The reactor lends the bytes while the log is written to: both are fields of this.
                    self.store_received(at, buffer, len);
                }
                self.reactor.give_back(buffer);
            }
            Event::Ended { socket, .. } => self.reactor.close(socket),
            Event::Sent { socket, buffer, .. } => self.conns.sent(socket, buffer),
            Event::Released { socket } => self.conns.released(socket),
            Event::Wrote { tag, error } => {
                assert!(error.is_none(), "a write of the log failed: errno {error:?}");
                self.log.wrote(tag);
            }
            Event::Synced { error, .. } => {
                assert!(error.is_none(), "a sync of the log failed: errno {error:?}");
                self.log.synced();
            }
            Event::AcceptFailed { error, .. } => eprintln!("accepting failed: errno {error}"),
            Event::Connected { .. } | Event::Read { .. } => {
                unreachable!("the bare ring neither connects nor reads files")
            }
        }
    }

    fn store_received(&mut self, at: usize, buffer: reactor::receive::BufferId, len: usize) {
        let bytes = self.reactor.received(buffer, len);
        let mut sink =
            LogSink { log: &mut self.log, store_bytes: self.store_bytes, stored: &mut self.stored };
        self.conns.feed(at, bytes, &mut |frame| sink.put(frame), self.ack == Ack::Append);
    }

    fn store(&mut self, at: usize, bytes: &[u8]) {
        let mut sink =
            LogSink { log: &mut self.log, store_bytes: self.store_bytes, stored: &mut self.stored };
        self.conns.feed(at, bytes, &mut |frame| sink.put(frame), self.ack == Ack::Append);
    }
}

struct LogSink<'a> {
    log: &'a mut Log,
    store_bytes: usize,
    stored: &'a mut (u64, u64),
}

impl LogSink<'_> {
    /// Copies a frame's bytes into the window and tells where they end; `None`: there is no room yet.
    fn put(&mut self, frame: &[u8]) -> Option<u64> {
        let body = &frame[4..];
        let len = if self.store_bytes == 0 { body.len() } else { self.store_bytes };
        let end = self.log.append(&body[body.len() - len.min(body.len())..], len)?;
        *self.stored = (self.stored.0 + 1, self.stored.1 + len as u64);
        Some(end)
    }
}
