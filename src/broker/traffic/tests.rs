//! Tests of the windows, rates and limits of statistics.

use super::*;
use crate::settings::test_settings;
use base::time::WallMs;
use store::StoreConfig;
use store::queues::Queues;
use wire::ids::{QueueId, StreamId};

fn at(ms: u64) -> Now {
    let wall = WallMs(1_000_000 + i64::try_from(ms).unwrap());
    Now { mono: MonoNs(1).plus_ms(ms), wall }
}

fn put(traffic: &mut Traffic, topic: &[u8], messages: u64, bytes: u64) {
    let sums = Sums { messages, bytes, calls: 1 };
    add(&mut traffic.puts, topic, sums);
    traffic.put.sums.add(sums);
}

#[test]
fn a_window_is_what_came_since_its_oldest_sample() {
    let mut traffic = Traffic::new(&test_settings(&[]));
    put(&mut traffic, b"T", 3, 300);
    for number in 1..=60 {
        traffic.sample(at(number * SAMPLE_MS), 0);
        if number == 1 {
            let told = traffic.part("TOPIC_PUT_NUMS", b"T", b"c").unwrap().told();
            assert_eq!((told.stats_minute.sum, told.stats_minute.tps), (3, 0.3));
            assert_eq!(told.stats_minute.avgpt, 3.0);
            assert_eq!(told.stats_hour, BrokerStatsItem::default(), "no sample of the hour yet");
        }
        if number == 6 {
            let told = traffic.part("TOPIC_PUT_NUMS", b"T", b"c").unwrap().told();
            assert_eq!((told.stats_minute.sum, told.stats_minute.tps), (3, 0.05));
        }
        if number == 7 {
            let told = traffic.part("TOPIC_PUT_SIZE", b"T", b"c").unwrap().told();
            assert_eq!(told.stats_minute.sum, 0, "the oldest sample has it already");
        }
    }
    let told = traffic.part("TOPIC_PUT_SIZE", b"T", b"c").unwrap().told();
    assert_eq!((told.stats_hour.sum, told.stats_hour.tps), (300, 0.5));
    assert_eq!(told.stats_day, BrokerStatsItem::default());
    assert_eq!(traffic.part("TOPIC_PUT_NUMS", b"U", b"c"), None);
    assert_eq!(traffic.part("NO_SUCH_NAME", b"T", b"c"), None);
    let told = traffic.part("BROKER_PUT_NUMS", b"c", b"c").unwrap().told();
    assert_eq!((told.stats_hour.sum, told.stats_hour.avgpt), (3, 0.0));
    assert_eq!(traffic.part("BROKER_PUT_NUMS", b"other", b"c"), None);
}

#[test]
fn parts_of_shards_add_up() {
    let mut parts = Vec::new();
    for messages in [3, 7] {
        let mut traffic = Traffic::new(&test_settings(&[]));
        put(&mut traffic, b"T", messages, 10);
        traffic.sample(at(SAMPLE_MS), 0);
        parts.push(traffic.part("TOPIC_PUT_NUMS", b"T", b"c").unwrap());
    }
    let mut sum = StatPart::default();
    parts.iter().for_each(|part| sum.add(part));
    let told = sum.told().stats_minute;
    assert_eq!((told.sum, told.tps, told.avgpt), (10, 1.0, 5.0));
}

#[test]
fn rates_are_averages_since_a_sample_that_is_old_enough() {
    let mut traffic = Traffic::new(&test_settings(&[]));
    traffic.rates.push(RateSample { at: at(0).mono, counts: [0; 6] });
    for number in 1..=70u64 {
        put(&mut traffic, b"T", 20, 1);
        traffic.missed();
        traffic.sample(at(number * SAMPLE_MS), 0);
    }
    put(&mut traffic, b"T", 100, 1);
    let totals = traffic.totals(at(705_000).mono);
    let [ten, minute, ten_minutes] = totals.put_rates;
    assert!((ten - 120.0 / 15.0).abs() < 1e-9, "{ten}");
    assert!((minute - 220.0 / 65.0).abs() < 1e-9, "{minute}");
    assert!((ten_minutes - 1300.0 / 605.0).abs() < 1e-9, "{ten_minutes}");
    assert!((totals.miss_rates[2] - 60.0 / 605.0).abs() < 1e-9);
    assert_eq!(traffic.rates.len(), RATE_SAMPLES);
}

