//! Reads answers as they arrive, in any pieces, without decoding more than the load needs.
//!
//! Bodies are not collected: of each record only its first bytes are looked at, the rest is counted and skipped.
//! Only a unit (header, record start) that is split over two receives is copied.

use super::stamp::STAMP_BYTES;
use wire::header::FLAG_RESPONSE;
use wire::{Frame, Header, SerializeType};

/// Bytes of a record that are shown: up to the stamp in the body, with IPv6 hosts.
pub(super) const RECORD_PREFIX_BYTES: usize = 88 + 24 + STAMP_BYTES;
/// Least bytes a record has.
const RECORD_BYTES_MIN: usize = 91;
/// Length word and header word.
const WORDS_BYTES: usize = 8;

/// What an answer says before its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    /// Encoding of the header.
    pub(super) serialize: SerializeType,
    /// The header, undecoded.
    pub(super) header: &'a [u8],
    /// Response code.
    pub(super) code: i32,
    /// Id of the request.
    pub(super) opaque: i32,
}

impl<'a> Answer<'a> {
    /// Reads code and opaque; `None` for a request of the server. The error says what is wrong.
    fn read(serialize: SerializeType, header: &'a [u8]) -> Result<Option<Answer<'a>>, String> {
        let fast = match serialize {
            SerializeType::Json => quick_json(header),
            SerializeType::Rocketmq => quick_binary(header),
        };
        if let Some((code, opaque)) = fast {
            return Ok(Some(Answer { serialize, header, code, opaque }));
        }
        let decoded = decode(serialize, header)?;
        let (code, opaque) = (decoded.code, decoded.opaque);
        Ok(decoded.is_response().then_some(Answer { serialize, header, code, opaque }))
    }

    /// The whole header.
    pub(super) fn decode(&self) -> Result<Header<'a>, String> {
        decode(self.serialize, self.header)
    }

    /// The remark, decoded; empty when there is none.
    pub(super) fn remark(&self) -> String {
        let remark = self.decode().ok().and_then(|header| header.remark);
        remark.map(|text| text.to_cow().into_owned()).unwrap_or_default()
    }
}

fn decode(serialize: SerializeType, header: &[u8]) -> Result<Header<'_>, String> {
    let frame = Frame { bytes: header, serialize, header, body: &[] };
    Header::decode(&frame).map_err(|error| error.to_string())
}

/// Code and opaque of a successful JSON answer in the order Java and RingMQ write; `None`: decode it.
fn quick_json(header: &[u8]) -> Option<(i32, i32)> {
    const START: &[u8] = b"{\"code\":0,";
    const MIDDLE: &[u8] = b"\"flag\":1,\"language\":\"JAVA\",\"opaque\":";
    // Behind the opaque come its ten digits and two fields of less than 64 bytes together.
    const TAIL_BYTES: usize = MIDDLE.len() + 10 + 64;
    if !header.starts_with(START) {
        return None;
    }
    let tail = &header[header.len().saturating_sub(TAIL_BYTES)..];
    let at = tail.windows(MIDDLE.len()).position(|window| window == MIDDLE)?;
    let mut opaque: i32 = 0;
    for &byte in &tail[at + MIDDLE.len()..] {
        if !byte.is_ascii_digit() {
            return (byte == b',').then_some((0, opaque));
        }
        opaque = opaque.checked_mul(10)?.checked_add(i32::from(byte - b'0'))?;
    }
    None
}

/// Code and opaque of a binary answer.
fn quick_binary(header: &[u8]) -> Option<(i32, i32)> {
    let [high, low] = *header.first_chunk::<2>()?;
    let opaque = i32::from_be_bytes(*header.get(5..9)?.first_chunk::<4>()?);
    let flag = i32::from_be_bytes(*header.get(9..13)?.first_chunk::<4>()?);
    (flag & FLAG_RESPONSE != 0).then_some((i32::from(i16::from_be_bytes([high, low])), opaque))
}

/// Takes what a `Scanner` finds.
pub(super) trait Sink {
    /// An answer begins; true: show the records of its body.
    fn answer(&mut self, answer: &Answer<'_>) -> bool;
    /// A record of `bytes` bytes; `start` is what follows its size, up to `RECORD_PREFIX_BYTES` of the record.
    fn record(&mut self, bytes: usize, start: &[u8]);
    /// The answer ends.
    fn end(&mut self);
}

/// Counts frames by their length words.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrameCounter {
    word: [u8; 4],
    word_bytes: usize,
    left: usize,
}

impl FrameCounter {
    /// Frames that `input` completes.
    pub(super) fn feed(&mut self, mut input: &[u8]) -> usize {
        let mut frames = 0;
        while !input.is_empty() {
            if self.word_bytes < self.word.len() {
                self.word[self.word_bytes] = input[0];
                self.word_bytes += 1;
                input = &input[1..];
                if self.word_bytes < self.word.len() {
                    continue;
                }
                let length = u32::from_be_bytes(self.word);
                self.left = usize::try_from(length).expect("usize has at least 32 bits");
            }
            let here = self.left.min(input.len());
            self.left -= here;
            input = &input[here..];
            if self.left == 0 {
                frames += 1;
                self.word_bytes = 0;
            }
        }
        frames
    }
}

