//! Counts of retired instructions and of cycles, from the PMU (DDI 0487, D13), counted at EL2.
//!
//! Under an emulator with one instruction a tick these are exact and repeat to the digit; on silicon the cycle
//! counter is the one to time with. Event 0x08 rather than the cycle counter counts instructions, since the latter
//! jumps with the clock over WFI.

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{Readable, Writeable};

use crate::registers::{PMCCFILTR_EL0, PMCCNTR_EL0, PMCNTENSET_EL0, PMCR_EL0, PMEVCNTR0_EL0, PMEVTYPER0_EL0};

/// Starts event counter 0 (instructions at EL2) and the cycle counter (at EL2) on this core.
pub fn start() {
    PMEVTYPER0_EL0.write(PMEVTYPER0_EL0::EVENT::InstructionsRetired + PMEVTYPER0_EL0::NSH::SET);
    PMCCFILTR_EL0.write(PMCCFILTR_EL0::NSH::SET);
    PMCNTENSET_EL0.write(PMCNTENSET_EL0::P0::SET + PMCNTENSET_EL0::C::SET);
    PMCR_EL0.write(PMCR_EL0::E::SET + PMCR_EL0::LC::SET);
    barrier::isb(barrier::SY);
}

/// Instructions retired at EL2 on this core since some moment; 32 bits, so take differences of short runs.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "event counters are 32 bits wide")]
pub fn instructions() -> u32 {
    barrier::isb(barrier::SY);
    PMEVCNTR0_EL0.get() as u32
}

/// Cycles of this core since some moment.
#[inline(always)]
pub fn cycles() -> u64 {
    barrier::isb(barrier::SY);
    PMCCNTR_EL0.get()
}
