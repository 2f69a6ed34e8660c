//! Allocation, and how a class gets cells and pages. Frames are asked for with no lock held.

use crate::{
    class::Class,
    compact::REPRIEVES,
    error::Error,
    handle::Handle,
    memory::Supply,
    platform::{Frame, PAGE_SIZE, Platform, give_back},
    pool::{Pool, deferred::Need},
    size_class::{HUGE_CLASS, chain, class_of, class_size, objects_in},
    store::{Store, WANTS_NOTHING, WANTS_PAGE, Wanting},
    sync::{Held, Ordering},
    zspage::{MOST_FRAMES, footprint},
};

/// A class may take objects of a class that is smaller by up to this part.
const NEIGHBOURS: usize = 8;

/// What a class wants before it can give an object.
enum Wants {
    Cell,
    Page,
}

/// Why no zspage was begun.
enum Begin {
    /// The class wants a cell, or somebody else made room.
    Met,
    Failed(Error),
}

impl From<Error> for Begin {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<P: Platform> Pool<P> {
    /// Takes an object of at least `size` bytes, with any content.
    ///
    /// # Errors
    /// [`Error::ZeroSize`], [`Error::TooLarge`] above a page; [`Error::LimitReached`] or
    /// [`Error::OutOfMemory`] after every ring was drained and a smaller zspage was tried.
    #[inline]
    pub fn malloc(&self, size: usize) -> Result<Handle, Error> {
        // As a shift, for which the compiler has three instructions; it makes four of a comparison.
        if size.wrapping_sub(1) >> PAGE_SIZE.trailing_zeros() != 0 {
            return Err(if size == 0 { Error::ZeroSize } else { Error::TooLarge });
        }
        #[expect(clippy::cast_possible_truncation, reason = "a class is less than 255")]
        let index = self.mapped(class_of(size) as u8);
        if self.store.hints.wants(index) != WANTS_NOTHING {
            return self.malloc_growing(index);
        }
        let mut class = self.class(index).hold(self.store.platform.pin());
        match class.take_quietly(&self.store) {
            Some(handle) => Ok(handle),
            None => self.malloc_loudly(class, index),
        }
    }

    /// An object whose taking changes a list.
    #[inline(never)]
    fn malloc_loudly(
        &self,
        mut class: Held<'_, Class, P::Pinned<'_>>,
        index: u8,
    ) -> Result<Handle, Error> {
        match class.take(&self.store) {
            Some(handle) => Ok(handle),
            None => {
                drop(class);
                self.malloc_slow(index)
            }
        }
    }

    /// The way of every other object: a hole of a neighbour, or one more page.
    #[inline(never)]
    fn malloc_growing(&self, class: u8) -> Result<Handle, Error> {
        let wants = self.store.hints.wants(class);
        let made = if wants == WANTS_NOTHING {
            self.take(class).ok()
        } else if self.store.hints.any_room()
            && let Some(handle) = self.take_of_neighbour(class)
        {
            Some(handle)
        } else if wants == WANTS_PAGE {
            self.extend(class)
        } else {
            self.begin_zspage(class).ok()
        };
        match made {
            Some(handle) => Ok(handle),
            None => self.malloc_slow(class),
        }
    }

    /// Adds a page to the growing zspage and takes an object of it, if all goes well.
    #[inline(always)]
    fn extend(&self, class: u8) -> Option<Handle> {
        let frame = self.frame().ok()?;
        let mut held = self.class(class).hold(self.store.platform.pin());
        match held.extend(&self.store, frame) {
            Ok(handle) => {
                self.split_if_due(held, class);
                Some(handle)
            }
            Err(frame) => {
                drop(held);
                self.return_frame(frame);
                None
            }
        }
    }

    /// Lets go of a class that has grown, and splits its range if it has become large enough.
    #[inline(always)]
    fn split_if_due(&self, held: Held<'_, Class, P::Pinned<'_>>, class: u8) {
        let is_due = held.objects >= held.split_at;
        drop(held);
        if is_due {
            self.split(class);
        }
    }

    /// A frame for objects, counted in.
    #[inline(always)]
    fn frame(&self) -> Result<Frame, Error> {
        self.charge()?;
        self.store.platform.allocate_frame().ok_or_else(|| {
            self.discharge(1);
            Error::OutOfMemory
        })
    }

    /// Whatever the class wants, one after the other; at last, what the rings hold.
    #[cold]
    #[inline(never)]
    fn malloc_slow(&self, class: u8) -> Result<Handle, Error> {
        let mut need = Need::default();
        loop {
            let grown = match self.take(class) {
                Ok(handle) => return Ok(handle),
                Err(Wants::Cell) => self.grow_cells(class),
                Err(Wants::Page) => {
                    match self.take_of_neighbour(class).or_else(|| self.extend(class)) {
                        Some(handle) => return Ok(handle),
                        None => match self.begin_zspage(class) {
                            Ok(handle) => return Ok(handle),
                            Err(Begin::Met) => Ok(()),
                            Err(Begin::Failed(error)) => Err(error),
                        },
                    }
                }
            };
            match grown {
                Ok(()) => {}
                // A free that nobody has carried out yet may be the memory that is wanted.
                Err(_) if self.drain_in_need(&mut need) => {}
                Err(error) => return Err(error),
            }
        }
    }

