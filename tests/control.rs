//! Control relayed to clients, replies to requesters, offsets set by request, tables and statistics, over real sockets.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{
    Connection, Consumer, ConsumerMember, Message, NewTopic, Options, Producer, Pull, PullStatus,
    Reply,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::{Data, Server, Setting};
use wire::body::broker::{
    ConsumeStats, ConsumerOffsetWrapper, DelayOffsetWrapper, TopicStatsTable,
};
use wire::body::client::MessageModel;
use wire::body::control::{
    BrokerStatsData, ConsumeStatsList, GetConsumerStatusBody, ProducerTableInfo,
    QueryConsumeTimeSpanBody, QueryCorrectionOffsetBody, QuerySubscriptionResponseBody,
    ResetOffsetBody, ResetOffsetBodyForC,
};
use wire::body::{ByQueue, KvTable, MessageQueue, TopicList};
use wire::codes::{request, response};
use wire::json;
use wire::req::client::GetConsumeStatsRequestHeader;
use wire::req::control::{
    ConsumeMessageDirectlyResultRequestHeader, GetConsumerRunningInfoRequestHeader,
    GetConsumerStatusRequestHeader, ReplyMessageRequestHeader, ResetOffsetRequestHeader,
};
use wire::req::send::{SendMessageResponseHeader, SendRequest};
use wire::text::Text;

const TIMEOUT: Duration = Duration::from_secs(20);
const GROUP: &str = "G_control";

fn start(data: &Data, shards: u16, config: &str) -> Server {
    Server::start(data.path(), &Setting { shards, config: config.to_owned() })
}

fn text(value: &str) -> Text<'_> {
    Text::plain(value.as_bytes())
}

/// A topic of four queues.
fn made(server: &Server) -> &'static str {
    let name = "T_control";
    server.connect(TIMEOUT).unwrap().create_topic(&NewTopic::new(name, 4)).unwrap();
    name
}

fn member(server: &Server, id: &str, topic: &str) -> Connection {
    let mut connection = server.connect(TIMEOUT).unwrap();
    join(&mut connection, id, topic);
    connection
}

fn join(connection: &mut Connection, client_id: &str, topic: &str) {
    let model = MessageModel::Clustering;
    let member = ConsumerMember { client_id, group: GROUP, topic, tags: "*", model };
    connection.heartbeat_consumer(&member).unwrap();
}

/// The next request of a certain code; notices of other members are passed over.
fn asked(connection: &mut Connection, code: i32) -> Reply {
    loop {
        let request = connection.take_request(TIMEOUT).unwrap();
        if request.code() == code {
            return request;
        }
        assert_eq!(request.code(), request::NOTIFY_CONSUMER_IDS_CHANGED);
    }
}

fn ask_running_info(tool: &mut Connection, client_id: &str) -> i32 {
    let header = GetConsumerRunningInfoRequestHeader {
        consumer_group: text(GROUP),
        client_id: text(client_id),
        jstack_enable: Some(true),
    };
    let fields = |writer: &mut wire::FrameWriter<'_>| {
        header.encode(writer);
        writer.field_str("AccessKey", b"key");
        writer.field_str("Signature", b"secret");
    };
    tool.submit(request::GET_CONSUMER_RUNNING_INFO, fields, &[]).unwrap()
}

#[test]
fn a_tool_gets_the_answer_of_the_client_it_asks() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards, "");
        let topic = made(&server);
        let mut clients: Vec<Connection> =
            (0..4).map(|n| member(&server, &format!("c{n}"), topic)).collect();
        let mut tool = server.connect(TIMEOUT).unwrap();
        for (number, client) in clients.iter_mut().enumerate() {
            let opaque = ask_running_info(&mut tool, &format!("c{number}"));
            let request = asked(client, request::GET_CONSUMER_RUNNING_INFO);
            assert_eq!(request.field("jstackEnable").as_deref(), Some("true"));
            assert_eq!(request.field("consumerGroup").as_deref(), Some(GROUP));
            assert_eq!(request.field("Signature"), None, "credentials stay with the broker");
            let body = format!("{{\"jstack\":\"thread {number}\"}}").repeat(10_000);
            let said = |writer: &mut wire::FrameWriter<'_>| {
                writer.field_str("extra", b"yes");
                writer.remark("said so");
            };
            client.answer(&request, response::SUCCESS, said, body.as_bytes()).unwrap();
            let reply = tool.wait(opaque).unwrap();
            assert_eq!((reply.code(), reply.remark()), (0, "said so".to_owned()));
            assert_eq!(reply.field("extra").as_deref(), Some("yes"));
            assert_eq!(reply.body(), body.as_bytes());
        }
        assert!(server.stop().success());
    }
}

#[test]
fn a_client_that_is_not_there_is_too_old_or_goes_is_told_of() {
    let data = Data::new();
    let server = start(&data, 2, "");
    let topic = made(&server);
    let mut tool = server.connect(TIMEOUT).unwrap();
    let opaque = ask_running_info(&mut tool, "nobody");
    let reply = tool.wait(opaque).unwrap();
    assert_eq!(reply.code(), response::SYSTEM_ERROR);
    assert_eq!(reply.remark(), format!("The Consumer <{GROUP}> <nobody> not online"));

    let options = Options { version: 61, timeout: TIMEOUT, ..Options::default() };
    let mut old = Connection::connect_with(server.broker, options).unwrap();
    join(&mut old, "old", topic);
    let opaque = ask_running_info(&mut tool, "old");
    let reply = tool.wait(opaque).unwrap();
    assert!(reply.remark().contains("too low to finish"), "{}", reply.remark());

    let mut client = member(&server, "c", topic);
    let mut other = member(&server, "other", topic);
    let opaque = ask_running_info(&mut tool, "c");
    let request = asked(&mut client, request::GET_CONSUMER_RUNNING_INFO);
    // Somebody else's answer does not count, whatever number it has.
    other.answer(&request, response::SUCCESS, |_| {}, b"forged").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    drop(client);
    let reply = tool.wait(opaque).unwrap();
    assert_eq!(reply.code(), response::SYSTEM_ERROR, "{}", reply.remark());
    assert!(reply.remark().contains("its connection has ended"), "{}", reply.remark());
    assert!(begun.elapsed() < Duration::from_secs(5), "at once, not when its time is up");

    let opaque = ask_running_info(&mut tool, "other");
    asked(&mut other, request::GET_CONSUMER_RUNNING_INFO);
    let reply = tool.wait(opaque).unwrap();
    assert_eq!(reply.code(), response::CONSUME_MSG_TIMEOUT, "{}", reply.remark());
    assert!(server.stop().success());
}

