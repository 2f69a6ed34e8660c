//! Into a guest and out of it, and the EL1 state that is switched with a virtual CPU.
//!
//! [`enter`] runs the guest until the next exception to EL2 and returns what kind it was; the
//! general registers are in the [`Registers`] block by then, everything else is still in the system
//! registers. [`SystemState`] and [`crate::simd::SimdState`] are moved only when another virtual
//! CPU takes the core.

use core::arch::{asm, global_asm};
use core::mem::offset_of;

use crate::vectors::VCPU_OFFSET;

/// General registers of a virtual CPU, and where it goes on.
#[repr(C, align(64))]
#[derive(Debug, Clone, Default)]
pub struct Registers {
    /// x0 to x30.
    pub x: [u64; 31],
    /// Host stack pointer while the guest runs.
    host_stack: u64,
    /// Guest program counter (`ELR_EL2`).
    pub pc: u64,
    /// Guest processor state (`SPSR_EL2`).
    pub pstate: u64,
}

const _: () = assert!(offset_of!(Registers, host_stack) == 248);
const _: () = assert!(offset_of!(Registers, pc) == 256);

/// Why the guest stopped running: one of the constants. The vectors' own number, so that nothing is
/// translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(u64);

impl Exit {
    /// A synchronous exception: `ESR_EL2` says what.
    pub const SYNCHRONOUS: Self = Self(0);
    /// A physical interrupt waits; it is taken as soon as the host unmasks.
    pub const INTERRUPT: Self = Self(1);
    /// An SError while the guest ran, or left behind by it.
    pub const SERROR: Self = Self(2);
}

unsafe extern "C" {
    fn bale_guest_enter(registers: *mut Registers) -> u64;
}

