//! Requests of the broker to clients whose answers somebody waits for. On the metadata shard, which knows the clients.
//!
//! An answer counts when it comes by the connection that was asked, with the number of an open relay. Each ends once: with
//! the answer, when its time is up, or with the connection. Limits: open relays, bytes of them, header of an answer.
//! Java: Broker2Client, `RemotingServer.invokeSync`.

use crate::app::{Broker, Host};
use crate::handlers::meta::{Home, ask_client, reply, upkeep};
use crate::handlers::{FLAG_ONEWAY, reply_head};
use crate::refusal::Refusal;
use base::ids::ConnId;
use base::time::MonoNs;
use hashbrown::HashMap;
use shard::Cx;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use wire::codes::{MQ_VERSION_5_5_0, response};
use wire::frame::{Frame, SerializeType};
use wire::header::{Fields, Header};
use wire::reply::{FrameHead, FrameWriter};

/// How long a client may take (Java: `Broker2Client.callClient`).
pub(crate) const ANSWER_MS: u64 = 10_000;
/// Relays that are open.
const OPEN_MAX: usize = 16_384;
/// Bytes of requests that clients have not answered yet, and of what is kept until they have.
const BYTES_MAX: usize = 64 << 20;
/// Bytes of a header that is passed on: written anew, it may be several times as long.
pub(crate) const HEADER_BYTES_MAX: usize = 256 << 10;

/// Who waits for the answer.
pub(crate) enum RelayFor {
    /// A tool: it gets the answer as it is.
    Asker(Asker),
    /// A survey of a group's members: this member's part.
    Survey { survey: u64, client_id: Arc<str> },
    /// Whoever sent a reply.
    Reply(Box<reply::Pushing>),
}

impl RelayFor {
    /// What is kept for it while the client is asked, beside what the client is sent.
    fn bytes(&self) -> usize {
        match self {
            RelayFor::Asker(asker) => asker.group.len() + asker.client_id.len(),
            RelayFor::Survey { .. } => 0,
            RelayFor::Reply(pushing) => pushing.bytes(),
        }
    }
}

/// A tool that asked for one client.
pub(crate) struct Asker {
    pub(crate) conn: ConnId,
    pub(crate) opaque: i32,
    pub(crate) is_oneway: bool,
    pub(crate) group: String,
    pub(crate) client_id: String,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum NoAnswer {
    /// Its time, of so many milliseconds, is up.
    TimedOut(u64),
    /// The connection has ended.
    Gone,
    /// It was not asked, or its answer was not taken, because of a limit.
    Limit(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::TimedOut(wait_ms) => write!(f, "no answer for {wait_ms} ms"),
            NoAnswer::Gone => f.write_str("its connection has ended"),
            NoAnswer::Limit(limit) => f.write_str(limit),
        }
    }
}

/// A client's answer.
pub(crate) struct Answered<'f> {
    pub(crate) header: Header<'f>,
    pub(crate) body: &'f [u8],
}

/// What the client said, or why it said nothing.
pub(crate) type Said<'f> = Result<Answered<'f>, NoAnswer>;

struct Relay {
    conn: ConnId,
    until: MonoNs,
    wait_ms: u64,
    bytes: usize,
    what: RelayFor,
}

/// Requests that clients have not answered yet.
#[derive(Default)]
pub(crate) struct Relays {
    open: HashMap<i32, Relay>,
    by_time: BTreeSet<(MonoNs, i32)>,
    bytes: usize,
}

impl Relays {
    fn take(&mut self, opaque: i32) -> Option<Relay> {
        let relay = self.open.remove(&opaque)?;
        self.by_time.remove(&(relay.until, opaque));
        self.bytes -= relay.bytes;
        Some(relay)
    }

    fn is_asked(&self, conn: ConnId, opaque: i32) -> bool {
        self.open.get(&opaque).is_some_and(|relay| relay.conn == conn)
    }

    /// When the first one's time is up.
    pub(crate) fn next_deadline(&self) -> Option<MonoNs> {
        self.by_time.first().map(|(until, _)| *until)
    }

    /// Why there is no room for one more.
    fn no_room(&self, bytes: usize) -> Option<String> {
        if self.open.len() >= OPEN_MAX {
            return Some(format!("{OPEN_MAX} requests to clients are not answered yet, the limit"));
        }
        (self.bytes + bytes > BYTES_MAX).then(|| {
            format!(
                "{} bytes of requests to clients are not answered yet, the limit is {BYTES_MAX}",
                self.bytes + bytes
            )
        })
    }
}

fn head(home: &mut Home, code: i32, flag: i32) -> FrameHead {
    let opaque = home.next_opaque();
    FrameHead { serialize: SerializeType::Json, code, opaque, flag, version: MQ_VERSION_5_5_0 }
}

