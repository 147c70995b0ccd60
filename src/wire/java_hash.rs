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
///
/// Eight ASCII bytes are taken at a time: a key is hashed for every message that is stored.
pub fn java_hash_onto(start: i32, bytes: &[u8]) -> i32 {
    let mut hash = start.cast_unsigned();
    let (words, tail) = bytes.as_chunks::<8>();
    let mut rest = bytes;
    for word in words {
        let word = u64::from_le_bytes(*word);
        if word & NOT_ASCII != 0 {
            return hash_text(hash, rest);
        }
        hash = hash.wrapping_mul(POWER_8).wrapping_add(ascii_word(word));
        rest = rest.get(8..).unwrap_or_default();
    }
    for byte in tail {
        if !byte.is_ascii() {
            return hash_text(hash, rest);
        }
        hash = hash.wrapping_mul(31).wrapping_add(u32::from(*byte));
        rest = rest.get(1..).unwrap_or_default();
    }
    hash.cast_signed()
}

/// Set in bytes that are not ASCII.
const NOT_ASCII: u64 = 0x8080_8080_8080_8080;
const POWER_4: u32 = 31 * 31 * 31 * 31;
const POWER_8: u32 = POWER_4.wrapping_mul(POWER_4);

/// The hash of eight ASCII bytes, the first one lowest: neighbours are joined to pairs, pairs to quads. A pair is at most
/// 32 * 127 and fits 16 bits, a quad fits 32.
fn ascii_word(word: u64) -> u32 {
    const BYTES: u64 = 0x00FF_00FF_00FF_00FF;
    const PAIRS: u64 = 0x0000_FFFF_0000_FFFF;
    let pairs = (word & BYTES) * 31 + (word >> 8 & BYTES);
    let quads = (pairs & PAIRS) * (31 * 31) + (pairs >> 16 & PAIRS);
    let [a, b, c, d, e, f, g, h] = quads.to_le_bytes();
    let (first, second) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    first.wrapping_mul(POWER_4).wrapping_add(second)
}

/// Goes on with text that is not only ASCII.
fn hash_text(mut hash: u32, bytes: &[u8]) -> i32 {
    let step = |hash: u32, unit: u16| hash.wrapping_mul(31).wrapping_add(u32::from(unit));
    for chunk in bytes.utf8_chunks() {
        hash = chunk.valid().encode_utf16().fold(hash, step);
        if !chunk.invalid().is_empty() {
            hash = step(hash, 0xFFFD);
        }
    }
    hash.cast_signed()
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
    fn eight_bytes_at_a_time_make_the_same_hash() {
        let plain = |text: &str| {
            let step = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
            text.encode_utf16().fold(7, step)
        };
        let text: String = (0..40u8).map(|i| char::from(127 - i * 3)).collect();
        for end in 0..=text.len() {
            let mixed = format!("{}é中😀{}", &text[..end], &text[end..]);
            for text in [&text[..end], &mixed] {
                assert_eq!(java_hash_onto(7, text.as_bytes()), plain(text), "{text:?}");
            }
        }
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
