//! One broker instance: its tables, and the calls of the shard loop.

use crate::ahead;
use crate::bit_maps::BitMaps;
use crate::cold::ColdPulls;
use crate::delay::Delays;
use crate::detour::TIMER_TOPIC;
use crate::handlers::meta::Meta;
use crate::handlers::meta::clean::NotNoted;
use crate::handlers::meta::times::Times;
use crate::handlers::{self, Outcome, Request};
use crate::mail::{BrokerDone, BrokerMail};
use crate::offsets::ConsumerOffsets;
use crate::parked::ParkedPulls;
use crate::put::Puts;
use crate::refusal::Refusal;
use crate::scatter::Scatters;
use crate::settings::Settings;
use crate::timer::{Timer, TimerBoot};
use crate::topics::TopicTable;
use crate::traffic::Traffic;
use crate::transactions::Transactions;
use crate::wanted::SqlCache;
use base::ids::{ConnId, ShardId};
use base::time::WallMs;
use shard::store_dir::Recovered;
use shard::{App, Cx, Goodbye, Peer};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::queues::{QueueNo, stream_of};
use store::read::Piece;
use wire::codes::{self, response};
use wire::frame::Frame;
use wire::header::Header;
use wire::ids::{QueueId, StreamId};
use wire::req::send_scan;

/// The process's application around a broker: it knows how to carry the broker's mail and job answers.
pub trait Host: App<Mail = BrokerMail> {
    /// Wraps an answer of a background job of the broker.
    fn done(done: BrokerDone) -> Self::Done;
}

/// What a timer of the broker is for: the top byte of its key. Keys with bit 63 set belong to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimerKind {
    /// A parked pull's time is up.
    Parked = 1,
    /// Changed offsets go to the metadata shard.
    Offsets = 2,
    /// Something of the metadata families.
    Meta = 3,
    /// Memory of reads of old messages that may be idle.
    Cold = 4,
    /// Reads of old messages that wait for a later turn.
    ColdLine = 5,
    /// Messages of the broker's own that wait for the log.
    Put = 6,
    /// A delay level's next message.
    Delay = 7,
    /// The timer's next slot or message.
    Timer = 8,
    /// Something of transactions.
    Transactions = 9,
    /// A sample of the traffic.
    Traffic = 10,
}

/// Key of a timer: kind in the top byte, 56 bits for the kind's own use.
pub(crate) fn timer_key(kind: TimerKind, value: u64) -> u64 {
    (kind as u64) << 56 | value & ((1 << 56) - 1)
}

/// A broker on one shard.
pub struct Broker {
    pub(crate) settings: Arc<Settings>,
    pub(crate) me: ShardId,
    pub(crate) shards: usize,
    pub(crate) topics: TopicTable,
    pub(crate) offsets: ConsumerOffsets,
    pub(crate) parked: ParkedPulls,
    pub(crate) cold: ColdPulls,
    /// Expressions of pulls that bring their own.
    pub(crate) expressions: SqlCache,
    /// Filters that are evaluated when a message is stored.
    pub(crate) bit_maps: BitMaps,
    /// Makes keys of group names.
    pub(crate) group_hash: foldhash::fast::RandomState,
    pub(crate) queries: handlers::query::Queries,
    pub(crate) scatters: Scatters,
    pub(crate) puts: Puts,
    pub(crate) delays: Delays,
    pub(crate) timer: Option<Box<Timer>>,
    /// What the timer's files held at the start, on the shard that owns the timer.
    pub(crate) timer_boot: Option<TimerBoot>,
    pub(crate) transactions: Transactions,
    pub(crate) traffic: Traffic,
    pub(crate) times: Times,
    /// How far each delay level was at the start.
    pub(crate) delay_offsets: BTreeMap<i32, i64>,
    /// The shard stops, and owes its last offsets.
    pub(crate) owes_offsets: bool,
    pub(crate) meta: Meta,
    pub(crate) stopping: bool,
    /// Scratch of the send path: decoded properties.
    pub(crate) properties: Vec<u8>,
    /// Scratch of batches.
    pub(crate) batch: handlers::send::BatchScratch,
    /// Scratch of the pull path: chosen records.
    pub(crate) pieces: Vec<Piece>,
}

/// Tables read from the store's `config/` directory before the shards start.
pub struct BootTables {
    /// Consumer offsets: `topic@group`, queue, offset.
    pub offsets: Vec<(Arc<[u8]>, i32, i64)>,
    /// The timer's files, unless it is off.
    pub timer: Option<TimerBoot>,
    /// Topics and groups.
    pub meta: crate::handlers::meta::MetaBoot,
}

