//! The request table: one row per code, then the families. A handler never waits; what waits is parked.

pub mod entries;
pub mod meta;
pub(crate) mod offset;
pub(crate) mod pull;
pub(crate) mod query;
pub(crate) mod recall;
pub(crate) mod send;
pub(crate) mod send_back;
pub(crate) mod transaction;

use crate::app::{Broker, Host};
use crate::refusal::Refusal;
use base::ids::{ConnId, ShardId};
use shard::{Cx, Peer};
use wire::codes::{MQ_VERSION_5_5_0, request, response};
use wire::frame::{Frame, SerializeType};
use wire::header::Header;
use wire::reply::{FrameHead, FrameWriter};

/// Flag bit of a response.
pub(crate) const FLAG_RESPONSE: i32 = 1;
/// Flag bit of a request that wants no answer.
pub(crate) const FLAG_ONEWAY: i32 = 2;

/// A request and where it came from.
pub(crate) struct Request<'f> {
    pub(crate) conn: ConnId,
    pub(crate) peer: Peer,
    pub(crate) header: Header<'f>,
    pub(crate) frame: &'f Frame<'f>,
}

/// What a handler did.
pub(crate) enum Outcome {
    /// Answered, parked, or nothing to answer.
    Done,
    /// The dispatcher answers.
    Refuse(Refusal),
    /// Another shard is to handle it.
    Forward(ShardId),
    /// The log window is full: try again after a write.
    Stall,
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Outcome {
        Outcome::Refuse(refusal)
    }
}

/// Head of an answer. Always JSON, which every client reads whatever it sends.
pub(crate) fn reply_head(code: i32, opaque: i32) -> FrameHead {
    let (serialize, version) = (SerializeType::Json, MQ_VERSION_5_5_0);
    FrameHead { serialize, code, opaque, flag: FLAG_RESPONSE, version }
}

impl Request<'_> {
    /// Head of the answer.
    pub(crate) fn head(&self, code: i32) -> FrameHead {
        reply_head(code, self.header.opaque)
    }

    /// Answers with a code, a remark and no fields; nothing for a oneway request.
    pub(crate) fn refuse<H: Host>(&self, cx: &mut Cx<'_, H>, refusal: &Refusal) {
        if self.header.is_oneway() {
            return;
        }
        let mut writer = FrameWriter::begin(cx.output(self.conn), self.head(refusal.code));
        writer.remark(&refusal.remark);
        writer.finish();
    }

    /// Answers success without fields.
    pub(crate) fn succeed<H: Host>(&self, cx: &mut Cx<'_, H>) {
        self.reply(cx, |_| {}, &[]);
    }

    /// Answers success with fields and a body; nothing for a oneway request.
    pub(crate) fn reply<H: Host>(
        &self,
        cx: &mut Cx<'_, H>,
        fields: impl FnOnce(&mut FrameWriter<'_>),
        body: &[u8],
    ) {
        if self.header.is_oneway() {
            return;
        }
        let mut writer = FrameWriter::begin(cx.output(self.conn), self.head(response::SUCCESS));
        fields(&mut writer);
        if body.is_empty() {
            writer.finish();
        } else {
            let mut writer = writer.body();
            writer.bytes().extend_from_slice(body);
            writer.finish();
        }
    }
}

/// Where a request is handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Home {
    /// Where it arrived; the handler forwards it to a queue's owner.
    Any,
    /// On the metadata shard.
    Meta,
}

/// A handler.
pub(crate) type Run<H> = fn(&mut Broker, &mut Cx<'_, H>, &Request<'_>) -> Outcome;

/// A row of the table.
pub(crate) struct Row<H: Host> {
    pub(crate) code: i32,
    pub(crate) home: Home,
    pub(crate) run: Run<H>,
}

struct Table<H>(std::marker::PhantomData<H>);

const fn row<H: Host>(code: i32, home: Home, run: Run<H>) -> Row<H> {
    Row { code, home, run }
}

impl<H: Host> Table<H> {
    /// The data path, in order of frequency.
    const DATA: &'static [Row<H>] = &[
        row(request::SEND_MESSAGE_V2, Home::Any, send::on_send),
        row(request::PULL_MESSAGE, Home::Any, pull::on_pull),
        row(request::SEND_BATCH_MESSAGE, Home::Any, send::on_send),
        row(request::LITE_PULL_MESSAGE, Home::Any, pull::on_pull),
        row(request::SEND_MESSAGE, Home::Any, send::on_send),
        row(request::UPDATE_CONSUMER_OFFSET, Home::Any, offset::on_update),
        row(request::CONSUMER_SEND_MSG_BACK, Home::Any, send_back::on_send_back),
        row(request::END_TRANSACTION, Home::Any, transaction::on_end),
        row(request::QUERY_CONSUMER_OFFSET, Home::Any, offset::on_query),
        row(request::GET_MAX_OFFSET, Home::Any, offset::on_max),
        row(request::GET_MIN_OFFSET, Home::Any, offset::on_min),
        row(request::SEARCH_OFFSET_BY_TIMESTAMP, Home::Any, offset::on_search),
        row(request::GET_EARLIEST_MSG_STORETIME, Home::Any, offset::on_earliest),
        row(request::QUERY_MESSAGE, Home::Any, query::on_query),
        row(request::RECALL_MESSAGE, Home::Any, recall::on_recall),
        row(request::VIEW_MESSAGE_BY_ID, Home::Any, query::on_view),
        row(request::RESUME_CHECK_HALF_MESSAGE, Home::Any, transaction::on_resume),
    ];
}

/// Whether a request changes something that a broker which is shutting down does not begin to change any more. Sends
/// and replies of consumers say so themselves, in their own form; offsets are taken until the last are handed over.
pub(crate) fn is_new_work(code: i32) -> bool {
    matches!(
        code,
        request::CONSUMER_SEND_MSG_BACK
            | request::END_TRANSACTION
            | request::RESUME_CHECK_HALF_MESSAGE
            | request::UPDATE_AND_CREATE_TOPIC
            | request::UPDATE_AND_CREATE_TOPIC_LIST
            | request::DELETE_TOPIC_IN_BROKER
            | request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
            | request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST
            | request::DELETE_SUBSCRIPTIONGROUP
            | request::UPDATE_BROKER_CONFIG
            | request::DELETE_EXPIRED_COMMITLOG
            | request::CLEAN_EXPIRED_CONSUMEQUEUE
            | request::CLEAN_UNUSED_TOPIC
            | request::INVOKE_BROKER_TO_RESET_OFFSET
            | request::CLONE_GROUP_OFFSET
    )
}

/// The row of a code.
pub(crate) fn find<H: Host>(code: i32) -> Option<&'static Row<H>> {
    let data = Table::<H>::DATA.iter().find(|row| row.code == code);
    data.or_else(|| meta::Table::<H>::ROWS.iter().find(|row| row.code == code))
}
