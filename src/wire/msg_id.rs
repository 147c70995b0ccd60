//! `offsetMsgId`: the broker's address and the physical offset in upper-case hex. Java: `MessageDecoder.createMessageId`.
//!
//! 32 digits with an IPv4 address, 56 with IPv6: address, int32 port, int64 offset.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::ids::PhyOffset;

/// Bytes behind the hex of an IPv6 id: 16 address, 4 port, 8 offset.
const RAW_BYTES_MAX: usize = 28;
/// Bytes behind the hex of an IPv4 id.
const RAW_BYTES_V4: usize = 16;

/// Where a stored message is: the broker that stored it and the place in its log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MessageId {
    /// Advertised address of the broker.
    pub host: SocketAddr,
    /// Physical offset of the record.
    pub phy: PhyOffset,
}

/// The text is not an `offsetMsgId`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageIdError {
    /// Neither 32 nor 56 characters.
    Length {
        /// Characters found.
        bytes: usize,
    },
    /// A character is not a hex digit.
    NotHex {
        /// Its position.
        at: usize,
    },
    /// The port is not in 0..=65535.
    Port {
        /// The number found.
        port: u32,
    },
}

impl fmt::Display for MessageIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageIdError::Length { bytes } => {
                write!(f, "the message id has {bytes} characters, not 32 or 56")
            }
            MessageIdError::NotHex { at } => {
                write!(f, "the message id has no hex digit at position {at}")
            }
            MessageIdError::Port { port } => {
                write!(f, "the port {port} in the message id is above 65535")
            }
        }
    }
}

impl std::error::Error for MessageIdError {}

impl MessageId {
    /// Appends the upper-case hex to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let (raw, used) = self.raw();
        for &byte in &raw[..used] {
            out.extend_from_slice(&hex_pair(byte));
        }
    }

    fn raw(&self) -> ([u8; RAW_BYTES_MAX], usize) {
        let mut raw = [0; RAW_BYTES_MAX];
        let address_bytes = match self.host.ip() {
            IpAddr::V4(ip) => {
                raw[..4].copy_from_slice(&ip.octets());
                4
            }
            IpAddr::V6(ip) => {
                raw[..16].copy_from_slice(&ip.octets());
                16
            }
        };
        let port = u32::from(self.host.port()).to_be_bytes();
        raw[address_bytes..address_bytes + 4].copy_from_slice(&port);
        let used = address_bytes + 12;
        raw[address_bytes + 4..used].copy_from_slice(&self.phy.0.to_be_bytes());
        (raw, used)
    }

    /// Reads an id from its hex digits, in either case.
    pub fn parse(text: &[u8]) -> Result<MessageId, MessageIdError> {
        let used = text.len() / 2;
        if !text.len().is_multiple_of(2) || (used != RAW_BYTES_V4 && used != RAW_BYTES_MAX) {
            return Err(MessageIdError::Length { bytes: text.len() });
        }
        let mut raw = [0; RAW_BYTES_MAX];
        for (index, pair) in text.chunks_exact(2).enumerate() {
            let high = hex_digit(pair[0]).ok_or(MessageIdError::NotHex { at: index * 2 })?;
            let low = hex_digit(pair[1]).ok_or(MessageIdError::NotHex { at: index * 2 + 1 })?;
            raw[index] = high << 4 | low;
        }
        let (ip, rest) = if used == RAW_BYTES_V4 {
            let [a, b, c, d, ..] = raw;
            (IpAddr::V4(Ipv4Addr::new(a, b, c, d)), &raw[4..RAW_BYTES_V4])
        } else {
            let mut octets = [0; 16];
            octets.copy_from_slice(&raw[..16]);
            (IpAddr::V6(Ipv6Addr::from(octets)), &raw[16..])
        };
        let (port, offset) = rest.split_at(4);
        let port = u32::from_be_bytes([port[0], port[1], port[2], port[3]]);
        let port = u16::try_from(port).map_err(|_| MessageIdError::Port { port })?;
        let offset = offset.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
        Ok(MessageId { host: SocketAddr::new(ip, port), phy: PhyOffset(offset) })
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (raw, used) = self.raw();
        raw[..used].iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl FromStr for MessageId {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        MessageId::parse(text.as_bytes())
    }
}

/// Appends the 16 upper-case hex digits of `value`.
pub(crate) fn write_hex(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 16];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(value.to_be_bytes()) {
        pair.copy_from_slice(&hex_pair(byte));
    }
    out.extend_from_slice(&digits);
}

fn hex_pair(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_java_broker_come_back() {
        for text in ["7F000001000051AF00000000000007AB", "7F000001000051AF0000000000000000"] {
            let id: MessageId = text.parse().unwrap();
            assert_eq!(id.host, "127.0.0.1:20911".parse().unwrap());
            assert_eq!(id.to_string(), text);
            let mut out = Vec::new();
            id.write_to(&mut out);
            assert_eq!(out, text.as_bytes());
        }
        let id: MessageId = "7f000001000051af00000000000007ab".parse().unwrap();
        assert_eq!(id.phy, PhyOffset(0x7AB));
    }

    #[test]
    fn an_ipv6_id_has_56_digits() {
        let id =
            MessageId { host: "[2001:db8::1]:10911".parse().unwrap(), phy: PhyOffset(1 << 48) };
        let text = id.to_string();
        assert_eq!(text, "20010DB800000000000000000000000100002A9F0001000000000000");
        assert_eq!(text.parse(), Ok(id));
    }

    #[test]
    fn what_is_no_id_is_refused_with_the_reason() {
        let error = |text: &str| MessageId::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error(""), MessageIdError::Length { bytes: 0 });
        assert_eq!(error("7F000001000051AF00000000000007A"), MessageIdError::Length { bytes: 31 });
        assert_eq!(error("7F000001000051AFxx000000000007AB"), MessageIdError::NotHex { at: 16 });
        assert_eq!(
            error("7F000001000151AF00000000000007AB"),
            MessageIdError::Port { port: 0x1_51AF }
        );
    }
}
