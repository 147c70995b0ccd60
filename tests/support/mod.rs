//! What tests of real processes share: a server that dies with its guard, and numbers that a seed repeats.
//!
//! Every server listens on loopback only, on ports of its own, and is killed by its own process id.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

pub(crate) mod compare;
pub(crate) mod device;
pub(crate) mod golden;
pub(crate) mod java;
pub(crate) mod parts;

use client::{Connection, Error, NewTopic, Options, Pull};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};
use wire::codes::response;
use wire::req::client::QueryMessageRequestHeader;
use wire::text::Text;

const RINGMQ: &str = env!("CARGO_BIN_EXE_ringmq");
/// How long a start may take, recovery included.
const START: Duration = Duration::from_secs(60);

/// How a server is started.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// Shards.
    pub(crate) shards: u16,
    /// Lines of the broker's properties file.
    pub(crate) config: String,
}

/// A running `ringmq standalone`, or a broker alone.
pub(crate) struct Server {
    child: Child,
    /// What it says on stdout, behind the boot line.
    lines: Mutex<mpsc::Receiver<String>>,
    dir: PathBuf,
    /// Where the broker listens.
    pub(crate) broker: SocketAddr,
    /// Where the name server listens.
    pub(crate) namesrv: SocketAddr,
}

impl Server {
    /// Starts on the data in `dir` and waits until it serves. Panics with the log when it does not.
    pub(crate) fn start(dir: &Path, setting: &Setting) -> Server {
        Server::spawn(dir, setting).booted()
    }

    /// Starts a broker alone, for the name server at `namesrv`, and waits until it serves.
    pub(crate) fn start_broker(dir: &Path, setting: &Setting, namesrv: SocketAddr) -> Server {
        let config = dir.join("broker.conf");
        let (port, _) = free_ports();
        let place = format!(
            "listenPort={port}\nbindAddress=127.0.0.1\nbrokerIP1=127.0.0.1\nnamesrvAddr={namesrv}\n\
             storePathRootDir={}\nshardCount={}\nmappedFileSizeCommitLog=8388608\n",
            dir.join("store").display(),
            setting.shards
        );
        fs::write(&config, place + &setting.config).unwrap();
        let mut command = Command::new(RINGMQ);
        command.arg("broker").arg("-c").arg(&config);
        Server::run(command, dir, (port, namesrv)).booted()
    }

    fn booted(mut self) -> Server {
        let deadline = Instant::now() + START;
        loop {
            match self.line(deadline.saturating_duration_since(Instant::now())) {
                Some(line) if line.starts_with("The broker[") => return self,
                Some(_) => {}
                None => {
                    let state = self.child.try_wait();
                    let log = self.log_tail();
                    panic!("the server did not start ({state:?}); its log ends with:\n{log}");
                }
            }
        }
    }

    /// Starts and kills after `life`, wherever the start is by then.
    pub(crate) fn start_and_kill(dir: &Path, setting: &Setting, life: Duration) {
        let server = Server::spawn(dir, setting);
        std::thread::sleep(life);
        server.kill();
    }

    /// Starts a server that must end by itself, and returns its log.
    pub(crate) fn start_refused(dir: &Path, setting: &Setting) -> String {
        let mut server = Server::spawn(dir, setting);
        let deadline = Instant::now() + START;
        while server.is_alive() {
            assert!(Instant::now() < deadline, "the start is not refused");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!server.child.wait().unwrap().success(), "the exit status says so");
        server.log_tail()
    }

    fn spawn(dir: &Path, setting: &Setting) -> Server {
        let config = dir.join("broker.conf");
        fs::write(&config, &setting.config).unwrap();
        let (broker, namesrv) = free_ports();
        let mut command = Command::new(RINGMQ);
        command.arg("standalone").arg("--data").arg(dir).arg("-c").arg(&config);
        command.args(["--port", &broker.to_string(), "--namesrv-port", &namesrv.to_string()]);
        command.args(["--shards", &setting.shards.to_string()]);
        let namesrv = SocketAddr::from((Ipv4Addr::LOCALHOST, namesrv));
        Server::run(command, dir, (broker, namesrv))
    }

