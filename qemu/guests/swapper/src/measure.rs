//! What ways into the hypervisor and back cost, by the guest's own counter, handed over as figures
//! ([`bale_abi::measure`]). Under QEMU with `-icount shift=0` a nanosecond is an instruction; those
//! of the loop are included (two to four a turn), and the counter's step of 16 ns shows in single
//! events by half of it.
//!
//! Two virtual CPUs on one core: what one sends to the other includes that the core changes between
//! them.
#![expect(clippy::cast_possible_truncation, reason = "64-bit words, and small numbers in them")]

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bale_abi::measure::{
    BATCH, DEVICE_REGISTER, DISK_WRITE, ENDS, FIRMWARE_CALL, HYPERCALL, IDENTIFICATION, INTERRUPT,
    INTERRUPT_COUNTING, INTERRUPT_DEBUGGING, SELF_INTERRUPT, SLOTS, TIMER, TIMER_WAITING,
};
use bale_abi::{EXITS, GuestInfo, PAGES_BASE, VENDOR_REVISION, report};

use crate::virtio::{self, Disk};
use crate::{call, entry};

const TURNS: u64 = 10_000;
/// Of what waits for something.
const FEW_TURNS: u64 = 2_000;
/// Ticks until a deadline.
const SOON: u64 = 400;
pub(crate) const DISTRIBUTOR: u64 = 0x0800_0000;
/// Control registers of the first redistributor's interrupts.
pub(crate) const FRAME: u64 = 0x080b_0000;
pub(crate) const FRAME_STEP: u64 = 0x2_0000;
/// `GICD_IIDR`: a register without side effects.
const REGISTER: u64 = DISTRIBUTOR + 8;
pub(crate) const TIMER_INTERRUPT: u64 = 27;
const DISK_INTERRUPT: u64 = 48;
const PING: u64 = 1;
const READY: u64 = 2;
const CPU_ON: u64 = 0xc400_0003;
const CPU_OFF: u64 = 0x8400_0002;
const AFFINITY_INFO: u64 = 0xc400_0004;
const OFF: u64 = 1;
/// Status: something that must come did not.
const FAILED: u64 = 1;

/// What the vector for interrupts leaves, for each virtual CPU: the counter at its first
/// instruction, and the number.
#[repr(C)]
struct Taken {
    time: AtomicU64,
    number: AtomicU64,
}

/// A number that no interrupt has: none was taken.
const NONE: u64 = u64::MAX;

#[unsafe(no_mangle)]
static GUEST_TAKEN: [Taken; 2] =
    [const { Taken { time: AtomicU64::new(0), number: AtomicU64::new(NONE) } }; 2];

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; 8192]>);

// SAFETY: the second virtual CPU's alone, through its stack pointer.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; 8192]));
static ANSWERS: AtomicBool = AtomicBool::new(true);
/// What both virtual CPUs use meanwhile.
static USE: AtomicU64 = AtomicU64::new(Use::Nothing as u64);

/// What a virtual CPU uses beside its work, which is switched with it then.
#[derive(Clone, Copy)]
enum Use {
    Nothing,
    /// A breakpoint and a watchpoint, at addresses that it does not touch.
    Debugging,
    /// The cycle counter and an event counter.
    Counting,
}

/// Begins to use something, or ends it: on the calling virtual CPU.
fn begin(what: Use) {
    let (debugging, counting) = match what {
        Use::Nothing => (0u64, 0u64),
        Use::Debugging => (1, 0),
        Use::Counting => (0, 1),
    };
    // SAFETY: this virtual CPU's own registers; the addresses are of no code and no data of ours.
    unsafe {
        asm!(
            "msr oslar_el1, xzr",
            "msr dbgbvr0_el1, {nowhere}",
            "msr dbgbcr0_el1, {breakpoint}",
            "msr dbgwvr0_el1, {nowhere}",
            "msr dbgwcr0_el1, {watchpoint}",
            "msr mdscr_el1, {monitor}",
            "isb",
            nowhere = in(reg) 0x7fff_0000u64,
            // EL1, all four bytes, enabled; the watchpoint for loads and stores.
            breakpoint = in(reg) debugging * 0x1e3,
            watchpoint = in(reg) debugging * 0x1ffb,
            monitor = in(reg) debugging << 15,
            options(nostack)
        );
    }
    if !has_counters() {
        return;
    }
    // SAFETY: as above.
    unsafe {
        asm!(
            "msr pmevtyper0_el0, {event}",
            "msr pmcntenclr_el0, {all}",
            "msr pmcntenset_el0, {counters}",
            "msr pmcr_el0, {counting}",
            "isb",
            // Instructions.
            event = in(reg) 8u64,
            all = in(reg) u64::from(u32::MAX),
            counters = in(reg) counting * (1 << 31 | 1),
            counting = in(reg) counting,
            options(nostack)
        );
    }
}

