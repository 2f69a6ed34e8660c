//! All of Bale's assembly and every system register it touches, for AArch64 at EL2 with
//! `HCR_EL2.E2H` = 0.
//!
//! | module | what it holds |
//! |---|---|
//! | [`entry`] | first instructions of the boot core and of each further core |
//! | [`vectors`] | exception vectors, the trap frame, and whom they call |
//! | [`context`] | a task's saved registers and the switch between two tasks |
//! | [`vcpu`] | into a guest and out of it; the EL1 state that is switched with it |
//! | [`debug`], [`further`] | state of a virtual CPU that few use, or few cores have |
//! | [`gich`] | list registers, and the end of a physical interrupt in two steps |
//! | [`mmu`] | EL2 stage 1 on and off, stage 2 registers, TLB and cache maintenance |
//! | [`mask`] | interrupts masked for a scope, core identity |
//! | [`timer`] | the generic timer's counter and the EL2 physical timer |
//! | [`copy`] | `memcpy` and its kin: the only users of SIMD registers at EL2 |
//! | [`registers`] | system registers that `aarch64-cpu` lacks |
//! | [`identity`] | what a core says of itself |
//! | [`simd`] | SIMD and floating-point registers of a virtual CPU |
//! | [`pmu`] | a guest's performance monitors in a core's |
//! | [`counter`] | instructions or cycles, counted by the PMU |
//!
//! References: Arm ARM is DDI 0487 (sections named where a register is written).
//!
//! SIMD at EL2: the target is soft-float, so compiled code never touches q0-q31. Only the routines
//! of [`copy`] use q0-q3, and put them back. A copy can be preempted, and two preempted copies need
//! not end in the order they began: so q0-q3 belong to the task and are switched with it, also a
//! virtual CPU's, whose q0-q3 are its guest's. q4-q31 stay the loaded guest's across exits and
//! change only when another virtual CPU takes the core. An interrupt handler that copies ends
//! before the interrupted code goes on, so the interrupt frame need not hold them.
#![no_std]
#![cfg(target_arch = "aarch64")]

pub mod context;
pub mod copy;
pub mod counter;
pub mod debug;
pub mod entry;
pub mod further;
pub mod gich;
pub mod identity;
pub mod mask;
pub mod mmu;
pub mod pmu;
pub mod random;
pub mod registers;
pub mod simd;
pub mod timer;
pub mod vcpu;
pub mod vectors;
