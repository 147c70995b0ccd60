//! Which halves are open: transactions that are neither committed nor rolled back, by their index in the half queue.
//!
//! Pure state; times are milliseconds since 1970. A half that is stored again (when its producer is asked, or to keep the
//! queue short) goes on under its new index, and ends of it that name the index before, or its first one, still find it.
//! What has ended is named in operation records: a record is needed as long as it names a half that a start would read.
//!
//! Limits: open halves, and remembered operation records, which are joined beyond their limit.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use wire::ids::PhyOffset;
use wire::props::{self, Props};

/// Open halves of a broker; about 150 bytes each.
pub(crate) const OPEN_MAX: usize = 1_000_000;
/// Operation records that are remembered one by one.
const OPERATIONS_MAX: usize = 1 << 18;
/// A half that rests is stored again when so many younger ones have come, and twice as many as are open: a start reads the
/// queue from the first open one on. Were it the number alone, many open halves would all be stored again in each round.
const BEHIND_MAX: i64 = 1024;
/// Milliseconds of an hour.
pub(crate) const HOUR_MS: i64 = 3_600_000;

/// What is being done with an open half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// It waits for its end.
    Waits,
    /// It is being stored again or given up.
    Moves,
    /// It is being committed.
    Ends,
}

/// An open half.
#[derive(Clone, Debug)]
pub(crate) struct Half {
    /// Where it lies.
    pub(crate) place: PhyOffset,
    /// The producer's time stamp.
    pub(crate) born: i64,
    /// When it was stored, this time.
    pub(crate) stored: i64,
    /// How often the producer was asked.
    pub(crate) checks: u32,
    /// Age below which the producer is not asked, where the message names one.
    pub(crate) immunity_ms: Option<i64>,
    /// The producer's group; empty when the message names none.
    pub(crate) group: Arc<[u8]>,
    /// The index that its properties name as the one it continues; its own without.
    linked: i64,
    /// Its first index, and the one before this one; its own when it was not stored again.
    first: i64,
    before: i64,
    pub(crate) step: Step,
}

/// What an end finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// An open half, under this index.
    Open(i64),
    /// It is ending.
    Ending,
    /// It has ended, or is not known.
    Gone,
}

/// What a round of checks does with a half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Nothing.
    Rest,
    /// Its producer is asked.
    Ask,
    /// It is stored again without a question.
    Move,
    /// It is given up.
    GiveUp,
}

/// What a round of checks goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// `transactionTimeOut`.
    pub(crate) time_out_ms: i64,
    /// `transactionCheckMax`.
    pub(crate) checks_max: u32,
    /// `fileReservedTime`.
    pub(crate) reserved_ms: i64,
    /// When the round began.
    pub(crate) began: i64,
    /// Now.
    pub(crate) now: i64,
}

/// An operation record in its queue.
struct Operation {
    offset: i64,
    /// The largest index of a half that it names.
    newest: i64,
}

/// The open halves.
#[derive(Default)]
pub(crate) struct Table {
    open: BTreeMap<i64, Half>,
    /// Indexes that a half had before, and the one it has now.
    moved: HashMap<i64, i64>,
    groups: HashSet<Arc<[u8]>>,
    /// Halves that have ended and are not read yet.
    ended: HashSet<i64>,
    /// Halves of the queue that are not read yet, from and to.
    unread: (i64, i64),
    /// The next half is stored here.
    next: i64,
    /// Ended halves that no operation record names yet.
    unnamed: Vec<i64>,
    operations: VecDeque<Operation>,
    /// The next operation record is stored here.
    next_operation: i64,
}

impl Table {
    /// A start: halves and operation records from these indexes on are read.
    pub(crate) fn begin(&mut self, halves: (i64, i64), operation: i64) {
        self.unread = halves;
        self.next = halves.1;
        self.next_operation = operation;
    }

    /// Number of open halves.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// An open half.
    pub(crate) fn get(&self, offset: i64) -> Option<&Half> {
        self.open.get(&offset)
    }

    /// Says what is being done with an open half.
    pub(crate) fn set_step(&mut self, offset: i64, step: Step) {
        if let Some(half) = self.open.get_mut(&offset) {
            half.step = step;
        }
    }

    /// The first open half from an index on.
    pub(crate) fn next_open(&self, from: i64) -> Option<(i64, &Half)> {
        self.open.range(from..).next().map(|(offset, half)| (*offset, half))
    }

    /// One past the last half.
    pub(crate) fn end(&self) -> i64 {
        self.next
    }

    /// A half was stored; `offset` is its index.
    pub(crate) fn note(&mut self, offset: i64, half: Half) {
        self.next = self.next.max(offset + 1);
        if half.linked != offset {
            self.moved.insert(half.linked, offset);
        }
        self.open.insert(offset, half);
    }

