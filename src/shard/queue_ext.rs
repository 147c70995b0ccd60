//! Java's extended queue entries on the background thread: read with the entries that name them, deleted with them, and
//! written before them (`enableConsumeQueueExt`), durable no later than they are.
//!
//! `<store>/consumequeue_ext/<topic>/<queue>/<20-digit start>`. An address whose unit is not there stays in the entry: such
//! a message passes every filter by tags, as with Java, and clients look at its tags themselves.

use crate::disk::{Access, Disk, DiskFile, make_dirs, read_full_at, write_full_at};
use crate::queue_files::{bases, queue_dir};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use store::layout::consume_queue::{CqEntry, ENTRY_BYTES};
use store::layout::consume_queue_ext::{
    END_BYTES, END_MARK, HEAD_BYTES, MapTest, Next, PASSED_OVER, UNIT_BYTES_MIN, Unit, address,
    next, place, tags_code,
};
use store::layout::segment;
use store::op::Extended;
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

/// Puts the tags codes into encoded entries that have addresses in their place, or what says that `test` does not want the
/// message.
pub(crate) fn resolve(
    disk: &dyn Disk,
    queues: &Path,
    (topic, queue): (&[u8], QueueId),
    entries: &mut [u8],
    test: Option<&MapTest>,
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
        if let Some(real) = units.tags_code(place, test)? {
            *code = real.to_be_bytes();
        }
    }
    Ok(())
}

/// Where a queue's units end and how large its files are.
#[derive(Clone, Copy)]
struct End {
    at: u64,
    file_bytes: u64,
}

/// Writes units behind those that are there. What a process that died has left behind its last unit is cleared.
pub(crate) struct ExtWriter {
    file_bytes: u64,
    ends: HashMap<PathBuf, End>,
}

impl ExtWriter {
    /// New queues get files of `file_bytes` (`mappedFileSizeConsumeQueueExt`); others keep their size.
    pub(crate) fn new(file_bytes: u64) -> ExtWriter {
        ExtWriter { file_bytes, ends: HashMap::new() }
    }

    /// A queue's files are gone.
    pub(crate) fn forget(&mut self, dir: &Path) {
        self.ends.remove(dir);
    }

    /// Puts addresses into encoded entries, and what was there into units, with what else those say. The files that were
    /// written are added to `touched`. A bit map that is too long for the files is left out.
    pub(crate) fn write(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        (entries, extended): (&mut [u8], &Extended),
        touched: &mut Vec<PathBuf>,
    ) -> io::Result<()> {
        // After a failure it is found out anew.
        let mut end = match self.ends.remove(dir) {
            Some(end) => end,
            None => find_end(disk, dir, self.file_bytes)?,
        };
        let mut units = Vec::new();
        let mut begin = end.at;
        let mut maps = extended.maps.as_slice();
        let said = extended.times.iter().zip(&extended.map_bytes);
        for (entry, (time, map_bytes)) in entries.chunks_exact_mut(ENTRY_BYTES).zip(said) {
            let (map, rest) = maps.split_at_checked(usize::from(*map_bytes)).unwrap_or_default();
            maps = rest;
            if CqEntry::decode(entry).is_none_or(|entry| entry.is_filler()) {
                continue;
            }
            let fits = (UNIT_BYTES_MIN + map.len() + END_BYTES) as u64 <= end.file_bytes;
            let map = if fits { map } else { &[] };
            let used = end.at % end.file_bytes;
            if used + (UNIT_BYTES_MIN + map.len() + END_BYTES) as u64 > end.file_bytes {
                units.extend_from_slice(&END_MARK.to_be_bytes());
                append(disk, dir, (begin, &units), end.file_bytes, touched)?;
                units.clear();
                end.at += end.file_bytes - used;
                begin = end.at;
            }
            // Further than an address reaches, the entry has its tags code.
            let Some(address) = address(end.at) else { continue };
            let Some((_, tags)) = entry.split_first_chunk_mut::<TAGS_AT>() else { continue };
            let Some(code) = tags.first_chunk_mut::<8>() else { continue };
            let unit = Unit { tags_code: i64::from_be_bytes(*code), time_ms: *time, map };
            unit.encode(&mut units);
            *code = address.to_be_bytes();
            end.at += unit.size() as u64;
        }
        append(disk, dir, (begin, &units), end.file_bytes, touched)?;
        self.ends.insert(dir.to_path_buf(), end);
        Ok(())
    }
}

/// Writes units that lie in one file.
fn append(
    disk: &dyn Disk,
    dir: &Path,
    (at, units): (u64, &[u8]),
    file_bytes: u64,
    touched: &mut Vec<PathBuf>,
) -> io::Result<()> {
    if units.is_empty() {
        return Ok(());
    }
    let base = at - at % file_bytes;
    let path = dir.join(segment::name(base));
    let file = match disk.open(&path, Access::Write) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            make_dirs(disk, dir)?;
            disk.open(&path, Access::Create)?
        }
        found => found?,
    };
    if file.bytes()? < file_bytes {
        file.set_bytes(file_bytes)?;
    }
    write_full_at(&*file, units, at - base)?;
    touched.push(path);
    Ok(())
}

