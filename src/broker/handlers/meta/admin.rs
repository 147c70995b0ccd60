//! Configuration by request: 25 changes what may change while running, 26 tells all of it. Java: AdminBrokerProcessor.

use crate::app::{Broker, Host};
use crate::handlers::meta::change::{Change, publish};
use crate::handlers::meta::{concluded, success_bytes};
use crate::handlers::{Outcome, Request};
use crate::mail::BrokerDone;
use crate::refusal::Refusal;
use crate::scatter::Then;
use crate::tables::next_version;
use base::config::{Config, Notice, Severity};
use base::props;
use config::{BrokerConfig, UpdateError, apply_update, effective_properties};
use shard::Cx;
use shard::store_dir::replace_file;
use std::path::PathBuf;
use std::sync::Arc;
use wire::codes::response;
use wire::json;

fn no_table() -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, "this process was started without a table of its settings")
}

/// Every key with its value, as properties text.
pub(crate) fn on_get_config<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    let home = broker.meta.home();
    let Some(table) = &home.table else { return no_table().into() };
    let body = effective_properties(table);
    let mut version = Vec::new();
    json::write_default(&mut version, &home.config_version);
    request.reply(cx, |writer| writer.field_str("version", &version), body.as_bytes());
    Outcome::Done
}

/// Changes keys: all that the body names, or none.
pub(crate) fn on_update_config<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Outcome {
    concluded(update(broker, cx, request))
}

fn update<H: Host>(
    broker: &mut Broker,
    cx: &mut Cx<'_, H>,
    request: &Request<'_>,
) -> Result<Outcome, Refusal> {
    let home = broker.meta.home();
    let mut table = home.table.clone().ok_or_else(no_table)?;
    let update = apply_update(&mut table, request.frame.body).map_err(|error| refused(&error))?;
    let (config, notices) = BrokerConfig::from_config(&mut table).map_err(|errors| {
        let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Refusal::new(response::SYSTEM_ERROR, text.join("; "))
    })?;
    for notice in &update.notices {
        tell(notice, request);
    }
    drop(notices);
    let values: Vec<(&'static str, String)> =
        update.changed.iter().map(|key| (*key, table.value(key).to_string())).collect();
    take(broker, cx, table);
    if let Some(file) = broker.meta.home().config_file.clone().filter(|_| !values.is_empty()) {
        persist(cx, file, values);
    }
    let settings = broker.settings.with(config);
    let then = Then::Reply { conn: request.conn, bytes: success_bytes(request, |_| {}) };
    publish(broker, cx, vec![Change::Settings(Arc::new(settings))], then);
    Ok(Outcome::Done)
}

fn take<H: Host>(broker: &mut Broker, cx: &Cx<'_, H>, table: Config) {
    let home = broker.meta.home();
    home.table = Some(table);
    next_version(&mut home.config_version, cx.now.wall);
    // What name servers know of topics depends on brokerPermission.
    home.register.topics_changed(cx.now.mono);
}

fn refused(error: &UpdateError) -> Refusal {
    let code = match error {
        UpdateError::Forbidden { .. } => response::NO_PERMISSION,
        UpdateError::Text(_)
        | UpdateError::Unknown { .. }
        | UpdateError::NeedsRestart { .. }
        | UpdateError::Value(_) => response::SYSTEM_ERROR,
    };
    Refusal::new(code, error.to_string())
}

fn tell(notice: &Notice, request: &Request<'_>) {
    let from = request.peer.address;
    match notice.severity {
        Severity::Info => tracing::info!("{} ({from})", notice.text),
        Severity::Warning => tracing::warn!("{} ({from})", notice.text),
    }
}

/// Writes the changed values into the file the process was started with; everything else in it stays.
fn persist<H: Host>(cx: &mut Cx<'_, H>, file: PathBuf, values: Vec<(&'static str, String)>) {
    cx.job(Box::new(move || {
        let write = || {
            // What a link points to is replaced, not the link.
            let file = std::fs::canonicalize(&file)?;
            let old = std::fs::read(&file)?;
            let new = props::with_values(&old, &values).map_err(std::io::Error::other)?;
            replace_file(&file, &new)
        };
        if let Err(error) = write() {
            tracing::error!("{}: the change is lost at a restart: {error}", file.display());
        }
        H::done(BrokerDone::Nothing)
    }));
}
