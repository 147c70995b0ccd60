//! The JSON tables below `<store>/config`: read before the start, written by background jobs, in Java's dialect.
//!
//! `topics.json`, `subscriptionGroup.json`, `consumerOffset.json`, `delayOffset.json` of both Java lines; a file that is missing, empty or
//! damaged is read from its `.bak`, as Java does, and kept as `.damaged`. A write keeps the old text as `.bak` and replaces the file at once.
//! Java counterparts: ConfigManager and its subclasses.

use crate::app::BootTables;
use crate::filter_table::FilterFile;
use crate::groups;
use crate::handlers::meta::MetaBoot;
use crate::handlers::meta::topic_rules::{self, AUTO_CREATE_TOPIC};
use crate::settings::Settings;
use crate::topics::PERM_INHERIT;
use base::time::{MonoNs, WallMs};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shard::store_dir::replace_file;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::queues::QUEUE_ID_MAX;
use wire::body::broker::{
    ConsumerOffsetWrapper, DelayOffsetWrapper, SubscriptionGroupConfig, SubscriptionGroupWrapper,
};
use wire::body::register::{TopicConfig, TopicConfigSerializeWrapper};
use wire::body::{DataVersion, Table};

/// Largest table file.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Pause after a write that failed.
const RETRY_MS: u64 = 2000;

/// One of the files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TableFile {
    /// Topics.
    Topics,
    /// Consumer groups.
    Groups,
    /// Consumer offsets.
    Offsets,
    /// How far each delay level is.
    Delays,
    /// Expressions of groups.
    Filters,
}

impl TableFile {
    /// All of them.
    pub(crate) const ALL: [TableFile; 5] = [
        TableFile::Topics,
        TableFile::Groups,
        TableFile::Offsets,
        TableFile::Delays,
        TableFile::Filters,
    ];

    /// Name below `config/`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            TableFile::Topics => "topics.json",
            TableFile::Groups => "subscriptionGroup.json",
            TableFile::Offsets => "consumerOffset.json",
            TableFile::Delays => "delayOffset.json",
            TableFile::Filters => "consumerFilter.json",
        }
    }

    /// The file of this name.
    pub(crate) fn from_name(name: &str) -> Option<TableFile> {
        TableFile::ALL.into_iter().find(|file| file.name() == name)
    }
}

// ---- what is dirty ----

#[derive(Clone, Copy, Default)]
struct FileState {
    is_dirty: bool,
    is_writing: bool,
    is_failing: bool,
    /// Not before this.
    due: MonoNs,
    /// Changes so far, those that are in the write in flight or the last one, and those that are in the file.
    changes: u64,
    begun: u64,
    written: u64,
}

/// Which tables have to be written. One write per table at a time; what changes meanwhile goes into the next one.
#[derive(Default)]
pub(crate) struct Writes {
    states: [FileState; 5],
}

impl Writes {
    fn state(&mut self, file: TableFile) -> &mut FileState {
        match file {
            TableFile::Topics => &mut self.states[0],
            TableFile::Groups => &mut self.states[1],
            TableFile::Offsets => &mut self.states[2],
            TableFile::Delays => &mut self.states[3],
            TableFile::Filters => &mut self.states[4],
        }
    }

    /// A table has changed and is to be written at `due` or later.
    pub(crate) fn touch(&mut self, file: TableFile, due: MonoNs) {
        let state = self.state(file);
        state.changes += 1;
        if !state.is_dirty {
            state.is_dirty = true;
            state.due = if state.is_failing { state.due.max(due) } else { due };
        }
    }

    /// The changes of a table so far.
    pub(crate) fn changes(&mut self, file: TableFile) -> u64 {
        self.state(file).changes
    }

    /// Whether so many changes of a table are in its file.
    pub(crate) fn has_written(&mut self, file: TableFile, changes: u64) -> bool {
        self.state(file).written >= changes
    }

    /// Nothing waits any longer, except for a write in flight.
    pub(crate) fn hurry(&mut self) {
        for state in &mut self.states {
            state.due = MonoNs(0);
        }
    }

