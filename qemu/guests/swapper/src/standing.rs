//! The virtual counter of two virtual CPUs that share a core, and a timer of each, while their
//! machine is made to stand still: the counter makes no step, neither back nor ahead, whoever
//! looks, and no timer fires before its time. One of them works, the other waits for its timer.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use bale_abi::report;

use crate::{call, entry, measure, virtio};

const CPU_ON: u64 = 0xc400_0003;
const TIMER: u64 = 27;
/// What an acknowledge gives where nothing is pending.
const NONE: u64 = 1023;
/// Milliseconds until a timer fires: much less than the machine stands still.
const TIMER_MS: u64 = 100;
/// Looks between two reports that it lives.
const TURN: u64 = 1000;

/// The latest that either has seen.
static LATEST: AtomicU64 = AtomicU64::new(0);
static LARGEST_STEP: AtomicU64 = AtomicU64::new(0);

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; 8192]>);

// SAFETY: the second virtual CPU's alone, through its stack pointer.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; 8192]));

pub(crate) fn run() -> ! {
    // Both groups.
    virtio::set(measure::DISTRIBUTOR, 3);
    LATEST.store(measure::now(), Ordering::Relaxed);
    let stack = STACK.0.get() as u64 + 8192;
    if call::raw(CPU_ON, [1, entry::secondary_address(), stack])[0] != 0 {
        fail(1);
    }
    look_on(0, false)
}

/// First Rust line of the second virtual CPU.
pub(crate) fn second() -> ! {
    look_on(1, true)
}

fn look_on(number: u64, waits: bool) -> ! {
    measure::prepare_interrupts(number);
    let mut deadline = arm();
    let mut looks: u64 = 0;
    loop {
        look(10 * number);
        match acknowledge() {
            NONE => {
                if waits {
                    // SAFETY: an interrupt that is pending ends it though it is masked.
                    unsafe { asm!("wfi") };
                }
            }
            TIMER => {
                if measure::now() < deadline {
                    fail(10 * number + 3);
                }
                // Before the end: while its line is high it would come again at once.
                deadline = arm();
                end(TIMER);
            }
            _ => fail(10 * number + 4),
        }
        looks += 1;
        if number == 0 && looks.is_multiple_of(TURN) {
            let step = LARGEST_STEP.load(Ordering::Relaxed) * 1000 / measure::frequency();
            let _ = call::report(report::MEASURED, step);
            let _ = call::report(report::CHECKS_PASSED, looks / TURN);
        }
    }
}

/// Looks at the counter, and how far it is from where it was seen last.
fn look(first_check: u64) {
    // Acquire: pairs with the release below. What is read behind it is not earlier.
    let before = LATEST.load(Ordering::Acquire);
    let now = measure::now();
    if now < before {
        fail(first_check + 2);
    }
    // Release: the counter was read before.
    LATEST.fetch_max(now, Ordering::Release);
    LARGEST_STEP.fetch_max(now - before, Ordering::Relaxed);
}

fn acknowledge() -> u64 {
    let number;
    // SAFETY: its own virtual interface.
    unsafe { asm!("mrs {0}, icc_iar1_el1", out(reg) number) };
    number
}

fn end(number: u64) {
    // SAFETY: as above.
    unsafe { asm!("msr icc_eoir1_el1, {0}", in(reg) number) };
}

/// Lets the timer fire; when.
fn arm() -> u64 {
    let deadline = measure::now() + measure::frequency() * TIMER_MS / 1000;
    // SAFETY: this virtual CPU's own timer.
    unsafe {
        asm!("msr cntv_cval_el0, {0}", "msr cntv_ctl_el0, {1}", "isb", in(reg) deadline, in(reg) 1u64);
    }
    deadline
}

fn fail(check: u64) -> ! {
    let _ = call::report(report::CHECK_FAILED, check);
    call::exit(1)
}
