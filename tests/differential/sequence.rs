//! A sequence of requests, made from a seed: mostly sound ones, into which errors are put.
//!
//! Names of topics, groups and clients begin with the sequence's own prefix, so sequences do not see each other.
//! The same seed with another prefix (of the same length) makes the same requests.

use super::bodies;
use super::forms::{Body, FORMS, Form, Kind, NAME_SERVER_FORMS, UNKNOWN};
use super::support::Random;
use std::collections::BTreeMap;
use wire::SerializeType;

/// Clients, each with a connection of its own.
pub(crate) const CLIENTS: usize = 2;

/// A value of a field.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// As it is.
    Text(String),
    /// What the answer to an earlier step named.
    Answered { step: usize, what: What },
}

/// Part of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// Where the message is in the log.
    Place,
    /// Its id.
    MessageId,
    /// Where it is in its queue.
    QueueOffset,
    /// The handle of a message that can be recalled.
    Handle,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) client: usize,
    /// Whether it goes to the name server.
    pub(crate) to_name_server: bool,
    pub(crate) code: i32,
    pub(crate) serialize: SerializeType,
    pub(crate) version: i32,
    pub(crate) is_oneway: bool,
    pub(crate) fields: BTreeMap<String, Value>,
    pub(crate) body: Vec<u8>,
}

/// What a sequence is mostly about: codes that come more often.
const THEMES: &[&[i32]] = &[
    &[10, 310, 320, 11, 12, 33, 30, 29],
    &[14, 15, 30, 31, 32, 29, 208, 303, 308, 314, 317, 43, 222],
    &[34, 35, 38, 41, 42, 203, 204, 46, 345, 343, 300, 307, 328, 223],
    &[17, 215, 21, 200, 201, 207, 352, 351, 202, 18, 225, 310],
    &[310, 36, 11, 370, 37, 324, 325, 309, 12],
    &[],
];

/// Makes a sequence.
pub(crate) fn generate(seed: u64, prefix: &str) -> Vec<Step> {
    let mut random = Random::new(seed);
    let to_name_server = random.once_in(8);
    let is_plain = true;
    let mut make = Make { random, prefix, to_name_server, is_plain, steps: Vec::new() };
    if to_name_server {
        make.form(103, 0);
    } else {
        make.begin();
    }
    make.is_plain = false;
    let theme = if to_name_server { &[] } else { *make.random.pick(THEMES) };
    let count = 6 + make.random.index(14);
    for _ in 0..count {
        make.any(theme);
    }
    make.steps
}

/// A sequence that is being made.
pub(crate) struct Make<'p> {
    pub(crate) random: Random,
    prefix: &'p str,
    to_name_server: bool,
    /// Whether only the most usual values are taken.
    pub(crate) is_plain: bool,
    steps: Vec<Step>,
}

/// Whether a first send is to make a topic without queues.
fn asks_for_no_queues(fields: &BTreeMap<String, Value>) -> bool {
    let count = fields.get("defaultTopicQueueNums").or(fields.get("d"));
    matches!(count, Some(Value::Text(text)) if text.parse::<i64>().is_ok_and(|count| count < 1))
}

/// Codes whose answers tell where messages are.
const SENDS: [i32; 4] = [10, 310, 320, 36];

