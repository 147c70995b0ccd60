//! Sends: 10, 310, 320 and their oneway forms. One message is a batch of one.
//!
//! Order of the checks and the remarks are those of Java 5.5.0 (`SendMessageProcessor`, `msgCheck`).

use crate::app::{Broker, Host};
use crate::bit_maps::BitMaps;
use crate::detour::{Detour, TIMER_TOPIC};
use crate::handlers::{Outcome, Request, recall, send_back};
use crate::look::Look;
use crate::mail::BrokerMail;
use crate::put::Stored;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::topics::{PERM_WRITE, Topic};
use crate::transactions::Transactions;
use base::ids::ShardId;
use shard::Cx;
use std::borrow::Cow;
use store::queues::QueueNo;
use store::recovery::TEXT_ZEROS_MAX;
use store::retention::DiskFull;
use store::{AppendError, Appended};
use wire::batch::{BatchItem, BatchItems};
use wire::codes::{request, response};
use wire::ids::{PhyOffset, QueueId};
use wire::message::NewMessage;
use wire::msg_id::MessageId;
use wire::props::{self, PROPERTIES_BYTES_MAX};
use wire::reply::FrameWriter;
use wire::req::send::{SendReply, SendRequest};
use wire::req::send_form::SentMessage;
use wire::sys_flag::{INNER_BATCH, TRANSACTION_MASK};

/// Longest name of a topic that clients send to.
pub(crate) const TOPIC_BYTES_MAX: usize = 127;

/// Topics that only the broker itself writes to.
const INTERNAL_TOPICS: [&[u8]; 7] = [
    TIMER_TOPIC,
    b"SCHEDULE_TOPIC_XXXX",
    b"RMQ_SYS_TRANS_HALF_TOPIC",
    b"RMQ_SYS_TRANS_OP_HALF_TOPIC",
    b"TRANS_CHECK_MAX_TIME_TOPIC",
    b"SELF_TEST_TOPIC",
    b"OFFSET_MOVED_EVENT",
];

/// A send in any form.
pub(crate) fn on_send<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let send = match SendRequest::decode(request.header.code, &request.header.fields) {
        Ok(send) => send,
        Err(error) => {
            refuse(&broker.settings, cx, request, &Refusal::from(error));
            return Outcome::Done;
        }
    };
    let mut properties = std::mem::take(&mut broker.properties);
    properties.clear();
    if let Some(text) = &send.properties {
        text.write_to(&mut properties);
    }
    let outcome = on_scanned(broker, cx, request, &send, &mut properties);
    broker.properties = properties;
    outcome
}

/// A send whose fields are read; `properties` holds its properties, decoded.
pub(crate) fn on_scanned<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
    send: &SendRequest<'_>,
    properties: &mut Vec<u8>,
) -> Outcome {
    send_one(broker, cx, request, send, properties).unwrap_or_else(|refusal| {
        refuse(&broker.settings, cx, request, &refusal);
        Outcome::Done
    })
}

fn send_one<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
    send: &SendRequest<'_>,
    properties: &mut Vec<u8>,
) -> Result<Outcome, Refusal> {
    if broker.stopping {
        return Err(Refusal::stopping());
    }
    let topic = text(&send.topic);
    check_internal(&topic)?;
    let Some(entry) = broker.topics.get_mut(&topic) else {
        let frame = request.frame.bytes.to_vec();
        let (conn, peer) = (request.conn, request.peer);
        cx.mail(ShardId::META, BrokerMail::EnsureTopic { conn, peer, frame });
        return Ok(Outcome::Done);
    };
    check_permission(&broker.settings, entry)?;
    let queue_id = choose_queue(entry, send, request, cx.now.mono.0)?;
    if let Some(queue) = entry.queue(queue_id) {
        cx.store().prefetch(queue);
    }
    let found = Look::at(properties);
    check_inner_batch(&broker.settings, send, &found)?;
    if send_back::is_retry(&topic) && !is_batch(request, send) {
        if !broker.is_meta() {
            return Ok(Outcome::Forward(ShardId::META));
        }
        check_message(&broker.settings, request, &topic, properties)?;
        complete(&broker.settings, cx, properties, found);
        let place = (&*topic, queue_id);
        return send_back::on_retry_send(broker, cx, request, send, place, properties);
    }
    let detour = match is_half(request, send, &found) {
        true => Some(Detour::Half),
        false => Detour::of(&found, send.sys_flag, &broker.settings, cx.now.wall)?,
    };
    let noted = if detour.is_none() { entry.queue(queue_id) } else { None };
    let (waits_in, waits_at) = match detour {
        None => (&*topic, queue_id),
        Some(detour) => (detour.topic(), detour.queue_id(&broker.settings)),
    };
    if noted.is_none() && !broker.is_mine(waits_in, waits_at) {
        return Ok(Outcome::Forward(broker.owner(waits_in, waits_at)));
    }
    if cx.must_stall() {
        return Ok(Outcome::Stall);
    }
    let queue = match noted {
        Some(queue) => queue,
        None => note_queue(broker, cx, waits_in, waits_at),
    };
    let sending =
        Sending { request, send, topic: &topic, queue, queue_id, detour, waits_in, waits_at };
    store(broker, cx, &sending, properties, found)
}

