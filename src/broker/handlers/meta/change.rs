//! Changes of metadata: recorded at home, applied on every shard, followed by what waited for them.

use crate::app::{Broker, Host};
use crate::bit_maps::FilterChange;
use crate::cold::GroupKey;
use crate::handlers::meta::clean::{self, Clean, NotNoted};
use crate::handlers::meta::{MetaMail, upkeep};
use crate::mail::BrokerMail;
use crate::parked;
use crate::scatter::{self, Then};
use crate::settings::Settings;
use crate::subscriptions::GroupSubscriptions;
use crate::tables::{TableFile, next_version, split_key};
use shard::Cx;
use std::hash::BuildHasher;
use std::sync::Arc;
use wire::body::broker::SubscriptionGroupConfig;
use wire::body::register::TopicConfig;
use wire::ids::QueueId;

/// Something that is different from now on.
#[derive(Clone)]
pub enum Change {
    /// A topic is there, or is another.
    Topic(Arc<TopicConfig>),
    /// A topic is gone, with its queues and offsets.
    TopicRemoved {
        /// Its name.
        topic: Arc<[u8]>,
        /// For the answer.
        not_noted: NotNoted,
    },
    /// A group is there, or is another.
    Group(Arc<SubscriptionGroupConfig>),
    /// A group is gone.
    GroupRemoved {
        /// Its name.
        group: Arc<[u8]>,
        /// Its offsets go too.
        drops_offsets: bool,
    },
    /// What the members of a group want; `None` when the last one has gone.
    Subscriptions {
        /// Its name.
        group: Arc<[u8]>,
        /// Replaces what was known.
        snapshot: Option<Arc<GroupSubscriptions>>,
        /// Changes of the table of filters.
        filters: Vec<FilterChange>,
    },
    /// Settings were changed by request.
    Settings(Arc<Settings>),
    /// Something nobody needs is deleted.
    Clean(Clean),
    /// Consumer offsets are set by request.
    Offsets {
        /// Topic.
        topic: Arc<[u8]>,
        /// Consumer group.
        group: Arc<[u8]>,
        /// Queue and offset.
        offsets: Arc<[(i32, i64)]>,
        /// The next pull of each queue is told to go there.
        is_reset: bool,
    },
}

/// Takes a change on this shard.
pub(crate) fn apply<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, change: Change) {
    match change {
        Change::Topic(config) => broker.topics.set(config),
        Change::TopicRemoved { topic, not_noted } => broker.forget_topic(cx, &topic, not_noted),
        Change::Group(config) => broker.meta.groups.set(config),
        Change::GroupRemoved { group, drops_offsets } => {
            broker.meta.groups.remove(&group);
            if broker.settings.config.housekeeping.auto_delete_unused_stats {
                broker.traffic.remove_group(&group);
            }
            if drops_offsets {
                broker.offsets.remove_group(&group);
            }
        }
        Change::Subscriptions { group, snapshot, filters } => {
            for filter in filters {
                broker.bit_maps.set(filter, cx.now.wall);
            }
            broker.meta.subscriptions.set(&group, snapshot);
        }
        Change::Settings(settings) => {
            broker.meta.take_settings(&settings);
            cx.store().configure_retention(crate::settings::retention(&settings.config.retention));
            broker.settings = settings;
        }
        Change::Clean(what) => clean::apply(broker, cx, what),
        Change::Offsets { topic, group, offsets, is_reset } => {
            for (queue, offset) in offsets.iter() {
                let id = QueueId(*queue);
                if broker.is_mine(&topic, id) {
                    set_offset(broker, cx, (&topic, &group, id), *offset, is_reset);
                }
            }
        }
    }
}

fn set_offset<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    (topic, group, id): (&[u8], &[u8], QueueId),
    offset: i64,
    is_reset: bool,
) {
    if !is_reset {
        broker.offsets.commit(topic, group, id, offset);
        return;
    }
    broker.offsets.reset(topic, group, id, offset);
    if let Some(queue) = cx.store().queues().find(topic, id) {
        let group = GroupKey(broker.group_hash.hash_one(group));
        parked::send_away(broker, cx, queue, group);
    }
}

