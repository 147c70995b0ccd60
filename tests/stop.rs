//! Orderly stops of a real broker: who is told, what is refused, what is answered, how long each part took. A name
//! server of the test's own sees the registration, and holds a stop up where the test wants to look at it.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{Connection, Consumer, Error, Message, NewTopic, Options, Producer, Pull, PullStatus};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use support::{Data, Server, Setting};
use wire::codes::{MQ_VERSION_4_9_7, request, response};

const TIMEOUT: Duration = Duration::from_secs(20);
const TOPIC: &str = "Stopping";

/// A name server that answers success to everything but, if it is to be slow, the goodbye; what it is asked.
fn name_server(answers_goodbye: bool) -> (SocketAddr, mpsc::Receiver<i32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, codes) = mpsc::channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut broker = Connection::over(stream, Options::default()).unwrap();
        while let Ok(request) = broker.take_request(Duration::from_secs(60)) {
            let code = request.code();
            if code != request::UNREGISTER_BROKER || answers_goodbye {
                broker.answer(&request, response::SUCCESS, |_| {}, &[]).unwrap();
            }
            if asked.send(code).is_err() {
                return;
            }
        }
    });
    (address, codes)
}

fn unregistered(codes: &mpsc::Receiver<i32>, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    while let Ok(code) = codes.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if code == request::UNREGISTER_BROKER {
            return true;
        }
    }
    false
}

fn setting(shards: u16, config: &str) -> Setting {
    Setting { shards, config: config.to_owned() }
}

fn make_topic(server: &Server) {
    let mut connection = server.connect(TIMEOUT).unwrap();
    connection.create_topic(&NewTopic::new(TOPIC, 8)).unwrap();
}

fn refused(result: Result<(), Error>) -> (i32, String) {
    match result {
        Err(Error::Refused { code, remark }) => (code, remark),
        Err(other) => panic!("{other}"),
        Ok(()) => panic!("it is not refused"),
    }
}

#[test]
fn a_stop_tells_name_servers_refuses_new_work_and_answers_who_waits() {
    for shards in [1, 2] {
        let data = Data::new();
        let (namesrv, codes) = name_server(false);
        let server = Server::start_broker(data.path(), &setting(shards, ""), namesrv);
        make_topic(&server);
        let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
        let mut waiting = Consumer::new(server.connect(TIMEOUT).unwrap(), "G");
        let mut late = Consumer::new(server.connect(TIMEOUT).unwrap(), "G");
        let mut tool = server.connect(TIMEOUT).unwrap();
        for queue in 0..8 {
            producer.send(&Message::new(TOPIC, &b"before"[..]), queue).unwrap();
        }
        let long = |queue| Pull::new(TOPIC, queue, 1).suspend(Duration::from_secs(60));
        let pulls: Vec<i32> = (0..8).map(|queue| waiting.submit(&long(queue)).unwrap()).collect();
        late.commit(TOPIC, 0, 1).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        server.signal(Signal::TERM);
        let began = Instant::now();
        let line = server.line(TIMEOUT).unwrap();
        assert!(line.starts_with("ringmq: SIGTERM: stopping in order"), "{line}");
        for opaque in pulls {
            let pulled = waiting.result(opaque).unwrap();
            assert_eq!(pulled.status, PullStatus::NotFound, "as when its time is up");
        }
        assert!(began.elapsed() < Duration::from_secs(2), "who waits is answered at once");
        assert!(unregistered(&codes, TIMEOUT), "name servers are told");
        // The name server does not answer: the broker still waits, up to 3 s, and begins nothing.
        let shutting_down = (response::SERVICE_NOT_AVAILABLE, "the broker is shutting down");
        let is_it = |(code, remark): (i32, String)| {
            assert_eq!(code, shutting_down.0, "{remark}");
            assert!(remark.ends_with(shutting_down.1), "{remark}");
        };
        let sent = |queue| producer.send(&Message::new(TOPIC, &b"late"[..]), queue).map(drop);
        (0..8).map(sent).for_each(|result| is_it(refused(result)));
        is_it(refused(tool.create_topic(&NewTopic::new("Late", 8))));
        is_it(refused(late.pull(&long(3)).map(drop)));
        let found = late.pull(&Pull::new(TOPIC, 3, 0)).unwrap();
        assert_eq!(found.messages.len(), 1, "what is there is given");
        let (status, lines) = server.ended();
        assert!(status.success(), "{status}");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(8), "a name server is waited for 3 s, not {took:?}");
        let last = lines.last().unwrap();
        assert!(last.starts_with("ringmq: stopped after "), "{last}");
        for part in [
            "name servers given up",
            "last offsets of all shards",
            "tables ",
            "disk ",
            "open answers ",
        ] {
            assert!(last.contains(part), "{part}: {last}");
        }
        assert!(last.ends_with("everything is on disk"), "{last}");
        // Nothing of what was refused is there.
        let (namesrv, codes) = name_server(true);
        let server = Server::start_broker(data.path(), &setting(shards, ""), namesrv);
        let mut connection = server.connect(TIMEOUT).unwrap();
        for queue in 0..8 {
            assert_eq!(connection.max_offset(TOPIC, queue).unwrap(), 1);
        }
        assert_eq!(connection.consumer_offset("G", TOPIC, 0).unwrap(), Some(1));
        server.signal(Signal::INT);
        assert!(unregistered(&codes, TIMEOUT));
        let (status, lines) = server.ended();
        assert!(status.success() && lines[0].starts_with("ringmq: SIGINT: "), "{lines:?}");
        assert!(!lines[1].contains("given up"), "{lines:?}");
    }
}

