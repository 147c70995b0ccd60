//! The provided-buffer ring: memory the kernel fills when bytes arrive, shared by all connections of a shard.
//!
//! A buffer is with the kernel or, for the length of one turn, with the shard. When all are out, receives end
//! with ENOBUFS and are armed again after the turn has given buffers back.

use buf::region::Region;
use io_uring::{IoUring, types::BufRingEntry};
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

/// Index of a receive buffer that the shard holds for this turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferId(pub(crate) u16);

/// Buffers and the ring that offers them to the kernel.
pub struct ReceiveBuffers {
    entries: Region,
    data: Region,
    count: u16,
    buffer_bytes: usize,
    tail: u16,
}

/// The one buffer group of a shard.
pub(crate) const GROUP: u16 = 0;

impl ReceiveBuffers {
    pub(crate) fn new(
        ring: &IoUring,
        count: u16,
        buffer_bytes: usize,
    ) -> io::Result<ReceiveBuffers> {
        assert!(count.is_power_of_two(), "the kernel wants a power of two");
        let entry_bytes = std::mem::size_of::<BufRingEntry>();
        let entries = Region::new(usize::from(count) * entry_bytes)?;
        let data = Region::new(usize::from(count) * buffer_bytes)?;
        // SAFETY: the entries stay mapped as long as the ring: both live and die with the reactor, ring first.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                entries.as_ptr() as u64,
                count,
                GROUP,
                0,
            )?;
        }
        let mut buffers = ReceiveBuffers { entries, data, count, buffer_bytes, tail: 0 };
        for id in 0..count {
            buffers.give(BufferId(id));
        }
        buffers.publish();
        Ok(buffers)
    }

    /// Bytes received into a buffer.
    pub fn bytes(&self, buffer: BufferId, len: usize) -> &[u8] {
        assert!(len <= self.buffer_bytes, "the kernel filled {len} of {}", self.buffer_bytes);
        self.data.slice(usize::from(buffer.0) * self.buffer_bytes, len)
    }

    /// Returns a buffer; the kernel sees it after `publish`.
    pub fn give(&mut self, buffer: BufferId) {
        assert!(buffer.0 < self.count, "buffer {} of {}", buffer.0, self.count);
        let at = usize::from(self.tail & (self.count - 1));
        let start = self.data.slice(usize::from(buffer.0) * self.buffer_bytes, self.buffer_bytes);
        let address = start.as_ptr() as u64;
        // SAFETY: the entries region holds `count` entries and `at` is below `count`.
        let entry = unsafe { self.entries.as_ptr().cast::<BufRingEntry>().add(at) };
        // SAFETY: the kernel does not read beyond the published tail, so the entry is ours to write.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(u32::try_from(self.buffer_bytes).expect("checked at start-up"));
        entry.set_bid(buffer.0);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows returned buffers to the kernel.
    pub(crate) fn publish(&self) {
        let first: *const BufRingEntry = self.entries.as_ptr().cast();
        // SAFETY: `first` is the start of the registered entries.
        let tail = unsafe { BufRingEntry::tail(first) }.cast_mut();
        // SAFETY: the tail is an aligned u16 inside the mapped entries and shared with the kernel only.
        unsafe { AtomicU16::from_ptr(tail) }.store(self.tail, Ordering::Release);
    }
}
