//! Zstandard (RFC 8878) for pages: one frame without its first four bytes, which are always `28 b5
//! 2f fd`: with them in front, any decoder of the format reads it.
//!
//! | | frame | blocks | literals | tables of sequences |
//! |---|---|---|---|---|
//! | compressing | single segment of 4096 bytes, no checksum | one, compressed | any but treeless | predefined, RLE, own |
//! | decompressing | any of 4096 bytes, without dictionary or checksum | any | any | any |
//!
//! Windows may be of any size that libzstd takes, since a page is its own window.
//!
//! Ratios over the pages of `cargo bale pages` that are not same-filled, 4093 of one process's kind
//! and 4062 of seven, by the example `codecs`; libzstd's without its magic number:
//!
//! | pages | `lz4` | `deflate:6` | `zstd:1` | `zstd:6` | `zstd:9` | libzstd 3 | libzstd 9 | libzstd 19 |
//! |---|---|---|---|---|---|---|---|---|
//! | one kind | 3.586 | 6.241 | 6.832 | 7.008 | 7.023 | 6.187 | 6.708 | 7.149 |
//! | seven kinds | 2.855 | 4.355 | 4.931 | 4.972 | 4.980 | 4.724 | 4.807 | 5.090 |

mod codes;
mod decode;
mod distribution;
mod encode;
mod reverse;
#[cfg(test)]
mod tests;

pub(crate) use decode::{Decoder, decompress};
pub(crate) use encode::{Encoder, compress};

/// Offsets before any match of a frame: the latest, and the two before.
const OFFSETS: [usize; 3] = [1, 4, 8];
/// Bits of the longest Huffman code.
const LONGEST: usize = 11;
/// Symbols that a weight of a Huffman code can be: 0 does not occur, else `longest + 1 - weight`
/// bits.
const WEIGHTS: usize = LONGEST + 1;
/// Bits of the largest table for weights.
const WEIGHTS_LOG: u32 = 6;
