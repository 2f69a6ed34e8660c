//! Counting what a piece of code takes: instructions, or cycles of the core.

use bale_arch::counter::{self, Event};
use bale_arch::mask::{self, Masked};
use bale_rt::clock;

/// Measurements of nothing, of which the least is what measuring takes in cycles.
const EMPTY: u32 = 64;
/// Rounds that the calibration of the clock takes.
const CALIBRATION: u64 = 100_000;

/// Events that `f` takes, with those of measuring. Interrupts are masked.
#[inline(always)]
fn raw<R>(f: impl FnOnce() -> R) -> (u32, R) {
    let masked = Masked::new();
    let start = counter::read();
    let result = f();
    let end = counter::read();
    // What is measured is none of the kernel's own stretches.
    mask::begin_stretch();
    drop(masked);
    (end.wrapping_sub(start), result)
}

/// Events of `f`, without those of measuring, and what it returned.
#[inline(always)]
pub(super) fn count<R>(overhead: u32, f: impl FnOnce() -> R) -> (u64, R) {
    let (count, result) = raw(f);
    (u64::from(count.saturating_sub(overhead)), result)
}

/// What measuring takes itself; `None` if the machine does not count what is asked for.
pub(super) fn overhead() -> Option<u32> {
    if !counter::is_there() {
        return None;
    }
    let empty = || raw(|| core::hint::black_box(())).0;
    let count = empty();
    let (count, steady) = match counter::selected() {
        // A machine that does not count gives nothing; one that counts something else gives
        // different numbers.
        Event::Instructions => (count, (0..4).all(|_| empty() == count)),
        Event::Cycles => ((0..EMPTY).map(|_| empty()).fold(count, u32::min), true),
    };
    (count != 0 && steady).then_some(count)
}

/// Whether a nanosecond of the counter is an instruction, within a thousandth. Interrupts may come:
/// what they take is both.
pub(super) fn nanoseconds_are_instructions() -> bool {
    if counter::selected() != Event::Instructions || overhead().is_none() {
        return false;
    }
    let (ticks, instructions) = (clock::now(), counter::read());
    for round in 0..CALIBRATION {
        core::hint::black_box(round);
    }
    let counted = u64::from(counter::read().wrapping_sub(instructions));
    let nanoseconds = clock::to_us((clock::now() - ticks).saturating_mul(1000));
    counted.abs_diff(nanoseconds) <= counted / 1000
}
