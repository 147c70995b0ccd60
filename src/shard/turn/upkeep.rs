//! What the background found out about the disk: room, age of segments, deletions. Said in the log when it changes.

use super::Shard;
use crate::app::App;
use crate::disk::DiskFile;
use store::Store;
use store::queues::StoppedQueues;
use store::retention::{DiskLook, Why};
use wire::ids::StreamId;

impl<A: App> Shard<A> {
    /// The queues for the next start; `None` when a bound of one is not certain.
    pub(super) fn stopped_queues(&self) -> Option<StoppedQueues> {
        self.store.as_ref().map_or_else(|| Some(StoppedQueues::default()), Store::stopped_queues)
    }

    /// Says that an index has caught up.
    pub(super) fn note_index(&mut self) {
        while let Some(stream) = self.store.as_mut().and_then(Store::take_caught_up) {
            tracing::info!("stream {}: the index has caught up", stream.0);
        }
    }

    /// Says once that queue files have no room, and once that they have it again.
    pub(super) fn note_room(&mut self, error: Option<i32>) {
        let lacks_room =
            matches!(error, Some(libc::ENOSPC | libc::EDQUOT | libc::ENFILE | libc::EMFILE));
        if lacks_room && !self.lacks_room {
            let error = std::io::Error::from_raw_os_error(error.unwrap_or(0));
            tracing::error!(
                "{}: queue entries cannot be written ({error}); sends are refused until they can",
                self.me
            );
        } else if !lacks_room && self.lacks_room {
            tracing::info!("{}: queue entries are written again", self.me);
        }
        self.lacks_room = lacks_room;
    }

    pub(super) fn on_look(&mut self, look: std::io::Result<DiskLook>) {
        let store = self.store.as_mut().expect("a store asked");
        let before = store.disk_warning();
        match look {
            Ok(look) => store.on_look(Some(&look), self.now),
            Err(error) => {
                tracing::warn!("{}: looking at the disk of the store: {error}", self.me);
                store.on_look(None, self.now);
            }
        }
        match (before, store.disk_warning()) {
            (None, Some(full)) => tracing::error!(
                "{}: the disk is {} % full, diskSpaceWarningLevelRatio = {}: sends are refused until files were deleted",
                self.me,
                full.used_percent,
                full.limit_percent
            ),
            (Some(_), None) => {
                tracing::info!("{}: the disk has room again; sends are accepted", self.me)
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    pub(super) fn on_deleted(
        &mut self,
        segment: (StreamId, u64),
        why: Why,
        result: std::io::Result<Option<Box<dyn DiskFile>>>,
    ) {
        let (stream, base) = segment;
        let store = self.store.as_mut().expect("a store asked");
        store.on_deleted(stream, base, result.is_ok(), self.now.mono);
        match result {
            Ok(file) => {
                tracing::info!("stream {}: segment {base} deleted ({})", stream.0, why.name());
                let io = self.io.as_mut().expect("as above");
                io.forget_segment(&mut self.reactor, &self.background, segment, file);
            }
            Err(error) => {
                tracing::error!("stream {}: segment {base} cannot be deleted: {error}", stream.0);
            }
        }
    }
}
