//! A look at the sends that wait in a receive buffer: with tens of thousands of queues, what a message touches (its topic, its
//! queue, the end of the queue's entries) is in no cache, and one leads to the next. Here each step asks for the memory of
//! many sends at once, which then comes at the same time; one after the other, each send would wait for each of its own.

use crate::app::{Broker, Host};
use crate::topics::{TopicSlot, TopicTable};
use shard::Cx;
use store::Store;
use store::queues::QueueNo;
use wire::frame;
use wire::ids::QueueId;
use wire::req::send_scan;

/// Fewer queues stay in the cache, and looking ahead costs more than it brings.
const QUEUES_MIN: usize = 4096;
/// Most sends looked at: more would drive the first ones out of the cache again.
const SENDS_MAX: usize = 32;

/// What is known of a send so far.
#[derive(Clone, Copy)]
enum Seen {
    Nothing,
    Topic(TopicSlot, QueueId),
    Queue(QueueNo),
}

/// Asks for the memory of the whole sends at the beginning of `data`. Changes nothing, and answers nobody.
pub(crate) fn look_ahead<H: Host>(broker: &Broker, cx: &mut Cx<'_, H>, data: &[u8]) {
    let store = cx.store();
    if store.queues().len() >= QUEUES_MIN {
        ask(&broker.topics, store, data);
    }
}

/// Returns how many queues were asked for.
fn ask(topics: &TopicTable, store: &Store, mut data: &[u8]) -> usize {
    let mut sends = [Seen::Nothing; SENDS_MAX];
    let mut found = 0;
    for _ in 0..SENDS_MAX {
        let Ok(Some((frame, used))) = frame::split(data) else { break };
        data = data.get(used..).unwrap_or_default();
        let Some((topic, id)) = send_scan::place(&frame) else { break };
        if let Some(slot) = topics.guess(topic) {
            sends[found] = Seen::Topic(slot, id);
            found += 1;
        }
    }
    if found < 2 {
        // It would wait for the same memory here.
        return 0;
    }
    let sends = &mut sends[..found];
    for send in &*sends {
        if let Seen::Topic(slot, id) = send
            && let Some(topic) = topics.slot(*slot)
        {
            topic.prefetch(*id);
        }
    }
    for send in &mut *sends {
        // A queue of another shard, or its first message here, is not known.
        if let Seen::Topic(slot, id) = *send
            && let Some(queue) = topics.slot(slot).and_then(|topic| topic.queue(id))
        {
            store.prefetch(queue);
            *send = Seen::Queue(queue);
        }
    }
    let mut queues = 0;
    for send in &*sends {
        if let Seen::Queue(queue) = send {
            store.prefetch_end(*queue);
            queues += 1;
        }
    }
    queues
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cold::test_store;
    use std::sync::Arc;
    use wire::body::register::TopicConfig;
    use wire::ids::StreamId;

    fn frame(header: &str) -> Vec<u8> {
        let mut bytes = u32::try_from(header.len() + 8).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(&u32::try_from(header.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(b"body");
        bytes
    }

    fn send(topic: &str, queue: &str) -> Vec<u8> {
        frame(&format!(
            r#"{{"code":310,"extFields":{{"a":"P","b":"{topic}","c":"TBW102","d":"4","e":"{queue}"}}}}"#
        ))
    }

    #[test]
    fn whatever_lies_in_a_buffer_only_queues_of_whole_sends_are_asked_for() {
        let mut store = test_store(0);
        let mut topics = TopicTable::default();
        for name in ["A", "B"] {
            topics.set(Arc::new(TopicConfig { topic_name: name.to_owned(), ..Default::default() }));
        }
        for (name, id) in [("A", 0), ("A", 1), ("B", 0)] {
            let no = store.find_or_create(name.as_bytes(), QueueId(id), StreamId(0));
            topics.get_mut(name.as_bytes()).unwrap().note_queue(QueueId(id), no);
        }
        let (a, b) = (send("A", "0"), send("B", "0"));
        let other = frame(r#"{"code":34,"flag":0,"language":"JAVA","opaque":8,"version":407}"#);
        let cut = &b[..b.len() - 1];
        for (parts, queues) in [
            (vec![], 0),
            (vec![&a[..], &b], 2),
            (vec![&a], 0),
            (vec![&a, cut], 0),
            (vec![&a, &b, cut], 2),
            (vec![&a, &send("A", "1"), &send("A", "0")], 3),
            (vec![&a, &other, &b], 0),
            (vec![&a, &b, &other, &a], 2),
            (vec![&other, &a, &b], 0),
            (vec![&a, &send("Unknown", "0"), &b], 2),
            (vec![&send("Unknown", "0"), &send("Unknown", "1")], 0),
            (vec![&a, &send("A", "7"), &send("A", "-1"), &send("B", "2147483647")], 1),
            (vec![&a, &send("B", "x"), &b], 0),
            (vec![&a, &b, b"\0\0\0\x08\0\0\0\0garbage"], 2),
            (vec![&[0xFF; 100], &a, &b], 0),
            (vec![&a[..]; 100], SENDS_MAX),
        ] {
            let before = (store.queues().len(), topics.len());
            assert_eq!(ask(&topics, &store, &parts.concat()), queues, "{parts:?}");
            assert_eq!((store.queues().len(), topics.len()), before);
        }
    }
}
