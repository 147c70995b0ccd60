//! From received bytes to frames: whole frames are handled in place, the rest waits in the connection's input.

use crate::conns::{Conns, INPUT_BYTES_MAX};
use base::ids::ConnId;
use wire::frame::{self, Frame, FrameError};

/// Input capacity kept by an idle connection.
const INPUT_KEPT_BYTES: usize = 16 << 10;

/// Why a connection's input ends it.
#[derive(Debug)]
pub(crate) enum InputError {
    /// Not a frame.
    Frame(FrameError),
    /// All connections together hold too many bytes of incomplete frames.
    Budget,
}

impl std::fmt::Display for InputError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            InputError::Frame(error) => error.fmt(f),
            InputError::Budget => write!(
                f,
                "incomplete frames of all connections of this shard exceed {INPUT_BYTES_MAX} bytes"
            ),
        }
    }
}

/// A step through received bytes.
pub(crate) enum Step {
    /// The connection's own input buffer now holds one whole frame; put it back with `done`.
    Assembled(Vec<u8>),
    /// Continue with whole frames at the start of the rest.
    Direct,
}

/// Moves bytes from `data` into the connection's input until its frame is complete. `None`: all bytes taken.
pub(crate) fn assemble(
    conns: &mut Conns,
    id: ConnId,
    data: &mut &[u8],
) -> Result<Option<Step>, InputError> {
    let budget = INPUT_BYTES_MAX.saturating_sub(conns.input_bytes);
    let Some(conn) = conns.get(id) else { return Ok(None) };
    if conn.input.is_empty() {
        return Ok(Some(Step::Direct));
    }
    let before = conn.input.len();
    let filled = fill(&mut conn.input, data);
    let grown = conn.input.len() - before;
    // Counted even when it ends the connection: closing takes off what the connection holds.
    conns.input_bytes += grown;
    if grown > budget {
        return Err(InputError::Budget);
    }
    if !filled.map_err(InputError::Frame)? {
        return Ok(None);
    }
    Ok(conns.take_input(id).map(Step::Assembled))
}

/// Moves bytes until `input` is one whole frame, which is `true`.
fn fill(input: &mut Vec<u8>, data: &mut &[u8]) -> Result<bool, FrameError> {
    while !data.is_empty() {
        let declared = frame::declared_bytes(input)?;
        let want = declared.unwrap_or(4) - input.len();
        let (now, later) = data.split_at(want.min(data.len()));
        input.extend_from_slice(now);
        *data = later;
        if frame::declared_bytes(input)? == Some(input.len()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gives the input buffer back after its frame was handled.
pub(crate) fn done(conns: &mut Conns, id: ConnId, mut input: Vec<u8>) {
    let Some(conn) = conns.get(id) else { return };
    if conn.input.is_empty() && input.capacity() <= INPUT_KEPT_BYTES {
        input.clear();
        conn.input = input;
    }
}

/// The next whole frame of `data`; `None` when the rest is incomplete.
pub(crate) fn next<'d>(data: &mut &'d [u8]) -> Result<Option<Frame<'d>>, InputError> {
    match frame::split(data).map_err(InputError::Frame)? {
        Some((frame, used)) => {
            *data = data.get(used..).unwrap_or_default();
            Ok(Some(frame))
        }
        None => Ok(None),
    }
}

/// Keeps whole frames too: they wait until the connection's output has gone.
pub(crate) fn hold(conns: &mut Conns, id: ConnId, rest: &[u8]) -> Result<(), InputError> {
    keep(conns, id, rest)?;
    if let Some(conn) = conns.get(id).filter(|_| !rest.is_empty()) {
        conn.is_held = true;
    }
    Ok(())
}

/// Keeps the incomplete rest.
pub(crate) fn keep(conns: &mut Conns, id: ConnId, rest: &[u8]) -> Result<(), InputError> {
    if rest.is_empty() {
        return Ok(());
    }
    if conns.input_bytes + rest.len() > INPUT_BYTES_MAX {
        return Err(InputError::Budget);
    }
    if let Some(conn) = conns.get(id) {
        conn.input.extend_from_slice(rest);
        conns.input_bytes += rest.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Peer;
    use base::time::MonoNs;
    use reactor::SocketId;

    fn connected() -> (Conns, ConnId) {
        let mut conns = Conns::new(base::ids::ShardId(0));
        let peer = Peer { listener: None, address: "127.0.0.1:1".parse().unwrap() };
        let id = conns.accept(SocketId(0), peer, MonoNs(0));
        (conns, id)
    }

    fn held_bytes(conns: &mut Conns, id: ConnId) -> usize {
        conns.get(id).unwrap().input.len()
    }

    #[test]
    fn what_a_connection_holds_is_counted_also_when_it_ends() {
        let (mut conns, id) = connected();
        keep(&mut conns, id, &[0xFF, 0xFF]).unwrap();
        let mut data: &[u8] = &[0xFF, 0xFF, 1, 2];
        let error = assemble(&mut conns, id, &mut data).err().expect("a negative length");
        assert!(matches!(error, InputError::Frame(_)));
        assert_eq!((conns.input_bytes, held_bytes(&mut conns, id)), (4, 4));
    }

    #[test]
    fn a_frame_in_pieces_is_whole_and_nothing_stays_counted() {
        let (mut conns, id) = connected();
        keep(&mut conns, id, &[0, 0]).unwrap();
        let mut data: &[u8] = &[0, 6, 0, 0];
        assert!(assemble(&mut conns, id, &mut data).unwrap().is_none());
        assert_eq!(conns.input_bytes, 6);
        let mut data: &[u8] = &[0, 0, 7, 8, 9];
        let Ok(Some(Step::Assembled(input))) = assemble(&mut conns, id, &mut data) else {
            panic!("not whole")
        };
        assert_eq!((input.as_slice(), data), (&[0, 0, 0, 6, 0, 0, 0, 0, 7, 8][..], &[9][..]));
        assert_eq!(conns.input_bytes, 0);
    }

    #[test]
    fn a_budget_that_is_used_up_ends_the_connection() {
        let (mut conns, id) = connected();
        keep(&mut conns, id, &[0]).unwrap();
        conns.input_bytes = INPUT_BYTES_MAX;
        let mut data: &[u8] = &[0];
        assert!(matches!(assemble(&mut conns, id, &mut data), Err(InputError::Budget)));
        assert!(matches!(keep(&mut conns, id, &[1]), Err(InputError::Budget)));
    }
}
