//! Recorded traffic of Java clients (`golden/wire`) played against a fresh broker: each answer equals Java's, field by field.
//!
//! What may differ is written in `DIFFERS`, each row with its reason. Numbered anew, and therefore mapped and then
//! compared: positions in the log, message ids that hold one, ports, and times (as far from now as they were from then).
//! Lists of Java's hash sets and maps, and the properties of a message, are compared without their order.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

#[path = "replay/play.rs"]
mod play;
#[path = "replay/recording.rs"]
mod recording;
mod support;

use play::Outcome;
use recording::Recording;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::compare::{Differs, differs};
use support::{Data, Server, Setting};

/// Recordings that one broker saw, one after the other, and its settings.
struct Scenario {
    /// Files below `golden/wire`, and the line before which each ends; 0 for none.
    names: &'static [(&'static str, u64)],
    config: &'static str,
    /// Longer pauses between requests are cut to this.
    pause_ms: u64,
}

const fn scenario(names: &'static [(&'static str, u64)]) -> Scenario {
    Scenario { names, config: "", pause_ms: 50 }
}

/// What is played, those that take longest first.
const SCENARIOS: &[Scenario] = &[
    scenario(&[
        ("broker-550/client-550-json/back", 0),
        ("broker-550/client-497-json/back", 0),
        ("broker-550/client-550-rocketmq/back", 0),
    ]),
    scenario(&[
        ("broker-550/client-550-json/orderly", 0),
        ("broker-550/client-497-json/orderly", 0),
    ]),
    scenario(&[
        ("broker-550/client-550-json/push", 0),
        ("broker-550/client-497-json/push", 0),
        ("broker-550/client-550-rocketmq/push", 0),
    ]),
    scenario(&[
        ("broker-550/client-550-json/litepull", 0),
        ("broker-550/client-497-json/litepull", 0),
    ]),
    scenario(&[
        ("broker-550/client-550-json/longpoll", 0),
        ("broker-550/client-497-json/longpoll", 0),
        ("broker-550/client-550-rocketmq/longpoll", 0),
    ]),
    Scenario {
        config: "autoCreateTopicEnable=false\nautoCreateSubscriptionGroup=false\n",
        ..scenario(&[("broker-550/client-550-json/errors-noautocreate", 0)])
    },
    Scenario {
        config: "transactionCheckInterval=2000\ntransactionTimeOut=3000\n",
        ..scenario(&[("broker-550/client-550-json/tx", 0)])
    },
    scenario(&[("broker-550/raw-frames", 0)]),
    scenario(&[("broker-550/client-550-json/hbv2", 0)]),
    scenario(&[("broker-550/client-550-json/trace", 0)]),
    scenario(&[("broker-550/client-550-json/reqreply", 0)]),
    scenario(&[("broker-550/client-550-json/broadcast", 0)]),
    scenario(&[("broker-550/client-550-json/sql", 0)]),
    scenario(&[("broker-550/client-550-json/recall", 0)]),
    // Up to the pulls that waited during the reset: ours are sent away and learn of it by asking again, Java's when
    // their time is over.
    scenario(&[("broker-550/client-550-json/reset", 137)]),
    scenario(&[("broker-550/both-rocketmq/push", 0)]),
    scenario(&[
        ("broker-550/client-550-json/offsets", 0),
        ("broker-550/client-497-json/offsets", 0),
        ("broker-550/client-550-rocketmq/offsets", 0),
    ]),
    scenario(&[("broker-550/both-rocketmq/offsets", 0)]),
    scenario(&[
        ("broker-550/client-550-json/send", 0),
        ("broker-550/client-497-json/send", 0),
        ("broker-550/client-550-rocketmq/send", 0),
    ]),
    scenario(&[("broker-550/both-rocketmq/send", 0)]),
];

/// Settings of the recorded broker.
const CONFIG: &str = "brokerName=broker-a\nbrokerClusterName=GoldCluster\nbrokerIP1=127.0.0.1\n\
                      enablePropertyFilter=true\nrecallMessageEnable=true\ntraceTopicEnable=true\n\
                      defaultTopicQueueNums=4\n";