/// Refuses messages that say to be whole batches: only topics of another queue type hold such, and consumers would
/// unpack what is none.
fn check_inner_batch(
    settings: &Settings,
    send: &SendRequest<'_>,
    found: &Look,
) -> Result<(), Refusal> {
    let is_inner = send.sys_flag & INNER_BATCH != 0 || found.has_inner_num;
    if is_inner { Err(illegal(settings)) } else { Ok(()) }
}

/// A message that was delayed before is none, whatever old clients leave in it. A batch is refused.
fn is_half(request: &Request<'_>, send: &SendRequest<'_>, found: &Look) -> bool {
    let is_retry = send.reconsume_times.unwrap_or(0) > 0 && found.delay_level.is_some();
    found.is_half && !is_retry && !is_batch(request, send)
}

fn text<'a>(text: &wire::text::Text<'a>) -> Cow<'a, [u8]> {
    match text.as_plain() {
        Some(plain) => Cow::Borrowed(plain),
        None => Cow::Owned(text.to_cow().into_owned().into_bytes()),
    }
}

pub(crate) fn check_internal(topic: &[u8]) -> Result<(), Refusal> {
    if INTERNAL_TOPICS.contains(&topic) {
        let name = String::from_utf8_lossy(topic);
        let remark = format!("Sending message to topic[{name}] is forbidden.");
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    Ok(())
}

pub(crate) fn check_permission(settings: &Settings, topic: &Topic) -> Result<(), Refusal> {
    let permission = i32::try_from(settings.config.broker_permission).unwrap_or(0);
    if permission & PERM_WRITE == 0 && topic.config.order {
        let remark =
            format!("the broker[{}] sending message is forbidden", settings.config.broker_ip1);
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    topic.check_queue_type()
}

/// The queue the client chose; a negative number lets us choose.
pub(crate) fn choose_queue(
    topic: &Topic,
    send: &SendRequest<'_>,
    request: &Request<'_>,
    random: u64,
) -> Result<QueueId, Refusal> {
    if send.queue_id < 0 {
        let count = topic.config.write_queue_nums.max(1);
        let mixed = (random >> 7) ^ u64::from(request.header.opaque.unsigned_abs());
        let chosen = mixed % u64::from(count.unsigned_abs());
        return Ok(QueueId(i32::try_from(chosen).unwrap_or(0)));
    }
    let id = QueueId(send.queue_id);
    if topic.has_queue(id) {
        return Ok(id);
    }
    let remark = format!(
        "request queueId[{}] is illegal, {} Producer: {}",
        id.0,
        describe(&topic.config),
        request.peer.address
    );
    Err(Refusal::new(response::INVALID_PARAMETER, remark))
}

/// As Java prints a TopicConfig.
fn describe(config: &wire::body::register::TopicConfig) -> String {
    let bit = |bit, letter| if config.perm & bit != 0 { letter } else { '-' };
    let perm: String = [bit(4, 'R'), bit(2, 'W'), bit(1, 'X')].iter().collect();
    let filter = match config.topic_filter_type {
        wire::body::register::TopicFilterType::SingleTag => "SINGLE_TAG",
        wire::body::register::TopicFilterType::MultiTag => "MULTI_TAG",
    };
    let attributes = config.attributes.iter().flat_map(|table| &table.0);
    let attributes: Vec<String> = attributes.map(|(key, value)| format!("{key}={value}")).collect();
    let attributes = attributes.join(", ");
    format!(
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={perm}, topicFilterType={filter}, \
         topicSysFlag={}, order={}, attributes={{{attributes}}}]",
        config.topic_name,
        config.read_queue_nums,
        config.write_queue_nums,
        config.topic_sys_flag,
        config.order
    )
}

fn note_queue<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    topic: &[u8],
    id: QueueId,
) -> QueueNo {
    let stream = broker.stream_of(topic, id);
    let no = cx.store().find_or_create(topic, id, stream);
    if let Some(entry) = broker.topics.get_mut(topic) {
        entry.note_queue(id, no);
    }
    no
}

