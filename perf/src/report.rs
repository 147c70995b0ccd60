//! `perf report`: RESULTS.md and the pictures, made of the results file.
//!
//! Of each scenario the session with the most systems is shown, of several the newest; a goal is judged by the newest
//! session that has what it needs. Figures are compared only within one session.

use crate::machine::Machine;
use crate::metric::Metric;
use crate::picture;
use crate::record::{self, Line, Record, Skipped};
use crate::run;
use crate::scenario::{Goal, LoadKind, Point, Scenario, SystemName};
use crate::verdict::{Figure, Session, Verdict};
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// A client that is busy for more of the time measures itself.
const CLIENT_BUSY_PERCENT_MAX: f64 = 95.0;

/// Arguments of `perf report`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReportArgs {
    /// Results of `perf run`
    #[arg(long)]
    results: Option<PathBuf>,
    /// Directory for RESULTS.md and the pictures
    #[arg(long)]
    out: Option<PathBuf>,
    /// Id of the machine, when the file holds several; the one of the last run unless given
    #[arg(long)]
    machine: Option<String>,
    /// Scenarios by name, or files; all when none is given
    scenarios: Vec<String>,
}

/// `perf report`.
pub(crate) fn report(args: &ReportArgs) -> Result<(), String> {
    let path = args.results.clone().unwrap_or_else(|| run::home().join("results.jsonl"));
    let out = args.out.clone().unwrap_or_else(run::home);
    let lines = record::read(&path)?;
    let last = lines.iter().rev().find_map(|line| match line {
        Line::Run(record) => Some(record.machine.clone()),
        Line::Machine(_) | Line::Skipped(_) => None,
    });
    let id = args.machine.clone().or(last).ok_or("there is no run in the results")?;
    let scenarios = run::scenarios(&args.scenarios)?;
    let results = Results::new(&lines, &id);
    let text = results.text(&scenarios);
    let file = out.join("RESULTS.md");
    write(&file, &text)?;
    for scenario in &scenarios {
        let Some(session) = results.session(scenario) else { continue };
        for kind in &scenario.pictures {
            if let Some((name, svg)) = picture::draw(&session, *kind) {
                write(&out.join(name), &svg)?;
            }
        }
    }
    eprintln!("wrote {} and the pictures", file.display());
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

/// All lines of one machine.
struct Results<'a> {
    machine: Option<&'a Machine>,
    records: Vec<&'a Record>,
    skipped: Vec<&'a Skipped>,
}

impl<'a> Results<'a> {
    fn new(lines: &'a [Line], id: &str) -> Results<'a> {
        let (mut machine, mut records, mut skipped) = (None, Vec::new(), Vec::new());
        for line in lines {
            match line {
                Line::Machine(found) if found.id == id => machine = Some(found),
                Line::Run(record) if record.machine == id => records.push(record),
                Line::Skipped(found) if found.machine == id => skipped.push(found),
                Line::Machine(_) | Line::Run(_) | Line::Skipped(_) => {}
            }
        }
        Results { machine, records, skipped }
    }

    /// Sessions with runs of a scenario, the newest first.
    fn sessions<'s>(&self, scenario: &'s Scenario) -> Vec<Session<'s>>
    where
        'a: 's,
    {
        let mut records: BTreeMap<u64, Vec<&'s Record>> = BTreeMap::new();
        for record in self.records.iter().filter(|record| record.scenario == scenario.name) {
            records.entry(record.session).or_default().push(record);
        }
        records.into_values().rev().map(|records| Session { scenario, records }).collect()
    }

