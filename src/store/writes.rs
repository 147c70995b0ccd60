//! Which bytes of the window go to the device next, and how far the device has them without a hole.
//!
//! Whole blocks are pipelined. The last, partial block is written only when no write that covers it is in
//! flight, from a copy, and written again as it fills: always equal bytes up to the earlier end, so a torn
//! sector never hurts what was acknowledged, and the device never reads a block while a record is copied in.

use std::collections::VecDeque;

/// Size of the device's blocks as the log uses them.
pub const BLOCK: u64 = 4096;
/// Most bytes in one write.
pub const WRITE_BYTES_MAX: u64 = 1 << 20;
/// Most writes of one stream in flight.
pub const WRITES_IN_FLIGHT_MAX: usize = 4;

const _: () = assert!(WRITE_BYTES_MAX.is_multiple_of(BLOCK));

/// A write to submit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlannedWrite {
    /// Stream position of the first byte, block-aligned.
    pub position: u64,
    /// Bytes that are filled; whole blocks unless `partial`.
    pub len: u64,
    /// The block's rest is to be zero.
    pub partial: bool,
    /// Number to hand to `complete`.
    pub sequence: u64,
}

/// How eager to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// Whole blocks once this many bytes of them wait.
    Batch(u64),
    /// Everything appended, the partial block too.
    Now,
}

struct InFlight {
    sequence: u64,
    end: u64,
    done: bool,
}

/// The write side of one stream.
pub struct Writes {
    segment_bytes: u64,
    ring_bytes: u64,
    issued: u64,
    partial_in_flight: bool,
    partial_end: u64,
    in_flight: VecDeque<InFlight>,
    written: u64,
    next_sequence: u64,
}

impl Writes {
    /// Starts at `position`: everything below is on the device.
    pub fn new(position: u64, segment_bytes: u64, ring_bytes: u64) -> Writes {
        assert!(segment_bytes.is_multiple_of(BLOCK) && ring_bytes.is_multiple_of(BLOCK));
        Writes {
            segment_bytes,
            ring_bytes,
            issued: position - position % BLOCK,
            partial_in_flight: false,
            partial_end: position,
            in_flight: VecDeque::with_capacity(WRITES_IN_FLIGHT_MAX),
            written: position,
            next_sequence: 0,
        }
    }

    /// The device has every byte below.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Start of the first block that may still be written from the window.
    pub fn needed_from(&self) -> u64 {
        self.written - self.written % BLOCK
    }

    /// Whole blocks below this were given to the device.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    /// Whether nothing is in flight.
    pub fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// What the next write would be, without taking it.
    pub fn peek(&self, appended: u64, urgency: Urgency) -> Option<PlannedWrite> {
        assert!(appended >= self.issued, "the log does not shrink");
        if self.in_flight.len() >= WRITES_IN_FLIGHT_MAX || self.partial_in_flight {
            return None;
        }
        let sequence = self.next_sequence;
        let whole = appended - appended % BLOCK - self.issued;
        let enough = match urgency {
            Urgency::Batch(bytes) => whole >= bytes,
            Urgency::Now => whole > 0,
        };
        if enough {
            let segment_left = self.segment_bytes - self.issued % self.segment_bytes;
            let ring_left = self.ring_bytes - self.issued % self.ring_bytes;
            let len = whole.min(WRITE_BYTES_MAX).min(segment_left).min(ring_left);
            return Some(PlannedWrite { position: self.issued, len, partial: false, sequence });
        }
        let rest = urgency == Urgency::Now && appended > self.issued.max(self.partial_end);
        rest.then_some(PlannedWrite {
            position: self.issued,
            len: appended - self.issued,
            partial: true,
            sequence,
        })
    }

    /// Takes what `peek` answered.
    pub fn take(&mut self, write: PlannedWrite) {
        assert_eq!(write.sequence, self.next_sequence, "a planned write is taken once, in order");
        self.next_sequence += 1;
        let end = write.position + write.len;
        if write.partial {
            self.partial_in_flight = true;
            self.partial_end = end;
        } else {
            self.issued = end;
        }
        self.in_flight.push_back(InFlight { sequence: write.sequence, end, done: false });
    }

