//! What every decoder owes arbitrary bytes: an answer or an error, and a value that survives its own encoding.
//!
//! Each function is a fuzz target; `tests/fuzz_corpus.rs` runs the committed corpora through them.
#![allow(dead_code, unreachable_pub, reason = "a fuzz binary uses one of them")]

use filter::SqlFilter;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shard::store_dir::{OpenStore, StoreDirConfig};
use std::fmt::Debug;
use std::path::Path;
use store::delay::DelayLevels;
use store::layout::checkpoint::Checkpoint;
use store::layout::consume_queue::CqEntry;
use store::layout::consume_queue_ext;
use store::layout::identity::Identity;
use store::layout::index::IndexLimits;
use store::layout::queue_table::QueueTable;
use store::layout::{segment, timer};
use store::recovery::{ScanRange, scan};
use store::stream::{FlushMode, SyncBy};
use wire::batch::{BatchItems, encode_item};
use wire::body::broker::{
    ConsumerOffsetWrapper, DelayOffsetWrapper, SubscriptionGroupConfig, SubscriptionGroupWrapper,
    TopicStatsTable,
};
use wire::body::client::{CheckClientConfig, HeartbeatData, LockBatchRequest, LockBatchResponse};
use wire::body::register::{RegisterBrokerBody, TopicConfig, TopicConfigSerializeWrapper};
use wire::body::route::{ClusterInfo, TopicRouteData};
use wire::ids::{PhyOffset, StreamId};
use wire::message::{MessageView, NewMessage, Probe, declared_size, probe};
use wire::req::send::SendRequest;
use wire::req::send_scan;
use wire::req::{client, namesrv};
use wire::{Header, MessageId, Props, TagFilter, frame as frames};

/// Frames, headers in both encodings, and every typed header.
pub fn frame(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((frame, used))) = frames::split(rest) {
        assert_eq!(frames::declared_bytes(rest), Ok(Some(used)));
        assert_eq!(frame.bytes.len(), used);
        header(&frame);
        rest = &rest[used..];
    }
}

/// What is read in one pass equals what the general decoders read.
fn scanned(frame: &frames::Frame<'_>) {
    let mut properties = Vec::new();
    let Some((header, send)) = send_scan::scan(frame, &mut properties) else { return };
    let general = Header::decode(frame).expect("what was scanned is a header");
    assert_eq!(format!("{header:?}"), format!("{general:?}"));
    let expected = SendRequest::decode(general.code, &general.fields).expect("and a send");
    assert_eq!(format!("{send:?}"), format!("{expected:?}"));
    let mut decoded = Vec::new();
    if let Some(text) = expected.properties {
        text.write_to(&mut decoded);
    }
    assert_eq!(properties, decoded);
}

fn header(frame: &frames::Frame<'_>) {
    scanned(frame);
    let Ok(header) = Header::decode(frame) else { return };
    let _ = header.remark.map(|text| text.to_cow().into_owned());
    for (key, value) in header.fields.iter() {
        let (name, text) = (key.to_cow(), value.to_cow());
        let replaced = text.contains(char::REPLACEMENT_CHARACTER);
        assert!(value.eq_bytes(text.as_bytes()) || replaced, "{name}: {text}");
        assert!(text.len() <= value.len_max() || value.as_plain().is_some());
        assert_eq!(
            value.parse_i32().ok(),
            value.parse_i64().ok().and_then(|n| i32::try_from(n).ok())
        );
        let _ = value.parse_bool();
        let replaced = name.contains(char::REPLACEMENT_CHARACTER);
        assert!(header.fields.get(&name).is_some() || replaced, "{name} is found");
    }
    let fields = &header.fields;
    for code in [10, 310, 320] {
        let _ = SendRequest::decode(code, fields);
    }
    let _ = client::PullMessageRequestHeader::decode(fields);
    let _ = client::PullMessageResponseHeader::decode(fields);
    let _ = client::SearchOffsetRequestHeader::decode(fields);
    let _ = client::UpdateConsumerOffsetRequestHeader::decode(fields);
    let _ = client::CreateTopicRequestHeader::decode(fields);
    let _ = client::DeleteSubscriptionGroupRequestHeader::decode(fields);
    let _ = namesrv::RegisterBrokerRequestHeader::decode(fields);
    let _ = namesrv::BrokerHeartbeatRequestHeader::decode(fields);
    let _ = namesrv::GetRouteInfoRequestHeader::decode(fields);
}

