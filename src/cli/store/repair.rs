//! `ringmq store repair`: what a check calls damage is put right, after it was said what will be done.
//!
//! First the log (sizes, tail, cut, holes), then what derives from it, each from a check of its own. Nothing is changed
//! without `--apply`, and what is overwritten or cut is in the store's `cut` directory before: a crash in between leaves a
//! store that can be repaired again.

use super::check::{Checked, StreamFacts, check};
use super::entries::BadQueues;
use super::mend;
use super::place::{Place, StreamPlace, index_files};
use super::progress::Watch;
use super::walk::{Step, Walk, read_full};
use super::{EXIT_FINDINGS, Trouble, Which, print};
use clap::Args;
use shard::disk::{Access, Disk, DiskFile, LocalDisk, make_durable_dirs, move_file, write_full_at};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::layout::{queue_table, segment};
use store::recovery::Proof;
use wire::ids::StreamId;

/// Bytes copied at a time.
const CHUNK_BYTES: u64 = 4 << 20;

#[derive(Args, Debug)]
pub(super) struct RepairArgs {
    #[command(flatten)]
    which: Which,
    /// Do it; without this option only what would be done is said
    #[arg(long)]
    apply: bool,
    /// Stream that --cut-at and --step-over are for [default: 0 for a cut, all to step over]
    #[arg(long, value_name = "N")]
    stream: Option<u16>,
    /// End the log at this position, the start or end of a record; what follows is kept in cut/
    #[arg(long, value_name = "POS", conflicts_with = "step_over")]
    cut_at: Option<u64>,
    /// Keep the records behind damaged places; the messages in these places are lost
    #[arg(long)]
    step_over: bool,
    /// Give up what a killed broker had only in its log window
    #[arg(long)]
    drop_window: bool,
}

/// One change, small enough to be described in a line.
#[derive(Debug)]
pub(super) enum Act {
    /// Gives a file a size; what it loses is kept.
    Resize { path: PathBuf, from: u64, to: u64 },
    /// Makes a segment of zeros.
    Create { path: PathBuf, bytes: u64 },
    /// Zeroes bytes of a file; they are kept.
    Zero { path: PathBuf, from: u64, to: u64 },
    /// Moves a file out of the store.
    SetAside { path: PathBuf },
    /// Lets the log go on over a damaged place of one segment; its bytes are kept.
    Bridge {
        stream: StreamId,
        path: PathBuf,
        base: u64,
        from: u64,
        to: u64,
        ends_segment: bool,
        resume: u64,
    },
    /// Makes queue files again; `None`: all.
    Queues { queues: Option<BadQueues> },
    /// Makes an empty file.
    Touch { path: PathBuf },
}

impl Act {
    fn describe(&self) -> String {
        match self {
            Act::Resize { path, from, to } => {
                format!("give {} its size of {to} bytes (it has {from})", path.display())
            }
            Act::Create { path, bytes } => format!("make {} with {bytes} bytes", path.display()),
            Act::Zero { path, from, to } => {
                format!("clear bytes {from} to {to} of {}, with a copy in cut/", path.display())
            }
            Act::SetAside { path } => format!("move {} to cut/", path.display()),
            Act::Bridge { path, base, from, to, .. } => format!(
                "fill bytes {} to {} of {} so that the log goes on at {to}, with a copy in cut/",
                from - base,
                to - base,
                path.display()
            ),
            Act::Queues { queues: None } => "make all queue files from the log".to_owned(),
            Act::Queues { queues: Some(queues) } => {
                format!(
                    "make the files of {} queues from the log, with copies in cut/",
                    queues.len()
                )
            }
            Act::Touch { path } => format!("make {}", path.display()),
        }
    }