/// Writes a request that wants no answer to a client.
pub(crate) fn send_oneway<H: Host>(
    home: &mut Home,
    cx: &mut Cx<'_, H>,
    conn: ConnId,
    code: i32,
    fields: impl FnOnce(&mut FrameWriter<'_>),
    body: &[u8],
) {
    write(cx, conn, head(home, code, FLAG_ONEWAY), fields, body);
}

fn write<H: Host>(
    cx: &mut Cx<'_, H>,
    conn: ConnId,
    head: FrameHead,
    fields: impl FnOnce(&mut FrameWriter<'_>),
    body: &[u8],
) {
    let mut writer = FrameWriter::begin(cx.output(conn), head);
    fields(&mut writer);
    let mut writer = writer.body();
    writer.bytes().extend_from_slice(body);
    writer.finish();
}

/// Whom to ask what.
pub(crate) struct Ask {
    pub(crate) conn: ConnId,
    pub(crate) code: i32,
    pub(crate) wait_ms: u64,
    pub(crate) what: RelayFor,
}

/// Writes a request to a client; whoever waits hears of it in this call when it cannot be asked, otherwise later.
pub(crate) fn ask<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    ask: Ask,
    fields: impl FnOnce(&mut FrameWriter<'_>),
    body: &[u8],
) {
    let home = broker.meta.home();
    let bytes = body.len() + ask.what.bytes();
    if let Some(limit) = home.relays.no_room(bytes) {
        conclude(broker, cx, ask.what, Err(NoAnswer::Limit(limit)));
        return;
    }
    if cx.is_full(ask.conn) {
        let limit = "it does not take what it was sent before".to_owned();
        conclude(broker, cx, ask.what, Err(NoAnswer::Limit(limit)));
        return;
    }
    let head = head(home, ask.code, 0);
    let until = cx.now.mono.plus_ms(ask.wait_ms);
    let Ask { conn, wait_ms, what, .. } = ask;
    let relay = Relay { conn, until, wait_ms, bytes, what };
    home.relays.bytes += relay.bytes;
    home.relays.by_time.insert((until, head.opaque));
    home.relays.open.insert(head.opaque, relay);
    write(cx, conn, head, fields, body);
    upkeep::arm(broker, cx);
}

/// A response has come: whether somebody waited for it.
pub(crate) fn on_response<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    conn: ConnId,
    header: &Header<'_>,
    frame: &Frame<'_>,
) -> bool {
    let relays = &mut broker.meta.home().relays;
    if !relays.is_asked(conn, header.opaque) {
        return false;
    }
    let what = relays.take(header.opaque).expect("it is open").what;
    let bytes = frame.header.len();
    let said = if bytes > HEADER_BYTES_MAX {
        Err(NoAnswer::Limit(format!(
            "the header of its answer has {bytes} bytes, the limit is {HEADER_BYTES_MAX}"
        )))
    } else {
        Ok(Answered { header: *header, body: frame.body })
    };
    conclude(broker, cx, what, said);
    true
}

/// Ends what has waited long enough.
pub(crate) fn expire<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    loop {
        let relays = &mut broker.meta.home().relays;
        let due = relays.by_time.first().filter(|(until, _)| *until <= cx.now.mono);
        let Some((_, opaque)) = due.copied() else { return };
        let relay = relays.take(opaque).expect("listed while it is open");
        conclude(broker, cx, relay.what, Err(NoAnswer::TimedOut(relay.wait_ms)));
    }
}

/// A connection has ended: it answers nothing any more.
pub(crate) fn on_conn_closed<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, conn: ConnId) {
    let open = &broker.meta.home().relays.open;
    let asked = open.iter().filter(|(_, relay)| relay.conn == conn);
    for opaque in asked.map(|(opaque, _)| *opaque).collect::<Vec<i32>>() {
        let relay = broker.meta.home().relays.take(opaque).expect("it is open");
        conclude(broker, cx, relay.what, Err(NoAnswer::Gone));
    }
}

fn conclude<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, what: RelayFor, said: Said<'_>) {
    match what {
        RelayFor::Asker(asker) => pass_on(cx, &asker, said),
        RelayFor::Survey { survey, client_id } => {
            ask_client::on_part(broker, cx, survey, &client_id, said);
        }
        RelayFor::Reply(pushing) => reply::on_pushed(broker, cx, *pushing, said),
    }
}

/// The tool gets the client's answer as it is.
fn pass_on<H: Host>(cx: &mut Cx<'_, H>, asker: &Asker, said: Said<'_>) {
    if asker.is_oneway {
        return;
    }
    match said {
        Ok(answer) => {
            let header = &answer.header;
            let head = reply_head(header.code, asker.opaque);
            let mut writer = FrameWriter::begin(cx.output(asker.conn), head);
            copy_fields(&mut writer, &header.fields, &[]);
            if let Some(remark) = header.remark {
                writer.remark(&remark.to_cow());
            }
            let mut writer = writer.body();
            writer.bytes().extend_from_slice(answer.body);
            writer.finish();
        }
        Err(why) => asker.refuse(cx, &why),
    }
}

impl Asker {
    fn refuse<H: Host>(&self, cx: &mut Cx<'_, H>, why: &NoAnswer) {
        let (group, client_id) = (&self.group, &self.client_id);
        let refusal = match why {
            NoAnswer::TimedOut(_) => Refusal::new(
                response::CONSUME_MSG_TIMEOUT,
                format!("consumer <{group}> <{client_id}> Timeout: {why}"),
            ),
            NoAnswer::Gone | NoAnswer::Limit(_) => Refusal::new(
                response::SYSTEM_ERROR,
                format!("invoke consumer <{group}> <{client_id}> Exception: {why}"),
            ),
        };
        let head = reply_head(refusal.code, self.opaque);
        let mut writer = FrameWriter::begin(cx.output(self.conn), head);
        writer.remark(&refusal.remark);
        writer.finish();
    }
}

/// Writes fields as they came, but for some; also for those with keys that no program of RocketMQ uses.
pub(crate) fn copy_fields(writer: &mut FrameWriter<'_>, fields: &Fields<'_>, but: &[&str]) {
    for (key, value) in fields.iter() {
        let Some(key) = key.as_plain().and_then(|key| std::str::from_utf8(key).ok()) else {
            continue;
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if key.bytes().all(is_name) && !but.contains(&key) {
            writer.field_str(key, value.to_cow().as_bytes());
        }
    }
}
