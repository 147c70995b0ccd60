//! Our answer beside Java's, field by field: what each broker numbers for itself is mapped, all else is equal or a difference.

use super::parts::Parts;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use wire::{MessageView, Props};

/// How far the time of an event may lie from where its recorded time is in our run, in milliseconds.
const TIME_MS: i64 = 20_000;
/// Numbers above are milliseconds since 1970: none of the recorded counters is as large.
const TIMES_FROM: i64 = 1_600_000_000_000;

/// Something that is not as recorded.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    /// `code`, `remark`, `field NAME`, `body.MEMBER…`, `message N PART`.
    pub(crate) path: String,
    pub(crate) recorded: String,
    pub(crate) ours: String,
}

/// A difference that may be.
pub(crate) struct Differs {
    /// Request code; 0 for all.
    pub(crate) request: i32,
    /// Where, as in `Difference`; stars stand for any text.
    pub(crate) path: &'static str,
    /// Java's value, in the same way.
    pub(crate) recorded: &'static str,
    /// Our value, in the same way.
    pub(crate) ours: &'static str,
    /// Why it may be.
    pub(crate) reason: &'static str,
}

/// A row of a list of differences.
pub(crate) const fn differs(
    request: i32,
    path: &'static str,
    (recorded, ours): (&'static str, &'static str),
    reason: &'static str,
) -> Differs {
    Differs { request, path, recorded, ours, reason }
}

impl Differs {
    /// Whether this row is for this difference.
    pub(crate) fn allows(&self, request: i32, difference: &Difference) -> bool {
        (self.request == 0 || self.request == request)
            && fits(self.path, &difference.path)
            && fits(self.recorded, &difference.recorded)
            && fits(self.ours, &difference.ours)
    }
}

/// Whether the pattern, whose stars stand for any text, describes all of the text.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(begin) else { return false };
    let parts: Vec<&str> = rest.split('*').collect();
    let (last, middle) = parts.split_last().expect("a split has a part");
    for part in middle {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(last)
}

/// What stands in our run for something of the recording.
#[derive(Default)]
pub(crate) struct Known {
    /// Message ids and handles that the broker makes.
    pub(crate) ids: HashMap<String, String>,
    /// Positions in the log.
    pub(crate) places: HashMap<String, String>,
    /// Texts that name a port.
    pub(crate) addresses: Vec<(String, String)>,
    /// Whether properties are compared as clients read them: of a name that comes again the last value, no empty values.
    pub(crate) reads_properties: bool,
    /// Recorded moments and when they came in our run, in milliseconds since 1970, in order.
    pub(crate) moments: Vec<(i64, i64)>,
}

/// Fields whose value is an id, or ids behind each other.
const IDS: &[&str] =
    &["msgId", "offsetMsgId", "transactionId", "recallHandle", "originMsgId", "key"];
/// Fields whose value is a position in the log.
const PLACES: &[&str] = &["commitLogOffset", "indexLastUpdatePhyoffset", "offset"];
/// Requests whose field `offset` is a position in the log: 33 and 36. Elsewhere it counts messages of a queue.
const OFFSET_IS_PLACE: &[i32] = &[33, 36];

impl Known {
    /// Fits a request of the recording to our run. `None` when it goes out as it is.
    pub(crate) fn rewrite(&self, request: &Parts) -> Option<Parts> {
        let mut ours = request.clone();
        for (name, value) in &mut ours.fields {
            let name = name.as_str();
            if let Some(id) = self.ids.get(value).filter(|_| IDS.contains(&name)) {
                id.clone_into(value);
            }
            if PLACES.contains(&name)
                && (name != "offset" || OFFSET_IS_PLACE.contains(&request.code))
                && let Some(place) = self.places.get(value)
            {
                place.clone_into(value);
            }
            if ["timestamp", "beginTimestamp", "endTimestamp"].contains(&name) {
                *value = self.shifted(value);
            }
            if ["i", "properties"].contains(&name) && value.contains("TIMER_DELIVER_MS\u{1}") {
                *value = self.shifted_delivery(value);
            }
        }
        (ours.fields != request.fields).then_some(ours)
    }

