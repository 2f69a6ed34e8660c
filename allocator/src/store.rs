//! Metadata: cells in chunks of fifty that belong to one class, and zspage descriptors of 16 to 80 bytes.
//!
//! Both grow by a frame at a time and are shared by all classes, so that a class with three objects costs a quarter
//! of a kilobyte and no more.

use crate::{
    cell::{Cell, LOCKED},
    error::Error,
    handle::{CELL_BITS, Key},
    memory::{Directory, MOST_LEAVES, Overlay, Supply},
    platform::{PAGE_SIZE, Platform},
    sync::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Lock, Ordering},
    zspage::{Descriptor, UNIT_BITS, units_for},
};

/// Cells in a chunk.
pub(crate) const CHUNK_CELLS: u32 = 50;
const SLOT_BITS: u32 = 6;
const CHUNK_BITS: u32 = CELL_BITS - SLOT_BITS;
/// No cell: its slot is none of the fifty.
pub(crate) const NO_CELL: u32 = (1 << CELL_BITS) - 1;
/// No chunk; also what the header's link says at the end of a class's chunks.
pub(crate) const NO_CHUNK: u32 = (1 << CHUNK_BITS) - 1;

/// 256 bytes: cells of one class.
#[repr(C, align(256))]
pub(crate) struct Chunk {
    /// Next chunk of the class.
    next: AtomicU32,
    cells: [AtomicU32; CHUNK_CELLS as usize],
    generations: [AtomicU8; CHUNK_CELLS as usize],
    /// Class and pool, as in a handle; zero as long as the chunk has no class.
    owner: AtomicU16,
}

const CHUNKS: usize = PAGE_SIZE / size_of::<Chunk>();
const _: () = assert!(size_of::<Chunk>() == 256);
const _: () = assert!(MOST_LEAVES * CHUNKS == 1 << CHUNK_BITS);

/// A frame of chunks.
#[repr(transparent)]
pub(crate) struct Chunks([Chunk; CHUNKS]);

// SAFETY: one page of atomics.
unsafe impl Overlay for Chunks {}

/// A frame of descriptor units, 16 bytes each.
#[repr(C, align(4096))]
pub(crate) struct Units(pub(crate) [AtomicU32; PAGE_SIZE / 4]);

// SAFETY: one page of atomics.
unsafe impl Overlay for Units {}

const UNITS: u32 = 256;
const UNIT_SIZES: usize = 5;
const NO_UNIT: u32 = (1 << UNIT_BITS) - 1;
const _: () = assert!(MOST_LEAVES * UNITS as usize == 1 << UNIT_BITS);

/// What is free of the metadata; guarded by the innermost lock.
pub(crate) struct Arena {
    chunk_leaves: u32,
    next_chunk: u32,
    unit_leaves: u32,
    next_unit: u32,
    free_units: [u32; UNIT_SIZES],
}

/// The metadata of a pool and the platform that its frames come from.
pub(crate) struct Store<P> {
    pub(crate) platform: P,
    chunks: Directory<Chunks>,
    units: Directory<Units>,
    arena: Lock<Arena>,
    /// A bit for each class that has free objects to spare: a hint, written where that changes.
    rooms: [AtomicU64; 4],
}

/// Asked for metadata while none was at hand: fill the supply without a lock and ask again.
pub(crate) struct Wanting;

impl<P: Platform> Store<P> {
    pub(crate) fn new(platform: P) -> Self {
        let arena = Arena {
            chunk_leaves: 0,
            next_chunk: 0,
            unit_leaves: 0,
            next_unit: 0,
            free_units: [NO_UNIT; UNIT_SIZES],
        };
        Self {
            platform,
            chunks: Directory::new(),
            units: Directory::new(),
            arena: Lock::new(arena),
            rooms: [const { AtomicU64::new(0) }; 4],
        }
    }

