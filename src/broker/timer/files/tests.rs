//! The timer's files: what a start finds after kills, power cuts, damage, and with other settings.

use super::*;
use store::timer::Timed;

#[test]
fn chains_survive_a_start_and_a_lost_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let config = TimerConfig { precision_ms: 1000, roll_window_slots: 172_800, file_bytes: 8192 };
    let files = TimerFiles::new(dir.path(), &config);
    let boot = files.load(config).unwrap();
    assert!(boot.index.is_empty() && boot.known.is_empty());
    let mut index = boot.index;
    let slot_ms = 1_795_244_348_000;
    for phy in 0..1000 {
        let message = Timed { slot_ms, is_recall: false, phy, size: 9, topic_hash: 0 };
        index.add(&message, 1_795_244_340_000);
    }
    let end = i64::try_from(index.end()).unwrap();
    let check = TimerCheck { log_flushed: end, queue_offset: 1000, ..TimerCheck::default() };
    files.write(&index.take_writes(), Some(&check)).unwrap();
    let message = Timed { slot_ms, is_recall: false, phy: 1000, size: 9, topic_hash: 0 };
    index.add(&message, 1_795_244_340_000);
    let mut writes = index.take_writes();
    // The process died before the wheel and the checkpoint were written.
    writes.slots.clear();
    files.write(&writes, None).unwrap();
    let boot = files.load(config).unwrap();
    assert_eq!(boot.check, check);
    assert_eq!(boot.known, [1000]);
    let chain = files.chain(boot.index.slot(slot_ms).unwrap().last).unwrap();
    assert!(chain.iter().map(|unit| unit.phy).eq(0..1001));
    std::fs::write(dir.path().join("timerwheel"), b"short").unwrap();
    let error = files.load(config).err().unwrap();
    assert!(error.contains("5 bytes, a timer wheel has 38707200"), "{error}");
}

fn fill(index: &mut TimerIndex, slot_ms: i64, phys: std::ops::Range<i64>) {
    for phy in phys {
        let message = Timed { slot_ms, is_recall: false, phy, size: 9, topic_hash: 0 };
        index.add(&message, slot_ms - 8000);
    }
}

/// Puts units of two slots into files of 157 units each, and says that all of them are on the disk.
fn two_slots(files: &TimerFiles, config: TimerConfig) -> [i64; 2] {
    let slots = [1_795_244_348_000, 1_795_244_349_000];
    let mut index = files.load(config).unwrap().index;
    fill(&mut index, slots[0], 0..10);
    fill(&mut index, slots[1], 10..1000);
    let end = i64::try_from(index.end()).unwrap();
    let check = TimerCheck { log_flushed: end, queue_offset: 1000, ..TimerCheck::default() };
    files.write(&index.take_writes(), Some(&check)).unwrap();
    slots
}

fn phys(files: &TimerFiles, index: &TimerIndex, slot_ms: i64) -> Vec<i64> {
    let Some(slot) = index.slot(slot_ms) else { return Vec::new() };
    files.chain(slot.last).unwrap().iter().map(|unit| unit.phy).collect()
}

#[test]
fn a_wheel_that_was_moved_away_is_made_again_from_the_whole_log() {
    let dir = tempfile::tempdir().unwrap();
    let config = TimerConfig { precision_ms: 1000, roll_window_slots: 172_800, file_bytes: 8192 };
    let files = TimerFiles::new(dir.path(), &config);
    let [first, second] = two_slots(&files, config);
    std::fs::remove_file(dir.path().join("timerwheel")).unwrap();
    let boot = files.load(config).unwrap();
    assert!(phys(&files, &boot.index, first).into_iter().eq(0..10));
    assert!(phys(&files, &boot.index, second).into_iter().eq(10..1000));
    assert!(boot.known.is_empty(), "the checkpoint knows them");
}

