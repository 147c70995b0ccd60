//! A file in memory, for files that are changed all over the place a few bytes at a time: the message index.
//!
//! Touching it may wait for the disk, so it is never used on a shard's thread. Bytes are only copied from and into it:
//! no reference into a mapping that other processes may change is handed out. The file must keep its size as long as
//! it is mapped, and what is written must have blocks on the disk (`fallocate`): otherwise the kernel ends the process.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

/// A mapping that changes the file and outlives its descriptor.
pub struct MappedFile {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to this value alone; moving the value to another thread moves the ownership.
unsafe impl Send for MappedFile {}

impl MappedFile {
    /// Maps the first `bytes` (> 0) of a file that is open for reading and writing. Errors: it is shorter.
    pub fn map(file: &File, bytes: usize) -> io::Result<MappedFile> {
        assert!(bytes > 0, "a mapping has at least one byte");
        if file.metadata()?.len() < bytes as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let (flags, fd) = (libc::MAP_SHARED, file.as_raw_fd());
        // SAFETY: a fresh mapping at an address the kernel chooses aliases nothing of this process.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(MappedFile { start, bytes })
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// A mapping is never empty; present because `len` is.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// A copy of `N` bytes from `at`. Panics outside the mapping.
    pub fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut copy = [0; N];
        let from = self.checked(at, N);
        // SAFETY: `checked` proved that the range lies inside the mapping; `copy` is memory of its own.
        unsafe { std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), N) };
        copy
    }

    /// Copies `bytes` to `at`. When the process dies, what was put before is there, too. Panics outside the mapping.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        let to = self.checked(at, bytes.len());
        // SAFETY: as for `get`, and `&mut self` excludes other accesses of this process.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        // Keeps the compiler from moving a later put before this one.
        fence(Ordering::Release);
    }

    /// Fills `len` bytes from `at` with zeros. Panics outside the mapping.
    pub fn clear(&mut self, at: usize, len: usize) {
        let to = self.checked(at, len);
        // SAFETY: as for `put`.
        unsafe { std::ptr::write_bytes(to, 0, len) };
        fence(Ordering::Release);
    }

    /// Reads the first `bytes` from the disk, where they are not in memory. Errors: the disk cannot give them; touching them would
    /// end the process. Panics outside the mapping.
    pub fn fetch(&self, bytes: usize) -> io::Result<()> {
        let start = self.checked(0, bytes).cast();
        // SAFETY: `checked` proved that the range lies inside our own mapping; the call changes no byte of it.
        let result = unsafe { libc::madvise(start, bytes, libc::MADV_POPULATE_READ) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until the disk has everything that was put.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: start and length are those of our own mapping.
        let result = unsafe { libc::msync(self.start.as_ptr().cast(), self.bytes, libc::MS_SYNC) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn checked(&self, at: usize, len: usize) -> *mut u8 {
        let end = at.checked_add(len).expect("a range inside a mapping does not overflow");
        assert!(end <= self.bytes, "range {at}+{len} outside a mapping of {} bytes", self.bytes);
        // SAFETY: `at` is at most `bytes`, so the result is inside or one past the mapping.
        unsafe { self.start.as_ptr().add(at) }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: start and length are those of the mapping made in `map`; nobody uses it afterwards.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
        debug_assert_eq!(result, 0, "unmapping our own mapping cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(bytes).unwrap();
        file
    }

    #[test]
    fn what_is_put_is_in_the_file_and_comes_back() {
        use std::os::unix::fs::FileExt;
        let file = file(8192);
        let mut map = MappedFile::map(&file, 8192).unwrap();
        map.put(4095, b"ab");
        assert_eq!(map.get(4094), *b"\0ab\0");
        map.sync().unwrap();
        let mut read = [0; 2];
        file.read_exact_at(&mut read, 4095).unwrap();
        assert_eq!(read, *b"ab");
        map.clear(4096, 1);
        assert_eq!(map.get(4095), *b"a\0");
        drop(file);
        assert_eq!(map.get(4095), *b"a\0", "the mapping outlives the descriptor");
    }

    #[test]
    fn a_short_file_is_refused() {
        assert!(MappedFile::map(&file(4095), 4096).is_err());
    }

    #[test]
    fn bytes_that_cannot_be_had_are_an_error_before_they_are_touched() {
        let file = file(16384);
        let map = MappedFile::map(&file, 16384).unwrap();
        map.fetch(16384).unwrap();
        file.set_len(8192).unwrap();
        map.fetch(8192).unwrap();
        assert!(map.fetch(8193).is_err());
    }

    #[test]
    #[should_panic(expected = "outside a mapping")]
    fn a_range_outside_the_mapping_panics() {
        let map = MappedFile::map(&file(4096), 4096).unwrap();
        let _: [u8; 7] = map.get(4090);
    }
}
