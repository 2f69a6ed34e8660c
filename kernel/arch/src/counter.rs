//! Counts of an event from the PMU (DDI 0487, D13), of EL2 alone: instructions, or cycles.
//!
//! Instructions are exact, and under an emulator with one instruction a tick they repeat to the
//! digit; cycles are what silicon is timed in. Both come from one event counter, so that what is
//! measured is the same code; the cycle counter would be another register.

use core::sync::atomic::{AtomicBool, Ordering};

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{Readable, Writeable};

use crate::registers::{PMCNTENSET_EL0, PMCR_EL0, PMSELR_EL0, PMXEVCNTR_EL0, PMXEVTYPER_EL0};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Instructions that retired (INST_RETIRED).
    Instructions,
    /// Cycles of the core (CPU_CYCLES).
    Cycles,
}

/// Whether there is a counter to be read; on a core without a PMU its registers are undefined.
static STARTED: AtomicBool = AtomicBool::new(false);

/// Starts this core's last event counter, with instructions. It stays selected: the others are
/// guests', who reach none of these registers themselves (see [`crate::pmu`]).
pub fn start() {
    let count = PMCR_EL0.read(PMCR_EL0::N);
    // Relaxed: each core sets it before it looks.
    STARTED.store(true, Ordering::Relaxed);
    PMSELR_EL0.set(count - 1);
    barrier::isb(barrier::SY);
    select(Event::Instructions);
    PMCNTENSET_EL0.set(1 << (count - 1));
    if count == 1 {
        // An only one is not set apart by MDCR_EL2.HPMN.
        PMCR_EL0.write(PMCR_EL0::E::SET);
    }
    barrier::isb(barrier::SY);
}

/// Whether the cores of this machine count events.
pub fn is_there() -> bool {
    STARTED.load(Ordering::Relaxed)
}

/// Counts these on this core from now on, if it counts events.
pub fn select(event: Event) {
    if !is_there() {
        return;
    }
    let event = match event {
        Event::Instructions => PMXEVTYPER_EL0::EVENT::InstructionsRetired,
        Event::Cycles => PMXEVTYPER_EL0::EVENT::Cycles,
    };
    PMXEVTYPER_EL0.write(event + PMXEVTYPER_EL0::NSH::SET);
    barrier::isb(barrier::SY);
}

/// What this core counts.
pub fn selected() -> Event {
    let cycles = is_there() && PMXEVTYPER_EL0.matches_all(PMXEVTYPER_EL0::EVENT::Cycles);
    if cycles { Event::Cycles } else { Event::Instructions }
}

/// Events at EL2 on this core since some moment; 32 bits, so take differences of short runs, where
/// there is a counter.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "event counters are 32 bits wide")]
pub fn read() -> u32 {
    barrier::isb(barrier::SY);
    PMXEVCNTR_EL0.get() as u32
}
