//! The lists of a class, linked through the descriptors.

use crate::{class::Class, platform::Platform, store::Store, zspage::NO_ZSPAGE};

/// Bytes of free objects from which on a class lets smaller ones have some.
const SPARE: usize = 8192;

impl Class {
    /// Lets smaller classes know whether there are more free objects than this class is likely to want soon.
    fn offer<P: Platform>(&mut self, store: &Store<P>) {
        // Teardown takes zspages away under live objects: then there are more objects than room.
        let free = self.capacity.saturating_sub(self.objects) as usize;
        let offers = self.has_room() && free * self.size() >= SPARE;
        if offers != self.offers {
            self.offers = offers;
            store.set_room(self.index, offers);
        }
    }

    pub(super) fn link<P: Platform>(&mut self, store: &Store<P>, unit: u32, list: usize) {
        let first = self.lists[list];
        let descriptor = store.descriptor(unit);
        descriptor.set_next(first);
        descriptor.set_previous(NO_ZSPAGE);
        if first != NO_ZSPAGE {
            store.descriptor(first).set_previous(unit);
        }
        self.lists[list] = unit;
        self.lists_used |= 1 << list;
        self.offer(store);
    }

    pub(super) fn unlink<P: Platform>(&mut self, store: &Store<P>, unit: u32, list: usize) {
        let descriptor = store.descriptor(unit);
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
            self.offer(store);
        }
    }
}
