//! The topics as every shard sees them: a snapshot that the metadata shard replaces by mail.

use hashbrown::HashMap;
use std::sync::Arc;
use store::queues::QueueNo;
use wire::body::register::TopicConfig;
use wire::ids::QueueId;

/// Permission bit: consumers may read.
pub const PERM_READ: i32 = 4;
/// Permission bit: producers may write.
pub const PERM_WRITE: i32 = 2;
/// Permission bit: topics made on first use inherit from this one.
pub const PERM_INHERIT: i32 = 1;

/// A topic on this shard.
pub struct Topic {
    /// Its configuration.
    pub config: Arc<TopicConfig>,
    /// Queue numbers are below, for producers or consumers, whichever have more; here so that a send need not look elsewhere.
    queue_nums: i32,
    /// Queues of this shard that were looked up before, by number.
    queues: Vec<Option<QueueNo>>,
}

impl Topic {
    /// The queue's number in the store, if it was noted.
    pub fn queue(&self, id: QueueId) -> Option<QueueNo> {
        let at = usize::try_from(id.0).ok()?;
        self.queues.get(at).copied().flatten()
    }

    /// Notes a queue's number.
    pub fn note_queue(&mut self, id: QueueId, no: QueueNo) {
        let Ok(at) = usize::try_from(id.0) else { return };
        if self.queues.len() <= at {
            self.queues.resize(at + 1, None);
        }
        self.queues[at] = Some(no);
    }

    /// Whether a queue number exists for producers (or consumers, whichever has more).
    pub fn has_queue(&self, id: QueueId) -> bool {
        (0..self.queue_nums).contains(&id.0)
    }
}

/// Topics by name.
#[derive(Default)]
pub struct TopicTable {
    by_name: HashMap<Box<[u8]>, Topic, foldhash::fast::RandomState>,
}

impl TopicTable {
    /// A topic.
    pub fn get(&self, name: &[u8]) -> Option<&Topic> {
        self.by_name.get(name)
    }

    /// A topic.
    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    /// Replaces a topic's configuration.
    pub fn set(&mut self, config: Arc<TopicConfig>) {
        let name = config.topic_name.as_bytes();
        let queue_nums = config.write_queue_nums.max(config.read_queue_nums);
        match self.by_name.get_mut(name) {
            Some(topic) => (topic.config, topic.queue_nums) = (config, queue_nums),
            None => {
                let name = name.into();
                self.by_name.insert(name, Topic { config, queue_nums, queues: Vec::new() });
            }
        }
    }

    /// Forgets a topic.
    pub fn remove(&mut self, name: &[u8]) {
        self.by_name.remove(name);
    }

    /// Number of topics.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Every topic.
    pub fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.by_name.values()
    }
}
