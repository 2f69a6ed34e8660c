//! A size class: its zspages by fullness, its free cells, and what it counts. All of it is guarded by the class's lock.
//!
//! Fullness groups go by the number of free objects: none, 1-3, 4-15, 16-63, 64-255. That costs one count of leading
//! zeros, needs no division, and a zspage that fills or empties moves between lists four times. The zspage that takes the class's next
//! pages is on no list at all.

mod lists;
mod shrink;

pub(crate) use shrink::CutOff;

use crate::{
    cell::Refused,
    error::Error,
    handle::Key,
    platform::{Frame, PAGE_SIZE, Platform},
    size_class::{chain, class_size},
    store::{NO_CELL, NO_CHUNK, Store},
    zspage::{Descriptor, GROWING, NO_ZSPAGE, SHRINKING, TOUCHED, Use, VICTIM, location, parts},
};

/// Full zspages.
const FULL: usize = 0;
/// Fullest group that has a free object.
pub(crate) const FIRST_PARTIAL: usize = 1;
/// Emptiest group.
pub(crate) const LAST_PARTIAL: usize = 4;
/// Zspages that compaction empties.
pub(crate) const VICTIMS: usize = 5;
pub(crate) const LISTS: usize = 6;
/// Where the growing zspage is.
const NO_LIST: usize = LISTS;
const PARTIAL: u32 = (1 << (LAST_PARTIAL + 1)) - (1 << FIRST_PARTIAL);

/// The group of a zspage by what is free in it.
#[inline]
pub(crate) const fn group(usage: Use) -> usize {
    ((u32::BITS + 1 - usage.free().leading_zeros()) / 2) as usize
}

#[inline]
const fn list_of(flags: u32, usage: Use) -> usize {
    if flags & (VICTIM | GROWING) == 0 {
        group(usage)
    } else if flags & VICTIM != 0 {
        VICTIMS
    } else {
        NO_LIST
    }
}

/// Empty zspages on their way out, linked through their descriptors.
pub(crate) struct Leaving {
    pub(crate) first: u32,
}

impl Leaving {
    pub(crate) const fn none() -> Self {
        Self { first: NO_ZSPAGE }
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.first == NO_ZSPAGE
    }
}

/// State of a class.
pub(crate) struct Class {
    index: u8,
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
    /// Zspage that takes the next page; `NO_ZSPAGE` if a new one must be begun.
    growing: u32,
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
    /// Times that the lock was taken for a batch of deferred frees.
    pub(crate) batches: u64,
    /// Objects moved by compaction.
    pub(crate) moved: u64,
    /// Pages that compaction gave back.
    pub(crate) compacted: u64,
}

/// A zspage for which a batch owes a fullness update.
#[derive(Clone, Copy)]
pub(crate) struct Touched {
    unit: u32,
    list: usize,
}

impl Touched {
    pub(crate) const NONE: Self = Self { unit: NO_ZSPAGE, list: 0 };
}

impl Class {
    pub(crate) const fn new(index: u8) -> Self {
        Self {
            index,
            lists_used: 0,
            lists: [NO_ZSPAGE; LISTS],
            free_cell: NO_CELL,
            chunks: NO_CHUNK,
            objects: 0,
            zspages: 0,
            pages: 0,
            offers: false,
            growing: NO_ZSPAGE,
            shrinking: NO_ZSPAGE,
            cut: 0,
            beyond: 0,
            split_at: u32::MAX,
            capacity: 0,
            sweep: NO_CHUNK,
            batches: 0,
            moved: 0,
            compacted: 0,
        }
    }

    #[inline]
    pub(crate) fn size(&self) -> usize {
        class_size(usize::from(self.index))
    }

    /// Whether a zspage that does not grow has a free object.
    #[inline]
    fn has_room(&self) -> bool {
        self.lists_used & PARTIAL != 0
    }

