//! A Huffman code that is written: its description as weights, and literals in it.

use super::{
    cost::{cost, share},
    table::Table,
};
use crate::codec::{
    bits::Writer,
    lengths::lengths,
    zstd::{LONGEST, WEIGHTS_LOG, codes::SYMBOLS, distribution::SMALLEST_LOG},
};

/// Bytes.
const BYTES: usize = 256;
/// Weights that may be written as they are.
const DIRECT: usize = 128;
/// Bytes that coded weights may have.
const CODED: usize = 127;

/// A code for bytes.
pub(super) struct Code {
    lengths: [u8; BYTES],
    words: [u16; BYTES],
    /// Length of the longest word.
    log: u8,
}

impl Code {
    /// The code that suits some literals; `None` if they are fewer than two different ones.
    pub(super) fn new(literals: &[u8]) -> Option<Self> {
        let mut counts = [0u16; BYTES];
        for byte in literals {
            counts[usize::from(*byte)] += 1;
        }
        if counts.iter().filter(|count| **count > 0).count() < 2 {
            return None;
        }
        let mut code = Self { lengths: [0; BYTES], words: [0; BYTES], log: 0 };
        lengths(&counts, LONGEST, &mut code.lengths);
        code.log = *code.lengths.iter().max()?;
        // The longest words are the lowest, and those of one length ascend.
        let mut word = 0u16;
        for length in (1..=code.log).rev() {
            for (place, _) in
                code.words.iter_mut().zip(&code.lengths).filter(|(_, other)| **other == length)
            {
                *place = word;
                word += 1;
            }
            word >>= 1;
        }
        Some(code)
    }

    /// Writes the description; how long it is.
    pub(super) fn describe(&self, out: &mut [u8]) -> Option<usize> {
        let last = self.lengths.iter().rposition(|length| *length > 0)?;
        let mut weights = [0u8; BYTES];
        for (weight, length) in
            weights.iter_mut().zip(self.lengths).filter(|(_, length)| *length > 0)
        {
            *weight = self.log + 1 - length;
        }
        // The last one makes the code complete, and follows from the others.
        let weights = &weights[..last];
        let mut coded = [0; CODED];
        let length = states(weights, &mut coded);
        let direct = weights.len().div_ceil(2);
        if let Some(length) = length.filter(|length| *length < direct || last > DIRECT) {
            *out.first_mut()? = u8::try_from(length).ok()?;
            out.get_mut(1..=length)?.copy_from_slice(&coded[..length]);
            return Some(1 + length);
        }
        if last > DIRECT {
            return None;
        }
        *out.first_mut()? = u8::try_from(127 + last).ok()?;
        for (place, pair) in out.get_mut(1..=direct)?.iter_mut().zip(weights.chunks(2)) {
            *place = pair[0] << 4 | pair.get(1).copied().unwrap_or(0);
        }
        Some(1 + direct)
    }

    /// Writes a stream of literals, last first; how long it is.
    pub(super) fn encode(&self, literals: &[u8], out: &mut [u8]) -> Option<usize> {
        let mut out = Writer::new(out);
        for byte in literals.iter().rev() {
            let byte = usize::from(*byte);
            out.put(usize::from(self.words[byte]), u32::from(self.lengths[byte]))?;
        }
        out.put(1, 1)?;
        out.finish()
    }
}

/// Writes weights with two states in turn; how long they are. `None` if they are too few, all
/// alike, or there is no room.
fn states(weights: &[u8], out: &mut [u8; CODED]) -> Option<usize> {
    let [front @ .., one, other] = weights else { return None };
    let mut counts = [0u16; SYMBOLS];
    for weight in weights {
        counts[usize::from(*weight)] += 1;
    }
    let distribution = (SMALLEST_LOG..=WEIGHTS_LOG)
        .filter_map(|log| share(&counts, log))
        .min_by_key(|distribution| cost(&counts, distribution))?;
    let mut table = Table::new();
    table.set(&distribution);
    let mut description = Writer::new(out);
    distribution.write(&mut description)?;
    let at = description.finish()?;
    let mut writer = Writer::new(out.get_mut(at..)?);
    // The first weight's state is the even one.
    let even = weights.len().is_multiple_of(2);
    let (one, other) = (table.first(usize::from(*one)), table.first(usize::from(*other)));
    let mut states = if even { [one, other] } else { [other, one] };
    for (place, weight) in front.iter().enumerate().rev() {
        let state = &mut states[place % 2];
        *state = table.put(&mut writer, usize::from(*weight), *state)?;
    }
    table.finish(&mut writer, states[1])?;
    table.finish(&mut writer, states[0])?;
    writer.put(1, 1)?;
    Some(at + writer.finish()?)
}
