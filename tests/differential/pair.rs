//! A Java broker and ours beside each other: a sequence is played to both, and the answers are compared.

use super::differs::{Row, listed, parts_ways};
use super::sequence::{CLIENTS, Step, UNIQUE_KEYS, Value, What};
use super::support::compare::{Difference, Known};
use super::support::parts::Parts;
use client::{Connection, Error, Options};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::SerializeType;
use wire::codes::response;

/// How long an answer may take; Java looks after waiting pulls every 5 s.
const ANSWER: Duration = Duration::from_secs(9);
/// How long to wait for the second broker's answer when the first keeps silent.
const OTHER: Duration = Duration::from_millis(1500);

/// Both brokers with their name servers.
pub(crate) struct Pair {
    /// Broker and name server of Java.
    pub(crate) java: [SocketAddr; 2],
    /// Ours.
    pub(crate) ours: [SocketAddr; 2],
    /// Whether Java knows times of delivery.
    pub(crate) knows_times: bool,
}

/// How a sequence went.
#[derive(Default)]
pub(crate) struct Played {
    pub(crate) requests: u32,
    /// Answers that are equal in every field, but for the version and the form of the header.
    pub(crate) equal: u32,
    /// Requests by code.
    pub(crate) codes: BTreeMap<i32, u32>,
    /// By place in the list and request, how often a row was needed.
    pub(crate) rows: BTreeMap<(usize, i32), u32>,
    /// By place in the list, what the row stood for.
    pub(crate) uses: BTreeMap<usize, BTreeSet<String>>,
    /// The first difference that is on no list.
    pub(crate) problem: Option<Problem>,
}

/// A difference that is on no list.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) step: usize,
    pub(crate) code: i32,
    pub(crate) difference: Difference,
}

impl Problem {
    /// Whether both are of one kind.
    pub(crate) fn is_like(&self, other: &Problem) -> bool {
        self.code == other.code && self.difference.path == other.difference.path
    }
}

/// What is alike in differences of one kind.
pub(crate) fn kind(code: i32, difference: &Difference) -> String {
    let short = |text: &str| -> String {
        let text = text.replace(|c: char| c.is_ascii_digit(), "");
        text.chars().take(60).collect()
    };
    let (theirs, mine) = (short(&difference.recorded), short(&difference.ours));
    format!("{code} {}: {theirs:?} {mine:?}", difference.path)
}

/// What came back.
enum Answer {
    Frame(Parts),
    Silence,
    Closed,
}

impl Answer {
    fn shown(&self) -> String {
        match self {
            Answer::Frame(parts) => {
                format!("{} {}", parts.code, parts.remark.as_deref().unwrap_or_default())
            }
            Answer::Silence => "(none)".to_owned(),
            Answer::Closed => "(closed)".to_owned(),
        }
    }

    fn parts(&self) -> Option<&Parts> {
        match self {
            Answer::Frame(parts) => Some(parts),
            Answer::Silence | Answer::Closed => None,
        }
    }
}

/// One broker, as the sequence sees it.
struct Side {
    /// Broker and name server.
    addresses: [SocketAddr; 2],
    /// Each client's to the broker, then each client's to the name server.
    connections: Vec<Connection>,
    /// Answers by step.
    answers: Vec<Option<Parts>>,
    /// What the broker asked its clients.
    asked: BTreeSet<(usize, String)>,
}

impl Side {
    fn open(addresses: [SocketAddr; 2], steps: usize) -> Side {
        let both = addresses.iter().flat_map(|address| [*address; CLIENTS]);
        let connections = both.map(connect).collect();
        Side { addresses, connections, answers: vec![None; steps], asked: BTreeSet::new() }
    }

    fn resolve(&self, value: &Value) -> String {
        let (step, what) = match value {
            Value::Text(text) => return text.clone(),
            Value::Answered { step, what } => (*step, *what),
        };
        let answer = self.answers[step].as_ref();
        let field = |name: &str| answer.and_then(|parts| parts.fields.get(name));
        let id = || field("msgId").and_then(|ids| ids.split(',').next());
        let found = match what {
            What::Place => id().and_then(place_of),
            What::MessageId => id().map(str::to_owned),
            What::QueueOffset => field("queueOffset").cloned(),
            What::Handle => field("recallHandle").cloned(),
        };
        found.unwrap_or_else(|| "-1".to_owned())
    }

