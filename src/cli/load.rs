//! From a file and a few options to a typed configuration, with Java's precedence: options, then file, then
//! environment, then defaults.

use super::{EXIT_ADDRESS, EXIT_START, machine};
use base::config::{Config, ConfigError, Notice, Origin, Severity, Table};
use base::props;
use config::{BrokerConfig, Machine, NamesrvConfig};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Everything a process needs to start.
#[derive(Debug)]
pub(crate) struct Start<T> {
    /// The typed values.
    pub(crate) config: T,
    /// All values by key, for requests that ask for them or change them.
    pub(crate) table: Config,
    /// Lines for the log.
    pub(crate) notices: Vec<Notice>,
}

/// Why there is nothing to start: what to tell the operator, and the exit status.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) text: String,
    pub(crate) exit: u8,
}

impl Failure {
    /// A failure with the general exit status.
    pub(crate) fn start(text: String) -> Failure {
        Failure { text, exit: EXIT_START }
    }
}

/// Where values come from.
pub(crate) struct Source {
    pub(crate) machine: Machine,
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) namesrv_addr: Option<String>,
}

/// A value that stands before or after the file.
#[derive(Clone)]
pub(crate) struct Preset {
    pub(crate) key: &'static str,
    pub(crate) value: String,
    /// Whether it wins over the file.
    pub(crate) wins: bool,
}

/// The configuration of a broker.
pub(crate) fn broker(
    source: &Source,
    presets: Vec<Preset>,
) -> Result<Start<BrokerConfig>, Failure> {
    let mut presets = presets;
    presets.extend(source.namesrv_addr.clone().map(|value| Preset {
        key: "namesrvAddr",
        value,
        wins: true,
    }));
    presets.extend(source.config_file.as_ref().map(|file| Preset {
        key: "brokerConfigPath",
        value: file.to_string_lossy().into_owned(),
        wins: true,
    }));
    let (mut table, mut notices) = values(&config::broker::TABLE, source, &presets)?;
    let (config, found) =
        BrokerConfig::from_config(&mut table).map_err(|errors| refused(&errors, &notices))?;
    notices.extend(found);
    Ok(Start { config, table, notices })
}

/// The configuration of a name server.
pub(crate) fn namesrv(
    source: &Source,
    presets: Vec<Preset>,
) -> Result<Start<NamesrvConfig>, Failure> {
    let mut presets = presets;
    presets.extend(source.config_file.as_ref().map(|file| Preset {
        key: "configStorePath",
        value: file.to_string_lossy().into_owned(),
        wins: true,
    }));
    let (mut table, mut notices) = values(&config::namesrv::TABLE, source, &presets)?;
    let (config, found) =
        NamesrvConfig::from_config(&mut table).map_err(|errors| refused(&errors, &notices))?;
    notices.extend(found);
    Ok(Start { config, table, notices })
}

/// Writes the notices of a start into the log.
pub(crate) fn log_notices(notices: &[Notice]) {
    for notice in notices {
        match notice.severity {
            Severity::Info => tracing::info!(target: "config", "{}", notice.text),
            Severity::Warning => tracing::warn!(target: "config", "{}", notice.text),
        }
    }
}

fn values(
    keys: &'static Table,
    source: &Source,
    presets: &[Preset],
) -> Result<(Config, Vec<Notice>), Failure> {
    let mut table = Config::defaults(keys, &source.machine.facts());
    let mut notices: Vec<Notice> = machine::options_without_effect()
        .into_iter()
        .map(|name| {
            let text = format!("JAVA_OPT_EXT: -D{name} has no effect here");
            Notice { severity: Severity::Warning, text }
        })
        .collect();
    let mut apply = |table: &mut Config, wins: bool| -> Result<(), Failure> {
        for preset in presets.iter().filter(|preset| preset.wins == wins) {
            let set = table.set(preset.key, &preset.value, Origin::CommandLine);
            notices.extend(set.map_err(|error| refused(&[error], &[]))?);
        }
        Ok(())
    };
    apply(&mut table, false)?;
    let found = match &source.config_file {
        Some(path) => read_file(&mut table, path)?,
        None => Vec::new(),
    };
    apply(&mut table, true)?;
    notices.extend(found);
    Ok((table, notices))
}

fn read_file(table: &mut Config, path: &Path) -> Result<Vec<Notice>, Failure> {
    let name = path.display().to_string();
    let bytes = read_bounded(path)
        .map_err(|error| Failure::start(format!("{name}: cannot be read: {error}")))?;
    let file = props::parse(&bytes).map_err(|error| Failure::start(format!("{name}: {error}")))?;
    table.apply_file(&name, &file).map_err(|file| refused(&file.errors, &file.notices))
}

/// At most one byte more than the parser takes, so that an endless file ends here.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let limit = u64::try_from(props::FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The errors behind the warnings, which a process that does not start writes into no log.
fn refused(errors: &[ConfigError], notices: &[Notice]) -> Failure {
    let warnings = notices.iter().filter(|notice| notice.severity == Severity::Warning);
    let mut text: String = warnings.map(|notice| format!("warning: {}\n", notice.text)).collect();
    text.extend(errors.iter().map(|error| format!("{error}\n")));
    text.push_str("not started: the configuration cannot be used");
    let addresses = ["namesrvAddr", "brokerId", "brokerRole"];
    let exit = if errors.iter().any(|error| addresses.contains(&error.key.as_str())) {
        EXIT_ADDRESS
    } else {
        EXIT_START
    };
    Failure { text, exit }
}

/// Shows the warnings of a start to whoever typed the command.
pub(crate) fn show_warnings(notices: &[Notice]) {
    for notice in notices.iter().filter(|notice| notice.severity == Severity::Warning) {
        eprintln!("warning: {}", notice.text);
    }
}
