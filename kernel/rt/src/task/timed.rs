//! Deadlines: waking at a time, sleep, periodic tasks.

use core::sync::atomic::Ordering;

use bale_arch::mask::Masked;
use bale_arch::timer;
use bale_core::schedule::Period;

use super::{MAX_TASKS, RHYTHMS, SLOTS, TIMERS, block, running_index};
use crate::clock;
use crate::cores::{self, Core};

/// Parks until `deadline` or until somebody unparks the task, whichever is first.
pub fn park_until(deadline: u64) {
    let masked = Masked::new();
    park_until_masked(deadline, &masked);
    drop(masked);
}

/// As [`super::park_masked`], until `deadline` at most.
pub fn park_until_masked(deadline: u64, masked: &Masked) {
    let left = block(masked, |core, index| {
        let mut timers = TIMERS[core.index()].lock_masked(masked);
        timers.insert(deadline, index);
        note(core, timers.next_deadline());
    });
    if left {
        // Perhaps on another core by now, to which the entry did not come along: who moves a task
        // takes it out.
        let core = cores::this(masked);
        let mut timers = TIMERS[core.index()].lock_masked(masked);
        if timers.remove(core.current_task.load(Ordering::Relaxed)) {
            note(core, timers.next_deadline());
        }
    }
}

/// Keeps the nearest deadline where it is read without the queue's lock.
pub(super) fn note(core: &Core, nearest: Option<u64>) {
    let nearest = nearest.unwrap_or(u64::MAX);
    core.next_deadline.store(nearest, Ordering::Relaxed);
    core.wake_at.store(nearest.min(core.lazy_deadline.load(Ordering::Relaxed)), Ordering::Relaxed);
}

/// Sees to it that the timer fires at this time at the latest. Interrupts are masked.
#[inline(always)]
pub(super) fn arm_until(core: &Core, deadline: u64) {
    if deadline < core.armed.load(Ordering::Relaxed) {
        core.armed.store(deadline, Ordering::Relaxed);
        timer::arm(deadline);
    }
}

/// Parks for one period at most, or for longer while the core is idle and the hook
/// [`crate::hooks::Hooks::may_rest`] allows it: for one task of each core, which is pinned to it.
pub fn park_lazily(period: u64) {
    let masked = Masked::new();
    block(&masked, |core, index| {
        core.lazy_task.store(index, Ordering::Relaxed);
        core.lazy_period.store(period, Ordering::Relaxed);
        core.set_lazy_deadline(clock::now() + period);
    });
    cores::this(&masked).set_lazy_deadline(u64::MAX);
    drop(masked);
}

/// Waits until `deadline`, whoever unparks the task meanwhile.
pub fn sleep_until(deadline: u64) {
    wake_after(deadline);
}

/// As [`sleep_until`]; the time at which the task went on.
fn wake_after(deadline: u64) -> u64 {
    loop {
        let now = clock::now();
        if now >= deadline {
            return now;
        }
        park_until(deadline);
    }
}

/// Waits for so many microseconds.
pub fn sleep_us(us: u64) {
    sleep_until(clock::now() + clock::from_us(us));
}

/// The rhythm of a periodic task: releases on a grid that lateness does not move, a count of those
/// that were missed, and the latest moment at which the task went on. `tasks` shows all three.
#[derive(Debug)]
pub struct Periodic {
    rhythm: Period,
    /// The task that made it, whose figures it keeps.
    task: usize,
    /// Ticks from the last release to the task's going on, which the next wait takes into account:
    /// on the way out of a wait every instruction makes the task later.
    late: u64,
}

impl Periodic {
    /// For the calling task alone: released first one period, in ticks, from now.
    pub fn new(period: u64) -> Self {
        let masked = Masked::new();
        let task = running_index();
        drop(masked);
        RHYTHMS[task].period.store(period, Ordering::Relaxed);
        RHYTHMS[task].latest.store(0, Ordering::Relaxed);
        Self { rhythm: Period::new(clock::now(), period), task, late: 0 }
    }

    /// Waits for the next release; its time. Returns at once if it has come already: a release that
    /// the task was too busy for and that another one followed is counted as an overrun.
    pub fn wait(&mut self) -> u64 {
        let before = self.rhythm.overruns();
        let release = self.rhythm.advance(clock::now());
        let missed = self.rhythm.overruns() - before;
        if missed > 0 {
            SLOTS[self.task % MAX_TASKS].overruns.fetch_add(missed, Ordering::Relaxed);
        }
        let latest = &RHYTHMS[self.task % MAX_TASKS].latest;
        // Relaxed, a load and a store: only the task itself writes it.
        if self.late > latest.load(Ordering::Relaxed) {
            latest.store(self.late, Ordering::Relaxed);
        }
        self.late = wake_after(release) - release;
        release
    }

    /// Releases that were missed.
    pub fn overruns(&self) -> u64 {
        self.rhythm.overruns()
    }
}
