//! Which pages of a machine are resident, and which one is on its way out: the part of paging that
//! needs no hardware.
//!
//! A machine that is held to less memory than it has keeps the other pages in a store with one slot
//! for each page. Every page of its memory is in exactly one of three states:
//!
//! - *mapped*: stage 2 leads to its frame;
//! - *leaving*: stage 2 does not, and its frame is kept here while somebody stores a copy. One page
//!   at a time;
//! - *stored*: its slot has it, and it has no frame.
//!
//! Mapping a page again "cannot" fail, since its table was there before, but nothing here relies on
//! that: where it does fail, a page that was leaving goes on leaving, and one that came back stays
//! stored. Who touched it tries again. A guest may wait for such a page; it never reads another
//! one's bytes.
//!
//! The caller locks all this. It drops what TLBs hold of a block that `changed` names before it
//! goes on, and of a page before it gives up the lock; and it publishes the tables after
//! [`Residency::touch`], [`Residency::arrive`], [`Residency::turn`] and [`Residency::settle`].

use core::cell::Cell;
use core::ops::Range;

use crate::stage2::{Access, PAGE, Stage2, TableMemory};

/// Pages that [`Residency::turn`] passes at most.
pub const SCAN: usize = 8;
/// Bytes that one entry of the last level but one covers.
const BLOCK: u64 = 512 * PAGE;

/// Figures of a machine that is held to a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pages that may be resident.
    pub limit: u64,
    /// Pages that are mapped.
    pub resident: u64,
    /// Pages stored so far.
    pub paged_out: u64,
    /// Pages that came back.
    pub paged_in: u64,
    /// Pages that the store refused.
    pub refused: u64,
}

/// Where a touched page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is mapped, and marked as used.
    Mapped,
    /// It is no memory that can be paged out.
    Foreign,
    /// It is on its way out, and could not be mapped again now.
    Stuck,
    /// In this slot of the store.
    Stored(usize),
}

/// What a turn of the clock hand found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// No more is resident than may be.
    Within,
    /// Pages that were used since the last pass, or one that came back.
    Used,
    /// Nothing can go now: there is no memory for the tables of what is mapped as blocks, once
    /// round, or for that of the page that is leaving.
    Blocked,
    /// A page that was not used is leaving: its slot, and its frame's address.
    Leaving(usize, u64),
}

/// What became of a page that was leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is stored; the frame at this address is the caller's.
    Stored(u64),
    /// The store refused it: it is mapped again, or goes on leaving where that failed.
    Refused,
    /// Somebody touched it meanwhile: what is in its slot counts no more.
    Touched,
}

/// Where the clock hand is.
#[derive(Debug, Default)]
pub struct ClockHand {
    page: usize,
    /// Pages passed one after the other that lie in blocks for whose tables there is no memory.
    unsplit: usize,
}

#[derive(Debug)]
struct Held {
    counts: Counts,
    /// Slots of the store, one for each page.
    slots: usize,
    /// A page on its way out: its address in the guest, and its frame's.
    leaving: Option<(u64, u64)>,
}

/// The translation tables of a machine, and what of its memory is paged out.
#[derive(Debug)]
pub struct Residency<M: TableMemory> {
    stage2: Stage2<M>,
    held: Option<Held>,
}

impl<M: TableMemory> Residency<M> {
    /// A machine that is held to nothing.
    pub const fn new(stage2: Stage2<M>) -> Self {
        Self { stage2, held: None }
    }

    /// The translation tables.
    pub const fn stage2(&self) -> &Stage2<M> {
        &self.stage2
    }

    /// The translation tables, to map what a machine begins with.
    pub const fn stage2_mut(&mut self) -> &mut Stage2<M> {
        &mut self.stage2
    }

    /// Whether it was ever held to a limit.
    pub const fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Holds the machine to `limit` resident pages from now on. The first time all of its `slots`
    /// pages are resident; limit and store come into view together.
    pub fn hold(&mut self, limit: u64, slots: usize) {
        let all = Counts { resident: slots as u64, ..Counts::default() };
        let held = self.held.get_or_insert(Held { counts: all, slots, leaving: None });
        held.counts.limit = limit;
    }

    /// Figures, if it was ever held.
    pub fn counts(&self) -> Option<Counts> {
        self.held.as_ref().map(|held| held.counts)
    }

    /// Whether more is resident than may be.
    pub fn is_over(&self) -> bool {
        self.counts().is_some_and(|counts| counts.resident > counts.limit)
    }

    /// Marks the page of an address as used if it has a frame, also one that is leaving, which is
    /// mapped again. `ram` is all that can be paged out; `ipa` the start of a page.
    pub fn touch(&mut self, ipa: u64, ram: &Range<u64>) -> Place {
        if self.stage2.mark_used(ipa) {
            return Place::Mapped;
        }
        let (Some(held), true) = (&self.held, ram.contains(&ipa)) else { return Place::Foreign };
        match held.leaving {
            Some((leaving, _)) if leaving == ipa => {
                if self.keep() {
                    Place::Mapped
                } else {
                    Place::Stuck
                }
            }
            _ => Place::Stored(slot_of(ipa, ram)),
        }
    }

