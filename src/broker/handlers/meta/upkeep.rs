//! What goes on at home without being asked: registration, table files, expiry, and the goodbye.

use crate::app::{Broker, Host, TimerKind, timer_key};
use crate::filter_table::FilterFile;
use crate::handlers::meta::clean::NotNoted;
use crate::handlers::meta::{relay, session, topic};
use crate::mail::BrokerDone;
use crate::register::{Answer, Ask, Pace, Step};
use crate::scatter::{self, Then};
use crate::settings::Settings;
use crate::tables::{self, TableFile, begin_version, next_version, split_key};
use crate::topics::{PERM_READ, PERM_WRITE};
use base::ids::ConnId;
use base::time::MonoNs;
use shard::{Cx, Goodbye};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use wire::body::register::{RegisterBrokerBody, TopicConfig};
use wire::codes::{MQ_VERSION_5_0_0, MQ_VERSION_5_5_0, request, response};
use wire::frame::{FRAME_BYTES_MAX, Frame, SerializeType};
use wire::header::Header;
use wire::json;
use wire::reply::{FrameHead, FrameWriter, patch_refusal};
use wire::req::namesrv::{
    QueryDataVersionRequestHeader, RegisterBrokerRequestHeader, UnRegisterBrokerRequestHeader,
};
use wire::text::Text;

/// Period of looking for silent clients and old locks; shorter when clients may be silent for little longer.
const SCAN_MS: u64 = 10_000;
/// Shortest such period.
const SCAN_MS_MIN: u64 = 100;
/// Offsets that came are written after this long, together with those that come meanwhile.
const OFFSETS_GATHER_MS: u64 = 500;
/// Longest wait for the goodbyes.
const STOP_MS: u64 = 3000;
/// A registration body above this is deflated, so that it fits a frame.
const PLAIN_BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - (1 << 20);

/// Timer for `SCAN_MS`.
const TIMER_SCAN: u64 = 1;
/// Timer for whatever is due next.
const TIMER_DUE: u64 = 2;

/// How registration is paced by these settings.
pub(crate) fn pace(settings: &Settings) -> Pace {
    let config = &settings.config;
    Pace {
        period_ms: config.register_name_server_period_ms,
        timeout_ms: config.register_broker_timeout_ms,
        force: config.force_register,
    }
}

/// Before the first turn.
pub(crate) fn start<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    if !broker.is_meta() {
        return;
    }
    let now = cx.now;
    let home = broker.meta.home();
    home.began = now;
    home.filters.begin(now.wall);
    let versions = [
        &mut home.topics_version,
        &mut home.groups_version,
        &mut home.offsets.version,
        &mut home.config_version,
    ];
    for version in versions {
        begin_version(version, now.wall);
    }
    home.writes.touch(TableFile::Topics, now.mono);
    home.writes.touch(TableFile::Groups, now.mono);
    if !home.filters.is_empty() {
        home.writes.touch(TableFile::Filters, now.mono);
    }
    home.register.start(now.mono);
    cx.set_timer(now.mono.plus_ms(scan_ms(broker)), timer_key(TimerKind::Meta, TIMER_SCAN));
    settle(broker, cx);
}

fn scan_ms(broker: &Broker) -> u64 {
    let silence_ms = broker.settings.config.housekeeping.channel_expired_timeout_ms;
    (silence_ms / 4).clamp(SCAN_MS_MIN, SCAN_MS)
}

/// Carries out what has become due, and sets the timer for what is due next. Call it after every change at home.
pub(crate) fn settle<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    loop {
        let steps = broker.meta.home().register.take_steps();
        if steps.is_empty() {
            break;
        }
        for step in steps {
            carry_out(broker, cx, step);
        }
    }
    for file in broker.meta.home().writes.begin(cx.now.mono) {
        write(broker, cx, file);
    }
    check_stop(broker, cx.now.mono);
    arm(broker, cx);
}

