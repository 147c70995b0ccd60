//! Decoding escapes and numbers as Java does.

use super::*;

fn decoded(raw: &str) -> String {
    let text = Text::escaped(raw.as_bytes(), raw.find('\\').unwrap());
    let mut out = Vec::new();
    text.write_to(&mut out);
    let cow = text.to_cow().into_owned();
    assert_eq!(out, cow.as_bytes());
    assert!(text.eq_str(&cow));
    assert!(!text.eq_str(&format!("{cow}x")));
    assert!(out.len() <= text.len_max());
    cow
}

#[test]
fn escapes_decode() {
    assert_eq!(decoded(r"KEYS\u0001k\u0002"), "KEYS\u{1}k\u{2}");
    assert_eq!(
        decoded(r#"\"\\\/\b\f\n\r\t\v\'\0\7\x41"#),
        "\"\\/\u{8}\u{c}\n\r\t\u{b}'\u{0}\u{7}A"
    );
    assert_eq!(decoded(r"\u4e2D文\uD83D\uDE00!"), "中文😀!");
    assert_eq!(decoded(r"a\uD83Dx"), "a?x");
    assert_eq!(decoded(r"\uDE00\uD83D\uD83D\uDE00"), "??😀");
}

#[test]
fn numbers_parse_as_in_java() {
    let long = |text: &str| Text::plain(text.as_bytes()).parse_i64();
    assert_eq!(long("-9223372036854775808"), Ok(i64::MIN));
    assert_eq!(long("9223372036854775807"), Ok(i64::MAX));
    assert_eq!(long("9223372036854775808"), Err(NotANumber));
    assert_eq!(long("+5"), Ok(5));
    for bad in ["", "-", "+", " 1", "1 ", "1.0", "abc", "0x1", "null"] {
        assert_eq!(long(bad), Err(NotANumber), "{bad}");
    }
    assert_eq!(Text::plain(b"2147483648").parse_i32(), Err(NotANumber));
    assert_eq!(Text::plain(b"-2147483648").parse_i32(), Ok(i32::MIN));
    assert_eq!(Text::escaped(br"\u0031\u0032", 0).parse_i32(), Ok(12));
    assert_eq!(Text::escaped("\\u0031".repeat(100).as_bytes(), 0).parse_i64(), Err(NotANumber));
}

#[test]
fn booleans_are_true_only_for_true() {
    for (text, expected) in
        [("true", true), ("TRUE", true), ("tRue", true), ("1", false), ("", false)]
    {
        assert_eq!(Text::plain(text.as_bytes()).parse_bool(), expected, "{text}");
    }
}
