//! A storm on everything that traps, from several virtual CPUs at once: registers of devices and of
//! nothing, system registers of every kind, wild PSCI calls and hypercalls, interrupts to
//! everybody, descriptor chains, sectors of the same blocks, translation tables; each kind alone,
//! or the first ones mixed. What the hypervisor answers does not matter here; that it answers, and
//! goes on, does.

#![expect(clippy::cast_possible_truncation, reason = "usize is 64 bits here")]

mod chains;
mod sectors;
mod tables;

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use bale_abi::{
    CONSOLE_LIMIT, CONSOLE_WRITE, EXIT, GuestInfo, NOT_SUPPORTED, PAGES_BASE, RAM_BASE, RAM_SIZE,
    REPORT, STORM_VCPUS, SWAP_OUT, mode, report,
};

use crate::{call, entry};

/// PSCI functions that end or stop a virtual CPU or the machine: their numbers within each range.
const PSCI_ENDS: [u64; 7] = [1, 2, 8, 9, 0xc, 0xe, 0x12];
const CPU_ON: u64 = 0xc400_0003;
const CPU_OFF: u64 = 0x8400_0002;

/// Addresses that devices have on this machine, and their sizes.
const DEVICES: [(u64, u64); 7] = [
    (0x0800_0000, 0x1_0000),
    (0x080a_0000, 0x10_0000),
    (0x0900_0000, 0x1000),
    (0x0901_0000, 0x1000),
    (0x0b00_0000, 0x1000),
    // The disk and the console, and all places for such devices.
    (0x0a00_0000, 0x400),
    (0x0a00_0000, 0x1000),
];

/// Seed of the first virtual CPU's choices.
static SEED: AtomicU64 = AtomicU64::new(0);
static READY: AtomicU64 = AtomicU64::new(0);
static DONE: AtomicU64 = AtomicU64::new(0);

/// Stacks of the other virtual CPUs, and an instruction that each virtual CPU writes for itself.
#[repr(C, align(4096))]
struct Own<const N: usize>(UnsafeCell<[[u8; N]; STORM_VCPUS as usize]>);

// SAFETY: each virtual CPU uses its own element only.
unsafe impl<const N: usize> Sync for Own<N> {}

static STACKS: Own<8192> = Own(UnsafeCell::new([[0; 8192]; STORM_VCPUS as usize]));
static CODE: Own<64> = Own(UnsafeCell::new([[0; 64]; STORM_VCPUS as usize]));

fn own<const N: usize>(of: &Own<N>, number: u64) -> u64 {
    of.0.get() as u64 + number * N as u64
}

/// Starts the other virtual CPUs, storms, and waits until all have stormed.
pub(crate) fn run(info: &GuestInfo) -> ! {
    SEED.store(info.seed, Ordering::Relaxed);
    if info.mode == mode::STORM_SECTORS && !sectors::start() {
        call::exit(1);
    }
    // Only small guests may speak without their number in front.
    let text = [RAM_BASE, 1, 0];
    if info.mode != mode::STORM_CALLS && call::raw(CONSOLE_WRITE.into(), text)[0] != NOT_SUPPORTED {
        call::exit(5);
    }
    entry::skip_everything();
    let vcpus = vcpus(info);
    for number in 1..vcpus {
        let stack = own(&STACKS, number) + 8192;
        if call::raw(CPU_ON, [number, entry::secondary_address(), stack])[0] != 0 {
            call::exit(1);
        }
    }
    storm(0, info.seed, info);
    wait_for_all(vcpus);
    if info.mode == mode::STORM_CHAINS && !chains::console_is_well() {
        call::exit(3);
    }
    let _ = call::report(report::CHECKS_PASSED, vcpus * (info.steps / vcpus));
    call::exit(0)
}

fn vcpus(info: &GuestInfo) -> u64 {
    if info.mode == mode::STORM_CALLS { 1 } else { STORM_VCPUS }
}

fn wait_for_all(vcpus: u64) {
    while DONE.load(Ordering::Acquire) < vcpus {
        core::hint::spin_loop();
    }
}

/// First Rust line of another virtual CPU.
pub(crate) fn second(info: &GuestInfo) -> ! {
    let number = READY.fetch_add(1, Ordering::Relaxed) + 1;
    storm(number, SEED.load(Ordering::Relaxed) ^ number << 32, info);
    // Not before the others: one that is off could be turned on by a wild call, at a wild address.
    wait_for_all(vcpus(info));
    let _ = call::raw(CPU_OFF, [0; 3]);
    call::exit(2)
}

/// Xorshift (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    /// Small, with one bit, or anything.
    fn value(&mut self) -> u64 {
        match self.below(3) {
            0 => self.below(256),
            1 => 1 << self.below(64),
            _ => self.next(),
        }
    }
}

