//! The name server's configuration: the table of all keys, and the typed values of those that have an effect.

mod keys;

pub use keys::TABLE;

use crate::check::Reader;
use base::config::{Config, ConfigError, Notice};
use std::net::IpAddr;
use std::path::PathBuf;

/// The values a name server runs on. Fields carry Java's names with their unit added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamesrvConfig {
    /// Address the listener binds.
    pub bind_address: IpAddr,
    /// Port for clients and brokers.
    pub listen_port: u16,
    /// Directory of the installation.
    pub rocketmq_home: PathBuf,
    /// File of the key-value settings.
    pub kv_config_path: PathBuf,
    /// File that keeps changed settings.
    pub config_store_path: PathBuf,
    /// Label of the environment.
    pub product_env_name: String,
    /// Add a topic's order setting to its route.
    pub order_message_enable: bool,
    /// Answer a registration with the order settings.
    pub return_order_topic_config_to_broker: bool,
    /// Period of looking for silent brokers.
    pub scan_not_active_broker_interval_ms: u64,
    /// Forget topics that a whole registration does not name.
    pub delete_topic_with_broker_registration: bool,
    /// Answer request 206.
    pub enable_all_topic_list: bool,
    /// Answer request 224.
    pub enable_topic_list: bool,
    /// Show the slave that stands in for a lost master as the master.
    pub support_acting_master: bool,
    /// Answer no routes for a while after the start.
    pub need_wait_for_service: bool,
    /// How long.
    pub wait_for_service_s: u64,
    /// Silence after which a connection is closed.
    pub server_channel_max_idle_time_s: u64,
    /// Connections that wait to be accepted.
    pub server_socket_backlog: u32,
    /// How long clients are asked to go elsewhere before a stop, ms; 0: they are not.
    pub graceful_stop_ms: u64,
    /// Shards; 0 is one.
    pub shard_count: usize,
    /// CPUs of the shards in order; empty is the mask of the process.
    pub shard_cpus: Vec<usize>,
    /// One receive buffer, a multiple of 4096.
    pub recv_buffer_bytes: usize,
    /// Receive buffers of a shard, a power of two.
    pub recv_buffer_count: u16,
    /// Connections of a shard at most.
    pub connections_max: u32,
    /// Directory of the log files.
    pub log_path: PathBuf,
    /// Log lines' time zone, minutes east of Greenwich.
    pub log_time_zone_minutes: i32,
}

impl NamesrvConfig {
    /// Checks what single rows cannot check and converts. Errors name key, value and place; notices are for the log.
    pub fn from_config(
        config: &mut Config,
    ) -> Result<(NamesrvConfig, Vec<Notice>), Vec<ConfigError>> {
        let mut reader = Reader { config, errors: Vec::new() };
        reader.multiple("recvBufferBytes", 4096);
        reader.power_of_two("recvBufferCount");
        let built = build(&mut reader);
        if reader.errors.is_empty() { Ok((built, Vec::new())) } else { Err(reader.errors) }
    }
}

fn build(reader: &mut Reader<'_>) -> NamesrvConfig {
    let config = reader.config;
    let kv_config_path = PathBuf::from(reader.name("kvConfigPath"));
    let kv_directory = kv_config_path.parent().map(PathBuf::from).unwrap_or_default();
    NamesrvConfig {
        bind_address: reader.ip("bindAddress"),
        listen_port: reader.number("listenPort"),
        rocketmq_home: PathBuf::from(config.text("rocketmqHome")),
        config_store_path: PathBuf::from(reader.name("configStorePath")),
        product_env_name: reader.text("productEnvName"),
        order_message_enable: config.flag("orderMessageEnable"),
        return_order_topic_config_to_broker: config.flag("returnOrderTopicConfigToBroker"),
        scan_not_active_broker_interval_ms: reader.number("scanNotActiveBrokerInterval"),
        delete_topic_with_broker_registration: config.flag("deleteTopicWithBrokerRegistration"),
        enable_all_topic_list: config.flag("enableAllTopicList"),
        enable_topic_list: config.flag("enableTopicList"),
        support_acting_master: config.flag("supportActingMaster"),
        need_wait_for_service: config.flag("needWaitForService"),
        wait_for_service_s: reader.number("waitSecondsForService"),
        server_channel_max_idle_time_s: reader.number("serverChannelMaxIdleTimeSeconds"),
        server_socket_backlog: reader.number("serverSocketBacklog"),
        graceful_stop_ms: crate::broker::graceful_stop_ms(reader),
        shard_count: reader.number("shardCount"),
        shard_cpus: reader.cpus("shardCpus"),
        recv_buffer_bytes: reader.number("recvBufferBytes"),
        recv_buffer_count: reader.number("recvBufferCount"),
        connections_max: reader.number("connectionsMax"),
        log_path: crate::broker::log_path(reader, &kv_directory),
        log_time_zone_minutes: reader.time_zone("logTimeZone"),
        kv_config_path,
    }
}
