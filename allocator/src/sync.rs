//! The only file that names atomics: a model checker takes their place under the cfg `zs_loom`.

#![allow(clippy::disallowed_types, reason = "this is the file that may name them")]

#[cfg(not(zs_loom))]
pub(crate) use core::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(zs_loom)]
pub(crate) use loom::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

/// Tells the core that it waits for another one.
#[inline]
pub(crate) fn relax() {
    #[cfg(not(zs_loom))]
    core::hint::spin_loop();
    #[cfg(zs_loom)]
    loom::thread::yield_now();
}

/// Clears a bit of a word, and says what the word was before. Acquire if the bit was set.
#[inline]
pub(crate) fn take_bit(word: &AtomicU32, bit: u32) -> u32 {
    #[cfg(not(zs_loom))]
    return word.fetch_and(!bit, Ordering::Acquire);
    // Where the bit is clear the operation above writes what it read. The model checker may order
    // such a write behind a store that sets the bit, which the memory model forbids; so here it is
    // left out.
    #[cfg(zs_loom)]
    {
        let mut seen = word.load(Ordering::Relaxed);
        while seen & bit != 0 {
            match word.compare_exchange(seen, seen & !bit, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break,
                Err(other) => seen = other,
            }
        }
        seen
    }
}

/// A pair of cache lines of its own: what is written often, kept apart from what is read always.
/// Cores fetch lines in pairs.
#[repr(C, align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

#[cfg(not(zs_loom))]
use crate::platform::PinnedCore;

/// A spin lock that is only waited for with interrupts masked. It is not fair on purpose: behind a
/// first-in-first-out lock the slow cores of an unlike cluster hold up the fast ones.
#[cfg(not(zs_loom))]
pub(crate) struct Lock<T>(spin::mutex::SpinMutex<T>);
/// The model checker's lock in place of the spin lock.
#[cfg(zs_loom)]
pub(crate) struct Lock<T>(loom::sync::Mutex<T>);

/// Access to what a [`Lock`] guards.
#[cfg(not(zs_loom))]
pub(crate) type Guard<'a, T> = spin::mutex::SpinMutexGuard<'a, T>;
#[cfg(zs_loom)]
pub(crate) type Guard<'a, T> = loom::sync::MutexGuard<'a, T>;

/// Access to what a [`Lock`] guards, together with the pinned core: first the lock goes, then the
/// pin.
#[cfg(not(zs_loom))]
pub(crate) struct Held<'a, T, Q> {
    guard: Guard<'a, T>,
    _pinned: Q,
}

#[cfg(not(zs_loom))]
impl<T, Q> core::ops::Deref for Held<'_, T, Q> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

#[cfg(not(zs_loom))]
impl<T, Q> core::ops::DerefMut for Held<'_, T, Q> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T> Lock<T> {
    #[cfg(not(zs_loom))]
    pub(crate) const fn new(value: T) -> Self {
        Self(spin::mutex::SpinMutex::new(value))
    }

    #[cfg(zs_loom)]
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    /// Waits for the lock. The borrow of the pinned core keeps interrupts masked for as long as the
    /// guard lives.
    #[cfg(not(zs_loom))]
    #[inline]
    pub(crate) fn lock<'a>(&'a self, _pinned: &'a impl PinnedCore) -> Guard<'a, T> {
        self.0.lock()
    }

    /// Waits for the lock, and keeps the core pinned for as long as it is held.
    #[cfg(not(zs_loom))]
    #[inline]
    pub(crate) fn hold<Q: PinnedCore>(&self, pinned: Q) -> Held<'_, T, Q> {
        Held { guard: self.0.lock(), _pinned: pinned }
    }

    /// Takes the lock if it is free. Needs no masking, since nobody waits for a lock that is only
    /// tried.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        #[cfg(not(zs_loom))]
        return self.0.try_lock();
        #[cfg(zs_loom)]
        return self.0.try_lock().ok();
    }

    #[cfg(not(zs_loom))]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

/// The tag of a pool, which no other pool has as long as this value lives.
#[cfg(not(zs_loom))]
pub(crate) struct Tag(core::num::NonZeroU8);

/// A bit for each tag that is taken.
#[cfg(not(zs_loom))]
static TAGS: AtomicU64 = AtomicU64::new(0);

#[cfg(not(zs_loom))]
impl Tag {
    /// Takes a tag of 1 to `most`, which is less than 64; `None` if all are taken. They are given
    /// out in turn, so that handles of a closed pool stay foreign for long.
    pub(crate) fn claim(most: u8) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        (0..most).find_map(|_| {
            // Relaxed, twice: only the numbers matter.
            let turn = NEXT.fetch_add(1, Ordering::Relaxed) % u32::from(most);
            let tag = core::num::NonZeroU8::MIN.saturating_add(u8::try_from(turn).ok()?);
            // Only made where it was free: a value gives its tag back when it is dropped.
            (TAGS.fetch_or(1 << tag.get(), Ordering::Relaxed) & 1 << tag.get() == 0)
                .then(|| Self(tag))
        })
    }

    pub(crate) const fn get(&self) -> core::num::NonZeroU8 {
        self.0
    }
}

#[cfg(not(zs_loom))]
impl Drop for Tag {
    fn drop(&mut self) {
        // Relaxed: only the number matters.
        TAGS.fetch_and(!(1 << self.0.get()), Ordering::Relaxed);
    }
}
