//! What the measured process used: CPU time, context switches and memory out of `/proc`.
//!
//! A thread of its own reads it, because a process with many threads takes milliseconds to go through. It reads at
//! both ends of the window and now and then in between, so that threads that ended meanwhile are counted as well.

use super::Failure;
use super::pace::Window;
use reactor::clock;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Between two readings within the window. Idle kernel workers of a ring end after five seconds.
const INTERVAL_MS: u64 = 2_000;

/// What a process used within the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ServerUse {
    /// CPU time of all threads in nanoseconds.
    pub(super) cpu_ns: u64,
    /// Times a thread waited.
    pub(super) switches_voluntary: u64,
    /// Times a thread was preempted.
    pub(super) switches_involuntary: u64,
    /// Largest resident memory that was seen, in KiB.
    pub(super) resident_max_kib: u64,
    /// Resident memory at the end in KiB.
    pub(super) resident_kib: u64,
    /// The part of it that is shared memory, such as log windows, in KiB.
    pub(super) shared_kib: u64,
    /// Resident memory at the end with what others map too counted in part, in KiB; 0: it cannot be read.
    pub(super) proportional_kib: u64,
    /// Bytes that were given to disks.
    pub(super) disk_bytes: u64,
}

/// Reads a process in the background.
pub(super) struct ServerMeter {
    window: mpsc::Sender<Option<Window>>,
    thread: thread::JoinHandle<ServerUse>,
}

impl ServerMeter {
    /// Starts the thread; call it before this thread is pinned. An error names the process that is not there.
    pub(super) fn start(pid: u32) -> Result<ServerMeter, Failure> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let mut reading = Reading::default();
        if !reading.read(&process) {
            return Err(Failure(format!("--pid {pid}: no such process, or it may not be read")));
        }
        let (window, receiver) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("server-meter".to_owned())
            .spawn(move || match receiver.recv() {
                Ok(Some(window)) => measure(&process, window, &receiver),
                Ok(None) | Err(_) => ServerUse::default(),
            })
            .map_err(|error| Failure(format!("starting a thread: {error}")))?;
        Ok(ServerMeter { window, thread })
    }

    /// Says when to measure.
    pub(super) fn set_window(&self, window: Window) {
        // The thread waits for exactly this.
        let _ = self.window.send(Some(window));
    }

    /// Ends the window now.
    pub(super) fn stop(&self) {
        let _ = self.window.send(None);
    }

    /// What was used; waits for the end of the window.
    pub(super) fn finish(self) -> ServerUse {
        let used = self.thread.join().unwrap_or_default();
        // A sender that went earlier would end the window.
        drop(self.window);
        used
    }
}

fn measure(process: &Path, window: Window, receiver: &mpsc::Receiver<Option<Window>>) -> ServerUse {
    let mut reading = Reading::default();
    let is_early = wait_until(window.start.0, receiver);
    reading.read(process);
    reading.used = ServerUse::default();
    let mut next = window.start.0;
    let mut is_over = is_early;
    while next < window.end.0 && !is_over {
        next = (next + INTERVAL_MS * 1_000_000).min(window.end.0);
        is_over = wait_until(next, receiver);
        reading.read(process);
    }
    // Slow for a process with much memory, so it is read once and after the window.
    let maps = fs::read_to_string(process.join("smaps_rollup")).unwrap_or_default();
    reading.used.proportional_kib = status_number(&maps, "Pss:");
    reading.used
}

/// Sleeps; true: the window was ended meanwhile.
fn wait_until(at_ns: u64, receiver: &mpsc::Receiver<Option<Window>>) -> bool {
    let wait = Duration::from_nanos(at_ns.saturating_sub(clock::mono().0));
    receiver.recv_timeout(wait) != Err(mpsc::RecvTimeoutError::Timeout)
}

/// CPU time and switches of one thread.
#[derive(Clone, Copy, Default)]
struct ThreadUse {
    cpu_ns: u64,
    voluntary: u64,
    involuntary: u64,
}

/// The last figures of each thread, and the sum of all growth.
#[derive(Default)]
struct Reading {
    threads: HashMap<String, ThreadUse>,
    disk_bytes: u64,
    used: ServerUse,
}

