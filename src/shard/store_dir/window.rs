//! The log window at a start: what a dead process left in it is written back, and the next process gets a new one.

use super::stream_dir::Opening;
use super::{StoreError, create_segment};
use crate::disk::{Access, read_full_at, write_full_at};
use buf::window::{Window, WindowFrontiers};

/// Smallest window that is worth having in shared memory.
const WINDOW_BYTES_MIN: usize = 16 << 20;

impl Opening<'_> {
    /// Writes what a dead process had in its window and not yet on the disk.
    pub(super) fn write_back_window(&mut self) -> Result<(), StoreError> {
        if self.clean {
            return Ok(());
        }
        let opened = Window::open(&self.window_path, self.window_identity);
        let opened = opened.map_err(StoreError::io(&self.window_path, "opening the log window"))?;
        let Some((window, WindowFrontiers { appended, written })) = opened else { return Ok(()) };
        self.window_found = true;
        if self.foreign && self.has_other_log(&window, written, appended)? {
            tracing::warn!(
                "stream {}: {} holds the log of a process before the last one, up to {appended}; the last one, Java's broker, \
                 went on from another end, and that counts",
                self.stream.0,
                self.window_path.display()
            );
            return Ok(());
        }
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

    /// Whether the disk holds something between two positions that is neither nothing nor what the window has there.
    ///
    /// A process of ours writes there what is in its window. Java, which knows no window, ends the log where the disk does.
    fn has_other_log(&self, window: &Window, from: u64, to: u64) -> Result<bool, StoreError> {
        let size = self.paths.segment_bytes;
        let mut buffer = vec![0; 1 << 20];
        let mut at = from;
        while at < to {
            let base = at - at % size;
            let chunk = (buffer.len() as u64).min(to.min(base + size) - at);
            let len = usize::try_from(chunk).expect("a chunk");
            let path = self.path(base);
            if self.bases.contains(&base) {
                let disk = buffer.get_mut(..len).expect("a chunk");
                disk.fill(0);
                self.disk
                    .open(&path, Access::Read)
                    .and_then(|file| read_full_at(&*file, disk, at - base))
                    .map_err(StoreError::io(&path, "reading"))?;
                let mut pairs = disk.iter().zip(window.slice(at, len));
                if pairs.any(|(disk, window)| *disk != 0 && disk != window) {
                    return Ok(true);
                }
            }
            at += chunk;
        }
        Ok(false)
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
}
