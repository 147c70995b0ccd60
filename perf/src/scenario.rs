//! Scenario files: what is loaded how, on which systems, and what the goal is. README.md describes every key.

use crate::metric::Metric;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What is compared.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SystemName {
    /// This broker.
    Ringmq,
    /// TCP frame in, direct write, frame out.
    Ring,
    /// The Java broker 5.5.0.
    Java550,
    /// The Java broker 4.9.7.
    Java497,
    /// A broker that somebody else started (`--target`).
    Target,
}

impl SystemName {
    /// Name in files and tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            SystemName::Ringmq => "ringmq",
            SystemName::Ring => "ring",
            SystemName::Java550 => "java550",
            SystemName::Java497 => "java497",
            SystemName::Target => "target",
        }
    }

    /// Whether it is a JVM, which is kept running over the points of a scenario.
    pub(crate) fn is_java(self) -> bool {
        matches!(self, SystemName::Java550 | SystemName::Java497)
    }
}

/// Kind of load.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LoadKind {
    /// `ringmq bench send`.
    Send,
    /// A backlog, then `ringmq bench pull`.
    Pull,
    /// `ringmq bench e2e`; with `replay` after a backlog.
    E2e,
    /// From exec to the first answer on an empty store.
    Startup,
    /// CPU and memory without load.
    Idle,
    /// `ringmq bench delay`.
    Delay,
    /// `ringmq bench transaction`.
    Transaction,
    /// A backlog of messages with properties, then `ringmq bench pull` with a subscription, over and over.
    Filter,
    /// Delayed messages that stay where they are, then CPU and memory without load, then `ringmq bench send`.
    Pending,
    /// A backlog, an orderly stop and a start, `ringmq bench send`, `kill -9` and a start.
    Restart,
    /// A backlog whose segments become old, or not, while `ringmq bench send` runs.
    Retention,
}

/// What a subscription passes. All but the first pass one of ten messages of the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Filter {
    /// Everything.
    None,
    /// One tag.
    Tags,
    /// One comparison of SQL92.
    Sql,
    /// A dozen comparisons of SQL92.
    SqlComplex,
}

impl Filter {
    /// Arguments of the client.
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Filter::None => &[],
            Filter::Tags => &["--tags", "tag-0"],
            Filter::Sql => &["--sql", "price < 1100"],
            Filter::SqlComplex => &[
                "--sql",
                "(price BETWEEN 1000 AND 1399 AND region IN ('region-0', 'region-4', 'region-7') \
                 AND kind STARTSWITH 'order') \
                 OR (price >= 1800 AND region CONTAINS 'asia' AND discount IS NOT NULL) \
                 OR (NOT (kind = 'order-created') AND (price > 5000 OR region <> 'region-1'))",
            ],
        }
    }

    /// Which part of the client's messages it passes: one of so many.
    pub(crate) fn one_of(self) -> u64 {
        if self == Filter::None { 1 } else { 10 }
    }
}

/// Encoding of request headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    /// JSON.
    Json,
    /// RocketMQ's binary header.
    Rocketmq,
}

impl Encoding {
    /// Name on the command line of the client.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Encoding::Json => "json",
            Encoding::Rocketmq => "rocketmq",
        }
    }
}

/// What an acknowledgement means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Flush {
    /// ASYNC_FLUSH.
    Async,
    /// SYNC_FLUSH.
    Sync,
}

