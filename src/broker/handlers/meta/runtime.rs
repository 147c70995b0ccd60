//! Runtime information: 28, a table of texts. What does not exist here, such as queues of thread pools, is told as zero.
//! Java: prepareRuntimeInfo, `StoreStatsService.getRuntimeInfo`.

use crate::app::{Broker, Host};
use crate::handlers::meta::disk::{Disk, FileSystem};
use crate::handlers::meta::gather::{self, Gathered, Question};
use crate::handlers::meta::times::{TimeOf, TimeWish};
use crate::handlers::{Outcome, Request};
use crate::timer::{self, TimerStand};
use crate::traffic::{Rates, Totals};
use base::time::MonoNs;
use shard::Cx;
use shard::stages::{Stage, Stages};
use store::delay::SCHEDULE_TOPIC;
use wire::body::{KvTable, Table};
use wire::codes::MQ_VERSION_5_5_0;
use wire::json;

/// Sizes and waits of thread pools that do not exist here, and of what is not there yet.
const ZEROS: &[&str] = &[
    "putMessageFailedTimes",
    "getMessageEntireTimeMax",
    "dispatchMaxBuffer",
    "dispatchBehindBytes",
    "pageCacheLockTimeMills",
    "sendThreadPoolQueueSize",
    "sendThreadPoolQueueHeadWaitTimeMills",
    "pullThreadPoolQueueSize",
    "pullThreadPoolQueueHeadWaitTimeMills",
    "litePullThreadPoolQueueSize",
    "litePullThreadPoolQueueHeadWaitTimeMills",
    "queryThreadPoolQueueSize",
    "queryThreadPoolQueueHeadWaitTimeMills",
    "ackThreadPoolQueueSize",
    "ackThreadPoolQueueHeadWaitTimeMills",
    "EndTransactionQueueSize",
];

/// Keys that are told as they are configured, with the key of the configuration.
const CONFIGURED: &[(&str, &str)] = &[
    ("startAcceptSendRequestTimeStamp", "startAcceptSendRequestTimeStamp"),
    ("sendThreadPoolQueueCapacity", "sendThreadPoolQueueCapacity"),
    ("pullThreadPoolQueueCapacity", "pullThreadPoolQueueCapacity"),
    ("litePullThreadPoolQueueCapacity", "litePullThreadPoolQueueCapacity"),
    ("queryThreadPoolQueueCapacity", "queryThreadPoolQueueCapacity"),
    ("ackThreadPoolQueueCapacity", "ackThreadPoolQueueCapacity"),
    ("EndTransactionThreadPoolQueueCapacity", "endTransactionPoolQueueCapacity"),
];

/// Upper ends of the classes of `putMessageDistributeTime`, in ms, with their texts; the last one has none.
const TIME_CLASSES: [(u64, &str); 13] = [
    (0, "[<=0ms]"),
    (10, "[0~10ms]"),
    (50, "[10~50ms]"),
    (100, "[50~100ms]"),
    (200, "[100~200ms]"),
    (500, "[200~500ms]"),
    (1000, "[500ms~1s]"),
    (2000, "[1~2s]"),
    (3000, "[2~3s]"),
    (4000, "[3~4s]"),
    (5000, "[4~5s]"),
    (10_000, "[5~10s]"),
    (u64::MAX, "[10s~]"),
];

/// One shard's figures; they add up.
#[derive(Default)]
pub struct RuntimePart {
    stages: Stages,
    totals: Totals,
    /// Ends of the queues of the delay levels.
    delays: Vec<(i32, i64)>,
    /// Start, end and unflushed bytes of the first log, on the shard that has it.
    log: Option<(u64, u64, u64)>,
    /// On the shard that has the timer.
    timer: Option<TimerStand>,
    /// Store time of the first message in the first log, ms.
    pub(crate) earliest_ms: Option<i64>,
}

impl RuntimePart {
    /// This shard's part, and the time it lacks.
    pub(crate) fn here<H: Host>(
        broker: &mut Broker,
        cx: &mut Cx<'_, H>,
    ) -> (RuntimePart, Vec<TimeWish>) {
        broker.traffic.absorb(cx.store());
        let totals = broker.traffic.totals(cx.now.mono);
        let stages = cx.stages().clone();
        let timer = timer::stand(broker, cx);
        let is_meta = broker.is_meta();
        let store = cx.store();
        let queues = store.queues().iter().filter(|(_, queue)| *queue.topic == *SCHEDULE_TOPIC);
        let delays = queues.map(|(_, queue)| (queue.id.0 + 1, queue.visible())).collect();
        // Java has one log; the positions told are those of the first stream, which is its log.
        let first = store.streams().min_by_key(|stream| stream.id()).filter(|_| is_meta);
        let log = first
            .map(|first| (first.start(), first.appended(), first.appended() - first.flushed()));
        let has_some = first.filter(|first| first.appended() > first.start());
        let place = has_some.map(|first| first.phy(first.start()));
        let wish = place.map(|place| TimeWish { row: 0, of: TimeOf::Place(place) });
        let part = RuntimePart { stages, totals, delays, log, timer, earliest_ms: None };
        (part, wish.into_iter().collect())
    }

