//! The physical timer of two virtual CPUs that share a core: its registers, its interrupt while the
//! guest works and while it waits, the level of its line, and deadlines of one that is not loaded
//! when they come.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use bale_abi::{GuestInfo, report};

use crate::{call, entry, measure, virtio};

const CPU_ON: u64 = 0xc400_0003;
/// The timer's interrupt, and the virtual timer's.
const PHYSICAL: u64 = 30;
const VIRTUAL: u64 = 27;
/// What an acknowledge gives where nothing is pending.
const NONE: u64 = 1023;
/// `CNTP_CTL_EL0`: ENABLE, IMASK, ISTATUS.
const ENABLE: u64 = 1;
const MASKED: u64 = 2;
const REACHED: u64 = 4;
/// Ticks until a deadline: 100 us and more at 62.5 MHz to 1 GHz.
const SOON: u64 = 100_000;
const FAR: u64 = 1 << 40;

static ROUNDS_OF_SECOND: AtomicU64 = AtomicU64::new(0);

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; 8192]>);

// SAFETY: the second virtual CPU's alone, through its stack pointer.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; 8192]));

/// One register of the timer, written or read by its name.
macro_rules! set {
    ($register:literal, $value:expr) => {
        // SAFETY: this virtual CPU's own timer.
        unsafe { asm!(concat!("msr ", $register, ", {0}"), "isb", in(reg) $value) }
    };
}
macro_rules! get {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: as above.
        unsafe { asm!("isb", concat!("mrs {0}, ", $register), out(reg) value) };
        value
    }};
}

pub(crate) fn run(info: &GuestInfo) -> ! {
    // Both groups.
    virtio::set(measure::DISTRIBUTOR, 3);
    prepare(0);
    registers();
    let stack = STACK.0.get() as u64 + 8192;
    if call::raw(CPU_ON, [1, entry::secondary_address(), stack])[0] != 0 {
        fail(1);
    }
    for _ in 0..info.steps {
        fires_at_work();
        line_is_a_level();
        fires_in_a_wait(10);
        the_earlier_one_comes_first();
    }
    // The other one has had its turns between.
    while ROUNDS_OF_SECOND.load(Ordering::Relaxed) < info.steps {
        fires_in_a_wait(11);
    }
    let _ = call::report(report::CHECKS_PASSED, info.steps);
    call::exit(0)
}

/// First Rust line of the second virtual CPU: its deadlines come while the first one is loaded.
pub(crate) fn second() -> ! {
    prepare(1);
    loop {
        fires_in_a_wait(20);
        ROUNDS_OF_SECOND.fetch_add(1, Ordering::Relaxed);
    }
}

fn prepare(number: u64) {
    measure::prepare_interrupts(number);
    virtio::set(
        measure::FRAME + number * measure::FRAME_STEP + 0x100,
        1 << PHYSICAL | 1 << VIRTUAL,
    );
}

/// What is written is read back, and the status says what the counter says.
fn registers() {
    set!("cntp_ctl_el0", MASKED);
    check(2, get!("cntp_ctl_el0") == MASKED);
    set!("cntp_cval_el0", 0x1234_5678_9abc_def0u64);
    check(3, get!("cntp_cval_el0") == 0x1234_5678_9abc_def0);
    set!("cntp_tval_el0", 0xffff_ff00u64);
    set!("cntp_ctl_el0", ENABLE | MASKED);
    check(4, get!("cntp_ctl_el0") == ENABLE | MASKED | REACHED);
    check(5, get!("cntp_tval_el0") >> 31 == 1);
    set!("cntp_cval_el0", now() + FAR);
    check(6, get!("cntp_ctl_el0") == ENABLE | MASKED);
    set!("cntp_ctl_el0", 0u64);
    check(7, measure::end_pending() == NONE);
}

fn fires_at_work() {
    let deadline = now() + SOON;
    arm(deadline);
    let taken = loop {
        let number = measure::end_pending();
        if number != NONE {
            break number;
        }
    };
    check(8, taken == PHYSICAL && now() >= deadline);
    disarm();
}

/// Its interrupt comes again until the timer is written.
fn line_is_a_level() {
    arm(now());
    for _ in 0..3 {
        check(9, wait() == PHYSICAL);
    }
    set!("cntp_ctl_el0", ENABLE | MASKED);
    check(12, measure::end_pending() == NONE);
    set!("cntp_ctl_el0", ENABLE);
    check(13, wait() == PHYSICAL);
    disarm();
    check(14, measure::end_pending() == NONE);
}

fn fires_in_a_wait(check_number: u64) {
    let deadline = now() + SOON;
    arm(deadline);
    check(check_number, wait() == PHYSICAL && now() >= deadline);
    disarm();
}

/// Both timers run while it waits.
fn the_earlier_one_comes_first() {
    for (physical, virtual_one, first) in [(SOON, 2 * SOON, PHYSICAL), (2 * SOON, SOON, VIRTUAL)] {
        let begin = now();
        set!("cntv_cval_el0", measure::now() + virtual_one);
        set!("cntv_ctl_el0", ENABLE);
        arm(begin + physical);
        let earliest = wait_for_either();
        // The host may have slept over both.
        let late = now() >= begin + 2 * SOON;
        check(15, late || earliest == first);
        set!("cntv_ctl_el0", 0u64);
        disarm();
        while measure::end_pending() != NONE {}
    }
}

/// The first of both that is there, which goes on being there.
fn wait_for_either() -> u64 {
    loop {
        match (get!("cntp_ctl_el0") & REACHED != 0, get!("cntv_ctl_el0") & REACHED != 0) {
            (true, _) => return PHYSICAL,
            (false, true) => return VIRTUAL,
            (false, false) => {
                // SAFETY: an interrupt that is pending ends it though it is masked.
                unsafe { asm!("wfi") }
            }
        }
    }
}

fn wait() -> u64 {
    loop {
        match measure::end_pending() {
            NONE => {
                // SAFETY: as above.
                unsafe { asm!("wfi") };
            }
            number => return number,
        }
    }
}

fn arm(deadline: u64) {
    set!("cntp_cval_el0", deadline);
    set!("cntp_ctl_el0", ENABLE);
}

fn disarm() {
    set!("cntp_ctl_el0", 0u64);
}

fn now() -> u64 {
    get!("cntpct_el0")
}

fn check(number: u64, holds: bool) {
    if !holds {
        fail(number);
    }
}

fn fail(number: u64) -> ! {
    let _ = call::report(report::CHECK_FAILED, number);
    call::exit(1)
}
