//! Requests about settings by namespace and key. Order topics are kept there: `ORDER_TOPIC_CONFIG`.

use crate::request::{Answer, Refusal, Request};
use crate::save::SavedFile;
use crate::server::NameServer;
use wire::Text;
use wire::codes::response;
use wire::req::namesrv::{
    DeleteKVConfigRequestHeader, GetKVConfigRequestHeader, GetKVConfigResponseHeader,
    GetKVListByNamespaceRequestHeader, PutKVConfigRequestHeader,
};

pub(super) fn put(
    server: &mut NameServer,
    request: &Request<'_>,
    _out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let header = PutKVConfigRequestHeader::decode(&request.header.fields)?;
    let (namespace, key) = (header.namespace.to_cow(), header.key.to_cow());
    server.check_waiting()?;
    server.kv.put(&namespace, &key, &header.value.to_cow())?;
    server.say(request.now, || format!("setting {namespace}/{key} changed by request"));
    Ok(Answer::AfterSave(SavedFile::Kv))
}

pub(super) fn get(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let header = GetKVConfigRequestHeader::decode(&request.header.fields)?;
    let (namespace, key) = (header.namespace.to_cow(), header.key.to_cow());
    let value = server.kv.get(&namespace, &key);
    let code = if value.is_some() { response::SUCCESS } else { response::QUERY_NOT_FOUND };
    let mut writer = request.answer(out, code);
    GetKVConfigResponseHeader { value: value.map(|value| Text::plain(value.as_bytes())) }
        .encode(&mut writer);
    if value.is_none() {
        writer.remark(&format!("No config item, Namespace: {namespace} Key: {key}"));
    }
    writer.finish();
    Ok(Answer::Written)
}

pub(super) fn delete(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let header = DeleteKVConfigRequestHeader::decode(&request.header.fields)?;
    let (namespace, key) = (header.namespace.to_cow(), header.key.to_cow());
    server.check_waiting()?;
    if !server.kv.delete(&namespace, &key) {
        return request.success(out);
    }
    server.say(request.now, || format!("setting {namespace}/{key} deleted by request"));
    Ok(Answer::AfterSave(SavedFile::Kv))
}

pub(super) fn list(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let header = GetKVListByNamespaceRequestHeader::decode(&request.header.fields)?;
    let namespace = header.namespace.to_cow();
    match server.kv.list(&namespace) {
        Some(table) => request.bean(out, &table),
        None => {
            let remark = format!("No config item, Namespace: {namespace}");
            Err(Refusal::new(response::QUERY_NOT_FOUND, remark))
        }
    }
}