/// Everything that may differ. A row for the code goes for the whole answer.
const DIFFERS: &[Differs] = &[
    differs(
        0,
        "remark",
        ("not set any response code", "(absent)"),
        "Java's word for a remark that nobody set, beside success",
    ),
    differs(
        0,
        "encoding",
        ("Rocketmq", "Json"),
        "a Java server started with rocketmq.serialize.type=ROCKETMQ answers in binary; clients read both",
    ),
    differs(31, "remark", ("(absent)", ""), "the binary header has no empty remark"),
    differs(
        14,
        "code",
        ("22", "0"),
        "a group without offset begins an empty queue at 0, as in Java 4.9.7: told 22, as by 5.5.0, a consumer of the end looks for it later and misses what was sent meanwhile",
    ),
    differs(206, "body.topicList", ("*", "*"), EARLIER),
    differs(21, "field totalTopicNum", ("*", "*"), EARLIER),
    differs(21, "body.dataVersion.*", ("*", "*"), EARLIER),
    differs(
        21,
        "body.mappingDataVersion.timestamp",
        ("*", "0"),
        "there are no static topics, whose table would have a version",
    ),
    differs(21, "body.topicConfigTable.*", ("*", "(absent)"), EARLIER),
    differs(201, "field totalGroupNum", ("*", "*"), EARLIER),
    differs(201, "body.dataVersion.*", ("*", "*"), EARLIER),
    differs(201, "body.subscriptionGroupTable.*", ("*", "(absent)"), EARLIER),
    differs(310, "field queueOffset", ("2", "1"), EARLIER_DELAYED),
    differs(310, "field queueOffset", ("7", "2"), EARLIER_DELAYED),
    differs(
        208,
        "body.offsetTable.*",
        ("(absent)", "*"),
        "Java shows what a group has offsets for, ours also what it subscribes to",
    ),
    differs(
        310,
        "remark",
        ("timer message illegal, *", "timer message illegal, *"),
        "our words name the delay of the message beside the limit",
    ),
    differs(
        11,
        "code",
        ("25", "*"),
        "one of Java's threads took the pull before another had the heartbeat that was sent before it",
    ),
    differs(43, "body.dataVersion.*", ("*", "*"), EARLIER),
    differs(43, "body.groupTopicMap.*", ("*", "(absent)"), EARLIER),
    differs(43, "body.offsetTable.*", ("*", "(absent)"), EARLIER),
    differs(43, "body.offsetTable.RMQ_SYS_TRANS*", ("*", "*"), EARLIER),
    differs(43, "body.pullOffsetTable.*", ("*", "(absent)"), EARLIER),
    differs(45, "body.*", ("*", "*"), EARLIER),
    differs(
        37,
        "answer",
        ("(none)", "0 None"),
        "who asks for an answer gets one; Java keeps silent",
    ),
    differs(
        208,
        "body.consumeTps",
        ("0.0", "*"),
        "counted since the last snapshot, which comes at another time",
    ),
    differs(
        303,
        "body.consumeTimeSpanSet*",
        ("*", "*"),
        "times are not written as text beside the numbers; a delay is counted from the first message, in Java from 1970",
    ),
    differs(34, "answer", ("(none)", "0 None"), CPP),
    differs(40, "request", ("(none)", "40 {\"consumerGroup\": \"CG_rawcpp\"}"), CPP),
    differs(
        11,
        "answer",
        ("(none)", "25 *"),
        "a pull that came before the heartbeat it names; in Java another thread had that first",
    ),
    differs(
        0,
        "remark",
        (" request type 999*", " request type 999*"),
        "our words name the request, or say that it is unknown",
    ),
    differs(
        0,
        "connection",
        ("open", "closed by the server"),
        "a frame that can be none closes the connection at once, not when more of it has come",
    ),
    differs(105, "code", ("17", "1"), MANDATORY),
    differs(
        30,
        "remark",
        ("java.lang.NullPointerException*", "the custom field <topic> is null"),
        MANDATORY,
    ),
    differs(
        310,
        "code",
        ("1", "13"),
        "an exception of Java; ours is the code for messages, and says what is wrong",
    ),
    differs(
        320,
        "code",
        ("1", "13"),
        "an exception of Java; ours is the code for messages, and says what is wrong",
    ),
    differs(
        310,
        "remark",
        (
            "java.lang.NumberFormatException*",
            "the field e of SendMessageRequestHeaderV2 is not an int*",
        ),
        "an exception of Java; our words name field and value",
    ),
    differs(
        310,
        "field MSG_REGION",
        ("(absent)", "DefaultRegion"),
        "an exception of Java left the fields out",
    ),
    differs(
        310,
        "field TRACE_ON",
        ("(absent)", "true"),
        "an exception of Java left the fields out",
    ),
    differs(
        310,
        "remark",
        ("The specified topic: xxx*", "The specified topic: xxx*"),
        "the colon before the limit",
    ),
    differs(
        11,
        "code",
        ("0", "23"),
        "an expression that cannot be understood is refused; Java serves every message instead",
    ),
    differs(
        33,
        "remark",
        ("java.lang.IllegalArgumentException*", "can not find message by the offset*"),
        "an exception of Java; no message begins there",
    ),
    differs(
        34,
        "remark",
        ("java.lang.NullPointerException*", "the body cannot be read*"),
        "an exception of Java; our words name the place in the body",
    ),
];