    /// A recorded time as it would be now; times of other ages (0, the end of time) stay.
    fn shifted(&self, value: &str) -> String {
        match value.parse::<i64>() {
            Ok(ms) if (TIMES_FROM..2 * TIMES_FROM).contains(&ms) => self.moment(ms).to_string(),
            Ok(_) | Err(_) => value.to_owned(),
        }
    }

    /// When a recorded time came, or comes, in our run, whose pauses are shorter.
    fn moment(&self, recorded_ms: i64) -> i64 {
        let after = self.moments.partition_point(|(theirs, _)| *theirs <= recorded_ms);
        let Some((theirs, ours)) = self.moments.get(after.saturating_sub(1)) else {
            return recorded_ms;
        };
        let moved = ours + (recorded_ms - theirs);
        match self.moments.get(after).filter(|_| after > 0) {
            Some((_, next)) => moved.min(*next),
            None => moved,
        }
    }

    fn shifted_delivery(&self, properties: &str) -> String {
        let pairs = properties.split('\u{2}').map(|pair| match pair.split_once('\u{1}') {
            Some(("TIMER_DELIVER_MS", ms)) => format!("TIMER_DELIVER_MS\u{1}{}", self.shifted(ms)),
            Some(_) | None => pair.to_owned(),
        });
        pairs.collect::<Vec<_>>().join("\u{2}")
    }

    /// Learns which of our ids and positions stand for the recorded ones.
    pub(crate) fn learn(&mut self, recorded: &Parts, ours: &Parts) {
        for name in ["msgId", "offsetMsgId", "transactionId", "recallHandle"] {
            let (Some(theirs), Some(mine)) = (recorded.fields.get(name), ours.fields.get(name))
            else {
                continue;
            };
            for (theirs, mine) in theirs.split(',').zip(mine.split(',')) {
                self.ids.insert(theirs.to_owned(), mine.to_owned());
                if let (Some(theirs), Some(mine)) = (place_of(theirs), place_of(mine)) {
                    self.places.insert(theirs, mine);
                }
            }
        }
        for (theirs, mine) in messages(&recorded.body).iter().zip(&messages(&ours.body)) {
            if same_message(theirs, mine) {
                self.places.insert(theirs["place"].clone(), mine["place"].clone());
            }
        }
        if let (Some(theirs), Some(mine)) =
            (recorded.fields.get("commitLogOffset"), ours.fields.get("commitLogOffset"))
        {
            self.places.insert(theirs.clone(), mine.clone());
        }
    }

    /// All that is not as recorded in our answer to a request, or in a request of our broker.
    pub(crate) fn compare(&self, recorded: &Parts, ours: &Parts) -> Vec<Difference> {
        let mut found = Found { known: self, list: Vec::new() };
        found.text("code", &recorded.code.to_string(), &ours.code.to_string());
        found.text("flag", &recorded.flag.to_string(), &ours.flag.to_string());
        found.text("version", &recorded.version.to_string(), &ours.version.to_string());
        found.text(
            "encoding",
            &format!("{:?}", recorded.serialize),
            &format!("{:?}", ours.serialize),
        );
        found.optional("remark", recorded.remark.as_deref(), ours.remark.as_deref());
        let names: BTreeSet<_> = recorded.fields.keys().chain(ours.fields.keys()).collect();
        for name in names {
            let (theirs, mine) = (recorded.fields.get(name), ours.fields.get(name));
            if let (Some(theirs), Some(mine)) = (theirs, mine)
                && self.stands_for(name, theirs, mine)
            {
                continue;
            }
            found.optional(
                &format!("field {name}"),
                theirs.map(String::as_str),
                mine.map(String::as_str),
            );
        }
        found.body(&recorded.body, &ours.body);
        found.list
    }

    fn stands_for(&self, name: &str, theirs: &str, mine: &str) -> bool {
        if IDS.contains(&name) {
            let mapped = theirs.split(',').map(|id| self.ids.get(id).map_or(id, String::as_str));
            return mapped.eq(mine.split(','));
        }
        if name == "properties" {
            return self.same_pairs(theirs, mine);
        }
        let is_place = PLACES.contains(&name) && name != "offset";
        if is_place && let Some(place) = self.places.get(theirs) {
            return place == mine;
        }
        name.to_lowercase().contains("timestamp") && self.is_near(theirs, mine)
    }