/// The message as one to be stored again.
fn to_new<'a>(view: &MessageView<'a>) -> NewMessage<'a> {
    NewMessage {
        queue_id: view.queue_id(),
        flag: view.flag(),
        sys_flag: view.sys_flag(),
        born_timestamp: view.born_timestamp(),
        born_host: view.born_host(),
        store_host: view.store_host(),
        reconsume_times: view.reconsume_times(),
        prepared_transaction_offset: view.prepared_transaction_offset(),
        body: view.body(),
        topic: view.topic(),
        properties: view.properties(),
    }
}

/// Stored messages.
pub fn message(data: &[u8]) {
    let _ = declared_size(data);
    let Ok((view, size)) = MessageView::parse(data) else {
        assert!(!matches!(probe(data, PhyOffset(0)), Probe::Message { .. }));
        return;
    };
    assert!(size <= data.len() && view.bytes().len() == size);
    let found = probe(data, view.phy_offset());
    assert_eq!(found == Probe::Message { size }, view.check_body_crc());
    for (key, _) in Props::new(view.properties()).iter() {
        assert!(!key.contains(&1) && !key.contains(&2));
    }
    let new = to_new(&view);
    if new.check_limits().is_err() {
        return;
    }
    let mut bytes = vec![0; new.encoded_len()];
    new.encode(&mut bytes, view.place());
    let (again, _) = MessageView::parse(&bytes).expect("what is encoded is read");
    assert!(again.check_body_crc());
    assert_eq!((again.topic(), again.body()), (view.topic(), view.body()));
    assert_eq!(
        (again.properties(), again.queue_offset()),
        (view.properties(), view.queue_offset())
    );
    assert_eq!((again.born_host(), again.store_host()), (view.born_host(), view.store_host()));
}

/// Properties text, tag expressions, batches, message ids.
pub fn text(data: &[u8]) {
    let props = Props::new(data);
    for (key, value) in props.iter() {
        assert!(!value.contains(&2) && !key.contains(&2));
    }
    let _ =
        (props.get("TAGS"), props.is_true("WAIT"), props.get_i64("DELAY"), props.keys().count());
    let mut changed = data.to_vec();
    wire::props::set(&mut changed, "KEYS", b"value");
    assert_eq!(Props::new(&changed).get("KEYS"), Some(&b"value"[..]));
    wire::props::remove(&mut changed, "KEYS");
    assert_eq!(Props::new(&changed).get("KEYS"), None);
    let _ = MessageId::parse(data);
    if let Ok(expression) = std::str::from_utf8(data)
        && let Ok(filter) = TagFilter::parse(expression)
    {
        for tag in wire::tags::tags(expression) {
            assert!(filter.matches(wire::java_hash::tag_code(tag.as_bytes())), "{tag:?}");
        }
    }
    let mut bytes = Vec::new();
    let items: Vec<_> = BatchItems::new(data).map_while(Result::ok).collect();
    for item in &items {
        encode_item(&mut bytes, item);
    }
    assert_eq!(BatchItems::new(&bytes).map_while(Result::ok).collect::<Vec<_>>(), items);
}

fn json<T: Serialize + DeserializeOwned + Debug>(data: &[u8]) {
    round(data, |out, value: &T| wire::json::write_default(out, value));
}

fn round<T: DeserializeOwned + Debug>(data: &[u8], write: impl Fn(&mut Vec<u8>, &T)) {
    let Ok(value) = wire::json::from_slice::<T>(data) else { return };
    let mut bytes = Vec::new();
    write(&mut bytes, &value);
    let again = wire::json::from_slice::<T>(&bytes);
    let again = again.unwrap_or_else(|error| panic!("{value:?} is written and not read: {error}"));
    let mut twice = Vec::new();
    write(&mut twice, &again);
    assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&twice));
}

/// JSON bodies; the first byte chooses the type.
pub fn body(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 16 {
        0 => json::<HeartbeatData>(data),
        1 => json::<LockBatchRequest>(data),
        2 => json::<LockBatchResponse>(data),
        3 => json::<CheckClientConfig>(data),
        4 => json::<TopicConfig>(data),
        5 => json::<TopicConfigSerializeWrapper>(data),
        6 => json::<SubscriptionGroupConfig>(data),
        7 => json::<SubscriptionGroupWrapper>(data),
        8 => json::<ConsumerOffsetWrapper>(data),
        9 => json::<DelayOffsetWrapper>(data),
        10 => json::<TopicRouteData>(data),
        11 => json::<ClusterInfo>(data),
        12 => round(data, |out, value: &TopicStatsTable| wire::json::write_object_keys(out, value)),
        13 => json::<RegisterBrokerBody>(data),
        14 => register(data, 407),
        _ => register(data, 513),
    }
}

