//! The last words of the boot before: a crash's report, or why the machine was started anew, and what of the log nobody had taken.
//!
//! They stand in a part of the image that no boot clears, so they are there after a warm reboot wherever firmware and loader leave that
//! memory alone and the image comes to lie at the same place; [`bale_core::last_words`] says whether they are whole.

use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use bale_arch::mmu;
use bale_core::last_words::LastWords;

use crate::sync::Lock;
use crate::{clock, cores, log};

const ROOM: usize = 8192;

#[repr(C, align(4096))]
struct Place(UnsafeCell<[u8; ROOM]>);

// SAFETY: looked at under `PREVIOUS`'s lock, or by the one core that reports a crash.
unsafe impl Sync for Place {}

#[unsafe(link_section = ".kept")]
static PLACE: Place = Place(UnsafeCell::new([0; ROOM]));

/// What the boot before left, and how much of it.
static PREVIOUS: Lock<([u8; ROOM], usize)> = Lock::new(([0; ROOM], 0));
/// What goes to the UART is kept as well.
static KEEPING: AtomicBool = AtomicBool::new(false);

/// Does something with the record, which is in memory afterwards: a reset may drop what is in caches alone.
fn with<R>(f: impl FnOnce(&mut LastWords<'_>) -> R) -> R {
    // SAFETY: by `find` at boot, before there is a second core; by `part` and `keep`, of which the first is the shell's alone, and the
    // second belongs to the only core that still runs.
    let result = f(&mut LastWords::new(unsafe { &mut *PLACE.0.get() }));
    mmu::clean_invalidate(PLACE.0.get() as u64, ROOM);
    result
}

/// Takes what the boot before left, and makes room. Once, on the boot core before there are others.
pub fn find() {
    let mut previous = PREVIOUS.lock();
    let (text, length) = &mut *previous;
    with(|words| {
        let found = words.text().unwrap_or("");
        text[..found.len()].copy_from_slice(found.as_bytes());
        *length = found.len();
        words.clear();
    });
}

/// Bytes that the boot before left.
pub fn length() -> usize {
    PREVIOUS.lock().1
}

/// Calls `visit` with each line that the boot before left.
pub fn for_each_line(mut visit: impl FnMut(&str)) {
    let mut at = 0;
    loop {
        let mut line = [0; 160];
        let mut count = 0;
        {
            let previous = PREVIOUS.lock();
            let rest = previous.0.get(at..previous.1).unwrap_or(&[]);
            if rest.is_empty() {
                return;
            }
            let end = rest.iter().position(|byte| *byte == b'\n');
            for byte in rest.iter().take(end.unwrap_or(rest.len())) {
                // A longer line is cut.
                if let Some(place) = line.get_mut(count) {
                    *place = *byte;
                    count += 1;
                }
            }
            at += end.map_or(rest.len(), |end| end + 1);
        }
        visit(core::str::from_utf8(&line[..count]).unwrap_or("(no text)"));
    }
}

/// From here on what is written to the UART is kept as well: this core reports a crash, and all others have stopped. What waits of the log
/// comes first.
pub fn begin_crash() {
    keep_log();
    KEEPING.store(true, Ordering::Relaxed);
}

/// Keeps text that is written, if it is a crash's.
pub fn keep(text: &str) {
    if KEEPING.load(Ordering::Relaxed) {
        with(|words| words.append(text));
    }
}

/// The shell is about to start the machine anew.
pub fn part(why: &str) {
    // Cut nowhere: there is room.
    let _ = writeln!(Record, "{why} after {} us", clock::uptime_us());
    keep_log();
}

/// Frames of the log that nobody has taken, as `log dump` prints them.
fn keep_log() {
    let mut frame = [0; log::LONGEST_FRAME];
    for core in 0..cores::all().len() {
        while let Some(length) = log::take_last(core, &mut frame) {
            let _ = Record.write_str("defmt:");
            for byte in &frame[..length] {
                let _ = write!(Record, "{byte:02x}");
            }
            let _ = Record.write_str("\n");
        }
    }
}

struct Record;

impl Write for Record {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        with(|words| words.append(text));
        Ok(())
    }
}