#[test]
fn midnight_is_where_the_broker_is() {
    let mut traffic = Traffic::new(&test_settings(&[]));
    let midnight = 24 * 3_600_000 - 8 * 3_600_000;
    let now = |wall| Now { mono: MonoNs(1), wall: WallMs(wall) };
    traffic.own_put.sums.messages = 5;
    traffic.sample(now(midnight - 1), 480);
    assert_eq!((traffic.today, traffic.yesterday), ((0, 0), (0, 0)));
    traffic.sample(now(midnight), 480);
    assert_eq!((traffic.today, traffic.yesterday), ((5, 0), (0, 0)));
    traffic.own_put.sums.messages = 8;
    traffic.sample(now(midnight + 24 * 3_600_000), 480);
    assert_eq!((traffic.today, traffic.yesterday), ((8, 0), (5, 0)));
}

#[test]
fn items_are_bounded_and_those_of_deleted_topics_and_groups_go() {
    let mut traffic = Traffic::new(&test_settings(&[]));
    for number in 0..ITEMS_MAX + 10 {
        put(&mut traffic, format!("T{number}").as_bytes(), 1, 1);
    }
    assert_eq!(traffic.puts.len(), ITEMS_MAX);
    let store = Store::new(StoreConfig::default(), Vec::new(), Queues::default());
    traffic.remove_topic(b"T7", &store);
    assert_eq!(traffic.puts.len(), ITEMS_MAX - 1);
    traffic.sent_back(b"T", "G");
    traffic.sent_back(b"T", "H");
    assert!(traffic.part("SNDBCK_PUT_NUMS", b"T@G", b"c").is_some());
    traffic.remove_group(b"G");
    assert!(traffic.part("SNDBCK_PUT_NUMS", b"T@G", b"c").is_none());
    traffic.remove_topic(b"T", &store);
    assert!(traffic.part("SNDBCK_PUT_NUMS", b"T@H", b"c").is_none());
}

#[test]
fn pairs_of_deleted_topics_make_room_and_what_there_is_no_room_for_is_in_the_totals() {
    let queues_of_topic = 32_768;
    let mut queues = Queues::default();
    let mut numbers = |topic: &[u8]| -> Vec<QueueNo> {
        let ids = (0..queues_of_topic).map(QueueId);
        ids.map(|id| queues.find_or_create(topic, id, StreamId(0))).collect()
    };
    let (old, new) = (numbers(b"OLD"), numbers(b"NEW"));
    let store = Store::new(StoreConfig::default(), Vec::new(), queues);
    let mut traffic = Traffic::new(&test_settings(&[]));
    let groups: Vec<GroupKey> = (0..8).map(GroupKey).collect();
    for group in &groups {
        traffic.note_group(*group, format!("G{}", group.0).as_bytes());
        for queue in &old {
            traffic.got(*queue, *group, (1, 10), 0);
        }
    }
    assert_eq!(traffic.got.len(), PAIRS_MAX);
    traffic.got(new[0], groups[0], (3, 30), 0);
    traffic.absorb(&store);
    let pairs = PAIRS_MAX as u64;
    assert_eq!(traffic.totals(at(0).mono).own_get, pairs + 3, "also what there is no room for");
    assert!(traffic.part("GROUP_GET_NUMS", b"NEW@G0", b"c").is_none());
    traffic.got(old[0], groups[0], (1, 10), 0);
    traffic.remove_topic(b"OLD", &store);
    traffic.got(new[0], groups[0], (4, 40), 0);
    traffic.absorb(&store);
    assert_eq!(traffic.totals(at(0).mono).own_get, pairs + 8);
    assert_eq!(traffic.gets[&b"NEW@G0"[..]].sums.messages, 4);
    assert_eq!(traffic.got.len(), 1);
}

