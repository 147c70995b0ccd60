//! Where the time goes: histograms of how long after its receipt a request or message has reached a stage, in us.
//!
//! Marks are per batch, never per message: a turn has one time at its start and one behind its handlers, and what
//! waits for the device is noted as a position of the log with a count. Recording does not allocate.

use base::histogram::Histogram;
use base::time::MonoNs;
use std::collections::VecDeque;
use std::fmt;
use store::Store;
use wire::ids::StreamId;

/// A stage on the way of a request.
///
/// `Received` and `Decoded` count requests of all kinds, the others messages of sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// How long it may have waited for its turn: the length of the turn before, 0 after a sleep.
    Received,
    /// The handlers of its turn are done.
    Decoded,
    /// It is in the log window; later than `Decoded` when it went to another shard or had to wait for room.
    Appended,
    /// The device has it.
    Written,
    /// It is durable.
    Flushed,
    /// A slave has it.
    Replicated,
    /// It is as safe as the configuration asks, and its answer goes to the kernel.
    Replied,
}

impl Stage {
    /// All, in the order a message passes them with SYNC_FLUSH.
    pub const ALL: [Stage; 7] = [
        Stage::Received,
        Stage::Decoded,
        Stage::Appended,
        Stage::Written,
        Stage::Flushed,
        Stage::Replicated,
        Stage::Replied,
    ];

    /// Key in the table of runtime information.
    pub fn key(self) -> &'static str {
        match self {
            Stage::Received => "ringmqStageReceived",
            Stage::Decoded => "ringmqStageDecoded",
            Stage::Appended => "ringmqStageAppended",
            Stage::Written => "ringmqStageWritten",
            Stage::Flushed => "ringmqStageFlushed",
            Stage::Replicated => "ringmqStageReplicated",
            Stage::Replied => "ringmqStageReplied",
        }
    }

    /// Name for people, and in the remark of a refusal.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Received => "received",
            Stage::Decoded => "decoded",
            Stage::Appended => "appended",
            Stage::Written => "written",
            Stage::Flushed => "flushed",
            Stage::Replicated => "replicated",
            Stage::Replied => "replied",
        }
    }
}

/// One histogram per stage.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stages {
    histograms: [Histogram; 7],
}

impl Stages {
    fn record(&mut self, stage: Stage, ns: u64, count: u64) {
        self.histograms[stage as usize].record(ns / 1000, count);
    }

    /// Adds what another shard has.
    pub fn merge(&mut self, other: &Stages) {
        for (mine, theirs) in self.histograms.iter_mut().zip(&other.histograms) {
            mine.add(theirs);
        }
    }

    /// The histogram of a stage, in us.
    pub fn histogram(&self, stage: Stage) -> &Histogram {
        &self.histograms[stage as usize]
    }

    /// The figures of a stage.
    pub fn summary(&self, stage: Stage) -> Summary {
        let histogram = &self.histograms[stage as usize];
        Summary {
            count: histogram.len(),
            p50_us: histogram.quantile(500),
            p99_us: histogram.quantile(990),
            p999_us: histogram.quantile(999),
            max_us: histogram.max(),
        }
    }

    /// The histogram of a stage as text, `latency:count` in us; an empty one is empty.
    pub fn buckets(&self, stage: Stage) -> String {
        let buckets = self.histograms[stage as usize].buckets();
        let pairs = buckets.map(|(value, count)| format!("{value}:{count}"));
        pairs.collect::<Vec<String>>().join(" ")
    }

    /// Adds what `buckets` wrote; `None` when it did not write this.
    pub fn add_buckets(&mut self, stage: Stage, text: &str) -> Option<()> {
        for pair in text.split_whitespace() {
            let (value, count) = pair.split_once(':')?;
            let (value, count) = (value.parse().ok()?, count.parse().ok()?);
            self.histograms[stage as usize].record(value, count);
        }
        Some(())
    }

    /// What came since `earlier`; `None` when that is no earlier state of the same.
    pub fn since(&self, earlier: &Stages) -> Option<Stages> {
        let mut later = Stages::default();
        let both = self.histograms.iter().zip(&earlier.histograms);
        for (new, (now, then)) in later.histograms.iter_mut().zip(both) {
            *new = now.since(then)?;
        }
        Some(later)
    }
}

