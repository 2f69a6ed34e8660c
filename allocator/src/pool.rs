//! The pool: making one, allocation, free, and the end.
//!
//! # Lock order
//! ring token (only tried) -> class lock -> arena lock; compaction's (only tried) before the class
//! lock as well. The locks of the size map and of what is parked are held alone. Class and arena
//! locks are held with interrupts masked, for a bounded number of steps, and never across a copy or
//! a call of the platform (but on the first rung, whose point that is). Two class locks are never
//! held together.

mod activation;
mod deferred;
mod growth;
mod object;
mod release;
mod retrying;
mod teardown;

use core::{mem::offset_of, ptr::NonNull};

use crate::{
    cell::Cell,
    class::{Class, Leaving},
    config::{Config, Rung},
    deferred::{
        frames::{self, CoreRing},
        ring::Shape,
    },
    error::Error,
    handle::{Base, Handle, Key, MAX_TAG},
    platform::{PAGE_SIZE, PinnedCore, Platform},
    size_class::{MAX_CHAIN, huge_from},
    store::Store,
    sync::{Apart, AtomicU8, AtomicUsize, Held, Lock, Ordering, Tag},
};

pub(crate) use activation::is_to_dissolve;
pub use object::ObjectView;
pub use teardown::Teardown;

const CLASSES_IN_FRAME: usize = PAGE_SIZE / 128;
/// As many as a handle's byte can name: the last one is nobody's.
const SLOTS: usize = 256;
const CLASS_FRAMES: usize = SLOTS / CLASSES_IN_FRAME;

#[repr(C, align(128))]
struct ClassSlot(Lock<Class>);

#[repr(transparent)]
struct ClassFrame([ClassSlot; CLASSES_IN_FRAME]);

const _: () =
    assert!(size_of::<ClassFrame>() == PAGE_SIZE && align_of::<ClassFrame>() <= PAGE_SIZE);

/// Entries of the table of rings: the most cores that a pool can serve.
pub const MAX_CORES: usize = PAGE_SIZE / size_of::<usize>();

/// Rings by core; entries of cores that do not exist repeat the first.
type RingTable = [NonNull<CoreRing>; MAX_CORES];

/// A compressed-object pool over the frames of a [`Platform`].
///
/// It is small enough for a static; everything that grows lies in frames.
///
/// # Invariants
/// Once `new` has returned, `classes` and `rings` point at filled frames of this pool, which stay
/// until it is closed.
#[repr(C)]
pub struct Pool<P: Platform> {
    pub(crate) store: Store<P>,
    pub(crate) config: Config,
    tag: Tag,
    classes: [NonNull<ClassFrame>; CLASS_FRAMES],
    rings: NonNull<RingTable>,
    /// For each size class the one that takes its objects at present.
    pub(crate) map: [AtomicU8; SLOTS],
    /// Written with each page that comes or goes, while every operation reads what is before and
    /// behind it.
    pages: Apart<AtomicUsize>,
    /// Guards changes of `map`.
    mapping: Lock<()>,
    /// Handles that were refused when they were freed synchronously on the deferred path.
    refused: AtomicUsize,
    /// Where the next step of compaction begins.
    pub(crate) compaction: Lock<usize>,
    /// Empty zspages that wait for the drain, on the rung that defers their release only.
    parked: Lock<Leaving>,
    /// Frames of `classes` and `rings`, each one more than it is.
    numbers: [u32; CLASS_FRAMES + 1],
    made_rings: usize,
}

// SAFETY: the pointers lead to frames that the pool owns, filled with locks and atomics; the
// platform may be used from every core.
unsafe impl<P: Platform + Send> Send for Pool<P> {}
// SAFETY: as above; everything behind the pointers is synchronised by itself.
unsafe impl<P: Platform> Sync for Pool<P> {}

