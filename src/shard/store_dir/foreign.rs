//! Where the scan of a stream begins when no checkpoint of ours says it: Java wrote the store, or the checkpoint is lost.
//!
//! After an orderly stop of Java every record below the newest queue entry has its entry, so the scan begins behind that one
//! (store.md 6.2, as 4.9 does it: what lies behind is dispatched, also the record that begins right there). After a kill it begins at the newest
//! segment whose first record is older than what Java's checkpoint vouches for (store.md 6.3); 5.5 often vouches for nothing.

use super::StoreError;
use super::stream_dir::{Opening, QueueName};
use crate::disk::{Access, read_full_at};
use crate::queue_files::{extent, last_end, queue_dir};
use std::io;
use store::layout::checkpoint::Checkpoint;
use store::recovery::RECORD_BYTES_MAX;
use wire::ids::PhyOffset;
use wire::message::{MessageView, Probe, probe};

/// Java trusts its checkpoint's times less this much, ms.
const SLACK_MS: i64 = 3000;

/// The position; `None`: the beginning of the log.
pub(super) fn scan_start(
    opening: &Opening<'_>,
    checkpoint: &Checkpoint,
    names: &[&QueueName],
) -> Result<Option<u64>, StoreError> {
    if opening.clean { newest_entry(opening, names) } else { trusted_segment(opening, checkpoint) }
}

fn newest_entry(opening: &Opening<'_>, names: &[&QueueName]) -> Result<Option<u64>, StoreError> {
    let paths = opening.paths;
    let mut newest = None;
    for (topic, id) in names {
        let dir = queue_dir(&paths.consume_queue, topic, *id)
            .map_err(StoreError::io(&paths.consume_queue, "naming a queue"))?;
        let end = extent(opening.disk, &dir, paths.queue_file_bytes, u64::MAX, &|_, _| Ok(true))
            .and_then(|held| last_end(opening.disk, &dir, paths.queue_file_bytes, held))
            .map_err(StoreError::io(&dir, "reading the queue"))?;
        newest = newest.max(end);
    }
    Ok(newest)
}

fn trusted_segment(
    opening: &Opening<'_>,
    checkpoint: &Checkpoint,
) -> Result<Option<u64>, StoreError> {
    let trusted = checkpoint.log_timestamp.min(checkpoint.queue_timestamp) - SLACK_MS;
    for base in opening.bases.iter().rev() {
        let path = opening.path(*base);
        let time = first_store_time(opening, *base).map_err(StoreError::io(&path, "reading"))?;
        if time.is_some_and(|time| time > 0 && time <= trusted) {
            return Ok(Some(*base));
        }
    }
    Ok(None)
}

/// Store time of the record that begins a segment; `None` when it begins with none.
fn first_store_time(opening: &Opening<'_>, base: u64) -> io::Result<Option<i64>> {
    let file = opening.disk.open(&opening.path(base), Access::Read)?;
    let mut bytes = vec![0; 4];
    read_full_at(&*file, &mut bytes, 0)?;
    let Some(size) = wire::message::declared_size(&bytes).filter(|s| *s <= RECORD_BYTES_MAX) else {
        return Ok(None);
    };
    bytes.resize(size, 0);
    read_full_at(&*file, &mut bytes, 0)?;
    if !matches!(probe(&bytes, PhyOffset::new(opening.stream, base)), Probe::Message { .. }) {
        return Ok(None);
    }
    Ok(MessageView::parse(&bytes).ok().map(|(view, _)| view.store_timestamp().0))
}
