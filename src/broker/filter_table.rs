//! What groups have wanted by expressions, also while they are off line: `consumerFilter.json`, on the metadata shard.
//!
//! Pulls do not need it: their subscriptions are on line. Java's broker reads it when it is started on the same store,
//! with the bits that its bloom filter gives a group. Java counterpart: ConsumerFilterManager.

use crate::subscriptions::{compile, is_tag_type};
use base::time::WallMs;
use filter::BloomFilter;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use wire::body::client::SubscriptionData;

/// At a start everybody is taken to have left so long ago.
const LEFT_BEFORE_START_MS: i64 = 30_000;

/// `consumerFilter.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FilterFile {
    filter_data_by_topic: BTreeMap<String, FiltersOfTopic>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FiltersOfTopic {
    group_filter_data: BTreeMap<String, FilterData>,
    topic: String,
}

/// `ConsumerFilterData`; times in milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FilterData {
    bloom_filter_data: Option<BloomData>,
    born_time: i64,
    client_version: i64,
    consumer_group: String,
    dead: bool,
    /// 0 while a member is on line.
    dead_time: i64,
    expression: String,
    expression_type: String,
    topic: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct BloomData {
    bit_num: u32,
    bit_pos: Vec<u32>,
}

impl FilterData {
    fn set_dead(&mut self, time: i64) {
        self.dead_time = time;
        self.dead = self.dead_time >= self.born_time;
    }
}

/// The table.
pub(crate) struct FilterTable {
    file: FilterFile,
    bloom: BloomFilter,
}

impl FilterTable {
    /// What the store has. When its bits were chosen for another bloom filter all of it is left out, as in Java.
    pub(crate) fn new(file: FilterFile, bloom: BloomFilter) -> FilterTable {
        let all = file.filter_data_by_topic.values().flat_map(|of| of.group_filter_data.values());
        let is_valid = |data: &FilterData| match &data.bloom_filter_data {
            Some(data) => bloom.is_valid(data.bit_num, &data.bit_pos),
            None => false,
        };
        let file = if all.into_iter().all(is_valid) { file } else { FilterFile::default() };
        FilterTable { file, bloom }
    }

    /// The broker begins: nobody is on line.
    pub(crate) fn begin(&mut self, now: WallMs) {
        for data in self.all() {
            if data.dead_time == 0 {
                data.set_dead((now.0 - LEFT_BEFORE_START_MS).max(data.born_time));
            }
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut FilterData> {
        let topics = self.file.filter_data_by_topic.values_mut();
        topics.flat_map(|of| of.group_filter_data.values_mut())
    }

    /// What a group on line wants; whether that changes the table.
    pub(crate) fn register<'a>(
        &mut self,
        group: &str,
        list: impl Iterator<Item = &'a SubscriptionData>,
        now: WallMs,
    ) -> bool {
        let mut wanted = Vec::new();
        let mut is_changed = false;
        for data in list {
            wanted.push(data.topic.as_str());
            is_changed |= self.register_one(group, data, now);
        }
        for data in self.all() {
            let is_left = data.consumer_group == group && !wanted.contains(&data.topic.as_str());
            if is_left && !data.dead {
                data.set_dead(now.0.max(data.born_time));
                is_changed = true;
            }
        }
        is_changed
    }

    fn register_one(&mut self, group: &str, data: &SubscriptionData, now: WallMs) -> bool {
        let kind = data.expression_type.as_deref();
        if is_tag_type(kind) || data.sub_string.is_empty() {
            return false;
        }
        let kind = kind.unwrap_or_default();
        let topics = &mut self.file.filter_data_by_topic;
        let known = topics.get_mut(&data.topic).and_then(|of| of.group_filter_data.get_mut(group));
        if let Some(known) = known {
            let is_same = known.expression == data.sub_string && known.expression_type == kind;
            if data.sub_version < known.client_version {
                return false;
            }
            if is_same || data.sub_version == known.client_version {
                let is_changed = known.dead || known.client_version != data.sub_version;
                known.client_version = data.sub_version;
                known.dead_time = 0;
                known.dead = false;
                return is_changed;
            }
        }
        if compile(kind, &data.sub_string).is_err() {
            let of = topics.get_mut(&data.topic);
            return of.is_some_and(|of| of.group_filter_data.remove(group).is_some());
        }
        let bit_pos = self.bloom.positions(group, &data.topic);
        let new = FilterData {
            bloom_filter_data: Some(BloomData { bit_num: self.bloom.bits(), bit_pos }),
            born_time: now.0,
            client_version: data.sub_version,
            consumer_group: group.to_owned(),
            dead: false,
            dead_time: 0,
            expression: data.sub_string.clone(),
            expression_type: kind.to_owned(),
            topic: data.topic.clone(),
        };
        let of = topics.entry(data.topic.clone()).or_default();
        of.topic.clone_from(&data.topic);
        of.group_filter_data.insert(group.to_owned(), new);
        true
    }

    /// The last member of a group has gone; whether that changes the table.
    pub(crate) fn unregister(&mut self, group: &str, now: WallMs) -> bool {
        self.register(group, std::iter::empty(), now)
    }

    /// Drops what nobody has wanted for so long; whether there was some.
    pub(crate) fn clean(&mut self, now: WallMs, span_ms: i64) -> bool {
        let is_over = |data: &FilterData| data.dead && now.0 - data.dead_time >= span_ms;
        let topics = &mut self.file.filter_data_by_topic;
        let mut is_changed = false;
        topics.retain(|_, of| {
            let before = of.group_filter_data.len();
            of.group_filter_data.retain(|_, data| !is_over(data));
            is_changed |= of.group_filter_data.len() < before;
            !of.group_filter_data.is_empty()
        });
        is_changed
    }

    /// A group's expression for a topic as text for people; `null`, as Java's, when it filters by tags.
    pub(crate) fn text(&self, topic: &str, group: &str) -> String {
        let of_topic = self.file.filter_data_by_topic.get(topic);
        let data = of_topic.and_then(|of| of.group_filter_data.get(group));
        serde_json::to_string_pretty(&data).expect("texts and numbers")
    }

    /// What a job writes.
    pub(crate) fn file(&self) -> FilterFile {
        self.file.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(topic: &str, text: &str, version: i64) -> SubscriptionData {
        SubscriptionData {
            topic: topic.to_owned(),
            expression_type: Some("SQL92".to_owned()),
            sub_string: text.to_owned(),
            sub_version: version,
            ..SubscriptionData::default()
        }
    }

    fn table(file: FilterFile) -> FilterTable {
        FilterTable::new(file, BloomFilter::new(20, 32).unwrap())
    }

    fn one<'t>(table: &'t FilterTable, topic: &str) -> Option<&'t FilterData> {
        table.file.filter_data_by_topic.get(topic)?.group_filter_data.get("G")
    }

