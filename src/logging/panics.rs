//! What is left of a panic: its message, and a backtrace where `RUST_BACKTRACE` asks for one, on stderr and in the log file.
//!
//! The hook of the standard library waits for ever on a stderr that nobody reads. The process would neither serve nor end.

use super::{FILE_PATIENCE, Queue, show};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io;
use std::panic::{self, PanicHookInfo};

/// From now on panics are told so. `files`: the log, when that is not stderr itself.
pub(super) fn install(files: Option<Queue>) {
    panic::set_hook(Box::new(move |info| {
        let text = describe(info);
        if files.is_some() {
            tracing::error!("{text}");
        }
        show(io::stderr(), &text);
        // The process may end without any ado once this returns.
        if let Some(queue) = &files {
            queue.settle(FILE_PATIENCE);
        }
    }));
}

/// As the standard library words it.
fn describe(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let backtrace = Backtrace::capture();
    let more = if backtrace.status() == BacktraceStatus::Captured {
        format!("stack backtrace:\n{backtrace}")
    } else {
        "note: run with RUST_BACKTRACE=1 in the environment to display a backtrace".to_owned()
    };
    format!("thread '{name}' {info}\n{more}")
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::unix::process::ExitStatusExt;
    use std::path::Path;
    use std::process::{Child, Command, ExitStatus, Stdio};
    use std::thread::JoinHandle;
    use std::time::{Duration, Instant};

    /// Directory for the log of a process that panics; empty: it logs to stderr.
    const PANICS: &str = "RINGMQ_TEST_PANICS";
    /// Lines of its log before.
    const LINES: usize = 5000;

    /// What such a process does: a thread of it panics, then it ends at once as after any panic of a release.
    fn panic_if_told() {
        let Ok(directory) = std::env::var(PANICS) else { return };
        let _log = match directory.as_str() {
            "" => crate::logging::to_stderr(0).unwrap(),
            directory => {
                let log = crate::logging::to_files("namesrv", Path::new(directory), 0).unwrap();
                (0..LINES).for_each(|_| tracing::info!("a line before"));
                log
            }
        };
        let thread = std::thread::Builder::new().name("shard-7".to_owned());
        let thread = thread.spawn(|| panic!("an assertion with its numbers, 17 and 4")).unwrap();
        assert!(thread.join().is_err());
        std::process::abort();
    }

    /// A process of its own that runs the test.
    fn start(test: &str, directory: &Path, backtrace: &str, stderr: Stdio) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(format!("logging::panics::tests::{test}")).args(["--exact", "--nocapture"]);
        command.env(PANICS, directory).env("RUST_BACKTRACE", backtrace);
        command.env_remove("RUST_LIB_BACKTRACE").env_remove("RINGMQ_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
    }

    fn end_of(child: &mut Child) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if began.elapsed() > Duration::from_secs(60) {
                child.kill().unwrap();
                panic!("it waits for its stderr");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The log of the process, which for a while takes no more than a pipe holds; what has come in the end.
    fn slow_log(directory: &Path) -> JoinHandle<String> {
        let path = directory.join("namesrv.log");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        std::thread::spawn(move || {
            let mut log = File::open(path).unwrap();
            std::thread::sleep(Duration::from_millis(500));
            let mut text = String::new();
            log.read_to_string(&mut text).unwrap();
            text
        })
    }

    #[test]
    fn a_panic_on_a_stderr_that_nobody_reads_ends_the_process() {
        panic_if_told();
        let directory = tempfile::tempdir().unwrap();
        for directory in [directory.path(), Path::new("")] {
            let (reader, mut writer) = std::io::pipe().unwrap();
            // What a pipe holds.
            writer.write_all(&[b'x'; 64 << 10]).unwrap();
            let test = "a_panic_on_a_stderr_that_nobody_reads_ends_the_process";
            let mut child = start(test, directory, "0", writer.into());
            assert_eq!(end_of(&mut child).signal(), Some(6));
            drop(reader);
        }
    }

    #[test]
    fn a_panic_leaves_its_message_and_backtrace_on_stderr_and_in_the_log() {
        panic_if_told();
        let test = "a_panic_leaves_its_message_and_backtrace_on_stderr_and_in_the_log";
        let note = "note: run with RUST_BACKTRACE=1";
        for (backtrace, more) in [("0", note), ("1", "panics::tests::panic_if_told")] {
            for is_file in [true, false] {
                let directory = tempfile::tempdir().unwrap();
                let path = if is_file { directory.path() } else { Path::new("") };
                let log = is_file.then(|| slow_log(path));
                let mut child = start(test, path, backtrace, Stdio::piped());
                let mut said = String::new();
                child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                assert_eq!(end_of(&mut child).signal(), Some(6));
                let message = "thread 'shard-7' panicked at src/logging/panics.rs:";
                assert_eq!(said.matches(message).count(), 1, "{said}");
                assert!(said.contains("\nan assertion with its numbers, 17 and 4\n"), "{said}");
                assert!(said.contains(more), "{said}");
                let Some(log) = log else { continue };
                let log = log.join().unwrap();
                let last = log.lines().last().unwrap();
                assert!(last.contains(" ERROR shard-7 - thread 'shard-7' panicked at "), "{last}");
                assert!(last.contains("an assertion with its numbers, 17 and 4"), "{last}");
                assert!(last.contains(more), "{last}");
            }
        }
    }
}
