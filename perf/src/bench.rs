//! The one client: `ringmq bench` as a process on its own CPU, and its line of JSON as figures.

use crate::metric::Metric;
use crate::scenario::{Filter, LoadKind, Point, SystemName};
use crate::system::{Running, Site};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// Length of the topics' names, so that all requests of a scenario have the same size.
pub(crate) const TOPIC_BYTES: usize = 12;
/// Longest a backlog may take to be stored or read, in seconds.
const BACKLOG_SECONDS_MAX: u32 = 600;
const MIB: u64 = 1 << 20;

/// A client call.
pub(crate) struct Call<'a> {
    site: &'a Site,
    running: &'a Running,
    point: Point,
}

/// Times of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Load before measuring, s.
    pub(crate) warmup_s: f64,
    /// Measured time, s.
    pub(crate) duration_s: f64,
}

impl<'a> Call<'a> {
    /// A client for a point.
    pub(crate) fn new(site: &'a Site, running: &'a Running, point: &Point) -> Call<'a> {
        Call { site, running, point: point.full() }
    }

    fn command(&self, load: &str, topic: &str, times: Times) -> Command {
        assert_eq!(topic.len(), TOPIC_BYTES, "names of topics are equally long");
        let mut command = Command::new(&self.site.ringmq);
        command.args(["bench", load, "-b", &self.running.address, "-t", topic, "--json"]);
        let ms = |seconds: f64| format!("{:.0}ms", seconds * 1000.0);
        command.args(["-d", &ms(times.duration_s), "-w", &ms(times.warmup_s)]);
        if let Some(queues) = self.point.queues {
            command.args(["--queues", &queues.to_string()]);
        }
        if let Some(serialize) = self.point.serialize {
            command.args(["--serialize", serialize.name()]);
        }
        if let Some(cpu) = self.site.client_cpu {
            command.args(["--cpu", &cpu.to_string()]);
        }
        if let Some(pid) = self.running.pid() {
            command.args(["--pid", &pid.to_string()]);
        }
        command
    }

    /// `send`.
    pub(crate) fn send(&self, topic: &str, times: Times) -> Result<Value, String> {
        let mut command = self.command("send", topic, times);
        self.add(&mut command, &["body", "connections", "in_flight", "rate", "topics"]);
        if self.running.name == SystemName::Ring {
            command.arg("--bare");
        }
        output(&mut command)
    }

    /// Stores the backlog; says how many messages.
    pub(crate) fn fill(&self, topic: &str, bodies_mib: u64) -> Result<u64, String> {
        self.store(topic, self.backlog(bodies_mib), &[])
    }

    /// Stores a backlog that can be filtered; says how many messages.
    pub(crate) fn fill_filterable(&self, topic: &str, bodies_mib: u64) -> Result<u64, String> {
        self.store(topic, self.backlog(bodies_mib), &["--filterable".to_owned()])
    }

    /// Stores delayed messages.
    pub(crate) fn fill_pending(&self, topic: &str, count: u64) -> Result<u64, String> {
        let delay = match self.point.delay_level {
            Some(level) => ["--level".to_owned(), level.to_string()],
            None => ["--deliver-in".to_owned(), self.delay()],
        };
        self.store(topic, count, &delay)
    }

    fn delay(&self) -> String {
        format!("{}ms", self.point.delay_ms.unwrap_or(0))
    }

    fn backlog(&self, bodies_mib: u64) -> u64 {
        let body = u64::from(self.point.body.unwrap_or(1024));
        (bodies_mib * MIB / body).max(1)
    }

    fn store(&self, topic: &str, count: u64, further: &[String]) -> Result<u64, String> {
        let times = Times { warmup_s: 0.0, duration_s: f64::from(BACKLOG_SECONDS_MAX) };
        let mut command = self.command("send", topic, times);
        self.add(&mut command, &["body"]);
        command.args(["-c", "16", "-i", "32", "--count", &count.to_string()]).args(further);
        let stored = output(&mut command)?["acknowledged_total"].as_u64().unwrap_or(0);
        if stored == count { Ok(stored) } else { Err(format!("{stored} of {count} were stored")) }
    }

    /// `pull` of everything.
    pub(crate) fn pull(&self, topic: &str, connections: u32) -> Result<Value, String> {
        let times = Times { warmup_s: 0.0, duration_s: f64::from(BACKLOG_SECONDS_MAX) };
        let mut command = self.command("pull", topic, times);
        self.add(&mut command, &["batch"]);
        output(command.args(["-c", &connections.to_string()]))
    }

    /// `pull` with the point's subscription, over and over.
    pub(crate) fn filter(&self, topic: &str, times: Times) -> Result<Value, String> {
        let mut command = self.command("pull", topic, times);
        self.add(&mut command, &["batch", "connections"]);
        let filter = self.point.filter.unwrap_or(Filter::None);
        output(command.arg("--repeat").args(filter.arguments()))
    }

    /// `delay`.
    pub(crate) fn delayed(&self, topic: &str, times: Times) -> Result<Value, String> {
        let mut command = self.command("delay", topic, times);
        self.add(&mut command, &["body", "connections", "in_flight", "rate", "batch", "pullers"]);
        command.args(["--delay", &self.delay()]);
        if let Some(level) = self.point.delay_level {
            command.args(["--level", &level.to_string()]);
        }
        output(&mut command)
    }

    /// `transaction`.
    pub(crate) fn transaction(&self, topic: &str, times: Times) -> Result<Value, String> {
        let mut command = self.command("transaction", topic, times);
        self.add(&mut command, &["body", "connections", "in_flight", "batch", "pullers"]);
        output(&mut command)
    }

    /// `e2e`, with a backlog's topic as its replay.
    pub(crate) fn e2e(
        &self,
        topic: &str,
        replay: Option<&str>,
        times: Times,
    ) -> Result<Value, String> {
        let mut command = self.command("e2e", topic, times);
        self.add(&mut command, &["body", "connections", "in_flight", "rate", "batch", "pullers"]);
        if let Some(backlog) = replay {
            command.args(["--replay", backlog]);
        }
        output(&mut command)
    }

    /// Adds fields of the point that are there, under their names.
    fn add(&self, command: &mut Command, names: &[&str]) {
        let fields = serde_json::to_value(&self.point).unwrap_or_default();
        for name in names {
            if let Some(number) = fields[*name].as_u64() {
                command.arg(format!("--{}", name.replace('_', "-"))).arg(number.to_string());
            }
        }
    }
}