    #[inline]
    pub(crate) fn has_cell(&self) -> bool {
        self.free_cell != NO_CELL
    }

    /// Joins a fresh chunk, whose cells are free and linked from `first` on.
    pub(crate) fn add_chunk<P: Platform>(&mut self, store: &Store<P>, chunk: u32, first: u32) {
        store.join_chunk(chunk, self.chunks, self.free_cell);
        self.chunks = chunk;
        self.free_cell = first;
    }

    /// Adds a page to the zspage that grows; gives the frame back if there is none that may.
    pub(crate) fn extend<P: Platform>(
        &mut self,
        store: &Store<P>,
        frame: Frame,
        most: usize,
    ) -> Result<(), Frame> {
        if self.growing == NO_ZSPAGE {
            return Err(frame);
        }
        let descriptor = store.descriptor(self.growing);
        let pages = descriptor.pages();
        if pages >= chain(usize::from(self.index), most) {
            return Err(frame);
        }
        let before = descriptor.usage();
        descriptor.set_frame(pages, frame.into_number());
        descriptor.set_pages(pages + 1, self.size());
        self.pages += 1;
        self.capacity += descriptor.usage().capacity() - before.capacity();
        Ok(())
    }

    /// Joins a zspage that was prepared for this class, with its first page.
    pub(crate) fn add_zspage<P: Platform>(&mut self, store: &Store<P>, unit: u32, frame: Frame, most: usize) {
        let descriptor = store.descriptor(unit);
        descriptor.set_frame(0, frame.into_number());
        descriptor.set_pages(1, self.size());
        self.zspages += 1;
        self.pages += 1;
        self.capacity += descriptor.usage().capacity();
        if self.growing != NO_ZSPAGE && store.descriptor(self.growing).usage().free() == 0 {
            self.stop_growing(store);
        }
        if self.growing == NO_ZSPAGE && chain(usize::from(self.index), most) > 1 {
            self.growing = unit;
            descriptor.set_flag(GROWING, true);
        } else {
            self.link(store, unit, group(descriptor.usage()));
        }
    }

    /// Puts the growing zspage among the others.
    pub(crate) fn stop_growing<P: Platform>(&mut self, store: &Store<P>) {
        let unit = core::mem::replace(&mut self.growing, NO_ZSPAGE);
        if unit != NO_ZSPAGE {
            let descriptor = store.descriptor(unit);
            descriptor.set_flag(GROWING, false);
            self.link(store, unit, group(descriptor.usage()));
        }
    }

    /// Puts the growing zspage among the others if it has a page's worth of free objects, which compaction may want to gather.
    pub(crate) fn offer_growing<P: Platform>(&mut self, store: &Store<P>) {
        if self.growing != NO_ZSPAGE
            && store.descriptor(self.growing).usage().free() as usize * self.size() >= PAGE_SIZE
        {
            self.stop_growing(store);
        }
    }

    /// Takes an object out of the fullest zspage, with a cell for it: the cell's number and generation. The location is the object's own.
    #[inline]
    pub(crate) fn take<P: Platform>(&mut self, store: &Store<P>) -> Option<(u32, u8)> {
        let cell = self.free_cell;
        if cell == NO_CELL {
            return None;
        }
        let at = self.take_slot(store)?;
        let place = store.cell(cell);
        self.free_cell = place.next_free();
        self.objects += 1;
        Some((cell, place.publish(at)))
    }

    /// Takes an object's room without a cell: for a move.
    #[inline]
    pub(crate) fn take_slot<P: Platform>(&mut self, store: &Store<P>) -> Option<u32> {
        let lists = self.lists_used & PARTIAL;
        if lists == 0 {
            return self.take_growing(store);
        }
        let list = lists.trailing_zeros() as usize;
        let unit = self.lists[list];
        let descriptor = store.descriptor(unit);
        let object = descriptor.take(&store.platform, self.size());
        let free = descriptor.usage().free();
        // A group ends one below a power of four.
        if free & (free + 1) == 0 {
            self.relist_taken(store, unit, list);
        }
        Some(location(unit, object))
    }

