//! Allocation, and how a class gets cells and pages. Frames are asked for with no lock held.

use crate::{
    class::Class,
    error::Error,
    handle::Handle,
    memory::Supply,
    platform::{Frame, PAGE_SIZE, Platform, give_back},
    pool::Pool,
    size_class::{HUGE_CLASS, chain, class_of, class_size, objects_in},
    store::Wanting,
    sync::Ordering,
    zspage::{MOST_FRAMES, footprint},
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
        if size.wrapping_sub(1) >= PAGE_SIZE {
            return Err(if size == 0 { Error::ZeroSize } else { Error::TooLarge });
        }
        #[expect(clippy::cast_possible_truncation, reason = "a class is less than 255")]
        let class = self.mapped(class_of(size) as u8);
        let taken = if self.store.hints.is_dry(class) { Grown::WantsPage } else { self.take(class) };
        match taken {
            Grown::Object(cell, generation) => Ok(Handle::new(cell, generation, class, self.tag)),
            wanted => self.malloc_slow(class, wanted),
        }
    }

    #[cold]
    #[inline(never)]
    fn malloc_slow(&self, class: u8, mut wanted: Grown) -> Result<Handle, Error> {
        if let Some(neighbour) = self.neighbour_with_room(class)
            && let Grown::Object(cell, generation) = self.take(neighbour)
        {
            return Ok(Handle::new(cell, generation, neighbour, self.tag));
        }
        let mut drained = false;
        loop {
            let grown = match wanted {
                Grown::Object(cell, generation) => return Ok(Handle::new(cell, generation, class, self.tag)),
                Grown::WantsCell => self.grow_cells(class).map(|()| self.take(class)),
                Grown::WantsPage => self.grow_page(class),
            };
            wanted = match grown {
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
    fn take(&self, class: u8) -> Grown {
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
    fn neighbour_with_room(&self, class: u8) -> Option<u8> {
        let index = usize::from(class);
        let largest = (class_size(index) + class_size(index) / NEIGHBOURS).min(PAGE_SIZE);
        let found = self.store.hints.room(index, class_of(largest))?;
        u8::try_from(found).ok().filter(|&found| found != class)
    }

    fn grow_cells(&self, class: u8) -> Result<(), Error> {
        self.with_supply(|pinned, supply| {
            let chunk = self.store.new_chunk(pinned, supply)?;
            self.class(class).lock(pinned).add_chunk(&self.store, chunk);
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
    fn grow_page(&self, class: u8) -> Result<Grown, Error> {
        self.charge()?;
        let grown = match self.store.platform.allocate_frame() {
            Some(frame) if usize::from(class) == HUGE_CLASS => self.place_huge(class, frame),
            Some(frame) => self.place_page(class, frame),
            None => Err(Error::OutOfMemory),
        };
        if grown.is_err() {
            self.discharge(1);
        }
        grown
    }

    fn place_huge(&self, class: u8, frame: Frame) -> Result<Grown, Error> {
        if frame.number() >= MOST_FRAMES {
            give_back(&self.store.platform, frame);
            return Err(Error::OutOfMemory);
        }
        let taken = {
            let pinned = self.store.platform.pin();
            self.class(class).lock(&pinned).take_huge(&self.store, frame)
        };
        match taken {
            Ok((cell, generation)) => Ok(Grown::Object(cell, generation)),
            Err(frame) => {
                give_back(&self.store.platform, frame);
                self.discharge(1);
                Ok(Grown::WantsCell)
            }
        }
    }

    fn place_page(&self, class: u8, frame: Frame) -> Result<Grown, Error> {
        let most = self.config.chain;
        let (extended, taken, split) = {
            let pinned = self.store.platform.pin();
            let mut class = self.class(class).lock(&pinned);
            // Without a cell a page would have no object, and nothing that ever gives it back.
            let extended = if class.has_cell() { class.extend(&self.store, frame, most) } else { Err(frame) };
            (extended, self.take_locked(&mut class), class.objects >= class.split_at)
        };
        if split {
            self.split(class);
        }
        let frame = match (extended, taken) {
            (Ok(()), taken) => return Ok(taken),
            (Err(frame), Grown::WantsPage) => frame,
            // Somebody freed an object meanwhile, or there is no cell.
            (Err(frame), taken) => {
                give_back(&self.store.platform, frame);
                self.discharge(1);
                return Ok(taken);
            }
        };
        let pages = chain(class.into(), most);
        let objects = objects_in(class.into(), pages);
        let unit = match self.with_supply(|pinned, supply| {
            self.store.new_descriptor(pinned, footprint(pages, objects), supply)
        }) {
            Ok(unit) => unit,
            Err(error) => {
                give_back(&self.store.platform, frame);
                return Err(error);
            }
        };
        self.store.descriptor(unit).prepare(self.tag.owner(class), objects);
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
        self.discharge(1);
        Err(Error::LimitReached)
    }

    pub(crate) fn discharge(&self, pages: usize) {
        // Relaxed: a count; nothing is published by it.
        self.pages.fetch_sub(pages, Ordering::Relaxed);
    }
}
