//! Tasks: fixed priorities, one run queue a core, preemption, park and unpark.
//!
//! A task belongs to one core from spawn to exit. Waiting is built on two calls: [`park`] blocks the caller unless
//! somebody has called [`unpark`] on it since it last returned; [`unpark`] makes it ready, from any context on any
//! core. A wake-up that comes before its park is remembered, so none is lost; a caller of `park` checks its
//! condition again in a loop.
//!
//! Lock order: a task, then a run queue or a timer queue. All mask interrupts.

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering;

use bale_arch::context::{self, Context};
use bale_arch::mask::{self, Masked};
use bale_arch::timer;
use bale_core::schedule::{ReadyQueue, TimerQueue};

use crate::cores::{self, Core, MAX_CORES};
use crate::memory::stacks;
use crate::sync::Lock;
use crate::{clock, interrupts};

/// Tasks at most, one idle task a core included.
pub const MAX_TASKS: usize = 64;
/// Lowest priority: the idle tasks' own.
pub const IDLE: u8 = 0;
/// The log's task.
pub const LOG: u8 = 2;
/// Virtual CPUs.
pub const VCPU: u8 = 4;
/// The drain while its backlog is low.
pub const DRAIN: u8 = 6;
/// The shell, above what it may have to stop.
pub const SHELL: u8 = 8;
/// The drain once its backlog has passed the high mark, or memory is low.
pub const DRAIN_URGENT: u8 = 10;

/// How long a task runs beside others of its priority.
const SLICE_US: u64 = 5_000;

/// Names a task: its index and how often the index was used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskId {
    index: u16,
    generation: u32,
}

/// What a task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No task.
    Free,
    /// Running, or in its core's run queue.
    Ready,
    /// Parked.
    Blocked,
    /// Over, but still on its stack.
    Departing,
}

struct Status {
    state: State,
    generation: u32,
    name: &'static str,
    core: usize,
    priority: u8,
    /// Unparked since its last park returned.
    notified: bool,
    entry: extern "C" fn(u64) -> !,
    argument: u64,
}

struct Slot {
    status: Lock<Status>,
    /// Touched by the task's own core alone, with interrupts masked, while the task does not run.
    context: UnsafeCell<Context>,
}

// SAFETY: see `context`.
unsafe impl Sync for Slot {}

extern "C" fn never(_argument: u64) -> ! {
    mask::halt()
}

static SLOTS: [Slot; MAX_TASKS] = [const {
    Slot {
        status: Lock::new(Status {
            state: State::Free,
            generation: 0,
            name: "",
            core: 0,
            priority: IDLE,
            notified: false,
            entry: never,
            argument: 0,
        }),
        context: UnsafeCell::new(Context::empty()),
    }
}; MAX_TASKS];

static READY: [Lock<ReadyQueue<MAX_TASKS>>; MAX_CORES] = [const { Lock::new(ReadyQueue::new()) }; MAX_CORES];
static TIMERS: [Lock<TimerQueue<MAX_TASKS>>; MAX_CORES] = [const { Lock::new(TimerQueue::new()) }; MAX_CORES];

/// Why no task was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnError {
    /// All [`MAX_TASKS`] are in use.
    TooMany,
    /// There is no such core, or it is not online.
    NoSuchCore,
}

/// Index of the idle task of a core. The boot core's is the last, whose stack it booted on.
fn idle_index(core: usize) -> u16 {
    (MAX_TASKS - 1 - core) as u16
}

/// Makes the caller the idle task of this core. Once on each core, before interrupts are unmasked.
pub fn adopt_idle(core: &Core) {
    let index = idle_index(core.index());
    let mut status = SLOTS[usize::from(index)].status.lock();
    status.state = State::Ready;
    status.name = "idle";
    status.core = core.index();
    status.priority = IDLE;
    core.current_task.store(index, Ordering::Relaxed);
    core.current_priority.store(IDLE, Ordering::Relaxed);
}

/// Stack of the idle task of a core.
pub fn idle_stack(core: usize) -> u64 {
    stacks::top(usize::from(idle_index(core)))
}

/// Starts a task on a core.
///
/// # Errors
/// See [`SpawnError`].
pub fn spawn(
    name: &'static str,
    core: usize,
    priority: u8,
    entry: extern "C" fn(u64) -> !,
    argument: u64,
) -> Result<TaskId, SpawnError> {
    if !cores::all().get(core).is_some_and(Core::online) {
        return Err(SpawnError::NoSuchCore);
    }
    for (index, slot) in SLOTS.iter().enumerate().take(MAX_TASKS - MAX_CORES) {
        let mut status = slot.status.lock();
        if status.state != State::Free {
            continue;
        }
        status.state = State::Ready;
        status.generation += 1;
        status.name = name;
        status.core = core;
        status.priority = priority;
        status.notified = false;
        status.entry = entry;
        status.argument = argument;
        let id = TaskId { index: index as u16, generation: status.generation };
        // SAFETY: the slot was free and is not in a run queue yet, so nobody else touches the context.
        unsafe { *slot.context.get() = Context::new(stacks::top(index), first_run, index as u64) };
        make_ready(id.index, &status);
        drop(status);
        switch_if_asked();
        return Ok(id);
    }
    Err(SpawnError::TooMany)
}

