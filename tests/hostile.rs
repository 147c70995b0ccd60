//! Hostile clients: whatever arrives, the process lives, memory stays bounded, and others are served as before.
//!
//! Every test has a server of its own and a well-behaved client beside the attack, which sends and pulls all the time
//! and must see no error and no answer later than two seconds. Cases come from `RINGMQ_SEED` and from the tables of
//! the code itself: request codes and header fields are read from the sources of `wire`. `RINGMQ_CONNECTIONS` and
//! `RINGMQ_CASES` say how much; `RINGMQ_LONG` takes the long form.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

#[path = "hostile/tables.rs"]
mod tables;

use client::{Connection, Consumer, ConsumerMember, Error, Message, Options, Producer, Pull};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::{Data, Random, Server, Setting, rounds};
use wire::body::client::MessageModel;
use wire::codes::request;
use wire::frame::FRAME_BYTES_MAX;

/// Longest wait for an answer to anything; longer than any machine that runs these tests is held up.
const ANSWER: Duration = Duration::from_secs(20);
/// Most resident memory of the process under any attack, log windows included.
const RESIDENT_BYTES_MAX: u64 = 400 << 20;
/// Topic of the attacks; the well-behaved client has its own.
const TOPIC: &str = "bench";

// ---- the server and the client beside it ----

/// A server with a well-behaved client; one at a time, so that tests do not slow each other down.
struct Stage {
    server: Server,
    control: Option<(std::sync::Arc<AtomicBool>, JoinHandle<Control>)>,
    cases: u64,
    name: &'static str,
    _data: Data,
    _turn: MutexGuard<'static, ()>,
}

#[derive(Default)]
struct Control {
    requests: u64,
    slowest: Duration,
    error: Option<String>,
}

impl Stage {
    fn new(name: &'static str) -> Stage {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let data = Data::new();
        write_extreme_tables(&data.store().join("config"));
        let config =
            "mappedFileSizeCommitLog=67108864\nlogWindowBytes=16M\nautoCreateTopicEnable=false\n";
        let setting = Setting { shards: 2, config: config.to_owned() };
        let server = Server::start(data.path(), &setting);
        let topic = server.topic();
        server.topic_named(TOPIC);
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let (address, stopped) = (server.broker, std::sync::Arc::clone(&stop));
        let control = std::thread::spawn(move || control(address, topic, &stopped));
        Stage { server, control: Some((stop, control)), cases: 0, name, _data: data, _turn: turn }
    }

    fn raw(&self) -> TcpStream {
        raw(self.server.broker)
    }

    fn connect(&self) -> Connection {
        self.server.connect(ANSWER).unwrap()
    }

    /// Ends the test: the process lives, memory is bounded, the well-behaved client is content, a stop is orderly.
    /// How long the well-behaved client waited at most.
    fn end(mut self) -> Duration {
        self.server.assert_alive(self.name);
        let resident = self.server.resident_bytes();
        let (stop, control) = self.control.take().unwrap();
        stop.store(true, Ordering::Relaxed);
        let control = control.join().unwrap();
        eprintln!(
            "{}: {} cases; {} MiB resident; control: {} requests, slowest {:?}",
            self.name,
            self.cases,
            resident >> 20,
            control.requests,
            control.slowest
        );
        assert_eq!(control.error, None, "{}: the well-behaved client", self.name);
        assert!(resident < RESIDENT_BYTES_MAX, "{}: {resident} bytes are resident", self.name);
        let Stage { server, _data, _turn, .. } = self;
        let status = server.stop();
        assert!(status.success(), "the orderly stop ended with {status}");
        control.slowest
    }
}

