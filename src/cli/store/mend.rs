//! Queue files made from the log, and bridges over holes of it: what `repair` writes.
//!
//! A bridge is a rolled-back record, which no queue, index or consumer ever sees and which both brokers step over; where
//! the damage reaches the end of its segment, Java's filler stands behind it.

use super::Trouble;
use super::entries::{BadQueues, HOLE_TOPIC};
use super::place::Place;
use super::progress::Watch;
use super::repair::keep;
use super::walk::{Step, Walk, read_full};
use base::time::WallMs;
use shard::disk::{Access, Disk, LocalDisk, write_full_at};
use shard::queue_files::{QueueFiles, cut_entries, queue_dir};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use store::layout::consume_queue::CqEntry;
use store::layout::segment::{self, BLANK_BYTES};
use store::op::{Extended, QueueWrite};
use store::queues::QUEUE_ID_MAX;
use store::recovery::{RECORD_BYTES_MAX, skipped_max};
use wire::ids::{PhyOffset, QueueId, QueueOffset, StreamId};
use wire::message;
use wire::message::{MAGIC_BLANK, MessageView, NewMessage};
use wire::sys_flag::{INNER_BATCH, TRANSACTION_ROLLBACK, is_consumable};

/// Entries that wait for being written together.
const WAITING_MAX: usize = 1 << 16;
/// Bytes of a record without body, with the topic of holes.
pub(super) const HOLE_BYTES_MIN: u64 = 91 + HOLE_TOPIC.len() as u64;
/// Largest record that is put into a hole.
const HOLE_BYTES_MAX: u64 = 4 << 20;
/// Head of a record up to its store time with an IPv6 host.
const HEAD_BYTES: usize = 76;

/// A damaged place in one segment.
pub(super) struct Gap {
    pub(super) stream: StreamId,
    pub(super) base: u64,
    pub(super) from: u64,
    pub(super) to: u64,
    /// Where the log goes on: the records in the gap get the store time of the one there.
    pub(super) resume: u64,
}

/// Writes a bridge over a gap.
pub(super) fn bridge(
    place: &Place,
    path: &Path,
    gap: &Gap,
    ends_segment: bool,
) -> Result<(), Trouble> {
    let size = place.segment_bytes;
    let next = path.with_file_name(segment::name(gap.resume - gap.resume % size));
    let write = || -> std::io::Result<()> {
        let file = LocalDisk.open(path, Access::Write)?;
        let time = store_time(&next, gap.resume % size)?;
        let mut at = gap.from;
        while at < gap.to {
            let left = gap.to - at;
            let bytes = if ends_segment && (at > gap.from || left < HOLE_BYTES_MIN + BLANK_BYTES) {
                filler(left)
            } else if ends_segment {
                // The smallest record says that something is missing here.
                hole_record(PhyOffset::new(gap.stream, at), HOLE_BYTES_MIN, time)
            } else {
                // What is left must be room enough for another record.
                let most = HOLE_BYTES_MAX - HOLE_BYTES_MIN;
                let size = if left <= HOLE_BYTES_MAX { left } else { most };
                hole_record(PhyOffset::new(gap.stream, at), size, time)
            };
            write_full_at(&*file, &bytes, at - gap.base)?;
            let is_filler = ends_segment && bytes.len() as u64 == BLANK_BYTES;
            at = if is_filler { gap.to } else { at + bytes.len() as u64 };
        }
        file.sync_all()
    };
    write().map_err(|e| Trouble::io(path, e))
}

/// The two words that say that the rest of a segment is not used.
fn filler(rest: u64) -> Vec<u8> {
    let size = i32::try_from(rest).expect("a segment is below 2 GiB");
    [size.to_be_bytes(), MAGIC_BLANK.to_be_bytes()].concat()
}

/// Store time of the record at a byte of a file.
fn store_time(path: &Path, at: u64) -> std::io::Result<i64> {
    let file = File::open(path)?;
    let mut head = [0; HEAD_BYTES];
    read_full(&file, &mut head, at)?;
    let mut record = vec![0; message::declared_size(&head).unwrap_or(0).min(RECORD_BYTES_MAX)];
    read_full(&file, &mut record, at)?;
    Ok(MessageView::parse(&record).map_or(0, |(view, _)| view.store_timestamp().0))
}

/// A rolled-back record of exactly `size` bytes.
fn hole_record(phy: PhyOffset, size: u64, time: i64) -> Vec<u8> {
    let body = vec![0; usize::try_from(size - HOLE_BYTES_MIN).unwrap_or(0)];
    let host = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let record = NewMessage {
        queue_id: QueueId(0),
        flag: 0,
        sys_flag: TRANSACTION_ROLLBACK,
        born_timestamp: time,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &body,
        topic: HOLE_TOPIC,
        properties: b"",
    };
    let mut bytes = vec![0; record.encoded_len()];
    let place = message::Place {
        queue_offset: QueueOffset(-1),
        phy_offset: phy,
        store_timestamp: WallMs(time),
    };
    record.encode(&mut bytes, place);
    bytes
}

