//! What a page consists of: literals, and matches with one of the last distances or a new one.

use super::{Encoder, SHORTEST_MATCH, Sequence};
use crate::{
    codec::{Level, bytes::common, chains::Chains, zstd::OFFSETS},
    device::PAGE_SIZE,
};

/// A match that could be taken.
#[derive(Clone, Copy)]
struct Candidate {
    length: usize,
    distance: usize,
    /// About the bits that it saves, in quarters of a literal.
    gain: usize,
}

impl Encoder {
    /// Splits the page. A match waits for a better one at the next byte.
    #[expect(clippy::cast_possible_truncation, reason = "13 bits")]
    pub(super) fn search(&mut self, page: &[u8; PAGE_SIZE], level: Level, chains: &mut Chains) {
        chains.clear();
        (self.literal_count, self.sequence_count) = (0, 0);
        let mut last = OFFSETS;
        let (mut from, mut at) = (0, 1);
        while at < PAGE_SIZE {
            let Some(mut best) = candidate(page, at, level, chains, &last) else {
                at += 1;
                continue;
            };
            while let Some(next) = candidate(page, at + 1, level, chains, &last)
                && next.gain > best.gain + WAIT
            {
                at += 1;
                best = next;
            }
            let Candidate { mut length, distance, .. } = best;
            while at > from && at > distance && page[at - 1] == page[at - 1 - distance] {
                at -= 1;
                length += 1;
            }
            self.add(&page[from..at]);
            let offset = value(distance, at - from, &mut last);
            // Room for as many as a page has.
            if let Some(place) = self.sequences.get_mut(self.sequence_count) {
                *place = Sequence {
                    literals: (at - from) as u16,
                    length: length as u16,
                    offset: offset as u16,
                };
                self.sequence_count += 1;
            }
            at += length;
            from = at;
        }
        self.add(&page[from..]);
    }

    fn add(&mut self, literals: &[u8]) {
        let end = self.literal_count + literals.len();
        self.literals[self.literal_count..end].copy_from_slice(literals);
        self.literal_count = end;
    }
}

/// What the next byte's match must gain more, since a literal goes before it.
const WAIT: usize = 4;
/// What a byte of a match is worth.
const BYTE: usize = 4;
/// What a distance that was not among the last costs before its bits.
const NEW: usize = 3;

/// The best match at `at`.
fn candidate(
    page: &[u8; PAGE_SIZE],
    at: usize,
    level: Level,
    chains: &mut Chains,
    last: &[usize; 3],
) -> Option<Candidate> {
    let mut best: Option<Candidate> = None;
    for (_, distance) in last.iter().enumerate().filter(|(_, distance)| **distance <= at) {
        let length = common(page, at - distance, at, PAGE_SIZE);
        let gain = length * BYTE;
        if length >= SHORTEST_MATCH && best.is_none_or(|best| gain > best.gain) {
            best = Some(Candidate { length, distance: *distance, gain });
        }
    }
    let found = chains.longest(page, at, PAGE_SIZE, level.depth());
    if found.length >= SHORTEST_MATCH {
        let distance = at - found.from;
        let gain = (found.length * BYTE).saturating_sub(NEW + distance.ilog2() as usize);
        if best.is_none_or(|best| gain > best.gain) {
            best = Some(Candidate { length: found.length, distance, gain });
        }
    }
    best
}

/// How a distance is said behind some literals, and what the last ones are then.
fn value(distance: usize, literals: usize, last: &mut [usize; 3]) -> usize {
    let none = usize::from(literals == 0);
    let place = last.iter().position(|other| *other == distance);
    match place {
        // Behind a match, the same distance again is said as a new one: the match would have gone
        // on.
        Some(place) if place >= none => {
            last[..=place].rotate_right(1);
            place + 1 - none
        }
        _ if literals == 0 && last[0] == distance + 1 => {
            *last = [distance, last[0], last[1]];
            3
        }
        _ => {
            *last = [distance, last[0], last[1]];
            distance + 3
        }
    }
}