global_asm!(
    r#"
    .section .text.vcpu, "ax"
    .global bale_guest_enter
bale_guest_enter:
    sub     sp, sp, #96
    stp     x19, x20, [sp]
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    mov     x9, sp
    str     x9, [x0, #248]
    mrs     x9, tpidr_el2
    str     x0, [x9, #{vcpu}]
    ldp     x10, x11, [x0, #256]
    msr     elr_el2, x10
    msr     spsr_el2, x11
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    eret
    dsb     nsh                     // no speculation past the return
    isb

    .global bale_guest_exit
bale_guest_exit:
    // The vector pushed x0 and x1 and put the kind of exit into x1.
    mrs     x0, tpidr_el2
    ldr     x0, [x0, #{vcpu}]
    stp     x2, x3, [x0, #16]
    ldp     x2, x3, [sp], #16
    stp     x2, x3, [x0]
    stp     x4, x5, [x0, #32]
    stp     x6, x7, [x0, #48]
    stp     x8, x9, [x0, #64]
    stp     x10, x11, [x0, #80]
    stp     x12, x13, [x0, #96]
    stp     x14, x15, [x0, #112]
    stp     x16, x17, [x0, #128]
    stp     x18, x19, [x0, #144]
    stp     x20, x21, [x0, #160]
    stp     x22, x23, [x0, #176]
    stp     x24, x25, [x0, #192]
    stp     x26, x27, [x0, #208]
    stp     x28, x29, [x0, #224]
    str     x30, [x0, #240]
    mrs     x10, elr_el2
    mrs     x11, spsr_el2
    stp     x10, x11, [x0, #256]
    ldp     x19, x20, [sp]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    add     sp, sp, #96
    // What the guest's accesses have brought about is reported now, while it counts as the guest's.
    dsb     sy
    isb
    mrs     x9, isr_el1
    tbnz    x9, #8, 2f              // A: an SError waits
    mov     x0, x1
    ret
2:  msr     daifclr, #4
    .global bale_abort_window
bale_abort_window:
    isb
    .global bale_abort_window_end
bale_abort_window_end:
    msr     daifset, #4
    mov     x0, #2
    ret
    "#,
    vcpu = const VCPU_OFFSET,
);

/// Whether an SError taken at this address is what a guest left pending: it is expected there, and
/// [`enter`] reports it.
pub fn is_left_by_guest(address: u64) -> bool {
    unsafe extern "C" {
        safe static bale_abort_window: u8;
        safe static bale_abort_window_end: u8;
    }
    ((&raw const bale_abort_window) as u64..=(&raw const bale_abort_window_end) as u64)
        .contains(&address)
}

/// Runs the guest until its next exception to EL2. An SError that it left pending is taken here and
/// becomes the exit; one that EL2's own accesses caused before the guest went on, and that comes
/// late, counts as the guest's too.
///
/// # Safety
/// Interrupts are masked on this core, stage 2 and the controls of EL2 are those of this guest's
/// machine, and its [`SystemState`] is loaded.
pub unsafe fn enter(registers: &mut Registers) -> Exit {
    // SAFETY: the caller's promise; `registers` is exclusively ours until the guest is left.
    Exit(unsafe { bale_guest_enter(registers) })
}

macro_rules! system_state {
    ($($first:ident = $one:literal, $about:literal; $second:ident = $other:literal, $what:literal;)*) => {
        /// The EL1 and EL0 system registers that belong to a virtual CPU.
        ///
        /// While a core goes from one virtual CPU to another, its registers hold half of one state
        /// and half of the other. These are the windows, and what keeps each of them from doing
        /// anything:
        ///
        /// | pair | what a mixture would do | what prevents it |
        /// |---|---|---|
        /// | `CNTV_CTL`, `CNTV_CVAL`, `CNTVOFF` | raise a line that neither asked for | [`Self::save`] turns the timer off first, [`Self::resume`] on last |
        /// | `TCR`, `TTBR0`, `TTBR1`, `MAIR`, `VTTBR` | walk one's tables for the other | [`stop_walks`] before, `TCR` last |
        /// | `SCTLR.M`, `VTTBR` | translate flat into the other's stage 2 | [`stop_walks`] sets M, `SCTLR` follows stage 2 |
        /// | `ICH_LR<n>`, `ICH_AP<x>R<n>`, `ICH_VMCR` | signal one's interrupt to the other | `ICH_HCR_EL2` is 0 meanwhile |
        /// | `MDSCR`, `DBGB<x>R`, `DBGW<x>R` | break where the other set nothing | debug exceptions of EL1 are never taken at EL2, and `MDSCR` is last |
        ///
        /// The others are read by EL1 and EL0 alone, which do not run.
        #[repr(C)]
        #[derive(Debug, Clone, Default)]
        pub struct SystemState {
            $(#[doc = $about] pub $first: u64, #[doc = $what] pub $second: u64,)*
            /// Translation control: see [`stop_walks`].
            pub tcr: u64,
            /// Virtual timer control (`CNTV_CTL_EL0`).
            pub timer_control: u64,
            /// Virtual timer compare value (`CNTV_CVAL_EL0`).
            pub timer_compare: u64,
            /// System control (`SCTLR_EL1`).
            pub sctlr: u64,
            /// What the virtual counter is behind the physical one (`CNTVOFF_EL2`).
            pub timer_offset: u64,
            /// What `MPIDR_EL1` reads as (`VMPIDR_EL2`).
            pub affinity: u64,
        }

        const _: () = assert!(offset_of!(SystemState, timer_control) == offset_of!(SystemState, tcr) + 8);
        const _: () = assert!(offset_of!(SystemState, sctlr) == offset_of!(SystemState, timer_compare) + 8);
        // A pair is moved by one instruction.
        $(const _: () = assert!(offset_of!(SystemState, $second) == offset_of!(SystemState, $first) + 8);)*

        impl SystemState {
            /// Reads the registers of this core into the block; those of EL2 the guest has not
            /// changed. The virtual timer is off from here on.
            pub fn save(&mut self) {
                // SAFETY: reads registers that have no effect on EL2, turns the timer off that
                // nobody's is from here on, and writes four words of our own.
                unsafe {
                    asm!("mrs {0}, tcr_el1", "mrs {1}, cntv_ctl_el0", "msr cntv_ctl_el0, xzr", "stp {0}, {1}, [{2}, #{3}]",
                        "mrs {0}, cntv_cval_el0", "mrs {1}, sctlr_el1", "stp {0}, {1}, [{2}, #{4}]",
                        out(reg) _, out(reg) _, in(reg) &raw mut *self, const offset_of!(Self, tcr),
                        const offset_of!(Self, timer_compare), options(nostack, preserves_flags));
                }
                $(
                    // SAFETY: reads two registers that have no effect on EL2, and writes two words
                    // of our own.
                    unsafe {
                        asm!(concat!("mrs {0}, ", $one), concat!("mrs {1}, ", $other), "stp {0}, {1}, [{2}, #{3}]",
                            out(reg) _, out(reg) _, in(reg) &raw mut *self, const offset_of!(Self, $first),
                            options(nostack, preserves_flags));
                    }
                )*
            }

            /// Writes the block into this core's registers, after [`stop_walks`], but for those
            /// that let them have an effect: [`Self::resume`].
            pub fn load(&self) {
                $(
                    // SAFETY: EL2 runs with E2H = 0 and uses none of these registers; the words are
                    // our own.
                    unsafe {
                        asm!("ldp {0}, {1}, [{2}, #{3}]", concat!("msr ", $one, ", {0}"), concat!("msr ", $other, ", {1}"),
                            out(reg) _, out(reg) _, in(reg) &raw const *self, const offset_of!(Self, $first),
                            options(nostack, readonly, preserves_flags));
                    }
                )*
                // SAFETY: EL2 counts by the physical counter, and has its own MPIDR_EL1; the timer
                // is off.
                unsafe {
                    asm!("msr cntv_cval_el0, {0}", "msr cntvoff_el2, {1}", "msr vmpidr_el2, {2}",
                        in(reg) self.timer_compare, in(reg) self.timer_offset, in(reg) self.affinity,
                        options(nomem, nostack, preserves_flags));
                }
            }
        }
    };
}

// VPIDR_EL2 is the core's own. Registers that most guests never use, or few cores have, are in
// `crate::debug` and `crate::further`.
system_state! {
    cpacr = "cpacr_el1", "Access control of SIMD and others.";
    cntkctl = "cntkctl_el1", "Counter access from EL0.";
    ttbr0 = "ttbr0_el1", "Translation table base 0.";
    ttbr1 = "ttbr1_el1", "Translation table base 1.";
    mair = "mair_el1", "Memory attributes.";
    vbar = "vbar_el1", "Vector base.";
    contextidr = "contextidr_el1", "Context id.";
    tpidr_el1 = "tpidr_el1", "Kernel thread pointer.";
    elr = "elr_el1", "Exception link.";
    spsr = "spsr_el1", "Saved processor state.";
    esr = "esr_el1", "Syndrome.";
    far = "far_el1", "Fault address.";
    par = "par_el1", "Result of address translation.";
    csselr = "csselr_el1", "Cache size selection.";
    stack_el0 = "sp_el0", "Stack pointer of EL0.";
    stack_el1 = "sp_el1", "Stack pointer of EL1.";
    tpidr_el0 = "tpidr_el0", "Thread pointer.";
    tpidrro_el0 = "tpidrro_el0", "Read-only thread pointer.";
}

/// `TCR_EL1`: no walks from either base (EPD0, EPD1).
const NO_WALKS: u64 = 1 << 7 | 1 << 23;
/// `SCTLR_EL1` out of reset: RES1 bits; MMU and caches off.
const CONTROL_AT_RESET: u64 = 0x30d0_0800;
/// `SCTLR_EL1` while no guest's is there: as out of reset, but stage 1 is on (M).
const CONTROL_OF_NOBODY: u64 = CONTROL_AT_RESET | 1;

/// Keeps the core from walking EL1's tables, which belong to nobody until the next guest is loaded:
/// a speculative walk with one guest's tables and another's stage 2 would be cached under the wrong
/// name.
///
/// With stage 1 off there would be no walk to stop: an AT instruction that a core speculates, which
/// EL2's own code has, would translate flat, through whoever's stage 2 is loaded (Cortex-A57 and
/// A72, erratum 1319367). So stage 1 is turned on once walks are off, and the guest's own SCTLR_EL1
/// comes back behind its stage 2.
pub fn stop_walks() {
    // SAFETY: EL2 does not use EL1's translation. The first barrier keeps M from being seen before
    // EPD0 and EPD1.
    unsafe {
        asm!("msr tcr_el1, {0}", "isb", "msr sctlr_el1, {1}", "isb", in(reg) NO_WALKS, in(reg) CONTROL_OF_NOBODY,
            options(nostack, preserves_flags))
    };
}

impl SystemState {
    /// Lets what was loaded have its effect, once the guest's stage 2 is loaded: its translation
    /// and its timer.
    pub fn resume(&self) {
        // SAFETY: the guest's tables, stage 2, and the timer's compare value and offset are loaded.
        // SCTLR_EL1 counts before TCR_EL1 does, or a walk could begin that the guest has turned
        // off.
        unsafe {
            asm!("msr sctlr_el1, {0}", "isb", "msr tcr_el1, {1}", "msr cntv_ctl_el0, {2}", "isb",
                in(reg) self.sctlr, in(reg) self.tcr, in(reg) self.timer_control, options(nostack, preserves_flags))
        };
    }

    /// A processor just out of reset: MMU off, nothing left over from anybody. Dangling translation
    /// registers of an earlier owner have hung cores through speculative walks, so every one of
    /// them is written.
    pub fn reset(affinity: u64) -> Self {
        Self {
            sctlr: CONTROL_AT_RESET,
            tcr: NO_WALKS, // until the guest sets up its own
            affinity: affinity | 1 << 31,
            ..Self::default()
        }
    }
}

/// The loaded guest's own control of its vectors: `VBAR_EL1` and `SCTLR_EL1`.
pub fn exception_controls() -> (u64, u64) {
    let (vectors, control): (u64, u64);
    // SAFETY: reads the guest's registers.
    unsafe {
        asm!("mrs {0}, vbar_el1", "mrs {1}, sctlr_el1", out(reg) vectors, out(reg) control, options(nostack, preserves_flags))
    };
    (vectors, control)
}

/// Writes what the loaded guest's handler reads of an exception: where it happened, state,
/// syndrome, address if any.
pub fn set_exception(link: u64, state: u64, syndrome: u64, address: Option<u64>) {
    // SAFETY: the guest's own registers, which EL2 does not use.
    unsafe {
        asm!("msr elr_el1, {0}", "msr spsr_el1, {1}", "msr esr_el1, {2}",
            in(reg) link, in(reg) state, in(reg) syndrome, options(nostack, preserves_flags));
    }
    if let Some(address) = address {
        // SAFETY: as above.
        unsafe { asm!("msr far_el1, {0}", in(reg) address, options(nostack, preserves_flags)) };
    }
}

/// Control of the loaded guest's virtual timer, as it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtualTimer(u64);

/// Looks at the loaded guest's virtual timer.
pub fn virtual_timer() -> VirtualTimer {
    let control: u64;
    // SAFETY: reads the guest's timer.
    unsafe { asm!("mrs {0}, cntv_ctl_el0", out(reg) control, options(nostack, preserves_flags)) };
    VirtualTimer(control)
}

impl VirtualTimer {
    /// It runs and its interrupt is not masked.
    fn is_armed(self) -> bool {
        self.0 & 3 == 1
    }

    /// Its line is high.
    pub fn has_fired(self) -> bool {
        self.0 & 7 == 5
    }

    /// Value of the physical counter at which it fires, if it will; the guest is loaded still.
    pub fn deadline(self) -> Option<u64> {
        if !self.is_armed() {
            return None;
        }
        let (compare, offset): (u64, u64);
        // SAFETY: reads the guest's timer.
        unsafe {
            asm!("mrs {0}, cntv_cval_el0", "mrs {1}, cntvoff_el2", out(reg) compare, out(reg) offset,
                options(nostack, preserves_flags));
        }
        // A compare value near the end of time stays there.
        Some(compare.saturating_add(offset))
    }
}

/// Puts the loaded guest's virtual counter so much behind the physical one. Its timer is off
/// meanwhile, as in [`SystemState::save`]: a line would rise that belongs to neither offset.
pub fn set_counter_offset(offset: u64) {
    // SAFETY: the guest's own timer, which is as it was afterwards.
    unsafe {
        asm!("mrs {0}, cntv_ctl_el0", "msr cntv_ctl_el0, xzr", "isb", "msr cntvoff_el2, {1}", "isb",
            "msr cntv_ctl_el0, {0}", "isb", out(reg) _, in(reg) offset, options(nostack, preserves_flags));
    }
}

/// Turns the virtual timer off while it is nobody's.
pub fn stop_virtual_timer() {
    // SAFETY: no guest's state is loaded, or its copy was saved.
    unsafe { asm!("msr cntv_ctl_el0, xzr", "isb", options(nostack, preserves_flags)) };
}

/// An identification register of this core, by CRm and op2 of `S3_0_C0_C<CRm>_<op2>`; those that a
/// guest is shown anything of.
pub fn identification(crm: u8, op2: u8) -> u64 {
    macro_rules! read {
        ($register:literal) => {{
            let value: u64;
            // SAFETY: reads an identification register.
            unsafe { asm!(concat!("mrs {0}, ", $register), out(reg) value, options(nomem, nostack, preserves_flags)) };
            value
        }};
    }
    match (crm, op2) {
        (4, 0) => read!("id_aa64pfr0_el1"),
        (4, 1) => read!("id_aa64pfr1_el1"),
        (5, 0) => read!("id_aa64dfr0_el1"),
        (6, 0) => read!("id_aa64isar0_el1"),
        (6, 1) => read!("id_aa64isar1_el1"),
        (6, 2) => read!("S3_0_C0_C6_2"),
        (7, 0) => read!("id_aa64mmfr0_el1"),
        (7, 1) => read!("id_aa64mmfr1_el1"),
        (7, 2) => read!("S3_0_C0_C7_2"),
        _ => 0,
    }
}
