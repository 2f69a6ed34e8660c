//! A platform on the host (an arena of frames, a thread-local core, a switch that makes the frame
//! source refuse), and pages to store.
#![allow(dead_code, reason = "not every test uses all of it")]

use core::{
    alloc::Layout,
    cell::Cell,
    marker::PhantomData,
    sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};
use std::{
    alloc::{alloc_zeroed, dealloc},
    sync::Mutex,
    time::Instant,
};

use bale_swap::{Codec, Setup, Tables};
use zsmalloc::{Frame, Frames, Handle, PAGE_SIZE, PinnedCore, PinnedInSteps, Platform, Pool};

thread_local! {
    static CORE: Cell<usize> = const { Cell::new(0) };
    static STOP: Cell<bool> = const { Cell::new(false) };
}

/// Has the calling thread stop where it next asks for a frame's bytes, as one that its kernel takes
/// off the core, until [`Host::go_on`] is set.
pub(crate) fn stop_at_bytes() {
    STOP.set(true);
}

/// Says which core the calling thread is.
pub(crate) fn set_core(core: usize) {
    CORE.set(core);
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
    /// Nanoseconds for which a core was pinned at the longest.
    pub longest_pinned: AtomicU64,
    /// Says that a thread has stopped, and that it may go on.
    pub stopped: AtomicBool,
    pub go_on: AtomicBool,
}

// SAFETY: the arena is only handed out frame by frame.
unsafe impl Send for Host {}
// SAFETY: as above; the list of free frames is behind a lock.
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
            longest_pinned: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            go_on: AtomicBool::new(false),
        }
    }

    fn layout(frames: usize) -> Layout {
        Layout::from_size_align(frames * PAGE_SIZE, PAGE_SIZE).expect("a layout")
    }

    /// Frames that are not free.
    pub fn used(&self) -> usize {
        self.frames - self.free.lock().expect("no panic").len()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; nobody uses it any more.
        unsafe { dealloc(self.arena, Self::layout(self.frames)) };
    }
}

pub struct Pinned<'a> {
    host: &'a Host,
    since: Instant,
    stays: PhantomData<*const ()>,
}

impl<'a> Pinned<'a> {
    fn new(host: &'a Host) -> Self {
        Self { host, since: Instant::now(), stays: PhantomData }
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        let taken = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.host.longest_pinned.fetch_max(taken, Ordering::Relaxed);
    }
}

// SAFETY: each thread of a test is a core of its own, and nothing interrupts it.
unsafe impl PinnedCore for Pinned<'_> {
    fn core(&self) -> usize {
        CORE.get()
    }
}

// SAFETY: as above.
unsafe impl PinnedInSteps for Pinned<'_> {}

// SAFETY: frames come from a list of free ones in a fixed arena; a thread is a core.
unsafe impl Platform for &Host {
    type Pinned<'a>
        = Pinned<'a>
    where
        Self: 'a;
    type PinnedInSteps<'a>
        = Pinned<'a>
    where
        Self: 'a;

    fn pin(&self) -> Pinned<'_> {
        Pinned::new(self)
    }

    fn pin_in_steps(&self) -> Pinned<'_> {
        Pinned::new(self)
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
        // SAFETY: the frame was on the list of free ones, and is on it no more.
        Some(unsafe { Frame::from_number(number) })
    }

    fn release_frames(&self, frames: Frames<'_>) {
        let mut free = self.free.lock().expect("no panic");
        free.extend(frames.map(Frame::into_number));
    }

    fn address(&self, number: u32) -> *mut u8 {
        assert!((number as usize) < self.frames);
        if STOP.replace(false) {
            self.stopped.store(true, Ordering::Release);
            while !self.go_on.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        }
        self.arena.wrapping_add(number as usize * PAGE_SIZE)
    }
}

/// A small deterministic generator (xorshift64*).
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits") % limit
    }
}

/// A page of which `random` bytes in 16 are noise; the rest repeats. The first eight bytes are
/// `tag`.
pub(crate) fn page(tag: u64, noise: usize) -> [u8; PAGE_SIZE] {
    let mut random = Random(tag.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut page = [0; PAGE_SIZE];
    for (at, line) in page.chunks_exact_mut(16).enumerate() {
        for (place, byte) in line.iter_mut().enumerate() {
            *byte = if place < noise {
                random.next().to_le_bytes()[7]
            } else {
                at.to_le_bytes()[0] & 3
            };
        }
    }
    page[..8].copy_from_slice(&tag.to_le_bytes());
    page
}

/// The memory of a device's slots, with checksums or without.
pub(crate) struct Memory {
    slots: Vec<AtomicU64>,
    notes: Vec<AtomicU32>,
    checks: Vec<AtomicU64>,
}

impl Memory {
    pub(crate) fn new(slots: usize) -> Self {
        let words = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            slots: words(slots),
            notes: (0..slots).map(|_| AtomicU32::new(0)).collect(),
            checks: words(0),
        }
    }

    pub(crate) fn checked(slots: usize) -> Self {
        Self { checks: (0..slots).map(|_| AtomicU64::new(0)).collect(), ..Self::new(slots) }
    }

    pub(crate) fn tables(&mut self) -> Tables<'_> {
        Tables { slots: &mut self.slots, notes: &mut self.notes, checks: &mut self.checks }
    }
}

/// A device with a quota.
pub(crate) fn setup(quota_pages: usize, codec: Codec) -> Setup {
    Setup { quota_pages, ..Setup::new(codec) }
}

/// Writes bytes over every object that lies near a new one of its class; how many those were. The
/// pool refuses what is not a live handle, so they can be found by trying slots of the same frame
/// of cells with each generation: see the layout of a handle.
pub(crate) fn damage(pool: &Pool<&Host>, bytes: &[u8], length: usize) -> usize {
    const SLOT_SHIFT: u32 = 23;
    let probe = pool.malloc(length).expect("memory").into_raw();
    let near = (1..=64).filter_map(|distance| probe.checked_sub(distance << SLOT_SHIFT));
    let tried = near.flat_map(|raw| (0..256).map(move |generation| raw & !0xff | generation));
    tried.filter_map(Handle::from_raw).filter(|handle| pool.write(handle, bytes).is_ok()).count()
}