fn output(command: &mut Command) -> Result<Value, String> {
    let output = command.output().map_err(|e| format!("starting the client: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("the client failed: {} {}", errors.trim(), text.trim()));
    }
    let value = serde_json::from_str(text.trim());
    value.map_err(|e| format!("the client's answer is no JSON: {e}"))
}

/// What went wrong in a run according to the client: refusals, lost answers.
pub(crate) fn problems(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["send_errors", "pull_errors", "half_errors", "commit_errors"] {
        for (code, count) in value[name].as_object().into_iter().flatten() {
            found.push(format!("{name}: {count} of code {code}"));
        }
    }
    for name in ["unanswered", "not_received", "duplicates", "early"] {
        if let Some(count @ 1..) = value[name].as_u64() {
            found.push(format!("{name}: {count}"));
        }
    }
    found
}

/// Where a client's answer has the flow of a load, and its latency.
fn names(value: &Value, load: LoadKind) -> (&'static str, &'static str) {
    let main = match load {
        LoadKind::Pull | LoadKind::Filter => "read",
        LoadKind::Delay => "received",
        LoadKind::Transaction => "committed",
        LoadKind::E2e if value["received"].is_object() => "received",
        LoadKind::Send
        | LoadKind::E2e
        | LoadKind::Startup
        | LoadKind::Idle
        | LoadKind::Pending
        | LoadKind::Restart
        | LoadKind::Retention => "sent",
    };
    let latency = match load {
        LoadKind::Pull | LoadKind::Filter => "pull_us",
        LoadKind::Transaction => "transaction_us",
        LoadKind::Send
        | LoadKind::E2e
        | LoadKind::Startup
        | LoadKind::Idle
        | LoadKind::Delay
        | LoadKind::Pending
        | LoadKind::Restart
        | LoadKind::Retention => "send_us",
    };
    (main, latency)
}

/// The figures of a client's answer.
pub(crate) fn values(value: &Value, load: LoadKind) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::new();
    let mut put = |metric: Metric, figure: Option<f64>| {
        if let Some(figure) = figure.filter(|figure| figure.is_finite()) {
            values.insert(metric.key(), figure);
        }
    };
    let (main, latency) = names(value, load);
    let seconds = value["seconds"].as_f64().unwrap_or(0.0);
    let messages = value[main]["messages"].as_f64().unwrap_or(0.0);
    let server = &value["server"];
    let cpu_us = server["cpu_us_per_message"].as_f64();
    if load == LoadKind::Filter {
        let examined = value["examined"].as_f64().unwrap_or(0.0);
        put(Metric::ExaminedPerSecond, Some(examined / seconds));
        put(Metric::CpuUsPerExamined, cpu_us.map(|us| us * messages / examined));
    } else {
        put(Metric::MessagesPerSecond, value[main]["messages_per_second"].as_f64());
        put(Metric::CpuUs, cpu_us);
        put(Metric::MessagesPerCpuSecond, cpu_us.map(|us| 1e6 / us));
    }
    put(Metric::P50Us, value[latency]["p50"].as_f64());
    put(Metric::P99Us, value[latency]["p99"].as_f64());
    put(Metric::P999Us, value[latency]["p99.9"].as_f64());
    put(Metric::MaxUs, value[latency]["max"].as_f64());
    let lateness = &value["lateness_us"];
    put(Metric::LatenessP50Us, lateness["p50"].as_f64());
    put(Metric::LatenessP99Us, lateness["p99"].as_f64());
    put(Metric::LatenessP999Us, lateness["p99.9"].as_f64());
    put(Metric::LatenessMaxUs, lateness["max"].as_f64());
    let end_to_end = &value["end_to_end_us"];
    put(Metric::EndToEndP50Us, end_to_end["p50"].as_f64());
    put(Metric::EndToEndP99Us, end_to_end["p99"].as_f64());
    put(Metric::EndToEndP999Us, end_to_end["p99.9"].as_f64());
    let gib_per_second = value["read"]["gib_per_second"].as_f64();
    put(Metric::GibPerSecond, gib_per_second);
    if load == LoadKind::Pull {
        let gib = gib_per_second.map(|rate| rate * seconds);
        put(Metric::CpuSecondsPerGib, cpu_us.zip(gib).map(|(us, gib)| us * messages / 1e6 / gib));
    }
    put(Metric::ResidentMib, server["resident_max_mib"].as_f64());
    put(Metric::SharedMib, server["shared_mib"].as_f64());
    put(Metric::ProportionalMib, server["proportional_mib"].as_f64());
    put(Metric::DiskBytesPerMessage, server["disk_bytes"].as_f64().map(|bytes| bytes / messages));
    let waits = server["switches_voluntary"].as_f64();
    put(Metric::SwitchesPerSecond, waits.map(|waits| waits / seconds));
    put(Metric::ClientBusyPercent, value["generator_busy_percent"].as_f64());
    values
}

