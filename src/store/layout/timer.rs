//! Java's timer files: a slot of `timerwheel`, a unit of `timerlog/`, and `config/timercheck`. Java: `Slot`, `TimerLog`, `TimerCheckpoint`.
//!
//! All numbers are big-endian. The wheel has two slots of 32 bytes for each second of seven days, whatever the precision.

/// Slots of the wheel: twice seven days of seconds.
pub const WHEEL_SLOTS: u64 = 2 * 7 * 86_400;
/// Bytes of a slot.
pub const SLOT_BYTES: usize = 32;
/// Bytes of the wheel's file.
pub const WHEEL_BYTES: u64 = WHEEL_SLOTS * SLOT_BYTES as u64;
/// Bytes of a unit.
pub const UNIT_BYTES: usize = 52;
/// Bytes that a blank needs: a file ends with one when no unit and blank fit any more.
pub const BLANK_BYTES: usize = 16;
/// Magic of a blank.
const BLANK_MAGIC: u32 = 0xCBD4_3194;
/// Bytes of the checkpoint's file.
pub const CHECK_BYTES: usize = 4096;
/// No place.
pub const NOWHERE: i64 = -1;

/// Bit of a unit's magic: every unit has it.
pub const MAGIC_DEFAULT: i32 = 1;
/// Bit: the message is stored again when its time has come.
pub const MAGIC_ROLL: i32 = 2;
/// Bit: the message takes another one back.
pub const MAGIC_DELETE: i32 = 4;

/// Messages of one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Its time in units of the precision.
    pub time: i64,
    /// Place of its first unit in the timer log.
    pub first: i64,
    /// Place of its last unit.
    pub last: i64,
    /// Messages, those that are taken back not counted.
    pub count: i32,
    /// Unused.
    pub magic: i32,
}

/// A message that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unit {
    /// Place of the unit before in the same slot.
    pub previous: i64,
    /// Bits, see `MAGIC_DEFAULT` and below.
    pub magic: i32,
    /// When it was written, ms since 1970, on the grid.
    pub write_ms: i64,
    /// From there to its slot, ms.
    pub delay_ms: i32,
    /// Place of the message in the log.
    pub phy: i64,
    /// Its size in bytes.
    pub size: i32,
    /// Hash of its topic's name.
    pub topic_hash: i32,
}

/// How far the timer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TimerCheck {
    /// Slots before this time are done, ms since 1970.
    pub read_ms: i64,
    /// Bytes of the timer log that are on the disk.
    pub log_flushed: i64,
    /// Messages of the timer topic before this one have a unit, or are delivered.
    pub queue_offset: i64,
    /// The master's `queue_offset`.
    pub master_queue_offset: i64,
    /// Version: state, time, counter.
    pub version: [i64; 3],
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn long(bytes: &[u8], at: usize) -> Option<i64> {
    array(bytes, at).map(i64::from_be_bytes)
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    array(bytes, at).map(i32::from_be_bytes)
}

impl TimerCheck {
    /// Whether it says all that `other` says, but for its version.
    pub fn is_as_far_as(&self, other: &TimerCheck) -> bool {
        TimerCheck { version: other.version, ..*self } == *other
    }
}

impl Slot {
    /// Reads a slot; `None` where none was ever written.
    pub fn decode(bytes: &[u8]) -> Option<Slot> {
        let slot = Slot {
            time: long(bytes, 0)?,
            first: long(bytes, 8)?,
            last: long(bytes, 16)?,
            count: int(bytes, 24)?,
            magic: int(bytes, 28)?,
        };
        (slot.time > 0).then_some(slot)
    }

    /// Bytes of the slot.
    pub fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        bytes[..8].copy_from_slice(&self.time.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.first.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.last.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.count.to_be_bytes());
        bytes[28..].copy_from_slice(&self.magic.to_be_bytes());
        bytes
    }
}

