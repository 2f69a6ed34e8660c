//! A zspage of which a page is being replaced: it takes no objects meanwhile, and stays even if it
//! empties.

use crate::{
    class::{Class, Leaving},
    platform::{PAGE_SIZE, Platform},
    store::{NO_CHUNK, Store},
    zspage::{GROWING, ISOLATED, SHRINKING, VICTIMS},
};

impl Class {
    /// Keeps a zspage as it is. `false` if one of its pages is being replaced.
    pub(crate) fn isolate<P: Platform>(&mut self, store: &Store<P>, unit: u32) -> bool {
        if self.growing == unit {
            self.stop_growing(store);
        }
        let descriptor = store.descriptor(unit);
        if descriptor.state().has(SHRINKING) {
            // No step of compaction is under way, or this would not be asked: it was left off.
            self.abandon_shrink(store);
        }
        let state = descriptor.state();
        if state.has(ISOLATED) || state.list() == GROWING {
            return false;
        }
        self.unlink(store, descriptor, state.list());
        self.link(store, unit, descriptor, state.flagged(ISOLATED, true), VICTIMS);
        self.choose_source(store);
        true
    }

    /// Ends [`Class::isolate`].
    pub(crate) fn put_back<P: Platform>(
        &mut self,
        store: &Store<P>,
        unit: u32,
        leaving: &mut Leaving,
    ) {
        let descriptor = store.descriptor(unit);
        let state = descriptor.state().flagged(ISOLATED, false);
        // Where compaction is under way its own end puts every victim back.
        if self.sweep == NO_CHUNK && state.in_use() != 0 {
            self.unlink(store, descriptor, VICTIMS);
            self.link(store, unit, descriptor, state, state.group());
            self.choose_source(store);
        } else {
            self.settle(store, unit, descriptor, state, leaving);
        }
    }

    /// The objects of a zspage that touch one of its pages: the first, and the one behind the last.
    pub(crate) fn objects_on<P: Platform>(
        &self,
        store: &Store<P>,
        unit: u32,
        page: usize,
    ) -> (u32, u32) {
        let capacity = store.descriptor(unit).state().capacity();
        let object = |offset: usize| u32::try_from(offset).unwrap_or(capacity).min(capacity);
        (
            object(page * PAGE_SIZE / self.size()),
            object(((page + 1) * PAGE_SIZE).div_ceil(self.size())),
        )
    }
}
