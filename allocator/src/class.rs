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

use crate::{
    cell::{Cell, Refused},
    error::Error,
    handle::{Base, Handle, Key},
    platform::{Frame, PAGE_SIZE, Platform},
    size_class::{CLASSES, chain, class_size},
    store::{NO_CELL, NO_CHUNK, Store},
    zspage::{
        Descriptor, FIRST_PARTIAL, GROWING, HUGE, ISOLATED, LAST, LAST_PARTIAL, NO_ZSPAGE, SHRINKING, State,
        TOUCHED, VICTIMS, bytes::Place, location, parts,
    },
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

    /// Adds a page to the zspage that grows, and takes the first object that it brings; gives the frame back if there is no cell, no zspage that may grow, or room
    /// without it.
    #[inline(always)]
    pub(crate) fn extend<P: Platform>(&mut self, store: &Store<P>, frame: Frame) -> Result<Handle, Frame> {
        let (unit, cell) = (self.growing, self.free_cell);
        if unit == NO_ZSPAGE || cell == NO_CELL {
            return Err(frame);
        }
        let descriptor = store.descriptor(unit);
        let before = descriptor.state();
        let pages = before.pages();
        if pages >= self.chain.into() || before.has_free() {
            return Err(frame);
        }
        descriptor.set_frame(pages, frame.into_number());
        let object = before.capacity();
        // An object is at most a page, so each page brings at least one.
        #[expect(clippy::cast_possible_truncation, reason = "at most 128 objects")]
        let capacity = ((pages + 1) * PAGE_SIZE / self.size()) as u32;
        descriptor.put_all(object + 1, capacity);
        let state = before.grown(capacity - object);
        descriptor.set_state(state);
        self.pages += 1;
        self.capacity += capacity - object;
        if self.lists_used & PARTIAL == 0 {
            self.grow_from(store, unit, state);
        }
        Ok(self.bind(store, cell, location(unit, object)))
    }

    /// Begins a zspage that was prepared for this class with its first page, and takes its first object; gives the frame back if there is no cell, or room without it.
    pub(crate) fn begin<P: Platform>(
        &mut self,
        store: &Store<P>,
        unit: u32,
        frame: Frame,
    ) -> Result<Handle, Frame> {
        let cell = self.free_cell;
        if cell == NO_CELL || self.source != NO_ZSPAGE {
            return Err(frame);
        }
        let descriptor = store.descriptor(unit);
        descriptor.set_frame(0, frame.into_number());
        #[expect(clippy::cast_possible_truncation, reason = "at most 128 objects")]
        let capacity = (PAGE_SIZE / self.size()) as u32;
        descriptor.put_all(1, capacity);
        let state = descriptor.state().with_counts(capacity - 1, capacity);
        self.zspages += 1;
        self.pages += 1;
        self.capacity += capacity;
        // The one that grew has no room, or none that is known before a batch ends; it may be one that another core has just begun.
        self.retire_growing(store);
        if self.chain > 1 {
            self.growing = unit;
            descriptor.set_state(state.armed());
        } else {
            self.link(store, unit, descriptor, state, state.group());
        }
        self.choose_source(store);
        Ok(self.bind(store, cell, location(unit, 0)))
    }

    /// Puts the growing zspage among the others.
    pub(crate) fn stop_growing<P: Platform>(&mut self, store: &Store<P>) {
        if self.growing != NO_ZSPAGE {
            self.retire_growing(store);
            self.choose_source(store);
        }
    }

    #[inline]
    fn retire_growing<P: Platform>(&mut self, store: &Store<P>) {
        let unit = core::mem::replace(&mut self.growing, NO_ZSPAGE);
        if unit != NO_ZSPAGE {
            let descriptor = store.descriptor(unit);
            let state = descriptor.state();
            self.link(store, unit, descriptor, state, state.group());
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

    /// Takes an object, with a cell for it, if no list changes by it.
    #[inline(always)]
    pub(crate) fn take_quietly<P: Platform>(&mut self, store: &Store<P>) -> Option<Handle> {
        let (cell, unit) = (self.free_cell, self.source);
        if cell == NO_CELL || unit == NO_ZSPAGE {
            return None;
        }
        let descriptor = store.descriptor(unit);
        let state = descriptor.state();
        let object = if state.takes_quietly() {
            let object = descriptor.take();
            descriptor.set_state(state.taken());
            object
        } else if state.is_growing_with_one() {
            // The commonest of what is not quiet: the next object wants a page.
            let object = descriptor.take();
            let state = state.filled();
            descriptor.set_state(state);
            self.grow_from(store, unit, state);
            object
        } else {
            return None;
        };
        Some(self.bind(store, cell, location(unit, object)))
    }

    /// Takes an object, with a cell for it.
    pub(crate) fn take<P: Platform>(&mut self, store: &Store<P>) -> Option<Handle> {
        let cell = self.free_cell;
        if cell == NO_CELL {
            return None;
        }
        let at = self.take_slot(store)?;
        Some(self.bind(store, cell, at))
    }

    /// Makes the first free cell an object's.
    #[inline]
    fn bind<P: Platform>(&mut self, store: &Store<P>, cell: u32, at: u32) -> Handle {
        let place = store.cell(cell);
        self.free_cell = place.next_free();
        self.objects += 1;
        Handle::new(self.base, cell, place.publish(at))
    }

    /// Takes an object's room without a cell: for a move.
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
            let state = state.with_one_less();
            self.relist(store, unit, descriptor, state);
        }
        Some(location(unit, object))
    }

    /// [`free_quietly`], of this class.
    #[inline]
    pub(crate) fn free_quietly<P: Platform>(
        &mut self,
        store: &Store<P>,
        key: Key,
        cell: Cell<'_>,
    ) -> Result<(), Option<u32>> {
        free_quietly(store, key, cell, &mut self.free_cell)
    }

    /// Gives up an object's cell, whose location is `locked` if it was locked before. The location and the number of objects are the caller's to deal with.
    #[inline]
    pub(crate) fn detach<P: Platform>(
        &mut self,
        store: &Store<P>,
        key: Key,
        cell: Cell<'_>,
        locked: Option<u32>,
    ) -> Result<u32, Error> {
        let at = match locked {
            Some(at) => at,
            None => cell.lock(key.generation())?,
        };
        if !Place::new(store, at).is_of(key, self.base) {
            cell.unlock(at);
            return Err(Error::ForeignHandle);
        }
        retire(cell, key, &mut self.free_cell);
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
    #[inline]
    pub(crate) fn put_loudly<P: Platform>(&mut self, store: &Store<P>, at: u32, leaving: &mut Leaving) {
        if at & HUGE != 0 {
            return self.put_huge(store, at, leaving);
        }
        let descriptor = store.descriptor_at(at);
        let (unit, object) = parts(at);
        let before = descriptor.state();
        let state = if self.is_beyond(before, object) {
            let state = self.lose_slot(before);
            if state.in_use() != 0 {
                // Its free objects are as many as before: it stays where it is.
                return descriptor.set_state(state);
            }
            state
        } else {
            descriptor.put(object);
            before.with_one_more()
        };
        self.settle(store, unit, descriptor, state, leaving);
        self.leave_if_empty(store, leaving);
    }

    /// Whether an object's room goes with it: it lies behind what a shrinking zspage keeps.
    #[inline]
    fn is_beyond(&self, state: State, object: u32) -> bool {
        state.has(SHRINKING) && object >= self.cut
    }

    /// Does without the room of an object behind what a shrinking zspage keeps. Returns what the state is then, which is the caller's to set.
    #[inline]
    fn lose_slot(&mut self, state: State) -> State {
        self.beyond -= 1;
        self.capacity -= 1;
        state.with_one_gone()
    }

    /// Puts one object back. Returns what the state is then, which is the caller's to set.
    #[inline]
    fn put_slot(&mut self, descriptor: Descriptor<'_>, object: u32) -> State {
        let state = descriptor.state();
        if self.is_beyond(state, object) {
            return self.lose_slot(state);
        }
        descriptor.put(object);
        state.with_one_more()
    }

    /// Puts a zspage where it belongs after an object of it was put back, and sets its state.
    #[inline]
    fn settle<P: Platform>(
        &mut self,
        store: &Store<P>,
        unit: u32,
        descriptor: Descriptor<'_>,
        state: State,
        leaving: &mut Leaving,
    ) {
        if state.in_use() == 0 && !state.has(TOUCHED | ISOLATED) {
            self.leave(store, unit, descriptor, state, leaving);
            self.choose_source(store);
        } else {
            self.relist(store, unit, descriptor, state);
        }
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
                    self.leave(store, unit, descriptor, state, leaving);
                }
                unit = next;
            }
        }
        self.choose_source(store);
    }

    /// Takes an empty zspage out of the class.
    fn leave<P: Platform>(
        &mut self,
        store: &Store<P>,
        unit: u32,
        descriptor: Descriptor<'_>,
        state: State,
        leaving: &mut Leaving,
    ) {
        self.forget(store, unit, descriptor, state);
        descriptor.set_state(state.flagged(LAST, self.zspages == 0));
        descriptor.set_next(leaving.zspage);
        leaving.zspage = unit;
    }

    /// Takes a zspage out of every list and count.
    fn forget<P: Platform>(&mut self, store: &Store<P>, unit: u32, descriptor: Descriptor<'_>, state: State) {
        if state.list() != GROWING {
            self.unlink(store, descriptor, state.list());
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
        let descriptor = store.descriptor(unit);
        self.forget(store, unit, descriptor, descriptor.state());
        Some(unit)
    }
}

/// Frees an object if nothing changes by it but its `cell`, the list of free ones, and its zspage's counts; the number of objects is the caller's to
/// change, who holds the class lock. Otherwise the location if the object is locked now, for [`Class::detach`].
#[inline]
fn free_quietly<P: Platform>(
    store: &Store<P>,
    key: Key,
    cell: Cell<'_>,
    free_cell: &mut u32,
) -> Result<(), Option<u32>> {
    let at = cell.lock_at_once(key.generation()).ok_or(None)?;
    if at & HUGE == 0 {
        let descriptor = store.descriptor_at(at);
        let state = descriptor.state();
        if state.puts_quietly_for(key.0) {
            retire(cell, key, free_cell);
            descriptor.put(parts(at).1);
            descriptor.set_state(state.put());
            return Ok(());
        }
    }
    Err(Some(at))
}

/// Puts a locked cell in front of a class's free ones.
#[inline]
fn retire(cell: Cell<'_>, key: Key, free_cell: &mut u32) {
    cell.retire(key.generation(), *free_cell);
    *free_cell = key.cell();
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Stale => Self::StaleHandle,
            Refused::Busy => Self::Busy,
        }
    }
}