/// Declares a load point, lists of its fields for sweeps, and how they go together.
macro_rules! point {
    ($($(#[$doc:meta])* $name:ident: $type:ty),* $(,)?) => {
        /// A load point, or a part of one: what is absent has its default or is left open.
        #[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct Point {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) $name: Option<$type>,)*
        }

        /// Lists of values that are combined.
        #[derive(Clone, PartialEq, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct Sweep { $($name: Option<Vec<$type>>,)* }

        impl Point {
            /// This point with what `patch` says instead.
            pub(crate) fn patched(&self, patch: &Point) -> Point {
                Point { $($name: patch.$name.clone().or_else(|| self.$name.clone()),)* }
            }

            /// Whether everything that `part` names is the same here; what is absent here counts as its default.
            pub(crate) fn matches(&self, part: &Point) -> bool {
                let (own, defaults) = (self, Point::defaults());
                $(if part.$name.is_some()
                    && part.$name != own.$name.clone().or_else(|| defaults.$name.clone()) {
                    return false;
                })*
                true
            }
        }

        impl Sweep {
            /// All combinations over each of `points`.
            fn over(&self, mut points: Vec<Point>) -> Vec<Point> {
                $(if let Some(values) = &self.$name {
                    let with = |point: &Point, value: &$type| {
                        Point { $name: Some(value.clone()), ..point.clone() }
                    };
                    points = points
                        .iter()
                        .flat_map(|point| values.iter().map(|value| with(point, value)).collect::<Vec<_>>())
                        .collect();
                })*
                points
            }
        }
    };
}

point! {
    /// What an acknowledgement means.
    flush: Flush,
    /// Encoding of request headers.
    serialize: Encoding,
    /// Bytes of each body.
    body: u32,
    /// Connections that send or pull.
    connections: u32,
    /// Requests in flight per connection.
    in_flight: u32,
    /// Messages per second, open loop.
    rate: u64,
    /// Queues of each topic.
    queues: u32,
    /// Topics.
    topics: u32,
    /// Connections that receive.
    pullers: u32,
    /// Most messages per pull.
    batch: u32,
    /// Bodies that are stored before, in MiB.
    backlog_mib: u64,
    /// Whether the backlog is read while sending.
    replay: bool,
    /// Whether the backlog's segments are deleted while sending.
    expire: bool,
    /// Delay of delayed messages, in milliseconds.
    delay_ms: u64,
    /// The brokers' delay level that has this delay; absent: messages name their time of delivery.
    delay_level: u32,
    /// Delayed messages that wait.
    pending: u64,
    /// What the subscription passes.
    filter: Filter,
    /// Limit of page cache and memory of the server, in MiB, by cgroup.
    cache_mib: u64,
}

impl Point {
    /// What an absent field means.
    fn defaults() -> Point {
        Point {
            flush: Some(Flush::Async),
            serialize: Some(Encoding::Json),
            body: Some(1024),
            connections: Some(1),
            in_flight: None,
            rate: None,
            queues: Some(8),
            topics: Some(1),
            pullers: Some(1),
            batch: Some(32),
            backlog_mib: Some(0),
            replay: Some(false),
            expire: Some(false),
            delay_ms: None,
            delay_level: None,
            pending: Some(0),
            filter: Some(Filter::None),
            cache_mib: None,
        }
    }

    /// This point with all defaults filled in.
    pub(crate) fn full(&self) -> Point {
        Point::defaults().patched(self)
    }

    /// The fields of this point that are not the same in all of `points`, as `name=value`.
    pub(crate) fn label(&self, points: &[Point]) -> String {
        let fields = |point: &Point| match serde_json::to_value(point.full()) {
            Ok(serde_json::Value::Object(fields)) => fields,
            Ok(_) | Err(_) => serde_json::Map::new(),
        };
        let own = fields(self);
        let all: Vec<_> = points.iter().map(fields).collect();
        let varies = |name: &str| all.iter().any(|other| other.get(name) != own.get(name));
        let parts: Vec<String> = own
            .iter()
            .filter(|(name, _)| varies(name))
            .map(|(name, value)| match value.as_str() {
                Some(text) => format!("{name}={text}"),
                None => format!("{name}={value}"),
            })
            .collect();
        parts.join(" ")
    }
}

/// A goal: a figure of one system, absolute or as a multiple of another figure.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Goal {
    /// Name in the design, for instance `P1`.
    pub(crate) id: String,
    /// The figure.
    pub(crate) metric: Metric,
    /// Whose figure.
    #[serde(default = "ringmq")]
    pub(crate) of: SystemName,
    /// The point at which it counts; open fields match all points.
    #[serde(default)]
    pub(crate) at: Point,
    /// Divided by the same figure of this system.
    pub(crate) than: Option<SystemName>,
    /// Divided by the figure at this point instead.
    pub(crate) than_at: Option<Point>,
    /// The result is not below.
    pub(crate) at_least: Option<f64>,
    /// The result is not above.
    pub(crate) at_most: Option<f64>,
}

fn ringmq() -> SystemName {
    SystemName::Ringmq
}

/// When a ladder of rates ends for a system.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Knee {
    /// Above this p99 no higher rate is tried.
    pub(crate) p99_ms_max: f64,
    /// Nor when less than this part of the rate was reached.
    pub(crate) rate_part_min: f64,
}

/// The pictures a scenario is shown in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PictureKind {
    /// Latency percentiles, one curve per system, at the first point of goals or the last one.
    Percentiles,
    /// Throughput against connections.
    Throughput,
    /// CPU per message, bars.
    Cpu,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    #[serde(default)]
    text: String,
    load: LoadKind,
    systems: Vec<SystemName>,
    #[serde(default = "three")]
    rounds: u32,
    #[serde(default = "two")]
    warmup_s: f64,
    #[serde(default = "eight")]
    duration_s: f64,
    #[serde(default)]
    verify: bool,
    knee: Option<Knee>,
    spread_max: Option<f64>,
    #[serde(default)]
    settings: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    base: Point,
    #[serde(default)]
    sweep: Sweep,
    #[serde(default)]
    point: Vec<Point>,
    #[serde(default)]
    goal: Vec<Goal>,
    #[serde(default)]
    pictures: Vec<PictureKind>,
    #[serde(default)]
    picture_at: Point,
}

