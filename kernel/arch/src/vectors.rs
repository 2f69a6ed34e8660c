//! Exception vectors of EL2, the trap frame, and whom they call.
//!
//! Four functions are expected from the kernel, by symbol:
//! - `bale_exception(frame, kind)`: an exception taken from EL2 itself that is not an interrupt.
//!   Returns to go on.
//! - `bale_interrupt(frame)`: IRQ or FIQ taken from EL2. It may switch tasks before it returns.
//! - `bale_boot`, `bale_secondary`: see [`crate::entry`].
//!
//! Exceptions from a guest do not come here: they return from [`crate::vcpu::enter`].
//!
//! Stacks are [`STACK_SIZE`] bytes, aligned to it, and their lowest page is not mapped. A
//! synchronous exception whose frame would touch that page is a stack overflow, which nothing goes
//! on from: it is reported on the emergency stack, the one at the linker script's
//! `__emergency_stack`. That is one for all cores, since one core reports: the first to come has it
//! for good, others stop. It is a stack as the others are, so its own overflow is seen, too, and
//! begins at its top again.

use core::arch::{asm, global_asm};
use core::mem::offset_of;

/// Bytes of one stack, its guard page included.
pub const STACK_SIZE: usize = 32 * 1024;
/// Bytes of the unmapped page at the low end of a stack.
pub const GUARD_SIZE: usize = 4096;
/// Where the per-core block holds how many branches clear the core's branch history; zero where an
/// instruction does.
pub const BRANCHES_OFFSET: usize = 48;
/// Where the per-core block holds the address of the guest context that runs.
pub const VCPU_OFFSET: usize = 0;

/// Registers at the moment of an exception from EL2.
#[repr(C, align(16))]
#[derive(Debug, Clone)]
pub struct TrapFrame {
    /// x0 to x30.
    pub registers: [u64; 31],
    /// sp before the exception.
    pub stack: u64,
    /// `ELR_EL2`: where it happened, and where it returns to.
    pub elr: u64,
    /// `SPSR_EL2`.
    pub spsr: u64,
    /// Which vector was taken; see [`Kind`].
    kind: u64,
    _align: u64,
}

const _: () = assert!(size_of::<TrapFrame>() == 288);
const _: () = assert!(offset_of!(TrapFrame, stack) == 248);
const _: () = assert!(offset_of!(TrapFrame, elr) == 256);
const _: () = assert!(offset_of!(TrapFrame, kind) == 272);
const _: () = assert!(
    STACK_SIZE == 0x8000 && GUARD_SIZE == 0x1000,
    "the overflow tests below look at bits 12 to 14, and from 15 on"
);

/// Which vector was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Kind {
    /// Synchronous: `ESR_EL2` says what.
    Synchronous = 0,
    /// SError: an external abort that came late.
    SError = 1,
    /// A vector that Bale never uses (SP_EL0 at EL2, or AArch32 below).
    Unused = 2,
    /// Synchronous, with the stack pointer in its guard page.
    StackOverflow = 3,
    /// The same on the emergency stack.
    EmergencyOverflow = 4,
}

impl Kind {
    /// From the number that the vectors pass.
    pub fn from_raw(raw: u64) -> Self {
        match raw {
            0 => Self::Synchronous,
            1 => Self::SError,
            3 => Self::StackOverflow,
            4 => Self::EmergencyOverflow,
            _ => Self::Unused,
        }
    }
}