#[test]
fn a_second_signal_ends_a_stop_that_takes_too_long() {
    let data = Data::new();
    let (namesrv, _codes) = name_server(false);
    let server = Server::start_broker(data.path(), &setting(1, ""), namesrv);
    make_topic(&server);
    server.signal(Signal::INT);
    let line = server.line(TIMEOUT).unwrap();
    assert!(line.contains("A second signal ends the process at once"), "{line}");
    let second = Instant::now();
    server.signal(Signal::INT);
    let (status, lines) = server.ended();
    assert_eq!(status.code(), Some(130), "{lines:?}");
    assert!(second.elapsed() < Duration::from_secs(2), "{:?}", second.elapsed());
    assert!(server_starts(&data), "the next start recovers");
}

fn server_starts(data: &Data) -> bool {
    let (namesrv, _codes) = name_server(true);
    let server = Server::start_broker(data.path(), &setting(1, ""), namesrv);
    let mut connection = server.connect(TIMEOUT).unwrap();
    let is_there = connection.max_offset(TOPIC, 0).is_ok();
    server.signal(Signal::TERM);
    is_there && server.ended().0.success()
}

/// How a process ends that was told to; panics when it waits for its output.
fn end_of(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > TIMEOUT {
            child.kill().unwrap();
            panic!("it waits for its output");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_log_that_nobody_reads_holds_neither_a_stop_up_nor_a_second_signal() {
    for (signals, exit) in [(1, 0), (2, 130)] {
        let data = Data::new();
        let config = data.path().join("broker.conf");
        let lingers = "enableShutdownGracefully=true\nshutdownWaitTimeSeconds=600\n";
        std::fs::write(&config, if signals == 2 { lingers } else { "" }).unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
        command.args(["standalone", "--any-port", "--shards", "1"]).arg("-c").arg(&config);
        command.arg("--data").arg(data.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        command.env("HOME", data.path()).current_dir(data.path());
        let mut child = command.stderr(writer.try_clone().unwrap()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.starts_with("The broker[")));
        // It is full from now on: a line of the log waits for ever, and whatever it holds meanwhile is held.
        std::thread::spawn(move || while writer.write_all(&[b'x'; 4096]).is_ok() {});
        std::thread::sleep(Duration::from_millis(200));
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert!(lines.any(|line| line.contains("SIGTERM")));
        if signals == 2 {
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        }
        assert_eq!(end_of(&mut child).code(), Some(exit), "{signals} signals");
        drop(reader);
    }
}

#[test]
fn an_output_that_nobody_reads_does_not_hold_a_stop_up() {
    let data = Data::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = data.path().join("namesrv.conf");
    std::fs::write(&config, format!("listenPort={port}\nbindAddress=127.0.0.1\n")).unwrap();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command.arg("namesrv").arg("-c").arg(&config).stdin(Stdio::null()).stderr(Stdio::null());
    command.env("HOME", data.path()).current_dir(data.path());
    let mut child = command.stdout(writer.try_clone().unwrap()).spawn().unwrap();
    let mut boot = Vec::new();
    let mut byte = [0];
    while !(boot.ends_with(b"\n") && boot.windows(12).any(|text| text == b"boot success")) {
        reader.read_exact(&mut byte).unwrap();
        boot.extend_from_slice(&byte);
    }
    // What a pipe holds.
    writer.write_all(&[b'x'; 64 << 10]).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = end_of(&mut child);
    assert!(status.success(), "{status}");
    drop(reader);
}

#[test]
fn an_output_that_is_closed_ends_nothing() {
    let data = Data::new();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = data.path().join("namesrv.conf");
    let text = format!("listenPort={}\nbindAddress=127.0.0.1\n", address.port());
    std::fs::write(&config, text).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command.arg("namesrv").arg("-c").arg(&config).stdin(Stdio::null()).stderr(Stdio::null());
    command.env("HOME", data.path()).current_dir(data.path());
    let mut child = command.stdout(writer).spawn().unwrap();
    let began = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        assert!(began.elapsed() < TIMEOUT, "it does not serve");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The line that it has started comes after that.
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "it has ended");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = end_of(&mut child);
    assert!(status.success(), "{status}");
}

#[test]
fn clients_that_understand_it_are_asked_to_go_away_first() {
    for shards in [1, 2] {
        let data = Data::new();
        let (namesrv, codes) = name_server(true);
        let config = "enableShutdownGracefully=true\nshutdownWaitTimeSeconds=2\n";
        let server = Server::start_broker(data.path(), &setting(shards, config), namesrv);
        make_topic(&server);
        let old = Options { version: MQ_VERSION_4_9_7, timeout: TIMEOUT, ..Options::default() };
        let connect = |options| Connection::connect_with(server.broker, options).unwrap();
        let mut old = Producer::new(connect(old), "P");
        let mut new = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
        let mut waiting = Consumer::new(server.connect(TIMEOUT).unwrap(), "G");
        let long = Pull::new(TOPIC, 3, 1).suspend(Duration::from_secs(60));
        let message = Message::new(TOPIC, &b"x"[..]);
        (0..8).for_each(|queue| drop(old.send(&message, queue).unwrap()));
        let waits = waiting.submit(&long).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        server.signal(Signal::TERM);
        let began = Instant::now();
        assert!(unregistered(&codes, TIMEOUT), "name servers are told first");
        assert_eq!(waiting.result(waits).unwrap().status, PullStatus::NotFound);
        for queue in 0..8 {
            let (code, remark) = refused(new.send(&message, queue).map(drop));
            assert_eq!((code, remark.as_str()), (response::GO_AWAY, "please go away"));
            old.send(&message, queue).unwrap();
        }
        assert!(began.elapsed() < Duration::from_millis(1900), "the machine was held up");
        let (status, lines) = server.ended();
        assert!(status.success(), "{lines:?}");
        assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    }
}

#[test]
fn who_does_not_read_does_not_hold_a_stop_up() {
    let data = Data::new();
    let (namesrv, _codes) = name_server(true);
    let server = Server::start_broker(data.path(), &setting(1, ""), namesrv);
    make_topic(&server);
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    for _ in 0..16 {
        producer.send(&Message::new(TOPIC, vec![b'x'; 64 << 10]), 0).unwrap();
    }
    // Far more than the buffers of both kernels hold.
    let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "G");
    for _ in 0..200 {
        consumer.submit(&Pull::new(TOPIC, 0, 0)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(500));
    server.signal(Signal::TERM);
    let began = Instant::now();
    let (status, lines) = server.ended();
    assert!(status.success(), "{lines:?}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let last = lines.last().unwrap();
    assert!(last.contains("unsent output given up") && last.ends_with("is on disk"), "{last}");
    drop(consumer);
}
