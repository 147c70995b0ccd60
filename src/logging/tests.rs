//! What stands in the files after lines were logged.

use super::*;
use std::fs;
use std::sync::Mutex;
use std::time::Duration;
use tracing::Level;
use tracing::subscriber::with_default;

/// Collects lines; the first one may be held up.
#[derive(Clone, Default)]
struct Memory {
    lines: Arc<Mutex<Vec<String>>>,
    hold: Option<Duration>,
    /// How long each takes.
    each: Duration,
}

impl Sink for Memory {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if let Some(hold) = self.hold.take() {
            std::thread::sleep(hold);
        }
        std::thread::sleep(self.each);
        self.lines.lock().unwrap().push(String::from_utf8(line.to_vec()).unwrap());
        Ok(())
    }

    fn flush_lines(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(style: Style, own_store_log: bool, log: impl FnOnce()) -> (Vec<String>, Vec<String>) {
    let (first, second) = (Memory::default(), Memory::default());
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(first.clone()), Box::new(second.clone())];
    let (guard, queue) = start_writer(sinks, 16, FILE_PATIENCE).unwrap();
    let layer = LineLayer { queue, style, own_store_log, console: None };
    with_default(tracing_subscriber::registry().with(layer), log);
    drop(guard);
    let lines = |memory: Memory| std::mem::take(&mut *memory.lines.lock().unwrap());
    (lines(first), lines(second))
}

#[test]
fn lines_have_the_pattern_of_java() {
    let java = |zone_minutes| Style::Java { zone_minutes };
    let head = |style, s| line::head(style, Level::INFO, "main", s);
    assert_eq!(head(java(480), 0), "1970-01-01 08:00:00 INFO main - ");
    assert_eq!(head(java(0), 951_782_399), "2000-02-28 23:59:59 INFO main - ");
    assert_eq!(head(java(0), 951_782_400), "2000-02-29 00:00:00 INFO main - ");
    assert_eq!(head(java(-60), 1_795_244_339), "2026-11-21 05:58:59 INFO main - ");
    assert_eq!(head(java(0), 4_107_542_400), "2100-03-01 00:00:00 INFO main - ");
    assert_eq!(head(Style::Short, 0), "");
}

#[test]
fn progress_is_shown_beside_the_log() {
    let log = Memory::default();
    let (guard, queue) = start_writer(vec![Box::new(log.clone())], 16, FILE_PATIENCE).unwrap();
    let shown = Arc::new(Mutex::new(Vec::new()));
    let console: Console = {
        let shown = Arc::clone(&shown);
        Box::new(move |line| shown.lock().unwrap().push(line.to_owned()))
    };
    let style = Style::Java { zone_minutes: 0 };
    let layer = LineLayer { queue, style, own_store_log: false, console: Some(console) };
    with_default(tracing_subscriber::registry().with(layer), || {
        tracing::info!("recovery begins");
        tracing::info!(target: "progress", "stream {}: 7 of 90 MiB", 0);
    });
    drop(guard);
    assert_eq!(*shown.lock().unwrap(), ["stream 0: 7 of 90 MiB"]);
    let lines = log.lines.lock().unwrap();
    assert!(lines.len() == 2 && lines[1].ends_with(" - stream 0: 7 of 90 MiB\n"), "{lines:?}");
}

#[test]
fn fields_follow_the_message_and_control_characters_are_escaped() {
    let (lines, _) = logged(Style::Short, false, || {
        tracing::info!(group = "a\nb", count = 3, "hello {}", "x\u{1b}[2J");
        tracing::warn!("second");
    });
    assert_eq!(lines, ["hello x\\u{1b}[2J group=a\\nb count=3\n", "WARN: second\n"]);
}

#[test]
fn the_store_has_its_own_log() {
    let log = || {
        tracing::info!(target: "store::flush", "s");
        tracing::info!(target: "storehouse", "b");
    };
    let (broker, store) = logged(Style::Short, true, log);
    assert_eq!((broker, store), (vec!["b\n".to_owned()], vec!["s\n".to_owned()]));
    let (all, none) = logged(Style::Short, false, log);
    assert_eq!((all.len(), none.len()), (2, 0));
}

#[test]
fn lines_that_find_the_queue_full_are_counted() {
    let memory = Memory { hold: Some(Duration::from_millis(300)), ..Memory::default() };
    let (guard, queue) = start_writer(vec![Box::new(memory.clone())], 2, FILE_PATIENCE).unwrap();
    for number in 0..50 {
        queue.put(0, format!("{number}\n"));
    }
    drop(guard);
    let lines = memory.lines.lock().unwrap();
    let written = lines.len() - 1;
    assert!(written < 50 && lines[0] == "0\n", "{lines:?}");
    let expected = format!("{} log lines were lost", 50 - written);
    assert!(lines.last().unwrap().starts_with(&expected), "{lines:?}");
}

#[test]
fn a_stop_leaves_a_sink_behind_that_takes_nothing_and_waits_for_a_slow_one() {
    let patience = Duration::from_millis(400);
    for lines in [1, 50] {
        let hold = Some(Duration::from_secs(60));
        let memory = Memory { hold, ..Memory::default() };
        let (guard, queue) = start_writer(vec![Box::new(memory)], 2, patience).unwrap();
        (0..lines).for_each(|number| queue.put(0, format!("{number}\n")));
        let began = Instant::now();
        drop(guard);
        assert!((patience..Duration::from_secs(10)).contains(&began.elapsed()), "{lines} lines");
    }
    let slow = Memory { each: Duration::from_millis(100), ..Memory::default() };
    let (guard, queue) = start_writer(vec![Box::new(slow.clone())], 16, patience).unwrap();
    (0..10).for_each(|number| queue.put(0, format!("{number}\n")));
    drop(guard);
    assert_eq!(slow.lines.lock().unwrap().len(), 10, "each in time, all of them not");
}

#[test]
fn files_are_rolled_by_size_and_the_oldest_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let mut file = RolledFile::open(directory.path(), "broker", 10, 2).unwrap();
        for number in 0..3 {
            file.write_line(format!("line {round}{number}\n").as_bytes()).unwrap();
        }
        file.flush_lines().unwrap();
    }
    let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    assert_eq!(read("broker.log"), "line 12\n");
    assert_eq!(read("otherdays/broker.1.log"), "line 11\n");
    assert_eq!(read("otherdays/broker.2.log"), "line 10\n");
    assert_eq!(fs::read_dir(directory.path().join("otherdays")).unwrap().count(), 2);
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(to_files("broker", &file.join("logs"), 0).is_err());
}