struct Sending<'s, 'f> {
    request: &'s Request<'f>,
    send: &'s SendRequest<'f>,
    /// As the client asked for.
    topic: &'s [u8],
    queue_id: QueueId,
    /// Where it is stored, which is another queue when it takes a detour.
    detour: Option<Detour>,
    waits_in: &'s [u8],
    waits_at: QueueId,
    queue: QueueNo,
}

/// What a message goes into besides its queue.
struct Notes<'b> {
    transactions: &'b mut Transactions,
    bit_maps: &'b BitMaps,
}

/// Adds what the broker adds to every message's properties.
fn add_broker_properties(settings: &Settings, properties: &mut Vec<u8>, replace: bool) {
    let config = &settings.config;
    if replace {
        for key in [props::MSG_REGION, props::TRACE_ON, props::CLUSTER, props::POP_CK] {
            props::remove(properties, key);
        }
    }
    props::append(properties, props::MSG_REGION, config.region_id.as_bytes());
    props::append(properties, props::TRACE_ON, if config.trace_on { b"true" } else { b"false" });
    props::append(properties, props::CLUSTER, config.broker_cluster_name.as_bytes());
}

fn illegal(settings: &Settings) -> Refusal {
    let remark = format!(
        "the message is illegal, maybe msg body or properties length not matched. msg body length limit {}B, msg \
         properties length limit 32KB.",
        settings.config.max_message_size
    );
    Refusal::new(response::MESSAGE_ILLEGAL, remark)
}

/// Refuses properties with so many zeros that recovery would take them for a sector that was never written.
fn refuse_zeros(properties: &[u8]) -> Result<(), Refusal> {
    if properties.len() <= TEXT_ZEROS_MAX || !properties.contains(&0) {
        return Ok(());
    }
    let zeros = properties.split(|byte| *byte != 0).map(<[u8]>::len).max().unwrap_or(0);
    if zeros <= TEXT_ZEROS_MAX {
        return Ok(());
    }
    let remark = format!(
        "the properties hold {zeros} zero bytes in a row, this broker stores at most {TEXT_ZEROS_MAX}: after a crash \
         they could not be told from a part of the log that was never written"
    );
    Err(Refusal::new(response::MESSAGE_ILLEGAL, remark))
}

fn store<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    sending: &Sending<'_, '_>,
    properties: &mut Vec<u8>,
    found: Look,
) -> Result<Outcome, Refusal> {
    let Broker { settings, batch: scratch, transactions, bit_maps, .. } = broker;
    let settings = &**settings;
    check_message(settings, sending.request, sending.topic, properties)?;
    if sending.detour == Some(Detour::Half) {
        check_half(settings, transactions)?;
    }
    if is_batch(sending.request, sending.send) {
        return store_batch((settings, bit_maps), cx, sending, properties, &found, scratch);
    }
    store_one(settings, cx, Notes { transactions, bit_maps }, sending, properties, found)
}

