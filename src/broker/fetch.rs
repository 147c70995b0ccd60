//! Records by their place in the log: a message by its offset, and the messages of a query by key.
//!
//! One record is read at a time, from memory or from its file; nothing blocks a turn. A place where no record of its own
//! begins, or one that readers may not see yet, is left out. Limits: the reads in flight on a shard, see `cold`, and the
//! bytes of one answer.

use crate::app::{Broker, Host};
use crate::cold::{self, ENDS, FETCHES, GroupKey, OWN};
use crate::handlers::meta::ask_client::{self, ConsumeWish};
use crate::handlers::query;
use crate::handlers::send_back::{self, Wish};
use crate::handlers::transaction::{self, Resume};
use crate::mail::{BrokerMail, FoundRecord, QueryMail, QueryPart};
use crate::timer::{self, TimerFetch};
use crate::transactions::{check, check::Taken, end, end::End};
use base::ids::{ConnId, ShardId};
use shard::Cx;
use store::Store;
use store::index::{IndexHits, IndexQuery};
use wire::ids::PhyOffset;
use wire::message::{MAGIC_V1, MAGIC_V2, MessageView, declared_size};
use wire::reply::FrameHead;

/// Bytes read of a record whose size is not known: most records are whole then.
const FIRST_READ_BYTES: usize = 4096;
/// No record is larger: a frame limits what a client can send.
const RECORD_BYTES_MAX: usize = 17 << 20;
/// Bytes of records in one answer, unless the first one is larger: clients take frames of 16 MiB at most.
pub(crate) const ANSWER_BYTES_MAX: usize = 15 << 20;

/// Who wants the records.
pub(crate) enum Purpose {
    /// A client wants the one at this offset.
    View { conn: ConnId, head: FrameHead, offset: i64 },
    /// Messages whose time has come.
    Timer(TimerFetch),
    /// A consumer could not consume it.
    SendBack(Wish),
    /// A producer ends the transaction of this half.
    End(End),
    /// A round of checks takes up this half.
    Half(Taken),
    /// A half that was given up is to be checked again.
    Resume(Resume),
    /// A consumer is to consume it.
    Consume(ConsumeWish),
    /// A shard collects the answer to a query.
    Query { to: ShardId, ticket: u64, part: QueryPart },
}

/// Records that are being read.
pub(crate) struct Fetch {
    purpose: Purpose,
    /// The index is asked first; with what was found in memory.
    query: Option<(IndexQuery, IndexHits)>,
    /// Places still to read, the next one last.
    places: Vec<PhyOffset>,
    /// The size of the record that is being read, once it is known.
    size: Option<usize>,
    found: Vec<FoundRecord>,
    bytes: usize,
}

impl Fetch {
    /// What it is counted for while it waits for its turn to read.
    pub(crate) fn group(&self) -> GroupKey {
        match self.purpose {
            Purpose::Timer(_) | Purpose::Half(_) => OWN,
            Purpose::End(_) => ENDS,
            Purpose::View { .. }
            | Purpose::SendBack(_)
            | Purpose::Resume(_)
            | Purpose::Consume(_)
            | Purpose::Query { .. } => FETCHES,
        }
    }

    /// The record at one place, for a client.
    pub(crate) fn view(conn: ConnId, head: FrameHead, offset: i64, place: PhyOffset) -> Fetch {
        Fetch::new(Purpose::View { conn, head, offset }, None, vec![place])
    }

    /// The record at one place, which a consumer sends back.
    pub(crate) fn send_back(wish: Wish, place: PhyOffset) -> Fetch {
        Fetch::new(Purpose::SendBack(wish), None, vec![place])
    }

    /// Records whose time has come; the last place is the first one.
    pub(crate) fn timer(fetch: TimerFetch, places: Vec<PhyOffset>) -> Fetch {
        Fetch::new(Purpose::Timer(fetch), None, places)
    }

    /// The half at one place, which its producer ends.
    pub(crate) fn end(end: End, place: PhyOffset) -> Fetch {
        Fetch::new(Purpose::End(end), None, vec![place])
    }

    /// The half at one place, which a round of checks takes up.
    pub(crate) fn half(taken: Taken, place: PhyOffset) -> Fetch {
        Fetch::new(Purpose::Half(taken), None, vec![place])
    }

    /// The half at one place, which was given up.
    pub(crate) fn resume(resume: Resume, place: PhyOffset) -> Fetch {
        Fetch::new(Purpose::Resume(resume), None, vec![place])
    }

    /// The record at one place, which a tool wants a consumer to consume.
    pub(crate) fn consume(wish: ConsumeWish, place: PhyOffset) -> Fetch {
        Fetch::new(Purpose::Consume(wish), None, vec![place])
    }

    /// This shard's part of a query; `hits` are what is in memory.
    pub(crate) fn query(to: ShardId, ticket: u64, query: IndexQuery, hits: IndexHits) -> Fetch {
        let part = QueryPart::default();
        Fetch::new(Purpose::Query { to, ticket, part }, Some((query, hits)), Vec::new())
    }

    fn new(
        purpose: Purpose,
        query: Option<(IndexQuery, IndexHits)>,
        places: Vec<PhyOffset>,
    ) -> Fetch {
        Fetch { purpose, query, places, size: None, found: Vec::new(), bytes: 0 }
    }

