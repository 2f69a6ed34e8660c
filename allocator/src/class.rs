//! A size class: its zspages by fullness, its free cells, and what it counts. All of it is guarded by the class's lock.
//!
//! Objects are taken from one zspage, the `source`: the first of the fullest that has room, or else the one that grows. It is chosen
//! anew only where a list changes, so an ordinary take asks no list.

mod batch;
mod huge;
mod isolate;
mod lists;
mod shrink;

pub(crate) use batch::Notes;
pub(crate) use huge::Leaving;
pub(crate) use shrink::CutOff;

use crate::{
    cell::{Cell, Refused},
    error::Error,
    handle::Key,
    platform::{Frame, PAGE_SIZE, Platform},
    size_class::{chain, class_size},
    store::{NO_CELL, NO_CHUNK, Store},
    zspage::{
        FIRST_PARTIAL, GROWING, HUGE, ISOLATED, LAST, LAST_PARTIAL, NO_ZSPAGE, SHRINKING, State, TOUCHED,
        VICTIMS, location, parts,
    },
};

pub(crate) const LISTS: usize = VICTIMS + 1;

/// State of a class.
pub(crate) struct Class {
    index: u8,
    /// Class and pool, as in handles.
    owner: u16,
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

const _: () = assert!(size_of::<crate::sync::Lock<Class>>() <= 128);

impl Class {
    pub(crate) const fn new(index: u8, owner: u16) -> Self {
        Self {
            index,
            owner,
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

    #[inline]
    pub(crate) fn has_cell(&self) -> bool {
        self.free_cell != NO_CELL
    }

    /// Joins a fresh chunk of cells.
    pub(crate) fn add_chunk<P: Platform>(&mut self, store: &Store<P>, chunk: u32) {
        self.free_cell = store.join_chunk(chunk, self.chunks, self.free_cell);
        self.chunks = chunk;
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
        let before = descriptor.state();
        let pages = if before.capacity() == 0 { 0 } else { before.pages() };
        if pages >= chain(usize::from(self.index), most) {
            return Err(frame);
        }
        descriptor.set_frame(pages, frame.into_number());
        let state = descriptor.set_pages(pages + 1, self.size());
        descriptor.set_state(state.armed());
        self.pages += 1;
        self.capacity += state.capacity() - before.capacity();
        self.choose_source(store);
        Ok(())
    }

    /// Joins a zspage that was prepared for this class, with its first page.
    pub(crate) fn add_zspage<P: Platform>(&mut self, store: &Store<P>, unit: u32, frame: Frame, most: usize) {
        let descriptor = store.descriptor(unit);
        descriptor.set_frame(0, frame.into_number());
        let state = descriptor.set_pages(1, self.size());
        self.zspages += 1;
        self.pages += 1;
        self.capacity += state.capacity();
        if self.growing != NO_ZSPAGE && store.descriptor(self.growing).state().free() == 0 {
            self.stop_growing(store);
        }
        if self.growing == NO_ZSPAGE && chain(usize::from(self.index), most) > 1 {
            self.growing = unit;
            descriptor.set_state(state.armed());
        } else {
            self.link(store, unit, state.group());
        }
        self.choose_source(store);
    }

    /// Puts the growing zspage among the others.
    pub(crate) fn stop_growing<P: Platform>(&mut self, store: &Store<P>) {
        let unit = core::mem::replace(&mut self.growing, NO_ZSPAGE);
        if unit != NO_ZSPAGE {
            self.link(store, unit, store.descriptor(unit).state().group());
            self.choose_source(store);
        }
    }

    /// Puts the growing zspage among the others if it has a page's worth of free objects, which compaction may want to gather.
    pub(crate) fn offer_growing<P: Platform>(&mut self, store: &Store<P>) {
        if self.growing != NO_ZSPAGE
            && store.descriptor(self.growing).state().free() as usize * self.size() >= PAGE_SIZE
        {
            self.stop_growing(store);
        }
    }

    /// Takes an object, with a cell for it: the cell's number and generation. The location is the object's own.
    #[inline]
    pub(crate) fn take<P: Platform>(&mut self, store: &Store<P>) -> Option<(u32, u8)> {
        let cell = self.free_cell;
        if cell == NO_CELL {
            return None;
        }
        let at = self.take_slot(store)?;
        Some(self.bind(store, cell, at))
    }

    /// Makes the first free cell an object's.
    #[inline]
    fn bind<P: Platform>(&mut self, store: &Store<P>, cell: u32, at: u32) -> (u32, u8) {
        let place = store.cell(cell);
        self.free_cell = place.next_free();
        self.objects += 1;
        (cell, place.publish(at))
    }

    /// Takes an object's room without a cell: for a move.
    #[inline]
    pub(crate) fn take_slot<P: Platform>(&mut self, store: &Store<P>) -> Option<u32> {
        let unit = self.source;
        if unit == NO_ZSPAGE {
            return None;
        }
        let descriptor = store.descriptor(unit);
        let object = descriptor.take();
        let state = descriptor.state();
        if state.takes_quietly() {
            descriptor.set_state(state.taken());
        } else {
            self.take_loudly(store, unit, state);
        }
        Some(location(unit, object))
    }

    #[cold]
    #[inline(never)]
    fn take_loudly<P: Platform>(&mut self, store: &Store<P>, unit: u32, state: State) {
        let state = state.with_counts(state.free() - 1, state.capacity());
        store.descriptor(unit).set_state(state);
        self.relist(store, unit, state);
        self.choose_source(store);
    }

    /// Frees an object if nothing changes by it but a cell and its zspage's counts; the number of objects is the caller's to change. Otherwise the
    /// cell and the location if the object was locked, for [`Class::detach`].
    #[inline]
    pub(crate) fn free_quietly<'s, P: Platform>(
        &mut self,
        store: &'s Store<P>,
        key: Key,
    ) -> Result<(), Option<(Cell<'s>, u32)>> {
        let cell = store.cell_of(key).ok_or(None)?;
        let at = cell.lock_at_once(key.generation()).ok_or(None)?;
        if at & HUGE == 0 {
            let descriptor = store.descriptor_at(at);
            let state = descriptor.state();
            if state.is_owner_of(key.0) && state.puts_quietly() {
                self.retire(cell, key);
                descriptor.put(parts(at).1);
                descriptor.set_state(state.put());
                return Ok(());
            }
        }
        Err(Some((cell, at)))
    }

    #[inline]
    fn retire(&mut self, cell: Cell<'_>, key: Key) {
        cell.retire(key.generation(), self.free_cell);
        self.free_cell = key.cell();
    }

    /// Gives up an object's cell, which may have been `locked` before. The location and the number of objects are the caller's to deal with.
    pub(crate) fn detach<P: Platform>(
        &mut self,
        store: &Store<P>,
        key: Key,
        locked: Option<(Cell<'_>, u32)>,
    ) -> Result<u32, Error> {
        let (cell, at) = match locked {
            Some(locked) => locked,
            None => {
                let cell = store.cell_of(key).ok_or(Error::ForeignHandle)?;
                (cell, cell.lock(key.generation())?)
            }
        };
        if !is_owner(store, at, key, self.owner) {
            cell.unlock(at);
            return Err(Error::ForeignHandle);
        }
        self.retire(cell, key);
        Ok(at)
    }

    /// Gives up an object's room if nothing changes by it but counts. Otherwise the location, for [`Class::put_loudly`].
    #[inline]
    pub(crate) fn put_quietly<P: Platform>(&self, store: &Store<P>, at: u32) -> Option<u32> {
        if at & HUGE != 0 {
            return Some(at);
        }
        let descriptor = store.descriptor_at(at);
        let state = descriptor.state();
        if !state.puts_quietly() {
            return Some(at);
        }
        descriptor.put(parts(at).1);
        descriptor.set_state(state.put());
        None
    }

    /// Gives up an object's room where more changes than counts. An empty zspage, or a frame, joins `leaving`.
    #[inline(never)]
    pub(crate) fn put_loudly<P: Platform>(&mut self, store: &Store<P>, at: u32, leaving: &mut Leaving) {
        if at & HUGE != 0 {
            return self.put_huge(store, at, leaving);
        }
        let state = self.put_slot(store, at);
        self.settle(store, parts(at).0, state, leaving);
        self.leave_if_empty(store, leaving);
    }

    /// Puts one object back and says what the zspage is like then.
    fn put_slot<P: Platform>(&mut self, store: &Store<P>, at: u32) -> State {
        let (unit, object) = parts(at);
        let descriptor = store.descriptor(unit);
        let state = descriptor.state();
        let state = if state.has(SHRINKING) && object >= self.cut {
            self.beyond -= 1;
            self.capacity -= 1;
            state.with_counts(state.free(), state.capacity() - 1)
        } else {
            descriptor.put(object);
            state.with_counts(state.free() + 1, state.capacity())
        };
        descriptor.set_state(state);
        state
    }

    /// Puts a zspage where it belongs after an object of it was put back.
    fn settle<P: Platform>(&mut self, store: &Store<P>, unit: u32, state: State, leaving: &mut Leaving) {
        if state.in_use() == 0 && !state.has(TOUCHED | ISOLATED) {
            self.leave(store, unit, leaving);
        } else {
            self.relist(store, unit, state);
        }
        self.choose_source(store);
    }

    /// With the last object go zspages that were never used: two cores that grow a class at the same time can leave one behind.
    #[inline]
    pub(crate) fn leave_if_empty<P: Platform>(&mut self, store: &Store<P>, leaving: &mut Leaving) {
        if self.objects == 0 && self.zspages != 0 {
            self.leave_all(store, leaving);
        }
    }

    #[cold]
    #[inline(never)]
    fn leave_all<P: Platform>(&mut self, store: &Store<P>, leaving: &mut Leaving) {
        self.stop_growing(store);
        for list in FIRST_PARTIAL..=LAST_PARTIAL {
            let mut unit = self.lists[list];
            while unit != NO_ZSPAGE {
                let descriptor = store.descriptor(unit);
                let (next, state) = (descriptor.next(), descriptor.state());
                // One from which compaction has just moved the last object still counts it: it leaves when that is put right.
                if state.in_use() == 0 && !state.has(TOUCHED | ISOLATED) {
                    self.leave(store, unit, leaving);
                }
                unit = next;
            }
        }
        self.choose_source(store);
    }

    /// Takes an empty zspage out of the class.
    fn leave<P: Platform>(&mut self, store: &Store<P>, unit: u32, leaving: &mut Leaving) {
        self.forget(store, unit);
        let descriptor = store.descriptor(unit);
        descriptor.set_state(descriptor.state().flagged(LAST, self.zspages == 0));
        descriptor.set_next(leaving.zspage);
        leaving.zspage = unit;
    }

    /// Takes a zspage out of every list and count.
    fn forget<P: Platform>(&mut self, store: &Store<P>, unit: u32) {
        let state = store.descriptor(unit).state();
        if state.list() != GROWING {
            self.unlink(store, unit, state.list());
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 16")]
        let pages = state.pages() as u32;
        self.zspages -= 1;
        self.pages -= pages;
        self.capacity -= state.capacity();
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

    /// Takes any zspage out of every count and list: for teardown.
    pub(crate) fn pop_any<P: Platform>(&mut self, store: &Store<P>) -> Option<u32> {
        self.stop_growing(store);
        let list = (0..LISTS).find(|&list| self.lists[list] != NO_ZSPAGE)?;
        let unit = self.lists[list];
        self.forget(store, unit);
        Some(unit)
    }
}

/// Whether the object that lies at `at`, whose cell the caller has locked, is of the class and pool that a handle names. `huge` is what the handles of
/// huge objects name, or anything else where there are none.
#[inline]
pub(crate) fn is_owner<P: Platform>(store: &Store<P>, at: u32, key: Key, huge: u16) -> bool {
    if at & HUGE == 0 {
        store.descriptor_at(at).state().is_owner_of(key.0)
    } else {
        key.is_huge() && key.owner() == huge
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
