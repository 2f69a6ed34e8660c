//! Against the format's own implementation.

extern crate std;
use std::{boxed::Box, vec, vec::Vec};

use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use proptest::{sample::Index, test_runner::Config};
use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, FrameFormat};

use super::{Decoder, decompress};
use crate::{
    codec::{Codec, Level, Scratch, tests::page},
    device::PAGE_SIZE,
};

type Page = Box<[u8; PAGE_SIZE]>;

/// What the format's implementation makes of a page.
fn theirs(page: &[u8; PAGE_SIZE], parameters: &[CParameter]) -> Vec<u8> {
    let mut context = CCtx::create();
    for parameter in [CParameter::Format(FrameFormat::Magicless)].iter().chain(parameters) {
        context.set_parameter(*parameter).expect("a parameter of the library");
    }
    let mut bytes = vec![0; 2 * PAGE_SIZE];
    let length = context.compress2(&mut bytes[..], &page[..]).expect("there is room");
    bytes.truncate(length);
    bytes
}

/// What it reads from bytes, if they are anything.
fn read_by_theirs(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut context = DCtx::create();
    context
        .set_parameter(DParameter::Format(FrameFormat::Magicless))
        .expect("a parameter of the library");
    let mut out = vec![0; PAGE_SIZE + 1];
    let length = context.decompress(&mut out[..], bytes).ok()?;
    out.truncate(length);
    Some(out)
}

fn read_by_ours(bytes: &[u8]) -> Option<Page> {
    let mut page = Box::new([0x5a; PAGE_SIZE]);
    decompress(bytes, &mut page, &mut Decoder::new()).map(|()| page)
}

/// Bytes of one distribution, steep or flat: codes of every length.
fn skewed() -> impl Strategy<Value = Page> {
    (any::<u64>(), 1..64u64, 0..=255u8).prop_map(|(seed, steep, from)| {
        let mut state = seed | 1;
        Box::new(core::array::from_fn(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let byte =
                u8::try_from(((state >> 40) & 0xffff) * ((state >> 24) & 0xffff) / (steep << 24));
            from.wrapping_add(byte.unwrap_or(255))
        }))
    })
}

fn pages() -> impl Strategy<Value = Page> {
    prop_oneof![2 => page(), 1 => skewed()]
}

proptest! {
    #![proptest_config(Config { cases: 2_000, ..Config::default() })]

    #[test]
    fn theirs_reads_ours(page in pages(), level in 1..=9u8) {
        let codec = Codec::Zstd(Level::new(level).expect("1 to 9"));
        let mut scratch = Scratch::new();
        if let Some(bytes) = codec.compress(&page, &mut scratch) {
            assert!(read_by_theirs(bytes).as_deref() == Some(&page[..]));
            assert!(read_by_ours(bytes) == Some(page));
        }
    }

    #[test]
    fn ours_reads_theirs(page in pages(), level in -5..=19, block in 0..4u32) {
        let mut parameters = vec![CParameter::CompressionLevel(level)];
        if block > 0 {
            // Several blocks: repeated tables and codes, offsets of the block before.
            parameters.push(CParameter::TargetCBlockSize(block * 1340));
        }
        assert!(read_by_ours(&theirs(&page, &parameters)) == Some(page));
    }

    /// A window of less than a page, thus blocks of less than one.
    #[test]
    fn ours_reads_frames_of_several_blocks(page in pages(), level in 1..=19) {
        let window = [CParameter::CompressionLevel(level), CParameter::WindowLog(10)];
        assert!(read_by_ours(&theirs(&page, &window)) == Some(page));
    }

    #[test]
    fn what_is_accepted_means_the_same_to_another(page in pages(), level in 1..=19, at in any::<Index>(), bits in 1..=255u8) {
        let mut bytes = theirs(&page, &[CParameter::CompressionLevel(level)]);
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        if let Some(page) = read_by_ours(&bytes) {
            assert!(read_by_theirs(&bytes).as_deref() == Some(&page[..]));
        }
    }
}

