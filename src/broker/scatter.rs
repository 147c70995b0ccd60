//! Broadcasts that wait until every shard has taken the change: then the reply goes out, or the request goes on.

use crate::app::{Broker, Host};
use crate::handlers::meta::clean::NotNoted;
use crate::handlers::meta::upkeep;
use crate::mail::{BrokerDone, BrokerMail, ScatterId};
use crate::tables::TableFile;
use base::ids::{ConnId, ShardId};
use shard::{Cx, Peer};
use std::collections::HashMap;
use wire::codes::response;
use wire::reply::patch_refusal;

/// What happens when all receipts are there.
pub(crate) enum Then {
    /// These frames are sent.
    Reply { conn: ConnId, bytes: Vec<u8> },
    /// This answer is sent when the background jobs of this shard are done that were submitted before; as one of failure when
    /// a shard could not note what was deleted.
    ReplyAfterJobs { conn: ConnId, bytes: Vec<u8>, not_noted: NotNoted },
    /// The request is handled again, from the start.
    Redispatch { conn: ConnId, peer: Peer, frame: Vec<u8> },
    /// That, when these tables have so many changes in their files.
    WhenWritten { tables: Vec<(TableFile, u64)>, then: Box<Then> },
    /// A shard gets this mail.
    Mail { to: ShardId, mail: Box<BrokerMail> },
    /// Nothing.
    Nothing,
}

struct Scatter {
    missing: usize,
    then: Vec<Then>,
}

/// Broadcasts of this shard that wait for receipts.
#[derive(Default)]
pub(crate) struct Scatters {
    open: HashMap<ScatterId, Scatter>,
    next: u64,
}

impl Scatters {
    fn begin(&mut self, missing: usize, then: Then) -> ScatterId {
        let id = ScatterId(self.next);
        self.next += 1;
        self.open.insert(id, Scatter { missing, then: vec![then] });
        id
    }

    /// Counts a receipt; the last one hands out what was to follow.
    pub(crate) fn receipt(&mut self, id: ScatterId) -> Option<Vec<Then>> {
        let scatter = self.open.get_mut(&id)?;
        scatter.missing -= 1;
        if scatter.missing > 0 {
            return None;
        }
        Some(self.open.remove(&id).expect("found above").then)
    }
}

/// Mails `mail` to every other shard; `then` follows when all have taken it, at once when there is no other.
pub(crate) fn broadcast<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    then: Then,
    mail: impl Fn(ScatterId) -> BrokerMail,
) {
    let others = broker.shards - 1;
    if others == 0 {
        finish(broker, cx, vec![then]);
        return;
    }
    let id = broker.scatters.begin(others, then);
    for shard in 0..broker.shards {
        let to = ShardId(u16::try_from(shard).expect("fewer than 65536 shards"));
        if to != broker.me {
            cx.mail(to, mail(id));
        }
    }
}

/// Does what was to follow.
pub(crate) fn finish<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, then: Vec<Then>) {
    for then in then {
        match then {
            Then::Reply { conn, bytes } => cx.output(conn).extend_from_slice(&bytes),
            Then::ReplyAfterJobs { conn, mut bytes, not_noted } => {
                cx.job(Box::new(move || {
                    if let Some(why) = not_noted.get().filter(|_| !bytes.is_empty()) {
                        let why = format!(
                            "the topic is deleted, but that cannot be noted: {why}; after a crash it may come back"
                        );
                        patch_refusal(&mut bytes, 0, response::SYSTEM_ERROR, &why);
                    }
                    H::done(BrokerDone::Reply { conn, bytes })
                }));
            }
            Then::Redispatch { conn, peer, frame } => {
                if let Ok(Some((frame, _))) = wire::frame::split(&frame) {
                    broker.on_frame(cx, conn, peer, &frame);
                }
            }
            Then::WhenWritten { tables, then } => upkeep::when_written(broker, cx, tables, *then),
            Then::Mail { to, mail } => cx.mail(to, *mail),
            Then::Nothing => {}
        }
    }
}