    fn send(&mut self, step: &Step, opaque: i32) {
        let fields =
            step.fields.iter().map(|(name, value)| (name.clone(), self.resolve(value))).collect();
        let parts = Parts {
            serialize: step.serialize,
            code: step.code,
            opaque,
            flag: if step.is_oneway { 2 } else { 0 },
            version: step.version,
            remark: None,
            fields,
            body: step.body.clone(),
        };
        let bytes = parts.encode();
        let place = place(step);
        if self.connections[place].send_bytes(&bytes).is_err() {
            self.connections[place] = connect(self.addresses[place / CLIENTS]);
            let _ = self.connections[place].send_bytes(&bytes);
        }
    }

    /// As `receive`, while the other clients answer what the broker asks them.
    fn receive_asked(&mut self, place: usize, opaque: i32, wait: Duration) -> Answer {
        let deadline = Instant::now() + wait;
        let slice = Duration::from_millis(5);
        while Instant::now() < deadline {
            for other in (0..CLIENTS).filter(|other| *other != place) {
                // Nothing else is on its way there.
                let _ = self.receive(other, -1, slice);
            }
            let answer = self.receive(place, opaque, slice * 4);
            if !matches!(answer, Answer::Silence) {
                return answer;
            }
        }
        Answer::Silence
    }

    fn receive(&mut self, place: usize, opaque: i32, wait: Duration) -> Answer {
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Answer::Silence;
            }
            match self.connections[place].receive(left) {
                Ok(reply) => {
                    let parts = Parts::decode(reply.bytes()).expect("a broker sends whole frames");
                    if !parts.is_answer() {
                        self.hear(place, &parts);
                    } else if parts.opaque == opaque {
                        return Answer::Frame(parts);
                    }
                }
                Err(Error::Io(error)) if error.kind() == ErrorKind::TimedOut => {
                    return Answer::Silence;
                }
                Err(_) => {
                    self.connections[place] = connect(self.addresses[place / CLIENTS]);
                    return Answer::Closed;
                }
            }
        }
    }

    /// Notes a request of the broker, and answers it when it waits for an answer.
    fn hear(&mut self, client: usize, request: &Parts) {
        self.asked.insert((client, format!("{} {:?}", request.code, request.fields)));
        if [220, 221, 307, 309].contains(&request.code) && !request.is_oneway() {
            let answer = Parts {
                serialize: SerializeType::Json,
                code: 1,
                flag: 1,
                remark: Some("the client cannot".to_owned()),
                fields: BTreeMap::new(),
                body: Vec::new(),
                ..request.clone()
            };
            let _ = self.connections[client].send_bytes(&answer.encode());
        }
    }

    /// Waits until a message that Java has acknowledged can be read.
    fn settle(&mut self, step: &Step, (queue, offset): (&str, i64), pause: Duration) {
        let topic = step.fields.get("topic").or(step.fields.get("b"));
        let Some(Value::Text(topic)) = topic else { return };
        let fields = [("topic", topic.as_str()), ("queueId", queue)];
        for number in 0..20 {
            let parts = Parts {
                serialize: SerializeType::Json,
                code: 30,
                opaque: 1_000_000 + number,
                flag: 0,
                version: 513,
                remark: None,
                fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
                body: Vec::new(),
            };
            let _ = self.connections[0].send_bytes(&parts.encode());
            let answer = self.receive(0, parts.opaque, ANSWER);
            let end = answer.parts().and_then(|parts| parts.fields.get("offset")?.parse().ok());
            if end.is_some_and(|end: i64| end > offset) {
                return;
            }
            std::thread::sleep(pause);
        }
    }
}

/// Which connection a step takes.
fn place(step: &Step) -> usize {
    step.client + if step.to_name_server { CLIENTS } else { 0 }
}

fn connect(address: SocketAddr) -> Connection {
    let options = Options { timeout: ANSWER, ..Options::default() };
    Connection::connect_with(address, options).expect("the broker lives")
}

/// The position in an offset message id of IPv4 form.
fn place_of(id: &str) -> Option<String> {
    let hex = id.get(16..).filter(|_| id.len() == 32)?;
    i64::from_str_radix(hex, 16).ok().map(|place| place.to_string())
}