#[test]
fn a_consumer_is_given_one_message_to_consume() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards, "");
        let topic = made(&server);
        let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
        let mut client = member(&server, "c", topic);
        let mut tool = server.connect(TIMEOUT).unwrap();
        for queue in 0..4 {
            let body = format!("for you {queue}").into_bytes();
            let sent = producer.send(&Message::new(topic, body.clone()), queue).unwrap();
            let header = ConsumeMessageDirectlyResultRequestHeader {
                consumer_group: text(GROUP),
                client_id: Some(text("c")),
                msg_id: Some(text(&sent.msg_id)),
                broker_name: None,
                topic: Some(text(topic)),
            };
            let code = request::CONSUME_MESSAGE_DIRECTLY;
            let opaque = tool.submit(code, |w| header.encode(w), &[]).unwrap();
            let request = asked(&mut client, code);
            let (view, _) = wire::MessageView::parse(request.body()).unwrap();
            assert_eq!((view.body(), view.queue_id().0), (body.as_slice(), queue));
            assert_eq!(request.field("msgId"), Some(sent.msg_id.clone()));
            assert!(request.field("brokerName").is_some());
            assert_eq!(request.field("topicSysFlag").as_deref(), Some("0"));
            assert_eq!(request.field("groupSysFlag").as_deref(), Some("0"));
            client.answer(&request, 0, |_| {}, b"{\"consumeResult\":\"CR_SUCCESS\"}").unwrap();
            assert_eq!(tool.wait(opaque).unwrap().body(), b"{\"consumeResult\":\"CR_SUCCESS\"}");
            let missing = format!("{}00000000000F4240", &sent.msg_id[..16]);
            for id in ["", "nonsense", &missing] {
                let header =
                    ConsumeMessageDirectlyResultRequestHeader { msg_id: Some(text(id)), ..header };
                let reply = tool.call(code, |w| header.encode(w), &[]).unwrap();
                assert_eq!(reply.code(), response::SYSTEM_ERROR, "{id:?}: {}", reply.remark());
            }
        }
        assert!(server.stop().success());
    }
}

#[test]
fn the_members_of_a_group_say_how_far_they_are() {
    let data = Data::new();
    let server = start(&data, 2, "");
    let topic = made(&server);
    let mut first = member(&server, "first", topic);
    let mut second = member(&server, "second", topic);
    let mut tool = server.connect(TIMEOUT).unwrap();
    let header = GetConsumerStatusRequestHeader {
        topic: text(topic),
        group: text(GROUP),
        client_addr: None,
    };
    let code = request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS;
    let opaque = tool.submit(code, |w| header.encode(w), &[]).unwrap();
    let queue = MessageQueue { broker_name: "b".into(), queue_id: 3, topic: topic.into() };
    let said = GetConsumerStatusBody {
        message_queue_table: ByQueue(vec![(queue.clone(), 7)]),
        ..GetConsumerStatusBody::default()
    };
    let mut body = Vec::new();
    json::write_object_keys(&mut body, &said);
    let request = asked(&mut first, request::GET_CONSUMER_STATUS_FROM_CLIENT);
    assert_eq!(request.field("topic").as_deref(), Some(topic));
    first.answer(&request, response::SUCCESS, |_| {}, &body).unwrap();
    let request = asked(&mut second, request::GET_CONSUMER_STATUS_FROM_CLIENT);
    second.answer(&request, response::SYSTEM_ERROR, |_| {}, &[]).unwrap();
    let reply = tool.wait(opaque).unwrap().success().unwrap();
    let told: GetConsumerStatusBody = json::from_slice(reply.body()).unwrap();
    assert_eq!(told.consumer_table.0, [("first".to_owned(), ByQueue(vec![(queue, 7)]))]);

    let one = GetConsumerStatusRequestHeader { client_addr: Some(text("second")), ..header };
    let opaque = tool.submit(code, |w| one.encode(w), &[]).unwrap();
    let request = asked(&mut second, request::GET_CONSUMER_STATUS_FROM_CLIENT);
    second.answer(&request, response::SUCCESS, |_| {}, &body).unwrap();
    let reply = tool.wait(opaque).unwrap().success().unwrap();
    let told: GetConsumerStatusBody = json::from_slice(reply.body()).unwrap();
    assert_eq!(told.consumer_table.0.len(), 1);
    let nobody = GetConsumerStatusRequestHeader { group: text("G_nobody"), ..header };
    let reply = tool.call(code, |w| nobody.encode(w), &[]).unwrap();
    assert_eq!(reply.code(), response::SYSTEM_ERROR);
    assert!(server.stop().success());
}

// ---- offsets ----

fn reset<'a>(topic: &'a str, timestamp: i64) -> ResetOffsetRequestHeader<'a> {
    ResetOffsetRequestHeader {
        topic: text(topic),
        group: text(GROUP),
        timestamp,
        is_force: true,
        queue_id: None,
        offset: None,
    }
}

