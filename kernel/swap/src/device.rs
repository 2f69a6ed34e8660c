//! A guest's swap device: pages into slots, out of slots, and slots given up.
//!
//! Locks: none. May be called from any task; not from an interrupt handler, since a write can drain
//! rings. Interrupts are masked only for counting and, by [`Device::release`], for runs of [`RUN`]
//! slots.

mod backed;
mod over;
mod recompress;
mod release;
mod state;

pub use recompress::{Pick, Recompression, Workshop};
pub use state::SlotState;

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use zsmalloc::{Handle, ObjectView, Platform, Pool};

use crate::{
    check::{self, Verdict},
    claim::Claim,
    codec::{Codec, Scratch},
    error::SwapError,
    note, same,
    slot::{self, Content, Object, Word},
    statistics::{Counters, Event, Statistics},
};

pub use crate::page::PAGE_SIZE;

/// Slots that a release empties and counts together.
const RUN: usize = 64;
/// Slots that it empties between two looks whether an interrupt waits: some 1,400 instructions.
const STRIDE: usize = 32;

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

/// The memory of a device's slots: as many slots as the shorter one of `slots` and `notes` has.
pub struct Tables<'p> {
    /// A word for each slot.
    pub slots: &'p mut [AtomicU64],
    /// What is remembered of each slot: when it was used.
    pub notes: &'p mut [AtomicU32],
    /// A checksum for each slot; empty for a device without checksums.
    pub checks: &'p mut [AtomicU64],
}

/// For whom a platform has memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// For everybody.
    All,
    /// For objects within the reserve of their device.
    Reserves,
    /// For nobody.
    Nobody,
}

/// What a device is to be.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Pages' bytes of the pool that its objects may take up.
    pub quota_pages: usize,
    /// Pages' bytes of the pool that others leave to its objects, as long as the platform sees to
    /// that by `has_room` and `keep`.
    pub reserve_pages: usize,
    /// What makes objects of pages.
    pub codec: Codec,
    /// What [`Device::recompress`] makes of them later.
    pub second: Option<Codec>,
    /// The device's clock ticks once in 2 to the power of this ticks of the platform's.
    pub clock_shift: u32,
    /// Whether a page is all zeros: for a platform that has a quicker test than portable code.
    pub is_zero: fn(&[u8; PAGE_SIZE]) -> bool,
    /// Whether a page may be made an object: for a platform that keeps memory back. One that may
    /// not is written over the slot's own object if that is no smaller, or else refused with
    /// [`SwapError::PoolFull`]; recompression, which makes room, does not ask.
    pub has_room: fn() -> Room,
    /// Told when the part of the reserve that objects do not fill has changed by so many bytes.
    pub keep: fn(change: i64),
}

impl Setup {
    /// A device without limit, without a second codec, whose clock is the platform's.
    pub const fn new(codec: Codec) -> Self {
        let (second, clock_shift) = (None, 0);
        Self {
            quota_pages: usize::MAX,
            reserve_pages: 0,
            codec,
            second,
            clock_shift,
            is_zero: same::is_zero,
            has_room: || Room::All,
            keep: |_| (),
        }
    }
}

/// A table of slots over a shared pool.
///
/// Dropping it releases what it holds.
pub struct Device<'p, P: Platform> {
    pool: &'p Pool<P>,
    slots: &'p [AtomicU64],
    notes: &'p [AtomicU32],
    checks: &'p [AtomicU64],
    setup: Setup,
    /// Bytes; changed while the device is used.
    quota: AtomicU64,
    /// Bytes of stored objects and of those about to be, for the quota alone.
    charged: AtomicU64,
    /// Bytes that others leave to its objects; 0 once it was given up.
    reserve: AtomicU64,
    /// What of that is not filled, as the platform was told.
    kept: AtomicU64,
    /// The most that was ever charged, or since it was forgotten.
    peak: AtomicU64,
    /// The smallest object that takes as much as a page: see [`Pool::huge_threshold`].
    whole_from: usize,
    claim: Claim,
    counters: Counters,
}

