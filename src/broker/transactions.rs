//! Transactions: half messages wait in a topic of their own until their producer says commit or rollback, or is asked.
//!
//! The shard that owns the half queue runs all of it. It notes halves as they are stored, stores what is committed, and
//! names what has ended in operation records, which lie in the same stream behind the halves they name. A start reads the
//! operation records, then the halves, each from the first that was needed; an end of one of these halves waits for the
//! former. The offsets are told one period late, as those of the delay levels, unless the broker stops.
//!
//! A committed message comes twice only when the process was killed after it was stored and before its operation record
//! was. Java: `TransactionalMessageServiceImpl`, `TransactionalMessageBridge`. Limits: open halves (see `table`), ends that
//! wait for a start, questions on their way.

pub(crate) mod check;
pub(crate) mod end;
pub(crate) mod table;

use crate::app::{Broker, Host, TimerKind, timer_key};
use crate::mail::BrokerMail;
use crate::own_reads::{self, Found, ReadFor};
use crate::put::{self, OwnMessage, PutFor, PutResult, Stored};
use crate::refusal::Refusal;
use base::ids::ShardId;
use check::Round;
use end::End;
use shard::Cx;
use std::collections::HashSet;
use std::sync::Arc;
use store::queues::QueueNo;
pub(crate) use store::queues::{HALF_TOPIC, OPERATION_TOPIC};
use table::{OPEN_MAX, Table};
use wire::codes::response;
use wire::ids::{PhyOffset, QueueId};
use wire::message::MessageView;
use wire::props;

/// Where the offsets of both queues are kept.
const GROUP: &[u8] = b"CID_RMQ_SYS_TRANS";
/// Both topics have this queue only.
pub(crate) const QUEUE: QueueId = QueueId(0);
/// Tag of an operation record.
const OPERATION_TAG: &[u8] = b"d";
/// Pause before a read or a write is tried again.
const PAUSE_MS: u64 = 1000;

/// Mail about transactions.
pub enum TransactionMail {
    /// To itself: write operation records for what has ended in this turn.
    Name,
    /// To itself: the round goes on.
    GoOn,
    /// To the metadata shard: which producer groups have members on line?
    WhoIsThere,
    /// The answer.
    OnLine(HashSet<Arc<[u8]>>),
    /// To the metadata shard: ask somebody of the producer group.
    Ask(Box<check::Question>),
}

/// What a message is that is stored for a transaction.
pub(crate) enum Putting {
    /// A committed one; its half, and who wants to know.
    Commit { half: i64, answer: put::ClientAnswer },
    /// An operation record; the largest index in it.
    Operation { newest: i64 },
    /// A half again; with what its producer is to be asked.
    Again { half: i64, ask: Option<Box<OwnMessage>> },
    /// A half that is given up.
    GiveUp { half: i64 },
}

/// Where a start is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The operation records before this index are read.
    Operations(i64),
    /// The halves are read.
    Halves,
    /// All is read.
    Done,
}

/// The state of the shard that owns the half queue.
pub(crate) struct Home {
    table: Table,
    halves: QueueNo,
    operations: QueueNo,
    phase: Phase,
    /// Ends of halves that a start has still to read about.
    waiting: Vec<End>,
    round: Option<Round>,
    /// Mail to write operation records is on its way.
    is_naming: bool,
    /// Operation records on their way to the log.
    naming: usize,
    /// Commits on their way.
    ending: usize,
    /// Operation records that could not be stored, with the largest index in each.
    failed: Vec<(Box<OwnMessage>, i64)>,
    /// The offsets as of the last period.
    last: (i64, i64),
}

/// Transactions on one shard.
#[derive(Default)]
pub(crate) struct Transactions {
    home: Option<Box<Home>>,
}

impl Transactions {
    fn home(&mut self) -> &mut Home {
        self.home.as_mut().expect("transactions are handled where the half queue is")
    }

    /// Why no half can be taken now, if so.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let open = self.home.as_ref().map_or(0, |home| home.table.len());
        (open >= OPEN_MAX).then(|| {
            let remark = format!(
                "stage received: {open} transactions are open, neither committed nor rolled back; the limit is {OPEN_MAX}"
            );
            Refusal::new(response::SYSTEM_BUSY, remark)
        })
    }

    /// A half was stored.
    pub(crate) fn note(&mut self, at: Stored, times: (i64, i64), properties: &[u8], time_out: u64) {
        let table = &mut self.home().table;
        let time_out = i64::try_from(time_out).unwrap_or(i64::MAX);
        let half = table.half(at.queue_offset, at.phy, times, properties, time_out);
        table.note(at.queue_offset, half);
    }

    /// Whether nothing is on its way that the last offsets should know of.
    pub(crate) fn is_settled(&self) -> bool {
        self.home
            .as_ref()
            .is_none_or(|home| home.ending == 0 && home.naming == 0 && !home.is_naming)
    }
}

