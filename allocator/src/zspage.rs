//! Descriptors of zspages, and the bytes of the objects in them. Raw memory lives here.
//!
//! A zspage is up to 16 frames, thought of as one run of bytes, in which object `i` lies at `i * size`. A descriptor is three words and one for
//! each frame:
//!
//! | word | bits |
//! |---|---|
//! | 0 | objects in use, first never-used object, first freed object, capacity: 8 bits each |
//! | 1 | next zspage of its list (23 bits), class |
//! | 2 | previous zspage of its list (23 bits), pages less one (4 bits), flags |
//! | 3.. | numbers of the frames |
//!
//! Frames come one at a time, as objects are taken: the capacity is that of the frames so far. So a class pays for half a page that it does
//! not use, not for half a chain, and chains can be long, which leaves little over at their ends.
//!
//! A freed object's first byte links to the next freed one of its zspage; objects above the first never-used one have never been touched.
//! Words 0 to 2 belong to the class lock. A frame's number also stands still while any object that touches the frame is locked.

use core::{marker::PhantomData, ptr::NonNull, slice};

use crate::{
    platform::{PAGE_SIZE, Platform},
    store::Units,
    sync::{AtomicU32, Ordering},
};

/// Bits of a descriptor's number.
pub(crate) const UNIT_BITS: u32 = 23;
/// No zspage.
pub(crate) const NO_ZSPAGE: u32 = (1 << UNIT_BITS) - 1;
const LINK: u32 = NO_ZSPAGE;
const NONE: u32 = 0xff;
const PAGES_SHIFT: u32 = UNIT_BITS;
const FLAGS_SHIFT: u32 = PAGES_SHIFT + 4;
const HEADER_WORDS: usize = 3;

/// Being emptied by compaction: takes no new objects.
pub(crate) const VICTIM: u32 = 1 << FLAGS_SHIFT;
/// Being packed to its front by compaction: objects from the class's cut on do not come back when they are freed.
pub(crate) const SHRINKING: u32 = 1 << (FLAGS_SHIFT + 2);
/// Taking the class's next pages: on no list, so that filling it moves nothing between lists.
pub(crate) const GROWING: u32 = 1 << (FLAGS_SHIFT + 3);
/// Noted for the one fullness update at the end of a batch.
pub(crate) const TOUCHED: u32 = 1 << (FLAGS_SHIFT + 1);

/// 16-byte units of a descriptor of `pages` pages.
#[expect(clippy::cast_possible_truncation, reason = "at most 5")]
pub(crate) const fn units_for(pages: usize) -> u32 {
    (HEADER_WORDS + pages).div_ceil(4) as u32
}

/// Where an object lies: descriptor in bits 8 and up, index in the zspage below. 31 bits, as a cell holds.
#[inline]
pub(crate) const fn location(unit: u32, object: u32) -> u32 {
    unit << 8 | object
}

/// Parts of a location.
#[inline]
pub(crate) const fn parts(location: u32) -> (u32, u32) {
    (location >> 8, location & 0xff)
}

/// Use of a zspage's objects: word 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use(pub(crate) u32);

impl Use {
    #[inline]
    pub(crate) const fn in_use(self) -> u32 {
        self.0 & 0xff
    }

    #[inline]
    const fn fresh(self) -> u32 {
        self.0 >> 8 & 0xff
    }

    #[inline]
    const fn freed(self) -> u32 {
        self.0 >> 16 & 0xff
    }

    #[inline]
    pub(crate) const fn capacity(self) -> u32 {
        self.0 >> 24
    }

    #[inline]
    pub(crate) const fn free(self) -> u32 {
        self.capacity() - self.in_use()
    }
}

/// A zspage's descriptor.
///
/// # Invariants
/// `first` points at a descriptor's first word; its words lie in one metadata frame that outlives `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Descriptor<'a> {
    first: NonNull<AtomicU32>,
    pool: PhantomData<&'a AtomicU32>,
}

