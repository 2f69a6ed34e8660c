//! Bale's kernel: what needs both the hardware of `bale-arch` and the logic of `bale-core`, `bale-swap`, `zsmalloc`.
//!
//! Bottom up:
//!
//! | module | what it does |
//! |---|---|
//! | [`board`], [`early`] | a board's page of facts; a voice before memory management is up |
//! | [`boot`] | the boot core's road from the first Rust line to the shell, and each further core's |
//! | [`memory`] | frames, the map of EL2, stacks with guard pages |
//! | [`sync`], [`cores`] | the lock that masks interrupts; the per-core block |
//! | [`interrupts`], [`clock`] | GICv3, handlers, software-generated interrupts; time and wake-ups |
//! | [`task`] | tasks with priorities, run queues per core, preemption, park and unpark |
//! | [`console`], [`log`], [`fault`] | the UART, defmt, panics and exceptions |
//! | [`pool`], [`drain`], [`compactor`] | the kernel under `zsmalloc`, and the tasks that give memory back |
//! | [`trace`] | what each core did last |
//! | [`backing`] | the disk to which swap devices write back |
//! | [`vm`] | virtual machines: memory, virtual CPU, hypercalls, their swap device |
//! | [`report`] | what the machine says of itself, for who has no other way to see it |
//! | [`bundle`], [`shell`], [`selftest`], [`bench`] | the boot bundle; commands; tests on the target; counts |
//!
//! Lock order, outermost first: virtual machine list, a machine, zsmalloc class, task, run queue or
//! timer queue, frames, console. Every [`sync::Lock`] masks interrupts while it is held, so none is held across a
//! copy of a page, a codec, or a wait.
#![no_std]
#![cfg(target_arch = "aarch64")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "usize is 64 bits here; narrower casts take fields of registers or indexes of small tables"
)]
#![allow(
    clippy::result_large_err,
    reason = "an error of the shell or of a test is its one line of text, off every hot path"
)]

pub mod backing;
pub mod blocks;
pub mod bench;
pub mod board;
pub mod boot;
pub mod bundle;
pub mod clock;
pub mod compactor;
pub mod console;
pub mod cores;
pub mod drain;
pub mod early;
pub mod fault;
pub mod hotplug;
pub mod hooks;
pub mod interrupts;
pub mod last_words;
pub mod lock;
pub mod log;
pub mod memory;
pub mod platform;
pub mod pool;
pub mod power;
pub mod report;
pub mod selftest;
pub mod shell;
pub mod sync;
pub mod task;
pub mod trace;
pub mod vm;
pub mod watchdog;

/// What this is a build of: the version, and the commit where whoever built it knew one.
pub const BUILD: &str = match option_env!("BALE_BUILD") {
    Some(build) => build,
    None => env!("CARGO_PKG_VERSION"),
};