    /// Takes what the index files have, newest first.
    fn take_hits(&mut self, query: &IndexQuery, mut hits: IndexHits, in_files: IndexHits) {
        hits.merge(in_files);
        if let Purpose::Query { part, .. } = &mut self.purpose {
            (part.last_timestamp, part.last_phy) = (hits.last_timestamp, hits.last_phy);
            part.is_hit = !hits.places.is_empty();
        }
        // The newest of each stream; which of those are the newest of all only their records tell.
        let mut of_stream = (None, 0);
        hits.places.retain(|place| {
            let stream = Some(place.stream());
            of_stream = if of_stream.0 == stream { (stream, of_stream.1 + 1) } else { (stream, 1) };
            of_stream.1 <= query.count_max
        });
        hits.places.reverse();
        self.places = hits.places;
    }

    fn has_enough(&self) -> bool {
        self.places.is_empty() || self.bytes >= ANSWER_BYTES_MAX
    }

    /// Keeps the record that was read, if there is one at the next place.
    fn take_record(&mut self, store: &Store, bytes: &[u8]) {
        self.size = None;
        let Some(place) = self.places.pop() else { return };
        let Ok((view, size)) = MessageView::parse(bytes) else { return };
        let end = place.position() + size as u64;
        let is_there = view.phy_offset() == place && end <= store.stream(place.stream()).visible();
        if is_there && (self.found.is_empty() || self.bytes + size <= ANSWER_BYTES_MAX) {
            self.bytes += size;
            let timestamp = view.store_timestamp().0;
            self.found.push(FoundRecord { place, timestamp, bytes: view.bytes().to_vec() });
        }
    }
}

/// Begins, once there is room for another read.
pub(crate) fn run<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, fetch: Fetch) {
    match &fetch.query {
        Some((query, _)) => {
            let query = *query;
            let token = cold::park_fetch(broker, fetch);
            cx.query_index(query, token);
        }
        None => go_on(broker, cx, fetch),
    }
}

/// What the index or a log file brought.
pub(crate) fn on_read<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    mut fetch: Fetch,
    bytes: &[u8],
) {
    if let Some((query, hits)) = fetch.query.take() {
        fetch.take_hits(&query, hits, IndexHits::decode(bytes));
    } else {
        let whole = declared_size(bytes).filter(|size| *size <= RECORD_BYTES_MAX);
        match (whole, fetch.size, fetch.places.last().copied()) {
            (Some(size), None, Some(place)) if size > bytes.len() && begins(bytes, place) => {
                fetch.size = Some(size);
                let token = cold::park_fetch(broker, fetch);
                cx.read_log(place, vec![0; size], token);
                return;
            }
            _ => fetch.take_record(cx.store(), bytes),
        }
    }
    go_on(broker, cx, fetch);
}

/// Whether a record that says it lies at `place` begins here. A client may ask for any place, also inside a body of its making.
fn begins(bytes: &[u8], place: PhyOffset) -> bool {
    let magic = bytes.get(4..8).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(u32::from_be_bytes);
    let own = bytes.get(28..36).and_then(|b| <[u8; 8]>::try_from(b).ok()).map(u64::from_be_bytes);
    matches!(magic, Some(MAGIC_V1 | MAGIC_V2)) && own == Some(place.0)
}

fn go_on<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, mut fetch: Fetch) {
    while !fetch.has_enough() {
        let place = *fetch.places.last().expect("there is one, or it has enough");
        let store = cx.store();
        let Some(head) = store.tail(place, size_of::<u32>()) else {
            let token = cold::park_fetch(broker, fetch);
            cx.read_log(place, vec![0; FIRST_READ_BYTES], token);
            return;
        };
        let size = declared_size(head).filter(|size| *size <= RECORD_BYTES_MAX);
        let record = size.and_then(|size| store.tail(place, size)).unwrap_or_default();
        fetch.take_record(store, record);
    }
    finish(broker, cx, fetch);
}

/// Refuses what cannot even wait.
pub(crate) fn refuse<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, fetch: Fetch, why: &str) {
    match fetch.purpose {
        Purpose::Timer(fetch) => timer::on_not_fetched(broker, cx, fetch, why),
        Purpose::SendBack(wish) => send_back::refuse(cx, &wish, why),
        Purpose::End(end) => end::refuse(cx, &end, why),
        Purpose::Half(taken) => check::refuse(broker, cx, &taken, why),
        Purpose::Resume(resume) => transaction::refuse(cx, &resume, why),
        Purpose::Consume(wish) => ask_client::on_read(cx, wish, Err(why.to_owned())),
        Purpose::View { conn, head, .. } => query::refuse(cx, conn, head, why),
        Purpose::Query { .. } => {
            tracing::warn!("a query by key misses messages: {why}");
            finish(broker, cx, fetch);
        }
    }
}

fn finish<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, fetch: Fetch) {
    match fetch.purpose {
        Purpose::Timer(of) => timer::on_fetched(broker, cx, of, &fetch.found),
        Purpose::SendBack(wish) => send_back::on_found(broker, cx, wish, fetch.found.first()),
        Purpose::End(end) => end::on_found(broker, cx, end, fetch.found.first()),
        Purpose::Half(taken) => check::on_found(broker, cx, &taken, fetch.found.first()),
        Purpose::Resume(resume) => {
            transaction::on_found(broker, cx, &resume, fetch.found.first());
        }
        Purpose::Consume(wish) => {
            let record = fetch.found.into_iter().next().map(|found| found.bytes);
            ask_client::on_read(cx, wish, Ok(record));
        }
        Purpose::View { conn, head, offset } => {
            query::answer_view(cx, conn, head, offset, fetch.found.first());
        }
        Purpose::Query { to, ticket, part } => {
            let part = QueryPart { records: fetch.found, ..part };
            cx.mail(to, BrokerMail::Query(QueryMail::Part { ticket, part }));
        }
    }
}
