//! Requests about topics: lists, and changes by tools and brokers.

use crate::request::{Answer, Refusal, Request};
use crate::routes::UnitKind;
use crate::server::NameServer;
use wire::body::TopicList;
use wire::body::route::TopicRouteData;
use wire::codes::response;
use wire::json;
use wire::req::namesrv::{
    DeleteTopicFromNamesrvRequestHeader, GetTopicsByClusterRequestHeader,
    RegisterTopicRequestHeader,
};

fn list(
    request: &Request<'_>,
    out: &mut Vec<u8>,
    topic_list: Vec<String>,
) -> Result<Answer, Refusal> {
    request.bean(out, &TopicList { broker_addr: None, topic_list })
}

fn disabled() -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, "disable")
}

pub(super) fn all(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    if !server.settings.enable_all_topic_list {
        return Err(disabled());
    }
    list(request, out, server.routes.all_topics())
}

pub(super) fn of_cluster(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    if !server.settings.enable_topic_list {
        return Err(disabled());
    }
    let header = GetTopicsByClusterRequestHeader::decode(&request.header.fields)?;
    list(request, out, server.routes.topics_of_cluster(&header.cluster.to_cow()))
}

pub(super) fn system(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let (topic_list, broker_addr) = server.routes.system_topics();
    request.bean(out, &TopicList { broker_addr, topic_list })
}

pub(super) fn unit(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    of_unit(server, request, out, UnitKind::Unit)
}

pub(super) fn unit_sub(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    of_unit(server, request, out, UnitKind::UnitSub)
}

pub(super) fn unit_sub_not_unit(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    of_unit(server, request, out, UnitKind::UnitSubNotUnit)
}

fn of_unit(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
    kind: UnitKind,
) -> Result<Answer, Refusal> {
    if !server.settings.enable_topic_list {
        return Err(disabled());
    }
    list(request, out, server.routes.unit_topics(kind))
}

pub(super) fn delete(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let header = DeleteTopicFromNamesrvRequestHeader::decode(&request.header.fields)?;
    let topic = header.topic.to_cow();
    let cluster = header.cluster_name.map(|name| name.to_cow()).filter(|name| !name.is_empty());
    server.routes.delete_topic(&topic, cluster.as_deref());
    server.say(request.now, || format!("topic {topic} deleted, cluster {cluster:?}"));
    request.success(out)
}

pub(super) fn register(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let header = RegisterTopicRequestHeader::decode(&request.header.fields)?;
    let topic = header.topic.to_cow();
    let route: TopicRouteData = json::from_slice(request.body)?;
    let unknown = server.routes.register_topic(&topic, &route.queue_datas)?;
    server.say(request.now, || {
        format!("topic {topic} registered, {unknown} unknown brokers left out")
    });
    request.success(out)
}
