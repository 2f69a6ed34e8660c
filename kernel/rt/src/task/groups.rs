//! Groups of tasks that share cores fairly: what each has run, and by whom it is limited.
//!
//! The scheduler itself knows priorities only. Tasks of a group run at one of two: [`super::VCPU`]
//! for the group whose turn it is, [`super::VCPU_BEHIND`] for the others; the task in
//! [`super::share`] moves them. A core on which there is one group alone, without a limit, measures
//! nothing and pays nothing: only where there is more to know has the core's switch something aside
//! ([`crate::cores::Core::set_accounted`]).
//!
//! Lock order: an account is taken after everything but a timer queue.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use bale_arch::mask::Masked;
use bale_arch::timer;
use bale_core::fair_share::{GROUPS, Groups, Limit, SHARES};
use heapless::Vec;

use super::timed::{arm_until, note};
use super::{MAX_TASKS, SLOTS, TIMERS, TaskId, unpark};
use crate::clock;
use crate::cores::{self, Core, MAX_CORES};
use bale_memory::lock::Lock;

/// How long a group stays in front before others are looked for.
pub(super) const TURN_US: u64 = 2_000;
/// Of no group.
const NONE: u8 = 0;

/// By task, its group plus one. Written by the task itself, read by its core's switch.
static OF_TASK: [AtomicU8; MAX_TASKS] = [const { AtomicU8::new(NONE) }; MAX_TASKS];

/// What was asked for a group.
struct Settings {
    shares: AtomicU32,
    /// Ticks of each period; 0 for no limit.
    budget: AtomicU64,
    period: AtomicU64,
    /// Changes with each of the two: who watches the limit begins anew.
    epoch: AtomicU32,
}

static SETTINGS: [Settings; GROUPS] = [const {
    Settings {
        shares: AtomicU32::new(SHARES),
        budget: AtomicU64::new(0),
        period: AtomicU64::new(1),
        epoch: AtomicU32::new(0),
    }
}; GROUPS];

/// What the groups have run on one core.
pub(super) struct Account {
    /// The group that runs, plus one.
    running: u8,
    /// Since when; meaningless while nobody runs.
    since: u64,
    used: [u64; GROUPS],
    /// The tasks of groups that belong to this core, each with its group.
    members: Vec<(TaskId, u8), MAX_TASKS>,
    /// When [`super::share`] is to look next; [`u64::MAX`] for not before somebody runs.
    look_at: u64,
}

/// By core. Its own core writes it at each switch; the task that shares the core out reads it.
static ACCOUNTS: [Lock<Account>; MAX_CORES] = [const {
    Lock::new(Account {
        running: NONE,
        since: 0,
        used: [0; GROUPS],
        members: Vec::new(),
        look_at: u64::MAX,
    })
}; MAX_CORES];

/// What is known of a core's groups at a moment.
pub(super) struct Seen {
    /// Ticks that each has run here, ever.
    pub(super) used: [u64; GROUPS],
    pub(super) members: Vec<(TaskId, u8), MAX_TASKS>,
}

impl Account {
    /// What has passed is the running group's.
    fn settle(&mut self, now: u64) {
        if let Some(group) = self.running.checked_sub(1) {
            self.used[usize::from(group) % GROUPS] += now.saturating_sub(self.since);
        }
        self.since = now;
    }

    fn groups(&self) -> Groups {
        self.members.iter().fold(0, |set, (_, group)| set | 1 << group)
    }

    /// Whether what runs here has to be measured.
    fn matters(&self) -> bool {
        let groups = self.groups();
        groups.count_ones() > 1 || any_limited(groups)
    }

    /// Lets the core measure, or not, as its members want it.
    fn apply(&mut self, core: &Core) {
        let matters = self.matters();
        core.set_accounted(matters);
        if !matters {
            self.running = NONE;
            self.look_at = u64::MAX;
        }
    }
}

/// The task that shares cores out, as [`TaskId::to_bits`]; 0 before it was started.
static SHARER: AtomicU64 = AtomicU64::new(0);
/// How often it was called.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// From here on, this task is woken when there is something to see.
pub(super) fn set_sharer(task: TaskId) {
    SHARER.store(task.to_bits(), Ordering::Relaxed);
}

fn sharer() -> Option<TaskId> {
    TaskId::from_bits(SHARER.load(Ordering::Relaxed))
}

/// Has it look at everything now.
fn call() {
    if let Some(task) = sharer() {
        CALLS.fetch_add(1, Ordering::Relaxed);
        unpark(task);
    }
}

/// How often it was told to look at everything.
pub(super) fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

/// Shares of a group.
pub(super) fn shares(group: usize) -> u32 {
    SETTINGS[group % GROUPS].shares.load(Ordering::Relaxed)
}

/// Limit of a group.
pub(super) fn limit(group: usize) -> Option<Limit> {
    let settings = &SETTINGS[group % GROUPS];
    let (budget, period) =
        (settings.budget.load(Ordering::Relaxed), settings.period.load(Ordering::Relaxed));
    (budget != 0).then_some(Limit { budget, period })
}

/// Whether one of these groups has a limit.
pub(super) fn any_limited(groups: Groups) -> bool {
    (0..GROUPS).any(|group| groups & 1 << group != 0 && limit(group).is_some())
}

