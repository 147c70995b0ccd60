//! A file system in memory that knows what of it would survive.
//!
//! Model. Content: a write lands by sectors of 512 bytes, each or none of them, in any order, until the file is
//! synced (or the write itself was a durable one and has completed); of several writes to a sector that wait, any may
//! be the one that landed last. Sizes: changes of a file's size survive in their order, any number of the oldest.
//! Names: changes in a directory survive in their order, any number of the oldest; a rename between two directories
//! survives in both or in neither; syncing a directory makes its changes so far durable, and what they depend on. A
//! file's sync makes no name durable, and a directory that is lost takes what is in it along. A direct write that is
//! in flight is a write that waits, for power cuts; when the process dies some of its sectors have reached the disk's
//! cache, and all else that was done so far is there.
//!
//! Everything that happens is an `Event`; applying the events of a run up to some moment gives the state then.

use super::content::{Change, Content, SECTOR};
use super::random::Random;
use crate::disk::{Access, Disk, DiskFile, Stamp};
use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

type Name = Arc<Path>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Node {
    Dir,
    File(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Add(Name, Node),
    Remove(Name),
    Move(Name, Name),
}

impl NameChange {
    /// The directories that the change is made in.
    fn dirs(&self) -> [Option<&Path>; 2] {
        match self {
            NameChange::Add(name, _) | NameChange::Remove(name) => [name.parent(), None],
            NameChange::Move(from, to) => [from.parent(), to.parent()],
        }
    }

    fn apply(&self, names: &mut BTreeMap<Name, Node>) {
        match self {
            NameChange::Add(name, node) => {
                names.insert(Arc::clone(name), *node);
            }
            NameChange::Remove(name) => {
                if names.remove(name) == Some(Node::Dir) {
                    names.retain(|other, _| !other.starts_with(name));
                }
            }
            NameChange::Move(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(Arc::clone(to), node);
                }
            }
        }
    }
}

/// Something that happened to the disk.
#[derive(Clone, Debug)]
enum Event {
    Name(NameChange),
    SyncDir(Name),
    SyncAll,
    /// A buffered write.
    Write {
        file: usize,
        at: usize,
        bytes: Arc<[u8]>,
    },
    Size {
        file: usize,
        bytes: usize,
    },
    Sync {
        file: usize,
    },
    FailedSync {
        file: usize,
    },
    /// A direct write begins.
    Submit {
        id: u64,
        file: usize,
        at: usize,
        bytes: Arc<[u8]>,
    },
    /// It has completed; `durable`: and is past the device's cache.
    Complete {
        id: u64,
        file: usize,
        durable: bool,
    },
    /// A sync on the ring begins: it covers what is complete.
    BeginSync {
        id: u64,
        file: usize,
    },
    EndSync {
        id: u64,
        file: usize,
    },
}

/// A state of the disk.
#[derive(Clone, Default, Debug)]
pub(crate) struct State {
    names: BTreeMap<Name, Node>,
    durable_names: BTreeMap<Name, Node>,
    pending_names: Vec<NameChange>,
    files: Vec<Content>,
}

