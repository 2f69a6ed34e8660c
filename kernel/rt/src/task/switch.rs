//! Which task a core runs: ready queues, preemption, the timer, the idle loop.

use core::sync::atomic::{AtomicU64, Ordering};

use bale_arch::context;
use bale_arch::mask::{self, Masked};
use bale_arch::timer;
use bale_core::trace::Kind;

use super::groups;
use super::timed::{arm_until, note};
use super::{IDLE, MAX_TASKS, SLOTS, Slice, Slot, State, Status, TIMERS, idle_index, wake_index};
use crate::cores::{self, Core};
use crate::{clock, interrupts, trace};

/// How long a task runs beside others of its priority.
const SLICE_US: u64 = 5_000;
/// The same in ticks.
static SLICE: AtomicU64 = AtomicU64::new(0);

/// Tasks that one timer interrupt wakes at most. Guests may give all their virtual CPUs one
/// deadline, and the handler runs with interrupts masked.
const WOKEN_AT_ONCE: usize = 4;

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
            arm(here, (status.priority == running).then(|| self::running(here)));
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
    leave(cores::this(&masked), &masked, Leave::Yielding);
    drop(masked);
}

/// Whether another task is ready on this core. A hint: it may have changed by the time that the
/// caller looks at it.
pub fn others_wait() -> bool {
    cores::this_unpinned().ready.lock().highest().is_some()
}

/// The timer's interrupt: wakes who is due and sets the next deadline.
pub fn on_timer() {
    timer::disarm();
    let masked = Masked::new();
    let core = cores::this(&masked);
    let now = clock::now();
    // This core alone writes it, with interrupts masked.
    let late = now.saturating_sub(core.armed.load(Ordering::Relaxed));
    core.armed.store(u64::MAX, Ordering::Relaxed);
    if late > core.latest_timer.load(Ordering::Relaxed) {
        core.latest_timer.store(late, Ordering::Relaxed);
    }
    if core.lazy_deadline.load(Ordering::Relaxed) <= now {
        core.set_lazy_deadline(u64::MAX);
        wake_index(usize::from(core.lazy_task.load(Ordering::Relaxed)), &masked);
    }
    let mut woken = 0;
    while core.next_deadline.load(Ordering::Relaxed) <= now && woken != WOKEN_AT_ONCE {
        let due = {
            let mut timers = TIMERS[core.index()].lock_masked(&masked);
            let due = timers.pop_due(now);
            note(core, timers.next_deadline());
            due
        };
        let Some(index) = due else { break };
        wake_index(usize::from(index), &masked);
        // The timer, which is set anew below or by the switch, fires again at once for the others:
        // interrupts are taken in between.
        woken += 1;
    }
    // A woken task that outranks the running one has asked for the switch, which sets the timer.
    if core.reschedule.load(Ordering::Relaxed) {
        return;
    }
    let running = core.current_priority.load(Ordering::Relaxed);
    let highest = core.ready.lock_masked(&masked).highest();
    let slice_over = || self::running(core).slice().is_over(now);
    if highest.is_some_and(|highest| highest > running || (highest == running && slice_over())) {
        core.reschedule.store(true, Ordering::Relaxed);
    } else {
        arm(core, (highest == Some(running)).then(|| self::running(core)));
    }
}

/// The reschedule interrupt: another core made a task ready here, or changed what this one waits
/// for.
pub fn on_reschedule() {
    let core = cores::this_unpinned();
    let highest = core.ready.lock().highest();
    let running = core.current_priority.load(Ordering::Relaxed);
    if highest.is_some_and(|highest| highest > running) {
        core.reschedule.store(true, Ordering::Relaxed);
    } else {
        arm(core, (highest == Some(running)).then(|| self::running(core)));
    }
}

/// The running task's slot.
#[inline(always)]
fn running(core: &Core) -> &'static Slot {
    &SLOTS[usize::from(core.current_task.load(Ordering::Relaxed)) % MAX_TASKS]
}