fn call_reset(tool: &mut Connection, header: &ResetOffsetRequestHeader<'_>) -> Reply {
    tool.call(request::INVOKE_BROKER_TO_RESET_OFFSET, |w| header.encode(w), &[]).unwrap()
}

fn table(reply: &Reply) -> BTreeMap<i32, i64> {
    let body: ResetOffsetBody = json::from_slice(reply.body()).unwrap();
    body.offset_table.0.into_iter().map(|(queue, offset)| (queue.queue_id, offset)).collect()
}

/// Ten messages in each of four queues; the time before the fifth of each.
fn fill(server: &Server, topic: &str) -> i64 {
    let mut producer = Producer::new(server.connect(TIMEOUT).unwrap(), "P");
    let mut middle = 0;
    for number in 0..10 {
        if number == 5 {
            std::thread::sleep(Duration::from_millis(30));
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            middle = i64::try_from(since.unwrap().as_millis()).unwrap() - 10;
        }
        for queue in 0..4 {
            producer.send(&Message::new(topic, vec![number]), queue).unwrap();
        }
    }
    middle
}

#[test]
fn offsets_are_reset_by_time_and_by_queue_and_the_next_pull_is_told_once() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards, "");
        let topic = made(&server);
        let middle = fill(&server, topic);
        let mut tool = server.connect(TIMEOUT).unwrap();
        tool.heartbeat_consumer(&ConsumerMember {
            client_id: "c",
            group: GROUP,
            topic,
            tags: "*",
            model: MessageModel::Clustering,
        })
        .unwrap();
        for queue in 0..4 {
            tool.update_consumer_offset(GROUP, topic, queue, 10).unwrap();
        }
        let reply = call_reset(&mut tool, &reset(topic, middle)).success().unwrap();
        assert_eq!(table(&reply), BTreeMap::from([(0, 5), (1, 5), (2, 5), (3, 5)]));
        // The client does not know yet: what it commits does not count, its pull is told.
        tool.update_consumer_offset(GROUP, topic, 0, 10).unwrap();
        assert_eq!(tool.consumer_offset(GROUP, topic, 0).unwrap(), Some(5));
        let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), GROUP);
        let pull = Pull { commit_offset: Some(10), ..Pull::new(topic, 0, 10) };
        let pulled = consumer.pull(&pull).unwrap();
        assert_eq!((pulled.status, pulled.next_offset), (PullStatus::OffsetMoved, 5));
        assert_eq!(tool.consumer_offset(GROUP, topic, 0).unwrap(), Some(5));
        assert_eq!(consumer.pull(&Pull::new(topic, 0, 5)).unwrap().messages.len(), 5, "once");
        tool.update_consumer_offset(GROUP, topic, 0, 6).unwrap();
        assert_eq!(tool.consumer_offset(GROUP, topic, 0).unwrap(), Some(6));

        let one =
            ResetOffsetRequestHeader { queue_id: Some(1), offset: Some(3), ..reset(topic, -1) };
        let reply = call_reset(&mut tool, &one).success().unwrap();
        assert_eq!(table(&reply), BTreeMap::from([(1, 3)]));
        let end = ResetOffsetRequestHeader { queue_id: Some(2), offset: Some(-1), ..one };
        let reply = call_reset(&mut tool, &end).success().unwrap();
        assert_eq!(table(&reply), BTreeMap::from([(2, 10)]), "a negative time is the end");
        let bad = ResetOffsetRequestHeader { offset: Some(12), ..one };
        let reply = call_reset(&mut tool, &bad);
        assert_eq!(reply.code(), response::SYSTEM_ERROR);
        assert_eq!(reply.remark(), "Target offset 12 not in consume queue range [0-10]");
        assert!(server.stop().success());
        // The new offsets are there after a restart.
        let server = start(&data, shards, "");
        let mut tool = server.connect(TIMEOUT).unwrap();
        let offsets: Vec<Option<i64>> =
            (0..4).map(|queue| tool.consumer_offset(GROUP, topic, queue).unwrap()).collect();
        assert_eq!(offsets, [Some(6), Some(3), Some(10), Some(5)]);
        assert!(server.stop().success());
    }
}

#[test]
fn a_pull_that_waits_hears_of_a_reset_at_once() {
    let data = Data::new();
    let server = start(&data, 2, "");
    let topic = made(&server);
    fill(&server, topic);
    let mut tool = server.connect(TIMEOUT).unwrap();
    tool.update_consumer_offset(GROUP, topic, 0, 10).unwrap();
    let (broker, name) = (server.broker, topic.to_owned());
    let waiting = std::thread::spawn(move || {
        let options = Options { timeout: TIMEOUT, ..Options::default() };
        let connection = Connection::connect_with(broker, options).unwrap();
        let mut consumer = Consumer::new(connection, GROUP);
        let begun = Instant::now();
        let pulled = consumer.pull(&Pull::new(&name, 0, 10).suspend(TIMEOUT)).unwrap();
        assert_eq!((pulled.status, pulled.next_offset), (PullStatus::RetryImmediately, 10));
        let pulled = consumer.pull(&Pull::new(&name, 0, 10).suspend(TIMEOUT)).unwrap();
        assert_eq!((pulled.status, pulled.next_offset), (PullStatus::OffsetMoved, 0));
        begun.elapsed()
    });
    std::thread::sleep(Duration::from_millis(500));
    call_reset(&mut tool, &reset(topic, 0)).success().unwrap();
    assert!(waiting.join().unwrap() < Duration::from_secs(10));
    assert!(server.stop().success());
}