impl State {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Name(change) => {
                if let NameChange::Add(_, Node::File(file)) = change
                    && *file == self.files.len()
                {
                    self.files.push(Content::default());
                }
                change.apply(&mut self.names);
                self.pending_names.push(change.clone());
            }
            Event::SyncDir(dir) => self.sync_dir(dir),
            Event::SyncAll => {
                self.pending_names.clear();
                self.durable_names.clone_from(&self.names);
                self.files.iter_mut().for_each(Content::sync);
            }
            Event::Write { file, at, bytes } => self.files[*file].write(*at, bytes),
            Event::Size { file, bytes } => self.files[*file].set_bytes(*bytes),
            Event::FailedSync { file } => self.files[*file].give_up(),
            Event::Sync { file } => self.files[*file].sync(),
            Event::Submit { id, file, at, bytes } => self.files[*file].submit(*id, *at, bytes),
            Event::Complete { id, file, durable } => self.files[*file].complete(*id, *durable),
            Event::BeginSync { id, file } => self.files[*file].begin_sync(*id),
            Event::EndSync { id, file } => self.files[*file].end_sync(*id),
        }
    }

    fn sync_dir(&mut self, dir: &Path) {
        let mut needed = vec![dir.to_path_buf()];
        let mut chosen = vec![false; self.pending_names.len()];
        for (change, chosen) in self.pending_names.iter().zip(&mut chosen).rev() {
            let dirs = change.dirs();
            // Also the removal of a directory that had this name before.
            let removed = match change {
                NameChange::Remove(name) => needed.iter().any(|n| **n == **name),
                NameChange::Add(..) | NameChange::Move(..) => false,
            };
            if removed || dirs.iter().flatten().any(|d| needed.iter().any(|n| n == d)) {
                *chosen = true;
                needed.extend(dirs.iter().flatten().map(|d| d.to_path_buf()));
            }
        }
        let pending = std::mem::take(&mut self.pending_names);
        for (change, chosen) in pending.into_iter().zip(chosen) {
            if chosen {
                change.apply(&mut self.durable_names);
            } else {
                self.pending_names.push(change);
            }
        }
    }

    /// A disk that a power cut now could leave.
    pub(crate) fn power_cut(&self, random: &mut Random) -> State {
        let luck = random.pick(&[0, 10, 50, 50, 90, 100]);
        let mut names = self.durable_names.clone();
        let mut stopped: Vec<&Path> = Vec::new();
        for change in &self.pending_names {
            let dirs = change.dirs();
            let mut dirs = dirs.iter().flatten();
            if dirs.clone().any(|d| stopped.contains(d)) || !random.chance(luck.max(10)) {
                stopped.extend(dirs.by_ref().copied());
                // What comes later is in another directory of that name.
                if let NameChange::Remove(name) | NameChange::Add(name, Node::Dir) = change {
                    stopped.push(name);
                }
            } else {
                change.apply(&mut names);
            }
        }
        let held = |name: &Path| {
            name.ancestors().skip(1).all(|above| names.get(above) == Some(&Node::Dir))
        };
        let lost: Vec<Name> = names.keys().filter(|name| !held(name)).cloned().collect();
        for name in lost {
            names.remove(&name);
        }
        let mut files = vec![Content::default(); self.files.len()];
        for node in names.values() {
            if let Node::File(file) = node {
                files[*file] = self.files[*file].cut(random, luck);
            }
        }
        State { durable_names: names.clone(), names, pending_names: Vec::new(), files }
    }

    /// The disk as the death of the process now could leave it; the machine goes on.
    pub(crate) fn process_death(&self, random: &mut Random) -> State {
        let luck = random.pick(&[0, 50, 50, 100]);
        let files = self.files.iter().map(|file| file.orphan(random, luck)).collect();
        State { files, ..self.clone() }
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Node::File(file)) => Ok(*file),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Names and content of all files, for comparisons.
    pub(crate) fn content(&self, path: &Path) -> Option<&[u8]> {
        self.file(path).ok().map(|file| self.files[file].live.as_slice())
    }
}

/// What goes wrong with one operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It does nothing and fails with this `errno`.
    Fails(i32),
    /// A read or write moves fewer bytes than asked for.
    Short,
    /// It says it is done and does nothing: a device or file system that lies.
    Lies,
}

/// What an operation is, for the choice of faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Open,
    Read,
    Write,
    Size,
    Sync,
    Name,
    SyncDir,
}

/// Chooses; the number is that of the events so far.
type Faults = Box<dyn FnMut(Operation, &Path, usize) -> Option<Fault> + Send>;

struct Inner {
    start: State,
    now: State,
    events: Vec<Event>,
    faults: Option<Faults>,
    /// Failures so far, for messages.
    failed: Vec<String>,
    next_id: u64,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<Mutex<Inner>>);

impl SimDisk {
    /// A disk that begins with `state`.
    pub(crate) fn new(state: State) -> SimDisk {
        let inner = Inner {
            start: state.clone(),
            now: state,
            events: Vec::new(),
            faults: None,
            failed: Vec::new(),
            next_id: 0,
        };
        SimDisk(Arc::new(Mutex::new(inner)))
    }

    /// An empty disk.
    pub(crate) fn empty() -> SimDisk {
        let mut state = State::default();
        state.names.insert(Arc::from(Path::new("/")), Node::Dir);
        state.durable_names.clone_from(&state.names);
        SimDisk::new(state)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no test thread panics with the disk")
    }

    /// Events so far.
    pub(crate) fn events(&self) -> usize {
        self.inner().events.len()
    }

    /// What has failed so far.
    pub(crate) fn failed(&self) -> String {
        self.inner().failed.join("; ")
    }

    /// Chooses what fails from now on.
    pub(crate) fn set_faults(&self, faults: Option<Faults>) {
        self.inner().faults = faults;
    }

    /// The states at the given numbers of events, ascending.
    pub(crate) fn at(&self, moments: &[usize], mut visit: impl FnMut(usize, &State)) {
        let inner = self.inner();
        let mut state = inner.start.clone();
        let mut done = 0;
        for (which, moment) in moments.iter().enumerate() {
            for event in &inner.events[done..(*moment).max(done)] {
                state.apply(event);
            }
            done = done.max(*moment);
            visit(which, &state);
        }
    }