    /// The session that is shown.
    fn session<'s>(&self, scenario: &'s Scenario) -> Option<Session<'s>>
    where
        'a: 's,
    {
        // Of several it takes the last one, which is to be the newest.
        self.sessions(scenario).into_iter().rev().max_by_key(|session| session.systems().len())
    }

    /// A goal at each of its points, as the newest session judges it that has the figure.
    fn verdicts(&self, scenario: &Scenario, goal: &Goal) -> Vec<Verdict> {
        let mut verdicts: Vec<Verdict> = Vec::new();
        for verdict in self.sessions(scenario).iter().flat_map(|session| session.judge(goal)) {
            match verdicts.iter_mut().find(|known| known.point == verdict.point) {
                Some(known) if known.value.is_none() && verdict.value.is_some() => *known = verdict,
                Some(_) => {}
                None => verdicts.push(verdict),
            }
        }
        verdicts
    }

    fn text(&self, scenarios: &[Scenario]) -> String {
        let mut out = String::from(
            "# Results\n\nMade by `perf report`; `perf/README.md` says how to read and repeat them. \
             Figures are medians over the rounds of one session in which the systems took turns.\n\n",
        );
        if let Some(machine) = self.machine {
            put(&mut out, format_args!("| machine | {} |\n|---|---|\n", machine.id));
            for (name, value) in machine.rows() {
                put(&mut out, format_args!("| {name} | {} |\n", value.replace('|', "/")));
            }
        }
        self.put_goals(&mut out, scenarios);
        for scenario in scenarios {
            if let Some(session) = self.session(scenario) {
                self.put_scenario(&mut out, &session);
            }
        }
        out
    }

    fn put_goals(&self, out: &mut String, scenarios: &[Scenario]) {
        let mut rows: Vec<(String, String)> = Vec::new();
        for scenario in scenarios {
            for goal in &scenario.goals {
                for verdict in self.verdicts(scenario, goal) {
                    let (at, what) = (verdict.point.label(&scenario.points), wanted(goal));
                    let value = verdict.value.map_or("–".to_owned(), number);
                    let holds = match verdict.holds {
                        Some(true) => "holds",
                        Some(false) => "**does not hold**",
                        None => "not measured, or unstable",
                    };
                    let machine = verdict
                        .machine
                        .map_or(String::new(), |us| format!("; the machine alone: {}", number(us)));
                    let holds = format!("{holds}{machine}");
                    let name = &scenario.name;
                    let row =
                        format!("| {} | {name} {at} | {what} | {value} | {holds} |\n", goal.id);
                    rows.push((goal.id.clone(), row));
                }
            }
        }
        if rows.is_empty() {
            return;
        }
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        out.push_str("\n## Goals\n\n| goal | where | wanted | here | |\n|---|---|---|---|---|\n");
        rows.iter().for_each(|(_, row)| out.push_str(row));
    }

    fn put_scenario(&self, out: &mut String, session: &Session<'_>) {
        let scenario = session.scenario;
        put(out, format_args!("\n## {}\n\n", scenario.title));
        if !scenario.text.is_empty() {
            put(out, format_args!("{}\n\n", scenario.text.trim()));
        }
        put_table(out, session);
        put_notes(out, session);
        let session_id = session.records.first().map_or(0, |record| record.session);
        let mut seen = BTreeSet::new();
        for skipped in &self.skipped {
            let is_here = skipped.session == session_id && skipped.scenario == scenario.name;
            if is_here && seen.insert(skipped.system) {
                let (name, reason) = (skipped.system.name(), &skipped.reason);
                put(out, format_args!("\n{name} was left out: {reason}\n"));
            }
        }
        for kind in &scenario.pictures {
            let file = picture::file(scenario, *kind);
            put(out, format_args!("\n![{}]({file})\n", scenario.title));
        }
    }
}

/// What a goal wants, in words.
fn wanted(goal: &Goal) -> String {
    let mut text = goal.metric.title().to_owned();
    if goal.of != SystemName::Ringmq {
        put(&mut text, format_args!(" of {}", goal.of.name()));
    }
    let mut bounds = Vec::new();
    bounds.extend(goal.at_least.map(|least| format!("≥ {}", number(least))));
    bounds.extend(goal.at_most.map(|most| format!("≤ {}", number(most))));
    put(&mut text, format_args!(" {}", bounds.join(", ")));
    if let Some(than) = goal.than {
        put(&mut text, format_args!(" × {}", than.name()));
    }
    if let Some(part) = &goal.than_at {
        put(&mut text, format_args!(" × that at {}", part.label(&[Point::default()])));
    }
    text
}

fn put_table(out: &mut String, session: &Session<'_>) {
    let scenario = session.scenario;
    let (points, systems) = (session.points(), session.systems());
    let has = |metric: &Metric| {
        let key = metric.key();
        session.records.iter().any(|record| record.values.contains_key(&key))
    };
    let all: Vec<Metric> = Metric::ALL.into_iter().filter(has).collect();
    // Said by other columns, or worth a look only in the results file.
    let hidden = [Metric::MessagesPerCpuSecond, Metric::MaxUs, Metric::PauseP99Us];
    let metrics: Vec<Metric> = all.iter().copied().filter(|m| !hidden.contains(m)).collect();
    let base = systems.iter().copied().find(|system| *system == SystemName::Java550);
    let main = [
        Metric::LatenessP99Us,
        Metric::CpuUsPerExamined,
        Metric::MessagesPerCpuSecond,
        Metric::StartMs,
        Metric::ResidentMib,
    ];
    let main = main.into_iter().find(|metric| all.contains(metric));
    out.push_str("| load | system |");
    metrics.iter().for_each(|metric| put(out, format_args!(" {} |", metric.title())));
    let compared = base.zip(main);
    if let Some((system, metric)) = compared {
        put(out, format_args!(" {}, × {} |", metric.title(), system.name()));
    }
    out.push_str("\n|---|---|");
    let columns = metrics.len() + usize::from(compared.is_some());
    (0..columns).for_each(|_| out.push_str("---:|"));
    out.push('\n');
    for point in &points {
        for system in &systems {
            if !session.records.iter().any(|r| r.system == *system && r.point == *point) {
                continue;
            }
            let label = point.label(&scenario.points);
            put(out, format_args!("| {label} | {} |", system.name()));
            for metric in &metrics {
                put(out, format_args!(" {} |", cell(session.figure(*system, point, *metric))));
            }
            if let Some((other, metric)) = compared {
                let of = |system| match session.figure(system, point, metric) {
                    Some(Figure::Median(value)) => Some(value),
                    Some(Figure::Unstable(_)) | None => None,
                };
                let ratio = of(*system)
                    .zip(of(other))
                    .and_then(|(own, other)| crate::statistics::ratio(own, other).map(number));
                put(out, format_args!(" {} |", ratio.unwrap_or_else(|| "–".to_owned())));
            }
            out.push('\n');
        }
    }
}

