//! A spin lock that masks interrupts, for what lies below tasks as well.
//!
//! An interrupt handler may take any of these locks, so a holder on the same core must not be
//! interrupted; and a holder that is not interrupted is not preempted, so nobody spins for longer
//! than a short critical section.

use core::ops::{Deref, DerefMut};

use bale_arch::mask::Masked;
use spin::mutex::{SpinMutex, SpinMutexGuard};

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

    /// Takes the lock where interrupts are masked already, and stay so for longer than the lock is
    /// held.
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
