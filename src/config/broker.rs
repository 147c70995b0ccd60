//! The broker's configuration: the table of all keys, and the typed values of those that have an effect.

mod keys;

pub use keys::TABLE;

use crate::check::Reader;
use base::config::{Config, ConfigError, Notice, Origin, Severity, Value};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Role of the broker in its set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BrokerRole {
    /// Answers without waiting for slaves.
    AsyncMaster,
    /// Answers after a slave has the message.
    SyncMaster,
}

/// When a send is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlushDiskType {
    /// When the crash-safe window has the message.
    AsyncFlush,
    /// When the disk has it.
    SyncFlush,
}

/// How synced writes reach the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogSyncMethod {
    /// What suits the device.
    Auto,
    /// `RWF_DSYNC` on each write.
    Dsync,
    /// fdatasync behind the writes.
    Fdatasync,
}

/// What the broker does for clients on behalf of others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Relaying {
    /// Store the replies of request-reply calls.
    pub store_reply_message_enable: bool,
    /// Reset offsets on the broker, and let pulls tell the clients; otherwise the clients reset.
    pub use_server_side_reset_offset: bool,
}

/// When old segments are deleted, and when the disk is too full for sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Age after which segments are deleted, hours.
    pub file_reserved_time_h: u32,
    /// Hours of the day at which they are: bit h for hour h.
    pub delete_hours: u32,
    /// Disk usage above which they are at any hour, percent; 10 to 95 as in Java.
    pub disk_max_used_percent: u8,
    /// Disk usage above which segments are deleted whatever their age, percent; 30 to 85 as in Java.
    pub disk_clean_forcibly_percent: u8,
    /// Disk usage above which sends are refused, percent; 35 to 90 as in Java.
    pub disk_warning_percent: u8,
    /// Segments may be deleted before their age.
    pub clean_file_forcibly_enable: bool,
    /// Period of looking at the disk.
    pub clean_resource_interval_ms: u64,
    /// Pause between two deletions.
    pub delete_commit_log_files_interval_ms: u64,
    /// Deletions in one go.
    pub delete_file_batch_max: u32,
}

/// The index of messages by key, and queries in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexConfig {
    /// Index messages by their keys.
    pub message_index_enable: bool,
    /// Hash slots of an index file.
    pub max_hash_slot_num: u32,
    /// Items of an index file.
    pub max_index_num: u32,
    /// Most hits of a query by key.
    pub max_msgs_num_batch: u32,
    /// Most hits of a query by unique key.
    pub default_query_max_num: u32,
}

/// What is kept of groups that filter by expressions: `consumerFilter.json`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FilterDataConfig {
    /// Wrong hits that the bits of groups may have, percent.
    pub error_rate_percent: u32,
    /// Groups expected per topic.
    pub groups_expected: u32,
    /// How long those of groups without members are kept.
    pub clean_span_ms: i64,
    /// Expressions are evaluated when a message is stored.
    pub calculate_bit_maps: bool,
}

/// Transactions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transactions {
    /// Age of a half message before its producer is asked.
    pub time_out_ms: u64,
    /// Questions before it is given up.
    pub check_max: u32,
    /// Period of asking.
    pub check_interval_ms: u64,
    /// Most bytes of an operation record.
    pub operation_bytes_max: u32,
}

/// How much a pull reads, and from where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Most bytes of a pull from memory.
    pub max_transfer_bytes_in_memory: u32,
    /// Most messages of a pull from memory.
    pub max_transfer_count_in_memory: u32,
    /// Most bytes of a pull from disk.
    pub max_transfer_bytes_in_disk: u32,
    /// Most messages of a pull from disk.
    pub max_transfer_count_in_disk: u32,
    /// Share of the machine's memory further behind which messages count as being on disk, percent.
    pub access_in_memory_percent: u8,
    /// Suggest a slave to consumers that are further behind than that.
    pub slave_read_enable: bool,
    /// Bytes that one consumer group may have in flight from a shard's files.
    pub cold_read_bytes_per_group: u64,
}

