//! A counting allocator for tests of the rule that the data path does not allocate.
//!
//! It gives memory of the system's allocator. While counting is on, each allocation (and growth) of a watched
//! thread is told to a hook, which may allocate itself. No server installs it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Install with `#[global_allocator]`.
pub struct CountingAllocator;

static COUNTING: AtomicBool = AtomicBool::new(false);
static HOOK: OnceLock<fn(usize)> = OnceLock::new();

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// From now on this thread's allocations count.
pub fn watch_this_thread() {
    WATCHED.set(true);
}

/// Switches counting on: `hook` gets the bytes of each allocation, on the thread that makes it. The first hook stays.
pub fn start_counting(hook: fn(usize)) {
    HOOK.get_or_init(|| hook);
    COUNTING.store(true, Ordering::SeqCst);
}

/// Switches counting off.
pub fn stop_counting() {
    COUNTING.store(false, Ordering::SeqCst);
}

fn note(bytes: usize) {
    if !COUNTING.load(Ordering::Relaxed) {
        return;
    }
    // A thread whose locals are gone is ending.
    if WATCHED.try_with(|watched| watched.replace(false)).unwrap_or(false) {
        if let Some(hook) = HOOK.get() {
            hook(bytes);
        }
        WATCHED.set(true);
    }
}

// SAFETY: every call goes to the system's allocator with the caller's arguments; noting it touches no memory of it.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note(bytes);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`; `start` came from the system's allocator.
        unsafe { System.realloc(start, layout, bytes) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`; `start` came from the system's allocator.
        unsafe { System.dealloc(start, layout) }
    }
}