fn time_out_ms(broker: &Broker) -> i64 {
    i64::try_from(broker.settings.config.transactions.time_out_ms).unwrap_or(i64::MAX)
}

/// Begins, where the half queue is.
pub(crate) fn start<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    if !broker.is_mine(HALF_TOPIC, QUEUE) {
        return;
    }
    let mut begin = |topic: &[u8]| {
        let stream = broker.stream_of(topic, QUEUE);
        let no = cx.store().find_or_create(topic, QUEUE, stream);
        let queue = cx.store().queue(no);
        let (min, end) = (queue.min(), queue.visible().max(queue.min()));
        let known = broker.offsets.get(topic, GROUP, QUEUE).unwrap_or(min);
        (no, known.clamp(min, end), end)
    };
    let (halves, half, halves_end) = begin(HALF_TOPIC);
    let (operations, operation, operations_end) = begin(OPERATION_TOPIC);
    let mut table = Table::default();
    table.begin((half, halves_end), operation);
    if (half, operation) != (halves_end, operations_end) {
        tracing::info!(
            "transactions: reading halves {half}..{halves_end} and operations {operation}..{operations_end}"
        );
    }
    broker.transactions.home = Some(Box::new(Home {
        table,
        halves,
        operations,
        phase: Phase::Operations(operation),
        waiting: Vec::new(),
        round: None,
        is_naming: false,
        naming: 0,
        ending: 0,
        failed: Vec::new(),
        last: (half, operation),
    }));
    read_on(broker, cx);
    check::arm(broker, cx);
}

/// Reads what a start needs; whatever is stored from now on is noted as it is stored.
fn read_on<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let home = broker.transactions.home();
    let operations_end = match home.phase {
        // No operation record is written before all of them are read.
        Phase::Operations(_) => cx.store().queue(home.operations).visible(),
        Phase::Halves | Phase::Done => 0,
    };
    match home.phase {
        Phase::Operations(next) if next < operations_end => {
            let queue = home.operations;
            own_reads::read(broker, cx, queue, next, ReadFor::Operations);
        }
        Phase::Operations(_) => {
            home.phase = Phase::Halves;
            read_on(broker, cx);
            end::go_on(broker, cx);
        }
        Phase::Halves if home.table.is_reading() => {
            let (queue, next) = (home.halves, home.table.unread().0);
            own_reads::read(broker, cx, queue, next, ReadFor::Halves);
        }
        Phase::Halves => {
            home.phase = Phase::Done;
            home.table.read_to(i64::MAX);
            let open = home.table.len();
            if open > 0 {
                tracing::info!("transactions: {open} are open");
            }
            name_soon(broker, cx);
        }
        Phase::Done => {}
    }
}

/// What was read of one of the queues.
pub(crate) fn on_read<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    who: ReadFor,
    found: Result<Found, String>,
) {
    let found = match found {
        Ok(found) => found,
        Err(why) => {
            tracing::warn!("transactions: {why}; trying again");
            cx.set_timer(cx.now.mono.plus_ms(PAUSE_MS), timer_key(TimerKind::Transactions, READ));
            return;
        }
    };
    let time_out = time_out_ms(broker);
    let home = broker.transactions.home();
    let next = found.next.max(found.min);
    match home.phase {
        Phase::Operations(_) => {
            for view in found.views() {
                home.table.read_operation(view.queue_offset().0, view.body());
            }
            home.phase = Phase::Operations(next);
        }
        Phase::Halves => {
            let end = home.table.unread().1;
            for view in found.views().filter(|view| view.queue_offset().0 < end) {
                home.take(&view, time_out);
            }
            home.table.read_to(next);
        }
        Phase::Done => unreachable!("{who:?} is read by a start only"),
    }
    read_on(broker, cx);
}

impl Home {
    /// Notes a half that was read.
    fn take(&mut self, view: &MessageView<'_>, time_out_ms: i64) {
        let offset = view.queue_offset().0;
        let times = (view.born_timestamp(), view.store_timestamp().0);
        let half =
            self.table.half(offset, view.phy_offset(), times, view.properties(), time_out_ms);
        self.table.read(offset, half);
    }
}

// ---- operation records ----

/// What ends in a turn is named together, at its end.
pub(crate) fn name_soon<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let home = broker.transactions.home();
    // While records are read, none are written: those that are read end where they ended at the start.
    let may_write = !matches!(home.phase, Phase::Operations(_));
    if may_write && home.table.has_unnamed() && !home.is_naming {
        home.is_naming = true;
        cx.mail(cx.me(), BrokerMail::Transactions(TransactionMail::Name));
    }
}

