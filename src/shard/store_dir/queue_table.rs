//! The table of all queues that an orderly stop writes (`store::layout::queue_table`), so that a start need not look for the bounds of
//! each queue in its files: that takes 85 µs a queue.
//!
//! It is believed only where nothing can have happened to the queues since. After a crash the `abort` marker is there, and the table is
//! removed before recovery changes anything; after an orderly stop it is removed behind the new marker and before anything is
//! appended, so no later stop can leave an older one. Another broker that has used the store in between has written the checkpoint
//! (its CRC-32 is noted), or changed no queue but by deleting or making files. Whoever does that, or puts other files in their place,
//! changes the directory that holds their names; who writes into a queue's last file changes that file; and the time that file systems note of the last change
//! cannot be set. So the stamps of the root, of each topic's and each queue's directory and of each queue's last file must be those of
//! the stop; of a queue's earlier files only the size is looked at, as without the table. Segments that went meanwhile move the start
//! of the log, which is noted too. A copy of the store has other stamps: there, as where anything else does not fit, all queues are read as if
//! there were no table. After a power cut a stamp may be older than noted: the same.

use super::stream_dir::{QueueName, queue_dirs, segment_bases};
use super::{StorePaths, deleted};
use crate::disk::{Stamp, read_file, replace_file};
use crate::queue_files::queue_dir;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::consume_queue::ConsumeQueue;
use store::layout::checkpoint::Checkpoint;
use store::layout::consume_queue::ENTRY_BYTES;
use store::layout::identity::Identity;
use store::layout::queue_table::{FILE_NAME, QueueRow, QueueTable, StreamMark, TopicRow};
use store::layout::segment;
use store::queues::{StoppedQueue, StoppedQueues, stream_of};
use wire::ids::StreamId;

/// All queues as the last stop left them.
pub(super) struct KnownQueues {
    /// Where the streams' logs ended.
    ends: Vec<u64>,
    topics: Vec<TopicRow>,
}

impl KnownQueues {
    /// Whether this is how the queues are when all records of the stream below `end` are in them.
    pub(super) fn are_of(&self, stream: StreamId, end: u64) -> bool {
        self.ends.get(usize::from(stream.0)) == Some(&end)
    }

    /// Topic and number of each.
    pub(super) fn names(&self) -> Vec<QueueName> {
        let of_topic = |row: &TopicRow| {
            let topic = row.topic.to_vec();
            row.queues.iter().map(|queue| (topic.clone(), queue.id)).collect::<Vec<_>>()
        };
        self.topics.iter().flat_map(of_topic).collect()
    }

    /// The queues of a stream.
    pub(super) fn of_stream(&self, stream: StreamId) -> impl Iterator<Item = ConsumeQueue> {
        let streams = u16::try_from(self.ends.len()).expect("a store has fewer streams");
        self.topics.iter().flat_map(move |row| {
            let mine = move |queue: &&QueueRow| stream_of(&row.topic, queue.id, streams) == stream;
            row.queues.iter().filter(mine).map(move |queue| {
                let QueueRow { id, min, next, place, .. } = *queue;
                let mut queue = ConsumeQueue::new(Arc::clone(&row.topic), id, stream, min, next);
                queue.advance_min(min, place);
                queue
            })
        })
    }
}

/// What the last stop, which was orderly, has noted; `None`: nothing that can be believed.
pub(super) fn load(paths: &StorePaths, identity: &Identity) -> Option<KnownQueues> {
    let bytes = match read_file(&*paths.disk, &paths.root.join(FILE_NAME)) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!("{FILE_NAME}: {error}; all queues are read");
            }
            return None;
        }
    };
    let known = QueueTable::decode(&bytes)
        .ok_or_else(|| io::Error::other("it is damaged, or of another release"))
        .and_then(|table| believe(paths, identity, table));
    match known {
        Ok(known) => Some(known),
        Err(error) => {
            tracing::info!("{FILE_NAME}: {error}; all queues are read");
            None
        }
    }
}