impl Reading {
    /// Reads all threads; false when the process is gone.
    fn read(&mut self, process: &Path) -> bool {
        let Ok(tasks) = fs::read_dir(process.join("task")) else { return false };
        for task in tasks.flatten() {
            let path = task.path();
            let name = task.file_name().to_string_lossy().into_owned();
            let Some(now) = thread_use(&path) else { continue };
            let before = self.threads.insert(name, now).unwrap_or_default();
            self.used.cpu_ns += now.cpu_ns.saturating_sub(before.cpu_ns);
            self.used.switches_voluntary += now.voluntary.saturating_sub(before.voluntary);
            self.used.switches_involuntary += now.involuntary.saturating_sub(before.involuntary);
        }
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        self.used.resident_kib = status_number(&status, "VmRSS:");
        self.used.shared_kib = status_number(&status, "RssShmem:");
        let disk = fs::read_to_string(process.join("io")).unwrap_or_default();
        let disk_bytes = status_number(&disk, "write_bytes:");
        self.used.disk_bytes += disk_bytes.saturating_sub(self.disk_bytes);
        self.disk_bytes = disk_bytes;
        self.used.resident_max_kib = self.used.resident_max_kib.max(self.used.resident_kib);
        true
    }
}

fn thread_use(task: &Path) -> Option<ThreadUse> {
    let schedule = fs::read_to_string(task.join("schedstat")).ok()?;
    let status = fs::read_to_string(task.join("status")).ok()?;
    Some(ThreadUse {
        cpu_ns: schedule.split_whitespace().next()?.parse().ok()?,
        voluntary: status_number(&status, "voluntary_ctxt_switches:"),
        involuntary: status_number(&status, "nonvoluntary_ctxt_switches:"),
    })
}

/// The number behind a key of a `status` file; 0 when it is absent.
fn status_number(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_added_up_and_restarts_of_ids_do_not_underflow() {
        let directory = tempfile::tempdir().unwrap();
        let process = directory.path();
        let write = |thread: &str, cpu_ns: u64, switches: u64| {
            let task = process.join("task").join(thread);
            fs::create_dir_all(&task).unwrap();
            fs::write(task.join("schedstat"), format!("{cpu_ns} 5 6\n")).unwrap();
            let status = format!(
                "Name:\tx\nvoluntary_ctxt_switches:\t{switches}\nnonvoluntary_ctxt_switches:\t1\n"
            );
            fs::write(task.join("status"), status).unwrap();
        };
        let status = "Name:\tx\nVmRSS:\t  2048 kB\nRssShmem:\t  1024 kB\n";
        fs::write(process.join("status"), status).unwrap();
        fs::write(process.join("io"), "wchar: 9\nwrite_bytes: 4096\n").unwrap();
        write("1", 100, 10);
        write("2", 1000, 20);
        let mut reading = Reading::default();
        assert!(reading.read(process));
        reading.used = ServerUse::default();
        write("1", 150, 11);
        fs::write(process.join("io"), "wchar: 9\nwrite_bytes: 12288\n").unwrap();
        write("3", 7, 2);
        fs::remove_dir_all(process.join("task/2")).unwrap();
        assert!(reading.read(process));
        let expected = ServerUse {
            cpu_ns: 57,
            switches_voluntary: 3,
            switches_involuntary: 1,
            resident_max_kib: 2048,
            resident_kib: 2048,
            shared_kib: 1024,
            proportional_kib: 0,
            disk_bytes: 8192,
        };
        assert_eq!(reading.used, expected);
        assert!(!reading.read(&process.join("gone")));
    }

    #[test]
    fn this_process_can_be_read_and_an_absent_one_is_named() {
        let mut reading = Reading::default();
        assert!(reading.read(Path::new("/proc/self")));
        assert!(reading.used.cpu_ns > 0 && reading.used.resident_kib > 0);
        let error = ServerMeter::start(u32::MAX).err().unwrap();
        assert!(error.0.contains("4294967295"), "{}", error.0);
    }
}
