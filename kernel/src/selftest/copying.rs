//! Our `memcpy`, `memmove`, `memset`, `memcmp` against byte loops, and the SIMD registers they borrow.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bale_arch::vcpu::SimdState;

use super::{Verdict, ensure};
use crate::memory::frames;
use crate::{clock, cores, task};

/// Lengths around every branch of the copy routines.
const LENGTHS: [usize; 24] =
    [0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 128, 129, 191, 192, 255, 700];

fn pattern(index: usize) -> u8 {
    (index.wrapping_mul(167) >> 3) as u8 ^ index as u8
}

fn two_frames() -> Result<(frames::Frame, frames::Frame), super::Failure> {
    match (frames::allocate(), frames::allocate()) {
        (Some(a), Some(b)) => Ok((a, b)),
        _ => Err(super::failure(format_args!("no memory"))),
    }
}

pub(super) fn copy_matches_reference() -> Verdict {
    let (mut from, mut to) = two_frames()?;
    for (index, byte) in from.bytes_mut().iter_mut().enumerate() {
        *byte = pattern(index);
    }
    for length in LENGTHS {
        for (from_at, to_at) in [(0, 0), (1, 0), (0, 1), (3, 5), (8, 16), (13, 7)] {
            to.bytes_mut().fill(0xee);
            to.bytes_mut()[to_at..to_at + length]
                .copy_from_slice(&from.bytes_mut()[from_at..from_at + length]);
            for (index, byte) in to.bytes_mut().iter().enumerate() {
                let inside = (to_at..to_at + length).contains(&index);
                let expected = if inside { pattern(index - to_at + from_at) } else { 0xee };
                ensure!(*byte == expected, "length {length}, from +{from_at} to +{to_at}: byte {index}");
            }
        }
    }
    frames::release([from, to]);
    Ok(())
}

pub(super) fn overlapping_moves() -> Verdict {
    let (mut frame, other) = two_frames()?;
    for length in LENGTHS {
        for (from, to) in [(0usize, 1usize), (1, 0), (0, 16), (16, 0), (0, 65), (65, 0), (5, 300)] {
            for (index, byte) in frame.bytes_mut().iter_mut().enumerate() {
                *byte = pattern(index);
            }
            frame.bytes_mut().copy_within(from..from + length, to);
            for (index, byte) in frame.bytes_mut().iter().enumerate() {
                let inside = (to..to + length).contains(&index);
                let expected = pattern(if inside { index - to + from } else { index });
                ensure!(*byte == expected, "length {length}, from {from} to {to}: byte {index}");
            }
        }
    }
    frames::release([frame, other]);
    Ok(())
}

pub(super) fn set_and_compare() -> Verdict {
    let (mut left, mut right) = two_frames()?;
    left.bytes_mut().fill(0x5a);
    right.bytes_mut().fill(0x5a);
    for length in LENGTHS {
        left.bytes_mut()[3..3 + length].fill(0xa5);
        let written = left.bytes_mut().iter().filter(|byte| **byte == 0xa5).count();
        ensure!(written == length, "memset of {length} wrote {written}");
        left.bytes_mut()[3..3 + length].fill(0x5a);
        for place in [0, length / 2, length.saturating_sub(1)].into_iter().filter(|place| *place < length) {
            right.bytes_mut()[place] = 0x5b;
            let order = left.bytes_mut()[..length].cmp(&right.bytes_mut()[..length]);
            right.bytes_mut()[place] = 0x5a;
            ensure!(order.is_lt(), "memcmp of {length} did not see byte {place}");
        }
        ensure!(
            left.bytes_mut()[..length] == right.bytes_mut()[..length],
            "equal {length} bytes compared unequal"
        );
    }
    frames::release([left, right]);
    Ok(())
}

static STOP: AtomicBool = AtomicBool::new(false);
static DONE: AtomicU32 = AtomicU32::new(0);

/// Copies all the time, so that it is preempted in the middle of copies.
extern "C" fn copier(seed: u64) -> ! {
    if let Ok((mut from, mut to)) = two_frames() {
        from.bytes_mut().fill(seed as u8);
        while !STOP.load(Ordering::Relaxed) {
            to.bytes_mut().copy_from_slice(from.bytes_mut());
            if to.bytes_mut() != from.bytes_mut() {
                // Leaves DONE short by one: the test fails.
                frames::release([from, to]);
                task::exit()
            }
        }
        frames::release([from, to]);
        DONE.fetch_add(1, Ordering::Release);
    }
    task::exit()
}

pub(super) fn simd_registers_survive() -> Verdict {
    STOP.store(false, Ordering::Relaxed);
    DONE.store(0, Ordering::Relaxed);
    let core = cores::this_unpinned().index();
    let mut before = SimdState::zero();
    before.save();
    for seed in [0x11, 0x22, 0x33] {
        ensure!(task::spawn("copier", core, task::LOG, copier, seed).is_ok(), "no task");
    }
    // Three equals share this core by time slices; each wake-up of ours preempts one of them as well.
    for _ in 0..100 {
        task::sleep_until(clock::now() + clock::from_us(1_500));
    }
    STOP.store(true, Ordering::Relaxed);
    for _ in 0..1_000 {
        if DONE.load(Ordering::Acquire) == 3 {
            break;
        }
        task::sleep_until(clock::now() + clock::from_us(1_000));
    }
    ensure!(DONE.load(Ordering::Acquire) == 3, "a preempted copy went wrong");
    let mut after = SimdState::zero();
    after.save();
    ensure!(before.same_registers(&after), "a copy left SIMD registers changed");
    Ok(())
}
