//! The generic timer: the counter that all cores share, and this core's EL2 physical timer (DDI
//! 0487, D12).

use core::arch::asm;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTP_CTL_EL0, CNTP_CVAL_EL0, Readable, Writeable};

use crate::registers::{CNTHP_CTL_EL2, CNTHP_CVAL_EL2};

/// Ticks a second.
#[inline]
pub fn frequency() -> u64 {
    CNTFRQ_EL0.get()
}

/// The physical counter. The `isb` keeps the read from running ahead of what it is meant to time.
#[inline(always)]
pub fn now() -> u64 {
    let ticks: u64;
    // SAFETY: reads a counter.
    unsafe {
        asm!("isb", "mrs {0}, cntpct_el0", out(reg) ticks, options(nostack, preserves_flags))
    };
    ticks
}

/// The physical counter, read perhaps some instructions early: for what need not be exact.
#[inline(always)]
pub fn roughly_now() -> u64 {
    let ticks: u64;
    // SAFETY: reads a counter.
    unsafe { asm!("mrs {0}, cntpct_el0", out(reg) ticks, options(nostack, preserves_flags)) };
    ticks
}

/// Raises the EL2 physical timer's interrupt once the counter reaches `deadline`.
///
/// The compare value is 64 bits wide, so no deadline is too far: the 32-bit `TVAL` view would reach
/// 2.1 s at 1 GHz.
pub fn arm(deadline: u64) {
    CNTHP_CVAL_EL2.set(deadline);
    CNTHP_CTL_EL2.write(CNTHP_CTL_EL2::ENABLE::SET + CNTHP_CTL_EL2::IMASK::CLEAR);
    barrier::isb(barrier::SY);
}

/// Turns the EL2 physical timer off: its interrupt line falls.
pub fn disarm() {
    CNTHP_CTL_EL2.write(CNTHP_CTL_EL2::ENABLE::CLEAR);
    barrier::isb(barrier::SY);
}

/// Raises this core's EL1 physical timer's interrupt, which serves a guest's, once the counter
/// reaches `deadline`.
pub fn arm_guest(deadline: u64) {
    CNTP_CVAL_EL0.set(deadline);
    CNTP_CTL_EL0.write(CNTP_CTL_EL0::ENABLE::SET + CNTP_CTL_EL0::IMASK::CLEAR);
    barrier::isb(barrier::SY);
}

/// Turns the EL1 physical timer off: its interrupt line falls.
pub fn disarm_guest() {
    CNTP_CTL_EL0.write(CNTP_CTL_EL0::ENABLE::CLEAR);
    barrier::isb(barrier::SY);
}