fn register(data: &[u8], version: i32) {
    let Ok(body) = RegisterBrokerBody::decode(data, true, version) else { return };
    let mut bytes = Vec::new();
    body.encode_compressed(&mut bytes, version);
    let _ = RegisterBrokerBody::decode(&bytes, true, version);
}

/// Small files of the store; the first byte chooses the format.
pub fn layout(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    if kind & 0x80 != 0 {
        return own_layout(kind & 0x7F, data);
    }
    match kind % 3 {
        0 => {
            if let Some(entry) = CqEntry::decode(data) {
                assert_eq!(entry.encode()[..], data[..20]);
                let _ = (entry.is_filler(), entry.end());
            }
        }
        1 => {
            let checkpoint = Checkpoint::decode(data);
            assert_eq!(Checkpoint::decode(&checkpoint.encode()), checkpoint);
        }
        _ => {
            let text = String::from_utf8_lossy(data);
            if let Ok(identity) = Identity::decode(&text) {
                assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
            }
            if let Some(position) = segment::parse_name(&text) {
                assert_eq!(segment::name(position), text);
            }
        }
    }
}

/// What came later: the queue table, the timer's files, extended queue entries.
fn own_layout(kind: u8, data: &[u8]) {
    match kind % 5 {
        0 => {
            let mut data = data.to_vec();
            // The sum is right, or nothing behind it would be looked at.
            if let Some((head, summed)) = data.split_first_chunk_mut::<16>() {
                head[12..].copy_from_slice(&crc32fast::hash(summed).to_be_bytes());
            }
            if let Some(table) = QueueTable::decode(&data) {
                let bytes = table.encode();
                let again = QueueTable::decode(&bytes).expect("what is written is read");
                assert_eq!(again.encode(), bytes);
            }
        }
        1 => {
            if let Some(slot) = timer::Slot::decode(data) {
                assert_eq!(slot.encode()[..], data[..timer::SLOT_BYTES]);
            }
        }
        2 => {
            let end = data.len();
            let (end, _) = store::timer::units(data, 0, |at, unit| {
                assert!(at + timer::UNIT_BYTES <= end);
                assert_eq!(timer::Unit::decode(&unit.encode()), Some(unit));
                let _ = unit.slot_ms();
            });
            assert!(end <= data.len());
        }
        3 => {
            let check = timer::TimerCheck::decode(data);
            assert_eq!(timer::TimerCheck::decode(&check.encode()), check);
        }
        _ => {
            if let Some(unit) = consume_queue_ext::Unit::decode(data) {
                let mut bytes = Vec::new();
                unit.encode(&mut bytes);
                assert_eq!(consume_queue_ext::Unit::decode(&bytes), Some(unit));
            }
        }
    }
}

/// A log of arbitrary bytes in segments of 4 KiB; the first two bytes choose where the scan begins.
pub fn recovery(data: &[u8]) {
    const SEGMENT: u64 = 4096;
    let Some(([high, low], disk)) = data.split_first_chunk::<2>() else { return };
    let limit = (disk.len() as u64).next_multiple_of(SEGMENT);
    let from = u64::from(u16::from_be_bytes([*high, *low])) % (limit + 1);
    let range = ScanRange { stream: StreamId(3), segment_bytes: SEGMENT, from, limit };
    let mut read = |position: u64, buffer: &mut [u8]| {
        assert!(position < limit, "nothing is read behind the last segment");
        assert!(position % SEGMENT + buffer.len() as u64 <= SEGMENT, "a read stays in its segment");
        let rest = usize::try_from(position).ok().and_then(|at| disk.get(at..)).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        buffer[len..].fill(0);
        Ok(buffer.len())
    };
    let mut next = from;
    let end = scan(range, &mut read, &mut |view, position, size| {
        assert!(position >= next && view.phy_offset() == PhyOffset::new(StreamId(3), position));
        next = position + u64::from(size);
    });
    let end = end.expect("the reader never fails");
    assert!(end.end >= next && end.end <= limit);
}

/// Size of a segment, of a queue file, and the parts that `store_dir` puts together.
const STORE_SEGMENT_BYTES: usize = 16 << 10;
const STORE_QUEUE_FILE_BYTES: usize = 400;

