//! What user space of a guest tells, by a page of registers (`bale_abi` lays them down).

use core::sync::atomic::{AtomicU64, Ordering};

use bale_abi::register::{Access, UNKNOWN};
use bale_core::vgic::Refused;

use super::Slot;
use bale_memory::PAGE_SIZE;

/// KiB of its swap disk that the guest takes for in use.
pub(super) struct SwapUsed(AtomicU64);

impl SwapUsed {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(UNKNOWN))
    }

    /// As out of reset.
    pub(super) fn reset(&self) {
        self.0.store(UNKNOWN, Ordering::Relaxed);
    }

    /// Slots that it takes for in use, if it has said so.
    pub(super) fn slots(&self) -> Option<u64> {
        // Relaxed: a figure.
        let kib = self.0.load(Ordering::Relaxed);
        (kib != UNKNOWN).then(|| kib.div_ceil(PAGE_SIZE as u64 / 1024))
    }
}

impl Slot {
    /// An access to the registers.
    pub(super) fn access_report(
        &self,
        offset: u64,
        width: u8,
        write: Option<u64>,
    ) -> Result<u64, Refused> {
        let used = &self.devices.swap_used.0;
        match Access::of(offset, width, write).ok_or(Refused)? {
            Access::SetSwapUsed(kib) => {
                used.store(kib, Ordering::Relaxed);
                Ok(0)
            }
            Access::SwapUsed => Ok(used.load(Ordering::Relaxed)),
            Access::SwapStored => {
                let store = self.status.lock().store;
                Ok(store.map_or(0, |store| store.statistics().0.stored * (PAGE_SIZE as u64 / 1024)))
            }
        }
    }
}
