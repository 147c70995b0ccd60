//! Consume-queue files on the background thread: writes, syncs, and reads of old entries.
//!
//! `<store>/consumequeue/<topic>/<queue>/<20-digit start>`, fixed size, entries as `store::layout` says. Open
//! files are bounded; those written since the last sync are remembered by path.

use crate::disk::{Access, Disk, DiskFile, make_dirs, read_full_at, write_full_at};
use crate::queue_ext::{self, ExtWriter};
use crate::store_dir::StorePaths;
use hashbrown::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::layout::consume_queue::{CqEntry, ENTRY_BYTES};
use store::layout::consume_queue_ext::MapTest;
use store::layout::segment;
use store::op::{QueueTrim, QueueWrite, Trimmed};
use wire::ids::{PhyOffset, QueueId};

/// More files than these are synced together with all else on their file system.
const SYNC_FILES_MAX: usize = 64;
/// Files kept open between writes.
const OPEN_FILES_MAX: usize = 512;

/// The queue files of a store, as one background thread uses them.
pub struct QueueFiles {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    file_bytes: u64,
    open: HashMap<PathBuf, Box<dyn DiskFile>>,
    unsynced: HashSet<PathBuf>,
    /// There are more of them than are listed, and the whole file system is synced.
    sync_all: bool,
    /// Directories with new names.
    unsynced_dirs: HashSet<PathBuf>,
    /// Where extended entries are written.
    ext: Option<ExtWriter>,
}

/// Directory of a queue below `root` (`<store>/consumequeue`). Errors: a topic that is no single path element.
pub fn queue_dir(root: &Path, topic: &[u8], queue: QueueId) -> io::Result<PathBuf> {
    let name = std::str::from_utf8(topic).ok();
    let name = name.filter(|n| !n.is_empty() && !n.contains('/') && *n != "." && *n != "..");
    let name = name.ok_or_else(|| io::Error::other("a topic name that cannot be a directory"))?;
    Ok(root.join(name).join(queue.0.to_string()))
}

impl QueueFiles {
    /// Queue files below `root`, each of `file_bytes` (a multiple of 20).
    pub fn new(disk: Arc<dyn Disk>, root: PathBuf, file_bytes: u64) -> QueueFiles {
        assert!(file_bytes > 0 && file_bytes.is_multiple_of(ENTRY_BYTES as u64));
        QueueFiles {
            disk,
            root,
            file_bytes,
            open: HashMap::new(),
            unsynced: HashSet::new(),
            sync_all: false,
            unsynced_dirs: HashSet::new(),
            ext: None,
        }
    }

    /// Writes extended entries, too, in files of `file_bytes`.
    pub(crate) fn with_extended(self, file_bytes: u64) -> QueueFiles {
        QueueFiles { ext: Some(ExtWriter::new(file_bytes)), ..self }
    }

