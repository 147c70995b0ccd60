//! Files of both Java lines, `golden/store/v497-small-clean` and `v550-small-clean`, and what happens to damaged ones.

use super::*;
use crate::settings::test_settings;
use std::fs;

fn golden(line: &str, name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read(root.join(format!("tables/golden/{line}-{name}"))).unwrap()
}

fn gold_settings() -> Settings {
    test_settings(&[("brokerClusterName", "GoldCluster"), ("brokerName", "broker-a")])
}

fn store_of(line: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in TableFile::ALL {
        fs::write(dir.path().join(file.name()), golden(line, file.name())).unwrap();
    }
    dir
}

fn topic<'b>(boot: &'b BootTables, name: &str) -> Option<&'b TopicConfig> {
    boot.meta.topics.iter().find(|topic| topic.topic_name == name).map(|topic| &**topic)
}

#[test]
fn tables_of_both_java_lines_are_read() {
    for (line, counter, offsets) in [("497", 7, 12), ("550", 7, 16)] {
        let dir = store_of(line);
        let boot = load(dir.path(), &gold_settings()).unwrap();
        assert_eq!(boot.meta.topics_version.counter, counter);
        let gold = topic(&boot, "GoldA").unwrap();
        assert_eq!((gold.read_queue_nums, gold.perm), (4, 6));
        assert_eq!(topic(&boot, "TBW102").unwrap().write_queue_nums, 4, "the file wins");
        assert!(topic(&boot, "rmq_sys_wheel_timer").is_some(), "built-in topics are added");
        let group = boot.meta.groups.iter().find(|group| group.group_name == "CG_store").unwrap();
        assert_eq!(group.consume_timeout_minute, Some(15), "members of 5.x are filled in");
        assert_eq!(boot.offsets.len(), offsets);
        let of_queue =
            |(key, queue, _): &&(Arc<[u8]>, i32, i64)| **key == *b"GoldA@CG_store" && *queue == 1;
        let (.., offset) = boot.offsets.iter().find(of_queue).unwrap();
        assert_eq!(*offset, if line == "497" { 37 } else { 36 });
        let delays = &boot.meta.delays.offset_table;
        assert_eq!((delays.get(&1), delays.get(&3)), (Some(&4), Some(&2)));
    }
}

#[test]
fn what_is_written_is_what_java_writes() {
    let settings = gold_settings();
    let dir = store_of("550");
    let boot = load(dir.path(), &settings).unwrap();
    let text = topics_text(boot.meta.topics_version, &boot.meta.topics);
    // The order of a Java map has no meaning; all else is the same, so the lines are.
    let lines = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let mut lines: Vec<String> =
            text.lines().map(|line| line.trim_end_matches(',').to_owned()).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(lines(&text), lines(&golden("550", "topics.json")));
    let text = groups_text(boot.meta.groups_version, &boot.meta.forbidden, &boot.meta.groups);
    assert_eq!(lines(&text), lines(&golden("550", "subscriptionGroup.json")));
    assert_eq!(delays_text(&boot.meta.delays), golden("550", "delayOffset.json"));
    let mut offsets = OffsetTable::new(boot.meta.offsets_version);
    for (key, queue, offset) in &boot.offsets {
        offsets.set(Arc::clone(key), *queue, *offset);
    }
    write(dir.path(), TableFile::Offsets, &offsets_text(offsets.version, &offsets.snapshot()))
        .unwrap();
    let again = load(dir.path(), &settings).unwrap();
    let sorted = |boot: &BootTables| {
        let mut list = boot.offsets.clone();
        list.sort_unstable();
        list
    };
    assert_eq!(sorted(&again), sorted(&boot));
    let text = fs::read_to_string(dir.path().join("consumerOffset.json")).unwrap();
    assert!(text.contains("\t\t\"GoldA@CG_store\":{\n\t\t\t0:37,\n"), "{text}");
    let old = fs::read(dir.path().join("consumerOffset.json.bak")).unwrap();
    assert_eq!(old, golden("550", "consumerOffset.json"), "the old text is kept");
}

