//! The data path does not allocate: a real broker in this process, under an allocator that counts for its shards.
//!
//! After a warm-up, any allocation of a shard's thread fails the test, but for upkeep that runs once in a while
//! and is listed here by name.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

#[path = "support/bare.rs"]
mod bare;
#[path = "support/frames.rs"]
mod frames;

use bare::{BareBroker, configuration};
use base::ids::ShardId;
use broker::settings::Settings;
use buf::count_alloc::{self, CountingAllocator};
use client::{Connection, NewTopic};
use reactor::{ReactorConfig, affinity, sys};
use shard::ListenerTag;
use shard::boot::{ShardConfig, ShardSeed};
use shard::server::{self, Server};
use shard::stalled::StallLimits;
use shard::store_dir::{self, StoreDirConfig};
use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use store::layout::index::IndexLimits;
use store::stream::FlushMode;
use wire::codes::response;
use wire::frame::split;
use wire::{Header, SerializeType};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const TOPIC: &str = "TestTopic";
const SERIALIZE: [SerializeType; 2] = [SerializeType::Json, SerializeType::Rocketmq];
/// Queue of the pulls that wait.
const WAKE_QUEUE: i32 = 7;
/// Messages of one round, see `Client::round`.
const ROUND_MESSAGES: usize = 2 * 16 + 2 * 32 + 2;
const MESSAGES: usize = 100_000;
const ROUNDS: usize = MESSAGES / ROUND_MESSAGES + 1;
const WARM_UP: Duration = Duration::from_secs(6);

/// Upkeep beside the data path, by file and function of a caller, and how often it may allocate per second.
const UPKEEP: &[(&str, &str, usize)] = &[
    // Entries of queues go to their files and checkpoints are written, once a second.
    ("shard/io_map.rs", "drive_queues", 1_000),
    ("shard/turn.rs", "take_jobs", 10),
    // A segment file is made, one per gibibyte.
    ("shard/io_map.rs", "carry_out", 10),
    // The list of queues that such a round takes begins anew.
    ("store/engine.rs", "mark_dirty", 10),
    // When a round is late, the index of a queue holds more than ever before, and doubles.
    ("store/consume_queue.rs", "push_entry", 10),
    ("store/engine.rs", "note_end", 2),
    ("store/index.rs", "push", 10),
    // Changed consumer offsets go to the metadata shard and to their file, every five seconds.
    ("broker/offsets.rs", "hand_over", 10),
    ("broker/offsets.rs", "commit", 10),
    ("broker/handlers/meta/upkeep.rs", "on_offsets", 10),
    ("broker/handlers/meta/upkeep.rs", "settle", 50),
    // More timers are due at once than ever before.
    ("base/wheel.rs", "fire", 2),
    ("shard/turn.rs", "carry_out_requests", 10),
];
/// glommio's work between turns: jobs, and the wait for the eventfd of a shard that has nothing to do.
const HOST: &str = "reactor/host.rs";

// ---- what was allocated ----

/// Backtraces that are kept; more are only counted.
const KEPT_MAX: usize = 100_000;

static COUNT: AtomicUsize = AtomicUsize::new(0);
static KEPT: Mutex<Vec<(usize, Backtrace)>> = Mutex::new(Vec::new());

fn note(bytes: usize) {
    if COUNT.fetch_add(1, Ordering::Relaxed) < KEPT_MAX {
        KEPT.lock().unwrap().push((bytes, Backtrace::force_capture()));
    }
}

/// Callers in this workspace, innermost first, as `src/…/file.rs:line function`.
fn callers(trace: &Backtrace) -> Vec<String> {
    let (text, mut found, mut name) = (trace.to_string(), Vec::new(), String::new());
    for line in text.lines().map(str::trim) {
        let Some(at) = line.strip_prefix("at ") else {
            let full = line.split_once(": ").map_or("", |(_, name)| name);
            let plain = full.split(['<', '{']).find(|part| !part.is_empty()).unwrap_or(full);
            name = plain.trim_end_matches("::").to_string();
            continue;
        };
        let Some((_, place)) = at.split_once("src/").filter(|_| at.starts_with("./src/")) else {
            continue;
        };
        let place = place.rsplit_once(':').map_or(place, |(place, _column)| place);
        if !place.starts_with("buf/count_alloc") {
            found.push(format!("{place} {name}"));
        }
    }
    found
}

/// What was allocated.
#[derive(Default)]
struct Found {
    /// Between turns.
    host: usize,
    /// By row of `UPKEEP`.
    upkeep: Vec<usize>,
    /// On the data path, by place.
    places: BTreeMap<String, usize>,
}

