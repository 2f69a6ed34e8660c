//! The last words of the boot before: a crash's report, or why the machine was started anew, and
//! what of the log nobody had taken.
//!
//! They stand where the loader has found room for them, or else in a part of the image that no boot
//! clears: so they are there after a warm reboot wherever firmware and loader leave that memory
//! alone and it is the same place again. A loader that lays the image at a place that nobody can
//! tell beforehand finds room elsewhere, always at the same place. [`bale_core::last_words`] says
//! whether they are whole.

use core::cell::UnsafeCell;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bale_arch::mmu;
use bale_core::last_words::{self, LastWords, ROOM};
use bale_core::log::{Hex, LINE as BEGINNING};
use heapless::String;

use crate::log;
use bale_rt::clock;
use bale_rt::sync::Lock;

/// Bytes of the longest line of the log.
const LINE: usize = BEGINNING.len() + 2 * log::LONGEST_FRAME;

#[repr(C, align(4096))]
struct Place(UnsafeCell<[u8; ROOM]>);

// SAFETY: looked at under `PREVIOUS`'s lock, or by the one core that reports a crash.
unsafe impl Sync for Place {}

#[unsafe(link_section = ".kept")]
static PLACE: Place = Place(UnsafeCell::new([0; ROOM]));

/// Room that the loader has found; 0 for none, and [`PLACE`] is used.
static FOUND: AtomicU64 = AtomicU64::new(0);

/// What the boot before left.
static PREVIOUS: Lock<String<ROOM>> = Lock::new(String::new());
/// What goes to the UART is kept as well.
static KEEPING: AtomicBool = AtomicBool::new(false);

/// Does something with the record, which is in memory afterwards: a reset may drop what is in
/// caches alone.
fn with<R>(f: impl FnOnce(&mut LastWords<'_>) -> R) -> R {
    // Relaxed: the boot core writes it before there is another one.
    let place = match FOUND.load(Ordering::Relaxed) {
        0 => PLACE.0.get(),
        found => found as *mut [u8; ROOM],
    };
    // SAFETY: the image's own place, or one that `set_place` was promised. By `find` at boot,
    // before there is a second core; by `part` and `keep`, of which the first is the shell's alone,
    // and the second belongs to the only core that still runs.
    let result = f(&mut LastWords::new(unsafe { &mut *place }));
    mmu::clean_invalidate(place as u64, ROOM);
    result
}

/// From here on the last words stand there, and not in the image.
///
/// # Safety
/// On the boot core while it is alone. [`ROOM`] bytes of memory at this address are mapped now and
/// from now on, and nobody else's.
pub unsafe fn set_place(address: u64) {
    FOUND.store(address, Ordering::Relaxed);
}

/// Takes what the boot before left, and makes room. Once, on the boot core before there are others.
pub fn find() {
    let mut previous = PREVIOUS.lock();
    with(|words| {
        // It fits: there is as much room here.
        let _ = previous.push_str(words.text().unwrap_or(""));
        words.clear();
    });
}

/// Bytes that the boot before left.
pub fn length() -> usize {
    PREVIOUS.lock().len()
}

/// Calls `visit` with each line that the boot before left; one that is longer than any of the log
/// comes in pieces.
pub fn for_each_line(mut visit: impl FnMut(&str)) {
    let mut at = 0;
    loop {
        let mut line = String::<LINE>::new();
        {
            let previous = PREVIOUS.lock();
            let Some((text, next)) = last_words::line_at(&previous, at, LINE) else { return };
            // It fits: no longer than that was asked for.
            let _ = line.push_str(text);
            at = next;
        }
        visit(&line);
    }
}

/// From here on what is written to the UART is kept as well: this core reports a crash, and all
/// others have stopped. What waits of the log comes first, and gives way to the report, its oldest
/// lines first.
pub fn begin_crash() {
    log::keep_last(with(|words| words.room()), keep_frame);
    KEEPING.store(true, Ordering::Relaxed);
}

/// Keeps text that is written, if it is a crash's.
pub fn keep(text: &str) {
    if KEEPING.load(Ordering::Relaxed) {
        with(|words| words.append(text));
    }
}

/// Leaves for the next boot why this one stops before it has a console. On the boot core while it
/// is alone, with the early map on.
pub fn leave(before: &str, reason: &[&str]) {
    with(|words| {
        words.clear();
        words.append(before);
        reason.iter().for_each(|part| words.append(part));
        words.append("\n");
    });
}

/// The shell is about to start the machine anew.
pub fn part(why: &str) {
    log::keep_newest(with(|words| words.room()), keep_frame);
    let mut line = String::<LINE>::new();
    // Cut nowhere: there is room.
    let _ = writeln!(line, "{why} after {} us", clock::uptime_us());
    with(|words| words.append(&line));
}

/// Keeps a frame of the log, as `log dump` prints it.
fn keep_frame(frame: &[u8]) {
    let mut line = String::<{ LINE + 1 }>::new();
    // Cut nowhere: there is room for the longest.
    let _ = writeln!(line, "{}", Hex(frame));
    with(|words| words.append(&line));
}
