//! Kill tests: whatever a broker acknowledged, or showed to a consumer, is there after `kill -9`, once and unchanged.
//!
//! A round is one store that lives through several processes. Each serves writers and a reader while the log rolls
//! over small segments and old ones are deleted, is killed at a random moment (or stopped), and its files are treated
//! as accidents treat them: the shared memory goes (only where sends wait for the disk), garbage or a stale record
//! stands behind the end of the log, bits of what was never acknowledged flip. Then every queue is read from its
//! beginning; what lies in segments that were not old enough to go must be there. `RINGMQ_SEED` repeats a run as far
//! as timing allows; `RINGMQ_ROUNDS` is 5 unless given, 50 is the long form.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use client::{Consumer, Error, Message, Producer, Pull, PullStatus, Received, SendStatus};
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, FileTimes, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use support::{Data, Random, Server, Setting, rounds};
use wire::codes::response;
use wire::{MessageId, PhyOffset};

const QUEUES: i32 = 8;
const WRITERS: usize = 5;
const FROM_THE_START: [i64; QUEUES as usize] = [0; QUEUES as usize];
const SEGMENT_BYTES: u64 = 4 << 20;
/// Age that segments are given; `fileReservedTime` is an hour.
const OLD: Duration = Duration::from_secs(30 * 3600);
const HOURS: &str = "0;1;2;3;4;5;6;7;8;9;10;11;12;13;14;15;16;17;18;19;20;21;22;23";
const TIMEOUT: Duration = Duration::from_secs(20);

/// Id, which determines tag and body, and body length.
type Body = (u64, usize);

/// What became of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// Stored there, as the broker says.
    Acknowledged { offset: i64, phy: PhyOffset },
    /// Refused: it must never be seen.
    Refused,
    /// No answer, or one that promises nothing.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    body: Body,
    queue: i32,
    fate: Fate,
}

fn body((id, len): Body) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(Random::new(id).bytes(len - 8));
    bytes
}

fn tag(id: u64) -> String {
    format!("tag{}", id % 13)
}

fn message(topic: &str, of: Body) -> Message {
    Message::new(topic, body(of)).tag(&tag(of.0)).keys(&format!("key{}", of.0))
}

/// A message and where its record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stored {
    body: Body,
    phy: PhyOffset,
}

/// What a store has to hold.
#[derive(Default)]
struct Ledger {
    /// Seen or acknowledged, by queue and offset.
    settled: BTreeMap<(i32, i64), Stored>,
    /// Everything ever sent and not settled.
    open: HashMap<u64, Sent>,
    /// Per stream, the position of the last record that counts.
    last: HashMap<u16, u64>,
    /// Per stream, the position below which segments were made old: they may go.
    old: HashMap<u16, u64>,
}

/// Sends until the connection breaks or `stop` is set.
fn write(
    server: &Server,
    topic: &str,
    ids: &AtomicU64,
    stop: &AtomicBool,
    mut random: Random,
) -> Vec<Sent> {
    let mut sent = Vec::new();
    let Ok(connection) = server.connect(TIMEOUT) else { return sent };
    let mut producer = Producer::new(connection, "G_kill");
    while !stop.load(Ordering::Relaxed) {
        let queue = i32::try_from(random.below(8)).unwrap();
        let count = if random.once_in(4) { 2 + random.below(10) } else { 1 };
        let len = |random: &mut Random| match random.below(20) {
            0 => 8,
            1..=3 if count == 1 => 8 + random.index(200_000),
            4 if count == 1 => 8 + random.index(900_000),
            _ => 8 + random.index(4000),
        };
        let bodies: Vec<Body> =
            (0..count).map(|_| (ids.fetch_add(1, Ordering::Relaxed), len(&mut random))).collect();
        let messages: Vec<Message> = bodies.iter().map(|of| message(topic, *of)).collect();
        let result = match messages.as_slice() {
            [one] => producer.send(one, queue),
            many => producer.send_batch(many, queue),
        };
        for (at, of) in bodies.iter().enumerate() {
            let fate = match &result {
                Ok(done) if done.status == SendStatus::Ok => {
                    assert_eq!(done.queue_id, queue);
                    let id = done.msg_id.split(',').nth(at).expect("an id per message");
                    let phy = MessageId::parse(id.as_bytes()).unwrap().phy;
                    Fate::Acknowledged { offset: done.queue_offset + at as i64, phy }
                }
                Ok(_) => Fate::Unknown,
                Err(Error::Refused { .. }) => Fate::Refused,
                Err(_) => Fate::Unknown,
            };
            sent.push(Sent { body: *of, queue, fate });
        }
        match result {
            Err(Error::Refused { code, remark }) => {
                let expected = [response::SYSTEM_BUSY, response::MESSAGE_ILLEGAL];
                assert!(expected.contains(&code), "a send was refused with {code}: {remark}");
            }
            Err(Error::Io(_)) => break,
            Err(Error::Protocol(what)) => panic!("a send was answered with nonsense: {what}"),
            Ok(_) => {}
        }
    }
    sent
}