const EARLIER: &str = "the recorded broker kept the topics and groups of earlier recordings";
const EARLIER_DELAYED: &str = "the place of a delayed message among all of its level: more recordings ran on the recorded broker";
const CPP: &str =
    "a heartbeat as C++ clients write it, tag codes as text: Java notes the group and falls silent";
const MANDATORY: &str = "a mandatory field that is missing is named; Java goes on with null";

/// Requests that are not played: the recording, the line, why.
pub(crate) const SKIPPED: &[(&str, u64, &str)] = &[
    ("broker-550/raw-frames", 209, "a queue by chance, since the request names -1"),
    (
        "broker-550/raw-frames",
        229,
        "marked as prepared without the property of transactions: Java stores it and never shows it, ours shows it",
    ),
    ("broker-550/raw-frames", 345, "the messages of the two above"),
];

/// Requests that our broker refuses as unsupported, and why.
const UNSUPPORTED: &[(i32, &str)] = &[];

/// Requests that our broker does not send, and why.
const NOT_SENT: &[(i32, &str)] = &[];

/// Scenarios at once: they mostly wait.
const CROWD: usize = 10;

fn run(scenario: &Scenario) -> Outcome {
    let data = Data::new();
    let config = format!("{CONFIG}{}", scenario.config);
    let server = Server::start(data.path(), &Setting { shards: 1, config });
    let pause = Duration::from_millis(scenario.pause_ms);
    let mut outcome = Outcome::default();
    let mut known = play::known(&server);
    for (name, until) in scenario.names {
        if !known.moments.is_empty() {
            // What was sent with the shortest delay has come.
            std::thread::sleep(Duration::from_millis(1500));
        }
        let started = Instant::now();
        let recording = Recording::read(name, *until);
        outcome.add(play::play(&server, name, &recording, (&mut known, pause)));
        println!("{:6.1} s {name}", started.elapsed().as_secs_f32());
    }
    outcome
}

#[test]
fn answers_equal_those_of_java() {
    let only = std::env::var("RINGMQ_SCENARIO").unwrap_or_default();
    let wanted = |one: &&Scenario| one.names.iter().any(|(name, _)| name.contains(&only));
    let scenarios: Vec<_> = SCENARIOS.iter().filter(wanted).collect();
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..CROWD {
            scope.spawn(|| {
                while let Some(one) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = run(one);
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    summarize(&outcomes.into_inner().unwrap());
}

/// Prints what was seen, and fails on what is neither equal nor listed.
fn summarize(outcomes: &[Outcome]) {
    let sum = |count: fn(&Outcome) -> u32| outcomes.iter().map(count).sum::<u32>();
    let (mut listed, mut unsupported) = (BTreeMap::new(), BTreeMap::new());
    for outcome in outcomes {
        for (place, count) in &outcome.listed {
            *listed.entry(*place).or_insert(0) += count;
        }
        for (code, count) in &outcome.unsupported {
            *unsupported.entry(*code).or_insert(0) += count;
        }
    }
    let problems: Vec<_> = outcomes.iter().flat_map(|outcome| outcome.problems.clone()).collect();
    println!(
        "{} brokers, {} scenarios, {} requests, {} answers and requests of the broker compared: {} equal, \
         {} fields differ as listed, {} answers unsupported, {} differ",
        outcomes.len(),
        sum(|one| one.scenarios),
        sum(|one| one.requests),
        sum(|one| one.answers),
        sum(|one| one.equal),
        listed.values().sum::<u32>(),
        unsupported.values().sum::<u32>(),
        problems.len()
    );
    for (place, row) in DIFFERS.iter().enumerate() {
        let count = listed.get(&place).copied().unwrap_or(0);
        println!("{count:5} × {} in {}: {}", row.path, row.request, row.reason);
    }
    for (code, reason) in UNSUPPORTED {
        let count = unsupported.get(code).copied().unwrap_or(0);
        println!("{count:5} × unsupported {code}: {reason}");
    }
    assert!(problems.is_empty(), "{} differences:\n{}", problems.len(), problems.join("\n"));
}
