//! 370: a producer takes back a message whose time has not come. Java: `RecallMessageProcessor`, `RecallMessageHandle`.
//!
//! The answer to the send named a handle. It brings a second message into the same slot of the timer, which keeps the
//! first one from being delivered.

use crate::app::{Broker, Host};
use crate::handlers::{Outcome, Request};
use crate::put::{self, ClientAnswer, OwnMessage, PutFor};
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::topics::PERM_WRITE;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use shard::Cx;
use wire::codes::response;
use wire::ids::QueueId;
use wire::props;
use wire::reply::FrameWriter;
use wire::req::client::RecallMessageRequestHeader;

/// First word of a handle.
const VERSION: &str = "v1";
/// Tag of the messages that take others back.
const RECALL_TAG: &[u8] = b"_RECALL_TAG_";
/// Longest handle: five words, each a name or a number.
const HANDLE_BYTES_MAX: usize = 1024;

/// The handle of a message: the slot's time and a millisecond, as Java writes it.
pub(crate) fn handle(settings: &Settings, topic: &[u8], slot_ms: i64, unique_key: &[u8]) -> String {
    let time = (slot_ms + 1).to_string();
    let broker = settings.config.broker_name.as_bytes();
    URL_SAFE.encode([VERSION.as_bytes(), topic, broker, time.as_bytes(), unique_key].join(&b' '))
}

/// What a handle says.
struct Handle {
    topic: String,
    broker: String,
    time_ms: i64,
    unique_key: String,
}

fn parse(text: &str) -> Option<Handle> {
    if text.len() > HANDLE_BYTES_MAX {
        return None;
    }
    let text = String::from_utf8(URL_SAFE.decode(text).ok()?).ok()?;
    let mut words = text.split(' ');
    if words.next() != Some(VERSION) {
        return None;
    }
    let mut word = || words.next().map(str::to_owned);
    let (topic, broker, time) = (word()?, word()?, word()?);
    Some(Handle { topic, broker, time_ms: time.parse().unwrap_or(-1), unique_key: word()? })
}

/// 370.
pub(crate) fn on_recall<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    if let Err(refusal) = recall(broker, cx, request)
        && !request.header.is_oneway()
    {
        let head = request.head(refusal.code);
        let mut writer = FrameWriter::begin(cx.output(request.conn), head);
        writer.field_str("MSG_REGION", broker.settings.config.region_id.as_bytes());
        writer.remark(&refusal.remark);
        writer.finish();
    }
    Outcome::Done
}

fn recall<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Result<(), Refusal> {
    let header = RecallMessageRequestHeader::decode(&request.header.fields)?;
    let config = &broker.settings.config;
    if !config.timer.recall_enable {
        let remark = "recall failed, operation is forbidden";
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    if config.broker_permission & PERM_WRITE.unsigned_abs() == 0 || broker.stopping {
        let remark = "recall failed, broker service not available";
        return Err(Refusal::new(response::SERVICE_NOT_AVAILABLE, remark));
    }
    let topic = header.topic.to_cow();
    if broker.topics.get(topic.as_bytes()).is_none() {
        let remark = format!("recall failed, the topic[{topic}] not exist");
        return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark));
    }
    let illegal = |remark| Err(Refusal::new(response::ILLEGAL_OPERATION, remark));
    let Some(handle) = parse(&header.recall_handle.to_cow()) else {
        return illegal("recall handle is invalid");
    };
    if handle.topic != topic {
        return illegal("recall failed, topic not match");
    }
    if handle.broker != config.broker_name {
        return illegal("recall failed, broker service not available");
    }
    let left_ms = handle.time_ms.saturating_sub(cx.now.wall.0);
    if left_ms <= 0 || left_ms >= config.timer.max_delay_s.saturating_mul(1000) {
        return illegal("recall failed, timestamp invalid");
    }
    let group = header.producer_group.map(|text| text.to_cow()).unwrap_or_default();
    let message = Box::new(marker(broker, cx.now.wall.0, request, &handle, &group));
    let (conn, opaque) = (request.conn, request.header.opaque);
    let answer = match request.header.is_oneway() {
        true => ClientAnswer::Nothing,
        false => ClientAnswer::Recalled { conn, opaque, unique_key: handle.unique_key },
    };
    put::put(broker, cx, message, PutFor::Client(answer));
    Ok(())
}

/// The message that takes the other one back.
fn marker(
    broker: &Broker,
    now_ms: i64,
    request: &Request<'_>,
    handle: &Handle,
    group: &str,
) -> OwnMessage {
    let has_topic = broker.settings.config.timer.recall_key_has_topic;
    let key = match has_topic {
        true => format!("{}+{}", handle.topic, handle.unique_key),
        false => handle.unique_key.clone(),
    };
    let mut properties = Vec::new();
    props::append(&mut properties, props::TAGS, RECALL_TAG);
    props::append(&mut properties, props::TIMER_DEL_UNIQKEY, key.as_bytes());
    props::append(&mut properties, props::UNIQ_KEY, handle.unique_key.as_bytes());
    props::append_i64(&mut properties, props::TIMER_DELIVER_MS, handle.time_ms);
    props::append_i64(&mut properties, props::BORN_TIMESTAMP, now_ms);
    props::append(&mut properties, props::PRODUCER_GROUP, group.as_bytes());
    OwnMessage {
        topic: handle.topic.clone().into_bytes(),
        queue_id: QueueId(0),
        flag: 0,
        sys_flag: 0,
        born_timestamp: now_ms,
        born_host: request.peer.address,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"0".to_vec(),
        properties,
        is_due: false,
        creates: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::test_settings;

    #[test]
    fn handles_are_javas() {
        let settings = test_settings(&[("brokerName", "broker-a")]);
        // From the recording `broker-550/client-550-json/recall.jsonl`.
        let recorded = "djEgVG9waWNUaW1lciBicm9rZXItYSAxNzk1MjQzNTI5MDAxIDdGMDAwMDAxNDRBOTRFMEUyRjJBNjg3MjY2RDIwMDAw";
        let key = b"7F00000144A94E0E2F2A687266D20000";
        assert_eq!(handle(&settings, b"TopicTimer", 1_795_243_529_000, key), recorded);
        let read = parse(recorded).unwrap();
        assert_eq!((read.topic.as_str(), read.broker.as_str()), ("TopicTimer", "broker-a"));
        assert_eq!((read.time_ms, read.unique_key.as_bytes()), (1_795_243_529_001, &key[..]));
        for bad in ["", "x", "djEg", "djIgYSBiIDEgYw==", "***"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
