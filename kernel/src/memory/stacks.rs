//! Stacks: a fixed array of them, each with an unmapped page below.
//!
//! The boot stack is the last slot; emergency stacks (for a core whose stack overflowed) come before it; the rest
//! belong to tasks, one each.

use core::cell::UnsafeCell;

use bale_arch::vectors::{GUARD_SIZE, STACK_SIZE};

use crate::cores::MAX_CORES;
use crate::task::MAX_TASKS;

#[repr(C, align(32768))]
struct Stack(UnsafeCell<[u8; STACK_SIZE]>);

// SAFETY: each stack is used by one task or core at a time, through its stack pointer only.
unsafe impl Sync for Stack {}

const EMERGENCY_SIZE: usize = 8 * 1024;

#[repr(C, align(4096))]
struct EmergencyStack(UnsafeCell<[u8; EMERGENCY_SIZE]>);

// SAFETY: as above.
unsafe impl Sync for EmergencyStack {}

#[unsafe(link_section = ".stacks")]
static STACKS: [Stack; MAX_TASKS] = [const { Stack(UnsafeCell::new([0; STACK_SIZE])) }; MAX_TASKS];

#[unsafe(link_section = ".stacks.emergency")]
static EMERGENCY: [EmergencyStack; MAX_CORES] =
    [const { EmergencyStack(UnsafeCell::new([0; EMERGENCY_SIZE])) }; MAX_CORES];

/// Initial stack pointer of a task.
pub fn top(task: usize) -> u64 {
    STACKS[task].0.get() as u64 + STACK_SIZE as u64
}

/// Initial stack pointer of a core's emergency stack.
pub fn emergency_top(core: usize) -> u64 {
    EMERGENCY[core].0.get() as u64 + EMERGENCY_SIZE as u64
}

/// The pages that must not be mapped.
pub fn guards() -> impl Iterator<Item = (u64, usize)> {
    STACKS.iter().map(|stack| (stack.0.get() as u64, GUARD_SIZE))
}

/// The task whose guard page holds `address`.
pub fn guard_owner(address: u64) -> Option<usize> {
    guards().position(|(start, length)| (start..start + length as u64).contains(&address))
}

/// Bounds of the mapped part of the stack that holds `address`, for a backtrace that must not leave it.
pub fn bounds_of(address: u64) -> Option<(u64, u64)> {
    let tasks = STACKS.iter().map(|stack| {
        let start = stack.0.get() as u64;
        (start + GUARD_SIZE as u64, start + STACK_SIZE as u64)
    });
    let emergency = EMERGENCY.iter().map(|stack| {
        let start = stack.0.get() as u64;
        (start, start + EMERGENCY_SIZE as u64)
    });
    tasks.chain(emergency).find(|(start, end)| (*start..*end).contains(&address))
}