/// Tables of a broker before this one, with the largest and smallest numbers that their fields can hold, for the names
/// that requests use here.
fn write_extreme_tables(dir: &Path) {
    let version = r#""dataVersion":{"counter":9223372036854775807,"stateVersion":9223372036854775807,"timestamp":-9223372036854775808}"#;
    let topic = |name: &str, n: i32| {
        format!(
            r#""{name}":{{"topicName":"{name}","perm":{n},"topicSysFlag":{n},"readQueueNums":8,"writeQueueNums":8}}"#
        )
    };
    let group = |name: &str, n: i32| {
        format!(
            r#""{name}":{{"groupName":"{name}","brokerId":{n},"retryMaxTimes":{n},"retryQueueNums":{n},"consumeTimeoutMinute":{n},"groupSysFlag":{n},"whichBrokerWhenConsumeSlowly":{n}}}"#
        )
    };
    let topics = [topic("x", i32::MAX), topic("y", i32::MIN)].join(",");
    let groups = [group("G_hostile", i32::MAX), group("x", i32::MIN)].join(",");
    let offsets =
        format!(r#""{TOPIC}@G_hostile":{{0:{max},1:{max}}},"x@x":{{0:{max}}}"#, max = i64::MAX);
    let forbidden = format!(r#""G_hostile":{{"x":{}}}"#, i32::MIN);
    std::fs::create_dir_all(dir).unwrap();
    for (name, text) in [
        ("topics.json", format!(r#""topicConfigTable":{{{topics}}}"#)),
        (
            "subscriptionGroup.json",
            format!(r#""forbiddenTable":{{{forbidden}}},"subscriptionGroupTable":{{{groups}}}"#),
        ),
        ("consumerOffset.json", format!(r#""offsetTable":{{{offsets}}}"#)),
    ] {
        std::fs::write(dir.join(name), format!("{{{version},{text}}}")).unwrap();
    }
}

fn control(address: SocketAddr, topic: &str, stop: &AtomicBool) -> Control {
    let mut seen = Control::default();
    if let Err(error) = serve(address, topic, stop, &mut seen) {
        seen.error = Some(error.to_string());
    }
    seen
}

fn serve(
    address: SocketAddr,
    topic: &str,
    stop: &AtomicBool,
    seen: &mut Control,
) -> Result<(), Error> {
    let options = Options { timeout: ANSWER, ..Options::default() };
    let mut producer = Producer::new(Connection::connect_with(address, options)?, "G_control");
    let mut consumer = Consumer::new(Connection::connect_with(address, options)?, "G_control");
    while !stop.load(Ordering::Relaxed) {
        let queue = i32::try_from(seen.requests % 8).unwrap();
        let text = format!("control {}", seen.requests);
        let start = Instant::now();
        let sent = producer.send(&Message::new(topic, text.as_bytes()), queue)?;
        seen.slowest = seen.slowest.max(start.elapsed());
        let start = Instant::now();
        let pulled = consumer.pull(&Pull::new(topic, queue, sent.queue_offset))?;
        seen.slowest = seen.slowest.max(start.elapsed());
        if pulled.messages.first().map(|m| m.body.as_slice()) != Some(text.as_bytes()) {
            return Err(Error::Protocol(format!("{text:?} did not come back: {pulled:?}")));
        }
        seen.requests += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn raw(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    stream.set_write_timeout(Some(ANSWER)).unwrap();
    stream
}

// ---- frames ----

fn word(n: i32) -> [u8; 4] {
    n.to_be_bytes()
}

fn frame_of(serialize: u8, header: &[u8], body: &[u8]) -> Vec<u8> {
    let total = i32::try_from(4 + header.len() + body.len()).unwrap();
    let header_word = i32::try_from(header.len()).unwrap() & 0xFF_FFFF | i32::from(serialize) << 24;
    [&word(total)[..], &word(header_word), header, body].concat()
}

/// A JSON header with raw text for `extFields`.
fn json_frame(code: i32, opaque: i32, fields: &[u8], body: &[u8]) -> Vec<u8> {
    let mut header = format!(r#"{{"code":{code},"extFields":{{"#).into_bytes();
    header.extend_from_slice(fields);
    let rest =
        r#"},"flag":0,"language":"JAVA","serializeTypeCurrentRPC":"JSON","version":513,"opaque":"#;
    header.extend_from_slice(format!("{rest}{opaque}}}").as_bytes());
    frame_of(0, &header, body)
}

/// A binary header.
fn binary_frame(code: i32, opaque: i32, fields: &[(Vec<u8>, Vec<u8>)], body: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend_from_slice(&i16::try_from(code).unwrap().to_be_bytes());
    header.push(0);
    header.extend_from_slice(&513i16.to_be_bytes());
    header.extend_from_slice(&word(opaque));
    header.extend_from_slice(&word(0));
    header.extend_from_slice(&word(0));
    let mut all = Vec::new();
    for (key, value) in fields {
        all.extend_from_slice(&u16::try_from(key.len()).unwrap().to_be_bytes());
        all.extend_from_slice(key);
        all.extend_from_slice(&word(i32::try_from(value.len()).unwrap()));
        all.extend_from_slice(value);
    }
    header.extend_from_slice(&word(i32::try_from(all.len()).unwrap()));
    header.extend_from_slice(&all);
    frame_of(1, &header, body)
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Answered(i32),
    Closed,
    Silent,
}

/// Reads until the answer to `opaque`, the end of the connection, or `ANSWER` has passed.
fn outcome(connection: &mut Connection, opaque: i32) -> End {
    match connection.wait(opaque) {
        Ok(reply) => End::Answered(reply.code()),
        Err(error) if error.is_timeout() => End::Silent,
        Err(Error::Io(_)) => End::Closed,
        Err(error) => panic!("the server answered nonsense: {error}"),
    }
}

/// Whether the peer closes within `ANSWER`; bytes it sends before are ignored.
fn closes(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(_) => return true,
        }
    }
}

/// Sends in one of three ways; an error means the peer has closed already.
fn deliver(stream: &mut TcpStream, bytes: &[u8], random: &mut Random) {
    let way = if bytes.len() > 4096 { 0 } else { random.below(3) };
    let _ = match way {
        0 => stream.write_all(bytes),
        1 => bytes.iter().try_for_each(|byte| stream.write_all(&[*byte])),
        _ => {
            let (first, second) = bytes.split_at(random.index(bytes.len() + 1));
            let sent = stream.write_all(first);
            std::thread::sleep(Duration::from_millis(random.below(20)));
            sent.and_then(|()| stream.write_all(second))
        }
    };
}

fn max_offset_frame(opaque: i32) -> Vec<u8> {
    let fields = format!(r#""topic":"{TOPIC}","queueId":"0""#);
    json_frame(request::GET_MAX_OFFSET, opaque, fields.as_bytes(), b"")
}

// ---- tests ----

#[test]
fn what_is_no_frame_costs_its_sender_the_connection() {
    let mut stage = Stage::new("broken frames");
    let mut random = Random::new(Random::seed("broken frames"));
    let too_long = i32::try_from(FRAME_BYTES_MAX).unwrap() - 3;
    for turn in 0..10 {
        let mut cases: Vec<Vec<u8>> = Vec::new();
        for length in [-1, 0, 3, i32::MIN, i32::MAX, too_long, 16 << 20, (16 << 20) + 1] {
            cases.push([&word(length)[..], &[0; 8]].concat());
            cases.push(word(length).to_vec());
        }
        for header_bytes in [5, 17, 0xFF_FFFF] {
            cases.push([&word(8)[..], &word(header_bytes), &[b'{'; 4]].concat());
        }
        for serialize in [2u8, 3, 127, 255] {
            cases.push(frame_of(serialize, b"{}", b""));
        }
        for header in [
            &b""[..],
            b"{",
            b"[]",
            b"null",
            b"{\"code\":}",
            b"{\"code\":1}x",
            b"\xff\xfe",
            b"{\"code\":1e99}",
        ] {
            cases.push(frame_of(0, header, b"body"));
            cases.push(frame_of(1, header, b"body"));
        }
        let deep = [b"{\"code\":30,\"extFields\":".to_vec(), b"[".repeat(100_000)].concat();
        cases.push(frame_of(0, &deep, b""));
        cases.push(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec());
        cases.push(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec());
        if turn == 0 {
            let mut huge = word(too_long).to_vec();
            huge.resize(FRAME_BYTES_MAX + 1, 7);
            cases.push(huge);
        }
        for (at, case) in cases.iter().enumerate() {
            let mut stream =
                if random.once_in(3) { raw(stage.server.namesrv) } else { stage.raw() };
            deliver(&mut stream, case, &mut random);
            let shown = &case[..case.len().min(40)];
            assert!(closes(&mut stream), "case {at} keeps its connection: {shown:?}");
            stage.cases += 1;
        }
        stage.server.assert_alive("a broken frame");
    }
    stage.end();
}

#[test]
fn random_bytes_hurt_nobody() {
    let mut stage = Stage::new("random bytes");
    let mut random = Random::new(Random::seed("random bytes"));
    for _ in 0..300 {
        let mut stream = if random.once_in(4) { raw(stage.server.namesrv) } else { stage.raw() };
        let len = 1 + random.index(3000);
        let mut bytes = random.bytes(len);
        if random.once_in(2) && len > 8 {
            let claim = i32::try_from(4 + random.index(len * 2)).unwrap();
            bytes[..4].copy_from_slice(&word(claim));
            bytes[4] = u8::from(random.once_in(2));
            bytes[5] = 0;
        }
        deliver(&mut stream, &bytes, &mut random);
        match random.below(3) {
            0 => drop(stream),
            1 => {
                let _ = stream.shutdown(Shutdown::Write);
                assert!(closes(&mut stream), "a half-open connection is kept: {bytes:?}");
            }
            _ => {
                // Unread answers make the kernel send a reset.
                let _ = stream.write_all(&max_offset_frame(1));
            }
        }
        stage.cases += 1;
    }
    stage.end();
}

#[test]
fn a_frame_in_single_bytes_and_a_largest_frame_are_answered() {
    let mut stage = Stage::new("odd frames");
    let mut connection = stage.connect();
    for byte in max_offset_frame(77) {
        connection.send_bytes(&[byte]).unwrap();
    }
    assert_eq!(outcome(&mut connection, 77), End::Answered(0));
    let fields = format!(r#""a":"G","b":"{TOPIC}","e":"0","f":"0","g":"0","h":"0""#);
    let empty = json_frame(request::SEND_MESSAGE_V2, 78, fields.as_bytes(), b"").len();
    let body = vec![b'x'; FRAME_BYTES_MAX - empty];
    let frame = json_frame(request::SEND_MESSAGE_V2, 78, fields.as_bytes(), &body);
    assert_eq!(frame.len(), FRAME_BYTES_MAX);
    connection.send_bytes(&frame).unwrap();
    let End::Answered(code) = outcome(&mut connection, 78) else { panic!("no answer") };
    assert_ne!(code, 0, "a body above maxMessageSize is refused");
    connection.send_bytes(&max_offset_frame(79)).unwrap();
    assert_eq!(outcome(&mut connection, 79), End::Answered(0));
    // Many frames in one write, and the end of the connection behind them.
    let many: Vec<u8> = (0..5000).flat_map(max_offset_frame).collect();
    let mut stream = stage.raw();
    let mut reader = stream.try_clone().unwrap();
    let counted = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut answers = 0;
        let mut chunk = [0; 65536];
        while answers < 5000 {
            let read = reader.read(&mut chunk).unwrap();
            assert!(read > 0, "closed after {answers} answers");
            bytes.extend_from_slice(&chunk[..read]);
            while let Some((_, used)) = wire::frame::split(&bytes).unwrap() {
                answers += 1;
                bytes.drain(..used);
            }
        }
        answers
    });
    stream.write_all(&many).unwrap();
    assert_eq!(counted.join().unwrap(), 5000);
    stage.cases += 5004;
    // Far more oneway sends than a shard hands over at once, to both shards, and a question behind them.
    let mut producer = Producer::new(stage.connect(), "G_oneway");
    let count: i64 = 40_000;
    for n in 0..count {
        let queue = i32::try_from(n % 8).unwrap();
        producer.send_oneway(&Message::new(TOPIC, &b"oneway"[..]), queue).unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    let stored = |producer: &mut Producer| -> i64 {
        (0..8).map(|queue| producer.connection().max_offset(TOPIC, queue).unwrap()).sum()
    };
    while stored(&mut producer) < count {
        assert!(Instant::now() < deadline, "{} of {count} are stored", stored(&mut producer));
        std::thread::sleep(Duration::from_millis(20));
    }
    stage.cases += 40_000;
    stage.end();
}

/// Values no field expects, as JSON.
fn json_values(random: &mut Random) -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = [
        r#""""#,
        r#""abc""#,
        r#""-1""#,
        r#""-2147483649""#,
        r#""2147483648""#,
        r#""2147483647""#,
        r#""9223372036854775807""#,
        r#""9223372036854775808""#,
        r#""-9223372036854775808""#,
        r#""-9223372036854775809""#,
        r#""0x10""#,
        r#"" 1""#,
        r#""1e3""#,
        "1",
        "-1",
        "1.5",
        "1e400",
        "99999999999999999999999",
        "true",
        "null",
        "{}",
        r#"{"a":{"b":[1]}}"#,
        "[1,2,3]",
        r#""\u0000""#,
        r#""\ud800""#,
        r#""../../etc/passwd""#,
        r#""a\u0001b\u0002""#,
        r#""%RETRY%x""#,
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    for len in [200, 40_000, 300_000] {
        values.push([b"\"".to_vec(), vec![b'x'; len], b"\"".to_vec()].concat());
    }
    values.push(b"\"\xff\xfe\xc0\"".to_vec());
    values.push([&b"["[..], &b"[".repeat(20), &b"]".repeat(21)].concat());
    let wild: String =
        (0..20).map(|_| char::from(random.pick(b"0123456789-+.eE ").to_owned())).collect();
    values.push(format!("\"{wild}\"").into_bytes());
    values
}

fn valid(field: &tables::Field) -> String {
    let value = match field.key.as_str() {
        "topic" | "b" => TOPIC,
        "consumerGroup" | "group" | "groupName" | "a" | "producerGroup" => "G_hostile",
        "clientID" => "hostile@1",
        "readQueueNums" | "writeQueueNums" => "8",
        "perm" => "6",
        "maxMsgNums" => "32",
        "subscription" => "*",
        "brokerAddr" | "haServerAddr" => "127.0.0.1:1",
        _ if field.is_text => "x",
        _ => "0",
    };
    value.to_owned()
}

/// The request of a header with one field replaced (`None`: left out).
fn request_of(row: &tables::Row, at: usize, value: Option<&[u8]>, opaque: i32) -> Vec<u8> {
    let mut fields = Vec::new();
    let wanted = row.fields.iter().enumerate().filter(|(i, field)| *i == at || !field.is_optional);
    for (i, field) in wanted {
        let quoted = format!("\"{}\"", valid(field)).into_bytes();
        let text = if i == at { value.map(<[u8]>::to_vec) } else { Some(quoted) };
        let Some(text) = text else { continue };
        if !fields.is_empty() {
            fields.push(b',');
        }
        fields.extend_from_slice(format!("\"{}\":", field.key).as_bytes());
        fields.extend_from_slice(&text);
    }
    json_frame(row.code, opaque, &fields, b"hostile body")
}

fn as_binary(row: &tables::Row, at: usize, value: Option<&[u8]>, opaque: i32) -> Vec<u8> {
    let wanted = row.fields.iter().enumerate().filter(|(i, field)| *i == at || !field.is_optional);
    let fields: Vec<(Vec<u8>, Vec<u8>)> = wanted
        .filter_map(|(i, field)| {
            let own = if i == at { value?.to_vec() } else { valid(field).into_bytes() };
            Some((field.key.clone().into_bytes(), own))
        })
        .collect();
    binary_frame(row.code, opaque, &fields, b"hostile body")
}

/// Asks, and reports what is no answer; a closed connection is replaced.
fn ask(stage: &mut Stage, connection: &mut Connection, frame: &[u8], opaque: i32, what: &str) {
    stage.cases += 1;
    let address = connection.peer();
    let sent = connection.send_bytes(frame);
    let end = if sent.is_ok() { outcome(connection, opaque) } else { End::Closed };
    match end {
        End::Answered(_) => {}
        End::Closed => {
            stage.server.assert_alive(what);
            let options = Options { timeout: ANSWER, ..Options::default() };
            *connection = Connection::connect_with(address, options).unwrap();
        }
        End::Silent => panic!("{what}: neither an answer nor an end of the connection"),
    }
}

#[test]
fn wrong_values_in_every_field_of_every_request_are_answered() {
    let mut stage = Stage::new("wrong fields");
    let mut random = Random::new(Random::seed("wrong fields"));
    let mut producer = Producer::new(stage.connect(), "G_hostile");
    for queue in 0..8 {
        // Something to pull, so that a pull that asks to wait is answered at once.
        producer.send(&Message::new(TOPIC, &b"x"[..]), queue).unwrap();
    }
    let rows = tables::rows();
    assert!(rows.len() >= 20, "the table of headers was not understood: {} rows", rows.len());
    let mut opaque = 1;
    for target in [stage.server.broker, stage.server.namesrv] {
        let options = Options { timeout: ANSWER, ..Options::default() };
        let mut connection = Connection::connect_with(target, options).unwrap();
        for row in &rows {
            for at in 0..row.fields.len() {
                let mut values: Vec<Option<Vec<u8>>> = vec![None];
                values.extend(json_values(&mut random).into_iter().map(Some));
                for value in &values {
                    let value = value.as_deref();
                    let shown =
                        value.map(|v| String::from_utf8_lossy(&v[..v.len().min(60)]).into_owned());
                    let what = format!("code {} with {} = {shown:?}", row.code, row.fields[at].key);
                    opaque += 1;
                    let frame = request_of(row, at, value, opaque);
                    ask(&mut stage, &mut connection, &frame, opaque, &what);
                    opaque += 1;
                    let plain = value.map(|v| v.strip_prefix(b"\"").unwrap_or(v));
                    let plain = plain.map(|v| v.strip_suffix(b"\"").unwrap_or(v));
                    let frame = as_binary(row, at, plain, opaque);
                    ask(&mut stage, &mut connection, &frame, opaque, &format!("binary {what}"));
                }
            }
        }
    }
    stage.end();
}

fn bodies(random: &mut Random) -> Vec<Vec<u8>> {
    let nested =
        |open: &str, close: &str, n: usize| [open.repeat(n), close.repeat(n)].concat().into_bytes();
    let mut bodies: Vec<Vec<u8>> = [
        "", "{", "{}", "[]", "null", "0", "\"\"", "{\"a\":", "{\"clientID\":1}", "{\"clientID\":null}",
        r#"{"clientID":"c","consumerDataSet":[{}],"producerDataSet":[null]}"#,
        r#"{"clientID":"c","consumerDataSet":[{"groupName":"g","subscriptionDataSet":[{"topic":"x","subString":"a||","tagsSet":[1,{}],"codeSet":["x"]}]}]}"#,
        r#"{"clientID":"c","consumerDataSet":{"a":1},"producerDataSet":"x"}"#,
        r#"{"consumerGroup":null,"clientId":null,"mqSet":null}"#,
        r#"{"consumerGroup":"g","clientId":"c","mqSet":[{"topic":1,"brokerName":[],"queueId":"x"}]}"#,
        r#"{"topicConfigTable":{"x":{"readQueueNums":-1,"writeQueueNums":99999999999}}}"#,
        r#"{"topicConfigSerializeWrapper":{"topicConfigTable":{"":{}}},"filterServerList":[]}"#,
        r#"{{"topic":"x"}:1}"#, r#"{1:2,3:4}"#, "\u{0}", "{\"a\":\"\\u12\"}",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    bodies.push(nested("[", "]", 100_000));
    bodies.push(nested("{\"a\":", "}", 100_000));
    bodies.push(nested("{\"consumerDataSet\":[", "]}", 50_000));
    bodies.push([b"[".to_vec(), b"1,".repeat(500_000), b"1]".to_vec()].concat());
    bodies.push(random.bytes(2000));
    // A stream that inflates to a gigabyte of zeros, as far as anybody lets it.
    bodies.push(tables::deflated_zeros(64 << 20));
    bodies
}

#[test]
fn wrong_bodies_of_every_request_are_answered() {
    let mut stage = Stage::new("wrong bodies");
    let mut random = Random::new(Random::seed("wrong bodies"));
    let rows = tables::rows();
    let mut opaque = 1;
    for target in [stage.server.broker, stage.server.namesrv] {
        let options = Options { timeout: ANSWER, ..Options::default() };
        let mut connection = Connection::connect_with(target, options).unwrap();
        for (name, code) in tables::request_codes() {
            for body in bodies(&mut random) {
                let row = rows.iter().find(|row| row.code == code);
                let fields: Vec<String> = row.map_or(Vec::new(), |row| {
                    let required = row.fields.iter().filter(|field| !field.is_optional);
                    required.map(|f| format!("\"{}\":\"{}\"", f.key, valid(f))).collect()
                });
                let mut fields = fields.join(",");
                if code == request::REGISTER_BROKER && random.once_in(2) {
                    fields.push_str(",\"compressed\":\"true\"");
                }
                opaque += 1;
                let frame = json_frame(code, opaque, fields.as_bytes(), &body);
                let what = format!(
                    "{name} with the body {:?}",
                    String::from_utf8_lossy(&body[..body.len().min(60)])
                );
                ask(&mut stage, &mut connection, &frame, opaque, &what);
            }
        }
    }
    stage.end();
}

#[test]
fn a_consumer_whose_tables_hold_extreme_numbers_is_answered() {
    let mut stage = Stage::new("extreme tables");
    let mut connection = stage.connect();
    let member = ConsumerMember {
        client_id: "hostile@1",
        group: "G_hostile",
        topic: TOPIC,
        tags: "*",
        model: MessageModel::Clustering,
    };
    connection.heartbeat_consumer(&member).unwrap();
    assert_eq!(connection.consumer_offset("G_hostile", TOPIC, 0).unwrap(), Some(i64::MAX));
    let mut consumer = Consumer::new(stage.connect(), "G_hostile");
    for offset in [i64::MAX, i64::MAX - 1, 0] {
        let _ = consumer.pull(&Pull::new(TOPIC, 0, offset));
    }
    for (_, code) in tables::request_codes() {
        stage.cases += 1;
        let row = tables::rows().into_iter().find(|row| row.code == code);
        let fields: Vec<String> = row.map_or(Vec::new(), |row| {
            row.fields.iter().map(|f| format!("\"{}\":\"{}\"", f.key, valid(f))).collect()
        });
        let frame = json_frame(code, code, fields.join(",").as_bytes(), b"");
        ask(&mut stage, &mut connection, &frame, code, &format!("code {code}"));
    }
    // Tables are written, offsets looked at, clients expired: all that comes by itself.
    std::thread::sleep(Duration::from_secs(6));
    stage.end();
}

#[test]
fn mutated_requests_hurt_nobody() {
    let mut stage = Stage::new("mutations");
    let mut random = Random::new(Random::seed("mutations"));
    let rows = tables::rows();
    let mut connection = stage.connect();
    for case in 0..rounds("RINGMQ_CASES", 3000, 50_000) {
        let row = random.pick(&rows);
        let at = random.index(row.fields.len());
        let value = valid(&row.fields[at]);
        let opaque = i32::try_from(case).unwrap() + 10;
        let mut frame = if random.once_in(2) {
            request_of(row, at, Some(format!("\"{value}\"").as_bytes()), opaque)
        } else {
            as_binary(row, at, Some(value.as_bytes()), opaque)
        };
        for _ in 0..=random.below(6) {
            // The length word stays: everything else of the frame may be anything.
            let at = 4 + random.index(frame.len() - 4);
            match random.below(3) {
                0 => frame[at] ^= 1 << random.below(8),
                1 => frame[at] = *random.pick(&[0, 0xFF, b'"', b'{', b'}', b'0', 0x7F]),
                _ => frame[at] = random.bytes(1)[0],
            }
        }
        frame.extend(max_offset_frame(-7));
        ask(&mut stage, &mut connection, &frame, -7, "a mutated request");
    }
    stage.end();
}

#[test]
fn idle_connections_cost_little() {
    let wanted = rounds("RINGMQ_CONNECTIONS", 2000, 10_000);
    let limit = support::raise_open_files();
    if limit < wanted + 500 {
        eprintln!(
            "idle connections: skipped, only {limit} files may be open and {wanted} are wanted"
        );
        return;
    }
    let mut stage = Stage::new("idle connections");
    let mut random = Random::new(Random::seed("idle connections"));
    let before = stage.server.private_bytes();
    let mut idle: Vec<Connection> = (0..wanted).map(|_| stage.connect()).collect();
    stage.cases += wanted;
    let each = (stage.server.private_bytes() - before) / wanted;
    eprintln!("idle connections: {each} bytes each");
    assert!(each < 16 << 10, "an idle connection costs {each} bytes");
    for opaque in 0..500 {
        let connection = random.pick(&(0..idle.len()).collect::<Vec<_>>()).to_owned();
        idle[connection].send_bytes(&max_offset_frame(opaque)).unwrap();
        assert_eq!(outcome(&mut idle[connection], opaque), End::Answered(0));
    }
    // Half of them leave in the middle of a frame.
    for connection in idle.iter_mut().step_by(2) {
        let frame = max_offset_frame(1);
        connection.send_bytes(&frame[..random.index(frame.len())]).unwrap();
    }
    drop(idle);
    for _ in 0..wanted {
        drop(stage.raw());
    }
    stage.cases += wanted;
    let mut last = stage.connect();
    last.send_bytes(&max_offset_frame(5)).unwrap();
    assert_eq!(outcome(&mut last, 5), End::Answered(0));
    stage.end();
}

fn pull_frame(opaque: i32, queue: i32, offset: i64, wait_ms: i64) -> Vec<u8> {
    let flags = if wait_ms > 0 { 6 } else { 4 };
    let fields = format!(
        r#""consumerGroup":"G","topic":"{TOPIC}","queueId":"{queue}","queueOffset":"{offset}","maxMsgNums":"32","sysFlag":"{flags}","commitOffset":"0","suspendTimeoutMillis":"{wait_ms}","subscription":"*","subVersion":"0""#
    );
    json_frame(request::PULL_MESSAGE, opaque, fields.as_bytes(), b"")
}

/// Writes as much as the peer takes within a second of silence.
fn push(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(n) => sent += n,
            Err(_) => break,
        }
    }
    sent
}

#[test]
fn readers_that_never_read_cost_bounded_memory() {
    let mut stage = Stage::new("slow readers");
    let mut producer = Producer::new(stage.connect(), "G_hostile");
    let big = vec![b'x'; 64 << 10];
    for _ in 0..8 {
        for queue in 0..8 {
            producer.send(&Message::new(TOPIC, big.as_slice()), queue).unwrap();
        }
    }
    // Each connection wants one queue: of some connections it lives on the other shard.
    let pulls: Vec<Vec<u8>> = (0..8)
        .map(|queue| (0..20_000).flat_map(|n| pull_frame(n, queue, 0, 0)).collect())
        .collect();
    let mut streams: Vec<TcpStream> = (0..6).map(|_| stage.raw()).collect();
    let mut most = 0;
    std::thread::scope(|scope| {
        let pushes: Vec<_> = streams
            .iter_mut()
            .zip(&pulls)
            .map(|(stream, pulls)| scope.spawn(move || push(stream, pulls)))
            .collect();
        while pushes.iter().any(|push| !push.is_finished()) {
            most = most.max(stage.server.resident_bytes());
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    stage.cases += 6 * 20_000;
    for _ in 0..50 {
        most = most.max(stage.server.resident_bytes());
        std::thread::sleep(Duration::from_millis(10));
    }
    eprintln!("slow readers: {} MiB resident at most", most >> 20);
    assert!(most < RESIDENT_BYTES_MAX, "{most} bytes were resident");
    drop(streams);
    // One that reads late, but reads, gets everything it asked for.
    let mut late = stage.connect();
    let asked: Vec<u8> = (0..600).flat_map(|n| pull_frame(n, n % 8, 0, 0)).collect();
    late.send_bytes(&asked).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    for opaque in 0..600 {
        assert_eq!(outcome(&mut late, opaque), End::Answered(0), "pull {opaque} of a late reader");
    }
    stage.end();
}

#[test]
fn a_crowd_of_waiting_pulls_that_leaves_at_once_hurts_nobody() {
    let mut stage = Stage::new("waiting pulls");
    let pulls: Vec<u8> = (0..12_000).flat_map(|n| pull_frame(n, 3, 0, 60_000)).collect();
    let mut streams: Vec<TcpStream> = (0..8).map(|_| stage.raw()).collect();
    for stream in &mut streams {
        assert_eq!(push(stream, &pulls), pulls.len(), "pulls that wait are taken");
        stage.cases += 12_000;
    }
    std::thread::sleep(Duration::from_secs(1));
    drop(streams);
    std::thread::sleep(Duration::from_secs(2));
    stage.end();
}

#[test]
fn a_crowd_of_readers_that_never_read_shares_bounded_memory() {
    let mut stage = Stage::new("a crowd of slow readers");
    let mut producer = Producer::new(stage.connect(), "G_hostile");
    let big = vec![b'x'; 64 << 10];
    for _ in 0..8 {
        for queue in 0..8 {
            producer.send(&Message::new(TOPIC, big.as_slice()), queue).unwrap();
        }
    }
    let before = stage.server.resident_bytes();
    let mut streams: Vec<TcpStream> = (0..200).map(|_| stage.raw()).collect();
    let mut most = 0;
    // Each asks for 8 MiB, a little at a time, and takes nothing of it.
    for turn in 0..4 {
        let pulls: Vec<u8> = (0..8).flat_map(|n| pull_frame(turn * 8 + n, n, 0, 0)).collect();
        for stream in &mut streams {
            stream.write_all(&pulls).unwrap();
            stage.cases += 8;
        }
        for _ in 0..100 {
            most = most.max(stage.server.resident_bytes());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    eprintln!(
        "a crowd of slow readers: {} MiB resident at most, {} before",
        most >> 20,
        before >> 20
    );
    assert!(most < RESIDENT_BYTES_MAX, "{most} bytes were resident");
    // They are not forgotten: whoever begins to read gets all of it.
    let mut late =
        Connection::over(streams.pop().unwrap(), Options { timeout: ANSWER, ..Options::default() })
            .unwrap();
    for opaque in 0..32 {
        assert_eq!(outcome(&mut late, opaque), End::Answered(0), "pull {opaque} of a late reader");
    }
    drop(streams);
    let slowest = stage.end();
    assert!(slowest < Duration::from_secs(5), "another client waited for {slowest:?}");
}
