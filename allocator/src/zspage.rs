//! Descriptors of zspages: which objects are free, which frames they lie in.
//!
//! A zspage is up to 16 frames, thought of as one run of bytes, in which object `i` lies at `i *
//! size`. Its descriptor:
//!
//! | bytes, from the header | content |
//! |---|---|
//! | -4, -8, .. | number of frame 0, of frame 1, .. |
//! | 0..8 | the [`State`] |
//! | 8..12, 12..16 | next and previous zspage of its list |
//! | 16.. | a bit for each free object, in one or two words |
//!
//! Frames come one at a time, as objects are taken: the capacity is that of the frames so far. So a
//! class pays for half a page that it does not use, not for half a chain, and chains can be long,
//! which leaves little over at their ends. What is free is said here and not in the objects: a free
//! touches no page, and an object's bytes are its user's alone.
//!
//! Everything but the frames' numbers belongs to the class lock; a frame's number also stands still
//! while any object that touches the frame is locked, and the owner in the state while any object
//! of the zspage is.

pub(crate) mod bytes;
mod state;

use core::{marker::PhantomData, ptr::NonNull, slice};

use crate::{
    handle::Base,
    platform::PAGE_SIZE,
    store::Units,
    sync::{AtomicU32, AtomicU64, Ordering},
};

pub(crate) use state::{
    FIRST_PARTIAL, FULL, GROWING, ISOLATED, LAST, LAST_PARTIAL, SHRINKING, State, TOUCHED, VICTIMS,
};

/// Bits of a descriptor's number.
pub(crate) const UNIT_BITS: u32 = 23;
/// No zspage.
pub(crate) const NO_ZSPAGE: u32 = (1 << UNIT_BITS) - 1;
/// Bits of an object's index.
pub(crate) const OBJECT_BITS: u32 = 7;
/// Most objects in a zspage.
pub(crate) const MAX_OBJECTS: usize = 1 << OBJECT_BITS;
const HEADER: usize = 16;
/// Set in the location of an object that has a frame to itself, whose number is the rest; it needs
/// no descriptor.
pub(crate) const HUGE: u32 = 1 << (UNIT_BITS + OBJECT_BITS);
/// Numbers of frames for such objects are less than this.
pub(crate) const MOST_FRAMES: u32 = HUGE;

/// Where an object lies: descriptor in bits 7 and up, index in the zspage below.
#[inline]
pub(crate) const fn location(unit: u32, object: u32) -> u32 {
    unit << OBJECT_BITS | object
}

/// Parts of a location.
#[inline]
pub(crate) const fn parts(location: u32) -> (u32, u32) {
    (location >> OBJECT_BITS & NO_ZSPAGE, location & ((1 << OBJECT_BITS) - 1))
}

/// How many 8-byte units a descriptor takes, and how many of them lie below its header.
#[derive(Clone, Copy)]
pub(crate) struct Footprint {
    pub(crate) units: u32,
    pub(crate) below: u32,
}

/// Most units that a descriptor takes.
pub(crate) const MOST_UNITS: usize = footprint(16, MAX_OBJECTS).units as usize;

#[expect(clippy::cast_possible_truncation, reason = "at most 12")]
pub(crate) const fn footprint(pages: usize, objects: usize) -> Footprint {
    let below = pages.div_ceil(2);
    Footprint { units: (below + HEADER / 8 + objects.div_ceil(64)) as u32, below: below as u32 }
}

/// A zspage's descriptor.
///
/// # Invariants
/// `header` points at a descriptor's header; its words lie in one metadata frame that outlives
/// `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Descriptor<'a> {
    header: NonNull<AtomicU64>,
    pool: PhantomData<&'a AtomicU64>,
}

impl<'a> Descriptor<'a> {
    /// The descriptor whose header is at `unit` of a frame, counted round.
    #[inline]
    pub(crate) fn at(units: &'a Units, unit: u32) -> Self {
        let first = NonNull::from(&units.0).cast::<AtomicU64>();
        // SAFETY: cut to the number of units in a frame.
        let header = unsafe { first.add(unit as usize % units.0.len()) };
        // INVARIANT: the arena hands out descriptors that begin and end within their frame.
        Self { header, pool: PhantomData }
    }

