//! Plays the client's side of a recording against a running broker and name server, and judges what comes back.
//!
//! A request goes out when everything has come in that came in before it in the recording, so what the client of the
//! recording knew, ours knows. Pauses of the recording are cut short.

use super::recording::{Link, Recording, Step, What};
use super::support::Server;
use super::support::compare::{Difference, Known};
use super::support::parts::Parts;
use super::{DIFFERS, NOT_SENT, SKIPPED, UNSUPPORTED};
use client::{Connection, Error, Options, Reply};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};
use wire::codes::response;

/// How long an answer may take: recorded pulls wait for up to 15 s, to which the broker's rounds come.
const ANSWER: Duration = Duration::from_secs(30);
/// How long something may take that Java's broker did by a timer: a route that spreads, a notification.
const SOON: Duration = Duration::from_secs(5);

/// What a scenario showed.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) scenarios: u32,
    /// Requests sent, and frames of the broker that were compared.
    pub(crate) requests: u32,
    pub(crate) answers: u32,
    /// Those that are equal in every field.
    pub(crate) equal: u32,
    /// By place in `DIFFERS`, how often it was needed.
    pub(crate) listed: BTreeMap<usize, u32>,
    /// By request code, how often it was refused as unsupported.
    pub(crate) unsupported: BTreeMap<i32, u32>,
    /// What is neither equal nor listed.
    pub(crate) problems: Vec<String>,
}

impl Outcome {
    /// Counts another scenario.
    pub(crate) fn add(&mut self, other: Outcome) {
        self.scenarios += 1;
        self.requests += other.requests;
        self.answers += other.answers;
        self.equal += other.equal;
        for (place, count) in other.listed {
            *self.listed.entry(place).or_default() += count;
        }
        for (code, count) in other.unsupported {
            *self.unsupported.entry(code).or_default() += count;
        }
        self.problems.extend(other.problems);
    }
}

/// A connection of the recording, in our run.
struct Line {
    connection: Connection,
    inbox: VecDeque<Reply>,
    is_closed: bool,
    /// Ids of the broker's requests: the recorded one and ours.
    opaques: HashMap<i32, i32>,
    /// Requests of the client by id, as they went out.
    sent: HashMap<i32, (Parts, Vec<u8>)>,
}

impl Line {
    /// Takes the first frame that is wanted, waiting for it until the deadline.
    fn take(&mut self, deadline: Instant, wanted: impl Fn(&Reply) -> bool) -> Option<Reply> {
        loop {
            if let Some(at) = self.inbox.iter().position(&wanted) {
                return self.inbox.remove(at);
            }
            if !self.read(deadline) {
                return None;
            }
        }
    }

    /// Reads one frame; `false` when there is none before the deadline, or never will be.
    fn read(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        if self.is_closed || left.is_zero() {
            return false;
        }
        match self.connection.receive(left) {
            Ok(reply) => {
                self.inbox.push_back(reply);
                true
            }
            Err(Error::Io(error)) if error.kind() == ErrorKind::TimedOut => false,
            Err(_) => {
                self.is_closed = true;
                false
            }
        }
    }
}

/// A scenario on its way.
struct Play<'s> {
    server: &'s Server,
    name: &'s str,
    lines: HashMap<u64, Line>,
    known: &'s mut Known,
    outcome: Outcome,
}

/// What stands for the recorded addresses while this server runs.
pub(crate) fn known(server: &Server) -> Known {
    let ours = |address: SocketAddr| format!("127.0.0.1:{}", address.port());
    let addresses = vec![
        ("127.0.0.1:20911".to_owned(), ours(server.broker)),
        ("127.0.0.1:20876".to_owned(), ours(server.namesrv)),
    ];
    Known { addresses, ..Known::default() }
}

