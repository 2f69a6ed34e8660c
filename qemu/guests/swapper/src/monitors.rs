//! Performance monitors of two virtual CPUs that share a core: what software counts, cycles,
//! overflow and its interrupt, and that each finds its own registers whatever the other one writes.

use core::arch::asm;
use core::cell::UnsafeCell;

use bale_abi::{GuestInfo, report};

use crate::checks::Checks;
use crate::{call, entry, measure, virtio};

const CPU_ON: u64 = 0xc400_0003;
const OVERFLOW: u64 = 23;
const PING: u64 = 1;
/// What an acknowledge gives where nothing is pending.
const NONE: u64 = 1023;
/// `PMCR_EL0`: E, P, C, LC; and the number of counters.
const ENABLE: u64 = 1;
const RESET: u64 = 6;
const LONG: u64 = 1 << 6;
const CYCLES: u64 = 1 << 31;

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; 8192]>);

// SAFETY: the second virtual CPU's alone, through its stack pointer.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; 8192]));

/// A register, written or read by its name.
macro_rules! set {
    ($register:literal, $value:expr) => {
        // SAFETY: performance monitors of this virtual CPU.
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
    let mut checks = Checks::new();
    let version = get!("id_aa64dfr0_el1") >> 8 & 0xf;
    if version == 0 {
        entry::expect_undefined();
        let _ = get!("pmcr_el0");
        checks.holds(entry::saw_undefined());
        checks.pass();
    }
    let counters = get!("pmcr_el0") >> 11 & 31;
    checks.holds((1..=4).contains(&version) && counters >= 4);
    virtio::set(measure::DISTRIBUTOR, 3);
    prepare(0);
    software(&mut checks);
    selection(&mut checks, counters);
    cycles(&mut checks);
    let stack = STACK.0.get() as u64 + 8192;
    checks.expect(CPU_ON, [1, entry::secondary_address(), stack], 0);
    wait_for_ping();
    for turn in 0..info.steps {
        keep(&mut checks, 0, turn);
    }
    checks.pass();
}

/// First Rust line of the second virtual CPU.
pub(crate) fn second() -> ! {
    prepare(1);
    let mut checks = Checks::new();
    measure::send(1, PING);
    let mut turn = 0;
    loop {
        wait_for_ping();
        pattern(1, turn);
        measure::send(1, PING);
        wait_for_ping();
        checks.holds(has_pattern(1, turn));
        measure::send(1, PING);
        turn += 1;
    }
}

fn prepare(number: u64) {
    measure::prepare_interrupts(number);
    virtio::set(measure::FRAME + number * measure::FRAME_STEP + 0x100, 1 << OVERFLOW);
}

/// Software's own events, up to the overflow of 32 bits and the interrupt for it, which lasts until
/// it is cleared.
fn software(checks: &mut Checks) {
    set!("pmcr_el0", RESET | LONG);
    set!("pmevtyper1_el0", 0u64);
    set!("pmevcntr1_el0", u64::MAX - 1);
    checks.holds(get!("pmevcntr1_el0") == 0xffff_fffe);
    set!("pmswinc_el0", 2u64);
    checks.holds(get!("pmevcntr1_el0") == 0xffff_fffe);
    set!("pmcntenset_el0", 2u64);
    set!("pmintenset_el1", 2u64);
    set!("pmcr_el0", ENABLE | LONG);
    set!("pmswinc_el0", 2u64);
    checks.holds(get!("pmevcntr1_el0") == 0xffff_ffff && measure::end_pending() == NONE);
    set!("pmswinc_el0", 2u64);
    checks.holds(get!("pmevcntr1_el0") == 0 && get!("pmovsclr_el0") == 2);
    for _ in 0..2 {
        checks.holds(wait_for_overflow());
    }
    set!("pmovsclr_el0", 2u64);
    checks.holds(get!("pmovsset_el0") == 0 && measure::end_pending() == NONE);
    // Kept out of EL1.
    set!("pmevtyper1_el0", 1u64 << 31);
    set!("pmswinc_el0", 2u64);
    checks.holds(get!("pmevcntr1_el0") == 0);
    set!("pmcntenclr_el0", u64::MAX);
    set!("pmintenclr_el1", u64::MAX);
    checks.holds(get!("pmcntenset_el0") == 0 && get!("pmintenset_el1") == 0);
}

/// Counters by their number and by selection are the same.
fn selection(checks: &mut Checks, counters: u64) {
    for number in 0..counters {
        set!("pmselr_el0", number);
        set!("pmxevcntr_el0", 1000 + number);
    }
    checks.holds(get!("pmevcntr0_el0") == 1000 && get!("pmevcntr3_el0") == 1003);
    set!("pmselr_el0", 31u64);
    set!("pmxevtyper_el0", 1u64 << 30);
    checks.holds(get!("pmccfiltr_el0") == 1 << 30);
    set!("pmccfiltr_el0", 0u64);
}

/// The cycle counter counts at EL1, stops when told to, and raises its interrupt when it overflows
/// by itself.
fn cycles(checks: &mut Checks) {
    set!("pmcntenset_el0", CYCLES);
    set!("pmcr_el0", ENABLE | RESET | LONG);
    let first = get!("pmccntr_el0");
    work();
    let second = get!("pmccntr_el0");
    checks.holds(second > first);
    set!("pmcr_el0", LONG);
    let stopped = get!("pmccntr_el0");
    work();
    checks.holds(get!("pmccntr_el0") == stopped);
    set!("pmintenset_el1", CYCLES);
    set!("pmccntr_el0", u64::MAX - 10_000);
    set!("pmcr_el0", ENABLE | LONG);
    checks.holds(wait_for_overflow());
    checks.holds(get!("pmovsclr_el0") == CYCLES);
    set!("pmintenclr_el1", CYCLES);
    set!("pmovsclr_el0", CYCLES);
    checks.holds(measure::end_pending() == NONE);
    set!("pmcntenclr_el0", CYCLES);
}

/// The overflow's interrupt, while the virtual CPU works.
fn wait_for_overflow() -> bool {
    loop {
        match measure::end_pending() {
            NONE => work(),
            number => return number == OVERFLOW,
        }
    }
}

/// One turn of both: each has its own pattern, with the cycle counter on in the first alone.
fn keep(checks: &mut Checks, number: u64, turn: u64) {
    pattern(number, turn);
    set!("pmcntenset_el0", CYCLES);
    set!("pmcr_el0", ENABLE | LONG);
    measure::send(2, PING);
    wait_for_ping();
    checks.holds(has_pattern(number, turn) && get!("pmcntenset_el0") == CYCLES);
    measure::send(2, PING);
    wait_for_ping();
}

fn pattern(number: u64, turn: u64) {
    let value = number << 20 | turn;
    set!("pmevcntr0_el0", value);
    set!("pmevcntr3_el0", value + 1);
    set!("pmevtyper2_el0", value & 0x3ff);
    set!("pmselr_el0", number);
}

fn has_pattern(number: u64, turn: u64) -> bool {
    let value = number << 20 | turn;
    get!("pmevcntr0_el0") == value
        && get!("pmevcntr3_el0") == value + 1
        && get!("pmevtyper2_el0") == value & 0x3ff
        && get!("pmselr_el0") == number
        && (number == 0 || get!("pmcntenset_el0") == 0)
}

fn work() {
    for _ in 0..1000 {
        core::hint::spin_loop();
    }
}

/// Waits for the other virtual CPU; any other interrupt is a failure.
fn wait_for_ping() {
    loop {
        match measure::end_pending() {
            PING => return,
            NONE => {
                // SAFETY: an interrupt that is pending ends it though it is masked.
                unsafe { asm!("wfi") };
            }
            number => {
                let _ = call::report(report::CHECK_FAILED, 1000 + number);
                call::exit(1)
            }
        }
    }
}
