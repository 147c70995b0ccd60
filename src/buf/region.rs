//! Anonymous page-aligned memory with a fixed address: receive buffers and direct-I/O blocks.

use std::io;
use std::ptr::NonNull;

/// Zeroed anonymous memory. Pages appear when first touched; the address never changes.
pub struct Region {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to this value alone; moving the value to another thread moves the ownership.
unsafe impl Send for Region {}

impl Region {
    /// Maps `bytes` (> 0) of zeroed memory.
    pub fn new(bytes: usize) -> io::Result<Region> {
        assert!(bytes > 0, "a region has at least one byte");
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh anonymous mapping at an address the kernel chooses aliases nothing.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Region { start, bytes })
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// A region is never empty; present because `len` is.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// First byte, for registration with the kernel. Dereferencing it is the caller's promise to keep.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// `len` bytes from `at`. Panics outside the region.
    pub fn slice(&self, at: usize, len: usize) -> &[u8] {
        let start = self.checked(at, len);
        // SAFETY: `checked` proved the range lies inside the mapping, which lives as long as `self`.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// `len` writable bytes from `at`. Panics outside the region.
    pub fn slice_mut(&mut self, at: usize, len: usize) -> &mut [u8] {
        let start = self.checked(at, len);
        // SAFETY: as for `slice`, and `&mut self` excludes other slices of this process.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    fn checked(&self, at: usize, len: usize) -> *mut u8 {
        let end = at.checked_add(len).expect("a range inside a region does not overflow");
        assert!(end <= self.bytes, "range {at}+{len} outside a region of {} bytes", self.bytes);
        // SAFETY: `at` is at most `bytes`, so the result is inside or one past the mapping.
        unsafe { self.start.as_ptr().add(at) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: start and length are those of the mapping made in `new`; nobody uses it afterwards.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
        debug_assert_eq!(result, 0, "unmapping our own mapping cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_starts_zeroed_and_keeps_what_is_written() {
        let mut region = Region::new(8192).unwrap();
        assert!(region.slice(0, 8192).iter().all(|b| *b == 0));
        region.slice_mut(4095, 2).copy_from_slice(b"ab");
        assert_eq!(region.slice(4094, 4), b"\0ab\0");
        assert_eq!(region.as_ptr() as usize % crate::BLOCK_BYTES, 0);
    }

    #[test]
    #[should_panic(expected = "outside a region")]
    fn a_range_outside_the_region_panics() {
        let region = Region::new(4096).unwrap();
        let _ = region.slice(4090, 7);
    }
}
