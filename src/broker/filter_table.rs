//! What groups have wanted by expressions, also while they are off line: `consumerFilter.json`, on the metadata shard.
//!
//! Pulls do not need it: their subscriptions are on line. Bit maps do (`bit_maps`), and Java's broker reads it when it is
//! started on the same store, with the bits that its bloom filter gives a group. Limits: expressions, and bytes; beyond them the oldest of groups off
//! line go, and when there is none nothing more is kept. Java counterpart, without limits: ConsumerFilterManager.

use crate::bit_maps::{FilterChange, GroupFilter};
use crate::subscriptions::{compile, is_tag_type};
use base::time::WallMs;
use filter::BloomFilter;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use wire::body::client::SubscriptionData;

/// Expressions that are kept.
const FILTERS_MAX: usize = 8192;
/// Bytes of them.
const BYTES_MAX: usize = 8 << 20;
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

impl FilterFile {
    /// Takes all expressions to be new.
    pub(crate) fn begin_anew(&mut self, now: WallMs) {
        for of in self.filter_data_by_topic.values_mut() {
            for data in of.group_filter_data.values_mut() {
                data.born_time = now.0;
                if data.dead_time != 0 {
                    data.set_dead(now.0);
                }
            }
        }
    }
}

impl FilterData {
    fn set_dead(&mut self, time: i64) {
        self.dead_time = time;
        self.dead = self.dead_time >= self.born_time;
    }

    /// As the shards hear of it; without a filter where its expression is none, as Java leaves it out.
    fn change(&self) -> FilterChange {
        let compiled = compile(&self.expression_type, &self.expression).ok();
        let positions = self.bloom_filter_data.as_ref().map(|data| data.bit_pos.clone());
        let filter = compiled.zip(positions).map(|(compiled, positions)| {
            Arc::new(GroupFilter { text: self.expression.clone(), compiled, positions })
        });
        FilterChange { topic: self.topic.clone(), group: self.consumer_group.clone(), filter }
    }

    /// About what it takes in memory; its names are in the indexes too.
    fn bytes(&self) -> usize {
        let names = self.topic.len() + self.consumer_group.len();
        let bits = self.bloom_filter_data.as_ref().map_or(0, |data| data.bit_pos.len());
        let texts = self.expression.len() + self.expression_type.len();
        2 * size_of::<FilterData>() + 4 * names + texts + size_of::<u32>() * bits
    }
}

/// The table.
pub(crate) struct FilterTable {
    file: FilterFile,
    bloom: BloomFilter,
    /// Topics by group.
    by_group: HashMap<String, BTreeSet<String>>,
    /// What nobody on line wants: since when, topic, group.
    dead: BTreeSet<(i64, String, String)>,
    count: usize,
    bytes: usize,
    /// The log says that a limit is reached.
    is_told: bool,
    /// What the shards have not heard yet; where they evaluate nothing it is not noted.
    changes: Option<Vec<FilterChange>>,
}

impl FilterTable {
    /// What the store has. When its bits were chosen for another bloom filter all of it is left out, as in Java.
    pub(crate) fn new(file: FilterFile, bloom: BloomFilter) -> FilterTable {
        let topics = file.filter_data_by_topic.into_iter();
        let all: Vec<FilterData> = topics
            .flat_map(|(topic, of)| {
                let named = move |(group, data)| FilterData {
                    consumer_group: group,
                    topic: topic.clone(),
                    ..data
                };
                of.group_filter_data.into_iter().map(named)
            })
            .collect();
        let is_valid = |data: &FilterData| match &data.bloom_filter_data {
            Some(data) => bloom.is_valid(data.bit_num, &data.bit_pos),
            None => false,
        };
        let is_valid = all.iter().all(is_valid);
        let mut table = FilterTable {
            file: FilterFile::default(),
            bloom,
            by_group: HashMap::new(),
            dead: BTreeSet::new(),
            count: 0,
            bytes: 0,
            is_told: false,
            changes: None,
        };
        for data in all.into_iter().filter(|_| is_valid) {
            table.insert(data);
        }
        table
    }

    /// The shards evaluate filters, and have heard of those that are there now.
    pub(crate) fn note_changes(&mut self) {
        self.changes = Some(Vec::new());
    }