/// The values a broker runs on. Fields carry Java's names with their unit added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerConfig {
    /// Cluster of the broker.
    pub broker_cluster_name: String,
    /// Name of the broker set.
    pub broker_name: String,
    /// 0: this broker is a master.
    pub broker_id: i64,
    /// Role in the set.
    pub broker_role: BrokerRole,
    /// Name servers as `host:port`; empty when there are none.
    pub namesrv_addr: Vec<String>,
    /// Address that clients are told.
    pub broker_ip1: String,
    /// Address that slaves are told.
    pub broker_ip2: String,
    /// Address the listeners bind.
    pub bind_address: IpAddr,
    /// Port for clients; 2 below it is the second listener of Java clients.
    pub listen_port: u16,
    /// Port for slaves.
    pub ha_listen_port: u16,
    /// Bits: 4 read, 2 write, 1 inherit.
    pub broker_permission: u32,
    /// MSG_REGION of send replies.
    pub region_id: String,
    /// Directory of the installation.
    pub rocketmq_home: PathBuf,

    /// Period of registration, 10,000 to 60,000 ms.
    pub register_name_server_period_ms: u64,
    /// Time limit of a registration.
    pub register_broker_timeout_ms: u64,
    /// Register in every period.
    pub force_register: bool,
    /// Deflate the registration body.
    pub compressed_register: bool,

    /// A send to a missing topic creates it.
    pub auto_create_topic_enable: bool,
    /// Queues of such a topic at most.
    pub default_topic_queue_nums: u32,
    /// Create a topic named like the cluster.
    pub cluster_topic_enable: bool,
    /// Create a topic named like the broker.
    pub broker_topic_enable: bool,
    /// An unknown group is created on first use.
    pub auto_create_subscription_group: bool,
    /// Create the trace topic.
    pub trace_topic_enable: bool,
    /// Name of the trace topic.
    pub msg_trace_topic_name: String,
    /// TRACE_ON of send replies.
    pub trace_on: bool,
    /// What is done for clients on behalf of others.
    pub relaying: Relaying,
    /// Tell a group's members about each other.
    pub notify_consumer_ids_changed_enable: bool,
    /// When what nobody needs is forgotten, and how long a stop takes.
    pub housekeeping: Housekeeping,
    /// Refuse half messages.
    pub reject_transaction_message: bool,
    /// Transactions.
    pub transactions: Transactions,

    /// Longest message body, bytes.
    pub max_message_size: u32,
    /// Hold pulls that find nothing.
    pub long_polling_enable: bool,
    /// How long when they are not held for long.
    pub short_polling_time_ms: u64,
    /// Answer request 361.
    pub lite_pull_message_enable: bool,
    /// How much a pull reads.
    pub reading: Reading,
    /// Allow SQL92 filters.
    pub enable_property_filter: bool,
    /// What is kept of groups with expressions.
    pub filter_data: FilterDataConfig,
    /// Filter retried messages by the expression for the topic they come from.
    pub filter_support_retry: bool,
    /// Period of storing consumer offsets.
    pub flush_consumer_offset_interval_ms: u64,

    /// Directory of the store.
    pub store_path_root_dir: PathBuf,
    /// Directory of the commit log.
    pub store_path_commit_log: PathBuf,
    /// Bytes of a commit log file, a multiple of 4096.
    pub mapped_file_size_commit_log: u64,
    /// Bytes of a consume queue file, a multiple of 20.
    pub mapped_file_size_consume_queue: u64,
    /// Bytes of a file of extended queue entries; `None`: they are not written.
    pub mapped_file_size_consume_queue_ext: Option<u64>,
    /// The index by key.
    pub index: IndexConfig,
    /// When a send is answered.
    pub flush_disk_type: FlushDiskType,
    /// See `LogSyncMethod`.
    pub log_sync_method: LogSyncMethod,
    /// How long a send waits for the disk.
    pub sync_flush_timeout_ms: u64,
    /// Period of flushing with [`FlushDiskType::AsyncFlush`].
    pub flush_interval_commit_log_ms: u64,

    /// Silence after which a connection is closed.
    pub server_channel_max_idle_time_s: u64,
    /// Connections that wait to be accepted.
    pub server_socket_backlog: u32,
    /// What is refused while it waits.
    pub overload: Overload,

    /// Shards; 0 is one per CPU.
    pub shard_count: usize,
    /// CPUs of the shards in order; empty is the mask of the process.
    pub shard_cpus: Vec<usize>,
    /// Streams of a new store; 0 is one per shard.
    pub log_streams: u16,
    /// Window of a stream, a multiple of 4096.
    pub log_window_bytes: u64,
    /// One receive buffer, a multiple of 4096.
    pub recv_buffer_bytes: usize,
    /// Receive buffers of a shard, a power of two.
    pub recv_buffer_count: u16,
    /// Connections of a shard at most.
    pub connections_max: u32,
    /// Delays of the levels of delayed messages.
    pub message_delay_level: String,
    /// Messages with a time of delivery.
    pub timer: Timer,
    /// When old segments go.
    pub retention: Retention,
    /// Let consumers read before the disk has a message.
    pub read_uncommitted_visible: bool,
    /// Directory of the log files.
    pub log_path: PathBuf,
    /// Log lines' time zone, minutes east of Greenwich.
    pub log_time_zone_minutes: i32,
}

