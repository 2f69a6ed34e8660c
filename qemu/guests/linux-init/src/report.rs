//! What Bale is told: how much of the swap disk is in use. By a page of registers, since only a
//! kernel can make hypercalls.

use crate::call::{ENOENT, File, READ_ONLY, Registers};
use crate::print::Failure;
use crate::swap;

/// Place of the registers, in 64 bits each.
const SWAP_USED_KIB: usize = 0;
const SWAP_STORED_KIB: usize = 1;

/// Who is told: nobody under another hypervisor.
pub(crate) struct Report(Option<Registers>);

impl Report {
    /// Finds the registers in the device tree.
    pub(crate) fn open() -> Result<Self, Failure> {
        let file = match File::open(c"/proc/device-tree/report@b000000/reg", READ_ONLY) {
            Err(Failure::Call(_, _, ENOENT)) => return Ok(Self::nobody()),
            file => file?,
        };
        let mut base = [0; 8];
        file.read(&mut base)?;
        Ok(Self(Some(Registers::map(u64::from_be_bytes(base))?)))
    }

    /// Nobody.
    pub(crate) fn nobody() -> Self {
        Self(None)
    }

    /// Its registers, which the hypervisor emulates.
    pub(crate) fn registers(&self) -> Option<&Registers> {
        self.0.as_ref()
    }

    /// Tells what is in use now; KiB that are stored beyond it, if somebody is told.
    pub(crate) fn swap_used(&self) -> Result<Option<u64>, Failure> {
        let Some(registers) = &self.0 else { return Ok(None) };
        let used = swap::memory("SwapTotal")?.saturating_sub(swap::memory("SwapFree")?);
        registers.write(SWAP_USED_KIB, used);
        Ok(Some(registers.read(SWAP_STORED_KIB).saturating_sub(used)))
    }
}
