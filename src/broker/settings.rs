//! Configuration as the request path uses it: parsed once, shared read-only by all shards.

use config::BrokerConfig;
use std::net::SocketAddr;
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
}

impl Settings {
    /// Errors: an advertised address that is no IP address.
    pub fn new(config: BrokerConfig, streams: u16) -> Result<Settings, String> {
        let ip = config.broker_ip1.parse().map_err(|_| {
            format!(
                "brokerIP1 = {:?} is not an IP address, which message ids need",
                config.broker_ip1
            )
        })?;
        Ok(Settings::at(SocketAddr::new(ip, config.listen_port), config, streams))
    }

    /// The same broker with another configuration.
    pub(crate) fn with(&self, config: BrokerConfig) -> Settings {
        Settings::at(self.store_host, config, self.streams)
    }

    fn at(store_host: SocketAddr, config: BrokerConfig, streams: u16) -> Settings {
        let head = crate::handlers::reply_head(response::SUCCESS, 0);
        let region = config.region_id.as_bytes();
        let send_reply = SendReplyForm::new(head, store_host, config.trace_on, region);
        Settings { config, store_host, send_reply, streams }
    }
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