/// The kinds of blocks, literals and tables in a frame that the library made.
fn kinds(bytes: &[u8]) -> Vec<(u8, u8)> {
    let (mut at, mut found) = (
        if bytes[0] & 0x20 == 0 { 2 } else { 1 } + [0, 2, 4, 8][usize::from(bytes[0] >> 6)],
        Vec::new(),
    );
    loop {
        let head = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], 0]);
        let kind = u8::try_from(head >> 1 & 3).expect("two bits");
        found.push((kind, bytes[at + 3] & 3));
        at += 3 + if kind == 1 { 1 } else { (head >> 3) as usize };
        if head & 1 == 1 {
            return found;
        }
    }
}

/// The library's frames have every kind of block and of literals but one, or the tests above would
/// not have shown what they say.
#[test]
#[expect(clippy::cast_possible_truncation, reason = "bytes")]
fn every_kind_occurs() {
    let mut found = std::collections::BTreeSet::new();
    let mut state = 1u32;
    for steep in 0..200u32 {
        let page: Page = Box::new(core::array::from_fn(|at| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match (steep % 5, at / 1024) {
                (0, _) => 7,
                (1, 0) | (2, _) => state.to_le_bytes()[3],
                (1, _) => 9,
                _ => (state >> 24 & state >> 16 & 0x3f) as u8 & (steep as u8 | 3),
            }
        }));
        for window in [10, 12] {
            let bytes =
                theirs(&page, &[CParameter::CompressionLevel(19), CParameter::WindowLog(window)]);
            found.extend(
                kinds(&bytes)
                    .into_iter()
                    .map(|(block, literals)| if block == 2 { (2, literals) } else { (block, 0) }),
            );
            assert!(read_by_ours(&bytes) == Some(page.clone()));
        }
    }
    let all = [(0, 0), (1, 0), (2, 0), (2, 2), (2, 3)];
    assert!(all.iter().all(|kind| found.contains(kind)), "{found:?}");
}

/// The kind of literals that the library does not write for pages: one byte many times.
#[test]
#[expect(clippy::cast_possible_truncation, reason = "13 bits")]
fn one_literal_is_repeated() {
    let literals = 1 | 3 << 2 | (PAGE_SIZE as u32) << 4;
    let [low, middle, high, _] = literals.to_le_bytes();
    let frame = [0x60, 0x00, 0x0f, 5 << 3 | 2 << 1 | 1, 0, 0, low, middle, high, 0xa5, 0];
    assert!(read_by_ours(&frame) == Some(Box::new([0xa5; PAGE_SIZE])));
    assert_eq!(read_by_theirs(&frame), Some(vec![0xa5; PAGE_SIZE]));
}

/// Damaged frames: 100,000 when compiled with optimization.
#[test]
#[expect(clippy::cast_possible_truncation, reason = "random bytes, and small numbers")]
fn damaged_frames_are_safe() {
    let rounds = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut frames = Vec::new();
    for at in 0..64usize {
        let page: [u8; PAGE_SIZE] = core::array::from_fn(|place| {
            let byte = random(256) & random(256) & (at * 4 + 3);
            if random(3) > 0 { (place / (at + 1) % 7) as u8 } else { byte as u8 }
        });
        let window = CParameter::WindowLog(if at % 2 == 0 { 10 } else { 12 });
        frames.push(theirs(
            &page,
            &[CParameter::CompressionLevel([1, 3, 9, 19][at / 2 % 4]), window],
        ));
    }
    let (mut decoder, mut page, mut accepted) = (Decoder::new(), [0; PAGE_SIZE], 0);
    for _ in 0..rounds {
        let mut bytes = frames[random(frames.len())].clone();
        for _ in 0..=random(4) {
            // The front, where heads and tables are, as often as all that follows.
            let range = if random(2) == 0 { bytes.len().min(60) } else { bytes.len() };
            let at = random(range);
            match random(8) {
                0 => bytes.truncate(at + 1),
                1 => bytes.insert(at, random(256) as u8),
                2 => drop((bytes.len() > 1).then(|| bytes.remove(at))),
                3 => bytes[at] = [0, 0xff, 0x80][random(3)],
                _ => bytes[at] ^= 1 << random(8),
            }
        }
        if decompress(&bytes, &mut page, &mut decoder).is_some() {
            accepted += 1;
            assert!(read_by_theirs(&bytes).as_deref() == Some(&page[..]));
        }
    }
    assert!(accepted > 0, "no damage went unnoticed, though there is no checksum");
}
