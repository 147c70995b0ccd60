//! Registration of a broker at a name server, and the topic table it carries. Java: `RegisterBrokerBody`,
//! `TopicConfigSerializeWrapper`, `TopicConfig`.
//!
//! Limit: a compressed body may inflate to 64 MiB.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::body::{DataVersion, Table, lenient_bool, lenient_number, or_default};
use crate::codes::MQ_VERSION_5_0_0;
use crate::json::{self, BodyError};

/// Most bytes a compressed registration may inflate to.
pub const INFLATED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// From this `MQVersion` on a registration carries a `RegisterBrokerBody`.
const VERSION_WITH_FILTER_SERVERS: i32 = 37;

java_enum! {
    /// How many tags a message of a topic may have. Java: `TopicFilterType`.
    TopicFilterType {
        /// One.
        SingleTag = "SINGLE_TAG",
        /// Several (a legacy setting).
        MultiTag = "MULTI_TAG",
    }
}

/// `TopicConfig`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfig {
    /// Attributes such as `message.type` (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Table<String>>,
    /// Order topic.
    #[serde(deserialize_with = "lenient_bool")]
    pub order: bool,
    /// Permission bits: 4 read, 2 write, 1 inherit.
    #[serde(deserialize_with = "lenient_number")]
    pub perm: i32,
    /// Queues to read.
    #[serde(deserialize_with = "lenient_number")]
    pub read_queue_nums: i32,
    /// Tags per message.
    pub topic_filter_type: TopicFilterType,
    /// The topic.
    pub topic_name: String,
    /// Unit bits: 1 unit, 2 unit-sub.
    #[serde(deserialize_with = "lenient_number")]
    pub topic_sys_flag: i32,
    /// Queues to write.
    #[serde(deserialize_with = "lenient_number")]
    pub write_queue_nums: i32,
}

/// Java's defaults.
impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig {
            attributes: None,
            order: false,
            perm: 6,
            read_queue_nums: 16,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

/// `TopicConfigSerializeWrapper`: the answer to 21, and part of a registration.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigSerializeWrapper {
    /// Version of the table.
    #[serde(deserialize_with = "or_default")]
    pub data_version: DataVersion,
    /// Version of the static topics (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping_data_version: Option<DataVersion>,
    /// Topics by name.
    #[serde(deserialize_with = "or_default")]
    pub topic_config_table: Table<TopicConfig>,
    /// Static topics (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_queue_mapping_detail_map: Option<Table<Value>>,
    /// Static topics (5.x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_queue_mapping_info_map: Option<Table<Value>>,
}

/// `CreateTopicListRequestBody`: the body of 18 (5.x).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigList {
    /// The topics.
    #[serde(deserialize_with = "or_default")]
    pub topic_config_list: Vec<TopicConfig>,
}

/// `RegisterBrokerBody`: the body of 103.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RegisterBrokerBody {
    /// Filter servers; empty in practice.
    #[serde(deserialize_with = "or_default")]
    pub filter_server_list: Vec<String>,
    /// The topics.
    #[serde(deserialize_with = "or_default")]
    pub topic_config_serialize_wrapper: TopicConfigSerializeWrapper,
}

impl RegisterBrokerBody {
    /// Reads the body of a registration from a broker of this version. No bytes make the empty table of Java.
    pub fn decode(bytes: &[u8], compressed: bool, version: i32) -> Result<Self, BodyError> {
        if bytes.is_empty() {
            return Ok(RegisterBrokerBody::default());
        }
        if version < VERSION_WITH_FILTER_SERVERS {
            let topic_config_serialize_wrapper = json::from_slice(bytes)?;
            return Ok(RegisterBrokerBody {
                filter_server_list: Vec::new(),
                topic_config_serialize_wrapper,
            });
        }
        if compressed {
            return decode_inflated(&inflate(bytes)?, version);
        }
        json::from_slice(bytes)
    }

    /// Appends the plain form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        json::write_default(out, self);
    }

    /// Appends the compressed form a name server of this version reads. `topicSysFlag` and `order` have no place in it.
    pub fn encode_compressed(&self, out: &mut Vec<u8>, version: i32) {
        let wrapper = &self.topic_config_serialize_wrapper;
        let mut plain = Vec::new();
        part(&mut plain, |out| json::write_default(out, &wrapper.data_version));
        put_count(&mut plain, wrapper.topic_config_table.0.len());
        for (_, topic) in &wrapper.topic_config_table.0 {
            part(&mut plain, |out| write_topic_line(out, topic));
        }
        part(&mut plain, |out| json::write_default(out, &self.filter_server_list));
        if version >= MQ_VERSION_5_0_0 {
            let mappings = wrapper.topic_queue_mapping_info_map.as_ref();
            put_count(&mut plain, mappings.map_or(0, |table| table.0.len()));
            for (_, mapping) in mappings.iter().flat_map(|table| &table.0) {
                part(&mut plain, |out| json::write_default(out, mapping));
            }
        }
        let mut encoder = ZlibEncoder::new(out, Compression::best());
        encoder
            .write_all(&plain)
            .and_then(|()| encoder.finish())
            .expect("a vector takes every byte");
    }
}

