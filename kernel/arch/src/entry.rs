//! First instructions of the boot core and of each further core.
//!
//! The image starts with the 64-byte header of Linux's arm64 boot protocol
//! (Documentation/arch/arm64/booting.rst), so that QEMU's `-kernel` hands over the device tree in
//! x0 and an initrd. The image is a position-independent executable linked at 0: the boot core
//! applies its own relative relocations before any compiled code runs.

use core::arch::global_asm;

/// What a further core needs before it has the MMU: it is read with caches off, so the writer
/// cleans it to the point of coherency first.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct SecondaryBoot {
    /// Translation tables, `TTBR0_EL2`.
    pub tables: u64,
    /// `TCR_EL2`.
    pub translation_control: u64,
    /// `MAIR_EL2`.
    pub memory_attributes: u64,
    /// `SCTLR_EL2` with the MMU on.
    pub system_control: u64,
    /// Initial stack pointer.
    pub stack_top: u64,
    /// The argument of the Rust entry.
    pub argument: u64,
}

unsafe extern "C" {
    /// Entry of a core that PSCI's CPU_ON starts; its context id is the address of a
    /// [`SecondaryBoot`].
    pub fn bale_secondary_entry();
    /// First byte of the image.
    safe static __image_start: u8;
}

/// Where the image was loaded. An address minus this is the address in the ELF.
pub fn image_base() -> u64 {
    (&raw const __image_start) as u64
}

// The 64-byte header, then the boot core's path. Symbols come from the board's linker script:
// __image_start, __image_size, __rela_start, __rela_end, __bss_start, __zeroed_end, __stacks_end,
// __boot_stack_top.
global_asm!(
    r#"
    .section .head.text, "ax"
    .global bale_image_header
bale_image_header:
    b       bale_primary_entry
    .word   0
    .quad   0                       // text_offset: any 2 MiB boundary will do
    .quad   __image_size            // memory needed, zero-initialised part included
    .quad   0xa                     // little-endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .word   0

    .section .text.entry, "ax"
    .global bale_primary_entry
bale_primary_entry:
    msr     daifset, #15
    mov     x19, x0                 // device tree
    mrs     x20, CurrentEL
    lsr     x20, x20, #2

    // Apply R_AARCH64_RELATIVE (0x403) relocations: place + addend, both plus the load address.
    adrp    x21, __image_start
    add     x21, x21, :lo12:__image_start
    adrp    x1, __rela_start
    add     x1, x1, :lo12:__rela_start
    adrp    x2, __rela_end
    add     x2, x2, :lo12:__rela_end
1:  cmp     x1, x2
    b.hs    2f
    ldp     x3, x4, [x1]
    ldr     x5, [x1, #16]
    add     x1, x1, #24
    cmp     w4, #0x403
    b.ne    1b
    add     x5, x5, x21
    str     x5, [x21, x3]
    b       1b

    // Zero .bss and the stacks' neighbourhood the linker script names.
2:  adrp    x1, __bss_start
    add     x1, x1, :lo12:__bss_start
    adrp    x2, __zeroed_end
    add     x2, x2, :lo12:__zeroed_end
3:  cmp     x1, x2
    b.hs    4f
    stp     xzr, xzr, [x1], #16
    b       3b

    // All of the above was written with caches off: drop lines that were fetched before.
4:  mrs     x3, ctr_el0
    ubfx    x3, x3, #16, #4
    mov     x4, #4
    lsl     x3, x4, x3              // bytes in a line
    adrp    x1, __image_start
    add     x1, x1, :lo12:__image_start
    adrp    x2, __stacks_end
    add     x2, x2, :lo12:__stacks_end
9:  dc      ivac, x1
    add     x1, x1, x3
    cmp     x1, x2
    b.lo    9b
    dsb     sy

    adrp    x1, __boot_stack_top
    add     x1, x1, :lo12:__boot_stack_top
    cmp     x20, #2
    b.ne    5f
    mov     sp, x1
    adrp    x2, bale_vectors
    add     x2, x2, :lo12:bale_vectors
    msr     vbar_el2, x2
    isb
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    bl      bale_boot
    b       6f

    // Not EL2: no table, no vectors; only enough to say so.
5:  mov     sp, x1
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x20
    bl      bale_wrong_exception_level
6:  wfi
    b       6b

    .global bale_secondary_entry
bale_secondary_entry:
    msr     daifset, #15
    ldp     x1, x2, [x0]            // tables, translation control
    ldp     x3, x4, [x0, #16]       // memory attributes, system control
    ldp     x5, x6, [x0, #32]       // stack, argument
    tlbi    alle2
    ic      iallu
    dsb     nsh
    msr     ttbr0_el2, x1
    msr     tcr_el2, x2
    msr     mair_el2, x3
    adrp    x7, bale_vectors
    add     x7, x7, :lo12:bale_vectors
    msr     vbar_el2, x7
    isb
    msr     sctlr_el2, x4
    isb
    mov     sp, x5
    mov     x0, x6
    mov     x29, xzr
    mov     x30, xzr
    bl      bale_secondary
7:  wfi
    b       7b
    "#
);
