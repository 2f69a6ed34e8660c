//! What the pool asks of the kernel around it: frames, pinned cores, an interrupt, a clock.

use core::slice;

/// Size of a frame in bytes.
pub const PAGE_SIZE: usize = 4096;

/// The sole right to one 4 KiB frame of memory, named by its number.
///
/// # Invariants
/// No two values with one number exist at a time, and nobody else uses that frame's bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame(u32);

impl Frame {
    /// Takes over frame `number`.
    ///
    /// # Safety
    /// The caller owns the frame, gives up every use of its bytes, and makes no second token of it.
    pub const unsafe fn from_number(number: u32) -> Self {
        // INVARIANT: the caller gives up its right to the frame.
        Self(number)
    }

    /// The frame's number; [`Platform::address`] turns it into a pointer.
    pub const fn number(&self) -> u32 {
        self.0
    }

    /// Gives up the token; its holder now owns the frame by number alone.
    pub const fn into_number(self) -> u32 {
        self.0
    }
}

/// Frames that go back: an iterator over their tokens.
#[derive(Debug)]
pub struct Frames<'a>(slice::Iter<'a, u32>);

impl<'a> Frames<'a> {
    /// # Safety
    /// The caller owns these frames, and forgets them.
    pub(crate) unsafe fn from_numbers(numbers: &'a [u32]) -> Self {
        // INVARIANT: each number is given out once, and the caller makes no other token of it.
        Self(numbers.iter())
    }
}

impl<'a> Frames<'a> {
    /// The numbers of all that is left; who takes them owns the frames.
    #[inline]
    pub fn into_numbers(self) -> &'a [u32] {
        self.0.as_slice()
    }
}

impl Iterator for Frames<'_> {
    type Item = Frame;

    #[inline]
    fn next(&mut self) -> Option<Frame> {
        self.0.next().map(|&number| Frame(number))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Frames<'_> {}

/// Gives one frame back.
pub(crate) fn give_back<P: Platform>(platform: &P, frame: Frame) {
    let number = [frame.into_number()];
    // SAFETY: the token is used up here.
    platform.release_frames(unsafe { Frames::from_numbers(&number) });
}

/// The kernel under the pool.
///
/// # Safety
/// An implementor promises, of all values of the type together:
/// - while a [`Platform::Pinned`] or a [`Platform::PinnedInSteps`] lives, the code that took it is
///   neither interrupted nor moved to another core; so those types are neither `Send` nor `Sync`;
/// - [`Platform::cores`] is always the same number, and the number of every pinned core is less;
/// - [`Platform::address`] gives one fixed, page-aligned address, which is not null, for a frame's
///   number, `number * 4096` from that of frame 0, at which 4096 initialised bytes can be read and
///   written from every core as long as the frame's token has not been given back;
/// - [`Platform::allocate_frame`] gives only frames that nobody else uses, with numbers less than
///   `u32::MAX`.
pub unsafe trait Platform: Sync {
    /// Proof that the running code cannot be interrupted or moved.
    type Pinned<'a>: PinnedCore
    where
        Self: 'a;

    /// The same for work on many objects, which asks every so often whether to end early.
    type PinnedInSteps<'a>: PinnedInSteps
    where
        Self: 'a;

    /// Masks interrupts of this core until the value is dropped, for some hundred instructions. May
    /// nest.
    fn pin(&self) -> Self::Pinned<'_>;

    /// Masks interrupts of this core until the value is dropped, for as long as none waits and a
    /// step longer. May nest.
    fn pin_in_steps(&self) -> Self::PinnedInSteps<'_>;

    /// Number of cores that may use the pool; a core's number is less than it.
    fn cores(&self) -> usize;

    /// Raises the drain interrupt for the ring of `core`; its handler wakes the drain task. Whoever
    /// it wakes sees what was stored before the call: where raising an interrupt does not order it
    /// behind earlier stores, this takes a barrier (on AArch64 `DSB ISHST`). Otherwise the task
    /// could find the ring as it was, and sleep on.
    fn wake_drain(&self, core: usize);

    /// A clock that never goes back, in ticks of the platform's choice.
    fn now(&self) -> u64;

    /// A free frame with any content, or `None` if there is none. Called without a lock held.
    fn allocate_frame(&self) -> Option<Frame>;

    /// Takes frames back in bulk, every one of them. Called without a lock held (but on the first
    /// rung of [`crate::Rung`]).
    fn release_frames(&self, frames: Frames<'_>);

    /// Where a frame lies; by default memory is mapped to itself from address 0 on, so that frame 0
    /// must never be given to the pool.
    #[inline]
    fn address(&self, number: u32) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(number as usize * PAGE_SIZE)
    }

    /// The frame that lies at an address which [`Platform::address`] gave.
    fn number(&self, address: *mut u8) -> u32 {
        let distance = address.addr().wrapping_sub(self.address(0).addr());
        u32::try_from(distance / PAGE_SIZE).unwrap_or(u32::MAX)
    }
}

/// A core from which the running code cannot be taken.
///
/// # Safety
/// While the value lives, no other code runs on [`PinnedCore::core`] and this code runs nowhere
/// else.
pub unsafe trait PinnedCore {
    /// Number of the core, less than [`Platform::cores`].
    fn core(&self) -> usize;

    /// Whether this is an interrupt handler: a handler never drains, even if its ring is full.
    fn in_interrupt(&self) -> bool {
        false
    }
}

/// A core from which running code cannot be taken, and that says when it should be.
///
/// # Safety
/// As [`PinnedCore`].
pub unsafe trait PinnedInSteps: PinnedCore {
    /// Whether an interrupt waits for this value to be dropped. Never, where nobody minds the wait.
    #[inline]
    fn interrupt_waits(&self) -> bool {
        false
    }
}