impl Unit {
    /// Reads a unit; `None` where there is none.
    pub fn decode(bytes: &[u8]) -> Option<Unit> {
        let unit = Unit {
            previous: long(bytes, 4)?,
            magic: int(bytes, 12)?,
            write_ms: long(bytes, 16)?,
            delay_ms: int(bytes, 24)?,
            phy: long(bytes, 28)?,
            size: int(bytes, 36)?,
            topic_hash: int(bytes, 40)?,
        };
        let is_unit = int(bytes, 0)? == i32::try_from(UNIT_BYTES).ok()?;
        let is_sound = unit.magic & !0xF == 0 && unit.magic & MAGIC_DEFAULT != 0 && unit.size > 0;
        (is_unit && is_sound).then_some(unit)
    }

    /// Bytes of the unit.
    pub fn encode(&self) -> [u8; UNIT_BYTES] {
        let mut bytes = [0; UNIT_BYTES];
        bytes[..4].copy_from_slice(&52_i32.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.previous.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.magic.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.write_ms.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.delay_ms.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.phy.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.size.to_be_bytes());
        bytes[40..44].copy_from_slice(&self.topic_hash.to_be_bytes());
        bytes
    }

    /// Time of its slot, ms since 1970.
    pub fn slot_ms(&self) -> i64 {
        self.write_ms.saturating_add(i64::from(self.delay_ms))
    }
}

/// What ends a file that has `rest` bytes left, too few for a unit and a blank.
pub fn blank(rest: u32) -> [u8; BLANK_BYTES] {
    let mut bytes = [0; BLANK_BYTES];
    bytes[..4].copy_from_slice(&rest.to_be_bytes());
    bytes[12..].copy_from_slice(&BLANK_MAGIC.to_be_bytes());
    bytes
}

/// Whether a blank begins here.
pub fn is_blank(bytes: &[u8]) -> bool {
    array(bytes, 12).map(u32::from_be_bytes) == Some(BLANK_MAGIC)
}

impl TimerCheck {
    /// Reads the file; what is short or missing counts as nothing done.
    pub fn decode(bytes: &[u8]) -> TimerCheck {
        let at = |at| long(bytes, at).unwrap_or(0);
        TimerCheck {
            read_ms: at(0),
            log_flushed: at(8),
            queue_offset: at(16),
            master_queue_offset: at(24),
            version: [at(32), at(40), at(48)],
        }
    }

    /// Bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let [state, time, counter] = self.version;
        let fields = [
            self.read_ms,
            self.log_flushed,
            self.queue_offset,
            self.master_queue_offset,
            state,
            time,
            counter,
        ];
        let mut bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_be_bytes()).collect();
        bytes.resize(CHECK_BYTES, 0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let slot = Slot { time: 1_795_244_348, first: 364, last: 520, count: 4, magic: 0 };
        assert_eq!(Slot::decode(&slot.encode()), Some(slot));
        assert_eq!(Slot::decode(&[0; SLOT_BYTES]), None);
        let unit = Unit {
            previous: 260,
            magic: MAGIC_DEFAULT | MAGIC_DELETE,
            write_ms: 1_795_244_339_000,
            delay_ms: 1_800_000,
            phy: 544_309,
            size: 346,
            topic_hash: 68_983_747,
        };
        assert_eq!(Unit::decode(&unit.encode()), Some(unit));
        assert_eq!(unit.slot_ms(), 1_795_246_139_000);
        assert_eq!(Unit::decode(&[0; UNIT_BYTES]), None);
        assert!(
            is_blank(&blank(60)) && !is_blank(&unit.encode()) && Unit::decode(&blank(60)).is_none()
        );
        let check =
            TimerCheck { read_ms: 5, log_flushed: 884, queue_offset: 17, ..TimerCheck::default() };
        assert_eq!(TimerCheck::decode(&check.encode()), check);
        assert_eq!(TimerCheck::decode(&[]), TimerCheck::default());
    }
}
