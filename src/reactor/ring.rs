//! The shard's ring: submissions, completions, and the ownership of everything in between.
//!
//! The shard asks for operations during a turn; `turn` submits them with one system call, runs the kernel's
//! deferred work and turns completions into events. Java counterpart: none (Netty's event loop plus the page
//! cache).

mod keys;
mod listen;

use crate::files::{FileId, FileOp, FileTable, WriteFrom, WriteMode, ZEROS_MAX};
use crate::probe::{StartError, build_ring};
use crate::receive::{BufferId, GROUP, ReceiveBuffers};
use crate::sockets::{Receive, Sending, SocketId, SocketTable};
use crate::sys;
use base::time::MonoNs;
use buf::BLOCK_BYTES;
use buf::block_pool::BlockPool;
use buf::region::Region;
use buf::window::WindowMemory;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use keys::{
    KIND_ACCEPT, KIND_CONNECT, KIND_FILE, KIND_IGNORED, KIND_RECEIVE, KIND_SEND, KIND_SIGNAL,
    KIND_TIMER, KIND_WAKE, key, unkey,
};
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Sizes of a reactor. The sums are in `shard`'s start-up, which knows the limits of the host.
#[derive(Clone, Copy, Debug)]
pub struct ReactorConfig {
    /// Submission entries; the completion ring has eight times as many.
    pub entries: u32,
    /// Receive buffers, a power of two.
    pub receive_buffers: u16,
    /// Size of each receive buffer in bytes.
    pub receive_buffer_bytes: usize,
    /// Most sockets of this shard, listeners not counted.
    pub sockets_max: u32,
    /// Scratch blocks for partial-block writes.
    pub scratch_blocks: u16,
}

impl ReactorConfig {
    /// A small reactor for tests and tools.
    pub fn small() -> ReactorConfig {
        ReactorConfig {
            entries: 64,
            receive_buffers: 16,
            receive_buffer_bytes: 16 * 1024,
            sockets_max: 64,
            scratch_blocks: 4,
        }
    }
}

/// What happened. Errors are `errno` values.
#[derive(Debug)]
pub enum Event {
    /// A connection arrived.
    Accepted { listener: u16, socket: SocketId, peer: SocketAddr },
    /// A listener cannot accept for now (descriptors, table full); it goes on by itself.
    AcceptFailed { listener: u16, error: i32 },
    /// Bytes arrived; the buffer must be given back with `Reactor::give_back` in this turn.
    Received { socket: SocketId, buffer: BufferId, len: usize },
    /// The peer will send no more (`None`) or the connection broke.
    Ended { socket: SocketId, error: Option<i32> },
    /// A send has completed; the buffer comes back for reuse.
    Sent { socket: SocketId, buffer: Vec<u8>, error: Option<i32> },
    /// A connect has completed.
    Connected { socket: SocketId, error: Option<i32> },
    /// A closed socket's slot is free.
    Released { socket: SocketId },
    /// A write has reached the device (and is durable if it was asked to be).
    Wrote { tag: u64, error: Option<i32> },
    /// A read has completed; the buffer is cut to what was read.
    Read { tag: u64, buffer: Vec<u8>, error: Option<i32> },
    /// A sync has completed.
    Synced { tag: u64, error: Option<i32> },
}

/// Pause before a listener that ran out of descriptors tries again.
const ACCEPT_PAUSE_MS: u64 = 100;
/// Registered buffer 0 holds the scratch blocks; windows follow.
const BUFFER_SCRATCH: u16 = 0;
const BUFFERS_MAX: u32 = 64;
const EINVAL: i32 = libc::EINVAL;

struct Listener {
    socket: TcpListener,
    tag: u16,
    armed: bool,
    wanted: bool,
    retry_at: MonoNs,
}

struct RegisteredWindow {
    memory: WindowMemory,
    buffer_index: Option<u16>,
}

/// The ring and all it owns. Lives on one thread.
pub struct Reactor {
    // The ring is dropped first: the kernel cancels what is in flight before the memory goes.
    ring: IoUring,
    receive: ReceiveBuffers,
    sockets: SocketTable,
    listeners: Vec<Listener>,
    files: FileTable,
    file_ops: Vec<Option<FileOp>>,
    file_ops_free: Vec<u32>,
    /// Dropped by hand: the kernel may still read it when the ring is gone.
    scratch: ManuallyDrop<BlockPool>,
    scratch_registered: bool,
    /// As `scratch`.
    zeros: ManuallyDrop<Region>,
    windows: Vec<RegisteredWindow>,
    rearm: Vec<SocketId>,
    events: Vec<Event>,
    /// Other threads signal this one; the ring polls it.
    wake_fd: OwnedFd,
    wake_armed: bool,
    /// Whether the kernel knows `NO_IOWAIT`.
    waits_are_idle: bool,
    timer: Timer,
    pending: usize,
    table_full: bool,
}

