//! Who is on line: members of consumer groups with their subscriptions, and producers. On the metadata shard.
//!
//! A membership belongs to a connection and ends with it, by request, or after silence. Limits: the constants below.
//! Java counterparts: ConsumerManager, ConsumerGroupInfo, ProducerManager.

use base::ids::ConnId;
use base::time::MonoNs;
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use wire::body::client::{
    ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData,
};
use wire::codes::Language;

/// Members of one group.
const MEMBERS_MAX: usize = 16_384;
/// Topics a group subscribes to.
const SUBSCRIPTIONS_MAX: usize = 1024;
/// Tags of one subscription.
const TAGS_MAX: usize = 1024;
/// Bytes of one subscription expression.
const EXPRESSION_BYTES_MAX: usize = 65_536;
/// Groups of one connection, consumers and producers apart.
const GROUPS_PER_CONN_MAX: usize = 1024;
/// Bytes of a client id, and of a producer group.
const NAME_BYTES_MAX: usize = 1024;

/// A client at the end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: Arc<str>,
    pub(crate) language: Language,
    /// `MQVersion` ordinal.
    pub(crate) version: i32,
    pub(crate) address: SocketAddr,
}

/// A client's part in a group.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) conn: ConnId,
    pub(crate) client: Client,
    /// Last sign of life.
    pub(crate) last: MonoNs,
    /// Hash over the subscriptions of the last full heartbeat; 0 when the client sends none.
    fingerprint: i32,
}

/// A consumer group on line.
pub(crate) struct ConsumerGroup {
    pub(crate) members: Vec<Member>,
    pub(crate) consume_type: ConsumeType,
    pub(crate) message_model: MessageModel,
    pub(crate) consume_from_where: ConsumeFromWhere,
    pub(crate) subscriptions: BTreeMap<String, SubscriptionData>,
}

/// What a heartbeat says beside its groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beat {
    /// 0 when the client sends none.
    pub(crate) fingerprint: i32,
    /// Subscriptions are left out because they did not change.
    pub(crate) without_sub: bool,
}

/// What a heartbeat changed in one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Effect {
    /// The members have to be told: one came, or the set of topics is another.
    pub(crate) is_membership_changed: bool,
    /// Pulls see something else.
    pub(crate) is_snapshot_changed: bool,
    /// The client is to be told that its subscriptions changed, or to send them again.
    pub(crate) is_sub_changed: bool,
}

#[derive(Default)]
struct ConnGroups {
    consumers: HashSet<Arc<str>>,
    producers: HashSet<Arc<str>>,
}

/// Everybody on line.
#[derive(Default)]
pub(crate) struct Clients {
    groups: HashMap<Arc<str>, ConsumerGroup>,
    producers: HashMap<Arc<str>, Vec<Member>>,
    conns: HashMap<ConnId, ConnGroups>,
    /// Connections of producers by client id, the newest of each.
    producers_by_id: HashMap<Arc<str>, ConnId>,
}

/// What silence ended.
#[derive(Default, Debug)]
pub(crate) struct Expired {
    /// Consumer groups that lost members.
    pub(crate) groups: Vec<Arc<str>>,
    /// Connections without any membership left.
    pub(crate) conns: Vec<ConnId>,
}

fn too_many(what: &str, whose: &str, limit: usize) -> String {
    format!("{what} of {whose} would exceed the limit of {limit}")
}

/// Checks what a heartbeat wants to grow.
fn check_sizes(data: &ConsumerData) -> Result<(), String> {
    let list = &data.subscription_data_set;
    if list.len() > SUBSCRIPTIONS_MAX {
        let count = list.len();
        return Err(format!(
            "subscriptionDataSet of group {} has {count} entries, the limit is {SUBSCRIPTIONS_MAX}",
            data.group_name
        ));
    }
    for sub in list {
        let tags = sub.code_set.len().max(sub.tags_set.len());
        if tags > TAGS_MAX {
            let topic = &sub.topic;
            return Err(format!(
                "codeSet of topic {topic} has {tags} tags, the limit is {TAGS_MAX}"
            ));
        }
        let bytes = sub.sub_string.len();
        if bytes > EXPRESSION_BYTES_MAX || sub.topic.len() > NAME_BYTES_MAX {
            return Err(format!(
                "subString has {bytes} bytes, the limit is {EXPRESSION_BYTES_MAX}; topic has {} bytes, the limit is \
                 {NAME_BYTES_MAX}",
                sub.topic.len()
            ));
        }
    }
    Ok(())
}

impl Clients {
    /// A consumer group with members.
    pub(crate) fn group(&self, name: &str) -> Option<&ConsumerGroup> {
        self.groups.get(name)
    }