/// A store directory with arbitrary files: the open ends in an error that names one of them, or in a store that is sound
/// that opens again as it is after a kill. (An orderly stop is trusted: damage below its end shows later.)
///
/// The input is a list of files: a byte that says which, one for its number, two for the length of the content.
pub fn store_dir(data: &[u8]) {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a directory");
    if !write_store(dir.path(), data) {
        return;
    }
    let config = store_config(dir.path());
    let ends = |open: &OpenStore| {
        let streams = |shard: &shard::boot::ShardStore| shard.files.len();
        let positions: Vec<u64> = (0..open.identity.streams)
            .map(|n| open.shards[0].store.stream(StreamId(n)).appended())
            .collect();
        (positions, open.shards.iter().map(streams).collect::<Vec<_>>())
    };
    let was_killed = dir.path().join("abort").exists();
    let first = match shard::store_dir::open(&config) {
        Ok(open) => {
            open.shards.iter().for_each(|shard| shard.store.check_invariants());
            ends(&open)
        }
        Err(error) => {
            let (text, place) = (error.to_string(), dir.path().display().to_string());
            assert!(text.contains(&place), "{text} names no file");
            return;
        }
    };
    let again = shard::store_dir::open(&config);
    if was_killed {
        assert_eq!(ends(&again.expect("what one start leaves the next one opens")), first);
    }
}

/// Writes the files; false where the identity asks for more room than a test may take.
fn write_store(dir: &Path, mut data: &[u8]) -> bool {
    while let Some(([kind, number, high, low], rest)) = data.split_first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (content, rest) = rest.split_at(len);
        data = rest;
        let mut content = content.to_vec();
        let number = usize::from(*number);
        let (path, full) = match kind % 7 {
            0 => (format!("commitlog/{:020}", number * STORE_SEGMENT_BYTES), STORE_SEGMENT_BYTES),
            1 => {
                let (queue, file) = (number % 4, number / 4 * STORE_QUEUE_FILE_BYTES);
                (format!("consumequeue/T/{queue}/{file:020}"), STORE_QUEUE_FILE_BYTES)
            }
            2 => (format!("index/{:017}", 20_260_101_000_000_000 + number), 0),
            3 => ("checkpoint".to_owned(), 4096),
            4 => ("abort".to_owned(), 0),
            5 => {
                let identity = Identity::decode(&String::from_utf8_lossy(&content));
                if identity.is_ok_and(|i| i.segment_bytes > 1 << 20 || i.streams > 2) {
                    return false;
                }
                ("ringmq.store".to_owned(), 0)
            }
            _ => (stray(number), 0),
        };
        // The upper bit: the file is as long as what is there, not as it should be.
        if kind & 0x80 == 0 {
            content.resize(content.len().max(full), 0);
        }
        let path = dir.join(path);
        let above = path.parent().expect("below the store");
        std::fs::create_dir_all(above).expect("a directory");
        std::fs::write(path, content).expect("a file");
    }
    true
}

/// Files beside those that a store of one stream has.
fn stray(number: usize) -> String {
    match number {
        248 => "ringmq.deleted".to_owned(),
        249 => "ringmq.queues".to_owned(),
        250 => "lock".to_owned(),
        251 => "ringmq.store.tmp".to_owned(),
        252 => "commitlog/ringmq-store-with-several-streams".to_owned(),
        253 => format!("streams/1/{:020}", 0),
        254 => "streams/1.checkpoint".to_owned(),
        255 => "streams".to_owned(),
        number => format!("consumequeue/T/{number}/x"),
    }
}

fn store_config(root: &Path) -> StoreDirConfig {
    StoreDirConfig {
        root: root.to_path_buf(),
        commit_log: root.join("commitlog"),
        segment_bytes: STORE_SEGMENT_BYTES as u64,
        queue_file_bytes: STORE_QUEUE_FILE_BYTES as u64,
        queue_ext_bytes: None,
        streams: 1,
        shards: 1,
        window_bytes: 32 << 10,
        window_dir: root.to_path_buf(),
        flush: FlushMode::Sync,
        sync_by: Some(SyncBy::Flush),
        flush_interval_ns: 1_000_000,
        read_uncommitted: false,
        delay_levels: DelayLevels::default(),
        retention: None,
        index: true,
        index_limits: IndexLimits { slots: 50, items: 300 },
    }
}

/// Names of the tables below `config/`, and the lengths that say that a file is not there.
const TABLES: [&str; 3] = ["topics.json", "subscriptionGroup.json", "consumerOffset.json"];
const LATER_TABLES: [&str; 2] = ["delayOffset.json", "consumerFilter.json"];
const ABSENT: u16 = u16::MAX;

