//! Base and inherited priorities.
//!
//! The priority of a task is the highest of its own and of all that wait for a mutex it owns, and
//! so on along the chain: L. Sha, R. Rajkumar, J. Lehoczky, Priority Inheritance Protocols, IEEE
//! Trans. Computers 39(9), 1990, section III. A chain is walked under a lock, so it is bounded.

use core::fmt;

use super::set::{TASKS, WaitSet};

/// Why a task cannot wait for a mutex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockError {
    /// It would wait for itself: it owns the mutex, or the owner waits for something it owns.
    Deadlock,
    /// More owners wait for each other than [`super::LONGEST_CHAIN`].
    ChainTooLong,
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deadlock => "the wait would never end",
            Self::ChainTooLong => "too many owners wait for each other",
        })
    }
}

impl core::error::Error for LockError {}

/// Owners that one wait can reach at most: the owner of the mutex, who waits for another one, and
/// so on.
pub const LONGEST_CHAIN: usize = 8;

const NOBODY: u8 = u8::MAX;

/// Priorities of all tasks, and who waits for whom.
#[derive(Debug)]
pub struct Priorities {
    base: [u8; TASKS],
    effective: [u8; TASKS],
    /// Owner of the mutex that the task waits for.
    waits_for: [u8; TASKS],
    /// Tasks that wait for a mutex that this one owns.
    donors: [WaitSet; TASKS],
    /// Grows with each wait: first come, first served among equals.
    ticket: [u64; TASKS],
    next_ticket: u64,
}

impl Priorities {
    /// All tasks at priority 0.
    pub const fn new() -> Self {
        Self {
            base: [0; TASKS],
            effective: [0; TASKS],
            waits_for: [NOBODY; TASKS],
            donors: [WaitSet::new(); TASKS],
            ticket: [0; TASKS],
            next_ticket: 0,
        }
    }

    /// A new task has this index.
    pub fn begin(&mut self, task: usize, base: u8) {
        self.base[task] = base;
        self.effective[task] = base;
        self.waits_for[task] = NOBODY;
        self.donors[task] = WaitSet::new();
    }

    /// The priority that a task was given.
    pub fn base(&self, task: usize) -> u8 {
        self.base[task]
    }

    /// The priority that a task runs at.
    pub fn effective(&self, task: usize) -> u8 {
        self.effective[task]
    }

    /// Gives a task another priority. `apply` hears of each task whose priority changes by it.
    pub fn set_base(&mut self, task: usize, base: u8, apply: &mut dyn FnMut(usize, u8)) {
        self.base[task] = base;
        self.settle(task, apply);
    }

    /// A task begins to wait: its turn comes behind those of its priority that wait already.
    pub fn queue(&mut self, task: usize) {
        self.ticket[task] = self.next_ticket;
        self.next_ticket += 1;
    }

    /// Who of a set is served first: the highest priority, and among equals the one that waits
    /// longest.
    pub fn best(&self, set: WaitSet) -> Option<usize> {
        set.iter().max_by_key(|&task| (self.effective[task], core::cmp::Reverse(self.ticket[task])))
    }

    /// `waiter` begins to wait for a mutex of `owner`, who inherits its priority.
    ///
    /// # Errors
    /// [`LockError::Deadlock`] if the owner waits, directly or not, for the waiter;
    /// [`LockError::ChainTooLong`] if the owners that wait for each other are more than
    /// [`LONGEST_CHAIN`]. Nothing has changed then.
    pub(super) fn block(
        &mut self,
        waiter: usize,
        owner: usize,
        apply: &mut dyn FnMut(usize, u8),
    ) -> Result<(), LockError> {
        let (mut at, mut length) = (owner, 1);
        loop {
            if at == waiter {
                return Err(LockError::Deadlock);
            }
            let next = self.waits_for[at];
            if next == NOBODY {
                break;
            }
            at = usize::from(next);
            length += 1;
        }
        // Those that wait for the waiter come on top.
        if length + self.depth_below(waiter, LONGEST_CHAIN) > LONGEST_CHAIN {
            return Err(LockError::ChainTooLong);
        }
        self.queue(waiter);
        self.link(waiter, owner);
        self.settle(owner, apply);
        Ok(())
    }

    /// Longest chain of tasks that wait for `task`, as far as it matters.
    fn depth_below(&self, task: usize, limit: usize) -> usize {
        if limit == 0 {
            return 0;
        }
        let below =
            self.donors[task].iter().map(|donor| 1 + self.depth_below(donor, limit - 1)).max();
        below.unwrap_or(0)
    }

    /// `waiter` gives up or is served; its owner loses what it inherited from it.
    pub(super) fn unblock(&mut self, waiter: usize, apply: &mut dyn FnMut(usize, u8)) {
        let owner = self.waits_for[waiter];
        if owner == NOBODY {
            return;
        }
        self.waits_for[waiter] = NOBODY;
        self.donors[usize::from(owner)].remove(waiter);
        self.settle(usize::from(owner), apply);
    }

    /// A mutex goes from one owner to the next, with those that still wait for it.
    pub(super) fn hand_over(
        &mut self,
        from: usize,
        to: usize,
        still_waiting: WaitSet,
        apply: &mut dyn FnMut(usize, u8),
    ) {
        self.waits_for[to] = NOBODY;
        self.donors[from].remove(to);
        for waiter in still_waiting.iter() {
            self.donors[from].remove(waiter);
            self.link(waiter, to);
        }
        // The next one first: until it has what it inherits, the old owner is not to lose it.
        self.settle(to, apply);
        self.settle(from, apply);
    }

    #[expect(clippy::cast_possible_truncation, reason = "task indexes are below 64")]
    fn link(&mut self, waiter: usize, owner: usize) {
        self.waits_for[waiter] = owner as u8;
        self.donors[owner].insert(waiter);
    }

    /// Makes a task's priority what it must be, and those of the owners along its chain.
    fn settle(&mut self, task: usize, apply: &mut dyn FnMut(usize, u8)) {
        let mut task = task;
        for _ in 0..=LONGEST_CHAIN {
            let inherited = self.donors[task].iter().map(|donor| self.effective[donor]).max();
            let priority = self.base[task].max(inherited.unwrap_or(0));
            if priority == self.effective[task] {
                return;
            }
            self.effective[task] = priority;
            apply(task, priority);
            if self.waits_for[task] == NOBODY {
                return;
            }
            task = usize::from(self.waits_for[task]);
        }
    }
}

impl Default for Priorities {
    fn default() -> Self {
        Self::new()
    }
}
