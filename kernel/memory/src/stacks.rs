//! Stacks: a fixed array of them, each with an unmapped page below.
//!
//! The boot stack is the last slot; the emergency stack, on which an overflow is reported, comes
//! behind it; the rest belong to tasks, one each.

use core::cell::UnsafeCell;

use bale_arch::vectors::{GUARD_SIZE, STACK_SIZE};

/// How many stacks there are for tasks: one each, so that there are no more tasks than these.
pub const STACKS_FOR_TASKS: usize = 64;

#[repr(C, align(32768))]
struct Stack(UnsafeCell<[u8; STACK_SIZE]>);

// SAFETY: each stack is used by one task or core at a time, through its stack pointer only.
unsafe impl Sync for Stack {}

const _: () =
    assert!(align_of::<Stack>() == STACK_SIZE, "the vectors look at a stack pointer's low bits");

impl Stack {
    fn start(&self) -> u64 {
        self.0.get() as u64
    }

    fn top(&self) -> u64 {
        self.start() + STACK_SIZE as u64
    }
}

#[unsafe(link_section = ".stacks")]
static STACKS: [Stack; STACKS_FOR_TASKS] =
    [const { Stack(UnsafeCell::new([0; STACK_SIZE])) }; STACKS_FOR_TASKS];

/// Of all cores: the vectors say why one is enough.
#[unsafe(link_section = ".stacks.emergency")]
static EMERGENCY: Stack = Stack(UnsafeCell::new([0; STACK_SIZE]));

/// What fills a stack before its task begins: a byte that code seldom leaves behind.
const PAINT: u8 = 0xa5;

/// Fills the stack of a task that has not begun, so that [`used`] can tell how deep it went.
///
/// # Safety
/// No task runs on this stack, or has something on it.
pub unsafe fn paint(task: usize) {
    let start = STACKS[task].start() + GUARD_SIZE as u64;
    // SAFETY: the mapped part of this stack, which the caller says is nobody's now.
    unsafe { core::ptr::write_bytes(start as *mut u8, PAINT, STACK_SIZE - GUARD_SIZE) };
}

/// The most bytes of its stack that a task has used so far, and how many it has. A task that leaves
/// the paint's own byte at its deepest place has used some more.
pub fn used(task: usize) -> (usize, usize) {
    let (start, end) = (STACKS[task].start() + GUARD_SIZE as u64, STACKS[task].top());
    // SAFETY: mapped, aligned and initialised for good; the task may write meanwhile, so each word
    // is read for itself.
    let is_painted =
        |at: &u64| unsafe { (*at as *const u64).read_volatile() } == u64::from_ne_bytes([PAINT; 8]);
    let untouched = (start..end).step_by(8).take_while(is_painted).count() * 8;
    let room = (end - start) as usize;
    (room - untouched, room)
}

/// Initial stack pointer of a task.
pub fn top(task: usize) -> u64 {
    STACKS[task].top()
}

/// Initial stack pointer of the emergency stack.
pub fn emergency_top() -> u64 {
    EMERGENCY.top()
}

fn all() -> impl Iterator<Item = &'static Stack> {
    STACKS.iter().chain([&EMERGENCY])
}

/// The pages that must not be mapped: those of the tasks in their order, then the emergency
/// stack's.
pub fn guards() -> impl Iterator<Item = (u64, usize)> {
    all().map(|stack| (stack.start(), GUARD_SIZE))
}

/// The task whose guard page holds `address`.
pub fn guard_owner(address: u64) -> Option<usize> {
    guards()
        .take(STACKS_FOR_TASKS)
        .position(|(start, length)| (start..start + length as u64).contains(&address))
}

/// Bounds of the mapped part of the stack that holds `address`, for a backtrace that must not leave
/// it.
pub fn bounds_of(address: u64) -> Option<(u64, u64)> {
    all()
        .map(|stack| (stack.start() + GUARD_SIZE as u64, stack.top()))
        .find(|(start, end)| (*start..*end).contains(&address))
}