    fn apply(&self, place: &Place, watch: &Watch) -> Result<(), Trouble> {
        match self {
            Act::Resize { path, from, to } => {
                if from > to {
                    keep(place, path, *to, *from)?;
                }
                let sized = LocalDisk.open(path, Access::Write).and_then(|file| {
                    file.set_bytes(*to)?;
                    file.sync_all()
                });
                sized.map_err(|e| Trouble::io(path, e))
            }
            Act::Create { path, bytes } => {
                let made = LocalDisk.open(path, Access::CreateNew).and_then(|file| {
                    file.allocate(*bytes)?;
                    file.sync_all()
                });
                made.map_err(|e| Trouble::io(path, e))?;
                sync_parent(path)
            }
            Act::Zero { path, from, to } => {
                keep(place, path, *from, *to)?;
                zero(path, *from, *to)
            }
            Act::SetAside { path } => set_aside(place, path),
            Act::Bridge { stream, path, base, from, to, ends_segment, resume } => {
                keep(place, path, from - base, to - base)?;
                let (stream, base, resume) = (*stream, *base, *resume);
                let gap = mend::Gap { stream, base, from: *from, to: *to, resume };
                mend::bridge(place, path, &gap, *ends_segment)
            }
            Act::Queues { queues } => mend::queues(place, queues.as_ref(), watch),
            Act::Touch { path } => {
                LocalDisk.open(path, Access::Create).map_err(|e| Trouble::io(path, e))?;
                sync_parent(path)
            }
        }
    }
}

/// What is to be done, and what cannot be without the operator's word.
#[derive(Default)]
struct Plan {
    acts: Vec<Act>,
    undecided: Vec<String>,
}

impl Plan {
    fn set_aside_checkpoint(&mut self, stream: &StreamPlace) {
        let path = stream.checkpoint.clone();
        let is_there = |act: &Act| matches!(act, Act::SetAside { path: other } if *other == path);
        if path.exists() && !self.acts.iter().any(is_there) {
            self.acts.push(Act::SetAside { path });
        }
    }
}

/// Runs `repair`. Exit status: 0 nothing is (or was) left to do, 1 something is.
pub(super) fn run(args: &RepairArgs, watch: &Watch) -> Result<ExitCode, Trouble> {
    let place = args.which.place()?;
    if let Some(pid) = place.user {
        let text = format!("process {pid} is using the store; stop it first");
        return Err(Trouble::new(&place.root, text));
    }
    let _lock = if args.apply { Some(lock(&place.root)?) } else { None };
    let windows = windows(&place, args)?;
    let checked = check(&place, Proof::Whole, watch)?;
    let mut plan = log_plan(&place, &checked, args, watch)?;
    plan.acts.splice(0..0, windows);
    let log_changes = !plan.acts.is_empty();
    // While a damaged place may still be restored from a copy, what derives from its records stays.
    let is_decided = plan.undecided.is_empty();
    if is_decided && (!args.apply || !log_changes) {
        derived_plan(&place, &checked, &mut plan)?;
    }
    watch.finish();
    if !args.apply {
        return Ok(say(&plan, log_changes));
    }
    perform(&place, &plan, watch)?;
    let place = args.which.place()?;
    if log_changes && is_decided {
        let checked = check(&place, Proof::Whole, watch)?;
        let mut derived = Plan::default();
        derived_plan(&place, &checked, &mut derived)?;
        perform(&place, &derived, watch)?;
    }
    let place = args.which.place()?;
    let checked = check(&place, Proof::Whole, watch)?;
    watch.finish();
    for text in &plan.undecided {
        print(&format!("left: {text}\n"));
    }
    print(&checked.report.text(&place.root));
    Ok(if checked.report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FINDINGS) })
}

fn say(plan: &Plan, log_changes: bool) -> ExitCode {
    for act in &plan.acts {
        print(&format!("would {}\n", act.describe()));
    }
    for text in &plan.undecided {
        print(&format!("left: {text}\n"));
    }
    if plan.acts.is_empty() && plan.undecided.is_empty() {
        print("nothing to repair\n");
        return ExitCode::SUCCESS;
    }
    if !plan.undecided.is_empty() {
        print("queue files and index wait for that decision\n");
    } else if log_changes {
        print("queue files and index are looked at again when the log is repaired\n");
    }
    print("nothing was changed; --apply does it\n");
    ExitCode::from(EXIT_FINDINGS)
}

