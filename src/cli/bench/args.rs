//! Arguments of `ringmq bench`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::time::Duration;
use wire::SerializeType;

/// Least body of a message whose receipt is measured: its stamp.
const STAMPED_BODY_BYTES_MIN: u32 = 24;
/// Highest delay level: no broker has so many.
const LEVEL_MAX: u32 = 1000;
/// A body above this is refused by a broker with default configuration (`maxMessageSize`).
const BODY_BYTES_MAX: u32 = 4 * 1024 * 1024;
/// Most requests in flight per connection; also the number of opaques a connection uses.
const IN_FLIGHT_MAX: u32 = 1 << 16;
/// Most connections of each kind.
const CONNECTIONS_MAX: u32 = 16 * 1024;
/// Most topics: their numbers have five digits.
const TOPICS_MAX: u32 = 100_000;

/// Measures a broker. Works with every RocketMQ broker.
#[derive(Parser, Debug)]
#[command(name = "ringmq bench", version, arg_required_else_help = true)]
pub(super) struct BenchCli {
    #[command(subcommand)]
    pub(super) load: Load,
}

/// What to measure.
#[derive(Subcommand, Debug)]
pub(super) enum Load {
    /// Send messages: closed loop, or open loop with --rate
    Send(SendArgs),
    /// Read a topic from its start as fast as possible
    Pull(PullArgs),
    /// Send at a rate and receive with long polls: time from intended send to receipt
    E2e(E2eArgs),
    /// Send delayed messages at a rate and receive them with long polls: time from due to receipt
    Delay(DelayArgs),
    /// Send half messages and commit them, closed loop
    Transaction(TransactionArgs),
}

/// Arguments of every load.
#[derive(Args, Clone, Debug)]
pub(super) struct Common {
    /// Name server, host:port
    #[arg(short = 'n', long, value_name = "ADDRESS", required_unless_present = "broker")]
    pub(super) namesrv: Option<String>,
    /// Broker, host:port; no name server is asked then
    #[arg(short = 'b', long, value_name = "ADDRESS", conflicts_with = "namesrv")]
    pub(super) broker: Option<String>,
    /// Topic
    #[arg(short = 't', long, default_value = "BenchTopic")]
    pub(super) topic: String,
    /// Queues of the topic
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..=65_536))]
    pub(super) queues: i32,
    /// Take the topic as it is
    #[arg(long)]
    pub(super) no_create: bool,
    /// Measured time: 10s, 500ms, 2m
    #[arg(short = 'd', long, default_value = "10s", value_parser = duration)]
    pub(super) duration: Duration,
    /// Time before it that does not count
    #[arg(short = 'w', long, default_value = "2s", value_parser = duration)]
    pub(super) warmup: Duration,
    /// Encoding of request headers
    #[arg(long, value_enum, default_value_t = Encoding::Json)]
    pub(super) serialize: Encoding,
    /// Process of the broker, for its CPU time and memory
    #[arg(long)]
    pub(super) pid: Option<u32>,
    /// CPU to run the load generator on
    #[arg(long)]
    pub(super) cpu: Option<usize>,
    /// Print the result as one line of JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Print a line each second also when standard error is no terminal
    #[arg(long)]
    pub(super) progress: bool,
}

/// Arguments of `send`.
#[derive(Args, Clone, Debug)]
pub(super) struct SendArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Connections
    #[arg(short = 'c', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub(super) connections: u32,
    /// Requests in flight per connection; with --rate the most there may be [default: 1, with --rate 1024]
    #[arg(short = 'i', long, value_parser = clap::value_parser!(u32).range(1..=i64::from(IN_FLIGHT_MAX)))]
    pub(super) in_flight: Option<u32>,
    /// Messages per second over all connections: open loop
    #[arg(short = 'r', long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) rate: Option<u64>,
    /// Bytes of each body
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=i64::from(BODY_BYTES_MAX)))]
    pub(super) body: u32,
    /// Topics; with more than one, -00000 and so on is put behind the name
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(TOPICS_MAX)))]
    pub(super) topics: u32,
    /// Stop after this many messages
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// The server answers in order with frames that are not looked into (perf's bare ring)
    #[arg(long, conflicts_with = "namesrv")]
    pub(super) bare: bool,
    /// The messages have TAGS and the properties price, region and kind, which pass one of ten
    #[arg(long, conflicts_with = "bare")]
    pub(super) filterable: bool,
    /// Delay level of the messages; they are not waited for
    #[arg(long, conflicts_with_all = ["bare", "filterable"], value_parser = clap::value_parser!(u32).range(1..=i64::from(LEVEL_MAX)))]
    pub(super) level: Option<u32>,
    /// Time of delivery of the messages, from when they are sent; they are not waited for
    #[arg(long, conflicts_with_all = ["bare", "filterable", "level"], value_parser = duration)]
    pub(super) deliver_in: Option<Duration>,
}

