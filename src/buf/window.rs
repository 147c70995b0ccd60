//! The log window: a ring of memory that is append buffer, write source, tail cache and crash survivor at once.
//!
//! The file (in `/dev/shm`) is one header block followed by `bytes` of ring. The ring is mapped twice in a row,
//! so the range `[position, position + len)` of a stream is contiguous for every `len <= bytes`. The file is
//! created with mode 0600 and refused when another user owns it. After the death of the process the next start
//! finds header and ring as they were at the last instruction (page cache of tmpfs), so the header carries what
//! is needed to trust them: store id, boot id, stream, size, and the appended frontier.
//!
//! Header (one block, native endian, all 8-byte words): 0 magic, 8 ring bytes, 16/24 store id, 32/40 boot id,
//! 48 stream, 56 appended frontier, 64 written frontier; 512 a second magic where the rest is there, 520 device of the store's
//! directory, 528 length of its path in bytes, 536 the path. Who has noted the path holds a lock on the file until it dies.

use crate::BLOCK_BYTES;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const MAGIC: u64 = 0x5249_4e47_4d51_5731; // "RINGMQW1"
const WORD_MAGIC: usize = 0;
const WORD_BYTES: usize = 1;
const WORD_STORE: usize = 2;
const WORD_BOOT: usize = 4;
const WORD_STREAM: usize = 6;
const WORD_APPENDED: usize = 7;
const WORD_WRITTEN: usize = 8;
const PLACE_MAGIC: u64 = 0x5249_4e47_4d51_5750; // "RINGMQWP"
const WORD_PLACE_MAGIC: usize = 64;
const WORD_DEVICE: usize = 65;
const WORD_PATH_BYTES: usize = 66;
const WORD_PATH: usize = 67;
/// Longest path that the header has room for.
const PATH_BYTES_MAX: usize = BLOCK_BYTES - WORD_PATH * 8;

/// What a window belongs to. A window of another store, boot or stream is never trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowIdentity {
    /// Random id of the store, from its identity file.
    pub store_id: u128,
    /// Random id of this boot of the kernel.
    pub boot_id: u128,
    /// Stream of the store.
    pub stream: u64,
}

/// What a window that outlived its process says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowFrontiers {
    /// Stream position behind the last complete record in the ring.
    pub appended: u64,
    /// Stream position up to which the device had the bytes when last noted.
    pub written: u64,
}

/// A window that is left of a dead process, as its header says; no other process can take it while this is held.
#[derive(Debug)]
pub struct LeftWindow {
    /// Id of its store.
    pub store_id: u128,
    /// Frontiers of its log.
    pub frontiers: WindowFrontiers,
    /// Directory of the store.
    pub dir: PathBuf,
    /// Device of that directory.
    pub device: u64,
    _file: File,
}

impl LeftWindow {
    /// Looks at a file; `None`: it is no window, belongs to another user or to a process that lives, or does not say where its
    /// store is (an older release made it).
    pub fn look(path: &Path) -> io::Result<Option<LeftWindow>> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        // SAFETY: geteuid has no preconditions.
        let user = unsafe { libc::geteuid() };
        if meta.uid() != user || !meta.is_file() || ring_bytes(meta.len()).is_none() {
            return Ok(None);
        }
        if file.try_lock().is_err() {
            return Ok(None);
        }
        let mut header = [0; BLOCK_BYTES];
        file.read_exact_at(&mut header, 0)?;
        let words = header.as_chunks::<8>().0;
        let word = |at: usize| words.get(at).map_or(0, |word| u64::from_ne_bytes(*word));
        let length = usize::try_from(word(WORD_PATH_BYTES)).unwrap_or(usize::MAX);
        let dir = header.get(WORD_PATH * 8..).and_then(|rest| rest.get(..length));
        let dir =
            dir.filter(|_| (word(WORD_MAGIC), word(WORD_PLACE_MAGIC)) == (MAGIC, PLACE_MAGIC));
        let dir = dir.map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)));
        Ok(dir.filter(|dir| dir.is_absolute()).map(|dir| LeftWindow {
            store_id: u128::from(word(WORD_STORE)) << 64 | u128::from(word(WORD_STORE + 1)),
            frontiers: WindowFrontiers {
                appended: word(WORD_APPENDED),
                written: word(WORD_WRITTEN),
            },
            dir,
            device: word(WORD_DEVICE),
            _file: file,
        }))
    }
}

