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