    /// Tables whose write begins now.
    pub(crate) fn begin(&mut self, now: MonoNs) -> Vec<TableFile> {
        let mut list = Vec::new();
        for file in TableFile::ALL {
            let state = self.state(file);
            if state.is_dirty && !state.is_writing && state.due <= now {
                state.is_dirty = false;
                state.is_writing = true;
                state.begun = state.changes;
                list.push(file);
            }
        }
        list
    }

    /// A write has ended; a failed one is tried again.
    pub(crate) fn end(&mut self, file: TableFile, result: &io::Result<()>, now: MonoNs) {
        let state = self.state(file);
        state.is_writing = false;
        match result {
            Ok(()) => {
                state.written = state.begun;
                if state.is_failing {
                    tracing::info!("table {}: written again", file.name());
                }
                state.is_failing = false;
            }
            Err(error) => {
                if !state.is_failing {
                    tracing::error!(
                        "table {}: cannot be written: {error}; changes would be lost at a restart, trying again",
                        file.name()
                    );
                }
                state.is_failing = true;
                state.is_dirty = true;
                state.due = now.plus_ms(RETRY_MS);
            }
        }
    }

    /// When the next write is due.
    pub(crate) fn next_due(&self) -> Option<MonoNs> {
        let waiting = self.states.iter().filter(|state| state.is_dirty && !state.is_writing);
        waiting.map(|state| state.due).min()
    }

    /// Whether everything is in the files.
    pub(crate) fn is_settled(&self) -> bool {
        self.states.iter().all(|state| !state.is_dirty && !state.is_writing)
    }
}

/// The version after a change.
pub(crate) fn next_version(version: &mut DataVersion, now: WallMs) {
    // As Java's counter does; a file may hold any number.
    version.counter = version.counter.wrapping_add(1);
    version.timestamp = now.0;
    version.state_version.get_or_insert(0);
}

/// A version that was not read from a file begins now.
pub(crate) fn begin_version(version: &mut DataVersion, now: WallMs) {
    if version.timestamp == 0 {
        version.timestamp = now.0;
    }
    version.state_version.get_or_insert(0);
}

// ---- the whole table of offsets ----

/// Offsets of one `topic@group`, by queue.
pub(crate) type QueueOffsets = Arc<BTreeMap<i32, i64>>;

/// Every consumer offset of the broker, as the metadata shard writes it.
pub(crate) struct OffsetTable {
    by_key: HashMap<Arc<[u8]>, QueueOffsets>,
    pub(crate) version: DataVersion,
}

impl OffsetTable {
    /// An empty table.
    pub(crate) fn new(version: DataVersion) -> OffsetTable {
        OffsetTable { by_key: HashMap::new(), version }
    }

    /// Takes one offset.
    pub(crate) fn set(&mut self, key: Arc<[u8]>, queue: i32, offset: i64) {
        let queues = self.by_key.entry(key).or_default();
        Arc::make_mut(queues).insert(queue, offset);
    }

    /// Forgets a topic or a group: keys the test holds for; whether there were some.
    pub(crate) fn remove(&mut self, is_gone: impl Fn(&[u8]) -> bool) -> bool {
        let before = self.by_key.len();
        self.by_key.retain(|key, _| !is_gone(key));
        self.by_key.len() < before
    }

    /// Groups with offsets of a topic.
    pub(crate) fn groups_of(&self, topic: &str) -> impl Iterator<Item = String> {
        self.by_key.keys().filter_map(move |key| {
            let (of, group) = split_key(key)?;
            (of == topic.as_bytes()).then(|| String::from_utf8_lossy(group).into_owned())
        })
    }

    /// Topics a group has offsets of.
    pub(crate) fn topics_of(&self, group: &[u8]) -> impl Iterator<Item = String> {
        self.by_key.keys().filter_map(move |key| {
            let (topic, of) = split_key(key)?;
            (of == group).then(|| String::from_utf8_lossy(topic).into_owned())
        })
    }

