//! Frames seen as tables: the place where a frame's number becomes a reference.
//!
//! Metadata frames are taken once and kept until the pool is closed, so that a lookup needs no
//! lock: a reader follows published pointers and never meets a frame that went away.

use core::ptr::{self, NonNull};

use crate::{
    error::Error,
    platform::{Frame, Frames, PAGE_SIZE, Platform, give_back},
    sync::{AtomicPtr, Ordering},
};

/// A type that may be laid over a metadata frame.
///
/// # Safety
/// It is at most a page in size, at most page-aligned, valid when all bytes are zero, needs no
/// drop, and is shared by `&` only.
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

/// Entries in a directory's frame.
pub(crate) const FANOUT: usize = PAGE_SIZE / size_of::<*mut u8>();
const ROOTS: usize = 64;

/// A directory's frame: pointers to leaves, null where there is none yet.
#[repr(transparent)]
struct Middle<T>([AtomicPtr<T>; FANOUT]);

// SAFETY: 4096 bytes of atomic pointers, null when zero.
unsafe impl<T: Overlay> Overlay for Middle<T> {}

/// A growing array of frames that is read without a lock: 64 roots of 512 leaves. A lookup is two
/// loads.
///
/// # Invariants
/// Entries go from null to a frame once. Every frame was adopted, as a [`Middle`] or as a `T`, and
/// stays until `dismantle`.
pub(crate) struct Directory<T> {
    roots: [AtomicPtr<Middle<T>>; ROOTS],
}

/// Leaves that a directory can hold.
pub(crate) const MOST_LEAVES: usize = ROOTS * FANOUT;

impl<T: Overlay> Directory<T> {
    pub(crate) fn new() -> Self {
        Self { roots: [const { AtomicPtr::new(ptr::null_mut()) }; ROOTS] }
    }

    /// Leaf `index`, if there is one.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        // Acquire: pairs with the release in `push`, so that the zeroed frame is seen behind its
        // pointer.
        let middle = self.roots.get(index / FANOUT)?.load(Ordering::Acquire);
        // SAFETY: by the invariant, null or a frame that stays.
        let middle = unsafe { middle.as_ref() }?;
        // Acquire: as above.
        let leaf = middle.0[index % FANOUT].load(Ordering::Acquire);
        // SAFETY: by the invariant.
        unsafe { leaf.as_ref() }
    }

    /// Leaf `index`, of which the caller knows.
    ///
    /// # Safety
    /// The leaf was pushed, and the caller learned of it through a lock or an acquire that orders
    /// it behind the push.
    #[inline]
    pub(crate) unsafe fn get_known(&self, index: usize) -> &T {
        // SAFETY: the caller's promise.
        unsafe { self.get_known_at(index / FANOUT, index) }
    }

    /// The leaf with this `index`, counted round, under this root, counted round.
    ///
    /// # Safety
    /// As for [`Directory::get_known`].
    #[inline]
    pub(crate) unsafe fn get_known_at(&self, root: usize, index: usize) -> &T {
        // Relaxed: the caller is ordered behind the push.
        let middle = self.roots[root % ROOTS].load(Ordering::Relaxed);
        // SAFETY: the caller's promise: the frame is there.
        let middle = unsafe { &*middle };
        let leaf = middle.0[index % FANOUT].load(Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { &*leaf }
    }

    /// Appends leaf `index`, with a frame for the directory itself where one is wanted. Callers
    /// hold the arena's lock.
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
        if middle.is_null() {
            if supply.len() < 2 {
                return Err(Error::OutOfMemory);
            }
            let frame = supply.take().ok_or(Error::OutOfMemory)?;
            middle = adopt(platform, frame).1.as_ptr();
            // Release: pairs with the acquire in `get`.
            root.store(middle, Ordering::Release);
        }
        let frame = supply.take().ok_or(Error::OutOfMemory)?;
        let leaf = adopt::<T, P>(platform, frame).1;
        // SAFETY: the frame was adopted as a middle one, here or before.
        let middle = unsafe { &*middle };
        // Release: pairs with the acquire in `get`.
        middle.0[index % FANOUT].store(leaf.as_ptr(), Ordering::Release);
        Ok(())
    }

    /// Takes every frame out again, leaves first.
    pub(crate) fn dismantle<P: Platform>(&mut self, platform: &P) {
        for root in &self.roots {
            let middle = root.swap(ptr::null_mut(), Ordering::Relaxed);
            // SAFETY: by the invariant; `&mut self` says that nobody reads.
            let Some(table) = (unsafe { middle.as_ref() }) else { continue };
            let mut numbers = [0; 1];
            for leaf in &table.0 {
                let leaf = leaf.swap(ptr::null_mut(), Ordering::Relaxed);
                if !leaf.is_null() {
                    numbers[0] = platform.number(leaf.cast());
                    // SAFETY: adopted by this directory, which forgets it here.
                    platform.release_frames(unsafe { Frames::from_numbers(&numbers) });
                }
            }
            numbers[0] = platform.number(middle.cast());
            // SAFETY: as above, for the directory's own frame.
            platform.release_frames(unsafe { Frames::from_numbers(&numbers) });
        }
    }
}

/// A few frames taken ahead, since the frame source is not asked with a lock held.
#[derive(Default)]
pub(crate) struct Supply {
    frames: [Option<Frame>; 3],
}

impl Supply {
    /// Asks for frames until it holds `count` or there are no more.
    pub(crate) fn fill<P: Platform>(&mut self, platform: &P, count: usize) {
        for place in self.frames.iter_mut().take(count) {
            if place.is_none() {
                *place = platform.allocate_frame();
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.iter().flatten().count()
    }

    pub(crate) fn take(&mut self) -> Option<Frame> {
        self.frames.iter_mut().find_map(Option::take)
    }

    /// Gives back what was not used.
    pub(crate) fn settle<P: Platform>(mut self, platform: &P) {
        for frame in self.frames.iter_mut().filter_map(Option::take) {
            give_back(platform, frame);
        }
    }
}
