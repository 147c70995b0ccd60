//! The processes: what happens once the configuration is known, from the first check to the exit status.

mod goodbye;
mod node;
mod signals;

use crate::cli::{EXIT_START, Start};
use crate::logging;
use base::ids::ShardId;
use broker::LastCheck;
use broker::settings::Settings;
use config::{BrokerConfig, FlushDiskType, LogSyncMethod, NamesrvConfig};
use node::{BROKER, BROKER_VIP, NAMESRV, Node, Ready};
use reactor::affinity::{self, Cpu};
use reactor::{ReactorConfig, probe, sys};
use shard::ListenerTag;
use shard::boot::{ShardConfig, ShardSeed};
use shard::server::{self, Ending, Server};
use shard::stalled::StallLimits;
use shard::store_dir::{self, OpenStore, Recovered, StoreDirConfig};
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use store::delay::DelayLevels;
use store::layout::index::IndexLimits;
use store::stream::{FlushMode, SyncBy};

/// Exit status when the host cannot run it at all (EX_CONFIG of sysexits).
const EXIT_HOST: u8 = 78;
/// Exit status after a failure while running.
const EXIT_FAILED: u8 = 1;
/// How long the boot line waits for the first registration.
const READY_WAIT: Duration = Duration::from_secs(2);
/// A start that took shorter says nothing of it on stdout.
const TOLD_MS_MIN: u64 = 1000;
/// Descriptors kept for segment files, logs and name servers, and per shard for queue and index files.
const FILES_RESERVED: u64 = 4096;
const SHARD_FILES_RESERVED: u64 = 640;
/// Submission entries of a shard's ring.
const RING_ENTRIES: u32 = 1024;
/// A shard whose work comes at shorter intervals than this does not sleep between: waking costs about as much.
const SPIN_NS: u64 = 25_000;
/// Scratch blocks of a shard at least: one partial write per stream is in flight.
const SCRATCH_BLOCKS_MIN: u16 = 4;

/// Runs a broker until it is told to stop.
pub(crate) fn run_broker(start: Start<BrokerConfig>) -> ExitCode {
    conclude(run(Some(start), None), Log::File)
}

/// Runs a name server until it is told to stop.
pub(crate) fn run_namesrv(start: Start<NamesrvConfig>) -> ExitCode {
    conclude(run(None, Some(start)), Log::File)
}

/// Runs both in one process until it is told to stop.
pub(crate) fn run_standalone(
    namesrv: Start<NamesrvConfig>,
    broker: Start<BrokerConfig>,
) -> ExitCode {
    conclude(run(Some(broker), Some(namesrv)), Log::Stderr)
}

/// Runs a benchmark with its own arguments.
pub(crate) fn run_bench(arguments: &[OsString]) -> ExitCode {
    crate::cli::bench::run(arguments)
}

/// Why a process did not start or did not end well.
struct Fatal {
    text: String,
    exit: u8,
}

impl Fatal {
    fn start(text: impl Into<String>) -> Fatal {
        Fatal { text: text.into(), exit: EXIT_START }
    }
}

/// Where log lines go; a fatal one is shown once on stderr.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Log {
    File,
    Stderr,
}

fn conclude(outcome: Result<(), Fatal>, log: Log) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            tracing::error!("{}", fatal.text);
            if log == Log::File {
                logging::show(std::io::stderr(), &format!("ringmq: {}", fatal.text));
            }
            ExitCode::from(fatal.exit)
        }
    }
}

/// What both kinds of processes configure alike.
struct Common {
    cpus: Vec<Cpu>,
    connections_max: u32,
    receive_buffers: u16,
    receive_buffer_bytes: usize,
    idle_s: u64,
    sync_flush_timeout_ms: u64,
    stall: StallLimits,
    graceful_stop_ms: u64,
}