/// Sees to it that the timer fires for the next task that is due, or at the end of the running
/// task's slice, which passes `beside` an equal. A timer that is set to an earlier moment is left:
/// its handler sets it anew. Interrupts are masked.
#[inline(always)]
fn arm(core: &Core, beside: Option<&Slot>) {
    let mut deadline = core.wake_at.load(Ordering::Relaxed);
    if let Some(slot) = beside {
        // No barrier is needed for what is a matter of milliseconds.
        let slice = slot.slice().begin(timer::roughly_now, SLICE.load(Ordering::Relaxed));
        slot.set_slice(slice);
        deadline = deadline.min(slice.end().unwrap_or(u64::MAX));
    }
    arm_until(core, deadline);
}

/// End of an interrupt: switches if a task that outranks the interrupted one became ready.
#[inline]
pub fn preempt_if_asked() {
    let core = cores::this_unpinned();
    if core.reschedule.load(Ordering::Relaxed) {
        let masked = Masked::new();
        preempt(core, &masked);
        drop(masked);
    }
}

/// In a task, after it made another ready: the same, unless interrupts are masked (a lock or a
/// guard is held) or this is an interrupt handler; then the switch waits for the next interrupt's
/// end or the guard's owner.
#[inline]
pub fn switch_if_asked() {
    if mask::is_masked() {
        return;
    }
    let masked = Masked::new();
    let core = cores::this(&masked);
    if core.reschedule.load(Ordering::Relaxed) {
        preempt(core, &masked);
    }
    drop(masked);
}

/// Why the running task is to leave its core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// It cannot go on.
    Waiting,
    /// It lets its equals run.
    Yielding,
    /// A more urgent one may be ready, or its slice over.
    Preempted,
}

/// Continues the best other task of this core, for the running one waits. Interrupts are masked.
pub(super) fn switch_away(core: &Core, masked: &Masked) {
    leave(core, masked, Leave::Waiting);
}

/// Continues a more urgent task, if one is ready, or an equal if the slice is over. Interrupts are
/// masked.
fn preempt(core: &Core, masked: &Masked) {
    leave(core, masked, Leave::Preempted);
}

/// Continues the best task of this core. Interrupts are masked. Inlined, for each reason needs a
/// part of it.
#[inline(always)]
fn leave(core: &Core, masked: &Masked, why: Leave) {
    core.reschedule.store(false, Ordering::Relaxed);
    let from = core.current_task.load(Ordering::Relaxed);
    let slot = &SLOTS[usize::from(from) % MAX_TASKS];
    let index = core.index();
    let idle = idle_index(index);
    // With something left of its slice, a preempted task stays before its equals.
    let left = if why == Leave::Preempted { slot.slice().stop(timer::roughly_now) } else { None };
    let (next, equal_waits) = {
        let mut ready = core.ready.lock_masked(masked);
        let (next, priority) = if why == Leave::Waiting {
            ready.pop().unwrap_or((idle, IDLE))
        } else {
            let running = core.current_priority.load(Ordering::Relaxed);
            let least = running + u8::from(left.is_some());
            let Some(next) = ready.pop_from(least) else {
                if why == Leave::Preempted {
                    // Whoever was to come is no equal any more, or gone: there is nobody to pass a
                    // slice beside.
                    if left.is_none() {
                        slot.set_slice(Slice::WHOLE);
                    }
                    arm(core, (ready.highest() == Some(running)).then_some(slot));
                }
                return;
            };
            if from != idle {
                if left.is_some() {
                    ready.push_first(from, running);
                } else {
                    ready.push(from, running);
                }
            }
            next
        };
        // Under the queue's lock: who changes a priority finds the task either in the queue or
        // here.
        core.current_task.store(next, Ordering::Relaxed);
        core.current_priority.store(priority, Ordering::Relaxed);
        (next, ready.highest() == Some(priority))
    };
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
    slot.set_slice(left.unwrap_or(Slice::WHOLE));
    let to = &SLOTS[usize::from(next) % MAX_TASKS];
    arm(core, equal_waits.then_some(to));
    // SAFETY: interrupts are masked; `slot` runs on this core, `to` was taken from its run queue
    // and does not.
    unsafe { context::switch(slot.context.get(), to.context.get()) };
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
    if core.accounted() {
        let masked = Masked::new();
        groups::switched(core, &masked);
        drop(masked);
    }
    if core.traced() {
        let task = core.current_task.load(Ordering::Relaxed);
        let name = SLOTS[usize::from(task)].status.lock().name;
        trace::note(core, Kind::Switch, u32::from(task), name);
    }
}