impl BootTables {
    /// Keeps all values by key, for requests that ask for them or change them. What they change goes to the file that
    /// `brokerConfigPath` names, if there is one.
    pub fn keep_configuration(&mut self, table: base::config::Config) {
        let file = table.text("brokerConfigPath");
        self.meta.config_file = (!file.is_empty()).then(|| file.into());
        self.meta.table = Some(table);
    }

    /// How long the store took to open, and what was read of its log for that.
    pub fn keep_recovery(&mut self, ms: u64, recovered: Recovered) {
        self.meta.recovery = (ms, recovered);
    }

    /// The last process has crashed. What it had heard last of groups with expressions is lost: bit maps of before may be
    /// those of other expressions.
    pub fn distrust_bit_maps(&mut self, now: WallMs) {
        self.meta.filters.begin_anew(now);
    }
}

impl Broker {
    /// A broker on shard `me` of `shards`.
    pub fn new(settings: Arc<Settings>, me: ShardId, shards: usize, boot: &BootTables) -> Broker {
        let mut topics = TopicTable::default();
        for config in &boot.meta.topics {
            topics.set(Arc::clone(config));
        }
        let bit_maps = handlers::meta::bit_maps(&settings, &boot.meta);
        let mut broker = Broker {
            traffic: Traffic::new(&settings),
            times: Times::default(),
            meta: Meta::new(&settings, me, &boot.meta),
            settings,
            me,
            shards,
            topics,
            offsets: ConsumerOffsets::default(),
            parked: ParkedPulls::default(),
            cold: ColdPulls::default(),
            expressions: SqlCache::default(),
            bit_maps,
            group_hash: foldhash::fast::RandomState::default(),
            queries: handlers::query::Queries::default(),
            scatters: Scatters::default(),
            puts: Puts::default(),
            delays: Delays::default(),
            timer: None,
            timer_boot: None,
            transactions: Transactions::default(),
            delay_offsets: boot.meta.delays.offset_table.clone(),
            owes_offsets: false,
            stopping: false,
            properties: Vec::new(),
            batch: handlers::send::BatchScratch::default(),
            pieces: Vec::new(),
        };
        if broker.is_mine(TIMER_TOPIC, QueueId(0)) {
            broker.timer_boot.clone_from(&boot.timer);
        }
        for (key, queue, offset) in &boot.offsets {
            broker.meta.load_offset(key, *queue, *offset);
            if broker.is_mine(crate::offsets::topic_of(key), QueueId(*queue)) {
                broker.offsets.load(key, *queue, *offset);
            }
        }
        broker
    }

    /// Stream of a queue's new messages.
    pub(crate) fn stream_of(&self, topic: &[u8], queue: QueueId) -> StreamId {
        stream_of(topic, queue, self.settings.streams)
    }

    /// Shard that owns a queue.
    pub(crate) fn owner(&self, topic: &[u8], queue: QueueId) -> ShardId {
        crate::mail::shard_of(self.stream_of(topic, queue), self.shards)
    }

    /// Whether this shard owns a queue.
    pub(crate) fn is_mine(&self, topic: &[u8], queue: QueueId) -> bool {
        self.shards == 1 || self.owner(topic, queue) == self.me
    }

    /// Whether this shard is the writer of metadata.
    pub(crate) fn is_meta(&self) -> bool {
        self.me == ShardId::META
    }

    // ---- calls of the loop ----

    /// Before the first turn.
    pub fn start<H: Host>(&mut self, cx: &mut Cx<'_, H>) {
        crate::offsets::arm(self, cx);
        handlers::meta::start(self, cx);
        crate::delay::start(self, cx);
        crate::timer::start(self, cx);
        crate::transactions::start(self, cx);
        crate::traffic::start(self, cx);
    }

    /// Frames that are about to be handled lie in `data`.
    pub fn look_ahead<H: Host>(&self, cx: &mut Cx<'_, H>, data: &[u8]) {
        ahead::look_ahead(self, cx, data);
    }

    /// A frame arrived.
    pub fn on_frame<H: Host>(
        &mut self,
        cx: &mut Cx<'_, H>,
        conn: ConnId,
        peer: Peer,
        frame: &Frame<'_>,
    ) {
        let mut properties = std::mem::take(&mut self.properties);
        let scanned = send_scan::scan(frame, &mut properties);
        if let Some((header, send)) = &scanned
            && !header.is_response()
        {
            let request = Request { conn, peer, header: *header, frame };
            let outcome = handlers::send::on_scanned(self, cx, &request, send, &mut properties);
            self.properties = properties;
            self.conclude(cx, &request, outcome);
            return;
        }
        self.properties = properties;
        let header = match Header::decode(frame) {
            Ok(header) => header,
            Err(error) => {
                tracing::warn!("connection {conn} from {}: {error}; closed", peer.address);
                cx.close(conn);
                return;
            }
        };
        if header.is_response() {
            if self.is_meta() {
                handlers::meta::on_response(self, cx, conn, &header, frame);
            } else {
                let request = Request { conn, peer, header, frame };
                self.conclude(cx, &request, Outcome::Forward(ShardId::META));
            }
            return;
        }
        let request = Request { conn, peer, header, frame };
        let outcome = match handlers::find::<H>(request.header.code) {
            Some(_) if self.stopping && handlers::is_new_work(request.header.code) => {
                Outcome::Refuse(Refusal::stopping())
            }
            Some(row) if row.home == handlers::Home::Meta && !self.is_meta() => {
                Outcome::Forward(ShardId::META)
            }
            Some(row) => (row.run)(self, cx, &request),
            None => Outcome::Refuse(not_supported(request.header.code)),
        };
        self.conclude(cx, &request, outcome);
        handlers::meta::after_frame(self, cx);
    }

