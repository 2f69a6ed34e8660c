//! Interrupts masked for a scope, core identity, and the few instructions that wait.

use core::arch::asm;
use core::marker::PhantomData;

use aarch64_cpu::registers::{DAIF, MPIDR_EL1, Readable, TPIDR_EL2, Writeable};

/// Affinity fields of `MPIDR_EL1`: Aff3 in bits 39:32, Aff2, Aff1, Aff0 in bits 23:0.
pub const AFFINITY_MASK: u64 = 0xff_00ff_ffff;

/// Interrupts are masked on this core while this lives, and are as before when it is dropped.
///
/// Guards nest; they must be dropped in the reverse order of their making, which scopes do by themselves.
#[must_use = "interrupts are unmasked again when the guard is dropped"]
pub struct Masked {
    daif: u64,
    /// Not `Send`: the guard belongs to the core it was made on.
    _here: PhantomData<*mut ()>,
}

impl Masked {
    /// Masks IRQ and FIQ on this core.
    #[inline(always)]
    pub fn new() -> Self {
        let daif = DAIF.get();
        // SAFETY: masking interrupts has no effect on memory; leaving `nomem` out makes it a compiler barrier.
        unsafe { asm!("msr daifset, #3", options(nostack, preserves_flags)) };
        Self { daif, _here: PhantomData }
    }
}

impl Default for Masked {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Masked {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: puts back what `new` found; not `nomem`, so no access moves out of the scope.
        unsafe { asm!("msr daif, {0}", in(reg) self.daif, options(nostack, preserves_flags)) };
    }
}

/// Unmasks IRQ and FIQ on this core; SError and debug exceptions stay as they are.
pub fn unmask() {
    // SAFETY: the caller runs on a stack that the vectors can use; not `nomem`: a compiler barrier.
    unsafe { asm!("msr daifclr, #3", options(nostack, preserves_flags)) };
}

/// Masks every exception class that can be masked, for good: the way into a stop.
pub fn mask_all() {
    // SAFETY: as in `Masked::new`.
    unsafe { asm!("msr daifset, #15", options(nostack, preserves_flags)) };
}

/// Whether IRQs are masked on this core.
pub fn is_masked() -> bool {
    DAIF.is_set(DAIF::I)
}

/// Unmasks SError, so that an external abort is reported when it happens.
pub fn unmask_serror() {
    // SAFETY: the vectors are in place and report it.
    unsafe { asm!("msr daifclr, #4", options(nostack, preserves_flags)) };
}

/// This core's affinity.
pub fn affinity() -> u64 {
    MPIDR_EL1.get() & AFFINITY_MASK
}

/// The word that this core keeps for its owner: the address of the per-core block.
#[inline(always)]
pub fn core_pointer() -> u64 {
    TPIDR_EL2.get()
}

/// Sets the word that [`core_pointer`] returns.
pub fn set_core_pointer(value: u64) {
    TPIDR_EL2.set(value);
}

/// Waits for an interrupt, also with interrupts masked.
pub fn wait_for_interrupt() {
    aarch64_cpu::asm::wfi();
}

/// Stops this core for ever, with everything masked.
pub fn halt() -> ! {
    mask_all();
    loop {
        aarch64_cpu::asm::wfi();
    }
}