fn three() -> u32 {
    3
}

fn two() -> f64 {
    2.0
}

fn eight() -> f64 {
    8.0
}

/// A scenario.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Scenario {
    /// Name of the file without `.toml`.
    pub(crate) name: String,
    /// Headline.
    pub(crate) title: String,
    /// What a reader should know.
    pub(crate) text: String,
    /// What is done.
    pub(crate) load: LoadKind,
    /// To whom, in the order of each round.
    pub(crate) systems: Vec<SystemName>,
    /// How often.
    pub(crate) rounds: u32,
    /// Load before measuring, in seconds.
    pub(crate) warmup_s: f64,
    /// Measured seconds.
    pub(crate) duration_s: f64,
    /// Read everything back afterwards and count it.
    pub(crate) verify: bool,
    /// End of a ladder.
    pub(crate) knee: Option<Knee>,
    /// Widest spread over the rounds that is a result.
    pub(crate) spread_max: Option<f64>,
    /// Further keys of a system's configuration: `ringmq`, `java`.
    pub(crate) settings: BTreeMap<String, BTreeMap<String, String>>,
    /// Load points in order.
    pub(crate) points: Vec<Point>,
    /// Goals.
    pub(crate) goals: Vec<Goal>,
    /// Pictures.
    pub(crate) pictures: Vec<PictureKind>,
    /// The points that pictures show.
    pub(crate) picture_at: Point,
}

/// Reads a file. The error names file, place and key.
pub(crate) fn read(path: &Path) -> Result<Scenario, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    parse(&name, &text).map_err(|what| format!("{}: {what}", path.display()))
}

fn parse(name: &str, text: &str) -> Result<Scenario, String> {
    let file: File = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
    let single = if file.point.is_empty() { vec![Point::default()] } else { file.point };
    let bases = single.iter().map(|point| file.base.patched(point)).collect();
    let scenario = Scenario {
        name: name.to_owned(),
        title: file.title,
        text: file.text,
        load: file.load,
        systems: file.systems,
        rounds: file.rounds,
        warmup_s: file.warmup_s,
        duration_s: file.duration_s,
        verify: file.verify,
        knee: file.knee,
        spread_max: file.spread_max,
        settings: file.settings,
        points: file.sweep.over(bases),
        goals: file.goal,
        pictures: file.pictures,
        picture_at: file.picture_at,
    };
    check(&scenario)?;
    Ok(scenario)
}