/// Plays those steps of a sequence that `keep` names. `pause`: how long to wait where Java works behind its answers.
pub(crate) fn play(
    pair: &Pair,
    rows: &[&Row],
    prefix: &str,
    (steps, keep): (&[Step], &[usize]),
    pause: Duration,
) -> Played {
    let address = |at: SocketAddr| format!("127.0.0.1:{}", at.port());
    let vip = |at: SocketAddr| format!("127.0.0.1:{}", at.port() - 2);
    let known = Known {
        addresses: vec![
            (address(pair.java[0]), address(pair.ours[0])),
            (vip(pair.java[0]), vip(pair.ours[0])),
            (address(pair.java[1]), address(pair.ours[1])),
        ],
        reads_properties: true,
        ..Known::default()
    };
    let mut run = Run {
        java: Side::open(pair.java, steps.len()),
        ours: Side::open(pair.ours, steps.len()),
        rows,
        prefix,
        known,
        pause,
        knows_times: pair.knows_times,
        played: Played::default(),
    };
    for at in keep {
        if !run.step(*at, &steps[*at]) {
            return run.played;
        }
    }
    run.end(steps.len());
    run.played
}

struct Run<'r> {
    java: Side,
    ours: Side,
    rows: &'r [&'r Row],
    prefix: &'r str,
    known: Known,
    pause: Duration,
    knows_times: bool,
    played: Played,
}

