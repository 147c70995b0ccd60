//! How many messages go through a shard: what 315 and 28 tell, over Java's windows. Java: BrokerStatsManager, StatsItem,
//! StoreStatsService.
//!
//! The data path counts in place: the store per queue, pulls per queue and group. Every 10 s, and when somebody asks, what
//! was counted since is added to the items by name, and their windows get a sample. Limits: items of each kind, pairs of
//! queue and group; what is beyond them is part of the totals only.

use crate::app::{Broker, Host, TimerKind, timer_key};
use crate::cold::GroupKey;
use crate::handlers::meta::disk;
use crate::handlers::meta::topic_rules::SystemTopics;
use crate::settings::Settings;
use base::time::{MonoNs, Now};
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use shard::Cx;
use std::sync::Arc;
use store::Store;
use store::consume_queue::Appends;
use store::queues::QueueNo;
use wire::body::control::{BrokerStatsData, BrokerStatsItem};

/// Period of the samples of the last minute.
const SAMPLE_MS: u64 = 10_000;
/// Samples of the last minute between two of the last hour.
const HOUR_EVERY: u64 = 60;
/// Samples of the last minute between two of the last day.
const DAY_EVERY: u64 = 360;
/// Items of a kind.
const ITEMS_MAX: usize = 16_384;
/// Bytes of an item's name that a client chooses freely.
const NAME_BYTES_MAX: usize = 1024;
/// Pairs of queue and group that pulls are counted for.
const PAIRS_MAX: usize = 262_144;
/// Samples that rates are taken from: 600 s and one more.
const RATE_SAMPLES: usize = 61;
/// Spans that rates are told over, in seconds.
const RATE_SPANS_S: [u64; 3] = [10, 60, 600];

/// Sums since the process began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sums {
    /// Messages.
    pub messages: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Calls, each of some messages.
    pub calls: u64,
}

impl Sums {
    fn add(&mut self, more: Sums) {
        self.messages += more.messages;
        self.bytes += more.bytes;
        self.calls += more.calls;
    }

    /// What came since `earlier`; everything when that is no earlier state, because the queue began anew.
    fn since(self, earlier: Sums) -> Sums {
        if self.calls < earlier.calls {
            return self;
        }
        Sums {
            messages: self.messages.saturating_sub(earlier.messages),
            bytes: self.bytes.saturating_sub(earlier.bytes),
            calls: self.calls - earlier.calls,
        }
    }
}

impl Sums {
    /// Bytes per message; 0 without messages.
    pub(crate) fn mean_bytes(self) -> f64 {
        if self.messages == 0 { 0.0 } else { as_f64(self.bytes) / as_f64(self.messages) }
    }
}

impl From<Appends> for Sums {
    fn from(appends: Appends) -> Sums {
        let Appends { messages, bytes, calls } = appends;
        Sums { messages, bytes, calls }
    }
}

// ---- windows ----

#[derive(Clone, Copy, Default)]
struct Sample {
    at_ms: i64,
    sums: Sums,
}

/// The newest samples of a window, oldest first.
struct Ring<const N: usize> {
    samples: [Sample; N],
    len: usize,
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Ring<N> {
        Ring { samples: [Sample::default(); N], len: 0 }
    }
}

impl<const N: usize> Ring<N> {
    /// The first sample gets one of nothing in front, a period earlier.
    fn push(&mut self, sample: Sample, period_ms: i64) {
        if self.len == 0 {
            self.samples[0] = Sample { at_ms: sample.at_ms - period_ms, sums: Sums::default() };
            self.len = 1;
        }
        if self.len == N {
            self.samples.copy_within(1.., 0);
            self.len -= 1;
        }
        self.samples[self.len] = sample;
        self.len += 1;
    }

    fn span(&self) -> Span {
        let samples = &self.samples[..self.len];
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
            return Span::default();
        };
        Span { sums: last.sums.since(first.sums), ms: last.at_ms - first.at_ms }
    }
}

/// What came in a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Span {
    sums: Sums,
    ms: i64,
}

/// The windows of one item.
#[derive(Default)]
struct Windows {
    minute: Ring<7>,
    hour: Ring<7>,
    day: Ring<25>,
}

