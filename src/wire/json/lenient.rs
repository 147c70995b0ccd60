//! Rewrites what fastjson's parser accepts to strict JSON: bare and numeric keys, object keys, single quotes, surplus
//! commas, comments, fastjson's own escapes, raw control characters. Members that are null are left out.
//!
//! An object key becomes a string that holds the object's JSON. Limits: 64 levels; object keys do not nest.

use serde_json::Value;

use crate::escape::write_escaped;
use crate::text::{Text, unit_at};

/// Deepest nesting.
const DEPTH_MAX: u32 = 64;
/// References that lead through other references are followed this often.
const REFERENCE_ROUNDS_MAX: u32 = 4;
/// Most values that are copied, or looked at, for all references of a body together.
const COPIED_VALUES_MAX: usize = 1 << 20;
/// Longest path of a reference.
const PATH_BYTES_MAX: usize = 1024;

/// What cannot be read, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LenientError {
    pub(super) what: &'static str,
    pub(super) at: usize,
}

/// The strict JSON for `input`.
pub(super) fn to_strict(input: &[u8]) -> Result<Vec<u8>, LenientError> {
    let mut rewriter =
        Rewriter { input, at: 0, out: Vec::with_capacity(input.len() + 64), in_key: false };
    rewriter.value(0)?;
    rewriter.space();
    if rewriter.at < input.len() {
        return Err(rewriter.error("something follows the value"));
    }
    Ok(rewriter.out)
}

struct Rewriter<'i> {
    input: &'i [u8],
    at: usize,
    out: Vec<u8>,
    in_key: bool,
}

impl<'i> Rewriter<'i> {
    fn error(&self, what: &'static str) -> LenientError {
        LenientError { what, at: self.at }
    }

    fn rest(&self) -> &'i [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    /// Skips white space and comments.
    fn space(&mut self) {
        loop {
            match self.rest() {
                [b' ' | b'\t' | b'\n' | b'\r' | 0x08 | 0x0C, ..] => self.at += 1,
                [b'/', b'/', ..] => {
                    let rest = self.rest();
                    self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                }
                [b'/', b'*', comment @ ..] => {
                    let end =
                        memchr::memmem::find(comment, b"*/").map_or(comment.len(), |end| end + 2);
                    self.at += 2 + end;
                }
                _ => return,
            }
        }
    }

    fn value(&mut self, depth: u32) -> Result<(), LenientError> {
        if depth > DEPTH_MAX {
            return Err(self.error("the value nests deeper than 64 levels"));
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(quote @ (b'"' | b'\'')) => self.string(quote),
            Some(_) => {
                let word = self.bare()?;
                self.out.extend_from_slice(match word {
                    b"undefined" | b"NaN" => b"null",
                    _ => word,
                });
                Ok(())
            }
            None => Err(self.error("a value is missing")),
        }
    }

    fn object(&mut self, depth: u32) -> Result<(), LenientError> {
        self.at += 1;
        self.out.push(b'{');
        let mut has_member = false;
        loop {
            self.space();
            let member = self.out.len();
            match self.peek() {
                None => return Err(self.error("the object does not end")),
                Some(b'}') => break,
                Some(b',') => {
                    self.at += 1;
                    continue;
                }
                Some(_) => {}
            }
            if has_member {
                self.out.push(b',');
            }
            self.key(depth)?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.error("the colon after a key is missing"));
            }
            self.at += 1;
            self.out.push(b':');
            let value = self.out.len();
            self.value(depth + 1)?;
            if &self.out[value..] == b"null" {
                self.out.truncate(member);
            } else {
                has_member = true;
            }
        }
        self.at += 1;
        self.out.push(b'}');
        Ok(())
    }

    fn key(&mut self, depth: u32) -> Result<(), LenientError> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string(quote),
            Some(b'{') => {
                if self.in_key {
                    return Err(self.error("an object key holds an object key"));
                }
                let outer = std::mem::take(&mut self.out);
                self.in_key = true;
                let read = self.object(depth + 1);
                self.in_key = false;
                let key = std::mem::replace(&mut self.out, outer);
                read?;
                self.quote(&key);
                Ok(())
            }
            _ => {
                let word = self.bare()?;
                self.quote(word);
                Ok(())
            }
        }
    }

    fn array(&mut self, depth: u32) -> Result<(), LenientError> {
        self.at += 1;
        self.out.push(b'[');
        let mut is_first = true;
        loop {
            self.space();
            match self.peek() {
                None => return Err(self.error("the array does not end")),
                Some(b']') => break,
                Some(b',') => {
                    self.at += 1;
                    continue;
                }
                Some(_) => {}
            }
            if !is_first {
                self.out.push(b',');
            }
            is_first = false;
            self.value(depth + 1)?;
        }
        self.at += 1;
        self.out.push(b']');
        Ok(())
    }

    fn string(&mut self, quote: u8) -> Result<(), LenientError> {
        self.at += 1;
        let start = self.at;
        loop {
            let rest = self.rest();
            let Some(end) = memchr::memchr2(quote, b'\\', rest) else {
                return Err(self.error("the string does not end"));
            };
            self.at += end;
            if rest[end] == quote {
                break;
            }
            let Some((_, used)) = unit_at(&rest[end..]) else {
                return Err(self.error("the escape in a string is unknown"));
            };
            self.at += used;
        }
        let text = Text::escaped(&self.input[start..self.at]).to_cow();
        self.at += 1;
        self.quote(text.as_bytes());
        Ok(())
    }

    fn quote(&mut self, text: &[u8]) {
        self.out.push(b'"');
        write_escaped(&mut self.out, text);
        self.out.push(b'"');
    }

    /// A number, a word or a bare key.
    fn bare(&mut self) -> Result<&'i [u8], LenientError> {
        let rest = self.rest();
        let end = rest
            .iter()
            .position(|byte| !byte.is_ascii_alphanumeric() && !b"+-._$".contains(byte))
            .unwrap_or(rest.len());
        if end == 0 {
            return Err(self.error("a key or value is missing"));
        }
        self.at += end;
        Ok(&rest[..end])
    }
}