/// Notes at home what a change means for files and name servers; whether consumer offsets go with it.
fn record<H: Host>(broker: &mut Broker, cx: &Cx<'_, H>, change: &Change) -> bool {
    let (wall, mono) = (cx.now.wall, cx.now.mono);
    let home = broker.meta.home();
    match change {
        Change::Topic(_) | Change::TopicRemoved { .. } => {
            next_version(&mut home.topics_version, wall);
            home.writes.touch(TableFile::Topics, mono);
            home.register.topics_changed(mono);
        }
        Change::Group(_) | Change::GroupRemoved { .. } => {
            next_version(&mut home.groups_version, wall);
            home.writes.touch(TableFile::Groups, mono);
        }
        Change::Offsets { topic, group, offsets, .. } => {
            let key: Arc<[u8]> = [topic, &b"@"[..], group].concat().into();
            for (queue, offset) in offsets.iter() {
                home.offsets.set(Arc::clone(&key), *queue, *offset);
            }
            next_version(&mut home.offsets.version, wall);
            home.writes.touch(TableFile::Offsets, mono);
        }
        Change::Subscriptions { .. } | Change::Settings(_) | Change::Clean(_) => {}
    }
    let is_less = match change {
        Change::TopicRemoved { topic, .. } => {
            home.offsets.remove(|key| split_key(key).is_some_and(|(of, _)| *of == **topic))
        }
        Change::GroupRemoved { group, drops_offsets: true } => {
            home.offsets.remove(|key| split_key(key).is_some_and(|(_, of)| *of == **group))
        }
        Change::Clean(Clean::UnusedTopics) => {
            let (topics, system) = (&broker.topics, &home.system);
            let is_gone = |topic: &[u8]| !clean::is_known_or_kept(topics, system, topic);
            home.offsets.remove(|key| split_key(key).is_some_and(|(topic, _)| is_gone(topic)))
        }
        Change::GroupRemoved { drops_offsets: false, .. }
        | Change::Topic(_)
        | Change::Group(_)
        | Change::Subscriptions { .. }
        | Change::Settings(_)
        | Change::Offsets { .. }
        | Change::Clean(Clean::Log | Clean::ExpiredQueues) => false,
    };
    if is_less {
        next_version(&mut home.offsets.version, wall);
        home.writes.touch(TableFile::Offsets, mono);
    }
    is_less
}

/// What is to follow once the tables that these changes are part of are in their files.
fn when_in_files(broker: &mut Broker, changes: &[Change], drops_offsets: bool, then: Then) -> Then {
    if matches!(then, Then::Nothing) {
        return then;
    }
    let is_topic = |c: &Change| matches!(c, Change::Topic(_) | Change::TopicRemoved { .. });
    let is_group = |c: &Change| matches!(c, Change::Group(_) | Change::GroupRemoved { .. });
    let mut tables = Vec::new();
    let writes = &mut broker.meta.home().writes;
    if changes.iter().any(is_topic) {
        tables.push((TableFile::Topics, writes.changes(TableFile::Topics)));
    }
    if changes.iter().any(is_group) {
        tables.push((TableFile::Groups, writes.changes(TableFile::Groups)));
    }
    if drops_offsets {
        // Whoever makes the topic anew begins at 0: an offset of the old one would leave messages out.
        tables.push((TableFile::Offsets, writes.changes(TableFile::Offsets)));
    }
    if tables.is_empty() { then } else { Then::WhenWritten { tables, then: Box::new(then) } }
}

/// Carries out changes on the metadata shard and mails them to the others; `then` follows when all have taken them.
///
/// Mail to a shard keeps its order, so the receipts of the last change stand for all.
pub(crate) fn publish<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    changes: Vec<Change>,
    then: Then,
) {
    let mut drops_offsets = false;
    for change in &changes {
        drops_offsets |= record(broker, cx, change);
        apply(broker, cx, change.clone());
    }
    // A topic or a group that somebody was told of, or has sent to, is there after a kill.
    let mut then = Some(when_in_files(broker, &changes, drops_offsets, then));
    let last = changes.len().checked_sub(1);
    for (at, change) in changes.into_iter().enumerate() {
        let after = if Some(at) == last { then.take() } else { None };
        let after = after.unwrap_or(Then::Nothing);
        scatter::broadcast(broker, cx, after, |scatter| match change.clone() {
            Change::Topic(config) => BrokerMail::Topic { config, scatter },
            Change::TopicRemoved { topic, not_noted } => {
                BrokerMail::TopicRemoved { topic, not_noted, scatter }
            }
            change @ (Change::Group(_)
            | Change::GroupRemoved { .. }
            | Change::Subscriptions { .. }
            | Change::Settings(_)
            | Change::Offsets { .. }
            | Change::Clean(_)) => BrokerMail::Meta(MetaMail::Change { change, scatter }),
        });
    }
    if let Some(then) = then {
        scatter::finish(broker, cx, vec![then]);
    }
    upkeep::settle(broker, cx);
}