#[test]
fn what_cannot_be_reset_is_refused_with_the_reason() {
    let data = Data::new();
    let server = start(&data, 1, "");
    let topic = made(&server);
    let mut tool = server.connect(TIMEOUT).unwrap();
    let reply = call_reset(&mut tool, &reset(topic, 0));
    assert_eq!(reply.code(), response::SUBSCRIPTION_GROUP_NOT_EXIST);
    assert_eq!(reply.remark(), format!("Group {GROUP} does not exist"));
    let reply = call_reset(&mut tool, &reset("T_nobody", 0));
    assert_eq!(reply.code(), response::TOPIC_NOT_EXIST);
    assert_eq!(reply.remark(), "Topic T_nobody does not exist");
    let _member = member(&server, "c", topic);
    let queue = ResetOffsetRequestHeader { queue_id: Some(99), ..reset(topic, 0) };
    let reply = call_reset(&mut tool, &queue);
    assert!(reply.remark().contains("queueId 99"), "{}", reply.remark());
    assert!(server.stop().success());
}

#[test]
fn clients_reset_themselves_when_the_broker_is_not_to() {
    let data = Data::new();
    let server = start(&data, 2, "useServerSideResetOffset=false\n");
    let topic = made(&server);
    let middle = fill(&server, topic);
    let mut tool = server.connect(TIMEOUT).unwrap();
    let reply = call_reset(&mut tool, &reset(topic, middle));
    assert_eq!(reply.remark(), format!("THe consumer group <{GROUP}> not exist"));
    for queue in 0..4 {
        tool.update_consumer_offset(GROUP, topic, queue, i64::from(queue) * 3).unwrap();
    }
    let reply = call_reset(&mut tool, &reset(topic, middle));
    assert_eq!(reply.code(), response::CONSUMER_NOT_ONLINE, "{}", reply.remark());
    let mut client = member(&server, "c", topic);
    let gently = ResetOffsetRequestHeader { is_force: false, ..reset(topic, middle) };
    let reply = call_reset(&mut tool, &gently).success().unwrap();
    let wanted = BTreeMap::from([(0, 0), (1, 3), (2, 5), (3, 5)]);
    assert_eq!(table(&reply), wanted, "only backwards without force");
    let told = asked(&mut client, request::RESET_CONSUMER_CLIENT_OFFSET);
    assert_eq!(table(&told), wanted);
    assert_eq!(told.field("group").as_deref(), Some(GROUP));
    assert_eq!(tool.consumer_offset(GROUP, topic, 3).unwrap(), Some(9), "the client will say");
    let mut head = Vec::new();
    let frame = wire::FrameHead {
        serialize: wire::SerializeType::Json,
        code: request::INVOKE_BROKER_TO_RESET_OFFSET,
        opaque: 77,
        flag: 0,
        version: 407,
    };
    let mut writer = wire::FrameWriter::begin(&mut head, frame);
    reset(topic, middle).encode(&mut writer);
    writer.finish();
    // A C++ tool's clients are C++ clients.
    let java = String::from_utf8(head[8..].to_vec()).unwrap();
    let cpp = java.replace("\"language\":\"JAVA\"", "\"language\":\"CPP\"");
    let mut bytes = u32::try_from(cpp.len() + 4).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(&u32::try_from(cpp.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(cpp.as_bytes());
    tool.send_bytes(&bytes).unwrap();
    tool.wait(77).unwrap().success().unwrap();
    let told = asked(&mut client, request::RESET_CONSUMER_CLIENT_OFFSET);
    let body: ResetOffsetBodyForC = json::from_slice(told.body()).unwrap();
    assert_eq!(body.offset_table.iter().map(|row| row.offset).collect::<Vec<_>>(), [5; 4]);
    assert!(server.stop().success());
}

// ---- request-reply ----

fn reply_header<'a>(properties: &'a str) -> SendRequest<'a> {
    SendRequest {
        producer_group: Some(text("P_reply")),
        topic: text("DefaultCluster_REPLY_TOPIC"),
        default_topic: Some(text("TBW102")),
        default_topic_queue_nums: Some(4),
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 1_795_243_278_970,
        flag: 3,
        properties: Some(text(properties)),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        max_reconsume_times: None,
        batch: Some(false),
        broker_name: None,
    }
}

const PROPERTIES: &str = "MSG_TYPE\u{1}reply\u{2}REPLY_TO_CLIENT\u{1}asks\u{2}UNIQ_KEY\u{1}7F00000119C74E0E2F2A686E9A7A0003\u{2}\
                          TTL\u{1}8000\u{2}CORRELATION_ID\u{1}114c988d\u{2}";

#[test]
fn a_reply_reaches_the_requester_and_the_log() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards, "");
        let mut requester = server.connect(TIMEOUT).unwrap();
        requester.heartbeat_producer("asks", "P_request").unwrap();
        let mut replier = server.connect(TIMEOUT).unwrap();
        let header = reply_header(PROPERTIES);
        for (number, code) in
            [request::SEND_REPLY_MESSAGE_V2, request::SEND_REPLY_MESSAGE].into_iter().enumerate()
        {
            let fields = |writer: &mut wire::FrameWriter<'_>| match code {
                request::SEND_REPLY_MESSAGE => header.encode_v1(writer),
                _ => header.encode_v2(writer),
            };
            let opaque = replier.submit(code, fields, b"pong").unwrap();
            let pushed = asked(&mut requester, request::PUSH_REPLY_MESSAGE_TO_CLIENT);
            assert_eq!(pushed.body(), b"pong");
            let fields = pushed.header();
            let told = ReplyMessageRequestHeader::decode(&fields.fields).unwrap();
            assert_eq!(told.topic.to_cow(), "DefaultCluster_REPLY_TOPIC");
            assert_eq!((told.flag, told.born_timestamp), (3, 1_795_243_278_970));
            assert_eq!(told.born_host.to_cow(), replier.local().unwrap().to_string());
            let properties = told.properties.unwrap().to_cow().into_owned();
            for key in ["CORRELATION_ID\u{1}114c988d", "PUSH_REPLY_TIME\u{1}", "TTL\u{1}8000"] {
                assert!(properties.contains(key), "{properties:?}");
            }
            requester.answer(&pushed, response::SUCCESS, |_| {}, &[]).unwrap();
            let reply = replier.wait(opaque).unwrap().success().unwrap();
            let fields = reply.header();
            let sent = SendMessageResponseHeader::decode(&fields.fields).unwrap();
            assert_eq!((sent.queue_id, sent.queue_offset), (0, i64::try_from(number).unwrap()));
            assert_eq!(sent.msg_id.to_cow().len(), 32);
        }
        let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), GROUP);
        let pulled = consumer.pull(&Pull::new("DefaultCluster_REPLY_TOPIC", 0, 0)).unwrap();
        assert_eq!(pulled.messages.len(), 2);
        assert_eq!(pulled.messages[0].body, b"pong");
        assert_eq!(pulled.messages[0].property("REPLY_TO_CLIENT").as_deref(), Some("asks"));
        assert!(server.stop().success());
    }
}