    /// Adds another shard's part.
    pub(crate) fn add(&mut self, other: RuntimePart) {
        self.stages.merge(&other.stages);
        self.totals.add(&other.totals);
        self.delays.extend(other.delays);
        self.log = self.log.or(other.log);
        self.timer = self.timer.take().or(other.timer);
        self.earliest_ms = self.earliest_ms.or(other.earliest_ms);
    }
}

/// Asks all shards for their figures.
pub(crate) fn on_runtime_info<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let with_buckets = request.header.fields.get(BUCKETS_FIELD).is_some_and(|t| t.eq_str("true"));
    let told = Box::new(RuntimeInfo { with_buckets });
    let gathered = Gathered::Runtime { told, sum: Box::default() };
    gather::ask(broker, cx, request, gathered, &Question::Runtime);
    Outcome::Done
}

/// Field of the request that asks for whole histograms: with them a client tells what a run added.
pub const BUCKETS_FIELD: &str = "ringmqStageBuckets";
/// What a key of a stage ends with that has its histogram.
pub const BUCKETS_SUFFIX: &str = "Buckets";

/// How the table is to be written.
pub(crate) struct RuntimeInfo {
    with_buckets: bool,
}

type Rows = Vec<(String, String)>;

impl RuntimeInfo {
    /// Writes the table; a stage is `count p50 p99 p99.9 max`, in us.
    pub(crate) fn write(
        &self,
        broker: &mut Broker,
        now: MonoNs,
        sum: RuntimePart,
        body: &mut Vec<u8>,
    ) {
        let mut rows: Rows = Vec::new();
        about_broker(broker, now, &mut rows);
        about_log(broker, &sum, &mut rows);
        about_disk(&broker.meta.home().disk, &mut rows);
        about_traffic(&sum.totals, &mut rows);
        about_timer(sum.timer.as_ref(), &sum.totals, &mut rows);
        about_times(&sum.stages, &mut rows);
        for stage in Stage::ALL {
            rows.push((stage.key().to_owned(), sum.stages.summary(stage).to_string()));
            if self.with_buckets {
                let key = format!("{}{BUCKETS_SUFFIX}", stage.key());
                rows.push((key, sum.stages.buckets(stage)));
            }
        }
        json::write_default(body, &KvTable { table: Table(rows) });
    }
}

fn push(rows: &mut Rows, key: &str, value: impl ToString) {
    rows.push((key.to_owned(), value.to_string()));
}

fn about_broker(broker: &mut Broker, now: MonoNs, rows: &mut Rows) {
    let is_active = !broker.stopping;
    let home = broker.meta.home();
    push(rows, "brokerVersion", MQ_VERSION_5_5_0);
    push(rows, "brokerVersionDesc", "V5_5_0");
    push(rows, "brokerActive", is_active);
    push(rows, "bootTimestamp", home.began.wall.0);
    let seconds = now.since(home.began.mono) / 1_000_000_000;
    push(rows, "runtime", runtime_text(seconds));
    let (ms, recovered) = home.recovery;
    push(rows, "recoveryTime", ms);
    push(rows, "recoveryMessages", recovered.messages);
    push(rows, "recoveryBytes", recovered.bytes);
    for key in ZEROS {
        push(rows, key, 0);
    }
    for (key, configured) in CONFIGURED {
        let value = home.table.as_ref().map(|table| table.value(configured).to_string());
        push(rows, key, value.unwrap_or_else(|| "0".to_owned()));
    }
}

fn about_log(broker: &mut Broker, sum: &RuntimePart, rows: &mut Rows) {
    if let Some((start, end, behind)) = sum.log {
        push(rows, "commitLogMinOffset", start);
        push(rows, "commitLogMaxOffset", end);
        push(rows, "remainHowManyDataToFlush", readable(behind));
    }
    push(rows, "remainTransientStoreBufferNumbs", i32::MAX);
    push(rows, "earliestMessageTimeStamp", sum.earliest_ms.unwrap_or(-1));
    let home = broker.meta.home();
    for (level, offset) in &home.delays.offset_table {
        let end = sum.delays.iter().find(|(of, _)| of == level).map_or(0, |(_, end)| *end);
        push(rows, &format!("scheduleMessageOffset_{level}"), format!("{offset},{end}"));
    }
}

