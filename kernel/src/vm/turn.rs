//! Work at a device that one virtual CPU does at a time, while others leave a mark for it and go on.

use core::sync::atomic::{AtomicBool, Ordering};

/// What the work is done with, and the mark.
pub(super) struct Turn<T> {
    work: spin::Mutex<T>,
    /// Somebody notified the device, and nobody has looked yet.
    notified: AtomicBool,
}

impl<T> Turn<T> {
    pub(super) const fn new(work: T) -> Self {
        Self { work: spin::Mutex::new(work), notified: AtomicBool::new(false) }
    }

    /// Waits for whoever is at work, and takes the place.
    pub(super) fn lock(&self) -> spin::MutexGuard<'_, T> {
        self.work.lock()
    }

    /// Nobody has notified the device.
    pub(super) fn forget(&self) {
        self.notified.store(false, Ordering::Relaxed);
    }

    /// Does the work, or leaves it to whoever is at it.
    pub(super) fn serve(&self, mut work: impl FnMut(&mut T)) {
        // SeqCst, here and below: the mark is set before the lock is tried, and looked for after it was given up.
        self.notified.store(true, Ordering::SeqCst);
        // Somebody may leave a mark between the last look and the end of the lock.
        while self.notified.load(Ordering::SeqCst) {
            let Some(mut place) = self.work.try_lock() else { return };
            while self.notified.swap(false, Ordering::SeqCst) {
                work(&mut place);
            }
        }
    }
}
