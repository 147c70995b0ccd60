//! Benches of single parts of the data path; see `harness.rs` for how, and README.md for what to run.
#![allow(clippy::unwrap_used, reason = "a bench that cannot run ends")]

mod append;
mod codec;
mod filter_cases;
mod harness;
mod host;
mod mesh;
mod queue;
mod timer;
mod turn;

#[path = "../tests/support/bare.rs"]
mod bare;
#[path = "../tests/support/frames.rs"]
mod frames;

use std::process::ExitCode;

fn main() -> ExitCode {
    let families = [
        codec::cases(),
        append::cases(),
        queue::cases(),
        mesh::cases(),
        timer::cases(),
        filter_cases::cases(),
        turn::cases(),
        host::cases(),
    ];
    let cases: Vec<harness::Case> = families.into_iter().flatten().collect();
    harness::run(&cases)
}
