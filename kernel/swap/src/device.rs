//! A guest's swap device: pages into slots, out of slots, and slots given up.
//!
//! Locks: none. May be called from any task; not from an interrupt handler, since a write can drain rings. Interrupts are masked only for
//! counting and, by [`Device::release`], for runs of [`RUN`] slots.

use core::sync::atomic::{AtomicU64, Ordering};

use zsmalloc::{Handle, Platform, Pool, class_of};

use crate::{
    codec::{Codec, Scratch},
    error::SwapError,
    same,
    slot::{self, Content, Word},
    statistics::{Counters, Event, Statistics},
};

/// Bytes of a page.
pub const PAGE_SIZE: usize = zsmalloc::PAGE_SIZE;

/// Slots that a release empties with interrupts masked.
const RUN: usize = 64;

/// How a page was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// One 64-bit word over and over: in the slot itself.
    Same,
    /// Compressed to so many bytes.
    Compressed(usize),
    /// As it is.
    Raw,
}

/// A table of slots over a shared pool.
///
/// Dropping it releases what it holds.
pub struct Device<'p, P: Platform> {
    pool: &'p Pool<P>,
    slots: &'p [AtomicU64],
    codec: Codec,
    quota: u64,
    /// Bytes of stored objects and of those about to be, for the quota alone.
    charged: AtomicU64,
    counters: Counters,
}