fn storm(number: u64, seed: u64, info: &GuestInfo) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..info.steps / vcpus(info) {
        match info.mode {
            mode::STORM_DEVICES => device(&mut random),
            mode::STORM_REGISTERS => system_register(number, &mut random),
            mode::STORM_FIRMWARE => firmware(&mut random),
            mode::STORM_INTERRUPTS => interrupts(number, &mut random),
            mode::STORM_CHAINS => chains::step(&mut random),
            mode::STORM_CALLS => hypercall(&mut random),
            mode::STORM_TABLES => tables::step(&mut random),
            mode::STORM_SECTORS => {
                if !sectors::step(number, &mut random) {
                    call::exit(4);
                }
            }
            _ => match random.below(128) {
                0..48 => device(&mut random),
                48..80 => system_register(number, &mut random),
                80..96 => firmware(&mut random),
                96..127 => interrupts(number, &mut random),
                _ => wait(&mut random),
            },
        }
    }
    DONE.fetch_add(1, Ordering::Release);
}

/// An access of any width to a register, or to nothing.
fn device(random: &mut Random) {
    let (base, size) = match random.below(8) {
        // No memory is mapped below this guest's own but for its start-up page.
        0 => (0, 0x0600_0000),
        1 => (1 << 39, 1 << 38),
        _ => DEVICES[random.below(DEVICES.len() as u64) as usize],
    };
    let address = base + random.below(size);
    let (address, value) = (address & !(7 >> random.below(4)), random.value());
    macro_rules! access {
        ($instruction:literal) => {
            // SAFETY: none of these addresses is memory of this program; what faults is skipped by
            // the vectors.
            unsafe { asm!($instruction, inout("x1") value => _, in("x2") address, out("x3") _) }
        };
    }
    match random.below(10) {
        0 => access!("strb w1, [x2]"),
        1 => access!("strh w1, [x2]"),
        2 => access!("str w1, [x2]"),
        3 => access!("str x1, [x2]"),
        4 => access!("ldrb w1, [x2]"),
        5 => access!("ldrsh x1, [x2]"),
        6 => access!("ldr w1, [x2]"),
        7 => access!("ldr x1, [x2]"),
        8 => access!("ldp x1, x3, [x2]"),
        _ => access!("ldxr x1, [x2]"),
    }
}

/// Registers that a hypervisor keeps from its guest or answers itself: op0, op1, `CRn`, the first
/// `CRm` and how many.
const KEPT: [(u64, u64, u64, u64, u64); 6] = [
    // Breakpoints and watchpoints.
    (2, 0, 0, 0, 16),
    // Identification.
    (3, 0, 0, 1, 7),
    // Interrupts to other virtual CPUs.
    (3, 0, 12, 11, 1),
    // Counters of events.
    (3, 3, 9, 12, 3),
    // What the architecture leaves to the implementation.
    (3, 0, 15, 0, 16),
    (3, 1, 11, 0, 16),
];

/// Reads or writes any system register but those that this program itself stands on; every other
/// time one that is kept.
fn system_register(number: u64, random: &mut Random) {
    let read = random.below(2);
    let op2 = random.below(8);
    let (op0, op1, crn, crm) = if random.below(2) == 0 {
        let (op0, op1, crn, crm, count) = KEPT[random.below(KEPT.len() as u64) as usize];
        (op0, op1, crn, crm + random.below(count))
    } else {
        let op0 = 1 + random.below(3);
        let crn = match (op0, read) {
            // Address translation, cache and TLB maintenance.
            (1, _) => 7 + random.below(2),
            (3, 0) => [0, 9, 11, 12, 13, 14, 15][random.below(7) as usize],
            _ => random.below(16),
        };
        (op0, random.below(8), crn, random.below(16))
    };
    // VBAR_EL1 and its neighbours.
    let crm = if op0 == 3 && crn == 12 { crm | 8 } else { crm };
    let read = if op0 == 1 { 0 } else { read };
    // ICC_BPR1_EL1 and ICC_CTLR_EL1, which QEMU 7.2 answers with an assertion of its own
    // (icv_gprio_mask).
    let spared = (op0, read, op1, crn, crm) == (3, 0, 0, 12, 12) && matches!(op2, 3 | 4);
    // CNTV_TVAL_EL0 and CNTV_CVAL_EL0: on a machine that is up for longer, a value far in the past
    // or future overflows QEMU 7.2's own sum, whose main loop never ends then.
    let overflows = (op0, read, op1, crn, crm) == (3, 0, 3, 14, 3) && matches!(op2, 0 | 2);
    if spared || overflows {
        return;
    }
    let code = 0xd500_0000 | read << 21 | op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5;
    // By address only addresses that are not mapped; a register takes anything.
    let value = if op0 == 1 { 0 } else { random.value() };
    let place = own(&CODE, number);
    // SAFETY: writes an instruction and a return into this virtual CPU's own place and calls it; x0
    // alone changes, and what faults is skipped by the vectors.
    unsafe {
        asm!(
            "stp {code:w}, {ret:w}, [{place}]",
            "dc cvau, {place}",
            "dsb ish",
            "ic ivau, {place}",
            "dsb ish",
            "isb",
            "blr {place}",
            code = in(reg) code,
            ret = in(reg) 0xd65f_03c0u64,
            place = in(reg) place,
            inout("x0") value => _,
            out("x30") _,
        );
    }
}

