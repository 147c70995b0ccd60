//! Checks: producers are asked (39) about halves that wait for too long. Java: `TransactionalMessageServiceImpl.check`.
//!
//! A round walks the open halves in slices. One that is due is stored again with a question more, behind everything else,
//! then one member of its producer group is asked. Unlike Java a question counts only when somebody of the group is on
//! line, and a half within its immunity costs nothing but when many younger ones have come. After `transactionCheckMax`
//! questions, or beyond `fileReservedTime`, it goes to a topic where it waits for request 323. Whatever is wrong with one
//! half ends nothing but what is done with that one. Limits: questions on their way, halves of one slice.

use crate::app::{Broker, Host, TimerKind, timer_key};
use crate::cold;
use crate::fetch::Fetch;
use crate::handlers::FLAG_ONEWAY;
use crate::handlers::meta::topic_rules::own_topic;
use crate::mail::{BrokerMail, FoundRecord};
use crate::put::{self, OwnMessage, PutFor, PutResult, Stored};
use crate::topics::{PERM_READ, PERM_WRITE};
use crate::transactions::table::{HOUR_MS, Rules, Step, Verdict};
use crate::transactions::{
    CHECK, HALF_TOPIC, Phase, Putting, QUEUE, TransactionMail, is_half, name_soon, time_out_ms,
};
use base::ids::{ConnId, ShardId};
use base::time::WallMs;
use shard::Cx;
use std::collections::HashSet;
use std::sync::Arc;
use wire::codes::{MQ_VERSION_5_5_0, request};
use wire::frame::SerializeType;
use wire::ids::{QueueId, QueueOffset};
use wire::message::{MessageView, Place};
use wire::msg_id::MessageId;
use wire::props::{self, Props};
use wire::reply::{FrameHead, FrameWriter};
use wire::req::client::CheckTransactionStateRequestHeader;
use wire::text::Text;

/// Where halves go that are given up.
pub(crate) const GIVEN_UP_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Open halves looked at in one turn.
const SLICE: usize = 1024;
/// Halves on their way to be stored again.
const IN_FLIGHT_MAX: usize = 64;

/// A round of checks.
pub(crate) struct Round {
    began: i64,
    /// The next half to look at, and where to end: what is stored again during the round belongs to the next one.
    next: i64,
    end: i64,
    on_line: HashSet<Arc<[u8]>>,
    in_flight: usize,
    has_failed: bool,
    /// Mail to go on is on its way.
    is_going: bool,
    asked: usize,
}

/// A half that a round takes up.
pub(crate) struct Taken {
    half: i64,
    verdict: Verdict,
}

/// A question to a producer group.
pub struct Question {
    group: Vec<u8>,
    half: i64,
    place: wire::ids::PhyOffset,
    message_id: String,
    unique_key: Vec<u8>,
    /// The message as a stored record of its own topic.
    record: Vec<u8>,
    /// Chooses the member.
    random: u64,
}

/// Sets the timer of the next round.
pub(super) fn arm<H: Host>(broker: &Broker, cx: &mut Cx<'_, H>) {
    let period = broker.settings.config.transactions.check_interval_ms;
    cx.set_timer(cx.now.mono.plus_ms(period), timer_key(TimerKind::Transactions, CHECK));
}

/// A round begins, unless the last one is still under way, a start is, or there is nothing to look at.
pub(super) fn begin<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    arm(broker, cx);
    let home = broker.transactions.home();
    if home.phase != Phase::Done || home.round.is_some() || home.table.len() == 0 {
        return;
    }
    home.round = Some(Round {
        began: cx.now.wall.0,
        next: 0,
        end: home.table.end(),
        on_line: HashSet::new(),
        in_flight: 0,
        has_failed: false,
        is_going: false,
        asked: 0,
    });
    cx.mail(ShardId::META, BrokerMail::Transactions(TransactionMail::WhoIsThere));
}

/// It is known who is on line.
pub(super) fn walk<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, groups: HashSet<Arc<[u8]>>) {
    if let Some(round) = &mut broker.transactions.home().round {
        round.on_line = groups;
        go_on(broker, cx);
    }
}

