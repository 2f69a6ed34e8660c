//! The compactor: a task that gives back what part-filled zspages hold once much was freed.
//!
//! Drain tasks wake it. It goes on, class by class in short steps, until less than one page in
//! [`SHARE`] could be given back. Guests that never rest do not keep it from its work, and it takes
//! no more than one part in [`PART`] of its core while others want that.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::pool;
use bale_rt::sync::{Lock, Semaphore};
use bale_rt::task::{self, TaskId};
use bale_rt::{clock, cores};

/// Handles that a drain frees between two calls of the compactor.
pub const FREED: usize = 1024;
/// One page in so many may be lost to part-filled zspages.
const SHARE: usize = 8;
/// Parts of its core's time of which it takes one while others want the core.
const PART: u64 = 10;
/// Cells looked at in a step.
const STEP: usize = 64;

static CALLS: Semaphore = Semaphore::new(0, 1);
static TASK: Lock<Option<TaskId>> = Lock::new(None);
/// Somebody waits for the end of the step at hand.
static AWAITED: AtomicBool = AtomicBool::new(false);

/// Starts the task.
///
/// # Panics
/// Without a free task.
pub fn start() {
    let spawned = task::spawn_free("compact", cores::helper_of(0), task::HOUSEKEEPING, compact, 0);
    assert!(spawned.is_ok(), "no room for the compactor");
    *TASK.lock() = spawned.ok();
}

/// Lets the step at hand come to its end, though others want its core.
pub fn hurry() {
    let task = *TASK.lock();
    if let Some(task) = task {
        AWAITED.store(true, Ordering::Release);
        task::set_priority(task, task::DRAIN);
    }
}

/// The step is done: whoever waited for it has what it wanted.
fn end_hurry() {
    // AcqRel: pairs with the store in `hurry`. One that sets the priority only behind this is
    // served by the next step.
    if AWAITED.swap(false, Ordering::AcqRel) {
        task::set_priority(task::current(), task::HOUSEKEEPING);
    }
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

/// Once through all classes; whether anything was given back.
fn round() -> bool {
    let mut pages = 0;
    loop {
        let begun = clock::now();
        let report = pool::pool().compact(STEP);
        end_hurry();
        pages += report.pages;
        if task::others_wait() {
            // What a more urgent task took meanwhile counts as its own: it takes less then.
            let now = clock::now();
            task::sleep_until(now + (now - begun) * (PART - 1));
        }
        if report.complete {
            return pages > 0;
        }
    }
}
