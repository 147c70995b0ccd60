//! The one place that reads clocks. `now` is read once per turn and handed down.

use base::time::{MonoNs, Now, WallMs};

/// Reads both clocks.
pub fn now() -> Now {
    Now { wall: WallMs(read(libc::CLOCK_REALTIME) / 1_000_000), mono: mono() }
}

/// Reads the monotonic clock alone.
pub fn mono() -> MonoNs {
    MonoNs(u64::try_from(read(libc::CLOCK_MONOTONIC)).unwrap_or(0))
}

/// Reads the wall clock alone: microseconds since 1970, for measurements that are finer than time stamps.
pub fn wall_us() -> i64 {
    read(libc::CLOCK_REALTIME) / 1_000
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call to fill.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(result, 0, "reading a standard clock cannot fail");
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
