//! Objects that come back: quietly, where only counts change, or with all that follows from it.

use crate::{
    cell::{Cell, LITTLE_PATIENCE},
    class::{Class, Leaving},
    error::Error,
    handle::Key,
    platform::Platform,
    store::Store,
    zspage::{Descriptor, HUGE, ISOLATED, SHRINKING, State, TOUCHED, bytes::Place, parts},
};

impl Class {
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

    /// Gives up an object's cell, whose location is `locked` if it was locked before. The location
    /// and the number of objects are the caller's to deal with.
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
            None => cell.lock(key.generation(), LITTLE_PATIENCE)?,
        };
        if !Place::new(store, at).is_of(key, self.base) {
            cell.unlock(at);
            return Err(Error::ForeignHandle);
        }
        retire(cell, key, &mut self.free_cell);
        Ok(at)
    }

    /// Gives up the room of an object that compaction moved away. An empty zspage joins `leaving`.
    #[inline]
    pub(crate) fn put_moved<P: Platform>(
        &mut self,
        store: &Store<P>,
        at: u32,
        leaving: &mut Leaving,
    ) {
        let descriptor = store.descriptor_at(at);
        let (unit, object) = parts(at);
        let before = descriptor.state();
        // Marked even where the room goes: compaction may be given up, and then it is there again.
        descriptor.put(object);
        if before.puts_quietly() {
            return descriptor.set_state(before.put());
        }
        let state = if self.is_beyond(before, object) {
            let state = self.lose_slot(before);
            if state.in_use() != 0 {
                // Its free objects are as many as before: it stays where it is.
                return descriptor.set_state(state);
            }
            state
        } else {
            before.with_one_more()
        };
        self.settle(store, unit, descriptor, state, leaving);
    }

    /// Gives up a freed object's room where more changes than counts. An empty zspage, or a frame,
    /// joins `leaving`.
    #[inline]
    pub(crate) fn put_loudly<P: Platform>(
        &mut self,
        store: &Store<P>,
        at: u32,
        leaving: &mut Leaving,
    ) {
        if at & HUGE != 0 {
            return self.put_huge(store, at, leaving);
        }
        let descriptor = store.descriptor_at(at);
        let (unit, object) = parts(at);
        let state = self.put_slot(descriptor, object);
        if let Some(state) = state.unfilled() {
            // The commonest change where objects come and go: a full zspage has room again.
            self.unfill(store, unit, descriptor, state);
        } else {
            self.settle(store, unit, descriptor, state, leaving);
        }
    }

    /// Whether an object's room goes with it: it lies behind what a shrinking zspage keeps.
    #[inline]
    pub(super) fn is_beyond(&self, state: State, object: u32) -> bool {
        state.has(SHRINKING) && object >= self.cut
    }

    /// Does without the room of an object behind what a shrinking zspage keeps. Returns what the
    /// state is then, which is the caller's to set.
    #[inline]
    pub(super) fn lose_slot(&mut self, state: State) -> State {
        self.beyond -= 1;
        self.capacity -= 1;
        state.with_one_gone()
    }

    /// Puts one object back. Returns what the state is then, which is the caller's to set.
    #[inline]
    pub(super) fn put_slot(&mut self, descriptor: Descriptor<'_>, object: u32) -> State {
        let state = descriptor.state();
        descriptor.put(object);
        if self.is_beyond(state, object) { self.lose_slot(state) } else { state.with_one_more() }
    }

    /// Puts a zspage where it belongs after an object of it was put back, and sets its state.
    #[inline]
    pub(super) fn settle<P: Platform>(
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
}

/// Frees an object if nothing changes by it but its `cell`, the list of free ones, and its zspage's
/// counts; the caller, which holds the class lock, changes the number of objects. Otherwise the
/// location if the object is locked now, for [`Class::detach`].
#[inline]
pub(super) fn free_quietly<P: Platform>(
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
