//! Pages for a class: a zspage takes them one at a time, as its objects are taken.

use crate::{
    class::{Class, PARTIAL},
    handle::Handle,
    platform::{Frame, PAGE_SIZE, Platform},
    store::{NO_CELL, Store},
    zspage::{NO_ZSPAGE, location},
};

impl Class {
    /// Adds a page to the zspage that grows, and takes the first object that it brings; gives the
    /// frame back if there is no cell, no zspage that may grow, or room without it.
    #[inline(always)]
    pub(crate) fn extend<P: Platform>(
        &mut self,
        store: &Store<P>,
        frame: Frame,
    ) -> Result<Handle, Frame> {
        let (unit, cell) = (self.growing, self.free_cell);
        if unit == NO_ZSPAGE || cell == NO_CELL {
            return Err(frame);
        }
        let descriptor = store.descriptor(unit);
        let before = descriptor.state();
        let pages = before.pages();
        if pages >= self.chain.into() || before.has_free() {
            return Err(frame);
        }
        descriptor.set_frame(pages, frame.into_number());
        let object = before.capacity();
        // An object is at most a page, so each page brings at least one.
        #[expect(clippy::cast_possible_truncation, reason = "at most 128 objects")]
        let capacity = ((pages + 1) * PAGE_SIZE / self.size()) as u32;
        descriptor.put_all(object + 1, capacity);
        let state = before.grown(capacity - object);
        descriptor.set_state(state);
        self.pages += 1;
        self.capacity += capacity - object;
        if self.lists_used & PARTIAL == 0 {
            self.grow_from(store, unit, state);
        }
        Ok(self.bind(store, cell, location(unit, object)))
    }

    /// Begins a zspage that was prepared for this class with its first page, and takes its first
    /// object; gives the frame back if there is no cell, or room without it.
    pub(crate) fn begin<P: Platform>(
        &mut self,
        store: &Store<P>,
        unit: u32,
        frame: Frame,
    ) -> Result<Handle, Frame> {
        let cell = self.free_cell;
        if cell == NO_CELL || self.source != NO_ZSPAGE {
            return Err(frame);
        }
        let descriptor = store.descriptor(unit);
        descriptor.set_frame(0, frame.into_number());
        #[expect(clippy::cast_possible_truncation, reason = "at most 128 objects")]
        let capacity = (PAGE_SIZE / self.size()) as u32;
        descriptor.put_all(1, capacity);
        let state = descriptor.state().with_counts(capacity - 1, capacity);
        self.zspages += 1;
        self.pages += 1;
        self.capacity += capacity;
        // The one that grew has no room, or none that is known before a batch ends; it may be one
        // that another core has just begun.
        self.retire_growing(store);
        if self.chain > 1 {
            self.growing = unit;
            descriptor.set_state(state.armed());
        } else {
            self.link(store, unit, descriptor, state, state.group());
        }
        self.choose_source(store);
        Ok(self.bind(store, cell, location(unit, 0)))
    }

    /// Puts the growing zspage among the others.
    pub(crate) fn stop_growing<P: Platform>(&mut self, store: &Store<P>) {
        if self.growing != NO_ZSPAGE {
            self.retire_growing(store);
            self.choose_source(store);
        }
    }

    #[inline]
    pub(super) fn retire_growing<P: Platform>(&mut self, store: &Store<P>) {
        let unit = core::mem::replace(&mut self.growing, NO_ZSPAGE);
        if unit != NO_ZSPAGE {
            let descriptor = store.descriptor(unit);
            let state = descriptor.state();
            self.link(store, unit, descriptor, state, state.group());
        }
    }

    /// Puts the growing zspage among the others if it has a page's worth of free objects, which
    /// compaction may want to gather.
    pub(crate) fn offer_growing<P: Platform>(&mut self, store: &Store<P>) {
        if self.growing != NO_ZSPAGE
            && store.descriptor(self.growing).state().free() as usize * self.size() >= PAGE_SIZE
        {
            self.stop_growing(store);
        }
    }
}