/// Refuses a half where none is wanted, or too many are there.
fn check_half(settings: &Settings, transactions: &Transactions) -> Result<(), Refusal> {
    let config = &settings.config;
    if config.reject_transaction_message {
        let ip = &config.broker_ip1;
        let remark = format!("the broker[{ip}] sending transaction message is forbidden");
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    transactions.refusal().map_or(Ok(()), Err)
}

fn is_batch(request: &Request<'_>, send: &SendRequest<'_>) -> bool {
    request.header.code == request::SEND_BATCH_MESSAGE || send.batch == Some(true)
}

/// Refuses what the store does not take.
pub(crate) fn check_message(
    settings: &Settings,
    request: &Request<'_>,
    topic: &[u8],
    properties: &[u8],
) -> Result<(), Refusal> {
    let body = request.frame.body;
    if body.len() > settings.config.max_message_size as usize {
        return Err(illegal(settings));
    }
    if body.is_empty() {
        let remark = "the message has no body (body length 0)";
        return Err(Refusal::new(response::MESSAGE_ILLEGAL, remark));
    }
    if topic.len() > TOPIC_BYTES_MAX && !send_back::is_retry(topic) {
        return Err(illegal(settings));
    }
    refuse_zeros(properties)
}

/// Adds to the properties what every message has; `found` is what they hold. What they hold then.
fn complete<H: Host>(
    settings: &Settings,
    cx: &Cx<'_, H>,
    properties: &mut Vec<u8>,
    found: Look,
) -> Look {
    if !found.replace && found.unique_key.is_some() {
        add_broker_properties(settings, properties, false);
        return found;
    }
    // A rare shape: bring it into the usual one, then look again.
    if found.unique_key.is_none() {
        let key = made_key(settings, cx);
        props::set(properties, props::UNIQ_KEY, key.as_bytes());
    }
    add_broker_properties(settings, properties, found.replace);
    Look::at(properties)
}

fn message<'m>(
    settings: &Settings,
    sending: &'m Sending<'_, '_>,
    body: &'m [u8],
    properties: &'m [u8],
) -> NewMessage<'m> {
    NewMessage {
        queue_id: sending.waits_at,
        flag: sending.send.flag,
        sys_flag: match sending.detour {
            Some(Detour::Half) => sending.send.sys_flag & !TRANSACTION_MASK,
            Some(Detour::Delay(_) | Detour::Timer(_)) | None => sending.send.sys_flag,
        },
        born_timestamp: sending.send.born_timestamp,
        born_host: sending.request.peer.address,
        store_host: settings.store_host,
        reconsume_times: sending.send.reconsume_times.unwrap_or(0),
        prepared_transaction_offset: 0,
        body,
        topic: sending.waits_in,
        properties,
    }
}

fn append_error(error: AppendError) -> Result<Outcome, Refusal> {
    match error {
        AppendError::Behind => Ok(Outcome::Stall),
        error
        @ (AppendError::DiskFull(_) | AppendError::TooLarge { .. } | AppendError::Stopped) => {
            Err(append_refusal(error))
        }
    }
}

/// Why the log does not take a message, for whoever sent it.
pub(crate) fn append_refusal(error: AppendError) -> Refusal {
    match error {
        AppendError::Behind => {
            Refusal::new(response::SYSTEM_BUSY, "stage appended: the log window is full")
        }
        AppendError::DiskFull(why) => disk_full(why),
        AppendError::TooLarge { bytes, bytes_max } => {
            let remark = format!(
                "the message is illegal: {bytes} bytes in one record or batch, the segment and the log window of \
                 this broker take {bytes_max}"
            );
            Refusal::new(response::MESSAGE_ILLEGAL, remark)
        }
        AppendError::Stopped => {
            let remark = "service not available now (stage appended): the message store has been shut down or has \
                          failed";
            Refusal::new(response::SERVICE_NOT_AVAILABLE, remark)
        }
    }
}

fn disk_full(why: Option<DiskFull>) -> Refusal {
    let remark = match why {
        Some(DiskFull { used_percent, limit_percent }) => format!(
            "service not available now (stage appended): the broker's disk is {used_percent} % full, \
             diskSpaceWarningLevelRatio = {limit_percent}; consumption goes on"
        ),
        None => "service not available now (stage appended): the broker's disk is full; consumption goes on".into(),
    };
    Refusal::new(response::SERVICE_NOT_AVAILABLE, remark)
}