struct Timer {
    armed: Option<MonoNs>,
    spec: Box<types::Timespec>,
}

impl Reactor {
    /// Sets the ring up. Must be called on the thread that will run it.
    pub fn new(config: ReactorConfig) -> Result<Reactor, StartError> {
        let system = |what| move |error| StartError::System { what, error };
        let memory = |what| move |error| StartError::Memory { what, error };
        let ring = build_ring(config.entries, config.entries * 8)?;
        let submitter = ring.submitter();
        submitter
            .register_files_sparse(config.sockets_max)
            .map_err(system("registering the socket table (is the open-files limit too low?)"))?;
        submitter
            .register_buffers_sparse(BUFFERS_MAX)
            .map_err(memory("the registered-buffer table"))?;
        let receive =
            ReceiveBuffers::new(&ring, config.receive_buffers, config.receive_buffer_bytes)
                .map_err(memory("receive buffers"))?;
        let scratch =
            BlockPool::new(config.scratch_blocks, BLOCK_BYTES).map_err(memory("scratch blocks"))?;
        let mut reactor = Reactor {
            ring,
            receive,
            sockets: SocketTable::new(config.sockets_max),
            listeners: Vec::new(),
            files: FileTable::default(),
            file_ops: Vec::new(),
            file_ops_free: Vec::new(),
            scratch: ManuallyDrop::new(scratch),
            scratch_registered: false,
            zeros: ManuallyDrop::new(Region::new(ZEROS_MAX).map_err(memory("zeros"))?),
            windows: Vec::new(),
            rearm: Vec::new(),
            events: Vec::with_capacity(256),
            wake_fd: sys::event_fd().map_err(system("making an eventfd"))?,
            wake_armed: false,
            waits_are_idle: true,
            timer: Timer { armed: None, spec: Box::new(types::Timespec::new()) },
            pending: 0,
            table_full: false,
        };
        let (start, bytes) = (reactor.scratch.region().as_ptr(), reactor.scratch.region().len());
        reactor.scratch_registered = reactor.register_buffer(BUFFER_SCRATCH, start, bytes);
        Ok(reactor)
    }

    /// Descriptor of the ring, for peers that wake it.
    pub fn ring_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// An eventfd with which another thread wakes this one.
    pub fn waker(&self) -> std::io::Result<OwnedFd> {
        self.wake_fd.try_clone()
    }

    /// Sockets that are open or closing.
    pub fn socket_count(&self) -> usize {
        self.sockets.open_count()
    }

    // ---- memory ----

    /// Makes a log window known; false in the second place: it could not be pinned (memlock), writes go unregistered.
    pub fn add_window(&mut self, memory: WindowMemory) -> (usize, bool) {
        let index = u16::try_from(self.windows.len() + 1).expect("fewer windows than buffer slots");
        let pinned = u32::from(index) < BUFFERS_MAX
            && self.register_buffer(index, memory.as_ptr().cast_mut(), memory.bytes());
        self.windows.push(RegisteredWindow { memory, buffer_index: pinned.then_some(index) });
        (self.windows.len() - 1, pinned)
    }

    fn register_buffer(&self, index: u16, start: *mut u8, bytes: usize) -> bool {
        let iovec = libc::iovec { iov_base: start.cast(), iov_len: bytes };
        // SAFETY: the memory outlives the ring: scratch and windows are fields that drop after it.
        let result = unsafe {
            self.ring.submitter().register_buffers_update(u32::from(index), &[iovec], None)
        };
        result.is_ok()
    }

    /// Bytes of a receive buffer handed out by an event of this turn.
    pub fn received(&self, buffer: BufferId, len: usize) -> &[u8] {
        self.receive.bytes(buffer, len)
    }

    /// Returns a receive buffer.
    pub fn give_back(&mut self, buffer: BufferId) {
        self.receive.give(buffer);
    }

    // ---- sockets ----

