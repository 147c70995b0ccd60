//! Rules on topics that need no broker: names, system topics, the built-in list, inheritance, attributes.
//!
//! Java counterparts: TopicValidator, TopicConfigManager, AttributeParser, TopicAttributes, all of 5.5.0.

use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::topics::{PERM_INHERIT, PERM_READ, PERM_WRITE, TopicTable};
use std::collections::HashSet;
use store::queues::QUEUE_ID_MAX;
use wire::body::Table;
use wire::body::register::{TopicConfig, TopicFilterType};
use wire::codes::response;

/// Longest name of a topic that clients make.
pub(crate) const TOPIC_BYTES_MAX: usize = 127;
/// Longest name of a topic that is derived from a group.
pub(crate) const DERIVED_TOPIC_BYTES_MAX: usize = 255;
/// Longest name of a group, so that its retry topic with the topic's name still fits.
pub(crate) const GROUP_BYTES_MAX: usize = 120;
/// Topics of one broker: the whole table has to fit a registration.
pub(crate) const TOPICS_MAX: usize = 65_536;
/// Longest attributes text of a request.
const ATTRIBUTES_BYTES_MAX: usize = 4096;

/// Prefix of a group's retry topic.
pub(crate) const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of a group's dead letter topic.
pub(crate) const DLQ_PREFIX: &str = "%DLQ%";
/// The topic whose settings clients name for topics made on first use.
pub(crate) const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Where remarks send people.
pub(crate) const FAQ: &str =
    "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// Unit bits of a topic: 1 unit, 2 unit-sub.
const SYS_FLAG_UNIT: i32 = 1;
const SYS_FLAG_UNIT_SUB: i32 = 2;

/// System topics of every broker; those named after cluster and broker come to it.
const SYSTEM_TOPICS: [&str; 11] = [
    AUTO_CREATE_TOPIC,
    "SCHEDULE_TOPIC_XXXX",
    "BenchmarkTest",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRACE_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
];
const SYSTEM_PREFIX: &str = "rmq_sys_";

/// The characters of Java's `^[%|a-zA-Z0-9_-]+$`.
pub(crate) fn has_legal_characters(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"%|_-".contains(&byte))
}

/// Whether a group may have this name.
pub(crate) fn is_group_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= GROUP_BYTES_MAX && has_legal_characters(name)
}

/// Checks a topic's name as `TopicValidator.validateTopic` does.
pub(crate) fn check_topic_name(name: &str) -> Result<(), Refusal> {
    let bad = |remark: String| Err(Refusal::new(response::INVALID_PARAMETER, remark));
    if name.trim().is_empty() {
        return bad("The specified topic is blank.".into());
    }
    if !has_legal_characters(name) {
        return bad(format!(
            "The specified topic: {name}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
        ));
    }
    let is_derived = name.starts_with(RETRY_PREFIX) || name.starts_with(DLQ_PREFIX);
    let limit = if is_derived { DERIVED_TOPIC_BYTES_MAX } else { TOPIC_BYTES_MAX };
    if name.len() > limit {
        return bad(format!(
            "The specified topic: {name}, is longer than topic max length {limit}."
        ));
    }
    Ok(())
}

/// The topics that administrators may not change.
pub(crate) struct SystemTopics(HashSet<String>);

impl SystemTopics {
    /// Those of a broker with these settings.
    pub(crate) fn new(settings: &Settings) -> SystemTopics {
        let fixed = SYSTEM_TOPICS.iter().map(|&name| name.to_owned());
        let made = built_in(settings).into_iter().map(|config| config.topic_name);
        SystemTopics(fixed.chain(made).collect())
    }

    /// Whether `name` is one.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.contains(name) || name.starts_with(SYSTEM_PREFIX)
    }

    /// All of them, sorted.
    pub(crate) fn list(&self) -> Vec<String> {
        let mut list: Vec<String> = self.0.iter().cloned().collect();
        list.sort_unstable();
        list
    }

    /// Refuses a change of a system topic.
    pub(crate) fn check_not_system(&self, name: &str) -> Result<(), Refusal> {
        if self.contains(name) {
            let remark = format!("The topic[{name}] is conflict with system topic.");
            return Err(Refusal::new(response::INVALID_PARAMETER, remark));
        }
        Ok(())
    }
}

/// A topic that the broker makes itself.
pub(crate) fn own_topic(name: &str, queues: i32, perm: i32) -> TopicConfig {
    topic(name, queues, perm)
}

fn topic(name: impl Into<String>, queues: i32, perm: i32) -> TopicConfig {
    TopicConfig {
        attributes: Some(Table::default()),
        perm,
        read_queue_nums: queues,
        topic_name: name.into(),
        write_queue_nums: queues,
        ..TopicConfig::default()
    }
}

