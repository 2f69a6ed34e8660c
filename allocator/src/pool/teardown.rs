//! The end of a pool: every ring drained, every frame back.

use crate::{
    class::Leaving,
    deferred::frames,
    platform::{Frames, Platform},
    pool::Pool,
};

/// What a pool still held when it was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Teardown {
    /// Handles that were pending in the rings, freed as the first step.
    pub drained: usize,
    /// Objects that nobody had freed.
    pub live: usize,
    /// Pages of zspages that held them.
    pub pages: usize,
}

impl<P: Platform> Pool<P> {
    /// Ends the pool: drains every ring, then gives every frame back. Nobody can be using it, since
    /// it is taken by value.
    pub fn close(mut self) -> Teardown {
        self.tear_down()
    }

    fn tear_down(&mut self) -> Teardown {
        let mut report = Teardown::default();
        let complete = self.numbers.iter().all(|&number| number != 0);
        if complete && self.made_rings != 0 {
            report.drained = self.flush();
            for index in 0..=u8::MAX {
                let Some(mut class) = self.class(index).try_lock() else { continue };
                report.live += class.objects as usize;
                let mut leaving = Leaving::none();
                class.pop_zspages(&self.store, &mut leaving);
                class.pop_huge(&self.store, &mut leaving);
                drop(class);
                report.pages += self.release_now(leaving);
            }
        }
        for core in 0..core::mem::take(&mut self.made_rings) {
            // SAFETY: the table was written before the first ring was counted.
            let table = unsafe { self.rings.as_ref() };
            let ring = table[core];
            // SAFETY: made by `create`, and `&mut self` says that nobody uses it.
            unsafe { frames::destroy(&self.store.platform, ring) };
        }
        for number in &mut self.numbers {
            if let Some(number) = core::mem::take(number).checked_sub(1) {
                let number = [number];
                // SAFETY: the pool took this frame, and forgets it here.
                self.store.platform.release_frames(unsafe { Frames::from_numbers(&number) });
            }
        }
        self.store.dismantle();
        report
    }
}

impl<P: Platform> Drop for Pool<P> {
    fn drop(&mut self) {
        self.tear_down();
    }
}
