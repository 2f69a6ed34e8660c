//! Allocation, and how a class gets cells and zspages. Frames are asked for with no lock held.

use crate::{
    class::{Class, Leaving},
    config::Rung,
    error::Error,
    handle::{Handle, owner},
    memory::Supply,
    platform::{Frame, PAGE_SIZE, Platform},
    pool::Pool,
    size_class::{chain, class_of, class_size},
    store::Wanting,
    sync::Ordering,
};

/// A class may take objects of a class that is smaller by up to this part.
const NEIGHBOURS: usize = 8;

/// What an attempt at taking an object came to.
enum Grown {
    Object(u32, u8),
    WantsCell,
    WantsPage,
}

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
        // Relaxed: any class that was ever right for this size still is.
        let class = usize::from(self.map[class_of(size)].load(Ordering::Relaxed));
        match self.take(class) {
            Grown::Object(cell, generation) => self.name(cell, generation, class),
            wanted => self.malloc_slow(class, wanted),
        }
    }

    #[inline]
    fn name(&self, cell: u32, generation: u8, class: usize) -> Result<Handle, Error> {
        #[expect(clippy::cast_possible_truncation, reason = "a class is less than 255")]
        Handle::new(cell, generation, class as u8, self.tag).ok_or(Error::ForeignHandle)
    }

    #[cold]
    #[inline(never)]
    fn malloc_slow(&self, class: usize, mut wanted: Grown) -> Result<Handle, Error> {
        if let Some(neighbour) = self.neighbour_with_room(class)
            && let Grown::Object(cell, generation) = self.take(neighbour)
        {
            return self.name(cell, generation, neighbour);
        }
        let mut drained = false;
        loop {
            let failed = match wanted {
                Grown::Object(cell, generation) => return self.name(cell, generation, class),
                Grown::WantsCell => self.grow_cells(class).map(|()| self.take(class)),
                Grown::WantsPage => self.grow_page(class),
            };
            wanted = match failed {
                Ok(next) => next,
                // A free that nobody has carried out yet may be the memory that is wanted.
                Err(_) if !drained && self.flush() != 0 => {
                    drained = true;
                    self.take(class)
                }
                Err(error) => return Err(error),
            };
        }
    }

    #[inline]
    fn take(&self, class: usize) -> Grown {
        let pinned = self.store.platform.pin();
        let mut class = self.class(class).lock(&pinned);
        self.take_locked(&mut class)
    }

    #[inline]
    fn take_locked(&self, class: &mut Class) -> Grown {
        match class.take(&self.store) {
            Some((cell, generation)) => Grown::Object(cell, generation),
            None if class.has_cell() => Grown::WantsPage,
            None => Grown::WantsCell,
        }
    }

    /// A class a little larger that has a free object while `class` has none: a few bytes of rounding are less than a page.
    fn neighbour_with_room(&self, class: usize) -> Option<usize> {
        let largest = (class_size(class) + class_size(class) / NEIGHBOURS).min(PAGE_SIZE);
        let found = self.store.room(class, class_of(largest))?;
        (found != class).then_some(found)
    }

    fn grow_cells(&self, class: usize) -> Result<(), Error> {
        let name = owner(u8::try_from(class).map_err(|_| Error::TooLarge)?, self.tag);
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

    /// Adds a page to the class, and takes an object of it.
    fn grow_page(&self, class: usize) -> Result<Grown, Error> {
        self.charge()?;
        let grown = match self.store.platform.allocate_frame() {
            Some(frame) => self.place_page(class, frame),
            None => Err(Error::OutOfMemory),
        };
        if grown.is_err() {
            // Relaxed: a count; nothing is published by it.
            self.pages.fetch_sub(1, Ordering::Relaxed);
        }
        grown
    }

    fn place_page(&self, class: usize, frame: Frame) -> Result<Grown, Error> {
        let most = self.config.chain;
        let (extended, taken, split) = {
            let pinned = self.store.platform.pin();
            let mut class = self.class(class).lock(&pinned);
            let extended = class.extend(&self.store, frame, most);
            (extended, self.take_locked(&mut class), class.objects >= class.split_at)
        };
        if split {
            self.split(class);
        }
        let frame = match (extended, taken) {
            (Ok(()), taken) => return Ok(taken),
            (Err(frame), Grown::Object(cell, generation)) => {
                // Somebody freed an object meanwhile.
                self.store.platform.release_frames(&mut core::iter::once(frame));
                // Relaxed: a count; nothing is published by it.
                self.pages.fetch_sub(1, Ordering::Relaxed);
                return Ok(Grown::Object(cell, generation));
            }
            (Err(frame), _) => frame,
        };
        let pages = chain(class, most);
        let unit = match self.with_supply(|pinned, supply| self.store.new_descriptor(pinned, pages, supply)) {
            Ok(unit) => unit,
            Err(error) => {
                self.store.platform.release_frames(&mut core::iter::once(frame));
                return Err(error);
            }
        };
        #[expect(clippy::cast_possible_truncation, reason = "a class is less than 255")]
        self.store.descriptor(unit).prepare(class as u8);
        let pinned = self.store.platform.pin();
        let mut class = self.class(class).lock(&pinned);
        class.add_zspage(&self.store, unit, frame, most);
        Ok(self.take_locked(&mut class))
    }

    /// Counts a page in, unless it would pass the limit.
    fn charge(&self) -> Result<(), Error> {
        // Relaxed: the read-modify-write alone keeps the count below the limit. Once for each page, not for each object.
        if self.pages.fetch_add(1, Ordering::Relaxed) < self.config.page_limit {
            return Ok(());
        }
        // Relaxed: as above.
        self.pages.fetch_sub(1, Ordering::Relaxed);
        Err(Error::LimitReached)
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
            let (next, class) = (descriptor.next(), descriptor.class());
            self.store.free_descriptor(&self.store.platform.pin(), unit, chain(class, self.config.chain));
            if self.config.rung != Rung::SynchronousInside {
                self.dissolve(class);
            }
            unit = next;
        }
        total
    }
}
