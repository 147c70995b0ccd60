//! The harness: time per operation (median of batches) and, where `valgrind` is, instructions per operation.
//!
//! Instructions are counted by running this binary again under callgrind, twice with different numbers of
//! operations: the difference, divided, is free of start-up and warm-up, and nearly the same on a noisy machine.
//! Only user space counts; what the kernel does is for `perf/`.

use clap::Parser;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Batches of a time measurement.
const BATCHES: usize = 15;
/// How long a batch should take.
const BATCH: Duration = Duration::from_millis(15);
/// Operations before those that are measured, so that buffers have grown.
const WARM_UP: u64 = 20_000;
/// Operations of the two counted runs.
const COUNTED: (u64, u64) = (2_000, 6_000);

/// Runs that many operations.
pub(crate) type Operations = Box<dyn FnMut(u64)>;

/// What a case tells.
pub(crate) enum Measure {
    /// Time and, if the code runs under valgrind, instructions of one operation.
    Operation { make: fn() -> Operations, counted: bool },
    /// A ratio of its own measurement, with the limit above which the case fails.
    Ratio { measure: fn() -> f64, limit: f64 },
}

/// One case. Names are `family/what`.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) measure: Measure,
}

/// A case that is also counted.
pub(crate) fn counted(name: &'static str, make: fn() -> Operations) -> Case {
    Case { name, measure: Measure::Operation { make, counted: true } }
}

/// A case whose time alone is measured: it has threads or system calls.
pub(crate) fn timed(name: &'static str, make: fn() -> Operations) -> Case {
    Case { name, measure: Measure::Operation { make, counted: false } }
}

/// A case that compares two ways itself.
pub(crate) fn ratio(name: &'static str, limit: f64, measure: fn() -> f64) -> Case {
    Case { name, measure: Measure::Ratio { measure, limit } }
}

/// Benches of single parts. Instructions per operation are what a change is judged by.
#[derive(Parser)]
struct Options {
    /// Only cases whose name contains one of these.
    filters: Vec<String>,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
    /// Print changes against this file; fail when one is above the limit.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Most growth of instructions per operation against the file, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0)]
    limit: f64,
    /// Write what was counted to this file.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Do not count instructions.
    #[arg(long)]
    no_count: bool,
    /// Run so many operations of the one case with this name, and nothing else.
    #[arg(long, value_name = "N", hide = true)]
    operations: Option<u64>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

struct Outcome {
    name: &'static str,
    time_ns: Option<f64>,
    instructions: Option<f64>,
    ratio: Option<(f64, f64)>,
    /// Of the file that is compared with.
    before: Option<f64>,
}

impl Outcome {
    /// Growth of the instructions in percent.
    fn change(&self) -> Option<f64> {
        Some((self.instructions? / self.before? - 1.0) * 100.0)
    }

    fn failed(&self, limit: f64) -> bool {
        self.change().is_some_and(|change| change > limit)
            || self.ratio.is_some_and(|(ratio, limit)| ratio > limit)
    }

    fn line(&self) -> String {
        let number = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.1}"));
        if let Some((ratio, limit)) = self.ratio {
            return format!("{:<34} {ratio:>10.3} (the limit is {limit})", self.name);
        }
        let (time, count) = (number(self.time_ns), number(self.instructions));
        let change = self.change().map_or(String::new(), |change| format!("{change:>+8.1} %"));
        format!("{:<34} {time:>10} ns {count:>10} instructions {change}", self.name)
    }

    fn json(&self) -> Value {
        json!({
            "case": self.name,
            "time_ns": self.time_ns,
            "instructions": self.instructions,
            "ratio": self.ratio.map(|(ratio, _)| ratio),
            "change_percent": self.change(),
        })
    }
}

