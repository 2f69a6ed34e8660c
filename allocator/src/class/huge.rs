//! Objects of a whole page: a frame each, whose number is the location. They have no zspage; and
//! what leaves a class, of either kind.

use crate::{
    class::Class,
    handle::Handle,
    platform::{Frame, Platform},
    store::{NO_CELL, Store},
    zspage::{HUGE, NO_ZSPAGE, bytes},
};

/// No frame.
pub(crate) const NO_FRAME: u32 = u32::MAX;

/// Empty zspages and frames of huge objects on their way out: the former linked through their
/// descriptors, the latter through themselves.
pub(crate) struct Leaving {
    pub(crate) zspage: u32,
    pub(crate) frame: u32,
}

impl Leaving {
    pub(crate) const fn none() -> Self {
        Self { zspage: NO_ZSPAGE, frame: NO_FRAME }
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.zspage == NO_ZSPAGE && self.frame == NO_FRAME
    }
}

impl Class {
    /// Makes an object of a frame, if there is a cell for it.
    #[inline]
    pub(crate) fn take_huge<P: Platform>(
        &mut self,
        store: &Store<P>,
        frame: Frame,
    ) -> Result<Handle, Frame> {
        let cell = self.free_cell;
        if cell == NO_CELL {
            return Err(frame);
        }
        self.pages += 1;
        self.capacity += 1;
        Ok(self.bind(store, cell, frame.into_number() | HUGE))
    }

    pub(super) fn put_huge<P: Platform>(
        &mut self,
        store: &Store<P>,
        at: u32,
        leaving: &mut Leaving,
    ) {
        self.pages -= 1;
        self.capacity -= 1;
        bytes::link(&store.platform, at & !HUGE, leaving.frame);
        leaving.frame = at & !HUGE;
    }

    /// Takes every huge object's frame: for teardown.
    pub(crate) fn pop_huge<P: Platform>(&mut self, store: &Store<P>, leaving: &mut Leaving) {
        self.each_location(store, |class, at| {
            if at & HUGE != 0 {
                class.put_huge(store, at, leaving);
            }
        });
    }
}
