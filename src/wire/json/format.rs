//! How fastjson writes: a `serde_json` formatter. Java: `SerializeWriter`.

use std::io::{self, Write};

use serde_json::ser::{CharEscape, Formatter};

use crate::escape::write_escaped;

/// First character of a map key that is the JSON text of an object. From a private-use block; honoured only with
/// `Keys::Objects`, so that a user's text cannot pass for one.
pub(crate) const OBJECT_KEY_MARK: char = '\u{F8FF}';

/// How map keys are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Keys {
    /// Numbers bare, text quoted.
    Plain,
    /// As `Plain`, and marked keys as bare objects.
    Objects,
    /// Everything quoted, and all text in ASCII (browser-compatible mode).
    Quoted,
}

/// Where in a map key the writer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum KeyState {
    /// Not in a key.
    Outside,
    /// In a key that has no character yet: whether it is quoted is still open.
    Open,
    /// In a quoted key.
    Quoted,
    /// In a number.
    Bare,
    /// In an object, copied as it is.
    Object,
}

/// The formatter.
pub(super) struct Fastjson {
    keys: Keys,
    state: KeyState,
}

impl Fastjson {
    pub(super) fn new(keys: Keys) -> Self {
        Fastjson { keys, state: KeyState::Outside }
    }

    fn number_key<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.state != KeyState::Open {
            return Ok(());
        }
        if self.keys == Keys::Quoted {
            self.state = KeyState::Quoted;
            return writer.write_all(b"\"");
        }
        self.state = KeyState::Bare;
        Ok(())
    }

    fn open_quote<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.state == KeyState::Open {
            self.state = KeyState::Quoted;
            writer.write_all(b"\"")?;
        }
        Ok(())
    }
}

impl Formatter for Fastjson {
    fn write_i32<W: ?Sized + Write>(&mut self, writer: &mut W, value: i32) -> io::Result<()> {
        self.number_key(writer)?;
        write!(writer, "{value}")
    }

    fn write_i64<W: ?Sized + Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        self.number_key(writer)?;
        write!(writer, "{value}")
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.state = KeyState::Open;
        if first { Ok(()) } else { writer.write_all(b",") }
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.state = KeyState::Outside;
        Ok(())
    }

    fn begin_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.state == KeyState::Open { Ok(()) } else { writer.write_all(b"\"") }
    }

    fn end_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match self.state {
            KeyState::Outside | KeyState::Quoted => writer.write_all(b"\""),
            KeyState::Open => writer.write_all(b"\"\""),
            KeyState::Bare | KeyState::Object => Ok(()),
        }
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if self.state == KeyState::Object {
            return writer.write_all(fragment.as_bytes());
        }
        if self.state == KeyState::Open
            && self.keys == Keys::Objects
            && let Some(object) = fragment.strip_prefix(OBJECT_KEY_MARK)
        {
            self.state = KeyState::Object;
            return writer.write_all(object.as_bytes());
        }
        self.open_quote(writer)?;
        if self.keys == Keys::Quoted {
            return write_ascii(writer, fragment);
        }
        let mut escaped = Vec::new();
        write_escaped(&mut escaped, fragment.as_bytes());
        writer.write_all(&escaped)
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let byte = match escape {
            CharEscape::Quote => b'"',
            CharEscape::ReverseSolidus => b'\\',
            CharEscape::Solidus => b'/',
            CharEscape::Backspace => 0x08,
            CharEscape::FormFeed => 0x0C,
            CharEscape::LineFeed => b'\n',
            CharEscape::CarriageReturn => b'\r',
            CharEscape::Tab => b'\t',
            CharEscape::AsciiControl(byte) => byte,
        };
        if self.state == KeyState::Object {
            return writer.write_all(&[byte]);
        }
        self.open_quote(writer)?;
        let mut escaped = Vec::new();
        write_escaped(&mut escaped, &[byte]);
        writer.write_all(&escaped)
    }
}

/// Browser-compatible text: `/` is escaped, and everything from U+007F on becomes `\uXXXX`.
fn write_ascii<W: ?Sized + Write>(writer: &mut W, text: &str) -> io::Result<()> {
    for char in text.chars() {
        match char {
            '/' => writer.write_all(b"\\/")?,
            ' '..='~' => writer.write_all(char.encode_utf8(&mut [0; 4]).as_bytes())?,
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04X}")?;
                }
            }
        }
    }
    Ok(())
}