/// The mapped ring. One owner appends; the kernel reads it for writes and sends at the same time.
pub struct Window {
    map: Arc<Map>,
    path: Option<PathBuf>,
}

/// Keeps a window's memory mapped while the kernel may read it; gives no access to the bytes.
#[derive(Clone)]
pub struct WindowMemory(Arc<Map>);

impl WindowMemory {
    /// First byte of the ring (first mapping), for registration with the kernel.
    pub fn as_ptr(&self) -> *const u8 {
        self.0.ring.as_ptr()
    }

    /// Ring size in bytes.
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// Address of a stream position inside the first mapping, and how many bytes follow before the ring's end.
    pub fn locate(&self, position: u64) -> (*const u8, usize) {
        let offset = offset_in(position, self.0.bytes);
        // SAFETY: the offset is below the ring's size.
        let start = unsafe { self.0.ring.as_ptr().add(offset) };
        (start, self.0.bytes - offset)
    }
}

struct Map {
    header: NonNull<u8>,
    ring: NonNull<u8>,
    bytes: usize,
    file: File,
}

// SAFETY: the mappings belong to this value; header words are atomics, and ring bytes are reached only through
// the one `Window`.
unsafe impl Send for Map {}
// SAFETY: as for Send: shared references give addresses, not access to ring bytes.
unsafe impl Sync for Map {}

