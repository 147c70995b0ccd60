//! What tools ask of single clients: 307, 309, and 223, which goes to all members as 221. Java: AdminBrokerProcessor,
//! `Broker2Client.getConsumeStatus`.
//!
//! A client gets the tool's fields, but not its credentials. Limit: the surveys that are open.

use crate::app::{Broker, Host};
use crate::clients::Member;
use crate::cold;
use crate::fetch::Fetch;
use crate::handlers::meta::MetaMail;
use crate::handlers::meta::relay::{self, Ask, Asker, HEADER_BYTES_MAX, RelayFor, Said};
use crate::handlers::{Outcome, Request, reply_head};
use crate::mail::{BrokerMail, shard_of};
use crate::refusal::Refusal;
use base::ids::{ConnId, ShardId};
use hashbrown::HashMap;
use shard::{Cx, Peer};
use std::sync::Arc;
use wire::body::control::GetConsumerStatusBody;
use wire::body::{ByQueue, Table};
use wire::codes::{request, response};
use wire::header::Header;
use wire::json;
use wire::msg_id::MessageId;
use wire::reply::FrameWriter;
use wire::req::control::{
    ConsumeMessageDirectlyResultRequestHeader, GetConsumerRunningInfoRequestHeader,
    GetConsumerStatusRequestHeader,
};

/// `MQVersion` ordinal of 3.0.7-SNAPSHOT: from here on clients answer 221 and take 220.
pub(crate) const VERSION_OF_RESET: i32 = 28;
/// `MQVersion` ordinal of 3.1.8-SNAPSHOT: from here on clients answer 307 and 309.
const VERSION_OF_INFO: i32 = 62;
/// How long a member may take to answer 221.
const STATUS_MS: u64 = 5000;
/// First character of a key that is written as an object, see `json::write_object_keys`.
const OBJECT_KEY_MARK: char = '\u{F8FF}';
/// Surveys that wait for members.
const SURVEYS_MAX: usize = 256;
/// Fields that prove who a tool is: no client needs them.
const CREDENTIALS: [&str; 3] = ["AccessKey", "Signature", "SecurityToken"];

/// An answer that several clients give a part of.
struct Survey {
    conn: ConnId,
    opaque: i32,
    is_oneway: bool,
    missing: usize,
    parts: Vec<(String, ByQueue<i64>)>,
}

/// Surveys that are open.
#[derive(Default)]
pub(crate) struct Surveys {
    open: HashMap<u64, Survey>,
    next: u64,
}

/// 307: what a consumer is doing, with the stacks of its threads if asked for.
pub(crate) fn on_running_info<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let header = match GetConsumerRunningInfoRequestHeader::decode(&request.header.fields) {
        Ok(header) => header,
        Err(error) => return Refusal::from(error).into(),
    };
    let (group, client_id) = (header.consumer_group.to_cow(), header.client_id.to_cow());
    let conn = match find(broker, &group, &client_id) {
        Ok(conn) => conn,
        Err(refusal) => return refusal.into(),
    };
    if let Err(refusal) = check_header(request) {
        return refusal.into();
    }
    let asker = asker(request, &group, &client_id);
    let what = RelayFor::Asker(asker);
    let code = request::GET_CONSUMER_RUNNING_INFO;
    let fields = |writer: &mut FrameWriter<'_>| {
        relay::copy_fields(writer, &request.header.fields, &CREDENTIALS);
    };
    let ask = Ask { conn, code, wait_ms: relay::ANSWER_MS, what };
    relay::ask(broker, cx, ask, fields, request.frame.body);
    Outcome::Done
}

fn asker(request: &Request<'_>, group: &str, client_id: &str) -> Asker {
    Asker {
        conn: request.conn,
        opaque: request.header.opaque,
        is_oneway: request.header.is_oneway(),
        group: group.to_owned(),
        client_id: client_id.to_owned(),
    }
}

/// The connection of a member that understands 307 and 309.
fn find(broker: &mut Broker, group: &str, client_id: &str) -> Result<ConnId, Refusal> {
    let found = broker.meta.home().clients.group(group);
    let is_it = |member: &&Member| *member.client.id == *client_id;
    let Some(member) = found.and_then(|found| found.members.iter().find(is_it)) else {
        let remark = format!("The Consumer <{group}> <{client_id}> not online");
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    };
    if member.client.version < VERSION_OF_INFO {
        let version = member.client.version;
        let remark = format!(
            "The Consumer <{client_id}> Version <{version}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT"
        );
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    Ok(member.conn)
}

fn check_header(request: &Request<'_>) -> Result<(), Refusal> {
    let bytes = request.frame.header.len();
    if bytes <= HEADER_BYTES_MAX {
        return Ok(());
    }
    let remark = format!(
        "the header has {bytes} bytes, the limit of what is passed on is {HEADER_BYTES_MAX}"
    );
    Err(Refusal::new(response::SYSTEM_ERROR, remark))
}

// ---- 309 ----

/// A tool wants a consumer to consume one message; it is being read.
pub struct ConsumeWish {
    pub(crate) conn: ConnId,
    pub(crate) peer: Peer,
    /// The request.
    pub(crate) frame: Vec<u8>,
}

/// 309: a consumer consumes one message. The shard of the message reads it, then the metadata shard asks the client.
pub(crate) fn on_consume<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    match read_message(broker, cx, request) {
        Ok(outcome) => outcome,
        Err(refusal) => refusal.into(),
    }
}

