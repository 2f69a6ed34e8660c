//! Tasks: fixed priorities, one run queue a core, preemption, park and unpark.
//!
//! A task belongs to one core at a time: for good, or until that core leaves ([`spawn_free`]).
//! Waiting is built on two calls: [`park`] blocks the caller unless somebody has called [`unpark`]
//! on it since it last returned; [`unpark`] makes it ready, from any context on any core. A wake-up
//! that comes before its park is remembered, so none is lost; a caller of `park` checks its
//! condition again in a loop. What tasks wait for in practice is in [`crate::sync`].
//!
//! | module | what it does |
//! |---|---|
//! | `switch` | choice of the next task, preemption, the timer, the idle loop |
//! | `timed` | deadlines, sleep, periodic tasks |
//! | `moving` | tasks that go elsewhere when their core leaves |
//! | `priority` | own and inherited priorities |
//! | [`groups`], [`share`] | tasks that share a core by groups: what each has run, whose turn it is |
//!
//! There is no tick: a core's timer is set to the nearest deadline, or to the end of a slice while
//! an equal waits.
//!
//! Equals run in turn: a task goes behind them when it wakes, yields or has used up its slice. One
//! that is preempted stays before them, with what is left of its slice.
//!
//! Lock order: priorities, a task, then a run queue or a timer queue. All mask interrupts.

pub mod groups;
mod moving;
mod priority;
pub mod share;
mod summary;
mod switch;
mod timed;

pub use self::moving::{evacuate, spawn_free};
pub use self::priority::set_priority;
pub(crate) use self::priority::{PRIORITIES, apply as apply_priority};
pub use self::switch::switch_if_asked;
pub use self::switch::{on_reschedule, on_timer, others_wait, preempt_if_asked, start, yield_now};
pub use self::timed::park_until_masked;
pub use self::timed::{Periodic, park_lazily, park_until, sleep_until, sleep_us};
pub use summary::{Summary, summaries};

use self::switch::{finish_switch, make_ready, switch_away};

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use bale_arch::context::Context;
use bale_arch::mask::{self, Masked};
use bale_core::schedule::{Slice, TimerQueue};
use bale_core::wait;

use crate::cores::{self, Core, MAX_CORES};
use bale_memory::lock::Lock;
use bale_memory::stacks;

/// Tasks at most, one idle task a core included.
pub const MAX_TASKS: usize = stacks::STACKS_FOR_TASKS;
/// Lowest priority: the idle tasks' own.
pub const IDLE: u8 = 0;
/// Virtual CPUs of machines that let others go first: see [`groups`].
pub const VCPU_BEHIND: u8 = 3;
/// Virtual CPUs.
pub const VCPU: u8 = 4;
/// What has to be done though guests never rest: the log, and the compactor, which takes no more
/// than a share of its core while others want it.
pub const HOUSEKEEPING: u8 = 5;
/// The drain while its backlog is low.
pub const DRAIN: u8 = 6;
/// The shell, above what it may have to stop.
pub const SHELL: u8 = 8;
/// The task that shares cores out among groups.
pub const SHARE: u8 = 9;
/// The drain once its backlog has passed the high mark.
pub const DRAIN_URGENT: u8 = 10;
/// The watchdog.
pub const WATCHDOG: u8 = 12;

const _: () = assert!(MAX_TASKS == wait::TASKS, "a set of waiters is one word");

/// Names a task: its index and how often the index was used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskId {
    index: u16,
    generation: u32,
}

impl TaskId {
    /// Position in the table of tasks.
    pub fn index(self) -> usize {
        usize::from(self.index)
    }

    /// As a word that is not 0, for an atomic.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 16 | u64::from(self.index)
    }

    /// From [`TaskId::to_bits`]; `None` for 0.
    #[inline(always)]
    pub fn from_bits(bits: u64) -> Option<Self> {
        (bits != 0).then_some(Self { index: bits as u16, generation: (bits >> 16) as u32 })
    }
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
    /// Being made.
    Starting,
    /// Over, but still on its stack.
    Departing,
}

struct Status {
    state: State,
    generation: u32,
    name: &'static str,
    core: usize,
    /// It may belong to another one.
    free: bool,
    /// What it runs at: its own, or what it has inherited.
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
    /// Releases that the task, a periodic one, has missed.
    overruns: AtomicU64,
    /// A [`Slice`]: see [`Slot::slice`].
    slice: AtomicU64,
}

