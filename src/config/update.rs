//! Changes while the process runs: the body of requests 25 and 318, all of it or nothing.
//!
//! Java applies whatever has a setter, says success for unknown keys and needs a restart for most of the others. Here a
//! key that would not take effect is an error that says so; sending the value a key already has is always fine.

use base::config::{Config, ConfigError, Notice, Origin, Severity, Treatment};
use base::props::{self, PropsError};
use std::fmt;

/// What an update did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Update {
    /// Keys whose value differs now, in the order of the body.
    pub changed: Vec<&'static str>,
    /// Lines for the log.
    pub notices: Vec<Notice>,
}

/// Why an update was refused. Nothing has changed then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UpdateError {
    /// The text is no properties text.
    Text(PropsError),
    /// The key stands in configBlackList; answered with code 16.
    Forbidden {
        /// The key.
        key: String,
    },
    /// There is no such key.
    Unknown {
        /// The key.
        key: String,
        /// A better name, or why there is none; may be empty.
        hint: String,
    },
    /// The key takes effect at the start only.
    NeedsRestart {
        /// The key.
        key: &'static str,
    },
    /// The value cannot be used.
    Value(ConfigError),
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpdateError::Text(error) => error.fmt(f),
            UpdateError::Forbidden { key } => {
                write!(f, "Can not update config in black list. {key} stands in configBlackList")
            }
            UpdateError::Unknown { key, hint } => write!(f, "{key} is not a key{hint}"),
            UpdateError::NeedsRestart { key } => {
                write!(f, "{key} takes effect at the start only: change it in the file and restart")
            }
            UpdateError::Value(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for UpdateError {}

/// Applies the body of an update request to `config`. The caller converts the result again
/// ([`crate::BrokerConfig::from_config`]) on a copy before it replaces what is in force.
pub fn apply_update(config: &mut Config, body: &[u8]) -> Result<Update, UpdateError> {
    let text = props::parse(body).map_err(UpdateError::Text)?;
    let mut next = config.clone();
    let mut update = Update { changed: Vec::new(), notices: Vec::new() };
    for entry in &text.entries {
        let table = config.table();
        let listed = config.text("configBlackList").split(';').any(|key| key.trim() == entry.key);
        if listed
            || matches!(entry.key.as_str(), "configBlackList" | "brokerConfigPath" | "rocketmqHome")
        {
            return Err(UpdateError::Forbidden { key: entry.key.clone() });
        }
        let Some(row) = table.row(&entry.key) else {
            let hint = table.hint(&entry.key);
            return Err(UpdateError::Unknown { key: entry.key.clone(), hint });
        };
        let found = next.set(row.key, &entry.value, Origin::Update).map_err(UpdateError::Value)?;
        if next.value(row.key) == config.value(row.key) {
            continue;
        }
        if row.treatment == Treatment::Honoured && !row.reloadable {
            return Err(UpdateError::NeedsRestart { key: row.key });
        }
        if !update.changed.contains(&row.key) {
            update.changed.push(row.key);
        }
        let (old, new) = (config.value(row.key), next.value(row.key));
        let text = format!("{} = {new} by request, was {old}", row.key);
        update.notices.push(Notice { severity: Severity::Info, text });
        update.notices.extend(found);
    }
    *config = next;
    Ok(update)
}
