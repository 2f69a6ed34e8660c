//! Against another implementation of the format, and against bytes that are none.

extern crate std;
use std::vec::Vec;

use super::{Table, compress, decompress};
use crate::{codec::OUTPUT, device::PAGE_SIZE};

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits") % limit
    }
}

/// Runs of noise, of repetition at a random distance, and of one byte, of lengths from one byte to
/// a page.
fn mixed(random: &mut Random) -> [u8; PAGE_SIZE] {
    let mut page = [0; PAGE_SIZE];
    let mut at = 0;
    let longest = 1 << random.below(12);
    while at < PAGE_SIZE {
        let end = (at + 1 + random.below(longest)).min(PAGE_SIZE);
        let (kind, byte) = (random.below(4), random.next().to_le_bytes()[0]);
        let farthest = 1 << random.below(12);
        let distance = 1 + random.below(at.clamp(1, farthest));
        for place in at..end {
            page[place] = match kind {
                0 => random.next().to_le_bytes()[0],
                1 => byte,
                _ if place >= distance => page[place - distance],
                _ => 0,
            };
        }
        at = end;
    }
    page
}

fn compressed(page: &[u8; PAGE_SIZE], table: &mut Table) -> Option<Vec<u8>> {
    let mut output = [0xee; OUTPUT];
    compress(page, table, &mut output, 0).map(|length| output[..length].to_vec())
}

#[test]
fn both_ways_with_another_implementation() {
    let (mut random, mut table) = (Random(1), Table::new());
    let mut shorter = 0;
    for _ in 0..4_000 {
        let page = mixed(&mut random);
        let mut out = [0x5a; PAGE_SIZE];
        if let Some(bytes) = compressed(&page, &mut table) {
            shorter += 1;
            assert_eq!(lz4_flex::block::decompress_into(&bytes, &mut out).ok(), Some(PAGE_SIZE));
            assert!(out == page, "theirs reads ours");
            out.fill(0x5a);
            assert_eq!(decompress(&bytes, &mut out), Some(()));
            assert!(out == page, "ours reads ours");
        }
        let mut theirs = [0; 2 * PAGE_SIZE];
        let length =
            lz4_flex::block::compress_into(&page, &mut theirs).expect("room for the worst case");
        out.fill(0x5a);
        assert_eq!(decompress(&theirs[..length], &mut out), Some(()));
        assert!(out == page, "ours reads theirs");
    }
    assert!(
        (1_000..4_000).contains(&shorter),
        "{shorter} pages were compressed: the mixture is one-sided"
    );
}

#[test]
fn noise_is_given_up() {
    let mut random = Random(2);
    let page = core::array::from_fn(|_| random.next().to_le_bytes()[3]);
    assert_eq!(compressed(&page, &mut Table::new()), None);
}

#[test]
fn one_word_becomes_small() {
    let bytes = compressed(&[9; PAGE_SIZE], &mut Table::new()).expect("shorter");
    assert!(bytes.len() < 32);
}

/// Whatever is accepted, another implementation reads as the same page; and nothing panics.
#[test]
fn hostile_bytes() {
    let (mut random, mut table) = (Random(3), Table::new());
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..60_000 {
        let mut bytes = match compressed(&mixed(&mut random), &mut table) {
            Some(bytes) if round % 4 != 0 => bytes,
            _ => (0..random.below(600)).map(|_| random.next().to_le_bytes()[0]).collect(),
        };
        for _ in 0..random.below(4) {
            if bytes.is_empty() {
                break;
            }
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, 0xff),
                2 => bytes[at] = 0,
                _ => bytes[at] ^= 1 << random.below(8),
            }
        }
        let (mut ours, mut theirs) = ([0; PAGE_SIZE], [0; PAGE_SIZE]);
        if decompress(&bytes, &mut ours).is_some() {
            accepted += 1;
            assert_eq!(lz4_flex::block::decompress_into(&bytes, &mut theirs).ok(), Some(PAGE_SIZE));
            assert!(ours == theirs);
        } else {
            refused += 1;
            assert_ne!(lz4_flex::block::decompress_into(&bytes, &mut theirs).ok(), Some(PAGE_SIZE));
        }
    }
    assert!(accepted > 5_000 && refused > 5_000, "{accepted} accepted, {refused} refused");
}
