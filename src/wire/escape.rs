//! JSON string escapes as fastjson's default writer makes them: controls, quote, backslash, U+007F to U+009F,
//! U+2028 and U+2029; hex digits in upper case; everything else is raw UTF-8.

/// 1 where a byte may start something to escape.
const STARTS: [bool; 256] = starts();

const fn starts() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[0x22] = true;
    table[0x5C] = true;
    table[0x7F] = true;
    table[0xC2] = true;
    table[0xE2] = true;
    table
}

/// Appends `text` (UTF-8) escaped for a JSON string, without quotes.
pub(crate) fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| STARTS[usize::from(byte)]) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let used = match rest {
            [0xC2, low @ 0x80..=0x9F, ..] => {
                write_unit(out, 0, *low);
                2
            }
            [0xE2, 0x80, low @ (0xA8 | 0xA9), ..] => {
                write_unit(out, 0x20, low - 0x80);
                3
            }
            [byte @ (0xC2 | 0xE2), ..] => {
                out.push(*byte);
                1
            }
            [byte, ..] => {
                write_byte(out, *byte);
                1
            }
            [] => 0,
        };
        rest = &rest[used..];
    }
    out.extend_from_slice(rest);
}

fn write_byte(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0A => b'n',
        0x0C => b'f',
        0x0D => b'r',
        _ => return write_unit(out, 0, byte),
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// `\uXXXX` of the unit with these two bytes.
fn write_unit(out: &mut Vec<u8>, high: u8, low: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| DIGITS[usize::from(nibble & 15)];
    let text = [b'\\', b'u', digit(high >> 4), digit(high), digit(low >> 4), digit(low)];
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_as_fastjson() {
        let mut out = Vec::new();
        write_escaped(
            &mut out,
            "a\u{1}\"\\/\n\r\t\u{8}\u{c}\u{b}\u{7f}\u{80}\u{9f}\u{a0}é\u{2028}\u{2029}…中😀"
                .as_bytes(),
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "a\\u0001\\\"\\\\/\\n\\r\\t\\b\\f\\u000B\\u007F\\u0080\\u009F\u{a0}é\\u2028\\u2029…中😀"
        );
    }

    #[test]
    fn a_cut_character_is_kept() {
        let mut out = Vec::new();
        write_escaped(&mut out, b"x\xE2\x80");
        assert_eq!(out, b"x\xE2\x80");
    }
}
