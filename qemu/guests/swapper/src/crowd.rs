//! Eight virtual CPUs that want all of a core, for ever: each spins, or, if steps are given, spins
//! for so many microseconds and rests for a moment, again and again.
#![expect(clippy::cast_possible_truncation, reason = "small numbers in 64-bit words")]

use core::arch::asm;
use core::cell::UnsafeCell;

use bale_abi::GuestInfo;

use crate::{call, entry};

const CPU_ON: u64 = 0xc400_0003;
/// Virtual CPUs.
const ALL: usize = bale_abi::CROWD_VCPUS as usize;
/// Microseconds of a rest.
const REST_US: u64 = 100;

#[repr(C, align(16))]
struct Stacks(UnsafeCell<[[u8; 4096]; ALL]>);

// SAFETY: each is one virtual CPU's alone, through its stack pointer.
unsafe impl Sync for Stacks {}

static STACKS: Stacks = Stacks(UnsafeCell::new([[0; 4096]; ALL]));

/// The first virtual CPU.
pub(crate) fn run(info: &GuestInfo) -> ! {
    for number in 1..ALL as u64 {
        // One past the end of its own stack.
        let stack = STACKS.0.get() as u64 + 4096 * (number + 1);
        if call::raw(CPU_ON, [number, entry::secondary_address(), stack])[0] != 0 {
            call::exit(1);
        }
    }
    work(info)
}

/// Each of them.
pub(crate) fn work(info: &GuestInfo) -> ! {
    let (frequency, mut now): (u64, u64);
    // SAFETY: reads a register.
    unsafe { asm!("mrs {0}, cntfrq_el0", out(reg) frequency, options(nostack, nomem)) };
    let ticks = |us: u64| us * frequency / 1_000_000;
    loop {
        let begun = counter();
        loop {
            now = counter();
            if info.steps != 0 && now - begun >= ticks(info.steps) {
                break;
            }
        }
        // SAFETY: the virtual timer is this program's; its interrupt is masked, and ends the wait.
        unsafe {
            asm!(
                "msr cntv_cval_el0, {at}",
                "msr cntv_ctl_el0, {on}",
                "isb",
                "wfi",
                "msr cntv_ctl_el0, xzr",
                at = in(reg) now + ticks(REST_US),
                on = in(reg) 1u64,
                options(nostack)
            );
        }
    }
}

fn counter() -> u64 {
    let now: u64;
    // SAFETY: reads a register.
    unsafe { asm!("isb", "mrs {0}, cntvct_el0", out(reg) now, options(nostack, nomem)) };
    now
}
