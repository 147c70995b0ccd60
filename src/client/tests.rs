//! The client against a server of a few lines that answers from a script.

use super::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use wire::codes::{request, response};
use wire::header::FLAG_RESPONSE;
use wire::req::client::{OffsetResponseHeader, PullMessageRequestHeader};
use wire::req::send::SendRequest;
use wire::{
    Frame, FrameHead, FrameWriter, Header, NewMessage, PhyOffset, Place, Props, QueueId,
    QueueOffset, SerializeType,
};

/// Accepts one connection and gives every frame to `answer`, which appends what goes back.
fn serve(mut answer: impl FnMut(&Frame<'_>, &mut Vec<u8>) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut input, mut chunk) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = stream.read(&mut chunk) {
            input.extend_from_slice(&chunk[..read]);
            while let Some((frame, used)) = wire::frame::split(&input).unwrap() {
                let mut output = Vec::new();
                answer(&frame, &mut output);
                // The answer comes in two pieces, as networks do.
                let (first, second) = output.split_at(output.len() / 2);
                stream.write_all(first).unwrap();
                std::thread::sleep(Duration::from_millis(2));
                stream.write_all(second).unwrap();
                input.drain(..used);
            }
        }
    });
    address
}

fn head(code: i32, opaque: i32) -> FrameHead {
    FrameHead { serialize: SerializeType::Json, code, opaque, flag: FLAG_RESPONSE, version: 407 }
}

fn offset_answer(out: &mut Vec<u8>, opaque: i32, offset: i64) {
    let mut writer = FrameWriter::begin(out, head(0, opaque));
    OffsetResponseHeader { offset }.encode(&mut writer);
    writer.finish();
}

#[test]
fn answers_find_their_requests_whatever_their_order() {
    let mut seen = Vec::new();
    let address = serve(move |frame, out| {
        seen.push(Header::decode(frame).unwrap().opaque);
        if seen.len() == 2 {
            // A request of the server in between must not disturb.
            let notify = FrameHead { flag: 2, ..head(request::NOTIFY_CONSUMER_IDS_CHANGED, 77) };
            FrameWriter::begin(out, notify).finish();
            offset_answer(out, seen[1], 2);
            offset_answer(out, seen[0], 1);
        }
    });
    let mut connection = Connection::connect(address).unwrap();
    let first = connection.submit(request::GET_MAX_OFFSET, |_| {}, &[]).unwrap();
    let second = connection.submit(request::GET_MAX_OFFSET, |_| {}, &[]).unwrap();
    assert_eq!(connection.wait(first).unwrap().field("offset").as_deref(), Some("1"));
    assert_eq!(connection.wait(second).unwrap().field("offset").as_deref(), Some("2"));
    let notified = connection.take_request(Duration::from_secs(1)).unwrap();
    assert_eq!(notified.code(), request::NOTIFY_CONSUMER_IDS_CHANGED);
}

#[test]
fn refusals_timeouts_and_garbage_are_told_apart() {
    let address = serve(|frame, out| {
        let header = Header::decode(frame).unwrap();
        match header.code {
            request::GET_MIN_OFFSET => {}
            request::GET_MAX_OFFSET => out.extend_from_slice(&[0xFF; 16]),
            _ => {
                let code = head(response::NO_PERMISSION, header.opaque);
                let mut writer = FrameWriter::begin(out, code);
                writer.remark("not here");
                writer.finish();
            }
        }
    });
    let options = Options { timeout: Duration::from_millis(200), ..Options::default() };
    let mut connection = Connection::connect_with(address, options).unwrap();
    let refused = connection.create_topic(&NewTopic::new("T", 4)).unwrap_err();
    assert_eq!(refused.refused_code(), Some(response::NO_PERMISSION));
    assert_eq!(refused.to_string(), "refused with 16 (NO_PERMISSION): not here");
    assert!(connection.min_offset("T", 0).unwrap_err().is_timeout());
    let garbage = connection.max_offset("T", 0).unwrap_err();
    assert!(matches!(garbage, Error::Protocol(_)), "{garbage:?}");
}