    fn run(mut command: Command, dir: &Path, (port, namesrv): (u16, SocketAddr)) -> Server {
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
        command.env_remove("NAMESRV_ADDR").env_remove("JAVA_OPT_EXT").env("HOME", dir);
        command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let broker = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Server { child, lines: Mutex::new(lines), dir: dir.to_path_buf(), broker, namesrv }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// The next line on stdout.
    pub(crate) fn line(&self, timeout: Duration) -> Option<String> {
        self.lines.lock().unwrap().recv_timeout(timeout).ok()
    }

    /// Waits for the end, at most 40 s; what it said meanwhile on stdout.
    pub(crate) fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let deadline = Instant::now() + Duration::from_secs(40);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                let lines = std::iter::from_fn(|| self.line(Duration::from_secs(5)));
                return (status, lines.collect());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server does not stop: {}", self.log_tail());
    }

    /// CPU time it has used.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // Of utime and stime, in ticks of 10 ms.
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// `kill -9` while others still use the server; `kill` follows.
    pub(crate) fn kill_now(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    /// `kill -9`, and waits for the end.
    pub(crate) fn kill(mut self) {
        let _ = self.child.kill();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it ended by itself before: {}", self.log_tail());
    }

    /// An orderly stop, which must succeed within 30 s.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server does not stop: {}", self.log_tail());
    }

    /// Whether the process lives.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Panics with the log when the process has ended.
    pub(crate) fn assert_alive(&mut self, after: &str) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("after {after} the server ended with {status}:\n{}", self.log_tail());
        }
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status_kib("VmRSS:") * 1024
    }

    /// Resident memory without shared memory (the log windows), in bytes.
    pub(crate) fn private_bytes(&self) -> u64 {
        (self.status_kib("RssAnon:") + self.status_kib("RssFile:")) * 1024
    }

    fn status_kib(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The last lines of the log.
    pub(crate) fn log_tail(&self) -> String {
        log_tail(&self.dir)
    }

    /// A connection to the broker.
    pub(crate) fn connect(&self, timeout: Duration) -> Result<Connection, Error> {
        Connection::connect_with(self.broker, Options { timeout, ..Options::default() })
    }

    /// A topic with 8 queues that can be sent to.
    pub(crate) fn topic(&self) -> &'static str {
        const TOPIC: &str = "TestTopic";
        self.topic_named(TOPIC);
        TOPIC
    }

    /// Makes a topic with 8 queues.
    pub(crate) fn topic_named(&self, name: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let mut connection = self.connect(Duration::from_secs(5)).unwrap();
            match connection.create_topic(&NewTopic::new(name, 8)) {
                Ok(()) => {}
                Err(error)
                    if error.refused_code() == Some(response::REQUEST_CODE_NOT_SUPPORTED) => {}
                Err(error) => panic!("creating a topic: {error}"),
            }
            let mut consumer = client::Consumer::new(connection, "G_ready");
            let answers = (0..8).all(|queue| consumer.pull(&Pull::new(name, queue, 0)).is_ok());
            if answers {
                return;
            }
            assert!(Instant::now() < deadline, "the topic does not come: {}", self.log_tail());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("---- the end of the server's log ----\n{}", self.log_tail());
        }
    }
}

