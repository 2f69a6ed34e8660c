//! Against another implementation of the format, both ways.

extern crate std;
use std::boxed::Box;

use miniz_oxide::{
    deflate::compress_to_vec,
    inflate::{TINFLStatus, decompress_slice_iter_to_slice},
};
use proptest::prelude::{any, proptest};
use proptest::{collection::vec, test_runner::Config};

use super::{distance_of, length_of};
use crate::{
    codec::{Codec, Level, Scratch, lengths, tests::page},
    device::PAGE_SIZE,
};

fn theirs(bytes: &[u8], out: &mut [u8; PAGE_SIZE]) -> Result<usize, TINFLStatus> {
    decompress_slice_iter_to_slice(out, core::iter::once(bytes), false, false)
}

proptest! {
    #![proptest_config(Config { cases: 1_000, ..Config::default() })]

    #[test]
    fn both_ways(page in page(), level in 1..=9u8, other in 0..=10u8) {
        let mut scratch = Scratch::new();
        let codec = Codec::Deflate(Level::new(level).expect("1 to 9"));
        let mut out = Box::new([0x5a; PAGE_SIZE]);
        if let Some(bytes) = codec.compress(&page, &mut scratch) {
            assert_eq!(theirs(bytes, &mut out), Ok(PAGE_SIZE));
            assert!(out == page, "theirs reads ours");
        }
        // Level 0 are stored blocks; short pages of little content are fixed ones.
        let bytes = compress_to_vec(&page[..], other);
        out.fill(0x5a);
        assert_eq!(codec.decompress(&bytes, &mut out, &mut scratch), Some(()));
        assert!(out == page, "ours reads theirs");
    }

    #[test]
    fn what_is_accepted_means_the_same_to_another(page in page(), at in any::<proptest::sample::Index>(), bits in 1..=255u8) {
        let mut scratch = Scratch::new();
        let codec = Codec::Deflate(Level::DEFAULT);
        if let Some(bytes) = codec.compress(&page, &mut scratch) {
            let mut bytes = bytes.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            let (mut ours, mut other) = (Box::new([0; PAGE_SIZE]), Box::new([0; PAGE_SIZE]));
            if codec.decompress(&bytes, &mut ours, &mut scratch).is_some() {
                assert_eq!(theirs(&bytes, &mut other), Ok(PAGE_SIZE));
                assert!(ours == other);
            }
        }
    }

    /// Every code is complete, within its limit, and no longer for what occurs more often.
    #[test]
    fn codes_are_complete(mut counts in vec(any::<u16>(), 3..286), shift in 0..16u32, steep in any::<bool>(), limit in 9..16usize) {
        for (at, count) in counts.iter_mut().enumerate() {
            // Fibonacci's numbers make the deepest tree.
            *count = if steep { (0..at.min(22)).fold((1u16, 1u16), |(a, b), _| (b, a + b)).0 } else { *count >> shift };
        }
        let mut found = vec_of(counts.len());
        lengths::lengths(&counts, limit, &mut found);
        let used = counts.iter().filter(|count| **count > 0).count();
        let space: u32 = found.iter().filter(|length| **length > 0).map(|length| 1u32 << (limit - usize::from(*length))).sum();
        assert_eq!(space, if used == 0 { 0 } else { 1 << limit });
        for (one, length) in counts.iter().zip(&found).filter(|(one, _)| **one > 0) {
            for (other, longer) in counts.iter().zip(&found) {
                assert!(!(one > other && *other > 0) || length <= longer);
            }
        }
    }
}

fn vec_of(length: usize) -> std::vec::Vec<u8> {
    std::vec![0; length]
}

#[test]
fn lengths_and_distances_are_those_of_the_format() {
    assert_eq!(
        [0, 7, 8, 12, 27, 28].map(length_of),
        [(3, 0), (10, 0), (11, 1), (19, 2), (227, 5), (258, 0)]
    );
    assert_eq!(
        [0, 3, 4, 5, 22, 29].map(distance_of),
        [(1, 0), (4, 0), (5, 1), (7, 1), (2049, 10), (24577, 13)]
    );
}