/// Runs the cases that the arguments choose.
pub(crate) fn run(cases: &[Case]) -> ExitCode {
    let options = Options::parse();
    if let Some(operations) = options.operations {
        return run_one(cases, &options.filters, operations);
    }
    let before = options.compare.as_ref().map(read_baseline);
    let counts = !options.no_count && valgrind().arg("--version").output().is_ok();
    if !counts && (options.compare.is_some() || options.save.is_some()) {
        eprintln!("nothing can be compared: valgrind is not there, or --no-count is given");
        return ExitCode::FAILURE;
    }
    let chosen = |case: &&Case| {
        options.filters.is_empty() || options.filters.iter().any(|f| case.name.contains(f))
    };
    let mut outcomes = Vec::new();
    for case in cases.iter().filter(chosen) {
        let mut outcome = measure(case, counts);
        outcome.before = before.as_ref().and_then(|b| b.get(case.name)?.as_f64());
        println!("{}", if options.json { outcome.json().to_string() } else { outcome.line() });
        outcomes.push(outcome);
    }
    if let Some(path) = &options.save {
        save_baseline(path, &outcomes);
    }
    let failed: Vec<&str> =
        outcomes.iter().filter(|o| o.failed(options.limit)).map(|o| o.name).collect();
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("above the limit: {}", failed.join(", "));
    ExitCode::FAILURE
}

fn measure(case: &Case, counts: bool) -> Outcome {
    let mut outcome =
        Outcome { name: case.name, time_ns: None, instructions: None, ratio: None, before: None };
    match case.measure {
        Measure::Operation { make, counted } => {
            outcome.time_ns = Some(time_ns(&mut make()));
            if counts && counted {
                outcome.instructions = instructions(case.name);
            }
        }
        Measure::Ratio { measure, limit } => outcome.ratio = Some((measure(), limit)),
    }
    outcome
}

/// The median batch, ns per operation.
fn time_ns(run: &mut Operations) -> f64 {
    run(WARM_UP.min(2_000));
    let mut count = 16;
    while time(run, count) < BATCH && count < 1 << 30 {
        count *= 2;
    }
    let mut batches: Vec<Duration> = (0..BATCHES).map(|_| time(run, count)).collect();
    batches.sort_unstable();
    batches[BATCHES / 2].as_secs_f64() * 1e9 / count as f64
}

fn time(run: &mut Operations, count: u64) -> Duration {
    let start = Instant::now();
    run(count);
    start.elapsed()
}

fn run_one(cases: &[Case], filters: &[String], operations: u64) -> ExitCode {
    let found = cases.iter().find(|case| filters.iter().any(|name| name == case.name));
    let Some(Measure::Operation { make, .. }) = found.map(|case| &case.measure) else {
        eprintln!("no such case: {filters:?}");
        return ExitCode::FAILURE;
    };
    let mut run = make();
    run(WARM_UP);
    run(operations);
    ExitCode::SUCCESS
}

fn valgrind() -> Command {
    Command::new("valgrind")
}

fn instructions(name: &str) -> Option<f64> {
    let (few, many) = (count(name, COUNTED.0)?, count(name, COUNTED.1)?);
    Some(many.checked_sub(few)? as f64 / (COUNTED.1 - COUNTED.0) as f64)
}

/// Instructions of a whole run under callgrind.
fn count(name: &str, operations: u64) -> Option<u64> {
    let binary = std::env::current_exe().ok()?;
    let mut command = valgrind();
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(binary);
    let output = command.args(["--operations", &operations.to_string(), name]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| Some(line.split_once("Collected :")?.1));
    let collected = collected.and_then(|rest| rest.trim().parse().ok());
    if !output.status.success() || collected.is_none() {
        eprintln!("{name} cannot be counted:\n{text}");
        return None;
    }
    collected
}

fn read_baseline(path: &PathBuf) -> Map<String, Value> {
    let text = std::fs::read_to_string(path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let value: Value = serde_json::from_str(&text).expect("the baseline is JSON");
    value["instructions"].as_object().expect("a table of instructions").clone()
}

/// Cases that were not run keep their figures.
fn save_baseline(path: &PathBuf, outcomes: &[Outcome]) {
    let mut table = if path.exists() { read_baseline(path) } else { Map::new() };
    for outcome in outcomes {
        if let Some(count) = outcome.instructions {
            table.insert(outcome.name.to_string(), json!((count * 10.0).round() / 10.0));
        }
    }
    let text = serde_json::to_string_pretty(&json!({ "instructions": table }));
    let text = text.expect("a table is JSON") + "\n";
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
