//! Topics: creation on first use, create, delete, list.

use crate::app::{Broker, Host};
use base::ids::ConnId;
use shard::{Cx, Peer};

/// A send to a topic that does not exist: creates it by Java's rules and lets the request go on, or refuses.
pub(crate) fn ensure<H: Host>(
    _broker: &mut Broker,
    _cx: &mut Cx<'_, H>,
    _conn: ConnId,
    _peer: Peer,
    _frame: Vec<u8>,
) {
}