fn check(scenario: &Scenario) -> Result<(), String> {
    let must = |ok: bool, what: String| if ok { Ok(()) } else { Err(what) };
    must(!scenario.systems.is_empty(), "systems: name at least one".to_owned())?;
    must((1..=99).contains(&scenario.rounds), format!("rounds = {}: 1 to 99", scenario.rounds))?;
    let duration = scenario.duration_s;
    must((0.1..=3600.0).contains(&duration), format!("duration_s = {duration}: 0.1 to 3600"))?;
    let warmup = scenario.warmup_s;
    must((0.0..=600.0).contains(&warmup), format!("warmup_s = {warmup}: 0 to 600"))?;
    must(!scenario.points.is_empty(), "sweep: an empty list leaves no load point".to_owned())?;
    for system in scenario.settings.keys() {
        let known = ["ringmq", "java"].contains(&system.as_str());
        must(known, format!("settings.{system}: the systems with settings are ringmq and java"))?;
    }
    for point in &scenario.points {
        let full = point.full();
        let load = scenario.load;
        if matches!(load, LoadKind::E2e | LoadKind::Delay | LoadKind::Pending) {
            let name = serde_json::to_value(load).unwrap_or_default();
            must(full.rate.is_some(), format!("load = {name} needs a rate"))?;
        }
        let waits = load == LoadKind::Delay || load == LoadKind::Pending && full.pending != Some(0);
        must(!waits || full.delay_ms.is_some(), "delayed messages need delay_ms".to_owned())?;
        if let Some(delay_ms) = full.delay_ms.filter(|_| load == LoadKind::Delay) {
            let is_longer = warmup * 1000.0 > delay_ms as f64;
            must(
                is_longer,
                format!("warmup_s = {warmup}: longer than delay_ms, which is {delay_ms}"),
            )?;
        }
        let reads = matches!(load, LoadKind::Pull | LoadKind::Filter) || full.replay == Some(true);
        let restarts = load == LoadKind::Restart;
        let reads = reads || restarts || load == LoadKind::Retention;
        let backlog = full.backlog_mib != Some(0);
        must(!reads || backlog, "a load with a backlog needs backlog_mib".to_owned())?;
        let alone = scenario.systems == [SystemName::Ringmq];
        must(!restarts || alone, "load = \"restart\" is for ringmq only".to_owned())?;
    }
    for goal in &scenario.goals {
        let id = &goal.id;
        let bounds = goal.at_least.is_some() || goal.at_most.is_some();
        must(bounds, format!("goal {id}: at_least or at_most is missing"))?;
        for part in std::iter::once(&goal.at).chain(&goal.than_at) {
            let found = scenario.points.iter().any(|point| point.matches(part));
            must(
                found,
                format!("goal {id}: no load point matches {}", part.label(&[Point::default()])),
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        title = "T"
        load = "send"
        systems = ["ringmq", "ring", "java550"]
        base = { body = 128 }
        sweep = { connections = [1, 64], in_flight = [1, 32] }
        [[goal]]
        id = "P1"
        metric = "messages_per_cpu_second"
        at = { connections = 64, in_flight = 1 }
        than = "java550"
        at_least = 5
    "#;

    #[test]
    fn a_sweep_is_the_product_of_its_lists() {
        let scenario = parse("send", FILE).unwrap();
        let pairs: Vec<_> = scenario
            .points
            .iter()
            .map(|p| (p.connections.unwrap(), p.in_flight.unwrap()))
            .collect();
        assert_eq!(pairs, [(1, 1), (1, 32), (64, 1), (64, 32)]);
        assert!(scenario.points.iter().all(|p| p.body == Some(128)));
        assert_eq!(scenario.points[2].label(&scenario.points), "connections=64 in_flight=1");
        assert_eq!((scenario.rounds, scenario.goals.len()), (3, 1));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let wrong = FILE.replace("body", "bodies");
        let error = parse("send", &wrong).unwrap_err();
        assert!(error.contains("bodies") && error.contains("line 5"), "{error}");
        let wrong = FILE.replace("messages_per_cpu_second", "speed");
        let error = parse("send", &wrong).unwrap_err();
        assert!(error.contains("speed") && error.contains("messages_per_cpu_second"), "{error}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mine.toml");
        std::fs::write(&path, FILE.replace("title", "titel")).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.contains("mine.toml") && error.contains("titel"), "{error}");
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for (from, to, part) in [
            ("connections = 64, in_flight = 1 ", "connections = 65 ", "goal P1"),
            ("at_least = 5", "", "at_least or at_most"),
            ("load = \"send\"", "load = \"pull\"", "backlog_mib"),
            ("load = \"send\"", "load = \"e2e\"", "rate"),
            ("load = \"send\"", "load = \"filter\"", "backlog_mib"),
            ("load = \"send\"", "load = \"delay\"", "\"delay\" needs a rate"),
            ("load = \"send\"", "load = \"send\"\nrounds = 0", "rounds = 0"),
            ("in_flight = [1, 32]", "in_flight = []", "empty list"),
            (
                "title = \"T\"",
                "title = \"T\"\nsettings = { ring = { a = \"b\" } }",
                "settings.ring",
            ),
        ] {
            let text = FILE.replace(from, to);
            assert_ne!(text, FILE);
            let error = parse("send", &text).unwrap_err();
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn a_delay_ends_before_anything_is_measured() {
        let delayed = FILE.replace("\"send\"", "\"delay\"");
        let error = |base: &str| parse("delay", &delayed.replace("body = 128", base)).err();
        let missing = error("rate = 1").unwrap();
        assert!(missing.contains("delay_ms"), "{missing}");
        let short = error("rate = 1, delay_ms = 2000").unwrap();
        assert!(short.contains("warmup_s = 2"), "{short}");
        assert_eq!(error("rate = 1, delay_ms = 1999"), None);
    }

    #[test]
    fn a_point_matches_its_parts_and_its_defaults() {
        let point = Point { connections: Some(64), ..Point::default() };
        assert!(point.matches(&Point::default()));
        assert!(point.matches(&Point { flush: Some(Flush::Async), ..Point::default() }));
        assert!(!point.matches(&Point { connections: Some(1), ..Point::default() }));
        assert!(!point.matches(&Point { rate: Some(1), ..Point::default() }));
    }
}
