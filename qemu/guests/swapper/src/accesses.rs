//! Loads and stores of every form to a device's registers: pairs, those that write their base back,
//! SIMD registers. Each is held against plain loads of the same registers.

use core::arch::asm;

use crate::checks::Checks;
use crate::{measure, simd as simd_registers, virtio};

/// `GICD_IPRIORITYR8` and what follows: registers that keep what is written, as bytes and as words.
const PRIORITIES: u64 = measure::DISTRIBUTOR + 0x420;
/// What is written: priorities of which every bit is kept.
const VALUES: [u32; 4] = [0x0810_1820, 0x2830_3840, 0x4850_5860, 0xe8f0_f808];

/// One instruction on a device: the base and two more registers in, the same out.
macro_rules! on_device {
    ($instruction:literal, $base:expr, $first:expr, $second:expr) => {{
        let (mut base, mut first, mut second): (u64, u64, u64) = ($base, $first, $second);
        // SAFETY: registers of a device of this guest; no memory is touched.
        unsafe { asm!($instruction, inout("x1") base, inout("x2") first, inout("x3") second, options(nostack)) };
        (base, first, second)
    }};
}

fn word(number: u64) -> u32 {
    virtio::get(PRIORITIES + 4 * number)
}

fn is_written(first: u32, second: u32) -> bool {
    let found = (word(0), word(1)) == (first, second);
    virtio::set(PRIORITIES, VALUES[0]);
    virtio::set(PRIORITIES + 4, VALUES[1]);
    found
}

pub(crate) fn run() -> ! {
    let mut checks = Checks::new();
    for (place, value) in (0..).zip(VALUES) {
        virtio::set(PRIORITIES + 4 * place, value);
    }
    let [a, b, c, d] = VALUES.map(u64::from);
    loads(&mut checks, [a, b, c, d]);
    stores(&mut checks);
    simd(&mut checks, a | b << 32);
    checks.pass()
}

fn loads(checks: &mut Checks, [a, b, c, d]: [u64; 4]) {
    let at = PRIORITIES;
    let ones = u64::MAX;
    checks.holds(on_device!("ldp w2, w3, [x1]", at, ones, ones) == (at, a, b));
    checks.holds(on_device!("ldp w2, w3, [x1], #8", at, ones, ones) == (at + 8, a, b));
    checks.holds(on_device!("ldp w2, w3, [x1, #8]!", at, ones, ones) == (at + 8, c, d));
    checks.holds(on_device!("ldnp w2, w3, [x1, #8]", at, ones, ones) == (at, c, d));
    checks.holds(
        on_device!("ldpsw x2, x3, [x1, #8]", at, ones, ones) == (at, c, d | 0xffff_ffff << 32),
    );
    checks.holds(on_device!("ldr w2, [x1], #4", at, ones, 0) == (at + 4, a, 0));
    checks.holds(on_device!("ldr w2, [x1, #4]!", at, ones, 0) == (at + 4, b, 0));
    checks.holds(on_device!("ldrb w2, [x1], #-1", at, ones, 0) == (at - 1, a & 0xff, 0));
    checks.holds(on_device!("ldrsb x2, [x1, #12]!", at, ones, 0) == (at + 12, 8, 0));
    checks.holds(on_device!("ldrsb w2, [x1, #15]!", at, ones, 0) == (at + 15, 0xffff_ffe8, 0));
    checks.holds(
        on_device!("ldrsw x2, [x1, #12]!", at, ones, 0) == (at + 12, d | 0xffff_ffff << 32, 0),
    );
}

fn stores(checks: &mut Checks) {
    let at = PRIORITIES;
    let (first, second) = (0x1020_3040u32, 0x5060_7080u32);
    let (x, y) = (u64::from(first), u64::from(second));
    checks.holds(on_device!("stp w2, w3, [x1]", at, x, y).0 == at && is_written(first, second));
    checks.holds(
        on_device!("stp w2, w3, [x1], #16", at, y, x).0 == at + 16 && is_written(second, first),
    );
    checks.holds(
        on_device!("stp w2, wzr, [x1, #-8]!", at + 8, y, x).0 == at && is_written(second, 0),
    );
    checks.holds(
        on_device!("str w2, [x1], #8", at, x, 0).0 == at + 8 && is_written(first, VALUES[1]),
    );
    checks.holds(
        on_device!("str w2, [x1, #4]!", at, y, 0).0 == at + 4 && is_written(VALUES[0], second),
    );
    let byte = VALUES[0] & !0xff | 0x40;
    checks.holds(
        on_device!("strb w2, [x1], #1", at, x, 0).0 == at + 1 && is_written(byte, VALUES[1]),
    );
}

/// Registers that travel with a task of the hypervisor, and others.
fn simd(checks: &mut Checks, pair: u64) {
    simd_registers::enable();
    let at = PRIORITIES;
    let (low, high, other): (u64, u64, u64);
    // SAFETY: registers of a device of this guest, and SIMD registers that compiled code does not
    // use.
    unsafe {
        asm!(
            ".arch_extension fp", ".arch_extension simd",
            "movi v1.16b, #0xff", "movi v30.16b, #0xff",
            "ldr s1, [x1]", "ldp s30, s31, [x1, #8]",
            "fmov {low}, d1", "mov {high}, v1.d[1]", "mov {other}, v31.d[0]",
            ".arch_extension nosimd", ".arch_extension nofp",
            low = out(reg) low, high = out(reg) high, other = out(reg) other, in("x1") at, options(nostack));
    }
    checks.holds((low, high, other) == (pair & 0xffff_ffff, 0, u64::from(VALUES[3])));
    // SAFETY: as above.
    unsafe {
        asm!(
            ".arch_extension fp", ".arch_extension simd",
            "fmov s2, {first:w}", "fmov s29, {second:w}", "stp s2, s29, [x1], #8",
            ".arch_extension nosimd", ".arch_extension nofp",
            first = in(reg) 0x2828_2828u64, second = in(reg) 0x3030_3030u64, inout("x1") at => _, options(nostack));
    }
    checks.holds(is_written(0x2828_2828, 0x3030_3030));
}
