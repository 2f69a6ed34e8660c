//! What a cache needs of its device: slots whose page is elsewhere, and the choice of which go
//! there.

use core::sync::atomic::Ordering;

use zsmalloc::Platform;

use super::Device;
use crate::{
    claim::{Outcome, Worker},
    error::SwapError,
    note,
    slot::{self, Word},
};

impl<P: Platform> Device<'_, P> {
    /// The page of this slot is on the backing device from now on.
    pub(crate) fn put_backed(&self, index: usize) {
        let Some(slot) = self.slots.get(index) else { return };
        let old = slot::swap(slot, Word::BACKED);
        self.account(old, Word::BACKED, []);
        self.free_old(old);
    }

    /// Makes the caller the device's worker.
    pub(crate) fn work(&self) -> Result<Worker<'_>, SwapError> {
        self.claim.work().ok_or(SwapError::Busy)
    }

    /// Whether the slot has an object that was not used since it was marked; marks it otherwise.
    pub(crate) fn is_cold(&self, index: usize) -> bool {
        let (Some(slot), Some(note)) = (self.slots.get(index), self.notes.get(index)) else {
            return false;
        };
        if slot::peek(slot).length() == 0 {
            return false;
        }
        let cold = note::read(note).is_idle();
        if !cold {
            note::mark_idle(note);
        }
        cold
    }

    /// Whether the slot still has this word, read or not.
    pub(crate) fn holds(&self, index: usize, word: Word) -> bool {
        self.slots.get(index).is_some_and(|slot| slot::peek(slot).is(word))
    }

    /// Puts `new` in the place of a claimed word, and keeps the books.
    pub(crate) fn exchange(
        &self,
        index: usize,
        worker: &Worker<'_>,
        old: Word,
        new: Word,
    ) -> Outcome {
        let Some(slot) = self.slots.get(index) else { return Outcome::Kept };
        let outcome = worker.replace(slot, old, new);
        if outcome == Outcome::Replaced {
            self.account(old, new, []);
        }
        outcome
    }

    /// Bytes of objects.
    pub(crate) fn charged(&self) -> u64 {
        self.charged.load(Ordering::Relaxed)
    }

    /// What they may become.
    pub(crate) fn quota_bytes(&self) -> u64 {
        self.quota.load(Ordering::Relaxed)
    }
}
