//! The load that sends: closed loop (an answer starts the next request) or open loop (a clock does).

use super::links::{LinkId, Listener, Outbox};
use super::pace::{Pace, Window};
use super::scan::{Answer, FrameCounter, Scanner, Sink};
use super::stamp::{Stamp, Stamped, WallClock};
use super::tally::{SendTally, Slots};
use super::template::{OPAQUE_FIRST, Template};
use base::time::MonoNs;
use std::collections::VecDeque;
use wire::codes::response;

/// Answers that mean the message is stored: the success, and the three that only miss a confirmation.
pub(super) const STORED: [i32; 4] = [
    response::SUCCESS,
    response::FLUSH_DISK_TIMEOUT,
    response::SLAVE_NOT_AVAILABLE,
    response::FLUSH_SLAVE_TIMEOUT,
];

/// Senders over the first links of a run.
pub(super) struct Sender {
    requests: Requests,
    streams: Vec<Stream>,
    pace: Option<Pace>,
    is_begun: bool,
    link_next: LinkId,
}

/// The answers of one connection.
enum Stream {
    /// Answers that name their request.
    Answers(Scanner),
    /// Frames that come in the order of the requests, whose slots these are.
    Frames(FrameCounter, VecDeque<u32>),
}

/// Everything but the streams, so that an answer may start the next request.
struct Requests {
    templates: Vec<Template>,
    slots: Vec<Slots>,
    queue_next: usize,
    counter: u64,
    clock: WallClock,
    count_max: u64,
    stamped: Option<Stamped>,
    tally: SendTally,
}

/// How a sender sends.
pub(super) struct SenderPlan {
    /// One per queue.
    pub(super) templates: Vec<Template>,
    /// Connections.
    pub(super) links: usize,
    /// Most requests in flight on each.
    pub(super) in_flight: u32,
    /// Messages per second over all; none: closed loop.
    pub(super) rate: Option<u64>,
    /// Most messages; none: the time is the limit.
    pub(super) count: Option<u64>,
    /// Answers come in order and are not looked into.
    pub(super) is_bare: bool,
    /// The stamps that bodies carry, if they do.
    pub(super) stamped: Option<Stamped>,
    /// When.
    pub(super) window: Window,
    /// The clock of born times.
    pub(super) clock: WallClock,
}

impl Sender {
    /// A sender at rest.
    pub(super) fn new(plan: SenderPlan) -> Sender {
        let room = usize::try_from(plan.in_flight).expect("usize has at least 32 bits");
        let stream = |_| match plan.is_bare {
            true => Stream::Frames(FrameCounter::default(), VecDeque::with_capacity(room)),
            false => Stream::Answers(Scanner::new()),
        };
        Sender {
            requests: Requests {
                templates: plan.templates,
                slots: vec![Slots::new(plan.in_flight); plan.links],
                queue_next: 0,
                counter: 0,
                clock: plan.clock,
                count_max: plan.count.unwrap_or(u64::MAX),
                stamped: plan.stamped,
                tally: SendTally::new(plan.window),
            },
            streams: (0..plan.links).map(stream).collect(),
            pace: plan.rate.map(|rate| Pace::new(plan.window.begin, rate)),
            is_begun: false,
            link_next: 0,
        }
    }

    /// Starts what is due.
    pub(super) fn issue(&mut self, out: &mut Outbox, now: MonoNs) {
        let window = self.requests.tally.window;
        let Some(mut pace) = self.pace else {
            if !self.is_begun && now >= window.begin {
                self.is_begun = true;
                for (link, stream) in self.streams.iter_mut().enumerate() {
                    while let Some(slot) = self.requests.start(link, now, now, out) {
                        stream.expect(slot);
                    }
                }
            }
            return;
        };
        while let Some(intended) = pace.due(now).filter(|&intended| intended < window.end) {
            if self.requests.is_all_issued() {
                break;
            }
            let Some(link) = self.link_with_room(out) else { break };
            let slot = self.requests.start(link, intended, now, out);
            self.streams[link].expect(slot.expect("the connection has room"));
            pace.issue();
        }
        self.pace = Some(pace);
    }