    /// Whether both texts hold the same properties in some order, times apart.
    fn same_pairs(&self, theirs: &str, mine: &str) -> bool {
        let pairs = |text: &str| {
            let pairs = text.split('\u{2}').filter_map(|pair| pair.split_once('\u{1}'));
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let (theirs, mine): (BTreeMap<_, _>, BTreeMap<_, _>) = (pairs(theirs), pairs(mine));
        theirs.len() == mine.len()
            && theirs.iter().zip(&mine).all(|((name, theirs), (other, mine))| {
                name == other && (theirs == mine || self.is_near(theirs, mine))
            })
    }

    /// Whether both are times, and ours is as far from now as the recorded one was from then.
    fn is_near(&self, theirs: &str, mine: &str) -> bool {
        let (Ok(theirs), Ok(mine)) = (theirs.parse::<i64>(), mine.parse::<i64>()) else {
            return false;
        };
        let are_times = theirs > TIMES_FROM && mine > TIMES_FROM;
        are_times && (mine - self.moment(theirs)).abs() < TIME_MS
    }

    /// A text without the ports of clients, which the kernel gives: all that are not a server's.
    fn without_client_ports(&self, text: &str) -> String {
        const HOST: &str = "127.0.0.1:";
        let mut parts = text.split(HOST);
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            let (port, rest) = part.split_at(end);
            let of_server = |(_, ours): &(String, String)| ours.strip_prefix(HOST) == Some(port);
            let shown = if self.addresses.iter().any(of_server) { port } else { "client" };
            out.push_str(&format!("{HOST}{shown}{rest}"));
        }
        out
    }

    /// Properties with our ids; a message may name the one it was made from.
    fn with_our_ids(&self, properties: &str) -> String {
        let pairs = properties.split(' ').map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.ids.get(value).map_or_else(|| pair.to_owned(), |ours| format!("{name}={ours}"))
        });
        pairs.collect::<Vec<_>>().join(" ")
    }

    fn with_our_addresses(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (theirs, mine) in &self.addresses {
            text = text.replace(theirs, mine);
        }
        text
    }
}

/// The position in an offset message id of IPv4 form.
fn place_of(id: &str) -> Option<String> {
    let hex = id.get(16..).filter(|_| id.len() == 32)?;
    i64::from_str_radix(hex, 16).ok().map(|place| place.to_string())
}

struct Found<'k> {
    known: &'k Known,
    list: Vec<Difference>,
}

