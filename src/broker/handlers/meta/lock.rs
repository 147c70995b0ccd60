//! Queue locks of ordered consumers: 41 and 42.

use crate::app::{Broker, Host};
use crate::handlers::meta::{concluded, unreadable};
use crate::handlers::{Outcome, Request};
use crate::refusal::Refusal;
use shard::Cx;
use wire::body::client::{LockBatchRequest, LockBatchResponse};
use wire::codes::response;
use wire::json;

/// Locks queues for a client, or renews its locks; answers with those it holds.
pub(crate) fn on_lock<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    concluded(lock(broker, cx, request))
}

fn lock<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Result<Outcome, Refusal> {
    let ask: LockBatchRequest =
        json::from_slice(request.frame.body).map_err(|error| unreadable(&error))?;
    let locks = &mut broker.meta.home().locks;
    let held = locks.lock(&ask.consumer_group, &ask.client_id, &ask.mq_set, cx.now.mono);
    let lock_ok_mq_set = held.map_err(|problem| Refusal::new(response::SYSTEM_ERROR, problem))?;
    let mut body = Vec::new();
    json::write_default(&mut body, &LockBatchResponse { lock_ok_mq_set });
    request.reply(cx, |_| {}, &body);
    Ok(Outcome::Done)
}

/// Gives a client's locks back.
pub(crate) fn on_unlock<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let ask: LockBatchRequest = match json::from_slice(request.frame.body) {
        Ok(ask) => ask,
        Err(error) => return unreadable(&error).into(),
    };
    broker.meta.home().locks.unlock(&ask.consumer_group, &ask.client_id, &ask.mq_set);
    request.succeed(cx);
    Outcome::Done
}
