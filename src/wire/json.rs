//! Bodies in fastjson's dialect of JSON: a lenient reader and writers for its two modes.
//!
//! Reading tries strict JSON first, which nearly every body is; only what fails goes through `lenient`, which
//! rewrites the dialect to strict JSON. Limits: values nest at most 64 deep; the size is the frame's.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

mod format;
mod lenient;

pub(crate) use format::OBJECT_KEY_MARK;
use format::{Fastjson, Keys};

/// Marks a repeated object in fastjson's output.
const REFERENCE: &[u8] = b"\"$ref\"";

/// Why a body cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BodyError {
    /// What is wrong, naming the member or the byte.
    pub what: String,
}

impl BodyError {
    pub(crate) fn new(what: impl Into<String>) -> BodyError {
        BodyError { what: what.into() }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the body cannot be read: {}", self.what)
    }
}

impl std::error::Error for BodyError {}

/// Reads a body. Unknown members are ignored, absent and null ones keep their defaults.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BodyError> {
    let has_reference = memchr::memmem::find(bytes, REFERENCE).is_some();
    if !has_reference && let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    let strict = lenient::to_strict(bytes)
        .map_err(|error| BodyError::new(format!("{} at byte {}", error.what, error.at)))?;
    let read = if has_reference {
        serde_json::from_slice(&strict).and_then(|mut value| {
            lenient::resolve_references(&mut value);
            serde_json::from_value(value)
        })
    } else {
        serde_json::from_slice(&strict)
    };
    read.map_err(|error| BodyError::new(error.to_string()))
}

/// Appends `value` as default fastjson writes it: numeric keys without quotes, text in raw UTF-8.
///
/// Bean members must be declared in the order of their names.
pub fn write_default<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    write(out, value, Keys::Plain);
}

/// Appends `value` like `write_default`, and writes the keys of a `ByQueue` as bare objects.
///
/// Only for bodies whose other keys do not come from users.
pub fn write_object_keys<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    write(out, value, Keys::Objects);
}

/// Appends `value` as fastjson's browser-compatible mode writes it: every key quoted, text in ASCII.
pub fn write_strict<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    write(out, value, Keys::Quoted);
}

fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T, keys: Keys) {
    let mut serializer = serde_json::Serializer::with_formatter(out, Fastjson::new(keys));
    value.serialize(&mut serializer).expect("a vector takes every byte, and bodies are plain data");
}

#[cfg(test)]
mod tests;
