//! The sequences of a block: some literals each, and a match behind them.

use super::table::Table;
use crate::{
    codec::{
        copy::repeat,
        zstd::{
            codes::{self, Kind, literals_of, match_of},
            distribution::Distribution,
            reverse::Reverse,
        },
    },
    device::PAGE_SIZE,
};

/// A table that may not be there.
#[derive(Clone, Copy)]
struct Optional<const N: usize> {
    table: Table<N>,
    known: bool,
}

impl<const N: usize> Optional<N> {
    const fn new() -> Self {
        Self { table: Table::new(), known: false }
    }

    /// Reads the table of a mode; what is behind it.
    fn read<'b>(&mut self, bytes: &'b [u8], mode: u8, kind: &Kind) -> Option<&'b [u8]> {
        let rest = match mode & 3 {
            0 => {
                let (cells, log) = kind.predefined;
                self.table.set(&Distribution::of(cells, log))?;
                bytes
            }
            1 => {
                let (symbol, rest) = bytes.split_first()?;
                if usize::from(*symbol) >= kind.symbols {
                    return None;
                }
                self.table.set_one(*symbol);
                rest
            }
            2 => {
                let (distribution, length) = Distribution::read(bytes, kind.symbols, kind.longest)?;
                self.table.set(&distribution)?;
                bytes.get(length..)?
            }
            _ => return self.known.then_some(bytes),
        };
        self.known = true;
        Some(rest)
    }
}

/// The tables of a sequence's three numbers.
#[derive(Clone, Copy)]
pub(super) struct Tables {
    literals: Optional<{ 1 << codes::LITERALS.longest }>,
    offsets: Optional<{ 1 << codes::OFFSETS.longest }>,
    matches: Optional<{ 1 << codes::MATCHES.longest }>,
}

impl Tables {
    pub(super) const fn new() -> Self {
        Self { literals: Optional::new(), offsets: Optional::new(), matches: Optional::new() }
    }

    /// Forgets the tables: a new frame has none.
    pub(super) fn forget(&mut self) {
        self.literals.known = false;
        self.offsets.known = false;
        self.matches.known = false;
    }
}

/// Takes the number of sequences.
fn count(bytes: &mut &[u8]) -> Option<usize> {
    let mut next = || {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        Some(usize::from(*byte))
    };
    match next()? {
        few @ 0..128 => Some(few),
        255 => Some(next()? + (next()? << 8) + 0x7f00),
        high => Some(((high - 128) << 8) + next()?),
    }
}

/// The distance that a value means: a new one, or one of the last three, of which the first would
/// be no match without literals.
#[inline(always)]
fn offset(value: usize, literals: usize, last: &mut [usize; 3]) -> Option<usize> {
    if value > 3 {
        *last = [value - 3, last[0], last[1]];
        return Some(last[0]);
    }
    match value - usize::from(literals > 0) {
        0 => {}
        1 => *last = [last[1], last[0], last[2]],
        2 => *last = [last[2], last[0], last[1]],
        _ => *last = [last[0].checked_sub(1)?, last[0], last[1]],
    }
    Some(last[0])
}

/// Runs the sequences of a block with its literals; where in the page they end.
pub(super) fn run(
    mut bytes: &[u8],
    mut literals: &[u8],
    tables: &mut Tables,
    offsets: &mut [usize; 3],
    page: &mut [u8; PAGE_SIZE],
    mut at: usize,
) -> Option<usize> {
    let mut left = count(&mut bytes)?;
    if left > 0 {
        let (modes, rest) = bytes.split_first()?;
        if modes & 3 != 0 {
            return None;
        }
        bytes = tables.literals.read(rest, modes >> 6, &codes::LITERALS)?;
        bytes = tables.offsets.read(bytes, modes >> 4, &codes::OFFSETS)?;
        bytes = tables.matches.read(bytes, modes >> 2, &codes::MATCHES)?;
        let mut reader = Reverse::new(bytes)?;
        let (counts, distances, lengths) =
            (&tables.literals.table, &tables.offsets.table, &tables.matches.table);
        let mut count_state = counts.start(&mut reader)?;
        let mut distance_state = distances.start(&mut reader)?;
        let mut length_state = lengths.start(&mut reader)?;
        loop {
            let bits = distances.symbol(distance_state) & 31;
            let value = (1 << bits) + reader.take(u32::try_from(bits).ok()?)?;
            let (base, extra) = match_of(lengths.symbol(length_state));
            let length = base + reader.take(extra)?;
            let (base, extra) = literals_of(counts.symbol(count_state));
            let count = base + reader.take(extra)?;

            let (run, rest) = literals.split_at_checked(count)?;
            literals = rest;
            page.get_mut(at..)?.get_mut(..count)?.copy_from_slice(run);
            at += count;
            repeat(page, at, offset(value, count, offsets)?, length)?;
            at += length;

            left -= 1;
            if left == 0 {
                break;
            }
            count_state = counts.next(count_state, &mut reader)?;
            length_state = lengths.next(length_state, &mut reader)?;
            distance_state = distances.next(distance_state, &mut reader)?;
        }
        if !reader.at_end() {
            return None;
        }
    } else if !bytes.is_empty() {
        return None;
    }
    page.get_mut(at..)?.get_mut(..literals.len())?.copy_from_slice(literals);
    Some(at + literals.len())
}
