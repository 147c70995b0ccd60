//! What the groups on line want of which topic, as every shard sees it: snapshots that the metadata shard replaces.
//!
//! A group is here exactly as long as it has members. Java counterpart: the read side of ConsumerManager.

use filter::{SQL_TYPE, SqlFilter};
use hashbrown::HashMap;
use std::sync::Arc;
use wire::body::client::SubscriptionData;
use wire::tags::TagFilter;

/// Java's name of the tag expressions.
const TAG_TYPE: &str = "TAG";

/// A group's subscription to a topic, as a pull needs it.
#[derive(Debug)]
pub struct Subscription {
    /// What it wants.
    pub filter: SubscriptionFilter,
    /// Version the client gave it.
    pub version: i64,
}

/// What a subscription wants.
#[derive(Clone, Debug)]
pub enum SubscriptionFilter {
    /// Messages with tags.
    Tags(Arc<TagFilter>),
    /// Messages that an expression matches.
    Sql {
        /// Name of its type.
        kind: Box<str>,
        /// The expression.
        text: Box<str>,
        /// `None`: it is none, or of a type that is not known.
        compiled: Option<Arc<SqlFilter>>,
    },
    /// Messages that code of the client chooses on a filter server, which there is none of.
    Class,
}

/// Whether an expression type means tags; absent and empty do.
pub(crate) fn is_tag_type(expression_type: Option<&str>) -> bool {
    expression_type.is_none_or(|kind| kind.is_empty() || kind == TAG_TYPE)
}

impl Subscription {
    fn new(data: &SubscriptionData, before: Option<&Subscription>) -> Subscription {
        let filter = if data.class_filter_mode {
            SubscriptionFilter::Class
        } else if is_tag_type(data.expression_type.as_deref()) {
            SubscriptionFilter::Tags(Arc::new(tags(data)))
        } else {
            sql(data, before)
        };
        Subscription { filter, version: data.sub_version }
    }
}

/// The codes of the heartbeat decide, as in Java; a client that sends none is understood by its expression.
fn tags(data: &SubscriptionData) -> TagFilter {
    if data.sub_string == "*" {
        return TagFilter::everything();
    }
    if data.code_set.is_empty() {
        return TagFilter::parse(&data.sub_string).unwrap_or_else(|_| TagFilter::from_codes([]));
    }
    TagFilter::from_codes(data.code_set.iter().map(|&code| i64::from(code)))
}

/// Compiles an expression, unless it is the same as before.
fn sql(data: &SubscriptionData, before: Option<&Subscription>) -> SubscriptionFilter {
    let new_kind = data.expression_type.as_deref().unwrap_or_default();
    if let Some(Subscription { filter: SubscriptionFilter::Sql { kind, text, .. }, .. }) = before
        && **kind == *new_kind
        && **text == *data.sub_string
    {
        return before.expect("matched above").filter.clone();
    }
    let compiled = compile(new_kind, &data.sub_string);
    if let Err(why) = &compiled {
        tracing::warn!("topic {}: the {new_kind} expression of a group: {why}", data.topic);
    }
    SubscriptionFilter::Sql {
        kind: new_kind.into(),
        text: data.sub_string.as_str().into(),
        compiled: compiled.ok().map(Arc::new),
    }
}

/// Compiles an expression that is not of tags. Errors: why there is none.
pub(crate) fn compile(kind: &str, text: &str) -> Result<SqlFilter, String> {
    check_kind(kind, text)?;
    SqlFilter::compile(text).map_err(|error| error.to_string())
}

/// Errors: there are no expressions of this type, or this one is empty.
pub(crate) fn check_kind(kind: &str, text: &str) -> Result<(), String> {
    if kind != SQL_TYPE {
        return Err(format!("expressionType {kind:?} is neither TAG nor {SQL_TYPE}"));
    }
    if text.is_empty() {
        return Err(format!("Expression can't be null! {kind}"));
    }
    Ok(())
}

/// The subscriptions of one group.
#[derive(Debug, Default)]
pub struct GroupSubscriptions {
    by_topic: HashMap<Box<[u8]>, Subscription, foldhash::fast::RandomState>,
}

impl GroupSubscriptions {
    /// From what the members told; expressions that are there already are not compiled again.
    pub(crate) fn new<'a>(
        data: impl Iterator<Item = &'a SubscriptionData>,
        before: Option<&GroupSubscriptions>,
    ) -> GroupSubscriptions {
        let pair = |data: &SubscriptionData| {
            let topic = data.topic.as_bytes();
            let before = before.and_then(|before| before.get(topic));
            (topic.into(), Subscription::new(data, before))
        };
        GroupSubscriptions { by_topic: data.map(pair).collect() }
    }

    /// The subscription to a topic.
    pub(crate) fn get(&self, topic: &[u8]) -> Option<&Subscription> {
        self.by_topic.get(topic)
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

    /// All of a group.
    pub(crate) fn group(&self, group: &[u8]) -> Option<&Arc<GroupSubscriptions>> {
        self.by_group.get(group)
    }

    /// A group's subscription to a topic.
    pub(crate) fn get(&self, group: &[u8], topic: &[u8]) -> Option<&Subscription> {
        self.by_group.get(group)?.get(topic)
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
        ];
        for (data, [passes_a, passes_other]) in cases {
            let snapshot = GroupSubscriptions::new([&data].into_iter(), None);
            table.set(b"G", Some(Arc::new(snapshot)));
            let found = table.get(b"G", b"T").unwrap();
            let SubscriptionFilter::Tags(filter) = &found.filter else { panic!("{data:?}") };
            assert_eq!(filter.matches(i64::from(tag_a)), passes_a, "{data:?}");
            assert_eq!(filter.matches(5), passes_other, "{data:?}");
            assert_eq!(found.version, 7);
        }
        assert!(table.has_group(b"G") && table.get(b"G", b"U").is_none());
        table.set(b"G", None);
        assert!(!table.has_group(b"G"));
    }
    #[test]
    fn an_expression_is_compiled_once() {
        let compiled = |group: &GroupSubscriptions| match &group.get(b"T").unwrap().filter {
            SubscriptionFilter::Sql { compiled, .. } => compiled.clone(),
            SubscriptionFilter::Tags(_) | SubscriptionFilter::Class => panic!("no expression"),
        };
        let new = |text: &str, kind: &str, before: Option<&GroupSubscriptions>| {
            GroupSubscriptions::new([&data(text, &[], Some(kind))].into_iter(), before)
        };
        let first = new("a > 1", "SQL92", None);
        let again = new("a > 1", "SQL92", Some(&first));
        let (one, two) = (compiled(&first).unwrap(), compiled(&again).unwrap());
        assert!(Arc::ptr_eq(&one, &two));
        let other = compiled(&new("a > 2", "SQL92", Some(&again))).unwrap();
        assert!(!Arc::ptr_eq(&one, &other));
        for (text, kind) in [("a >", "SQL92"), ("", "SQL92"), ("a > 1", "XPATH")] {
            assert!(compiled(&new(text, kind, Some(&first))).is_none(), "{kind} {text}");
        }
        let class = SubscriptionData { class_filter_mode: true, ..data("*", &[], None) };
        let class = GroupSubscriptions::new([&class].into_iter(), None);
        assert!(matches!(class.get(b"T").unwrap().filter, SubscriptionFilter::Class));
    }
}