/// Ratios and sizes as of the last look.
fn about_disk(disk: &Disk, rows: &mut Rows) {
    let ratio = |of: FileSystem| format!("{}.{:02}", of.used_percent / 100, of.used_percent % 100);
    if let Some(log) = disk.log {
        push(rows, "commitLogDiskRatio", ratio(log));
        push(rows, &format!("commitLogDiskRatio_{}", disk.log_dir.display()), ratio(log));
    }
    if let Some(root) = disk.root {
        push(rows, "consumeQueueDiskRatio", ratio(root));
        let (total, free) = (readable(root.total_bytes), readable(root.free_bytes));
        push(rows, "commitLogDirCapacity", format!("Total : {total}, Free : {free}."));
    }
}

/// Bytes as Java prints them for people.
fn readable(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut whole, mut unit) = (u128::from(bytes), 0);
    let mut divisor = 1024;
    while whole >= divisor * 1024 && unit + 1 < units.len() {
        divisor *= 1024;
        unit += 1;
    }
    whole = (whole * 10 + divisor / 2) / divisor;
    format!("{}.{} {}", whole / 10, whole % 10, units[unit])
}

/// Three numbers, also while there is nothing to average: dashboards split and parse them.
fn about_traffic(totals: &Totals, rows: &mut Rows) {
    let text = |rates: Rates| rates.map(|rate| format!("{rate:?}")).join(" ");
    let all: Rates = std::array::from_fn(|at| totals.found_rates[at] + totals.miss_rates[at]);
    push(rows, "putTps", text(totals.put_rates));
    push(rows, "getFoundTps", text(totals.found_rates));
    push(rows, "getMissTps", text(totals.miss_rates));
    push(rows, "getTotalTps", text(all));
    push(rows, "getTransferredTps", text(totals.sent_rates));
    // The spelling of 4.9.
    push(rows, "getTransferedTps", text(totals.sent_rates));
    push(rows, "msgPutTotalYesterdayMorning", totals.yesterday.0);
    push(rows, "msgPutTotalTodayMorning", totals.today.0);
    push(rows, "msgPutTotalTodayNow", totals.own_put);
    push(rows, "msgGetTotalYesterdayMorning", totals.yesterday.1);
    push(rows, "msgGetTotalTodayMorning", totals.today.1);
    push(rows, "msgGetTotalTodayNow", totals.own_get);
    push(rows, "putMessageTimesTotal", totals.put.messages.max(1));
    push(rows, "putMessageSizeTotal", totals.put.bytes);
    let mean = totals.put.mean_bytes();
    push(rows, "putMessageAverageSize", format!("{mean:?}"));
}

/// Where the timer is, and how many messages it took and delivered per second, in the last ten.
fn about_timer(timer: Option<&TimerStand>, totals: &Totals, rows: &mut Rows) {
    push(rows, "timerReadBehind", timer.map_or(0, |timer| timer.behind_s));
    push(rows, "timerOffsetBehind", timer.map_or(0, |timer| timer.queue_behind));
    push(rows, "timerCongestNum", timer.map_or(0, |timer| timer.waiting));
    push(rows, "timerEnqueueTps", format!("{:?}", totals.timed_rates[0]));
    push(rows, "timerDequeueTps", format!("{:?}", totals.delivered_rates[0]));
}

/// What Java measures around its put of a message is here the way to the stage of the answer.
fn about_times(stages: &Stages, rows: &mut Rows) {
    let histogram = stages.histogram(Stage::Replied);
    push(rows, "putMessageEntireTimeMax", histogram.max() / 1000);
    let ms = |us: u64| format!("{}.{:02}", us / 1000, us % 1000 / 10);
    push(rows, "putLatency99", ms(histogram.quantile(990)));
    push(rows, "putLatency999", ms(histogram.quantile(999)));
    let mut counts = [0u64; TIME_CLASSES.len()];
    for (us, count) in histogram.buckets() {
        let class = TIME_CLASSES.iter().position(|(end, _)| us / 1000 < *end || us < 1000);
        if let Some(place) = class.and_then(|class| counts.get_mut(class)) {
            *place += count;
        }
    }
    let text = TIME_CLASSES.iter().zip(counts).map(|((_, name), count)| format!("{name}:{count} "));
    push(rows, "putMessageDistributeTime", text.collect::<String>());
}

fn runtime_text(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    format!(
        "[ {days} days, {} hours, {} minutes, {} seconds ]",
        hours % 24,
        minutes % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_is_told_as_java_does() {
        assert_eq!(runtime_text(165), "[ 0 days, 0 hours, 2 minutes, 45 seconds ]");
        assert_eq!(runtime_text(90_061), "[ 1 days, 1 hours, 1 minutes, 1 seconds ]");
    }

    #[test]
    fn bytes_are_told_as_java_does() {
        let cases = [(0, "0 B"), (242, "242 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB")];
        for (bytes, text) in cases {
            assert_eq!(readable(bytes), text);
        }
        assert_eq!(readable(252 << 30), "252.0 GiB");
        assert_eq!(readable(u64::MAX), "16.0 EiB");
    }
}
