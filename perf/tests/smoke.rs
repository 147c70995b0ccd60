//! The whole way of the harness with runs of one second: scenario file, servers, client, results, report, pictures.
//! No figure is judged here.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::path::Path;
use std::process::{Command, Output};

const SCENARIO: &str = r#"
title = "Smoke"
load = "send"
systems = ["ringmq", "ring"]
pictures = ["percentiles", "throughput", "cpu"]
verify = true
[sweep]
connections = [1, 4]
[[goal]]
id = "G"
metric = "messages_per_cpu_second"
at = { connections = 4 }
than = "ring"
at_least = 0.0
"#;

fn perf(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perf")).args(arguments).output().unwrap()
}

fn done(arguments: &[&str]) -> String {
    let output = perf(arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    errors
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_scenario_becomes_lines_a_table_and_pictures() {
    let ringmq = Path::new(env!("CARGO_BIN_EXE_perf")).with_file_name("ringmq");
    assert!(ringmq.is_file(), "cargo build makes {} first", ringmq.display());
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (scenario, results, work) = (path("smoke.toml"), path("results.jsonl"), path("work"));
    std::fs::write(&scenario, SCENARIO).unwrap();
    let run = ["run", &scenario, "--quick", "--out", &results, "--work", &work];
    let log = done(&run);
    let lines: Vec<serde_json::Value> =
        text(Path::new(&results)).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["kind"], "machine");
    assert_eq!(lines.len(), 1 + 2 * 2, "{log}");
    for line in &lines[1..] {
        assert_eq!((&line["kind"], &line["problems"]), (&"run".into(), &serde_json::Value::Null));
        assert!(line["values"]["messages_per_second"].as_f64().unwrap() > 0.0, "{line}");
        assert!(line["values"]["cpu_us"].as_f64().unwrap() > 0.0, "{line}");
    }
    let left: Vec<_> = std::fs::read_dir(&work).unwrap().collect();
    assert!(left.is_empty(), "stores are removed: {left:?}");
    let out = directory.path().display().to_string();
    done(&["report", "--results", &results, "--out", &out, &scenario]);
    let table = text(&directory.path().join("RESULTS.md"));
    for part in
        ["## Smoke", "| connections=4 | ringmq |", "| G | smoke connections=4 |", "read back"]
    {
        assert!(table.contains(part), "{part}\n{table}");
    }
    for name in ["smoke-percentiles.svg", "smoke-throughput.svg", "smoke-cpu.svg"] {
        let svg = text(&directory.path().join(name));
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("RingMQ"));
    }
}

/// Loads of what clients ask for beyond sending and pulling, and of stores, and the figures each must have.
const LOADS: [(&str, &str, &[&str]); 6] = [
    (
        "delay",
        "base = { rate = 200, delay_ms = 1000 }\npoint = [{ delay_level = 1 }, {}]",
        &["lateness_p50_us", "lateness_p999_us", "cpu_us", "messages_per_second"],
    ),
    (
        "transaction",
        "base = { connections = 2 }\nsweep = { pullers = [0, 1] }",
        &["messages_per_second", "cpu_us", "p50_us", "p99_us"],
    ),
    (
        "filter",
        "base = { body = 64, backlog_mib = 1 }\n\
         sweep = { filter = [\"none\", \"tags\", \"sql\", \"sql_complex\"] }\n\
         settings = { ringmq = { enablePropertyFilter = \"true\" } }",
        &["examined_per_second", "cpu_us_per_examined"],
    ),
    (
        "pending",
        "base = { rate = 200, delay_ms = 7200000, pending = 500 }\n\
         point = [{ delay_level = 18 }, {}]",
        &["idle_cpu_percent", "p99_us", "resident_mib"],
    ),
    (
        "restart",
        "base = { connections = 2, backlog_mib = 1 }\nsweep = { body = [128, 1024] }",
        &[
            "start_ms",
            "stop_ms",
            "crash_start_ms",
            "recovered_gib_per_second",
            "disk_gib_per_second",
        ],
    ),
    (
        "retention",
        "base = { rate = 2000, backlog_mib = 16 }\nsweep = { expire = [false, true] }\n\
         settings = { ringmq = { mappedFileSizeCommitLog = \"4194304\", maxMessageSize = \"65536\", \
         fileReservedTime = \"1\", cleanResourceInterval = \"100\", \
         deleteWhen = \"0;1;2;3;4;5;6;7;8;9;10;11;12;13;14;15;16;17;18;19;20;21;22;23\" } }",
        &["p99_us", "messages_per_second"],
    ),
];

#[test]
fn every_other_load_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    for (load, rest, figures) in LOADS {
        let (scenario, results, work) =
            (path(&format!("{load}.toml")), path(&format!("{load}.jsonl")), path("work"));
        let head = format!("title = \"{load}\"\nload = \"{load}\"\nsystems = [\"ringmq\"]\n");
        std::fs::write(&scenario, format!("{head}{rest}\n")).unwrap();
        let log = done(&["run", &scenario, "--quick", "--out", &results, "--work", &work]);
        let text = text(Path::new(&results));
        let runs: Vec<serde_json::Value> =
            text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(runs.len() >= 2, "{load}: {log}");
        for run in &runs {
            assert_eq!(run["problems"], serde_json::Value::Null, "{load}: {log}");
            for figure in figures {
                assert!(run["values"][*figure].is_f64(), "{load} has no {figure}: {run}");
            }
        }
    }
}

#[test]
fn every_scenario_of_the_repository_is_valid() {
    done(&["list"]);
}

#[test]
fn a_wrong_scenario_is_an_error_that_names_file_and_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wrong.toml").display().to_string();
    std::fs::write(&path, SCENARIO.replace("sweep", "sweeps")).unwrap();
    let output = perf(&["run", &path]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(errors.contains("wrong.toml") && errors.contains("sweeps"), "{errors}");
}
