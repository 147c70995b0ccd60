//! The size of a log's segments: what a store without `ringmq.store` shows of it, and whether every file has it.
//!
//! One file that lost its end, or was copied in part, must not make the others look wrong.

use super::stream_dir::{begins_empty, list};
use super::{StoreDirConfig, StoreError};
use crate::disk::{Access, Disk, read_full_at};
use std::io;
use std::path::{Path, PathBuf};
use store::layout::identity::is_segment_size;
use store::layout::segment;
use wire::ids::StreamId;
use wire::message::MAGIC_BLANK;

/// The least filler: its size and magic.
const FILLER: [u32; 2] = [8, MAGIC_BLANK];
const FILLER_BYTES: usize = size_of::<[u32; 2]>();

/// The size of the segments in a directory, in bytes, where no identity says it; `files` are their positions, ascending, and
/// sizes. Most of them have it, in doubt those whose successors begin where they end. One alone has it, too, unless
/// it cannot be a whole segment: then it is the `configured` one.
pub fn segment_bytes(
    disk: &dyn Disk,
    dir: &Path,
    files: &[(u64, u64)],
    configured: u64,
) -> io::Result<u64> {
    let votes = |size: u64| files.iter().filter(|(_, bytes)| *bytes == size).count();
    let is_step = |size: u64| files.windows(2).any(|pair| pair[1].0 - pair[0].0 == size);
    let mut sizes: Vec<u64> = files.iter().map(|(_, bytes)| *bytes).filter(|b| *b > 0).collect();
    let filled = sizes.len();
    sizes.sort_unstable();
    sizes.dedup();
    let rank = |size: &u64| (votes(*size), is_step(*size), is_segment_size(*size), *size);
    let Some(usual) = sizes.into_iter().max_by_key(rank) else { return Ok(configured) };
    if filled > 1 {
        return Ok(usual);
    }
    let is_short = usual < configured;
    let only = files.iter().find(|(_, bytes)| *bytes == usual);
    let path = dir.join(segment::name(only.map_or(0, |(base, _)| *base)));
    let is_part = !is_segment_size(usual) || is_short && ends_in_record(disk, &path, usual)?;
    Ok(if is_part { configured } else { usual })
}

/// Whether bytes of a record, not of a filler, end the file: the segment went on.
fn ends_in_record(disk: &dyn Disk, path: &Path, bytes: u64) -> io::Result<bool> {
    let mut tail = [0; FILLER_BYTES];
    read_full_at(&*disk.open(path, Access::Read)?, &mut tail, bytes - FILLER_BYTES as u64)?;
    let filler = FILLER.map(u32::to_be_bytes).concat();
    Ok(tail != [0; FILLER_BYTES] && tail != filler[..])
}

/// The size of the segments of a store that has no identity yet. Errors: not every segment has it.
pub(super) fn of_new(
    disk: &dyn Disk,
    config: &StoreDirConfig,
    bases: &[u64],
) -> Result<u64, StoreError> {
    let mut log = LogDir {
        disk,
        root: &config.root,
        dir: &config.commit_log,
        stream: StreamId(0),
        segment_bytes: config.segment_bytes,
    };
    let files: Vec<(u64, u64)> =
        bases.iter().map(|base| Ok((*base, log.bytes(*base)?))).collect::<Result<_, _>>()?;
    log.segment_bytes = segment_bytes(disk, log.dir, &files, config.segment_bytes)
        .map_err(StoreError::io(log.dir, "reading the segments"))?;
    if let ([(base, bytes)], size) = (&files[..], log.segment_bytes)
        && *bytes != size
    {
        // Java died in its first moments, or the file lost everything.
        let queues = list(disk, &config.root.join("consumequeue"))?;
        if *bytes == 0 && queues.is_empty() {
            return Ok(size);
        }
        let text = format!(
            "the only log file has {bytes} bytes, which is no whole segment; by mappedFileSizeCommitLog it has {size}. \
             Restore it from a copy, or set mappedFileSizeCommitLog as it was; {}, with the broker's configuration file, \
             gives it its size",
            log.repair("-c FILE --apply")
        );
        return Err(StoreError::new(log.path(*base), text));
    }
    if !is_segment_size(log.segment_bytes) {
        let odd = files.iter().find(|(_, bytes)| *bytes == log.segment_bytes);
        let path = odd.map_or(log.dir.to_path_buf(), |(base, _)| log.path(*base));
        let bytes = log.segment_bytes;
        let text = format!(
            "{bytes} bytes are no size of a log file: not a multiple of 4096; by mappedFileSizeCommitLog it has {}. Restore \
             the log files from a copy; `ringmq store check {}` says what is in them",
            config.segment_bytes,
            config.root.display()
        );
        return Err(StoreError::new(path, text));
    }
    let unfinished = usize::from(log.unfinished(bases)?.is_some());
    log.check(&bases[..bases.len() - unfinished])?;
    Ok(log.segment_bytes)
}

