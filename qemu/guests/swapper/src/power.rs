//! Virtual CPUs that turn one another on and themselves off, all at once: each success is one life,
//! and nothing else is said than that the other one is on.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{call, entry};

const CPU_OFF: u64 = 0x8400_0002;
const CPU_ON: u64 = 0xc400_0003;
const AFFINITY_INFO: u64 = 0xc400_0004;
/// What they return (DEN 0022, 5.2.2 and 5.7.2).
const INVALID_PARAMETERS: u64 = -2i64 as u64;
const ALREADY_ON: u64 = -4i64 as u64;
const ON: u64 = 0;
const OFF: u64 = 1;
/// Virtual CPUs at most.
const MOST: usize = 8;
/// Calls of the first one, and of each other in a life.
const CALLS: usize = 20_000;
const CALLS_OF_A_LIFE: usize = 8;
/// Statuses of a guest to which something else was said, or whose lives are not those that were
/// asked for.
const WRONG: u64 = 105;
const LOST: u64 = 106;

#[repr(C, align(16))]
struct Stacks(UnsafeCell<[[u8; 8192]; MOST]>);

// SAFETY: each is one virtual CPU's alone, through its stack pointer.
unsafe impl Sync for Stacks {}

static STACKS: Stacks = Stacks(UnsafeCell::new([[0; 8192]; MOST]));
/// The storm is under way: other virtual CPUs that begin belong to it.
static RUNS: AtomicBool = AtomicBool::new(false);
/// Nobody turns another one on any more.
static OVER: AtomicBool = AtomicBool::new(false);
/// How often each was turned on with success, and how often it began.
static ASKED: [AtomicU64; MOST] = [const { AtomicU64::new(0) }; MOST];
static LIVES: [AtomicU64; MOST] = [const { AtomicU64::new(0) }; MOST];

pub(crate) fn runs() -> bool {
    RUNS.load(Ordering::Relaxed)
}

/// The first virtual CPU, which is on all the while.
pub(crate) fn run() {
    RUNS.store(true, Ordering::Release);
    let count = (0..MOST as u64).take_while(|number| info(*number) != INVALID_PARAMETERS).count();
    for step in 0..CALLS {
        turn_on(1 + step % (count - 1));
    }
    OVER.store(true, Ordering::Release);
    // Whoever began before the end may turn on another one, which then sees the end: two rounds in
    // which all are off.
    for _ in 0..2 {
        for number in 1..count {
            while info(number as u64) != OFF {
                core::hint::spin_loop();
            }
        }
    }
    for number in 1..count {
        let (asked, lives) =
            (ASKED[number].load(Ordering::Acquire), LIVES[number].load(Ordering::Acquire));
        if asked != lives || lives == 0 {
            call::exit(LOST);
        }
    }
    call::exit(0)
}

/// First Rust line of another one.
pub(crate) fn second() -> ! {
    let me = number();
    LIVES[me].fetch_add(1, Ordering::Release);
    if info(me as u64) != ON {
        call::exit(WRONG);
    }
    for step in 0..CALLS_OF_A_LIFE {
        if OVER.load(Ordering::Acquire) {
            break;
        }
        // Itself among them, which is on.
        turn_on(1 + (me + step) % (MOST - 1));
    }
    let _ = call::raw(CPU_OFF, [0; 3]);
    call::exit(WRONG)
}

fn turn_on(other: usize) {
    // One past the end of its own stack.
    let stack = STACKS.0.get() as u64 + 8192 * (other as u64 + 1);
    match call::raw(CPU_ON, [other as u64, entry::secondary_address(), stack])[0] {
        0 => _ = ASKED[other].fetch_add(1, Ordering::Release),
        ALREADY_ON => {}
        // There may be fewer than eight.
        INVALID_PARAMETERS if info(other as u64) == INVALID_PARAMETERS => {}
        _ => call::exit(WRONG),
    }
}

fn info(number: u64) -> u64 {
    call::raw(AFFINITY_INFO, [number, 0, 0])[0]
}

fn number() -> usize {
    let affinity: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {0}, mpidr_el1", out(reg) affinity, options(nostack, nomem)) };
    (affinity & 0xff) as usize
}