impl Slot {
    /// What is left of the task's slice.
    #[inline(always)]
    fn slice(&self) -> Slice {
        // Relaxed: on the task's own core, masked; a task that goes elsewhere is handed over by
        // locks.
        Slice::from_raw(self.slice.load(Ordering::Relaxed))
    }

    /// See [`Slot::slice`].
    #[inline(always)]
    fn set_slice(&self, slice: Slice) {
        // Relaxed: as there.
        self.slice.store(slice.raw(), Ordering::Relaxed);
    }
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
            free: false,
            priority: IDLE,
            notified: false,
            entry: never,
            argument: 0,
        }),
        context: UnsafeCell::new(Context::empty()),
        overruns: AtomicU64::new(0),
        slice: AtomicU64::new(Slice::WHOLE.raw()),
    }
}; MAX_TASKS];

/// What `tasks` shows of a periodic task. Apart from its slot, whose size is in every switch: an
/// index into the slots is a shift as long as a slot has no more words than now.
struct Rhythm {
    /// Ticks between releases; 0 for a task that is not periodic.
    period: AtomicU64,
    /// The longest time from a release to the task's going on, in ticks.
    latest: AtomicU64,
}

static RHYTHMS: [Rhythm; MAX_TASKS] =
    [const { Rhythm { period: AtomicU64::new(0), latest: AtomicU64::new(0) } }; MAX_TASKS];

static TIMERS: [Lock<TimerQueue<MAX_TASKS>>; MAX_CORES] =
    [const { Lock::new(TimerQueue::new()) }; MAX_CORES];

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
    core.begin();
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
    begin(name, core, priority, entry, argument, Bond::Pinned)
}

/// What ties a task to its core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bond {
    /// It stays, and the core with it.
    Pinned,
    /// Nothing.
    Free,
    /// It is there to let the core go.
    Leaving,
}

fn begin(
    name: &'static str,
    core: usize,
    priority: u8,
    entry: extern "C" fn(u64) -> !,
    argument: u64,
    bond: Bond,
) -> Result<TaskId, SpawnError> {
    let takes = |core: &Core| core.online() || bond == Bond::Leaving;
    if !cores::all().get(core).is_some_and(takes) {
        return Err(SpawnError::NoSuchCore);
    }
    let index = reserve().ok_or(SpawnError::TooMany)?;
    // SAFETY: the slot was free, so no task is on its stack, and it is reserved for the one that is
    // made here.
    unsafe { stacks::paint(index) };
    PRIORITIES.lock().begin(index, priority);
    let slot = &SLOTS[index];
    let masked = Masked::new();
    let id = {
        let mut status = slot.status.lock_masked(&masked);
        // Under the lock that `on_core` takes: a core that leaves finds the task, or the task finds
        // that it leaves.
        if !takes(&cores::all()[core]) {
            status.state = State::Free;
            return Err(SpawnError::NoSuchCore);
        }
        status.state = State::Ready;
        status.generation += 1;
        status.name = name;
        status.core = core;
        status.free = bond == Bond::Free;
        status.priority = priority;
        status.notified = false;
        status.entry = entry;
        status.argument = argument;
        for figure in [&slot.overruns, &RHYTHMS[index].period, &RHYTHMS[index].latest] {
            figure.store(0, Ordering::Relaxed);
        }
        // SAFETY: the slot was free and is not in a run queue yet, so nobody else touches the
        // context.
        unsafe { *slot.context.get() = Context::new(stacks::top(index), first_run, index as u64) };
        make_ready(index as u16, &status, &masked);
        TaskId { index: index as u16, generation: status.generation }
    };
    drop(masked);
    switch_if_asked();
    Ok(id)
}

/// Name of a task that belongs to a core, its idle task left out; `None` if there is none.
pub fn on_core(core: usize) -> Option<&'static str> {
    SLOTS.iter().take(MAX_TASKS - MAX_CORES).find_map(|slot| {
        let status = slot.status.lock();
        let is_there =
            !matches!(status.state, State::Free | State::Starting) && status.core == core;
        is_there.then_some(status.name)
    })
}