    /// Starts a connection. The result comes as `Event::Connected`; on an error the socket is closed already.
    pub fn connect(&mut self, address: SocketAddr) -> std::io::Result<SocketId> {
        let fd = sys::stream_socket(address)?;
        let socket = self.adopt(fd)?;
        let target = Box::new(socket2::SockAddr::from(address));
        let (pointer, len) = (target.as_ptr(), target.len());
        let entry = opcode::Connect::new(types::Fixed(socket.0), pointer.cast(), len).build();
        let slot = self.sockets.get_mut(socket).expect("just inserted");
        slot.connecting = Some(target);
        self.push(entry, key(KIND_CONNECT, socket.0));
        Ok(socket)
    }

    fn adopt(&mut self, fd: OwnedFd) -> std::io::Result<SocketId> {
        let raw = sys::raw(&fd);
        let socket = match self.sockets.insert(fd) {
            Ok(socket) => socket,
            Err(_closed_by_drop) => return Err(std::io::Error::from_raw_os_error(libc::ENFILE)),
        };
        if let Err(error) = self.ring.submitter().register_files_update(socket.0, &[raw]) {
            self.sockets.remove(socket);
            return Err(error);
        }
        Ok(socket)
    }

    /// Receives from a socket from the next turn on.
    pub fn start_receive(&mut self, socket: SocketId) {
        let Some(slot) = self.sockets.get_mut(socket) else { return };
        match slot.receive {
            Receive::Off if !slot.closing => {
                slot.receive = Receive::Wanted;
                self.rearm.push(socket);
            }
            Receive::Stopping => slot.receive = Receive::Restarting,
            Receive::Off | Receive::Wanted | Receive::Armed | Receive::Restarting => {}
        }
    }

    /// Stops receiving; bytes that already arrived may still come as events.
    pub fn stop_receive(&mut self, socket: SocketId) {
        let Some(slot) = self.sockets.get_mut(socket) else { return };
        match slot.receive {
            Receive::Wanted => slot.receive = Receive::Off,
            Receive::Armed => {
                slot.receive = Receive::Stopping;
                self.cancel(key(KIND_RECEIVE, socket.0));
            }
            Receive::Restarting => slot.receive = Receive::Stopping,
            Receive::Off | Receive::Stopping => {}
        }
    }

    /// Sends all of `bytes`; one send per socket at a time. The buffer comes back with `Event::Sent`.
    pub fn send(&mut self, socket: SocketId, bytes: Vec<u8>) {
        let slot = self.sockets.get_mut(socket).expect("a send names an open socket");
        assert!(slot.sending.is_none(), "one send per socket at a time");
        assert!(!bytes.is_empty(), "an empty send would say nothing");
        slot.sending = Some(Sending { bytes, sent: 0 });
        self.push_send(socket);
    }

    fn push_send(&mut self, socket: SocketId) {
        let slot = self.sockets.get_mut(socket).expect("sending keeps the slot");
        let sending = slot.sending.as_ref().expect("there is a buffer to send");
        let rest = &sending.bytes[sending.sent..];
        let len = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(types::Fixed(socket.0), rest.as_ptr(), len)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build();
        self.push(entry, key(KIND_SEND, socket.0));
    }

    /// Closes a socket. What is in flight completes first; then comes `Event::Released`, and nothing else before it.
    pub fn close(&mut self, socket: SocketId) {
        let Some(slot) = self.sockets.get_mut(socket) else { return };
        if slot.closing {
            return;
        }
        slot.closing = true;
        sys::shut_down(sys::raw(&slot.fd));
        let receiving = match slot.receive {
            Receive::Armed | Receive::Stopping | Receive::Restarting => true,
            Receive::Off | Receive::Wanted => false,
        };
        let (sending, connecting) = (slot.sending.is_some(), slot.connecting.is_some());
        slot.receive = if receiving { Receive::Stopping } else { Receive::Off };
        if receiving {
            self.cancel(key(KIND_RECEIVE, socket.0));
        }
        if sending {
            self.cancel(key(KIND_SEND, socket.0));
        }
        if connecting {
            self.cancel(key(KIND_CONNECT, socket.0));
        }
        self.release_if_idle(socket);
    }

    fn release_if_idle(&mut self, socket: SocketId) {
        let Some(slot) = self.sockets.get_mut(socket) else { return };
        if !slot.closing || slot.is_busy() {
            return;
        }
        // Pending submissions that name the slot are flushed first: the slot number is about to be reused.
        let result = self.ring.submitter().register_files_update(socket.0, &[-1]);
        assert!(result.is_ok(), "emptying a registered slot cannot fail: {result:?}");
        self.sockets.remove(socket);
        self.events.push(Event::Released { socket });
    }

