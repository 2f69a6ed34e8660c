//! How a table's cells are shared among symbols (RFC 8878, 4.1.1), for both ways.

use super::codes::SYMBOLS;
use crate::codec::bits::{Reader, Writer};

/// Bits of the smallest table.
pub(super) const SMALLEST_LOG: u32 = 5;

/// Cells of each symbol in a table of `1 << log`; -1 is one cell at the end of the table.
#[derive(Clone, Copy)]
pub(super) struct Distribution {
    pub(super) cells: [i16; SYMBOLS],
    pub(super) log: u32,
}

impl Distribution {
    /// A known one.
    pub(super) fn of(cells: &[i16], log: u32) -> Self {
        let mut all = [0; SYMBOLS];
        for (place, cell) in all.iter_mut().zip(cells) {
            *place = *cell;
        }
        Self { cells: all, log }
    }

    /// Reads a description; also how many bytes it has. `None` if it names a symbol from `symbols`
    /// on or has more bits than `longest`.
    #[expect(clippy::cast_possible_truncation, reason = "at most 512 cells")]
    pub(super) fn read(bytes: &[u8], symbols: usize, longest: u32) -> Option<(Self, usize)> {
        let mut reader = Reader::new(bytes);
        let log = reader.take(4)? as u32 + SMALLEST_LOG;
        if log > longest {
            return None;
        }
        let mut cells = [0; SYMBOLS];
        let symbols = cells.get_mut(..symbols)?;
        let mut left = 1usize << log;
        let mut symbol = 0;
        while left > 0 {
            let (bits, short) = width(left);
            let half = 1 << (bits - 1);
            let mut value = (reader.peek() & (2 * half - 1)) as usize;
            if value & (half as usize - 1) < short {
                value &= half as usize - 1;
                reader.pass(bits - 1)?;
            } else {
                if value >= half as usize {
                    value -= short;
                }
                reader.pass(bits)?;
            }
            *symbols.get_mut(symbol)? = value as i16 - 1;
            left = left.checked_sub(value.abs_diff(1))?;
            symbol += 1;
            // Symbols without a cell are counted in threes.
            let mut more = if value == 1 { 3 } else { 0 };
            while more == 3 {
                more = reader.take(2)?;
                symbol += more;
            }
        }
        Some((Self { cells, log }, bytes.len() - reader.left()))
    }

    /// Writes the description; `None` once there is no room.
    pub(super) fn write(&self, out: &mut Writer<'_>) -> Option<()> {
        out.put((self.log - SMALLEST_LOG) as usize, 4)?;
        let mut left = 1usize << self.log;
        let mut symbols = self.cells.iter();
        while left > 0 {
            let cells = *symbols.next()?;
            let (bits, short) = width(left);
            let value = usize::try_from(cells + 1).ok()?;
            match value {
                _ if value < short => out.put(value, bits - 1)?,
                _ if value < 1 << (bits - 1) => out.put(value, bits)?,
                _ => out.put(value + short, bits)?,
            }
            left -= value.abs_diff(1);
            if value == 1 {
                let none = symbols.as_slice().iter().take_while(|cells| **cells == 0).count();
                for _ in 0..none / 3 {
                    out.put(3, 2)?;
                }
                out.put(none % 3, 2)?;
                symbols = symbols.as_slice().get(none..)?.iter();
            }
        }
        Some(())
    }

    /// Calls `place` with each cell and its symbol, every cell once, in no order.
    pub(super) fn spread(&self, mut place: impl FnMut(usize, usize)) {
        let size = 1usize << self.log;
        let mut top = size;
        for (symbol, _) in self.cells.iter().enumerate().filter(|(_, cells)| **cells < 0) {
            top -= 1;
            place(top, symbol);
        }
        let step = size / 2 + size / 8 + 3;
        let mut at = 0;
        for (symbol, cells) in self.cells.iter().enumerate() {
            for _ in 0..*cells {
                place(at, symbol);
                at = (at + step) % size;
                while at >= top {
                    at = (at + step) % size;
                }
            }
        }
    }
}

/// Bits of the next number, which is at most `left + 1`, and how many of the smallest ones need a
/// bit less.
const fn width(left: usize) -> (u32, usize) {
    let bits = (left + 1).ilog2() + 1;
    (bits, (1 << bits) - 2 - left)
}
