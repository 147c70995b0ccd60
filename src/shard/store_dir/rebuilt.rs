//! Queues as their files and a scan of the log together say.
//!
//! The files count up to where the scan begins; from there on the records say. A record's offset in its queue has no
//! checksum: one that does not follow the queue's last record counts only when the queue's next record follows it.

use super::StoreError;
use super::stream_dir::{Opening, QueueName};
use crate::queue_files::{FilesExpected, check_files, extent, first_at, queue_dir};
use hashbrown::{Equivalent, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;
use store::consume_queue::ConsumeQueue;
use store::layout::consume_queue::CqEntry;
use store::queues::{QUEUE_ID_MAX, digest};
use wire::ids::{PhyOffset, QueueId};
use wire::message::MessageView;
use wire::sys_flag::{INNER_BATCH, is_consumable};

/// No queue gets so far; a larger offset in a record is damage, and its entry has no place in a file.
const OFFSET_MAX: i64 = i64::MAX / 64;
/// So many messages in a row may be missing from a queue without the word of a second record.
const JUMP_MAX: i64 = 4096;
/// Fillers for messages that are missing from a stream: 320 MiB of queue files.
const FILLERS_MAX: u64 = 16 << 20;

/// Topic and number of a queue.
type Key = (Vec<u8>, i32);

/// As `Key`, borrowed; hashes like it.
#[derive(Clone, Copy, Hash)]
struct KeyRef<'k>(&'k [u8], i32);

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == key.0 && self.1 == key.1
    }
}

impl From<&KeyRef<'_>> for Key {
    fn from(key: &KeyRef<'_>) -> Key {
        (key.0.to_vec(), key.1)
    }
}

/// What a queue needs to know of a record.
struct Seen {
    offset: i64,
    entry: CqEntry,
    /// Store time, ms.
    timestamp: i64,
}

/// See the module.
pub(super) struct Rebuilt<'o> {
    opening: &'o Opening<'o>,
    queues: HashMap<Key, ConsumeQueue>,
    suspects: HashMap<Key, Seen>,
    gaps: u64,
    /// The first queue and offset that found no room among the fillers.
    too_many: Option<(Key, i64)>,
    whole_log: bool,
    /// Java's light queues. Their entries name records of other queues: the scan says nothing of them, and the files alone
    /// count as far as the log reaches.
    light: Vec<QueueName>,
}

/// Whether a queue is of Java's `enableMultiDispatch`.
pub(super) fn is_light(topic: &[u8]) -> bool {
    topic.starts_with(b"%LMQ%")
}

