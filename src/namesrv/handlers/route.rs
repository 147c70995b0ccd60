//! Request 105: where a topic is. Java: `ClientRequestProcessor`, `ZoneRouteRPCHook`.

use crate::kv::ORDER_TOPIC_CONFIG;
use crate::request::{Answer, Refusal, Request};
use crate::routes::keep_zone;
use crate::server::NameServer;
use wire::codes::response;
use wire::req::namesrv::GetRouteInfoRequestHeader;

pub(super) fn of_topic(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let fields = &request.header.fields;
    let header = GetRouteInfoRequestHeader::decode(fields)?;
    if !server.is_ready(request.now.mono) {
        return Err(Refusal::new(response::SYSTEM_ERROR, "name server not ready"));
    }
    let topic = header.topic.to_cow();
    let settings = &server.settings;
    let Some(mut route) = server.routes.route(&topic, settings.support_acting_master) else {
        let remark = format!(
            "No topic route info in name server for the topic: {topic}\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
        );
        return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark));
    };
    if settings.order_message_enable {
        route.order_topic_conf = server.kv.get(ORDER_TOPIC_CONFIG, &topic).map(str::to_owned);
    }
    let by_zone = fields.get("__ZONE_MODE").is_some_and(|mode| mode.parse_bool());
    let zone = fields.get("__ZONE_NAME").map(|zone| zone.to_cow());
    if let Some(zone) = zone.filter(|zone| by_zone && !zone.trim().is_empty()) {
        keep_zone(&mut route, &zone);
    }
    let strict = header.accept_standard_json_only.unwrap_or(false);
    let mut body = request.answer(out, response::SUCCESS).body();
    route.write_for(body.bytes(), request.header.version, strict);
    body.finish();
    Ok(Answer::Written)
}
