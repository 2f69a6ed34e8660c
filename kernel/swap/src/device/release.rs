//! Slots given up: the words taken out, the objects left to the deferred rings.

use core::sync::atomic::AtomicU64;

use zsmalloc::Platform;

use super::{Device, PAGE_SIZE, RUN};
use crate::{
    error::SwapError,
    slot::{self, Kind, Word},
    statistics::Event,
};

impl<P: Platform> Device<'_, P> {
    /// Empties `count` slots from `first` on, their objects going through the deferred rings; how many held something.
    ///
    /// # Errors
    /// [`SwapError::NoSuchSlot`] if the range reaches beyond the table; then nothing was released.
    pub fn release(&self, first: usize, count: usize) -> Result<usize, SwapError> {
        let end = first.checked_add(count).ok_or(SwapError::NoSuchSlot)?;
        let range = self.slots.get(first..end).ok_or(SwapError::NoSuchSlot)?;
        Ok(range.chunks(RUN).map(|run| self.release_run(run)).sum())
    }

    /// Empties every slot, and begins anew with the figures that only grow. How many slots held something.
    pub fn reset(&self) -> usize {
        let held = self.slots.chunks(RUN).map(|run| self.release_run(run)).sum();
        self.counters.forget();
        self.forget_peak();
        held
    }

    fn release_run(&self, run: &[AtomicU64]) -> usize {
        let (mut objects, mut same, mut second, mut raw, mut backed) = (0u64, 0u64, 0u64, 0u64, 0u64);
        let mut bytes = 0;
        // Sums over plain objects of what `Word::plain_object` gives: a raw page's length less one is all ones.
        let (mut plain, mut plain_fields, mut plain_second, mut plain_full) = (0u64, 0u64, 0u64, 0u64);
        let handles = run.iter().filter_map(|slot| {
            if slot::peek(slot).is_empty() {
                return None;
            }
            let old = slot::swap(slot, Word::EMPTY);
            // What nearly all are: looked at first, and with the fewest looks.
            if let Some((handle, fields)) = old.plain_object() {
                plain += 1;
                plain_fields += fields;
                plain_second += fields >> 12;
                plain_full += (fields + 1) >> 12;
                return if self.claim.leave(old) { None } else { Some(handle) };
            }
            match old.kind() {
                Kind::Empty => return None,
                Kind::Same => same += 1,
                Kind::Backed => backed += 1,
                // It is being read: the reader frees it.
                kind => {
                    objects += 1;
                    second += u64::from(kind == Kind::Recompressed);
                    raw += u64::from(kind == Kind::Raw);
                    bytes += old.length() as u64;
                }
            }
            None
        });
        {
            let pinned = self.pool.platform().pin();
            self.pool.free_deferred_many(&pinned, handles);
        }
        objects += plain;
        second += plain_second;
        raw += plain_full - plain_second;
        bytes += plain_fields + plain - plain_second * PAGE_SIZE as u64;
        let held = objects + same + backed;
        if held != 0 {
            self.discharge(bytes);
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

impl<P: Platform> Drop for Device<'_, P> {
    fn drop(&mut self) {
        for run in self.slots.chunks(RUN) {
            self.release_run(run);
        }
    }
}
