//! Where a RingMQ broker spent the time of the run: its stage histograms, after the run less before it.
//!
//! Counts include the warm-up. Brokers of another kind do not tell stages; then there is nothing to show.

use super::args::Common;
use super::setup;
use broker::handlers::meta::runtime::{BUCKETS_FIELD, BUCKETS_SUFFIX};
use shard::stages::{Stage, Stages};
use std::net::SocketAddr;
use wire::body::KvTable;
use wire::codes::request;

/// What the brokers had counted before the run.
pub(super) struct Before {
    stages: Option<Stages>,
    brokers: Vec<SocketAddr>,
}

impl Before {
    /// Asks the brokers.
    pub(super) fn read(brokers: &[SocketAddr], common: &Common) -> Before {
        let stages = if brokers.is_empty() { None } else { read(brokers, common) };
        Before { stages, brokers: brokers.to_vec() }
    }

    /// What has come since; `None` when a broker does not tell, or began anew.
    pub(super) fn until_now(&self, common: &Common) -> Option<Stages> {
        let before = self.stages.as_ref()?;
        read(&self.brokers, common)?.since(before)
    }
}

/// The sum over all brokers.
fn read(brokers: &[SocketAddr], common: &Common) -> Option<Stages> {
    let mut sum = Stages::default();
    for &broker in brokers {
        let mut connection = setup::connect(broker, common).ok()?;
        let code = request::GET_BROKER_RUNTIME_INFO;
        let fields = |writer: &mut wire::FrameWriter<'_>| writer.field_bool(BUCKETS_FIELD, true);
        let reply = connection.call_ok(code, fields, &[]).ok()?;
        let table: KvTable = wire::json::from_slice(reply.body()).ok()?;
        for stage in Stage::ALL {
            let text = table.table.get(&format!("{}{BUCKETS_SUFFIX}", stage.key()))?;
            sum.add_buckets(stage, text)?;
        }
    }
    Some(sum)
}
