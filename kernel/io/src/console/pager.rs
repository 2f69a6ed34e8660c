//! A screenful at a time, for the one task that serves a terminal: it stops behind each until a key
//! is pressed.
//!
//! Space goes on by a screen, Enter by a line; `q` drops what the command still prints. Other
//! tasks' text is not counted and never waits. While a screen is drawn anew (`watch`) nothing
//! stops, and each line ends with an order to clear what stood behind it.

use core::fmt::Write as _;
use core::sync::atomic::{AtomicU32, Ordering};

use super::{CTRL_C, Input, Text, read};
use bale_rt::task;

/// Nobody's task.
const NOBODY: u32 = u32::MAX;

// Relaxed, all of them: but for TASK only that task looks at them, and it wrote them itself.
static TASK: AtomicU32 = AtomicU32::new(NOBODY);
/// Lines of a screen but one; 0: nothing stops.
static ROWS: AtomicU32 = AtomicU32::new(0);
static LEFT: AtomicU32 = AtomicU32::new(0);
static MODE: AtomicU32 = AtomicU32::new(PLAIN);

const PLAIN: u32 = 0;
const PAGED: u32 = 1;
/// What is printed is dropped.
const DROPPED: u32 = 2;
/// A screen is drawn anew.
const REDRAWN: u32 = 3;

fn mode() -> u32 {
    let mode = MODE.load(Ordering::Relaxed);
    if mode != PLAIN && TASK.load(Ordering::Relaxed) == task::running_index() as u32 {
        mode
    } else {
        PLAIN
    }
}

/// Whether a line of progress of the running task has a place to stand in: not in a screen that is
/// drawn anew, nor where nothing is to be seen.
pub(super) fn has_place() -> bool {
    matches!(mode(), PLAIN | PAGED)
}

fn set(mode: u32) {
    TASK.store(task::running_index() as u32, Ordering::Relaxed);
    MODE.store(mode, Ordering::Relaxed);
}

/// The terminal has so many lines; without any, nothing ever stops.
pub fn set_rows(rows: u32) {
    ROWS.store(rows.saturating_sub(1), Ordering::Relaxed);
}

/// A command of the running task begins whose text comes by the screen.
pub fn begin() {
    let rows = ROWS.load(Ordering::Relaxed);
    LEFT.store(rows, Ordering::Relaxed);
    set(if rows == 0 { PLAIN } else { PAGED });
}

/// The running task begins to draw one screen again and again.
pub fn redraw() {
    set(REDRAWN);
    picture();
}

/// It begins at the top, or may print all that it wants behind what was cut.
pub fn picture() {
    LEFT.store(ROWS.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// What of a text that the running task prints is to be seen: a screen that is drawn anew ends
/// above the last line.
pub(super) fn visible(text: &str) -> &str {
    if mode() != REDRAWN || ROWS.load(Ordering::Relaxed) == 0 {
        return text;
    }
    let left = LEFT.load(Ordering::Relaxed);
    if left == 0 {
        return "";
    }
    let mut ends =
        text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(place, _)| place + 1);
    match ends.nth(left as usize - 1) {
        Some(end) => {
            LEFT.store(0, Ordering::Relaxed);
            &text[..end]
        }
        None => {
            let lines = text.bytes().filter(|byte| *byte == b'\n').count();
            LEFT.store(left - lines as u32, Ordering::Relaxed);
            text
        }
    }
}

/// The command is over.
pub fn end() {
    MODE.store(PLAIN, Ordering::Relaxed);
}

/// Whether what the running task prints is dropped.
pub(super) fn drops() -> bool {
    mode() == DROPPED
}

/// Whether a line of the running task ends with an order to clear the rest.
pub(super) fn clears() -> bool {
    mode() == REDRAWN
}

/// The running task has printed text with so many ends of lines: stops if the screen is full. With
/// no turn held.
pub fn printed(lines: usize) {
    if lines == 0 || mode() != PAGED {
        return;
    }
    let left =
        LEFT.load(Ordering::Relaxed).saturating_sub(u32::try_from(lines).unwrap_or(u32::MAX));
    LEFT.store(left, Ordering::Relaxed);
    if left > 0 {
        return;
    }
    // Writing to the UART cannot fail.
    let _ = Text.write_str("--more-- (space, enter, q)");
    let key = read();
    // The question goes, whatever comes behind it.
    let _ = Text.write_str("\r\x1b[K");
    match key {
        Input::Byte(b'q' | b'Q' | CTRL_C) => MODE.store(DROPPED, Ordering::Relaxed),
        Input::Byte(b'\r' | b'\n') => LEFT.store(1, Ordering::Relaxed),
        _ => LEFT.store(ROWS.load(Ordering::Relaxed), Ordering::Relaxed),
    }
}
