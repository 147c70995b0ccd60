//! Requests of brokers about themselves, and of tools about brokers.

use crate::kv::ORDER_TOPIC_CONFIG;
use crate::request::{Answer, Refusal, Request};
use crate::routes::{BrokerAddress, Registration};
use crate::server::NameServer;
use wire::Text;
use wire::body::DataVersion;
use wire::body::register::RegisterBrokerBody;
use wire::body::route::{BrokerMemberGroup, BrokerMemberGroupAnswer};
use wire::codes::response;
use wire::json;
use wire::message::body_crc;
use wire::req::namesrv::{
    AddWritePermOfBrokerRequestHeader, AddWritePermOfBrokerResponseHeader,
    BrokerHeartbeatRequestHeader, GetBrokerMemberGroupRequestHeader, QueryDataVersionRequestHeader,
    QueryDataVersionResponseHeader, RegisterBrokerRequestHeader, RegisterBrokerResponseHeader,
    UnRegisterBrokerRequestHeader, WipeWritePermOfBrokerRequestHeader,
    WipeWritePermOfBrokerResponseHeader,
};

/// What a zlib stream starts with. Brokers up to 5.3.3 say that a compressed body is not compressed.
const ZLIB_START: u8 = 0x78;

fn process(cluster: Text<'_>, address: Text<'_>) -> BrokerAddress {
    BrokerAddress { cluster: cluster.to_string(), address: address.to_string() }
}

pub(super) fn register(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let fields = &request.header.fields;
    let header = RegisterBrokerRequestHeader::decode(fields)?;
    if header.body_crc32 != 0 && u32::try_from(header.body_crc32) != Ok(body_crc(request.body)) {
        return Err(Refusal::new(response::SYSTEM_ERROR, "crc32 not match"));
    }
    let compressed = header.compressed || request.body.first() == Some(&ZLIB_START);
    let body = RegisterBrokerBody::decode(request.body, compressed, request.header.version)?;
    let (cluster, name) = (header.cluster_name.to_cow(), header.broker_name.to_cow());
    let (address, ha) = (header.broker_addr.to_cow(), header.ha_server_addr.to_cow());
    let zone = fields.get("__ZONE_NAME").map(|zone| zone.to_cow());
    let who = Registration {
        cluster: &cluster,
        broker_name: &name,
        address: &address,
        broker_id: header.broker_id,
        ha_server_addr: &ha,
        zone_name: zone.as_deref(),
        timeout_ms: header.heartbeat_timeout_millis,
        enable_acting_master: header.enable_acting_master,
        conn: request.conn,
    };
    let forget = server.settings.delete_topic_with_broker_registration;
    let done = server.routes.register(&who, &body, request.now.mono, forget)?;
    if done.is_new {
        server.say(request.now, || {
            format!("broker {name} of cluster {cluster} is new, id {} at {address}", who.broker_id)
        });
    }
    let mut writer = request.answer(out, response::SUCCESS);
    let master = done.master.as_ref();
    RegisterBrokerResponseHeader {
        ha_server_addr: master.map(|(ha, _)| Text::plain(ha.as_bytes())),
        master_addr: master.map(|(_, address)| Text::plain(address.as_bytes())),
    }
    .encode(&mut writer);
    let mut body = writer.body();
    if server.settings.return_order_topic_config_to_broker
        && let Some(table) = server.kv.list(ORDER_TOPIC_CONFIG)
    {
        json::write_default(body.bytes(), &table);
    }
    body.finish();
    Ok(Answer::Written)
}

pub(super) fn unregister(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let header = UnRegisterBrokerRequestHeader::decode(&request.header.fields)?;
    let name = header.broker_name.to_cow();
    server.routes.unregister(&name, process(header.cluster_name, header.broker_addr));
    server.say(request.now, || {
        format!("broker {name}, id {} at {} says good-bye", header.broker_id, header.broker_addr)
    });
    request.success(out)
}

pub(super) fn heartbeat(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let header = BrokerHeartbeatRequestHeader::decode(&request.header.fields)?;
    let process = process(header.cluster_name, header.broker_addr);
    server.routes.heard_of(&process, request.now.mono);
    request.success(out)
}

pub(super) fn query_data_version(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let header = QueryDataVersionRequestHeader::decode(&request.header.fields)?;
    let asked: DataVersion = json::from_slice(request.body)?;
    let process = process(header.cluster_name, header.broker_addr);
    server.routes.heard_of(&process, request.now.mono);
    let known = server.routes.data_version(&process);
    let mut writer = request.answer(out, response::SUCCESS);
    QueryDataVersionResponseHeader { changed: known != Some(asked) }.encode(&mut writer);
    let mut body = writer.body();
    if let Some(known) = known {
        json::write_default(body.bytes(), &known);
    }
    body.finish();
    Ok(Answer::Written)
}

pub(super) fn info(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    request.bean(out, &server.routes.cluster_info())
}

pub(super) fn members(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let header = GetBrokerMemberGroupRequestHeader::decode(&request.header.fields)?;
    let broker_name = header.broker_name.to_string();
    let broker_member_group = BrokerMemberGroup {
        broker_addrs: server.routes.members(&broker_name),
        broker_name,
        cluster: header.cluster_name.to_string(),
    };
    request.bean(out, &BrokerMemberGroupAnswer { broker_member_group })
}

pub(super) fn wipe_write_perm(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let header = WipeWritePermOfBrokerRequestHeader::decode(&request.header.fields)?;
    let name = header.broker_name.to_cow();
    let count = server.routes.wipe_write_perm(&name);
    server.say(request.now, || format!("broker {name}: {count} topics are read-only by request"));
    let mut writer = request.answer(out, response::SUCCESS);
    WipeWritePermOfBrokerResponseHeader { wipe_topic_count: shown(count) }.encode(&mut writer);
    writer.finish();
    Ok(Answer::Written)
}

pub(super) fn add_write_perm(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let header = AddWritePermOfBrokerRequestHeader::decode(&request.header.fields)?;
    let name = header.broker_name.to_cow();
    let count = server.routes.add_write_perm(&name);
    server.say(request.now, || format!("broker {name}: {count} topics are writable by request"));
    let mut writer = request.answer(out, response::SUCCESS);
    AddWritePermOfBrokerResponseHeader { add_topic_count: shown(count) }.encode(&mut writer);
    writer.finish();
    Ok(Answer::Written)
}

fn shown(count: usize) -> i32 {
    i32::try_from(count).expect("the number of topics is bounded")
}
