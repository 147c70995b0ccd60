//! Java's extended queue entries (`enableConsumeQueueExt`, store.md 3.5): a queue entry has an address where its tags code
//! would be, and the unit there has the code.
//!
//! Map of a unit, big-endian: 0 `i16` size of the unit, 2 `i64` tags code, 10 `i64` store time, 18 `i16` bytes of a filter
//! bit map, which follows. Units lie in files named by the position of their first byte; a size of -1 ends a file early.

/// Bytes of a unit without a bit map.
pub const UNIT_BYTES_MIN: usize = 20;
/// Bytes of a unit's beginning that hold its size and tags code.
pub const HEAD_BYTES: usize = 10;
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

/// A unit without a bit map.
pub fn encode(tags_code: i64, time_ms: i64) -> [u8; UNIT_BYTES_MIN] {
    let mut bytes = [0; UNIT_BYTES_MIN];
    bytes[1] = UNIT_BYTES_MIN.to_le_bytes()[0];
    bytes[2..10].copy_from_slice(&tags_code.to_be_bytes());
    bytes[10..18].copy_from_slice(&time_ms.to_be_bytes());
    bytes
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
    fn a_unit_has_its_code_and_the_end_of_a_file_has_none() {
        let unit = [&20i16.to_be_bytes()[..], &(-77i64).to_be_bytes(), &[0; 10]].concat();
        assert_eq!(tags_code(&unit), Some(-77));
        assert_eq!(next(&unit), Next::Unit(20));
        assert_eq!(
            (next(&[0xFF; 2]), next(&[0; 2]), next(&[0])),
            (Next::End, Next::Nothing, Next::End)
        );
        let ours = encode(-77, 0x0102);
        assert_eq!(
            (tags_code(&ours), &ours[..2], &ours[16..]),
            (Some(-77), &unit[..2], &[1, 2, 0, 0][..])
        );
        assert_eq!(tags_code(&unit[..9]), None);
        assert_eq!(tags_code(&[0xFF; 20]), None);
        assert_eq!(tags_code(&[0; 20]), None);
    }
}
