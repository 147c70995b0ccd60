//! The command line as an operator meets it: real processes, their output and their exit status.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const RINGMQ: &str = env!("CARGO_BIN_EXE_ringmq");

/// A home directory for one test, and commands that see nothing of the real environment.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("HOME", self.0.path()).stdin(Stdio::null());
        command.env("PATH", "/usr/bin:/bin").current_dir(self.0.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(RINGMQ, arguments).output().unwrap())
    }
}

#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn has_line(&self, line: &str) -> bool {
        self.out.lines().any(|found| found == line)
    }
}

#[test]
fn help_is_success_and_names_the_flags_of_java() {
    let home = Home::new();
    for process in ["broker", "namesrv"] {
        for flag in ["-h", "--help"] {
            let ran = home.run(&[process, flag]);
            assert_eq!(ran.code, 0, "{ran:?}");
            for long in
                ["--configFile", "--namesrvAddr", "--printConfigItem", "--printImportantConfig"]
            {
                assert!(ran.out.contains(long), "{process}: {}", ran.out);
            }
        }
    }
    let ran = home.run(&["--help"]);
    assert_eq!(ran.code, 0);
    for process in ["standalone", "namesrv", "broker", "bench", "shutdown", "store"] {
        assert!(ran.out.contains(process), "{}", ran.out);
    }
    let ran = home.run(&["standalone", "-h"]);
    assert!(ran.code == 0 && ran.out.contains("--any-port"), "{ran:?}");
}