    /// Writes entries at their places.
    pub fn write(&mut self, write: &QueueWrite) -> io::Result<()> {
        let dir = queue_dir(&self.root, &write.topic, write.queue)?;
        let first = u64::try_from(write.first).map_err(|_| io::ErrorKind::InvalidInput)?;
        if first == 0 {
            self.begin(&dir)?;
            queue_ext::remove(&*self.disk, &self.root, &write.topic, write.queue)?;
        }
        let extended = self.extend(write)?;
        let mut at = first * ENTRY_BYTES as u64;
        let mut rest = extended.as_deref().unwrap_or(&write.bytes);
        while !rest.is_empty() {
            let base = at - at % self.file_bytes;
            let room = usize::try_from(base + self.file_bytes - at).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(room.min(rest.len()));
            let path = dir.join(segment::name(base));
            let file = self.file(&path, at - base)?;
            write_full_at(file, now, at - base)?;
            self.note_unsynced([path]);
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// The entries with addresses of units, which are written; `None` where they stay as they are.
    fn extend(&mut self, write: &QueueWrite) -> io::Result<Option<Vec<u8>>> {
        let Some(ext) = self.ext.as_mut().filter(|_| !write.extended.times.is_empty()) else {
            return Ok(None);
        };
        let dir = queue_ext::ext_dir(&self.root, &write.topic, write.queue)?;
        if write.first == 0 {
            ext.forget(&dir);
        }
        let mut bytes = write.bytes.clone();
        let mut touched = Vec::new();
        ext.write(&*self.disk, &dir, (&mut bytes, &write.extended), &mut touched)?;
        self.note_unsynced(touched);
        self.unsynced_dirs.extend(dir.ancestors().take(3).map(Path::to_path_buf));
        self.unsynced_dirs.extend(self.root.parent().map(Path::to_path_buf));
        Ok(Some(bytes))
    }

    /// The next `sync` covers these files. With many queues a list of all of them would cost as much as writing them.
    fn note_unsynced(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        if !self.sync_all {
            self.unsynced.extend(paths);
            self.sync_all = self.unsynced.len() > SYNC_FILES_MAX;
        }
    }

    /// A queue begins: what its directory holds is of a deleted topic of that name, whose files could not be removed then.
    /// Where they cannot be removed now either, nothing may be written: a start would take them for this queue's.
    fn begin(&mut self, dir: &Path) -> io::Result<()> {
        match self.disk.remove_dir_all(dir) {
            // As nearly always: then there is nothing to forget, and looking through all open files for it takes long.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        }
        self.open.retain(|path, _| !path.starts_with(dir));
        self.unsynced.retain(|path| !path.starts_with(dir));
        Ok(())
    }

    /// Makes everything written so far durable.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.sync_all {
            // One pass over the file system costs less than a journal commit for each of thousands of files.
            self.disk.sync_file_system(&self.root)?;
            self.sync_all = false;
            self.unsynced.clear();
            self.unsynced_dirs.clear();
            return Ok(());
        }
        for path in std::mem::take(&mut self.unsynced) {
            let synced = match self.open.get(&path) {
                Some(file) => file.sync_data(),
                None => match self.disk.open(&path, Access::Read) {
                    Ok(file) => file.sync_data(),
                    // Its topic was deleted meanwhile.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                    Err(e) => Err(e),
                },
            };
            synced?;
        }
        for dir in std::mem::take(&mut self.unsynced_dirs) {
            match self.disk.sync_dir(&dir) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Finds the first entry whose record is at or behind the log's start, and deletes the files before it; the last one stays.
    pub fn trim(&mut self, trim: &QueueTrim) -> io::Result<Trimmed> {
        let dir = queue_dir(&self.root, &trim.topic, trim.queue)?;
        let (min, phy) = first_at(&*self.disk, &dir, self.file_bytes, trim.held, trim.start)?;
        let kept =
            u64::try_from(min.min(trim.held.1 - 1)).map_err(|_| io::ErrorKind::InvalidInput)?;
        let kept = kept * ENTRY_BYTES as u64;
        for base in
            bases(&*self.disk, &dir)?.into_iter().filter(|base| base + self.file_bytes <= kept)
        {
            let path = dir.join(segment::name(base));
            self.open.remove(&path);
            self.unsynced.remove(&path);
            self.disk.remove_file(&path)?;
        }
        if min < trim.held.1
            && let Some(first) = entry_of(&*self.disk, &dir, self.file_bytes, min)?
        {
            let ext = queue_ext::ext_dir(&self.root, &trim.topic, trim.queue)?;
            queue_ext::trim(&*self.disk, &ext, first.tags_code)?;
        }
        Ok(Trimmed { no: trim.no, min, phy })
    }

    fn file(&mut self, path: &Path, first_byte: u64) -> io::Result<&dyn DiskFile> {
        // The file of a deleted topic has no name any more; a new topic of that name gets a new file.
        if self.open.get(path).is_some_and(|file| file.is_nameless()) {
            self.open.remove(path);
        }
        if !self.open.contains_key(path) {
            if self.open.len() >= OPEN_FILES_MAX {
                self.open.clear();
            }
            let file = self.open_or_create(path, first_byte)?;
            self.open.insert(path.to_path_buf(), file);
        }
        Ok(&**self.open.get(path).expect("inserted above"))
    }

    /// A new file gets its full size; one that does not begin with its first entry gets Java's filler before it.
    fn open_or_create(&mut self, path: &Path, first_byte: u64) -> io::Result<Box<dyn DiskFile>> {
        match self.disk.open(path, Access::Write) {
            Ok(file) => match file.bytes()? {
                // It is left where the disk had no room for it, or by a power cut.
                0 => {}
                bytes if bytes < self.file_bytes => {
                    file.set_bytes(self.file_bytes)?;
                    return Ok(file);
                }
                _ => return Ok(file),
            },
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Err(_) => {}
        }
        let dir = path.parent().expect("a queue file lies in a directory");
        make_dirs(&*self.disk, dir)?;
        // Nobody counts on the file before the next `sync`. Another shard may have made the directories above, and
        // not have synced them.
        let above = dir.ancestors().skip(1).take_while(|above| above.starts_with(&self.root));
        self.unsynced_dirs
            .extend(above.chain([dir]).chain(self.root.parent()).map(Path::to_path_buf));
        let file = self.disk.open(path, Access::Create)?;
        file.set_bytes(self.file_bytes)?;
        let filler = usize::try_from(first_byte).unwrap_or(0) / ENTRY_BYTES;
        if filler > 0
            && let Err(error) = write_full_at(&*file, &CqEntry::FILLER.encode().repeat(filler), 0)
        {
            // Empty, it is made again.
            let _ = file.set_bytes(0);
            return Err(error);
        }
        Ok(file)
    }
}

/// Reads up to `count` entries from offset `first`, all from one file; fewer at its end, none if it is missing. Those that
/// `test` does not want say so.
pub fn read_entries(
    paths: &StorePaths,
    (topic, queue): (&[u8], QueueId),
    first: i64,
    count: usize,
    test: Option<&MapTest>,
) -> io::Result<Vec<u8>> {
    let at = u64::try_from(first).map_err(|_| io::ErrorKind::InvalidInput)? * ENTRY_BYTES as u64;
    let base = at - at % paths.queue_file_bytes;
    let path = queue_dir(&paths.consume_queue, topic, queue)?.join(segment::name(base));
    let file = paths.disk.open(&path, Access::Read)?;
    let room = usize::try_from(base + paths.queue_file_bytes - at).unwrap_or(usize::MAX);
    let mut bytes = vec![0; room.min(count * ENTRY_BYTES)];
    let filled = read_full_at(&*file, &mut bytes, at - base)?;
    bytes.truncate(filled);
    queue_ext::resolve(&*paths.disk, &paths.consume_queue, (topic, queue), &mut bytes, test)?;
    Ok(bytes)
}

/// Whether the record that an entry names has this queue offset.
pub type NamesRecord<'n> = dyn Fn(&CqEntry, u64) -> io::Result<bool> + 'n;

/// Bytes of an entry that say where its record lies.
const PLACE_BYTES: usize = 12;

/// Whether a power cut can leave one part of an entry's place without the other: it lies in two sectors.
fn may_be_torn(index: u64) -> bool {
    const SECTOR_BYTES: u64 = 512;
    let at = index * ENTRY_BYTES as u64;
    at / SECTOR_BYTES != (at + PLACE_BYTES as u64 - 1) / SECTOR_BYTES
}

/// Starts of a queue's files, ascending.
pub(crate) fn bases(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<u64>> {
    let names = disk.list(dir)?;
    let mut bases: Vec<u64> = names.iter().filter_map(|name| segment::parse_name(name)).collect();
    bases.sort_unstable();
    Ok(bases)
}

/// How a queue's files are judged at a start.
#[derive(Clone, Copy)]
pub(crate) struct FilesExpected {
    /// `mappedFileSizeConsumeQueue`.
    pub(crate) file_bytes: u64,
    /// The log begins at 0, and so does every queue.
    pub(crate) from_zero: bool,
    /// The last stop was orderly. Otherwise a file may be short: its size had not reached the disk.
    pub(crate) clean: bool,
}

/// Whether a queue has all of its files up to the last. Errors: files of another size than is configured.
pub(crate) fn check_files(
    disk: &dyn Disk,
    dir: &Path,
    expected: FilesExpected,
) -> io::Result<bool> {
    let FilesExpected { file_bytes, from_zero, clean } = expected;
    let bases = bases(disk, dir)?;
    let (Some(first), Some(last)) = (bases.first().copied(), bases.last().copied()) else {
        return Ok(true);
    };
    let path = dir.join(segment::name(first));
    let bytes = disk.file_bytes(&path)?;
    let is_other = bytes > file_bytes
        || bytes > 0 && bytes < file_bytes && clean
        || bases.iter().any(|base| base % file_bytes != 0);
    if is_other {
        let path = path.display();
        return Err(io::Error::other(format!(
            "{path} has {bytes} bytes, not the {file_bytes} of mappedFileSizeConsumeQueue; start with \
             mappedFileSizeConsumeQueue={bytes}, with which the store was written"
        )));
    }
    let has_all = (last - first) / file_bytes + 1 == bases.len() as u64;
    Ok(has_all && !(from_zero && first > 0))
}

/// Among the offsets `[held.0, held.1)` of a queue's files the first whose record lies at or behind `start`, and where;
/// `held.1` when there is none. Entries of other streams lie before. Fillers and entries in missing files, which stand for
/// messages that are lost, say nothing about those around them.
pub(crate) fn first_at(
    disk: &dyn Disk,
    dir: &Path,
    file_bytes: u64,
    held: (i64, i64),
    start: PhyOffset,
) -> io::Result<(i64, Option<PhyOffset>)> {
    let mut reader = EntryReader { disk, dir, file_bytes, open: None };
    let (mut low, mut high) = held;
    let mut found = (held.1, None);
    while low < high {
        let middle = low + (high - low) / 2;
        match reader.next_entry(middle, high)? {
            None => high = middle,
            Some((at, phy)) if phy.stream() == start.stream() && phy >= start => {
                found = (at, Some(phy));
                high = middle;
            }
            Some((at, _)) => low = at + 1,
        }
    }
    Ok(found)
}

/// Reads entries of a queue, one file open at a time.
struct EntryReader<'d> {
    disk: &'d dyn Disk,
    dir: &'d Path,
    file_bytes: u64,
    open: Option<(u64, Option<Box<dyn DiskFile>>)>,
}

impl EntryReader<'_> {
    /// The first entry in `[from, end)` that names a record: its offset, and the record's place.
    fn next_entry(&mut self, from: i64, end: i64) -> io::Result<Option<(i64, PhyOffset)>> {
        let bytes_of = |offset: i64| {
            let offset = u64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
            io::Result::Ok(offset * ENTRY_BYTES as u64)
        };
        let (mut at, end) = (bytes_of(from)?, bytes_of(end)?);
        // Mostly the first one is it.
        let mut chunk = vec![0; ENTRY_BYTES];
        while at < end {
            let base = at - at % self.file_bytes;
            if self.open.as_ref().is_none_or(|(held, _)| *held != base) {
                let file = open_existing(self.disk, &self.dir.join(segment::name(base)))?;
                self.open = Some((base, file));
            }
            let stop = end.min(base + self.file_bytes);
            let Some((_, Some(file))) = &self.open else {
                at = stop;
                continue;
            };
            let len = chunk.len().min(usize::try_from(stop - at).unwrap_or(usize::MAX));
            let read = read_full_at(&**file, &mut chunk[..len], at - base)?;
            let names = |bytes: &[u8]| CqEntry::decode(bytes).filter(|entry| !entry.is_filler());
            let mut entries = chunk[..read].chunks_exact(ENTRY_BYTES).map(names);
            if let Some(number) = entries.position(|entry| entry.is_some()) {
                let here = &chunk[number * ENTRY_BYTES..];
                let offset = i64::try_from(at / ENTRY_BYTES as u64).expect("came from one");
                let number_of = i64::try_from(number).expect("an entry of the chunk");
                return Ok(names(here).map(|entry| (offset + number_of, entry.phy)));
            }
            at = if read < len { stop } else { at + len as u64 };
            chunk.resize(1000 * ENTRY_BYTES, 0);
        }
        Ok(None)
    }
}

fn open_existing(disk: &dyn Disk, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
    match disk.open(path, Access::Read) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// End of the record of the newest entry; `None` without one.
pub(crate) fn last_end(
    disk: &dyn Disk,
    dir: &Path,
    file_bytes: u64,
    held: (i64, i64),
) -> io::Result<Option<u64>> {
    if held.0 >= held.1 {
        return Ok(None);
    }
    Ok(entry_of(disk, dir, file_bytes, held.1 - 1)?.map(|entry| entry.end()))
}

/// The entry at an offset in the files; `None` for a filler.
fn entry_of(
    disk: &dyn Disk,
    dir: &Path,
    file_bytes: u64,
    offset: i64,
) -> io::Result<Option<CqEntry>> {
    let at = u64::try_from(offset).map_err(|_| io::ErrorKind::InvalidData)? * ENTRY_BYTES as u64;
    let base = at - at % file_bytes;
    let file = disk.open(&dir.join(segment::name(base)), Access::Read)?;
    let mut bytes = [0; ENTRY_BYTES];
    let read = read_full_at(&*file, &mut bytes, at - base)?;
    Ok(CqEntry::decode(&bytes[..read]).filter(|entry| !entry.is_filler()))
}

/// Where the record of the oldest entry in a queue's files lies; `None` without one.
pub(crate) fn first_place(
    disk: &dyn Disk,
    dir: &Path,
    file_bytes: u64,
) -> io::Result<Option<PhyOffset>> {
    let (first, next) = extent(disk, dir, file_bytes, u64::MAX, &|_, _| Ok(true))?;
    if first >= next {
        return Ok(None);
    }
    Ok(entry_of(disk, dir, file_bytes, first)?.map(|entry| entry.phy))
}

/// Clears entries from offset `next` on, which belong to records that are not in the log, and the files behind.
///
/// Returns whether there were any.
pub fn cut_entries(disk: &dyn Disk, dir: &Path, file_bytes: u64, next: i64) -> io::Result<bool> {
    let at = u64::try_from(next).map_err(|_| io::ErrorKind::InvalidInput)? * ENTRY_BYTES as u64;
    let mut found = false;
    for (number, base) in bases(disk, dir)?.into_iter().enumerate().rev() {
        if base + file_bytes <= at {
            break;
        }
        let path = dir.join(segment::name(base));
        // The only file stays when it begins there: its name keeps the offset.
        if base > at || base == at && number > 0 {
            disk.remove_file(&path)?;
            found = true;
            continue;
        }
        let file = disk.open(&path, Access::Write)?;
        if clear_from(&*file, at - base, file_bytes)? {
            file.sync_data()?;
            found = true;
        }
    }
    if found {
        disk.sync_dir(dir)?;
    }
    Ok(found)
}

/// Writes zeros over what is stored in a file from `at` to `end`; whether there was anything else.
fn clear_from(file: &dyn DiskFile, mut at: u64, end: u64) -> io::Result<bool> {
    let mut found = false;
    let mut bytes = Vec::new();
    // Nearly all of most queue files was never written: reading it would take a start with many queues minutes.
    while let Some(from) = file.next_data(at)?.filter(|from| *from < end) {
        bytes.resize(usize::try_from(end - from).unwrap_or(usize::MAX).min(64 << 10), 0);
        let read = read_full_at(file, &mut bytes, from)?;
        if read == 0 {
            break;
        }
        if bytes[..read].iter().any(|b| *b != 0) {
            bytes[..read].fill(0);
            write_full_at(file, &bytes[..read], from)?;
            found = true;
        }
        at = from + read as u64;
    }
    Ok(found)
}

/// First and next offset that a queue's files hold, counting only entries of records below `position_max`.
///
/// Behind those the files may hold any part of what was written since the last sync: of an entry in two sectors
/// perhaps the second only, which then seems to name an early record. `names_record` tells.
pub fn extent(
    disk: &dyn Disk,
    dir: &Path,
    file_bytes: u64,
    position_max: u64,
    names_record: &NamesRecord<'_>,
) -> io::Result<(i64, i64)> {
    let bases = bases(disk, dir)?;
    let per_file = file_bytes / ENTRY_BYTES as u64;
    let entry_at = |file: &dyn DiskFile, index: u64| -> io::Result<Option<CqEntry>> {
        let mut bytes = [0; ENTRY_BYTES];
        let read = read_full_at(file, &mut bytes, index * ENTRY_BYTES as u64)?;
        let entry = CqEntry::decode(&bytes[..read]);
        Ok(entry.filter(|e| e.is_filler() || e.phy.position() < position_max))
    };
    let holds = |file: &dyn DiskFile, base: u64, index: u64| -> io::Result<bool> {
        let Some(entry) = entry_at(file, index)? else { return Ok(false) };
        if entry.is_filler() || !may_be_torn(index) {
            return Ok(true);
        }
        // The one before is in the same file, and whole if this one counts; in a stream it names an earlier record.
        let before = entry_at(file, index.saturating_sub(1))?;
        let follows = before.is_some_and(|before| {
            let apart = before.is_filler() || before.phy.stream() != entry.phy.stream();
            apart || before.phy < entry.phy
        });
        Ok(follows && names_record(&entry, base / ENTRY_BYTES as u64 + index)?)
    };
    let Some(first_base) = bases.first().copied() else { return Ok((0, 0)) };
    let mut next = first_base / ENTRY_BYTES as u64;
    for base in bases.iter().rev() {
        let file = disk.open(&dir.join(segment::name(*base)), Access::Read)?;
        let (mut low, mut high) = (0, per_file);
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(&*file, *base, middle)? { low = middle + 1 } else { high = middle }
        }
        if low > 0 {
            next = base / ENTRY_BYTES as u64 + low;
            break;
        }
    }
    let first_file = disk.open(&dir.join(segment::name(first_base)), Access::Read)?;
    let mut min = first_base / ENTRY_BYTES as u64;
    // Fillers also stand for messages that were lost to damage; those do not begin the file.
    let begins_filled = entry_at(&*first_file, 0)?.is_some_and(|e| e.is_filler());
    let (mut low, mut high) = (0, if begins_filled { (next - min).min(per_file) } else { 0 });
    while low < high {
        let middle = low + (high - low) / 2;
        let filler = entry_at(&*first_file, middle)?.is_some_and(|e| e.is_filler());
        if filler { low = middle + 1 } else { high = middle }
    }
    min += low;
    let offset = |n: u64| i64::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
    Ok((offset(min)?, offset(next)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::LocalDisk;
    use std::fs;
    use store::op::Extended;
    use store::queues::QueueNo;

    const FILE_BYTES: u64 = 200;

    fn entries(count: u64) -> Vec<u8> {
        let entry = |i| CqEntry { phy: PhyOffset(i * 100), size: 100, tags_code: 0 };
        (0..count).flat_map(|i| entry(i).encode()).collect()
    }

    fn write(first: i64, count: u64) -> QueueWrite {
        QueueWrite {
            topic: Arc::from(&b"T"[..]),
            queue: QueueId(3),
            first,
            bytes: entries(count),
            extended: Extended::default(),
        }
    }

    fn yes(_: &CqEntry, _: u64) -> io::Result<bool> {
        Ok(true)
    }

    #[test]
    fn half_an_entry_is_none() {
        // Entry 102 begins 8 bytes before a sector's end: its position is in one, its size in the next.
        assert!(may_be_torn(102) && !may_be_torn(101));
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = entries(102);
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&entries(1)[8..]);
        bytes.resize(4000, 0);
        fs::write(dir.path().join(segment::name(0)), &bytes).unwrap();
        let names_record = |e: &CqEntry, offset: u64| Ok(e.phy.position() == offset * 100);
        let found = extent(&LocalDisk, dir.path(), 4000, 102 * 100, &names_record).unwrap();
        assert_eq!(found, (0, 102));
        // Where the early record has expired nobody can tell, but its entry does not follow the one before.
        let found = extent(&LocalDisk, dir.path(), 4000, 102 * 100, &yes).unwrap();
        assert_eq!(found, (0, 102));
    }

    #[test]
    fn entries_cross_files_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = QueueFiles::new(Arc::new(LocalDisk), dir.path().to_path_buf(), FILE_BYTES);
        files.write(&write(0, 25)).unwrap();
        files.sync().unwrap();
        let queue = dir.path().join("T/3");
        assert_eq!(fs::read_dir(&queue).unwrap().count(), 3);
        assert_eq!(extent(&LocalDisk, &queue, FILE_BYTES, u64::MAX, &yes).unwrap(), (0, 25));
        assert_eq!(extent(&LocalDisk, &queue, FILE_BYTES, 1200, &yes).unwrap(), (0, 12));
        let paths = StorePaths::for_test(dir.path(), dir.path(), FILE_BYTES);
        let bytes = read_entries(&paths, (b"T", QueueId(3)), 8, 100, None).unwrap();
        assert_eq!(bytes, entries(25)[160..200], "to the end of that file");
        assert!(read_entries(&paths, (b"T", QueueId(3)), 30, 9, None).is_err(), "no such file");
    }

    #[test]
    fn an_empty_file_is_made_again_and_one_of_another_size_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let queue = dir.path().join("T/3");
        fs::create_dir_all(&queue).unwrap();
        let path = queue.join("00000000000000000200");
        fs::write(&path, b"").unwrap();
        let check = |file_bytes, from_zero| {
            let expected = FilesExpected { file_bytes, from_zero, clean: false };
            check_files(&LocalDisk, &queue, expected)
        };
        assert!(check(FILE_BYTES, false).unwrap());
        assert!(!check(FILE_BYTES, true).unwrap(), "0 is missing");
        let mut files = QueueFiles::new(Arc::new(LocalDisk), dir.path().to_path_buf(), FILE_BYTES);
        files.write(&write(14, 1)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), FILE_BYTES);
        assert_eq!(extent(&LocalDisk, &queue, FILE_BYTES, u64::MAX, &yes).unwrap(), (14, 15));
        let error = check(400, false).unwrap_err().to_string();
        assert!(error.contains("0200 has 200 bytes") && error.contains("=200"), "{error}");
        files.write(&write(1, 1)).unwrap();
        files.write(&write(20, 1)).unwrap();
        assert!(check(FILE_BYTES, true).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!check(FILE_BYTES, true).unwrap(), "a hole");
    }

