//! Start-up check of the kernel: does io_uring work here, with what we need? The answer is a sentence for operators.

use io_uring::{IoUring, Probe, opcode};
use std::fmt;
use std::io;

/// Why the reactor cannot run here, with what to do about it.
#[derive(Debug)]
pub enum StartError {
    /// `io_uring_setup` is refused or unknown.
    Unavailable {
        /// Error of the system call.
        error: io::Error,
        /// Value of `kernel.io_uring_disabled`, where it exists.
        disabled: Option<String>,
    },
    /// The kernel lacks operations.
    TooOld {
        /// Names of the missing operations.
        missing: Vec<&'static str>,
        /// Release of the running kernel.
        release: String,
    },
    /// Memory could not be mapped or pinned.
    Memory {
        /// What was to be mapped.
        what: &'static str,
        /// Error of the system call.
        error: io::Error,
    },
    /// Any other system call of the set-up.
    System {
        /// What was attempted.
        what: &'static str,
        /// Its error.
        error: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Unavailable { error, disabled } => {
                write!(f, "io_uring is not available here ({error}). {}", advice(error, disabled))
            }
            StartError::TooOld { missing, release } => write!(
                f,
                "kernel {release} lacks {} of io_uring: RingMQ needs Linux 6.1 or newer",
                missing.join(", ")
            ),
            StartError::Memory { what, error } => write!(
                f,
                "no memory for {what} ({error}). Raise the locked-memory limit: `ulimit -l unlimited`, \
                 `LimitMEMLOCK=infinity` in the systemd unit, or `--ulimit memlock=-1` for a container"
            ),
            StartError::System { what, error } => write!(f, "{what} failed: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

fn advice(error: &io::Error, disabled: &Option<String>) -> String {
    match (error.raw_os_error(), disabled.as_deref()) {
        (_, Some("2")) => "kernel.io_uring_disabled is 2: set it to 0 with \
                           `sysctl -w kernel.io_uring_disabled=0`"
            .to_string(),
        (Some(libc::EPERM), Some("1")) => "kernel.io_uring_disabled is 1: set it to 0, or run in the \
                                           group of kernel.io_uring_group, or with CAP_SYS_ADMIN"
            .to_string(),
        (Some(libc::EPERM | libc::EACCES), _) => "A seccomp filter forbids it, as the default profiles \
             of Docker and containerd do: allow io_uring_setup, io_uring_enter and io_uring_register"
            .to_string(),
        (Some(libc::ENOSYS), _) => "The kernel has no io_uring: RingMQ needs Linux 6.1 or newer".to_string(),
        (Some(libc::ENOMEM), _) => "Raise the locked-memory limit (`ulimit -l`)".to_string(),
        (_, _) => "Is the kernel Linux 6.1 or newer?".to_string(),
    }
}

/// Builds the kind of ring that a shard uses. Must run on the thread that will use it.
pub(crate) fn build_ring(entries: u32, completions: u32) -> Result<IoUring, StartError> {
    let built = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .setup_cqsize(completions)
        .build(entries);
    match built {
        Ok(ring) => Ok(ring),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Err(StartError::TooOld {
            missing: vec!["SINGLE_ISSUER or DEFER_TASKRUN"],
            release: kernel_release(),
        }),
        Err(error) => Err(StartError::Unavailable { error, disabled: io_uring_disabled() }),
    }
}

/// Memory that glommio's own rings pin per executor before it starts at all.
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;

/// Checks once, before any thread starts, that a ring can be made and knows our operations.
pub fn check_kernel() -> Result<(), StartError> {
    if let Some(limit) = crate::sys::memlock_bytes().filter(|l| *l < MEMLOCK_BYTES_MIN) {
        let text =
            format!("the locked-memory limit is {limit} bytes, {MEMLOCK_BYTES_MIN} are needed");
        return Err(StartError::Memory { what: "a ring", error: io::Error::other(text) });
    }
    let ring = build_ring(8, 16)?;
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| StartError::System { what: "probing io_uring", error })?;
    let needed = [
        ("ACCEPT", opcode::Accept::CODE),
        ("RECV", opcode::Recv::CODE),
        ("SEND", opcode::Send::CODE),
        ("CONNECT", opcode::Connect::CODE),
        ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
        ("WRITE_FIXED", opcode::WriteFixed::CODE),
        ("READ", opcode::Read::CODE),
        ("FSYNC", opcode::Fsync::CODE),
        ("TIMEOUT", opcode::Timeout::CODE),
        ("MSG_RING", opcode::MsgRingData::CODE),
        // SEND_ZC came with the kernel that brought multishot receive, which a probe cannot see.
        ("multishot RECV", opcode::SendZc::CODE),
    ];
    let missing: Vec<&'static str> = needed
        .iter()
        .filter(|(_, code)| !probe.is_supported(*code))
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(StartError::TooOld { missing, release: kernel_release() })
}

fn io_uring_disabled() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    Some(text.trim().to_string())
}

fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_passes() {
        check_kernel().unwrap();
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let refused = |code, disabled: Option<&str>| {
            let error = io::Error::from_raw_os_error(code);
            StartError::Unavailable { error, disabled: disabled.map(str::to_string) }.to_string()
        };
        assert!(refused(libc::EPERM, Some("2")).contains("sysctl -w kernel.io_uring_disabled=0"));
        assert!(refused(libc::EPERM, Some("1")).contains("io_uring_group"));
        assert!(refused(libc::EPERM, None).contains("seccomp"));
        assert!(refused(libc::ENOSYS, None).contains("6.1"));
    }
}
