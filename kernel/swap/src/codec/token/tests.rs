//! The format as it is written down: bytes made by hand, and what a decoder refuses.

extern crate std;
use std::vec::Vec;

use super::tokens::{Kind, PATTERN, RUN_BYTE, RUNS, long_code, match_code};
use super::{HEAD, decompress};
use crate::codec::{Codec, Scratch};
use crate::device::PAGE_SIZE;

/// Head, the first word, operands and codes of some tokens.
fn bytes(first: [u8; 8], tokens: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::from(u16::try_from(tokens.len()).expect("few").to_le_bytes());
    bytes.extend(first);
    bytes.extend(tokens.iter().flat_map(|(_, operands)| operands.iter()));
    bytes.extend(tokens.iter().map(|(code, _)| *code));
    bytes
}

fn page(bytes: &[u8]) -> Option<[u8; PAGE_SIZE]> {
    let mut page = [0x5a; PAGE_SIZE];
    decompress(bytes, &mut page)?;
    Some(page)
}

/// Tokens of so many zeros, four or more.
fn zeros(mut count: usize) -> Vec<(u8, &'static [u8])> {
    let mut tokens = Vec::new();
    while count > 0 {
        let now = if count > 259 && count < 263 { 250 } else { count.min(259) };
        let operand: &'static [u8] = std::vec![u8::try_from(now - 4).expect("a byte")].leak();
        tokens.push((long_code(Kind::Zeros, 0), operand));
        count -= now;
    }
    tokens
}

