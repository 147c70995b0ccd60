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
    let budget = INPUT_BYTES_MAX - conns.input_bytes.min(INPUT_BYTES_MAX);
    let Some(conn) = conns.get(id) else { return Ok(None) };
    if conn.input.is_empty() {
        return Ok(Some(Step::Direct));
    }
    let before = conn.input.len();
    let mut complete = false;
    while !data.is_empty() && !complete {
        let declared = frame::declared_bytes(&conn.input).map_err(InputError::Frame)?;
        let want = declared.unwrap_or(4) - conn.input.len();
        let (now, later) = data.split_at(want.min(data.len()));
        conn.input.extend_from_slice(now);
        *data = later;
        let declared = frame::declared_bytes(&conn.input).map_err(InputError::Frame)?;
        complete = declared == Some(conn.input.len());
    }
    let grown = conn.input.len() - before;
    if grown > budget {
        return Err(InputError::Budget);
    }
    if complete {
        let input = std::mem::take(&mut conn.input);
        conns.input_bytes -= before;
        return Ok(Some(Step::Assembled(input)));
    }
    conns.input_bytes += grown;
    Ok(None)
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
