//! The drain: one task for each core, woken by an interrupt, that gives back what was freed through
//! that core's ring.
//!
//! Where there are small cores beside fast ones, the rings of the fast ones are drained on the
//! small ones (their home), in turn; elsewhere each core drains its own.
//!
//! A push that passes the watermark raises the drain interrupt of its core; the handler wakes the
//! task. What stays below the watermark is fetched by the task's own timer, so every handle is
//! freed within [`AGE_US`] and two periods of [`PERIOD_US`] of the last push, as long as the drain
//! gets to run. The timer stands still while the core is idle and its ring empty: nothing can be
//! pushed there before something else wakes the core. The priority rises once the ring is half
//! full.

use core::sync::atomic::{AtomicBool, Ordering};

use bale_arch::mask;
use bale_core::trace::Kind;
use spin::Once;

use crate::{compactor, homes, pool};
use bale_rt::clock::Patience;
use bale_rt::sync::Lock;
use bale_rt::task::{self, TaskId};
use bale_rt::{clock, cores, trace};

/// Handles freed between two looks at priorities.
const SLICE: usize = 1024;
/// How long to stay away from a ring that somebody else drains.
const BUSY_PAUSE_US: u64 = 200;
/// How often the task looks for what stays below the watermark.
const PERIOD_US: u64 = 10_000;
/// How long a drain task may take to end.
const LEAVE_US: u64 = 4_000_000;
/// How long something may wait below the watermark.
const AGE_US: u64 = 10_000;

static TASKS: [Lock<Option<TaskId>>; cores::MAX_CORES] =
    [const { Lock::new(None) }; cores::MAX_CORES];
/// The ring's task is told to end.
static ENDING: [AtomicBool; cores::MAX_CORES] =
    [const { AtomicBool::new(false) }; cores::MAX_CORES];
/// Some ring is drained on another core than its own.
static PLACED: AtomicBool = AtomicBool::new(false);
static STARTED: Once<()> = Once::new();

/// Starts a drain task for every core that is online.
///
/// # Panics
/// Without a free task for each.
pub fn start() {
    STARTED.call_once(|| {
        for core in cores::all().iter().filter(|core| core.online()) {
            assert!(begin(core.index()), "no room for a drain task");
        }
    });
}

/// Starts the task of a ring, on the core that is its home now.
fn begin(ring: usize) -> bool {
    let home = cores::helper_of(ring);
    homes::set(ring, home);
    PLACED.fetch_or(home != ring, Ordering::Relaxed);
    let spawned = task::spawn("drain", home, task::DRAIN, drain, ring as u64);
    *TASKS[ring].lock() = spawned.ok();
    spawned.is_ok()
}

/// A core is about to leave, and counts as online no more: its own drain task ends, and those of
/// others that are there go elsewhere. False if they did not within a while.
pub fn leave(core: usize) -> bool {
    let mut patience = Patience::of_us(LEAVE_US);
    for ring in 0..cores::all().len() {
        if ring != core && homes::home(ring) != core || TASKS[ring].lock().is_none() {
            continue;
        }
        // Whoever takes the wish back first has it: the task, which ends then, or this one, which
        // gives up.
        ENDING[ring].store(true, Ordering::Release);
        while TASKS[ring].lock().is_some() {
            wake(ring);
            // AcqRel: pairs with the swap in `end_if_asked`.
            if patience.is_over() && ENDING[ring].swap(false, Ordering::AcqRel) {
                return false;
            }
            task::sleep_us(BUSY_PAUSE_US);
        }
        if ring == core {
            homes::forget(ring);
        } else if !begin(ring) {
            return false;
        }
    }
    true
}

/// A core has come: it gets a drain task.
pub fn join(core: usize) {
    if TASKS[core].lock().is_none() && !begin(core) {
        defmt::warn!(
            "no room for the drain task of core {}: its ring is drained by who frees",
            core as u32
        );
    }
}

/// From a ring's drain task: ends it if it was told to. What is left in the ring is emptied when
/// the core has gone, or by the next task.
fn end_if_asked(ring: usize) {
    // AcqRel: pairs with the swap in `leave`; the load before it, which may be late, keeps the
    // common path free of it.
    if ENDING[ring].load(Ordering::Relaxed) && ENDING[ring].swap(false, Ordering::AcqRel) {
        *TASKS[ring].lock() = None;
        task::exit()
    }
}

/// The drain interrupt: a ring that is drained here has passed its watermark.
pub fn on_interrupt() {
    let this = cores::this_unpinned().index();
    wake(this);
    if PLACED.load(Ordering::Relaxed) {
        // Whose it was is not said: a task that finds its ring low sleeps on.
        (0..cores::MAX_CORES)
            .filter(|ring| *ring != this && homes::home(*ring) == this)
            .for_each(wake);
    }
}

fn wake(ring: usize) {
    let task = *TASKS[ring].lock();
    if let Some(task) = task {
        task::unpark(task);
    }
}

/// A core's drain task.
extern "C" fn drain(core: u64) -> ! {
    let core = core as usize;
    let pool = pool::pool();
    let high_mark = pool.config().ring_capacity / 2;
    let this = task::current();
    let mut was_urgent = false;
    let mut freed = 0;
    debug_assert!(!mask::is_masked());
    loop {
        loop {
            trace::note(cores::this_unpinned(), Kind::DrainBegin, pool.pending(core) as u32, "");
            let report = pool.drain(core, SLICE);
            trace::note(cores::this_unpinned(), Kind::DrainEnd, report.freed as u32, "");
            freed += report.freed;
            let urgent = report.remaining > high_mark;
            if urgent != was_urgent {
                task::set_priority(this, if urgent { task::DRAIN_URGENT } else { task::DRAIN });
                was_urgent = urgent;
            }
            if report.remaining == 0 {
                break;
            }
            end_if_asked(core);
            if report.freed == 0 {
                // Somebody else is at this ring, perhaps a task below this one on this very core:
                // let it get done.
                task::sleep_us(BUSY_PAUSE_US);
            } else {
                task::yield_now();
            }
        }
        if freed >= compactor::FREED {
            freed = 0;
            compactor::call();
        }
        end_if_asked(core);
        while pool.prepare_sleep(core) {
            let woken_by_push = wait(core);
            end_if_asked(core);
            if woken_by_push || pool.needs_drain(core, clock::now(), clock::from_us(AGE_US)) {
                break;
            }
        }
    }
}

/// Sleeps until the interrupt or the end of the period; whether the ring has reached its watermark.
fn wait(core: usize) -> bool {
    if homes::home(core) == core {
        task::park_lazily(clock::from_us(PERIOD_US));
    } else {
        // Pushes happen on another core, whatever this one does.
        task::park_until(clock::now() + clock::from_us(PERIOD_US));
    }
    pool::pool().pending(core) >= pool::pool().config().watermark
}

/// Whether the timer of this core's drain may stand still while the core is idle. Interrupts are
/// masked.
pub fn is_quiet(core: usize) -> bool {
    pool::pool().pending(core) == 0
}

/// Waits until nothing is pending in any ring and no page is on its way back, from a drain or from
/// compaction, for `limit_us` at most.
pub fn wait_until_quiet(limit_us: u64) -> bool {
    let mut patience = Patience::of_us(limit_us);
    loop {
        if pool::pool().is_quiet() {
            return true;
        }
        if patience.is_over() {
            return false;
        }
        if cores::indexes().all(is_quiet) {
            compactor::hurry();
        }
        task::sleep_us(500);
    }
}
