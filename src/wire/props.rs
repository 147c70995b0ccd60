//! The properties text of a message: `key 0x01 value 0x02` repeated. Java: `MessageDecoder.string2messageProperties`.
//!
//! 4.9.7 leaves out the last 0x02, 5.x writes it: readers take both, `append` inserts what is missing.
//! Pairs without 0x01 or with an empty value are skipped, as Java's reader does; of a repeated key the last one counts.

/// Between key and value.
pub const NAME_VALUE_SEPARATOR: u8 = 1;
/// Between pairs, and in 5.x after the last one.
pub const PROPERTY_SEPARATOR: u8 = 2;
/// Most bytes the whole text may have: its length is a signed 16-bit number.
pub const PROPERTIES_BYTES_MAX: usize = 32_767;

macro_rules! property_names {
    ($($name:ident = $text:literal,)*) => {
        $(
            #[doc = concat!("Property `", $text, "`.")]
            pub const $name: &str = $text;
        )*

        /// Every property name with a meaning of its own; users may not set them.
        pub const RESERVED: &[&str] = &[$($name,)*];
    };
}

property_names! {
    KEYS = "KEYS",
    TAGS = "TAGS",
    WAIT = "WAIT",
    DELAY = "DELAY",
    RETRY_TOPIC = "RETRY_TOPIC",
    REAL_TOPIC = "REAL_TOPIC",
    REAL_QUEUE_ID = "REAL_QID",
    TRANSACTION_PREPARED = "TRAN_MSG",
    PRODUCER_GROUP = "PGROUP",
    MIN_OFFSET = "MIN_OFFSET",
    MAX_OFFSET = "MAX_OFFSET",
    BUYER_ID = "BUYER_ID",
    ORIGIN_MESSAGE_ID = "ORIGIN_MESSAGE_ID",
    TRANSFER_FLAG = "TRANSFER_FLAG",
    CORRECTION_FLAG = "CORRECTION_FLAG",
    MQ2_FLAG = "MQ2_FLAG",
    RECONSUME_TIME = "RECONSUME_TIME",
    MSG_REGION = "MSG_REGION",
    TRACE_ON = "TRACE_ON",
    UNIQ_KEY = "UNIQ_KEY",
    EXTEND_UNIQ_INFO = "EXTEND_UNIQ_INFO",
    MAX_RECONSUME_TIMES = "MAX_RECONSUME_TIMES",
    CONSUME_START_TIME = "CONSUME_START_TIME",
    POP_CK = "POP_CK",
    POP_CK_OFFSET = "POP_CK_OFFSET",
    FIRST_POP_TIME = "1ST_POP_TIME",
    SHARDING_KEY = "__SHARDINGKEY",
    FORWARD_QUEUE_ID = "PROPERTY_FORWARD_QUEUE_ID",
    REDIRECT = "REDIRECT",
    INNER_MULTI_DISPATCH = "INNER_MULTI_DISPATCH",
    INNER_MULTI_QUEUE_OFFSET = "INNER_MULTI_QUEUE_OFFSET",
    TRACE_CONTEXT = "TRACE_CONTEXT",
    TIMER_DELAY_SEC = "TIMER_DELAY_SEC",
    TIMER_DELAY_MS = "TIMER_DELAY_MS",
    TIMER_DELIVER_MS = "TIMER_DELIVER_MS",
    TIMER_ENQUEUE_MS = "TIMER_ENQUEUE_MS",
    TIMER_DEQUEUE_MS = "TIMER_DEQUEUE_MS",
    TIMER_ROLL_TIMES = "TIMER_ROLL_TIMES",
    TIMER_OUT_MS = "TIMER_OUT_MS",
    TIMER_DEL_UNIQKEY = "TIMER_DEL_UNIQKEY",
    TIMER_DELAY_LEVEL = "TIMER_DELAY_LEVEL",
    BORN_HOST = "__BORNHOST",
    BORN_TIMESTAMP = "BORN_TIMESTAMP",
    DLQ_ORIGIN_TOPIC = "DLQ_ORIGIN_TOPIC",
    DLQ_ORIGIN_MESSAGE_ID = "DLQ_ORIGIN_MESSAGE_ID",
    CRC32 = "__CRC32#",
    INNER_NUM = "INNER_NUM",
    INNER_BASE = "INNER_BASE",
    DUP_INFO = "DUP_INFO",
    CHECK_IMMUNITY_TIME_IN_SECONDS = "CHECK_IMMUNITY_TIME_IN_SECONDS",
    TRANSACTION_PREPARED_QUEUE_OFFSET = "TRAN_PREPARED_QUEUE_OFFSET",
    TRANSACTION_ID = "__transactionId__",
    TRANSACTION_CHECK_TIMES = "TRANSACTION_CHECK_TIMES",
    INSTANCE_ID = "INSTANCE_ID",
    CORRELATION_ID = "CORRELATION_ID",
    REPLY_TO_CLIENT = "REPLY_TO_CLIENT",
    TTL = "TTL",
    ARRIVE_TIME = "ARRIVE_TIME",
    PUSH_REPLY_TIME = "PUSH_REPLY_TIME",
    CLUSTER = "CLUSTER",
    MSG_TYPE = "MSG_TYPE",
}

