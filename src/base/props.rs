//! Java `.properties` text: bytes in, entries with their line numbers out.
//!
//! The grammar is that of `java.util.Properties.load`: `=`, `:` or blanks separate key and value, `\` escapes and
//! continues lines, `#` and `!` start comments. Java reads ISO-8859-1; text that is valid UTF-8 is taken as such here,
//! and the encoding is reported so that the caller can say where Java would have read other letters.
//! Limits: a file has at most [`FILE_BYTES_MAX`] bytes.

use std::fmt;

/// The longest accepted file, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// One `key = value`, unescaped. Blanks at the end of the value are kept, as Java keeps them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Never contains the separator; may be empty (`= x`).
    pub key: String,
    /// May be empty.
    pub value: String,
    /// Line of the file on which the key stands, from 1.
    pub line: u32,
    /// Last line of the value; greater than `line` when it is continued.
    pub line_last: u32,
}

/// How the bytes were turned into letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// Only ASCII: every reader agrees.
    Ascii,
    /// Valid UTF-8 beyond ASCII: Java would have read each byte as one letter.
    Utf8,
    /// Not UTF-8, so read as ISO-8859-1, like Java.
    Latin1,
}

/// A parsed file: entries in file order, duplicates included (Java lets the last one win).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Properties {
    /// In file order.
    pub entries: Vec<Entry>,
    /// How the letters were read.
    pub encoding: Encoding,
}

/// Why a file cannot be read as properties.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PropsError {
    /// More than [`FILE_BYTES_MAX`] bytes.
    TooLong {
        /// Length of the text.
        bytes: usize,
    },
    /// `\u` without four hexadecimal digits.
    BadEscape {
        /// Line of the key, from 1.
        line: u32,
        /// What follows the backslash, at most five letters.
        found: String,
    },
}

impl fmt::Display for PropsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PropsError::TooLong { bytes } => {
                write!(
                    f,
                    "{bytes} bytes are too long for a properties file (limit {FILE_BYTES_MAX})"
                )
            }
            PropsError::BadEscape { line, found } => {
                write!(f, "line {line}: \\{found} is not \\u and four hexadecimal digits")
            }
        }
    }
}

impl std::error::Error for PropsError {}

/// Reads a whole file. Any text that is short enough and has no broken `\u` escape is accepted, as in Java.
pub fn parse(bytes: &[u8]) -> Result<Properties, PropsError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(PropsError::TooLong { bytes: bytes.len() });
    }
    let (text, encoding) = decode(bytes);
    let mut entries = Vec::new();
    let mut lines = Lines { rest: &text, line: 0 };
    while let Some((logical, line)) = lines.next_logical() {
        let (key, value) = split_pair(&logical);
        let key = unescape(key, line)?;
        let value = unescape(value, line)?;
        entries.push(Entry { key, value, line, line_last: lines.line });
    }
    Ok(Properties { entries, encoding })
}

/// The same file with other values: comments, order and all other lines stay byte for byte. A key that stands there
/// gets its value where it stood last, others are added at the end. Values are written so that every reader of
/// properties, whatever its encoding, gets them back; keys must need no escapes.
pub fn with_values(original: &[u8], values: &[(&str, String)]) -> Result<Vec<u8>, PropsError> {
    let parsed = parse(original)?;
    let of_key = |key: &str| values.iter().find(|(changed, _)| *changed == key);
    let mut out = Vec::with_capacity(original.len());
    let mut entries = parsed.entries.iter().peekable();
    let mut number = 0u32;
    for natural in natural_lines(original) {
        number += 1;
        while entries.next_if(|entry| entry.line_last < number).is_some() {}
        let inside = entries.peek().filter(|entry| entry.line <= number);
        let Some((entry, (key, value))) = inside.and_then(|e| Some((e, of_key(&e.key)?))) else {
            out.extend_from_slice(natural);
            continue;
        };
        let last = parsed.entries.iter().rev().find(|other| other.key == entry.key);
        if entry.line == number && last.is_some_and(|last| last.line == number) {
            write_pair(&mut out, key, value);
        }
    }
    if !out.is_empty() && !out.ends_with(b"\n") && !out.ends_with(b"\r") {
        out.push(b'\n');
    }
    if natural_lines(&out).last().is_some_and(is_continued) {
        // The file ends in the middle of a value: an empty line is its end. A lone `\r` takes the first of two.
        out.extend_from_slice(b"\n\n");
    }
    for (key, value) in values {
        if !parsed.entries.iter().any(|entry| entry.key == *key) {
            write_pair(&mut out, key, value);
        }
    }
    Ok(out)
}

