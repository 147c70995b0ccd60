//! Connections of the bare ring: frames out of bytes, replies in the order of the requests.
//!
//! Whole frames are stored straight from the receive buffer; a frame that two receives share is joined first. When
//! the window is full the bytes of a connection wait here, which a closed loop bounds.

use reactor::{Reactor, SocketId};
use std::collections::VecDeque;

/// Longest frame; a longer one is no client of ours.
const FRAME_BYTES_MAX: usize = 6 << 20;

struct Conn {
    socket: SocketId,
    input: Vec<u8>,
    output: Vec<u8>,
    spare: Vec<u8>,
    is_sending: bool,
    is_dirty: bool,
    is_stalled: bool,
}

/// All connections, by the number of their socket.
pub(super) struct Conns {
    list: Vec<Option<Conn>>,
    dirty: Vec<usize>,
    stalled: VecDeque<usize>,
    /// Log position and connection: answered once the position is acknowledged.
    waiting: VecDeque<(u64, usize)>,
    reply: Vec<u8>,
}

fn index(socket: SocketId) -> usize {
    usize::try_from(socket.0).expect("usize has at least 32 bits")
}

impl Conns {
    /// No connections; replies have `reply_bytes` bytes.
    pub(super) fn new(reply_bytes: usize) -> Conns {
        let length = u32::try_from(reply_bytes - 4).expect("checked by the arguments");
        let mut reply = vec![b'r'; reply_bytes];
        reply[..4].copy_from_slice(&length.to_be_bytes());
        let (dirty, stalled) = (Vec::new(), VecDeque::new());
        Conns { list: Vec::new(), dirty, stalled, waiting: VecDeque::new(), reply }
    }

    /// A connection was accepted.
    pub(super) fn open(&mut self, socket: SocketId) {
        let at = index(socket);
        if self.list.len() <= at {
            self.list.resize_with(at + 1, || None);
        }
        self.list[at] = Some(Conn {
            socket,
            input: Vec::new(),
            output: Vec::new(),
            spare: Vec::new(),
            is_sending: false,
            is_dirty: false,
            is_stalled: false,
        });
    }

    /// The connection of a socket.
    pub(super) fn of(&self, socket: SocketId) -> Option<usize> {
        let at = index(socket);
        self.list.get(at)?.as_ref().map(|_| at)
    }

    /// The socket is gone.
    pub(super) fn released(&mut self, socket: SocketId) {
        let at = index(socket);
        self.list[at] = None;
        // Another connection may get the number.
        self.waiting.retain(|(_, waiting)| *waiting != at);
        self.stalled.retain(|stalled| *stalled != at);
    }

    /// A send has completed.
    pub(super) fn sent(&mut self, socket: SocketId, mut buffer: Vec<u8>) {
        let at = index(socket);
        let Some(conn) = self.list.get_mut(at).and_then(Option::as_mut) else { return };
        buffer.clear();
        conn.spare = buffer;
        conn.is_sending = false;
        if !conn.output.is_empty() && !conn.is_dirty {
            conn.is_dirty = true;
            self.dirty.push(at);
        }
    }

    /// A connection whose bytes waited for room.
    pub(super) fn next_stalled(&mut self) -> Option<usize> {
        let at = self.stalled.pop_front()?;
        let conn = self.list[at].as_mut().expect("what is released does not wait");
        conn.is_stalled = false;
        Some(at)
    }

    /// Takes bytes of a connection. `put` stores a frame and tells its end in the log; with `at_once` the reply
    /// goes out at the end of the turn, otherwise when that end is acknowledged.
    pub(super) fn feed(
        &mut self,
        at: usize,
        mut bytes: &[u8],
        put: &mut dyn FnMut(&[u8]) -> Option<u64>,
        at_once: bool,
    ) {
        let Some(conn) = self.list[at].as_mut() else { return };
        if conn.is_stalled {
            conn.input.extend_from_slice(bytes);
            return;
        }
        let (mut is_full, mut used) = (false, 0);
        let input = std::mem::take(&mut conn.input);
        let mut joined = input;
        if !joined.is_empty() {
            // Completes the frame that has begun, without taking more than its own.
            while let Some(missing) = missing(&joined).filter(|_| !bytes.is_empty()) {
                let (now, later) = bytes.split_at(missing.min(bytes.len()));
                joined.extend_from_slice(now);
                bytes = later;
            }
            while let Some(frame) = whole(&joined[used..]) {
                let Some(end) = put(frame) else {
                    is_full = true;
                    break;
                };
                used += frame.len();
                self.stored(at, end, at_once);
            }
            joined.drain(..used);
        }
        if joined.is_empty() {
            while let Some(frame) = whole(bytes).filter(|_| !is_full) {
                match put(frame) {
                    Some(end) => {
                        bytes = &bytes[frame.len()..];
                        self.stored(at, end, at_once);
                    }
                    None => is_full = true,
                }
            }
        }
        joined.extend_from_slice(bytes);
        let conn = self.list[at].as_mut().expect("looked up above");
        conn.input = joined;
        if is_full {
            conn.is_stalled = true;
            self.stalled.push_back(at);
        }
    }

