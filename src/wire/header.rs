//! The header of a frame, in both encodings. Java: `RemotingCommand`, `RocketMQSerializable`.
//!
//! Invariants: decoding allocates nothing and walks the bytes once; `Fields` was checked then, so iterating it
//! later cannot fail. Limits: those of the frame; values nest at most 32 deep.

use std::fmt;

use crate::codes::Language;
use crate::frame::{Frame, SerializeType};
use crate::scan::{Cursor, ScanError, Value};
use crate::text::Text;

/// Flag bit 0: the frame answers a request.
pub const FLAG_RESPONSE: i32 = 1;
/// Flag bit 1: the receiver must not answer.
pub const FLAG_ONEWAY: i32 = 2;

/// A decoded header; texts borrow from the frame.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// The encoding it came in.
    pub serialize: SerializeType,
    /// Request or response code; a binary header carries only 16 bits of it.
    pub code: i32,
    /// The sender's language; unknown ones read as `Other`.
    pub language: Language,
    /// `MQVersion` ordinal of the sender.
    pub version: i32,
    /// The sender's request id; answers echo it.
    pub opaque: i32,
    /// Flag bits, see `is_response` and `is_oneway`.
    pub flag: i32,
    /// Error text or note; `None` when absent or null.
    pub remark: Option<Text<'a>>,
    /// `extFields`.
    pub fields: Fields<'a>,
}

/// Why a header cannot be read. Java closes the connection on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeaderError {
    /// The header field that was read, or `header` for its frame.
    pub field: &'static str,
    /// What is wrong with it.
    pub what: &'static str,
    /// Byte position in the header.
    pub at: usize,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} is bad at header byte {}: {}", self.field, self.at, self.what)
    }
}

impl std::error::Error for HeaderError {}

impl<'a> Header<'a> {
    /// Decodes the header of `frame`.
    pub fn decode(frame: &Frame<'a>) -> Result<Header<'a>, HeaderError> {
        match frame.serialize {
            SerializeType::Json => decode_json(frame.header),
            SerializeType::Rocketmq => decode_binary(frame.header),
        }
    }

    /// Whether this answers a request.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether no answer must be sent.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }
}

fn decode_json(bytes: &[u8]) -> Result<Header<'_>, HeaderError> {
    let broken = |error: ScanError| HeaderError { field: "header", what: error.what, at: error.at };
    let mut header = Header {
        serialize: SerializeType::Json,
        code: 0,
        language: Language::Java,
        version: 0,
        opaque: 0,
        flag: 0,
        remark: None,
        fields: Fields::empty(),
    };
    let mut cursor = Cursor::new(bytes);
    cursor.expect(b'{', "a JSON object is missing").map_err(broken)?;
    while let Some(key) = cursor.next_key().map_err(broken)? {
        match key.as_plain().unwrap_or_default() {
            b"code" => header.code = int("code", &mut cursor)?,
            b"version" => header.version = int("version", &mut cursor)?,
            b"opaque" => header.opaque = int("opaque", &mut cursor)?,
            b"flag" => header.flag = int("flag", &mut cursor)?,
            b"language" => header.language = language(cursor.value().map_err(broken)?),
            b"remark" => header.remark = cursor.value().map_err(broken)?.text(),
            b"extFields" => header.fields = fields_json(&mut cursor).map_err(broken)?,
            _ => {
                cursor.value().map_err(broken)?;
            }
        }
    }
    if !cursor.at_end() {
        return Err(broken(cursor.error("something follows the JSON object")));
    }
    Ok(header)
}

/// An int of the header; fastjson takes it as a number or a string, and null as 0.
fn int(field: &'static str, cursor: &mut Cursor<'_>) -> Result<i32, HeaderError> {
    let at = cursor.at();
    let value =
        cursor.value().map_err(|error| HeaderError { field, what: error.what, at: error.at })?;
    match value.text() {
        None => Ok(0),
        Some(text) => {
            text.parse_i32().map_err(|_| HeaderError { field, what: "it is not an int", at })
        }
    }
}

/// fastjson takes an enum by name or by ordinal, and reads an unknown one as null.
fn language(value: Value<'_>) -> Language {
    let Some(text) = value.text() else {
        return Language::Other;
    };
    match text.parse_i32() {
        Ok(code) => Language::from_code(code),
        Err(_) => Language::from_name(text.as_plain().unwrap_or_default()),
    }
}

/// Checks the object of `extFields` and keeps where it lies.
fn fields_json<'a>(cursor: &mut Cursor<'a>) -> Result<Fields<'a>, ScanError> {
    match cursor.peek_after_space() {
        Some(b'{') => {}
        Some(b'n') => {
            return match cursor.value()? {
                Value::Null => Ok(Fields::empty()),
                Value::String(_) | Value::Bare(_) | Value::Nested(_) => {
                    Err(cursor.error("extFields is not an object"))
                }
            };
        }
        _ => return Err(cursor.error("extFields is not an object")),
    }
    cursor.expect(b'{', "extFields is not an object")?;
    let start = cursor.at();
    while cursor.next_key()?.is_some() {
        cursor.value()?;
    }
    Ok(Fields { serialize: SerializeType::Json, bytes: cursor.since(start) })
}

