//! Ends of transactions: 37, on the shard of the half queue. Java: `EndTransactionProcessor`.
//!
//! The half is read, and what the request says of it compared. A commit stores the message under its own topic first, then
//! the operation record; a half that has ended, or is ending, is not committed a second time.

use crate::app::{Broker, Host};
use crate::cold;
use crate::fetch::Fetch;
use crate::mail::FoundRecord;
use crate::put::{self, ClientAnswer, OwnMessage, PutFor, PutResult};
use crate::refusal::Refusal;
use crate::transactions::table::{self, Step, Target};
use crate::transactions::{Phase, Putting, is_half, name_soon, time_out_ms};
use shard::Cx;
use store::queues::QUEUE_ID_MAX;
use wire::codes::response;
use wire::ids::{PhyOffset, QueueId};
use wire::message::MessageView;
use wire::props::{self, Props};
use wire::sys_flag::{TRANSACTION_COMMIT, TRANSACTION_MASK};

/// Ends that wait until a start has read the operation records.
const WAITING_MAX: usize = 65_536;

/// What a producer says of its transaction.
pub(crate) struct End {
    pub(crate) answer: ClientAnswer,
    pub(crate) group: Box<[u8]>,
    /// Index in the half queue.
    pub(crate) half: i64,
    /// Place of the half.
    pub(crate) place: PhyOffset,
    pub(crate) is_commit: bool,
    /// The producer was asked.
    pub(crate) was_asked: bool,
}

fn error(remark: &str) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, remark.to_owned())
}

/// Why an end names no half.
pub(crate) fn not_found() -> Refusal {
    error("Find prepared transaction message failed")
}

/// An end has arrived.
pub(crate) fn begin<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, end: End) {
    let home = broker.transactions.home();
    let is_early = matches!(home.phase, Phase::Operations(_));
    if !is_early || !home.table.is_unread(end.half) {
        let place = end.place;
        cold::begin_fetch(broker, cx, Fetch::end(end, place));
    } else if home.waiting.len() < WAITING_MAX {
        home.waiting.push(end);
    } else {
        let remark = format!(
            "stage received: {WAITING_MAX} ends of transactions wait for the start of the broker, the limit is \
             {WAITING_MAX}"
        );
        end.answer.refuse(cx, &Refusal::new(response::SYSTEM_BUSY, remark));
    }
}

/// The operation records are read.
pub(super) fn go_on<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    for end in std::mem::take(&mut broker.transactions.home().waiting) {
        begin(broker, cx, end);
    }
}

/// The record at the place that an end names.
pub(crate) fn on_found<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    end: End,
    record: Option<&FoundRecord>,
) {
    let view = record.and_then(|record| MessageView::parse(&record.bytes).ok());
    let time_out = time_out_ms(broker);
    let Some((view, _)) = view.filter(|(view, _)| is_half(view, end.place)) else {
        end.answer.refuse(cx, &not_found());
        return;
    };
    if let Err(refusal) = check(&end, &view, cx.now.wall.0, time_out) {
        end.answer.refuse(cx, &refusal);
        return;
    }
    let home = broker.transactions.home();
    if home.table.is_unread(end.half) {
        home.take(&view, time_out);
    }
    let half = match home.table.find(end.half) {
        Target::Open(half) => half,
        Target::Ending | Target::Gone => {
            end.answer.succeed_plainly(cx);
            return;
        }
    };
    if !end.is_commit {
        home.table.finish(half);
        end.answer.succeed_plainly(cx);
        name_soon(broker, cx);
        return;
    }
    match committed(&view) {
        Ok(message) => {
            home.table.set_step(half, Step::Ends);
            home.ending += 1;
            let what = Putting::Commit { half, answer: end.answer };
            put::put(broker, cx, Box::new(message), PutFor::Transaction(what));
        }
        Err(refusal) => end.answer.refuse(cx, &refusal),
    }
}

/// Nothing can be read now; the producer will be asked.
pub(crate) fn refuse<H: Host>(cx: &mut Cx<'_, H>, end: &End, why: &str) {
    end.answer.refuse(cx, &error(why));
}

/// The checks, in Java's order.
fn check(end: &End, view: &MessageView<'_>, now: i64, time_out_ms: i64) -> Result<(), Refusal> {
    let properties = view.properties();
    let age = now.saturating_sub(view.born_timestamp());
    let immunity = table::immunity_ms(properties, time_out_ms);
    if let Some(immunity) = immunity.filter(|immunity| !end.was_asked && age > *immunity) {
        let remark = format!(
            "the message is {age} ms old, beyond its CHECK_IMMUNITY_TIME_IN_SECONDS of {immunity} ms: its producer will be asked"
        );
        return Err(Refusal::new(response::ILLEGAL_OPERATION, remark));
    }
    if Props::new(properties).get(props::PRODUCER_GROUP) != Some(&*end.group) {
        return Err(error("The producer group wrong"));
    }
    if view.queue_offset().0 != end.half {
        return Err(error("The transaction state table offset wrong"));
    }
    Ok(())
}

/// The message as it is stored under its own topic, with the properties that Java 5.5 leaves in it.
fn committed(view: &MessageView<'_>) -> Result<OwnMessage, Refusal> {
    let texts = Props::new(view.properties());
    let topic = texts.get(props::REAL_TOPIC).unwrap_or_default();
    let queue = texts.get_i64(props::REAL_QUEUE_ID).unwrap_or(-1);
    let queue_id = i32::try_from(queue).ok().filter(|id| (0..=QUEUE_ID_MAX).contains(id));
    let Some(queue_id) = queue_id.filter(|_| !topic.is_empty()) else {
        let topic = String::from_utf8_lossy(topic);
        let remark = format!(
            "the half message belongs to no queue: REAL_TOPIC is {topic:?}, REAL_QID is {queue}, 0 to {QUEUE_ID_MAX} are possible"
        );
        return Err(error(&remark));
    };
    let mut message = OwnMessage::like(view);
    message.topic = topic.to_vec();
    message.queue_id = QueueId(queue_id);
    message.sys_flag = message.sys_flag & !TRANSACTION_MASK | TRANSACTION_COMMIT;
    message.prepared_transaction_offset = view.phy_offset().to_wire();
    for key in [props::REAL_TOPIC, props::REAL_QUEUE_ID] {
        props::remove(&mut message.properties, key);
    }
    Ok(message)
}

/// A committed message is stored, or is not.
pub(super) fn on_put<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    half: i64,
    answer: &ClientAnswer,
    result: PutResult,
) {
    let home = broker.transactions.home();
    home.ending -= 1;
    match result {
        Ok(_) => {
            home.table.finish(half);
            answer.succeed_plainly(cx);
        }
        Err(failed) => {
            home.table.reopen(half);
            let refusal = failed.refusal;
            tracing::warn!("transactions: half {half} is not committed: {}", refusal.remark);
            answer.refuse(cx, &refusal);
        }
    }
    name_soon(broker, cx);
}