/// Follows the queues until the connection breaks; returns what it saw.
fn read(
    server: &Server,
    topic: &str,
    starts: &[i64],
    stop: &AtomicBool,
    mut random: Random,
) -> Vec<Received> {
    let mut seen = Vec::new();
    let mut offsets = starts.to_vec();
    let Ok(connection) = server.connect(TIMEOUT) else { return seen };
    let mut consumer = Consumer::new(connection, "G_kill_reader");
    while !stop.load(Ordering::Relaxed) {
        let queue = random.index(offsets.len());
        let at = offsets[queue];
        let wait = Duration::from_millis(random.below(30));
        let pull = Pull::new(topic, i32::try_from(queue).unwrap(), at).suspend(wait);
        match consumer.pull(&pull) {
            Ok(answer) => {
                if answer.messages.is_empty() {
                    // What was there has become old and is gone; what had to stay is looked for at the end.
                    offsets[queue] = answer.next_offset;
                }
                for received in answer.messages {
                    // What lies between has become old and is gone, or is missed at the end.
                    assert!(received.queue_offset >= offsets[queue], "queue {queue} goes back");
                    offsets[queue] = received.queue_offset + 1;
                    check(&received);
                    seen.push(Received { body: received.body[..8].to_vec(), ..received });
                }
            }
            Err(Error::Io(_)) => break,
            Err(error) => panic!("a pull failed: {error}"),
        }
    }
    seen
}

fn id_of(received: &Received) -> u64 {
    u64::from_be_bytes(received.body[..8].try_into().unwrap())
}

/// A record is whole: body and properties are those its id determines.
fn check(received: &Received) -> Body {
    let of = (id_of(received), received.body.len());
    let place = format!("queue {} offset {}", received.queue_id, received.queue_offset);
    assert!(received.body == body(of), "{place}: the body of id {} is not what was sent", of.0);
    assert_eq!(received.property("TAGS"), Some(tag(of.0)), "{place}");
    assert_eq!(received.property("KEYS"), Some(format!("key{}", of.0)), "{place}");
    assert_eq!(received.property("UNIQ_KEY").map(|key| key.len()), Some(32), "{place}");
    of
}

/// Makes segments older than they may become, now and then, but the newest of a stream; the ends of the last ones.
fn age(data: &Data, stop: &AtomicBool, mut random: Random) -> HashMap<u16, u64> {
    let mut old: HashMap<u16, u64> = HashMap::new();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(random.below(300)));
        for (stream, segments) in streams(data) {
            let count = random.index(segments.len().saturating_sub(2)).min(random.index(6));
            for (base, path) in segments.iter().take(count) {
                // It may be gone by now.
                let Ok(file) = OpenOptions::new().write(true).open(path) else { continue };
                let times = FileTimes::new().set_modified(SystemTime::now() - OLD);
                file.set_times(times).unwrap();
                let end = old.entry(stream).or_default();
                *end = (*end).max(base + SEGMENT_BYTES);
            }
        }
    }
    old
}

