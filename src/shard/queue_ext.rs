//! Java's extended queue entries on the background thread: read with the entries that name them, deleted with them, never
//! written.
//!
//! `<store>/consumequeue_ext/<topic>/<queue>/<20-digit start>`. An address whose unit is not there stays in the entry: such
//! a message passes every filter by tags, as with Java, and clients look at its tags themselves.

use crate::disk::{Access, Disk, DiskFile, read_full_at};
use crate::queue_files::{bases, queue_dir};
use std::io;
use std::path::{Path, PathBuf};
use store::layout::consume_queue::ENTRY_BYTES;
use store::layout::consume_queue_ext::{HEAD_BYTES, place, tags_code};
use store::layout::segment;
use wire::ids::QueueId;

/// Name of the directory, beside the one of the queue files.
const DIR: &str = "consumequeue_ext";
/// Where the tags code is in an entry.
const TAGS_AT: usize = 12;
/// Units of neighbouring entries lie side by side: so much is read at a time.
const CHUNK_BYTES: usize = 32 << 10;

/// Directory of a queue's extended entries; `queues` is the directory of all queue files.
pub(crate) fn ext_dir(queues: &Path, topic: &[u8], queue: QueueId) -> io::Result<PathBuf> {
    queue_dir(&queues.with_file_name(DIR), topic, queue)
}

