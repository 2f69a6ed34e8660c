//! One word and one byte for each object: where it lies, whether somebody uses it, and which use of the cell it is.
//!
//! The top bit of the word is a lock for this object alone. A reader holds it for as long as its view lives, compaction while it moves
//! the object, a free for good. So no operation on an object takes a lock that another object could want, a handle that was
//! duplicated can never reach freed memory, and readers never meet the class lock. A free cell stays locked and holds
//! the next free cell of its class.

use crate::sync::{AtomicU8, AtomicU32, Ordering, relax};

/// Set while the cell is free or its object in use.
pub(crate) const LOCKED: u32 = 1 << 31;

/// How long a reader waits for a moving object: far more than a copy of 4096 bytes takes.
#[cfg(not(zs_loom))]
const PATIENCE: u32 = 1 << 20;
#[cfg(zs_loom)]
const PATIENCE: u32 = 2;

/// Why a cell was not locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The generation is another one.
    Stale,
    /// Somebody else keeps it locked.
    Busy,
}

/// A cell of the handle table.
#[derive(Clone, Copy)]
pub(crate) struct Cell<'a> {
    pub(crate) word: &'a AtomicU32,
    pub(crate) generation: &'a AtomicU8,
}

impl<'a> Cell<'a> {
    /// Locks the object for its user and gives its location.
    #[inline]
    pub(crate) fn lock(self, generation: u8) -> Result<u32, Refused> {
        // Acquire: pairs with the releases in `unlock` and `publish`; behind it lie the object's bytes, its location and its generation.
        let word = self.word.fetch_or(LOCKED, Ordering::Acquire);
        if word & LOCKED != 0 {
            return self.lock_contended(generation);
        }
        // Relaxed: written before the release that the lock was acquired from.
        if self.generation.load(Ordering::Relaxed) != generation {
            self.unlock(word);
            return Err(Refused::Stale);
        }
        Ok(word)
    }

    #[cold]
    fn lock_contended(self, generation: u8) -> Result<u32, Refused> {
        for _ in 0..PATIENCE {
            // Relaxed: a wrong answer is only a matter of time here, since a free changes the generation before anybody can reuse the cell.
            if self.generation.load(Ordering::Relaxed) != generation {
                return Err(Refused::Stale);
            }
            if let Ok(word) = self.try_lock()
                && let Ok(word) = self.confirm(word, generation)
            {
                return Ok(word);
            }
            relax();
        }
        Err(Refused::Busy)
    }

    fn confirm(self, word: u32, generation: u8) -> Result<u32, Refused> {
        // Relaxed: as in `lock`.
        if self.generation.load(Ordering::Relaxed) == generation {
            return Ok(word);
        }
        self.unlock(word);
        Err(Refused::Stale)
    }

    /// Locks the object if nobody uses it, whatever its generation: compaction's way.
    #[inline]
    pub(crate) fn try_lock(self) -> Result<u32, Refused> {
        // Acquire: pairs with the releases in `unlock` and `publish`.
        let word = self.word.fetch_or(LOCKED, Ordering::Acquire);
        if word & LOCKED == 0 { Ok(word) } else { Err(Refused::Busy) }
    }

    /// Ends a use; `location` is where the object lies now.
    #[inline]
    pub(crate) fn unlock(self, location: u32) {
        // Release: pairs with the acquire in `lock` and `try_lock`.
        self.word.store(location, Ordering::Release);
    }

    /// Makes a free cell an object's. The caller holds the class lock.
    #[inline]
    pub(crate) fn publish(self, location: u32) -> u8 {
        // Relaxed: generations are written under the class lock only.
        let generation = self.generation.load(Ordering::Relaxed);
        self.unlock(location);
        generation
    }

    /// Makes a locked cell free, with a link to the next free one. The caller holds the class lock.
    #[inline]
    pub(crate) fn retire(self, generation: u8, next: u32) {
        // Relaxed, twice: the word stays locked, so nobody acts on either before `publish` releases both.
        self.generation.store(generation.wrapping_add(1), Ordering::Relaxed);
        self.word.store(LOCKED | next, Ordering::Relaxed);
    }

    /// The next free cell after this free one. The caller holds the class lock.
    #[inline]
    pub(crate) fn next_free(self) -> u32 {
        // Relaxed: written under the class lock.
        self.word.load(Ordering::Relaxed) & !LOCKED
    }
}
