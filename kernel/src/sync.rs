//! Locks, and what tasks wait for.
//!
//! | type | for |
//! |---|---|
//! | [`Lock`] | a few instructions, also against interrupt handlers: spins, interrupts masked |
//! | [`Mutex`] | longer work of tasks alone: the owner inherits the priority of who waits |
//! | [`Semaphore`] | counting, also from interrupt handlers |
//! | [`Events`] | flags, any or all of them, also from interrupt handlers |
//! | [`Queue`] | messages of fixed capacity |
//!
//! Lock order: an object's own lock, the priorities, a task, a run queue.
//!
//! An interrupt handler may take any of these locks, so a holder on the same core must not be interrupted; and a
//! holder that is not interrupted is not preempted, so nobody spins for longer than a short critical section.

mod events;
mod mutex;
mod queue;
mod semaphore;

pub use events::Events;
pub use mutex::{Mutex, MutexGuard};
pub use queue::Queue;
pub use semaphore::Semaphore;

use core::ops::{Deref, DerefMut};

use bale_arch::mask::Masked;
use spin::mutex::{SpinMutex, SpinMutexGuard};

use crate::{clock, task};

/// Why a [`Mutex`] is not refused where nobody takes another in the wrong order; a kernel that breaks this stops.
pub const IN_ORDER: &str = "mutexes are taken in their order, so no wait for one is endless";

/// A value behind a spin lock that masks interrupts.
pub struct Lock<T>(SpinMutex<T>);

/// Access to the value; dropping it unlocks, then unmasks.
pub struct Guard<'a, T> {
    // Dropped in this order.
    value: SpinMutexGuard<'a, T>,
    _masked: Masked,
}

impl<T> Lock<T> {
    /// A lock around `value`.
    pub const fn new(value: T) -> Self {
        Self(SpinMutex::new(value))
    }

    /// Takes the lock.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        let masked = Masked::new();
        Guard { value: self.0.lock(), _masked: masked }
    }

    /// The value of a lock that nobody else has.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }

    /// The value, without the lock.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }

    /// Takes the lock where interrupts are masked already, and stay so for longer than the lock is held.
    #[inline(always)]
    pub fn lock_masked<'a>(&'a self, _masked: &'a Masked) -> SpinMutexGuard<'a, T> {
        self.0.lock()
    }

    /// Opens the lock whoever holds it.
    ///
    /// # Safety
    /// The holder will never run again.
    pub unsafe fn force_unlock(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.0.force_unlock() };
    }

    /// Takes the lock if nobody holds it.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        let masked = Masked::new();
        self.0.try_lock().map(|value| Guard { value, _masked: masked })
    }
}

/// Parks until `served` says so, or until the deadline; whether it was served.
fn wait_until(deadline: Option<u64>, served: impl Fn() -> bool) -> bool {
    loop {
        match deadline {
            None => task::park(),
            Some(deadline) => task::park_until(deadline),
        }
        if served() {
            return true;
        }
        if deadline.is_some_and(|deadline| clock::now() >= deadline) {
            return false;
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}