/// The round goes on with its next slice.
pub(super) fn go_on<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    if let Some(round) = &mut broker.transactions.home().round {
        round.is_going = false;
    }
    if broker.stopping {
        return;
    }
    let config = &broker.settings.config;
    let (time_out_ms, checks_max) = (time_out_ms(broker), config.transactions.check_max);
    let reserved_ms = i64::from(config.retention.file_reserved_time_h).saturating_mul(HOUR_MS);
    for _ in 0..SLICE {
        let home = broker.transactions.home();
        let Some(round) = &mut home.round else { return };
        if round.in_flight >= IN_FLIGHT_MAX {
            return;
        }
        let next = home.table.next_open(round.next).filter(|(half, _)| *half < round.end);
        let Some((half, found)) = next else {
            end(broker);
            return;
        };
        round.next = half + 1;
        let (began, now) = (round.began, cx.now.wall.0);
        let rules = Rules { time_out_ms, checks_max, reserved_ms, began, now };
        let is_on_line = round.on_line.contains(&found.group);
        if !is_on_line {
            tracing::debug!("transactions: nobody to ask about half {half}");
        }
        let (place, verdict) = (found.place, home.table.judge(half, &rules, is_on_line));
        if verdict != Verdict::Rest {
            round.in_flight += 1;
            home.table.set_step(half, Step::Moves);
            cold::begin_fetch(broker, cx, Fetch::half(Taken { half, verdict }, place));
        }
    }
    go_on_soon(broker, cx);
}

/// In a later call, and once.
fn go_on_soon<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let round = broker.transactions.home().round.as_mut();
    if let Some(round) = round.filter(|round| !round.is_going) {
        round.is_going = true;
        cx.mail(cx.me(), BrokerMail::Transactions(TransactionMail::GoOn));
    }
}

/// All halves were looked at.
fn end(broker: &mut Broker) {
    let home = broker.transactions.home();
    if home.round.as_ref().is_some_and(|round| round.in_flight == 0) {
        let asked = home.round.take().map_or(0, |round| round.asked);
        home.table.forget_groups();
        tracing::debug!("transactions: {asked} questions, {} open", home.table.len());
    }
}

/// One half less is on its way.
fn arrived<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    if let Some(round) = &mut broker.transactions.home().round {
        round.in_flight -= 1;
    }
    name_soon(broker, cx);
    go_on_soon(broker, cx);
}

/// The half waits again; the next round will come to it.
fn leave<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, half: i64, why: &str) {
    let home = broker.transactions.home();
    if home.table.get(half).is_some_and(|found| found.step == Step::Moves) {
        home.table.set_step(half, Step::Waits);
    }
    if let Some(round) = home.round.as_mut().filter(|round| !round.has_failed) {
        round.has_failed = true;
        tracing::warn!(
            "transactions: half {half} cannot be checked now: {why}; the next round does"
        );
    }
    arrived(broker, cx);
}

/// A half that a round took up was read, or is not there.
pub(crate) fn on_found<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    taken: &Taken,
    record: Option<&FoundRecord>,
) {
    let Taken { half, verdict } = *taken;
    let home = broker.transactions.home();
    let known = home.table.get(half);
    let Some(known) = known.filter(|known| known.step == Step::Moves) else {
        // It has ended, or is ending.
        arrived(broker, cx);
        return;
    };
    let view = record.and_then(|record| MessageView::parse(&record.bytes).ok());
    let Some((view, _)) = view.filter(|(view, _)| is_half(view, known.place)) else {
        tracing::error!("transactions: half {half} is not in the log any more, and is dropped");
        home.table.finish(half);
        arrived(broker, cx);
        return;
    };
    if verdict == Verdict::GiveUp {
        give_up(broker, cx, half, &view);
        return;
    }
    let mut message = OwnMessage::like(&view);
    message.is_due = true;
    let texts = &mut message.properties;
    let mut ask = None;
    if verdict == Verdict::Ask {
        props::remove(texts, props::TRANSACTION_CHECK_TIMES);
        let times = i64::from(known.checks) + 1;
        props::append_i64(texts, props::TRANSACTION_CHECK_TIMES, times);
        ask = Some(Box::new(question(&view, texts)));
    } else if Props::new(texts).get_i64(props::TRANSACTION_PREPARED_QUEUE_OFFSET).is_none() {
        props::remove(texts, props::TRANSACTION_PREPARED_QUEUE_OFFSET);
        props::append_i64(texts, props::TRANSACTION_PREPARED_QUEUE_OFFSET, half);
    }
    let what = PutFor::Transaction(Putting::Again { half, ask });
    put::put(broker, cx, Box::new(message), what);
}

/// Nothing can be read now.
pub(crate) fn refuse<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, taken: &Taken, why: &str) {
    leave(broker, cx, taken.half, why);
}

/// The message as its producer is shown it.
fn question(view: &MessageView<'_>, properties: &[u8]) -> OwnMessage {
    let mut message = OwnMessage::like(view);
    message.properties = properties.to_vec();
    props::set(&mut message.properties, props::WAIT, b"false");
    let texts = Props::new(view.properties());
    message.topic = texts.get(props::REAL_TOPIC).unwrap_or(HALF_TOPIC).to_vec();
    let queue = texts.get_i64(props::REAL_QUEUE_ID).and_then(|id| i32::try_from(id).ok());
    message.queue_id = QueueId(queue.unwrap_or(0));
    message
}

