//! Text that borrows from a frame. JSON escapes are decoded when somebody asks, not before.
//!
//! Invariant: an escaped text was checked by `scan`: every backslash starts an escape fastjson knows.
//! Half a surrogate pair becomes `?`, as Java's UTF-8 encoder writes it.

use std::borrow::Cow;
use std::fmt;

use crate::scan::find_end;

/// So many digits fit an i64 whatever they are.
const DIGITS_SAFE: usize = 18;
/// Longest number text worth decoding: a sign, 19 digits, and slack for leading zeros.
const NUMBER_BYTES_MAX: usize = 64;

/// A text in a frame: raw bytes (UTF-8 as the peer sent it), perhaps with JSON escapes.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    bytes: &'a [u8],
    /// Where the first escape is; the length of `bytes` when there is none. (A word, not a flag: copying a flag with
    /// its padding between registers and stack stalls the scan of a header.)
    first_escape: usize,
}

/// The text is not a number of the asked type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotANumber;

impl fmt::Display for NotANumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a number of this type")
    }
}

impl std::error::Error for NotANumber {}

impl<'a> Text<'a> {
    /// Text without escapes.
    #[inline]
    pub fn plain(bytes: &'a [u8]) -> Self {
        Text { bytes, first_escape: bytes.len() }
    }

    /// Text between JSON quotes whose escapes were checked; the first is at `first_escape`.
    pub(crate) fn escaped(bytes: &'a [u8], first_escape: usize) -> Self {
        Text { bytes, first_escape }
    }

    #[inline]
    fn is_escaped(&self) -> bool {
        self.first_escape < self.bytes.len()
    }

    /// The bytes as they are, when there is nothing to decode.
    #[inline]
    pub fn as_plain(&self) -> Option<&'a [u8]> {
        if self.is_escaped() { None } else { Some(self.bytes) }
    }

    /// The decoded text; borrowed when nothing had to change. Malformed UTF-8 is replaced as Java does.
    pub fn to_cow(&self) -> Cow<'a, str> {
        if !self.is_escaped() {
            return String::from_utf8_lossy(self.bytes);
        }
        let mut out = Vec::with_capacity(self.bytes.len());
        self.write_to(&mut out);
        Cow::Owned(match String::from_utf8(out) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }

    /// Appends the decoded bytes to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        if !self.is_escaped() {
            out.extend_from_slice(self.bytes);
            return;
        }
        for piece in (Pieces { rest: self.bytes }) {
            match piece {
                Piece::Run(run) => out.extend_from_slice(run),
                Piece::Char(char) => {
                    out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
    }

    /// Whether the decoded text is `expected`.
    pub fn eq_str(&self, expected: &str) -> bool {
        self.eq_bytes(expected.as_bytes())
    }

    /// Whether the decoded bytes are `expected`.
    pub fn eq_bytes(&self, expected: &[u8]) -> bool {
        if !self.is_escaped() {
            return self.bytes == expected;
        }
        let mut rest = expected;
        for piece in (Pieces { rest: self.bytes }) {
            let mut buffer = [0; 4];
            let part = match piece {
                Piece::Run(run) => run,
                Piece::Char(char) => char.encode_utf8(&mut buffer).as_bytes(),
            };
            match rest.strip_prefix(part) {
                Some(tail) => rest = tail,
                None => return false,
            }
        }
        rest.is_empty()
    }

    /// Whether there is no character.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Upper bound of the decoded length in bytes; exact for plain text.
    pub fn len_max(&self) -> usize {
        self.bytes.len()
    }

    /// As Java's `Integer.parseInt`: an optional sign, at least one digit, no blanks.
    pub fn parse_i32(&self) -> Result<i32, NotANumber> {
        self.parse_i64().and_then(|value| i32::try_from(value).map_err(|_| NotANumber))
    }

    /// As Java's `Long.parseLong`: an optional sign, at least one digit, no blanks.
    pub fn parse_i64(&self) -> Result<i64, NotANumber> {
        if !self.is_escaped() {
            return parse_decimal(self.bytes);
        }
        let mut buffer = [0_u8; NUMBER_BYTES_MAX];
        let mut used = 0;
        for piece in (Pieces { rest: self.bytes }) {
            let mut one = [0; 4];
            let part = match piece {
                Piece::Run(run) => run,
                Piece::Char(char) => char.encode_utf8(&mut one).as_bytes(),
            };
            let room = buffer.get_mut(used..used + part.len()).ok_or(NotANumber)?;
            room.copy_from_slice(part);
            used += part.len();
        }
        parse_decimal(&buffer[..used])
    }

    /// As Java's `Boolean.parseBoolean`: true for `true` in any case, false for everything else.
    pub fn parse_bool(&self) -> bool {
        match self.as_plain() {
            Some(bytes) => bytes.eq_ignore_ascii_case(b"true"),
            None => self.to_cow().eq_ignore_ascii_case("true"),
        }
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_cow())
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_cow(), f)
    }
}

