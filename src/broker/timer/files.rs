//! The timer's files: `timerwheel`, `timerlog/`, `config/timercheck`. Read before the shards start, written by background jobs.
//!
//! They are made when the first message with a time of delivery comes. Order of a write: units, slots, then the checkpoint,
//! each on the disk before the next.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use store::layout::segment;
use store::layout::timer::{
    BLANK_BYTES, CHECK_BYTES, MAGIC_DELETE, MAGIC_ROLL, NOWHERE, SLOT_BYTES, TimerCheck,
    UNIT_BYTES, Unit, WHEEL_BYTES,
};
use store::timer::{TimerConfig, TimerIndex, TimerWrites, units};

/// Bytes of the timer log that are read at a time while a chain is followed.
const BLOCK_BYTES: u64 = 64 << 10;

/// What it means that units are gone. They may be those of messages that were delivered long ago, and are told of at each
/// start until their file is cleaned away.
const LOST: &str = "unless they were delivered, the messages of its units that are gone are lost, and those of the same \
                    times before them";

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
    /// What the main thread keeps.
    pub last: LastCheck,
}

/// The checkpoint of an orderly stop, on its way from the shard that has the timer to the main thread.
#[derive(Clone)]
pub struct LastCheck {
    check: Arc<OnceLock<TimerCheck>>,
    files: TimerFiles,
}

impl LastCheck {
    fn new(files: &TimerFiles) -> LastCheck {
        LastCheck { check: Arc::default(), files: files.clone() }
    }

    /// Hands it over, once; the units that it speaks of are on the disk.
    pub(crate) fn set(&self, check: TimerCheck) {
        let _ = self.check.set(check);
    }

    /// Writes it, if there is one. Called when all shards have ended with the whole store on the disk. Errors: those of the
    /// disk; the checkpoint before stays then, and what was delivered since comes again.
    pub fn write(&self) -> io::Result<()> {
        match self.check.get() {
            Some(check) => self.files.write(&TimerWrites::default(), Some(check)),
            None => Ok(()),
        }
    }
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

/// Makes bytes zeros. The file is never shorter in between: a start would take it for one of another size.
fn cut(path: &Path, from: u64, len: usize) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&vec![0; len], from)?;
    file.sync_all()
}