/// A call with any number and any arguments, but for those that end or stop us.
fn firmware(random: &mut Random) {
    let number = random.below(0x40);
    let function = match random.below(4) {
        0 if !PSCI_ENDS.contains(&number) => 0x8400_0000 + number,
        1 if !PSCI_ENDS.contains(&number) => 0xc400_0000 + number,
        2 => 0xc600_0000 + number,
        _ => random.next() & !0x0600_0000,
    };
    let ours = [CONSOLE_WRITE, EXIT, REPORT].map(u64::from).contains(&(function & 0xffff_ffff));
    if !ours {
        let _ = call::raw(function, [random.value(), random.value(), random.value()]);
    }
}

/// One of Bale's own calls, or a neighbour of them, with arguments that are right now and then.
/// What is read back goes to the end of memory, where nothing of this program is, or is refused.
fn hypercall(random: &mut Random) {
    let function = u64::from(SWAP_OUT) - 1 + random.below(24);
    let end = RAM_BASE + RAM_SIZE;
    let address = match random.below(8) {
        0 => PAGES_BASE + (random.below(8192) << 12),
        1 => end + random.below(1 << 32),
        2 => end - 4096 + random.below(4096),
        3 => !(random.below(1 << 20)),
        _ => end - ((1 + random.below(32)) << 12),
    };
    let slot = if random.below(4) == 0 { random.value() } else { random.below(8192) };
    let arguments = match function as u32 {
        EXIT => return,
        // No text, and no figure that anybody looks at.
        CONSOLE_WRITE => [address, CONSOLE_LIMIT + 1 + random.value() / 2, 0],
        REPORT => [random.value() & !0xff, random.next(), 0],
        _ => [
            slot,
            if random.below(8) == 0 { random.value() & 0xfff } else { address },
            random.next(),
        ],
    };
    let _ = call::raw(function, arguments);
}

/// Makes more interrupts active than there are list registers, each with a priority of its own, and
/// ends many of them without having taken one: what the books have to find out is as much as a
/// guest can make it (IHI 0069, ICH_HCR_EL2.EOIcount).
fn ends(number: u64, random: &mut Random) {
    let distributor = 0x0800_0000;
    let frame = 0x080b_0000 + number * 0x2_0000;
    for (base, banks) in [(frame, 0..1), (distributor, 1..3u64)] {
        for bank in banks {
            for word in 0..8 {
                let priorities = base + 0x400 + bank * 32 + word * 4;
                // SAFETY: GICD_IPRIORITYR or GICR_IPRIORITYR of interrupts that this program does
                // not need.
                unsafe { asm!("str {0:w}, [{1}]", in(reg) random.next(), in(reg) priorities) };
            }
            let active = base + 0x300 + bank * 4;
            // SAFETY: GICD_ISACTIVER or GICR_ISACTIVER of the same ones.
            unsafe { asm!("str {0:w}, [{1}]", in(reg) u64::MAX, in(reg) active) };
        }
    }
    // SAFETY: every priority is active from here on in this virtual CPU's own interface.
    unsafe { asm!("msr icc_ap1r0_el1, {0}", "isb", in(reg) 0xffff_ffffu64) };
    for _ in 0..32 {
        // SAFETY: ends an interrupt, taken or not.
        unsafe { asm!("msr icc_eoir1_el1, {0}", in(reg) random.below(96)) };
    }
}

/// Sends an interrupt to anybody, takes one, and ends one. Now and then everything is enabled again
/// that other steps have disabled.
fn interrupts(number: u64, random: &mut Random) {
    if random.below(1024) == 0 {
        ends(number, random);
    }
    if random.below(4) == 0 {
        let frame = 0x080b_0000 + number * 0x2_0000;
        for (register, value) in
            [(0x0800_0000, 3u64), (frame + 0x80, 0xffff_ffff), (frame + 0x100, 0xffff_ffff)]
        {
            // SAFETY: registers of the interrupt controller: its control, this virtual CPU's groups
            // and enables.
            unsafe { asm!("str {0:w}, [{1}]", in(reg) value, in(reg) register) };
        }
    }
    let value = random.next() & if random.below(2) == 0 { 0x0f00_000f } else { u64::MAX };
    // SAFETY: interrupts stay masked; they are taken by hand.
    unsafe {
        asm!(
            "msr icc_sgi1r_el1, {0}",
            "msr icc_igrpen1_el1, {1}",
            "msr icc_pmr_el1, {2}",
            "mrs {3}, icc_iar1_el1",
            "msr icc_eoir1_el1, {3}",
            in(reg) value,
            in(reg) 1u64,
            in(reg) 0xf0u64,
            out(reg) _,
        );
    }
}

/// Waits for an interrupt that the virtual timer makes sure of.
fn wait(random: &mut Random) {
    let ticks = random.below(512);
    // SAFETY: the timer is this virtual CPU's own.
    unsafe {
        asm!(
            "msr cntv_tval_el0, {0}",
            "msr cntv_ctl_el0, {1}",
            "isb",
            "wfi",
            in(reg) ticks,
            in(reg) 1u64,
        );
    }
}