/// When what nobody needs is forgotten, and how long a stop takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Housekeeping {
    /// Silence after which a client is forgotten.
    pub channel_expired_timeout_ms: u64,
    /// Forget the statistics of deleted topics and groups.
    pub auto_delete_unused_stats: bool,
    /// Time of pulls is told per queue.
    pub enable_detail_stat: bool,
    /// How long clients are asked to go elsewhere before a stop, ms; 0: they are not.
    pub graceful_stop_ms: u64,
}

/// What is refused while it waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overload {
    /// Refuse what waits too long.
    pub fast_failure_enable: bool,
    /// Longest wait of a send for room in the log window, ms.
    pub window_wait_ms: u64,
    /// Sends of a shard that wait for it at most.
    pub window_requests_max: usize,
    /// Longest wait of a pull for its turn to read old messages, ms.
    pub pull_wait_ms: u64,
}

/// Messages with a time of delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timer {
    /// Accept them.
    pub wheel_enable: bool,
    /// Grid of their times in the store, ms.
    pub precision_ms: i64,
    /// Longest delay, s.
    pub max_delay_s: i64,
    /// How many slots ahead the wheel reaches; what is later is stored again on the way.
    pub roll_window_slots: i64,
    /// Size of a file of the timer log, bytes.
    pub log_file_bytes: u64,
    /// Period of writing the timer files, ms.
    pub flush_interval_ms: u64,
    /// Accept requests to recall such messages.
    pub recall_enable: bool,
    /// Keys of recalled messages begin with the topic.
    pub recall_key_has_topic: bool,
}

impl BrokerConfig {
    /// Checks what single rows cannot check and converts. Values that follow from others (brokerId of a master,
    /// haListenPort) are written back into `config`, so that listings show what is in force.
    /// Errors name key, value and place; notices are for the log.
    pub fn from_config(
        config: &mut Config,
    ) -> Result<(BrokerConfig, Vec<Notice>), Vec<ConfigError>> {
        let mut notices = Vec::new();
        let broker_role = role(config, &mut notices);
        if *config.origin("haListenPort") == Origin::Default || config.int("haListenPort") <= 0 {
            config.derive("haListenPort", Value::Int(config.int("listenPort") + 1));
        }
        let mut reader = Reader { config, errors: Vec::new() };
        if config.text("brokerRole") == "SLAVE" {
            reader.fail(
                "brokerRole",
                "is not supported: replication is not there yet, a slave would stay empty",
            );
            if config.int("brokerId") <= 0 {
                reader.fail("brokerId", "does not fit a slave, which needs a number above 0");
            }
        }
        cross_check(&mut reader);
        size_notices(config, &mut notices);
        let built = build(&mut reader, broker_role);
        if reader.errors.is_empty() { Ok((built, notices)) } else { Err(reader.errors) }
    }
}

fn warning(text: String) -> Notice {
    Notice { severity: Severity::Warning, text }
}

/// The role of a master, and its broker id, which Java forces to 0.
fn role(config: &mut Config, notices: &mut Vec<Notice>) -> BrokerRole {
    let role = match config.text("brokerRole") {
        "SYNC_MASTER" => BrokerRole::SyncMaster,
        _ => BrokerRole::AsyncMaster,
    };
    if config.text("brokerRole") == "SLAVE" {
        return role;
    }
    if role == BrokerRole::SyncMaster {
        let place = config.origin("brokerRole");
        notices.push(warning(format!(
            "{place}: brokerRole = SYNC_MASTER runs as ASYNC_MASTER: replication is not there yet"
        )));
    }
    let id = config.int("brokerId");
    if id != 0 {
        let place = config.origin("brokerId");
        notices.push(warning(format!("{place}: brokerId = {id} becomes 0: a master always has 0")));
        config.derive("brokerId", Value::Int(0));
    }
    role
}

