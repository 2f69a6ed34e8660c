//! What compaction does to a class's zspages: victims, and a zspage whose last pages are cut off.

use crate::{
    class::Class,
    platform::{PAGE_SIZE, Platform},
    size_class::MAX_CHAIN,
    store::{NO_CHUNK, Store},
    zspage::{GROWING, ISOLATED, NO_ZSPAGE, SHRINKING, VICTIMS},
};

/// Numbers of frames that a zspage gave up.
pub(crate) struct CutOff {
    pub(crate) frames: [u32; MAX_CHAIN],
    pub(crate) count: usize,
}

impl Class {
    /// Moves a zspage to the victims' list.
    pub(crate) fn condemn<P: Platform>(&mut self, store: &Store<P>, unit: u32) {
        let descriptor = store.descriptor(unit);
        let state = descriptor.state();
        self.unlink(store, descriptor, state.list());
        self.link(store, unit, descriptor, state, VICTIMS);
        self.choose_source(store);
    }

    /// Lets a zspage keep `cut` objects at its front; what lies behind is to be moved.
    pub(crate) fn begin_shrink<P: Platform>(&mut self, store: &Store<P>, unit: u32, cut: u32) {
        let descriptor = store.descriptor(unit);
        let before = descriptor.state();
        self.beyond = descriptor.cut(cut);
        let now = descriptor.state().flagged(SHRINKING, true);
        self.capacity = self.capacity + now.capacity() - before.capacity();
        self.unlink(store, descriptor, before.list());
        self.link(store, unit, descriptor, now, now.group());
        (self.shrinking, self.cut) = (unit, cut);
        self.choose_source(store);
    }

    /// Lets a shrinking zspage be as it was: nobody goes on with the compaction that began it.
    #[cold]
    #[inline(never)]
    pub(crate) fn abandon_shrink<P: Platform>(&mut self, store: &Store<P>) {
        let unit = core::mem::replace(&mut self.shrinking, NO_ZSPAGE);
        if unit == NO_ZSPAGE {
            return;
        }
        let descriptor = store.descriptor(unit);
        let before = descriptor.state();
        let now = descriptor.uncut(self.size()).flagged(SHRINKING, false);
        self.capacity = self.capacity + now.capacity() - before.capacity();
        self.unlink(store, descriptor, before.list());
        self.link(store, unit, descriptor, now, now.group());
        self.choose_source(store);
    }

    /// Gives up a compaction that was left off: what it had chosen has room for new objects again.
    /// Puts up to `most` zspages back; whether there may be more.
    pub(crate) fn abandon_compaction<P: Platform>(
        &mut self,
        store: &Store<P>,
        most: usize,
    ) -> bool {
        self.sweep = NO_CHUNK;
        self.abandon_shrink(store);
        self.reprieve(store, most)
    }

    /// Whether a zspage is being packed to its front.
    #[inline]
    pub(crate) fn is_shrinking(&self) -> bool {
        self.shrinking != NO_ZSPAGE
    }

    /// Whether a compaction that is under way or left off keeps room from new objects.
    pub(crate) fn is_compacted(&self) -> bool {
        self.sweep != NO_CHUNK || self.is_shrinking()
    }

    /// Whether nothing lies any more behind what a shrinking zspage keeps.
    #[inline]
    pub(crate) fn ends_shrinking(&self) -> bool {
        self.shrinking != NO_ZSPAGE && self.beyond == 0
    }

    /// Cuts off the pages behind what a shrinking zspage keeps, where nothing lies any more.
    /// Returns the frames' numbers.
    pub(crate) fn end_shrink<P: Platform>(&mut self, store: &Store<P>) -> CutOff {
        let mut off = CutOff { frames: [0; MAX_CHAIN], count: 0 };
        let unit = self.shrinking;
        let descriptor = store.descriptor(unit);
        let before = descriptor.state();
        let keep = (self.cut as usize * self.size()).div_ceil(PAGE_SIZE).max(1);
        for page in keep..before.pages() {
            off.frames[off.count] = descriptor.frame(page);
            off.count += 1;
            self.pages -= 1;
        }
        let now = descriptor.keep_pages(keep, self.size()).flagged(SHRINKING, false);
        self.capacity = self.capacity + now.capacity() - before.capacity();
        self.unlink(store, descriptor, before.list());
        self.shrinking = NO_ZSPAGE;
        if self.growing == NO_ZSPAGE && keep < self.chain.into() {
            self.growing = unit;
            descriptor.set_state(now.with_list(GROWING).armed());
        } else {
            self.link(store, unit, descriptor, now, now.group());
        }
        self.choose_source(store);
        off
    }

    /// Puts up to `most` zspages of the victims' list back among the others. Whether there may be
    /// more.
    pub(crate) fn reprieve<P: Platform>(&mut self, store: &Store<P>, most: usize) -> bool {
        let mut left = most;
        let mut unit = self.first(VICTIMS);
        while unit != NO_ZSPAGE && left != 0 {
            let descriptor = store.descriptor(unit);
            let (next, state) = (descriptor.next(), descriptor.state());
            if !state.has(ISOLATED) {
                self.unlink(store, descriptor, VICTIMS);
                self.link(store, unit, descriptor, state, state.group());
                left -= 1;
            }
            unit = next;
        }
        self.choose_source(store);
        left == 0
    }
}
