//! Rounds of writing queue entries to their files, small batches at a time, and checkpoints behind them.
//!
//! A round takes the queues that have unpersisted entries and the flushed frontiers of that moment. When all of
//! the round is written, every record below those frontiers has its entry in a file; the checkpoint that says so
//! is written after those files are synced.

use crate::op::QueueWrite;
use crate::queues::{QueueNo, Queues};
use base::time::MonoNs;
use std::sync::Arc;
use wire::ids::StreamId;

/// Entries' bytes per batch: encoding them takes some 20 µs of a turn.
const BATCH_BYTES: usize = 64 << 10;
/// Queues per batch.
const BATCH_QUEUES: usize = 512;

/// Pause after a round per queue that was written in it, some twenty times what that costs.
const PAUSE_PER_QUEUE_NS: u64 = 160_000;
/// Longest such pause: entries wait for it in memory, and a start after a crash makes them again. Checkpoints are written at the
/// end of a round, so with such pauses every second round may be the first that is 10 s behind one.
const PAUSE_NS_MAX: u64 = 8_000_000_000;

/// Frontiers of the streams when a round began.
pub(crate) type Marks = Vec<(StreamId, u64)>;

/// What the background does next.
#[derive(Debug)]
pub(crate) enum RoundStep {
    /// Write these entries.
    Write(Vec<QueueWrite>),
    /// The round is complete up to these frontiers.
    Complete(Marks),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Resting,
    /// A batch may be planned.
    Planning,
    /// The background has something to do; `last`: the round has ended with it.
    Busy { last: bool },
}

/// The current round.
#[derive(Default)]
pub(crate) struct Round {
    state: State,
    waiting: Vec<QueueNo>,
    marks: Marks,
    in_flight: Vec<(QueueNo, i64)>,
    /// Queues of the round.
    queues: usize,
    next_at: MonoNs,
}

impl Round {
    /// Whether a new round may begin; `hurry` does not wait for its time.
    pub(crate) fn may_begin(&self, now: MonoNs, hurry: bool) -> bool {
        self.state == State::Resting && (hurry || now >= self.next_at)
    }

    /// Begins a round over `queues`, complete up to `marks`.
    pub(crate) fn begin(&mut self, queues: Vec<QueueNo>, marks: Marks) {
        assert_eq!(self.state, State::Resting, "one round at a time");
        self.queues = queues.len();
        self.state = State::Planning;
        self.waiting = queues;
        self.marks = marks;
    }

    /// The next step; `None` while one is in flight or between rounds. Queues without a durable entry go to `later`.
    pub(crate) fn step(&mut self, queues: &Queues, later: &mut Vec<QueueNo>) -> Option<RoundStep> {
        if self.state != State::Planning {
            return None;
        }
        let writes = self.next_writes(queues, later);
        if writes.is_empty() {
            return Some(RoundStep::Complete(std::mem::take(&mut self.marks)));
        }
        self.state = State::Busy { last: false };
        Some(RoundStep::Write(writes))
    }

    /// After `Complete`: something else is done first, up to the same frontiers.
    pub(crate) fn hold(&mut self, marks: Marks) {
        assert_eq!(self.state, State::Planning, "a round ends once");
        self.marks = marks;
        self.state = State::Busy { last: false };
    }

    /// When the next round may begin: `interval_ns` from now, later after one of many queues. Each has a file of its own, and a
    /// round costs about as much for one entry of a queue as for a hundred.
    pub(crate) fn next_after(&self, now: MonoNs, interval_ns: u64) -> MonoNs {
        let pause_ns = self.queues as u64 * PAUSE_PER_QUEUE_NS;
        MonoNs(now.0 + pause_ns.clamp(interval_ns, PAUSE_NS_MAX.max(interval_ns)))
    }

    /// The background does something else before the next step, or between rounds.
    pub(crate) fn step_aside(&mut self) {
        assert!(!matches!(self.state, State::Busy { .. }), "one step at a time");
        self.state = State::Busy { last: self.state == State::Resting };
    }

    /// Whether a round is under way and none of its steps.
    pub(crate) fn is_planning(&self) -> bool {
        self.state == State::Planning
    }

    /// After `Complete`: a checkpoint is on its way, or the round ends here.
    pub(crate) fn end(&mut self, checkpoint: bool, next_at: MonoNs) {
        assert_eq!(self.state, State::Planning, "a round ends once");
        self.next_at = next_at;
        self.state = if checkpoint { State::Busy { last: true } } else { State::Resting };
    }

    fn next_writes(&mut self, queues: &Queues, later: &mut Vec<QueueNo>) -> Vec<QueueWrite> {
        let mut writes = Vec::new();
        let mut total = 0;
        while total < BATCH_BYTES && writes.len() < BATCH_QUEUES {
            let Some(no) = self.waiting.pop() else { break };
            let queue = queues.get(no);
            let mark = self.marks.iter().find(|(stream, _)| *stream == queue.stream);
            let durable = mark.map_or(0, |(_, position)| *position);
            let mut bytes = Vec::new();
            let (first, count) = queue.encode_unpersisted(durable, BATCH_BYTES, &mut bytes);
            if count == 0 {
                later.push(no);
                continue;
            }
            total += bytes.len();
            self.in_flight.push((no, first + count));
            writes.push(QueueWrite {
                topic: Arc::clone(&queue.topic),
                queue: queue.id,
                first,
                bytes,
                extended: queue.extended(first, count),
            });
        }
        writes
    }

    /// The batch or checkpoint in flight is done; returns how far each queue's files are now.
    pub(crate) fn done(&mut self) -> Vec<(QueueNo, i64)> {
        let State::Busy { last } = self.state else { unreachable!("nothing was in flight") };
        self.state = if last { State::Resting } else { State::Planning };
        std::mem::take(&mut self.in_flight)
    }

    /// A queue of this round has more: it is looked at again before the round ends.
    pub(crate) fn again(&mut self, no: QueueNo) {
        self.waiting.push(no);
    }

    /// The batch or checkpoint in flight failed for want of room: the round ends, its queues are returned.
    pub(crate) fn give_up(&mut self, next_at: MonoNs) -> Vec<QueueNo> {
        assert!(matches!(self.state, State::Busy { .. }), "nothing was in flight");
        self.state = State::Resting;
        self.next_at = next_at;
        self.marks.clear();
        let mut queues = std::mem::take(&mut self.waiting);
        queues.extend(self.in_flight.drain(..).map(|(no, _)| no));
        queues
    }

    pub(crate) fn next_at(&self) -> MonoNs {
        self.next_at
    }

    pub(crate) fn is_resting(&self) -> bool {
        self.state == State::Resting
    }
}
