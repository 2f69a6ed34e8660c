//! Metadata: cells in chunks of fifty that belong to one class for as long as it has objects, and
//! zspage descriptors of 32 to 96 bytes.
//!
//! Both grow by a frame at a time and are shared by all classes, so that a class with three objects
//! costs a quarter of a kilobyte and no more.

use crate::{
    cell::{Cell, LEAST_LOCATION},
    handle::{CELL_BITS, Key, LEAF_BITS, SLOT_BITS},
    memory::{Directory, FANOUT, MOST_LEAVES, Overlay, Supply},
    platform::{PAGE_SIZE, Platform},
    postponed::Postponed,
    sync::{Apart, AtomicU8, AtomicU32, AtomicU64, Lock, Ordering},
    zspage::{Descriptor, Footprint, MOST_UNITS, NO_ZSPAGE, OBJECT_BITS, State, UNIT_BITS},
};

/// Cells in a chunk.
pub(crate) const CHUNK_CELLS: usize = 50;
const CHUNKS: usize = 16;
const CELLS: usize = CHUNKS * CHUNK_CELLS;
/// No cell: its slot is none of the eight hundred.
pub(crate) const NO_CELL: u32 = (1 << CELL_BITS) - 1;
/// No chunk.
pub(crate) const NO_CHUNK: u32 = u32::MAX;

/// A frame of cells.
#[repr(C, align(4096))]
pub(crate) struct Cells {
    words: [AtomicU32; CELLS],
    generations: [AtomicU8; CELLS],
    /// For each chunk the next one of its class.
    next: [AtomicU32; CHUNKS],
}

const _: () = assert!(size_of::<Cells>() == PAGE_SIZE && CELLS <= 1 << SLOT_BITS);
const _: () = assert!(MOST_LEAVES == 1 << LEAF_BITS);

// SAFETY: one page of atomics.
unsafe impl Overlay for Cells {}

const UNITS: u32 = 512;

/// A frame of descriptor units, 8 bytes each.
#[repr(C, align(4096))]
pub(crate) struct Units(pub(crate) [AtomicU64; UNITS as usize]);

// SAFETY: one page of atomics.
unsafe impl Overlay for Units {}

/// Frames of descriptors: the last one's numbers mean "none" elsewhere.
const MOST_UNIT_LEAVES: u32 = (1 << UNIT_BITS) / UNITS - 1;
const _: () = assert!((MOST_UNIT_LEAVES as usize) < MOST_LEAVES);
/// The first frame of descriptors: with those before it, locations could be taken for words of free
/// cells.
const FIRST_UNIT_LEAF: u32 = (LEAST_LOCATION >> OBJECT_BITS) / UNITS;
const _: () = assert!((FIRST_UNIT_LEAF * UNITS) << OBJECT_BITS == LEAST_LOCATION);

/// What is free of the metadata; guarded by the innermost lock.
pub(crate) struct Arena {
    cell_leaves: u32,
    next_chunk: u32,
    /// Chunks that classes gave up.
    free_chunk: u32,
    unit_leaves: u32,
    next_unit: u32,
    /// Free runs of units by their length.
    free_units: [u32; MOST_UNITS + 1],
}

/// The metadata of a pool and the platform that its frames come from. What every operation reads
/// comes first.
#[repr(C)]
pub(crate) struct Store<P> {
    cells: Directory<Cells>,
    units: Directory<Units>,
    pub(crate) platform: P,
    arena: Apart<Lock<Arena>>,
    pub(crate) hints: Hints,
    pub(crate) postponed: Postponed,
}

/// There is a free object.
pub(crate) const WANTS_NOTHING: u8 = 0;
/// The growing zspage may have one more page.
pub(crate) const WANTS_PAGE: u8 = 1;
/// A zspage must be begun.
pub(crate) const WANTS_ZSPAGE: u8 = 2;

/// What is said about classes to those who do not hold their locks. Written where it changes; who
/// follows a hint takes the lock.
pub(crate) struct Hints {
    /// A bit for each class that has free objects to spare.
    rooms: [AtomicU64; 4],
    /// How many classes those are.
    offers: AtomicU32,
    /// The class in which a compaction was begun last.
    compacted: AtomicU8,
    /// For each class what its next object wants.
    wants: [AtomicU8; 256],
}

