//! The route table: brokers, the topics they have, and when they were last heard of. Java: `RouteInfoManager`.
//!
//! It knows no clock: `now` comes in. Invariants: a broker name in `topics` or `clusters` has a group; a group has an
//! address; a topic has a broker. Answers are in the order of names, so that equal states give equal bytes.

mod lists;
mod lookup;
mod register;

pub use lists::UnitKind;
pub use lookup::keep_zone;
pub use register::{RegisterError, Registered, Registration};

use crate::limit::{self, LimitError};
use base::ids::ConnId;
use base::time::MonoNs;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use wire::body::DataVersion;
use wire::body::route::QueueData;

/// Bit of a permission: queues may be read.
pub const PERM_READ: i32 = 4;
/// Bit of a permission: queues may be written.
pub const PERM_WRITE: i32 = 2;
/// Silence after which a broker that names no time of its own is dropped, in milliseconds.
const BROKER_TIMEOUT_MS: u64 = 120_000;
/// Id of a master.
const MASTER_ID: i64 = 0;

/// What one broker name has of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Queues {
    perm: i32,
    read: i32,
    write: i32,
    sys_flag: i32,
}

/// One topic; entries are in the order of broker names, few, and looked up more than changed.
#[derive(Default, Debug)]
struct Topic {
    queues: Vec<(Rc<str>, Queues)>,
    mappings: Vec<(Rc<str>, Value)>,
}

impl Topic {
    fn position(&self, broker: &str) -> Result<usize, usize> {
        self.queues.binary_search_by(|(name, _)| name.as_ref().cmp(broker))
    }

    fn get_mut(&mut self, broker: &str) -> Option<&mut Queues> {
        let at = self.position(broker).ok()?;
        Some(&mut self.queues[at].1)
    }

    /// Whether something was there.
    fn remove(&mut self, broker: &str) -> bool {
        self.mappings.retain(|(name, _)| name.as_ref() != broker);
        match self.position(broker) {
            Ok(at) => {
                self.queues.remove(at);
                true
            }
            Err(_) => false,
        }
    }

    fn set_mapping(&mut self, broker: &Rc<str>, mapping: &Value) {
        match self.mappings.binary_search_by(|(name, _)| name.cmp(broker)) {
            Ok(at) => self.mappings[at].1 = mapping.clone(),
            Err(at) => self.mappings.insert(at, (Rc::clone(broker), mapping.clone())),
        }
    }
}

/// A master and its slaves.
#[derive(Debug)]
struct Group {
    cluster: String,
    addresses: BTreeMap<i64, String>,
    enable_acting_master: bool,
    zone_name: Option<String>,
}

impl Group {
    /// A slave may stand in, and there is no master: nothing is written.
    fn lost_its_master(&self) -> bool {
        self.enable_acting_master && !self.addresses.contains_key(&MASTER_ID)
    }
}

/// A broker process, as it names itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BrokerAddress {
    /// Cluster.
    pub cluster: String,
    /// Advertised address.
    pub address: String,
}

impl BrokerAddress {
    /// From what a request says.
    pub fn new(cluster: &str, address: &str) -> BrokerAddress {
        BrokerAddress { cluster: cluster.to_owned(), address: address.to_owned() }
    }
}

/// What is known of a broker process that is there.
#[derive(Debug)]
struct Live {
    last_heard: MonoNs,
    timeout_ms: u64,
    data_version: DataVersion,
    conn: ConnId,
    ha_server_addr: String,
    filter_servers: Vec<String>,
}

/// Everything the name server knows of brokers and topics.
#[derive(Default, Debug)]
pub struct RouteTable {
    groups: BTreeMap<Rc<str>, Group>,
    clusters: BTreeMap<String, BTreeSet<Rc<str>>>,
    topics: HashMap<String, Topic>,
    /// Number of entries in all topics.
    queue_entries: usize,
    live: HashMap<BrokerAddress, Live>,
    /// Connections that ended and whose brokers are still listed.
    closed: HashSet<ConnId>,
    /// Some broker has registered filter servers at some time; nearly never so.
    has_filter_servers: bool,
}

