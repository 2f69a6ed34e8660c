//! A table of states that is decoded (FSE): each has a symbol, and the next state comes from some
//! bits.

use crate::codec::zstd::{codes::SYMBOLS, distribution::Distribution, reverse::Reverse};

/// A state: its symbol, and what the next one is: `next` and the number that `bits` bits are.
#[derive(Clone, Copy)]
struct Cell {
    symbol: u8,
    bits: u8,
    next: u16,
}

/// A table of up to `N` states, a power of two.
#[derive(Clone, Copy)]
pub(super) struct Table<const N: usize> {
    cells: [Cell; N],
    log: u32,
}

impl<const N: usize> Table<N> {
    pub(super) const fn new() -> Self {
        Self { cells: [Cell { symbol: 0, bits: 0, next: 0 }; N], log: 0 }
    }

    /// Takes a distribution; `None` if it has more than `N` cells.
    #[expect(clippy::cast_possible_truncation, reason = "at most 53 symbols and 512 states")]
    pub(super) fn set(&mut self, distribution: &Distribution) -> Option<()> {
        let size = 1usize << distribution.log;
        self.log = distribution.log;
        let cells = self.cells.get_mut(..size)?;
        distribution.spread(|at, symbol| cells[at].symbol = symbol as u8);
        let mut next: [usize; SYMBOLS] =
            core::array::from_fn(|symbol| usize::from(distribution.cells[symbol].unsigned_abs()));
        for cell in cells {
            let state = &mut next[usize::from(cell.symbol)];
            let bits = distribution.log - state.ilog2();
            cell.bits = bits as u8;
            cell.next = ((*state << bits) - size) as u16;
            *state += 1;
        }
        Some(())
    }

    /// A table of one symbol, without bits.
    pub(super) fn set_one(&mut self, symbol: u8) {
        self.log = 0;
        self.cells[0] = Cell { symbol, bits: 0, next: 0 };
    }

    /// The first state.
    pub(super) fn start(&self, reader: &mut Reverse<'_>) -> Option<usize> {
        reader.take(self.log)
    }

    #[inline(always)]
    pub(super) fn symbol(&self, state: usize) -> usize {
        usize::from(self.cells[state & (N - 1)].symbol)
    }

    /// The state behind this one; `None` if there are not as many bits.
    #[inline(always)]
    pub(super) fn next(&self, state: usize, reader: &mut Reverse<'_>) -> Option<usize> {
        let cell = self.cells[state & (N - 1)];
        Some(usize::from(cell.next) + reader.take(u32::from(cell.bits))?)
    }
}