fn decode_binary(bytes: &[u8]) -> Result<Header<'_>, HeaderError> {
    let mut reader = Binary { rest: bytes, total: bytes.len() };
    let [code_high, code_low] = reader.take("code")?;
    let [language] = reader.take("language")?;
    let [version_high, version_low] = reader.take("version")?;
    let opaque = i32::from_be_bytes(reader.take("opaque")?);
    let flag = i32::from_be_bytes(reader.take("flag")?);
    let remark = reader.slice("remark")?;
    let fields = reader.slice("extFields")?;
    if !reader.rest.is_empty() {
        return Err(reader.error("header", "bytes follow extFields"));
    }
    let mut entries = Binary { rest: fields, total: bytes.len() };
    while !entries.rest.is_empty() {
        entries.entry()?;
    }
    Ok(Header {
        serialize: SerializeType::Rocketmq,
        code: i32::from(i16::from_be_bytes([code_high, code_low])),
        language: Language::from_code(i32::from(language)),
        version: i32::from(i16::from_be_bytes([version_high, version_low])),
        opaque,
        flag,
        remark: if remark.is_empty() { None } else { Some(Text::plain(remark)) },
        fields: Fields { serialize: SerializeType::Rocketmq, bytes: fields },
    })
}

/// Reads the binary header front to back; `total` only serves error positions.
#[derive(Clone, Copy)]
struct Binary<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Binary<'a> {
    fn error(&self, field: &'static str, what: &'static str) -> HeaderError {
        HeaderError { field, what, at: self.total - self.rest.len() }
    }

    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], HeaderError> {
        let Some((value, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.error(field, "the header ends before it"));
        };
        self.rest = rest;
        Ok(*value)
    }

    fn bytes(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], HeaderError> {
        let Some((value, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.error(field, "its length is above what the header holds"));
        };
        self.rest = rest;
        Ok(value)
    }

    /// An int32 length and that many bytes.
    fn slice(&mut self, field: &'static str) -> Result<&'a [u8], HeaderError> {
        let length = i32::from_be_bytes(self.take(field)?);
        let Ok(length) = usize::try_from(length) else {
            return Err(self.error(field, "its length is negative"));
        };
        self.bytes(field, length)
    }

    /// One entry of `extFields`: int16 and key, int32 and value.
    fn entry(&mut self) -> Result<(&'a [u8], &'a [u8]), HeaderError> {
        let length = i16::from_be_bytes(self.take("key of extFields")?);
        let Ok(length) = usize::try_from(length) else {
            return Err(self.error("key of extFields", "its length is negative"));
        };
        let key = self.bytes("key of extFields", length)?;
        Ok((key, self.slice("value of extFields")?))
    }
}

/// `extFields`: checked while the header was decoded, walked on demand.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    serialize: SerializeType,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// No fields.
    pub fn empty() -> Self {
        Fields { serialize: SerializeType::Rocketmq, bytes: &[] }
    }

    /// The inside of a JSON object that was checked, with its closing brace.
    pub(crate) fn checked_json(bytes: &'a [u8]) -> Self {
        Fields { serialize: SerializeType::Json, bytes }
    }

    /// The fields in the order of the frame. Values that are null are left out; numbers and booleans come as
    /// their text.
    pub fn iter(&self) -> FieldsIter<'a> {
        FieldsIter(match self.serialize {
            SerializeType::Json => Walk::Json(Cursor::new(self.bytes)),
            SerializeType::Rocketmq => {
                Walk::Binary(Binary { rest: self.bytes, total: self.bytes.len() })
            }
        })
    }

    /// The value of `key`; of a repeated key the last one, as in Java's map.
    pub fn get(&self, key: &str) -> Option<Text<'a>> {
        self.iter().filter(|(name, _)| name.eq_str(key)).last().map(|(_, value)| value)
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// Walks `Fields`.
pub struct FieldsIter<'a>(Walk<'a>);

enum Walk<'a> {
    Json(Cursor<'a>),
    Binary(Binary<'a>),
}

impl<'a> Iterator for FieldsIter<'a> {
    type Item = (Text<'a>, Text<'a>);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Walk::Json(cursor) => loop {
                let key = cursor.next_key().ok()??;
                if let Some(value) = cursor.value().ok()?.text() {
                    return Some((key, value));
                }
            },
            Walk::Binary(entries) => {
                let (key, value) = entries.entry().ok()?;
                Some((Text::plain(key), Text::plain(value)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
