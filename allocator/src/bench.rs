//! The sizes that measurements are made with, the same on the host and on the target.

/// Sizes to which LZ4 takes 4 KiB pages, 65 quantiles: the shape of 24,000 anonymous pages of a
/// compiler, an interpreter and two more, stretched to the mean of 1,870 bytes (with the
/// incompressible ones) that other measurements of compressed memory use.
const QUANTILES: [u16; 65] = [
    37, 319, 525, 703, 782, 873, 897, 907, 931, 942, 953, 988, 1053, 1107, 1157, 1194, 1239, 1282,
    1324, 1362, 1397, 1431, 1472, 1512, 1554, 1599, 1647, 1692, 1735, 1774, 1809, 1836, 1861, 1887,
    1907, 1914, 1934, 1954, 1975, 1994, 2007, 2026, 2049, 2075, 2099, 2126, 2153, 2182, 2212, 2246,
    2281, 2307, 2331, 2357, 2379, 2411, 2471, 2555, 2666, 2808, 2865, 2971, 3052, 3213, 3994,
];

/// Pages in a thousand that do not compress and are stored as they are.
const INCOMPRESSIBLE: u64 = 43;

/// An endless sequence of object sizes with the distribution of LZ4 pages.
#[derive(Clone, Debug)]
pub struct Sizes {
    random: Random,
}

impl Sizes {
    /// The sequence that `seed` gives.
    pub const fn new(seed: u64) -> Self {
        Self { random: Random::new(seed) }
    }
}

impl Iterator for Sizes {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.random.below(1000) < INCOMPRESSIBLE {
            return Some(crate::PAGE_SIZE);
        }
        let place = usize::try_from(self.random.below(64)).unwrap_or(0);
        let (low, high) = (u64::from(QUANTILES[place]), u64::from(QUANTILES[place + 1]));
        usize::try_from(low + self.random.below(high - low + 1)).ok()
    }
}

/// A small generator, so that every run sees the same numbers (xorshift64*, Vigna 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence that `seed` gives.
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number below `bound`, which is not zero.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::Sizes;

    #[test]
    fn the_mean_is_that_of_lz4_pages() {
        let sum: usize = Sizes::new(1).take(100_000).sum();
        assert!((1840..1900).contains(&(sum / 100_000)), "{}", sum / 100_000);
    }
}
