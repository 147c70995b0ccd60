//! Facts about the machine and the environment on which defaults depend.

use config::Machine;
use std::env;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;

/// Collects the facts; nothing here can fail, each has a substitute.
pub(crate) fn collect() -> Machine {
    let options = java_options();
    let option = |name: &str| {
        options.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    };
    let home = option("user.home").or_else(|| variable("HOME")).unwrap_or_else(|| "/".to_owned());
    let rocketmq_home = option("rocketmq.home.dir")
        .or_else(|| variable("ROCKETMQ_HOME"))
        .unwrap_or_else(|| prefix().to_string_lossy().into_owned());
    let namesrv_addr = option("rocketmq.namesrv.addr").or_else(|| variable("NAMESRV_ADDR"));
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Machine {
        home,
        rocketmq_home,
        namesrv_addr: namesrv_addr.unwrap_or_default(),
        local_address: local_address().to_string(),
        host_name: host_name(),
        cpus: u32::try_from(cpus).unwrap_or(1),
    }
}

/// Options among Java's that mean something here and have no effect, for a warning.
pub(crate) fn options_without_effect() -> Vec<String> {
    const KNOWN: [&str; 3] = ["user.home", "rocketmq.home.dir", "rocketmq.namesrv.addr"];
    const PREFIXES: [&str; 3] = ["tls.", "com.rocketmq.", "rocketmq."];
    let names = java_options().into_iter().map(|(name, _)| name);
    names
        .filter(|name| !KNOWN.contains(&name.as_str()))
        .filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
        .collect()
}

/// System properties (`-Dname=value`) that scripts hand to the Java broker.
fn java_options() -> Vec<(String, String)> {
    let words = ["JAVA_OPT", "JAVA_OPT_EXT"].into_iter().filter_map(variable);
    let words: Vec<String> = words.collect();
    let words = words.iter().flat_map(|text| text.split_whitespace());
    let pairs = words.filter_map(|word| word.strip_prefix("-D")?.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The directory above the one that holds the executable.
fn prefix() -> PathBuf {
    let executable = env::current_exe().unwrap_or_default();
    executable.ancestors().nth(2).map(PathBuf::from).unwrap_or_default()
}

fn host_name() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = text.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// The address from which this machine would reach others. Connecting a datagram socket sends nothing: it only asks
/// the routing table. The target belongs to a block that is reserved for documentation.
fn local_address() -> IpAddr {
    let target = (Ipv4Addr::new(192, 0, 2, 1), 9);
    let found = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect(target)?;
        socket.local_addr()
    });
    match found {
        Ok(address) if !address.ip().is_unspecified() => address.ip(),
        Ok(_) | Err(_) => Ipv4Addr::LOCALHOST.into(),
    }
}
