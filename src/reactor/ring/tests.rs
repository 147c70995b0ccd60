//! The reactor against real sockets and files: echo, partial reads, slow readers, closes at bad moments.
#![allow(clippy::wildcard_enum_match_arm)] // a test picks the one event it waits for

use super::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

struct Bench {
    reactor: Reactor,
    address: SocketAddr,
    events: Vec<Event>,
}

impl Bench {
    fn new() -> Bench {
        let mut reactor = Reactor::new(ReactorConfig::small()).unwrap();
        let listener = sys::listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let address = listener.local_addr().unwrap();
        reactor.listen(listener, 7);
        Bench { reactor, address, events: Vec::new() }
    }

    /// Turns until `pick` answers, at most five seconds.
    fn until<T>(&mut self, mut pick: impl FnMut(&mut Reactor, Event) -> Option<T>) -> T {
        let end = std::time::Instant::now() + Duration::from_secs(5);
        while std::time::Instant::now() < end {
            let mut events = std::mem::take(&mut self.events);
            self.reactor.turn(crate::clock::mono(), &mut events);
            let mut found = None;
            for event in events.drain(..) {
                if let Some(value) = pick(&mut self.reactor, event) {
                    found = Some(value);
                }
            }
            self.events = events;
            if let Some(value) = found {
                return value;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        panic!("nothing happened in five seconds");
    }

    fn accept(&mut self) -> SocketId {
        self.until(|reactor, event| match event {
            Event::Accepted { listener: 7, socket, .. } => {
                reactor.start_receive(socket);
                Some(socket)
            }
            _ => None,
        })
    }
}

#[test]
fn bytes_come_and_go() {
    let mut bench = Bench::new();
    let mut client = TcpStream::connect(bench.address).unwrap();
    let socket = bench.accept();
    client.write_all(b"ping").unwrap();
    let got = bench.until(|reactor, event| match event {
        Event::Received { buffer, len, .. } => {
            let bytes = reactor.received(buffer, len).to_vec();
            reactor.give_back(buffer);
            Some(bytes)
        }
        _ => None,
    });
    assert_eq!(got, b"ping");
    bench.reactor.send(socket, b"pong".to_vec());
    bench.until(|_, event| match event {
        Event::Sent { error, .. } => Some(error),
        _ => None,
    });
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"pong");
}

#[test]
fn more_bytes_than_buffers_all_arrive() {
    let mut bench = Bench::new();
    let mut client = TcpStream::connect(bench.address).unwrap();
    bench.accept();
    let total = 4 << 20;
    let writer = std::thread::spawn(move || {
        client.write_all(&vec![5u8; total]).unwrap();
        client
    });
    let mut seen = 0;
    bench.until(|reactor, event| {
        if let Event::Received { buffer, len, .. } = event {
            seen += len;
            reactor.give_back(buffer);
        }
        (seen == total).then_some(())
    });
    drop(writer.join().unwrap());
    let error = bench.until(|_, event| match event {
        Event::Ended { error, .. } => Some(error),
        _ => None,
    });
    assert_eq!(error, None);
}

#[test]
fn a_close_during_a_stuck_send_keeps_the_buffer_until_the_kernel_is_done() {
    let mut bench = Bench::new();
    let client = TcpStream::connect(bench.address).unwrap();
    let socket = bench.accept();
    bench.reactor.send(socket, vec![1; 64 << 20]);
    for _ in 0..20 {
        let mut events = Vec::new();
        bench.reactor.turn(crate::clock::mono(), &mut events);
    }
    bench.reactor.close(socket);
    bench.reactor.close(socket);
    bench.until(|_, event| match event {
        Event::Released { socket: released } => (released == socket).then_some(()),
        Event::Sent { .. } | Event::Ended { .. } => panic!("nothing after a close but its end"),
        _ => None,
    });
    assert_eq!(bench.reactor.socket_count(), 0);
    drop(client);
}

#[test]
fn a_receive_stops_and_goes_on() {
    let mut bench = Bench::new();
    let mut client = TcpStream::connect(bench.address).unwrap();
    let socket = bench.accept();
    for _ in 0..3 {
        bench.reactor.turn(crate::clock::mono(), &mut Vec::new());
    }
    bench.reactor.stop_receive(socket);
    bench.reactor.turn(crate::clock::mono(), &mut Vec::new());
    client.write_all(b"later").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let mut events = Vec::new();
    bench.reactor.turn(crate::clock::mono(), &mut events);
    assert!(events.is_empty(), "stopped, but {events:?}");
    bench.reactor.start_receive(socket);
    bench.until(|reactor, event| match event {
        Event::Received { buffer, .. } => {
            reactor.give_back(buffer);
            Some(())
        }
        _ => None,
    });
}

#[test]
fn a_refused_connect_says_so() {
    let mut bench = Bench::new();
    let free = sys::listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    bench.reactor.connect(address).unwrap();
    let error = bench.until(|_, event| match event {
        Event::Connected { error, .. } => Some(error),
        _ => None,
    });
    assert_eq!(error, Some(libc::ECONNREFUSED));
}

#[test]
fn blocks_are_written_and_read_back() {
    let mut bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .unwrap();
    let file = bench.reactor.open_file(file);
    bench.reactor.write(
        file,
        WriteFrom::Copy(b"block"),
        4096,
        WriteMode { durable: true, by_worker: true },
        1,
    );
    bench.until(|_, event| match event {
        Event::Wrote { tag: 1, error: None } => Some(()),
        _ => None,
    });
    bench.reactor.read(file, vec![0; 10_000], 4096, 2);
    let bytes = bench.until(|_, event| match event {
        Event::Read { tag: 2, buffer, error: None } => Some(buffer),
        _ => None,
    });
    assert_eq!(bytes.len(), 4096, "the read is cut at the end of the file");
    assert_eq!(&bytes[..6], b"block\0");
    bench.reactor.sync(file, 3);
    bench.reactor.drop_file(file);
    bench.until(|_, event| match event {
        Event::Synced { tag: 3, error: None } => Some(()),
        _ => None,
    });
}

#[test]
fn the_earlier_of_two_deadlines_ends_a_wait() {
    let mut bench = Bench::new();
    let began = crate::clock::mono();
    bench.reactor.turn(began, &mut Vec::new());
    bench.reactor.set_timer(began.plus_ms(60_000));
    bench.reactor.set_timer(began.plus_ms(5));
    bench.reactor.wait();
    assert!(crate::clock::mono() < began.plus_ms(30_000));
}

#[test]
fn another_thread_ends_a_wait() {
    let mut bench = Bench::new();
    let began = crate::clock::mono();
    bench.reactor.turn(began, &mut Vec::new());
    bench.reactor.set_timer(began.plus_ms(60_000));
    let waker = bench.reactor.waker().unwrap();
    let other = std::thread::spawn(move || sys::event_signal(waker.as_raw_fd()));
    bench.reactor.wait();
    other.join().unwrap();
    assert!(crate::clock::mono() < began.plus_ms(30_000));
    // And again: the poll stays armed.
    bench.reactor.turn(crate::clock::mono(), &mut Vec::new());
    let waker = bench.reactor.waker().unwrap();
    let other = std::thread::spawn(move || sys::event_signal(waker.as_raw_fd()));
    bench.reactor.wait();
    other.join().unwrap();
    assert!(crate::clock::mono() < began.plus_ms(30_000));
}

#[test]
fn a_slot_is_not_used_again_before_its_release_is_told() {
    let mut reactor = Reactor::new(ReactorConfig::small()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let first = reactor.connect(address).unwrap();
    let mut events = Vec::new();
    while !events.iter().any(|e| matches!(e, Event::Connected { .. })) {
        reactor.turn(crate::clock::mono(), &mut events);
    }
    // Nothing is in flight: the close is done at once, and told with the next turn.
    reactor.close(first);
    let second = reactor.connect(address).unwrap();
    assert_ne!(first, second);
    reactor.turn(crate::clock::mono(), &mut events);
    assert!(events.iter().any(|e| matches!(e, Event::Released { socket } if *socket == first)));
    assert_eq!(reactor.connect(address).unwrap(), first);
}
