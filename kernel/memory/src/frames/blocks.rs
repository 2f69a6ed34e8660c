//! Blocks: 512 frames that lie together, aligned, for memory that is mapped by one entry.

use core::ptr;

/// Bytes of a block.
pub const BLOCK_SIZE: u64 = 2 << 20;

/// A block of memory, mapped at its physical address, owned by whoever holds this.
#[derive(Debug, PartialEq, Eq)]
pub struct Block(u64);

impl Block {
    pub(super) fn new(address: u64) -> Self {
        Self(address)
    }

    /// Gives up the token but keeps the block; its physical address. [`Block::from_address`] takes
    /// it back.
    pub fn into_address(self) -> u64 {
        self.0
    }

    /// Takes back a block.
    ///
    /// # Safety
    /// The address came from [`Block::into_address`] and has not been taken back since.
    pub unsafe fn from_address(address: u64) -> Self {
        Self(address)
    }

    /// Fills the block with zeroes.
    pub fn zero(&mut self) {
        self.bytes_mut().fill(0);
    }

    /// The block's bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the token is the only owner of this mapped memory, and any bytes are valid.
        unsafe { core::slice::from_raw_parts_mut(self.0 as *mut u8, BLOCK_SIZE as usize) }
    }
}

/// Blocks that were given back; the first word of each holds the address of the next.
pub(super) struct Blocks(u64);

impl Blocks {
    pub(super) const fn new() -> Self {
        Self(0)
    }

    pub(super) fn push(&mut self, block: Block) {
        // SAFETY: free memory, mapped and aligned, the list's from here on.
        unsafe { ptr::write(block.0 as *mut u64, self.0) };
        self.0 = block.0;
    }

    pub(super) fn pop(&mut self) -> Option<u64> {
        if self.0 == 0 {
            return None;
        }
        let address = self.0;
        // SAFETY: written by `push`; nobody has used the block since.
        self.0 = unsafe { ptr::read(address as *const u64) };
        Some(address)
    }
}
