//! A token of up to 32 bytes is decoded without a jump that depends on what it is; a longer one,
//! and one near an end of the page or of the operands, goes another way.

use super::tokens::{LONG, MORE, More, PATTERN_LEAST, PIECE, SHARES, TOKENS};
use super::{HEAD, WORD};
use crate::device::PAGE_SIZE;

/// Last place from which a piece is within the page.
const LAST_PIECE: usize = PAGE_SIZE - PIECE;

/// Where the first token's operands begin: behind the first word.
const FIRST_OPERAND: u32 = 8;

/// How far a page is decoded: of the page, of the operands, and the last distance. Twelve bits each
/// and some, so that a call hands them over in one register.
#[derive(Clone, Copy)]
struct Place(u64);

impl Place {
    /// In the place of what is no page.
    const WRONG: Self = Self(u64::MAX);

    #[inline(always)]
    fn new(at: usize, operand: usize, last: usize) -> Self {
        Self(at as u64 | (operand as u64) << 16 | (last as u64) << 32)
    }

    #[inline(always)]
    fn at(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    #[inline(always)]
    fn operand(self) -> u32 {
        (self.0 >> 16 & 0xffff) as u32
    }

    #[inline(always)]
    fn last(self) -> usize {
        (self.0 >> 32) as usize
    }
}

#[inline(always)]
fn word(page: &[u8; PAGE_SIZE], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*page.get(at..)?.first_chunk()?))
}

#[inline(always)]
fn set(page: &mut [u8; PAGE_SIZE], at: usize, word: u64) -> Option<()> {
    *page.get_mut(at..)?.first_chunk_mut()? = word.to_le_bytes();
    Some(())
}

/// Decompresses into a page; `None` if the bytes are not exactly one page. Any bytes are safe, and
/// what the page holds after `None` is not said.
pub(crate) fn decompress(bytes: &[u8], page: &mut [u8; PAGE_SIZE]) -> Option<()> {
    // Longer than any page's, and places would not fit theirs.
    if bytes.len() > PAGE_SIZE {
        return None;
    }
    let (head, bytes) = bytes.split_first_chunk::<HEAD>()?;
    let count = usize::from(u16::from_le_bytes(*head));
    let (operands, codes) = bytes.split_at(bytes.len().checked_sub(count)?);
    *page.first_chunk_mut()? = *operands.first_chunk::<WORD>()?;
    let (mut at, mut operand, mut last) = (WORD, FIRST_OPERAND, WORD);
    for &code in codes {
        let from_here = operand as usize;
        let eight = bytes.get(from_here..from_here + 8).and_then(<[u8]>::first_chunk);
        let place = if at <= LAST_PIECE
            && let Some(eight) = eight
        {
            let eight = u64::from_le_bytes(*eight);
            let token = &TOKENS[usize::from(code)];
            if token.total != LONG {
                operand += u32::from(token.used);
                let distance = distance(eight, token.mask, token.turn);
                last = core::hint::select_unpredictable(distance >= 8, distance, last);
                let from = at.wrapping_sub(last);
                // Also if it is before the page, and wraps around.
                if from > LAST_PIECE {
                    return None;
                }
                let [kept, taken] = SHARES[usize::from(token.share & 15)];
                // Word by word, since a source may be as near as a word. The literals are the first
                // word's low bytes, in the place of what the source has there: so a word that
                // starts a token is stored at once, and read again at once by a token that has it
                // as its source.
                set(page, at, word(page, from)? & kept | eight & taken)?;
                set(page, at + 8, word(page, from + 8)?)?;
                set(page, at + 16, word(page, from + 16)?)?;
                set(page, at + 24, word(page, from + 24)?)?;
                at += usize::from(token.total);
                continue;
            }
            long(Place::new(at, operand as usize, last), code, eight, bytes, count, page)
        } else {
            careful(Place::new(at, operand as usize, last), code, operands, page)
        };
        if place.0 == Place::WRONG.0 {
            return None;
        }
        (at, operand, last) = (place.at(), place.operand(), place.last());
    }
    (at == PAGE_SIZE && operand as usize == operands.len()).then_some(())
}

/// A new distance, or less than eight.
#[expect(clippy::cast_possible_truncation, reason = "sixteen bits at most")]
#[inline(always)]
fn distance(eight: u64, mask: u16, turn: u8) -> usize {
    eight.rotate_right(u32::from(turn)) as usize & usize::from(mask)
}

/// A token of more than a piece.
#[inline(never)]
fn long(
    place: Place,
    code: u8,
    eight: u64,
    bytes: &[u8],
    count: usize,
    page: &mut [u8; PAGE_SIZE],
) -> Place {
    let operands = bytes.get(..bytes.len().wrapping_sub(count)).unwrap_or_default();
    match long_away(place, code, eight, bytes, page) {
        Some(next) => next,
        None => careful(place, code, operands, page),
    }
}

