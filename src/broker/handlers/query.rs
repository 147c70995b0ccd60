//! Messages by key, unique key or tag (12), and by their place in the log (33). Java: `QueryMessageProcessor`.
//!
//! Every shard looks into the index of its own streams; the shard that got the request puts the parts together. As with
//! Java, other messages whose key has the same hash are among the answers: clients sort them out. Limits: queries at a
//! time and in line per shard, bytes of an answer.

use crate::app::{Broker, Host};
use crate::fetch::{ANSWER_BYTES_MAX, Fetch};
use crate::handlers::{Outcome, Request};
use crate::mail::{BrokerMail, FoundRecord, QueryMail, QueryPart, shard_of};
use crate::refusal::Refusal;
use crate::{cold, settings::Settings};
use base::ids::{ConnId, ShardId};
use shard::Cx;
use std::collections::{HashMap, VecDeque};
use store::index::IndexQuery;
use store::layout::index::{key_hash, topic_hash};
use wire::codes::response;
use wire::ids::PhyOffset;
use wire::java_hash::java_hash_onto;
use wire::reply::{FrameHead, FrameWriter};
use wire::req::client::{
    QueryMessageRequestHeader, QueryMessageResponseHeader, ViewMessageRequestHeader,
};

/// Queries that a shard answers at a time: each may hold the bytes of an answer per shard.
const AT_ONCE_MAX: usize = 4;
/// Queries in line on a shard.
const WAITING_MAX: usize = 256;
/// Value of `indexType` that asks for a tag.
const TAG_TYPE: &str = "T";

/// A query and who asked.
struct Asked {
    conn: ConnId,
    head: FrameHead,
    query: IndexQuery,
}

struct Open {
    asked: Asked,
    missing: usize,
    part: QueryPart,
}

/// Queries of this shard's clients.
#[derive(Default)]
pub(crate) struct Queries {
    open: HashMap<u64, Open>,
    next: u64,
    waiting: VecDeque<Asked>,
}

/// 12: messages by key.
pub(crate) fn on_query<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match QueryMessageRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    if request.header.is_oneway() {
        return Outcome::Done;
    }
    let query = index_query(&broker.settings, &header);
    let asked = Asked { conn: request.conn, head: request.head(response::SUCCESS), query };
    if broker.queries.open.len() < AT_ONCE_MAX {
        begin(broker, cx, asked);
    } else if broker.queries.waiting.len() < WAITING_MAX {
        broker.queries.waiting.push_back(asked);
    } else {
        let remark = format!("stage received: {WAITING_MAX} queries by key are waiting, the limit");
        return Refusal::new(response::SYSTEM_BUSY, remark).into();
    }
    Outcome::Done
}

fn index_query(settings: &Settings, header: &QueryMessageRequestHeader<'_>) -> IndexQuery {
    let config = &settings.config.index;
    let is_unique = header.unique_key_query.is_some_and(|text| text.eq_str("true"));
    let asked = if is_unique {
        config.default_query_max_num
    } else {
        u32::try_from(header.max_num).unwrap_or(0)
    };
    let is_tag = header.index_type.is_some_and(|text| text.eq_str(TAG_TYPE));
    let start = topic_hash(header.topic.to_cow().as_bytes());
    let start = if is_tag { java_hash_onto(start, b"T#") } else { start };
    IndexQuery {
        hash: key_hash(java_hash_onto(start, header.key.to_cow().as_bytes())),
        begin: header.begin_timestamp,
        end: header.end_timestamp,
        count_max: asked.min(config.max_msgs_num_batch) as usize,
    }
}

fn begin<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, asked: Asked) {
    let ticket = broker.queries.next;
    broker.queries.next += 1;
    let query = asked.query;
    let open = Open { asked, missing: broker.shards, part: QueryPart::default() };
    broker.queries.open.insert(ticket, open);
    for shard in 0..broker.shards {
        let to = ShardId(u16::try_from(shard).expect("fewer than 65536 shards"));
        cx.mail(to, BrokerMail::Query(QueryMail::Ask { ticket, query }));
    }
}

