//! The acknowledgement gate of one stream: replies that wait until the log is safe behind their message.
//!
//! Replies are parked encoded, in log order, and leave in that order when the frontier passes their end, or at
//! their deadline as "stored, but not flushed in time". The application may wait in the same line, by a number of its
//! own, for messages that no client sent. Limits: the broker's admission bounds what can be parked.

use base::ids::ConnId;
use base::time::MonoNs;
use std::collections::VecDeque;

/// Who waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiter {
    /// A client: it gets the frame.
    Conn(ConnId),
    /// The application itself, which knows it by this number.
    App(u64),
}

struct Ticket {
    end: u64,
    waiter: Waiter,
    len: usize,
    deadline: MonoNs,
    expired: bool,
}

/// Parked replies of one stream.
#[derive(Default)]
pub struct AckGate {
    tickets: VecDeque<Ticket>,
    bytes: VecDeque<u8>,
    /// Tickets before this one have expired already.
    unexpired_from: usize,
}

impl AckGate {
    /// Parks `reply` for `waiter` until the frontier reaches `end`.
    pub fn park(&mut self, end: u64, waiter: Waiter, reply: &[u8], deadline: MonoNs) {
        let in_order = self.tickets.back().is_none_or(|last| last.end <= end);
        assert!(in_order, "replies are parked in log order");
        self.bytes.extend(reply);
        self.tickets.push_back(Ticket { end, waiter, len: reply.len(), deadline, expired: false });
    }

    /// Hands out every reply whose message lies at or below `frontier`: who waits, and the frame.
    pub fn release(&mut self, frontier: u64, mut deliver: impl FnMut(Waiter, &[u8])) {
        while let Some(ticket) = self.tickets.pop_front_if(|t| t.end <= frontier) {
            self.unexpired_from = self.unexpired_from.saturating_sub(1);
            if !ticket.expired {
                deliver(ticket.waiter, contiguous(&mut self.bytes, 0, ticket.len));
            }
            self.bytes.drain(..ticket.len);
        }
        self.check_invariants();
    }

    /// Hands out every reply whose deadline has passed, to be sent with another code; its place stays taken.
    pub fn expire(&mut self, now: MonoNs, mut deliver: impl FnMut(Waiter, &[u8])) {
        let mut at: usize = self.tickets.iter().take(self.unexpired_from).map(|t| t.len).sum();
        while let Some(ticket) = self.tickets.get_mut(self.unexpired_from) {
            if ticket.deadline > now {
                return;
            }
            ticket.expired = true;
            deliver(ticket.waiter, contiguous(&mut self.bytes, at, ticket.len));
            at += ticket.len;
            self.unexpired_from += 1;
        }
    }

    /// Deadline of the oldest reply that still waits.
    pub fn next_deadline(&self) -> Option<MonoNs> {
        self.tickets.get(self.unexpired_from).map(|t| t.deadline)
    }

    /// Replies parked.
    pub fn len(&self) -> usize {
        self.tickets.len()
    }

    /// Whether nothing is parked.
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// What must hold after every step.
    pub fn check_invariants(&self) {
        assert!(self.unexpired_from <= self.tickets.len());
        debug_assert_eq!(self.tickets.iter().map(|t| t.len).sum::<usize>(), self.bytes.len());
    }
}

fn contiguous(bytes: &mut VecDeque<u8>, at: usize, len: usize) -> &[u8] {
    let wraps = bytes.as_slices().0.len() < at + len;
    if wraps {
        bytes.make_contiguous();
    }
    &bytes.as_slices().0[at..at + len]
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::ids::ShardId;

    fn conn(slot: u32) -> Waiter {
        Waiter::Conn(ConnId { shard: ShardId(0), slot, generation: 0 })
    }

    fn slot(waiter: Waiter) -> u32 {
        match waiter {
            Waiter::Conn(conn) => conn.slot,
            Waiter::App(number) => u32::try_from(number).unwrap(),
        }
    }

    #[test]
    fn replies_leave_in_order_and_only_behind_the_frontier() {
        let mut gate = AckGate::default();
        gate.park(10, conn(1), b"one", MonoNs(100));
        gate.park(20, conn(2), b"three", MonoNs(100));
        let mut out = Vec::new();
        gate.release(19, |c, bytes| out.push((slot(c), bytes.to_vec())));
        assert_eq!(out, [(1, b"one".to_vec())]);
        gate.release(20, |c, bytes| out.push((slot(c), bytes.to_vec())));
        assert_eq!(out[1], (2, b"three".to_vec()));
        assert!(gate.is_empty());
    }

    #[test]
    fn a_late_reply_is_handed_out_once() {
        let mut gate = AckGate::default();
        gate.park(10, conn(1), b"one", MonoNs(5));
        gate.park(20, conn(2), b"two", MonoNs(50));
        let mut late = Vec::new();
        gate.expire(MonoNs(6), |c, bytes| late.push((slot(c), bytes.to_vec())));
        gate.expire(MonoNs(7), |_, _| panic!("nothing else is due"));
        assert_eq!(late, [(1, b"one".to_vec())]);
        assert_eq!(gate.next_deadline(), Some(MonoNs(50)));
        let mut out = Vec::new();
        gate.release(20, |c, bytes| out.push((slot(c), bytes.to_vec())));
        assert_eq!(out, [(2, b"two".to_vec())]);
    }
}