impl<P: Platform> Pool<P> {
    /// Makes a pool: its class table and rings at once, everything else as it grows.
    ///
    /// # Errors
    /// [`Error::BadConfig`] for a shape that cannot be, or beside 31 other pools;
    /// [`Error::OutOfMemory`] if the frames ran out, after all went back.
    pub fn new(platform: P, config: Config) -> Result<Self, Error> {
        const {
            // A release or a malloc of one core does not take these lines from another that only
            // pushes or reads.
            let (pages, pair) = (offset_of!(Self, pages), align_of::<Apart<()>>());
            let read =
                [offset_of!(Self, rings), offset_of!(Self, classes), offset_of!(Self, config)];
            assert!(pages % pair == 0 && pages / pair > offset_of!(Self, map) / pair);
            assert!(
                read[0] / pair < pages / pair
                    && read[1] / pair < pages / pair
                    && read[2] / pair < pages / pair
            );
        }
        check(&config, platform.cores())?;
        let tag = Tag::claim(MAX_TAG).ok_or(Error::BadConfig)?;
        // From here on dropping the pool gives back what it has.
        let mut pool = Self {
            store: Store::new(platform),
            config,
            tag,
            classes: [NonNull::dangling(); CLASS_FRAMES],
            rings: NonNull::dangling(),
            map: activation::coarse(),
            pages: Apart(AtomicUsize::new(0)),
            mapping: Lock::new(()),
            refused: AtomicUsize::new(0),
            compaction: Lock::new(0),
            parked: Lock::new(Leaving::none()),
            numbers: [0; CLASS_FRAMES + 1],
            made_rings: 0,
        };
        pool.make_classes()?;
        pool.make_rings()?;
        Ok(pool)
    }

    #[inline(never)]
    fn make_classes(&mut self) -> Result<(), Error> {
        let mut indexes = 0..=u8::MAX;
        for place in 0..CLASS_FRAMES {
            let frame = self.store.platform.allocate_frame().ok_or(Error::OutOfMemory)?;
            let number = frame.into_number();
            self.numbers[place] = number + 1;
            let table: *mut ClassSlot = self.store.platform.address(number).cast();
            let table = NonNull::new(table).ok_or(Error::BadConfig)?;
            // No reference before they are written: zeros are no class.
            for (slot, index) in indexes.by_ref().take(CLASSES_IN_FRAME).enumerate() {
                let mut class = Class::new(self.base(index), self.config.chain);
                class.split_at = self.split_after(index, 0);
                // SAFETY: the frame holds that many slots.
                let slot = unsafe { table.add(slot) };
                // SAFETY: the frame is ours alone so far, and page-aligned.
                unsafe { slot.write(ClassSlot(Lock::new(class))) };
            }
            self.classes[place] = table.cast();
        }
        Ok(())
    }

    #[inline(never)]
    fn make_rings(&mut self) -> Result<(), Error> {
        let frame = self.store.platform.allocate_frame().ok_or(Error::OutOfMemory)?;
        let number = frame.into_number();
        self.numbers[CLASS_FRAMES] = number + 1;
        let table: *mut RingTable = self.store.platform.address(number).cast();
        let table = NonNull::new(table).ok_or(Error::BadConfig)?;
        self.rings = table;
        let capacity = if self.defers() { self.config.ring_capacity as u64 } else { 0 };
        let shape = Shape {
            capacity,
            reserve: 64.min(capacity / 4),
            watermark: self.config.watermark.max(1) as u64,
        };
        let first = frames::create(&self.store.platform, shape)?;
        for core in 0..MAX_CORES {
            // SAFETY: the table's frame holds that many entries.
            let entry = unsafe { table.cast::<NonNull<CoreRing>>().add(core) };
            // SAFETY: the frame is ours alone so far.
            unsafe { entry.write(first) };
        }
        self.made_rings = 1;
        for core in 1..self.queues() {
            let ring = frames::create(&self.store.platform, shape)?;
            // SAFETY: nobody else uses the table yet.
            let table = unsafe { self.rings.as_mut() };
            table[core] = ring;
            self.made_rings += 1;
        }
        Ok(())
    }

    /// Rings that the shape asks for: one that is never used where nothing is queued, so that a
    /// push needs no test.
    fn queues(&self) -> usize {
        if self.defers() { self.store.platform.cores() } else { 1 }
    }

    /// Whether handles are queued at all.
    pub(crate) fn defers(&self) -> bool {
        self.config.ring_capacity != 0 && self.config.rung >= Rung::DeferredRuns
    }

    /// Class `index`.
    #[inline]
    pub(crate) fn class(&self, index: u8) -> &Lock<Class> {
        let index = usize::from(index);
        let frame = self.classes[index / CLASSES_IN_FRAME];
        // SAFETY: by the invariant.
        let frame = unsafe { frame.as_ref() };
        &frame.0[index % CLASSES_IN_FRAME].0
    }

    /// What the handles of a class have in common.
    #[inline]
    pub(crate) fn base(&self, class: u8) -> Base {
        Base::new(class, self.tag.get())
    }

