//! Runtime information: 28, a table of texts. What is not measured yet is told as zero. Java: prepareRuntimeInfo.

use crate::app::{Broker, Host};
use crate::handlers::meta::gather::{self, Gathered, Question};
use crate::handlers::{Outcome, Request};
use shard::Cx;
use shard::stages::{Stage, Stages};
use wire::body::{KvTable, Table};
use wire::codes::MQ_VERSION_5_5_0;
use wire::json;

/// Counters and sizes of thread pools that do not exist here.
const ZEROS: &[&str] = &[
    "startAcceptSendRequestTimeStamp",
    "msgPutTotalYesterdayMorning",
    "msgPutTotalTodayMorning",
    "msgPutTotalTodayNow",
    "msgGetTotalYesterdayMorning",
    "msgGetTotalTodayMorning",
    "msgGetTotalTodayNow",
    "putMessageEntireTimeMax",
    "putMessageTimesTotal",
    "putMessageFailedTimes",
    "putMessageSizeTotal",
    "getMessageEntireTimeMax",
    "dispatchMaxBuffer",
    "dispatchBehindBytes",
    "pageCacheLockTimeMills",
    "sendThreadPoolQueueSize",
    "sendThreadPoolQueueCapacity",
    "sendThreadPoolQueueHeadWaitTimeMills",
    "pullThreadPoolQueueSize",
    "pullThreadPoolQueueCapacity",
    "pullThreadPoolQueueHeadWaitTimeMills",
    "litePullThreadPoolQueueSize",
    "litePullThreadPoolQueueCapacity",
    "litePullThreadPoolQueueHeadWaitTimeMills",
    "queryThreadPoolQueueSize",
    "queryThreadPoolQueueCapacity",
    "queryThreadPoolQueueHeadWaitTimeMills",
    "ackThreadPoolQueueSize",
    "ackThreadPoolQueueCapacity",
    "ackThreadPoolQueueHeadWaitTimeMills",
    "EndTransactionQueueSize",
    "EndTransactionThreadPoolQueueCapacity",
    "timerReadBehind",
    "timerOffsetBehind",
    "timerCongestNum",
];

/// Averages over 10 s, 60 s and 600 s; always three numbers, since dashboards split and parse them.
const RATES: &[&str] = &[
    "putTps",
    "getFoundTps",
    "getMissTps",
    "getTotalTps",
    "getTransferredTps",
    "getTransferedTps",
];

/// Answers with the table.
pub(crate) fn on_runtime_info<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let began = broker.meta.home().began;
    let seconds = cx.now.mono.since(began.mono) / 1_000_000_000;
    let mut rows = vec![
        ("brokerVersion", MQ_VERSION_5_5_0.to_string()),
        ("brokerVersionDesc", "V5_5_0".to_owned()),
        ("brokerActive", (!broker.stopping).to_string()),
        ("bootTimestamp", began.wall.0.to_string()),
        ("runtime", runtime_text(seconds)),
        ("earliestMessageTimeStamp", "-1".to_owned()),
        ("putMessageAverageSize", "0.0".to_owned()),
        ("putLatency99", "0.00".to_owned()),
        ("putLatency999", "0.00".to_owned()),
        ("timerEnqueueTps", "0.0".to_owned()),
        ("timerDequeueTps", "0.0".to_owned()),
    ];
    // Java has one log; the positions told are those of the first stream, which is its log.
    if let Some(stream) = cx.store().streams().min_by_key(|stream| stream.id()) {
        let behind = stream.appended() - stream.flushed();
        rows.push(("commitLogMinOffset", stream.start().to_string()));
        rows.push(("commitLogMaxOffset", stream.appended().to_string()));
        rows.push(("remainHowManyDataToFlush", format!("{behind} B")));
    }
    rows.extend(ZEROS.iter().map(|key| (*key, "0".to_owned())));
    rows.extend(RATES.iter().map(|key| (*key, "0.0 0.0 0.0".to_owned())));
    let with_buckets = request.header.fields.get(BUCKETS_FIELD).is_some_and(|t| t.eq_str("true"));
    let told = Box::new(RuntimeInfo { rows, with_buckets });
    let gathered = Gathered::Stages { told, stages: Box::default() };
    gather::ask(broker, cx, request, gathered, &Question::Stages);
    Outcome::Done
}

/// Field of the request that asks for whole histograms: with them a client tells what a run added.
pub const BUCKETS_FIELD: &str = "ringmqStageBuckets";
/// What a key of a stage ends with that has its histogram.
pub const BUCKETS_SUFFIX: &str = "Buckets";

/// The table but for what all shards are asked.
pub(crate) struct RuntimeInfo {
    rows: Vec<(&'static str, String)>,
    with_buckets: bool,
}

impl RuntimeInfo {
    /// Writes the table with the figures of the stages; a stage is `count p50 p99 p99.9 max`, in us.
    pub(crate) fn write(self, stages: &Stages, body: &mut Vec<u8>) {
        let mut table: Table<String> =
            self.rows.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        for stage in Stage::ALL {
            table.0.push((stage.key().to_owned(), stages.summary(stage).to_string()));
            if self.with_buckets {
                let key = format!("{}{BUCKETS_SUFFIX}", stage.key());
                table.0.push((key, stages.buckets(stage)));
            }
        }
        json::write_default(body, &KvTable { table });
    }
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
}