impl Make<'_> {
    /// All requests of the server that the sequence goes to.
    fn forms(&self) -> &'static [Form] {
        if self.to_name_server { NAME_SERVER_FORMS } else { FORMS }
    }

    /// What most sequences begin with: a topic, members of a group, messages.
    fn begin(&mut self) {
        if !self.random.once_in(5) {
            self.form(17, 0);
        }
        for client in 0..CLIENTS {
            if self.random.once_in(2) {
                self.form(34, 0);
                self.steps.last_mut().expect("just made").client = client;
            }
        }
        for _ in 0..self.random.below(4) {
            let code = *self.random.pick(&[310, 310, 10, 320]);
            self.form(code, 0);
        }
    }

    fn any(&mut self, theme: &[i32]) {
        if self.random.once_in(40) {
            let code = *self.random.pick(UNKNOWN);
            return self.step(code, BTreeMap::new(), Vec::new());
        }
        let faults = match self.random.below(10) {
            0..=5 => 0,
            6..=8 => 1,
            _ => 3,
        };
        if !theme.is_empty() && !self.random.once_in(4) {
            let code = *self.random.pick(theme);
            return self.form(code, faults);
        }
        let forms = self.forms();
        let sum: u64 = forms.iter().map(|form| form.weight).sum();
        let mut left = self.random.below(sum);
        for form in forms {
            if left < form.weight {
                return self.form(form.code, faults);
            }
            left -= form.weight;
        }
    }

    /// A request with so many faults at most.
    fn form(&mut self, code: i32, faults: usize) {
        let mut forms = self.forms().iter();
        let form = forms.find(|form| form.code == code).expect("a theme names forms");
        let mut fields = BTreeMap::new();
        for (name, kind, may_miss) in form.fields {
            if !*may_miss || !self.is_plain && self.random.once_in(3) {
                fields.insert((*name).to_owned(), self.value(form, *kind));
            }
        }
        if self.is_plain && self.random.once_in(2) {
            let name = if code == 10 { "properties" } else { "i" };
            if form.fields.iter().any(|(field, ..)| *field == name) {
                let text = bodies::properties(self);
                fields.insert(name.to_owned(), Value::Text(text));
            }
        }
        let in_body = form.body != Body::None && (form.fields.is_empty() || self.random.once_in(4));
        for _ in 0..if in_body { 0 } else { faults } {
            self.fault(form, &mut fields);
        }
        let body = bodies::make(self, form.body, if in_body { faults } else { 0 });
        // Where a refusal is ours only, or leaves something else behind in Java, it must be seen.
        let may_differ = [15, 17, 18, 36, 103, 200, 222, 225, 320].contains(&code)
            || asks_for_no_queues(&fields);
        self.step(code, fields, body);
        let may_be_oneway = !self.is_plain && faults == 0 && !may_differ;
        if may_be_oneway && self.random.once_in(30) {
            self.steps.last_mut().expect("just made").is_oneway = true;
        }
    }

    fn step(&mut self, code: i32, mut fields: BTreeMap<String, Value>, body: Vec<u8>) {
        if code == 320 {
            fields.insert("m".to_owned(), Value::Text("true".to_owned()));
        }
        if [10, 310, 320, 324, 325].contains(&code) {
            // Marked as prepared or rolled back without being half of a transaction; or with addresses of IPv6.
            for (flag, properties) in [("sysFlag", "properties"), ("f", "i")] {
                let Some(Value::Text(text)) = fields.get(flag) else { continue };
                let bits = text.parse::<i32>().unwrap_or(0);
                let has_mark = matches!(fields.get(properties),
                    Some(Value::Text(text)) if text.contains("TRAN_MSG\u{1}true"));
                if bits & 0x30 != 0 || bits & 4 != 0 && code != 320 && !has_mark {
                    fields.insert(flag.to_owned(), Value::Text("0".to_owned()));
                }
            }
            for name in ["queueId", "e"] {
                let is_negative = |value: &Value| match value {
                    Value::Text(text) => text.parse::<i64>().is_ok_and(|number| number < 0),
                    Value::Answered { .. } => false,
                };
                if fields.get(name).is_some_and(is_negative) {
                    fields.insert(name.to_owned(), Value::Text("0".to_owned()));
                }
            }
        }
        let fits = i16::try_from(code).is_ok()
            && fields.values().all(|value| match value {
                Value::Text(text) => text.len() < 30_000,
                Value::Answered { .. } => true,
            });
        let is_binary = fits && self.random.once_in(4);
        let serialize = if is_binary { SerializeType::Rocketmq } else { SerializeType::Json };
        let version = if !self.is_plain && self.random.once_in(6) {
            *self.random.pick(&[0, 120, 407])
        } else {
            513
        };
        let client = self.random.index(CLIENTS);
        let is_oneway = false;
        let to_name_server = self.to_name_server;
        // The first message in the log is another one in each broker.
        if [33, 36].contains(&code)
            && let Some(Value::Text(place)) = fields.get_mut("offset")
            && place.parse::<i64>().is_ok_and(|place| place == 0)
        {
            "77".clone_into(place);
        }
        if let Some(Value::Text(id)) = fields.get_mut("brokerId")
            && id.parse::<i64>().is_ok_and(|id| id < 0)
        {
            "0".clone_into(id);
        }
        self.steps.push(Step {
            client,
            to_name_server,
            code,
            serialize,
            version,
            is_oneway,
            fields,
            body,
        });
    }

    /// Spoils a field.
    fn fault(&mut self, form: &Form, fields: &mut BTreeMap<String, Value>) {
        if form.fields.is_empty() {
            return;
        }
        let (name, kind, _) = *self.random.pick(form.fields);
        if self.random.once_in(3) {
            fields.remove(name);
            return;
        }
        let text = if is_number(kind) {
            (*self.random.pick(ODD_NUMBERS)).to_owned()
        } else if matches!(kind, Kind::Topic | Kind::OwnTopic | Kind::DefaultTopic) {
            self.odd_topic()
        } else if matches!(kind, Kind::Group | Kind::OwnGroup | Kind::Producer) {
            self.odd_group()
        } else if kind == Kind::Truth {
            (*self.random.pick(&["", "TRUE", "yes", "1", "false ", "null"])).to_owned()
        } else {
            self.odd_text()
        };
        fields.insert(name.to_owned(), Value::Text(text));
    }

    fn odd_text(&mut self) -> String {
        match self.random.below(8) {
            0 => String::new(),
            1 => " ".to_owned(),
            2 => self.own(&"x".repeat(300)),
            3 => self.own("ключ ключ é €"),
            4 => "\u{1}\u{2}a\u{1}b\u{2}".to_owned(),
            5 => "null".to_owned(),
            6 => "-1".to_owned(),
            _ => "x\"y\\z\n{}[]".to_owned(),
        }
    }

    /// A name with the sequence's prefix.
    pub(crate) fn own(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn long(&mut self, begin: &str) -> String {
        let length = *self.random.pick(&[119, 120, 121, 126, 127, 128, 254, 255, 256, 300]);
        let own = self.own("long_");
        let rest = usize::saturating_sub(length, own.len() + begin.len());
        format!("{begin}{own}{}", "x".repeat(rest))
    }

    fn odd_topic(&mut self) -> String {
        match self.random.below(12) {
            0 => String::new(),
            1 => " ".to_owned(),
            2 | 3 => self.long(""),
            4 => self.long("%RETRY%"),
            5 => self.own("!*"),
            6 => self.own("é"),
            7 => self.own("a b"),
            8 => format!("%RETRY%{}", self.own("G1")),
            9 => format!("%DLQ%{}", self.own("G1")),
            10 => (*self.random.pick(FORBIDDEN_TOPICS)).to_owned(),
            _ => self.own("None"),
        }
    }

    fn odd_group(&mut self) -> String {
        match self.random.below(9) {
            0 => String::new(),
            1 => " ".to_owned(),
            2 | 3 => self.long(""),
            4 => self.own("!*"),
            5 => self.own("é"),
            6 => self.own("a b"),
            7 => format!("%RETRY%{}", self.own("G1")),
            _ => self.own("None"),
        }
    }

    /// An earlier step that stored something, mostly.
    fn sent(&mut self) -> Option<usize> {
        let sent: Vec<usize> =
            (0..self.steps.len()).filter(|at| SENDS.contains(&self.steps[*at].code)).collect();
        if sent.is_empty() { None } else { Some(*self.random.pick(&sent)) }
    }

    fn answered(&mut self, what: What, other: &[&str]) -> Value {
        match self.sent() {
            Some(step) if !self.random.once_in(6) => Value::Answered { step, what },
            Some(_) | None => Value::Text((*self.random.pick(other)).to_owned()),
        }
    }

    pub(crate) fn topic(&mut self) -> String {
        match self.random.below(12) {
            0..=6 => self.own("T1"),
            7 | 8 => self.own("T2"),
            9 => format!("%RETRY%{}", self.own("G1")),
            10 => self.own("None"),
            _ => self.own("T3"),
        }
    }

    pub(crate) fn group(&mut self) -> String {
        match self.random.below(8) {
            0..=4 => self.own("G1"),
            5 | 6 => self.own("G2"),
            _ => self.own("G3"),
        }
    }

    pub(crate) fn client(&mut self) -> String {
        let number = self.random.below(3);
        self.own(&format!("client{number}"))
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "all others are in lists, see `usual`")]
    pub(crate) fn value(&mut self, form: &Form, kind: Kind) -> Value {
        let text = match kind {
            Kind::Topic if READS.contains(&form.code) && self.random.once_in(8) => {
                (*self.random.pick(SYSTEM_TOPICS)).to_owned()
            }
            Kind::Topic | Kind::OwnTopic => self.topic(),
            Kind::Group | Kind::OwnGroup => self.group(),
            Kind::Producer => self.own("P1"),
            Kind::Groups => format!("{},{}", self.own("None"), self.own("Nobody")),
            Kind::Place => return self.answered(What::Place, &["-1", "1", "77", "99999999999"]),
            Kind::MessageId => {
                let other = ["", "abc", "7F00000100002A9F0000000000000001", "xx"];
                return self.answered(What::MessageId, &other);
            }
            Kind::Handle => {
                return self
                    .answered(What::Handle, &["", "abc", "bm9uc2Vuc2U=", "djEgYSBiIGMgZA=="]);
            }
            Kind::Offset if form.code == 37 || self.random.once_in(4) => {
                return self.answered(What::QueueOffset, OFFSETS);
            }
            Kind::Properties => bodies::properties(self),
            Kind::Client => self.client(),
            Kind::StatisticKey => match self.random.below(3) {
                0 => self.topic(),
                1 => format!("{}@{}", self.topic(), self.group()),
                _ => "DefaultCluster".to_owned(),
            },
            Kind::OwnBroker => self.own("broker"),
            Kind::OwnCluster => self.own("cluster"),
            Kind::Namespace => {
                (*self.random.pick(&[&self.own("space"), "ORDER_TOPIC_CONFIG"])).to_owned()
            }
            Kind::Key if self.to_name_server => {
                let name = *self.random.pick(&["T1", "key"]);
                self.own(name)
            }
            Kind::Time if self.to_name_server => {
                (*self.random.pick(&["60000", "0", "-1", "5000"])).to_owned()
            }
            Kind::UniqueKey => unique_key(self.random.below(4)),
            Kind::Time => self.time(form.code),
            Kind::Key => {
                let number = self.random.below(3);
                (*self.random.pick(&["K1", "K2", "TagA", &unique_key(number), "no"])).to_owned()
            }
            _ if self.is_plain => usual(kind, form.code)[0].to_owned(),
            _ => (*self.random.pick(usual(kind, form.code))).to_owned(),
        };
        Value::Text(text)
    }

    fn time(&mut self, code: i32) -> String {
        // Answers must not depend on the milliseconds that pass between the two brokers.
        let list: &[&str] = match code {
            29 | 222 => &["0", "-1", "1", "9223372036854775807", "1000000000000", "4000000000000"],
            12 => &["0", "0", "1", "9223372036854775807", "9223372036854775807", "4000000000000"],
            _ => &["1700000000000", "1700000000000", "0", "-1"],
        };
        (*self.random.pick(list)).to_owned()
    }
}

