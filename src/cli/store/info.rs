//! `ringmq store info`: what can be told of a store without reading it all.

use super::check::StreamFacts;
use super::place::{Place, StreamPlace, index_files, list, pieces};
use super::{InfoArgs, Trouble, print, times};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use store::layout::checkpoint::Checkpoint;
use store::layout::index::{HEADER_BYTES, IndexHeader, IndexLimits};
use store::recovery::RECORD_BYTES_MAX;
use wire::message::MessageView;

/// Runs `info`.
pub(super) fn run(args: &InfoArgs) -> Result<ExitCode, Trouble> {
    let place = args.which.place()?;
    let value = describe(&place)?;
    if args.answer.json {
        print(&format!("{value:#}\n"));
    } else {
        print(&text(&place, &value));
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(place: &Place) -> Result<Value, Trouble> {
    let queues = place.queues()?;
    let mut topics: Vec<&str> = queues.iter().map(|(topic, _)| topic.as_str()).collect();
    topics.dedup();
    let mut queue_files = 0;
    for (topic, id) in &queues {
        queue_files += pieces(&place.queue_dir(topic, *id))?.0.len();
    }
    let streams: Result<Vec<Value>, Trouble> =
        place.streams.iter().map(|stream| describe_stream(place, stream)).collect();
    let clean = !place.is_abort && place.user.is_none();
    let config = place.root.join("config");
    Ok(json!({
        "path": place.root.display().to_string(),
        "kind": if place.identity.is_some() { "RingMQ" } else { "Java" },
        "opensInJava": place.streams.len() == 1,
        "storeId": place.identity.map(|identity| format!("{:032x}", identity.store_id)),
        "streamCount": place.streams.len(),
        "segmentBytes": place.segment_bytes,
        "queueFileBytes": place.queue_file_bytes,
        "indexFileBytes": place.index_limits.map(|limits| limits.file_bytes()),
        "clean": clean,
        "inUseBy": place.user,
        "windows": place.windows.iter().map(|w| w.display().to_string()).collect::<Vec<_>>(),
        "topics": topics.len(),
        "queues": queues.len(),
        "queueFiles": queue_files,
        "configFiles": list(&config)?,
        "cutFiles": list(&place.cut_dir())?,
        "bytesOnDisk": bytes_on_disk(&place.root)
            + place.streams.iter().filter(|s| !s.dir.starts_with(&place.root)).map(|s| bytes_on_disk(&s.dir)).sum::<u64>(),
        "streams": streams?,
    }))
}

fn describe_stream(place: &Place, stream: &StreamPlace) -> Result<Value, Trouble> {
    let read = stream.read_checkpoint()?.map(|(checkpoint, _)| checkpoint);
    let first = stream.segments.first().map(|piece| stream.path(piece.base));
    let last = stream.segments.last().map_or(0, |piece| piece.base + piece.bytes);
    let mut index = Vec::new();
    for (name, bytes) in index_files(&stream.index_dir)? {
        index.push(describe_index(
            &stream.index_dir.join(&name),
            &name,
            bytes,
            place.index_limits,
        )?);
    }
    Ok(json!({
        "stream": stream.stream.0,
        "path": stream.dir.display().to_string(),
        "segments": stream.segments.len(),
        "start": stream.start(),
        "filesEnd": last,
        // Only after an orderly stop of ours the end is known without a scan.
        "end": read.and_then(|c| c.clean_end).filter(|_| !place.is_abort),
        "firstStoreTime": first.and_then(|path| first_store_time(&path)),
        "checkpoint": read.map(describe_checkpoint),
        "index": index,
    }))
}

fn describe_checkpoint(checkpoint: Checkpoint) -> Value {
    json!({
        "logTime": checkpoint.log_timestamp,
        "queueTime": checkpoint.queue_timestamp,
        "indexTime": checkpoint.index_timestamp,
        "dispatched": checkpoint.dispatched,
        "cleanEnd": checkpoint.clean_end,
        "indexed": checkpoint.indexed,
    })
}

fn describe_index(
    path: &Path,
    name: &str,
    bytes: u64,
    limits: Option<IndexLimits>,
) -> Result<Value, Trouble> {
    let mut head = [0; HEADER_BYTES];
    let file = File::open(path).map_err(|e| Trouble::io(path, e))?;
    super::walk::read_full(&file, &mut head, 0).map_err(|e| Trouble::io(path, e))?;
    let header = limits.and_then(|limits| IndexHeader::decode(&head, limits));
    Ok(json!({
        "name": name,
        "bytes": bytes,
        "items": header.map(|header| header.next_item - 1),
        "firstTime": header.map(|header| header.begin_timestamp),
        "lastTime": header.map(|header| header.end_timestamp),
    }))
}

/// Store time of the record that begins a file; `None` when it begins with none.
fn first_store_time(path: &Path) -> Option<i64> {
    let file = File::open(path).ok()?;
    let mut bytes = vec![0; 4];
    super::walk::read_full(&file, &mut bytes, 0).ok()?;
    let size = wire::message::declared_size(&bytes).filter(|size| *size <= RECORD_BYTES_MAX)?;
    bytes.resize(size, 0);
    super::walk::read_full(&file, &mut bytes, 0).ok()?;
    MessageView::parse(&bytes).ok().map(|(view, _)| view.store_timestamp().0)
}

/// Bytes that the files below a directory take; what cannot be read counts for nothing.
fn bytes_on_disk(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_on_disk(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.filter_map(|entry| entry.ok().map(size)).sum()
}

fn text(place: &Place, value: &Value) -> String {
    let mut out = String::new();
    let mut put = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<16}{value}");
    };
    let shown = |key: &str| match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "unknown".to_owned(),
        Some(other) => other.to_string(),
    };
    put("store", shown("path"));
    let kind = match (place.identity, place.streams.len()) {
        (None, _) => "Java's".to_owned(),
        (Some(_), 1) => "RingMQ's, one stream: Java opens it".to_owned(),
        (Some(_), n) => format!("RingMQ's, {n} streams: Java cannot open it"),
    };
    put("kind", kind);
    if place.identity.is_some() {
        put("store id", shown("storeId"));
    }
    put("state", state(place));
    put("segment", format!("{} bytes", shown("segmentBytes")));
    put("queue file", format!("{} bytes", shown("queueFileBytes")));
    put("index file", format!("{} bytes", shown("indexFileBytes")));
    put(
        "topics",
        format!(
            "{} with {} queues in {} files",
            shown("topics"),
            shown("queues"),
            shown("queueFiles")
        ),
    );
    let mib = value["bytesOnDisk"].as_u64().unwrap_or(0) >> 20;
    put("on disk", format!("{} bytes ({mib} MiB)", shown("bytesOnDisk")));
    let cut = value["cutFiles"].as_array().map_or(0, Vec::len);
    if cut > 0 {
        put("cut", format!("{cut} files that repairs or recovery took out, in cut/"));
    }
    for stream in value["streams"].as_array().into_iter().flatten() {
        stream_text(stream, &mut put);
    }
    out
}