/// The segments of a stream.
pub(super) struct LogDir<'d> {
    pub(super) disk: &'d dyn Disk,
    /// The store's directory.
    pub(super) root: &'d Path,
    pub(super) dir: &'d Path,
    pub(super) stream: StreamId,
    pub(super) segment_bytes: u64,
}

impl LogDir<'_> {
    fn path(&self, base: u64) -> PathBuf {
        self.dir.join(segment::name(base))
    }

    fn bytes(&self, base: u64) -> Result<u64, StoreError> {
        let path = self.path(base);
        self.disk.file_bytes(&path).map_err(StoreError::io(&path, "reading"))
    }

    /// The command that an operator can give.
    pub(super) fn repair(&self, options: &str) -> String {
        let stream = match self.stream.0 {
            0 => String::new(),
            n => format!(" --stream {n}"),
        };
        format!("`ringmq store repair {}{stream} {options}`", self.root.display())
    }

    /// The last segment where its maker died between making the file and giving it its size, which some file systems do in
    /// steps. Nothing is written to a segment before it has all of it.
    pub(super) fn unfinished(&self, bases: &[u64]) -> Result<Option<u64>, StoreError> {
        let Some(last) = bases.last().copied() else { return Ok(None) };
        if self.bytes(last)? >= self.segment_bytes {
            return Ok(None);
        }
        let path = self.path(last);
        let empty = begins_empty(self.disk, &path).map_err(StoreError::io(&path, "reading"))?;
        Ok(empty.then_some(last))
    }

    /// Errors: a segment of another size, at a place where none begins, or with a gap before it.
    pub(super) fn check(&self, bases: &[u64]) -> Result<(), StoreError> {
        let size = self.segment_bytes;
        for (at, base) in bases.iter().enumerate() {
            let path = self.path(*base);
            let len = self.bytes(*base)?;
            if len != size {
                let text = format!(
                    "the segment has {len} bytes, every segment of this store has {size}. Restore it from a copy; {} \
                     gives it its size and keeps what it loses",
                    self.repair("--apply")
                );
                return Err(StoreError::new(path, text));
            }
            if !base.is_multiple_of(size) {
                let text = format!(
                    "the name is the position of the segment's first byte in the log, and no segment of {size} bytes begins \
                     there. Give the file its name back, or move it out of the directory"
                );
                return Err(StoreError::new(path, text));
            }
            let expected = bases[0] + at as u64 * size;
            if *base != expected {
                let text = format!(
                    "the segment {} before this one is missing. Restore it from a copy; {} goes on without its messages",
                    segment::name(expected),
                    self.repair("--step-over --apply")
                );
                return Err(StoreError::new(path, text));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::LocalDisk;
    use std::fs;

    const SIZE: u64 = 64 << 10;

    /// The size that is found for files of these lengths, one segment apart.
    fn of(lens: &[u64]) -> u64 {
        let dir = tempfile::tempdir().unwrap();
        let files: Vec<(u64, u64)> = (3..).map(|n| n * SIZE).zip(lens.iter().copied()).collect();
        for (base, bytes) in &files {
            fs::File::create(dir.path().join(segment::name(*base)))
                .unwrap()
                .set_len(*bytes)
                .unwrap();
        }
        segment_bytes(&LocalDisk, dir.path(), &files, 4 * SIZE).unwrap()
    }

    #[test]
    fn a_file_that_lost_its_end_does_not_speak_for_the_others() {
        assert_eq!(of(&[]), 4 * SIZE);
        assert_eq!(of(&[SIZE, SIZE]), SIZE);
        for odd in [0, 1000, 4096, SIZE / 2, SIZE + 4096] {
            assert_eq!(of(&[odd, SIZE, SIZE]), SIZE, "{odd}");
            assert_eq!(of(&[SIZE, odd, SIZE]), SIZE, "{odd}");
            assert_eq!(of(&[odd, SIZE]), SIZE, "{odd}: names tell where the segments begin");
            assert_eq!(of(&[SIZE, odd]), SIZE, "{odd}");
        }
        assert_eq!(of(&[1000, 1000]), 1000, "no damage does that");
        assert_eq!(of(&[0]), 4 * SIZE);
        assert_eq!(of(&[1000]), 4 * SIZE);
        assert_eq!(of(&[8 * SIZE]), 8 * SIZE, "a broker with other settings wrote it");
    }

    #[test]
    fn a_smaller_single_segment_is_one_unless_a_record_goes_on_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let filler = [&8u32.to_be_bytes()[..], &MAGIC_BLANK.to_be_bytes()[..]].concat();
        for (tail, expected) in [(&[0; 8][..], SIZE), (&filler, SIZE), (&[7; 8], 4 * SIZE)] {
            let path = dir.path().join(segment::name(SIZE));
            let mut bytes = vec![9; usize::try_from(SIZE).unwrap() - 8];
            bytes.extend_from_slice(tail);
            fs::write(path, bytes).unwrap();
            let files = [(SIZE, SIZE)];
            let found = segment_bytes(&LocalDisk, dir.path(), &files, 4 * SIZE).unwrap();
            assert_eq!(found, expected, "{tail:?}");
        }
    }
}
