//! Queue entries that were read from files: the next pulls of the same queue go on in them.
//!
//! Entries never change while their topic exists; when a topic is deleted, all are forgotten.

use hashbrown::HashMap;
use store::layout::consume_queue::CqEntry;
use store::queues::QueueNo;

/// Queues whose entries are kept on a shard.
const RUNS_MAX: usize = 512;

struct Run {
    first: i64,
    entries: Vec<CqEntry>,
    used: u64,
}

/// The runs of a shard.
#[derive(Default)]
pub(crate) struct Runs {
    by_queue: HashMap<QueueNo, Run>,
    clock: u64,
    /// Moves when everything is forgotten: what was asked for before is not kept.
    epoch: u64,
}

impl Runs {
    /// See `keep`.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Entries from `offset` on, none when they are not here.
    pub(crate) fn from(&mut self, queue: QueueNo, offset: i64) -> &[CqEntry] {
        self.clock += 1;
        let Some(run) = self.by_queue.get_mut(&queue) else { return &[] };
        run.used = self.clock;
        let skip = usize::try_from(offset - run.first).unwrap_or(usize::MAX);
        run.entries.get(skip..).unwrap_or_default()
    }

    /// Keeps what was read for `queue` from `first` on, when it was asked for in this `epoch`.
    pub(crate) fn keep(
        &mut self,
        epoch: u64,
        queue: QueueNo,
        first: i64,
        entries: impl Iterator<Item = CqEntry>,
    ) {
        if epoch != self.epoch {
            return;
        }
        if self.by_queue.len() >= RUNS_MAX && !self.by_queue.contains_key(&queue) {
            let oldest =
                self.by_queue.iter().min_by_key(|(_, run)| run.used).map(|(queue, _)| *queue);
            self.by_queue.remove(&oldest.expect("there are some"));
        }
        let used = self.clock;
        let run = self.by_queue.entry(queue);
        let run = run.or_insert_with(|| Run { first, entries: Vec::new(), used });
        run.first = first;
        run.entries.clear();
        run.entries.extend(entries);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.by_queue.clear();
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ids::PhyOffset;

    fn entries(count: u64) -> impl Iterator<Item = CqEntry> {
        (0..count).map(|i| CqEntry { phy: PhyOffset(i), size: 1, tags_code: 0 })
    }

    #[test]
    fn a_run_serves_what_it_holds_until_it_is_forgotten() {
        let mut runs = Runs::default();
        runs.keep(0, QueueNo(1), 100, entries(5));
        assert_eq!(runs.from(QueueNo(1), 103).len(), 2);
        assert_eq!(runs.from(QueueNo(1), 99).len(), 0);
        assert_eq!(runs.from(QueueNo(1), 105).len(), 0);
        assert_eq!(runs.from(QueueNo(2), 100).len(), 0);
        runs.clear();
        assert_eq!(runs.from(QueueNo(1), 103).len(), 0);
        runs.keep(0, QueueNo(1), 100, entries(5));
        assert_eq!(runs.from(QueueNo(1), 103).len(), 0, "asked for before the topic was deleted");
    }

    #[test]
    fn the_queue_not_read_for_longest_gives_way() {
        let mut runs = Runs::default();
        for queue in 0..u32::try_from(RUNS_MAX).unwrap() {
            runs.keep(0, QueueNo(queue), 0, entries(1));
            runs.from(QueueNo(queue), 0);
        }
        runs.from(QueueNo(0), 0);
        runs.keep(0, QueueNo(9999), 0, entries(1));
        assert_eq!(runs.from(QueueNo(0), 0).len(), 1);
        assert_eq!(runs.from(QueueNo(1), 0).len(), 0);
    }
}