/// Replaces `{"$ref":"$.a.b"}` by a copy of what it points to, and by `{}` when that cannot be found.
///
/// fastjson writes references for equal objects it met before, in practice for the attributes of topics. Copying is
/// bounded by a budget: a body full of references to a large part of itself would otherwise fill the memory.
pub(super) fn resolve_references(root: &mut Value) {
    let mut budget = COPIED_VALUES_MAX;
    for round in 1..=REFERENCE_ROUNDS_MAX {
        let source = root.clone();
        let is_last = round == REFERENCE_ROUNDS_MAX;
        let mut resolver = Resolver { source: &source, budget: &mut budget, is_last };
        if !resolver.replace(root) {
            return;
        }
    }
}

struct Resolver<'v> {
    source: &'v Value,
    budget: &'v mut usize,
    is_last: bool,
}

impl Resolver<'_> {
    /// Replaces what can be replaced below `value`; says whether a reference is left for another round.
    fn replace(&mut self, value: &mut Value) -> bool {
        if let Some(path) = value.get("$ref").and_then(Value::as_str) {
            return match find(self.source, path).map(|target| (target, self.weigh(target))) {
                Some((target, Weight::Plain)) => {
                    *value = target.clone();
                    false
                }
                Some((_, Weight::HoldsReference)) if !self.is_last => true,
                Some((_, Weight::HoldsReference | Weight::TooMuch)) | None => {
                    *value = Value::Object(serde_json::Map::new());
                    false
                }
            };
        }
        let mut is_left = false;
        match value {
            Value::Object(members) => {
                for member in members.values_mut() {
                    is_left |= self.replace(member);
                }
            }
            Value::Array(items) => {
                for item in items {
                    is_left |= self.replace(item);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        is_left
    }

    /// Charges a copy of `value` to the budget. A target that holds references itself waits for the next round.
    fn weigh(&mut self, value: &Value) -> Weight {
        let text = value.as_str().map_or(0, str::len);
        let keys = value.as_object().map_or(0, |members| members.keys().map(String::len).sum());
        let cost = 1 + (text + keys) / 16;
        let Some(left) = self.budget.checked_sub(cost) else {
            return Weight::TooMuch;
        };
        *self.budget = left;
        if value.get("$ref").is_some() {
            return Weight::HoldsReference;
        }
        let mut parts = Weight::Plain;
        match value {
            Value::Object(members) => {
                for part in members.values() {
                    parts = parts.max(self.weigh(part));
                }
            }
            Value::Array(items) => {
                for part in items {
                    parts = parts.max(self.weigh(part));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        parts
    }
}

/// Whether a target may be copied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Weight {
    Plain,
    HoldsReference,
    TooMuch,
}

/// Follows a path such as `$.topicConfigTable.T.attributes` or `$.list[0].x`.
///
/// Keys may hold dots, so at each object the longest key that fits is taken.
fn find<'v>(root: &'v Value, path: &str) -> Option<&'v Value> {
    if path.len() > PATH_BYTES_MAX {
        return None;
    }
    let plain = path.replace('\\', "");
    let mut rest = plain.strip_prefix('$')?;
    let mut value = root;
    while !rest.is_empty() {
        if let Some(index) = rest.strip_prefix('[') {
            let (index, tail) = index.split_once(']')?;
            value = value.as_array()?.get(index.parse::<usize>().ok()?)?;
            rest = tail;
            continue;
        }
        let dotted = rest.strip_prefix('.')?;
        let members = value.as_object()?;
        let ends = dotted.match_indices(['.', '[']).map(|(end, _)| end);
        let (end, member) = ends
            .chain([dotted.len()])
            .filter_map(|end| members.get(&dotted[..end]).map(|member| (end, member)))
            .next_back()?;
        rest = &dotted[end..];
        value = member;
    }
    Some(value)
}