impl Found<'_> {
    fn text(&mut self, path: &str, theirs: &str, mine: &str) {
        let fits = || {
            let (theirs, mine) = (self.known.with_our_addresses(theirs), mine.to_owned());
            self.known.without_client_ports(&theirs) == self.known.without_client_ports(&mine)
        };
        if theirs != mine && !fits() {
            let (path, recorded, ours) = (path.to_owned(), theirs.to_owned(), mine.to_owned());
            self.list.push(Difference { path, recorded, ours });
        }
    }

    fn optional(&mut self, path: &str, theirs: Option<&str>, mine: Option<&str>) {
        if theirs.is_some() != mine.is_some() || theirs != mine {
            self.text(path, theirs.unwrap_or("(absent)"), mine.unwrap_or("(absent)"));
        }
    }

    fn body(&mut self, theirs: &[u8], mine: &[u8]) {
        let (their_messages, my_messages) = (messages(theirs), messages(mine));
        if !their_messages.is_empty() || !my_messages.is_empty() {
            return self.messages(&their_messages, &my_messages);
        }
        let json = |bytes: &[u8]| wire::json::from_slice::<Value>(bytes).ok();
        if let (Some(theirs), Some(mine)) = (json(theirs), json(mine)) {
            return self.value("body", &theirs, &mine);
        }
        self.text("body", &String::from_utf8_lossy(theirs), &String::from_utf8_lossy(mine));
    }

    fn messages(&mut self, theirs: &[Message], mine: &[Message]) {
        let count = |list: &[Message]| list.len().to_string();
        self.text("messages", &count(theirs), &count(mine));
        for (number, (theirs, mine)) in theirs.iter().zip(mine).enumerate() {
            for (part, value) in theirs {
                let same = match part.as_str() {
                    "place" | "prepared offset" => {
                        self.known.places.get(value).unwrap_or(value) == &mine[part]
                    }
                    "stored" => self.known.is_near(value, &mine[part]),
                    // Twice the same name takes room.
                    "size" if self.known.reads_properties => true,
                    "properties" if self.known.reads_properties => {
                        self.known.with_our_ids(&theirs["pairs"]) == mine["pairs"]
                    }
                    "pairs" => true,
                    "properties" => self.known.with_our_ids(value) == mine[part],
                    _ => value == &mine[part],
                };
                if !same {
                    self.text(&format!("message {number} {part}"), value, &mine[part]);
                }
            }
        }
    }

    fn value(&mut self, path: &str, theirs: &Value, mine: &Value) {
        match (theirs, mine) {
            (Value::Object(theirs), Value::Object(mine)) => {
                let names: BTreeSet<_> = theirs.keys().chain(mine.keys()).collect();
                for name in names {
                    let path = format!("{path}.{name}");
                    match (theirs.get(name), mine.get(name)) {
                        (Some(theirs), Some(mine)) => self.value(&path, theirs, mine),
                        (theirs, mine) => {
                            let show = |value: Option<&Value>| value.map(Value::to_string);
                            self.optional(&path, show(theirs).as_deref(), show(mine).as_deref());
                        }
                    }
                }
            }
            // Java's lists come from hash sets and maps: their order is no promise.
            (Value::Array(theirs), Value::Array(mine)) if theirs.len() == mine.len() => {
                let sorted = |list: &[Value]| {
                    let mut list = list.to_vec();
                    list.sort_by_key(|value| self.known.with_our_addresses(&value.to_string()));
                    list
                };
                let (theirs, mine) = (sorted(theirs), sorted(mine));
                for (number, (theirs, mine)) in theirs.iter().zip(&mine).enumerate() {
                    self.value(&format!("{path}[{number}]"), theirs, mine);
                }
            }
            (theirs, mine) => {
                let (theirs, mine) = (theirs.to_string(), mine.to_string());
                if !self.known.is_near(&theirs, &mine) {
                    self.text(path, &theirs, &mine);
                }
            }
        }
    }
}

/// The parts of a stored message, by name.
type Message = BTreeMap<String, String>;

/// The stored messages that a body consists of; none when it is something else.
fn messages(body: &[u8]) -> Vec<Message> {
    let mut list = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let Ok((view, used)) = MessageView::parse(rest) else { return Vec::new() };
        list.push(message(&view));
        rest = &rest[used..];
    }
    list
}

fn message(view: &MessageView<'_>) -> Message {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut parts = BTreeMap::new();
    let mut add = |name: &str, value: String| {
        parts.insert(name.to_owned(), value);
    };
    add("size", view.bytes().len().to_string());
    add("magic", view.magic().to_string());
    add("checksum", view.body_crc().to_string());
    add("queue", format!("{:?}", view.queue_id()));
    add("offset", format!("{:?}", view.queue_offset()));
    add("place", view.phy_offset().0.to_string());
    add("flag", view.flag().to_string());
    add("system flag", view.sys_flag().to_string());
    add("born", view.born_timestamp().to_string());
    add("born at", view.born_host().ip().to_string());
    add("stored", view.store_timestamp().0.to_string());
    add("stored at", view.store_host().ip().to_string());
    add("reconsumed", view.reconsume_times().to_string());
    add("prepared offset", view.prepared_transaction_offset().to_string());
    add("body", text(view.body()));
    add("topic", text(view.topic()));
    let pairs = Props::new(view.properties()).iter();
    let read: BTreeMap<_, _> = Props::new(view.properties())
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (text(key), text(value)))
        .collect();
    let read: Vec<String> = read.iter().map(|(key, value)| format!("{key}={value}")).collect();
    add("pairs", read.join(" "));
    let mut pairs: Vec<_> =
        pairs.map(|(key, value)| format!("{}={}", text(key), text(value))).collect();
    pairs.sort();
    add("properties", pairs.join(" "));
    parts
}

/// Whether two stored messages are one message of the scenario.
fn same_message(theirs: &Message, mine: &Message) -> bool {
    ["topic", "queue", "offset", "body"].iter().all(|part| theirs[*part] == mine[*part])
}
