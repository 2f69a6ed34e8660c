//! Memory bandwidth of one core, by the kernel's own copy routines, in the manner of STREAM's copy.

use heapless::Vec;

use super::counting::nanoseconds_are_instructions;
use super::report::Hundredths;
use super::{BenchError, Report, go_on};
use bale_memory::frames::{self, BLOCK_SIZE, Block};
use bale_rt::clock;

type Result<T> = core::result::Result<T, BenchError<'static>>;

/// Blocks that are gone over: 64 MiB, more than the caches that the cores of a server share.
const BLOCKS: usize = 32;
/// The first half is written and read, and copied to the other.
const HALF: usize = BLOCKS / 2;
const ROUNDS: u64 = 4;

/// Memory that goes back.
struct Buffer(Vec<Block, BLOCKS>);

impl Buffer {
    fn new() -> Option<Self> {
        let mut buffer = Self(Vec::new());
        while !buffer.0.is_full() {
            // There is room, as was looked at.
            drop(buffer.0.push(bale_rt::blocks::allocate_block()?));
        }
        Some(buffer)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        while let Some(block) = self.0.pop() {
            frames::release_block(block);
        }
    }
}

/// Applies `work` to each block of the first half and its fellow in the other, several times over;
/// MiB of one half by seconds.
fn time(buffer: &mut Buffer, work: impl Fn(&mut [u8], &mut [u8])) -> Result<Hundredths> {
    let start = clock::now();
    for _ in 0..ROUNDS {
        go_on()?;
        let (from, to) = buffer.0.split_at_mut(HALF);
        for (from, to) in from.iter_mut().zip(to) {
            work(from.bytes_mut(), to.bytes_mut());
        }
    }
    let ticks = (clock::now() - start).max(1);
    let bytes = ROUNDS * HALF as u64 * BLOCK_SIZE;
    let hundredths =
        u128::from(bytes) * 100 * u128::from(clock::from_us(1_000_000)) / u128::from(ticks);
    Ok(Hundredths(u64::try_from(hundredths >> 20).unwrap_or(u64::MAX)))
}

/// Set, copy and sum.
pub(super) fn bandwidth(report: &mut Report) -> Result<()> {
    const NAME: &str = "memory-bandwidth";
    if nanoseconds_are_instructions() {
        report.left_out(NAME, "the clock counts instructions here, and memory takes none");
        return Ok(());
    }
    let Some(mut buffer) = Buffer::new() else {
        report.left_out(NAME, "it wants 64 MiB in blocks of 2 MiB, and fewer are free");
        return Ok(());
    };
    let set = time(&mut buffer, |bytes, _| bytes.fill(bytes[0].wrapping_add(1)))?;
    let copy = time(&mut buffer, |from, to| to.copy_from_slice(from))?;
    let sum = time(&mut buffer, |bytes, _| {
        let words = bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes));
        core::hint::black_box(words.fold(0, u64::wrapping_add));
    })?;
    report.row(NAME, 1, &[("set", set), ("copy", copy), ("read", sum)], "MiB/s");
    Ok(())
}
