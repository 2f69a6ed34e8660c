//! Virtual timers of two virtual CPUs that take turns on one core: the first one's is on and far
//! from its deadline, the second one's is off with a compare value that lies in the past, or beyond
//! the end of time where the two's registers are mixed. Neither timer may fire, and each virtual
//! CPU finds what it wrote.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use bale_abi::{GuestInfo, report};

use crate::{call, entry, measure, virtio};

const CPU_ON: u64 = 0xc400_0003;
/// The interrupt that hands the core over.
const PING: u64 = 1;
/// What an acknowledge gives where nothing is pending.
const NONE: u64 = 1023;
/// `CNTV_CTL_EL0`: without the state of its line.
const SETTINGS: u64 = 3;
/// Ticks until the first one's deadline: hours.
const FAR: u64 = 1 << 40;

static TURNS: AtomicU64 = AtomicU64::new(0);

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; 8192]>);

// SAFETY: the second virtual CPU's alone, through its stack pointer.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; 8192]));

pub(crate) fn run(info: &GuestInfo) -> ! {
    // Both groups.
    virtio::set(measure::DISTRIBUTOR, 3);
    measure::prepare_interrupts(0);
    set(1, measure::now() + FAR);
    let expected = settings();
    let stack = STACK.0.get() as u64 + 8192;
    if call::raw(CPU_ON, [1, entry::secondary_address(), stack])[0] != 0 {
        fail(1);
    }
    wait_for_ping(2);
    for turn in 0..info.steps {
        TURNS.store(turn, Ordering::Relaxed);
        measure::send(1 << 1, PING);
        wait_for_ping(2);
        if settings() != expected {
            fail(3);
        }
    }
    let _ = call::report(report::CHECKS_PASSED, info.steps);
    call::exit(0)
}

/// First Rust line of the second virtual CPU.
pub(crate) fn second(info: &GuestInfo) -> ! {
    measure::prepare_interrupts(1);
    loop {
        // Both kinds of values that are no deadline: 2^31 ticks back, which is before the counter
        // began, and the end of time.
        let back = measure::now().wrapping_sub(1 << 31);
        let value =
            if TURNS.load(Ordering::Relaxed) < info.steps / 2 { back } else { u64::MAX - 1000 };
        set(0, value);
        measure::send(1, PING);
        wait_for_ping(4);
        if settings() != (0, value) {
            fail(5);
        }
    }
}

/// Writes the timer: turned off first, on last.
fn set(control: u64, compare: u64) {
    // SAFETY: this virtual CPU's own timer.
    unsafe {
        asm!("msr cntv_ctl_el0, xzr", "isb", "msr cntv_cval_el0, {1}", "isb", "msr cntv_ctl_el0, {0}", "isb",
            in(reg) control, in(reg) compare);
    }
}

fn settings() -> (u64, u64) {
    let (control, compare): (u64, u64);
    // SAFETY: reads this virtual CPU's own timer.
    unsafe {
        asm!("mrs {0}, cntv_ctl_el0", "mrs {1}, cntv_cval_el0", out(reg) control, out(reg) compare)
    };
    (control & SETTINGS, compare)
}

/// Waits for the other virtual CPU; any other interrupt is a failure.
fn wait_for_ping(check: u64) {
    loop {
        match measure::end_pending() {
            PING => return,
            NONE => {
                // SAFETY: an interrupt that is pending ends it though it is masked.
                unsafe { asm!("wfi") };
            }
            _ => fail(check),
        }
    }
}

fn fail(check: u64) -> ! {
    let _ = call::report(report::CHECK_FAILED, check);
    call::exit(1)
}