fn cross_check(reader: &mut Reader<'_>) {
    reader.multiple("mappedFileSizeCommitLog", 4096);
    reader.multiple("logWindowBytes", 4096);
    reader.multiple("recvBufferBytes", 4096);
    reader.power_of_two("recvBufferCount");
    let port = reader.config.int("listenPort");
    let ha_port = reader.config.int("haListenPort");
    if ha_port == port || ha_port == port - 2 {
        reader.fail("haListenPort", format!("is also a port for clients (listenPort = {port})"));
    }
    if reader.config.text("storePathCommitLog").contains(',') {
        reader.fail("storePathCommitLog", "has several directories: the commit log lies in one");
    }
    let items = reader.config.int("maxIndexNum");
    if 40 + 4 * reader.config.int("maxHashSlotNum") + 20 * items > i64::from(i32::MAX) {
        let text = format!("makes, with maxIndexNum = {items}, index files of 2 GiB or more");
        reader.fail("maxHashSlotNum", text);
    }
    let window = reader.config.int("logWindowBytes");
    if reader.config.int("maxMessageSize") > window / 2 {
        reader.fail("maxMessageSize", format!("is more than half of logWindowBytes = {window}"));
    }
    for name in ["brokerName", "brokerClusterName"] {
        if reader.config.text(name).contains(['/', '\0']) {
            reader.fail(name, "has a character that no topic may have");
        }
    }
}

fn size_notices(config: &Config, notices: &mut Vec<Notice>) {
    const FRAME_BYTES_MAX: i64 = 16 << 20;
    let size = config.int("maxMessageSize");
    if size >= FRAME_BYTES_MAX {
        let place = config.origin("maxMessageSize");
        notices.push(warning(format!(
            "{place}: maxMessageSize = {size} is never reached: a frame has at most {FRAME_BYTES_MAX} bytes"
        )));
    }
    let period = config.int("registerNameServerPeriod");
    if period != clamp_period(period) {
        let place = config.origin("registerNameServerPeriod");
        let used = clamp_period(period);
        notices.push(warning(format!(
            "{place}: registerNameServerPeriod = {period} counts as {used} (10000..=60000), as in Java"
        )));
    }
}

fn clamp_period(period_ms: i64) -> i64 {
    period_ms.clamp(10_000, 60_000)
}

fn register_period_ms(config: &Config) -> u64 {
    let period = clamp_period(config.int("registerNameServerPeriod"));
    u64::try_from(period).expect("clamped to positive values")
}

/// The directory of `logPath`; when that is empty, `logs` beside the directory given.
pub(crate) fn log_path(reader: &Reader<'_>, beside: &Path) -> PathBuf {
    let text = reader.config.text("logPath");
    if text.is_empty() {
        beside.parent().unwrap_or(beside).join("logs")
    } else {
        PathBuf::from(text)
    }
}

fn flush_disk_type(choice: &str) -> FlushDiskType {
    match choice {
        "SYNC_FLUSH" => FlushDiskType::SyncFlush,
        _ => FlushDiskType::AsyncFlush,
    }
}

fn log_sync_method(choice: &str) -> LogSyncMethod {
    match choice {
        "dsync" => LogSyncMethod::Dsync,
        "fdatasync" => LogSyncMethod::Fdatasync,
        _ => LogSyncMethod::Auto,
    }
}

/// A ratio in percent, brought between Java's bounds.
fn percent(reader: &Reader<'_>, key: &str, min: i64, max: i64) -> u8 {
    u8::try_from(reader.config.int(key).clamp(min, max)).expect("at most 100")
}

fn retention(reader: &mut Reader<'_>) -> Retention {
    Retention {
        file_reserved_time_h: reader.number("fileReservedTime"),
        delete_hours: reader.hours("deleteWhen"),
        disk_max_used_percent: percent(reader, "diskMaxUsedSpaceRatio", 10, 95),
        disk_clean_forcibly_percent: percent(reader, "diskSpaceCleanForciblyRatio", 30, 85),
        disk_warning_percent: percent(reader, "diskSpaceWarningLevelRatio", 35, 90),
        clean_file_forcibly_enable: reader.config.flag("cleanFileForciblyEnable"),
        clean_resource_interval_ms: reader.number("cleanResourceInterval"),
        delete_commit_log_files_interval_ms: reader.number("deleteCommitLogFilesInterval"),
        delete_file_batch_max: reader.number("deleteFileBatchMax"),
    }
}

