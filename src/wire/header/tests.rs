//! Headers in both encodings, as clients of all kinds write them.

use super::*;
use crate::frame;

fn json(header: &str) -> Result<Header<'_>, HeaderError> {
    let frame = Frame {
        bytes: header.as_bytes(),
        serialize: SerializeType::Json,
        header: header.as_bytes(),
        body: &[],
    };
    Header::decode(&frame)
}

fn pairs(fields: Fields<'_>) -> Vec<(String, String)> {
    fields.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

#[test]
fn a_java_send_header() {
    let header = json(
        r#"{"code":310,"extFields":{"a":"PG","i":"KEYS\u0001k\u0002TAGS\u0001t","e":"-1"},"flag":2,"language":"JAVA","opaque":5,"serializeTypeCurrentRPC":"JSON","version":513}"#,
    )
    .unwrap();
    assert_eq!((header.code, header.opaque, header.flag, header.version), (310, 5, 2, 513));
    assert_eq!(header.language, Language::Java);
    assert!(header.is_oneway() && !header.is_response());
    assert!(header.remark.is_none());
    assert_eq!(header.fields.get("a").unwrap().to_string(), "PG");
    assert_eq!(header.fields.get("i").unwrap().to_string(), "KEYS\u{1}k\u{2}TAGS\u{1}t");
    assert_eq!(header.fields.get("e").unwrap().parse_i32(), Ok(-1));
    assert!(header.fields.get("z").is_none());
}

#[test]
fn what_other_clients_write() {
    let header = json(
        " { \"opaque\" : 7 , 'code':\"34\", language:9, \"unknown\":[{\"x\":[1,{}]},null], \"remark\":\"\",
           \"extFields\" : {\"n\":12, \"b\":true, \"z\":null, 'q':'it\\'s', bare:-3, \"o\":{\"k\":[1]},},
           \"version\":333, flag:0, } ",
    )
    .unwrap();
    assert_eq!((header.code, header.opaque, header.version), (34, 7, 333));
    assert_eq!(header.language, Language::Go);
    assert!(header.remark.unwrap().is_empty());
    let expected =
        [("n", "12"), ("b", "true"), ("q", "it's"), ("bare", "-3"), ("o", "{\"k\":[1]}")];
    let expected: Vec<_> =
        expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect();
    assert_eq!(pairs(header.fields), expected);
}

#[test]
fn absent_and_null_members_have_javas_defaults() {
    let header = json(r#"{"remark":null,"extFields":null,"flag":null}"#).unwrap();
    assert_eq!((header.code, header.flag, header.version), (0, 0, 0));
    assert!(header.remark.is_none() && header.fields.is_empty());
    assert_eq!(json(r#"{"language":"KLINGON"}"#).unwrap().language, Language::Other);
}

#[test]
fn the_last_of_a_repeated_key_wins() {
    let header = json(r#"{"extFields":{"k":"1","k":"2"}}"#).unwrap();
    assert_eq!(header.fields.get("k").unwrap().parse_i32(), Ok(2));
}

#[test]
fn broken_json_is_an_error_that_names_the_place() {
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(33), "]".repeat(33));
    for bad in [
        "",
        "x",
        "{",
        "[]",
        "{\"code\"}",
        "{\"code\":}",
        "{\"code\":1",
        "{\"a\":\"x}",
        "{\"a\":\"\\q\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":[}]}",
        "{} x",
        "{\"extFields\":[]}",
        "{\"extFields\":\"x\"}",
        &deep,
        "{\"extFields\":{\"a\"}}",
        "{\"a\":{\"b\":1}",
        "{\"a\":\"\\",
    ] {
        assert!(json(bad).is_err(), "{bad}");
    }
    let error = json("{\"code\":\"abc\"}").unwrap_err();
    assert_eq!(error.to_string(), "the code is bad at header byte 8: it is not an int");
    assert!(json(&format!("{{\"x\":{}{}}}", "[".repeat(32), "]".repeat(32))).is_ok());
}

fn binary(remark: &[u8], fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0xFF, 0xFE, 9, 2, 1, 0, 0, 0, 7, 0, 0, 0, 1];
    let mut ext = Vec::new();
    for (key, value) in fields {
        ext.extend_from_slice(&u16::try_from(key.len()).unwrap().to_be_bytes());
        ext.extend_from_slice(key.as_bytes());
        ext.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
        ext.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(&u32::try_from(remark.len()).unwrap().to_be_bytes());
    out.extend_from_slice(remark);
    out.extend_from_slice(&u32::try_from(ext.len()).unwrap().to_be_bytes());
    out.extend_from_slice(&ext);
    out
}

#[test]
fn a_binary_header() {
    let bytes = binary(b"why", &[("topic", "T"), ("properties", "a\u{1}\\b\u{2}"), ("e", "")]);
    let header = decode_binary(&bytes).unwrap();
    assert_eq!((header.code, header.version, header.opaque, header.flag), (-2, 513, 7, 1));
    assert_eq!(header.language, Language::Go);
    assert!(header.is_response());
    assert_eq!(header.remark.unwrap().to_string(), "why");
    assert_eq!(header.fields.get("properties").unwrap().as_plain(), Some(&b"a\x01\\b\x02"[..]));
    assert_eq!(header.fields.iter().count(), 3);
    assert!(decode_binary(&binary(b"", &[])).unwrap().remark.is_none());
}

#[test]
fn a_cut_or_lying_binary_header_is_an_error() {
    let bytes = binary(b"why", &[("topic", "T")]);
    for end in 0..bytes.len() {
        assert!(decode_binary(&bytes[..end]).is_err(), "{end}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(decode_binary(&longer).is_err());
    let mut lying = bytes.clone();
    lying[13] = 0xFF;
    assert_eq!(
        decode_binary(&lying).unwrap_err().to_string(),
        "the remark is bad at header byte 17: its length is negative"
    );
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let alphabet = b"{}[]\",:\\u01aextFieldscode nul'";
    for _ in 0..20_000 {
        let length = usize::try_from(next() % 40).unwrap();
        let text: Vec<u8> = (0..length)
            .map(|_| alphabet[usize::try_from(next()).unwrap() % alphabet.len()])
            .collect();
        let mut bytes = vec![b'{'];
        bytes.extend_from_slice(&text);
        let raw: Vec<u8> = (0..length).map(|_| next().to_be_bytes()[0] & 0x1F).collect();
        if let Ok(header) = decode_json(&bytes) {
            header.fields.iter().for_each(|(key, value)| {
                key.to_cow();
                value.to_cow();
            });
        }
        if let Ok(header) = decode_binary(&raw) {
            header.fields.iter().count();
        }
        let _ = frame::split(&raw).is_ok();
    }
}
