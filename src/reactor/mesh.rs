//! Mail between shards: one SPSC ring per ordered pair, one wake per sleeping peer and turn.
//!
//! A shard that is about to sleep hangs out its doorbell and looks at its rings once more; a sender that finds it there
//! takes it and wakes the peer's ring with MSG_RING (`sleep.rs`).

use crate::ring::Reactor;
use crate::sleep::Doorbell;
use base::ids::ShardId;
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;

/// Mail that fits one ring between two shards; more waits at the sender.
const RING_MAILS: usize = 4096;

struct Outbox<M> {
    ring: Producer<M>,
    waiting: VecDeque<M>,
    dirty: bool,
}

/// One shard's end of the mesh.
pub struct Mesh<M> {
    me: ShardId,
    outboxes: Vec<Option<Outbox<M>>>,
    inboxes: Vec<Option<Consumer<M>>>,
    bells: Arc<[Doorbell]>,
    /// This shard's ring; negative before `publish`.
    ring_fd: RawFd,
    next_inbox: usize,
}

/// Builds the mesh for `count` shards; part `i` goes to shard `i`.
pub fn build<M>(count: usize) -> Vec<Mesh<M>> {
    let bells: Arc<[Doorbell]> = (0..count).map(|_| Doorbell::new()).collect();
    let mut parts: Vec<Mesh<M>> = (0..count)
        .map(|i| Mesh {
            me: ShardId(u16::try_from(i).expect("fewer than 65536 shards")),
            outboxes: (0..count).map(|_| None).collect(),
            inboxes: (0..count).map(|_| None).collect(),
            bells: Arc::clone(&bells),
            ring_fd: -1,
            next_inbox: 0,
        })
        .collect();
    for from in 0..count {
        for to in (0..count).filter(|to| *to != from) {
            let (ring, inbox) = RingBuffer::new(RING_MAILS);
            parts[from].outboxes[to] =
                Some(Outbox { ring, waiting: VecDeque::new(), dirty: false });
            parts[to].inboxes[from] = Some(inbox);
        }
    }
    parts
}

impl<M> Mesh<M> {
    /// Number of shards.
    pub fn shard_count(&self) -> usize {
        self.bells.len()
    }

    /// This shard.
    pub fn me(&self) -> ShardId {
        self.me
    }

    /// Names the ring that this shard sleeps in, so that peers can wake it. Before the first turn.
    pub fn publish(&mut self, ring_fd: RawFd) {
        self.ring_fd = ring_fd;
    }

    /// Queues mail for another shard. It is seen at the peer's next turn, in order.
    pub fn send(&mut self, to: ShardId, mail: M) {
        let outbox = self.outboxes[to.index()].as_mut().expect("a shard does not mail itself");
        outbox.dirty = true;
        if outbox.waiting.is_empty() {
            if let Err(rtrb::PushError::Full(mail)) = outbox.ring.push(mail) {
                outbox.waiting.push_back(mail);
            }
        } else {
            outbox.waiting.push_back(mail);
        }
    }

    /// End of turn: moves what waited, wakes each sleeping peer that has new mail. True if some mail still waits.
    pub fn flush(&mut self, reactor: &mut Reactor) -> bool {
        let mut waits = false;
        for (outbox, bell) in self.outboxes.iter_mut().zip(self.bells.iter()) {
            let Some(outbox) = outbox else { continue };
            if !outbox.dirty {
                continue;
            }
            while let Some(mail) = outbox.waiting.pop_front() {
                if let Err(rtrb::PushError::Full(mail)) = outbox.ring.push(mail) {
                    outbox.waiting.push_front(mail);
                    break;
                }
            }
            outbox.dirty = !outbox.waiting.is_empty();
            waits |= outbox.dirty;
            if let Some(ring_fd) = bell.ring() {
                reactor.wake_peer(ring_fd);
            }
        }
        waits
    }

    /// Next mail from any peer, oldest first per peer.
    pub fn receive(&mut self) -> Option<(ShardId, M)> {
        let count = self.inboxes.len();
        for step in 0..count {
            let from = (self.next_inbox + step) % count;
            let Some(inbox) = &mut self.inboxes[from] else { continue };
            if let Ok(mail) = inbox.pop() {
                // The next call begins with the next peer, so that a flood from one does not keep others waiting.
                self.next_inbox = from + 1;
                let from = ShardId(u16::try_from(from).expect("fewer than 65536 shards"));
                return Some((from, mail));
            }
        }
        None
    }

    /// Announces sleep. False when mail is there: then the shard must not sleep.
    pub fn prepare_sleep(&mut self) -> bool {
        if self.bells.len() == 1 {
            return true;
        }
        let bell = &self.bells[self.me.index()];
        bell.announce(self.ring_fd, || self.inboxes.iter().flatten().any(|inbox| !inbox.is_empty()))
    }

    /// Takes the announcement back after waking for another reason.
    pub fn awake(&self) {
        self.bells[self.me.index()].withdraw();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_arrives_in_order_and_beyond_the_ring() {
        let mut parts = build::<usize>(2);
        let mut b = parts.pop().unwrap();
        let mut a = parts.pop().unwrap();
        for i in 0..RING_MAILS + 10 {
            a.send(ShardId(1), i);
        }
        let mut seen = Vec::new();
        let mut reactor = Reactor::new(crate::ReactorConfig::small()).unwrap();
        while seen.len() < RING_MAILS + 10 {
            while let Some((from, mail)) = b.receive() {
                assert_eq!(from, ShardId(0));
                seen.push(mail);
            }
            a.flush(&mut reactor);
        }
        assert!(seen.iter().copied().eq(0..RING_MAILS + 10));
    }

    #[test]
    fn a_shard_with_mail_does_not_sleep() {
        let mut parts = build::<u8>(2);
        parts[1].publish(7);
        assert!(parts[1].prepare_sleep());
        parts[1].awake();
        parts[0].send(ShardId(1), 1);
        assert!(!parts[1].prepare_sleep());
    }
}
