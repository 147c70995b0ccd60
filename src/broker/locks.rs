//! Queue locks of ordered consumers: a lease of 60 s per queue and group, renewed by its client.
//!
//! On the metadata shard. Limit: `LOCKS_MAX` leases. Java counterpart: RebalanceLockManager.

use base::time::MonoNs;
use hashbrown::{HashMap, HashSet};
use wire::body::MessageQueue;

/// Lifetime of a lease.
const LEASE_MS: u64 = 60_000;
/// Leases of one broker.
const LOCKS_MAX: usize = 1 << 20;
/// Bytes of each name in a lock.
const NAME_BYTES_MAX: usize = 1024;

struct Lease {
    client_id: Box<str>,
    until: MonoNs,
}

/// Leases by group and queue.
#[derive(Default)]
pub(crate) struct Locks {
    by_group: HashMap<Box<str>, HashMap<MessageQueue, Lease>>,
    count: usize,
}

impl Locks {
    /// Whether anybody holds a queue of the group.
    pub(crate) fn holds_any(&self, group: &str, now: MonoNs) -> bool {
        let leases = self.by_group.get(group);
        leases.is_some_and(|leases| leases.values().any(|lease| lease.until > now))
    }

    /// Takes or renews leases; returns the queues the client holds now. Errors: a limit is reached.
    pub(crate) fn lock(
        &mut self,
        group: &str,
        client_id: &str,
        queues: &[MessageQueue],
        now: MonoNs,
    ) -> Result<Vec<MessageQueue>, String> {
        let of_queues = queues.iter().flat_map(|queue| [&*queue.topic, &*queue.broker_name]);
        if let Some(name) = of_queues.chain([group, client_id]).find(|n| n.len() > NAME_BYTES_MAX) {
            let bytes = name.len();
            return Err(format!(
                "a name of {bytes} bytes in a lock, the limit is {NAME_BYTES_MAX}"
            ));
        }
        let mut held = Vec::new();
        let until = now.plus_ms(LEASE_MS);
        if !queues.is_empty() && !self.by_group.contains_key(group) {
            self.by_group.insert(group.into(), HashMap::new());
        }
        let Some(leases) = self.by_group.get_mut(group) else { return Ok(held) };
        let mut seen = HashSet::new();
        // A queue that is named twice is held once.
        for queue in queues.iter().filter(|queue| seen.insert(*queue)) {
            match leases.get_mut(queue) {
                Some(lease) if *lease.client_id == *client_id => lease.until = until,
                Some(lease) if lease.until <= now => {
                    *lease = Lease { client_id: client_id.into(), until };
                }
                Some(_) => continue,
                None if self.count >= LOCKS_MAX => {
                    return Err(format!(
                        "the broker holds {} queue locks, the limit is {LOCKS_MAX}",
                        self.count
                    ));
                }
                None => {
                    leases.insert(queue.clone(), Lease { client_id: client_id.into(), until });
                    self.count += 1;
                }
            }
            held.push(queue.clone());
        }
        Ok(held)
    }

    /// Gives leases back; those of other clients stay.
    pub(crate) fn unlock(&mut self, group: &str, client_id: &str, queues: &[MessageQueue]) {
        let Some(leases) = self.by_group.get_mut(group) else { return };
        for queue in queues {
            if leases.get(queue).is_some_and(|lease| *lease.client_id == *client_id) {
                leases.remove(queue);
                self.count -= 1;
            }
        }
    }

    /// Forgets leases that are over.
    pub(crate) fn expire(&mut self, now: MonoNs) {
        for leases in self.by_group.values_mut() {
            leases.retain(|_, lease| lease.until > now);
        }
        self.by_group.retain(|_, leases| !leases.is_empty());
        self.count = self.by_group.values().map(HashMap::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(id: i32) -> MessageQueue {
        MessageQueue { broker_name: "b".into(), queue_id: id, topic: "T".into() }
    }

    #[test]
    fn a_lease_belongs_to_one_client_until_it_is_over_or_given_back() {
        let mut locks = Locks::default();
        let at = |ms| MonoNs(1).plus_ms(ms);
        let both = [queue(0), queue(1)];
        assert_eq!(locks.lock("G", "a", &both, at(0)).unwrap(), both);
        assert_eq!(locks.lock("G", "b", &both, at(59_999)).unwrap(), []);
        assert_eq!(locks.lock("H", "b", &both, at(1)).unwrap(), both, "groups are apart");
        assert_eq!(locks.lock("G", "a", &both[..1], at(30_000)).unwrap(), both[..1]);
        assert_eq!(locks.lock("G", "b", &both, at(60_000)).unwrap(), both[1..]);
        locks.unlock("G", "b", &both);
        assert_eq!(locks.lock("G", "c", &both, at(60_001)).unwrap(), both[1..]);
        locks.expire(at(1_000_000));
        assert_eq!((locks.count, locks.by_group.len()), (0, 0));
    }

    #[test]
    fn the_number_of_leases_is_bounded() {
        let mut locks = Locks { count: LOCKS_MAX, ..Locks::default() };
        let error = locks.lock("G", "a", &[queue(0)], MonoNs(0)).unwrap_err();
        assert!(error.contains("1048576"), "{error}");
        let error = locks.lock(&"G".repeat(1025), "a", &[queue(0)], MonoNs(0)).unwrap_err();
        assert!(error.contains("1025 bytes"), "{error}");
    }
}
