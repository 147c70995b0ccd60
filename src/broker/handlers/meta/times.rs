//! Store times for answers about queues: those of records in memory at once, the others from the files.
//!
//! An answer waits on its shard until the times it lacks are there. Limit: times that are looked for in files per answer; what
//! is beyond it is told as unknown.

use crate::app::{Broker, Host};
use crate::cold;
use crate::handlers::meta::MetaMail;
use crate::handlers::meta::gather::Answer;
use crate::handlers::offset::{Goal, search_for_time};
use crate::mail::BrokerMail;
use base::ids::ShardId;
use hashbrown::HashMap;
use shard::Cx;
use store::queues::QueueNo;
use wire::ids::PhyOffset;

/// Times of one answer that are looked for in files.
const LOOKUPS_MAX: usize = 4096;

/// A time that an answer lacks.
pub(crate) struct TimeWish {
    /// Place in the answer.
    pub(crate) row: usize,
    /// Of which message.
    pub(crate) of: TimeOf,
}

/// A message whose store time is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimeOf {
    /// The one at this offset of a queue.
    Message(QueueNo, i64),
    /// The one at this place.
    Place(PhyOffset),
}

struct Filling {
    to: ShardId,
    ticket: u64,
    answer: Answer,
    missing: usize,
}

/// Answers that wait for times.
#[derive(Default)]
pub(crate) struct Times {
    open: HashMap<u64, Filling>,
    next: u64,
}

/// Mails an answer once it has the times it lacks.
pub(crate) fn fill<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    to: ShardId,
    ticket: u64,
    (answer, mut wishes): (Answer, Vec<TimeWish>),
) {
    wishes.truncate(LOOKUPS_MAX);
    let number = broker.times.next;
    broker.times.next += 1;
    // One more than the wishes: the answer does not go before all are begun.
    let missing = wishes.len() + 1;
    broker.times.open.insert(number, Filling { to, ticket, answer, missing });
    for wish in wishes {
        // A place is looked at without its queue.
        let (queue, goal) = match wish.of {
            TimeOf::Message(queue, offset) => (queue, Goal::At(offset)),
            TimeOf::Place(place) => (QueueNo(0), Goal::Place(place)),
        };
        cold::begin_search(broker, cx, search_for_time(queue, goal, number, wish.row));
    }
    count(broker, cx, number);
}

/// A time is there, or cannot be found.
pub(crate) fn on_time<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    number: u64,
    row: usize,
    time: Option<i64>,
) {
    if let Some(filling) = broker.times.open.get_mut(&number)
        && let Some(time) = time.filter(|time| *time > 0)
    {
        filling.answer.set_time(row, time);
    }
    count(broker, cx, number);
}

fn count<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, number: u64) {
    let open = &mut broker.times.open;
    let Some(filling) = open.get_mut(&number) else { return };
    filling.missing -= 1;
    if filling.missing > 0 {
        return;
    }
    let Filling { to, ticket, answer, .. } = open.remove(&number).expect("found above");
    cx.mail(to, BrokerMail::Meta(MetaMail::Answer { ticket, answer }));
}
