//! The memory of a core's ring: one frame for its indexes and its directory, and frames of 512 words.

use core::ptr::NonNull;

use crate::{
    deferred::{
        drain::Scratch,
        ring::{Ring, Shape, Slots},
    },
    error::Error,
    platform::{Frames, PAGE_SIZE, Platform, give_back},
    sync::{AtomicPtr, AtomicU64, Ordering},
};

/// Words in a frame.
pub(crate) const WORDS: usize = PAGE_SIZE / 8;
/// Frames that a ring can have.
const MOST_FRAMES: usize = 128;

/// Frames of words.
///
/// # Invariants
/// The first `frames` entries, a power of two, point at frames of zeroed words that belong to the ring; the others repeat them.
pub(crate) struct FrameSlots {
    current: AtomicPtr<AtomicU64>,
    home: u32,
    frames: usize,
    runs: [*mut AtomicU64; MOST_FRAMES],
    numbers: [u32; MOST_FRAMES],
}

// SAFETY: the pointers lead to atomics that all cores may use.
unsafe impl Send for FrameSlots {}
// SAFETY: as above; the table itself does not change once the ring is shared.
unsafe impl Sync for FrameSlots {}

impl Slots for FrameSlots {
    #[inline]
    fn slot(&self, index: u64) -> &AtomicU64 {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits are used")]
        let index = index as usize;
        let run = self.runs[index / WORDS % MOST_FRAMES];
        // SAFETY: by the invariant; the offset stays within the frame.
        let slot = unsafe { run.add(index % WORDS) };
        // SAFETY: a zeroed atomic of the ring's own frame.
        unsafe { &*slot }
    }

    #[inline(always)]
    fn entered(&self, index: u64) -> &AtomicU64 {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits are used")]
        let index = index as usize;
        // Relaxed: the producer's own.
        let run = self.current.load(Ordering::Relaxed);
        // SAFETY: `enter` put one of the frames here; the offset stays within it.
        let slot = unsafe { run.add(index % WORDS) };
        // SAFETY: a zeroed atomic of the ring's own frame.
        unsafe { &*slot }
    }

    #[inline]
    fn run(&self, first: u64, end: u64) -> &[AtomicU64] {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits, and at most a frame")]
        let (place, count) = (first as usize, (end - first) as usize);
        let run = self.runs[place / WORDS % MOST_FRAMES];
        // SAFETY: by the invariant, a frame of words.
        let run = unsafe { core::slice::from_raw_parts(run, WORDS) };
        run.get(place % WORDS..place % WORDS + count).unwrap_or(&[])
    }

    #[inline]
    fn entered_run(&self, first: u64, end: u64) -> &[AtomicU64] {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits, and at most a frame")]
        let (start, count) = (first as usize % WORDS, (end - first) as usize);
        // Relaxed: the producer's own.
        let run = self.current.load(Ordering::Relaxed);
        // SAFETY: `enter` put a frame here.
        let run = unsafe { core::slice::from_raw_parts(run, WORDS) };
        run.get(start..start + count).unwrap_or(&[])
    }

    fn enter(&self, index: u64) -> u64 {
        let first = index & !(WORDS as u64 - 1);
        let run: *const AtomicU64 = self.slot(first);
        self.current.store(run.cast_mut(), Ordering::Relaxed);
        first + WORDS as u64
    }
}

/// A core's ring in a frame of its own.
pub(crate) type CoreRing = Ring<FrameSlots, Scratch>;

const _: () = assert!(size_of::<CoreRing>() <= PAGE_SIZE && align_of::<CoreRing>() <= PAGE_SIZE);

/// Frames for a ring of `capacity` handles, with the one of its indexes.
pub(crate) const fn frames_for(capacity: usize) -> usize {
    1 + capacity.div_ceil(WORDS)
}

/// Greatest capacity of a ring.
pub(crate) const MOST_CAPACITY: usize = MOST_FRAMES * WORDS;

/// Makes a ring; on refusal every frame went back.
pub(crate) fn create<P: Platform>(platform: &P, shape: Shape) -> Result<NonNull<CoreRing>, Error> {
    let capacity = usize::try_from(shape.capacity).map_err(|_| Error::BadConfig)?;
    let home = platform.allocate_frame().ok_or(Error::OutOfMemory)?;
    let frames = capacity.div_ceil(WORDS);
    let mut slots = FrameSlots {
        current: AtomicPtr::new(core::ptr::null_mut()),
        home: home.number(),
        frames,
        runs: [core::ptr::null_mut(); MOST_FRAMES],
        numbers: [0; MOST_FRAMES],
    };
    for place in 0..frames {
        let Some(frame) = platform.allocate_frame() else {
            release(platform, &slots, place);
            give_back(platform, home);
            return Err(Error::OutOfMemory);
        };
        let number = frame.into_number();
        let address = platform.address(number);
        // SAFETY: the frame is ours, and 4096 bytes long.
        unsafe { address.write_bytes(0, PAGE_SIZE) };
        slots.runs[place] = address.cast();
        slots.numbers[place] = number;
    }
    for place in frames.max(1)..MOST_FRAMES {
        slots.runs[place] = slots.runs[place % frames.max(1)];
    }
    slots.current = AtomicPtr::new(slots.runs[0]);
    let address: *mut CoreRing = platform.address(home.into_number()).cast();
    // SAFETY: the frame is ours, page-aligned, and the ring fits it.
    unsafe { address.write(Ring::new(shape, slots, Scratch::new())) };
    // SAFETY: a frame's address is not null.
    Ok(unsafe { NonNull::new_unchecked(address) })
}

fn release<P: Platform>(platform: &P, slots: &FrameSlots, frames: usize) {
    // SAFETY: the frames were the ring's, which forgets them.
    platform.release_frames(unsafe { Frames::from_numbers(&slots.numbers[..frames]) });
}

/// Gives a ring's frames back.
///
/// # Safety
/// `ring` came from [`create`], and nobody uses it any more.
pub(crate) unsafe fn destroy<P: Platform>(platform: &P, ring: NonNull<CoreRing>) {
    // SAFETY: the caller's promise; the ring is moved out once.
    let ring = unsafe { ring.read() };
    let slots = ring.into_slots();
    release(platform, &slots, slots.frames);
    // SAFETY: the ring's home frame, which holds nothing any more.
    let home = unsafe { Frames::from_numbers(core::slice::from_ref(&slots.home)) };
    platform.release_frames(home);
}
