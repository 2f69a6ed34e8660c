//! Empty zspages on their way out of the class.

use crate::{
    class::{Class, Leaving},
    platform::Platform,
    pool::is_to_dissolve,
    store::Store,
    zspage::{Descriptor, GROWING, LAST, NO_ZSPAGE, State},
};

impl Class {
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
        let dissolves = self.zspages == 0
            && is_to_dissolve(self.index(), self.split_at, self.has_chunks_to_leave());
        descriptor.set_state(state.flagged(LAST, dissolves));
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
