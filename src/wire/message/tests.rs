//! Records written, read back, torn and damaged.

use super::*;
use crate::ids::StreamId;
use crate::sys_flag::COMPRESSED;

fn message<'a>(topic: &'a [u8], born: &str, store: &str) -> NewMessage<'a> {
    NewMessage {
        queue_id: QueueId(3),
        flag: -7,
        sys_flag: COMPRESSED | BORN_HOST_V6 | STORE_HOST_V6,
        born_timestamp: 1_795_243_237_903,
        born_host: born.parse().unwrap(),
        store_host: store.parse().unwrap(),
        reconsume_times: 2,
        prepared_transaction_offset: 99,
        body: b"hello sync",
        topic,
        properties: b"TAGS\x01TagA\x02",
    }
}

fn place() -> Place {
    Place {
        queue_offset: QueueOffset(41),
        phy_offset: PhyOffset::new(StreamId(2), 4096),
        store_timestamp: WallMs(1_795_243_237_999),
    }
}

fn encoded(message: &NewMessage<'_>) -> Vec<u8> {
    message.check_limits().unwrap();
    let mut bytes = vec![0xEE; message.encoded_len()];
    message.encode(&mut bytes, place());
    bytes
}

impl<'a> MessageView<'a> {
    /// The message as one to be stored again.
    pub(crate) fn to_new(self) -> NewMessage<'a> {
        NewMessage {
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: self.body,
            topic: self.topic,
            properties: self.properties,
        }
    }
}

#[test]
fn a_record_reads_back_in_every_shape() {
    let v4 = "127.0.0.1:20911";
    let v6 = "[2001:db8::7]:10911";
    let long = vec![b't'; 200];
    for (topic, born, store, extra) in [
        (&b"TopicSend"[..], v4, v4, 0),
        (b"TopicSend", v6, v4, 12),
        (b"TopicSend", v4, v6, 12),
        (b"TopicSend", v6, v6, 24),
        (&long, v4, v4, 1),
        (&long[..127], v4, v4, 0),
    ] {
        let message = message(topic, born, store);
        let mut bytes = encoded(&message);
        assert_eq!(bytes.len(), 91 + extra + 10 + topic.len() + 10);
        let size = bytes.len();
        bytes.extend_from_slice(b"next");
        let (view, used) = MessageView::parse(&bytes).unwrap();
        assert_eq!((used, view.bytes().len()), (size, size));
        assert_eq!((view.topic(), view.body()), (topic, &b"hello sync"[..]));
        assert_eq!(view.properties(), b"TAGS\x01TagA\x02");
        assert_eq!((view.born_host(), view.store_host()), (message.born_host, message.store_host));
        assert_eq!((view.flag(), view.queue_id(), view.reconsume_times()), (-7, QueueId(3), 2));
        assert_eq!(view.prepared_transaction_offset(), 99);
        assert_eq!(view.born_timestamp(), message.born_timestamp);
        assert_eq!(view.place(), place());
        assert_eq!(view.sys_flag() & BORN_HOST_V6 != 0, born == v6);
        assert_eq!(view.sys_flag() & COMPRESSED, COMPRESSED);
        assert_eq!(view.magic(), if topic.len() > 127 { MAGIC_V2 } else { MAGIC_V1 });
        assert!(view.check_body_crc());
        assert_eq!(encoded(&view.to_new()), view.bytes());
        assert_eq!(probe(&bytes, place().phy_offset), Probe::Message { size });
    }
}

#[test]
fn what_has_no_place_in_the_format_is_refused() {
    let big = vec![b'x'; 32_768];
    let mut message = message(b"T", "127.0.0.1:1", "127.0.0.1:2");
    message.properties = &big;
    assert_eq!(
        message.check_limits().unwrap_err().to_string(),
        "the properties are longer than 32767 bytes (at byte 0)"
    );
    message.properties = b"";
    message.topic = &big;
    assert!(message.check_limits().is_err());
}

#[test]
fn every_cut_and_every_flipped_length_byte_is_an_error() {
    let bytes = encoded(&message(b"TopicSend", "127.0.0.1:1", "127.0.0.1:2"));
    for end in 0..bytes.len() {
        assert!(MessageView::parse(&bytes[..end]).is_err(), "{end}");
        assert!(matches!(probe(&bytes[..end], place().phy_offset), Probe::Bad(_)), "{end}");
    }
    let lengths = [0, 1, 2, 3, 84, 85, 86, 87, 98, 108, 109];
    for at in lengths {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            assert!(MessageView::parse(&bad).is_err(), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn probe_wants_the_right_place_and_an_intact_body() {
    let bytes = encoded(&message(b"TopicSend", "127.0.0.1:1", "127.0.0.1:2"));
    let elsewhere = PhyOffset(place().phy_offset.0 + 1);
    assert_eq!(
        probe(&bytes, elsewhere),
        Probe::Bad(MessageError { what: "the record belongs to another place", at: 28 })
    );
    let mut bad = bytes.clone();
    bad[90] ^= 1;
    assert_eq!(
        probe(&bad, place().phy_offset),
        Probe::Bad(MessageError { what: "the body CRC does not match", at: 8 })
    );
    assert!(matches!(probe(&[0; 200], PhyOffset(0)), Probe::Bad(_)));
}

#[test]
fn the_blank_is_found() {
    let mut rest = vec![0xEE; 100];
    encode_blank(&mut rest);
    assert_eq!(rest[8], 0xEE);
    assert_eq!(probe(&rest, PhyOffset(7)), Probe::Blank { size: 100 });
    rest[3] = 7;
    assert!(matches!(probe(&rest, PhyOffset(7)), Probe::Bad(_)));
    assert!(matches!(probe(&rest[..7], PhyOffset(7)), Probe::Bad(_)));
}

#[test]
fn damaged_records_never_panic() {
    let bytes = encoded(&message(b"TopicSend", "127.0.0.1:1", "[::1]:2"));
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7F, 0x80, 0xFF] {
            let mut bad = bytes.clone();
            bad[at] = value;
            let _ = probe(&bad, place().phy_offset);
        }
    }
}
