//! Requests about the name server's own configuration.

use crate::request::{Answer, Refusal, Request};
use crate::save::SavedFile;
use crate::server::NameServer;
use base::config::Severity;
use config::{NamesrvConfig, UpdateError};
use wire::codes::response;

pub(super) fn get(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let text = config::effective_properties(&server.config);
    let mut body = request.answer(out, response::SUCCESS).body();
    body.bytes().extend_from_slice(text.as_bytes());
    body.finish();
    Ok(Answer::Written)
}

pub(super) fn update(
    server: &mut NameServer,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    server.check_waiting()?;
    let mut config = server.config.clone();
    let update = config::apply_update(&mut config, request.body).map_err(refused)?;
    if update.changed.is_empty() {
        return request.success(out);
    }
    let (settings, found) = NamesrvConfig::from_config(&mut config).map_err(|errors| {
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Refusal::new(response::SYSTEM_ERROR, texts.join("; "))
    })?;
    server.settings = settings;
    server.config = config;
    server.unsaved.extend(&update.changed);
    for notice in update.notices.iter().chain(&found) {
        match notice.severity {
            Severity::Info => tracing::info!(target: "config", "{}", notice.text),
            Severity::Warning => tracing::warn!(target: "config", "{}", notice.text),
        }
    }
    Ok(Answer::AfterSave(SavedFile::Config))
}

fn refused(error: UpdateError) -> Refusal {
    let code = match error {
        UpdateError::Forbidden { .. } => response::NO_PERMISSION,
        UpdateError::Text(_)
        | UpdateError::Unknown { .. }
        | UpdateError::NeedsRestart { .. }
        | UpdateError::Value(_) => response::SYSTEM_ERROR,
    };
    Refusal::new(code, error.to_string())
}