#[test]
fn a_wrong_option_is_status_1() {
    let home = Home::new();
    for arguments in [
        &["broker", "--nope"][..],
        &["nope"],
        &[],
        &["broker", "-c"],
        &["standalone", "--port", "x"],
    ] {
        let ran = home.run(arguments);
        assert_eq!(ran.code, 1, "{arguments:?}: {ran:?}");
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn listings_show_what_is_in_force() {
    let home = Home::new();
    let file =
        home.file("b.conf", "listenPort = 20911\nbrokerName=broker-x\nfileReserverdTime=1\n");
    let ran = home.run(&["broker", "-c", &file, "-p"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.has_line("listenPort=20911") && ran.has_line("haListenPort=20912"));
    assert!(ran.has_line("brokerName=broker-x") && ran.has_line("traceOn=true"));
    assert!(ran.has_line(&format!("brokerConfigPath={file}")));
    assert!(ran.has_line(&format!("storePathRootDir={}/store", home.0.path().display())));
    assert!(ran.err.contains(":3: fileReserverdTime is not a key of the broker"), "{}", ran.err);

    let short = home.run(&["broker", "-c", &file, "-m"]);
    assert!(short.has_line("listenPort=20911") && !short.out.contains("traceOn"));
    let names = home.run(&["namesrv", "-p"]);
    assert!(names.code == 0 && names.has_line("listenPort=9876"));
    assert!(!home.path("logs").exists(), "a listing writes nothing");
}

#[test]
fn name_servers_come_from_option_then_file_then_environment() {
    let home = Home::new();
    let file = home.file("b.conf", "namesrvAddr=file:1\n");
    let show = |arguments: &[&str]| {
        let mut command = home.command(RINGMQ, arguments);
        Ran::of(command.env("NAMESRV_ADDR", "env:1").output().unwrap())
    };
    assert!(show(&["broker", "-p"]).has_line("namesrvAddr=env:1"));
    assert!(show(&["broker", "-p", "-c", &file]).has_line("namesrvAddr=file:1"));
    assert!(show(&["broker", "-p", "-c", &file, "-n", "opt:1"]).has_line("namesrvAddr=opt:1"));
}

#[test]
fn properties_for_java_are_taken_or_told() {
    let home = Home::new();
    let mut command = home.command(RINGMQ, &["broker", "-p"]);
    let options = "-Xmx1g -Drocketmq.namesrv.addr=opt:1 -Dtls.enable=true -Dfoo=1";
    let ran = Ran::of(command.env("JAVA_OPT_EXT", options).output().unwrap());
    assert!(ran.has_line("namesrvAddr=opt:1"));
    assert_eq!(ran.err, "warning: JAVA_OPT_EXT: -Dtls.enable has no effect here\n");
}

#[test]
fn illegal_addresses_and_slaves_are_status_253() {
    let home = Home::new();
    let ran = home.run(&["broker", "-n", "localhost"]);
    assert_eq!(ran.code, 253, "{ran:?}");
    assert!(
        ran.err.contains(
            r#"command line: namesrvAddr = "localhost" has "localhost", which has no port"#
        )
    );
    let file = home.file("s.conf", "brokerRole=SLAVE\nbrokerId=0\n");
    assert_eq!(home.run(&["broker", "-c", &file]).code, 253);
}

#[test]
fn an_unusable_file_is_status_255_and_names_every_line() {
    let home = Home::new();
    let file = home.file("b.conf", "fileReservedTime = 48h\n\ntraceOn=maybe\n");
    let ran = home.run(&["broker", "-c", &file]);
    assert_eq!(ran.code, 255, "{ran:?}");
    let expected = [
        format!(r#"{file}:1: fileReservedTime = "48h" is not a whole number (hours, 1..)"#),
        format!(r#"{file}:3: traceOn = "maybe" is neither true nor false"#),
        "not started: the configuration cannot be used".to_owned(),
    ];
    assert_eq!(ran.err.lines().collect::<Vec<_>>(), expected);

    // A misspelt key is told beside the error, whichever of the checks finds that: the next start would bring it only then.
    for (bad, error) in
        [("listenPort=abc", "is not a whole number"), ("brokerRole=SLAVE", "is not supported")]
    {
        let file = home.file("w.conf", &format!("flushDiskTyp=SYNC_FLUSH\n{bad}\n"));
        let ran = home.run(&["broker", "-c", &file]);
        let lines: Vec<&str> = ran.err.lines().collect();
        let warning = format!("warning: {file}:1: flushDiskTyp is not a key of the broker");
        assert!(lines[0].starts_with(&warning), "{ran:?}");
        assert!(lines[1].contains(error), "{ran:?}");
        assert_eq!(*lines.last().unwrap(), "not started: the configuration cannot be used");
    }

    let ran = home.run(&["namesrv", "-c", "missing.conf"]);
    assert!(ran.code == 255 && ran.err.contains("missing.conf: cannot be read"), "{ran:?}");
    let ran = home.run(&["broker", "-c", "/dev/zero"]);
    assert!(ran.code == 255 && ran.err.contains("limit 1048576"), "{ran:?}");
    let file = home.file("u.conf", "a=1\nb=\\u12\n");
    let ran = home.run(&["broker", "-c", &file]);
    assert!(ran.code == 255 && ran.err.contains("line 2"), "{ran:?}");
}

#[test]
fn the_name_of_the_program_picks_the_process() {
    let home = Home::new();
    for (name, line) in [("mqbroker", "listenPort=10911"), ("mqnamesrv", "listenPort=9876")] {
        symlink(RINGMQ, home.path(name)).unwrap();
        let ran = Ran::of(home.command(home.path(name), &["-p"]).output().unwrap());
        assert!(ran.code == 0 && ran.has_line(line), "{name}: {ran:?}");
    }
}

#[test]
fn scripts_are_started_with_sh_as_everybody_does() {
    let home = Home::new();
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/bin");
    for (name, line) in [("mqbroker", "listenPort=10911"), ("mqnamesrv", "listenPort=9876")] {
        let script = scripts.join(name);
        let mut command = home.command("sh", &[script.to_str().unwrap(), "-p"]);
        let ran = Ran::of(command.env("RINGMQ", RINGMQ).output().unwrap());
        assert!(ran.code == 0 && ran.has_line(line), "{name}: {ran:?}");
        assert!(fs::metadata(&script).unwrap().permissions().mode() & 0o111 != 0);
    }
    // An installation: scripts and executable in one directory, called through a link.
    let bin = home.path("bin");
    fs::create_dir(&bin).unwrap();
    fs::copy(scripts.join("mqbroker"), bin.join("mqbroker")).unwrap();
    symlink(RINGMQ, bin.join("ringmq")).unwrap();
    symlink(bin.join("mqbroker"), home.path("link")).unwrap();
    let ran = Ran::of(home.command(home.path("link"), &["-p"]).output().unwrap());
    assert!(ran.code == 0 && ran.has_line("listenPort=10911"), "{ran:?}");
}

#[test]
fn a_directory_for_logs_that_cannot_be_made_is_status_255() {
    let home = Home::new();
    let file = home.file("b.conf", "logPath=/proc/no\n");
    let ran = home.run(&["broker", "-c", &file]);
    assert!(ran.code == 255 && ran.err.contains("/proc/no: cannot write log files"), "{ran:?}");
}

/// Copies the executable. A child that another test forks meanwhile may hold the new file open for writing until its
/// own exec, and as long the kernel refuses to run it.
fn copy_executable(to: &Path) {
    fs::copy(RINGMQ, to).unwrap();
    for _ in 0..200 {
        match Command::new(to).arg("--version").output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            other => {
                other.unwrap();
                return;
            }
        }
    }
    panic!("{} stays busy", to.display());
}

#[test]
fn shutdown_without_a_process_or_with_a_wrong_one() {
    let home = Home::new();
    // A copy has an executable of its own, so that brokers of other tests do not count.
    let own = home.path("ringmq");
    copy_executable(&own);
    let run = |arguments: &[&str]| Ran::of(home.command(&own, arguments).output().unwrap());
    let ran = run(&["shutdown", "broker"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, "No mqbroker running.\n"));
    for arguments in [&["shutdown"][..], &["shutdown", "nonsense"]] {
        let ran = run(arguments);
        assert!(ran.code == 0 && ran.out.starts_with("Usage: mqshutdown"), "{ran:?}");
    }
}

/// A process that exists for as long as its standard input is open: it waits for its configuration.
fn waiting(home: &Home, program: &Path, arguments: &[&str]) -> Child {
    home.command(program, arguments).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn shutdown_ends_processes_of_its_kind_only() {
    let home = Home::new();
    let own = home.path("ringmq");
    copy_executable(&own);
    symlink(&own, home.path("mqshutdown")).unwrap();
    let mut broker = waiting(&home, &own, &["broker", "-c", "/dev/stdin"]);
    let mut namesrv = waiting(&home, &own, &["namesrv", "-c", "/dev/stdin"]);
    let mut other = waiting(&home, Path::new(RINGMQ), &["broker", "-c", "/dev/stdin"]);

    let mut command = home.command(home.path("mqshutdown"), &["broker"]);
    let ran = Ran::of(command.output().unwrap());
    let pid = broker.id();
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[0], format!("The mqbroker({pid}) is running..."));
    assert_eq!(lines[1], format!("Send shutdown request to mqbroker({pid}) OK"));
    assert!(lines[2].starts_with(&format!("The mqbroker({pid}) ended after ")), "{ran:?}");
    assert_eq!((lines.len(), ran.code), (3, 0));
    assert_eq!(broker.wait().unwrap().signal(), Some(15));

    assert!(namesrv.try_wait().unwrap().is_none() && other.try_wait().unwrap().is_none());
    for child in [&mut namesrv, &mut other] {
        child.stdin.take().unwrap().write_all(b"traceOn=maybe\nlistenPort=x\n").unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(255));
    }
}