    /// A write has completed; `written` moves over what is contiguous.
    pub fn complete(&mut self, sequence: u64) {
        let write = self.in_flight.iter_mut().find(|w| w.sequence == sequence);
        let write = write.expect("a completion names a write in flight");
        assert!(!write.done, "a write completes once");
        write.done = true;
        if self.partial_in_flight && write.end == self.partial_end {
            self.partial_in_flight = false;
        }
        while let Some(front) = self.in_flight.front().filter(|w| w.done) {
            self.written = self.written.max(front.end);
            self.in_flight.pop_front();
        }
        self.check_invariants();
    }

    /// What must hold after every step.
    pub fn check_invariants(&self) {
        assert!(self.issued.is_multiple_of(BLOCK));
        assert!(self.written <= self.issued.max(self.partial_end));
        assert!(self.in_flight.len() <= WRITES_IN_FLIGHT_MAX);
        assert!(!self.partial_in_flight || !self.in_flight.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(writes: &mut Writes, appended: u64, urgency: Urgency) -> Option<(u64, u64, bool)> {
        let write = writes.peek(appended, urgency)?;
        writes.take(write);
        writes.check_invariants();
        Some((write.position, write.len, write.partial))
    }

    fn writes(position: u64) -> Writes {
        Writes::new(position, 64 * BLOCK, 32 * BLOCK)
    }

    #[test]
    fn whole_blocks_first_then_the_rest_of_the_last_one() {
        let mut w = writes(0);
        assert_eq!(next(&mut w, 10_000, Urgency::Now), Some((0, 8192, false)));
        assert_eq!(next(&mut w, 10_000, Urgency::Now), Some((8192, 1808, true)));
        assert_eq!(next(&mut w, 20_000, Urgency::Now), None, "the partial block is in flight");
        w.complete(0);
        assert_eq!(w.written(), 8192);
        w.complete(1);
        assert_eq!(w.written(), 10_000);
        assert_eq!(next(&mut w, 10_000, Urgency::Now), None, "nothing new");
        assert_eq!(next(&mut w, 20_000, Urgency::Now), Some((8192, 8192, false)));
    }

    #[test]
    fn written_waits_for_the_hole_to_fill() {
        let mut w = writes(0);
        next(&mut w, 4096, Urgency::Now);
        next(&mut w, 8192, Urgency::Now);
        w.complete(1);
        assert_eq!(w.written(), 0);
        w.complete(0);
        assert_eq!(w.written(), 8192);
    }

    #[test]
    fn a_write_ends_at_the_segment_and_at_the_ring() {
        let mut w = writes(30 * BLOCK);
        assert_eq!(next(&mut w, 40 * BLOCK, Urgency::Now), Some((30 * BLOCK, 2 * BLOCK, false)));
        assert_eq!(next(&mut w, 40 * BLOCK, Urgency::Now), Some((32 * BLOCK, 8 * BLOCK, false)));
        let mut w = writes(63 * BLOCK);
        assert_eq!(next(&mut w, 70 * BLOCK, Urgency::Now), Some((63 * BLOCK, BLOCK, false)));
    }

    #[test]
    fn batches_wait_until_they_are_worth_it() {
        let mut w = writes(100);
        assert_eq!(next(&mut w, 5 * BLOCK, Urgency::Batch(8 * BLOCK)), None);
        assert_eq!(next(&mut w, 9 * BLOCK, Urgency::Batch(8 * BLOCK)), Some((0, 9 * BLOCK, false)));
    }

    #[test]
    fn no_more_than_four_in_flight() {
        let mut w = writes(0);
        for i in 1..=4 {
            assert!(next(&mut w, i * BLOCK, Urgency::Now).is_some());
        }
        assert_eq!(next(&mut w, 5 * BLOCK, Urgency::Now), None);
        w.complete(0);
        assert!(next(&mut w, 5 * BLOCK, Urgency::Now).is_some());
    }
}