#[test]
fn a_server_that_goes_away_is_an_io_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut connection = Connection::connect(listener.local_addr().unwrap()).unwrap();
    drop(listener.accept().unwrap());
    drop(listener);
    let error = connection.max_offset("T", 0).unwrap_err();
    assert!(matches!(&error, Error::Io(_)) && !error.is_timeout(), "{error:?}");
    let refused = Connection::connect(connection.peer()).unwrap_err();
    assert!(matches!(refused, Error::Io(_)), "{refused:?}");
}

fn send_roundtrip(serialize: SerializeType) {
    let address = serve(|frame, out| {
        let header = Header::decode(frame).unwrap();
        let sent = SendRequest::decode(header.code, &header.fields).unwrap();
        let mut properties = Vec::new();
        sent.properties.unwrap().write_to(&mut properties);
        let mut writer = FrameWriter::begin(out, head(10, header.opaque));
        writer.field_i32("queueId", sent.queue_id);
        writer.field_str("msgId", Props::new(&properties).get("KEYS").unwrap_or(b"none"));
        writer.field_i64("queueOffset", i64::try_from(frame.body.len()).unwrap());
        writer.finish();
    });
    let options = Options { serialize, ..Options::default() };
    let connection = Connection::connect_with(address, options).unwrap();
    let mut producer = Producer::new(connection, "P");
    let message = Message::new("T", b"12345".as_slice()).tag("a").keys("k1 \"k2\"");
    let result = producer.send(&message, 3).unwrap();
    assert_eq!(result.status, SendStatus::FlushDiskTimeout);
    assert_eq!((result.queue_id, result.queue_offset), (3, 5));
    assert_eq!(result.msg_id, "k1 \"k2\"");
    let batch = producer.send_batch(&[message.clone(), message.clone()], 1).unwrap();
    assert!(batch.queue_offset > 2 * (22 + 5), "two items are in the body: {batch:?}");
    let other = producer.send_batch(&[message, Message::new("U", "x")], 1).unwrap_err();
    assert!(other.to_string().contains("T and U"), "{other}");
}

#[test]
fn sends_carry_their_fields_in_both_encodings() {
    send_roundtrip(SerializeType::Json);
    send_roundtrip(SerializeType::Rocketmq);
}

/// The stored form of message `offset` of queue 0 of topic T.
fn stored(offset: i64) -> Vec<u8> {
    let host = "127.0.0.1:10911".parse().unwrap();
    let body = format!("body {offset}");
    let message = NewMessage {
        queue_id: QueueId(0),
        flag: 5,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: body.as_bytes(),
        topic: b"T",
        properties: b"TAGS\x01a\x02",
    };
    let mut bytes = vec![0; message.encoded_len()];
    let place = Place {
        queue_offset: QueueOffset(offset),
        phy_offset: PhyOffset(1000),
        store_timestamp: Default::default(),
    };
    message.encode(&mut bytes, place);
    bytes
}

/// A queue with messages 0 to 4 that gives out two per pull, the last with a broken body when asked for.
fn queue_of_five(broken: bool) -> SocketAddr {
    serve(move |frame, out| {
        let header = Header::decode(frame).unwrap();
        let pull = PullMessageRequestHeader::decode(&header.fields).unwrap();
        let end = (pull.queue_offset + 2).min(5);
        let code = if pull.queue_offset < 5 { 0 } else { 19 };
        let mut writer = FrameWriter::begin(out, head(code, header.opaque));
        writer.field_i64("nextBeginOffset", end);
        writer.field_i64("minOffset", 0);
        writer.field_i64("maxOffset", 5);
        writer.field_i64("suggestWhichBrokerId", i64::from(pull.sys_flag));
        let mut body = writer.body();
        for offset in pull.queue_offset..end {
            let mut bytes = stored(offset);
            if broken && offset == 4 {
                let at = bytes.windows(4).position(|four| four == b"body").unwrap();
                bytes[at] = b'B';
            }
            body.bytes().extend_from_slice(&bytes);
        }
        body.finish();
    })
}

