//! Deferred frees whose object is in use at the moment: nobody is there to be told, so they are
//! tried again.
//!
//! That a handle is freed while a view of its object is open takes a second copy of the handle; or
//! somebody tries a stale handle of the same cell, and is taken off its core in the few steps
//! before it is refused. Neither is to lose the object. The drain comes back to what is kept here,
//! and so does whoever flushes, or is in need.

use crate::{
    handle::Key,
    platform::PinnedCore,
    sync::{AtomicUsize, Lock, Ordering},
};

/// Handles that are kept.
pub(crate) const MOST: usize = 32;

/// Handles to be tried again.
pub(crate) struct Postponed {
    keys: Lock<([u64; MOST], usize)>,
    /// How many those are.
    count: AtomicUsize,
}

impl Postponed {
    pub(crate) const fn none() -> Self {
        Self { keys: Lock::new(([0; MOST], 0)), count: AtomicUsize::new(0) }
    }

    /// Keeps a handle, if there is room. Its lock comes behind a class's.
    pub(crate) fn push(&self, pinned: &impl PinnedCore, key: Key) -> bool {
        let mut guard = self.keys.lock(pinned);
        let (keys, count) = &mut *guard;
        let Some(place) = keys.get_mut(*count) else { return false };
        *place = key.0;
        *count += 1;
        // Relaxed: written under the lock; who reads it without takes the lock before it acts.
        self.count.store(*count, Ordering::Relaxed);
        true
    }

    /// Takes the last one out.
    pub(crate) fn pop(&self, pinned: &impl PinnedCore) -> Option<Key> {
        let mut guard = self.keys.lock(pinned);
        let (keys, count) = &mut *guard;
        *count = count.checked_sub(1)?;
        // Relaxed: as in `push`.
        self.count.store(*count, Ordering::Relaxed);
        keys.get(*count).copied().map(Key)
    }

    /// How many are kept.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        // Relaxed: as in `push`.
        self.count.load(Ordering::Relaxed)
    }
}
