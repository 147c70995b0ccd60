//! What the disk under the log says of itself: whether a synced write needs a flush of the device's cache behind it.
//!
//! Sources: `Documentation/ABI/stable/sysfs-block` (`queue/write_cache`, `queue/fua`). Unknown devices count as
//! devices with a cache.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use store::stream::SyncBy;

/// The method that suits the device of `dir`.
pub(crate) fn sync_by(dir: &Path) -> SyncBy {
    let Some(queue) = queue_dir(dir) else { return SyncBy::Flush };
    let read = |name: &str| fs::read_to_string(queue.join(name)).unwrap_or_default();
    choose(read("write_cache").trim(), read("fua").trim())
}

/// For the log of the process.
pub(crate) fn describe(sync_by: SyncBy) -> &'static str {
    match sync_by {
        SyncBy::WriteThrough => {
            "RWF_DSYNC (the device needs no separate flush, or logSyncMethod=dsync)"
        }
        SyncBy::Flush => "fdatasync behind the writes",
    }
}

fn choose(write_cache: &str, fua: &str) -> SyncBy {
    match (write_cache, fua) {
        ("write through", _) | ("write back", "1") => SyncBy::WriteThrough,
        _ => SyncBy::Flush,
    }
}

/// A partition has no queue of its own: its parent, the disk, has.
fn queue_dir(dir: &Path) -> Option<PathBuf> {
    let device = fs::metadata(dir).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let node = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let candidates = [node.join("queue"), node.parent()?.join("queue")];
    candidates.into_iter().find(|queue| queue.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_with_a_volatile_cache_and_no_fua_gets_flushes() {
        assert_eq!(choose("write back", "0"), SyncBy::Flush);
        assert_eq!(choose("write back", "1"), SyncBy::WriteThrough);
        assert_eq!(choose("write through", "0"), SyncBy::WriteThrough);
        assert_eq!(choose("", ""), SyncBy::Flush);
    }

    #[test]
    fn a_file_system_without_a_device_gets_flushes() {
        assert_eq!(sync_by(Path::new("/proc")), SyncBy::Flush);
        assert_eq!(sync_by(Path::new("/does/not/exist")), SyncBy::Flush);
    }
}
