//! The layout of a stored message, which is also its layout on the wire. Java: `MessageExtEncoder`, `MessageDecoder`,
//! `CommitLog.checkMessageAndReturnSize`.
//!
//! Invariants: reading checks every length and never panics; a V2 record (two-byte topic length) is written only for
//! topics above 127 bytes, because 4.9 and the Go and C++ clients do not know it.
//! Limits: topic 32767 bytes, properties 32767 bytes, a record below 2 GiB.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use base::time::WallMs;

use crate::ids::{PhyOffset, QueueId, QueueOffset};
use crate::props::PROPERTIES_BYTES_MAX;
use crate::sys_flag::{BORN_HOST_V6, STORE_HOST_V6};

/// A record with a one-byte topic length.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// A record with a two-byte topic length.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// The filler at the end of a log file.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;
/// Least bytes a blank record needs: its size and its magic.
pub const BLANK_BYTES_MIN: usize = 8;

/// Longest topic in a V1 record.
pub const TOPIC_V1_BYTES_MAX: usize = 127;
/// Longest topic in a V2 record.
pub const TOPIC_V2_BYTES_MAX: usize = 32_767;
/// Bytes of a V1 record with IPv4 hosts besides body, topic and properties.
const FIXED_BYTES: usize = 91;
/// What an IPv6 host adds.
const V6_EXTRA_BYTES: usize = 12;
/// The body CRC has 31 bits, as Java's number is signed.
const CRC_MASK: u32 = 0x7FFF_FFFF;

/// What is wrong with a record, and at which byte of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageError {
    /// The finding.
    pub what: &'static str,
    /// Byte position from the start of the record (of the batch body for batch items).
    pub at: usize,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.what, self.at)
    }
}

impl std::error::Error for MessageError {}

/// What the log decides about a record when it takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Index in the consume queue; 0 for prepared and rolled-back messages.
    pub queue_offset: QueueOffset,
    /// Where the record lies.
    pub phy_offset: PhyOffset,
    /// When it was stored.
    pub store_timestamp: WallMs,
}

/// A message to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewMessage<'a> {
    /// Queue of the topic.
    pub queue_id: QueueId,
    /// The user's flag.
    pub flag: i32,
    /// System flag; the two IPv6 bits are set from the addresses.
    pub sys_flag: i32,
    /// The producer's time stamp in milliseconds since 1970.
    pub born_timestamp: i64,
    /// Address of the producer.
    pub born_host: SocketAddr,
    /// Advertised address of this broker.
    pub store_host: SocketAddr,
    /// How often consumption was tried.
    pub reconsume_times: i32,
    /// Physical offset of the half message a commit belongs to; 0 otherwise.
    pub prepared_transaction_offset: i64,
    /// The body as the client sent it.
    pub body: &'a [u8],
    /// The topic.
    pub topic: &'a [u8],
    /// Properties text.
    pub properties: &'a [u8],
}

