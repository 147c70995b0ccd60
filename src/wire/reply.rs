//! Builds one frame in place at the end of a byte vector. Java: `RemotingCommand.encode`.
//!
//! The JSON header has fastjson's key order and escapes, so it equals Java's bytes when fields come in Java's
//! order. The first bytes of a JSON header are exactly `{"code":N,`: `patch_code` relies on it.
//! A remark may be set before, between or after the fields; it is moved to its place when the header ends.
//! Nothing is allocated but by the growth of the vector.

use std::ops::Range;

use crate::codes::Language;
use crate::decimal::write_i64;
use crate::escape::write_escaped;
use crate::frame::SerializeType;
use crate::msg_id::MessageId;

/// Length word and header word.
const WORDS_BYTES: usize = 8;
/// What a JSON header starts with.
const JSON_START: &[u8] = b"{\"code\":";
/// What follows the remark in a JSON header.
const JSON_END_START: &[u8] = b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":";
/// Largest header length the 24 bits of the header word hold.
const HEADER_BYTES_MAX: usize = (1 << 24) - 1;
/// Code, language, version, opaque, flag of a binary header.
const BINARY_FIXED_BYTES: usize = 13;

/// What every frame says. The language is written as JAVA: clients know no other broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHead {
    /// Encoding of the header.
    pub serialize: SerializeType,
    /// Request or response code; a binary header keeps its low 16 bits, as Java does.
    pub code: i32,
    /// Request id; of the request when this is an answer.
    pub opaque: i32,
    /// Flag bits.
    pub flag: i32,
    /// `MQVersion` ordinal to report.
    pub version: i32,
}

/// Writes the header of one frame.
#[must_use = "a frame that is not finished has no length"]
pub struct FrameWriter<'o> {
    out: &'o mut Vec<u8>,
    head: FrameHead,
    start: usize,
    has_fields: bool,
    has_entry: bool,
    remark: Option<Range<usize>>,
}

impl<'o> FrameWriter<'o> {
    /// Starts a frame at the end of `out`.
    pub fn begin(out: &'o mut Vec<u8>, head: FrameHead) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; WORDS_BYTES]);
        match head.serialize {
            SerializeType::Json => {
                out.extend_from_slice(JSON_START);
                write_i64(out, i64::from(head.code));
                out.push(b',');
            }
            SerializeType::Rocketmq => {
                let [_, _, code_high, code_low] = head.code.to_be_bytes();
                let [_, _, version_high, version_low] = head.version.to_be_bytes();
                out.extend_from_slice(&[code_high, code_low, Language::Java.code()]);
                out.extend_from_slice(&[version_high, version_low]);
                out.extend_from_slice(&head.opaque.to_be_bytes());
                out.extend_from_slice(&head.flag.to_be_bytes());
                // The lengths of the remark and of the fields.
                out.extend_from_slice(&[0; 8]);
            }
        }
        FrameWriter { out, head, start, has_fields: false, has_entry: false, remark: None }
    }

    /// Where the frame starts in the vector, for `patch_code`.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Writes `"extFields":{}` even when no field follows; Java does so for answers with a header object.
    pub fn fields(&mut self) {
        if !self.has_fields {
            self.has_fields = true;
            if self.head.serialize == SerializeType::Json {
                self.out.extend_from_slice(b"\"extFields\":{");
            }
        }
    }

    /// A field of UTF-8 text.
    pub fn field_str(&mut self, key: &str, value: &[u8]) {
        self.field(key, |out, serialize| match serialize {
            SerializeType::Json => write_escaped(out, value),
            SerializeType::Rocketmq => out.extend_from_slice(value),
        });
    }

    /// A field of a 64-bit number, as its decimal text.
    pub fn field_i64(&mut self, key: &str, value: i64) {
        self.field(key, |out, _| write_i64(out, value));
    }

    /// A field of a 32-bit number, as its decimal text.
    pub fn field_i32(&mut self, key: &str, value: i32) {
        self.field_i64(key, i64::from(value));
    }

    /// A field of `true` or `false`.
    pub fn field_bool(&mut self, key: &str, value: bool) {
        self.field_str(key, if value { b"true" } else { b"false" });
    }

