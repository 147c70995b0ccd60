//! The index of a queue: entries in, entries out, and their way to the files.

use crate::harness::{Case, Operations, counted};
use std::hint::black_box;
use std::sync::Arc;
use store::consume_queue::ConsumeQueue;
use store::layout::consume_queue::CqEntry;
use store::read::{Look, ReadLimits, classify, select};
use wire::{PhyOffset, QueueId, StreamId};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        counted("queue/dispatch", dispatch),
        counted("queue/read-range-of-32", || read_range(None)),
        counted("queue/read-range-one-tag-in-8", || read_range(Some(3))),
    ]
}

fn queue() -> ConsumeQueue {
    ConsumeQueue::new(Arc::from(&b"BenchTopic"[..]), QueueId(0), StreamId(0), 0, 0)
}

fn entry(at: i64) -> CqEntry {
    let phy = PhyOffset::new(StreamId(0), at.unsigned_abs() * 1100);
    CqEntry { phy, size: 1100, tags_code: at % 8 }
}

/// An entry is added, shown, and encoded for the file 1,024 at a time.
fn dispatch() -> Operations {
    let mut queue = queue();
    let mut bytes = Vec::new();
    Box::new(move |count| {
        for _ in 0..count {
            queue.push(black_box(entry(queue.next())));
            queue.show(queue.next());
            if queue.next() % 1024 == 0 {
                bytes.clear();
                let (first, count) = queue.encode_unpersisted(u64::MAX, 1 << 20, &mut bytes);
                queue.set_persisted(first + count);
                black_box(&bytes);
            }
        }
    })
}

fn read_range(tag: Option<i64>) -> Operations {
    let mut queue = queue();
    for at in 0..4096 {
        queue.push(entry(at));
    }
    queue.show(queue.next());
    let (mut pieces, mut offset) = (Vec::new(), 0);
    let limits = ReadLimits { count_max: 32, bytes_max: 256 << 10 };
    Box::new(move |count| {
        for _ in 0..count {
            classify(&queue, offset).unwrap();
            let entries = queue.visible_from(offset);
            let look =
                |entry: &CqEntry| Look::take_if(tag.is_none_or(|tag| tag == entry.tags_code));
            let selection = select(entries, offset, |_| limits, look, &mut pieces);
            black_box(&pieces);
            offset = if selection.next + 256 < queue.next() { selection.next } else { 0 };
        }
    })
}