/// Sets the timer for what is due next.
pub(crate) fn arm<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    let home = broker.meta.home();
    if home.may_stop {
        return;
    }
    let due = [
        home.register.next_deadline(),
        home.writes.next_due(),
        home.stop.as_ref().map(|stop| stop.until),
        home.relays.next_deadline(),
    ];
    let Some(due) = due.into_iter().flatten().min() else { return };
    match home.timer {
        Some((armed, _)) if armed == due => return,
        Some((_, timer)) => cx.cancel_timer(timer),
        None => {}
    }
    home.timer = Some((due, cx.set_timer(due, timer_key(TimerKind::Meta, TIMER_DUE))));
}

/// A timer has fired.
pub(crate) fn on_timer<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, value: u64) {
    let now = cx.now.mono;
    if value == TIMER_SCAN {
        cx.set_timer(now.plus_ms(scan_ms(broker)), timer_key(TimerKind::Meta, TIMER_SCAN));
        let span_ms = broker.settings.config.filter_data.clean_span_ms;
        let home = broker.meta.home();
        home.locks.expire(now);
        if home.filters.clean(cx.now.wall, span_ms) {
            home.writes.touch(TableFile::Filters, now);
        }
        session::expire(broker, cx);
        return;
    }
    let home = broker.meta.home();
    home.timer = None;
    home.register.tick(now);
    relay::expire(broker, cx);
    settle(broker, cx);
}

// ---- table files ----

fn write<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, file: TableFile) {
    let topics = if file == TableFile::Topics { topic::sorted(broker) } else { Vec::new() };
    let groups = match file {
        TableFile::Groups => broker.meta.groups.sorted().into_iter().map(Arc::clone).collect(),
        TableFile::Topics | TableFile::Offsets | TableFile::Delays | TableFile::Filters => {
            Vec::new()
        }
    };
    let home = broker.meta.home();
    let dir = home.config_dir.clone();
    let (topics_version, groups_version) = (home.topics_version, home.groups_version);
    let forbidden = home.forbidden.clone();
    let offsets_version = home.offsets.version;
    let delays = home.delays.clone();
    let offsets = if file == TableFile::Offsets { home.offsets.snapshot() } else { Vec::new() };
    let filters = match file {
        TableFile::Filters => home.filters.file(),
        TableFile::Topics | TableFile::Groups | TableFile::Offsets | TableFile::Delays => {
            FilterFile::default()
        }
    };
    cx.job(Box::new(move || {
        let text = match file {
            TableFile::Topics => tables::topics_text(topics_version, &topics),
            TableFile::Groups => tables::groups_text(groups_version, &forbidden, &groups),
            TableFile::Offsets => tables::offsets_text(offsets_version, &offsets),
            TableFile::Delays => tables::delays_text(&delays),
            TableFile::Filters => tables::filters_text(&filters),
        };
        let result =
            if dir.as_os_str().is_empty() { Ok(()) } else { tables::write(&dir, file, &text) };
        H::done(BrokerDone::TableWritten { name: file.name(), result })
    }));
}

/// A table was written, or was not.
pub(crate) fn on_table_written<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    name: &'static str,
    result: std::io::Result<()>,
) {
    let Some(file) = TableFile::from_name(name) else { return };
    let home = broker.meta.home();
    home.writes.end(file, &result, cx.now.mono);
    for (tables, mut then) in std::mem::take(&mut home.waiting) {
        if let Err(error) = &result
            && tables.iter().any(|(of, _)| *of == file)
        {
            // It goes on nevertheless: what was changed is in force.
            then = refused(
                then,
                &format!(
                    "{name} cannot be written: {error}; the change is in force, and lost at a restart"
                ),
            );
            scatter::finish(broker, cx, vec![then]);
        } else {
            when_written(broker, cx, tables, then);
        }
    }
    settle(broker, cx);
}

