//! Files that requests change: the settings and the configuration. A request is answered when its change is on disk.
//!
//! Changes that come while a file is being written are written together afterwards: one write per file at a time.

use crate::request::begin;
use base::ids::ConnId;
use base::props;
use shard::store_dir::replace_file;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use wire::codes::response;

/// Which file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SavedFile {
    /// `kvConfigPath`.
    Kv,
    /// `configStorePath`.
    Config,
}

/// How writing a file went.
#[derive(Debug)]
pub struct NamesrvDone {
    pub(crate) file: SavedFile,
    pub(crate) result: Result<(), String>,
}

/// A file to be written by the background thread.
#[derive(Debug)]
pub(crate) enum SaveJob {
    Kv { path: PathBuf, bytes: Vec<u8> },
    Config { path: PathBuf, values: Vec<(&'static str, String)> },
}

impl SaveJob {
    /// Writes it. Waits for the disk.
    pub(crate) fn run(self) -> NamesrvDone {
        let (file, path, result) = match self {
            SaveJob::Kv { path, bytes } => {
                let result = write(&path, &bytes);
                (SavedFile::Kv, path, result)
            }
            SaveJob::Config { path, values } => {
                let result = write_values(&path, &values);
                (SavedFile::Config, path, result)
            }
        };
        let result = result.map_err(|error| format!("{} was not written: {error}", path.display()));
        NamesrvDone { file, result }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let dir = path.parent().ok_or("it is no path of a file")?;
    std::fs::create_dir_all(dir).map_err(|error| error.to_string())?;
    replace_file(path, bytes).map_err(|error| error.to_string())
}

/// Changes values of a properties file and leaves its comments alone.
fn write_values(path: &Path, values: &[(&'static str, String)]) -> Result<(), String> {
    let original = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.to_string()),
    };
    let bytes = props::with_values(&original, values).map_err(|error| error.to_string())?;
    write(path, &bytes)
}

/// A request that is answered when the file is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) conn: ConnId,
    pub(crate) opaque: i32,
    pub(crate) is_oneway: bool,
}

impl Waiter {
    /// Appends the answer.
    pub(crate) fn answer(&self, out: &mut Vec<u8>, result: &Result<(), String>) {
        if self.is_oneway {
            return;
        }
        match result {
            Ok(()) => begin(out, self.opaque, response::SUCCESS).finish(),
            Err(error) => {
                let mut writer = begin(out, self.opaque, response::SYSTEM_ERROR);
                writer.remark(error);
                writer.finish();
            }
        }
    }
}

/// Who waits for one file.
#[derive(Default, Debug)]
pub(crate) struct Saves {
    /// For the write that is under way.
    current: Vec<Waiter>,
    /// For the one after it.
    next: Vec<Waiter>,
    is_busy: bool,
}

impl Saves {
    /// A request has changed what the file holds.
    pub(crate) fn wait(&mut self, waiter: Waiter) {
        self.next.push(waiter);
    }

    /// Requests that wait.
    pub(crate) fn len(&self) -> usize {
        self.current.len() + self.next.len()
    }

    /// Whether nothing is being written or waits to be.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_busy && self.next.is_empty()
    }

    /// Begins a write when one is due; the caller then starts it.
    pub(crate) fn begin(&mut self) -> bool {
        if self.is_busy || self.next.is_empty() {
            return false;
        }
        self.is_busy = true;
        self.current = std::mem::take(&mut self.next);
        true
    }

    /// The write has ended; these are to be answered.
    pub(crate) fn end(&mut self) -> Vec<Waiter> {
        assert!(self.is_busy, "a write ends that began");
        self.is_busy = false;
        std::mem::take(&mut self.current)
    }
}