/// Size of the files of extended queue entries, where they are written.
fn queue_ext(reader: &mut Reader<'_>) -> Option<u64> {
    let bytes = reader.number("mappedFileSizeConsumeQueueExt");
    reader.config.flag("enableConsumeQueueExt").then_some(bytes)
}

fn filter_data(reader: &Reader<'_>) -> FilterDataConfig {
    FilterDataConfig {
        error_rate_percent: reader.number("maxErrorRateOfBloomFilter"),
        groups_expected: reader.number("expectConsumerNumUseFilter"),
        clean_span_ms: reader.number("filterDataCleanTimeSpan"),
        calculate_bit_maps: reader.config.flag("enableCalcFilterBitMap")
            && reader.config.flag("enableConsumeQueueExt"),
    }
}

fn reading(reader: &mut Reader<'_>) -> Reading {
    let config = reader.config;
    Reading {
        max_transfer_bytes_in_memory: reader.number("maxTransferBytesOnMessageInMemory"),
        max_transfer_count_in_memory: reader.number("maxTransferCountOnMessageInMemory"),
        max_transfer_bytes_in_disk: reader.number("maxTransferBytesOnMessageInDisk"),
        max_transfer_count_in_disk: reader.number("maxTransferCountOnMessageInDisk"),
        access_in_memory_percent: percent(reader, "accessMessageInMemoryMaxRatio", 0, 100),
        slave_read_enable: config.flag("slaveReadEnable"),
        cold_read_bytes_per_group: reader.number("coldReadBytesPerGroup"),
    }
}

fn transactions(reader: &mut Reader<'_>) -> Transactions {
    Transactions {
        time_out_ms: reader.number("transactionTimeOut"),
        check_max: reader.number("transactionCheckMax"),
        check_interval_ms: reader.number("transactionCheckInterval"),
        operation_bytes_max: reader.number("transactionOpMsgMaxSize"),
    }
}

fn index(reader: &mut Reader<'_>) -> IndexConfig {
    IndexConfig {
        message_index_enable: reader.config.flag("messageIndexEnable"),
        max_hash_slot_num: reader.number("maxHashSlotNum"),
        max_index_num: reader.number("maxIndexNum"),
        max_msgs_num_batch: reader.number("maxMsgsNumBatch"),
        default_query_max_num: reader.number("defaultQueryMaxNum"),
    }
}

/// A file holds whole entries.
fn queue_file_bytes(reader: &mut Reader<'_>) -> u64 {
    reader.number::<u64>("mappedFileSizeConsumeQueue").next_multiple_of(20)
}

fn relaying(config: &Config) -> Relaying {
    Relaying {
        store_reply_message_enable: config.flag("storeReplyMessageEnable"),
        use_server_side_reset_offset: config.flag("useServerSideResetOffset"),
    }
}

fn log_directory(config: &Config, root: &Path) -> PathBuf {
    let log = config.text("storePathCommitLog");
    if log.is_empty() { root.join("commitlog") } else { PathBuf::from(log) }
}

