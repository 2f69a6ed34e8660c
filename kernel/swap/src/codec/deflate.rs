//! DEFLATE (RFC 1951) for pages: one block with codes of its own when compressing, any blocks when
//! decompressing; no zlib head, no checksum.

mod code;
mod decode;
mod encode;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use decode::{Decoder, decompress};
pub(crate) use encode::{Encoder, compress};

/// Literals, the end of the block, and lengths.
const LITERALS: usize = 288;
/// Those of them that a block may use.
const LITERALS_USED: usize = 286;
/// Distances; two are never used.
const DISTANCES: usize = 32;
const DISTANCES_USED: usize = 30;
/// Lengths of codes, and what stands for several of them.
const RUNS: usize = 19;
const END: usize = 256;
/// Bits of the longest code, and of the longest code for lengths.
const LONGEST: usize = 15;
const LONGEST_RUN: usize = 7;
/// The order in which the lengths of the codes for lengths are written.
const ORDER: [usize; RUNS] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const SHORTEST_MATCH: usize = 3;
const LONGEST_MATCH: usize = 258;

/// Base and extra bits of the length that symbol `257 + index` begins.
#[expect(clippy::cast_possible_truncation, reason = "few bits")]
const fn length_of(index: usize) -> (usize, u32) {
    match index {
        0..8 => (index + SHORTEST_MATCH, 0),
        28 => (LONGEST_MATCH, 0),
        _ => {
            let extra = index / 4 - 1;
            (((4 + index % 4) << extra) + SHORTEST_MATCH, extra as u32)
        }
    }
}

/// Base and extra bits of the distance that symbol `index` begins.
#[expect(clippy::cast_possible_truncation, reason = "few bits")]
const fn distance_of(index: usize) -> (usize, u32) {
    if index < 4 {
        return (index + 1, 0);
    }
    let extra = index / 2 - 1;
    (((2 + index % 2) << extra) + 1, extra as u32)
}

/// The lengths of a fixed block's codes.
fn fixed() -> ([u8; LITERALS], [u8; DISTANCES]) {
    let literals = core::array::from_fn(|symbol| match symbol {
        0..144 => 8,
        144..256 => 9,
        256..280 => 7,
        _ => 8,
    });
    (literals, [5; DISTANCES])
}