fn believe(paths: &StorePaths, identity: &Identity, table: QueueTable) -> io::Result<KnownQueues> {
    let differs = |what: &str| Err(io::Error::other(format!("{what} since the last stop")));
    if table.store_id != identity.store_id || table.queue_file_bytes != paths.queue_file_bytes {
        return differs("another store or another mappedFileSizeConsumeQueue");
    }
    if table.streams.len() != usize::from(identity.streams) {
        return differs("the number of streams was changed");
    }
    let mut ends = Vec::new();
    for (number, noted) in (0u16..).zip(&table.streams) {
        let (mark, checkpoint) = mark(paths, StreamId(number))?;
        if mark != *noted || checkpoint.queues.is_none() {
            return differs("a checkpoint or the start of a log was changed");
        }
        ends.push(checkpoint.clean_end.unwrap_or(0));
    }
    if changed_ns(paths, &paths.consume_queue)? != table.changed_ns {
        return differs("topics came or went");
    }
    for row in &table.topics {
        if let Some(path) = changed_path(paths, row)? {
            return differs(&format!("{} was changed", path.display()));
        }
    }
    Ok(KnownQueues { ends, topics: table.topics })
}

/// What of a topic is not as it was.
fn changed_path(paths: &StorePaths, row: &TopicRow) -> io::Result<Option<PathBuf>> {
    let mut topic = None;
    for queue in &row.queues {
        let dir = queue_dir(&paths.consume_queue, &row.topic, queue.id)?;
        if topic.is_none() {
            let above = dir.parent().expect("a queue lies in its topic's directory").to_path_buf();
            if changed_ns(paths, &above)? != row.changed_ns {
                return Ok(Some(above));
            }
            topic = Some(above);
        }
        let file = dir.join(segment::name(queue.last_file));
        let noted = Stamp { changed_ns: queue.last_changed_ns, bytes: queue.last_bytes };
        let is_same = changed_ns(paths, &dir)? == queue.changed_ns
            && queue.last_bytes == paths.queue_file_bytes
            && stamp(paths, &file)? == noted;
        if !is_same {
            return Ok(Some(file));
        }
        let other = other_size(paths, &dir, queue)?;
        if other.is_some() {
            return Ok(other);
        }
    }
    Ok(None)
}

/// The first of a queue's earlier files that has lost its size; one that is missing was so when the queue was noted.
fn other_size(paths: &StorePaths, dir: &Path, queue: &QueueRow) -> io::Result<Option<PathBuf>> {
    let size = paths.queue_file_bytes;
    let first = u64::try_from(queue.min).unwrap_or(0).saturating_mul(ENTRY_BYTES as u64);
    let mut base = first - first % size;
    while base < queue.last_file {
        let file = dir.join(segment::name(base));
        if not_missing(paths.disk.file_bytes(&file))?.is_some_and(|bytes| bytes != size) {
            return Ok(Some(file));
        }
        base += size;
    }
    Ok(None)
}

/// Notes the queues of all shards. Without a word where that cannot be done so that a start could believe it.
pub(super) fn save(
    paths: &StorePaths,
    identity: &Identity,
    stopped: &[StoppedQueues],
) -> io::Result<()> {
    match table(paths, identity, stopped)? {
        Some(table) => replace_file(&*paths.disk, &paths.root.join(FILE_NAME), &table.encode()),
        None => Ok(()),
    }
}

