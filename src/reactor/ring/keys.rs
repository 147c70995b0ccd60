//! What a completion belongs to: its kind in the high byte of `user_data`, the index in that kind's table below.

const KIND_SHIFT: u32 = 56;
pub(super) const KIND_ACCEPT: u64 = 1;
pub(super) const KIND_RECEIVE: u64 = 2;
pub(super) const KIND_SEND: u64 = 3;
pub(super) const KIND_CONNECT: u64 = 4;
pub(super) const KIND_FILE: u64 = 5;
pub(super) const KIND_TIMER: u64 = 6;
pub(super) const KIND_WAKE: u64 = 7;
pub(super) const KIND_IGNORED: u64 = 8;
pub(super) const KIND_SIGNAL: u64 = 9;

pub(super) fn key(kind: u64, index: u32) -> u64 {
    kind << KIND_SHIFT | u64::from(index)
}

pub(super) fn unkey(user_data: u64) -> (u64, u32) {
    let index = user_data & u64::from(u32::MAX);
    (user_data >> KIND_SHIFT, u32::try_from(index).expect("masked to 32 bits"))
}
