//! Queues that the broker itself reads: it pulls like a client, parked at the end of a queue until there is more.
//!
//! What was read comes by mail to the same shard. Limits: one pull per reader, each of so many messages and bytes.

use crate::app::{Broker, Host};
use crate::cold::OWN;
use crate::handlers::pull::{NextBroker, Pull, Reader, attempt};
use crate::mail::BrokerMail;
use shard::Cx;
use store::Store;
use store::queues::QueueNo;
use store::read::{Piece, ReadLimits, ReadStatus, Selection};
use wire::message::MessageView;

/// What one pull brings at most, unless the first message alone is larger.
pub(crate) const LIMITS: ReadLimits = ReadLimits { count_max: 256, bytes_max: 1 << 20 };
/// How long a pull waits at the end of its queue before it is made again.
const WAIT_MS: u64 = 300_000;

/// Who reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadFor {
    /// A delay level.
    Delay(u32),
    /// The timer.
    Timer,
    /// Half messages.
    Halves,
    /// Records of which of them have ended.
    Operations,
}

/// What a pull has brought.
pub struct OwnRead {
    /// Who reads.
    pub who: ReadFor,
    /// What was found; the error says why nothing could be.
    pub found: Result<Found, String>,
}

/// Records of a queue.
pub struct Found {
    /// Where to read on.
    pub next: i64,
    /// The queue's first message has this index or a larger one.
    pub min: i64,
    /// The records, one after the other.
    pub records: Vec<u8>,
}

impl Found {
    /// The records.
    pub(crate) fn views(&self) -> impl Iterator<Item = MessageView<'_>> {
        let mut rest = self.records.as_slice();
        std::iter::from_fn(move || {
            let (view, size) = MessageView::parse(rest).ok()?;
            rest = rest.get(size..)?;
            Some(view)
        })
    }
}

/// Reads a queue of this shard from an offset on.
pub(crate) fn read<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    queue: QueueNo,
    offset: i64,
    who: ReadFor,
) {
    let next_broker = NextBroker::new(broker, b"");
    let pull = Pull {
        reader: Reader::Own(who),
        queue,
        queue_id: cx.store().queue(queue).id,
        offset,
        seen: offset,
        count_max: LIMITS.count_max,
        wanted: crate::wanted::Wanted::Everything,
        topic_sys_flag: 0,
        wait_ms: WAIT_MS,
        next_broker,
        group: OWN,
        begun: cx.now.mono,
    };
    attempt(broker, cx, pull, true);
}

/// A pull has ended.
pub(crate) fn answer<H: Host>(
    cx: &mut Cx<'_, H>,
    who: ReadFor,
    queue: QueueNo,
    selection: &Selection,
    pieces: &[Piece],
    mut copy: impl FnMut(&Store, &Piece, &mut Vec<u8>),
) {
    let total: usize = pieces.iter().map(|piece| piece.size as usize).sum();
    let mut records = Vec::with_capacity(total);
    let store = cx.store();
    if selection.status == ReadStatus::Found {
        for piece in pieces {
            copy(store, piece, &mut records);
        }
    }
    let queue = store.queue(queue);
    let found = Found { next: selection.next, min: queue.min(), records };
    let me = cx.me();
    cx.mail(me, BrokerMail::OwnRead(OwnRead { who, found: Ok(found) }));
}

/// A pull has failed.
pub(crate) fn fail<H: Host>(cx: &mut Cx<'_, H>, who: ReadFor, why: &str) {
    let (me, found) = (cx.me(), Err(why.to_owned()));
    cx.mail(me, BrokerMail::OwnRead(OwnRead { who, found }));
}

/// What was read goes to whoever reads.
pub(crate) fn on_mail<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, read: OwnRead) {
    match read.who {
        ReadFor::Timer => crate::timer::on_read(broker, cx, read.found),
        ReadFor::Delay(level) => crate::delay::on_read(broker, cx, level, read.found),
        who @ (ReadFor::Halves | ReadFor::Operations) => {
            crate::transactions::on_read(broker, cx, who, read.found);
        }
    }
}