    fn stored(&mut self, at: usize, end: u64, at_once: bool) {
        if at_once {
            self.answer(at);
        } else {
            self.waiting.push_back((end, at));
        }
    }

    /// Answers what ends at or below a position of the log.
    pub(super) fn release(&mut self, acknowledged: u64) {
        while let Some((_, at)) = self.waiting.pop_front_if(|(end, _)| *end <= acknowledged) {
            self.answer(at);
        }
    }

    fn answer(&mut self, at: usize) {
        let conn = self.list[at].as_mut().expect("checked by the callers");
        conn.output.extend_from_slice(&self.reply);
        if !conn.is_dirty && !conn.is_sending {
            conn.is_dirty = true;
            self.dirty.push(at);
        }
    }

    /// Sends what is to be sent, in one send per connection.
    pub(super) fn flush(&mut self, reactor: &mut Reactor) {
        for at in self.dirty.drain(..) {
            let Some(conn) = self.list[at].as_mut() else { continue };
            conn.is_dirty = false;
            if conn.is_sending || conn.output.is_empty() {
                continue;
            }
            conn.is_sending = true;
            let next = std::mem::take(&mut conn.spare);
            reactor.send(conn.socket, std::mem::replace(&mut conn.output, next));
        }
    }
}

/// Bytes of the frame that begins here, its length word included; `None`: the word is not complete.
fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(*bytes.first_chunk::<4>()?);
    let length = usize::try_from(length).expect("usize has at least 32 bits");
    assert!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes: this is no perf client");
    Some(4 + length)
}

/// The first frame, when it is whole.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(..frame_bytes(bytes)?)
}

/// Bytes the first frame still lacks; `None`: it is whole.
fn missing(bytes: &[u8]) -> Option<usize> {
    let wanted = frame_bytes(bytes).unwrap_or(4);
    wanted.checked_sub(bytes.len()).filter(|missing| *missing > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, len];
        bytes.resize(4 + usize::from(len), len);
        bytes
    }

    /// Feeds one connection in pieces of `step`, with room for `room` frames at first.
    fn fed(step: usize, room: usize) -> Vec<usize> {
        let mut conns = Conns::new(10);
        conns.open(SocketId(1));
        let stream: Vec<u8> = [5, 0, 9, 100, 3].into_iter().flat_map(frame).collect();
        let mut seen: Vec<usize> = Vec::new();
        for piece in stream.chunks(step) {
            let mut put = |frame: &[u8]| {
                (seen.len() < room).then(|| {
                    seen.push(frame.len());
                    seen.len() as u64
                })
            };
            conns.feed(1, piece, &mut put, true);
        }
        while let Some(at) = conns.next_stalled() {
            let mut put = |frame: &[u8]| {
                seen.push(frame.len());
                Some(0)
            };
            conns.feed(at, &[], &mut put, true);
        }
        assert_eq!(conns.list[1].as_ref().unwrap().output.len(), 10 * seen.len());
        assert!(conns.list[1].as_ref().unwrap().input.is_empty());
        seen
    }

    #[test]
    fn frames_come_whole_whatever_the_pieces_and_also_after_a_full_window() {
        for step in [1, 3, 7, 50, 1000] {
            for room in [0, 1, 2, 9] {
                assert_eq!(fed(step, room), [9, 4, 13, 104, 7], "pieces of {step}, room {room}");
            }
        }
    }

    #[test]
    fn replies_wait_for_the_log() {
        let mut conns = Conns::new(10);
        conns.open(SocketId(0));
        let two = [frame(1), frame(1)].concat();
        let mut end = 0;
        let mut put = |_: &[u8]| {
            end += 100;
            Some(end)
        };
        conns.feed(0, &two, &mut put, false);
        conns.release(99);
        assert!(conns.list[0].as_ref().unwrap().output.is_empty());
        conns.release(100);
        assert_eq!(conns.list[0].as_ref().unwrap().output.len(), 10);
    }
}
