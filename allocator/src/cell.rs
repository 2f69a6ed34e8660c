//! One word and one byte for each object: where it lies, whether somebody uses it, and which use of
//! the cell it is.
//!
//! The top bit of the word says that the object is open to be used: clearing it gives the object to
//! the one that did. A reader keeps the bit clear while its view lives, a move keeps it clear until
//! the move is done, and a free keeps it clear for good. So no operation on an object takes a lock
//! that another object could want, a handle that was duplicated can never reach freed memory, and
//! readers never meet the class lock. The word of a free cell is closed and holds the next free
//! cell of its class; a cell that was never handed out is zero, which is closed too. Both are less
//! than any location.
//!
//! A view may stay open for ever, so it is waited for with patience only. A move ends: who makes it
//! is not interrupted and waits for nobody. So its word says that it is one, and it is waited for
//! however long it takes: a free that gave up would lose its object.

use core::hint::spin_loop;

use crate::handle::CELL_BITS;
use crate::sync::{AtomicU8, AtomicU32, Ordering, relax, take_bit};
#[cfg(not(zs_loom))]
use crate::zspage::{HUGE, NO_ZSPAGE, parts};

/// Set while there is an object that nobody uses.
pub(crate) const OPEN: u32 = 1 << 31;

/// Locations are not less than this, words of free cells are.
#[cfg(not(zs_loom))]
pub(crate) const LEAST_LOCATION: u32 = 1 << CELL_BITS;
/// The models have few places, and no cell that is free and yet has the generation of a handle.
#[cfg(zs_loom)]
const LEAST_LOCATION: u32 = 0;

/// The word of an object that is being moved. As a location it would lie on no zspage.
const MOVING: u32 = (1 << 30) - 1;
#[cfg(not(zs_loom))]
const _: () = assert!(parts(MOVING).0 == NO_ZSPAGE && MOVING & (OPEN | HUGE) == 0);

/// How often a reader looks whether another view was closed.
#[cfg(not(zs_loom))]
pub(crate) const PATIENCE: u32 = 1 << 20;
/// How often a free does, which keeps interrupts masked and others from its class.
#[cfg(not(zs_loom))]
pub(crate) const LITTLE_PATIENCE: u32 = 32;
#[cfg(zs_loom)]
pub(crate) const PATIENCE: u32 = 2;

/// Why a cell was not locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The generation is another one, or there is no object.
    Stale,
    /// Somebody else uses the object.
    Busy,
}

/// A cell of the handle table.
#[derive(Clone, Copy)]
pub(crate) struct Cell<'a> {
    pub(crate) word: &'a AtomicU32,
    pub(crate) generation: &'a AtomicU8,
}

/// Ends a use or a move of the object behind `word`; `location` is where it lies now.
#[inline]
pub(crate) fn reopen(word: &AtomicU32, location: u32) {
    // Release: pairs with the acquire in `Cell::lock_at_once` and `begin_move`.
    word.store(location | OPEN, Ordering::Release);
}

/// Takes the object behind `word` to move it, if the word still is the open one that was seen.
/// Whoever does is not to be interrupted until it is reopened, nor to wait for anybody.
#[inline]
pub(crate) fn begin_move(word: &AtomicU32, seen: u32) -> bool {
    // Acquire: pairs with the releases in `reopen`; behind it lie the object's bytes. Relaxed on
    // failure: nothing was taken.
    word.compare_exchange(seen, MOVING, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

impl Cell<'_> {
    /// Takes the object for its user and gives its location, if nobody uses it and the generation
    /// is right.
    #[inline]
    pub(crate) fn lock_at_once(self, generation: u8) -> Option<u32> {
        // Acquire: pairs with the releases in `reopen`; behind it lie the object's bytes, its
        // location and its generation.
        let word = take_bit(self.word, OPEN);
        if word & OPEN == 0 {
            return None;
        }
        // Relaxed: written before the release that the lock was acquired from.
        if self.generation.load(Ordering::Relaxed) != generation {
            self.unlock(word);
            return None;
        }
        Some(word & !OPEN)
    }

    /// Takes the object for its user, waiting for a move to end, or `patience` looks long
    /// for a view to be closed, and gives its location.
    // Inlined: a call would have every free that comes near it save more registers.
    #[inline(always)]
    pub(crate) fn lock(self, generation: u8, mut patience: u32) -> Result<u32, Refused> {
        while patience != 0 {
            if let Some(location) = self.lock_at_once(generation) {
                return Ok(location);
            }
            // Relaxed, twice: a wrong answer is only a matter of time here, since a free changes
            // the generation before anybody can reuse the cell; and who was given a handle sees the
            // word of its object or a later one. A free cell may have the generation of a handle
            // that was made up.
            let word = self.word.load(Ordering::Relaxed);
            if self.generation.load(Ordering::Relaxed) != generation || word < LEAST_LOCATION {
                return Err(Refused::Stale);
            }
            if word == MOVING {
                relax();
            } else {
                // A model is not to let the other one run here for as long as it likes.
                patience -= 1;
                spin_loop();
            }
        }
        Err(Refused::Busy)
    }

    /// Ends a use; `location` is where the object lies now.
    #[inline]
    pub(crate) fn unlock(self, location: u32) {
        reopen(self.word, location);
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
        // Relaxed, twice: the word stays closed, so nobody acts on either before `publish` releases
        // both.
        self.generation.store(generation.wrapping_add(1), Ordering::Relaxed);
        self.word.store(next, Ordering::Relaxed);
    }

    /// The next free cell after this free one. The caller holds the class lock.
    #[inline]
    pub(crate) fn next_free(self) -> u32 {
        // Relaxed: written under the class lock; the bit may have been cleared once more by who
        // holds a stale handle, which changes nothing.
        self.word.load(Ordering::Relaxed) & !OPEN
    }
}