#[test]
fn a_reply_is_stored_as_one_message_that_says_how_to_read_it() {
    let data = Data::new();
    let server = start(&data, 1, "");
    let mut replier = server.connect(TIMEOUT).unwrap();
    let mut reply = |sys_flag: i32, properties: &str| {
        let header = SendRequest { sys_flag, ..reply_header(properties) };
        let code = request::SEND_REPLY_MESSAGE_V2;
        let reply = replier.call(code, |w| header.encode_v2(w), b"pong").unwrap();
        assert_eq!(reply.remark(), "reply message properties[REPLY_TO_CLIENT] is null");
        ["queueId", "queueOffset", "msgId"].map(|name| reply.field(name).is_some())
    };
    // Compressed, of a transaction, and as if it held several messages.
    for sys_flag in [0x201, 0xC, 0xC0] {
        assert_eq!(reply(sys_flag, "a\u{1}b\u{2}"), [true; 3], "{sys_flag:#x}");
    }
    assert_eq!(reply(0, "INNER_NUM\u{1}2\u{2}"), [false; 3], "it is not stored");
    let long = format!("a\u{1}{}\u{2}", "b".repeat(40_000));
    assert_eq!(reply(0, &long), [false; 3], "it cannot be stored");
    let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), GROUP);
    let pulled = consumer.pull(&Pull::new("DefaultCluster_REPLY_TOPIC", 0, 0)).unwrap();
    let flags: Vec<i32> = pulled.messages.iter().map(|message| message.sys_flag).collect();
    assert_eq!(flags, [0x201, 0, 0]);
    assert!(server.stop().success());
}

#[test]
fn a_replier_hears_that_the_requester_is_gone_or_refuses() {
    let data = Data::new();
    let server = start(&data, 2, "storeReplyMessageEnable=false\n");
    let mut replier = server.connect(TIMEOUT).unwrap();
    let code = request::SEND_REPLY_MESSAGE_V2;
    let header = reply_header(PROPERTIES);
    let reply = replier.call(code, |w| header.encode_v2(w), b"pong").unwrap();
    assert_eq!(reply.code(), response::SYSTEM_ERROR);
    assert_eq!(reply.remark(), "push reply message fail, channel of <asks> not found.");
    let nobody = reply_header("MSG_TYPE\u{1}reply\u{2}");
    let reply = replier.call(code, |w| nobody.encode_v2(w), b"pong").unwrap();
    assert_eq!(reply.remark(), "reply message properties[REPLY_TO_CLIENT] is null");

    let mut requester = server.connect(TIMEOUT).unwrap();
    requester.heartbeat_producer("asks", "P_request").unwrap();
    let opaque = replier.submit(code, |w| header.encode_v2(w), b"pong").unwrap();
    let pushed = asked(&mut requester, request::PUSH_REPLY_MESSAGE_TO_CLIENT);
    requester.answer(&pushed, response::SYSTEM_ERROR, |w| w.remark("no"), &[]).unwrap();
    let reply = replier.wait(opaque).unwrap();
    assert_eq!(reply.code(), response::SYSTEM_ERROR);
    assert!(reply.remark().starts_with("push reply message to asksfail."), "{}", reply.remark());

    let opaque = replier.submit(code, |w| header.encode_v2(w), b"pong").unwrap();
    let pushed = asked(&mut requester, request::PUSH_REPLY_MESSAGE_TO_CLIENT);
    requester.answer(&pushed, response::SUCCESS, |_| {}, &[]).unwrap();
    let reply = replier.wait(opaque).unwrap().success().unwrap();
    assert_eq!(reply.field("msgId").as_deref(), Some("0"), "nothing was stored");

    // The client comes back by another connection; the old one's end does not make it unknown.
    let mut again = server.connect(TIMEOUT).unwrap();
    again.heartbeat_producer("asks", "P_request").unwrap();
    drop(requester);
    std::thread::sleep(Duration::from_millis(200));
    let opaque = replier.submit(code, |w| header.encode_v2(w), b"pong").unwrap();
    let pushed = asked(&mut again, request::PUSH_REPLY_MESSAGE_TO_CLIENT);
    again.answer(&pushed, response::SUCCESS, |_| {}, &[]).unwrap();
    replier.wait(opaque).unwrap().success().unwrap();
    drop(again);
    std::thread::sleep(Duration::from_millis(200));
    let reply = replier.call(code, |w| header.encode_v2(w), b"pong").unwrap();
    assert!(reply.remark().contains("not found"), "{}", reply.remark());
    assert!(server.stop().success());
}