fn store_one<H: Host>(
    settings: &Settings,
    cx: &mut Cx<'_, H>,
    notes: Notes<'_>,
    sending: &Sending<'_, '_>,
    properties: &mut Vec<u8>,
    found: Look,
) -> Result<Outcome, Refusal> {
    let mut found = complete(settings, cx, properties, found);
    if let Some(detour) = sending.detour {
        detour.note(settings, properties, sending.topic, sending.queue_id);
        found = Look::at(properties);
    }
    let grows = sending.detour.map_or(0, Detour::grows_bytes);
    if properties.len() + grows > PROPERTIES_BYTES_MAX {
        return Err(illegal(settings));
    }
    let message = message(settings, sending, sending.request.frame.body, properties);
    let len = message.encoded_len();
    let now = cx.now;
    let mut batch = match cx.store().begin(sending.queue, len, now) {
        Ok(batch) => batch,
        Err(error) => return append_error(error),
    };
    let keys = found.index_keys(properties);
    let tags_code = found.tags_code(settings, sending.waits_in, now.wall);
    let phy = batch.push_indexed(&message, tags_code, &keys);
    notes.bit_maps.note(&mut batch, sending.waits_in, properties);
    let appended = batch.finish();
    if sending.detour == Some(Detour::Half) {
        let (end, queue_offset) = (appended.end, appended.first.0);
        let at = Stored { phy, end, queue_offset, is_late: false };
        let times = (sending.send.born_timestamp, now.wall.0);
        notes.transactions.note(at, times, properties, settings.config.transactions.time_out_ms);
    }
    if sending.request.header.is_oneway() {
        return Ok(Outcome::Done);
    }
    let (start, end) = found.unique_key.expect("a message without one got one");
    if let Some(Detour::Timer(slot_ms)) = sending.detour
        && settings.config.timer.recall_enable
    {
        let place = (appended, phy, slot_ms);
        answer_timed(settings, cx, sending, place, &properties[start..end]);
        return Ok(Outcome::Done);
    }
    let sent = SentMessage {
        opaque: sending.request.header.opaque,
        queue_id: sending.queue_id.0,
        queue_offset: appended.first.0,
        key: &properties[start..end],
        phy,
    };
    cx.acknowledge(appended, sending.request.conn, !found.no_wait, |out| {
        settings.send_reply.encode(out, &sent);
    });
    Ok(Outcome::Done)
}

/// The answer names a handle by which the message can be taken back.
fn answer_timed<H: Host>(
    settings: &Settings,
    cx: &mut Cx<'_, H>,
    sending: &Sending<'_, '_>,
    (appended, phy, slot_ms): (Appended, PhyOffset, i64),
    unique_key: &[u8],
) {
    let handle = recall::handle(settings, sending.topic, slot_ms, unique_key);
    let reply = SendReply {
        queue_id: sending.queue_id.0,
        queue_offset: appended.first.0,
        transaction_id: Some(unique_key),
        trace_on: settings.config.trace_on,
        region: settings.config.region_id.as_bytes(),
        recall_handle: Some(handle.as_bytes()),
    };
    let head = sending.request.head(response::SUCCESS);
    let id = MessageId { host: settings.store_host, phy };
    cx.acknowledge(appended, sending.request.conn, true, |out| {
        let mut writer = FrameWriter::begin(out, head);
        reply.encode(&mut writer, std::iter::once(id));
        writer.finish();
    });
}

/// A unique key as Java's broker makes one for a message without: address, port, times, a counter; 32 hex digits.
fn made_key<H: Host>(settings: &Settings, cx: &Cx<'_, H>) -> String {
    let ip = match settings.store_host.ip() {
        std::net::IpAddr::V4(ip) => u32::from(ip),
        std::net::IpAddr::V6(ip) => u32::from_be_bytes(ip.octets()[12..].try_into().expect("four")),
    };
    let millis = cx.now.wall.0;
    let nanos = cx.now.mono.0;
    format!(
        "{ip:08X}{:04X}{:012X}{:08X}",
        settings.store_host.port(),
        millis & 0xFFFF_FFFF_FFFF,
        nanos & 0xFFFF_FFFF
    )
}

/// Scratch of batches: one entry per message.
#[derive(Default)]
pub(crate) struct BatchScratch {
    /// What a look at its properties has found.
    looks: Vec<Look>,
    places: Vec<PhyOffset>,
}

/// Refuses what a batch cannot do.
fn check_batch(found: &Look) -> Result<(), Refusal> {
    let waits = found.delay_level.map(|_| "DELAY").or(found.is_half.then_some("TRAN_MSG"));
    let waits = waits.or(found.timer.map(|_| "TIMER_DELIVER_MS or TIMER_DELAY_*"));
    waits.map_or(Ok(()), |feature| {
        let remark = format!("a batch cannot carry the property {feature}");
        Err(Refusal::new(response::MESSAGE_ILLEGAL, remark))
    })
}