/// Writes the entries of these queues (or all) as the log says; what follows their last record is cleared.
pub(super) fn queues(
    place: &Place,
    wanted: Option<&BadQueues>,
    watch: &Watch,
) -> Result<(), Trouble> {
    for (topic, id) in wanted.into_iter().flat_map(BTreeMap::keys) {
        copy_files(place, topic, *id)?;
    }
    let root = &place.consume_queue;
    let mut writer = Writer {
        place,
        wanted,
        files: QueueFiles::new(Arc::new(LocalDisk), root.clone(), place.queue_file_bytes),
        waiting: HashMap::new(),
        count: 0,
        next: HashMap::new(),
        error: None,
    };
    for stream in &place.streams {
        watch.expect(stream.bytes());
        let mut of_stream = HashMap::new();
        let deleted = place.deleted(stream)?;
        let walk = Walk::all(place, stream, watch);
        let walked = walk.run(&mut |step| {
            if let Step::Record { view, position, size } = step
                && !deleted.covers(view.topic(), position)
            {
                let phy = PhyOffset::new(stream.stream, position);
                writer.record(view, phy, size, &mut of_stream);
            }
        });
        walked.map_err(|e| Trouble::io(&stream.dir, e))?;
        writer.write()?;
    }
    writer.files.sync().map_err(|e| Trouble::io(root, e))?;
    for ((topic, id), next) in wanted.into_iter().flatten() {
        let next = writer.next.get(&(topic.clone(), *id)).copied().unwrap_or(*next);
        let dir = queue_dir(root, topic, QueueId(*id)).map_err(|e| Trouble::io(root, e))?;
        match cut_entries(&LocalDisk, &dir, place.queue_file_bytes, next.max(0)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Trouble::io(&dir, e)),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

fn copy_files(place: &Place, topic: &[u8], id: i32) -> Result<(), Trouble> {
    let dir = place.queue_dir(&String::from_utf8_lossy(topic), QueueId(id));
    for piece in super::place::pieces(&dir)?.0 {
        keep(place, &dir.join(segment::name(piece.base)), 0, piece.bytes)?;
    }
    Ok(())
}

struct Writer<'w> {
    place: &'w Place,
    wanted: Option<&'w BadQueues>,
    files: QueueFiles,
    waiting: HashMap<(Vec<u8>, i32), QueueWrite>,
    count: usize,
    /// Offset behind the last record of each queue.
    next: HashMap<(Vec<u8>, i32), i64>,
    error: Option<Trouble>,
}

impl Writer<'_> {
    fn record(
        &mut self,
        view: &MessageView<'_>,
        phy: PhyOffset,
        size: u32,
        of_stream: &mut HashMap<(Vec<u8>, i32), (i64, u64)>,
    ) {
        let id = view.queue_id();
        let queued = is_consumable(view.sys_flag()) && view.sys_flag() & INNER_BATCH == 0;
        let offset = view.queue_offset().0;
        if !queued || !(0..=QUEUE_ID_MAX).contains(&id.0) || offset < 0 || self.error.is_some() {
            return;
        }
        let key = (view.topic().to_vec(), id.0);
        if self.wanted.is_some_and(|wanted| !wanted.contains_key(&key)) {
            return;
        }
        let here = (offset + 1, phy.position());
        let (next, last) = of_stream.insert(key.clone(), here).unwrap_or((offset, here.1));
        let begins_anew = offset < next;
        let known = self.next.entry(key.clone()).or_default();
        *known = if begins_anew { offset + 1 } else { (*known).max(offset + 1) };
        if begins_anew {
            // The topic was deleted and made again: the files of then are not those of now.
            self.error = self.begin_anew(&key, id).err();
        }
        let skipped = if begins_anew { 0 } else { offset - next };
        let lost_max = skipped_max(phy.position().saturating_sub(last));
        if u64::try_from(skipped).is_ok_and(|skipped| skipped > lost_max) {
            let text = format!("queue {} skips {skipped} offsets before {offset}", id.0);
            self.error = Some(Trouble::new(String::from_utf8_lossy(view.topic()).as_ref(), text));
            return;
        }
        let tags_code = self.place.delay_levels.tags_code(view);
        for at in offset - skipped..offset {
            self.push(&key, at, &CqEntry::FILLER);
            if self.count >= WAITING_MAX {
                self.error = self.write().err();
            }
        }
        self.push(&key, offset, &CqEntry { phy, size, tags_code });
        if self.count >= WAITING_MAX {
            self.error = self.write().err();
        }
    }

    fn begin_anew(&mut self, key: &(Vec<u8>, i32), id: QueueId) -> Result<(), Trouble> {
        self.write()?;
        let root = &self.place.consume_queue;
        let dir = queue_dir(root, &key.0, id).map_err(|e| Trouble::io(root, e))?;
        cut_entries(&LocalDisk, &dir, self.place.queue_file_bytes, 0)
            .map(|_| ())
            .map_err(|e| Trouble::io(&dir, e))
    }

    fn push(&mut self, key: &(Vec<u8>, i32), offset: i64, entry: &CqEntry) {
        let fresh = || QueueWrite {
            topic: Arc::from(key.0.as_slice()),
            queue: QueueId(key.1),
            first: offset,
            bytes: Vec::new(),
            extended: Extended::default(),
        };
        let write = self.waiting.entry(key.clone()).or_insert_with(fresh);
        write.bytes.extend_from_slice(&entry.encode());
        self.count += 1;
    }

    fn write(&mut self) -> Result<(), Trouble> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        self.count = 0;
        for (_, write) in self.waiting.drain() {
            self.files.write(&write).map_err(|e| Trouble::io(&self.place.consume_queue, e))?;
        }
        Ok(())
    }
}
