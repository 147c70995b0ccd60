//! Consumer offsets of this shard's queues, and their way to the metadata shard, which writes the files.
//!
//! Key `topic@group`, as in `consumerOffset.json`. Java counterpart: ConsumerOffsetManager.

use crate::app::{Broker, Host, TimerKind, timer_key};
use crate::mail::BrokerMail;
use base::ids::ShardId;
use hashbrown::HashMap;
use shard::Cx;
use std::sync::Arc;
use wire::ids::QueueId;

/// (topic, group) pairs of a shard; more are refused by being forgotten, with a line in the log.
const PAIRS_MAX: usize = 1_000_000;

struct Offset {
    queue: i32,
    offset: i64,
    changed: bool,
    /// An operator has set it, and no pull has been told yet.
    is_reset: bool,
}

/// Offsets by `topic@group`.
#[derive(Default)]
pub(crate) struct ConsumerOffsets {
    table: HashMap<Arc<[u8]>, Vec<Offset>, foldhash::fast::RandomState>,
    changed: Vec<(Arc<[u8]>, i32)>,
    key: Vec<u8>,
    /// So many are reset, or more: while there are none, nobody has to look.
    resets: usize,
}

/// The topic in a `topic@group` key.
pub(crate) fn topic_of(key: &[u8]) -> &[u8] {
    key.split(|b| *b == b'@').next().unwrap_or_default()
}

impl ConsumerOffsets {
    fn set_key(&mut self, topic: &[u8], group: &[u8]) {
        self.key.clear();
        self.key.extend_from_slice(topic);
        self.key.push(b'@');
        self.key.extend_from_slice(group);
    }

    /// An offset read from the file.
    pub(crate) fn load(&mut self, key: &Arc<[u8]>, queue: i32, offset: i64) {
        let list = self.table.entry(Arc::clone(key)).or_default();
        list.push(Offset { queue, offset, changed: false, is_reset: false });
    }

    /// Stores the next offset to consume.
    pub(crate) fn commit(&mut self, topic: &[u8], group: &[u8], queue: QueueId, offset: i64) {
        self.set_key(topic, group);
        if !self.table.contains_key(self.key.as_slice()) {
            if self.table.len() >= PAIRS_MAX {
                tracing::warn!(
                    "offsets of more than {PAIRS_MAX} (topic, group) pairs; one more is dropped"
                );
                return;
            }
            self.table.insert(Arc::from(self.key.as_slice()), Vec::new());
        }
        let (key, list) =
            self.table.get_key_value_mut(self.key.as_slice()).expect("inserted above");
        let found = match list.iter_mut().position(|o| o.queue == queue.0) {
            Some(at) => &mut list[at],
            None => {
                list.push(Offset { queue: queue.0, offset: -1, changed: false, is_reset: false });
                list.last_mut().expect("just pushed")
            }
        };
        if found.offset == offset {
            return;
        }
        found.offset = offset;
        if !found.changed {
            found.changed = true;
            self.changed.push((Arc::clone(key), queue.0));
        }
    }

    /// The stored offset.
    pub(crate) fn get(&mut self, topic: &[u8], group: &[u8], queue: QueueId) -> Option<i64> {
        self.set_key(topic, group);
        let list = self.table.get(self.key.as_slice())?;
        list.iter().find(|o| o.queue == queue.0).map(|o| o.offset)
    }

    /// Stores the offset that an operator wants; the next pull is told to go there.
    pub(crate) fn reset(&mut self, topic: &[u8], group: &[u8], queue: QueueId, offset: i64) {
        self.commit(topic, group, queue, offset);
        let found = self.find(topic, group, queue).filter(|found| !found.is_reset);
        if let Some(found) = found {
            found.is_reset = true;
            self.resets += 1;
        }
    }

    fn find(&mut self, topic: &[u8], group: &[u8], queue: QueueId) -> Option<&mut Offset> {
        self.set_key(topic, group);
        let list = self.table.get_mut(self.key.as_slice())?;
        list.iter_mut().find(|o| o.queue == queue.0)
    }

    /// Whether an operator has set the offset, and no pull has been told yet.
    pub(crate) fn is_reset(&mut self, topic: &[u8], group: &[u8], queue: QueueId) -> bool {
        self.resets > 0 && self.find(topic, group, queue).is_some_and(|found| found.is_reset)
    }

    /// The offset that an operator has set, for the one pull that is told.
    pub(crate) fn take_reset(&mut self, topic: &[u8], group: &[u8], queue: QueueId) -> Option<i64> {
        if self.resets == 0 {
            return None;
        }
        let found = self.find(topic, group, queue).filter(|found| found.is_reset)?;
        found.is_reset = false;
        let offset = found.offset;
        self.resets = self.resets.saturating_sub(1);
        Some(offset)
    }

    /// Forgets a deleted topic's offsets.
    pub(crate) fn remove_topic(&mut self, topic: &[u8]) {
        self.retain_topics(|of| of != topic);
    }

    /// Forgets the offsets of all topics but these.
    pub(crate) fn retain_topics(&mut self, is_kept: impl Fn(&[u8]) -> bool) {
        self.table.retain(|key, _| is_kept(topic_of(key)));
    }

    /// Forgets a deleted group's offsets.
    pub(crate) fn remove_group(&mut self, group: &[u8]) {
        let of_group = |key: &[u8]| key.splitn(2, |b| *b == b'@').nth(1) == Some(group);
        self.table.retain(|key, _| !of_group(key));
    }

    fn take_changed(&mut self) -> Vec<(Arc<[u8]>, i32, i64)> {
        let mut list = Vec::with_capacity(self.changed.len());
        for (key, queue) in std::mem::take(&mut self.changed) {
            let offsets = self.table.get_mut(&key);
            let found = offsets.and_then(|l| l.iter_mut().find(|o| o.queue == queue));
            if let Some(offset) = found {
                offset.changed = false;
                list.push((key, queue, offset.offset));
            }
        }
        list
    }
}

/// Starts the period of handing over.
pub(crate) fn arm<H: Host>(broker: &Broker, cx: &mut Cx<'_, H>) {
    let period = broker.settings.config.flush_consumer_offset_interval_ms;
    cx.set_timer(cx.now.mono.plus_ms(period), timer_key(TimerKind::Offsets, 0));
}

/// The period is over.
pub(crate) fn on_timer<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    hand_over(broker, cx, false);
    arm(broker, cx);
}

/// Mails changed offsets to the metadata shard; `last` also when there are none.
pub(crate) fn hand_over<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, last: bool) {
    crate::transactions::hand_over(broker, last);
    let changed = broker.offsets.take_changed();
    let delays = broker.delays.take_changed(last);
    if last || !changed.is_empty() || !delays.is_empty() {
        cx.mail(ShardId::META, BrokerMail::Offsets { changed, delays, last });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_offsets_are_handed_over_once_with_their_newest_value() {
        let mut offsets = ConsumerOffsets::default();
        offsets.commit(b"T", b"g", QueueId(1), 5);
        offsets.commit(b"T", b"g", QueueId(1), 7);
        offsets.commit(b"T", b"g", QueueId(1), 7);
        let changed = offsets.take_changed();
        assert_eq!(changed.len(), 1);
        assert_eq!((&*changed[0].0, changed[0].1, changed[0].2), (&b"T@g"[..], 1, 7));
        assert!(offsets.take_changed().is_empty());
        assert_eq!(offsets.get(b"T", b"g", QueueId(1)), Some(7));
        offsets.remove_topic(b"T");
        assert_eq!(offsets.get(b"T", b"g", QueueId(1)), None);
    }
}