    #[test]
    fn what_a_group_wants_is_kept_until_it_was_gone_for_long() {
        let mut table = table(FilterFile::default());
        let tags = SubscriptionData { expression_type: None, ..data("Tags", "A", 5) };
        let list = [data("T", "a > 1", 5), data("U", "a >", 5), data("V", "", 5), tags];
        assert!(table.register("G", list.iter(), WallMs(100)));
        assert!(!table.register("G", list.iter(), WallMs(110)), "nothing new");
        assert_eq!(table.file.filter_data_by_topic.len(), 1);
        let born =
            |table: &FilterTable| one(table, "T").map(|d| (d.born_time, d.dead_time, d.dead));
        assert_eq!(born(&table), Some((100, 0, false)));
        assert!(!table.register("G", [data("T", "a > 2", 4)].iter(), WallMs(120)), "older");
        assert!(table.register("G", [data("T", "a > 2", 6)].iter(), WallMs(130)));
        assert_eq!(born(&table), Some((130, 0, false)));
        assert!(table.unregister("G", WallMs(140)) && !table.unregister("G", WallMs(150)));
        assert_eq!(born(&table), Some((130, 140, true)));
        assert!(table.register("G", [data("T", "a > 2", 6)].iter(), WallMs(160)));
        assert_eq!(born(&table), Some((130, 0, false)));
        table.begin(WallMs(50_000));
        assert_eq!(born(&table), Some((130, 20_000, true)));
        assert!(!table.clean(WallMs(29_999), 10_000) && table.clean(WallMs(30_000), 10_000));
        assert_eq!(table.file, FilterFile::default());
    }

    #[test]
    fn a_newer_expression_that_is_none_takes_the_old_one_away() {
        let mut table = table(FilterFile::default());
        assert!(table.register("G", [data("T", "a > 1", 5)].iter(), WallMs(100)));
        assert!(table.register("G", [data("T", "a >", 6)].iter(), WallMs(100)));
        assert!(one(&table, "T").is_none());
    }

    #[test]
    fn bits_of_another_bloom_filter_are_not_taken() {
        let mut first = table(FilterFile::default());
        first.register("G", [data("T", "a > 1", 5)].iter(), WallMs(100));
        assert!(one(&table(first.file()), "T").is_some());
        let other = FilterTable::new(first.file(), BloomFilter::new(20, 64).unwrap());
        assert_eq!(other.file, FilterFile::default());
    }
}
