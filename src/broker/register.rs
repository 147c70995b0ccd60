//! Registration at the name servers: what to send when, per name server. Sans-io: time and events in, steps out.
//!
//! One connection per name server, one request on it at a time. The whole table is registered at the start, in every
//! period, and at once after a change of topics (changes while a request is under way share the next one). A name
//! server that does not answer is tried again with a growing pause. Java counterpart: BrokerOuterAPI.

use base::ids::ConnId;
use base::time::MonoNs;
use std::net::SocketAddr;

/// Time for a connection to come up.
const CONNECT_MS: u64 = 3000;
/// First pause after a failure; it doubles up to the last.
const PAUSE_MS: u64 = 500;
const PAUSE_MS_MAX: u64 = 10_000;
/// After this long the process reports ready whether the name servers answered or not.
const READY_MS: u64 = 1000;
/// Pause between two registrations because of changed topics: each holds all topics.
const GATHER_MS: u64 = 100;

/// A request to a name server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    /// 322: is what you know still true?
    Version,
    /// 103: the whole table.
    Register,
    /// 104: goodbye.
    Unregister,
}

/// Something to do now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Find the address of a name server, off the shard.
    Resolve {
        /// Index of the name server.
        server: usize,
        /// `host:port`.
        name: String,
    },
    /// Open a connection; tell `connecting` its id.
    Connect { server: usize, address: SocketAddr },
    /// Send a request with this opaque.
    Send { server: usize, conn: ConnId, opaque: i32, ask: Ask, version: i32 },
    /// Close a connection.
    Close(ConnId),
}

/// The answer to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) opaque: i32,
    pub(crate) code: i32,
    /// `MQVersion` ordinal of the name server.
    pub(crate) version: i32,
    pub(crate) remark: &'a str,
    /// Of an answer to 322: something else is known there.
    pub(crate) changed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pending {
    opaque: i32,
    ask: Ask,
    generation: u64,
    deadline: MonoNs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Next try at this time.
    Waiting(MonoNs),
    Resolving,
    Connecting {
        conn: Option<ConnId>,
        deadline: MonoNs,
    },
    Open {
        conn: ConnId,
        pending: Option<Pending>,
        due: MonoNs,
    },
    /// Said goodbye, or never said hello.
    Left,
}

struct Server {
    name: String,
    state: State,
    failures: u32,
    /// Registered, as the log was told.
    is_registered: bool,
    /// Changes of topics until then are told together.
    gathers_until: MonoNs,
    /// The first try has ended, well or not.
    was_tried: bool,
    /// Topics registered there; 0: none.
    generation: u64,
    /// `MQVersion` of its answers; 0 before the first.
    version: i32,
}

/// How often and how patiently.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Period in ms.
    pub(crate) period_ms: u64,
    /// Time for an answer in ms.
    pub(crate) timeout_ms: u64,
    /// Register in every period without asking.
    pub(crate) force: bool,
}

/// All name servers.
pub(crate) struct Register {
    servers: Vec<Server>,
    pace: Pace,
    /// Counts the changes of the table, from 1.
    generation: u64,
    opaque: i32,
    began: MonoNs,
    /// Name servers are told goodbye, and not approached any more.
    is_leaving: bool,
    is_ready: bool,
    steps: Vec<Step>,
}

impl Register {
    /// Registration at these name servers.
    pub(crate) fn new(names: &[String], pace: Pace) -> Register {
        let server = |name: &String| Server {
            name: name.clone(),
            state: State::Waiting(MonoNs(0)),
            failures: 0,
            is_registered: false,
            gathers_until: MonoNs(0),
            was_tried: false,
            generation: 0,
            version: 0,
        };
        Register {
            servers: names.iter().map(server).collect(),
            pace,
            generation: 1,
            opaque: 0,
            began: MonoNs(0),
            is_leaving: false,
            is_ready: names.is_empty(),
            steps: Vec::new(),
        }
    }

    /// The first try begins.
    pub(crate) fn start(&mut self, now: MonoNs) {
        self.began = now;
        self.tick(now);
    }

    /// Whether the process may say that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// What to do now.
    pub(crate) fn take_steps(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }

