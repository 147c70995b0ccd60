//! Commit-log segments: `<20-digit start position>`, all of one size, records back to back (store.md 2).
//!
//! A record never spans two segments. The one that does not fit leaves a blank record (`i32` rest, `i32` blank
//! magic) and zeros behind it. At least `BLANK_BYTES` always remain for that.

/// Bytes of the blank record's two words; a record fits when this much remains behind it.
pub const BLANK_BYTES: u64 = 8;

/// Digits of a segment's or queue file's name.
pub const NAME_DIGITS: usize = 20;

/// File name of the segment that starts at `position`.
pub fn name(position: u64) -> String {
    format!("{position:020}")
}

/// Start position that a file name states; `None` for names that are not 20 digits.
pub fn parse_name(name: &str) -> Option<u64> {
    let digits = name.len() == NAME_DIGITS && name.bytes().all(|b| b.is_ascii_digit());
    if digits { name.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_positions() {
        assert_eq!(name(1_073_741_824), "00000000001073741824");
        assert_eq!(parse_name("00000000001073741824"), Some(1_073_741_824));
        assert_eq!(parse_name("0000000000107374182"), None);
        assert_eq!(parse_name("0000000000107374182x"), None);
    }
}
