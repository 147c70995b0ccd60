//! The load of transactions: a half message, its commit when the half is answered, and the next when the commit is.
//!
//! Java's client does not ask for an answer to a commit; here the answer says when it is done.

use super::args::TransactionArgs;
use super::links::{LinkId, Listener, Outbox};
use super::pace::Window;
use super::pull::{PullTally, Puller, PullerPlan, Wanted};
use super::report::{Flow, Report};
use super::scan::{Answer, Scanner, Sink};
use super::send::STORED;
use super::server::ServerMeter;
use super::stamp::{Stamp, Stamped, WallClock};
use super::tally::{Latency, Refusals};
use super::template::{Kind, OPAQUE_FIRST, PRODUCER_GROUP, Template};
use super::{Drive, EndToEnd, Failure, Run, parameters, setup, spread};
use base::time::MonoNs;
use reactor::clock;
use serde_json::json;
use wire::codes::{MQ_VERSION_5_5_0, request, response};
use wire::req::client::EndTransactionRequestHeader;
use wire::req::send::SendMessageResponseHeader;
use wire::{FrameHead, FrameWriter, MessageId, SerializeType, Text, sys_flag};

/// How a committer commits.
struct CommitterPlan {
    /// One half message per queue.
    templates: Vec<Template>,
    /// Connections.
    links: usize,
    /// Transactions in flight on each.
    in_flight: u32,
    /// Encoding of headers.
    serialize: SerializeType,
    /// The run whose stamps the messages carry.
    run: u64,
    /// When.
    window: Window,
    /// The clock of born times.
    clock: WallClock,
}

/// What was counted.
struct CommitTally {
    /// Commits that were answered within the window, and in the whole run.
    committed: (u64, u64),
    /// From the half message to its answer.
    half: Latency,
    /// From the commit to its answer.
    commit: Latency,
    /// From the half message to the answer to its commit.
    whole: Latency,
    half_refusals: Refusals,
    commit_refusals: Refusals,
    /// Half messages and commits without an answer.
    unanswered: (u64, u64),
}

/// Where a transaction is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Idle,
    /// The half message is on its way since this time.
    Half(MonoNs),
    /// The commit is on its way since the second time.
    Commit(MonoNs, MonoNs),
}

/// Committers over the first links of a run.
struct Committer {
    work: Work,
    scanners: Vec<Scanner>,
    is_begun: bool,
}

/// Everything but the scanners, so that an answer may start the next request.
struct Work {
    templates: Vec<Template>,
    /// Per connection; the opaque of a request names its place here.
    steps: Vec<Vec<Step>>,
    counter: u64,
    serialize: SerializeType,
    run: u64,
    window: Window,
    clock: WallClock,
    tally: CommitTally,
}

impl Committer {
    fn new(plan: CommitterPlan) -> Committer {
        let room = usize::try_from(plan.in_flight).expect("usize has at least 32 bits");
        Committer {
            work: Work {
                templates: plan.templates,
                steps: vec![vec![Step::Idle; room]; plan.links],
                counter: 0,
                serialize: plan.serialize,
                run: plan.run,
                window: plan.window,
                clock: plan.clock,
                tally: CommitTally {
                    committed: (0, 0),
                    half: Latency::new(),
                    commit: Latency::new(),
                    whole: Latency::new(),
                    half_refusals: Refusals::default(),
                    commit_refusals: Refusals::default(),
                    unanswered: (0, 0),
                },
            },
            scanners: (0..plan.links).map(|_| Scanner::new()).collect(),
            is_begun: false,
        }
    }

    /// Ends the run.
    fn into_tally(mut self) -> CommitTally {
        for link in 0..self.work.steps.len() {
            self.work.give_up(link);
        }
        self.work.tally
    }
}

impl Drive for Committer {
    fn issue(&mut self, out: &mut Outbox, now: MonoNs) {
        if self.is_begun || now < self.work.window.begin {
            return;
        }
        self.is_begun = true;
        for link in 0..self.scanners.len() {
            for slot in 0..self.work.steps[link].len() {
                self.work.begin(link, slot, out, now);
            }
        }
    }

    fn is_finished(&self, now: MonoNs) -> bool {
        let mut steps = self.work.steps.iter().flatten();
        now >= self.work.window.end && steps.all(|step| *step == Step::Idle)
    }

    fn messages(&self) -> u64 {
        self.work.tally.committed.1
    }
}

