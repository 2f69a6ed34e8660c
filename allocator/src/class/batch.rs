//! Frees of a batch: a zspage whose list is to change is noted and put right once, at the end.

use crate::{
    cell::Cell,
    class::{Class, Leaving, free::free_quietly},
    deferred::drain::{HOLD, STRIDE},
    error::Error,
    handle::Key,
    platform::Platform,
    store::Store,
    zspage::{HUGE, TOUCHED, parts},
};

/// Frees that count as one when a hold of the lock is measured out: those that note a zspage take
/// two to three times as long as the others.
const NOTING: u32 = 3;
/// Most fullness updates that are made at the end of a hold in which objects were freed.
const ALONG: usize = 6;
/// Most fullness updates under a hold of their own, which they get if there are more.
const ALONE: usize = 8;
/// Most zspages that are noted before they are put right.
const MOST: usize = ALONG + HOLD / STRIDE as usize * STRIDE.div_ceil(NOTING) as usize;

/// Zspages for which a batch owes a fullness update. They stay on the lists where they were, and
/// may be used from there by others if the lock is dropped meanwhile. All bytes zero are none.
pub(crate) struct Notes {
    units: [u32; MOST],
    count: usize,
    /// Handles that are kept for later, since their objects are in use.
    pub(crate) postponed: u64,
}

impl Notes {
    #[inline]
    pub(crate) fn are_owed(&self) -> bool {
        self.count != 0
    }

    /// Whether more is owed than the end of a hold is there for.
    #[inline]
    pub(crate) fn are_many(&self) -> bool {
        self.count > ALONG
    }
}

/// What became of a handle of a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Freed,
    /// Freed, and a zspage was noted, which took as long as [`NOTING`] frees.
    Noted,
    /// Whatever was wrong with it, nobody waits to be told. Or it is kept for later.
    Refused,
}

impl Class {
    /// Frees up to `most` objects of a batch, fewer where their frees take longer than `effort`
    /// ordinary ones. What they leave to be done is noted. Returns how many handles were used up,
    /// and how many of those were refused.
    #[inline(always)]
    pub(crate) fn free_some<P: Platform>(
        &mut self,
        store: &Store<P>,
        most: u32,
        mut effort: u32,
        mut next: impl FnMut() -> Key,
        notes: &mut Notes,
        leaving: &mut Leaving,
    ) -> (u32, u32) {
        let (mut freed, mut refused) = (0, 0);
        let mut end = most.min(effort);
        // Kept at hand, and put back before anybody else asks for it.
        let mut free_cell = self.free_cell;
        while freed < end {
            freed += 1;
            let key = next();
            let outcome = match store.cell_of(key) {
                None => Outcome::Refused,
                Some(cell) => match free_quietly(store, key, cell, &mut free_cell) {
                    Ok(()) => Outcome::Freed,
                    Err(locked) => {
                        self.free_cell = free_cell;
                        let outcome = self.free_and_note(store, key, cell, locked, notes, leaving);
                        free_cell = self.free_cell;
                        outcome
                    }
                },
            };
            match outcome {
                Outcome::Freed => {}
                Outcome::Noted => {
                    effort -= NOTING - 1;
                    end = end.min(effort);
                }
                Outcome::Refused => refused += 1,
            }
        }
        self.free_cell = free_cell;
        (freed, refused)
    }

    #[inline(never)]
    fn free_and_note<P: Platform>(
        &mut self,
        store: &Store<P>,
        key: Key,
        cell: Cell<'_>,
        locked: Option<u32>,
        notes: &mut Notes,
        leaving: &mut Leaving,
    ) -> Outcome {
        let at = match self.detach(store, key, cell, locked) {
            Ok(at) => at,
            Err(error) => {
                let keeps =
                    error == Error::Busy && store.postponed.push(&store.platform.pin(), key);
                notes.postponed += u64::from(keeps);
                return Outcome::Refused;
            }
        };
        if at & HUGE != 0 {
            self.put_huge(store, at, leaving);
            return Outcome::Freed;
        }
        let (unit, object) = parts(at);
        let descriptor = store.descriptor_at(at);
        let state = self.put_slot(descriptor, object);
        if state.has(TOUCHED) {
            descriptor.set_state(state.armed());
            return Outcome::Freed;
        }
        if let Some(note) = notes.units.get_mut(notes.count) {
            *note = unit;
            notes.count += 1;
            descriptor.set_state(state.flagged(TOUCHED, true).armed());
        } else {
            debug_assert!(false, "more zspages noted than fit in a hold");
            self.settle(store, unit, descriptor, state, leaving);
        }
        Outcome::Noted
    }

    /// Ends a hold of the lock in which objects were freed; with the last one of this class, if no
    /// hold of their own is due to them, the fullness updates are made.
    #[inline]
    pub(crate) fn end_hold<P: Platform>(
        &mut self,
        store: &Store<P>,
        last: bool,
        notes: &mut Notes,
        leaving: &mut Leaving,
    ) {
        if last && !notes.are_many() {
            self.settle_some(store, notes, leaving);
        }
    }

    /// Makes fullness updates that are owed, as many as go into one hold of the lock.
    #[inline]
    pub(crate) fn settle_some<P: Platform>(
        &mut self,
        store: &Store<P>,
        notes: &mut Notes,
        leaving: &mut Leaving,
    ) {
        let left = notes.count.saturating_sub(ALONE);
        for &unit in notes.units.iter().take(notes.count).skip(left) {
            let descriptor = store.descriptor(unit);
            let state = descriptor.state().flagged(TOUCHED, false);
            self.settle(store, unit, descriptor, state, leaving);
        }
        notes.count = left;
    }
}