fn common(
    broker: Option<&Start<BrokerConfig>>,
    namesrv: Option<&Start<NamesrvConfig>>,
) -> Result<Common, Fatal> {
    let place = |count, cpus: &[Cpu]| affinity::place(count, cpus).map_err(Fatal::start);
    if let Some(start) = broker {
        let c = &start.config;
        return Ok(Common {
            cpus: place(c.shard_count, &c.shard_cpus)?,
            connections_max: c.connections_max,
            receive_buffers: c.recv_buffer_count,
            receive_buffer_bytes: c.recv_buffer_bytes,
            idle_s: c.server_channel_max_idle_time_s,
            sync_flush_timeout_ms: c.sync_flush_timeout_ms,
            stall: StallLimits {
                requests_max: c.overload.window_requests_max,
                wait_ms: c.overload.fast_failure_enable.then_some(c.overload.window_wait_ms),
            },
            graceful_stop_ms: c.housekeeping.graceful_stop_ms,
        });
    }
    let c = &namesrv.expect("a process is a broker, a name server, or both").config;
    Ok(Common {
        // A name server lives on one shard.
        cpus: place(1, &c.shard_cpus)?,
        connections_max: c.connections_max,
        receive_buffers: c.recv_buffer_count,
        receive_buffer_bytes: c.recv_buffer_bytes,
        idle_s: c.server_channel_max_idle_time_s,
        sync_flush_timeout_ms: 0,
        stall: StallLimits::default(),
        graceful_stop_ms: c.graceful_stop_ms,
    })
}

impl Common {
    fn shard_config(&self, open_files: u64) -> ShardConfig {
        let shards = self.cpus.len() as u64;
        let reserved = FILES_RESERVED + shards * SHARD_FILES_RESERVED;
        let sockets = (open_files.saturating_sub(reserved) / shards).max(64);
        let sockets_max = u32::try_from(sockets).unwrap_or(u32::MAX).min(self.connections_max);
        ShardConfig {
            reactor: ReactorConfig {
                entries: RING_ENTRIES,
                receive_buffers: self.receive_buffers,
                receive_buffer_bytes: self.receive_buffer_bytes,
                sockets_max,
                scratch_blocks: SCRATCH_BLOCKS_MIN,
            },
            idle_connection_ms: self.idle_s * 1000,
            sync_flush_timeout_ms: self.sync_flush_timeout_ms,
            stall: self.stall,
            spin_ns: SPIN_NS,
        }
    }
}

fn run(
    broker: Option<Start<BrokerConfig>>,
    namesrv: Option<Start<NamesrvConfig>>,
) -> Result<(), Fatal> {
    let signals = signals::Signals::catch().map_err(|e| Fatal::start(format!("signals: {e}")))?;
    probe::check_kernel().map_err(|e| Fatal { text: e.to_string(), exit: EXIT_HOST })?;
    let open_files = sys::raise_open_files()
        .map_err(|e| Fatal::start(format!("raising the limit of open files: {e}")))?;
    let common = common(broker.as_ref(), namesrv.as_ref())?;
    let mut config = common.shard_config(open_files);
    let shards = common.cpus.len();
    let mut listeners: Vec<Vec<(TcpListener, ListenerTag)>> =
        (0..shards).map(|_| Vec::new()).collect();
    if let Some(start) = &namesrv {
        let address = SocketAddr::new(start.config.bind_address, start.config.listen_port);
        listeners[0].push((bind_once(address)?, NAMESRV));
    }
    let mut store = None;
    let mut broker_seed = None;
    if let Some(start) = broker {
        bind_broker(&start.config, &mut listeners)?;
        let began = reactor::clock::mono();
        let opened = open_store(&start.config, shards)?;
        let recovery_ms = reactor::clock::mono().since(began) / 1_000_000;
        tell_recovery(recovery_ms, opened.recovered);
        let streams_of_a_shard = usize::from(opened.identity.streams).div_ceil(shards);
        let blocks = u16::try_from(streams_of_a_shard).unwrap_or(u16::MAX);
        config.reactor.scratch_blocks = blocks.max(SCRATCH_BLOCKS_MIN);
        let settings =
            Settings::new(start.config, opened.identity.streams).map_err(Fatal::start)?;
        let mut tables =
            broker::load_tables(&opened.paths.config_dir(), &settings).map_err(Fatal::start)?;
        tables.keep_configuration(start.table);
        tables.keep_recovery(recovery_ms, opened.recovered);
        if opened.is_after_crash {
            tables.distrust_bit_maps(reactor::clock::now().wall);
        }
        broker_seed = Some((Arc::new(settings), Arc::new(tables)));
        store = Some(opened);
    }
    let namesrv_seed = namesrv
        .map(|start| namesrv::Seed::load(start.config, start.table))
        .transpose()
        .map_err(Fatal::start)?;
    let lines = boot_lines(broker_seed.as_ref().map(|(s, _)| &**s), namesrv_seed.as_ref());
    let mut parts = store.as_mut().map(OpenStore::take_shards).unwrap_or_default().into_iter();
    let seeds = common.cpus.iter().zip(listeners).zip(0u16..).map(|((cpu, listeners), id)| {
        ShardSeed { id: ShardId(id), cpu: *cpu, listeners, store: parts.next(), config }
    });
    let seeds: Vec<ShardSeed> = seeds.collect();
    let ready = Ready::default();
    let announced = ready.clone();
    // The tables themselves are given back when the shards have taken what is theirs.
    let timer = broker_seed.as_ref().and_then(|(_, tables)| tables.timer.as_ref());
    let last_check = timer.map(|timer| timer.last.clone());
    let make = move |id: ShardId| {
        let broker = broker_seed.as_ref();
        let namesrv = namesrv_seed.clone().filter(|_| id == ShardId::META);
        Node::new(id, shards, broker, namesrv, ready.clone()).lingering(common.graceful_stop_ms)
    };
    let server = server::start(seeds, make).map_err(|text| Fatal { text, exit: EXIT_HOST })?;
    signals.stop_on_signal(server.stopper());
    announced.wait(READY_WAIT);
    for line in lines {
        logging::show(std::io::stdout(), &line);
        tracing::info!("{line}");
    }
    serve(server, store.as_ref(), last_check.as_ref())
}

