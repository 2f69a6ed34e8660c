//! Slots given up: the words taken out, the objects left to the deferred rings.

use core::sync::atomic::AtomicU64;

use zsmalloc::{Handle, PinnedCore, PinnedInSteps, Platform};

use super::{Device, RUN, STRIDE};
use crate::{
    claim::Claim,
    error::SwapError,
    slot::{self, Kind, Word},
    statistics::Event,
};

impl<P: Platform> Device<'_, P> {
    /// Empties `count` slots from `first` on, their objects going through the deferred rings; how
    /// many held something.
    ///
    /// # Errors
    /// [`SwapError::NoSuchSlot`] if the range reaches beyond the table; then nothing was released.
    pub fn release(&self, first: usize, count: usize) -> Result<usize, SwapError> {
        let end = first.checked_add(count).ok_or(SwapError::NoSuchSlot)?;
        let range = self.slots.get(first..end).ok_or(SwapError::NoSuchSlot)?;
        Ok(range.chunks(RUN).map(|run| self.release_run(run)).sum())
    }

    /// Empties every slot, and begins anew with the figures that only grow. How many slots held
    /// something.
    pub fn reset(&self) -> usize {
        let held = self.slots.chunks(RUN).map(|run| self.release_run(run)).sum();
        self.counters.forget();
        self.forget_peak();
        held
    }

    /// Frees an object through the ring of this core; at once if the ring is full and nobody
    /// empties it.
    pub(super) fn free_soon(&self, handle: Handle) {
        let platform = self.pool.platform();
        let pinned = platform.pin();
        if self.has_room(pinned.core()) {
            return self.pool.free_deferred(&pinned, handle);
        }
        drop(pinned);
        self.free(handle);
    }

    /// Whether the ring of a core takes a run and leaves the rest to those who cannot wait for a
    /// drain, which are interrupt handlers. With less room the pool itself drains, and does so in
    /// the midst of a run, with interrupts masked: its ring has one producer, who cannot leave
    /// meanwhile.
    #[inline]
    fn has_room(&self, core: usize) -> bool {
        let pending = self.pool.pending(core);
        // A ring that is shorter than that is filled all the same once it is empty.
        pending == 0 || pending + 2 * RUN <= self.pool.config().ring_capacity
    }

    fn release_run(&self, run: &[AtomicU64]) -> usize {
        let mut sums = Sums::default();
        let mut parts = run.chunks(STRIDE);
        let platform = self.pool.platform();
        'pinned: loop {
            // The outer guard has the stretch measured, which `pin` alone is too short for
            // elsewhere.
            let measured = platform.pin_in_steps();
            let pinned = platform.pin();
            let core = pinned.core();
            if self.has_room(core) {
                while let Some(part) = parts.next() {
                    let handles = part.iter().filter_map(|slot| sums.take_out(slot, &self.claim));
                    self.pool.free_deferred_many(&pinned, handles);
                    if parts.len() != 0 && measured.interrupt_waits() {
                        continue 'pinned;
                    }
                }
                break;
            }
            drop(pinned);
            drop(measured);
            if self.pool.drain(core, RUN).freed == 0 {
                // Somebody else empties the ring, perhaps a task that this one keeps from its core.
                let slots = parts.flatten();
                slots
                    .filter_map(|slot| sums.take_out(slot, &self.claim))
                    .for_each(|handle| self.free(handle));
                break;
            }
        }
        self.count_released(&sums)
    }

    /// Counts what a run held; how many slots that were.
    fn count_released(&self, sums: &Sums) -> usize {
        let Sums { same, backed, .. } = *sums;
        let objects = sums.objects + sums.plain;
        let second = sums.second;
        let raw = sums.raw + sums.plain_full;
        let bytes = sums.bytes + sums.plain_fields + sums.plain;
        let held = objects + same + backed;
        if held != 0 {
            self.discharge(bytes);
            self.settle_if_reserved();
            self.counters.edit(self.pool.platform(), |pen| {
                pen.add_slots(Kind::Compressed, (second + raw).wrapping_sub(objects));
                // Few runs have any of these.
                if same != 0 {
                    pen.add_slots(Kind::Same, same.wrapping_neg());
                }
                if second + raw + backed != 0 {
                    pen.add_slots(Kind::Recompressed, second.wrapping_neg());
                    pen.add_slots(Kind::Raw, raw.wrapping_neg());
                    pen.add_slots(Kind::Backed, backed.wrapping_neg());
                }
                pen.add(Event::Bytes, bytes.wrapping_neg());
                pen.add(Event::Released, held);
            });
        }
        usize::try_from(held).unwrap_or(RUN)
    }
}

/// What a run held.
#[derive(Default)]
struct Sums {
    objects: u64,
    same: u64,
    second: u64,
    raw: u64,
    backed: u64,
    bytes: u64,
    /// Plain objects, the sum of what `Word::plain_object` gives of their lengths, and how many of
    /// them are whole pages.
    plain: u64,
    plain_fields: u64,
    plain_full: u64,
}

impl Sums {
    /// Empties a slot; its object, if it is the caller's to free.
    #[inline(always)]
    fn take_out(&mut self, slot: &AtomicU64, claim: &Claim) -> Option<Handle> {
        if slot::peek(slot).is_empty() {
            return None;
        }
        let old = slot::swap(slot, Word::EMPTY);
        // What nearly all are: looked at first, and with the fewest looks.
        if let Some((handle, fields)) = old.plain_object() {
            self.plain += 1;
            self.plain_fields += fields;
            self.plain_full += (fields + 1) >> 12;
            return if claim.leave(old) { None } else { Some(handle) };
        }
        match old.kind() {
            Kind::Empty => return None,
            Kind::Same => self.same += 1,
            Kind::Backed => self.backed += 1,
            kind => {
                self.objects += 1;
                self.second += u64::from(kind == Kind::Recompressed);
                self.raw += u64::from(kind == Kind::Raw);
                self.bytes += old.length() as u64;
                // One that is being read is freed by its reader.
                return if claim.leave(old) { None } else { old.into_owned() };
            }
        }
        None
    }
}

impl<P: Platform> Drop for Device<'_, P> {
    fn drop(&mut self) {
        for run in self.slots.chunks(RUN) {
            self.release_run(run);
        }
        self.give_up_reserve();
    }
}
