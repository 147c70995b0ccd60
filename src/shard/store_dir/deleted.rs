//! Deleted topics, as a start must know them: what the log holds of them before their deletion belongs to no queue.
//!
//! `<store>/ringmq.deleted`, a line `stream position topic` per deletion and stream, `position` being where the log ended
//! then: queue files whose first record lies below are what could not be removed, and a scan of the log does not make
//! such queues again. A start leaves out lines that the log has passed, and shortens those beyond a log that was cut.
//! Java knows no such file; where it has had the store in between, it has revived what there was, and all is forgotten.

use super::stream_dir::{Opening, QueueName};
use super::{StoreError, StorePaths};
use crate::disk::{self, Access, Disk, DiskFile, LocalDisk, read_full_at, write_full_at};
use crate::queue_ext;
use crate::queue_files::{first_place, queue_dir};
use hashbrown::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use wire::ids::StreamId;

/// Name of the file in the store directory. Its places are of no use to another layout of the log.
pub const FILE_NAME: &str = "ringmq.deleted";
/// A larger file is made smaller while the broker runs, where it can be: some 30,000 lines.
const BYTES_MAX: u64 = 1 << 20;

/// A topic deleted from a stream: what of it lies below `end` is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deletion {
    /// Its name.
    pub topic: Vec<u8>,
    /// The stream.
    pub stream: StreamId,
    /// Where the stream's log ended when the topic was deleted.
    pub end: u64,
}

impl Deletion {
    /// `None`: no line of ours.
    fn parse(line: &str) -> Option<Deletion> {
        let mut parts = line.splitn(3, ' ');
        let stream = StreamId(parts.next()?.parse().ok()?);
        let end = parts.next()?.parse().ok()?;
        let topic = parts.next().filter(|topic| !topic.is_empty())?;
        Some(Deletion { topic: topic.as_bytes().to_vec(), stream, end })
    }
}

/// Errors: a name that is no line of text.
fn encode(deletions: &[Deletion]) -> io::Result<String> {
    let mut text = String::new();
    for Deletion { topic, stream, end } in deletions {
        let topic = std::str::from_utf8(topic).ok().filter(|topic| !topic.contains(['\n', '\r']));
        let topic =
            topic.ok_or_else(|| io::Error::other("a topic name that is no line of text"))?;
        writeln!(text, "{} {end} {topic}", stream.0).expect("text takes text");
    }
    Ok(text)
}

/// `note` in a store directory of this machine, behind any other shard that does the same. It may wait for the device.
pub fn note_in_turn(
    root: &Path,
    deletions: &[Deletion],
    starts: &[(StreamId, u64)],
) -> io::Result<()> {
    let directory = std::fs::File::open(root)?;
    // Some network file systems lock no directories. Without a note the topic would come back for certain.
    let _ = directory.lock();
    note(&LocalDisk, root, deletions, starts)
}

/// Notes deletions in the store directory; durable when it returns. One at a time. `starts`: where the logs of some streams begin,
/// for when the file has grown so large that what is of no use any more leaves it.
pub(crate) fn note(
    disk: &dyn Disk,
    root: &Path,
    deletions: &[Deletion],
    starts: &[(StreamId, u64)],
) -> io::Result<()> {
    let text = encode(deletions)?;
    let file = disk.open(&root.join(FILE_NAME), Access::Create)?;
    let bytes = file.bytes()?;
    let at = end_of_lines(&*file, bytes)?;
    write_full_at(&*file, text.as_bytes(), at)?;
    let end = at + text.len() as u64;
    if end < bytes {
        file.set_bytes(end)?;
    }
    file.sync_data()?;
    // Also when it is not new: the one that made it may have failed before this.
    disk.sync_dir(root)?;
    if end > BYTES_MAX { compact(disk, root, starts) } else { Ok(()) }
}

/// Behind the last whole line. Where there was no room for all of a line, the next one takes its place: together they would say
/// something else.
fn end_of_lines(file: &dyn DiskFile, bytes: u64) -> io::Result<u64> {
    let mut last = [b'\n'];
    read_full_at(file, &mut last, bytes.saturating_sub(1))?;
    if last == *b"\n" {
        return Ok(bytes);
    }
    let mut all = vec![0; usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?];
    let read = read_full_at(file, &mut all, 0)?;
    Ok(all[..read].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1))
}

