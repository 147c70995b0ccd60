//! `perf run`: rounds over systems over load points, and what is checked after each run.
//!
//! Systems take turns (A B C A B C), so that the machine's drift hits all alike. RingMQ and the bare ring start on an
//! empty store for every point; a JVM is warmed up and kept for all points of a round that it can serve.

mod client_loads;
mod store_loads;

use crate::bench::{self, Call, Times};
use crate::checks;
use crate::machine::{self, Machine};
use crate::metric::Metric;
use crate::pauses;
use crate::process;
use crate::record::{self, Line, Record, Skipped};
use crate::scenario::{self, Filter, LoadKind, PictureKind, Point, Scenario, SystemName};
use crate::statistics;
use crate::system::{self, Running, Site};
use crate::verdict::Session;
use clap::Args;
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// A JVM is warm when the rates of this many pieces of load in a row ...
const WARM_PIECES: usize = 3;
/// ... of this length ...
const WARM_PIECE_S: f64 = 2.0;
/// ... differ by no more than this part, ...
const WARM_SPREAD: f64 = 0.1;
/// ... and after these many seconds it counts as warm anyway.
const WARM_SECONDS_MAX: f64 = 120.0;
/// Least load on a JVM before anything is measured, in seconds.
const WARM_SECONDS_MIN: f64 = 60.0;

/// Arguments of `perf run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// Scenarios by name, or files; all when none is given
    scenarios: Vec<String>,
    /// Only these systems
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<SystemName>,
    /// Only load points with these words in their label, for instance "connections=64 in_flight=1"
    #[arg(long)]
    points: Option<String>,
    /// Rounds instead of the scenario's
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: Option<u32>,
    /// Rounds more for points whose rounds differ too much
    #[arg(long, default_value_t = 2)]
    extra_rounds: u32,
    /// One short round: shows that everything works, the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// File that gets a line for each run
    #[arg(long)]
    out: Option<PathBuf>,
    /// Directory for stores and logs, on the disk to measure
    #[arg(long)]
    work: Option<PathBuf>,
    /// Executable of RingMQ
    #[arg(long)]
    ringmq: Option<PathBuf>,
    /// Measure the broker that runs there instead; nothing of the server is known then
    #[arg(long, value_name = "HOST:PORT")]
    target: Option<String>,
    /// CPUs of the servers, for instance 0,2
    #[arg(long, value_delimiter = ',')]
    server_cpus: Vec<usize>,
    /// CPU of the client
    #[arg(long)]
    client_cpu: Option<usize>,
    /// Heap of the JVM in MiB
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(256..))]
    heap_mib: u32,
}

/// Arguments of `perf list`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ListArgs {
    /// Scenarios by name, or files; all when none is given
    scenarios: Vec<String>,
}

/// Arguments of `perf machine`.
#[derive(Args, Clone, Debug)]
pub(crate) struct MachineArgs {
    /// Directory on the disk in question
    #[arg(long, default_value = ".")]
    work: PathBuf,
}

/// Directory of scenarios, results and class paths.
pub(crate) fn home() -> PathBuf {
    let own = std::env::var_os("RINGMQ_PERF_HOME").map(PathBuf::from);
    own.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")))
}

/// Scenarios by name or path, or all.
pub(crate) fn scenarios(names: &[String]) -> Result<Vec<Scenario>, String> {
    let directory = home().join("scenarios");
    let mut paths: Vec<PathBuf> = names
        .iter()
        .map(|name| match name.ends_with(".toml") {
            true => PathBuf::from(name),
            false => directory.join(format!("{name}.toml")),
        })
        .collect();
    if names.is_empty() {
        let entries = std::fs::read_dir(&directory);
        let entries = entries.map_err(|e| format!("{}: {e}", directory.display()))?;
        paths.extend(entries.flatten().map(|entry| entry.path()));
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        paths.sort();
    }
    paths.iter().map(|path| scenario::read(path)).collect()
}

