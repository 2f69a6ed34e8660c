//! defmt's global logger: frames go into a ring of the core that logs, and a task sends them to the UART.
//!
//! Any context may log: a frame is written with interrupts masked on this core, touches only this core's ring, and
//! never waits. A frame that does not fit is dropped whole and counted. Nothing is sent until somebody asks for it
//! (boot argument `log=defmt`, or `log stream on`), so a plain terminal shows clean text.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bale_arch::mask::Masked;

use crate::cores::{self, MAX_CORES};
use crate::{clock, console, task};

const RING: usize = 4096;
/// Bytes of a frame at most.
pub(crate) const LONGEST_FRAME: usize = 256;

/// Single producer: the core, with interrupts masked. Single consumer: whoever holds `SENDER`.
struct Ring {
    bytes: UnsafeCell<[u8; RING]>,
    /// Written by the producer with release once a frame is whole; the consumer's acquire pairs with it.
    head: AtomicUsize,
    /// Written by the consumer with release once bytes were copied out; the producer's acquire pairs with it.
    tail: AtomicUsize,
    frames: AtomicU64,
    dropped: AtomicU64,
    /// The frame being written, and how much of it is there; `LONGEST_FRAME + 1` once it is too long.
    frame: UnsafeCell<([u8; LONGEST_FRAME], usize)>,
    encoder: UnsafeCell<defmt::Encoder>,
    mask: UnsafeCell<Option<Masked>>,
}

// SAFETY: see the type: `bytes` is split between producer and consumer by head and tail, the other cells are the
// producer's alone.
unsafe impl Sync for Ring {}

impl Ring {
    const fn new() -> Self {
        Self {
            bytes: UnsafeCell::new([0; RING]),
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            frames: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            frame: UnsafeCell::new(([0; LONGEST_FRAME], 0)),
            encoder: UnsafeCell::new(defmt::Encoder::new()),
            mask: UnsafeCell::new(None),
        }
    }

    fn put_byte(&self, at: usize, byte: u8) {
        let base = self.bytes.get().cast::<u8>();
        // SAFETY: inside the array.
        let place = unsafe { base.add(at % RING) };
        // SAFETY: between head and tail + RING, so the producer's.
        unsafe { place.write(byte) };
    }

    fn byte(&self, at: usize) -> u8 {
        let base = self.bytes.get().cast::<u8>();
        // SAFETY: inside the array.
        let place = unsafe { base.add(at % RING) };
        // SAFETY: between tail and head, so the consumer's.
        unsafe { place.read() }
    }

    /// Appends a whole frame and its NUL, or drops it.
    fn append(&self, frame: &[u8]) {
        let head = self.head.load(Ordering::Relaxed);
        let free = RING - (head - self.tail.load(Ordering::Acquire));
        if frame.len() + 1 > free {
            cores::count(&self.dropped);
            return;
        }
        for (offset, byte) in frame.iter().enumerate() {
            self.put_byte(head + offset, *byte);
        }
        self.put_byte(head + frame.len(), 0);
        cores::count(&self.frames);
        self.head.store(head + frame.len() + 1, Ordering::Release);
    }

    /// Moves the oldest frame into `frame`; its length.
    fn take(&self, frame: &mut [u8; LONGEST_FRAME]) -> Option<usize> {
        let tail = self.tail.load(Ordering::Relaxed);
        let head = self.head.load(Ordering::Acquire);
        if tail == head {
            return None;
        }
        let mut length = 0;
        while self.byte(tail + length) != 0 {
            frame[length] = self.byte(tail + length);
            length += 1;
        }
        self.tail.store(tail + length + 1, Ordering::Release);
        Some(length)
    }
}

static RINGS: [Ring; MAX_CORES] = [const { Ring::new() }; MAX_CORES];
static STREAMING: AtomicBool = AtomicBool::new(false);
static SENDER: crate::sync::Lock<()> = crate::sync::Lock::new(());

fn ring() -> &'static Ring {
    &RINGS[if cores::claimed() { cores::this_unpinned().index() } else { 0 }]
}

