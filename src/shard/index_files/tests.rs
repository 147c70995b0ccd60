//! Index files beside Java's, and what deaths of process and machine leave of them.

use super::*;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::io::Read;
use std::path::Path;
use store::index::IndexKeys;
use store::layout::index::{key_hash, topic_hash};
use wire::ids::QueueId;
use wire::java_hash::java_string_hash;

const ANY_TIME: (i64, i64) = (0, i64::MAX);

/// Bytes of a file and where they lie.
type Pieces = Vec<(u64, Vec<u8>)>;

/// A store of `tests/golden/index`.
struct Golden {
    name: String,
    json: Value,
}

impl Golden {
    fn all() -> Vec<Golden> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/index");
        let mut stores = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "gz") {
                let mut text = String::new();
                GzDecoder::new(File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
                let name = path.file_name().unwrap().to_str().unwrap().to_string();
                stores.push(Golden { name, json: serde_json::from_str(&text).unwrap() });
            }
        }
        assert!(stores.len() > 15);
        stores
    }

    fn is(&self, key: &str) -> bool {
        self.json[key].as_bool().unwrap()
    }

    fn number(&self, key: &str) -> i64 {
        self.json[key].as_i64().unwrap()
    }

    fn limits(&self) -> IndexLimits {
        let number = |key| u32::try_from(self.number(key)).unwrap();
        IndexLimits { slots: number("slots"), items: number("items") }
    }

    /// Name, size, and pieces that are not zero.
    fn files(&self) -> Vec<(String, u64, Pieces)> {
        let piece = |part: &Value| {
            let hex = part[1].as_str().unwrap().as_bytes();
            let byte =
                |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            (part[0].as_u64().unwrap(), hex.chunks(2).map(byte).collect())
        };
        let files = self.json["files"].as_object().unwrap();
        let mut list: Vec<_> = files
            .iter()
            .map(|(name, file)| {
                let parts = file["parts"].as_array().unwrap().iter().map(piece).collect();
                (name.clone(), file["size"].as_u64().unwrap(), parts)
            })
            .collect();
        list.sort();
        list
    }

    fn write(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        for (name, size, parts) in self.files() {
            let file = File::create(dir.join(name)).unwrap();
            file.set_len(size).unwrap();
            for (at, bytes) in parts {
                file.write_all_at(&bytes, at).unwrap();
            }
        }
    }

    /// The entries of each message.
    fn entries(&self) -> Vec<Vec<IndexEntry>> {
        let messages = self.json["messages"].as_array().unwrap().iter();
        let entries = messages.map(|message| {
            let text = |at: usize| message[at].as_str().unwrap().as_bytes();
            let mut keys = IndexKeys::of(text(4));
            if !self.is("v5") {
                keys.tags = b"";
            }
            let phy = PhyOffset(message[0].as_u64().unwrap());
            let timestamp = message[1].as_i64().unwrap();
            let sys_flag = i32::try_from(message[2].as_i64().unwrap()).unwrap();
            let mut list = Vec::new();
            if store::index::is_indexed(sys_flag) {
                let push = |hash| list.push(IndexEntry { hash, phy, timestamp });
                keys.hashes(topic_hash(text(3)), push);
            }
            list
        });
        entries.collect()
    }

    fn keys(&self) -> Vec<(String, Vec<u64>)> {
        let maps = ["index", "tagIndex"].map(|map| self.json[map].as_object().unwrap());
        let places = |list: &Value| -> Vec<u64> {
            list.as_array().unwrap().iter().map(|phy| phy.as_u64().unwrap()).collect()
        };
        maps.iter().flat_map(|map| map.iter()).map(|(k, v)| (k.clone(), places(v))).collect()
    }
}

fn place(root: &Path, limits: IndexLimits) -> IndexPlace {
    let (dir, cut_dir) = (root.join("index"), root.join("cut"));
    IndexPlace { dir, cut_dir, stream: StreamId(0), limits }
}

