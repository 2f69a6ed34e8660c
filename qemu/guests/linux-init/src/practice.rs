//! What this program does where it is not the machine's first one, as `/usr/bin/practice`: a little
//! that a debugger, a tracer and a profiler can be tried on.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::print::figure;

/// Numbers that are added.
const NUMBERS: u64 = 1000;

/// What was added so far.
static SUM: AtomicU64 = AtomicU64::new(0);

/// Adds up the numbers from 1, and tells the sum.
pub(crate) fn run() {
    for number in 1..=NUMBERS {
        add(number);
    }
    // Relaxed: there is one thread.
    figure("sum", SUM.load(Ordering::Relaxed));
}

/// A load and a store: a debugger's stop between a load and a store that belong together
/// (LDXR, STXR) makes the store fail, and the loop around them would never end under a watchpoint.
#[inline(never)]
fn add(number: u64) {
    // Relaxed: there is one thread.
    SUM.store(SUM.load(Ordering::Relaxed) + number, Ordering::Relaxed);
}
