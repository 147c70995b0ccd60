//! Opening a stream's index: which files there are, and how much of them can be believed after what has happened.
//!
//! No index stops a start. A file that cannot be right is moved out of the way together with the ones after it, and the
//! caller reads their records from the log again.

use super::{IndexPlace, OpenFile, Sealed, StreamIndex};
use base::time::MonoNs;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use store::layout::index::{HEADER_BYTES, IndexHeader, parse_name};
use wire::ids::PhyOffset;

/// What is known about how the last process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trust {
    /// It stopped in order.
    All,
    /// It died while the machine went on: everything that was written is there, and perhaps it was the disk that ended it.
    Written,
    /// The machine may have died: only entries of records below this position are known to be durable.
    Below(u64),
    /// A Java broker died: it counts files by the store time of their last record, ms.
    Until(i64),
}

impl StreamIndex {
    /// Opens the files; nothing of records at or behind `log_end` is kept. Errors: the directory or a file cannot be read
    /// or changed at all.
    pub(crate) fn open(place: IndexPlace, trust: Trust, log_end: u64) -> io::Result<StreamIndex> {
        let mut files = place.list()?;
        if let Trust::Until(timestamp) = trust {
            place.remove_from(&mut files, |file| file.header.end_timestamp > timestamp)?;
        }
        let limit = match trust {
            Trust::Below(position) => position.min(log_end),
            Trust::All | Trust::Written | Trust::Until(_) => log_end,
        };
        let limit = PhyOffset::new(place.stream, limit).to_wire();
        let newest = place.cut(&mut files, limit, trust)?;
        Ok(StreamIndex {
            place,
            sealed: files,
            newest,
            unsynced: Vec::new(),
            changed: true,
            durable: super::Durable::default(),
            sync: None,
            next_sync_at: MonoNs(0),
            sync_failed: false,
            next_warning_at: MonoNs(0),
            next_behind_at: MonoNs(0),
            unreadable: None,
        })
    }
}

impl IndexPlace {
    /// The files that can be right, oldest first.
    fn list(&self) -> io::Result<Vec<Sealed>> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name());
        }
        names.sort_unstable();
        let mut found = Vec::new();
        let mut bad = false;
        for name in names {
            let Some(name) = name.to_str().filter(|name| parse_name(name).is_some()) else {
                self.set_aside(&name.to_string_lossy(), "its name is no time of 17 digits")?;
                continue;
            };
            if bad {
                self.set_aside(name, "it follows a file that cannot be used")?;
                continue;
            }
            match self.look(name)? {
                Ok(header) => found.push(Sealed { name: name.to_string(), header }),
                Err(problem) => {
                    self.set_aside(name, &problem)?;
                    bad = true;
                }
            }
        }
        Ok(found)
    }

    /// The header of a file, or why it cannot be used.
    fn look(&self, name: &str) -> io::Result<Result<IndexHeader, String>> {
        let path = self.dir.join(name);
        let (have, want) = (fs::metadata(&path)?.len(), self.limits.file_bytes() as u64);
        if have != want {
            let (slots, items) = (self.limits.slots, self.limits.items);
            return Ok(Err(format!(
                "it has {have} bytes, with maxHashSlotNum = {slots} and maxIndexNum = {items} an index file has {want}"
            )));
        }
        let mut bytes = [0; HEADER_BYTES];
        if let Err(error) = File::open(&path)?.read_exact_at(&mut bytes, 0) {
            return Ok(Err(format!("its header cannot be read ({error})")));
        }
        let mine = |phy: i64| {
            phy == 0 || PhyOffset::from_wire(phy).is_some_and(|p| p.stream() == self.stream)
        };
        let header = IndexHeader::decode(&bytes, self.limits);
        let header = header.filter(|header| mine(header.begin_phy) && mine(header.end_phy));
        Ok(header.ok_or_else(|| "its header has impossible numbers".to_string()))
    }

    /// Moves a file to the store's `cut` directory.
    fn set_aside(&self, name: &str, problem: &str) -> io::Result<()> {
        fs::create_dir_all(&self.cut_dir)?;
        let kept = self.cut_dir.join(format!("index-{}-{name}", self.stream.0));
        tracing::warn!(
            "{}: {problem}; it is kept as {} and its messages are indexed again",
            self.dir.join(name).display(),
            kept.display()
        );
        fs::rename(self.dir.join(name), kept)
    }

    /// Removes the first file for which this holds, and all after it.
    fn remove_from(
        &self,
        files: &mut Vec<Sealed>,
        mut is_first: impl FnMut(&Sealed) -> bool,
    ) -> io::Result<()> {
        let keep = files.iter().position(&mut is_first).unwrap_or(files.len());
        files.drain(keep..).try_for_each(|file| fs::remove_file(self.dir.join(file.name)))
    }

    /// Drops items of records at or behind `limit`; the newest file that is left is opened and taken from the list. After a crash of
    /// the machine slots and header of that file are made anew.
    fn cut(
        &self,
        files: &mut Vec<Sealed>,
        limit: i64,
        trust: Trust,
    ) -> io::Result<Option<OpenFile>> {
        let distrusted = matches!(trust, Trust::Below(_));
        while let Some(last) = files.pop() {
            let floor = files.last().map_or(0, |file| file.header.end_phy);
            let mut file = match OpenFile::open(&self.dir, &last.name, self.limits, trust)? {
                Ok(file) => file,
                Err(problem) => {
                    self.set_aside(&last.name, &problem)?;
                    continue;
                }
            };
            file.mend();
            let behind = file.last_phy().is_some_and(|last| last >= limit);
            if !distrusted && !behind {
                return Ok(Some(file));
            }
            if file.keep_below(floor, limit, !distrusted)? > 0 {
                return Ok(Some(file));
            }
            fs::remove_file(self.dir.join(&last.name))?;
        }
        Ok(None)
    }
}
