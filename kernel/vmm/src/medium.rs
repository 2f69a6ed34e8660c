//! A swap device with its memory: a block with the slot table and working memory in it, and one for
//! what a large table has beside it.

use core::sync::atomic::{AtomicU32, AtomicU64};

use bale_core::vm_description::{LARGEST_CHECKED_SWAP, LARGEST_SWAP};
use bale_swap::{Scratch, Setup, Tables};

use super::workspace::SCRATCH;
use super::{StartError, SwapDevice};
use bale_memory::frames::{self, Block};
use bale_memory::{Arena, PAGE_SIZE};
use bale_reclaim::pool;

/// Room for all but the tables: for the device, and for what its user places there, which is four
/// times working memory and as many pages at most.
const BESIDE: usize = 5 * (size_of::<Scratch>() + 2 * PAGE_SIZE);

// The largest disks of descriptions fit: words of slots in one block, notes and checksums in
// another, and the rest beside either.
const _: () = {
    let block = frames::BLOCK_SIZE as usize;
    let (most, checked) =
        (LARGEST_SWAP as usize / PAGE_SIZE, LARGEST_CHECKED_SWAP as usize / PAGE_SIZE);
    assert!(most * 8 <= block && most * 4 + BESIDE <= block);
    assert!(checked * 12 <= block && checked * 8 + BESIDE <= block);
};

/// A swap device and the memory it lies in.
pub(super) struct Medium {
    blocks: Blocks,
    pub(super) device: &'static SwapDevice,
}

/// What one user of it at a time works with: a codec's memory, and a page on its way.
pub(super) struct WorkingMemory {
    pub(super) scratch: &'static mut Scratch,
    pub(super) page: &'static mut [u8; PAGE_SIZE],
}

impl WorkingMemory {
    /// One in an arena.
    pub(super) fn place(arena: &mut Arena) -> Option<Self> {
        Some(Self {
            scratch: arena.place_copy(&*SCRATCH.read())?,
            page: arena.place([0; PAGE_SIZE])?,
        })
    }
}

impl Medium {
    /// A device of so many slots, and what `beside` places in its memory, which lives as long.
    pub(super) fn new<T>(
        slots: usize,
        checksum: bool,
        setup: Setup,
        beside: impl FnOnce(&mut Arena) -> Option<T>,
    ) -> Result<(Self, T), StartError> {
        let (mut blocks, mut arena) = Blocks::new()?;
        let place = || {
            let words = arena.place_each(slots, || AtomicU64::new(0))?;
            let checks = if checksum { slots } else { 0 };
            let notes = slots * 4 + checks * 8;
            let mut second =
                if arena.left() < BESIDE + notes { Some(blocks.second()?) } else { None };
            let other = second.as_mut().unwrap_or(&mut arena);
            let tables = Tables {
                slots: words,
                notes: other.place_each(slots, || AtomicU32::new(0))?,
                checks: other.place_each(checks, || AtomicU64::new(0))?,
            };
            // What is left is in either, by how large the tables are.
            let roomier =
                second.as_mut().filter(|second| second.left() > arena.left()).unwrap_or(&mut arena);
            let more = beside(roomier)?;
            Some((roomier.place(SwapDevice::new(pool::pool(), tables, setup))?, more))
        };
        match place() {
            Some((device, more)) => Ok((Self { blocks, device }, more)),
            None => {
                blocks.release();
                Err(StartError::SwapTooLarge)
            }
        }
    }

    /// Gives up what the device holds; how many slots held something.
    pub(super) fn empty(&self) -> usize {
        // The range is the device's own, so it cannot be refused.
        self.device.release(0, self.device.slots()).unwrap_or(0)
    }

    /// Gives its memory back.
    pub(super) fn release(self) {
        self.blocks.release();
    }
}

/// Addresses of the blocks of a device.
struct Blocks(heapless::Vec<u64, 2>);

impl Blocks {
    /// One block, and the arena over it.
    fn new() -> Result<(Self, Arena), StartError> {
        let mut blocks = Self(heapless::Vec::new());
        let arena = blocks.second().ok_or(StartError::OutOfMemory)?;
        Ok((blocks, arena))
    }

    /// A further block.
    fn second(&mut self) -> Option<Arena> {
        let (arena, address) = Arena::in_block(bale_rt::blocks::allocate_block()?);
        // There is room for two, and a device takes no more.
        self.0.push(address).ok()?;
        Some(arena)
    }

    fn release(self) {
        for address in self.0 {
            // SAFETY: taken in `second`, and nobody refers to anything in it any more: the
            // machine's status has forgotten the device, and those who used it have been waited
            // for.
            frames::release_block(unsafe { Block::from_address(address) });
        }
    }
}
