//! What is remembered of a slot beside its word: when it was used last, and what was tried with it.
//!
//! | bits | content |
//! |---|---|
//! | 0..24 | time of the last write or read, in units of the device's clock since it was made |
//! | 30 | idle: not used since it was marked |
//! | 31 | the second codec was tried and brought nothing |
//!
//! A note is a hint. It is stored beside the word without a lock, so that in a race it may speak of
//! the page before; nothing but the choice of what to work on depends on it.

use core::sync::atomic::{AtomicU32, Ordering};

const TIME: u32 = (1 << 24) - 1;
const IDLE: u32 = 1 << 30;
const TRIED: u32 = 1 << 31;

/// A note as it was read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note(u32);

impl Note {
    pub(crate) fn is_idle(self) -> bool {
        self.0 & IDLE != 0
    }

    pub(crate) fn is_tried(self) -> bool {
        self.0 & TRIED != 0
    }

    /// Units since the last use.
    pub(crate) fn age(self, now: u32) -> u32 {
        now.wrapping_sub(self.0) & TIME
    }
}

// Relaxed in all of these: see above.

pub(crate) fn read(note: &AtomicU32) -> Note {
    Note(note.load(Ordering::Relaxed))
}

/// A page was stored.
#[inline]
pub(crate) fn written(note: &AtomicU32, now: u32) {
    note.store(now & TIME, Ordering::Relaxed);
}

/// A page was read.
#[inline]
pub(crate) fn used(note: &AtomicU32, now: u32) {
    note.store(note.load(Ordering::Relaxed) & TRIED | now & TIME, Ordering::Relaxed);
}

/// The page is idle from now on.
pub(crate) fn mark_idle(note: &AtomicU32) {
    note.store(note.load(Ordering::Relaxed) | IDLE, Ordering::Relaxed);
}

/// The second codec brought nothing.
pub(crate) fn mark_tried(note: &AtomicU32) {
    note.store(note.load(Ordering::Relaxed) & !IDLE | TRIED, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_ends_idleness_and_a_write_all_else() {
        let note = AtomicU32::new(0);
        written(&note, 5);
        mark_idle(&note);
        mark_tried(&note);
        mark_idle(&note);
        assert!(read(&note).is_idle() && read(&note).is_tried());
        assert_eq!(read(&note).age(9), 4);
        used(&note, 7);
        assert!(!read(&note).is_idle() && read(&note).is_tried());
        written(&note, TIME + 3);
        assert!(!read(&note).is_idle() && !read(&note).is_tried());
        assert_eq!(read(&note).age(2 * TIME + 10), 6, "the clock comes round");
    }
}