fn write_slots(file: &File, slots: &[(u64, [u8; SLOT_BYTES])]) -> io::Result<()> {
    slots.iter().try_for_each(|(slot, bytes)| file.write_all_at(bytes, slot * SLOT_BYTES as u64))
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

    /// Reads them. Errors: a file that cannot be read, or one that was made for another size or precision.
    pub(crate) fn load(&self, config: TimerConfig) -> Result<TimerBoot, String> {
        let wheel = read(&self.wheel())?;
        if !wheel.is_empty() && wheel.len() as u64 != WHEEL_BYTES {
            return Err(format!(
                "{}: {} bytes, a timer wheel has {WHEEL_BYTES}; move it away to make it again from the timer log",
                self.wheel().display(),
                wheel.len()
            ));
        }
        self.check_sizes()?;
        let check = TimerCheck::decode(&read(&self.check())?);
        let flushed = u64::try_from(check.log_flushed).unwrap_or(0);
        let from = match wheel.is_empty() {
            // It is made again, from all that is left of the log.
            true => 0,
            false => flushed.saturating_sub(self.file_bytes) / self.file_bytes * self.file_bytes,
        };
        let (found, end) = self.scan(from.max(self.first_base()), flushed)?;
        let mut index = TimerIndex::new(config, &wheel, end);
        let found = match index.forget_behind_end() {
            true => self.scan(self.first_base(), flushed)?.0,
            false => found,
        };
        if self.is_of_another_precision(&index, &found, (config.precision_ms, check.read_ms))? {
            index.clear();
        } else {
            for (place, unit) in &found {
                index.revise(*place, unit);
            }
        }
        let known = found.iter().filter(|(place, _)| *place >= flushed).map(|(_, unit)| unit.phy);
        Ok(TimerBoot { index, check, known: known.collect(), last: LastCheck::new(self) })
    }

    /// Errors: log files that were made for another `mappedFileSizeTimerLog`, by which units are found. Java refuses, too.
    /// One may be empty, as a process leaves it that is killed while it makes it, and the last one too short behind others that
    /// have their size: whoever writes to it gives it its own.
    fn check_sizes(&self) -> Result<(), String> {
        let bases = self.bases();
        let mut is_known = false;
        for base in &bases {
            let path = self.log(*base);
            let bytes = at(&path, std::fs::metadata(&path))?.len();
            let may_be_short = bytes == 0 || is_known && Some(base) == bases.last();
            if bytes != self.file_bytes && !(may_be_short && bytes < self.file_bytes) {
                return Err(format!(
                    "{}: {bytes} bytes, but mappedFileSizeTimerLog = {}; set that to what the files of the store have",
                    path.display(),
                    self.file_bytes
                ));
            }
            is_known |= bytes == self.file_bytes;
        }
        Ok(())
    }

    /// Whether the wheel was made with another `timerPrecisionMs`: then its numbers mean other times, and chains of units
    /// would have to be made anew. Errors: messages wait in it, so that it cannot be left behind.
    fn is_of_another_precision(
        &self,
        index: &TimerIndex,
        found: &[(u64, Unit)],
        (precision_ms, read_ms): (i64, i64),
    ) -> Result<bool, String> {
        let refused = |path: &Path, made_with: &str| {
            format!(
                "timerPrecisionMs = {precision_ms}, but messages wait in {}, which was made with {made_with}; set that \
                 until they are delivered",
                path.display()
            )
        };
        let mut waiting =
            found.iter().map(|(_, unit)| unit).filter(|unit| unit.slot_ms() >= read_ms);
        let Some((time, slot_ms)) = self.newest(index)? else {
            // Without a wheel it is made again for whatever has a slot at its own time. No slot has one that is cut short.
            let is_off =
                |unit: &Unit| unit.slot_ms() % precision_ms != 0 && unit.delay_ms < i32::MAX;
            return match waiting.any(is_off) {
                true => Err(refused(&self.root.join("timerlog"), "another one")),
                false => Ok(false),
            };
        };
        let other_ms = slot_ms / time;
        if time == slot_ms / precision_ms || other_ms < 1 || slot_ms % time != 0 {
            // The same, or damaged.
            return Ok(false);
        }
        let last_ms = index.last_time().unwrap_or(0).saturating_mul(other_ms);
        if last_ms >= read_ms || waiting.next().is_some() {
            return Err(refused(&self.wheel(), &other_ms.to_string()));
        }
        Ok(true)
    }

    /// The time of the slot that got a unit last, in the wheel, and that of its unit, ms. None when one of them is missing.
    fn newest(&self, index: &TimerIndex) -> Result<Option<(i64, i64)>, String> {
        let Some(slot) = index.newest() else { return Ok(None) };
        let Ok(place) = u64::try_from(slot.last) else { return Ok(None) };
        let unit = self.unit(&mut Block { base: 0, bytes: Vec::new() }, place);
        let unit = at(&self.root.join("timerlog"), unit)?;
        Ok(unit.map(|unit| (slot.time, unit.slot_ms())))
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

    /// The units from a file on, and where they end. What lies behind them is cut, and files there are removed, as by Java:
    /// nobody shall take it for units later.
    /// Before `flushed` there are units only: what is none there is damaged, and costs itself alone.
    fn scan(&self, from: u64, flushed: u64) -> Result<(Vec<(u64, Unit)>, u64), String> {
        let (mut found, mut base) = (Vec::new(), from);
        let last_base = self.bases().last().copied().unwrap_or(0);
        loop {
            let path = self.log(base);
            let bytes = read(&path)?;
            if bytes.is_empty() && (base >= last_base || base + self.file_bytes > flushed) {
                self.remove_behind(base)?;
                return Ok((found, base));
            }
            if bytes.is_empty() {
                tracing::warn!("{}: missing; {LOST}", path.display());
                base += self.file_bytes;
                continue;
            }
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            // Zeros that nothing follows are no units, whatever the checkpoint says.
            let used = if base < last_base { self.file_bytes } else { used as u64 };
            let whole = flushed.saturating_sub(base).min(used);
            let (end, is_full) = self.units_of(&path, &bytes, whole, |place, unit| {
                found.push((base + place as u64, unit));
            });
            if !is_full {
                let rest = bytes.get(end..).unwrap_or_default();
                if let Some(last) = rest.iter().rposition(|byte| *byte != 0) {
                    tracing::warn!("{}: cut at byte {end}, no unit is there", path.display());
                    at(&path, cut(&path, end as u64, last + 1))?;
                }
                self.remove_behind(base)?;
                return Ok((found, base + end as u64));
            }
            base += self.file_bytes;
        }
    }

    /// Removes the files behind the last one of the log.
    fn remove_behind(&self, last: u64) -> Result<(), String> {
        let behind: Vec<u64> = self.bases().into_iter().filter(|base| *base > last).collect();
        if behind.is_empty() {
            return Ok(());
        }
        for base in behind {
            let path = self.log(base);
            tracing::warn!("{}: removed, the timer log ends before it", path.display());
            at(&path, std::fs::remove_file(&path))?;
        }
        let dir = self.root.join("timerlog");
        at(&dir, File::open(&dir).and_then(|dir| dir.sync_all()))
    }

    /// The units of a file, of which `whole` bytes are known to have been written; what is damaged there is stepped over.
    /// Returns where they end, and whether the file is full.
    fn units_of(
        &self,
        path: &Path,
        bytes: &[u8],
        whole: u64,
        mut found: impl FnMut(usize, Unit),
    ) -> (usize, bool) {
        let (mut next, mut damaged) = (0, 0_u64);
        let (end, is_full) = loop {
            let (end, is_full) = units(bytes, next, &mut found);
            if is_full || end as u64 >= whole {
                break (end, is_full);
            }
            damaged += 1;
            if self.file_bytes.saturating_sub(end as u64) < (UNIT_BYTES + BLANK_BYTES) as u64 {
                // Only a blank can have been here.
                break (end, true);
            }
            next = end + UNIT_BYTES;
        };
        if damaged > 0 {
            tracing::warn!("{}: {damaged} damaged units; {LOST}", path.display());
        }
        (end, is_full)
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
        if !self.has_wheel()? && (check.is_some() || !writes.slots.is_empty()) {
            self.make_wheel(&writes.slots)?;
        } else if !writes.slots.is_empty() {
            write_slots(&self.open(&self.wheel(), WHEEL_BYTES)?, &writes.slots)?;
        }
        let Some(check) = check else { return Ok(()) };
        self.open(&self.wheel(), WHEEL_BYTES)?.sync_data()?;
        let file = self.open(&self.check(), CHECK_BYTES as u64)?;
        file.write_all_at(&check.encode(), 0)?;
        file.sync_data()
    }

    fn has_wheel(&self) -> io::Result<bool> {
        match std::fs::metadata(self.wheel()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            other => Ok(other?.len() > 0),
        }
    }

    /// The first wheel, or one that a start has made again from the log: these are all of its slots. A part of it would look
    /// whole to the next start, which then reads the end of the log only.
    fn make_wheel(&self, slots: &[(u64, [u8; SLOT_BYTES])]) -> io::Result<()> {
        std::fs::create_dir_all(&self.root)?;
        let path = self.root.join("timerwheel.tmp");
        let file = File::create(&path)?;
        file.set_len(WHEEL_BYTES)?;
        write_slots(&file, slots)?;
        file.sync_all()?;
        std::fs::rename(&path, self.wheel())?;
        File::open(&self.root)?.sync_all()
    }

    /// Opens a file, made with its full size when it is new. A shorter one gets it, too: its process was killed before that.
    fn open(&self, path: &Path, bytes: u64) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let dir = path.parent().expect("a file in the store");
        let file = match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(dir)?;
                options.create(true).truncate(false).open(path)?
            }
            other => other?,
        };
        if file.metadata()?.len() < bytes {
            file.set_len(bytes)?;
            file.sync_all()?;
            for dir in [dir, &self.root] {
                File::open(dir)?.sync_all()?;
            }
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
mod tests;
