//! What the tests share: a configuration, requests, and answers taken apart.

use crate::server::{NameServer, Seed};
use base::config::{Config, Origin};
use base::ids::{ConnId, ShardId};
use base::time::{MonoNs, Now, WallMs};
use config::{Machine, NamesrvConfig};
use std::path::Path;
use wire::body::register::{RegisterBrokerBody, TopicConfig, TopicConfigSerializeWrapper};
use wire::body::{DataVersion, Table};
use wire::codes::MQ_VERSION_5_5_0;
use wire::frame::split;
use wire::{FrameHead, FrameWriter, Header, SerializeType};

pub(crate) fn conn(slot: u32) -> ConnId {
    ConnId { shard: ShardId(0), slot, generation: 1 }
}

pub(crate) fn at_ms(ms: u64) -> Now {
    Now { wall: WallMs(0), mono: MonoNs(0).plus_ms(ms) }
}

/// Files in `dir`; `values` beside the defaults.
pub(crate) fn seed(dir: &Path, values: &[(&'static str, &str)]) -> Seed {
    let machine = Machine {
        home: dir.display().to_string(),
        rocketmq_home: "/tmp/rocketmq/home".to_owned(),
        namesrv_addr: String::new(),
        local_address: "127.0.0.1".to_owned(),
        host_name: "t-host".to_owned(),
        cpus: 2,
    };
    let mut config = Config::defaults(&config::namesrv::TABLE, &machine.facts());
    for (key, value) in values {
        config.set(key, value, Origin::CommandLine).unwrap();
    }
    let (settings, _) = NamesrvConfig::from_config(&mut config).unwrap();
    Seed::load(settings, config).unwrap()
}

/// A topic table with these topics of permission 6 and 4 queues.
pub(crate) fn body(counter: i64, topics: &[&str]) -> RegisterBrokerBody {
    let config = |name: &str| TopicConfig {
        topic_name: name.to_owned(),
        read_queue_nums: 4,
        write_queue_nums: 4,
        ..TopicConfig::default()
    };
    RegisterBrokerBody {
        filter_server_list: Vec::new(),
        topic_config_serialize_wrapper: TopicConfigSerializeWrapper {
            data_version: DataVersion { counter, state_version: Some(0), timestamp: 1 },
            topic_config_table: Table(
                topics.iter().map(|name| ((*name).to_owned(), config(name))).collect(),
            ),
            ..TopicConfigSerializeWrapper::default()
        },
    }
}

/// A request frame.
pub(crate) fn request(code: i32, version: i32, fields: &[(&str, &str)], content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let head =
        FrameHead { serialize: SerializeType::Json, code, opaque: code + 1, flag: 0, version };
    let mut writer = FrameWriter::begin(&mut out, head);
    for (key, value) in fields {
        writer.field_str(key, value.as_bytes());
    }
    let mut body = writer.body();
    body.bytes().extend_from_slice(content);
    body.finish();
    out
}

/// An answer taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reply {
    pub(crate) code: i32,
    pub(crate) remark: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn parse(bytes: &[u8]) -> Reply {
        let (frame, used) = split(bytes).unwrap().expect("a whole answer");
        assert_eq!(used, bytes.len());
        let header = Header::decode(&frame).unwrap();
        assert!(header.is_response());
        let fields = header.fields.iter();
        Reply {
            code: header.code,
            remark: header.remark.map(|remark| remark.to_string()).unwrap_or_default(),
            fields: fields.map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            body: String::from_utf8(frame.body.to_vec()).unwrap(),
        }
    }
}

/// Serves one frame, writing files at once; the bytes of the answer.
pub(crate) fn serve(server: &mut NameServer, now: Now, from: ConnId, bytes: &[u8]) -> Vec<u8> {
    let (frame, _) = split(bytes).unwrap().unwrap();
    let mut out = Vec::new();
    server.serve(now, from, &frame, &mut out).unwrap();
    while let Some(job) = server.next_save() {
        let done = job.run();
        for waiter in server.finish_save(&done) {
            waiter.answer(&mut out, &done.result);
        }
    }
    out
}

/// Asks with a request of 5.5.0 and takes the answer apart.
pub(crate) fn ask(
    server: &mut NameServer,
    code: i32,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let bytes = request(code, MQ_VERSION_5_5_0, fields, body);
    Reply::parse(&serve(server, at_ms(0), conn(9), &bytes))
}

/// Fields of a registration of this process.
pub(crate) fn process_fields<'a>(
    name: &'a str,
    id: &'a str,
    address: &'a str,
) -> Vec<(&'static str, &'a str)> {
    vec![
        ("brokerName", name),
        ("brokerId", id),
        ("brokerAddr", address),
        ("clusterName", "C"),
        ("haServerAddr", "h:1"),
    ]
}

/// Registers a process with these topics and asserts success.
pub(crate) fn register(server: &mut NameServer, id: &str, address: &str, topics: &[&str]) -> Reply {
    let mut content = Vec::new();
    body(1, topics).encode(&mut content);
    let reply = ask(server, 103, &process_fields("broker-a", id, address), &content);
    assert_eq!((reply.code, reply.remark.as_str()), (0, ""));
    reply
}
