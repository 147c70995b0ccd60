//! Generated sequences of requests, sound and unsound, sent to a Java broker and to ours side by side: the answers are compared.
//!
//! What may differ is a list with reasons (`differential/differs.rs`). A difference counts when it comes again in a second
//! run of the sequence under other names and with longer pauses; then it is shown with the fewest requests that lead to it.
//! Needs the Java brokers that `tests/java/run.sh --prepare` fetches.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

#[path = "differential/bodies.rs"]
mod bodies;
#[path = "differential/differs.rs"]
mod differs;
#[path = "differential/forms.rs"]
mod forms;
#[path = "differential/pair.rs"]
mod pair;
#[path = "differential/sequence.rs"]
mod sequence;
mod support;

use client::Connection;
use differs::Row;
use pair::{Pair, Played, kind, play};
use sequence::{Step, Value, generate};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::java::{self, JavaBroker, JavaNameServer, Version};
use support::{Data, Random, Server, Setting, rounds};

/// Sequences at once: they mostly wait.
const CROWD: usize = 8;
/// How long to wait where Java works behind its answers, at first and to be sure.
const PAUSES: [Duration; 2] = [Duration::from_millis(3), Duration::from_millis(40)];
/// The seed when none is given.
const SEED: u64 = 1;
/// Differences of one run that are shown.
const SHOWN_MAX: usize = 80;

/// The same for both brokers. Nothing that is delayed comes while the test runs, and nobody asks about transactions.
const CONFIG: &str = "brokerName=broker-a\nbrokerClusterName=GoldCluster\nbrokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\n\
    autoCreateTopicEnable=true\nautoCreateSubscriptionGroup=true\nenablePropertyFilter=true\nrecallMessageEnable=true\n\
    mappedFileSizeCommitLog=67108864\nmappedFileSizeConsumeQueue=300000\nmaxIndexNum=40000\nmaxHashSlotNum=10000\n\
    diskMaxUsedSpaceRatio=95\nwaitTimeMillsInSendQueue=10000\ntransactionTimeOut=600000\ntransactionCheckInterval=600000\n\
    messageDelayLevel=1000s 1001s 1002s 1003s 1004s 1005s 1006s 1007s 1008s 1009s 1010s 1011s 1012s 1013s 1014s 1015s 1016s 1017s\n";

/// A kind of difference: the request, where, and both values.
type Found = BTreeMap<String, (u32, String)>;

/// What all sequences showed.
#[derive(Default)]
struct Sum {
    sequences: u64,
    played: Played,
    /// Differences that did not come again.
    unrepeated: Vec<String>,
    found: Found,
}

fn sequence_seed(seed: u64, number: u64) -> u64 {
    Random::new(seed ^ number.wrapping_mul(0x9E37_79B9)).next()
}

fn prefix(number: u64, run: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(run % 26).unwrap());
    format!("Q{:05}{letter}_", number % 100_000)
}

/// Plays a sequence, and once more when something differs.
fn try_sequence(pair: &Pair, rows: &[&Row], seed: u64, number: u64, sum: &Mutex<Sum>) {
    let own_seed = sequence_seed(seed, number);
    let run = |run: usize, keep: Option<&[usize]>, pause: Duration| {
        let prefix = prefix(number, run);
        let steps = generate(own_seed, &prefix);
        let all: Vec<usize> = (0..steps.len()).collect();
        let keep = keep.unwrap_or(&all);
        let played = play(pair, rows, &prefix, (&steps, keep), pause);
        (steps, played)
    };
    let (_, played) = run(0, None, PAUSES[0]);
    let problem = played.problem.clone();
    add(&mut sum.lock().unwrap(), played);
    let Some(first) = problem else { return };
    let (steps, again) = run(1, None, PAUSES[1]);
    let place = format!("RINGMQ_SEED={seed} RINGMQ_SEQUENCE={number}");
    let again = again.problem.filter(|again| again.is_like(&first) && again.step == first.step);
    let Some(problem) = again else {
        let text = format!("{place}: {first:?}");
        return sum.lock().unwrap().unrepeated.push(text);
    };
    let kind = kind(problem.code, &problem.difference);
    if let Some((count, _)) = sum.lock().unwrap().found.get_mut(&kind) {
        *count += 1;
        return;
    }
    // One by one, whatever is not needed is left out.
    let mut keep: Vec<usize> = (0..=problem.step).collect();
    for (number, at) in (0..problem.step).rev().enumerate() {
        let fewer: Vec<usize> = keep.iter().copied().filter(|one| *one != at).collect();
        let (_, played) = run(2 + number, Some(&fewer), PAUSES[1]);
        if played.problem.is_some_and(|other| other.is_like(&problem)) {
            keep = fewer;
        }
    }
    let mut text = format!(
        "{place}\n    Java: {:?}\n    ours: {:?}",
        problem.difference.recorded, problem.difference.ours
    );
    for at in keep {
        text.push_str(&format!("\n    {}", shown(&steps[at])));
    }
    sum.lock().unwrap().found.entry(kind).or_insert((0, text)).0 += 1;
}

