//! Priorities: a task's own, and what it inherits from those that wait for it.

use core::sync::atomic::Ordering;

use bale_core::wait::Priorities;

use super::{SLOTS, TaskId, switch_if_asked};
use crate::{cores, interrupts};
use bale_memory::lock::Lock;

/// Of all tasks. Taken where tasks begin to wait or are served, not where nobody waits.
pub(crate) static PRIORITIES: Lock<Priorities> = Lock::new(Priorities::new());

/// Gives a task another priority of its own. A task that is over is left alone.
pub fn set_priority(task: TaskId, priority: u8) {
    {
        let mut priorities = PRIORITIES.lock();
        let index = usize::from(task.index);
        if SLOTS[index].status.lock().generation != task.generation
            || priorities.base(index) == priority
        {
            return;
        }
        priorities.set_base(index, priority, &mut apply);
    }
    switch_if_asked();
}

/// Makes a task run at this priority from now on, where it runs or waits in a run queue. One that
/// rises goes behind its new equals, one that sinks before them (POSIX.1-2017, 2.8.4, `SCHED_FIFO`,
/// of `pthread_setschedprio`): what it inherited and loses again costs it no turn. Under
/// [`PRIORITIES`].
pub(crate) fn apply(index: usize, priority: u8) {
    let mut status = SLOTS[index].status.lock();
    let old = core::mem::replace(&mut status.priority, priority);
    let core = &cores::all()[status.core];
    let asked = {
        let mut ready = core.ready.lock();
        let task = index as u16;
        if ready.remove(task, old) {
            if priority < old {
                ready.push_first(task, priority);
            } else {
                ready.push(task, priority);
            }
            // With an equal that waits, a slice begins.
            priority >= core.current_priority.load(Ordering::Relaxed)
        } else if core.current_task.load(Ordering::Relaxed) == task {
            core.current_priority.store(priority, Ordering::Relaxed);
            ready.highest().is_some_and(|highest| highest >= priority)
        } else {
            false
        }
    };
    if asked {
        if cores::this_unpinned().index() == status.core {
            core.reschedule.store(true, Ordering::Relaxed);
        } else {
            interrupts::raise(status.core, interrupts::RESCHEDULE);
        }
    }
}