    /// The state now.
    pub(crate) fn state(&self) -> State {
        self.inner().now.clone()
    }

    /// A direct write begins; returns its number. Writes in flight never overlap.
    pub(crate) fn submit(&self, path: &Path, at: u64, bytes: Vec<u8>) -> u64 {
        let mut inner = self.inner();
        let file = inner.now.file(path).expect("a segment that is written exists");
        let at = usize::try_from(at).expect("a small file");
        let end = at + bytes.len();
        assert!(at.is_multiple_of(SECTOR) && bytes.len().is_multiple_of(SECTOR), "whole sectors");
        assert!(end <= inner.now.files[file].live.len(), "a write stays in its segment");
        for change in &inner.now.files[file].pending {
            if let Change::Write { at: other, bytes, complete: false, .. } = change {
                let apart = *other >= end || at >= *other + bytes.len();
                assert!(apart, "two writes in flight at {at} and {other} of {}", path.display());
            }
        }
        inner.next_id += 1;
        let id = inner.next_id;
        inner.record(Event::Submit { id, file, at, bytes: Arc::from(bytes) });
        id
    }

    /// It completes.
    pub(crate) fn complete(&self, path: &Path, id: u64, durable: bool) {
        let mut inner = self.inner();
        let file = inner.now.file(path).expect("as when it began");
        inner.record(Event::Complete { id, file, durable });
    }

    /// A sync on the ring begins; returns its number.
    pub(crate) fn begin_sync(&self, path: &Path) -> u64 {
        let mut inner = self.inner();
        let file = inner.now.file(path).expect("a segment that is synced exists");
        inner.next_id += 1;
        let id = inner.next_id;
        inner.record(Event::BeginSync { id, file });
        id
    }

    /// It ends.
    pub(crate) fn end_sync(&self, path: &Path, id: u64) {
        let mut inner = self.inner();
        let file = inner.now.file(path).expect("as when it began");
        inner.record(Event::EndSync { id, file });
    }

    /// What goes wrong with this operation; an error when it fails.
    fn fault(&self, operation: Operation, path: &Path) -> io::Result<Option<Fault>> {
        let mut inner = self.inner();
        let events = inner.events.len();
        let Some(faults) = &mut inner.faults else { return Ok(None) };
        match faults(operation, path, events) {
            Some(Fault::Fails(error)) => {
                let at = inner.events.len();
                let text =
                    format!("{operation:?} of {} failed with {error} at {at}", path.display());
                inner.failed.push(text);
                Err(io::Error::from_raw_os_error(error))
            }
            fault => Ok(fault),
        }
    }
}

impl Inner {
    fn change(&mut self, change: NameChange) -> io::Result<()> {
        for dir in change.dirs().into_iter().flatten() {
            if self.now.names.get(dir) != Some(&Node::Dir) {
                return Err(io::ErrorKind::NotFound.into());
            }
        }
        self.record(Event::Name(change));
        Ok(())
    }

    fn record(&mut self, event: Event) {
        self.now.apply(&event);
        self.events.push(event);
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        self.fault(Operation::Open, path)?;
        let found = self.inner().now.file(path);
        let make = match access {
            Access::Read | Access::Write => false,
            Access::Create | Access::Truncate => true,
            Access::CreateNew if found.is_ok() => return Err(io::ErrorKind::AlreadyExists.into()),
            Access::CreateNew => true,
        };
        let file = match found {
            Ok(file) => file,
            Err(e) if e.kind() != io::ErrorKind::NotFound || !make => return Err(e),
            Err(_) => {
                // Under one lock: streams are recovered by threads.
                let mut inner = self.inner();
                let file = inner.now.files.len();
                inner.change(NameChange::Add(Arc::from(path), Node::File(file)))?;
                file
            }
        };
        if access == Access::Truncate {
            self.inner().record(Event::Size { file, bytes: 0 });
        }
        let path = Arc::from(path);
        Ok(Box::new(SimFile { disk: self.clone(), file, path }))
    }

