//! A recorded scenario of `golden/wire`: what was opened, sent, answered and closed, in the order the recorder saw it.

use super::support::parts::Parts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Before any recording; hand-made requests tell older times.
const RECORDED_FROM_MS: i64 = 1_790_000_000_000;

/// When the recording of the hand-made requests began: a message was stored 81.0 s later, at 1795244506858.
const HAND_MADE_EPOCH_MS: i64 = 1_795_244_425_858;

/// Whom a recorded connection went to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// The name server.
    NameServer,
    /// The broker.
    Broker,
    /// The broker's second port, two below.
    BrokerVip,
}

/// What happened on a connection.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Open(Link),
    /// The client, or the server, ended it.
    Close {
        by_server: bool,
    },
    /// From the client to the server.
    Sent {
        bytes: Vec<u8>,
        parts: Option<Parts>,
    },
    /// From the server to the client.
    Received(Parts),
}

/// One line of a recording.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) seq: u64,
    /// Microseconds since the recording began.
    pub(crate) at_us: u64,
    pub(crate) conn: u64,
    pub(crate) what: What,
}

/// A recorded scenario.
pub(crate) struct Recording {
    pub(crate) steps: Vec<Step>,
    /// Recorded wall clock minus the recorder's own clock, in milliseconds: from the first message that says when it was born.
    pub(crate) epoch_ms: i64,
}

impl Recording {
    /// Reads `tests/golden/wire/NAME.jsonl.gz` up to the line numbered `until`; 0 for all.
    pub(crate) fn read(name: &str, until: u64) -> Recording {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wire");
        let path = root.join(format!("{name}.jsonl.gz"));
        let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let lines = BufReader::new(GzDecoder::new(file)).lines();
        let steps = lines.filter_map(|line| step(&line.unwrap()));
        let mut steps: Vec<Step> =
            steps.take_while(|step| until == 0 || step.seq < until).collect();
        // The recorder notes an unfinished frame when it sees the end of the connection.
        for at in 1..steps.len() {
            let is_late = matches!(steps[at].what, What::Sent { .. })
                && matches!(steps[at - 1].what, What::Close { .. })
                && steps[at].conn == steps[at - 1].conn;
            if is_late {
                steps.swap(at - 1, at);
            }
        }
        let epoch_ms = steps.iter().find_map(epoch_ms).unwrap_or(HAND_MADE_EPOCH_MS);
        Recording { steps, epoch_ms }
    }
}

fn step(line: &str) -> Option<Step> {
    let note: Value = serde_json::from_str(line).unwrap();
    let number = |key: &str| note[key].as_u64().unwrap_or_default();
    let frame = note["frame_b64"].as_str().or(note["raw_b64"].as_str());
    let frame = frame.or(note["partial_b64"].as_str());
    let what = match (note["event"].as_str(), frame) {
        (Some("open"), _) => What::Open(match note["link"].as_str() {
            Some("cn") => Link::NameServer,
            Some("cbv") => Link::BrokerVip,
            _ => Link::Broker,
        }),
        (Some("close"), _) => What::Close { by_server: note["by"] == "server" },
        (None, Some(text)) => {
            let bytes = BASE64.decode(text).unwrap();
            let parts = Parts::decode(&bytes);
            if note["dir"] == "c2s" {
                What::Sent { bytes, parts }
            } else {
                What::Received(parts.expect("a Java server sends whole frames"))
            }
        }
        (Some(_), _) | (None, None) => return None,
    };
    Some(Step { seq: number("seq"), at_us: number("t_us"), conn: number("conn"), what })
}

fn epoch_ms(step: &Step) -> Option<i64> {
    let told = match &step.what {
        What::Sent { parts: Some(parts), .. } if [310, 320].contains(&parts.code) => {
            parts.fields.get("g")
        }
        What::Sent { .. } | What::Received(_) | What::Open(_) | What::Close { .. } => None,
    };
    let told_ms: i64 = told?.parse().ok()?;
    (told_ms > RECORDED_FROM_MS).then(|| told_ms - i64::try_from(step.at_us / 1000).unwrap())
}