#[test]
fn an_empty_store_begins_with_the_built_in_tables() {
    let dir = tempfile::tempdir().unwrap();
    let boot = load(&dir.path().join("config"), &gold_settings()).unwrap();
    assert!(topic(&boot, "TBW102").is_some() && boot.offsets.is_empty());
    assert_eq!(boot.meta.groups.len(), 8);
    write(&dir.path().join("config"), TableFile::Topics, b"{}").unwrap();
    assert_eq!(fs::read(dir.path().join("config/topics.json")).unwrap(), b"{}");
}

#[test]
fn a_damaged_file_is_read_from_its_backup_or_named() {
    let dir = store_of("550");
    let settings = gold_settings();
    let path = dir.path().join("topics.json");
    let whole = golden("550", "topics.json");
    fs::write(&path, &whole[..500]).unwrap();
    let error = load(dir.path(), &settings).err().unwrap();
    assert!(error.contains("topics.json") && error.contains("no .bak"), "{error}");
    fs::write(dir.path().join("topics.json.bak"), &whole).unwrap();
    assert!(topic(&load(dir.path(), &settings).unwrap(), "GoldA").is_some());
    fs::write(&path, "").unwrap();
    assert!(topic(&load(dir.path(), &settings).unwrap(), "GoldA").is_some());
    assert!(!path.exists(), "it is kept beside");
    assert!(topic(&load(dir.path(), &settings).unwrap(), "GoldA").is_some());
    fs::write(dir.path().join("topics.json.bak"), &whole[..500]).unwrap();
    let error = load(dir.path(), &settings).err().unwrap();
    assert!(error.contains("topics.json.bak"), "{error}");
}

#[test]
fn values_beyond_the_limits_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let refuse = |name: &str, text: &str, part: &str| {
        fs::write(dir.path().join(name), text).unwrap();
        let error = load(dir.path(), &gold_settings()).err().unwrap();
        assert!(error.contains(part) && error.contains(name), "{error}");
        fs::remove_file(dir.path().join(name)).unwrap();
    };
    let topics = |name: &str, queues: i32| {
        format!(
            r#"{{"topicConfigTable":{{"{name}":{{"readQueueNums":{queues},"writeQueueNums":1}}}}}}"#
        )
    };
    refuse("topics.json", &topics("T", 70_000), "topic T: readQueueNums is 70000");
    refuse("topics.json", &topics("../T", 1), "cannot be a directory");
    refuse("subscriptionGroup.json", r#"{"subscriptionGroupTable":{"a@b":{}}}"#, "a@b");
    let offsets = r#"{"offsetTable":{"T@g":{0:5,-1:3,2:-7},"nonsense":{0:1}}}"#;
    fs::write(dir.path().join("consumerOffset.json"), offsets).unwrap();
    let boot = load(dir.path(), &gold_settings()).unwrap();
    assert_eq!(boot.offsets, [(Arc::from(&b"T@g"[..]), 0, 5)]);
}

#[test]
fn automatic_creation_off_also_counts_for_a_stored_default_topic() {
    let dir = store_of("550");
    let settings = test_settings(&[("autoCreateTopicEnable", "false")]);
    let boot = load(dir.path(), &settings).unwrap();
    assert_eq!(topic(&boot, "TBW102").unwrap().perm, 6);
}

#[test]
fn one_write_per_table_is_under_way_and_a_failed_one_is_repeated() {
    let at = |ms| MonoNs(1).plus_ms(ms);
    let mut writes = Writes::default();
    assert!(writes.is_settled());
    writes.touch(TableFile::Topics, at(0));
    writes.touch(TableFile::Offsets, at(500));
    writes.touch(TableFile::Offsets, at(900));
    assert_eq!(writes.begin(at(0)), [TableFile::Topics]);
    assert_eq!(writes.next_due(), Some(at(500)), "later changes do not put a write off");
    writes.touch(TableFile::Topics, at(1));
    assert_eq!(writes.begin(at(1)), [], "one at a time");
    writes.end(TableFile::Topics, &Err(io::Error::other("full")), at(2));
    assert_eq!(writes.begin(at(2000)), [TableFile::Offsets]);
    assert_eq!(writes.begin(at(2002)), [TableFile::Topics]);
    writes.end(TableFile::Topics, &Ok(()), at(2003));
    writes.end(TableFile::Offsets, &Ok(()), at(2003));
    assert!(writes.is_settled());
    writes.touch(TableFile::Offsets, at(9000));
    writes.hurry();
    assert_eq!(writes.begin(at(3000)), [TableFile::Offsets]);
}