    fn cancel(&mut self, user_data: u64) {
        let entry = opcode::AsyncCancel::new(user_data).build();
        self.push(entry, key(KIND_IGNORED, 0));
    }

    // ---- files ----

    /// Takes a file over; it is closed by `drop_file`.
    pub fn open_file(&mut self, file: std::fs::File) -> FileId {
        self.files.insert(file.into())
    }

    /// Closes a file after its last operation.
    pub fn drop_file(&mut self, file: FileId) {
        self.files.drop_file(file);
    }

    /// Whether `write` can take a `WriteFrom::Copy` now.
    pub fn has_scratch(&self) -> bool {
        self.scratch.free_count() > 0
    }

    /// Writes whole blocks at `position` of the file.
    pub fn write(
        &mut self,
        file: FileId,
        from: WriteFrom<'_>,
        position: u64,
        mode: WriteMode,
        tag: u64,
    ) {
        let (from, len, buffer_index, scratch) = match from {
            WriteFrom::Window { window, position, len } => {
                let window = &self.windows[window];
                let (start, contiguous) = window.memory.locate(position);
                assert!(len <= contiguous, "a write does not wrap around the window");
                (start, len, window.buffer_index, None)
            }
            WriteFrom::Zeros(len) => (self.zeros.slice(0, len).as_ptr(), len, None, None),
            WriteFrom::Copy(bytes) => {
                assert!(!bytes.is_empty() && bytes.len() <= BLOCK_BYTES, "at most one block");
                let block = self.scratch.take().expect("the caller asked has_scratch");
                let target = self.scratch.bytes_mut(block);
                target[..bytes.len()].copy_from_slice(bytes);
                target[bytes.len()..].fill(0);
                let index = self.scratch_registered.then_some(BUFFER_SCRATCH);
                (self.scratch.bytes(block).as_ptr(), BLOCK_BYTES, index, Some(block))
            }
        };
        assert!(len > 0 && len.is_multiple_of(BLOCK_BYTES), "direct writes are whole blocks");
        let len = u32::try_from(len).expect("a write is far below 4 GiB");
        self.files.begin(file);
        let op = FileOp::Write { file, from, buffer_index, len, position, mode, scratch, tag };
        self.submit_file_op(op);
    }

    /// Reads up to `buffer.len()` bytes from `position` without blocking the turn.
    pub fn read(&mut self, file: FileId, buffer: Vec<u8>, position: u64, tag: u64) {
        assert!(!buffer.is_empty(), "a read has room");
        self.files.begin(file);
        self.submit_file_op(FileOp::Read { file, buffer, filled: 0, position, tag });
    }

    /// Makes all completed writes of the file durable (fdatasync).
    pub fn sync(&mut self, file: FileId, tag: u64) {
        self.files.begin(file);
        self.submit_file_op(FileOp::Sync { file, tag });
    }

    fn submit_file_op(&mut self, op: FileOp) {
        let at = match self.file_ops_free.pop() {
            Some(at) => at,
            None => {
                self.file_ops.push(None);
                u32::try_from(self.file_ops.len() - 1).expect("bounded by the planners")
            }
        };
        self.file_ops[at as usize] = Some(op);
        self.push_file_op(at);
    }

    fn push_file_op(&mut self, at: u32) {
        let op = self.file_ops[at as usize].as_mut().expect("the operation is in the table");
        let fd = types::Fd(self.files.raw(op.file()));
        let entry = match op {
            FileOp::Write { from, buffer_index, len, position, mode, .. } => {
                let flags = if mode.durable { libc::RWF_DSYNC } else { 0 };
                let entry = match buffer_index {
                    Some(index) => opcode::WriteFixed::new(fd, *from, *len, *index)
                        .offset(*position)
                        .rw_flags(flags)
                        .build(),
                    None => opcode::Write::new(fd, *from, *len)
                        .offset(*position)
                        .rw_flags(flags)
                        .build(),
                };
                if mode.by_worker { entry.flags(squeue::Flags::ASYNC) } else { entry }
            }
            FileOp::Read { buffer, filled, position, .. } => {
                let rest = &mut buffer[*filled..];
                let len = u32::try_from(rest.len()).unwrap_or(u32::MAX);
                let offset = *position + *filled as u64;
                let entry = opcode::Read::new(fd, rest.as_mut_ptr(), len).offset(offset).build();
                entry.flags(squeue::Flags::ASYNC)
            }
            FileOp::Sync { .. } => {
                opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build()
            }
        };
        self.push(entry, key(KIND_FILE, at));
    }