#[test]
fn replies_that_wait_are_bounded_with_what_is_stored_of_them() {
    let data = Data::new();
    let server = start(&data, 1, "");
    let mut requester = server.connect(TIMEOUT).unwrap();
    requester.heartbeat_producer("asks", "P_request").unwrap();
    let mut replier = server.connect(TIMEOUT).unwrap();
    let code = request::SEND_REPLY_MESSAGE_V2;
    let header = reply_header(PROPERTIES);
    let body = vec![b'x'; 4_000_000];
    // The limit is 64 MiB; each is there twice, on its way to the requester and to the log.
    for _ in 0..8 {
        replier.submit(code, |w| header.encode_v2(w), &body).unwrap();
        let pushed = asked(&mut requester, request::PUSH_REPLY_MESSAGE_TO_CLIENT);
        assert_eq!(pushed.body().len(), body.len());
    }
    let reply = replier.call(code, |w| header.encode_v2(w), &body).unwrap();
    assert_eq!(reply.code(), response::SYSTEM_ERROR);
    assert!(reply.remark().contains("the limit is 67108864"), "{}", reply.remark());
    assert!(server.stop().success());
}

// ---- tables ----

fn fields<'f>(
    pairs: &'f [(&'static str, &'f str)],
) -> impl FnOnce(&mut wire::FrameWriter<'_>) + 'f {
    move |writer| pairs.iter().for_each(|(key, value)| writer.field_str(key, value.as_bytes()))
}

#[test]
fn tables_are_told_as_they_are_now() {
    for shards in [1, 2] {
        let data = Data::new();
        // Offsets go home every 5 s; what is told does not wait for that.
        let server = start(&data, shards, "messageDelayLevel=1s 2s\n");
        let topic = made(&server);
        fill(&server, topic);
        let mut tool = server.connect(TIMEOUT).unwrap();
        join(&mut tool, "c", topic);
        tool.heartbeat_producer("p", "P_table").unwrap();
        for queue in 0..4 {
            tool.update_consumer_offset(GROUP, topic, queue, 4 + i64::from(queue)).unwrap();
        }
        let reply = tool.call_ok(request::GET_ALL_CONSUMER_OFFSET, |_| {}, &[]).unwrap();
        let offsets: ConsumerOffsetWrapper = json::from_slice(reply.body()).unwrap();
        let key = format!("{topic}@{GROUP}");
        let wanted = BTreeMap::from([(0, 4), (1, 5), (2, 6), (3, 7)]);
        assert_eq!(offsets.offset_table.get(&key), Some(&wanted));
        let topics = offsets.group_topic_map.unwrap();
        assert_eq!(topics.get(GROUP), Some(&vec![topic.to_owned()]));
        let reply = tool.call_ok(request::GET_ALL_DELAY_OFFSET, |_| {}, &[]).unwrap();
        let delays: DelayOffsetWrapper = json::from_slice(reply.body()).unwrap();
        assert!(delays.data_version.is_some());

        let group = [("group", GROUP), ("topic", topic)];
        let reply = tool.call_ok(request::QUERY_TOPICS_BY_CONSUMER, fields(&group), &[]).unwrap();
        let list: TopicList = json::from_slice(reply.body()).unwrap();
        assert_eq!(
            (list.topic_list, list.broker_addr),
            (vec![topic.to_owned()], Some(server.broker.to_string()))
        );
        let code = request::QUERY_SUBSCRIPTION_BY_CONSUMER;
        let reply = tool.call_ok(code, fields(&group), &[]).unwrap();
        let found: QuerySubscriptionResponseBody = json::from_slice(reply.body()).unwrap();
        assert_eq!(found.subscription_data.unwrap().sub_string, "*");
        let reply = tool.call_ok(request::GET_ALL_PRODUCER_INFO, |_| {}, &[]).unwrap();
        let producers: ProducerTableInfo = json::from_slice(reply.body()).unwrap();
        let producer = &producers.data.get("P_table").unwrap()[0];
        assert_eq!((producer.client_id.as_str(), producer.language.as_str()), ("p", "JAVA"));
        assert_eq!(producer.remote_ip, format!("/{}", tool.local().unwrap()));

        let clone = [("srcGroup", GROUP), ("destGroup", "G_copy"), ("offline", "true")];
        tool.call_ok(request::CLONE_GROUP_OFFSET, fields(&clone), &[]).unwrap();
        for queue in 0..4 {
            let found = tool.consumer_offset("G_copy", topic, queue).unwrap();
            assert_eq!(found, Some(4 + i64::from(queue)));
        }
        tool.update_consumer_offset("G_copy", topic, 0, 2).unwrap();
        tool.update_consumer_offset("G_copy", topic, 1, 9).unwrap();
        let ask = [("topic", topic), ("compareGroup", "G_copy"), ("filterGroups", "")];
        let reply = tool.call_ok(request::QUERY_CORRECTION_OFFSET, fields(&ask), &[]).unwrap();
        let body: QueryCorrectionOffsetBody = json::from_slice(reply.body()).unwrap();
        assert_eq!(body.correction_offsets, BTreeMap::from([(0, 2), (1, 5), (2, 6), (3, 7)]));
        let ask = [("topic", topic), ("compareGroup", "G_copy"), ("filterGroups", "G_copy")];
        let reply = tool.call_ok(request::QUERY_CORRECTION_OFFSET, fields(&ask), &[]).unwrap();
        let body: QueryCorrectionOffsetBody = json::from_slice(reply.body()).unwrap();
        assert_eq!(body.correction_offsets.get(&0), Some(&i64::MAX), "further than G_copy");
        assert!(server.stop().success());
    }
}

#[test]
fn progress_is_told_with_times_also_of_messages_that_memory_does_not_hold() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = start(&data, shards, "");
        let topic = made(&server);
        let middle = fill(&server, topic);
        assert!(server.stop().success());
        let server = start(&data, shards, "");
        let mut tool = server.connect(TIMEOUT).unwrap();
        for queue in 0..4 {
            tool.update_consumer_offset(GROUP, topic, queue, 6).unwrap();
        }
        let header =
            GetConsumeStatsRequestHeader { consumer_group: text(GROUP), topic: Some(text(topic)) };
        let code = request::GET_CONSUME_STATS;
        let reply = tool.call_ok(code, |w| header.encode(w), &[]).unwrap();
        let stats: ConsumeStats = json::from_slice(reply.body()).unwrap();
        assert_eq!(stats.offset_table.0.len(), 4);
        for (queue, offset) in &stats.offset_table.0 {
            assert_eq!((offset.broker_offset, offset.consumer_offset), (10, 6), "{queue:?}");
            assert!(offset.last_timestamp >= middle, "{offset:?} before {middle}");
        }
        let reply =
            tool.call_ok(request::GET_TOPIC_STATS_INFO, fields(&[("topic", topic)]), &[]).unwrap();
        let table: TopicStatsTable = json::from_slice(reply.body()).unwrap();
        assert!(table.offset_table.0.iter().all(|(_, q)| q.last_update_timestamp >= middle));
        let ask = [("isOrder", "false")];
        let reply = tool.call_ok(request::GET_BROKER_CONSUME_STATS, fields(&ask), &[]).unwrap();
        let list: ConsumeStatsList = json::from_slice(reply.body()).unwrap();
        assert_eq!(list.total_diff, 16);
        let of_group = list.consume_stats_list.iter().find_map(|one| one.get(GROUP)).unwrap();
        assert_eq!(of_group[0].offset_table.0.len(), 4);
        let ask = [("topic", topic), ("group", GROUP)];
        let reply = tool.call_ok(request::QUERY_CONSUME_TIME_SPAN, fields(&ask), &[]).unwrap();
        let spans: QueryConsumeTimeSpanBody = json::from_slice(reply.body()).unwrap();
        assert_eq!(spans.consume_time_span_set.len(), 4);
        for span in &spans.consume_time_span_set {
            assert!(span.min_time_stamp > 0 && span.min_time_stamp < middle, "{span:?}");
            assert!(middle <= span.consume_time_stamp, "{span:?}");
            assert!(span.consume_time_stamp <= span.max_time_stamp, "{span:?}");
            assert!(span.delay_time > 0, "{span:?}");
        }
        let info = runtime_info(&mut tool);
        let earliest: i64 = info.table.get("earliestMessageTimeStamp").unwrap().parse().unwrap();
        assert!(earliest > 0 && earliest < middle, "{earliest}");
        assert!(server.stop().success());
    }
}

