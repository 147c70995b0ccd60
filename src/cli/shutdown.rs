//! `mqshutdown`: finds the processes that run from this executable file, tells them to end and waits until they have.
//!
//! A process is found in `/proc` by its executable and by the subcommand or name it was started with, so there is no pid
//! file that could be stale, and a broker of another installation is never touched. The sentences are Java's.

use super::args::ShutdownArgs;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "Usage: mqshutdown broker | namesrv | standalone";

/// Stops every process of the kind. Success: each has ended.
pub(super) fn run(args: &ShutdownArgs) -> ExitCode {
    let kind = match args.process.as_deref() {
        Some(kind @ ("broker" | "namesrv" | "standalone")) => kind,
        Some(_) | None => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
    };
    let Ok(executable) = std::env::current_exe() else {
        eprintln!("mqshutdown: /proc does not name this executable");
        return ExitCode::from(super::EXIT_OPTION);
    };
    let executable = undeleted(executable);
    let found = running(kind, &executable);
    if found.is_empty() {
        println!("No mq{kind} running.");
        return ExitCode::from(super::EXIT_OPTION);
    }
    let mut all_ended = true;
    for pid in found {
        let number = pid.as_raw_nonzero();
        println!("The mq{kind}({number}) is running...");
        if let Err(error) = kill_process(pid, Signal::TERM) {
            println!("Send shutdown request to mq{kind}({number}) failed: {error}");
            all_ended = false;
            continue;
        }
        println!("Send shutdown request to mq{kind}({number}) OK");
        all_ended &= wait(kind, pid, &executable, args.wait);
    }
    if all_ended { ExitCode::SUCCESS } else { ExitCode::from(super::EXIT_OPTION) }
}

fn wait(kind: &str, pid: Pid, executable: &Path, limit_s: u32) -> bool {
    const POLL: Duration = Duration::from_millis(20);
    let number = pid.as_raw_nonzero();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(limit_s.into()) {
        if executable_of(pid).as_deref() != Some(executable) {
            println!("The mq{kind}({number}) ended after {} ms", begin.elapsed().as_millis());
            return true;
        }
        std::thread::sleep(POLL);
    }
    println!("The mq{kind}({number}) is still running after {limit_s} s");
    false
}

/// Other processes of that kind that run from `executable`.
fn running(kind: &str, executable: &Path) -> Vec<Pid> {
    let own = std::process::id().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let pids =
        names.filter(|name| *name != own).filter_map(|name| Pid::from_raw(name.parse().ok()?));
    pids.filter(|pid| executable_of(*pid).as_deref() == Some(executable))
        .filter(|pid| arguments_of(*pid).is_some_and(|arguments| is_kind(&arguments, kind)))
        .collect()
}

/// The file a process runs from; `None` when it has ended (even if nobody has collected its status yet).
fn executable_of(pid: Pid) -> Option<PathBuf> {
    let link = std::fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).ok()?;
    Some(undeleted(link))
}

/// The kernel marks a file that was replaced, for instance by an upgrade.
fn undeleted(path: PathBuf) -> PathBuf {
    match path.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(rest) => PathBuf::from(OsString::from_vec(rest.to_vec())),
        None => path,
    }
}

fn arguments_of(pid: Pid) -> Option<Vec<String>> {
    let bytes = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    let words = bytes.split(|byte| *byte == 0);
    Some(words.map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

fn is_kind(arguments: &[String], kind: &str) -> bool {
    let program = arguments.first().and_then(|name| name.rsplit('/').next()).unwrap_or("");
    match program.strip_prefix("mq") {
        Some(name) => name == kind,
        None => arguments.get(1).is_some_and(|word| word == kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_subcommand_or_name() {
        let is = |line: &str, kind| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            is_kind(&words, kind)
        };
        assert!(is("/opt/bin/ringmq broker -c x", "broker"));
        assert!(is("/opt/bin/mqbroker -c x", "broker"));
        assert!(is("mqnamesrv", "namesrv"));
        assert!(!is("ringmq namesrv", "broker"));
        assert!(!is("ringmq bench broker", "broker"));
        assert!(!is("mqshutdown broker", "broker"), "another shutdown is not a broker");
    }

    #[test]
    fn a_replaced_executable_keeps_its_name() {
        assert_eq!(undeleted(PathBuf::from("/a/b (deleted)")), PathBuf::from("/a/b"));
        assert_eq!(undeleted(PathBuf::from("/a/b")), PathBuf::from("/a/b"));
    }
}