impl Run<'_> {
    /// Plays a step; `false` when the sequence ends here, since the brokers are not in the same state any more.
    fn step(&mut self, at: usize, step: &Step) -> bool {
        let opaque = i32::try_from(at).expect("sequences are short") + 1;
        self.played.requests += 1;
        *self.played.codes.entry(step.code).or_default() += 1;
        self.java.send(step, opaque);
        self.ours.send(step, opaque);
        if step.is_oneway {
            std::thread::sleep(self.pause * 4);
            return true;
        }
        let asks = [220, 221, 222, 223, 307, 309].contains(&step.code);
        let receive = if asks { Side::receive_asked } else { Side::receive };
        let ours = receive(&mut self.ours, place(step), opaque, ANSWER);
        let wait = if ours.parts().is_some() { ANSWER } else { OTHER };
        let java = receive(&mut self.java, place(step), opaque, wait);
        if let Some(parts) = java.parts() {
            self.wait_for_java(step, parts);
        }
        let goes_on = self.judge(at, step, &java, &ours);
        let (Answer::Frame(java), Answer::Frame(ours)) = (java, ours) else { return goes_on };
        let is_gone = |remark: &String| remark.starts_with("look message by offset failed");
        let makes_retry_topic = step.code == 36 && java.remark.as_ref().is_some_and(is_gone);
        self.java.answers[at] = Some(java);
        self.ours.answers[at] = Some(ours);
        let is_elsewhere = !self.knows_times && has_property(step, &["TIMER_"])
            || [324, 325].contains(&step.code) && waits_elsewhere(step)
            || makes_retry_topic;
        goes_on && !is_elsewhere
    }

    fn wait_for_java(&mut self, step: &Step, answer: &Parts) {
        let stores = [10, 310, 320, 36, 37].contains(&step.code);
        // A reply is stored also when nobody takes it.
        let is_reply = [324, 325].contains(&step.code);
        if !is_reply && (!stores || answer.code != response::SUCCESS) {
            return;
        }
        let field = |name: &str| answer.fields.get(name);
        let place = field("queueId").zip(field("queueOffset").and_then(|text| text.parse().ok()));
        match place {
            Some((queue, offset)) if self.pause < Duration::from_millis(20) => {
                self.java.settle(step, (queue, offset), self.pause);
            }
            Some(_) | None => std::thread::sleep(self.pause * 3),
        }
    }

    fn judge(&mut self, at: usize, step: &Step, java: &Answer, ours: &Answer) -> bool {
        let (Answer::Frame(theirs), Answer::Frame(mine)) = (java, ours) else {
            if java.shown() == ours.shown() {
                return true;
            }
            return self.other_answer(at, step.code, java, ours);
        };
        if theirs.code != mine.code {
            return self.other_answer(at, step.code, java, ours);
        }
        if std::env::var_os("RINGMQ_SHOW").is_some() {
            let body = |parts: &Parts| String::from_utf8_lossy(&parts.body).into_owned();
            eprintln!("{at} {}: Java {theirs:?} {}", step.code, body(theirs));
            eprintln!("{at} {}: ours {mine:?} {}", step.code, body(mine));
        }
        if let Some(difference) = other_key(theirs, mine) {
            return self.note(at, step.code, difference);
        }
        self.known.learn(theirs, mine);
        let (theirs, mine) = (self.masked(step.code, theirs), self.masked(step.code, mine));
        let differences = self.known.compare(&theirs, &mine);
        let is_outside = |path: &str| ["version", "encoding"].contains(&path);
        let is_equal = differences.iter().all(|difference| is_outside(&difference.path));
        self.played.equal += u32::from(is_equal);
        let waits = waits_elsewhere(step);
        differences.into_iter().all(|mut difference| {
            if waits && difference.path == "field queueOffset" {
                difference.path.push_str(" of a shared queue");
            }
            self.note(at, step.code, difference)
        })
    }

    /// Answers with different codes. The sequence goes on when neither broker has done anything.
    fn other_answer(&mut self, at: usize, code: i32, java: &Answer, ours: &Answer) -> bool {
        let (path, recorded, mine) = ("answer".to_owned(), java.shown(), ours.shown());
        let difference = Difference { path, recorded, ours: mine };
        let has_failed =
            |answer: &Answer| answer.parts().is_some_and(|parts| parts.code != response::SUCCESS);
        self.note(at, code, difference) && has_failed(java) && has_failed(ours)
    }

    /// Counts a listed difference; `false` for one that is on no list.
    fn note(&mut self, step: usize, code: i32, mut difference: Difference) -> bool {
        // The same place in another run.
        difference.path = difference.path.replace(self.prefix, "OWN_");
        match listed(self.rows, code, &difference) {
            Some(row) => {
                *self.played.rows.entry((row, code)).or_default() += 1;
                self.played.uses.entry(row).or_default().insert(kind(code, &difference));
                !parts_ways(self.rows[row], code)
            }
            None => {
                self.played.problem = Some(Problem { step, code, difference });
                false
            }
        }
    }

    /// An answer without what other sequences leave in both brokers, and what each broker counts for itself.
    fn masked(&self, code: i32, parts: &Parts) -> Parts {
        let mut parts = parts.clone();
        if [26, 319].contains(&code) {
            let text = String::from_utf8_lossy(&parts.body).into_owned();
            let pairs = text.lines().filter_map(|line| line.split_once('='));
            let map: serde_json::Map<String, Json> =
                pairs.map(|(key, value)| (key.to_owned(), Json::from(value))).collect();
            parts.body = Json::Object(map).to_string().into_bytes();
        }
        if DUMPS.contains(&code)
            && let Ok(mut value) = wire::json::from_slice::<Json>(&parts.body)
        {
            only_own(&mut value, self.prefix);
            mask(code, &mut value);
            parts.body = value.to_string().into_bytes();
        }
        parts
    }

    /// What the brokers asked of the clients.
    fn end(&mut self, steps: usize) {
        if self.java.asked.is_empty() && self.ours.asked.is_empty() {
            return;
        }
        for client in 0..CLIENTS {
            let _ = self.java.receive(client, 0, self.pause * 4);
            let _ = self.ours.receive(client, 0, self.pause * 4);
        }
        let show = |side: &Side| format!("{:?}", side.asked);
        let (mut java, ours) = (show(&self.java), show(&self.ours));
        for (theirs, mine) in &self.known.ids {
            java = java.replace(theirs, mine);
        }
        if java != ours {
            let difference = Difference { path: "asked".to_owned(), recorded: java, ours };
            self.note(steps.saturating_sub(1), 0, difference);
        }
    }
}

/// Whether a send is delayed or half of a transaction: it is stored in a queue that all sequences share.
fn waits_elsewhere(step: &Step) -> bool {
    has_property(step, &["DELAY", "TIMER_", "TRAN_MSG"])
}

/// Whether a send has a property of whose name a part is this.
fn has_property(step: &Step, names: &[&str]) -> bool {
    let properties = step.fields.get("properties").or(step.fields.get("i"));
    let Some(Value::Text(text)) = properties else { return false };
    names.iter().any(|name| text.contains(name))
}

