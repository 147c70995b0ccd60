//! What the groups on line want of which topic, as every shard sees it: snapshots that the metadata shard replaces.
//!
//! A group is here exactly as long as it has members. Java counterpart: the read side of ConsumerManager.

use hashbrown::HashMap;
use std::sync::Arc;
use wire::body::client::SubscriptionData;
use wire::tags::TagFilter;

/// Java's name of the tag expressions.
const TAG_TYPE: &str = "TAG";

/// A group's subscription to a topic, as a pull needs it.
#[derive(Debug)]
pub struct Subscription {
    /// Filter by tags.
    pub filter: Arc<TagFilter>,
    /// Version the client gave it.
    pub version: i64,
    /// It is a tag expression (and not SQL92).
    pub is_tags: bool,
}

/// Whether an expression type means tags; absent and empty do.
pub(crate) fn is_tag_type(expression_type: Option<&str>) -> bool {
    expression_type.is_none_or(|kind| kind.is_empty() || kind == TAG_TYPE)
}

impl Subscription {
    fn new(data: &SubscriptionData) -> Subscription {
        let is_tags = is_tag_type(data.expression_type.as_deref());
        Subscription { filter: Arc::new(filter(data, is_tags)), version: data.sub_version, is_tags }
    }
}

/// The codes of the heartbeat decide, as in Java; a client that sends none is understood by its expression.
fn filter(data: &SubscriptionData, is_tags: bool) -> TagFilter {
    let nothing = || TagFilter::from_codes([]);
    if !is_tags {
        return nothing();
    }
    if data.sub_string == "*" || data.class_filter_mode {
        return TagFilter::everything();
    }
    if data.code_set.is_empty() {
        return TagFilter::parse(&data.sub_string).unwrap_or_else(|_| nothing());
    }
    TagFilter::from_codes(data.code_set.iter().map(|&code| i64::from(code)))
}

/// The subscriptions of one group.
#[derive(Debug, Default)]
pub struct GroupSubscriptions {
    by_topic: HashMap<Box<[u8]>, Subscription, foldhash::fast::RandomState>,
}

impl GroupSubscriptions {
    /// From what the members told.
    pub(crate) fn new<'a>(data: impl Iterator<Item = &'a SubscriptionData>) -> GroupSubscriptions {
        let pair =
            |data: &SubscriptionData| (data.topic.as_bytes().into(), Subscription::new(data));
        GroupSubscriptions { by_topic: data.map(pair).collect() }
    }
}

/// Snapshots by group.
#[derive(Default)]
pub(crate) struct Subscriptions {
    by_group: HashMap<Box<[u8]>, Arc<GroupSubscriptions>, foldhash::fast::RandomState>,
}

impl Subscriptions {
    /// Whether the group has members.
    pub(crate) fn has_group(&self, group: &[u8]) -> bool {
        self.by_group.contains_key(group)
    }

    /// A group's subscription to a topic.
    pub(crate) fn get(&self, group: &[u8], topic: &[u8]) -> Option<&Subscription> {
        self.by_group.get(group)?.by_topic.get(topic)
    }

    /// Replaces a group's snapshot; `None` when the last member has gone.
    pub(crate) fn set(&mut self, group: &[u8], snapshot: Option<Arc<GroupSubscriptions>>) {
        match snapshot {
            None => {
                self.by_group.remove(group);
            }
            Some(snapshot) => {
                self.by_group.insert(group.into(), snapshot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(expression: &str, codes: &[i32], kind: Option<&str>) -> SubscriptionData {
        SubscriptionData {
            topic: "T".into(),
            sub_string: expression.into(),
            code_set: codes.to_vec(),
            expression_type: kind.map(str::to_owned),
            sub_version: 7,
            ..SubscriptionData::default()
        }
    }

    #[test]
    fn a_pull_sees_what_the_heartbeat_said() {
        let mut table = Subscriptions::default();
        let tag_a = 2_598_919;
        let cases = [
            (data("*", &[], None), [true, true]),
            (data("", &[], Some("TAG")), [true, true]),
            (data("TagA", &[tag_a], Some("TAG")), [true, false]),
            (data("TagA", &[], Some("")), [true, false]),
            (data("a > 1", &[], Some("SQL92")), [false, false]),
        ];
        for (data, [passes_a, passes_other]) in cases {
            let snapshot = GroupSubscriptions::new([&data].into_iter());
            table.set(b"G", Some(Arc::new(snapshot)));
            let found = table.get(b"G", b"T").unwrap();
            assert_eq!(found.filter.matches(i64::from(tag_a)), passes_a, "{data:?}");
            assert_eq!(found.filter.matches(5), passes_other, "{data:?}");
            assert_eq!(found.is_tags, data.expression_type.as_deref() != Some("SQL92"));
            assert_eq!(found.version, 7);
        }
        assert!(table.has_group(b"G") && table.get(b"G", b"U").is_none());
        table.set(b"G", None);
        assert!(!table.has_group(b"G"));
    }
}