fn shown(step: &Step) -> String {
    let fields: Vec<String> = step
        .fields
        .iter()
        .map(|(name, value)| match value {
            Value::Text(text) if text.len() > 300 => format!("{name}=({} bytes)", text.len()),
            Value::Text(text) => format!("{name}={text:?}"),
            Value::Answered { step, what } => format!("{name}={what:?} of step {step}"),
        })
        .collect();
    let body = if step.body.len() > 600 {
        format!("({} bytes)", step.body.len())
    } else {
        String::from_utf8_lossy(&step.body).into_owned()
    };
    let oneway = if step.is_oneway { " oneway" } else { "" };
    format!(
        "{} client {} {:?} version {}{oneway} {} {body:?}",
        step.code,
        step.client,
        step.serialize,
        step.version,
        fields.join(" ")
    )
}

fn add(sum: &mut Sum, played: Played) {
    sum.sequences += 1;
    sum.played.requests += played.requests;
    sum.played.equal += played.equal;
    for (code, count) in played.codes {
        *sum.played.codes.entry(code).or_default() += count;
    }
    for (row, count) in played.rows {
        *sum.played.rows.entry(row).or_default() += count;
    }
    for (row, uses) in played.uses {
        sum.played.uses.entry(row).or_default().extend(uses);
    }
}

fn compare_with(version: Version) {
    if !java::is_available() {
        println!("no Java brokers: tests/java/run.sh --prepare fetches them");
        return;
    }
    // Without a seed the same sequences come each time: new ones may find something that is nobody's change.
    let given = std::env::var_os("RINGMQ_SEED").is_some();
    let seed = if given { Random::seed("differential") } else { SEED };
    let count = rounds("RINGMQ_SEQUENCES", 60, 3000);
    let only = std::env::var("RINGMQ_SEQUENCE").ok().map(|text| text.parse::<u64>().unwrap());
    let numbers = only.map_or(0..count, |number| number..number + 1);
    let (java_data, data) = (Data::new(), Data::new());
    let name_server = JavaNameServer::start(&java_data.path().join("java-home"), version);
    let config = format!("{CONFIG}namesrvAddr={}\n", name_server.address);
    let java = JavaBroker::start(&java_data.store(), version, &config);
    let server = Server::start(data.path(), &Setting { shards: 1, config: CONFIG.to_owned() });
    let pair = Pair {
        java: [java.address, name_server.address],
        ours: [server.broker, server.namesrv],
        knows_times: version != Version::V497,
    };
    for address in [pair.java[1], pair.ours[1]] {
        wait_for_registration(address);
    }
    let rows = differs::rows(version);
    let sum = Mutex::new(Sum::default());
    let next = AtomicU64::new(numbers.start);
    std::thread::scope(|scope| {
        for _ in 0..CROWD {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if !numbers.contains(&number) || sum.lock().unwrap().found.len() > SHOWN_MAX {
                        return;
                    }
                    try_sequence(&pair, &rows, seed, number, &sum);
                }
            });
        }
    });
    summarize(&rows, &sum.into_inner().unwrap(), version);
    java.kill();
    assert!(server.stop().success());
}

/// Waits until a name server knows its broker.
fn wait_for_registration(name_server: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut connection = Connection::connect(name_server).unwrap();
    loop {
        let reply = connection.call(106, |_| {}, &[]).unwrap();
        if String::from_utf8_lossy(reply.body()).contains("GoldCluster") {
            return;
        }
        assert!(Instant::now() < deadline, "the broker does not register");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn summarize(rows: &[&Row], sum: &Sum, version: Version) {
    println!(
        "{version:?}: {} sequences, {} requests, {} answers equal in every field, {} differences as listed, {} that did not come again, {} kinds of others",
        sum.sequences,
        sum.played.requests,
        sum.played.equal,
        sum.played.rows.values().sum::<u32>(),
        sum.unrepeated.len(),
        sum.found.len()
    );
    println!("requests by code: {:?}", sum.played.codes);
    for (place, row) in rows.iter().enumerate() {
        let used = sum.played.rows.iter().filter(|((at, _), _)| *at == place);
        let codes: Vec<String> =
            used.map(|((_, code), count)| format!("{code}: {count}")).collect();
        let row = &row.row;
        println!(
            "{} {:?} {:?} [{}]: {}",
            row.path,
            row.recorded,
            row.ours,
            codes.join(", "),
            row.reason
        );
        if std::env::var_os("RINGMQ_SHOW_ROWS").is_some() {
            let uses = sum.played.uses.get(&place).into_iter().flatten();
            uses.take(400).for_each(|kind| println!("    {kind}"));
        }
    }
    for text in differs::NOT_ASKED {
        println!("not asked: {text}");
    }
    for text in &sum.unrepeated {
        println!("did not come again: {text}");
    }
    let found: Vec<String> = sum
        .found
        .iter()
        .map(|(kind, (count, text))| format!("{count} × {kind}\n    {text}"))
        .collect();
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}

#[test]
fn answers_equal_those_of_java_5_5_0() {
    compare_with(Version::V550);
}

#[test]
fn answers_equal_those_of_java_4_9_7() {
    compare_with(Version::V497);
}