/// The same if it is away from the ends; `None` if not, or if it is wrong.
#[inline(always)]
fn long_away(
    place: Place,
    code: u8,
    eight: u64,
    bytes: &[u8],
    page: &mut [u8; PAGE_SIZE],
) -> Option<Place> {
    let (at, operand) = (place.at(), place.operand() as usize);
    let token = &TOKENS[usize::from(code)];
    let mut used = usize::from(token.used);
    let total = match MORE[usize::from(code)] {
        More::Known(total) => usize::from(total),
        More::Byte(least) => {
            let byte = *bytes.get(operand + used)?;
            used += 1;
            usize::from(least) + usize::from(byte)
        }
        More::Run(count) => {
            // What is too much is written over, or refused at the end.
            let block: &[u8; PIECE] = bytes.get(operand..)?.first_chunk()?;
            if usize::from(count) > PIECE {
                return None;
            }
            *page.get_mut(at..)?.first_chunk_mut()? = *block;
            let next = operand + usize::from(count);
            return Some(Place::new(at + usize::from(count), next, place.last()));
        }
        More::RunByte | More::Pattern => return None,
    };
    let end = at + total;
    if end > LAST_PIECE {
        return None;
    }
    let distance = distance(eight, token.mask, token.turn);
    let last = if distance >= 8 { distance } else { place.last() };
    let [kept, taken] = SHARES[usize::from(token.share & 15)];
    let mut to = at + 8;
    if is_zeros(token.share) {
        set(page, at, eight & taken)?;
        while to < end {
            // Not a constant, so that two words are not a call of memset.
            let zero = core::hint::black_box(0);
            set(page, to, zero)?;
            set(page, to + 8, zero)?;
            to += 16;
        }
    } else {
        let from = at.checked_sub(last)?;
        set(page, at, word(page, from)? & kept | eight & taken)?;
        while to < end {
            set(page, to, word(page, to - last)?)?;
            set(page, to + 8, word(page, to + 8 - last)?)?;
            to += 16;
        }
    }
    Some(Place::new(end, operand + used, last))
}

/// Whether the bytes behind the literals have no source.
fn is_zeros(share: u8) -> bool {
    SHARES[usize::from(share & 15)][0] == 0
}

/// A token anywhere.
#[inline(never)]
fn careful(place: Place, code: u8, operands: &[u8], page: &mut [u8; PAGE_SIZE]) -> Place {
    careful_or_none(place, code, operands, page).unwrap_or(Place::WRONG)
}

fn careful_or_none(
    place: Place,
    code: u8,
    operands: &[u8],
    page: &mut [u8; PAGE_SIZE],
) -> Option<Place> {
    let (at, operand) = (place.at(), place.operand() as usize);
    let rest = operands.get(operand..)?;
    let byte = |index: usize| rest.get(index).copied().map(usize::from);
    let token = &TOKENS[usize::from(code)];
    let mut used = usize::from(token.used);
    let total = match MORE[usize::from(code)] {
        More::Known(total) => usize::from(total),
        More::Byte(least) => {
            used += 1;
            usize::from(least) + byte(used - 1)?
        }
        More::Run(count) => return run(place, 0, usize::from(count), rest, page),
        More::RunByte => return run(place, 1, super::tokens::RUN + byte(0)?, rest, page),
        More::Pattern => {
            let (period, end) = (byte(0)?, at + PATTERN_LEAST + byte(1)?);
            if period == 0 || period > at || end > PAGE_SIZE {
                return None;
            }
            for to in at..end {
                page[to] = page[to - period];
            }
            return Some(Place::new(end, operand + 2, place.last()));
        }
    };
    let end = at + total;
    if end > PAGE_SIZE {
        return None;
    }
    let mut eight = [0; 8];
    let bytes = rest.get(..used)?;
    let front = bytes.len().min(8);
    eight.get_mut(..front)?.copy_from_slice(bytes.get(..front)?);
    let eight = u64::from_le_bytes(eight);
    let distance = distance(eight, token.mask, token.turn);
    let last = if distance >= 8 { distance } else { place.last() };
    let [kept, taken] = SHARES[usize::from(token.share & 15)];
    let literals = (taken.count_ones() / 8) as usize;
    page.get_mut(at..end)?
        .get_mut(..literals)?
        .copy_from_slice(eight.to_le_bytes().get(..literals)?);
    let mut to = at + literals;
    if kept == 0 {
        page.get_mut(to..end)?.fill(0);
    } else {
        // Of the whole token, its literals too.
        if last > at {
            return None;
        }
        while to + 8 <= end {
            set(page, to, word(page, to - last)?)?;
            to += 8;
        }
        while to < end {
            page[to] = page[to - last];
            to += 1;
        }
    }
    Some(Place::new(end, operand + used, last))
}

/// Literals, behind so many other bytes of operands.
fn run(
    place: Place,
    before: usize,
    count: usize,
    rest: &[u8],
    page: &mut [u8; PAGE_SIZE],
) -> Option<Place> {
    let at = place.at();
    let literals = rest.get(before..)?.get(..count)?;
    page.get_mut(at..)?.get_mut(..count)?.copy_from_slice(literals);
    let next = place.operand() as usize + before + count;
    Some(Place::new(at + count, next, place.last()))
}
