//! Which task a core runs: ready queues, preemption, the timer, the idle loop.

use core::sync::atomic::{AtomicU64, Ordering};

use bale_arch::context;
use bale_arch::mask::{self, Masked};
use bale_arch::timer;
use bale_core::trace::Kind;

use super::timed::note;
use super::{IDLE, MAX_TASKS, SLOTS, State, Status, TIMERS, idle_index, unpark_index};
use crate::cores::{self, Core};
use crate::{clock, drain, hotplug, interrupts, trace};

/// How long a task runs beside others of its priority.
const SLICE_US: u64 = 5_000;
/// The same in ticks.
static SLICE: AtomicU64 = AtomicU64::new(0);

/// Once, before anything is scheduled.
pub fn start() {
    SLICE.store(clock::from_us(SLICE_US).max(1), Ordering::Relaxed);
}

/// Puts a ready task into its core's queue and sees to it that the core looks.
#[inline(always)]
pub(super) fn make_ready(index: u16, status: &Status, masked: &Masked) {
    let here = cores::this(masked);
    trace::note(here, Kind::Wake, u32::from(index), status.name);
    if here.index() == status.core {
        here.ready.lock_masked(masked).push(index, status.priority);
        let running = here.current_priority.load(Ordering::Relaxed);
        if status.priority > running {
            here.reschedule.store(true, Ordering::Relaxed);
        } else {
            arm(here, status.priority == running);
        }
    } else {
        make_ready_elsewhere(index, status, masked);
    }
}

/// The same on another core than this one.
#[inline(never)]
fn make_ready_elsewhere(index: u16, status: &Status, masked: &Masked) {
    cores::all()[status.core].ready.lock_masked(masked).push(index, status.priority);
    // The other core's priority may be stale; the handler there decides.
    interrupts::raise(status.core, interrupts::RESCHEDULE);
}

/// Lets others of the same priority run.
pub fn yield_now() {
    let masked = Masked::new();
    switch_away(cores::this(&masked), &masked, true);
    drop(masked);
}

/// The timer's interrupt: wakes who is due and sets the next deadline.
pub fn on_timer() {
    timer::disarm();
    let core = cores::this_unpinned();
    let now = clock::now();
    let late = now.saturating_sub(core.armed.swap(u64::MAX, Ordering::Relaxed));
    if late > core.latest_timer.load(Ordering::Relaxed) {
        core.latest_timer.store(late, Ordering::Relaxed);
    }
    if core.lazy_deadline.load(Ordering::Relaxed) <= now {
        core.set_lazy_deadline(u64::MAX);
        unpark_index(usize::from(core.lazy_task.load(Ordering::Relaxed)));
    }
    while core.next_deadline.load(Ordering::Relaxed) <= now {
        let due = {
            let mut timers = TIMERS[core.index()].lock();
            let due = timers.pop_due(now);
            note(core, timers.next_deadline());
            due
        };
        let Some(index) = due else { break };
        unpark_index(usize::from(index));
    }
    let running = core.current_priority.load(Ordering::Relaxed);
    let highest = core.ready.lock().highest();
    let slice_end = core.slice_end.load(Ordering::Relaxed);
    let slice_over = slice_end != 0 && now >= slice_end;
    if highest.is_some_and(|highest| highest > running || (highest == running && slice_over)) {
        core.reschedule.store(true, Ordering::Relaxed);
    } else {
        arm(core, highest == Some(running));
    }
}

/// The reschedule interrupt: another core made a task ready here, or changed what this one waits for.
pub fn on_reschedule() {
    let core = cores::this_unpinned();
    let highest = core.ready.lock().highest();
    let running = core.current_priority.load(Ordering::Relaxed);
    if highest.is_some_and(|highest| highest > running) {
        core.reschedule.store(true, Ordering::Relaxed);
    } else {
        arm(core, highest == Some(running));
    }
}

/// Sees to it that the timer fires for the next task that is due, or at the end of the slice where an equal waits. A
/// timer that is set to an earlier moment is left: its handler sets it anew. Interrupts are masked.
#[inline(always)]
pub(super) fn arm(core: &Core, equal_waits: bool) {
    let mut deadline = core.wake_at.load(Ordering::Relaxed);
    if equal_waits {
        let mut end = core.slice_end.load(Ordering::Relaxed);
        if end == 0 {
            // No barrier is needed for what is a matter of milliseconds.
            end = timer::roughly_now() + SLICE.load(Ordering::Relaxed);
            core.slice_end.store(end, Ordering::Relaxed);
        }
        deadline = deadline.min(end);
    }
    if deadline < core.armed.load(Ordering::Relaxed) {
        core.armed.store(deadline, Ordering::Relaxed);
        timer::arm(deadline);
    }
}