#[defmt::global_logger]
struct Logger;

// SAFETY: acquire masks interrupts on this core until release, and each core has its own ring, so frames never mix.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        let mask = Masked::new();
        let ring = ring();
        // SAFETY: the producer's cell; interrupts are masked.
        unsafe { *ring.mask.get() = Some(mask) };
        // SAFETY: as above.
        unsafe { (*ring.frame.get()).1 = 0 };
        // SAFETY: as above.
        let encoder = unsafe { &mut *ring.encoder.get() };
        encoder.start_frame(collect);
    }

    unsafe fn flush() {
        send_waiting();
    }

    unsafe fn release() {
        let ring = ring();
        // SAFETY: the producer's cell; interrupts are masked since `acquire`.
        let encoder = unsafe { &mut *ring.encoder.get() };
        encoder.end_frame(collect);
        // SAFETY: as above.
        let (bytes, length) = unsafe { &*ring.frame.get() };
        if *length > LONGEST_FRAME {
            cores::count(&ring.dropped);
        } else {
            ring.append(&bytes[..*length]);
        }
        // SAFETY: as above.
        let mask = unsafe { (*ring.mask.get()).take() };
        drop(mask);
    }

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: the producer's cell; interrupts are masked since `acquire`.
        let encoder = unsafe { &mut *ring().encoder.get() };
        encoder.write(bytes, collect);
    }
}

fn collect(bytes: &[u8]) {
    // SAFETY: the producer's cell; called between acquire and release only.
    let (frame, length) = unsafe { &mut *ring().frame.get() };
    // The encoder writes NUL only around frames; the wire format adds its own.
    for &byte in bytes.iter().filter(|byte| **byte != 0) {
        if *length < LONGEST_FRAME {
            frame[*length] = byte;
        }
        *length = (*length + 1).min(LONGEST_FRAME + 1);
    }
}

defmt::timestamp!("{=u64:us}", clock::uptime_us());

/// Frames logged and dropped, by core, and bytes that wait.
pub fn counts(core: usize) -> (u64, u64, usize) {
    let ring = &RINGS[core];
    let tail = ring.tail.load(Ordering::Relaxed);
    let waiting = ring.head.load(Ordering::Relaxed).saturating_sub(tail);
    (ring.frames.load(Ordering::Relaxed), ring.dropped.load(Ordering::Relaxed), waiting)
}

/// Whether frames are sent to the UART.
pub fn streaming() -> bool {
    STREAMING.load(Ordering::Relaxed)
}

/// Sends frames to the UART from now on, or keeps them.
pub fn set_streaming(on: bool) {
    STREAMING.store(on, Ordering::Relaxed);
}

/// Takes the oldest waiting frame of a core; its length.
pub fn take(core: usize, frame: &mut [u8; LONGEST_FRAME]) -> Option<usize> {
    let _one_consumer = SENDER.lock();
    RINGS[core].take(frame)
}

/// As [`take`], from a core that reports a crash or ends the machine: nothing, where somebody else is at it.
pub(crate) fn take_last(core: usize, frame: &mut [u8; LONGEST_FRAME]) -> Option<usize> {
    let _one_consumer = SENDER.try_lock()?;
    RINGS[core].take(frame)
}

/// Sends what waits from a core that reports a crash: as [`send_waiting`], unless the crash broke into a sender.
pub fn send_last() {
    if SENDER.try_lock().is_some() {
        send_waiting();
    }
}

/// Sends everything that waits, if anybody wants it.
pub fn send_waiting() {
    if !streaming() {
        return;
    }
    let mut frame = [0; LONGEST_FRAME];
    for core in 0..cores::all().len() {
        while let Some(length) = take(core, &mut frame) {
            console::write_frame(&frame[..length]);
        }
    }
}

/// The log's task: sends what waits, a hundred times a second while somebody listens.
pub extern "C" fn task(_argument: u64) -> ! {
    loop {
        send_waiting();
        let pause = if streaming() { 10_000 } else { 200_000 };
        task::sleep_us(pause);
    }
}
