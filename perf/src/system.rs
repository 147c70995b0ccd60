//! The servers that are compared: how each is configured, started, and recognised as up.
//!
//! None has a name server: the client speaks to the broker alone, so that only the brokers differ.

use crate::process::Process;
use crate::scenario::{Flush, Point, SystemName};
use client::{Connection, Options};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a server may take to answer its first request.
const START_WAIT: Duration = Duration::from_secs(120);
/// With a bounded page cache: what a JVM is granted besides heap and cached pages.
const JVM_BESIDE_HEAP_MIB: u64 = 1024;
/// As above: what RingMQ and the bare ring are granted besides cached pages.
const RINGMQ_OWN_MIB: u64 = 512;
/// Bytes of a stored record besides body, topic and properties (commit log format, version 1, IPv4 hosts).
const RECORD_BYTES: usize = 91;
/// Properties of the client's messages: the unique key with its 32 digits, and WAIT.
const CLIENT_PROPERTIES_BYTES: usize = "UNIQ_KEY".len() + 1 + 32 + 1 + "WAIT.true.".len();
/// What brokers add: cluster, region and trace switch, each with two separators.
const BROKER_PROPERTIES_BYTES: usize =
    "CLUSTER.DefaultCluster.MSG_REGION.DefaultRegion.TRACE_ON.true.".len();
/// Bytes of the brokers' answers to a send (always JSON), which the bare ring copies; runs report what came.
const REPLY_BYTES: u32 = 302;

/// Directory of RingMQ's log files.
const LOGS: &str = "logs";

/// What all runs have in common.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// Stores and logs go here.
    pub(crate) work: PathBuf,
    /// The executable of RingMQ, which is the client too.
    pub(crate) ringmq: PathBuf,
    /// Directory of the Java brokers' class paths.
    pub(crate) java: PathBuf,
    /// CPUs of the servers.
    pub(crate) server_cpus: Vec<usize>,
    /// CPU of the client.
    pub(crate) client_cpu: Option<usize>,
    /// Heap of the JVM in MiB.
    pub(crate) heap_mib: u32,
    /// Address of a broker that somebody else started.
    pub(crate) target: Option<String>,
}

/// A server that answers.
pub(crate) struct Running {
    /// Which.
    pub(crate) name: SystemName,
    /// host:port.
    pub(crate) address: String,
    /// The process; none for a remote one.
    pub(crate) process: Option<Process>,
    /// Its directory.
    pub(crate) dir: PathBuf,
    /// From exec to the first answer, ms.
    pub(crate) start_ms: f64,
    limit: Option<Limit>,
}

impl Running {
    /// Process id.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Stops it, hands over the end of its output, and takes its files away.
    pub(crate) fn stop(self) -> Result<String, String> {
        let Some(process) = self.process else { return Ok(String::new()) };
        let in_order = process.stop();
        drop(self.limit);
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        set_aside(&self.dir).map_err(|e| format!("removing {}: {e}", self.dir.display()))?;
        if !in_order {
            // What was measured before is as good as ever; only the ring's own count is missed then.
            eprintln!("{} did not stop in order and was killed", self.name.name());
            return Ok(String::new());
        }
        Ok(log.lines().last().unwrap_or_default().to_owned())
    }
}

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// By SIGTERM.
    InOrder,
    /// By SIGKILL.
    Killed,
}

impl Running {
    /// Ends the process; its files stay.
    pub(crate) fn end(&mut self, end: End) -> Result<(), String> {
        let process = self.process.take().ok_or("there is no process")?;
        match end {
            End::Killed => drop(process),
            End::InOrder if !process.stop() => return Err("it did not stop in order".to_owned()),
            End::InOrder => {}
        }
        Ok(())
    }

    /// Starts RingMQ on the files of the process that was ended.
    pub(crate) fn start_again(&mut self, site: &Site) -> Result<(), String> {
        let mut command = ringmq(site, &self.dir.join("broker.conf"));
        // From here on it holds what the new process says.
        let _ = fs::remove_dir_all(self.dir.join(LOGS));
        let process = Process::start(&mut command, &site.server_cpus, &self.dir.join("log"));
        let process = process.map_err(|e| format!("starting it again: {e}"))?;
        if let Some(limit) = &self.limit {
            limit.admit(process.pid())?;
        }
        self.process = Some(process);
        self.start_ms = wait_for_answer(self)?;
        Ok(())
    }

