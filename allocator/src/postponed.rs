//! Deferred frees whose object is in use at the moment: nobody is there to be told, so they are tried again.
//!
//! That a handle is freed while a view of its object is open takes a second copy of the handle; or somebody tries a
//! stale handle of the same cell, and is taken off its core in the few steps before it is refused. Neither is to lose
//! the object. The drain comes back to what is kept here, and so does whoever flushes, or is in need.

use crate::{
    error::Error,
    handle::Key,
    platform::{PinnedCore, Platform},
    pool::Pool,
    sync::{AtomicUsize, Lock, Ordering},
};

/// Handles that are kept.
const MOST: usize = 32;

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
    fn pop(&self, pinned: &impl PinnedCore) -> Option<Key> {
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

impl<P: Platform> Pool<P> {
    /// Frees what had to be postponed, as far as it is not in use any more; how many handles that were.
    #[inline]
    pub(crate) fn retry_postponed(&self) -> usize {
        match self.store.postponed.count() {
            0 => 0,
            count => self.retry(count),
        }
    }

    #[cold]
    #[inline(never)]
    fn retry(&self, count: usize) -> usize {
        let (mut freed, mut kept) = (0, ([0; MOST], 0));
        for _ in 0..count {
            let Some(key) = self.store.postponed.pop(&self.store.platform.pin()) else { break };
            match self.free_key(key) {
                Ok(()) => freed += 1,
                Err(Error::Busy) if kept.1 < MOST => {
                    kept.0[kept.1] = key.0;
                    kept.1 += 1;
                }
                Err(_) => self.count_refused(),
            }
        }
        for &key in &kept.0[..kept.1] {
            self.postpone_or_refuse(Key(key));
        }
        freed
    }

    /// Keeps a handle whose object is in use for later. Where too many are kept already, it counts as refused.
    pub(crate) fn postpone_or_refuse(&self, key: Key) {
        if !self.store.postponed.push(&self.store.platform.pin(), key) {
            self.count_refused();
        }
    }
}