/// Waits for the end, and says how it was.
fn serve(
    server: Server,
    store: Option<&OpenStore>,
    last_check: Option<&LastCheck>,
) -> Result<(), Fatal> {
    let stopper = server.stopper();
    let ending = server.join();
    let outcome = goodbye::outcome(&ending);
    let finished = finish(ending, store, last_check);
    goodbye::tell(if finished.is_ok() { outcome } else { "it failed" }, &stopper);
    finished
}

fn finish(
    ending: Ending,
    store: Option<&OpenStore>,
    last_check: Option<&LastCheck>,
) -> Result<(), Fatal> {
    match ending {
        Ending::Clean(queues) => {
            if let Some(Err(error)) = last_check.map(LastCheck::write) {
                tracing::error!(
                    "timer: its last checkpoint cannot be written: {error}; what was delivered last comes again"
                );
            }
            if let Some(store) = store {
                let marked = store.mark_clean(queues.as_deref());
                marked.map_err(|e| Fatal {
                    text: format!("marking the stop: {e}"),
                    exit: EXIT_FAILED,
                })?;
            }
            tracing::info!("stopped; everything is on disk");
            Ok(())
        }
        Ending::Hasty => {
            tracing::warn!(
                "stopped before everything was on disk; the next start recovers the rest"
            );
            Ok(())
        }
        Ending::Failed(why) => Err(Fatal { text: why, exit: EXIT_FAILED }),
    }
}

/// Binds without sharing: a port that another process serves is refused, even one of our own kind.
fn bind_once(address: SocketAddr) -> Result<TcpListener, Fatal> {
    sys::listen(address, false).map_err(|e| {
        let hint = if e.kind() == std::io::ErrorKind::AddrInUse {
            ". Another process listens there; stop it, or choose another listenPort"
        } else {
            ""
        };
        Fatal::start(format!("listening on {address}: {e}{hint}"))
    })
}

