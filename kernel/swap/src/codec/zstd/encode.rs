//! One block of a page: its literals and sequences first, then the codes and tables that suit them.

mod cost;
mod huffman;
mod literals;
mod search;
mod sequences;
mod table;

use self::table::Table;
use crate::{
    codec::{Level, OUTPUT, chains::Chains},
    device::PAGE_SIZE,
};

/// Single segment, a size of two bytes, which counts from 256.
const HEAD: [u8; 3] = [1 << 6 | 1 << 5, 0x00, 0x0f];
/// Bytes before a block.
const BLOCK_HEAD: usize = 3;

/// Some literals, and a match behind them.
#[derive(Clone, Copy)]
struct Sequence {
    literals: u16,
    length: u16,
    /// 1 to 3 for one of the last distances, else 3 more than the distance.
    offset: u16,
}

/// Fewest bytes of a sequence.
const SHORTEST_MATCH: usize = 4;

/// What a page consists of.
#[derive(Clone, Copy)]
pub(crate) struct Encoder {
    literals: [u8; PAGE_SIZE],
    literal_count: usize,
    sequences: [Sequence; PAGE_SIZE / SHORTEST_MATCH],
    sequence_count: usize,
    /// Of literals' lengths, offsets, matches' lengths.
    tables: [Table; 3],
}

impl Encoder {
    pub(crate) const fn new() -> Self {
        Self {
            literals: [0; PAGE_SIZE],
            literal_count: 0,
            sequences: [Sequence { literals: 0, length: 0, offset: 0 }; PAGE_SIZE / SHORTEST_MATCH],
            sequence_count: 0,
            tables: [Table::new(); 3],
        }
    }

    fn literals(&self) -> &[u8] {
        &self.literals[..self.literal_count]
    }
}

/// Compresses a page; its length, or `None` if it does not become shorter than a page by anything.
#[expect(clippy::cast_possible_truncation, reason = "13 bits")]
pub(crate) fn compress(
    page: &[u8; PAGE_SIZE],
    level: Level,
    chains: &mut Chains,
    encoder: &mut Encoder,
    output: &mut [u8; OUTPUT],
) -> Option<usize> {
    encoder.search(page, level, chains);
    let out = &mut output[..PAGE_SIZE - 1];
    let (head, out) = out.split_at_mut(HEAD.len() + BLOCK_HEAD);
    let literals = literals::write(encoder.literals(), out)?;
    let Encoder { sequences, sequence_count, tables, .. } = encoder;
    let sequences = &sequences[..*sequence_count];
    let length = literals + sequences::write(sequences, tables, out.get_mut(literals..)?)?;
    let block = (length as u32) << 3 | 2 << 1 | 1;
    head[..HEAD.len()].copy_from_slice(&HEAD);
    head[HEAD.len()..].copy_from_slice(&block.to_le_bytes()[..BLOCK_HEAD]);
    Some(HEAD.len() + BLOCK_HEAD + length)
}
