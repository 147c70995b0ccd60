//! Progress of groups and statistics: 208, 317, 303, 315. Java: AdminBrokerProcessor.
//!
//! Limit: pairs of group and topic in one answer.

use crate::app::{Broker, Host};
use crate::handlers::meta::gather::{self, Gathered, Pair, Progress, Question};
use crate::handlers::{Outcome, Request};
use crate::refusal::Refusal;
use shard::Cx;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::body::broker::{ConsumeOffset, ConsumeStats};
use wire::body::control::{ConsumeStatsList, QueryConsumeTimeSpanBody, QueueTimeSpan};
use wire::body::{ByQueue, MessageQueue, Table};
use wire::codes::response;
use wire::json;
use wire::req::client::GetConsumeStatsRequestHeader;
use wire::req::control::{
    GetConsumeStatsInBrokerHeader, QueryConsumeTimeSpanRequestHeader,
    ViewBrokerStatsDataRequestHeader,
};

/// Pairs of group and topic in one answer.
const PAIRS_MAX: usize = 65_536;

/// Progress of groups, on its way together.
pub(crate) struct Gathering {
    pairs: Arc<[Pair]>,
    /// All groups of the broker are told of.
    is_list: bool,
    groups: Vec<String>,
    rows: BTreeMap<(usize, i32), ConsumeOffset>,
    rates: Vec<f64>,
}

impl Gathering {
    fn new(pairs: Arc<[Pair]>, is_list: bool, groups: Vec<String>) -> Gathering {
        let rates = vec![0.0; pairs.len()];
        Gathering { pairs, is_list, groups, rows: BTreeMap::new(), rates }
    }

    /// Takes a shard's part.
    pub(crate) fn take(&mut self, part: Vec<Progress>, rates: &[f64]) {
        self.rows.extend(part.into_iter().map(|row| ((row.pair, row.queue), row.offset)));
        for (mine, theirs) in self.rates.iter_mut().zip(rates) {
            *mine += theirs;
        }
    }

    /// Writes the body.
    pub(crate) fn write(self, broker: &Broker, body: &mut Vec<u8>) {
        if !self.is_list {
            let mut stats = ConsumeStats::default();
            for pair in 0..self.pairs.len() {
                let one = self.stats(broker, pair);
                stats.consume_tps += one.consume_tps;
                stats.offset_table.0.extend(one.offset_table.0);
            }
            json::write_object_keys(body, &stats);
            return;
        }
        let mut by_group: BTreeMap<&str, Vec<ConsumeStats>> =
            self.groups.iter().map(|group| (group.as_str(), Vec::new())).collect();
        for (pair, (group, _)) in self.pairs.iter().enumerate() {
            let name = std::str::from_utf8(group).unwrap_or_default();
            let mut stats = self.stats(broker, pair);
            // As in Java, the list of all groups does not say how far pulls are.
            for (_, offset) in &mut stats.offset_table.0 {
                offset.pull_offset = Some(0);
            }
            by_group.entry(name).or_default().push(stats);
        }
        // Clients commit what they like, also the ends of the range: a sum that does not fit wraps, as in Java.
        let lag =
            |offset: &ConsumeOffset| offset.broker_offset.wrapping_sub(offset.consumer_offset);
        let list = ConsumeStatsList {
            broker_addr: broker.settings.store_host.to_string(),
            total_diff: self.rows.values().map(lag).fold(0, i64::wrapping_add),
            total_inflight_diff: 0,
            consume_stats_list: by_group
                .into_iter()
                .map(|(group, stats)| Table(vec![(group.to_owned(), stats)]))
                .collect(),
        };
        json::write_object_keys(body, &list);
    }

    fn stats(&self, broker: &Broker, pair: usize) -> ConsumeStats {
        let topic = self.pairs.get(pair).map(|(_, topic)| String::from_utf8_lossy(topic));
        let topic = topic.unwrap_or_default();
        let rows = self.rows.range((pair, 0)..(pair + 1, 0)).map(|((_, queue_id), offset)| {
            let broker_name = broker.settings.config.broker_name.clone();
            let queue_id = *queue_id;
            (MessageQueue { broker_name, queue_id, topic: topic.to_string() }, *offset)
        });
        ConsumeStats {
            consume_tps: self.rates.get(pair).copied().unwrap_or(0.0),
            offset_table: ByQueue(rows.collect()),
        }
    }
}

/// 208: how far a group is, in one topic or in all it has offsets of; a group on line only in what it wants.
pub(crate) fn on_consume_stats<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match GetConsumeStatsRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let group = header.consumer_group.to_cow();
    let named = header.topic.map(|topic| topic.to_cow().into_owned()).unwrap_or_default();
    let list = request.header.fields.get("topicList").map(|text| text.to_cow());
    let list: BTreeSet<String> = list
        .iter()
        .flat_map(|list| list.split(';'))
        .filter(|name| !name.trim().is_empty())
        .map(str::to_owned)
        .collect();
    let names = if list.is_empty() { topics_of(broker, &group, &named) } else { list };
    let known = names.iter().filter(|name| broker.topics.get(name.as_bytes()).is_some());
    let key: Arc<[u8]> = Arc::from(group.as_bytes());
    let pairs: Arc<[Pair]> =
        known.map(|name| (Arc::clone(&key), Arc::from(name.as_bytes()))).collect();
    ask(broker, cx, request, Gathering::new(pairs, false, Vec::new()))
}