/// What every task runs first: finishes the switch that led here, then calls the task's function.
extern "C" fn first_run(index: u64) -> ! {
    finish_switch();
    let (entry, argument) = {
        let status = SLOTS[index as usize].status.lock();
        (status.entry, status.argument)
    };
    mask::unmask();
    entry(argument)
}

/// Puts a ready task into its core's queue and sees to it that the core looks.
fn make_ready(index: u16, status: &Status) {
    READY[status.core].lock().push(index, status.priority);
    let pinned = Masked::new();
    let here = cores::this(&pinned);
    let there = &cores::all()[status.core];
    if here.index() == there.index() {
        if status.priority > here.current_priority.load(Ordering::Relaxed) {
            here.reschedule.store(true, Ordering::Relaxed);
        } else {
            arm(here);
        }
    } else {
        // The other core's priority may be stale; the handler there decides.
        interrupts::raise(status.core, interrupts::RESCHEDULE);
    }
}

/// The running task.
pub fn current() -> TaskId {
    let index = cores::this_unpinned().current_task.load(Ordering::Relaxed);
    TaskId { index, generation: SLOTS[usize::from(index)].status.lock().generation }
}

/// Blocks the running task until somebody unparks it; returns at once if that has happened already.
pub fn park() {
    let masked = Masked::new();
    let core = cores::this(&masked);
    {
        let mut status = SLOTS[usize::from(core.current_task.load(Ordering::Relaxed))].status.lock();
        if status.notified {
            status.notified = false;
            return;
        }
        status.state = State::Blocked;
    }
    switch_away(core, false);
    drop(masked);
}

/// Wakes a task that is parked, or lets its next park return at once. A task that is over is left alone.
pub fn unpark(task: TaskId) {
    let mut status = SLOTS[usize::from(task.index)].status.lock();
    if status.generation != task.generation {
        return;
    }
    match status.state {
        State::Blocked => {
            status.state = State::Ready;
            make_ready(task.index, &status);
            drop(status);
            switch_if_asked();
        }
        State::Ready => status.notified = true,
        State::Free | State::Departing => {}
    }
}

/// Parks until `deadline` or until somebody unparks the task, whichever is first.
pub fn park_until(deadline: u64) {
    let index = cores::this_unpinned().current_task.load(Ordering::Relaxed);
    {
        let masked = Masked::new();
        let core = cores::this(&masked);
        TIMERS[core.index()].lock().insert(deadline, index);
        arm(core);
    }
    park();
    TIMERS[cores::this_unpinned().index()].lock().remove(index);
}

/// Waits until `deadline`, whoever unparks the task meanwhile.
pub fn sleep_until(deadline: u64) {
    while clock::now() < deadline {
        park_until(deadline);
    }
}

/// Lets others of the same priority run.
pub fn yield_now() {
    let masked = Masked::new();
    switch_away(cores::this(&masked), true);
    drop(masked);
}

/// Changes a task's priority.
pub fn set_priority(task: TaskId, priority: u8) {
    let mut status = SLOTS[usize::from(task.index)].status.lock();
    if status.generation != task.generation || status.priority == priority {
        return;
    }
    let old = status.priority;
    status.priority = priority;
    let queued = {
        let mut ready = READY[status.core].lock();
        ready.remove(task.index, old)
    };
    if queued {
        make_ready(task.index, &status);
    } else {
        let core = &cores::all()[status.core];
        if core.current_task.load(Ordering::Relaxed) == task.index {
            core.current_priority.store(priority, Ordering::Relaxed);
        }
    }
    drop(status);
    switch_if_asked();
}

/// Ends the running task.
pub fn exit() -> ! {
    let masked = Masked::new();
    let core = cores::this(&masked);
    let index = core.current_task.load(Ordering::Relaxed);
    SLOTS[usize::from(index)].status.lock().state = State::Departing;
    core.departed_task.store(index + 1, Ordering::Relaxed);
    switch_away(core, false);
    mask::halt()
}

/// The timer's interrupt: wakes who is due and sets the next deadline.
pub fn on_timer() {
    timer::disarm();
    let core = cores::this_unpinned();
    let now = clock::now();
    loop {
        let due = TIMERS[core.index()].lock().pop_due(now);
        let Some(index) = due else { break };
        let generation = SLOTS[usize::from(index)].status.lock().generation;
        unpark(TaskId { index, generation });
    }
    let equals = READY[core.index()].lock().highest();
    if equals.is_some_and(|highest| highest >= core.current_priority.load(Ordering::Relaxed)) {
        core.reschedule.store(true, Ordering::Relaxed);
    }
    arm(core);
}

