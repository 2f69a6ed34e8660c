//! Empty zspages on their way out of the class.

use crate::{
    class::{Class, Leaving},
    platform::Platform,
    store::Store,
    zspage::{Descriptor, FIRST_PARTIAL, GROWING, ISOLATED, LAST, LAST_PARTIAL, NO_ZSPAGE, State, TOUCHED},
};

impl Class {
    /// With the last object go zspages that were never used: two cores that grow a class at the same time can leave one behind.
    #[inline]
    pub(crate) fn leave_if_empty<P: Platform>(&mut self, store: &Store<P>, leaving: &mut Leaving) {
        if self.objects == 0 && self.zspages != 0 {
            self.leave_all(store, leaving);
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn leave_all<P: Platform>(&mut self, store: &Store<P>, leaving: &mut Leaving) {
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
    pub(super) fn leave<P: Platform>(
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
    pub(super) fn forget<P: Platform>(
        &mut self,
        store: &Store<P>,
        unit: u32,
        descriptor: Descriptor<'_>,
        state: State,
    ) {
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
}
