//! What brokers and clients see of the route table over time.

use super::*;
use crate::sample::{at_ms, body, conn};
use serde_json::json;
use wire::body::register::RegisterBrokerBody;

const ALL: &[&str] = &["SELF_TEST_TOPIC", "A", "B"];

fn ms(ms: u64) -> MonoNs {
    at_ms(ms).mono
}

fn who(id: i64, address: &str) -> Registration<'_> {
    Registration {
        cluster: "C",
        broker_name: "broker-a",
        address,
        broker_id: id,
        ha_server_addr: "ha:1",
        zone_name: None,
        timeout_ms: None,
        enable_acting_master: Some(false),
        conn: conn(u32::try_from(id).unwrap()),
    }
}

fn acting(id: i64, address: &str) -> Registration<'_> {
    Registration { enable_acting_master: Some(true), ..who(id, address) }
}

fn put(table: &mut RouteTable, who: Registration<'_>, counter: i64, topics: &[&str]) -> Registered {
    table.register(&who, &body(counter, topics), ms(0), false).unwrap()
}

fn perm(table: &RouteTable, topic: &str) -> i32 {
    table.route(topic, false).unwrap().queue_datas[0].perm
}

fn addresses(table: &RouteTable) -> Vec<(i64, String)> {
    table.members("broker-a").into_iter().collect()
}

fn pairs(list: &[(i64, &str)]) -> Vec<(i64, String)> {
    list.iter().map(|(id, address)| (*id, (*address).to_owned())).collect()
}

#[test]
fn a_single_topic_is_added_to_the_table_and_the_same_version_changes_nothing() {
    let mut table = RouteTable::default();
    put(&mut table, who(0, "m:1"), 1, ALL);
    put(&mut table, who(0, "m:1"), 2, &["New"]);
    assert_eq!(table.all_topics(), ["A", "B", "New", "SELF_TEST_TOPIC"]);
    // A topic whose permission a tool changed keeps it until the broker has something new to say.
    assert_eq!(table.wipe_write_perm("broker-a"), 4);
    put(&mut table, who(0, "m:1"), 2, &["SELF_TEST_TOPIC", "A", "B", "New", "Late"]);
    assert_eq!((perm(&table, "A"), perm(&table, "Late")), (4, 6));
    put(&mut table, who(0, "m:1"), 3, ALL);
    assert_eq!((perm(&table, "A"), perm(&table, "New")), (6, 4));
    assert_eq!(table.add_write_perm("broker-a"), 5);
    assert_eq!(perm(&table, "New"), 6);
    assert_eq!(table.wipe_write_perm("nobody"), 0);
}

#[test]
fn a_broker_that_has_never_registered_may_not_begin_with_one_topic() {
    let mut table = RouteTable::default();
    let error = table.register(&who(0, "m:1"), &body(1, &["A"]), ms(0), false).unwrap_err();
    assert_eq!(error, RegisterError::NotWhole);
    assert!(error.to_string().starts_with("register broker failed"), "{error}");
    assert_eq!(table.cluster_info(), Default::default());
}

#[test]
fn unnamed_topics_are_forgotten_only_when_asked_for_and_only_by_whole_tables() {
    let mut table = RouteTable::default();
    put(&mut table, who(0, "m:1"), 1, ALL);
    let send = |table: &mut RouteTable, counter, topics: &[&str]| {
        table.register(&who(0, "m:1"), &body(counter, topics), ms(0), true).unwrap();
    };
    send(&mut table, 2, &["New"]);
    assert_eq!(table.all_topics().len(), 4);
    send(&mut table, 3, &["SELF_TEST_TOPIC", "New"]);
    assert_eq!(table.all_topics(), ["New", "SELF_TEST_TOPIC"]);
    assert_eq!(table.queue_entries, 2);
}

#[test]
fn a_process_has_one_id_and_a_slave_learns_of_its_master() {
    let mut table = RouteTable::default();
    assert_eq!(put(&mut table, who(0, "m:1"), 1, ALL).master, None);
    let slave = put(&mut table, who(1, "s:1"), 7, &["SELF_TEST_TOPIC", "OnlyOnSlave"]);
    assert_eq!(slave.master, Some(("ha:1".to_owned(), "m:1".to_owned())));
    assert_eq!(table.route("OnlyOnSlave", false), None);
    assert_eq!(addresses(&table), pairs(&[(0, "m:1"), (1, "s:1")]));
    // The slave becomes master.
    table.unregister("broker-a", BrokerAddress::new("C", "m:1"));
    put(&mut table, who(0, "s:1"), 8, ALL);
    assert_eq!(addresses(&table), pairs(&[(0, "s:1")]));
}