    /// Consumer groups with members.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Arc<str>, &ConsumerGroup)> {
        self.groups.iter()
    }

    /// Members of a producer group.
    pub(crate) fn producers(&self, group: &str) -> Option<&[Member]> {
        self.producers.get(group).map(Vec::as_slice)
    }

    /// Producer groups with members.
    pub(crate) fn producer_groups(&self) -> impl Iterator<Item = (&Arc<str>, &[Member])> {
        self.producers.iter().map(|(name, members)| (name, members.as_slice()))
    }

    /// The connection of the client with this id, if it is a producer.
    pub(crate) fn find_producer(&self, client_id: &str) -> Option<ConnId> {
        self.producers_by_id.get(client_id).copied()
    }

    /// A heartbeat's word on one consumer group. Errors: a limit is reached.
    pub(crate) fn beat_consumer(
        &mut self,
        conn: ConnId,
        client: &Client,
        data: &ConsumerData,
        beat: Beat,
        now: MonoNs,
    ) -> Result<Effect, String> {
        check_client_id(client)?;
        check_sizes(data)?;
        let name = self.consumer_name(&data.group_name);
        let of_conn = self.conns.entry(conn).or_default();
        if !of_conn.consumers.contains(&name) && of_conn.consumers.len() >= GROUPS_PER_CONN_MAX {
            return Err(too_many("consumer groups", &client.id, GROUPS_PER_CONN_MAX));
        }
        let is_new_group = !self.groups.contains_key(&name);
        let group = self.groups.entry(Arc::clone(&name)).or_insert_with(|| ConsumerGroup {
            members: Vec::new(),
            consume_type: data.consume_type,
            message_model: data.message_model,
            consume_from_where: data.consume_from_where,
            subscriptions: BTreeMap::new(),
        });
        let before = group.beat(conn, client, now)?;
        of_conn.consumers.insert(name);
        group.consume_type = data.consume_type;
        group.message_model = data.message_model;
        group.consume_from_where = data.consume_from_where;
        let mut effect = Effect {
            is_membership_changed: before.is_none(),
            is_snapshot_changed: is_new_group,
            is_sub_changed: match before {
                _ if beat.fingerprint == 0 => true,
                None | Some(0) => beat.without_sub,
                Some(known) => known != beat.fingerprint,
            },
        };
        if !beat.without_sub {
            let (topics, anything) = group.subscribe(&data.subscription_data_set);
            effect.is_membership_changed |= topics;
            effect.is_snapshot_changed |= anything;
            group.set_fingerprint(conn, beat.fingerprint);
        }
        Ok(effect)
    }

    fn consumer_name(&self, group: &str) -> Arc<str> {
        match self.groups.get_key_value(group) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(group),
        }
    }

    /// A heartbeat's word on one producer group. Errors: a limit is reached.
    pub(crate) fn beat_producer(
        &mut self,
        conn: ConnId,
        client: &Client,
        group: &str,
        now: MonoNs,
    ) -> Result<(), String> {
        check_client_id(client)?;
        if group.len() > NAME_BYTES_MAX {
            let bytes = group.len();
            return Err(format!(
                "producer groupName has {bytes} bytes, the limit is {NAME_BYTES_MAX}"
            ));
        }
        let name = match self.producers.get_key_value(group) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(group),
        };
        let of_conn = self.conns.entry(conn).or_default();
        if !of_conn.producers.contains(&name) && of_conn.producers.len() >= GROUPS_PER_CONN_MAX {
            return Err(too_many("producer groups", &client.id, GROUPS_PER_CONN_MAX));
        }
        of_conn.producers.insert(Arc::clone(&name));
        self.producers_by_id.insert(Arc::clone(&client.id), conn);
        let members = self.producers.entry(name).or_default();
        match members.iter_mut().find(|member| member.conn == conn) {
            Some(member) => member.last = now,
            None => {
                members.push(Member { conn, client: client.clone(), last: now, fingerprint: 0 });
            }
        }
        Ok(())
    }

    /// A connection leaves a consumer group; whether it was a member.
    pub(crate) fn leave_consumer(&mut self, conn: ConnId, group: &str) -> bool {
        if let Some(of_conn) = self.conns.get_mut(&conn) {
            of_conn.consumers.remove(group);
        }
        self.drop_idle_conn(conn);
        self.remove_consumer(conn, group)
    }

    fn remove_consumer(&mut self, conn: ConnId, group: &str) -> bool {
        let Some(found) = self.groups.get_mut(group) else { return false };
        let before = found.members.len();
        found.members.retain(|member| member.conn != conn);
        let was_member = found.members.len() < before;
        if found.members.is_empty() {
            self.groups.remove(group);
        }
        was_member
    }

    /// A connection leaves a producer group.
    pub(crate) fn leave_producer(&mut self, conn: ConnId, group: &str) {
        if let Some(of_conn) = self.conns.get_mut(&conn) {
            of_conn.producers.remove(group);
        }
        self.drop_idle_conn(conn);
        self.remove_producer(conn, group);
    }

    fn remove_producer(&mut self, conn: ConnId, group: &str) {
        let Some(members) = self.producers.get_mut(group) else { return };
        let left = members.iter().find(|member| member.conn == conn);
        let left = left.map(|member| Arc::clone(&member.client.id));
        members.retain(|member| member.conn != conn);
        if members.is_empty() {
            self.producers.remove(group);
        }
        let stays = self.conns.get(&conn).is_some_and(|of_conn| !of_conn.producers.is_empty());
        if let Some(id) = left
            && !stays
            && self.producers_by_id.get(&id) == Some(&conn)
        {
            self.producers_by_id.remove(&id);
        }
    }

    fn drop_idle_conn(&mut self, conn: ConnId) {
        let is_idle =
            |of_conn: &ConnGroups| of_conn.consumers.is_empty() && of_conn.producers.is_empty();
        if self.conns.get(&conn).is_some_and(is_idle) {
            self.conns.remove(&conn);
        }
    }

    /// A connection has ended; the consumer groups it leaves.
    pub(crate) fn drop_conn(&mut self, conn: ConnId) -> Vec<Arc<str>> {
        let Some(of_conn) = self.conns.remove(&conn) else { return Vec::new() };
        for group in &of_conn.producers {
            self.remove_producer(conn, group);
        }
        let left = of_conn.consumers.into_iter();
        left.filter(|group| self.remove_consumer(conn, group)).collect()
    }

    /// Ends memberships that were silent for longer than `timeout_ms`.
    pub(crate) fn expire(&mut self, now: MonoNs, timeout_ms: u64) -> Expired {
        let is_over = |member: &Member| member.last.plus_ms(timeout_ms) < now;
        let mut consumers = Vec::new();
        for (name, group) in &self.groups {
            let over = group.members.iter().filter(|member| is_over(member));
            consumers.extend(over.map(|member| (member.conn, Arc::clone(name))));
        }
        let mut producers = Vec::new();
        for (name, members) in &self.producers {
            let over = members.iter().filter(|member| is_over(member));
            producers.extend(over.map(|member| (member.conn, Arc::clone(name))));
        }
        let mut expired = Expired::default();
        for (conn, group) in consumers {
            self.leave_consumer(conn, &group);
            expired.note(conn, &self.conns);
            if !expired.groups.contains(&group) {
                expired.groups.push(group);
            }
        }
        for (conn, group) in producers {
            self.leave_producer(conn, &group);
            expired.note(conn, &self.conns);
        }
        expired
    }
}

