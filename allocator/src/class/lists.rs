//! The lists of a class, linked through the descriptors. A zspage's state says which list it is on.

use crate::{
    class::{Class, PARTIAL},
    platform::Platform,
    store::Store,
    zspage::{Descriptor, LAST_PARTIAL, NO_ZSPAGE, State},
};

/// Bytes of free objects from which on a class lets smaller ones have some.
const SPARE: usize = 8192;

impl Class {
    /// Decides which zspage the next objects come from, and lets others know what room there is.
    #[inline]
    pub(super) fn choose_source<P: Platform>(&mut self, store: &Store<P>) {
        let lists = self.lists_used & PARTIAL;
        let source = if lists != 0 {
            self.lists[lists.trailing_zeros() as usize]
        } else if self.growing != NO_ZSPAGE && store.descriptor(self.growing).state().free() != 0 {
            self.growing
        } else {
            NO_ZSPAGE
        };
        self.set_source(store, source);
        // Teardown takes zspages away under live objects: then there are more objects than room.
        let free = self.capacity.saturating_sub(self.objects) as usize;
        let offers = lists != 0 && free * self.size() >= SPARE;
        if offers != self.offers {
            self.offers = offers;
            store.hints.set_room(self.index(), offers);
        }
    }

    #[inline]
    pub(super) fn set_source<P: Platform>(&mut self, store: &Store<P>, source: u32) {
        if (source == NO_ZSPAGE) != (self.source == NO_ZSPAGE) {
            store.hints.set_dry(self.index(), source == NO_ZSPAGE);
        }
        self.source = source;
    }

    /// Moves a zspage to the list of its group, if it is on one of those; sets its state.
    #[inline]
    pub(super) fn relist<P: Platform>(
        &mut self,
        store: &Store<P>,
        unit: u32,
        descriptor: Descriptor<'_>,
        state: State,
    ) {
        let (list, now) = (state.list(), state.group());
        if list <= LAST_PARTIAL && now != list {
            self.unlink(store, descriptor, list);
            self.link(store, unit, descriptor, state, now);
        } else {
            descriptor.set_state(state.armed());
        }
        self.choose_source(store);
    }

    /// Puts a zspage on a list, its counters set for it.
    #[inline]
    pub(super) fn link<P: Platform>(
        &mut self,
        store: &Store<P>,
        unit: u32,
        descriptor: Descriptor<'_>,
        state: State,
        list: usize,
    ) {
        let first = self.lists[list];
        descriptor.set_state(state.with_list(list).armed());
        descriptor.set_next(first);
        descriptor.set_previous(NO_ZSPAGE);
        if first != NO_ZSPAGE {
            store.descriptor(first).set_previous(unit);
        }
        self.lists[list] = unit;
        self.lists_used |= 1 << list;
    }

    #[inline]
    pub(super) fn unlink<P: Platform>(&mut self, store: &Store<P>, descriptor: Descriptor<'_>, list: usize) {
        let (previous, next) = (descriptor.previous(), descriptor.next());
        if next != NO_ZSPAGE {
            store.descriptor(next).set_previous(previous);
        }
        if previous != NO_ZSPAGE {
            store.descriptor(previous).set_next(next);
            return;
        }
        self.lists[list] = next;
        if next == NO_ZSPAGE {
            self.lists_used &= !(1 << list);
        }
    }
}
