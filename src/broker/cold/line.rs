//! A waiting line that is fair among groups: each group's things come in their order, the groups in turn.
//!
//! It also counts what each group has in flight, in bytes and jobs, so that a group at its limit is passed over. Groups
//! are known by a hash; two of the same hash share a place. A group that has nothing here costs nothing; what is
//! allocated is kept for the next one.

use hashbrown::HashMap;
use std::collections::VecDeque;

/// Hash of a group's name, or what stands for one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct GroupKey(pub(crate) u64);

struct Group<T> {
    key: GroupKey,
    waiting: VecDeque<T>,
    /// In flight.
    jobs: u32,
    bytes: u64,
}

/// See the module.
pub(crate) struct Line<T> {
    by_key: HashMap<GroupKey, u32, foldhash::fast::RandomState>,
    groups: Vec<Group<T>>,
    free: Vec<u32>,
    /// Groups that wait; the first one is next.
    turn: VecDeque<u32>,
    waiting: usize,
}

impl<T> Default for Line<T> {
    fn default() -> Line<T> {
        Line {
            by_key: HashMap::default(),
            groups: Vec::new(),
            free: Vec::new(),
            turn: VecDeque::new(),
            waiting: 0,
        }
    }
}

impl<T> Line<T> {
    /// Number of things in line.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    /// Puts something at the end of its group's line.
    pub(crate) fn push(&mut self, key: GroupKey, thing: T) {
        let at = self.find_or_add(key);
        let group = self.group(at);
        group.waiting.push_back(thing);
        if group.waiting.len() == 1 {
            self.turn.push_back(at);
        }
        self.waiting += 1;
    }

    /// As `push`, as long as there is room: a group may have as many things in line as there are places left of `max`.
    /// One group so never takes the last place from another. Error: the thing.
    pub(crate) fn push_within(&mut self, key: GroupKey, thing: T, max: usize) -> Result<(), T> {
        let own = self.find(key).map_or(0, |group| group.waiting.len());
        if own >= max.saturating_sub(self.waiting) {
            return Err(thing);
        }
        self.push(key, thing);
        Ok(())
    }

    /// The next thing of the next group that has fewer than `bytes_max` in flight.
    pub(crate) fn pop(&mut self, bytes_max: u64) -> Option<T> {
        for _ in 0..self.turn.len() {
            let at = self.turn.pop_front()?;
            let group = self.group(at);
            if group.bytes >= bytes_max {
                self.turn.push_back(at);
                continue;
            }
            let thing = group.waiting.pop_front().expect("a group in turn waits");
            if group.waiting.is_empty() {
                self.leave(at);
            } else {
                self.turn.push_back(at);
            }
            self.waiting -= 1;
            return Some(thing);
        }
        None
    }

    /// Whether something of the group may begin at once: nothing of it waits, and it has fewer bytes in flight.
    pub(crate) fn may_begin(&self, key: GroupKey, bytes_max: u64) -> bool {
        let group = self.find(key);
        group.is_none_or(|group| group.waiting.is_empty() && group.bytes < bytes_max)
    }

    /// Bytes that the group has in flight.
    pub(crate) fn bytes(&self, key: GroupKey) -> u64 {
        self.find(key).map_or(0, |group| group.bytes)
    }

    /// Something of the group is in flight with so many bytes.
    pub(crate) fn begin(&mut self, key: GroupKey, bytes: u64) {
        let at = self.find_or_add(key);
        let group = self.group(at);
        group.jobs += 1;
        group.bytes += bytes;
    }

    /// What `begin` was told has ended.
    pub(crate) fn end(&mut self, key: GroupKey, bytes: u64) {
        let at = *self.by_key.get(&key).expect("a group in flight is known");
        let group = self.group(at);
        group.jobs -= 1;
        group.bytes -= bytes;
        self.leave(at);
    }

    fn find(&self, key: GroupKey) -> Option<&Group<T>> {
        self.groups.get(*self.by_key.get(&key)? as usize)
    }

    fn group(&mut self, at: u32) -> &mut Group<T> {
        self.groups.get_mut(at as usize).expect("a group that is known")
    }

    fn find_or_add(&mut self, key: GroupKey) -> u32 {
        if let Some(at) = self.by_key.get(&key) {
            return *at;
        }
        let at = match self.free.pop() {
            Some(at) => {
                self.group(at).key = key;
                at
            }
            None => {
                self.groups.push(Group { key, waiting: VecDeque::new(), jobs: 0, bytes: 0 });
                u32::try_from(self.groups.len() - 1).expect("bounded by what waits")
            }
        };
        self.by_key.insert(key, at);
        at
    }

    /// Forgets a group that has nothing here.
    fn leave(&mut self, at: u32) {
        let group = self.group(at);
        if group.waiting.is_empty() && group.jobs == 0 {
            let key = group.key;
            self.by_key.remove(&key);
            self.free.push(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: GroupKey = GroupKey(1);
    const B: GroupKey = GroupKey(2);
    const C: GroupKey = GroupKey(3);

    #[test]
    fn groups_take_turns_whatever_each_has_in_line() {
        let mut line = Line::default();
        (0..1000).for_each(|n| line.push(A, n));
        line.push(B, 1000);
        (1001..1003).for_each(|n| line.push(C, n));
        let first: Vec<i32> = (0..7).filter_map(|_| line.pop(u64::MAX)).collect();
        assert_eq!(first, [0, 1000, 1001, 1, 1002, 2, 3]);
        assert_eq!(line.len(), 996);
    }

    #[test]
    fn a_group_at_its_limit_is_passed_over_until_something_of_it_ends() {
        let mut line = Line::default();
        line.begin(A, 70);
        assert!(line.may_begin(A, 100));
        line.begin(A, 30);
        assert!(!line.may_begin(A, 100) && line.may_begin(B, 100));
        line.push(A, "a");
        line.push(B, "b");
        assert_eq!((line.pop(100), line.pop(100)), (Some("b"), None));
        assert_eq!(line.pop(101), Some("a"), "the limit may change");
        line.push(A, "a");
        line.end(A, 30);
        assert!(!line.may_begin(A, 100), "what came before is first");
        assert_eq!(line.pop(100), Some("a"));
        assert_eq!(line.bytes(A), 70);
    }

    #[test]
    fn one_group_leaves_room_for_others() {
        let mut line = Line::default();
        let mut fill =
            |key| (0..1000).take_while(|n| line.push_within(key, *n, 1000).is_ok()).count();
        assert_eq!((fill(A), fill(B), fill(C)), (500, 250, 125));
    }

    #[test]
    fn a_group_that_has_nothing_here_leaves_its_place_to_another() {
        let mut line = Line::default();
        for n in 0..1000 {
            line.push(GroupKey(n), n);
            assert_eq!(line.pop(u64::MAX), Some(n));
            line.begin(GroupKey(n), 1);
            line.end(GroupKey(n), 1);
        }
        assert_eq!((line.groups.len(), line.by_key.len()), (1, 0));
    }
}
