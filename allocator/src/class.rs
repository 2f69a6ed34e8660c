//! A size class: its zspages by fullness, its free cells, and what it counts. All of it is guarded by the class's lock.
//!
//! Objects are taken from one zspage, the `source`: the first of the fullest that has room, or else the one that grows. It is chosen
//! anew only where a list changes, so an ordinary take asks no list.

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
    cell::Refused,
    error::Error,
    handle::{Base, Key},
    platform::Platform,
    size_class::{CLASSES, chain, class_size},
    store::{NO_CELL, NO_CHUNK, Store},
    zspage::{FIRST_PARTIAL, LAST_PARTIAL, NO_ZSPAGE, VICTIMS},
};

pub(crate) const LISTS: usize = VICTIMS + 1;
const PARTIAL: u32 = (1 << (LAST_PARTIAL + 1)) - (1 << FIRST_PARTIAL);

/// State of a class.
pub(crate) struct Class {
    /// Class and pool, as in handles.
    base: Base,
    /// Bit `i`: list `i` is not empty.
    lists_used: u32,
    lists: [u32; LISTS],
    free_cell: u32,
    pub(crate) chunks: u32,
    /// Live objects.
    pub(crate) objects: u32,
    pub(crate) zspages: u32,
    pub(crate) pages: u32,
    /// Whether smaller classes may take objects of this one.
    offers: bool,
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
            objects: 0,
            zspages: 0,
            pages: 0,
            offers: false,
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
        self.free_cell = store.join_chunk(chunk, self.chunks, self.free_cell);
        self.chunks = chunk;
    }

    /// First zspage of a list.
    pub(crate) fn first(&self, list: usize) -> u32 {
        self.lists[list]
    }

    /// Takes any zspage out of every count and list: for teardown.
    pub(crate) fn pop_any<P: Platform>(&mut self, store: &Store<P>) -> Option<u32> {
        self.stop_growing(store);
        let list = (0..LISTS).find(|&list| self.lists[list] != NO_ZSPAGE)?;
        let unit = self.lists[list];
        let descriptor = store.descriptor(unit);
        self.forget(store, unit, descriptor, descriptor.state());
        Some(unit)
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
