//! `ringmq store layout`: another number of streams, by writing the logs anew beside the old ones and then taking their
//! place.
//!
//! Every record goes to the stream that its queue has with the new number, in the order of store times, at a new place;
//! its offset in the queue stays. The old files are kept in `cut/`. The new store is checked before anything of the old
//! one is touched; from then on an interrupted run is finished by running the command again, and no broker starts in
//! between: the identity file says so.

use super::check::{Checked, check};
use super::mend;
use super::place::{Place, StreamPlace, Told, list};
use super::progress::Watch;
use super::walk::{Step, Walk};
use super::{EXIT_FINDINGS, Trouble, Which, print};
use clap::Args;
use shard::disk::{Disk, LocalDisk, make_durable_dirs, replace_file};
use shard::queue_files::{QueueFiles, extent, queue_dir};
use shard::store_dir::deleted;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use store::layout::consume_queue::CqEntry;
use store::layout::identity::{self, Identity, STREAMS_MAX};
use store::layout::queue_table;
use store::layout::segment::{self, BLANK_BYTES};
use store::op::{Extended, QueueWrite};
use store::queues::stream_of;
use store::recovery::Proof;
use timer_log::Places;
use wire::ids::{PhyOffset, QueueId, StreamId};
use wire::message::MAGIC_BLANK;

mod timer_log;

/// Records that wait between the reader of a stream and the writer.
const WAITING_RECORDS: usize = 32;
/// Where a record has its own place.
const PHY_AT: usize = 28;
/// Bytes of the property in which Java 5 may keep a CRC of the whole record; always the last one.
const CRC_PROPERTY_BYTES: usize = 20;
const CRC_PROPERTY: &[u8] = b"__CRC32#\x01";
/// What a layout command works in, inside the store.
const WORK_DIR: &str = "relayout";
/// What is moved, in this order.
const MOVED: [&str; 8] = [
    deleted::FILE_NAME,
    queue_table::FILE_NAME,
    timer_log::DIR,
    "consumequeue",
    "index",
    "commitlog",
    "streams",
    "checkpoint",
];

#[derive(Args, Debug)]
pub(super) struct LayoutArgs {
    #[command(flatten)]
    which: Which,
    /// Number of streams that the store is to have; 1 is a store that Java opens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(STREAMS_MAX)))]
    streams: u16,
    /// Do it; without this option only what would be done is said
    #[arg(long)]
    apply: bool,
}

/// Runs `layout`.
pub(super) fn run(args: &LayoutArgs, watch: &Watch) -> Result<ExitCode, Trouble> {
    let root = args.which.root.clone();
    let work = Work { root: root.clone(), dir: root.join(WORK_DIR) };
    if work.ready().exists() {
        if !args.apply {
            print("a layout command was interrupted; --apply finishes it\n");
            return Ok(ExitCode::from(EXIT_FINDINGS));
        }
        let _lock = super::repair::lock(&root)?;
        work.swap()?;
        print("the interrupted layout command is finished\n");
        return Ok(ExitCode::SUCCESS);
    }
    let place = args.which.place()?;
    let _lock = if args.apply { Some(super::repair::lock(&root)?) } else { None };
    let checked = refuse(&place, args.streams, watch)?;
    // What is left of deleted topics stays behind: the new logs have no place for the word of their deletion.
    let records: u64 = checked.streams.iter().map(|facts| facts.records - facts.deleted.0).sum();
    let bytes = checked.streams.iter().map(|facts| facts.record_bytes - facts.deleted.1);
    let bytes: u64 = bytes.sum();
    let (from, to) = (place.streams.len(), args.streams);
    watch.finish();
    if !args.apply {
        print(&format!(
            "would write {records} records of {bytes} bytes from {from} streams into {to}, check the result, and keep the old \
             files in cut/ until you remove them\nplaces in the log change: offset message ids that clients hold, and handles \
             of open transactions, do not lead to their messages afterwards\nnothing was changed; --apply does it\n"
        ));
        return Ok(ExitCode::from(EXIT_FINDINGS));
    }
    work.build(&place, to, watch)?;
    work.verify(&place, records, watch)?;
    work.swap()?;
    watch.finish();
    print(&format!("{records} records are in {to} streams now; the old files are in cut/\n"));
    Ok(ExitCode::SUCCESS)
}