/// Runs load for `life`; afterwards the process is gone.
fn live(
    data: &Data,
    server: Server,
    ledger: &mut Ledger,
    ids: &AtomicU64,
    (life, kill): (Duration, bool),
    random: &mut Random,
) {
    let topic = server.topic();
    let stop = AtomicBool::new(false);
    let starts: Vec<i64> = (0..QUEUES).map(|queue| next_offset(ledger, queue)).collect();
    let (sent, seen, old) = std::thread::scope(|scope| {
        let (server, stop, starts) = (&server, &stop, &starts);
        let forks: Vec<Random> = (0..WRITERS).map(|_| random.fork()).collect();
        let writers: Vec<_> = forks
            .into_iter()
            .map(|fork| scope.spawn(move || write(server, topic, ids, stop, fork)))
            .collect();
        // One goes on where the last life ended, the others are behind and read what memory has lost.
        let starts = [starts.as_slice(), &FROM_THE_START, &FROM_THE_START];
        let forks = starts.map(|_| random.fork());
        let readers: Vec<_> = starts
            .into_iter()
            .zip(forks)
            .map(|(starts, fork)| {
                let read = move || (starts, read(server, topic, starts, stop, fork));
                scope.spawn(read)
            })
            .collect();
        let fork = random.fork();
        let ager = scope.spawn(move || age(data, stop, fork));
        std::thread::sleep(life);
        if kill {
            server.kill_now();
        } else {
            stop.store(true, Ordering::Relaxed);
        }
        let sent: Vec<Sent> = writers.into_iter().flat_map(done).collect();
        stop.store(true, Ordering::Relaxed);
        (sent, readers.into_iter().map(done).collect::<Vec<_>>(), done(ager))
    });
    if kill {
        server.kill();
    } else {
        let status = server.stop();
        assert!(status.success(), "an orderly stop ended with {status}");
    }
    for (stream, end) in old {
        let known = ledger.old.entry(stream).or_default();
        *known = (*known).max(end);
    }
    ledger.enter(sent);
    for (starts, seen) in seen {
        ledger.see(&seen);
        ledger.skipped_nothing(starts, &seen);
    }
}

/// What a thread brings; its panic is told again, as the last words of the test.
fn done<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|cause| match cause.downcast_ref::<String>() {
        Some(words) => panic!("{words}"),
        None => std::panic::resume_unwind(cause),
    })
}

fn next_offset(ledger: &Ledger, queue: i32) -> i64 {
    let last = ledger.settled.range((queue, 0)..(queue + 1, 0)).next_back();
    last.map_or(0, |((_, offset), _)| offset + 1)
}

impl Ledger {
    fn enter(&mut self, sent: Vec<Sent>) {
        for one in sent {
            let Fate::Acknowledged { offset, phy } = one.fate else {
                self.open.insert(one.body.0, one);
                continue;
            };
            self.note(phy);
            let stored = Stored { body: one.body, phy };
            let other = self.settled.insert((one.queue, offset), stored);
            assert_eq!(other, None, "queue {} offset {offset} was given twice", one.queue);
        }
    }

    fn see(&mut self, seen: &[Received]) {
        for received in seen {
            let place = (received.queue_id, received.queue_offset);
            let id = id_of(received);
            let phy = PhyOffset::from_wire(received.physical_offset).unwrap();
            if let Some(sent) = self.open.remove(&id) {
                assert_ne!(
                    sent.fate,
                    Fate::Refused,
                    "id {id} was refused and is seen at {place:?}"
                );
                assert_eq!(sent.queue, received.queue_id, "id {id}");
                self.settled.insert(place, Stored { body: sent.body, phy });
            }
            let settled = self.settled.get(&place).map(|stored| (stored.body.0, stored.phy));
            assert_eq!(settled, Some((id, phy)), "seen at {place:?}");
            self.note(phy);
        }
    }