    /// What RingMQ has said in its log files so far.
    pub(crate) fn said(&self) -> String {
        let files = fs::read_dir(self.dir.join(LOGS)).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_to_string(file.path()).ok()).collect()
    }
}

/// Files with more blocks than this (of 512 bytes) are removed at once.
const BLOCKS_KEPT_MAX: u64 = 2048;

/// Removes the large files of a store, and keeps the small ones out of the way until the end of the call: for some minutes after
/// many were removed, ext4 looks for each new file through all of their inodes, which the next system would pay for.
fn set_aside(dir: &Path) -> io::Result<()> {
    remove_large(dir)?;
    let work = dir.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let old = work.join(format!("old-{}", std::process::id()));
    fs::create_dir_all(&old)?;
    let count = fs::read_dir(&old)?.count();
    fs::rename(dir, old.join(count.to_string()))
}

fn remove_large(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            remove_large(&entry.path())?;
        } else if metadata.blocks() > BLOCKS_KEPT_MAX {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes what `set_aside` kept.
pub(crate) fn remove_old(work: &Path) {
    // What cannot be removed is in nobody's way.
    let _ = fs::remove_dir_all(work.join(format!("old-{}", std::process::id())));
}

/// Removes the stores of calls that did not come to their end.
pub(crate) fn remove_leftovers(work: &Path) {
    for entry in fs::read_dir(work).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((system, pid)) = name.split_once('-') else { continue };
        let is_ours = ["ringmq", "ring", "java550", "java497", "old"].contains(&system);
        let is_number = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
        if is_ours && is_number && !Path::new("/proc").join(pid).exists() {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether two points can be measured on one process.
pub(crate) fn same_server(name: SystemName, a: &Point, b: &Point) -> bool {
    name.is_java() && a.full().flush == b.full().flush && a.cache_mib == b.cache_mib
}

/// Starts a system with an empty store. The error is a reason to leave it out.
pub(crate) fn start(
    site: &Site,
    name: SystemName,
    point: &Point,
    settings: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<Running, String> {
    if name == SystemName::Target {
        let address = site.target.clone().ok_or("--target is not given")?;
        let (process, dir, limit) = (None, PathBuf::new(), None);
        return Ok(Running { name, address, process, dir, start_ms: 0.0, limit });
    }
    let dir = site.work.join(format!("{}-{}", name.name(), std::process::id()));
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let port = free_port();
    let own_mib = match name.is_java() {
        true => u64::from(site.heap_mib) + JVM_BESIDE_HEAP_MIB,
        false => RINGMQ_OWN_MIB,
    };
    let limit = point.cache_mib.map(|mib| Limit::create(mib + own_mib)).transpose()?;
    let mut command = match name {
        SystemName::Ring => ring(site, &dir, port, point)?,
        SystemName::Ringmq => {
            let own = settings.get("ringmq").cloned().unwrap_or_default();
            let file = dir.join("broker.conf");
            write_keys(&file, &broker_keys(&dir, port, point, false, own))?;
            ringmq(site, &file)
        }
        SystemName::Java550 | SystemName::Java497 => {
            let own = settings.get("java").cloned().unwrap_or_default();
            java(site, name, &dir, &broker_keys(&dir, port, point, true, own))?
        }
        SystemName::Target => return Err("a target is not started here".to_owned()),
    };
    let process = Process::start(&mut command, &site.server_cpus, &dir.join("log"))
        .map_err(|e| format!("starting {}: {e}", name.name()))?;
    if let Some(limit) = &limit {
        limit.admit(process.pid())?;
    }
    let address = format!("127.0.0.1:{port}");
    let mut running = Running { name, address, process: Some(process), dir, start_ms: 0.0, limit };
    running.start_ms = wait_for_answer(&mut running)?;
    Ok(running)
}

fn wait_for_answer(running: &mut Running) -> Result<f64, String> {
    let address = running.address.clone();
    let options = Options { timeout: Duration::from_secs(5), ..Options::default() };
    let is_bare = running.name == SystemName::Ring;
    loop {
        let process = running.process.as_mut().ok_or("there is no process")?;
        let is_up = if is_bare {
            TcpStream::connect(&address).is_ok()
        } else {
            Connection::connect_with(&address, options).is_ok_and(|mut connection| {
                // A refusal is an answer too.
                let answer = connection.max_offset("TBW102", 0);
                answer.map_or_else(|error| error.refused_code().is_some(), |_| true)
            })
        };
        if is_up {
            return Ok(process.started.elapsed().as_secs_f64() * 1000.0);
        }
        if !process.is_alive() || process.started.elapsed() > START_WAIT {
            let log = fs::read_to_string(running.dir.join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(5)..].join(" | ");
            return Err(format!("{} did not come up: {end}", running.name.name()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Bytes a broker stores for one message of the client, which sends to a topic of `topic_bytes` bytes.
pub(crate) fn record_bytes(body_bytes: u32, topic_bytes: usize) -> usize {
    let body = usize::try_from(body_bytes).expect("usize has at least 32 bits");
    RECORD_BYTES + body + topic_bytes + CLIENT_PROPERTIES_BYTES + BROKER_PROPERTIES_BYTES
}

fn ring(site: &Site, dir: &Path, port: u16, point: &Point) -> Result<Command, String> {
    let own = std::env::current_exe().map_err(|e| format!("finding this executable: {e}"))?;
    let full = point.full();
    let stored = record_bytes(full.body.unwrap_or_default(), crate::bench::TOPIC_BYTES);
    // As the broker chooses: a device with a cache and without FUA flushes behind each synced write anyway.
    let sync_by = if crate::machine::flushes_apart(dir) { "fdatasync" } else { "dsync" };
    let ack = if full.flush == Some(Flush::Sync) { "synced" } else { "append" };
    let mut command = Command::new(own);
    command.args(["ring", "--ack", ack, "--sync-by", sync_by, "--port", &port.to_string()]);
    command.args(["--store-bytes", &stored.to_string(), "--reply-bytes", &REPLY_BYTES.to_string()]);
    command.arg("--dir").arg(dir.join("store"));
    if let [cpu] = site.server_cpus[..] {
        command.args(["--cpu", &cpu.to_string()]);
    }
    Ok(command)
}

fn broker_keys(
    dir: &Path,
    port: u16,
    point: &Point,
    is_java: bool,
    own: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let flush = match point.full().flush {
        Some(Flush::Sync) => "SYNC_FLUSH",
        Some(Flush::Async) | None => "ASYNC_FLUSH",
    };
    let store = dir.join("store").display().to_string();
    let mut keys: BTreeMap<String, String> = [
        ("brokerClusterName", "DefaultCluster".to_owned()),
        ("brokerName", "broker-a".to_owned()),
        ("brokerId", "0".to_owned()),
        ("brokerIP1", "127.0.0.1".to_owned()),
        ("brokerIP2", "127.0.0.1".to_owned()),
        ("bindAddress", "127.0.0.1".to_owned()),
        ("listenPort", port.to_string()),
        ("haListenPort", (port + 1).to_string()),
        ("flushDiskType", flush.to_owned()),
        ("storePathCommitLog", format!("{store}/commitlog")),
        ("storePathRootDir", store),
        // The test's own store must not be cleaned or refused because the disk holds other things.
        ("diskMaxUsedSpaceRatio", "95".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    if is_java {
        // The default of 200 ms turns a busy single core into refused sends.
        keys.insert("waitTimeMillsInSendQueue".to_owned(), "10000".to_owned());
    } else {
        keys.insert("logPath".to_owned(), dir.join(LOGS).display().to_string());
    }
    keys.extend(own);
    keys
}

fn write_keys(path: &Path, keys: &BTreeMap<String, String>) -> Result<(), String> {
    let lines: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    fs::write(path, lines.concat()).map_err(|e| format!("{}: {e}", path.display()))
}

fn ringmq(site: &Site, file: &Path) -> Command {
    let mut command = Command::new(&site.ringmq);
    command.arg("broker").arg("-c").arg(file).env_remove("NAMESRV_ADDR");
    command
}

/// Flags of the JVM: those of `runbroker.sh` with a heap for this machine, and what its modules need.
pub(crate) fn jvm_flags(heap_mib: u32) -> Vec<String> {
    let mut flags = vec![
        "-server".to_owned(),
        format!("-Xms{heap_mib}m"),
        format!("-Xmx{heap_mib}m"),
        format!("-XX:MaxDirectMemorySize={}m", heap_mib * 2),
    ];
    let fixed = [
        "-XX:+UseG1GC",
        "-XX:G1HeapRegionSize=16m",
        "-XX:G1ReservePercent=25",
        "-XX:InitiatingHeapOccupancyPercent=30",
        "-XX:SoftRefLRUPolicyMSPerMB=0",
        "-XX:-OmitStackTraceInFastThrow",
        "-XX:+AlwaysPreTouch",
        "-XX:-UseLargePages",
        "--add-opens=java.base/java.nio=ALL-UNNAMED",
        "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
        "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
        "-Djava.net.preferIPv4Stack=true",
    ];
    flags.extend(fixed.map(str::to_owned));
    flags
}

fn java(
    site: &Site,
    name: SystemName,
    dir: &Path,
    keys: &BTreeMap<String, String>,
) -> Result<Command, String> {
    let version = if name == SystemName::Java497 { "4.9.7" } else { "5.5.0" };
    let list = site.java.join(version).join("classpath.txt");
    let class_path = fs::read_to_string(&list)
        .map_err(|e| format!("{}: {e}; perf/run.sh makes it with Maven", list.display()))?;
    let home = dir.join("home");
    let conf = home.join("conf");
    fs::create_dir_all(&conf).map_err(|e| format!("{}: {e}", conf.display()))?;
    // Without log files of its own, which is in Java's favour; 4.9.7 does not start without this file.
    let logback = "<configuration><root level=\"OFF\"/></configuration>";
    fs::write(conf.join("logback_broker.xml"), logback).map_err(|e| e.to_string())?;
    let file = dir.join("broker.conf");
    write_keys(&file, keys)?;
    let mut command = Command::new("java");
    command.args(jvm_flags(site.heap_mib));
    command.arg(format!("-Duser.home={}", home.display()));
    command.arg(format!("-Drocketmq.home.dir={}", home.display()));
    command.args(["-cp", class_path.trim()]);
    command.arg("org.apache.rocketmq.broker.BrokerStartup").arg("-c").arg(&file);
    command.env_remove("NAMESRV_ADDR");
    Ok(command)
}

/// A port whose neighbours (VIP: -2, replication: +1) are free as well, below the kernel's own range.
fn free_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let process = u16::try_from(std::process::id() % 1500).unwrap_or(0) * 8;
    let mut port = 14_000 + process;
    while !(port - 2..=port + 1).all(is_free) {
        port = if port > 30_000 { 14_000 } else { port + 5 };
    }
    port
}

/// A control group that bounds memory and page cache of a server; removed when dropped.
struct Limit(PathBuf);

impl Limit {
    fn create(mib: u64) -> Result<Limit, String> {
        let root = Path::new("/sys/fs/cgroup");
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        if !controllers.split_whitespace().any(|name| name == "memory") {
            return Err("cache_mib needs cgroup v2 with the memory controller".to_owned());
        }
        let path = root.join(format!("ringmq-perf-{}", std::process::id()));
        let may = |what: &str| {
            let path = path.clone();
            let what = what.to_owned();
            move |e: std::io::Error| format!("cache_mib: {what} {}: {e}", path.display())
        };
        // Fails when it is set already or when this is no root group; then creating tells.
        let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
        fs::create_dir_all(&path).map_err(may("making"))?;
        let limit = Limit(path.clone());
        fs::write(path.join("memory.max"), (mib << 20).to_string()).map_err(may("limiting"))?;
        Ok(limit)
    }

    fn admit(&self, pid: u32) -> Result<(), String> {
        fs::write(self.0.join("cgroup.procs"), pid.to_string())
            .map_err(|e| format!("cache_mib: moving a process: {e}"))
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stores_of_dead_calls_are_removed() {
        let work = tempfile::tempdir().unwrap();
        let own = format!("ringmq-{}", std::process::id());
        let names = ["ring-4294967295", own.as_str(), "ring-", "mine-4294967295", "notes"];
        for name in names {
            fs::create_dir(work.path().join(name)).unwrap();
        }
        remove_leftovers(work.path());
        let is_there = names.map(|name| work.path().join(name).exists());
        assert_eq!(is_there, [false, true, true, true, true]);
    }

    #[test]
    fn a_record_has_the_size_that_brokers_store() {
        // As `ringmq bench pull` counts it on a store of RingMQ.
        assert_eq!(record_bytes(1024, 12), 1241);
    }
}