/// What the unique keys of clients begin with.
pub(crate) const UNIQUE_KEYS: &str = "7F00000100002A139A5500000000000";

/// Unique keys that messages have.
pub(crate) fn unique_key(number: u64) -> String {
    format!("{UNIQUE_KEYS}{number}")
}

/// Requests whose answers do not depend on what others do with the topics of the system.
const READS: &[i32] = &[11, 14, 29, 30, 31, 32, 202, 351];

/// Topics of the system that are there in each broker, and that no sequence changes.
const SYSTEM_TOPICS: &[&str] =
    &["TBW102", "SELF_TEST_TOPIC", "BenchmarkTest", "DefaultCluster", "broker-a"];

/// Topics of the system that nobody may write.
const FORBIDDEN_TOPICS: &[&str] =
    &["SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC"];

const OFFSETS: &[&str] = &["0", "0", "1", "2", "5", "-1", "1000000", "9223372036854775807"];

/// Numbers that are none, or too large.
const ODD_NUMBERS: &[&str] = &[
    "",
    " ",
    "abc",
    "1.5",
    " 1",
    "1 ",
    "+1",
    "0x10",
    "1L",
    "１",
    "-0",
    "007",
    "null",
    "--1",
    "-1",
    "-2147483648",
    "2147483647",
    "2147483648",
    "-2147483649",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "99999999999999999999999999",
];

