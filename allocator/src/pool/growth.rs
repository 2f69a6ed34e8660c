//! Allocation, and how a class gets cells and pages. Frames are asked for with no lock held.

use crate::{
    class::Class,
    error::Error,
    handle::Handle,
    memory::Supply,
    platform::{Frame, PAGE_SIZE, Platform, give_back},
    pool::Pool,
    size_class::{HUGE_CLASS, chain, class_of, class_size, objects_in},
    store::{Store, WANTS_NOTHING, WANTS_PAGE, Wanting},
    sync::Ordering,
    zspage::{MOST_FRAMES, footprint},
};

/// A class may take objects of a class that is smaller by up to this part.
const NEIGHBOURS: usize = 8;

/// What a class wants before it can give an object.
enum Wants {
    Cell,
    Page,
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
        if self.store.hints.wants(class) == WANTS_NOTHING {
            let mut class = self.class(class).hold(self.store.platform.pin());
            if let Some(handle) = class.take_quietly(&self.store) {
                return Ok(handle);
            }
        }
        self.malloc_growing(class)
    }

    /// The way of every other object: a hole of a neighbour, or one more page for the zspage that grows.
    #[inline(never)]
    fn malloc_growing(&self, class: u8) -> Result<Handle, Error> {
        match self.store.hints.wants(class) {
            WANTS_NOTHING => {
                if let Ok(handle) = self.take(class) {
                    return Ok(handle);
                }
            }
            WANTS_PAGE => {
                if self.store.hints.any_room()
                    && let Some(handle) = self.take_of_neighbour(class)
                {
                    return Ok(handle);
                }
                if let Some(handle) = self.extend(class) {
                    return Ok(handle);
                }
            }
            _ => {}
        }
        self.malloc_slow(class)
    }

    /// Adds a page to the growing zspage and takes an object of it, if all goes well.
    #[inline]
    fn extend(&self, class: u8) -> Option<Handle> {
        self.charge().ok()?;
        let Some(frame) = self.store.platform.allocate_frame() else {
            self.discharge(1);
            return None;
        };
        let mut held = self.class(class).hold(self.store.platform.pin());
        match held.extend(&self.store, frame) {
            Ok(Some(handle)) if held.objects < held.split_at => Some(handle),
            Ok(handle) => {
                drop(held);
                self.split_if_due(class);
                handle
            }
            Err(frame) => {
                drop(held);
                self.return_frame(frame);
                None
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn malloc_slow(&self, class: u8) -> Result<Handle, Error> {
        let dry = self.store.hints.wants(class) != WANTS_NOTHING;
        if dry && let Some(handle) = self.take_of_neighbour(class) {
            return Ok(handle);
        }
        let mut taken = if dry { Err(Wants::Page) } else { self.take(class) };
        let mut drained = false;
        loop {
            let grown = match taken {
                Ok(handle) => return Ok(handle),
                Err(Wants::Page) => self.grow_page(class),
                Err(Wants::Cell) => self.grow_cells(class).map(|()| self.take(class)),
            };
            taken = match grown {
                Ok(taken) => taken,
                // A free that nobody has carried out yet may be the memory that is wanted.
                Err(_) if !drained && self.flush() != 0 => {
                    drained = true;
                    self.take(class)
                }
                Err(error) => return Err(error),
            };
        }
    }

    fn take(&self, class: u8) -> Result<Handle, Wants> {
        take(&mut self.class(class).hold(self.store.platform.pin()), &self.store)
    }

    /// An object of a class a little larger that has some to spare: a few bytes of rounding are less than a page.
    #[inline]
    fn take_of_neighbour(&self, class: u8) -> Option<Handle> {
        let index = usize::from(class);
        let largest = (class_size(index) + class_size(index) / NEIGHBOURS).min(PAGE_SIZE);
        let found = self.store.hints.room(index, class_of(largest))?;
        let neighbour = u8::try_from(found).ok().filter(|&found| found != class)?;
        self.take(neighbour).ok()
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
    #[inline]
    fn grow_page(&self, class: u8) -> Result<Result<Handle, Wants>, Error> {
        self.charge()?;
        let Some(frame) = self.store.platform.allocate_frame() else {
            self.discharge(1);
            return Err(Error::OutOfMemory);
        };
        if usize::from(class) == HUGE_CLASS {
            return self.place_huge(class, frame);
        }
        let extended = self.class(class).hold(self.store.platform.pin()).extend(&self.store, frame);
        self.split_if_due(class);
        match extended {
            Ok(Some(handle)) => Ok(Ok(handle)),
            Ok(None) => Ok(self.take(class)),
            Err(frame) => self.place_page(class, frame),
        }
    }

    #[inline(never)]
    fn split_if_due(&self, class: u8) {
        let due = {
            let class = self.class(class).hold(self.store.platform.pin());
            class.objects >= class.split_at
        };
        if due {
            self.split(class);
        }
    }

    fn place_huge(&self, class: u8, frame: Frame) -> Result<Result<Handle, Wants>, Error> {
        if frame.number() >= MOST_FRAMES {
            self.return_frame(frame);
            return Err(Error::OutOfMemory);
        }
        let taken = self.class(class).hold(self.store.platform.pin()).take_huge(&self.store, frame);
        Ok(taken.map_err(|frame| {
            self.return_frame(frame);
            Wants::Cell
        }))
    }

    /// Begins a zspage with the page.
    #[inline(never)]
    fn place_page(&self, class: u8, frame: Frame) -> Result<Result<Handle, Wants>, Error> {
        match self.take(class) {
            Err(Wants::Page) => {}
            // Somebody freed an object meanwhile; or there is no cell, without which the page would have no object, and nothing that ever gives it back.
            taken => {
                self.return_frame(frame);
                return Ok(taken);
            }
        }
        let pages = chain(class.into(), self.config.chain);
        let objects = objects_in(class.into(), pages);
        let unit = match self.with_supply(|pinned, supply| {
            self.store.new_descriptor(pinned, footprint(pages, objects), supply)
        }) {
            Ok(unit) => unit,
            Err(error) => {
                self.return_frame(frame);
                return Err(error);
            }
        };
        self.store.descriptor(unit).prepare(self.base(class), objects);
        let mut class = self.class(class).hold(self.store.platform.pin());
        class.add_zspage(&self.store, unit, frame);
        Ok(take(&mut class, &self.store))
    }

    /// Gives back a frame that was counted in.
    #[cold]
    #[inline(never)]
    fn return_frame(&self, frame: Frame) {
        give_back(&self.store.platform, frame);
        self.discharge(1);
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

fn take<P: Platform>(class: &mut Class, store: &Store<P>) -> Result<Handle, Wants> {
    class.take(store).ok_or(if class.has_cell() { Wants::Page } else { Wants::Cell })
}
