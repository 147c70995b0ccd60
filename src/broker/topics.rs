//! The topics as every shard sees them: a snapshot that the metadata shard replaces by mail.

use crate::refusal::Refusal;
use buf::prefetch::prefetch;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::sync::Arc;
use store::queues::QueueNo;
use wire::body::register::TopicConfig;
use wire::codes::response;
use wire::ids::QueueId;

/// Permission bit: consumers may read.
pub const PERM_READ: i32 = 4;
/// Permission bit: producers may write.
pub const PERM_WRITE: i32 = 2;
/// Permission bit: topics made on first use inherit from this one.
pub const PERM_INHERIT: i32 = 1;

/// Attribute with the form of a topic's queues (5.x), and the only form that is here.
const QUEUE_TYPE: &str = "queue.type";
const SIMPLE_QUEUES: &str = "SimpleCQ";

/// A topic on this shard.
#[repr(align(64))]
pub struct Topic {
    name: Box<[u8]>,
    /// Its configuration.
    pub config: Arc<TopicConfig>,
    /// Queue numbers are below, for producers or consumers, whichever have more; here so that a send need not look elsewhere.
    queue_nums: i32,
    /// Its queues have Java's other form; here for the same reason.
    has_other_queues: bool,
    /// Queues of this shard that were looked up before, by number.
    queues: Vec<Option<QueueNo>>,
}

impl Topic {
    /// The queue's number in the store, if it was noted.
    pub fn queue(&self, id: QueueId) -> Option<QueueNo> {
        let at = usize::try_from(id.0).ok()?;
        self.queues.get(at).copied().flatten()
    }

    /// Asks for the memory that finding the topic and `queue` read.
    pub(crate) fn prefetch(&self, id: QueueId) {
        if let Some(name) = self.name.first() {
            prefetch(name);
        }
        if let Some(queue) = usize::try_from(id.0).ok().and_then(|at| self.queues.get(at)) {
            prefetch(queue);
        }
    }

    /// Notes a queue's number.
    pub fn note_queue(&mut self, id: QueueId, no: QueueNo) {
        let Ok(at) = usize::try_from(id.0) else { return };
        if self.queues.len() <= at {
            self.queues.resize(at + 1, None);
        }
        self.queues[at] = Some(no);
    }

    /// The queue is no more in the store: when there is one again, it has another number.
    pub fn forget_queue(&mut self, id: QueueId) {
        let slot = usize::try_from(id.0).ok().and_then(|at| self.queues.get_mut(at));
        if let Some(slot) = slot {
            *slot = None;
        }
    }

    /// Refuses a topic whose queues have Java's other form: a queue file of ours beside them would keep Java from starting.
    pub(crate) fn check_queue_type(&self) -> Result<(), Refusal> {
        if !self.has_other_queues {
            return Ok(());
        }
        let name = &self.config.topic_name;
        let form = queue_type(&self.config).unwrap_or_default();
        let remark = format!(
            "the topic[{name}] has the attribute {QUEUE_TYPE}={form}: this broker reads and writes queues of the type \
             {SIMPLE_QUEUES} only"
        );
        Err(Refusal::new(response::NO_PERMISSION, remark))
    }

    /// Whether a queue number exists for producers (or consumers, whichever has more).
    pub fn has_queue(&self, id: QueueId) -> bool {
        (0..self.queue_nums).contains(&id.0)
    }
}

/// One line of the cache: what is asked for ahead is all of it.
const _: () = assert!(size_of::<Option<Topic>>() == 64);

fn queue_type(config: &TopicConfig) -> Option<&str> {
    config.attributes.as_ref()?.get(QUEUE_TYPE).map(String::as_str)
}

/// Where a topic lies in the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicSlot(u32);

/// Topics by name.
#[derive(Default)]
pub struct TopicTable {
    hasher: foldhash::fast::RandomState,
    places: HashTable<TopicSlot>,
    slots: Vec<Option<Topic>>,
    free: Vec<TopicSlot>,
}

impl TopicTable {
    fn place(&self, name: &[u8]) -> Option<TopicSlot> {
        let is_it = |slot: &TopicSlot| self.slot(*slot).is_some_and(|topic| *topic.name == *name);
        self.places.find(self.hasher.hash_one(name), is_it).copied()
    }

