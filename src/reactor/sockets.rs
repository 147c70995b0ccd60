//! The socket table: slots, generations, and what the kernel still does with each.
//!
//! Slot `i` is also entry `i` of the ring's registered files. A closed socket keeps its slot, its descriptor and
//! the buffer being sent until the last operation that names it has completed.

use socket2::SockAddr;
use std::os::fd::OwnedFd;

/// Slot of a socket on this shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SocketId(pub u32);

/// What the reactor knows of a socket.
pub(crate) struct Socket {
    pub(crate) fd: OwnedFd,
    pub(crate) receive: Receive,
    /// Buffer being sent; owned here until its completion.
    pub(crate) sending: Option<Sending>,
    /// Address of a connect in flight.
    pub(crate) connecting: Option<Box<SockAddr>>,
    pub(crate) closing: bool,
}

/// State of the multishot receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Receive {
    /// Not wanted and not armed.
    Off,
    /// Wanted, to be armed at the next submission.
    Wanted,
    /// Armed in the kernel.
    Armed,
    /// Armed, and a cancel is on its way.
    Stopping,
    /// As `Stopping`, but wanted again when the cancel has completed.
    Restarting,
}

pub(crate) struct Sending {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sent: usize,
}

impl Socket {
    /// Whether an operation in flight still names the slot.
    pub(crate) fn is_busy(&self) -> bool {
        let receiving = match self.receive {
            Receive::Off | Receive::Wanted => false,
            Receive::Armed | Receive::Stopping | Receive::Restarting => true,
        };
        receiving || self.sending.is_some() || self.connecting.is_some()
    }
}

/// Slots with a free list; bounded by the registered file table.
pub(crate) struct SocketTable {
    slots: Vec<Option<Socket>>,
    free: Vec<u32>,
    /// Free, but their release has not been told yet: a new socket in them would be taken for the old one.
    resting: Vec<u32>,
    limit: u32,
}

impl SocketTable {
    pub(crate) fn new(limit: u32) -> SocketTable {
        SocketTable { slots: Vec::new(), free: Vec::new(), resting: Vec::new(), limit }
    }

    /// A slot for `fd`, or the descriptor back when the table is full.
    pub(crate) fn insert(&mut self, fd: OwnedFd) -> Result<SocketId, OwnedFd> {
        let socket =
            Socket { fd, receive: Receive::Off, sending: None, connecting: None, closing: false };
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(socket);
            return Ok(SocketId(slot));
        }
        let slot = u32::try_from(self.slots.len()).expect("bounded by the limit");
        if slot >= self.limit {
            return Err(socket.fd);
        }
        self.slots.push(Some(socket));
        Ok(SocketId(slot))
    }

    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.slots.get_mut(id.0 as usize)?.as_mut()
    }

    /// Frees the slot, which is used again after `rested`, and closes the descriptor.
    pub(crate) fn remove(&mut self, id: SocketId) {
        let slot = self.slots.get_mut(id.0 as usize).and_then(Option::take);
        let socket = slot.expect("only an occupied slot is removed");
        assert!(!socket.is_busy(), "socket {} is removed while the kernel uses it", id.0);
        self.resting.push(id.0);
    }

    /// All releases up to now are told: their slots may be used again.
    pub(crate) fn rested(&mut self) {
        self.free.append(&mut self.resting);
    }

    pub(crate) fn open_count(&self) -> usize {
        self.slots.len() - self.free.len() - self.resting.len()
    }
}