impl Windows {
    fn sample(&mut self, sample: Sample, number: u64) {
        let period_ms = i64::try_from(SAMPLE_MS).expect("a constant");
        self.minute.push(sample, period_ms);
        if number.is_multiple_of(HOUR_EVERY) {
            self.hour.push(sample, period_ms * 60);
        }
        if number.is_multiple_of(DAY_EVERY) {
            self.day.push(sample, period_ms * 360);
        }
    }
}

#[derive(Default)]
struct Item {
    sums: Sums,
    windows: Windows,
}

type Items = HashMap<Box<[u8]>, Item, foldhash::fast::RandomState>;

/// Adds to an item, which is made if there is room.
fn add(items: &mut Items, key: &[u8], sums: Sums) {
    let has_room = items.len() < ITEMS_MAX;
    match items.entry_ref(key) {
        EntryRef::Occupied(mut found) => found.get_mut().sums.add(sums),
        EntryRef::Vacant(empty) if has_room => {
            empty.insert(Item::default()).sums.add(sums);
        }
        EntryRef::Vacant(_) => {}
    }
}

// ---- what is asked ----

/// A figure of an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Figure {
    Messages,
    Bytes,
    /// Messages, without the number of calls, which Java does not count there.
    OnlyMessages,
}

/// One shard's part of a statistic; the parts add up.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct StatPart {
    windows: [WindowPart; 3],
}

#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct WindowPart {
    sum: u64,
    calls: u64,
    per_second: f64,
}

impl WindowPart {
    fn new(span: Span, figure: Figure) -> WindowPart {
        let (sum, calls) = match figure {
            Figure::Messages => (span.sums.messages, span.sums.calls),
            Figure::Bytes => (span.sums.bytes, span.sums.calls),
            Figure::OnlyMessages => (span.sums.messages, 0),
        };
        let per_second = if span.ms > 0 { as_f64(sum) * 1000.0 / ms_as_f64(span.ms) } else { 0.0 };
        WindowPart { sum, calls, per_second }
    }

    fn add(&mut self, other: WindowPart) {
        self.sum += other.sum;
        self.calls += other.calls;
        self.per_second += other.per_second;
    }

    fn told(self) -> BrokerStatsItem {
        let per_call = if self.calls > 0 { as_f64(self.sum) / as_f64(self.calls) } else { 0.0 };
        let sum = i64::try_from(self.sum).unwrap_or(i64::MAX);
        BrokerStatsItem { avgpt: per_call, sum, tps: self.per_second }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a statistic: 53 bits are enough")]
fn as_f64(value: u64) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "a span of time: 53 bits are enough")]
fn ms_as_f64(value: i64) -> f64 {
    value as f64
}

impl StatPart {
    /// Adds another shard's part.
    pub(crate) fn add(&mut self, other: &StatPart) {
        for (mine, theirs) in self.windows.iter_mut().zip(other.windows) {
            mine.add(theirs);
        }
    }

    /// The answer to 315.
    pub(crate) fn told(&self) -> BrokerStatsData {
        let [minute, hour, day] = self.windows.map(WindowPart::told);
        BrokerStatsData { stats_day: day, stats_hour: hour, stats_minute: minute }
    }
}

impl Item {
    fn part(&self, figure: Figure) -> StatPart {
        let windows = &self.windows;
        let spans = [windows.minute.span(), windows.hour.span(), windows.day.span()];
        StatPart { windows: spans.map(|span| WindowPart::new(span, figure)) }
    }

    fn messages_per_second(&self) -> f64 {
        WindowPart::new(self.windows.minute.span(), Figure::Messages).per_second
    }
}

/// Averages per second over 10 s, 60 s and 600 s.
pub type Rates = [f64; 3];

/// A shard's part of the figures in runtime information.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Totals {
    /// Everything that was stored.
    pub put: Sums,
    /// Messages that were stored in, and sent from, topics that are no system topics.
    pub own_put: u64,
    /// See `own_put`.
    pub own_get: u64,
    /// `own_put` and `own_get` at the last midnight.
    pub today: (u64, u64),
    /// And at the one before.
    pub yesterday: (u64, u64),
    /// Messages stored.
    pub put_rates: Rates,
    /// Pulls that found something.
    pub found_rates: Rates,
    /// Pulls that found nothing.
    pub miss_rates: Rates,
    /// Messages sent to consumers.
    pub sent_rates: Rates,
    /// Messages that the timer has taken to wait.
    pub timed_rates: Rates,
    /// Messages that it has delivered.
    pub delivered_rates: Rates,
}