fn runtime_info(tool: &mut Connection) -> KvTable {
    let reply = tool.call_ok(request::GET_BROKER_RUNTIME_INFO, |_| {}, &[]).unwrap();
    json::from_slice(reply.body()).unwrap()
}

/// What brokers of both Java lines tell, but for keys that name a level or a path.
const JAVA_RUNTIME_KEYS: [&str; 60] = [
    "EndTransactionQueueSize",
    "EndTransactionThreadPoolQueueCapacity",
    "ackThreadPoolQueueCapacity",
    "ackThreadPoolQueueHeadWaitTimeMills",
    "ackThreadPoolQueueSize",
    "bootTimestamp",
    "brokerActive",
    "brokerVersion",
    "brokerVersionDesc",
    "commitLogDirCapacity",
    "commitLogDiskRatio",
    "commitLogMaxOffset",
    "commitLogMinOffset",
    "consumeQueueDiskRatio",
    "dispatchBehindBytes",
    "dispatchMaxBuffer",
    "earliestMessageTimeStamp",
    "getFoundTps",
    "getMessageEntireTimeMax",
    "getMissTps",
    "getTotalTps",
    "getTransferedTps",
    "getTransferredTps",
    "litePullThreadPoolQueueCapacity",
    "litePullThreadPoolQueueHeadWaitTimeMills",
    "litePullThreadPoolQueueSize",
    "msgGetTotalTodayMorning",
    "msgGetTotalTodayNow",
    "msgGetTotalYesterdayMorning",
    "msgPutTotalTodayMorning",
    "msgPutTotalTodayNow",
    "msgPutTotalYesterdayMorning",
    "pageCacheLockTimeMills",
    "pullThreadPoolQueueCapacity",
    "pullThreadPoolQueueHeadWaitTimeMills",
    "pullThreadPoolQueueSize",
    "putLatency99",
    "putLatency999",
    "putMessageAverageSize",
    "putMessageDistributeTime",
    "putMessageEntireTimeMax",
    "putMessageFailedTimes",
    "putMessageSizeTotal",
    "putMessageTimesTotal",
    "putTps",
    "queryThreadPoolQueueCapacity",
    "queryThreadPoolQueueHeadWaitTimeMills",
    "queryThreadPoolQueueSize",
    "remainHowManyDataToFlush",
    "remainTransientStoreBufferNumbs",
    "runtime",
    "sendThreadPoolQueueCapacity",
    "sendThreadPoolQueueHeadWaitTimeMills",
    "sendThreadPoolQueueSize",
    "startAcceptSendRequestTimeStamp",
    "timerCongestNum",
    "timerDequeueTps",
    "timerEnqueueTps",
    "timerOffsetBehind",
    "timerReadBehind",
];