    /// The next connection in turn that may take a request.
    fn link_with_room(&mut self, out: &Outbox) -> Option<LinkId> {
        let links = self.streams.len();
        for step in 0..links {
            let link = (self.link_next + step) % links;
            if self.requests.slots[link].has_room() && out.is_alive(link) {
                self.link_next = (link + 1) % links;
                return Some(link);
            }
        }
        None
    }

    /// Whether all that is to be sent is sent and answered.
    pub(super) fn is_finished(&self, now: MonoNs) -> bool {
        let window = self.requests.tally.window;
        let is_late = self.pace.is_none_or(|pace| pace.next() >= window.end);
        let is_over = now >= window.end && is_late || self.requests.is_all_issued();
        is_over && self.requests.in_flight() == 0
    }

    /// Good answers so far.
    pub(super) fn stored_total(&self) -> u64 {
        self.requests.tally.stored_total
    }

    /// Ends the run.
    pub(super) fn into_tally(self) -> SendTally {
        let mut tally = self.requests.tally.clone();
        tally.unanswered += self.requests.in_flight() as u64;
        tally
    }
}

impl Listener for Sender {
    fn received(
        &mut self,
        link: LinkId,
        bytes: &[u8],
        out: &mut Outbox,
        now: MonoNs,
    ) -> Result<(), String> {
        let is_closed_loop = self.pace.is_none();
        let requests = &mut self.requests;
        requests.tally.answers.1 += bytes.len() as u64;
        let mut sink = AnswerSink { requests, link, out, now, is_closed_loop, unexpected: None };
        match &mut self.streams[link] {
            Stream::Answers(scanner) => scanner.feed(bytes, &mut sink)?,
            Stream::Frames(counter, slots) => {
                for _ in 0..counter.feed(bytes) {
                    let slot = slots.pop_front().ok_or("a frame more than there are requests")?;
                    slots.extend(sink.frame(slot));
                }
            }
        }
        match sink.unexpected {
            Some(opaque) => Err(format!("an answer to request {opaque}, which is not in flight")),
            None => Ok(()),
        }
    }

    fn lost(&mut self, link: LinkId) {
        self.requests.tally.unanswered += self.requests.slots[link].in_flight() as u64;
        self.requests.slots[link] = Slots::new(0);
    }
}

impl Stream {
    /// A request went out.
    fn expect(&mut self, slot: u32) {
        match self {
            Stream::Answers(_) => {}
            Stream::Frames(_, slots) => slots.push_back(slot),
        }
    }
}

impl Requests {
    /// Starts a request on a connection and tells its slot; `None`: there is no room, or all were sent.
    fn start(
        &mut self,
        link: LinkId,
        intended: MonoNs,
        now: MonoNs,
        out: &mut Outbox,
    ) -> Option<u32> {
        if self.is_all_issued() {
            return None;
        }
        let slot = self.slots[link].start(intended)?;
        let template = &self.templates[self.queue_next];
        self.queue_next = (self.queue_next + 1) % self.templates.len();
        let born_ms = self.clock.ms(now);
        let buffer = out.to(link);
        template.append(buffer, slot, born_ms, self.counter);
        if let Some(stamped) = self.stamped {
            let time = match i64::try_from(stamped.delay_ms).expect("at most a day") {
                0 => intended,
                delay_ms => self.clock.mono(born_ms + delay_ms),
            };
            let stamp = Stamp { run: stamped.run, time, number: self.counter };
            template.stamp(buffer, &stamp.bytes());
        }
        self.counter += 1;
        self.tally.started(intended, now);
        Some(slot)
    }

    /// Whether as many messages as asked for are on their way.
    fn is_all_issued(&self) -> bool {
        self.counter >= self.count_max
    }

    fn in_flight(&self) -> usize {
        self.slots.iter().map(Slots::in_flight).sum()
    }
}

struct AnswerSink<'a> {
    requests: &'a mut Requests,
    link: LinkId,
    out: &'a mut Outbox,
    now: MonoNs,
    is_closed_loop: bool,
    unexpected: Option<i32>,
}

