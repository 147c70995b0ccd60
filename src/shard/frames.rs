//! From received bytes to frames: whole frames are handled in place, only an incomplete rest is kept.

use crate::conns::INPUT_BYTES_MAX;
use wire::frame::{self, Frame, FrameError};

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

/// Moves bytes from `data` into `input` until the frame that begins it is complete; false: all bytes were taken.
///
/// Grows with what arrives, never with what is announced.
pub(crate) fn fill(input: &mut Vec<u8>, data: &mut &[u8]) -> Result<bool, InputError> {
    loop {
        let declared = frame::declared_bytes(input).map_err(InputError::Frame)?;
        let missing = declared.unwrap_or(4).saturating_sub(input.len());
        if declared.is_some() && missing == 0 {
            return Ok(true);
        }
        if data.is_empty() {
            return Ok(false);
        }
        let (now, later) = data.split_at(missing.min(data.len()));
        input.extend_from_slice(now);
        *data = later;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with an empty JSON header and `body` bytes of body.
    fn frame_of(body: usize) -> Vec<u8> {
        let length = u32::try_from(4 + 2 + body).unwrap();
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 2, b'{', b'}']);
        bytes.resize(4 + length as usize, 7);
        bytes
    }

    #[test]
    fn a_frame_fills_byte_by_byte_and_takes_no_more_than_its_own() {
        let whole = frame_of(20);
        let mut input = Vec::new();
        for byte in &whole[..whole.len() - 1] {
            assert!(!fill(&mut input, &mut std::slice::from_ref(byte)).unwrap());
        }
        let mut rest: &[u8] = &[7, 1, 2];
        assert!(fill(&mut input, &mut rest).unwrap());
        assert_eq!((input, rest), (whole, &[1u8, 2][..]));
    }

    #[test]
    fn an_absurd_length_is_an_error_before_anything_is_kept_for_it() {
        let mut input = Vec::new();
        assert!(fill(&mut input, &mut &[0x7f, 0xff, 0xff, 0xff, 0][..]).is_err());
        assert!(input.capacity() < 1024);
    }
}
