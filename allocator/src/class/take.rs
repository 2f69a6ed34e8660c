//! Objects for the class's users.

use crate::{
    class::Class,
    handle::Handle,
    platform::Platform,
    store::{NO_CELL, Store},
    zspage::{NO_ZSPAGE, location},
};

impl Class {
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
    pub(super) fn bind<P: Platform>(&mut self, store: &Store<P>, cell: u32, at: u32) -> Handle {
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
        } else if let Some(state) = state.filled_up() {
            // The commonest change where objects come and go: a zspage is full again.
            self.fill(store, descriptor, state);
        } else {
            let state = state.with_one_less();
            self.relist(store, unit, descriptor, state);
        }
        Some(location(unit, object))
    }
}
