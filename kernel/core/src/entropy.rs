//! Random numbers: what they are made of, and how.
//!
//! Everything that may be hard to guess goes into one sponge (Ascon-XOF128, NIST SP 800-232), whose
//! state is the key of all numbers that are drawn. A source that somebody knows, or that is broken,
//! takes nothing away from the others. One that knows the others could choose what it says by them:
//! so the source that is trusted most comes last.

use ascon_xof128::AsconXof128;
use ascon_xof128::digest::{ExtendableOutput, Update, XofReader};

/// Where bytes come from, by growing trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The counter: different at each boot, and no secret.
    Counter = 1,
    /// The core's own random numbers (FEAT_RNG): nobody can see how they are made.
    Core = 2,
    /// The firmware's, from its device tree, or by the loader from its protocol.
    Firmware = 3,
    /// Jitter of the core's own timing.
    Jitter = 4,
}

/// Bytes of the firmware's that count as a secret.
pub const ENOUGH_BYTES: usize = 16;
/// Bits of jitter that count as one.
pub const ENOUGH_BITS: u32 = 128;

/// What was there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Whether the core has random numbers.
    pub core: bool,
    /// Bytes that the firmware gave.
    pub firmware: usize,
    /// Bits of jitter, by [`least_bits`].
    pub jitter: u32,
}

impl Found {
    /// Whether any of it is enough for numbers that nobody can guess.
    pub fn is_enough(self) -> bool {
        self.core || self.firmware >= ENOUGH_BYTES || self.jitter >= ENOUGH_BITS
    }
}

/// Sources, as they are gathered.
#[derive(Clone)]
pub struct Gathering(AsconXof128);

impl Default for Gathering {
    fn default() -> Self {
        Self::new()
    }
}

impl Gathering {
    /// Nothing yet.
    pub fn new() -> Self {
        let mut sponge = AsconXof128::default();
        sponge.update(b"Bale: gathering");
        Self(sponge)
    }