/// Topics of a group: the one that is named, or those with offsets. A group on line is asked for no others than it wants.
fn topics_of(broker: &mut Broker, group: &str, named: &str) -> BTreeSet<String> {
    let home = broker.meta.home();
    let mut names = BTreeSet::new();
    if named.trim().is_empty() {
        names.extend(home.offsets.topics_of(group.as_bytes()));
    } else {
        names.insert(named.to_owned());
    }
    if let Some(found) = home.clients.group(group)
        && !found.subscriptions.is_empty()
    {
        names.retain(|name| found.subscriptions.contains_key(name));
        if named.trim().is_empty() {
            names.extend(found.subscriptions.keys().cloned());
        }
    }
    names
}

fn ask<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
    gathering: Gathering,
) -> Outcome {
    let count = gathering.pairs.len();
    if count > PAIRS_MAX {
        let remark = format!(
            "the answer would have {count} pairs of group and topic, the limit is {PAIRS_MAX}"
        );
        return Refusal::new(response::SYSTEM_ERROR, remark).into();
    }
    let (pairs, for_writing) = (Arc::clone(&gathering.pairs), gathering.is_list);
    let question = Question::Progress { pairs, for_writing };
    gather::ask(broker, cx, request, Gathered::Progress(gathering), &question);
    Outcome::Done
}

/// 317: how far all groups are.
pub(crate) fn on_broker_consume_stats<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match GetConsumeStatsInBrokerHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let groups: Vec<String> =
        broker.meta.groups.sorted().iter().map(|group| group.group_name.clone()).collect();
    let mut by_group: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (group, topic) in broker.meta.home().offsets.pairs() {
        by_group.entry(group).or_default().insert(topic);
    }
    let mut pairs = Vec::new();
    for group in &groups {
        let Some(topics) = by_group.get(group) else { continue };
        let found = broker.meta.home().clients.group(group);
        let wanted = found.map(|found| &found.subscriptions).filter(|wanted| !wanted.is_empty());
        let topics: Vec<&String> =
            topics.iter().filter(|topic| wanted.is_none_or(|w| w.contains_key(*topic))).collect();
        for topic in topics {
            let known = broker.topics.get(topic.as_bytes());
            if known.is_some_and(|known| known.config.order || !header.is_order) {
                pairs.push((Arc::from(group.as_bytes()), Arc::from(topic.as_bytes())));
            }
        }
    }
    ask(broker, cx, request, Gathering::new(pairs.into(), true, groups))
}

/// 303: how old what a group has consumed of a topic is.
pub(crate) fn on_time_span<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match QueryConsumeTimeSpanRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let (name, group) = (header.topic.to_cow(), header.group.to_cow());
    if broker.topics.get(name.as_bytes()).is_none() {
        let remark = format!("topic[{name}] not exist");
        return Refusal::new(response::TOPIC_NOT_EXIST, remark).into();
    }
    let topic: Arc<[u8]> = Arc::from(name.as_bytes());
    let gathered = Gathered::Spans { topic: Arc::clone(&topic), queues: BTreeMap::new() };
    let question = Question::Spans((Arc::from(group.as_bytes()), topic));
    gather::ask(broker, cx, request, gathered, &question);
    Outcome::Done
}

/// The answer to 303.
pub(crate) fn time_spans(
    queues: BTreeMap<i32, [i64; 4]>,
    queue: impl Fn(i32) -> MessageQueue,
    now: i64,
) -> QueryConsumeTimeSpanBody {
    let rows = queues.into_iter().map(|(id, [first, last, consumed, next])| QueueTimeSpan {
        consume_time_stamp: consumed,
        delay_time: if next > 0 { now - next } else { 0 },
        max_time_stamp: last,
        message_queue: queue(id),
        min_time_stamp: first,
    });
    QueryConsumeTimeSpanBody { consume_time_span_set: rows.collect() }
}

/// 315: a statistic over the last minute, hour and day.
pub(crate) fn on_view_stats<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match ViewBrokerStatsDataRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let name: Arc<str> = Arc::from(&*header.stats_name.to_cow());
    let key: Arc<[u8]> = Arc::from(header.stats_key.to_cow().as_bytes());
    let question = Question::Stat { name: Arc::clone(&name), key: Arc::clone(&key) };
    gather::ask(broker, cx, request, Gathered::Stat { name, key, sum: None }, &question);
    Outcome::Done
}
