//! `ringmq store dump`, `grep` and `export`: records of the log as text lines or JSON lines.
//!
//! Records come in log order, stream after stream. Nothing is held but the record at hand.

use super::place::Place;
use super::progress::Watch;
use super::walk::{Step, Walk};
use super::{Answer, Trouble, Which, times};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use store::recovery::Proof;
use wire::ids::{PhyOffset, StreamId};
use wire::message::MessageView;
use wire::props::{self, Props};

/// Which records.
#[derive(Args, Debug, Default)]
pub(super) struct Filter {
    /// Only this stream
    #[arg(long, value_name = "N")]
    stream: Option<u16>,
    /// Begin at this position of the stream, or at the next record behind it
    #[arg(long, value_name = "POS")]
    from: Option<u64>,
    /// End before this position of the stream
    #[arg(long, value_name = "POS")]
    to: Option<u64>,
    /// At most so many records
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Only this topic
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Only queues of this number
    #[arg(long, value_name = "N")]
    queue: Option<i32>,
    /// Only this offset in the queue
    #[arg(long, value_name = "N")]
    offset: Option<i64>,
    /// Only messages with this key, or this unique key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only messages with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only messages stored at or after this time: ms, 'YYYY-MM-DD HH:MM:SS' (UTC), or -15m
    #[arg(long, value_name = "TIME", value_parser = times::parse, allow_hyphen_values = true)]
    since: Option<i64>,
    /// Only messages stored at or before this time
    #[arg(long, value_name = "TIME", value_parser = times::parse, allow_hyphen_values = true)]
    until: Option<i64>,
    /// Only messages whose stored body holds this text (bodies may be compressed)
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
}

/// Form of bodies in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(super) enum Bodies {
    /// Left out
    None,
    /// Bytes as stored, in base64
    #[default]
    Base64,
    /// As text; what is not UTF-8 is replaced
    Text,
}

#[derive(Args, Debug)]
pub(super) struct DumpArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    answer: Answer,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    filter: Filter,
    /// File to write, one JSON object per line; - is standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Form of the bodies
    #[arg(long, value_enum, default_value_t)]
    bodies: Bodies,
}

impl Filter {
    fn wants(&self, view: &MessageView<'_>) -> bool {
        let is = |wanted: &Option<String>, value: &[u8]| {
            wanted.as_ref().is_none_or(|wanted| wanted.as_bytes() == value)
        };
        let time = view.store_timestamp().0;
        is(&self.topic, view.topic())
            && self.queue.is_none_or(|queue| queue == view.queue_id().0)
            && self.offset.is_none_or(|offset| offset == view.queue_offset().0)
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time <= until)
            && self.wants_properties(view.properties())
            && self.body.as_ref().is_none_or(|text| contains(view.body(), text.as_bytes()))
    }

    fn wants_properties(&self, properties: &[u8]) -> bool {
        let properties = Props::new(properties);
        let has_tag = |tag: &String| properties.get(props::TAGS) == Some(tag.as_bytes());
        let has_key = |key: &String| {
            let key = key.as_bytes();
            let keys = properties.get(props::KEYS).unwrap_or_default();
            keys.split(|byte| *byte == b' ').any(|one| one == key)
                || properties.get(props::UNIQ_KEY) == Some(key)
        };
        self.tag.as_ref().is_none_or(has_tag) && self.key.as_ref().is_none_or(has_key)
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

/// How the lines look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Text; with fillers and damage.
    Text,
    /// JSON; with fillers and damage.
    Json,
    /// JSON of the records only.
    Export(Bodies),
}