fn then_zeros(first: [u8; 8], mut tokens: Vec<(u8, &'static [u8])>, there: usize) -> Vec<u8> {
    tokens.extend(zeros(PAGE_SIZE - 8 - there));
    bytes(first, &tokens)
}

#[test]
fn every_token_does_what_the_table_says() {
    let first = [1, 2, 3, 4, 5, 6, 7, 8];
    let tokens: Vec<(u8, &[u8])> = std::vec![
        // Three literals: code 2.
        (2, &[0xa1, 0xa2, 0xa3]),
        // The last distance, which is 8 at first, behind two literals: the source begins where the
        // token does.
        (match_code(Kind::Last, 2, 6), &[0xb1, 0xb2]),
        // A distance of two words, and then again with one literal.
        (match_code(Kind::Words, 1, 7), &[0xc1, 2]),
        (match_code(Kind::Last, 1, 7), &[0xc2]),
        (match_code(Kind::Near, 0, 4), &[9]),
        (match_code(Kind::Far, 0, 5), &[12, 0]),
        (match_code(Kind::Zeros, 1, 4), &[0xd1]),
        (RUNS, &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (RUN_BYTE, &[0, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
        (PATTERN, &[3, 2]),
    ];
    let mut expected = Vec::from(first);
    expected.extend([0xa1, 0xa2, 0xa3]);
    expected.extend([0xb1, 0xb2, 6, 7, 8, 0xa1, 0xa2, 0xa3]);
    let from = expected.len() - 16;
    expected.push(0xc1);
    expected.extend_from_within(from + 1..from + 8);
    let from = expected.len() - 16;
    expected.push(0xc2);
    expected.extend_from_within(from + 1..from + 8);
    let from = expected.len() - 9;
    expected.extend_from_within(from..from + 4);
    let from = expected.len() - 12;
    expected.extend_from_within(from..from + 5);
    expected.extend([0xd1, 0, 0, 0, 0]);
    expected.extend(1..=9);
    expected.extend((1..=9).rev());
    expected.extend([3, 2, 1, 3, 2, 1]);
    let packed = then_zeros(first, tokens, expected.len() - 8);
    let page = page(&packed).expect("a page");
    assert_eq!(page[..expected.len()], expected);
    assert!(page[expected.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn long_tokens_may_overlap_their_source() {
    let tokens: Vec<(u8, &[u8])> = std::vec![
        (long_code(Kind::Words, 0), &[1, 255]),
        (long_code(Kind::Far, 1), &[7, 9, 0, 200]),
        (PATTERN, &[1, 255]),
    ];
    let there = 259 + 1 + 205 + 259;
    let page = page(&then_zeros([1, 2, 3, 4, 5, 6, 7, 8], tokens, there)).expect("a page");
    assert!((8..267).all(|at| page[at] == page[at - 8]));
    assert_eq!(page[267], 7);
    assert!((268..473).all(|at| page[at] == page[at - 9]));
    assert!((473..732).all(|at| page[at] == page[472]));
}

#[test]
fn what_the_format_forbids_is_refused() {
    let good = bytes([0; 8], &zeros(PAGE_SIZE - 8));
    assert!(page(&good).is_some());
    assert_eq!(page(&bytes([0; 8], &zeros(PAGE_SIZE - 12))), None, "four bytes too few");
    assert_eq!(page(&bytes([0; 8], &zeros(PAGE_SIZE - 4))), None, "four bytes too many");
    assert_eq!(page(&bytes([0; 8], &zeros(2 * PAGE_SIZE))), None, "two pages");
    let mut long = good.clone();
    long.insert(HEAD + 8, 0);
    assert_eq!(page(&long), None, "an operand too many");
    assert_eq!(page(&good[..good.len() - 1]), None, "a code too few");
    for wrong in [&[][..], &[0], &[0, 0], &[1, 0, 0], &[255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        assert_eq!(page(wrong), None, "{wrong:?}");
    }
    assert_eq!(page(&[0; 2 * PAGE_SIZE]), None, "longer than any page's");
    // Distances beyond the page's start, in one piece, long, and near the end.
    let beyond: [(u8, &'static [u8], usize); 6] = [
        (match_code(Kind::Words, 0, 8), &[2], 8),
        (match_code(Kind::Near, 0, 8), &[9], 8),
        (match_code(Kind::Far, 0, 8), &[0xff, 0x0f], 8),
        (long_code(Kind::Far, 0), &[9, 0, 60], 65),
        (PATTERN, &[9, 4], 8),
        (PATTERN, &[0, 4], 8),
    ];
    for (code, operands, there) in beyond {
        let packed = then_zeros([1; 8], std::vec![(code, operands)], there);
        assert_eq!(page(&packed), None, "code {code}");
    }
    let mut near_the_end = zeros(PAGE_SIZE - 8 - 16);
    near_the_end.push((match_code(Kind::Far, 0, 16), &[0xff, 0x0f]));
    assert_eq!(page(&bytes([1; 8], &near_the_end)), None, "4,095 bytes back from 4,080");
}

#[test]
fn any_place_of_a_page_can_differ() {
    // Every length, number of literals and distance to the end of the page in turn.
    let mut scratch = Scratch::new();
    let mut back = [0; PAGE_SIZE];
    for step in 1..200 {
        for period in [8, 9, 13, 64, 300] {
            let mut page = [0; PAGE_SIZE];
            for at in 0..PAGE_SIZE {
                let fresh = (at * 2_654_435_761) >> 7;
                page[at] = if at < period || at % step == 0 {
                    fresh.to_le_bytes()[0]
                } else {
                    page[at - period]
                };
            }
            if let Some(bytes) = Codec::Token.compress(&page, &mut scratch).map(<[u8]>::to_vec) {
                Codec::Token.decompress(&bytes, &mut back, &mut scratch).expect("its own output");
                assert!(back == page, "step {step}, period {period}");
            }
        }
    }
}

#[test]
fn a_page_is_packed_the_same_whatever_was_packed_before() {
    let page: Vec<u8> = (0..512u64)
        .flat_map(|word| (0x7f12_3400_0000 + word % 7 * word * 48).to_le_bytes())
        .collect();
    let page = page.first_chunk().expect("a page");
    let mut scratch = Scratch::new();
    let first = Codec::Token.compress(page, &mut scratch).expect("shorter").to_vec();
    // More searches than the table tells apart.
    for other in 0..40u8 {
        let other: [u8; PAGE_SIZE] =
            core::array::from_fn(|at| at.to_le_bytes()[0].wrapping_mul(other) ^ other);
        let _ = Codec::Token.compress(&other, &mut scratch);
        assert_eq!(Codec::Token.compress(page, &mut scratch).expect("shorter"), first);
    }
}

#[test]
fn pointers_and_text_get_shorter() {
    let pointers: Vec<u8> =
        (0..512u64).flat_map(|word| (0x7f12_3400_0000 + word * word * 48).to_le_bytes()).collect();
    let text: Vec<u8> = (0..400)
        .flat_map(|line| std::format!("line {line} of {}\n", line * 7919).into_bytes())
        .collect();
    let mut scratch = Scratch::new();
    for bytes in [pointers, text] {
        let page = bytes.first_chunk().expect("a page");
        let own = Codec::Token.compress(page, &mut scratch).expect("shorter").len();
        let lz4 = Codec::Lz4.compress(page, &mut scratch).map_or(PAGE_SIZE, <[u8]>::len);
        assert!(own < lz4, "{own} and {lz4}");
    }
}