/// Does what is to follow when these tables have so many changes in their files.
pub(crate) fn when_written<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    tables: Vec<(TableFile, u64)>,
    then: Then,
) {
    let home = broker.meta.home();
    if tables.iter().all(|(file, changes)| home.writes.has_written(*file, *changes)) {
        scatter::finish(broker, cx, vec![then]);
    } else {
        home.waiting.push((tables, then));
    }
}

/// An answer of success becomes one of failure.
fn refused(then: Then, why: &str) -> Then {
    match then {
        Then::Reply { conn, mut bytes } => {
            if !bytes.is_empty() {
                patch_refusal(&mut bytes, 0, response::SYSTEM_ERROR, why);
            }
            Then::Reply { conn, bytes }
        }
        Then::ReplyAfterJobs { conn, mut bytes, .. } => {
            if !bytes.is_empty() {
                patch_refusal(&mut bytes, 0, response::SYSTEM_ERROR, why);
            }
            // One remark is enough.
            Then::ReplyAfterJobs { conn, bytes, not_noted: NotNoted::default() }
        }
        other @ (Then::Redispatch { .. }
        | Then::WhenWritten { .. }
        | Then::Mail { .. }
        | Then::Nothing) => other,
    }
}

/// A shard's changed offsets. Those of topics and groups that are gone meanwhile are left out.
pub(crate) fn on_offsets<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    changed: Vec<(Arc<[u8]>, i32, i64)>,
    delays: Vec<(i32, i64)>,
    last: bool,
) {
    let now = cx.now;
    if !delays.is_empty() {
        let home = broker.meta.home();
        home.delays.offset_table.extend(delays);
        next_version(home.delays.data_version.get_or_insert_default(), now.wall);
        home.writes.touch(TableFile::Delays, now.mono.plus_ms(OFFSETS_GATHER_MS));
    }
    let mut is_changed = false;
    for (key, queue, offset) in changed {
        let Some((topic, group)) = split_key(&key) else { continue };
        let is_known = broker.topics.get(topic).is_some();
        if is_known && broker.meta.groups.get(group).is_some() {
            broker.meta.home().offsets.set(key, queue, offset);
            is_changed = true;
        }
    }
    let shards = broker.shards;
    let home = broker.meta.home();
    if is_changed {
        next_version(&mut home.offsets.version, now.wall);
        home.writes.touch(TableFile::Offsets, now.mono.plus_ms(OFFSETS_GATHER_MS));
    }
    if last {
        home.last_offsets += 1;
        if home.last_offsets == shards {
            home.writes.hurry();
        }
    }
    settle(broker, cx);
}

// ---- the goodbye ----

/// What a stop waits for at home, and since when it is there.
#[derive(Debug)]
pub(crate) struct Stop {
    /// It waits no longer.
    until: MonoNs,
    /// Name servers were told, and have answered.
    unregistered: Option<MonoNs>,
    /// Every shard has delivered what it was about to, and told its last offsets.
    offsets: Option<MonoNs>,
    /// Every table is in its file.
    tables: Option<MonoNs>,
}

impl Stop {
    fn new(now: MonoNs) -> Stop {
        let until = now.plus_ms(STOP_MS);
        Stop { until, unregistered: None, offsets: None, tables: None }
    }

    /// Its parts, for people.
    pub(crate) fn goodbyes(&self) -> Vec<Goodbye> {
        let parts = [
            ("name servers", self.unregistered),
            ("last offsets of all shards", self.offsets),
            ("tables", self.tables),
        ];
        parts.into_iter().map(|(what, done)| Goodbye { what, done }).collect()
    }

    fn is_done(&self) -> bool {
        self.goodbyes().iter().all(|part| part.done.is_some())
    }
}

/// The process will stop in a while: nobody is to be sent here any more.
pub(crate) fn on_leave<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    if broker.is_meta() {
        broker.meta.home().register.stop(cx.now.mono);
        settle(broker, cx);
    }
}