    /// Takes what a source gave.
    pub fn add(&mut self, source: Source, bytes: &[u8]) {
        // The length keeps apart what is one source's and what is the next one's.
        self.0.update(&[source as u8]);
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// The key that comes of it.
    pub fn finish(self) -> Key {
        let mut key = [0; 32];
        self.0.finalize_xof().read(&mut key);
        Key(key)
    }
}

/// What every number is drawn from. It is shown to nobody.
pub struct Key([u8; 32]);

impl Key {
    /// The numbers of one draw. Each draw has a number of its own; `fresh` is whatever has become
    /// known since, and may be nothing.
    pub fn draw(&self, number: u64, fresh: &[u8], into: &mut [u8]) {
        let mut sponge = AsconXof128::default();
        sponge.update(b"Bale: drawing");
        sponge.update(&self.0);
        sponge.update(&number.to_le_bytes());
        sponge.update(fresh);
        sponge.finalize_xof().read(into);
    }
}

/// How many bits there are at least in samples of jitter, as far as their most frequent value tells
/// (NIST SP 800-90B, 6.3.1, rounded down to quarters of a bit a sample): samples that are always
/// the same are worth nothing. The samples are sorted afterwards.
pub fn least_bits(samples: &mut [u16]) -> u32 {
    samples.sort_unstable();
    let most = samples.chunk_by(|one, next| one == next).map(<[u16]>::len).max();
    let Some(most) = most else { return 0 };
    // How many times as many there are, in 256th; at most 2^24, so that its fourth power has room.
    let times = ((samples.len() as u128) << 8) / most as u128;
    let quarters = times.min(1 << 24).pow(4).checked_ilog2().unwrap_or(0).saturating_sub(4 * 8);
    u32::try_from(samples.len()).unwrap_or(u32::MAX).saturating_mul(quarters) / 4
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a boot draws first.
    fn first(sources: &[(Source, &[u8])]) -> [u8; 64] {
        let mut gathering = Gathering::new();
        for (source, bytes) in sources {
            gathering.add(*source, bytes);
        }
        let mut numbers = [0; 64];
        gathering.finish().draw(0, &[], &mut numbers);
        numbers
    }

    /// Bits that differ.
    fn distance(one: &[u8], other: &[u8]) -> u32 {
        one.iter().zip(other).map(|(one, other)| (one ^ other).count_ones()).sum()
    }

    #[test]
    fn each_source_changes_everything() {
        let usual: [(Source, &[u8]); 4] = [
            (Source::Counter, b"12345678"),
            (Source::Core, b"abcdefgh"),
            (Source::Firmware, b"a seed of the firmware's"),
            (Source::Jitter, b"a thousand samples"),
        ];
        for constant in 0..usual.len() {
            // One source is always the same; another one differs by a bit.
            for changed in (0..usual.len()).filter(|changed| *changed != constant) {
                let mut other = usual;
                let mut bytes = other[changed].1.to_vec();
                bytes[0] ^= 1;
                other[changed].1 = &bytes;
                // Of 512 bits, half: ten times the standard deviation is allowed.
                let distance = distance(&first(&usual), &first(&other));
                assert!((143..=369).contains(&distance), "{changed}: {distance}");
            }
        }
    }

    #[test]
    fn what_moves_from_one_source_to_another_is_not_the_same() {
        let one = first(&[(Source::Firmware, b"ab"), (Source::Jitter, b"c")]);
        assert_ne!(one, first(&[(Source::Firmware, b"a"), (Source::Jitter, b"bc")]));
        assert_ne!(one, first(&[(Source::Firmware, b"abc"), (Source::Jitter, b"")]));
        assert_ne!(one, first(&[(Source::Core, b"ab"), (Source::Jitter, b"c")]));
        assert_ne!(one, first(&[(Source::Jitter, b"c"), (Source::Firmware, b"ab")]));
    }

    #[test]
    fn no_draw_is_another_one() {
        let mut gathering = Gathering::new();
        gathering.add(Source::Jitter, b"samples");
        let key = gathering.finish();
        let draw = |number, fresh: &[u8]| {
            let mut numbers = [0; 64];
            key.draw(number, fresh, &mut numbers);
            numbers
        };
        let all = [draw(0, &[]), draw(1, &[]), draw(256, &[]), draw(0, b"f"), draw(1, b"f")];
        for (place, one) in all.iter().enumerate() {
            assert!(all[..place].iter().all(|other| (143..=369).contains(&distance(one, other))));
        }
        assert_eq!(draw(7, b"x"), draw(7, b"x"));
    }

    #[test]
    fn a_clock_that_stands_gives_no_bits() {
        assert_eq!(least_bits(&mut []), 0);
        assert_eq!(least_bits(&mut [7; 1000]), 0);
        let mut two: Vec<u16> = (0..1000).map(|index| index % 2).collect();
        assert_eq!(least_bits(&mut two), 1000, "a bit each");
        let mut seldom = [3; 1000];
        seldom[..400].copy_from_slice(&(0..400).collect::<Vec<u16>>());
        assert_eq!(least_bits(&mut seldom), 500, "the same one in three of five");
        seldom[..170].fill(3);
        seldom[170..].fill(4);
        assert_eq!(least_bits(&mut seldom), 250, "in five of six");
        seldom[..160].fill(4);
        assert_eq!(least_bits(&mut seldom), 0, "in nearly all");
        let mut all: Vec<u16> = (0..1024).collect();
        assert_eq!(least_bits(&mut all), 10 * 1024);
    }

    #[test]
    fn one_good_source_is_enough() {
        let found = |core, firmware, jitter| Found { core, firmware, jitter }.is_enough();
        assert!(found(true, 0, 0) && found(false, 16, 0) && found(false, 0, 128));
        assert!(!found(false, 15, 127));
    }

    proptest! {
        /// However the same bytes are cut into sources, the numbers are others.
        #[test]
        fn cuts_are_kept_apart(bytes in prop::collection::vec(any::<u8>(), 2..40), one in 1usize..39, other in 1usize..39) {
            prop_assume!(one < bytes.len() && other < bytes.len() && one != other);
            let cut = |at: usize| first(&[(Source::Firmware, &bytes[..at]), (Source::Firmware, &bytes[at..])]);
            prop_assert_ne!(cut(one), cut(other));
        }
    }
}
