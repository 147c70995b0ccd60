//! The load that pulls: to the end of each queue as fast as possible, or at its end with long polls.
//!
//! A cursor reads one queue and has one pull in flight, as a Java client has; connections carry several cursors.

use super::links::{LinkId, Listener, Outbox};
use super::pace::Window;
use super::scan::{Answer, Scanner, Sink};
use super::stamp::{Arrivals, Stamped};
use super::tally::{Latency, Refusals};
use super::template::OPAQUE_FIRST;
use base::time::MonoNs;
use wire::codes::{MQ_VERSION_5_5_0, request, response};
use wire::req::client::{PullMessageRequestHeader, PullMessageResponseHeader};
use wire::{FrameHead, FrameWriter, SerializeType, Text, sys_flag};

/// How long a broker may hold a pull at the end of a queue, as Java's push consumer asks.
const SUSPEND_MS: i64 = 15_000;
/// Pause before a refused pull is repeated.
const RETRY_MS: u64 = 100;

/// A queue to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    /// Connection, counted from the puller's first.
    pub(super) link: usize,
    /// Queue.
    pub(super) queue_id: i32,
    /// Where reading begins.
    pub(super) first: i64,
    /// Where reading ends; `None`: never, at the end the broker holds the pull.
    pub(super) end: Option<i64>,
}

/// Which messages are wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    /// Type of the expression.
    pub(super) kind: &'static str,
    /// The expression.
    pub(super) expression: String,
}

impl Wanted {
    /// All of them.
    pub(super) fn all() -> Wanted {
        Wanted { kind: "TAG", expression: "*".to_owned() }
    }
}

/// How a puller pulls.
pub(super) struct PullerPlan<'a> {
    /// Queues.
    pub(super) cursors: Vec<Cursor>,
    /// Number of the puller's first connection, and how many it has.
    pub(super) links: std::ops::Range<LinkId>,
    /// Encoding of headers.
    pub(super) serialize: SerializeType,
    /// Topic.
    pub(super) topic: &'a str,
    /// Group.
    pub(super) group: &'a str,
    /// Most messages per pull.
    pub(super) batch: i32,
    /// Start over at the end of a queue.
    pub(super) repeat: bool,
    /// The stamps that count; none: bodies are not looked at.
    pub(super) stamped: Option<Stamped>,
    /// Which messages are wanted.
    pub(super) wanted: Wanted,
    /// When.
    pub(super) window: Window,
}

/// What was read.
#[derive(Clone, Debug)]
pub(super) struct PullTally {
    /// Messages that arrived within the window.
    pub(super) messages: u64,
    /// Their bytes as stored.
    pub(super) bytes: u64,
    /// Messages of the whole run; with stamps only those of this run, each once.
    pub(super) messages_total: u64,
    /// Messages that the broker stepped over or sent: within the window, and in the whole run.
    pub(super) examined: (u64, u64),
    /// Pulls answered with messages within the window.
    pub(super) pulls: u64,
    /// From the pull to the end of its answer.
    pub(super) latency: Latency,
    /// Messages with stamps.
    pub(super) arrivals: Arrivals,
    /// Refusals of the run.
    pub(super) refusals: Refusals,
    /// When the last cursor reached its end.
    pub(super) finished_at: Option<MonoNs>,
}

/// State of a cursor.
#[derive(Clone, Copy, Debug)]
struct Place {
    cursor: Cursor,
    offset: i64,
    asked_at: Option<MonoNs>,
    is_finished: bool,
}

/// Pullers over some of the links of a run.
pub(super) struct Puller {
    state: State,
    scanners: Vec<Scanner>,
    first_link: LinkId,
    is_begun: bool,
}

struct State {
    topic: String,
    group: String,
    serialize: SerializeType,
    batch: i32,
    repeat: bool,
    stamped: Option<Stamped>,
    wanted: Wanted,
    window: Window,
    places: Vec<Place>,
    retries: Vec<(MonoNs, usize)>,
    /// Per connection: the cursor whose answer is being received.
    current: Vec<Option<usize>>,
    unfinished: usize,
    tally: PullTally,
}

