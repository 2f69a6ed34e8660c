//! A counting semaphore.

use bale_arch::mask::Masked;
use bale_core::wait::{self, Overflow};

use super::{Lock, wait_until};
use crate::task::{self, PRIORITIES};

/// A count that tasks take from and wait for, and that tasks and interrupt handlers add to.
pub struct Semaphore(Lock<wait::Semaphore>);

impl Semaphore {
    /// With this count, which never rises above `limit`.
    pub const fn new(count: u32, limit: u32) -> Self {
        Self(Lock::new(wait::Semaphore::new(count, limit)))
    }

    /// Takes one if there is one.
    #[inline]
    pub fn try_take(&self) -> bool {
        self.0.lock().take()
    }

    /// Takes one; waits until there is one.
    ///
    /// # Panics
    /// If it would have to wait where nothing may: in an interrupt handler, under a lock, in an
    /// idle task.
    #[inline]
    pub fn take(&self) {
        if !self.try_take() {
            self.wait(None);
        }
    }

    /// As [`Semaphore::take`], but not beyond `deadline` of the clock; whether one was taken.
    ///
    /// # Panics
    /// As [`Semaphore::take`].
    #[inline]
    pub fn take_until(&self, deadline: u64) -> bool {
        self.try_take() || self.wait(Some(deadline))
    }

    #[cold]
    fn wait(&self, deadline: Option<u64>) -> bool {
        let me = task::waiting_index();
        {
            let mut state = self.0.lock();
            if state.take() {
                return true;
            }
            state.wait(me, &mut PRIORITIES.lock());
        }
        wait_until(deadline, || !self.0.lock().waits(me)) || !self.0.lock().cancel(me)
    }

    /// Adds one, or hands it to the task of the highest priority that waits. From any context.
    ///
    /// # Errors
    /// The count is at its limit.
    #[inline]
    pub fn give(&self) -> Result<(), Overflow> {
        {
            let mut state = self.0.lock();
            if !state.has_waiters() {
                return state.add();
            }
        }
        self.serve()
    }

    #[cold]
    #[inline(never)]
    fn serve(&self) -> Result<(), Overflow> {
        // Masked over both: were an interrupt taken between them, a task below the one that is
        // served could run first.
        let masked = Masked::new();
        let served = self.0.lock_masked(&masked).give(&PRIORITIES.lock_masked(&masked))?;
        if let Some(task) = served {
            task::wake_index(task, &masked);
        }
        drop(masked);
        task::switch_if_asked();
        Ok(())
    }

    /// Whether a task waits that nothing was handed to yet.
    pub fn has_waiters(&self) -> bool {
        self.0.lock().has_waiters()
    }

    /// How many could be taken now.
    pub fn count(&self) -> u32 {
        self.0.lock().count()
    }
}