fn name<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let bytes_max = broker.settings.config.transactions.operation_bytes_max as usize;
    broker.transactions.home().is_naming = false;
    while let Some((body, newest)) = broker.transactions.home().table.take_operation(bytes_max) {
        let mut properties = Vec::new();
        props::append(&mut properties, props::TAGS, OPERATION_TAG);
        props::append(&mut properties, props::WAIT, b"true");
        let message = Box::new(OwnMessage {
            topic: OPERATION_TOPIC.to_vec(),
            queue_id: QUEUE,
            flag: 0,
            sys_flag: 0,
            born_timestamp: cx.now.wall.0,
            born_host: broker.settings.store_host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties,
            is_due: true,
            creates: None,
        });
        put_operation(broker, cx, message, newest);
    }
}

fn put_operation<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    message: Box<OwnMessage>,
    newest: i64,
) {
    broker.transactions.home().naming += 1;
    put::put(broker, cx, message, PutFor::Transaction(Putting::Operation { newest }));
}

fn on_named<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, newest: i64, result: PutResult) {
    let home = broker.transactions.home();
    home.naming -= 1;
    match result {
        Ok(stored) => home.table.named_in(stored.queue_offset, newest),
        Err(failed) => {
            if home.failed.is_empty() {
                tracing::warn!(
                    "transactions: an operation record cannot be stored now: {}; trying again",
                    failed.refusal.remark
                );
                let key = timer_key(TimerKind::Transactions, NAME);
                cx.set_timer(cx.now.mono.plus_ms(PAUSE_MS), key);
            }
            home.failed.push((failed.message, newest));
        }
    }
}

// ---- calls of the broker ----

/// What a timer is for.
const CHECK: u64 = 0;
const READ: u64 = 1;
const NAME: u64 = 2;

/// A timer of transactions.
pub(crate) fn on_timer<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, value: u64) {
    if broker.stopping {
        return;
    }
    match value {
        READ => read_on(broker, cx),
        NAME => {
            for (message, newest) in std::mem::take(&mut broker.transactions.home().failed) {
                put_operation(broker, cx, message, newest);
            }
        }
        other => {
            debug_assert_eq!(other, CHECK);
            check::begin(broker, cx);
        }
    }
}

/// Mail about transactions.
pub(crate) fn on_mail<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    from: ShardId,
    mail: TransactionMail,
) {
    match mail {
        TransactionMail::Name => {
            name(broker, cx);
            settle(broker, cx);
        }
        TransactionMail::GoOn => check::go_on(broker, cx),
        TransactionMail::WhoIsThere => {
            let clients = &mut broker.meta.home().clients;
            let groups = clients.producer_groups().map(|(name, _)| &**name);
            let groups = groups.map(|name| Arc::from(name.as_bytes())).collect();
            cx.mail(from, BrokerMail::Transactions(TransactionMail::OnLine(groups)));
        }
        TransactionMail::OnLine(groups) => check::walk(broker, cx, groups),
        TransactionMail::Ask(question) => check::ask(broker, cx, &question),
    }
}

/// A message was appended to the half queue; `half` is the one that it continues.
pub(crate) fn on_appended<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    stored: Stored,
    message: &OwnMessage,
    half: Option<i64>,
) {
    let times = (message.born_timestamp, cx.now.wall.0);
    let time_out = broker.settings.config.transactions.time_out_ms;
    broker.transactions.note(stored, times, &message.properties, time_out);
    if let Some(half) = half {
        // The record behind it in the log, which names the old index, is never there without it.
        broker.transactions.home().table.superseded(half, stored.queue_offset);
        name_soon(broker, cx);
    }
}

/// A message was stored for a transaction, or was not.
pub(crate) fn on_put<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    what: Putting,
    result: PutResult,
) {
    match what {
        Putting::Commit { half, answer } => end::on_put(broker, cx, half, &answer, result),
        Putting::Operation { newest } => on_named(broker, cx, newest, result),
        Putting::Again { half, ask } => check::on_again(broker, cx, half, ask, result),
        Putting::GiveUp { half } => check::on_given_up(broker, cx, half, result),
    }
    settle(broker, cx);
}

fn settle<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    if broker.stopping {
        crate::delay::settle(broker, cx);
    }
}

/// Hands the offsets to the table of consumer offsets: those of the last period, or with `last` those of this moment.
pub(crate) fn hand_over(broker: &mut Broker, last: bool) {
    let Some(home) = &mut broker.transactions.home else { return };
    let now = home.table.offsets();
    let (half, operation) = if last { now } else { home.last };
    home.last = now;
    broker.offsets.commit(HALF_TOPIC, GROUP, QUEUE, half);
    broker.offsets.commit(OPERATION_TOPIC, GROUP, QUEUE, operation);
}

/// Whether a record of the log can be a half of this broker.
fn is_half(view: &MessageView<'_>, place: PhyOffset) -> bool {
    view.topic() == HALF_TOPIC && view.phy_offset() == place
}
