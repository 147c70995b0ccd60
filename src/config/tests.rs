//! The tables against what the Java broker printed, and what an operator sees of good and bad files.

use crate::*;
use base::config::{Config, Origin, Severity, Table, Treatment};
use base::props;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn recorded(file: &str) -> Vec<(String, String)> {
    let path = repository().join("tests/golden/properties").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let pairs = text.lines().map(|line| line.split_once('=').unwrap());
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The machine on which the recordings were made.
fn machine() -> Machine {
    Machine {
        home: "/tmp/rocketmq/home".to_owned(),
        rocketmq_home: "/tmp/rocketmq/home2".to_owned(),
        namesrv_addr: String::new(),
        local_address: "127.0.0.1".to_owned(),
        host_name: "t-host".to_owned(),
        cpus: 2,
    }
}

fn defaults(table: &'static Table) -> Config {
    Config::defaults(table, &machine().facts())
}

fn loaded(table: &'static Table, text: &str) -> Config {
    let mut config = defaults(table);
    config.apply_file("broker.conf", &props::parse(text.as_bytes()).unwrap()).unwrap();
    config
}

fn broker(text: &str) -> Result<(BrokerConfig, Vec<String>), Vec<String>> {
    match BrokerConfig::from_config(&mut loaded(&broker::TABLE, text)) {
        Ok((config, notices)) => Ok((config, notices.into_iter().map(|n| n.text).collect())),
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

fn compare(table: &'static Table, file: &str, other: &[(&str, &str)]) {
    let config = defaults(table);
    for (key, value) in recorded(file) {
        assert!(table.row(&key).is_some(), "{file}: {key} is missing");
        if other.contains(&(key.as_str(), value.as_str())) {
            continue;
        }
        assert_eq!(config.value(&key).to_string(), value, "{file}: {key}");
    }
}

#[test]
fn every_recorded_key_is_there_with_its_default() {
    // 4.9.7 had other defaults for these; 5.x prints listenPort twice, once before the start sets it.
    let four = [
        ("registerBrokerTimeoutMills", "6000"),
        ("transactionCheckInterval", "60000"),
        ("autoDeleteUnusedStats", "false"),
    ];
    compare(&broker::TABLE, "broker-4.9.7-p.txt", &four);
    compare(&broker::TABLE, "messageStoreConfig-4.9.7.txt", &[]);
    compare(&broker::TABLE, "broker-5.5.0-p.txt", &[("listenPort", "6888")]);
    compare(&broker::TABLE, "messageStoreConfig-5.5.0.txt", &[]);
    compare(&namesrv::TABLE, "namesrv-4.9.7-p.txt", &[]);
    compare(&namesrv::TABLE, "namesrv-5.5.0-p.txt", &[]);
}

#[test]
fn the_short_listing_has_the_recorded_keys() {
    let shown: BTreeSet<String> = keys_of(&print_important(&defaults(&broker::TABLE)));
    let four = recorded("broker-4.9.7-m.txt");
    let five = recorded("broker-5.5.0-m.txt");
    let expected: BTreeSet<String> = four.into_iter().chain(five).map(|(key, _)| key).collect();
    assert_eq!(shown, expected);
}

fn keys_of(listing: &str) -> BTreeSet<String> {
    listing.lines().map(|line| line.split_once('=').unwrap().0.to_owned()).collect()
}

#[test]
fn tables_are_well_formed() {
    for table in [&broker::TABLE, &namesrv::TABLE] {
        let mut seen = BTreeSet::new();
        for row in table.rows() {
            assert!(seen.insert(row.key), "{} stands twice", row.key);
            assert!(!row.doc.is_empty() && !row.doc.ends_with('.'), "{}", row.key);
            assert!(!row.reloadable || row.treatment == Treatment::Honoured, "{}", row.key);
        }
        for (name, _) in table.misnamed {
            assert!(!seen.contains(name), "{name} is a key");
        }
    }
}

#[test]
fn the_reference_file_is_up_to_date() {
    let path = repository().join("conf/reference.conf");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, reference_conf()).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == reference_conf(),
        "conf/reference.conf is stale: UPDATE_REFERENCE=1 cargo test -p config"
    );
}

#[test]
fn the_shipped_files_are_taken_without_errors() {
    for (table, name) in [(&broker::TABLE, "broker.conf"), (&namesrv::TABLE, "namesrv.conf")] {
        let bytes = std::fs::read(repository().join("conf").join(name)).unwrap();
        let notices = defaults(table).apply_file(name, &props::parse(&bytes).unwrap()).unwrap();
        let unknown: Vec<_> = notices.iter().filter(|n| n.text.contains("is not a key")).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

#[test]
fn a_default_broker_runs_as_java_does() {
    let (config, notices) = broker("").unwrap();
    assert_eq!(notices, Vec::<String>::new());
    assert_eq!((config.listen_port, config.ha_listen_port), (10911, 10912));
    assert_eq!(config.bind_address.to_string(), "0.0.0.0");
    assert_eq!(config.store_path_commit_log, PathBuf::from("/tmp/rocketmq/home/store/commitlog"));
    assert_eq!(config.log_path, PathBuf::from("/tmp/rocketmq/home/logs"));
    assert_eq!(config.log_time_zone_minutes, 480);
    assert_eq!(config.namesrv_addr, Vec::<String>::new());
    assert_eq!(config.mapped_file_size_commit_log, 1 << 30);
    assert_eq!(config.mapped_file_size_consume_queue, 6_000_000);
}

#[test]
fn values_follow_from_others() {
    let text = "listenPort=20911\nnamesrvAddr=a:1; b:2;\nmappedFileSizeConsumeQueue=101\nshardCpus=0,2-3\n";
    let (config, _) = broker(text).unwrap();
    assert_eq!(config.ha_listen_port, 20912);
    assert_eq!(config.namesrv_addr, ["a:1", "b:2"]);
    assert_eq!(config.mapped_file_size_consume_queue, 120);
    assert_eq!(config.shard_cpus, [0, 2, 3]);
    let mut config = loaded(&broker::TABLE, "listenPort=20911");
    BrokerConfig::from_config(&mut config).unwrap();
    assert!(print_all(&config).contains("\nhaListenPort=20912\n"));
}

#[test]
fn contradictions_are_errors_with_their_place() {
    let one = |text: &str| {
        let errors = broker(text).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors.into_iter().next().unwrap()
    };
    assert_eq!(
        one("\nmappedFileSizeCommitLog=5000"),
        r#"broker.conf:2: mappedFileSizeCommitLog = "5000" is not a multiple of 4096"#
    );
    assert!(one("namesrvAddr=localhost").contains("which has no port"));
    assert!(one("bindAddress=eth0").contains("is not an IP address"));
    assert!(one("haListenPort=10909").contains("is also a port for clients"));
    assert!(one("storePathCommitLog=/a,/b").contains("has several directories"));
    assert!(one("shardCpus=1-0").contains("is not a list of CPUs"));
    assert!(one("recvBufferCount=17").contains("is not a power of two"));
    assert!(one("brokerName=").contains("is empty"));
    assert!(one("maxMessageSize=60000000").contains("more than half of logWindowBytes"));
    assert!(one("logTimeZone=CET").contains("is neither UTC nor GMT"));
    assert!(one("brokerRole=SLAVE\nbrokerId=1").contains("replication is not there yet"));
    assert_eq!(broker("brokerRole=SLAVE").unwrap_err().len(), 2);
}

#[test]
fn masters_have_the_id_zero() {
    let (config, notices) = broker("brokerId=3\nbrokerRole=SYNC_MASTER").unwrap();
    assert_eq!(config.broker_id, 0);
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices[1].contains("brokerId = 3 becomes 0"), "{notices:?}");
    let (config, notices) = broker("registerNameServerPeriod=1000").unwrap();
    assert_eq!(config.register_name_server_period_ms, 10_000);
    assert_eq!(notices.len(), 1);
}

#[test]
fn a_file_that_needs_what_is_missing_is_refused() {
    for key in [
        "aclEnable",
        "authenticationEnabled",
        "enableDLegerCommitLog",
        "enableControllerMode",
        "useTLS",
    ] {
        let file = props::parse(format!("{key}=true").as_bytes()).unwrap();
        let errors = defaults(&broker::TABLE).apply_file("b.conf", &file).unwrap_err().errors;
        assert!(errors[0].to_string().contains("is not supported"), "{errors:?}");
    }
}

#[test]
fn checksums_over_properties_are_refused_as_java_would_cut_what_lacks_them() {
    for key in ["enabledAppendPropCRC", "forceVerifyPropCRC"] {
        let file = props::parse(format!("{key}=true").as_bytes()).unwrap();
        let errors = defaults(&broker::TABLE).apply_file("b.conf", &file).unwrap_err().errors;
        assert!(errors[0].to_string().contains("without its checksum"), "{errors:?}");
        loaded(&broker::TABLE, &format!("{key}=false"));
    }
}

#[test]
fn a_default_name_server_runs_as_java_does() {
    let mut config = defaults(&namesrv::TABLE);
    let (typed, notices) = NamesrvConfig::from_config(&mut config).unwrap();
    assert_eq!(typed.listen_port, 9876);
    assert_eq!(typed.log_path, PathBuf::from("/tmp/rocketmq/home/logs"));
    assert!(notices.is_empty());
    let text = effective_properties(&config);
    let keys: Vec<_> = text.lines().map(|line| line.split_once('=').unwrap().0).collect();
    assert!(keys.is_sorted() && keys.len() > 60);
}

#[test]
fn secrets_are_not_listed() {
    let config = loaded(&broker::TABLE, "innerClientAuthenticationCredentials={\"k\":\"hush\"}");
    for listing in [print_all(&config), effective_properties(&config)] {
        assert!(!listing.contains("hush"));
        assert!(listing.contains("innerClientAuthenticationCredentials=******\n"));
    }
}

#[test]
fn keys_of_the_black_list_are_refused() {
    let mut config = defaults(&namesrv::TABLE);
    for key in ["kvConfigPath", "configStorePath", "configBlackList"] {
        let error = apply_update(&mut config, format!("{key}=x").as_bytes()).unwrap_err();
        assert_eq!(error, UpdateError::Forbidden { key: key.to_owned() });
    }
}

#[test]
fn updates_change_live_keys_only_and_all_or_nothing() {
    let mut config = defaults(&broker::TABLE);
    let update =
        apply_update(&mut config, b"brokerPermission=4\nreplicasPerDiskPartition=2\ntraceOn=true")
            .unwrap();
    assert_eq!(update.changed, ["brokerPermission", "replicasPerDiskPartition"]);
    assert!(update.notices.iter().any(|notice| notice.severity == Severity::Warning));
    assert_eq!(config.int("brokerPermission"), 4);
    assert_eq!(*config.origin("brokerPermission"), Origin::Update);

    let mut refused = |body: &str| {
        let error = apply_update(&mut config, body.as_bytes()).unwrap_err();
        assert_eq!(config.int("brokerPermission"), 4, "{body}");
        error.to_string()
    };
    assert_eq!(
        refused("brokerPermission=6\nbrokerConfigPath=x"),
        "Can not update config in black list. brokerConfigPath stands in configBlackList"
    );
    assert_eq!(
        refused("brokerPermission=6\nfileReserverdTime=1"),
        "fileReserverdTime is not a key; the key is fileReservedTime"
    );
    assert!(refused("listenPort=1234").contains("takes effect at the start only"));
    assert!(
        refused("brokerPermission=9")
            .contains(r#"update: brokerPermission = "9" is out of range (0..=7)"#)
    );
    assert!(refused("aclEnable=true").contains("is not supported"));
    assert!(refused("a=\\u1").contains("hexadecimal"));
    assert!(apply_update(&mut config, b"listenPort=10911").unwrap().changed.is_empty());
}
