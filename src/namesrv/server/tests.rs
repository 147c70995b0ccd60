//! A name server on a real socket, and what it does with its files and with bad requests.

use super::*;
use crate::sample::{
    Reply, ask, at_ms, body, conn, process_fields, register, request, seed, serve,
};
use reactor::ReactorConfig;
use shard::ListenerTag;
use shard::boot::{ShardConfig, ShardSeed};
use shard::server::{Ending, Server, start};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;
use wire::codes::MQ_VERSION_5_5_0;

/// Fields of a header.
type Pairs<'a> = &'a [(&'a str, &'a str)];

const TOPICS: &[&str] = &["SELF_TEST_TOPIC", "A", "B"];

fn fresh(values: &[(&'static str, &str)]) -> NameServer {
    NameServer::new(seed(tempfile::tempdir().unwrap().path(), values))
}

/// Starts a name server on one shard and a free port.
fn started(dir: &Path, values: &[(&'static str, &str)]) -> (Server, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shard = ShardSeed {
        id: ShardId(0),
        cpu: reactor::affinity::allowed_cpus()[0],
        listeners: vec![(listener, ListenerTag(0))],
        store: None,
        config: ShardConfig {
            reactor: ReactorConfig::small(),
            idle_connection_ms: 120_000,
            sync_flush_timeout_ms: 5_000,
            stall: shard::stalled::StallLimits::default(),
            spin_ns: 0,
        },
    };
    let seed = seed(dir, values);
    (start(vec![shard], move |_| NameServer::new(seed.clone())).unwrap(), address)
}

/// A blocking client.
struct Client(TcpStream);

impl Client {
    fn to(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Client(stream)
    }

    fn read(&mut self) -> Reply {
        let mut bytes = vec![0; 4];
        self.0.read_exact(&mut bytes).unwrap();
        let length = u32::from_be_bytes(bytes[..].try_into().unwrap());
        bytes.resize(4 + usize::try_from(length).unwrap(), 0);
        self.0.read_exact(&mut bytes[4..]).unwrap();
        Reply::parse(&bytes)
    }

    fn ask(&mut self, code: i32, fields: &[(&str, &str)], content: &[u8]) -> Reply {
        self.0.write_all(&request(code, MQ_VERSION_5_5_0, fields, content)).unwrap();
        self.read()
    }

    /// Asks until the answer is as wanted, for what happens a moment later.
    fn ask_until(&mut self, code: i32, wanted: impl Fn(&Reply) -> bool) {
        for _ in 0..500 {
            if wanted(&self.ask(code, &[], b"")) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("request {code} is never answered as wanted");
    }
}

fn stop(server: Server) {
    server.stopper().stop();
    let ending = server.join();
    assert!(matches!(ending, Ending::Clean(_)), "{ending:?}");
}

#[test]
fn every_request_is_answered_over_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let (server, address) = started(dir.path(), &[]);
    let mut client = Client::to(address);
    let mut content = Vec::new();
    body(1, TOPICS).encode(&mut content);
    let broker = process_fields("broker-a", "0", "m:1");
    let version = br#"{"counter":1,"stateVersion":0,"timestamp":1}"#;
    let order = ("namespace", "ORDER_TOPIC_CONFIG");
    let queues = br#"{"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":1,"topicSysFlag":3,"writeQueueNums":1}]}"#;
    let name: &[(&str, &str)] = &[("brokerName", "broker-a")];
    let config = &config::effective_properties(&seed(dir.path(), &[]).config);
    let cases: &[(i32, Pairs<'_>, &[u8], &str)] = &[
        (103, &broker, &content, ""),
        (322, &broker, version, r#"{"counter":1,"stateVersion":0,"timestamp":1}"#),
        (904, &broker, b"", ""),
        (100, &[order, ("key", "A"), ("value", "broker-a:4")], b"", ""),
        (101, &[order, ("key", "A")], b"", ""),
        (219, &[order], b"", r#"{"table":{"A":"broker-a:4"}}"#),
        (103, &broker, &content, r#"{"table":{"A":"broker-a:4"}}"#),
        (102, &[order, ("key", "A")], b"", ""),
        (217, &[("topic", "N")], queues, ""),
        (
            105,
            &[("topic", "N")],
            b"",
            r#"{"brokerDatas":[{"brokerAddrs":{"0":"m:1"},"brokerName":"broker-a","cluster":"C","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":1,"topicSysFlag":3,"writeQueueNums":1}]}"#,
        ),
        (
            106,
            &[],
            b"",
            r#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"m:1"},"brokerName":"broker-a","cluster":"C","enableActingMaster":false}},"clusterAddrTable":{"C":["broker-a"]}}"#,
        ),
        (205, name, b"", ""),
        (327, name, b"", ""),
        (206, &[], b"", r#"{"topicList":["A","B","N","SELF_TEST_TOPIC"]}"#),
        (224, &[("cluster", "C")], b"", r#"{"topicList":["A","B","N","SELF_TEST_TOPIC"]}"#),
        (304, &[], b"", r#"{"brokerAddr":"m:1","topicList":["C","broker-a"]}"#),
        (311, &[], b"", r#"{"topicList":["N"]}"#),
        (312, &[], b"", r#"{"topicList":["N"]}"#),
        (313, &[], b"", r#"{"topicList":[]}"#),
        (216, &[("topic", "N")], b"", ""),
        (206, &[], b"", r#"{"topicList":["A","B","SELF_TEST_TOPIC"]}"#),
        (319, &[], b"", config),
        (318, &[], b"enableTopicList=false\n", ""),
        (
            901,
            &broker,
            b"",
            r#"{"brokerMemberGroup":{"brokerAddrs":{0:"m:1"},"brokerName":"broker-a","cluster":"C"}}"#,
        ),
        (104, &broker, b"", ""),
        (
            901,
            &broker,
            b"",
            r#"{"brokerMemberGroup":{"brokerAddrs":{},"brokerName":"broker-a","cluster":"C"}}"#,
        ),
    ];
    for (code, fields, content, wanted) in cases {
        let reply = client.ask(*code, fields, content);
        assert_eq!((reply.code, reply.remark.as_str()), (0, ""), "{code}");
        assert_eq!(reply.body, *wanted, "{code}");
    }
    let asked: BTreeSet<i32> = cases.iter().map(|(code, ..)| *code).collect();
    assert_eq!(asked.len(), handlers::ROWS.len());
    let disabled = client.ask(224, &[("cluster", "C")], b"");
    assert_eq!((disabled.code, disabled.remark.as_str()), (1, "disable"));
    stop(server);
}

#[test]
fn a_broker_whose_connection_ends_is_gone_and_a_silent_one_too() {
    let dir = tempfile::tempdir().unwrap();
    let (server, address) = started(dir.path(), &[("scanNotActiveBrokerInterval", "20")]);
    let mut content = Vec::new();
    body(1, TOPICS).encode(&mut content);
    let mut tool = Client::to(address);
    let mut broker = Client::to(address);
    assert_eq!(broker.ask(103, &process_fields("broker-a", "0", "m:1"), &content).code, 0);
    assert!(tool.ask(206, &[], b"").body.contains("\"A\""));
    drop(broker);
    tool.ask_until(206, |reply| reply.body == r#"{"topicList":[]}"#);
    let mut silent = Client::to(address);
    let mut fields = process_fields("broker-a", "0", "m:1");
    fields.push(("heartbeatTimeoutMillis", "50"));
    assert_eq!(silent.ask(103, &fields, &content).code, 0);
    tool.ask_until(206, |reply| reply.body == r#"{"topicList":[]}"#);
    // Its connection is closed, as Java does.
    assert_eq!(silent.0.read(&mut [0; 1]).unwrap(), 0);
    stop(server);
}

#[test]
fn settings_are_on_disk_when_the_answer_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (server, address) = started(dir.path(), &[]);
    let mut client = Client::to(address);
    let mut frames = Vec::new();
    for number in 0..50 {
        let fields = [("namespace", "n"), ("key", "k"), ("value", &*number.to_string())];
        frames.extend_from_slice(&request(100, MQ_VERSION_5_5_0, &fields, b""));
    }
    client.0.write_all(&frames).unwrap();
    for _ in 0..50 {
        assert_eq!(client.read().code, 0);
    }
    let path = dir.path().join("namesrv/kvConfig.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, r#"{"configTable":{"n":{"k":"49"}}}"#);
    stop(server);
    let mut again = NameServer::new(seed(dir.path(), &[]));
    let reply = ask(&mut again, 101, &[("namespace", "n"), ("key", "k")], b"");
    assert_eq!(reply.fields, [("value".to_owned(), "49".to_owned())]);
    // A file that cannot be written is told to whoever wants to change it.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let reply = ask(&mut again, 102, &[("namespace", "n"), ("key", "k")], b"");
    assert!(reply.code == 1 && reply.remark.contains("kvConfig.json was not written"), "{reply:?}");
}

#[test]
fn changed_configuration_takes_effect_and_is_kept_in_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = NameServer::new(seed(dir.path(), &[]));
    let path = dir.path().join("namesrv/namesrv.properties");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "# mine\nlistenPort=9999\n").unwrap();
    register(&mut server, "0", "m:1", TOPICS);
    let order = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "A"), ("value", "broker-a:4")];
    assert_eq!(ask(&mut server, 100, &order, b"").code, 0);
    assert!(!ask(&mut server, 105, &[("topic", "A")], b"").body.contains("orderTopicConf"));
    let reply = ask(
        &mut server,
        318,
        &[],
        b"orderMessageEnable=true\nreturnOrderTopicConfigToBroker=false\n",
    );
    assert_eq!((reply.code, reply.remark.as_str()), (0, ""));
    let route = ask(&mut server, 105, &[("topic", "A")], b"").body;
    assert!(route.contains(r#""orderTopicConf":"broker-a:4""#), "{route}");
    assert_eq!(register(&mut server, "0", "m:1", TOPICS).body, "");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("# mine\nlistenPort=9999\n"), "{text}");
    assert!(text.contains("orderMessageEnable=true\n"), "{text}");
    assert!(ask(&mut server, 319, &[], b"").body.contains("\norderMessageEnable=true\n"));
    for (body, code, remark) in [
        ("kvConfigPath=x", 16, "black list"),
        ("listenPort=1", 1, "restart"),
        ("orderMessageEnabel=true", 1, "orderMessageEnable"),
        ("orderMessageEnable=perhaps", 1, "orderMessageEnable"),
    ] {
        let reply = ask(&mut server, 318, &[], body.as_bytes());
        assert!(reply.code == code && reply.remark.contains(remark), "{body}: {reply:?}");
    }
}

#[test]
fn bad_requests_are_told_what_is_wrong() {
    let mut server = fresh(&[]);
    let broker = process_fields("broker-a", "0", "m:1");
    let cases: &[(i32, Pairs<'_>, &[u8], i32, &str)] = &[
        (105, &[], b"", 1, "the custom field <topic> is null"),
        (103, &broker[..2], b"", 1, "the custom field <brokerAddr> is null"),
        (
            104,
            &process_fields("b", "first", "m:1"),
            b"",
            1,
            "the field brokerId of UnRegisterBrokerRequestHeader is not a long: \"first\"",
        ),
        (322, &broker, b"", 1, "the body cannot be read"),
        (217, &[("topic", "T")], b"[", 1, "the body cannot be read"),
        (101, &[("namespace", "n"), ("key", "k")], b"", 22, "No config item, Namespace: n Key: k"),
        (105, &[("topic", "T")], b"", 17, "No topic route info in name server for the topic: T\n"),
        (999, &[], b"", 3, " request type 999 not supported"),
        (
            10,
            &[],
            b"",
            3,
            " request type 10 not supported: a name server does not answer SEND_MESSAGE",
        ),
    ];
    for (code, fields, body, wanted, remark) in cases {
        let reply = ask(&mut server, *code, fields, body);
        assert_eq!(reply.code, *wanted, "{code}");
        assert!(reply.remark.starts_with(remark), "{code}: {}", reply.remark);
    }
    let mut crc = broker.clone();
    crc.push(("bodyCrc32", "7"));
    let reply = ask(&mut server, 103, &crc, b"{}");
    assert_eq!((reply.code, reply.remark.as_str()), (1, "crc32 not match"));
    let reply = ask(&mut server, 103, &broker, b"\x78\x9c not zlib");
    assert!(reply.code == 1 && reply.remark.contains("damaged"), "{reply:?}");
}

#[test]
fn registrations_come_compressed_old_and_empty() {
    let mut server = fresh(&[]);
    let mut compressed = Vec::new();
    body(1, TOPICS).encode_compressed(&mut compressed, MQ_VERSION_5_5_0);
    // Brokers up to 5.3.3 send it without saying so.
    for flag in ["true", "false"] {
        let mut fields = process_fields("broker-a", "0", "m:1");
        fields.push(("compressed", flag));
        assert_eq!(ask(&mut server, 103, &fields, &compressed).code, 0);
        assert_eq!(server.routes.all_topics().len(), 3);
        server.routes = RouteTable::default();
    }
    let mut old = Vec::new();
    wire::json::write_default(&mut old, &body(1, TOPICS).topic_config_serialize_wrapper);
    let frame = request(103, 36, &process_fields("broker-a", "0", "m:1"), &old);
    assert_eq!(Reply::parse(&serve(&mut server, at_ms(0), conn(1), &frame)).code, 0);
    assert_eq!(server.routes.all_topics().len(), 3);
    let reply = ask(&mut server, 103, &process_fields("broker-b", "1", "s:1"), b"");
    assert_eq!((reply.code, reply.fields.len()), (0, 0));
    let slave = register(&mut server, "1", "s:2", &[]);
    let field = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(slave.fields, [field("haServerAddr", "h:1"), field("masterAddr", "m:1")]);
}

#[test]
fn routes_wait_where_that_is_asked_for() {
    let mut server = fresh(&[("needWaitForService", "true")]);
    register(&mut server, "0", "m:1", TOPICS);
    let frame = request(105, MQ_VERSION_5_5_0, &[("topic", "A")], b"");
    let early = Reply::parse(&serve(&mut server, at_ms(44_999), conn(1), &frame));
    assert_eq!((early.code, early.remark.as_str()), (1, "name server not ready"));
    assert_eq!(Reply::parse(&serve(&mut server, at_ms(45_000), conn(1), &frame)).code, 0);
}

#[test]
fn old_clients_get_routes_in_the_dialect_and_zones_only_their_own() {
    let mut server = fresh(&[]);
    register(&mut server, "0", "m:1", TOPICS);
    let mut route = |version: i32, fields: &[(&str, &str)]| {
        let frame = request(105, version, fields, b"");
        Reply::parse(&serve(&mut server, at_ms(0), conn(1), &frame)).body
    };
    assert!(route(317, &[("topic", "A")]).contains(r#""brokerAddrs":{0:"m:1"}"#));
    let strict = route(317, &[("topic", "A"), ("acceptStandardJsonOnly", "true")]);
    assert!(strict.contains(r#""brokerAddrs":{"0":"m:1"}"#));
    assert!(route(401, &[("topic", "A")]).contains(r#""brokerAddrs":{"0":"m:1"}"#));
    let elsewhere = [("topic", "A"), ("__ZONE_MODE", "true"), ("__ZONE_NAME", "z")];
    let wanted = r#"{"brokerDatas":[],"filterServerTable":{},"queueDatas":[]}"#;
    assert_eq!(route(513, &elsewhere), wanted);
}

#[test]
fn answers_oneway_requests_and_garbage_are_not_answered() {
    let mut server = fresh(&[]);
    let mut quiet = |flag: u8| {
        let mut frame = request(100, 513, &[("namespace", "n"), ("key", "k"), ("value", "v")], b"");
        let at = frame.windows(7).position(|bytes| bytes == b"\"flag\":").unwrap() + 7;
        frame[at] = b'0' + flag;
        serve(&mut server, at_ms(0), conn(1), &frame)
    };
    assert!(quiet(1).is_empty() && quiet(2).is_empty() && !quiet(0).is_empty());
    let garbage = b"\0\0\0\x07\0\0\0\x03{]}";
    let (frame, _) = wire::frame::split(garbage).unwrap().unwrap();
    assert!(server.serve(at_ms(0), conn(1), &frame, &mut Vec::new()).is_err());
}

#[test]
fn garbage_costs_its_sender_the_connection_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (server, address) = started(dir.path(), &[]);
    let mut good = Client::to(address);
    for garbage in [&b"\0\0\0\x07\0\0\0\x03{]}"[..], b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut bad = Client::to(address);
        bad.0.write_all(garbage).unwrap();
        assert_eq!(bad.0.read(&mut [0; 1]).unwrap_or(0), 0);
        assert_eq!(good.ask(106, &[], b"").code, 0);
    }
    stop(server);
}