impl Totals {
    /// Adds another shard's part.
    pub(crate) fn add(&mut self, other: &Totals) {
        self.put.add(other.put);
        self.own_put += other.own_put;
        self.own_get += other.own_get;
        for (mine, theirs) in
            [(&mut self.today, other.today), (&mut self.yesterday, other.yesterday)]
        {
            *mine = (mine.0 + theirs.0, mine.1 + theirs.1);
        }
        let rates = [
            (&mut self.put_rates, other.put_rates),
            (&mut self.found_rates, other.found_rates),
            (&mut self.miss_rates, other.miss_rates),
            (&mut self.sent_rates, other.sent_rates),
            (&mut self.timed_rates, other.timed_rates),
            (&mut self.delivered_rates, other.delivered_rates),
        ];
        for (mine, theirs) in rates {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        }
    }
}

/// Messages stored, pulls that found something, pulls that did not, messages sent, taken by the timer, delivered by it.
type Counts = [u64; 6];

/// What rates are taken from.
#[derive(Clone, Copy, Default)]
struct RateSample {
    at: MonoNs,
    counts: Counts,
}

// ---- the shard ----

#[derive(Clone, Copy, Default)]
struct Got {
    sums: Sums,
    /// What of it the items have.
    seen: Sums,
    /// What its pulls have taken since the items have it, in milliseconds; without the time in which there was nothing.
    fresh_ms: u64,
}

impl Got {
    /// What came since the last time.
    fn take(&mut self) -> Sums {
        let more = self.sums.since(self.seen);
        self.seen = self.sums;
        more
    }
}

/// Traffic of a shard.
pub(crate) struct Traffic {
    /// By queue number: what of its appends the items have.
    put_seen: Vec<Sums>,
    got: HashMap<(QueueNo, GroupKey), Got, foldhash::fast::RandomState>,
    /// By queue number: what pairs got that there was no room for.
    got_besides: Vec<Got>,
    names: HashMap<GroupKey, Arc<[u8]>, foldhash::fast::RandomState>,
    /// A pair is new since the last pull.
    is_new_pair: bool,
    sent: u64,
    found: u64,
    missed: u64,
    timed: u64,
    delivered: u64,
    /// By topic.
    puts: Items,
    /// By `topic@group`.
    gets: Items,
    /// By `queue@topic@group`, or `topic@group` without `enableDetailStat`: milliseconds of pulls that brought messages.
    latencies: Items,
    /// By `topic@group`: messages that consumers sent back.
    backs: Items,
    /// By `owner@topic@group@SEND_BACK_TO_DLQ`: those of them that became dead letters.
    dead: Items,
    put: Item,
    get: Item,
    own_put: Item,
    own_get: Item,
    today: (u64, u64),
    yesterday: (u64, u64),
    /// Number of the day, where the broker is.
    day: Option<i64>,
    samples: u64,
    rates: Vec<RateSample>,
    system: SystemTopics,
    /// `enableDetailStat`.
    is_detailed: bool,
    key: Vec<u8>,
}

impl Traffic {
    pub(crate) fn new(settings: &Settings) -> Traffic {
        Traffic {
            put_seen: Vec::new(),
            got: HashMap::default(),
            got_besides: Vec::new(),
            names: HashMap::default(),
            is_new_pair: false,
            sent: 0,
            found: 0,
            missed: 0,
            timed: 0,
            delivered: 0,
            puts: Items::default(),
            gets: Items::default(),
            latencies: Items::default(),
            backs: Items::default(),
            dead: Items::default(),
            put: Item::default(),
            get: Item::default(),
            own_put: Item::default(),
            own_get: Item::default(),
            today: (0, 0),
            yesterday: (0, 0),
            day: None,
            samples: 0,
            rates: Vec::with_capacity(RATE_SAMPLES),
            system: SystemTopics::new(settings),
            is_detailed: settings.config.housekeeping.enable_detail_stat,
            key: Vec::new(),
        }
    }

    /// Pulls that brought something, so far.
    pub(crate) fn found(&self) -> u64 {
        self.found
    }