fn state(place: &Place) -> String {
    match place.user {
        Some(pid) => format!("in use by process {pid}"),
        None if !place.is_abort => "stopped in order".to_owned(),
        None if place.windows.is_empty() => "killed; the next start recovers".to_owned(),
        None => "killed, and its log window is there; the next start recovers".to_owned(),
    }
}

fn stream_text(stream: &Value, put: &mut impl FnMut(&str, String)) {
    let end = stream["end"].as_u64().map_or_else(
        || format!("end unknown (files to {})", stream["filesEnd"]),
        |end| format!("end {end}"),
    );
    let name = format!("stream {}", stream["stream"]);
    put(&name, format!("{} segments, start {}, {end}", stream["segments"], stream["start"]));
    if let Some(time) = stream["firstStoreTime"].as_i64() {
        put("  first record", times::show(time));
    }
    let checkpoint = &stream["checkpoint"];
    if checkpoint.is_null() {
        put("  checkpoint", "none".to_owned());
    } else {
        let time = |key: &str| times::show(checkpoint[key].as_i64().unwrap_or(0));
        let times = format!(
            "log {}, queues {}, index {}",
            time("logTime"),
            time("queueTime"),
            time("indexTime")
        );
        put("  checkpoint", times);
        if checkpoint["dispatched"].is_u64() {
            put(
                "  durable",
                format!(
                    "queue entries to {}, index to {}",
                    checkpoint["dispatched"], checkpoint["indexed"]
                ),
            );
        }
    }
    for file in stream["index"].as_array().into_iter().flatten() {
        let items = file["items"].as_u64().map_or("unknown".to_owned(), |n| n.to_string());
        put("  index", format!("{} with {items} items", file["name"].as_str().unwrap_or("?")));
    }
}

/// One line of a check.
pub(super) fn stream_line(facts: &StreamFacts) -> String {
    let times = facts.times.map_or(String::new(), |(first, last)| {
        format!(", stored {} to {}", times::show(first), times::show(last))
    });
    format!(
        "stream {}: {} records in {} bytes from {} to {}{times}\n",
        facts.stream.0, facts.records, facts.record_bytes, facts.start, facts.walk.end
    )
}

/// The same in JSON.
pub(super) fn stream_facts(facts: &StreamFacts) -> Value {
    json!({
        "stream": facts.stream.0,
        "start": facts.start,
        "end": facts.walk.end,
        "endsBecause": facts.walk.why,
        "records": facts.records,
        "recordBytes": facts.record_bytes,
        "fillers": facts.fillers,
        "firstStoreTime": facts.times.map(|(first, _)| first),
        "lastStoreTime": facts.times.map(|(_, last)| last),
        "damaged": facts.damages.iter().map(|(from, to, _)| json!([from, to])).collect::<Vec<_>>(),
    })
}