    /// Between two messages that a consumer was given, none was left out, but for those that may have gone.
    fn skipped_nothing(&self, starts: &[i64], seen: &[Received]) {
        let mut next: Vec<i64> = starts.to_vec();
        for received in seen {
            let (queue, offset) = (received.queue_id, received.queue_offset);
            let at = &mut next[usize::try_from(queue).unwrap()];
            for ((_, left_out), stored) in self.settled.range((queue, *at)..(queue, offset)) {
                let old = self.old.get(&stored.phy.stream().0).copied().unwrap_or(0);
                let place = format!("queue {queue} offset {left_out}, {:?}", stored.phy);
                assert!(stored.phy.position() < old, "{place} was left out before {offset}");
            }
            *at = offset + 1;
        }
    }

    fn note(&mut self, phy: PhyOffset) {
        let last = self.last.entry(phy.stream().0).or_default();
        *last = phy.position().max(*last);
    }

    /// Reads everything; `lossy` allows that the newest of a queue are gone.
    fn verify(&mut self, server: &Server, lossy: bool) {
        let topic = server.topic();
        let mut consumer = Consumer::new(server.connect(TIMEOUT).unwrap(), "G_kill_verify");
        let mut found: BTreeMap<(i32, i64), Stored> = BTreeMap::new();
        let mut places: HashMap<u64, (i32, i64)> = HashMap::new();
        self.last.clear();
        for queue in 0..QUEUES {
            let max = consumer.connection().max_offset(topic, queue).unwrap();
            let expected = next_offset(self, queue);
            assert!(
                lossy || max >= expected,
                "queue {queue} ends at {max}, acknowledged: {expected}"
            );
            let mut next = consumer.connection().min_offset(topic, queue).unwrap();
            while next < max {
                let answer = consumer.pull(&Pull::new(topic, queue, next)).unwrap();
                // Old records go while we read.
                if answer.messages.is_empty() && answer.next_offset > next {
                    next = answer.next_offset;
                    continue;
                }
                assert_eq!(
                    answer.status,
                    PullStatus::Found,
                    "queue {queue} offset {next} of {max}: {answer:?}"
                );
                for received in &answer.messages {
                    // What lies between is gone: `compare` knows whether it may be.
                    assert!(received.queue_offset >= next, "queue {queue} goes back from {next}");
                    next = received.queue_offset;
                    let place = (queue, next);
                    assert_eq!(received.queue_id, queue);
                    let body = check(received);
                    let other = places.insert(body.0, place);
                    assert_eq!(other, None, "id {} is stored twice, also at {place:?}", body.0);
                    let phy = PhyOffset::from_wire(received.physical_offset).unwrap();
                    found.insert(place, Stored { body, phy });
                    self.note(phy);
                    next += 1;
                }
                assert_eq!(answer.next_offset, next);
            }
        }
        self.compare(&found, lossy);
        self.settled = found;
    }

    fn compare(&mut self, found: &BTreeMap<(i32, i64), Stored>, lossy: bool) {
        for (place, stored) in &self.settled {
            match found.get(place) {
                Some(there) => assert_eq!(there, stored, "{place:?} has another message"),
                None => {
                    let old = self.old.get(&stored.phy.stream().0).copied().unwrap_or(0);
                    let may_go = lossy || stored.phy.position() < old;
                    assert!(may_go, "{stored:?} of {place:?} is lost; segments below {old} may go");
                }
            }
        }
        for (place, there) in found.iter().filter(|(place, _)| !self.settled.contains_key(place)) {
            let id = there.body.0;
            let sent = self.open.remove(&id);
            let sent = sent.unwrap_or_else(|| panic!("{place:?} has id {id}, never sent there"));
            assert_ne!(sent.fate, Fate::Refused, "id {id} was refused and is stored");
            assert_eq!((sent.queue, sent.body), (place.0, there.body));
        }
    }
}