/// Arguments of `pull`.
#[derive(Args, Clone, Debug)]
pub(super) struct PullArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Connections; queues are dealt out to them, and read more than once when there are fewer queues
    #[arg(short = 'c', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub(super) connections: u32,
    /// Most messages per pull
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(i32).range(1..=65_536))]
    pub(super) batch: i32,
    /// Start over at the end of a queue, until the time is up
    #[arg(long)]
    pub(super) repeat: bool,
    /// Only messages with these tags
    #[arg(long, value_name = "EXPRESSION", conflicts_with = "sql")]
    pub(super) tags: Option<String>,
    /// Only messages that this SQL92 expression matches (the broker needs enablePropertyFilter=true)
    #[arg(long, value_name = "EXPRESSION")]
    pub(super) sql: Option<String>,
    /// Consumer group
    #[arg(short = 'g', long, default_value = "BenchGroup")]
    pub(super) group: String,
}

/// What sends and what receives, in loads that do both at a rate.
#[derive(Args, Clone, Debug)]
pub(super) struct Ends {
    /// Connections that send
    #[arg(short = 'c', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub(super) connections: u32,
    /// Connections that pull; the queues are dealt out to them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub(super) pullers: u32,
    /// Most sends in flight per connection
    #[arg(short = 'i', long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=i64::from(IN_FLIGHT_MAX)))]
    pub(super) in_flight: u32,
    /// Bytes of each body
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(i64::from(STAMPED_BODY_BYTES_MIN)..=i64::from(BODY_BYTES_MAX)))]
    pub(super) body: u32,
    /// Most messages per pull
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(i32).range(1..=65_536))]
    pub(super) batch: i32,
    /// Consumer group
    #[arg(short = 'g', long, default_value = "BenchGroup")]
    pub(super) group: String,
}

/// Arguments of `e2e`.
#[derive(Args, Clone, Debug)]
pub(super) struct E2eArgs {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) ends: Ends,
    /// Read this topic from its start, over and over, instead of what is sent
    #[arg(long, value_name = "TOPIC")]
    pub(super) replay: Option<String>,
    /// Messages per second over all connections
    #[arg(short = 'r', long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) rate: u64,
}

/// Arguments of `delay`.
#[derive(Args, Clone, Debug)]
pub(super) struct DelayArgs {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) ends: Ends,
    /// Delay of the messages
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(super) delay: Duration,
    /// The broker's delay level that has this delay; without it messages name their time of delivery
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(LEVEL_MAX)))]
    pub(super) level: Option<u32>,
    /// Messages per second over all connections
    #[arg(short = 'r', long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) rate: u64,
}

/// Arguments of `transaction`.
#[derive(Args, Clone, Debug)]
pub(super) struct TransactionArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Connections
    #[arg(short = 'c', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub(super) connections: u32,
    /// Transactions in flight per connection
    #[arg(short = 'i', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(IN_FLIGHT_MAX)))]
    pub(super) in_flight: u32,
    /// Connections that receive what is committed; 0: nobody does
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=i64::from(CONNECTIONS_MAX)))]
    pub(super) pullers: u32,
    /// Bytes of each body
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(i64::from(STAMPED_BODY_BYTES_MIN)..=i64::from(BODY_BYTES_MAX)))]
    pub(super) body: u32,
    /// Most messages per pull
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(i32).range(1..=65_536))]
    pub(super) batch: i32,
    /// Consumer group
    #[arg(short = 'g', long, default_value = "BenchGroup")]
    pub(super) group: String,
}

/// Encoding of request headers, by its name on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Encoding {
    /// JSON
    Json,
    /// RocketMQ's binary header
    Rocketmq,
}

impl Encoding {
    /// The type of the wire.
    pub(super) fn wire(self) -> SerializeType {
        match self {
            Encoding::Json => SerializeType::Json,
            Encoding::Rocketmq => SerializeType::Rocketmq,
        }
    }

    /// Name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Encoding::Json => "json",
            Encoding::Rocketmq => "rocketmq",
        }
    }
}

/// A number with one of the units ms, s, m; seconds when there is none.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit_ms) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1000)
    } else if let Some(number) = text.strip_suffix('m') {
        (number, 60_000)
    } else {
        (text, 1000)
    };
    let wrong = || format!("{text:?} is not a time such as 10s, 500ms or 2m");
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    let ms = number.checked_mul(unit_ms).filter(|&ms| ms <= 24 * 3_600_000);
    ms.map(Duration::from_millis).ok_or_else(|| format!("{text:?} is above the limit of 24 hours"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definitions_are_consistent() {
        BenchCli::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("3"), duration("3s"));
        assert!(duration("1h").unwrap_err().contains("\"1h\""));
        assert!(duration("99999999m").unwrap_err().contains("24 hours"));
    }

    #[test]
    fn a_broker_or_a_name_server_is_needed() {
        let parse = |line: &str| BenchCli::try_parse_from(line.split_whitespace());
        assert!(parse("bench send").is_err());
        assert!(parse("bench send -n a:1 -b b:1").is_err());
        assert!(parse("bench e2e -b b:1 --body 15").is_err());
        assert!(parse("bench send -n n:1 --bare").is_err());
        assert!(parse("bench send -b b:1 --level 18 --deliver-in 2s").is_err());
        assert!(parse("bench pull -b b:1 --tags a --sql b").is_err());
        assert!(parse("bench delay -b b:1 --delay 5s --level 2").is_ok());
        assert!(parse("bench send -b b:1 -c 64 -i 32 --serialize rocketmq --json").is_ok());
    }
}
