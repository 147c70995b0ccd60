//! A cursor over JSON text in fastjson's lenient dialect: enough to walk a header without building anything.
//!
//! Accepts single quotes, bare keys, surplus commas and any white space, as fastjson's default features do.
//! Limit: values nest at most `DEPTH_MAX` deep.

use crate::text::{Text, unit_at};

/// Deepest nesting of objects and arrays inside a value that is skipped.
pub(crate) const DEPTH_MAX: u32 = 32;

/// Strings shorter than this are scanned byte by byte: starting `memchr` costs more.
const SHORT_BYTES: usize = 16;

/// What is wrong, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ScanError {
    pub(crate) what: &'static str,
    pub(crate) at: usize,
}

/// A value as far as a header needs to know it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    String(Text<'a>),
    /// A number, `true`, `false` or another bare word.
    Bare(&'a [u8]),
    Null,
    /// An object or array with its brackets.
    Nested(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The value as text; `None` for null.
    pub(crate) fn text(self) -> Option<Text<'a>> {
        match self {
            Value::String(text) => Some(text),
            Value::Bare(bytes) | Value::Nested(bytes) => Some(Text::plain(bytes)),
            Value::Null => None,
        }
    }
}

/// A position in JSON text.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The bytes from `start` to the cursor.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    pub(crate) fn error(&self, what: &'static str) -> ScanError {
        ScanError { what, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Skips white space and says what follows.
    pub(crate) fn peek_after_space(&mut self) -> Option<u8> {
        loop {
            let byte = self.peek()?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0C | 0x08) {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Consumes `byte` after white space.
    pub(crate) fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), ScanError> {
        if self.peek_after_space() != Some(byte) {
            return Err(self.error(what));
        }
        self.at += 1;
        Ok(())
    }

    /// Whether only white space is left.
    pub(crate) fn at_end(&mut self) -> bool {
        self.peek_after_space().is_none()
    }

    /// Inside an object: the next key with its colon, or `None` after the closing brace.
    #[inline]
    pub(crate) fn next_key(&mut self) -> Result<Option<Text<'a>>, ScanError> {
        let byte = loop {
            match self.peek_after_space() {
                Some(b',') => self.at += 1,
                Some(byte) => break byte,
                None => return Err(self.error("the object does not end")),
            }
        };
        let key = match byte {
            b'}' => {
                self.at += 1;
                return Ok(None);
            }
            b'"' | b'\'' => self.string(byte)?,
            _ => Text::plain(self.bare("a key is missing")?),
        };
        self.expect(b':', "the colon after a key is missing")?;
        Ok(Some(key))
    }

    /// The next value.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<Value<'a>, ScanError> {
        match self.peek_after_space() {
            Some(quote @ (b'"' | b'\'')) => Ok(Value::String(self.string(quote)?)),
            Some(b'{' | b'[') => Ok(Value::Nested(self.nested()?)),
            Some(_) => {
                let bytes = self.bare("a value is missing")?;
                Ok(if bytes == b"null" { Value::Null } else { Value::Bare(bytes) })
            }
            None => Err(self.error("a value is missing")),
        }
    }

    /// A run of the bytes numbers, words and bare keys are made of.
    fn bare(&mut self, what: &'static str) -> Result<&'a [u8], ScanError> {
        let start = self.at;
        while let Some(byte) = self.peek() {
            let part_of_word =
                byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_' | b'$');
            if !part_of_word && byte < 0x80 {
                break;
            }
            self.at += 1;
        }
        if self.at == start {
            return Err(self.error(what));
        }
        Ok(self.since(start))
    }

    /// A string that starts at the cursor with `quote`.
    #[inline]
    fn string(&mut self, quote: u8) -> Result<Text<'a>, ScanError> {
        self.at += 1;
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let short = rest.len().min(SHORT_BYTES);
        let near = rest[..short].iter().position(|&byte| byte == quote || byte == b'\\');
        let end = match near {
            Some(end) => end,
            None => match memchr::memchr2(quote, b'\\', &rest[short..]) {
                Some(end) => short + end,
                None => return Err(self.error("the string does not end")),
            },
        };
        self.at = start + end;
        if rest[end] == quote {
            self.at += 1;
            return Ok(Text::plain(&rest[..end]));
        }
        self.escaped_string(quote, start)
    }

    /// The rest of a string whose first backslash is at the cursor.
    fn escaped_string(&mut self, quote: u8, start: usize) -> Result<Text<'a>, ScanError> {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(end) = memchr::memchr2(quote, b'\\', rest) else {
                return Err(self.error("the string does not end"));
            };
            self.at += end;
            if rest[end] == quote {
                let text = Text::escaped(self.since(start));
                self.at += 1;
                return Ok(text);
            }
            let Some((_, used)) = unit_at(&rest[end..]) else {
                return Err(self.error("the escape in a string is unknown"));
            };
            self.at += used;
        }
    }

    /// Skips an object or array that starts at the cursor; brackets must match.
    fn nested(&mut self) -> Result<&'a [u8], ScanError> {
        let start = self.at;
        let mut depth = 0_u32;
        // One bit per level: set for an object, clear for an array.
        let mut kinds = 0_u64;
        loop {
            match self.peek_after_space() {
                None => return Err(self.error("the object or array does not end")),
                Some(quote @ (b'"' | b'\'')) => {
                    self.string(quote)?;
                }
                Some(open @ (b'{' | b'[')) => {
                    if depth == DEPTH_MAX {
                        return Err(self.error("a value nests deeper than 32 levels"));
                    }
                    depth += 1;
                    kinds = kinds << 1 | u64::from(open == b'{');
                    self.at += 1;
                }
                Some(close @ (b'}' | b']')) => {
                    if kinds & 1 != u64::from(close == b'}') {
                        return Err(self.error("the brackets of a value do not match"));
                    }
                    depth -= 1;
                    kinds >>= 1;
                    self.at += 1;
                    if depth == 0 {
                        return Ok(self.since(start));
                    }
                }
                Some(_) => self.at += 1,
            }
        }
    }
}
