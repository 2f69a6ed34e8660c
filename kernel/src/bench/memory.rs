//! Memory bandwidth of one core, by the kernel's own copy routines, in the manner of STREAM's copy.

use super::report::Hundredths;
use super::{BenchError, Report};
use crate::clock;
use crate::memory::frames;
use crate::sync::Mutex;

type Result<T> = core::result::Result<T, BenchError<'static>>;

/// Bytes that are gone over: more than a cache of one core holds.
const BYTES: usize = 8 << 20;
const ROUNDS: u64 = 4;

/// Set, sum and copy of eight mebibytes.
pub(super) fn bandwidth(report: &mut Report) -> Result<()> {
    // What is taken from the frames for good is taken once.
    static BUFFER: spin::Once<Option<Mutex<&'static mut [u8]>>> = spin::Once::new();
    let buffer =
        BUFFER.call_once(|| frames::allocate_static(BYTES / crate::memory::PAGE_SIZE).map(Mutex::new));
    let buffer = buffer.as_ref().ok_or(BenchError::OutOfMemory)?;
    let mut buffer = buffer.lock().map_err(|_| BenchError::Broken("the buffer is locked for good"))?;
    const PIECE: usize = 4096;
    let mut time = |work: &dyn Fn(&mut [u8], usize)| {
        let start = clock::now();
        for _ in 0..ROUNDS {
            for at in (0..BYTES / 2).step_by(PIECE) {
                work(&mut buffer[..], at);
            }
        }
        let ticks = (clock::now() - start).max(1);
        let bytes = ROUNDS * (BYTES / 2) as u64;
        Hundredths(
            ((u128::from(bytes) * 100 * u128::from(clock::from_us(1_000_000)) / u128::from(ticks)) >> 20)
                as u64,
        )
    };
    let set = time(&|bytes, at| bytes[at..at + PIECE].fill(at as u8));
    let copy = time(&|bytes, at| bytes.copy_within(at..at + PIECE, BYTES / 2 + at));
    let sum = time(&|bytes, at| {
        core::hint::black_box(
            bytes[at..at + PIECE]
                .chunks_exact(8)
                .fold(0u64, |sum, word| sum.wrapping_add(word.try_into().map_or(0, u64::from_le_bytes))),
        );
    });
    report.row("memory-bandwidth", 1, &[("set", set), ("copy", copy), ("read", sum)], "MiB/s");
    Ok(())
}