    // ---- the loop ----

    /// Makes sure a completion arrives no later than `deadline`. Used before sleeping.
    pub fn set_timer(&mut self, deadline: MonoNs) {
        if self.timer.armed.is_some_and(|armed| armed <= deadline) {
            return;
        }
        let (seconds, rest) = (deadline.0 / 1_000_000_000, deadline.0 % 1_000_000_000);
        let rest = u32::try_from(rest).expect("below one billion");
        *self.timer.spec = types::Timespec::new().sec(seconds).nsec(rest);
        let spec: *const types::Timespec = &raw const *self.timer.spec;
        let entry = if self.timer.armed.is_some() {
            opcode::TimeoutUpdate::new(key(KIND_TIMER, 0), spec)
                .flags(types::TimeoutFlags::ABS)
                .build()
                .user_data(key(KIND_IGNORED, 0))
        } else {
            opcode::Timeout::new(spec).flags(types::TimeoutFlags::ABS).build()
        };
        let user_data = if self.timer.armed.is_some() { KIND_IGNORED } else { KIND_TIMER };
        self.timer.armed = Some(deadline);
        self.push(entry, key(user_data, 0));
        // The kernel copies the time when it takes the submission, so the box may change afterwards.
        self.submit();
    }

    /// Wakes a sleeping peer shard.
    pub(crate) fn wake_peer(&mut self, ring_fd: RawFd) {
        let target = types::Fd(ring_fd);
        let entry = opcode::MsgRingData::new(target, 0, key(KIND_WAKE, 0), None).build();
        self.push(entry, key(KIND_IGNORED, 0));
    }

    /// Submits what was asked, runs the kernel's deferred work, and fills `events` (cleared first).
    pub fn turn(&mut self, now: MonoNs, events: &mut Vec<Event>) {
        self.arm(now);
        self.receive.publish();
        self.enter();
        // Releases up to here are in front of whatever is accepted now.
        self.sockets.rested();
        self.reap(now);
        events.clear();
        std::mem::swap(events, &mut self.events);
    }

    /// Whether something was pushed and not yet submitted, or completions wait.
    pub fn has_work(&mut self) -> bool {
        self.pending > 0
            || !self.rearm.is_empty()
            || !self.events.is_empty()
            || !self.ring.completion().is_empty()
            || self.ring.submission().taskrun()
            || self.ring.submission().cq_overflow()
            || !self.wake_armed
    }