    /// Notes whether class `index` has free objects to spare.
    pub(crate) fn set_room(&self, index: u8, room: bool) {
        let (word, bit) = (&self.rooms[usize::from(index) / 64], 1 << (index % 64));
        // Relaxed: a hint; who follows it takes the class lock. Rare, so a read-modify-write will do.
        if room {
            word.fetch_or(bit, Ordering::Relaxed)
        } else {
            word.fetch_and(!bit, Ordering::Relaxed)
        };
    }

    /// First class from `from` to `to`, less than 256, that seems to have free objects to spare.
    #[inline]
    pub(crate) fn room(&self, from: usize, to: usize) -> Option<usize> {
        let mut place = from / 64;
        let mut mask = u64::MAX << (from % 64);
        while place <= to / 64 {
            // Relaxed: as above.
            let bits = self.rooms[place].load(Ordering::Relaxed) & mask;
            if bits != 0 {
                return Some(place * 64 + bits.trailing_zeros() as usize).filter(|&found| found <= to);
            }
            (place, mask) = (place + 1, u64::MAX);
        }
        None
    }

    #[inline]
    fn chunk(&self, index: u32) -> Option<&Chunk> {
        let index = index as usize;
        Some(&self.chunks.get(index / CHUNKS)?.0[index % CHUNKS])
    }