#[test]
fn a_queue_is_read_to_its_end() {
    let mut consumer = Consumer::new(Connection::connect(queue_of_five(false)).unwrap(), "G");
    let all = consumer.pull_all("T", 0, 0).unwrap();
    let offsets: Vec<i64> = all.iter().map(|message| message.queue_offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    assert_eq!((all[3].body.as_slice(), all[3].flag), (b"body 3".as_slice(), 5));
    assert_eq!(all[3].property("TAGS").as_deref(), Some("a"));
    let pull = Pull { commit_offset: Some(5), ..Pull::new("T", 0, 5) };
    let end = consumer.pull(&pull.suspend(Duration::from_secs(1))).unwrap();
    assert_eq!((end.status, end.suggested_broker_id), (PullStatus::NotFound, 1 + 2 + 4));
}

#[test]
fn a_damaged_body_is_not_handed_out() {
    let mut consumer = Consumer::new(Connection::connect(queue_of_five(true)).unwrap(), "G");
    let error = consumer.pull_all("T", 0, 0).unwrap_err();
    assert!(error.to_string().contains("CRC of message 4"), "{error}");
}

/// A broker that answers everything with offset 7, time 8 and a list of one client, and shows what it was asked.
fn recorder() -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let address = serve(move |frame, out| {
        let header = Header::decode(frame).unwrap();
        let mut text = format!("{}", header.code);
        for (key, value) in header.fields.iter() {
            text.push_str(&format!(" {key}={value}"));
        }
        text.push_str(&String::from_utf8_lossy(frame.body));
        sender.send(text).unwrap();
        if !header.is_oneway() {
            let mut writer = FrameWriter::begin(out, head(0, header.opaque));
            writer.field_i64("offset", 7);
            writer.field_i64("timestamp", 8);
            let mut body = writer.body();
            body.bytes().extend_from_slice(b"{\"consumerIdList\":[\"c1\"]}");
            body.finish();
        }
    });
    (address, receiver)
}

#[test]
fn offset_requests_name_their_queue_and_read_their_answer() {
    let (address, asked) = recorder();
    let mut connection = Connection::connect(address).unwrap();
    let upper = wire::req::client::BoundaryType::Upper;
    assert_eq!(connection.search_offset("T", 3, 99, upper).unwrap(), 7);
    let search = asked.recv().unwrap();
    assert_eq!(search, "29 topic=T queueId=3 timestamp=99 boundaryType=UPPER");
    assert_eq!(connection.earliest_store_time("T", 3).unwrap(), 8);
    assert_eq!(asked.recv().unwrap(), "32 topic=T queueId=3");
    assert_eq!(connection.consumer_offset("G", "T", 3).unwrap(), Some(7));
    assert_eq!(asked.recv().unwrap(), "14 consumerGroup=G topic=T queueId=3");
    connection.update_consumer_offset_oneway("G", "T", 3, 5).unwrap();
    assert_eq!(asked.recv().unwrap(), "15 consumerGroup=G topic=T queueId=3 commitOffset=5");
    Producer::new(connection, "P").send_oneway(&Message::new("T", "body"), 2).unwrap();
    let sent = asked.recv().unwrap();
    assert!(sent.starts_with("310 a=P b=T c=TBW102 d=4 e=2 ") && sent.ends_with("body"), "{sent}");
}

#[test]
fn members_announce_themselves_and_are_listed() {
    let (address, asked) = recorder();
    let mut connection = Connection::connect(address).unwrap();
    connection.heartbeat_producer("c1", "P").unwrap();
    let beat = asked.recv().unwrap();
    assert!(beat.contains("\"clientID\":\"c1\"") && beat.contains("\"groupName\":\"P\""), "{beat}");
    let model = wire::body::client::MessageModel::Clustering;
    let member = ConsumerMember { client_id: "c1", group: "G", topic: "T", tags: "a || b", model };
    connection.heartbeat_consumer(&member).unwrap();
    let beat = asked.recv().unwrap();
    for part in ["\"codeSet\":[97,98]", "\"tagsSet\":[\"a\",\"b\"]", "\"CLUSTERING\""] {
        assert!(beat.contains(part), "{part} in {beat}");
    }
    assert_eq!(connection.consumer_ids("G").unwrap(), ["c1"]);
    connection.unregister("c1", None, Some("G")).unwrap();
    assert_eq!(asked.recv().unwrap(), "38 consumerGroup=G");
    assert_eq!(asked.recv().unwrap(), "35 clientID=c1 consumerGroup=G");
}
