//! `ringmq store check`: every record, queue entry and index item of a store against each other, changing nothing.
//!
//! One thread per stream, a few at a time. In a store that a broker uses the ends of all files move, so what concerns
//! them is left out.

use super::Trouble;
use super::entries::{BadQueues, Entries, LogState};
use super::items::Items;
use super::place::{Place, StreamPlace, pieces};
use super::progress::Watch;
use super::report::{Finding, Report, Severity};
use super::walk::{Step, Walk, WalkEnd};
use std::path::PathBuf;
use store::layout::checkpoint::FILE_BYTES;
use store::layout::segment;
use store::recovery::Proof;
use wire::ids::StreamId;

/// Streams that are walked at a time.
const THREADS_MAX: usize = 8;
/// Damaged places that are kept.
const DAMAGES_MAX: usize = 10_000;
/// The stop for Java in the log directory of a store with several streams.
pub(super) const SEVERAL_STREAMS: &str = "ringmq-store-with-several-streams";

/// What a check has learnt of a log.
#[derive(Debug)]
pub(super) struct StreamFacts {
    pub(super) stream: StreamId,
    pub(super) start: u64,
    pub(super) walk: WalkEnd,
    pub(super) records: u64,
    pub(super) record_bytes: u64,
    /// Records of deleted topics among them, and their bytes.
    pub(super) deleted: (u64, u64),
    pub(super) fillers: u64,
    /// Damaged places with records behind them: from, to, why.
    pub(super) damages: Vec<(u64, u64, String)>,
    /// Store times of the first and the last record, ms.
    pub(super) times: Option<(i64, i64)>,
    /// Queues whose files have to be made again.
    pub(super) bad_queues: BadQueues,
    pub(super) queues_lost: bool,
    pub(super) bad_index: bool,
    pub(super) bad_checkpoint: bool,
}

/// A checked store.
pub(super) struct Checked {
    pub(super) report: Report,
    pub(super) streams: Vec<StreamFacts>,
    /// Queue files of a wrong size, and their size.
    pub(super) queue_files: Vec<(PathBuf, u64)>,
    /// The file that keeps Java away, which is missing.
    pub(super) lacks_stop: Option<PathBuf>,
}

/// Checks a store.
pub(super) fn check(place: &Place, proof: Proof, watch: &Watch) -> Result<Checked, Trouble> {
    let streams = Vec::new();
    let mut checked =
        Checked { report: Report::default(), streams, queue_files: Vec::new(), lacks_stop: None };
    of_store(place, &mut checked);
    of_queue_files(place, &mut checked)?;
    place.streams.iter().for_each(|stream| watch.expect(stream.bytes()));
    for part in place.streams.chunks(THREADS_MAX) {
        let done: Vec<Result<(Report, StreamFacts), Trouble>> = std::thread::scope(|scope| {
            let start = |stream| scope.spawn(move || of_stream(place, stream, proof, watch));
            let threads: Vec<_> = part.iter().map(start).collect();
            threads.into_iter().map(|thread| thread.join().expect("a check panicked")).collect()
        });
        for stream in done {
            let (found, facts) = stream?;
            checked.report.merge(found);
            checked.streams.push(facts);
        }
    }
    Ok(checked)
}

/// What concerns no stream alone.
fn of_store(place: &Place, checked: &mut Checked) {
    let report = &mut checked.report;
    if let Some(pid) = place.user {
        let text = format!(
            "process {pid} is using the store: the ends of its files move and are not judged"
        );
        report.add(Finding::new(Severity::Note, "in-use", place.root.join("lock"), text));
    } else if place.is_abort {
        let text = "the last broker did not stop in order; the next start recovers";
        report.add(Finding::new(Severity::Note, "killed", place.root.join("abort"), text));
        for window in &place.windows {
            let text = "the killed broker's log window is still there: the log may go on in it, beyond what is on the disk";
            report.add(Finding::new(Severity::Note, "window", window, text));
        }
    }
    let stop = place.streams.first().map(|stream| stream.dir.join(SEVERAL_STREAMS));
    if place.streams.len() > 1 && stop.as_ref().is_some_and(|path| !path.exists()) {
        let text =
            "the file that keeps a Java broker from this store with several streams is missing";
        let path = stop.unwrap_or_default();
        report.add(Finding::new(Severity::Warning, "java-not-stopped", &path, text));
        checked.lacks_stop = Some(path);
    }
}