#[test]
fn damage_to_what_was_on_the_disk_costs_itself_alone_and_behind_that_everything() {
    let dir = tempfile::tempdir().unwrap();
    let config = TimerConfig { precision_ms: 1000, roll_window_slots: 172_800, file_bytes: 8192 };
    let files = TimerFiles::new(dir.path(), &config);
    let [first, second] = two_slots(&files, config);
    let damage = |base: u64, at: u64, bytes: &[u8]| {
        let file = OpenOptions::new().write(true).open(files.log(base)).unwrap();
        file.write_all_at(bytes, at).unwrap();
    };
    let last = 6 * 8192;
    let end = files.load(config).unwrap().index.end();
    // A unit in the last file, the blank of the file before it, and the checkpoint says less than is there.
    damage(last, 10 * 52, &[0xFF; 52]);
    damage(last - 8192, 157 * 52, &[0xFF; 16]);
    let mut index = files.load(config).unwrap().index;
    assert_eq!(index.end(), end, "units behind the damaged one are whole");
    assert!(phys(&files, &index, second).into_iter().eq(953..1000));
    fill(&mut index, first, 1000..1010);
    files.write(&index.take_writes(), None).unwrap();
    // Without the wheel: units before the damaged one are found, too.
    std::fs::remove_file(dir.path().join("timerwheel")).unwrap();
    let boot = files.load(config).unwrap();
    assert!(boot.known.iter().copied().eq(1000..1010));
    assert!(phys(&files, &boot.index, first).into_iter().eq((0..10).chain(1000..1010)));
    // Behind what the checkpoint knows a unit that is none is the end.
    damage(last, end - last + 5 * 52, &[0xFF; 52]);
    let boot = files.load(config).unwrap();
    assert_eq!(boot.index.end(), end + 5 * 52);
    assert!(boot.known.iter().copied().eq(1000..1005));
    let bytes = std::fs::read(files.log(last)).unwrap();
    let within = usize::try_from(boot.index.end() - last).unwrap();
    assert!(bytes.len() == 8192 && bytes[within..].iter().all(|byte| *byte == 0));
}

#[test]
fn another_precision_is_refused_while_messages_wait() {
    let dir = tempfile::tempdir().unwrap();
    let config = TimerConfig { precision_ms: 1000, roll_window_slots: 172_800, file_bytes: 8192 };
    let files = TimerFiles::new(dir.path(), &config);
    let [_, second] = two_slots(&files, config);
    for precision_ms in [1, 500, 4000] {
        let error = files.load(TimerConfig { precision_ms, ..config }).err().unwrap();
        assert!(error.contains(&format!("timerPrecisionMs = {precision_ms}, but")), "{error}");
        assert!(error.contains("made with 1000; set that until they"), "{error}");
    }
    // All are delivered: the old slots mean nothing any more.
    let mut check = files.load(config).unwrap().check;
    check.read_ms = second + 1000;
    files.write(&TimerWrites::default(), Some(&check)).unwrap();
    let config = TimerConfig { precision_ms: 500, ..config };
    let mut index = files.load(config).unwrap().index;
    assert!(index.is_empty());
    let (next, later) = (second + 8_500, second + 9_000);
    fill(&mut index, next, 1000..1010);
    fill(&mut index, later, 1010..1020);
    files.write(&index.take_writes(), None).unwrap();
    let mut index = files.load(config).unwrap().index;
    index.pass_before(check.read_ms);
    assert_eq!(index.count(), 20, "those that wait and no others");
    assert!(phys(&files, &index, next).into_iter().eq(1000..1010));
    assert!(phys(&files, &index, later).into_iter().eq(1010..1020));
}

#[test]
fn what_was_cleaned_away_costs_neither_the_end_of_the_log_nor_the_other_units() {
    let dir = tempfile::tempdir().unwrap();
    let config = TimerConfig { precision_ms: 1000, roll_window_slots: 172_800, file_bytes: 8192 };
    let files = TimerFiles::new(dir.path(), &config);
    let mut index = files.load(config).unwrap().index;
    let (first, second) = (1_795_244_348_000, 1_795_244_349_000);
    let add = |index: &mut TimerIndex, slot_ms, phy| {
        let is_recall = phy % 100 == 99;
        let message = Timed { slot_ms, is_recall, phy, size: 9, topic_hash: 0 };
        index.add(&message, 1_795_244_340_000);
    };
    (0..1000).for_each(|phy| add(&mut index, first, phy));
    let end = i64::try_from(index.end()).unwrap();
    let check = TimerCheck { log_flushed: end, queue_offset: 1000, ..TimerCheck::default() };
    files.write(&index.take_writes(), Some(&check)).unwrap();
    // 157 units fit a file; messages up to the last file's have left the log.
    files.clean(942).unwrap();
    assert_eq!(files.bases(), [6 * 8192]);
    let mut index = files.load(config).unwrap().index;
    assert_eq!(i64::try_from(index.end()).unwrap(), end, "the log goes on where it ended");
    let places = |index: &TimerIndex, slot_ms| -> Vec<i64> {
        let units = files.chain(index.slot(slot_ms).unwrap().last).unwrap();
        units.iter().map(|unit| unit.phy).collect()
    };
    let recall_first = [999].into_iter().chain(942..999);
    assert_eq!(places(&index, first), recall_first.collect::<Vec<i64>>());
    for phy in 1000..1010 {
        add(&mut index, second, phy);
    }
    files.write(&index.take_writes(), None).unwrap();
    let index = files.load(config).unwrap().index;
    assert_eq!(places(&index, second), (1000..1010).collect::<Vec<i64>>());
    // A damaged unit ends its slot, and nothing else.
    let path = files.log(6 * 8192);
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0xFF; 52], 10 * 52).unwrap();
    assert_eq!(places(&index, first)[..2], [999, 953]);
    assert_eq!(places(&index, second), (1000..1010).collect::<Vec<i64>>());
}