/// What happens to the files between two processes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Accident {
    None,
    /// The machine's memory is lost.
    NoWindows,
    /// Random bytes stand behind the end of the log.
    Garbage,
    /// A record of an earlier position stands at the end of the log.
    StaleRecord,
    /// The memory is lost, and a bit of the unacknowledged rest flips.
    FlippedBit,
    /// The process is killed again while it starts.
    KilledStart,
}

/// The log of one stream, as files.
struct LogFiles {
    segments: Vec<(u64, PathBuf)>,
    /// Position behind the last byte that is not zero.
    end: u64,
}

/// Segments of each stream by their first position.
fn streams(data: &Data) -> Vec<(u16, Vec<(u64, PathBuf)>)> {
    let mut all = Vec::new();
    for stream in 0u16..64 {
        let dir = match stream {
            0 => data.store().join("commitlog"),
            n => data.store().join("streams").join(n.to_string()),
        };
        let Ok(entries) = std::fs::read_dir(dir) else { break };
        let mut segments: Vec<(u64, PathBuf)> = entries
            .map(|entry| entry.unwrap().path())
            .filter_map(|path| Some((path.file_name()?.to_str()?.parse().ok()?, path)))
            .collect();
        segments.sort();
        all.push((stream, segments));
    }
    all
}

fn log_files(data: &Data) -> Vec<(u16, LogFiles)> {
    let with_end = |(stream, segments): (u16, Vec<(u64, PathBuf)>)| {
        let end = segments.iter().rev().find_map(|(base, path)| {
            let bytes = std::fs::read(path).unwrap();
            bytes.iter().rposition(|b| *b != 0).map(|at| base + at as u64 + 1)
        });
        (stream, LogFiles { segments, end: end.unwrap_or(0) })
    };
    streams(data).into_iter().map(with_end).collect()
}

impl LogFiles {
    fn file(&self, position: u64) -> Option<(File, u64)> {
        let base = position - position % SEGMENT_BYTES;
        let (_, path) = self.segments.iter().find(|(at, _)| *at == base)?;
        Some((OpenOptions::new().read(true).write(true).open(path).unwrap(), position - base))
    }

    fn write(&self, position: u64, bytes: &[u8]) {
        let Some((file, at)) = self.file(position) else { return };
        let room = usize::try_from(SEGMENT_BYTES - at).unwrap().min(bytes.len());
        file.write_all_at(&bytes[..room], at).unwrap();
    }
}

/// Position behind the last record that the window of a stream holds.
fn appended(data: &Data, stream: u16) -> Option<u64> {
    let suffix = format!("-{stream}");
    let path = data.windows().into_iter().find(|path| path.to_string_lossy().ends_with(&suffix))?;
    let mut word = [0; 8];
    File::open(path).unwrap().read_exact_at(&mut word, 7 * 8).unwrap();
    Some(u64::from_ne_bytes(word))
}

fn happen(accident: Accident, data: &Data, ledger: &Ledger, random: &mut Random) {
    if matches!(accident, Accident::NoWindows | Accident::FlippedBit) {
        data.remove_windows();
    }
    for (stream, log) in log_files(data) {
        let end = appended(data, stream).unwrap_or(0).max(log.end);
        match accident {
            Accident::Garbage => {
                let len = 1 + random.index(100_000);
                let mut garbage = random.bytes(len);
                if random.once_in(2) && len > 8 {
                    // A length that fits and the magic of a record.
                    garbage[..4].copy_from_slice(&200u32.to_be_bytes());
                    garbage[4..8].copy_from_slice(&0xDAA3_20A7u32.to_be_bytes());
                }
                log.write(end, &garbage);
            }
            Accident::StaleRecord => {
                let Some((file, at)) = log.segments.first().and_then(|(base, _)| log.file(*base))
                else {
                    continue;
                };
                let mut bytes = vec![0; 64 << 10];
                let read = file.read_at(&mut bytes, at).unwrap();
                log.write(end, &bytes[..read]);
            }
            Accident::FlippedBit => flip(&log, ledger.last.get(&stream).copied(), random),
            Accident::None | Accident::NoWindows | Accident::KilledStart => {}
        }
    }
}

