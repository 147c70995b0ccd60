//! A cursor over JSON text in fastjson's lenient dialect: enough to walk a header without building anything.
//!
//! Accepts single quotes, bare keys, surplus commas and any white space, as fastjson's default features do.
//! Limit: values nest at most `DEPTH_MAX` deep.

use crate::text::{Text, unit_at};

/// Deepest nesting of objects and arrays inside a value that is skipped.
pub(crate) const DEPTH_MAX: u32 = 32;

/// Bytes looked at in one step.
const WORD_BYTES: usize = 8;
/// So many bytes are scanned word by word; `memchr`, which costs more to start, takes what is longer.
const SHORT_BYTES: usize = 32;

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
    #[inline]
    pub(crate) fn peek_after_space(&mut self) -> Option<u8> {
        match self.peek() {
            Some(byte) if byte > b' ' => Some(byte),
            _ => self.skip_space(),
        }
    }

    #[cold]
    fn skip_space(&mut self) -> Option<u8> {
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
    #[inline(always)]
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
    #[inline(always)]
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
    #[inline(always)]
    fn string(&mut self, quote: u8) -> Result<Text<'a>, ScanError> {
        self.at += 1;
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let Some(end) = find_end(rest, quote) else {
            return Err(self.error("the string does not end"));
        };
        self.at = start + end;
        if self.peek() == Some(quote) {
            self.at += 1;
            return Ok(Text::plain(rest.get(..end).unwrap_or_default()));
        }
        self.escaped_string(quote, start)
    }

    /// The rest of a string whose first backslash is at the cursor.
    #[inline(never)]
    fn escaped_string(&mut self, quote: u8, start: usize) -> Result<Text<'a>, ScanError> {
        let first_escape = self.at - start;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(end) = find_end(rest, quote) else {
                return Err(self.error("the string does not end"));
            };
            self.at += end;
            if self.peek() == Some(quote) {
                let text = Text::escaped(self.since(start), first_escape);
                self.at += 1;
                return Ok(text);
            }
            let Some((_, used)) = unit_at(rest.get(end..).unwrap_or_default()) else {
                return Err(self.error("the escape in a string is unknown"));
            };
            self.at += used;
        }
    }

    /// Skips an object or array that starts at the cursor; brackets must match.
    #[inline(never)]
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

/// Where `quote` or a backslash comes first.
///
/// Most strings of a header are shorter than 16 bytes, so words are compared in a register.
#[inline(always)]
pub(crate) fn find_end(bytes: &[u8], quote: u8) -> Option<usize> {
    let mut at = 0;
    let mut rest = bytes;
    while let Some((word, tail)) = rest.split_first_chunk::<WORD_BYTES>() {
        let word = u64::from_le_bytes(*word);
        let found = equal_bytes(word, quote) | equal_bytes(word, b'\\');
        if found != 0 {
            return usize::try_from(found.trailing_zeros() / 8).ok().map(|byte| at + byte);
        }
        at += WORD_BYTES;
        rest = tail;
        if at == SHORT_BYTES {
            break;
        }
    }
    find_far_end(rest, quote).map(|end| at + end)
}

#[inline(never)]
fn find_far_end(bytes: &[u8], quote: u8) -> Option<usize> {
    memchr::memchr2(quote, b'\\', bytes)
}

/// The high bit of each byte of `word` that equals `byte`; bits above the lowest one may be wrong.
#[inline]
fn equal_bytes(word: u64, byte: u8) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; WORD_BYTES]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; WORD_BYTES]);
    let differences = word ^ (ONES * u64::from(byte));
    differences.wrapping_sub(ONES) & !differences & HIGHS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_string_is_found_at_every_distance() {
        for length in 0..80 {
            for (byte, quote) in [(b'"', b'"'), (b'\'', b'\''), (b'\\', b'"')] {
                let mut bytes = vec![0xFF; length];
                bytes.extend_from_slice(&[byte, b'"', b'\\', b'\'']);
                assert_eq!(find_end(&bytes, quote), Some(length), "{length}");
                assert_eq!(find_end(&bytes[..length], quote), None);
            }
        }
        assert_eq!(find_end(b"#!]x[\x22\\abcd", b'"'), Some(5));
    }
}