/// The topics a broker has from the start.
pub(crate) fn built_in(settings: &Settings) -> Vec<TopicConfig> {
    const READ_WRITE: i32 = PERM_READ | PERM_WRITE;
    let config = &settings.config;
    let (cluster, broker) = (&config.broker_cluster_name, &config.broker_name);
    let inherit = |open: bool| PERM_INHERIT | if open { READ_WRITE } else { 0 };
    let default_queues = i32::try_from(config.default_topic_queue_nums).unwrap_or(i32::MAX);
    let mut topics = vec![
        topic("SELF_TEST_TOPIC", 1, READ_WRITE),
        topic("BenchmarkTest", 1024, READ_WRITE),
        topic(cluster, 16, inherit(config.cluster_topic_enable)),
        topic(broker, 1, inherit(config.broker_topic_enable)),
        topic("OFFSET_MOVED_EVENT", 1, READ_WRITE),
        topic("SCHEDULE_TOPIC_XXXX", 18, READ_WRITE),
        topic(format!("{cluster}_REPLY_TOPIC"), 1, READ_WRITE),
        topic(format!("rmq_sys_REVIVE_LOG_{cluster}"), 8, READ_WRITE),
        topic(format!("rmq_sys_SYNC_BROKER_MEMBER_{broker}"), 1, PERM_INHERIT),
        topic("RMQ_SYS_TRANS_HALF_TOPIC", 1, READ_WRITE),
        topic("RMQ_SYS_TRANS_OP_HALF_TOPIC", 1, READ_WRITE),
        topic("RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC", 1, READ_WRITE),
        topic("RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC", 1, READ_WRITE),
        topic("rmq_sys_wheel_timer", 1, READ_WRITE),
    ];
    if config.auto_create_topic_enable {
        topics.push(topic(AUTO_CREATE_TOPIC, default_queues, PERM_INHERIT | READ_WRITE));
    }
    if config.trace_topic_enable {
        topics.push(topic(&config.msg_trace_topic_name, 1, READ_WRITE));
    }
    topics
}

/// A group's retry topic.
pub(crate) fn retry_topic(group: &str, queues: i32, is_unit: bool) -> TopicConfig {
    let queues = queues.clamp(1, QUEUE_ID_MAX);
    let mut config = topic(format!("{RETRY_PREFIX}{group}"), queues, PERM_READ | PERM_WRITE);
    config.topic_sys_flag = if is_unit { SYS_FLAG_UNIT_SUB } else { 0 };
    config
}

/// What a send says about a topic that does not exist.
pub(crate) struct FirstSend<'a> {
    pub(crate) topic: &'a str,
    pub(crate) default_topic: &'a str,
    pub(crate) queues: Option<i32>,
    pub(crate) is_unit: bool,
}

/// The topic that a send makes, or why it makes none.
pub(crate) fn inherit(
    topics: &TopicTable,
    settings: &Settings,
    send: &FirstSend<'_>,
) -> Result<TopicConfig, Refusal> {
    let parent = topics.get(send.default_topic.as_bytes()).map(|topic| &topic.config);
    let is_off =
        send.default_topic == AUTO_CREATE_TOPIC && !settings.config.auto_create_topic_enable;
    let parent = parent.filter(|parent| parent.perm & PERM_INHERIT != 0 && !is_off);
    let group = send.topic.strip_prefix(RETRY_PREFIX);
    let Some(parent) = parent else {
        if let Some(group) = group {
            return Ok(retry_topic(group, 1, send.is_unit));
        }
        let remark = format!("topic[{}] not exist, apply first please!{FAQ}", send.topic);
        return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark));
    };
    let wanted = send.queues.unwrap_or(parent.write_queue_nums);
    let queues = wanted.min(parent.write_queue_nums);
    if queues < 1 {
        let remark = format!(
            "topic[{}] not exist, and cannot be made: defaultTopicQueueNums is {wanted}, topic {} has {} queues",
            send.topic, send.default_topic, parent.write_queue_nums
        );
        return Err(Refusal::new(response::INVALID_PARAMETER, remark));
    }
    let mut made = topic(send.topic, queues, parent.perm & !PERM_INHERIT);
    made.topic_filter_type = parent.topic_filter_type;
    made.topic_sys_flag = match (send.is_unit, group) {
        (false, _) => 0,
        (true, None) => SYS_FLAG_UNIT,
        (true, Some(_)) => SYS_FLAG_UNIT_SUB,
    };
    Ok(made)
}