impl Window {
    /// Creates the file (replacing what is there) and writes the header with both frontiers at `start`.
    pub fn create(
        path: &Path,
        bytes: usize,
        identity: WindowIdentity,
        start: u64,
    ) -> io::Result<Window> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Window::prepare(file, Some(path.to_path_buf()), bytes, identity, start)
    }

    /// A window without a name: it does not survive the process. For hosts without usable shared memory.
    pub fn anonymous(bytes: usize, identity: WindowIdentity, start: u64) -> io::Result<Window> {
        // SAFETY: the name is a valid C string; the call makes a new descriptor and touches no memory of ours.
        let fd = unsafe { libc::memfd_create(c"ringmq-window".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made and is owned by nobody else.
        let file = unsafe { File::from_raw_fd(fd) };
        Window::prepare(file, None, bytes, identity, start)
    }

    /// Opens what a dead process left, or `None` when there is nothing that belongs to `identity`.
    ///
    /// Errors: the file exists but belongs to another user, or cannot be mapped.
    pub fn open(
        path: &Path,
        identity: WindowIdentity,
    ) -> io::Result<Option<(Window, WindowFrontiers)>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let meta = file.metadata()?;
        // SAFETY: geteuid has no preconditions.
        let user = unsafe { libc::geteuid() };
        if meta.uid() != user {
            let text = format!("{} belongs to user {}, not {user}", path.display(), meta.uid());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let Some(bytes) = ring_bytes(meta.len()) else { return Ok(None) };
        let window = Window::map(file, Some(path.to_path_buf()), bytes)?;
        let same = window.word(WORD_MAGIC) == MAGIC
            && window.word(WORD_BYTES) == bytes as u64
            && window.identity() == identity;
        let frontiers = WindowFrontiers {
            appended: window.word(WORD_APPENDED),
            written: window.word(WORD_WRITTEN),
        };
        let sane = frontiers.written <= frontiers.appended
            && frontiers.appended - frontiers.written <= bytes as u64;
        Ok((same && sane).then_some((window, frontiers)))
    }

    fn prepare(
        file: File,
        path: Option<PathBuf>,
        bytes: usize,
        identity: WindowIdentity,
        start: u64,
    ) -> io::Result<Window> {
        assert!(bytes > 0 && bytes.is_multiple_of(BLOCK_BYTES), "a window is whole blocks");
        let total = i64::try_from(bytes + BLOCK_BYTES).map_err(|_| io::ErrorKind::InvalidInput)?;
        // Allocated, not only sized: a full /dev/shm is an error here and not a SIGBUS later.
        // SAFETY: plain system call on our own descriptor.
        let result = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, total) };
        if result != 0 {
            return Err(io::Error::from_raw_os_error(result));
        }
        let window = Window::map(file, path, bytes)?;
        window.set_word(WORD_BYTES, bytes as u64);
        let halves = [identity.store_id, identity.boot_id];
        for (at, id) in [(WORD_STORE, halves[0]), (WORD_BOOT, halves[1])] {
            window.set_word(at, high_half(id));
            window.set_word(at + 1, low_half(id));
        }
        window.set_word(WORD_STREAM, identity.stream);
        window.set_word(WORD_APPENDED, start);
        window.set_word(WORD_WRITTEN, start);
        window.set_word(WORD_MAGIC, MAGIC);
        Ok(window)
    }

    fn map(file: File, path: Option<PathBuf>, bytes: usize) -> io::Result<Window> {
        let fd = file.as_raw_fd();
        let header = map_file(None, BLOCK_BYTES, fd, 0)?;
        let ring = reserve(bytes * 2).inspect_err(|_| unmap(header, BLOCK_BYTES))?;
        let map = Map { header, ring, bytes, file };
        // From here on dropping `map` unmaps everything, also when one of these fails.
        map_file(Some(map.ring), bytes, fd, BLOCK_BYTES)?;
        // SAFETY: the reservation is `2 * bytes` long, so its middle is inside it.
        let second = unsafe { map.ring.add(bytes) };
        map_file(Some(second), bytes, fd, BLOCK_BYTES)?;
        Ok(Window { map: Arc::new(map), path })
    }

    /// Ring size in bytes.
    pub fn bytes(&self) -> usize {
        self.map.bytes
    }

    /// A handle that keeps the memory mapped for operations in flight.
    pub fn memory(&self) -> WindowMemory {
        WindowMemory(Arc::clone(&self.map))
    }

    /// Whether the content survives the death of the process.
    pub fn is_crash_safe(&self) -> bool {
        self.path.is_some()
    }

    /// The ring's bytes for `[position, position + len)`; `len <= bytes()`.
    pub fn slice(&self, position: u64, len: usize) -> &[u8] {
        assert!(len <= self.map.bytes, "{len} bytes of a window of {}", self.map.bytes);
        // SAFETY: offset < bytes and len <= bytes, so the range lies in the double mapping of 2 * bytes.
        let start = unsafe { self.map.ring.as_ptr().add(offset_in(position, self.map.bytes)) };
        // SAFETY: as above; the mapping lives as long as `self`.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// As `slice`, writable. The owner keeps it disjoint from ranges whose write is in flight.
    pub fn slice_mut(&mut self, position: u64, len: usize) -> &mut [u8] {
        assert!(len <= self.map.bytes, "{len} bytes of a window of {}", self.map.bytes);
        // SAFETY: as in `slice`.
        let start = unsafe { self.map.ring.as_ptr().add(offset_in(position, self.map.bytes)) };
        // SAFETY: as in `slice`; `&mut self` excludes other slices in this process.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// Notes the appended frontier for the next start. Called after the record's bytes are complete.
    pub fn set_appended(&self, position: u64) {
        self.set_word(WORD_APPENDED, position);
    }

    /// Notes the written frontier for the next start.
    pub fn set_written(&self, position: u64) {
        self.set_word(WORD_WRITTEN, position);
    }

    /// Notes where the store is, so that the window can be removed when that is gone, and locks the file as long as this process
    /// lives. Without a word where it cannot be locked or the path is too long: then nobody removes it.
    pub fn note_place(&self, dir: &Path, device: u64) {
        let bytes = dir.as_os_str().as_bytes();
        let fits = dir.is_absolute() && bytes.len() <= PATH_BYTES_MAX;
        if self.path.is_none() || !fits || self.map.file.try_lock().is_err() {
            return;
        }
        self.set_word(WORD_DEVICE, device);
        self.set_word(WORD_PATH_BYTES, bytes.len() as u64);
        for (at, part) in (WORD_PATH..).zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.set_word(at, u64::from_ne_bytes(word));
        }
        self.set_word(WORD_PLACE_MAGIC, PLACE_MAGIC);
    }

    /// Removes the name: after an orderly stop nothing is left to recover.
    pub fn unlink(&self) -> io::Result<()> {
        match &self.path {
            Some(path) => std::fs::remove_file(path),
            None => Ok(()),
        }
    }

    fn identity(&self) -> WindowIdentity {
        let pair = |at| u128::from(self.word(at)) << 64 | u128::from(self.word(at + 1));
        WindowIdentity {
            store_id: pair(WORD_STORE),
            boot_id: pair(WORD_BOOT),
            stream: self.word(WORD_STREAM),
        }
    }

    fn atomic(&self, index: usize) -> &AtomicU64 {
        assert!(index < BLOCK_BYTES / 8);
        // SAFETY: the header block holds BLOCK_BYTES / 8 words; the mapping is page-aligned.
        let word = unsafe { self.map.header.as_ptr().cast::<u64>().add(index) };
        // SAFETY: aligned, valid while `self` lives, and only ever accessed atomically.
        unsafe { AtomicU64::from_ptr(word) }
    }

    fn word(&self, index: usize) -> u64 {
        self.atomic(index).load(Ordering::Acquire)
    }

    fn set_word(&self, index: usize, value: u64) {
        self.atomic(index).store(value, Ordering::Release);
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        unmap(self.header, BLOCK_BYTES);
        unmap(self.ring, self.bytes * 2);
    }
}