fn perform(place: &Place, plan: &Plan, watch: &Watch) -> Result<(), Trouble> {
    for act in &plan.acts {
        watch.finish();
        print(&format!("{}\n", act.describe()));
        act.apply(place, watch)?;
    }
    Ok(())
}

pub(super) fn lock(root: &Path) -> Result<File, Trouble> {
    let path = root.join("lock");
    let held = LocalDisk.lock(&path).map_err(|e| Trouble::io(&path, e))?;
    let held = held.ok_or_else(|| Trouble::new(&path, "the lock was not given"))?;
    // The next start looks at all queues again.
    let path = root.join(queue_table::FILE_NAME);
    match fs::remove_file(&path) {
        Ok(()) => sync_parent(&path)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(Trouble::io(&path, e)),
    }
    Ok(held)
}

/// A killed broker's window holds log that the next start writes back, over whatever was done here.
fn windows(place: &Place, args: &RepairArgs) -> Result<Vec<Act>, Trouble> {
    if !place.is_abort || place.windows.is_empty() {
        return Ok(Vec::new());
    }
    if !args.drop_window {
        let first = place.windows.first().map_or(Path::new(""), PathBuf::as_path);
        let text = "a killed broker's log window is still there: start the broker, which writes the rest of the log back, \
                    or give that up with --drop-window";
        return Err(Trouble::new(first, text));
    }
    Ok(place.windows.iter().map(|path| Act::SetAside { path: path.clone() }).collect())
}

fn log_plan(
    place: &Place,
    checked: &Checked,
    args: &RepairArgs,
    watch: &Watch,
) -> Result<Plan, Trouble> {
    let mut plan = Plan::default();
    let cut_stream = args.stream.unwrap_or(0);
    if args.cut_at.is_some() && !place.streams.iter().any(|s| s.stream.0 == cut_stream) {
        let text = format!("the store has the streams 0 to {}", place.streams.len() - 1);
        return Err(Trouble::new("--stream", text));
    }
    for (stream, facts) in place.streams.iter().zip(&checked.streams) {
        resize(place, stream, &mut plan);
        let cut_at = args.cut_at.filter(|_| stream.stream.0 == cut_stream);
        if let Some(at) = cut_at {
            check_boundary(place, stream, facts, at, watch)?;
            cut(place, stream, at, &mut plan);
        } else {
            let steps = args.step_over && args.stream.is_none_or(|n| n == stream.stream.0);
            holes(place, stream, facts, steps, &mut plan)?;
            if facts.walk.used_behind.is_some() {
                cut(place, stream, facts.walk.end, &mut plan);
            }
        }
        let end = cut_at.unwrap_or(facts.walk.end).min(facts.walk.end);
        let is_ahead = |at: Option<u64>| at.is_some_and(|at| at > end);
        let checkpoint = stream.read_checkpoint()?.map(|(checkpoint, _)| checkpoint);
        let lies = checkpoint.is_some_and(|c| {
            is_ahead(c.dispatched) || is_ahead(c.indexed) || is_ahead(c.clean_end)
        });
        if facts.bad_checkpoint || lies || cut_at.is_some() {
            plan.set_aside_checkpoint(stream);
        }
    }
    Ok(plan)
}

fn resize(place: &Place, stream: &StreamPlace, plan: &mut Plan) {
    for piece in stream.segments.iter().filter(|piece| piece.bytes != place.segment_bytes) {
        let path = stream.path(piece.base);
        plan.acts.push(Act::Resize { path, from: piece.bytes, to: place.segment_bytes });
    }
}

