//! Lists over the whole table: clusters (request 106) and topics (206, 224, 304, 311, 312, 313).

use super::{RouteTable, Topic};
use wire::body::Table;
use wire::body::route::ClusterInfo;

/// Bit of a topic's system flag: the topic belongs to a unit.
const FLAG_UNIT: i32 = 1;
/// Bit of a topic's system flag: consumers of a unit subscribe to it.
const FLAG_UNIT_SUB: i32 = 2;

/// Which topics of units are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnitKind {
    /// Topics of a unit (request 311).
    Unit,
    /// Topics with subscriptions of a unit (312).
    UnitSub,
    /// Those of them that are of no unit themselves (313).
    UnitSubNotUnit,
}

impl UnitKind {
    fn takes(self, flag: i32) -> bool {
        match self {
            UnitKind::Unit => flag & FLAG_UNIT != 0,
            UnitKind::UnitSub => flag & FLAG_UNIT_SUB != 0,
            UnitKind::UnitSubNotUnit => flag & FLAG_UNIT_SUB != 0 && flag & FLAG_UNIT == 0,
        }
    }
}

impl RouteTable {
    /// All brokers and clusters.
    pub fn cluster_info(&self) -> ClusterInfo {
        let groups =
            self.groups.iter().map(|(name, group)| (name.to_string(), group.to_data(name)));
        let clusters = self.clusters.iter().map(|(cluster, names)| {
            (cluster.clone(), names.iter().map(|name| name.to_string()).collect())
        });
        ClusterInfo {
            broker_addr_table: Table(groups.collect()),
            cluster_addr_table: Table(clusters.collect()),
        }
    }

    /// All topics.
    pub fn all_topics(&self) -> Vec<String> {
        self.topics_where(|_| true)
    }

    /// Topics that some broker of the cluster has.
    pub fn topics_of_cluster(&self, cluster: &str) -> Vec<String> {
        let Some(names) = self.clusters.get(cluster) else { return Vec::new() };
        self.topics_where(|topic| names.iter().any(|name| topic.position(name).is_ok()))
    }

    /// Topics of units, by the system flag of the first broker name.
    pub fn unit_topics(&self, kind: UnitKind) -> Vec<String> {
        self.topics_where(|topic| topic.queues.first().is_some_and(|(_, q)| kind.takes(q.sys_flag)))
    }

    /// Names of clusters and brokers, which every broker has as topics, and the address of some broker.
    pub fn system_topics(&self) -> (Vec<String>, Option<String>) {
        let mut names = Vec::new();
        for (cluster, brokers) in &self.clusters {
            names.push(cluster.clone());
            names.extend(brokers.iter().map(|name| name.to_string()));
        }
        let address = self.groups.values().find_map(|group| group.addresses.values().next());
        (names, address.cloned())
    }

    fn topics_where(&self, takes: impl Fn(&Topic) -> bool) -> Vec<String> {
        let topics = self.topics.iter().filter(|(_, topic)| takes(topic));
        let mut names: Vec<_> = topics.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }
}
