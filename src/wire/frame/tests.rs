//! Frames at their limits, and frames that are none.

use super::*;

fn frame(kind: u8, header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let length = u32::try_from(4 + header.len() + body.len()).unwrap();
    out.extend_from_slice(&length.to_be_bytes());
    let word = u32::from(kind) << 24 | u32::try_from(header.len()).unwrap();
    out.extend_from_slice(&word.to_be_bytes());
    out.extend_from_slice(header);
    out.extend_from_slice(body);
    out
}

#[test]
fn every_prefix_is_incomplete_and_the_whole_is_one_frame() {
    let mut bytes = frame(1, b"header", b"body!");
    let total = bytes.len();
    bytes.extend_from_slice(b"next");
    for end in 0..total {
        assert!(split(&bytes[..end]).unwrap().is_none(), "{end}");
    }
    let (one, used) = split(&bytes).unwrap().unwrap();
    assert_eq!(used, total);
    assert_eq!(one.serialize, SerializeType::Rocketmq);
    assert_eq!((one.header, one.body), (&b"header"[..], &b"body!"[..]));
    assert_eq!(one.bytes, &bytes[..total]);
}

#[test]
fn lengths_at_the_limits() {
    assert_eq!(declared_bytes(&[0, 0, 0]), Ok(None));
    assert_eq!(declared_bytes(&[0, 0, 0, 4]), Ok(Some(8)));
    assert_eq!(declared_bytes(&16_777_212_i32.to_be_bytes()), Ok(Some(FRAME_BYTES_MAX)));
    assert_eq!(
        declared_bytes(&16_777_213_i32.to_be_bytes()),
        Err(FrameError::TooLong { length: 16_777_213 })
    );
    for length in [-1, 0, 3] {
        assert_eq!(declared_bytes(&i32::to_be_bytes(length)), Err(FrameError::TooShort { length }));
    }
    // "GET " as a length is far above the limit.
    assert!(declared_bytes(b"GET / HTTP/1.1").is_err());
}

#[test]
fn a_header_longer_than_the_frame_is_an_error() {
    let mut bytes = frame(0, b"{}", b"");
    bytes[7] = 3;
    let error = split(&bytes).unwrap_err();
    assert_eq!(error, FrameError::HeaderTooLong { header_bytes: 3, length: 6 });
    assert_eq!(error.to_string(), "the header length 3 does not fit the frame length 6");
}

#[test]
fn an_unknown_serialize_type_is_an_error_before_the_frame_is_complete() {
    let bytes = frame(7, b"{}", b"body");
    assert_eq!(split(&bytes).unwrap_err(), FrameError::UnknownSerializeType { byte: 7 });
    assert_eq!(split(&bytes[..5]).unwrap_err(), FrameError::UnknownSerializeType { byte: 7 });
}
