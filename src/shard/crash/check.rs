//! What a store must hold after a start, compared with what was sent.

use super::disk::State;
use super::life::{Owed, Sabotage, Setup};
use super::machine::{History, Sent};
use crate::queue_files::read_entries;
use crate::store_dir::OpenStore;
use std::collections::HashMap;
use store::consume_queue::ConsumeQueue;
use store::layout::consume_queue::{CqEntry, ENTRY_BYTES};
use store::layout::consume_queue_ext::is_address;
use store::queues::stream_of;
use wire::ids::{PhyOffset, QueueId, StreamId};
use wire::message::{MessageView, Probe, probe};

/// Compares an opened store with what was sent; returns where the logs end.
pub(crate) fn check(
    setup: &Setup,
    open: &OpenStore,
    state: &State,
    history: &History,
    owed: &Owed,
) -> Result<Vec<u64>, String> {
    let mut wanted: HashMap<(&[u8], i32), Vec<Sent>> = HashMap::new();
    let mut ends = Vec::new();
    for s in 0..setup.streams {
        let at = usize::from(s);
        let shard = &open.shards[at % setup.shards];
        let end = shard.store.stream(StreamId(s)).appended();
        let kept = history[at].partition_point(|sent| sent.end <= end);
        let last = kept.checked_sub(1).map_or(0, |last| history[at][last].end);
        // A frontier may lie inside a message.
        let least = history[at].partition_point(|sent| sent.end <= owed.least[at]);
        let least = least.checked_sub(1).map_or(0, |last| history[at][last].end);
        if end < least {
            return Err(format!("stream {s} ends at {end}, {least} is owed"));
        }
        if end > owed.most[at].next_multiple_of(setup.segment_bytes)
            || end != last && end != last.next_multiple_of(setup.segment_bytes)
        {
            return Err(format!("stream {s} ends at {end}: {last} is the end of a message"));
        }
        // Records that come back must be found without this, too.
        if setup.sabotage != Some(Sabotage::NoZeroing) {
            check_zeros(setup, open, state, s, end)?;
        }
        let start = shard.store.stream(StreamId(s)).start();
        if start > owed.deleted[at] {
            return Err(format!("stream {s} begins at {start}, not at {}", owed.deleted[at]));
        }
        for sent in &history[at][..kept] {
            let list = wanted.entry((sent.topic(), sent.queue.0)).or_default();
            if list.last().is_some_and(|last| last.generation < sent.generation) {
                list.clear();
            }
            list.push(*sent);
        }
        ends.push(end);
    }
    // A topic whose deletion was asked for, and which has no message since, is there, or in part, or not.
    let mut gone = wanted.clone();
    gone.retain(|(topic, id), list| is_gone(setup, list, (topic, *id), owed));
    wanted.retain(|(topic, _), list| !is_doubtful(list, topic, owed));
    for shard in &open.shards {
        for (_, queue) in shard.store.queues().iter() {
            let sent = wanted.remove(&(&*queue.topic, queue.id.0));
            if queue.next() > 0 && gone.contains_key(&(&*queue.topic, queue.id.0)) {
                let topic = queue.topic.escape_ascii();
                return Err(format!("the deleted queue {topic}/{} is back", queue.id.0));
            }
            if sent.is_none() && owed.generations.asked(&queue.topic) > 0 {
                continue;
            }
            let sent = sent.unwrap_or_default();
            let name = || format!("{}/{}", String::from_utf8_lossy(&queue.topic), queue.id.0);
            let range = (queue.min(), queue.visible(), queue.next());
            let start = shard.store.stream(queue.stream).start();
            let first = sent.partition_point(|sent| sent.start < start);
            let count = i64::try_from(sent.len()).expect("few");
            if range != (i64::try_from(first).expect("few"), count, count) {
                return Err(format!("queue {}: {range:?} where {first} to {count} are", name()));
            }
            check_files(open, queue, &sent).map_err(|e| format!("queue {}: {e}", name()))?;
            for sent in &sent[first..] {
                check_message(setup, open, state, queue, sent)
                    .map_err(|e| format!("queue {}: {e}; sent was {sent:?}", name()))?;
            }
        }
    }
    match wanted.keys().next() {
        Some((topic, id)) => {
            Err(format!("queue {}/{id} is missing", String::from_utf8_lossy(topic)))
        }
        None => Ok(ends),
    }
}