/// Index and name of the task that a core runs; `None` if it is idle.
pub fn running_on(core: &Core) -> Option<(usize, &'static str)> {
    let index = core.current_task.load(Ordering::Relaxed);
    // That core may hang with its task's lock held.
    let name = || SLOTS[usize::from(index)].status.try_lock().map_or("?", |status| status.name);
    (index != idle_index(core.index())).then(|| (usize::from(index), name()))
}

/// A free slot, free no more.
fn reserve() -> Option<usize> {
    SLOTS.iter().take(MAX_TASKS - MAX_CORES).position(|slot| {
        let mut status = slot.status.lock();
        let free = status.state == State::Free;
        if free {
            status.state = State::Starting;
        }
        free
    })
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

/// The running task.
pub fn current() -> TaskId {
    let masked = Masked::new();
    let index = cores::this(&masked).current_task.load(Ordering::Relaxed);
    TaskId { index, generation: SLOTS[usize::from(index)].status.lock().generation }
}

/// Index of the running task. Interrupts are masked.
#[inline(always)]
pub fn running_index() -> usize {
    usize::from(cores::this_unpinned().current_task.load(Ordering::Relaxed))
}

/// Index of the running task, which is about to wait.
///
/// # Panics
/// Where nothing may wait: in an interrupt handler, under a lock, in an idle task.
pub(crate) fn waiting_index() -> usize {
    assert!(!mask::is_masked(), "a wait with interrupts masked");
    let masked = Masked::new();
    let index = running_index();
    drop(masked);
    assert!(index < MAX_TASKS - MAX_CORES, "an idle task waits");
    index
}

/// Whether the caller may wait: false in an interrupt handler, under a lock, in an idle task.
pub fn may_wait() -> bool {
    if mask::is_masked() || !cores::claimed() {
        return false;
    }
    let masked = Masked::new();
    let index = running_index();
    drop(masked);
    index < MAX_TASKS - MAX_CORES
}

/// Blocks the running task until somebody unparks it; returns at once if that has happened already.
pub fn park() {
    let masked = Masked::new();
    park_masked(&masked);
    drop(masked);
}

/// As [`park`], of a task that has masked interrupts, holds no lock, and finds them masked when it
/// goes on.
pub fn park_masked(masked: &Masked) {
    block(masked, |_, _| {});
}

/// [`park`], with `prepare` called before the task leaves its core unless it was unparked already.
/// Whether it left.
fn block(masked: &Masked, prepare: impl FnOnce(&'static Core, u16)) -> bool {
    let core = cores::this(masked);
    let index = core.current_task.load(Ordering::Relaxed);
    {
        let mut status = SLOTS[usize::from(index) % MAX_TASKS].status.lock_masked(masked);
        if status.notified {
            status.notified = false;
            return false;
        }
        status.state = State::Blocked;
    }
    prepare(core, index);
    switch_away(core, masked);
    true
}

/// Wakes a task that is parked, or lets its next park return at once. A task that is over is left
/// alone.
pub fn unpark(task: TaskId) {
    let masked = Masked::new();
    wake(task, &masked);
    drop(masked);
    switch_if_asked();
}

/// As [`unpark`], and the caller looks whether to switch once it unmasks.
#[inline(always)]
pub fn wake(task: TaskId, masked: &Masked) {
    let mut status = SLOTS[usize::from(task.index) % MAX_TASKS].status.lock_masked(masked);
    if status.generation == task.generation {
        notify(task.index, &mut status, masked);
    }
}

/// As [`wake`], for a task that cannot have ended: it was seen to wait. The caller looks whether to
/// switch once it unmasks.
pub(crate) fn wake_index(index: usize, masked: &Masked) {
    notify(index as u16, &mut SLOTS[index].status.lock_masked(masked), masked);
}

#[inline(always)]
fn notify(index: u16, status: &mut Status, masked: &Masked) {
    if status.state == State::Blocked {
        status.state = State::Ready;
        make_ready(index, status, masked);
    } else if status.state == State::Ready {
        status.notified = true;
    }
}

/// Ends the running task.
pub fn exit() -> ! {
    let masked = Masked::new();
    let core = cores::this(&masked);
    let index = core.current_task.load(Ordering::Relaxed);
    SLOTS[usize::from(index)].status.lock_masked(&masked).state = State::Departing;
    core.mark_departed(index);
    switch_away(core, &masked);
    mask::halt()
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
