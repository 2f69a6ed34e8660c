//! Work on a stored page behind the guest's back: recompression, and writeback to the backing
//! device.
//!
//! The worker copies the object's bytes out, works on the copy, and in the end puts a new word in
//! the slot's place if the slot still holds the old one. That the words are equal must mean that
//! the page is: so the old object is not freed, and its handle not used again, until the worker has
//! looked. For this the worker leaves a claim on the object. Whoever takes a claimed word out of a
//! slot takes the claim away and leaves the object; the worker finds its claim gone, and frees.
//!
//! One worker for each device. The claim is made while the worker's read of the object is still
//! marked in the slot; so whoever swaps the word out later reads what the worker released, and sees
//! the claim.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::slot::{self, Word};

/// The claim of a device's worker, and who that is.
pub(crate) struct Claim {
    word: AtomicU64,
    working: AtomicBool,
}

impl Claim {
    pub(crate) const fn new() -> Self {
        Self { word: AtomicU64::new(0), working: AtomicBool::new(false) }
    }

    /// Makes the caller the device's worker, unless there is one.
    pub(crate) fn work(&self) -> Option<Worker<'_>> {
        // Acquire: pairs with the release at the end of the work before.
        let taken = self.working.swap(true, Ordering::Acquire);
        (!taken).then_some(Worker(self))
    }

    /// Whether the object of a word whose read the caller has marked in its slot is claimed: it is
    /// not claimed anew meanwhile.
    pub(crate) fn is_on(&self, word: Word) -> bool {
        // Relaxed: the claim came before the end of the claimer's read, with which the mark of ours
        // pairs.
        self.word.load(Ordering::Relaxed) == word.raw()
    }

    /// Whether the object of a word that the caller took out of a slot is left to the worker.
    #[inline]
    pub(crate) fn leave(&self, word: Word) -> bool {
        // Relaxed: the claim came before the word that was taken out, by the acquire of the swap.
        self.word.load(Ordering::Relaxed) == word.raw() && self.leave_slowly(word)
    }

    #[cold]
    fn leave_slowly(&self, word: Word) -> bool {
        // Release: what was done with the object comes before its free by the worker.
        !word.is_empty()
            && self
                .word
                .compare_exchange(word.raw(), 0, Ordering::Release, Ordering::Relaxed)
                .is_ok()
    }
}

/// The right to work on a device's pages.
pub(crate) struct Worker<'c>(&'c Claim);

impl Worker<'_> {
    /// Claims the object of a word whose read is marked in its slot.
    pub(crate) fn claim(&self, word: Word) {
        // Relaxed: published by the release of `slot::end_read`.
        self.0.word.store(word.raw(), Ordering::Relaxed);
    }

    /// Puts `new` in the place of the claimed word; what became of the old object.
    pub(crate) fn replace(&self, slot: &AtomicU64, old: Word, new: Word) -> Outcome {
        let replaced = slot::replace(slot, old, new);
        match (replaced, self.give_up()) {
            (true, _) => Outcome::Replaced,
            (false, true) => Outcome::Left,
            (false, false) => Outcome::Kept,
        }
    }

    /// Ends the claim; whether the object was left to the caller.
    pub(crate) fn give_up(&self) -> bool {
        // Acquire: pairs with the release in `Claim::leave`.
        self.0.word.swap(0, Ordering::Acquire) == 0
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        self.0.working.store(false, Ordering::Release);
    }
}

/// How work on a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The new word is in the slot; the old object is the caller's.
    Replaced,
    /// The slot holds something else by now; the old object is the caller's.
    Left,
    /// The slot is being read, or what it held went its own way: the old object is not the
    /// caller's.
    Kept,
}
