//! Configuration rows: what a key is, what it may hold, what this program does with it; and the values by row.
//!
//! Owner of the promise that no key is silently dropped: a value is taken, refused with its place, or answered by a
//! notice. Java's counterpart converts by reflection and swallows every error, so each check here also says what Java
//! would have done. Key tables live in the `config` crate; nothing here performs I/O.

mod suggest;

use crate::props::{Encoding, Entry, Properties};
use std::fmt;

/// What a value may be. Bounds are inclusive.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number, at most 32 bits in Java.
    I32 {
        /// Smallest value.
        min: i32,
        /// Largest value.
        max: i32,
    },
    /// A whole number, at most 64 bits.
    I64 {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// A byte count with an optional suffix K, M or G (powers of 1024). Only for keys that Java does not know.
    Bytes {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// A decimal number.
    F64,
    /// Any text, trimmed.
    Text,
    /// One of these words, letter by letter.
    Choice(&'static [&'static str]),
}

/// What this program does with a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Treatment {
    /// It has the effect it has in Java.
    Honoured,
    /// It is taken and reported, and has no effect here.
    Accepted {
        /// Why nothing here needs it.
        why: &'static str,
    },
    /// Any value but the default stops the start: ignoring it would betray the operator.
    Refused {
        /// What would go wrong.
        why: &'static str,
    },
    /// It is taken and reported, and has no effect yet.
    Planned,
}

/// Who knows the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Since {
    /// Java 4.9 and 5.x.
    Both,
    /// Java 4.9 only.
    Java4,
    /// Java 5.x only.
    Java5,
    /// Only this program.
    Own,
}

/// One key. Made by [`Row::new`] and the methods after it, in tables.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Row {
    /// Java's name of it.
    pub key: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// Unit of the value, empty when it has none.
    pub unit: &'static str,
    /// Text of the default; `${name}` stands for a [`Facts`] value.
    pub default: &'static str,
    /// Whether an honoured key takes effect while the process runs.
    pub reloadable: bool,
    /// Whether the short listing (`-m`) shows it.
    pub important: bool,
    /// Whether listings hide the value.
    pub secret: bool,
    /// Who knows it.
    pub since: Since,
    /// What is done with it.
    pub treatment: Treatment,
    /// What it means, without a full stop.
    pub doc: &'static str,
}

impl Row {
    /// A key known to both Java lines that has no effect yet.
    pub const fn new(
        key: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Row {
        Row {
            key,
            kind,
            unit: "",
            default,
            reloadable: false,
            important: false,
            secret: false,
            since: Since::Both,
            treatment: Treatment::Planned,
            doc,
        }
    }

    /// The same row with a unit.
    pub const fn unit(mut self, unit: &'static str) -> Row {
        self.unit = unit;
        self
    }

    /// The same row, bounded. Only for whole numbers and byte counts; for 32 bits the bounds must fit.
    pub const fn between(mut self, min: i64, max: i64) -> Row {
        self.kind = match self.kind {
            Kind::I32 { .. } => {
                assert!(min >= i32::MIN as i64 && max <= i32::MAX as i64);
                #[expect(clippy::cast_possible_truncation, reason = "asserted just above")]
                Kind::I32 { min: min as i32, max: max as i32 }
            }
            Kind::I64 { .. } => Kind::I64 { min, max },
            Kind::Bytes { .. } => Kind::Bytes { min, max },
            Kind::Bool | Kind::F64 | Kind::Text | Kind::Choice(_) => {
                panic!("only numbers have bounds")
            }
        };
        self
    }

    /// The same row, with effect.
    pub const fn honoured(mut self) -> Row {
        self.treatment = Treatment::Honoured;
        self
    }

    /// The same row, with effect also while the process runs.
    pub const fn live(mut self) -> Row {
        self.reloadable = true;
        self.honoured()
    }

    /// The same row, for good without effect.
    pub const fn accepted(mut self, why: &'static str) -> Row {
        self.treatment = Treatment::Accepted { why };
        self
    }

    /// The same row, refused when it differs from the default.
    pub const fn refused(mut self, why: &'static str) -> Row {
        self.treatment = Treatment::Refused { why };
        self
    }

    /// The same row, in the short listing.
    pub const fn important(mut self) -> Row {
        self.important = true;
        self
    }

    /// The same row, hidden in listings.
    pub const fn secret(mut self) -> Row {
        self.secret = true;
        self
    }

    /// The same row, for those who know it.
    pub const fn since(mut self, since: Since) -> Row {
        self.since = since;
        self
    }

    fn parse(&self, text: &str) -> Result<Value, Problem> {
        match self.kind {
            Kind::Bool if text.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            Kind::Bool if text.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            Kind::Bool => Err(Problem::Format("neither true nor false".to_owned())),
            Kind::I32 { .. } | Kind::I64 { .. } => match text.parse::<i64>() {
                Ok(number) => self.check_bounds(number),
                Err(_) => Err(Problem::Format("not a whole number".to_owned())),
            },
            Kind::Bytes { .. } => match parse_bytes(text) {
                Some(number) => self.check_bounds(number),
                None => {
                    Err(Problem::Format("not a byte count (digits, then K, M or G)".to_owned()))
                }
            },
            Kind::F64 => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::Float(number)),
                Ok(_) | Err(_) => Err(Problem::Format("not a number".to_owned())),
            },
            Kind::Text => Ok(Value::Text(text.to_owned())),
            Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Kind::Choice(words) => Err(Problem::Format(format!("not one of {}", words.join(", ")))),
        }
    }

    fn check_bounds(&self, number: i64) -> Result<Value, Problem> {
        let (min, max) = self.bounds().expect("called for numbers only");
        if number < min || number > max {
            return Err(Problem::Range);
        }
        Ok(Value::Int(number))
    }

    fn bounds(&self) -> Option<(i64, i64)> {
        match self.kind {
            Kind::I32 { min, max } => Some((min.into(), max.into())),
            Kind::I64 { min, max } | Kind::Bytes { min, max } => Some((min, max)),
            Kind::Bool | Kind::F64 | Kind::Text | Kind::Choice(_) => None,
        }
    }

    /// Unit and bounds in words (`hours, 1..`), empty when there are none to speak of.
    pub fn range_text(&self) -> String {
        let mut parts = Vec::new();
        if !self.unit.is_empty() {
            parts.push(self.unit.to_owned());
        }
        if let Some((min, max)) = self.bounds() {
            let (widest_min, widest_max) = match self.kind {
                Kind::I32 { .. } => (i64::from(i32::MIN), i64::from(i32::MAX)),
                Kind::I64 { .. }
                | Kind::Bytes { .. }
                | Kind::Bool
                | Kind::F64
                | Kind::Text
                | Kind::Choice(_) => (i64::MIN, i64::MAX),
            };
            match (min == widest_min, max == widest_max) {
                (true, true) => {}
                (false, true) => parts.push(format!("{min}..")),
                (true, false) => parts.push(format!("..={max}")),
                (false, false) => parts.push(format!("{min}..={max}")),
            }
        }
        parts.join(", ")
    }
}

