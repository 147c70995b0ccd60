//! What an application may do during a call: answer, mail, append, read, set timers, start jobs.

use crate::app::{App, Peer};
use crate::conns::Conns;
use crate::stages::Stages;
use crate::stalled::{NoRoom, StallLimits, Stalled, StalledFrames, Why};
use base::ids::{ConnId, ShardId};
use base::time::{MonoNs, Now};
use base::wheel::{TimerId, Wheel};
use ha::ack_gate::{AckGate, Waiter};
use std::net::SocketAddr;
use std::sync::Arc;
use store::index::IndexQuery;
use store::layout::consume_queue_ext::MapTest;
use store::{Appended, Store};
use wire::frame::Frame;
use wire::ids::{PhyOffset, QueueId, StreamId};

/// Mail between shards: the application's own, and bytes for connections of the receiver.
pub(crate) enum ShardMail<M> {
    /// For the application; sent while something was handled that was received at this time.
    App(M, MonoNs),
    /// Frames for a connection.
    Bytes(ConnId, Vec<u8>),
    /// Close a connection.
    Close(ConnId),
    /// So many frames of a connection that were handed over have been handled.
    Handled(ConnId, u32),
}

/// A job for the background thread.
pub type Job<D> = Box<dyn FnOnce() -> D + Send>;

/// What the application asked for during this turn and the loop carries out at its end.
pub(crate) struct Requests<A: App> {
    pub(crate) mail: Vec<(ShardId, ShardMail<A::Mail>)>,
    pub(crate) connects: Vec<(ConnId, SocketAddr)>,
    pub(crate) jobs: Vec<Job<A::Done>>,
    pub(crate) log_reads: Vec<LogRead>,
    pub(crate) queue_reads: Vec<QueueRead>,
    pub(crate) index_queries: Vec<(IndexQuery, u64)>,
    pub(crate) remote: Vec<(ConnId, Vec<u8>)>,
    pub(crate) handled: Vec<(ConnId, u32)>,
}

impl<A: App> Default for Requests<A> {
    fn default() -> Self {
        Requests {
            mail: Vec::new(),
            connects: Vec::new(),
            jobs: Vec::new(),
            log_reads: Vec::new(),
            queue_reads: Vec::new(),
            index_queries: Vec::new(),
            remote: Vec::new(),
            handled: Vec::new(),
        }
    }
}

impl<A: App> Requests<A> {
    pub(crate) fn is_empty(&self) -> bool {
        self.mail.is_empty()
            && self.connects.is_empty()
            && self.jobs.is_empty()
            && self.log_reads.is_empty()
            && self.queue_reads.is_empty()
            && self.index_queries.is_empty()
            && self.remote.is_empty()
            && self.handled.is_empty()
    }
}

pub(crate) struct LogRead {
    pub(crate) phy: PhyOffset,
    pub(crate) buffer: Vec<u8>,
    pub(crate) token: u64,
}

pub(crate) struct QueueRead {
    pub(crate) topic: Vec<u8>,
    pub(crate) queue: QueueId,
    pub(crate) first: i64,
    pub(crate) count: usize,
    pub(crate) test: Option<Arc<MapTest>>,
    pub(crate) token: u64,
}

/// The application's view of its shard for the length of one call.
pub struct Cx<'s, A: App> {
    /// Both clocks, read at the start of the turn.
    pub now: Now,
    /// The shard's part of the store; `None` where no broker runs.
    pub store: Option<&'s mut Store>,
    pub(crate) me: ShardId,
    pub(crate) shards: usize,
    /// When what is being handled was received, on whatever shard.
    pub(crate) since: MonoNs,
    pub(crate) stages: &'s Stages,
    pub(crate) conns: &'s mut Conns,
    pub(crate) gates: &'s mut Vec<(StreamId, AckGate)>,
    pub(crate) timers: &'s mut Wheel<u64>,
    pub(crate) requests: &'s mut Requests<A>,
    pub(crate) stalled: &'s mut StalledFrames,
    pub(crate) sync_flush_timeout_ms: u64,
    pub(crate) stall: StallLimits,
}

