//! Loads that are about the store: a large one is started again, old segments go while new ones are written.

use super::{Runner, take};
use crate::bench::{Call, Times};
use crate::checks;
use crate::metric::Metric;
use crate::record::Record;
use crate::scenario::{LoadKind, Point};
use crate::system::{End, Running};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Age that segments are given; the scenario's `fileReservedTime` is shorter.
const OLD: Duration = Duration::from_secs(365 * 24 * 3600);
/// Segments of the end that stay: the one ahead, the one that is written, and the one before, which may not be durable yet.
const SEGMENTS_KEPT: usize = 3;
/// How long old segments may take to go after the load.
const DELETE_WAIT: Duration = Duration::from_secs(60);
/// Most that is read to learn the disk's own speed, bytes.
const DISK_BYTES_MAX: u64 = 2 << 30;
/// Bytes of one such read, and what their place in memory is a multiple of.
const DISK_READ_BYTES: usize = 4 << 20;
const DISK_ALIGN: usize = 4096;
const GIB: f64 = (1u64 << 30) as f64;

impl Runner<'_> {
    /// A backlog, an orderly stop and a start, load, `kill -9` and a start; nothing of the store is in the page cache.
    pub(super) fn measure_restart(
        &mut self,
        running: &mut Running,
        point: &Point,
        record: &mut Record,
    ) -> Result<(), String> {
        let topic = self.next_topic();
        let filled =
            Call::new(self.site, running, point).fill(&topic, point.backlog_mib.unwrap_or(0))?;
        let begin = Instant::now();
        running.end(End::InOrder)?;
        let stop_ms = begin.elapsed().as_secs_f64() * 1000.0;
        checks::evict(&running.dir);
        running.start_again(self.site)?;
        record.values.insert(Metric::StopMs.key(), stop_ms);
        record.values.insert(Metric::StartMs.key(), running.start_ms);
        let stored = checks::settled(&running.address, &topic, point, filled)?;
        record.problems.extend(checks::compare(filled, stored, 0));

        let later = self.next_topic();
        let value = Call::new(self.site, running, point).send(&later, self.times())?;
        let acknowledged = value["acknowledged_total"].as_u64().unwrap_or(0);
        running.end(End::Killed)?;
        checks::evict(&running.dir);
        let disk = disk_gib_per_second(&running.dir)?;
        checks::evict(&running.dir);
        running.start_again(self.site)?;
        let scanned = scanned_bytes(&running.said()) as f64 / GIB;
        record.values.insert(Metric::CrashStartMs.key(), running.start_ms);
        record.values.insert(Metric::DiskGibPerSecond.key(), disk);
        let rate = scanned / (running.start_ms / 1000.0);
        record.values.insert(Metric::RecoveredGibPerSecond.key(), rate);
        let lost = value["unanswered"].as_u64().unwrap_or(0);
        let stored = checks::settled(&running.address, &later, point, acknowledged)?;
        record.problems.extend(checks::compare(acknowledged, stored, lost));
        if scanned == 0.0 {
            record.problems.push("the start after the crash looked at no log".to_owned());
        }
        super::take_memory(running, record);
        Ok(())
    }

    /// Sends beside a backlog, whose segments become old when measuring begins, or stay.
    pub(super) fn measure_retention(
        &mut self,
        running: &Running,
        point: &Point,
        record: &mut Record,
    ) -> Result<(), String> {
        let call = Call::new(self.site, running, point);
        let backlog = self.next_topic();
        let filled = call.fill(&backlog, point.backlog_mib.unwrap_or(0))?;
        checks::settled(&running.address, &backlog, point, filled)?;
        let topic = self.next_topic();
        let times = self.times();
        let expires = point.full().expire == Some(true);
        let (value, old) = std::thread::scope(|scope| {
            let aged = scope.spawn(|| match expires {
                true => age(&running.dir, times),
                false => Ok(Vec::new()),
            });
            let value = call.send(&topic, times);
            (value, aged.join().map_err(|_| "making segments old panicked".to_owned()))
        });
        let (value, old) = (value?, old??);
        take(&value, LoadKind::Retention, record);
        self.check_stored(running, point, &topic, &value, record);
        if expires {
            record.problems.extend(gone(&old));
        }
        Ok(())
    }
}

