//! The file systems under the store, as runtime information tells of them: looked at in the background every 10 s, so that a
//! disk that hangs does not keep anybody from asking. Java: `DefaultMessageStore.getRuntimeInfo`.

use crate::app::{Broker, Host};
use crate::mail::BrokerDone;
use shard::Cx;
use std::path::{Path, PathBuf};

/// One file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileSystem {
    /// Its size, bytes.
    pub total_bytes: u64,
    /// Bytes that nobody uses.
    pub free_bytes: u64,
    /// Used part as a user sees it, percent, rounded up.
    pub used_percent: u64,
}

/// What was seen at the last look; `None` where the look failed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Disk {
    /// Directory of the log.
    pub log_dir: PathBuf,
    /// Under the log.
    pub log: Option<FileSystem>,
    /// Under the store's root, and so under the queues.
    pub root: Option<FileSystem>,
}

/// Looks at the disk in the background. On the metadata shard.
pub(crate) fn look<H: Host>(broker: &Broker, cx: &mut Cx<'_, H>) {
    let config = &broker.settings.config;
    let (log_dir, root) =
        (config.store_path_commit_log.clone(), config.store_path_root_dir.clone());
    cx.job(Box::new(move || {
        let (log, root) = (look_at(&log_dir), look_at(&root));
        H::done(BrokerDone::Disk(Box::new(Disk { log_dir, log, root })))
    }));
}

fn look_at(path: &Path) -> Option<FileSystem> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let all = used + stat.f_bavail;
    Some(FileSystem {
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_bytes: stat.f_bfree.saturating_mul(stat.f_frsize),
        used_percent: if all == 0 { 0 } else { (used * 100).div_ceil(all) },
    })
}
