//! `perf`: runs RingMQ, the Java broker and a bare ring side by side, with one client, and reports what they cost.
//!
//! `run` appends one JSON line per run to a results file, `report` makes tables and pictures of it. See README.md.
#![forbid(unsafe_code)]

mod bench;
mod checks;
mod machine;
mod metric;
mod pauses;
mod picture;
mod process;
mod record;
mod report;
mod ring;
mod run;
mod scenario;
mod statistics;
mod system;
mod verdict;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Compares RingMQ with the Java broker and with the limit of its own design.
#[derive(Parser, Debug)]
#[command(name = "perf", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run scenarios; each run adds a line to the results
    Run(run::RunArgs),
    /// Make RESULTS.md and pictures of the results
    Report(report::ReportArgs),
    /// The scenarios and their load points
    List(run::ListArgs),
    /// The fingerprint of this machine
    Machine(run::MachineArgs),
    /// The bare ring: the server that the broker is compared with
    Ring(ring::RingArgs),
}

fn main() -> ExitCode {
    let result = match &Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Report(args) => report::report(args),
        Command::List(args) => run::list(args),
        Command::Machine(args) => run::machine(args),
        Command::Ring(args) => ring::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("perf: {what}");
            ExitCode::FAILURE
        }
    }
}