#[test]
fn an_older_epoch_does_not_displace_a_newer_master() {
    let mut table = RouteTable::default();
    let mut newer = body(1, ALL);
    newer.topic_config_serialize_wrapper.data_version.state_version = Some(5);
    table.register(&who(0, "new:1"), &newer, ms(0), false).unwrap();
    put(&mut table, who(0, "old:1"), 9, ALL);
    assert_eq!(addresses(&table), pairs(&[(0, "new:1")]));
    assert_eq!(table.data_version(&BrokerAddress::new("C", "old:1")), None);
}

#[test]
fn silence_removes_a_broker_after_its_own_time() {
    let mut table = RouteTable::default();
    put(&mut table, who(0, "m:1"), 1, ALL);
    put(&mut table, Registration { timeout_ms: Some(10_000), ..who(1, "s:1") }, 1, ALL);
    let master = BrokerAddress::new("C", "m:1");
    assert_eq!(table.drop_silent(ms(10_000)), []);
    assert_eq!(table.drop_silent(ms(10_001)), [(BrokerAddress::new("C", "s:1"), conn(1))]);
    assert_eq!(addresses(&table), pairs(&[(0, "m:1")]));
    table.heard_of(&master, ms(100_000));
    assert_eq!(table.drop_silent(ms(220_000)), []);
    assert_eq!(table.drop_silent(ms(220_001)), [(master, conn(0))]);
    assert_eq!(table.route("A", false), None);
    assert_eq!(table.cluster_info(), Default::default());
    assert_eq!((table.all_topics().len(), table.queue_entries), (0, 0));
}

#[test]
fn ended_connections_remove_their_brokers_in_one_pass_unless_they_came_back() {
    let mut table = RouteTable::default();
    for (id, name) in (1..).zip(["a", "b", "c"]) {
        let who = Registration { broker_name: name, conn: conn(id), ..who(0, name) };
        put(&mut table, who, 1, ALL);
    }
    assert!(table.note_closed(conn(1)) && table.note_closed(conn(2)));
    assert!(!table.note_closed(conn(77)));
    put(&mut table, Registration { broker_name: "b", conn: conn(22), ..who(0, "b") }, 1, ALL);
    assert_eq!(table.drop_closed(), [BrokerAddress::new("C", "a")]);
    let names: Vec<_> = table.route("A", false).unwrap().queue_datas;
    let names: Vec<_> = names.iter().map(|queues| queues.broker_name.as_str()).collect();
    assert_eq!(names, ["b", "c"]);
    assert_eq!(table.drop_closed(), []);
}