impl Listener for Committer {
    fn received(
        &mut self,
        link: LinkId,
        bytes: &[u8],
        out: &mut Outbox,
        now: MonoNs,
    ) -> Result<(), String> {
        let mut sink = CommitSink { work: &mut self.work, link, out, now, error: None };
        self.scanners[link].feed(bytes, &mut sink)?;
        sink.error.map_or(Ok(()), Err)
    }

    fn lost(&mut self, link: LinkId) {
        self.work.give_up(link);
    }
}

impl Work {
    /// Nothing is answered on a connection any more.
    fn give_up(&mut self, link: LinkId) {
        for step in std::mem::take(&mut self.steps[link]) {
            match step {
                Step::Idle => {}
                Step::Half(_) => self.tally.unanswered.0 += 1,
                Step::Commit(..) => self.tally.unanswered.1 += 1,
            }
        }
    }

    /// Sends the next half message.
    fn begin(&mut self, link: LinkId, slot: usize, out: &mut Outbox, now: MonoNs) {
        self.steps[link][slot] = Step::Idle;
        if now >= self.window.end {
            return;
        }
        let queues = self.templates.len() as u64;
        let queue = usize::try_from(self.counter % queues).expect("below the number of queues");
        let template = &self.templates[queue];
        let buffer = out.to(link);
        let number = u32::try_from(slot).expect("slots are few");
        template.append(buffer, number, self.clock.ms(now), self.counter);
        let stamp = Stamp { run: self.run, time: now, number: self.counter };
        template.stamp(buffer, &stamp.bytes());
        self.counter += 1;
        self.steps[link][slot] = Step::Half(now);
    }

    fn commit(&self, slot: usize, answer: &Answer<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        let header = answer.decode()?;
        let half = SendMessageResponseHeader::decode(&header.fields);
        let half = half.map_err(|error| error.to_string())?;
        let id = MessageId::parse(half.msg_id.to_cow().as_bytes());
        let id = id.map_err(|error| format!("the answer to a half message: {error}"))?;
        let key = half.transaction_id.map(|key| key.to_cow());
        let key = key.as_ref().map(|key| Text::plain(key.as_bytes()));
        let end = EndTransactionRequestHeader {
            producer_group: Text::plain(PRODUCER_GROUP),
            tran_state_table_offset: half.queue_offset,
            commit_log_offset: id.phy.to_wire(),
            commit_or_rollback: sys_flag::TRANSACTION_COMMIT,
            from_transaction_check: false,
            msg_id: key,
            transaction_id: key,
        };
        let head = FrameHead {
            serialize: self.serialize,
            code: request::END_TRANSACTION,
            opaque: OPAQUE_FIRST + i32::try_from(slot).expect("slots are few"),
            flag: 0,
            version: MQ_VERSION_5_5_0,
        };
        let mut writer = FrameWriter::begin(out, head);
        end.encode(&mut writer);
        writer.finish();
        Ok(())
    }

    fn committed(&mut self, begun: MonoNs, asked: MonoNs, now: MonoNs) {
        let tally = &mut self.tally;
        tally.committed.1 += 1;
        if self.window.contains(now) {
            tally.committed.0 += 1;
        }
        if self.window.contains(begun) {
            tally.half.record(begun, asked);
            tally.commit.record(asked, now);
            tally.whole.record(begun, now);
        }
    }
}

struct CommitSink<'a> {
    work: &'a mut Work,
    link: LinkId,
    out: &'a mut Outbox,
    now: MonoNs,
    error: Option<String>,
}

impl Sink for CommitSink<'_> {
    fn answer(&mut self, answer: &Answer<'_>) -> bool {
        let slot = answer.opaque.checked_sub(OPAQUE_FIRST).and_then(|at| usize::try_from(at).ok());
        let found = slot.and_then(|slot| Some((slot, *self.work.steps[self.link].get(slot)?)));
        let (link, now) = (self.link, self.now);
        match found {
            Some((slot, Step::Half(begun))) if STORED.contains(&answer.code) => {
                match self.work.commit(slot, answer, self.out.to(link)) {
                    Ok(()) => self.work.steps[link][slot] = Step::Commit(begun, now),
                    Err(error) => self.error = Some(error),
                }
            }
            Some((slot, Step::Half(_))) => {
                self.work.tally.half_refusals.count(answer);
                self.work.begin(link, slot, self.out, now);
            }
            Some((slot, Step::Commit(begun, asked))) => {
                if answer.code == response::SUCCESS {
                    self.work.committed(begun, asked, now);
                } else {
                    self.work.tally.commit_refusals.count(answer);
                }
                self.work.begin(link, slot, self.out, now);
            }
            Some((_, Step::Idle)) | None => {
                let opaque = answer.opaque;
                self.error = Some(format!("an answer to request {opaque}, which is not in flight"));
            }
        }
        false
    }

    fn record(&mut self, _bytes: usize, _start: &[u8]) {}

    fn end(&mut self) {}
}