    /// The ring of `core`.
    #[inline(always)]
    pub(crate) fn ring(&self, core: usize) -> &CoreRing {
        // SAFETY: by the invariant.
        let table = unsafe { self.rings.as_ref() };
        let ring = table[core % MAX_CORES];
        // SAFETY: every entry points at a ring of this pool.
        unsafe { ring.as_ref() }
    }

    /// The ring of the core that the caller is pinned to.
    #[inline(always)]
    pub(crate) fn own_ring(&self, pinned: &P::Pinned<'_>) -> &CoreRing {
        // SAFETY: by the invariant.
        let table = unsafe { self.rings.as_ref() };
        // SAFETY: a pinned core is less than the platform's number of cores, which `new` checked to
        // be at most the table's entries.
        let ring = unsafe { table.get_unchecked(pinned.core()) };
        // SAFETY: every entry points at a ring of this pool.
        unsafe { ring.as_ref() }
    }

    /// The rings that are used.
    pub(crate) fn used_rings(&self) -> impl Iterator<Item = &CoreRing> {
        (0..if self.defers() { self.made_rings } else { 0 }).map(|core| self.ring(core))
    }

    /// The ring of `core`, if there is such a core and its frees are queued.
    pub(crate) fn used_ring(&self, core: usize) -> Option<&CoreRing> {
        (self.defers() && core < self.made_rings).then(|| self.ring(core))
    }

    /// The platform that the pool was made with.
    pub fn platform(&self) -> &P {
        &self.store.platform
    }

    /// The shape that the pool was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The smallest size of an object that costs as much as a whole page. Who compresses pages
    /// keeps what comes to this, or more, as it was: it takes no more room, and nobody has to
    /// decompress it.
    pub fn huge_threshold(&self) -> usize {
        huge_from(self.config.chain)
    }

    /// Frames of the class table.
    pub(crate) fn class_frames(&self) -> usize {
        CLASS_FRAMES
    }

    /// Frames of the rings and of their table.
    pub(crate) fn ring_frames(&self) -> usize {
        let capacity = if self.defers() { self.config.ring_capacity } else { 0 };
        1 + self.made_rings * frames::frames_for(capacity)
    }

    pub(crate) fn refused_synchronously(&self) -> u64 {
        // Relaxed: a statistic.
        self.refused.load(Ordering::Relaxed) as u64
    }

    /// Pages that zspages hold now.
    pub fn pages(&self) -> usize {
        // Relaxed: a statistic.
        self.pages.0.load(Ordering::Relaxed)
    }

    /// Frees an object at once.
    ///
    /// # Errors
    /// [`Error::StaleHandle`] if it was freed before, [`Error::ForeignHandle`] if it was never this
    /// pool's, [`Error::Busy`] if a view of it is open through another copy of the handle.
    #[inline]
    pub fn free(&self, handle: Handle) -> Result<(), Error> {
        self.free_key(handle.key())
    }

    #[inline]
    pub(crate) fn free_key(&self, key: Key) -> Result<(), Error> {
        let mut class = self.class(key.class()).hold(self.store.platform.pin());
        let cell = self.store.cell_of(key).ok_or(Error::ForeignHandle)?;
        match class.free_quietly(&self.store, key, cell) {
            Ok(()) => {
                class.objects -= 1;
                Ok(())
            }
            Err(locked) => self.free_loudly(class, key, cell, locked),
        }
    }

    /// A free where something else changes than a cell and its zspage's counts.
    #[inline(never)]
    fn free_loudly(
        &self,
        mut class: Held<'_, Class, P::Pinned<'_>>,
        key: Key,
        cell: Cell<'_>,
        locked: Option<u32>,
    ) -> Result<(), Error> {
        let at = class.detach(&self.store, key, cell, locked)?;
        class.objects -= 1;
        let mut leaving = Leaving::none();
        class.put_loudly(&self.store, at, &mut leaving);
        if leaving.is_empty() {
            return Ok(());
        }
        if self.config.rung == Rung::SynchronousInside {
            self.release(leaving);
        } else {
            drop(class);
            self.release(leaving);
        }
        Ok(())
    }
}

fn check(config: &Config, cores: usize) -> Result<(), Error> {
    let rings = config.ring_capacity == 0
        || config.ring_capacity.is_power_of_two()
            && (128..=frames::MOST_CAPACITY).contains(&config.ring_capacity)
            && (1..=config.ring_capacity / 2).contains(&config.watermark);
    let shape = (1..=MAX_CHAIN).contains(&config.chain) && (1..=MAX_CORES).contains(&cores);
    if rings && shape { Ok(()) } else { Err(Error::BadConfig) }
}
