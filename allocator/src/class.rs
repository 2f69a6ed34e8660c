//! A size class: its zspages by fullness, its free cells, and what it counts. All of it is guarded
//! by the class's lock.
//!
//! Objects are taken from one zspage, the `source`: the first of the fullest that has room, or else
//! the one that grows. It is chosen anew only where a list changes, so an ordinary take asks no
//! list.

mod batch;
mod free;
mod grow;
mod huge;
mod isolate;
mod leave;
mod lists;
mod shrink;
mod take;

pub(crate) use batch::Notes;
pub(crate) use huge::Leaving;

use crate::{
    cell::{LEAST_LOCATION, OPEN, Refused},
    error::Error,
    handle::{Base, Key},
    platform::Platform,
    size_class::{CLASSES, chain, class_size},
    store::{NO_CELL, NO_CHUNK, Store},
    sync::Ordering,
    zspage::{FIRST_PARTIAL, FULL, GROWING, HUGE, LAST_PARTIAL, NO_ZSPAGE, VICTIMS, parts},
};

/// Lists of a class: those of the groups that have room, and the victims'.
const LISTS: usize = VICTIMS + 1 - FIRST_PARTIAL;
/// The lists of groups that have room.
const PARTIAL: u32 = (1 << (LAST_PARTIAL + 1 - FIRST_PARTIAL)) - 1;
/// Bytes of free objects from which on a class lets smaller ones have some.
const SPARE: usize = 8192;

/// State of a class.
pub(crate) struct Class {
    /// Class and pool, as in handles.
    base: Base,
    /// Bit `i`: `lists[i]` is not empty.
    lists_used: u32,
    /// First zspage of each list, from that of the fullest group with room on.
    lists: [u32; LISTS],
    free_cell: u32,
    pub(crate) chunks: u32,
    /// The last one of the chunks.
    last_chunk: u32,
    /// Live objects.
    pub(crate) objects: u32,
    pub(crate) zspages: u32,
    pub(crate) pages: u32,
    /// Whether smaller classes may take objects of this one.
    offers: bool,
    /// Free objects that are [`SPARE`] bytes.
    spare: u16,
    /// Zspage that objects are taken from; `NO_ZSPAGE` if none has room.
    source: u32,
    /// Zspage that takes the next page; `NO_ZSPAGE` if a new one must be begun.
    growing: u32,
    /// Most pages of a zspage.
    chain: u8,
    /// Zspage that compaction packs to its front, objects from `cut` on being moved.
    pub(crate) shrinking: u32,
    pub(crate) cut: u32,
    /// Objects from `cut` on that are still in use.
    pub(crate) beyond: u32,
    /// Number of objects at which the class is split.
    pub(crate) split_at: u32,
    /// Objects that the pages so far can hold.
    pub(crate) capacity: u32,
    /// Chunk at which compaction goes on; `NO_CHUNK` if none is under way.
    pub(crate) sweep: u32,
    /// Cells of that chunk that were looked at.
    pub(crate) swept: u8,
    /// Times that the lock was taken for a batch of deferred frees.
    pub(crate) batches: u64,
    /// Objects moved by compaction.
    pub(crate) moved: u64,
    /// Pages that compaction gave back.
    pub(crate) compacted: u64,
}

const _: () = assert!(size_of::<crate::sync::Lock<Class>>() <= 128);

impl Class {
    pub(crate) fn new(base: Base, most: usize) -> Self {
        let index = usize::from(Key(base.word()).class());
        Self {
            base,
            lists_used: 0,
            lists: [NO_ZSPAGE; LISTS],
            free_cell: NO_CELL,
            chunks: NO_CHUNK,
            last_chunk: NO_CHUNK,
            objects: 0,
            zspages: 0,
            pages: 0,
            offers: false,
            #[expect(clippy::cast_possible_truncation, reason = "at most 256")]
            spare: SPARE.div_ceil(class_size(index)) as u16,
            source: NO_ZSPAGE,
            growing: NO_ZSPAGE,
            #[expect(clippy::cast_possible_truncation, reason = "at most 16")]
            chain: if index < CLASSES { chain(index, most) as u8 } else { 1 },
            shrinking: NO_ZSPAGE,
            cut: 0,
            beyond: 0,
            split_at: u32::MAX,
            capacity: 0,
            sweep: NO_CHUNK,
            swept: 0,
            batches: 0,
            moved: 0,
            compacted: 0,
        }
    }