    /// A start has read a half. One that is known, has ended or goes on under another index changes nothing.
    pub(crate) fn read(&mut self, offset: i64, half: Half) {
        let is_continued = self.moved.contains_key(&offset);
        if is_continued || self.open.contains_key(&offset) {
            return;
        }
        let linked = half.linked;
        if self.ended.contains(&offset) {
            self.remove(linked);
            return;
        }
        if linked != offset {
            if self.ended.contains(&linked) {
                self.unnamed.push(offset);
                return;
            }
            // Its properties say that it is the same, so that no operation record does.
            let before = self.moved.get(&linked).copied().unwrap_or(linked);
            if before > offset {
                return;
            }
            self.remove(before);
        }
        self.note(offset, half);
    }

    /// A half as the properties of its record tell it; `immunity` of no use counts as `time_out_ms`.
    pub(crate) fn half(
        &mut self,
        offset: i64,
        place: PhyOffset,
        times: (i64, i64),
        properties: &[u8],
        time_out_ms: i64,
    ) -> Half {
        let texts = Props::new(properties);
        let number = |key| texts.get_i64(key).filter(|value| *value >= 0);
        let name = texts.get(props::PRODUCER_GROUP).unwrap_or_default();
        let group = match self.groups.get(name) {
            Some(group) => Arc::clone(group),
            None => {
                let group: Arc<[u8]> = Arc::from(name);
                self.groups.insert(Arc::clone(&group));
                group
            }
        };
        let first = number(props::TRANSACTION_PREPARED_QUEUE_OFFSET).filter(|at| *at < offset);
        let first = first.unwrap_or(offset);
        Half {
            place,
            born: times.0,
            stored: times.1,
            checks: checks(properties),
            immunity_ms: immunity_ms(properties, time_out_ms),
            group,
            linked: first,
            first,
            before: first,
            step: Step::Waits,
        }
    }

    /// The half at `old` was stored again at `new`, behind everything else.
    pub(crate) fn superseded(&mut self, old: i64, new: i64) {
        let Some(before) = self.open.get(&old) else {
            // It has ended meanwhile, and so has what was stored.
            self.finish(new);
            return;
        };
        let (first, step) = (before.first, before.step);
        if let Some(half) = self.open.get_mut(&new) {
            (half.first, half.before) = (first, old);
            self.moved.insert(first, new);
            self.moved.insert(old, new);
        }
        if step == Step::Ends {
            // One commit is on its way: under its new index the half is not committed, nor asked about, besides.
            self.set_step(new, Step::Ends);
        } else {
            self.leave(old, new);
        }
    }

    /// The half at `old` goes on at `new`. The record there may say so itself.
    fn leave(&mut self, old: i64, new: i64) {
        let is_linked = self.open.get(&new).is_some_and(|half| half.linked == old);
        if self.remove(old).is_some() && !is_linked {
            self.unnamed.push(old);
        }
    }

    /// What an end that names this index is about.
    pub(crate) fn find(&self, offset: i64) -> Target {
        let at = match self.open.get(&offset) {
            Some(half) if half.step == Step::Ends => return Target::Ending,
            Some(_) => offset,
            None => self.moved.get(&offset).copied().unwrap_or(offset),
        };
        match self.open.get(&at) {
            Some(half) if half.step == Step::Ends => Target::Ending,
            Some(_) => Target::Open(at),
            None => Target::Gone,
        }
    }

    /// Whether the half is in the queue, but was not read yet and has not ended.
    pub(crate) fn is_unread(&self, offset: i64) -> bool {
        let (from, to) = self.unread;
        (from..to).contains(&offset) && !self.ended.contains(&offset)
    }

    /// A half has ended, whatever index it has by now.
    pub(crate) fn finish(&mut self, offset: i64) {
        let later = self.moved.get(&offset).copied().filter(|later| *later > offset);
        if let Some(half) = self.remove(offset) {
            // A reader that goes by numbers alone, as Java's does, may still see the one that it continues.
            if half.linked != offset {
                self.end_of(half.linked);
            }
            self.end_of(offset);
        }
        if let Some(later) = later {
            self.finish(later);
        }
    }

    /// A commit has failed: the half is open again.
    pub(crate) fn reopen(&mut self, offset: i64) {
        match self.moved.get(&offset) {
            Some(&later) if later > offset => {
                self.set_step(later, Step::Waits);
                self.leave(offset, later);
            }
            Some(_) | None => self.set_step(offset, Step::Waits),
        }
    }

    fn remove(&mut self, offset: i64) -> Option<Half> {
        let half = self.open.remove(&offset)?;
        for old in [half.linked, half.first, half.before] {
            if self.moved.get(&old) == Some(&offset) {
                self.moved.remove(&old);
            }
        }
        Some(half)
    }

    fn end_of(&mut self, offset: i64) {
        if (self.unread.0..self.unread.1).contains(&offset) {
            self.ended.insert(offset);
        }
        self.unnamed.push(offset);
    }

    // ---- the start ----

    /// An operation record was read: its index, and the halves it names.
    pub(crate) fn read_operation(&mut self, offset: i64, body: &[u8]) {
        let mut newest = -1;
        for half in named(body) {
            newest = newest.max(half);
            self.ended.insert(half);
        }
        self.named_in(offset, newest);
    }

