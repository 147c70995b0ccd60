//! What runs on a shard of this process: a broker, a name server, or both.

use base::ids::{ConnId, ShardId};
use broker::settings::Settings;
use broker::{BootTables, Broker, BrokerDone, BrokerMail, Host};
use namesrv::{NameServer, NamesrvDone, Seed};
use shard::{App, Cx, Goodbye, ListenerTag, Peer};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use store::queues::QueueNo;
use wire::codes::{MQ_VERSION_5_5_0, response};
use wire::frame::{Frame, SerializeType};
use wire::header::{FLAG_RESPONSE, Header};
use wire::reply::{FrameHead, FrameWriter};

/// Listener of the broker.
pub(super) const BROKER: ListenerTag = ListenerTag(1);
/// Second listener of the broker, for Java clients that ask two ports below.
pub(super) const BROKER_VIP: ListenerTag = ListenerTag(2);
/// Listener of the name server.
pub(super) const NAMESRV: ListenerTag = ListenerTag(3);

/// Told once by the broker, when its name servers know it; waited for by the main thread.
#[derive(Clone, Default)]
pub(super) struct Ready(Arc<(Mutex<bool>, Condvar)>);

impl Ready {
    fn tell(&self) {
        *self.0.0.lock().expect("nobody panics while holding it") = true;
        self.0.1.notify_all();
    }

    /// Waits until it is told, or for `limit`.
    pub(super) fn wait(&self, limit: Duration) {
        let told = self.0.0.lock().expect("nobody panics while holding it");
        let waited = self.0.1.wait_timeout_while(told, limit, |told| !*told);
        drop(waited.expect("nobody panics while holding it"));
    }
}

/// The application of every shard.
pub(super) struct Node {
    broker: Option<Broker>,
    namesrv: Option<NameServer>,
    ready: Option<Ready>,
    /// How long clients are asked to go elsewhere before a stop, ms.
    linger_ms: u64,
    lingers: bool,
}

/// Timer for the end of that time. Neither the broker nor the name server has such a key.
const TIMER_LINGER: u64 = u64::MAX;
/// Clients up to this `MQVersion` do not understand GO_AWAY (5.3.1): they are served until the end.
const GO_AWAY_UNKNOWN: i32 = 475;

/// What brokers on all shards are made from.
pub(super) type BrokerSeed = (Arc<Settings>, Arc<BootTables>);

/// Answers of background jobs.
pub(super) enum NodeDone {
    Broker(BrokerDone),
    Namesrv(NamesrvDone),
}

impl Host for Node {
    fn done(done: BrokerDone) -> NodeDone {
        NodeDone::Broker(done)
    }
}

impl Node {
    pub(super) fn new(
        id: ShardId,
        shards: usize,
        broker: Option<&BrokerSeed>,
        namesrv: Option<Seed>,
        ready: Ready,
    ) -> Node {
        let broker =
            broker.map(|(settings, tables)| Broker::new(Arc::clone(settings), id, shards, tables));
        if broker.is_none() {
            ready.tell();
        }
        let ready = (id == ShardId::META && broker.is_some()).then_some(ready);
        let namesrv = namesrv.map(NameServer::new);
        Node { broker, namesrv, ready, linger_ms: 0, lingers: false }
    }

    /// Asks clients to go elsewhere for so many ms before it stops.
    pub(super) fn lingering(mut self, linger_ms: u64) -> Node {
        self.linger_ms = linger_ms;
        self
    }

    /// Asks a client to go elsewhere; whether it was. Java: `enableShutdownGracefully`.
    fn sends_away(
        &self,
        cx: &mut Cx<'_, Self>,
        conn: ConnId,
        peer: Peer,
        frame: &Frame<'_>,
    ) -> bool {
        // In one process the broker says goodbye to the name server beside it.
        let is_beside = peer.listener == Some(NAMESRV) && self.broker.is_some();
        if !self.lingers || peer.listener.is_none() || is_beside {
            return false;
        }
        let Ok(header) = Header::decode(frame) else { return false };
        if header.is_response() || header.version <= GO_AWAY_UNKNOWN {
            return false;
        }
        if !header.is_oneway() {
            let head = FrameHead {
                serialize: SerializeType::Json,
                code: response::GO_AWAY,
                opaque: header.opaque,
                flag: FLAG_RESPONSE,
                version: MQ_VERSION_5_5_0,
            };
            let mut writer = FrameWriter::begin(cx.output(conn), head);
            writer.remark("please go away");
            writer.finish();
        }
        true
    }

    fn stop_broker(&mut self, cx: &mut Cx<'_, Self>) {
        if let Some(broker) = &mut self.broker {
            broker.on_stop(cx);
        }
    }

    fn announce(&mut self) {
        let booted = self.broker.as_ref().is_some_and(Broker::boot_ready);
        if booted && let Some(ready) = self.ready.take() {
            ready.tell();
        }
    }
}

