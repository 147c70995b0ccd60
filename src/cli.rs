//! The command line: Java's flags and exit codes, the environment, and the way from files to a typed configuration.
//!
//! Nothing after this module reads arguments or environment variables.

mod args;
pub(crate) mod bench;
mod load;
mod machine;
mod ports;
mod shutdown;
mod standalone;
mod store;

pub(crate) use load::Start;

use crate::{logging, run};
use args::{Cli, Command, ServerArgs};
use clap::Parser;
use load::{Failure, Source};
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Exit status for a wrong option (Java: 1).
pub(crate) const EXIT_OPTION: u8 = 1;
/// Exit status for illegal name server addresses and for a slave without a number (Java: -3).
pub(crate) const EXIT_ADDRESS: u8 = 253;
/// Exit status for everything else that prevents a start (Java: -1).
pub(crate) const EXIT_START: u8 = 255;

/// Runs what the arguments ask for.
pub(crate) fn dispatch(arguments: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args::normalised(arguments)) {
        Ok(cli) => cli,
        Err(error) => {
            // Printing fails only when nobody can read it any more.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(EXIT_OPTION)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let outcome = match cli.command {
        Command::Broker(args) => broker(&args),
        Command::Namesrv(args) => namesrv(&args),
        Command::Standalone(args) => standalone::start(&args),
        Command::Bench { arguments } => Ok(run::run_bench(&arguments)),
        Command::Shutdown(args) => Ok(shutdown::run(&args)),
        Command::Store(args) => Ok(store::run(&args)),
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("{}", failure.text.trim_end());
        ExitCode::from(failure.exit)
    })
}

fn broker(args: &ServerArgs) -> Result<ExitCode, Failure> {
    let source = source_of(args);
    let start = load::broker(&source, Vec::new())?;
    load::show_warnings(&start.notices);
    if let Some(listing) = listing(args, &start.table) {
        return Ok(print(&listing));
    }
    if args.enable_proxy {
        eprintln!("--enable-proxy: the gRPC proxy is not there yet; the broker starts without it");
    }
    let config = &start.config;
    let _log = log_to_files("broker", &config.log_path, config.log_time_zone_minutes)?;
    load::log_notices(&start.notices);
    Ok(run::run_broker(start))
}

fn namesrv(args: &ServerArgs) -> Result<ExitCode, Failure> {
    let source = source_of(args);
    let start = load::namesrv(&source, Vec::new())?;
    load::show_warnings(&start.notices);
    if let Some(listing) = listing(args, &start.table) {
        return Ok(print(&listing));
    }
    if let Some(file) = &args.config_file {
        let line = format!("load config properties file OK, {}", file.display());
        logging::show(std::io::stdout(), &line);
    }
    let config = &start.config;
    let _log = log_to_files("namesrv", &config.log_path, config.log_time_zone_minutes)?;
    load::log_notices(&start.notices);
    Ok(run::run_namesrv(start))
}

fn source_of(args: &ServerArgs) -> Source {
    Source {
        machine: machine::collect(),
        config_file: args.config_file.clone(),
        namesrv_addr: args.namesrv_addr.clone(),
    }
}

fn log_to_files(
    process: &'static str,
    directory: &Path,
    zone_minutes: i32,
) -> Result<logging::Guard, Failure> {
    logging::to_files(process, directory, zone_minutes).map_err(|error| {
        Failure::start(format!("{}: cannot write log files: {error}", directory.display()))
    })
}

fn listing(args: &ServerArgs, table: &base::config::Config) -> Option<String> {
    if args.print_config_item {
        Some(config::print_all(table))
    } else if args.print_important_config {
        Some(config::print_important(table))
    } else {
        None
    }
}

fn print(text: &str) -> ExitCode {
    // A reader such as `head` may close the pipe early, which is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
