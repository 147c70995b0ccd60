//! Retention on the background thread: how full the disk is, how old a segment is, deleting it without a stall.

use crate::disk::{Access, DiskFile};
use crate::io_map::DerivedFiles;
use crate::store_dir::StorePaths;
use base::time::WallMs;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use store::layout::segment;
use store::op::{QueueTrim, Trimmed};
use store::retention::DiskLook;
use wire::ids::{PhyOffset, StreamId};

/// A deleted file gives its blocks back in steps of this size, so that no commit of the file system's journal has to free a
/// gigabyte at once while sends wait for theirs.
const SHRINK_BYTES: u64 = 8 << 20;
/// Pause between two steps.
const SHRINK_PAUSE: Duration = Duration::from_millis(2);

/// Looks at the file systems, and for the segment that was last written longest ago among `oldest`.
pub(crate) fn look(paths: &StorePaths, oldest: &[(StreamId, u64)]) -> io::Result<DiskLook> {
    let mut found: Option<(StreamId, u64, WallMs)> = None;
    for (stream, base) in oldest {
        let path = paths.log_dir(*stream).join(segment::name(*base));
        let written = match fs::metadata(path) {
            Ok(meta) => WallMs(meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000),
            // Somebody else deleted it, or we did and could not finish: the oldest of all.
            Err(e) if e.kind() == io::ErrorKind::NotFound => WallMs(0),
            Err(e) => return Err(e),
        };
        if found.is_none_or(|(_, _, other)| written < other) {
            found = Some((*stream, *base, written));
        }
    }
    Ok(DiskLook {
        log_percent: used_percent(&paths.log_dir(StreamId(0)))?,
        queue_percent: used_percent(&paths.config_dir())?,
        hour: u8::try_from(jiff::Zoned::now().hour()).unwrap_or(0),
        oldest: found,
    })
}

/// Used part of the file system of `path` as a user sees it: without the blocks that only root may take.
fn used_percent(path: &Path) -> io::Result<u8> {
    let stat = rustix::fs::statvfs(path)?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let all = used + stat.f_bavail;
    // Some file systems do not say how large they are: then nothing is deleted or refused for want of room.
    let percent = if all == 0 { 0 } else { (used * 100).div_ceil(all) };
    Ok(u8::try_from(percent).unwrap_or(100))
}

/// Takes the name of a segment away; what is returned keeps its blocks until `shrink`. `None`: it had no name any more.
pub(crate) fn delete_segment(
    paths: &StorePaths,
    stream: StreamId,
    base: u64,
) -> io::Result<Option<Box<dyn DiskFile>>> {
    let dir = paths.log_dir(stream);
    let path = dir.join(segment::name(base));
    let file = match paths.disk.open(&path, Access::Write) {
        Ok(file) => {
            paths.disk.remove_file(&path)?;
            Some(file)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    // A later segment must not vanish before this one, or a power cut leaves a gap.
    paths.disk.sync_dir(&dir)?;
    Ok(file)
}

/// Gives the blocks of a deleted file back. An error leaves that to the last close.
pub(crate) fn shrink(file: &dyn DiskFile) {
    let Ok(mut left) = file.bytes() else { return };
    while left > 0 {
        left = left.saturating_sub(SHRINK_BYTES);
        if file.set_bytes(left).is_err() {
            return;
        }
        std::thread::sleep(SHRINK_PAUSE);
    }
}

/// Trims queues, and the index, to where the streams start; a queue that cannot be read keeps its beginning.
pub(crate) fn trim(
    files: &mut DerivedFiles,
    trims: &[QueueTrim],
    starts: &[PhyOffset],
) -> Vec<Trimmed> {
    files.index.follow_log(starts.iter().copied());
    let trim = |trim: &QueueTrim| match files.queues.trim(trim) {
        Ok(trimmed) => Some(trimmed),
        // Its topic was deleted meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let topic = String::from_utf8_lossy(&trim.topic);
            tracing::warn!("queue {topic}/{}: finding its first message: {error}", trim.queue.0);
            None
        }
    };
    trims.iter().filter_map(trim).collect()
}
