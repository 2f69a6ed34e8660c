//! How many cells a symbol gets, and what that costs.

use crate::codec::zstd::{codes::SYMBOLS, distribution::Distribution};

/// A bit, where parts of it are counted.
pub(super) const BIT: u32 = 256;

/// Logarithm of a number above 0 to the base 2, in parts of a bit, between powers of two by a
/// straight line and its bend.
const fn log2(number: u32) -> u32 {
    let whole = number.ilog2();
    let part = ((number * BIT) >> whole) - BIT;
    // At most 0.0861 above the line, in the middle.
    whole * BIT + part + part * (BIT - part) * 22 / (BIT * BIT / 4)
}

/// Cost of symbols that occur so often, in parts of a bit; `None` if one has no cell.
pub(super) fn cost(counts: &[u16; SYMBOLS], distribution: &Distribution) -> Option<u32> {
    let mut sum = 0;
    for (count, cells) in counts.iter().zip(distribution.cells).filter(|(count, _)| **count > 0) {
        if cells == 0 {
            return None;
        }
        sum += u32::from(*count) * (distribution.log * BIT - log2(u32::from(cells.unsigned_abs())));
    }
    Some(sum)
}

/// Shares `1 << log` cells among symbols that occur so often, at least two of them; `None` if there
/// are fewer, or more than cells.
#[expect(clippy::cast_possible_truncation, reason = "at most 512 cells")]
pub(super) fn share(counts: &[u16; SYMBOLS], log: u32) -> Option<Distribution> {
    let total: u32 = counts.iter().map(|count| u32::from(*count)).sum();
    let used = counts.iter().filter(|count| **count > 0).count();
    let size = 1u32 << log;
    if used < 2 || used > size as usize {
        return None;
    }
    let mut cells =
        counts.map(|count| if count == 0 { 0 } else { (u32::from(count) * size / total).max(1) });
    let mut sum: u32 = cells.iter().sum();
    while sum != size {
        let pairs = counts.iter().zip(&mut cells).filter(|(count, _)| **count > 0);
        // What a cell more saves, or a cell less costs, is about the count by the cells.
        if sum < size {
            let (_, cells) =
                pairs.max_by_key(|(count, cells)| u32::from(**count) * BIT / (2 * **cells + 1))?;
            *cells += 1;
            sum += 1;
        } else {
            let (_, cells) = pairs
                .filter(|(_, cells)| **cells > 1)
                .min_by_key(|(count, cells)| u32::from(**count) * BIT / (2 * **cells - 1))?;
            *cells -= 1;
            sum -= 1;
        }
    }
    Some(Distribution { cells: cells.map(|cells| cells as i16), log })
}
