//! A mutex whose owner inherits the priority of its waiters.

use super::priorities::{LockError, Priorities};
use super::set::WaitSet;

/// Owner and waiters.
#[derive(Debug)]
pub struct Mutex {
    owner: Option<u8>,
    waiters: WaitSet,
}

impl Mutex {
    /// Nobody's.
    pub const fn new() -> Self {
        Self { owner: None, waiters: WaitSet::new() }
    }

    /// Takes the mutex if it is nobody's.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "task indexes are below 64")]
    pub const fn take(&mut self, task: usize) -> bool {
        let free = self.owner.is_none();
        if free {
            self.owner = Some(task as u8);
        }
        free
    }

    /// Whether this task owns the mutex.
    #[inline(always)]
    pub const fn is_owned_by(&self, task: usize) -> bool {
        matches!(self.owner, Some(owner) if owner as usize == task)
    }

    /// Whether somebody waits.
    #[inline(always)]
    pub const fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// A task that found the mutex taken begins to wait. `apply` hears of each task whose priority
    /// changes.
    ///
    /// # Errors
    /// See [`LockError`]; the task does not wait then.
    pub fn wait(
        &mut self,
        task: usize,
        priorities: &mut Priorities,
        apply: &mut dyn FnMut(usize, u8),
    ) -> Result<(), LockError> {
        if let Some(owner) = self.owner {
            priorities.block(task, usize::from(owner), apply)?;
            self.waiters.insert(task);
        }
        Ok(())
    }

    /// Whether a task still waits: `false` once the mutex is its own.
    pub const fn waits(&self, task: usize) -> bool {
        self.waiters.contains(task)
    }

    /// The owner gives up a mutex for which nobody waits.
    #[inline(always)]
    pub const fn release(&mut self) {
        self.owner = None;
    }

    /// The owner gives the mutex to the best of the waiters, who is returned and must be woken.
    #[expect(clippy::cast_possible_truncation, reason = "task indexes are below 64")]
    pub fn hand_over(
        &mut self,
        priorities: &mut Priorities,
        apply: &mut dyn FnMut(usize, u8),
    ) -> Option<usize> {
        let from = usize::from(self.owner.take()?);
        let to = priorities.best(self.waiters)?;
        self.waiters.remove(to);
        self.owner = Some(to as u8);
        priorities.hand_over(from, to, self.waiters, apply);
        Some(to)
    }

    /// A waiter gives up; `false` if the mutex became its own meanwhile.
    pub fn cancel(
        &mut self,
        task: usize,
        priorities: &mut Priorities,
        apply: &mut dyn FnMut(usize, u8),
    ) -> bool {
        let waited = self.waiters.remove(task);
        if waited {
            priorities.unblock(task, apply);
        }
        waited
    }
}

impl Default for Mutex {
    fn default() -> Self {
        Self::new()
    }
}