/// The reschedule interrupt: another core made a task ready here.
pub fn on_reschedule() {
    let core = cores::this_unpinned();
    let highest = READY[core.index()].lock().highest();
    let running = core.current_priority.load(Ordering::Relaxed);
    if highest.is_some_and(|highest| highest > running) {
        core.reschedule.store(true, Ordering::Relaxed);
    } else if highest.is_some() {
        arm(core);
    }
}

/// Sets the timer for the next task that is due, or for the end of the slice where an equal waits.
fn arm(core: &Core) {
    let due = TIMERS[core.index()].lock().next_deadline();
    let equal_waits = READY[core.index()]
        .lock()
        .highest()
        .is_some_and(|p| p >= core.current_priority.load(Ordering::Relaxed));
    let slice = equal_waits.then(|| clock::now() + clock::from_us(SLICE_US));
    match due.into_iter().chain(slice).min() {
        Some(deadline) => timer::arm(deadline),
        None => timer::disarm(),
    }
}

/// End of an interrupt: switches if a task that outranks the interrupted one became ready.
pub fn preempt_if_asked() {
    let core = cores::this_unpinned();
    if core.reschedule.load(Ordering::Relaxed) {
        switch_away(core, true);
    }
}

/// In a task, after it made another ready: the same, unless interrupts are masked (a lock or a guard is held) or
/// this is an interrupt handler; then the switch waits for the next interrupt's end or the guard's owner.
fn switch_if_asked() {
    let core = cores::this_unpinned();
    if mask::is_masked() || core.in_interrupt.load(Ordering::Relaxed) {
        return;
    }
    let masked = Masked::new();
    if core.reschedule.load(Ordering::Relaxed) {
        switch_away(core, true);
    }
    drop(masked);
}

/// Continues the best task of this core; the running one goes to the end of its priority if it `stays` ready.
/// Interrupts are masked.
fn switch_away(core: &Core, stays: bool) {
    core.reschedule.store(false, Ordering::Relaxed);
    let from = core.current_task.load(Ordering::Relaxed);
    let idle = idle_index(core.index());
    let next = {
        let mut ready = READY[core.index()].lock();
        let running = core.current_priority.load(Ordering::Relaxed);
        if stays && ready.highest().is_none_or(|highest| highest < running) {
            from
        } else {
            let next = ready.pop().unwrap_or(idle);
            if stays && from != idle && next != from {
                ready.push(from, running);
            }
            next
        }
    };
    if next != from {
        // Not the task's lock: its priority changes under it, and `set_priority` looks at `current_task` after.
        let priority = SLOTS[usize::from(next)].status.lock().priority;
        core.current_task.store(next, Ordering::Relaxed);
        core.current_priority.store(priority, Ordering::Relaxed);
        cores::count(&core.switches);
        arm(core);
        let from = SLOTS[usize::from(from)].context.get();
        let to = SLOTS[usize::from(next)].context.get();
        // SAFETY: interrupts are masked; `from` runs on this core, `to` was taken from its run queue and does not.
        unsafe { context::switch(from, to) };
        finish_switch();
    }
}

/// On the new task's stack: the stack of a task that ended may be reused now.
fn finish_switch() {
    let core = cores::this_unpinned();
    let departed = core.departed_task.load(Ordering::Relaxed);
    if departed != 0 {
        core.departed_task.store(0, Ordering::Relaxed);
        SLOTS[usize::from(departed - 1)].status.lock().state = State::Free;
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
            mask::wait_for_interrupt();
        }
        let ticks = core.idle_ticks.load(Ordering::Relaxed) + (clock::now() - start);
        core.idle_ticks.store(ticks, Ordering::Relaxed);
        drop(masked);
        switch_if_asked();
    }
}

/// What `tasks` prints of one.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// Position in the table.
    pub index: usize,
    /// Given at spawn.
    pub name: &'static str,
    /// Core it belongs to.
    pub core: usize,
    /// 0 is idle, larger runs first.
    pub priority: u8,
    /// What it is doing.
    pub state: State,
    /// It is the one that runs on its core.
    pub running: bool,
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
            priority: status.priority,
            state: status.state,
            running: usize::from(core.current_task.load(Ordering::Relaxed)) == index,
        })
    })
}

/// Whether a task is over.
pub fn is_over(task: TaskId) -> bool {
    let status = SLOTS[usize::from(task.index)].status.lock();
    status.generation != task.generation || matches!(status.state, State::Free)
}

/// Name of the task with this index; "?" if its status is locked, perhaps by the code that crashed.
pub fn name_of(index: usize) -> &'static str {
    SLOTS[index].status.try_lock().map_or("?", |status| status.name)
}
