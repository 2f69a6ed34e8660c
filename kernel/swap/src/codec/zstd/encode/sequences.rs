//! Sequences, last first, in the tables that make them shortest.

use super::{
    Sequence,
    cost::{BIT, cost, share},
    table::Table,
};
use crate::codec::{
    bits::Writer,
    zstd::{
        codes::{self, Kind, SYMBOLS, literals_of, match_of},
        distribution::{Distribution, SMALLEST_LOG},
    },
};

/// Bytes of the longest description of a table: 4 bits, and at most 9 for each symbol and 2 for
/// each that has none.
const DESCRIPTION: usize = 80;

/// The code that a value belongs to.
fn code(value: usize, of: fn(usize) -> (usize, u32), kind: &Kind) -> usize {
    // The codes ascend, and each page's numbers have one.
    let (mut low, mut high) = (0, kind.symbols);
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if of(middle).0 <= value { low = middle } else { high = middle }
    }
    low
}

/// A sequence's three codes.
fn codes(sequence: &Sequence) -> [usize; 3] {
    [
        code(usize::from(sequence.literals), literals_of, &codes::LITERALS),
        sequence.offset.ilog2() as usize,
        code(usize::from(sequence.length), match_of, &codes::MATCHES),
    ]
}

/// Chooses the table for symbols that occur so often and writes its description; its mode, and how
/// long that is. In a frame of its own, since stacks are short where this runs.
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "53 symbols, 80 bytes")]
fn choose(
    counts: &[u16; SYMBOLS],
    kind: &Kind,
    table: &mut Table,
    out: &mut [u8],
) -> Option<(u8, usize)> {
    let mut used = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let (symbol, _) = used.next()?;
    let (cells, log) = kind.predefined;
    let predefined = Distribution::of(cells, log);
    let known = cost(counts, &predefined);
    if used.next().is_none() {
        if known.is_some_and(|known| known <= 8 * BIT) {
            table.set(&predefined);
            return Some((0, 0));
        }
        *out.first_mut()? = symbol as u8;
        table.set_one(symbol);
        return Some((1, 1));
    }
    let mut best = known.map(|known| (known, None));
    let mut best_length = 0;
    let mut buffer = [0; DESCRIPTION];
    for log in SMALLEST_LOG..=kind.longest {
        let Some(distribution) = share(counts, log) else { continue };
        let mut description = Writer::new(&mut buffer);
        distribution.write(&mut description)?;
        let length = description.finish()?;
        let Some(bits) = cost(counts, &distribution) else { continue };
        let all = bits + length as u32 * 8 * BIT;
        if best.is_none_or(|(best, _)| all < best) {
            best = Some((all, Some(distribution)));
            out.get_mut(..length)?.copy_from_slice(&buffer[..length]);
            best_length = length;
        }
    }
    match best?.1 {
        None => {
            table.set(&predefined);
            Some((0, 0))
        }
        Some(distribution) => {
            table.set(&distribution);
            Some((2, best_length))
        }
    }
}

/// Writes the sequences; how many bytes they are. `None` if there is no room.
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "at most 1024 sequences")]
pub(super) fn write(
    sequences: &[Sequence],
    tables: &mut [Table; 3],
    out: &mut [u8],
) -> Option<usize> {
    let count = sequences.len();
    let mut at = if count < 128 {
        *out.first_mut()? = count as u8;
        1
    } else {
        out.get_mut(..2)?.copy_from_slice(&[(count >> 8) as u8 + 128, count as u8]);
        2
    };
    let Some((last, front)) = sequences.split_last() else { return Some(at) };
    let mut counts = [[0u16; SYMBOLS]; 3];
    for sequence in sequences {
        for (counts, code) in counts.iter_mut().zip(codes(sequence)) {
            counts[code] += 1;
        }
    }
    let modes = at;
    *out.get_mut(modes)? = 0;
    at += 1;
    let kinds = [(&codes::LITERALS, 6), (&codes::OFFSETS, 4), (&codes::MATCHES, 2)];
    for ((table, counts), (kind, shift)) in tables.iter_mut().zip(&counts).zip(kinds) {
        let (mode, length) = choose(counts, kind, table, out.get_mut(at..)?)?;
        *out.get_mut(modes)? |= mode << shift;
        at += length;
    }
    let [literals, offsets, matches] = tables;

    let mut writer = Writer::new(out.get_mut(at..)?);
    let [literal, offset, length] = codes(last);
    extra(&mut writer, last, [literal, offset, length])?;
    let mut states = [literals.first(literal), offsets.first(offset), matches.first(length)];
    for sequence in front.iter().rev() {
        let codes @ [literal, offset, length] = codes(sequence);
        states[1] = offsets.put(&mut writer, offset, states[1])?;
        states[2] = matches.put(&mut writer, length, states[2])?;
        states[0] = literals.put(&mut writer, literal, states[0])?;
        extra(&mut writer, sequence, codes)?;
    }
    matches.finish(&mut writer, states[2])?;
    offsets.finish(&mut writer, states[1])?;
    literals.finish(&mut writer, states[0])?;
    writer.put(1, 1)?;
    Some(at + writer.finish()?)
}

/// Writes what the codes leave open of a sequence.
fn extra(
    out: &mut Writer<'_>,
    sequence: &Sequence,
    [literal, offset, length]: [usize; 3],
) -> Option<()> {
    let (base, bits) = literals_of(literal);
    out.put(usize::from(sequence.literals) - base, bits)?;
    let (base, bits) = match_of(length);
    out.put(usize::from(sequence.length) - base, bits)?;
    out.put(usize::from(sequence.offset) - (1 << offset), u32::try_from(offset).ok()?)
}
