//! `ringmq bench` against a broker of a few lines: what it sends, what it counts, what it says about failures.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use serde_json::Value;
use std::collections::{BTreeSet, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use wire::codes::{request, response};
use wire::header::FLAG_RESPONSE;
use wire::req::client::{CreateTopicRequestHeader, PullMessageRequestHeader};
use wire::req::send::SendRequest;
use wire::{
    Frame, FrameHead, FrameWriter, Header, MessageView, NewMessage, PhyOffset, Place, Props,
    QueueId, QueueOffset,
};

/// What the broker has seen; one queue, whatever the requests name.
#[derive(Default)]
struct State {
    queues_created: i32,
    /// Topics that were sent to.
    topics: BTreeSet<String>,
    /// Stored records of queue 0; the other queues only count.
    records: Vec<Vec<u8>>,
    unique_keys: HashSet<String>,
    sends: u64,
    /// Every send whose number this divides is refused; 0: none.
    refuse_every: u64,
}

#[derive(Clone, Default)]
struct Broker(Arc<(Mutex<State>, Condvar)>);

impl Broker {
    fn start(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let broker = self.clone();
                std::thread::spawn(move || broker.serve(stream.unwrap()));
            }
        });
        address
    }

    fn serve(&self, mut stream: TcpStream) {
        let (mut input, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
        while let Ok(read @ 1..) = stream.read(&mut chunk) {
            input.extend_from_slice(&chunk[..read]);
            let mut output = Vec::new();
            while let Some((frame, used)) = wire::frame::split(&input).unwrap() {
                self.answer(&frame, &mut output);
                input.drain(..used);
            }
            if stream.write_all(&output).is_err() {
                return;
            }
        }
    }

    fn answer(&self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        let header = Header::decode(frame).unwrap();
        let head = FrameHead {
            serialize: frame.serialize,
            code: 0,
            opaque: header.opaque,
            flag: FLAG_RESPONSE,
            version: 479,
        };
        match header.code {
            request::UPDATE_AND_CREATE_TOPIC => {
                let topic = CreateTopicRequestHeader::decode(&header.fields).unwrap();
                self.0.0.lock().unwrap().queues_created = topic.write_queue_nums;
                FrameWriter::begin(out, head).finish();
            }
            request::GET_BROKER_RUNTIME_INFO => {
                let code = response::REQUEST_CODE_NOT_SUPPORTED;
                FrameWriter::begin(out, FrameHead { code, ..head }).finish();
            }
            request::SEND_MESSAGE_V2 => self.store(frame, &header, head, out),
            request::PULL_MESSAGE => self.read(&header, head, out),
            request::GET_MIN_OFFSET | request::GET_MAX_OFFSET => {
                let is_first = header.fields.get("queueId").unwrap().eq_str("0");
                let records = self.0.0.lock().unwrap().records.len();
                let has_some = header.code == request::GET_MAX_OFFSET && is_first;
                let mut writer = FrameWriter::begin(out, head);
                let offset = if has_some { records } else { 0 };
                writer.field_i64("offset", i64::try_from(offset).unwrap());
                writer.finish();
            }
            code => panic!("request {code}"),
        }
    }

    fn store(&self, frame: &Frame<'_>, header: &Header<'_>, head: FrameHead, out: &mut Vec<u8>) {
        let send = SendRequest::decode(header.code, &header.fields).unwrap();
        let properties = send.properties.unwrap().to_cow().into_owned();
        let unique = Props::new(properties.as_bytes()).get("UNIQ_KEY").unwrap();
        let unique = String::from_utf8(unique.to_vec()).unwrap();
        let mut state = self.0.0.lock().unwrap();
        state.sends += 1;
        state.topics.insert(send.topic.to_cow().into_owned());
        if state.refuse_every != 0 && state.sends.is_multiple_of(state.refuse_every) {
            let mut writer =
                FrameWriter::begin(out, FrameHead { code: response::SYSTEM_BUSY, ..head });
            writer.remark("too much");
            writer.finish();
            return;
        }
        assert!(state.unique_keys.insert(unique), "unique keys differ");
        let mut offset = 0;
        if send.queue_id == 0 {
            let host = "127.0.0.1:10911".parse().unwrap();
            let message = NewMessage {
                queue_id: QueueId(0),
                flag: 0,
                sys_flag: 0,
                born_timestamp: send.born_timestamp,
                born_host: host,
                store_host: host,
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: frame.body,
                topic: b"T",
                properties: properties.as_bytes(),
            };
            let mut record = vec![0; message.encoded_len()];
            offset = i64::try_from(state.records.len()).unwrap();
            let place = Place {
                queue_offset: QueueOffset(offset),
                phy_offset: PhyOffset(0),
                store_timestamp: Default::default(),
            };
            message.encode(&mut record, place);
            state.records.push(record);
            self.0.1.notify_all();
        }
        let mut writer = FrameWriter::begin(out, head);
        writer.field_i32("queueId", send.queue_id);
        writer.field_str("msgId", b"00");
        writer.field_i64("queueOffset", offset);
        writer.finish();
    }

    fn read(&self, header: &Header<'_>, head: FrameHead, out: &mut Vec<u8>) {
        let pull = PullMessageRequestHeader::decode(&header.fields).unwrap();
        let from = usize::try_from(pull.queue_offset).unwrap();
        let state = self.0.0.lock().unwrap();
        let wait = Duration::from_millis(20);
        let (state, _) =
            self.0.1.wait_timeout_while(state, wait, |state| state.records.len() <= from).unwrap();
        let records = if pull.queue_id == 0 { &state.records[..] } else { &[] };
        let most = usize::try_from(pull.max_msg_nums).unwrap();
        let found = records.get(from..).unwrap_or_default();
        let found = &found[..found.len().min(most)];
        let code = if found.is_empty() { response::PULL_NOT_FOUND } else { response::SUCCESS };
        let mut writer = FrameWriter::begin(out, FrameHead { code, ..head });
        writer.field_i64("suggestWhichBrokerId", 0);
        writer.field_i64("nextBeginOffset", i64::try_from(from + found.len()).unwrap());
        writer.field_i64("maxOffset", i64::try_from(records.len()).unwrap());
        writer.field_i64("minOffset", 0);
        let mut body = writer.body();
        body.bytes().extend_from_slice(&found.concat());
        body.finish();
    }
}