/// Runs `dump` (everything in the log) and `grep` (the messages that are looked for; exit status 1 without one).
pub(super) fn dump(
    args: &DumpArgs,
    only_messages: bool,
    watch: &Watch,
) -> Result<ExitCode, Trouble> {
    let place = args.which.place()?;
    let form = match (args.answer.json, only_messages) {
        (false, _) => Form::Text,
        (true, false) => Form::Json,
        (true, true) => Form::Export(Bodies::None),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut output = Output { form, only_messages, out: &mut out, count: 0, error: None };
    show(&place, &args.filter, watch, &mut output)?;
    let (count, error) = (output.count, output.error);
    let done = error.map_or_else(|| out.flush(), Err);
    match done {
        // A reader such as `head` may close the pipe early, which is no failure.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Trouble::new("standard output", e.to_string()));
        }
        Ok(()) | Err(_) => {}
    }
    let is_miss = only_messages && count == 0;
    Ok(if is_miss { ExitCode::from(super::EXIT_FINDINGS) } else { ExitCode::SUCCESS })
}

/// Runs `export`.
pub(super) fn export(args: &ExportArgs, watch: &Watch) -> Result<ExitCode, Trouble> {
    let place = args.which.place()?;
    let to_stdout = args.out.as_os_str() == "-";
    let sink: Box<dyn Write> = if to_stdout {
        Box::new(io::stdout().lock())
    } else {
        Box::new(File::create_new(&args.out).map_err(|e| Trouble::io(&args.out, e))?)
    };
    let mut out = BufWriter::new(sink);
    let form = Form::Export(args.bodies);
    let mut output = Output { form, only_messages: true, out: &mut out, count: 0, error: None };
    show(&place, &args.filter, watch, &mut output)?;
    let (count, error) = (output.count, output.error);
    let done = error.map_or_else(|| out.flush(), Err);
    done.map_err(|e| Trouble::new(&args.out, e.to_string()))?;
    watch.finish();
    eprintln!("{count} messages exported");
    Ok(ExitCode::SUCCESS)
}

struct Output<'o> {
    form: Form,
    only_messages: bool,
    out: &'o mut dyn Write,
    count: u64,
    error: Option<io::Error>,
}

impl Output<'_> {
    fn line(&mut self, line: &str, watch: &Watch) {
        if self.error.is_none()
            && let Err(error) = writeln!(self.out, "{line}")
        {
            self.error = Some(error);
            watch.enough();
        }
    }
}

fn show(
    place: &Place,
    filter: &Filter,
    watch: &Watch,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    let limit = filter.limit.unwrap_or(u64::MAX);
    let wanted = |stream: StreamId| filter.stream.is_none_or(|number| number == stream.0);
    let streams = || place.streams.iter().filter(|stream| wanted(stream.stream));
    if streams().next().is_none() {
        let text = format!("the store has the streams 0 to {}", place.streams.len() - 1);
        return Err(Trouble::new("--stream", text));
    }
    streams().for_each(|stream| watch.expect(stream.bytes()));
    for stream in streams() {
        let walk = Walk {
            from: filter.from.unwrap_or(0),
            to: filter.to.unwrap_or(u64::MAX),
            proof: Proof::Whole,
            ..Walk::all(place, stream, watch)
        };
        let end = walk.run(&mut |step| {
            let line = match step {
                Step::Record { view, position, .. } => {
                    if output.count >= limit || !filter.wants(view) {
                        return;
                    }
                    output.count += 1;
                    if output.count == limit {
                        watch.enough();
                    }
                    record_line(output.form, view, PhyOffset::new(stream.stream, position))
                }
                Step::Filler { position, size } => other_line(
                    output,
                    position,
                    size,
                    "filler",
                    "the rest of the segment is not used",
                ),
                Step::Damage { from, to, why } => {
                    other_line(output, from, to - from, "damage", why)
                }
            };
            if !line.is_empty() {
                output.line(&line, watch);
            }
        });
        let end = end.map_err(|e| Trouble::io(&stream.dir, e))?;
        if watch.has_enough() {
            return Ok(());
        }
        let line = other_line(output, end.end, 0, "end", &end.why);
        if !line.is_empty() && filter.to.is_none() {
            output.line(&line, watch);
        }
    }
    Ok(())
}