/// The process is stopping.
pub(crate) fn on_stop<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>) {
    if !broker.is_meta() {
        return;
    }
    let now = cx.now.mono;
    let home = broker.meta.home();
    home.stop = Some(Stop::new(now));
    home.register.stop(now);
    settle(broker, cx);
}

fn check_stop(broker: &mut Broker, now: MonoNs) {
    let shards = broker.shards;
    let home = broker.meta.home();
    let Some(stop) = &mut home.stop else { return };
    if home.register.has_left() {
        stop.unregistered.get_or_insert(now);
    }
    let missing = shards.saturating_sub(home.last_offsets);
    if missing == 0 {
        stop.offsets.get_or_insert(now);
        if home.writes.is_settled() {
            stop.tables.get_or_insert(now);
        }
    }
    let (is_done, is_over) = (stop.is_done(), stop.until <= now);
    if !is_done && is_over && !home.may_stop {
        let missing = stop.goodbyes().into_iter().filter(|part| part.done.is_none());
        let missing: Vec<&str> = missing.map(|part| part.what).collect();
        tracing::warn!(
            "the goodbye took longer than {STOP_MS} ms, without: {}",
            missing.join(", ")
        );
    }
    home.may_stop |= is_done || is_over;
}

// ---- registration ----

fn carry_out<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, step: Step) {
    match step {
        Step::Resolve { server, name } => cx.job(Box::new(move || {
            let result = resolve(&name);
            H::done(BrokerDone::Resolved { server, result })
        })),
        Step::Connect { server, address } => {
            let conn = cx.connect(address);
            broker.meta.home().register.connecting(server, conn);
        }
        Step::Close(conn) => cx.close(conn),
        Step::Send { server: _, conn, opaque, ask, version } => {
            let mut bytes = Vec::new();
            encode(broker, &mut bytes, opaque, ask, version);
            cx.output(conn).extend_from_slice(&bytes);
        }
    }
}

fn resolve(name: &str) -> std::io::Result<SocketAddr> {
    let mut found = name.to_socket_addrs()?;
    found.next().ok_or_else(|| std::io::Error::other("the name is known, but has no address"))
}

fn encode(broker: &mut Broker, out: &mut Vec<u8>, opaque: i32, ask: Ask, version: i32) {
    let settings = Arc::clone(&broker.settings);
    let config = &settings.config;
    let address = settings.store_host.to_string();
    let broker_name = Text::plain(config.broker_name.as_bytes());
    let cluster_name = Text::plain(config.broker_cluster_name.as_bytes());
    let broker_addr = Text::plain(address.as_bytes());
    let broker_id = config.broker_id;
    let code = match ask {
        Ask::Version => request::QUERY_DATA_VERSION,
        Ask::Register => request::REGISTER_BROKER,
        Ask::Unregister => request::UNREGISTER_BROKER,
    };
    let head = FrameHead {
        serialize: SerializeType::Json,
        code,
        opaque,
        flag: 0,
        version: MQ_VERSION_5_5_0,
    };
    let mut body = Vec::new();
    match ask {
        Ask::Unregister => {
            let mut writer = FrameWriter::begin(out, head);
            UnRegisterBrokerRequestHeader { broker_name, broker_addr, cluster_name, broker_id }
                .encode(&mut writer);
            writer.finish();
        }
        Ask::Version => {
            json::write_default(&mut body, &broker.meta.home().topics_version);
            let mut writer = FrameWriter::begin(out, head);
            QueryDataVersionRequestHeader { broker_name, broker_addr, cluster_name, broker_id }
                .encode(&mut writer);
            finish(writer, &body);
        }
        Ask::Register => {
            let compressed = registration(broker, &mut body, version);
            let ha_address = format!("{}:{}", config.broker_ip2, config.ha_listen_port);
            let mut writer = FrameWriter::begin(out, head);
            let header = RegisterBrokerRequestHeader {
                broker_name,
                broker_addr,
                cluster_name,
                ha_server_addr: Text::plain(ha_address.as_bytes()),
                broker_id,
                heartbeat_timeout_millis: None,
                enable_acting_master: Some(false),
                compressed,
                body_crc32: checksum(&body),
            };
            header.encode(&mut writer);
            finish(writer, &body);
        }
    }
}

