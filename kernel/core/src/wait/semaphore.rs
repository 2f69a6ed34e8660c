//! A counting semaphore.

use super::priorities::Priorities;
use super::set::WaitSet;

/// A give that the limit of the semaphore does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

/// Count and waiters. While somebody waits the count is 0: what is given goes to a waiter.
#[derive(Debug)]
pub struct Semaphore {
    count: u32,
    limit: u32,
    waiters: WaitSet,
}

impl Semaphore {
    /// With this count, which never rises above `limit`.
    pub const fn new(count: u32, limit: u32) -> Self {
        Self { count, limit, waiters: WaitSet::new() }
    }

    /// Takes one if there is one.
    #[inline(always)]
    pub const fn take(&mut self) -> bool {
        let taken = self.count > 0;
        if taken {
            self.count -= 1;
        }
        taken
    }

    /// Whether somebody waits.
    #[inline(always)]
    pub const fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// How many can be taken at once.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Adds one, while nobody waits.
    ///
    /// # Errors
    /// The count is at its limit.
    #[inline(always)]
    pub const fn add(&mut self) -> Result<(), Overflow> {
        if self.count == self.limit {
            return Err(Overflow);
        }
        self.count += 1;
        Ok(())
    }

    /// A task that found none begins to wait.
    pub fn wait(&mut self, task: usize, priorities: &mut Priorities) {
        priorities.queue(task);
        self.waiters.insert(task);
    }

    /// Gives one: to the waiter that is returned and must be woken, or to the count.
    ///
    /// # Errors
    /// Nobody waits and the count is at its limit.
    pub fn give(&mut self, priorities: &Priorities) -> Result<Option<usize>, Overflow> {
        match priorities.best(self.waiters) {
            Some(task) => {
                self.waiters.remove(task);
                Ok(Some(task))
            }
            None => self.add().map(|()| None),
        }
    }

    /// Whether a task still waits: `false` once it was given one.
    pub const fn waits(&self, task: usize) -> bool {
        self.waiters.contains(task)
    }

    /// A waiter gives up; `false` if it was given one meanwhile, which it has then.
    pub const fn cancel(&mut self, task: usize) -> bool {
        self.waiters.remove(task)
    }
}
