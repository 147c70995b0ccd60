//! The name server as an application of a shard, alone or beside a broker. Java: `NamesrvController`.
//!
//! It lives on one shard, the one with its listener. The plain methods are generic over the application, so that a
//! process with a broker can hold both; `wrap` turns what a background job answers into that application's type.

use crate::handlers;
use crate::kv::KvConfig;
use crate::limit::{self, WAITING_MAX};
use crate::request::{Answer, Refusal, Request, begin};
use crate::routes::RouteTable;
use crate::save::{NamesrvDone, SaveJob, SavedFile, Saves, Waiter};
use base::config::Config;
use base::ids::{ConnId, ShardId};
use base::limit::LineLimit;
use base::time::{MonoNs, Now};
use config::NamesrvConfig;
use shard::{App, Cx, Peer};
use std::collections::BTreeSet;
use store::queues::QueueNo;
use wire::codes::{request_name, response};
use wire::{FRAME_BYTES_MAX, Frame, Header, HeaderError};

/// Timer keys of the name server have this in their upper half ("name").
const TIMERS: u64 = 0x6e61_6d65_0000_0000;
/// Look for silent brokers.
const TIMER_SCAN: u64 = TIMERS;
/// Remove the brokers of ended connections.
const TIMER_CLOSED: u64 = TIMERS + 1;
/// How long ended connections are collected, in milliseconds: when a switch fails, many end at once.
const CLOSED_WAIT_MS: u64 = 2;
/// Log lines that clients can cause, per second.
const LINES_PER_SECOND: u32 = 100;

/// Whether a timer key is the name server's; for a process that also runs something else.
pub fn owns_timer(key: u64) -> bool {
    key >> 32 == TIMERS >> 32
}

/// There is no mail between name servers.
#[derive(Clone, Copy, Debug)]
pub enum NoMail {}

/// Everything a name server starts with, read from its files; may be sent to the shard's thread.
#[derive(Clone, Debug)]
pub struct Seed {
    settings: NamesrvConfig,
    config: Config,
    kv: KvConfig,
}

impl Seed {
    /// Reads the settings from `kvConfigPath`. Errors name the file.
    pub fn load(settings: NamesrvConfig, config: Config) -> Result<Seed, String> {
        let kv = KvConfig::load(&settings.kv_config_path)?;
        Ok(Seed { settings, config, kv })
    }

    /// The settings.
    pub fn settings(&self) -> &NamesrvConfig {
        &self.settings
    }
}

/// A name server.
pub struct NameServer {
    pub(crate) settings: NamesrvConfig,
    pub(crate) config: Config,
    pub(crate) routes: RouteTable,
    pub(crate) kv: KvConfig,
    /// Changed keys that the file of `configStorePath` does not hold yet.
    pub(crate) unsaved: BTreeSet<&'static str>,
    /// Keys of the write that is under way.
    saving: BTreeSet<&'static str>,
    kv_saves: Saves,
    config_saves: Saves,
    started: MonoNs,
    lines: LineLimit,
}

impl NameServer {
    /// A name server that knows no brokers yet.
    pub fn new(seed: Seed) -> NameServer {
        NameServer {
            settings: seed.settings,
            config: seed.config,
            routes: RouteTable::default(),
            kv: seed.kv,
            unsaved: BTreeSet::new(),
            saving: BTreeSet::new(),
            kv_saves: Saves::default(),
            config_saves: Saves::default(),
            started: MonoNs(0),
            lines: LineLimit::new(LINES_PER_SECOND),
        }
    }

    /// Before the first turn.
    pub fn start<A: App>(&mut self, cx: &mut Cx<'_, A>) {
        self.started = cx.now.mono;
        self.set_scan(cx);
    }

    /// A frame arrived on a connection of the name server's listener.
    pub fn on_frame<A: App>(
        &mut self,
        cx: &mut Cx<'_, A>,
        conn: ConnId,
        peer: Peer,
        frame: &Frame<'_>,
        wrap: fn(NamesrvDone) -> A::Done,
    ) {
        let now = cx.now;
        if let Err(error) = self.serve(now, conn, frame, cx.output(conn)) {
            self.say(now, || format!("connection {conn} from {} closed: {error}", peer.address));
            cx.close(conn);
        }
        self.start_saves(cx, wrap);
    }

