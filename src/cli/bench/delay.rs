//! The load of delayed messages: sent at a rate, received with long polls, and measured against the time they are due.
//!
//! A message is due when its delay after the millisecond it was born in is over. A broker counts a level's delay from the
//! millisecond it stores the message in, which is the same one or later: lateness holds what the send took.

use super::args::DelayArgs;
use super::pull::{Puller, PullerPlan, Wanted};
use super::report::{Flow, Report};
use super::send::{Sender, SenderPlan};
use super::server::ServerMeter;
use super::stamp::{Stamped, WallClock};
use super::template::Kind;
use super::{DRAIN_MS, EndToEnd, Failure, Run, parameters, setup, spread, whole_ms};
use reactor::clock;
use serde_json::json;

/// How much later than due messages may come after the window before they count as lost, ms.
const LATE_MS_MAX: u64 = 30_000;

/// Runs it.
pub(super) fn load(args: &DelayArgs) -> Result<Report, Failure> {
    let common = &args.common;
    let topics = super::topic_names(common, 1);
    let target = setup::prepare(common, &topics)?;
    let senders = spread(&target, args.ends.connections);
    let pullers = spread(&target, args.ends.pullers);
    let cursors = super::tail_cursors(&target, &pullers, common)?;
    let addresses = [senders.clone(), pullers].concat();
    let mut run = Run::begin(common, &addresses, common.warmup, false)?;
    let delay_ms = u64::try_from(args.delay.as_millis()).expect("at most a day");
    run.drain_ms = DRAIN_MS + delay_ms + LATE_MS_MAX;
    let run_id = super::run_id();
    let stamped = Stamped { run: run_id, delay_ms };
    let sender = Sender::new(SenderPlan {
        templates: super::templates(common, &topics, args.ends.body, run_id, kind(args)),
        links: senders.len(),
        in_flight: args.ends.in_flight,
        rate: Some(args.rate),
        count: None,
        is_bare: false,
        stamped: Some(stamped),
        window: run.window,
        clock: WallClock::read(),
    });
    let puller = Puller::new(PullerPlan {
        cursors,
        links: senders.len()..addresses.len(),
        serialize: common.serialize.wire(),
        topic: &common.topic,
        group: &args.ends.group,
        batch: args.ends.batch,
        repeat: false,
        stamped: Some(stamped),
        wanted: Wanted::all(),
        window: run.window,
    });
    let first_puller = senders.len();
    let mut load = EndToEnd { sender, puller, first_puller, is_replay: false };
    let busy_percent = run.drive(&mut load)?;
    Ok(report(args, run, load, busy_percent))
}

fn kind(args: &DelayArgs) -> Kind {
    args.level.map_or(Kind::Timed(whole_ms(args.delay)), Kind::Level)
}

fn report(args: &DelayArgs, run: Run, load: EndToEnd<Sender>, busy_percent: f64) -> Report {
    let sent = load.sender.into_tally();
    let read = load.puller.into_tally();
    let own = [
        ("delay_ms", json!(whole_ms(args.delay))),
        ("level", json!(args.level)),
        ("connections", json!(args.ends.connections)),
        ("pullers", json!(args.ends.pullers)),
        ("rate", json!(args.rate)),
        ("body", json!(args.ends.body)),
    ];
    let (early, early_max_ns) = read.arrivals.early;
    Report {
        load: "delay",
        parameters: parameters(&args.common, &own),
        details: vec![
            ("acknowledged_total", json!(sent.stored_total)),
            ("early_max_us", json!(early_max_ns as f64 / 1000.0)),
        ],
        seconds: run.window.seconds(clock::mono()),
        flows: vec![
            Flow { name: "received", messages: read.messages, bytes: read.bytes },
            Flow {
                name: "sent",
                messages: sent.stored,
                bytes: sent.stored * u64::from(args.ends.body),
            },
        ],
        latencies: vec![("lateness", read.arrivals.latency), ("send", sent.latency)],
        refusals: vec![("send", sent.refusals), ("pull", read.refusals)],
        losses: vec![
            ("unanswered", sent.unanswered),
            ("not_received", sent.stored_total.saturating_sub(read.messages_total)),
            ("duplicates", read.arrivals.duplicates),
            ("early", early),
        ],
        stages: run.before.until_now(&args.common),
        server: run.meter.map(ServerMeter::finish),
        busy_percent,
        late_max_us: Some(sent.late_max_ns as f64 / 1000.0),
    }
}