/// Only a store that is whole, stopped, and of the files that are known here can be written anew.
fn refuse(place: &Place, streams: u16, watch: &Watch) -> Result<Checked, Trouble> {
    let no = |text: String| Err(Trouble::new(&place.root, text));
    if let Some(pid) = place.user {
        return no(format!("process {pid} is using the store; stop it first"));
    }
    if place.is_abort {
        return no("the last broker did not stop in order; start it and stop it first".to_owned());
    }
    if place.streams.len() == usize::from(streams) {
        return no(format!("the store has {streams} streams already"));
    }
    let log = place.streams.first().map_or(&place.root, |stream| &stream.dir);
    if *log != place.root.join("commitlog") {
        return no("storePathCommitLog is not DIR/commitlog; that is not supported here".to_owned());
    }
    for name in MOVED {
        if is_elsewhere(&place.root, name)? {
            return no(format!(
                "{name} is on another device than the store, and could not be exchanged for another"
            ));
        }
    }
    for name in ["batchconsumequeue", "consumequeue_ext", "compaction/compactionLog"] {
        if !list(&place.root.join(name))?.is_empty() {
            return no(format!("{name}/ names places in the log and could not follow"));
        }
    }
    if place.queues()?.iter().any(|(topic, _)| topic.starts_with("%LMQ%")) {
        return no("queues of %LMQ% topics could not follow".to_owned());
    }
    let checked = check(place, Proof::Whole, watch)?;
    if !checked.report.is_clean() {
        return no("the store is not clean: see ringmq store check and repair".to_owned());
    }
    Ok(checked)
}

/// Whether a file or directory of the store has a device of its own: it cannot be renamed.
fn is_elsewhere(root: &Path, name: &str) -> Result<bool, Trouble> {
    let device = |path: &Path| match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found.dev())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Trouble::io(path, e)),
    };
    let own = device(&root.join(name))?;
    Ok(own.is_some() && own != device(&fs::canonicalize(root).map_err(|e| Trouble::io(root, e))?)?)
}

/// The directory in which the new store is made.
struct Work {
    root: PathBuf,
    dir: PathBuf,
}

impl Work {
    fn ready(&self) -> PathBuf {
        self.dir.join("ready")
    }

    fn new_root(&self) -> PathBuf {
        self.dir.join("new")
    }

    fn new_place(&self, place: &Place) -> Result<Place, Trouble> {
        let told = Told { root: self.new_root(), config_file: None };
        let found = Place::find(&told)?;
        Ok(Place {
            queue_file_bytes: place.queue_file_bytes,
            index_limits: place.index_limits,
            delay_levels: place.delay_levels.clone(),
            ..found
        })
    }

    fn build(&self, place: &Place, streams: u16, watch: &Watch) -> Result<(), Trouble> {
        if self.dir.exists() {
            // An earlier run did not get as far as touching the store.
            fs::remove_dir_all(&self.dir).map_err(|e| Trouble::io(&self.dir, e))?;
        }
        let store_id = match place.identity {
            Some(identity) => identity.store_id,
            None => random_id()?,
        };
        let root = self.new_root();
        let log = root.join("commitlog");
        make_durable_dirs(&LocalDisk, &log).map_err(|e| Trouble::io(&log, e))?;
        let identity = Identity { store_id, streams, segment_bytes: place.segment_bytes };
        let path = root.join(identity::FILE_NAME);
        replace_file(&LocalDisk, &path, identity.encode().as_bytes())
            .map_err(|e| Trouble::io(&path, e))?;
        if streams > 1 {
            let stop = log.join(super::check::SEVERAL_STREAMS);
            File::create(&stop).map_err(|e| Trouble::io(&stop, e))?;
        }
        let mut places = Places::of(&place.root)?;
        copy_records(place, &root, streams, &mut places, watch)?;
        places.copy(&place.root, &root)?;
        let new = self.new_place(place)?;
        mend::queues(&new, None, watch)?;
        keep_offsets(place, &new)
    }