impl Puller {
    /// A puller at rest.
    pub(super) fn new(plan: PullerPlan<'_>) -> Puller {
        let place = |cursor: Cursor| Place {
            cursor,
            offset: cursor.first,
            asked_at: None,
            is_finished: false,
        };
        let places: Vec<Place> = plan.cursors.into_iter().map(place).collect();
        Puller {
            state: State {
                topic: plan.topic.to_owned(),
                group: plan.group.to_owned(),
                serialize: plan.serialize,
                batch: plan.batch,
                repeat: plan.repeat,
                stamped: plan.stamped,
                wanted: plan.wanted,
                window: plan.window,
                unfinished: places.len(),
                places,
                retries: Vec::new(),
                current: vec![None; plan.links.len()],
                tally: PullTally {
                    messages: 0,
                    bytes: 0,
                    messages_total: 0,
                    examined: (0, 0),
                    pulls: 0,
                    latency: Latency::new(),
                    arrivals: Arrivals::new(),
                    refusals: Refusals::default(),
                    finished_at: None,
                },
            },
            scanners: plan.links.clone().map(|_| Scanner::new()).collect(),
            first_link: plan.links.start,
            is_begun: false,
        }
    }

    /// Starts the first pulls, and those that were refused a while ago.
    pub(super) fn issue(&mut self, out: &mut Outbox, now: MonoNs) {
        if !self.is_begun {
            self.is_begun = true;
            for at in 0..self.state.places.len() {
                self.state.go_on(at, self.first_link, out, now);
            }
        }
        while let Some(&(due, at)) = self.state.retries.first() {
            if due > now {
                return;
            }
            self.state.retries.remove(0);
            self.state.go_on(at, self.first_link, out, now);
        }
    }

    /// Whether every queue is read to its end.
    pub(super) fn is_finished(&self) -> bool {
        self.state.unfinished == 0
    }

    /// Messages so far.
    pub(super) fn messages_total(&self) -> u64 {
        self.state.tally.messages_total
    }

    /// Ends the run.
    pub(super) fn into_tally(self) -> PullTally {
        self.state.tally
    }
}

impl Listener for Puller {
    fn received(
        &mut self,
        link: LinkId,
        bytes: &[u8],
        out: &mut Outbox,
        now: MonoNs,
    ) -> Result<(), String> {
        let local = link - self.first_link;
        let (state, first_link) = (&mut self.state, self.first_link);
        let mut sink = PullSink { state, local, first_link, out, now, error: None };
        self.scanners[local].feed(bytes, &mut sink)?;
        sink.error.map_or(Ok(()), Err)
    }

    fn lost(&mut self, link: LinkId) {
        let local = link - self.first_link;
        for place in &mut self.state.places {
            if place.cursor.link == local && !place.is_finished {
                place.is_finished = true;
                self.state.unfinished -= 1;
            }
        }
    }
}

impl State {
    /// Puts out the next pull of a cursor, or ends it.
    fn go_on(&mut self, at: usize, first_link: LinkId, out: &mut Outbox, now: MonoNs) {
        let place = &mut self.places[at];
        if place.is_finished {
            return;
        }
        let is_at_end = place.cursor.end.is_some_and(|end| place.offset >= end);
        if is_at_end && self.repeat && now < self.window.end {
            place.offset = place.cursor.first;
        } else if is_at_end || now >= self.window.end && self.stamped.is_none() {
            place.is_finished = true;
            self.unfinished -= 1;
            self.tally.finished_at = Some(now);
            return;
        }
        place.asked_at = Some(now);
        let (link, place) = (place.cursor.link + first_link, *place);
        if out.is_alive(link) {
            self.encode(at, &place, out.to(link));
        }
    }

    fn encode(&self, at: usize, place: &Place, out: &mut Vec<u8>) {
        let mut bits = sys_flag::PULL_SUBSCRIPTION;
        if place.cursor.end.is_none() {
            bits |= sys_flag::PULL_SUSPEND;
        }
        let header = PullMessageRequestHeader {
            consumer_group: Text::plain(self.group.as_bytes()),
            topic: Text::plain(self.topic.as_bytes()),
            queue_id: place.cursor.queue_id,
            queue_offset: place.offset,
            max_msg_nums: self.batch,
            sys_flag: bits,
            commit_offset: 0,
            suspend_timeout_millis: SUSPEND_MS,
            subscription: Some(Text::plain(self.wanted.expression.as_bytes())),
            sub_version: 0,
            expression_type: Some(Text::plain(self.wanted.kind.as_bytes())),
            max_msg_bytes: None,
            request_source: None,
            proxy_forward_client_id: None,
            broker_name: None,
        };
        let head = FrameHead {
            serialize: self.serialize,
            code: request::PULL_MESSAGE,
            opaque: OPAQUE_FIRST + i32::try_from(at).expect("cursors are few"),
            flag: 0,
            version: MQ_VERSION_5_5_0,
        };
        let mut writer = FrameWriter::begin(out, head);
        header.encode(&mut writer);
        writer.finish();
    }