    /// Topics have changed.
    pub(crate) fn topics_changed(&mut self, now: MonoNs) {
        self.generation += 1;
        self.tick(now);
    }

    /// When `tick` has something to do.
    pub(crate) fn next_deadline(&self) -> Option<MonoNs> {
        let servers = self.servers.iter().filter_map(|server| match server.state {
            State::Waiting(at) => Some(at),
            State::Connecting { deadline, .. } => Some(deadline),
            State::Open { pending: Some(pending), .. } => Some(pending.deadline),
            State::Open { pending: None, .. } if server.generation != self.generation => {
                Some(server.gathers_until)
            }
            State::Open { pending: None, due, .. } => Some(due),
            State::Resolving | State::Left => None,
        });
        let ready = (!self.is_ready).then(|| self.began.plus_ms(READY_MS));
        servers.chain(ready).min()
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: MonoNs) {
        for at in 0..self.servers.len() {
            self.drive(at, now);
        }
        let all_tried = self.servers.iter().all(|server| server.was_tried);
        self.is_ready |= all_tried || now >= self.began.plus_ms(READY_MS);
    }

    fn drive(&mut self, at: usize, now: MonoNs) {
        let server = &mut self.servers[at];
        match server.state {
            State::Waiting(_) | State::Resolving if self.is_leaving => {
                server.state = State::Left;
            }
            State::Waiting(due) if due <= now => self.approach(at, now),
            State::Connecting { conn, .. } if self.is_leaving => {
                self.steps.extend(conn.map(Step::Close));
                server.state = State::Left;
            }
            State::Connecting { conn, deadline } if deadline <= now => {
                self.steps.extend(conn.map(Step::Close));
                self.fail(at, now, "no connection within 3 s");
            }
            State::Open { conn, pending: Some(pending), .. } if pending.deadline <= now => {
                self.steps.push(Step::Close(conn));
                self.fail(at, now, "no answer in time");
            }
            State::Open { pending: None, .. } => self.ask_next(at, now),
            State::Waiting(_)
            | State::Resolving
            | State::Connecting { .. }
            | State::Open { .. }
            | State::Left => {}
        }
    }

    fn approach(&mut self, at: usize, now: MonoNs) {
        let server = &mut self.servers[at];
        match server.name.parse() {
            Ok(address) => self.connect(at, address, now),
            Err(_) => {
                server.state = State::Resolving;
                self.steps.push(Step::Resolve { server: at, name: server.name.clone() });
            }
        }
    }

    fn connect(&mut self, at: usize, address: SocketAddr, now: MonoNs) {
        self.servers[at].state =
            State::Connecting { conn: None, deadline: now.plus_ms(CONNECT_MS) };
        self.steps.push(Step::Connect { server: at, address });
    }

    /// A name has an address, or has none.
    pub(crate) fn resolved(
        &mut self,
        server: usize,
        result: std::io::Result<SocketAddr>,
        now: MonoNs,
    ) {
        let known = self.servers.get(server).is_some_and(|s| s.state == State::Resolving);
        match result {
            _ if !known => {}
            Ok(address) => self.connect(server, address, now),
            Err(error) => self.fail(server, now, &format!("its name has no address: {error}")),
        }
        self.tick(now);
    }

    /// A connection was begun.
    pub(crate) fn connecting(&mut self, server: usize, new: ConnId) {
        if let State::Connecting { conn, .. } = &mut self.servers[server].state {
            *conn = Some(new);
        }
    }

    /// A connection is there, or is not; false when it is none of ours (any more).
    pub(crate) fn connected(&mut self, conn: ConnId, error: Option<i32>, now: MonoNs) -> bool {
        let found = self
            .servers
            .iter()
            .position(|s| matches!(s.state, State::Connecting { conn: Some(c), .. } if c == conn));
        let Some(at) = found else { return false };
        match error {
            None => {
                self.servers[at].generation = 0;
                self.servers[at].state = State::Open { conn, pending: None, due: now };
            }
            Some(error) => {
                let error = std::io::Error::from_raw_os_error(error);
                self.fail(at, now, &format!("connecting failed: {error}"));
            }
        }
        self.tick(now);
        true
    }