impl<'o> Rebuilt<'o> {
    /// Queues from their files, counting only entries of records before the scan.
    pub(super) fn load(
        opening: &'o Opening<'o>,
        from: u64,
        names: &[&QueueName],
    ) -> Result<Rebuilt<'o>, StoreError> {
        let whole_log = opening.bases.first().is_none_or(|first| from <= *first);
        let rebuilt = |queues, gaps| {
            let light = names.iter().filter(|(topic, _)| is_light(topic));
            let light = light.map(|name| (*name).clone()).collect();
            let suspects = HashMap::new();
            Rebuilt { opening, queues, suspects, gaps, too_many: None, whole_log, light }
        };
        if let Some(known) = opening.known.filter(|known| known.are_of(opening.stream, from)) {
            let queues = known.of_stream(opening.stream);
            let queues = queues.map(|queue| ((queue.topic.to_vec(), queue.id.0), queue));
            return Ok(rebuilt(queues.collect(), 0));
        }
        let mut queues = HashMap::new();
        let mut gaps = opening.damaged_queues.len() as u64;
        let paths = opening.paths;
        let expected = FilesExpected {
            file_bytes: paths.queue_file_bytes,
            from_zero: opening.bases.first().is_none_or(|first| *first == 0),
            clean: opening.clean,
        };
        for (topic, id) in names {
            let dir = queue_dir(&paths.consume_queue, topic, *id);
            let dir = dir.map_err(StoreError::io(&paths.consume_queue, "naming a queue"))?;
            if opening.damaged_queues.is_empty() {
                let is_whole = check_files(opening.disk, &dir, expected)
                    .map_err(StoreError::io(&dir, "reading the queue"))?;
                gaps += u64::from(!is_whole);
            }
            let queue = from_files(opening, &dir, (topic, *id), from)
                .map_err(StoreError::io(&dir, "reading the queue"))?;
            queues.insert((topic.clone(), id.0), queue);
        }
        Ok(rebuilt(queues, gaps))
    }

    /// `Checkpoint::queues` of what is known so far.
    pub(super) fn digest(&self) -> u64 {
        digest(self.queues.values())
    }

    /// The next record of the log.
    pub(super) fn add(&mut self, view: &MessageView<'_>, phy: PhyOffset, size: u32) {
        let id = view.queue_id();
        let queued = is_consumable(view.sys_flag()) && view.sys_flag() & INNER_BATCH == 0;
        let offset = view.queue_offset().0;
        let fits = (0..=QUEUE_ID_MAX).contains(&id.0) && (0..=OFFSET_MAX).contains(&offset);
        if !queued || !fits || self.opening.deleted.covers(view.topic(), phy.position()) {
            return;
        }
        let key = KeyRef(view.topic(), id.0);
        let timestamp = view.store_timestamp().0;
        let entry =
            CqEntry { phy, size, tags_code: self.opening.config.delay_levels.tags_code(view) };
        if !self.suspects.is_empty()
            && let Some(before) = self.suspects.remove(&key)
        {
            if offset == before.offset + 1 {
                self.place(key, &before);
            } else {
                self.leave_out(key, &before);
            }
        }
        let record = Seen { offset, entry, timestamp };
        if self.follows(key, offset) {
            self.place(key, &record);
        } else {
            self.suspects.insert(Key::from(&key), record);
        }
    }

    /// Whether a record with this offset can be the queue's next one by its own word.
    fn follows(&self, key: KeyRef<'_>, offset: i64) -> bool {
        let Some(queue) = self.queues.get(&key) else { return true };
        let begins = self.whole_log && queue.next() == queue.min();
        // A topic that was deleted and made again begins at 0.
        offset == 0 || begins || (queue.next()..=queue.next() + JUMP_MAX).contains(&offset)
    }

    fn leave_out(&mut self, KeyRef(topic, id): KeyRef<'_>, record: &Seen) {
        self.gaps += 1;
        tracing::warn!(
            "stream {}: the record at {} says it is message {} of queue {}/{id}, and no other record of the queue agrees; \
             it is left out",
            self.opening.stream.0,
            record.entry.phy.position(),
            record.offset,
            String::from_utf8_lossy(topic)
        );
    }

    fn place(&mut self, key: KeyRef<'_>, record: &Seen) {
        let offset = record.offset;
        let (stream, whole_log) = (self.opening.stream, self.whole_log);
        let KeyRef(topic, id) = key;
        let begin_at =
            |offset| ConsumeQueue::new(Arc::from(topic), QueueId(id), stream, offset, offset);
        let queue = self.queues.entry_ref(&key).or_insert_with(|| {
            // A queue without files begins where the log's oldest record of it says, when the log is read whole.
            begin_at(if whole_log { offset } else { 0 })
        });
        let begins = whole_log && queue.next() == queue.min() && offset > queue.next();
        if offset < queue.next() || begins {
            // The files were counted up to the scan's start only, so a record with an offset that is taken is newer than
            // what has it: the topic was deleted and made again. The older messages went with the deletion.
            *queue = begin_at(offset);
        }
        if self.opening.paths.queue_ext_bytes.is_some() {
            queue.keep_times();
        }
        let missing = u64::try_from(offset - queue.next()).expect("not below, see above");
        self.gaps += missing;
        if self.gaps > FILLERS_MAX {
            self.too_many.get_or_insert_with(|| (Key::from(&key), offset));
            return;
        }
        for _ in 0..missing {
            queue.push(CqEntry::FILLER);
        }
        queue.push_at(record.entry, record.timestamp);
    }

    /// The queues of a log that ends there, and how many entries are missing or were left out. Errors: more than fillers can
    /// stand for.
    pub(super) fn finish(mut self, end: u64) -> Result<(Vec<ConsumeQueue>, u64), StoreError> {
        for ((topic, id), last) in std::mem::take(&mut self.suspects) {
            let key = KeyRef(&topic, id);
            let next = self.queues.get(&key).map_or(0, ConsumeQueue::next);
            let missing = u64::try_from(last.offset - next).ok();
            // Of what lies behind a place that was stepped over it may be the only one.
            if missing.is_some_and(|missing| self.gaps + missing <= FILLERS_MAX) {
                self.place(key, &last);
            } else {
                self.leave_out(key, &last);
            }
        }
        if let Some(((topic, id), offset)) = &self.too_many {
            let text = format!(
                "more than {FILLERS_MAX} messages are missing from the queues of stream {}; the first one without room for \
                 its entry is message {offset} of queue {}/{id}. Restore the lost segments from a copy, or cut the log \
                 before the gap (`ringmq store check` names it) with `ringmq store repair --cut-at`",
                self.opening.stream.0,
                String::from_utf8_lossy(topic)
            );
            return Err(StoreError::new(self.opening.paths.root.clone(), text));
        }
        self.keep_light(end)?;
        let mut queues: Vec<ConsumeQueue> = self.queues.into_values().collect();
        for queue in &mut queues {
            queue.show(queue.next());
        }
        Ok((queues, self.gaps))
    }

    fn keep_light(&mut self, end: u64) -> Result<(), StoreError> {
        let paths = self.opening.paths;
        for (topic, id) in std::mem::take(&mut self.light) {
            let dir = queue_dir(&paths.consume_queue, &topic, id)
                .map_err(StoreError::io(&paths.consume_queue, "naming a queue"))?;
            let queue = from_files(self.opening, &dir, (&topic, id), end)
                .map_err(StoreError::io(&dir, "reading the queue"))?;
            let key = (topic, id.0);
            if self.queues.get(&key).is_none_or(|found| found.next() < queue.next()) {
                self.queues.insert(key, queue);
            }
        }
        Ok(())
    }
}

/// A queue as its files in `dir` say, counting only entries of records below `below`.
fn from_files(
    opening: &Opening<'_>,
    dir: &Path,
    (topic, id): (&[u8], QueueId),
    below: u64,
) -> io::Result<ConsumeQueue> {
    let (disk, file_bytes) = (opening.disk, opening.paths.queue_file_bytes);
    let names_record =
        |entry: &CqEntry, offset| Ok(is_light(topic) || opening.names_record(entry, offset)?);
    let (min, next) = extent(disk, dir, file_bytes, below, &names_record)?;
    let (min, place) = match opening.bases.first() {
        Some(first) if *first > 0 => {
            let start = PhyOffset::new(opening.stream, *first);
            first_at(disk, dir, file_bytes, (min.min(next), next), start)?
        }
        Some(_) | None => (min.min(next), None),
    };
    let mut queue = ConsumeQueue::new(Arc::from(topic), id, opening.stream, min, next);
    queue.advance_min(min, place);
    Ok(queue)
}
