//! Clients: heartbeat, unregister, member lists, change notification.

use crate::app::{Broker, Host};
use base::ids::ConnId;
use shard::Cx;

/// A connection has ended, on whatever shard; this is the metadata shard.
pub(crate) fn on_conn_closed<H: Host>(_broker: &mut Broker, _cx: &mut Cx<'_, H>, _conn: ConnId) {}
