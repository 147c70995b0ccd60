//! A server process: started on its CPUs, watched through `/proc`, stopped in order.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long an orderly stop may take before the process is killed.
const STOP_WAIT: Duration = Duration::from_secs(60);

/// A running child; killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// When it was started.
    pub(crate) started: Instant,
}

impl Process {
    /// Starts a command on some CPUs, its output in a file.
    pub(crate) fn start(command: &mut Command, cpus: &[usize], log: &Path) -> io::Result<Process> {
        let output = fs::File::create(log)?;
        command.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
        // A child has the CPUs of the thread that makes it.
        std::thread::scope(|scope| {
            let spawned = scope.spawn(move || {
                let mut set = rustix::thread::CpuSet::new();
                cpus.iter().for_each(|cpu| set.set(*cpu));
                rustix::thread::sched_setaffinity(None, &set)?;
                let started = Instant::now();
                Ok(Process { child: command.spawn()?, started })
            });
            spawned.join().map_err(|_| io::Error::other("starting a process panicked"))?
        })
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGTERM, and SIGKILL when that takes too long; false: it had to be killed.
    pub(crate) fn stop(mut self) -> bool {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.is_alive()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_WAIT;
        while self.is_alive() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_alive() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// CPU time of all threads so far, in nanoseconds.
pub(crate) fn cpu_ns(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let of = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    tasks.flatten().filter_map(of).sum()
}

/// The value of a key of a `/proc` file of the process, in the unit of the file.
pub(crate) fn figure(pid: u32, file: &str, key: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}
