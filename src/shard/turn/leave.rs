//! The end of a shard's work: goodbyes of the application, then the disk and the open answers, each with its time.
//!
//! Nothing is waited for without a limit; what is given up is said, and the next start recovers it.

use super::Shard;
use crate::app::App;
use crate::cx::Cx;
use crate::stop::Waited;
use base::time::MonoNs;
use ha::ack_gate::AckGate;
use store::Store;

/// How long the application's goodbyes may take, beside what it asks for itself.
const LEAVE_MS: u64 = 10_000;
/// How long the store may take to become durable before the rest is left to recovery: 50,000 queues need some 10 s.
const SETTLE_MS: u64 = 30_000;
/// How long sockets may take for what was answered, once all else is done: a peer that does not read gets no more.
const OUTPUT_MS: u64 = 2_000;
/// Pause between two lines that say what is waited for.
const SAY_MS: u64 = 1_000;

/// Replies to messages that are not as safe as they have to be.
const ANSWERS: &str = "open answers";
/// The log, its queues, and the checkpoint.
const DISK: &str = "disk";
/// What the sockets have not taken.
const OUTPUT: &str = "unsent output";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Running,
    /// The application says goodbye.
    Leaving {
        until: MonoNs,
    },
    /// The store becomes durable, output is sent.
    Settling {
        until: MonoNs,
    },
    Stopped,
}

/// When a stop was asked for, and since when its parts are there.
#[derive(Default)]
pub(super) struct Leave {
    began: MonoNs,
    said: MonoNs,
    answered: Option<MonoNs>,
    durable: Option<MonoNs>,
    sent: Option<MonoNs>,
}

impl Leave {
    /// Since when nothing but output is missing.
    fn settled(&self) -> Option<MonoNs> {
        self.answered.zip(self.durable).map(|(answered, durable)| answered.max(durable))
    }
}

impl<A: App> Shard<A> {
    pub(super) fn advance_phase(&mut self) {
        let now = self.now.mono;
        match self.phase {
            Phase::Running if self.stop.is_raised() => {
                self.reactor.stop_listening();
                let limit_ms = self.app.lingers_ms().saturating_add(LEAVE_MS);
                self.phase = Phase::Leaving { until: now.plus_ms(limit_ms) };
                self.leave.began = now;
                self.leave.said = now;
                self.app.on_stop(&mut cx!(self));
            }
            Phase::Leaving { until } if self.app.may_stop() || now >= until => {
                if let Some(store) = self.store.as_mut() {
                    store.close();
                }
                self.phase = Phase::Settling { until: now.plus_ms(SETTLE_MS) };
            }
            Phase::Settling { until } => {
                self.look_at_parts(now);
                let is_sent = self.leave.sent.is_some();
                let is_over = |since: MonoNs| is_sent || now >= since.plus_ms(OUTPUT_MS);
                let is_done = self.leave.settled().is_some_and(is_over);
                if is_done || now >= until {
                    self.phase = Phase::Stopped;
                }
            }
            Phase::Running | Phase::Leaving { .. } | Phase::Stopped => {}
        }
        self.say_what_is_missing(now);
    }

    /// Notes what is there now; output may come back while answers are open.
    fn look_at_parts(&mut self, now: MonoNs) {
        let since = |is_there: bool, before: Option<MonoNs>| match is_there {
            true => before.or(Some(now)),
            false => None,
        };
        let is_durable = self.store.as_ref().is_none_or(Store::is_closed);
        let is_answered = self.gates.iter().all(|(_, gate): &(_, AckGate)| gate.is_empty());
        self.leave.durable = since(is_durable, self.leave.durable);
        self.leave.answered = since(is_answered, self.leave.answered);
        self.leave.sent = since(!self.conns.has_output(), self.leave.sent);
    }

    fn parts(&self) -> Vec<(&'static str, Option<MonoNs>)> {
        let goodbyes = self.app.goodbyes().into_iter().map(|part| (part.what, part.done));
        let Leave { answered, durable, sent, .. } = self.leave;
        let own = [(ANSWERS, answered), (DISK, durable), (OUTPUT, sent)];
        goodbyes.chain(own).collect()
    }

    fn say_what_is_missing(&mut self, now: MonoNs) {
        let is_stopping = matches!(self.phase, Phase::Leaving { .. } | Phase::Settling { .. });
        if !is_stopping || now < self.leave.said.plus_ms(SAY_MS) {
            return;
        }
        self.leave.said = now;
        let missing = self.parts().into_iter().filter(|(_, done)| done.is_none());
        let missing: Vec<&str> = missing.map(|(what, _)| what).collect();
        let waited_ms = now.since(self.leave.began) / 1_000_000;
        let what = missing.join(", ");
        tracing::info!("{}: stopping for {waited_ms} ms, waits for: {what}", self.me);
    }

    /// The shard has ended: what it leaves to the next start, and how long each part took.
    pub(super) fn note_stop(&mut self) {
        let began = self.leave.began;
        let ms = |done: MonoNs| done.since(began) / 1_000_000;
        let waited = |(what, done): (_, Option<MonoNs>)| Waited { what, took_ms: done.map(ms) };
        let parts: Vec<Waited> = self.parts().into_iter().map(waited).collect();
        if began > MonoNs::default() {
            self.stop.note_waited(self.me, &parts);
        }
        if self.is_clean() {
            self.drop_windows();
            self.stop.note_clean(self.stopped_queues());
        }
    }

    /// After an orderly close nothing is left in memory for the next start.
    fn drop_windows(&self) {
        for stream in self.store.iter().flat_map(Store::streams) {
            if let Err(error) = stream.window().unlink() {
                tracing::warn!("stream {}: removing the log window: {error}", stream.id().0);
            }
        }
    }

    /// Whether the store was closed with everything in place.
    fn is_clean(&self) -> bool {
        self.store.as_ref().is_none_or(|s| s.failure().is_none() && s.is_closed())
    }
}