    /// A connection has ended.
    pub fn on_closed<A: App>(&mut self, cx: &mut Cx<'_, A>, conn: ConnId) {
        if self.routes.note_closed(conn) {
            cx.set_timer(cx.now.mono.plus_ms(CLOSED_WAIT_MS), TIMER_CLOSED);
        }
    }

    /// A timer with a key that `owns_timer` has fired.
    pub fn on_timer<A: App>(&mut self, cx: &mut Cx<'_, A>, key: u64) {
        let now = cx.now;
        if key == TIMER_CLOSED {
            for gone in self.routes.drop_closed() {
                self.say(now, || {
                    format!("broker at {} is gone: its connection ended", gone.address)
                });
            }
            return;
        }
        assert!(key == TIMER_SCAN, "the name server sets two timers");
        for (gone, conn) in self.routes.drop_silent(now.mono) {
            self.say(now, || format!("broker at {} is gone: it was silent too long", gone.address));
            cx.close(conn);
        }
        self.set_scan(cx);
    }

    /// A file was written, or was not.
    pub fn on_done<A: App>(
        &mut self,
        cx: &mut Cx<'_, A>,
        done: NamesrvDone,
        wrap: fn(NamesrvDone) -> A::Done,
    ) {
        if let Err(error) = &done.result {
            tracing::error!("{error}");
        }
        for waiter in self.finish_save(&done) {
            waiter.answer(cx.output(waiter.conn), &done.result);
        }
        self.start_saves(cx, wrap);
    }

    /// Whether every change is on disk.
    pub fn may_stop(&self) -> bool {
        self.kv_saves.is_idle() && self.config_saves.is_idle()
    }

    fn set_scan<A: App>(&self, cx: &mut Cx<'_, A>) {
        let period_ms = self.settings.scan_not_active_broker_interval_ms;
        cx.set_timer(cx.now.mono.plus_ms(period_ms), TIMER_SCAN);
    }