/// Looks at each message of a batch; the bytes of all their records.
///
/// A message has the properties that it came with and no others, as in Java 5.5.0: those of the request name another
/// unique key, under which all messages would be one.
fn prepare_batch(
    settings: &Settings,
    sending: &Sending<'_, '_>,
    scratch: &mut BatchScratch,
) -> Result<usize, Refusal> {
    scratch.looks.clear();
    scratch.places.clear();
    let mut total = 0;
    for item in BatchItems::new(sending.request.frame.body) {
        let item: BatchItem<'_> = item.map_err(|error| {
            Refusal::new(response::MESSAGE_ILLEGAL, format!("the batch body is malformed: {error}"))
        })?;
        if item.body.is_empty() {
            return Err(illegal(settings));
        }
        refuse_zeros(item.properties)?;
        let found = Look::at(item.properties);
        check_batch(&found)?;
        total += message(settings, sending, item.body, item.properties).encoded_len();
        scratch.looks.push(found);
    }
    if scratch.looks.is_empty() {
        return Err(Refusal::new(response::MESSAGE_ILLEGAL, "the batch is empty"));
    }
    Ok(total)
}

fn store_batch<H: Host>(
    (settings, bit_maps): (&Settings, &BitMaps),
    cx: &mut Cx<'_, H>,
    sending: &Sending<'_, '_>,
    properties: &[u8],
    found: &Look,
    scratch: &mut BatchScratch,
) -> Result<Outcome, Refusal> {
    if sending.topic.starts_with(b"%RETRY%") {
        let topic = String::from_utf8_lossy(sending.topic);
        let remark = format!("batch request does not support retry group {topic}");
        return Err(Refusal::new(response::MESSAGE_ILLEGAL, remark));
    }
    if sending.send.sys_flag & TRANSACTION_MASK != 0 {
        return Err(illegal(settings));
    }
    check_batch(found)?;
    let total = prepare_batch(settings, sending, scratch)?;
    let BatchScratch { looks, places } = scratch;
    let now = cx.now;
    let mut batch = match cx.store().begin(sending.queue, total, now) {
        Ok(batch) => batch,
        Err(error) => return append_error(error),
    };
    let items = BatchItems::new(sending.request.frame.body).flatten();
    for (item, found) in items.zip(looks.iter()) {
        let own = item.properties;
        let new = NewMessage { flag: item.flag, ..message(settings, sending, item.body, own) };
        let keys = found.index_keys(own);
        let tags_code = found.tags_code(settings, sending.waits_in, now.wall);
        places.push(batch.push_indexed(&new, tags_code, &keys));
        bit_maps.note(&mut batch, sending.waits_in, own);
    }
    let appended = batch.finish();
    if sending.request.header.is_oneway() {
        return Ok(Outcome::Done);
    }
    let key = found.unique_key.and_then(|(start, end)| properties.get(start..end));
    let reply = SendReply {
        queue_id: sending.queue_id.0,
        queue_offset: appended.first.0,
        transaction_id: key,
        trace_on: settings.config.trace_on,
        region: settings.config.region_id.as_bytes(),
        recall_handle: None,
    };
    let head = sending.request.head(response::SUCCESS);
    let host = settings.store_host;
    cx.acknowledge(appended, sending.request.conn, !found.no_wait, |out| {
        let mut writer = FrameWriter::begin(out, head);
        reply.encode(&mut writer, places.iter().map(|phy| MessageId { host, phy: *phy }));
        writer.finish();
    });
    Ok(Outcome::Done)
}

/// A refusal of a send carries the two fields that clients read from every send answer.
pub(crate) fn refuse<H: Host>(
    settings: &Settings,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
    refusal: &Refusal,
) {
    if request.header.is_oneway() {
        return;
    }
    let mut writer = FrameWriter::begin(cx.output(request.conn), request.head(refusal.code));
    writer.field_bool("TRACE_ON", settings.config.trace_on);
    writer.field_str("MSG_REGION", settings.config.region_id.as_bytes());
    writer.remark(&refusal.remark);
    writer.finish();
}
