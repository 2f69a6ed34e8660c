//! A device in front of a backing device: pages are compressed while there is room, the coldest
//! ones go to the backing device, and what there is no room for goes there at once.
//!
//! Slot `n` of the device is block `n` of the backing device, so that no block has to be looked
//! for. Coldness is found by a hand that goes round the slots (CLOCK): it marks what it meets as
//! idle, and takes what it finds still marked when it comes by again. A use of the page takes the
//! mark off with the store that notes the time anyway, where a list of the least recently used
//! would take a lock.
//!
//! # Order of writes
//! All writes of a block happen under the backing device's own exclusion, in which the slot's word
//! is looked at once more. A page that is written back while the guest stores another one in its
//! slot may reach the block, but then the slot does not say so.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use zsmalloc::Platform;

use crate::{
    claim::{Outcome, Worker},
    codec::Scratch,
    device::{Device, PAGE_SIZE, Stored, Workshop},
    error::SwapError,
    slot::Word,
};

/// A block could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoError;

/// Blocks of a page each.
pub trait Blocks {
    /// Reads a block.
    ///
    /// # Errors
    /// The device's; what `into` holds is not said.
    fn read(&mut self, block: usize, into: &mut [u8; PAGE_SIZE]) -> Result<(), IoError>;

    /// Writes a block.
    ///
    /// # Errors
    /// The device's; what the block holds is not said.
    fn write(&mut self, block: usize, from: &[u8; PAGE_SIZE]) -> Result<(), IoError>;
}

/// A device of blocks, for one user at a time.
pub trait Backing {
    /// How many blocks it has.
    fn blocks(&self) -> usize;

    /// Does some work while nobody else uses the device.
    fn exclusive<R>(&self, work: impl FnOnce(&mut dyn Blocks) -> R) -> R;
}

/// Why a page was not kept in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// The limit was reached before, and use is not below the acceptance threshold yet.
    Full,
    /// The limit is reached.
    Limit,
    /// The pool has no memory.
    Memory,
}

/// Where a page went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// Into the pool.
    Kept(Stored),
    /// To the backing device.
    WrittenThrough(Reject),
}

/// What a cache counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStatistics {
    /// Pages written through, by reason.
    pub rejected_full: u64,
    /// See [`Reject::Limit`].
    pub rejected_limit: u64,
    /// See [`Reject::Memory`].
    pub rejected_memory: u64,
    /// Cold pages written back.
    pub written_back: u64,
    /// Pages read from the backing device.
    pub read_back: u64,
    /// Operations that the backing device failed.
    pub io_errors: u64,
}

impl CacheStatistics {
    /// Pages that went to the backing device, at once or later.
    pub fn to_disk(&self) -> u64 {
        self.rejected_full + self.rejected_limit + self.rejected_memory + self.written_back
    }
}

/// What a round of writeback did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writeback {
    /// Pages that are on the backing device now.
    pub written: usize,
    /// Pages that the backing device refused; they stay in the pool.
    pub failed: usize,
}

/// Failures after which a round of writeback ends.
const PATIENCE: usize = 16;

/// A device in front of a backing device. See the module.
pub struct Cache<'d, P: Platform, B> {
    device: &'d Device<'d, P>,
    backing: B,
    /// Percent of the quota below which pages are accepted again.
    accept: u8,
    full: AtomicBool,
    hand: AtomicUsize,
    counters: [AtomicU64; COUNTERS],
}

#[derive(Clone, Copy)]
#[repr(usize)]
enum Counter {
    Full,
    Limit,
    Memory,
    WrittenBack,
    ReadBack,
    IoErrors,
}
const COUNTERS: usize = Counter::IoErrors as usize + 1;

// Relaxed in all that follows: counters, a hint that is looked at again, and the hand of one
// worker.