/// Figures of a stage. As text: the five numbers in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Requests or messages.
    pub count: u64,
    /// Median, us; as those below 0 when there are none.
    pub p50_us: u64,
    /// 99 % are at or below.
    pub p99_us: u64,
    /// 99.9 % are at or below.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { count, p50_us, p99_us, p999_us, max_us } = self;
        write!(f, "{count} {p50_us} {p99_us} {p999_us} {max_us}")
    }
}

/// Batches that wait at one frontier before they are joined, whatever their age.
const BATCHES_MAX: usize = 1024;
/// Batches are joined when their times differ by less than this part of what they take.
const JOINED_PART: u64 = 64;

#[derive(Clone, Copy)]
struct Batch {
    end: u64,
    since: MonoNs,
    count: u64,
}

/// Batches that wait for a frontier, in log order.
struct Waiting {
    batches: VecDeque<Batch>,
    /// Batches received within this time are one.
    joined_ns: u64,
}

impl Waiting {
    fn new() -> Waiting {
        Waiting { batches: VecDeque::with_capacity(BATCHES_MAX), joined_ns: 0 }
    }

    fn push(&mut self, batch: Batch) {
        let full = self.batches.len() == BATCHES_MAX;
        if let Some(last) = self.batches.back_mut() {
            let near = last.since <= batch.since && batch.since.since(last.since) < self.joined_ns;
            if near || full {
                last.end = batch.end;
                last.count += batch.count;
                return;
            }
        }
        self.batches.push_back(batch);
    }

    /// Hands out what the frontier has passed.
    fn release(&mut self, frontier: u64, now: MonoNs, mut passed: impl FnMut(Batch)) {
        while let Some(batch) = self.batches.pop_front_if(|b| b.end <= frontier) {
            self.joined_ns = now.since(batch.since) / JOINED_PART;
            passed(batch);
        }
    }
}

struct StreamMarks {
    id: StreamId,
    /// Messages of the stream that were seen.
    messages: u64,
    written: Waiting,
    flushed: Waiting,
    acknowledged: Waiting,
}

/// The marks of a shard. Called by its turn, in the order of the methods.
pub(crate) struct Marks {
    stages: Stages,
    streams: Vec<StreamMarks>,
    /// Messages of this turn that were not marked yet, by time of receipt.
    fresh: Vec<(usize, Batch)>,
    /// Messages whose answers leave with the next submission.
    leaving: Vec<Batch>,
    requests: u64,
    turn_began: MonoNs,
    waited_ns: u64,
}

impl Marks {
    pub(crate) fn new(store: Option<&Store>, now: MonoNs) -> Marks {
        let marks = |stream: &store::stream::Stream| StreamMarks {
            id: stream.id(),
            messages: 0,
            written: Waiting::new(),
            flushed: Waiting::new(),
            acknowledged: Waiting::new(),
        };
        Marks {
            stages: Stages::default(),
            streams: store.into_iter().flat_map(Store::streams).map(marks).collect(),
            fresh: Vec::new(),
            leaving: Vec::new(),
            requests: 0,
            turn_began: now,
            waited_ns: 0,
        }
    }

    pub(crate) fn stages(&self) -> &Stages {
        &self.stages
    }

    /// A turn begins, and with it goes what the one before wanted to send.
    pub(crate) fn begin(&mut self, now: MonoNs, slept: bool) {
        for batch in self.leaving.drain(..) {
            self.stages.record(Stage::Replied, now.since(batch.since), batch.count);
        }
        self.waited_ns = if slept { 0 } else { now.since(self.turn_began) };
        self.turn_began = now;
    }

    /// What is handled in this turn had arrived by `now`.
    pub(crate) fn arrived(&mut self, now: MonoNs) {
        self.turn_began = now;
    }

    /// A frame was handled.
    pub(crate) fn request(&mut self) {
        self.requests += 1;
    }

    /// The device may be further than before.
    pub(crate) fn completed(&mut self, store: Option<&Store>) {
        let (Some(store), now) = (store, self.turn_began) else { return };
        for marks in &mut self.streams {
            if marks.flushed.batches.is_empty() && marks.written.batches.is_empty() {
                continue;
            }
            let (stream, stages) = (store.stream(marks.id), &mut self.stages);
            marks.written.release(stream.written(), now, |batch| {
                stages.record(Stage::Written, now.since(batch.since), batch.count);
            });
            marks.flushed.release(stream.flushed(), now, |batch| {
                stages.record(Stage::Flushed, now.since(batch.since), batch.count);
            });
        }
    }

