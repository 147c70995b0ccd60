//! Consumer groups as every shard sees them: a snapshot that the metadata shard replaces by mail.
//!
//! A group that is used for the first time is noted, and the metadata shard is asked to make it. Limit: `GROUPS_MAX`.
//! Java counterpart: SubscriptionGroupManager.

use crate::handlers::meta::topic_rules::is_group_name;
use hashbrown::{HashMap, HashSet};
use std::cell::RefCell;
use std::sync::Arc;
use wire::body::broker::SubscriptionGroupConfig;

/// Groups of one broker.
pub(crate) const GROUPS_MAX: usize = 65_536;
/// Groups asked for that have not come yet; beyond it all are asked for anew.
const WANTED_MAX: usize = 1024;

/// Groups that exist from the start.
const PRESET: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

/// A group with Java's defaults.
pub(crate) fn default_group(name: &str) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig { group_name: name.to_owned(), ..SubscriptionGroupConfig::default() }
        .with_5x_defaults()
}

/// The groups a broker has from the start.
pub(crate) fn preset() -> impl Iterator<Item = SubscriptionGroupConfig> {
    PRESET.iter().map(|name| default_group(name))
}

/// Groups that were asked for on this shard.
#[derive(Default)]
struct Wanted {
    asked: HashSet<Box<[u8]>>,
    fresh: Vec<Box<[u8]>>,
}

/// Groups by name.
#[derive(Default)]
pub(crate) struct Groups {
    by_name: HashMap<Box<[u8]>, Arc<SubscriptionGroupConfig>, foldhash::fast::RandomState>,
    wanted: RefCell<Wanted>,
}

impl Groups {
    /// A group.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Arc<SubscriptionGroupConfig>> {
        self.by_name.get(name)
    }

    /// Replaces a group.
    pub(crate) fn set(&mut self, config: Arc<SubscriptionGroupConfig>) {
        let name = config.group_name.as_bytes();
        self.wanted.get_mut().asked.remove(name);
        match self.by_name.get_mut(name) {
            Some(group) => *group = config,
            None => {
                self.by_name.insert(name.into(), config);
            }
        }
    }

    /// Forgets a group; whether it was there.
    pub(crate) fn remove(&mut self, name: &[u8]) -> bool {
        self.by_name.remove(name).is_some()
    }

    /// Number of groups.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Every group, sorted by name.
    pub(crate) fn sorted(&self) -> Vec<&Arc<SubscriptionGroupConfig>> {
        let mut list: Vec<_> = self.by_name.values().collect();
        list.sort_unstable_by(|a, b| a.group_name.cmp(&b.group_name));
        list
    }

    /// Whether the group may consume: `None` when it does not exist and is not made on first use.
    pub(crate) fn may_consume(&self, name: &[u8], auto_create: bool) -> Option<bool> {
        if let Some(group) = self.by_name.get(name) {
            return Some(group.consume_enable);
        }
        let text = std::str::from_utf8(name).ok()?;
        if !auto_create || !is_group_name(text) {
            return None;
        }
        self.want(name);
        Some(true)
    }

    fn want(&self, name: &[u8]) {
        let mut wanted = self.wanted.borrow_mut();
        if wanted.asked.contains(name) {
            return;
        }
        if wanted.asked.len() >= WANTED_MAX {
            wanted.asked.clear();
        }
        wanted.asked.insert(name.into());
        wanted.fresh.push(name.into());
    }

    /// Groups to ask the metadata shard for, each once.
    pub(crate) fn take_wanted(&mut self) -> Vec<Box<[u8]>> {
        std::mem::take(&mut self.wanted.get_mut().fresh)
    }

    /// Whether there are such groups.
    pub(crate) fn has_wanted(&self) -> bool {
        !self.wanted.borrow().fresh.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_group_may_consume_and_is_asked_for_once() {
        let mut groups = Groups::default();
        assert_eq!(groups.may_consume(b"G", false), None);
        assert_eq!(groups.may_consume(b"bad group!", true), None);
        assert!(!groups.has_wanted());
        assert_eq!(groups.may_consume(b"G", true), Some(true));
        assert_eq!(groups.may_consume(b"G", true), Some(true));
        assert_eq!(groups.take_wanted(), [Box::from(&b"G"[..])]);
        let mut config = default_group("G");
        config.consume_enable = false;
        groups.set(Arc::new(config));
        assert_eq!(groups.may_consume(b"G", true), Some(false));
        assert!(groups.remove(b"G") && !groups.remove(b"G"));
        assert_eq!(groups.may_consume(b"G", true), Some(true));
        assert_eq!(groups.take_wanted().len(), 1, "a removed group is asked for again");
    }

    #[test]
    fn names_beyond_the_limit_are_not_made() {
        let groups = Groups::default();
        assert_eq!(groups.may_consume(&[b'g'; 120], true), Some(true));
        assert_eq!(groups.may_consume(&[b'g'; 121], true), None);
    }
}
