//! Which messages a pull wants: all, those with some tags, or those that an SQL92 expression matches.
//!
//! Tags are decided by the queue's entry; an expression needs the record, and the work of one scan is bounded: what is
//! left is for the next pull. Java counterparts: ExpressionMessageFilter, ExpressionForRetryMessageFilter.

use crate::subscriptions::{GroupSubscriptions, SubscriptionFilter};
use filter::{SqlError, SqlFilter};
use hashbrown::HashMap;
use std::sync::Arc;
use store::Store;
use store::layout::consume_queue::CqEntry;
use store::layout::consume_queue_ext::{MapTest, PASSED_OVER, is_address};
use store::read::Look;
use wire::message::MessageView;
use wire::props::{self, Props};
use wire::tags::TagFilter;

/// Begin of the names of topics whose messages were consumed in vain before.
const RETRY_PREFIX: &[u8] = b"%RETRY%";
/// Expressions of pull headers that a shard keeps compiled, as many as Java's parser.
const CACHED_MAX: usize = 100;
/// Steps that one scan may cost, beyond its first record, whose own are bounded: some milliseconds.
const SCAN_WORK_MAX: usize = 1 << 19;

/// What a pull wants.
#[derive(Clone)]
pub(crate) enum Wanted {
    Everything,
    Tags(Arc<TagFilter>),
    Sql(SqlWanted),
}

/// What an expression matches.
#[derive(Clone)]
pub(crate) struct SqlWanted {
    filter: Arc<SqlFilter>,
    /// For a topic of retries: the group's expressions for the topics they come from (`filterSupportRetry`).
    retried: Option<Arc<GroupSubscriptions>>,
    /// Which messages in files need no look.
    test: Option<Arc<MapTest>>,
}

impl Wanted {
    pub(crate) fn tags(filter: &Arc<TagFilter>) -> Wanted {
        if filter.all { Wanted::Everything } else { Wanted::Tags(Arc::clone(filter)) }
    }

    /// `retried`: the group's subscriptions, where retries are filtered by them.
    pub(crate) fn sql(
        filter: &Arc<SqlFilter>,
        topic: &[u8],
        retried: Option<&Arc<GroupSubscriptions>>,
    ) -> Wanted {
        let retried = retried.filter(|_| topic.starts_with(RETRY_PREFIX)).map(Arc::clone);
        Wanted::Sql(SqlWanted { filter: Arc::clone(filter), retried, test: None })
    }

    /// The same, with what bit maps tell. They are of the topic's own expression: where those of others count, as for
    /// retries, they are left alone.
    pub(crate) fn with_test(self, test: Option<Arc<MapTest>>) -> Wanted {
        match self {
            Wanted::Sql(sql) if sql.retried.is_none() => Wanted::Sql(SqlWanted { test, ..sql }),
            other @ (Wanted::Everything | Wanted::Tags(_) | Wanted::Sql(_)) => other,
        }
    }

    /// Which messages in files need no look.
    pub(crate) fn test(&self) -> Option<&Arc<MapTest>> {
        match self {
            Wanted::Sql(sql) => sql.test.as_ref(),
            Wanted::Everything | Wanted::Tags(_) => None,
        }
    }

    /// Whether records have to be looked at.
    pub(crate) fn needs_records(&self) -> bool {
        matches!(self, Wanted::Sql(_))
    }

    /// What the entry alone decides. Where the tags code is not known, the client looks at the tags.
    pub(crate) fn look_at_entry(&self, entry: &CqEntry) -> Look {
        match self {
            Wanted::Everything => Look::Take,
            Wanted::Sql(sql) => Look::take_if(sql.test.is_none() || entry.tags_code != PASSED_OVER),
            Wanted::Tags(filter) => {
                let code = entry.tags_code;
                Look::take_if(filter.matches(code) || is_address(code))
            }
        }
    }
}

