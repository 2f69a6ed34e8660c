//! What happens to empty zspages and to frames of huge objects once they have left their class.

use crate::{
    class::Leaving,
    config::Rung,
    platform::{Frames, Platform},
    pool::Pool,
    size_class::footprint_of,
    zspage::{LAST, NO_ZSPAGE, bytes},
};

/// Descriptors that are given back under one hold of the arena's lock.
const DESCRIPTORS: usize = 32;
const NO_FRAME: u32 = Leaving::none().frame;

/// Frames of huge objects that are given back in one call.
const BACK: usize = 16;

impl<P: Platform> Pool<P> {
    /// Gives back the frames of what left its class, or keeps them for the drain where the rung
    /// says so.
    pub(crate) fn release(&self, leaving: Leaving) {
        if leaving.is_empty() {
            return;
        }
        if self.config.rung == Rung::DeferredRelease {
            return self.park(leaving);
        }
        self.release_now(leaving);
    }

    fn park(&self, mut leaving: Leaving) {
        let pinned = self.store.platform.pin();
        let mut parked = self.parked.lock(&pinned);
        while leaving.zspage != NO_ZSPAGE {
            let descriptor = self.store.descriptor(leaving.zspage);
            let next = descriptor.next();
            descriptor.set_next(parked.zspage);
            parked.zspage = core::mem::replace(&mut leaving.zspage, next);
        }
        while leaving.frame != NO_FRAME {
            let next = bytes::linked(&self.store.platform, leaving.frame);
            bytes::link(&self.store.platform, leaving.frame, parked.frame);
            parked.frame = core::mem::replace(&mut leaving.frame, next);
        }
    }

    /// Whether nothing waits for [`Pool::release_parked`].
    pub(super) fn parks_nothing(&self) -> bool {
        self.parked.lock(&self.store.platform.pin()).is_empty()
    }

    /// Releases what was parked; how many pages that were.
    pub(crate) fn release_parked(&self) -> usize {
        if self.config.rung != Rung::DeferredRelease {
            return 0;
        }
        let leaving = {
            let pinned = self.store.platform.pin();
            core::mem::replace(&mut *self.parked.lock(&pinned), Leaving::none())
        };
        self.release_now(leaving)
    }

    /// Gives frames back in bulk, then the descriptors. How many pages that were.
    pub(crate) fn release_now(&self, leaving: Leaving) -> usize {
        let mut total = self.release_huge(leaving.frame);
        let mut zspage = leaving.zspage;
        while zspage != NO_ZSPAGE {
            let descriptor = self.store.descriptor(zspage);
            // SAFETY: the zspage left its class, and nothing in it is used any more.
            let numbers = unsafe { descriptor.numbers() };
            // SAFETY: the frames were the zspage's, whose descriptor goes next.
            self.store.platform.release_frames(unsafe { Frames::from_numbers(numbers) });
            total += numbers.len();
            zspage = descriptor.next();
        }
        self.discharge(total);
        let mut zspage = leaving.zspage;
        while zspage != NO_ZSPAGE {
            zspage = self.release_descriptors(zspage);
        }
        total
    }

    /// Gives back frames that are linked through themselves; how many those were.
    #[inline]
    fn release_huge(&self, first: u32) -> usize {
        let (mut frame, mut total) = (first, 0);
        while frame != NO_FRAME {
            let mut numbers = [0; BACK];
            let mut count = 0;
            while frame != NO_FRAME && count < BACK {
                numbers[count] = frame;
                count += 1;
                frame = bytes::linked(&self.store.platform, frame);
            }
            // SAFETY: the frames were the objects', which were freed.
            self.store.platform.release_frames(unsafe { Frames::from_numbers(&numbers[..count]) });
            total += count;
        }
        total
    }

    /// Gives back some descriptors of a list; returns the next one.
    fn release_descriptors(&self, first: u32) -> u32 {
        let mut zspage = first;
        let mut emptied = None;
        let some = core::iter::from_fn(|| {
            if zspage == NO_ZSPAGE || emptied.is_some() {
                return None;
            }
            let descriptor = self.store.descriptor(zspage);
            let state = descriptor.state();
            emptied = state.has(LAST).then(|| state.class());
            let gone = core::mem::replace(&mut zspage, descriptor.next());
            Some((gone, footprint_of(state.class(), self.config.chain)))
        });
        self.store.free_descriptors(&self.store.platform.pin(), some.take(DESCRIPTORS));
        if let Some(class) = emptied.and_then(|class| u8::try_from(class).ok())
            && self.config.rung != Rung::SynchronousInside
        {
            self.dissolve(class);
        }
        zspage
    }
}
