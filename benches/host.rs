//! What glommio costs as host of the turn loop: an echo over the reactor, hosted and in a bare loop of our own.
//!
//! The same turn runs both ways, in alternation; its thread's CPU time per echo is compared, since waiting times
//! say little on a shared machine. The host has nothing to do under load, nor on a wake from sleep while no job runs
//! in the background; a higher ratio says that something has come between the turn and its ring.

use crate::harness::{Case, ratio};
use reactor::affinity::{Cpu, allowed_cpus};
use reactor::host::{self, Background, Pace, Turner};
use reactor::{Event, Reactor, ReactorConfig, clock, sys};
use rustix::time::{ClockId, clock_gettime};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Bytes of an echo.
const ECHO_BYTES: usize = 128;
/// Measurements of each way; the median counts.
const ROUNDS: usize = 9;
/// Echoes of a measurement that is never idle, and of one that always is in between.
const BUSY_ECHOES: u64 = 30_000;
const IDLE_ECHOES: u64 = 3_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        ratio("host/cpu-per-echo-under-load", 1.10, || compare(busy)),
        ratio("host/cpu-per-echo-with-idle-wakes", 1.15, || compare(idle)),
    ]
}

/// CPU time per echo of the hosted loop over that of the bare one.
fn compare(measure: fn(Way) -> Duration) -> f64 {
    let (mut hosted, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        hosted.push(measure(Way::Hosted));
        bare.push(measure(Way::Bare));
    }
    median(hosted).as_secs_f64() / median(bare).as_secs_f64()
}

fn median(mut list: Vec<Duration>) -> Duration {
    list.sort_unstable();
    list[list.len() / 2]
}

#[derive(Clone, Copy)]
enum Way {
    Hosted,
    Bare,
}

/// CPU time of a loop whose two sockets play with each other, so that each turn finds work.
fn busy(way: Way) -> Duration {
    let (listener, address) = listener();
    run(way, move |report| {
        let mut echo = Echo::new(listener, BUSY_ECHOES, report);
        echo.reactor.connect(address).unwrap();
        echo
    })
}

/// CPU time of a loop that waits for a client before each echo.
fn idle(way: Way) -> Duration {
    let (listener, address) = listener();
    let client = thread::spawn(move || {
        let cpus = allowed_cpus();
        core_affinity::set_for_current(core_affinity::CoreId { id: cpus[cpus.len() - 1] });
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut bytes = [7; ECHO_BYTES];
        for _ in 0..IDLE_ECHOES {
            stream.write_all(&bytes).unwrap();
            stream.read_exact(&mut bytes).unwrap();
        }
    });
    let used = run(way, move |report| Echo::new(listener, IDLE_ECHOES, report));
    client.join().unwrap();
    used
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = sys::listen(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Runs the loop on a thread of its own; its CPU time.
fn run(way: Way, make: impl FnOnce(mpsc::Sender<Duration>) -> Echo + Send + 'static) -> Duration {
    let (report, reports) = mpsc::channel();
    let cpu = allowed_cpus()[0];
    let thread = thread::spawn(move || match way {
        Way::Hosted => {
            let hosted = host::spawn("echo", cpu, move |_: Background<()>| Some(make(report)));
            hosted.unwrap().join().unwrap();
        }
        Way::Bare => run_bare(cpu, make(report)),
    });
    thread.join().unwrap();
    reports.recv().unwrap()
}

/// The loop without glommio: turns, and a wait in the ring when there is nothing to do.
fn run_bare(cpu: Cpu, mut echo: Echo) {
    core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
    loop {
        match echo.turn() {
            Pace::Stop => return,
            Pace::Busy => {}
            Pace::Idle => echo.wait(),
        }
    }
}

/// A turn loop that sends back what it gets, one message in flight, and ends after so many.
struct Echo {
    reactor: Reactor,
    events: Vec<Event>,
    buffers: Vec<Vec<u8>>,
    left: u64,
    began: Duration,
    report: mpsc::Sender<Duration>,
}

impl Echo {
    fn new(listener: TcpListener, echoes: u64, report: mpsc::Sender<Duration>) -> Echo {
        let mut reactor = Reactor::new(ReactorConfig::small()).unwrap();
        reactor.listen(listener, 0);
        let (events, buffers, began) = (Vec::new(), Vec::new(), cpu_time());
        Echo { reactor, events, buffers, left: echoes, began, report }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Accepted { socket, .. } => {
                self.reactor.start_receive(socket);
                self.began = cpu_time();
            }
            Event::Connected { socket, error } => {
                assert_eq!(error, None, "a listener of our own");
                self.reactor.start_receive(socket);
                self.reactor.send(socket, vec![7; ECHO_BYTES]);
            }
            Event::Received { socket, buffer, len } => {
                let mut bytes = self.buffers.pop().unwrap_or_default();
                bytes.extend_from_slice(self.reactor.received(buffer, len));
                self.reactor.give_back(buffer);
                self.reactor.send(socket, bytes);
                self.left = self.left.saturating_sub(1);
            }
            Event::Sent { mut buffer, .. } => {
                buffer.clear();
                self.buffers.push(buffer);
            }
            Event::Ended { .. }
            | Event::AcceptFailed { .. }
            | Event::Released { .. }
            | Event::Wrote { .. }
            | Event::Read { .. }
            | Event::Synced { .. } => {}
        }
    }
}

impl Turner for Echo {
    fn turn(&mut self) -> Pace {
        let mut events = std::mem::take(&mut self.events);
        self.reactor.turn(clock::mono(), &mut events);
        let is_busy = !events.is_empty();
        for event in events.drain(..) {
            self.on_event(event);
        }
        self.events = events;
        if self.left == 0 {
            // The last answer leaves with one more turn.
            self.reactor.turn(clock::mono(), &mut self.events);
            self.report.send(cpu_time() - self.began).unwrap();
            return Pace::Stop;
        }
        if is_busy || self.reactor.has_work() {
            return Pace::Busy;
        }
        Pace::Idle
    }

    fn wait(&mut self) {
        self.reactor.wait();
    }

    fn waker(&self) -> std::io::Result<OwnedFd> {
        self.reactor.waker()
    }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}