impl<'p, P: Platform> Device<'p, P> {
    /// A device with all of its slots empty, whose objects may take up `quota_pages` pages' bytes of the pool and are made by `codec`.
    pub fn new(pool: &'p Pool<P>, slots: &'p mut [AtomicU64], quota_pages: usize, codec: Codec) -> Self {
        for slot in &mut *slots {
            *slot.get_mut() = 0;
        }
        let quota = (quota_pages as u64).saturating_mul(PAGE_SIZE as u64);
        Self { pool, slots, codec, quota, charged: AtomicU64::new(0), counters: Counters::new() }
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// How its pages are compressed.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Figures of the device.
    pub fn statistics(&self) -> Statistics {
        self.counters.snapshot()
    }

    /// Stores a page; what the slot held before is freed at once. The page must not change meanwhile: give a private copy of a guest's.
    ///
    /// # Errors
    /// [`SwapError::NoSuchSlot`], [`SwapError::PoolFull`], [`SwapError::QuotaReached`]; the slot keeps what it had.
    pub fn write(
        &self,
        slot: usize,
        page: &[u8; PAGE_SIZE],
        scratch: &mut Scratch,
    ) -> Result<Stored, SwapError> {
        let result = self.store(slot, page, scratch);
        if result.is_err() {
            self.count(&[(Event::FailedWrites, 1)]);
        }
        result
    }

    fn store(&self, slot: usize, page: &[u8; PAGE_SIZE], scratch: &mut Scratch) -> Result<Stored, SwapError> {
        let slot = self.slots.get(slot).ok_or(SwapError::NoSuchSlot)?;
        let (stored, word) = match same::filling(page).and_then(Word::same) {
            Some(word) => (Stored::Same, word),
            None => {
                let bytes = self.codec.compress(page, scratch).filter(|bytes| worth_it(bytes.len()));
                let bytes = bytes.unwrap_or(page);
                let handle = self.place(bytes, slot::peek(slot).length())?;
                let stored =
                    if bytes.len() == PAGE_SIZE { Stored::Raw } else { Stored::Compressed(bytes.len()) };
                (stored, Word::object(handle, bytes.len()))
            }
        };
        let old = slot::swap(slot, word);
        self.count(&[
            (Event::Writes, 1),
            (Event::Stored, u64::from(old.is_empty())),
            (Event::Same, u64::from(word.is_same()).wrapping_sub(u64::from(old.is_same()))),
            (Event::Raw, u64::from(is_raw(word)).wrapping_sub(u64::from(is_raw(old)))),
            (Event::Bytes, (word.length() as u64).wrapping_sub(old.length() as u64)),
        ]);
        self.discharge(old.length());
        if let Some(handle) = old.into_owned() {
            // The page is stored, whatever becomes of the old one.
            if self.pool.free(handle).is_err() {
                self.count(&[(Event::Lost, 1)]);
            }
        }
        Ok(stored)
    }

    /// Makes an object of the bytes, under the quota. `leaving` bytes are about to go in exchange.
    fn place(&self, bytes: &[u8], leaving: usize) -> Result<Handle, SwapError> {
        let length = bytes.len() as u64;
        // Relaxed: a number that is only compared with a limit.
        let charged = self.charged.fetch_add(length, Ordering::Relaxed).saturating_add(length);
        let placed = if charged > self.quota.saturating_add(leaving as u64) {
            Err(SwapError::QuotaReached)
        } else {
            self.pool.malloc(bytes.len()).map_err(SwapError::from)
        };
        let filled = placed.and_then(|handle| match self.pool.write(&handle, bytes) {
            Ok(()) => Ok(handle),
            Err(error) => {
                self.pool.free(handle)?;
                Err(error.into())
            }
        });
        if filled.is_err() {
            self.discharge(bytes.len());
        }
        filled
    }

    /// Reads a page; zeros if nothing was ever stored in the slot. The slot keeps it.
    ///
    /// # Errors
    /// [`SwapError::NoSuchSlot`]; [`SwapError::Busy`] if another read of this slot does not end. [`SwapError::Corrupt`] if the stored bytes are not
    /// a page: then the content of `page` is not said.
    pub fn read(
        &self,
        slot: usize,
        page: &mut [u8; PAGE_SIZE],
        scratch: &mut Scratch,
    ) -> Result<(), SwapError> {
        let result = self.load(slot, page, scratch);
        let event = if result.is_ok() { Event::Reads } else { Event::FailedReads };
        self.count(&[(event, 1)]);
        result
    }

    fn load(&self, slot: usize, page: &mut [u8; PAGE_SIZE], scratch: &mut Scratch) -> Result<(), SwapError> {
        let slot = self.slots.get(slot).ok_or(SwapError::NoSuchSlot)?;
        let word = slot::begin_read(slot)?;
        match word.content() {
            Content::Empty => page.fill(0),
            Content::Same(filling) => same::fill(page, filling),
            Content::Object(handle, length) => {
                let result = self.load_object(&handle, length, page, scratch);
                // Replaced or released meanwhile, and left to us.
                if !slot::end_read(slot, word) {
                    self.pool.free_deferred(&self.pool.platform().pin(), handle);
                }
                return result;
            }
        }
        Ok(())
    }

    fn load_object(
        &self,
        handle: &Handle,
        length: usize,
        page: &mut [u8; PAGE_SIZE],
        scratch: &mut Scratch,
    ) -> Result<(), SwapError> {
        let view = self.pool.read(handle)?;
        if length == PAGE_SIZE {
            return if view.copy_to(page) == PAGE_SIZE { Ok(()) } else { Err(SwapError::Corrupt) };
        }
        let (head, _) = view.parts();
        let decoded = match head.get(..length) {
            Some(bytes) => self.codec.decompress(bytes, page, scratch),
            // It crosses into another page of its zspage.
            None => {
                let Scratch { work, buffer } = scratch;
                let whole = buffer.get_mut(..length).ok_or(SwapError::Corrupt)?;
                if view.copy_to(whole) != length {
                    return Err(SwapError::Corrupt);
                }
                self.codec.decompress_with(whole, page, work)
            }
        };
        decoded.ok_or(SwapError::Corrupt)
    }

    /// Empties `count` slots from `first` on, their objects going through the deferred rings; how many held something.
    ///
    /// # Errors
    /// [`SwapError::NoSuchSlot`] if the range reaches beyond the table; then nothing was released.
    pub fn release(&self, first: usize, count: usize) -> Result<usize, SwapError> {
        let end = first.checked_add(count).ok_or(SwapError::NoSuchSlot)?;
        let range = self.slots.get(first..end).ok_or(SwapError::NoSuchSlot)?;
        Ok(range.chunks(RUN).map(|run| self.release_run(run)).sum())
    }

    fn release_run(&self, run: &[AtomicU64]) -> usize {
        let (mut held, mut same, mut raw, mut bytes) = (0usize, 0u64, 0u64, 0usize);
        let handles = run.iter().filter_map(|slot| {
            if slot::peek(slot).is_empty() {
                return None;
            }
            let old = slot::swap(slot, Word::EMPTY);
            held += usize::from(!old.is_empty());
            same += u64::from(old.is_same());
            raw += u64::from(is_raw(old));
            bytes += old.length();
            old.into_owned()
        });
        {
            let pinned = self.pool.platform().pin();
            self.pool.free_deferred_many(&pinned, handles);
        }
        if held != 0 {
            self.discharge(bytes);
            self.count(&[
                (Event::Released, held as u64),
                (Event::Stored, (held as u64).wrapping_neg()),
                (Event::Same, same.wrapping_neg()),
                (Event::Raw, raw.wrapping_neg()),
                (Event::Bytes, (bytes as u64).wrapping_neg()),
            ]);
        }
        held
    }

    fn discharge(&self, bytes: usize) {
        if bytes != 0 {
            // Relaxed: as in `place`.
            self.charged.fetch_sub(bytes as u64, Ordering::Relaxed);
        }
    }

    #[inline]
    fn count(&self, amounts: &[(Event, u64)]) {
        self.counters.add(self.pool.platform(), amounts);
    }
}

impl<P: Platform> Drop for Device<'_, P> {
    fn drop(&mut self) {
        for run in self.slots.chunks(RUN) {
            self.release_run(run);
        }
    }
}

fn is_raw(word: Word) -> bool {
    word.length() == PAGE_SIZE
}

/// Whether a compressed page takes less of the pool than the page as it is.
fn worth_it(length: usize) -> bool {
    length < PAGE_SIZE && class_of(length) != class_of(PAGE_SIZE)
}