    /// The cursor a connection's answer belongs to.
    fn cursor_of(&self, opaque: i32, local: usize) -> Option<usize> {
        let at = usize::try_from(opaque.checked_sub(OPAQUE_FIRST)?).ok()?;
        let place = self.places.get(at)?;
        (place.cursor.link == local && place.asked_at.is_some()).then_some(at)
    }

    fn on_answer(&mut self, at: usize, answer: &Answer<'_>, now: MonoNs) -> Result<bool, String> {
        match answer.code {
            response::SUCCESS
            | response::PULL_NOT_FOUND
            | response::PULL_RETRY_IMMEDIATELY
            | response::PULL_OFFSET_MOVED => {}
            _ => {
                self.tally.refusals.count(answer);
                self.places[at].asked_at = None;
                self.retries.push((now.plus_ms(RETRY_MS), at));
                return Ok(false);
            }
        }
        let header = PullMessageResponseHeader::decode(&answer.decode()?.fields);
        let header = header.map_err(|error| error.to_string())?;
        let place = &mut self.places[at];
        if answer.code == response::PULL_NOT_FOUND && place.cursor.end.is_some() {
            // The end that was asked for lies behind the end of the queue: messages were deleted meanwhile.
            place.cursor.end = Some(place.offset);
        }
        let examined = u64::try_from(header.next_begin_offset - place.offset).unwrap_or(0);
        self.tally.examined.1 += examined;
        if self.window.contains(now) {
            self.tally.examined.0 += examined;
        }
        place.offset = header.next_begin_offset;
        Ok(answer.code == response::SUCCESS)
    }

    fn on_record(&mut self, bytes: usize, start: &[u8], now: MonoNs) {
        if let Some(stamped) = self.stamped {
            let body = body(start).unwrap_or_default();
            if !self.tally.arrivals.came(body, stamped, self.window, now) {
                return;
            }
        }
        self.tally.messages_total += 1;
        if self.window.contains(now) {
            self.tally.messages += 1;
            self.tally.bytes += bytes as u64;
        }
    }
}

/// The begin of a record's body; `start` lacks the record's size.
fn body(start: &[u8]) -> Option<&[u8]> {
    let bits = i32::from_be_bytes(*start.get(32..)?.first_chunk::<4>()?);
    let v6_hosts = usize::from(bits & sys_flag::BORN_HOST_V6 != 0)
        + usize::from(bits & sys_flag::STORE_HOST_V6 != 0);
    start.get(84 + 12 * v6_hosts..)
}

struct PullSink<'a> {
    state: &'a mut State,
    local: usize,
    first_link: LinkId,
    out: &'a mut Outbox,
    now: MonoNs,
    error: Option<String>,
}

impl Sink for PullSink<'_> {
    fn answer(&mut self, answer: &Answer<'_>) -> bool {
        let Some(at) = self.state.cursor_of(answer.opaque, self.local) else {
            let opaque = answer.opaque;
            self.error = Some(format!("an answer to pull {opaque}, which is not in flight"));
            return false;
        };
        match self.state.on_answer(at, answer, self.now) {
            Ok(has_records) => {
                self.state.current[self.local] = Some(at);
                has_records
            }
            Err(error) => {
                self.error = Some(error);
                false
            }
        }
    }

    fn record(&mut self, bytes: usize, start: &[u8]) {
        self.state.on_record(bytes, start, self.now);
    }

    fn end(&mut self) {
        let Some(at) = self.state.current[self.local].take() else { return };
        // A refused pull waits in `retries`.
        let Some(asked_at) = self.state.places[at].asked_at.take() else { return };
        if self.state.window.contains(self.now) {
            self.state.tally.pulls += 1;
        }
        if self.state.stamped.is_none() && self.state.window.contains(asked_at) {
            self.state.tally.latency.record(asked_at, self.now);
        }
        self.state.go_on(at, self.first_link, self.out, self.now);
    }
}

#[cfg(test)]
mod tests;