/// Whether there are performance monitors (DDI 0487, ID_AA64DFR0_EL1.PMUVer).
fn has_counters() -> bool {
    let features: u64;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {0}, id_aa64dfr0_el1", out(reg) features, options(nostack)) };
    !matches!(features >> 8 & 0xf, 0 | 0xf)
}

pub(crate) fn now() -> u64 {
    let ticks;
    // SAFETY: reads the counter.
    unsafe { asm!("isb", "mrs {0}, cntvct_el0", out(reg) ticks, options(nostack)) };
    ticks
}

pub(crate) fn frequency() -> u64 {
    let hertz;
    // SAFETY: reads a constant.
    unsafe { asm!("mrs {0}, cntfrq_el0", out(reg) hertz, options(nostack)) };
    hertz
}

/// Hands over ticks for so many turns.
fn figure(place: usize, ticks: u64, turns: u64) {
    let hundredths =
        u128::from(ticks) * 100_000_000_000 / u128::from(frequency()) / u128::from(turns);
    let _ = call::report(report::MEASURED + place as u64, hundredths as u64);
}

fn measure(place: usize, mut turn: impl FnMut()) {
    // Once to warm up.
    turn();
    let start = now();
    for _ in 0..TURNS {
        turn();
    }
    figure(place, now() - start, TURNS);
}

/// Whether interrupts may be taken.
fn unmask(open: bool) {
    if open {
        // SAFETY: the vector for interrupts is in place, and keeps every register.
        unsafe { asm!("msr daifclr, #2", "isb") };
    } else {
        // SAFETY: changes nothing but when interrupts are taken.
        unsafe { asm!("msr daifset, #2") };
    }
}

/// The calling virtual CPU's part of the interrupt controller, and its interface.
pub(crate) fn prepare_interrupts(number: u64) {
    virtio::set(FRAME + number * FRAME_STEP + 0x80, u32::MAX);
    virtio::set(FRAME + number * FRAME_STEP + 0x100, 1 << TIMER_INTERRUPT | 0xffff);
    // SAFETY: its own virtual interface.
    unsafe {
        asm!("msr icc_igrpen1_el1, {0}", "msr icc_pmr_el1, {1}", "isb", in(reg) 1u64, in(reg) 0xf0u64);
    }
}

pub(crate) fn send(targets: u64, number: u64) {
    // SAFETY: sends an interrupt.
    unsafe { asm!("msr icc_sgi1r_el1, {0}", "isb", in(reg) number << 24 | targets) };
}

/// Waits with interrupts masked until one has been taken; its time. By WFI, or at work.
fn wait_for(cpu: usize, number: u64, sleeping: bool) -> u64 {
    let taken = &GUEST_TAKEN[cpu];
    while taken.number.load(Ordering::Relaxed) == NONE {
        if sleeping {
            // SAFETY: an interrupt that is pending ends it though it is masked.
            unsafe { asm!("wfi") };
            unmask(true);
            unmask(false);
        }
    }
    if taken.number.swap(NONE, Ordering::Relaxed) != number {
        call::exit(FAILED);
    }
    taken.time.load(Ordering::Relaxed)
}

/// Takes and ends an interrupt by hand, with interrupts masked; its number, 1020 or more for none.
pub(crate) fn end_pending() -> u64 {
    let number;
    // SAFETY: its own virtual interface.
    unsafe { asm!("mrs {0}, icc_iar1_el1", "msr icc_eoir1_el1, {0}", out(reg) number) };
    number
}

/// How late the timer's interrupt is, in all.
fn timer(sleeping: bool) -> u64 {
    let mut late = 0;
    for _ in 0..FEW_TURNS {
        let deadline = now() + SOON;
        unmask(!sleeping);
        // SAFETY: the virtual timer is this virtual CPU's own.
        unsafe {
            asm!("msr cntv_cval_el0, {0}", "msr cntv_ctl_el0, {1}", "isb", in(reg) deadline, in(reg) 1u64);
        }
        late += wait_for(0, TIMER_INTERRUPT, sleeping) - deadline;
        unmask(false);
    }
    late
}

/// Exits of this virtual CPU.
fn exits() -> u64 {
    call::raw(EXITS.into(), [0; 3])[1]
}

/// Takes and ends an interrupt that is pending; exits between.
fn end_one() -> u64 {
    let before = exits();
    // SAFETY: interrupts are masked, so it is taken by hand; the timer's is level, so the timer is
    // stopped first.
    unsafe {
        asm!("mrs {0}, icc_iar1_el1", "msr cntv_ctl_el0, xzr", "isb", "msr icc_eoir1_el1, {0}", "isb", out(reg) _);
    }
    // The second question is an exit itself.
    exits() - before - 1
}

