//! A log file that is renamed when it is full. Java's counterpart is logback's fixed window: `NAME.log`, and the older
//! ones as `otherdays/NAME.1.log` (newest) and so on.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Takes whole lines.
pub(super) trait Sink: Send {
    /// Takes a line; it may stay in memory until the next flush.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()>;
    /// Hands everything to the kernel.
    fn flush_lines(&mut self) -> io::Result<()>;
}

/// One log with its older files. `bytes` counts what `file` holds.
pub(super) struct RolledFile {
    directory: PathBuf,
    name: String,
    file: BufWriter<File>,
    bytes: u64,
    bytes_max: u64,
    kept: u32,
}

impl RolledFile {
    /// Opens `directory/name.log` for appending; directories are made.
    pub(super) fn open(
        directory: &Path,
        name: &str,
        bytes_max: u64,
        kept: u32,
    ) -> io::Result<RolledFile> {
        fs::create_dir_all(directory.join("otherdays"))?;
        let (file, bytes) = append(&directory.join(format!("{name}.log")))?;
        let (directory, name) = (directory.to_owned(), name.to_owned());
        Ok(RolledFile { directory, name, file, bytes, bytes_max, kept })
    }

    fn older(&self, index: u32) -> PathBuf {
        self.directory.join(format!("otherdays/{}.{index}.log", self.name))
    }

    fn roll(&mut self) -> io::Result<()> {
        self.file.flush()?;
        for index in (1..self.kept).rev() {
            move_if_there(&self.older(index), &self.older(index + 1))?;
        }
        let current = self.directory.join(format!("{}.log", self.name));
        move_if_there(&current, &self.older(1))?;
        (self.file, self.bytes) = append(&current)?;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<(BufWriter<File>, u64)> {
    let file = File::options().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((BufWriter::new(file), bytes))
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

impl Sink for RolledFile {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(bytes) > self.bytes_max {
            self.roll()?;
        }
        self.file.write_all(line)?;
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    fn flush_lines(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