    fn conclude<H: Host>(&mut self, cx: &mut Cx<'_, H>, request: &Request<'_>, outcome: Outcome) {
        match outcome {
            Outcome::Done => {}
            Outcome::Refuse(refusal) => request.refuse(cx, &refusal),
            Outcome::Forward(to) => {
                let (conn, peer) = (request.conn, request.peer);
                let frame = cx.copy(request.frame);
                let counted = cx.handed_over(conn);
                cx.mail(to, BrokerMail::Request { conn, peer, frame, counted });
            }
            Outcome::Stall => {
                if let Err(no_room) = cx.stall(request.conn, request.peer, request.frame) {
                    request.refuse(cx, &Refusal::new(response::SYSTEM_BUSY, no_room.to_string()));
                }
            }
        }
    }

    /// Mail from another shard (or from this one, to itself).
    pub fn on_mail<H: Host>(&mut self, cx: &mut Cx<'_, H>, from: ShardId, mail: BrokerMail) {
        match mail {
            BrokerMail::Request { conn, peer, frame, counted } => {
                if let Ok(Some((frame, _))) = wire::frame::split(&frame) {
                    self.on_frame(cx, conn, peer, &frame);
                }
                cx.recycle(frame);
                if counted {
                    cx.handled(conn);
                }
            }
            BrokerMail::EnsureTopic { conn, peer, frame } => {
                handlers::meta::topic::ensure(self, cx, conn, peer, frame);
            }
            BrokerMail::Topic { config, scatter } => {
                self.topics.set(config);
                cx.mail(from, BrokerMail::Receipt(scatter));
            }
            BrokerMail::TopicRemoved { topic, not_noted, scatter } => {
                self.forget_topic(cx, &topic, not_noted);
                // The files' jobs come first: what was said to be deleted is, whatever happens then.
                cx.job(Box::new(move || H::done(BrokerDone::Receipt { to: from, scatter })));
            }
            BrokerMail::Receipt(scatter) => {
                if let Some(then) = self.scatters.receipt(scatter) {
                    crate::scatter::finish(self, cx, then);
                }
            }
            BrokerMail::ConnClosed(conn) => {
                crate::parked::on_conn_closed(self, cx, conn);
                if self.is_meta() {
                    handlers::meta::session::on_conn_closed(self, cx, conn);
                }
            }
            BrokerMail::Offsets { changed, delays, last } => {
                handlers::meta::on_offsets(self, cx, changed, delays, last);
            }
            BrokerMail::Transactions(mail) => {
                crate::transactions::on_mail(self, cx, from, mail);
            }
            BrokerMail::Put(mail) => crate::put::on_mail(self, cx, mail),
            BrokerMail::Timer(mail) => crate::timer::on_mail(self, cx, mail),
            BrokerMail::OwnRead(read) => crate::own_reads::on_mail(self, cx, read),
            BrokerMail::Query(mail) => handlers::query::on_mail(self, cx, from, mail),
            BrokerMail::Entries(ask) => handlers::entries::on_mail(self, cx, ask),
            BrokerMail::Meta(mail) => handlers::meta::on_mail(self, cx, from, mail),
        }
    }

    /// Drops everything this shard has of a deleted topic.
    pub(crate) fn forget_topic<H: Host>(
        &mut self,
        cx: &mut Cx<'_, H>,
        topic: &[u8],
        not_noted: NotNoted,
    ) {
        handlers::meta::clean::remove_topic(self, cx, topic, not_noted);
        self.topics.remove(topic);
        self.offsets.remove_topic(topic);
        if self.settings.config.housekeeping.auto_delete_unused_stats {
            self.traffic.remove_topic(topic, cx.store());
        }
    }