#[test]
fn what_a_start_read_of_the_log_is_told() {
    let data = Data::new();
    let server = start(&data, 2, "");
    let topic = made(&server);
    fill(&server, topic);
    let figures = |server: &Server| -> [u64; 3] {
        let info = runtime_info(&mut server.connect(TIMEOUT).unwrap());
        let keys = ["recoveryTime", "recoveryMessages", "recoveryBytes"];
        keys.map(|key| info.table.get(key).unwrap().parse().unwrap())
    };
    assert_eq!(figures(&server)[1..], [0, 0]);
    server.kill();
    let server = start(&data, 2, "");
    let [_, messages, bytes] = figures(&server);
    assert!(messages > 0 && bytes > messages * 100, "{messages} {bytes}");
    assert!(server.stop().success());
    let server = start(&data, 2, "");
    assert_eq!(figures(&server)[1..], [0, 0], "an orderly stop leaves nothing to read");
}

fn statistic(tool: &mut Connection, name: &str, key: &str) -> Result<BrokerStatsData, String> {
    let ask = [("statsName", name), ("statsKey", key)];
    let reply = tool.call(request::VIEW_BROKER_STATS_DATA, fields(&ask), &[]).unwrap();
    match reply.code() {
        response::SUCCESS => Ok(json::from_slice(reply.body()).unwrap()),
        _ => Err(reply.remark()),
    }
}

#[test]
fn statistics_of_a_deleted_topic_go_with_it_unless_they_are_to_stay() {
    for (config, stays) in [("", false), ("autoDeleteUnusedStats=false\n", true)] {
        let data = Data::new();
        let server = start(&data, 2, config);
        let topic = made(&server);
        fill(&server, topic);
        let mut tool = server.connect(TIMEOUT).unwrap();
        assert!(statistic(&mut tool, "TOPIC_PUT_NUMS", topic).is_ok());
        tool.delete_topic(topic).unwrap();
        assert_eq!(statistic(&mut tool, "TOPIC_PUT_NUMS", topic).is_ok(), stays, "{config:?}");
        assert!(server.stop().success());
    }
}

#[test]
fn messages_are_counted_over_windows() {
    let data = Data::new();
    let server = start(&data, 2, "");
    let topic = made(&server);
    let mut tool = server.connect(TIMEOUT).unwrap();
    let missing = format!("The stats <TOPIC_PUT_NUMS> <{topic}> not exist");
    assert_eq!(statistic(&mut tool, "TOPIC_PUT_NUMS", topic), Err(missing));
    fill(&server, topic);
    let pair = format!("{topic}@{GROUP}");
    let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), GROUP);
    for queue in 0..4 {
        let pulled = consumer.pull(&Pull::new(topic, queue, 0)).unwrap();
        assert_eq!(pulled.messages.len(), 10);
    }
    // It is known at once; the figures come with the next sample.
    assert!(statistic(&mut tool, "GROUP_GET_NUMS", &pair).is_ok());
    let until = Instant::now() + TIMEOUT;
    while statistic(&mut tool, "TOPIC_PUT_NUMS", topic).unwrap().stats_minute.sum < 40 {
        assert!(Instant::now() < until, "a sample every 10 s");
        std::thread::sleep(Duration::from_millis(200));
    }
    std::thread::sleep(Duration::from_millis(500));
    let put = statistic(&mut tool, "TOPIC_PUT_NUMS", topic).unwrap().stats_minute;
    assert_eq!((put.sum, put.avgpt), (40, 1.0));
    assert!(put.tps > 1.0 && put.tps < 5.0, "{put:?}");
    let size = statistic(&mut tool, "TOPIC_PUT_SIZE", topic).unwrap().stats_minute;
    assert!(size.sum > 4000 && size.avgpt > 100.0, "{size:?}");
    let get = statistic(&mut tool, "GROUP_GET_NUMS", &pair).unwrap().stats_minute;
    assert_eq!((get.sum, get.avgpt), (40, 10.0));
    let got = statistic(&mut tool, "GROUP_GET_SIZE", &pair).unwrap().stats_minute;
    assert_eq!(got.sum, size.sum);
    // Of each queue; what is in memory takes no millisecond.
    let latency = |tool: &mut Connection, key: &str| statistic(tool, "GROUP_GET_LATENCY", key);
    let taken = latency(&mut tool, &format!("3@{pair}")).unwrap().stats_minute;
    assert_eq!((taken.sum, taken.avgpt), (0, 0.0));
    assert!(latency(&mut tool, &pair).is_err());
    assert!(statistic(&mut tool, "DLQ_PUT_NUMS", topic).is_err(), "nothing counts there in Java");
    let all = statistic(&mut tool, "BROKER_PUT_NUMS", "DefaultCluster").unwrap().stats_minute;
    assert_eq!((all.sum, all.avgpt), (40, 0.0));
    assert!(statistic(&mut tool, "NO_SUCH_NAME", topic).is_err());
    let info = runtime_info(&mut tool);
    let number = |key: &str| info.table.get(key).unwrap().parse::<f64>().unwrap();
    assert_eq!((number("msgPutTotalTodayNow"), number("msgGetTotalTodayNow")), (40.0, 40.0));
    assert_eq!(number("putMessageTimesTotal"), 40.0);
    assert!((0.0..=1.0).contains(&number("commitLogDiskRatio")));
    let missing = JAVA_RUNTIME_KEYS.iter().filter(|key| info.table.get(key).is_none());
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&&str>::new());
    assert!(number("putMessageAverageSize") > 100.0);
    let rates: Vec<f64> =
        info.table.get("putTps").unwrap().split(' ').map(|t| t.parse().unwrap()).collect();
    assert!(rates.len() == 3 && rates[0] > 0.1, "{rates:?}");
    let header =
        GetConsumeStatsRequestHeader { consumer_group: text(GROUP), topic: Some(text(topic)) };
    let reply = tool.call_ok(request::GET_CONSUME_STATS, |w| header.encode(w), &[]).unwrap();
    let stats: ConsumeStats = json::from_slice(reply.body()).unwrap();
    assert!(stats.consume_tps > 1.0, "{}", stats.consume_tps);
    assert!(server.stop().success());
}