    /// Whether nobody wants anything by expressions.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What has changed since the last time.
    pub(crate) fn take_changes(&mut self) -> Vec<FilterChange> {
        self.changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// All filters, and when they were born, ms since 1970.
    pub(crate) fn all(&self) -> Vec<(FilterChange, i64)> {
        let topics = self.file.filter_data_by_topic.values();
        let all = topics.flat_map(|of| of.group_filter_data.values());
        all.map(|data| (data.change(), data.born_time)).collect()
    }

    /// The broker begins: nobody is on line.
    pub(crate) fn begin(&mut self, now: WallMs) {
        let left = now.0 - LEFT_BEFORE_START_MS;
        self.dead.clear();
        for of in self.file.filter_data_by_topic.values_mut() {
            for data in of.group_filter_data.values_mut() {
                if data.dead_time == 0 {
                    data.set_dead(left.max(data.born_time));
                }
                if data.dead {
                    let names = (data.topic.clone(), data.consumer_group.clone());
                    self.dead.insert((data.dead_time, names.0, names.1));
                }
            }
        }
        self.make_room(0, 0);
    }

    // ---- entries, with their indexes ----

    fn get_mut(&mut self, topic: &str, group: &str) -> Option<&mut FilterData> {
        self.file.filter_data_by_topic.get_mut(topic)?.group_filter_data.get_mut(group)
    }

    fn insert(&mut self, data: FilterData) {
        if let Some(changes) = &mut self.changes {
            changes.push(data.change());
        }
        let (topic, group) = (&data.topic, &data.consumer_group);
        self.count += 1;
        self.bytes += data.bytes();
        self.by_group.entry(group.clone()).or_default().insert(topic.clone());
        if data.dead {
            self.dead.insert((data.dead_time, topic.clone(), group.clone()));
        }
        let of = self.file.filter_data_by_topic.entry(topic.clone()).or_default();
        of.topic.clone_from(topic);
        let before = of.group_filter_data.insert(group.clone(), data);
        assert!(before.is_none(), "what is replaced is removed first");
    }

    fn remove(&mut self, topic: &str, group: &str) -> bool {
        let Some(of) = self.file.filter_data_by_topic.get_mut(topic) else { return false };
        let Some(data) = of.group_filter_data.remove(group) else { return false };
        if of.group_filter_data.is_empty() {
            self.file.filter_data_by_topic.remove(topic);
        }
        if let Some(topics) = self.by_group.get_mut(group) {
            topics.remove(topic);
            if topics.is_empty() {
                self.by_group.remove(group);
            }
        }
        if let Some(changes) = &mut self.changes {
            let (topic, group) = (topic.to_owned(), group.to_owned());
            changes.push(FilterChange { topic, group, filter: None });
        }
        self.count -= 1;
        self.bytes -= data.bytes();
        self.dead.remove(&(data.dead_time, data.topic, data.consumer_group));
        true
    }

    /// Nobody on line wants it any more; whether that is new.
    fn leave(&mut self, topic: &str, group: &str, now: WallMs) -> bool {
        let data = self.get_mut(topic, group).filter(|data| !data.dead);
        let Some(data) = data else { return false };
        data.set_dead(now.0.max(data.born_time));
        let time = data.dead_time;
        self.dead.insert((time, topic.to_owned(), group.to_owned()))
    }

    /// Drops the oldest that nobody on line wants, until there is room for so much more; whether there is.
    fn make_room(&mut self, count: usize, bytes: usize) -> bool {
        while self.count + count > FILTERS_MAX || self.bytes + bytes > BYTES_MAX {
            let oldest = self.dead.first().cloned();
            if !self.is_told {
                self.is_told = true;
                let what = match oldest {
                    Some(_) => "the oldest of groups off line are dropped",
                    None => "no more are kept for a Java broker; all of them are in force here",
                };
                tracing::warn!(
                    "consumerFilter.json has {} expressions in {} bytes, the limits are {FILTERS_MAX} and {BYTES_MAX}: \
                     {what}",
                    self.count,
                    self.bytes
                );
            }
            let Some((_, topic, group)) = oldest else { return false };
            self.remove(&topic, &group);
        }
        true
    }

    // ---- groups ----

    /// What a group on line wants; whether that changes the table.
    pub(crate) fn register<'a>(
        &mut self,
        group: &str,
        list: impl Iterator<Item = &'a SubscriptionData>,
        now: WallMs,
    ) -> bool {
        let mut wanted = HashSet::new();
        let mut is_changed = false;
        for data in list {
            wanted.insert(data.topic.as_str());
            is_changed |= self.register_one(group, data, now);
        }
        let Some(topics) = self.by_group.get(group) else { return is_changed };
        let left = topics.iter().filter(|topic| !wanted.contains(topic.as_str()));
        for topic in left.cloned().collect::<Vec<String>>() {
            is_changed |= self.leave(&topic, group, now);
        }
        is_changed
    }