    /// Blocks the thread until a completion waits. For a thread that has nothing else to run; nothing may be pending.
    pub fn wait(&mut self) {
        const GETEVENTS: u32 = 1;
        // `IORING_ENTER_NO_IOWAIT` (Linux 6.15): waiting for clients is idleness, not disk wait.
        const NO_IOWAIT: u32 = 1 << 7;
        let flags = if self.waits_are_idle { GETEVENTS | NO_IOWAIT } else { GETEVENTS };
        // SAFETY: no argument structure is passed.
        let result = unsafe { self.ring.submitter().enter::<libc::sigset_t>(0, 1, flags, None) };
        match result {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) && self.waits_are_idle => {
                self.waits_are_idle = false;
            }
            Err(e) => assert!(is_transient(&e), "io_uring_enter failed: {e}"),
        }
    }

    fn arm(&mut self, now: MonoNs) {
        if !self.wake_armed {
            self.wake_armed = true;
            let fd = types::Fd(self.wake_fd.as_raw_fd());
            let readable = u32::try_from(libc::POLLIN).expect("a small flag");
            let entry = opcode::PollAdd::new(fd, readable).multi(true).build();
            self.push(entry, key(KIND_SIGNAL, 0));
        }
        for at in 0..self.listeners.len() {
            let listener = &mut self.listeners[at];
            if listener.wanted && !listener.armed && listener.retry_at <= now {
                listener.armed = true;
                let fd = types::Fd(listener.socket.as_raw_fd());
                let flags = libc::SOCK_CLOEXEC;
                let entry = opcode::AcceptMulti::new(fd).flags(flags).build();
                self.push(entry, key(KIND_ACCEPT, u32::try_from(at).expect("few listeners")));
            }
        }
        for at in 0..self.rearm.len() {
            let socket = self.rearm[at];
            let Some(slot) = self.sockets.get_mut(socket) else { continue };
            if slot.receive == Receive::Wanted && !slot.closing {
                slot.receive = Receive::Armed;
                let entry = opcode::RecvMulti::new(types::Fixed(socket.0), GROUP).build();
                self.push(entry, key(KIND_RECEIVE, socket.0));
            }
        }
        self.rearm.clear();
    }

    fn push(&mut self, entry: squeue::Entry, user_data: u64) {
        let entry = entry.user_data(user_data);
        loop {
            // SAFETY: every pointer in `entry` is owned by the reactor until the completion (see the callers).
            let pushed = unsafe { self.ring.submission().push(&entry) };
            if pushed.is_ok() {
                self.pending += 1;
                return;
            }
            self.submit();
        }
    }

    fn submit(&mut self) {
        if let Err(e) = self.ring.submit() {
            assert!(is_transient(&e), "io_uring_enter failed: {e}");
        }
        // The kernel may take fewer than it was offered.
        self.pending = self.ring.submission().len();
    }

    fn enter(&mut self) {
        let to_submit = u32::try_from(self.ring.submission().len()).expect("a ring is small");
        let deferred = self.ring.submission().taskrun() || self.ring.submission().cq_overflow();
        if to_submit == 0 && !deferred {
            return;
        }
        const GETEVENTS: u32 = 1;
        // SAFETY: no argument structure is passed; the submission queue was synchronised by `submission()`.
        let result =
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(to_submit, 0, GETEVENTS, None) };
        if let Err(e) = result {
            assert!(is_transient(&e), "io_uring_enter failed: {e}");
        }
        self.pending = self.ring.submission().len();
    }

    fn reap(&mut self, now: MonoNs) {
        loop {
            let Some(entry) = self.ring.completion().next() else { return };
            let (kind, index) = unkey(entry.user_data());
            let (result, flags) = (entry.result(), entry.flags());
            match kind {
                KIND_ACCEPT => self.on_accept(index, result, flags, now),
                KIND_RECEIVE => self.on_receive(SocketId(index), result, flags),
                KIND_SEND => self.on_send(SocketId(index), result),
                KIND_CONNECT => self.on_connect(SocketId(index), result),
                KIND_FILE => self.on_file(index, result),
                KIND_TIMER => self.timer.armed = None,
                KIND_SIGNAL => {
                    self.wake_armed = cqueue::more(flags);
                    sys::event_clear(self.wake_fd.as_raw_fd());
                }
                KIND_WAKE | KIND_IGNORED => {}
                other => unreachable!("completion of unknown kind {other}"),
            }
        }
    }

    fn on_accept(&mut self, index: u32, result: i32, flags: u32, now: MonoNs) {
        let listener = &mut self.listeners[index as usize];
        let tag = listener.tag;
        if !cqueue::more(flags) {
            listener.armed = false;
        }
        if result >= 0 {
            // SAFETY: the kernel just made this descriptor for us.
            let fd = unsafe { OwnedFd::from_raw_fd(result) };
            let peer = sys::peer_address(&socket2::SockRef::from(&fd));
            // A peer that is gone already has no address: the connection is closed by dropping it.
            let Some(peer) = peer else { return };
            match self.adopt(fd) {
                Ok(socket) => {
                    self.table_full = false;
                    self.events.push(Event::Accepted { listener: tag, socket, peer });
                }
                Err(error) if !self.table_full => {
                    self.table_full = true;
                    let error = error.raw_os_error().unwrap_or(EINVAL);
                    self.events.push(Event::AcceptFailed { listener: tag, error });
                }
                Err(_) => {}
            }
            return;
        }
        let error = -result;
        if error != libc::ECANCELED && error != libc::ECONNABORTED {
            self.listeners[index as usize].retry_at = now.plus_ms(ACCEPT_PAUSE_MS);
            self.events.push(Event::AcceptFailed { listener: tag, error });
        }
    }

    fn on_receive(&mut self, socket: SocketId, result: i32, flags: u32) {
        let more = cqueue::more(flags);
        let buffer = cqueue::buffer_select(flags).map(BufferId);
        let slot = self.sockets.get_mut(socket).expect("an armed receive keeps the slot");
        let closing = slot.closing;
        let mut ended = None;
        if !more {
            let wanted = slot.receive == Receive::Armed || slot.receive == Receive::Restarting;
            let again = result > 0 || result == -libc::ENOBUFS || result == -libc::ECANCELED;
            slot.receive = if wanted && again { Receive::Wanted } else { Receive::Off };
            if slot.receive == Receive::Wanted {
                self.rearm.push(socket);
            }
            if !again {
                ended = Some((result < 0).then_some(-result));
            }
        }
        match (buffer, usize::try_from(result)) {
            (Some(buffer), Ok(len)) if len > 0 && !closing => {
                self.events.push(Event::Received { socket, buffer, len });
            }
            (Some(buffer), _) => self.receive.give(buffer),
            (None, _) => {}
        }
        if let (Some(error), false) = (ended, closing) {
            self.events.push(Event::Ended { socket, error });
        }
        self.release_if_idle(socket);
    }

    fn on_send(&mut self, socket: SocketId, result: i32) {
        let slot = self.sockets.get_mut(socket).expect("sending keeps the slot");
        let sending = slot.sending.as_mut().expect("a send completes once");
        let mut error = (result < 0).then_some(-result);
        if let Ok(sent) = usize::try_from(result) {
            sending.sent += sent;
            if sending.sent < sending.bytes.len() {
                if sent > 0 && !slot.closing {
                    self.push_send(socket);
                    return;
                }
                error = Some(libc::EPIPE);
            }
        }
        let sending = slot.sending.take().expect("checked above");
        if !slot.closing {
            self.events.push(Event::Sent { socket, buffer: sending.bytes, error });
        }
        self.release_if_idle(socket);
    }

    fn on_connect(&mut self, socket: SocketId, result: i32) {
        let slot = self.sockets.get_mut(socket).expect("connecting keeps the slot");
        slot.connecting = None;
        let closing = slot.closing;
        if !closing {
            let error = (result < 0).then_some(-result);
            self.events.push(Event::Connected { socket, error });
        }
        self.release_if_idle(socket);
    }

    fn on_file(&mut self, at: u32, result: i32) {
        let op = self.file_ops[at as usize].as_mut().expect("a file operation completes once");
        let done = usize::try_from(result).unwrap_or(0);
        match op {
            FileOp::Write { from, len, position, .. } if result > 0 && done < *len as usize => {
                // A short direct write: go on behind what was written, still block-aligned.
                let step = done - done % BLOCK_BYTES;
                if step > 0 {
                    *from = from.wrapping_add(step);
                    *position += step as u64;
                    *len -= u32::try_from(step).expect("part of a u32 length");
                    self.push_file_op(at);
                    return;
                }
            }
            FileOp::Read { buffer, filled, .. } if result > 0 => {
                *filled += done;
                if *filled < buffer.len() {
                    self.push_file_op(at);
                    return;
                }
            }
            FileOp::Write { .. } | FileOp::Read { .. } | FileOp::Sync { .. } => {}
        }
        let op = self.file_ops[at as usize].take().expect("checked above");
        self.file_ops_free.push(at);
        self.files.end(op.file());
        self.finish_file(op, result);
    }

    fn finish_file(&mut self, op: FileOp, result: i32) {
        let error = (result < 0).then_some(-result);
        let event = match op {
            FileOp::Write { scratch, len, tag, .. } => {
                if let Some(block) = scratch {
                    self.scratch.give(block);
                }
                let short = error.is_none() && result.cast_unsigned() < len;
                Event::Wrote { tag, error: if short { Some(libc::EIO) } else { error } }
            }
            FileOp::Read { mut buffer, filled, tag, .. } => {
                buffer.truncate(filled);
                Event::Read { tag, buffer, error }
            }
            FileOp::Sync { tag, .. } => Event::Synced { tag, error },
        };
        self.events.push(event);
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // Closing a ring does not wait for the kernel's workers: what they may still read or fill stays mapped.
        if self.file_ops.iter().any(Option::is_some) {
            std::mem::forget(std::mem::take(&mut self.file_ops));
            std::mem::forget(std::mem::take(&mut self.windows));
            return;
        }
        // SAFETY: no operation names the blocks any more, and nothing uses them after this.
        unsafe { ManuallyDrop::drop(&mut self.scratch) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.zeros) };
    }
}

fn is_transient(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ETIME))
}

#[cfg(test)]
mod tests;