    /// The halves before this index were read.
    pub(crate) fn read_to(&mut self, offset: i64) {
        self.unread.0 = offset.min(self.unread.1);
        if !self.is_reading() {
            self.ended = HashSet::new();
        }
    }

    /// Whether halves of the queue are still to be read, and from where.
    pub(crate) fn is_reading(&self) -> bool {
        self.unread.0 < self.unread.1
    }

    /// Where to read on, and where to end.
    pub(crate) fn unread(&self) -> (i64, i64) {
        self.unread
    }

    // ---- operation records ----

    /// Whether halves have ended that no operation record names.
    pub(crate) fn has_unnamed(&self) -> bool {
        !self.unnamed.is_empty()
    }

    /// The next operation record: its body of at most `bytes_max` bytes (one number is always there), and the largest
    /// index in it. A single number stands without a comma, which both lines of Java read.
    pub(crate) fn take_operation(&mut self, bytes_max: usize) -> Option<(Vec<u8>, i64)> {
        let (mut body, mut newest, mut count) = (Vec::new(), -1, 0);
        for half in &self.unnamed {
            let text = half.to_string();
            if count > 0 && body.len() + text.len() + 1 > bytes_max {
                break;
            }
            body.extend_from_slice(text.as_bytes());
            body.push(b',');
            newest = newest.max(*half);
            count += 1;
        }
        self.unnamed.drain(..count);
        if count == 1 {
            body.pop();
        }
        (count > 0).then_some((body, newest))
    }

    /// An operation record was stored.
    pub(crate) fn named_in(&mut self, offset: i64, newest: i64) {
        self.next_operation = self.next_operation.max(offset + 1);
        let is_full = self.operations.len() >= OPERATIONS_MAX;
        match self.operations.back_mut().filter(|_| is_full) {
            // The older of two records that are joined stays needed as long as the younger one.
            Some(last) => last.newest = last.newest.max(newest),
            None => self.operations.push_back(Operation { offset, newest }),
        }
    }

    /// Where a start has to begin to read: in the half queue, and in the queue of operation records.
    pub(crate) fn offsets(&mut self) -> (i64, i64) {
        let first = self.open.first_key_value().map_or(self.next, |(offset, _)| *offset);
        let half = if self.is_reading() { first.min(self.unread.0) } else { first };
        while self.operations.front().is_some_and(|operation| operation.newest < half) {
            self.operations.pop_front();
        }
        let operation = self.operations.front().map_or(self.next_operation, |first| first.offset);
        (half, operation)
    }

    // ---- checks ----

    /// What a round does with an open half; `is_on_line`: somebody of its group could be asked.
    pub(crate) fn judge(&self, offset: i64, rules: &Rules, is_on_line: bool) -> Verdict {
        let Some(half) = self.open.get(&offset) else { return Verdict::Rest };
        if half.step != Step::Waits {
            return Verdict::Rest;
        }
        let age = rules.now.saturating_sub(half.born);
        if half.checks >= rules.checks_max || age > rules.reserved_ms {
            return Verdict::GiveUp;
        }
        if half.stored >= rules.began {
            return Verdict::Rest;
        }
        let rests = match half.immunity_ms {
            Some(immunity) => age <= immunity,
            None if (0..=rules.time_out_ms).contains(&age) => return Verdict::Rest,
            None => false,
        };
        match rests || !is_on_line {
            false => Verdict::Ask,
            true if self.next - offset > self.behind_max() => Verdict::Move,
            true => Verdict::Rest,
        }
    }

    /// How many younger halves leave one that rests where it is.
    fn behind_max(&self) -> i64 {
        let open = i64::try_from(self.open.len()).expect("fewer than 2^62 open halves");
        BEHIND_MAX.max(2 * open)
    }

    /// Forgets the names of groups without open halves.
    pub(crate) fn forget_groups(&mut self) {
        self.groups.retain(|group| Arc::strong_count(group) > 1);
    }
}

/// How often the producer was asked; a property of no use counts as never.
pub(crate) fn checks(properties: &[u8]) -> u32 {
    let times = Props::new(properties).get_i64(props::TRANSACTION_CHECK_TIMES);
    times.and_then(|times| u32::try_from(times).ok()).unwrap_or(0)
}

/// Age below which a producer is not asked about its message, where the message names one.
pub(crate) fn immunity_ms(properties: &[u8], time_out_ms: i64) -> Option<i64> {
    let text = Props::new(properties).get(props::CHECK_IMMUNITY_TIME_IN_SECONDS)?;
    let seconds = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    Some(match seconds {
        None | Some(-1) => time_out_ms,
        Some(seconds) => seconds.saturating_mul(1000),
    })
}

/// The halves that the body of an operation record names: `17`, or `17,18,`.
fn named(body: &[u8]) -> impl Iterator<Item = i64> + '_ {
    let parts = body.split(|byte| *byte == b',');
    let number = |part: &[u8]| std::str::from_utf8(part).ok()?.trim().parse::<i64>().ok();
    parts.filter_map(number).filter(|half| *half >= 0)
}

#[cfg(test)]
mod tests;