    /// The new store is whole and has every record.
    fn verify(&self, place: &Place, records: u64, watch: &Watch) -> Result<(), Trouble> {
        let new = self.new_place(place)?;
        let checked = check(&new, Proof::Whole, watch)?;
        let found: u64 = checked.streams.iter().map(|facts| facts.records).sum();
        if !checked.report.is_clean() || found != records {
            let text = format!(
                "the new logs have {found} of {records} records, nothing was changed; a check of them says:\n{}",
                checked.report.text(&new.root)
            );
            return Err(Trouble::new(&new.root, text));
        }
        LocalDisk.sync_file_system(&self.root).map_err(|e| Trouble::io(&self.root, e))?;
        let path = self.ready();
        replace_file(&LocalDisk, &path, b"").map_err(|e| Trouble::io(&path, e))
    }

    /// The new files take the place of the old ones; can be repeated after an interruption.
    fn swap(&self) -> Result<(), Trouble> {
        let identity = self.root.join(identity::FILE_NAME);
        let between = Identity::unfinished();
        replace_file(&LocalDisk, &identity, between.as_bytes())
            .map_err(|e| Trouble::io(&identity, e))?;
        let old_is_out = self.dir.join("old-is-out");
        if !old_is_out.exists() {
            let old = self.old_dir()?;
            for name in MOVED {
                rename(&self.root.join(name), &old.join(name))?;
            }
            sync_dirs(&[&old, &self.root])?;
            replace_file(&LocalDisk, &old_is_out, b"").map_err(|e| Trouble::io(&old_is_out, e))?;
        }
        for name in MOVED {
            rename(&self.new_root().join(name), &self.root.join(name))?;
        }
        sync_dirs(&[&self.new_root(), &self.root])?;
        let new = self.new_root().join(identity::FILE_NAME);
        let text = fs::read(&new).map_err(|e| Trouble::io(&new, e))?;
        replace_file(&LocalDisk, &identity, &text).map_err(|e| Trouble::io(&identity, e))?;
        fs::remove_file(self.ready()).map_err(|e| Trouble::io(&self.dir, e))?;
        fs::remove_dir_all(&self.dir).map_err(|e| Trouble::io(&self.dir, e))
    }

