//! What is told of tasks.

use core::sync::atomic::Ordering;

use super::{MAX_TASKS, RHYTHMS, SLOTS, State, stacks};
use crate::cores::{self, MAX_CORES};

/// What `tasks` prints of one.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// Position in the table.
    pub index: usize,
    /// Given at spawn.
    pub name: &'static str,
    /// Core it belongs to.
    pub core: usize,
    /// It goes to another one when that leaves.
    pub free: bool,
    /// 0 is idle, larger runs first.
    pub priority: u8,
    /// What it is doing.
    pub state: State,
    /// It is the one that runs on its core.
    pub running: bool,
    /// Releases that a periodic task has missed.
    pub overruns: u64,
    /// Ticks between the releases of a periodic task; 0 for another one.
    pub period: u64,
    /// The longest time from a release to the task's going on, in ticks.
    pub latest: u64,
    /// The most bytes of its stack that it has used, and how many it has; `None` for an idle task,
    /// whose stack was not painted before it began.
    pub stack: Option<(usize, usize)>,
}

/// All tasks.
pub fn summaries() -> impl Iterator<Item = Summary> {
    SLOTS.iter().enumerate().filter_map(|(index, slot)| {
        let status = slot.status.lock();
        let core = cores::all().get(status.core)?;
        (status.state != State::Free).then(|| Summary {
            index,
            name: status.name,
            core: status.core,
            free: status.free,
            priority: status.priority,
            state: status.state,
            running: usize::from(core.current_task.load(Ordering::Relaxed)) == index,
            overruns: slot.overruns.load(Ordering::Relaxed),
            period: RHYTHMS[index].period.load(Ordering::Relaxed),
            latest: RHYTHMS[index].latest.load(Ordering::Relaxed),
            stack: (index < MAX_TASKS - MAX_CORES).then(|| stacks::used(index)),
        })
    })
}
