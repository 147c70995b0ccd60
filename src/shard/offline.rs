//! A shard without a ring, for benches and tests: an application, its store and its connections, driven by hand.
//!
//! The device is always ready: whatever the store plans has happened at the end of the same turn, and jobs run at
//! once. One shard only, so mail goes to itself. No socket is there: input is handed in, output is handed out.

use crate::app::{App, ListenerTag, Peer};
use crate::conns::Conns;
use crate::cx::{Cx, Requests, ShardMail};
use crate::stages::Marks;
use crate::stalled::{StallLimits, StalledFrames};
use base::ids::{ConnId, ShardId};
use base::time::Now;
use base::wheel::Wheel;
use ha::ack_gate::{AckGate, Waiter};
use reactor::{SocketId, clock};
use std::net::SocketAddr;
use store::Store;
use store::op::StoreOp;
use store::queues::QueueNo;
use wire::frame;
use wire::ids::StreamId;

/// How long the application has for a synced message, ms; nothing here takes any time.
const SYNC_FLUSH_TIMEOUT_MS: u64 = 5_000;

/// See the module.
pub struct OfflineShard<A: App> {
    app: A,
    store: Store,
    conns: Conns,
    gates: Vec<(StreamId, AckGate)>,
    timers: Wheel<u64>,
    requests: Requests<A>,
    stalled: StalledFrames,
    now: Now,
    marks: Marks,
    ops: Vec<StoreOp>,
    due: Vec<u64>,
    news: Vec<QueueNo>,
    sockets: u32,
}

/// Borrows what a call into the application may use.
macro_rules! cx {
    ($shard:expr) => {
        Cx {
            now: $shard.now,
            store: Some(&mut $shard.store),
            me: ShardId::META,
            shards: 1,
            since: $shard.now.mono,
            stages: $shard.marks.stages(),
            conns: &mut $shard.conns,
            gates: &mut $shard.gates,
            timers: &mut $shard.timers,
            requests: &mut $shard.requests,
            stalled: &mut $shard.stalled,
            sync_flush_timeout_ms: SYNC_FLUSH_TIMEOUT_MS,
            stall: StallLimits::default(),
        }
    };
}

impl<A: App> OfflineShard<A> {
    /// A shard that has started.
    pub fn new(app: A, store: Store, now: Now) -> OfflineShard<A> {
        let gates = store.streams().map(|stream| (stream.id(), AckGate::default())).collect();
        let marks = Marks::new(Some(&store), now.mono);
        let mut shard = OfflineShard {
            app,
            marks,
            store,
            conns: Conns::new(ShardId::META),
            gates,
            timers: Wheel::new(now.mono),
            requests: Requests::default(),
            stalled: StalledFrames::default(),
            now,
            ops: Vec::new(),
            due: Vec::new(),
            news: Vec::new(),
            sockets: 0,
        };
        shard.app.start(&mut cx!(shard));
        shard.end_turn();
        shard
    }

    /// A connection from `address`.
    pub fn open(&mut self, listener: ListenerTag, address: SocketAddr) -> ConnId {
        let peer = Peer { listener: Some(listener), address };
        let conn = self.conns.accept(SocketId(self.sockets), peer, self.now.mono);
        self.sockets += 1;
        self.app.on_open(&mut cx!(self), conn, peer);
        conn
    }

    /// A turn that begins at `now`, with these whole frames as its only input. Panics when they are not.
    pub fn turn(&mut self, now: Now, conn: ConnId, mut frames: &[u8]) {
        self.now = now;
        self.marks.begin(now.mono, false);
        let peer = self.conns.get(conn).expect("the connection is open").peer;
        self.app.look_ahead(&mut cx!(self), peer, frames);
        while let Some((frame, used)) = frame::split(frames).expect("frames as handed in") {
            self.app.on_frame(&mut cx!(self), conn, peer, &frame);
            self.marks.request();
            frames = &frames[used..];
        }
        assert!(frames.is_empty(), "whole frames are handed in");
        self.end_turn();
    }

    /// What was answered since the last call; `output` is cleared first.
    pub fn take_output(&mut self, conn: ConnId, output: &mut Vec<u8>) {
        output.clear();
        std::mem::swap(output, self.conns.output(conn));
    }

    fn end_turn(&mut self) {
        self.timers.fire(self.now.mono, &mut self.due);
        let mut due = std::mem::take(&mut self.due);
        for key in due.drain(..) {
            self.app.on_timer(&mut cx!(self), key);
        }
        self.due = due;
        self.send_mail();
        self.tell_news();
        self.send_mail();
        self.marks.appended(Some(&self.store), self.now.mono);
        if self.marks.has_news() {
            self.marks.handled(Some(&self.store), clock::mono());
        }
        self.complete_everything();
        self.marks.completed(Some(&self.store));
        self.tell_news();
        let (conns, store) = (&mut self.conns, &self.store);
        let mut stored = Vec::new();
        for (stream, gate) in &mut self.gates {
            gate.release(store.stream(*stream).acknowledged(), |waiter, reply| match waiter {
                Waiter::Conn(conn) => conns.output(conn).extend_from_slice(reply),
                Waiter::App(ticket) => stored.push(ticket),
            });
        }
        for ticket in stored {
            self.app.on_stored(&mut cx!(self), ticket, true);
        }
        self.marks.released(Some(&self.store));
        for job in std::mem::take(&mut self.requests.jobs) {
            let done = job();
            self.app.on_done(&mut cx!(self), done);
        }
        self.send_mail();
    }

    fn send_mail(&mut self) {
        while !self.requests.mail.is_empty() {
            match self.requests.mail.remove(0).1 {
                ShardMail::App(mail, _) => self.app.on_mail(&mut cx!(self), ShardId::META, mail),
                ShardMail::Close(conn) => self.conns.close_after_output(conn),
                ShardMail::Bytes(..) | ShardMail::Handled(..) => {
                    unreachable!("there is no other shard")
                }
            }
        }
    }

    fn tell_news(&mut self) {
        let mut news = std::mem::take(&mut self.news);
        while self.store.has_news() {
            self.store.take_news(&mut news);
            self.app.on_news(&mut cx!(self), &news);
        }
        self.news = news;
    }

    fn complete_everything(&mut self) {
        loop {
            self.store.plan(self.now, &mut self.ops);
            if self.ops.is_empty() {
                break;
            }
            for op in self.ops.drain(..) {
                complete(&mut self.store, &op);
            }
        }
        while self.store.plan_queues(self.now.mono).is_some() {
            self.store.on_queues(None, self.now.mono);
        }
    }
}

/// Tells the store that an operation has succeeded.
pub fn complete(store: &mut Store, op: &StoreOp) {
    match op {
        StoreOp::CreateSegment { stream, base } => store.on_segment(*stream, *base, None),
        StoreOp::WriteLog { tag, .. }
        | StoreOp::WritePartial { tag, .. }
        | StoreOp::ZeroLog { tag, .. }
        | StoreOp::SyncLog { tag, .. } => store.on_done(*tag, None),
    }
}