/// Curves of latencies: part of all messages, µs.
pub(crate) fn curves(value: &Value) -> BTreeMap<String, Vec<(f64, f64)>> {
    let mut curves = BTreeMap::new();
    for name in ["send", "end_to_end", "pull", "lateness", "transaction"] {
        let points = value[format!("{name}_us")]["curve"].as_array();
        let points: Vec<(f64, f64)> = points
            .into_iter()
            .flatten()
            .filter_map(|pair| Some((pair[0].as_f64()?, pair[1].as_f64()?)))
            .collect();
        if !points.is_empty() {
            curves.insert(name.to_owned(), points);
        }
    }
    curves
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_are_taken_from_the_clients_line() {
        let line = json!({
            "seconds": 2.0,
            "sent": { "messages": 1000, "messages_per_second": 500.0 },
            "send_us": { "p50": 10.0, "p99": 20.0, "p99.9": 30.0, "max": 40.0, "curve": [[0.5, 10.0]] },
            "server": { "cpu_us_per_message": 4.0, "disk_bytes": 1_200_000, "switches_voluntary": 8 },
            "unanswered": 3,
            "send_errors": { "2": 7 },
        });
        let found = values(&line, LoadKind::Send);
        for (metric, figure) in [
            (Metric::MessagesPerSecond, 500.0),
            (Metric::MessagesPerCpuSecond, 250_000.0),
            (Metric::P999Us, 30.0),
            (Metric::DiskBytesPerMessage, 1200.0),
            (Metric::SwitchesPerSecond, 4.0),
        ] {
            assert_eq!(found.get(&metric.key()), Some(&figure), "{metric:?}");
        }
        assert!(!found.contains_key(&Metric::EndToEndP50Us.key()));
        assert_eq!(problems(&line), ["send_errors: 7 of code 2", "unanswered: 3"]);
        assert_eq!(curves(&line)["send"], [(0.5, 10.0)]);
    }

    #[test]
    fn reading_costs_cpu_per_gib() {
        let line = json!({
            "seconds": 2.0,
            "read": { "messages": 1_000_000, "messages_per_second": 5e5, "gib_per_second": 0.5 },
            "server": { "cpu_us_per_message": 0.5 },
        });
        let found = values(&line, LoadKind::Pull);
        assert_eq!(found.get(&Metric::CpuSecondsPerGib.key()), Some(&0.5));
    }

    #[test]
    fn a_filter_costs_cpu_per_message_that_it_saw() {
        let line = json!({
            "seconds": 2.0,
            "examined": 1_000_000,
            "read": { "messages": 100_000, "messages_per_second": 5e4, "gib_per_second": 0.5 },
            "server": { "cpu_us_per_message": 5.0 },
            "early": 2,
        });
        let found = values(&line, LoadKind::Filter);
        assert_eq!(found.get(&Metric::CpuUsPerExamined.key()), Some(&0.5));
        assert_eq!(found.get(&Metric::ExaminedPerSecond.key()), Some(&5e5));
        assert!(!found.contains_key(&Metric::CpuUs.key()), "it would count other messages");
        assert_eq!(problems(&line), ["early: 2"]);
    }

    #[test]
    fn transactions_and_delays_have_latencies_of_their_own() {
        let line = json!({
            "seconds": 1.0,
            "committed": { "messages": 10, "messages_per_second": 10.0 },
            "received": { "messages": 20, "messages_per_second": 20.0 },
            "transaction_us": { "p50": 7.0 },
            "send_us": { "p50": 8.0 },
            "lateness_us": { "p99": 9.0 },
            "server": { "cpu_us_per_message": 4.0 },
        });
        let figures = |load: LoadKind| {
            let found = values(&line, load);
            [Metric::MessagesPerSecond, Metric::P50Us].map(|metric| found[&metric.key()])
        };
        assert_eq!(figures(LoadKind::Transaction), [10.0, 7.0]);
        assert_eq!(figures(LoadKind::Delay), [20.0, 8.0]);
        assert_eq!(values(&line, LoadKind::Delay)[&Metric::LatenessP99Us.key()], 9.0);
    }
}
