//! The fast search: one position for each hash, and longer steps where nothing repeats.

use super::{LAST_LITERALS, MATCH_LIMIT, MIN_MATCH, output::Output};
use crate::{
    codec::{
        OUTPUT,
        bytes::{common, word32, word64},
    },
    device::PAGE_SIZE,
};

/// Bytes that are hashed.
const HASHED: u32 = 5;
const HASH_BITS: u32 = 11;
/// Misses after which the search takes longer steps: 1 in 2 to this power.
const SKIP: usize = 5;

/// Where a sequence of five bytes was seen last.
#[derive(Clone, Copy)]
pub(crate) struct Table([u16; 1 << HASH_BITS]);

impl Table {
    pub(crate) const fn new() -> Self {
        Self([0; 1 << HASH_BITS])
    }
}

/// Of five bytes: what repeats in memory is seldom as short as four, and a sequence of four saves
/// one byte.
#[inline(always)]
fn hash(word: u64) -> usize {
    ((word << (64 - 8 * HASHED)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - HASH_BITS)) as usize
}

/// Compresses a page to where `start` is in the output; the end of it, or `None` if it does not
/// become shorter than a page by anything.
pub(crate) fn compress(
    page: &[u8; PAGE_SIZE],
    table: &mut Table,
    output: &mut [u8; OUTPUT],
    start: usize,
) -> Option<usize> {
    table.0.fill(0);
    let mut out = Output { bytes: output, at: start };
    let (mut literals, mut at, mut misses) = (0, 1, 0usize);
    while at <= PAGE_SIZE - MATCH_LIMIT {
        let word = word32(page, at);
        let entry = &mut table.0[hash(word64(page, at))];
        let mut from = usize::from(*entry);
        #[expect(clippy::cast_possible_truncation, reason = "12 bits")]
        {
            *entry = at as u16;
        }
        if word32(page, from) != word {
            at += 1 + (misses >> SKIP);
            misses += 1;
            continue;
        }
        misses = 0;
        while at > literals && from > 0 && page[at - 1] == page[from - 1] {
            (at, from) = (at - 1, from - 1);
        }
        let length =
            MIN_MATCH + common(page, from + MIN_MATCH, at + MIN_MATCH, PAGE_SIZE - LAST_LITERALS);
        out.sequence(page, literals, at, at - from, length - MIN_MATCH)?;
        at += length;
        literals = at;
        let behind = at - 2;
        #[expect(clippy::cast_possible_truncation, reason = "12 bits")]
        {
            table.0[hash(word64(page, behind))] = behind as u16;
        }
    }
    out.literals(page, literals, PAGE_SIZE, 0)?;
    (out.at < PAGE_SIZE).then_some(out.at)
}