#[test]
fn a_group_is_named_by_the_pull_that_brings_its_first_messages_or_by_its_next_one() {
    let mut queues = Queues::default();
    let queue = queues.find_or_create(b"T", QueueId(0), StreamId(0));
    let store = Store::new(StoreConfig::default(), Vec::new(), queues);
    let mut traffic = Traffic::new(&test_settings(&[]));
    let (group, waits) = (GroupKey(1), GroupKey(2));
    let pull = |traffic: &mut Traffic, key: GroupKey, name: &[u8], messages: u64| {
        let found = traffic.found();
        if messages > 0 {
            traffic.got(queue, key, (messages, 10), 0);
        }
        traffic.note_pull(found, key, name);
    };
    pull(&mut traffic, group, b"G", 3);
    pull(&mut traffic, waits, b"W", 0);
    traffic.got(queue, waits, (5, 50), 0);
    traffic.absorb(&store);
    let messages = |traffic: &Traffic, key: &[u8]| traffic.gets.get(key).map(|i| i.sums.messages);
    assert_eq!((messages(&traffic, b"T@G"), messages(&traffic, b"T@W")), (Some(3), Some(5)));
    // A message comes for a pull that waited while its group was deleted; then the group pulls again.
    traffic.remove_group(b"W");
    traffic.got(queue, waits, (1, 10), 0);
    pull(&mut traffic, group, b"G", 1);
    traffic.absorb(&store);
    pull(&mut traffic, waits, b"W", 2);
    traffic.absorb(&store);
    assert_eq!((messages(&traffic, b"T@G"), messages(&traffic, b"T@W")), (Some(4), Some(2)));
    assert_eq!(traffic.totals(at(0).mono).own_get, 12);
}

#[test]
fn pulls_are_timed_per_queue_or_per_topic() {
    for (detail, key) in [("true", &b"3@T@G"[..]), ("false", b"T@G")] {
        let mut queues = Queues::default();
        let queue = queues.find_or_create(b"T", QueueId(3), StreamId(0));
        let store = Store::new(StoreConfig::default(), Vec::new(), queues);
        let mut traffic = Traffic::new(&test_settings(&[("enableDetailStat", detail)]));
        let group = GroupKey(1);
        traffic.note_group(group, b"G");
        traffic.got(queue, group, (5, 50), 7);
        traffic.absorb(&store);
        traffic.got(queue, group, (5, 50), 3);
        traffic.absorb(&store);
        traffic.sample(at(SAMPLE_MS), 0);
        let told = traffic.part("GROUP_GET_LATENCY", key, b"c").unwrap().told().stats_minute;
        assert_eq!((told.sum, told.avgpt), (10, 5.0));
        assert_eq!(traffic.latencies.len(), 1);
        traffic.remove_group(b"other");
        traffic.remove_topic(b"other", &store);
        assert_eq!(traffic.latencies.len(), 1);
        if detail == "true" {
            traffic.remove_group(b"G");
        } else {
            traffic.remove_topic(b"T", &store);
        }
        assert_eq!(traffic.latencies.len(), 0);
    }
}

#[test]
fn dead_letters_stay_counted_and_long_names_are_not() {
    let mut traffic = Traffic::new(&test_settings(&[]));
    traffic.died("null", "T", "G");
    traffic.died("null", &"T".repeat(2000), "G");
    assert_eq!(traffic.dead.len(), 1);
    traffic.remove_group(b"G");
    traffic.sample(at(SAMPLE_MS), 0);
    let part = traffic.part("SNDBCK2DLQ_TIMES", b"null@T@G@SEND_BACK_TO_DLQ", b"c").unwrap();
    assert_eq!(part.told().stats_minute.sum, 1);
}

#[test]
fn a_queue_that_began_anew_is_counted_from_its_beginning() {
    let sums = |messages, calls| Sums { messages, bytes: messages * 10, calls };
    assert_eq!(sums(7, 5).since(sums(3, 2)), sums(4, 3));
    assert_eq!(sums(2, 1).since(sums(3, 2)), sums(2, 1));
}
