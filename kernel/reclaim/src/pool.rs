//! The kernel under `zsmalloc`: frames, cores, interrupts and time for the one pool that all guests
//! share.

use core::sync::atomic::Ordering;

use bale_arch::mask::{BrieflyMasked, MaskedInSteps};
use bale_core::trace::Kind;
use spin::Once;
use zsmalloc::{Config, Error, PinnedCore, Platform, Pool};

use crate::homes;
use bale_memory::frames;
use bale_rt::{clock, cores, interrupts, trace};

/// What the pool asks of the kernel.
#[derive(Debug, Clone, Copy)]
pub struct Kernel;

/// Interrupts masked on this core: neither interrupted nor moved.
pub struct Pinned(#[expect(dead_code, reason = "held for its drop")] BrieflyMasked);

/// The same, in steps.
pub struct PinnedInSteps(MaskedInSteps);

// SAFETY: while interrupts are masked the caller stays on this core, and nothing else runs on it.
unsafe impl PinnedCore for Pinned {
    #[inline(always)]
    fn core(&self) -> usize {
        cores::this_unpinned().index()
    }

    fn in_interrupt(&self) -> bool {
        cores::this_unpinned().in_interrupt.load(Ordering::Relaxed)
    }
}

// SAFETY: as above.
unsafe impl PinnedCore for PinnedInSteps {
    #[inline(always)]
    fn core(&self) -> usize {
        cores::this_unpinned().index()
    }
}

// SAFETY: as above.
unsafe impl zsmalloc::PinnedInSteps for PinnedInSteps {
    #[inline(always)]
    fn interrupt_waits(&self) -> bool {
        self.0.interrupt_waits()
    }
}

// SAFETY: frames are owned tokens of mapped memory; the core index is the caller's own while it is
// pinned.
unsafe impl Platform for Kernel {
    type Pinned<'a> = Pinned;
    type PinnedInSteps<'a> = PinnedInSteps;

    #[inline(always)]
    fn pin(&self) -> Pinned {
        Pinned(BrieflyMasked::new())
    }

    #[inline(always)]
    fn pin_in_steps(&self) -> PinnedInSteps {
        PinnedInSteps(MaskedInSteps::new())
    }

    fn cores(&self) -> usize {
        cores::all().len()
    }

    fn wake_drain(&self, core: usize) {
        trace::note(cores::this_unpinned(), Kind::Enqueue, pool().pending(core) as u32, "");
        interrupts::raise(homes::home(core), interrupts::DRAIN);
    }

    fn now(&self) -> u64 {
        clock::now()
    }

    #[inline]
    fn allocate_frame(&self) -> Option<zsmalloc::Frame> {
        let number = frames::allocate_number()?;
        // SAFETY: the pool becomes the only owner of this mapped frame.
        Some(unsafe { zsmalloc::Frame::from_number(number) })
    }

    fn release_frames(&self, frames: zsmalloc::Frames<'_>) {
        // SAFETY: the pool had the frames from `allocate_frame` and gives them up here.
        unsafe { frames::release_numbers(frames.into_numbers()) };
    }
}

/// Pending handles at which the drain interrupt is raised: the death of a small guest is noticed,
/// however large the ring; what the ring holds beyond is for bursts.
const WATERMARK: usize = 512;

static POOL: Once<Pool<Kernel>> = Once::new();

/// Makes the pool, its rings sized from cores and memory.
///
/// # Errors
/// The pool's own: too little memory for its first frames.
pub fn initialise() -> Result<(), Error> {
    let bytes = frames::usage().total as u64 * 4096;
    let config = Config::for_memory(cores::all().len(), bytes);
    let pool = Pool::new(Kernel, Config { watermark: config.watermark.min(WATERMARK), ..config })?;
    POOL.call_once(|| pool);
    Ok(())
}

/// Empties the ring of a core that has left, and says how many handles were in it; `None` while
/// somebody is in the middle of a batch.
pub fn retire_core(core: usize) -> Option<usize> {
    pool().retire_core(core).ok()
}

/// The pool.
///
/// # Panics
/// Before [`initialise`].
pub fn pool() -> &'static Pool<Kernel> {
    POOL.get().expect("the pool is made during boot, before any guest")
}