#[test]
fn a_slave_stands_in_for_a_lost_master() {
    let mut table = RouteTable::default();
    put(&mut table, acting(0, "m:1"), 1, ALL);
    put(&mut table, acting(2, "s:2"), 1, ALL);
    put(&mut table, acting(3, "s:3"), 1, ALL);
    table.unregister("broker-a", BrokerAddress::new("C", "m:1"));
    assert_eq!(perm(&table, "A"), 4);
    let told = |table: &RouteTable, topic: &str| {
        let route = table.route(topic, true).unwrap();
        route.broker_datas[0].broker_addrs.clone().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(told(&table, "A"), pairs(&[(0, "s:2"), (3, "s:3")]));
    assert_eq!(addresses(&table), pairs(&[(2, "s:2"), (3, "s:3")]));
    // The prime slave registers topics, without the right to write.
    put(&mut table, acting(2, "s:2"), 2, &["SELF_TEST_TOPIC", "A", "FromSlave"]);
    assert_eq!(perm(&table, "FromSlave"), 4);
    put(&mut table, acting(3, "s:3"), 3, &["SELF_TEST_TOPIC", "FromOther"]);
    assert_eq!(table.route("FromOther", true), None);
    put(&mut table, acting(2, "s:2"), 4, &["rmq_sys_SYNC_BROKER_MEMBER_x", "A"]);
    assert_eq!(told(&table, "rmq_sys_SYNC_BROKER_MEMBER_x"), pairs(&[(2, "s:2"), (3, "s:3")]));
}

#[test]
fn a_zone_hides_what_is_elsewhere_and_has_a_master() {
    let mut table = RouteTable::default();
    for (name, id, zone) in [("near", 0, "z1"), ("far", 0, "z2"), ("orphan", 1, "z2")] {
        let who = Registration { broker_name: name, zone_name: Some(zone), ..acting(id, name) };
        let mut content = body(1, ALL);
        content.filter_server_list = vec![format!("filter-{name}")];
        table.register(&who, &content, ms(0), false).unwrap();
    }
    let mut route = table.route("A", false).unwrap();
    assert_eq!(route.filter_server_table.len(), 3);
    keep_zone(&mut route, "Z1");
    let names: Vec<_> = route.broker_datas.iter().map(|b| b.broker_name.as_str()).collect();
    assert_eq!(names, ["near", "orphan"]);
    let names: Vec<_> = route.queue_datas.iter().map(|q| q.broker_name.as_str()).collect();
    assert_eq!(names, ["near", "orphan"]);
    assert!(!route.filter_server_table.contains_key("far"));
}

#[test]
fn queue_mappings_are_told_as_they_came_and_go_with_their_broker() {
    let mut table = RouteTable::default();
    let mapping = json!({"bname": "broker-a", "currIdMap": {"0": 0}, "topic": "A"});
    let mut content = body(1, ALL);
    content.topic_config_serialize_wrapper.topic_queue_mapping_info_map =
        Some(wire::body::Table(vec![("A".to_owned(), mapping.clone())]));
    table.register(&who(0, "m:1"), &content, ms(0), false).unwrap();
    let told = table.route("A", false).unwrap().topic_queue_mapping_by_broker;
    assert_eq!(told, Some(json!({ "broker-a": mapping })));
    assert_eq!(table.route("B", false).unwrap().topic_queue_mapping_by_broker, None);
    table.unregister("broker-a", BrokerAddress::new("C", "m:1"));
    assert_eq!(table.route("A", false), None);
}

#[test]
fn topics_are_deleted_everywhere_or_in_one_cluster_and_registered_by_name() {
    let mut table = RouteTable::default();
    put(&mut table, who(0, "m:1"), 1, ALL);
    let other = Registration { cluster: "D", broker_name: "broker-d", ..who(0, "d:1") };
    put(&mut table, other, 1, ALL);
    table.delete_topic("A", Some("C"));
    table.delete_topic("A", Some("nowhere"));
    assert_eq!(table.route("A", false).unwrap().queue_datas.len(), 1);
    assert_eq!(table.topics_of_cluster("C"), ["B", "SELF_TEST_TOPIC"]);
    table.delete_topic("B", None);
    assert_eq!(table.route("B", false), None);
    let queues = |name: &str| QueueData {
        broker_name: name.to_owned(),
        perm: 6,
        read_queue_nums: 2,
        topic_sys_flag: 3,
        write_queue_nums: 2,
    };
    let unknown = table.register_topic("New", &[queues("broker-d"), queues("nobody")]).unwrap();
    assert_eq!(unknown, 1);
    assert_eq!(table.topics_of_cluster("D"), ["A", "New", "SELF_TEST_TOPIC"]);
    assert_eq!(table.register_topic("Nowhere", &[queues("nobody")]), Ok(1));
    assert_eq!(table.route("Nowhere", false), None);
    assert_eq!(table.unit_topics(UnitKind::Unit), ["New"]);
    assert_eq!(table.unit_topics(UnitKind::UnitSub), ["New"]);
    assert!(table.unit_topics(UnitKind::UnitSubNotUnit).is_empty());
    let (names, address) = table.system_topics();
    assert_eq!(names, ["C", "broker-a", "D", "broker-d"]);
    assert_eq!(address.as_deref(), Some("m:1"));
    assert_eq!(table.queue_entries, 4);
}

#[test]
fn growth_ends_at_the_limits_and_changes_nothing() {
    let mut table = RouteTable::default();
    let long = "x".repeat(1025);
    let refused = |table: &mut RouteTable, who: Registration<'_>, body: &RegisterBrokerBody| {
        let error = table.register(&who, body, ms(0), false).unwrap_err().to_string();
        assert_eq!(table.cluster_info(), Default::default());
        assert!(table.all_topics().is_empty() && error.contains("limit"), "{error}");
        error
    };
    let error = refused(&mut table, who(0, &long), &body(1, ALL));
    assert!(error.contains("brokerAddr would be 1025, the limit is 1024"), "{error}");
    refused(&mut table, who(0, "m:1"), &body(1, &["A", &long]));
    let mut filters = body(1, ALL);
    filters.filter_server_list = vec!["f".to_owned(); 257];
    refused(&mut table, who(0, "m:1"), &filters);
    let names: Vec<String> = (0..=limit::BROKERS_MAX).map(|number| number.to_string()).collect();
    for name in &names[..limit::BROKERS_MAX] {
        put(
            &mut table,
            Registration { broker_name: "one", ..who(name.parse().unwrap(), name) },
            1,
            &[],
        );
    }
    let last = names.last().unwrap();
    let error = table.register(&who(1, last), &body(1, ALL), ms(0), false).unwrap_err();
    assert!(error.to_string().contains("the number of brokers would be 20001"), "{error}");
    let what = table.check_growth(limit::TOPICS_MAX + 1, 0).unwrap_err().what;
    assert_eq!(what, "the number of topics");
}