impl<A: App> Cx<'_, A> {
    /// This shard.
    pub fn me(&self) -> ShardId {
        self.me
    }

    /// Number of shards in the process.
    pub fn shard_count(&self) -> usize {
        self.shards
    }

    /// The store of a shard that runs a broker.
    pub fn store(&mut self) -> &mut Store {
        self.store.as_deref_mut().expect("a broker's shard has a store")
    }

    // ---- connections ----

    /// Where frames for `conn` are appended, on whatever shard it lives. Frames for a closed connection vanish.
    pub fn output(&mut self, conn: ConnId) -> &mut Vec<u8> {
        if conn.shard == self.me {
            return self.conns.output(conn);
        }
        remote_output(&mut self.requests.remote, self.conns, conn)
    }

    /// As `output`, together with the store, so that log bytes can be copied straight into a frame.
    pub fn output_and_store(&mut self, conn: ConnId) -> (&mut Vec<u8>, &mut Store) {
        let store = self.store.as_deref_mut().expect("a broker's shard has a store");
        if conn.shard == self.me {
            return (self.conns.output(conn), store);
        }
        (remote_output(&mut self.requests.remote, self.conns, conn), store)
    }

    /// Whether so much output waits for this connection that a large answer should not be added now.
    pub fn is_full(&self, conn: ConnId) -> bool {
        if conn.shard == self.me {
            return self.conns.is_full(conn);
        }
        let waiting = self.requests.remote.iter().rev().find(|(c, _)| *c == conn);
        waiting.is_some_and(|(_, bytes)| bytes.len() > crate::conns::OUTPUT_PAUSE_BYTES)
    }

    /// Opens a connection; `on_connected` follows.
    pub fn connect(&mut self, address: SocketAddr) -> ConnId {
        let conn = self.conns.reserve_outgoing(self.me);
        self.requests.connects.push((conn, address));
        conn
    }

    /// Closes a connection after what was written to it this far has been sent.
    pub fn close(&mut self, conn: ConnId) {
        if conn.shard == self.me {
            self.conns.close_after_output(conn);
        } else {
            self.requests.mail.push((conn.shard, ShardMail::Close(conn)));
        }
    }

    // ---- other shards ----

    /// Mails another shard's application. To itself: through the same call, at the end of the turn.
    pub fn mail(&mut self, to: ShardId, mail: A::Mail) {
        self.requests.mail.push((to, ShardMail::App(mail, self.since)));
    }

    /// A copy of a frame for another shard, in a buffer that may have been used before.
    pub fn copy(&mut self, frame: &Frame<'_>) -> Vec<u8> {
        let mut copy = self.conns.spare();
        copy.extend_from_slice(frame.bytes);
        copy
    }

    /// Takes a buffer back that came by mail.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.conns.recycle(buffer);
    }

    /// Counts a frame of `conn` that another shard is to handle: a connection has a limited number of them, so that
    /// answers do not come faster than it takes them. That shard calls `handled` for a frame that was counted.
    /// Returns whether it was counted: only frames of connections of this shard are.
    #[must_use]
    pub fn handed_over(&mut self, conn: ConnId) -> bool {
        let slot = self.conns.get(conn).filter(|_| conn.shard == self.me);
        slot.map(|slot| slot.handed_over += 1).is_some()
    }

    /// Counts a frame that was handled for a connection of another shard.
    pub fn handled(&mut self, conn: ConnId) {
        if conn.shard == self.me {
            self.conns.handled(conn, 1);
            return;
        }
        match self.requests.handled.iter_mut().find(|(other, _)| *other == conn) {
            Some((_, count)) => *count += 1,
            None => self.requests.handled.push((conn, 1)),
        }
    }

    // ---- acknowledgement ----

    /// Sends the reply that `encode` writes once `appended` is as safe as the configuration asks; `wait` false: now.
    pub fn acknowledge(
        &mut self,
        appended: Appended,
        conn: ConnId,
        wait: bool,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let safe = self.store().stream(appended.stream).acknowledged();
        if !wait || appended.end <= safe {
            encode(self.output(conn));
            return;
        }
        let mut reply = std::mem::take(&mut self.conns.scratch);
        reply.clear();
        encode(&mut reply);
        if !reply.is_empty() {
            self.park(appended, Waiter::Conn(conn), &reply);
        }
        self.conns.scratch = reply;
    }

    /// `App::on_stored` follows, in a later turn, once `appended` is as safe as an acknowledged message.
    pub fn when_stored(&mut self, appended: Appended, ticket: u64) {
        self.park(appended, Waiter::App(ticket), &[]);
    }

    fn park(&mut self, appended: Appended, waiter: Waiter, reply: &[u8]) {
        let deadline = self.now.mono.plus_ms(self.sync_flush_timeout_ms);
        let gate = self.gates.iter_mut().find(|(stream, _)| *stream == appended.stream);
        let (_, gate) = gate.expect("every stream of the shard has a gate");
        gate.park(appended.end, waiter, reply, deadline);
    }

    /// Holds a frame back until the log window has room. Errors: it has waited, or its connection holds its share; then
    /// refuse it.
    ///
    /// Asked before an append: `must_stall` keeps the order behind frames that already wait.
    pub fn stall(&mut self, conn: ConnId, peer: Peer, frame: &Frame<'_>) -> Result<(), NoRoom> {
        let limits = self.stall;
        let age_ms = |since: MonoNs| self.now.mono.since(since) / 1_000_000;
        if let Some(retry) = self.stalled.retry().filter(|retry| retry.is_last) {
            let why = Why::Waited(limits.wait_ms.unwrap_or(0));
            return Err(self.no_room(why, age_ms(retry.since)));
        }
        // Held back again, a frame keeps its deadline, and its bytes are those that were offered.
        if self.stalled.hold_again() {
            return Ok(());
        }
        if let Err(own) = self.stalled.admit(conn, frame.bytes.len(), &limits) {
            let oldest = self.stalled.front().map_or(self.since, |oldest| oldest.since);
            return Err(self.no_room(Why::Share(own), age_ms(oldest)));
        }
        let (since, deadline) = (self.since, limits.deadline(self.now.mono));
        self.stalled.push(Stalled { conn, peer, frame: frame.bytes.to_vec(), deadline, since });
        Ok(())
    }

    fn no_room(&self, why: Why, age_ms: u64) -> NoRoom {
        let mut found = NoRoom {
            why,
            age_ms,
            waiting: self.stalled.held(),
            requests_max: self.stall.requests_max,
            window_bytes: 0,
            missing_file: None,
        };
        for stream in self.store.as_deref().into_iter().flat_map(Store::streams) {
            found.window_bytes = stream.window().bytes();
            if stream.segments().lacks_room() {
                found.missing_file = Some(stream.segments().segment_bytes());
            }
        }
        found
    }

    /// Whether older frames wait for the window, so that this one has to wait too.
    pub fn must_stall(&self) -> bool {
        self.stalled.retry().is_none() && !self.stalled.is_empty()
    }

    // ---- time ----

    /// How long requests took to each stage on this shard.
    pub fn stages(&self) -> &Stages {
        self.stages
    }

    /// Sets a timer; `on_timer` gets `key`. Precision about 10 ms, never early.
    pub fn set_timer(&mut self, deadline: MonoNs, key: u64) -> TimerId {
        self.timers.set(deadline, key)
    }

    /// Cancels a timer that may have fired already.
    pub fn cancel_timer(&mut self, timer: TimerId) {
        self.timers.cancel(timer);
    }

    // ---- work that waits ----

    /// Runs a job on the shard's background thread, after those before it; `on_done` gets the answer.
    pub fn job(&mut self, job: Job<A::Done>) {
        self.requests.jobs.push(job);
    }

    /// Reads log bytes of one segment from its file; `on_read` gets them with `token`.
    pub fn read_log(&mut self, phy: PhyOffset, buffer: Vec<u8>, token: u64) {
        self.requests.log_reads.push(LogRead { phy, buffer, token });
    }

    /// Reads up to `count` 20-byte entries of a queue from its files; `on_read` gets them with `token`. Those of messages that
    /// `test` does not want have `PASSED_OVER` for a tags code.
    pub fn read_queue(
        &mut self,
        (topic, queue): (&[u8], QueueId),
        first: i64,
        count: usize,
        test: Option<Arc<MapTest>>,
        token: u64,
    ) {
        let topic = topic.to_vec();
        self.requests.queue_reads.push(QueueRead { topic, queue, first, count, test, token });
    }

    /// Looks a key up in the index files of this shard; `on_read` gets encoded `IndexHits` with `token`. What is not in
    /// the files yet is in the store: `Store::search_index`.
    pub fn query_index(&mut self, query: IndexQuery, token: u64) {
        self.requests.index_queries.push((query, token));
    }
}