impl<'d, P: Platform, B: Backing> Cache<'d, P, B> {
    /// A cache whose limit is the quota of the device, and which accepts pages again below `accept`
    /// percent of it.
    ///
    /// # Errors
    /// [`SwapError::NoSuchSlot`] if the backing device has fewer blocks than the device slots.
    pub fn new(device: &'d Device<'d, P>, backing: B, accept: u8) -> Result<Self, SwapError> {
        if backing.blocks() < device.slots() {
            return Err(SwapError::NoSuchSlot);
        }
        Ok(Self {
            device,
            backing,
            accept: accept.min(100),
            full: AtomicBool::new(false),
            hand: AtomicUsize::new(0),
            counters: [const { AtomicU64::new(0) }; COUNTERS],
        })
    }

    /// The device in front. Its own reads say [`SwapError::Backed`] where the cache's read goes on.
    pub fn device(&self) -> &'d Device<'d, P> {
        self.device
    }

    /// Stores a page, in the pool or on the backing device.
    ///
    /// # Errors
    /// [`SwapError::NoSuchSlot`]; [`SwapError::Io`] if the backing device fails: then a slot whose
    /// page was in the pool keeps it.
    pub fn write(
        &self,
        slot: usize,
        page: &[u8; PAGE_SIZE],
        scratch: &mut Scratch,
    ) -> Result<Placed, SwapError> {
        if self.full.load(Ordering::Relaxed) {
            if self.used() > self.accepted() {
                return self.write_through(slot, page, Reject::Full);
            }
            self.full.store(false, Ordering::Relaxed);
        }
        let reason = match self.device.store(slot, page, scratch) {
            Ok(stored) => return Ok(Placed::Kept(stored)),
            Err(SwapError::QuotaReached) => Reject::Limit,
            Err(SwapError::PoolFull) => Reject::Memory,
            Err(error) => return Err(error),
        };
        self.full.store(true, Ordering::Relaxed);
        self.write_through(slot, page, reason)
    }

    fn write_through(
        &self,
        slot: usize,
        page: &[u8; PAGE_SIZE],
        reason: Reject,
    ) -> Result<Placed, SwapError> {
        if slot >= self.device.slots() {
            return Err(SwapError::NoSuchSlot);
        }
        self.backing.exclusive(|blocks| {
            blocks.write(slot, page).map_err(|IoError| self.io_error())?;
            self.device.put_backed(slot);
            Ok::<(), SwapError>(())
        })?;
        self.count(match reason {
            Reject::Full => Counter::Full,
            Reject::Limit => Counter::Limit,
            Reject::Memory => Counter::Memory,
        });
        Ok(Placed::WrittenThrough(reason))
    }

    /// Reads a page, from wherever it is; zeros if nothing was ever stored in the slot.
    ///
    /// # Errors
    /// As [`Device::read`], without [`SwapError::Backed`]; [`SwapError::Io`].
    pub fn read(
        &self,
        slot: usize,
        page: &mut [u8; PAGE_SIZE],
        scratch: &mut Scratch,
    ) -> Result<(), SwapError> {
        match self.device.read(slot, page, scratch) {
            Err(SwapError::Backed) => {}
            other => return other,
        }
        self.backing
            .exclusive(|blocks| blocks.read(slot, page))
            .map_err(|IoError| self.io_error())?;
        self.count(Counter::ReadBack);
        Ok(())
    }

    /// Empties slots; see [`Device::release`].
    ///
    /// # Errors
    /// [`SwapError::NoSuchSlot`].
    pub fn release(&self, first: usize, count: usize) -> Result<usize, SwapError> {
        self.device.release(first, count)
    }

