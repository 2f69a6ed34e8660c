//! A page is searched word by word if it is made of words, and byte by byte if not.

mod bytes;
mod words;

use super::WORD;
use super::output::{CODES, Output};
use crate::codec::OUTPUT;
use crate::codec::bytes::word64;
use crate::device::PAGE_SIZE;

const PLACE_BITS: u32 = 12;
/// Words that are looked at before the search is chosen, and how many of them must look like words
/// of memory.
const SAMPLES: usize = 32;
const LIKE_WORDS: usize = 20;

/// Where something was seen last, and the codes so far.
///
/// A place takes twelve bits; the other four say in which search it was written, so that a search
/// does not begin with clearing the table: only every fifteenth does.
#[derive(Clone, Copy)]
pub(crate) struct Tables {
    places: [u16; 1 << PLACE_BITS],
    search: u16,
    codes: [u8; CODES],
}

impl Tables {
    pub(crate) const fn new() -> Self {
        Self { places: [0; 1 << PLACE_BITS], search: 0, codes: [0; CODES] }
    }
}

/// What a search adds to its places.
fn begin(places: &mut [u16; 1 << PLACE_BITS], search: &mut u16) -> u16 {
    *search += 1;
    if *search == 16 {
        places.fill(0);
        *search = 1;
    }
    *search << PLACE_BITS
}

/// The place that a search kept, or that of the page's start, which is as good, if it was another
/// search. Without a jump: half of the places are old, and which is what a processor could not
/// predict.
#[inline(always)]
fn earlier(place: u16, search: u16, at: usize) -> usize {
    let place = usize::from(place.wrapping_sub(search));
    core::hint::select_unpredictable(place < at, place, 0)
}

/// Compresses a page; its length, or `None` if it does not become shorter than a page by anything.
pub(crate) fn compress(
    page: &[u8; PAGE_SIZE],
    tables: &mut Tables,
    output: &mut [u8; OUTPUT],
) -> Option<usize> {
    let Tables { places, search, codes } = tables;
    if like_words(page) {
        let mut out = Output::new(page, output, codes);
        let search = begin(places, search);
        if words::search(page, places, search, &mut out)? {
            return out.finish();
        }
    }
    let mut out = Output::new(page, output, codes);
    let search = begin(places, search);
    bytes::search(page, places, search, &mut out)?;
    out.finish()
}

/// Whether most of some words look like pointers, small numbers, or the word before.
fn like_words(page: &[u8; PAGE_SIZE]) -> bool {
    let (words, _) = page.as_chunks::<{ PAGE_SIZE / SAMPLES }>();
    let like = |part: &&[u8; PAGE_SIZE / SAMPLES]| {
        let [one, other] = [word64_of(part, 0), word64_of(part, WORD)];
        other >> 47 == 0 || other << 32 == 0 || one == other
    };
    words.iter().filter(like).count() >= LIKE_WORDS
}

#[inline(always)]
fn word64_of<const N: usize>(part: &[u8; N], at: usize) -> u64 {
    part.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Where bytes from `at` on, the first of which are known to be, stop being those from `distance`
/// before.
#[inline(always)]
fn end_of_match(page: &[u8; PAGE_SIZE], mut at: usize, distance: usize) -> usize {
    while at <= PAGE_SIZE - 8 {
        let differ = word64(page, at) ^ word64(page, at - distance);
        if differ != 0 {
            return at + (differ.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while at < PAGE_SIZE && page[at] == page[at - distance] {
        at += 1;
    }
    at
}
