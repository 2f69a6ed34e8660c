//! Every earlier position with the same hash, latest first: for the codecs that search long.

use super::bytes::{common, word32};
use crate::device::PAGE_SIZE;

const HASH_BITS: u32 = 11;
/// No position.
const NONE: u16 = u16::MAX;
/// Shortest match that is found.
const SHORTEST: usize = 4;

/// The latest position of each hash, and the one before each position.
#[derive(Clone, Copy)]
pub(crate) struct Chains {
    latest: [u16; 1 << HASH_BITS],
    before: [u16; PAGE_SIZE],
    /// Positions that are in the chains.
    known: usize,
}

/// Bytes that repeat earlier ones.
#[derive(Clone, Copy, Default)]
pub(crate) struct Match {
    pub(crate) from: usize,
    /// 0 if there is none.
    pub(crate) length: usize,
}

#[inline]
fn hash(word: u32) -> usize {
    (word.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
}

impl Chains {
    pub(crate) const fn new() -> Self {
        Self { latest: [0; 1 << HASH_BITS], before: [0; PAGE_SIZE], known: 0 }
    }

    /// Forgets every position.
    pub(crate) fn clear(&mut self) {
        self.latest.fill(NONE);
        self.known = 0;
    }

    /// Makes all positions before `at` known.
    #[expect(clippy::cast_possible_truncation, reason = "12 bits")]
    pub(crate) fn know(&mut self, page: &[u8; PAGE_SIZE], at: usize) {
        while self.known < at.min(PAGE_SIZE) {
            let latest = &mut self.latest[hash(word32(page, self.known))];
            self.before[self.known] = *latest;
            *latest = self.known as u16;
            self.known += 1;
        }
    }

    /// The longest match at `at` that ends before `end`, of the `depth` nearest that share its
    /// hash.
    pub(crate) fn longest(
        &mut self,
        page: &[u8; PAGE_SIZE],
        at: usize,
        end: usize,
        depth: usize,
    ) -> Match {
        let mut best = Match { from: 0, length: SHORTEST - 1 };
        if at + SHORTEST > end {
            return Match::default();
        }
        self.know(page, at);
        let mut from = self.latest[hash(word32(page, at))];
        for _ in 0..depth {
            let position = usize::from(from);
            // Also the end of a chain.
            if position >= at {
                break;
            }
            // It can only be longer if it goes on where the best one ends.
            if page.get(position + best.length) == page.get(at + best.length) {
                let length = common(page, position, at, end);
                if length > best.length {
                    best = Match { from: position, length };
                    if at + length == end {
                        break;
                    }
                }
            }
            from = self.before[position];
        }
        if best.length < SHORTEST { Match::default() } else { best }
    }
}
