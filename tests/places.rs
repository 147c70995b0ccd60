//! Places where a store cannot be, or can be no longer: read-only, of another owner, no directory. Needs root.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{Connection, Consumer, Message, Options, Producer, Pull, SendStatus};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Data, Server, Setting, SmallDisk, free_ports};

const RINGMQ: &str = env!("CARGO_BIN_EXE_ringmq");
const TIMEOUT: Duration = Duration::from_secs(20);
const NOBODY: u32 = 65_534;

fn setting() -> Setting {
    let config = "mappedFileSizeCommitLog=1048576\nflushDiskType=SYNC_FLUSH\n".to_owned();
    Setting { shards: 1, config }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
}

/// Sends messages to queue 0 until one is not stored durably, at most `count`; how many were.
fn send(server: &Server, count: usize) -> usize {
    let options = Options { timeout: TIMEOUT, ..Options::default() };
    let connection = Connection::connect_with(server.broker, options).unwrap();
    let mut producer = Producer::new(connection, "P");
    let message = Message::new(server.topic(), vec![7; 1000]);
    let stored = |producer: &mut Producer| {
        producer.send(&message, 0).is_ok_and(|sent| sent.status == SendStatus::Ok)
    };
    (0..count).take_while(|_| stored(&mut producer)).count()
}

fn end(server: &Server) -> usize {
    let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "C");
    let end = consumer.connection().max_offset(server.topic(), 0).unwrap();
    let last = consumer.pull(&Pull::new(server.topic(), 0, end - 1)).unwrap();
    assert_eq!(last.messages.len(), 1, "the last one can be read");
    usize::try_from(end).unwrap()
}

#[test]
fn a_read_only_file_system_is_told_by_name() {
    let data = Data::new();
    let Some(_disk) = SmallDisk::mount(&data.store(), 64) else { return };
    let server = Server::start(data.path(), &setting());
    assert_eq!(send(&server, 20), 20);
    assert!(server.stop().success());
    let store = data.store();
    assert!(run("mount", &["-o", "remount,ro", store.to_str().unwrap()]));
    let said = Server::start_refused(data.path(), &setting());
    let names = said.contains(store.to_str().unwrap()) && said.contains("Read-only file system");
    assert!(names, "{said}");
    assert!(run("mount", &["-o", "remount,rw", store.to_str().unwrap()]));
    assert_eq!(end(&Server::start(data.path(), &setting())), 20);
}

/// What a broker alone says that does not start on the store, by a command that lacks `broker -c FILE`.
fn broker_refused(mut command: Command, data: &Data, lines: &str) -> String {
    let config = data.path().join("broker.conf");
    let (port, _) = free_ports();
    let place = format!("storePathRootDir={}\nlistenPort={port}\n", data.store().display());
    fs::write(&config, format!("{place}{}{lines}", setting().config)).unwrap();
    command.args(["broker", "-c"]).arg(&config).env("HOME", data.path());
    let ran = command.output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(!ran.status.success(), "{said}");
    said
}

#[test]
fn a_store_of_another_owner_is_told_by_name() {
    let data = Data::new();
    let server = Server::start(data.path(), &setting());
    assert_eq!(send(&server, 20), 20);
    assert!(server.stop().success());
    let refused = |what: &Path, name: &str| {
        let mode = fs::metadata(what).unwrap().permissions().mode();
        fs::set_permissions(what, PermissionsExt::from_mode(mode & 0o700)).unwrap();
        chown(what, Some(NOBODY), Some(NOBODY)).unwrap();
        // Root, but without the right to what is not its own.
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-dac_override,-dac_read_search", RINGMQ]);
        let said = broker_refused(command, &data, "");
        assert!(said.contains(name) && said.contains("Permission denied"), "{name}: {said}");
        assert!(said.contains(data.store().to_str().unwrap()), "{said}");
        chown(what, Some(0), Some(0)).unwrap();
        fs::set_permissions(what, PermissionsExt::from_mode(mode)).unwrap();
    };
    let queue = "consumequeue/TestTopic/0";
    refused(&data.store(), "store");
    refused(
        &data.store().join("commitlog/00000000000000000000"),
        "00000000000000000000: Permission",
    );
    refused(&data.store().join(queue).join("00000000000000000000"), queue);
    refused(&data.store().join("checkpoint"), "store/checkpoint");
    assert_eq!(end(&Server::start(data.path(), &setting())), 20);
}

#[test]
fn a_directory_that_is_none_is_told_by_name() {
    let data = Data::new();
    fs::write(data.store(), b"a file").unwrap();
    let said = Server::start_refused(data.path(), &setting());
    let store = data.store();
    assert!(said.contains(store.to_str().unwrap()) && said.contains("director"), "{said}");
    fs::remove_file(&store).unwrap();
    let elsewhere = "storePathCommitLog=/proc/ringmq/log\n";
    let said = broker_refused(Command::new(RINGMQ), &data, elsewhere);
    assert!(said.contains("/proc/ringmq") && said.contains("No such file"), "{said}");
}

/// An ext4 in a file, which goes read-only at an error as most are set up to.
struct FileSystem {
    image: PathBuf,
    dir: PathBuf,
}

impl FileSystem {
    fn mount(&self) -> bool {
        let options = "loop,errors=remount-ro";
        run("mount", &["-o", options, self.image.to_str().unwrap(), self.dir.to_str().unwrap()])
    }

    fn unmount(&self) -> bool {
        run("umount", &[self.dir.to_str().unwrap()])
    }

    /// What the kernel calls the device that is mounted there.
    fn device(&self) -> String {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == self.dir.to_str());
        line.unwrap().split(' ').next().unwrap().trim_start_matches("/dev/").to_owned()
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        self.unmount();
    }
}

#[test]
fn a_file_system_that_goes_read_only_ends_the_broker_and_costs_nothing() {
    let data = Data::new();
    let system = FileSystem { image: data.path().join("image"), dir: data.store() };
    fs::create_dir_all(&system.dir).unwrap();
    fs::File::create(&system.image).unwrap().set_len(200 << 20).unwrap();
    if !run("mkfs.ext4", &["-q", "-F", system.image.to_str().unwrap()]) || !system.mount() {
        eprintln!("no loop device can be mounted here: this test shows nothing");
        return;
    }
    let server = Server::start(data.path(), &setting());
    let stored = send(&server, 300);
    assert_eq!(stored, 300);
    let switch = format!("/sys/fs/ext4/{}/trigger_fs_error", system.device());
    fs::write(switch, "1").unwrap();
    let until = Instant::now() + TIMEOUT;
    let mut server = server;
    let mut more = 0;
    while server.is_alive() {
        assert!(Instant::now() < until, "it goes on without a disk");
        if let Ok(connection) = server.connect(Duration::from_secs(5)) {
            let mut producer = Producer::new(connection, "P");
            let message = Message::new(server.topic(), vec![7; 1000]);
            let sent = producer.send(&message, 0);
            more += usize::from(sent.is_ok_and(|sent| sent.status == SendStatus::Ok));
        }
    }
    let log = server.log_tail();
    let (status, _) = server.ended();
    assert!(!status.success() && log.contains("Read-only file system"), "{status} {log}");
    assert!(system.unmount());
    run("e2fsck", &["-p", "-f", system.image.to_str().unwrap()]);
    assert!(system.mount());
    let server = Server::start(data.path(), &setting());
    assert!(end(&server) >= stored + more, "{} of {stored} and {more}", end(&server));
    assert!(server.stop().success());
}
