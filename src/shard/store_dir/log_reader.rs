//! Reads the log of a stream from front to end, one segment file open at a time; the disk reads ahead of the caller.

use super::StorePaths;
use super::progress::Progress;
use crate::disk::{Access, DiskFile, read_full_at};
use std::io;
use std::path::PathBuf;
use store::layout::segment;
use wire::ids::StreamId;

/// The disk is asked for so much at a time, two parts ahead: while one is looked at, it reads.
const AHEAD_BYTES: u64 = 8 << 20;

/// See the module.
pub(super) struct LogReader<'r> {
    paths: &'r StorePaths,
    dir: PathBuf,
    open: Option<(u64, Box<dyn DiskFile>)>,
    /// Up to there the disk was asked.
    asked: u64,
    progress: Option<Progress>,
}

impl<'r> LogReader<'r> {
    /// A reader of a stream.
    pub(super) fn new(
        paths: &'r StorePaths,
        stream: StreamId,
        progress: Option<Progress>,
    ) -> LogReader<'r> {
        LogReader { paths, dir: paths.log_dir(stream), open: None, asked: 0, progress }
    }

    /// Fills `buffer` from `position` on as far as the segment there goes. Errors name the file.
    pub(super) fn read(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_read(position, buffer).map_err(|error| {
            let name = segment::name(position - position % self.paths.segment_bytes);
            io::Error::new(error.kind(), format!("{name}: {error}"))
        })
    }

    fn try_read(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(progress) = &mut self.progress {
            progress.at(position);
        }
        let base = position - position % self.paths.segment_bytes;
        if self.open.as_ref().is_none_or(|(at, _)| *at != base) {
            let path = self.dir.join(segment::name(base));
            self.open = Some((base, self.paths.disk.open(&path, Access::Read)?));
            self.asked = position;
        }
        let (_, file) = self.open.as_ref().expect("opened above");
        while self.asked < position + buffer.len() as u64 + 2 * AHEAD_BYTES
            && self.asked < base + self.paths.segment_bytes
        {
            self.asked = self.asked.max(position);
            file.will_need(self.asked - base, AHEAD_BYTES);
            self.asked += AHEAD_BYTES;
        }
        read_full_at(&**file, buffer, position - base)
    }
}