    /// Where a topic of this name most probably lies, if anywhere: the names are not compared, as that would read memory.
    pub(crate) fn guess(&self, name: &[u8]) -> Option<TopicSlot> {
        let guess = self.places.find(self.hasher.hash_one(name), |_| true).copied()?;
        prefetch(self.slots.get(guess.0 as usize)?);
        Some(guess)
    }

    /// What lies there.
    pub(crate) fn slot(&self, slot: TopicSlot) -> Option<&Topic> {
        self.slots.get(slot.0 as usize)?.as_ref()
    }

    /// A topic.
    pub fn get(&self, name: &[u8]) -> Option<&Topic> {
        self.slot(self.place(name)?)
    }

    /// A topic.
    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut Topic> {
        let slot = self.place(name)?;
        self.slots.get_mut(slot.0 as usize)?.as_mut()
    }

    /// Replaces a topic's configuration.
    pub fn set(&mut self, config: Arc<TopicConfig>) {
        let queue_nums = config.write_queue_nums.max(config.read_queue_nums);
        let has_other_queues = queue_type(&config).is_some_and(|form| form != SIMPLE_QUEUES);
        if let Some(topic) = self.get_mut(config.topic_name.as_bytes()) {
            (topic.config, topic.queue_nums) = (config, queue_nums);
            topic.has_other_queues = has_other_queues;
            return;
        }
        let name: Box<[u8]> = config.topic_name.as_bytes().into();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            TopicSlot(u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 topics"))
        });
        let hash = self.hasher.hash_one(&*name);
        let topic = Topic { name, config, queue_nums, has_other_queues, queues: Vec::new() };
        self.slots[slot.0 as usize] = Some(topic);
        let TopicTable { hasher, places, slots, .. } = self;
        let name_of = |slot: &TopicSlot| slots[slot.0 as usize].as_ref().map(|topic| &*topic.name);
        places.insert_unique(hash, slot, |slot| {
            hasher.hash_one(name_of(slot).expect("a place names a topic"))
        });
    }

    /// Forgets a topic.
    pub fn remove(&mut self, name: &[u8]) {
        let hash = self.hasher.hash_one(name);
        let slots = &mut self.slots;
        let is_it = |slot: &TopicSlot| {
            slots[slot.0 as usize].as_ref().is_some_and(|topic| *topic.name == *name)
        };
        if let Ok(found) = self.places.find_entry(hash, is_it) {
            let (slot, _) = found.remove();
            self.slots[slot.0 as usize] = None;
            self.free.push(slot);
        }
    }

    /// Number of topics.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Every topic.
    pub fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.slots.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, queues: i32) -> Arc<TopicConfig> {
        let mut config = TopicConfig { topic_name: name.to_owned(), ..TopicConfig::default() };
        (config.write_queue_nums, config.read_queue_nums) = (queues, 1);
        Arc::new(config)
    }

    #[test]
    fn topics_come_change_and_go() {
        let mut table = TopicTable::default();
        (0..100).for_each(|n| table.set(config(&format!("T{n}"), 4)));
        table.get_mut(b"T7").unwrap().note_queue(QueueId(2), QueueNo(99));
        table.get_mut(b"T7").unwrap().note_queue(QueueId(3), QueueNo(98));
        [3, 4, -1].into_iter().for_each(|id| {
            table.get_mut(b"T7").unwrap().forget_queue(QueueId(id));
        });
        table.set(config("T7", 8));
        let topic = table.get(b"T7").unwrap();
        assert_eq!(topic.queue(QueueId(2)), Some(QueueNo(99)), "the queues stay");
        assert_eq!(topic.queue(QueueId(3)), None);
        assert!(topic.has_queue(QueueId(7)) && !topic.has_queue(QueueId(8)));
        (0..50).for_each(|n| table.remove(format!("T{n}").as_bytes()));
        assert!(table.get(b"T7").is_none() && table.get(b"T50").is_some());
        table.set(config("T7", 4));
        assert_eq!(table.get(b"T7").unwrap().queue(QueueId(2)), None, "it is a new one");
        assert_eq!((table.len(), table.iter().count(), table.slots.len()), (51, 51, 100));
        let guess = table.guess(b"T60").and_then(|slot| table.slot(slot));
        assert!(guess.is_some());
    }
}