    #[inline]
    fn index(&self) -> u8 {
        Key(self.base.word()).class()
    }

    #[inline]
    pub(crate) fn size(&self) -> usize {
        class_size(self.index().into())
    }

    #[inline]
    pub(crate) fn has_cell(&self) -> bool {
        self.free_cell != NO_CELL
    }

    /// Joins a fresh chunk of cells.
    pub(crate) fn add_chunk<P: Platform>(&mut self, store: &Store<P>, chunk: u32) {
        if self.chunks == NO_CHUNK {
            self.last_chunk = chunk;
        }
        self.free_cell = store.join_chunk(chunk, self.chunks, self.free_cell);
        self.chunks = chunk;
    }

    /// Whether there are cells to give up.
    #[inline]
    pub(crate) fn has_chunks_to_leave(&self) -> bool {
        self.chunks != self.last_chunk
    }

    /// Gives up the cells of a class without objects: the first and the last of its chunks. A
    /// single chunk is kept, for a class that has a few objects every now and then. Nobody may be
    /// in the middle of a sweep over the cells.
    pub(crate) fn leave_chunks(&mut self) -> Option<(u32, u32)> {
        if self.objects != 0 || !self.has_chunks_to_leave() {
            return None;
        }
        self.free_cell = NO_CELL;
        self.sweep = NO_CHUNK;
        let first = core::mem::replace(&mut self.chunks, NO_CHUNK);
        Some((first, core::mem::replace(&mut self.last_chunk, NO_CHUNK)))
    }

    /// First zspage of a list.
    pub(crate) fn first(&self, list: usize) -> u32 {
        self.lists[list - FIRST_PARTIAL]
    }

    /// Takes every zspage out of the class: for teardown.
    pub(crate) fn pop_zspages<P: Platform>(&mut self, store: &Store<P>, leaving: &mut Leaving) {
        self.stop_growing(store);
        while let Some(unit) = self.lists.iter().copied().find(|&unit| unit != NO_ZSPAGE) {
            self.pop(store, unit, leaving);
        }
        // What is full is on no list, but every object of it has a cell.
        self.each_location(store, |class, at| {
            let (unit, _) = parts(at);
            let has_zspage = at & HUGE == 0 && unit != NO_ZSPAGE;
            if has_zspage && store.descriptor(unit).state().list() == FULL {
                class.pop(store, unit, leaving);
            }
        });
    }

    fn pop<P: Platform>(&mut self, store: &Store<P>, unit: u32, leaving: &mut Leaving) {
        let descriptor = store.descriptor(unit);
        let state = descriptor.state();
        self.forget(store, unit, descriptor, state);
        // On no list any more, nor full: so it is not met again through its other objects.
        descriptor.set_state(state.with_list(GROWING));
        descriptor.set_next(leaving.zspage);
        leaving.zspage = unit;
    }

    /// Shows where each object lies, whether it is open or not, which it stays if its view was
    /// forgotten: for teardown.
    fn each_location<P: Platform>(
        &mut self,
        store: &Store<P>,
        mut visit: impl FnMut(&mut Self, u32),
    ) {
        let mut chunk = self.chunks;
        while chunk != NO_CHUNK {
            let (words, next) = store.chunk_words(chunk);
            // Relaxed: nobody else uses the pool. A free cell's word is less than any location.
            let words = words.iter().map(|word| word.load(Ordering::Relaxed) & !OPEN);
            words.filter(|&at| at >= LEAST_LOCATION).for_each(|at| visit(self, at));
            chunk = next;
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Stale => Self::StaleHandle,
            Refused::Busy => Self::Busy,
        }
    }
}
