//! The stages a broker tells: counts that equal what was sent, in an order that can be true.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

#[path = "support/frames.rs"]
mod frames;

use client::Connection;
use shard::stages::Stage;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Data, Server, Setting};
use wire::body::KvTable;
use wire::codes::{request, response};
use wire::{Header, SerializeType};

/// count, p50, p99, p99.9, max.
type Figures = [u64; 5];

fn stages(connection: &mut Connection) -> [Figures; 7] {
    let code = request::GET_BROKER_RUNTIME_INFO;
    let reply = connection.call_ok(code, |_| {}, &[]).unwrap();
    let table: KvTable = wire::json::from_slice(reply.body()).unwrap();
    Stage::ALL.map(|stage| {
        let text = table.table.get(stage.key()).unwrap();
        let numbers: Vec<u64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    })
}

/// Asks until so many messages are flushed.
fn settled(server: &Server, messages: u64) -> [Figures; 7] {
    let mut connection = server.connect(Duration::from_secs(5)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let figures = stages(&mut connection);
        if figures[Stage::Flushed as usize][0] >= messages || Instant::now() > deadline {
            return figures;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends `turns` times 16 messages in one write over one connection, to all queues.
fn send(address: SocketAddr, topic: &str, turns: u64) -> u64 {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut frames = Vec::new();
    for opaque in 0..16 {
        frames.extend(frames::send(SerializeType::Json, (topic, opaque % 8), opaque, 200));
    }
    let (mut input, mut buffer) = (Vec::new(), [0; 16 << 10]);
    for _ in 0..turns {
        stream.write_all(&frames).unwrap();
        let mut answers = 0;
        while answers < 16 {
            let read = stream.read(&mut buffer).unwrap();
            input.extend_from_slice(&buffer[..read]);
            while let Some((frame, used)) = wire::frame::split(&input).unwrap() {
                assert_eq!(Header::decode(&frame).unwrap().code, response::SUCCESS);
                input.drain(..used);
                answers += 1;
            }
        }
    }
    turns * 16
}

fn check(figures: &[Figures; 7], messages: u64) {
    let [received, decoded, appended, written, flushed, replicated, replied] = *figures;
    for (stage, counted) in [appended, written, flushed, replied].iter().zip(["a", "w", "f", "r"]) {
        assert_eq!(stage[0], messages, "{counted}: {figures:?}");
    }
    assert!(received[0] >= messages && received[0] == decoded[0], "{figures:?}");
    assert_eq!(replicated, [0; 5], "there is no slave");
    for at in 1..5 {
        // Another shard may be asked for some of them, which takes longer than decoding.
        assert!(decoded[1] <= appended[at] && appended[at] <= written[at], "{figures:?}");
        assert!(written[at] <= flushed[at], "{figures:?}");
    }
    for stage in figures {
        assert!(stage.windows(2).skip(1).all(|pair| pair[0] <= pair[1]), "{figures:?}");
    }
}

#[test]
fn every_message_passes_every_stage_once_with_async_flush() {
    let data = Data::new();
    let setting = Setting { shards: 2, config: "flushDiskType=ASYNC_FLUSH\n".into() };
    let server = Server::start(data.path(), &setting);
    let topic = server.topic();
    let messages = send(server.broker, topic, 100);
    let figures = settled(&server, messages);
    check(&figures, messages);
    // Answers do not wait for the disk, which is told every 500 ms at the latest.
    let (flushed, replied) = (figures[Stage::Flushed as usize], figures[Stage::Replied as usize]);
    assert!(replied[1] < flushed[1], "{figures:?}");
    server.stop();
}

#[test]
fn with_sync_flush_an_answer_leaves_behind_the_flush() {
    let data = Data::new();
    let setting = Setting { shards: 1, config: "flushDiskType=SYNC_FLUSH\n".into() };
    let server = Server::start(data.path(), &setting);
    let topic = server.topic();
    let messages = send(server.broker, topic, 60);
    let figures = settled(&server, messages);
    check(&figures, messages);
    let (flushed, replied) = (figures[Stage::Flushed as usize], figures[Stage::Replied as usize]);
    for at in 1..5 {
        assert!(flushed[at] <= replied[at], "{figures:?}");
    }
    server.stop();
}

#[test]
fn bench_shows_the_stages_of_its_own_run() {
    let data = Data::new();
    let server = Server::start(data.path(), &Setting { shards: 1, config: String::new() });
    let topic = server.topic();
    let before = send(server.broker, topic, 200);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command.args(["bench", "send", "--broker", &server.broker.to_string(), "--json"]);
    command.args(["--topic", topic, "--connections", "2", "--warmup", "0s", "--duration", "1s"]);
    let output = command.output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    let report: serde_json::Value = serde_json::from_str(&line).unwrap();
    let appended = report["stages_us"]["appended"]["count"].as_u64().unwrap();
    let sent = report["sent"]["messages"].as_u64().unwrap();
    assert!(sent > 0 && appended >= sent && appended < sent + before, "{line}");
    assert!(report["stages_us"]["replied"]["p50"].as_u64().is_some(), "{line}");
    server.stop();
}