/// A broker process to be removed from its group.
struct Departure {
    broker_name: String,
    process: BrokerAddress,
}

impl RouteTable {
    // ---- signs of life ----

    /// The broker is alive; nothing happens when it is unknown.
    pub fn heard_of(&mut self, process: &BrokerAddress, now: MonoNs) {
        if let Some(live) = self.live.get_mut(process) {
            live.last_heard = now;
        }
    }

    /// The version of the topic table the broker last registered.
    pub fn data_version(&self, process: &BrokerAddress) -> Option<DataVersion> {
        self.live.get(process).map(|live| live.data_version)
    }

    /// Notes that a connection has ended; true when brokers came by it, so that `drop_closed` has work.
    pub fn note_closed(&mut self, conn: ConnId) -> bool {
        let is_a_brokers = self.live.values().any(|live| live.conn == conn);
        if is_a_brokers {
            self.closed.insert(conn);
        }
        is_a_brokers
    }

    /// Removes the brokers of all connections that ended, in one pass over the topics; says which.
    ///
    /// A broker that has come back on another connection meanwhile stays.
    pub fn drop_closed(&mut self) -> Vec<BrokerAddress> {
        let closed = std::mem::take(&mut self.closed);
        let gone = self.live.iter().filter(|(_, live)| closed.contains(&live.conn));
        let gone: Vec<_> = gone.map(|(process, _)| process.clone()).collect();
        self.drop_processes(&gone);
        gone
    }

    /// Removes the brokers that were silent for too long; says which, and by which connections they came.
    pub fn drop_silent(&mut self, now: MonoNs) -> Vec<(BrokerAddress, ConnId)> {
        let silent = |live: &Live| now > live.last_heard.plus_ms(live.timeout_ms);
        let gone = self.live.iter().filter(|(_, live)| silent(live));
        let gone: Vec<_> = gone.map(|(process, live)| (process.clone(), live.conn)).collect();
        let processes: Vec<_> = gone.iter().map(|(process, _)| process.clone()).collect();
        self.drop_processes(&processes);
        gone
    }

    /// Removes a broker that says good-bye (request 104).
    pub fn unregister(&mut self, broker_name: &str, process: BrokerAddress) {
        self.remove(&[Departure { broker_name: broker_name.to_owned(), process }]);
    }

    fn drop_processes(&mut self, gone: &[BrokerAddress]) {
        if gone.is_empty() {
            return;
        }
        let wanted: HashSet<&BrokerAddress> = gone.iter().collect();
        let mut departures = Vec::new();
        for (cluster, names) in &self.clusters {
            for (name, group) in names.iter().filter_map(|name| self.groups.get_key_value(name)) {
                for address in group.addresses.values() {
                    let process = BrokerAddress::new(cluster, address);
                    if wanted.contains(&process) {
                        departures.push(Departure { broker_name: name.to_string(), process });
                    }
                }
            }
        }
        for process in gone {
            self.live.remove(process);
        }
        self.remove(&departures);
    }

    fn remove(&mut self, departures: &[Departure]) {
        let mut removed = BTreeSet::new();
        let mut reduced = BTreeSet::new();
        for Departure { broker_name, process } in departures {
            self.live.remove(process);
            let Some((name, group)) = self.groups.get_key_value(broker_name.as_str()) else {
                continue;
            };
            let name = Rc::clone(name);
            if !group.addresses.values().any(|address| *address == process.address) {
                continue;
            }
            let group = self.groups.get_mut(&name).expect("it was found just now");
            group.addresses.retain(|_, address| *address != process.address);
            if !group.addresses.is_empty() {
                reduced.insert(name);
                continue;
            }
            self.groups.remove(&name);
            self.clusters.retain(|_, names| {
                names.remove(&name);
                !names.is_empty()
            });
            reduced.remove(&name);
            removed.insert(name);
        }
        reduced.retain(|name| self.groups.get(name).is_some_and(Group::lost_its_master));
        self.clean_topics(&removed, &reduced);
    }