impl Hints {
    fn new() -> Self {
        Self {
            rooms: [const { AtomicU64::new(0) }; 4],
            offers: AtomicU32::new(0),
            compacted: AtomicU8::new(u8::MAX),
            wants: [const { AtomicU8::new(WANTS_ZSPAGE) }; 256],
        }
    }

    /// Says whether a class has room to spare, where that changes; its lock is held.
    pub(crate) fn set_room(&self, index: u8, room: bool) {
        let (word, bit) = (&self.rooms[usize::from(index) / 64], 1 << (index % 64));
        // Relaxed throughout: hints. Rare, so read-modify-writes will do.
        if room {
            word.fetch_or(bit, Ordering::Relaxed);
            self.offers.fetch_add(1, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
            self.offers.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether any class seems to have free objects to spare.
    #[inline]
    pub(crate) fn any_room(&self) -> bool {
        // Relaxed: a hint.
        self.offers.load(Ordering::Relaxed) != 0
    }

    /// First class from `from` to `to`, less than 256, that seems to have free objects to spare.
    #[inline]
    pub(crate) fn room(&self, from: usize, to: usize) -> Option<usize> {
        let mut place = from / 64;
        let mut mask = u64::MAX << (from % 64);
        while place <= to / 64 {
            // Relaxed: a hint.
            let bits = self.rooms[place].load(Ordering::Relaxed) & mask;
            if bits != 0 {
                return Some(place * 64 + bits.trailing_zeros() as usize)
                    .filter(|&found| found <= to);
            }
            (place, mask) = (place + 1, u64::MAX);
        }
        None
    }

    /// Says in which class compaction begins. Classes are gone through one after the other, and a
    /// class is done before the next one is begun: so this is the only one in which a compaction
    /// may have been left off.
    pub(crate) fn set_compacted(&self, index: u8) {
        // Relaxed: a hint.
        self.compacted.store(index, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_compacted(&self, index: u8) -> bool {
        // Relaxed: a hint.
        self.compacted.load(Ordering::Relaxed) == index
    }

    #[inline]
    pub(crate) fn set_wants(&self, index: u8, what: u8) {
        // Relaxed: a hint.
        self.wants[usize::from(index)].store(what, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn wants(&self, index: u8) -> u8 {
        // Relaxed: a hint.
        self.wants[usize::from(index)].load(Ordering::Relaxed)
    }
}

/// Asked for metadata while none was at hand: fill the supply without a lock and ask again.
pub(crate) struct Wanting;

impl<P: Platform> Store<P> {
    pub(crate) fn new(platform: P) -> Self {
        let arena = Arena {
            cell_leaves: 0,
            next_chunk: 0,
            free_chunk: NO_CHUNK,
            unit_leaves: FIRST_UNIT_LEAF,
            next_unit: FIRST_UNIT_LEAF * UNITS,
            free_units: [NO_ZSPAGE; MOST_UNITS + 1],
        };
        Self {
            platform,
            cells: Directory::new(),
            units: Directory::new(),
            arena: Apart(Lock::new(arena)),
            hints: Hints::new(),
            postponed: Postponed::none(),
        }
    }

    /// The cell that a handle names, if there is one. Whose it is, only the object behind it says.
    #[inline]
    pub(crate) fn cell_of(&self, key: Key) -> Option<Cell<'_>> {
        let leaf = self.cells.get(key.leaf())?;
        let slot = key.slot();
        Some(Cell { word: leaf.words.get(slot)?, generation: leaf.generations.get(slot)? })
    }

    /// A cell that the caller found in its class's own lists.
    #[inline]
    pub(crate) fn cell(&self, cell: u32) -> Cell<'_> {
        let slot = ((cell >> LEAF_BITS) % (1 << SLOT_BITS)) as usize;
        // SAFETY: a class's lists name only chunks that were pushed, and are guarded by its lock.
        let leaf = unsafe { self.cells.get_known_at(cell as usize / FANOUT, cell as usize) };
        match (leaf.words.get(slot), leaf.generations.get(slot)) {
            (Some(word), Some(generation)) => Cell { word, generation },
            _ => corrupt(),
        }
    }

    /// Words of a chunk's cells and the class's next chunk.
    pub(crate) fn chunk_words(&self, index: u32) -> (&[AtomicU32], u32) {
        let (leaf, first) = self.chunk(index);
        let words = leaf.words.get(first..first + CHUNK_CELLS).unwrap_or(&[]);
        // Relaxed: the link is written under the class lock, which the caller holds or held after
        // the chunk joined.
        (words, leaf.next[index as usize % CHUNKS].load(Ordering::Relaxed))
    }

    /// The frame of a chunk of a class's list, and the chunk's first slot in it.
    fn chunk(&self, index: u32) -> (&Cells, usize) {
        // SAFETY: chunks are only named after their frame was pushed, and by lists that a lock
        // guards.
        let leaf = unsafe { self.cells.get_known(index as usize / CHUNKS) };
        (leaf, index as usize % CHUNKS * CHUNK_CELLS)
    }

    /// A chunk whose cells are free, one that was used before if there is one. Returns the chunk.
    pub(crate) fn new_chunk(
        &self,
        pinned: &P::Pinned<'_>,
        supply: &mut Supply,
    ) -> Result<u32, Wanting> {
        let mut arena = self.arena.0.lock(pinned);
        if arena.free_chunk != NO_CHUNK {
            let chunk = arena.free_chunk;
            arena.free_chunk = self.next_chunk(chunk).load(Ordering::Relaxed);
            return Ok(chunk);
        }
        if arena.next_chunk as usize == arena.cell_leaves as usize * CHUNKS {
            self.cells
                .push(&self.platform, arena.cell_leaves as usize, supply)
                .map_err(|_| Wanting)?;
            arena.cell_leaves += 1;
        }
        arena.next_chunk += 1;
        Ok(arena.next_chunk - 1)
    }

    /// Takes back chunks of a class without objects, from the first to the last as they are linked.
    /// The cells keep their generations, so handles of the class stay stale whichever class has the
    /// cells next.
    pub(crate) fn free_chunks(&self, pinned: &P::Pinned<'_>, first: u32, last: u32) {
        let mut arena = self.arena.0.lock(pinned);
        self.next_chunk(last).store(arena.free_chunk, Ordering::Relaxed);
        arena.free_chunk = first;
    }

    /// The chunk behind a chunk.
    // Relaxed wherever it is used: guarded by the lock of the class that has the chunk, or by the
    // arena's.
    fn next_chunk(&self, chunk: u32) -> &AtomicU32 {
        let (leaf, _) = self.chunk(chunk);
        &leaf.next[chunk as usize % CHUNKS]
    }

    /// Puts a fresh chunk in front of its class's chunks and free cells, under the class lock.
    /// Returns its first cell.
    pub(crate) fn join_chunk(&self, index: u32, next_chunk: u32, next_cell: u32) -> u32 {
        let (leaf, first) = self.chunk(index);
        // Relaxed throughout: guarded by the class lock.
        leaf.next[index as usize % CHUNKS].store(next_chunk, Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, reason = "a slot is less than 800")]
        let base = (index as usize / CHUNKS) as u32 + ((first as u32) << LEAF_BITS);
        let mut cell = base;
        for word in leaf.words.iter().skip(first).take(CHUNK_CELLS) {
            cell += 1 << LEAF_BITS;
            word.store(cell, Ordering::Relaxed);
        }
        if let Some(last) = leaf.words.get(first + CHUNK_CELLS - 1) {
            last.store(next_cell, Ordering::Relaxed);
        }
        base
    }

    /// Descriptor `unit`.
    #[inline]
    pub(crate) fn descriptor(&self, unit: u32) -> Descriptor<'_> {
        // SAFETY: units are only named by cells and lists, which learned of them after they were
        // pushed.
        let units = unsafe { self.units.get_known((unit / UNITS) as usize) };
        Descriptor::at(units, unit % UNITS)
    }

    /// The descriptor of the zspage that an object lies in.
    #[inline]
    pub(crate) fn descriptor_at(&self, location: u32) -> Descriptor<'_> {
        const LEAF_SHIFT: u32 = OBJECT_BITS + UNITS.trailing_zeros();
        const ROOT_SHIFT: u32 = LEAF_SHIFT + FANOUT.trailing_zeros();
        // Both indexes straight from the location: so each is cut out of it by one instruction.
        let (root, leaf) = (location >> ROOT_SHIFT, location >> LEAF_SHIFT);
        // SAFETY: as in `descriptor`.
        let units = unsafe { self.units.get_known_at(root as usize, leaf as usize) };
        Descriptor::at(units, location >> OBJECT_BITS)
    }

    // A free run of units holds the next one of its length in its first word.

    fn pop_run(&self, arena: &mut Arena, units: u32) -> Option<u32> {
        let run = arena.free_units[units as usize];
        if run == NO_ZSPAGE {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "written by `push_run`")]
        {
            arena.free_units[units as usize] = self.descriptor(run).state().0 as u32;
        }
        Some(run)
    }

    fn push_run(&self, arena: &mut Arena, run: u32, units: u32) {
        let next = arena.free_units[units as usize];
        self.descriptor(run).set_state(State(u64::from(next)));
        arena.free_units[units as usize] = run;
    }

    /// Room for a descriptor.
    pub(crate) fn new_descriptor(
        &self,
        pinned: &P::Pinned<'_>,
        footprint: Footprint,
        supply: &mut Supply,
    ) -> Result<u32, Wanting> {
        let Footprint { units, below } = footprint;
        let mut arena = self.arena.0.lock(pinned);
        if let Some(run) = self.pop_run(&mut arena, units) {
            return Ok(run + below);
        }
        // A descriptor lies in one frame; what is left of the last one goes to the free runs.
        let left = arena.unit_leaves * UNITS - arena.next_unit;
        if left < units {
            if arena.unit_leaves == MOST_UNIT_LEAVES {
                return Err(Wanting);
            }
            self.units
                .push(&self.platform, arena.unit_leaves as usize, supply)
                .map_err(|_| Wanting)?;
            arena.unit_leaves += 1;
            if left > 0 {
                let run = arena.next_unit;
                self.push_run(&mut arena, run, left);
                arena.next_unit += left;
            }
        }
        arena.next_unit += units;
        Ok(arena.next_unit - units + below)
    }

    /// Takes back descriptors that no list holds any more, under one lock.
    pub(crate) fn free_descriptors(
        &self,
        pinned: &P::Pinned<'_>,
        descriptors: impl Iterator<Item = (u32, Footprint)>,
    ) {
        let mut arena = self.arena.0.lock(pinned);
        for (unit, Footprint { units, below }) in descriptors {
            self.push_run(&mut arena, unit - below, units);
        }
    }

    /// Frames that hold cells, descriptors and their directories.
    pub(crate) fn frames(&self, pinned: &P::Pinned<'_>) -> usize {
        let arena = self.arena.0.lock(pinned);
        let (cells, units) = (arena.cell_leaves as usize, arena.unit_leaves as usize);
        frames_for(0, cells) + frames_for(FIRST_UNIT_LEAF as usize, units)
    }

    /// Gives every metadata frame back.
    pub(crate) fn dismantle(&mut self) {
        self.cells.dismantle(&self.platform);
        self.units.dismantle(&self.platform);
        let arena = self.arena.0.get_mut();
        (arena.cell_leaves, arena.unit_leaves) = (0, FIRST_UNIT_LEAF);
    }
}

/// Leaves `first` to `end`, not including it, and the directories' frames above them.
fn frames_for(first: usize, end: usize) -> usize {
    let directories = if end > first { end.div_ceil(FANOUT) - first / FANOUT } else { 0 };
    end - first + directories
}

/// The pool's own lists name something that does not exist: going on would hand out memory that is
/// in use.
#[cold]
#[inline(never)]
fn corrupt() -> ! {
    panic!("zsmalloc: the pool's metadata was overwritten")
}
