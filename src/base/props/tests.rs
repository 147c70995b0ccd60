//! What `java.util.Properties.load` makes of the same text.

use super::*;

fn pairs(text: &str) -> Vec<(String, String, u32)> {
    let parsed = parse(text.as_bytes()).unwrap();
    parsed.entries.into_iter().map(|entry| (entry.key, entry.value, entry.line)).collect()
}

fn one(text: &str) -> (String, String) {
    let mut all = pairs(text);
    assert_eq!(all.len(), 1, "{all:?}");
    let (key, value, _) = all.remove(0);
    (key, value)
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn separators_are_equals_colon_and_blanks() {
    assert_eq!(one("a=b"), pair("a", "b"));
    assert_eq!(one("  a = b"), pair("a", "b"));
    assert_eq!(one("a:b"), pair("a", "b"));
    assert_eq!(one("a b"), pair("a", "b"));
    assert_eq!(one("a\t:\tb"), pair("a", "b"));
    assert_eq!(one("a==b"), pair("a", "=b"));
    assert_eq!(one("a"), pair("a", ""));
    assert_eq!(one("a="), pair("a", ""));
    assert_eq!(one("= b"), pair("", "b"));
}

#[test]
fn values_keep_their_last_blanks_and_escaped_keys_their_separators() {
    assert_eq!(one("a=b  "), pair("a", "b  "));
    assert_eq!(one("a\\=b\\ c=d"), pair("a=b c", "d"));
    assert_eq!(one("p=c:\\\\x\\ty"), pair("p", "c:\\x\ty"));
    assert_eq!(one("p=\\q\\"), pair("p", "q"));
}

#[test]
fn unicode_escapes_may_form_a_pair() {
    assert_eq!(one("a=\\u00e9\\ud83d\\ude00"), pair("a", "é😀"));
    let error = parse(b"x=1\n\na=\\u00g0").unwrap_err();
    assert_eq!(error, PropsError::BadEscape { line: 3, found: "u00g0".to_owned() });
    assert!(parse(b"a=\\u12").is_err());
    assert!(parse(b"a=\\u+123").is_err());
}

#[test]
fn comments_blank_lines_and_line_ends_are_counted() {
    let text = "# c=1\r\n! d=2\n\n \t\nk1=v1\rk2=v2\\\n   more\\\\\nk3=v3";
    let expected = [("k1", "v1", 5), ("k2", "v2more\\", 6), ("k3", "v3", 8)];
    let expected: Vec<_> =
        expected.iter().map(|&(k, v, line)| (k.to_owned(), v.to_owned(), line)).collect();
    assert_eq!(pairs(text), expected);
}

#[test]
fn a_continued_line_is_never_a_comment() {
    assert_eq!(one("a=1,\\\n# 2"), pair("a", "1,# 2"));
    assert_eq!(one("a=1\\"), pair("a", "1"));
    assert_eq!(pairs("a=1\\\n\nb=2").len(), 2);
}

#[test]
fn the_encoding_is_reported() {
    assert_eq!(parse(b"a=b").unwrap().encoding, Encoding::Ascii);
    let utf8 = parse("a=é".as_bytes()).unwrap();
    assert_eq!((utf8.encoding, utf8.entries[0].value.as_str()), (Encoding::Utf8, "é"));
    let latin = parse(b"a=\xe9").unwrap();
    assert_eq!((latin.encoding, latin.entries[0].value.as_str()), (Encoding::Latin1, "é"));
    assert_eq!(parse(b"\xEF\xBB\xBFa=b").unwrap().entries[0].key, "a");
}

#[test]
fn too_long_a_file_is_refused_with_the_limit() {
    let text = vec![b'x'; FILE_BYTES_MAX + 1];
    let error = parse(&text).unwrap_err().to_string();
    assert!(error.contains("1048577") && error.contains("1048576"), "{error}");
    assert!(parse(&text[1..]).is_ok());
}

#[test]
fn any_bytes_are_parsed_without_a_panic() {
    let mut seed = 7u32;
    for _ in 0..2_000 {
        let bytes: Vec<u8> = (0..40)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                b"\\u=: \n\r#a0\xe9\t!"[(seed >> 24) as usize % 13]
            })
            .collect();
        let _ = parse(&bytes);
    }
}

fn changed(original: &str, values: &[(&str, &str)]) -> String {
    let values: Vec<_> = values.iter().map(|&(key, value)| (key, value.to_owned())).collect();
    String::from_utf8(with_values(original.as_bytes(), &values).unwrap()).unwrap()
}

#[test]
fn changed_values_leave_the_rest_of_the_file_alone() {
    let original = "# head\r\n a = 1\r\nb=2\\\n  3\n\n! tail\na=4\nc:5";
    assert_eq!(changed(original, &[]), format!("{original}\n"));
    assert_eq!(changed(original, &[("b", "9")]), "# head\r\n a = 1\r\nb=9\n\n! tail\na=4\nc:5\n");
    assert_eq!(
        changed(original, &[("a", "x"), ("d", "y"), ("c", "")]),
        "# head\r\nb=2\\\n  3\n\n! tail\na=x\nc=\nd=y\n"
    );
    assert_eq!(changed("", &[("a", "1")]), "a=1\n");
}

#[test]
fn written_values_are_read_back() {
    for value in ["", " a b ", "c:\\x=#!", "é😀\t\n", "-"] {
        let text = with_values(b"# \xe9\nk=old", &[("k", value.to_owned())]).unwrap();
        let read = parse(&text).unwrap();
        assert_eq!((read.entries.len(), read.entries[0].value.as_str()), (1, value));
    }
}

#[test]
fn a_value_is_added_behind_a_file_that_ends_in_the_middle_of_one() {
    for original in ["a=b\\", "a=b\\\n", "a=b\\\r\n", "a=b\\\r", "#c\\\n", "a=b\\\\\n"] {
        let changed = with_values(original.as_bytes(), &[("key", "new".to_owned())]).unwrap();
        let entries = parse(&changed).unwrap().entries;
        let last = entries.last().map(|entry| (entry.key.as_str(), entry.value.as_str()));
        assert_eq!(last, Some(("key", "new")), "{original:?}: {entries:?}");
    }
}
