//! A canonical code that is decoded: short codes by one look into a table, long ones bit by bit.

use super::LONGEST;
use crate::codec::bits::Reader;

/// Bits of a code that the table takes.
const FAST: usize = 9;

/// A code of up to `N` symbols.
#[derive(Clone, Copy)]
pub(super) struct Code<const N: usize> {
    /// Symbol above, length in the lowest four bits; 0 for a longer code or none.
    fast: [u16; 1 << FAST],
    /// Number of codes of each length.
    counts: [u16; LONGEST + 1],
    /// Symbols by length and value.
    symbols: [u16; N],
}

impl<const N: usize> Code<N> {
    pub(super) const fn new() -> Self {
        Self { fast: [0; 1 << FAST], counts: [0; LONGEST + 1], symbols: [0; N] }
    }

    /// Takes the code of these lengths. `None` if it says too much, or too little: only a code of
    /// one symbol or none may.
    #[expect(clippy::cast_possible_truncation, reason = "symbols are below 288")]
    pub(super) fn set(&mut self, lengths: &[u8]) -> Option<()> {
        self.counts.fill(0);
        for length in lengths {
            *self.counts.get_mut(usize::from(*length))? += 1;
        }
        self.counts[0] = 0;
        let mut left = 1i32;
        let (mut first, mut starts) = (0, [0u16; LONGEST + 2]);
        let mut codes = [0u16; LONGEST + 1];
        for length in 1..=LONGEST {
            let count = self.counts[length];
            left = left * 2 - i32::from(count);
            if left < 0 {
                return None;
            }
            first *= 2;
            codes[length] = first;
            first += count;
            starts[length + 1] = starts[length] + count;
        }
        let used = starts[LONGEST + 1];
        if left > 0 && !(used == 0 || used == 1 && self.counts[1] == 1) {
            return None;
        }
        self.fast.fill(0);
        for (symbol, length) in lengths.iter().enumerate().filter(|(_, length)| **length != 0) {
            let length = usize::from(*length);
            *self.symbols.get_mut(usize::from(starts[length]))? = symbol as u16;
            starts[length] += 1;
            if length <= FAST {
                let code = usize::from(codes[length].reverse_bits() >> (16 - length));
                for place in self.fast.iter_mut().skip(code).step_by(1 << length) {
                    *place = (symbol << 4 | length) as u16;
                }
            }
            codes[length] += 1;
        }
        Some(())
    }

    /// The next symbol; `None` if the bits are none.
    #[expect(clippy::cast_possible_truncation, reason = "15 at most")]
    #[inline(always)]
    pub(super) fn next(&self, reader: &mut Reader<'_>) -> Option<usize> {
        let bits = reader.peek();
        let entry = usize::from(self.fast[(bits & ((1 << FAST) - 1)) as usize]);
        if entry != 0 {
            reader.pass((entry & 15) as u32)?;
            return Some(entry >> 4);
        }
        let (mut code, mut first, mut start) = (0usize, 0usize, 0usize);
        for length in 1..=LONGEST {
            code = (code * 2) | (bits >> (length - 1) & 1) as usize;
            let count = usize::from(self.counts[length]);
            // Codes of one length follow each other, from twice the first that was not used.
            if code < first + count {
                reader.pass(length as u32)?;
                return Some(usize::from(*self.symbols.get(start + code - first)?));
            }
            start += count;
            first = (first + count) * 2;
        }
        None
    }
}
