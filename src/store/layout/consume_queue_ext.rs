//! Java's extended queue entries (`enableConsumeQueueExt`, store.md 3.5): a queue entry has an address where its tags code
//! would be, and the unit there has the code.
//!
//! Map of a unit, big-endian: 0 `i16` size of the unit, 2 `i64` tags code, 10 `i64` store time, 18 `i16` bytes of a filter
//! bit map, which follows. Units lie in files named by the position of their first byte; a size of -1 ends a file early.

/// Bytes of a unit without a bit map.
pub const UNIT_BYTES_MIN: usize = 20;
/// Bytes of a unit's beginning that hold its size and tags code.
pub const HEAD_BYTES: usize = 10;
/// Bytes of the longest bit map: the size of a unit is an `i16`.
pub const MAP_BYTES_MAX: usize = i16::MAX as usize - UNIT_BYTES_MIN;
/// In the place of a tags code, where a `MapTest` says that the message is not wanted; no unit lies so far out.
pub const PASSED_OVER: i64 = ADDRESS_MAX;
/// Addresses are at or below; tags codes, which are hashes of 32 bits or times, above.
const ADDRESS_MAX: i64 = i32::MIN as i64 - 1;

/// Whether an entry's tags code is the address of a unit.
pub fn is_address(tags_code: i64) -> bool {
    tags_code <= ADDRESS_MAX
}

/// Position of the unit at an address; `None` for a tags code.
pub fn place(tags_code: i64) -> Option<u64> {
    is_address(tags_code).then(|| tags_code.abs_diff(i64::MIN))
}

/// The tags code of a unit; `None` where there is none.
pub fn tags_code(head: &[u8]) -> Option<i64> {
    let (size, rest) = head.split_first_chunk::<2>()?;
    let (code, _) = rest.split_first_chunk::<8>()?;
    let size = usize::try_from(i16::from_be_bytes(*size)).ok()?;
    (size >= UNIT_BYTES_MIN).then(|| i64::from_be_bytes(*code))
}

/// Ends a file whose rest is too short for the next unit; so much is left free.
pub const END_MARK: i16 = -1;
/// Bytes that Java keeps free for the mark.
pub const END_BYTES: usize = 4;

/// What the size of a unit says of what follows in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// A unit of so many bytes.
    Unit(usize),
    /// Nothing yet.
    Nothing,
    /// The file ends here.
    End,
}

/// Reads a size.
pub fn next(head: &[u8]) -> Next {
    match head.first_chunk::<2>().map(|size| i16::from_be_bytes(*size)) {
        None | Some(END_MARK) => Next::End,
        Some(size) => match usize::try_from(size) {
            Ok(size) if size >= UNIT_BYTES_MIN => Next::Unit(size),
            Ok(_) | Err(_) => Next::Nothing,
        },
    }
}

/// What a unit says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unit<'b> {
    /// Tags code of the message.
    pub tags_code: i64,
    /// When it was stored, ms since 1970.
    pub time_ms: i64,
    /// Bit map of filters; empty without one.
    pub map: &'b [u8],
}

impl Unit<'_> {
    /// Reads the unit that begins here; `None` when it is not whole.
    pub fn decode(bytes: &[u8]) -> Option<Unit<'_>> {
        let Next::Unit(size) = next(bytes) else { return None };
        let (_, rest) = bytes.get(..size)?.split_first_chunk::<2>()?;
        let (code, rest) = rest.split_first_chunk::<8>()?;
        let (time, rest) = rest.split_first_chunk::<8>()?;
        let (map_bytes, rest) = rest.split_first_chunk::<2>()?;
        let map_bytes = usize::try_from(i16::from_be_bytes(*map_bytes)).ok()?;
        Some(Unit {
            tags_code: i64::from_be_bytes(*code),
            time_ms: i64::from_be_bytes(*time),
            map: rest.get(..map_bytes)?,
        })
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        UNIT_BYTES_MIN + self.map.len()
    }

    /// Writes it; the map has `MAP_BYTES_MAX` bytes at most.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let size = i16::try_from(self.size()).expect("a bit map within its limit");
        let map_bytes = i16::try_from(self.map.len()).expect("shorter than the unit");
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(&self.tags_code.to_be_bytes());
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        out.extend_from_slice(&map_bytes.to_be_bytes());
        out.extend_from_slice(self.map);
    }
}