/// How often a group's limit was set.
pub(super) fn epoch(group: usize) -> u32 {
    // Acquire: with the release in `set_limit`, the limit of that epoch is visible.
    SETTINGS[group % GROUPS].epoch.load(Ordering::Acquire)
}

/// Gives a group its shares, from now on.
pub fn set_shares(group: usize, shares: u32) {
    SETTINGS[group % GROUPS].shares.store(shares.max(1), Ordering::Relaxed);
}

/// Limits a group, with a whole budget from now on, or no more. In a task.
pub fn set_limit(group: usize, limit: Option<Limit>) {
    let settings = &SETTINGS[group % GROUPS];
    let Limit { budget, period } = limit.unwrap_or(Limit { budget: 0, period: 1 });
    settings.budget.store(budget, Ordering::Relaxed);
    settings.period.store(period.max(1), Ordering::Relaxed);
    // Release: pairs with the acquire in `epoch`.
    settings.epoch.fetch_add(1, Ordering::Release);
    for (core, account) in cores::all().iter().zip(&ACCOUNTS) {
        let mut account = account.lock();
        if account.groups() & 1 << group != 0 {
            account.apply(core);
        }
    }
    call();
}

/// Ticks that a group has run on a core since it has been measured there.
pub fn used(group: usize, core: usize) -> u64 {
    let mut account = ACCOUNTS[core % MAX_CORES].lock();
    account.settle(clock::now());
    account.used[group % GROUPS]
}

/// The calling task, which is pinned to its core, belongs to a group from now on, until it calls
/// [`leave`].
pub fn join(group: usize) {
    change(Some((group % GROUPS) as u8));
}

/// The calling task belongs to no group any more.
pub fn leave() {
    change(None);
}

fn change(group: Option<u8>) {
    let id = super::current();
    let masked = Masked::new();
    let core = cores::this(&masked);
    {
        let mut account = ACCOUNTS[core.index()].lock_masked(&masked);
        let now = clock::now();
        account.settle(now);
        account.members.retain(|(task, _)| *task != id);
        if let Some(group) = group {
            // There is room for every task.
            let _ = account.members.push((id, group));
        }
        account.apply(core);
        let word = group.map_or(NONE, |group| group + 1);
        OF_TASK[id.index() % MAX_TASKS].store(word, Ordering::Relaxed);
        if core.accounted() {
            account.running = word;
            look_soon(core, &mut account, now, &masked);
        }
    }
    drop(masked);
}

/// From a switch on a core that measures: what has passed is the former task's, what comes is the
/// group's whose task was taken. On the core itself, masked.
#[cold]
pub(super) fn switched(core: &Core, masked: &Masked) {
    // No barrier is needed for what is a matter of milliseconds.
    let now = timer::roughly_now();
    let task = usize::from(core.current_task.load(Ordering::Relaxed));
    let mut account = ACCOUNTS[core.index()].lock_masked(masked);
    account.settle(now);
    account.running = OF_TASK[task % MAX_TASKS].load(Ordering::Relaxed);
    if account.running != NONE {
        look_soon(core, &mut account, now, masked);
    }
}

/// Sees to it that somebody looks at this core in a turn at the latest. Nobody does while no group
/// runs.
fn look_soon(core: &Core, account: &mut Account, now: u64, masked: &Masked) {
    let look_at = now + clock::from_us(TURN_US);
    if account.look_at <= look_at {
        return;
    }
    account.look_at = look_at;
    if let Some(task) = sharer() {
        let task = task.index() as u16;
        let mut timers = TIMERS[core.index()].lock_masked(masked);
        timers.insert(look_at, task);
        note(core, timers.next_deadline());
    }
    arm_until(core, core.wake_at.load(Ordering::Relaxed));
}

/// What there is to see on a core, if it is time to look there or the caller wants to look anyhow;
/// nobody looks again before [`look_again`].
pub(super) fn look(core: usize, now: u64, anyhow: bool) -> Option<Seen> {
    let mut account = ACCOUNTS[core].lock();
    if account.members.is_empty() || (account.look_at > now && !anyhow) {
        return None;
    }
    account.settle(now);
    // A core that began to measure in the midst of a task's run has seen no switch yet.
    let task = usize::from(cores::all()[core].current_task.load(Ordering::Relaxed));
    account.running = OF_TASK[task % MAX_TASKS].load(Ordering::Relaxed);
    account.look_at = u64::MAX;
    Some(Seen { used: account.used, members: account.members.clone() })
}

/// Has [`look`] give something at this time at the latest.
pub(super) fn look_again(core: usize, at: u64) {
    let mut account = ACCOUNTS[core].lock();
    account.look_at = account.look_at.min(at);
}

/// As [`look_again`], on each core that a group has a task on.
pub(super) fn look_at_group(group: usize, at: u64) {
    for account in ACCOUNTS.iter().take(cores::all().len()) {
        let mut account = account.lock();
        if account.groups() & 1 << group != 0 {
            account.look_at = account.look_at.min(at);
        }
    }
}

/// The nearest time at which there is something to see.
pub(super) fn next_look() -> u64 {
    let all = ACCOUNTS.iter().take(cores::all().len());
    all.map(|account| account.lock().look_at).min().unwrap_or(u64::MAX)
}

/// Whether a task runs, or could.
pub(super) fn is_ready(task: TaskId) -> bool {
    let status = SLOTS[task.index()].status.lock();
    status.generation == task.generation && status.state == super::State::Ready
}
