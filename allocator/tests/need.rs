//! An allocation in need, and frames and sizes at the edges.

mod common;

use core::{alloc::Layout, marker::PhantomData};
use std::sync::Mutex;

use common::Host;
use zsmalloc::{Config, Frame, Frames, Handle, PAGE_SIZE, PinnedCore, Platform, Pool};

/// What one allocation needs is less than what is pending.
#[test]
fn an_allocation_in_need_frees_no_more_than_it_needs() {
    let host = Host::new(8192, 1);
    let config =
        Config { ring_capacity: 65_536, watermark: 32_768, page_limit: 2000, ..Config::default() };
    let pool = Pool::new(&host, config).expect("memory");
    let mut handles: Vec<_> = core::iter::from_fn(|| pool.malloc(112).ok()).collect();
    let all = handles.len();
    let pending = 60_000.min(all);
    pool.free_deferred_many(&pool.platform().pin(), handles.drain(..pending));
    handles.push(pool.malloc(112).expect("what is pending makes room"));
    assert!(pool.stats().flushed <= 256, "{} handles freed for one", pool.stats().flushed);
    // And all that is pending is to be had, a little at a time.
    handles.extend(core::iter::from_fn(|| pool.malloc(112).ok()));
    assert!(handles.len() >= all && pool.pending(0) == 0, "{} of {all}", handles.len());
}

#[test]
fn a_size_from_which_an_object_costs_a_page() {
    for chain in 1..=16 {
        let host = Host::new(512, 1);
        let pool = Pool::new(&host, Config { chain, ..Config::default() }).expect("memory");
        let least = pool.huge_threshold();
        assert!((2..=PAGE_SIZE).contains(&least));
        let pages = |size: usize| {
            let before = pool.pages();
            let handles: Vec<Handle> =
                (0..64).map(|_| pool.malloc(size).expect("memory")).collect();
            let pages = pool.pages() - before;
            handles.into_iter().for_each(|handle| pool.free(handle).expect("live"));
            pages
        };
        assert_eq!(pages(least), 64, "chain {chain}, size {least}");
        assert_eq!(pages(PAGE_SIZE), 64);
    }
    let host = Host::new(64, 1);
    let pool = Pool::new(&host, Config { ring_capacity: 0, ..Config::default() }).expect("memory");
    assert_eq!(pool.huge_threshold(), 3841);
}

/// Frames above 4 TiB.
struct High {
    arena: *mut u8,
    free: Mutex<Vec<u32>>,
}

const FRAMES: usize = 256;
const BASE: u32 = 1 << 30;

impl High {
    fn layout() -> Layout {
        Layout::from_size_align(FRAMES * PAGE_SIZE, PAGE_SIZE).expect("a layout")
    }

    fn new() -> Self {
        // SAFETY: the layout is not empty.
        let arena = unsafe { std::alloc::alloc_zeroed(Self::layout()) };
        assert!(!arena.is_null());
        Self { arena, free: Mutex::new((0..256).rev().collect()) }
    }
}

impl Drop for High {
    fn drop(&mut self) {
        // SAFETY: allocated with the same layout.
        unsafe { std::alloc::dealloc(self.arena, Self::layout()) };
    }
}

// SAFETY: plain memory, handed out frame by frame.
unsafe impl Sync for High {}

struct Pinned(PhantomData<*const ()>);

// SAFETY: one thread is the one core.
unsafe impl PinnedCore for Pinned {
    fn core(&self) -> usize {
        0
    }
}

// SAFETY: as above.
unsafe impl zsmalloc::PinnedInSteps for Pinned {}

// SAFETY: frames of one zeroed arena, each handed out once at a time.
unsafe impl Platform for &High {
    type Pinned<'a>
        = Pinned
    where
        Self: 'a;
    type PinnedInSteps<'a>
        = Pinned
    where
        Self: 'a;

    fn pin(&self) -> Pinned {
        Pinned(PhantomData)
    }

    fn pin_in_steps(&self) -> Pinned {
        Pinned(PhantomData)
    }

    fn cores(&self) -> usize {
        1
    }

    fn wake_drain(&self, _core: usize) {}

    fn now(&self) -> u64 {
        0
    }

    fn allocate_frame(&self) -> Option<Frame> {
        let place = self.free.lock().expect("no panic").pop()?;
        // SAFETY: the frame was on the list of free ones, and is on it no more.
        Some(unsafe { Frame::from_number(BASE + place) })
    }

    fn release_frames(&self, frames: Frames<'_>) {
        self.free.lock().expect("no panic").extend(frames.map(|frame| frame.into_number() - BASE));
    }

    fn address(&self, number: u32) -> *mut u8 {
        self.arena.wrapping_add(number.wrapping_sub(BASE) as usize * PAGE_SIZE)
    }

    fn number(&self, address: *mut u8) -> u32 {
        BASE + u32::try_from((address.addr() - self.arena.addr()) / PAGE_SIZE)
            .expect("in the arena")
    }
}

#[test]
fn frames_of_any_number_hold_objects_of_any_size() {
    let high = High::new();
    let config = Config { ring_capacity: 128, watermark: 32, ..Config::default() };
    let pool = Pool::new(&high, config).expect("memory");
    let sizes = [1, 100, 2000, 3840, 3841, 4080, 4095, 4096, 4096, 4096];
    let mut objects = Vec::new();
    for (tag, size) in (1..).zip(sizes) {
        let handle = pool.malloc(size).unwrap_or_else(|error| panic!("{size} bytes: {error}"));
        pool.write(&handle, &vec![tag; size]).expect("live");
        objects.push((tag, size, handle));
    }
    // A page moves, wherever it lies.
    let moved = (BASE..BASE + 256).filter_map(|number| pool.isolate(number).ok()).map(|page| {
        let to = pool.platform().allocate_frame().expect("memory");
        let old = page.migrate(to).map_err(|(_, to)| to.number()).expect("nobody reads");
        high.free.lock().expect("no panic").push(old.into_number() - BASE);
    });
    assert!(moved.count() >= 7);
    for (tag, size, handle) in objects {
        let mut bytes = vec![0; size];
        assert_eq!(pool.read(&handle).expect("live").copy_to(&mut bytes), size);
        assert!(bytes.iter().all(|&byte| byte == tag), "{size} bytes");
        pool.free_deferred(&pool.platform().pin(), handle);
    }
    pool.flush();
    assert_eq!((pool.stats().objects, pool.pages()), (0, 0));
    pool.close();
    assert_eq!(high.free.lock().expect("no panic").len(), FRAMES);
}