    /// A group has pulled; `found`: as of before. Its name is kept for later, unless the pull was counted for a pair that is
    /// known: that needs no look-up here.
    pub(crate) fn note_pull(&mut self, found: u64, key: GroupKey, name: &[u8]) {
        if self.found == found || std::mem::take(&mut self.is_new_pair) {
            self.note_group(key, name);
        }
    }

    fn note_group(&mut self, key: GroupKey, name: &[u8]) {
        if !self.names.contains_key(&key) && self.names.len() < PAIRS_MAX {
            self.names.insert(key, Arc::from(name));
        }
    }

    /// A pull was answered with so many messages and bytes, `ms` milliseconds after it came, or there was something for it.
    pub(crate) fn got(
        &mut self,
        queue: QueueNo,
        group: GroupKey,
        (messages, bytes): (u64, u64),
        ms: u64,
    ) {
        self.found += 1;
        self.sent += messages;
        let has_room = self.got.len() < PAIRS_MAX;
        let more = Sums { messages, bytes, calls: 1 };
        if let Some(got) = self.got.get_mut(&(queue, group)) {
            got.sums.add(more);
            got.fresh_ms += ms;
        } else if has_room {
            self.got
                .insert((queue, group), Got { sums: more, seen: Sums::default(), fresh_ms: ms });
            self.is_new_pair = true;
        } else {
            add_besides(&mut self.got_besides, queue, more);
        }
    }

    /// A pull has found nothing, now.
    pub(crate) fn missed(&mut self) {
        self.missed += 1;
    }

    /// The timer has taken messages to wait.
    pub(crate) fn timed(&mut self, messages: u64) {
        self.timed += messages;
    }

    /// The timer has delivered a message.
    pub(crate) fn delivered(&mut self) {
        self.delivered += 1;
    }

    /// A consumer has sent a message back.
    pub(crate) fn sent_back(&mut self, topic: &[u8], group: &str) {
        self.key.clear();
        self.key.extend_from_slice(topic);
        self.key.push(b'@');
        self.key.extend_from_slice(group.as_bytes());
        add(&mut self.backs, &self.key, Sums { messages: 1, bytes: 0, calls: 1 });
    }

    /// A message that a consumer has sent back is a dead letter. `owner` and `topic` are as the consumer calls them.
    pub(crate) fn died(&mut self, owner: &str, topic: &str, group: &str) {
        if owner.len() + topic.len() + group.len() > NAME_BYTES_MAX {
            return;
        }
        let key = format!("{owner}@{topic}@{group}@SEND_BACK_TO_DLQ");
        add(&mut self.dead, key.as_bytes(), Sums { messages: 1, bytes: 0, calls: 1 });
    }

    /// Forgets a deleted topic; what was got of it stays in the totals, and dead letters stay counted, as with Java.
    pub(crate) fn remove_topic(&mut self, topic: &[u8], store: &Store) {
        self.retain_pairs(|(no, _)| *store.queue(*no).topic != *topic);
        let of_topic = |key: &[u8]| key.split(|byte| *byte == b'@').next() == Some(topic);
        self.puts.remove(topic);
        self.gets.retain(|key, _| !of_topic(key));
        self.backs.retain(|key, _| !of_topic(key));
        let at = usize::from(self.is_detailed);
        self.latencies.retain(|key, _| key.split(|byte| *byte == b'@').nth(at) != Some(topic));
    }

    /// Forgets a deleted group.
    pub(crate) fn remove_group(&mut self, group: &[u8]) {
        let of_group = |key: &[u8]| key.split(|byte| *byte == b'@').nth(1) == Some(group);
        self.gets.retain(|key, _| !of_group(key));
        self.backs.retain(|key, _| !of_group(key));
        let at = 1 + usize::from(self.is_detailed);
        self.latencies.retain(|key, _| key.split(|byte| *byte == b'@').nth(at) != Some(group));
        self.names.retain(|_, name| **name != *group);
        self.retain_named();
    }

    fn retain_named(&mut self) {
        let names = std::mem::take(&mut self.names);
        self.retain_pairs(|(_, key)| names.contains_key(key));
        self.names = names;
    }

