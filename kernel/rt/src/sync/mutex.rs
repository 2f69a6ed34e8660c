//! A mutex for tasks. Its owner runs at the priority of the most urgent task that waits for it.

use core::ops::{Deref, DerefMut};

use bale_arch::mask::Masked;
use bale_core::wait::{self, LockError};
use spin::mutex::{SpinMutex, SpinMutexGuard};

use super::{Lock, wait_until};
use crate::task::{self, PRIORITIES};

/// A value that one task at a time has; others wait without spinning.
pub struct Mutex<T> {
    state: Lock<wait::Mutex>,
    /// Taken by the owner alone, so nobody ever spins on it.
    value: SpinMutex<T>,
}

/// Access to the value.
pub struct MutexGuard<'a, T> {
    // Dropped in this order.
    value: SpinMutexGuard<'a, T>,
    _ownership: Ownership<'a>,
}

struct Ownership<'a>(&'a Lock<wait::Mutex>);

impl<T> Mutex<T> {
    /// A mutex around `value`.
    pub const fn new(value: T) -> Self {
        Self { state: Lock::new(wait::Mutex::new()), value: SpinMutex::new(value) }
    }

    /// Takes the mutex; waits until it is free.
    ///
    /// # Errors
    /// A wait that would never end, or too many owners that wait for each other.
    ///
    /// # Panics
    /// If it would have to wait where nothing may: in an interrupt handler, under a [`Lock`], in an
    /// idle task.
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>, LockError> {
        let taken = {
            let mut state = self.state.lock();
            state.take(task::running_index())
        };
        if !taken {
            self.wait(None)?;
        }
        Ok(self.guard())
    }

    /// As [`Mutex::lock`], but not beyond `deadline` of the clock: `None` then.
    ///
    /// # Errors
    /// As [`Mutex::lock`].
    ///
    /// # Panics
    /// As [`Mutex::lock`].
    pub fn lock_until(&self, deadline: u64) -> Result<Option<MutexGuard<'_, T>>, LockError> {
        let taken = self.state.lock().take(task::waiting_index()) || self.wait(Some(deadline))?;
        Ok(taken.then(|| self.guard()))
    }

    fn guard(&self) -> MutexGuard<'_, T> {
        MutexGuard { value: self.value.lock(), _ownership: Ownership(&self.state) }
    }

    #[cold]
    fn wait(&self, deadline: Option<u64>) -> Result<bool, LockError> {
        let me = task::waiting_index();
        {
            let mut state = self.state.lock();
            if state.take(me) {
                return Ok(true);
            }
            state.wait(me, &mut PRIORITIES.lock(), &mut task::apply_priority)?;
        }
        if wait_until(deadline, || !self.state.lock().waits(me)) {
            return Ok(true);
        }
        let gave_up =
            self.state.lock().cancel(me, &mut PRIORITIES.lock(), &mut task::apply_priority);
        Ok(!gave_up)
    }
}

impl Drop for Ownership<'_> {
    #[inline]
    fn drop(&mut self) {
        {
            let mut state = self.0.lock();
            if !state.has_waiters() {
                state.release();
                return;
            }
        }
        hand_over(self.0);
    }
}

#[cold]
#[inline(never)]
fn hand_over(state: &Lock<wait::Mutex>) {
    // Masked over both: our own priority falls at the hand-over, and were an interrupt taken before
    // the next owner is ready, any task between the two would run first.
    let masked = Masked::new();
    let next = state
        .lock_masked(&masked)
        .hand_over(&mut PRIORITIES.lock_masked(&masked), &mut task::apply_priority);
    // Whoever waited may have given up meanwhile.
    if let Some(next) = next {
        task::wake_index(next, &masked);
    }
    drop(masked);
    task::switch_if_asked();
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}