    #[inline(never)]
    fn relist_taken<P: Platform>(&mut self, store: &Store<P>, unit: u32, list: usize) {
        let now = group(store.descriptor(unit).usage());
        if now != list {
            self.unlink(store, unit, list);
            self.link(store, unit, now);
        }
    }

    #[inline]
    fn take_growing<P: Platform>(&mut self, store: &Store<P>) -> Option<u32> {
        let unit = self.growing;
        if unit == NO_ZSPAGE {
            return None;
        }
        let descriptor = store.descriptor(unit);
        if descriptor.usage().free() == 0 {
            return None;
        }
        Some(location(unit, descriptor.take(&store.platform, self.size())))
    }

    /// Frees one object; its zspage joins `leaving` if it is empty now.
    #[inline]
    pub(crate) fn free<P: Platform>(
        &mut self,
        store: &Store<P>,
        key: Key,
        leaving: &mut Leaving,
    ) -> Result<(), Error> {
        let at = self.detach(store, key)?;
        self.put_slot(store, at, leaving);
        Ok(())
    }

    /// Frees one object of a batch; its zspage's list is set right by [`Class::settle`].
    #[inline]
    pub(crate) fn free_noted<P: Platform>(
        &mut self,
        store: &Store<P>,
        key: Key,
        touched: &mut [Touched],
        count: &mut usize,
    ) -> Result<(), Error> {
        let (unit, object) = parts(self.detach(store, key)?);
        let descriptor = store.descriptor(unit);
        let flags = descriptor.flags();
        if flags == TOUCHED {
            descriptor.put(&store.platform, self.size(), object);
            return Ok(());
        }
        if flags & TOUCHED == 0
            && let Some(note) = touched.get_mut(*count)
        {
            *note = Touched { unit, list: list_of(flags, descriptor.usage()) };
            *count += 1;
            descriptor.set_flag(TOUCHED, true);
        }
        self.give(store, descriptor, object, flags);
        Ok(())
    }

    /// The one fullness update for each zspage of a batch.
    pub(crate) fn settle<P: Platform>(
        &mut self,
        store: &Store<P>,
        touched: &[Touched],
        leaving: &mut Leaving,
    ) {
        for note in touched {
            let descriptor = store.descriptor(note.unit);
            descriptor.set_flag(TOUCHED, false);
            self.relist(store, note.unit, note.list, descriptor.usage(), leaving);
        }
        self.leave_if_empty(store, leaving);
    }

    /// With the last object go zspages that were never used: two cores that grow a class at the same time can leave one behind.
    #[inline]
    fn leave_if_empty<P: Platform>(&mut self, store: &Store<P>, leaving: &mut Leaving) {
        if self.objects == 0 && self.zspages != 0 {
            self.leave_all(store, leaving);
        }
    }

    #[cold]
    fn leave_all<P: Platform>(&mut self, store: &Store<P>, leaving: &mut Leaving) {
        self.stop_growing(store);
        for list in FIRST_PARTIAL..=LAST_PARTIAL {
            let mut unit = self.lists[list];
            while unit != NO_ZSPAGE {
                let descriptor = store.descriptor(unit);
                let next = descriptor.next();
                // One from which compaction has just moved the last object still counts it: it leaves when that is put right.
                if descriptor.usage().in_use() == 0 {
                    self.unlink(store, unit, list);
                    self.forget(store, unit, descriptor.usage());
                    descriptor.set_next(leaving.first);
                    leaving.first = unit;
                }
                unit = next;
            }
        }
    }

