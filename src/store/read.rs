//! What a pull gets: statuses and limits of Java's `getMessage` (store.md 8.1), over entries from memory or files.

use crate::consume_queue::ConsumeQueue;
use crate::layout::consume_queue::CqEntry;
use wire::ids::PhyOffset;

/// Java's GetMessageStatus, as far as the log alone decides it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadStatus {
    /// Messages follow.
    Found,
    /// Entries were looked at, none passed the filter.
    NoMatchedMessage,
    /// The records are gone (retention), or cannot be read.
    MessageWasRemoving,
    /// The index has no entry there.
    OffsetFoundNull,
    /// Beyond the next offset.
    OffsetOverflowBadly,
    /// Exactly the next offset: nothing new.
    OffsetOverflowOne,
    /// Below the first offset.
    OffsetTooSmall,
    /// No such queue.
    NoMatchedLogicQueue,
    /// The queue is empty.
    NoMessageInQueue,
    /// An operator wants the group to go on elsewhere.
    OffsetReset,
}

impl ReadStatus {
    /// Java's name, which is the remark of a pull reply.
    pub fn name(self) -> &'static str {
        match self {
            ReadStatus::Found => "FOUND",
            ReadStatus::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            ReadStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            ReadStatus::OffsetFoundNull => "OFFSET_FOUND_NULL",
            ReadStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            ReadStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            ReadStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
            ReadStatus::NoMatchedLogicQueue => "NO_MATCHED_LOGIC_QUEUE",
            ReadStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
            ReadStatus::OffsetReset => "OFFSET_RESET",
        }
    }
}

/// Entries looked at in one pull at most (Java's `maxFilterMessageSize` / 20).
pub const SCAN_ENTRIES_MAX: usize = 800;

/// How much one pull returns at most. The first message always goes, whatever its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadLimits {
    /// Messages.
    pub count_max: usize,
    /// Bytes of messages.
    pub bytes_max: usize,
}

/// A record to return.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Where it lies.
    pub phy: PhyOffset,
    /// Its bytes.
    pub size: u32,
}

/// What becomes of an entry that a pull looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// Its message is chosen.
    Take,
    /// Its message is not wanted.
    Skip,
    /// That is not known yet: it and what follows is left for another time.
    Later,
}

impl Look {
    /// `Take` or `Skip`.
    pub fn take_if(wanted: bool) -> Look {
        if wanted { Look::Take } else { Look::Skip }
    }
}

/// Outcome of looking at entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Selection {
    /// Status, and with it whether pieces were chosen.
    pub status: ReadStatus,
    /// Offset to ask for next.
    pub next: i64,
    /// Where the record of the last entry that was looked at lies; `None` when none was.
    pub last: Option<PhyOffset>,
}

impl Selection {
    /// Nothing was looked at.
    pub fn outside(status: ReadStatus, next: i64) -> Selection {
        Selection { status, next, last: None }
    }
}

/// What an offset means for a queue: `Err` is the answer, `Ok` says there are entries from there on.
pub fn classify(queue: &ConsumeQueue, offset: i64) -> Result<(), Selection> {
    let (min, max) = (queue.min(), queue.visible());
    let answer = |status, next| Err(Selection::outside(status, next));
    if max == 0 {
        answer(ReadStatus::NoMessageInQueue, 0)
    } else if offset < min {
        answer(ReadStatus::OffsetTooSmall, min)
    } else if offset == max {
        answer(ReadStatus::OffsetOverflowOne, offset)
    } else if offset > max {
        answer(ReadStatus::OffsetOverflowBadly, max)
    } else {
        Ok(())
    }
}

