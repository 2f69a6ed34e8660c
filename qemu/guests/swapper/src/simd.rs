//! SIMD registers of two virtual CPUs on one core: each has a pattern of its own in all of them,
//! another one at each turn, and looks whether it is there still, while the other one, those of
//! other machines, and the hypervisor's own copies use the same registers.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use bale_abi::measure::{BATCH, SLOTS};
use bale_abi::{GuestInfo, PAGES_BASE, report};

use crate::virtio::Disk;
use crate::{call, entry};

const CPU_ON: u64 = 0xc400_0003;
const CPU_OFF: u64 = 0x8400_0002;
/// Bits that a program may set: rounding, flushing and default NaNs; the flags of exceptions and
/// saturation (DDI 0487, FPCR and FPSR).
const CONTROL: u64 = 0x7c0_0000;
const STATUS: u64 = 0x0800_009f;
/// Words of q0 to q31, FPCR, FPSR.
const WORDS: usize = 66;

/// How often each has looked.
static LOOKS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static DONE: AtomicU64 = AtomicU64::new(0);

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; 8192]>);

// SAFETY: the second virtual CPU's alone, through its stack pointer.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; 8192]));

pub(crate) fn run(info: &GuestInfo) -> ! {
    let stack = STACK.0.get() as u64 + 8192;
    if call::raw(CPU_ON, [1, entry::secondary_address(), stack])[0] != 0 {
        call::exit(1);
    }
    let Some(mut disk) = Disk::start() else { call::exit(1) };
    let batches = info.pages.min(SLOTS) / BATCH;
    if batches == 0 {
        call::exit(1);
    }
    keep(0, info, |turn| {
        let _ = call::report(report::CHECKS_PASSED, turn);
        // It is copied and compressed before we go on. A page that the disk refuses is the store's
        // business.
        let first = turn % batches * BATCH;
        disk.prepare(first, PAGES_BASE + first * 4096);
        let _ = disk.submit(|| ());
    });
    call::exit(0)
}

/// First Rust line of the second virtual CPU.
pub(crate) fn second(info: &GuestInfo) -> ! {
    keep(1, info, |_| ());
    let _ = call::raw(CPU_OFF, [0; 3]);
    call::exit(2)
}

/// Keeps patterns until the other one has been seen to run so many times in between, and it has
/// seen that of us.
fn keep(number: usize, info: &GuestInfo, mut at_turn: impl FnMut(u64)) {
    enable();
    let mut turn = 0;
    let mut seen = 0;
    loop {
        let expected = pattern(info.seed, number as u64, turn);
        // SAFETY: the registers are enabled, and compiled code of this program does not use them.
        unsafe { load(&expected) };
        at_turn(turn);
        loop {
            let mut found = [0; WORDS];
            // SAFETY: as above.
            unsafe { save(&mut found) };
            if let Some(at) = (0..WORDS).find(|at| found[*at] != expected[*at]) {
                let _ = call::report(report::CHECK_FAILED, 1 + 100 * number as u64 + at as u64);
                call::exit(1);
            }
            LOOKS[number].fetch_add(1, Ordering::Relaxed);
            let other = LOOKS[1 - number].load(Ordering::Relaxed);
            if other != seen {
                seen = other;
                break;
            }
        }
        turn += 1;
        if turn == info.steps {
            break;
        }
    }
    DONE.fetch_add(1, Ordering::Release);
    while DONE.load(Ordering::Acquire) < 2 {
        // The other one needs to see us run.
        LOOKS[number].fetch_add(1, Ordering::Relaxed);
    }
}

/// Words for all registers, of which none are alike.
fn pattern(seed: u64, number: u64, turn: u64) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    let base = seed << 48 | number << 40 | turn << 8;
    for (at, word) in (0..).zip(&mut words) {
        *word = (base | at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    words[64] &= CONTROL;
    words[65] &= STATUS;
    words
}

/// SIMD and floating point do not trap from now on.
pub(crate) fn enable() {
    // SAFETY: CPACR_EL1.FPEN alone changes.
    unsafe {
        asm!("mrs {0}, cpacr_el1", "orr {0}, {0}, #(3 << 20)", "msr cpacr_el1, {0}", "isb", out(reg) _, options(nostack));
    }
}

macro_rules! registers {
    ($instruction:literal, $words:expr, $($control:literal),*; $($how:tt)*) => {
        asm!(
            ".arch_extension fp",
            ".arch_extension simd",
            concat!($instruction, " q0, q1, [{q}]"),
            concat!($instruction, " q2, q3, [{q}, #32]"),
            concat!($instruction, " q4, q5, [{q}, #64]"),
            concat!($instruction, " q6, q7, [{q}, #96]"),
            concat!($instruction, " q8, q9, [{q}, #128]"),
            concat!($instruction, " q10, q11, [{q}, #160]"),
            concat!($instruction, " q12, q13, [{q}, #192]"),
            concat!($instruction, " q14, q15, [{q}, #224]"),
            concat!($instruction, " q16, q17, [{q}, #256]"),
            concat!($instruction, " q18, q19, [{q}, #288]"),
            concat!($instruction, " q20, q21, [{q}, #320]"),
            concat!($instruction, " q22, q23, [{q}, #352]"),
            concat!($instruction, " q24, q25, [{q}, #384]"),
            concat!($instruction, " q26, q27, [{q}, #416]"),
            concat!($instruction, " q28, q29, [{q}, #448]"),
            concat!($instruction, " q30, q31, [{q}, #480]"),
            $($control,)*
            ".arch_extension nosimd",
            ".arch_extension nofp",
            q = in(reg) $words,
            $($how)*
        )
    };
}

/// Writes all registers.
///
/// # Safety
/// They are enabled, and nobody else holds anything in them.
unsafe fn load(words: &[u64; WORDS]) {
    // SAFETY: reads the words; the caller's promise.
    unsafe {
        registers!("ldp", words, "msr fpcr, {control}", "msr fpsr, {status}";
            control = in(reg) words[64], status = in(reg) words[65], options(nostack, readonly, preserves_flags));
    }
}

/// Reads all registers.
///
/// # Safety
/// They are enabled.
unsafe fn save(words: &mut [u64; WORDS]) {
    let (control, status): (u64, u64);
    // SAFETY: writes the first 64 of the words.
    unsafe {
        registers!("stp", words.as_mut_ptr(), "mrs {control}, fpcr", "mrs {status}, fpsr";
            control = out(reg) control, status = out(reg) status, options(nostack, preserves_flags));
    }
    [words[64], words[65]] = [control, status];
}