fn build(reader: &mut Reader<'_>, broker_role: BrokerRole) -> BrokerConfig {
    let config = reader.config;
    let root = PathBuf::from(reader.name("storePathRootDir"));
    let log = log_directory(config, &root);
    BrokerConfig {
        broker_cluster_name: reader.name("brokerClusterName"),
        broker_name: reader.name("brokerName"),
        broker_id: config.int("brokerId"),
        broker_role,
        namesrv_addr: reader.addresses("namesrvAddr"),
        broker_ip1: reader.name("brokerIP1"),
        broker_ip2: reader.name("brokerIP2"),
        bind_address: reader.ip("bindAddress"),
        listen_port: reader.number("listenPort"),
        ha_listen_port: reader.number("haListenPort"),
        broker_permission: reader.number("brokerPermission"),
        region_id: reader.text("regionId"),
        rocketmq_home: PathBuf::from(config.text("rocketmqHome")),
        register_name_server_period_ms: register_period_ms(config),
        register_broker_timeout_ms: reader.number("registerBrokerTimeoutMills"),
        force_register: config.flag("forceRegister"),
        compressed_register: config.flag("compressedRegister"),
        auto_create_topic_enable: config.flag("autoCreateTopicEnable"),
        default_topic_queue_nums: reader.number("defaultTopicQueueNums"),
        cluster_topic_enable: config.flag("clusterTopicEnable"),
        broker_topic_enable: config.flag("brokerTopicEnable"),
        auto_create_subscription_group: config.flag("autoCreateSubscriptionGroup"),
        trace_topic_enable: config.flag("traceTopicEnable"),
        msg_trace_topic_name: reader.name("msgTraceTopicName"),
        trace_on: config.flag("traceOn"),
        relaying: relaying(config),
        notify_consumer_ids_changed_enable: config.flag("notifyConsumerIdsChangedEnable"),
        housekeeping: housekeeping(reader),
        reject_transaction_message: config.flag("rejectTransactionMessage"),
        transactions: transactions(reader),
        max_message_size: reader.number("maxMessageSize"),
        long_polling_enable: config.flag("longPollingEnable"),
        short_polling_time_ms: reader.number("shortPollingTimeMills"),
        lite_pull_message_enable: config.flag("litePullMessageEnable"),
        reading: reading(reader),
        enable_property_filter: config.flag("enablePropertyFilter"),
        filter_data: filter_data(reader),
        filter_support_retry: config.flag("filterSupportRetry"),
        flush_consumer_offset_interval_ms: reader.number("flushConsumerOffsetInterval"),
        store_path_commit_log: log,
        mapped_file_size_commit_log: reader.number("mappedFileSizeCommitLog"),
        mapped_file_size_consume_queue: queue_file_bytes(reader),
        mapped_file_size_consume_queue_ext: queue_ext(reader),
        index: index(reader),
        flush_disk_type: flush_disk_type(config.text("flushDiskType")),
        log_sync_method: log_sync_method(config.text("logSyncMethod")),
        sync_flush_timeout_ms: reader.number("syncFlushTimeout"),
        flush_interval_commit_log_ms: reader.number("flushIntervalCommitLog"),
        server_channel_max_idle_time_s: reader.number("serverChannelMaxIdleTimeSeconds"),
        server_socket_backlog: reader.number("serverSocketBacklog"),
        overload: overload(reader),
        shard_count: reader.number("shardCount"),
        shard_cpus: reader.cpus("shardCpus"),
        log_streams: reader.number("logStreams"),
        log_window_bytes: reader.number("logWindowBytes"),
        recv_buffer_bytes: reader.number("recvBufferBytes"),
        recv_buffer_count: reader.number("recvBufferCount"),
        connections_max: reader.number("connectionsMax"),
        message_delay_level: config.text("messageDelayLevel").to_owned(),
        timer: timer(reader),
        retention: retention(reader),
        read_uncommitted_visible: config.flag("readUncommittedVisible"),
        log_path: log_path(reader, &root),
        log_time_zone_minutes: reader.time_zone("logTimeZone"),
        store_path_root_dir: root,
    }
}

/// How long clients are asked to go elsewhere before a stop, ms; 0: they are not.
pub(crate) fn graceful_stop_ms(reader: &mut Reader<'_>) -> u64 {
    let wait_s: u64 = reader.number("shutdownWaitTimeSeconds");
    if reader.config.flag("enableShutdownGracefully") { wait_s * 1000 } else { 0 }
}

fn housekeeping(reader: &mut Reader<'_>) -> Housekeeping {
    Housekeeping {
        channel_expired_timeout_ms: reader.number("channelExpiredTimeout"),
        auto_delete_unused_stats: reader.config.flag("autoDeleteUnusedStats"),
        enable_detail_stat: reader.config.flag("enableDetailStat"),
        graceful_stop_ms: graceful_stop_ms(reader),
    }
}

fn overload(reader: &mut Reader<'_>) -> Overload {
    Overload {
        fast_failure_enable: reader.config.flag("brokerFastFailureEnable"),
        window_wait_ms: reader.number("osPageCacheBusyTimeOutMills"),
        window_requests_max: reader.number("sendThreadPoolQueueCapacity"),
        pull_wait_ms: reader.number("waitTimeMillsInPullQueue"),
    }
}

fn timer(reader: &mut Reader<'_>) -> Timer {
    Timer {
        wheel_enable: reader.config.flag("timerWheelEnable"),
        precision_ms: reader.config.int("timerPrecisionMs"),
        max_delay_s: reader.config.int("timerMaxDelaySec"),
        roll_window_slots: reader.config.int("timerRollWindowSlot"),
        log_file_bytes: reader.number("mappedFileSizeTimerLog"),
        flush_interval_ms: reader.number("timerFlushIntervalMs"),
        recall_enable: reader.config.flag("recallMessageEnable"),
        recall_key_has_topic: reader.config.flag("appendTopicForTimerDeleteKey"),
    }
}