/// Chooses the pieces of a pull from consecutive `entries` that start at `offset`.
///
/// Stops at the `limits` for the entry that would be next, where `look` says so, and after `SCAN_ENTRIES_MAX` entries. `pieces` is
/// cleared first.
pub fn select(
    entries: impl Iterator<Item = CqEntry>,
    offset: i64,
    limits: impl Fn(&CqEntry) -> ReadLimits,
    mut look: impl FnMut(&CqEntry) -> Look,
    pieces: &mut Vec<Piece>,
) -> Selection {
    pieces.clear();
    let mut next = offset;
    let mut last = None;
    let mut bytes = 0usize;
    for entry in entries.take(SCAN_ENTRIES_MAX) {
        let size = entry.size as usize;
        if !pieces.is_empty() {
            let limits = limits(&entry);
            if pieces.len() >= limits.count_max || bytes.saturating_add(size) > limits.bytes_max {
                break;
            }
        }
        if entry.is_filler() {
            next += 1;
            continue;
        }
        let found = look(&entry);
        if found == Look::Later {
            break;
        }
        next += 1;
        last = Some(entry.phy);
        if found == Look::Take {
            bytes += size;
            pieces.push(Piece { phy: entry.phy, size: entry.size });
        }
    }
    let status = match (pieces.is_empty(), next == offset) {
        (false, _) => ReadStatus::Found,
        (true, false) => ReadStatus::NoMatchedMessage,
        (true, true) => ReadStatus::OffsetFoundNull,
    };
    Selection { status, next, last }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use wire::ids::{QueueId, StreamId};

    fn entries(sizes: &[u32]) -> Vec<CqEntry> {
        let entry = |(i, size): (usize, &u32)| CqEntry {
            phy: PhyOffset(i as u64 * 1000),
            size: *size,
            tags_code: i64::try_from(i).unwrap(),
        };
        sizes.iter().enumerate().map(entry).collect()
    }

    fn all(_: &CqEntry) -> Look {
        Look::Take
    }

    const LIMITS: ReadLimits = ReadLimits { count_max: 3, bytes_max: 100 };

    #[test]
    fn limits_stop_but_the_first_message_always_goes() {
        let mut pieces = Vec::new();
        let big = entries(&[500, 1]);
        let got = select(big.into_iter(), 7, |_| LIMITS, all, &mut pieces);
        assert_eq!((got.status, got.next, pieces.len()), (ReadStatus::Found, 8, 1));
        let many = entries(&[10; 10]);
        let got = select(many.into_iter(), 0, |_| LIMITS, all, &mut pieces);
        assert_eq!((got.next, pieces.len()), (3, 3));
        assert_eq!(got.last, Some(PhyOffset(2000)), "what was not taken was not looked at");
    }

    #[test]
    fn the_limits_are_those_of_the_message_that_would_be_next() {
        let few = ReadLimits { count_max: 2, bytes_max: 30 };
        let limits = |entry: &CqEntry| if entry.phy.0 < 3000 { few } else { LIMITS };
        let mut pieces = Vec::new();
        let mut count = |from: usize| {
            let rest = entries(&[10; 9]).into_iter().skip(from);
            select(rest, 0, limits, all, &mut pieces);
            pieces.len()
        };
        assert_eq!((count(0), count(1), count(2), count(5)), (2, 3, 3, 3));
    }

    #[test]
    fn filtered_entries_move_the_next_offset() {
        let mut pieces = Vec::new();
        let one = |code: i64| move |entry: &CqEntry| Look::take_if(entry.tags_code == code);
        let got = select(entries(&[10; 5]).into_iter(), 0, |_| LIMITS, one(9), &mut pieces);
        assert_eq!((got.status, got.next), (ReadStatus::NoMatchedMessage, 5));
        let got = select(entries(&[10; 5]).into_iter(), 0, |_| LIMITS, one(4), &mut pieces);
        assert_eq!((got.status, got.next, pieces.len()), (ReadStatus::Found, 5, 1));
    }

    #[test]
    fn what_cannot_be_decided_is_left_for_the_next_pull() {
        let mut pieces = Vec::new();
        let look = |entry: &CqEntry| match entry.tags_code {
            0 | 1 => Look::Skip,
            2 => Look::Take,
            _ => Look::Later,
        };
        let mut found = |from: usize| {
            let rest = entries(&[10; 5]).into_iter().skip(from);
            let got = select(rest, 7, |_| LIMITS, look, &mut pieces);
            (got.status, got.next, pieces.len())
        };
        assert_eq!(found(0), (ReadStatus::Found, 10, 1));
        assert_eq!(found(3), (ReadStatus::OffsetFoundNull, 7, 0));
    }

    #[test]
    fn offsets_outside_the_queue_have_javas_statuses() {
        let topic: Arc<[u8]> = Arc::from(&b"T"[..]);
        let status = |min, next, offset| {
            let queue = ConsumeQueue::new(Arc::clone(&topic), QueueId(0), StreamId(0), min, next);
            classify(&queue, offset).map_err(|s| (s.status, s.next))
        };
        assert_eq!(status(0, 0, 5), Err((ReadStatus::NoMessageInQueue, 0)));
        assert_eq!(status(3, 9, 1), Err((ReadStatus::OffsetTooSmall, 3)));
        assert_eq!(status(3, 9, 9), Err((ReadStatus::OffsetOverflowOne, 9)));
        assert_eq!(status(3, 9, 12), Err((ReadStatus::OffsetOverflowBadly, 9)));
        assert_eq!(status(3, 9, 3), Ok(()));
    }
}
