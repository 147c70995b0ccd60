//! The connections of a shard: partial input, pending output, and the limits that keep one from hurting others.
//!
//! Input is buffered only while a frame is incomplete, and grows with what arrives, never with what is announced.
//! Output of a slow reader first pauses its requests, then costs it the connection; the more all readers together leave
//! unread, the sooner.

use crate::app::Peer;
use crate::frames::InputError;
use base::ids::{ConnId, ShardId};
use base::time::MonoNs;
use reactor::{Reactor, SocketId};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use wire::frame::FRAME_BYTES_MAX;

/// Unsent output above which a connection's requests are no longer read.
pub(crate) const OUTPUT_PAUSE_BYTES: usize = 1 << 20;
/// Unsent output above which the connection is closed.
pub(crate) const OUTPUT_BYTES_MAX: usize = 64 << 20;
/// Unsent output of all connections of a shard above which it is tight: then the next two count instead.
const OUTPUT_TIGHT_BYTES: usize = 64 << 20;
/// As `OUTPUT_PAUSE_BYTES`; what the kernel has not taken counts, too.
const TIGHT_PAUSE_BYTES: usize = 64 << 10;
/// As `OUTPUT_BYTES_MAX`: room for one answer of any size, behind another.
const TIGHT_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;
/// Frames of one connection that other shards may be handling: their answers are not in its output yet.
const HANDED_OVER_MAX: u32 = 32;
/// Held input above which a connection is not read.
const HELD_PAUSE_BYTES: usize = 256 << 10;
/// Bytes of incomplete frames of all connections of a shard.
pub(crate) const INPUT_BYTES_MAX: usize = 256 << 20;
/// Empty input buffers kept for whoever receives next: a connection owns one only while a frame is incomplete.
const INPUT_POOL_BUFFERS: usize = 32;
/// Input is kept in a buffer of at most this size, or twice as large as itself.
const INPUT_SLACK_BYTES: usize = 16 << 10;
/// A buffer larger than this is not kept for reuse.
const KEPT_BYTES_MAX: usize = 512 << 10;
/// Send buffers kept for reuse.
const POOL_BUFFERS: usize = 256;
/// What they hold together at most.
const POOL_BYTES_MAX: usize = 32 << 20;

pub(crate) struct Conn {
    generation: u32,
    pub(crate) state: ConnState,
    pub(crate) peer: Peer,
    pub(crate) socket: Option<SocketId>,
    /// The incomplete frame at the end of what was received; while `held`, whole frames too.
    input: Vec<u8>,
    output: Vec<u8>,
    /// Bytes that a send under way holds.
    in_flight: usize,
    /// Its part of `Conns::output_bytes`.
    counted: usize,
    sending: bool,
    dirty: bool,
    paused: bool,
    /// Frames wait in `input` until output has drained, or until the next turn.
    held: bool,
    /// Frames that other shards have not handled yet.
    pub(crate) handed_over: u32,
    pub(crate) last_active: MonoNs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ConnState {
    Free,
    /// Reserved for an outgoing connection that is not there yet.
    Connecting,
    Open,
    /// To be closed when its output is sent.
    Draining,
    /// The socket is being closed; the slot is free when it is released.
    Closing,
}

impl Conn {
    /// Unsent output, as far as it counts.
    fn unsent(&self, is_tight: bool) -> usize {
        if is_tight { self.output.len() + self.in_flight } else { self.output.len() }
    }

    /// Nothing more is to be received for now.
    fn must_pause(&self, is_tight: bool) -> bool {
        self.unsent(is_tight) > pause_bytes(is_tight)
            || self.held && self.input.len() > HELD_PAUSE_BYTES
    }

