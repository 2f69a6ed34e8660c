//! Every codec: round trips over pages like those of memory, and bytes that are no page.

extern crate std;
use std::{boxed::Box, vec::Vec};

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::{collection::vec, sample::Index, test_runner::Config};

use super::{Codec, Level, Scratch};
use crate::device::PAGE_SIZE;

type Page = Box<[u8; PAGE_SIZE]>;

fn codec() -> impl Strategy<Value = Codec> {
    let level = (1..=9u8).prop_map(|level| Level::new(level).expect("1 to 9"));
    prop_oneof![
        1 => Just(Codec::Lz4),
        1 => level.clone().prop_map(Codec::Lz4Hc),
        2 => level.clone().prop_map(Codec::Deflate),
        3 => level.prop_map(Codec::Zstd),
        4 => Just(Codec::Page),
        6 => Just(Codec::Token),
    ]
}

/// What a structure in memory has side by side.
fn field() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => Just(0),
        2 => 0..300u64,
        1 => any::<u32>().prop_map(u64::from),
        1 => any::<u32>().prop_map(|high| u64::from(high) << 32),
        1 => (any::<u32>(), any::<u8>()).prop_map(|(high, low)| u64::from(high) << 32 | u64::from(low)),
        3 => any::<u16>().prop_map(|low| 0x7f3a_1200_0000 + u64::from(low) * 16),
        3 => any::<u32>().prop_map(|low| 0x7f3a_1200_0000 + u64::from(low)),
        1 => any::<u64>(),
        1 => Just(0x6f20_6568_7420_7473),
    ]
}

/// Structures of some fields, of which each next one changes some, and runs.
fn memory() -> impl Strategy<Value = Page> {
    let structure = (vec(field(), 1..24), vec((any::<Index>(), field()), 0..6), 1..80usize);
    (vec(structure, 1..12), 0..8usize).prop_map(|(structures, shift)| {
        let mut words = Vec::new();
        for (mut fields, changes, count) in structures {
            for round in 0..count {
                words.extend_from_slice(&fields);
                if let Some((place, value)) = changes.get(round % changes.len().max(1)) {
                    let place = place.index(fields.len());
                    fields[place] = *value;
                }
            }
        }
        // By bytes: not everything in memory is aligned.
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Box::new(core::array::from_fn(|at| bytes[(at + shift) % bytes.len()]))
    })
}

fn noise() -> impl Strategy<Value = Page> {
    (vec(any::<u8>(), PAGE_SIZE), 1..=255u8).prop_map(|(bytes, few)| {
        Box::new(core::array::from_fn(|at| if few == 255 { bytes[at] } else { bytes[at] % few }))
    })
}

pub(super) fn page() -> impl Strategy<Value = Page> {
    prop_oneof![4 => memory(), 1 => noise()]
}

fn compressed(codec: Codec, page: &[u8; PAGE_SIZE]) -> Option<Vec<u8>> {
    codec.compress(page, &mut Scratch::new()).map(<[u8]>::to_vec)
}

#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, u8),
    Swap(Index, Index),
    Add(u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<Index>(), 1..=255u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(one, other)| Damage::Swap(one, other)),
        1 => any::<u8>().prop_map(Damage::Add),
    ]
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match damage {
            Damage::Flip(at, bits) => bytes[at.index(length)] ^= bits,
            Damage::Cut(at) => bytes.truncate(at.index(length)),
            Damage::Insert(at, byte) => bytes.insert(at.index(length), *byte),
            Damage::Swap(one, other) => bytes.swap(one.index(length), other.index(length)),
            Damage::Add(byte) => bytes.push(*byte),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(Config { cases: 2_000, ..Config::default() })]

    #[test]
    fn pages_come_back(page in page(), codec in codec()) {
        if let Some(bytes) = compressed(codec, &page) {
            assert!(bytes.len() < PAGE_SIZE);
            let mut out = Box::new([0x5a; PAGE_SIZE]);
            assert_eq!(codec.decompress(&bytes, &mut out, &mut Scratch::new()), Some(()));
            assert!(out == page);
            assert!(codec.check(&bytes, &mut Scratch::new()));
            // A part of a page may be another page: of 2,000 that were tried now and then one is.
            // The store knows lengths; what counts is that both say the same of it.
            for length in [0, bytes.len() / 2, bytes.len() - 1] {
                let part = &bytes[..length];
                let taken = codec.decompress(part, &mut out, &mut Scratch::new()).is_some();
                assert_eq!(codec.check(part, &mut Scratch::new()), taken, "{length} of {} bytes", bytes.len());
                assert!(!taken || length > 0);
            }
        }
    }

    /// A search does not depend on what was searched before.
    #[test]
    fn the_same_page_gives_the_same_bytes(pages in vec(page(), 1..4), codec in codec()) {
        let mut scratch = Scratch::new();
        for page in &pages {
            let bytes = codec.compress(page, &mut scratch).map(<[u8]>::to_vec);
            assert_eq!(bytes, compressed(codec, page));
        }
    }

    #[test]
    fn random_bytes_are_safe(bytes in vec(any::<u8>(), 0..5_000), codec in codec()) {
        codec.check(&bytes, &mut Scratch::new());
    }

    #[test]
    fn damaged_bytes_are_safe(page in page(), damages in vec(damage(), 1..5), codec in codec()) {
        if let Some(bytes) = compressed(codec, &page) {
            codec.check(&damaged(bytes, &damages), &mut Scratch::new());
        }
    }
}

#[test]
fn names_are_found_again() {
    let levels = (1..=9).filter_map(Level::new);
    for codec in [Codec::Lz4, Codec::Page, Codec::Token]
        .into_iter()
        .chain(levels.clone().map(Codec::Lz4Hc))
        .chain(levels.clone().map(Codec::Deflate))
        .chain(levels.map(Codec::Zstd))
    {
        let name = std::format!("{codec}");
        assert_eq!(Codec::from_name(&name), Some(codec), "{name}");
    }
    assert_eq!(Codec::from_name("lz4hc"), Some(Codec::Lz4Hc(Level::DEFAULT)));
    for wrong in
        ["", "lz5", "lz4:1", "lz4hc:", "lz4hc:0", "lz4hc:10", "lz4hc:+300", "page:1", "Page"]
    {
        assert_eq!(Codec::from_name(wrong), None, "{wrong}");
    }
}
