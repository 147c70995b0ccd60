//! `ringmq standalone`: a name server and a broker for this machine only, with all data in one directory.

use super::args::StandaloneArgs;
use super::load::{self, Failure, Preset, Source};
use super::{machine, ports};
use crate::{logging, run};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Commit log files of a store that began on a laptop: a GiB of zeros would be written before the first message.
const LOG_FILE_BYTES: u64 = 256 << 20;

/// Loads both configurations, starts logging to stderr and runs.
pub(super) fn start(args: &StandaloneArgs) -> Result<ExitCode, Failure> {
    let data = std::path::absolute(&args.data)
        .map_err(|error| Failure::start(format!("--data {}: {error}", args.data.display())))?;
    let namesrv_port = if args.any_port {
        ports::one(args.namesrv_port).map_err(|error| no_port(args.namesrv_port, &error))?
    } else {
        args.namesrv_port
    };
    let namesrv = load::namesrv(&source(None), namesrv_presets(&data, namesrv_port))?;
    let mut presets = broker_presets(&data, namesrv_port, args);
    let source = source(args.config_file.clone());
    let mut broker = load::broker(&source, presets.clone())?;
    if args.any_port {
        let wanted = broker.config.listen_port;
        let port = ports::broker(wanted, namesrv_port).map_err(|error| no_port(wanted, &error))?;
        if port != wanted {
            presets.push(wins("listenPort", port));
            broker = load::broker(&source, presets)?;
        }
    }
    let _log = logging::to_stderr(broker.config.log_time_zone_minutes);
    load::log_notices(&broker.notices);
    Ok(run::run_standalone(namesrv, broker))
}

fn source(config_file: Option<PathBuf>) -> Source {
    Source { machine: machine::collect(), config_file, namesrv_addr: None }
}

fn no_port(wanted: u16, error: &std::io::Error) -> Failure {
    Failure::start(format!("port {wanted} and no other port can be used: {error}"))
}

fn wins(key: &'static str, value: impl ToString) -> Preset {
    Preset { key, value: value.to_string(), wins: true }
}

fn default(key: &'static str, value: impl ToString) -> Preset {
    Preset { key, value: value.to_string(), wins: false }
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn namesrv_presets(data: &Path, port: u16) -> Vec<Preset> {
    vec![
        wins("bindAddress", "127.0.0.1"),
        wins("listenPort", port),
        wins("kvConfigPath", path(&data.join("namesrv/kvConfig.json"))),
        wins("configStorePath", path(&data.join("namesrv/namesrv.properties"))),
    ]
}

fn broker_presets(data: &Path, namesrv_port: u16, args: &StandaloneArgs) -> Vec<Preset> {
    let mut presets = vec![
        default("bindAddress", "127.0.0.1"),
        default("brokerIP1", "127.0.0.1"),
        default("brokerIP2", "127.0.0.1"),
        default("brokerName", "broker-a"),
        default("mappedFileSizeCommitLog", LOG_FILE_BYTES),
        wins("namesrvAddr", format!("127.0.0.1:{namesrv_port}")),
        wins("storePathRootDir", path(&data.join("store"))),
        wins("storePathCommitLog", ""),
    ];
    presets.extend(args.port.map(|port| wins("listenPort", port)));
    presets.extend(args.shards.map(|shards| wins("shardCount", shards)));
    presets
}
