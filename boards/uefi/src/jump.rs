//! From the firmware's state to the kernel's: caches clean, MMU off, the tree in x0.

use core::arch::{asm, global_asm};

use crate::error::LoadError;
use crate::image::Kernel;

/// Whether this is EL2.
pub(crate) fn check_level() -> Result<(), LoadError> {
    let level: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, CurrentEL", out(reg) level, options(nomem, nostack, preserves_flags)) };
    if level >> 2 == 2 { Ok(()) } else { Err(LoadError::Level(level >> 2)) }
}

/// Affinity of this core, by which the tables name it (MPIDR_EL1; DDI 0487, D19.2).
pub(crate) fn affinity() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, mpidr_el1", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value & 0xff_00ff_ffff
}

// The last instructions of ours. From the first write of SCTLR_EL2 on they are fetched with MMU and
// caches off, from memory itself: x0 is the tree, x4 the kernel's entry. They touch no memory and
// no stack. Bits of SCTLR_EL2: M 0, C 2, I 12 (DDI 0487, D19.2).
global_asm!(
    r#"
    .section .text
    .balign 64
    .global bale_leave
bale_leave:
    msr     daifset, #15
    dsb     sy
    mrs     x2, sctlr_el2
    bic     x2, x2, #1
    bic     x2, x2, #4
    bic     x2, x2, #0x1000
    msr     sctlr_el2, x2
    isb
    ic      iallu
    tlbi    alle2
    dsb     sy
    isb
    mov     x1, xzr
    mov     x2, xzr
    mov     x3, xzr
    br      x4
    .global bale_leave_end
bale_leave_end:
    "#
);

unsafe extern "C" {
    safe static bale_leave: u8;
    safe static bale_leave_end: u8;
}

/// What of the loader itself runs with caches off: first byte and length.
fn last_instructions() -> (u64, usize) {
    let (start, end) = (&raw const bale_leave, &raw const bale_leave_end);
    (start as u64, end.addr() - start.addr())
}

/// What has to be in memory itself, and not in a cache alone, when caches go off, by name. These
/// bytes and no others run or are read without caches: the loader's last instructions; the kernel's
/// image, which begins so, and over whose zeroed part no line of ours may be written back later;
/// the tree, of which the kernel reads the head so. What else is handed over is read with caches
/// on, but by a kernel whose first map might not have the attributes of the firmware's, so that it
/// is in memory as well.
pub(crate) fn cleaned<'a>(
    kernel: &Kernel,
    data: &'a [(&'static str, &'a [u8])],
) -> impl Iterator<Item = (&'static str, u64, usize)> + 'a {
    let (start, length) = last_instructions();
    let fixed = [("last instructions", start, length), ("kernel", kernel.base, kernel.size)];
    let handed = data.iter().map(|(name, bytes)| (*name, bytes.as_ptr() as u64, bytes.len()));
    fixed.into_iter().chain(handed)
}

/// Enters the kernel with the first of `data`, the tree, and with what else is for it.
pub(crate) fn enter(kernel: &Kernel, data: &[(&'static str, &[u8])]) -> ! {
    for (_, start, length) in cleaned(kernel, data) {
        clean(start, length);
    }
    let tree = data.first().map_or(core::ptr::null(), |(_, tree)| tree.as_ptr());
    // SAFETY: the firmware is gone and maps this code to itself, so that it goes on without the
    // MMU; its instructions are in memory, cleaned above; the kernel takes over with stack and
    // vectors of its own.
    unsafe { asm!("b bale_leave", in("x0") tree, in("x4") kernel.entry, options(noreturn)) }
}

/// Cleans and invalidates a range to the point of coherency.
fn clean(start: u64, length: usize) {
    let sizes: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) sizes, options(nomem, nostack, preserves_flags)) };
    // CTR_EL0.DminLine: words in the smallest line, as a power of two.
    let line = 4 << (sizes >> 16 & 15);
    let mut at = start & !(line - 1);
    while at < start + length as u64 {
        // SAFETY: memory of ours, mapped; maintenance changes no byte of it.
        unsafe { asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags)) };
        at += line;
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}

/// Says on a PL011 why it goes no further, and stays there.
pub(crate) fn halt(uart: u64, why: &str) -> ! {
    const FLAGS: u64 = 0x18;
    const TRANSMIT_FULL: u32 = 1 << 5;
    for byte in why.bytes() {
        // SAFETY: the tables name a PL011 here (DDI 0183, UARTFR), which the firmware's map still
        // has.
        while unsafe { ((uart + FLAGS) as *const u32).read_volatile() } & TRANSMIT_FULL != 0 {}
        // SAFETY: as above (UARTDR).
        unsafe { (uart as *mut u32).write_volatile(byte.into()) };
    }
    loop {
        // SAFETY: waits.
        unsafe { asm!("wfi", options(nomem, nostack, preserves_flags)) };
    }
}