impl App for Node {
    type Mail = BrokerMail;
    type Done = NodeDone;

    fn start(&mut self, cx: &mut Cx<'_, Self>) {
        if let Some(namesrv) = &mut self.namesrv {
            namesrv.start(cx);
        }
        if let Some(broker) = &mut self.broker {
            broker.start(cx);
        }
        self.announce();
    }

    fn on_open(&mut self, _cx: &mut Cx<'_, Self>, _conn: ConnId, _peer: Peer) {}

    fn on_connected(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId, result: Result<(), i32>) {
        if let Some(broker) = &mut self.broker {
            broker.on_connected(cx, conn, result);
        }
    }

    fn on_frame(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId, peer: Peer, frame: &Frame<'_>) {
        if self.lingers && self.sends_away(cx, conn, peer, frame) {
            return;
        }
        match (&mut self.namesrv, &mut self.broker) {
            (Some(namesrv), _) if peer.listener == Some(NAMESRV) => {
                namesrv.on_frame(cx, conn, peer, frame, NodeDone::Namesrv);
            }
            (_, Some(broker)) => {
                broker.on_frame(cx, conn, peer, frame);
                if peer.listener.is_none() {
                    self.announce();
                }
            }
            (_, None) => {}
        }
    }

    fn look_ahead(&mut self, cx: &mut Cx<'_, Self>, peer: Peer, data: &[u8]) {
        if let Some(broker) = self.broker.as_ref().filter(|_| peer.listener != Some(NAMESRV)) {
            broker.look_ahead(cx, data);
        }
    }

    fn on_closed(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId) {
        if let Some(namesrv) = &mut self.namesrv {
            namesrv.on_closed(cx, conn);
        }
        if let Some(broker) = &mut self.broker {
            broker.on_closed(cx, conn);
        }
    }

    fn on_mail(&mut self, cx: &mut Cx<'_, Self>, from: ShardId, mail: BrokerMail) {
        if let Some(broker) = &mut self.broker {
            broker.on_mail(cx, from, mail);
        }
    }

    fn on_timer(&mut self, cx: &mut Cx<'_, Self>, key: u64) {
        if key == TIMER_LINGER {
            self.lingers = false;
            self.linger_ms = 0;
            self.stop_broker(cx);
        } else if namesrv::owns_timer(key) {
            if let Some(namesrv) = &mut self.namesrv {
                namesrv.on_timer(cx, key);
            }
        } else if let Some(broker) = &mut self.broker {
            broker.on_timer(cx, key);
            self.announce();
        }
    }

    fn on_done(&mut self, cx: &mut Cx<'_, Self>, done: NodeDone) {
        match (done, &mut self.broker, &mut self.namesrv) {
            (NodeDone::Broker(done), Some(broker), _) => broker.on_done(cx, done),
            (NodeDone::Namesrv(done), _, Some(namesrv)) => {
                namesrv.on_done(cx, done, NodeDone::Namesrv);
            }
            (NodeDone::Broker(_), None, _) | (NodeDone::Namesrv(_), _, None) => {}
        }
    }

    fn on_read(&mut self, cx: &mut Cx<'_, Self>, token: u64, result: Result<Vec<u8>, i32>) {
        if let Some(broker) = &mut self.broker {
            broker.on_read(cx, token, result);
        }
    }

    fn on_stored(&mut self, cx: &mut Cx<'_, Self>, ticket: u64, in_time: bool) {
        if let Some(broker) = &mut self.broker {
            broker.on_stored(cx, ticket, in_time);
        }
    }

    fn on_news(&mut self, cx: &mut Cx<'_, Self>, queues: &[QueueNo]) {
        if let Some(broker) = &mut self.broker {
            broker.on_news(cx, queues);
        }
    }

    fn on_stop(&mut self, cx: &mut Cx<'_, Self>) {
        if self.linger_ms == 0 {
            self.stop_broker(cx);
            return;
        }
        self.lingers = true;
        cx.set_timer(cx.now.mono.plus_ms(self.linger_ms), TIMER_LINGER);
        if let Some(broker) = &mut self.broker {
            broker.on_leave(cx);
        }
    }

    fn goodbyes(&self) -> Vec<Goodbye> {
        let clients = Goodbye { what: "clients that are asked to go away", done: None };
        let clients = self.lingers.then_some(clients);
        clients.into_iter().chain(self.broker.iter().flat_map(Broker::goodbyes)).collect()
    }

    fn lingers_ms(&self) -> u64 {
        self.linger_ms
    }

    fn may_stop(&self) -> bool {
        !self.lingers
            && self.broker.as_ref().is_none_or(Broker::may_stop)
            && self.namesrv.as_ref().is_none_or(NameServer::may_stop)
    }
}
