//! The route of a topic (request 105), and what hides parts of it. Java: `pickupTopicRouteData`, `ZoneRouteRPCHook`.

use super::{BrokerAddress, Group, MASTER_ID, PERM_WRITE, RouteTable};
use std::collections::BTreeMap;
use wire::body::route::{BrokerData, QueueData, TopicRouteData};

/// Topics by which brokers of a group watch each other; they must see who is really there.
const MEMBER_TOPIC_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

impl Group {
    pub(super) fn to_data(&self, name: &str) -> BrokerData {
        BrokerData {
            broker_addrs: self.addresses.clone(),
            broker_name: name.to_owned(),
            cluster: self.cluster.clone(),
            enable_acting_master: Some(self.enable_acting_master),
            zone_name: self.zone_name.clone(),
        }
    }
}

impl RouteTable {
    /// Where a topic is; `None` when no broker has it. `acting_masters`: a slave may be shown as the master it stands
    /// in for.
    pub fn route(&self, topic: &str, acting_masters: bool) -> Option<TopicRouteData> {
        let entry = self.topics.get(topic)?;
        let mut route = TopicRouteData::default();
        for (name, queues) in &entry.queues {
            let group = self.groups.get(name).expect("a topic's broker name has a group");
            for address in group.addresses.values() {
                let filters = self.filter_servers(group, address);
                if !filters.is_empty() {
                    route.filter_server_table.insert(address.clone(), filters.to_vec());
                }
            }
            route.broker_datas.push(group.to_data(name));
            route.queue_datas.push(QueueData {
                broker_name: name.to_string(),
                perm: queues.perm,
                read_queue_nums: queues.read,
                topic_sys_flag: queues.sys_flag,
                write_queue_nums: queues.write,
            });
        }
        if !entry.mappings.is_empty() {
            let pairs =
                entry.mappings.iter().map(|(name, value)| (name.to_string(), value.clone()));
            route.topic_queue_mapping_by_broker = Some(serde_json::Value::Object(pairs.collect()));
        }
        if acting_masters && !topic.starts_with(MEMBER_TOPIC_PREFIX) {
            show_acting_masters(&mut route);
        }
        Some(route)
    }

    fn filter_servers(&self, group: &Group, address: &str) -> &[String] {
        if !self.has_filter_servers {
            return &[];
        }
        let live = self.live.get(&BrokerAddress::new(&group.cluster, address));
        live.map_or(&[], |live| &live.filter_servers)
    }

    /// Addresses by id of a broker name (request 901); empty when it is unknown.
    pub fn members(&self, broker_name: &str) -> BTreeMap<i64, String> {
        self.groups.get(broker_name).map(|group| group.addresses.clone()).unwrap_or_default()
    }
}

/// Groups without master whose slaves may act, and whose queues are read-only already: the least id becomes 0.
fn show_acting_masters(route: &mut TopicRouteData) {
    let brokers = route.broker_datas.iter_mut().zip(&route.queue_datas);
    for (broker, queues) in brokers {
        let addresses = &mut broker.broker_addrs;
        let may_act = broker.enable_acting_master == Some(true);
        let writable = queues.perm & PERM_WRITE != 0;
        if addresses.contains_key(&MASTER_ID) || !may_act || writable {
            continue;
        }
        if let Some((_, address)) = addresses.pop_first() {
            addresses.insert(MASTER_ID, address);
        }
    }
}

/// Leaves the brokers of one zone, and those that lost their master, whose slaves anybody may read.
pub fn keep_zone(route: &mut TopicRouteData, zone: &str) {
    let mut hidden = Vec::new();
    route.broker_datas.retain(|broker| {
        let is_near =
            broker.zone_name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(zone));
        let stays = is_near || !broker.broker_addrs.contains_key(&MASTER_ID);
        if !stays {
            hidden.push(broker.clone());
        }
        stays
    });
    route.queue_datas.retain(|data| hidden.iter().all(|b| b.broker_name != data.broker_name));
    route
        .filter_server_table
        .retain(|address, _| hidden.iter().all(|b| b.broker_addrs.values().all(|a| a != address)));
}
