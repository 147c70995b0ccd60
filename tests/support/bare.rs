//! A broker alone as the application of a shard, for tests and benches that run one in their own process.
#![allow(dead_code, reason = "each binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use base::config::{Config, Origin};
use base::ids::{ConnId, ShardId};
use broker::settings::Settings;
use broker::{BootTables, Broker, BrokerDone, BrokerMail, Host};
use config::BrokerConfig;
use shard::{App, Cx, Peer};
use store::queues::QueueNo;
use wire::frame::Frame;

/// See the module.
pub(crate) struct BareBroker(pub(crate) Broker);

impl BareBroker {
    /// A broker on shard `me` of `shards`.
    pub(crate) fn new(
        settings: std::sync::Arc<Settings>,
        me: ShardId,
        shards: usize,
        tables: &BootTables,
    ) -> BareBroker {
        BareBroker(Broker::new(settings, me, shards, tables))
    }
}

/// Java's defaults and these values, for a store with one stream per shard.
pub(crate) fn configuration(values: &[(&str, &str)]) -> BrokerConfig {
    let machine = config::Machine {
        home: "/nowhere".into(),
        rocketmq_home: "/nowhere".into(),
        namesrv_addr: String::new(),
        local_address: "127.0.0.1".into(),
        host_name: "test-host".into(),
        cpus: 2,
    };
    let mut table = Config::defaults(&config::broker::TABLE, &machine.facts());
    for (key, value) in values {
        table.set(key, value, Origin::Update).unwrap();
    }
    BrokerConfig::from_config(&mut table).unwrap().0
}

impl Host for BareBroker {
    fn done(done: BrokerDone) -> BrokerDone {
        done
    }
}

impl App for BareBroker {
    type Mail = BrokerMail;
    type Done = BrokerDone;

    fn start(&mut self, cx: &mut Cx<'_, Self>) {
        self.0.start(cx);
    }

    fn on_open(&mut self, _cx: &mut Cx<'_, Self>, _conn: ConnId, _peer: Peer) {}

    fn on_connected(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId, result: Result<(), i32>) {
        self.0.on_connected(cx, conn, result);
    }

    fn on_frame(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId, peer: Peer, frame: &Frame<'_>) {
        self.0.on_frame(cx, conn, peer, frame);
    }

    fn look_ahead(&mut self, cx: &mut Cx<'_, Self>, _peer: Peer, data: &[u8]) {
        self.0.look_ahead(cx, data);
    }

    fn on_closed(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId) {
        self.0.on_closed(cx, conn);
    }

    fn on_mail(&mut self, cx: &mut Cx<'_, Self>, from: ShardId, mail: BrokerMail) {
        self.0.on_mail(cx, from, mail);
    }

    fn on_timer(&mut self, cx: &mut Cx<'_, Self>, key: u64) {
        self.0.on_timer(cx, key);
    }

    fn on_done(&mut self, cx: &mut Cx<'_, Self>, done: BrokerDone) {
        self.0.on_done(cx, done);
    }

    fn on_read(&mut self, cx: &mut Cx<'_, Self>, token: u64, result: Result<Vec<u8>, i32>) {
        self.0.on_read(cx, token, result);
    }

    fn on_stored(&mut self, cx: &mut Cx<'_, Self>, ticket: u64, in_time: bool) {
        self.0.on_stored(cx, ticket, in_time);
    }

    fn on_news(&mut self, cx: &mut Cx<'_, Self>, queues: &[QueueNo]) {
        self.0.on_news(cx, queues);
    }

    fn on_stop(&mut self, cx: &mut Cx<'_, Self>) {
        self.0.on_stop(cx);
    }

    fn may_stop(&self) -> bool {
        self.0.may_stop()
    }
}
