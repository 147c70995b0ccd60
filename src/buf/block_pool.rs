//! A fixed set of equal blocks in one region: scratch for partial-block writes and for file reads.
//!
//! Taken blocks are named by index, so the owner of an operation in flight holds a number, not a borrow.

use crate::region::Region;
use std::io;

/// Index of a block; returned exactly once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockId(pub u16);

/// `count` blocks of `block_bytes` each.
pub struct BlockPool {
    region: Region,
    block_bytes: usize,
    free: Vec<BlockId>,
    count: u16,
}

impl BlockPool {
    /// Maps the blocks; all are free.
    pub fn new(count: u16, block_bytes: usize) -> io::Result<BlockPool> {
        assert!(count > 0 && block_bytes > 0, "a pool has blocks");
        let region = Region::new(usize::from(count) * block_bytes)?;
        Ok(BlockPool { region, block_bytes, free: (0..count).rev().map(BlockId).collect(), count })
    }

    /// Takes a free block, or `None`: the caller waits for a completion.
    pub fn take(&mut self) -> Option<BlockId> {
        self.free.pop()
    }

    /// Returns a block whose operation has completed.
    pub fn give(&mut self, block: BlockId) {
        assert!(block.0 < self.count, "block {} of a pool of {}", block.0, self.count);
        assert!(self.free.len() < usize::from(self.count), "a block was returned twice");
        self.free.push(block);
    }

    /// Blocks that can be taken now.
    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Size of each block in bytes.
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// The block's bytes.
    pub fn bytes(&self, block: BlockId) -> &[u8] {
        self.region.slice(usize::from(block.0) * self.block_bytes, self.block_bytes)
    }

    /// The block's bytes, writable; only before the block is given to the kernel.
    pub fn bytes_mut(&mut self, block: BlockId) -> &mut [u8] {
        self.region.slice_mut(usize::from(block.0) * self.block_bytes, self.block_bytes)
    }

    /// The whole memory, for registration.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Offset of the block inside the region, in bytes.
    pub fn offset(&self, block: BlockId) -> usize {
        usize::from(block.0) * self.block_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_distinct_and_come_back() {
        let mut pool = BlockPool::new(2, 4096).unwrap();
        let a = pool.take().unwrap();
        let b = pool.take().unwrap();
        assert_ne!(a, b);
        assert_eq!(pool.take(), None);
        pool.bytes_mut(a)[0] = 1;
        pool.bytes_mut(b)[0] = 2;
        assert_eq!((pool.bytes(a)[0], pool.bytes(b)[0]), (1, 2));
        pool.give(a);
        assert_eq!(pool.take(), Some(a));
    }

    #[test]
    #[should_panic(expected = "returned twice")]
    fn a_block_returned_twice_is_a_bug() {
        let mut pool = BlockPool::new(1, 4096).unwrap();
        let block = pool.take().unwrap();
        pool.give(block);
        pool.give(block);
    }
}