    /// Every group and topic with offsets.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (String, String)> {
        self.by_key.keys().filter_map(|key| {
            let (topic, group) = split_key(key)?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Some((text(group), text(topic)))
        })
    }

    /// Queues and offsets of a group in a topic.
    pub(crate) fn queues_of(
        &self,
        topic: &[u8],
        group: &[u8],
    ) -> Option<impl Iterator<Item = (i32, i64)> + use<>> {
        let queues = self.by_key.get([topic, b"@", group].concat().as_slice())?;
        let list: Vec<(i32, i64)> = queues.iter().map(|(queue, at)| (*queue, *at)).collect();
        Some(list.into_iter())
    }

    /// What a job writes; cheap to take.
    pub(crate) fn snapshot(&self) -> Vec<(Arc<[u8]>, QueueOffsets)> {
        let pair =
            |(key, queues): (&Arc<[u8]>, &QueueOffsets)| (Arc::clone(key), Arc::clone(queues));
        self.by_key.iter().map(pair).collect()
    }
}

/// Topic and group of a key; neither holds an `@`.
pub(crate) fn split_key(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = key.iter().position(|&byte| byte == b'@')?;
    Some((key.get(..at)?, key.get(at + 1..)?))
}

// ---- texts ----

/// Text of `topics.json`.
pub(crate) fn topics_text(version: DataVersion, topics: &[Arc<TopicConfig>]) -> Vec<u8> {
    let table = topics.iter().map(|config| (config.topic_name.clone(), (**config).clone()));
    pretty(&TopicConfigSerializeWrapper {
        data_version: version,
        topic_config_table: table.collect(),
        ..TopicConfigSerializeWrapper::default()
    })
}

/// Text of `subscriptionGroup.json`.
pub(crate) fn groups_text(
    version: DataVersion,
    forbidden: &Table<Table<i32>>,
    groups: &[Arc<SubscriptionGroupConfig>],
) -> Vec<u8> {
    let table = groups.iter().map(|config| (config.group_name.clone(), (**config).clone()));
    pretty(&SubscriptionGroupWrapper {
        data_version: version,
        forbidden_table: Some(forbidden.clone()),
        subscription_group_table: table.collect(),
    })
}

/// Text of `consumerOffset.json`.
pub(crate) fn offsets_text(version: DataVersion, offsets: &[(Arc<[u8]>, QueueOffsets)]) -> Vec<u8> {
    let mut table: Vec<_> = offsets
        .iter()
        .map(|(key, queues)| (String::from_utf8_lossy(key).into_owned(), (**queues).clone()))
        .collect();
    table.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    pretty(&ConsumerOffsetWrapper {
        data_version: Some(version),
        offset_table: Table(table),
        ..ConsumerOffsetWrapper::default()
    })
}

/// Text of `delayOffset.json`.
pub(crate) fn delays_text(delays: &DelayOffsetWrapper) -> Vec<u8> {
    pretty(delays)
}

/// Text of `consumerFilter.json`.
pub(crate) fn filters_text(filters: &FilterFile) -> Vec<u8> {
    pretty(filters)
}

/// fastjson's pretty form: tabs, no blank behind the colon.
fn pretty<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Pretty::default());
    value.serialize(&mut serializer).expect("a vector takes every byte, and tables are plain data");
    out
}

#[derive(Default)]
struct Pretty {
    depth: usize,
    has_value: bool,
    quote: Quote,
}

/// fastjson leaves the quotes of a key away that is a number: whether one comes is known after its quote.
#[derive(Default, PartialEq, Eq)]
enum Quote {
    #[default]
    None,
    /// To be written in front of whatever text comes.
    Waiting,
    Written,
}

impl Pretty {
    fn line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b"\t"))
    }

    fn open<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.has_value = false;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.has_value {
            self.line(writer)?;
        }
        writer.write_all(bracket)
    }

    fn text_comes<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.quote == Quote::Waiting {
            self.quote = Quote::Written;
            writer.write_all(b"\"")?;
        }
        Ok(())
    }

    fn item<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        self.line(writer)
    }
}

impl serde_json::ser::Formatter for Pretty {
    fn begin_string<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.quote = Quote::Waiting;
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        self.text_comes(writer)?;
        writer.write_all(fragment.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: serde_json::ser::CharEscape,
    ) -> io::Result<()> {
        self.text_comes(writer)?;
        serde_json::ser::CompactFormatter.write_char_escape(writer, escape)
    }

