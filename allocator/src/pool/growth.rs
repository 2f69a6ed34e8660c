//! Allocation, and how a class gets cells and zspages. Frames are asked for with no lock held.

use crate::{
    class::Leaving,
    config::Rung,
    error::Error,
    handle::Handle,
    memory::Supply,
    platform::{Frame, PAGE_SIZE, Platform},
    pool::Pool,
    size_class::{chain, class_of, objects_in},
    store::Wanting,
    sync::Ordering,
};

impl<P: Platform> Pool<P> {
    /// Takes an object of at least `size` bytes, with any content.
    ///
    /// # Errors
    /// [`Error::ZeroSize`], [`Error::TooLarge`] above a page; [`Error::LimitReached`] or [`Error::OutOfMemory`] after
    /// every ring was drained and a smaller zspage was tried.
    #[inline]
    pub fn malloc(&self, size: usize) -> Result<Handle, Error> {
        if size == 0 {
            return Err(Error::ZeroSize);
        }
        if size > PAGE_SIZE {
            return Err(Error::TooLarge);
        }
        let class = class_of(size);
        let taken = {
            let pinned = self.store.platform.pin();
            self.class(class).lock(&pinned).take(&self.store)
        };
        match taken {
            Some((cell, generation)) => self.name(cell, generation, class),
            None => self.malloc_slow(class),
        }
    }

    #[inline]
    fn name(&self, cell: u32, generation: u8, class: usize) -> Result<Handle, Error> {
        #[expect(clippy::cast_possible_truncation, reason = "a class is less than 255")]
        Handle::new(cell, generation, class as u8, self.tag).ok_or(Error::ForeignHandle)
    }

    #[cold]
    #[inline(never)]
    fn malloc_slow(&self, class: usize) -> Result<Handle, Error> {
        let mut drained = false;
        loop {
            let failed = match self.grow(class) {
                Ok(()) => {
                    let pinned = self.store.platform.pin();
                    let taken = self.class(class).lock(&pinned).take(&self.store);
                    match taken {
                        Some((cell, generation)) => return self.name(cell, generation, class),
                        // Another core took what was grown.
                        None => continue,
                    }
                }
                Err(error) => error,
            };
            // A free that nobody has carried out yet may be the memory that is wanted.
            if drained || self.flush() == 0 {
                return Err(failed);
            }
            drained = true;
        }
    }

    /// Gives a class what it lacks for one more object.
    fn grow(&self, class: usize) -> Result<(), Error> {
        let (wants_cell, wants_room) = {
            let pinned = self.store.platform.pin();
            let class = self.class(class).lock(&pinned);
            (!class.has_cell(), !class.has_room())
        };
        if wants_cell {
            self.grow_cells(class)?;
        }
        if wants_room {
            let pages = chain(class, self.config.chain);
            match self.grow_zspage(class, pages) {
                // Too few frames for a whole chain may still be enough for one object.
                Err(_) if pages > 1 && !self.anything_pending() => self.grow_zspage(class, 1)?,
                result => result?,
            }
        }
        Ok(())
    }

    fn anything_pending(&self) -> bool {
        self.used_rings().any(|ring| ring.pending().1 != 0)
    }

    fn grow_cells(&self, class: usize) -> Result<(), Error> {
        let name = u8::try_from(class).map_err(|_| Error::TooLarge)?;
        self.with_supply(|pinned, supply| {
            let (chunk, first) = self.store.new_chunk(pinned, name, supply)?;
            self.class(class).lock(pinned).add_chunk(&self.store, chunk, first);
            Ok(())
        })
    }