/// `topicName readQueueNums writeQueueNums perm topicFilterType attributes`, the last only from 5.x.
fn write_topic_line(out: &mut Vec<u8>, topic: &TopicConfig) {
    let line = format!(
        "{} {} {} {} {}",
        topic.topic_name,
        topic.read_queue_nums,
        topic.write_queue_nums,
        topic.perm,
        topic.topic_filter_type.name()
    );
    out.extend_from_slice(line.as_bytes());
    if let Some(attributes) = &topic.attributes {
        out.push(b' ');
        json::write_default(out, attributes);
    }
}

fn read_topic_line(line: &[u8]) -> Result<TopicConfig, BodyError> {
    let line = String::from_utf8_lossy(line);
    let bad = || BodyError::new(format!("the topic line {line:?} has no five parts"));
    let mut parts = line.splitn(6, ' ');
    let mut next = || parts.next().ok_or_else(bad);
    let topic_name = next()?.to_owned();
    let number = |part: &str| part.parse::<i32>().map_err(|_| bad());
    let read_queue_nums = number(next()?)?;
    let write_queue_nums = number(next()?)?;
    let perm = number(next()?)?;
    let filter_name = next()?;
    let filter = TopicFilterType::ALL.iter().find(|one| one.name() == filter_name);
    let attributes = match parts.next() {
        Some(text) => Some(json::from_slice(text.as_bytes())?),
        None => None,
    };
    Ok(TopicConfig {
        attributes,
        order: false,
        perm,
        read_queue_nums,
        topic_filter_type: *filter.ok_or_else(bad)?,
        topic_name,
        topic_sys_flag: 0,
        write_queue_nums,
    })
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, BodyError> {
    let limit = u64::try_from(INFLATED_BYTES_MAX).expect("64 MiB") + 1;
    let mut out = Vec::new();
    ZlibDecoder::new(bytes).take(limit).read_to_end(&mut out).map_err(|error| {
        BodyError::new(format!("the compressed registration is damaged: {error}"))
    })?;
    if out.len() > INFLATED_BYTES_MAX {
        return Err(BodyError::new(format!(
            "the compressed registration is above the limit of {INFLATED_BYTES_MAX} bytes"
        )));
    }
    Ok(out)
}

fn decode_inflated(bytes: &[u8], version: i32) -> Result<RegisterBrokerBody, BodyError> {
    let mut parts = Parts { rest: bytes };
    let data_version = json::from_slice(parts.next("data version")?)?;
    let mut topics = Table::default();
    for _ in 0..parts.count("topic count")? {
        let topic = read_topic_line(parts.next("topic")?)?;
        topics.0.push((topic.topic_name.clone(), topic));
    }
    let filter_server_list = json::from_slice(parts.next("filter server list")?)?;
    let mut mappings = None;
    if version >= MQ_VERSION_5_0_0 {
        let mut table = Table::default();
        for _ in 0..parts.count("mapping count")? {
            let mapping: Value = json::from_slice(parts.next("mapping")?)?;
            let topic = mapping.get("topic").and_then(Value::as_str).unwrap_or_default();
            table.0.push((topic.to_owned(), mapping));
        }
        mappings = Some(table);
    }
    Ok(RegisterBrokerBody {
        filter_server_list,
        topic_config_serialize_wrapper: TopicConfigSerializeWrapper {
            data_version,
            mapping_data_version: None,
            topic_config_table: topics,
            topic_queue_mapping_detail_map: None,
            topic_queue_mapping_info_map: mappings,
        },
    })
}

/// Reads int32 counts and length-prefixed parts; a count is never trusted, only walked.
struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    fn count(&mut self, what: &str) -> Result<usize, BodyError> {
        let Some((word, rest)) = self.rest.split_first_chunk::<4>() else {
            return Err(BodyError::new(format!(
                "the compressed registration ends before its {what}"
            )));
        };
        self.rest = rest;
        let number = i32::from_be_bytes(*word);
        usize::try_from(number)
            .map_err(|_| BodyError::new(format!("the {what} {number} is negative")))
    }

    fn next(&mut self, what: &str) -> Result<&'a [u8], BodyError> {
        let length = self.count(what)?;
        let Some((part, rest)) = self.rest.split_at_checked(length) else {
            let left = self.rest.len();
            return Err(BodyError::new(format!(
                "the {what} of {length} bytes exceeds {left} bytes"
            )));
        };
        self.rest = rest;
        Ok(part)
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = i32::try_from(count).expect("far below 2 Gi parts");
    out.extend_from_slice(&count.to_be_bytes());
}

/// Appends a part behind its int32 length.
fn part(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    put_count(out, 0);
    write(out);
    let length = i32::try_from(out.len() - at - 4).expect("far below 2 GiB");
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}
