//! The timer's files: `timerwheel`, `timerlog/`, `config/timercheck`. Read before the shards start, written by background jobs.
//!
//! They are made when the first message with a time of delivery comes. Order of a write: units, slots, then the checkpoint,
//! each on the disk before the next.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use store::layout::segment;
use store::layout::timer::{
    BLANK_BYTES, CHECK_BYTES, MAGIC_DELETE, MAGIC_ROLL, NOWHERE, SLOT_BYTES, TimerCheck,
    UNIT_BYTES, Unit, WHEEL_BYTES,
};
use store::timer::{TimerConfig, TimerIndex, TimerWrites, units};

/// Bytes of the timer log that are read at a time while a chain is followed.
const BLOCK_BYTES: u64 = 64 << 10;

/// Where they are.
#[derive(Clone, Debug)]
pub(crate) struct TimerFiles {
    root: PathBuf,
    file_bytes: u64,
}

/// What they hold at a start.
#[derive(Clone)]
pub struct TimerBoot {
    pub(crate) index: TimerIndex,
    pub(crate) check: TimerCheck,
    /// Places of messages whose units are behind what the checkpoint knows: they have one already.
    pub(crate) known: Vec<i64>,
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{}: {error}", path.display()))
}

/// The bytes of a file; none when it is missing.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => at(path, other),
    }
}

impl TimerFiles {
    /// The files of the store at `root`.
    pub(crate) fn new(root: &Path, config: &TimerConfig) -> TimerFiles {
        TimerFiles { root: root.to_path_buf(), file_bytes: config.file_bytes }
    }

    fn wheel(&self) -> PathBuf {
        self.root.join("timerwheel")
    }

    fn check(&self) -> PathBuf {
        self.root.join("config").join("timercheck")
    }

    fn log(&self, base: u64) -> PathBuf {
        self.root.join("timerlog").join(segment::name(base))
    }

    /// Reads them. Errors: a file that cannot be read, or a wheel that has another size.
    pub(crate) fn load(&self, config: TimerConfig) -> Result<TimerBoot, String> {
        let wheel = read(&self.wheel())?;
        if !wheel.is_empty() && wheel.len() as u64 != WHEEL_BYTES {
            return Err(format!(
                "{}: {} bytes, a timer wheel has {WHEEL_BYTES}; move it away to make it again from the timer log",
                self.wheel().display(),
                wheel.len()
            ));
        }
        let check = TimerCheck::decode(&read(&self.check())?);
        let flushed = u64::try_from(check.log_flushed).unwrap_or(0);
        let from = flushed.saturating_sub(self.file_bytes) / self.file_bytes * self.file_bytes;
        let (found, end) = self.scan(from.max(self.first_base()))?;
        let mut index = TimerIndex::new(config, &wheel, end);
        let found = if index.forget_behind_end() { self.scan(self.first_base())?.0 } else { found };
        for (place, unit) in &found {
            index.revise(*place, unit);
        }
        let known = found.iter().filter(|(place, _)| *place >= flushed).map(|(_, unit)| unit.phy);
        Ok(TimerBoot { index, check, known: known.collect() })
    }

    fn bases(&self) -> Vec<u64> {
        let dir = std::fs::read_dir(self.root.join("timerlog"));
        let names = dir.into_iter().flatten().flatten();
        let mut bases: Vec<u64> =
            names.filter_map(|entry| segment::parse_name(entry.file_name().to_str()?)).collect();
        bases.sort_unstable();
        bases
    }

    fn first_base(&self) -> u64 {
        self.bases().first().copied().unwrap_or(0)
    }

    /// Deletes the files, but for the last, whose messages have all left the log, which begins at `start`.
    pub(crate) fn clean(&self, start: i64) -> io::Result<()> {
        let mut bases = self.bases();
        bases.pop();
        // A blank follows where a unit and a blank do not fit any more.
        let unit_bytes = UNIT_BYTES as u64;
        let last_at = (self.file_bytes - unit_bytes - BLANK_BYTES as u64) / unit_bytes * unit_bytes;
        for base in bases {
            let path = self.log(base);
            let mut bytes = [0; UNIT_BYTES];
            File::open(&path)?.read_exact_at(&mut bytes, last_at)?;
            if Unit::decode(&bytes).is_none_or(|unit| unit.phy >= start) {
                return Ok(());
            }
            std::fs::remove_file(&path)?;
            tracing::info!("{}: removed, its messages have left the log", path.display());
        }
        Ok(())
    }

    /// The units from a file on, and where they end. What lies behind them is cut: nobody shall take it for units later.
    fn scan(&self, from: u64) -> Result<(Vec<(u64, Unit)>, u64), String> {
        let (mut found, mut base) = (Vec::new(), from);
        loop {
            let path = self.log(base);
            let bytes = read(&path)?;
            if bytes.is_empty() {
                return Ok((found, base));
            }
            let (end, is_full) =
                units(&bytes, 0, |place, unit| found.push((base + place as u64, unit)));
            if !is_full {
                if bytes.get(end..).unwrap_or_default().iter().any(|byte| *byte != 0) {
                    tracing::warn!("{}: cut at byte {end}, no unit is there", path.display());
                    at(&path, self.cut(&path, end as u64))?;
                }
                return Ok((found, base + end as u64));
            }
            base += self.file_bytes;
        }
    }

