//! defmt's global logger: frames go into a ring of the core that logs, and a task sends them to the
//! UART.
//!
//! Any context may log: a frame is written with interrupts masked on this core, touches only this
//! core's ring, and never waits. A full ring gives up its oldest frames, each of them whole, and
//! counts them: what waits is the end of the log. Nothing is sent until somebody asks for it (boot
//! argument `log=defmt`, or `log stream on`), so a plain terminal shows clean text.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use bale_arch::mask::Masked;
use bale_core::log::{self, FrameRing, Waiting};
use heapless::Vec;

use crate::console;
use bale_rt::cores::{self, MAX_CORES};
use bale_rt::{clock, task};

/// Bytes of a core's ring.
pub const RING: usize = 4096;
/// Bytes of a frame at most.
pub const LONGEST_FRAME: usize = 256;

/// Written by its core, with interrupts masked. Read by whoever holds `READER`.
struct Log {
    ring: FrameRing<RING>,
    /// The frame being written, and how much of it is there; `LONGEST_FRAME + 1` once it is too
    /// long.
    frame: UnsafeCell<([u8; LONGEST_FRAME], usize)>,
    encoder: UnsafeCell<defmt::Encoder>,
    mask: UnsafeCell<Option<Masked>>,
}

// SAFETY: see the type: the cells are the writer's alone.
unsafe impl Sync for Log {}

impl Log {
    const fn new() -> Self {
        Self {
            ring: FrameRing::new(),
            frame: UnsafeCell::new(([0; LONGEST_FRAME], 0)),
            encoder: UnsafeCell::new(defmt::Encoder::new()),
            mask: UnsafeCell::new(None),
        }
    }
}

static LOGS: [Log; MAX_CORES] = [const { Log::new() }; MAX_CORES];
static STREAMING: AtomicBool = AtomicBool::new(false);
static READER: bale_rt::sync::Lock<()> = bale_rt::sync::Lock::new(());

fn this() -> &'static Log {
    &LOGS[if cores::claimed() { cores::this_unpinned().index() } else { 0 }]
}

#[defmt::global_logger]
struct Logger;

// SAFETY: acquire masks interrupts on this core until release, and each core has its own ring, so
// frames never mix.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        let mask = Masked::new();
        let log = this();
        // SAFETY: the writer's cell; interrupts are masked.
        unsafe { *log.mask.get() = Some(mask) };
        // SAFETY: as above.
        unsafe { (*log.frame.get()).1 = 0 };
        // SAFETY: as above.
        let encoder = unsafe { &mut *log.encoder.get() };
        encoder.start_frame(collect);
    }

    unsafe fn flush() {
        send_waiting();
    }

    unsafe fn release() {
        let log = this();
        // SAFETY: the writer's cell; interrupts are masked since `acquire`.
        let encoder = unsafe { &mut *log.encoder.get() };
        encoder.end_frame(collect);
        // SAFETY: as above.
        let (bytes, length) = unsafe { &*log.frame.get() };
        if *length > LONGEST_FRAME {
            log.ring.refuse();
        } else {
            log.ring.append(&bytes[..*length]);
        }
        // SAFETY: as above.
        let mask = unsafe { (*log.mask.get()).take() };
        drop(mask);
    }

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: the writer's cell; interrupts are masked since `acquire`.
        let encoder = unsafe { &mut *this().encoder.get() };
        encoder.write(bytes, collect);
    }
}

fn collect(bytes: &[u8]) {
    // SAFETY: the writer's cell; called between acquire and release only.
    let (frame, length) = unsafe { &mut *this().frame.get() };
    // The encoder writes NUL only around frames; the wire format adds its own.
    for &byte in bytes.iter().filter(|byte| **byte != 0) {
        if *length < LONGEST_FRAME {
            frame[*length] = byte;
        }
        *length = (*length + 1).min(LONGEST_FRAME + 1);
    }
}

defmt::timestamp!("{=u64:us}", clock::uptime_us());

/// What became of a core's frames.
pub struct Counts {
    /// Frames that were logged.
    pub logged: u64,
    /// Frames that nobody has taken, and nobody can any more.
    pub dropped: u64,
    /// What nobody has taken yet.
    pub waiting: Waiting,
}

/// What became of a core's frames so far.
pub fn counts(core: usize) -> Counts {
    let _nobody_takes = READER.lock();
    let ring = &LOGS[core].ring;
    Counts { logged: ring.written(), dropped: ring.dropped(), waiting: ring.waiting() }
}

/// Whether frames are sent to the UART.
pub fn streaming() -> bool {
    STREAMING.load(Ordering::Relaxed)
}

/// Sends frames to the UART from now on, or keeps them: nobody takes one to send it, once this has
/// come back.
pub fn set_streaming(on: bool) {
    let _nobody_takes = READER.lock();
    STREAMING.store(on, Ordering::Relaxed);
}

/// Takes the oldest waiting frame of a core; its length.
pub fn take(core: usize, frame: &mut [u8; LONGEST_FRAME]) -> Option<usize> {
    let _one_reader = READER.lock();
    LOGS[core].ring.take(frame)
}

/// Takes what waits, and calls `keep` with the newest frames of each core: as many as make `room`
/// bytes of text at most.
pub fn keep_newest(room: usize, keep: impl FnMut(&[u8])) {
    let _one_reader = READER.lock();
    keep_last(room, keep);
}

/// As [`keep_newest`], from the core that reports a crash: whoever else was taking frames will not
/// go on.
pub fn keep_last(room: usize, keep: impl FnMut(&[u8])) {
    let rings: Vec<_, MAX_CORES> =
        LOGS.iter().take(cores::all().len().max(1)).map(|log| &log.ring).collect();
    log::keep_newest(&rings, room, &mut [0; LONGEST_FRAME], keep);
}

/// Sends what waits from a core that reports a crash: as [`send_waiting`], unless the crash broke
/// into a reader.
pub fn send_last() {
    if READER.try_lock().is_some() {
        send_waiting();
    }
}

/// As [`take`], as long as anybody wants it.
fn take_streamed(core: usize, frame: &mut [u8; LONGEST_FRAME]) -> Option<usize> {
    let _one_reader = READER.lock();
    if streaming() { LOGS[core].ring.take(frame) } else { None }
}

/// Sends everything that waits, if anybody wants it.
pub fn send_waiting() {
    if !streaming() {
        return;
    }
    let mut frame = [0; LONGEST_FRAME];
    for core in 0..cores::all().len() {
        while let Some(length) = take_streamed(core, &mut frame) {
            console::write_frame(&frame[..length]);
        }
    }
}

/// Sends everything that waits, whether or not somebody wants the stream; how many frames.
pub fn send_once() -> usize {
    let mut frame = [0; LONGEST_FRAME];
    let mut sent = 0;
    for core in 0..cores::all().len() {
        while let Some(length) = take(core, &mut frame) {
            console::write_frame(&frame[..length]);
            sent += 1;
        }
    }
    sent
}

/// The log's task: sends what waits, a hundred times a second while somebody listens.
pub extern "C" fn task(_argument: u64) -> ! {
    loop {
        send_waiting();
        let pause = if streaming() { 10_000 } else { 200_000 };
        task::sleep_us(pause);
    }
}