    /// A field of message ids in upper-case hex, joined by commas.
    pub fn field_msg_ids(&mut self, key: &str, ids: impl Iterator<Item = MessageId>) {
        self.field(key, |out, _| {
            for (index, id) in ids.enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                id.write_to(out);
            }
        });
    }

    fn field(&mut self, key: &str, write: impl FnOnce(&mut Vec<u8>, SerializeType)) {
        self.fields();
        match self.head.serialize {
            SerializeType::Json => {
                self.out.extend_from_slice(if self.has_entry { b",\"" } else { b"\"" });
                self.out.extend_from_slice(key.as_bytes());
                self.out.extend_from_slice(b"\":\"");
                write(self.out, SerializeType::Json);
                self.out.push(b'"');
            }
            SerializeType::Rocketmq => {
                let key_bytes = u16::try_from(key.len()).expect("field names are short constants");
                self.out.extend_from_slice(&key_bytes.to_be_bytes());
                self.out.extend_from_slice(key.as_bytes());
                let at = self.out.len();
                self.out.extend_from_slice(&[0; 4]);
                write(self.out, SerializeType::Rocketmq);
                let length = self.out.len() - at - 4;
                put_u32(self.out, at, length);
            }
        }
        self.has_entry = true;
    }

    /// The remark. At most once per frame.
    pub fn remark(&mut self, text: &str) {
        assert!(self.remark.is_none(), "a frame has one remark");
        let start = self.out.len();
        match self.head.serialize {
            SerializeType::Json => write_escaped(self.out, text.as_bytes()),
            SerializeType::Rocketmq => self.out.extend_from_slice(text.as_bytes()),
        }
        self.remark = Some(start..self.out.len());
    }

    /// Ends the header; the body follows.
    pub fn body(mut self) -> BodyWriter<'o> {
        match self.head.serialize {
            SerializeType::Json => self.end_json(),
            SerializeType::Rocketmq => self.end_binary(),
        }
        let header_bytes = self.out.len() - self.start - WORDS_BYTES;
        assert!(header_bytes <= HEADER_BYTES_MAX, "a header of {header_bytes} bytes has no frame");
        put_u32(self.out, self.start + 4, header_bytes);
        self.out[self.start + 4] = self.head.serialize.byte();
        BodyWriter { out: self.out, start: self.start }
    }

    /// Ends a frame without a body.
    pub fn finish(self) {
        self.body().finish();
    }

    fn end_json(&mut self) {
        if self.has_fields {
            self.out.extend_from_slice(b"},");
        }
        self.out.extend_from_slice(b"\"flag\":");
        write_i64(self.out, i64::from(self.head.flag));
        self.out.extend_from_slice(b",\"language\":\"JAVA\",\"opaque\":");
        write_i64(self.out, i64::from(self.head.opaque));
        if let Some(remark) = self.remark.take() {
            self.out.extend_from_slice(b",\"remark\":\"");
            self.out[remark.start..].rotate_left(remark.len());
            self.out.push(b'"');
        }
        self.out.extend_from_slice(JSON_END_START);
        write_i64(self.out, i64::from(self.head.version));
        self.out.push(b'}');
    }

    fn end_binary(&mut self) {
        let lengths = self.start + WORDS_BYTES + BINARY_FIXED_BYTES;
        let remark_bytes = match self.remark.take() {
            Some(remark) => {
                self.out[lengths + 4..remark.end].rotate_right(remark.len());
                remark.len()
            }
            None => 0,
        };
        put_u32(self.out, lengths, remark_bytes);
        let fields_at = lengths + 4 + remark_bytes;
        let fields_bytes = self.out.len() - fields_at - 4;
        put_u32(self.out, fields_at, fields_bytes);
    }
}

/// Appends the body of one frame.
#[must_use = "a frame that is not finished has no length"]
pub struct BodyWriter<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
}

impl BodyWriter<'_> {
    /// The vector; bytes appended to it become the body. Do not shorten it.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Ends the frame: its length is now known.
    pub fn finish(self) {
        let length = self.out.len() - self.start - 4;
        put_u32(self.out, self.start, length);
    }
}

/// Replaces the code of a finished frame that starts at `at`; the answer of a parked request may turn into an error.
///
/// Returns by how many bytes the frame grew (negative: shrank); what follows it in the vector moved.
pub fn patch_code(out: &mut Vec<u8>, at: usize, code: i32) -> isize {
    let header = at + WORDS_BYTES;
    if out[at + 4] == SerializeType::Rocketmq.byte() {
        let [_, _, high, low] = code.to_be_bytes();
        out[header..header + 2].copy_from_slice(&[high, low]);
        return 0;
    }
    assert!(out[header..].starts_with(JSON_START), "the frame was not written by FrameWriter");
    let digits = header + JSON_START.len();
    let used = memchr::memchr(b',', &out[digits..]).expect("the header has a comma after its code");
    let mut text = [0; 11];
    let written = {
        // An i32 has at most 11 characters; they are written behind the frame and cut off again.
        let end = out.len();
        write_i64(out, i64::from(code));
        let written = out.len() - end;
        text[..written].copy_from_slice(&out[end..]);
        out.truncate(end);
        written
    };
    out.splice(digits..digits + used, text[..written].iter().copied());
    let length = get_u32(out, at) + written - used;
    put_u32(out, at, length);
    let header_bytes = get_u32(out, at + 4) + written - used;
    put_u32(out, at + 4, header_bytes);
    written.cast_signed() - used.cast_signed()
}

/// As `patch_code`, and gives the last frame of `out`, a JSON one without a remark, this remark.
pub fn patch_refusal(out: &mut Vec<u8>, at: usize, code: i32, remark: &str) {
    patch_code(out, at, code);
    assert_eq!(out[at + 4], SerializeType::Json.byte(), "answers have JSON headers");
    let header = at + WORDS_BYTES;
    let found = memchr::memmem::rfind(&out[header..], JSON_END_START);
    let place = header + found.expect("the frame was written by FrameWriter");
    let mut text = Vec::from(b",\"remark\":\"");
    write_escaped(&mut text, remark.as_bytes());
    text.push(b'"');
    let added = text.len();
    out.splice(place..place, text);
    for word in [at, at + 4] {
        let length = get_u32(out, word) + added;
        put_u32(out, word, length);
    }
}

fn put_u32(out: &mut [u8], at: usize, value: usize) {
    let value = u32::try_from(value).expect("frames are far smaller than 4 GiB");
    out[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

fn get_u32(out: &[u8], at: usize) -> usize {
    out[at..at + 4].iter().fold(0, |value, &byte| value << 8 | usize::from(byte))
}

#[cfg(test)]
mod tests;