/// `perf list`.
pub(crate) fn list(args: &ListArgs) -> Result<(), String> {
    for scenario in scenarios(&args.scenarios)? {
        println!("{}: {}", scenario.name, scenario.title);
        for point in &scenario.points {
            println!("    {}", point.label(&scenario.points));
        }
    }
    Ok(())
}

/// `perf machine`.
pub(crate) fn machine(args: &MachineArgs) -> Result<(), String> {
    for (name, value) in machine::collect(&args.work, 2048).rows() {
        println!("{name:<12} {value}");
    }
    Ok(())
}

/// `perf run`.
pub(crate) fn run(args: &RunArgs) -> Result<(), String> {
    let scenarios = scenarios(&args.scenarios)?;
    let site = site(args)?;
    std::fs::create_dir_all(&site.work).map_err(|e| format!("{}: {e}", site.work.display()))?;
    system::remove_leftovers(&site.work);
    let machine = machine::collect(&site.work, site.heap_mib);
    let out = args.out.clone().unwrap_or_else(|| home().join("results.jsonl"));
    record::append(&out, &Line::Machine(machine.clone()))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let session = now.map_or(0, |now| now.as_secs());
    let commit = machine::commit(&home());
    let topics = Cell::new(0);
    for scenario in scenarios {
        let scenario = adjusted(scenario, args);
        eprintln!("== {}: {}", scenario.name, scenario.title);
        let (machine, out) = (&machine, out.as_path());
        let mut runner = Runner {
            args,
            site: &site,
            scenario: &scenario,
            machine,
            out,
            session,
            commit: &commit,
            records: Vec::new(),
            skipped: Vec::new(),
            past_knee: BTreeMap::new(),
            topics: &topics,
        };
        runner.all()?;
    }
    system::remove_old(&site.work);
    Ok(())
}

fn site(args: &RunArgs) -> Result<Site, String> {
    let own = std::env::current_exe().map_err(|e| format!("finding this executable: {e}"))?;
    let beside = own.parent().unwrap_or(Path::new(".")).to_path_buf();
    let ringmq = args.ringmq.clone().unwrap_or_else(|| beside.join("ringmq"));
    if !ringmq.is_file() {
        return Err(format!("{} is not there: build it, or give --ringmq", ringmq.display()));
    }
    let allowed = reactor::affinity::allowed_cpus();
    let mut servers = args.server_cpus.clone();
    if servers.is_empty() {
        servers.extend(allowed.first());
    }
    // The client spins: it must not share a CPU with what it measures.
    let free = allowed.iter().copied().rev().find(|cpu| !servers.contains(cpu));
    Ok(Site {
        work: args.work.clone().unwrap_or_else(|| beside.join("../perf")),
        ringmq,
        java: home().join("java/target"),
        server_cpus: servers,
        client_cpu: args.client_cpu.or(free),
        heap_mib: args.heap_mib,
        target: args.target.clone(),
    })
}

/// The scenario as the command line wants it.
fn adjusted(mut scenario: Scenario, args: &RunArgs) -> Scenario {
    if args.target.is_some() {
        scenario.systems = vec![SystemName::Target];
    }
    if !args.only.is_empty() {
        scenario.systems.retain(|system| args.only.contains(system));
    }
    if let Some(rounds) = args.rounds {
        scenario.rounds = rounds;
    }
    if args.quick {
        (scenario.rounds, scenario.warmup_s, scenario.duration_s) = (1, 0.3, 1.0);
        for point in &mut scenario.points {
            point.backlog_mib = point.backlog_mib.map(|mib| mib.min(16));
            point.topics = point.topics.map(|topics| topics.min(20));
            point.pending = point.pending.map(|pending| pending.min(20_000));
        }
        if scenario.load == LoadKind::Delay {
            // Deliveries begin a delay after the sends.
            let delays = scenario.points.iter().filter_map(|point| point.delay_ms);
            scenario.warmup_s += delays.max().unwrap_or(0) as f64 / 1000.0;
        }
    }
    if let Some(part) = &args.points {
        let all = scenario.points.clone();
        let is_wanted = |point: &Point| {
            let label = point.label(&all);
            part.split_whitespace().all(|word| label.split(' ').any(|own| own == word))
        };
        scenario.points.retain(is_wanted);
    }
    scenario
}

