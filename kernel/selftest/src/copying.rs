//! Our `memcpy`, `memmove`, `memset`, `memcmp` against byte loops, and the SIMD registers they
//! borrow.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bale_arch::copy;
use bale_arch::simd::SimdState;

use super::{LOW, Verdict, ensure};
use bale_memory::frames;
use bale_rt::{cores, task};

/// Every length up to here is tried: past every branch of the copy routines, and two turns of their
/// longest loop.
const LONGEST: usize = 600;

fn pattern(index: usize) -> u8 {
    (index.wrapping_mul(167) >> 3) as u8 ^ index as u8
}

/// Fills with the pattern byte by byte, so that what is tested does not prepare its own test.
fn fill_pattern(bytes: &mut [u8]) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = core::hint::black_box(pattern(index));
    }
}

fn two_frames() -> Result<(frames::Frame, frames::Frame), super::Failure> {
    match (frames::allocate(), frames::allocate()) {
        (Some(a), Some(b)) => Ok((a, b)),
        _ => Err(super::failure(format_args!("no memory"))),
    }
}

pub(super) fn copy_matches_reference() -> Verdict {
    let (mut from, mut to) = two_frames()?;
    fill_pattern(from.bytes_mut());
    let mut copy = |length: usize, from_at: usize, to_at: usize| {
        let area = &mut to.bytes_mut()[..LONGEST + 64];
        area.iter_mut().for_each(|byte| *byte = core::hint::black_box(0xee));
        area[to_at..to_at + length].copy_from_slice(&from.bytes_mut()[from_at..from_at + length]);
        for (index, byte) in area.iter().enumerate() {
            let inside = (to_at..to_at + length).contains(&index);
            let expected = if inside { pattern(index - to_at + from_at) } else { 0xee };
            ensure!(
                *byte == expected,
                "length {length}, from +{from_at} to +{to_at}: byte {index}"
            );
        }
        Ok(())
    };
    for length in 0..=LONGEST {
        // Over the lengths, every pair of alignments.
        for from_at in 0..16 {
            copy(length, from_at, 16 + (from_at * 7 + length) % 16)?;
        }
    }
    for length in [1, 7, 15, 31, 63, 64, 127, 129, 255, 577] {
        for (from_at, to_at) in (0..256).map(|pair| (pair / 16, 16 + pair % 16)) {
            copy(length, from_at, to_at)?;
        }
    }
    frames::release([from, to]);
    Ok(())
}

pub(super) fn overlapping_moves() -> Verdict {
    let (mut frame, other) = two_frames()?;
    let distances = (0..16).chain([16, 31, 33, 63, 64, 65, 127, 128, 200, 300]);
    for (turn, distance) in distances.enumerate() {
        for length in 0..=LONGEST {
            let start = (turn + length) % 16;
            for (from, to) in [(start, start + distance), (start + distance, start)] {
                let area = &mut frame.bytes_mut()[..LONGEST + 340];
                fill_pattern(area);
                area.copy_within(from..from + length, to);
                for (index, byte) in area.iter().enumerate() {
                    let inside = (to..to + length).contains(&index);
                    let expected = pattern(if inside { index - to + from } else { index });
                    ensure!(
                        *byte == expected,
                        "length {length}, from {from} to {to}: byte {index}"
                    );
                }
            }
        }
    }
    frames::release([frame, other]);
    Ok(())
}

pub(super) fn set_and_compare() -> Verdict {
    let (mut left, mut right) = two_frames()?;
    for frame in [&mut left, &mut right] {
        fill_pattern(frame.bytes_mut());
    }
    for length in 0..=LONGEST {
        for at in 0..16 {
            let area = &mut left.bytes_mut()[..LONGEST + 32];
            area[at..at + length].fill(0xa5);
            for (index, byte) in area.iter_mut().enumerate() {
                let inside = (at..at + length).contains(&index);
                let expected = if inside { 0xa5 } else { pattern(index) };
                ensure!(*byte == expected, "memset of {length} at +{at}: byte {index}");
                *byte = core::hint::black_box(pattern(index));
            }
            let (left, right) = (&area[at..at + length], &mut right.bytes_mut()[at..at + length]);
            ensure!(left == right, "equal {length} bytes at +{at} compared unequal");
            for place in [0, length / 2, length.saturating_sub(1)]
                .into_iter()
                .filter(|place| *place < length)
            {
                // A later byte that differs the other way must not decide.
                let kept = (right[place], right[length - 1]);
                right[length - 1] = right[length - 1].wrapping_sub(1);
                right[place] = kept.0 ^ 0x80;
                let order = left.cmp(right);
                let expected = left[place].cmp(&right[place]);
                right[length - 1] = kept.1;
                right[place] = kept.0;
                ensure!(order == expected, "memcmp of {length} at +{at} did not see byte {place}");
            }
        }
    }
    frames::release([left, right]);
    Ok(())
}

/// A page of zeros, and one with each of its bytes not zero.
pub(super) fn zero_pages_are_seen() -> Verdict {
    let (mut page, other) = two_frames()?;
    page.bytes_mut().fill(0);
    ensure!(copy::is_zero(page.bytes_mut()), "a page of zeros was not seen");
    for at in 0..4096 {
        page.bytes_mut()[at] = 0x80 >> (at % 8);
        ensure!(!copy::is_zero(page.bytes_mut()), "byte {at} was not seen");
        page.bytes_mut()[at] = 0;
    }
    frames::release([page, other]);
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
        ensure!(task::spawn("copier", core, LOW, copier, seed).is_ok(), "no task");
    }
    // Three equals share this core by time slices; each wake-up of ours preempts one of them as
    // well.
    for _ in 0..100 {
        task::sleep_us(1_500);
    }
    STOP.store(true, Ordering::Relaxed);
    for _ in 0..1_000 {
        if DONE.load(Ordering::Acquire) == 3 {
            break;
        }
        task::sleep_us(1_000);
    }
    ensure!(DONE.load(Ordering::Acquire) == 3, "a preempted copy went wrong");
    let mut after = SimdState::zero();
    after.save();
    ensure!(before.same_registers(&after), "a copy left SIMD registers changed");
    Ok(())
}