    /// A connection has ended.
    pub fn on_closed<H: Host>(&mut self, cx: &mut Cx<'_, H>, conn: ConnId) {
        for shard in (0u16..).take(self.shards).map(ShardId) {
            cx.mail(shard, BrokerMail::ConnClosed(conn));
        }
        if self.is_meta() {
            handlers::meta::on_own_conn_closed(self, cx, conn);
        }
    }

    /// A connection of ours is there, or is not.
    pub fn on_connected<H: Host>(
        &mut self,
        cx: &mut Cx<'_, H>,
        conn: ConnId,
        result: Result<(), i32>,
    ) {
        handlers::meta::on_connected(self, cx, conn, result);
    }

    /// A timer with one of our keys.
    pub fn on_timer<H: Host>(&mut self, cx: &mut Cx<'_, H>, key: u64) {
        let value = key & ((1 << 56) - 1);
        match key >> 56 {
            k if k == TimerKind::Parked as u64 => crate::parked::on_timer(self, cx, value),
            k if k == TimerKind::Offsets as u64 => crate::offsets::on_timer(self, cx),
            k if k == TimerKind::Cold as u64 => crate::cold::on_timer(self, cx),
            k if k == TimerKind::ColdLine as u64 => crate::cold::on_line(self, cx),
            k if k == TimerKind::Put as u64 => crate::put::on_timer(self, cx),
            k if k == TimerKind::Timer as u64 => crate::timer::on_timer(self, cx),
            k if k == TimerKind::Delay as u64 => crate::delay::on_timer(self, cx, value),
            k if k == TimerKind::Transactions as u64 => {
                crate::transactions::on_timer(self, cx, value);
            }
            k if k == TimerKind::Traffic as u64 => crate::traffic::on_timer(self, cx),
            k if k == TimerKind::Meta as u64 => handlers::meta::on_timer(self, cx, value),
            other => unreachable!("a timer of unknown kind {other}"),
        }
    }

    /// An answer of a background job.
    pub fn on_done<H: Host>(&mut self, cx: &mut Cx<'_, H>, done: BrokerDone) {
        match done {
            BrokerDone::TableWritten { name, result } => {
                handlers::meta::on_table_written(self, cx, name, result);
            }
            BrokerDone::Resolved { server, result } => {
                handlers::meta::on_resolved(self, cx, server, result);
            }
            BrokerDone::Reply { conn, bytes } => cx.output(conn).extend_from_slice(&bytes),
            BrokerDone::Receipt { to, scatter } => cx.mail(to, BrokerMail::Receipt(scatter)),
            BrokerDone::TimerWritten(written) => crate::timer::on_written(self, cx, written),
            BrokerDone::Disk(disk) => self.meta.home().disk = *disk,
            BrokerDone::Nothing => {}
        }
    }

    /// A read of log or queue files.
    pub fn on_read<H: Host>(
        &mut self,
        cx: &mut Cx<'_, H>,
        token: u64,
        result: Result<Vec<u8>, i32>,
    ) {
        crate::cold::on_read(self, cx, token, result);
    }

    /// A message of the broker's own is stored.
    pub fn on_stored<H: Host>(&mut self, cx: &mut Cx<'_, H>, ticket: u64, in_time: bool) {
        crate::put::on_stored(self, cx, ticket, in_time);
    }

    /// Queues have more for readers.
    pub fn on_news<H: Host>(&mut self, cx: &mut Cx<'_, H>, queues: &[QueueNo]) {
        crate::parked::on_news(self, cx, queues);
    }

    /// The process will stop in a while: name servers forget the broker, waiting pulls go elsewhere.
    pub fn on_leave<H: Host>(&mut self, cx: &mut Cx<'_, H>) {
        crate::parked::on_stop(self, cx);
        handlers::meta::on_leave(self, cx);
    }

    /// The process is stopping.
    pub fn on_stop<H: Host>(&mut self, cx: &mut Cx<'_, H>) {
        self.stopping = true;
        crate::parked::on_stop(self, cx);
        self.owes_offsets = true;
        crate::delay::settle(self, cx);
        handlers::meta::on_stop(self, cx);
    }

    /// Whether the process may say that it is ready: name servers know the broker, or did not answer for 1 s.
    pub fn boot_ready(&self) -> bool {
        self.meta.boot_ready()
    }

    /// The goodbyes, for people.
    pub fn goodbyes(&self) -> Vec<Goodbye> {
        self.meta.goodbyes()
    }

    /// Whether the goodbyes are done, and the last offsets are on their way to the metadata shard.
    pub fn may_stop(&self) -> bool {
        self.meta.may_stop(self.owes_offsets)
    }
}

fn not_supported(code: i32) -> Refusal {
    let name = codes::request_name(code).unwrap_or("unknown");
    let remark = format!(" request type {code} not supported ({name})");
    Refusal::new(response::REQUEST_CODE_NOT_SUPPORTED, remark)
}
