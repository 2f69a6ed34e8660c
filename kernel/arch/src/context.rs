//! A task's saved registers and the switch between two tasks.
//!
//! A switch is a call, so the compiler has already saved what a callee may change; x19-x30 and sp
//! remain. Of the SIMD registers q0-q3 belong to the task, since a copy that uses them may be
//! preempted in the middle (see the crate's page); the others are the guest's that is loaded on the
//! core.

use core::arch::naked_asm;
use core::mem::offset_of;

/// Saved registers of a task that does not run.
#[repr(C, align(16))]
#[derive(Debug, Default)]
pub struct Context {
    /// x19 to x28.
    callee_saved: [u64; 10],
    /// x29.
    frame_pointer: u64,
    /// x30: where the switch returns to.
    link: u64,
    /// sp.
    stack: u64,
    _align: u64,
    /// q0 to q3.
    simd: [u128; 4],
}

const _: () = assert!(offset_of!(Context, frame_pointer) == 80);
const _: () = assert!(offset_of!(Context, stack) == 96);
const _: () = assert!(offset_of!(Context, simd) == 112);

impl Context {
    /// Nothing saved yet: for the task that runs already.
    pub const fn empty() -> Self {
        Self { callee_saved: [0; 10], frame_pointer: 0, link: 0, stack: 0, _align: 0, simd: [0; 4] }
    }

    /// A task that has not run: its first switch enters `entry(argument)` on the stack that ends at
    /// `stack_top`.
    pub fn new(stack_top: u64, entry: extern "C" fn(u64) -> !, argument: u64) -> Self {
        let mut context = Self::empty();
        context.callee_saved[0] = entry as usize as u64;
        context.callee_saved[1] = argument;
        context.link = start as *const () as usize as u64;
        context.stack = stack_top;
        context
    }
}

/// First instructions of every task: `Context::new` put the entry into x19 and its argument into
/// x20. A branch by x16 may lead to where a call may (BTI).
#[unsafe(naked)]
extern "C" fn start() {
    naked_asm!("mov x0, x20", "mov x29, xzr", "mov x30, xzr", "mov x16, x19", "br x16")
}

/// Saves the running task into `from` and continues `to`.
///
/// # Safety
/// Interrupts are masked. `from` is the running task's own context, `to` one that was saved by this
/// function (or made by [`Context::new`]) on this core and has not been continued since; its stack
/// is mapped.
#[unsafe(naked)]
pub unsafe extern "C" fn switch(from: *mut Context, to: *const Context) {
    naked_asm!(
        ".arch_extension fp",
        ".arch_extension simd",
        "stp q0, q1, [x0, #112]",
        "stp q2, q3, [x0, #144]",
        "ldp q0, q1, [x1, #112]",
        "ldp q2, q3, [x1, #144]",
        ".arch_extension nosimd",
        ".arch_extension nofp",
        "stp x19, x20, [x0]",
        "stp x21, x22, [x0, #16]",
        "stp x23, x24, [x0, #32]",
        "stp x25, x26, [x0, #48]",
        "stp x27, x28, [x0, #64]",
        "stp x29, x30, [x0, #80]",
        "mov x9, sp",
        "str x9, [x0, #96]",
        "ldp x19, x20, [x1]",
        "ldp x21, x22, [x1, #16]",
        "ldp x23, x24, [x1, #32]",
        "ldp x25, x26, [x1, #48]",
        "ldp x27, x28, [x1, #64]",
        "ldp x29, x30, [x1, #80]",
        "ldr x9, [x1, #96]",
        "mov sp, x9",
        "ret",
    )
}