    /// Runs `step` with metadata frames at hand, if it turns out to want some.
    fn with_supply<T>(
        &self,
        step: impl Fn(&P::Pinned<'_>, &mut Supply) -> Result<T, Wanting>,
    ) -> Result<T, Error> {
        let mut supply = Supply::default();
        for round in 0..2 {
            if round == 1 {
                let filled = supply.fill(&self.store.platform, 2);
                if let Err(error) = filled {
                    supply.settle(&self.store.platform);
                    return Err(error);
                }
            }
            let result = {
                let pinned = self.store.platform.pin();
                step(&pinned, &mut supply)
            };
            if let Ok(value) = result {
                supply.settle(&self.store.platform);
                return Ok(value);
            }
        }
        supply.settle(&self.store.platform);
        Err(Error::OutOfMemory)
    }

    fn grow_zspage(&self, class: usize, pages: usize) -> Result<(), Error> {
        self.charge(pages)?;
        let made = self.make_zspage(class, pages);
        if made.is_err() {
            // Relaxed: a count; nothing is published by it.
            self.pages.fetch_sub(pages, Ordering::Relaxed);
        }
        let unit = made?;
        let pinned = self.store.platform.pin();
        self.class(class).lock(&pinned).add_zspage(&self.store, unit);
        Ok(())
    }

    /// Counts pages in, unless they would pass the limit.
    fn charge(&self, pages: usize) -> Result<(), Error> {
        // Relaxed: the read-modify-write alone keeps the count below the limit. Once for each zspage, not for each object.
        self.pages
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                held.checked_add(pages).filter(|&held| held <= self.config.page_limit)
            })
            .map(|_| ())
            .map_err(|_| Error::LimitReached)
    }

    fn make_zspage(&self, class: usize, pages: usize) -> Result<u32, Error> {
        let unit = self.with_supply(|pinned, supply| self.store.new_descriptor(pinned, pages, supply))?;
        let descriptor = self.store.descriptor(unit);
        descriptor.prepare(
            u8::try_from(class).map_err(|_| Error::TooLarge)?,
            pages,
            objects_in(class, pages),
        );
        for page in 0..pages {
            let Some(frame) = self.store.platform.allocate_frame() else {
                self.store.platform.release_frames(&mut (0..page).map(|page| {
                    // SAFETY: taken just now, and forgotten with the descriptor.
                    unsafe { Frame::from_number(descriptor.frame(page)) }
                }));
                self.store.free_descriptor(&self.store.platform.pin(), unit, pages);
                return Err(Error::OutOfMemory);
            };
            descriptor.set_frame(page, frame.into_number());
        }
        Ok(unit)
    }

    /// Gives back the frames of zspages that left their class, then their descriptors.
    pub(crate) fn release(&self, leaving: Leaving) {
        if leaving.is_empty() {
            return;
        }
        if self.config.rung == Rung::DeferredRelease {
            return self.park(leaving);
        }
        self.release_now(leaving);
    }

    fn park(&self, leaving: Leaving) {
        let pinned = self.store.platform.pin();
        let mut parked = self.parked.lock(&pinned);
        let mut unit = leaving.first;
        while unit != Leaving::none().first {
            let descriptor = self.store.descriptor(unit);
            let next = descriptor.next();
            descriptor.set_next(parked.first);
            parked.first = unit;
            unit = next;
        }
    }

    /// Releases what was parked; how many pages that were.
    pub(crate) fn release_parked(&self) -> usize {
        let leaving = {
            let pinned = self.store.platform.pin();
            core::mem::replace(&mut *self.parked.lock(&pinned), Leaving::none())
        };
        self.release_now(leaving)
    }

    pub(crate) fn release_now(&self, leaving: Leaving) -> usize {
        let mut total = 0;
        let mut unit = leaving.first;
        let mut page = 0;
        // One call for all frames of all zspages.
        self.store.platform.release_frames(&mut core::iter::from_fn(|| {
            if unit == Leaving::none().first {
                return None;
            }
            let descriptor = self.store.descriptor(unit);
            let number = descriptor.frame(page);
            page += 1;
            total += 1;
            if page == descriptor.pages() {
                page = 0;
                unit = descriptor.next();
            }
            // SAFETY: the zspage left its class empty, so nobody else knows this frame.
            Some(unsafe { Frame::from_number(number) })
        }));
        // Relaxed: a count; nothing is published by it.
        self.pages.fetch_sub(total, Ordering::Relaxed);
        let mut unit = leaving.first;
        while unit != Leaving::none().first {
            let descriptor = self.store.descriptor(unit);
            let (next, pages) = (descriptor.next(), descriptor.pages());
            self.store.free_descriptor(&self.store.platform.pin(), unit, pages);
            unit = next;
        }
        total
    }
}