    fn write_i32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: i32) -> io::Result<()> {
        if self.quote == Quote::Waiting {
            self.quote = Quote::None;
        }
        write!(writer, "{value}")
    }

    fn end_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match std::mem::take(&mut self.quote) {
            Quote::None => Ok(()),
            Quote::Waiting => writer.write_all(b"\"\""),
            Quote::Written => writer.write_all(b"\""),
        }
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.item(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.item(writer, first)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }
}

/// Writes a table: the old file becomes `.bak`, then another takes its place. On a background thread.
pub(crate) fn write(dir: &Path, file: TableFile, text: &[u8]) -> io::Result<()> {
    let path = dir.join(file.name());
    match std::fs::metadata(&path) {
        Ok(old) if old.len() > 0 => keep(&path)?,
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::create_dir_all(dir)?,
        Err(error) => return Err(error),
    }
    replace_file(&path, text)
}

/// Makes a file its own `.bak`: the same bytes under a second name, which the directory's next sync makes durable.
/// Where a file has one name only (FAT, some network file systems) they are copied.
fn keep(path: &Path) -> io::Result<()> {
    let backup = backup(path);
    let mut name = backup.clone().into_os_string();
    name.push(".tmp");
    let second = PathBuf::from(name);
    // Of a write that was cut short.
    remove_if_there(&second)?;
    if std::fs::hard_link(path, &second).is_err() {
        return replace_file(&backup, &std::fs::read(path)?);
    }
    std::fs::rename(&second, &backup)?;
    // When both names are of one file already, renaming leaves them.
    remove_if_there(&second)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn backup(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".bak");
    PathBuf::from(name)
}

// ---- reading at the start ----

/// Reads the tables of a store and adds what every broker has.
///
/// Errors: a file and its `.bak` that cannot be read, or a value beyond a limit, with path, field and value.
pub fn load(config_dir: &Path, settings: &Settings) -> Result<BootTables, String> {
    let topics: TopicConfigSerializeWrapper = read(&config_dir.join(TableFile::Topics.name()))?;
    let groups: SubscriptionGroupWrapper = read(&config_dir.join(TableFile::Groups.name()))?;
    let offsets: ConsumerOffsetWrapper = read(&config_dir.join(TableFile::Offsets.name()))?;
    let delays: DelayOffsetWrapper = read(&config_dir.join(TableFile::Delays.name()))?;
    Ok(BootTables {
        timer: crate::timer::load(settings)?,
        offsets: boot_offsets(&offsets),
        meta: MetaBoot {
            recovery: (0, shard::store_dir::Recovered::default()),
            topics_version: topics.data_version,
            topics: boot_topics(topics.topic_config_table, settings)
                .map_err(|problem| at(config_dir, TableFile::Topics, &problem))?,
            groups_version: groups.data_version,
            forbidden: groups.forbidden_table.unwrap_or_default(),
            groups: boot_groups(groups.subscription_group_table)
                .map_err(|problem| at(config_dir, TableFile::Groups, &problem))?,
            filters: read(&config_dir.join(TableFile::Filters.name()))?,
            offsets_version: offsets.data_version.unwrap_or_default(),
            delays: boot_delays(delays),
            config_dir: config_dir.to_path_buf(),
            ..MetaBoot::default()
        },
    })
}

fn at(dir: &Path, file: TableFile, problem: &str) -> String {
    format!("{}: {problem}", dir.join(file.name()).display())
}

fn read<T: DeserializeOwned + Default>(path: &Path) -> Result<T, String> {
    let backup = backup(path);
    let problem = match read_one(path) {
        Ok(Some(table)) => return Ok(table),
        Ok(None) => format!("{}: missing or empty", path.display()),
        Err(problem) => {
            tracing::error!("{problem}; reading {} instead", backup.display());
            problem
        }
    };
    match read_one(&backup).map_err(|of_backup| format!("{problem}; {of_backup}"))? {
        Some(table) => {
            tracing::warn!("{}: missing or damaged, its .bak was read", path.display());
            set_damaged_aside(path)?;
            Ok(table)
        }
        None if path.exists() && std::fs::metadata(path).is_ok_and(|file| file.len() > 0) => {
            Err(format!(
                "{}: damaged, and there is no .bak; move it away to start without it",
                path.display()
            ))
        }
        None => Ok(T::default()),
    }
}