impl<'a> Descriptor<'a> {
    #[inline]
    pub(crate) fn at(units: &'a Units, unit: u32) -> Self {
        let words = &units.0[unit as usize * 4..];
        // INVARIANT: the arena hands out descriptors that end within their frame.
        Self { first: NonNull::from(words).cast(), pool: PhantomData }
    }

    #[inline]
    fn word(self, index: usize) -> &'a AtomicU32 {
        // SAFETY: by the invariant, for the three words of the header and one for each page.
        let word = unsafe { self.first.add(index) };
        // SAFETY: an atomic in a metadata frame, which is only shared.
        unsafe { word.as_ref() }
    }

    // Relaxed throughout: the words are guarded by the class lock, the frames' numbers by the class lock or an object's lock, and those order them.

    #[inline]
    pub(crate) fn usage(self) -> Use {
        Use(self.word(0).load(Ordering::Relaxed))
    }

    #[inline]
    fn set_usage(self, usage: Use) {
        self.word(0).store(usage.0, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn next(self) -> u32 {
        self.word(1).load(Ordering::Relaxed) & LINK
    }

    #[inline]
    pub(crate) fn set_next(self, unit: u32) {
        let word = self.word(1);
        word.store(word.load(Ordering::Relaxed) & !LINK | unit, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn previous(self) -> u32 {
        self.word(2).load(Ordering::Relaxed) & LINK
    }

    #[inline]
    pub(crate) fn set_previous(self, unit: u32) {
        let word = self.word(2);
        word.store(word.load(Ordering::Relaxed) & !LINK | unit, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn flags(self) -> u32 {
        self.word(2).load(Ordering::Relaxed) & (VICTIM | TOUCHED | SHRINKING | GROWING)
    }

    #[inline]
    pub(crate) fn set_flag(self, flag: u32, on: bool) {
        let word = self.word(2);
        let value = word.load(Ordering::Relaxed);
        word.store(if on { value | flag } else { value & !flag }, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn pages(self) -> usize {
        (self.word(2).load(Ordering::Relaxed) >> PAGES_SHIFT & 0xf) as usize + 1
    }

    #[inline]
    pub(crate) fn frame(self, page: usize) -> u32 {
        self.word(HEADER_WORDS + page).load(Ordering::Relaxed)
    }

    pub(crate) fn set_frame(self, page: usize, number: u32) {
        self.word(HEADER_WORDS + page).store(number, Ordering::Relaxed);
    }

    /// Sets up a zspage of no pages yet.
    pub(crate) fn prepare(self, class: u8) {
        self.set_usage(Use(NONE << 16));
        self.word(1).store(u32::from(class) << UNIT_BITS | NO_ZSPAGE, Ordering::Relaxed);
        self.word(2).store(NO_ZSPAGE, Ordering::Relaxed);
    }

    /// The class that the zspage was prepared for.
    pub(crate) fn class(self) -> usize {
        (self.word(1).load(Ordering::Relaxed) >> UNIT_BITS) as usize
    }

    /// Sets the number of pages and the capacity that goes with it.
    pub(crate) fn set_pages(self, pages: usize, size: usize) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a capacity is at most 255, pages are at most 16"
        )]
        let (capacity, pages) = ((pages * PAGE_SIZE / size) as u32, pages as u32);
        self.set_capacity(capacity);
        let word = self.word(2);
        let rest = word.load(Ordering::Relaxed) & !(0xf << PAGES_SHIFT);
        word.store(rest | (pages - 1) << PAGES_SHIFT, Ordering::Relaxed);
    }

    pub(crate) fn set_capacity(self, capacity: u32) {
        self.set_usage(Use(self.usage().0 & 0x00ff_ffff | capacity << 24));
    }

    /// Drops a free object for good, of a zspage that is being shrunk.
    pub(crate) fn waste(self) -> Use {
        let usage = Use(self.usage().0 - (1 << 24) - 1);
        self.set_usage(usage);
        usage
    }

    /// Which objects are free, by walking the links; under the class lock.
    pub(crate) fn free_map<P: Platform>(self, platform: &P, size: usize) -> [u64; 4] {
        let mut map = [0; 4];
        let usage = self.usage();
        let mut object = usage.freed();
        while object != NONE {
            map[object as usize / 64] |= 1 << (object % 64);
            // SAFETY: a freed object's first byte is a link; nobody uses the object.
            object = u32::from(unsafe { self.link(platform, size, object).read() });
        }
        for object in usage.fresh()..usage.capacity() {
            map[object as usize / 64] |= 1 << (object % 64);
        }
        map
    }

    /// Lets only those free objects be taken that lie below `cut`, from the first on. Returns how many objects from there on are in use.
    pub(crate) fn shrink<P: Platform>(self, platform: &P, size: usize, cut: u32) -> u32 {
        let map = self.free_map(platform, size);
        let (mut head, mut free) = (NONE, 0);
        for object in (0..cut).rev().filter(|&object| map[object as usize / 64] & 1 << (object % 64) != 0) {
            #[expect(clippy::cast_possible_truncation, reason = "an object's index has 8 bits")]
            // SAFETY: the object is free, and the class lock is held.
            unsafe {
                self.link(platform, size, object).write(head as u8);
            }
            head = object;
            free += 1;
        }
        let in_use = self.usage().in_use();
        self.set_usage(Use(in_use | cut << 8 | head << 16 | (in_use + free) << 24));
        in_use - (cut - free)
    }

    /// Takes an object of a zspage that has a free one, under the class lock.
    #[inline]
    pub(crate) fn take<P: Platform>(self, platform: &P, size: usize) -> u32 {
        let usage = self.usage();
        let freed = usage.freed();
        if freed == NONE {
            self.set_usage(Use(usage.0 + 0x101));
            return usage.fresh();
        }
        let link = self.link(platform, size, freed);
        // SAFETY: a freed object's first byte is a link that was written when it was freed; nobody uses the object.
        let next = unsafe { link.read() };
        self.set_usage(Use((usage.0 & !(0xff << 16) | u32::from(next) << 16) + 1));
        freed
    }

    /// Puts an object back, under the class lock and with the object's cell locked.
    #[inline]
    pub(crate) fn put<P: Platform>(self, platform: &P, size: usize, object: u32) -> Use {
        let usage = self.usage();
        let link = self.link(platform, size, object);
        #[expect(clippy::cast_possible_truncation, reason = "cut to 8 bits on purpose")]
        let next = usage.freed() as u8;
        // SAFETY: the object is in this zspage, its frame is ours, and its cell's lock keeps everybody else away.
        unsafe { link.write(next) };
        let usage = Use((usage.0 & !(0xff << 16) | object << 16) - 1);
        self.set_usage(usage);
        usage
    }

    #[inline]
    fn link<P: Platform>(self, platform: &P, size: usize, object: u32) -> *mut u8 {
        let offset = object as usize * size;
        platform.address(self.frame(offset / PAGE_SIZE)).wrapping_add(offset % PAGE_SIZE)
    }

    /// The two runs of bytes that an object of `size` bytes lies in; the second is empty where it does not cross pages.
    ///
    /// # Safety
    /// The object's cell is locked by the caller for `'b`, and `size` is its class's.
    #[inline]
    pub(crate) unsafe fn object<'b, P: Platform>(
        self,
        platform: &P,
        size: usize,
        object: u32,
    ) -> (&'b mut [u8], &'b mut [u8]) {
        let offset = object as usize * size;
        let (page, within) = (offset / PAGE_SIZE, offset % PAGE_SIZE);
        let first = size.min(PAGE_SIZE - within);
        let head = platform.address(self.frame(page)).wrapping_add(within);
        // An object of at most a page crosses at most once; the last object ends in the last page.
        let tail = if first < size { platform.address(self.frame(page + 1)) } else { head };
        // SAFETY: within one frame of ours; the object's lock makes the bytes the caller's.
        let head = unsafe { slice::from_raw_parts_mut(head, first) };
        // SAFETY: as above, and apart from `head`, being in another frame or empty.
        let tail = unsafe { slice::from_raw_parts_mut(tail, size - first) };
        (head, tail)
    }
}