fn open(root: &Path, limits: IndexLimits, trust: Trust) -> StreamIndex {
    StreamIndex::open(place(root, limits), trust, 1 << 40).unwrap()
}

fn find(index: &StreamIndex, key: &str, (begin, end): (i64, i64)) -> Vec<u64> {
    let hash = key_hash(java_string_hash(key));
    let query = IndexQuery { hash, begin, end, count_max: 64 };
    index.search(&query).places.iter().map(|phy| phy.0).collect()
}

/// Contents of the files in order.
fn contents(root: &Path) -> Vec<Vec<u8>> {
    let mut names: Vec<_> =
        fs::read_dir(root.join("index")).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    names.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn every_key_of_a_java_store_is_found_where_java_finds_it() {
    for golden in Golden::all().iter().filter(|golden| golden.is("clean")) {
        let root = tempfile::tempdir().unwrap();
        golden.write(&root.path().join("index"));
        let index = open(root.path(), golden.limits(), Trust::All);
        for (key, places) in golden.keys() {
            assert_eq!(find(&index, &key, ANY_TIME), places, "{}: {key}", golden.name);
        }
        let last = index.header().unwrap();
        let headers = golden.json["headers"].as_array().unwrap();
        assert_eq!(last.end_phy, headers.last().unwrap()["endPhyOffset"].as_i64().unwrap());
    }
}

#[test]
fn our_files_have_javas_bytes() {
    for golden in Golden::all().iter().filter(|golden| golden.is("clean")) {
        let root = tempfile::tempdir().unwrap();
        let mut index = open(root.path(), golden.limits(), Trust::All);
        for entries in golden.entries() {
            index.append(&entries).unwrap();
        }
        let names = index.sealed.iter().map(|file| &file.name);
        let names: Vec<&String> = names.chain(index.newest.iter().map(|file| &file.name)).collect();
        assert!(names.is_sorted() && names.len() == golden.files().len(), "{names:?}");
        for (name, (_, size, parts)) in names.iter().zip(golden.files()) {
            let file = File::open(root.path().join("index").join(name)).unwrap();
            assert_eq!(file.metadata().unwrap().len(), size);
            for (at, expected) in parts {
                let mut bytes = vec![0; expected.len()];
                file.read_exact_at(&mut bytes, at).unwrap();
                assert!(bytes == expected, "{} {name} from byte {at}", golden.name);
            }
        }
    }
}

#[test]
fn what_java_loses_when_it_is_killed_is_found_again() {
    let mut lost = 0;
    for golden in Golden::all().iter().filter(|golden| !golden.is("clean")) {
        let root = tempfile::tempdir().unwrap();
        golden.write(&root.path().join("index"));
        let trust = Trust::Until(golden.number("indexTimestamp"));
        let mut index = open(root.path(), golden.limits(), trust);
        let entries = golden.entries();
        entries.iter().for_each(|entries| index.append(entries).unwrap());
        for (key, places) in golden.keys() {
            let found = find(&index, &key, ANY_TIME);
            lost += usize::from(places.is_empty() && !found.is_empty());
            let missing = places.iter().find(|phy| !found.contains(phy));
            assert!(missing.is_none() || found.len() == 64, "{}: {key}", golden.name);
            assert!(!found.is_empty(), "{}: {key}", golden.name);
        }
    }
    assert!(lost > 700, "{lost} keys that Java did not find");
}

#[test]
fn a_new_file_counts_its_first_item_from_where_the_file_before_ended() {
    let files = undisturbed(&records(14));
    let item = |number| {
        let at = SMALL.item_at(number);
        IndexItem::decode(&files[1][at..at + 20].try_into().unwrap())
    };
    assert_eq!((item(1).seconds, item(2).seconds), (1, 0), "as Java's do");
    assert_eq!((item(1).phy, item(2).phy), (1300, 1300));
}

const SMALL: IndexLimits = IndexLimits { slots: 7, items: 40 };

/// Three entries per record, records 100 bytes and a second apart.
fn records(count: u64) -> Vec<Vec<IndexEntry>> {
    let record = |at: u64| {
        let timestamp = 1_000_000 + i64::try_from(at).unwrap() * 1000;
        let phy = PhyOffset(at * 100);
        let keys = [format!("T#u{at}"), format!("T#k{}", at % 5), "T#T#A".to_string()];
        let entry =
            |key: String| IndexEntry { hash: key_hash(java_string_hash(&key)), phy, timestamp };
        keys.map(entry).to_vec()
    };
    (0..count).map(record).collect()
}

fn append_all(index: &mut StreamIndex, records: &[Vec<IndexEntry>]) {
    records.iter().for_each(|entries| index.append(entries).unwrap());
}

/// What the files hold when nothing happens in between.
fn undisturbed(records: &[Vec<IndexEntry>]) -> Vec<Vec<u8>> {
    let root = tempfile::tempdir().unwrap();
    append_all(&mut open(root.path(), SMALL, Trust::All), records);
    contents(root.path())
}

#[test]
fn a_killed_process_is_continued_wherever_it_was() {
    let records = records(40);
    let expected = undisturbed(&records);
    assert_eq!(expected.len(), 4, "13 records fill a file");
    let entries: Vec<IndexEntry> = records.concat();
    for stop in 0..entries.len() {
        let root = tempfile::tempdir().unwrap();
        let mut index = open(root.path(), SMALL, Trust::Written);
        index.append(&entries[..stop]).unwrap();
        let header = index.newest.as_ref().map(|file| (file.name.clone(), file.header));
        // The process dies after the slot and before the header.
        let rolls = index.newest.as_ref().is_none_or(OpenFile::is_full);
        index.append(&entries[stop..=stop]).unwrap();
        drop(index);
        if let Some((name, header)) = header.filter(|_| !rolls) {
            let path = root.path().join("index").join(name);
            let file = File::options().write(true).open(path).unwrap();
            file.write_all_at(&header.encode(), 0).unwrap();
        }
        let mut index = open(root.path(), SMALL, Trust::All);
        append_all(&mut index, &records);
        assert!(contents(root.path()) == expected, "killed at entry {stop}");
        // Whoever begins with the last record knows it, too.
        let last = index.last_phy().unwrap();
        let again: Vec<_> =
            records.iter().filter(|r| r[0].phy.to_wire() >= last).cloned().collect();
        append_all(&mut index, &again);
        assert!(contents(root.path()) == expected, "again at entry {stop}");
    }
}

#[test]
fn after_a_power_cut_only_synced_items_count() {
    let records = records(40);
    let expected = undisturbed(&records);
    for synced in 0..40u64 {
        for garbage in [0, 1, 2] {
            let root = tempfile::tempdir().unwrap();
            let mut index = open(root.path(), SMALL, Trust::All);
            append_all(&mut index, &records);
            drop(index);
            damage_unsynced(&root.path().join("index"), synced * 100, garbage);
            let mut index = open(root.path(), SMALL, Trust::Below(synced * 100));
            let last = index.last_phy().map(|phy| phy.unsigned_abs());
            assert_eq!(last, synced.checked_sub(1).map(|at| at * 100), "{garbage}");
            append_all(&mut index, &records);
            assert!(contents(root.path()) == expected, "synced {synced}, garbage {garbage}");
        }
    }
}

/// What a power cut may leave: items of records below `synced` and headers of files with such; later items, and slots of
/// the newest of those files, in any state.
fn damage_unsynced(dir: &Path, synced: u64, garbage: u8) {
    let limit = PhyOffset(synced).to_wire();
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let mut is_newest = true;
    for path in paths.iter().rev() {
        let mut bytes = fs::read(path).unwrap();
        let mut kept = 0;
        for item in bytes[SMALL.item_at(1)..].chunks_exact_mut(20) {
            let read = IndexItem::decode(&<[u8; 20]>::try_from(&*item).unwrap());
            if read.phy >= limit || read.hash == 0 {
                item.fill(garbage * 0x7F);
            } else {
                kept += 1;
            }
        }
        if is_newest {
            bytes[SMALL.slot_at(0)..SMALL.item_at(0)].fill(garbage);
        }
        is_newest &= kept == 0;
        if kept == 0 {
            bytes[..40].fill(0);
        }
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn files_end_with_the_log() {
    let records = records(40);
    let root = tempfile::tempdir().unwrap();
    append_all(&mut open(root.path(), SMALL, Trust::All), &records);
    let mut index = StreamIndex::open(place(root.path(), SMALL), Trust::All, 1500).unwrap();
    assert_eq!(index.last_phy(), Some(1400));
    append_all(&mut index, &records);
    assert!(contents(root.path()) == undisturbed(&records));
}

#[test]
fn files_that_cannot_be_right_are_kept_aside_and_made_again() {
    let records = records(40);
    let expected = undisturbed(&records);
    let damages: [fn(&Path); 4] = [
        |file| File::options().write(true).open(file).unwrap().set_len(100).unwrap(),
        |file| fs::write(file, vec![0xFF; SMALL.file_bytes()]).unwrap(),
        |file| fs::write(file, b"").unwrap(),
        |file| fs::rename(file, file.with_file_name("2026")).unwrap(),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let root = tempfile::tempdir().unwrap();
        append_all(&mut open(root.path(), SMALL, Trust::All), &records);
        let mut names: Vec<_> =
            fs::read_dir(root.path().join("index")).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        damage(&names[if number == 3 { 3 } else { 2 }]);
        let mut index = open(root.path(), SMALL, Trust::All);
        assert!(fs::read_dir(root.path().join("cut")).unwrap().count() > 0, "{number}");
        append_all(&mut index, &records);
        assert!(contents(root.path()) == expected, "{number}");
    }
}

#[test]
fn another_size_in_the_configuration_makes_the_index_anew() {
    let records = records(40);
    let root = tempfile::tempdir().unwrap();
    append_all(&mut open(root.path(), SMALL, Trust::All), &records);
    let other = IndexLimits { slots: 50, items: 300 };
    let mut index = open(root.path(), other, Trust::All);
    assert_eq!(index.last_phy(), None);
    append_all(&mut index, &records);
    assert_eq!(find(&index, "T#u7", ANY_TIME), [700]);
}

#[test]
fn times_limit_what_is_found() {
    let root = tempfile::tempdir().unwrap();
    let mut index = open(root.path(), SMALL, Trust::All);
    append_all(&mut index, &records(40));
    let at = |number: i64| 1_000_000 + number * 1000;
    assert_eq!(find(&index, "T#T#A", (at(30), at(33))), [3300, 3200, 3100, 3000]);
    assert_eq!(find(&index, "T#T#A", (at(2), at(4))), [400, 300, 200]);
    assert!(find(&index, "T#T#A", (at(40), i64::MAX)).is_empty());
    assert_eq!(find(&index, "T#T#A", ANY_TIME).len(), 40);
    assert_eq!(find(&index, "T#k3", (at(0), at(20))), [1800, 1300, 800, 300]);
    let two = IndexQuery {
        hash: key_hash(java_string_hash("T#T#A")),
        begin: 0,
        end: i64::MAX,
        count_max: 2,
    };
    let hits = index.search(&two);
    assert_eq!(hits.places, [PhyOffset(3900), PhyOffset(3800)]);
    assert_eq!((hits.last_timestamp, hits.last_phy), (at(39), 3900));
}

#[test]
fn a_damaged_file_does_not_make_a_query_run_in_circles() {
    let root = tempfile::tempdir().unwrap();
    let mut index = open(root.path(), SMALL, Trust::All);
    append_all(&mut index, &records(10));
    let name = index.newest.as_ref().unwrap().name.clone();
    drop(index);
    let file = File::options().write(true).open(root.path().join("index").join(name)).unwrap();
    for number in 1..=30 {
        file.write_all_at(&30u32.to_be_bytes(), SMALL.item_at(number) as u64 + 16).unwrap();
    }
    assert!(find(&open(root.path(), SMALL, Trust::All), "T#T#A", ANY_TIME).len() < 30);
}

#[test]
fn old_files_go_and_the_newest_stays() {
    let root = tempfile::tempdir().unwrap();
    let mut index = open(root.path(), SMALL, Trust::All);
    append_all(&mut index, &records(40));
    assert_eq!(index.remove_below(1200).unwrap(), 0);
    assert_eq!(index.remove_below(2600).unwrap(), 2);
    assert_eq!(contents(root.path()).len(), 2);
    assert_eq!(index.remove_below(1 << 30).unwrap(), 1);
    assert_eq!(find(&index, "T#u39", ANY_TIME), [3900]);
    assert!(find(&index, "T#u1", ANY_TIME).is_empty());
}

#[test]
fn a_checkpoint_says_what_was_synced() {
    let root = tempfile::tempdir().unwrap();
    let mut index = open(root.path(), SMALL, Trust::All);
    let given = |indexed| Checkpoint { indexed: Some(indexed), ..Checkpoint::default() };
    let records = records(40);
    append_all(&mut index, &records[..3]);
    let mut first = given(300);
    index.seal(&mut first, false);
    assert_eq!((first.indexed, first.index_end), (None, 0), "the sync has only begun");
    append_all(&mut index, &records[3..]);
    let mut second = given(4000);
    index.sync.as_ref().inspect(|sync| while !sync.thread.is_finished() {});
    index.seal(&mut second, false);
    assert_eq!((second.indexed, second.index_end), (Some(300), 201));
    assert_eq!(second.index_timestamp, 0, "the full files are not synced");
    let mut last = given(4000);
    index.seal(&mut last, true);
    assert_eq!((last.indexed, last.index_end), (Some(4000), 3901));
    assert_eq!(last.index_timestamp, index.sealed[2].header.end_timestamp);
    // Without a change there is nothing to sync.
    let mut later = given(9000);
    index.seal(&mut later, false);
    assert_eq!((later.indexed, later.index_end), (Some(9000), 3901));
}

#[test]
fn a_part_of_the_log_that_cannot_be_read_is_tried_again_after_longer_and_longer_pauses() {
    const SEGMENT: u64 = 64 << 10;
    let root = tempfile::tempdir().unwrap();
    let paths = StorePaths::for_test(root.path(), root.path(), 200);
    let mut indexes = ShardIndex::new(vec![open(root.path(), SMALL, Trust::All)]);
    let log = root.path().join("commitlog").join("00000000000000065536");
    // Whoever reads it gets an error.
    fs::create_dir_all(&log).unwrap();
    let mut read = |ms: u64| {
        let part = (StreamId(0), SEGMENT, SEGMENT + 4096);
        indexes.append_log(&paths, part, MonoNs(0).plus_ms(ms))
    };
    let mut failed_at = 0;
    for pause in [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
        assert_eq!(read(failed_at), None);
        fs::rename(&log, root.path().join("away")).unwrap();
        fs::write(&log, vec![0; 65536]).unwrap();
        assert_eq!(read(failed_at + pause - 1), None, "not before {pause} ms have passed");
        fs::remove_file(&log).unwrap();
        fs::rename(root.path().join("away"), &log).unwrap();
        failed_at += pause;
    }
    fs::remove_dir(&log).unwrap();
    let message = crate::crash::machine::message(b"T", QueueId(0), b"body", b"KEYS\x01k\x02");
    let mut bytes = vec![0; message.encoded_len()];
    let place = wire::message::Place {
        queue_offset: wire::ids::QueueOffset(0),
        phy_offset: PhyOffset::new(StreamId(0), SEGMENT),
        store_timestamp: base::time::WallMs(9),
    };
    message.encode(&mut bytes, place);
    let end = SEGMENT + bytes.len() as u64;
    bytes.resize(65536, 0);
    fs::write(&log, bytes).unwrap();
    assert_eq!(read(failed_at), Some(end));
    assert_eq!(find(&indexes.streams[0], "T#k", ANY_TIME), [SEGMENT]);
}
