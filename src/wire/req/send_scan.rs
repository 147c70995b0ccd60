//! Sends as Java clients write them in JSON, read in one pass: keys of one letter, strings for values, members in
//! fastjson's order. Whatever looks different in any byte is left to the general decoders, which also word the errors.
//!
//! Invariant (tested): what is read here equals what `Header::decode` and `SendRequest::decode_v2` read.

use crate::codes::{Language, request};
use crate::frame::{Frame, SerializeType};
use crate::header::{Fields, Header};
use crate::ids::QueueId;
use crate::req::send::SendRequest;
use crate::scan::find_end;
use crate::text::{Text, parse_decimal};

const BEGIN_SEND: &[u8] = br#"{"code":310,"extFields":{"#;
const BEGIN_BATCH: &[u8] = br#"{"code":320,"extFields":{"#;
const FLAG: &[u8] = br#","flag":"#;
const OPAQUE: &[u8] = br#","language":"JAVA","opaque":"#;
const VERSION: &[u8] = br#","serializeTypeCurrentRPC":"JSON","version":"#;

/// Keys `a` to `n`.
const KEYS: usize = 14;
/// The key of the properties, the only value in which escapes are read here.
const PROPERTIES: u8 = b'i';

/// Values by key; `None` where the key is absent.
type Values<'a> = [Option<&'a [u8]>; KEYS];

/// Reads header and fields of a JSON send; the decoded properties replace what is in `properties`.
///
/// `None` means nothing about the frame: the general decoders have to look at it.
pub fn scan<'a>(
    frame: &Frame<'a>,
    properties: &mut Vec<u8>,
) -> Option<(Header<'a>, SendRequest<'a>)> {
    let header = frame.header;
    let (code, fields) = match header.strip_prefix(BEGIN_SEND) {
        Some(rest) => (request::SEND_MESSAGE_V2, rest),
        None => (request::SEND_BATCH_MESSAGE, header.strip_prefix(BEGIN_BATCH)?),
    };
    if frame.serialize != SerializeType::Json {
        return None;
    }
    properties.clear();
    let (values, first_escape, rest) = values(fields, properties)?;
    let (checked, _) = fields.split_at_checked(fields.len() - rest.len())?;
    let (flag, rest) = int(rest.strip_prefix(FLAG)?)?;
    let (opaque, rest) = int(rest.strip_prefix(OPAQUE)?)?;
    let (version, rest) = int(rest.strip_prefix(VERSION)?)?;
    if rest != b"}" {
        return None;
    }
    let header = Header {
        serialize: SerializeType::Json,
        code,
        language: Language::Java,
        version,
        opaque,
        flag,
        remark: None,
        fields: Fields::checked_json(checked),
    };
    Some((header, request(&values, first_escape)?))
}

/// Topic and queue number of a send that `scan` would read. They prove nothing about the rest of the frame.
pub fn place<'a>(frame: &Frame<'a>) -> Option<(&'a [u8], QueueId)> {
    let header = frame.header;
    let fields = header.strip_prefix(BEGIN_SEND).or_else(|| header.strip_prefix(BEGIN_BATCH));
    let mut rest = fields?;
    let mut topic = None;
    loop {
        let [b'"', key, b'"', b':', b'"', tail @ ..] = rest else { return None };
        let end = find_end(tail, b'"')?;
        let behind = tail.get(end..)?.strip_prefix(b"\"")?;
        match key {
            b'b' => topic = tail.get(..end),
            b'e' => return Some((topic?, QueueId(small(tail.get(..end)?).ok()?))),
            _ => {}
        }
        rest = behind.strip_prefix(b",")?;
    }
}

/// The values up to the closing brace, where the first escape of the properties is, and what follows the brace.
fn values<'a>(fields: &'a [u8], properties: &mut Vec<u8>) -> Option<(Values<'a>, usize, &'a [u8])> {
    let mut values: Values<'a> = [None; KEYS];
    let mut first_escape = usize::MAX;
    let mut rest = fields;
    loop {
        let [b'"', key, b'"', b':', b'"', tail @ ..] = rest else { return None };
        let slot = values.get_mut(usize::from(key.wrapping_sub(b'a')))?;
        if slot.is_some() {
            return None;
        }
        let end = if *key == PROPERTIES {
            let (end, escape) = unescape(tail, properties)?;
            first_escape = escape;
            end
        } else {
            let end = find_end(tail, b'"')?;
            if tail.get(end) != Some(&b'"') {
                return None;
            }
            end
        };
        *slot = tail.get(..end);
        match tail.get(end + 1..)? {
            [b',', next @ ..] => rest = next,
            [b'}', next @ ..] => return Some((values, first_escape, next)),
            _ => return None,
        }
    }
}

/// Decodes a string up to its quote; the separators of properties are the only escapes. Returns the length of the
/// text in the frame and where its first escape is.
fn unescape(text: &[u8], out: &mut Vec<u8>) -> Option<(usize, usize)> {
    let mut first_escape = usize::MAX;
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        let end = find_end(rest, b'"')?;
        out.extend_from_slice(rest.get(..end)?);
        at += end;
        let separator = match rest.get(end..)? {
            [b'"', ..] => return Some((at, first_escape)),
            [b'\\', b'u', b'0', b'0', b'0', digit @ (b'1' | b'2'), ..] => digit - b'0',
            _ => return None,
        };
        first_escape = first_escape.min(at);
        out.push(separator);
        at += 6;
    }
}

fn request<'a>(values: &Values<'a>, first_escape: usize) -> Option<SendRequest<'a>> {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = *values;
    let number = |text: Option<&[u8]>| text.map(small).transpose();
    let truth = |text: Option<&'a [u8]>| text.map(|text| Text::plain(text).parse_bool());
    Some(SendRequest {
        producer_group: a.map(Text::plain),
        topic: Text::plain(b?),
        default_topic: c.map(Text::plain),
        default_topic_queue_nums: number(d).ok()?,
        queue_id: small(e?).ok()?,
        sys_flag: small(f?).ok()?,
        born_timestamp: parse_decimal(g?).ok()?,
        flag: small(h?).ok()?,
        properties: i.map(|text| Text::escaped(text, first_escape.min(text.len()))),
        reconsume_times: number(j).ok()?,
        unit_mode: truth(k),
        max_reconsume_times: number(l).ok()?,
        batch: truth(m),
        broker_name: n.map(Text::plain),
    })
}

fn small(text: &[u8]) -> Result<i32, ()> {
    // Most numbers of a send are one digit.
    match text {
        [digit @ b'0'..=b'9'] => Ok(i32::from(digit - b'0')),
        _ => parse_decimal(text).ok().and_then(|n| i32::try_from(n).ok()).ok_or(()),
    }
}

/// A bare int and what follows it.
fn int(text: &[u8]) -> Option<(i32, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'-')?;
    let (number, rest) = text.split_at_checked(end)?;
    Some((small(number).ok()?, rest))
}

#[cfg(test)]
pub(crate) mod tests;
