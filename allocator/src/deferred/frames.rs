//! The memory of a core's ring: one frame for its indexes and its directory, and frames of 512
//! words.

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
/// The first `frames` entries, a power of two, point at frames of zeroed words that belong to the
/// ring; the others repeat them.
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

impl FrameSlots {
    /// The words of one of the runs; none in a ring without frames.
    #[inline]
    fn words(&self, run: *mut AtomicU64) -> &[AtomicU64] {
        if run.is_null() {
            return &[];
        }
        // SAFETY: by the invariant a frame of words, which is the ring's as long as it lives.
        unsafe { core::slice::from_raw_parts(run, WORDS) }
    }
}

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
        self.words(self.runs[place / WORDS % MOST_FRAMES])
            .get(place % WORDS..place % WORDS + count)
            .unwrap_or(&[])
    }

    #[inline]
    fn entered_run(&self, first: u64, end: u64) -> &[AtomicU64] {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits, and at most a frame")]
        let (start, count) = (first as usize % WORDS, (end - first) as usize);
        // Relaxed: the producer's own.
        self.words(self.current.load(Ordering::Relaxed)).get(start..start + count).unwrap_or(&[])
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
    let mut ring: NonNull<CoreRing> = zeroed(platform, home.number())?;
    // SAFETY: all bytes zero are a ring: null pointers, open locks and numbers; it is page-aligned,
    // fits the frame, and is nobody else's yet.
    let slots = unsafe { ring.as_mut() }.initialise(shape);
    slots.home = home.number();
    for place in 0..frames {
        let Some(frame) = platform.allocate_frame() else {
            release(platform, &slots.numbers[..place]);
            give_back(platform, home);
            return Err(Error::OutOfMemory);
        };
        let number = frame.into_number();
        slots.runs[place] = zeroed(platform, number)?.as_ptr();
        slots.numbers[place] = number;
    }
    for place in frames.max(1)..MOST_FRAMES {
        slots.runs[place] = slots.runs[place % frames.max(1)];
    }
    slots.frames = frames;
    slots.current = AtomicPtr::new(slots.runs[0]);
    let _ = home.into_number();
    Ok(ring)
}

/// Fills a frame of the caller's with zeros.
fn zeroed<T, P: Platform>(platform: &P, number: u32) -> Result<NonNull<T>, Error> {
    let address = platform.address(number);
    // SAFETY: the frame is the caller's, and 4096 bytes long.
    unsafe { address.write_bytes(0, PAGE_SIZE) };
    NonNull::new(address.cast()).ok_or(Error::OutOfMemory)
}

fn release<P: Platform>(platform: &P, numbers: &[u32]) {
    // SAFETY: the frames were the ring's, which forgets them.
    platform.release_frames(unsafe { Frames::from_numbers(numbers) });
}

/// Gives a ring's frames back.
///
/// # Safety
/// `ring` came from [`create`], and nobody uses it any more.
pub(crate) unsafe fn destroy<P: Platform>(platform: &P, ring: NonNull<CoreRing>) {
    let home = {
        // SAFETY: the caller's promise.
        let slots = unsafe { ring.as_ref() }.slots();
        release(platform, &slots.numbers[..slots.frames]);
        [slots.home]
    };
    // The ring's home frame, which holds nothing any more.
    release(platform, &home);
}
