//! The log window at a start: what a dead process left in it is written to the log, and the next process gets a new one.
//!
//! It is not written when another broker has written the log since: Java opens such a store, goes on where the disk ends and knows
//! nothing of the window. Then what is only in the window is kept as a file in the store's `cut` directory.

use super::stream_dir::Opening;
use super::{StoreError, create_segment};
use crate::disk::{Access, make_durable_dirs, read_full_at, write_full_at};
use buf::window::{Window, WindowFrontiers};
use std::io;
use std::os::unix::fs::MetadataExt;
use store::layout::segment;
use store::recovery::{ScanRange, scan};

/// Smallest window that is worth having in shared memory.
const WINDOW_BYTES_MIN: usize = 16 << 20;

impl Opening<'_> {
    /// Writes what a dead process had in its window and not yet on the disk. `dispatched`: see `Checkpoint`.
    pub(super) fn write_back_window(&mut self, dispatched: Option<u64>) -> Result<(), StoreError> {
        if self.clean {
            return Ok(());
        }
        let opened = Window::open(&self.window_path, self.window_identity);
        let opened = opened.map_err(StoreError::io(&self.window_path, "opening the log window"))?;
        let Some((window, frontiers)) = opened else { return Ok(()) };
        let WindowFrontiers { appended, written } = frontiers;
        let is_of_another = self
            .is_of_another(&window, frontiers, dispatched)
            .map_err(StoreError::io(&self.dir, "comparing the log with the log window"))?;
        if is_of_another {
            return self.keep_window(&window, frontiers);
        }
        self.window_found = true;
        tracing::info!(
            "stream {}: the last process ended without a stop; its window holds the log up to {appended}, \
             the disk had it up to {written}",
            self.stream.0
        );
        let size = self.paths.segment_bytes;
        // Not from the start of its block: a process that died while it started may have left that part empty.
        let mut at = written;
        while at < appended {
            let base = at - at % size;
            let path = self.path(base);
            if !self.bases.contains(&base) {
                create_segment(self.disk, &self.dir, base, size)
                    .map_err(StoreError::io(&path, "making"))?;
                self.bases.push(base);
                self.bases.sort_unstable();
            }
            let len =
                usize::try_from(appended.min(base + size) - at).expect("less than the window");
            let file = self.disk.open(&path, Access::Write);
            let file = file.map_err(StoreError::io(&path, "opening"))?;
            write_full_at(&*file, window.slice(at, len), at - base)
                .and_then(|()| file.sync_data())
                .map_err(StoreError::io(&path, "writing the window back"))?;
            at += len as u64;
        }
        Ok(())
    }

    /// Whether the disk has a record of another broker where our process has one in the window. `from`: a record begins
    /// there, or the log.
    fn is_of_another(
        &self,
        window: &Window,
        frontiers: WindowFrontiers,
        from: Option<u64>,
    ) -> io::Result<bool> {
        let WindowFrontiers { appended, written } = frontiers;
        let size = self.paths.segment_bytes;
        let base = written - written % size;
        let (true, true) = (written < appended, self.bases.contains(&base)) else {
            return Ok(false);
        };
        // Java went on behind the last whole record: at the end of what was written, or in the record that crosses it.
        let from = from.filter(|from| (base..=written).contains(from)).unwrap_or(base);
        let file = self.disk.open(&self.path(base), Access::Read)?;
        let mut read = |position: u64, buffer: &mut [u8]| {
            let room = usize::try_from(base + size - position).unwrap_or(usize::MAX);
            let room = room.min(buffer.len());
            read_full_at(&*file, &mut buffer[..room], position - base)
        };
        let limit = base + size;
        let range = ScanRange { stream: self.stream, segment_bytes: size, from, limit };
        let mut crossing = None;
        scan(range, &mut read, &mut |view, position, size| {
            if crossing.is_none() && position + u64::from(size) > written {
                let at = written.max(position);
                let skip = usize::try_from(at - position).expect("less than a record");
                let theirs = view.bytes()[skip..].to_vec();
                crossing = Some((at, theirs));
            }
        })?;
        let Some((at, theirs)) = crossing else { return Ok(false) };
        let ours = usize::try_from(appended.saturating_sub(at)).unwrap_or(usize::MAX);
        Ok(ours < theirs.len() || window.slice(at, theirs.len()) != theirs)
    }

    /// Another broker went on with the log: what only the window has is put aside.
    fn keep_window(&self, window: &Window, frontiers: WindowFrontiers) -> Result<(), StoreError> {
        let WindowFrontiers { appended, written } = frontiers;
        if written == appended {
            return Ok(());
        }
        let dir = self.paths.cut_dir();
        make_durable_dirs(self.disk, &dir).map_err(StoreError::io(&dir, "making the directory"))?;
        let path = dir.join(format!("stream-{}-{}-window", self.stream.0, segment::name(written)));
        let len = usize::try_from(appended - written).expect("less than the window");
        let kept = self.disk.open(&path, Access::Create).and_then(|file| {
            write_full_at(&*file, window.slice(written, len), 0)?;
            file.sync_all()
        });
        kept.map_err(StoreError::io(&path, "keeping the log window"))?;
        tracing::warn!(
            "stream {}: another broker went on with the log at {written} after our last process had died; {len} bytes of \
             log that only its memory had are kept as {}",
            self.stream.0,
            path.display()
        );
        Ok(())
    }

    /// A fresh window: as large as asked for, smaller where shared memory is short, private where there is none.
    pub(super) fn new_window(&self, end: u64) -> Result<Window, StoreError> {
        let wanted = self.config.window_bytes;
        let mut bytes = wanted;
        loop {
            match Window::create(&self.window_path, bytes, self.window_identity, end) {
                Ok(window) => {
                    if bytes < wanted {
                        tracing::warn!(
                            "stream {}: {} has room for a log window of {bytes} bytes only, {wanted} were asked for \
                             (in a container: --shm-size)",
                            self.stream.0,
                            self.config.window_dir.display()
                        );
                    }
                    self.note_place(&window);
                    return Ok(window);
                }
                Err(error)
                    if error.raw_os_error() == Some(libc::ENOSPC)
                        && bytes / 2 >= WINDOW_BYTES_MIN =>
                {
                    bytes /= 2;
                }
                Err(error) => {
                    let _ = std::fs::remove_file(&self.window_path);
                    tracing::warn!(
                        "stream {}: no log window in {} ({error}); messages count only when they are written, and \
                         sends wait for that",
                        self.stream.0,
                        self.config.window_dir.display()
                    );
                    let window = Window::anonymous(wanted, self.window_identity, end);
                    return window
                        .map_err(StoreError::io(&self.window_path, "mapping the log window"));
                }
            }
        }
    }

    /// So that a start can remove the window when the store is gone.
    fn note_place(&self, window: &Window) {
        if self.disk.can_map()
            && let Ok(dir) = std::fs::canonicalize(&self.paths.root)
            && let Ok(meta) = std::fs::metadata(&dir)
        {
            window.note_place(&dir, meta.dev());
        }
    }
}