/// A table and its backup of arbitrary bytes: the start reads the one or the other, or names the one it cannot read. What
/// it refuses it leaves alone, what it cannot read it keeps, and a backup is never touched.
///
/// The input: a byte that says which table, two for the length of its text, the text, the text of the backup.
pub fn tables(data: &[u8]) {
    let Some(([kind, high, low], rest)) = data.split_first_chunk::<3>() else { return };
    let length = u16::from_be_bytes([*high, *low]);
    let (table, backup) = match length {
        ABSENT => (None, Some(rest)),
        _ => {
            let (table, backup) = rest.split_at(usize::from(length).min(rest.len()));
            (Some(table), (!backup.is_empty()).then_some(backup))
        }
    };
    let (list, kind) = match kind & 0x80 {
        0 => (&TABLES[..], *kind),
        _ => (&LATER_TABLES[..], kind & 0x7F),
    };
    load_table(list[usize::from(kind) % list.len()], table, backup);
}

/// Reads `table` and `backup` as the start of a broker does; whether it goes on.
pub fn load_table(name: &str, table: Option<&[u8]>, backup: Option<&[u8]>) -> bool {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let path = |ending: &str| dir.path().join(format!("{name}{ending}"));
    for (ending, bytes) in [("", table), (".bak", backup)] {
        if let Some(bytes) = bytes {
            std::fs::write(path(ending), bytes).expect("a file");
        }
    }
    let on_disk = |ending: &str| std::fs::read(path(ending)).ok();
    let settings = broker_settings();
    let loaded = broker::load_tables(dir.path(), &settings);
    assert_eq!(on_disk(".bak").as_deref(), backup, "a backup is not touched");
    let aside = on_disk(".damaged");
    let Ok(boot) = loaded else {
        let error = loaded.err().expect("it is none");
        let place = path("").display().to_string();
        assert!(error.contains(&place), "{error} does not name the file");
        assert!(on_disk("").as_deref() == table || aside.as_deref() == table, "it is kept");
        return false;
    };
    match on_disk("") {
        Some(bytes) => assert_eq!(Some(&bytes[..]), table),
        None => assert_eq!(aside.as_deref(), table, "what cannot be read is kept"),
    }
    let again = broker::load_tables(dir.path(), &settings).expect("it was read before");
    assert_eq!(boot.offsets, again.offsets);
    assert_eq!(format!("{:?}", boot.meta.topics), format!("{:?}", again.meta.topics));
    assert_eq!(format!("{:?}", boot.meta.groups), format!("{:?}", again.meta.groups));
    true
}

fn broker_settings() -> broker::settings::Settings {
    let machine = config::Machine {
        home: "/nowhere".into(),
        rocketmq_home: "/nowhere".into(),
        namesrv_addr: String::new(),
        local_address: "127.0.0.1".into(),
        host_name: "host".into(),
        cpus: 2,
    };
    let facts = machine.facts();
    let mut table = base::config::Config::defaults(&config::broker::TABLE, &facts);
    let (config, _) = config::BrokerConfig::from_config(&mut table).expect("defaults are valid");
    broker::settings::Settings::new(config, 1).expect("the address is one")
}

/// Text of a configuration file.
pub fn properties(data: &[u8]) {
    let Ok(file) = base::props::parse(data) else { return };
    let values = [("listenPort", "10911".to_owned()), ("brokerName", "a:b=c\\ \u{e9}".to_owned())];
    let Ok(changed) = base::props::with_values(data, &values) else { return };
    let again = base::props::parse(&changed).expect("what is written is read");
    for (key, value) in &values {
        let last = again.entries.iter().rev().find(|entry| entry.key == *key);
        assert_eq!(last.map(|entry| entry.value.as_str()), Some(value.as_str()));
    }
    let others = |list: &[base::props::Entry]| {
        let own = |entry: &&base::props::Entry| values.iter().all(|(key, _)| *key != entry.key);
        list.iter().filter(own).map(|e| (e.key.clone(), e.value.clone())).collect::<Vec<_>>()
    };
    // A file is no UTF-8 because of one value: without it the others read in another way.
    if again.encoding == file.encoding {
        assert_eq!(others(&again.entries), others(&file.entries), "other keys stay as they are");
    }
}

/// SQL92 expressions, and their evaluation over properties, which follow a zero byte.
pub fn sql(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (text, rest) = data.split_at(end);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(filter) = SqlFilter::compile(text) else { return };
    let props = Props::new(rest.get(1..).unwrap_or_default());
    let found = filter.evaluate(props);
    assert_eq!(found, filter.evaluate(props), "an evaluation leaves nothing behind");
    assert_eq!(filter.matches(props), found == Ok(Some(true)));
    // In parentheses it is the same, unless something follows that was passed over.
    if let Ok(again) = SqlFilter::compile(&format!("({text}\n)")) {
        assert_eq!(again.evaluate(props), found, "{text}");
    }
}
