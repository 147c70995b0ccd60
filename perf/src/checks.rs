//! Whether a run is what it looks like: everything acknowledged is stored, on disk, and can be read.

use crate::bench::Call;
use crate::scenario::Point;
use client::{Connection, Options};
use std::path::Path;
use std::time::{Duration, Instant};

/// Queues that have not grown for so long will not.
const SETTLE_WAIT: Duration = Duration::from_secs(10);
/// Messages that may be stored in another order than they were sent in, which is how the filtered ones take turns.
const PASS_ORDER: u64 = 1024;
/// Queues; each pass over one may end with a part of its turn.
const PASS_QUEUES_MAX: u32 = 64;
/// Bytes that may still be in memory when a run ends: log windows, dirty pages of half a second.
const MEMORY_BYTES: f64 = (256u64 << 20) as f64;

/// As `stored`, once the queues hold what was acknowledged or have stopped to grow: the Java broker enters messages
/// into its queues after it has acknowledged them, seconds later when there are many queues.
pub(crate) fn settled(
    address: &str,
    topic: &str,
    point: &Point,
    acknowledged: u64,
) -> Result<u64, String> {
    settle(acknowledged, || stored(address, topic, point))
}

fn settle(wanted: u64, look: impl Fn() -> Result<u64, String>) -> Result<u64, String> {
    let mut before = look()?;
    let mut grown = Instant::now();
    while before < wanted && grown.elapsed() < SETTLE_WAIT {
        std::thread::sleep(Duration::from_millis(500));
        let now = look()?;
        if now > before {
            (before, grown) = (now, Instant::now());
        }
    }
    Ok(before)
}

/// Messages in all queues of a load's topics.
pub(crate) fn stored(address: &str, topic: &str, point: &Point) -> Result<u64, String> {
    let options = Options { timeout: Duration::from_secs(60), ..Options::default() };
    let failed = |e: client::Error| format!("asking {address} for offsets: {e}");
    let mut connection = Connection::connect_with(address, options).map_err(failed)?;
    let full = point.full();
    let queues = i32::try_from(full.queues.unwrap_or(8)).map_err(|_| "too many queues")?;
    let topics = full.topics.unwrap_or(1);
    let mut sum = 0;
    for number in 0..topics {
        let name = if topics == 1 { topic.to_owned() } else { format!("{topic}-{number:05}") };
        for queue in 0..queues {
            let end = connection.max_offset(&name, queue).map_err(failed)?;
            sum += u64::try_from(end).map_err(|_| format!("{name}/{queue}: offset {end}"))?;
        }
    }
    Ok(sum)
}

/// Messages that wait, once there are as many as wanted or no more come: the end of the queue of a delay level, or of
/// the timer's.
pub(crate) fn waiting(address: &str, level: Option<u32>, wanted: u64) -> Result<u64, String> {
    let (topic, queue) = match level {
        Some(level) => ("SCHEDULE_TOPIC_XXXX", i32::try_from(level).unwrap_or(i32::MAX) - 1),
        None => ("rmq_sys_wheel_timer", 0),
    };
    let failed = |e: client::Error| format!("asking {address} for {topic}/{queue}: {e}");
    settle(wanted, || {
        let options = Options { timeout: Duration::from_secs(60), ..Options::default() };
        let mut connection = Connection::connect_with(address, options).map_err(failed)?;
        let end = connection.max_offset(topic, queue).map_err(failed)?;
        u64::try_from(end).map_err(|_| format!("{topic}/{queue}: offset {end}"))
    })
}

/// Whether a subscription that wants one of `one_of` messages got that part of what was examined, whose last pass may
/// be incomplete. `stored`: messages that one pass examines.
pub(crate) fn passed(examined: u64, stored: u64, read: u64, one_of: u64) -> Option<String> {
    let passes = examined / stored.max(1) + 1;
    let unclear = PASS_ORDER + passes * u64::from(PASS_QUEUES_MAX);
    let wanted = examined / one_of;
    (read.abs_diff(wanted) > unclear).then(|| {
        format!("{examined} messages examined, {read} read, where one of {one_of} should pass")
    })
}

/// Compares what was acknowledged with what is stored. More is possible only where answers were lost.
pub(crate) fn compare(acknowledged: u64, stored: u64, lost: u64) -> Option<String> {
    let is_right = stored >= acknowledged && stored <= acknowledged + lost;
    (!is_right).then(|| format!("{acknowledged} acknowledged, {stored} stored"))
}

/// Whether as much went to the disk as was acknowledged; bytes that wait in memory are granted.
pub(crate) fn disk(messages: f64, bytes_each: f64, disk_bytes: f64) -> Option<String> {
    let least = messages * bytes_each * 0.9 - MEMORY_BYTES;
    (disk_bytes < least).then(|| {
        format!("{disk_bytes:.0} bytes went to the disk for {messages:.0} messages of {bytes_each} bytes")
    })
}

/// Reads all messages of a topic.
pub(crate) fn readable(call: &Call<'_>, topic: &str, stored: u64) -> Option<String> {
    match call.pull(topic, 4) {
        Ok(value) => {
            let read = value["read_total"].as_u64().unwrap_or(0);
            (read != stored).then(|| format!("{stored} stored, {read} readable"))
        }
        Err(what) => Some(what),
    }
}

/// Drops the cached pages of all files of a directory, as far as nobody maps them.
pub(crate) fn evict(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            evict(&path);
        } else if let Ok(file) = std::fs::File::open(&path) {
            let _ = rustix::fs::fdatasync(&file);
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_must_be_there() {
        assert_eq!(compare(10, 10, 0), None);
        assert_eq!(compare(10, 12, 2), None);
        assert!(compare(10, 9, 5).is_some());
        assert!(compare(10, 11, 0).is_some());
    }

    #[test]
    fn a_filter_that_passes_all_or_nothing_is_noticed() {
        assert_eq!(passed(1_000_000, 100_000, 100_010, 10), None);
        assert_eq!(passed(1_000_000, 100_000, 1_000_000, 1), None);
        assert!(passed(1_000_000, 100_000, 1_000_000, 10).is_some());
        assert!(passed(1_000_000, 100_000, 0, 10).is_some());
    }

    #[test]
    fn messages_that_never_reach_the_disk_are_noticed() {
        let mib = f64::from(1 << 20);
        assert_eq!(disk(1024.0 * 1024.0, 1024.0, 1000.0 * mib), None);
        assert_eq!(disk(1024.0, 1024.0, 0.0), None, "still in memory");
        assert!(disk(1024.0 * 1024.0, 1024.0, 500.0 * mib).is_some());
    }
}