    /// Drops pairs; what they got since the last time goes to the totals.
    fn retain_pairs(&mut self, is_kept: impl Fn(&(QueueNo, GroupKey)) -> bool) {
        let besides = &mut self.got_besides;
        self.got.retain(|pair, got| {
            let is_kept = is_kept(pair);
            if !is_kept {
                add_besides(besides, pair.0, got.take());
            }
            is_kept
        });
    }

    /// Adds to the items what was counted since the last time.
    pub(crate) fn absorb(&mut self, store: &Store) {
        for (no, queue) in store.queues().iter() {
            let at = no.0 as usize;
            if self.put_seen.len() <= at {
                self.put_seen.resize(at + 1, Sums::default());
            }
            let sums = Sums::from(queue.appends());
            let more = sums.since(self.put_seen[at]);
            self.put_seen[at] = sums;
            if more.calls > 0 {
                add(&mut self.puts, &queue.topic, more);
                let is_own = !is_system(&self.system, &queue.topic);
                add_total(&mut self.put, &mut self.own_put, is_own, more);
            }
        }
        for (no, got) in (0..).map(QueueNo).zip(&mut self.got_besides) {
            let more = got.take();
            if more.calls > 0 {
                let is_own = !is_system(&self.system, &store.queue(no).topic);
                add_total(&mut self.get, &mut self.own_get, is_own, more);
            }
        }
        let mut is_nameless = false;
        for ((no, group), got) in &mut self.got {
            let more = got.take();
            if more.calls == 0 {
                continue;
            }
            let ms = std::mem::take(&mut got.fresh_ms);
            let queue = store.queue(*no);
            let topic = &queue.topic;
            let is_own = !is_system(&self.system, topic);
            add_total(&mut self.get, &mut self.own_get, is_own, more);
            if let Some(name) = self.names.get(group) {
                self.key.clear();
                self.key.extend_from_slice(topic);
                self.key.push(b'@');
                self.key.extend_from_slice(name);
                add(&mut self.gets, &self.key, more);
                let taken = Sums { messages: ms, bytes: 0, calls: more.calls };
                if self.is_detailed {
                    self.key.splice(..0, format!("{}@", queue.id.0).into_bytes());
                }
                add(&mut self.latencies, &self.key, taken);
            } else {
                is_nameless = true;
            }
        }
        if is_nameless {
            // Each becomes a new pair again, whose next pull says the name, or finds no room for it once more.
            self.retain_named();
        }
    }

    fn sample(&mut self, now: Now, zone_minutes: i32) {
        let day = (now.wall.0 / 60_000 + i64::from(zone_minutes)).div_euclid(24 * 60);
        if self.day.is_some_and(|known| known != day) {
            self.yesterday = self.today;
            self.today = (self.own_put.sums.messages, self.own_get.sums.messages);
        }
        self.day = Some(day);
        self.samples += 1;
        let number = self.samples;
        let items = self.puts.values_mut().chain(self.gets.values_mut());
        let items = items.chain(self.backs.values_mut()).chain(self.dead.values_mut());
        let items = items.chain(self.latencies.values_mut());
        let totals = [&mut self.put, &mut self.get, &mut self.own_put, &mut self.own_get];
        for item in items.chain(totals) {
            let sample = Sample { at_ms: now.wall.0, sums: item.sums };
            item.windows.sample(sample, number);
        }
        if self.rates.len() == RATE_SAMPLES {
            self.rates.remove(0);
        }
        let counts = self.counts();
        self.rates.push(RateSample { at: now.mono, counts });
    }

    fn counts(&self) -> Counts {
        let Traffic { found, missed, sent, timed, delivered, .. } = *self;
        [self.put.sums.messages, found, missed, sent, timed, delivered]
    }

    /// Averages since the newest sample that is at least so old, or the oldest one.
    fn rates(&self, now: MonoNs) -> [Rates; 6] {
        let counts = self.counts();
        let mut rates = [[0.0; 3]; 6];
        for (which, span_s) in RATE_SPANS_S.into_iter().enumerate() {
            let is_old = |sample: &&RateSample| now.since(sample.at) >= span_s * 1_000_000_000;
            let from = self.rates.iter().rev().find(is_old).or(self.rates.first());
            let Some(from) = from else { continue };
            let ns = now.since(from.at);
            if ns == 0 {
                continue;
            }
            for ((rates, count), before) in rates.iter_mut().zip(counts).zip(from.counts) {
                rates[which] = as_f64(count.saturating_sub(before)) * 1e9 / as_f64(ns);
            }
        }
        rates
    }