fn finish(writer: FrameWriter<'_>, body: &[u8]) {
    let mut writer = writer.body();
    writer.bytes().extend_from_slice(body);
    writer.finish();
}

/// CRC-32 without its sign bit, as `bodyCrc32` wants it.
fn checksum(body: &[u8]) -> i32 {
    i32::try_from(crc32fast::hash(body) & 0x7FFF_FFFF).expect("31 bits")
}

/// The whole table as a name server of this version reads it; whether it is deflated. The first one never is, since
/// the version, on which the deflated form depends, is not known before the first answer.
fn registration(broker: &mut Broker, body: &mut Vec<u8>, version: i32) -> bool {
    let config = &broker.settings.config;
    let permission = i32::try_from(config.broker_permission).unwrap_or(0);
    let wants_compression = config.compressed_register && version > 0;
    let topics = topic::sorted(broker);
    // Java: a broker that is open both ways tells all bits, that of inheritance included.
    let read_write = PERM_READ | PERM_WRITE;
    let kept = if permission & read_write == read_write { !0 } else { permission };
    let told =
        topics.iter().map(|topic| TopicConfig { perm: topic.perm & kept, ..(**topic).clone() });
    let data_version = broker.meta.home().topics_version;
    let mut table = RegisterBrokerBody {
        filter_server_list: Vec::new(),
        topic_config_serialize_wrapper: topic::wrapper(data_version, told),
    };
    if !wants_compression {
        table.encode(body);
        if body.len() <= PLAIN_BODY_BYTES_MAX {
            return false;
        }
        body.clear();
    }
    let reader = version.min(MQ_VERSION_5_5_0);
    if reader < MQ_VERSION_5_0_0 {
        for (_, topic) in &mut table.topic_config_serialize_wrapper.topic_config_table.0 {
            topic.attributes = None;
        }
    }
    table.encode_compressed(body, reader);
    true
}

/// A connection of ours is there, or is not.
pub(crate) fn on_connected<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    conn: ConnId,
    result: Result<(), i32>,
) {
    if !broker.is_meta() {
        return;
    }
    let error = result.err();
    let is_known = broker.meta.home().register.connected(conn, error, cx.now.mono);
    if !is_known && error.is_none() {
        cx.close(conn);
    }
    settle(broker, cx);
}

/// A name has an address, or has none.
pub(crate) fn on_resolved<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    server: usize,
    result: std::io::Result<SocketAddr>,
) {
    broker.meta.home().register.resolved(server, result, cx.now.mono);
    settle(broker, cx);
}

/// A connection of this (the metadata) shard has ended: it may be one to a name server.
pub(crate) fn on_own_conn_closed<H: Host>(broker: &mut Broker, cx: &mut Cx<'_, H>, conn: ConnId) {
    broker.meta.home().register.closed(conn, cx.now.mono);
    settle(broker, cx);
}

/// An answer to a request of the broker, of a client or of a name server.
pub(crate) fn on_response<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    conn: ConnId,
    header: &Header<'_>,
    frame: &Frame<'_>,
) {
    if relay::on_response(broker, cx, conn, header, frame) {
        settle(broker, cx);
        return;
    }
    let remark = header.remark.map(|text| text.to_cow()).unwrap_or_default();
    let changed = header.fields.get("changed").is_some_and(|text| text.parse_bool());
    let answer = Answer {
        opaque: header.opaque,
        code: header.code,
        version: header.version,
        remark: &remark,
        changed,
    };
    broker.meta.home().register.answered(conn, &answer, cx.now.mono);
    settle(broker, cx);
}