/// Checks what an administrator asks for.
pub(crate) fn check_config(config: &TopicConfig) -> Result<(), Refusal> {
    let bad = |remark: String| Err(Refusal::new(response::INVALID_PARAMETER, remark));
    for (field, queues) in
        [("readQueueNums", config.read_queue_nums), ("writeQueueNums", config.write_queue_nums)]
    {
        if !(0..=QUEUE_ID_MAX).contains(&queues) {
            return bad(format!("{field} is {queues}, allowed is 0 to {QUEUE_ID_MAX}"));
        }
    }
    if !(0..8).contains(&config.perm) {
        return bad(format!(
            "perm is {}, allowed is a sum of 4 (read), 2 (write) and 1 (inherit)",
            config.perm
        ));
    }
    Ok(())
}

/// The filter type a request names; the first one when it names none Java knows.
pub(crate) fn filter_type(name: &str) -> TopicFilterType {
    let found = TopicFilterType::ALL.iter().find(|kind| kind.name() == name);
    found.copied().unwrap_or_default()
}

/// One change of an attribute: `Some` sets it, `None` removes it.
pub(crate) type AttributeChange = (String, Option<String>);

/// Reads `+key=value,-key`.
pub(crate) fn parse_attributes(text: &str) -> Result<Vec<AttributeChange>, Refusal> {
    let bad = |remark: String| Refusal::new(response::SYSTEM_ERROR, remark);
    if text.len() > ATTRIBUTES_BYTES_MAX {
        let bytes = text.len();
        return Err(bad(format!(
            "attributes has {bytes} bytes, the limit is {ATTRIBUTES_BYTES_MAX}"
        )));
    }
    let mut changes: Vec<AttributeChange> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let change = match (part.strip_prefix('+'), part.strip_prefix('-')) {
            (Some(pair), _) => match pair.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => return Err(bad(format!("attribute {part:?} has no value (+key=value)"))),
            },
            (None, Some(key)) => (key.to_owned(), None),
            (None, None) => {
                return Err(bad(format!("attribute {part:?} begins with neither + nor -")));
            }
        };
        if changes.iter().any(|(key, _)| *key == change.0) {
            return Err(bad(format!("attribute {:?} is repeated", change.0)));
        }
        changes.push(change);
    }
    Ok(changes)
}

/// The attributes after the changes; `old` is `None` for a new topic.
pub(crate) fn alter_attributes(
    old: Option<&Table<String>>,
    changes: &[AttributeChange],
) -> Result<Table<String>, Refusal> {
    let bad = |remark: String| Refusal::new(response::SYSTEM_ERROR, remark);
    let mut table = old.cloned().unwrap_or_default();
    for (key, value) in changes {
        check_attribute(key, value.as_deref(), old.is_some())?;
        let had = table.0.iter().any(|(name, _)| name == key);
        table.0.retain(|(name, _)| name != key);
        match value {
            Some(value) => table.0.push((key.clone(), value.clone())),
            None if old.is_none() => {
                return Err(bad(format!(
                    "only add attribute is supported while creating topic. key: {key}"
                )));
            }
            None if !had => {
                return Err(bad(format!("attempt to delete a nonexistent key: {key}")));
            }
            None => {}
        }
    }
    table.0.sort_unstable();
    Ok(table)
}

fn check_attribute(key: &str, value: Option<&str>, exists: bool) -> Result<(), Refusal> {
    let bad = |code: i32, remark: String| Err(Refusal::new(code, remark));
    let allowed: &[&str] = match key {
        "message.type" => &["NORMAL", "FIFO", "DELAY", "TRANSACTION", "UNSPECIFIED", "MIXED"],
        "queue.type" => &["SimpleCQ"],
        "cleanup.policy" => &["DELETE"],
        "reserve.time" => {
            let is_number = value.is_none_or(|value| value.parse::<i64>().is_ok());
            let remark = format!("attribute reserve.time={value:?} is not a number of ms");
            return if is_number { Ok(()) } else { bad(response::SYSTEM_ERROR, remark) };
        }
        _ => return bad(response::SYSTEM_ERROR, format!("unsupported key: {key}")),
    };
    if exists && matches!(key, "queue.type" | "cleanup.policy") {
        let remark = format!("attempt to update an unchangeable attribute. key: {key}");
        return bad(response::SYSTEM_ERROR, remark);
    }
    let Some(value) = value else { return Ok(()) };
    if !allowed.contains(&value) {
        let remark = format!("attribute {key}={value} is not supported, allowed is {allowed:?}");
        return bad(response::SYSTEM_ERROR, remark);
    }
    if value == "MIXED" {
        return bad(response::INVALID_PARAMETER, "MIXED message type is not supported.".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