impl NewMessage<'_> {
    /// Whether topic, properties and body have a place in the format; `encode` panics when not.
    pub fn check_limits(&self) -> Result<(), MessageError> {
        let problem = |what| Err(MessageError { what, at: 0 });
        if self.topic.len() > TOPIC_V2_BYTES_MAX {
            return problem("the topic is longer than 32767 bytes");
        }
        if self.properties.len() > PROPERTIES_BYTES_MAX {
            return problem("the properties are longer than 32767 bytes");
        }
        if i32::try_from(self.encoded_len()).is_err() {
            return problem("the record is longer than 2147483647 bytes");
        }
        Ok(())
    }

    /// Bytes of the record.
    pub fn encoded_len(&self) -> usize {
        let hosts = [self.born_host, self.store_host];
        FIXED_BYTES
            + V6_EXTRA_BYTES * hosts.iter().filter(|host| host.is_ipv6()).count()
            + usize::from(self.is_v2())
            + self.body.len()
            + self.topic.len()
            + self.properties.len()
    }

    fn is_v2(&self) -> bool {
        self.topic.len() > TOPIC_V1_BYTES_MAX
    }

    fn stored_sys_flag(&self) -> i32 {
        let mut sys_flag = self.sys_flag & !(BORN_HOST_V6 | STORE_HOST_V6);
        if self.born_host.is_ipv6() {
            sys_flag |= BORN_HOST_V6;
        }
        if self.store_host.is_ipv6() {
            sys_flag |= STORE_HOST_V6;
        }
        sys_flag
    }

    /// Writes the whole record. `dst` has exactly `encoded_len` bytes, and `check_limits` holds.
    pub fn encode(&self, dst: &mut [u8], place: Place) {
        let total = self.encoded_len();
        assert_eq!(dst.len(), total, "a record is written into exactly its bytes");
        let mut put = Put { rest: dst };
        let length = |bytes: usize| i32::try_from(bytes).expect("check_limits bounds the record");
        put.i32(length(total));
        put.bytes(&if self.is_v2() { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
        put.bytes(&body_crc(self.body).to_be_bytes());
        put.i32(self.queue_id.0);
        put.i32(self.flag);
        put.i64(place.queue_offset.0);
        put.i64(place.phy_offset.to_wire());
        put.i32(self.stored_sys_flag());
        put.i64(self.born_timestamp);
        put.host(self.born_host);
        put.i64(place.store_timestamp.0);
        put.host(self.store_host);
        put.i32(self.reconsume_times);
        put.i64(self.prepared_transaction_offset);
        put.i32(length(self.body.len()));
        put.bytes(self.body);
        let topic_bytes = i16::try_from(self.topic.len()).expect("check_limits bounds the topic");
        let [high, low] = topic_bytes.to_be_bytes();
        if self.is_v2() {
            put.bytes(&[high]);
        }
        put.bytes(&[low]);
        put.bytes(self.topic);
        let properties_bytes =
            i16::try_from(self.properties.len()).expect("check_limits bounds the properties");
        put.bytes(&properties_bytes.to_be_bytes());
        put.bytes(self.properties);
    }
}

/// The stored CRC of a body: CRC-32 with the sign bit cleared.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & CRC_MASK
}

/// Writes the blank record that fills a log file from here to its end. `rest` is all that is left of the file.
///
/// Only the first 8 bytes are written, as in Java. Panics when `rest` is shorter.
pub fn encode_blank(rest: &mut [u8]) {
    let size = i32::try_from(rest.len()).expect("log files are at most 2 GiB");
    rest[..4].copy_from_slice(&size.to_be_bytes());
    rest[4..BLANK_BYTES_MIN].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
}

/// Fills a slice front to back.
struct Put<'d> {
    rest: &'d mut [u8],
}

impl Put<'_> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        let (here, rest) = std::mem::take(&mut self.rest).split_at_mut(bytes.len());
        here.copy_from_slice(bytes);
        self.rest = rest;
    }

    #[inline]
    fn i32(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    fn i64(&mut self, value: i64) {
        self.bytes(&value.to_be_bytes());
    }

    fn host(&mut self, host: SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => self.bytes(&ip.octets()),
            IpAddr::V6(ip) => self.bytes(&ip.octets()),
        }
        self.i32(i32::from(host.port()));
    }
}

/// A record that was checked: all lengths fit and add up. Fields borrow from the bytes.
#[derive(Clone, Copy, Debug)]
pub struct MessageView<'a> {
    bytes: &'a [u8],
    magic: u32,
    body_crc: u32,
    queue_id: QueueId,
    flag: i32,
    queue_offset: QueueOffset,
    phy_offset: PhyOffset,
    sys_flag: i32,
    born_timestamp: i64,
    born_host: SocketAddr,
    store_timestamp: WallMs,
    store_host: SocketAddr,
    reconsume_times: i32,
    prepared_transaction_offset: i64,
    body: &'a [u8],
    topic: &'a [u8],
    properties: &'a [u8],
}

/// Bytes a record claims for itself; `None` below 4 bytes or for a number that cannot be a size.
///
/// Nothing else is checked: it tells a reader how much to fetch before it asks `MessageView::parse` or `probe`.
pub fn declared_size(bytes: &[u8]) -> Option<usize> {
    let size = i32::from_be_bytes(*bytes.first_chunk::<4>()?);
    usize::try_from(size).ok().filter(|&size| size >= BLANK_BYTES_MIN)
}