/// Digits with an optional K, M or G; `None` for anything else or more than 63 bits.
fn parse_bytes(text: &str) -> Option<i64> {
    let (digits, factor) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (text.get(..at)?, 1i64 << 10),
        (at, 'm' | 'M') => (text.get(..at)?, 1 << 20),
        (at, 'g' | 'G') => (text.get(..at)?, 1 << 30),
        _ => (text, 1),
    };
    digits.trim_end().parse::<i64>().ok()?.checked_mul(factor)
}

enum Problem {
    Format(String),
    Range,
}

/// Rows under one heading of the reference file.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The heading.
    pub title: &'static str,
    /// The rows in the order of listings.
    pub rows: &'static [Row],
}

/// All keys of one process.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// What the process is called in messages (`broker`).
    pub process: &'static str,
    /// Every key once.
    pub groups: &'static [Group],
    /// Names that circulate without ever having worked, and what to say about them.
    pub misnamed: &'static [(&'static str, &'static str)],
}

impl Table {
    /// All rows in listing order.
    pub fn rows(&self) -> impl Iterator<Item = &'static Row> + use<> {
        self.groups.iter().flat_map(|group| group.rows)
    }

    fn find(&self, key: &str) -> Option<usize> {
        self.rows().position(|row| row.key == key)
    }

    /// The row of a key, if there is one.
    pub fn row(&self, key: &str) -> Option<&'static Row> {
        self.rows().find(|row| row.key == key)
    }

    /// What to tell somebody who wrote a key that does not exist.
    pub fn hint(&self, key: &str) -> String {
        if let Some((_, hint)) = self.misnamed.iter().find(|(name, _)| *name == key) {
            return format!("; {hint}");
        }
        match suggest::nearest(key, self.rows().map(|row| row.key)) {
            Some(name) => format!("; did you mean {name}?"),
            None => String::new(),
        }
    }
}

/// What the defaults depend on: name and value, collected by whoever may look at the machine.
#[derive(Clone, Debug, Default)]
pub struct Facts(pub Vec<(&'static str, String)>);

impl Facts {
    /// Replaces each `${name}`. A fact that nobody collected is a bug.
    fn expand(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, tail) = after.split_once('}').expect("defaults close their braces");
            let fact = self.0.iter().find(|(known, _)| *known == name);
            out.push_str(before);
            out.push_str(&fact.expect("every fact used by a default is collected").1);
            rest = tail;
        }
        out.push_str(rest);
        out
    }
}