/// Removes it durably. It must be gone before anything is appended or recovered.
pub(super) fn remove(paths: &StorePaths) -> io::Result<()> {
    match paths.disk.remove_file(&paths.root.join(FILE_NAME)) {
        Ok(()) => paths.disk.sync_dir(&paths.root),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn table(
    paths: &StorePaths,
    identity: &Identity,
    stopped: &[StoppedQueues],
) -> io::Result<Option<QueueTable>> {
    let mut streams = Vec::new();
    for number in 0..identity.streams {
        let stream = StreamId(number);
        // A log that never had a record has no checkpoint.
        let Some((mark, _)) = not_missing(mark(paths, stream))? else { return Ok(None) };
        let starts = stopped.iter().flat_map(|shard| &shard.starts);
        if starts.into_iter().find(|(id, _)| *id == stream) != Some(&(stream, mark.start)) {
            return Ok(None);
        }
        streams.push(mark);
    }
    let mut queues: Vec<&StoppedQueue> = stopped.iter().flat_map(|shard| &shard.queues).collect();
    queues.sort_unstable_by(|a, b| (&a.topic, a.id.0).cmp(&(&b.topic, b.id.0)));
    let mut topics = Vec::new();
    let Some(changed_ns) = not_missing(changed_ns(paths, &paths.consume_queue))? else {
        return Ok(None);
    };
    for of_topic in queues.chunk_by(|a, b| a.topic == b.topic) {
        topics.extend(topic_row(paths, of_topic)?);
    }
    let noted = topics.iter().map(|row: &TopicRow| row.queues.len()).sum::<usize>();
    // Directories of deleted topics that could not be removed: a start that reads all queues tries again.
    if deleted::is_any(&*paths.disk, &paths.root)?
        && queue_dirs(paths).map_err(io::Error::other)?.len() != noted
    {
        return Ok(None);
    }
    let (store_id, queue_file_bytes) = (identity.store_id, paths.queue_file_bytes);
    Ok(Some(QueueTable { store_id, queue_file_bytes, changed_ns, streams, topics }))
}

/// The row of a topic; `None`: none of its queues has files. Errors: one that has messages has none.
fn topic_row(paths: &StorePaths, queues: &[&StoppedQueue]) -> io::Result<Option<TopicRow>> {
    let mut rows = Vec::new();
    let mut topic = None;
    for queue in queues {
        let dir = queue_dir(&paths.consume_queue, &queue.topic, queue.id)?;
        let Some((last_file, last)) = last_file(paths, &dir, queue.next)? else {
            if queue.next == 0 {
                continue;
            }
            return Err(io::Error::other(format!("{} has no files", dir.display())));
        };
        topic = dir.parent().map(Path::to_path_buf);
        rows.push(QueueRow {
            id: queue.id,
            min: queue.min,
            next: queue.next,
            place: queue.place,
            changed_ns: changed_ns(paths, &dir)?,
            last_file,
            last_changed_ns: last.changed_ns,
            last_bytes: last.bytes,
        });
    }
    let Some((above, first)) = topic.zip(queues.first()) else { return Ok(None) };
    let changed_ns = changed_ns(paths, &above)?;
    Ok(Some(TopicRow { topic: Arc::clone(&first.topic), changed_ns, queues: rows }))
}

/// The file with the place of entry `next`, or with that of the one before.
fn last_file(paths: &StorePaths, dir: &Path, next: i64) -> io::Result<Option<(u64, Stamp)>> {
    let next = u64::try_from(next).map_err(|_| io::ErrorKind::InvalidInput)?;
    for number in [next, next.saturating_sub(1)] {
        let at = number.checked_mul(ENTRY_BYTES as u64).ok_or(io::ErrorKind::InvalidInput)?;
        let base = at - at % paths.queue_file_bytes;
        if let Some(stamp) = not_missing(stamp(paths, &dir.join(segment::name(base))))? {
            return Ok(Some((base, stamp)));
        }
    }
    Ok(None)
}

/// What ties the table to a stream, and the stream's checkpoint.
fn mark(paths: &StorePaths, stream: StreamId) -> io::Result<(StreamMark, Checkpoint)> {
    let bytes = read_file(&*paths.disk, &paths.checkpoint(stream))?;
    let bases = segment_bases(&*paths.disk, &paths.log_dir(stream)).map_err(io::Error::other)?;
    let start = bases.first().copied().unwrap_or(0);
    Ok((StreamMark::new(&bytes, start), Checkpoint::decode(&bytes)))
}

fn changed_ns(paths: &StorePaths, dir: &Path) -> io::Result<i64> {
    stamp(paths, dir).map(|stamp| stamp.changed_ns)
}

fn stamp(paths: &StorePaths, path: &Path) -> io::Result<Stamp> {
    let stamp = paths.disk.stamp(path)?;
    stamp.ok_or_else(|| io::Error::other("this disk does not tell what was changed"))
}

fn not_missing<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
