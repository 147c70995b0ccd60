//! Java's `String.hashCode`, which the consume queue and the index store on disk.

use crate::props::{self, Props};

/// `text.hashCode()`: base 31 over UTF-16 units, wrapping.
pub fn java_string_hash(text: &str) -> i32 {
    java_hash_onto(0, text.as_bytes())
}

/// The hash of UTF-8 `bytes`; malformed parts count as U+FFFD, which is what Java decodes them to.
pub fn java_bytes_hash(bytes: &[u8]) -> i32 {
    java_hash_onto(0, bytes)
}

/// Continues a hash: `java_hash_onto(java_string_hash(a), b)` is the hash of `a + b`.
pub fn java_hash_onto(start: i32, bytes: &[u8]) -> i32 {
    let step = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    let mut hash = start;
    if bytes.is_ascii() {
        return bytes.iter().fold(hash, |hash, &byte| step(hash, u16::from(byte)));
    }
    for chunk in bytes.utf8_chunks() {
        hash = chunk.valid().encode_utf16().fold(hash, step);
        if !chunk.invalid().is_empty() {
            hash = step(hash, 0xFFFD);
        }
    }
    hash
}

/// The code of one tag as a consume queue unit stores it.
pub fn tag_code(tag: &[u8]) -> i64 {
    i64::from(java_bytes_hash(tag))
}

/// The code a consume queue unit gets for a message with these properties: the hash of the whole TAGS text, 0 without.
pub fn tags_code(properties: &[u8]) -> i64 {
    Props::new(properties).get(props::TAGS).map_or(0, tag_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_javas() {
        assert_eq!(java_string_hash(""), 0);
        // From the recorded heartbeat: codeSet [2598919] for TagA.
        assert_eq!(java_string_hash("TagA"), 2_598_919);
        assert_eq!(java_string_hash("中文"), 646_394);
        // U+1F600 counts as its two surrogates D83D and DE00.
        assert_eq!(java_string_hash("😀"), 0xD83D * 31 + 0xDE00);
        assert_eq!(java_string_hash("polygenelubricants"), i32::MIN);
        assert_eq!(
            java_hash_onto(java_string_hash("Topic#"), b"key"),
            java_string_hash("Topic#key")
        );
        assert_eq!(java_bytes_hash(b"a\xFFb"), java_string_hash("a\u{FFFD}b"));
    }

    #[test]
    fn tags_code_takes_the_whole_text() {
        assert_eq!(tags_code(b"KEYS\x01k\x02TAGS\x01TagA\x02"), 2_598_919);
        assert_eq!(tags_code(b"TAGS\x01TagA"), 2_598_919);
        assert_eq!(tags_code(b"KEYS\x01k"), 0);
        assert_eq!(tags_code(b""), 0);
        assert_eq!(tags_code(b"TAGS\x01a||b"), i64::from(java_string_hash("a||b")));
    }
}