    /// The cell that a handle names, if this pool has such a cell in the handle's class.
    #[inline]
    pub(crate) fn cell_of(&self, key: Key) -> Result<Cell<'_>, Error> {
        let cell = key.cell();
        let chunk = self.chunk(cell >> SLOT_BITS).ok_or(Error::ForeignHandle)?;
        // Acquire: pairs with the release in `new_chunk`, behind which the cells are locked.
        if chunk.owner.load(Ordering::Acquire) != key.owner() {
            return Err(Error::ForeignHandle);
        }
        let slot = (cell % (1 << SLOT_BITS)) as usize;
        match (chunk.cells.get(slot), chunk.generations.get(slot)) {
            (Some(word), Some(generation)) => Ok(Cell { word, generation }),
            _ => Err(Error::ForeignHandle),
        }
    }

    /// A cell that the caller found in its class's own lists.
    #[inline]
    pub(crate) fn cell(&self, cell: u32) -> Cell<'_> {
        let (index, slot) = (cell >> SLOT_BITS, (cell % (1 << SLOT_BITS)) as usize);
        // SAFETY: a class's lists name only chunks that were pushed, and are guarded by its lock.
        let chunks = unsafe { self.chunks.get_known(index as usize / CHUNKS) };
        let chunk = &chunks.0[index as usize % CHUNKS];
        match (chunk.cells.get(slot), chunk.generations.get(slot)) {
            (Some(word), Some(generation)) => Cell { word, generation },
            _ => corrupt(),
        }
    }

    /// Cells of a chunk and the class's next chunk.
    pub(crate) fn chunk_cells(&self, index: u32) -> (impl Iterator<Item = Cell<'_>>, u32) {
        let Some(chunk) = self.chunk(index) else { corrupt() };
        let cells =
            chunk.cells.iter().zip(&chunk.generations).map(|(word, generation)| Cell { word, generation });
        // Relaxed: the link is written under the class lock, which the caller holds or held after the chunk joined.
        (cells, chunk.next.load(Ordering::Relaxed))
    }

    /// A fresh chunk for the class of `owner`: all cells free, linked in order, the last one to nothing. Returns the chunk and its first cell.
    pub(crate) fn new_chunk(
        &self,
        pinned: &P::Pinned<'_>,
        owner: u16,
        supply: &mut Supply,
    ) -> Result<(u32, u32), Wanting> {
        let index = {
            let mut arena = self.arena.lock(pinned);
            if arena.next_chunk as usize == arena.chunk_leaves as usize * CHUNKS {
                self.chunks.push(&self.platform, arena.chunk_leaves as usize, supply).map_err(|_| Wanting)?;
                arena.chunk_leaves += 1;
            }
            arena.next_chunk += 1;
            arena.next_chunk - 1
        };
        let Some(chunk) = self.chunk(index) else { corrupt() };
        let first = index << SLOT_BITS;
        for (cell, slot) in chunk.cells.iter().zip(first..) {
            let link = if slot + 1 == first + CHUNK_CELLS { NO_CELL } else { slot + 1 };
            // Relaxed: released by the owner.
            cell.store(LOCKED | link, Ordering::Relaxed);
        }
        // Release: pairs with the acquire in `cell_of`.
        chunk.owner.store(owner, Ordering::Release);
        Ok((index, first))
    }

    /// Puts a fresh chunk in front of its class's chunks and free cells, under the class lock.
    pub(crate) fn join_chunk(&self, index: u32, next_chunk: u32, next_cell: u32) {
        let Some(chunk) = self.chunk(index) else { corrupt() };
        // Relaxed, twice: guarded by the class lock.
        chunk.next.store(next_chunk, Ordering::Relaxed);
        if let Some(last) = chunk.cells.last() {
            last.store(LOCKED | next_cell, Ordering::Relaxed);
        }
    }

    /// Descriptor `unit`.
    #[inline]
    pub(crate) fn descriptor(&self, unit: u32) -> Descriptor<'_> {
        // SAFETY: units are only named by cells and lists, which learned of them after they were pushed.
        let units = unsafe { self.units.get_known((unit / UNITS) as usize) };
        Descriptor::at(units, unit % UNITS)
    }

    /// Room for the descriptor of a zspage of `pages` pages.
    pub(crate) fn new_descriptor(
        &self,
        pinned: &P::Pinned<'_>,
        pages: usize,
        supply: &mut Supply,
    ) -> Result<u32, Wanting> {
        let units = units_for(pages);
        let mut arena = self.arena.lock(pinned);
        let free = arena.free_units[units as usize - 1];
        if free != NO_UNIT {
            arena.free_units[units as usize - 1] = self.descriptor(free).next();
            return Ok(free);
        }
        // A descriptor lies in one frame; what is left of the last one goes to the free lists.
        let left = arena.unit_leaves * UNITS - arena.next_unit;
        if left < units {
            self.units.push(&self.platform, arena.unit_leaves as usize, supply).map_err(|_| Wanting)?;
            arena.unit_leaves += 1;
            if left > 0 {
                let unit = arena.next_unit;
                self.descriptor(unit).set_next(arena.free_units[left as usize - 1]);
                arena.free_units[left as usize - 1] = unit;
                arena.next_unit += left;
            }
        }
        arena.next_unit += units;
        Ok(arena.next_unit - units)
    }

    /// Takes back a descriptor of `pages` pages that no list holds any more.
    pub(crate) fn free_descriptor(&self, pinned: &P::Pinned<'_>, unit: u32, pages: usize) {
        let units = units_for(pages) as usize;
        let mut arena = self.arena.lock(pinned);
        self.descriptor(unit).set_next(arena.free_units[units - 1]);
        arena.free_units[units - 1] = unit;
    }

    /// Frames that hold cells, descriptors and their directories.
    pub(crate) fn frames(&self, pinned: &P::Pinned<'_>) -> usize {
        let arena = self.arena.lock(pinned);
        let (chunks, units) = (arena.chunk_leaves as usize, arena.unit_leaves as usize);
        let directories = chunks.div_ceil(crate::memory::FANOUT) + units.div_ceil(crate::memory::FANOUT);
        chunks + units + directories
    }

    /// Gives every metadata frame back.
    pub(crate) fn dismantle(&mut self) {
        self.chunks.dismantle(&self.platform);
        self.units.dismantle(&self.platform);
        let arena = self.arena.get_mut();
        (arena.chunk_leaves, arena.unit_leaves) = (0, 0);
    }
}

/// The pool's own lists name something that does not exist: going on would hand out memory that is in use.
#[cold]
#[inline(never)]
fn corrupt() -> ! {
    panic!("zsmalloc: the pool's metadata was overwritten")
}