struct Runner<'a> {
    args: &'a RunArgs,
    site: &'a Site,
    scenario: &'a Scenario,
    machine: &'a Machine,
    out: &'a Path,
    session: u64,
    commit: &'a str,
    records: Vec<Record>,
    skipped: Vec<SystemName>,
    /// The lowest rate that was too much for a system in this round.
    past_knee: BTreeMap<SystemName, u64>,
    /// Topics that were named so far in this call.
    topics: &'a Cell<u32>,
}

impl Runner<'_> {
    fn all(&mut self) -> Result<(), String> {
        for round in 1..=self.scenario.rounds {
            // Each round climbs its own ladder: one disturbed point must not end it for the others.
            self.past_knee.clear();
            for system in self.scenario.systems.clone() {
                self.visit(system, round, &self.scenario.points)?;
            }
        }
        for round in 1..=self.args.extra_rounds {
            let mut is_stable = true;
            for system in self.scenario.systems.clone() {
                let unstable = self.unstable_points(system);
                if !unstable.is_empty() {
                    is_stable = false;
                    eprintln!("{}: once more, the rounds differ too much", system.name());
                    self.visit(system, self.scenario.rounds + round, &unstable)?;
                }
            }
            if is_stable {
                break;
            }
        }
        Ok(())
    }

    fn unstable_points(&self, system: SystemName) -> Vec<Point> {
        let records = self.records.iter().collect();
        let session = Session { scenario: self.scenario, records };
        let is_unstable = |point: &&Point| !session.is_stable(system, point);
        self.scenario.points.iter().filter(is_unstable).cloned().collect()
    }

    /// One system at some points, on as few processes as that takes.
    fn visit(&mut self, system: SystemName, round: u32, points: &[Point]) -> Result<(), String> {
        let mut rest = points;
        while let Some(first) = rest.first() {
            if self.skipped.contains(&system) {
                return Ok(());
            }
            let restarts = matches!(
                self.scenario.load,
                LoadKind::Startup
                    | LoadKind::Idle
                    | LoadKind::Pending
                    | LoadKind::Restart
                    | LoadKind::Retention
            );
            let shared = |point: &&Point| system::same_server(system, first, point) && !restarts;
            let count = rest.iter().take_while(shared).count().max(1);
            let (group, later) = rest.split_at(count);
            rest = later;
            if let Err(reason) = self.visit_group(system, round, group) {
                eprintln!("{} is left out: {reason}", system.name());
                self.skipped.push(system);
                let skipped = Skipped {
                    session: self.session,
                    machine: self.machine.id.clone(),
                    scenario: self.scenario.name.clone(),
                    system,
                    reason,
                };
                record::append(self.out, &Line::Skipped(skipped))?;
            }
        }
        Ok(())
    }

    fn visit_group(
        &mut self,
        system: SystemName,
        round: u32,
        points: &[Point],
    ) -> Result<(), String> {
        let wanted: Vec<Point> =
            points.iter().filter(|point| !self.is_past_knee(system, point)).cloned().collect();
        let Some(first) = wanted.first() else { return Ok(()) };
        let pauses = self.pauses();
        let mut running = system::start(self.site, system, first, &self.scenario.settings)?;
        let is_loaded = !matches!(self.scenario.load, LoadKind::Startup | LoadKind::Idle);
        let warm_s = match system.is_java() && is_loaded {
            true => Some(self.warm(&running, first)?),
            false => None,
        };
        let mut records = Vec::new();
        let mut failure = None;
        for point in &wanted {
            if self.is_past_knee(system, point) {
                continue;
            }
            match self.measure(&mut running, point, round) {
                Ok(record) => {
                    self.note_knee(system, point, &record);
                    records.push(Record { warm_s, ..record });
                }
                Err(what) => {
                    failure = Some(what);
                    break;
                }
            }
        }
        let last_line = running.stop()?;
        let keeps_curves = self.scenario.pictures.contains(&PictureKind::Percentiles);
        if system == SystemName::Ring {
            check_ring(&last_line, &mut records);
        }
        for mut record in records {
            record.values.extend(pauses.clone());
            if !keeps_curves {
                record.curves.clear();
            }
            record.values.values_mut().for_each(|value| *value = statistics::rounded(*value));
            show(&record, self.scenario);
            record::append(self.out, &Line::Run(record.clone()))?;
            self.records.push(record);
        }
        failure.map_or(Ok(()), Err)
    }

    /// The pauses of this machine before a system runs on it; those of another are unknown.
    fn pauses(&self) -> BTreeMap<String, f64> {
        if self.site.target.is_some() {
            return BTreeMap::new();
        }
        let servers = self.site.server_cpus.iter().copied();
        pauses::measure(&servers.chain(self.site.client_cpu).collect::<Vec<_>>())
    }

    fn is_past_knee(&self, system: SystemName, point: &Point) -> bool {
        let knee = self.past_knee.get(&system);
        knee.zip(point.rate).is_some_and(|(knee, rate)| rate > *knee)
    }

    fn note_knee(&mut self, system: SystemName, point: &Point, record: &Record) {
        let (Some(knee), Some(rate)) = (self.scenario.knee, point.rate) else { return };
        let value = |metric: Metric| record.values.get(&metric.key()).copied().unwrap_or(0.0);
        let p99_us = value(Metric::P99Us).max(value(Metric::EndToEndP99Us));
        let is_slow = p99_us > knee.p99_ms_max * 1000.0;
        let is_short = value(Metric::MessagesPerSecond) < knee.rate_part_min * rate as f64;
        if is_slow || is_short {
            self.past_knee.insert(system, rate);
        }
    }

    /// Loads a JVM until its rate no longer changes; tells for how long.
    fn warm(&mut self, running: &Running, point: &Point) -> Result<f64, String> {
        let load = Point { connections: Some(64), in_flight: Some(1), ..point.clone() };
        let load = Point { rate: None, topics: None, queues: None, pullers: None, ..load };
        let load = Point { filter: Some(Filter::SqlComplex), ..load };
        let least = if self.args.quick { WARM_PIECE_S } else { WARM_SECONDS_MIN };
        let begin = Instant::now();
        let mut rates: Vec<f64> = Vec::new();
        let topic = self.prepare_warm(running, &load)?;
        let call = Call::new(self.site, running, &load);
        loop {
            rates.push(self.warm_piece(&call, &topic, WARM_PIECE_S)?);
            let last = &rates[rates.len().saturating_sub(WARM_PIECES)..];
            let is_steady = last.len() == WARM_PIECES && statistics::spread(last, 1) <= WARM_SPREAD;
            let seconds = begin.elapsed().as_secs_f64();
            let is_enough = seconds >= least && (is_steady || self.args.quick);
            if is_enough || seconds >= WARM_SECONDS_MAX {
                return Ok((seconds * 10.0).round() / 10.0);
            }
        }
    }

    fn next_topic(&self) -> String {
        self.topics.set(self.topics.get() + 1);
        // Of bench::TOPIC_BYTES bytes; with the session, because a target may have topics of earlier calls.
        format!("P{:06}{:05}", self.session % 1_000_000, self.topics.get() % 100_000)
    }

    fn measure(
        &mut self,
        running: &mut Running,
        point: &Point,
        round: u32,
    ) -> Result<Record, String> {
        let mut record = Record {
            session: self.session,
            machine: self.machine.id.clone(),
            commit: self.commit.to_owned(),
            scenario: self.scenario.name.clone(),
            system: running.name,
            point: point.clone(),
            round,
            seconds: (self.scenario.warmup_s, self.scenario.duration_s),
            values: BTreeMap::new(),
            curves: BTreeMap::new(),
            warm_s: None,
            frame_bytes: None,
            readable: None,
            problems: Vec::new(),
        };
        match self.scenario.load {
            LoadKind::Send => self.measure_send(running, point, &mut record)?,
            LoadKind::Pull => self.measure_pull(running, point, &mut record)?,
            LoadKind::E2e => self.measure_e2e(running, point, &mut record)?,
            LoadKind::Startup => {
                record.values.insert(Metric::StartMs.key(), running.start_ms);
                take_memory(running, &mut record);
            }
            LoadKind::Idle => self.measure_idle(running, &mut record),
            LoadKind::Delay => self.measure_delay(running, point, &mut record)?,
            LoadKind::Transaction => self.measure_transaction(running, point, &mut record)?,
            LoadKind::Filter => self.measure_filter(running, point, &mut record)?,
            LoadKind::Pending => self.measure_pending(running, point, &mut record)?,
            LoadKind::Restart => self.measure_restart(running, point, &mut record)?,
            LoadKind::Retention => self.measure_retention(running, point, &mut record)?,
        }
        Ok(record)
    }

    fn times(&self) -> Times {
        Times { warmup_s: self.scenario.warmup_s, duration_s: self.scenario.duration_s }
    }

    fn measure_send(
        &mut self,
        running: &Running,
        point: &Point,
        record: &mut Record,
    ) -> Result<(), String> {
        let topic = self.next_topic();
        let call = Call::new(self.site, running, point);
        let value = call.send(&topic, self.times())?;
        take(&value, LoadKind::Send, record);
        take_amplification(point, record);
        if running.name == SystemName::Ring {
            // Compared when it stops: it has no offsets to ask for.
            let acknowledged = value["acknowledged_total"].as_f64().unwrap_or(0.0);
            record.values.insert("acknowledged".to_owned(), acknowledged);
            return Ok(());
        }
        self.check_stored(running, point, &topic, &value, record);
        let is_one_topic = point.full().topics == Some(1);
        if self.scenario.verify && is_one_topic && record.problems.is_empty() {
            let stored = checks::stored(&running.address, &topic, point)?;
            record.problems.extend(checks::readable(&call, &topic, stored));
            record.readable = Some(stored);
        }
        Ok(())
    }

    fn check_stored(
        &self,
        running: &Running,
        point: &Point,
        topic: &str,
        value: &Value,
        record: &mut Record,
    ) {
        let acknowledged = value["acknowledged_total"].as_u64().unwrap_or(0);
        let lost = value["unanswered"].as_u64().unwrap_or(0);
        match checks::settled(&running.address, topic, point, acknowledged) {
            Ok(stored) => record.problems.extend(checks::compare(acknowledged, stored, lost)),
            Err(what) => record.problems.push(what),
        }
        let disk_bytes = value["server"]["disk_bytes"].as_f64();
        let messages = value["sent"]["messages"].as_f64().unwrap_or(0.0);
        let body = f64::from(point.full().body.unwrap_or(0));
        record.problems.extend(disk_bytes.and_then(|bytes| checks::disk(messages, body, bytes)));
    }

    fn measure_pull(
        &mut self,
        running: &Running,
        point: &Point,
        record: &mut Record,
    ) -> Result<(), String> {
        let topic = self.next_topic();
        let call = Call::new(self.site, running, point);
        let filled = call.fill(&topic, point.backlog_mib.unwrap_or(0))?;
        checks::settled(&running.address, &topic, point, filled)?;
        checks::evict(&running.dir);
        let value = call.pull(&topic, point.full().connections.unwrap_or(1))?;
        take(&value, LoadKind::Pull, record);
        let read = value["read_total"].as_u64().unwrap_or(0);
        if read < filled {
            record.problems.push(format!("{filled} stored, {read} read"));
        }
        Ok(())
    }

    fn measure_e2e(
        &mut self,
        running: &Running,
        point: &Point,
        record: &mut Record,
    ) -> Result<(), String> {
        let topic = self.next_topic();
        let call = Call::new(self.site, running, point);
        let full = point.full();
        let value = match full.backlog_mib.unwrap_or(0) {
            0 => call.e2e(&topic, None, self.times())?,
            mib => {
                let backlog = self.next_topic();
                let filled = call.fill(&backlog, mib)?;
                checks::settled(&running.address, &backlog, point, filled)?;
                checks::evict(&running.dir);
                match full.replay {
                    Some(true) => call.e2e(&topic, Some(&backlog), self.times())?,
                    Some(false) | None => call.send(&topic, self.times())?,
                }
            }
        };
        take(&value, LoadKind::E2e, record);
        self.check_stored(running, point, &topic, &value, record);
        Ok(())
    }

    fn measure_idle(&self, running: &Running, record: &mut Record) {
        let Some(pid) = running.pid() else { return };
        // Time to come to rest: compiled classes, zeros in the first segment.
        std::thread::sleep(Duration::from_secs_f64(self.scenario.warmup_s));
        let (before, begin) = (process::cpu_ns(pid), Instant::now());
        std::thread::sleep(Duration::from_secs_f64(self.scenario.duration_s));
        let used_ns = process::cpu_ns(pid).saturating_sub(before) as f64;
        let percent = used_ns / 1e7 / begin.elapsed().as_secs_f64();
        record.values.insert(Metric::IdleCpuPercent.key(), percent);
        take_memory(running, record);
    }
}

