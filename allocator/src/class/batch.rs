//! Frees of a batch: a zspage whose list is to change is noted and put right once, at the end.

use crate::{
    cell::Cell,
    class::{Class, Leaving},
    error::Error,
    handle::Key,
    platform::Platform,
    store::Store,
    zspage::{HUGE, TOUCHED, parts},
};

/// Most zspages that are noted before they are put right.
const MOST: usize = 32;

/// Zspages for which a batch owes a fullness update. They stay on the lists where they were, and may be used from there by others if the lock is
/// dropped meanwhile. All bytes zero are none.
pub(crate) struct Notes {
    units: [u32; MOST],
    count: usize,
}

impl Class {
    /// Frees one object of a batch. What it leaves to be done is noted; the number of objects is the caller's to change.
    #[inline]
    pub(crate) fn free_in_batch<P: Platform>(
        &mut self,
        store: &Store<P>,
        key: Key,
        notes: &mut Notes,
        leaving: &mut Leaving,
    ) -> Result<(), Error> {
        let cell = store.cell_of(key).ok_or(Error::ForeignHandle)?;
        match self.free_quietly(store, key, cell) {
            Ok(()) => Ok(()),
            Err(locked) => self.free_and_note(store, key, cell, locked, notes, leaving),
        }
    }

    #[inline(never)]
    fn free_and_note<P: Platform>(
        &mut self,
        store: &Store<P>,
        key: Key,
        cell: Cell<'_>,
        locked: Option<u32>,
        notes: &mut Notes,
        leaving: &mut Leaving,
    ) -> Result<(), Error> {
        let at = self.detach(store, key, cell, locked)?;
        if at & HUGE != 0 {
            self.put_huge(store, at, leaving);
            return Ok(());
        }
        let (unit, object) = parts(at);
        let descriptor = store.descriptor_at(at);
        let state = self.put_slot(descriptor, object);
        if state.has(TOUCHED) {
            descriptor.set_state(state.armed());
            return Ok(());
        }
        match notes.units.get_mut(notes.count) {
            Some(note) => {
                *note = unit;
                notes.count += 1;
                descriptor.set_state(state.flagged(TOUCHED, true).armed());
            }
            None => self.settle(store, unit, descriptor, state, leaving),
        }
        Ok(())
    }

    /// Ends a hold of the lock; `next` tells whether there will be another one for this class. The fullness updates are made at the end, or once
    /// half of the room for notes is taken.
    #[inline]
    pub(crate) fn end_hold<P: Platform>(
        &mut self,
        store: &Store<P>,
        next: bool,
        notes: &mut Notes,
        leaving: &mut Leaving,
    ) {
        if next && notes.count <= MOST / 2 {
            return;
        }
        for &unit in notes.units.iter().take(notes.count) {
            let descriptor = store.descriptor(unit);
            let state = descriptor.state().flagged(TOUCHED, false);
            self.settle(store, unit, descriptor, state, leaving);
        }
        notes.count = 0;
        self.leave_if_empty(store, leaving);
    }
}
