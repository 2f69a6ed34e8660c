//! Firmware calls of two virtual CPUs on one core: what is refused, what a virtual CPU that goes on
//! and off is said to be meanwhile, and that SMC is answered as HVC is.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bale_abi::{NOT_SUPPORTED, RAM_BASE, RAM_SIZE, VENDOR_REVISION, VENDOR_UID};

use crate::call::{self, Results};
use crate::checks::Checks;
use crate::{entry, measure, virtio};

/// Functions, 32-bit and 64-bit (DEN 0022, 5.1).
const CPU_SUSPEND: [u64; 2] = [0x8400_0001, 0xc400_0001];
const CPU_OFF: u64 = 0x8400_0002;
const CPU_ON: [u64; 2] = [0x8400_0003, 0xc400_0003];
const AFFINITY_INFO: [u64; 2] = [0x8400_0004, 0xc400_0004];

/// What they return (DEN 0022, 5.2.2 and 5.7.2).
const INVALID_PARAMETERS: u64 = -2i64 as u64;
const ALREADY_ON: u64 = -4i64 as u64;
const INVALID_ADDRESS: u64 = -9i64 as u64;
const ON: u64 = 0;
const OFF: u64 = 1;

/// What a 32-bit call does not look at.
const UPPER: u64 = 0x5a5a_5a5a << 32;
/// The second virtual CPU has not run when the next call comes, unless the first one's slice of
/// time ends just there: so it is tried again.
const TRIES: u64 = 100;
const SUSPENSIONS: u64 = 8;
/// Calls that a suspension takes at most, on average: others than the timer may end it early. One
/// that does not wait takes hundreds.
const CALLS: u64 = 8;

/// How often the second virtual CPU was on, the value of x0 at its entry, and whether it is to go
/// off.
static LIVES: AtomicU64 = AtomicU64::new(0);
static CONTEXT: AtomicU64 = AtomicU64::new(0);
static LEAVE: AtomicBool = AtomicBool::new(false);

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; 8192]>);

// SAFETY: the second virtual CPU's alone, through its stack pointer.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; 8192]));

/// First Rust line of the second virtual CPU.
pub(crate) fn second(context: u64) -> ! {
    CONTEXT.store(context, Ordering::Relaxed);
    LIVES.fetch_add(1, Ordering::Release);
    while !LEAVE.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
    let _ = call::raw(CPU_OFF, [0; 3]);
    call::exit(2)
}

pub(crate) fn run() -> ! {
    let mut checks = Checks::new();
    affinity(&mut checks);
    refused(&mut checks);
    on_and_off(&mut checks);
    suspended(&mut checks);
    by_smc(&mut checks);
    checks.pass()
}

/// The first is on, the second off, and there are no others.
fn affinity(checks: &mut Checks) {
    for function in AFFINITY_INFO {
        checks.expect(function, [0, 0, 0], ON);
        checks.expect(function, [1, 0, 0], OFF);
        for (target, level) in
            [(2, 0), (8, 0), (1 << 8, 0), (1 << 16, 0), (0xffff_ffff, 0), (1 << 8, 1), (1, 4)]
        {
            checks.expect(function, [target, level, 0], INVALID_PARAMETERS);
        }
        // The cluster of each level is on, since the caller is in it.
        for (target, level) in [(0, 1), (1, 1), (0xffff, 2), (1, 3)] {
            checks.expect(function, [target, level, 0], ON);
        }
    }
    checks.expect(AFFINITY_INFO[0], [UPPER | 1, UPPER, 0], OFF);
    checks.expect(AFFINITY_INFO[1], [UPPER | 1, 0, 0], INVALID_PARAMETERS);
    checks.expect(AFFINITY_INFO[1], [1, UPPER, 0], INVALID_PARAMETERS);
}

/// Wrong targets and entry points leave the second one off.
fn refused(checks: &mut Checks) {
    let good = entry::secondary_address();
    let end = RAM_BASE + RAM_SIZE;
    for function in CPU_ON {
        for target in [2, 8, 1 << 8, 1 << 16, 0xffff_ffff] {
            checks.expect(function, [target, good, 0], INVALID_PARAMETERS);
        }
        checks.expect(function, [0, good, 0], ALREADY_ON);
        // Misaligned, nothing, registers, and beyond memory at both of its ends.
        for address in
            [good + 1, good + 2, 0, 0x0800_0000, 0x0900_0000, RAM_BASE - 4, end, 0xffff_fffc]
        {
            checks.expect(function, [1, address, 0], INVALID_ADDRESS);
        }
    }
    for target in [1 << 32 | 1, 1 << 39, u64::MAX] {
        checks.expect(CPU_ON[1], [target, good, 0], INVALID_PARAMETERS);
    }
    for address in [1 << 32 | good, 1 << 40, u64::MAX, !3] {
        checks.expect(CPU_ON[1], [1, address, 0], INVALID_ADDRESS);
    }
    checks.expect(AFFINITY_INFO[1], [1, 0, 0], OFF);
    checks.holds(LIVES.load(Ordering::Acquire) == 0);
}