/// Moves a damaged file away: the next write would make it the `.bak`, in the place of the only good text.
fn set_damaged_aside(path: &Path) -> Result<(), String> {
    let mut kept = path.as_os_str().to_os_string();
    kept.push(".damaged");
    match std::fs::rename(path, &kept) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("{}: it is damaged and cannot be moved away: {error}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// `None`: missing or empty.
fn read_one<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let bad = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    match std::fs::metadata(path) {
        Ok(found) if found.len() > FILE_BYTES_MAX => {
            let bytes = found.len();
            return Err(bad(&format!("{bytes} bytes, the limit is {FILE_BYTES_MAX}")));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(bad(&error)),
    }
    let bytes = std::fs::read(path).map_err(|error| bad(&error))?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    wire::json::from_slice(&bytes).map(Some).map_err(|error| bad(&error))
}

/// The built-in topics, replaced and joined by those of the file.
fn boot_topics(
    file: Table<TopicConfig>,
    settings: &Settings,
) -> Result<Vec<Arc<TopicConfig>>, String> {
    let mut topics: BTreeMap<String, TopicConfig> =
        topic_rules::built_in(settings).into_iter().map(|t| (t.topic_name.clone(), t)).collect();
    for (name, mut config) in file.0 {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(format!("topic name {name:?} cannot be a directory"));
        }
        for (field, queues) in
            [("readQueueNums", config.read_queue_nums), ("writeQueueNums", config.write_queue_nums)]
        {
            if !(0..=QUEUE_ID_MAX).contains(&queues) {
                return Err(format!(
                    "topic {name}: {field} is {queues}, allowed is 0 to {QUEUE_ID_MAX}"
                ));
            }
        }
        config.topic_name.clone_from(&name);
        config.attributes.get_or_insert_default();
        topics.insert(name, config);
    }
    if !settings.config.auto_create_topic_enable
        && let Some(parent) = topics.get_mut(AUTO_CREATE_TOPIC)
    {
        parent.perm &= !PERM_INHERIT;
    }
    Ok(topics.into_values().map(Arc::new).collect())
}

fn boot_groups(
    file: Table<SubscriptionGroupConfig>,
) -> Result<Vec<Arc<SubscriptionGroupConfig>>, String> {
    let mut groups: BTreeMap<String, SubscriptionGroupConfig> =
        groups::preset().map(|group| (group.group_name.clone(), group)).collect();
    for (name, mut config) in file.0 {
        if name.is_empty() || name.contains('@') {
            return Err(format!("group name {name:?} cannot be part of an offset's key"));
        }
        config.group_name.clone_from(&name);
        groups.insert(name, config.with_5x_defaults());
    }
    Ok(groups.into_values().map(Arc::new).collect())
}

fn boot_offsets(file: &ConsumerOffsetWrapper) -> Vec<(Arc<[u8]>, i32, i64)> {
    let mut list = Vec::new();
    for (key, queues) in &file.offset_table.0 {
        let is_key = split_key(key.as_bytes()).is_some_and(|(t, g)| !t.is_empty() && !g.is_empty());
        if !is_key {
            tracing::warn!("consumerOffset.json: {key:?} is not topic@group and is left out");
            continue;
        }
        let key: Arc<[u8]> = Arc::from(key.as_bytes());
        for (&queue, &offset) in queues {
            if !(0..=QUEUE_ID_MAX).contains(&queue) || offset < 0 {
                tracing::warn!(
                    "consumerOffset.json: queue {queue} offset {offset} of {} is left out",
                    String::from_utf8_lossy(&key)
                );
                continue;
            }
            list.push((Arc::clone(&key), queue, offset));
        }
    }
    list
}

/// Levels that can be, at offsets that can be.
fn boot_delays(mut delays: DelayOffsetWrapper) -> DelayOffsetWrapper {
    delays.data_version.get_or_insert_default();
    delays.offset_table.retain(|level, offset| {
        let is_sound = (1..=QUEUE_ID_MAX).contains(level) && *offset >= 0;
        if !is_sound {
            tracing::warn!("delayOffset.json: level {level} offset {offset} is left out");
        }
        is_sound
    });
    delays
}

#[cfg(test)]
mod tests;