fn bind_broker(
    config: &BrokerConfig,
    listeners: &mut [Vec<(TcpListener, ListenerTag)>],
) -> Result<(), Fatal> {
    bind_shared(config.bind_address, config.listen_port, BROKER, listeners)?;
    let vip = config.listen_port.checked_sub(2).filter(|port| *port > 0);
    if let Some(vip) = vip
        && let Err(fatal) = bind_shared(config.bind_address, vip, BROKER_VIP, listeners)
    {
        tracing::warn!("no second listener for old clients: {}", fatal.text);
    }
    Ok(())
}

fn bind_shared(
    ip: IpAddr,
    port: u16,
    tag: ListenerTag,
    listeners: &mut [Vec<(TcpListener, ListenerTag)>],
) -> Result<(), Fatal> {
    let mut address = SocketAddr::new(ip, port);
    let probe = bind_once(address)?;
    address.set_port(probe.local_addr().map(|a| a.port()).unwrap_or(port));
    drop(probe);
    for list in listeners {
        let listener = sys::listen(address, true)
            .map_err(|e| Fatal::start(format!("listening on {address}: {e}")))?;
        list.push((listener, tag));
    }
    Ok(())
}

/// A line in the log; a start that took long has told on stdout how far it was, and ends that there.
fn tell_recovery(ms: u64, recovered: Recovered) {
    let Recovered { messages, bytes } = recovered;
    let text =
        format!("the store is open after {ms} ms, {messages} messages in {} MiB read", bytes >> 20);
    if ms < TOLD_MS_MIN {
        tracing::info!("{text}");
    } else {
        tracing::info!(target: "progress", "{text}");
    }
}

fn open_store(config: &BrokerConfig, shards: usize) -> Result<OpenStore, Fatal> {
    let streams = match config.log_streams {
        0 => u16::try_from(shards).unwrap_or(u16::MAX),
        n => n,
    };
    let dir = StoreDirConfig {
        root: config.store_path_root_dir.clone(),
        commit_log: config.store_path_commit_log.clone(),
        segment_bytes: config.mapped_file_size_commit_log,
        queue_file_bytes: config.mapped_file_size_consume_queue,
        queue_ext_bytes: config.mapped_file_size_consume_queue_ext,
        streams,
        shards,
        window_bytes: usize::try_from(config.log_window_bytes).unwrap_or(usize::MAX),
        window_dir: PathBuf::from("/dev/shm"),
        flush: match config.flush_disk_type {
            FlushDiskType::AsyncFlush => FlushMode::Async,
            FlushDiskType::SyncFlush => FlushMode::Sync,
        },
        sync_by: match config.log_sync_method {
            LogSyncMethod::Auto => None,
            LogSyncMethod::Dsync => Some(SyncBy::WriteThrough),
            LogSyncMethod::Fdatasync => Some(SyncBy::Flush),
        },
        flush_interval_ns: config.flush_interval_commit_log_ms * 1_000_000,
        read_uncommitted: config.read_uncommitted_visible,
        delay_levels: delay_levels(config)?,
        retention: Some(broker::settings::retention(&config.retention)),
        index: config.index.message_index_enable,
        index_limits: IndexLimits {
            slots: config.index.max_hash_slot_num,
            items: config.index.max_index_num,
        },
    };
    store_dir::open(&dir).map_err(|e| Fatal::start(e.to_string()))
}

fn delay_levels(config: &BrokerConfig) -> Result<DelayLevels, Fatal> {
    DelayLevels::parse(&config.message_delay_level)
        .map_err(|why| Fatal::start(format!("messageDelayLevel {why}")))
}

/// The lines that operators and their scripts wait for; Java's texts.
fn boot_lines(broker: Option<&Settings>, namesrv: Option<&namesrv::Seed>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(seed) = namesrv {
        let c = seed.settings();
        lines.push(format!(
            "The Name Server boot success. serializeType=JSON, address {}:{}",
            c.bind_address, c.listen_port
        ));
    }
    if let Some(settings) = broker {
        let c = &settings.config;
        let mut line = format!(
            "The broker[{}, {}] boot success. serializeType=JSON",
            c.broker_name, settings.store_host
        );
        if !c.namesrv_addr.is_empty() {
            line.push_str(&format!(" and name server is {}", c.namesrv_addr.join(";")));
        }
        lines.push(line);
    }
    lines
}