    /// Where the old files go: the same directory when this is the second attempt.
    fn old_dir(&self) -> Result<PathBuf, Trouble> {
        let note = self.dir.join("old-dir");
        if let Ok(name) = fs::read_to_string(&note) {
            return Ok(self.root.join("cut").join(name));
        }
        let cut = self.root.join("cut");
        let names = (1..10_000).map(|n| format!("before-layout-{n}"));
        let name = names.into_iter().find(|name| !cut.join(name).exists());
        let name = name.ok_or_else(|| Trouble::new(&cut, "too many old layouts"))?;
        let dir = cut.join(&name);
        make_durable_dirs(&LocalDisk, &dir).map_err(|e| Trouble::io(&dir, e))?;
        replace_file(&LocalDisk, &note, name.as_bytes()).map_err(|e| Trouble::io(&note, e))?;
        Ok(dir)
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Trouble> {
    match fs::rename(from, to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Trouble::io(from, e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync_dirs(dirs: &[&Path]) -> Result<(), Trouble> {
    dirs.iter().try_for_each(|dir| LocalDisk.sync_dir(dir).map_err(|e| Trouble::io(dir, e)))
}

fn random_id() -> Result<u128, Trouble> {
    let path = Path::new("/proc/sys/kernel/random/uuid");
    let text = fs::read_to_string(path).map_err(|e| Trouble::io(path, e))?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).map_err(|_| Trouble::new(path, "holds no UUID"))
}

/// A record on its way.
struct Moving {
    time: i64,
    /// Where it was, as on the wire.
    phy: i64,
    stream: StreamId,
    bytes: Vec<u8>,
}

/// Copies all records, merged by their store times.
fn copy_records(
    place: &Place,
    root: &Path,
    streams: u16,
    places: &mut Places,
    watch: &Watch,
) -> Result<(), Trouble> {
    place.streams.iter().for_each(|stream| watch.expect(stream.bytes()));
    let mut writers: Vec<LogWriter> =
        (0..streams).map(|number| LogWriter::new(root, number, place.segment_bytes)).collect();
    std::thread::scope(|scope| {
        let mut sources = Vec::new();
        for stream in &place.streams {
            let (sender, receiver) = sync_channel(WAITING_RECORDS);
            let reader = scope.spawn(move || read_records(place, stream, streams, &sender, watch));
            sources.push((reader, receiver));
        }
        let mut receivers: Vec<&Receiver<Moving>> = Vec::new();
        sources.iter().for_each(|(_, receiver)| receivers.push(receiver));
        let merged = merge(&receivers, &mut writers, places);
        // Readers that still run end when nobody takes their records any more.
        for (reader, receiver) in sources {
            drop(receiver);
            reader.join().expect("a reader panicked")?;
        }
        merged
    })?;
    writers.into_iter().try_for_each(LogWriter::finish)
}

fn merge(
    receivers: &[&Receiver<Moving>],
    writers: &mut [LogWriter],
    places: &mut Places,
) -> Result<(), Trouble> {
    let mut heads: Vec<Option<Moving>> = receivers.iter().map(|r| r.recv().ok()).collect();
    loop {
        let times = heads.iter().enumerate();
        let times = times.filter_map(|(at, head)| head.as_ref().map(|head| (head.time, at)));
        let Some((_, at)) = times.min() else { return Ok(()) };
        let next = receivers.get(at).and_then(|receiver| receiver.recv().ok());
        let head = heads.get_mut(at).and_then(|head| std::mem::replace(head, next));
        let Some(head) = head else { return Ok(()) };
        let writer = writers.get_mut(usize::from(head.stream.0)).expect("one of the new streams");
        let new = writer.append(head.bytes)?;
        places.moved(head.phy, new);
    }
}

fn read_records(
    place: &Place,
    stream: &StreamPlace,
    streams: u16,
    sender: &SyncSender<Moving>,
    watch: &Watch,
) -> Result<(), Trouble> {
    let deleted = place.deleted(stream)?;
    let walk = Walk::all(place, stream, watch);
    let walked = walk.run(&mut |step| {
        if let Step::Record { view, position, .. } = step
            && !deleted.covers(view.topic(), position)
        {
            let to = stream_of(view.topic(), view.queue_id(), streams);
            let time = view.store_timestamp().0;
            // The writer has failed and says why.
            let phy = PhyOffset::new(stream.stream, position).to_wire();
            let _ = sender.send(Moving { time, phy, stream: to, bytes: view.bytes().to_vec() });
        }
    });
    walked.map(|_| ()).map_err(|e| Trouble::io(&stream.dir, e))
}

/// One new log. It begins at its second segment's place: Java takes entries of fillers for messages where a log begins
/// at 0.
struct LogWriter {
    stream: StreamId,
    dir: PathBuf,
    segment_bytes: u64,
    at: u64,
    file: Option<BufWriter<File>>,
}

impl LogWriter {
    fn new(root: &Path, number: u16, segment_bytes: u64) -> LogWriter {
        let dir = match number {
            0 => root.join("commitlog"),
            n => root.join("streams").join(n.to_string()),
        };
        LogWriter { stream: StreamId(number), dir, segment_bytes, at: segment_bytes, file: None }
    }

    fn append(&mut self, mut record: Vec<u8>) -> Result<PhyOffset, Trouble> {
        let size = record.len() as u64;
        let left = self.segment_bytes - self.at % self.segment_bytes;
        if size + BLANK_BYTES > left {
            if size + BLANK_BYTES > self.segment_bytes {
                return Err(Trouble::new(&self.dir, "a record is larger than a segment"));
            }
            let mut filler = i32::try_from(left).unwrap_or(i32::MAX).to_be_bytes().to_vec();
            filler.extend(MAGIC_BLANK.to_be_bytes());
            self.write(&filler)?;
            self.close()?;
            self.at += left;
        }
        let phy = PhyOffset::new(self.stream, self.at);
        place_at(&mut record, phy);
        self.write(&record)?;
        self.at += size;
        Ok(phy)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let base = self.at - self.at % self.segment_bytes;
        let path = self.dir.join(segment::name(base));
        let wrote = match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => fs::create_dir_all(&self.dir).and_then(|()| File::create_new(&path)).and_then(
                |file| {
                    rustix::fs::fallocate(
                        &file,
                        rustix::fs::FallocateFlags::empty(),
                        0,
                        self.segment_bytes,
                    )?;
                    self.file.insert(BufWriter::with_capacity(1 << 20, file)).write_all(bytes)
                },
            ),
        };
        wrote.map_err(|e| Trouble::io(&path, e))
    }

    fn close(&mut self) -> Result<(), Trouble> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let synced = file.into_inner().map_err(io::IntoInnerError::into_error);
        synced.and_then(|file| file.sync_all()).map_err(|e| Trouble::io(&self.dir, e))
    }

    fn finish(mut self) -> Result<(), Trouble> {
        self.close()
    }
}

/// Gives a record its new place, and the CRC of the whole record, where it has one, its new value.
fn place_at(record: &mut [u8], phy: PhyOffset) {
    record[PHY_AT..PHY_AT + 8].copy_from_slice(&phy.to_wire().to_be_bytes());
    let begin = record.len() - CRC_PROPERTY_BYTES.min(record.len());
    let (covered, property) = record.split_at_mut(begin);
    if !property.starts_with(CRC_PROPERTY) {
        return;
    }
    let mut crc = crc32fast::hash(covered) & 0x7FFF_FFFF;
    for digit in property.iter_mut().skip(CRC_PROPERTY.len()).take(10) {
        // Java writes the last digit first.
        *digit = b'0' + u8::try_from(crc % 10).expect("a digit");
        crc /= 10;
    }
}

/// Queues whose messages have all expired keep their next offset.
fn keep_offsets(old: &Place, new: &Place) -> Result<(), Trouble> {
    let root = new.consume_queue.clone();
    let mut files = QueueFiles::new(Arc::new(LocalDisk), root.clone(), new.queue_file_bytes);
    for (topic, id) in old.queues()? {
        let dir = old.queue_dir(&topic, id);
        let (_, next) = extent(&LocalDisk, &dir, old.queue_file_bytes, u64::MAX, &|_, _| Ok(true))
            .map_err(|e| Trouble::io(&dir, e))?;
        let made = queue_dir(&root, topic.as_bytes(), QueueId(id.0));
        if next > 0 && !made.map_err(|e| Trouble::io(&root, e))?.exists() {
            let bytes = CqEntry::FILLER.encode().to_vec();
            let topic: Arc<[u8]> = Arc::from(topic.as_bytes());
            let write = QueueWrite {
                topic,
                queue: id,
                first: next - 1,
                bytes,
                extended: Extended::default(),
            };
            files.write(&write).map_err(|e| Trouble::io(&root, e))?;
        }
    }
    files.sync().map_err(|e| Trouble::io(&root, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_record_has_its_place_and_its_crc() {
        // The record that Java would make: its CRC covers all but the property itself.
        let mut record = vec![1; 120];
        record[100..109].copy_from_slice(CRC_PROPERTY);
        record[119] = 2;
        place_at(&mut record, PhyOffset::new(StreamId(3), 4096));
        assert_eq!(record[28..36], PhyOffset::new(StreamId(3), 4096).to_wire().to_be_bytes());
        let digits: Vec<u8> = record[109..119].iter().rev().copied().collect();
        let crc: u32 = String::from_utf8(digits).unwrap().parse().unwrap();
        assert_eq!(crc, crc32fast::hash(&record[..100]) & 0x7FFF_FFFF);
        assert_eq!(record[119], 2);
        let mut plain = vec![1; 120];
        place_at(&mut plain, PhyOffset(9));
        assert_eq!(plain[36..], [1; 84]);
    }
}