/// Runs it.
pub(super) fn load(args: &TransactionArgs) -> Result<Report, Failure> {
    let common = &args.common;
    let topics = super::topic_names(common, 1);
    let target = setup::prepare(common, &topics)?;
    let committers = spread(&target, args.connections);
    let pullers = spread(&target, args.pullers);
    let cursors = match args.pullers {
        0 => Vec::new(),
        _ => super::tail_cursors(&target, &pullers, common)?,
    };
    let addresses = [committers.clone(), pullers].concat();
    let mut run = Run::begin(common, &addresses, common.warmup, false)?;
    let run_id = super::run_id();
    let sender = Committer::new(CommitterPlan {
        templates: super::templates(common, &topics, args.body, run_id, Kind::Half),
        links: committers.len(),
        in_flight: args.in_flight,
        serialize: common.serialize.wire(),
        run: run_id,
        window: run.window,
        clock: WallClock::read(),
    });
    if cursors.is_empty() {
        let mut sender = sender;
        let busy_percent = run.drive(&mut sender)?;
        return Ok(report(args, run, sender.into_tally(), None, busy_percent));
    }
    let puller = Puller::new(PullerPlan {
        cursors,
        links: committers.len()..addresses.len(),
        serialize: common.serialize.wire(),
        topic: &common.topic,
        group: &args.group,
        batch: args.batch,
        repeat: false,
        stamped: Some(Stamped { run: run_id, delay_ms: 0 }),
        wanted: Wanted::all(),
        window: run.window,
    });
    let first_puller = committers.len();
    let mut load = EndToEnd { sender, puller, first_puller, is_replay: false };
    let busy_percent = run.drive(&mut load)?;
    let read = load.puller.into_tally();
    Ok(report(args, run, load.sender.into_tally(), Some(read), busy_percent))
}