fn read_message<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Result<Outcome, Refusal> {
    check_header(request)?;
    let header = ConsumeMessageDirectlyResultRequestHeader::decode(&request.header.fields)?;
    let text = header.msg_id.map(|text| text.to_cow()).unwrap_or_default();
    let id = MessageId::parse(text.as_bytes()).map_err(|error| {
        Refusal::new(response::SYSTEM_ERROR, format!("msgId {text:?} is no offset id: {error}"))
    })?;
    if id.phy.stream().0 >= broker.settings.streams {
        return Err(no_message(&text));
    }
    let owner = shard_of(id.phy.stream(), broker.shards);
    if owner != broker.me {
        return Ok(Outcome::Forward(owner));
    }
    let frame = request.frame.bytes.to_vec();
    let wish = ConsumeWish { conn: request.conn, peer: request.peer, frame };
    cold::begin_fetch(broker, cx, Fetch::consume(wish, id.phy));
    Ok(Outcome::Done)
}

fn no_message(id: &str) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, format!("there is no message {id} on this broker"))
}

/// On the shard of the message: it was read, is not there, or could not be read.
pub(crate) fn on_read<H: Host>(
    cx: &mut Cx<'_, H>,
    wish: ConsumeWish,
    record: Result<Option<Vec<u8>>, String>,
) {
    cx.mail(ShardId::META, BrokerMail::Meta(MetaMail::Consume { wish, record }));
}

/// On the metadata shard: asks the client.
pub(crate) fn on_consume_mail<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    wish: &ConsumeWish,
    record: Result<Option<Vec<u8>>, String>,
) {
    let Ok(Some((frame, _))) = wire::frame::split(&wish.frame) else { return };
    let Ok(header) = Header::decode(&frame) else { return };
    let request = Request { conn: wish.conn, peer: wish.peer, header, frame: &frame };
    if let Err(refusal) = ask_to_consume(broker, cx, &request, record) {
        request.refuse(cx, &refusal);
    }
}

fn ask_to_consume<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
    record: Result<Option<Vec<u8>>, String>,
) -> Result<(), Refusal> {
    let header = ConsumeMessageDirectlyResultRequestHeader::decode(&request.header.fields)?;
    let group = header.consumer_group.to_cow();
    let client_id = header.client_id.map(|text| text.to_cow()).unwrap_or_default();
    let id = header.msg_id.map(|text| text.to_cow()).unwrap_or_default();
    let record = record.map_err(|why| Refusal::new(response::SYSTEM_ERROR, why))?;
    let record = record.ok_or_else(|| no_message(&id))?;
    let conn = find(broker, &group, &client_id)?;
    let topic = header.topic.map(|text| text.to_cow());
    let topic = topic.and_then(|name| broker.topics.get(name.as_bytes()));
    let topic_flag = topic.map(|topic| topic.config.topic_sys_flag);
    let group_flag = broker.meta.groups.get(group.as_bytes());
    let group_flag = group_flag.map(|group| group.group_sys_flag.unwrap_or(0));
    let settings = Arc::clone(&broker.settings);
    let fields = |writer: &mut FrameWriter<'_>| {
        let own = ["brokerName", "topicSysFlag", "groupSysFlag"];
        let [a, b, c] = CREDENTIALS;
        let [d, e, f] = own;
        relay::copy_fields(writer, &request.header.fields, &[a, b, c, d, e, f]);
        writer.field_str("brokerName", settings.config.broker_name.as_bytes());
        if let Some(flag) = topic_flag {
            writer.field_i32("topicSysFlag", flag);
        }
        if let Some(flag) = group_flag {
            writer.field_i32("groupSysFlag", flag);
        }
    };
    let what = RelayFor::Asker(asker(request, &group, &client_id));
    let code = request::CONSUME_MESSAGE_DIRECTLY;
    let ask = Ask { conn, code, wait_ms: relay::ANSWER_MS, what };
    relay::ask(broker, cx, ask, fields, &record);
    Ok(())
}