    /// Writes the coldest pages back, `pages` of them at most.
    ///
    /// # Errors
    /// [`SwapError::Busy`] if another caller works on the device.
    pub fn write_back(&self, pages: usize, shop: &mut Workshop) -> Result<Writeback, SwapError> {
        let worker = self.device.work()?;
        let slots = self.device.slots();
        let mut hand = self.hand.load(Ordering::Relaxed);
        let mut done = Writeback::default();
        // Twice round: what was not idle when the hand came by first is, if nobody uses it, when it
        // comes again.
        for _ in 0..slots.saturating_mul(2) {
            if done.written >= pages || done.failed >= PATIENCE {
                break;
            }
            let index = hand % slots;
            hand = index + 1;
            if self.device.is_cold(index) {
                match self.write_one(index, &worker, shop) {
                    Ok(written) => done.written += usize::from(written),
                    Err(_) => done.failed += 1,
                }
            }
        }
        self.hand.store(hand, Ordering::Relaxed);
        Ok(done)
    }

    /// Pages of memory above the acceptance threshold.
    pub fn excess(&self) -> usize {
        let pages = self.used().saturating_sub(self.accepted()).div_ceil(PAGE_SIZE as u64);
        usize::try_from(pages).unwrap_or(usize::MAX)
    }

    /// Writes the coldest pages back, 32 at a time, until use is below the acceptance threshold.
    ///
    /// # Errors
    /// As [`Cache::write_back`].
    pub fn shrink(&self, shop: &mut Workshop) -> Result<Writeback, SwapError> {
        const BATCH: usize = 32;
        let mut done = Writeback::default();
        while done.failed < PATIENCE {
            let above = self.excess();
            if above == 0 {
                break;
            }
            let round = self.write_back(above.min(BATCH), shop)?;
            done = Writeback {
                written: done.written + round.written,
                failed: done.failed + round.failed,
            };
            if round == Writeback::default() {
                break;
            }
        }
        Ok(done)
    }

    /// Whether the page is on the backing device now; not if it went its own way.
    fn write_one(
        &self,
        index: usize,
        worker: &Worker<'_>,
        shop: &mut Workshop,
    ) -> Result<bool, SwapError> {
        let Some((word, object)) = self.device.copy_out(index, worker, shop) else {
            return Ok(false);
        };
        let result = match self.device.unpack(&object, shop) {
            Err(error) => Err(error),
            Ok(()) => self.backing.exclusive(|blocks| {
                // The guest may have put another page there, through to the block.
                if !self.device.holds(index, word) {
                    return Ok(None);
                }
                blocks.write(index, &shop.page).map_err(|IoError| self.io_error())?;
                Ok(Some(self.device.exchange(index, worker, word, Word::BACKED)))
            }),
        };
        let outcome = match result {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) if worker.give_up() => Outcome::Left,
            Ok(None) | Err(_) => Outcome::Kept,
        };
        if outcome == Outcome::Replaced {
            self.count(Counter::WrittenBack);
        }
        if outcome != Outcome::Kept {
            self.device.free(object.handle);
        }
        result.map(|_| outcome == Outcome::Replaced)
    }

    /// What was counted.
    pub fn statistics(&self) -> CacheStatistics {
        let count = |counter: Counter| self.counters[counter as usize].load(Ordering::Relaxed);
        CacheStatistics {
            rejected_full: count(Counter::Full),
            rejected_limit: count(Counter::Limit),
            rejected_memory: count(Counter::Memory),
            written_back: count(Counter::WrittenBack),
            read_back: count(Counter::ReadBack),
            io_errors: count(Counter::IoErrors),
        }
    }

    /// Bytes in the pool.
    fn used(&self) -> u64 {
        self.device.charged()
    }

    /// Bytes below which pages are accepted again.
    fn accepted(&self) -> u64 {
        (u128::from(self.device.quota_bytes()) * u128::from(self.accept) / 100)
            .try_into()
            .unwrap_or(u64::MAX)
    }

    fn io_error(&self) -> SwapError {
        self.count(Counter::IoErrors);
        SwapError::Io
    }

    fn count(&self, counter: Counter) {
        self.counters[counter as usize].fetch_add(1, Ordering::Relaxed);
    }
}