/// A query of another shard's client (or this one's), or a part of an answer.
pub(crate) fn on_mail<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    from: ShardId,
    mail: QueryMail,
) {
    match mail {
        QueryMail::Ask { ticket, query } => {
            let hits = cx.store().search_index(&query);
            cold::begin_fetch(broker, cx, Fetch::query(from, ticket, query, hits));
        }
        QueryMail::Part { ticket, part } => on_part(broker, cx, ticket, part),
    }
}

fn on_part<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, ticket: u64, part: QueryPart) {
    let Some(open) = broker.queries.open.get_mut(&ticket) else { return };
    open.part.merge(part);
    open.missing -= 1;
    if open.missing > 0 {
        return;
    }
    let open = broker.queries.open.remove(&ticket).expect("found above");
    let by_place = broker.settings.streams == 1;
    answer(cx, &open.asked, open.part, by_place);
    if let Some(next) = broker.queries.waiting.pop_front() {
        begin(broker, cx, next);
    }
}

/// Answers with the newest records, oldest first; `by_place`: the places of all of them can be compared.
fn answer<H: Host>(cx: &mut Cx<'_, H>, asked: &Asked, part: QueryPart, by_place: bool) {
    if cx.is_full(asked.conn) {
        let why = "stage received: the connection does not take the answers it has asked for";
        refuse(cx, asked.conn, asked.head, why);
        return;
    }
    let mut records = part.records;
    records.sort_unstable_by_key(|r| (if by_place { 0 } else { r.timestamp }, r.place));
    let mut bytes = 0;
    let newest = records.iter().rev().take(asked.query.count_max);
    let count = newest
        .take_while(|record| {
            bytes += record.bytes.len();
            bytes <= ANSWER_BYTES_MAX || bytes == record.bytes.len()
        })
        .count();
    let records = records.split_off(records.len() - count);
    // As with Java, an index that has nothing for the key does not say how far it is.
    let last = if part.is_hit { (part.last_phy, part.last_timestamp) } else { (0, 0) };
    let fields = QueryMessageResponseHeader {
        index_last_update_phyoffset: last.0,
        index_last_update_timestamp: last.1,
    };
    let code = if records.is_empty() { response::QUERY_NOT_FOUND } else { response::SUCCESS };
    let head = FrameHead { code, ..asked.head };
    let mut writer = FrameWriter::begin(cx.output(asked.conn), head);
    fields.encode(&mut writer);
    if records.is_empty() {
        writer.remark("can not find message, maybe time range not correct");
        writer.finish();
        return;
    }
    let mut writer = writer.body();
    for record in &records {
        writer.bytes().extend_from_slice(&record.bytes);
    }
    writer.finish();
}

/// 33: a message by its place.
pub(crate) fn on_view<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match ViewMessageRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    if request.header.is_oneway() {
        return Outcome::Done;
    }
    let place = PhyOffset::from_wire(header.offset);
    let place = place.filter(|place| place.stream().0 < broker.settings.streams);
    let Some(place) = place else {
        return Refusal::new(response::SYSTEM_ERROR, no_message(header.offset)).into();
    };
    let owner = shard_of(place.stream(), broker.shards);
    if owner != broker.me {
        return Outcome::Forward(owner);
    }
    let head = request.head(response::SUCCESS);
    cold::begin_fetch(broker, cx, Fetch::view(request.conn, head, header.offset, place));
    Outcome::Done
}

fn no_message(offset: i64) -> String {
    format!("can not find message by the offset, {offset}")
}

/// Answers 33.
pub(crate) fn answer_view<H: Host>(
    cx: &mut Cx<'_, H>,
    conn: ConnId,
    head: FrameHead,
    offset: i64,
    record: Option<&FoundRecord>,
) {
    let Some(record) = record else {
        refuse(cx, conn, head, &no_message(offset));
        return;
    };
    if cx.is_full(conn) {
        let why = "stage received: this connection does not read the answers it has; ask again";
        refuse(cx, conn, head, why);
        return;
    }
    let mut writer = FrameWriter::begin(cx.output(conn), head).body();
    writer.bytes().extend_from_slice(&record.bytes);
    writer.finish();
}

/// Answers with an error.
pub(crate) fn refuse<H: Host>(cx: &mut Cx<'_, H>, conn: ConnId, head: FrameHead, why: &str) {
    let head = FrameHead { code: response::SYSTEM_ERROR, ..head };
    let mut writer = FrameWriter::begin(cx.output(conn), head);
    writer.remark(why);
    writer.finish();
}
