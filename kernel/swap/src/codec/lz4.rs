//! LZ4's block format for pages of 4096 bytes, after the format's description (lz4_Block_format.md,
//! 2022-07-31).
//!
//! General LZ4 codecs are made for long inputs: at 4 KiB their set-up and their checks per sequence
//! weigh more than the bytes. Here positions fit 12 bits, input and output are arrays of known
//! size, and the common sequence is copied in blocks of fixed length.

mod decode;
mod encode;
mod high;
mod output;
#[cfg(test)]
mod tests;

pub(crate) use decode::decompress;
pub(crate) use encode::{Table, compress};
pub(crate) use high::compress as compress_high;

/// Shortest match of the format.
const MIN_MATCH: usize = 4;
/// The last match starts at least this far before the end.
const MATCH_LIMIT: usize = 12;
/// The last bytes of a block are literals.
const LAST_LITERALS: usize = 5;
/// Bytes that a token's nibble can count; more follow it.
const NIBBLE: usize = 15;
/// Input that the common sequence needs: a token, 16 bytes of which at most 14 are its literals, an
/// offset.
const SHORT: usize = 24;
