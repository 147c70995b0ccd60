//! A small table, and every class of value an operator can write into a file.

use super::*;
use crate::props;

const INT: Kind = Kind::I32 { min: i32::MIN, max: i32::MAX };

#[rustfmt::skip]
static TABLE: Table = Table {
    process: "broker",
    groups: &[
        Group { title: "A", rows: &[
            Row::new("fileReservedTime", INT, "72", "retention").unit("hours").between(1, i32::MAX as i64).honoured(),
            Row::new("port", INT, "10911", "port").between(1, 65535).live(),
            Row::new("traceOn", Kind::Bool, "true", "trace").honoured(),
            Row::new("ratio", Kind::F64, "0.8", "ratio"),
            Row::new("home", Kind::Text, "${home}/store", "root").honoured(),
        ] },
        Group { title: "B", rows: &[
            Row::new("flushDiskType", Kind::Choice(&["SYNC_FLUSH", "ASYNC_FLUSH"]), "ASYNC_FLUSH", "flush").honoured(),
            Row::new("pool", INT, "4", "threads").accepted("there are no thread pools"),
            Row::new("aclEnable", Kind::Bool, "false", "acl").refused("the broker would stay open"),
            Row::new("window", Kind::Bytes { min: 0, max: i64::MAX }, "64M", "window").between(4096, 1 << 40).honoured(),
            Row::new("later", INT, "1", "a thing to come"),
        ] },
    ],
    misnamed: &[("storePathIndex", "it follows storePathRootDir")],
};

fn config() -> Config {
    Config::defaults(&TABLE, &Facts(vec![("home", "/root".to_owned())]))
}

fn load(text: &str) -> (Config, Result<Vec<String>, Vec<String>>) {
    let mut config = config();
    let file = props::parse(text.as_bytes()).unwrap();
    let outcome = config.apply_file("conf/broker.conf", &file);
    let outcome = outcome
        .map(|notices| notices.into_iter().map(|notice| notice.text).collect())
        .map_err(|file| file.errors.iter().map(ToString::to_string).collect());
    (config, outcome)
}

fn errors(text: &str) -> Vec<String> {
    load(text).1.unwrap_err()
}

fn notices(text: &str) -> Vec<String> {
    load(text).1.unwrap()
}

#[test]
fn defaults_expand_facts() {
    let config = config();
    assert_eq!(config.text("home"), "/root/store");
    assert_eq!(config.int("window"), 64 << 20);
    assert_eq!(*config.origin("home"), Origin::Default);
    assert_eq!(config.value("ratio").to_string(), "0.8");
}

#[test]
fn good_values_are_taken_without_a_word() {
    let (config, outcome) =
        load("fileReservedTime = 48\ntraceOn=FALSE\nflushDiskType=SYNC_FLUSH\nwindow=1G\n");
    assert_eq!(outcome, Ok(vec![]));
    assert_eq!(config.int("fileReservedTime"), 48);
    assert!(!config.flag("traceOn"));
    assert_eq!(config.text("flushDiskType"), "SYNC_FLUSH");
    assert_eq!(config.int("window"), 1 << 30);
    assert_eq!(config.origin("traceOn").to_string(), "conf/broker.conf:2");
}

#[test]
fn bad_values_name_file_line_key_value_unit_and_range() {
    assert_eq!(
        errors("\n\nfileReservedTime = 48h"),
        [r#"conf/broker.conf:3: fileReservedTime = "48h" is not a whole number (hours, 1..)"#]
    );
    assert_eq!(
        errors("port=70000"),
        [r#"conf/broker.conf:1: port = "70000" is out of range (1..=65535)"#]
    );
    assert_eq!(
        errors("traceOn=yes"),
        [r#"conf/broker.conf:1: traceOn = "yes" is neither true nor false"#]
    );
    assert_eq!(errors("ratio=NaN"), [r#"conf/broker.conf:1: ratio = "NaN" is not a number"#]);
    assert_eq!(
        errors("flushDiskType=sync_flush"),
        [
            r#"conf/broker.conf:1: flushDiskType = "sync_flush" is not one of SYNC_FLUSH, ASYNC_FLUSH"#
        ]
    );
    assert!(errors("window=1T")[0].contains("not a byte count"));
    assert!(errors("window=99999999999G")[0].contains("not a byte count"));
    assert!(errors("window=1K")[0].contains("out of range (4096..=1099511627776)"));
    assert!(errors("pool=many")[0].contains("pool = \"many\" is not a whole number"));
    assert!(errors("port=99999999999999999999")[0].contains("not a whole number"));
}

#[test]
fn all_bad_lines_are_named_and_nothing_changes() {
    let (config, outcome) = load("fileReservedTime=1\nport=x\ntraceOn=1\n");
    assert_eq!(outcome.unwrap_err().len(), 2);
    assert_eq!(config.int("fileReservedTime"), 72);
}

#[test]
fn unknown_keys_are_warnings_with_a_hint() {
    assert_eq!(
        notices("fileReserverdTime=1"),
        [
            "conf/broker.conf:1: fileReserverdTime is not a key of the broker and is ignored; did you mean fileReservedTime?"
        ]
    );
    assert!(notices("storePathIndex=/x")[0].ends_with("; it follows storePathRootDir"));
    assert!(notices("zzz=1")[0].ends_with("is ignored"));
}

#[test]
fn values_without_effect_say_so_unless_they_are_the_default() {
    assert!(notices("pool=16")[0].contains("pool = 16 has no effect: there are no thread pools"));
    assert!(notices("later=2")[0].contains("later = 2 has no effect yet (a thing to come)"));
    assert_eq!(notices("pool=4\nlater=1\naclEnable=false"), Vec::<String>::new());
    let refused = errors("aclEnable=true");
    assert!(
        refused[0].contains(r#"is not supported, only "false": the broker would stay open"#),
        "{refused:?}"
    );
}

#[test]
fn differences_from_java_are_told() {
    let (config, outcome) = load("fileReservedTime=48 \ntraceOn=true \nhome=/x \n");
    let notices = outcome.unwrap();
    assert_eq!(config.int("fileReservedTime"), 48);
    assert_eq!(config.text("home"), "/x");
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices[0].ends_with("Java would use 72"), "{notices:?}");
    assert!(notices[1].ends_with("Java would use false"), "{notices:?}");
    assert!(notices_of_utf8().contains("read as UTF-8"));
}

fn notices_of_utf8() -> String {
    notices("home=/données").join("\n")
}

#[test]
fn the_last_of_two_lines_wins_and_is_told() {
    let (config, outcome) = load("port=1\nport=2\n");
    assert_eq!(config.int("port"), 2);
    assert_eq!(
        outcome.unwrap(),
        ["conf/broker.conf:2: port also stands in line 1; this line wins"]
    );
}

#[test]
fn an_xml_comment_is_skipped_with_one_line() {
    let text = "<!--\n  Licensed to somebody\n  under terms -->\nport=3\nunknown=1\n";
    let (config, outcome) = load(text);
    assert_eq!(config.int("port"), 3);
    let notices = outcome.unwrap();
    assert_eq!(notices.len(), 2, "{notices:?}");
}

#[test]
fn one_value_from_the_command_line() {
    let mut config = config();
    config.set("port", "9", Origin::CommandLine).unwrap();
    let error = config.set("port", "0", Origin::CommandLine).unwrap_err();
    assert_eq!(error.to_string(), r#"command line: port = "0" is out of range (1..=65535)"#);
    assert_eq!(config.int("port"), 9);
    assert_eq!(config.error("port", "clashes").to_string(), r#"command line: port = "9" clashes"#);
}
