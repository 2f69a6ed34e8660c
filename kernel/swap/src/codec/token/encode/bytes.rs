//! One step a byte, longer ones where nothing is found.

use super::super::WORD;
use super::super::output::{MOST_WORDS, Output};
use super::{PLACE_BITS, earlier, end_of_match};
use crate::codec::bytes::{word32, word64};
use crate::device::PAGE_SIZE;

/// No match starts behind this.
const LAST_START: usize = PAGE_SIZE - 12;
/// Steps get a byte longer after so many bytes without a match, as a power of two.
const PATIENCE: u32 = 3;

/// Where five bytes are kept: text repeats four of them too often.
#[inline(always)]
fn hash(word: u64) -> usize {
    ((word << 24).wrapping_mul(0x9e37_79b1_85eb_ca87) >> (64 - PLACE_BITS)) as usize
}

/// Writes matches; `None` if the page does not get shorter.
#[expect(
    clippy::cast_possible_truncation,
    reason = "places fit twelve bits; halves of words are wanted"
)]
pub(super) fn search(
    page: &[u8; PAGE_SIZE],
    places: &mut [u16; 1 << PLACE_BITS],
    search: u16,
    out: &mut Output<'_>,
) -> Option<()> {
    let (mut at, mut last, mut steps) = (WORD, WORD, 1 << PATIENCE);
    while at <= LAST_START {
        let now = word64(page, at);
        let mut distance = last;
        if word32(page, at - last) != now as u32 {
            if now as u32 == 0 {
                let mut end = at + 4;
                while end < PAGE_SIZE && page[end] == 0 {
                    end += 1;
                }
                let mut start = at;
                while start > out.anchor() && page[start - 1] == 0 {
                    start -= 1;
                }
                out.zeros(start, end)?;
                (at, steps) = (end, 1 << PATIENCE);
                continue;
            }
            let place = &mut places[hash(now)];
            let from = earlier(*place, search, at);
            *place = search | at as u16;
            if word32(page, from) != now as u32 {
                at += steps >> PATIENCE;
                steps += 1;
                continue;
            }
            distance = at - from;
            // The word before, if it is the same: a distance of less than a word has a token of its
            // own.
            if distance < WORD && word32(page, at - WORD) == now as u32 {
                distance = WORD;
            }
        }
        let end = end_of_match(page, at, distance);
        let mut start = at;
        while start > out.anchor()
            && start > distance
            && page[start - 1] == page[start - 1 - distance]
        {
            start -= 1;
        }
        if distance < WORD {
            out.pattern(start, end, distance)?;
        } else if distance == last {
            out.copy(start, end, distance, true)?;
        } else {
            let far = distance > MOST_WORDS || distance > 255 && !distance.is_multiple_of(WORD);
            if far && end - start < 5 {
                // Four bytes are too few for a distance of two.
                at += steps >> PATIENCE;
                steps += 1;
                continue;
            }
            last = distance;
            out.copy(start, end, distance, false)?;
        }
        (at, steps) = (end, 1 << PATIENCE);
        if at <= LAST_START {
            places[hash(word64(page, at - 2))] = search | (at - 2) as u16;
        }
    }
    Some(())
}