/// A parsed value. Choices are text.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of the whole numbers and byte counts.
    Int(i64),
    /// Of [`Kind::F64`].
    Float(f64),
    /// Of [`Kind::Text`] and [`Kind::Choice`].
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            // Java writes a whole double with its point, and so does the debug form.
            Value::Float(value) => write!(f, "{value:?}"),
            Value::Text(value) => f.write_str(value),
        }
    }
}

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The table.
    Default,
    /// A line of a file.
    File {
        /// Name of the file, as the operator gave it.
        name: String,
        /// From 1.
        line: u32,
    },
    /// An option of the command line, or a rule of the subcommand.
    CommandLine,
    /// A request while the process runs.
    Update,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { name, line } => write!(f, "{name}:{line}"),
            Origin::CommandLine => f.write_str("command line"),
            Origin::Update => f.write_str("update"),
        }
    }
}

/// A value that cannot be used: place, key, value and what is wrong, in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// Where the value stands.
    pub origin: Origin,
    /// The key.
    pub key: String,
    /// The value as written.
    pub value: String,
    /// What is wrong, to be read after key and value.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} = {:?} {}", self.origin, self.key, self.value, self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// How much a notice matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// For completeness.
    Info,
    /// The operator probably expects something else.
    Warning,
}

/// A line for the log about a value that was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// How much it matters.
    pub severity: Severity,
    /// The line.
    pub text: String,
}

/// What is wrong with a file, and what else there is to say of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnusableFile {
    /// One per unusable line.
    pub errors: Vec<ConfigError>,
    /// Of the other lines.
    pub notices: Vec<Notice>,
}

impl Notice {
    fn warning(text: String) -> Notice {
        Notice { severity: Severity::Warning, text }
    }

    fn info(text: String) -> Notice {
        Notice { severity: Severity::Info, text }
    }
}

#[derive(Clone, PartialEq, Debug)]
struct Cell {
    value: Value,
    default: Value,
    origin: Origin,
}

/// The values of one process, one per row.
#[derive(Clone, Debug)]
pub struct Config {
    table: &'static Table,
    cells: Vec<Cell>,
}

impl Config {
    /// Every key at its default. A default that its own row refuses is a bug.
    pub fn defaults(table: &'static Table, facts: &Facts) -> Config {
        let cells = table.rows().map(|row| {
            let text = facts.expand(row.default);
            let Ok(value) = row.parse(&text) else { panic!("{} = {text}: bad default", row.key) };
            Cell { value: value.clone(), default: value, origin: Origin::Default }
        });
        Config { table, cells: cells.collect() }
    }