    #[test]
    fn a_topic_that_is_made_anew_takes_nothing_over_from_files_that_could_not_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = QueueFiles::new(Arc::new(LocalDisk), dir.path().to_path_buf(), FILE_BYTES);
        files.write(&write(0, 25)).unwrap();
        // The topic was deleted, its files were not.
        files.write(&write(0, 3)).unwrap();
        files.sync().unwrap();
        let queue = dir.path().join("T/3");
        assert_eq!(extent(&LocalDisk, &queue, FILE_BYTES, u64::MAX, &yes).unwrap(), (0, 3));
        assert_eq!(fs::read_dir(&queue).unwrap().count(), 1);
        // What cannot be removed now either is an error, which stops the store.
        fs::remove_dir_all(&queue).unwrap();
        fs::write(&queue, b"no directory").unwrap();
        assert!(files.write(&write(0, 3)).is_err());
    }

    #[test]
    fn a_queue_follows_the_start_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = QueueFiles::new(Arc::new(LocalDisk), dir.path().to_path_buf(), FILE_BYTES);
        files.write(&write(0, 25)).unwrap();
        let trim = |files: &mut QueueFiles, start| {
            let held = (0, 25);
            let (no, topic) = (QueueNo(0), Arc::from(&b"T"[..]));
            let trim = QueueTrim { no, topic, queue: QueueId(3), held, start: PhyOffset(start) };
            let done = files.trim(&trim).unwrap();
            let left = fs::read_dir(dir.path().join("T/3")).unwrap().count();
            (done.min, done.phy.map(|phy| phy.0), left)
        };
        assert_eq!(trim(&mut files, 0), (0, Some(0), 3));
        assert_eq!(trim(&mut files, 950), (10, Some(1000), 2));
        assert_eq!(trim(&mut files, 1001), (11, Some(1100), 2));
        assert_eq!(trim(&mut files, 9000), (25, None, 1), "the last file keeps the offset");
        assert_eq!(
            extent(&LocalDisk, &dir.path().join("T/3"), FILE_BYTES, u64::MAX, &yes).unwrap(),
            (20, 25)
        );
    }

    #[test]
    fn lost_messages_in_the_middle_do_not_move_the_start_behind_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = QueueFiles::new(Arc::new(LocalDisk), dir.path().to_path_buf(), FILE_BYTES);
        files.write(&write(0, 25)).unwrap();
        let lost = CqEntry::FILLER.encode().repeat(9);
        files.write(&QueueWrite { bytes: lost, ..write(7, 9) }).unwrap();
        let queue = dir.path().join("T/3");
        let first = |start| {
            let (at, phy) =
                first_at(&LocalDisk, &queue, FILE_BYTES, (0, 25), PhyOffset(start)).unwrap();
            (at, phy.map(|phy| phy.0))
        };
        assert_eq!(first(0), (0, Some(0)));
        assert_eq!(first(550), (6, Some(600)));
        assert_eq!(first(601), (16, Some(1600)), "where the first one is that is left");
        assert_eq!(first(2401), (25, None));
        fs::remove_file(queue.join(segment::name(200))).unwrap();
        assert_eq!(first(550), (6, Some(600)), "nor does a missing file");
        assert_eq!(first(601), (20, Some(2000)));
    }

    #[test]
    fn a_queue_that_begins_late_gets_javas_filler() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = QueueFiles::new(Arc::new(LocalDisk), dir.path().to_path_buf(), FILE_BYTES);
        files.write(&write(14, 3)).unwrap();
        let queue = dir.path().join("T/3");
        assert_eq!(extent(&LocalDisk, &queue, FILE_BYTES, u64::MAX, &yes).unwrap(), (14, 17));
        let bytes = fs::read(queue.join("00000000000000000200")).unwrap();
        assert!(CqEntry::decode(&bytes).unwrap().is_filler());
    }

    #[test]
    fn a_lost_message_does_not_hide_those_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = QueueFiles::new(Arc::new(LocalDisk), dir.path().to_path_buf(), FILE_BYTES);
        files.write(&write(0, 9)).unwrap();
        let lost = QueueWrite { bytes: CqEntry::FILLER.encode().to_vec(), ..write(4, 1) };
        files.write(&lost).unwrap();
        let queue = dir.path().join("T/3");
        assert_eq!(extent(&LocalDisk, &queue, FILE_BYTES, u64::MAX, &yes).unwrap(), (0, 9));
    }

    #[test]
    fn entries_behind_the_log_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = QueueFiles::new(Arc::new(LocalDisk), dir.path().to_path_buf(), FILE_BYTES);
        files.write(&write(0, 25)).unwrap();
        let queue = dir.path().join("T/3");
        let cut = |next| {
            let found = cut_entries(&LocalDisk, &queue, FILE_BYTES, next).unwrap();
            let held = extent(&LocalDisk, &queue, FILE_BYTES, u64::MAX, &yes).unwrap();
            (found, held, fs::read_dir(&queue).unwrap().count())
        };
        assert_eq!(cut(25), (false, (0, 25), 3));
        assert_eq!(cut(24), (true, (0, 24), 3));
        assert_eq!(cut(20), (true, (0, 20), 2));
        assert_eq!(cut(3), (true, (0, 3), 1));
        assert_eq!(fs::metadata(queue.join("00000000000000000000")).unwrap().len(), FILE_BYTES);
        assert_eq!(cut(0), (true, (0, 0), 1));
    }

    #[test]
    fn a_topic_is_one_path_element() {
        assert!(queue_dir(Path::new("/x"), b"../etc", QueueId(0)).is_err());
        assert!(queue_dir(Path::new("/x"), b"..", QueueId(0)).is_err());
        assert!(queue_dir(Path::new("/x"), b"", QueueId(0)).is_err());
    }
}