/// A decimal number as Java's `parseLong` reads it, ASCII digits only.
pub(crate) fn parse_decimal(bytes: &[u8]) -> Result<i64, NotANumber> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    if digits.is_empty() {
        return Err(NotANumber);
    }
    if digits.len() <= DIGITS_SAFE {
        let mut value: i64 = 0;
        for &byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return Err(NotANumber);
            }
            value = value * 10 + i64::from(digit);
        }
        return Ok(if negative { -value } else { value });
    }
    parse_long(negative, digits)
}

/// With checks for numbers that may not fit.
#[cold]
fn parse_long(negative: bool, digits: &[u8]) -> Result<i64, NotANumber> {
    // Counting down reaches i64::MIN, which has no positive twin.
    let mut value: i64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(NotANumber);
        }
        value = value
            .checked_mul(10)
            .and_then(|tens| tens.checked_sub(i64::from(digit)))
            .ok_or(NotANumber)?;
    }
    if negative { Ok(value) } else { value.checked_neg().ok_or(NotANumber) }
}

/// A stretch of decoded text.
enum Piece<'a> {
    Run(&'a [u8]),
    Char(char),
}

/// Decodes a checked escaped text piece by piece.
struct Pieces<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    #[inline]
    fn next(&mut self) -> Option<Piece<'a>> {
        if self.rest.first()? != &b'\\' {
            let end = find_end(self.rest, b'\\').unwrap_or(self.rest.len());
            let (run, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Some(Piece::Run(run));
        }
        let (unit, used) = unit_at(self.rest)?;
        self.rest = self.rest.get(used..)?;
        if !(0xD800..0xE000).contains(&unit) {
            return Some(Piece::Char(char::from_u32(unit).unwrap_or('?')));
        }
        if unit < 0xDC00
            && let Some((low @ 0xDC00..0xE000, used)) = unit_at(self.rest)
        {
            self.rest = self.rest.get(used..)?;
            let code = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
            return Some(Piece::Char(char::from_u32(code).unwrap_or('?')));
        }
        Some(Piece::Char('?'))
    }
}

/// The UTF-16 unit an escape at the start of `bytes` stands for, and the bytes it uses.
///
/// Also the definition of which escapes exist: fastjson reads `\0`..`\7`, `\v`, `\'` and `\xHH` besides JSON's own.
#[inline]
pub(crate) fn unit_at(bytes: &[u8]) -> Option<(u32, usize)> {
    let [b'\\', kind, rest @ ..] = bytes else {
        return None;
    };
    let simple = match kind {
        b'"' | b'\'' | b'\\' | b'/' => *kind,
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 0x08,
        b'f' | b'F' => 0x0C,
        b'v' => 0x0B,
        b'0'..=b'7' => kind - b'0',
        b'u' => return Some((hex(rest.get(..4)?)?, 6)),
        b'x' => return Some((hex(rest.get(..2)?)?, 4)),
        _ => return None,
    };
    Some((u32::from(simple), 2))
}

fn hex(digits: &[u8]) -> Option<u32> {
    let mut value = 0;
    for &digit in digits {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        value = value << 4 | u32::from(nibble);
    }
    Some(value)
}

#[cfg(test)]
mod tests;
