//! A platform on the host: an arena of frames, a thread-local core, and a switch that makes the
//! frame source refuse.

#[allow(dead_code, reason = "not every test has a shadow")]
pub(crate) mod shadow;

use core::{
    cell::Cell,
    marker::PhantomData,
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
};
use std::{
    alloc::{alloc_zeroed, dealloc},
    sync::Mutex,
};

use zsmalloc::{Frame, Frames, PAGE_SIZE, PinnedCore, Platform};

thread_local! {
    static CORE: Cell<usize> = const { Cell::new(0) };
    static STOP: Cell<Option<StopAt>> = const { Cell::new(None) };
}

/// Says which core the calling thread is.
#[allow(dead_code, reason = "not every test has threads")]
pub(crate) fn set_core(core: usize) {
    CORE.set(core);
}

/// Where a thread stops, as one that its kernel takes off the core.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopAt {
    /// Where it asks for a frame's bytes.
    Bytes,
    /// Where it gives frames back.
    Release,
}

/// Has the calling thread stop where it next comes to such a place, until [`Host::go_on`] is set.
#[allow(dead_code, reason = "for tests of what others do meanwhile")]
pub(crate) fn stop_at(place: StopAt) {
    STOP.set(Some(place));
}

pub struct Host {
    arena: *mut u8,
    frames: usize,
    free: Mutex<Vec<u32>>,
    cores: usize,
    pub interrupts: AtomicUsize,
    /// Frame requests until one is refused; negative: never.
    pub refuse_after: AtomicI64,
    pub clock: AtomicU64,
    /// Times that a core was pinned.
    pub pins: AtomicUsize,
    /// Says that frames are on their way back, and how many microseconds that takes.
    pub releasing: AtomicUsize,
    pub slowness: AtomicU64,
    /// An interrupt waits whenever it is asked.
    pub impatient: AtomicBool,
    /// Says that a thread has stopped, and that it may go on.
    pub stopped: AtomicBool,
    pub go_on: AtomicBool,
}

// SAFETY: the arena is plain memory, handed out frame by frame.
unsafe impl Send for Host {}
// SAFETY: as above; the rest is locked or atomic.
unsafe impl Sync for Host {}

impl Host {
    pub fn new(frames: usize, cores: usize) -> Self {
        // SAFETY: the layout is not empty.
        let arena = unsafe { alloc_zeroed(Self::layout(frames)) };
        assert!(!arena.is_null());
        let free = (0..u32::try_from(frames).expect("few frames")).rev().collect();
        Self {
            arena,
            frames,
            free: Mutex::new(free),
            cores,
            interrupts: AtomicUsize::new(0),
            refuse_after: AtomicI64::new(-1),
            clock: AtomicU64::new(0),
            pins: AtomicUsize::new(0),
            releasing: AtomicUsize::new(0),
            slowness: AtomicU64::new(0),
            impatient: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            go_on: AtomicBool::new(false),
        }
    }

    fn layout(frames: usize) -> core::alloc::Layout {
        core::alloc::Layout::from_size_align(frames * PAGE_SIZE, PAGE_SIZE).expect("a layout")
    }

    /// Frames in all.
    #[allow(dead_code, reason = "for tests that move pages")]
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Takes back a frame that the pool gave to somebody else.
    #[allow(dead_code, reason = "for tests that move pages")]
    pub fn take_back(&self, frame: Frame) {
        self.free.lock().expect("no panic").push(frame.into_number());
    }

    /// The calling thread comes to a place where it may have to stop.
    fn pass(&self, place: StopAt) {
        if STOP.get() == Some(place) {
            STOP.set(None);
            self.stopped.store(true, Ordering::Release);
            while !self.go_on.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        }
    }

    pub fn used(&self) -> usize {
        self.frames - self.free.lock().expect("no panic").len()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: allocated with the same layout.
        unsafe { dealloc(self.arena, Self::layout(self.frames)) };
    }
}

pub struct Pinned<'a>(PhantomData<(&'a Host, *const ())>);

pub struct PinnedInSteps<'a> {
    pinned: Pinned<'a>,
    impatient: bool,
}

// SAFETY: each test thread names a core of its own, and threads have no interrupts.
unsafe impl PinnedCore for Pinned<'_> {
    fn core(&self) -> usize {
        CORE.get()
    }
}

// SAFETY: as above.
unsafe impl PinnedCore for PinnedInSteps<'_> {
    fn core(&self) -> usize {
        self.pinned.core()
    }
}

// SAFETY: as above.
unsafe impl zsmalloc::PinnedInSteps for PinnedInSteps<'_> {
    fn interrupt_waits(&self) -> bool {
        self.impatient
    }
}

// SAFETY: frames of one zeroed arena, each handed out once at a time.
unsafe impl Platform for &Host {
    type Pinned<'a>
        = Pinned<'a>
    where
        Self: 'a;
    type PinnedInSteps<'a>
        = PinnedInSteps<'a>
    where
        Self: 'a;

    fn pin(&self) -> Pinned<'_> {
        self.pins.fetch_add(1, Ordering::Relaxed);
        Pinned(PhantomData)
    }

    fn pin_in_steps(&self) -> PinnedInSteps<'_> {
        PinnedInSteps { pinned: self.pin(), impatient: self.impatient.load(Ordering::Relaxed) }
    }

    fn cores(&self) -> usize {
        self.cores
    }

    fn wake_drain(&self, _core: usize) {
        self.interrupts.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn allocate_frame(&self) -> Option<Frame> {
        let left = self.refuse_after.load(Ordering::Relaxed);
        if left == 0 {
            return None;
        }
        if left > 0 {
            self.refuse_after.store(left - 1, Ordering::Relaxed);
        }
        let number = self.free.lock().expect("no panic").pop()?;
        // SAFETY: the number was free until now.
        Some(unsafe { Frame::from_number(number) })
    }

    fn release_frames(&self, frames: Frames<'_>) {
        self.pass(StopAt::Release);
        let slowness = self.slowness.load(Ordering::Relaxed);
        if slowness != 0 {
            self.releasing.fetch_add(1, Ordering::Release);
            std::thread::sleep(core::time::Duration::from_micros(slowness));
        }
        let mut free = self.free.lock().expect("no panic");
        free.extend(frames.map(Frame::into_number));
    }

    fn address(&self, number: u32) -> *mut u8 {
        assert!((number as usize) < self.frames);
        self.pass(StopAt::Bytes);
        self.arena.wrapping_add(number as usize * PAGE_SIZE)
    }
}