fn found() -> Found {
    let mut found = Found { upkeep: vec![0; UPKEEP.len()], ..Found::default() };
    for (bytes, trace) in KEPT.lock().unwrap().drain(..) {
        let callers = callers(&trace);
        let is = |caller: &String, file, name| caller.starts_with(file) && caller.ends_with(name);
        let row = UPKEEP
            .iter()
            .position(|(file, name, _)| callers.iter().any(|caller| is(caller, *file, *name)));
        if let Some(row) = row {
            found.upkeep[row] += 1;
        } else if callers.first().is_none_or(|caller| caller.starts_with(HOST)) {
            found.host += 1;
        } else {
            let inner: Vec<&str> = callers.iter().take(4).map(String::as_str).collect();
            let place = format!("{} (such as {bytes} bytes)", inner.join(" < "));
            *found.places.entry(place).or_default() += 1;
        }
    }
    found
}

// ---- the broker ----

struct Broker {
    server: Server,
    address: SocketAddr,
}

fn start(dir: &Path, shards: u16) -> Broker {
    let root = dir.join("store");
    let mut config = configuration(&[("storePathRootDir", root.to_str().unwrap())]);
    let probe = sys::listen("127.0.0.1:0".parse().unwrap(), true).unwrap();
    let address = probe.local_addr().unwrap();
    config.listen_port = address.port();
    let dir = StoreDirConfig {
        commit_log: root.join("commitlog"),
        root,
        segment_bytes: 1 << 30,
        queue_file_bytes: config.mapped_file_size_consume_queue,
        queue_ext_bytes: None,
        streams: shards,
        shards: usize::from(shards),
        window_bytes: 256 << 20,
        window_dir: "/dev/shm".into(),
        flush: FlushMode::Async,
        sync_by: None,
        flush_interval_ns: 500_000_000,
        read_uncommitted: false,
        delay_levels: store::delay::DelayLevels::default(),
        retention: None,
        index: config.index.message_index_enable,
        index_limits: IndexLimits {
            slots: config.index.max_hash_slot_num,
            items: config.index.max_index_num,
        },
    };
    let mut store = store_dir::open(&dir).unwrap();
    let settings = Arc::new(Settings::new(config, shards).unwrap());
    let tables = Arc::new(broker::load_tables(&store.paths.config_dir(), &settings).unwrap());
    let cpus = affinity::place(usize::from(shards), &[]).unwrap();
    let mut listeners = vec![probe];
    listeners.extend((1..shards).map(|_| sys::listen(address, true).unwrap()));
    let parts = store.take_shards().into_iter().zip(listeners).zip(cpus).zip(0u16..);
    let seeds = parts.map(|(((part, listener), cpu), id)| ShardSeed {
        id: ShardId(id),
        cpu,
        listeners: vec![(listener, ListenerTag(1))],
        store: Some(part),
        config: shard_config(),
    });
    let make = move |id: ShardId| {
        count_alloc::watch_this_thread();
        BareBroker::new(Arc::clone(&settings), id, usize::from(shards), &tables)
    };
    let server = server::start(seeds.collect(), make).unwrap();
    std::mem::forget(store);
    Broker { server, address }
}

fn shard_config() -> ShardConfig {
    let reactor = ReactorConfig {
        entries: 256,
        receive_buffers: 256,
        receive_buffer_bytes: 16 << 10,
        sockets_max: 64,
        scratch_blocks: 16,
    };
    ShardConfig {
        reactor,
        idle_connection_ms: 0,
        sync_flush_timeout_ms: 5_000,
        stall: StallLimits::default(),
        spin_ns: 25_000,
    }
}

// ---- the load ----

/// A socket that sends frames and counts answers.
struct Link {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Link {
    fn new(address: SocketAddr) -> Link {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Link { stream, input: Vec::new() }
    }

    fn send(&mut self, frames: &[u8]) {
        self.stream.write_all(frames).unwrap();
    }

    /// Waits for so many answers, all of them successes.
    fn answers(&mut self, mut count: usize) {
        let mut buffer = [0; 64 << 10];
        while count > 0 {
            let read = match self.stream.read(&mut buffer) {
                // glommio's timer of another thread may interrupt this one.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result.unwrap(),
            };
            assert!(read > 0, "the broker closed the connection");
            self.input.extend_from_slice(&buffer[..read]);
            let mut used_all = 0;
            while let Some((frame, used)) = split(&self.input[used_all..]).unwrap() {
                let header = Header::decode(&frame).unwrap();
                assert_eq!(header.code, response::SUCCESS, "{:?}", header.remark);
                used_all += used;
                count -= 1;
            }
            self.input.drain(..used_all);
        }
    }
}

/// All kinds of load, in both header encodings.
struct Client {
    serialize: SerializeType,
    senders: Link,
    consumer: Link,
    waiter: Link,
    /// Next offset of the queue that is waited for.
    waits_for: i64,
    /// Frames that are the same in each round.
    singles: Vec<u8>,
    batch: Vec<u8>,
    wake: Vec<u8>,
}

impl Client {
    fn new(address: SocketAddr, serialize: SerializeType, wake_queue: i32) -> Client {
        let mut singles = Vec::new();
        for opaque in 0..16 {
            let body_bytes = if opaque % 2 == 0 { 1024 } else { 128 };
            singles.extend(frames::send(serialize, (TOPIC, opaque % 4), opaque, body_bytes));
        }
        Client {
            serialize,
            senders: Link::new(address),
            consumer: Link::new(address),
            waiter: Link::new(address),
            waits_for: 0,
            singles,
            batch: frames::batch(serialize, (TOPIC, 4), 100, (32, 512)),
            wake: frames::send(serialize, (TOPIC, wake_queue), 200, 256),
        }
    }

