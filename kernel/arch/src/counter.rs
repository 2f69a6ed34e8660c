//! Counts of retired instructions and of cycles, from the PMU (DDI 0487, D13), counted at EL2.
//!
//! Under an emulator with one instruction a tick these are exact and repeat to the digit; on silicon the cycle
//! counter is the one to time with. Event 0x08 rather than the cycle counter counts instructions, since the latter
//! jumps with the clock over WFI.

use core::arch::asm;

/// `PMEVTYPER<n>_EL0` for INST_RETIRED (0x08), counted at EL2 (NSH, bit 27).
const INSTRUCTIONS_AT_EL2: u64 = 0x08 | 1 << 27;
/// `PMCCFILTR_EL0`: count cycles at EL2 (NSH, bit 27).
const CYCLES_AT_EL2: u64 = 1 << 27;

/// Starts event counter 0 (instructions) and the cycle counter on this core.
pub fn start() {
    // SAFETY: the PMU belongs to EL2; nothing else uses its counters.
    unsafe {
        asm!("msr pmevtyper0_el0, {0}", in(reg) INSTRUCTIONS_AT_EL2, options(nostack, preserves_flags))
    };
    // SAFETY: as above.
    unsafe { asm!("msr pmccfiltr_el0, {0}", in(reg) CYCLES_AT_EL2, options(nostack, preserves_flags)) };
    // SAFETY: as above; enables counter 0 and the cycle counter.
    unsafe { asm!("msr pmcntenset_el0, {0}", in(reg) 1u64 | 1 << 31, options(nostack, preserves_flags)) };
    // SAFETY: as above; PMCR_EL0: enable, long cycle counter.
    unsafe { asm!("msr pmcr_el0, {0}", "isb", in(reg) 0x41u64, options(nostack, preserves_flags)) };
}

/// Instructions retired at EL2 on this core since some moment; 32 bits, so take differences of short runs.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "event counters are 32 bits wide")]
pub fn instructions() -> u32 {
    let count: u64;
    // SAFETY: reads a counter.
    unsafe { asm!("isb", "mrs {0}, pmevcntr0_el0", out(reg) count, options(nostack, preserves_flags)) };
    count as u32
}

/// Cycles of this core since some moment.
#[inline(always)]
pub fn cycles() -> u64 {
    let count: u64;
    // SAFETY: reads a counter.
    unsafe { asm!("isb", "mrs {0}, pmccntr_el0", out(reg) count, options(nostack, preserves_flags)) };
    count
}
