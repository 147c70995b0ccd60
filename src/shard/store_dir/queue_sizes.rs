//! Queue files that have lost their size, or their name, in a store whose other ones are right: damage.
//!
//! What they hold is in the log, which is then read whole. Where few files or none have the configured size, the
//! configuration is wrong, and the start is refused (`check_files`).

use super::StoreError;
use super::rebuilt::is_light;
use super::stream_dir::{Opening, QueueName};
use crate::disk::{Access, Disk, copy_file, move_file, replace_file};
use crate::queue_files::{bases, extent, queue_dir};
use std::io;
use std::path::{Path, PathBuf};
use store::layout::checkpoint::Checkpoint;
use store::layout::consume_queue::ENTRY_BYTES;
use store::layout::segment;

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

/// The file keeps its content: of a queue whose records have expired it has the last offset.
fn resize(disk: &dyn Disk, path: &Path, kept: &Path, bytes: u64) -> io::Result<()> {
    copy_file(disk, path, kept)?;
    let file = disk.open(path, Access::Write)?;
    file.set_bytes(bytes)?;
    file.sync_all()
}
