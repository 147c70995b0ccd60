//! `ringmq store`: a store looked at and repaired while no broker runs; looking also works beside a running one.
//!
//! Exit status: 0 all well, 1 findings (or, for `repair`, something left to do), 2 the store cannot be looked at. A wrong
//! option is 1, as everywhere.

mod check;
mod entries;
mod info;
mod items;
mod layout;
mod mend;
mod place;
mod progress;
mod repair;
mod report;
mod show;
mod times;
mod walk;

use ::store::recovery::Proof;
use clap::{Args, Subcommand};
use place::{Place, Told};
use progress::Watch;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit status of a check with findings.
const EXIT_FINDINGS: u8 = 1;
/// Exit status when the store cannot be looked at.
const EXIT_TROUBLE: u8 = 2;
/// Exit status after an interrupt: 128 + SIGINT, as shells report it.
const EXIT_INTERRUPTED: u8 = 130;

#[derive(Args, Debug)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// What kind of store it is, its logs, queues, index and checkpoints
    Info(InfoArgs),
    /// Check every record, queue entry and index item; changes nothing
    ///
    /// Exit status: 0 clean, 1 findings, 2 the store cannot be checked. A finding is an error (damage), a warning (left by
    /// a process that died; the next start mends it) or a note (nothing is wrong). While a broker uses the store, what
    /// concerns the moving ends of its files is left out.
    Check(CheckArgs),
    /// List the records of the log, with fillers and damage
    Dump(show::DumpArgs),
    /// List the messages that match; exit status 1 when there is none
    Grep(show::DumpArgs),
    /// Write the messages that match into a file, one JSON object per line
    Export(show::ExportArgs),
    /// Put right what a check has found; without --apply only say what would be done
    ///
    /// Makes queue files from the log, lets the next start make the index, clears what lies behind the end of the log, and,
    /// when told how, ends the log at a position or steps over damaged places. What is cut or overwritten is first copied to
    /// DIR/cut. Exit status: 0 nothing is left to do, 1 something is, 2 the store is in use or cannot be read.
    Repair(repair::RepairArgs),
    /// Give a stopped, clean store another number of streams; without --apply only say what would be done
    ///
    /// Writes all records anew, each to the stream of its queue, checks the result and then puts it in the place of the old
    /// files, which stay in DIR/cut until you remove them. Needs as much free space as the log takes. Offset message ids
    /// and handles of open transactions that clients hold name old places and lead nowhere afterwards. The way back is the same
    /// command with another number.
    Layout(layout::LayoutArgs),
}

/// Which store.
#[derive(Args, Debug)]
struct Which {
    /// The store's directory (storePathRootDir), Java's or RingMQ's, or a copy of it
    #[arg(value_name = "DIR")]
    root: PathBuf,
    /// Properties file of its broker: file sizes, delay levels, log directory
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    config_file: Option<PathBuf>,
}

impl Which {
    fn place(&self) -> Result<Place, Trouble> {
        let config_file = self.config_file.clone();
        Place::find(&Told { root: self.root.clone(), config_file })
    }
}

/// Form of an answer.
#[derive(Args, Debug)]
struct Answer {
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct InfoArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    answer: Answer,
}

#[derive(Args, Debug)]
struct CheckArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    answer: Answer,
    /// Only lengths, places and queue entries: no CRC, no index
    #[arg(long)]
    fast: bool,
}

/// Why a store cannot be looked at: a path and what is wrong with it.
#[derive(Debug)]
struct Trouble {
    path: PathBuf,
    text: String,
    is_interrupt: bool,
}

impl Trouble {
    fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Trouble {
        Trouble { path: path.into(), text: text.into(), is_interrupt: false }
    }

    fn io(path: &Path, error: io::Error) -> Trouble {
        let is_interrupt = error.kind() == io::ErrorKind::Interrupted;
        Trouble { path: path.to_path_buf(), text: error.to_string(), is_interrupt }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.text)
    }
}

/// Runs a command.
pub(crate) fn run(args: &StoreArgs) -> ExitCode {
    let watch = Watch::new();
    let done = match &args.command {
        Command::Info(args) => info::run(args),
        Command::Check(args) => run_check(args, &watch),
        Command::Dump(args) => show::dump(args, false, &watch),
        Command::Grep(args) => show::dump(args, true, &watch),
        Command::Export(args) => show::export(args, &watch),
        Command::Repair(args) => repair::run(args, &watch),
        Command::Layout(args) => layout::run(args, &watch),
    };
    watch.finish();
    match done {
        Ok(code) => code,
        Err(trouble) if trouble.is_interrupt => {
            eprintln!("interrupted");
            ExitCode::from(EXIT_INTERRUPTED)
        }
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::from(EXIT_TROUBLE)
        }
    }
}

fn run_check(args: &CheckArgs, watch: &Watch) -> Result<ExitCode, Trouble> {
    let place = args.which.place()?;
    let proof = if args.fast { Proof::Lengths } else { Proof::Whole };
    let checked = check::check(&place, proof, watch)?;
    watch.finish();
    if args.answer.json {
        let mut value = checked.report.json();
        let streams: Vec<_> = checked.streams.iter().map(info::stream_facts).collect();
        value["streams"] = streams.into();
        value["inUseBy"] = place.user.into();
        print(&format!("{value:#}\n"));
    } else {
        let mut text = String::new();
        for facts in &checked.streams {
            text += &info::stream_line(facts);
        }
        text += &checked.report.text(&place.root);
        print(&text);
    }
    Ok(if checked.report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FINDINGS) })
}

fn print(text: &str) {
    // A reader such as `head` may close the pipe early, which is no failure.
    let _ = io::stdout().write_all(text.as_bytes());
}
