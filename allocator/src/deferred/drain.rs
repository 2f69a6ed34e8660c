//! Emptying a ring: a batch is sorted by class, each class's share is freed under one hold of its
//! lock for up to 32 handles, fewer where their frees do more.
//!
//! The sort needs no memory beyond a list head for each class: the words of the batch are the
//! consumer's until it gives them back, and their top 16 bits are free, so they are linked where
//! they stand.

use crate::{
    class::{Class, Leaving, Notes},
    config::Rung,
    deferred::{
        frames::{CoreRing, MOST_CAPACITY, WORDS},
        ring::{By, Slots},
    },
    handle::{HANDLE_BITS, Key},
    platform::{PinnedInSteps, Platform},
    pool::Pool,
    size_class::class_size,
    sync::{Ordering, fence},
};

/// Most handles that are freed under one hold of a class lock.
pub const HOLD: usize = MOST_HELD as usize;
const MOST_HELD: u32 = 32;
/// Handles that are freed between two looks for an interrupt.
pub(crate) const STRIDE: u32 = 16;
/// Most handles that are sorted at once.
const BATCH: u64 = 4096;
/// Handles that a producer with a full ring drains.
pub(crate) const HELP: usize = 64;
/// Times that the bytes of a ring are added up before it counts as one that does not stand still.
const LOOKS: usize = 4;
const LINK_SHIFT: u32 = 48;
const _: () = assert!(HANDLE_BITS <= LINK_SHIFT && BATCH < 1 << 16 && MOST_CAPACITY <= 1 << 16);

/// The batch under way, by class. All bytes zero are none.
pub(crate) struct Scratch {
    /// Place of a class's first handle in the ring (16 bits), and above it how many there are.
    lists: [u32; 256],
    used: [u64; 4],
    notes: Notes,
}

/// What a step of a drain did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Handles taken out of the ring, freed or refused.
    pub freed: usize,
    /// Handles still in the ring. Not less than the watermark: the drain is to go on.
    pub remaining: usize,
}

impl<P: Platform> Pool<P> {
    /// Empties up to `budget` handles out of a ring if nobody else is at it.
    pub(crate) fn drain_ring(&self, ring: &CoreRing, budget: usize, by: By) -> DrainReport {
        let mut report = DrainReport::default();
        if let Some(mut scratch) = ring.token() {
            while report.freed < budget {
                let (head, pending) = ring.pending();
                let count = pending.min((budget - report.freed) as u64).min(BATCH);
                if count == 0 {
                    break;
                }
                let mut leaving = Leaving::none();
                let refused = if self.config.rung == Rung::DeferredRuns {
                    self.free_runs(ring, &mut scratch, head, count, &mut leaving)
                } else {
                    self.free_buckets(ring, &mut scratch, head, count, &mut leaving)
                };
                let refused = refused - core::mem::take(&mut scratch.notes.postponed);
                // Pages first: once nothing is pending, nothing is on its way back either.
                self.release(leaving);
                ring.finish(count, refused, by);
                report.freed += usize::try_from(count).unwrap_or(usize::MAX);
            }
        }
        report.remaining = usize::try_from(ring.pending().1).unwrap_or(usize::MAX);
        report
    }

    /// Bytes of the pending objects, unless something was taken out each time that they were added
    /// up. Takes no token: who only looks must not keep a drain from the ring. A drain that sorts
    /// the words leaves their classes as they are.
    pub(crate) fn pending_bytes(&self, ring: &CoreRing) -> Option<u64> {
        (0..LOOKS).find_map(|_| {
            let (head, pending) = ring.pending();
            // Relaxed: published by the tail; what has been overwritten meanwhile is not used.
            let words = (head..head + pending)
                .map(|index| ring.slots().slot(index).load(Ordering::Relaxed));
            let sum = words.map(|word| class_size(usize::from(Key(word).class())) as u64).sum();
            // Acquire: orders the words before the second look at the head; the other side is the
            // acquire of the head in `push_slow`, behind which words are overwritten.
            fence(Ordering::Acquire);
            (ring.pending().0 == head).then_some(sum)
        })
    }

