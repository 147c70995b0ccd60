//! Queue files that have lost their size, their name or their beginning, in a store whose other ones are right: damage.
//!
//! What they hold is in the log, which is then read whole. Where few files or none have the configured size, the
//! configuration is wrong, and the start is refused (`check_files`).

use super::StoreError;
use super::rebuilt::is_light;
use super::stream_dir::{Opening, QueueName};
use crate::disk::{Access, Disk, copy_file, move_file, read_full_at, replace_file, write_full_at};
use crate::queue_files::{bases, extent, queue_dir};
use std::io;
use std::path::{Path, PathBuf};
use store::consume_queue::ConsumeQueue;
use store::layout::checkpoint::Checkpoint;
use store::layout::consume_queue::{CqEntry, ENTRY_BYTES};
use store::layout::segment;

/// The largest size that an entry can have.
const FILLER_SIZE: u32 = CqEntry::FILLER.size;

/// The damaged files of these queues; none when they are no fewer than the right ones. Entries of records below `from`
/// were durable.
pub(super) fn damaged(
    opening: &Opening<'_>,
    names: &[&QueueName],
    from: u64,
) -> Result<Vec<PathBuf>, StoreError> {
    let root = &opening.paths.consume_queue;
    let mut judged = Judged { opening, from, right: 0, damaged: Vec::new() };
    // What light queues hold could not be made again.
    for (topic, id) in names.iter().filter(|(topic, _)| !is_light(topic)) {
        let dir = queue_dir(root, topic, *id).map_err(StoreError::io(root, "naming a queue"))?;
        judged.judge(&dir).map_err(StoreError::io(&dir, "reading the queue"))?;
    }
    let Judged { right, damaged, .. } = judged;
    Ok(if damaged.len() <= right { damaged } else { Vec::new() })
}

struct Judged<'o> {
    opening: &'o Opening<'o>,
    from: u64,
    /// Files of the configured size.
    right: usize,
    damaged: Vec<PathBuf>,
}

impl Judged<'_> {
    fn judge(&mut self, dir: &Path) -> io::Result<()> {
        let (disk, size) = (self.opening.disk, self.opening.paths.queue_file_bytes);
        for base in bases(disk, dir)? {
            let path = dir.join(segment::name(base));
            let bytes = disk.file_bytes(&path)?;
            if bytes == size && base.is_multiple_of(size) {
                self.right += 1;
                continue;
            }
            // After a sudden end a file of ours may be short, as its size had not reached the disk, but has what counts.
            let is_short = bytes > 0 && self.opening.clean || self.opening.foreign;
            let has_place = bytes <= size && base.is_multiple_of(size);
            if is_short || !has_place || self.lacks(dir, base + bytes)? {
                self.damaged.push(path);
            }
        }
        Ok(())
    }

    /// Whether entries that were durable lie behind a file's end.
    fn lacks(&self, dir: &Path, end: u64) -> io::Result<bool> {
        let size = self.opening.paths.queue_file_bytes;
        let (_, next) = extent(self.opening.disk, dir, size, self.from, &|_, _| Ok(true))?;
        Ok(u64::try_from(next).is_ok_and(|next| next * ENTRY_BYTES as u64 > end))
    }
}

/// Gives them their size, with copies in the store's `cut` directory; what has no place in its queue is moved there.
///
/// The scan has read the whole log, and writes all entries of its records again. A start that dies before has to do so, too.
pub(super) fn mend(opening: &Opening<'_>, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    let damaged = &opening.damaged_queues;
    let (root, size) = (&opening.paths.consume_queue, opening.paths.queue_file_bytes);
    if opening.foreign && !damaged.is_empty() {
        let path = opening.paths.checkpoint(opening.stream);
        let none = Checkpoint { log_timestamp: 0, queue_timestamp: 0, ..*checkpoint };
        replace_file(opening.disk, &path, &none.encode())
            .map_err(StoreError::io(&path, "writing"))?;
    }
    for path in damaged {
        let below = path.strip_prefix(root).unwrap_or(path);
        let kept = opening.free_in_cut(&Path::new("consumequeue").join(below))?;
        tracing::warn!(
            "{} is damaged: it does not have the {size} bytes, or the place, of the store's other queue files. It is made \
             again from the log; as it was it is kept as {}",
            path.display(),
            kept.display()
        );
        let name = path.file_name().and_then(|name| segment::parse_name(name.to_str()?));
        let mended = match name {
            Some(base) if base.is_multiple_of(size) => resize(opening.disk, path, &kept, size),
            Some(_) | None => move_file(opening.disk, path, &kept),
        };
        mended.map_err(StoreError::io(path, "mending the queue file"))?;
    }
    Ok(())
}

/// Writes fillers where a file has no entries before the first one that its queue is to have: whoever reads queue files, we or Java,
/// takes an empty entry for the end.
pub(super) fn fill_holes(opening: &Opening<'_>, queues: &[ConsumeQueue]) -> Result<(), StoreError> {
    let (root, size) = (&opening.paths.consume_queue, opening.paths.queue_file_bytes);
    for queue in queues.iter().filter(|queue| queue.min() < queue.next() && queue.min() > 0) {
        let dir = queue_dir(root, &queue.topic, queue.id)
            .map_err(StoreError::io(root, "naming a queue"))?;
        let end = u64::try_from(queue.min()).expect("above 0") * ENTRY_BYTES as u64;
        let last = (end - 1) / size * size;
        let damaged = opening.damaged_queues.iter().filter(|path| path.parent() == Some(&dir));
        let names = damaged.filter_map(|path| segment::parse_name(path.file_name()?.to_str()?));
        let bases = names.filter(|base| base.is_multiple_of(size) && *base < last).chain([last]);
        for base in bases {
            let path = dir.join(segment::name(base));
            fill_hole(opening.disk, &path, (end - base).min(size), size)
                .map_err(StoreError::io(&path, "mending the queue file"))?;
        }
    }
    Ok(())
}

/// The entry before `end` tells whether there is a hole: one goes on up to there.
fn fill_hole(disk: &dyn Disk, path: &Path, end: u64, file_bytes: u64) -> io::Result<()> {
    let file = match disk.open(path, Access::Write) {
        Ok(file) if file.bytes()? > 0 => file,
        // Whoever writes to it makes it, with fillers.
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    // Java's sizes have a sign.
    let is_size = |size: u32| (1..=FILLER_SIZE).contains(&size);
    let is_empty = |entry: &[u8]| CqEntry::decode(entry).is_none_or(|entry| !is_size(entry.size));
    let mut last = [0; ENTRY_BYTES];
    read_full_at(&*file, &mut last, end - ENTRY_BYTES as u64)?;
    if !is_empty(&last) {
        return Ok(());
    }
    let mut entries = vec![0; usize::try_from(end).map_err(|_| io::ErrorKind::FileTooLarge)?];
    read_full_at(&*file, &mut entries, 0)?;
    for entry in entries.chunks_exact_mut(ENTRY_BYTES) {
        if is_empty(entry) {
            entry.copy_from_slice(&CqEntry::FILLER.encode());
        }
    }
    file.set_bytes(file_bytes)?;
    write_full_at(&*file, &entries, 0)?;
    file.sync_all()
}

/// The file keeps its content: of a queue whose records have expired it has the last offset.
fn resize(disk: &dyn Disk, path: &Path, kept: &Path, bytes: u64) -> io::Result<()> {
    copy_file(disk, path, kept)?;
    let file = disk.open(path, Access::Write)?;
    file.set_bytes(bytes)?;
    file.sync_all()
}