/// Before a long rest: sets the timer to the moment, and lets the lazy one stand still if it may.
fn arm_for_rest(core: &Core) {
    let quiet = core.lazy_deadline.load(Ordering::Relaxed) != u64::MAX && drain::is_quiet(core.index());
    let deadline = if quiet { &core.next_deadline } else { &core.wake_at };
    let deadline = deadline.load(Ordering::Relaxed);
    if core.armed.swap(deadline, Ordering::Relaxed) != deadline {
        if deadline == u64::MAX {
            timer::disarm();
        } else {
            timer::arm(deadline);
        }
    }
}

/// End of an interrupt: switches if a task that outranks the interrupted one became ready.
#[inline]
pub fn preempt_if_asked() {
    let core = cores::this_unpinned();
    if core.reschedule.load(Ordering::Relaxed) {
        let masked = Masked::new();
        switch_away(core, &masked, true);
        drop(masked);
    }
}

/// In a task, after it made another ready: the same, unless interrupts are masked (a lock or a guard is held) or
/// this is an interrupt handler; then the switch waits for the next interrupt's end or the guard's owner.
#[inline]
pub(crate) fn switch_if_asked() {
    if mask::is_masked() {
        return;
    }
    let masked = Masked::new();
    let core = cores::this(&masked);
    if core.reschedule.load(Ordering::Relaxed) {
        switch_away(core, &masked, true);
    }
    drop(masked);
}

/// Continues the best task of this core; the running one goes to the end of its priority if it `stays` ready.
/// Interrupts are masked.
pub(super) fn switch_away(core: &Core, masked: &Masked, stays: bool) {
    core.reschedule.store(false, Ordering::Relaxed);
    let from = core.current_task.load(Ordering::Relaxed);
    let idle = idle_index(core.index());
    let (next, equal_waits) = {
        let mut ready = core.ready.lock_masked(masked);
        let running = core.current_priority.load(Ordering::Relaxed);
        if stays && ready.highest().is_none_or(|highest| highest < running) {
            return;
        }
        let (next, priority) = ready.pop().unwrap_or((idle, IDLE));
        if stays && from != idle {
            ready.push(from, running);
        }
        // Under the queue's lock: who changes a priority finds the task either in the queue or here.
        core.current_task.store(next, Ordering::Relaxed);
        core.current_priority.store(priority, Ordering::Relaxed);
        (next, ready.highest() == Some(priority))
    };
    if next == from {
        return;
    }
    if from == idle {
        // The lazy timer may have stood still.
        let lazy = core.lazy_deadline.load(Ordering::Relaxed);
        if lazy != u64::MAX {
            let now = clock::now();
            if lazy < now {
                let period = core.lazy_period.load(Ordering::Relaxed);
                core.set_lazy_deadline(now + period);
            }
        }
    }
    cores::count(&core.switches);
    core.slice_end.store(0, Ordering::Relaxed);
    arm(core, equal_waits);
    let from = SLOTS[usize::from(from) % MAX_TASKS].context.get();
    let to = SLOTS[usize::from(next) % MAX_TASKS].context.get();
    // SAFETY: interrupts are masked; `from` runs on this core, `to` was taken from its run queue and does not.
    unsafe { context::switch(from, to) };
    finish_switch();
}

/// On the new task's stack: the stack of a task that ended may be reused now.
#[inline]
pub(super) fn finish_switch() {
    let core = cores::this_unpinned();
    if core.has_aside() {
        finish_aside(core);
    }
}

#[cold]
fn finish_aside(core: &Core) {
    if let Some(departed) = core.take_departed() {
        SLOTS[usize::from(departed)].status.lock().state = State::Free;
    }
    if core.traced() {
        let task = core.current_task.load(Ordering::Relaxed);
        let name = SLOTS[usize::from(task)].status.lock().name;
        trace::note(core, Kind::Switch, u32::from(task), name);
    }
}

/// The idle loop: waits for interrupts, for ever.
pub fn idle() -> ! {
    mask::unmask();
    let core = cores::this_unpinned();
    loop {
        let masked = Masked::new();
        let start = clock::now();
        // Nothing is lost between the look and the wait: WFI also returns for an interrupt that is masked.
        if !core.reschedule.load(Ordering::Relaxed) {
            hotplug::leave_if_asked(core);
            arm_for_rest(core);
            // The rest is none of the stretch, what came before it is.
            mask::end_stretch();
            mask::wait_for_interrupt();
            mask::begin_stretch();
        }
        let ticks = core.idle_ticks.load(Ordering::Relaxed) + (clock::now() - start);
        core.idle_ticks.store(ticks, Ordering::Relaxed);
        drop(masked);
        switch_if_asked();
    }
}
