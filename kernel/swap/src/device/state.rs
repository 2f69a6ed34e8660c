//! What each slot holds, and which ones have long not been used.

use core::fmt;

use zsmalloc::Platform;

use super::Device;
use crate::{
    note::{self, Note},
    slot::{self, Kind, Word},
};

/// A slot at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// What it holds.
    pub kind: Kind,
    /// Bytes of its object; 0 without one.
    pub length: usize,
    /// Units of the device's clock since it was used.
    pub age: u32,
    /// It was not used since it was marked.
    pub idle: bool,
    /// The second codec was tried and brought nothing.
    pub tried: bool,
}

impl SlotState {
    fn new(word: Word, note: Note, now: u32) -> Self {
        Self {
            kind: word.kind(),
            length: word.length(),
            age: note.age(now),
            idle: note.is_idle(),
            tried: note.is_tried(),
        }
    }
}

/// Six letters, as zram's block_state has them where it has the same: `s`ame, `w`ritten back,
/// `h`uge, `i`dle, `r`ecompressed, `n`o gain.
impl fmt::Display for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [
            (self.kind == Kind::Same, 's'),
            (self.kind == Kind::Backed, 'w'),
            (self.kind == Kind::Raw, 'h'),
            (self.idle, 'i'),
            (self.kind == Kind::Recompressed, 'r'),
            (self.tried, 'n'),
        ];
        letters.iter().try_for_each(|(is, letter)| write!(f, "{}", if *is { *letter } else { '.' }))
    }
}

impl<P: Platform> Device<'_, P> {
    /// What a slot holds now; `None` if there is no such slot.
    pub fn state(&self, slot: usize) -> Option<SlotState> {
        let (word, note) = (slot::peek(self.slots.get(slot)?), note::read(self.notes.get(slot)?));
        Some(SlotState::new(word, note, self.now()))
    }

    /// Marks as idle what has an object and was not used for `age` units of the device's clock, or
    /// at all with an age of 0. How many.
    pub fn mark_idle(&self, age: u32) -> usize {
        let now = self.now();
        let mut marked = 0;
        for (slot, note) in self.slots.iter().zip(self.notes) {
            if slot::peek(slot).length() != 0 && note::read(note).age(now) >= age {
                note::mark_idle(note);
                marked += 1;
            }
        }
        marked
    }
}
