//! Slots given up: the words taken out, the objects left to the deferred rings.

use core::sync::atomic::AtomicU64;

use zsmalloc::Platform;

use super::{Device, RUN, is_raw};
use crate::{
    error::SwapError,
    slot::{self, Word},
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
        let (mut held, mut same, mut raw, mut second, mut backed) = (0usize, 0u64, 0u64, 0u64, 0u64);
        let mut bytes = 0;
        let handles = run.iter().filter_map(|slot| {
            if slot::peek(slot).is_empty() {
                return None;
            }
            let old = slot::swap(slot, Word::EMPTY);
            held += usize::from(!old.is_empty());
            same += u64::from(old.is_same());
            raw += u64::from(is_raw(old));
            second += u64::from(old.is_second());
            backed += u64::from(old.is_backed());
            bytes += old.length();
            if self.claim.leave(old) { None } else { old.into_owned() }
        });
        {
            let pinned = self.pool.platform().pin();
            self.pool.free_deferred_many(&pinned, handles);
        }
        if held != 0 {
            self.discharge(bytes);
            self.count([
                (Event::Released, held as u64),
                (Event::Stored, (held as u64).wrapping_neg()),
                (Event::Same, same.wrapping_neg()),
                (Event::Raw, raw.wrapping_neg()),
                (Event::Second, second.wrapping_neg()),
                (Event::Backed, backed.wrapping_neg()),
                (Event::Bytes, (bytes as u64).wrapping_neg()),
            ]);
        }
        held
    }
}

impl<P: Platform> Drop for Device<'_, P> {
    fn drop(&mut self) {
        for run in self.slots.chunks(RUN) {
            self.release_run(run);
        }
    }
}