    /// Answers have gone: held frames may go on.
    fn is_drained(&self, is_tight: bool) -> bool {
        self.unsent(is_tight) <= pause_bytes(is_tight) / 2
            && self.handed_over <= handed_over_max(is_tight) / 2
    }
}

fn pause_bytes(is_tight: bool) -> usize {
    if is_tight { TIGHT_PAUSE_BYTES } else { OUTPUT_PAUSE_BYTES }
}

/// When it is tight, one at a time: other shards do not know how much waits.
fn handed_over_max(is_tight: bool) -> u32 {
    if is_tight { 1 } else { HANDED_OVER_MAX }
}

/// All connections of a shard.
pub(crate) struct Conns {
    me: ShardId,
    slots: Vec<Conn>,
    free: Vec<u32>,
    by_socket: Vec<u32>,
    dirty: Vec<u32>,
    void: Vec<u8>,
    pool: Vec<Vec<u8>>,
    pool_bytes: usize,
    pub(crate) scratch: Vec<u8>,
    input_bytes: usize,
    /// Unsent output of all, as it was counted last.
    output_bytes: usize,
    input_pool: Vec<Vec<u8>>,
    /// Held connections whose frames may go on.
    resumed: VecDeque<ConnId>,
}

const NO_CONN: u32 = u32::MAX;

impl Conns {
    pub(crate) fn new(me: ShardId) -> Conns {
        Conns {
            me,
            slots: Vec::new(),
            free: Vec::new(),
            by_socket: Vec::new(),
            dirty: Vec::new(),
            void: Vec::new(),
            pool: Vec::new(),
            pool_bytes: 0,
            scratch: Vec::new(),
            input_bytes: 0,
            output_bytes: 0,
            input_pool: Vec::new(),
            resumed: VecDeque::new(),
        }
    }

