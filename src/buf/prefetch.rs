//! Asks the processor for memory that will be needed soon: with tens of thousands of queues, each message's is in no cache.

/// Bytes that come at a time.
const LINE_BYTES: usize = 64;

/// Brings `value` into the cache, without waiting for it. Elsewhere than on x86-64 nothing happens.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..size_of::<T>()).step_by(LINE_BYTES) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = std::ptr::from_ref(value).cast::<i8>().wrapping_byte_add(at);
        // SAFETY: a prefetch of any address is allowed and reads nothing that the program can see.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, LINE_BYTES);
}