    /// Answers one request; an error means that the peer does not speak the protocol.
    pub(crate) fn serve(
        &mut self,
        now: Now,
        conn: ConnId,
        frame: &Frame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), HeaderError> {
        let header = Header::decode(frame)?;
        if header.is_response() {
            // The name server asks nothing, so nothing can be answered.
            return Ok(());
        }
        let request = Request { header, body: frame.body, conn, now };
        let start = out.len();
        let mut done = self.dispatch(&request, out);
        let length = out.len() - start;
        if done.is_ok() && length > FRAME_BYTES_MAX {
            let remark = format!("the answer has {length} bytes, the limit is {FRAME_BYTES_MAX}");
            done = Err(Refusal::new(response::SYSTEM_ERROR, remark));
        }
        if done.is_err() || header.is_oneway() {
            out.truncate(start);
        }
        match done {
            Ok(Answer::Written) => {}
            Ok(Answer::AfterSave(file)) => {
                let (opaque, is_oneway) = (header.opaque, header.is_oneway());
                self.saves(file).wait(Waiter { conn, opaque, is_oneway });
            }
            Err(_) if header.is_oneway() => {}
            Err(refusal) => {
                let mut writer = begin(out, header.opaque, refusal.code);
                writer.remark(&refusal.remark);
                writer.finish();
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, request: &Request<'_>, out: &mut Vec<u8>) -> Result<Answer, Refusal> {
        let code = request.header.code;
        match handlers::row(code) {
            Some(row) => {
                tracing::trace!("{} from connection {}", row.name, request.conn);
                (row.handle)(self, request, out)
            }
            None => {
                let mut remark = format!(" request type {code} not supported");
                if let Some(name) = request_name(code) {
                    remark.push_str(": a name server does not answer ");
                    remark.push_str(name);
                }
                Err(Refusal::new(response::REQUEST_CODE_NOT_SUPPORTED, remark))
            }
        }
    }

    /// Whether routes may be answered: brokers have had the time to register, where that is asked for.
    pub(crate) fn is_ready(&self, now: MonoNs) -> bool {
        let wait_ms = self.settings.wait_for_service_s.saturating_mul(1000);
        !self.settings.need_wait_for_service || now >= self.started.plus_ms(wait_ms)
    }

    /// A log line about what a client did; not more of them than the log can take.
    pub(crate) fn say(&mut self, now: Now, text: impl FnOnce() -> String) {
        match self.lines.admit(now.mono) {
            Some(0) => tracing::info!("{}", text()),
            Some(left_out) => tracing::info!("{} ({left_out} lines left out before)", text()),
            None => {}
        }
    }

    // ---- files ----

    /// Refuses a change while too many wait for the disk.
    pub(crate) fn check_waiting(&self) -> Result<(), Refusal> {
        let waiting = self.kv_saves.len() + self.config_saves.len() + 1;
        limit::check("the number of changes waiting for the disk", waiting, WAITING_MAX)
            .map_err(|error| Refusal::new(response::SYSTEM_BUSY, error.to_string()))
    }

    fn saves(&mut self, file: SavedFile) -> &mut Saves {
        match file {
            SavedFile::Kv => &mut self.kv_saves,
            SavedFile::Config => &mut self.config_saves,
        }
    }

    fn start_saves<A: App>(&mut self, cx: &mut Cx<'_, A>, wrap: fn(NamesrvDone) -> A::Done) {
        while let Some(job) = self.next_save() {
            cx.job(Box::new(move || wrap(job.run())));
        }
    }

    pub(crate) fn next_save(&mut self) -> Option<SaveJob> {
        if self.kv_saves.begin() {
            let path = self.settings.kv_config_path.clone();
            return Some(SaveJob::Kv { path, bytes: self.kv.encode() });
        }
        if self.config_saves.begin() {
            self.saving = std::mem::take(&mut self.unsaved);
            let values = self.saving.iter().map(|key| (*key, self.config.value(key).to_string()));
            let path = self.settings.config_store_path.clone();
            return Some(SaveJob::Config { path, values: values.collect() });
        }
        None
    }

    /// Who waited for a write that has ended. What could not be written is tried again with the next change.
    pub(crate) fn finish_save(&mut self, done: &NamesrvDone) -> Vec<Waiter> {
        if done.file == SavedFile::Config {
            let saved = std::mem::take(&mut self.saving);
            if done.result.is_err() {
                self.unsaved.extend(saved);
            }
        }
        self.saves(done.file).end()
    }
}

/// A process that is a name server only.
impl App for NameServer {
    type Mail = NoMail;
    type Done = NamesrvDone;

    fn start(&mut self, cx: &mut Cx<'_, Self>) {
        NameServer::start(self, cx);
    }

    fn on_open(&mut self, _: &mut Cx<'_, Self>, _: ConnId, _: Peer) {}

    fn on_connected(&mut self, _: &mut Cx<'_, Self>, _: ConnId, _: Result<(), i32>) {}

    fn on_frame(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId, peer: Peer, frame: &Frame<'_>) {
        NameServer::on_frame(self, cx, conn, peer, frame, |done| done);
    }

    fn on_closed(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId) {
        NameServer::on_closed(self, cx, conn);
    }

    fn on_mail(&mut self, _: &mut Cx<'_, Self>, _: ShardId, mail: NoMail) {
        match mail {}
    }

    fn on_timer(&mut self, cx: &mut Cx<'_, Self>, key: u64) {
        NameServer::on_timer(self, cx, key);
    }

    fn on_done(&mut self, cx: &mut Cx<'_, Self>, done: NamesrvDone) {
        NameServer::on_done(self, cx, done, |done| done);
    }

    fn on_read(&mut self, _: &mut Cx<'_, Self>, _: u64, _: Result<Vec<u8>, i32>) {}

    fn on_stored(&mut self, _: &mut Cx<'_, Self>, _: u64, _: bool) {}

    fn on_news(&mut self, _: &mut Cx<'_, Self>, _: &[QueueNo]) {}

    fn on_stop(&mut self, _: &mut Cx<'_, Self>) {}

    fn may_stop(&self) -> bool {
        NameServer::may_stop(self)
    }
}

#[cfg(test)]
mod tests;
