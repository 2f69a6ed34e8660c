//! Bale's kernel: boot, which finds the machine's facts, brings its parts up in their order, and
//! wires them together. All else lies in the crates below.
//!
//! | crate | what it does |
//! |---|---|
//! | `kernel/memory` | frames, the map of EL2, stacks, the lock that masks interrupts |
//! | `kernel/rt` | the executive: cores, clock, interrupts, tasks, synchronisation, trace |
//! | `kernel/io` | UART, log, fault reports, the backing disk, the boot bundle |
//! | `kernel/reclaim` | the pool, the drain tasks, the compactor |
//! | `kernel/vmm` | virtual machines |
//! | `kernel/monitor` | the shell and the machine's report |
//! | `kernel/bench`, `kernel/selftest` | benchmarks and tests on the target, with their commands |
//!
//! Lock order, outermost first: a machine, zsmalloc class, task, run queue or timer queue, frames,
//! console.
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

pub mod board;
pub mod boot;
pub mod early;
mod mapping;

/// What this is a build of: the version, and the commit where whoever built it knew one.
pub const BUILD: &str = match option_env!("BALE_BUILD") {
    Some(build) => build,
    None => env!("CARGO_PKG_VERSION"),
};
