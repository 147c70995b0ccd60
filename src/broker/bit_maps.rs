//! Bit maps of filters: which groups' expressions a message matched when it was stored (`enableCalcFilterBitMap` with
//! `enableConsumeQueueExt`). Pulls from files pass over what the bits say that their group does not want.
//!
//! Each shard has the filters of the table on the metadata shard. A map says nothing of groups that the shard did not know
//! when it made it: a filter counts for messages that are stored after it came. Limit: steps per message; beyond it a message
//! has no map, and is looked at itself. Java counterparts: CommitLogDispatcherCalcBitMap, ExpressionMessageFilter.

use base::time::WallMs;
use filter::SqlFilter;
use hashbrown::HashMap;
use std::sync::Arc;
use store::Batch;
use store::layout::consume_queue_ext::{MAP_BYTES_MAX, MapTest};
use wire::props::Props;

/// Steps that the expressions of a topic may cost per message: about a millisecond.
const WORK_MAX: usize = 1 << 17;
/// The table does not say when each shard of an earlier process knew a filter: so much later than it was born, all did.
const SETTLED_MS: i64 = 60_000;

/// A group's expression for a topic.
#[derive(Debug)]
pub struct GroupFilter {
    pub(crate) text: String,
    pub(crate) compiled: SqlFilter,
    /// Bits of the group and the topic.
    pub(crate) positions: Vec<u32>,
}

/// What has changed in the table.
#[derive(Clone, Debug)]
pub struct FilterChange {
    /// The topic.
    pub topic: String,
    /// The group.
    pub group: String,
    /// What it wants now; `None`: the table has nothing of it any more.
    pub filter: Option<Arc<GroupFilter>>,
}

struct Known {
    group: Box<[u8]>,
    filter: Arc<GroupFilter>,
    test: Arc<MapTest>,
}

/// The filters that a shard evaluates.
#[derive(Default)]
pub(crate) struct BitMaps {
    /// Bytes of a map; 0: there are none.
    map_bytes: u16,
    by_topic: HashMap<Box<[u8]>, Vec<Known>, foldhash::fast::RandomState>,
}

impl BitMaps {
    /// Maps of so many bytes, with the filters that the table has at the start and when they were born, ms since 1970.
    pub(crate) fn new(map_bytes: usize, filters: Vec<(FilterChange, i64)>) -> BitMaps {
        let map_bytes = u16::try_from(map_bytes).ok();
        let map_bytes = map_bytes.filter(|bytes| usize::from(*bytes) <= MAP_BYTES_MAX);
        let mut maps = BitMaps { map_bytes: map_bytes.unwrap_or(0), ..BitMaps::default() };
        for (change, born_ms) in filters {
            maps.set(change, WallMs(born_ms.saturating_add(SETTLED_MS)));
        }
        maps
    }

    /// Takes a change of the table; what is stored from then on counts.
    pub(crate) fn set(&mut self, change: FilterChange, now: WallMs) {
        if self.map_bytes == 0 {
            return;
        }
        let FilterChange { topic, group, filter } = change;
        let of_topic = self.by_topic.entry(topic.as_bytes().into()).or_default();
        of_topic.retain(|known| *known.group != *group.as_bytes());
        if let Some(filter) = filter {
            let test = Arc::new(MapTest {
                positions: filter.positions.clone(),
                map_bytes: usize::from(self.map_bytes),
                since_ms: now.0,
            });
            of_topic.push(Known { group: group.as_bytes().into(), filter, test });
        }
        if of_topic.is_empty() {
            self.by_topic.remove(topic.as_bytes());
        }
    }

    /// Gives the last record of a batch its map.
    pub(crate) fn note(&self, batch: &mut Batch<'_>, topic: &[u8], properties: &[u8]) {
        if self.by_topic.is_empty() {
            return;
        }
        let Some(filters) = self.by_topic.get(topic) else { return };
        let work = |known: &Known| known.filter.compiled.work(properties.len());
        if filters.iter().map(work).sum::<usize>() > WORK_MAX {
            return;
        }
        let props = Props::new(properties);
        let wants = filters.iter().filter(|known| known.filter.compiled.matches(props));
        let bits = wants.flat_map(|known| known.filter.positions.iter().copied());
        batch.set_bit_map(self.map_bytes, bits);
    }

    /// What tells for a group's expression which messages the maps are certain of.
    pub(crate) fn test(&self, topic: &[u8], group: &[u8], text: &str) -> Option<Arc<MapTest>> {
        let known = self.by_topic.get(topic)?.iter().find(|known| *known.group == *group)?;
        // With another version of its consumers a group may want something else already.
        (known.filter.text == *text).then(|| Arc::clone(&known.test))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(group: &str, text: Option<&str>) -> FilterChange {
        let filter = text.map(|text| {
            let compiled = SqlFilter::compile(text).unwrap();
            Arc::new(GroupFilter { text: text.to_owned(), compiled, positions: vec![1] })
        });
        FilterChange { topic: "T".to_owned(), group: group.to_owned(), filter }
    }

    #[test]
    fn a_filter_counts_for_what_is_stored_after_it_came() {
        let boot = vec![(change("OLD", Some("a > 1")), 1_000)];
        let mut maps = BitMaps::new(14, boot);
        let since = |maps: &BitMaps, group: &str, text: &str| {
            maps.test(b"T", group.as_bytes(), text).map(|test| test.since_ms)
        };
        assert_eq!(since(&maps, "OLD", "a > 1"), Some(61_000));
        assert_eq!(since(&maps, "OLD", "a > 2"), None, "it wants something else already");
        maps.set(change("NEW", Some("a > 1")), WallMs(5_000));
        assert_eq!(since(&maps, "NEW", "a > 1"), Some(5_000));
        maps.set(change("NEW", Some("a > 2")), WallMs(7_000));
        assert_eq!(
            (since(&maps, "NEW", "a > 1"), since(&maps, "NEW", "a > 2")),
            (None, Some(7_000))
        );
        maps.set(change("NEW", None), WallMs(8_000));
        maps.set(change("OLD", None), WallMs(8_000));
        assert!(maps.by_topic.is_empty());
        // Off, or too long for a unit.
        for bytes in [0, 32_748, 70_000] {
            let maps = BitMaps::new(bytes, vec![(change("G", Some("a > 1")), 0)]);
            assert!(maps.by_topic.is_empty(), "{bytes}");
        }
        assert!(!BitMaps::new(32_747, vec![(change("G", Some("a > 1")), 0)]).by_topic.is_empty());
    }
}
