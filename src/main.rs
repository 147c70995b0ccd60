//! `ringmq`: one executable; the subcommand, or the name it is called by, picks the process.
#![forbid(unsafe_code)]

mod cli;
mod logging;
mod run;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::dispatch(std::env::args_os().collect())
}
