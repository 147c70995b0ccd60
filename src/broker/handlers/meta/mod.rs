//! The metadata families: topics, groups, clients, locks, configuration, registration; and the tables behind them.

pub(crate) mod session;
pub(crate) mod topic;

use crate::app::{Broker, Host};
use crate::handlers::Row;
use crate::settings::Settings;
use base::ids::{ConnId, ShardId};
use shard::Cx;
use std::sync::Arc;
use wire::body::register::TopicConfig;
use wire::frame::Frame;
use wire::header::Header;
use wire::tags::TagFilter;

/// What was read from the store's `config/` directory.
#[derive(Default)]
pub struct MetaBoot {
    /// Topics, the built-in ones included.
    pub topics: Vec<Arc<TopicConfig>>,
}

/// Mail of the metadata families.
pub enum MetaMail {}

/// State of the metadata families on one shard.
pub struct Meta {}

/// A group's subscription to a topic, as a pull needs it.
pub struct Subscription {
    /// Filter by tags.
    pub filter: Arc<TagFilter>,
    /// Version the client gave it.
    pub version: i64,
    /// It is a tag expression (and not SQL92).
    pub is_tags: bool,
}

impl Meta {
    pub(crate) fn new(_settings: &Settings, _me: ShardId, _boot: &MetaBoot) -> Meta {
        Meta {}
    }

    /// Whether the group has (or had) live members.
    pub(crate) fn has_consumers(&self, _group: &[u8]) -> bool {
        false
    }

    /// A group's subscription to a topic.
    pub(crate) fn subscription(&self, _group: &[u8], _topic: &[u8]) -> Option<&Subscription> {
        None
    }

    /// Whether a group may consume: `None` when it does not exist (and cannot be created on first use).
    pub(crate) fn group_may_consume(&self, _group: &[u8]) -> Option<bool> {
        Some(true)
    }

    pub(crate) fn may_stop(&self) -> bool {
        true
    }
}

pub(crate) struct Table<H>(std::marker::PhantomData<H>);

impl<H: Host> Table<H> {
    pub(crate) const ROWS: &'static [Row<H>] = &[];
}

pub(crate) fn start<H: Host>(_broker: &mut Broker, _cx: &mut Cx<'_, H>) {}

pub(crate) fn on_response<H: Host>(
    _broker: &mut Broker,
    _cx: &mut Cx<'_, H>,
    _conn: ConnId,
    _header: &Header<'_>,
    _frame: &Frame<'_>,
) {
}

pub(crate) fn on_connected<H: Host>(
    _broker: &mut Broker,
    _cx: &mut Cx<'_, H>,
    _conn: ConnId,
    _result: Result<(), i32>,
) {
}

/// A connection of this (the metadata) shard has ended: it may be one to a name server.
pub(crate) fn on_own_conn_closed<H: Host>(
    _broker: &mut Broker,
    _cx: &mut Cx<'_, H>,
    _conn: ConnId,
) {
}

pub(crate) fn on_mail<H: Host>(
    _broker: &mut Broker,
    _cx: &mut Cx<'_, H>,
    _from: ShardId,
    mail: MetaMail,
) {
    match mail {}
}

pub(crate) fn on_offsets<H: Host>(
    _broker: &mut Broker,
    _cx: &mut Cx<'_, H>,
    _changed: Vec<(Arc<[u8]>, i32, i64)>,
    _last: bool,
) {
}

pub(crate) fn on_timer<H: Host>(_broker: &mut Broker, _cx: &mut Cx<'_, H>, _value: u64) {}

pub(crate) fn on_table_written<H: Host>(
    _broker: &mut Broker,
    _cx: &mut Cx<'_, H>,
    _name: &'static str,
    _result: std::io::Result<()>,
) {
}

pub(crate) fn on_stop<H: Host>(_broker: &mut Broker, _cx: &mut Cx<'_, H>) {}