impl<'p, P: Platform> Device<'p, P> {
    /// A device with all of its slots empty.
    pub fn new(pool: &'p Pool<P>, tables: Tables<'p>, setup: Setup) -> Self {
        let Tables { slots, notes, checks } = tables;
        let count = slots.len().min(notes.len());
        let (slots, notes) = (&mut slots[..count], &mut notes[..count]);
        slots.iter_mut().for_each(|slot| *slot.get_mut() = 0);
        notes.iter_mut().for_each(|note| *note.get_mut() = 0);
        let device = Self {
            pool,
            slots,
            notes,
            checks: checks.get(..count).unwrap_or_default(),
            setup,
            quota: AtomicU64::new(bytes_of(setup.quota_pages)),
            reserve: AtomicU64::new(bytes_of(setup.reserve_pages)),
            kept: AtomicU64::new(0),
            charged: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            whole_from: pool.huge_threshold(),
            claim: Claim::new(),
            counters: Counters::new(),
        };
        device.settle_reserve();
        device
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// What it was made to be; the quota may have changed since.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Whether its objects have checksums.
    pub fn is_checked(&self) -> bool {
        !self.checks.is_empty()
    }

    /// Pages' bytes that its objects may take up from now on. What is there already stays.
    pub fn set_quota(&self, pages: usize) {
        // Relaxed, here and for all of the quota's words: numbers that are only compared.
        self.quota.store(bytes_of(pages), Ordering::Relaxed);
    }

    /// Has no reserve from now on.
    pub fn give_up_reserve(&self) {
        self.reserve.store(0, Ordering::Relaxed);
        self.settle_reserve();
    }

    /// Figures of the device.
    pub fn statistics(&self) -> Statistics {
        let mut statistics = self.counters.snapshot();
        statistics.quota_bytes = self.quota.load(Ordering::Relaxed);
        statistics.reserve_bytes = self.reserve.load(Ordering::Relaxed);
        statistics.peak_bytes = self.peak.load(Ordering::Relaxed);
        statistics
    }

    /// Begins anew with the peak of used bytes.
    pub fn forget_peak(&self) {
        self.peak.store(self.charged.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Stores a page; what the slot held before is freed at once. The page must not change
    /// meanwhile: give a private copy of a guest's.
    ///
    /// # Errors
    /// [`SwapError::NoSuchSlot`], [`SwapError::PoolFull`], [`SwapError::QuotaReached`];
    /// [`SwapError::Busy`] where the page would have to be written over what the slot holds, and
    /// somebody reads or works on that. The slot keeps what it had.
    pub fn write(
        &self,
        slot: usize,
        page: &[u8; PAGE_SIZE],
        scratch: &mut Scratch,
    ) -> Result<Stored, SwapError> {
        let result = self.store(slot, page, scratch);
        if result.is_err() {
            self.count(Event::FailedWrites);
        }
        result
    }

    pub(crate) fn store(
        &self,
        index: usize,
        page: &[u8; PAGE_SIZE],
        scratch: &mut Scratch,
    ) -> Result<Stored, SwapError> {
        let slot = self.slots.get(index).ok_or(SwapError::NoSuchSlot)?;
        let (stored, word, check) =
            match same::filling(page, self.setup.is_zero).and_then(Word::same) {
                Some(word) => (Stored::Same, word, 0),
                None if !self.may_grow() => return self.store_without_room(index, page, scratch),
                None => {
                    let bytes = self.packed(page, scratch);
                    let handle = match self.place(bytes, slot::peek(slot).length()) {
                        Ok(handle) => handle,
                        Err(refused) => return self.write_over(index, bytes, refused),
                    };
                    let word = Word::object(handle, bytes.len(), false);
                    (stored_as(bytes), word, self.check_of(word, bytes))
                }
            };
        let old = slot::swap(slot, word);
        self.keep_check(index, check);
        if let Some(note) = self.notes.get(index) {
            note::written(note, self.now());
        }
        let raw = u64::from(stored == Stored::Raw);
        self.account(old, word, [(Event::Writes, 1), (Event::RawEver, raw)]);
        self.free_old(old);
        Ok(stored)
    }

    /// What is stored of a page: its compressed form, or itself.
    #[inline(always)]
    fn packed<'b>(&self, page: &'b [u8; PAGE_SIZE], scratch: &'b mut Scratch) -> &'b [u8] {
        let bytes = self.setup.codec.compress(page, scratch);
        bytes.filter(|bytes| self.is_worth_it(bytes.len())).unwrap_or(page)
    }

    /// Frees the object of a word that was taken out, at once, if it is the caller's to free.
    fn free_old(&self, old: Word) {
        if !self.claim.leave(old)
            && let Some(handle) = old.into_owned()
        {
            self.free(handle);
        }
    }

    pub(crate) fn free(&self, handle: Handle) {
        // The operation has succeeded, whatever becomes of the old object.
        if self.pool.free(handle).is_err() {
            self.count(Event::Lost);
        }
    }

    /// One word in a slot instead of another, and what else there is to count.
    #[inline(always)]
    fn account<const N: usize>(&self, old: Word, new: Word, events: [(Event, u64); N]) {
        let (old_length, new_length) = (old.length() as u64, new.length() as u64);
        self.counters.edit(self.pool.platform(), |pen| {
            events.into_iter().for_each(|(event, amount)| pen.add(event, amount));
            pen.add_slots(old.kind(), 1u64.wrapping_neg());
            pen.add_slots(new.kind(), 1);
            pen.add(Event::Bytes, new_length.wrapping_sub(old_length));
        });
        self.discharge(old_length);
        self.settle_if_reserved();
    }

    /// Makes an object of the bytes, under the quota. `leaving` bytes are about to go in exchange.
    #[inline(always)]
    fn place(&self, bytes: &[u8], leaving: usize) -> Result<Handle, SwapError> {
        let length = bytes.len() as u64;
        let charged = self.charged.fetch_add(length, Ordering::Relaxed).saturating_add(length);
        let settled = charged.saturating_sub(leaving as u64);
        let placed = if settled > self.quota.load(Ordering::Relaxed) {
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
            self.discharge(length);
            self.settle_if_reserved();
            return filled;
        }
        if settled > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(settled, Ordering::Relaxed);
        }
        filled
    }

    /// Whether the platform lets an object be made.
    #[inline(always)]
    fn may_grow(&self) -> bool {
        match (self.setup.has_room)() {
            Room::All => true,
            Room::Reserves => self.is_within_reserve(),
            Room::Nobody => false,
        }
    }

    /// Reads a page; zeros if nothing was ever stored in the slot. The slot keeps it.
    ///
    /// # Errors
    /// [`SwapError::NoSuchSlot`]; [`SwapError::Busy`] if another read of this slot does not end;
    /// [`SwapError::Backed`] if the page is on the backing device. [`SwapError::Corrupt`] if the
    /// stored bytes are not a page or not those that were stored: then the content of `page` is not
    /// said, and the slot keeps the object for whoever wants to look.
    pub fn read(
        &self,
        slot: usize,
        page: &mut [u8; PAGE_SIZE],
        scratch: &mut Scratch,
    ) -> Result<(), SwapError> {
        let result = self.load(slot, page, scratch);
        let event = match result {
            Ok(()) => Event::Reads,
            Err(SwapError::Backed) => return result,
            Err(SwapError::Corrupt) => {
                self.count(Event::Corrupt);
                Event::FailedReads
            }
            Err(_) => Event::FailedReads,
        };
        self.count(event);
        result
    }

    fn load(
        &self,
        index: usize,
        page: &mut [u8; PAGE_SIZE],
        scratch: &mut Scratch,
    ) -> Result<(), SwapError> {
        let slot = self.slots.get(index).ok_or(SwapError::NoSuchSlot)?;
        let word = slot::begin_read(slot)?;
        if let Some(note) = self.notes.get(index) {
            note::used(note, self.now());
        }
        match word.content() {
            Content::Empty => page.fill(0),
            Content::Same(filling) => same::fill(page, filling),
            Content::Backed => return Err(SwapError::Backed),
            Content::Object(object) => {
                let result = self.load_object(index, word, &object, page, scratch);
                // Replaced or released meanwhile, and left to us.
                if !slot::end_read(slot, word) && !self.claim.leave(word) {
                    self.free_soon(object.handle);
                }
                return result;
            }
        }
        Ok(())
    }

    fn load_object(
        &self,
        index: usize,
        word: Word,
        object: &Object,
        page: &mut [u8; PAGE_SIZE],
        scratch: &mut Scratch,
    ) -> Result<(), SwapError> {
        let view = self.pool.read(&object.handle)?;
        if object.length == PAGE_SIZE {
            copy_whole(&view, page)?;
            return self.verify(index, word, page);
        }
        let codec = self.codec_of(object.second)?;
        let (head, _) = view.parts();
        let decoded = match head.get(..object.length) {
            Some(bytes) => {
                self.verify(index, word, bytes)?;
                codec.decompress(bytes, page, scratch)
            }
            // It crosses into another page of its zspage.
            None => {
                let Scratch { work, buffer } = scratch;
                let whole = buffer.get_mut(..object.length).ok_or(SwapError::Corrupt)?;
                copy_whole(&view, whole)?;
                self.verify(index, word, whole)?;
                codec.decompress_with(whole, page, work)
            }
        };
        decoded.ok_or(SwapError::Corrupt)
    }

    fn codec_of(&self, second: bool) -> Result<Codec, SwapError> {
        if second { self.setup.second.ok_or(SwapError::Corrupt) } else { Ok(self.setup.codec) }
    }

    /// The check to be kept with an object; 0 without checks.
    #[inline]
    fn check_of(&self, word: Word, bytes: &[u8]) -> u64 {
        if self.checks.is_empty() { 0 } else { check::of(word, bytes) }
    }

    #[inline]
    fn keep_check(&self, index: usize, value: u64) {
        if let Some(check) = self.checks.get(index) {
            check::store(check, value);
        }
    }

    #[inline]
    fn verify(&self, index: usize, word: Word, bytes: &[u8]) -> Result<(), SwapError> {
        let Some(check) = self.checks.get(index) else { return Ok(()) };
        match check::verify(check, word, bytes) {
            Verdict::Good => Ok(()),
            Verdict::Wrong => Err(SwapError::Corrupt),
            Verdict::Unknown => {
                self.count(Event::Unchecked);
                Ok(())
            }
        }
    }

    /// The device's clock.
    fn now(&self) -> u32 {
        // Its notes keep 24 bits.
        (self.pool.platform().now().unbounded_shr(self.setup.clock_shift) & 0xffff_ffff) as u32
    }

    fn discharge(&self, bytes: u64) {
        if bytes != 0 {
            self.charged.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// After a change of what is charged.
    #[inline(always)]
    fn settle_if_reserved(&self) {
        if self.reserve.load(Ordering::Relaxed) != 0 {
            self.settle_reserve();
        }
    }

    /// Whether a compressed page takes less of the pool than the page as it is.
    pub(crate) fn is_worth_it(&self, length: usize) -> bool {
        length < self.whole_from
    }

    #[inline]
    fn count(&self, event: Event) {
        self.counters.edit(self.pool.platform(), |pen| pen.add(event, 1));
    }
}

fn bytes_of(pages: usize) -> u64 {
    (pages as u64).saturating_mul(PAGE_SIZE as u64)
}

fn stored_as(bytes: &[u8]) -> Stored {
    if bytes.len() == PAGE_SIZE { Stored::Raw } else { Stored::Compressed(bytes.len()) }
}

fn copy_whole<P: Platform>(view: &ObjectView<'_, P>, to: &mut [u8]) -> Result<(), SwapError> {
    if view.copy_to(to) == to.len() { Ok(()) } else { Err(SwapError::Corrupt) }
}

fn is_raw(word: Word) -> bool {
    word.length() == PAGE_SIZE
}
