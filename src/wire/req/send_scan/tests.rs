//! The scan against the general decoders: headers of Java clients, and the same with bytes changed.

use super::*;
use crate::frame::split;

const JAVA: &str = concat!(
    r#"{"code":310,"extFields":{"a":"PG_back","b":"TopicBack","c":"TBW102","d":"4","e":"1","f":"0","#,
    r#""g":"1795243158365","h":"0","i":"KEYS\u0001k-0\u0002UNIQ_KEY\u00017F00000106834E0E2F2A686CC3590000"#,
    r#"\u0002WAIT\u0001true\u0002TAGS\u0001TagA","j":"0","k":"false","m":"false","n":"broker-a"},"#,
    r#""flag":0,"language":"JAVA","opaque":8,"serializeTypeCurrentRPC":"JSON","version":407}"#,
);

fn frame(header: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(header.len() + 8).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(&u32::try_from(header.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(b"body");
    bytes
}

/// Whether the scan took the frame; panics when it read something else than the decoders do.
pub(crate) fn agrees(frame: &Frame<'_>) -> bool {
    // Whatever the frame is: no bytes make it panic.
    let _ = place(frame);
    let mut properties = b"left over".to_vec();
    let Some((header, send)) = scan(frame, &mut properties) else { return false };
    let same = Header::decode(frame).expect("the decoders read what was scanned");
    assert_eq!(format!("{header:?}"), format!("{same:?}"));
    let fields = |header: &Header<'_>| -> Vec<(String, String)> {
        header.fields.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    };
    assert_eq!(fields(&header), fields(&same));
    let expected = SendRequest::decode_v2(&same.fields).expect("as above");
    assert_eq!(format!("{send:?}"), format!("{expected:?}"));
    let mut decoded = Vec::new();
    if let Some(text) = expected.properties {
        text.write_to(&mut decoded);
    }
    assert_eq!(properties, decoded);
    let place_is_same = |(topic, queue)| {
        let expected = expected.topic.as_plain().map(|topic| (topic, expected.queue_id));
        Some((topic, queue)) == expected.map(|(topic, id)| (topic, QueueId(id)))
    };
    assert!(place(frame).is_none_or(place_is_same));
    true
}

fn scans(header: &[u8]) -> bool {
    let bytes = frame(header);
    split(&bytes).ok().flatten().is_some_and(|(frame, _)| agrees(&frame))
}

#[test]
fn a_java_send_is_scanned() {
    assert!(scans(JAVA.as_bytes()));
    assert!(scans(JAVA.replace("310", "320").as_bytes()));
    assert!(scans(JAVA.replace("\"h\":\"0\"", "\"h\":\"-2147483648\"").as_bytes()));
    assert!(scans(JAVA.replace("\"opaque\":8", "\"opaque\":-2147483648").as_bytes()));
    assert!(scans(JAVA.replace("PG_back", "").as_bytes()));
}

#[test]
fn the_place_of_a_java_send_is_seen_without_the_rest() {
    let bytes = frame(JAVA.as_bytes());
    let (whole, _) = split(&bytes).unwrap().unwrap();
    assert_eq!(place(&whole), Some((&b"TopicBack"[..], QueueId(1))));
    for (from, to) in [
        ("\"b\"", "\"q\""),
        ("TopicBack", "Topic\\u0042ack"),
        ("\"e\":\"1\"", "\"e\":\"1\\u0031\""),
        ("\"a\":\"PG_back\"", "\"a\":\"PG\\\"_back\""),
    ] {
        let header = JAVA.replace(from, to);
        assert_ne!(header, JAVA);
        let bytes = frame(header.as_bytes());
        let (whole, _) = split(&bytes).unwrap().unwrap();
        assert_eq!(place(&whole), None, "{header}");
    }
}

#[test]
fn what_is_written_otherwise_is_left_to_the_decoders() {
    for (from, to) in [
        ("310", "10"),
        ("{\"code\"", "{ \"code\""),
        ("TopicBack", "Topic\\u0001"),
        ("\\u0001k-0", "\\u0003k-0"),
        ("\"g\":\"1795243158365\"", "\"g\":1795243158365"),
        ("\"g\":\"1795243158365\"", "\"g\":null"),
        ("\"e\":\"1\"", "\"e\":\"x\""),
        ("\"e\":\"1\"", "\"e\":\"1\",\"e\":\"2\""),
        ("\"e\":\"1\",", ""),
        ("\"b\":\"TopicBack\",", ""),
        ("\"n\":\"broker-a\"", "\"Signature\":\"s\""),
        ("JAVA", "GO"),
        ("407}", "407,\"remark\":\"r\"}"),
        ("407}", "407"),
        ("\"opaque\":8", "\"opaque\":99999999999"),
    ] {
        let header = JAVA.replace(from, to);
        assert_ne!(header, JAVA);
        assert!(!scans(header.as_bytes()), "{header}");
    }
}

#[test]
fn changed_bytes_never_make_the_scan_read_something_else() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let interesting = b"\"\\{}:,0129-+ u\x00\xFFn'";
    let mut scanned = 0;
    for _ in 0..200_000 {
        let mut header = JAVA.as_bytes().to_vec();
        for _ in 0..=random(2) {
            let at = random(header.len());
            match random(3) {
                0 => header[at] = interesting[random(interesting.len())],
                1 => header.insert(at, interesting[random(interesting.len())]),
                _ => drop(header.remove(at)),
            }
        }
        scanned += u32::from(scans(&header));
    }
    assert!(scanned > 10_000, "{scanned}: changes inside values are scanned");
}
