//! Blocks of all three kinds into one page.

use super::{
    DISTANCES, DISTANCES_USED, END, LITERALS, LITERALS_USED, ORDER, RUNS, code::Code, distance_of,
    fixed, length_of,
};
use crate::{codec::bits::Reader, device::PAGE_SIZE};

/// The codes of a block.
#[derive(Clone, Copy)]
pub(crate) struct Decoder {
    literals: Code<LITERALS>,
    distances: Code<DISTANCES>,
}

impl Decoder {
    pub(crate) const fn new() -> Self {
        Self { literals: Code::new(), distances: Code::new() }
    }

    /// Reads the codes of a block that has its own.
    #[expect(clippy::cast_possible_truncation, reason = "lengths of four bits at most")]
    fn read(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let literals = reader.take(5)? + 257;
        let distances = reader.take(5)? + 1;
        let runs = reader.take(4)? + 4;
        if literals > LITERALS_USED || distances > DISTANCES_USED {
            return None;
        }
        let mut lengths = [0; LITERALS_USED + DISTANCES_USED];
        for place in ORDER.iter().take(runs) {
            lengths[*place] = (reader.take(3)? & 7) as u8;
        }
        // The code for lengths is not needed any longer once both others are known.
        self.distances.set(&lengths[..RUNS])?;
        lengths.fill(0);
        let (mut at, all) = (0, literals + distances);
        while at < all {
            let (length, count) = match self.distances.next(reader)? {
                length @ 0..16 => ((length & 15) as u8, 1),
                16 => (*lengths.get(at.checked_sub(1)?)?, 3 + reader.take(2)?),
                17 => (0, 3 + reader.take(3)?),
                _ => (0, 11 + reader.take(7)?),
            };
            lengths.get_mut(at..all)?.get_mut(..count)?.fill(length);
            at += count;
        }
        if lengths[END] == 0 {
            return None;
        }
        self.literals.set(&lengths[..literals])?;
        self.distances.set(&lengths[literals..all])
    }

    /// Reads a block's symbols up to its end.
    #[expect(clippy::cast_possible_truncation, reason = "a byte")]
    fn symbols(
        &self,
        reader: &mut Reader<'_>,
        page: &mut [u8; PAGE_SIZE],
        mut at: usize,
    ) -> Option<usize> {
        loop {
            let symbol = self.literals.next(reader)?;
            if symbol < END {
                *page.get_mut(at)? = (symbol & 0xff) as u8;
                at += 1;
                continue;
            }
            if symbol == END {
                return Some(at);
            }
            if symbol >= LITERALS_USED {
                return None;
            }
            let (base, extra) = length_of(symbol - END - 1);
            let length = base + reader.take(extra)?;
            let symbol = self.distances.next(reader)?;
            if symbol >= DISTANCES_USED {
                return None;
            }
            let (base, extra) = distance_of(symbol);
            let from = at.checked_sub(base + reader.take(extra)?)?;
            if at + length > PAGE_SIZE {
                return None;
            }
            for step in 0..length {
                page[at + step] = page[from + step];
            }
            at += length;
        }
    }
}

/// Decompresses into a page; `None` if the bytes are not exactly one page. Any bytes are safe, and
/// what the page holds after `None` is not said.
#[expect(clippy::cast_possible_truncation, reason = "a byte")]
pub(crate) fn decompress(
    bytes: &[u8],
    page: &mut [u8; PAGE_SIZE],
    decoder: &mut Decoder,
) -> Option<()> {
    let mut reader = Reader::new(bytes);
    let mut at = 0;
    loop {
        let last = reader.take(1)? == 1;
        match reader.take(2)? {
            0 => {
                reader.align()?;
                let (length, check) = (reader.take(16)?, reader.take(16)?);
                if length != !check & 0xffff {
                    return None;
                }
                for place in page.get_mut(at..)?.get_mut(..length)? {
                    *place = (reader.take(8)? & 0xff) as u8;
                }
                at += length;
            }
            1 => {
                let (literals, distances) = fixed();
                decoder.literals.set(&literals)?;
                decoder.distances.set(&distances)?;
                at = decoder.symbols(&mut reader, page, at)?;
            }
            2 => {
                decoder.read(&mut reader)?;
                at = decoder.symbols(&mut reader, page, at)?;
            }
            _ => return None,
        }
        if last {
            break;
        }
    }
    (at == PAGE_SIZE && reader.at_end()).then_some(())
}
