//! Typed headers: what `extFields` of each request and response means. Java: the `*RequestHeader` and
//! `*ResponseHeader` classes, whose field names are the keys.
//!
//! One walk over the fields decodes a header; nothing is allocated but for an error. A field without which Java
//! goes on sensibly is an `Option` or has a default here; the others are required, and the error names them.

use std::fmt;

use crate::reply::FrameWriter;
use crate::text::Text;

/// Declares the decode and encode functions of a header: Rust field, type, optional default, key on the wire.
macro_rules! codec {
    ($decode:ident, $encode:ident, $lt:lifetime, $java:ident, {
        $($field:ident: $type:ty $(= $default:expr)? => $key:literal;)*
    }) => {
        #[doc = concat!("Reads the fields of `", stringify!($java), "`; unknown ones are ignored.")]
        pub fn $decode(
            fields: &$crate::header::Fields<$lt>,
        ) -> Result<Self, $crate::req::FieldError> {
            use $crate::req::{FieldError, Slot, name};
            const JAVA: &str = stringify!($java);
            $(let mut $field: Option<$type> = codec!(@absent $type $(, $default)?);)*
            for (key, value) in fields.iter() {
                match key.as_plain() {
                    $(Some($key) => {
                        let read = <$type as Slot<'_>>::read(value);
                        $field = Some(read.map_err(|kind| {
                            FieldError::not_a_number(JAVA, const { name($key) }, kind, value)
                        })?);
                    })*
                    _ => {}
                }
            }
            Ok(Self {
                $($field: $field.ok_or(FieldError::missing(JAVA, const { name($key) }))?,)*
            })
        }

        #[doc = concat!("Writes the fields of `", stringify!($java), "`.")]
        pub fn $encode(&self, writer: &mut $crate::reply::FrameWriter<'_>) {
            use $crate::req::{Slot, name};
            writer.fields();
            $(<$type as Slot<'_>>::write(&self.$field, const { name($key) }, writer);)*
        }
    };
    (@absent $type:ty) => { <$type as Slot<'_>>::absent() };
    (@absent $type:ty, $default:expr) => { Some($default) };
}

/// Declares headers: the struct, named as in Java, and its codec.
macro_rules! headers {
    ($($(#[$doc:meta])* $name:ident $(<$lt:lifetime>)? { $($body:tt)* })*) => {
        $(headers! { @one [$(#[$doc])*] $name $([$lt])? { $($body)* } })*
    };
    (@one [$($doc:tt)*] $name:ident [$lt:lifetime] {
        $($(#[$field_doc:meta])* $field:ident: $type:ty $(= $default:expr)? => $key:literal;)*
    }) => {
        $($doc)*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<$lt> {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl<$lt> $name<$lt> {
            codec! { decode, encode, $lt, $name, {
                $($field: $type $(= $default)? => $key;)*
            } }
        }
    };
    (@one [$($doc:tt)*] $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty $(= $default:expr)? => $key:literal;)*
    }) => {
        $($doc)*
        #[derive(Clone, Copy, Debug)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $name {
            codec! { decode, encode, '_, $name, {
                $($field: $type $(= $default)? => $key;)*
            } }
        }
    };
}

pub mod client;
pub mod control;
pub mod namesrv;
pub mod send;
pub mod send_form;
pub mod send_scan;

/// Longest part of a bad value an error repeats.
const VALUE_CHARS_MAX: usize = 100;

/// Why the fields of a request do not make its header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldError {
    /// Java's name of the header class.
    pub header: &'static str,
    /// Key of the field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: FieldProblem,
}

/// What is wrong with a field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FieldProblem {
    /// A required field is absent or null.
    Missing,
    /// The value does not parse as its type.
    NotANumber {
        /// Java's name of the type.
        kind: &'static str,
        /// The value, cut to 100 characters.
        value: String,
    },
}

impl FieldError {
    pub(crate) fn missing(header: &'static str, field: &'static str) -> FieldError {
        FieldError { header, field, problem: FieldProblem::Missing }
    }

    #[cold]
    pub(crate) fn not_a_number(
        header: &'static str,
        field: &'static str,
        kind: &'static str,
        value: Text<'_>,
    ) -> FieldError {
        let value = value.to_cow().chars().take(VALUE_CHARS_MAX).collect();
        FieldError { header, field, problem: FieldProblem::NotANumber { kind, value } }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            FieldProblem::Missing => write!(f, "the custom field <{}> is null", self.field),
            FieldProblem::NotANumber { kind, value } => {
                write!(f, "the field {} of {} is not {kind}: {value:?}", self.field, self.header)
            }
        }
    }
}

impl std::error::Error for FieldError {}

/// The key as text; evaluated while compiling.
pub(crate) const fn name(key: &'static [u8]) -> &'static str {
    match std::str::from_utf8(key) {
        Ok(name) => name,
        Err(_) => panic!("field names are ASCII"),
    }
}

/// A type a header field may have.
pub(crate) trait Slot<'a>: Sized {
    /// The value when the field is absent; `None` when it is required.
    fn absent() -> Option<Self>;
    /// Parses as Java does; the error says what it should have been.
    fn read(text: Text<'a>) -> Result<Self, &'static str>;
    /// Writes the field.
    fn write(&self, key: &'static str, writer: &mut FrameWriter<'_>);
}

impl<'a> Slot<'a> for Text<'a> {
    fn absent() -> Option<Self> {
        None
    }

    fn read(text: Text<'a>) -> Result<Self, &'static str> {
        Ok(text)
    }

    fn write(&self, key: &'static str, writer: &mut FrameWriter<'_>) {
        match self.as_plain() {
            Some(bytes) => writer.field_str(key, bytes),
            None => writer.field_str(key, self.to_cow().as_bytes()),
        }
    }
}

impl Slot<'_> for i32 {
    fn absent() -> Option<Self> {
        None
    }

    fn read(text: Text<'_>) -> Result<Self, &'static str> {
        text.parse_i32().map_err(|_| "an int")
    }

    fn write(&self, key: &'static str, writer: &mut FrameWriter<'_>) {
        writer.field_i32(key, *self);
    }
}

impl Slot<'_> for i64 {
    fn absent() -> Option<Self> {
        None
    }

    fn read(text: Text<'_>) -> Result<Self, &'static str> {
        text.parse_i64().map_err(|_| "a long")
    }

    fn write(&self, key: &'static str, writer: &mut FrameWriter<'_>) {
        writer.field_i64(key, *self);
    }
}

impl Slot<'_> for bool {
    fn absent() -> Option<Self> {
        None
    }

    fn read(text: Text<'_>) -> Result<Self, &'static str> {
        Ok(text.parse_bool())
    }

    fn write(&self, key: &'static str, writer: &mut FrameWriter<'_>) {
        writer.field_bool(key, *self);
    }
}

impl<'a, T: Slot<'a>> Slot<'a> for Option<T> {
    fn absent() -> Option<Self> {
        Some(None)
    }

    fn read(text: Text<'a>) -> Result<Self, &'static str> {
        T::read(text).map(Some)
    }

    fn write(&self, key: &'static str, writer: &mut FrameWriter<'_>) {
        if let Some(value) = self {
            value.write(key, writer);
        }
    }
}

#[cfg(test)]
mod tests;
