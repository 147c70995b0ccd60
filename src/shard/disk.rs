//! The disk as start-up, recovery and the background thread see it: what acknowledged messages depend on goes through `Disk`.
//!
//! `LocalDisk` is the file system of this machine. Tests put a simulated disk in its place, to see what a power cut
//! leaves. Not here: the log's direct writes and syncs on the ring, which take the descriptors of `ring_file`, the
//! windows in shared memory, the mapped index, and looks at free space and ages.

use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// To be read; it must be there.
    Read,
    /// To be read and written; it must be there.
    Write,
    /// As `Write`, made empty when it is missing.
    Create,
    /// As `Write`, made; it must not be there.
    CreateNew,
    /// As `Write`, made, or emptied when it is there.
    Truncate,
}

/// A file system. Names become durable by `sync_dir` of the directory that holds them, content by the file's syncs.
pub trait Disk: Send + Sync {
    /// Opens a file for buffered reads and writes.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file for the ring; `direct`: to be written past the page cache, where that is possible.
    fn ring_file(&self, path: &Path, direct: bool) -> io::Result<File>;

    /// Size of a file in bytes.
    fn file_bytes(&self, path: &Path) -> io::Result<u64>;

    /// What tells whether a file or directory has been changed since; `None`: this disk does not say.
    fn stamp(&self, _path: &Path) -> io::Result<Option<Stamp>> {
        Ok(None)
    }

    /// Names in a directory, in no order; those that are not UTF-8 are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a directory. Errors: `AlreadyExists` when something has the name.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// Gives a file another name, replacing what has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory and all in it.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes everything durable, names and content, on the file system that holds `dir`.
    fn sync_file_system(&self, dir: &Path) -> io::Result<()>;

    /// Whether paths are those of this machine, so that a file can be mapped into memory.
    fn can_map(&self) -> bool {
        false
    }

    /// Takes the lock at `path` until the file is dropped; `None` on a disk that only this process can reach.
    ///
    /// Errors: `WouldBlock` when another process has it.
    fn lock(&self, path: &Path) -> io::Result<Option<File>>;
}

/// The state of a file or directory as its file system notes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// When content, names or attributes were last changed, ns; nobody can set it to a time of his choice.
    pub changed_ns: i64,
    /// Size in bytes; of a directory it says nothing.
    pub bytes: u64,
}

/// An open file of a `Disk`.
pub trait DiskFile: Send {
    /// Reads at `at`, perhaps fewer bytes than asked for; none at the end of the file.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes at `at`, perhaps fewer bytes than given.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize>;

    /// Gives the file a size; what it gains reads as zeros.
    fn set_bytes(&self, bytes: u64) -> io::Result<()>;

    /// Gives the file at least this size and reserves the room for it. Waits for direct writes that are under way. When it has
    /// the size, its time of the last change stays.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Makes the content durable, and the size as far as the content needs it.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes everything but the name durable.
    fn sync_all(&self) -> io::Result<()>;

    /// Size in bytes.
    fn bytes(&self) -> io::Result<u64>;

    /// Whether the file has no name any more.
    fn is_nameless(&self) -> bool;

    /// Says that this part is read soon: the disk can begin.
    fn will_need(&self, _at: u64, _bytes: u64) {}

    /// Nothing is read but what is asked for: pages that were read ahead would count as data for `next_data`.
    fn read_nothing_ahead(&self) {}

    /// Where something may be stored at or behind `at`; `None`: zeros to the end of the file.
    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        Ok(Some(at))
    }
}

/// Reads as much of `buffer` as the file has at `at`.
pub fn read_full_at(file: &dyn DiskFile, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Writes all bytes at `at`.
pub fn write_full_at(file: &dyn DiskFile, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                at += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The content of a file.
pub fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Access::Read)?;
    let bytes = usize::try_from(file.bytes()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut content = vec![0; bytes];
    let read = read_full_at(&*file, &mut content, 0)?;
    content.truncate(read);
    Ok(content)
}

/// Makes a directory and those missing above it.
pub fn make_dirs(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let made = match disk.make_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            make_dirs(disk, dir.parent().ok_or(e)?)?;
            disk.make_dir(dir)
        }
        made => made,
    };
    match made {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// As `make_dirs`, and makes the names durable, each before there is one below it.
pub fn make_durable_dirs(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let made = match disk.make_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            make_durable_dirs(disk, dir.parent().ok_or(e)?)?;
            disk.make_dir(dir)
        }
        made => made,
    };
    // A relative path of one element lies in the working directory.
    let above = dir.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    let Some(above) = above else { return Ok(()) };
    match made {
        Ok(()) => {
            // Those further up may be what a start that failed has left; mostly they are older, or others own them.
            for older in above.ancestors().skip(1).filter(|older| !older.as_os_str().is_empty()) {
                let _ = disk.sync_dir(older);
            }
            disk.sync_dir(above)
        }
        // A process that died may have made it just now; where others own the directory above, that was not so.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match disk.sync_dir(above) {
            Err(e) if e.kind() != io::ErrorKind::PermissionDenied => Err(e),
            Ok(()) | Err(_) => Ok(()),
        },
        Err(e) => Err(e),
    }
}

