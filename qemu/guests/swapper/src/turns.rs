//! What it costs that another machine gets the core and gives it back: how long this one runs at a
//! stretch, and how long it does not, between two looks at the counter.

use bale_abi::{report, turns};

use crate::call;
use crate::measure::{frequency, now};

/// Stretches that are looked at, after the first ones.
const STRETCHES: usize = 101;
const FIRST: usize = 8;
/// Parts of a second that have passed if another machine ran: interrupts take less, a turn more.
const GAP: u64 = 2_000;

/// Reports the medians and goes on for ever, for the other machine's sake.
pub(crate) fn run() -> ! {
    let gap = frequency() / GAP;
    let mut stretches = [0; STRETCHES];
    let mut gaps = [0; STRETCHES];
    let mut begun = now();
    for place in 0..STRETCHES + FIRST {
        let mut before = now();
        let after = loop {
            let after = now();
            if after - before > gap {
                break after;
            }
            before = after;
        };
        if let Some(place) = place.checked_sub(FIRST) {
            stretches[place] = before - begun;
            gaps[place] = after - before;
        }
        begun = after;
    }
    let _ = call::report(report::MEASURED + turns::STRETCH, median(&mut stretches));
    let _ = call::report(report::MEASURED + turns::GAP, median(&mut gaps));
    loop {
        core::hint::spin_loop();
    }
}

/// In hundredths of a nanosecond.
fn median(ticks: &mut [u64; STRETCHES]) -> u64 {
    ticks.sort_unstable();
    ticks[STRETCHES / 2] * 1_000_000_000 / frequency() * 100
}
