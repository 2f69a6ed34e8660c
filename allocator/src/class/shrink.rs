//! What compaction does to a class: victims, and a zspage whose last pages are cut off.

use crate::{
    class::{Class, VICTIMS, group},
    platform::{PAGE_SIZE, Platform},
    size_class::{MAX_CHAIN, chain},
    store::Store,
    zspage::{GROWING, NO_ZSPAGE, SHRINKING, VICTIM},
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
        self.unlink(store, unit, group(descriptor.usage()));
        descriptor.set_flag(VICTIM, true);
        self.link(store, unit, VICTIMS);
    }

    /// Lets a zspage keep `cut` objects at its front; what lies behind is to be moved.
    pub(crate) fn begin_shrink<P: Platform>(&mut self, store: &Store<P>, unit: u32, cut: u32) {
        let descriptor = store.descriptor(unit);
        let before = descriptor.usage();
        self.beyond = descriptor.shrink(&store.platform, self.size(), cut);
        let now = descriptor.usage();
        self.capacity = self.capacity + now.capacity() - before.capacity();
        self.unlink(store, unit, group(before));
        self.link(store, unit, group(now));
        descriptor.set_flag(SHRINKING, true);
        (self.shrinking, self.cut) = (unit, cut);
    }

    /// Cuts off the pages behind what a shrinking zspage keeps, once nothing lies there any more. Returns the frames' numbers.
    pub(crate) fn end_shrink<P: Platform>(&mut self, store: &Store<P>, most: usize) -> CutOff {
        let mut off = CutOff { frames: [0; MAX_CHAIN], count: 0 };
        let unit = self.shrinking;
        if unit == NO_ZSPAGE || self.beyond != 0 {
            return off;
        }
        let descriptor = store.descriptor(unit);
        let (before, pages) = (descriptor.usage(), descriptor.pages());
        let keep = (self.cut as usize * self.size()).div_ceil(PAGE_SIZE).max(1);
        for page in keep..pages {
            off.frames[off.count] = descriptor.frame(page);
            off.count += 1;
            self.pages -= 1;
        }
        descriptor.set_pages(keep, self.size());
        descriptor.set_flag(SHRINKING, false);
        let now = descriptor.usage();
        self.capacity = self.capacity + now.capacity() - before.capacity();
        self.unlink(store, unit, group(before));
        self.shrinking = NO_ZSPAGE;
        if self.growing == NO_ZSPAGE && keep < chain(usize::from(self.index), most) {
            self.growing = unit;
            descriptor.set_flag(GROWING, true);
        } else {
            self.link(store, unit, group(now));
        }
        off
    }

    /// Puts what is left on the victims' list back among the others.
    pub(crate) fn reprieve<P: Platform>(&mut self, store: &Store<P>) {
        while self.lists[VICTIMS] != NO_ZSPAGE {
            let unit = self.lists[VICTIMS];
            let descriptor = store.descriptor(unit);
            self.unlink(store, unit, VICTIMS);
            descriptor.set_flag(VICTIM, false);
            self.link(store, unit, group(descriptor.usage()));
        }
    }
}
