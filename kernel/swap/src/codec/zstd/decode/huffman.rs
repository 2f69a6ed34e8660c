//! The Huffman code of literals: its description, and what is written in it.

use super::table::Table;
use crate::codec::zstd::{
    LONGEST, WEIGHTS, WEIGHTS_LOG, distribution::Distribution, reverse::Reverse,
};

/// Bytes.
const SYMBOLS: usize = 256;

/// A code by one look into a table.
#[derive(Clone, Copy)]
pub(super) struct Code {
    /// Symbol above, length in the lowest four bits.
    cells: [u16; 1 << LONGEST],
    /// Bits of the longest code; 0 if there is none.
    log: u32,
}

impl Code {
    pub(super) const fn new() -> Self {
        Self { cells: [0; 1 << LONGEST], log: 0 }
    }

    /// Forgets the code: a new frame has none.
    pub(super) fn forget(&mut self) {
        self.log = 0;
    }

    /// Reads a description; what is behind it.
    pub(super) fn read<'b>(&mut self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let (head, bytes) = bytes.split_first()?;
        let head = usize::from(*head);
        let mut weights = [0; SYMBOLS];
        let (count, rest) = if head < 128 {
            let (coded, rest) = bytes.split_at_checked(head)?;
            (states(coded, &mut weights)?, rest)
        } else {
            let count = head - 127;
            let (coded, rest) = bytes.split_at_checked(count.div_ceil(2))?;
            for (pair, byte) in weights.chunks_mut(2).zip(coded) {
                pair.copy_from_slice(&[byte >> 4, byte & 15]);
            }
            weights[count] = 0;
            (count, rest)
        };
        self.set(&mut weights, count)?;
        Some(rest)
    }

    /// Takes the code of `count` weights and of the one that is not written, which makes the code
    /// complete.
    #[expect(clippy::cast_possible_truncation, reason = "weights of at most 11, 256 symbols")]
    fn set(&mut self, weights: &mut [u8; SYMBOLS], count: usize) -> Option<()> {
        let mut sum = 0usize;
        for weight in &weights[..count] {
            if usize::from(*weight) > LONGEST {
                return None;
            }
            sum += (1 << weight) / 2;
        }
        let log = sum.checked_ilog2()? + 1;
        let left = (1usize << log) - sum;
        if log as usize > LONGEST || !left.is_power_of_two() {
            return None;
        }
        *weights.get_mut(count)? = left.ilog2() as u8 + 1;
        let mut starts = [0usize; WEIGHTS + 1];
        for weight in weights.iter().filter(|weight| **weight > 0) {
            starts[usize::from(*weight) + 1] += (1 << weight) / 2;
        }
        // The longest code has words of its length.
        if starts[2] == 0 {
            return None;
        }
        for weight in 1..WEIGHTS {
            starts[weight + 1] += starts[weight];
        }
        for (symbol, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
            let cells = (1 << weight) / 2;
            let start = &mut starts[usize::from(*weight)];
            let length = log as usize + 1 - usize::from(*weight);
            self.cells.get_mut(*start..*start + cells)?.fill((symbol << 4 | length) as u16);
            *start += cells;
        }
        self.log = log;
        Some(())
    }

    /// Decodes as many bytes as there is room; `None` if they are not exactly the stream, or there
    /// is no code.
    #[expect(clippy::cast_possible_truncation, reason = "a byte")]
    pub(super) fn decode(&self, bytes: &[u8], out: &mut [u8]) -> Option<()> {
        if self.log == 0 {
            return None;
        }
        let mut reader = Reverse::new(bytes)?;
        for place in out {
            let cell = self.cells[reader.peek(self.log) & ((1 << LONGEST) - 1)];
            reader.pass(u32::from(cell & 15))?;
            *place = (cell >> 4) as u8;
        }
        reader.at_end().then_some(())
    }
}

/// Decodes weights that two states have in turn; how many. One less than there is room for at most.
#[expect(clippy::cast_possible_truncation, reason = "12 weights")]
fn states(bytes: &[u8], weights: &mut [u8; SYMBOLS]) -> Option<usize> {
    let (distribution, length) = Distribution::read(bytes, WEIGHTS, WEIGHTS_LOG)?;
    let mut table = Table::<{ 1 << WEIGHTS_LOG }>::new();
    table.set(&distribution)?;
    let mut reader = Reverse::new(bytes.get(length..)?)?;
    let mut state = table.start(&mut reader)?;
    let mut other = table.start(&mut reader)?;
    let mut places = weights[..SYMBOLS - 1].iter_mut().enumerate();
    loop {
        *places.next()?.1 = table.symbol(state) as u8;
        let Some(next) = table.next(state, &mut reader) else {
            // The bits end in one state; the other has a symbol yet.
            let (last, place) = places.next()?;
            *place = table.symbol(other) as u8;
            return Some(last + 1);
        };
        (state, other) = (other, next);
    }
}