/// Lines as they stand in the file, each with its end.
fn natural_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let at = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let end = match at {
            None if rest.is_empty() => return None,
            None => rest.len(),
            Some(at) if rest.get(at..).is_some_and(|end| end.starts_with(b"\r\n")) => at + 2,
            Some(at) => at + 1,
        };
        let (line, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(line)
    })
}

/// Whether the next line would belong to this one, if it is no comment.
fn is_continued(line: &[u8]) -> bool {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    text.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

fn write_pair(out: &mut Vec<u8>, key: &str, value: &str) {
    out.extend_from_slice(key.as_bytes());
    out.push(b'=');
    for (at, letter) in value.char_indices() {
        match letter {
            ' ' if at > 0 => out.push(b' '),
            '!'..='~' if letter != '\\' => out.extend(letter.encode_utf8(&mut [0; 4]).bytes()),
            ' ' | '\\' => {
                out.push(b'\\');
                out.extend(letter.encode_utf8(&mut [0; 4]).bytes());
            }
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
            }
        }
    }
    out.push(b'\n');
}

fn decode(bytes: &[u8]) -> (String, Encoding) {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => (text.to_owned(), Encoding::Ascii),
        Ok(text) => (text.to_owned(), Encoding::Utf8),
        Err(_) => (bytes.iter().map(|&byte| char::from(byte)).collect(), Encoding::Latin1),
    }
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\x0C')
}

struct Lines<'a> {
    rest: &'a str,
    line: u32,
}

impl<'a> Lines<'a> {
    /// The next line as it stands in the file, without its end (`\n`, `\r` or `\r\n`).
    fn next_natural(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        self.line += 1;
        let (line, rest) = match self.rest.find(['\n', '\r']) {
            None => (self.rest, ""),
            Some(at) => {
                let (line, rest) = self.rest.split_at(at);
                let rest = rest.strip_prefix("\r\n").or_else(|| rest.get(1..)).unwrap_or("");
                (line, rest)
            }
        };
        self.rest = rest;
        Some(line)
    }

    /// The next line that holds a pair, with its continuations joined; and the number of its first line.
    fn next_logical(&mut self) -> Option<(String, u32)> {
        let first = loop {
            let line = self.next_natural()?.trim_start_matches(is_blank);
            if !line.is_empty() && !line.starts_with(['#', '!']) {
                break line;
            }
        };
        let number = self.line;
        let mut joined = first.to_owned();
        while ends_with_continuation(&joined) {
            joined.pop();
            let Some(more) = self.next_natural() else { break };
            joined.push_str(more.trim_start_matches(is_blank));
        }
        Some((joined, number))
    }
}

fn ends_with_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

/// Splits at the first separator that is not escaped; both sides keep their escapes.
fn split_pair(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let mut key_end = line.len();
    for (at, letter) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if letter == '\\' {
            escaped = true;
        } else if matches!(letter, '=' | ':') || is_blank(letter) {
            key_end = at;
            break;
        }
    }
    let (key, rest) = line.split_at(key_end);
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(is_blank))
}

fn unescape(text: &str, line: u32) -> Result<String, PropsError> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    // Escapes name UTF-16 units, and a letter beyond the first plane takes two of them.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            units.extend_from_slice(letter.encode_utf16(&mut [0; 2]));
            continue;
        }
        let plain = match letters.next() {
            None => break,
            Some('t') => '\t',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('f') => '\x0C',
            Some('u') => {
                units.push(hex_unit(&mut letters, line)?);
                continue;
            }
            Some(other) => other,
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    Ok(String::from_utf16_lossy(&units))
}

fn hex_unit(letters: &mut std::str::Chars<'_>, line: u32) -> Result<u16, PropsError> {
    let digits: String = letters.by_ref().take(4).collect();
    let all_hex = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u16::from_str_radix(&digits, 16) {
        Ok(unit) if all_hex => Ok(unit),
        Ok(_) | Err(_) => Err(PropsError::BadEscape { line, found: format!("u{digits}") }),
    }
}

#[cfg(test)]
mod tests;