fn report(
    args: &TransactionArgs,
    run: Run,
    ended: CommitTally,
    read: Option<PullTally>,
    busy_percent: f64,
) -> Report {
    let own = [
        ("connections", json!(args.connections)),
        ("in_flight", json!(args.in_flight)),
        ("pullers", json!(args.pullers)),
        ("body", json!(args.body)),
    ];
    let (committed, committed_total) = ended.committed;
    let bytes = committed * u64::from(args.body);
    let mut flows = vec![Flow { name: "committed", messages: committed, bytes }];
    let mut latencies =
        vec![("transaction", ended.whole), ("half", ended.half), ("commit", ended.commit)];
    let mut refusals = vec![("half", ended.half_refusals), ("commit", ended.commit_refusals)];
    let mut losses = vec![("unanswered", ended.unanswered.0 + ended.unanswered.1)];
    if let Some(read) = read {
        flows.push(Flow { name: "received", messages: read.messages, bytes: read.bytes });
        latencies.push(("end to end", read.arrivals.latency));
        refusals.push(("pull", read.refusals));
        losses.push(("not_received", committed_total.saturating_sub(read.messages_total)));
        losses.push(("duplicates", read.arrivals.duplicates));
    }
    Report {
        load: "transaction",
        parameters: parameters(&args.common, &own),
        details: vec![("acknowledged_total", json!(committed_total))],
        seconds: run.window.seconds(clock::mono()),
        flows,
        latencies,
        refusals,
        losses,
        stages: run.before.until_now(&args.common),
        server: run.meter.map(ServerMeter::finish),
        busy_percent,
        late_max_us: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::template::{Shape, body};
    use std::time::Duration;
    use wire::header::FLAG_RESPONSE;
    use wire::{Header, PhyOffset};

    const MS: u64 = 1_000_000;

    fn committer() -> Committer {
        let (serialize, run_id) = (SerializeType::Json, 1);
        let shape = Shape { serialize, topic: "T", run_id, kind: Kind::Half };
        Committer::new(CommitterPlan {
            templates: vec![Template::new(&shape, 0, &body(30))],
            links: 1,
            in_flight: 1,
            serialize,
            run: run_id,
            window: Window::new(MonoNs(0), Duration::ZERO, Duration::from_millis(100)),
            clock: WallClock::new(1_700_000_000_000_000, MonoNs(0)),
        })
    }

    fn answer(code: i32, half: Option<(u64, i64)>) -> Vec<u8> {
        let mut out = Vec::new();
        let serialize = SerializeType::Json;
        let (opaque, flag, version) = (OPAQUE_FIRST, FLAG_RESPONSE, 1);
        let head = FrameHead { serialize, code, opaque, flag, version };
        let mut writer = FrameWriter::begin(&mut out, head);
        if let Some((phy, queue_offset)) = half {
            let id = MessageId { host: "127.0.0.1:1".parse().unwrap(), phy: PhyOffset(phy) };
            writer.field_i32("queueId", 0);
            writer.field_str("transactionId", b"KEY");
            writer.field_msg_ids("msgId", std::iter::once(id));
            writer.field_i64("queueOffset", queue_offset);
        }
        writer.finish();
        out
    }

    /// The codes of the requests that went out, and where the commits point.
    fn taken(out: &mut Outbox) -> Vec<(i32, Option<(i64, i64)>)> {
        let bytes = std::mem::take(out.to(0));
        let (mut rest, mut found) = (&bytes[..], Vec::new());
        while let Some((frame, used)) = wire::frame::split(rest).unwrap() {
            let header = Header::decode(&frame).unwrap();
            let end = EndTransactionRequestHeader::decode(&header.fields).ok();
            let place = end.map(|end| (end.commit_log_offset, end.tran_state_table_offset));
            found.push((header.code, place));
            rest = &rest[used..];
        }
        found
    }

    #[test]
    fn a_half_is_committed_where_its_answer_says_and_then_comes_the_next() {
        let (mut committer, mut out) = (committer(), Outbox::for_test(1));
        committer.issue(&mut out, MonoNs(0));
        committer.issue(&mut out, MonoNs(1));
        assert_eq!(taken(&mut out), [(request::SEND_MESSAGE_V2, None)]);
        let stored = answer(0, Some((77, 5)));
        committer.received(0, &stored, &mut out, MonoNs(2 * MS)).unwrap();
        assert_eq!(taken(&mut out), [(request::END_TRANSACTION, Some((77, 5)))]);
        committer.received(0, &answer(0, None), &mut out, MonoNs(5 * MS)).unwrap();
        assert_eq!(taken(&mut out), [(request::SEND_MESSAGE_V2, None)]);
        // A refused half has nothing to commit; after the end nothing is begun.
        committer.received(0, &answer(2, None), &mut out, MonoNs(6 * MS)).unwrap();
        assert_eq!(taken(&mut out), [(request::SEND_MESSAGE_V2, None)]);
        committer.received(0, &stored, &mut out, MonoNs(7 * MS)).unwrap();
        taken(&mut out);
        committer.received(0, &answer(1, None), &mut out, MonoNs(100 * MS)).unwrap();
        assert_eq!(taken(&mut out), []);
        assert!(committer.is_finished(MonoNs(100 * MS)));
        let error = committer.received(0, &stored, &mut out, MonoNs(101 * MS)).unwrap_err();
        assert!(error.contains("not in flight"), "{error}");
        let tally = committer.into_tally();
        assert_eq!((tally.committed, tally.unanswered), ((1, 1), (0, 0)));
        assert_eq!(tally.half_refusals.iter().next(), Some((2, 1, "")));
        assert_eq!(tally.commit_refusals.iter().next(), Some((1, 1, "")));
        let us = [&tally.half, &tally.commit, &tally.whole].map(|l| l.max_us().round());
        assert!((1_990.0..2_010.0).contains(&us[0]) && (2_990.0..3_010.0).contains(&us[1]));
        assert!((4_990.0..5_010.0).contains(&us[2]), "{us:?}");
    }

    #[test]
    fn what_a_lost_connection_had_in_flight_is_unanswered() {
        let (mut committer, mut out) = (committer(), Outbox::for_test(1));
        committer.issue(&mut out, MonoNs(0));
        committer.lost(0);
        assert!(committer.is_finished(MonoNs(100 * MS)));
        assert_eq!(committer.into_tally().unanswered, (1, 0));
    }
}
