//! Registration of a broker (request 103). Java: `RouteInfoManager.registerBroker`.
//!
//! Topics come from the master, or from the slave with the least id when its line knows acting masters. A topic that
//! a registration does not name stays: both Java lines register single topics between their whole tables.

use super::{
    BROKER_TIMEOUT_MS, BrokerAddress, Group, Live, MASTER_ID, PERM_WRITE, Queues, RouteTable,
};
use crate::limit::{self, LimitError};
use base::ids::ConnId;
use base::time::MonoNs;
use std::collections::HashSet;
use std::fmt;
use std::rc::Rc;
use wire::body::register::{RegisterBrokerBody, TopicConfig, TopicConfigSerializeWrapper};

/// Every broker of both Java lines has this topic from its start, so a table without it is not a whole one.
const TOPIC_OF_WHOLE_TABLES: &str = "SELF_TEST_TOPIC";

/// Who registers.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// Cluster.
    pub cluster: &'a str,
    /// Broker name.
    pub broker_name: &'a str,
    /// Advertised address.
    pub address: &'a str,
    /// 0 is the master.
    pub broker_id: i64,
    /// Address of the replication listener.
    pub ha_server_addr: &'a str,
    /// Zone, if it has one.
    pub zone_name: Option<&'a str>,
    /// Silence after which it is to be dropped, in milliseconds.
    pub timeout_ms: Option<i64>,
    /// Whether slaves may act as master; `None` from the 4.x line.
    pub enable_acting_master: Option<bool>,
    /// The connection it came by.
    pub conn: ConnId,
}

/// What the broker is told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Registered {
    /// For a slave whose master is there: replication address and address of the master.
    pub master: Option<(String, String)>,
    /// The broker name was not known before.
    pub is_new: bool,
}

