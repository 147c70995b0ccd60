//! Memberships, notices and fingerprints, with the recorded `hbv2` exchange.

use super::*;
use base::ids::ShardId;

fn conn(slot: u32) -> ConnId {
    ConnId { shard: ShardId(0), slot, generation: 1 }
}

fn client(id: &str) -> Client {
    let address = "127.0.0.1:5000".parse().unwrap();
    Client { id: Arc::from(id), language: Language::Java, version: 513, address }
}

fn sub(topic: &str, version: i64) -> SubscriptionData {
    SubscriptionData {
        topic: topic.into(),
        sub_string: "*".into(),
        sub_version: version,
        ..SubscriptionData::default()
    }
}

fn data(group: &str, subs: &[SubscriptionData]) -> ConsumerData {
    ConsumerData {
        group_name: group.into(),
        subscription_data_set: subs.to_vec(),
        ..ConsumerData::default()
    }
}

fn at(ms: u64) -> MonoNs {
    MonoNs(0).plus_ms(ms)
}

const PLAIN: Beat = Beat { fingerprint: 0, without_sub: false };

fn beat(clients: &mut Clients, slot: u32, subs: &[SubscriptionData], beat: Beat) -> Effect {
    let who = client(&format!("c{slot}"));
    clients.beat_consumer(conn(slot), &who, &data("G", subs), beat, at(0)).unwrap()
}

#[test]
fn members_are_told_when_one_comes_or_topics_change_but_not_for_a_new_version() {
    let mut clients = Clients::default();
    let t1 = [sub("T", 1)];
    let first = beat(&mut clients, 1, &t1, PLAIN);
    assert!(first.is_membership_changed && first.is_snapshot_changed && first.is_sub_changed);
    let again = beat(&mut clients, 1, &t1, PLAIN);
    assert!(!again.is_membership_changed && !again.is_snapshot_changed);
    let newer = beat(&mut clients, 1, &[sub("T", 2)], PLAIN);
    assert!(!newer.is_membership_changed && newer.is_snapshot_changed);
    let older = beat(&mut clients, 1, &t1, PLAIN);
    assert!(!older.is_snapshot_changed, "an older version changes nothing");
    assert_eq!(clients.group("G").unwrap().subscriptions["T"].sub_version, 2);
    let second = beat(&mut clients, 2, &[sub("T", 2)], PLAIN);
    assert!(second.is_membership_changed && !second.is_snapshot_changed);
    let other = beat(&mut clients, 2, &[sub("U", 1)], PLAIN);
    assert!(other.is_membership_changed && other.is_snapshot_changed);
    let group = clients.group("G").unwrap();
    assert_eq!(group.subscriptions.keys().collect::<Vec<_>>(), ["U"], "the newest list counts");
    assert_eq!(group.members.len(), 2);
}

#[test]
fn fingerprints_spare_the_subscriptions_as_recorded() {
    let mut clients = Clients::default();
    let subs = [sub("TopicHb", 1)];
    let full = |fingerprint| Beat { fingerprint, without_sub: false };
    let light = |fingerprint| Beat { fingerprint, without_sub: true };
    assert!(!beat(&mut clients, 1, &subs, full(375_954_592)).is_sub_changed);
    assert!(!beat(&mut clients, 1, &[], light(375_954_592)).is_sub_changed);
    assert!(clients.group("G").unwrap().subscriptions.contains_key("TopicHb"));
    assert!(beat(&mut clients, 1, &subs, full(1_047_630_163)).is_sub_changed);
    assert!(!beat(&mut clients, 1, &subs, full(1_047_630_163)).is_sub_changed);
    assert!(!beat(&mut clients, 1, &[], light(1_047_630_163)).is_sub_changed);
    // A broker that does not know the subscriptions (any more) asks for them.
    assert!(beat(&mut clients, 1, &[], light(7)).is_sub_changed);
    assert!(beat(&mut clients, 2, &[], light(1_047_630_163)).is_sub_changed);
}

#[test]
fn memberships_end_by_request_with_the_connection_and_after_silence() {
    let mut clients = Clients::default();
    for slot in 1..=3 {
        beat(&mut clients, slot, &[sub("T", 1)], PLAIN);
        clients.beat_producer(conn(slot), &client("p"), "PG", at(0)).unwrap();
    }
    assert!(clients.leave_consumer(conn(1), "G"));
    assert!(!clients.leave_consumer(conn(1), "G"), "it has left already");
    assert_eq!(clients.drop_conn(conn(2)), [Arc::from("G")]);
    assert_eq!(clients.drop_conn(conn(2)), []);
    assert_eq!(clients.producers("PG").unwrap().len(), 2);
    assert!(clients.expire(at(120_000), 120_000).groups.is_empty());
    clients.beat_producer(conn(1), &client("p"), "PG", at(1000)).unwrap();
    let expired = clients.expire(at(120_001), 120_000);
    assert_eq!(expired.groups, [Arc::from("G")]);
    assert_eq!(expired.conns, [conn(3)], "the other one was heard of");
    assert!(clients.group("G").is_none());
    clients.leave_producer(conn(1), "PG");
    assert!(clients.producers("PG").is_none() && clients.conns.is_empty());
}

#[test]
fn what_clients_can_grow_is_bounded() {
    let mut clients = Clients::default();
    let mut try_one = |data: &ConsumerData| {
        clients.beat_consumer(conn(1), &client("c"), data, PLAIN, at(0)).unwrap_err()
    };
    let many: Vec<_> = (0..=SUBSCRIPTIONS_MAX).map(|n| sub(&n.to_string(), 1)).collect();
    assert!(try_one(&data("G", &many)).contains("subscriptionDataSet of group G has 1025"));
    let mut tags = sub("T", 1);
    tags.code_set = vec![1; TAGS_MAX + 1];
    assert!(try_one(&data("G", &[tags])).contains("the limit is 1024"));
    let long = client(&"x".repeat(NAME_BYTES_MAX + 1));
    assert!(clients.beat_producer(conn(1), &long, "P", at(0)).unwrap_err().contains("clientID"));
    for n in 0..GROUPS_PER_CONN_MAX {
        clients.beat_producer(conn(1), &client("c"), &n.to_string(), at(0)).unwrap();
    }
    assert!(clients.beat_producer(conn(1), &client("c"), "more", at(0)).is_err());
    assert!(clients.beat_producer(conn(1), &client("c"), "7", at(0)).is_ok());
    assert!(clients.producers("more").is_none());
}
