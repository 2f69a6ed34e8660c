//! A machine's swap device for others than its guest: the shell looks at it and works on it while
//! the machine runs.

use core::ops::Deref;
use core::sync::atomic::Ordering;

use bale_arch::{copy, timer};
use bale_swap::{Codec, PAGE_SIZE, Placed, Scratch, Setup, Statistics, SwapError, Workshop};

use super::{SLOTS, Slot, SwapCache, SwapDevice, reserve, writeback};
use bale_reclaim::pool;
use bale_rt::sync::Mutex;
use bale_rt::{clock, task};

/// Between two looks at whether the last user has left, or another reader is done.
const PATIENCE_US: u64 = 100;

/// Working memory for recompression and writeback; one at a time.
pub static WORKSHOP: Mutex<Workshop> = Mutex::new(Workshop::new());

/// What swap devices are like on this machine: they may fill what the pool may, but for what is
/// kept for pages on their way, and for others' reserves.
pub fn setup(codec: Codec) -> Setup {
    let quota_pages = pool::pool().config().page_limit;
    Setup {
        quota_pages,
        clock_shift: clock_shift(),
        is_zero: copy::is_zero,
        has_room: reserve::has_room,
        keep: reserve::keep,
        ..Setup::new(codec)
    }
}

/// A swap device's clock ticks about once a second: every 2 to the power of this ticks of the
/// counter.
fn clock_shift() -> u32 {
    timer::frequency().next_power_of_two().ilog2()
}

/// Seconds in so many ticks of a device's clock.
pub fn seconds(units: u32) -> u64 {
    clock::to_us(u64::from(units) << clock_shift()) / 1_000_000
}

/// Ticks of a device's clock in so many seconds, rounded up.
pub fn units(seconds: u64) -> u32 {
    let ticks = clock::from_us(seconds.saturating_mul(1_000_000));
    u32::try_from(ticks.div_ceil(1 << clock_shift())).unwrap_or(u32::MAX)
}

/// A machine's swap device, and the cache that it is part of if there is a disk behind it.
#[derive(Clone, Copy)]
pub struct Store {
    device: &'static SwapDevice,
    cache: Option<&'static SwapCache>,
}

impl Store {
    /// A device alone.
    pub(super) fn alone(device: &'static SwapDevice) -> Self {
        Self { device, cache: None }
    }

    /// A device in front of a disk.
    pub(super) fn backed(cache: &'static SwapCache) -> Self {
        Self { device: cache.device(), cache: Some(cache) }
    }

    /// The cache, if there is a disk behind it.
    pub fn cache(&self) -> Option<&'static SwapCache> {
        self.cache
    }

    /// What it counted, and how many pages went to the disk.
    pub(super) fn statistics(&self) -> (Statistics, u64) {
        let to_disk = self.cache.map_or(0, |cache| cache.statistics().to_disk());
        (self.device.statistics(), to_disk)
    }

    /// Reads a page, from wherever it is. One that is being copied out by a task that was preempted
    /// is waited for.
    pub(super) fn read(
        &self,
        slot: usize,
        page: &mut [u8; PAGE_SIZE],
        scratch: &mut Scratch,
    ) -> Result<(), SwapError> {
        loop {
            match self.try_read(slot, page, scratch) {
                Err(SwapError::Busy) => task::sleep_us(PATIENCE_US),
                done => return done,
            }
        }
    }

    fn try_read(
        &self,
        slot: usize,
        page: &mut [u8; PAGE_SIZE],
        scratch: &mut Scratch,
    ) -> Result<(), SwapError> {
        match self.cache {
            Some(cache) => cache.read(slot, page, scratch),
            None => self.device.read(slot, page, scratch),
        }
    }

    /// Stores a page, on the disk if there is no room. Then the coldest ones follow it there. One
    /// that is to be written over while it is worked on is waited for, as in [`Store::read`].
    pub(super) fn write(
        &self,
        slot: usize,
        page: &[u8; PAGE_SIZE],
        scratch: &mut Scratch,
    ) -> Result<(), SwapError> {
        loop {
            match self.try_write(slot, page, scratch) {
                Err(SwapError::Busy) => task::sleep_us(PATIENCE_US),
                done => return done,
            }
        }
    }

    fn try_write(
        &self,
        slot: usize,
        page: &[u8; PAGE_SIZE],
        scratch: &mut Scratch,
    ) -> Result<(), SwapError> {
        let Some(cache) = self.cache else {
            return self.device.write(slot, page, scratch).map(drop);
        };
        if let Placed::WrittenThrough(_) = cache.write(slot, page, scratch)? {
            writeback::call();
        }
        Ok(())
    }
}

impl Deref for Store {
    type Target = SwapDevice;
    fn deref(&self) -> &SwapDevice {
        self.device
    }
}

/// The right to use a machine's swap device; its memory stays while this lives. To be held for
/// short: the machine cannot end meanwhile.
pub struct StoreUser {
    slot: &'static Slot,
    store: Store,
}

/// The swap device of the machine in this slot; `None` if no machine with one runs there.
pub fn user(index: usize) -> Option<StoreUser> {
    let slot = SLOTS.get(index)?;
    let status = slot.status.lock();
    let store = status.store?;
    // Relaxed: ordered by the lock, under which the device is taken out of the status before its
    // memory goes.
    slot.store_users.fetch_add(1, Ordering::Relaxed);
    Some(StoreUser { slot, store })
}

impl Deref for StoreUser {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Drop for StoreUser {
    fn drop(&mut self) {
        // Release: the uses come before the memory's end; pairs with the acquire in
        // `wait_for_store_users`.
        self.slot.store_users.fetch_sub(1, Ordering::Release);
    }
}

impl Slot {
    /// Waits for those who found the device before it was taken out of the status.
    pub(super) fn wait_for_store_users(&self) {
        while self.store_users.load(Ordering::Acquire) != 0 {
            task::sleep_us(PATIENCE_US);
        }
    }
}
