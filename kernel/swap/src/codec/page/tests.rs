//! The format as it is written down: bytes made by hand, and what a decoder refuses.

extern crate std;
use std::vec::Vec;

use super::{BYTES, WORDS, decompress};
use crate::{
    codec::{Codec, Scratch, lz4},
    device::PAGE_SIZE,
};

/// Head, operands and codes of some operations.
fn bytes(operations: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::from(u16::try_from(operations.len()).expect("few").to_be_bytes());
    bytes.extend(operations.iter().flat_map(|(_, operand)| operand.iter()));
    bytes.extend(
        operations.chunks(2).map(|pair| pair[0].0 | pair.get(1).map_or(0, |second| second.0 << 4)),
    );
    bytes
}

fn words(bytes: &[u8]) -> Option<Vec<u64>> {
    let mut page = [0x5a; PAGE_SIZE];
    decompress(bytes, &mut page)?;
    Some(page.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

/// Operations of so many words of zero.
fn zeros(mut count: usize) -> Vec<(u8, &'static [u8])> {
    let mut operations = Vec::new();
    while count >= 2 {
        let run = count.min(257);
        let operand: &'static [u8] = std::vec![u8::try_from(run - 2).expect("257 at most")].leak();
        operations.push((1, operand));
        count -= run;
    }
    if count == 1 {
        operations.push((0, &[]));
    }
    operations
}

#[test]
fn every_operation_does_what_the_table_says() {
    let mut operations: Vec<(u8, &[u8])> = std::vec![
        (11, &[1, 2, 3, 4, 5, 6, 7, 8]),
        (14, &[0xa1]),
        (15, &[0xb1, 0xb2]),
        (4, &[0x34, 0x12]),
        (5, &[3, 0xc1, 0xc2]),
        (6, &[4, 0xd1, 0xd2, 0xd3]),
        (9, &[5, 0xe1, 0xe2, 0xe3, 0xe4]),
        (7, &[1, 2, 3, 0x84]),
        (8, &[1, 2, 3, 0x84]),
        (10, &[0xff, 1, 2, 3, 0x84]),
        (2, &[6]),
        (12, &[]),
        (3, &[1, 2]),
        (13, &[0]),
        (0, &[]),
        (1, &[3]),
    ];
    let first = [
        0x0807_0605_0403_0201,
        0x0807_0605_0403_02a1,
        0x0807_0605_0403_b2b1,
        0x1234,
        0x0807_0605_0403_c2c1,
        0x0807_0605_04d3_d2d1,
        0x0807_0605_e4e3_e2e1,
        0x8403_0201,
        0x8403_0201_0000_0000,
        0x8403_0201_0000_00ff,
        0x1234,
        0x0807_0605_0403_c2c1,
        0x1234,
        0x0807_0605_0403_c2c1,
        0x1234,
        0x0807_0605_0403_c2c1,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    operations.extend(zeros(WORDS - first.len()));
    let words = words(&bytes(&operations)).expect("a page");
    assert_eq!(words[..first.len()], first);
    assert!(words[first.len()..].iter().all(|word| *word == 0));
}

#[test]
fn runs_may_overlap_their_source() {
    let mut operations: Vec<(u8, &[u8])> =
        std::vec![(4, &[7, 0]), (4, &[9, 0]), (3, &[1, 0xfe]), (3, &[0, 0x06])];
    operations.extend(zeros(WORDS - 2 - 128 - 4));
    let words = words(&bytes(&operations)).expect("a page");
    assert!(words[..130].chunks(2).all(|pair| pair == [7, 9]));
    assert_eq!(words[130..135], [9, 9, 9, 9, 0]);
}

#[test]
fn what_the_format_forbids_is_refused() {
    let good = bytes(&zeros(WORDS));
    assert!(words(&good).is_some());
    assert_eq!(words(&bytes(&zeros(WORDS - 1))), None, "a word too few");
    assert_eq!(words(&bytes(&zeros(WORDS + 1))), None, "a word too many");
    assert_eq!(words(&bytes(&zeros(2 * WORDS))), None, "two pages");
    let mut long = good.clone();
    long.insert(3, 0);
    assert_eq!(words(&long), None, "an operand too many");
    for wrong in [&[][..], &[0], &[0, 0], &[2], &[2, 1], &[0x80], &[0x81, 0], &[3, 0, 0, 0]] {
        assert_eq!(words(wrong), None, "{wrong:?}");
    }
    // Distances beyond the first word.
    for (code, operand) in
        [(2, &[0, 0, 0][..]), (3, &[0, 0]), (5, &[0, 0, 0]), (12, &[]), (13, &[0]), (14, &[0])]
    {
        let mut operations: Vec<(u8, &[u8])> = std::vec![(code, operand)];
        operations.extend(zeros(WORDS - 1));
        assert_eq!(words(&bytes(&operations)), None, "code {code}");
    }
    // An odd number of operations leaves half a byte.
    let mut odd =
        bytes(&[(4, &[1, 0]), (3, &[0, 0xfe]), (3, &[0, 0xfe]), (3, &[0, 0xfe]), (3, &[0, 0xfc])]);
    assert!(words(&odd).is_some());
    *odd.last_mut().expect("codes") |= 0x10;
    assert_eq!(words(&odd), None);
}

#[test]
fn text_goes_as_bytes() {
    let line = b"a line of text that is not made of words; number ";
    let mut page = [b' '; PAGE_SIZE];
    for (number, place) in page.chunks_mut(57).enumerate() {
        let text: Vec<u8> =
            line.iter().copied().chain(std::format!("{:08}", number * 7919).bytes()).collect();
        place.copy_from_slice(&text[..place.len()]);
    }
    let mut scratch = Scratch::new();
    let bytes = Codec::Page.compress(&page, &mut scratch).expect("shorter");
    assert_eq!(bytes[0], BYTES);
    let mut out = [0; PAGE_SIZE];
    assert_eq!(lz4::decompress(&bytes[1..], &mut out), Some(()));
    assert!(out == page);
}

#[test]
fn pointers_stay_words() {
    let page: Vec<u8> =
        (0..512u64).flat_map(|word| (0x7f12_3400_0000 + word * word * 48).to_le_bytes()).collect();
    let page = page.first_chunk().expect("a page");
    let mut scratch = Scratch::new();
    let words = Codec::Page.compress(page, &mut scratch).expect("shorter").len();
    let bytes = Codec::Lz4.compress(page, &mut scratch).map_or(PAGE_SIZE, <[u8]>::len);
    assert!(words * 4 < bytes * 3, "{words} and {bytes}");
}