    /// A connection has ended.
    pub(crate) fn closed(&mut self, conn: ConnId, now: MonoNs) {
        let is_it = |s: &Server| matches!(s.state, State::Open { conn: c, .. } if c == conn);
        if let Some(at) = self.servers.iter().position(is_it) {
            self.fail(at, now, "it closed the connection");
            self.tick(now);
        }
    }

    fn fail(&mut self, at: usize, now: MonoNs, why: &str) {
        let server = &mut self.servers[at];
        let pause = (PAUSE_MS << server.failures.min(8)).min(PAUSE_MS_MAX);
        if server.is_registered || server.failures == 0 {
            tracing::warn!("name server {}: not registered: {why}; trying again", server.name);
        }
        server.failures = server.failures.saturating_add(1);
        server.is_registered = false;
        server.was_tried = true;
        server.state =
            if self.is_leaving { State::Left } else { State::Waiting(now.plus_ms(pause)) };
    }

    fn ask_next(&mut self, at: usize, now: MonoNs) {
        let server = &self.servers[at];
        let State::Open { pending: None, due, .. } = server.state else { return };
        let is_old = server.generation != self.generation;
        let ask = if self.is_leaving {
            Ask::Unregister
        } else if is_old && server.gathers_until <= now {
            Ask::Register
        } else if due > now {
            return;
        } else if self.pace.force {
            Ask::Register
        } else {
            Ask::Version
        };
        self.ask(at, ask, now);
    }

    fn ask(&mut self, at: usize, ask: Ask, now: MonoNs) {
        self.opaque = self.opaque.wrapping_add(1);
        let (opaque, generation) = (self.opaque, self.generation);
        let server = &mut self.servers[at];
        if ask == Ask::Register && server.is_registered {
            server.gathers_until = now.plus_ms(GATHER_MS);
        }
        let State::Open { conn, pending, due } = &mut server.state else { return };
        let deadline = now.plus_ms(self.pace.timeout_ms);
        *pending = Some(Pending { opaque, ask, generation, deadline });
        *due = now.plus_ms(self.pace.period_ms);
        let step = Step::Send { server: at, conn: *conn, opaque, ask, version: server.version };
        self.steps.push(step);
    }

    /// A name server has answered.
    pub(crate) fn answered(&mut self, conn: ConnId, answer: &Answer<'_>, now: MonoNs) {
        let is_it = |s: &Server| matches!(s.state, State::Open { conn: c, .. } if c == conn);
        let Some(at) = self.servers.iter().position(is_it) else { return };
        let server = &mut self.servers[at];
        let State::Open { pending: waiting, .. } = &mut server.state else { return };
        let Some(pending) = waiting.filter(|pending| pending.opaque == answer.opaque) else {
            return;
        };
        *waiting = None;
        server.version = answer.version;
        server.was_tried = true;
        match pending.ask {
            Ask::Unregister => {
                tracing::info!("name server {}: unregistered", server.name);
                server.state = State::Left;
            }
            // One that does not know the question is told everything.
            Ask::Version if answer.changed || answer.code != 0 => {
                server.generation = 0;
            }
            Ask::Version => {}
            Ask::Register => self.registered(at, &pending, answer),
        }
        self.tick(now);
    }

    fn registered(&mut self, at: usize, pending: &Pending, answer: &Answer<'_>) {
        let server = &mut self.servers[at];
        // After a refusal the next period tries again: the name server is there, and says no.
        server.generation = pending.generation;
        server.failures = 0;
        if answer.code != 0 {
            let (name, code) = (&server.name, answer.code);
            tracing::error!("name server {name}: refused to register: {code} {}", answer.remark);
            server.is_registered = false;
        } else if !server.is_registered {
            tracing::info!("name server {}: registered", server.name);
            server.is_registered = true;
        }
    }

    /// The process stops: goodbyes go out behind what is under way.
    pub(crate) fn stop(&mut self, now: MonoNs) {
        self.is_leaving = true;
        self.tick(now);
    }

    /// Whether every goodbye was answered.
    pub(crate) fn has_left(&self) -> bool {
        self.is_leaving && self.servers.iter().all(|server| server.state == State::Left)
    }
}

#[cfg(test)]
mod tests;