/// A line that is no record's; empty where only messages are wanted.
fn other_line(output: &Output<'_>, position: u64, size: u64, what: &str, why: &str) -> String {
    if output.only_messages {
        return String::new();
    }
    match output.form {
        Form::Text => format!("{position} +{size} {what}: {why}"),
        Form::Json => {
            json!({"position": position, "size": size, "what": what, "why": why}).to_string()
        }
        Form::Export(_) => String::new(),
    }
}

fn record_line(form: Form, view: &MessageView<'_>, phy: PhyOffset) -> String {
    match form {
        Form::Text => text_line(view, phy),
        Form::Json => json_line(view, phy, Bodies::None).to_string(),
        Form::Export(bodies) => json_line(view, phy, bodies).to_string(),
    }
}

/// Control characters, which a client may have put into a name, are shown escaped.
fn shown(bytes: &[u8]) -> String {
    let mut out = String::new();
    for letter in String::from_utf8_lossy(bytes).chars() {
        if letter.is_control() {
            out.extend(letter.escape_debug());
        } else {
            out.push(letter);
        }
    }
    out
}

fn text_line(view: &MessageView<'_>, phy: PhyOffset) -> String {
    let mut line = format!(
        "{} +{} {}/{}@{} {}",
        phy.position(),
        view.bytes().len(),
        shown(view.topic()),
        view.queue_id().0,
        view.queue_offset().0,
        times::show(view.store_timestamp().0),
    );
    if phy.stream().0 > 0 {
        line = format!("{}:{line}", phy.stream().0);
    }
    let properties = Props::new(view.properties());
    let named = [("tag", props::TAGS), ("keys", props::KEYS), ("unique", props::UNIQ_KEY)];
    for (name, key) in named {
        if let Some(value) = properties.get(key) {
            let _ = write!(line, " {name}={}", shown(value));
        }
    }
    let _ = write!(line, " body={}", view.body().len());
    if view.sys_flag() != 0 {
        let _ = write!(line, " sysFlag={:#x}", view.sys_flag());
    }
    if view.reconsume_times() > 0 {
        let _ = write!(line, " reconsumed={}", view.reconsume_times());
    }
    let _ = write!(line, " from={}", view.born_host());
    line
}

fn json_line(view: &MessageView<'_>, phy: PhyOffset, bodies: Bodies) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let pairs = Props::new(view.properties());
    let pairs = pairs.iter().map(|(key, value)| (text(key), Value::String(text(value))));
    let mut value = json!({
        "stream": phy.stream().0,
        "position": phy.position(),
        "physicalOffset": phy.to_wire(),
        "size": view.bytes().len(),
        "topic": text(view.topic()),
        "queueId": view.queue_id().0,
        "queueOffset": view.queue_offset().0,
        "flag": view.flag(),
        "sysFlag": view.sys_flag(),
        "bornTimestamp": view.born_timestamp(),
        "bornHost": view.born_host().to_string(),
        "storeTimestamp": view.store_timestamp().0,
        "storeHost": view.store_host().to_string(),
        "reconsumeTimes": view.reconsume_times(),
        "preparedTransactionOffset": view.prepared_transaction_offset(),
        "bodyCrc": view.body_crc(),
        "bodyBytes": view.body().len(),
        "properties": pairs.collect::<serde_json::Map<String, Value>>(),
    });
    match bodies {
        Bodies::None => {}
        Bodies::Base64 => value["bodyBase64"] = base64(view.body()).into(),
        Bodies::Text => value["bodyText"] = text(view.body()).into(),
    }
    value
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let byte = |at: usize| u32::from(part.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for letter in 0..4 {
            let at = usize::try_from(word >> (18 - 6 * letter) & 63).unwrap_or(0);
            let is_padding = letter > part.len();
            out.push(if is_padding { '=' } else { char::from(LETTERS[at]) });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_the_standard_has_it() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xFB, 0xFF]), "+/8=");
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        assert_eq!(shown("a\nb\u{1b}[ü".as_bytes()), "a\\nb\\u{1b}[ü");
    }
}
