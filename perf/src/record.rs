//! Lines of the results file: machines, runs, and systems that were left out, with the reason.

use crate::machine::Machine;
use crate::scenario::{Point, SystemName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

/// One line.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Line {
    /// The machine of the runs that name its id.
    Machine(Machine),
    /// A run.
    Run(Record),
    /// A system that a scenario had to leave out.
    Skipped(Skipped),
}

/// One run of one system at one load point.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
pub(crate) struct Record {
    /// Seconds since 1970 at which the call of `perf run` began: runs of one session are compared.
    pub(crate) session: u64,
    /// Id of the machine.
    pub(crate) machine: String,
    /// Commit of the sources, with `+` when they were changed.
    pub(crate) commit: String,
    /// Scenario.
    pub(crate) scenario: String,
    /// System.
    pub(crate) system: SystemName,
    /// Load point.
    pub(crate) point: Point,
    /// Round, from 1.
    pub(crate) round: u32,
    /// Seconds of load before measuring, and measured seconds, as asked for.
    pub(crate) seconds: (f64, f64),
    /// Figures by `Metric::key`.
    pub(crate) values: BTreeMap<String, f64>,
    /// Latency curves: part of all messages, µs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) curves: BTreeMap<String, Vec<(f64, f64)>>,
    /// Seconds of load before a JVM was warm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) warm_s: Option<f64>,
    /// Sizes of request and reply, for the comparison with the bare ring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) frame_bytes: Option<(f64, f64)>,
    /// Messages that were read back and counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) readable: Option<u64>,
    /// Why this run is no result; empty: it is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<String>,
}

/// A system without runs.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
pub(crate) struct Skipped {
    /// As in `Record`.
    pub(crate) session: u64,
    /// As in `Record`.
    pub(crate) machine: String,
    /// As in `Record`.
    pub(crate) scenario: String,
    /// As in `Record`.
    pub(crate) system: SystemName,
    /// Why.
    pub(crate) reason: String,
}

/// Adds a line to a file.
pub(crate) fn append(path: &Path, line: &Line) -> Result<(), String> {
    let failed = |what: String| format!("{}: {what}", path.display());
    let mut text = serde_json::to_string(line).map_err(|e| failed(e.to_string()))?;
    text.push('\n');
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|e| failed(e.to_string()))
}

/// All lines of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Line>, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| format!("{}:{}: {e}", path.display(), number + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}