    fn register_one(&mut self, group: &str, data: &SubscriptionData, now: WallMs) -> bool {
        let kind = data.expression_type.as_deref();
        if is_tag_type(kind) || data.sub_string.is_empty() {
            return false;
        }
        let kind = kind.unwrap_or_default();
        if let Some(known) = self.get_mut(&data.topic, group) {
            let is_same = known.expression == data.sub_string && known.expression_type == kind;
            if data.sub_version < known.client_version {
                return false;
            }
            if is_same || data.sub_version == known.client_version {
                let is_changed = known.dead || known.client_version != data.sub_version;
                known.client_version = data.sub_version;
                let since = std::mem::take(&mut known.dead_time);
                known.dead = false;
                self.dead.remove(&(since, data.topic.clone(), group.to_owned()));
                return is_changed;
            }
        }
        let is_removed = self.remove(&data.topic, group);
        if compile(kind, &data.sub_string).is_err() {
            return is_removed;
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
        let has_room = self.make_room(1, new.bytes());
        if has_room {
            self.insert(new);
        }
        has_room || is_removed
    }

    /// The last member of a group has gone; whether that changes the table.
    pub(crate) fn unregister(&mut self, group: &str, now: WallMs) -> bool {
        self.register(group, std::iter::empty(), now)
    }

    /// Drops what nobody has wanted for so long; whether there was some.
    pub(crate) fn clean(&mut self, now: WallMs, span_ms: i64) -> bool {
        let mut is_changed = false;
        while let Some((since, topic, group)) = self.dead.first().cloned()
            && now.0 - since >= span_ms
        {
            is_changed |= self.remove(&topic, &group);
        }
        self.is_told &= !is_changed;
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

    #[cfg(test)]
    fn check_invariants(&self) {
        let topics = self.file.filter_data_by_topic.values();
        let all: Vec<&FilterData> = topics.flat_map(|of| of.group_filter_data.values()).collect();
        assert_eq!(self.count, all.len());
        assert_eq!(self.bytes, all.iter().map(|data| data.bytes()).sum::<usize>());
        assert!(self.count <= FILTERS_MAX && self.bytes <= BYTES_MAX);
        assert_eq!(self.by_group.values().map(BTreeSet::len).sum::<usize>(), self.count);
        let names =
            |data: &FilterData| (data.dead_time, data.topic.clone(), data.consumer_group.clone());
        let dead = all.iter().filter(|data| data.dead).map(|data| names(data));
        assert_eq!(self.dead, dead.collect());
        assert!(all.iter().all(|data| self.by_group[&data.consumer_group].contains(&data.topic)));
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
        table.check_invariants();
        assert_eq!(table.file, FilterFile::default());
    }

    #[test]
    fn a_newer_expression_that_is_none_takes_the_old_one_away() {
        let mut table = table(FilterFile::default());
        assert!(table.register("G", [data("T", "a > 1", 5)].iter(), WallMs(100)));
        assert!(table.register("G", [data("T", "a >", 6)].iter(), WallMs(100)));
        assert!(one(&table, "T").is_none());
        table.check_invariants();
    }

    #[test]
    fn beyond_a_limit_the_oldest_of_groups_off_line_goes_and_then_nothing_is_kept() {
        let mut table = table(FilterFile::default());
        let has = |table: &mut FilterTable, group: &str| table.get_mut("T", group).is_some();
        for number in 0..FILTERS_MAX {
            let group = format!("G{number}");
            assert!(table.register(&group, [data("T", "a > 1", 5)].iter(), WallMs(100)));
        }
        assert!(!table.register("H", [data("T", "a > 1", 5)].iter(), WallMs(100)));
        assert!(table.unregister("G5", WallMs(300)) && table.unregister("G4", WallMs(200)));
        assert!(table.register("H", [data("T", "a > 1", 5)].iter(), WallMs(400)));
        table.check_invariants();
        assert!(has(&mut table, "H") && has(&mut table, "G5") && !has(&mut table, "G4"));
        // The same in bytes; what is too much for a start goes as well.
        let long = format!("a = '{}'", "x".repeat(60_000));
        for number in 6..206 {
            let group = format!("G{number}");
            table.register(&group, [data("T", &long, 6)].iter(), WallMs(500));
        }
        table.check_invariants();
        assert!(!has(&mut table, "G5") && !has(&mut table, "G205"));
        assert!(table.bytes > BYTES_MAX - 100_000);
        let mut file = table.file();
        let more = file.filter_data_by_topic["T"].clone();
        file.filter_data_by_topic.insert("U".to_owned(), more);
        let mut again = FilterTable::new(file, BloomFilter::new(20, 32).unwrap());
        again.begin(WallMs(600));
        again.check_invariants();
        assert!(again.clean(WallMs(i64::MAX), 0));
        again.check_invariants();
        assert_eq!(again.file(), FilterFile::default());
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