    #[inline]
    fn long(self, index: usize) -> &'a AtomicU64 {
        // SAFETY: by the invariant, for the header's state and for each word of free objects.
        let word = unsafe { self.header.add(index) };
        // SAFETY: an atomic in a metadata frame, which is only shared.
        unsafe { word.as_ref() }
    }

    #[inline]
    fn short(self, index: isize) -> &'a AtomicU32 {
        // SAFETY: by the invariant, for the two links of the header, and for each frame below it.
        let word = unsafe { self.header.cast::<AtomicU32>().offset(index) };
        // SAFETY: an atomic in a metadata frame, which is only shared; these halves are never used
        // as a whole word.
        unsafe { word.as_ref() }
    }

    // Relaxed throughout: the words are guarded as the module says, by locks that order them.

    #[inline]
    pub(crate) fn state(self) -> State {
        State(self.long(0).load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn set_state(self, state: State) {
        self.long(0).store(state.0, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn next(self) -> u32 {
        self.short(2).load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_next(self, unit: u32) {
        self.short(2).store(unit, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn previous(self) -> u32 {
        self.short(3).load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_previous(self, unit: u32) {
        self.short(3).store(unit, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn frame(self, page: usize) -> u32 {
        self.short(-1 - page.cast_signed()).load(Ordering::Relaxed)
    }

    /// Numbers of all its frames, the last page's first.
    ///
    /// # Safety
    /// The zspage is the caller's alone: no list, no object and nobody else knows of it as long as
    /// the slice is used.
    pub(crate) unsafe fn numbers(self) -> &'a [u32] {
        let pages = self.state().pages();
        // SAFETY: by the invariant, the numbers lie below the header.
        let first = unsafe { self.header.cast::<u32>().sub(pages) };
        // SAFETY: as above; nobody writes them, by the caller's promise.
        unsafe { slice::from_raw_parts(first.as_ptr(), pages) }
    }

    #[inline]
    pub(crate) fn set_frame(self, page: usize, number: u32) {
        self.short(-1 - page.cast_signed()).store(number, Ordering::Relaxed);
    }

    #[inline]
    fn bits(self, object: u32) -> &'a AtomicU64 {
        self.long(HEADER / 8 + (object as usize >> 6))
    }

    /// Sets up a zspage of no pages yet.
    pub(crate) fn prepare(self, base: Base, objects: usize) {
        self.set_state(State::new(base));
        for word in 0..objects.div_ceil(64) {
            self.long(HEADER / 8 + word).store(0, Ordering::Relaxed);
        }
    }

    /// Marks the lowest free object as taken. The state, which says that there is one, is the
    /// caller's to change.
    #[inline]
    pub(crate) fn take(self) -> u32 {
        let mut first = 0;
        let mut bits = self.bits(0).load(Ordering::Relaxed);
        if bits == 0 {
            first = 64;
            bits = self.bits(64).load(Ordering::Relaxed);
        }
        self.bits(first).store(bits & bits.wrapping_sub(1), Ordering::Relaxed);
        first + bits.trailing_zeros()
    }

    /// Marks an object as free. The state is the caller's to change.
    #[inline]
    pub(crate) fn put(self, object: u32) {
        let word = self.bits(object);
        word.store(word.load(Ordering::Relaxed) | 1 << (object % 64), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_free(self, object: u32) -> bool {
        self.bits(object).load(Ordering::Relaxed) & 1 << (object % 64) != 0
    }

    /// Marks objects `from` to `to`, not including it, as free.
    #[inline]
    pub(crate) fn put_all(self, from: u32, to: u32) {
        if to < 64 {
            let word = self.bits(0);
            word.store(word.load(Ordering::Relaxed) | ((1 << to) - (1 << from)), Ordering::Relaxed);
        } else {
            (from..to).for_each(|object| self.put(object));
        }
    }

    /// Has a zspage that was [cut](Descriptor::cut), and holds nothing behind it, keep `pages`
    /// pages; objects from the cut to their end are free. Returns the state, which is the caller's
    /// to set.
    pub(crate) fn keep_pages(self, pages: usize, size: usize) -> State {
        #[expect(clippy::cast_possible_truncation, reason = "at most 128 objects")]
        let objects = |pages| (pages * PAGE_SIZE / size) as u32;
        let (state, capacity) = (self.state(), objects(pages));
        self.unmark(capacity, objects(state.pages()));
        let free = state.free() + (capacity - state.capacity());
        state.with_counts(free, capacity).with_pages(pages)
    }

    /// Leaves the free objects from `cut` on out of the counts. They stay marked: since the lowest
    /// is taken first, and only as many as are counted, they are not taken. Returns how many
    /// objects from there on are in use.
    pub(crate) fn cut(self, cut: u32) -> u32 {
        let state = self.state();
        let (mut lost, mut object) = (0, cut);
        while object < state.capacity() {
            // The rest of a word: what is behind the capacity is not marked.
            // Relaxed: the class lock's.
            let free = self.bits(object).load(Ordering::Relaxed);
            lost += (free & u64::MAX << (object % 64)).count_ones();
            object = (object | 63) + 1;
        }
        self.set_state(state.with_counts(state.free() - lost, state.capacity() - lost));
        state.capacity() - cut - lost
    }

    /// Ends [`Descriptor::cut`]: all that is marked counts again. Returns the state, which is the
    /// caller's to set.
    pub(crate) fn uncut(self, size: usize) -> State {
        let state = self.state();
        #[expect(clippy::cast_possible_truncation, reason = "at most 128 objects")]
        let capacity = (state.pages() * PAGE_SIZE / size) as u32;
        let words = (0..capacity).step_by(64).map(|first| self.bits(first).load(Ordering::Relaxed));
        state.with_counts(words.map(u64::count_ones).sum(), capacity)
    }

    /// Takes the marks of free objects `from` to `to`, not including it, away; behind it there are
    /// none.
    fn unmark(self, from: u32, to: u32) {
        let mut object = from;
        while object < to {
            let word = self.bits(object);
            // Relaxed, twice: the class lock's.
            word.store(
                word.load(Ordering::Relaxed) & !(u64::MAX << (object % 64)),
                Ordering::Relaxed,
            );
            object = (object | 63) + 1;
        }
    }
}
