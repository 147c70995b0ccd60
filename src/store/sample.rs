//! Messages for tests of this crate.

use std::net::SocketAddr;
use wire::ids::QueueId;
use wire::message::NewMessage;

/// A message to queue 0, from and to this machine.
pub(crate) fn message<'a>(topic: &'a [u8], body: &'a [u8], properties: &'a [u8]) -> NewMessage<'a> {
    let host = SocketAddr::from(([127, 0, 0, 1], 10911));
    NewMessage {
        queue_id: QueueId(0),
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        topic,
        properties,
    }
}
