//! Results, as a table for people or one line of JSON for programs.

use super::server::ServerUse;
use super::tally::{Latency, Refusals};
use serde_json::{Value, json};
use shard::stages::{Stage, Stages, Summary};
use std::fmt::Write;

/// Percentiles that are reported: name and part.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
/// A generator that is busy for more of the time than this measures itself.
const BUSY_LIMIT_PERCENT: f64 = 95.0;
/// Parts of the curve in a JSON line.
const CURVE: [f64; 14] =
    [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999, 1.0];
const GIB: f64 = 1_073_741_824.0;

/// Messages within the window.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// What happened to them, for instance `sent`.
    pub(super) name: &'static str,
    /// How many.
    pub(super) messages: u64,
    /// Bytes that count: bodies when sent, stored records when read.
    pub(super) bytes: u64,
}

/// Everything that was found out.
#[derive(Debug)]
pub(super) struct Report {
    /// The load.
    pub(super) load: &'static str,
    /// Its parameters: name and value, for the headline and the JSON line.
    pub(super) parameters: Vec<(&'static str, Value)>,
    /// Further figures of the JSON line.
    pub(super) details: Vec<(&'static str, Value)>,
    /// Seconds that were measured.
    pub(super) seconds: f64,
    /// Messages.
    pub(super) flows: Vec<Flow>,
    /// Latencies: what they are, and their distribution.
    pub(super) latencies: Vec<(&'static str, Latency)>,
    /// Refusals: of what, and which.
    pub(super) refusals: Vec<(&'static str, Refusals)>,
    /// Further counts that should be 0.
    pub(super) losses: Vec<(&'static str, u64)>,
    /// How long the broker took to each stage, where it tells.
    pub(super) stages: Option<Stages>,
    /// What the server used; the first flow counts its messages.
    pub(super) server: Option<ServerUse>,
    /// Part of the time in which the generator had something to do, in percent.
    pub(super) busy_percent: f64,
    /// Longest time a request started later than intended, in microseconds.
    pub(super) late_max_us: Option<f64>,
}

impl Report {
    fn per_second(&self, count: u64) -> f64 {
        if self.seconds > 0.0 { count as f64 / self.seconds } else { 0.0 }
    }

    fn messages(&self) -> u64 {
        self.flows.first().map_or(0, |flow| flow.messages)
    }

    fn server_us_per_message(&self, server: &ServerUse) -> Option<f64> {
        let messages = self.messages();
        (messages > 0).then(|| server.cpu_ns as f64 / 1000.0 / messages as f64)
    }

    /// Whether anything was counted at all.
    pub(super) fn is_empty(&self) -> bool {
        self.messages() == 0
    }

    /// One line.
    pub(super) fn json(&self) -> String {
        let mut object = serde_json::Map::new();
        object.insert("load".to_owned(), json!(self.load));
        for (name, value) in &self.parameters {
            object.insert((*name).to_owned(), value.clone());
        }
        object.insert("seconds".to_owned(), json!(round(self.seconds)));
        for flow in &self.flows {
            let value = json!({
                "messages": flow.messages,
                "messages_per_second": round(self.per_second(flow.messages)),
                "mb_per_second": round(self.per_second(flow.bytes) / 1e6),
                "gib_per_second": round(self.per_second(flow.bytes) / GIB),
            });
            object.insert(flow.name.to_owned(), value);
        }
        for (name, latency) in &self.latencies {
            let mut value = serde_json::Map::new();
            value.insert("count".to_owned(), json!(latency.count()));
            for (quantile, part) in QUANTILES {
                value.insert(quantile.to_owned(), json!(round(latency.quantile_us(part))));
            }
            value.insert("max".to_owned(), json!(round(latency.max_us())));
            let curve = CURVE.map(|part| json!([part, round(latency.quantile_us(part))]));
            value.insert("curve".to_owned(), json!(curve));
            object.insert(format!("{}_us", name.replace(' ', "_")), Value::Object(value));
        }
        for (name, refusals) in &self.refusals {
            let codes: serde_json::Map<String, Value> =
                refusals.iter().map(|(code, count, _)| (code.to_string(), json!(count))).collect();
            object.insert(format!("{name}_errors"), Value::Object(codes));
        }
        for (name, count) in &self.losses {
            object.insert((*name).to_owned(), json!(count));
        }
        if let Some(stages) = &self.stages {
            object.insert("stages_us".to_owned(), stages_json(stages));
        }
        for (name, value) in &self.details {
            object.insert((*name).to_owned(), value.clone());
        }
        if let Some(server) = &self.server {
            object.insert("server".to_owned(), self.server_json(server));
        }
        object.insert("generator_busy_percent".to_owned(), json!(round(self.busy_percent)));
        if let Some(late_us) = self.late_max_us {
            object.insert("generator_late_max_us".to_owned(), json!(round(late_us)));
        }
        Value::Object(object).to_string()
    }

    fn server_json(&self, server: &ServerUse) -> Value {
        json!({
            "cpu_us_per_message": self.server_us_per_message(server).map(round),
            "cpu_percent": round(self.server_percent(server)),
            "switches_voluntary": server.switches_voluntary,
            "switches_involuntary": server.switches_involuntary,
            "resident_mib": round(server.resident_kib as f64 / 1024.0),
            "resident_max_mib": round(server.resident_max_kib as f64 / 1024.0),
            "shared_mib": round(server.shared_kib as f64 / 1024.0),
            "proportional_mib": round(server.proportional_kib as f64 / 1024.0),
            "disk_bytes": server.disk_bytes,
        })
    }

    fn server_percent(&self, server: &ServerUse) -> f64 {
        if self.seconds > 0.0 { server.cpu_ns as f64 / 1e7 / self.seconds } else { 0.0 }
    }

    /// A table.
    pub(super) fn table(&self) -> String {
        let mut out = format!("{}:", self.load);
        for (name, value) in self.parameters.iter().filter(|(_, value)| !value.is_null()) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            put(&mut out, format_args!(" {name}={text}"));
        }
        put(&mut out, format_args!(", {:.1} s measured\n", self.seconds));
        for flow in &self.flows {
            let (rate, bytes) = (self.per_second(flow.messages), self.per_second(flow.bytes));
            let (mb, gib) = (bytes / 1e6, bytes / GIB);
            let text = format_args!("{rate:.0} messages/s, {mb:.1} MB/s ({gib:.3} GiB/s)");
            row(&mut out, flow.name, text);
        }
        for (name, latency) in &self.latencies {
            let mut text = String::new();
            for (quantile, part) in QUANTILES {
                put(&mut text, format_args!("{quantile} {:.1}, ", latency.quantile_us(part)));
            }
            row(&mut out, name, format_args!("{text}max {:.1} µs", latency.max_us()));
        }
        if let Some(stages) = &self.stages {
            put_stages(&mut out, stages);
        }
        self.put_problems(&mut out);
        if let Some(server) = &self.server {
            self.put_server(&mut out, server);
        }
        let late = self.late_max_us.map(|us| format!(", latest start {us:.1} µs"));
        let busy = self.busy_percent;
        row(&mut out, "generator", format_args!("busy {busy:.0} %{}", late.unwrap_or_default()));
        if self.busy_percent > BUSY_LIMIT_PERCENT {
            row(&mut out, "", format_args!("the load generator may be the bottleneck"));
        }
        out
    }

    fn put_problems(&self, out: &mut String) {
        let mut is_clean = true;
        for (name, refusals) in &self.refusals {
            for (code, count, remark) in refusals.iter() {
                is_clean = false;
                let code_name = wire::codes::response_name(code).unwrap_or("unknown code");
                row(out, "errors", format_args!("{name}: {count} × {code} {code_name} {remark}"));
            }
        }
        for (name, count) in self.losses.iter().filter(|(_, count)| *count > 0) {
            is_clean = false;
            row(out, "errors", format_args!("{name}: {count}"));
        }
        if is_clean {
            row(out, "errors", format_args!("none"));
        }
    }

    fn put_server(&self, out: &mut String, server: &ServerUse) {
        let cpu = self.server_us_per_message(server).unwrap_or(0.0);
        let percent = self.server_percent(server);
        row(out, "server", format_args!("{cpu:.2} CPU-µs/message, {percent:.1} % of one CPU"));
        let resident_mib = server.resident_kib as f64 / 1024.0;
        let waits = self.per_second(server.switches_voluntary);
        let preemptions = self.per_second(server.switches_involuntary);
        let text = format!("{waits:.0} waits/s, {preemptions:.0} preemptions/s");
        row(out, "", format_args!("{resident_mib:.0} MiB resident, {text}"));
        if server.disk_bytes > 0 {
            let (mib, each) = (server.disk_bytes as f64 / 1_048_576.0, self.messages().max(1));
            let each = server.disk_bytes as f64 / each as f64;
            row(out, "", format_args!("{mib:.0} MiB to disk, {each:.0} bytes per message"));
        }
    }
}

fn told(stages: &Stages) -> impl Iterator<Item = (Stage, Summary)> {
    let all = Stage::ALL.into_iter().map(|stage| (stage, stages.summary(stage)));
    all.filter(|(_, summary)| summary.count > 0)
}

fn stages_json(stages: &Stages) -> Value {
    let figures = told(stages).map(|(stage, s)| {
        let value = json!({
            "count": s.count, "p50": s.p50_us, "p99": s.p99_us, "p99.9": s.p999_us, "max": s.max_us,
        });
        (stage.name().to_owned(), value)
    });
    Value::Object(figures.collect())
}

fn put_stages(out: &mut String, stages: &Stages) {
    for (stage, s) in told(stages) {
        let Summary { count, p50_us, p99_us, p999_us, max_us } = s;
        let figures = format!("p50 {p50_us}, p99 {p99_us}, p99.9 {p999_us}, max {max_us} µs");
        row(out, stage.name(), format_args!("{figures} ({count}, in the broker)"));
    }
}

fn row(out: &mut String, name: &str, text: std::fmt::Arguments<'_>) {
    put(out, format_args!("  {name:<12} {text}\n"));
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string cannot fail");
}

/// Three decimals are more than a measurement is worth.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::time::MonoNs;

    fn report() -> Report {
        let mut latency = Latency::new();
        latency.record(MonoNs(0), MonoNs(250_000));
        Report {
            load: "send",
            parameters: vec![
                ("connections", json!(64)),
                ("rate", Value::Null),
                ("serialize", json!("json")),
            ],
            details: vec![("reply_bytes", json!(200.5))],
            seconds: 2.0,
            flows: vec![Flow { name: "sent", messages: 1000, bytes: 1_024_000 }],
            latencies: vec![("send", latency)],
            refusals: vec![("send", Refusals::default())],
            losses: vec![("unanswered", 3)],
            stages: None,
            server: Some(ServerUse { cpu_ns: 5_000_000, resident_kib: 2048, ..Default::default() }),
            busy_percent: 12.5,
            late_max_us: Some(1.25),
        }
    }

    #[test]
    fn figures_are_per_second_and_per_message() {
        let table = report().table();
        for part in [
            "send: connections=64 serialize=json, 2.0 s measured",
            "500 messages/s, 0.5 MB/s",
            "p50 250.1, ",
            "unanswered: 3",
            "5.00 CPU-µs/message, 0.2 % of one CPU",
            "2 MiB resident",
            "busy 12 %, latest start 1.2 µs",
        ] {
            assert!(table.contains(part), "{part}\n{table}");
        }
    }

    #[test]
    fn the_json_line_holds_the_same_figures() {
        let line = report().json();
        assert!(!line.contains('\n'));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["sent"]["messages_per_second"], json!(500.0));
        assert_eq!(value["server"]["cpu_us_per_message"], json!(5.0));
        assert_eq!(value["send_us"]["count"], json!(1));
        assert_eq!(value["send_us"]["curve"][13], json!([1.0, 250.111]));
        assert_eq!(value["reply_bytes"], json!(200.5));
        assert_eq!((&value["connections"], &value["unanswered"]), (&json!(64), &json!(3)));
    }
}
