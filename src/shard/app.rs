//! What runs on a shard: a broker, a name server, or both. The loop calls it; it never waits.

use crate::cx::Cx;
use base::ids::{ConnId, ShardId};
use base::time::MonoNs;
use std::net::SocketAddr;
use store::queues::QueueNo;
use wire::frame::Frame;

/// Which listener a connection came from; the application chooses the numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ListenerTag(pub u16);

/// Facts about a connection that the application may want.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Listener it arrived at; `None` for connections this process opened.
    pub listener: Option<ListenerTag>,
    /// Address of the other end.
    pub address: SocketAddr,
}

/// One thing that a stop waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Goodbye {
    /// What, for people.
    pub what: &'static str,
    /// Since when it is there.
    pub done: Option<MonoNs>,
}

/// The application on one shard. Every method runs to completion on the shard's thread.
pub trait App: Sized + 'static {
    /// Mail between the instances of this application on different shards.
    type Mail: Send + 'static;
    /// What background jobs answer.
    type Done: Send + 'static;

    /// Before the first turn.
    fn start(&mut self, cx: &mut Cx<'_, Self>);
    /// A connection was accepted.
    fn on_open(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId, peer: Peer);
    /// A connection that `Cx::connect` began is there, or is not (then it is closed, without `on_closed`).
    fn on_connected(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId, result: Result<(), i32>);
    /// A frame arrived.
    fn on_frame(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId, peer: Peer, frame: &Frame<'_>);
    /// Frames that are about to arrive, whole ones and perhaps a beginning: time to ask for the memory they need.
    fn look_ahead(&mut self, _cx: &mut Cx<'_, Self>, _peer: Peer, _data: &[u8]) {}
    /// A connection has ended.
    fn on_closed(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId);
    /// Mail from another shard.
    fn on_mail(&mut self, cx: &mut Cx<'_, Self>, from: ShardId, mail: Self::Mail);
    /// A timer that `Cx::set_timer` set has fired.
    fn on_timer(&mut self, cx: &mut Cx<'_, Self>, key: u64);
    /// A background job has finished.
    fn on_done(&mut self, cx: &mut Cx<'_, Self>, done: Self::Done);
    /// A read that `Cx::read_log` or `Cx::read_queue` asked for; short or empty at the end of a file.
    fn on_read(&mut self, cx: &mut Cx<'_, Self>, token: u64, result: Result<Vec<u8>, i32>);
    /// What `Cx::when_stored` waited for is safe; or, `in_time` false, it is stored, but was not flushed in time.
    fn on_stored(&mut self, cx: &mut Cx<'_, Self>, ticket: u64, in_time: bool);
    /// Readers of these queues can see more.
    fn on_news(&mut self, cx: &mut Cx<'_, Self>, queues: &[QueueNo]);
    /// The process is stopping: say goodbye, send no new work. Connections are closed a moment later.
    fn on_stop(&mut self, cx: &mut Cx<'_, Self>);
    /// Whether the goodbyes are done (or given up).
    fn may_stop(&self) -> bool;
    /// The goodbyes of this shard, for people.
    fn goodbyes(&self) -> Vec<Goodbye> {
        Vec::new()
    }
    /// How much longer than usual the goodbyes may take, ms.
    fn lingers_ms(&self) -> u64 {
        0
    }
}
