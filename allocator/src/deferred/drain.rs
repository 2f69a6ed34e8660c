//! Emptying a ring: a batch is sorted by class, each class's share is freed under one hold of its lock for every 32 handles.
//!
//! The sort needs no memory beyond a list head for each class: the words of the batch are the consumer's until it gives them back, and their top
//! 16 bits are free, so they are linked where they stand.

use crate::{
    class::{Leaving, Touched},
    config::Rung,
    deferred::{
        frames::CoreRing,
        ring::{By, Slots},
    },
    handle::{HANDLE_BITS, Key},
    platform::Platform,
    pool::Pool,
    size_class::{CLASSES, class_size},
    sync::Ordering,
};

/// Most handles that are freed under one hold of a class lock.
pub const HOLD: usize = 32;
/// Most handles that are sorted at once.
const BATCH: u64 = 4096;
/// Handles that a producer with a full ring drains.
pub(crate) const HELP: usize = 64;
const LINK_SHIFT: u32 = 48;
const _: () = assert!(HANDLE_BITS <= LINK_SHIFT && BATCH < 1 << 16);

/// List heads of the batch under way.
pub(crate) struct Scratch {
    heads: [u16; 256],
    used: [u64; 4],
}

impl Scratch {
    pub(crate) const fn new() -> Self {
        Self { heads: [0; 256], used: [0; 4] }
    }
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
                    self.free_runs(ring, head, count, &mut leaving)
                } else {
                    self.free_buckets(ring, &mut scratch, head, count, &mut leaving)
                };
                // Pages first: once nothing is pending, nothing is on its way back either.
                self.release(leaving);
                ring.finish(count, refused, by);
                report.freed += usize::try_from(count).unwrap_or(usize::MAX);
            }
        }
        report.remaining = usize::try_from(ring.pending().1).unwrap_or(usize::MAX);
        report
    }

    /// Bytes of the pending objects, unless the ring is being drained.
    pub(crate) fn pending_bytes(&self, ring: &CoreRing) -> Option<u64> {
        let _token = ring.token()?;
        let (head, pending) = ring.pending();
        let words = (head..head + pending).map(|index| ring.slots().slot(index).load(Ordering::Relaxed));
        Some(words.map(|word| class_size(usize::from(Key(word).class())) as u64).sum())
    }

    fn free_buckets(
        &self,
        ring: &CoreRing,
        scratch: &mut Scratch,
        head: u64,
        count: u64,
        leaving: &mut Leaving,
    ) -> u64 {
        // Relaxed throughout: the words below the tail are the token holder's.
        // From the last to the first, so that each list comes out in the order of the pushes.
        for place in (0..count).rev() {
            let slot = ring.slots().slot(head + place);
            let word = slot.load(Ordering::Relaxed);
            let class = usize::from(Key(word).class());
            slot.store(word | u64::from(scratch.heads[class]) << LINK_SHIFT, Ordering::Relaxed);
            #[expect(clippy::cast_possible_truncation, reason = "a batch has at most 4096 handles")]
            {
                scratch.heads[class] = place as u16 + 1;
            }
            scratch.used[class / 64] |= 1 << (class % 64);
        }
        let mut refused = 0;
        for group in 0..scratch.used.len() {
            while scratch.used[group] != 0 {
                let class = group * 64 + scratch.used[group].trailing_zeros() as usize;
                scratch.used[group] &= scratch.used[group] - 1;
                let mut next = core::mem::take(&mut scratch.heads[class]);
                let list = core::iter::from_fn(|| {
                    let place = next.checked_sub(1)?;
                    let word = ring.slots().slot(head + u64::from(place)).load(Ordering::Relaxed);
                    next = (word >> LINK_SHIFT) as u16;
                    Some(Key(word & ((1 << LINK_SHIFT) - 1)))
                });
                refused += self.free_class(class, list, leaving);
            }
        }
        refused
    }

    fn free_runs(&self, ring: &CoreRing, head: u64, count: u64, leaving: &mut Leaving) -> u64 {
        let mut keys = (head..head + count)
            .map(|index| Key(ring.slots().slot(index).load(Ordering::Relaxed)))
            .peekable();
        let mut refused = 0;
        while let Some(first) = keys.peek().map(|key| key.class()) {
            let run = core::iter::from_fn(|| keys.next_if(|key| key.class() == first));
            refused += self.free_class(usize::from(first), run, leaving);
        }
        refused
    }

    /// Frees handles of one class, at most [`HOLD`] for each hold of the lock. Returns how many were refused.
    fn free_class(&self, class: usize, keys: impl Iterator<Item = Key>, leaving: &mut Leaving) -> u64 {
        let mut keys = keys.peekable();
        let mut refused = 0;
        if class >= CLASSES {
            return keys.map(|_| 1).sum();
        }
        while keys.peek().is_some() {
            let mut touched = [Touched::NONE; HOLD];
            let mut count = 0;
            let pinned = self.store.platform.pin();
            let mut class = self.class(class).lock(&pinned);
            class.batches += 1;
            for key in keys.by_ref().take(HOLD) {
                if class.free_noted(&self.store, key, &mut touched, &mut count).is_err() {
                    refused += 1;
                }
            }
            class.settle(&self.store, &touched[..count], leaving);
        }
        refused
    }
}