#[test]
fn offsets_are_forgotten_by_topic_and_by_group() {
    let mut offsets = OffsetTable::new(DataVersion::default());
    for key in ["T@g", "T@h", "U@g"] {
        offsets.set(Arc::from(key.as_bytes()), 0, 1);
    }
    let mut groups: Vec<String> = offsets.groups_of("T").collect();
    groups.sort_unstable();
    assert_eq!(groups, ["g", "h"]);
    assert!(offsets.remove(|key| split_key(key).is_some_and(|(topic, _)| topic == b"T")));
    assert_eq!(offsets.snapshot().len(), 1);
}

#[test]
fn upstream_9412_a_write_that_a_crash_cut_short_leaves_the_old_table_or_the_new_one() {
    let settings = gold_settings();
    let dir = store_of("550");
    let path = |name: &str| dir.path().join(name);
    let whole = golden("550", "topics.json");
    // What each step of a write leaves: a temporary file in parts, with or without a backup, before and after the rename.
    for cut in [0, 1, whole.len() / 2] {
        fs::write(path("topics.json.tmp"), &whole[..cut]).unwrap();
        fs::write(path("topics.json.bak.tmp"), &whole[..cut]).unwrap();
        let boot = load(dir.path(), &settings).unwrap();
        assert_eq!(topic(&boot, "GoldA").unwrap().read_queue_nums, 4);
    }
    write(dir.path(), TableFile::Topics, &whole).unwrap();
    assert_eq!(fs::read(path("topics.json.bak")).unwrap(), whole);
    assert!(!path("topics.json.tmp").exists() && !path("topics.json.bak.tmp").exists());
    // A crash just before the last rename: both names are of one file.
    fs::remove_file(path("topics.json.bak")).unwrap();
    fs::hard_link(path("topics.json"), path("topics.json.bak")).unwrap();
    write(dir.path(), TableFile::Topics, b"{}").unwrap();
    assert_eq!(fs::read(path("topics.json.bak")).unwrap(), whole);
    assert_eq!(fs::read(path("topics.json")).unwrap(), b"{}");
    assert!(!path("topics.json.bak.tmp").exists());
    write(dir.path(), TableFile::Topics, &whole).unwrap();
    write(dir.path(), TableFile::Topics, &whole).unwrap();
    // Java deletes the file before the rename: what it leaves there is read, too.
    fs::remove_file(path("topics.json")).unwrap();
    let boot = load(dir.path(), &settings).unwrap();
    assert_eq!(topic(&boot, "GoldA").unwrap().read_queue_nums, 4);
}

#[test]
fn upstream_9705_a_damaged_table_never_replaces_the_good_backup() {
    let settings = gold_settings();
    for damaged in [&b"{\"topicConfigTable\":{"[..], b"\0\0\0\0\0\0", b" \n", b""] {
        let dir = store_of("550");
        let path = dir.path().join("topics.json");
        let whole = fs::read(&path).unwrap();
        fs::write(backup(&path), &whole).unwrap();
        fs::write(&path, damaged).unwrap();
        let boot = load(dir.path(), &settings).unwrap();
        assert_eq!(topic(&boot, "GoldA").unwrap().read_queue_nums, 4, "from the backup");
        assert_eq!(fs::read(dir.path().join("topics.json.damaged")).unwrap(), damaged);
        // The first write of the new life, up to the moment before its rename.
        fs::create_dir(&path).unwrap();
        assert!(write(dir.path(), TableFile::Topics, b"{}").is_err());
        fs::remove_dir(&path).unwrap();
        assert_eq!(fs::read(backup(&path)).unwrap(), whole, "it stays until there is a better one");
        write(dir.path(), TableFile::Topics, &whole).unwrap();
        let boot = load(dir.path(), &settings).unwrap();
        assert_eq!(topic(&boot, "GoldA").unwrap().read_queue_nums, 4);
        assert_eq!(fs::read(backup(&path)).unwrap(), whole);
    }
}

#[test]
fn expressions_of_groups_are_written_as_java_writes_them() {
    let dir = store_of("550");
    let boot = load(dir.path(), &gold_settings()).unwrap();
    // Java keeps numbers of one list in one line; by value it is the same.
    let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    let written = filters_text(&boot.meta.filters);
    assert_eq!(value(&written), value(&golden("550", "consumerFilter.json")));
}
