//! The performance monitors of a core, which serve a guest's (DDI 0487, D13).
//!
//! `MDCR_EL2.TPM` keeps every guest from these registers, so that what is left in them is nobody's.
//! The filters that are written here never count at EL2.

use core::arch::asm;

use aarch64_cpu::asm::barrier;

macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: reads a register that serves guests alone; the caller has a PMU.
        unsafe { asm!(concat!("mrs {0}, ", $register), out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

macro_rules! write {
    ($register:literal, $value:expr) => {
        // SAFETY: a register that serves guests alone and has no effect on EL2; the caller has a
        // PMU.
        unsafe { asm!(concat!("msr ", $register, ", {0}"), in(reg) $value, options(nomem, nostack, preserves_flags)) }
    };
}

macro_rules! counters {
    ($($number:literal: $count:literal, $kind:literal;)*) => {
        /// Reads event counters, as many as the core is known to have.
        #[inline(always)]
        pub fn read_events(counters: usize, mut take: impl FnMut(usize, u64)) {
            $(
                if $number >= counters {
                    return;
                }
                take($number, read!($count));
            )*
        }

        /// Writes type and count of event counters, as many as the core is known to have.
        #[inline(always)]
        pub fn write_events(counters: usize, event: impl Fn(usize) -> [u64; 2]) {
            $(
                if $number >= counters {
                    return;
                }
                let [kind, count] = event($number);
                write!($kind, kind);
                write!($count, count);
            )*
        }
    };
}

counters! {
    0: "S3_3_C14_C8_0", "S3_3_C14_C12_0";
    1: "S3_3_C14_C8_1", "S3_3_C14_C12_1";
    2: "S3_3_C14_C8_2", "S3_3_C14_C12_2";
    3: "S3_3_C14_C8_3", "S3_3_C14_C12_3";
    4: "S3_3_C14_C8_4", "S3_3_C14_C12_4";
    5: "S3_3_C14_C8_5", "S3_3_C14_C12_5";
    6: "S3_3_C14_C8_6", "S3_3_C14_C12_6";
    7: "S3_3_C14_C8_7", "S3_3_C14_C12_7";
    8: "S3_3_C14_C9_0", "S3_3_C14_C13_0";
    9: "S3_3_C14_C9_1", "S3_3_C14_C13_1";
    10: "S3_3_C14_C9_2", "S3_3_C14_C13_2";
    11: "S3_3_C14_C9_3", "S3_3_C14_C13_3";
    12: "S3_3_C14_C9_4", "S3_3_C14_C13_4";
    13: "S3_3_C14_C9_5", "S3_3_C14_C13_5";
    14: "S3_3_C14_C9_6", "S3_3_C14_C13_6";
    15: "S3_3_C14_C9_7", "S3_3_C14_C13_7";
    16: "S3_3_C14_C10_0", "S3_3_C14_C14_0";
    17: "S3_3_C14_C10_1", "S3_3_C14_C14_1";
    18: "S3_3_C14_C10_2", "S3_3_C14_C14_2";
    19: "S3_3_C14_C10_3", "S3_3_C14_C14_3";
    20: "S3_3_C14_C10_4", "S3_3_C14_C14_4";
    21: "S3_3_C14_C10_5", "S3_3_C14_C14_5";
    22: "S3_3_C14_C10_6", "S3_3_C14_C14_6";
    23: "S3_3_C14_C10_7", "S3_3_C14_C14_7";
    24: "S3_3_C14_C11_0", "S3_3_C14_C15_0";
    25: "S3_3_C14_C11_1", "S3_3_C14_C15_1";
    26: "S3_3_C14_C11_2", "S3_3_C14_C15_2";
    27: "S3_3_C14_C11_3", "S3_3_C14_C15_3";
    28: "S3_3_C14_C11_4", "S3_3_C14_C15_4";
    29: "S3_3_C14_C11_5", "S3_3_C14_C15_5";
    30: "S3_3_C14_C11_6", "S3_3_C14_C15_6";
}

/// `PMCEID0_EL0` and `PMCEID1_EL0`: events that this core counts.
pub fn common_events() -> [u64; 2] {
    [read!("pmceid0_el0"), read!("pmceid1_el0")]
}

/// Event counters of this core that serve guests: all but the last, which is Bale's own
/// ([`crate::counter`]).
pub fn event_counters() -> usize {
    (read!("pmcr_el0") >> 11 & 31).saturating_sub(1) as usize
}

/// Stops counting and asks for no interrupt; EL0's accesses go to EL1.
pub fn stop() {
    write!("pmcr_el0", 0u64);
    write!("pmintenclr_el1", u64::MAX >> 32);
    write!("pmuserenr_el0", 0u64);
    barrier::isb(barrier::SY);
}

/// What has counted, once [`stop`] was called: `PMOVSSET_EL0` and the cycle counter.
pub fn read_overflow_and_cycles() -> (u64, u64) {
    (read!("pmovsset_el0"), read!("pmccntr_el0"))
}

/// What [`start`] writes beside the events.
#[derive(Debug, Clone, Copy)]
pub struct Controls {
    /// `PMCR_EL0`.
    pub control: u64,
    /// `PMCNTENSET_EL0`.
    pub enabled: u64,
    /// `PMINTENSET_EL1`.
    pub interrupts: u64,
    /// `PMOVSSET_EL0`.
    pub overflowed: u64,
    /// `PMUSERENR_EL0`.
    pub user: u64,
    /// `PMCCFILTR_EL0` and `PMCCNTR_EL0`.
    pub cycles: [u64; 2],
}

/// Lets EL0's accesses come to EL2 as far as `PMUSERENR_EL0` says, while nothing counts.
pub fn open(user: u64) {
    write!("pmuserenr_el0", user);
    barrier::isb(barrier::SY);
}

/// Counts on, with so many event counters, which are written; nothing counts yet.
pub fn start(counters: usize, controls: &Controls) {
    // Bale's own counter is not among them.
    let all = 1u64 << 31 | ((1 << counters) - 1);
    let Controls { control, enabled, interrupts, overflowed, user, cycles: [filter, cycles] } =
        *controls;
    write!("pmccfiltr_el0", filter);
    // The control says how wide the cycle counter is.
    write!("pmccntr_el0", cycles);
    write!("pmovsclr_el0", all);
    write!("pmovsset_el0", overflowed);
    write!("pmcntenclr_el0", all);
    write!("pmcntenset_el0", enabled);
    write!("pmintenset_el1", interrupts);
    write!("pmuserenr_el0", user);
    write!("pmcr_el0", control);
    barrier::isb(barrier::SY);
}