    fn take_slot(&mut self, peer: Peer) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Conn {
                generation: 0,
                state: ConnState::Free,
                peer,
                socket: None,
                input: Vec::new(),
                output: Vec::new(),
                in_flight: 0,
                counted: 0,
                sending: false,
                dirty: false,
                paused: false,
                held: false,
                handed_over: 0,
                last_active: MonoNs(0),
            });
            u32::try_from(self.slots.len() - 1).expect("bounded by descriptors")
        });
        let conn = &mut self.slots[at as usize];
        assert!(conn.state == ConnState::Free, "a slot is used once at a time");
        conn.generation = conn.generation.wrapping_add(1);
        conn.peer = peer;
        at
    }

    fn id(&self, slot: u32) -> ConnId {
        ConnId { shard: self.me, slot, generation: self.slots[slot as usize].generation }
    }

    /// A connection that is about to be opened from here.
    pub(crate) fn reserve_outgoing(&mut self, me: ShardId) -> ConnId {
        debug_assert_eq!(me, self.me);
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let slot = self.take_slot(Peer { listener: None, address });
        self.slots[slot as usize].state = ConnState::Connecting;
        self.id(slot)
    }

    /// Binds a socket to a reserved connection.
    pub(crate) fn bind(&mut self, conn: ConnId, socket: SocketId, address: SocketAddr) {
        self.map_socket(socket, conn.slot);
        let slot = &mut self.slots[conn.slot as usize];
        slot.socket = Some(socket);
        slot.peer.address = address;
    }

    /// An accepted socket.
    pub(crate) fn accept(&mut self, socket: SocketId, peer: Peer, now: MonoNs) -> ConnId {
        let slot = self.take_slot(peer);
        self.map_socket(socket, slot);
        let conn = &mut self.slots[slot as usize];
        conn.socket = Some(socket);
        conn.state = ConnState::Open;
        conn.last_active = now;
        self.id(slot)
    }

    fn map_socket(&mut self, socket: SocketId, slot: u32) {
        let at = socket.0 as usize;
        if self.by_socket.len() <= at {
            self.by_socket.resize(at + 1, NO_CONN);
        }
        self.by_socket[at] = slot;
    }

    /// A reserved connection is established.
    pub(crate) fn established(&mut self, conn: ConnId, now: MonoNs) {
        let slot = &mut self.slots[conn.slot as usize];
        slot.state = ConnState::Open;
        slot.last_active = now;
        if !slot.output.is_empty() {
            slot.dirty = true;
            self.dirty.push(conn.slot);
        }
    }

    /// A reserved connection never got a socket.
    pub(crate) fn abandon(&mut self, conn: ConnId) {
        self.free_slot(conn.slot);
    }

    pub(crate) fn of_socket(&self, socket: SocketId) -> Option<ConnId> {
        let slot = *self.by_socket.get(socket.0 as usize)?;
        (slot != NO_CONN).then(|| self.id(slot))
    }

    pub(crate) fn get(&mut self, conn: ConnId) -> Option<&mut Conn> {
        let slot = self.slots.get_mut(conn.slot as usize)?;
        let same = slot.generation == conn.generation && slot.state != ConnState::Free;
        same.then_some(slot)
    }

    /// Where output for a connection goes; a closed one's is thrown away.
    pub(crate) fn output(&mut self, conn: ConnId) -> &mut Vec<u8> {
        let slot = self.slots.get_mut(conn.slot as usize).filter(|s| {
            s.generation == conn.generation
                && matches!(s.state, ConnState::Open | ConnState::Connecting)
        });
        let Some(slot) = slot else {
            self.void.clear();
            return &mut self.void;
        };
        if !slot.dirty && slot.state == ConnState::Open {
            slot.dirty = true;
            self.dirty.push(conn.slot);
        }
        if slot.output.capacity() == 0 {
            slot.output = take_spare(&mut self.pool, &mut self.pool_bytes);
        }
        &mut slot.output
    }

    // ---- input ----

    /// Takes the buffered input of a connection out; an empty buffer with room when there is none.
    pub(crate) fn take_input(&mut self, conn: ConnId) -> Vec<u8> {
        let Some(slot) = self.get(conn) else { return Vec::new() };
        let input = std::mem::take(&mut slot.input);
        self.input_bytes -= input.len();
        if input.capacity() == 0 { self.input_pool.pop().unwrap_or_default() } else { input }
    }

    /// Puts input back; an empty buffer is for others. Errors: all connections hold too much together.
    pub(crate) fn put_input(&mut self, conn: ConnId, mut input: Vec<u8>) -> Result<(), InputError> {
        if input.is_empty() {
            let empty = std::mem::take(&mut input);
            if self.input_pool.len() < INPUT_POOL_BUFFERS && empty.capacity() <= KEPT_BYTES_MAX {
                self.input_pool.push(empty);
            }
        }
        // The beginning of a frame does not keep a large buffer of the pool to itself.
        if input.capacity() > INPUT_SLACK_BYTES.max(2 * input.len()) {
            let exact = input.as_slice().to_vec();
            input.clear();
            let large = std::mem::replace(&mut input, exact);
            if self.input_pool.len() < INPUT_POOL_BUFFERS && large.capacity() <= KEPT_BYTES_MAX {
                self.input_pool.push(large);
            }
        }
        let total = self.input_bytes + input.len();
        if total > INPUT_BYTES_MAX {
            return Err(InputError::Budget);
        }
        let Some(slot) = self.get(conn) else { return Ok(()) };
        assert!(slot.input.is_empty(), "input is taken before it is put back");
        slot.input = input;
        self.input_bytes = total;
        self.count_output(conn);
        Ok(())
    }

    /// Whether more frames of this connection may be handled now.
    pub(crate) fn takes_frames(&self, conn: ConnId) -> bool {
        let slot = self.slots.get(conn.slot as usize).filter(|s| s.generation == conn.generation);
        slot.is_some_and(|s| {
            s.state == ConnState::Open
                && s.unsent(self.is_tight()) <= pause_bytes(self.is_tight())
                && s.handed_over < handed_over_max(self.is_tight())
        })
    }

    /// Other shards have handled so many of the connection's frames.
    pub(crate) fn handled(&mut self, conn: ConnId, count: u32) {
        let Some(slot) = self.get(conn) else { return };
        slot.handed_over = slot.handed_over.saturating_sub(count);
        if slot.held || slot.paused {
            self.look_at(conn);
        }
    }

    /// Has the end of the turn look whether the connection may go on.
    fn look_at(&mut self, conn: ConnId) {
        let Some(slot) = self.get(conn).filter(|slot| !slot.dirty) else { return };
        slot.dirty = true;
        self.dirty.push(conn.slot);
    }

    /// Whether the connection's frames are held; then received bytes go to its input.
    pub(crate) fn is_held(&mut self, conn: ConnId) -> bool {
        self.get(conn).is_some_and(|slot| slot.held)
    }

    /// Holds the connection's frames: until its output has drained, or only until the next turn.
    pub(crate) fn hold(&mut self, conn: ConnId) {
        let drains = !self.takes_frames(conn);
        let Some(slot) = self.get(conn) else { return };
        if slot.held || slot.state != ConnState::Open {
            return;
        }
        slot.held = true;
        if !drains {
            self.resumed.push_back(conn);
        }
    }

    /// The held connection that may go on for the longest time.
    pub(crate) fn next_resumed(&mut self) -> Option<ConnId> {
        let conn = self.resumed.pop_front()?;
        if let Some(slot) = self.get(conn) {
            slot.held = false;
            self.look_at(conn);
        }
        Some(conn)
    }

    /// Whether `next_resumed` has something.
    pub(crate) fn has_resumed(&self) -> bool {
        !self.resumed.is_empty()
    }

    /// Whether a reply with a large body would add to output that is not being read.
    pub(crate) fn is_full(&self, conn: ConnId) -> bool {
        let slot = self.slots.get(conn.slot as usize).filter(|s| s.generation == conn.generation);
        slot.is_some_and(|s| s.unsent(self.is_tight()) > pause_bytes(self.is_tight()))
    }

    /// Counts what a connection's answers have added, before others of the same turn are handled.
    pub(crate) fn count_output(&mut self, conn: ConnId) {
        let Some(slot) = self.get(conn) else { return };
        let unsent = slot.unsent(true);
        let before = std::mem::replace(&mut slot.counted, unsent);
        self.output_bytes = self.output_bytes + unsent - before;
    }

    /// Whether all connections together leave so much unread that each may leave only little.
    fn is_tight(&self) -> bool {
        self.output_bytes > OUTPUT_TIGHT_BYTES
    }

    // ---- output ----

    /// Closes once the output is sent.
    pub(crate) fn close_after_output(&mut self, conn: ConnId) {
        let Some(slot) = self.get(conn) else { return };
        if slot.state == ConnState::Open {
            slot.state = ConnState::Draining;
            if !slot.dirty {
                slot.dirty = true;
                self.dirty.push(conn.slot);
            }
        }
    }

    /// Closes now; true when the application has to be told.
    pub(crate) fn close_now(&mut self, conn: ConnId, reactor: &mut Reactor) -> bool {
        let Some(slot) = self.get(conn) else { return false };
        let was_open = matches!(slot.state, ConnState::Open | ConnState::Draining);
        if slot.state == ConnState::Closing {
            return false;
        }
        slot.state = ConnState::Closing;
        let held = std::mem::take(&mut slot.input).len();
        slot.output = Vec::new();
        let socket = slot.socket;
        self.input_bytes -= held;
        match socket {
            Some(socket) => reactor.close(socket),
            None => self.free_slot(conn.slot),
        }
        was_open
    }

    /// A socket's slot is free: so is its connection's.
    pub(crate) fn released(&mut self, socket: SocketId) {
        let slot = std::mem::replace(&mut self.by_socket[socket.0 as usize], NO_CONN);
        assert!(slot != NO_CONN, "a released socket had a connection");
        self.free_slot(slot);
    }

    fn free_slot(&mut self, slot: u32) {
        let conn = &mut self.slots[slot as usize];
        conn.state = ConnState::Free;
        conn.socket = None;
        conn.sending = false;
        conn.paused = false;
        conn.held = false;
        conn.handed_over = 0;
        conn.output = Vec::new();
        conn.in_flight = 0;
        self.output_bytes -= std::mem::take(&mut conn.counted);
        self.free.push(slot);
    }

    /// An empty buffer, with room if there is one to reuse.
    pub(crate) fn spare(&mut self) -> Vec<u8> {
        take_spare(&mut self.pool, &mut self.pool_bytes)
    }

    /// Keeps a buffer for reuse, within limits.
    pub(crate) fn recycle(&mut self, mut buffer: Vec<u8>) {
        let useful = buffer.capacity() > 0 && buffer.capacity() <= KEPT_BYTES_MAX;
        let fits = self.pool_bytes + buffer.capacity() <= POOL_BYTES_MAX;
        if useful && fits && self.pool.len() < POOL_BUFFERS {
            buffer.clear();
            self.pool_bytes += buffer.capacity();
            self.pool.push(buffer);
        }
    }

    /// A send has completed.
    pub(crate) fn sent(&mut self, conn: ConnId, buffer: Vec<u8>, now: MonoNs) {
        self.recycle(buffer);
        let Some(slot) = self.get(conn) else { return };
        slot.sending = false;
        slot.in_flight = 0;
        slot.last_active = now;
        self.look_at(conn);
    }

    /// End of turn: one send per connection with output. Connections to be closed now go to `ended`.
    pub(crate) fn flush(&mut self, reactor: &mut Reactor, ended: &mut Vec<ConnId>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            let id = self.id(slot);
            self.count_output(id);
            let is_tight = self.is_tight();
            let conn = &mut self.slots[slot as usize];
            conn.dirty = false;
            if !matches!(conn.state, ConnState::Open | ConnState::Draining) {
                continue;
            }
            let socket = conn.socket.expect("an open connection has a socket");
            if !conn.sending && !conn.output.is_empty() {
                conn.in_flight = conn.output.len();
                reactor.send(socket, std::mem::take(&mut conn.output));
                conn.sending = true;
            }
            let bytes_max = if is_tight { TIGHT_BYTES_MAX } else { OUTPUT_BYTES_MAX };
            if conn.state == ConnState::Draining && !conn.sending {
                ended.push(id);
            } else if conn.output.len() > bytes_max {
                tracing::warn!(
                    "connection {} ({}) does not read: {} bytes wait, the limit is {bytes_max}; closed",
                    id,
                    conn.peer.address,
                    conn.output.len()
                );
                ended.push(id);
            } else if conn.must_pause(is_tight) && !conn.paused {
                conn.paused = true;
                reactor.stop_receive(socket);
            } else if conn.paused && !conn.must_pause(is_tight) && conn.is_drained(is_tight) {
                conn.paused = false;
                reactor.start_receive(socket);
            }
            if conn.held && conn.is_drained(is_tight) {
                self.resumed.push_back(id);
            }
        }
        self.dirty = dirty;
    }

    /// Whether some output is still on its way.
    pub(crate) fn has_output(&self) -> bool {
        self.slots.iter().any(|c| c.state != ConnState::Free && (c.sending || !c.output.is_empty()))
    }

    /// Ids of open connections that satisfy `want`.
    pub(crate) fn select(&self, want: impl Fn(&Conn) -> bool) -> Vec<ConnId> {
        (0u32..)
            .zip(&self.slots)
            .filter(|(_, c)| matches!(c.state, ConnState::Open | ConnState::Draining) && want(c))
            .map(|(slot, _)| self.id(slot))
            .collect()
    }
}

/// An empty buffer, with room if there is one to reuse.
fn take_spare(pool: &mut Vec<Vec<u8>>, pool_bytes: &mut usize) -> Vec<u8> {
    let buffer = pool.pop().unwrap_or_default();
    *pool_bytes -= buffer.capacity();
    buffer
}