fn bench(broker: SocketAddr, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command.arg("bench").args(arguments.split_whitespace()).args(["-b", &broker.to_string()]);
    command.output().unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn sends_are_counted_and_refusals_told_apart() {
    let broker = Broker::default();
    broker.0.0.lock().unwrap().refuse_every = 10;
    let address = broker.clone().start();
    for serialize in ["json", "rocketmq"] {
        let line =
            format!("send -c 3 -i 4 -d 300ms -w 100ms --queues 2 --json --serialize {serialize}");
        let result = json(&bench(address, &line));
        let count = |value: &Value| value.as_u64().unwrap();
        let sent = count(&result["sent"]["messages"]);
        assert!(sent > 20, "{result}");
        assert!(count(&result["send_errors"]["2"]) > sent / 20, "{result}");
        assert!(count(&result["send_us"]["count"]).abs_diff(sent) <= 24, "{result}");
        assert_eq!(count(&result["unanswered"]), 0);
    }
    assert_eq!(broker.0.0.lock().unwrap().queues_created, 2);
}

#[test]
fn an_open_loop_sends_at_its_rate() {
    let address = Broker::default().start();
    let result = json(&bench(address, "send -c 2 --rate 500 -d 1s -w 200ms --json"));
    let sent = result["sent"]["messages"].as_u64().unwrap();
    assert!((400..=600).contains(&sent), "{result}");
    assert_eq!(result["send_us"]["count"], 500);
}

#[test]
fn what_was_sent_is_read_and_received() {
    let broker = Broker::default();
    let address = broker.clone().start();
    let output = bench(address, "send -c 1 -i 8 -d 200ms -w 0s --queues 1 --body 100");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("errors       none"), "{table}");
    let records = broker.0.0.lock().unwrap().records.clone();
    let bytes: usize = records.iter().map(Vec::len).sum();
    let (first, _) = MessageView::parse(&records[0]).unwrap();
    assert_eq!(first.body(), [b'x'; 100]);

    let result = json(&bench(address, "pull -c 1 --queues 2 --json -d 20s"));
    assert_eq!(result["read"]["messages"], records.len());
    let seconds = result["seconds"].as_f64().unwrap();
    let rate = result["read"]["mb_per_second"].as_f64().unwrap();
    let read = rate * 1e6 * seconds;
    assert!(seconds < 20.0 && (read / bytes as f64 - 1.0).abs() < 0.2, "{result}");

    let line = "e2e --queues 1 --rate 1000 -d 500ms -w 100ms --body 40 --json";
    let result = json(&bench(address, line));
    assert_eq!(result["not_received"], 0, "{result}");
    assert_eq!(result["end_to_end_us"]["count"], 500, "{result}");
}

#[test]
fn delayed_messages_that_come_at_once_are_early() {
    let address = Broker::default().start();
    let line = "delay --delay 2s --queues 1 --rate 500 -d 200ms -w 0s --body 24 --json";
    let result = json(&bench(address, line));
    assert_eq!((&result["early"], &result["not_received"]), (&100.into(), &0.into()), "{result}");
    let early_us = result["early_max_us"].as_f64().unwrap();
    assert!((1_000_000.0..=2_000_000.0).contains(&early_us), "{result}");
    assert_eq!(result["lateness_us"]["max"], 0.0, "{result}");
}

#[test]
fn a_count_of_messages_goes_to_many_topics_and_a_backlog_is_read_meanwhile() {
    let broker = Broker::default();
    let address = broker.clone().start();
    let line = "send -c 2 -i 4 --count 100 --topics 3 --queues 1 -d 20s -w 0s --json";
    let result = json(&bench(address, line));
    assert_eq!(result["acknowledged_total"], 100, "{result}");
    assert!(result["reply_bytes"].as_f64().unwrap() > 50.0, "{result}");
    let topics = broker.0.0.lock().unwrap().topics.clone();
    let names = ["BenchTopic-00000", "BenchTopic-00001", "BenchTopic-00002"];
    assert_eq!(topics.into_iter().collect::<Vec<_>>(), names);
    let line = "e2e --replay Old --queues 1 --rate 500 -d 400ms -w 100ms --body 40 --json";
    let result = json(&bench(address, line));
    assert!(result["sent"]["messages"].as_u64().unwrap() >= 190, "{result}");
    assert!(result["read"]["messages"].as_u64().unwrap() > 100, "{result}");
    assert_eq!(result["send_us"]["count"], 200, "{result}");
}

#[test]
fn failures_name_their_cause_and_have_a_status() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap();
    drop(free);
    let broker = Broker::default().start();
    for (address, line, what) in [
        (nobody, "send -d 1s", "connecting to 127.0.0.1"),
        (broker, "send -d 1s --pid 4294967295", "--pid 4294967295"),
        (broker, "send -d 1s --cpu 9999", "--cpu 9999"),
        (broker, "pull -d 1s -t Empty", "topic Empty holds no message"),
        (broker, "send --duration 1h", "'1h'"),
    ] {
        let output = bench(address, line);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && errors.contains(what), "{line}: {errors}");
    }
}