/// A cut inside a record would leave a torn one.
fn check_boundary(
    place: &Place,
    stream: &StreamPlace,
    facts: &StreamFacts,
    at: u64,
    watch: &Watch,
) -> Result<(), Trouble> {
    let is_damage = facts.damages.iter().any(|(from, to, _)| at == *from || at == *to);
    if is_damage || at == facts.walk.end || at == facts.start {
        return Ok(());
    }
    let base = at - at % place.segment_bytes;
    let mut before = facts.start;
    let mut is_boundary = false;
    let walk = Walk { from: base, to: at.saturating_add(1), ..Walk::all(place, stream, watch) };
    let walked = walk.run(&mut |step| match step {
        Step::Record { position, size, .. } => {
            is_boundary |= position == at || position + u64::from(size) == at;
            if position <= at {
                before = position;
            }
        }
        Step::Filler { position, size } => is_boundary |= position == at || position + size == at,
        Step::Damage { .. } => {}
    });
    walked.map_err(|e| Trouble::io(&stream.dir, e))?;
    if is_boundary && at < facts.walk.end {
        return Ok(());
    }
    let text = format!(
        "{at} is no place between two records of the log from {} to {}; the record before begins at {before}",
        facts.start, facts.walk.end
    );
    Err(Trouble::new("--cut-at", text))
}

/// The log ends at `at`: what follows in its segment is cleared, later segments go.
fn cut(place: &Place, stream: &StreamPlace, at: u64, plan: &mut Plan) {
    let size = place.segment_bytes;
    for piece in stream.segments.iter().rev() {
        let path = stream.path(piece.base);
        let only = stream.start() == piece.base;
        if piece.base >= at && !only {
            plan.acts.push(Act::SetAside { path });
        } else if piece.base + size > at {
            let from = at.max(piece.base) - piece.base;
            plan.acts.push(Act::Zero { path, from, to: size });
        }
    }
}

fn holes(
    place: &Place,
    stream: &StreamPlace,
    facts: &StreamFacts,
    steps: bool,
    plan: &mut Plan,
) -> Result<(), Trouble> {
    let size = place.segment_bytes;
    for (from, to, why) in &facts.damages {
        if !steps {
            plan.undecided.push(format!(
                "stream {}: the log is damaged from {from} to {to} ({why}): restore the file from a copy, or say --step-over \
                 to lose what lies there, or --cut-at {from} to lose everything behind",
                stream.stream.0
            ));
            continue;
        }
        let mut at = *from;
        while at < *to {
            let base = at - at % size;
            let path = stream.dir.join(segment::name(base));
            if !stream.segments.iter().any(|piece| piece.base == base) {
                plan.acts.push(Act::Create { path: path.clone(), bytes: size });
            }
            let stop = (*to).min(base + size);
            let ends_segment = stop == base + size;
            if !ends_segment && stop - at < mend::HOLE_BYTES_MIN {
                let text = format!(
                    "the damage from {at} to {to} is too short for the record that would have to lie there; --cut-at {from} is \
                     the other way"
                );
                return Err(Trouble::new(&path, text));
            }
            let stream = stream.stream;
            let (from, resume) = (at, *to);
            plan.acts.push(Act::Bridge {
                stream,
                path,
                base,
                from,
                to: stop,
                ends_segment,
                resume,
            });
            at = stop;
        }
    }
    Ok(())
}

fn derived_plan(place: &Place, checked: &Checked, plan: &mut Plan) -> Result<(), Trouble> {
    for (path, from) in &checked.queue_files {
        plan.acts.push(Act::Resize { path: path.clone(), from: *from, to: place.queue_file_bytes });
    }
    if checked.streams.iter().any(|facts| facts.queues_lost) {
        plan.acts.push(Act::Queues { queues: None });
    } else {
        let mut bad = BadQueues::default();
        for (key, next) in checked.streams.iter().flat_map(|facts| &facts.bad_queues) {
            let known = bad.entry(key.clone()).or_insert(*next);
            *known = (*known).max(*next);
        }
        if !bad.is_empty() {
            plan.acts.push(Act::Queues { queues: Some(bad) });
        }
    }
    for (stream, facts) in place.streams.iter().zip(&checked.streams) {
        if facts.bad_checkpoint {
            plan.set_aside_checkpoint(stream);
        }
        if facts.bad_index {
            for (name, _) in index_files(&stream.index_dir)? {
                plan.acts.push(Act::SetAside { path: stream.index_dir.join(name) });
            }
        }
    }
    if let Some(path) = &checked.lacks_stop {
        plan.acts.push(Act::Touch { path: path.clone() });
    }
    Ok(())
}