/// Replaces a file so that a crash leaves the old or the new content: temporary file, sync, rename, sync.
pub fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_os_string();
    name.push(".tmp");
    let temporary = dir.join(name);
    let file = disk.open(&temporary, Access::Truncate)?;
    write_full_at(&*file, bytes, 0)?;
    file.sync_all()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(dir)
}

/// Gives a file a place in another directory, durably; on another file system by a copy.
pub fn move_file(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    match disk.rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy_file(disk, from, to)?;
            disk.remove_file(from)?;
        }
        done => done?,
    }
    for path in [to, from] {
        disk.sync_dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
    }
    Ok(())
}

pub(crate) fn copy_file(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    let (from, copy) = (disk.open(from, Access::Read)?, disk.open(to, Access::Truncate)?);
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read = read_full_at(&*from, &mut buffer, at)?;
        if read == 0 {
            break;
        }
        // What is zeros all over stays a hole.
        if buffer[..read].iter().any(|byte| *byte != 0) {
            write_full_at(&*copy, &buffer[..read], at)?;
        }
        at += read as u64;
    }
    copy.set_bytes(at)?;
    copy.sync_all()?;
    disk.sync_dir(to.parent().ok_or(io::ErrorKind::InvalidInput)?)
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn can_map(&self) -> bool {
        true
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(access != Access::Read);
        match access {
            Access::Read | Access::Write => {}
            Access::Create => {
                options.create(true).truncate(false);
            }
            Access::CreateNew => {
                options.create_new(true);
            }
            Access::Truncate => {
                options.create(true).truncate(true);
            }
        }
        Ok(Box::new(options.open(path)?))
    }

    fn ring_file(&self, path: &Path, direct: bool) -> io::Result<File> {
        if !direct {
            return File::open(path);
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match options.clone().custom_flags(libc::O_DIRECT).open(path) {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                tracing::warn!(
                    "{}: this file system knows no direct I/O; log writes go through the page cache",
                    path.display()
                );
                options.open(path)
            }
            opened => opened,
        }
    }

    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn stamp(&self, path: &Path) -> io::Result<Option<Stamp>> {
        let meta = fs::metadata(path)?;
        let changed_ns =
            meta.ctime().saturating_mul(1_000_000_000).saturating_add(meta.ctime_nsec());
        Ok(Some(Stamp { changed_ns, bytes: meta.len() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(dir)?;
        Ok(entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect())
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn sync_file_system(&self, dir: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(dir)?)?)
    }

    /// Java locks the first byte with a POSIX lock; so do we, and each refuses the other's store.
    fn lock(&self, path: &Path) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::fcntl_lock(&file, exclusive).map_err(|error| match error {
            Errno::ACCESS | Errno::AGAIN => io::Error::new(io::ErrorKind::WouldBlock, error),
            // For one, a file system that has no locks.
            other => io::Error::from(other),
        })?;
        file.write_all(b"lock")?;
        Ok(Some(file))
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, at)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let before = self.metadata()?;
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(self, flags, 0, bytes)?;
        if before.len() >= bytes
            && let Ok(modified) = before.modified()
        {
            // Retention goes by it. Where the file is another user's it becomes young, and stays longer.
            let _ = self.set_modified(modified);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn will_need(&self, at: u64, bytes: u64) {
        // Without it the read is slower, and right.
        let _ = rustix::fs::fadvise(self, at, NonZeroU64::new(bytes), rustix::fs::Advice::WillNeed);
    }

    fn read_nothing_ahead(&self) {
        // Without it `next_data` finds more, and is right.
        let _ = rustix::fs::fadvise(self, 0, None, rustix::fs::Advice::Random);
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        match rustix::fs::seek(self, rustix::fs::SeekFrom::Data(at)) {
            Ok(next) => Ok(Some(next)),
            Err(Errno::NXIO) => Ok(None),
            // Such a file system does not tell.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(at)),
            Err(error) => Err(error.into()),
        }
    }

    fn is_nameless(&self) -> bool {
        self.metadata().map_or(true, |meta| meta.nlink() == 0)
    }
}