/// Behind the last unit of a queue's files.
fn find_end(disk: &dyn Disk, dir: &Path, file_bytes: u64) -> io::Result<End> {
    let bases = match bases(disk, dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        found => found?,
    };
    let Some(base) = bases.last().copied() else { return Ok(End { at: 0, file_bytes }) };
    // Java finds a file by its number, so that all have the size of the first; a last one may be short after a power cut.
    let path = dir.join(segment::name(base));
    let held = match bases.iter().zip(bases.iter().skip(1)).map(|(base, next)| next - base).min() {
        Some(apart) => apart,
        None if base > 0 || disk.file_bytes(&path)? > 0 => disk.file_bytes(&path)?,
        None => file_bytes,
    };
    let file = disk.open(&path, Access::Write)?;
    let mut bytes =
        vec![0; usize::try_from(file.bytes()?).map_err(|_| io::ErrorKind::InvalidData)?];
    let read = read_full_at(&*file, &mut bytes, 0)?;
    bytes.truncate(read);
    let mut at = 0;
    loop {
        match bytes.get(at..).map_or(Next::End, next) {
            Next::Unit(size) if at + size <= bytes.len() => at += size,
            Next::End if at < bytes.len() => {
                return Ok(End { at: base + held, file_bytes: held });
            }
            Next::Unit(_) | Next::Nothing | Next::End => break,
        }
    }
    if bytes.iter().skip(at).any(|byte| *byte != 0) {
        file.set_bytes(at as u64)?;
        file.set_bytes(held)?;
    }
    Ok(End { at: base + at as u64, file_bytes: held })
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

    /// The tags code of the unit at `place`, or `PASSED_OVER`; `None` when it is not there.
    fn tags_code(&mut self, place: u64, test: Option<&MapTest>) -> io::Result<Option<i64>> {
        let needed = test.map_or(HEAD_BYTES, |test| UNIT_BYTES_MIN + test.map_bytes);
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
        let held = held.filter(|from| from.saturating_add(needed) <= self.chunk.len());
        let from = match held {
            Some(from) => from,
            None => {
                self.chunk.resize(CHUNK_BYTES.max(needed), 0);
                let read = read_full_at(&**file, &mut self.chunk, place - base)?;
                self.chunk.truncate(read);
                self.chunk_at = place;
                0
            }
        };
        let bytes = self.chunk.get(from..).unwrap_or_default();
        let is_unwanted = |test: &MapTest| Unit::decode(bytes).is_some_and(|u| !test.may_want(&u));
        Ok(if test.is_some_and(is_unwanted) { Some(PASSED_OVER) } else { tags_code(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::LocalDisk;
    use std::fs;
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
        super::address(place).unwrap()
    }

    #[test]
    fn entries_get_the_codes_of_their_units_and_files_go_when_nothing_names_them() {
        let root = tempfile::tempdir().unwrap();
        let queues = root.path().join("consumequeue");
        let name = (&b"T"[..], QueueId(3));
        let dir = ext_dir(&queues, name.0, name.1).unwrap();
        let mut plain = entry(-5);
        let mut lost = entry(address(0));
        resolve(&LocalDisk, &queues, name, &mut plain, None).unwrap();
        resolve(&LocalDisk, &queues, name, &mut lost, None).unwrap();
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
        resolve(&LocalDisk, &queues, name, &mut given, None).unwrap();
        assert_eq!(given, expected);
        trim(&LocalDisk, &dir, -5).unwrap();
        trim(&LocalDisk, &dir, address(120)).unwrap();
        assert_eq!(bases(&LocalDisk, &dir).unwrap(), [100, 200]);
        remove(&LocalDisk, &queues, name.0, name.1).unwrap();
        remove(&LocalDisk, &queues, name.0, name.1).unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn units_go_behind_those_that_are_there_file_after_file() {
        let root = tempfile::tempdir().unwrap();
        let queues = root.path().join("consumequeue");
        let name = (&b"T"[..], QueueId(3));
        let dir = ext_dir(&queues, name.0, name.1).unwrap();
        let plain: Vec<u8> = (0..7).flat_map(|n| entry(n - 3)).collect();
        let mut all = Vec::new();
        let mut write = |writer: &mut ExtWriter| {
            let mut bytes = [CqEntry::FILLER.encode().to_vec(), plain.clone()].concat();
            let said = Extended { times: vec![5; 8], map_bytes: vec![0; 8], maps: Vec::new() };
            writer.write(&LocalDisk, &dir, (&mut bytes, &said), &mut all).unwrap();
            let mut again = bytes.clone();
            resolve(&LocalDisk, &queues, name, &mut again, None).unwrap();
            assert_eq!(again[20..], plain, "they come back");
            assert_eq!(bytes[..20], CqEntry::FILLER.encode());
            let places = bytes.chunks(20).skip(1).map(|e| CqEntry::decode(e).unwrap().tags_code);
            places.map(|code| place(code).unwrap()).collect::<Vec<u64>>()
        };
        let mut writer = ExtWriter::new(100);
        // As Java: four bytes at the end of a file stay free, so that it has four units of 20.
        assert_eq!(write(&mut writer), [0, 20, 40, 60, 100, 120, 140]);
        assert_eq!(write(&mut writer)[..2], [160, 200]);
        let first = fs::read(dir.join(segment::name(0))).unwrap();
        assert_eq!((first.len(), &first[80..84]), (100, &[0xFF, 0xFF, 0, 0][..]));
        // Another process, with other settings, after one that died in the middle of a unit.
        let last = dir.join(segment::name(300));
        let mut bytes = fs::read(&last).unwrap();
        bytes[50] = 1;
        fs::write(&last, &bytes).unwrap();
        let mut writer = ExtWriter::new(4000);
        assert_eq!(write(&mut writer)[..3], [340, 360, 400], "the size of the files stays");
        assert_eq!(bases(&LocalDisk, &dir).unwrap(), [0, 100, 200, 300, 400, 500]);
    }

    #[test]
    fn units_with_bit_maps_are_those_of_java() {
        let root = tempfile::tempdir().unwrap();
        let mut bytes: Vec<u8> = (0..6).flat_map(entry).collect();
        let said = Extended {
            times: (50..56).collect(),
            map_bytes: vec![0, 1, 2, 1, 1, 1],
            maps: vec![1, 2, 0, 3, 4, 5],
        };
        let mut writer = ExtWriter::new(129);
        let dir = root.path().join("T/3");
        writer.write(&LocalDisk, &dir, (&mut bytes, &said), &mut Vec::new()).unwrap();
        let hex = |base: u64, count: usize| -> String {
            let bytes = fs::read(dir.join(segment::name(base))).unwrap();
            assert!(bytes.len() == 129 && bytes[count..].iter().all(|byte| *byte == 0));
            bytes[..count].iter().map(|byte| format!("{byte:02x}")).collect()
        };
        // What ConsumeQueueExt of 4.9.7 and 5.5.0 writes for the same units.
        let first = "0014000000000000000000000000000000320000\
                     001500000000000000010000000000000033000101\
                     00160000000000000002000000000000003400020200\
                     001500000000000000030000000000000035000103\
                     001500000000000000040000000000000036000104ffff";
        assert_eq!(hex(0, 107), first);
        assert_eq!(hex(129, 21), "001500000000000000050000000000000037000105");
    }

    #[test]
    fn what_the_bits_say_is_not_wanted_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let queues = root.path().join("consumequeue");
        let name = (&b"T"[..], QueueId(3));
        let dir = ext_dir(&queues, name.0, name.1).unwrap();
        let plain: Vec<u8> = (0..6).flat_map(entry).collect();
        let mut bytes = [CqEntry::FILLER.encode().to_vec(), plain].concat();
        // Not there, none, too old, another length, not wanted, wanted, not wanted in the next file.
        let said = Extended {
            times: vec![50, 50, 10, 50, 50, 50, 50],
            map_bytes: vec![1, 0, 1, 2, 1, 1, 1],
            maps: vec![0, 2, 0, 0, 2, 3, 2],
        };
        let mut writer = ExtWriter::new(129);
        writer.write(&LocalDisk, &dir, (&mut bytes, &said), &mut Vec::new()).unwrap();
        let places = bytes.chunks(20).skip(1).map(|e| CqEntry::decode(e).unwrap().tags_code);
        let places: Vec<u64> = places.map(|code| place(code).unwrap()).collect();
        assert_eq!(places, [0, 20, 41, 63, 84, 129], "four bytes at the end stay free");
        let test = MapTest { positions: vec![0, 1], map_bytes: 1, since_ms: 10 };
        resolve(&LocalDisk, &queues, name, &mut bytes, Some(&test)).unwrap();
        let codes = bytes.chunks(20).skip(1).map(|e| CqEntry::decode(e).unwrap().tags_code);
        let expected = [0, 1, 2, PASSED_OVER, 4, PASSED_OVER];
        assert_eq!(codes.collect::<Vec<i64>>(), expected);
        // Another process goes on behind units of all lengths.
        let mut more = entry(9);
        let said = Extended { times: vec![1], map_bytes: vec![200], maps: vec![1; 200] };
        ExtWriter::new(129).write(&LocalDisk, &dir, (&mut more, &said), &mut Vec::new()).unwrap();
        assert_eq!(place(CqEntry::decode(&more).unwrap().tags_code), Some(150));
        let second = fs::read(dir.join(segment::name(129))).unwrap();
        assert_eq!((&second[18..23], &second[39..41]), (&[0, 1, 2, 0, 20][..], &[0, 0][..]));
    }
}