    fn round(&mut self, at: usize, wake_queue: i32) {
        let (serialize, offset) = (self.serialize, i64::try_from(at).unwrap());
        let wait = frames::pull(serialize, (TOPIC, wake_queue), 1, self.waits_for, 15_000);
        self.waiter.send(&wait);
        self.senders.send(&self.singles);
        self.senders.answers(16);
        self.senders.send(&self.batch);
        self.senders.answers(1);
        let mut consume = frames::pull(serialize, (TOPIC, 0), 2, offset * 8, 0);
        consume.extend(frames::pull(serialize, (TOPIC, 4), 3, offset * 64, 0));
        consume.extend(frames::commit(serialize, (TOPIC, 0), 4, offset));
        self.consumer.send(&consume);
        self.consumer.answers(3);
        self.senders.send(&self.wake);
        self.senders.answers(1);
        self.waiter.answers(1);
        self.waits_for += 1;
    }
}

/// A row whose function has another name by now would excuse nothing, and only a slow machine would show it.
#[test]
fn every_upkeep_is_a_function() {
    for (file, name, _) in UPKEEP {
        let source = std::fs::read_to_string(format!("src/{file}")).unwrap();
        let is = |end| source.contains(&format!("fn {name}{end}"));
        assert!(is('(') || is('<'), "no `{name}` in src/{file}");
    }
}

#[test]
fn the_data_path_of_a_shard_does_not_allocate() {
    let dir = tempfile::tempdir().unwrap();
    let shards = std::env::var("RINGMQ_SHARDS").map_or(1, |text| text.parse().unwrap());
    let broker = start(dir.path(), shards);
    let mut admin = Connection::connect(broker.address).unwrap();
    admin.create_topic(&NewTopic::new(TOPIC, 8)).unwrap();
    let mut clients = [(SERIALIZE[0], WAKE_QUEUE), (SERIALIZE[1], WAKE_QUEUE - 1)]
        .map(|(serialize, queue)| (Client::new(broker.address, serialize, queue), queue));
    let mut run = |at: usize| {
        for (client, queue) in &mut clients {
            client.round(at, *queue);
        }
    };
    // As fast as it goes, for several rounds of upkeep; then slower, so that nothing has to hold more than before.
    let (began, mut rounds) = (Instant::now(), 0);
    while began.elapsed() < WARM_UP {
        run(rounds);
        rounds += 1;
    }
    let pause = began.elapsed() / u32::try_from(rounds).unwrap() * 3 / 2;
    count_alloc::start_counting(note);
    let began = Instant::now();
    for (at, step) in (rounds..rounds + ROUNDS).zip(1..) {
        run(at);
        std::thread::sleep((pause * step).saturating_sub(began.elapsed()));
    }
    count_alloc::stop_counting();
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    broker.server.stopper().stop();
    broker.server.join();
    remove_windows(&dir.path().join("store"));
    let (count, found) = (COUNT.load(Ordering::Relaxed), found());
    println!(
        "{rounds} rounds of warm-up; {count} allocations in {seconds} s, {} of them between turns, upkeep: {:?}",
        found.host, found.upkeep
    );
    let text: Vec<String> =
        found.places.iter().map(|(place, count)| format!("{count} times {place}")).collect();
    assert!(text.is_empty(), "allocations for {MESSAGES} messages:\n{}", text.join("\n"));
    assert!(count <= KEPT_MAX, "{count} allocations, more than could be looked at");
    for ((file, name, rate), count) in UPKEEP.iter().zip(&found.upkeep) {
        let most = rate * seconds;
        assert!(*count <= most, "{name} in {file} allocated {count} times, it may {most} times");
    }
}

/// Windows of the store in shared memory, which an orderly stop has removed.
fn remove_windows(store: &Path) {
    let identity = std::fs::read_to_string(store.join("ringmq.store")).unwrap();
    let id = identity.lines().find_map(|line| line.strip_prefix("storeId=")).unwrap();
    for entry in std::fs::read_dir("/dev/shm").unwrap().filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(&format!("ringmq-{id}-")) {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}
