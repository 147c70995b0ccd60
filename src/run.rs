//! The processes themselves: what happens once the configuration is known.

use crate::cli::Start;
use config::{BrokerConfig, NamesrvConfig};
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs a broker until it is told to stop.
pub(crate) fn run_broker(_start: Start<BrokerConfig>) -> ExitCode {
    not_wired("broker")
}

/// Runs a name server until it is told to stop.
pub(crate) fn run_namesrv(_start: Start<NamesrvConfig>) -> ExitCode {
    not_wired("namesrv")
}

/// Runs both in one process until it is told to stop.
pub(crate) fn run_standalone(
    _namesrv: Start<NamesrvConfig>,
    _broker: Start<BrokerConfig>,
) -> ExitCode {
    not_wired("standalone")
}

/// Runs a benchmark with its own arguments.
pub(crate) fn run_bench(arguments: &[OsString]) -> ExitCode {
    crate::cli::bench::run(arguments)
}

fn not_wired(process: &str) -> ExitCode {
    eprintln!("ringmq {process}: not wired yet");
    ExitCode::from(crate::cli::EXIT_START)
}
