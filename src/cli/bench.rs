//! `ringmq bench`: the load generator. One thread that spins over its own ring, so that neither waking up nor
//! decoding is part of what is measured; works with every RocketMQ broker.
//!
//! Latencies count from the intended send time. What arrives after the window only completes latencies.

mod args;
mod delay;
mod links;
mod pace;
mod pull;
mod report;
mod scan;
mod send;
mod server;
mod setup;
mod stages;
mod stamp;
mod tally;
mod template;
mod transaction;

use args::{BenchCli, Common, E2eArgs, Load, PullArgs, SendArgs};
use base::time::MonoNs;
use clap::Parser;
use links::{LinkId, Links, Listener, Outbox};
use pace::Window;
use pull::{Cursor, Puller, PullerPlan, Wanted};
use reactor::{affinity, clock, sys};
use report::{Flow, Report};
use send::{Sender, SenderPlan};
use serde_json::{Value, json};
use server::ServerMeter;
use setup::Target;
use stages::Before;
use stamp::{Stamped, WallClock};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use tally::SendTally;
use template::{Kind, Shape, Template};

/// Exit status when nothing could be measured.
const EXIT_FAILED: u8 = 1;
/// How long answers to what was sent within the window are waited for after it.
const DRAIN_MS: u64 = 5_000;
/// Requests in flight per connection of an open loop, unless told otherwise.
const OPEN_LOOP_IN_FLIGHT: u32 = 1024;
const SECOND_NS: u64 = 1_000_000_000;

/// Why there is no result; a sentence for the user.
#[derive(Debug)]
pub(super) struct Failure(pub(super) String);

