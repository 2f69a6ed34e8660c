//! One final block with codes of its own: the page as literals and matches first, then the codes
//! that suit them.

use super::{
    DISTANCES_USED, END, LITERALS_USED, LONGEST, LONGEST_MATCH, LONGEST_RUN, ORDER, RUNS,
    SHORTEST_MATCH, distance_of, length_of, words::words,
};
use crate::{
    codec::{Level, OUTPUT, bits::Writer, chains::Chains, lengths::lengths},
    device::PAGE_SIZE,
};

/// Marks a match: its length is below, its distance in the next token.
const MATCH: u16 = 1 << 15;

/// What a page consists of, and how often each symbol occurs.
#[derive(Clone, Copy)]
pub(crate) struct Encoder {
    tokens: [u16; PAGE_SIZE],
    count: usize,
    literals: [u16; LITERALS_USED],
    distances: [u16; DISTANCES_USED],
}

/// A code that is written.
#[derive(Clone, Copy)]
struct Words<const N: usize> {
    lengths: [u8; N],
    words: [u16; N],
}

impl<const N: usize> Words<N> {
    fn new(counts: &[u16; N], longest: usize) -> Self {
        let mut code = Self { lengths: [0; N], words: [0; N] };
        lengths(counts, longest, &mut code.lengths);
        words(&code.lengths, &mut code.words);
        code
    }

    #[inline(always)]
    fn put(&self, out: &mut Writer<'_>, symbol: usize) -> Option<()> {
        out.put(usize::from(self.words[symbol]), u32::from(self.lengths[symbol]))
    }
}

/// Symbol of a length, behind 257.
fn length_symbol(length: usize) -> usize {
    match length - SHORTEST_MATCH {
        short @ 0..8 => short,
        255 => 28,
        long => {
            let extra = long.ilog2() as usize - 2;
            extra * 4 + (long >> extra)
        }
    }
}

/// Symbol of a distance.
fn distance_symbol(distance: usize) -> usize {
    match distance - 1 {
        near @ 0..4 => near,
        far => {
            let extra = far.ilog2() as usize - 1;
            extra * 2 + (far >> extra)
        }
    }
}

impl Encoder {
    pub(crate) const fn new() -> Self {
        Self {
            tokens: [0; PAGE_SIZE],
            count: 0,
            literals: [0; LITERALS_USED],
            distances: [0; DISTANCES_USED],
        }
    }

    fn token(&mut self, token: u16) {
        // A token for each byte at most.
        if let Some(place) = self.tokens.get_mut(self.count) {
            *place = token;
            self.count += 1;
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "12 bits each")]
    fn search(&mut self, page: &[u8; PAGE_SIZE], level: Level, chains: &mut Chains) {
        self.count = 0;
        self.literals.fill(0);
        self.distances.fill(0);
        chains.clear();
        let depth = level.depth();
        let end = |at: usize| (at + LONGEST_MATCH).min(PAGE_SIZE);
        let mut at = 0;
        let mut found = chains.longest(page, 0, end(0), depth);
        while at < PAGE_SIZE {
            let next = if found.length == 0 || at + found.length < PAGE_SIZE {
                chains.longest(page, at + 1, end(at + 1), depth)
            } else {
                found
            };
            if found.length == 0 || next.length > found.length {
                self.literals[usize::from(page[at])] += 1;
                self.token(u16::from(page[at]));
                at += 1;
                found = next;
                continue;
            }
            let distance = at - found.from;
            self.literals[END + 1 + length_symbol(found.length)] += 1;
            self.distances[distance_symbol(distance)] += 1;
            self.token(MATCH | found.length as u16);
            self.token(distance as u16);
            at += found.length;
            found = chains.longest(page, at, end(at), depth);
        }
        self.literals[END] += 1;
    }

    fn write(
        &self,
        out: &mut Writer<'_>,
        literals: &Words<LITERALS_USED>,
        distances: &Words<DISTANCES_USED>,
    ) -> Option<()> {
        let mut tokens = self.tokens.iter().take(self.count).map(|token| usize::from(*token));
        while let Some(token) = tokens.next() {
            if token < usize::from(MATCH) {
                literals.put(out, token)?;
                continue;
            }
            let (length, distance) = (token & 0x7fff, tokens.next()?);
            let symbol = length_symbol(length);
            literals.put(out, END + 1 + symbol)?;
            let (base, extra) = length_of(symbol);
            out.put(length - base, extra)?;
            let symbol = distance_symbol(distance);
            distances.put(out, symbol)?;
            let (base, extra) = distance_of(symbol);
            out.put(distance - base, extra)?;
        }
        literals.put(out, END)
    }
}

/// Calls `f` with each symbol that the lengths of the codes are written as, what its extra bits
/// say, and how many they are.
fn runs(lengths: &[u8], mut f: impl FnMut(usize, usize, u32) -> Option<()>) -> Option<()> {
    let mut rest = lengths;
    while let Some(first) = rest.first() {
        let same = rest.iter().take_while(|length| *length == first).count();
        let taken = match (*first, same) {
            (0, 11..) => {
                let taken = same.min(138);
                f(18, taken - 11, 7)?;
                taken
            }
            (0, 3..) => {
                f(17, same - 3, 3)?;
                same
            }
            (length, 4..) => {
                let taken = (same - 1).min(6);
                f(usize::from(length), 0, 0)?;
                f(16, taken - 3, 2)?;
                taken + 1
            }
            (length, _) => {
                f(usize::from(length), 0, 0)?;
                1
            }
        };
        rest = rest.get(taken..)?;
    }
    Some(())
}

/// Compresses a page; its length, or `None` if it does not become shorter than a page by anything.
pub(crate) fn compress(
    page: &[u8; PAGE_SIZE],
    level: Level,
    chains: &mut Chains,
    encoder: &mut Encoder,
    output: &mut [u8; OUTPUT],
) -> Option<usize> {
    encoder.search(page, level, chains);
    let literals = Words::new(&encoder.literals, LONGEST);
    let distances = Words::new(&encoder.distances, LONGEST);
    let used = |lengths: &[u8], least: usize| {
        lengths.iter().rposition(|length| *length != 0).map_or(least, |last| (last + 1).max(least))
    };
    let (literals_used, distances_used) =
        (used(&literals.lengths, END + 1), used(&distances.lengths, 1));
    let mut all = [0; LITERALS_USED + DISTANCES_USED];
    all[..literals_used].copy_from_slice(&literals.lengths[..literals_used]);
    all[literals_used..literals_used + distances_used]
        .copy_from_slice(&distances.lengths[..distances_used]);
    let all = &all[..literals_used + distances_used];

    let mut counts = [0; RUNS];
    runs(all, |symbol, _, _| {
        counts[symbol] += 1;
        Some(())
    })?;
    let code = Words::new(&counts, LONGEST_RUN);
    let order = ORDER
        .iter()
        .rposition(|place| code.lengths[*place] != 0)
        .map_or(4, |last| (last + 1).max(4));

    let mut out = Writer::new(&mut output[..PAGE_SIZE - 1]);
    out.put(1 | 2 << 1, 3)?;
    out.put(literals_used - 257, 5)?;
    out.put(distances_used - 1, 5)?;
    out.put(order - 4, 4)?;
    for place in &ORDER[..order] {
        out.put(usize::from(code.lengths[*place]), 3)?;
    }
    runs(all, |symbol, extra, bits| {
        code.put(&mut out, symbol)?;
        out.put(extra, bits)
    })?;
    encoder.write(&mut out, &literals, &distances)?;
    out.finish()
}
