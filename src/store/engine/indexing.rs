//! The index by key beside the queues: what its files are given next, and what happens when they do not take it.

use super::{QueueStep, Store};
use crate::index::{IndexHits, IndexQuery, IndexStep};
use crate::persist::Marks;
use wire::ids::StreamId;

/// Steps in a row of 4,096 entries each while more of them wait, before the queues of a round are written on.
const STEPS_IN_ROW: u32 = 8;

impl Store {
    /// Indexes no messages of this stream: it has no index files.
    pub fn switch_off_index(&mut self, id: StreamId) {
        self.state_mut(id).index.switch_off();
    }

    /// The index files of this stream lack the records from `position` on, where one begins: they are read beside the load.
    pub fn begin_index_behind(&mut self, id: StreamId, position: u64) {
        self.state_mut(id).index.begin_behind(position);
    }

    /// Records whose index entries are not in the files yet and that readers may see.
    pub fn search_index(&self, query: &IndexQuery) -> IndexHits {
        let mut hits = IndexHits::default();
        for state in &self.streams {
            hits.merge(state.index.search(query, state.stream.visible()));
        }
        hits
    }

    /// The index files did not take what they were given; it is tried again later. Before `on_queues`.
    pub fn on_index_failed(&mut self) {
        self.index_failed = true;
        self.index_late = true;
        for state in self.streams.iter_mut().filter(|s| s.index.is_handed_out()) {
            state.index.done(false);
        }
    }

    /// The index files have the records of the stream below `position`, which a `QueueStep::IndexLog` read. Before
    /// `on_queues`.
    pub fn on_index_read(&mut self, stream: StreamId, position: u64) {
        self.state_mut(stream).index.was_read(position);
    }

    /// A stream that has nothing left of what its index files lacked, once.
    pub fn take_caught_up(&mut self) -> Option<StreamId> {
        self.streams.iter_mut().find_map(|s| s.index.take_caught_up().then(|| s.stream.id()))
    }

    pub(super) fn is_index_behind(&self) -> bool {
        !self.closing && self.streams.iter().any(|s| s.index.is_behind())
    }

    /// What is next for the index files, of records below the round's frontiers.
    pub(super) fn plan_index(&mut self, marks: &Marks) -> Option<QueueStep> {
        if self.index_failed {
            return None;
        }
        let closing = self.closing;
        marks.iter().find_map(|(id, durable)| {
            let state = self.state_mut(*id);
            // A stop does not wait for what was left out: the next start reads it.
            if closing && state.index.is_behind() {
                return state.index.hand_out_before_gap(*durable).map(|e| QueueStep::Index(*id, e));
            }
            let log = state.stream.start()..state.stream.appended();
            Some(match state.index.next_step(*durable, log)? {
                IndexStep::Add(entries) => QueueStep::Index(*id, entries),
                IndexStep::Read { from, to } => QueueStep::IndexLog { stream: *id, from, to },
            })
        })
    }

    /// What is next for the index files in turn with the queues of a round, and between rounds: both can take so long that the
    /// memory for what waits is full, and what does not find room there is read from the log at many times the cost.
    pub(super) fn plan_index_aside(&mut self) -> Option<QueueStep> {
        let has_batch = self.streams.iter_mut().any(|s| {
            let durable = s.durable_end();
            s.index.has_batch(durable)
        });
        let steps = std::mem::take(&mut self.index_steps);
        let is_turn = match self.round.is_resting() {
            // A step that succeeds would say that there is room again.
            true => has_batch && !self.lacks_room,
            false => self.round.is_planning() && steps < if has_batch { STEPS_IN_ROW } else { 1 },
        };
        if !is_turn || self.index_failed {
            return None;
        }
        let mut ends = self.durable_ends();
        if has_batch {
            ends.retain(|(id, end)| self.state(*id).index.has_batch(*end));
        }
        let step = self.plan_index(&ends)?;
        self.index_steps = steps + 1;
        self.round.step_aside();
        Some(step)
    }
}