impl AnswerSink<'_> {
    /// The request of a slot was answered well; a closed loop starts the next, whose slot comes back.
    fn frame(&mut self, slot: u32) -> Option<u32> {
        let opaque = OPAQUE_FIRST + i32::try_from(slot).expect("slots are few");
        let intended = self.requests.slots[self.link].finish(opaque);
        let tally = &mut self.requests.tally;
        tally.answers.0 += 1;
        tally.stored(intended.expect("the slot was started"), self.now);
        self.next()
    }

    fn next(&mut self) -> Option<u32> {
        if !self.is_closed_loop || self.now >= self.requests.tally.window.end {
            return None;
        }
        self.requests.start(self.link, self.now, self.now, self.out)
    }
}

impl Sink for AnswerSink<'_> {
    fn answer(&mut self, answer: &Answer<'_>) -> bool {
        let Some(intended) = self.requests.slots[self.link].finish(answer.opaque) else {
            self.unexpected = Some(answer.opaque);
            return false;
        };
        let tally = &mut self.requests.tally;
        tally.answers.0 += 1;
        if STORED.contains(&answer.code) {
            tally.stored(intended, self.now);
        }
        if answer.code != response::SUCCESS {
            tally.refusals.count(answer);
        }
        self.next();
        false
    }

    fn record(&mut self, _bytes: usize, _start: &[u8]) {}

    fn end(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::template::{Kind, Shape, body};
    use std::time::Duration;
    use wire::header::FLAG_RESPONSE;
    use wire::{FrameHead, FrameWriter, Header, SerializeType};

    const MS: u64 = 1_000_000;

    fn sender(links: usize, in_flight: u32, rate: Option<u64>) -> Sender {
        Sender::new(plan(links, in_flight, rate))
    }

    fn plan(links: usize, in_flight: u32, rate: Option<u64>) -> SenderPlan {
        let shape =
            Shape { serialize: SerializeType::Json, topic: "T", run_id: 1, kind: Kind::Plain };
        SenderPlan {
            templates: (0..2).map(|queue| Template::new(&shape, queue, &body(30))).collect(),
            links,
            in_flight,
            rate,
            count: None,
            is_bare: false,
            stamped: Some(Stamped { run: 7, delay_ms: 0 }),
            window: Window::new(MonoNs(0), Duration::ZERO, Duration::from_millis(100)),
            clock: WallClock::new(1_700_000_000_000_000, MonoNs(0)),
        }
    }

    /// Takes the requests off an outbox: opaque and intended time of each.
    fn taken(out: &mut Outbox, link: LinkId) -> Vec<(i32, u64)> {
        let bytes = std::mem::take(out.to(link));
        let (mut rest, mut requests) = (&bytes[..], Vec::new());
        while let Some((frame, used)) = wire::frame::split(rest).unwrap() {
            let opaque = Header::decode(&frame).unwrap().opaque;
            let stamp = Stamp::read(frame.body).unwrap();
            assert_eq!(stamp.run, 7);
            requests.push((opaque - OPAQUE_FIRST, stamp.time.0 / MS));
            rest = &rest[used..];
        }
        requests
    }

    fn answer(slot: i32, code: i32) -> Vec<u8> {
        let mut out = Vec::new();
        let head = FrameHead {
            serialize: SerializeType::Json,
            code,
            opaque: OPAQUE_FIRST + slot,
            flag: FLAG_RESPONSE,
            version: 1,
        };
        FrameWriter::begin(&mut out, head).finish();
        out
    }

    #[test]
    fn a_closed_loop_sends_the_next_when_an_answer_comes() {
        let (mut sender, mut out) = (sender(1, 2, None), Outbox::for_test(1));
        sender.issue(&mut out, MonoNs(0));
        sender.issue(&mut out, MonoNs(1));
        assert_eq!(taken(&mut out, 0), [(0, 0), (1, 0)]);
        sender.received(0, &answer(1, 0), &mut out, MonoNs(3 * MS)).unwrap();
        assert_eq!(taken(&mut out, 0), [(1, 3)]);
        // After the end nothing is started any more.
        let late = [answer(0, 2), answer(1, 0)].concat();
        sender.received(0, &late, &mut out, MonoNs(100 * MS)).unwrap();
        assert!(sender.is_finished(MonoNs(100 * MS)));
        let tally = sender.into_tally();
        assert_eq!((tally.stored, tally.stored_total, tally.unanswered), (1, 2, 0));
        assert_eq!(tally.refusals.iter().next(), Some((2, 1, "")));
    }

    #[test]
    fn an_open_loop_keeps_the_intended_times_of_what_had_to_wait() {
        let (mut sender, mut out) = (sender(2, 1, Some(100)), Outbox::for_test(2));
        sender.issue(&mut out, MonoNs(0));
        sender.issue(&mut out, MonoNs(35 * MS));
        assert_eq!((taken(&mut out, 0), taken(&mut out, 1)), (vec![(0, 0)], vec![(0, 10)]));
        // Both connections are full; the sends of 20 and 30 ms wait for the answers at 50 ms.
        sender.received(1, &answer(0, 0), &mut out, MonoNs(50 * MS)).unwrap();
        sender.received(0, &answer(0, 0), &mut out, MonoNs(50 * MS)).unwrap();
        sender.issue(&mut out, MonoNs(50 * MS));
        assert_eq!((taken(&mut out, 0), taken(&mut out, 1)), (vec![(0, 20)], vec![(0, 30)]));
        assert!(!sender.is_finished(MonoNs(100 * MS)), "sends are due and in flight");
        sender.lost(0);
        let tally = sender.into_tally();
        assert_eq!((tally.unanswered, tally.latency.count()), (2, 2));
        assert_eq!(tally.late_max_ns, 30 * MS);
    }

    #[test]
    fn a_count_ends_the_load_early() {
        let mut sender = Sender::new(SenderPlan { count: Some(3), ..plan(1, 2, None) });
        let mut out = Outbox::for_test(1);
        sender.issue(&mut out, MonoNs(0));
        let answers = [answer(0, 0), answer(1, 0)].concat();
        sender.received(0, &answers, &mut out, MonoNs(1)).unwrap();
        assert_eq!(taken(&mut out, 0).len(), 3);
        assert!(!sender.is_finished(MonoNs(1)));
        sender.received(0, &answer(0, 0), &mut out, MonoNs(2)).unwrap();
        assert!(sender.is_finished(MonoNs(2)));
        assert_eq!(sender.into_tally().answers, (3, 3 * answer(0, 0).len() as u64));
    }

    #[test]
    fn a_delayed_message_says_when_it_is_due() {
        let stamped = Some(Stamped { run: 7, delay_ms: 1000 });
        let clock = WallClock::new(1_700_000_000_000_300, MonoNs(0));
        let mut sender = Sender::new(SenderPlan { stamped, clock, ..plan(1, 1, None) });
        let mut out = Outbox::for_test(1);
        sender.issue(&mut out, MonoNs(MS));
        let bytes = std::mem::take(out.to(0));
        let (frame, _) = wire::frame::split(&bytes).unwrap().unwrap();
        let stamp = Stamp::read(frame.body).unwrap();
        // Born at 1.3 ms, which is stamped as 1: one second later is 1001 ms of the wall clock.
        assert_eq!((stamp.time, stamp.number), (MonoNs(1001 * MS - 300_000), 0));
    }

    #[test]
    fn bare_answers_are_matched_in_order_by_their_length_alone() {
        let mut sender = Sender::new(SenderPlan { is_bare: true, ..plan(1, 2, None) });
        let mut out = Outbox::for_test(1);
        sender.issue(&mut out, MonoNs(0));
        let frame = [0, 0, 0, 3, 7, 7, 7];
        sender.received(0, &frame[..5], &mut out, MonoNs(MS)).unwrap();
        assert_eq!(taken(&mut out, 0), [(0, 0), (1, 0)]);
        let rest = [&frame[5..], &frame].concat();
        sender.received(0, &rest, &mut out, MonoNs(100 * MS)).unwrap();
        assert!(sender.is_finished(MonoNs(100 * MS)));
        assert!(sender.received(0, &frame, &mut out, MonoNs(100 * MS)).is_err());
    }

    #[test]
    fn an_answer_to_nothing_ends_the_connection() {
        let (mut sender, mut out) = (sender(1, 2, None), Outbox::for_test(1));
        let error = sender.received(0, &answer(0, 0), &mut out, MonoNs(0)).unwrap_err();
        assert!(error.contains("1000000000"), "{error}");
    }
}
