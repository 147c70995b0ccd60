//! The queues of a shard: found by topic and number, named by a dense `QueueNo` afterwards.

use crate::consume_queue::ConsumeQueue;
use hashbrown::HashMap;
use std::sync::Arc;
use wire::ids::{PhyOffset, QueueId, StreamId};

/// Index of a queue on its shard. Stable until the process ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct QueueNo(pub u32);

#[derive(Default)]
struct TopicQueues {
    by_id: Vec<Option<QueueNo>>,
}

/// All queues of a shard.
#[derive(Default)]
pub struct Queues {
    topics: HashMap<Arc<[u8]>, TopicQueues, foldhash::fast::RandomState>,
    list: Vec<ConsumeQueue>,
    keeps_times: bool,
}

/// A queue at an orderly stop: all of its entries are in its files.
#[derive(Clone, Debug)]
pub struct StoppedQueue {
    /// Its topic.
    pub topic: Arc<[u8]>,
    /// Its number.
    pub id: QueueId,
    /// First offset that can be read.
    pub min: i64,
    /// Offset of the next message.
    pub next: i64,
    /// Where the record of `min` lies, when known.
    pub place: Option<PhyOffset>,
}

/// Queues of a shard at an orderly stop.
#[derive(Clone, Debug, Default)]
pub struct StoppedQueues {
    /// Streams of the shard, and where their logs begin.
    pub starts: Vec<(StreamId, u64)>,
    /// Queues with messages, or that had some.
    pub queues: Vec<StoppedQueue>,
}

/// Queue numbers of a topic are below this, whatever a client asks for.
pub const QUEUE_ID_MAX: i32 = 65_535;

/// Where half messages of transactions wait.
pub const HALF_TOPIC: &[u8] = b"RMQ_SYS_TRANS_HALF_TOPIC";
/// Which half messages have ended. It lies in the streams of the former, so that their order in the log tells which came first.
pub const OPERATION_TOPIC: &[u8] = b"RMQ_SYS_TRANS_OP_HALF_TOPIC";

/// The stream that new messages of a queue go to, in a store with `streams` of them. Part of the store's layout.
pub fn stream_of(topic: &[u8], id: QueueId, streams: u16) -> StreamId {
    let topic = if topic == OPERATION_TOPIC { HALF_TOPIC } else { topic };
    let start = u64::from(crc32fast::hash(topic));
    let number = start + u64::try_from(id.0).unwrap_or(0);
    let stream = number % u64::from(streams.max(1));
    StreamId(u16::try_from(stream).expect("less than the number of streams"))
}

/// What `Checkpoint::queues` says of these queues, as far as they are in their files.
pub fn digest<'q>(queues: impl Iterator<Item = &'q ConsumeQueue>) -> u64 {
    queues.map(|queue| queue.digest_at(queue.persisted())).fold(0, u64::wrapping_add)
}

impl Queues {
    /// The queue, if it has (or had) messages.
    pub fn find(&self, topic: &[u8], id: QueueId) -> Option<QueueNo> {
        let at = usize::try_from(id.0).ok()?;
        *self.topics.get(topic)?.by_id.get(at)?
    }

    /// The queue, made empty if it is new. `id` is within `0..=QUEUE_ID_MAX`.
    pub fn find_or_create(&mut self, topic: &[u8], id: QueueId, stream: StreamId) -> QueueNo {
        match self.find(topic, id) {
            Some(no) => no,
            None => self.insert(ConsumeQueue::new(Arc::from(topic), id, stream, 0, 0)),
        }
    }

    /// Queues that are added from now on keep the store times that their files want to know.
    pub fn keep_times(&mut self) {
        self.keeps_times = true;
    }

    /// Adds a queue that is not there yet.
    pub fn insert(&mut self, mut queue: ConsumeQueue) -> QueueNo {
        if self.keeps_times {
            queue.keep_times();
        }
        assert!((0..=QUEUE_ID_MAX).contains(&queue.id.0), "queue number {}", queue.id.0);
        let at = usize::try_from(queue.id.0).expect("checked above");
        let no = QueueNo(u32::try_from(self.list.len()).expect("fewer than 2^32 queues"));
        let topic = self.topics.entry(Arc::clone(&queue.topic)).or_default();
        if topic.by_id.len() <= at {
            topic.by_id.resize(at + 1, None);
        }
        assert!(topic.by_id[at].is_none(), "a queue is inserted once");
        topic.by_id[at] = Some(no);
        self.list.push(queue);
        no
    }

    /// Forgets one queue; its number stays used, its memory goes.
    pub fn remove(&mut self, no: QueueNo) {
        let queue = self.get_mut(no);
        let (topic, id) = (Arc::clone(&queue.topic), queue.id);
        *queue = ConsumeQueue::new(Arc::clone(&topic), id, queue.stream, 0, 0);
        let of_topic = self.topics.get_mut(&topic).map(|queues| &mut queues.by_id);
        let at = usize::try_from(id.0).ok();
        let slot = of_topic.zip(at).and_then(|(by_id, at)| by_id.get_mut(at));
        if let Some(slot) = slot.filter(|slot| **slot == Some(no)) {
            *slot = None;
        }
    }

    /// The queues of a topic.
    pub fn of_topic(&self, topic: &[u8]) -> Vec<QueueNo> {
        let queues = self.topics.get(topic).map(|queues| queues.by_id.iter().flatten());
        queues.into_iter().flatten().copied().collect()
    }

    /// Forgets a deleted topic's queues; their numbers stay used, their memory goes.
    pub fn remove_topic(&mut self, topic: &[u8]) {
        let Some(queues) = self.topics.remove(topic) else { return };
        for no in queues.by_id.into_iter().flatten() {
            let queue = self.get_mut(no);
            *queue = ConsumeQueue::new(Arc::clone(&queue.topic), queue.id, queue.stream, 0, 0);
        }
    }

    /// A queue by number.
    pub fn get(&self, no: QueueNo) -> &ConsumeQueue {
        self.list.get(no.0 as usize).expect("a queue number names a queue")
    }

    /// A queue by number.
    pub fn get_mut(&mut self, no: QueueNo) -> &mut ConsumeQueue {
        self.list.get_mut(no.0 as usize).expect("a queue number names a queue")
    }

    /// Every queue.
    pub fn iter(&self) -> impl Iterator<Item = (QueueNo, &ConsumeQueue)> {
        (0u32..).map(QueueNo).zip(self.list.iter())
    }

    /// What `Checkpoint::queues` says of a stream's queues.
    pub fn digest(&self, stream: StreamId) -> u64 {
        digest(self.list.iter().filter(|queue| queue.stream == stream))
    }

    /// Number of queues.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is no queue.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
