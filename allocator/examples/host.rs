//! A pool on the host: a platform of a few lines, some objects, a deferred free, compaction.

use core::{alloc::Layout, cell::RefCell, marker::PhantomData};
use std::alloc::{alloc_zeroed, dealloc};

use zsmalloc::{
    Config, Error, Frame, Frames, PAGE_SIZE, PinnedCore, PinnedInSteps, Platform, Pool,
};

const FRAMES: u32 = 4096;

/// One thread, one core, one arena.
struct Machine {
    arena: *mut u8,
    free: RefCell<Vec<u32>>,
}

struct Pinned<'a>(PhantomData<(&'a Machine, *const ())>);

// SAFETY: this program has one thread and no interrupts.
unsafe impl PinnedCore for Pinned<'_> {
    fn core(&self) -> usize {
        0
    }
}

// SAFETY: as above.
unsafe impl PinnedInSteps for Pinned<'_> {}

// SAFETY: never shared: this program has one thread.
unsafe impl Sync for Machine {}

// SAFETY: frames of one zeroed arena, each handed out once at a time.
unsafe impl Platform for Machine {
    type Pinned<'a> = Pinned<'a>;
    type PinnedInSteps<'a> = Pinned<'a>;

    fn pin(&self) -> Pinned<'_> {
        Pinned(PhantomData)
    }

    fn pin_in_steps(&self) -> Pinned<'_> {
        Pinned(PhantomData)
    }

    fn cores(&self) -> usize {
        1
    }

    fn wake_drain(&self, core: usize) {
        println!("the drain of core {core} is to wake up");
    }

    fn now(&self) -> u64 {
        0
    }

    fn allocate_frame(&self) -> Option<Frame> {
        let number = self.free.borrow_mut().pop()?;
        // SAFETY: the number was free until now.
        Some(unsafe { Frame::from_number(number) })
    }

    fn release_frames(&self, frames: Frames<'_>) {
        self.free.borrow_mut().extend(frames.map(Frame::into_number));
    }

    fn address(&self, number: u32) -> *mut u8 {
        self.arena.wrapping_add(number as usize * PAGE_SIZE)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: allocated in `main` with the same layout.
        unsafe { dealloc(self.arena, layout()) };
    }
}

fn layout() -> Layout {
    Layout::new::<[[u8; PAGE_SIZE]; FRAMES as usize]>().align_to(PAGE_SIZE).expect("a power of two")
}

fn main() -> Result<(), Error> {
    // SAFETY: the layout is not empty.
    let arena = unsafe { alloc_zeroed(layout()) };
    let machine = Machine { arena, free: RefCell::new((0..FRAMES).collect()) };
    let pool =
        Pool::new(machine, Config { ring_capacity: 1024, watermark: 256, ..Config::default() })?;

    let mut handles = Vec::new();
    for size in zsmalloc::bench::Sizes::new(1).take(2_000) {
        let handle = pool.malloc(size)?;
        pool.write(&handle, &vec![0x5a; size])?;
        handles.push(handle);
    }
    {
        let view = pool.read(&handles[0])?;
        let (head, tail) = view.parts();
        println!(
            "the first object has {} + {} bytes and begins with {:#x}",
            head.len(),
            tail.len(),
            head[0]
        );
    }

    println!("released: {} objects", handles.len() / 2);
    let rest = handles.split_off(handles.len() / 2);
    {
        let pinned = pool.platform().pin();
        // The drain declares itself asleep, so that crossing the watermark raises its interrupt.
        pool.prepare_sleep(0);
        pool.free_deferred_many(&pinned, handles);
    }
    println!("pending: {}", pool.pending(0));
    while pool.drain(0, 500).remaining != 0 {}

    let before = pool.pages();
    while !pool.compact(1_000).complete {}
    println!("compaction: {before} pages became {}", pool.pages());
    for handle in rest {
        pool.free(handle)?;
    }
    println!("{:?}", pool.close());
    Ok(())
}