/// Properties text, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Props<'a> {
    bytes: &'a [u8],
}

impl<'a> Props<'a> {
    /// Any bytes may be given; what is no pair is skipped.
    pub fn new(bytes: &'a [u8]) -> Self {
        Props { bytes }
    }

    /// Key and value of each pair, in order.
    pub fn iter(&self) -> PropsIter<'a> {
        PropsIter { rest: self.bytes }
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&'a [u8]> {
        self.iter().filter(|(name, _)| *name == key.as_bytes()).last().map(|(_, value)| value)
    }

    /// Whether `key` is there with the value `true` in any case.
    pub fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.eq_ignore_ascii_case(b"true"))
    }

    /// The value of `key` as a number; `None` when it is absent or no number.
    pub fn get_i64(&self, key: &str) -> Option<i64> {
        self.get(key).and_then(|value| crate::text::parse_decimal(value).ok())
    }

    /// The index keys in KEYS: separated by blanks, none empty.
    pub fn keys(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let keys = self.get(KEYS).unwrap_or_default();
        keys.split(|&byte| byte == b' ').filter(|key| !key.is_empty())
    }
}

/// Walks the pairs.
pub struct PropsIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for PropsIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (pair, rest) = cut(self.rest);
            self.rest = rest;
            if let Some((key, value)) = split_pair(pair) {
                return Some((key, value));
            }
        }
        None
    }
}

/// The first pair without its separator, and what follows the separator.
fn cut(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(PROPERTY_SEPARATOR, bytes) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

fn split_pair(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(NAME_VALUE_SEPARATOR, pair)?;
    let (key, value) = (&pair[..at], &pair[at + 1..]);
    if value.is_empty() { None } else { Some((key, value)) }
}

/// Appends a pair to the properties text `out`, which holds nothing else.
pub fn append(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    end_last_pair(out);
    out.extend_from_slice(key.as_bytes());
    out.push(NAME_VALUE_SEPARATOR);
    out.extend_from_slice(value);
    out.push(PROPERTY_SEPARATOR);
}

/// Appends a pair with a decimal number.
pub fn append_i64(out: &mut Vec<u8>, key: &str, value: i64) {
    end_last_pair(out);
    out.extend_from_slice(key.as_bytes());
    out.push(NAME_VALUE_SEPARATOR);
    crate::decimal::write_i64(out, value);
    out.push(PROPERTY_SEPARATOR);
}

fn end_last_pair(out: &mut Vec<u8>) {
    if out.last().is_some_and(|&last| last != PROPERTY_SEPARATOR) {
        out.push(PROPERTY_SEPARATOR);
    }
}

/// Removes every pair with `key` from the properties text `out`, in place; says whether there was one.
pub fn remove(out: &mut Vec<u8>, key: &str) -> bool {
    let mut read = 0;
    let mut kept = 0;
    while read < out.len() {
        let (pair, rest) = cut(&out[read..]);
        let is_key = pair
            .strip_prefix(key.as_bytes())
            .is_some_and(|tail| tail.first() == Some(&NAME_VALUE_SEPARATOR));
        let next = out.len() - rest.len();
        if !is_key {
            out.copy_within(read..next, kept);
            kept += next - read;
        }
        read = next;
    }
    let removed = kept != out.len();
    out.truncate(kept);
    removed
}

/// Replaces the value of `key`, or adds the pair; the pair moves to the end.
pub fn set(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    remove(out, key);
    append(out, key, value);
}

#[cfg(test)]
mod tests;