fn is_number(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Queue
            | Kind::Offset
            | Kind::Place
            | Kind::Count
            | Kind::Queues
            | Kind::Permission
            | Kind::MessageFlag
            | Kind::PullFlag
            | Kind::TopicFlag
            | Kind::Time
            | Kind::Version
            | Kind::Small
            | Kind::Level
            | Kind::Decision
            | Kind::BrokerId
            | Kind::Checksum
    )
}

/// What pulls select by.
const EXPRESSIONS: &[&str] = &[
    "*",
    "*",
    "TagA",
    "TagB",
    "TagA||TagB",
    "TagA || TagC",
    "||",
    "a > 5",
    "a IS NOT NULL",
    "a >",
    "(a = 'x' AND b < 3) OR TAGS = 'TagA'",
];

/// Changes of a topic's attributes.
const ATTRIBUTES: &[&str] = &[
    "",
    "+message.type=NORMAL",
    "+message.type=FIFO",
    "+message.type=WRONG",
    "+queue.type=SimpleCQ",
    "+cleanup.policy=DELETE",
    "-message.type",
    "message.type=NORMAL",
    "+no.such=1",
    "+a=b,+c=d",
];

/// What usually is in a field.
fn usual(kind: Kind, code: i32) -> &'static [&'static str] {
    match kind {
        Kind::DefaultTopic => {
            &["TBW102", "TBW102", "TBW102", "TBW102", "Nothing", "SELF_TEST_TOPIC"]
        }
        // A queue by chance is another one in each broker.
        Kind::Queue => &["0", "0", "0", "0", "0", "1", "1", "3", "7", "100", "-2"],
        Kind::Offset => OFFSETS,
        Kind::Count => &["1", "2", "32", "32", "32", "0", "-1", "1000"],
        Kind::Queues => &["4", "4", "4", "4", "1", "8", "0", "-1", "16"],
        Kind::Permission => &["6", "6", "6", "6", "4", "2", "7", "0", "1", "-1", "15", "100"],
        // 1: packed, 4: prepared, 8: commit, 12: rollback.
        Kind::MessageFlag => {
            &["0", "0", "0", "0", "0", "0", "1", "4", "4", "8", "12", "256", "128"]
        }
        // 1: commit, 2: wait, 4: subscription, 8: class filter, 16: lite.
        Kind::PullFlag => {
            &["4", "4", "4", "4", "4", "4", "5", "6", "0", "0", "1", "8", "12", "20", "16", "64"]
        }
        Kind::TopicFlag => &["0", "1", "2", "3"],
        Kind::Version => &["0", "1", "5", "10"],
        Kind::Small if code == 11 || code == 361 => &["0", "100", "300"],
        Kind::Small => &["0", "0", "0", "1", "3", "16", "20", "-1"],
        Kind::Level => &["0", "1", "3", "18", "19", "-1", "-2"],
        Kind::Truth => &["true", "false"],
        Kind::Index => &["K", "U", "T", "X", ""],
        Kind::Expression => EXPRESSIONS,
        Kind::ExpressionType => &["TAG", "TAG", "SQL92", "SQL", "tag"],
        Kind::Decision => &["8", "12", "0", "1", "-8"],
        Kind::Boundary => &["LOWER", "UPPER", "upper", "Middle"],
        Kind::Attributes => ATTRIBUTES,
        Kind::Broker => &["broker-a", "broker-a", "broker-b"],
        Kind::Statistic => &["TOPIC_PUT_NUMS", "GROUP_GET_NUMS", "BROKER_PUT_NUMS", "NO_SUCH"],
        Kind::FilterType => &["SINGLE_TAG", "SINGLE_TAG", "MULTI_TAG"],
        Kind::Address => &["10.0.0.1:10911", "10.0.0.1:10911", "10.0.0.2:10911"],
        Kind::BrokerId => &["0", "0", "0", "1", "2"],
        Kind::Checksum => &["0", "0", "7"],
        Kind::Topic
        | Kind::OwnTopic
        | Kind::Group
        | Kind::OwnGroup
        | Kind::Producer
        | Kind::Groups
        | Kind::Place
        | Kind::Time
        | Kind::Properties
        | Kind::Key
        | Kind::Client
        | Kind::MessageId
        | Kind::UniqueKey
        | Kind::Handle
        | Kind::OwnBroker
        | Kind::OwnCluster
        | Kind::Namespace
        | Kind::StatisticKey => unreachable!("made from names"),
    }
}