/// It goes on, with a context of its own each time, and off. From the call on it is on, whether it
/// has run or not.
fn on_and_off(checks: &mut Checks) {
    let entry = entry::secondary_address();
    for life in 1..=TRIES {
        LEAVE.store(false, Ordering::Relaxed);
        let context = STACK.0.get() as u64 + 8192 - 16 * (life % 64);
        let wide = (life % 2) as usize;
        let upper = if wide == 0 { UPPER } else { 0 };
        let arguments = [upper | 1, upper | entry, upper | context];
        checks.expect(CPU_ON[wide], arguments, 0);
        let again = call::raw(CPU_ON[wide], arguments)[0];
        let state = call::raw(AFFINITY_INFO[wide], [upper | 1, 0, 0])[0];
        checks.holds(again == ALREADY_ON && state == ON);
        while LIVES.load(Ordering::Acquire) != life {
            core::hint::spin_loop();
        }
        checks.holds(CONTEXT.load(Ordering::Relaxed) == context);
        checks.expect(AFFINITY_INFO[wide], [1, 0, 0], ON);
        checks.expect(CPU_ON[wide], arguments, ALREADY_ON);
        LEAVE.store(true, Ordering::Release);
        while call::raw(AFFINITY_INFO[wide], [1, 0, 0])[0] != OFF {
            core::hint::spin_loop();
        }
    }
}

/// Waits by CPU_SUSPEND until the timer has fired, whose interrupt is there then.
fn suspended(checks: &mut Checks) {
    virtio::set(measure::DISTRIBUTOR, 3);
    measure::prepare_interrupts(0);
    let mut calls = 0;
    // States of levels that there are none of, and of bits that are reserved.
    for state in [1 << 17, 1 << 24, 1 << 31] {
        checks.expect(CPU_SUSPEND[0], [state, 0, 0], INVALID_PARAMETERS);
        checks.expect(CPU_SUSPEND[1], [state, 0, 0], INVALID_PARAMETERS);
    }
    for round in 0..SUSPENSIONS {
        let function = CPU_SUSPEND[(round % 2) as usize];
        set_timer(measure::now() + measure::frequency() / 50);
        while !timer_has_fired() {
            // Standby and power down alike: the caller goes on behind the call.
            let state = 1 | (round / 2 % 2) << 16;
            checks.holds(call::raw(function, [state, 2, 3]) == [0, state, 2, 3]);
            calls += 1;
        }
        // The line may come a little later than the timer shows it.
        while take_and_stop_timer() != measure::TIMER_INTERRUPT {}
    }
    checks.holds(calls <= SUSPENSIONS * CALLS);
}

fn set_timer(deadline: u64) {
    // SAFETY: the virtual timer is this virtual CPU's own.
    unsafe {
        asm!("msr cntv_cval_el0, {0}", "msr cntv_ctl_el0, {1}", "isb", in(reg) deadline, in(reg) 1u64, options(nostack))
    };
}

/// Takes an interrupt by hand, if there is one, stops the timer, whose line would stay up, if it is
/// that, and ends the interrupt; its number.
fn take_and_stop_timer() -> u64 {
    let number: u64;
    // SAFETY: the virtual CPU's own interface; interrupts are masked.
    unsafe { asm!("mrs {0}, icc_iar1_el1", out(reg) number, options(nostack)) };
    if number == measure::TIMER_INTERRUPT {
        // SAFETY: as above.
        unsafe { asm!("msr cntv_ctl_el0, xzr", "isb", options(nostack)) };
    }
    // SAFETY: as above; for none it has no effect.
    unsafe { asm!("msr icc_eoir1_el1, {0}", "isb", in(reg) number, options(nostack)) };
    number
}

fn timer_has_fired() -> bool {
    let control: u64;
    // SAFETY: as above.
    unsafe { asm!("isb", "mrs {0}, cntv_ctl_el0", out(reg) control, options(nostack)) };
    control & 4 != 0
}

/// By SMC everything is answered as by HVC, whatever number the instruction bears, and the guest
/// goes on behind it: functions of PSCI, of the SMCCC and our own, such as fail, and those that
/// nobody has.
fn by_smc(checks: &mut Checks) {
    let ours = [VENDOR_UID, VENDOR_REVISION].map(u64::from);
    for function in
        [0x8400_0000, 0x8400_0006, 0x8400_000a, 0x8000_0000, 0x8000_0001].into_iter().chain(ours)
    {
        same_by_smc(checks, [function, 0xc400_0003, 0x5a5a, 7], None);
    }
    same_by_smc(checks, [CPU_ON[1], 0, entry::secondary_address(), 7], Some(ALREADY_ON));
    same_by_smc(checks, [CPU_ON[1], 1, 2, 7], Some(INVALID_ADDRESS));
    for function in [
        0,
        0x8000_ffff,
        0x8200_0000,
        0x8400_00ff,
        0xc200_000b,
        0xc400_0fff,
        0xf200_0000,
        0xffff_ffff,
    ] {
        same_by_smc(checks, [function, 1, 2, 3], Some(NOT_SUPPORTED));
    }
}

fn same_by_smc(checks: &mut Checks, call: Results, expected: Option<u64>) {
    let [function, arguments @ ..] = call;
    let results = call::raw(function, arguments);
    checks.holds(
        expected.is_none_or(|status| results == [status, arguments[0], arguments[1], arguments[2]]),
    );
    for by_other in
        [call::smc::<0>, call::smc::<1>, call::smc::<0xffff>, call::hvc::<1>, call::hvc::<0xffff>]
    {
        let (others, behind) = by_other(function, arguments);
        checks.holds(others == results);
        checks.holds(behind == 1);
    }
}