/// Runs a benchmark with its own arguments.
pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    let name = OsString::from("ringmq bench");
    let cli = match BenchCli::try_parse_from(std::iter::once(&name).chain(arguments)) {
        Ok(cli) => cli,
        Err(error) => {
            // Printing fails only when nobody can read it any more.
            let _ = error.print();
            let exit = if error.use_stderr() { super::EXIT_OPTION } else { 0 };
            return ExitCode::from(exit);
        }
    };
    let (result, common) = match &cli.load {
        Load::Send(args) => (send_load(args), &args.common),
        Load::Pull(args) => (pull_load(args), &args.common),
        Load::E2e(args) => (e2e_load(args), &args.common),
        Load::Delay(args) => (delay::load(args), &args.common),
        Load::Transaction(args) => (transaction::load(args), &args.common),
    };
    match result {
        Ok(report) => {
            println!("{}", if common.json { report.json() } else { report.table() });
            if report.is_empty() { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS }
        }
        Err(Failure(what)) => {
            eprintln!("ringmq bench: {what}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// A load on the links of a run.
trait Drive: Listener {
    /// Starts what is due.
    fn issue(&mut self, out: &mut Outbox, now: MonoNs);
    /// Whether nothing is left to do or to wait for.
    fn is_finished(&self, now: MonoNs) -> bool;
    /// Messages so far, for the progress line.
    fn messages(&self) -> u64;
}

impl Drive for Sender {
    fn issue(&mut self, out: &mut Outbox, now: MonoNs) {
        Sender::issue(self, out, now);
    }

    fn is_finished(&self, now: MonoNs) -> bool {
        Sender::is_finished(self, now)
    }

    fn messages(&self) -> u64 {
        self.stored_total()
    }
}

impl Drive for Puller {
    fn issue(&mut self, out: &mut Outbox, now: MonoNs) {
        Puller::issue(self, out, now);
    }

    fn is_finished(&self, _now: MonoNs) -> bool {
        Puller::is_finished(self)
    }

    fn messages(&self) -> u64 {
        self.messages_total()
    }
}

/// Senders on the first links, pullers on the others.
struct EndToEnd<S> {
    sender: S,
    puller: Puller,
    first_puller: LinkId,
    /// The puller reads a backlog instead of what is sent.
    is_replay: bool,
}

impl<S: Drive> Listener for EndToEnd<S> {
    fn received(
        &mut self,
        link: LinkId,
        bytes: &[u8],
        out: &mut Outbox,
        now: MonoNs,
    ) -> Result<(), String> {
        if link < self.first_puller {
            self.sender.received(link, bytes, out, now)
        } else {
            self.puller.received(link, bytes, out, now)
        }
    }

    fn lost(&mut self, link: LinkId) {
        if link < self.first_puller {
            self.sender.lost(link);
        } else {
            self.puller.lost(link);
        }
    }
}

impl<S: Drive> Drive for EndToEnd<S> {
    fn issue(&mut self, out: &mut Outbox, now: MonoNs) {
        self.puller.issue(out, now);
        self.sender.issue(out, now);
    }

    fn is_finished(&self, now: MonoNs) -> bool {
        let has_read = match self.is_replay {
            true => self.puller.is_finished(),
            false => self.puller.messages_total() >= self.sender.messages(),
        };
        self.sender.is_finished(now) && has_read
    }

    fn messages(&self) -> u64 {
        self.puller.messages_total()
    }
}

/// A run that is about to begin: connections stand, the thread is set up.
struct Run {
    links: Links,
    window: Window,
    meter: Option<ServerMeter>,
    before: Before,
    /// How long after the window the load may take to finish, ms.
    drain_ms: u64,
    shows_progress: bool,
}

impl Run {
    /// `is_bare`: the server takes nothing but sends, so it is not asked for anything.
    fn begin(
        common: &Common,
        addresses: &[SocketAddr],
        warmup: Duration,
        is_bare: bool,
    ) -> Result<Run, Failure> {
        let meter = common.pid.map(ServerMeter::start).transpose()?;
        let mut brokers = addresses.to_vec();
        brokers.sort_unstable();
        brokers.dedup();
        if is_bare {
            brokers.clear();
        }
        let before = Before::read(&brokers, common);
        common.cpu.map_or(Ok(()), pin)?;
        if let Err(error) = sys::set_slice(sys::Slice::Long) {
            eprintln!("no long scheduling slice ({error}): synced writes may look slower");
        }
        let links = Links::connect(addresses)?;
        let window = Window::new(clock::mono(), warmup, common.duration);
        if let Some(meter) = &meter {
            meter.set_window(window);
        }
        let shows_progress = common.progress || std::io::stderr().is_terminal();
        let drain_ms = DRAIN_MS;
        Ok(Run { links, window, meter, before, drain_ms, shows_progress })
    }

    /// Spins until the load is finished; returns the part of the window in which there was something to do.
    fn drive(&mut self, load: &mut impl Drive) -> Result<f64, Failure> {
        let window = self.window;
        let deadline = window.end.plus_ms(self.drain_ms);
        let (mut busy_ns, mut is_busy) = (0, false);
        let mut last = clock::mono();
        let mut tick = (window.begin.0 + SECOND_NS, 0);
        loop {
            let now = clock::mono();
            if is_busy && window.contains(now) {
                busy_ns += now.since(last);
            }
            last = now;
            if load.is_finished(now) || now >= deadline {
                break;
            }
            if self.links.alive() == 0 {
                return Err(Failure("all connections are lost".to_owned()));
            }
            if self.shows_progress && now.0 >= tick.0 {
                let phase = if now < window.start { " (warming up)" } else { "" };
                let seconds = now.since(window.begin) as f64 / SECOND_NS as f64;
                let messages = load.messages();
                eprintln!("{seconds:6.1} s  {:>10} messages/s{phase}", messages - tick.1);
                tick = (tick.0 + SECOND_NS, messages);
            }
            load.issue(self.links.outbox(), now);
            is_busy = self.links.turn(load, now);
        }
        let measured_ns = last.min(window.end).since(window.start).max(1);
        Ok(100.0 * busy_ns as f64 / measured_ns as f64)
    }
}

/// Binds this thread to a CPU.
fn pin(id: usize) -> Result<(), Failure> {
    let allowed = affinity::allowed_cpus();
    let is_allowed = allowed.contains(&id);
    if is_allowed && core_affinity::set_for_current(core_affinity::CoreId { id }) {
        return Ok(());
    }
    Err(Failure(format!("--cpu {id}: this process may run on {allowed:?} only")))
}

/// `count` addresses, the brokers in turn.
fn spread(target: &Target, count: u32) -> Vec<SocketAddr> {
    let count = usize::try_from(count).expect("usize has at least 32 bits");
    target.brokers.iter().copied().cycle().take(count).collect()
}

/// Tells the messages of this run from those of others.
fn run_id() -> u64 {
    let now = clock::now();
    now.wall.0.unsigned_abs() << 20 ^ now.mono.0 ^ u64::from(std::process::id()) << 40
}

/// One request for each queue of each topic, all topics in turn.
fn templates(
    common: &Common,
    topics: &[String],
    body: u32,
    run_id: u64,
    kind: Kind,
) -> Vec<Template> {
    let body_bytes = usize::try_from(body).expect("usize has at least 32 bits");
    let (body, serialize) = (template::body(body_bytes), common.serialize.wire());
    let mut templates = Vec::new();
    for queue in 0..common.queues {
        for topic in topics {
            let shape = Shape { serialize, topic, run_id, kind };
            templates.push(Template::new(&shape, queue, &body));
        }
    }
    templates
}

/// What a broker is to do with the messages of `send`.
fn kind(args: &SendArgs) -> Kind {
    match (args.level, args.deliver_in) {
        (Some(level), _) => Kind::Level(level),
        (None, Some(delay)) => Kind::Timed(whole_ms(delay)),
        (None, None) if args.filterable => {
            let queues = u64::try_from(args.common.queues).expect("checked by the arguments");
            Kind::Filterable(queues * u64::from(args.topics))
        }
        (None, None) => Kind::Plain,
    }
}

fn whole_ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).expect("at most a day")
}

/// The names of the topics.
fn topic_names(common: &Common, count: u32) -> Vec<String> {
    if count == 1 {
        return vec![common.topic.clone()];
    }
    (0..count).map(|number| format!("{}-{number:05}", common.topic)).collect()
}

fn parameters(common: &Common, own: &[(&'static str, Value)]) -> Vec<(&'static str, Value)> {
    let shared = [
        ("topic", json!(common.topic)),
        ("queues", json!(common.queues)),
        ("serialize", json!(common.serialize.name())),
    ];
    own.iter().cloned().chain(shared).collect()
}

fn send_load(args: &SendArgs) -> Result<Report, Failure> {
    let common = &args.common;
    let topics = topic_names(common, args.topics);
    let target = match args.bare {
        true => setup::prepare(&Common { no_create: true, ..common.clone() }, &[])?,
        false => setup::prepare(common, &topics)?,
    };
    let default_in_flight = if args.rate.is_some() { OPEN_LOOP_IN_FLIGHT } else { 1 };
    let in_flight = args.in_flight.unwrap_or(default_in_flight);
    let addresses = spread(&target, args.connections);
    let mut run = Run::begin(common, &addresses, common.warmup, args.bare)?;
    let templates = templates(common, &topics, args.body, run_id(), kind(args));
    let request_bytes = templates.first().map_or(0, Template::len);
    let mut sender = Sender::new(SenderPlan {
        templates,
        links: addresses.len(),
        in_flight,
        rate: args.rate,
        count: args.count,
        is_bare: args.bare,
        stamped: None,
        window: run.window,
        clock: WallClock::read(),
    });
    let busy_percent = run.drive(&mut sender)?;
    let is_open_loop = args.rate.is_some();
    let tally = sender.into_tally();
    if let (Some(meter), Some(_)) = (&run.meter, args.count) {
        meter.stop();
    }
    Ok(Report {
        load: "send",
        parameters: parameters(
            common,
            &[
                ("connections", json!(args.connections)),
                ("in_flight", json!(in_flight)),
                ("rate", json!(args.rate)),
                ("body", json!(args.body)),
                ("topics", json!(args.topics)),
            ],
        ),
        details: sent_details(&tally, request_bytes),
        seconds: run.window.seconds(clock::mono()),
        flows: vec![Flow {
            name: "sent",
            messages: tally.stored,
            bytes: tally.stored * u64::from(args.body),
        }],
        latencies: vec![("send", tally.latency)],
        refusals: vec![("send", tally.refusals)],
        losses: vec![("unanswered", tally.unanswered)],
        stages: run.before.until_now(common),
        server: run.meter.map(ServerMeter::finish),
        busy_percent,
        late_max_us: is_open_loop.then_some(tally.late_max_ns as f64 / 1000.0),
    })
}

/// What all sends of a run, warm-up included, looked like.
fn sent_details(tally: &SendTally, request_bytes: usize) -> Vec<(&'static str, Value)> {
    let (answers, bytes) = tally.answers;
    vec![
        ("acknowledged_total", json!(tally.stored_total)),
        ("request_bytes", json!(request_bytes)),
        ("reply_bytes", json!((answers > 0).then(|| bytes as f64 / answers as f64))),
    ]
}

fn pull_load(args: &PullArgs) -> Result<Report, Failure> {
    let common = &args.common;
    let target = setup::prepare(&Common { no_create: true, ..common.clone() }, &[])?;
    let addresses = spread(&target, args.connections);
    let cursors = catch_up_cursors(&target, &addresses, common)?;
    if cursors.is_empty() {
        return Err(Failure(format!("topic {} holds no message to read", common.topic)));
    }
    // A backlog that is read once has no part that could be spared for warming up.
    let wanted = match (&args.tags, &args.sql) {
        (Some(tags), _) => Wanted { kind: "TAG", expression: tags.clone() },
        (None, Some(sql)) => Wanted { kind: "SQL92", expression: sql.clone() },
        (None, None) => Wanted::all(),
    };
    let warmup = if args.repeat { common.warmup } else { Duration::ZERO };
    let mut run = Run::begin(common, &addresses, warmup, false)?;
    let mut puller = Puller::new(PullerPlan {
        cursors,
        links: 0..addresses.len(),
        serialize: common.serialize.wire(),
        topic: &common.topic,
        group: &args.group,
        batch: args.batch,
        repeat: args.repeat,
        stamped: None,
        wanted: wanted.clone(),
        window: run.window,
    });
    let busy_percent = run.drive(&mut puller)?;
    let tally = puller.into_tally();
    let finished_at = tally.finished_at.unwrap_or_else(clock::mono);
    if let Some(meter) = &run.meter {
        meter.stop();
    }
    Ok(Report {
        load: "pull",
        parameters: parameters(
            common,
            &[
                ("connections", json!(args.connections)),
                ("batch", json!(args.batch)),
                ("pulls", json!(tally.pulls)),
                ("wanted", json!(wanted.expression)),
            ],
        ),
        details: vec![
            ("read_total", json!(tally.messages_total)),
            ("examined_total", json!(tally.examined.1)),
            ("examined", json!(tally.examined.0)),
        ],
        seconds: run.window.seconds(finished_at),
        flows: vec![Flow { name: "read", messages: tally.messages, bytes: tally.bytes }],
        latencies: vec![("pull", tally.latency)],
        refusals: vec![("pull", tally.refusals)],
        losses: Vec::new(),
        stages: run.before.until_now(common),
        server: run.meter.map(ServerMeter::finish),
        busy_percent,
        late_max_us: None,
    })
}

/// Queues that hold messages, dealt out to the connections of their broker; with more connections than queues, some
/// queues have several cursors.
fn catch_up_cursors(
    target: &Target,
    addresses: &[SocketAddr],
    common: &Common,
) -> Result<Vec<Cursor>, Failure> {
    let mut cursors = Vec::new();
    for &broker in &target.brokers {
        let links: Vec<usize> =
            (0..addresses.len()).filter(|&link| addresses[link] == broker).collect();
        let filled: Vec<(i32, (i64, i64))> = (0..target.queues)
            .zip(setup::offsets(broker, target.queues, common)?)
            .filter(|(_, (first, end))| first < end)
            .collect();
        if links.is_empty() || filled.is_empty() {
            continue;
        }
        for at in 0..links.len().max(filled.len()) {
            let (queue_id, (first, end)) = filled[at % filled.len()];
            let link = links[at % links.len()];
            cursors.push(Cursor { link, queue_id, first, end: Some(end) });
        }
    }
    Ok(cursors)
}

/// Every queue of every broker once, from its end on.
fn tail_cursors(
    target: &Target,
    addresses: &[SocketAddr],
    common: &Common,
) -> Result<Vec<Cursor>, Failure> {
    let mut cursors = Vec::new();
    for &broker in &target.brokers {
        let links: Vec<usize> =
            (0..addresses.len()).filter(|&link| addresses[link] == broker).collect();
        if links.is_empty() {
            return Err(Failure(format!("no connection is left to pull from {broker}: --pullers")));
        }
        for (queue_id, (_, end)) in
            (0..target.queues).zip(setup::offsets(broker, target.queues, common)?)
        {
            let link = links[cursors.len() % links.len()];
            cursors.push(Cursor { link, queue_id, first: end, end: None });
        }
    }
    Ok(cursors)
}

fn e2e_load(args: &E2eArgs) -> Result<Report, Failure> {
    let common = &args.common;
    let topics = topic_names(common, 1);
    let target = setup::prepare(common, &topics)?;
    let senders = spread(&target, args.ends.connections);
    let pullers = spread(&target, args.ends.pullers);
    let (read_topic, cursors) = match &args.replay {
        Some(topic) => {
            let backlog = Common { topic: topic.clone(), ..common.clone() };
            let mut cursors = catch_up_cursors(&target, &pullers, &backlog)?;
            if cursors.is_empty() {
                return Err(Failure(format!("topic {topic} holds no message to read")));
            }
            cursors.truncate(pullers.len());
            (topic, cursors)
        }
        None => (&common.topic, tail_cursors(&target, &pullers, common)?),
    };
    let addresses = [senders.clone(), pullers].concat();
    let mut run = Run::begin(common, &addresses, common.warmup, false)?;
    let run_id = run_id();
    let stamped = Stamped { run: run_id, delay_ms: 0 };
    let sender = Sender::new(SenderPlan {
        templates: templates(common, &topics, args.ends.body, run_id, Kind::Plain),
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
        topic: read_topic,
        group: &args.ends.group,
        batch: args.ends.batch,
        repeat: args.replay.is_some(),
        stamped: args.replay.is_none().then_some(stamped),
        wanted: Wanted::all(),
        window: run.window,
    });
    let is_replay = args.replay.is_some();
    let mut load = EndToEnd { sender, puller, first_puller: senders.len(), is_replay };
    let busy_percent = run.drive(&mut load)?;
    Ok(e2e_report(args, run, load, busy_percent))
}

fn e2e_report(args: &E2eArgs, run: Run, load: EndToEnd<Sender>, busy_percent: f64) -> Report {
    let sent = load.sender.into_tally();
    let read = load.puller.into_tally();
    let own = [
        ("connections", json!(args.ends.connections)),
        ("pullers", json!(args.ends.pullers)),
        ("rate", json!(args.rate)),
        ("body", json!(args.ends.body)),
        ("replay", json!(args.replay)),
    ];
    let sends = Flow {
        name: "sent",
        messages: sent.stored,
        bytes: sent.stored * u64::from(args.ends.body),
    };
    let name = if load.is_replay { "read" } else { "received" };
    let reads = Flow { name, messages: read.messages, bytes: read.bytes };
    let missing = sent.stored_total.saturating_sub(read.messages_total);
    let mut losses = vec![("unanswered", sent.unanswered)];
    if !load.is_replay {
        losses.push(("not_received", missing));
        losses.push(("duplicates", read.arrivals.duplicates));
    }
    let received = match load.is_replay {
        true => ("pull", read.latency),
        false => ("end to end", read.arrivals.latency),
    };
    Report {
        load: "e2e",
        parameters: parameters(&args.common, &own),
        details: vec![("acknowledged_total", json!(sent.stored_total))],
        seconds: run.window.seconds(clock::mono()),
        flows: if load.is_replay { vec![sends, reads] } else { vec![reads, sends] },
        latencies: vec![received, ("send", sent.latency)],
        refusals: vec![("send", sent.refusals), ("pull", read.refusals)],
        losses,
        stages: run.before.until_now(&args.common),
        server: run.meter.map(ServerMeter::finish),
        busy_percent,
        late_max_us: Some(sent.late_max_ns as f64 / 1000.0),
    }
}
