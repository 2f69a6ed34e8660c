//! One line that says how far long work is, for somebody at a terminal: drawn anew in its place,
//! and gone before anything else is printed.
//!
//! Scripts never see it, nor do the commands of the boot: nobody looks then, and lines are read by
//! programs.

use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicBool, Ordering};

use heapless::String;

use super::{Turn, pager, put};
use bale_rt::clock;

/// Columns of a terminal but one, so that the line never wraps.
const WIDTH: usize = 79;
/// Between two lines of work that goes on in small steps.
const PACE_US: u64 = 200_000;
/// To the first column, and nothing behind it.
const GONE: &[u8] = b"\r\x1b[K";

/// Somebody is at a terminal.
static ATTENDED: AtomicBool = AtomicBool::new(false);
/// The line stands there. Written and looked at by whoever has the turn, but for a crash, which
/// needs no order.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// From now on somebody is at a terminal.
pub fn attend() {
    ATTENDED.store(true, Ordering::Relaxed);
}

/// Draws the line. What is too long for it is cut.
pub fn show(text: fmt::Arguments<'_>) {
    if !ATTENDED.load(Ordering::Relaxed) || !pager::has_place() {
        return;
    }
    let mut line: String<WIDTH> = String::new();
    let _ = line.write_fmt(text);
    let _turn = Turn::take();
    put(b"\r");
    put(line.as_bytes());
    put(b"\x1b[K");
    DRAWN.store(true, Ordering::Relaxed);
}

/// The line of work that goes on in small steps: drawn at once, and then a few times a second at
/// most, since each takes its time on the wire.
pub struct Pace {
    next: u64,
}

impl Pace {
    /// One that draws, or one that never does.
    pub fn new(draws: bool) -> Self {
        Self { next: if draws { 0 } else { u64::MAX } }
    }

    /// As [`show`], if it is time.
    pub fn show(&mut self, text: fmt::Arguments<'_>) {
        let now = clock::now();
        if now >= self.next {
            self.next = now + clock::from_us(PACE_US);
            show(text);
        }
    }
}

/// Takes the line away, if it stands there.
pub(super) fn take_away() {
    if DRAWN.load(Ordering::Relaxed) && DRAWN.swap(false, Ordering::Relaxed) {
        put(GONE);
    }
}