/// Leaves out what is of no use any more, when that is half of the file.
fn compact(disk: &dyn Disk, root: &Path, starts: &[(StreamId, u64)]) -> io::Result<()> {
    let (found, old) = read(disk, root)?;
    let mut ends: HashMap<(StreamId, &[u8]), u64> = HashMap::new();
    for Deletion { topic, stream, end } in &found {
        let known = ends.entry((*stream, topic)).or_default();
        *known = (*known).max(*end);
    }
    let queues = root.join("consumequeue");
    let is_wanted = |stream: StreamId, topic: &[u8], end: u64| {
        let start = starts.iter().find(|(id, _)| *id == stream).map_or(0, |(_, start)| *start);
        // Files that could not be removed are the deleted topic's for the next start, too.
        end > start
            || str::from_utf8(topic).is_ok_and(|topic| disk.list(&queues.join(topic)).is_ok())
    };
    let mut left: Vec<Deletion> = ends
        .into_iter()
        .filter(|((stream, topic), end)| is_wanted(*stream, topic, *end))
        .map(|((stream, topic), end)| Deletion { topic: topic.to_vec(), stream, end })
        .collect();
    left.sort_unstable_by(|a, b| (a.stream, &a.topic).cmp(&(b.stream, &b.topic)));
    let text = encode(&left)?;
    if text.len() * 2 > old.len() {
        return Ok(());
    }
    disk::replace_file(disk, &root.join(FILE_NAME), text.as_bytes())
}

/// The deletions of one stream.
#[derive(Default)]
pub struct Deleted {
    ends: HashMap<Vec<u8>, u64>,
}

impl Deleted {
    /// Those that the store directory knows.
    pub fn load(disk: &dyn Disk, root: &Path, stream: StreamId) -> io::Result<Deleted> {
        let mut ends = HashMap::new();
        for found in read(disk, root)?.0.into_iter().filter(|found| found.stream == stream) {
            let end: &mut u64 = ends.entry(found.topic).or_default();
            *end = found.end.max(*end);
        }
        Ok(Deleted { ends })
    }

    pub(super) fn clear(&mut self) {
        self.ends.clear();
    }

    /// Whether a topic was deleted when the log ended at or behind `position`.
    pub(super) fn is_any_from(&self, position: u64) -> bool {
        self.ends.values().any(|end| *end >= position)
    }

    /// Whether what a topic has at `position` went with its deletion.
    pub fn covers(&self, topic: &[u8], position: u64) -> bool {
        self.ends.get(topic).is_some_and(|end| position < *end)
    }

    /// What still has to be known of a log `[start, end)`. Records that are appended from here on are never covered.
    pub(super) fn left(self, stream: StreamId, log: std::ops::Range<u64>) -> Vec<Deletion> {
        let kept = self.ends.into_iter().filter(|(_, end)| *end > log.start);
        kept.map(|(topic, end)| Deletion { topic, stream, end: end.min(log.end) }).collect()
    }
}

/// The deletions, and the bytes that say so. A line that is not whole was never durable.
fn read(disk: &dyn Disk, root: &Path) -> io::Result<(Vec<Deletion>, Vec<u8>)> {
    let bytes = match disk::read_file(disk, &root.join(FILE_NAME)) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(e),
    };
    let text = String::from_utf8_lossy(&bytes);
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let found = whole.lines().filter_map(Deletion::parse).collect();
    Ok((found, bytes))
}

/// Whether any deletion is noted.
pub(super) fn is_any(disk: &dyn Disk, root: &Path) -> io::Result<bool> {
    Ok(!read(disk, root)?.0.is_empty())
}

/// Replaces what the store directory knows by what is left, before anything is appended to the log.
pub(super) fn rewrite(paths: &StorePaths, mut left: Vec<Deletion>) -> io::Result<()> {
    left.sort_unstable_by(|a, b| (a.stream, &a.topic).cmp(&(b.stream, &b.topic)));
    let text = encode(&left)?;
    let (_, old) = read(&*paths.disk, &paths.root)?;
    if text.as_bytes() == old {
        return Ok(());
    }
    disk::replace_file(&*paths.disk, &paths.root.join(FILE_NAME), text.as_bytes())
}