#[test]
fn files_that_a_crash_left_empty_get_their_size() {
    let dir = tempfile::tempdir().unwrap();
    let config = TimerConfig { precision_ms: 1000, roll_window_slots: 172_800, file_bytes: 8192 };
    let files = TimerFiles::new(dir.path(), &config);
    for path in [files.wheel(), files.check(), files.log(0)] {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(path).unwrap();
    }
    let mut index = files.load(config).unwrap().index;
    let slot_ms = 1_795_244_348_000;
    fill(&mut index, slot_ms, 0..10);
    files.write(&index.take_writes(), Some(&TimerCheck::default())).unwrap();
    let size = |path: PathBuf| std::fs::metadata(path).unwrap().len();
    assert_eq!(size(files.wheel()), WHEEL_BYTES);
    assert_eq!(size(files.check()), CHECK_BYTES as u64);
    assert_eq!(size(files.log(0)), 8192);
    let boot = files.load(config).unwrap();
    assert!(phys(&files, &boot.index, slot_ms).into_iter().eq(0..10));
}

#[test]
fn another_size_of_log_files_is_refused_and_what_a_crash_left_short_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let config = TimerConfig { precision_ms: 1000, roll_window_slots: 172_800, file_bytes: 8192 };
    let files = TimerFiles::new(dir.path(), &config);
    let [first, second] = two_slots(&files, config);
    for file_bytes in [4096, 16_384, 57_344] {
        let config = TimerConfig { file_bytes, ..config };
        let error = TimerFiles::new(dir.path(), &config).load(config).err().unwrap();
        let told = format!(
            "{}: 8192 bytes, but mappedFileSizeTimerLog = {file_bytes}",
            files.log(0).display()
        );
        assert!(error.starts_with(&told), "{error}");
    }
    // The last file is short, or empty: nothing else says that another size is meant.
    let (end, last) = (files.load(config).unwrap().index.end(), 6 * 8192);
    let file = OpenOptions::new().write(true).open(files.log(last)).unwrap();
    for short in [end - last, 0] {
        file.set_len(short).unwrap();
        let mut index = files.load(config).unwrap().index;
        assert_eq!(index.end(), last + short);
        fill(&mut index, first, 1000..1010);
        files.write(&index.take_writes(), None).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 8192, "it has its size again");
        let index = files.load(config).unwrap().index;
        let found = phys(&files, &index, first);
        assert!(found.into_iter().eq((0..10).chain(1000..1010)));
        file.set_len(0).unwrap();
    }
    assert!(phys(&files, &files.load(config).unwrap().index, second).len() > 900);
}

#[test]
fn what_is_cut_keeps_the_size_of_its_file_all_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    std::fs::write(&path, [7; 100]).unwrap();
    // The last byte is a mark: it would be gone had the file been shorter for a moment.
    cut(&path, 60, 39).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes, [&[7; 60][..], &[0; 39], &[7]].concat());
}