fn of_queue_files(place: &Place, checked: &mut Checked) -> Result<(), Trouble> {
    let report = &mut checked.report;
    for (topic, id) in place.queues()? {
        let dir = place.queue_dir(&topic, id);
        let (files, _) = pieces(&dir)?;
        let mut expected = files.first().map_or(0, |piece| piece.base);
        for piece in files {
            let path = dir.join(segment::name(piece.base));
            let want = place.queue_file_bytes;
            if piece.bytes != want {
                let text =
                    format!("the queue file has {} bytes, it should have {want}", piece.bytes);
                report.add(Finding::new(Severity::Error, "queue-file-size", &path, text));
                checked.queue_files.push((path.clone(), piece.bytes));
            }
            if piece.base != expected {
                let text = format!(
                    "the queue file {} before this one is missing",
                    segment::name(expected)
                );
                report.add(Finding::new(Severity::Error, "queue-file-missing", &path, text));
            }
            expected = piece.base + want;
        }
    }
    Ok(())
}

fn of_stream(
    place: &Place,
    stream: &StreamPlace,
    proof: Proof,
    watch: &Watch,
) -> Result<(Report, StreamFacts), Trouble> {
    let mut report = Report::default();
    let is_live = place.user.is_some();
    of_segments(place, stream, is_live, &mut report);
    let mut facts = StreamFacts {
        stream: stream.stream,
        start: stream.start(),
        walk: WalkEnd::default(),
        records: 0,
        record_bytes: 0,
        deleted: (0, 0),
        fillers: 0,
        damages: Vec::new(),
        times: None,
        bad_queues: BadQueues::new(),
        queues_lost: false,
        bad_index: false,
        bad_checkpoint: false,
    };
    let mut entries = Entries::new(place, stream);
    let mut items = Items::new(place, stream)?;
    let walk = Walk { proof, ..Walk::all(place, stream, watch) };
    let end = walk.run(&mut |step| match step {
        Step::Record { view, position, size } => {
            facts.records += 1;
            facts.record_bytes += u64::from(size);
            let time = view.store_timestamp().0;
            facts.times = Some((facts.times.map_or(time, |(first, _)| first), time));
            if entries.is_deleted(view, position) {
                facts.deleted.0 += 1;
                facts.deleted.1 += u64::from(size);
            }
            entries.record(view, position, size);
            if proof == Proof::Whole {
                items.record(view, position);
            }
        }
        Step::Filler { .. } => facts.fillers += 1,
        Step::Damage { from, to, why } => {
            if facts.damages.len() < DAMAGES_MAX {
                facts.damages.push((from, to, why.to_owned()));
            }
        }
    });
    facts.walk = end.map_err(|e| Trouble::io(&stream.dir, e))?;
    let is_damaged = !facts.damages.is_empty();
    if is_live {
        // The log's oldest file may have expired meanwhile.
        let size = place.segment_bytes;
        facts.damages.retain(|(from, ..)| stream.path(from - from % size).exists());
    }
    of_log(place, stream, &facts, &mut report);
    let state = LogState { is_abort: place.is_abort, is_damaged, is_live };
    let (found, bad) = entries.finish(&state)?;
    facts.bad_queues = bad;
    facts.queues_lost = found.iter().any(|finding| finding.kind == "queues-lost");
    found.into_iter().for_each(|finding| report.add(finding));
    if proof == Proof::Whole {
        for finding in items.finish(facts.walk.end)? {
            facts.bad_index |= finding.severity != Severity::Note;
            report.add(finding);
        }
    }
    if !is_live {
        facts.bad_checkpoint = of_checkpoint(place, stream, &facts, &mut report)?;
    }
    Ok((report, facts))
}