/// What comes next in the stream.
#[derive(Clone, Copy, Debug)]
enum Next {
    Words,
    Header { serialize: SerializeType, header_bytes: usize, body_bytes: usize },
    RecordSize { body_left: usize },
    Record { bytes: usize, body_left: usize },
    Skip { bytes: usize, body_left: usize, records: bool },
}

/// Where a connection is in its stream of answers.
#[derive(Debug)]
pub(super) struct Scanner {
    next: Next,
    carry: Vec<u8>,
    /// Whether somebody waits for the end of this answer; false within requests of the server.
    is_answer: bool,
}

impl Scanner {
    /// At the start of a stream.
    pub(super) fn new() -> Scanner {
        Scanner { next: Next::Words, carry: Vec::new(), is_answer: false }
    }

    /// Goes through `input`. After an error the stream cannot be read any further.
    pub(super) fn feed(&mut self, mut input: &[u8], sink: &mut impl Sink) -> Result<(), String> {
        // Owned for the time of the call, so that units may borrow it while the state changes.
        let mut carry = std::mem::take(&mut self.carry);
        let result = self.go_on(&mut carry, &mut input, sink);
        self.carry = carry;
        result
    }

    fn go_on(
        &mut self,
        carry: &mut Vec<u8>,
        input: &mut &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), String> {
        loop {
            if let Next::Skip { bytes, body_left, records } = self.next {
                let here = bytes.min(input.len());
                *input = &input[here..];
                if here < bytes {
                    self.next = Next::Skip { bytes: bytes - here, body_left, records };
                    return Ok(());
                }
                self.after(body_left, records, sink);
                continue;
            }
            let Some(unit) = unit(carry, input, self.wanted()) else { return Ok(()) };
            self.on_unit(unit, sink)?;
            carry.clear();
        }
    }

    /// Bytes of the next unit.
    fn wanted(&self) -> usize {
        match self.next {
            Next::Words => WORDS_BYTES,
            Next::Header { header_bytes, .. } => header_bytes,
            Next::RecordSize { .. } => 4,
            Next::Record { bytes, .. } => bytes.min(RECORD_PREFIX_BYTES) - 4,
            Next::Skip { .. } => unreachable!("skipped bytes are no unit"),
        }
    }

    fn on_unit(&mut self, unit: &[u8], sink: &mut impl Sink) -> Result<(), String> {
        match self.next {
            Next::Words => self.next = words(unit)?,
            Next::Header { serialize, body_bytes, .. } => {
                let answer = Answer::read(serialize, unit)?;
                self.is_answer = answer.is_some();
                let records = answer.is_some_and(|answer| sink.answer(&answer));
                self.after(body_bytes, records, sink);
            }
            Next::RecordSize { body_left } => {
                let size = unit.first_chunk::<4>().map_or(0, |word| u32::from_be_bytes(*word));
                let bytes = usize::try_from(size).expect("usize has at least 32 bits");
                if !(RECORD_BYTES_MIN..=body_left).contains(&bytes) {
                    return Err(format!(
                        "a record claims {bytes} bytes where {body_left} bytes of body are left"
                    ));
                }
                self.next = Next::Record { bytes, body_left };
            }
            Next::Record { bytes, body_left } => {
                sink.record(bytes, unit);
                let body_left = body_left - bytes;
                let bytes = bytes - 4 - unit.len();
                self.next = Next::Skip { bytes, body_left, records: true };
            }
            Next::Skip { .. } => unreachable!("skipped bytes are no unit"),
        }
        Ok(())
    }

    /// Goes on behind a header or record, with `body_left` bytes of body to come.
    fn after(&mut self, body_left: usize, records: bool, sink: &mut impl Sink) {
        self.next = if body_left == 0 {
            if self.is_answer {
                sink.end();
            }
            Next::Words
        } else if records {
            Next::RecordSize { body_left }
        } else {
            Next::Skip { bytes: body_left, body_left: 0, records: false }
        };
    }
}

fn words(unit: &[u8]) -> Result<Next, String> {
    let frame_bytes = wire::frame::declared_bytes(unit).map_err(|error| error.to_string())?;
    let frame_bytes = frame_bytes.expect("the unit has eight bytes");
    let &[kind, high, middle, low] = &unit[4..WORDS_BYTES] else {
        unreachable!("the unit has eight bytes")
    };
    let serialize = match kind {
        0 => SerializeType::Json,
        1 => SerializeType::Rocketmq,
        byte => return Err(format!("the serialize type {byte} is neither 0 nor 1")),
    };
    let header_bytes = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    let Some(body_bytes) = frame_bytes.checked_sub(WORDS_BYTES + header_bytes) else {
        return Err(format!("{header_bytes} bytes of header in a frame of {frame_bytes} bytes"));
    };
    Ok(Next::Header { serialize, header_bytes, body_bytes })
}

/// The next `wanted` bytes: out of `input`, or out of `carry` when they began in an earlier piece.
fn unit<'u, 'i: 'u>(
    carry: &'u mut Vec<u8>,
    input: &mut &'i [u8],
    wanted: usize,
) -> Option<&'u [u8]> {
    if carry.is_empty() && input.len() >= wanted {
        let (unit, rest) = input.split_at(wanted);
        *input = rest;
        return Some(unit);
    }
    let missing = wanted - carry.len();
    let (here, rest) = input.split_at(missing.min(input.len()));
    carry.extend_from_slice(here);
    *input = rest;
    (carry.len() == wanted).then_some(carry)
}

#[cfg(test)]
mod tests;
