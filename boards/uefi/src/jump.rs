//! From the firmware's state to the kernel's: caches clean, MMU off, the tree in x0.

use core::arch::asm;

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

/// Enters the kernel with the first of `data`, the tree, and with what else is for it.
pub(crate) fn enter(kernel: &Kernel, data: &[&[u8]]) -> ! {
    // The kernel starts with caches off, and no line of ours may be written back over what it writes.
    clean(kernel.base, kernel.size);
    for part in data {
        clean(part.as_ptr() as u64, part.len());
    }
    let tree = data.first().map_or(core::ptr::null(), |tree| tree.as_ptr());
    // SAFETY: the firmware is gone and maps this code to itself, so that it goes on without the MMU; the kernel takes over with
    // stack and vectors of its own. Bits of SCTLR_EL2: M 0, C 2, I 12 (DDI 0487, D19.2).
    unsafe {
        asm!(
            "msr daifset, #15",
            "dsb sy",
            "mrs x2, sctlr_el2",
            "bic x2, x2, #1",
            "bic x2, x2, #4",
            "bic x2, x2, #0x1000",
            "msr sctlr_el2, x2",
            "isb",
            "ic iallu",
            "tlbi alle2",
            "dsb sy",
            "isb",
            "mov x1, xzr",
            "mov x2, xzr",
            "mov x3, xzr",
            "br x4",
            in("x0") tree,
            in("x4") kernel.entry,
            options(noreturn)
        )
    }
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

/// Nobody is left to be told.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: waits.
        unsafe { asm!("wfi", options(nomem, nostack, preserves_flags)) };
    }
}