/// The queues that are not what is left of a deleted topic. That goes now; where it cannot, it is as good as gone.
pub(super) fn without_deleted<'n>(
    opening: &Opening<'_>,
    names: Vec<&'n QueueName>,
) -> Result<Vec<&'n QueueName>, StoreError> {
    if opening.deleted.ends.is_empty() {
        return Ok(names);
    }
    let paths = opening.paths;
    let mut kept = Vec::new();
    for name in names {
        let dir = queue_dir(&paths.consume_queue, &name.0, name.1)
            .map_err(StoreError::io(&paths.consume_queue, "naming a queue"))?;
        let first = first_place(opening.disk, &dir, paths.queue_file_bytes)
            .map_err(StoreError::io(&dir, "reading the queue"))?;
        let first = first.filter(|first| first.stream() == opening.stream);
        if !first.is_some_and(|first| opening.deleted.covers(&name.0, first.position())) {
            kept.push(name);
            continue;
        }
        let removed = opening
            .disk
            .remove_dir_all(&dir)
            .and_then(|()| queue_ext::remove(opening.disk, &paths.consume_queue, &name.0, name.1));
        if let Err(error) = removed {
            tracing::warn!("{}: what a deleted topic has left: {error}", dir.display());
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::LocalDisk;
    use std::fs;

    fn deletion(topic: &str, stream: u16, end: u64) -> Deletion {
        Deletion { topic: topic.as_bytes().to_vec(), stream: StreamId(stream), end }
    }

    #[test]
    fn what_is_noted_comes_back_for_its_stream_until_the_log_has_passed_it() {
        let dir = tempfile::tempdir().unwrap();
        let paths = StorePaths::for_test(dir.path(), dir.path(), 200);
        let load = |stream| Deleted::load(&*paths.disk, &paths.root, StreamId(stream)).unwrap();
        assert!(load(0).ends.is_empty());
        note(&LocalDisk, dir.path(), &[deletion("A", 0, 100), deletion("A", 1, 70)], &[]).unwrap();
        note(&LocalDisk, dir.path(), &[deletion("A", 0, 300), deletion("B", 0, 200)], &[]).unwrap();
        let found = load(0);
        assert!(found.covers(b"A", 299) && !found.covers(b"A", 300) && found.covers(b"B", 0));
        assert!(load(1).covers(b"A", 69) && !load(1).covers(b"B", 0));
        let left = found.left(StreamId(0), 200..250);
        assert_eq!(left, [deletion("A", 0, 250)], "B has left the log, and A is beyond its end");
        rewrite(&paths, left).unwrap();
        assert!(load(0).covers(b"A", 249) && !load(0).covers(b"A", 250) && load(1).ends.is_empty());
    }

    #[test]
    fn a_torn_line_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let paths = StorePaths::for_test(dir.path(), dir.path(), 200);
        std::fs::write(dir.path().join(FILE_NAME), "0 100 A\nrubbish\n0 9999 Bar").unwrap();
        let found = Deleted::load(&*paths.disk, &paths.root, StreamId(0)).unwrap();
        assert!(found.covers(b"A", 99) && !found.covers(b"Bar", 0));
        assert!(note(&LocalDisk, dir.path(), &[deletion("a\nb", 0, 1)], &[]).is_err());
        // As after a disk without room; neither line makes something else of the other.
        note(&LocalDisk, dir.path(), &[deletion("C", 0, 7)], &[]).unwrap();
        assert_eq!(fs::read(dir.path().join(FILE_NAME)).unwrap(), b"0 100 A\nrubbish\n0 7 C\n");
        fs::write(dir.path().join(FILE_NAME), "0 100").unwrap();
        note(&LocalDisk, dir.path(), &[deletion("C", 0, 7)], &[]).unwrap();
        assert_eq!(fs::read(dir.path().join(FILE_NAME)).unwrap(), b"0 7 C\n");
    }

    #[test]
    fn the_file_does_not_grow_with_deletions_that_are_of_no_use_any_more() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("consumequeue/Left")).unwrap();
        let bytes = || fs::metadata(dir.path().join(FILE_NAME)).unwrap().len();
        let many = |name: &str, count: u64| -> Vec<Deletion> {
            (0..count).map(|at| deletion(name, 1, at)).collect()
        };
        let long = "t".repeat(100);
        note(&LocalDisk, dir.path(), &many(&long, 4000), &[]).unwrap();
        note(&LocalDisk, dir.path(), &[deletion("Left", 0, 70), deletion("Old", 0, 70)], &[])
            .unwrap();
        assert!(bytes() > 400_000, "below the limit nothing is done");
        let starts = [(StreamId(0), 70)];
        note(&LocalDisk, dir.path(), &many(&long, 8000), &starts).unwrap();
        assert!(bytes() < 200, "{}", bytes());
        let load = |stream| Deleted::load(&LocalDisk, dir.path(), StreamId(stream)).unwrap();
        assert!(load(1).covers(long.as_bytes(), 7998) && !load(1).covers(long.as_bytes(), 7999));
        assert!(load(0).covers(b"Left", 69), "its files are still there");
        assert!(!load(0).covers(b"Old", 69), "the log has passed it");
        // What is of use stays, however much.
        let different: Vec<Deletion> =
            (0..12_000).map(|at| deletion(&format!("{long}{at}"), 0, 100)).collect();
        note(&LocalDisk, dir.path(), &different, &starts).unwrap();
        assert!(bytes() > 1 << 20);
        assert!(load(0).covers(format!("{long}11999").as_bytes(), 99));
    }
}
