//! Frames: the length word, the header word, header bytes and body bytes. Java: `NettyDecoder`, `RemotingCommand.decode`.
//!
//! Invariants: nothing is read past the input; no length is trusted before it was compared with the limit.
//! Limit: `FRAME_BYTES_MAX` for the whole frame, its length word included, as Java's frame decoder counts.

use std::fmt;

/// Largest frame in bytes, the 4-byte length word included (Java's `frameMaxLength`).
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of the length word, and again of the header word.
const WORD_BYTES: usize = 4;

/// How the header of a frame is written: the top byte of the header word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SerializeType {
    /// A JSON object in fastjson's dialect.
    Json,
    /// RocketMQ's binary header.
    Rocketmq,
}

impl SerializeType {
    /// The byte on the wire.
    pub fn byte(self) -> u8 {
        match self {
            SerializeType::Json => 0,
            SerializeType::Rocketmq => 1,
        }
    }
}

/// One whole frame inside the input.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The whole frame with its length word.
    pub bytes: &'a [u8],
    /// How `header` is written.
    pub serialize: SerializeType,
    /// The header, undecoded.
    pub header: &'a [u8],
    /// The body; empty when there is none.
    pub body: &'a [u8],
}

/// Why bytes cannot be a frame. Every case ends the connection, as in Java.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// The length word does not even cover the header word (or is negative).
    TooShort {
        /// The length word as a signed number, as Java reads it.
        length: i32,
    },
    /// The frame would be larger than `FRAME_BYTES_MAX`.
    TooLong {
        /// The length word.
        length: i32,
    },
    /// The header word names more header bytes than the frame has.
    HeaderTooLong {
        /// Header bytes as declared.
        header_bytes: usize,
        /// The length word.
        length: usize,
    },
    /// The serialize type is neither 0 (JSON) nor 1 (ROCKETMQ).
    UnknownSerializeType {
        /// The byte that was found.
        byte: u8,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooShort { length } => {
                write!(f, "the frame length {length} is below the least of {WORD_BYTES}")
            }
            FrameError::TooLong { length } => write!(
                f,
                "the frame length {length} plus {WORD_BYTES} is above the limit of {FRAME_BYTES_MAX} bytes"
            ),
            FrameError::HeaderTooLong { header_bytes, length } => {
                write!(f, "the header length {header_bytes} does not fit the frame length {length}")
            }
            FrameError::UnknownSerializeType { byte } => {
                write!(f, "the serialize type {byte} is neither 0 (JSON) nor 1 (ROCKETMQ)")
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// The total length in bytes of the frame that starts `input`, its length word included.
///
/// `None` when fewer than 4 bytes are there.
pub fn declared_bytes(input: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(word) = input.first_chunk::<WORD_BYTES>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*word);
    let Ok(unsigned) = usize::try_from(length) else {
        return Err(FrameError::TooShort { length });
    };
    if unsigned < WORD_BYTES {
        return Err(FrameError::TooShort { length });
    }
    if unsigned > FRAME_BYTES_MAX - WORD_BYTES {
        return Err(FrameError::TooLong { length });
    }
    Ok(Some(unsigned + WORD_BYTES))
}

/// Cuts the first frame off `input`: the frame and the bytes it used. `Ok(None)` when it is incomplete.
pub fn split(input: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some(total) = declared_bytes(input)? else {
        return Ok(None);
    };
    let Some(bytes) = input.get(..total) else {
        // A wrong serialize type is known early; a peer that speaks another protocol is not waited for.
        if let Some(&byte) = input.get(WORD_BYTES) {
            serialize_type(byte)?;
        }
        return Ok(None);
    };
    let content = &bytes[WORD_BYTES..];
    let Some((word, rest)) = content.split_first_chunk::<WORD_BYTES>() else {
        return Ok(None);
    };
    let [kind, high, middle, low] = *word;
    let serialize = serialize_type(kind)?;
    let header_bytes = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    if header_bytes > rest.len() {
        return Err(FrameError::HeaderTooLong { header_bytes, length: content.len() });
    }
    let (header, body) = rest.split_at(header_bytes);
    Ok(Some((Frame { bytes, serialize, header, body }, total)))
}

fn serialize_type(byte: u8) -> Result<SerializeType, FrameError> {
    match byte {
        0 => Ok(SerializeType::Json),
        1 => Ok(SerializeType::Rocketmq),
        _ => Err(FrameError::UnknownSerializeType { byte }),
    }
}

#[cfg(test)]
mod tests;