    /// Gives up the object's cell.
    #[inline]
    fn detach<P: Platform>(&mut self, store: &Store<P>, key: Key) -> Result<u32, Error> {
        let cell = store.cell_of(key)?;
        let at = cell.lock(key.generation()).map_err(|refused| match refused {
            Refused::Stale => Error::StaleHandle,
            Refused::Busy => Error::Busy,
        })?;
        cell.retire(key.generation(), self.free_cell);
        self.free_cell = key.cell();
        self.objects -= 1;
        Ok(at)
    }

    /// Gives up an object's room.
    #[inline]
    pub(crate) fn put_slot<P: Platform>(&mut self, store: &Store<P>, at: u32, leaving: &mut Leaving) {
        let (unit, object) = parts(at);
        let descriptor = store.descriptor(unit);
        let usage = descriptor.usage();
        let free = usage.free() + 1;
        // A group begins at a power of four, so at any other number the lists stay as they are.
        if descriptor.flags() == 0 && free & (free - 1) != 0 && usage.in_use() > 1 {
            descriptor.put(&store.platform, self.size(), object);
            return;
        }
        self.put_and_relist(store, at, leaving);
    }

    #[inline(never)]
    fn put_and_relist<P: Platform>(&mut self, store: &Store<P>, at: u32, leaving: &mut Leaving) {
        let (unit, object) = parts(at);
        let descriptor = store.descriptor(unit);
        let flags = descriptor.flags();
        let list = list_of(flags, descriptor.usage());
        let usage = self.give(store, descriptor, object, flags);
        self.relist(store, unit, list, usage, leaving);
        self.leave_if_empty(store, leaving);
    }

    #[inline]
    fn give<P: Platform>(
        &mut self,
        store: &Store<P>,
        zspage: Descriptor<'_>,
        object: u32,
        flags: u32,
    ) -> Use {
        if flags & SHRINKING != 0 && object >= self.cut {
            self.beyond -= 1;
            self.capacity -= 1;
            return zspage.waste();
        }
        zspage.put(&store.platform, self.size(), object)
    }

    #[inline]
    fn relist<P: Platform>(
        &mut self,
        store: &Store<P>,
        unit: u32,
        list: usize,
        usage: Use,
        leaving: &mut Leaving,
    ) {
        if usage.in_use() == 0 {
            if list != NO_LIST {
                self.unlink(store, unit, list);
            }
            self.forget(store, unit, usage);
            store.descriptor(unit).set_next(leaving.first);
            leaving.first = unit;
            return;
        }
        let now = group(usage);
        if list < VICTIMS && now != list {
            self.unlink(store, unit, list);
            self.link(store, unit, now);
        }
    }

    fn forget<P: Platform>(&mut self, store: &Store<P>, unit: u32, usage: Use) {
        #[expect(clippy::cast_possible_truncation, reason = "at most 16")]
        let pages = store.descriptor(unit).pages() as u32;
        self.zspages -= 1;
        self.pages -= pages;
        self.capacity -= usage.capacity();
        if self.growing == unit {
            self.growing = NO_ZSPAGE;
        }
        if self.shrinking == unit {
            self.shrinking = NO_ZSPAGE;
        }
    }

    /// First zspage of a list.
    pub(crate) fn first(&self, list: usize) -> u32 {
        self.lists[list]
    }

    /// Takes a zspage out of every count and list: for teardown.
    pub(crate) fn pop_any<P: Platform>(&mut self, store: &Store<P>) -> Option<u32> {
        self.stop_growing(store);
        let list = (0..LISTS).find(|&list| self.lists[list] != NO_ZSPAGE)?;
        let unit = self.lists[list];
        self.unlink(store, unit, list);
        self.forget(store, unit, store.descriptor(unit).usage());
        Some(unit)
    }
}

const _: () = assert!(
    FULL == group(Use(0)) && group(Use(255 << 24)) == LAST_PARTIAL && group(Use(1 << 24)) == FIRST_PARTIAL
);
const _: () = assert!(size_of::<crate::sync::Lock<Class>>() <= 128);