impl<'a> MessageView<'a> {
    /// Reads the record at the start of `bytes`; more may follow. Returns it with its size in bytes.
    ///
    /// The body CRC and the physical offset are not checked here.
    pub fn parse(bytes: &'a [u8]) -> Result<(MessageView<'a>, usize), MessageError> {
        let record = record_bytes(bytes)?;
        let mut get = Get { bytes: record, at: 4 };
        let magic = u32::from_be_bytes(get.take("magic is cut")?);
        if magic != MAGIC_V1 && magic != MAGIC_V2 {
            return Err(MessageError { what: "the magic number is not a message's", at: 4 });
        }
        let body_crc = u32::from_be_bytes(get.take("the body CRC is cut")?);
        let queue_id = QueueId(i32::from_be_bytes(get.take("the queue id is cut")?));
        let flag = i32::from_be_bytes(get.take("the flag is cut")?);
        let queue_offset = QueueOffset(i64::from_be_bytes(get.take("the queue offset is cut")?));
        let phy_offset = PhyOffset(u64::from_be_bytes(get.take("the physical offset is cut")?));
        let sys_flag = i32::from_be_bytes(get.take("the system flag is cut")?);
        let born_timestamp = i64::from_be_bytes(get.take("the born time is cut")?);
        let born_host = get.host(sys_flag & BORN_HOST_V6 != 0, "the born host is cut")?;
        let store_timestamp = WallMs(i64::from_be_bytes(get.take("the store time is cut")?));
        let store_host = get.host(sys_flag & STORE_HOST_V6 != 0, "the store host is cut")?;
        let reconsume_times = i32::from_be_bytes(get.take("the reconsume times are cut")?);
        let prepared_transaction_offset =
            i64::from_be_bytes(get.take("the prepared transaction offset is cut")?);
        let body_bytes = i32::from_be_bytes(get.take("the body length is cut")?);
        let body = get.bytes(i64::from(body_bytes), "the body length does not fit")?;
        let topic_bytes = if magic == MAGIC_V2 {
            i64::from(i16::from_be_bytes(get.take("the topic length is cut")?))
        } else {
            i64::from(i8::from_be_bytes(get.take("the topic length is cut")?))
        };
        let topic = get.bytes(topic_bytes, "the topic length does not fit")?;
        let properties_bytes = i16::from_be_bytes(get.take("the properties length is cut")?);
        let properties =
            get.bytes(i64::from(properties_bytes), "the properties length does not fit")?;
        if get.at != record.len() {
            return Err(get.error("the lengths inside the record do not add up to its size"));
        }
        let view = MessageView {
            bytes: record,
            magic,
            body_crc,
            queue_id,
            flag,
            queue_offset,
            phy_offset,
            sys_flag,
            born_timestamp,
            born_host,
            store_timestamp,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            topic,
            properties,
        };
        Ok((view, record.len()))
    }

    /// The whole record.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// `MAGIC_V1` or `MAGIC_V2`.
    pub fn magic(&self) -> u32 {
        self.magic
    }

    /// The body CRC as stored.
    pub fn body_crc(&self) -> u32 {
        self.body_crc
    }

    /// Whether the stored body CRC is right; a record without a body has none, as in Java.
    pub fn check_body_crc(&self) -> bool {
        self.body.is_empty() || body_crc(self.body) == self.body_crc
    }

    /// Queue of the topic.
    pub fn queue_id(&self) -> QueueId {
        self.queue_id
    }

    /// The user's flag.
    pub fn flag(&self) -> i32 {
        self.flag
    }

    /// Index in the consume queue.
    pub fn queue_offset(&self) -> QueueOffset {
        self.queue_offset
    }

    /// Where the record says it lies.
    pub fn phy_offset(&self) -> PhyOffset {
        self.phy_offset
    }

    /// System flag, see `sys_flag`.
    pub fn sys_flag(&self) -> i32 {
        self.sys_flag
    }

    /// The producer's time stamp in milliseconds since 1970.
    pub fn born_timestamp(&self) -> i64 {
        self.born_timestamp
    }

    /// Address of the producer.
    pub fn born_host(&self) -> SocketAddr {
        self.born_host
    }

    /// When the broker stored it.
    pub fn store_timestamp(&self) -> WallMs {
        self.store_timestamp
    }

    /// Address of the broker that stored it.
    pub fn store_host(&self) -> SocketAddr {
        self.store_host
    }

