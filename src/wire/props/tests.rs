//! Reading and changing properties text as both Java lines write it.

use super::*;

#[test]
fn both_endings_read_the_same() {
    for text in [
        &b"KEYS\x01a b\x02WAIT\x01true\x02TAGS\x01t"[..],
        b"KEYS\x01a b\x02WAIT\x01true\x02TAGS\x01t\x02",
    ] {
        let props = Props::new(text);
        assert_eq!(props.iter().count(), 3);
        assert_eq!(props.get(TAGS), Some(&b"t"[..]));
        assert!(props.is_true(WAIT));
        assert_eq!(props.keys().collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(props.get("KEY"), None);
    }
}

#[test]
fn what_is_no_pair_is_skipped() {
    let props = Props::new(b"\x02junk\x02k\x01\x02DELAY\x013\x02\x02a\x01b\x01c\x02DELAY\x014");
    let pairs: Vec<_> = props.iter().collect();
    assert_eq!(pairs, [(&b"DELAY"[..], &b"3"[..]), (b"a", b"b\x01c"), (b"DELAY", b"4")]);
    assert_eq!(props.get_i64(DELAY), Some(4));
    assert_eq!(props.get_i64("a"), None);
    assert_eq!(Props::new(b"").iter().count(), 0);
}

#[test]
fn append_inserts_the_separator_4_9_leaves_out() {
    let mut out = b"a\x01b".to_vec();
    append(&mut out, "c", b"d");
    append_i64(&mut out, "n", -7);
    assert_eq!(out, b"a\x01b\x02c\x01d\x02n\x01-7\x02");
    let mut empty = Vec::new();
    append(&mut empty, "k", b"v");
    assert_eq!(empty, b"k\x01v\x02");
}

#[test]
fn remove_takes_all_pairs_of_the_key_and_no_other() {
    let mut out = b"WAIT\x01true\x02WAITER\x01x\x02k\x01WAIT\x02WAIT\x01false".to_vec();
    assert!(remove(&mut out, WAIT));
    assert_eq!(out, b"WAITER\x01x\x02k\x01WAIT\x02");
    assert!(!remove(&mut out, WAIT));
    set(&mut out, "k", b"2");
    assert_eq!(out, b"WAITER\x01x\x02k\x012\x02");
}
