//! The fingerprint of the machine: what a reader must know to compare figures.

use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A machine.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Machine {
    /// Short hash of the other fields.
    pub(crate) id: String,
    /// Model of the CPU.
    pub(crate) cpu: String,
    /// CPUs this process may use.
    pub(crate) cpus: usize,
    /// Virtualisation as the CPU reports it.
    pub(crate) hypervisor: bool,
    /// Kernel release.
    pub(crate) kernel: String,
    /// Vulnerabilities that cost something here: name and mitigation.
    pub(crate) mitigations: Vec<String>,
    /// Frequency governor, or that there is none.
    pub(crate) governor: String,
    /// Memory in MiB.
    pub(crate) memory_mib: u64,
    /// Device of the work directory and how the kernel sees it.
    pub(crate) disk: String,
    /// File system and mount options of the work directory.
    pub(crate) file_system: String,
    /// Java runtime, or that there is none.
    pub(crate) jvm: String,
    /// Flags of the brokers' JVM.
    pub(crate) jvm_flags: String,
}

/// Looks at this machine.
pub(crate) fn collect(work: &Path, heap_mib: u32) -> Machine {
    let cpu_info = text("/proc/cpuinfo");
    let field = |name: &str| {
        let line = cpu_info.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim()).to_owned()
    };
    let (disk, file_system) = mount(work);
    let mut machine = Machine {
        id: String::new(),
        cpu: field("model name"),
        cpus: reactor::affinity::allowed_cpus().len(),
        hypervisor: field("flags").split_whitespace().any(|flag| flag == "hypervisor"),
        kernel: text("/proc/sys/kernel/osrelease"),
        mitigations: mitigations(),
        governor: governor(),
        memory_mib: memory_mib(),
        disk,
        file_system,
        jvm: jvm(),
        jvm_flags: crate::system::jvm_flags(heap_mib).join(" "),
    };
    machine.id = hash(&format!("{machine:?}"));
    machine
}

impl Machine {
    /// Rows for a table.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let virtual_note = if self.hypervisor { ", virtual" } else { "" };
        vec![
            ("CPU", format!("{} × {}{virtual_note}", self.cpus, self.cpu)),
            ("memory", format!("{} MiB", self.memory_mib)),
            ("kernel", self.kernel.clone()),
            ("mitigations", self.mitigations.join("; ")),
            ("governor", self.governor.clone()),
            ("disk", self.disk.clone()),
            ("file system", self.file_system.clone()),
            ("JVM", self.jvm.clone()),
            ("JVM flags", format!("`{}`", self.jvm_flags)),
        ]
    }
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn memory_mib() -> u64 {
    let info = text("/proc/meminfo");
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn mitigations() -> Vec<String> {
    let directory = "/sys/devices/system/cpu/vulnerabilities";
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<String> = entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), text(entry.path())))
        .filter(|(_, state)| state != "Not affected")
        .map(|(name, state)| format!("{name}: {state}"))
        .collect();
    found.sort();
    found
}

fn governor() -> String {
    let governor = text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    if governor.is_empty() { "none visible".to_owned() } else { governor }
}

/// The mount that holds a path: its line of `mountinfo`, in fields.
fn mount_fields(path: &Path) -> Option<Vec<String>> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let table = text("/proc/self/mountinfo");
    let lines = table.lines().map(|line| line.split_whitespace().map(str::to_owned).collect());
    let holds = |fields: &Vec<String>| fields.get(4).is_some_and(|at| path.starts_with(at));
    // Of several at the same place the last one hides the others.
    lines.filter(holds).max_by_key(|fields: &Vec<String>| fields[4].len())
}

/// Says what the kernel knows of the disk behind a device number, by name of the queue's attribute.
fn queue_attribute(device: &str, name: &str) -> String {
    let device = format!("/sys/dev/block/{device}");
    // A partition has its queue one level up.
    let queues = [format!("{device}/queue"), format!("{device}/../queue")];
    let queue = queues.iter().find(|queue| Path::new(queue).is_dir());
    queue.map(|queue| text(format!("{queue}/{name}"))).unwrap_or_default()
}

/// Whether a synced write to this place needs a flush of the disk's cache behind it.
pub(crate) fn flushes_apart(path: &Path) -> bool {
    let device = mount_fields(path).and_then(|fields| fields.into_iter().nth(2));
    let of = |name: &str| device.as_deref().map(|device| queue_attribute(device, name));
    let (cache, fua) = (of("write_cache"), of("fua"));
    let has_cache = cache.as_deref() != Some("write through");
    has_cache && (fua.as_deref() != Some("1") || cache.as_deref() != Some("write back"))
}

/// Device and file system of the mount that holds a path.
fn mount(path: &Path) -> (String, String) {
    let Some(fields) = mount_fields(path) else { return Default::default() };
    let field = |at: usize| fields.get(at).map_or("", String::as_str);
    let after = fields.iter().position(|field| field == "-").unwrap_or(fields.len());
    // Of the mount and of the file system as a whole.
    let options = [field(5), field(after + 3)].join(";");
    let of = |name: &str| queue_attribute(field(2), name);
    let disk = format!(
        "{}, blocks {}/{}, {}, FUA {}, scheduler {}, rotational {}",
        field(after + 2),
        of("logical_block_size"),
        of("physical_block_size"),
        of("write_cache"),
        of("fua"),
        of("scheduler"),
        of("rotational"),
    );
    (disk, format!("{} ({options})", field(after + 1)))
}

fn jvm() -> String {
    let output = Command::new("java").arg("-version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
    let line = text.ok().and_then(|text| text.lines().nth(1).map(str::to_owned));
    line.unwrap_or_else(|| "none".to_owned())
}

/// Commit of the sources, with `+` when tracked files differ from it.
pub(crate) fn commit(root: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return String::new() };
    let results = ":(exclude)perf/results.jsonl";
    let is_clean = git(&["diff", "--quiet", "HEAD", "--", ".", results]).is_some();
    if is_clean { commit } else { format!("{commit}+") }
}

/// FNV-1a, as eight hex digits: enough to tell machines apart.
fn hash(text: &str) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    format!("{:08x}", (hash >> 32) ^ (hash & u64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_fingerprint_that_stays() {
        let first = collect(Path::new("."), 2048);
        assert_eq!(first, collect(Path::new("."), 2048));
        assert!(first.cpus > 0 && first.memory_mib > 0 && !first.kernel.is_empty());
        assert!(!first.file_system.is_empty(), "{first:?}");
        assert_eq!(first.id.len(), 8);
    }
}