/// Which bits of a map say that a group wants a message; Java counterparts: BitsArray, `isMatchedByConsumeQueue`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapTest {
    /// Bits of the group, the first of a byte being its lowest.
    pub positions: Vec<u32>,
    /// Maps of other lengths were made for other bits.
    pub map_bytes: usize,
    /// Maps of messages stored then or before were made without the group, ms since 1970.
    pub since_ms: i64,
}

impl MapTest {
    /// Whether the message may be wanted; only a message of which it is certain is not.
    pub fn may_want(&self, unit: &Unit<'_>) -> bool {
        if unit.time_ms <= self.since_ms || unit.map.len() != self.map_bytes {
            return true;
        }
        self.positions.iter().all(|bit| {
            let at = usize::try_from(bit / 8).ok();
            let byte = at.and_then(|at| unit.map.get(at));
            byte.is_none_or(|byte| byte & bit_in_byte(*bit) != 0)
        })
    }
}

/// The mask of a bit in its byte.
pub fn bit_in_byte(bit: u32) -> u8 {
    1 << (bit % 8)
}

/// The address of a unit; `None` when it is too far for one.
pub fn address(place: u64) -> Option<i64> {
    i64::MIN.checked_add_unsigned(place).filter(|address| is_address(*address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_far_below_every_tags_code() {
        assert_eq!(place(i64::MIN), Some(0));
        assert_eq!(place(i64::MIN + 48), Some(48));
        assert_eq!((address(48), address(1 << 63)), (Some(i64::MIN + 48), None));
        assert_eq!(place(i64::from(i32::MIN) - 1), Some(9_223_372_034_707_292_159));
        for code in [i64::from(i32::MIN), -1, 0, 1_700_000_000_000] {
            assert_eq!(place(code), None);
        }
    }

    #[test]
    fn only_what_the_bits_are_certain_of_is_passed_over() {
        // Java's BitsArray of 112 bits with 38, 56 and 91 set.
        let map = [0, 0, 0, 0, 0x40, 0, 0, 0x01, 0, 0, 0, 0x08, 0, 0];
        let unit = Unit { tags_code: 0, time_ms: 11, map: &map };
        let test = |positions: &[u32]| MapTest {
            positions: positions.to_vec(),
            map_bytes: 14,
            since_ms: 10,
        };
        assert!(test(&[56, 38, 91]).may_want(&unit));
        let other = test(&[56, 38, 90]);
        assert!(!other.may_want(&unit));
        assert!(other.may_want(&Unit { time_ms: 10, ..unit }), "stored before the group was known");
        assert!(other.may_want(&Unit { map: &[0; 15], ..unit }), "of another filter");
        assert!(other.may_want(&Unit { map: &[], ..unit }), "there was no filter");
        assert!(test(&[112]).may_want(&unit), "no bit of the map");
    }

    #[test]
    fn a_unit_has_its_code_and_the_end_of_a_file_has_none() {
        let unit = [&20i16.to_be_bytes()[..], &(-77i64).to_be_bytes(), &[0; 10]].concat();
        assert_eq!(tags_code(&unit), Some(-77));
        assert_eq!(next(&unit), Next::Unit(20));
        assert_eq!(
            (next(&[0xFF; 2]), next(&[0; 2]), next(&[0])),
            (Next::End, Next::Nothing, Next::End)
        );
        let mut ours = Vec::new();
        let plain = Unit { tags_code: -77, time_ms: 0x0102, map: &[] };
        plain.encode(&mut ours);
        assert_eq!(
            (tags_code(&ours), &ours[..2], &ours[16..]),
            (Some(-77), &unit[..2], &[1, 2, 0, 0][..])
        );
        assert_eq!(Unit::decode(&ours), Some(plain));
        assert_eq!(Unit::decode(&ours[..19]), None);
        ours.clear();
        let mapped = Unit { map: &[7, 8], ..plain };
        mapped.encode(&mut ours);
        assert_eq!((ours.len(), &ours[..2], &ours[18..]), (22, &[0, 22][..], &[0, 2, 7, 8][..]));
        assert_eq!(Unit::decode(&ours), Some(mapped));
        assert_eq!(tags_code(&unit[..9]), None);
        assert_eq!(tags_code(&[0xFF; 20]), None);
        assert_eq!(tags_code(&[0; 20]), None);
    }
}