fn give_up<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, half: i64, view: &MessageView<'_>) {
    let topic = GIVEN_UP_TOPIC.as_bytes().to_vec();
    let creates = Some(Arc::new(own_topic(GIVEN_UP_TOPIC, 1, PERM_READ | PERM_WRITE)));
    let like = OwnMessage::like(view);
    let message = OwnMessage { topic, queue_id: QUEUE, is_due: true, creates, ..like };
    put::put(broker, cx, Box::new(message), PutFor::Transaction(Putting::GiveUp { half }));
}

/// A half was stored again, or was not.
pub(super) fn on_again<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    half: i64,
    ask: Option<Box<OwnMessage>>,
    result: PutResult,
) {
    let stored = match result {
        Ok(stored) => stored,
        Err(failed) => return leave(broker, cx, half, &failed.refusal.remark),
    };
    let home = broker.transactions.home();
    // While its commit is on its way nobody is asked; when that fails, the next round asks.
    let again = home.table.get(stored.queue_offset).filter(|again| again.step == Step::Waits);
    if let (Some(again), Some(ask)) = (again, ask) {
        let question = Question {
            group: again.group.to_vec(),
            ..made(&ask, stored, again.stored, broker.settings.store_host)
        };
        if let Some(round) = &mut home.round {
            round.asked += 1;
        }
        let question = Box::new(Question { random: cx.now.mono.0 >> 7, ..question });
        cx.mail(ShardId::META, BrokerMail::Transactions(TransactionMail::Ask(question)));
    }
    arrived(broker, cx);
}

fn made(
    ask: &OwnMessage,
    stored: Stored,
    stored_at: i64,
    store_host: std::net::SocketAddr,
) -> Question {
    let new = ask.as_new(store_host);
    let mut record = vec![0; new.encoded_len()];
    let place = Place {
        queue_offset: QueueOffset(stored.queue_offset),
        phy_offset: stored.phy,
        store_timestamp: WallMs(stored_at),
    };
    new.encode(&mut record, place);
    let unique_key = Props::new(&ask.properties).get(props::UNIQ_KEY).unwrap_or_default();
    Question {
        group: Vec::new(),
        half: stored.queue_offset,
        place: stored.phy,
        message_id: MessageId { host: store_host, phy: stored.phy }.to_string(),
        unique_key: unique_key.to_vec(),
        record,
        random: 0,
    }
}

/// A half is stored where those are that were given up, or is not.
pub(super) fn on_given_up<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    half: i64,
    result: PutResult,
) {
    let home = broker.transactions.home();
    let checks = home.table.get(half).map_or(0, |known| known.checks);
    match result {
        Ok(stored) => {
            tracing::warn!(
                "transactions: half {half} is given up after {checks} questions; it is message {} of {GIVEN_UP_TOPIC}",
                stored.queue_offset
            );
            home.table.finish(half);
            arrived(broker, cx);
        }
        Err(failed) => leave(broker, cx, half, &failed.refusal.remark),
    }
}

/// Asks somebody of the group; on the metadata shard.
pub(super) fn ask<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, question: &Question) {
    let home = broker.meta.home();
    let name = String::from_utf8_lossy(&question.group);
    let members = home.clients.producers(&name).unwrap_or_default();
    let Some(conn) = choose(cx, members.iter().map(|member| member.conn), question.random) else {
        tracing::debug!("transactions: nobody of group {name} takes a question now");
        return;
    };
    let head = FrameHead {
        serialize: SerializeType::Json,
        code: request::CHECK_TRANSACTION_STATE,
        opaque: home.next_opaque(),
        flag: FLAG_ONEWAY,
        version: MQ_VERSION_5_5_0,
    };
    let mut writer = FrameWriter::begin(cx.output(conn), head);
    let id = Text::plain(&question.unique_key);
    let header = CheckTransactionStateRequestHeader {
        topic: Some(Text::plain(HALF_TOPIC)),
        tran_state_table_offset: question.half,
        commit_log_offset: question.place.to_wire(),
        msg_id: Some(id),
        transaction_id: Some(id),
        offset_msg_id: Some(Text::plain(question.message_id.as_bytes())),
        broker_name: Some(Text::plain(broker.settings.config.broker_name.as_bytes())),
    };
    header.encode(&mut writer);
    let mut body = writer.body();
    body.bytes().extend_from_slice(&question.record);
    body.finish();
}

/// The first member from a random one on that has taken what it was sent.
fn choose<H: Host>(
    cx: &Cx<'_, H>,
    members: impl ExactSizeIterator<Item = ConnId> + Clone,
    random: u64,
) -> Option<ConnId> {
    let count = u64::try_from(members.len()).ok().filter(|count| *count > 0)?;
    let skipped = usize::try_from(random % count).unwrap_or(0);
    let mut from_there = members.clone().skip(skipped).chain(members.take(skipped));
    from_there.find(|conn| !cx.is_full(*conn))
}