    /// This shard's part of runtime information; call `absorb` before.
    pub(crate) fn totals(&self, now: MonoNs) -> Totals {
        let [put_rates, found_rates, miss_rates, sent_rates, timed_rates, delivered_rates] =
            self.rates(now);
        Totals {
            put: self.put.sums,
            own_put: self.own_put.sums.messages,
            own_get: self.own_get.sums.messages,
            today: self.today,
            yesterday: self.yesterday,
            put_rates,
            found_rates,
            miss_rates,
            sent_rates,
            timed_rates,
            delivered_rates,
        }
    }

    /// This shard's part of a statistic; `None` when nothing was counted for it, or there is none of this name.
    pub(crate) fn part(&self, name: &str, key: &[u8], cluster: &[u8]) -> Option<StatPart> {
        use Figure::{Bytes, Messages, OnlyMessages};
        let total = |item| Some(item).filter(|item: &&Item| key == cluster && item.sums.calls > 0);
        let (item, figure) = match name {
            "TOPIC_PUT_NUMS" => (self.puts.get(key), Messages),
            "TOPIC_PUT_SIZE" => (self.puts.get(key), Bytes),
            "GROUP_GET_NUMS" => (self.gets.get(key), Messages),
            "GROUP_GET_SIZE" => (self.gets.get(key), Bytes),
            // Java's sum is of milliseconds, too.
            "GROUP_GET_LATENCY" => (self.latencies.get(key), Messages),
            "SNDBCK_PUT_NUMS" => (self.backs.get(key), Messages),
            "SNDBCK2DLQ_TIMES" => (self.dead.get(key), Messages),
            "BROKER_PUT_NUMS" => (total(&self.put), OnlyMessages),
            "BROKER_GET_NUMS" => (total(&self.get), OnlyMessages),
            "BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC" => (total(&self.own_put), OnlyMessages),
            "BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC" => (total(&self.own_get), OnlyMessages),
            _ => (None, Messages),
        };
        item.map(|item| item.part(figure))
    }

    /// Messages per second that were stored in a topic, in the last minute.
    pub(crate) fn put_rate(&self, topic: &[u8]) -> f64 {
        self.puts.get(topic).map_or(0.0, Item::messages_per_second)
    }

    /// Messages per second that a group got of a topic, in the last minute.
    pub(crate) fn get_rate(&mut self, topic: &[u8], group: &[u8]) -> f64 {
        self.key.clear();
        self.key.extend_from_slice(topic);
        self.key.push(b'@');
        self.key.extend_from_slice(group);
        self.gets.get(self.key.as_slice()).map_or(0.0, Item::messages_per_second)
    }
}

fn add_besides(besides: &mut Vec<Got>, queue: QueueNo, more: Sums) {
    let at = queue.0 as usize;
    if besides.len() <= at {
        besides.resize(at + 1, Got::default());
    }
    besides[at].sums.add(more);
}

fn add_total(all: &mut Item, own: &mut Item, is_own: bool, more: Sums) {
    all.sums.add(more);
    if is_own {
        own.sums.add(more);
    }
}

fn is_system(system: &SystemTopics, topic: &[u8]) -> bool {
    std::str::from_utf8(topic).is_ok_and(|name| system.contains(name))
}

/// Before the first turn: what is in the queues was not appended by this process.
pub(crate) fn start<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    broker.traffic.rates.push(RateSample { at: cx.now.mono, counts: [0; 6] });
    arm(broker, cx);
}

fn arm<H: Host>(broker: &Broker, cx: &mut Cx<'_, H>) {
    if broker.is_meta() {
        disk::look(broker, cx);
    }
    cx.set_timer(cx.now.mono.plus_ms(SAMPLE_MS), timer_key(TimerKind::Traffic, 0));
}

/// Time for a sample.
pub(crate) fn on_timer<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let zone = broker.settings.config.log_time_zone_minutes;
    broker.traffic.absorb(cx.store());
    broker.traffic.sample(cx.now, zone);
    arm(broker, cx);
}

#[cfg(test)]
mod tests;