    fn ring_file(&self, path: &Path, _direct: bool) -> io::Result<File> {
        self.fault(Operation::Open, path)?;
        self.inner().now.file(path)?;
        // The ring is simulated too: what it would write to is never used.
        File::open("/dev/null")
    }

    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        self.fault(Operation::Read, path)?;
        let inner = self.inner();
        let file = inner.now.file(path)?;
        Ok(inner.now.files[file].live.len() as u64)
    }

    /// A sum of the names in a directory, or of a file's content: it changes when they do.
    fn stamp(&self, path: &Path) -> io::Result<Option<Stamp>> {
        self.fault(Operation::Read, path)?;
        let inner = self.inner();
        let mut sum = DefaultHasher::new();
        let mut size = 0;
        if inner.now.names.get(path) == Some(&Node::Dir) {
            for (name, node) in inner.now.names.iter().filter(|(n, _)| n.parent() == Some(path)) {
                format!("{name:?} {node:?}").hash(&mut sum);
            }
        } else {
            let live = &inner.now.files[inner.now.file(path)?].live;
            live.hash(&mut sum);
            size = live.len() as u64;
        }
        Ok(Some(Stamp { changed_ns: sum.finish().cast_signed(), bytes: size }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.fault(Operation::Read, dir)?;
        let inner = self.inner();
        if inner.now.names.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let below = inner.now.names.keys().filter(|name| name.parent() == Some(dir));
        let text = |name: &Name| name.file_name()?.to_str().map(str::to_string);
        Ok(below.filter_map(text).collect())
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.fault(Operation::Name, dir)?;
        let mut inner = self.inner();
        if inner.now.names.contains_key(dir) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        inner.change(NameChange::Add(Arc::from(dir), Node::Dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fault(Operation::Name, from)?;
        let mut inner = self.inner();
        inner.now.file(from)?;
        inner.change(NameChange::Move(Arc::from(from), Arc::from(to)))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.fault(Operation::Name, path)?;
        let mut inner = self.inner();
        inner.now.file(path)?;
        inner.change(NameChange::Remove(Arc::from(path)))
    }

    /// Never fails: nobody looks at that.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        if inner.now.names.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let below = inner.now.names.keys().filter(|name| name.starts_with(dir));
        let names: Vec<Name> = below.cloned().collect();
        names.into_iter().rev().try_for_each(|name| inner.change(NameChange::Remove(name)))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.fault(Operation::SyncDir, dir)? == Some(Fault::Lies) {
            return Ok(());
        }
        let mut inner = self.inner();
        if inner.now.names.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        inner.record(Event::SyncDir(Arc::from(dir)));
        Ok(())
    }

    fn sync_file_system(&self, dir: &Path) -> io::Result<()> {
        if self.fault(Operation::SyncDir, dir)? != Some(Fault::Lies) {
            self.inner().record(Event::SyncAll);
        }
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<File>> {
        Ok(None)
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
    path: Name,
}

impl SimFile {
    fn event(&self, operation: Operation, event: Event) -> io::Result<()> {
        match self.disk.fault(operation, &self.path) {
            Ok(Some(Fault::Lies)) => Ok(()),
            Ok(_) => {
                self.disk.inner().record(event);
                Ok(())
            }
            Err(error) => {
                if operation == Operation::Sync {
                    self.disk.inner().record(Event::FailedSync { file: self.file });
                }
                Err(error)
            }
        }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let short = self.disk.fault(Operation::Read, &self.path)? == Some(Fault::Short);
        let inner = self.disk.inner();
        let live = &inner.now.files[self.file].live;
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(live.len());
        let len = buffer.len().min(live.len() - at);
        let len = if short { len.div_ceil(2) } else { len };
        buffer[..len].copy_from_slice(&live[at..at + len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let fault = self.disk.fault(Operation::Write, &self.path)?;
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge)?;
        // Writes end early where a page, or at least a sector, does.
        let short = (at + bytes.len().div_ceil(2)).next_multiple_of(SECTOR) - at;
        let is_short = fault == Some(Fault::Short) && short < bytes.len();
        let len = if is_short { short } else { bytes.len() };
        if fault != Some(Fault::Lies) {
            let bytes = Arc::from(&bytes[..len]);
            self.disk.inner().record(Event::Write { file: self.file, at, bytes });
        }
        Ok(len)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.event(Operation::Size, Event::Size { file: self.file, bytes })
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let bytes = bytes.max(self.disk.inner().now.files[self.file].live.len());
        self.event(Operation::Size, Event::Size { file: self.file, bytes })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.event(Operation::Sync, Event::Sync { file: self.file })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.event(Operation::Sync, Event::Sync { file: self.file })
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.disk.inner().now.files[self.file].live.len() as u64)
    }

    fn is_nameless(&self) -> bool {
        let inner = self.disk.inner();
        !inner.now.names.values().any(|node| *node == Node::File(self.file))
    }
}

/// Whether a file is of the log.
pub(super) fn is_log(path: &Path) -> bool {
    let is_checkpoint = path.to_string_lossy().contains(".checkpoint");
    let is_stream = path.starts_with("/data/store/streams") && !is_checkpoint;
    path.starts_with("/data/store/commitlog") || is_stream
}