    fn cut(&self, path: &Path, end: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(end)?;
        file.set_len(self.file_bytes)?;
        file.sync_all()
    }

    /// Writes what was added; the checkpoint when `check` is there.
    pub(crate) fn write(&self, writes: &TimerWrites, check: Option<&TimerCheck>) -> io::Result<()> {
        let (mut position, mut rest) = (writes.position, writes.units.as_slice());
        while !rest.is_empty() {
            let within = position % self.file_bytes;
            let room = usize::try_from(self.file_bytes - within).unwrap_or(usize::MAX);
            let (part, others) = rest.split_at(room.min(rest.len()));
            let file = self.open(&self.log(position - within), self.file_bytes)?;
            file.write_all_at(part, within)?;
            // A later checkpoint speaks of them, whether or not it comes with units of its own.
            file.sync_data()?;
            position += part.len() as u64;
            rest = others;
        }
        if !writes.slots.is_empty() {
            let file = self.open(&self.wheel(), WHEEL_BYTES)?;
            for (slot, bytes) in &writes.slots {
                file.write_all_at(bytes, slot * SLOT_BYTES as u64)?;
            }
        }
        let Some(check) = check else { return Ok(()) };
        self.open(&self.wheel(), WHEEL_BYTES)?.sync_data()?;
        let file = self.open(&self.check(), CHECK_BYTES as u64)?;
        file.write_all_at(&check.encode(), 0)?;
        file.sync_data()
    }

    /// Opens a file, made with its full size when it is new.
    fn open(&self, path: &Path, bytes: u64) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let dir = path.parent().expect("a file in the store");
        std::fs::create_dir_all(dir)?;
        let file = options.create(true).truncate(false).open(path)?;
        file.set_len(bytes)?;
        file.sync_all()?;
        for dir in [dir, &self.root] {
            File::open(dir)?.sync_all()?;
        }
        Ok(file)
    }

    /// The units of a slot: first those that take messages back, then the others in the order in which they were added;
    /// `last` is the place of the last one. What is behind a unit that is gone, because its file was cleaned away, or
    /// damaged, is lost and said in the log. Errors: those of the disk.
    pub(crate) fn chain(&self, last: i64) -> io::Result<VecDeque<Unit>> {
        let mut block = Block { base: 0, bytes: Vec::new() };
        let (mut recalls, mut found, mut place) = (Vec::new(), Vec::new(), last);
        while place != NOWHERE {
            let unit = match u64::try_from(place) {
                Ok(position) => self.unit(&mut block, position)?,
                Err(_) => None,
            };
            let Some(unit) = unit.filter(|unit| unit.previous < place) else {
                tracing::error!(
                    "{}: no unit at byte {place}, where the wheel or a unit points to: {} units of its slot came after \
                     it and are delivered, those before it are lost",
                    self.root.join("timerlog").display(),
                    found.len()
                );
                break;
            };
            place = unit.previous;
            let is_recall = unit.magic & (MAGIC_DELETE | MAGIC_ROLL) == MAGIC_DELETE;
            if is_recall { &mut recalls } else { &mut found }.push(unit);
        }
        found.reverse();
        let mut units = VecDeque::from(found);
        for recall in recalls {
            units.push_front(recall);
        }
        Ok(units)
    }

    /// The unit at a position; `None` where there is none.
    fn unit(&self, block: &mut Block, position: u64) -> io::Result<Option<Unit>> {
        let end = position + UNIT_BYTES as u64;
        if position < block.base || end > block.base + block.bytes.len() as u64 {
            let file_base = position - position % self.file_bytes;
            // The units before it are likely to come next.
            let base = end.saturating_sub(BLOCK_BYTES).max(file_base);
            let len = usize::try_from(end - base).expect("a block");
            block.bytes.clear();
            let file = match File::open(self.log(file_base)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                other => other?,
            };
            let mut bytes = vec![0; len];
            match file.read_exact_at(&mut bytes, base - file_base) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                other => other?,
            }
            *block = Block { base, bytes };
        }
        let from = usize::try_from(position - block.base).expect("within a block");
        Ok(block.bytes.get(from..from + UNIT_BYTES).and_then(Unit::decode))
    }
}

struct Block {
    base: u64,
    bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::timer::Timed;

    #[test]
    fn chains_survive_a_start_and_a_lost_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let config =
            TimerConfig { precision_ms: 1000, roll_window_slots: 172_800, file_bytes: 8192 };
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
    #[test]
    fn what_was_cleaned_away_costs_neither_the_end_of_the_log_nor_the_other_units() {
        let dir = tempfile::tempdir().unwrap();
        let config =
            TimerConfig { precision_ms: 1000, roll_window_slots: 172_800, file_bytes: 8192 };
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
}