    /// Maps the page that is leaving again; false if that failed, and it goes on leaving.
    fn keep(&mut self) -> bool {
        let Some((ipa, address)) = self.held.as_ref().and_then(|held| held.leaving) else {
            return true;
        };
        let mapped = self.map(ipa, address);
        if let (Some(held), true) = (&mut self.held, mapped) {
            held.leaving = None;
        }
        mapped
    }

    fn map(&mut self, ipa: u64, address: u64) -> bool {
        let mapped = self.stage2.map(ipa, address, PAGE, Access::Ram).is_ok();
        if let (Some(held), true) = (&mut self.held, mapped) {
            held.counts.resident += 1;
        }
        mapped
    }

    /// Maps a page that was stored, whose bytes are in the frame at `address`. If this is false,
    /// the frame is the caller's still and the page stays stored; otherwise the caller empties the
    /// slot before it gives up the lock.
    #[must_use = "a page that could not be mapped is still in its slot, and nowhere else"]
    pub fn arrive(&mut self, ipa: u64, address: u64) -> bool {
        let mapped = self.map(ipa, address);
        if let (Some(held), true) = (&mut self.held, mapped) {
            held.counts.paged_in += 1;
        }
        mapped
    }

    /// Moves the clock hand over [`SCAN`] pages at most: a page that was used since the last pass
    /// loses its access flag, one that was not is unmapped and leaves. With `starved`, however few
    /// are resident. `changed` is called as by [`Stage2::unmap`].
    pub fn turn(
        &mut self,
        hand: &mut ClockHand,
        ram: &Range<u64>,
        starved: bool,
        changed: &mut dyn FnMut(u64, u64),
    ) -> Turn {
        let Some(Held { counts, slots, leaving }) = &self.held else { return Turn::Within };
        let (counts, slots) = (*counts, *slots);
        if leaving.is_some() {
            // The store refused it, and it could not be mapped then.
            return if self.keep() { Turn::Used } else { Turn::Blocked };
        }
        if counts.resident <= counts.limit && !starved || slots == 0 {
            return Turn::Within;
        }
        let split = Cell::new(false);
        let mut changed = |ipa: u64, length: u64| {
            split.set(split.get() || length != PAGE);
            changed(ipa, length);
        };
        let mut found = None;
        for _ in 0..SCAN {
            // A split writes a whole table: enough for one turn with the lock held.
            if split.get() {
                break;
            }
            let slot = hand.page % slots;
            hand.page = (slot + 1) % slots;
            let ipa = ram.start + slot as u64 * PAGE;
            let Ok(aged) = self.stage2.age(ipa, &mut changed) else {
                // The block stays whole, and is passed as a whole.
                let rest = usize::try_from((BLOCK - ipa % BLOCK) / PAGE).unwrap_or(slots);
                hand.page = (slot + rest) % slots;
                hand.unsplit += rest;
                if hand.unsplit < slots {
                    continue;
                }
                hand.unsplit = 0;
                return Turn::Blocked;
            };
            hand.unsplit = 0;
            if aged == Some(false)
                && let Some((address, Access::Ram)) = self.stage2.translate(ipa)
                && self.stage2.unmap(ipa, PAGE, &mut changed).is_ok()
            {
                found = Some((slot, ipa, address));
                break;
            }
        }
        let (Some((slot, ipa, address)), Some(held)) = (found, &mut self.held) else {
            return Turn::Used;
        };
        held.leaving = Some((ipa, address));
        held.counts.resident -= 1;
        Turn::Leaving(slot, address)
    }

    /// The copy of the page that is leaving is stored, or was refused.
    pub fn settle(&mut self, stored: bool) -> Settled {
        let Some(held) = &mut self.held else { return Settled::Touched };
        match (held.leaving, stored) {
            (None, _) => Settled::Touched,
            (Some((_, address)), true) => {
                held.leaving = None;
                held.counts.paged_out += 1;
                Settled::Stored(address)
            }
            (Some(_), false) => {
                held.counts.refused += 1;
                self.keep();
                Settled::Refused
            }
        }
    }

    /// The machine is at its end: the tables, whose frames are the caller's, and the frame of a
    /// page that could not be mapped again.
    pub fn into_tables(self) -> (Stage2<M>, Option<u64>) {
        let left = self.held.and_then(|held| held.leaving).map(|(_, address)| address);
        (self.stage2, left)
    }
}

fn slot_of(ipa: u64, ram: &Range<u64>) -> usize {
    usize::try_from((ipa - ram.start) / PAGE).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
