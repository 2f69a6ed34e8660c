//! The lists of a class, linked through the descriptors. A zspage's state says which list it is on.

use crate::{
    class::{Class, PARTIAL},
    platform::Platform,
    store::{Store, WANTS_NOTHING, WANTS_PAGE, WANTS_ZSPAGE},
    zspage::{Descriptor, FIRST_PARTIAL, LAST_PARTIAL, NO_ZSPAGE, State},
};

impl Class {
    /// Decides which zspage the next objects come from, and lets others know what room there is.
    #[inline]
    pub(super) fn choose_source<P: Platform>(&mut self, store: &Store<P>) {
        let lists = self.lists_used & PARTIAL;
        if lists != 0 {
            self.set_source(store, self.lists[lists.trailing_zeros() as usize], WANTS_NOTHING);
        } else if self.growing != NO_ZSPAGE {
            self.grow_from(store, self.growing, store.descriptor(self.growing).state());
        } else {
            self.set_source(store, NO_ZSPAGE, WANTS_ZSPAGE);
        }
        self.offer(store, lists != 0);
    }

    /// Lets others know whether there is room to spare, in zspages with room that do not grow.
    #[inline]
    fn offer<P: Platform>(&mut self, store: &Store<P>, has_partial: bool) {
        // Teardown takes zspages away under live objects: then there are more objects than room.
        let free = self.capacity.saturating_sub(self.objects);
        let offers = has_partial && free >= self.spare.into();
        if offers != self.offers {
            self.offers = offers;
            store.hints.set_room(self.index(), offers);
        }
    }

    /// Makes the growing zspage the source, as far as it has room.
    #[inline]
    pub(super) fn grow_from<P: Platform>(&mut self, store: &Store<P>, unit: u32, state: State) {
        if state.has_free() {
            self.set_source(store, unit, WANTS_NOTHING);
        } else {
            let wants = if state.pages() < self.chain.into() { WANTS_PAGE } else { WANTS_ZSPAGE };
            self.set_source(store, NO_ZSPAGE, wants);
        }
    }

    #[inline]
    fn set_source<P: Platform>(&mut self, store: &Store<P>, source: u32, wants: u8) {
        self.source = source;
        store.hints.set_wants(self.index(), wants);
    }

    /// Moves a zspage to the list of its group, if it is on one of those; sets its state.
    #[inline(never)]
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

    /// Takes a zspage whose last free object was taken off its list.
    #[inline]
    pub(super) fn fill<P: Platform>(
        &mut self,
        store: &Store<P>,
        descriptor: Descriptor<'_>,
        state: State,
    ) {
        descriptor.set_state(state);
        self.unlink(store, descriptor, FIRST_PARTIAL);
        self.choose_source(store);
    }

    /// Puts a zspage that was full, and has one free object now, on the list of the fullest ones.
    /// So it is where the next objects come from.
    #[inline]
    pub(super) fn unfill<P: Platform>(
        &mut self,
        store: &Store<P>,
        unit: u32,
        descriptor: Descriptor<'_>,
        state: State,
    ) {
        descriptor.set_state(state);
        let first = self.lists[0];
        descriptor.set_next(first);
        descriptor.set_previous(NO_ZSPAGE);
        if first != NO_ZSPAGE {
            store.descriptor(first).set_previous(unit);
        }
        self.lists[0] = unit;
        self.lists_used |= 1;
        self.set_source(store, unit, WANTS_NOTHING);
        self.offer(store, true);
    }

    /// Puts a zspage on a list, its counters set for it. Full ones are on none: nobody looks for
    /// them but teardown, which finds them through their objects' cells, and most list changes are
    /// from or to them.
    #[inline]
    pub(super) fn link<P: Platform>(
        &mut self,
        store: &Store<P>,
        unit: u32,
        descriptor: Descriptor<'_>,
        state: State,
        list: usize,
    ) {
        let state = state.with_list(list).armed();
        descriptor.set_state(state);
        let Some(place) = list.checked_sub(FIRST_PARTIAL) else { return };
        let first = self.lists[place];
        descriptor.set_next(first);
        descriptor.set_previous(NO_ZSPAGE);
        if first != NO_ZSPAGE {
            store.descriptor(first).set_previous(unit);
        }
        self.lists[place] = unit;
        self.lists_used |= 1 << place;
    }

    #[inline]
    pub(super) fn unlink<P: Platform>(
        &mut self,
        store: &Store<P>,
        descriptor: Descriptor<'_>,
        list: usize,
    ) {
        let Some(place) = list.checked_sub(FIRST_PARTIAL) else { return };
        let (previous, next) = (descriptor.previous(), descriptor.next());
        if next != NO_ZSPAGE {
            store.descriptor(next).set_previous(previous);
        }
        if previous != NO_ZSPAGE {
            store.descriptor(previous).set_next(next);
            return;
        }
        self.lists[place] = next;
        if next == NO_ZSPAGE {
            self.lists_used &= !(1 << place);
        }
    }
}