    /// Messages that were appended since the last call were received at `since`.
    pub(crate) fn appended(&mut self, store: Option<&Store>, since: MonoNs) {
        let Some(store) = store else { return };
        for (marks, at) in self.streams.iter_mut().zip(0..) {
            let messages = store.messages(marks.id);
            if messages > marks.messages {
                let count = messages - marks.messages;
                marks.messages = messages;
                self.fresh.push((at, Batch { end: 0, since, count }));
            }
        }
    }

    /// Whether the turn did anything that `handled` would mark.
    pub(crate) fn has_news(&self) -> bool {
        self.requests > 0 || !self.fresh.is_empty()
    }

    /// All handlers of the turn are done, `now`.
    pub(crate) fn handled(&mut self, store: Option<&Store>, now: MonoNs) {
        if self.requests > 0 {
            self.stages.record(Stage::Received, self.waited_ns, self.requests);
            let took = now.since(self.turn_began);
            self.stages.record(Stage::Decoded, took, self.requests);
            self.requests = 0;
        }
        let Some(store) = store else { return };
        for (at, batch) in self.fresh.drain(..) {
            self.stages.record(Stage::Appended, now.since(batch.since), batch.count);
            let marks = &mut self.streams[at];
            let batch = Batch { end: store.stream(marks.id).appended(), ..batch };
            marks.written.push(batch);
            marks.flushed.push(batch);
            marks.acknowledged.push(batch);
        }
    }

    /// Answers were released as far as the streams are acknowledged.
    pub(crate) fn released(&mut self, store: Option<&Store>) {
        let (Some(store), now) = (store, self.turn_began) else { return };
        for marks in &mut self.streams {
            if !marks.acknowledged.batches.is_empty() {
                let (frontier, leaving) =
                    (store.stream(marks.id).acknowledged(), &mut self.leaving);
                marks.acknowledged.release(frontier, now, |batch| leaving.push(batch));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::histogram::VALUE_MAX;

    fn batch(end: u64, since: u64, count: u64) -> Batch {
        Batch { end, since: MonoNs(since), count }
    }

    fn released(waiting: &mut Waiting, frontier: u64, now: u64) -> Vec<(u64, u64)> {
        let mut list = Vec::new();
        waiting.release(frontier, MonoNs(now), |b| list.push((b.since.0, b.count)));
        list
    }

    #[test]
    fn batches_pass_a_frontier_in_order_and_once() {
        let mut waiting = Waiting::new();
        waiting.push(batch(10, 100, 1));
        waiting.push(batch(20, 200, 2));
        assert_eq!(released(&mut waiting, 19, 6_500), [(100, 1)]);
        // What takes 6,400 ns is told apart by 100 ns.
        waiting.push(batch(30, 299, 4));
        waiting.push(batch(40, 300, 8));
        assert_eq!(released(&mut waiting, 40, 6_600), [(200, 6), (300, 8)]);
        assert!(released(&mut waiting, 40, 7_000).is_empty());
    }

    #[test]
    fn no_message_is_lost_when_too_many_batches_wait() {
        let mut waiting = Waiting::new();
        for at in 0..5000 {
            waiting.push(batch(at + 1, at, 1));
        }
        let list = released(&mut waiting, 5000, 5000);
        assert_eq!(list.len(), BATCHES_MAX);
        assert_eq!(list.iter().map(|(_, count)| count).sum::<u64>(), 5000);
    }

    #[test]
    fn histograms_of_shards_add_up_and_come_back_from_text() {
        let (mut one, mut two) = (Stages::default(), Stages::default());
        one.record(Stage::Flushed, 300_000, 99);
        two.record(Stage::Flushed, 70_000_000_000, 1);
        one.merge(&two);
        let summary = one.summary(Stage::Flushed);
        assert_eq!((summary.count, summary.p50_us, summary.p99_us), (100, 303, 303));
        assert_eq!(summary.max_us, VALUE_MAX, "a longer time is told as the longest");
        let mut back = Stages::default();
        back.add_buckets(Stage::Flushed, &one.buckets(Stage::Flushed)).unwrap();
        assert_eq!(back.summary(Stage::Flushed), summary);
        assert_eq!(back.since(&two).unwrap().summary(Stage::Flushed).count, 99);
        assert_eq!(one.buckets(Stage::Written), "");
        assert!(back.add_buckets(Stage::Written, "5:x").is_none());
    }
}
