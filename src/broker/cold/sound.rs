//! Queue files have no checksums: an entry that was read from one may name anything. Before a stream is asked for what an
//! entry names, or memory is taken for it, `clear` turns what cannot be a record into a filler: a message that is gone.
//!
//! Limit: the log hears of such entries once in a while only.

use base::time::MonoNs;
use store::Store;
use store::layout::consume_queue::CqEntry;
use store::queues::QueueNo;
use store::recovery::RECORD_BYTES_MAX;

/// How often the log hears of such entries at most.
const TOLD_EVERY_MS: u64 = 10_000;

/// When the log heard last.
#[derive(Default)]
pub(super) struct Told(Option<MonoNs>);

/// Makes fillers of those `entries` of a queue, from offset `first` on, that name no place where a record can be.
pub(super) fn clear(
    store: &Store,
    queue: QueueNo,
    first: i64,
    entries: &mut [CqEntry],
    (told, now): (&mut Told, MonoNs),
) {
    for (offset, entry) in (first..).zip(entries) {
        if names_a_place(store, entry) {
            continue;
        }
        let is_time = told.0.is_none_or(|told| told.plus_ms(TOLD_EVERY_MS) <= now);
        if is_time {
            told.0 = Some(now);
            let queue = store.queue(queue);
            tracing::warn!(
                "topic {}, queue {}: the entry of offset {offset} names {} bytes at {} of stream {}, where no message can \
                 be, and is passed over; so are others, perhaps",
                String::from_utf8_lossy(&queue.topic),
                queue.id.0,
                entry.size,
                entry.phy.position(),
                entry.phy.stream().0
            );
        }
        *entry = CqEntry::FILLER;
    }
}

fn names_a_place(store: &Store, entry: &CqEntry) -> bool {
    let (phy, size) = (entry.phy, entry.size);
    if entry.is_filler() {
        return true;
    }
    if size as usize > RECORD_BYTES_MAX || !store.has_stream(phy.stream()) {
        return false;
    }
    let stream = store.stream(phy.stream());
    let segments = stream.segments();
    let is_in_one = entry.end() <= segments.base_of(phy.position()) + segments.segment_bytes();
    // A record that is not in the window is whole on the device.
    is_in_one && (entry.end() <= stream.written() || store.tail(phy, size as usize).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cold::blocks::tests::{SEGMENT, store};
    use wire::ids::{PhyOffset, StreamId};

    #[test]
    fn only_places_where_a_record_can_be_are_sound() {
        const WRITTEN: u64 = 40 * SEGMENT + 1000;
        let store = store(WRITTEN);
        let is_sound = |stream, position, size| {
            let phy = PhyOffset::new(StreamId(stream), position);
            names_a_place(&store, &CqEntry { phy, size, tags_code: 0 })
        };
        assert!(names_a_place(&store, &CqEntry::FILLER));
        assert!(is_sound(0, 0, 100) && is_sound(0, SEGMENT - 100, 100));
        assert!(is_sound(0, WRITTEN - 100, 100));
        assert!(!is_sound(1, 0, 100), "another shard's stream");
        assert!(!is_sound(0, SEGMENT - 100, 101), "across the end of a segment");
        assert!(!is_sound(0, 0, 0x7FFF_FF00), "larger than any record");
        assert!(!is_sound(0, WRITTEN - 100, 101), "neither on the device nor in memory");
        assert!(!is_sound(0, (1 << 48) - 1, 100), "far behind the end");
    }
}
