//! `buf`: memory that the kernel may touch: page-aligned regions and the log window in shared memory.
//!
//! One of the two crates with `unsafe`. Invariants: a region never moves and lives as long as its owner; every
//! slice handed out is bounds-checked against the mapping; the mirrored window makes any range of up to its
//! size contiguous; a mapped file is only copied from and into. It knows nothing of rings, logs or RocketMQ. An
//! allocator that counts and prefetching are here for their `unsafe`.

pub mod block_pool;
pub mod count_alloc;
pub mod mapped_file;
pub mod prefetch;
pub mod region;
pub mod window;

/// Alignment of direct I/O: offsets, lengths and memory (a multiple of every device's logical block).
pub const BLOCK_BYTES: usize = 4096;
