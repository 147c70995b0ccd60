//! Identifiers of the message store that appear on the wire, each its own type.

use std::fmt;

/// Bits of a physical offset below the stream number.
const POSITION_BITS: u32 = 48;
/// Largest byte position in one stream.
const POSITION_MAX: u64 = (1 << POSITION_BITS) - 1;
/// Stream numbers fill bits 48 to 62; bit 63 stays clear, since Java reads the number as signed.
const STREAM_MAX: u16 = (1 << 15) - 1;

/// A commit log of this broker. Java's broker has one, which is stream 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct StreamId(pub u16);

/// Where a record lies: the stream in bits 48 to 62, the byte position in that stream below.
///
/// With stream 0 this is Java's `commitLogOffset`, a byte position in its one commit log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct PhyOffset(pub u64);

impl PhyOffset {
    /// The byte `position` of `stream`. Panics when one of them does not fit: 15 and 48 bits are this format.
    pub fn new(stream: StreamId, position: u64) -> PhyOffset {
        assert!(stream.0 <= STREAM_MAX, "stream {} is above {STREAM_MAX}", stream.0);
        assert!(position <= POSITION_MAX, "position {position} is above {POSITION_MAX}");
        PhyOffset(u64::from(stream.0) << POSITION_BITS | position)
    }

    /// The offset a peer named; `None` for negative numbers, which address nothing.
    pub fn from_wire(offset: i64) -> Option<PhyOffset> {
        u64::try_from(offset).ok().map(PhyOffset)
    }

    /// The number as Java's `long`.
    pub fn to_wire(self) -> i64 {
        i64::from_be_bytes(self.0.to_be_bytes())
    }

    /// The stream the record lies in.
    pub fn stream(self) -> StreamId {
        let [high, low, ..] = self.0.to_be_bytes();
        StreamId(u16::from_be_bytes([high, low]) & STREAM_MAX)
    }

    /// The byte position in the stream.
    pub fn position(self) -> u64 {
        self.0 & POSITION_MAX
    }
}

impl fmt::Display for PhyOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Index of a message in its consume queue, from 0; −1 and other negative numbers mean "none" in requests.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct QueueOffset(pub i64);

/// Number of a queue of a topic, from 0; negative in a send request lets the broker choose.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct QueueId(pub i32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_and_position_come_back() {
        let phy = PhyOffset::new(StreamId(STREAM_MAX), POSITION_MAX);
        assert_eq!((phy.stream(), phy.position()), (StreamId(STREAM_MAX), POSITION_MAX));
        assert_eq!(phy.to_wire(), i64::MAX);
        let phy = PhyOffset::new(StreamId(3), 4096);
        assert_eq!((phy.stream().0, phy.position()), (3, 4096));
        assert_eq!(PhyOffset::from_wire(phy.to_wire()), Some(phy));
        assert_eq!(PhyOffset::from_wire(-1), None);
        assert_eq!(PhyOffset::new(StreamId(0), 77).to_wire(), 77);
    }
}
