//! Consume-queue files: 20-byte entries, entry `k` of a queue at byte `20 k` (store.md 3.1).
//!
//! Map of an entry, big-endian: 0 `i64` physical offset, 8 `i32` record size, 12 `i64` tags code. A zero size
//! means "no entry". Files are named by the byte position of their first entry and have one fixed size.

use wire::ids::PhyOffset;

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 20;
/// Size that marks the filler before a queue's first real entry in its first file.
pub const FILLER_SIZE: u32 = 0x7FFF_FFFF;

/// Where a message of a queue lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CqEntry {
    /// Place of the record.
    pub phy: PhyOffset,
    /// Total size of the record in bytes.
    pub size: u32,
    /// Hash of the tags (or the delivery time, in the schedule topic).
    pub tags_code: i64,
}

impl CqEntry {
    /// The entry that Java writes before the first real one.
    pub const FILLER: CqEntry = CqEntry { phy: PhyOffset(0), size: FILLER_SIZE, tags_code: 0 };

    /// The 20 bytes.
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.phy.to_wire().to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }

    /// Reads 20 bytes; `None` where no entry was written (size 0 or below, negative offset) or too few bytes.
    pub fn decode(bytes: &[u8]) -> Option<CqEntry> {
        let (phy, rest) = bytes.split_first_chunk::<8>()?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        let (tags, _) = rest.split_first_chunk::<8>()?;
        let size = u32::try_from(i32::from_be_bytes(*size)).ok().filter(|size| *size > 0)?;
        let phy = PhyOffset::from_wire(i64::from_be_bytes(*phy))?;
        Some(CqEntry { phy, size, tags_code: i64::from_be_bytes(*tags) })
    }

    /// Whether this is the filler before the first real entry.
    pub fn is_filler(&self) -> bool {
        self.size == FILLER_SIZE && self.phy == PhyOffset(0)
    }

    /// Position in the stream behind the record.
    pub fn end(&self) -> u64 {
        self.phy.position() + u64::from(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_twenty_big_endian_bytes() {
        let entry = CqEntry { phy: PhyOffset(0x0102_0304), size: 0x99, tags_code: -2 };
        let bytes = entry.encode();
        assert_eq!(bytes[..12], [0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0x99]);
        assert_eq!(bytes[12..], (-2i64).to_be_bytes());
        assert_eq!(CqEntry::decode(&bytes), Some(entry));
    }

    #[test]
    fn zeros_and_short_bytes_are_no_entry() {
        assert_eq!(CqEntry::decode(&[0; 20]), None);
        assert_eq!(CqEntry::decode(&[1; 19]), None);
        assert!(CqEntry::FILLER.is_filler());
    }
}
