//! A page written over the object of its own slot, where there is no room for another one; and the
//! part of the pool that others leave to a device.

use core::sync::atomic::Ordering;

use zsmalloc::Platform;

use super::{Device, PAGE_SIZE, Stored, stored_as};
use crate::{
    codec::Scratch,
    error::SwapError,
    slot::{self, Content, Word},
    statistics::Event,
};

impl<P: Platform> Device<'_, P> {
    /// Stores a page for which no object may be made, in the place of what the slot holds.
    #[cold]
    #[inline(never)]
    pub(super) fn store_without_room(
        &self,
        index: usize,
        page: &[u8; PAGE_SIZE],
        scratch: &mut Scratch,
    ) -> Result<Stored, SwapError> {
        let slot = self.slots.get(index).ok_or(SwapError::NoSuchSlot)?;
        if slot::peek(slot).length() == 0 {
            return Err(SwapError::PoolFull);
        }
        self.write_over(index, self.packed(page, scratch), SwapError::PoolFull)
    }

    /// Writes the bytes over the slot's object, if that is no smaller: what a slot holds already
    /// can be replaced by as little however full the pool is. Else it is refused as before.
    ///
    /// The slot is marked as being read meanwhile, so that nobody reads half of either page, and
    /// whoever replaces or releases it leaves the object to us.
    #[cold]
    #[inline(never)]
    pub(super) fn write_over(
        &self,
        index: usize,
        bytes: &[u8],
        refused: SwapError,
    ) -> Result<Stored, SwapError> {
        if refused != SwapError::PoolFull {
            return Err(refused);
        }
        let slot = self.slots.get(index).ok_or(SwapError::NoSuchSlot)?;
        let old = slot::begin_read(slot)?;
        let Content::Object(object) = old.content() else { return Err(refused) };
        // Whoever works on the page behind the guest's back would take a word that has not changed
        // for a page that has not: it is waited for, as another reader is.
        let written = if self.claim.is_on(old) {
            Err(SwapError::Busy)
        } else if bytes.len() > object.length {
            Err(refused)
        } else {
            self.pool.write(&object.handle, bytes).map_err(SwapError::from)
        };
        if let Err(error) = written {
            if !slot::end_read(slot, old) && !self.claim.leave(old) {
                self.free_soon(object.handle);
            }
            return Err(error);
        }
        let new = Word::object(object.handle, bytes.len(), false);
        // Before the word, which may be the same as before: no reader is there to see it.
        self.keep_check(index, self.check_of(new, bytes));
        self.charged.fetch_add(new.length() as u64, Ordering::Relaxed);
        if slot::end_write(slot, old, new) {
            self.account(old, new, [(Event::Writes, 1), (Event::WrittenOver, 1)]);
            if let Some(note) = self.notes.get(index) {
                crate::note::written(note, self.now());
            }
        } else {
            // Somebody has replaced or released the page since: it was there for a moment.
            self.discharge(new.length() as u64);
            self.account(Word::EMPTY, Word::EMPTY, [(Event::Writes, 1), (Event::WrittenOver, 1)]);
            if let Some(handle) = new.into_owned() {
                self.free_soon(handle);
            }
        }
        Ok(stored_as(bytes))
    }

    /// Whether one more page's object is within the reserve.
    #[cold]
    pub(super) fn is_within_reserve(&self) -> bool {
        let filled = self.charged.load(Ordering::Relaxed).saturating_add(PAGE_SIZE as u64);
        filled <= self.reserve.load(Ordering::Relaxed)
    }

    /// Tells the platform how much of the reserve is left to fill.
    #[cold]
    pub(super) fn settle_reserve(&self) {
        let unfilled = || {
            let reserve = self.reserve.load(Ordering::Relaxed);
            reserve.saturating_sub(self.charged.load(Ordering::Relaxed))
        };
        loop {
            let now = unfilled();
            // The differences add up, whatever the order in which several callers come here; the
            // last one of them sees what is charged in the end.
            let before = self.kept.swap(now, Ordering::SeqCst);
            (self.setup.keep)((now as i64).wrapping_sub(before as i64));
            if unfilled() == now {
                return;
            }
        }
    }
}
