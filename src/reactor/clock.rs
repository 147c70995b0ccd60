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

/// Year, month (from 1), day, hour, minute and second of a time in the zone of this machine (`TZ`, `/etc/localtime`).
/// `None` for years that no calendar has.
pub fn local(time: WallMs) -> Option<[u16; 6]> {
    let seconds: libc::time_t = time.0.div_euclid(1000);
    // SAFETY: all fields of the structure are numbers, or a pointer that may be null.
    let mut fields: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both are valid for the call, which reads the one and fills the other.
    let filled = unsafe { libc::localtime_r(&raw const seconds, &raw mut fields) };
    if filled.is_null() {
        return None;
    }
    let (year, month) = (fields.tm_year.checked_add(1900)?, fields.tm_mon + 1);
    let numbers = [year, month, fields.tm_mday, fields.tm_hour, fields.tm_min, fields.tm_sec];
    let mut local = [0; 6];
    for (to, number) in local.iter_mut().zip(numbers) {
        *to = u16::try_from(number).ok()?;
    }
    Some(local)
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call to fill.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(result, 0, "reading a standard clock cannot fail");
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_is_within_a_day_of_utc() {
        let [year, month, day, hour, minute, second] = local(WallMs(86_400_000 * 365)).unwrap();
        assert!((year, month, day) == (1970, 12, 31) || (year, month) == (1971, 1) && day <= 2);
        assert!(hour < 24 && minute < 60 && second < 61);
        assert_eq!(local(WallMs(i64::MAX)), None);
    }
}
