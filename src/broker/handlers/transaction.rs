//! Requests about transactions: 37 (commit, rollback) and 323 (check again what was given up). What a producer sends as a
//! half comes by `send`. Java: `EndTransactionProcessor`, `AdminBrokerProcessor.resumeCheckHalfMessage`.

use crate::app::{Broker, Host};
use crate::cold;
use crate::fetch::Fetch;
use crate::handlers::{Outcome, Request};
use crate::mail::{FoundRecord, shard_of};
use crate::put::{self, ClientAnswer, OwnMessage, PutFor};
use crate::refusal::Refusal;
use crate::transactions::check::GIVEN_UP_TOPIC;
use crate::transactions::end::{self, End};
use crate::transactions::{HALF_TOPIC, QUEUE};
use shard::Cx;
use wire::codes::response;
use wire::ids::PhyOffset;
use wire::message::MessageView;
use wire::msg_id::MessageId;
use wire::props;
use wire::req::client::{EndTransactionRequestHeader, ResumeCheckHalfMessageRequestHeader};
use wire::sys_flag::{TRANSACTION_COMMIT, TRANSACTION_ROLLBACK};

/// 37: a producer ends a transaction. One who does not know changes nothing. Java lets a request wait for ever that asks for
/// an answer to this; clients do not ask.
pub(crate) fn on_end<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match EndTransactionRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let is_commit = match header.commit_or_rollback {
        TRANSACTION_COMMIT => true,
        TRANSACTION_ROLLBACK => false,
        0 => {
            request.succeed(cx);
            return Outcome::Done;
        }
        other => {
            let remark = format!("commitOrRollback is {other}; 0, 8 and 12 are possible");
            return Refusal::new(response::SYSTEM_ERROR, remark).into();
        }
    };
    let owner = broker.owner(HALF_TOPIC, QUEUE);
    if owner != broker.me {
        return Outcome::Forward(owner);
    }
    let stream = broker.stream_of(HALF_TOPIC, QUEUE);
    let place = PhyOffset::from_wire(header.commit_log_offset);
    let Some(place) = place.filter(|place| place.stream() == stream) else {
        return end::not_found().into();
    };
    let end = End {
        answer: answer(request),
        group: header.producer_group.to_cow().as_bytes().into(),
        half: header.tran_state_table_offset,
        place,
        is_commit,
        was_asked: header.from_transaction_check,
    };
    end::begin(broker, cx, end);
    Outcome::Done
}

fn answer(request: &Request<'_>) -> ClientAnswer {
    ClientAnswer::plain(request.conn, request.header.opaque, request.header.is_oneway())
}

/// Who wants a half to be checked again.
pub(crate) struct Resume {
    answer: ClientAnswer,
    message_id: String,
}

impl Resume {
    fn refusal(&self, why: &str) -> Refusal {
        let remark = format!("message {} cannot be checked again: {why}", self.message_id);
        Refusal::new(response::SYSTEM_ERROR, remark)
    }
}

/// 323: a half that was given up is open again, with all its questions before it.
pub(crate) fn on_resume<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match ResumeCheckHalfMessageRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let message_id = header.msg_id.to_cow().into_owned();
    let resume = Resume { answer: answer(request), message_id };
    let id = match MessageId::parse(resume.message_id.as_bytes()) {
        Ok(id) => id,
        Err(error) => return resume.refusal(&error.to_string()).into(),
    };
    if id.phy.stream().0 >= broker.settings.streams {
        return resume.refusal("its place is in no log of this broker").into();
    }
    let owner = shard_of(id.phy.stream(), broker.shards);
    if owner != broker.me {
        return Outcome::Forward(owner);
    }
    cold::begin_fetch(broker, cx, Fetch::resume(resume, id.phy));
    Outcome::Done
}

/// The message that was given up was read, or is not there.
pub(crate) fn on_found<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    resume: &Resume,
    record: Option<&FoundRecord>,
) {
    let view = record.and_then(|record| MessageView::parse(&record.bytes).ok());
    let view = view.map(|(view, _)| view);
    let Some(view) = view.filter(|view| view.topic() == GIVEN_UP_TOPIC.as_bytes()) else {
        refuse(cx, resume, &format!("there is no message of topic {GIVEN_UP_TOPIC} at its place"));
        return;
    };
    let mut message = OwnMessage::like(&view);
    message.topic = HALF_TOPIC.to_vec();
    message.queue_id = QUEUE;
    message.is_due = true;
    let texts = &mut message.properties;
    // It is no continuation of the half it was.
    props::remove(texts, props::TRANSACTION_PREPARED_QUEUE_OFFSET);
    props::set(texts, props::TRANSACTION_CHECK_TIMES, b"0");
    let answer = resume.answer.clone();
    put::put(broker, cx, Box::new(message), PutFor::Client(answer));
}

/// Nothing can be read now, or it is not what is wanted.
pub(crate) fn refuse<H: Host>(cx: &mut Cx<'_, H>, resume: &Resume, why: &str) {
    resume.answer.refuse(cx, &resume.refusal(why));
}
