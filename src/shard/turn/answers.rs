//! The part of a turn that answers what has been stored: clients by their reply, the application by its ticket.

use super::Shard;
use crate::app::App;
use ha::ack_gate::Waiter;
use wire::codes::response;
use wire::reply::patch_refusal;

impl<A: App> Shard<A> {
    /// Hands out the replies whose messages are safe, or late.
    pub(super) fn release_replies(&mut self) {
        let Some(store) = self.store.as_mut() else { return };
        for (stream, gate) in &mut self.gates {
            if gate.is_empty() {
                continue;
            }
            let conns = &mut self.conns;
            let requests = &mut self.requests;
            let stored = &mut self.stored;
            let me = self.me;
            let limit_ms = self.config.sync_flush_timeout_ms;
            let refuse = |out: &mut Vec<u8>, at: usize| {
                let remark =
                    format!("stage flushed: not durable within syncFlushTimeout = {limit_ms} ms");
                patch_refusal(out, at, response::FLUSH_DISK_TIMEOUT, &remark);
            };
            let mut deliver = |waiter: Waiter, reply: &[u8], is_late: bool| {
                let conn = match waiter {
                    Waiter::Conn(conn) => conn,
                    Waiter::App(ticket) => return stored.push((ticket, !is_late)),
                };
                if conn.shard == me {
                    let out = conns.output(conn);
                    let at = out.len();
                    out.extend_from_slice(reply);
                    if is_late {
                        refuse(out, at);
                    }
                } else {
                    let mut bytes = conns.spare();
                    bytes.extend_from_slice(reply);
                    if is_late {
                        refuse(&mut bytes, 0);
                    }
                    requests.remote.push((conn, bytes));
                }
            };
            gate.release(store.stream(*stream).acknowledged(), |waiter, reply| {
                deliver(waiter, reply, false);
            });
            gate.expire(self.now.mono, |waiter, reply| deliver(waiter, reply, true));
        }
    }
}