fn cell(figure: Option<Figure>) -> String {
    match figure {
        Some(Figure::Median(value)) => number(value),
        Some(Figure::Unstable(spread)) => format!("unstable (±{:.0} %)", spread * 50.0),
        None => String::new(),
    }
}

/// What a reader needs besides the figures: rounds, warm-up, frame sizes, invalid runs.
fn put_notes(out: &mut String, session: &Session<'_>) {
    let scenario = session.scenario;
    let mut commits: Vec<&str> = session.records.iter().map(|r| r.commit.as_str()).collect();
    commits.dedup();
    let rounds = session.records.iter().map(|record| record.round).max().unwrap_or(0);
    let seconds = session.records.first().map_or((0.0, 0.0), |record| record.seconds);
    let (warmup, measured) = (number(seconds.0), number(seconds.1));
    let commits = commits.join(", ");
    let is_timed = !matches!(scenario.load, LoadKind::Startup | LoadKind::Pull | LoadKind::Restart);
    match is_timed {
        true => put(out, format_args!("\nRounds: {rounds} of {measured} s after {warmup} s")),
        false => put(out, format_args!("\nRounds: {rounds}")),
    }
    put(out, format_args!(", commit {commits}."));
    let warm: Vec<f64> = session.records.iter().filter_map(|record| record.warm_s).collect();
    if let Some(seconds) = crate::statistics::median(&warm) {
        put(out, format_args!(" The JVM had {} s of load before.", number(seconds)));
    }
    let mut frames: BTreeMap<SystemName, BTreeSet<String>> = BTreeMap::new();
    for record in &session.records {
        if let Some((request, reply)) = record.frame_bytes {
            let text = format!("{request:.0}/{reply:.0}");
            frames.entry(record.system).or_default().insert(text);
        }
    }
    let frames: Vec<String> = frames
        .into_iter()
        .map(|(system, sizes)| {
            let sizes: Vec<String> = sizes.into_iter().collect();
            format!("{} {}", system.name(), sizes.join(", "))
        })
        .collect();
    if !frames.is_empty() {
        put(out, format_args!(" Bytes of request/reply frames: {}.", frames.join("; ")));
    }
    let readable: u64 = session.records.iter().filter_map(|record| record.readable).sum();
    if readable > 0 {
        put(out, format_args!(" {readable} messages were read back and counted."));
    }
    out.push('\n');
    put_busy_client(out, session);
    for record in session.records.iter().filter(|record| !record.problems.is_empty()) {
        let (label, problems) = (record.point.label(&scenario.points), record.problems.join("; "));
        let (name, round) = (record.system.name(), record.round);
        put(out, format_args!("\nNot counted: {name} {label}, round {round}: {problems}\n"));
    }
}

/// Where the client had no time left: there the figures are the client's.
fn put_busy_client(out: &mut String, session: &Session<'_>) {
    let key = Metric::ClientBusyPercent.key();
    let is_full = |record: &&&Record| {
        record.values.get(&key).is_some_and(|percent| *percent > CLIENT_BUSY_PERCENT_MAX)
    };
    let places: BTreeSet<String> = session
        .records
        .iter()
        .filter(is_full)
        .map(|r| format!("{} {}", r.system.name(), r.point.label(&session.scenario.points)))
        .collect();
    if !places.is_empty() {
        let places: Vec<String> = places.into_iter().collect();
        let places = places.join("; ");
        put(
            out,
            format_args!("\nThe client was busy all the time and may be the limit: {places}.\n"),
        );
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string cannot fail");
}

/// Three digits, thousands apart.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size == 0.0 || size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, part) = text.split_once('.').unwrap_or((text.as_str(), ""));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let part = part.trim_end_matches('0');
    if part.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{part}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_they_are_worth() {
        for (value, text) in [
            (0.0, "0"),
            (0.5104, "0.51"),
            (4.126, "4.13"),
            (32.04, "32"),
            (1_428_123.4, "1,428,123"),
            (-999.6, "-1,000"),
            (123.0, "123"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