/// Why a registration was refused. Nothing has changed then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RegisterError {
    /// The first table of a broker has one topic only: the broker is still starting.
    NotWhole,
    /// Something would grow too much.
    Limit(LimitError),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("register broker failed: ")?;
        match self {
            RegisterError::NotWhole => {
                f.write_str("the first registration of this broker id has a single topic")
            }
            RegisterError::Limit(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RegisterError {}

impl From<LimitError> for RegisterError {
    fn from(error: LimitError) -> Self {
        RegisterError::Limit(error)
    }
}

impl RouteTable {
    /// Takes over what a broker says of itself. `forget_unnamed`: topics that a whole table does not name are removed.
    pub fn register(
        &mut self,
        who: &Registration<'_>,
        body: &RegisterBrokerBody,
        now: MonoNs,
        forget_unnamed: bool,
    ) -> Result<Registered, RegisterError> {
        let wrapper = &body.topic_config_serialize_wrapper;
        let known = self.groups.get(who.broker_name);
        let former = known.and_then(|group| group.addresses.get(&who.broker_id)).cloned();
        if former.is_none() && wrapper.topic_config_table.0.len() == 1 {
            return Err(RegisterError::NotWhole);
        }
        self.check_registration(who, body)?;
        let process = BrokerAddress::new(who.cluster, who.address);
        if former.as_deref().is_some_and(|former| self.is_stale(who, former, wrapper)) {
            self.live.remove(&process);
            return Ok(Registered::default());
        }
        let (name, is_new) = self.join_group(who);
        let is_first = former.is_none_or(|former| former.is_empty());
        if self.speaks_for_group(who) {
            self.take_topics(who, &name, wrapper, is_first);
            if forget_unnamed {
                self.forget_unnamed(&name, wrapper);
            }
        }
        self.has_filter_servers |= !body.filter_server_list.is_empty();
        let timeout_ms = who.timeout_ms.and_then(|ms| u64::try_from(ms).ok());
        self.live.insert(
            process,
            Live {
                last_heard: now,
                timeout_ms: timeout_ms.filter(|ms| *ms > 0).unwrap_or(BROKER_TIMEOUT_MS),
                data_version: wrapper.data_version,
                conn: who.conn,
                ha_server_addr: who.ha_server_addr.to_owned(),
                filter_servers: body.filter_server_list.clone(),
            },
        );
        Ok(Registered { master: self.master_of(who), is_new })
    }

    /// Another process has the same id, and has seen a later epoch of the controller.
    fn is_stale(
        &self,
        who: &Registration<'_>,
        former: &str,
        wrapper: &TopicConfigSerializeWrapper,
    ) -> bool {
        if former == who.address {
            return false;
        }
        let state = |version: &wire::body::DataVersion| version.state_version.unwrap_or(0);
        let live = self.live.get(&BrokerAddress::new(who.cluster, former));
        live.is_some_and(|live| state(&live.data_version) > state(&wrapper.data_version))
    }

    fn check_registration(
        &self,
        who: &Registration<'_>,
        body: &RegisterBrokerBody,
    ) -> Result<(), LimitError> {
        let names = [
            ("bytes of clusterName", who.cluster),
            ("bytes of brokerName", who.broker_name),
            ("bytes of brokerAddr", who.address),
            ("bytes of haServerAddr", who.ha_server_addr),
            ("bytes of the zone", who.zone_name.unwrap_or_default()),
        ];
        for (what, name) in names {
            limit::check(what, name.len(), limit::NAME_BYTES_MAX)?;
        }
        let filters = &body.filter_server_list;
        limit::check("the number of filter servers", filters.len(), limit::FILTER_SERVERS_MAX)?;
        for filter in filters {
            limit::check("bytes of a filter server", filter.len(), limit::NAME_BYTES_MAX)?;
        }
        let group = self.groups.get(who.broker_name);
        if !group.is_some_and(|group| group.addresses.contains_key(&who.broker_id)) {
            let brokers: usize = self.groups.values().map(|group| group.addresses.len()).sum();
            limit::check("the number of brokers", brokers + 1, limit::BROKERS_MAX)?;
        }
        let process = BrokerAddress::new(who.cluster, who.address);
        if !self.live.contains_key(&process) {
            limit::check("the number of brokers", self.live.len() + 1, limit::BROKERS_MAX)?;
        }
        self.check_topics(who, &body.topic_config_serialize_wrapper)
    }

    fn check_topics(
        &self,
        who: &Registration<'_>,
        wrapper: &TopicConfigSerializeWrapper,
    ) -> Result<(), LimitError> {
        let (mut topics, mut entries) = (0, 0);
        for (topic, _) in &wrapper.topic_config_table.0 {
            limit::check("bytes of a topic", topic.len(), limit::NAME_BYTES_MAX)?;
            match self.topics.get(topic) {
                Some(known) => entries += usize::from(known.position(who.broker_name).is_err()),
                None => {
                    topics += 1;
                    entries += 1;
                }
            }
        }
        for (_, mapping) in wrapper.topic_queue_mapping_info_map.iter().flat_map(|table| &table.0) {
            let bytes = mapping.to_string().len();
            limit::check("bytes of a queue mapping", bytes, limit::MAPPING_BYTES_MAX)?;
        }
        self.check_growth(topics, entries)
    }

    /// Enters the process into its group, making the group if need be; says whether it did.
    fn join_group(&mut self, who: &Registration<'_>) -> (Rc<str>, bool) {
        let known = self.groups.get_key_value(who.broker_name);
        let name: Rc<str> =
            known.map_or_else(|| who.broker_name.into(), |(name, _)| Rc::clone(name));
        let is_new = known.is_none();
        let group = self.groups.entry(Rc::clone(&name)).or_insert_with(|| Group {
            cluster: who.cluster.to_owned(),
            addresses: Default::default(),
            enable_acting_master: false,
            zone_name: None,
        });
        group.enable_acting_master = who.enable_acting_master.unwrap_or(false);
        group.zone_name = who.zone_name.map(str::to_owned);
        // A process has one id: a slave that became master leaves its old one.
        group.addresses.retain(|id, address| *id == who.broker_id || address != who.address);
        group.addresses.insert(who.broker_id, who.address.to_owned());
        if !self.clusters.contains_key(who.cluster) {
            self.clusters.insert(who.cluster.to_owned(), Default::default());
        }
        let names = self.clusters.get_mut(who.cluster).expect("it is there now");
        names.insert(Rc::clone(&name));
        (name, is_new)
    }

    /// Whether the topics of its group are taken from this process.
    fn speaks_for_group(&self, who: &Registration<'_>) -> bool {
        who.broker_id == MASTER_ID || self.is_prime_slave(who)
    }

    fn is_prime_slave(&self, who: &Registration<'_>) -> bool {
        let least = self.groups.get(who.broker_name).and_then(|g| g.addresses.keys().next());
        who.enable_acting_master.is_some()
            && who.broker_id != MASTER_ID
            && least == Some(&who.broker_id)
    }

    fn take_topics(
        &mut self,
        who: &Registration<'_>,
        name: &Rc<str>,
        wrapper: &TopicConfigSerializeWrapper,
        is_first: bool,
    ) {
        let process = BrokerAddress::new(who.cluster, who.address);
        let changed = is_first || self.data_version(&process) != Some(wrapper.data_version);
        let read_only = who.enable_acting_master == Some(true) && self.is_prime_slave(who);
        for (topic, config) in &wrapper.topic_config_table.0 {
            let is_known = || self.topics.get(topic).is_some_and(|t| t.position(name).is_ok());
            if changed || !is_known() {
                self.put_queues(topic, name, queues_of(config, read_only));
            }
        }
        if !changed {
            return;
        }
        for (topic, mapping) in wrapper.topic_queue_mapping_info_map.iter().flat_map(|map| &map.0) {
            if let Some(entry) = self.topics.get_mut(topic).filter(|t| t.position(name).is_ok()) {
                entry.set_mapping(name, mapping);
            }
        }
    }

    fn forget_unnamed(&mut self, name: &Rc<str>, wrapper: &TopicConfigSerializeWrapper) {
        let table = &wrapper.topic_config_table.0;
        let named: HashSet<&str> = table.iter().map(|(topic, _)| topic.as_str()).collect();
        let has_mappings =
            wrapper.topic_queue_mapping_info_map.as_ref().is_some_and(|map| !map.0.is_empty());
        if has_mappings || !named.contains(TOPIC_OF_WHOLE_TABLES) {
            return;
        }
        let mut dropped = 0;
        self.topics.retain(|topic, entry| {
            if !named.contains(topic.as_str()) {
                dropped += usize::from(entry.remove(name));
            }
            !entry.queues.is_empty()
        });
        self.queue_entries -= dropped;
    }

    fn master_of(&self, who: &Registration<'_>) -> Option<(String, String)> {
        if who.broker_id == MASTER_ID {
            return None;
        }
        let address = self.groups.get(who.broker_name)?.addresses.get(&MASTER_ID)?;
        let live = self.live.get(&BrokerAddress::new(who.cluster, address))?;
        Some((live.ha_server_addr.clone(), address.clone()))
    }
}

fn queues_of(config: &TopicConfig, read_only: bool) -> Queues {
    let kept = if read_only { !PERM_WRITE } else { !0 };
    Queues {
        perm: config.perm & kept,
        read: config.read_queue_nums,
        write: config.write_queue_nums,
        sys_flag: config.topic_sys_flag,
    }
}