fn ends() {
    let mut sum = 0;
    for turn in 0..FEW_TURNS {
        if turn % 2 == 0 {
            send(1, PING);
        } else {
            // SAFETY: the virtual timer is this virtual CPU's own; it fires at once.
            unsafe { asm!("msr cntv_cval_el0, xzr", "msr cntv_ctl_el0, {0}", "isb", in(reg) 1u64) };
        }
        sum += end_one();
    }
    let _ = call::report(report::MEASURED + ENDS as u64, sum * 100 / FEW_TURNS);
}

/// First Rust line of the other virtual CPU: answers nothing, but takes each interrupt and waits
/// for the next.
pub(crate) fn second() -> ! {
    prepare_interrupts(1);
    begin(match USE.load(Ordering::Relaxed) {
        place if place == Use::Debugging as u64 => Use::Debugging,
        place if place == Use::Counting as u64 => Use::Counting,
        _ => Use::Nothing,
    });
    // Says that it is about to wait.
    send(1, READY);
    while ANSWERS.load(Ordering::Relaxed) {
        let _ = wait_for(1, PING, true);
        send(1, READY);
    }
    let _ = call::raw(CPU_OFF, [0; 3]);
    call::exit(FAILED)
}

/// From one virtual CPU to the other, which waits, while both use something; in all.
fn interrupts(what: Use) -> u64 {
    USE.store(what as u64, Ordering::Relaxed);
    ANSWERS.store(true, Ordering::Relaxed);
    begin(what);
    let stack = STACK.0.get() as u64 + 8192;
    if call::raw(CPU_ON, [1, entry::secondary_address(), stack])[0] != 0 {
        call::exit(FAILED);
    }
    let mut ticks = 0;
    for _ in 0..FEW_TURNS {
        let _ = wait_for(0, READY, true);
        let start = now();
        send(2, PING);
        while GUEST_TAKEN[1].time.load(Ordering::Relaxed) < start {
            // SAFETY: waits for the other one's answer; whatever it is, the loop looks.
            unsafe { asm!("wfi") };
        }
        ticks += GUEST_TAKEN[1].time.load(Ordering::Relaxed) - start;
    }
    ANSWERS.store(false, Ordering::Relaxed);
    while call::raw(AFFINITY_INFO, [1, 0, 0])[0] != OFF {
        send(2, PING);
    }
    // It may have said that it is ready after it was last asked.
    while end_pending() < 1020 {}
    begin(Use::Nothing);
    ticks
}

/// Writes each slot of the disk once; pages, and ticks for them.
fn disk(pages: u64) -> (u64, u64) {
    // The interrupt to this virtual CPU: group 1, edge, enabled.
    for (register, value) in [(0x84, 1 << 16), (0xc0c, 2), (0x104, 1 << 16)] {
        virtio::set(DISTRIBUTOR + register, value);
    }
    let Some(mut disk) = Disk::start() else { call::exit(FAILED) };
    let batches = pages.min(SLOTS) / BATCH;
    let mut ticks = 0;
    unmask(true);
    for batch in 0..batches {
        disk.prepare(batch * BATCH, PAGES_BASE + batch * BATCH * 4096);
        let start = now();
        let written = disk.submit(|| {
            let _ = wait_for(0, DISK_INTERRUPT, false);
        });
        ticks += now() - start;
        if !written {
            call::exit(FAILED);
        }
    }
    unmask(false);
    (batches * BATCH, ticks)
}

pub(crate) fn run(info: &GuestInfo) -> ! {
    virtio::set(DISTRIBUTOR, 3);
    prepare_interrupts(0);
    measure(HYPERCALL, || {
        let _ = call::raw(VENDOR_REVISION.into(), [0; 3]);
    });
    measure(FIRMWARE_CALL, || {
        let _ = call::raw(0x8400_0000, [0; 3]);
    });
    measure(IDENTIFICATION, || {
        // SAFETY: reads an identification register, which traps.
        unsafe { asm!("mrs {0}, id_aa64pfr0_el1", out(reg) _, options(nostack)) };
    });
    measure(DEVICE_REGISTER, || {
        let _ = virtio::get(REGISTER);
    });
    measure(SELF_INTERRUPT, || {
        send(1, PING);
        end_pending();
    });
    ends();
    figure(TIMER, timer(false), FEW_TURNS);
    figure(TIMER_WAITING, timer(true), FEW_TURNS);
    for (place, what) in [
        (INTERRUPT, Use::Nothing),
        (INTERRUPT_DEBUGGING, Use::Debugging),
        (INTERRUPT_COUNTING, Use::Counting),
    ] {
        if place != INTERRUPT_COUNTING || has_counters() {
            figure(place, interrupts(what), FEW_TURNS);
        }
    }
    let (pages, ticks) = disk(info.pages);
    figure(DISK_WRITE, ticks, pages.max(1));
    call::exit(0)
}