/// Makes all segments but the last ones old, once the warm-up is over; which they are.
fn age(dir: &Path, times: Times) -> Result<Vec<PathBuf>, String> {
    std::thread::sleep(Duration::from_secs_f64(times.warmup_s));
    let mut segments = segments(dir);
    segments.truncate(segments.len().saturating_sub(SEGMENTS_KEPT));
    for path in &segments {
        make_old(path).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(segments)
}

fn make_old(path: &Path) -> std::io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_times(FileTimes::new().set_modified(SystemTime::now() - OLD))
}

/// What is wrong when old segments are not deleted.
fn gone(old: &[PathBuf]) -> Option<String> {
    let begin = Instant::now();
    loop {
        let left: Vec<&PathBuf> = old.iter().filter(|path| path.exists()).collect();
        if left.is_empty() && !old.is_empty() {
            return None;
        }
        // A write that was on its way has made one young again. It may be gone by now.
        left.iter().for_each(|path| drop(make_old(path)));
        let left = left.len();
        if old.is_empty() || begin.elapsed() > DELETE_WAIT {
            return Some(format!("{left} of {} old segments are still there", old.len()));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Segments of all streams in the order of their names, which is that of their age.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![dir.join("store/commitlog")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let is_segment = entry.file_name().to_str().is_some_and(|name| {
                name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit())
            });
            if entry.path().is_dir() {
                directories.push(entry.path());
            } else if is_segment {
                found.push(entry.path());
            }
        }
    }
    found.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    found
}

/// What the disk gives who reads the store's newest segments one large piece after the other, past the page cache.
fn disk_gib_per_second(dir: &Path) -> Result<f64, String> {
    let mut memory = vec![0; DISK_READ_BYTES + DISK_ALIGN];
    let at = memory.as_ptr().align_offset(DISK_ALIGN);
    let buffer = &mut memory[at..at + DISK_READ_BYTES];
    let (mut bytes, begin) = (0, Instant::now());
    for path in segments(dir).iter().rev() {
        let failed = |e: std::io::Error| format!("{}: {e}", path.display());
        let flags = OFlags::RDONLY | OFlags::DIRECT;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        let (file, mut position) = (File::from(file), 0);
        while bytes < DISK_BYTES_MAX {
            let count = file.read_at(buffer, position).map_err(failed)? as u64;
            if count == 0 {
                break;
            }
            (bytes, position) = (bytes + count, position + count);
        }
    }
    Ok(bytes as f64 / GIB / begin.elapsed().as_secs_f64())
}

/// Bytes of the log that a start looked at, by its own words, over all streams.
fn scanned_bytes(log: &str) -> u64 {
    let number = |line: &str, before: &str| -> Option<u64> {
        let rest = line.split_once(before)?.1;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let of = |line: &str| {
        let (from, to) =
            (number(line, "records scanned from ")?, number(line, "the log ends at ")?);
        to.checked_sub(from)
    };
    log.lines().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_says_how_much_it_looked_at() {
        let log = "INFO - stream 0: 218 records scanned from 1000; the log ends at 3500 (there is no more)\n\
                   INFO - stream 1: 0 records scanned from 40; the log ends at 40 (no record begins there)\n\
                   INFO - stream 0: 218 records indexed from 0 to 3500\n";
        assert_eq!(scanned_bytes(log), 2500);
        assert_eq!(scanned_bytes(""), 0);
    }

    #[test]
    fn old_segments_that_stay_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("store/commitlog");
        fs::create_dir_all(log.join("stream-1")).unwrap();
        for name in [
            "00000000000000000000",
            "00000000000000004096",
            "00000000000000008192",
            "00000000000000012288",
        ] {
            fs::write(log.join(name), "x").unwrap();
        }
        fs::write(log.join("stream-1/00000000000000002048"), "x").unwrap();
        fs::write(log.join("notes"), "x").unwrap();
        let times = Times { warmup_s: 0.0, duration_s: 1.0 };
        let old = age(dir.path(), times).unwrap();
        assert_eq!(old.len(), 2);
        let modified = fs::metadata(&old[0]).unwrap().modified().unwrap();
        assert!(modified.elapsed().unwrap() > OLD / 2);
        old.iter().for_each(|path| fs::remove_file(path).unwrap());
        assert_eq!(gone(&old), None);
        assert!(gone(&[]).is_some(), "nothing was old");
    }
}
