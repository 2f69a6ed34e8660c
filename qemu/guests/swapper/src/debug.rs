//! Debug registers and software step at EL1: every breakpoint and watchpoint, linked contexts, and
//! steps over instructions that the hypervisor emulates. A second virtual CPU on the same core,
//! which debugs nothing, runs through the same places meanwhile, and nothing happens to it.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::checks::Checks;
use crate::{entry, measure, virtio};

const CPU_ON: u64 = 0xc400_0003;
/// Exception classes at EL1 of EL1's own: breakpoint, software step, watchpoint, BRK; undefined
/// instruction.
const BREAKPOINT: u64 = 0x31;
const STEP: u64 = 0x33;
const WATCHPOINT: u64 = 0x35;
const BRK: u64 = 0x3c;
const UNDEFINED: u64 = 0;
/// `MDSCR_EL1`: SS, KDE, MDE.
const STEPS: u64 = 1;
const KERNEL: u64 = 1 << 13;
const MONITOR: u64 = 1 << 15;
/// `SPSR_EL1.SS`.
const SPSR_STEP: u64 = 1 << 21;
/// `DBGBCR<n>_EL1`: E, EL1 alone, all of an instruction. Type of those that are linked to a
/// context, and of the context itself.
const AT_EL1: u64 = 1 | 1 << 1 | 0xf << 5;
const LINKED: u64 = 1 << 20;
const LINKED_CONTEXT: u64 = 3 << 20;
/// A breakpoint at EL2 and EL1 (HMC): what of it is EL1's may hit.
const AND_HIGHER: u64 = 1 << 13;
/// `DBGWCR<n>_EL1`: loads, stores.
const LOADS: u64 = 1 << 3;
const STORES: u64 = 2 << 3;
/// Rounds, at least, and switches to the other virtual CPU that have to be seen.
const ROUNDS: u64 = 20;
const SWITCHES: u64 = 3;
/// The most places that one run of steps notes.
const NOTED: usize = 16;

static HITS: AtomicU64 = AtomicU64::new(0);
static PLACE: AtomicU64 = AtomicU64::new(0);
static STEPPED: AtomicUsize = AtomicUsize::new(0);
static NOTES: [AtomicU64; NOTED] = [const { AtomicU64::new(0) }; NOTED];
static STRAYED: AtomicBool = AtomicBool::new(false);
static LAPS: AtomicU64 = AtomicU64::new(0);

#[repr(C, align(16))]
struct Shared<T>(UnsafeCell<T>);

// SAFETY: the stack is the second virtual CPU's alone; the watched words are accessed by volatile
// accesses that no value depends on.
unsafe impl<T> Sync for Shared<T> {}

static STACK: Shared<[u8; 8192]> = Shared(UnsafeCell::new([0; 8192]));
static WATCHED: Shared<[u8; 16]> = Shared(UnsafeCell::new([0; 16]));