/// A unique key that is the client's is the same in both answers; one that a broker made is mapped.
fn other_key(java: &Parts, ours: &Parts) -> Option<Difference> {
    let (theirs, mine) = (java.fields.get("transactionId")?, ours.fields.get("transactionId")?);
    let is_client = [theirs, mine].iter().any(|key| key.starts_with(UNIQUE_KEYS));
    (is_client && theirs != mine).then(|| Difference {
        path: "field transactionId".to_owned(),
        recorded: theirs.clone(),
        ours: mine.clone(),
    })
}

/// Requests whose answers show more than the sequence's own topics and groups.
const DUMPS: &[i32] =
    &[41, 305, 103, 219, 21, 28, 43, 45, 106, 201, 206, 300, 304, 311, 312, 313, 317, 328, 343];

/// Names that unsound bodies give to topics and groups, which then are everybody's.
const ODD: &[&str] = &[
    "",
    " ",
    "%RETRY%",
    "%RETRY% ",
    "%DLQ%",
    "%DLQ% ",
    "-1",
    "1.5",
    "17",
    "99999999999",
    "true",
    "false",
    "text",
    "null",
    "{}",
    "[]",
];

/// Leaves out what names another sequence.
fn only_own(value: &mut Json, prefix: &str) {
    match value {
        Json::Object(map) => {
            map.retain(|key, value| {
                let is_other = |text: &str| is_foreign(text, prefix) || ODD.contains(&text);
                !is_other(key) && !value.as_str().is_some_and(|text| is_foreign(text, prefix))
            });
            map.values_mut().for_each(|value| only_own(value, prefix));
        }
        Json::Array(list) => {
            list.retain(|value| {
                let text = value.to_string();
                let is_odd = value.as_str().is_some_and(|text| ODD.contains(&text));
                !is_odd && (!is_foreign(&text, prefix) || text.contains(prefix))
            });
            list.iter_mut().for_each(|value| only_own(value, prefix));
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// Whether a text has the prefix of another sequence: a Q, five digits, a letter and a line.
fn is_foreign(text: &str, prefix: &str) -> bool {
    let is_prefix = |bytes: &[u8]| {
        bytes[0] == b'Q'
            && bytes[1..6].iter().all(u8::is_ascii_digit)
            && bytes[6].is_ascii_lowercase()
            && bytes[7] == b'_'
            && bytes != prefix.as_bytes()
    };
    text.as_bytes().windows(8).any(is_prefix)
}

/// Leaves out numbers that count what all sequences did.
fn mask(code: i32, value: &mut Json) {
    let Json::Object(map) = value else { return };
    map.remove("dataVersion");
    map.remove("mappingDataVersion");
    if let Some(Json::Array(list)) = map.get_mut("consumeStatsList") {
        // How far the checks of transactions are: Java notes that from the first one on.
        list.retain(|group| group.get("CID_RMQ_SYS_TRANS").is_none());
        let groups = std::mem::take(list).into_iter().filter_map(|group| {
            let Json::Object(group) = group else { return None };
            group.into_iter().next()
        });
        let groups = Json::Object(groups.collect());
        map.insert("consumeStatsList".to_owned(), groups);
        map.remove("totalDiff");
        map.remove("totalInflightDiff");
    }
    if let Some(Json::Array(list)) = map.get_mut("lockOKMQSet") {
        // Java leaves out what is null.
        for queue in list.iter_mut().filter_map(Json::as_object_mut) {
            queue.entry("brokerName").or_insert_with(|| Json::from(""));
            queue.entry("topic").or_insert_with(|| Json::from(""));
        }
    }
    // As a map, whose members are compared one by one.
    for member in ["topicList", "groupList"] {
        let Some(Json::Array(list)) = map.get_mut(member) else { continue };
        let names = list.iter().filter_map(|name| Some((name.as_str()?.to_owned(), Json::from(1))));
        let names = Json::Object(names.collect());
        map.insert(member.to_owned(), names);
    }
    let table = match code {
        28 => map.get_mut("table"),
        45 => map.get_mut("offsetTable"),
        _ => None,
    };
    if let Some(Json::Object(table)) = table {
        table.values_mut().for_each(|value| *value = Json::from("…"));
    }
}