impl Expired {
    fn note(&mut self, conn: ConnId, left: &HashMap<ConnId, ConnGroups>) {
        if !left.contains_key(&conn) && !self.conns.contains(&conn) {
            self.conns.push(conn);
        }
    }
}

fn check_client_id(client: &Client) -> Result<(), String> {
    if client.id.len() > NAME_BYTES_MAX {
        let bytes = client.id.len();
        return Err(format!("clientID has {bytes} bytes, the limit is {NAME_BYTES_MAX}"));
    }
    Ok(())
}

impl ConsumerGroup {
    /// Notes a sign of life; the fingerprint known before, `None` for a new member.
    fn beat(&mut self, conn: ConnId, client: &Client, now: MonoNs) -> Result<Option<i32>, String> {
        if let Some(member) = self.members.iter_mut().find(|member| member.conn == conn) {
            member.last = now;
            if member.client.id != client.id {
                tracing::warn!(
                    "connection {conn} was client {}, and is {} now",
                    member.client.id,
                    client.id
                );
                member.client = client.clone();
            }
            return Ok(Some(member.fingerprint));
        }
        if self.members.len() >= MEMBERS_MAX {
            return Err(too_many("members", "the consumer group", MEMBERS_MAX));
        }
        self.members.push(Member { conn, client: client.clone(), last: now, fingerprint: 0 });
        Ok(None)
    }

    fn set_fingerprint(&mut self, conn: ConnId, fingerprint: i32) {
        if let Some(member) = self.members.iter_mut().find(|member| member.conn == conn) {
            member.fingerprint = fingerprint;
        }
    }

    /// Takes a member's list for the group's: whether topics came or went, and whether anything changed.
    fn subscribe(&mut self, list: &[SubscriptionData]) -> (bool, bool) {
        let (mut topics, mut anything) = (false, false);
        for data in list {
            match self.subscriptions.get_mut(&data.topic) {
                None => {
                    self.subscriptions.insert(data.topic.clone(), data.clone());
                    topics = true;
                }
                Some(known) if known.sub_version < data.sub_version => {
                    *known = data.clone();
                    anything = true;
                }
                Some(_) => {}
            }
        }
        let before = self.subscriptions.len();
        let wanted: HashSet<&str> = list.iter().map(|data| data.topic.as_str()).collect();
        self.subscriptions.retain(|topic, _| wanted.contains(topic.as_str()));
        topics |= self.subscriptions.len() < before;
        (topics, anything || topics)
    }
}

#[cfg(test)]
mod tests;
