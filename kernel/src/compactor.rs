//! The compactor: a task that gives back what part-filled zspages hold once much was freed, when nobody else wants its core.
//!
//! Drain tasks wake it. It goes on, class by class in short steps, until less than one page in [`SHARE`] could be given back.

use crate::sync::Semaphore;
use crate::task;
use crate::{cores, pool};

/// Handles that a drain frees between two calls of the compactor.
pub const FREED: usize = 1024;
/// One page in so many may be lost to part-filled zspages.
const SHARE: usize = 8;
/// Cells looked at in a step.
const STEP: usize = 64;

static CALLS: Semaphore = Semaphore::new(0, 1);

/// Starts the task.
///
/// # Panics
/// Without a free task.
pub fn start() {
    assert!(
        task::spawn_free("compact", cores::helper_of(0), task::COMPACT, compact, 0).is_ok(),
        "no room for the compactor"
    );
}

/// Much was freed.
pub fn call() {
    // Refused: it was called already, and has not come to it yet.
    let _ = CALLS.give();
}

extern "C" fn compact(_argument: u64) -> ! {
    let pool = pool::pool();
    loop {
        CALLS.take();
        // Each round gives something back, or is the last.
        while pool.compactable_pages() * SHARE > pool.pages() && round() {}
    }
}

/// Once through all classes; whether anything moved.
fn round() -> bool {
    let mut moved = 0;
    loop {
        let report = pool::pool().compact(STEP);
        moved += report.moved;
        if report.complete {
            return moved > 0;
        }
        task::yield_now();
    }
}