    /// Sorts a batch by class, linking the words where they stand, and frees class by class.
    fn free_buckets(
        &self,
        ring: &CoreRing,
        scratch: &mut Scratch,
        head: u64,
        count: u64,
        leaving: &mut Leaving,
    ) -> u64 {
        // From the last to the first, so that each list comes out in the order of the pushes.
        let mut end = head + count;
        while end > head {
            let first = head.max((end - 1) & !(WORDS as u64 - 1));
            let run = ring.slots().run(first, end);
            // A run ends where the places' 16 bits do, at the latest.
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a place has 16 bits, a run fewer words"
            )]
            let mut one_at = (1 << 16) + u32::from(first as u16) + run.len() as u32;
            for slot in run.iter().rev() {
                one_at -= 1;
                // Relaxed throughout: the words below the tail are the token holder's.
                let word = slot.load(Ordering::Relaxed);
                let class = Key(word).class();
                let list = scratch.lists[usize::from(class)];
                if list == 0 {
                    scratch.used[usize::from(class) / 64] |= 1 << (class % 64);
                }
                slot.store(
                    word & ((1 << LINK_SHIFT) - 1) | u64::from(list) << LINK_SHIFT,
                    Ordering::Relaxed,
                );
                scratch.lists[usize::from(class)] = (list & !0xffff) + one_at;
            }
            end = first;
        }
        let mut refused = 0;
        for group in 0..scratch.used.len() {
            let mut used = core::mem::take(&mut scratch.used[group]);
            while used != 0 {
                #[expect(clippy::cast_possible_truncation, reason = "less than 256")]
                let class = (group * 64) as u8 + used.trailing_zeros() as u8;
                used &= used - 1;
                let list = core::mem::take(&mut scratch.lists[usize::from(class)]);
                let mut word = u64::from(list) << LINK_SHIFT;
                let next = || {
                    // Relaxed: as above.
                    word = ring.slots().slot(word >> LINK_SHIFT).load(Ordering::Relaxed);
                    Key(word)
                };
                refused += self.free_class(class, list >> 16, next, &mut scratch.notes, leaving);
            }
        }
        refused
    }

    fn free_runs(
        &self,
        ring: &CoreRing,
        scratch: &mut Scratch,
        head: u64,
        count: u64,
        leaving: &mut Leaving,
    ) -> u64 {
        // Relaxed: the words below the tail are the token holder's.
        let word = |place| Key(ring.slots().slot(place).load(Ordering::Relaxed));
        let (mut place, end) = (head, head + count);
        let mut refused = 0;
        while place < end {
            let class = word(place).class();
            let mut length = 0;
            while place + u64::from(length) < end
                && word(place + u64::from(length)).class() == class
            {
                length += 1;
            }
            let next = || {
                place += 1;
                word(place - 1)
            };
            refused += self.free_class(class, length, next, &mut scratch.notes, leaving);
        }
        refused
    }

    /// Frees `left` handles of one class, at most [`HOLD`] for each hold of the lock, fewer if an
    /// interrupt waits, and makes the fullness updates that they owe. Returns how many were
    /// refused.
    #[inline(always)]
    fn free_class(
        &self,
        class: u8,
        mut left: u32,
        mut next: impl FnMut() -> Key,
        notes: &mut Notes,
        leaving: &mut Leaving,
    ) -> u64 {
        let mut refused = 0;
        while left != 0 {
            self.hold(class, |class, pinned| {
                let mut failed = 0;
                let mut free_some = |most| {
                    let (freed, refused) =
                        class.free_some(&self.store, most, STRIDE, &mut next, notes, leaving);
                    failed += refused;
                    freed
                };
                let mut freed = free_some(left);
                if freed != left && !pinned.interrupt_waits() {
                    freed += free_some(left - freed);
                }
                left -= freed;
                class.objects -= freed - failed;
                refused += u64::from(failed);
                class.end_hold(&self.store, left == 0, notes, leaving);
            });
            if notes.are_many() {
                self.settle_many(class, notes, leaving);
            }
        }
        refused
    }

    /// Makes the fullness updates that are owed where there are so many that one hold would keep
    /// interrupts out for long.
    #[cold]
    #[inline(never)]
    fn settle_many(&self, class: u8, notes: &mut Notes, leaving: &mut Leaving) {
        while notes.are_owed() {
            self.hold(class, |class, _| class.settle_some(&self.store, notes, leaving));
        }
    }

    /// Takes the lock of a class for a batch.
    #[inline(always)]
    fn hold(&self, class: u8, f: impl FnOnce(&mut Class, &P::PinnedInSteps<'_>)) {
        let pinned = self.store.platform.pin_in_steps();
        let mut class = self.class(class).lock(&pinned);
        class.batches += 1;
        f(&mut class, &pinned);
    }
}