    fn clean_topics(&mut self, removed: &BTreeSet<Rc<str>>, read_only: &BTreeSet<Rc<str>>) {
        if removed.is_empty() && read_only.is_empty() {
            return;
        }
        let mut dropped = 0;
        self.topics.retain(|_, topic| {
            for name in removed {
                dropped += usize::from(topic.remove(name));
            }
            for name in read_only {
                if let Some(queues) = topic.get_mut(name) {
                    queues.perm &= !PERM_WRITE;
                }
            }
            !topic.queues.is_empty()
        });
        self.queue_entries -= dropped;
    }

    // ---- topics ----

    /// Takes the write bit from every topic of a broker (request 205); says how many topics it has.
    pub fn wipe_write_perm(&mut self, broker_name: &str) -> usize {
        self.each_of_broker(broker_name, |perm| perm & !PERM_WRITE)
    }

    /// Lets every topic of a broker be read and written (request 327); says how many topics it has.
    pub fn add_write_perm(&mut self, broker_name: &str) -> usize {
        self.each_of_broker(broker_name, |_| PERM_READ | PERM_WRITE)
    }

    fn each_of_broker(&mut self, broker_name: &str, change: impl Fn(i32) -> i32) -> usize {
        let mut count = 0;
        for queues in self.topics.values_mut().filter_map(|topic| topic.get_mut(broker_name)) {
            queues.perm = change(queues.perm);
            count += 1;
        }
        count
    }

    /// Forgets a topic (request 216), everywhere or on the brokers of one cluster; unknown ones are fine.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(cluster) = cluster else {
            if let Some(gone) = self.topics.remove(topic) {
                self.queue_entries -= gone.queues.len();
            }
            return;
        };
        let (Some(names), Some(entry)) = (self.clusters.get(cluster), self.topics.get_mut(topic))
        else {
            return;
        };
        for name in names {
            self.queue_entries -= usize::from(entry.remove(name));
        }
        if entry.queues.is_empty() {
            self.topics.remove(topic);
        }
    }

    /// Adds what some brokers have of a topic (request 217); entries of unknown brokers are left out and counted.
    pub fn register_topic(
        &mut self,
        topic: &str,
        queues: &[QueueData],
    ) -> Result<usize, LimitError> {
        limit::check("bytes of the topic", topic.len(), limit::NAME_BYTES_MAX)?;
        let new_topics = usize::from(!self.topics.contains_key(topic));
        self.check_growth(new_topics, queues.len())?;
        let mut unknown = 0;
        for data in queues {
            let Some((name, _)) = self.groups.get_key_value(data.broker_name.as_str()) else {
                unknown += 1;
                continue;
            };
            let name = Rc::clone(name);
            self.put_queues(
                topic,
                &name,
                Queues {
                    perm: data.perm,
                    read: data.read_queue_nums,
                    write: data.write_queue_nums,
                    sys_flag: data.topic_sys_flag,
                },
            );
        }
        Ok(unknown)
    }

    fn check_growth(&self, topics: usize, entries: usize) -> Result<(), LimitError> {
        limit::check("the number of topics", self.topics.len() + topics, limit::TOPICS_MAX)?;
        let entries = self.queue_entries + entries;
        limit::check("the number of topics times brokers", entries, limit::QUEUE_ENTRIES_MAX)
    }

    fn put_queues(&mut self, topic: &str, broker: &Rc<str>, queues: Queues) {
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.to_owned(), Topic::default());
        }
        let entry = self.topics.get_mut(topic).expect("it is there now");
        match entry.position(broker) {
            Ok(at) => entry.queues[at].1 = queues,
            Err(at) => {
                entry.queues.insert(at, (Rc::clone(broker), queues));
                self.queue_entries += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