#[test]
fn a_coarser_precision_is_refused_also_when_the_wheel_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let config = TimerConfig { precision_ms: 1000, roll_window_slots: 172_800, file_bytes: 8192 };
    let files = TimerFiles::new(dir.path(), &config);
    let [first, second] = two_slots(&files, config);
    std::fs::remove_file(dir.path().join("timerwheel")).unwrap();
    let coarse = TimerConfig { precision_ms: 4000, ..config };
    let error = files.load(coarse).err().unwrap();
    assert!(error.contains("timerPrecisionMs = 4000, but messages wait in"), "{error}");
    assert!(error.contains("timerlog"), "{error}");
    // A finer one has a slot for each of their times.
    let fine = TimerConfig { precision_ms: 500, ..config };
    let index = files.load(fine).unwrap().index;
    assert!(phys(&files, &index, first).into_iter().eq(0..10));
    assert!(phys(&files, &index, second).into_iter().eq(10..1000));
    // Those that have other times are delivered.
    let mut check = TimerCheck::decode(&std::fs::read(files.check()).unwrap());
    check.read_ms = second + 1000;
    std::fs::write(files.check(), check.encode()).unwrap();
    assert!(files.load(coarse).is_ok());
}

#[test]
fn files_behind_the_end_of_the_log_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let config = TimerConfig { precision_ms: 1000, roll_window_slots: 172_800, file_bytes: 8192 };
    let files = TimerFiles::new(dir.path(), &config);
    let [_, second] = two_slots(&files, config);
    // The checkpoint knows ten units of the third file, and the eleventh is none.
    let check = TimerCheck { log_flushed: 2 * 8192 + 520, ..TimerCheck::default() };
    files.write(&TimerWrites::default(), Some(&check)).unwrap();
    let file = OpenOptions::new().write(true).open(files.log(2 * 8192)).unwrap();
    file.write_all_at(&[0xFF; 52], 520).unwrap();
    let mut index = files.load(config).unwrap().index;
    assert_eq!(index.end(), 2 * 8192 + 520);
    assert_eq!(files.bases(), [0, 8192, 2 * 8192], "what is behind it never counts again");
    // The file gets full again.
    let left = phys(&files, &index, second);
    assert!(left.iter().copied().eq(10..324));
    fill(&mut index, second, 2000..2147);
    files.write(&index.take_writes(), None).unwrap();
    let index = files.load(config).unwrap().index;
    assert_eq!(phys(&files, &index, second), [left, (2000..2147).collect()].concat());
    assert_eq!(index.end(), 3 * 8192 - 28);
}

#[test]
fn a_wheel_that_is_made_again_is_there_as_a_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let config = TimerConfig { precision_ms: 1000, roll_window_slots: 172_800, file_bytes: 8192 };
    let files = TimerFiles::new(dir.path(), &config);
    let [first, second] = two_slots(&files, config);
    std::fs::remove_file(files.wheel()).unwrap();
    let mut index = files.load(config).unwrap().index;
    // As far as a process comes that is killed while it writes it.
    let fresh = dir.path().join("timerwheel.tmp");
    std::fs::create_dir(&fresh).unwrap();
    let writes = index.take_writes();
    assert!(files.write(&writes, None).is_err(), "it is not made in its place");
    let mut boot = files.load(config).unwrap();
    assert!(phys(&files, &boot.index, first).into_iter().eq(0..10));
    assert!(phys(&files, &boot.index, second).into_iter().eq(10..1000));
    // What an earlier process left of one does not come into the next.
    std::fs::remove_dir(&fresh).unwrap();
    std::fs::write(&fresh, vec![0x11; usize::try_from(WHEEL_BYTES).unwrap() + 7]).unwrap();
    files.write(&boot.index.take_writes(), Some(&boot.check)).unwrap();
    assert!(!fresh.exists());
    let index = files.load(config).unwrap().index;
    assert_eq!(index.count(), 1000);
    assert!(phys(&files, &index, first).into_iter().eq(0..10));
}

#[test]
fn a_log_file_that_is_missing_among_others_costs_its_own_units() {
    let dir = tempfile::tempdir().unwrap();
    let config = TimerConfig { precision_ms: 1000, roll_window_slots: 172_800, file_bytes: 8192 };
    let files = TimerFiles::new(dir.path(), &config);
    let [first, second] = two_slots(&files, config);
    let end = files.load(config).unwrap().index.end();
    std::fs::remove_file(files.log(2 * 8192)).unwrap();
    std::fs::remove_file(files.wheel()).unwrap();
    let index = files.load(config).unwrap().index;
    assert_eq!(index.end(), end);
    assert!(phys(&files, &index, first).into_iter().eq(0..10));
    assert!(phys(&files, &index, second).into_iter().eq(471..1000));
    assert_eq!(index.count(), 1000 - 157);
}