fn remote_output<'r>(
    remote: &'r mut Vec<(ConnId, Vec<u8>)>,
    conns: &mut Conns,
    conn: ConnId,
) -> &'r mut Vec<u8> {
    let at = match remote.iter().rposition(|(c, _)| *c == conn) {
        Some(at) => at,
        None => {
            remote.push((conn, conns.spare()));
            remote.len() - 1
        }
    };
    &mut remote[at].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::Marks;
    use base::time::WallMs;
    use std::convert::Infallible;
    use store::queues::QueueNo;
    use wire::frame::split;

    /// An application that does nothing.
    struct Silent;

    impl App for Silent {
        type Mail = Infallible;
        type Done = Infallible;
        fn start(&mut self, _: &mut Cx<'_, Self>) {}
        fn on_open(&mut self, _: &mut Cx<'_, Self>, _: ConnId, _: Peer) {}
        fn on_connected(&mut self, _: &mut Cx<'_, Self>, _: ConnId, _: Result<(), i32>) {}
        fn on_frame(&mut self, _: &mut Cx<'_, Self>, _: ConnId, _: Peer, _: &Frame<'_>) {}
        fn on_closed(&mut self, _: &mut Cx<'_, Self>, _: ConnId) {}
        fn on_mail(&mut self, _: &mut Cx<'_, Self>, _: ShardId, _: Infallible) {}
        fn on_timer(&mut self, _: &mut Cx<'_, Self>, _: u64) {}
        fn on_done(&mut self, _: &mut Cx<'_, Self>, _: Infallible) {}
        fn on_read(&mut self, _: &mut Cx<'_, Self>, _: u64, _: Result<Vec<u8>, i32>) {}
        fn on_stored(&mut self, _: &mut Cx<'_, Self>, _: u64, _: bool) {}
        fn on_news(&mut self, _: &mut Cx<'_, Self>, _: &[QueueNo]) {}
        fn on_stop(&mut self, _: &mut Cx<'_, Self>) {}
        fn may_stop(&self) -> bool {
            true
        }
    }

    #[test]
    fn a_frame_that_waits_on_is_not_copied_and_keeps_its_place_and_its_time() {
        let me = ShardId(0);
        let conn = ConnId { shard: me, slot: 1, generation: 1 };
        let peer = Peer { listener: None, address: "127.0.0.1:1".parse().unwrap() };
        let bytes = [&6_i32.to_be_bytes()[..], &2_i32.to_be_bytes(), b"{}"].concat();
        let (frame, _) = split(&bytes).unwrap().unwrap();
        let (mut conns, mut gates, mut timers) =
            (Conns::new(me), Vec::new(), Wheel::new(MonoNs(0)));
        let (mut requests, mut stalled) = (Requests::default(), StalledFrames::default());
        let marks = Marks::new(None, MonoNs(0));
        let mut stall = |stalled: &mut StalledFrames, at_ms: u64| {
            let mono = MonoNs(at_ms * 1_000_000);
            let mut cx: Cx<'_, Silent> = Cx {
                now: Now { wall: WallMs(0), mono },
                store: None,
                me,
                shards: 1,
                since: mono,
                stages: marks.stages(),
                conns: &mut conns,
                gates: &mut gates,
                timers: &mut timers,
                requests: &mut requests,
                stalled,
                sync_flush_timeout_ms: 0,
                stall: StallLimits { requests_max: 10, wait_ms: Some(1000) },
            };
            cx.stall(conn, peer, &frame)
        };
        stall(&mut stalled, 0).unwrap();
        stall(&mut stalled, 1).unwrap();
        let (held, first) = (stalled.held(), stalled.front().unwrap().frame.as_ptr());
        for at_ms in 2..5 {
            let oldest = stalled.begin_retry(MonoNs(at_ms * 1_000_000)).unwrap();
            stall(&mut stalled, at_ms).unwrap();
            assert!(stalled.end_retry(oldest), "it waits on");
            let oldest = stalled.front().unwrap();
            assert_eq!((oldest.frame.as_ptr(), stalled.held()), (first, held));
            assert_eq!((oldest.since, oldest.deadline), (MonoNs(0), MonoNs(1_000_000_000)));
        }
        let oldest = stalled.begin_retry(MonoNs(1_000_000_000)).unwrap();
        let refused = stall(&mut stalled, 1000).unwrap_err();
        assert_eq!((refused.why, refused.age_ms), (Why::Waited(1000), 1000));
        assert!(!stalled.end_retry(oldest));
        assert_eq!(stalled.len(), 1, "it is refused, and the next one is the oldest");
        assert_eq!(stalled.front().unwrap().since, MonoNs(1_000_000));
    }
}