fn is_doubtful(sent: &[Sent], topic: &[u8], owed: &Owed) -> bool {
    sent.last().is_some_and(|last| last.generation < owed.generations.asked(topic))
}

/// Whether the newest messages of a queue went with a deletion that had been noted.
fn is_gone(setup: &Setup, sent: &[Sent], (topic, id): (&[u8], i32), owed: &Owed) -> bool {
    let gone = owed.generations.gone(topic, stream_of(topic, QueueId(id), setup.streams));
    sent.last().is_some_and(|last| last.generation < gone)
}

/// Behind the end there is nothing that a later start could take for a record.
fn check_zeros(
    setup: &Setup,
    open: &OpenStore,
    state: &State,
    stream: u16,
    end: u64,
) -> Result<(), String> {
    let mut at = end;
    while let Some(bytes) = state.content(&setup.log_path(open, stream, at)) {
        let from = usize::try_from(at % setup.segment_bytes).expect("small");
        if let Some(found) = bytes[from..].iter().position(|b| *b != 0) {
            let place = at + found as u64;
            return Err(format!("stream {stream} ends at {end}, at {place} there is something"));
        }
        at += setup.segment_bytes - from as u64;
    }
    Ok(())
}

/// The queue's files hold what they are said to hold.
fn check_files(open: &OpenStore, queue: &ConsumeQueue, sent: &[Sent]) -> Result<(), String> {
    let mut offset = queue.min();
    while offset < queue.persisted() {
        let bytes = read_entries(&open.paths, (&queue.topic, queue.id), offset, 1000, None)
            .map_err(|e| e.to_string())?;
        if bytes.is_empty() {
            return Err(format!("its files end at {offset}, not at {}", queue.persisted()));
        }
        for entry in bytes.chunks(ENTRY_BYTES) {
            if offset >= queue.persisted() {
                break;
            }
            let wanted = &sent[usize::try_from(offset).expect("from 0")];
            let entry = CqEntry::decode(entry);
            let is_other = |e: CqEntry| e.is_filler() || e.end() != wanted.end;
            if entry.is_none_or(|e| is_other(e) || is_address(e.tags_code)) {
                return Err(format!("entry {offset} of its files is {entry:?} for {wanted:?}"));
            }
            offset += 1;
        }
    }
    Ok(())
}

fn check_message(
    setup: &Setup,
    open: &OpenStore,
    state: &State,
    queue: &ConsumeQueue,
    sent: &Sent,
) -> Result<(), String> {
    let bytes;
    let entry = match queue.entry(sent.offset) {
        Some(entry) => Some(entry),
        None => {
            bytes = read_entries(&open.paths, (&queue.topic, queue.id), sent.offset, 1, None)
                .map_err(|e| e.to_string())?;
            CqEntry::decode(&bytes)
        }
    };
    let entry = entry.ok_or("no entry")?;
    let position = entry.phy.position();
    if position + u64::from(entry.size) != sent.end || entry.phy.stream() != queue.stream {
        return Err(format!("its entry is {entry:?}"));
    }
    let path = setup.log_path(open, queue.stream.0, position);
    let file = state.content(&path).ok_or("its segment is missing")?;
    let from = usize::try_from(position % setup.segment_bytes).expect("small");
    let record = file.get(from..from + entry.size as usize).ok_or("the segment is short")?;
    let Probe::Message { .. } = probe(record, PhyOffset::new(queue.stream, position)) else {
        return Err("no valid record".to_string());
    };
    let (view, _) = MessageView::parse(record).map_err(|e| e.to_string())?;
    let tags = wire::java_hash::tags_code(view.properties());
    let same = view.topic() == sent.topic()
        && view.queue_id() == sent.queue
        && view.queue_offset().0 == sent.offset
        && view.body() == sent.body()
        && view.properties() == sent.properties()
        && view.born_timestamp() == 1
        && entry.tags_code == tags;
    if same {
        return Ok(());
    }
    let (topic, properties) = (view.topic().escape_ascii(), view.properties().escape_ascii());
    Err(format!(
        "at {position} there is topic {topic}, offset {}, {} body bytes, properties {properties}",
        view.queue_offset().0,
        view.body().len()
    ))
}
