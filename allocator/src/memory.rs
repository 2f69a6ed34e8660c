//! Frames seen as tables: the place where a frame's number becomes a reference.
//!
//! Metadata frames are taken once and kept until the pool is closed, so that a lookup needs no lock: a reader follows
//! published numbers and never meets a frame that went away.

use core::ptr::NonNull;

use crate::{
    error::Error,
    platform::{Frame, PAGE_SIZE, Platform},
    sync::{AtomicU32, Ordering},
};

/// A type that may be laid over a metadata frame.
///
/// # Safety
/// It is at most a page in size, at most page-aligned, valid when all bytes are zero, needs no drop, and is shared by `&` only.
pub(crate) unsafe trait Overlay: Sync {}

/// Fills a frame with zeros and keeps it as metadata.
pub(crate) fn adopt<T: Overlay, P: Platform>(platform: &P, frame: Frame) -> (u32, NonNull<T>) {
    const { assert!(size_of::<T>() <= PAGE_SIZE && align_of::<T>() <= PAGE_SIZE) };
    let number = frame.into_number();
    let address = platform.address(number);
    // SAFETY: the frame is ours, 4096 bytes long, and nobody else uses it.
    unsafe { address.write_bytes(0, PAGE_SIZE) };
    // SAFETY: a frame's address is not null.
    (number, unsafe { NonNull::new_unchecked(address.cast()) })
}

/// The table in metadata frame `number`.
///
/// # Safety
/// The frame was given by [`adopt`] for the same `T`, its number reached the caller with acquire, and it is kept for as long as `'a`.
#[inline]
pub(crate) unsafe fn table<'a, T: Overlay, P: Platform>(platform: &'a P, number: u32) -> &'a T {
    let address: *const T = platform.address(number).cast();
    // SAFETY: the caller's promise: a live, zeroed and page-aligned frame that is only shared.
    unsafe { &*address }
}

/// Entries in a directory's frame.
pub(crate) const FANOUT: usize = PAGE_SIZE / 4;
const ROOTS: usize = 32;

/// A directory's frame: numbers of frames, each one more than it is, so that zero means none.
#[repr(transparent)]
struct Numbers([AtomicU32; FANOUT]);

// SAFETY: 4096 bytes of atomics.
unsafe impl Overlay for Numbers {}

/// A growing array of frames that is read without a lock: 32 roots of 1,024 leaves.
///
/// # Invariants
/// Entries go from zero to a number once. Every leaf was adopted as a `T`.
pub(crate) struct Directory<T> {
    roots: [AtomicU32; ROOTS],
    leaf: core::marker::PhantomData<fn() -> T>,
}

/// Leaves that a directory can hold.
pub(crate) const MOST_LEAVES: usize = ROOTS * FANOUT;

impl<T: Overlay> Directory<T> {
    pub(crate) fn new() -> Self {
        Self { roots: [const { AtomicU32::new(0) }; ROOTS], leaf: core::marker::PhantomData }
    }

    /// Leaf `index`, if there is one.
    #[inline]
    pub(crate) fn get<'a, P: Platform>(&'a self, platform: &'a P, index: usize) -> Option<&'a T> {
        // Acquire: pairs with the release in `push`, so that the zeroed frame is seen behind its number.
        let middle = self.roots.get(index / FANOUT)?.load(Ordering::Acquire).checked_sub(1)?;
        // SAFETY: roots hold adopted frames of numbers, kept until the pool is closed.
        let middle: &Numbers = unsafe { table(platform, middle) };
        // Acquire: as above.
        let leaf = middle.0[index % FANOUT].load(Ordering::Acquire).checked_sub(1)?;
        // SAFETY: entries hold adopted frames of `T`, kept until the pool is closed.
        Some(unsafe { table(platform, leaf) })
    }

    /// Appends leaf `index`, with a frame for the directory itself where one is wanted. Callers hold the arena's lock.
    /// Returns how many frames were used, and gives those back that were not.
    pub(crate) fn push<P: Platform>(
        &self,
        platform: &P,
        index: usize,
        supply: &mut Supply,
    ) -> Result<(), Error> {
        if index + 1 >= MOST_LEAVES {
            // The last leaf's numbers mean "none" elsewhere.
            return Err(Error::OutOfMemory);
        }
        let root = &self.roots[index / FANOUT];
        // Relaxed: entries are only written under the arena's lock, which the caller holds.
        let mut middle = root.load(Ordering::Relaxed);
        if middle == 0 {
            if supply.len() < 2 {
                return Err(Error::OutOfMemory);
            }
            let frame = supply.take().ok_or(Error::OutOfMemory)?;
            middle = adopt::<Numbers, P>(platform, frame).0 + 1;
            // Release: pairs with the acquire in `get`.
            root.store(middle, Ordering::Release);
        }
        let frame = supply.take().ok_or(Error::OutOfMemory)?;
        let leaf = adopt::<T, P>(platform, frame).0 + 1;
        // SAFETY: the frame was adopted as numbers, here or before.
        let middle: &Numbers = unsafe { table(platform, middle - 1) };
        // Release: pairs with the acquire in `get`.
        middle.0[index % FANOUT].store(leaf, Ordering::Release);
        Ok(())
    }

    /// Takes every frame out again, leaves first.
    pub(crate) fn dismantle<P: Platform>(&mut self, platform: &P) {
        for root in &self.roots {
            let Some(number) = root.swap(0, Ordering::Relaxed).checked_sub(1) else { continue };
            {
                // SAFETY: the frame was adopted as numbers, and is still ours.
                let middle: &Numbers = unsafe { table(platform, number) };
                let mut leaves =
                    middle.0.iter().filter_map(|leaf| leaf.swap(0, Ordering::Relaxed).checked_sub(1)).map(
                        |leaf| {
                            // SAFETY: the number was adopted by this directory, which forgets it here; `&mut self` says that nobody reads.
                            unsafe { Frame::from_number(leaf) }
                        },
                    );
                platform.release_frames(&mut leaves);
            }
            // SAFETY: as above, for the directory's own frame.
            platform.release_frames(&mut core::iter::once(unsafe { Frame::from_number(number) }));
        }
    }
}

/// A few frames taken ahead, since the frame source is not asked with a lock held.
#[derive(Default)]
pub(crate) struct Supply {
    frames: [Option<Frame>; 3],
}

impl Supply {
    /// Asks for frames until it holds `count`.
    pub(crate) fn fill<P: Platform>(&mut self, platform: &P, count: usize) -> Result<(), Error> {
        for place in self.frames.iter_mut().take(count) {
            if place.is_none() {
                *place = Some(platform.allocate_frame().ok_or(Error::OutOfMemory)?);
            }
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.iter().flatten().count()
    }

    pub(crate) fn take(&mut self) -> Option<Frame> {
        self.frames.iter_mut().find_map(Option::take)
    }

    /// Gives back what was not used.
    pub(crate) fn settle<P: Platform>(mut self, platform: &P) {
        if self.len() > 0 {
            platform.release_frames(&mut self.frames.iter_mut().filter_map(Option::take));
        }
    }
}