/// A free name in the `cut` directory for what comes from a file.
fn kept_name(place: &Place, path: &Path, what: &str) -> Result<PathBuf, Trouble> {
    let dir = place.cut_dir();
    make_durable_dirs(&LocalDisk, &dir).map_err(|e| Trouble::io(&dir, e))?;
    let below = path.strip_prefix(&place.root).unwrap_or(path);
    let flat = below.to_string_lossy().trim_start_matches('/').replace('/', "-");
    let names = (0..10_000).map(|n| match n {
        0 => dir.join(format!("{flat}{what}")),
        n => dir.join(format!("{flat}{what}.{n}")),
    });
    let mut free = names.filter(|name| !name.exists());
    free.next().ok_or_else(|| Trouble::new(&dir, "too many copies of one file"))
}

/// Copies a part of a file to the `cut` directory; holes stay holes.
pub(super) fn keep(place: &Place, path: &Path, from: u64, to: u64) -> Result<(), Trouble> {
    let source = File::open(path).map_err(|e| Trouble::io(path, e))?;
    let target = kept_name(place, path, &format!("-bytes-{from}-to-{to}"))?;
    let copy = || -> std::io::Result<bool> {
        let mut made: Option<Box<dyn DiskFile>> = None;
        let mut at = from;
        let mut chunk = vec![0; usize::try_from(CHUNK_BYTES).unwrap_or(1 << 20)];
        while at < to {
            let room = usize::try_from((to - at).min(CHUNK_BYTES)).unwrap_or(0);
            let Some(part) = chunk.get_mut(..room) else { break };
            let read = read_full(&source, part, at)?;
            let Some(part) = part.get(..read).filter(|part| !part.is_empty()) else { break };
            if part.iter().any(|byte| *byte != 0) {
                let file = match &made {
                    Some(file) => file,
                    None => made.insert(LocalDisk.open(&target, Access::CreateNew)?),
                };
                write_full_at(&**file, part, at - from)?;
            }
            at += read as u64;
        }
        if let Some(file) = &made {
            file.sync_all()?;
        }
        Ok(made.is_some())
    };
    if copy().map_err(|e| Trouble::io(&target, e))? { sync_parent(&target) } else { Ok(()) }
}

/// Clears what is not zero already.
fn zero(path: &Path, from: u64, to: u64) -> Result<(), Trouble> {
    let clear = || -> std::io::Result<()> {
        let source = File::open(path)?;
        let file = LocalDisk.open(path, Access::Write)?;
        let mut chunk = vec![0; usize::try_from(CHUNK_BYTES).unwrap_or(1 << 20)];
        let mut at = from;
        while at < to {
            let room = usize::try_from((to - at).min(CHUNK_BYTES)).unwrap_or(0);
            let Some(part) = chunk.get_mut(..room) else { break };
            let read = read_full(&source, part, at)?;
            let Some(part) = part.get_mut(..read).filter(|part| !part.is_empty()) else { break };
            if part.iter().any(|byte| *byte != 0) {
                part.fill(0);
                write_full_at(&*file, part, at)?;
            }
            at += read as u64;
        }
        file.sync_all()
    };
    clear().map_err(|e| Trouble::io(path, e))
}

/// Moves a file to the `cut` directory, by a copy where that is another file system.
fn set_aside(place: &Place, path: &Path) -> Result<(), Trouble> {
    let target = kept_name(place, path, "")?;
    move_file(&LocalDisk, path, &target).map_err(|e| Trouble::io(path, e))
}

fn sync_parent(path: &Path) -> Result<(), Trouble> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    LocalDisk.sync_dir(dir).map_err(|e| Trouble::io(dir, e))
}