fn log_tail(dir: &Path) -> String {
    let text = fs::read(dir.join("log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Ports for a broker (with the ones 2 below and 1 above it) and a name server, outside the range of the kernel.
pub(crate) fn free_ports() -> (u16, u16) {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 900).unwrap() * 20;
    loop {
        let step = NEXT.fetch_add(5, Ordering::Relaxed) % 10_000;
        let base = 11_000 + (own + step) % 20_000;
        let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if (base..base + 5).all(free) {
            return (base + 2, base + 4);
        }
    }
}

/// A small disk, which goes with the test.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounted at `dir`. `None`, with a line that says so, where this process may not mount (a container without the capability).
    pub(crate) fn mount(dir: &Path, mib: u32) -> Option<SmallDisk> {
        fs::create_dir_all(dir).unwrap();
        let size = format!("size={mib}m");
        let mut mount = Command::new("mount");
        let status = mount.args(["-t", "tmpfs", "-o", &size, "ringmq-test"]).arg(dir).status();
        if !status.unwrap().success() {
            eprintln!("a small disk cannot be mounted here: this test shows nothing");
            return None;
        }
        Some(SmallDisk(dir.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A directory for data that goes with the test, with the windows of its store.
pub(crate) struct Data(tempfile::TempDir);

impl Data {
    /// A new one.
    pub(crate) fn new() -> Data {
        Data(tempfile::Builder::new().prefix("ringmq-test-").tempdir().unwrap())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The store's directory.
    pub(crate) fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }

    /// The windows of the store in shared memory.
    pub(crate) fn windows(&self) -> Vec<PathBuf> {
        let Ok(identity) = fs::read_to_string(self.store().join("ringmq.store")) else {
            return Vec::new();
        };
        let id = identity.lines().find_map(|line| line.strip_prefix("storeId=")).unwrap();
        let prefix = format!("ringmq-{id}-");
        let entries = fs::read_dir("/dev/shm").unwrap().filter_map(Result::ok);
        let names = entries.filter(|e| e.file_name().to_string_lossy().starts_with(&prefix));
        names.map(|entry| entry.path()).collect()
    }

    /// Deletes the windows, as a restart of the machine does.
    pub(crate) fn remove_windows(&self) {
        for path in self.windows() {
            fs::remove_file(path).unwrap();
        }
    }

    /// Keeps the directory for a look at it.
    pub(crate) fn keep(self) -> PathBuf {
        let path = self.0.path().to_path_buf();
        std::mem::forget(self);
        path
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = std::mem::replace(&mut self.0, tempfile::tempdir().unwrap());
            eprintln!("the data stays in {}", kept.keep().display());
        } else {
            self.remove_windows();
        }
    }
}

/// Reproducible numbers (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Numbers of a seed.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The seed of this run: `RINGMQ_SEED`, or a new one, which is printed.
    pub(crate) fn seed(test: &str) -> u64 {
        let given = std::env::var("RINGMQ_SEED").ok();
        let seed = given.map(|text| text.parse().expect("RINGMQ_SEED is a number"));
        let seed = seed.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            u64::from(now.subsec_nanos()) ^ u64::from(std::process::id()) << 32
        });
        eprintln!("{test}: RINGMQ_SEED={seed}");
        seed
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// As `below`, for lengths and indexes.
    pub(crate) fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.index(list.len())]
    }

    /// So many bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// Numbers of their own for a part of the test.
    pub(crate) fn fork(&mut self) -> Random {
        Random(self.next())
    }
}

/// Asks for up to 32 messages of all times by a key.
pub(crate) fn key_query<'q>(topic: &'q str, key: &'q str) -> QueryMessageRequestHeader<'q> {
    QueryMessageRequestHeader {
        topic: Text::plain(topic.as_bytes()),
        key: Text::plain(key.as_bytes()),
        max_num: 32,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        unique_key_query: None,
        index_type: None,
    }
}

/// How much of a long test runs: the variable, or with `RINGMQ_LONG` the long form, or what continuous integration takes.
pub(crate) fn rounds(variable: &str, short: u64, long: u64) -> u64 {
    let usual = if std::env::var_os("RINGMQ_LONG").is_some() { long } else { short };
    let text = std::env::var(variable).ok();
    text.map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Lets this process open as many files as it may; the answer is how many.
pub(crate) fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