/// Flips a bit behind the last record that counts, when there is something, and only in the newest segment.
fn flip(log: &LogFiles, last: Option<u64>, random: &mut Random) {
    let safe = last.map_or(0, |last| {
        // Old segments are deleted, also the one with the newest record that counts.
        let Some((file, at)) = log.file(last) else { return last };
        let mut size = [0; 4];
        file.read_exact_at(&mut size, at).unwrap();
        last + u64::from(u32::from_be_bytes(size))
    });
    let start = safe.max(log.end - log.end % SEGMENT_BYTES);
    if start >= log.end {
        return;
    }
    let mut at = start + random.below(log.end - start);
    if start == safe
        && let Some((file, within)) = log.file(safe)
    {
        // In the first record behind: where a change can be seen. Topic and properties have no checksum, in Java neither.
        let mut head = [0; 88];
        let read = file.read_at(&mut head, within).unwrap();
        let body = u32::from_be_bytes(head[84..].try_into().unwrap());
        if read == head.len() && (1..1 << 20).contains(&body) {
            at = safe + 88 + random.below(u64::from(body));
        }
    }
    let Some((file, within)) = log.file(at) else { return };
    let mut byte = [0];
    file.read_exact_at(&mut byte, within).unwrap();
    byte[0] ^= 1 << random.below(8);
    file.write_all_at(&byte, within).unwrap();
}

fn setting(random: &mut Random, is_sync: bool) -> Setting {
    let flush = if is_sync { "SYNC_FLUSH" } else { "ASYNC_FLUSH" };
    let window = random.pick(&["2M", "8M", "64M"]);
    let config = format!(
        "flushDiskType={flush}\ncleanFileForciblyEnable=false\nmappedFileSizeCommitLog={SEGMENT_BYTES}\nmappedFileSizeConsumeQueue=20000\n\
         logWindowBytes={window}\nsyncFlushTimeout=15000\nmaxMessageSize=1000000\n\
         fileReservedTime=1\ndeleteWhen={HOURS}\ncleanResourceInterval=50\ndeleteCommitLogFilesInterval=10\n"
    );
    Setting { shards: *random.pick(&[1, 2, 4]), config }
}

fn life_ms(random: &mut Random, is_long: bool) -> u64 {
    match random.below(8) {
        0 => random.below(100),
        1 => 2000 + random.below(2000),
        // Behind the checkpoint, which comes every ten seconds.
        2 if is_long => 10_000 + random.below(4000),
        _ => 100 + random.below(1200),
    }
}