/// Removes a queue's extended entries, if it has any.
pub(crate) fn remove(
    disk: &dyn Disk,
    queues: &Path,
    topic: &[u8],
    queue: QueueId,
) -> io::Result<()> {
    match disk.remove_dir_all(&ext_dir(queues, topic, queue)?) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Deletes the files before the one that holds the unit at `first`, an entry's tags code.
pub(crate) fn trim(disk: &dyn Disk, dir: &Path, first: i64) -> io::Result<()> {
    let Some(first) = place(first) else { return Ok(()) };
    let bases = match bases(disk, dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    for (base, next) in bases.iter().zip(bases.iter().skip(1)) {
        if *next <= first {
            disk.remove_file(&dir.join(segment::name(*base)))?;
        }
    }
    Ok(())
}

/// Puts the tags codes into encoded entries that have addresses in their place.
pub(crate) fn resolve(
    disk: &dyn Disk,
    queues: &Path,
    (topic, queue): (&[u8], QueueId),
    entries: &mut [u8],
) -> io::Result<()> {
    let mut units = None;
    for entry in entries.chunks_exact_mut(ENTRY_BYTES) {
        let Some((_, tags)) = entry.split_first_chunk_mut::<TAGS_AT>() else { continue };
        let Some(code) = tags.first_chunk_mut::<8>() else { continue };
        let Some(place) = place(i64::from_be_bytes(*code)) else { continue };
        let units = match &mut units {
            Some(units) => units,
            None => units.insert(Units::new(disk, ext_dir(queues, topic, queue)?)?),
        };
        if let Some(real) = units.tags_code(place)? {
            *code = real.to_be_bytes();
        }
    }
    Ok(())
}

/// The units of a queue, and the bytes that were read last.
struct Units<'d> {
    disk: &'d dyn Disk,
    dir: PathBuf,
    bases: Vec<u64>,
    open: Option<(u64, Box<dyn DiskFile>)>,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl Units<'_> {
    fn new(disk: &dyn Disk, dir: PathBuf) -> io::Result<Units<'_>> {
        let bases = match bases(disk, &dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            found => found?,
        };
        Ok(Units { disk, dir, bases, open: None, chunk: Vec::new(), chunk_at: 0 })
    }

    /// The tags code of the unit at `place`; `None` when it is not there.
    fn tags_code(&mut self, place: u64) -> io::Result<Option<i64>> {
        let count = self.bases.partition_point(|base| *base <= place);
        let Some(base) = count.checked_sub(1).and_then(|at| self.bases.get(at)).copied() else {
            return Ok(None);
        };
        if self.open.as_ref().is_none_or(|(open, _)| *open != base) {
            let file = self.disk.open(&self.dir.join(segment::name(base)), Access::Read)?;
            self.open = Some((base, file));
            self.chunk.clear();
        }
        let (_, file) = self.open.as_ref().expect("opened above");
        let held = place.checked_sub(self.chunk_at).and_then(|from| usize::try_from(from).ok());
        let held = held.filter(|from| from.saturating_add(HEAD_BYTES) <= self.chunk.len());
        let from = match held {
            Some(from) => from,
            None => {
                self.chunk.resize(CHUNK_BYTES, 0);
                let read = read_full_at(&**file, &mut self.chunk, place - base)?;
                self.chunk.truncate(read);
                self.chunk_at = place;
                0
            }
        };
        Ok(self.chunk.get(from..).and_then(tags_code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::LocalDisk;
    use std::fs;
    use store::layout::consume_queue::CqEntry;
    use wire::ids::PhyOffset;

    /// Files of 100 bytes, as Java fills them: units of 20 and 28 bytes, the end of a file with its mark.
    fn write_units(dir: &Path) -> Vec<(u64, i64)> {
        let mut units = Vec::new();
        for base in [0, 100, 200] {
            let mut bytes = Vec::new();
            for (number, map) in [(1i64, 0i16), (2, 8), (3, 0)] {
                let code = i64::try_from(base).unwrap() + number;
                units.push((base + bytes.len() as u64, code));
                bytes.extend_from_slice(&(20 + map).to_be_bytes());
                bytes.extend_from_slice(&code.to_be_bytes());
                bytes.extend_from_slice(&5i64.to_be_bytes());
                bytes.extend_from_slice(&map.to_be_bytes());
                bytes.resize(bytes.len() + usize::try_from(map).unwrap(), 9);
            }
            bytes.extend_from_slice(&(-1i16).to_be_bytes());
            bytes.resize(100, 0);
            fs::write(dir.join(segment::name(base)), bytes).unwrap();
        }
        units
    }

    fn entry(tags_code: i64) -> Vec<u8> {
        CqEntry { phy: PhyOffset(7), size: 100, tags_code }.encode().to_vec()
    }

    fn address(place: u64) -> i64 {
        i64::MIN + i64::try_from(place).unwrap()
    }

    #[test]
    fn entries_get_the_codes_of_their_units_and_files_go_when_nothing_names_them() {
        let root = tempfile::tempdir().unwrap();
        let queues = root.path().join("consumequeue");
        let name = (&b"T"[..], QueueId(3));
        let dir = ext_dir(&queues, name.0, name.1).unwrap();
        let mut plain = entry(-5);
        let mut lost = entry(address(0));
        resolve(&LocalDisk, &queues, name, &mut plain).unwrap();
        resolve(&LocalDisk, &queues, name, &mut lost).unwrap();
        assert_eq!((plain, lost), (entry(-5), entry(address(0))), "nothing is there");
        fs::create_dir_all(&dir).unwrap();
        let units = write_units(&dir);
        let mut given: Vec<u8> = units.iter().flat_map(|(at, _)| entry(address(*at))).collect();
        let mut expected: Vec<u8> = units.iter().flat_map(|(_, code)| entry(*code)).collect();
        // The mark at a file's end, and a place where no file is.
        for tags in [0, address(68), address(300)] {
            given.extend(entry(tags));
            expected.extend(entry(tags));
        }
        resolve(&LocalDisk, &queues, name, &mut given).unwrap();
        assert_eq!(given, expected);
        trim(&LocalDisk, &dir, -5).unwrap();
        trim(&LocalDisk, &dir, address(120)).unwrap();
        assert_eq!(bases(&LocalDisk, &dir).unwrap(), [100, 200]);
        remove(&LocalDisk, &queues, name.0, name.1).unwrap();
        remove(&LocalDisk, &queues, name.0, name.1).unwrap();
        assert!(!dir.exists());
    }
}