fn take(value: &Value, load: LoadKind, record: &mut Record) {
    record.values = bench::values(value, load);
    record.curves = bench::curves(value);
    record.problems = bench::problems(value);
    record.frame_bytes = value["request_bytes"].as_f64().zip(value["reply_bytes"].as_f64());
}

/// Bytes given to the disk per byte of records.
fn take_amplification(point: &Point, record: &mut Record) {
    let stored = system::record_bytes(point.full().body.unwrap_or(0), bench::TOPIC_BYTES) as f64;
    if let Some(bytes) = record.values.get(&Metric::DiskBytesPerMessage.key()) {
        record.values.insert(Metric::WriteAmplification.key(), bytes / stored);
    }
}

fn take_memory(running: &Running, record: &mut Record) {
    let Some(pid) = running.pid() else { return };
    for (metric, file, key) in [
        (Metric::ResidentMib, "status", "VmRSS:"),
        (Metric::SharedMib, "status", "RssShmem:"),
        (Metric::ProportionalMib, "smaps_rollup", "Pss:"),
    ] {
        if let Some(kib) = process::figure(pid, file, key) {
            record.values.insert(metric.key(), kib / 1024.0);
        }
    }
}

/// Compares what the bare ring says it stored with what it acknowledged.
fn check_ring(last_line: &str, records: &mut [Record]) {
    let said: Value = serde_json::from_str(last_line).unwrap_or_default();
    let stored = said["requests"].as_u64().map(|count| count as f64);
    let sum: f64 = records.iter_mut().filter_map(|r| r.values.remove("acknowledged")).sum();
    if stored.is_none_or(|stored| stored < sum) {
        for record in records {
            record.problems.push(format!("{sum} acknowledged, the ring says {last_line:?}"));
        }
    }
}

fn show(record: &Record, scenario: &Scenario) {
    let figure = |metric: Metric| {
        let value = record.values.get(&metric.key())?;
        Some(format!("{} {}", metric.title(), crate::report::number(*value)))
    };
    let shown = [
        Metric::MessagesPerSecond,
        Metric::CpuUs,
        Metric::P50Us,
        Metric::P999Us,
        Metric::LatenessP50Us,
        Metric::LatenessP999Us,
        Metric::ExaminedPerSecond,
        Metric::CpuUsPerExamined,
        Metric::GibPerSecond,
        Metric::StartMs,
        Metric::CrashStartMs,
        Metric::RecoveredGibPerSecond,
        Metric::DiskGibPerSecond,
        Metric::IdleCpuPercent,
        Metric::ResidentMib,
    ];
    let figures: Vec<String> = shown.into_iter().filter_map(figure).collect();
    let label = record.point.label(&scenario.points);
    let problems = match record.problems.is_empty() {
        true => String::new(),
        false => format!("  INVALID: {}", record.problems.join("; ")),
    };
    let (round, system) = (record.round, record.system.name());
    eprintln!("{round} {system:<8} {label:<32} {}{problems}", figures.join(", "));
}