global_asm!(
    r#"
    .text
    .global guest_debug_target
guest_debug_target:
    nop
    ret

    // Steps begin behind the BRK and end at the last NOP; x0 is the address of a device's register.
    // The one with the undefined instruction is skipped by its handler together with the step over
    // it.
    .global guest_debug_steps
guest_debug_steps:
    stp     x29, x30, [sp, #-16]!
    mov     x9, x0
    brk     #16
    nop
    mrs     x0, id_aa64pfr0_el1
    ldr     w1, [x9]
    mov     w0, #0x84000000
    hvc     #0
    mov     w0, #0x84000000
    smc     #0
    mov     x1, #1
    movk    x1, #0x100, lsl #16
    msr     icc_sgi1r_el1, x1
    wfi
    mrs     x0, S3_0_C5_C3_0
    nop
    .global guest_debug_steps_end
guest_debug_steps_end:
    nop
    ldp     x29, x30, [sp], #16
    ret
    "#
);

unsafe extern "C" {
    safe fn guest_debug_target();
    fn guest_debug_steps(register: u64);
    safe static guest_debug_steps_end: u8;
}

/// A debug register, written or read by its name.
macro_rules! set {
    ($register:expr, $value:expr) => {
        // SAFETY: a debug register of this virtual CPU.
        unsafe { asm!(concat!("msr ", $register, ", {0}"), "isb", in(reg) $value) }
    };
}
macro_rules! get {
    ($register:expr) => {{
        let value: u64;
        // SAFETY: as above.
        unsafe { asm!(concat!("mrs {0}, ", $register), out(reg) value) };
        value
    }};
}
/// Functions that read and write the value and the control of each of sixteen.
macro_rules! points {
    ($set:ident, $get:ident, $value:literal, $control:literal) => {
        fn $set(number: u64, value: u64, control: u64) {
            points!(@each number, $set, $value, $control, value, control);
        }
        fn $get(number: u64) -> (u64, u64) {
            macro_rules! one { ($n:literal) => { (get!(concat!($value, $n, "_el1")), get!(concat!($control, $n, "_el1"))) }; }
            points!(@match number, one)
        }
    };
    (@each $number:ident, $set:ident, $v:literal, $c:literal, $value:ident, $control:ident) => {
        macro_rules! one {
            ($n:literal) => {{ set!(concat!($v, $n, "_el1"), $value); set!(concat!($c, $n, "_el1"), $control); }};
        }
        points!(@match $number, one)
    };
    (@match $number:ident, $one:ident) => {
        match $number {
            0 => $one!("0"), 1 => $one!("1"), 2 => $one!("2"), 3 => $one!("3"),
            4 => $one!("4"), 5 => $one!("5"), 6 => $one!("6"), 7 => $one!("7"),
            8 => $one!("8"), 9 => $one!("9"), 10 => $one!("10"), 11 => $one!("11"),
            12 => $one!("12"), 13 => $one!("13"), 14 => $one!("14"), _ => $one!("15"),
        }
    };
}
points!(set_breakpoint, breakpoint, "dbgbvr", "dbgbcr");
points!(set_watchpoint, watchpoint, "dbgwvr", "dbgwcr");

/// What a debug exception is answered with: how many bytes to skip; `None` for any other exception.
fn handle(syndrome: u64) -> Option<u64> {
    let class = syndrome >> 26;
    if !matches!(class, BREAKPOINT | STEP | WATCHPOINT | BRK | UNDEFINED) {
        return None;
    }
    if get!("mpidr_el1") & 0xff != 0 {
        STRAYED.store(true, Ordering::Relaxed);
    }
    HITS.fetch_add(1, Ordering::Relaxed);
    let place = get!("elr_el1");
    match class {
        BREAKPOINT | WATCHPOINT => {
            let place = if class == BREAKPOINT { place } else { get!("far_el1") };
            PLACE.store(place, Ordering::Relaxed);
            // Not again at the same place.
            set!("mdscr_el1", 0u64);
            Some(0)
        }
        STEP => {
            let count = STEPPED.fetch_add(1, Ordering::Relaxed);
            if let Some(note) = NOTES.get(count) {
                note.store(place, Ordering::Relaxed);
            }
            let state = get!("spsr_el1") & !SPSR_STEP;
            let goes_on = place != (&raw const guest_debug_steps_end) as u64 && count < NOTED;
            if !goes_on {
                // Or the next step would be pending at once.
                set!("mdscr_el1", 0u64);
            }
            set!("spsr_el1", state | if goes_on { SPSR_STEP } else { 0 });
            Some(0)
        }
        BRK => {
            if syndrome & 0xffff == 16 {
                set!("mdscr_el1", STEPS | KERNEL);
                let state = get!("spsr_el1");
                set!("spsr_el1", state | SPSR_STEP);
            }
            Some(4)
        }
        _ => Some(4),
    }
}

/// Runs something with these controls and debug exceptions open; how many came, and where the last
/// one was.
fn with(control: u64, run: impl FnOnce()) -> (u64, u64) {
    HITS.store(0, Ordering::Relaxed);
    PLACE.store(0, Ordering::Relaxed);
    set!("mdscr_el1", control);
    // SAFETY: the vectors handle what comes.
    unsafe { asm!("msr daifclr, #8", "isb") };
    run();
    // SAFETY: as above.
    unsafe { asm!("msr daifset, #8", "isb") };
    set!("mdscr_el1", 0u64);
    (HITS.load(Ordering::Relaxed), PLACE.load(Ordering::Relaxed))
}

pub(crate) fn run() -> ! {
    let mut checks = Checks::new();
    entry::handle_by(handle);
    virtio::set(measure::DISTRIBUTOR, 3);
    measure::prepare_interrupts(0);
    let stack = STACK.0.get() as u64 + 8192;
    checks.expect(CPU_ON, [1, entry::secondary_address(), stack], 0);
    let identity = get!("id_aa64dfr0_el1");
    let (breakpoints, contexts) = ((identity >> 12 & 15) + 1, (identity >> 28 & 15) + 1);
    let watchpoints = (identity >> 20 & 15) + 1;
    checks.holds(identity & 15 >= 6 && breakpoints >= 2 && contexts >= 1 && watchpoints >= 2);
    locks(&mut checks);
    let (mut round, mut seen, mut switches) = (0, 0, 0);
    while round < ROUNDS || switches < SWITCHES {
        each_is_kept(&mut checks, breakpoints, watchpoints);
        break_at_each(&mut checks, breakpoints);
        break_in_context(&mut checks, breakpoints);
        watch_with_each(&mut checks, watchpoints);
        step(&mut checks);
        round += 1;
        let laps = LAPS.load(Ordering::Relaxed);
        switches += u64::from(laps != seen);
        seen = laps;
        checks.holds(!STRAYED.load(Ordering::Relaxed));
    }
    checks.pass()
}

/// First Rust line of the second virtual CPU: through the places that the first one breaks at, with
/// debug exceptions open.
pub(crate) fn second() -> ! {
    // SAFETY: the vectors note what comes, and nothing may.
    unsafe { asm!("msr daifclr, #8", "isb") };
    loop {
        guest_debug_target();
        for place in 0..16 {
            touch(place);
        }
        LAPS.fetch_add(1, Ordering::Relaxed);
    }
}

/// The OS lock: closed out of reset, and while it is closed there are no breakpoints.
fn locks(checks: &mut Checks) {
    checks.holds(get!("oslsr_el1") == 0xa);
    let target = guest_debug_target as *const () as u64;
    set_breakpoint(0, target, AT_EL1);
    checks.holds(with(MONITOR | KERNEL, || guest_debug_target()) == (0, 0));
    set!("oslar_el1", 0u64);
    checks.holds(get!("oslsr_el1") == 8);
    // BRK needs nobody's leave.
    let (count, _) = with(0, || {
        // SAFETY: the vectors skip it.
        unsafe { asm!("brk #1") }
    });
    checks.holds(count == 1);
}

fn each_is_kept(checks: &mut Checks, breakpoints: u64, watchpoints: u64) {
    for number in 0..breakpoints {
        set_breakpoint(number, 0x1_0000 + (number << 4), AT_EL1 & !1);
    }
    for number in 0..watchpoints {
        set_watchpoint(number, 0x2_0000 + (number << 4), 0xff << 5 | LOADS);
    }
    for number in 0..breakpoints {
        checks.holds(breakpoint(number) == (0x1_0000 + (number << 4), AT_EL1 & !1));
    }
    for number in 0..watchpoints {
        checks.holds(watchpoint(number) == (0x2_0000 + (number << 4), 0xff << 5 | LOADS));
    }
}

fn break_at_each(checks: &mut Checks, breakpoints: u64) {
    let target = guest_debug_target as *const () as u64;
    for number in 0..breakpoints {
        for control in [AT_EL1, AT_EL1 | AND_HIGHER] {
            set_breakpoint(number, target, control);
            checks.holds(with(MONITOR | KERNEL, || guest_debug_target()) == (1, target));
            // Not without KDE, and not for EL0 alone.
            checks.holds(with(MONITOR, || guest_debug_target()) == (0, 0));
            set_breakpoint(number, target, AT_EL1 ^ 3 << 1);
            checks.holds(with(MONITOR | KERNEL, || guest_debug_target()) == (0, 0));
        }
        set_breakpoint(number, 0, 0);
    }
}

/// The last breakpoint matches a context, the first one hits in it alone.
fn break_in_context(checks: &mut Checks, breakpoints: u64) {
    let target = guest_debug_target as *const () as u64;
    let last = breakpoints - 1;
    set_breakpoint(last, 0x1234, 1 | 3 << 1 | 0xf << 5 | LINKED_CONTEXT);
    set_breakpoint(0, target, AT_EL1 | LINKED | last << 16);
    set!("contextidr_el1", 0x1233u64);
    checks.holds(with(MONITOR | KERNEL, || guest_debug_target()) == (0, 0));
    set!("contextidr_el1", 0x1234u64);
    checks.holds(with(MONITOR | KERNEL, || guest_debug_target()) == (1, target));
    set!("contextidr_el1", 0u64);
    set_breakpoint(0, 0, 0);
    set_breakpoint(last, 0, 0);
}

/// Reads and writes a byte that may be watched.
fn touch(place: usize) {
    let byte = WATCHED.0.get().cast::<u8>().wrapping_add(place);
    // SAFETY: within the words.
    let value = unsafe { byte.read_volatile() };
    // SAFETY: as above.
    unsafe { byte.write_volatile(value) };
}

/// Each watchpoint, each byte of a word, loads and stores: that byte alone.
fn watch_with_each(checks: &mut Checks, watchpoints: u64) {
    let words = WATCHED.0.get() as u64;
    for number in 0..watchpoints {
        for byte in 0..8 {
            let kind = if byte % 2 == 0 { LOADS } else { STORES };
            set_watchpoint(number, words, 1 | 1 << 1 | kind | 1 << (5 + byte));
            let others = || (0..16).filter(|place| *place != byte).for_each(touch);
            checks.holds(with(MONITOR | KERNEL, others) == (0, 0));
            checks.holds(with(MONITOR | KERNEL, || touch(byte)) == (1, words + byte as u64));
        }
        set_watchpoint(number, 0, 0);
    }
}

/// Steps over every instruction, those that are emulated among them, once each.
fn step(checks: &mut Checks) {
    STEPPED.store(0, Ordering::Relaxed);
    let register = measure::DISTRIBUTOR + 8;
    let run = || {
        // SAFETY: it reads a register of the interrupt controller and changes what a call may
        // change.
        unsafe {
            asm!("bl guest_debug_steps", inout("x0") register => _, out("x1") _, out("x2") _, out("x3") _,
                out("x9") _, clobber_abi("C"));
        }
    };
    let _ = with(KERNEL, run);
    // The interrupt that it sent itself, so that it does not wait.
    let _ = measure::end_pending();
    let start = guest_debug_steps as *const () as u64 + 12;
    let end = (&raw const guest_debug_steps_end) as u64;
    // The undefined instruction's handler skips it, so that the step over it ends behind the next
    // one.
    let undefined = end - 8;
    let expected = (start + 4..=end).step_by(4).filter(|place| *place != undefined + 4);
    let mut count = 0;
    for place in expected {
        checks.holds(NOTES[count].load(Ordering::Relaxed) == place);
        count += 1;
    }
    checks.holds(STEPPED.load(Ordering::Relaxed) == count);
}