    /// How often consumption was tried.
    pub fn reconsume_times(&self) -> i32 {
        self.reconsume_times
    }

    /// Physical offset of the half message a commit belongs to.
    pub fn prepared_transaction_offset(&self) -> i64 {
        self.prepared_transaction_offset
    }

    /// The body as stored, perhaps compressed.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The topic.
    pub fn topic(&self) -> &'a [u8] {
        self.topic
    }

    /// Properties text.
    pub fn properties(&self) -> &'a [u8] {
        self.properties
    }

    /// What the log decided when it took the record.
    pub fn place(&self) -> Place {
        Place {
            queue_offset: self.queue_offset,
            phy_offset: self.phy_offset,
            store_timestamp: self.store_timestamp,
        }
    }
}

/// The bytes of the record that starts `bytes`, by its own size.
fn record_bytes(bytes: &[u8]) -> Result<&[u8], MessageError> {
    let Some(word) = bytes.first_chunk::<4>() else {
        return Err(MessageError { what: "the record size is cut", at: 0 });
    };
    let size = i64::from(i32::from_be_bytes(*word));
    let Ok(size) = usize::try_from(size) else {
        return Err(MessageError { what: "the record size is negative", at: 0 });
    };
    if size < FIXED_BYTES {
        return Err(MessageError { what: "the record size is below the least of 91 bytes", at: 0 });
    }
    bytes
        .get(..size)
        .ok_or(MessageError { what: "the record size is above the bytes at hand", at: 0 })
}

/// Reads a slice front to back.
struct Get<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Get<'a> {
    fn error(&self, what: &'static str) -> MessageError {
        MessageError { what, at: self.at }
    }

    #[inline]
    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], MessageError> {
        match self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()) {
            Some(value) => {
                self.at += N;
                Ok(*value)
            }
            None => Err(self.error(what)),
        }
    }

    fn bytes(&mut self, length: i64, what: &'static str) -> Result<&'a [u8], MessageError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
            Some(value) => {
                self.at += value.len();
                Ok(value)
            }
            None => Err(self.error(what)),
        }
    }

    /// An address and an int32 port, of which only 16 bits can be a port.
    fn host(&mut self, is_v6: bool, what: &'static str) -> Result<SocketAddr, MessageError> {
        let ip = if is_v6 {
            IpAddr::V6(Ipv6Addr::from(self.take::<16>(what)?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.take::<4>(what)?))
        };
        let [_, _, high, low] = self.take::<4>(what)?;
        Ok(SocketAddr::new(ip, u16::from_be_bytes([high, low])))
    }
}

/// What recovery finds at a place in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// A whole, undamaged record that belongs here.
    Message {
        /// Its bytes.
        size: usize,
    },
    /// The filler up to the end of the file.
    Blank {
        /// Bytes it claims; the caller compares them with what is left of the file.
        size: usize,
    },
    /// Anything else: a torn or stale record, or no record.
    Bad(MessageError),
}

/// Says what lies at the start of `bytes`, where the log is at `expected`.
///
/// Unlike Java the record's own physical offset must be `expected`: cutting a log does not clear the bytes behind the
/// cut, so a stale record that is well formed in itself may follow a torn one.
pub fn probe(bytes: &[u8], expected: PhyOffset) -> Probe {
    let Some([size @ .., m0, m1, m2, m3]) = bytes.first_chunk::<BLANK_BYTES_MIN>() else {
        return Probe::Bad(MessageError { what: "fewer than 8 bytes are left", at: 0 });
    };
    if u32::from_be_bytes([*m0, *m1, *m2, *m3]) == MAGIC_BLANK {
        return match declared_size(size) {
            Some(size) => Probe::Blank { size },
            None => Probe::Bad(MessageError { what: "the blank size is below 8 bytes", at: 0 }),
        };
    }
    match MessageView::parse(bytes) {
        Err(error) => Probe::Bad(error),
        Ok((view, _)) if view.phy_offset != expected => {
            Probe::Bad(MessageError { what: "the record belongs to another place", at: 28 })
        }
        Ok((view, _)) if !view.check_body_crc() => {
            Probe::Bad(MessageError { what: "the body CRC does not match", at: 8 })
        }
        Ok((_, size)) => Probe::Message { size },
    }
}

#[cfg(test)]
mod tests;
