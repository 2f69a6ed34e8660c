//! The real-time executive: cores, time, interrupts, tasks, what tasks wait for, and the trace.
//!
//! It knows nothing of what is built on it. Boot writes what it learned into [`platform`] and
//! registers one set of [`hooks`], by which the executive calls up at its few turning points.
//!
//! | module | what it does |
//! |---|---|
//! | [`platform`], [`hooks`] | what boot learned of the machine; calls to the layers above |
//! | [`cores`], [`hotplug`], [`departure`], [`power`] | the per-core block; cores that come and go; PSCI |
//! | [`clock`], [`interrupts`], [`dispatch`] | time; GICv3 and software-generated interrupts; taking what it delivers |
//! | [`task`], [`idle`] | tasks with priorities, run queues per core, preemption; the idle loop |
//! | [`sync`] | mutexes that lend priorities, semaphores, event flags, queues |
//! | [`blocks`] | memory in blocks of 2 MiB, for tasks that may wait |
//! | [`trace`], [`watchdog`] | what each core did last; who names a core that hangs |
//!
//! Lock order, outermost first: priorities, a task, a run queue or timer queue, frames. Every
//! [`sync::Lock`] masks interrupts while it is held.
#![no_std]
#![cfg(target_arch = "aarch64")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "usize is 64 bits here; narrower casts take fields of registers or indexes of small tables"
)]

pub mod blocks;
pub mod clock;
pub mod cores;
pub mod departure;
pub mod dispatch;
pub mod hooks;
pub mod hotplug;
pub mod idle;
pub mod interrupts;
pub mod platform;
pub mod power;
pub mod random;
pub mod sync;
pub mod task;
pub mod test_interrupt;
pub mod trace;
pub mod watchdog;
