//! A look at the sends that wait in a receive buffer: with tens of thousands of queues, what a message touches (its topic, its
//! queue, the end of the queue's entries) is in no cache, and one leads to the next. Here each step asks for the memory of
//! many sends at once, which then comes at the same time; one after the other, each send would wait for each of its own.

use crate::app::{Broker, Host};
use crate::topics::TopicSlot;
use shard::Cx;
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
pub(crate) fn look_ahead<H: Host>(broker: &Broker, cx: &mut Cx<'_, H>, mut data: &[u8]) {
    let store = cx.store();
    if store.queues().len() < QUEUES_MIN {
        return;
    }
    let topics = &broker.topics;
    let mut sends = [Seen::Nothing; SENDS_MAX];
    for send in &mut sends {
        let Ok(Some((frame, used))) = frame::split(data) else { break };
        data = data.get(used..).unwrap_or_default();
        let Some((topic, id)) = send_scan::place(&frame) else { break };
        *send = topics.guess(topic).map_or(Seen::Nothing, |slot| Seen::Topic(slot, id));
    }
    for send in &sends {
        if let Seen::Topic(slot, id) = send
            && let Some(topic) = topics.slot(*slot)
        {
            topic.prefetch(*id);
        }
    }
    for send in &mut sends {
        // A queue of another shard, or its first message here, is not known.
        if let Seen::Topic(slot, id) = *send
            && let Some(queue) = topics.slot(slot).and_then(|topic| topic.queue(id))
        {
            store.prefetch(queue);
            *send = Seen::Queue(queue);
        }
    }
    for send in &sends {
        if let Seen::Queue(queue) = send {
            store.prefetch_end(*queue);
        }
    }
}