/// One store and its processes.
fn round(number: u64, random: &mut Random, is_long: bool) {
    let data = Data::new();
    let ids = AtomicU64::new(1);
    let mut ledger = Ledger::default();
    let mut next = setting(random, random.clone().once_in(2));
    // The number of streams is that of the first start: each of them has its turn.
    next.shards = [1, 2, 4][usize::try_from(number % 3).unwrap()];
    let mut server = Server::start(data.path(), &next);
    for _ in 0..3 {
        let is_sync = next.config.contains("=SYNC_FLUSH");
        let kill = !random.once_in(6);
        let life = Duration::from_millis(life_ms(random, is_long));
        live(&data, server, &mut ledger, &ids, (life, kill), random);
        let accident = *random.pick(&[
            Accident::None,
            Accident::NoWindows,
            Accident::Garbage,
            Accident::StaleRecord,
            Accident::FlippedBit,
            Accident::KilledStart,
        ]);
        // After an orderly stop the files are what they are: nobody looks behind their end.
        let accident = if kill { accident } else { Accident::None };
        let is_lossy = !is_sync && matches!(accident, Accident::NoWindows | Accident::FlippedBit);
        let accident = if is_lossy { Accident::NoWindows } else { accident };
        let settled = ledger.settled.len();
        happen(accident, &data, &ledger, random);
        if accident == Accident::KilledStart {
            let life = Duration::from_millis(random.below(300));
            Server::start_and_kill(data.path(), &next, life);
        }
        let sync = random.once_in(2);
        next = setting(random, sync);
        let end = if kill { "killed" } else { "stopped" };
        eprintln!(
            "round {number}: {end} after {life:?}, sync {is_sync}, {accident:?}: {settled} messages count, \
             segments below {:?} may go; next with {} shards",
            ledger.old, next.shards
        );
        server = Server::start(data.path(), &next);
        ledger.verify(&server, is_lossy);
    }
    assert!(server.stop().success());
    assert_eq!(data.windows(), Vec::<PathBuf>::new(), "an orderly stop leaves no shared memory");
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rounds = rounds("RINGMQ_ROUNDS", 5, 50);
    let mut random = Random::new(Random::seed("kill"));
    for number in 0..rounds {
        let mut random = random.fork();
        round(number, &mut random, rounds > 5);
    }
}

/// A sector that never reached the disk is zeros, and nothing but text tells it from properties: so many zeros in a row are
/// refused, and what is accepted is found again, wherever it lies in its sectors and also at the end of the log.
#[test]
fn zeros_in_properties_are_refused_or_there_after_a_power_cut() {
    const ACCEPTED: usize = 510;
    let data = Data::new();
    let setting = Setting { shards: 1, config: "flushDiskType=SYNC_FLUSH\n".to_owned() };
    let server = Server::start(data.path(), &setting);
    let topic = server.topic();
    let timeout = Duration::from_secs(20);
    let mut producer = Producer::new(server.connect(timeout).unwrap(), "P");
    let of = |body: Vec<u8>, zeros: usize| Message::new(topic, body).with("z", &"\0".repeat(zeros));
    for zeros in [ACCEPTED + 1, 512, 1022, 1023, 20_000] {
        let refused = producer.send(&of(b"refused".to_vec(), zeros), 0).unwrap_err();
        assert_eq!(refused.refused_code(), Some(response::MESSAGE_ILLEGAL), "{zeros}: {refused}");
        assert!(refused.to_string().contains(&format!("{zeros} zero bytes")), "{refused}");
        let batch = [of(b"a".to_vec(), 1), of(b"refused".to_vec(), zeros)];
        let refused = producer.send_batch(&batch, 0).unwrap_err();
        assert_eq!(refused.refused_code(), Some(response::MESSAGE_ILLEGAL), "{zeros}: {refused}");
    }
    // Of many lengths: the zeros come to lie at many places of a sector.
    let body = |n: usize| format!("{n:04}{}", "x".repeat(n % 61)).into_bytes();
    let bodies: Vec<Vec<u8>> = (0..1100).map(body).collect();
    let mut offsets = Vec::new();
    for body in &bodies {
        offsets.push(producer.send(&of(body.clone(), ACCEPTED), 0).unwrap().queue_offset);
    }
    server.kill();
    data.remove_windows();
    let server = Server::start(data.path(), &setting);
    let mut consumer = Consumer::new(server.connect(timeout).unwrap(), "C");
    let end = i64::try_from(bodies.len()).unwrap();
    assert_eq!(consumer.connection().max_offset(topic, 0).unwrap(), end);
    let mut at = 0;
    while at < bodies.len() {
        let pulled = consumer.pull(&Pull::new(topic, 0, offsets[at])).unwrap();
        assert!(!pulled.messages.is_empty(), "at {at}");
        for message in &pulled.messages {
            assert!(message.body == bodies[at] && message.queue_offset == offsets[at], "at {at}");
            assert_eq!(message.property("z").map(|value| value.len()), Some(ACCEPTED));
            at += 1;
        }
    }
}
