//! Retention in the engine: looks at the disk, segments that go, and queues that follow the log's new start.

use super::{Store, StreamState};
use crate::op::{QueueTrim, Trimmed};
use crate::persist::Round;
use crate::queues::{QueueNo, StoppedQueue, StoppedQueues};
use crate::retention::{DiskFull, DiskLook, Retention, RetentionConfig, Why};
use base::time::{MonoNs, Now};
use std::sync::Arc;
use wire::ids::StreamId;

/// Queues looked at per step of a trim, and those among them that need their files read.
const TRIM_LOOKS: usize = 4096;
const TRIM_QUEUES: usize = 128;

/// Which queues are looked at after the log's start has moved.
#[derive(Default)]
pub(super) struct Trim {
    /// The next queue; `None` when all were looked at.
    pub(super) next: Option<u32>,
    /// Also those that have no messages any more: files of theirs may be left from a process that died.
    pub(super) all: bool,
    pub(super) in_flight: bool,
}

impl Trim {
    pub(super) fn is_due(&self, round: &Round) -> bool {
        self.next.is_some() && !self.in_flight && round.is_resting()
    }
}

/// Work of retention for the background thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UpkeepStep {
    /// Look at the file systems, and at when these segments were last written; answered by `Store::on_look`.
    Look {
        /// Oldest segment of each stream that has one to spare.
        oldest: Vec<(StreamId, u64)>,
    },
    /// Take the segment's name away; answered by `Store::on_deleted`.
    DeleteSegment {
        /// Its stream.
        stream: StreamId,
        /// Its start.
        base: u64,
        /// Why, for the log.
        why: Why,
    },
}

impl Store {
    /// What the disk is asked next, when something is due.
    pub fn plan_upkeep(&mut self, now: MonoNs) -> Option<UpkeepStep> {
        if self.failure.is_some() || self.closing {
            return None;
        }
        if let Some((stream, base, why)) = self.doomed.take() {
            return Some(UpkeepStep::DeleteSegment { stream, base, why });
        }
        if !self.retention.as_mut()?.wants_look(now) {
            return None;
        }
        // A segment that only the checkpoint holds back can go the next time.
        self.checkpoint_wanted |= self.streams.iter().any(StreamState::waits_for_checkpoint);
        let oldest = self.streams.iter().filter_map(StreamState::deletable).collect();
        Some(UpkeepStep::Look { oldest })
    }

    /// The disk was looked at.
    pub fn on_look(&mut self, look: Option<&DiskLook>, now: Now) {
        let retention = self.retention.as_mut().expect("a look was asked for");
        match look {
            Some(look) => self.doomed = retention.looked(look, now.mono, now.wall),
            None => retention.failed(now.mono),
        }
    }

    /// Other settings of retention from the next look on.
    pub fn configure_retention(&mut self, config: RetentionConfig) {
        if let Some(retention) = &mut self.retention {
            retention.configure(config);
        }
    }

    /// Why the last look makes sends be refused.
    pub fn disk_warning(&self) -> Option<DiskFull> {
        self.retention.as_ref().and_then(Retention::disk_full)
    }

    /// Deletes old files in the next rounds at any hour.
    pub fn clean_now(&mut self, rounds: u32) {
        if let Some(retention) = &mut self.retention {
            retention.clean_now(rounds);
        }
    }

    /// Looks at all queues for files below the log's start (request 306).
    pub fn trim_all(&mut self) {
        self.trim.next = Some(0);
        self.trim.all = true;
    }

    /// A segment has no name any more (then nobody may read it from now on), or could not be deleted.
    pub fn on_deleted(&mut self, stream: StreamId, base: u64, ok: bool, now: MonoNs) {
        let retention = self.retention.as_mut().expect("a deletion was asked for");
        if !ok {
            retention.failed(now);
            return;
        }
        retention.deleted(now);
        self.state_mut(stream).stream.drop_first(base);
        self.trim.next = Some(0);
    }

    /// Queues that may begin below the log, from where the last batch ended.
    pub(super) fn next_trim(&mut self) -> Option<Vec<QueueTrim>> {
        let mut batch = Vec::new();
        let mut looks = 0;
        let is_first = self.trim.next == Some(0);
        while let Some(next) = self.trim.next {
            let no = QueueNo(next);
            if usize::try_from(next).expect("a queue number") >= self.queues.len() {
                self.trim = Trim { in_flight: self.trim.in_flight, ..Trim::default() };
                break;
            }
            if looks == TRIM_LOOKS || batch.len() == TRIM_QUEUES {
                break;
            }
            looks += 1;
            self.trim.next = Some(next + 1);
            let queue = self.queues.get(no);
            let stream = self.stream(queue.stream);
            let start = stream.phy(stream.start());
            let moved = queue.may_begin_below(start) && queue.min() < queue.persisted();
            if moved || self.trim.all && queue.persisted() > 0 {
                let held = (queue.min(), queue.persisted());
                let topic = Arc::clone(&queue.topic);
                batch.push(QueueTrim { no, topic, queue: queue.id, held, start });
            }
        }
        // The index follows the log whether or not a queue does.
        (is_first || !batch.is_empty()).then_some(batch)
    }

    /// The queues, once everything is closed; `None` when some do not begin yet where the log does, or did not get all of their
    /// entries into files.
    pub fn stopped_queues(&self) -> Option<StoppedQueues> {
        let trims = self.trim.next.is_some() || self.trim.in_flight || self.doomed.is_some();
        if self.failure.is_some() || !self.is_closed() || trims {
            return None;
        }
        let starts = self.streams.iter().map(|s| (s.stream.id(), s.stream.start())).collect();
        let mut queues = Vec::new();
        for (no, queue) in self.queues.iter() {
            // Numbers of deleted topics' queues stay used.
            if self.queues.find(&queue.topic, queue.id) != Some(no) {
                continue;
            }
            if queue.has_unpersisted() {
                return None;
            }
            queues.push(StoppedQueue {
                topic: Arc::clone(&queue.topic),
                id: queue.id,
                min: queue.min(),
                next: queue.next(),
                place: queue.min_place(),
            });
        }
        Some(StoppedQueues { starts, queues })
    }

    /// The queues of a `QueueStep::Trim` begin here now. An error costs nothing: readers skip what is gone.
    pub fn on_trimmed(&mut self, trimmed: &[Trimmed]) {
        self.trim.in_flight = false;
        for Trimmed { no, min, phy } in trimmed {
            let queue = self.queues.get_mut(*no);
            // The topic may have been deleted meanwhile.
            if *min <= queue.persisted() {
                queue.advance_min(*min, *phy);
            }
        }
    }
}
