//! Configuration as the request path uses it: parsed once, shared read-only by all shards.

use config::BrokerConfig;
use config::broker::Retention;
use std::net::SocketAddr;
use store::delay::DelayLevels;
use store::retention::RetentionConfig;
use wire::codes::response;
use wire::req::send_form::SendReplyForm;

/// Values of one process.
pub struct Settings {
    /// The typed configuration.
    pub config: BrokerConfig,
    /// Advertised address, part of message ids.
    pub store_host: SocketAddr,
    /// The answer to sends.
    pub(crate) send_reply: SendReplyForm,
    /// Number of log streams of the store.
    pub streams: u16,
    /// `messageDelayLevel`.
    pub(crate) delay_levels: DelayLevels,
    /// Messages further behind the end of the log than this count as being on disk only.
    pub(crate) memory_bytes: u64,
    /// Chooses the bits of groups with expressions.
    pub(crate) bloom: filter::BloomFilter,
}

impl Settings {
    /// Errors: an advertised address that is no IP address, delay levels that are none.
    pub fn new(config: BrokerConfig, streams: u16) -> Result<Settings, String> {
        let ip = config.broker_ip1.parse().map_err(|_| {
            format!(
                "brokerIP1 = {:?} is not an IP address, which message ids need",
                config.broker_ip1
            )
        })?;
        let delay_levels = DelayLevels::parse(&config.message_delay_level)
            .map_err(|why| format!("messageDelayLevel {why}"))?;
        let host = SocketAddr::new(ip, config.listen_port);
        Ok(Settings::at(host, config, streams, delay_levels))
    }

    /// The same broker with another configuration.
    pub(crate) fn with(&self, config: BrokerConfig) -> Settings {
        Settings::at(self.store_host, config, self.streams, self.delay_levels.clone())
    }

    fn at(
        store_host: SocketAddr,
        config: BrokerConfig,
        streams: u16,
        delay_levels: DelayLevels,
    ) -> Settings {
        let head = crate::handlers::reply_head(response::SUCCESS, 0);
        let region = config.region_id.as_bytes();
        let send_reply = SendReplyForm::new(head, store_host, config.trace_on, region);
        let share = u128::from(config.reading.access_in_memory_percent);
        let memory_bytes = u128::from(physical_memory_bytes()) * share / 100;
        let memory_bytes = u64::try_from(memory_bytes).unwrap_or(u64::MAX);
        let data = &config.filter_data;
        let bloom = filter::BloomFilter::new(data.error_rate_percent, data.groups_expected);
        let bloom = bloom.expect("the configuration keeps both within its limits");
        Settings { config, store_host, send_reply, streams, delay_levels, memory_bytes, bloom }
    }
}

/// When old segments go, as the store wants to know it.
pub fn retention(config: &Retention) -> RetentionConfig {
    RetentionConfig {
        reserved_ms: i64::from(config.file_reserved_time_h) * 3_600_000,
        hours: config.delete_hours,
        used_max_percent: config.disk_max_used_percent,
        forcibly_percent: config.disk_clean_forcibly_percent,
        warning_percent: config.disk_warning_percent,
        forcibly_enabled: config.clean_file_forcibly_enable,
        interval_ns: config.clean_resource_interval_ms * 1_000_000,
        pause_ns: config.delete_commit_log_files_interval_ms * 1_000_000,
        batch_max: config.delete_file_batch_max,
    }
}

/// Memory of the machine, or of the container, as Java sees it; all there can be where the kernel does not say.
fn physical_memory_bytes() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let text = read("/proc/meminfo");
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|text| text.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    let machine = kib.map_or(u64::MAX, |kib| kib << 10);
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = limits.iter().filter_map(|path| read(path).trim().parse::<u64>().ok());
    limits.fold(machine, u64::min)
}

/// Settings of a test: Java's defaults and these values.
#[cfg(test)]
pub(crate) fn test_settings(values: &[(&str, &str)]) -> Settings {
    let machine = config::Machine {
        home: "/nowhere".into(),
        rocketmq_home: "/nowhere".into(),
        namesrv_addr: String::new(),
        local_address: "127.0.0.1".into(),
        host_name: "test-host".into(),
        cpus: 2,
    };
    let mut table = base::config::Config::defaults(&config::broker::TABLE, &machine.facts());
    for (key, value) in values {
        table.set(key, value, base::config::Origin::Update).unwrap();
    }
    let (config, _) = BrokerConfig::from_config(&mut table).unwrap();
    Settings::new(config, 1).unwrap()
}
