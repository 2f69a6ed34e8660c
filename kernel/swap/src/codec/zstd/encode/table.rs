//! A table of states that is written (FSE).

use crate::codec::{
    bits::Writer,
    zstd::{codes::SYMBOLS, distribution::Distribution},
};

/// Cells of the largest table.
const CELLS: usize = 512;

/// For each symbol the states that have it.
#[derive(Clone, Copy)]
pub(super) struct Table {
    log: u32,
    counts: [u16; SYMBOLS],
    starts: [u16; SYMBOLS],
    /// States by symbol, in ascending order.
    states: [u16; CELLS],
}

impl Table {
    /// No symbol's.
    pub(super) const fn new() -> Self {
        Self { log: 0, counts: [0; SYMBOLS], starts: [0; SYMBOLS], states: [0; CELLS] }
    }

    /// Becomes the table of a distribution.
    #[expect(clippy::cast_possible_truncation, reason = "at most 512 states")]
    pub(super) fn set(&mut self, distribution: &Distribution) {
        self.log = distribution.log;
        let mut sum = 0;
        for (symbol, cells) in distribution.cells.iter().enumerate() {
            self.counts[symbol] = cells.unsigned_abs();
            self.starts[symbol] = sum;
            sum += cells.unsigned_abs();
        }
        let mut symbols = [0u8; CELLS];
        distribution.spread(|at, symbol| symbols[at] = symbol as u8);
        let mut next = self.starts;
        for (state, symbol) in symbols[..1 << distribution.log].iter().enumerate() {
            let place = &mut next[usize::from(*symbol)];
            self.states[usize::from(*place)] = state as u16;
            *place += 1;
        }
    }

    /// Becomes the table of one symbol.
    pub(super) fn set_one(&mut self, symbol: usize) {
        *self = Self::new();
        self.counts[symbol] = 1;
    }

    /// The state to begin with, which is the last that is read.
    pub(super) fn first(&self, symbol: usize) -> usize {
        usize::from(self.states[usize::from(self.starts[symbol])])
    }

    /// Writes what leads from a state of the symbol to `state`; the former.
    pub(super) fn put(&self, out: &mut Writer<'_>, symbol: usize, state: usize) -> Option<usize> {
        let count = usize::from(self.counts[symbol]);
        let full = state + (1 << self.log);
        let mut bits = self.log - count.ilog2();
        if full >> bits < count {
            bits -= 1;
        }
        out.put(full & ((1 << bits) - 1), bits)?;
        Some(usize::from(self.states[usize::from(self.starts[symbol]) + (full >> bits) - count]))
    }

    /// Writes the state that is read first.
    pub(super) fn finish(&self, out: &mut Writer<'_>, state: usize) -> Option<()> {
        out.put(state, self.log)
    }
}
