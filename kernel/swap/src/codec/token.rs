//! `token`: a format for pages of memory and of text, sooner read than `page`, dearer to write.
//!
//! Memory is made of words of eight bytes: zero, small, equal to one nearby, or pointers that share
//! their upper bytes with one nearby; and an array of structures meets the same neighbour, one
//! structure back, again and again. What is text has its repetitions at any byte. So this is an
//! LZ77 format whose distances are counted in words where they can be, whose last distance costs
//! nothing, and whose literals are the *low bytes of the word in which a match begins*: a pointer
//! that differs from that of the structure before in two bytes takes a code and two bytes.
//!
//! A decoder's time is mispredicted jumps and chains of loads more than instructions. So a code
//! says all about a token, by a table; codes lie apart from operands, so that the next one is known
//! before this one is done; and what differs between tokens are masks and lengths, no jumps, for
//! all tokens of up to 32 bytes.
//!
//! # Format
//! All numbers are little-endian.
//!
//! | part | bytes | content |
//! |---|---|---|
//! | head | 2 | number of codes `n` |
//! | operands | | the page's first 8 bytes as they are; then those of all tokens, in their order, without gaps |
//! | codes | `n` | one byte a token |
//!
//! `at` is how much of the page is there, 8 at first; `last` is the last distance, 8 at first. A
//! token has literals, a distance if it names one, and a byte of length if its code has none; that
//! is their order in the operands.
//!
//! | token | distance | literals | match |
//! |---|---|---|---|
//! | literals | | 1 to 8 | |
//! | words | 1 byte, in words | 0 to 3 | 4 bytes or more |
//! | last | that of before | 1 to 4 | 4 bytes or more |
//! | far | 2 bytes, of which 12 bits count | 0 to 5 | 5 bytes or more |
//! | near | 1 byte | 0 to 3 | 4 bytes or more |
//! | zeros | none | 0 to 3 | 4 zeros or more |
//! | run | | 9 or more | |
//! | pattern | 1 byte, 1 or more | | 4 bytes or more |
//!
//! Codes are given out in this order (`tokens.rs`): literals 1 to 8; then by kind, by number of
//! literals, by the lengths that the table there lists for both, and behind them one whose length
//! is in a byte, counted from the shortest; then runs from 9 on, up to code 253; 254 is a run with
//! a byte, counted from 9; 255 is a pattern: a distance and a length, counted from 4. A distance
//! below 8 in one of the first kinds stands for the last one.
//!
//! A match copies from `distance` before the *token's* start, literals and all, and the literals
//! are put in the place of its first bytes; it may overlap its source. A pattern copies byte by
//! byte. Bytes are a page exactly if no distance is above `at`, the tokens make 4,096 bytes, and
//! the operands end where the codes begin; a decoder refuses all others.

mod decode;
mod encode;
mod output;
#[cfg(test)]
mod tests;
mod tokens;

pub(crate) use decode::decompress;
pub(crate) use encode::{Tables, compress};

/// Bytes of the head.
const HEAD: usize = 2;
/// Bytes of a word.
const WORD: usize = 8;
