//! `page`: a format for pages of memory, seen as 512 little-endian words of 64 bits.
//!
//! Words in memory are zero, small, equal to one nearby, or pointers that share their upper bytes
//! with one nearby; and an array of structures meets the same neighbour, one structure back, again
//! and again. A general LZ format sees bytes, pays an offset for each of them and searches at every
//! byte; this one pays four bits a word, or a run of words, and searches at words.
//!
//! # Format
//! All numbers are little-endian, but for the head. `i` is the number of the word that is to come,
//! from 0; `last` is the last named distance, at first 1.
//!
//! | part | bytes | content |
//! |---|---|---|
//! | head | 2 | number of operations `n`, 1 to 512, big-endian |
//! | operands | | those of all operations, in their order, without gaps |
//! | codes | n / 2, rounded up | one nibble an operation, the lower nibble of a byte first; an unused nibble is 0 |
//!
//! A first byte of 0x80 in the head's place says that a block of LZ4 of one page follows it: what
//! is text is better off as bytes.
//!
//! | code | operands | effect |
//! |---|---|---|
//! | 0 | | one word of 0 |
//! | 1 | `c: u8` | `c + 2` words of 0 |
//! | 2 | `d: u8` | `last = d + 1`; the word at `i - last` |
//! | 3 | `r: u16` | `last = (r & 511) + 1`; `(r >> 9) + 1` words, each the word `last` before it |
//! | 4 | `a: u16` | `a` |
//! | 5 | `d: u8, a: u16` | `last = d + 1`; the word at `i - last`, its lowest 2 bytes being `a` |
//! | 6 | `d: u8, a: u24` | `last = d + 1`; the word at `i - last`, its lowest 3 bytes being `a` |
//! | 7 | `a: u32` | `a` |
//! | 8 | `a: u32` | `a << 32` |
//! | 9 | `d: u8, a: u32` | `last = d + 1`; the word at `i - last`, its lowest 4 bytes being `a` |
//! | 10 | `b: u8, a: u32` | `a << 32 \| b` |
//! | 11 | `a: u64` | `a` |
//! | 12 | | the word at `i - last` |
//! | 13 | `c: u8` | `c + 2` words, each the word `last` before it |
//! | 14 | `a: u8` | the word at `i - last`, its lowest byte being `a` |
//! | 15 | `a: u16` | the word at `i - last`, its lowest 2 bytes being `a` |
//!
//! A run may overlap its source. Bytes are a page exactly if every distance is at most `i`, the
//! operations make 512 words, and the operands end where the codes begin; a decoder refuses all
//! others.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub(crate) use decode::decompress;
pub(crate) use encode::{Tables, compress};

use crate::device::PAGE_SIZE;

/// Words of a page.
const WORDS: usize = PAGE_SIZE / 8;
/// Head of a page that is a block of LZ4.
const BYTES: u8 = 0x80;

/// Codes of the operations, as in the table above.
mod code {
    pub(super) const ZERO: u8 = 0;
    pub(super) const ZEROS: u8 = 1;
    pub(super) const COPY: u8 = 2;
    pub(super) const RUN: u8 = 3;
    pub(super) const LOW2: u8 = 4;
    pub(super) const NEAR2: u8 = 5;
    pub(super) const NEAR3: u8 = 6;
    pub(super) const LOW4: u8 = 7;
    pub(super) const HIGH4: u8 = 8;
    pub(super) const NEAR4: u8 = 9;
    pub(super) const ENDS: u8 = 10;
    pub(super) const WHOLE: u8 = 11;
    pub(super) const AGAIN: u8 = 12;
    pub(super) const AGAIN_RUN: u8 = 13;
    pub(super) const AGAIN1: u8 = 14;
    pub(super) const AGAIN2: u8 = 15;
}
