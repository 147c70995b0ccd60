//! Bits of a message's `sysFlag`, and of a pull request's. Java: `MessageSysFlag`, `PullSysFlag`.

/// The client compressed the body.
pub const COMPRESSED: i32 = 0x1;
/// The topic takes several tags per message (a legacy bit).
pub const MULTI_TAGS: i32 = 0x2;
/// The two bits of the transaction type; none set means "not transactional".
pub const TRANSACTION_MASK: i32 = 0xC;
/// Transaction type: half message.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// Transaction type: committed.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// Transaction type: rolled back.
pub const TRANSACTION_ROLLBACK: i32 = 0xC;
/// The born host is IPv6.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host is IPv6.
pub const STORE_HOST_V6: i32 = 0x20;
/// The consumer must expand an inner batch.
pub const NEED_UNWRAP: i32 = 0x40;
/// The body is a whole client batch.
pub const INNER_BATCH: i32 = 0x80;
/// The compression type: 0 and 3 zlib, 1 LZ4, 2 ZSTD, each shifted by 8.
pub const COMPRESSION_TYPE_MASK: i32 = 0x700;

/// Pull: `commitOffset` of the header is to be stored.
pub const PULL_COMMIT_OFFSET: i32 = 0x1;
/// Pull: the broker may hold the request.
pub const PULL_SUSPEND: i32 = 0x2;
/// Pull: the header carries the subscription.
pub const PULL_SUBSCRIPTION: i32 = 0x4;
/// Pull: class filter (a legacy bit).
pub const PULL_CLASS_FILTER: i32 = 0x8;
/// Pull: lite pull.
pub const PULL_LITE: i32 = 0x10;

/// Whether a record with this `sysFlag` enters a consume queue: prepared and rolled-back ones do not.
pub fn is_consumable(sys_flag: i32) -> bool {
    matches!(sys_flag & TRANSACTION_MASK, 0 | TRANSACTION_COMMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_and_committed_messages_are_consumable() {
        assert!(is_consumable(0) && is_consumable(TRANSACTION_COMMIT | COMPRESSED));
        assert!(!is_consumable(TRANSACTION_PREPARED) && !is_consumable(TRANSACTION_ROLLBACK));
    }
}