    /// The keys behind these values.
    pub fn table(&self) -> &'static Table {
        self.table
    }

    /// Takes a whole file, later lines over earlier ones. Either all of it is usable, or nothing changes and every unusable
    /// line is named. The notices come back in both cases: whoever corrects a file corrects all of it.
    pub fn apply_file(
        &mut self,
        name: &str,
        file: &Properties,
    ) -> Result<Vec<Notice>, UnusableFile> {
        let mut next = self.clone();
        let mut notices = Vec::new();
        let mut errors = Vec::new();
        let mut in_markup = false;
        for (index, entry) in file.entries.iter().enumerate() {
            let origin = Origin::File { name: name.to_owned(), line: entry.line };
            if self.table.find(&entry.key).is_none() {
                // Some shipped files open with a licence inside an XML comment, which reads as keys.
                let opens = entry.key.starts_with("<!--");
                if opens || in_markup {
                    in_markup = !(entry.key.contains("-->") || entry.value.contains("-->"));
                    if opens {
                        notices.push(Notice::info(format!("{origin}: an XML comment was skipped")));
                    }
                    continue;
                }
            }
            let earlier = file.entries.get(..index).unwrap_or(&[]);
            if let Some(first) = earlier.iter().rev().find(|other| other.key == entry.key) {
                let text = format!(
                    "{origin}: {} also stands in line {}; this line wins",
                    entry.key, first.line
                );
                notices.push(Notice::warning(text));
            }
            match next.set(&entry.key, &entry.value, origin) {
                Ok(mut found) => {
                    notices.extend(encoding_notice(file.encoding, name, entry));
                    notices.append(&mut found);
                }
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(UnusableFile { errors, notices });
        }
        *self = next;
        Ok(notices)
    }

    /// Takes one value. An unknown key is only a notice, as Java ignores it.
    pub fn set(
        &mut self,
        key: &str,
        text: &str,
        origin: Origin,
    ) -> Result<Vec<Notice>, ConfigError> {
        let Some((at, row)) = self.table.find(key).zip(self.table.row(key)) else {
            let hint = self.table.hint(key);
            let process = self.table.process;
            let text =
                format!("{origin}: {key} is not a key of the {process} and is ignored{hint}");
            return Ok(vec![Notice::warning(text)]);
        };
        let trimmed = text.trim();
        let cell = self.cells.get_mut(at).expect("one cell per row");
        let refuse = |problem: String| ConfigError {
            origin: origin.clone(),
            key: key.to_owned(),
            value: text.to_owned(),
            problem,
        };
        let value = match row.parse(trimmed) {
            Ok(value) => value,
            Err(Problem::Format(what)) => {
                let range = row.range_text();
                let range = if range.is_empty() { range } else { format!(" ({range})") };
                return Err(refuse(format!("is {what}{range}")));
            }
            Err(Problem::Range) => {
                return Err(refuse(format!("is out of range ({})", row.range_text())));
            }
        };
        let mut notices = Vec::new();
        notices.extend(java_difference(row, text, cell, &origin));
        if value != cell.default {
            let place = format!("{origin}: {key} = {value}");
            match row.treatment {
                Treatment::Honoured => {}
                Treatment::Accepted { why } => {
                    notices.push(Notice::info(format!("{place} has no effect: {why}")));
                }
                Treatment::Planned => {
                    notices
                        .push(Notice::warning(format!("{place} has no effect yet ({})", row.doc)));
                }
                Treatment::Refused { why } => {
                    return Err(refuse(format!(
                        "is not supported, only {:?}: {why}",
                        cell.default.to_string()
                    )));
                }
            }
        }
        cell.value = value;
        cell.origin = origin;
        Ok(notices)
    }

    /// Replaces a value by one that follows from others; its origin stays.
    pub fn derive(&mut self, key: &str, value: Value) {
        let at = self.table.find(key).expect("only keys of the table are asked for");
        self.cells.get_mut(at).expect("one cell per row").value = value;
    }

    fn cell(&self, key: &str) -> &Cell {
        let at = self.table.find(key).expect("only keys of the table are asked for");
        self.cells.get(at).expect("one cell per row")
    }

    /// The value of any key. Asking for a key that the table lacks is a bug, here and below.
    pub fn value(&self, key: &str) -> &Value {
        &self.cell(key).value
    }

    /// The value of a boolean key.
    pub fn flag(&self, key: &str) -> bool {
        match self.value(key) {
            Value::Bool(value) => *value,
            Value::Int(_) | Value::Float(_) | Value::Text(_) => panic!("{key} is no boolean"),
        }
    }

    /// The value of a whole number or byte count.
    pub fn int(&self, key: &str) -> i64 {
        match self.value(key) {
            Value::Int(value) => *value,
            Value::Bool(_) | Value::Float(_) | Value::Text(_) => panic!("{key} is no whole number"),
        }
    }

    /// The value of a text or choice.
    pub fn text(&self, key: &str) -> &str {
        match self.value(key) {
            Value::Text(value) => value,
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => panic!("{key} is no text"),
        }
    }

    /// Where the value comes from.
    pub fn origin(&self, key: &str) -> &Origin {
        &self.cell(key).origin
    }

    /// An error about the present value of a key, for checks between keys.
    pub fn error(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        let cell = self.cell(key);
        ConfigError {
            origin: cell.origin.clone(),
            key: key.to_owned(),
            value: cell.value.to_string(),
            problem: problem.into(),
        }
    }

    /// All rows with their values, in listing order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Row, &Value)> {
        self.table.rows().zip(self.cells.iter().map(|cell| &cell.value))
    }
}

/// What Java would have made of text that is taken here.
fn java_difference(row: &Row, text: &str, cell: &Cell, origin: &Origin) -> Option<Notice> {
    let at_end = text.trim_end() != text;
    let java = match row.kind {
        Kind::I32 { .. } | Kind::I64 { .. } | Kind::F64 if at_end => cell.default.to_string(),
        Kind::Bool if at_end => "false".to_owned(),
        Kind::Bool
        | Kind::I32 { .. }
        | Kind::I64 { .. }
        | Kind::Bytes { .. }
        | Kind::F64
        | Kind::Text
        | Kind::Choice(_) => return None,
    };
    let key = row.key;
    let text = format!(
        "{origin}: {key} has a blank at its end and is taken without it; Java would use {java}"
    );
    Some(Notice::warning(text))
}

fn encoding_notice(encoding: Encoding, name: &str, entry: &Entry) -> Option<Notice> {
    if encoding != Encoding::Utf8 || entry.value.is_ascii() {
        return None;
    }
    let Entry { key, line, .. } = entry;
    let text = format!("{name}:{line}: {key} is read as UTF-8; Java would read ISO-8859-1");
    Some(Notice::warning(text))
}

#[cfg(test)]
mod tests;