impl SqlWanted {
    /// The expression for a message: of its own topic, or of the one it was retried from. `None`: it is wanted.
    fn filter_for(&self, props: Props<'_>) -> Option<&Arc<SqlFilter>> {
        let Some(retried) = &self.retried else { return Some(&self.filter) };
        match &retried.get(props.get(props::RETRY_TOPIC)?)?.filter {
            SubscriptionFilter::Sql { compiled, .. } => compiled.as_ref(),
            SubscriptionFilter::Tags(_) | SubscriptionFilter::Class => None,
        }
    }
}

/// One walk over a queue's entries for a pull.
pub(crate) struct Scan<'w> {
    wanted: &'w Wanted,
    work_left: usize,
    /// A record was not in memory.
    pub(crate) is_cold: bool,
}

impl<'w> Scan<'w> {
    pub(crate) fn new(wanted: &'w Wanted) -> Scan<'w> {
        Scan { wanted, work_left: SCAN_WORK_MAX, is_cold: false }
    }

    /// Looks at an entry, and at its record in memory when that decides.
    pub(crate) fn look(&mut self, store: &Store, entry: &CqEntry) -> Look {
        if !self.wanted.needs_records() {
            return self.wanted.look_at_entry(entry);
        }
        match store.tail(entry.phy, entry.size as usize) {
            Some(record) => self.look_at_record(record),
            None => {
                self.is_cold = true;
                Look::Later
            }
        }
    }

    /// Looks at a record that the entry did not decide.
    pub(crate) fn look_at_record(&mut self, record: &[u8]) -> Look {
        let Wanted::Sql(wanted) = self.wanted else { return Look::Take };
        if self.work_left == 0 {
            return Look::Later;
        }
        // What cannot be read is for the client, as without a filter.
        let Ok((view, _)) = MessageView::parse(record) else { return Look::Take };
        let props = Props::new(view.properties());
        let Some(filter) = wanted.filter_for(props) else { return Look::Take };
        let work = filter.work(view.properties().len());
        self.work_left = self.work_left.saturating_sub(work);
        Look::take_if(filter.matches(props))
    }
}

/// Expressions that come with pulls, compiled.
#[derive(Default)]
pub(crate) struct SqlCache {
    by_text: HashMap<Box<str>, Arc<SqlFilter>, foldhash::fast::RandomState>,
}

impl SqlCache {
    /// The compiled expression. Errors: it is none.
    pub(crate) fn get(&mut self, text: &str) -> Result<Arc<SqlFilter>, SqlError> {
        if let Some(filter) = self.by_text.get(text) {
            return Ok(Arc::clone(filter));
        }
        let filter = Arc::new(SqlFilter::compile(text)?);
        if self.by_text.len() >= CACHED_MAX {
            self.by_text.clear();
        }
        self.by_text.insert(text.into(), Arc::clone(&filter));
        Ok(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ids::PhyOffset;

    #[test]
    fn bit_maps_count_unless_expressions_of_other_topics_do() {
        let filter = Arc::new(SqlFilter::compile("a > 1").unwrap());
        let group = Arc::new(GroupSubscriptions::default());
        let test = Arc::new(MapTest { positions: vec![1], map_bytes: 14, since_ms: 0 });
        let entry = CqEntry { phy: PhyOffset(0), size: 100, tags_code: PASSED_OVER };
        let look = |topic: &[u8], retried| {
            let wanted = Wanted::sql(&filter, topic, retried).with_test(Some(Arc::clone(&test)));
            wanted.look_at_entry(&entry)
        };
        assert_eq!(look(b"%RETRY%G", None), Look::Skip);
        assert_eq!(look(b"T", Some(&group)), Look::Skip);
        assert_eq!(look(b"%RETRY%G", Some(&group)), Look::Take);
        assert_eq!(Wanted::sql(&filter, b"T", None).look_at_entry(&entry), Look::Take);
    }
}
