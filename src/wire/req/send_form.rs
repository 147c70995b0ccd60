//! The answer to a send of one message with its constant parts written in advance: what differs from answer to answer
//! is two numbers, the unique key, the place in the log and the request id.
//!
//! Invariant (tested): the bytes are those that `SendReply` writes.

use crate::decimal::write_i64;
use crate::escape::write_escaped;
use crate::frame::SerializeType;
use crate::ids::PhyOffset;
use crate::msg_id::{MessageId, write_hex};
use crate::reply::{FrameHead, FrameWriter};
use crate::req::send::SendReply;
use std::net::SocketAddr;

/// Length word and header word of a frame.
const WORDS_BYTES: usize = 8;
/// Hex digits of a physical offset.
const OFFSET_DIGITS: usize = 16;

/// The constant parts, in the order of the frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SendReplyForm {
    /// Up to the queue's number, with room for the length words.
    queue_id: Vec<u8>,
    /// Up to the unique key.
    key: Vec<u8>,
    /// Up to the physical offset in the message id.
    offset: Vec<u8>,
    /// Up to the index in the queue.
    queue_offset: Vec<u8>,
    /// Up to the request id.
    opaque: Vec<u8>,
    /// The rest.
    end: Vec<u8>,
}

/// What differs.
#[derive(Clone, Copy, Debug)]
pub struct SentMessage<'a> {
    /// Request id.
    pub opaque: i32,
    /// Queue the message went to.
    pub queue_id: i32,
    /// Index in the queue.
    pub queue_offset: i64,
    /// Unique key.
    pub key: &'a [u8],
    /// Place in the log.
    pub phy: PhyOffset,
}

impl SendReplyForm {
    /// The form for a broker at `host` with these settings; `head` without its `opaque`.
    pub fn new(head: FrameHead, host: SocketAddr, trace_on: bool, region: &[u8]) -> SendReplyForm {
        assert!(head.serialize == SerializeType::Json, "the form of a JSON answer");
        let reply = SendReply {
            queue_id: 0,
            queue_offset: 0,
            transaction_id: Some(b""),
            trace_on,
            region,
            recall_handle: None,
        };
        let mut frame = Vec::new();
        let mut writer = FrameWriter::begin(&mut frame, FrameHead { opaque: 0, ..head });
        reply.encode(&mut writer, std::iter::once(MessageId { host, phy: PhyOffset(0) }));
        writer.finish();
        let mut rest = frame.as_slice();
        let mut part = |up_to: &[u8], blank: usize| {
            let at = memchr::memmem::find(rest, up_to).expect("the field was just written");
            let (part, tail) = rest.split_at(at + up_to.len());
            rest = &tail[blank..];
            part.to_vec()
        };
        let queue_id = part(b"\"queueId\":\"", 1);
        let key = part(b"\"transactionId\":\"", 0);
        let mut offset = part(b"\"msgId\":\"", 0);
        let mut id = Vec::new();
        MessageId { host, phy: PhyOffset(0) }.write_to(&mut id);
        offset.extend_from_slice(&id[..id.len() - OFFSET_DIGITS]);
        rest = &rest[id.len()..];
        // The region is the user's text: the last match is the field.
        let at = memchr::memmem::rfind(rest, b"\"queueOffset\":\"").expect("as above");
        let (head, tail) = rest.split_at(at + b"\"queueOffset\":\"".len());
        let queue_offset = head.to_vec();
        let tail = &tail[1..];
        let at = memchr::memmem::find(tail, b"\"opaque\":").expect("as above");
        let (head, end) = tail.split_at(at + b"\"opaque\":".len());
        let (opaque, end) = (head.to_vec(), end[1..].to_vec());
        SendReplyForm { queue_id, key, offset, queue_offset, opaque, end }
    }

    /// Appends the answer.
    pub fn encode(&self, out: &mut Vec<u8>, sent: &SentMessage<'_>) {
        let start = out.len();
        out.extend_from_slice(&self.queue_id);
        write_i64(out, i64::from(sent.queue_id));
        out.extend_from_slice(&self.key);
        write_escaped(out, sent.key);
        out.extend_from_slice(&self.offset);
        write_hex(out, sent.phy.0);
        out.extend_from_slice(&self.queue_offset);
        write_i64(out, sent.queue_offset);
        out.extend_from_slice(&self.opaque);
        write_i64(out, i64::from(sent.opaque));
        out.extend_from_slice(&self.end);
        let length = u32::try_from(out.len() - start - 4).expect("an answer is small");
        let header = u32::try_from(out.len() - start - WORDS_BYTES).expect("an answer is small");
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        out[start + 4..start + WORDS_BYTES].copy_from_slice(&header.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_writes_what_the_general_writer_writes() {
        let head =
            FrameHead { serialize: SerializeType::Json, code: 0, opaque: 0, flag: 1, version: 513 };
        let regions: [&[u8]; 3] = [b"DefaultRegion", b"a\"b\\\x01", b"\"queueOffset\":\""];
        for (host, region) in ["127.0.0.1:10911", "[2001:db8::1]:1"].into_iter().zip(regions) {
            let host = host.parse().unwrap();
            let form = SendReplyForm::new(head, host, true, region);
            for (n, key) in [(0, "K"), (-1, ""), (i64::MAX, "k\"\u{2028}"), (i64::MIN, "7F00")] {
                let phy = PhyOffset(n.unsigned_abs());
                let small = i32::try_from(n).unwrap_or(i32::MIN);
                let reply = SendReply {
                    queue_id: small,
                    queue_offset: n,
                    transaction_id: Some(key.as_bytes()),
                    trace_on: true,
                    region,
                    recall_handle: None,
                };
                let mut expected = b"before".to_vec();
                let head = FrameHead { opaque: small, ..head };
                let mut writer = FrameWriter::begin(&mut expected, head);
                reply.encode(&mut writer, std::iter::once(MessageId { host, phy }));
                writer.finish();
                let mut written = b"before".to_vec();
                let sent = SentMessage {
                    opaque: small,
                    queue_id: small,
                    queue_offset: n,
                    key: key.as_bytes(),
                    phy,
                };
                form.encode(&mut written, &sent);
                assert_eq!(String::from_utf8(written), String::from_utf8(expected));
            }
        }
    }
}
