//! Small system calls of start-up: listeners, limits, scheduling slice, eventfd. None is used on the data path.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Bounds of a scheduling slice that a thread may ask for (`kernel/sched/syscalls.c`).
const SLICE_MIN_NS: u64 = 100_000;
const SLICE_MAX_NS: u64 = 100_000_000;

/// Pending connections the kernel holds per listener.
const BACKLOG: i32 = 1024;

/// Binds a listener that shares its port with the listeners of other shards.
pub fn listen(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Threads that the kernel makes for this one (io_uring's workers) begin with the default slice: with ours they
/// would wait for the end of the shard's slice, and the writes they carry with them.
const RESET_ON_FORK: u64 = 1;

/// How long a thread wants to run at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slice {
    /// The shortest there is: when it wakes, the thread preempts whoever runs.
    Short,
    /// The longest there is: whoever wakes preempts this thread, the kernel's workers that complete its I/O included.
    Long,
}

/// Asks the scheduler for a slice for this thread. The error is for a note in the log only.
pub fn set_slice(slice: Slice) -> io::Result<()> {
    #[repr(C)]
    struct SchedAttr {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime_ns: u64,
        deadline_ns: u64,
        period_ns: u64,
    }
    let runtime_ns = match slice {
        Slice::Short => SLICE_MIN_NS,
        Slice::Long => SLICE_MAX_NS,
    };
    let size = u32::try_from(std::mem::size_of::<SchedAttr>()).expect("48 bytes");
    let attributes = SchedAttr {
        size,
        policy: 0,
        flags: RESET_ON_FORK,
        nice: 0,
        priority: 0,
        runtime_ns,
        deadline_ns: 0,
        period_ns: 0,
    };
    // SAFETY: the structure is valid, sized as it says, and only read by the kernel.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Raises the soft limit of open files to the hard one and returns it.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for the call to fill.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a valid structure that the call only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// Bytes of memory this process may pin, `None` when unlimited.
pub fn memlock_bytes() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for the call to fill.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (result == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// A non-blocking eventfd.
pub fn event_fd() -> io::Result<OwnedFd> {
    // SAFETY: makes a descriptor and touches no memory of ours.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just made and is owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds one to an eventfd: whoever waits for it wakes up.
pub fn event_signal(fd: RawFd) {
    // SAFETY: plain call on a descriptor; a full counter (EAGAIN) still means "signalled".
    let _ = unsafe { libc::eventfd_write(fd, 1) };
}

/// Resets an eventfd.
pub fn event_clear(fd: RawFd) {
    let mut value = 0;
    // SAFETY: `value` is valid for the call to fill; EAGAIN means it was clear already.
    let _ = unsafe { libc::eventfd_read(fd, &raw mut value) };
}

/// Ends both directions of a socket: receives end, sends fail, and their completions follow.
pub(crate) fn shut_down(fd: RawFd) {
    // SAFETY: plain call on a descriptor that the caller owns.
    let _ = unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

/// Address of the peer of a connected socket.
pub(crate) fn peer_address(socket: &socket2::SockRef<'_>) -> Option<SocketAddr> {
    socket.peer_addr().ok()?.as_socket()
}

/// Starts a non-blocking connect; completion is reported by writability.
pub(crate) fn stream_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// Whether the descriptor's number fits the registered table (a sanity check of the caller's bookkeeping).
pub(crate) fn raw(fd: &impl AsRawFd) -> RawFd {
    fd.as_raw_fd()
}