    #[inline(never)]
    fn take(&self, class: u8) -> Result<Handle, Wants> {
        take(&mut self.class(class).hold(self.store.platform.pin()), &self.store)
    }

    /// An object of a class a little larger that has some to spare: a few bytes of rounding are
    /// less than a page.
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
                // Two where a directory must grow, otherwise one: whether what there was will do,
                // the step says.
                supply.fill(&self.store.platform, 2);
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

    /// Gives up a compaction of this class that was left off, so that its room is there again;
    /// whether there was one.
    #[cold]
    #[inline(never)]
    fn take_over(&self, class: u8) -> bool {
        // While a step is under way whoever makes it has the room at hand.
        let Some(_compaction) = self.compaction.try_lock() else { return false };
        let mut was = false;
        loop {
            let pinned = self.store.platform.pin_in_steps();
            let mut class = self.class(class).lock(&pinned);
            was |= class.is_compacted();
            if !was || !class.abandon_compaction(&self.store, REPRIEVES) {
                return was;
            }
        }
    }

    /// Begins a zspage, or a page that is one object, and takes an object of it.
    #[inline(never)]
    fn begin_zspage(&self, class: u8) -> Result<Handle, Begin> {
        if self.store.hints.is_compacted(class) && self.take_over(class) {
            return Err(Begin::Met);
        }
        let frame = self.frame()?;
        // A frame whose number has no room in a location gets a descriptor, which has room for any.
        if usize::from(class) == HUGE_CLASS && frame.number() < MOST_FRAMES {
            return self.begin_huge(class, frame);
        }
        let pages = chain(class.into(), self.config.chain);
        let objects = objects_in(class.into(), pages);
        let footprint = footprint(pages, objects);
        let unit = match self
            .with_supply(|pinned, supply| self.store.new_descriptor(pinned, footprint, supply))
        {
            Ok(unit) => unit,
            Err(error) => {
                self.return_frame(frame);
                return Err(error.into());
            }
        };
        self.store.descriptor(unit).prepare(self.base(class), objects);
        let mut begun = self.begin_with(class, unit, frame);
        if let Err((frame, Wants::Cell)) = begun {
            // Cells come by chunks: fetched here, with everything else at hand.
            begun = match self.grow_cells(class) {
                Ok(()) => self.begin_with(class, unit, frame),
                Err(_) => Err((frame, Wants::Cell)),
            };
        }
        begun.map_err(|(frame, _)| {
            self.store
                .free_descriptors(&self.store.platform.pin(), core::iter::once((unit, footprint)));
            self.return_frame(frame);
            Begin::Met
        })
    }

    /// Begins a prepared zspage; gives the frame back if somebody made room meanwhile, or if there
    /// is no cell.
    fn begin_with(&self, class: u8, unit: u32, frame: Frame) -> Result<Handle, (Frame, Wants)> {
        let mut held = self.class(class).hold(self.store.platform.pin());
        match held.begin(&self.store, unit, frame) {
            Ok(handle) => {
                self.split_if_due(held, class);
                Ok(handle)
            }
            Err(frame) => Err((frame, if held.has_cell() { Wants::Page } else { Wants::Cell })),
        }
    }

    fn begin_huge(&self, class: u8, frame: Frame) -> Result<Handle, Begin> {
        let taken = self.class(class).hold(self.store.platform.pin()).take_huge(&self.store, frame);
        taken.map_err(|frame| {
            self.return_frame(frame);
            Begin::Met
        })
    }

    /// Gives back a frame that was counted in.
    #[cold]
    #[inline(never)]
    fn return_frame(&self, frame: Frame) {
        give_back(&self.store.platform, frame);
        self.discharge(1);
    }

    /// Counts a page in, unless it would pass the limit.
    #[inline]
    fn charge(&self) -> Result<(), Error> {
        // Relaxed: the read-modify-write alone keeps the count below the limit. Once for each page,
        // not for each object.
        if self.pages.0.fetch_add(1, Ordering::Relaxed) < self.config.page_limit {
            return Ok(());
        }
        self.discharge(1);
        Err(Error::LimitReached)
    }

    pub(crate) fn discharge(&self, pages: usize) {
        // Relaxed: a count; nothing is published by it.
        self.pages.0.fetch_sub(pages, Ordering::Relaxed);
    }
}

fn take<P: Platform>(class: &mut Class, store: &Store<P>) -> Result<Handle, Wants> {
    class.take(store).ok_or(if class.has_cell() { Wants::Page } else { Wants::Cell })
}
