//! Bounds on everything a peer can make the name server remember. Generous: they end attacks and loops, not use.

use std::fmt;

/// Bytes of a name: broker, cluster, address, zone, namespace, key, topic.
pub(crate) const NAME_BYTES_MAX: usize = 1024;
/// Topics in the route table.
pub(crate) const TOPICS_MAX: usize = 1_000_000;
/// Pairs of topic and broker name in the route table.
pub(crate) const QUEUE_ENTRIES_MAX: usize = 8_000_000;
/// Broker processes, which are pairs of broker name and id.
pub(crate) const BROKERS_MAX: usize = 20_000;
/// Filter servers of one broker.
pub(crate) const FILTER_SERVERS_MAX: usize = 256;
/// Bytes of the queue mapping of one static topic on one broker.
pub(crate) const MAPPING_BYTES_MAX: usize = 256 << 10;
/// Namespaces of settings.
pub(crate) const NAMESPACES_MAX: usize = 10_000;
/// Settings in all namespaces.
pub(crate) const SETTINGS_MAX: usize = 200_000;
/// Bytes of the value of a setting.
pub(crate) const VALUE_BYTES_MAX: usize = 256 << 10;
/// Bytes of all settings.
pub(crate) const SETTINGS_BYTES_MAX: usize = 8 << 20;
/// Requests that wait for a file to be written.
pub(crate) const WAITING_MAX: usize = 10_000;

/// Something would grow beyond its bound; nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitError {
    /// What would be too much.
    pub what: &'static str,
    /// How much it would be.
    pub asked: usize,
    /// How much may be.
    pub limit: usize,
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} would be {}, the limit is {}", self.what, self.asked, self.limit)
    }
}

impl std::error::Error for LimitError {}

/// Fails when `asked` is above `limit`.
pub(crate) fn check(what: &'static str, asked: usize, limit: usize) -> Result<(), LimitError> {
    if asked > limit { Err(LimitError { what, asked, limit }) } else { Ok(()) }
}