/// Plays a recording; pauses longer than `pause` are cut to it. What is known goes on to the next one of this server.
pub(crate) fn play<'s>(
    server: &'s Server,
    name: &'s str,
    recording: &Recording,
    (known, pause): (&'s mut Known, Duration),
) -> Outcome {
    let outcome = Outcome::default();
    let mut play = Play { server, name, lines: HashMap::new(), known, outcome };
    let mut last_us = 0;
    for step in &recording.steps {
        if matches!(step.what, What::Sent { .. }) {
            let gap = Duration::from_micros(step.at_us.saturating_sub(last_us));
            std::thread::sleep(gap.min(pause));
            let recorded_ms = recording.epoch_ms + i64::try_from(step.at_us / 1000).unwrap();
            play.known.moments.push((recorded_ms, now_ms()));
        }
        last_us = step.at_us;
        play.step(step);
    }
    play.outcome
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

impl Play<'_> {
    fn step(&mut self, step: &Step) {
        match &step.what {
            What::Open(link) => self.open(step.conn, *link),
            What::Close { by_server } => self.close(step, *by_server),
            What::Sent { bytes, parts: None } => {
                let line = self.lines.get_mut(&step.conn).unwrap();
                // The server may have closed on what came before.
                let _ = line.connection.send_bytes(bytes);
            }
            What::Sent { bytes, parts: Some(parts) } if parts.is_answer() => {
                self.answer(step.conn, parts, bytes);
            }
            What::Sent { bytes, parts: Some(parts) } => self.send(step, parts, bytes),
            What::Received(parts) if parts.is_answer() => self.check_answer(step, parts),
            What::Received(parts) => self.check_request(step, parts),
        }
    }

    fn open(&mut self, conn: u64, link: Link) {
        let mut vip = self.server.broker;
        vip.set_port(vip.port() - 2);
        let address = match link {
            Link::NameServer => self.server.namesrv,
            Link::Broker => self.server.broker,
            Link::BrokerVip => vip,
        };
        let options = Options { timeout: ANSWER, ..Options::default() };
        let connection = Connection::connect_with(address, options).unwrap();
        let line = Line {
            connection,
            inbox: VecDeque::new(),
            is_closed: false,
            opaques: HashMap::new(),
            sent: HashMap::new(),
        };
        self.lines.insert(conn, line);
    }

    fn close(&mut self, step: &Step, by_server: bool) {
        let mut line = self.lines.remove(&step.conn).unwrap();
        let wait = if by_server { SOON } else { Duration::from_millis(20) };
        let deadline = Instant::now() + wait;
        while line.read(deadline) {}
        if line.is_closed != by_server {
            let what = |closed| if closed { "closed by the server" } else { "open" }.to_owned();
            let path = "connection".to_owned();
            let (recorded, ours) = (what(by_server), what(line.is_closed));
            self.judge(step, None, &[Difference { path, recorded, ours }]);
        }
        for reply in line.inbox {
            let ours = Parts::decode(reply.bytes()).unwrap();
            let request = line.sent.get(&ours.opaque).map(|(parts, _)| parts);
            if reply.is_request() {
                let (path, shown) =
                    ("request".to_owned(), format!("{} {:?}", ours.code, ours.fields));
                let difference = Difference { path, recorded: "(none)".to_owned(), ours: shown };
                self.judge(step, Some(&ours), &[difference]);
            } else if request.is_none() {
                self.problem(step, &format!("an answer that Java does not send: {ours:?}"));
            } else if !self.is_unsupported(request, &ours) {
                let (path, ours) =
                    ("answer".to_owned(), format!("{} {:?}", ours.code, ours.remark));
                let difference = Difference { path, recorded: "(none)".to_owned(), ours };
                self.judge(step, request, &[difference]);
            }
        }
    }

    fn send(&mut self, step: &Step, parts: &Parts, bytes: &[u8]) {
        if SKIPPED.iter().any(|(name, seq, _)| (*name, *seq) == (self.name, step.seq)) {
            return;
        }
        let ours = self.known.rewrite(parts);
        let bytes = ours.as_ref().map_or_else(|| bytes.to_vec(), Parts::encode);
        let line = self.lines.get_mut(&step.conn).unwrap();
        let _ = line.connection.send_bytes(&bytes);
        self.outcome.requests += 1;
        if !parts.is_oneway() {
            line.sent.insert(parts.opaque, (parts.clone(), bytes));
        }
    }

    /// The client's answer to a request of the broker.
    fn answer(&mut self, conn: u64, parts: &Parts, bytes: &[u8]) {
        let line = self.lines.get_mut(&conn).unwrap();
        let Some(&opaque) = line.opaques.get(&parts.opaque) else {
            // A case of the recording: an answer that nobody has asked for.
            if line.sent.is_empty() && line.opaques.is_empty() {
                let _ = line.connection.send_bytes(bytes);
            }
            return;
        };
        let bytes = Parts { opaque, ..parts.clone() }.encode();
        let _ = line.connection.send_bytes(&bytes);
    }

    fn check_answer(&mut self, step: &Step, recorded: &Parts) {
        let line = self.lines.get_mut(&step.conn).unwrap();
        let Some((request, bytes)) = line.sent.get(&recorded.opaque).cloned() else { return };
        let wanted = |reply: &Reply| !reply.is_request() && reply.opaque() == recorded.opaque;
        let Some(reply) = line.take(Instant::now() + ANSWER, wanted) else {
            return self.problem(step, &format!("no answer to {request:?}"));
        };
        let mut ours = Parts::decode(reply.bytes()).unwrap();
        self.outcome.answers += 1;
        line.sent.remove(&recorded.opaque);
        if self.is_unsupported(Some(&request), &ours) {
            return;
        }
        self.known.learn(recorded, &ours);
        let mut differences = self.known.compare(recorded, &ours);
        // Routes and subscriptions spread in their own time: the question is asked again for a while, as clients do.
        let deadline = Instant::now() + SOON;
        while (request.code == 105 || ours.code == response::SUBSCRIPTION_NOT_LATEST)
            && !self.are_listed(&request, &differences)
        {
            std::thread::sleep(Duration::from_millis(50));
            let line = self.lines.get_mut(&step.conn).unwrap();
            let _ = line.connection.send_bytes(&bytes);
            let Some(reply) = line.take(deadline, wanted) else { break };
            ours = Parts::decode(reply.bytes()).unwrap();
            self.known.learn(recorded, &ours);
            differences = self.known.compare(recorded, &ours);
        }
        self.judge(step, Some(&request), &differences);
    }

    /// Counts a refusal of a request that is listed as unsupported.
    fn is_unsupported(&mut self, request: Option<&Parts>, ours: &Parts) -> bool {
        let code = request.map_or(0, |request| request.code);
        let is_listed = UNSUPPORTED.iter().any(|(listed, _)| *listed == code);
        let is_refused = is_listed && ours.code == response::REQUEST_CODE_NOT_SUPPORTED;
        if is_refused {
            *self.outcome.unsupported.entry(code).or_default() += 1;
        }
        is_refused
    }

    fn check_request(&mut self, step: &Step, recorded: &Parts) {
        if NOT_SENT.iter().any(|(code, _)| *code == recorded.code) {
            return;
        }
        let line = self.lines.get_mut(&step.conn).unwrap();
        let wanted = |reply: &Reply| reply.is_request() && reply.code() == recorded.code;
        let Some(reply) = line.take(Instant::now() + ANSWER, wanted) else {
            return self.problem(step, &format!("our broker does not ask {recorded:?}"));
        };
        self.outcome.answers += 1;
        let ours = Parts::decode(reply.bytes()).unwrap();
        line.opaques.insert(recorded.opaque, ours.opaque);
        self.known.learn(recorded, &ours);
        let differences = self.known.compare(recorded, &ours);
        self.judge(step, Some(recorded), &differences);
    }

    fn are_listed(&self, request: &Parts, differences: &[Difference]) -> bool {
        let mut differences = essence(request.code, differences).iter();
        differences.all(|difference| listed(request.code, difference).is_some())
    }

    fn judge(&mut self, step: &Step, request: Option<&Parts>, differences: &[Difference]) {
        let code = request.map_or(0, |request| request.code);
        // Where another code may be, the rest of the answer goes with it.
        let other =
            differences.iter().find(|one| one.path == "code" && listed(code, one).is_some());
        let differences = other.map_or(differences, std::slice::from_ref);
        self.outcome.equal += u32::from(differences.is_empty());
        for difference in differences {
            match listed(code, difference) {
                Some(place) => *self.outcome.listed.entry(place).or_default() += 1,
                None => {
                    let Difference { path, recorded, ours } = difference;
                    let text = format!(
                        "request {code} {:?}\n    {path}\n      Java: {recorded}\n      ours: {ours}",
                        request.map_or(&BTreeMap::new(), |request| &request.fields)
                    );
                    self.problem(step, &text);
                }
            }
        }
    }

    fn problem(&mut self, step: &Step, text: &str) {
        let text = format!("{} seq {}: {text}", self.name, step.seq);
        self.outcome.problems.push(text);
    }
}

/// Where another code may be, the rest of the answer goes with it.
fn essence(request: i32, differences: &[Difference]) -> &[Difference] {
    let is_listed = |one: &&Difference| one.path == "code" && listed(request, one).is_some();
    differences.iter().find(is_listed).map_or(differences, std::slice::from_ref)
}

/// The place in `DIFFERS` of the row that allows a difference.
fn listed(request: i32, difference: &Difference) -> Option<usize> {
    DIFFERS.iter().position(|row| row.allows(request, difference))
}