// ---- 223 ----

/// 223: how far the members of a group are, as they themselves say; a member that does not answer is left out.
pub(crate) fn on_status<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    match begin_survey(broker, cx, request) {
        Ok(()) => Outcome::Done,
        Err(refusal) => refusal.into(),
    }
}

fn begin_survey<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Result<(), Refusal> {
    check_header(request)?;
    let header = GetConsumerStatusRequestHeader::decode(&request.header.fields)?;
    let group = header.group.to_cow();
    let one = header.client_addr.map(|text| text.to_cow()).unwrap_or_default();
    let home = broker.meta.home();
    let Some(found) = home.clients.group(&group) else {
        let remark = format!("No Any Consumer online in the consumer group: [{group}]");
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    };
    let is_wanted = |member: &&Member| one.trim().is_empty() || *member.client.id == *one;
    let wanted = || found.members.iter().filter(is_wanted);
    too_old(wanted())?;
    let members: Vec<(ConnId, Arc<str>)> =
        wanted().map(|member| (member.conn, Arc::clone(&member.client.id))).collect();
    if home.surveys.open.len() >= SURVEYS_MAX {
        let remark = format!("{SURVEYS_MAX} surveys of consumer groups are open, the limit");
        return Err(Refusal::new(response::SYSTEM_BUSY, remark));
    }
    let survey = home.surveys.next;
    home.surveys.next += 1;
    let entry = Survey {
        conn: request.conn,
        opaque: request.header.opaque,
        is_oneway: request.header.is_oneway(),
        missing: members.len() + 1,
        parts: Vec::new(),
    };
    home.surveys.open.insert(survey, entry);
    for (conn, client_id) in members {
        let what = RelayFor::Survey { survey, client_id };
        let code = request::GET_CONSUMER_STATUS_FROM_CLIENT;
        let ask = Ask { conn, code, wait_ms: STATUS_MS, what };
        let header = GetConsumerStatusRequestHeader { client_addr: None, ..header };
        relay::ask(broker, cx, ask, |writer| header.encode(writer), &[]);
    }
    // The one that was counted beside the members: a survey cannot end before all are asked.
    count(broker, cx, survey, None);
    Ok(())
}

/// Refuses when a member is too old to answer 221, or to take 220.
pub(crate) fn too_old<'m>(mut members: impl Iterator<Item = &'m Member>) -> Result<(), Refusal> {
    match members.find(|member| member.client.version < VERSION_OF_RESET) {
        Some(member) => {
            let version = member.client.version;
            let remark = format!("the client does not support this feature. version={version}");
            Err(Refusal::new(response::SYSTEM_ERROR, remark))
        }
        None => Ok(()),
    }
}

/// A member has answered, or will not.
pub(crate) fn on_part<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    survey: u64,
    client_id: &str,
    said: Said<'_>,
) {
    let part = match said {
        Ok(answer) if answer.header.code == response::SUCCESS => {
            json::from_slice::<GetConsumerStatusBody>(answer.body).ok()
        }
        Ok(_) => None,
        Err(why) => {
            tracing::warn!("client {client_id} does not say how far it is: {why}");
            None
        }
    };
    // A key that begins with the mark of an object would be written as one.
    let part = part.filter(|_| !client_id.starts_with(OBJECT_KEY_MARK));
    let part = part.map(|body| (client_id.to_owned(), body.message_queue_table));
    count(broker, cx, survey, part);
}

fn count<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    number: u64,
    part: Option<(String, ByQueue<i64>)>,
) {
    let surveys = &mut broker.meta.home().surveys.open;
    let Some(survey) = surveys.get_mut(&number) else { return };
    survey.parts.extend(part);
    survey.missing -= 1;
    if survey.missing > 0 {
        return;
    }
    let survey = surveys.remove(&number).expect("found above");
    if survey.is_oneway {
        return;
    }
    let consumer_table = Table(survey.parts);
    let body = GetConsumerStatusBody { consumer_table, ..GetConsumerStatusBody::default() };
    let head = reply_head(response::SUCCESS, survey.opaque);
    let mut writer = FrameWriter::begin(cx.output(survey.conn), head).body();
    json::write_object_keys(writer.bytes(), &body);
    writer.finish();
}

/// Tells the members of a group something that wants no answer.
pub(crate) fn tell_all<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    conns: &[ConnId],
    code: i32,
    fields: impl Fn(&mut FrameWriter<'_>),
    body: &[u8],
) {
    let home = broker.meta.home();
    for conn in conns {
        relay::send_oneway(home, cx, *conn, code, &fields, body);
    }
}
