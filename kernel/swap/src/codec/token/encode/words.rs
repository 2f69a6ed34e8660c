//! One step a word: the word of the last distance first, then the table of whole words, then that
//! of upper halves.

use super::super::WORD;
use super::super::output::{MOST_WORDS, Output};
use super::{PLACE_BITS, earlier};
use crate::codec::bytes::word64;
use crate::device::PAGE_SIZE;

/// Half of the table for whole words, half for upper halves.
const HASH_BITS: u32 = PLACE_BITS - 2;
const UPPER: usize = 1 << HASH_BITS;
/// Words that may be like nothing before, besides one in three, before the page is searched as
/// bytes.
const NEW: usize = 24;
const NEW_SHARE: usize = 24;

#[inline(always)]
fn hash(word: u64) -> usize {
    (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - HASH_BITS)) as usize
}

/// Bytes of a word, from the lowest on, that are no zeros at its upper end.
#[inline(always)]
fn low_bytes(word: u64) -> usize {
    WORD - (word.leading_zeros() / 8) as usize
}

/// Writes matches; false if the page is not made of words, `None` if it does not get shorter.
#[expect(
    clippy::cast_possible_truncation,
    reason = "places fit twelve bits; halves of words are wanted"
)]
pub(super) fn search(
    page: &[u8; PAGE_SIZE],
    places: &mut [u16; 1 << PLACE_BITS],
    search: u16,
    out: &mut Output<'_>,
) -> Option<bool> {
    let (mut at, mut last, mut new) = (WORD, WORD, 0);
    while at <= PAGE_SIZE - WORD {
        let now = word64(page, at);
        let again = word64(page, at - last) ^ now;
        if again == 0 {
            let end = end_of_words(page, at + WORD, last);
            out.words(0, end, last)?;
            at = end;
            continue;
        }
        if now == 0 {
            let end = end_of_zeros(page, at + WORD);
            out.zeros(at, end)?;
            at = end;
            continue;
        }
        let place = &mut places[hash(now)];
        let mut from = earlier(*place, search, at);
        *place = search | at as u16;
        let mut differ = word64(page, from) ^ now;
        if differ != 0 {
            if again >> 32 == 0 {
                let end = end_of_words(page, at + WORD, last);
                out.again(low_bytes(again), end, last)?;
                at = end;
                continue;
            }
            if now >> 32 == 0 {
                let end = end_of_zeros(page, at + WORD);
                out.zeros(at + low_bytes(now), end)?;
                at = end;
                continue;
            }
            let place = &mut places[UPPER + hash(now >> 32)];
            from = earlier(*place, search, at);
            *place = search | at as u16;
            differ = word64(page, from) ^ now;
            // Four bytes are too few for a distance of two.
            let least = if at - from <= MOST_WORDS { 32 } else { 24 };
            if differ >> least != 0 {
                new += 1;
                if new > NEW + at / NEW_SHARE {
                    return Some(false);
                }
                out.word(now)?;
                at += WORD;
                continue;
            }
        }
        last = at - from;
        let end = end_of_words(page, at + WORD, last);
        out.words(low_bytes(differ), end, last)?;
        at = end;
    }
    Some(true)
}

#[inline(always)]
fn end_of_words(page: &[u8; PAGE_SIZE], mut at: usize, distance: usize) -> usize {
    while at <= PAGE_SIZE - WORD && word64(page, at) == word64(page, at - distance) {
        at += WORD;
    }
    at
}

#[inline(always)]
fn end_of_zeros(page: &[u8; PAGE_SIZE], mut at: usize) -> usize {
    while at <= PAGE_SIZE - WORD && word64(page, at) == 0 {
        at += WORD;
    }
    at
}
