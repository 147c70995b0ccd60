//! What fastjson reads and writes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

fn read(text: &str) -> Result<Value, BodyError> {
    from_slice(text.as_bytes())
}

#[test]
fn the_dialect_reads() {
    assert_eq!(
        read(r#"{0:"a",-1:'b\'c',name:[1,2,],"n":null,,"x":{"y":true},}"#).unwrap(),
        json!({"0": "a", "-1": "b'c", "name": [1, 2], "x": {"y": true}})
    );
    assert_eq!(
        read("/* c */ {\"a\":\"\\x41\\v\u{1}\" // end\n}").unwrap(),
        json!({"a": "A\u{b}\u{1}"})
    );
    assert_eq!(
        read(r#"{{"brokerName":"b","queueId":0}:{"o":1}}"#).unwrap(),
        json!({"{\"brokerName\":\"b\",\"queueId\":0}": {"o": 1}})
    );
}

#[test]
fn references_are_followed() {
    let value = read(
        r#"{"t":{"%RETRY%a.b":{"attributes":{"k":"v"}},"x":{"attributes":{"$ref":"$.t.%RETRY%a.b.attributes"}},
            "y":{"attributes":{"$ref":"$.none"}},"l":[{"$ref":"$.t.x.attributes"}]}}"#,
    )
    .unwrap();
    assert_eq!(value["t"]["x"]["attributes"], json!({"k": "v"}));
    assert_eq!(value["t"]["y"]["attributes"], json!({}));
    assert_eq!(value["t"]["l"][0], json!({"k": "v"}));
    let many = r#",{"$ref":"$.big"}"#.repeat(100_000);
    let bomb = read(&format!("{{\"big\":[{}],\"refs\":[0{many}]}}", "1,".repeat(100_000))).unwrap();
    assert!(bomb["refs"][1].is_array() && bomb["refs"][99_999] == json!({}));
    let circle = read(r#"{"a":{"$ref":"$"},"b":{"$ref":"$.a"},"c":{"$ref":".."}}"#).unwrap();
    assert_eq!(circle, json!({"a": {}, "b": {}, "c": {}}));
}

#[test]
fn what_is_no_json_is_refused_with_the_place() {
    for bad in [
        "",
        "{",
        "[1",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1}x",
        "\"a",
        "{{{1:1}:1}:1}",
        "{\"a\":\"\\q\"}",
        "}",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
    assert!(read(&"[".repeat(100_000)).is_err());
    assert!(read(&"{a:".repeat(100_000)).is_err());
    assert_eq!(
        read("{\"a\"=1}").unwrap_err().to_string(),
        "the body cannot be read: the colon after a key is missing at byte 4"
    );
}

#[test]
fn the_two_modes_write_keys_and_text_their_way() {
    let value = (BTreeMap::from([(0_i64, "10.0.0.1:10911"), (1, "中/é\u{7f}\"\u{1}\u{b}😀")]), "");
    let mut out = Vec::new();
    write_default(&mut out, &value);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "[{0:\"10.0.0.1:10911\",1:\"中/é\\u007F\\\"\\u0001\\u000B😀\"},\"\"]"
    );
    let mut out = Vec::new();
    write_strict(&mut out, &value);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "[{\"0\":\"10.0.0.1:10911\",\"1\":\"\\u4E2D\\/\\u00E9\\u007F\\\"\\u0001\\u000B\\uD83D\\uDE00\"},\"\"]"
    );
}

#[test]
fn a_key_cannot_pass_for_an_object() {
    let key = format!("{OBJECT_KEY_MARK}{{}}");
    let value = BTreeMap::from([(key.as_str(), 1), ("", 2), ("\"", 3)]);
    let mut out = Vec::new();
    write_default(&mut out, &value);
    assert_eq!(
        String::from_utf8(out.clone()).unwrap(),
        format!("{{\"\":2,\"\\\"\":3,\"{key}\":1}}")
    );
    assert!(serde_json::from_slice::<Value>(&out).is_ok());
}

#[test]
fn arbitrary_text_never_panics() {
    let alphabet = br#"{}[]",:'\u0x1a$ref/*- .null"#;
    let mut state = 88_172_645_463_325_252_u64;
    for _ in 0..20_000 {
        let mut text = b"{".to_vec();
        for _ in 0..24 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push(alphabet[usize::try_from(state % 27).unwrap()]);
        }
        let _ = from_slice::<Value>(&text).is_ok();
    }
}