global_asm!(
    r#"
    .macro save_registers
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x10, elr_el2
    mrs     x11, spsr_el2
    add     x9, sp, #288
    stp     x30, x9, [sp, #240]
    stp     x10, x11, [sp, #256]
    .endm

    .macro restore_registers
    ldp     x10, x11, [sp, #256]
    msr     elr_el2, x10
    msr     spsr_el2, x11
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldr     x30, [sp, #240]
    ldp     x0, x1, [sp]
    add     sp, sp, #288
    eret
    .endm

    .macro exception_vector kind
    .balign 128
    sub     sp, sp, #288
    // Swap-free test of the stack pointer: sp = sp + x0, x0 = the new sp, and back again.
    add     sp, sp, x0
    sub     x0, sp, x0
    tbnz    x0, #14, 1f
    tbnz    x0, #13, 1f
    tbnz    x0, #12, 1f
    b       bale_stack_overflow
1:  sub     x0, sp, x0
    sub     sp, sp, x0
    stp     x0, x1, [sp]
    mov     x1, #\kind
    b       bale_exception_entry
    .endm

    .macro interrupt_vector
    .balign 128
    sub     sp, sp, #288
    b       bale_interrupt_entry
    .endm

    .macro guest_vector kind
    .balign 128
    stp     x0, x1, [sp, #-16]!
    mov     x1, #\kind
    b       bale_guest_exit
    .endm

    .macro guest_vector_behind_branches kind
    .balign 128
    stp     x0, x1, [sp, #-16]!
    mov     x1, #\kind
    b       bale_clear_branch_history
    .endm

    .section .text.vectors, "ax"
    .balign 2048
    .global bale_vectors
bale_vectors:
    exception_vector 2              // EL2 with SP_EL0: never used
    exception_vector 2
    exception_vector 2
    exception_vector 2
    exception_vector 0              // EL2 with SP_EL2
    interrupt_vector
    interrupt_vector
    exception_vector 1
    guest_vector 0                  // a guest in AArch64 state
    guest_vector 1
    guest_vector 1
    guest_vector 2
    exception_vector 2              // AArch32: no guest is given it
    exception_vector 2
    exception_vector 2
    exception_vector 2

    // The same for cores whose branch history has to be cleared of what a guest did. Others pay
    // nothing for these.
    .balign 2048
    .global bale_vectors_behind_branches
bale_vectors_behind_branches:
    exception_vector 2
    exception_vector 2
    exception_vector 2
    exception_vector 2
    exception_vector 0
    interrupt_vector
    interrupt_vector
    exception_vector 1
    guest_vector_behind_branches 0
    guest_vector_behind_branches 1
    guest_vector_behind_branches 1
    guest_vector_behind_branches 2
    exception_vector 2
    exception_vector 2
    exception_vector 2
    exception_vector 2

    // No indirect branch comes before the end of this: x0 and x1 of the guest are on the stack, its
    // flags in SPSR_EL2.
bale_clear_branch_history:
    mrs     x0, tpidr_el2
    ldr     x0, [x0, #{branches}]
    cbz     x0, 3f
1:  b       2f
2:  subs    x0, x0, #1
    b.ne    1b
    dsb     nsh                     // what follows is not fetched ahead of the loop's end
    isb
    b       bale_guest_exit
3:  hint    #22                     // CLRBHB
    isb
    b       bale_guest_exit

bale_exception_entry:
    str     x1, [sp, #272]
    ldr     x1, [sp, #8]
    save_registers
    mov     x0, sp
    ldr     x1, [sp, #272]
    mov     x29, sp
    bl      bale_exception
    restore_registers

bale_stack_overflow:
    // Fatal: the registers that keep ours meanwhile are a guest's, but no guest goes on from here.
    sub     x0, sp, x0
    sub     sp, sp, x0
    msr     tpidrro_el0, x0
    msr     tpidr_el1, x1
    msr     elr_el1, x2
    mov     x0, sp
    msr     tpidr_el0, x0
    adrp    x1, __emergency_stack
    add     x1, x1, :lo12:__emergency_stack
    eor     x0, x0, x1
    mov     x2, #4
    lsr     x0, x0, #15
    cbz     x0, 2f                  // it is the emergency stack that is full
    adrp    x1, bale_emergency_taken
    add     x1, x1, :lo12:bale_emergency_taken
1:  ldxr    w0, [x1]                // orders nothing: what it guards is the stack alone
    cbnz    w0, 8f
    mov     w0, #1
    stxr    w2, w0, [x1]
    cbnz    w2, 1b
    mov     x2, #3
2:  adrp    x1, __emergency_stack
    add     x1, x1, :lo12:__emergency_stack
    add     x1, x1, #{size}
    sub     x1, x1, #288
    mov     sp, x1
    str     x2, [sp, #272]
    mrs     x2, elr_el1
    mrs     x1, tpidr_el1
    mrs     x0, tpidrro_el0
    save_registers
    mrs     x0, tpidr_el0
    add     x0, x0, #288
    str     x0, [sp, #248]
    mov     x0, sp
    ldr     x1, [sp, #272]
    bl      bale_exception
8:  wfi
    b       8b

bale_interrupt_entry:
    save_registers
    mov     x0, sp
    bl      bale_interrupt
    restore_registers

    .section .bss.emergency, "aw", %nobits
    .balign 4
bale_emergency_taken:
    .word   0
    "#,
    size = const STACK_SIZE,
    branches = const BRANCHES_OFFSET,
);

/// From here on this core does at each exit from a guest what keeps the guest's branches from
/// steering EL2's, or nothing. The per-core block says at [`BRANCHES_OFFSET`] what that is.
pub fn clear_branch_history(clears: bool) {
    // SAFETY: both tables are whole, and differ in what is done before a guest's exit is handled.
    unsafe {
        asm!(
            "adrp {0}, bale_vectors", "add {0}, {0}, :lo12:bale_vectors",
            "adrp {1}, bale_vectors_behind_branches",
            "add {1}, {1}, :lo12:bale_vectors_behind_branches",
            "cmp {2}, #0", "csel {0}, {0}, {1}, eq", "msr vbar_el2, {0}", "isb",
            out(reg) _, out(reg) _, in(reg) u64::from(clears), options(nostack));
    }
}
