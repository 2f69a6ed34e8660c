//! Tasks that need no core of their own, and their move to others before theirs goes.

use bale_arch::mask::Masked;

use super::switch::make_ready;
use super::timed::note;
use super::{
    Bond, MAX_CORES, MAX_TASKS, SLOTS, SpawnError, State, TIMERS, TaskId, WATCHDOG, begin, exit,
};
use crate::cores::{self, Core};

/// Starts a task that begins on a core, and goes to another one when that leaves. It must not count
/// on where it is, but for the moment that it masks interrupts.
///
/// # Errors
/// See [`SpawnError`].
pub fn spawn_free(
    name: &'static str,
    core: usize,
    priority: u8,
    entry: extern "C" fn(u64) -> !,
    argument: u64,
) -> Result<TaskId, SpawnError> {
    begin(name, core, priority, entry, argument, Bond::Free)
}

/// Moves the free tasks of a core, which is online no more, to others; by a task of that core,
/// which outranks them: while it runs none of them does, and what they keep in registers is saved.
///
/// # Errors
/// See [`SpawnError`].
pub fn evacuate(core: usize) -> Result<TaskId, SpawnError> {
    begin("evacuate", core, WATCHDOG, leave, 0, Bond::Leaving)
}

extern "C" fn leave(_argument: u64) -> ! {
    for index in 0..MAX_TASKS - MAX_CORES {
        let masked = Masked::new();
        move_away(index, cores::this(&masked), &masked);
        drop(masked);
    }
    exit()
}

/// Moves a task if it is free and belongs here. One that waits for a moment is woken there: who
/// parks looks again.
fn move_away(index: usize, here: &Core, masked: &Masked) {
    let mut status = SLOTS[index].status.lock_masked(masked);
    if !status.free || status.core != here.index() {
        return;
    }
    let Some(there) = other(index) else { return };
    if !matches!(status.state, State::Blocked | State::Ready) {
        return;
    }
    let task = index as u16;
    status.core = there;
    let had_deadline = {
        let mut timers = TIMERS[here.index()].lock_masked(masked);
        let had_one = timers.remove(task);
        note(here, timers.next_deadline());
        had_one
    };
    if status.state == State::Ready {
        here.ready.lock_masked(masked).remove(task, status.priority);
    } else if !had_deadline {
        return;
    }
    status.state = State::Ready;
    make_ready(task, &status, masked);
}

/// A core that stays, not the same for all.
fn other(index: usize) -> Option<usize> {
    let online = || cores::all().iter().filter(|core| core.online());
    let place = index.checked_rem(online().count())?;
    online().nth(place).map(Core::index)
}