fn offset_in(position: u64, ring_bytes: usize) -> usize {
    usize::try_from(position % ring_bytes as u64).expect("less than the ring size")
}

fn ring_bytes(file_bytes: u64) -> Option<usize> {
    let ring = usize::try_from(file_bytes).ok()?.checked_sub(BLOCK_BYTES)?;
    (ring > 0 && ring.is_multiple_of(BLOCK_BYTES)).then_some(ring)
}

fn high_half(id: u128) -> u64 {
    u64::try_from(id >> 64).expect("the upper 64 of 128 bits")
}

fn low_half(id: u128) -> u64 {
    u64::try_from(id & u128::from(u64::MAX)).expect("masked to 64 bits")
}

fn reserve(bytes: usize) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a fresh reservation at an address the kernel chooses aliases nothing.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
    mapped(at)
}

fn map_file(
    at: Option<NonNull<u8>>,
    bytes: usize,
    fd: libc::c_int,
    offset: usize,
) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let (address, fixed) =
        at.map_or((std::ptr::null_mut(), 0), |p| (p.as_ptr().cast(), libc::MAP_FIXED));
    let flags = libc::MAP_SHARED | fixed;
    let offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: with MAP_FIXED the target lies in our own reservation; otherwise the kernel chooses.
    let at = unsafe { libc::mmap(address, bytes, protection, flags, fd, offset) };
    mapped(at)
}

fn mapped(at: *mut libc::c_void) -> io::Result<NonNull<u8>> {
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(at.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: called once with the address and length of a mapping of ours that nobody uses any more.
    let result = unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    debug_assert_eq!(result, 0, "unmapping our own mapping cannot fail");
}

#[cfg(test)]
mod tests;