fn of_segments(place: &Place, stream: &StreamPlace, is_live: bool, report: &mut Report) {
    let size = place.segment_bytes;
    let mut expected = stream.start();
    let last = stream.segments.last().map(|piece| piece.base);
    for piece in &stream.segments {
        let path = stream.path(piece.base);
        if piece.base != expected {
            let text =
                format!("the segment {} before this one is missing", segment::name(expected));
            let finding = Finding::new(Severity::Error, "segment-missing", &path, text);
            report.add(finding.advice(restore_or_step_over(stream)));
        }
        if piece.bytes != size && !(is_live && last == Some(piece.base)) {
            let text = format!(
                "the segment has {} bytes, every segment of this store has {size}",
                piece.bytes
            );
            report.add(Finding::new(Severity::Error, "segment-size", &path, text));
        }
        expected = piece.base + size;
    }
    for name in stream.strangers.iter().filter(|name| *name != SEVERAL_STREAMS) {
        let text = "a file that is no segment; a Java broker does not start with it";
        report.add(Finding::new(Severity::Note, "stranger", stream.dir.join(name), text));
    }
}

fn restore_or_step_over(stream: &StreamPlace) -> String {
    let number = stream.stream.0;
    format!(
        "restore the file from a copy, or go on without: ringmq store repair --stream {number} --step-over (keeps what \
         follows) or --cut-at POSITION (drops it)"
    )
}

fn of_log(place: &Place, stream: &StreamPlace, facts: &StreamFacts, report: &mut Report) {
    let size = place.segment_bytes;
    for (from, to, why) in &facts.damages {
        let path = stream.path(from - from % size);
        let text = format!(
            "the log is damaged at {from} ({why}); {} bytes further, at {to}, it goes on",
            to - from
        );
        let finding = Finding::new(Severity::Error, "damage", path, text).at(from % size);
        report.add(finding.advice(restore_or_step_over(stream)));
    }
    let walk = &facts.walk;
    if place.user.is_some() {
        return;
    }
    if let Some((from, to)) = walk.used_behind {
        let (severity, advice) = if place.is_abort {
            (Severity::Warning, "the next start clears it; so does ringmq store repair")
        } else {
            (Severity::Error, "ringmq store repair clears it and keeps a copy")
        };
        let path = stream.path(from - from % size);
        let mut text = format!(
            "the log ends at {} ({}), but bytes between {from} and {to} are not zero",
            walk.end, walk.why
        );
        if let Some((position, names)) = walk.stale {
            text += &format!("; at {position} lies a whole record that belongs at {names}");
        }
        report.add(
            Finding::new(severity, "behind-the-end", path, text).at(from % size).advice(advice),
        );
    }
}

/// Returns whether the checkpoint must go.
fn of_checkpoint(
    place: &Place,
    stream: &StreamPlace,
    facts: &StreamFacts,
    report: &mut Report,
) -> Result<bool, Trouble> {
    let Some((checkpoint, bytes)) = stream.read_checkpoint()? else { return Ok(false) };
    let mut problems = Vec::new();
    if bytes != FILE_BYTES as u64 && bytes != 0 {
        problems.push(("checkpoint-size", format!("it has {bytes} bytes instead of {FILE_BYTES}")));
    }
    let end = facts.walk.end;
    let positions = [("queue entries", checkpoint.dispatched), ("index items", checkpoint.indexed)];
    for (what, position) in positions {
        if let Some(position) = position.filter(|position| *position > end) {
            let text = format!("it vouches for {what} up to {position}, but the log ends at {end}");
            problems.push(("checkpoint-ahead", text));
        }
    }
    if let Some(stopped_at) = checkpoint.clean_end.filter(|at| !place.is_abort && *at != end) {
        let text =
            format!("the last broker stopped with the log at {stopped_at}, but it ends at {end}");
        problems.push(("checkpoint-end", text));
    }
    // A clock that was set back leaves such a time, too; a start only reads more of the log for it.
    let last = facts.times.map_or(0, |(_, last)| last);
    if checkpoint.dispatched.is_none()
        && facts.damages.is_empty()
        && checkpoint.log_timestamp > last
    {
        let text =
            format!("its time {} is later than the last record's {last}", checkpoint.log_timestamp);
        problems.push(("checkpoint-time", text));
    }
    let is_bad = !problems.is_empty();
    for (kind, text) in problems {
        report.add(Finding::new(Severity::Error, kind, &stream.checkpoint, text));
    }
    Ok(is_bad)
}
